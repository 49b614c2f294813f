//! How far a fetch has got, and when: values, for the log and for who asked.

use herd_reactor::Moment;
use std::fmt;

/// Why a fetch brought no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// How far it had got.
    pub phase: FetchPhase,
    /// What happened, in words for the log. Never bytes of the peer's.
    pub what: String,
    /// It would happen again: the peer proves nothing, or does not speak TLS.
    pub lasting: bool,
    /// It was the proxy that could not be reached, or refused; not the origin.
    pub by_proxy: bool,
}

/// The parts of a fetch, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchPhase {
    /// A name becomes addresses.
    Dns,
    /// An address becomes a connection, through a proxy if there is one.
    Connect,
    /// The connection becomes a secret and certain one.
    Tls,
    /// The request is sent; nothing has come back.
    FirstByte,
    /// The response comes.
    Body,
}

impl FetchPhase {
    /// All of them, in their order.
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

/// When a fetch got how far. What is `None` was not needed, or not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchTiming {
    /// It began to be worked on.
    pub begun: Option<Moment>,
    /// The name had become addresses.
    pub resolved: Option<Moment>,
    /// A connection to the origin stood.
    pub connected: Option<Moment>,
    /// The handshake was done, or not needed.
    pub secured: Option<Moment>,
    /// The first byte of the response was there.
    pub first_byte: Option<Moment>,
    /// The whole response was there.
    pub ended: Option<Moment>,
}

impl FetchTiming {
    /// When the end of a phase was reached.
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
