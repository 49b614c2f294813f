//! PART FIVE. The herd: what its servers say to each other and to clients, and what each remembers.
//!
//! In reading order; first values in, values out, with no connection, no clock and no file:
//!
//! * [`stamp`] and [`location`]: when and where, read exactly, on bytes.
//! * [`command`]: a line becomes a [`Command`](command::Command) or is invalid; the answers' texts.
//! * [`sighting`]: one AT line, and the one order in which AT lines are newer than each other.
//! * [`digest`]: sums of all lines, the same at servers that know the same.
//! * [`rows`] and [`comparison`]: how two servers find out in what they differ.
//! * [`table`]: the [`Herd`](table::Herd), every client's latest sighting.
//! * [`owed`]: which of them each neighbour has still to be told.
//! * [`topology`]: who belongs to the herd and talks to whom; the one file that is read.
//!
//! Then the same on connections:
//!
//! * [`links`]: which neighbours are connected, and the flood.
//! * [`acks`]: which replies wait for a neighbour's word.
//! * [`inquiry`]: the WHATSATs that wait for their places.
//! * [`member`]: what all connections of one server share.
//! * [`sweep`]: what goes through the whole table does so in slices.
//! * [`durable`]: the member's journal: what outlives the process.
//! * [`network`]: the member's resolver and agent, for sources that ask the network.
//! * [`peer_tls`]: the certificates by which neighbours know each other.
//! * [`chatserver`] and [`interserver`]: the report's two pairs of factory and receiver.
//! * [`status`]: what a server says of itself to whoever runs it.
//! * [`join`]: how a server begins: it listens, and dials.

mod decimal;
mod digits;
pub mod location;
pub mod stamp;

mod fields;
mod invalid;

pub mod digest;
pub mod rows;

pub mod command;

pub mod sighting;

pub mod comparison;

mod index;
mod lines;
pub mod owed;
pub mod table;

pub mod topology;

pub mod acks;
pub mod inquiry;
pub mod links;
mod replacements;

pub mod durable;
pub mod member;

pub mod sweep;

pub mod network;

pub mod peer_tls;

pub mod chatserver;
pub mod interserver;

pub mod status;

pub mod join;
