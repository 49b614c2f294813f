//! An in-memory network: it replaces the kernel under a reactor, and tests own its clock.
//!
//! Its events are edge-triggered like epoll's. Each change of a socket's state arms the socket. A poll reports the
//! *present* state of each armed socket once, and disarms it. So all arrivals between two polls are one event, and an
//! event that the reactor ignores is not repeated.
//!
//! There are two ways to drive it:
//!
//! * [`MemoryIo::new`]: the network is alone, and all ports are in it. Instead of sleeping, a poll moves the clock to
//!   the next arrival or to the timeout, whichever is first. A poll that would sleep for ever fails with `Deadlock`, so
//!   that a test ends instead of hanging.
//! * [`MemoryIo::external_clock`]: a simulator drives several networks; it owns their clock and carries their segments.
//!   A poll never sleeps. The simulator [takes the segments out](MemoryIo::take_segments), loses or holds them or
//!   [puts them into](MemoryIo::put_segment) another network, [advances](MemoryIo::advance) all clocks, and runs a turn
//!   of each reactor whose time has come ([`next_wake`](MemoryIo::next_wake)).
//!
//! A stream needs a listening port at its other end. No reactor listens for datagrams, so the test
//! [plays](MemoryIo::play_datagrams) the port at their other end, in the same network or in another one that the
//! simulator carries them to.
//!
//! This file holds the interface for tests. `memory/arrivals` is the network's side, and `memory/calls` the reactor's.

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

/// The first ephemeral port.
const EPHEMERAL: u16 = 32_768;

/// An in-memory network under one reactor. Its clock jumps to the next event.
///
/// ```
/// use herd_reactor::testing::{MemoryIo, MemoryOptions, Records, Recorder};
/// use herd_reactor::{ConnectOptions, ReactorLimits, Reactor, factory};
/// use std::time::Duration;
///
/// // A seed, and faults that a kernel rarely shows: short reads and writes, late arrivals, spurious events.
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
    /// Endpoints by our address and the peer's.
    by_ends: BTreeMap<(SocketAddr, SocketAddr), usize>,
    ports: Vec<Option<MemoryPort>>,
    /// The address in this network of each port that listens at a path.
    paths: BTreeMap<PathBuf, SocketAddr>,
    datagrams: BTreeMap<ConnId, DatagramSocket>,
    played: Vec<PlayedPort>,
    /// A datagram has arrived at a played port since the last poll.
    played_heard: bool,
    /// Ports and sockets that the next poll reports, oldest first.
    armed: VecDeque<Armed>,
    signals: VecDeque<Signal>,
    faults: BTreeMap<SocketAddr, NetworkFault>,
    held: Vec<Segment>,
    stale: VecDeque<ConnId>,
    ephemeral: u16,
    clock: WallClock,
    /// The time until which the last poll would have slept; for a simulator.
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

/// The wall clock: its time at one moment, and by how much it runs fast.
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
    /// Creates a network whose clock moves when its reactor polls.
    pub fn new(options: MemoryOptions) -> MemoryIo {
        MemoryIo::build(options, false)
    }

    /// Creates a part of a larger network: a simulator owns the clock and carries the segments.
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

    /// The options; a change applies from now on.
    pub fn options(&mut self) -> &mut MemoryOptions {
        &mut self.queue.options
    }

    // The clocks.

    /// Moves the clock forward to `to`; it never goes back. The next poll reports what has arrived by then.
    pub fn advance(&mut self, to: Moment) {
        self.queue.now = self.queue.now.max(to);
    }

    /// Sets the wall clock, forwards or back. The monotonic clock does not change.
    pub fn set_wall(&mut self, shown: UnixNanos) {
        self.clock = WallClock { since: self.queue.now, shown, ..self.clock };
    }

    /// Makes the wall clock gain `skew_ppm` microseconds each second, or lose them if negative.
    pub fn set_wall_skew(&mut self, skew_ppm: i64) {
        let shown = self.clock.at(self.queue.now);
        self.clock = WallClock { since: self.queue.now, shown, skew_ppm };
    }

    // Segments under way, for the simulator that carries them.

    /// Takes the segments sent since the last call. Always empty without
    /// [`external_clock`](MemoryIo::external_clock).
    pub fn take_segments(&mut self) -> Vec<Segment> {
        self.queue.out.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts a segment into this network. It arrives at its time, or now if that has passed.
    pub fn put_segment(&mut self, segment: Segment) {
        self.queue.schedule(segment.arrives.max(self.queue.now), Scheduled::Segment(segment));
    }

    /// The time when the reactor above has something to do: at its next timer or the next arrival, or now if it would
    /// not sleep.
    /// This does not include requests made to the reactor from outside; run a turn after them.
    pub fn next_wake(&self) -> Option<Moment> {
        let told = !self.armed.is_empty() || !self.signals.is_empty();
        let now = told.then_some(self.queue.now);
        [now, self.wake, self.queue.earliest()].into_iter().flatten().min()
    }

    // Datagrams, for a test that plays the other side.

    /// Receives datagrams at `address` from now on, in place of a program; the test
    /// [takes](MemoryIo::take_datagrams) them. A sleeping poll ends early when one arrives.
    ///
    /// Panics if `address` is played already.
    pub fn play_datagrams(&mut self, address: SocketAddr) {
        assert!(self.played.iter().all(|port| port.host != address), "{address} is played already");
        self.played.push(PlayedPort { host: address, received: VecDeque::new() });
    }

    /// Takes the datagrams that have arrived at played ports: port by port, each in the order of arrival.
    pub fn take_datagrams(&mut self) -> Vec<Datagram> {
        self.deliver();
        self.played.iter_mut().flat_map(|port| port.received.drain(..)).collect()
    }

    /// Sends a datagram from any address: a played port's, or a forged one.
    pub fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.queue.send_datagram(from, to, SegmentKind::Datagram(bytes));
    }

    // What the kernel does while the process above is stopped or killed.

    /// Receives everything that has arrived by now, as the kernel does while the process above is stopped. The next
    /// poll reports it. A simulator with an [external clock](MemoryIo::external_clock) calls this.
    pub fn arrive(&mut self) {
        self.deliver();
    }

    /// The time when the next segment arrives, whatever the reactor above waits for.
    pub fn next_arrival(&self) -> Option<Moment> {
        self.queue.earliest()
    }

    /// Takes the segments that were put in and have not arrived yet, for a simulator that replaces this network by
    /// another.
    pub fn take_under_way(&mut self) -> Vec<Segment> {
        self.queue.take_under_way()
    }

    /// Kills the process above: closes all its sockets and ports, as the kernel does.
    ///
    /// Written data is still sent, as long as the simulator calls [`arrive`](MemoryIo::arrive). The reactor above must
    /// not run another turn.
    pub fn kill(&mut self) {
        // Segments that have arrived by now count as unread input.
        self.deliver();
        for port in 0..self.ports.len() {
            self.unlisten(PortId::new(port as u32));
        }
        for id in self.connections() {
            self.close(id, Close::Orderly);
        }
        self.armed.clear();
    }

    /// The open connections, in arbitrary order.
    pub fn connections(&self) -> Vec<ConnId> {
        self.endpoints.iter().filter_map(|(_, endpoint)| endpoint.id).collect()
    }

    /// Bytes written to the connection `id` that its peer has not read yet, including those under way.
    pub fn unread_bytes(&self, id: ConnId) -> usize {
        self.key(id).map_or(0, |key| self.endpoints[key].unread)
    }

    // Faults.

    /// Applies `fault` to everything between the address `server` and all others, until [`heal`](MemoryIo::heal).
    pub fn fault(&mut self, server: SocketAddr, fault: NetworkFault) {
        self.faults.insert(server, fault);
    }

    /// Ends the fault at `server`. Segments held by it arrive now.
    pub fn heal(&mut self, server: SocketAddr) {
        // Segments that are due now are held too, so that they do not overtake those held before.
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

    /// Resets the connection `id`, as a fault of the network: both ends get the reset.
    pub fn reset(&mut self, id: ConnId) {
        let Some(key) = self.key(id) else { return };
        let Endpoint { host, peer, .. } = self.endpoints[key];
        self.queue.send(host, peer, SegmentKind::Reset);
        self.endpoints[key].failed(Errno::CONNRESET);
        self.arm(key);
    }

    /// Sends the process above a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    /// The address to connect to in place of the Unix socket at `path`; `None` if no port listens there.
    pub fn address_of(&self, path: &Path) -> Option<SocketAddr> {
        self.paths.get(path).copied()
    }

    /// The number of open sockets, ports included.
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
