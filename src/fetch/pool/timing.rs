//! The phases of a fetch and their times, for the log and for the caller.

use herd_reactor::Moment;
use std::fmt;

/// Why a fetch has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The phase in which the fetch failed.
    pub phase: FetchPhase,
    /// What happened, for the log. The text contains no bytes from the peer.
    pub what: String,
    /// Whether a retry would fail, too: the peer has no valid certificate, or does not speak TLS.
    pub lasting: bool,
    /// Whether the proxy, and not the origin, was unreachable or rejected the request.
    pub by_proxy: bool,
}

/// The phases of a fetch, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchPhase {
    /// Resolving the name.
    Dns,
    /// Connecting to an address, through a proxy if there is one.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Waiting for the first byte of the response.
    FirstByte,
    /// Receiving the response.
    Body,
}

impl FetchPhase {
    /// All phases, in their order.
    pub const ALL: [FetchPhase; 5] = [
        FetchPhase::Dns,
        FetchPhase::Connect,
        FetchPhase::Tls,
        FetchPhase::FirstByte,
        FetchPhase::Body,
    ];
}

impl fmt::Display for FetchPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["dns", "connect", "tls", "first byte", "body"][*self as usize])
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.phase, self.what)
    }
}

/// When each phase of a fetch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchTiming {
    /// The fetch began.
    pub begun: Option<Moment>,
    pub(super) ends: [Option<Moment>; FetchPhase::ALL.len()],
}

impl FetchTiming {
    /// The time when `phase` ended; `None` if it was skipped, or not reached. On a plain connection,
    /// [`Tls`](FetchPhase::Tls) ends at once.
    pub fn end_of(&self, phase: FetchPhase) -> Option<Moment> {
        self.ends[phase as usize]
    }

    /// Notes that `phase` ends `now`, unless it has ended.
    pub(super) fn ended(&mut self, phase: FetchPhase, now: Moment) {
        self.ends[phase as usize].get_or_insert(now);
    }
}
