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
//! * [`MemoryIo::carried`]: by a simulator that owns the clock and the frames of several. A poll
//!   never sleeps. The simulator [takes the frames out](MemoryIo::take_frames), loses, holds or
//!   [puts them in](MemoryIo::put_frame) elsewhere, [advances](MemoryIo::advance) all clocks, and
//!   turns whose time has come ([`next_wake`](MemoryIo::next_wake)).

use super::endpoint::Endpoint;
use super::frame::{Frame, FrameKind};
use super::options::{Fault, MemoryOptions};
use super::wire::{Due, Wire};
use crate::reactor::io::{Close, Ends, Event};
use crate::reactor::{ConnId, Io, Moment, PortId, Signal, UnixNanos};
use rustix::io::Errno;
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The first port given to whoever asks for any.
const EPHEMERAL: u16 = 32_768;

/// When a connection asks again that found a port's backlog full. Linux: TCP_TIMEOUT_INIT.
const RETRANSMIT: Duration = Duration::from_secs(1);

/// Ids of closed connections remembered, for events that come too late.
const STALE_MAX: usize = 16;

/// A network in memory, under one reactor. See the head of its file.
#[derive(Debug)]
pub struct MemoryIo {
    wire: Wire,
    endpoints: Slab<Endpoint>,
    by_id: Vec<Option<usize>>,
    /// By our address and the peer's.
    by_ends: BTreeMap<(SocketAddr, SocketAddr), usize>,
    ports: Vec<Option<Port>>,
    /// Of whom there is something to tell, first come first.
    armed: VecDeque<Armed>,
    signals: VecDeque<Signal>,
    faults: BTreeMap<SocketAddr, Fault>,
    held: Vec<Frame>,
    stale: VecDeque<ConnId>,
    ephemeral: u16,
    clock: WallClock,
    /// Until when the reactor would have slept, had it been let.
    wake: Option<Moment>,
}

#[derive(Debug)]
struct Port {
    host: SocketAddr,
    waiting: VecDeque<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Armed {
    Port(PortId),
    Endpoint(usize),
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

    /// A part of a larger network: somebody else owns the clock and carries the frames.
    pub fn carried(options: MemoryOptions) -> MemoryIo {
        MemoryIo::build(options, true)
    }

    fn build(options: MemoryOptions, carried: bool) -> MemoryIo {
        assert!(options.send_window_bytes > 0 && options.receive_window_bytes > 0);
        assert!(*options.arrival_bytes.start() > 0 && *options.write_bytes.start() > 0);
        let clock = WallClock { since: Moment::default(), shown: options.wall, skew_ppm: 0 };
        MemoryIo {
            wire: Wire::new(options, carried),
            endpoints: Slab::new(),
            by_id: Vec::new(),
            by_ends: BTreeMap::new(),
            ports: Vec::new(),
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
        &mut self.wire.options
    }

    // The clocks.

    /// Moves the clock on to `to`, if it has not got there yet. What arrives by then is told at the
    /// next poll.
    pub fn advance(&mut self, to: Moment) {
        self.wire.now = self.wire.now.max(to);
    }

    /// Sets the wall clock, forwards or back. The monotonic clock does not notice.
    pub fn set_wall(&mut self, shown: UnixNanos) {
        self.clock = WallClock { since: self.wire.now, shown, ..self.clock };
    }

    /// From now on the wall clock gains so many microseconds each second (negative: loses).
    pub fn set_wall_skew(&mut self, skew_ppm: i64) {
        let shown = self.clock.at(self.wire.now);
        self.clock = WallClock { since: self.wire.now, shown, skew_ppm };
    }

    // What is under way, for whoever carries it.

    /// Takes out what was sent since the last call. Empty unless [`carried`](MemoryIo::carried).
    pub fn take_frames(&mut self) -> Vec<Frame> {
        self.wire.out.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts in a frame; it arrives when it says, or now if that is past.
    pub fn put_frame(&mut self, frame: Frame) {
        self.wire.schedule(frame.arrives.max(self.wire.now), Due::Frame(frame));
    }

    /// When the reactor above has something to do: its next timer, or the next arrival. Now, if it
    /// did not want to sleep. What is asked of the reactor from outside it does not know of: turn it.
    pub fn next_wake(&self) -> Option<Moment> {
        let told = !self.armed.is_empty() || !self.signals.is_empty();
        let now = told.then_some(self.wire.now);
        [now, self.wake, self.wire.earliest()].into_iter().flatten().min()
    }

    // What goes wrong.

    /// From now on `fault` holds between the listening address `server` and all who connect to it.
    pub fn fault(&mut self, server: SocketAddr, fault: Fault) {
        self.faults.insert(server, fault);
    }

    /// Takes the fault at `server` back. What was held arrives now.
    pub fn heal(&mut self, server: SocketAddr) {
        self.faults.remove(&server);
        let held = std::mem::take(&mut self.held);
        for frame in held {
            match frame.from == server || frame.to == server {
                true => self.wire.schedule(self.wire.now, Due::Frame(frame)),
                false => self.held.push(frame),
            }
        }
    }

    /// The network resets the connection `id`: both ends hear of it.
    pub fn reset(&mut self, id: ConnId) {
        let Some(key) = self.key(id) else { return };
        let Endpoint { host, peer, .. } = self.endpoints[key];
        self.wire.send(host, peer, FrameKind::Reset);
        self.endpoints[key].failed(Errno::CONNRESET);
        self.arm(key);
    }

    /// The process is sent a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    /// Sockets that are open, ports included.
    pub fn descriptors(&self) -> usize {
        self.by_id.iter().flatten().count() + self.ports.iter().flatten().count()
    }

    // Arrivals.

    /// Lets everything happen that has happened by now.
    fn deliver(&mut self) {
        while let Some(due) = self.wire.next_due() {
            match due {
                Due::Frame(frame) => self.arrived(frame),
                Due::Writable(id) => {
                    if let Some(key) = self.key(id)
                        && self.endpoints[key].owes_writable(&self.wire)
                    {
                        self.arm(key);
                    }
                }
            }
        }
    }

    fn arrived(&mut self, frame: Frame) {
        let syn = frame.kind == FrameKind::Syn;
        let fault = [frame.to, frame.from].iter().find_map(|server| self.faults.get(server));
        match fault.copied() {
            Some(Fault::Refuse) if syn => return self.answer(&frame, FrameKind::Refused),
            Some(Fault::Blackhole | Fault::Partition) if syn => return,
            Some(Fault::Freeze | Fault::Partition) => return self.held.push(frame),
            _ => {}
        }
        match (self.by_ends.get(&(frame.to, frame.from)).copied(), &frame.kind) {
            (Some(key), _) => {
                if self.endpoints[key].arrived(&mut self.wire, frame.kind) {
                    self.arm(key);
                }
                self.bury(key);
            }
            (None, FrameKind::Syn) => self.asked(frame),
            // Nobody is there any more.
            (None, FrameKind::Data(_) | FrameKind::Accepted) => {
                self.answer(&frame, FrameKind::Reset);
            }
            (None, _) => {}
        }
    }

    /// Somebody wants to connect.
    fn asked(&mut self, frame: Frame) {
        let failures = self.wire.options.connect_failures;
        let backlog = self.wire.options.backlog;
        let mut ports = self.ports.iter_mut().enumerate();
        let port = ports.find_map(|(key, port)| {
            port.as_mut().filter(|port| port.is_at(frame.to)).map(|port| (key, port))
        });
        let Some((key, port)) = port.filter(|_| !self.wire.happens(failures)) else {
            return self.answer(&frame, FrameKind::Refused);
        };
        if port.waiting.len() >= backlog {
            let again = self.wire.now + RETRANSMIT;
            return self.wire.schedule(again, Due::Frame(frame));
        }
        let window = self.wire.options.receive_window_bytes;
        let mut endpoint = Endpoint::new(frame.to, frame.from, window);
        endpoint.established = true;
        let waiting = self.endpoints.insert(endpoint);
        port.waiting.push_back(waiting);
        self.by_ends.insert((frame.to, frame.from), waiting);
        self.armed.push_back(Armed::Port(PortId::new(key as u32)));
        self.answer(&frame, FrameKind::Accepted);
    }

    fn answer(&mut self, frame: &Frame, kind: FrameKind) {
        self.wire.send(frame.to, frame.from, kind);
    }

    /// Notes that there is something to tell of an end that has an owner.
    fn arm(&mut self, key: usize) {
        let endpoint = &mut self.endpoints[key];
        if endpoint.id.is_some() && !endpoint.armed {
            endpoint.armed = true;
            self.armed.push_back(Armed::Endpoint(key));
        }
    }

    /// Forgets a closed end that has nothing left to do.
    fn bury(&mut self, key: usize) {
        if self.endpoints[key].is_over() {
            let Endpoint { host, peer, .. } = self.endpoints.remove(key);
            self.by_ends.remove(&(host, peer));
        }
    }

    // Events.

    /// Tells what is armed; says whether there was anything.
    fn tell(&mut self, events: &mut Vec<Event>) -> bool {
        let before = events.len();
        events.extend(self.signals.drain(..).map(Event::Signal));
        for armed in std::mem::take(&mut self.armed) {
            match armed {
                Armed::Port(id) => {
                    let port = self.ports.get(id.key()).and_then(Option::as_ref);
                    if port.is_some_and(|port| !port.waiting.is_empty()) {
                        events.push(Event::Acceptable(id));
                    }
                }
                Armed::Endpoint(key) => events.extend(self.event(key)),
            }
        }
        events.len() > before
    }

    fn event(&mut self, key: usize) -> Option<Event> {
        // Its slot may have another owner by now, who is armed by himself.
        let endpoint = self.endpoints.get_mut(key).filter(|endpoint| endpoint.armed)?;
        endpoint.armed = false;
        let level = endpoint.level(&self.wire);
        let id = endpoint.id.filter(|_| level.readable || level.writable)?;
        Some(Event::Ready {
            id,
            readable: level.readable,
            writable: level.writable,
            read_closed: level.read_closed,
        })
    }

    /// An event that means nothing: for somebody who is there, or who was.
    fn false_alarm(&mut self) -> Option<Event> {
        let open = self.endpoints.iter().filter_map(|(_, endpoint)| endpoint.id);
        let ids: Vec<ConnId> = open.chain(self.stale.iter().copied()).collect();
        let last = ids.len().checked_sub(1)?;
        let id = ids[self.wire.within(&(0..=last))];
        Some(Event::Ready { id, readable: true, writable: true, read_closed: false })
    }

    /// Lets the clock jump from arrival to arrival until there is something to tell, or it is over.
    fn sleep(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let until = timeout.map(|timeout| self.wire.now + timeout);
        loop {
            self.deliver();
            if self.tell(events) {
                return Ok(());
            }
            match (self.wire.earliest(), until) {
                (Some(next), None) => self.advance(next),
                (Some(next), Some(until)) if next <= until => self.advance(next),
                (_, Some(until)) => {
                    self.advance(until);
                    return Ok(());
                }
                (None, None) => {
                    let why = "nothing is under way and no timer is set: this poll would never end";
                    return Err(io::Error::new(ErrorKind::Deadlock, why));
                }
            }
        }
    }

    // Sockets.

    fn key(&self, id: ConnId) -> Option<usize> {
        let key = self.by_id.get(id.key()).copied().flatten()?;
        (self.endpoints[key].id == Some(id)).then_some(key)
    }

    fn endpoint(&mut self, id: ConnId) -> io::Result<(&mut Endpoint, &mut Wire)> {
        let key = self.key(id).ok_or(Errno::NOTCONN)?;
        Ok((&mut self.endpoints[key], &mut self.wire))
    }

    /// Gives the end at `key` an owner.
    fn own(&mut self, key: usize, id: ConnId) {
        put(&mut self.by_id, id.key(), key);
        self.endpoints[key].id = Some(id);
        self.arm(key);
    }

    fn take_waiting(&mut self, port: PortId) -> io::Result<usize> {
        let port = self.ports.get_mut(port.key()).and_then(Option::as_mut);
        let waiting = port.ok_or(Errno::BADF)?.waiting.pop_front();
        waiting.ok_or_else(|| ErrorKind::WouldBlock.into())
    }

    fn check_descriptors(&self) -> io::Result<()> {
        match self.descriptors() >= self.wire.options.descriptors_max {
            true => Err(Errno::MFILE.into()),
            false => Ok(()),
        }
    }

    /// A port that nobody uses.
    fn free_port(&mut self, ip: IpAddr) -> SocketAddr {
        loop {
            let host = SocketAddr::new(ip, self.ephemeral);
            self.ephemeral = self.ephemeral.checked_add(1).unwrap_or(EPHEMERAL);
            let listening = self.ports.iter().flatten().any(|port| port.is_at(host));
            let any = SocketAddr::from(([0, 0, 0, 0], 0));
            let next = self.by_ends.range((host, any)..).next();
            if !listening && next.is_none_or(|((used, _), _)| *used != host) {
                return host;
            }
        }
    }
}

impl Port {
    fn is_at(&self, address: SocketAddr) -> bool {
        let any = self.host.ip().is_unspecified() || self.host.ip() == address.ip();
        any && self.host.port() == address.port()
    }
}

impl Io for MemoryIo {
    fn now(&mut self) -> Moment {
        self.wire.now
    }

    fn wall(&mut self) -> UnixNanos {
        self.clock.at(self.wire.now)
    }

    fn random(&mut self) -> u64 {
        self.wire.random()
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let probability = self.wire.options.spurious_events;
        let alarm = match self.wire.happens(probability) {
            true => self.false_alarm(),
            false => None,
        };
        let early = alarm.is_some();
        events.extend(alarm);
        if self.wire.out.is_some() {
            self.deliver();
            let told = self.tell(events);
            self.wake = match told || early {
                true => Some(self.wire.now),
                false => timeout.map(|timeout| self.wire.now + timeout),
            };
            return Ok(());
        }
        self.advance(self.wire.now + self.wire.options.turn_cost);
        let timeout = if early { Some(Duration::ZERO) } else { timeout };
        self.sleep(timeout, events)
    }

    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr> {
        self.check_descriptors()?;
        if self.ports.iter().flatten().any(|port| port.is_at(address)) {
            return Err(Errno::ADDRINUSE.into());
        }
        let host = match address.port() {
            0 => self.free_port(address.ip()),
            _ => address,
        };
        put(&mut self.ports, port.key(), Port { host, waiting: VecDeque::new() });
        Ok(host)
    }

    fn unlisten(&mut self, port: PortId) {
        let Some(closed) = self.ports.get_mut(port.key()).and_then(Option::take) else { return };
        for key in closed.waiting {
            self.endpoints[key].reset(&mut self.wire);
            self.bury(key);
        }
    }

    /// As Linux: the descriptor is looked for before the connection.
    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Ends> {
        self.check_descriptors()?;
        let key = self.take_waiting(port)?;
        let failures = self.wire.options.accept_failures;
        if self.wire.happens(failures) {
            self.endpoints[key].reset(&mut self.wire);
            self.bury(key);
            return Err(Errno::CONNABORTED.into());
        }
        self.own(key, id);
        let Endpoint { host, peer, .. } = self.endpoints[key];
        Ok(Ends { peer, host })
    }

    fn shed(&mut self, port: PortId, most: usize) -> io::Result<usize> {
        for shed in 0..most {
            let Ok(key) = self.take_waiting(port) else { return Ok(shed) };
            self.endpoints[key].close(&mut self.wire);
            self.bury(key);
        }
        Ok(most)
    }

    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()> {
        self.check_descriptors()?;
        let ip = match address {
            SocketAddr::V4(_) => self.wire.options.host,
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let host = self.free_port(ip);
        let window = self.wire.options.receive_window_bytes;
        let key = self.endpoints.insert(Endpoint::new(host, address, window));
        self.by_ends.insert((host, address), key);
        self.wire.send(host, address, FrameKind::Syn);
        put(&mut self.by_id, id.key(), key);
        self.endpoints[key].id = Some(id);
        Ok(())
    }

    fn connected(&mut self, id: ConnId) -> io::Result<Option<Ends>> {
        let (endpoint, _) = self.endpoint(id)?;
        let ends = Ends { peer: endpoint.peer, host: endpoint.host };
        Ok(endpoint.connected()?.map(|()| ends))
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        let (endpoint, wire) = self.endpoint(id)?;
        endpoint.read(wire, into)
    }

    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize> {
        let (endpoint, wire) = self.endpoint(id)?;
        endpoint.write(wire, data)
    }

    fn shutdown(&mut self, id: ConnId) -> io::Result<()> {
        let (endpoint, wire) = self.endpoint(id)?;
        endpoint.shutdown(wire)
    }

    fn close(&mut self, id: ConnId, how: Close) {
        let Some(key) = self.key(id) else { return };
        self.by_id[id.key()] = None;
        match how {
            Close::Orderly => self.endpoints[key].close(&mut self.wire),
            Close::Reset => self.endpoints[key].reset(&mut self.wire),
        }
        self.bury(key);
        self.stale.push_back(id);
        if self.stale.len() > STALE_MAX {
            self.stale.pop_front();
        }
    }
}

fn put<T>(slots: &mut Vec<Option<T>>, key: usize, value: T) {
    if slots.len() <= key {
        slots.resize_with(key + 1, || None);
    }
    slots[key] = Some(value);
}
