//! What travels between two ends: TCP segments, as far as a program can distinguish them, and datagrams.
//!
//! There are no sequence numbers, because streams lose nothing and keep their order: segments from one address to
//! another arrive in the order in which they were sent. A simulator that carries them
//! ([`MemoryIo::external_clock`](super::MemoryIo::external_clock)) must keep that order, but may delay segments without
//! limit. It may also lose, repeat and reorder datagrams.

use crate::Moment;
use std::net::SocketAddr;

/// One segment or datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sender's address.
    pub from: SocketAddr,
    /// The receiver's address.
    pub to: SocketAddr,
    /// The time when the segment arrives.
    pub arrives: Moment,
    /// The contents.
    pub kind: SegmentKind,
}

/// The contents of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// A request to connect.
    Syn,
    /// The answer to `Syn`: the connection is open. The kernel sends it; the program accepts later.
    Accepted,
    /// The answer to `Syn`: no port listens at this address.
    Refused,
    /// Data of a stream.
    Data(Vec<u8>),
    /// The receiver has read this many bytes, so its window grows by as many.
    Taken(usize),
    /// The sender has ended its side.
    Fin,
    /// The connection is reset.
    Reset,
    /// A datagram; it arrives whole or not at all.
    Datagram(Vec<u8>),
    /// The answer to `Datagram`: no socket receives at this address.
    Unreachable,
}

impl SegmentKind {
    /// Whether this belongs to no stream, and may be lost.
    pub fn is_datagram(&self) -> bool {
        matches!(self, SegmentKind::Datagram(_) | SegmentKind::Unreachable)
    }
}
