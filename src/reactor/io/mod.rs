//! All that the reactor asks of the world: sockets, readiness, the two clocks, chance, signals.
//!
//! The reactor is generic over [`Io`]. [`MioIo`] is the kernel, and the only place in the program
//! that names mio. [`MemoryIo`](crate::testing::MemoryIo) is a network in memory on a clock of its
//! own. Tests run on both: `src/reactor/tests/promises/io_contract.rs` is the specification of a third
//! `Io`, and `reactor.rs` beside it holds the promises that the reactor makes on top of it.
//!
//! The sockets live in the `Io`, under the reactor's own ids. So no socket type leaks out: a
//! protocol, a timer or a transport never mentions the `Io` beneath it.
//!
//! What an `Io` must promise, in epoll's words: readiness is **edge-triggered**. After an event,
//! nothing more is said about that direction until a call has returned `WouldBlock`, or a read has
//! returned fewer bytes than it could take, or a write has taken fewer than it was given. Events
//! may be spurious. An event for a connection that was closed meanwhile may still arrive, under
//! the old id. Whoever stops of his own accord must remember that he did; the reactor does
//! ([`Transport`](crate::Transport), `readable` and `writable`).

mod mio;

pub use self::mio::MioIo;

use crate::{ConnId, Moment, PortId, UnixNanos};
use rustix::io::Errno;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

/// What the reactor asks of the kernel, or of what stands in for it.
///
/// No call blocks but [`poll`](Io::poll), and it only as long as it is told.
pub trait Io {
    /// The monotonic clock.
    fn now(&mut self) -> Moment;

    /// The wall clock.
    fn wall(&mut self) -> UnixNanos;

    /// Sixty-four random bits, to seed what must differ from run to run (jitter, hashing).
    fn random(&mut self) -> u64;

    /// Waits until something is ready, or `timeout` has passed (`None`: for ever), and appends what
    /// is ready to `events`.
    ///
    /// An interrupted wait ends early with no events. An error means that the loop cannot go on.
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Listens on `address` as `port`, and says which address it became (port 0 asks the kernel to
    /// choose one).
    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr>;

    /// Listens at `path` in the file system as `port`: for those on this machine whom the file's mode,
    /// 0660, lets in. A socket file at which nobody listens any more is replaced; one at which somebody
    /// does is `AddrInUse`, and any other file `AlreadyExists`.
    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()>;

    /// Stops listening. Connections already accepted live on; those waiting are refused. A socket file
    /// is removed.
    fn unlisten(&mut self, port: PortId);

    /// Takes the next waiting connection of `port`, to be known as `id`.
    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs>;

    /// When the process is out of descriptors: gives up the reserve descriptor, takes at most `most`
    /// waiting connections of `port` only to close them, and takes the reserve back.
    ///
    /// Returns how many were turned away. If that is `Ok` and fewer than `most`, none is left waiting; `Err` means
    /// that it could turn away no more, for others have taken the descriptor.
    fn shed(&mut self, port: PortId, most: usize) -> Result<usize, usize>;

    /// Begins to connect to `address` as `id`. Writability, or an error, tells that it is decided.
    ///
    /// An error leaves nothing to close.
    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()>;

    /// What became of [`connect`](Io::connect): `Ok(None)` means not decided yet.
    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>>;

    /// Opens a socket for datagrams to and from `address` alone, as `id`, from a port of the kernel's
    /// choice. It stands at once. Each write is one datagram, and each read gives one.
    fn connect_udp(&mut self, id: ConnId, address: SocketAddr) -> io::Result<Addrs>;

    /// Reads what is there, at most `into.len()` bytes. 0 is the end of what the peer sends.
    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize>;

    /// Hands over bytes to be sent; takes at least one or errs.
    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize>;

    /// Ends what we send (FIN), after all that was written.
    fn shutdown(&mut self, id: ConnId) -> io::Result<()>;

    /// Closes the connection and forgets it.
    fn close(&mut self, id: ConnId, how: Close);
}

/// Both ends of a connection, as they were when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addrs {
    /// The other side. Twisted: ITransport.getPeer.
    pub peer: SocketAddr,
    /// This side, as std's `local_addr`. Twisted: ITransport.getHost.
    pub local: SocketAddr,
}

impl Addrs {
    /// Those of a connection by way of a path in the file system: neither end has an address.
    pub const UNIX: Addrs = Addrs { peer: NO_ADDRESS, local: NO_ADDRESS };
}

const NO_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// FIN: the peer reads all that was written, then the end.
    Orderly,
    /// The same, of a connection of which the peer's end has been read: then nothing can wait unread, which
    /// alone would make a reset of it, and one call is enough.
    AfterEnd,
    /// RST: what was not yet delivered is thrown away on both sides.
    Reset,
}

/// Something that [`Io::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections are waiting at this port.
    Acceptable(PortId),
    /// A connection may be read or written; each flag only ever adds to what is known.
    Ready {
        /// Whose; perhaps one that was closed meanwhile.
        id: ConnId,
        /// A read may give something: bytes, the end, or an error.
        readable: bool,
        /// A write may take something, or tell the error.
        writable: bool,
        /// The peer has ended its side, or the connection has failed: read on until 0 or an error,
        /// because no further event will say so.
        read_closed: bool,
        /// The connection has failed: what is not read by now may be given up.
        failed: bool,
    },
    /// The process was sent a signal.
    Signal(Signal),
}

/// The signals that a reactor can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: an orderly end is asked for.
    Terminate,
    /// SIGHUP: what was read at the start is to be read anew.
    Hangup,
    /// SIGCHLD: a child process has ended.
    Child,
}

/// Whether a call failed because the process, or the system, has run out of descriptors or memory:
/// the connection is still waiting, and trying again at once would spin.
pub fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
