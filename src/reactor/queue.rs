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
pub(super) enum ConnectKind {
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
pub(super) enum Posted<S: Shared> {
    Connect(ConnectorId, ConnectKind, SocketAddr, ConnectOptions, Box<dyn ClientFactory<S>>),
    StopTrying(ConnectorId),
    StopListening(PortId),
    Lost(ConnId, CloseReason, Close),
    Message(ConnId, S::Message),
}

/// Called once, with what is shared and the core.
pub(super) type Call<S> = Box<dyn FnOnce(&mut S, &mut Core<S>)>;

/// What becomes due.
pub(super) enum TimerCall<S: Shared> {
    /// A closure over what is shared. Twisted: callLater.
    Call(Call<S>),
    /// A protocol is told.
    Tell(ConnId),
    /// A connection has not been made, flushed or ended in time.
    Limit(ConnId),
    /// A connector tries again.
    Retry(ConnectorId),
    /// A port that had run out of descriptors tries again.
    Accept(PortId),
    /// What was counted of throttled warnings is logged.
    Report,
}

impl<S: Shared> fmt::Debug for TimerCall<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimerCall::Call(_) => write!(f, "Call"),
            TimerCall::Tell(id) => write!(f, "Tell({id:?})"),
            TimerCall::Limit(id) => write!(f, "Limit({id:?})"),
            TimerCall::Retry(connector) => write!(f, "Retry({connector:?})"),
            TimerCall::Accept(port) => write!(f, "Accept({port:?})"),
            TimerCall::Report => write!(f, "Report"),
        }
    }
}
