//! The grammar: bytes into values and back. It knows no connection, no clock and no file.
//!
//! * [`stamp`] and [`location`]: when and where, read exactly, on bytes.
//! * [`command`]: a line becomes a [`Command`](command::Command) or is invalid; the answers' texts.
//! * [`report`]: one AT line, and the one order in which AT lines are newer than each other.
//! * [`sync_message`]: the lines by which two servers compare what they know.

mod decimal;
mod fields;
pub mod location;
mod parse_error;
pub mod stamp;
mod swar;

pub mod command;
pub mod report;
pub mod sync_message;
