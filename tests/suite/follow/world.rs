//! One real server, followed call by call, and a world in memory around it.
//!
//! ```text
//!   Reactor ── TracedIo ── Sleeping ── MemoryIo        the server that is followed
//!                             └── World: client, neighbour, Google, name server, each a reactor over a MemoryIo
//! ```
//!
//! A [`Cluster`](crate::support::cluster::Cluster) gives each machine its turns, so none of them ever sleeps. Here the poll
//! of the followed server sleeps as a kernel's would: it runs the world until there is something to report. So its trace
//! is that of a server that has the machine to itself.

use crate::support::fake_google::names::Zone;
use herd_reactor::io::{Addrs, Close, Event};
use herd_reactor::testing::{MemoryIo, Segment, TracedIo};
use herd_reactor::{ConnId, Io, Moment, PortId, Reactor, Shared, UnixNanos};
use places_herd::net::dns::Via;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// One line of the trace, or a call of a function that the test has put into the server.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    /// All bytes that the call has read or written.
    pub(super) bytes: Vec<u8>,
    /// The functions that were on the stack.
    pub(super) stack: Backtrace,
}

/// What was seen so far. Its clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Rc<RefCell<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    seen: Vec<Seen>,
    moved: Vec<u8>,
}

impl Log {
    /// Notes a line, with the stack at this moment.
    pub(super) fn note(&self, line: &str) {
        let mut notes = self.0.borrow_mut();
        // A heading precedes the line of the call.
        let is_call = line.starts_with(' ');
        let bytes = if is_call { std::mem::take(&mut notes.moved) } else { Vec::new() };
        notes.seen.push(Seen { line: line.to_owned(), bytes, stack: Backtrace::force_capture() });
    }

    pub(super) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.borrow_mut().seen)
    }

    fn moved(&self, bytes: &[u8]) {
        self.0.borrow_mut().moved = bytes.to_vec();
    }
}

/// Another machine: a reactor with any state.
trait Machine {
    fn network(&mut self) -> &mut MemoryIo;
    fn run_turn(&mut self);
}

impl<S: Shared> Machine for Reactor<MemoryIo, S> {
    fn network(&mut self) -> &mut MemoryIo {
        self.io()
    }

    fn run_turn(&mut self) {
        self.turn().expect("this poll never fails");
    }
}

/// The machines around the server that is followed.
#[derive(Default)]
pub(super) struct World {
    /// Each with its address. The first has all addresses that no other has.
    machines: Vec<(Option<IpAddr>, Box<dyn Machine>)>,
    /// What the name server knows.
    pub(super) zone: Zone,
}

impl World {
    /// Adds a machine, and runs its first turn.
    pub(super) fn add<S: Shared + 'static>(
        &mut self,
        address: Option<IpAddr>,
        mut reactor: Reactor<MemoryIo, S>,
    ) {
        reactor.run_turn();
        self.machines.push((address, Box::new(reactor)));
    }

    /// When something happens next.
    fn wake(&mut self) -> Option<Moment> {
        self.machines.iter_mut().filter_map(|(_, machine)| machine.network().next_wake()).min()
    }

    /// Moves all clocks to `now`, and runs a turn of each machine that is due.
    fn run(&mut self, now: Moment) {
        for (_, machine) in &mut self.machines {
            machine.network().advance(now);
            if machine.network().next_wake().is_some_and(|wake| wake <= now) {
                machine.run_turn();
            }
            let network = machine.network();
            for asked in network.take_datagrams() {
                if let Some(answer) = self.zone.answer(Via::Udp, &asked.bytes) {
                    network.send_datagram(asked.to, asked.from, answer);
                }
            }
        }
    }

    /// Takes the segments that the machines have sent.
    fn sent(&mut self) -> Vec<Segment> {
        let machines = self.machines.iter_mut();
        machines.flat_map(|(_, machine)| machine.network().take_segments()).collect()
    }

    fn deliver(&mut self, segment: Segment) {
        let to = segment.to.ip();
        let at = self.machines.iter().position(|(address, _)| *address == Some(to)).unwrap_or(0);
        self.machines[at].1.network().put_segment(segment);
    }
}

/// The kernel of the server that is followed: its poll sleeps while the world goes on.
pub(super) struct Sleeping {
    kernel: MemoryIo,
    address: IpAddr,
    world: World,
    log: Log,
}

/// The [`Io`] of the server that is followed.
pub(super) type Followed = TracedIo<Sleeping>;

/// Makes the `Io` of a server at `address`, above `kernel`, amid `world`.
pub(super) fn follow(kernel: MemoryIo, address: IpAddr, world: World, log: &Log) -> Followed {
    let sink = log.clone();
    let sleeping = Sleeping { kernel, address, world, log: log.clone() };
    TracedIo::new(sleeping, move |line| sink.note(line))
}

impl Sleeping {
    fn carry(&mut self) {
        let mut segments = self.kernel.take_segments();
        segments.extend(self.world.sent());
        for segment in segments {
            match segment.to.ip() == self.address {
                true => self.kernel.put_segment(segment),
                false => self.world.deliver(segment),
            }
        }
    }
}

impl Io for Sleeping {
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let until = timeout.map(|timeout| self.kernel.now() + timeout);
        loop {
            self.carry();
            self.kernel.poll(Some(Duration::ZERO), events)?;
            let now = self.kernel.now();
            if !events.is_empty() || until.is_some_and(|until| until <= now) {
                return Ok(());
            }
            let next = [until, self.kernel.next_arrival(), self.world.wake()];
            let next = next.into_iter().flatten().min().expect("the world never stands still");
            self.kernel.advance(next);
            self.world.run(self.kernel.now());
        }
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        let count = self.kernel.read(id, into)?;
        self.log.moved(&into[..count]);
        Ok(count)
    }

    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize> {
        let count = self.kernel.write(id, data)?;
        self.log.moved(&data[..count]);
        Ok(count)
    }

    fn now(&mut self) -> Moment {
        self.kernel.now()
    }

    fn wall(&mut self) -> UnixNanos {
        self.kernel.wall()
    }

    fn random(&mut self) -> u64 {
        self.kernel.random()
    }

    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr> {
        self.kernel.listen(port, address)
    }

    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()> {
        self.kernel.listen_unix(port, path)
    }

    fn unlisten(&mut self, port: PortId) {
        self.kernel.unlisten(port);
    }

    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs> {
        self.kernel.accept(port, id)
    }

    fn shed(&mut self, port: PortId, most: usize) -> Result<usize, usize> {
        self.kernel.shed(port, most)
    }

    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()> {
        self.kernel.connect(id, address)
    }

    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>> {
        self.kernel.connected(id)
    }

    fn connect_udp(&mut self, id: ConnId, address: SocketAddr) -> io::Result<Addrs> {
        self.kernel.connect_udp(id, address)
    }

    fn shutdown(&mut self, id: ConnId) -> io::Result<()> {
        self.kernel.shutdown(id)
    }

    fn close(&mut self, id: ConnId, how: Close) {
        self.kernel.close(id, how);
    }
}
