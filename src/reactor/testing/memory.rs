//! A network in memory: what the kernel does for a reactor, on a clock that tests own.
//!
//! Events are epoll's, edge-triggered. What happens to a socket arms it; the poll asks each armed
//! socket what is true *now*, tells it once, and disarms it. So what arrives between two polls is
//! one event, and what was told and not acted upon is never told again.
//!
//! There are two ways to drive it:
//!
//! * [`MemoryIo::new`]: by itself. Its listeners are the only ones there are. A poll that would
//!   sleep lets the clock jump to the next arrival or to the timeout, whichever is first. A poll
//!   that would sleep for ever fails with `Deadlock`: a test ends instead of hanging.
//! * [`MemoryIo::external_clock`]: by a simulator that owns the clock and the segments of several. A poll
//!   never sleeps. The simulator [takes the segments out](MemoryIo::take_segments), loses, holds or
//!   [puts them in](MemoryIo::put_segment) elsewhere, [advances](MemoryIo::advance) all clocks, and
//!   turns whose time has come ([`next_wake`](MemoryIo::next_wake)).
//!
//! A stream has a listener at its other end; a datagram needs none. Since no reactor listens for
//! datagrams, the port at the other end is [played](MemoryIo::play_datagrams) by the test: in the
//! same network, or in another that the simulator carries them to.
//!
//! This file is what tests do with it. What the network does is in `memory/arrivals`, what the
//! reactor does in `memory/calls`.

mod arrivals;
mod calls;

use super::datagrams::{Datagram, DatagramSocket, PlayedPort};
use super::endpoint::Endpoint;
use super::event_queue::{EventQueue, Scheduled};
use super::options::{MemoryOptions, NetworkFault};
use super::segment::{Segment, SegmentKind};
use crate::io::Close;
use crate::{ConnId, Io, Moment, PortId, Signal, UnixNanos};
use rustix::io::Errno;
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The first port given to whoever asks for any.
const EPHEMERAL: u16 = 32_768;

/// A network in memory, under one reactor. Its clock jumps to whatever is next.
///
/// ```
/// use herd_reactor::testing::{MemoryIo, MemoryOptions, Records, Recorder};
/// use herd_reactor::{ConnectOptions, ReactorLimits, Reactor, factory};
/// use std::time::Duration;
///
/// // A seed, and all that a kernel hardly ever does: short reads and writes, late arrivals, false alarms.
/// let io = MemoryIo::new(MemoryOptions::rough(7));
/// let mut reactor = Reactor::new(io, Records::default(), ReactorLimits::default());
/// let any = ([127, 0, 0, 1], 0).into();
/// let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(Recorder::new("server"))))?;
/// let client = factory(|cx, _| {
///     cx.write(b"in pieces");
///     Some(Recorder::new("client"))
/// });
/// reactor.connect_tcp(address, ConnectOptions::default(), client);
/// reactor.call_later(Duration::from_secs(1), |_, core| core.stop());
/// reactor.run()?;
/// assert_eq!(reactor.state().bytes("server"), b"in pieces");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryIo {
    queue: EventQueue,
    endpoints: Slab<Endpoint>,
    by_id: Vec<Option<usize>>,
    /// By our address and the peer's.
    by_ends: BTreeMap<(SocketAddr, SocketAddr), usize>,
    ports: Vec<Option<MemoryPort>>,
    /// Where in this network one is who listens at a path.
    paths: BTreeMap<PathBuf, SocketAddr>,
    datagrams: BTreeMap<ConnId, DatagramSocket>,
    played: Vec<PlayedPort>,
    /// Something has come to a played port since the last poll.
    played_heard: bool,
    /// Of whom there is something to tell, first come first.
    armed: VecDeque<Armed>,
    signals: VecDeque<Signal>,
    faults: BTreeMap<SocketAddr, NetworkFault>,
    held: Vec<Segment>,
    stale: VecDeque<ConnId>,
    ephemeral: u16,
    clock: WallClock,
    /// Until when the reactor would have slept, had it been let.
    wake: Option<Moment>,
}

#[derive(Debug)]
struct MemoryPort {
    host: SocketAddr,
    waiting: VecDeque<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Armed {
    Port(PortId),
    Endpoint(usize),
    Datagrams(ConnId),
}

/// What the wall clock showed at one moment, and how much too fast it goes.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    since: Moment,
    shown: UnixNanos,
    skew_ppm: i64,
}

impl WallClock {
    fn at(self, now: Moment) -> UnixNanos {
        let passed = (now - self.since).as_nanos() as i128;
        let shown = self.shown.0 as i128 + passed + passed * self.skew_ppm as i128 / 1_000_000;
        UnixNanos(shown.clamp(0, u64::MAX as i128) as u64)
    }
}

impl MemoryIo {
    /// A network whose clock goes as its reactor polls.
    pub fn new(options: MemoryOptions) -> MemoryIo {
        MemoryIo::build(options, false)
    }

    /// A part of a larger network: somebody else owns the clock and carries the segments.
    pub fn external_clock(options: MemoryOptions) -> MemoryIo {
        MemoryIo::build(options, true)
    }

    fn build(options: MemoryOptions, carried: bool) -> MemoryIo {
        assert!(options.send_window_bytes > 0 && options.receive_window_bytes > 0);
        assert!(*options.arrival_bytes.start() > 0 && *options.write_bytes.start() > 0);
        let clock = WallClock { since: Moment::default(), shown: options.wall, skew_ppm: 0 };
        MemoryIo {
            queue: EventQueue::new(options, carried),
            endpoints: Slab::new(),
            by_id: Vec::new(),
            by_ends: BTreeMap::new(),
            ports: Vec::new(),
            paths: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            played: Vec::new(),
            played_heard: false,
            armed: VecDeque::new(),
            signals: VecDeque::new(),
            faults: BTreeMap::new(),
            held: Vec::new(),
            stale: VecDeque::new(),
            ephemeral: EPHEMERAL,
            clock,
            wake: None,
        }
    }

    /// How the network behaves from now on.
    pub fn options(&mut self) -> &mut MemoryOptions {
        &mut self.queue.options
    }

    // The clocks.

    /// Moves the clock on to `to`, if it has not got there yet. What arrives by then is told at the
    /// next poll.
    pub fn advance(&mut self, to: Moment) {
        self.queue.now = self.queue.now.max(to);
    }

    /// Sets the wall clock, forwards or back. The monotonic clock does not notice.
    pub fn set_wall(&mut self, shown: UnixNanos) {
        self.clock = WallClock { since: self.queue.now, shown, ..self.clock };
    }

    /// From now on the wall clock gains so many microseconds each second (negative: loses).
    pub fn set_wall_skew(&mut self, skew_ppm: i64) {
        let shown = self.clock.at(self.queue.now);
        self.clock = WallClock { since: self.queue.now, shown, skew_ppm };
    }

    // What is under way, for whoever carries it.

    /// Takes out what was sent since the last call. Empty unless [`external_clock`](MemoryIo::external_clock).
    pub fn take_segments(&mut self) -> Vec<Segment> {
        self.queue.out.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts in a segment; it arrives when it says, or now if that is past.
    pub fn put_segment(&mut self, segment: Segment) {
        self.queue.schedule(segment.arrives.max(self.queue.now), Scheduled::Segment(segment));
    }

    /// When the reactor above has something to do: its next timer, or the next arrival. Now, if it
    /// did not want to sleep. What is asked of the reactor from outside it does not know of: turn it.
    pub fn next_wake(&self) -> Option<Moment> {
        let told = !self.armed.is_empty() || !self.signals.is_empty();
        let now = told.then_some(self.queue.now);
        [now, self.wake, self.queue.earliest()].into_iter().flatten().min()
    }

    // Datagrams, for whoever plays the other side.

    /// Takes datagrams at `address` from now on, in the place of a program: what comes is
    /// [taken](MemoryIo::take_datagrams) by the test. A poll that sleeps ends early when something
    /// has come.
    pub fn play_datagrams(&mut self, address: SocketAddr) {
        assert!(self.played.iter().all(|port| port.host != address), "{address} is played already");
        self.played.push(PlayedPort { host: address, received: VecDeque::new() });
    }

    /// What has come to the ports that are played, each in the order of arrival.
    pub fn take_datagrams(&mut self) -> Vec<Datagram> {
        self.deliver();
        self.played.iter_mut().flat_map(|port| port.received.drain(..)).collect()
    }

    /// Sends a datagram, from a port that is played or from any address a liar may choose.
    pub fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.queue.send_datagram(from, to, SegmentKind::Datagram(bytes));
    }

    // What the kernel does for a process that does nothing.

    /// Takes in what has arrived by now and tells nobody, as the kernel does while the process above
    /// is stopped. It is told at the next poll. For who [carries](MemoryIo::external_clock) the segments.
    pub fn arrive(&mut self) {
        self.deliver();
    }

    /// When the next segment arrives, whatever the reactor above waits for.
    pub fn next_arrival(&self) -> Option<Moment> {
        self.queue.earliest()
    }

    /// Takes back what was put in and has not arrived yet: for who puts another kernel in the place of
    /// this one.
    pub fn take_under_way(&mut self) -> Vec<Segment> {
        self.queue.take_under_way()
    }

    /// The process is killed: the kernel closes what it had open, and refuses who asks for it. What
    /// was written is still sent, as long as [`arrive`](MemoryIo::arrive) is called; the reactor above
    /// must never turn again.
    pub fn kill(&mut self) {
        // What has come by now was not read by anybody.
        self.deliver();
        for port in 0..self.ports.len() {
            self.unlisten(PortId::new(port as u32));
        }
        for id in self.connections() {
            self.close(id, Close::Orderly);
        }
        self.armed.clear();
    }

    /// The connections that are open, in no order that matters.
    pub fn connections(&self) -> Vec<ConnId> {
        self.endpoints.iter().filter_map(|(_, endpoint)| endpoint.id).collect()
    }

    /// Bytes written to the connection `id` that its peer has not read yet: they wait, or are under way.
    pub fn unread_bytes(&self, id: ConnId) -> usize {
        self.key(id).map_or(0, |key| self.endpoints[key].unread)
    }

    // What goes wrong.

    /// From now on `fault` holds between the listening address `server` and all who connect to it.
    pub fn fault(&mut self, server: SocketAddr, fault: NetworkFault) {
        self.faults.insert(server, fault);
    }

    /// Takes the fault at `server` back. What was held arrives now.
    pub fn heal(&mut self, server: SocketAddr) {
        // What has come by now is held behind the rest, not let in before it.
        self.deliver();
        self.faults.remove(&server);
        let held = std::mem::take(&mut self.held);
        for segment in held {
            match segment.from == server || segment.to == server {
                true => self.queue.schedule(self.queue.now, Scheduled::Segment(segment)),
                false => self.held.push(segment),
            }
        }
    }

    /// The network resets the connection `id`: both ends hear of it.
    pub fn reset(&mut self, id: ConnId) {
        let Some(key) = self.key(id) else { return };
        let Endpoint { host, peer, .. } = self.endpoints[key];
        self.queue.send(host, peer, SegmentKind::Reset);
        self.endpoints[key].failed(Errno::CONNRESET);
        self.arm(key);
    }

    /// The process is sent a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    /// Where to connect to for whoever listens at `path`; `None` if nobody does.
    pub fn address_of(&self, path: &Path) -> Option<SocketAddr> {
        self.paths.get(path).copied()
    }

    /// Sockets that are open, ports included.
    pub fn descriptors(&self) -> usize {
        let streams = self.by_id.iter().flatten().count();
        streams + self.datagrams.len() + self.ports.iter().flatten().count()
    }
}

impl MemoryPort {
    fn is_at(&self, address: SocketAddr) -> bool {
        let any = self.host.ip().is_unspecified() || self.host.ip() == address.ip();
        any && self.host.port() == address.port()
    }
}
