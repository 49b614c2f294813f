//! How servers come to know the same: the flood to neighbours, and the comparison of tables.
//!
//! * [`neighbours`]: which neighbours are connected, and the flood.
//! * [`anti_entropy`]: how two servers find out in what they differ.
//! * `replacements`: how often a neighbour's new connection may replace one that still stands.
//! * [`acks`]: which replies wait for a neighbour's word.

pub mod acks;
pub mod anti_entropy;
pub mod neighbours;
pub(crate) mod replacements;

/// Names one neighbour of this server: its place in the list of them, sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighbourId(pub usize);
