//! The contract between the reactor and what runs on it: protocols, factories, and the context
//! that is lent to each call. Nothing here does anything; this is what a reader must know first.
//!
//! In Twisted a protocol holds `self.transport` and `self.factory`, and reaches through them
//! everything there is. Here it holds neither: every call is lent a [`Context`] with the same three
//! things, and gives it back by returning. So the compiler sees that nobody else is at work
//! meanwhile, and no cell, lock or reference count is needed anywhere.
//!
//! Two rules follow, and every protocol may rely on them:
//!
//! * A call never runs inside a call. What would call another protocol (that its connection is
//!   lost, that an answer has come) is posted, and done in the next turn.
//! * Writing to *any* connection is only appending to its buffer, at once. What is written in one
//!   turn leaves together at its end.
//!
//! Twisted: internet/protocol.py, internet/interfaces.py.

use crate::{Core, Moment, Signal, TimerId, Transport, UnixNanos};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Names one connection, for as long as the reactor lives.
///
/// `key` is its slot; slots are used again, so `generation` tells the owners of a slot apart. An
/// id that has outlived its connection reaches nobody: not the next owner of the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    key: u32,
    generation: u32,
}

impl ConnId {
    /// The id with these parts. A reactor makes its own; this is for tests of what is told by ids.
    pub const fn new(key: u32, generation: u32) -> ConnId {
        ConnId { key, generation }
    }

    /// The slot. Unique among the connections that exist at one time, and small: an index.
    pub const fn key(self) -> usize {
        self.key as usize
    }

    /// How many connections this reactor had made when this one was made, itself included.
    /// Twisted: the session number in a connection's log prefix.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.key, self.generation)
    }
}

/// Names one listening port of a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u32);

impl PortId {
    pub(crate) const fn new(key: u32) -> PortId {
        PortId(key)
    }

    pub(crate) const fn key(self) -> usize {
        self.0 as usize
    }
}

/// Names one attempt to be connected somewhere, through all its retries. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectorId(pub(crate) u64);

/// What a call came to. An error is Twisted's exception out of a protocol: it is logged, and costs
/// this connection (what it had written is still sent), never the loop.
pub type Flow = Result<(), Box<dyn Error>>;

/// What all protocols of one reactor share: what hangs on the factory in Twisted.
pub trait Shared: Sized {
    /// What can be posted to a protocol by the id of its connection: the answer to something it
    /// asked for. Twisted: what a Deferred fires with.
    type Message: fmt::Debug;

    /// Called once a turn, when all calls of the turn are done and before anything is sent: the
    /// place for what is cheaper done once for many lines, and for what must be done before anybody
    /// is told of it.
    ///
    /// An error ends the loop there and then: nothing that was written since the last turn's end is
    /// ever sent, and [`run`](crate::Reactor::run) returns it.
    fn turn_ended(&mut self, _core: &mut Core<Self>) -> io::Result<()> {
        Ok(())
    }

    /// The process was sent a signal. Unless told otherwise SIGINT and SIGTERM stop the reactor
    /// (a second one: without waiting), as Twisted's ReactorBase.sigInt and sigTerm; others are
    /// ignored.
    fn signalled(&mut self, core: &mut Core<Self>, signal: Signal) {
        match signal {
            Signal::Interrupt | Signal::Terminate => core.stop(),
            Signal::Hangup | Signal::Child => {}
        }
    }
}

/// What a call may touch: lent to it, and to nobody else meanwhile.
#[derive(Debug)]
pub struct Context<'a, S: Shared> {
    /// All connections, timers and wishes. Twisted: `reactor`.
    pub core: &'a mut Core<S>,
    /// What the protocols share. Twisted: `self.factory`.
    pub state: &'a mut S,
    /// The connection that is called. Twisted: `self.transport`.
    pub id: ConnId,
}

impl<S: Shared> Context<'_, S> {
    /// Appends `data` to this connection's send buffer; see [`Core::write`].
    pub fn write(&mut self, data: &[u8]) {
        self.core.write(self.id, data);
    }

    /// Closes this connection once what is written has been sent; see [`Core::lose_connection`].
    pub fn lose_connection(&mut self) {
        self.core.lose_connection(self.id);
    }

    /// Closes this connection at once; see [`Core::abort_connection`].
    pub fn abort_connection(&mut self) {
        self.core.abort_connection(self.id);
    }

    /// Stops delivering to this protocol; see [`Core::pause_producing`].
    pub fn pause_producing(&mut self) {
        self.core.pause_producing(self.id);
    }

    /// Delivers to this protocol again; see [`Core::resume_producing`].
    pub fn resume_producing(&mut self) {
        self.core.resume_producing(self.id);
    }

    /// This connection, if it still exists: inside a call it does.
    pub fn transport(&self) -> Option<&Transport> {
        self.core.transport(self.id)
    }

    /// Calls this protocol's [`timer`](Protocol::timer) `delay` from now; see [`Core::timer_later`].
    pub fn timer_later(&mut self, delay: Duration) -> TimerId {
        self.core.timer_later(self.id, delay)
    }

    /// The monotonic clock, as of this turn.
    pub fn now(&self) -> Moment {
        self.core.now()
    }

    /// The wall clock, as of the last read: the time at which these bytes were in.
    pub fn wall(&self) -> UnixNanos {
        self.core.wall()
    }
}

/// One end of one connection: told what happens to it, in this order.
///
/// `connection_made`, then any number of the others, then `connection_lost`, each exactly once
/// for the first and the last. Nothing is called after `connection_lost`, and nothing but it
/// after [`lose_connection`](Core::lose_connection) or [`abort_connection`](Core::abort_connection).
///
/// Twisted: internet/protocol.py, Protocol; interfaces.py, IHalfCloseableProtocol, IPushProducer.
pub trait Protocol<S: Shared>: fmt::Debug {
    /// The name under which the log speaks of such connections.
    fn name(&self) -> &'static str;

    /// The connection stands: accepted, or made by [`connect_tcp`](Core::connect_tcp).
    fn connection_made(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// Bytes have come. `data`: at least 1, at most 65,536 of them, cut anywhere.
    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow;

    /// This protocol as a [`Filter`], if it is one: then it returns `Some(self)`.
    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        None
    }

    /// The peer will send nothing more (FIN), but may still be reading. Unless told otherwise the
    /// connection is closed when all that was written has been sent; Twisted's Protocol loses it.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.lose_connection();
        Ok(())
    }

    /// The send buffer has run empty after it was full, or after
    /// [`resume_when_drained`](Core::resume_when_drained). Twisted: IPushProducer.resumeProducing.
    fn resume_producing(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// What was [posted](Core::post) to this connection.
    fn message(&mut self, _cx: &mut Context<'_, S>, _message: S::Message) -> Flow {
        Ok(())
    }

    /// A timer set with [`timer_later`](Core::timer_later) is due; `timer` is what that returned.
    ///
    /// A protocol around another one keeps the ids of its own timers, and hands on every other.
    fn timer(&mut self, _cx: &mut Context<'_, S>, _timer: TimerId) -> Flow {
        Ok(())
    }

    /// The reactor is stopping. Unless told otherwise the connection is closed when all that was
    /// written has been sent; whoever still waits for an answer may do so later.
    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.lose_connection();
        Ok(())
    }

    /// The connection is gone. Writing to it does nothing any more.
    fn connection_lost(&mut self, _cx: &mut Context<'_, S>, _why: &CloseReason) {}
}

/// A protocol between the wire and another protocol: TLS, or the way through a proxy.
///
/// What anybody writes to its connection waits as plain bytes, and the filter makes of them what is sent. The
/// reactor finds out by [`Protocol::as_filter`]. Twisted: protocols/policies.py, ProtocolWrapper.
pub trait Filter<S: Shared>: Protocol<S> {
    /// Takes what it can of `plain`, and appends to `wire` what is to be sent for it and anything of its own.
    ///
    /// Called once a turn, before the send, if something was written or [`encode_later`](Core::encode_later)
    /// was called. `closing`: the connection is being lost; this is the last call. An error costs the
    /// connection at once.
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow;
}

/// Builds a protocol for each connection that a port accepts. Twisted: Factory, ServerFactory.
pub trait Factory<S: Shared>: fmt::Debug {
    /// A protocol for the connection `cx.id` from `peer`; `None` closes it at once.
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>>;
}

/// Builds a protocol for a connection that we make, and hears what became of it.
/// Twisted: ClientFactory.
pub trait ClientFactory<S: Shared>: Factory<S> {
    /// It could not be made. Another attempt follows if the connector has a
    /// [`Backoff`](crate::Backoff) and `retry` says when.
    fn client_connection_failed(
        &mut self,
        _core: &mut Core<S>,
        _state: &mut S,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
    }

    /// It stood, and is lost; its protocol has been told. As for a failure, `retry` says when the
    /// next attempt follows.
    fn client_connection_lost(
        &mut self,
        _core: &mut Core<S>,
        _state: &mut S,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
    }
}

/// Why a connection ended, in the words of Twisted's internet/error.py.
#[derive(Debug)]
pub enum CloseReason {
    /// Cleanly: either side closed it, and all that was written was sent.
    ConnectionDone,
    /// By the network or the peer's reset.
    ConnectionLost(io::Error),
    /// By our [`abort_connection`](Core::abort_connection).
    ConnectionAborted,
    /// It could not be made. Twisted: ConnectError and its kin.
    ConnectError(io::Error),
    /// A time limit passed; which one.
    TimeoutError(&'static str),
    /// Its protocol failed: what was thrown, in Twisted's words.
    ProtocolFailed(Box<dyn Error>),
    /// The reactor stopped without waiting for it. Twisted: disconnectAll.
    ReactorStopped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::ConnectionDone => write!(f, "closed cleanly"),
            CloseReason::ConnectionLost(e) => write!(f, "connection lost: {e}"),
            CloseReason::ConnectionAborted => write!(f, "aborted"),
            CloseReason::ConnectError(e) => write!(f, "could not connect: {e}"),
            CloseReason::TimeoutError(limit) => write!(f, "timed out: {limit}"),
            CloseReason::ProtocolFailed(e) => write!(f, "{e}"),
            CloseReason::ReactorStopped => write!(f, "the server stopped"),
        }
    }
}
