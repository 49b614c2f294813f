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
pub struct CallCounts {
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
    counts: CallCounts,
}

impl<I: Io> CountingIo<I> {
    /// Counts what is asked of `inner`.
    pub fn new(inner: I) -> CountingIo<I> {
        CountingIo { inner, counts: CallCounts::default() }
    }

    /// What was asked since the last call of this.
    pub fn take(&mut self) -> CallCounts {
        std::mem::take(&mut self.counts)
    }

    /// The `Io` inside.
    pub fn inner(&mut self) -> &mut I {
        &mut self.inner
    }
}

/// Hands each call on to the `Io` inside, having counted it.
macro_rules! counted {
    ($($count:ident: $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => { $(
        fn $name(&mut self, $($argument: $type),*) -> $result {
            self.counts.$count += 1;
            self.inner.$name($($argument),*)
        }
    )* };
}

impl<I: Io> Io for CountingIo<I> {
    fn random(&mut self) -> u64 {
        self.inner.random()
    }

    counted! {
        clocks: now() -> Moment;
        walls: wall() -> UnixNanos;
        polls: poll(timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;
        listens: listen(port: PortId, address: SocketAddr) -> io::Result<SocketAddr>;
        listens: listen_unix(port: PortId, path: &Path) -> io::Result<()>;
        unlistens: unlisten(port: PortId) -> ();
        accepts: accept(port: PortId, id: ConnId) -> io::Result<Addrs>;
        sheds: shed(port: PortId, most: usize) -> Result<usize, usize>;
        connects: connect(id: ConnId, address: SocketAddr) -> io::Result<()>;
        connects: connect_udp(id: ConnId, address: SocketAddr) -> io::Result<Addrs>;
        connecteds: connected(id: ConnId) -> io::Result<Option<Addrs>>;
        reads: read(id: ConnId, into: &mut [u8]) -> io::Result<usize>;
        writes: write(id: ConnId, data: &[u8]) -> io::Result<usize>;
        shutdowns: shutdown(id: ConnId) -> io::Result<()>;
        closes: close(id: ConnId, how: Close) -> ();
    }
}
