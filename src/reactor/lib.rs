//! A single-threaded reactor: one loop that sleeps until something is ready, and calls the protocol concerned.
//!
//! It knows connections, turns and timers. It knows no line (that is [`line_receiver`], on top) and no TLS.
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
//! [`Reactor::turn`] is that picture in code, and the place to begin reading. What runs on the reactor is
//! described in [`Protocol`]; what a call may touch is [`Core`]; what one connection
//! is, [`Transport`]; what the reactor asks of the kernel, [`Io`].
//!
//! The order is Twisted's (internet/base.py, mainLoop, runUntilCurrent), but for one thing: Twisted
//! sends what was written when a later poll reports writability; here the send stands before the
//! poll. What a protocol writes to what a read has brought is sent in the turn that follows that read, with no
//! poll and no `epoll_ctl` between; what timers and messages write, in their own turn. A request and its
//! reply cost three system calls: poll, read, write.
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
//! ## Bytes come in any pieces
//!
//! TCP is a stream. One `data_received` may bring half a message, or three. Keep what is not whole, or use a
//! [`LineReceiver`](line_receiver::LineReceiver), which does.
//!
//! ```
//! use herd_reactor::{Context, Flow, Protocol};
//!
//! /// Sums numbers of four bytes.
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
//! `write` appends. The send comes after the call, and may take a part only: that a call has written something
//! does not mean that the peer has it.
//!
//! ```
//! # use herd_reactor::{Context, Flow, Protocol};
//! # struct Large;
//! impl Protocol<()> for Large {
//!     fn data_received(&mut self, cx: &mut Context<'_, ()>, _: &[u8]) -> Flow {
//!         cx.write(&[0; 1_000]);
//!         assert_eq!(cx.pending(), 1_000);
//!         // To be called when all of it has been sent.
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
//! ## A connection whose peer does not read is not read
//!
//! While more than [`BUFFER_SIZE`] bytes wait to be sent, nothing more is delivered. That is right for servers. If the
//! peer does the same, both can wait for ever; and a connection that writes what others send is not helped by
//! it. Those opt out with [`Core::unregister_producer`], and bound what they write themselves.
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
//! To keep a [`ConnId`] is always safe: what is done to a connection that is gone is done to nobody. So
//! [`Core::transport`] says whether it is still there.
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
//! ## Nothing is called inside a call
//!
//! `abort_connection` returns before `connection_lost` is called, `post` before `message`, `connect_tcp` before the
//! attempt. A protocol cannot call another one: it posts a [`Shared::Message`], or changes what is shared.
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
//!     /// Called in a later turn, of the clerk's protocol.
//!     fn message(&mut self, cx: &mut Context<'_, Desk>, message: String) -> Flow {
//!         cx.write(message.as_bytes());
//!         Ok(())
//!     }
//! }
//! ```
//!
//! ## The peer's end is not the end
//!
//! After its FIN a peer may still read: [`Protocol::read_connection_lost`] closes when all is sent, unless it is
//! overridden. When both sides have ended, the connection is lost.
//!
//! ```
//! # use herd_reactor::{Context, Flow, Protocol};
//! # struct Patient;
//! impl Protocol<()> for Patient {
//! #   fn data_received(&mut self, _: &mut Context<'_, ()>, _: &[u8]) -> Flow { Ok(()) }
//!     fn read_connection_lost(&mut self, cx: &mut Context<'_, ()>) -> Flow {
//!         // There is an answer to come: `lose_connection` follows it.
//!         cx.write(b"wait\n");
//!         Ok(())
//!     }
//! }
//! # let mut transport = herd_reactor::testing::StringTransport::new(());
//! # Patient.read_connection_lost(&mut transport.context()).unwrap();
//! # assert_eq!(transport.take(), b"wait\n");
//! ```
//!
//! ## A call that takes long keeps everybody waiting
//!
//! There is one thread. [`Core::take_longest_lag`] says how long the loop has been kept.
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
//! Every deliberate difference from Twisted is a row of docs/twisted.md, with its test.

mod buffer_pool;
mod connector;
mod handle;
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

/// The loop and all that hangs on it: the kernel below, the protocols above, the core between.
///
/// ```
/// use herd_reactor::testing::{MemoryIo, MemoryOptions};
/// use herd_reactor::{ReactorLimits, Reactor};
/// use std::time::Duration;
///
/// // In memory, where an hour passes at once; `MioIo` is the kernel.
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
    /// By the key of the connection. Not in the core, so that a protocol that is called can be lent
    /// the core; not a slab of its own, because a connection being made has no protocol yet.
    protocols: Vec<Option<Box<dyn Protocol<S>>>>,
    ports: Vec<Option<Port<S>>>,
    connectors: BTreeMap<ConnectorId, Connector<S>>,
    /// The one read buffer of the process. What a protocol wants to keep, it copies.
    buffer: Box<[u8]>,
    events: Vec<Event>,
    counts: TurnCounts,
}

impl<I: Io, S: Shared> Reactor<I, S> {
    /// A reactor over `io`, whose protocols share `state`.
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

    /// Listens on `address`; `factory` builds a protocol for each connection. Says which address it
    /// became: port 0 lets the kernel choose. Twisted: reactor.listenTCP.
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

    /// Listens at `path` in the file system, for whom the file's mode (0660) lets in; `factory` builds a
    /// protocol for each connection. A file left by a process that has ended is replaced; the file is
    /// removed when listening ends. Twisted: reactor.listenUNIX.
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

    /// What the protocols share.
    pub fn state(&mut self) -> &mut S {
        &mut self.state
    }

    /// The state and the core together: to do from outside what a timer could do from inside.
    pub fn parts(&mut self) -> (&mut S, &mut Core<S>) {
        (&mut self.state, &mut self.core)
    }

    /// The kernel below, for whoever made it.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// Whether the loop has ended.
    pub fn is_stopped(&self) -> bool {
        self.core.run_state == RunState::Stopped
    }

    /// Turns until [`Core::stop`] was called and all is finished. Twisted: reactor.run.
    ///
    /// An error is the poll's own or that of [`before_poll`](Shared::before_poll), and means that the
    /// loop cannot go on.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.is_stopped() {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn. Twisted: mainLoop's body, that is runUntilCurrent and doIteration.
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
        // What timers took is not to be slept once more; a turn without any saves the reading.
        let now = if self.counts.timers > 0 { self.io.now() } else { self.core.now };
        let timeout = self.timeout(now);
        self.io.poll(timeout, &mut self.events)?;
        self.core.now = self.io.now();
        self.core.wall = self.io.wall();
        self.dispatch();
        Ok(())
    }

    /// Runs what is due at one reading of the clock. Calls made meanwhile wait for the next turn.
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

    /// Takes the next step towards the end, if it was asked for. Twisted fires its "shutdown" event
    /// here and drops all connections with their unsent output; we finish first what was begun.
    fn run_shutdown(&mut self) {
        match self.core.run_state {
            RunState::StopAsked => {
                self.core.run_state = RunState::Draining(self.core.now + self.core.limits.drain);
                (0..self.ports.len()).for_each(|key| self.close_port(PortId::new(key as u32)));
                let connectors: Vec<ConnectorId> = self.connectors.keys().copied().collect();
                let connections = self.connection_ids();
                connections.iter().for_each(|id| {
                    self.call(*id, |protocol, cx| protocol.shutting_down(cx));
                });
                for connector in connectors {
                    // Its connection, if it stands, has just been told.
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

    /// The end: whoever is left is told. Twisted: disconnectAll.
    fn finish(&mut self) {
        (0..self.ports.len()).for_each(|key| self.close_port(PortId::new(key as u32)));
        for id in self.connection_ids() {
            self.core.lost(id, CloseReason::ReactorStopped);
        }
        self.core.run_state = RunState::Stopped;
        self.run_inbox();
        self.core.throttle.report_all();
    }

    /// Does what the calls of the last turn asked for, in the order in which they asked. What is asked
    /// for meanwhile waits for the next turn. Returns how much it was.
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
                Posted::Message(id, message) => {
                    self.call(id, |protocol, cx| protocol.message(cx, message));
                }
            }
        }
        posted
    }

    /// How long the poll may sleep from `now` on. Not at all while anything is left to do: with an
    /// edge-triggered poll, nothing would wake us for it. Twisted: ReactorBase.timeout.
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

    /// Notes what the poll has found, then reads and accepts: each connection once, those first that
    /// had something left from the last turn. Twisted: _doReadOrWrite, for each descriptor.
    fn dispatch(&mut self) {
        self.counts.events = self.events.len();
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

    /// Does what [`Core::listen_tcp`] asked for, and tells the factory.
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

    fn connection_ids(&self) -> Vec<ConnId> {
        let all = self.core.transports.iter();
        all.map(|(key, transport)| ConnId::new(key as u32, transport.generation)).collect()
    }
}

/// All else that can be done from outside as from inside a call: `reactor.call_later(...)`, `reactor.stop()`.
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
