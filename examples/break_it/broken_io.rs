//! An in-memory network that can break the contract of an `Io`.

use herd_reactor::io::{Addrs, Close, Event};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, Io, Moment, PortId, UnixNanos};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A read returns at most four bytes, although the buffer has room and more bytes are there.
    ShortReads,
    /// `now` follows the wall clock.
    WallClock,
}

/// A calm network in memory with a [`Fault`].
pub(crate) struct BrokenIo {
    pub(crate) sound: MemoryIo,
    fault: Fault,
    began: UnixNanos,
}

impl BrokenIo {
    pub(crate) fn new(fault: Fault) -> BrokenIo {
        let options = MemoryOptions::calm(1);
        let began = options.wall;
        BrokenIo { sound: MemoryIo::new(options), fault, began }
    }
}

/// Passes calls on to the sound network.
macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => { $(
        fn $name(&mut self, $($argument: $type),*) -> $result {
            self.sound.$name($($argument),*)
        }
    )* };
}

impl Io for BrokenIo {
    fn now(&mut self) -> Moment {
        match self.fault {
            // One hour is added so that a clock that is set back still shows a moment after the start.
            Fault::WallClock => {
                Moment::from_nanos(self.sound.wall().0 + 3_600_000_000_000 - self.began.0)
            }
            _ => self.sound.now(),
        }
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        let most = if self.fault == Fault::ShortReads { 4 } else { into.len() };
        self.sound.read(id, &mut into[..most])
    }

    passed_on! {
        wall() -> UnixNanos;
        random() -> u64;
        poll(timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;
        listen(port: PortId, address: SocketAddr) -> io::Result<SocketAddr>;
        listen_unix(port: PortId, path: &Path) -> io::Result<()>;
        unlisten(port: PortId) -> ();
        accept(port: PortId, id: ConnId) -> io::Result<Addrs>;
        shed(port: PortId, most: usize) -> Result<usize, usize>;
        connect(id: ConnId, address: SocketAddr) -> io::Result<()>;
        connect_udp(id: ConnId, address: SocketAddr) -> io::Result<Addrs>;
        connected(id: ConnId) -> io::Result<Option<Addrs>>;
        write(id: ConnId, data: &[u8]) -> io::Result<usize>;
        shutdown(id: ConnId) -> io::Result<()>;
        close(id: ConnId, how: Close) -> ();
    }
}
