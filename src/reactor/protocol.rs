//! The contract between the reactor and the program: protocols, factories, and the context that the reactor lends
//! to each call. This file holds almost no logic; read it first.
//!
//! In Twisted a protocol holds `self.transport` and `self.factory`, and reaches everything else through them. Here
//! it holds neither: the reactor lends every call a [`Context`] with the core, the shared state and the
//! connection's id. The loan ends when the call returns. So the compiler knows that no other code uses them
//! meanwhile, and no cell, lock or reference count is needed.
//!
//! Two rules follow, and every protocol may rely on them:
//!
//! * A call never runs inside a call. An event for another protocol (its connection is lost, an answer has arrived)
//!   is posted, and delivered in a later turn.
//! * Writing to *any* connection only appends to its buffer. The reactor sends the buffer before the next poll.
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

/// Identifies one connection, for as long as the reactor lives.
///
/// `key` is the connection's slot. Slots are reused, so `generation` distinguishes the successive connections of a
/// slot. An id that has outlived its connection refers to nothing, never to the next connection in the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    key: u32,
    generation: u32,
}

impl ConnId {
    /// Makes an id of its parts. The reactor assigns the ids of connections; this is for tests.
    pub const fn new(key: u32, generation: u32) -> ConnId {
        ConnId { key, generation }
    }

    /// The slot: a small index, unique among the connections that exist at the same time.
    pub const fn key(self) -> usize {
        self.key as usize
    }

    /// The serial number of this connection in its reactor, from 1 on; it wraps after 4,294,967,295.
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

/// Identifies one listening port of a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u32);

impl PortId {
    /// Makes an id, for tests of an [`Io`](crate::Io). In a program the `listen` functions return ids.
    pub const fn new(key: u32) -> PortId {
        PortId(key)
    }

    pub(crate) const fn key(self) -> usize {
        self.0 as usize
    }
}

/// Identifies one connector, through all its attempts and connections. It is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectorId(pub(crate) u64);

/// The result of a call.
///
/// An error corresponds to an exception that leaves a protocol in Twisted. The reactor logs it and closes this
/// connection, after sending what was written to it; the loop and all other connections go on.
pub type Flow<T = ()> = Result<T, Box<dyn Error>>;

/// The state that all protocols of one reactor share. Twisted: the attributes of the factory.
pub trait Shared: Sized {
    /// A message that a program can post to a protocol, such as the answer to a request.
    /// Twisted: the result of a Deferred.
    type Message;

    /// Called once a turn, after its timers and requests, and before the send and the poll.
    ///
    /// The reactor sends the replies to the last poll's input only after this call. So it is the place for work that
    /// is cheaper once for many lines, and for work that must be done before a client gets its reply (writing a
    /// journal, for example). `counts` is for tracing. Redis: beforeSleep.
    ///
    /// An error ends the loop at once: data written since the last send is never sent, and
    /// [`run`](crate::Reactor::run) returns the error.
    fn before_poll(&mut self, _core: &mut Core<Self>, _counts: &TurnCounts) -> io::Result<()> {
        Ok(())
    }

    /// Called when the process has received a signal.
    ///
    /// By default SIGINT and SIGTERM stop the reactor, and a second one stops it without waiting, as Twisted's
    /// ReactorBase.sigInt and sigTerm do; other signals are ignored.
    fn signalled(&mut self, core: &mut Core<Self>, signal: Signal) {
        match signal {
            Signal::Interrupt | Signal::Terminate => core.stop(),
            Signal::Hangup | Signal::User1 | Signal::User2 | Signal::Child => {}
        }
    }
}

/// How much the reactor has done since the last [`before_poll`](Shared::before_poll).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnCounts {
    /// How long the last poll took, nearly all of which the thread slept.
    pub slept: Duration,
    /// Events that the last poll found.
    pub events: usize,
    /// Connections accepted after the last poll.
    pub accepts: usize,
    /// Connections read, because the poll reported them or because something was left from the turn before.
    pub reads: usize,
    /// Timers that were due.
    pub timers: usize,
    /// Requests of earlier calls carried out: messages, losses, ports, connectors.
    pub requests: usize,
    /// Connections whose send buffers are about to be sent.
    pub writes: usize,
}

/// The shared state of protocols that share nothing. No message can be posted to them.
impl Shared for () {
    type Message = Infallible;
}

/// The shared state of protocols that share a `T`, as `cx.state.0`. No message can be posted to them.
///
/// Rust has no default for [`Shared::Message`]; to post messages or to use the hooks, implement [`Shared`] for a
/// type of your own.
impl<T> Shared for (T,) {
    type Message = Infallible;
}

/// Everything that a call may use, lent to one call at a time.
pub struct Context<'a, S: Shared> {
    /// All connections, timers and pending requests. Twisted: `reactor`.
    pub core: &'a mut Core<S>,
    /// The state that the protocols share. Twisted: `self.factory`.
    pub state: &'a mut S,
    /// The connection whose protocol is called. Twisted: `self.transport`.
    pub id: ConnId,
}

impl<S: Shared> fmt::Debug for Context<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Forwards the methods of [`Core`] that take a connection's id, with the id of this connection.
macro_rules! of_this_connection {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl<S: Shared> Context<'_, S> { $(
            #[doc = concat!("Calls [`Core::", stringify!($name), "`] for this connection.")]
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
    set_user_timeout(timeout: Duration);
    resume_when_drained();
    reset_delay();
    timer_later(delay: Duration) -> TimerId;
}

impl<S: Shared> Context<'_, S> {
    /// This connection. It is `Some` inside a call.
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

/// Gives access to the other methods of [`Core`]. The context has methods of its own where the core's take a
/// connection's id: `cx.write(data)` is `cx.core.write(cx.id, data)`.
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

/// The program's end of one connection.
///
/// The reactor calls `connection_made` exactly once, then the other methods any number of times, then
/// `connection_lost` exactly once. After [`lose_connection`](Core::lose_connection) or
/// [`abort_connection`](Core::abort_connection) it calls only `connection_lost`.
///
/// ```
/// use herd_reactor::testing::StringTransport;
/// use herd_reactor::{CloseReason, Context, Flow, Protocol};
///
/// /// Quote of the day (RFC 865): sends a quote and closes. All connections share one counter.
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
    /// The name of this protocol in log lines. The default is the name of the type.
    fn name(&self) -> &'static str {
        type_name::<Self>()
    }

    /// The connection is open: it was accepted, or made by [`connect_tcp`](Core::connect_tcp).
    fn connection_made(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// Data has arrived: 1 to 65,536 bytes, cut anywhere.
    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow;

    /// Returns `Some(self)` if this protocol is a [`Filter`].
    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        None
    }

    /// The peer has sent its FIN: it sends nothing more, but may still read.
    ///
    /// By default the connection closes when all written data has been sent. Twisted's Protocol closes it too, but
    /// loses the unsent data.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.lose_connection();
        Ok(())
    }

    /// The send buffer is empty again after it was full, or after
    /// [`resume_when_drained`](Core::resume_when_drained). Twisted: IPushProducer.resumeProducing.
    fn resume_producing(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// A message that was [posted](Core::post) to this connection.
    fn message(&mut self, _cx: &mut Context<'_, S>, _message: S::Message) -> Flow {
        Ok(())
    }

    /// A timer set with [`timer_later`](Core::timer_later), which returned `timer`, is due.
    ///
    /// A protocol that wraps another one keeps the ids of its own timers and passes every other id on.
    fn timer(&mut self, _cx: &mut Context<'_, S>, _timer: TimerId) -> Flow {
        Ok(())
    }

    /// The reactor is stopping.
    ///
    /// By default the connection closes when all written data has been sent. A protocol whose peer still waits for
    /// an answer may override this, and close after the answer.
    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.lose_connection();
        Ok(())
    }

    /// The connection is gone, for the reason `why`. Writing to it has no effect.
    fn connection_lost(&mut self, _cx: &mut Context<'_, S>, _why: &CloseReason) {}
}

/// A protocol between the wire and another protocol, such as TLS or a proxy's CONNECT.
///
/// Data that any code writes to its connection waits as plain bytes; the filter encodes them before the send. The
/// reactor recognises a filter by [`Protocol::as_filter`]. Twisted: protocols/policies.py, ProtocolWrapper.
pub trait Filter<S: Shared>: Protocol<S> {
    /// Takes what it can from `plain`, and appends its encoding and any bytes of the filter's own to `wire`.
    ///
    /// Called at most once a turn, before the send, if data was written or [`encode_later`](Core::encode_later) was
    /// called, or if an earlier send was partial. `closing` says that the connection is being lost, and that `plain`
    /// will get no more data. An error ends the connection at once.
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow;
}

/// Builds a protocol for each connection that a port accepts. Twisted: Factory, ServerFactory.
///
/// A closure that returns a protocol is a factory too, if its first argument has a type; see [`factory()`].
///
/// ```
/// # use herd_reactor::{Context, Factory, Flow, Protocol, factory};
/// # use std::net::SocketAddr;
/// # struct Echo;
/// # impl Protocol<(usize,)> for Echo {
/// #     fn data_received(&mut self, _: &mut Context<'_, (usize,)>, _: &[u8]) -> Flow { Ok(()) }
/// # }
/// /// Limits how many connections are accepted in all; the shared state counts them.
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
    /// Builds a protocol for the connection `cx.id` with `peer`; `None` closes the connection at once.
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>>;

    /// The result of a [`listen_tcp`](Core::listen_tcp) or [`listen_unix`](Core::listen_unix) made inside a call:
    /// the address, or the error. By default an error is logged.
    fn listening(&mut self, _core: &mut Core<S>, _state: &mut S, at: io::Result<SocketAddr>) {
        if let Err(why) = at {
            log::error!("cannot listen on a port: {why}");
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

/// Boxes the closure `build` as a factory. The signature tells the compiler the types of the closure's arguments,
/// so that `factory(|_, _| Some(Echo))` compiles.
pub fn factory<S: Shared, P: Protocol<S> + 'static>(
    build: impl FnMut(&mut Context<'_, S>, SocketAddr) -> Option<P> + 'static,
) -> Box<dyn ClientFactory<S>> {
    Box::new(build)
}

/// Builds a protocol for each connection of a connector, and learns of failures and losses.
/// Twisted: ClientFactory.
pub trait ClientFactory<S: Shared>: Factory<S> {
    /// The connection could not be made. By default that is logged.
    ///
    /// `retry` is the delay until the next attempt. It is `None` if no attempt follows: without a
    /// [`Backoff`](crate::Backoff), after [`stop_trying`](Core::stop_trying), and while the reactor is stopping.
    fn client_connection_failed(
        &mut self,
        _core: &mut Core<S>,
        _state: &mut S,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        log::warn!("{why}");
    }

    /// The connection was open and is lost; its protocol has had `connection_lost`.
    ///
    /// `retry` is the delay until the next attempt, or `None` if no attempt follows.
    fn client_connection_lost(
        &mut self,
        _core: &mut Core<S>,
        _state: &mut S,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
    }
}

/// Why a connection ended, with the names of Twisted's internet/error.py.
#[derive(Debug)]
pub enum CloseReason {
    /// Either side closed the connection cleanly, and all written data has been sent.
    ConnectionDone,
    /// The network failed, or the peer reset the connection.
    ConnectionLost(io::Error),
    /// This side called [`abort_connection`](Core::abort_connection).
    ConnectionAborted,
    /// The connection could not be made. Twisted: ConnectError and its subclasses.
    ConnectError(io::Error),
    /// A timeout expired; the text names what was late.
    TimeoutError(&'static str),
    /// The protocol returned this error. Twisted: an exception.
    ProtocolFailed(Box<dyn Error>),
    /// The reactor stopped before the connection ended. Twisted: disconnectAll.
    ReactorStopped,
}

impl CloseReason {
    /// The names under which the reasons are counted.
    pub const NAMES: [&str; 6] = ["done", "lost", "aborted", "timeout", "failed", "stopped"];

    /// The position of this reason in [`NAMES`](CloseReason::NAMES).
    pub fn number(&self) -> usize {
        match self {
            CloseReason::ConnectionDone => 0,
            CloseReason::ConnectionLost(_) | CloseReason::ConnectError(_) => 1,
            CloseReason::ConnectionAborted => 2,
            CloseReason::TimeoutError(_) => 3,
            CloseReason::ProtocolFailed(_) => 4,
            CloseReason::ReactorStopped => 5,
        }
    }
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
    /// `Deref` gives access to the other methods.
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
            // Posting to this connection is rare, and must look different from posting to another.
            assert!(name == "post" || forwarded.iter().any(|text| own.contains(text)), "{name}");
        }
        assert!(seen > 15, "{seen}");
    }
}
