//! What a reactor asks of its [`Io`], counted. "A request and its reply cost three system calls" is
//! then a test.

use crate::io::{Addrs, Close, Event};
use crate::{ConnId, Io, Moment, PortId, UnixNanos};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How often each call was made. All but the two clocks and chance are system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub polls: u64,
    pub listens: u64,
    pub unlistens: u64,
    pub accepts: u64,
    pub sheds: u64,
    pub connects: u64,
    pub connecteds: u64,
    pub reads: u64,
    pub writes: u64,
    pub shutdowns: u64,
    pub closes: u64,
    pub clocks: u64,
    pub walls: u64,
}

/// An [`Io`] that counts what is asked of the `Io` inside.
#[derive(Debug)]
pub struct CountingIo<I> {
    inner: I,
    counts: Counts,
}

impl<I: Io> CountingIo<I> {
    /// Counts what is asked of `inner`.
    pub fn new(inner: I) -> CountingIo<I> {
        CountingIo { inner, counts: Counts::default() }
    }

    /// What was asked since the last call of this.
    pub fn take(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The `Io` inside.
    pub fn inner(&mut self) -> &mut I {
        &mut self.inner
    }
}

impl<I: Io> Io for CountingIo<I> {
    fn now(&mut self) -> Moment {
        self.counts.clocks += 1;
        self.inner.now()
    }

    fn wall(&mut self) -> UnixNanos {
        self.counts.walls += 1;
        self.inner.wall()
    }

    fn random(&mut self) -> u64 {
        self.inner.random()
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.counts.polls += 1;
        self.inner.poll(timeout, events)
    }

    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr> {
        self.counts.listens += 1;
        self.inner.listen(port, address)
    }

    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()> {
        self.counts.listens += 1;
        self.inner.listen_unix(port, path)
    }

    fn unlisten(&mut self, port: PortId) {
        self.counts.unlistens += 1;
        self.inner.unlisten(port);
    }

    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs> {
        self.counts.accepts += 1;
        self.inner.accept(port, id)
    }

    fn shed(&mut self, port: PortId, most: usize) -> io::Result<usize> {
        self.counts.sheds += 1;
        self.inner.shed(port, most)
    }

    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()> {
        self.counts.connects += 1;
        self.inner.connect(id, address)
    }

    fn connect_udp(&mut self, id: ConnId, address: SocketAddr) -> io::Result<Addrs> {
        self.counts.connects += 1;
        self.inner.connect_udp(id, address)
    }

    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>> {
        self.counts.connecteds += 1;
        self.inner.connected(id)
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        self.counts.reads += 1;
        self.inner.read(id, into)
    }

    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize> {
        self.counts.writes += 1;
        self.inner.write(id, data)
    }

    fn shutdown(&mut self, id: ConnId) -> io::Result<()> {
        self.counts.shutdowns += 1;
        self.inner.shutdown(id)
    }

    fn close(&mut self, id: ConnId, how: Close) {
        self.counts.closes += 1;
        self.inner.close(id, how);
    }
}
