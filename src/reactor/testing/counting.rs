//! Counts the calls that a reactor makes on its [`Io`], so that "a request and its reply cost three system calls" can
//! be a test.

use crate::io::{Addrs, Close, Event};
use crate::{ConnId, Io, Moment, PortId, UnixNanos};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How often each method of an [`Io`] was called. All are system calls but `clocks` (`now`) and `walls` (`wall`).
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
    pub options: u64,
    pub closes: u64,
    pub clocks: u64,
    pub walls: u64,
}

/// An [`Io`] that passes each call to another one and counts it.
#[derive(Debug)]
pub struct CountingIo<I> {
    inner: I,
    counts: CallCounts,
}

impl<I: Io> CountingIo<I> {
    /// Creates an `Io` that counts the calls to `inner`.
    pub fn new(inner: I) -> CountingIo<I> {
        CountingIo { inner, counts: CallCounts::default() }
    }

    /// Returns the counts since the last call of `take`, and resets them.
    pub fn take(&mut self) -> CallCounts {
        std::mem::take(&mut self.counts)
    }

    /// The `Io` whose calls are counted.
    pub fn inner(&mut self) -> &mut I {
        &mut self.inner
    }
}

/// Implements methods that count the call and pass it to the inner `Io`.
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
        options: set_user_timeout(id: ConnId, timeout: Duration) -> io::Result<()>;
        closes: close(id: ConnId, how: Close) -> ();
    }
}
