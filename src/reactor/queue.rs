//! What has been asked of the reactor and is not done yet: at once, or when its time has come.
//!
//! A call of a protocol asks by way of the [`Core`]; the reactor does it when the call has returned,
//! because only the reactor has the kernel and the protocols in its hands.

use crate::io::Close;
use crate::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, Factory, PortId, Shared};
use crate::{ConnectOptions, Core, Moment};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is connected: a stream of bytes, or datagrams to and from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectKind {
    Tcp,
    Udp,
}

/// Where a port listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListenAt {
    Tcp(SocketAddr),
    Unix(PathBuf),
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
pub(super) enum Posted<S: Shared> {
    Connect(ConnectorId, ConnectKind, SocketAddr, ConnectOptions, Box<dyn ClientFactory<S>>),
    StopTrying(ConnectorId),
    Listen(PortId, ListenAt, Box<dyn Factory<S>>),
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
    Deadline(ConnId),
    /// A connector tries again.
    Retry(ConnectorId),
    /// A port that had run out of descriptors tries again.
    Accept(PortId),
    /// What was counted of throttled warnings is logged.
    Report,
}
