//! Requests to the reactor that are not carried out yet: posted ones, and those of timers.
//!
//! A protocol makes a request through the [`Core`]. The reactor carries it out after the call has returned, because
//! only the reactor has access to the kernel and to all protocols.

use crate::io::Close;
use crate::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, Factory, PortId, Shared};
use crate::{ConnectOptions, Core, Moment};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The kind of a connection: a stream of bytes, or datagrams to and from one address.
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

/// Whether the reactor runs, is stopping, or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// The loop runs.
    Running,
    /// `stop` was called; the shutdown begins when a turn has next run its timers.
    StopAsked,
    /// Connections are closing; the loop ends at this moment at the latest.
    Draining(Moment),
    /// `stop` was called again; the loop ends without waiting.
    StopNow,
    /// The loop has ended.
    Stopped,
}

/// A request that the reactor carries out after the call has returned, in the order of the requests.
pub(super) enum Posted<S: Shared> {
    Connect(ConnectorId, ConnectKind, SocketAddr, ConnectOptions, Box<dyn ClientFactory<S>>),
    StopTrying(ConnectorId),
    Listen(PortId, ListenAt, Box<dyn Factory<S>>),
    StopListening(PortId),
    Lost(ConnId, CloseReason, Close),
    UserTimeout(ConnId, Duration),
    Message(ConnId, S::Message),
}

/// A closure that the reactor calls once, with the shared state and the core.
pub(super) type Call<S> = Box<dyn FnOnce(&mut S, &mut Core<S>)>;

/// The action of a timer when it is due.
pub(super) enum TimerCall<S: Shared> {
    /// Call a closure. Twisted: callLater.
    Call(Call<S>),
    /// Call `timer` of a connection's protocol.
    Tell(ConnId),
    /// End a connection that was not made, read, flushed or ended in time.
    Deadline(ConnId),
    /// Let a connector try again.
    Retry(ConnectorId),
    /// Let a port that had run out of descriptors accept again.
    Accept(PortId),
    /// Log the counted warnings.
    Report,
}
