//! How a network in memory behaves: plain data, so that a failing run can be told in one line.

use crate::UnixNanos;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a [`MemoryIo`](super::MemoryIo) behaves. Ranges are drawn from evenly, for each case anew.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryOptions {
    /// Where all chance comes from.
    pub seed: u64,
    /// The address from which connections are made.
    pub host: IpAddr,
    /// What the wall clock shows at the start.
    pub wall: UnixNanos,
    /// How long a segment is under way. Datagrams may so overtake each other.
    pub delay: RangeInclusive<Duration>,
    /// The least time between two arrivals of data on one connection.
    pub gap: RangeInclusive<Duration>,
    /// Virtual time that a poll takes by itself, so that a loop that never sleeps grows older too.
    pub turn_cost: Duration,
    /// How many bytes arrive together; each arrival is an edge of its own.
    pub arrival_bytes: RangeInclusive<usize>,
    /// The most that one write takes; after a short one, a writable edge follows.
    pub write_bytes: RangeInclusive<usize>,
    /// What the sending side holds of what the peer has no room for. At least 1.
    pub send_window_bytes: usize,
    /// What the receiving side holds of what is not yet read. At least 1. Datagrams beyond it are
    /// dropped.
    pub receive_window_bytes: usize,
    /// The probability, for each poll, that it wakes early with an event that means nothing: for a
    /// connection with nothing to tell, or for one that was closed before.
    pub spurious_events: f64,
    /// The probability that a datagram is lost.
    pub datagram_losses: f64,
    /// The probability that a connect is refused, whoever listens.
    pub connect_failures: f64,
    /// The probability that an accept fails (ECONNABORTED), and the connection with it.
    pub accept_failures: f64,
    /// Sockets there can be, ports included; then accept and connect give EMFILE.
    pub descriptors_max: usize,
    /// Connections that wait at a port; a further one tries again after a second, as the kernel's
    /// retransmitted SYN does.
    pub backlog: usize,
}

impl MemoryOptions {
    /// A fast and kind network: everything arrives at once and whole.
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

    /// A slow and contrary one: short arrivals, short writes, small windows and false alarms. Still
    /// nothing is lost, and nobody is refused.
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

/// What can be wrong between a listening address, or one that takes datagrams, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// New connections are refused; those that stand go on. Datagrams find nobody.
    Refuse,
    /// New connections are never answered; those that stand go on. Datagrams are lost.
    Blackhole,
    /// Nothing arrives, in either direction, until it is healed; then everything does.
    Freeze,
    /// As Freeze, but who tries to connect meanwhile is never answered, and datagrams are lost.
    Partition,
}
