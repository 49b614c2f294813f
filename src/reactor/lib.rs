//! A single-threaded reactor: one loop sleeps until a connection is ready, then calls the protocol of that connection.
//!
//! It knows connections, turns and timers. It does not know lines ([`line_receiver`] builds them on top) or TLS.
//!
//! ```text
//!      ┌─────────────────────────── one turn ────────────────────────────┐
//!      │                                                                 │
//!      ▼                                                                 │
//!   timers due ─▶ shutdown ─▶ requests ─▶ before_poll ─▶ send ─▶ poll ─▶ read, accept
//!   timer,                    message,                   once    sleep   data_received,
//!   call_later                connection_lost,           each            connection_made
//!                             listen, connect
//! ```
//!
//! [`Reactor::turn`] is that picture in code; begin reading there. Programs implement [`Protocol`]. A protocol's
//! call may use everything in [`Core`]. [`Transport`] is the state of one connection, and [`Io`] is all that the
//! reactor needs from the kernel.
//!
//! The order is Twisted's (internet/base.py, mainLoop, runUntilCurrent), with one exception. Twisted sends
//! written data when a later poll reports the socket writable; this reactor sends it before the poll. Data
//! written in response to a read leaves in the next turn, with no poll and no `epoll_ctl` in between. Data
//! written by timers and messages leaves in the same turn. A request and its reply cost three system calls:
//! poll, read, write.
//!
//! # The first program
//!
//! ```
//! use herd_reactor::{Context, Flow, ReactorLimits, MioIo, Protocol, Reactor, factory};
//!
//! struct Echo;
//!
//! impl Protocol<()> for Echo {
//!     fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
//!         cx.write(data);
//!         Ok(())
//!     }
//! }
//!
//! let mut reactor = Reactor::new(MioIo::new(&[])?, (), ReactorLimits::default());
//! let any = ([127, 0, 0, 1], 0).into();
//! let (_port, address) = reactor.listen_tcp(any, factory(|_, _| Some(Echo)))?;
//! println!("{address}");
//! # reactor.stop();
//! reactor.run()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Caveats
//!
//! ## Bytes arrive in arbitrary pieces
//!
//! TCP is a stream: one `data_received` may bring half a message, or three. Keep an incomplete message until the
//! rest arrives, or use a [`LineReceiver`](line_receiver::LineReceiver), which does so for lines.
//!
//! ```
//! use herd_reactor::{Context, Flow, Protocol};
//!
//! /// Adds up numbers of four bytes each.
//! #[derive(Default)]
//! struct Sums { kept: Vec<u8>, sum: u64 }
//!
//! impl Protocol<()> for Sums {
//!     fn data_received(&mut self, _: &mut Context<'_, ()>, data: &[u8]) -> Flow {
//!         self.kept.extend_from_slice(data);
//!         let (whole, rest) = self.kept.as_chunks::<4>();
//!         self.sum += whole.iter().map(|four| u64::from(u32::from_be_bytes(*four))).sum::<u64>();
//!         self.kept = rest.to_vec();
//!         Ok(())
//!     }
//! }
//! # let mut transport = herd_reactor::testing::StringTransport::new(());
//! # let mut sums = Sums::default();
//! # for piece in [&[0, 0][..], &[0, 7, 0], &[0, 0, 8]] {
//! #     sums.data_received(&mut transport.context(), piece).unwrap();
//! # }
//! # assert_eq!(sums.sum, 15);
//! ```
//!
//! ## Writing sends nothing
//!
//! `write` only appends to a buffer. The reactor sends the buffer after the call has returned, perhaps in several
//! parts. When `write` returns, the peer has received nothing yet.
//!
//! ```
//! # use herd_reactor::{Context, Flow, Protocol};
//! # struct Large;
//! impl Protocol<()> for Large {
//!     fn data_received(&mut self, cx: &mut Context<'_, ()>, _: &[u8]) -> Flow {
//!         cx.write(&[0; 1_000]);
//!         assert_eq!(cx.pending(), 1_000);
//!         // Asks the reactor to call `resume_producing` when all of it has been sent.
//!         cx.resume_when_drained();
//!         Ok(())
//!     }
//!
//!     fn resume_producing(&mut self, cx: &mut Context<'_, ()>) -> Flow {
//!         assert_eq!(cx.pending(), 0);
//!         cx.lose_connection();
//!         Ok(())
//!     }
//! }
//! # let mut transport = herd_reactor::testing::StringTransport::new(());
//! # Large.data_received(&mut transport.context(), b"?").unwrap();
//! ```
//!
//! ## A peer that does not read is not read
//!
//! Once more than [`BUFFER_SIZE`] bytes wait to be sent on a connection, the reactor delivers nothing more from it
//! until all of them are sent. That is right for most servers. It is wrong in two cases: if the peer does the same,
//! both sides can wait for ever; and if the output comes from other connections, not reading this one does not
//! slow them down. In both cases call [`Core::unregister_producer`], and limit the pending output yourself.
//!
//! ```
//! # use herd_reactor::testing::StringTransport;
//! # use herd_reactor::BUFFER_SIZE;
//! # let mut transport = StringTransport::new(());
//! # let mut cx = transport.context();
//! cx.write(&[0; BUFFER_SIZE + 1]);
//! assert!(!cx.transport().is_some_and(|transport| transport.is_delivering()));
//! # let mut transport = StringTransport::new(());
//! # let mut cx = transport.context();
//! cx.unregister_producer();
//! cx.write(&[0; BUFFER_SIZE + 1]);
//! assert!(cx.transport().is_some_and(|transport| transport.is_delivering()));
//! ```
//!
//! ## An id outlives its connection
//!
//! It is always safe to keep a [`ConnId`]: an operation on a connection that is gone does nothing.
//! [`Core::transport`] returns `None` for it.
//!
//! ```
//! # use herd_reactor::{ConnId, testing::StringTransport};
//! # let mut transport = StringTransport::new(());
//! # let mut cx = transport.context();
//! let gone = ConnId::new(cx.id.key() as u32, 7_000);
//! cx.core.write(gone, b"to nobody");
//! assert!(cx.core.transport(gone).is_none());
//! assert_eq!(cx.pending(), 0);
//! ```
//!
//! ## Callbacks never nest
//!
//! `abort_connection` returns before the reactor calls `connection_lost`, `post` before it calls `message`, and
//! `connect_tcp` before it begins to connect. A protocol cannot call another protocol: it posts a
//! [`Shared::Message`] to it, or changes the shared state.
//!
//! ```
//! use herd_reactor::{ConnId, Context, Flow, Protocol, Shared};
//!
//! struct Desk { clerk: Option<ConnId> }
//!
//! impl Shared for Desk {
//!     type Message = String;
//! }
//!
//! struct Customer;
//!
//! impl Protocol<Desk> for Customer {
//!     fn data_received(&mut self, cx: &mut Context<'_, Desk>, data: &[u8]) -> Flow {
//!         if let Some(clerk) = cx.state.clerk {
//!             cx.post(clerk, String::from_utf8_lossy(data).into_owned());
//!         }
//!         Ok(())
//!     }
//!
//!     /// The reactor calls this in a later turn, on the clerk's protocol.
//!     fn message(&mut self, cx: &mut Context<'_, Desk>, message: String) -> Flow {
//!         cx.write(message.as_bytes());
//!         Ok(())
//!     }
//! }
//! ```
//!
//! ## A peer may still read after its FIN
//!
//! When the peer has sent its FIN, the reactor calls [`Protocol::read_connection_lost`]. By default that method
//! closes the connection once all written data has been sent; override it to write more. The connection is lost
//! when both sides have ended.
//!
//! ```
//! # use herd_reactor::{Context, Flow, Protocol};
//! # struct Patient;
//! impl Protocol<()> for Patient {
//! #   fn data_received(&mut self, _: &mut Context<'_, ()>, _: &[u8]) -> Flow { Ok(()) }
//!     fn read_connection_lost(&mut self, cx: &mut Context<'_, ()>) -> Flow {
//!         // The answer is not ready yet; call `lose_connection` after writing it.
//!         cx.write(b"wait\n");
//!         Ok(())
//!     }
//! }
//! # let mut transport = herd_reactor::testing::StringTransport::new(());
//! # Patient.read_connection_lost(&mut transport.context()).unwrap();
//! # assert_eq!(transport.take(), b"wait\n");
//! ```
//!
//! ## A slow call delays every connection
//!
//! There is only one thread. [`Core::take_longest_lag`] returns the longest delay of the loop, and
//! [`Core::turn_durations`] and [`Core::lags`] count all of them.
//!
//! ```
//! # use herd_reactor::testing::{MemoryIo, MemoryOptions};
//! # use herd_reactor::{ReactorLimits, Reactor};
//! # let mut reactor = Reactor::new(MemoryIo::new(MemoryOptions::default()), (), ReactorLimits::default());
//! # reactor.call_later(std::time::Duration::ZERO, |_, core| core.stop());
//! # reactor.run()?;
//! if reactor.take_longest_lag().as_millis() > 10 {
//!     eprintln!("a call has taken more than 10 ms");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! docs/twisted.md lists every deliberate difference from Twisted, with its reason and test.

mod buffer_pool;
mod connector;
mod handle;
mod histogram;
pub mod io;
mod limits;
pub mod line_receiver;
mod log_throttle;
mod protocol;
mod queue;
mod rng;
mod tcp;
pub mod testing;
mod time;
mod timers;
mod transport;

pub use self::connector::{Backoff, ConnectOptions};
pub use self::handle::Core;
pub use self::histogram::Histogram;
pub use self::io::{Io, MioIo, Signal};
pub use self::limits::ReactorLimits;
pub use self::log_throttle::{LogThrottle, ThrottleKey};
pub use self::protocol::{
    ClientFactory, CloseReason, ConnId, ConnectorId, Context, Factory, Filter, Flow, PortId,
    Protocol, Shared, TurnCounts, factory,
};
pub use self::rng::SplitMix64;
pub use self::tcp::{READ_BYTES_MAX, SEND_LIMIT};
pub use self::time::{Moment, UnixNanos};
pub use self::timers::{NotPending, TimerId};
pub(crate) use self::transport::Phase;
pub use self::transport::{BUFFER_SIZE, BUFFERED_BYTES_MAX, Transport};

use self::connector::Connector;
use self::io::{Addrs, Event};
use self::queue::{ListenAt, Posted, RunState, TimerCall};
use self::tcp::Port;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

/// The event loop. It owns the [`Io`] below, the protocols above, and the [`Core`] between them.
///
/// ```
/// use herd_reactor::testing::{MemoryIo, MemoryOptions};
/// use herd_reactor::{ReactorLimits, Reactor};
/// use std::time::Duration;
///
/// // In memory an hour passes at once. A real program uses `MioIo`.
/// let mut reactor = Reactor::new(MemoryIo::new(MemoryOptions::default()), (0,), ReactorLimits::default());
/// reactor.call_later(Duration::from_secs(3_600), |state, core| {
///     state.0 += 1;
///     core.stop();
/// });
/// reactor.run()?;
/// assert_eq!(reactor.state().0, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Reactor<I: Io, S: Shared> {
    io: I,
    core: Core<S>,
    state: S,
    /// The protocols, indexed by the connection's key. They are not part of the core, so that the reactor can lend the
    /// core to the protocol that it calls. They are not a slab, because a connection being made has no protocol yet.
    protocols: Vec<Option<Box<dyn Protocol<S>>>>,
    ports: Vec<Option<Port<S>>>,
    connectors: BTreeMap<ConnectorId, Connector<S>>,
    /// The only read buffer. A protocol copies the bytes that it keeps.
    buffer: Box<[u8]>,
    events: Vec<Event>,
    counts: TurnCounts,
}

impl<I: Io, S: Shared> Reactor<I, S> {
    /// Creates a reactor on `io` whose protocols share `state`.
    pub fn new(mut io: I, state: S, limits: ReactorLimits) -> Reactor<I, S> {
        let core = Core::new(limits, io.random(), io.now(), io.wall());
        Reactor {
            io,
            core,
            state,
            protocols: Vec::new(),
            ports: Vec::new(),
            connectors: BTreeMap::new(),
            buffer: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            events: Vec::new(),
            counts: TurnCounts::default(),
        }
    }

    /// Listens on `address`; `factory` builds a protocol for each accepted connection.
    ///
    /// Returns the id of the port and its address: for port 0 the kernel chooses the number.
    /// Twisted: reactor.listenTCP.
    pub fn listen_tcp(
        &mut self,
        address: SocketAddr,
        factory: Box<dyn Factory<S>>,
    ) -> std::io::Result<(PortId, SocketAddr)> {
        let id = self.core.next_port();
        let local = self.io.listen(id, address)?;
        self.open_port(id, factory);
        Ok((id, local))
    }

    /// Listens on a Unix socket at `path`; `factory` builds a protocol for each accepted connection.
    ///
    /// The socket file has mode 0660, so its owner and group may connect. A socket file that a dead process
    /// left behind is replaced, and the file is removed when listening ends. Twisted: reactor.listenUNIX.
    pub fn listen_unix(
        &mut self,
        path: &Path,
        factory: Box<dyn Factory<S>>,
    ) -> std::io::Result<PortId> {
        let id = self.core.next_port();
        self.io.listen_unix(id, path)?;
        self.open_port(id, factory);
        Ok(id)
    }

    /// The state that the protocols share.
    pub fn state(&mut self) -> &mut S {
        &mut self.state
    }

    /// The shared state and the core, borrowed together, as a timer's closure gets them.
    pub fn parts(&mut self) -> (&mut S, &mut Core<S>) {
        (&mut self.state, &mut self.core)
    }

    /// The [`Io`] that this reactor was created with.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// Whether the loop has ended.
    pub fn is_stopped(&self) -> bool {
        self.core.run_state == RunState::Stopped
    }

    /// Runs turns until [`Core::stop`] has been called and the shutdown is complete. Twisted: reactor.run.
    ///
    /// Returns an error if the poll or [`before_poll`](Shared::before_poll) fails; the loop cannot go on then.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.is_stopped() {
            self.turn()?;
        }
        Ok(())
    }

    /// Runs one turn. Twisted: the body of mainLoop, that is runUntilCurrent and doIteration.
    pub fn turn(&mut self) -> std::io::Result<()> {
        self.core.begin_turn(self.io.now());
        self.counts.timers = self.run_timers();
        self.run_shutdown();
        self.counts.requests = self.run_inbox();
        self.counts.writes = self.core.dirty.len();
        if let Err(e) = self.state.before_poll(&mut self.core, &self.counts) {
            self.core.run_state = RunState::Stopped;
            return Err(e);
        }
        self.flush();
        // The turn's calls take time, which the poll must not sleep again.
        let now = self.io.now();
        self.core.end_turn(now);
        let timeout = self.timeout(now);
        self.io.poll(timeout, &mut self.events)?;
        self.core.now = self.io.now();
        self.counts.slept = self.core.now.since(now);
        self.core.turn_began = self.core.now;
        self.core.wall = self.io.wall();
        self.dispatch();
        Ok(())
    }

    /// Runs the timers that are due at the turn's clock. A timer set meanwhile waits for the next turn.
    /// Returns how many were due.
    fn run_timers(&mut self) -> usize {
        let mut ran = 0;
        while let Some((timer, due)) = self.core.timers.next_due(self.core.now) {
            ran += 1;
            self.core.wall = self.io.wall();
            match due {
                TimerCall::Call(call) => call(&mut self.state, &mut self.core),
                TimerCall::Tell(id) => self.call(id, |protocol, cx| protocol.timer(cx, timer)),
                TimerCall::Deadline(id) => self.deadline_reached(id),
                TimerCall::Retry(connector) => self.retry_connector(connector),
                TimerCall::Accept(port) => {
                    self.ports.get_mut(port.key()).into_iter().flatten().for_each(Port::try_again);
                }
                TimerCall::Report => self.core.report_throttled(),
            }
        }
        ran
    }

    /// Takes the next step of the shutdown, if one was requested. Twisted fires its "shutdown" event here, and
    /// drops all connections with their unsent output; we send that output first.
    fn run_shutdown(&mut self) {
        match self.core.run_state {
            RunState::StopAsked => {
                self.core.run_state = RunState::Draining(self.core.now + self.core.limits.drain);
                (0..self.ports.len()).for_each(|key| self.close_port(PortId::new(key as u32)));
                let connectors: Vec<ConnectorId> = self.connectors.keys().copied().collect();
                let connections = self.core.connection_ids();
                connections.iter().for_each(|id| {
                    self.call(*id, |protocol, cx| protocol.shutting_down(cx));
                });
                for connector in connectors {
                    // The protocol of an open connection has just been called.
                    let _ = self.retire_connector(connector);
                }
            }
            RunState::Draining(until) => {
                let open = self.core.transports.len();
                if open > 0 && self.core.now >= until {
                    let drain_ms = self.core.limits.drain.as_millis();
                    self.core.limit_hit("drain_ms", drain_ms, open as u64, "connections cut off");
                }
                if open == 0 || self.core.now >= until {
                    self.finish();
                }
            }
            RunState::StopNow => self.finish(),
            RunState::Running | RunState::Stopped => {}
        }
    }

    /// Ends the loop; the remaining connections are lost with `ReactorStopped`. Twisted: disconnectAll.
    fn finish(&mut self) {
        (0..self.ports.len()).for_each(|key| self.close_port(PortId::new(key as u32)));
        for id in self.core.connection_ids() {
            self.core.lost(id, CloseReason::ReactorStopped);
        }
        self.core.run_state = RunState::Stopped;
        self.run_inbox();
        self.core.throttle.report_all();
    }

    /// Carries out the requests of earlier calls, in order. Requests made meanwhile wait for the next turn.
    /// Returns how many it carried out.
    fn run_inbox(&mut self) -> usize {
        let posted = self.core.inbox.len();
        if posted > 0 {
            self.core.wall = self.io.wall();
        }
        for post in 0..posted {
            let Some(post) = self.core.inbox.pop_front() else {
                unreachable!("{post} of {posted}")
            };
            match post {
                Posted::Connect(id, kind, address, options, factory) => {
                    self.start_connector(id, kind, address, options, factory);
                }
                Posted::Listen(port, at, factory) => self.start_listening(port, at, factory),
                Posted::StopTrying(connector) => self.stop_connector(connector),
                Posted::StopListening(port) => self.close_port(port),
                Posted::Lost(id, why, how) => self.connection_lost(id, why, how),
                Posted::UserTimeout(id, timeout) => {
                    if self.core.transport(id).is_some() {
                        // Without the option, only the kernel's own timeout applies.
                        let _ = self.io.set_user_timeout(id, timeout);
                    }
                }
                Posted::Message(id, message) => {
                    self.call(id, |protocol, cx| protocol.message(cx, message));
                }
            }
        }
        posted
    }

    /// How long the poll may sleep from `now` on. It may not sleep while work is left, because an edge-triggered
    /// poll would not wake us for that work. Twisted: ReactorBase.timeout.
    fn timeout(&self, now: Moment) -> Option<Duration> {
        let core = &self.core;
        let busy = !core.ready.is_empty()
            || !core.inbox.is_empty()
            || !core.dirty.is_empty()
            || self.ports.iter().flatten().any(Port::is_waiting);
        let wake = match core.run_state {
            RunState::Running => core.timers.earliest(),
            RunState::Draining(until) if !core.transports.is_empty() => {
                Some(core.timers.earliest().map_or(until, |due| due.min(until)))
            }
            _ => Some(now),
        };
        match busy {
            true => Some(Duration::ZERO),
            false => wake.map(|due| due.since(now)),
        }
    }

    /// Notes the poll's events, then reads each ready connection once, and accepts. Connections with something left
    /// from the last turn come first. Twisted: _doReadOrWrite, for each descriptor.
    fn dispatch(&mut self) {
        self.counts.events = self.events.len();
        self.counts.accepts = 0;
        for event in &self.events {
            match *event {
                Event::Ready { id, readable, writable, read_closed, failed } => {
                    self.core.note_readiness(id, readable, writable, read_closed);
                    if failed {
                        self.core.note_failure(id);
                    }
                }
                Event::Acceptable(port) => {
                    let port = self.ports.get_mut(port.key()).into_iter().flatten();
                    port.for_each(|port| port.acceptable = true);
                }
                Event::Signal(signal) => self.state.signalled(&mut self.core, signal),
            }
        }
        self.events.clear();
        let reads = self.core.ready.len();
        self.counts.reads = reads;
        for _ in 0..reads {
            if let Some(id) = self.core.ready.pop_front() {
                self.do_read(id);
            }
        }
        for key in 0..self.ports.len() {
            if self.ports[key].as_ref().is_some_and(Port::is_waiting) {
                self.do_accept(PortId::new(key as u32));
            }
        }
    }

    fn open_port(&mut self, id: PortId, factory: Box<dyn Factory<S>>) {
        if self.ports.len() <= id.key() {
            self.ports.resize_with(id.key() + 1, || None);
        }
        self.ports[id.key()] = Some(Port::new(factory));
    }

    /// Carries out [`Core::listen_tcp`] or [`Core::listen_unix`], and reports the result to the factory.
    fn start_listening(&mut self, id: PortId, at: ListenAt, mut factory: Box<dyn Factory<S>>) {
        let opened = match at {
            _ if self.core.is_stopping() => Err(std::io::Error::other("the reactor is stopping")),
            ListenAt::Tcp(address) => self.io.listen(id, address),
            ListenAt::Unix(path) => self.io.listen_unix(id, &path).map(|()| Addrs::UNIX.local),
        };
        let is_open = opened.is_ok();
        factory.listening(&mut self.core, &mut self.state, opened);
        if is_open {
            self.open_port(id, factory);
        }
    }

    fn close_port(&mut self, port: PortId) {
        if let Some(open) = self.ports.get_mut(port.key()).and_then(Option::take) {
            self.io.unlisten(port);
            drop(open);
        }
    }
}

/// Lends the methods of [`Core`] to code outside any call: `reactor.call_later(...)`, `reactor.stop()`.
impl<I: Io, S: Shared> Deref for Reactor<I, S> {
    type Target = Core<S>;

    fn deref(&self) -> &Core<S> {
        &self.core
    }
}

impl<I: Io, S: Shared> DerefMut for Reactor<I, S> {
    fn deref_mut(&mut self) -> &mut Core<S> {
        &mut self.core
    }
}

impl<I: Io + fmt::Debug, S: Shared + fmt::Debug> fmt::Debug for Reactor<I, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Reactor");
        shown.field("io", &self.io).field("core", &self.core).field("state", &self.state);
        shown.finish_non_exhaustive()
    }
}
