//! PART ONE. The reactor: one loop that sleeps until something is ready and calls whom it concerns.
//!
//! It knows connections, turns and timers. It knows no command, no line and no herd.
//!
//! ```text
//!      ┌────────────────────────── one turn ───────────────────────────┐
//!      │                                                               │
//!      ▼                                                               │
//!   timers due ─▶ shutdown ─▶ inbox ─▶ turn_ended ─▶ flush ─▶ poll ─▶ read, accept
//!                             losses                 send      sleep   data_received,
//!                             answers                once              connection_made
//!                             connects               each
//! ```
//!
//! [`Reactor::turn`] is that picture in code, and the place to begin. What runs on the reactor is
//! described in [`protocol`](Protocol); what it may touch is [`Core`]; what one connection
//! is, [`Transport`]; what the reactor asks of the kernel, [`Io`].
//!
//! The order is Twisted's (internet/base.py, mainLoop, runUntilCurrent), but for one thing: Twisted
//! sends what was written when a later poll reports writability; here the flush stands before the
//! poll, so a turn's replies leave in that turn, with no poll and no `epoll_ctl` between. A request
//! and its reply cost three system calls: poll, read, write.
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
pub use self::limits::Limits;
pub use self::log_throttle::{LogThrottle, ThrottleKey};
pub use self::protocol::{
    ClientFactory, CloseReason, ConnId, ConnectorId, Context, Factory, Filter, Flow, PortId,
    Protocol, Shared,
};
pub use self::rng::SplitMix64;
pub use self::tcp::{READ_BYTES_MAX, SEND_LIMIT};
pub use self::time::{Moment, UnixNanos};
pub use self::timers::{NotPending, TimerId};
pub(crate) use self::transport::Phase;
pub use self::transport::{BUFFER_SIZE, BUFFERED_BYTES_MAX, Transport};

use self::connector::Connector;
use self::io::Event;
use self::queue::{Posted, RunState, TimerCall};
use self::tcp::Port;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The loop and all that hangs on it: the kernel below, the protocols above, the core between.
#[derive(Debug)]
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
}

impl<I: Io, S: Shared> Reactor<I, S> {
    /// A reactor over `io`, whose protocols share `state`.
    pub fn new(mut io: I, state: S, limits: Limits) -> Reactor<I, S> {
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
        }
    }

    /// Listens on `address`; `factory` builds a protocol for each connection. Says which address it
    /// became: port 0 lets the kernel choose. Twisted: reactor.listenTCP.
    pub fn listen_tcp(
        &mut self,
        address: SocketAddr,
        factory: Box<dyn Factory<S>>,
    ) -> std::io::Result<(PortId, SocketAddr)> {
        let id = PortId::new(self.ports.len() as u32);
        let host = self.io.listen(id, address)?;
        self.ports.push(Some(Port::new(factory)));
        Ok((id, host))
    }

    /// Listens at `path` in the file system, for whom the file's mode (0660) lets in; `factory` builds a
    /// protocol for each connection. A file left by a process that has ended is replaced; the file is
    /// removed when listening ends. Twisted: reactor.listenUNIX.
    pub fn listen_unix(
        &mut self,
        path: &Path,
        factory: Box<dyn Factory<S>>,
    ) -> std::io::Result<PortId> {
        let id = PortId::new(self.ports.len() as u32);
        self.io.listen_unix(id, path)?;
        self.ports.push(Some(Port::new(factory)));
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
    /// An error is the poll's own or that of [`turn_ended`](Shared::turn_ended), and means that the
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
        let timers_ran = self.run_timers();
        self.run_shutdown();
        self.run_inbox();
        if let Err(e) = self.state.turn_ended(&mut self.core) {
            self.core.run_state = RunState::Stopped;
            return Err(e);
        }
        self.flush();
        // What timers took is not to be slept once more; a turn without any saves the reading.
        let now = if timers_ran { self.io.now() } else { self.core.now };
        let timeout = self.timeout(now);
        self.io.poll(timeout, &mut self.events)?;
        self.core.now = self.io.now();
        self.core.wall = self.io.wall();
        self.dispatch();
        Ok(())
    }

    /// Runs what is due at one reading of the clock. Calls made meanwhile wait for the next turn.
    /// Says whether anything was due.
    fn run_timers(&mut self) -> bool {
        let mut ran = false;
        while let Some((timer, due)) = self.core.timers.next_due(self.core.now) {
            ran = true;
            self.core.wall = self.io.wall();
            match due {
                TimerCall::Call(call) => call(&mut self.state, &mut self.core),
                TimerCall::Tell(id) => self.call(id, |protocol, cx| protocol.timer(cx, timer)),
                TimerCall::Limit(id) => self.limit_reached(id),
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
                let connections = self.connections();
                connections.iter().for_each(|id| {
                    self.call(*id, |protocol, cx| protocol.shutting_down(cx));
                });
                for connector in connectors {
                    // Its connection, if it stands, has just been told.
                    let _ = self.retire_connector(connector);
                }
            }
            RunState::Draining(until) => {
                if self.core.transports.is_empty() || self.core.now >= until {
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
        for id in self.connections() {
            self.core.lost(id, CloseReason::ReactorStopped);
        }
        self.core.run_state = RunState::Stopped;
        self.run_inbox();
        self.core.throttle.report_all();
    }

    /// Does what the calls of the last turn asked for, in the order in which they asked. What is asked
    /// for meanwhile waits for the next turn.
    fn run_inbox(&mut self) {
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
                Posted::StopTrying(connector) => self.stop_connector(connector),
                Posted::StopListening(port) => self.close_port(port),
                Posted::Lost(id, why, how) => self.connection_lost(id, why, how),
                Posted::Message(id, message) => {
                    self.call(id, |protocol, cx| protocol.message(cx, message));
                }
            }
        }
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
        for event in self.events.drain(..) {
            match event {
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
        for _ in 0..self.core.ready.len() {
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

    fn close_port(&mut self, port: PortId) {
        if let Some(open) = self.ports.get_mut(port.key()).and_then(Option::take) {
            self.io.unlisten(port);
            drop(open);
        }
    }

    fn connections(&self) -> Vec<ConnId> {
        let all = self.core.transports.iter();
        all.map(|(key, transport)| ConnId::new(key as u32, transport.generation)).collect()
    }
}
