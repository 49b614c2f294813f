//! How far a fetch has got, and when: values, for the log and for who asked.

use herd_reactor::Moment;
use std::fmt;

/// Why a fetch brought no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// How far it had got.
    pub phase: Phase,
    /// What happened, in words for the log. Never bytes of the peer's.
    pub what: String,
    /// It would happen again: the peer proves nothing, or does not speak TLS.
    pub lasting: bool,
    /// It was the proxy that could not be reached, or refused; not the origin.
    pub by_proxy: bool,
}

/// The parts of a fetch, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
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

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 5] =
        [Phase::Dns, Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Body];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Dns => "dns",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::FirstByte => "first byte",
            Phase::Body => "body",
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
pub struct Trip {
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

impl Trip {
    /// When the end of a phase was reached.
    pub fn end_of(&self, phase: Phase) -> Option<Moment> {
        match phase {
            Phase::Dns => self.resolved,
            Phase::Connect => self.connected,
            Phase::Tls => self.secured,
            Phase::FirstByte => self.first_byte,
            Phase::Body => self.ended,
        }
    }
}
