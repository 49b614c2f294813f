//! The grammar: parses bytes into values and writes values as bytes. It knows no connection, no clock and no file.
//!
//! * [`stamp`] and [`location`]: parse times and locations exactly, on bytes.
//! * `calendar.rs`: dates in other forms, for certificates and phone apps.
//! * [`command`]: parses a line into a [`Command`](command::Command) or an error, and writes the replies.
//! * [`report`]: one AT line, and the total order that decides which of two reports is newer.
//! * [`sync_message`]: the lines with which two servers compare their tables.

pub(crate) mod calendar;
mod decimal;
pub(crate) mod fields;
pub mod location;
mod parse_error;
pub mod stamp;
pub(crate) mod swar;

pub mod command;
pub mod report;
pub mod sync_message;
