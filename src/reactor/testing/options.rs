//! The behaviour of an in-memory network, as plain data, so that a failing run can be described in one line.

use crate::UnixNanos;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The behaviour of a [`MemoryIo`](super::MemoryIo). From a range, a uniformly random value is drawn for each case.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryOptions {
    /// The seed of all randomness.
    pub seed: u64,
    /// The local address of outgoing connections.
    pub host: IpAddr,
    /// The wall clock's time at the start.
    pub wall: UnixNanos,
    /// How long a segment is under way. Datagrams may overtake each other.
    pub delay: RangeInclusive<Duration>,
    /// The shortest time between two arrivals of data on one connection.
    pub gap: RangeInclusive<Duration>,
    /// The virtual time that each poll takes, so that time passes in a loop that never sleeps.
    pub turn_cost: Duration,
    /// How many bytes arrive together; each arrival causes its own event.
    pub arrival_bytes: RangeInclusive<usize>,
    /// Maximum number of bytes that one write takes; a writable event follows a short write.
    pub write_bytes: RangeInclusive<usize>,
    /// How many unsent bytes the sending side holds while the peer has no room. At least 1.
    pub send_window_bytes: usize,
    /// How many unread bytes the receiving side holds. At least 1. Datagrams beyond it are dropped.
    pub receive_window_bytes: usize,
    /// The probability that a poll wakes early with a spurious event, for a connection that is not ready or is already
    /// closed.
    pub spurious_events: f64,
    /// The probability that a datagram is lost.
    pub datagram_losses: f64,
    /// The probability that a connection is refused although a port listens.
    pub connect_failures: f64,
    /// The probability that an accept fails (ECONNABORTED) and its connection is reset.
    pub accept_failures: f64,
    /// Maximum number of open sockets, ports included; beyond it accept and connect fail with EMFILE.
    pub descriptors_max: usize,
    /// Maximum number of connections that wait at a port. A further one tries again after a second, as the kernel
    /// retransmits a SYN.
    pub backlog: usize,
}

impl MemoryOptions {
    /// A fast and reliable network: everything arrives at once and whole.
    pub fn calm(seed: u64) -> MemoryOptions {
        MemoryOptions {
            seed,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            wall: UnixNanos(1_479_413_884_392_014_450),
            delay: Duration::ZERO..=Duration::ZERO,
            gap: Duration::ZERO..=Duration::ZERO,
            turn_cost: Duration::from_micros(1),
            arrival_bytes: usize::MAX..=usize::MAX,
            write_bytes: usize::MAX..=usize::MAX,
            send_window_bytes: 256 << 10,
            receive_window_bytes: 256 << 10,
            spurious_events: 0.0,
            datagram_losses: 0.0,
            connect_failures: 0.0,
            accept_failures: 0.0,
            descriptors_max: usize::MAX,
            backlog: 1024,
        }
    }

    /// A slow and difficult network: short arrivals, short writes, small windows and spurious events. Still, nothing is
    /// lost and no connection is refused.
    pub fn rough(seed: u64) -> MemoryOptions {
        MemoryOptions {
            delay: Duration::ZERO..=Duration::from_micros(500),
            gap: Duration::ZERO..=Duration::from_micros(5),
            arrival_bytes: 1..=3_000,
            write_bytes: 1..=9_000,
            send_window_bytes: 20_000,
            receive_window_bytes: 70_000,
            spurious_events: 0.2,
            ..MemoryOptions::calm(seed)
        }
    }
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions::calm(0)
    }
}

/// A fault between one address, which listens or takes datagrams, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// New connections are refused; open ones go on. Datagrams to the address are answered as unreachable.
    Refuse,
    /// New connections are never answered; open ones go on. Datagrams are lost.
    Blackhole,
    /// Segments are held in both directions, and arrive when the fault is healed.
    Freeze,
    /// New connections are never answered and datagrams are lost; other segments are held until the fault is healed.
    Partition,
}
