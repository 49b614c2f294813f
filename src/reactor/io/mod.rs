//! Everything that the reactor needs from outside: sockets, readiness, two clocks, random bits, signals.
//!
//! The reactor is generic over [`Io`]. [`MioIo`] is the kernel; only it uses mio.
//! [`MemoryIo`](crate::testing::MemoryIo) is an in-memory network with a clock of its own. Tests run on both. To
//! write another `Io`, follow `src/reactor/tests/promises/io_contract.rs`, which specifies the trait; `reactor.rs`
//! beside it tests what the reactor promises on top of any `Io`.
//!
//! The `Io` owns the sockets, under the reactor's ids. So no socket type leaks out, and protocols, timers and
//! transports never mention the `Io`.
//!
//! Readiness is **edge-triggered**, as epoll's with EPOLLET. After an event for one direction of a connection, the `Io`
//! owes no further event for it until a call has returned `WouldBlock`, a read has returned fewer bytes than its buffer
//! holds, or a write has taken fewer bytes than it was given. Events may be spurious. An event for a closed connection
//! may still arrive, under the old id. A caller that stops reading or writing earlier must remember that itself; the
//! reactor does so in `readable` and `writable` of [`Transport`](crate::Transport).

mod mio;

pub use self::mio::MioIo;

use crate::{ConnId, Moment, PortId, UnixNanos};
use rustix::io::Errno;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

/// What the reactor needs from the kernel, or from a replacement for it.
///
/// Only [`poll`](Io::poll) blocks, at most for its timeout.
pub trait Io {
    /// Reads the monotonic clock.
    fn now(&mut self) -> Moment;

    /// Reads the wall clock.
    fn wall(&mut self) -> UnixNanos;

    /// Returns 64 random bits, to seed what must differ from run to run (jitter, hashing).
    fn random(&mut self) -> u64;

    /// Waits until something is ready or `timeout` has passed (`None`: without a limit), and appends the events to
    /// `events`.
    ///
    /// A signal may end the wait early, without events. After an error the loop cannot go on.
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Listens on `address` as `port`. Returns the address; for port 0 the kernel chooses the number.
    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr>;

    /// Listens on a Unix socket at `path` as `port`. The file's mode, 0660, decides which users may connect.
    ///
    /// A socket file on which no process listens is replaced. Fails with `AddrInUse` if a process listens on it, and
    /// with `AlreadyExists` if the file is not a socket.
    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()>;

    /// Stops listening, and removes a socket file. Accepted connections stay open; waiting ones are refused.
    fn unlisten(&mut self, port: PortId);

    /// Accepts the next waiting connection of `port` as `id`.
    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs>;

    /// Turns away up to `most` waiting connections of `port` when the process is out of descriptors: frees the reserve
    /// descriptor, accepts and closes them one by one, and reopens the reserve.
    ///
    /// Returns how many it turned away. `Ok` with fewer than `most` means that none is left waiting. `Err` means that
    /// it had to stop, because the freed descriptor was taken elsewhere.
    fn shed(&mut self, port: PortId, most: usize) -> Result<usize, usize>;

    /// Begins to connect to `address` as `id`. An event for `id` (writable or failed) reports that the attempt is over.
    ///
    /// If this returns an error, there is nothing to close.
    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()>;

    /// Returns the result of [`connect`](Io::connect); `Ok(None)` means that the attempt is still under way.
    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>>;

    /// Opens a UDP socket as `id` that exchanges datagrams with `address` only; the kernel chooses the local port.
    ///
    /// The socket is open at once. Each write sends one datagram, and each read returns one.
    fn connect_udp(&mut self, id: ConnId, address: SocketAddr) -> io::Result<Addrs>;

    /// Reads up to `into.len()` bytes. 0 means that the peer has ended its side.
    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize>;

    /// Passes data to the kernel to be sent. Takes at least one byte, or fails.
    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize>;

    /// Has the kernel end the connection when sent data has not been acknowledged for `timeout`. Networks that lose
    /// nothing need not do anything.
    fn set_user_timeout(&mut self, _id: ConnId, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    /// Ends this side (FIN), after all written data.
    fn shutdown(&mut self, id: ConnId) -> io::Result<()>;

    /// Closes the connection and forgets its id.
    fn close(&mut self, id: ConnId, how: Close);
}

/// The two addresses of a connection, as of the time when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addrs {
    /// The peer's address. Twisted: ITransport.getPeer.
    pub peer: SocketAddr,
    /// Our address, as std's `local_addr`. Twisted: ITransport.getHost.
    pub local: SocketAddr,
}

impl Addrs {
    /// The addresses of a Unix socket's connection: 0.0.0.0:0 for both ends, since neither has an address.
    pub const UNIX: Addrs = Addrs { peer: NO_ADDRESS, local: NO_ADDRESS };
}

const NO_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Close with FIN: the peer reads all written data, then the end.
    Orderly,
    /// Close with FIN after the peer's end has been read. Then no input can be unread, which would turn the close into
    /// a reset, so one system call is enough.
    AfterEnd,
    /// Close with RST: undelivered data is discarded on both sides.
    Reset,
}

/// One result of [`Io::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections are waiting at this port.
    Acceptable(PortId),
    /// A connection may be ready to read or write. A flag that is false says nothing.
    Ready {
        /// The connection; it may have been closed meanwhile.
        id: ConnId,
        /// A read may return data, the end, or an error.
        readable: bool,
        /// A write may take data, or return an error.
        writable: bool,
        /// The peer has ended its side, or the connection has failed. Read until 0 or an error, because no further
        /// event will report it.
        read_closed: bool,
        /// The connection has failed. If it is not being read, it may be closed.
        failed: bool,
    },
    /// The process has received a signal.
    Signal(Signal),
}

/// The signals that a reactor can receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, as sent by Ctrl-C.
    Interrupt,
    /// SIGTERM: a request to end in order.
    Terminate,
    /// SIGHUP: by convention, a request to read the configuration again.
    Hangup,
    /// SIGUSR1: by convention, a request to open the log again.
    User1,
    /// SIGUSR2: free for the program.
    User2,
    /// SIGCHLD: a child process has ended.
    Child,
}

/// Whether a call failed because the process or the system has run out of descriptors or memory. The connection is
/// still waiting, and an immediate retry would spin.
pub fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
