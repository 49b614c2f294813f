//! The herd: what its servers say to each other and to clients, and what each of them remembers.
//!
//! In reading order:
//!
//! * [`stamp`] and [`location`]: when and where, read exactly, on bytes.
//! * [`command`]: a line becomes a [`Command`](command::Command) or is invalid; the answers' texts.
//! * [`sighting`]: one AT line, and the one order in which AT lines are newer than each other.
//! * [`table`]: the [`Herd`](table::Herd), every client's latest sighting.
//! * [`owed`]: which of them each neighbour has still to be told.
//! * [`topology`]: who belongs to the herd and talks to whom.
//!
//! All of this is values in, values out: no connection, no clock, no file but the topology's.

mod decimal;
pub mod location;
pub mod stamp;

pub mod command;
mod fields;

pub mod sighting;

mod lines;
pub mod owed;
pub mod table;

pub mod topology;
