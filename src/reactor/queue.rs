//! What has been asked of the reactor and is not done yet: at once, or when its time has come.
//!
//! A call of a protocol asks by way of the [`Core`]; the reactor does it when the call has returned,
//! because only the reactor has the kernel and the protocols in its hands.

use crate::io::Close;
use crate::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, PortId, Shared};
use crate::{ConnectOptions, Core, Moment};
use std::fmt;
use std::net::SocketAddr;

/// What is connected: a stream of bytes, or datagrams to and from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
}

/// Whether the reactor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// It runs.
    Running,
    /// `stop` was called in this turn; the shutdown begins after the timers of the next.
    StopAsked,
    /// Connections are being finished, until then.
    Draining(Moment),
    /// All is to end without waiting.
    StopNow,
    /// Over.
    Stopped,
}

/// What the reactor does when the call has returned: in the order in which it was asked for.
#[derive(Debug)]
pub(super) enum Post<S: Shared> {
    Connect(ConnectorId, Kind, SocketAddr, ConnectOptions, Box<dyn ClientFactory<S>>),
    StopTrying(ConnectorId),
    StopListening(PortId),
    Lost(ConnId, CloseReason, Close),
    Message(ConnId, S::Message),
}

/// Called once, with what is shared and the core.
pub(super) type Call<S> = Box<dyn FnOnce(&mut S, &mut Core<S>)>;

/// What becomes due.
pub(super) enum Due<S: Shared> {
    /// A closure over what is shared. Twisted: callLater.
    Call(Call<S>),
    /// A protocol is told.
    Tell(ConnId, u32),
    /// A connection has not been made, flushed or ended in time.
    Limit(ConnId),
    /// A connector tries again.
    Retry(ConnectorId),
    /// A port that had run out of descriptors tries again.
    Accept(PortId),
    /// What was counted of throttled warnings is logged.
    Report,
}

impl<S: Shared> fmt::Debug for Due<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Due::Call(_) => write!(f, "Call"),
            Due::Tell(id, tag) => write!(f, "Tell({id:?}, {tag})"),
            Due::Limit(id) => write!(f, "Limit({id:?})"),
            Due::Retry(connector) => write!(f, "Retry({connector:?})"),
            Due::Accept(port) => write!(f, "Accept({port:?})"),
            Due::Report => write!(f, "Report"),
        }
    }
}
