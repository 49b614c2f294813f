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
//! * Writing to *any* connection is only appending to its buffer, at once. What was written since the last
//!   send leaves together, before the next poll.
//!
//! Twisted: internet/protocol.py, internet/interfaces.py.

use crate::{Core, Signal, TimerId, Transport};
use std::any::type_name;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
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
    /// For tests of an [`Io`](crate::Io): in a program, the `listen` functions make them.
    pub const fn new(key: u32) -> PortId {
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
pub type Flow<T = ()> = Result<T, Box<dyn Error>>;

/// What all protocols of one reactor share: what hangs on the factory in Twisted.
pub trait Shared: Sized {
    /// What can be posted to a protocol by the id of its connection: the answer to something it
    /// asked for. Twisted: what a Deferred fires with.
    type Message;

    /// Called once a turn, after its timers and requests, and before the send and the poll. All that has been
    /// written since the last send, and so every reply to what the last poll brought, is sent after it: the
    /// place for what is cheaper done once for many lines, and for what must be done before a client is told.
    /// `counts` is for tracing. Redis: beforeSleep.
    ///
    /// An error ends the loop there and then: nothing that was written since the last send is ever sent, and
    /// [`run`](crate::Reactor::run) returns it.
    fn before_poll(&mut self, _core: &mut Core<Self>, _counts: &TurnCounts) -> io::Result<()> {
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

/// What has been done since the last [`before_poll`](Shared::before_poll).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnCounts {
    /// Events that the last poll found.
    pub events: usize,
    /// Connections that were read for them, or because something was left from the turn before.
    pub reads: usize,
    /// Timers that were due.
    pub timers: usize,
    /// Requests of earlier calls that were carried out: messages, losses, ports, connectors.
    pub requests: usize,
    /// Connections that are about to be sent to.
    pub writes: usize,
}

/// Protocols that share nothing; nothing can be posted to them.
impl Shared for () {
    type Message = Infallible;
}

/// Protocols that share a `T` of any kind, as `cx.state.0`; nothing can be posted to them. This stands for a
/// default of [`Shared::Message`], which Rust has not: who wants messages, or hooks, names a type of its own.
impl<T> Shared for (T,) {
    type Message = Infallible;
}

/// What a call may touch: lent to it, and to nobody else meanwhile.
pub struct Context<'a, S: Shared> {
    /// All connections, timers and wishes. Twisted: `reactor`.
    pub core: &'a mut Core<S>,
    /// What the protocols share. Twisted: `self.factory`.
    pub state: &'a mut S,
    /// The connection that is called. Twisted: `self.transport`.
    pub id: ConnId,
}

impl<S: Shared> fmt::Debug for Context<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The methods of [`Core`] that name a connection, of the connection that is called.
macro_rules! of_this_connection {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl<S: Shared> Context<'_, S> { $(
            #[doc = concat!("[`Core::", stringify!($name), "`], of this connection.")]
            #[inline]
            pub fn $name(&mut self, $($argument: $type),*) $(-> $result)? {
                self.core.$name(self.id, $($argument),*)
            }
        )* }
    };
}

of_this_connection! {
    write(data: &[u8]);
    write_with(room: usize, compose: impl FnOnce(&mut Vec<u8>));
    lose_connection();
    lose_because(why: Option<CloseReason>);
    abort_connection();
    abort_because(why: CloseReason);
    linger();
    encode_later();
    note_peer_certificates(shown: Vec<Vec<u8>>);
    lose_write_connection();
    pause_producing();
    resume_producing();
    register_producer(high_water: usize);
    unregister_producer();
    resume_when_drained();
    reset_delay();
    timer_later(delay: Duration) -> TimerId;
}

impl<S: Shared> Context<'_, S> {
    /// This connection, if it still exists: inside a call it does.
    #[inline]
    pub fn transport(&self) -> Option<&Transport> {
        self.core.transport(self.id)
    }

    /// Bytes written to this connection and not yet sent.
    #[inline]
    pub fn pending(&self) -> usize {
        self.core.pending(self.id)
    }
}

/// All else that a reactor can do. Where a method of the core names a connection, that of the context is meant:
/// `cx.write(data)` is `cx.core.write(cx.id, data)`.
impl<S: Shared> Deref for Context<'_, S> {
    type Target = Core<S>;

    fn deref(&self) -> &Core<S> {
        self.core
    }
}

impl<S: Shared> DerefMut for Context<'_, S> {
    fn deref_mut(&mut self) -> &mut Core<S> {
        self.core
    }
}

/// One end of one connection: told what happens to it, in this order.
///
/// `connection_made`, then any number of the others, then `connection_lost`, each exactly once
/// for the first and the last. Nothing is called after `connection_lost`, and nothing but it
/// after [`lose_connection`](Core::lose_connection) or [`abort_connection`](Core::abort_connection).
///
/// ```
/// use herd_reactor::testing::StringTransport;
/// use herd_reactor::{CloseReason, Context, Flow, Protocol};
///
/// /// Quote of the day (RFC 865): says one thing, and closes. It shares a counter with the others.
/// struct Qotd;
///
/// impl Protocol<(u32,)> for Qotd {
///     fn connection_made(&mut self, cx: &mut Context<'_, (u32,)>) -> Flow {
///         cx.state.0 += 1;
///         cx.write(b"An apple a day keeps the doctor away\r\n");
///         cx.lose_connection();
///         Ok(())
///     }
///
///     fn data_received(&mut self, _cx: &mut Context<'_, (u32,)>, _data: &[u8]) -> Flow {
///         Ok(())
///     }
///
///     fn connection_lost(&mut self, _cx: &mut Context<'_, (u32,)>, why: &CloseReason) {
///         println!("{why}");
///     }
/// }
///
/// let mut transport = StringTransport::new((0,));
/// Qotd.connection_made(&mut transport.context()).unwrap();
/// assert!(transport.take().starts_with(b"An apple") && transport.is_disconnecting());
/// assert_eq!(transport.state.0, 1);
/// ```
///
/// Twisted: internet/protocol.py, Protocol; interfaces.py, IHalfCloseableProtocol, IPushProducer.
pub trait Protocol<S: Shared> {
    /// The name under which the log speaks of such connections. Unless told otherwise, that of the type.
    fn name(&self) -> &'static str {
        type_name::<Self>()
    }

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
///
/// A closure that returns a protocol is one, too, if its first argument is annotated; see [`factory()`].
///
/// ```
/// # use herd_reactor::{Context, Factory, Flow, Protocol, factory};
/// # use std::net::SocketAddr;
/// # struct Echo;
/// # impl Protocol<(usize,)> for Echo {
/// #     fn data_received(&mut self, _: &mut Context<'_, (usize,)>, _: &[u8]) -> Flow { Ok(()) }
/// # }
/// /// At most so many connections, which are counted in what is shared.
/// struct AtMost(usize);
///
/// impl Factory<(usize,)> for AtMost {
///     fn build_protocol(
///         &mut self,
///         cx: &mut Context<'_, (usize,)>,
///         _peer: SocketAddr,
///     ) -> Option<Box<dyn Protocol<(usize,)>>> {
///         cx.state.0 += 1;
///         (cx.state.0 <= self.0).then(|| Box::new(Echo) as Box<_>)
///     }
/// }
///
/// let by_type: Box<dyn Factory<(usize,)>> = Box::new(AtMost(10));
/// let by_closure: Box<dyn Factory<(usize,)>> = factory(|_, _| Some(Echo));
/// let annotated: Box<dyn Factory<(usize,)>> = Box::new(|cx: &mut Context<'_, (usize,)>, _| {
///     cx.state.0 += 1;
///     (cx.state.0 <= 10).then_some(Echo)
/// });
/// ```
pub trait Factory<S: Shared> {
    /// A protocol for the connection `cx.id` from `peer`; `None` closes it at once.
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>>;

    /// What became of a [`listen_tcp`](Core::listen_tcp) or [`listen_unix`](Core::listen_unix) that was asked for
    /// inside a call: the address, or why not. Unless told otherwise, a failure is logged.
    fn listening(&mut self, _core: &mut Core<S>, _state: &mut S, at: io::Result<SocketAddr>) {
        if let Err(why) = at {
            log::error!("cannot listen: {why}");
        }
    }
}

impl<S: Shared, F, P> Factory<S> for F
where
    F: FnMut(&mut Context<'_, S>, SocketAddr) -> Option<P>,
    P: Protocol<S> + 'static,
{
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        Some(Box::new(self(cx, peer)?))
    }
}

impl<S: Shared, F, P> ClientFactory<S> for F
where
    F: FnMut(&mut Context<'_, S>, SocketAddr) -> Option<P>,
    P: Protocol<S> + 'static,
{
}

/// The factory that `build` is, in the box that the reactor takes. By way of this function the compiler knows the
/// types of a closure's arguments: `factory(|_, _| Some(Echo))`.
pub fn factory<S: Shared, P: Protocol<S> + 'static>(
    build: impl FnMut(&mut Context<'_, S>, SocketAddr) -> Option<P> + 'static,
) -> Box<dyn ClientFactory<S>> {
    Box::new(build)
}

/// Builds a protocol for a connection that we make, and hears what became of it.
/// Twisted: ClientFactory.
pub trait ClientFactory<S: Shared>: Factory<S> {
    /// It could not be made. Unless told otherwise, that is logged. Another attempt follows if the connector has a
    /// [`Backoff`](crate::Backoff) and `retry` says when.
    fn client_connection_failed(
        &mut self,
        _core: &mut Core<S>,
        _state: &mut S,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        log::warn!("{why}");
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
    /// A deadline passed; which one.
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
            CloseReason::TimeoutError(missed) => write!(f, "timed out: {missed}"),
            CloseReason::ProtocolFailed(e) => write!(f, "{e}"),
            CloseReason::ReactorStopped => write!(f, "the server stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    /// The rest is reached by `Deref`.
    #[test]
    fn a_context_has_each_method_of_the_core_that_names_a_connection() {
        let core = include_str!("handle.rs").lines().map(str::trim);
        let own = include_str!("protocol.rs");
        let mut seen = 0;
        for line in core.filter(|line| line.contains("self, id: ConnId")) {
            let Some((name, _)) = line.strip_prefix("pub fn ").and_then(|f| f.split_once('('))
            else {
                continue;
            };
            seen += 1;
            let forwarded = [format!("\n    {name}("), format!("\n    pub fn {name}(")];
            // To post to oneself is rare, and has to be told from posting to another.
            assert!(name == "post" || forwarded.iter().any(|text| own.contains(text)), "{name}");
        }
        assert!(seen > 15, "{seen}");
    }
}
