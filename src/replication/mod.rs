//! Replication: the flood to neighbours, and the comparison of tables.
//!
//! * [`neighbours`]: which neighbours are connected, and the flood.
//! * [`anti_entropy`]: how two servers find out where their tables differ.
//! * `replacements`: how often a neighbour's new connection may replace an open link.
//! * [`acks`]: which replies wait for a neighbour's acknowledgement.
//! * [`bus`]: what a bucket of JetStream is owed, and `put_waits`: which replies wait for it.

pub mod acks;
pub mod anti_entropy;
pub mod bus;
pub mod bus_watch;
pub mod neighbours;
mod put_waits;
pub(crate) mod replacements;

/// Identifies one neighbour of this server while it runs: its index in the list of all neighbours that it has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighbourId(pub usize);
