//! What travels between two ends: TCP's segments, as far as a program can tell them apart, and
//! datagrams.
//!
//! Sequence numbers are missing because nothing of a stream is lost or overtaken: the segments from
//! one address to another arrive in the order in which they were sent. Whoever carries them
//! ([`MemoryIo::external_clock`](super::MemoryIo::external_clock)) must keep that order, and may hold segments back
//! as long as he likes. Datagrams he may also lose, repeat, or let overtake each other.

use crate::Moment;
use std::net::SocketAddr;

/// One thing under way from one end to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose end it left.
    pub from: SocketAddr,
    /// Whose end it goes to.
    pub to: SocketAddr,
    /// When it arrives.
    pub arrives: Moment,
    /// What it says.
    pub kind: SegmentKind,
}

/// What a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// May I connect?
    Syn,
    /// You may, and have. Sent by the kernel: the program accepts later.
    Accepted,
    /// Nobody listens here.
    Refused,
    /// Bytes.
    Data(Vec<u8>),
    /// My program has read so many bytes: there is room for as many again.
    Taken(usize),
    /// I shall send nothing more.
    Fin,
    /// The connection does not exist any more.
    Reset,
    /// Bytes of no stream: whole, or not at all.
    Datagram(Vec<u8>),
    /// Nobody takes datagrams here.
    Unreachable,
}

impl SegmentKind {
    /// Whether it belongs to no connection, and need not arrive.
    pub fn is_datagram(&self) -> bool {
        matches!(self, SegmentKind::Datagram(_) | SegmentKind::Unreachable)
    }
}
