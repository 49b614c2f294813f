//! The reactor's side of [`MemoryIo`]: the calls of [`Io`] and the events that a poll reports.

use super::{Armed, EPHEMERAL, MemoryIo, MemoryPort};
use crate::io::{Addrs, Close, Event};
use crate::testing::datagrams::DatagramSocket;
use crate::testing::endpoint::{Endpoint, Level};
use crate::testing::event_queue::EventQueue;
use crate::testing::segment::SegmentKind;
use crate::{ConnId, Io, Moment, PortId, UnixNanos};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// How many ids of closed connections are remembered, for late spurious events.
const STALE_MAX: usize = 16;

/// The host of all ports that listen at paths.
const BEHIND_PATHS: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

impl Io for MemoryIo {
    fn now(&mut self) -> Moment {
        self.queue.now
    }

    fn wall(&mut self) -> UnixNanos {
        self.clock.at(self.queue.now)
    }

    fn random(&mut self) -> u64 {
        self.queue.random()
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let probability = self.queue.options.spurious_events;
        let alarm = match self.queue.happens(probability) {
            true => self.false_alarm(),
            false => None,
        };
        let early = alarm.is_some();
        events.extend(alarm);
        if self.queue.out.is_some() {
            self.deliver();
            let told = self.tell(events);
            self.wake = match told || early {
                true => Some(self.queue.now),
                false => timeout.map(|timeout| self.queue.now + timeout),
            };
            return Ok(());
        }
        self.advance(self.queue.now + self.queue.options.turn_cost);
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
        put(&mut self.ports, port.key(), MemoryPort { host, waiting: VecDeque::new() });
        Ok(host)
    }

    /// Listens on a private address in place of the path. To connect, a test asks
    /// [`address_of`](MemoryIo::address_of).
    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()> {
        if self.paths.contains_key(path) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let host = self.listen(port, (BEHIND_PATHS, 0).into())?;
        self.paths.insert(path.to_owned(), host);
        Ok(())
    }

    fn unlisten(&mut self, port: PortId) {
        let Some(closed) = self.ports.get_mut(port.key()).and_then(Option::take) else { return };
        self.paths.retain(|_, host| *host != closed.host);
        for key in closed.waiting {
            self.endpoints[key].reset(&mut self.queue);
            self.bury(key);
        }
    }

    /// As on Linux, checks for a free descriptor before it looks for a connection.
    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs> {
        self.check_descriptors()?;
        let key = self.take_waiting(port)?;
        let failures = self.queue.options.accept_failures;
        if self.queue.happens(failures) {
            self.endpoints[key].reset(&mut self.queue);
            self.bury(key);
            return Err(Errno::CONNABORTED.into());
        }
        self.own(key, id);
        let Endpoint { host, peer, .. } = self.endpoints[key];
        Ok(Addrs { peer, local: host })
    }

    fn shed(&mut self, port: PortId, most: usize) -> Result<usize, usize> {
        for shed in 0..most {
            let Ok(key) = self.take_waiting(port) else { return Ok(shed) };
            self.endpoints[key].close(&mut self.queue);
            self.bury(key);
        }
        Ok(most)
    }

    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()> {
        self.check_descriptors()?;
        let host = self.own_address(address);
        let window = self.queue.options.receive_window_bytes;
        let key = self.endpoints.insert(Endpoint::new(host, address, window));
        self.by_ends.insert((host, address), key);
        self.queue.send(host, address, SegmentKind::Syn);
        put(&mut self.by_id, id.key(), key);
        self.endpoints[key].id = Some(id);
        Ok(())
    }

    fn connect_udp(&mut self, id: ConnId, peer: SocketAddr) -> io::Result<Addrs> {
        self.check_descriptors()?;
        let host = self.own_address(peer);
        self.datagrams.insert(id, DatagramSocket::new(host, peer));
        self.arm_datagrams(id);
        Ok(Addrs { peer, local: host })
    }

    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>> {
        self.check_is_stream(id)?;
        let (endpoint, _) = self.endpoint(id)?;
        let addrs = Addrs { peer: endpoint.peer, local: endpoint.host };
        Ok(endpoint.connected()?.map(|()| addrs))
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        if let Some(socket) = self.datagrams.get_mut(&id) {
            return socket.read(into);
        }
        let (endpoint, queue) = self.endpoint(id)?;
        endpoint.read(queue, into)
    }

    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize> {
        if let Some(socket) = self.datagrams.get_mut(&id) {
            socket.check_write(data)?;
            let (host, peer) = (socket.host, socket.peer);
            self.send_datagram(host, peer, data.to_vec());
            return Ok(data.len());
        }
        let (endpoint, queue) = self.endpoint(id)?;
        endpoint.write(queue, data)
    }

    fn shutdown(&mut self, id: ConnId) -> io::Result<()> {
        self.check_is_stream(id)?;
        let (endpoint, queue) = self.endpoint(id)?;
        endpoint.shutdown(queue)
    }

    fn close(&mut self, id: ConnId, how: Close) {
        if let Some(key) = self.key(id) {
            self.by_id[id.key()] = None;
            match how {
                Close::Orderly | Close::AfterEnd => self.endpoints[key].close(&mut self.queue),
                Close::Reset => self.endpoints[key].reset(&mut self.queue),
            }
            self.bury(key);
        } else if self.datagrams.remove(&id).is_none() {
            return;
        }
        self.stale.push_back(id);
        if self.stale.len() > STALE_MAX {
            self.stale.pop_front();
        }
    }
}

/// Events.
impl MemoryIo {
    /// Reports what is armed. Returns whether there was anything.
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
                Armed::Datagrams(id) => events.extend(self.datagram_event(id)),
            }
        }
        events.len() > before
    }

    fn event(&mut self, key: usize) -> Option<Event> {
        // The slot may have a new owner by now, which is armed separately.
        let endpoint = self.endpoints.get_mut(key).filter(|endpoint| endpoint.armed)?;
        endpoint.armed = false;
        let level = endpoint.level(&self.queue);
        let id = endpoint.id.filter(|_| level.readable || level.writable)?;
        Some(ready(id, level))
    }

    fn datagram_event(&mut self, id: ConnId) -> Option<Event> {
        let socket = self.datagrams.get_mut(&id)?;
        socket.armed = false;
        Some(ready(id, socket.level()))
    }

    /// A spurious event, for an open or a closed connection.
    fn false_alarm(&mut self) -> Option<Event> {
        let open = self.endpoints.iter().filter_map(|(_, endpoint)| endpoint.id);
        let open = open.chain(self.datagrams.keys().copied());
        let ids: Vec<ConnId> = open.chain(self.stale.iter().copied()).collect();
        let last = ids.len().checked_sub(1)?;
        let id = ids[self.queue.within(&(0..=last))];
        let (readable, writable) = (true, true);
        Some(Event::Ready { id, readable, writable, read_closed: false, failed: false })
    }

    /// Moves the clock from arrival to arrival until there is something to report or the timeout has passed.
    fn sleep(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let until = timeout.map(|timeout| self.queue.now + timeout);
        loop {
            self.deliver();
            if self.tell(events) || std::mem::take(&mut self.played_heard) {
                return Ok(());
            }
            match (self.queue.earliest(), until) {
                (Some(next), None) => self.advance(next),
                (Some(next), Some(until)) if next <= until => self.advance(next),
                (_, Some(until)) => {
                    self.advance(until);
                    return Ok(());
                }
                (None, None) => {
                    let why = "no segment is under way and no timer is set: this poll would hang";
                    return Err(io::Error::new(ErrorKind::Deadlock, why));
                }
            }
        }
    }
}

/// Sockets.
impl MemoryIo {
    pub(super) fn key(&self, id: ConnId) -> Option<usize> {
        let key = self.by_id.get(id.key()).copied().flatten()?;
        (self.endpoints[key].id == Some(id)).then_some(key)
    }

    /// Fails for a UDP socket, on an operation that only streams have.
    fn check_is_stream(&self, id: ConnId) -> io::Result<()> {
        match self.datagrams.contains_key(&id) {
            true => Err(ErrorKind::InvalidInput.into()),
            false => Ok(()),
        }
    }

    fn endpoint(&mut self, id: ConnId) -> io::Result<(&mut Endpoint, &mut EventQueue)> {
        let key = self.key(id).ok_or(Errno::NOTCONN)?;
        Ok((&mut self.endpoints[key], &mut self.queue))
    }

    /// Makes `id` the owner of the endpoint at `key`.
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
        match self.descriptors() >= self.queue.options.descriptors_max {
            true => Err(Errno::MFILE.into()),
            false => Ok(()),
        }
    }

    /// A local address for a connection to `peer`, with a free port.
    fn own_address(&mut self, peer: SocketAddr) -> SocketAddr {
        let ip = match peer {
            SocketAddr::V4(_) => self.queue.options.host,
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        self.free_port(ip)
    }

    /// An address of `ip` with a port that is not in use.
    fn free_port(&mut self, ip: IpAddr) -> SocketAddr {
        loop {
            let host = SocketAddr::new(ip, self.ephemeral);
            self.ephemeral = self.ephemeral.checked_add(1).unwrap_or(EPHEMERAL);
            let listening = self.ports.iter().flatten().any(|port| port.is_at(host))
                || self.datagrams.values().any(|socket| socket.host == host)
                || self.played.iter().any(|port| port.host == host);
            let any = SocketAddr::from(([0, 0, 0, 0], 0));
            let next = self.by_ends.range((host, any)..).next();
            if !listening && next.is_none_or(|((used, _), _)| *used != host) {
                return host;
            }
        }
    }
}

fn ready(id: ConnId, level: Level) -> Event {
    let Level { readable, writable, read_closed, failed } = level;
    Event::Ready { id, readable, writable, read_closed, failed }
}

fn put<T>(slots: &mut Vec<Option<T>>, key: usize, value: T) {
    if slots.len() <= key {
        slots.resize_with(key + 1, || None);
    }
    slots[key] = Some(value);
}
