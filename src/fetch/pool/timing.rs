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
        f.write_str(match self {
            FetchPhase::Dns => "dns",
            FetchPhase::Connect => "connect",
            FetchPhase::Tls => "tls",
            FetchPhase::FirstByte => "first byte",
            FetchPhase::Body => "body",
        })
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.phase, self.what)
    }
}

/// When each phase of a fetch ended. A time is `None` if the phase was skipped, or not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchTiming {
    /// The fetch began.
    pub begun: Option<Moment>,
    /// The name was resolved.
    pub resolved: Option<Moment>,
    /// A connection to the origin was established.
    pub connected: Option<Moment>,
    /// The TLS handshake was done, or not needed.
    pub secured: Option<Moment>,
    /// The first byte of the response was received.
    pub first_byte: Option<Moment>,
    /// The response was complete.
    pub ended: Option<Moment>,
}

impl FetchTiming {
    /// The time when `phase` ended.
    pub fn end_of(&self, phase: FetchPhase) -> Option<Moment> {
        match phase {
            FetchPhase::Dns => self.resolved,
            FetchPhase::Connect => self.connected,
            FetchPhase::Tls => self.secured,
            FetchPhase::FirstByte => self.first_byte,
            FetchPhase::Body => self.ended,
        }
    }
}
