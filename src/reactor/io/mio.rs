//! The kernel, through mio. Only this file uses mio.
//!
//! mio registers sockets edge-triggered (EPOLLET). Each socket is registered once, for both directions, and never
//! reregistered: an `epoll_ctl` costs 0.4 µs, a flag in memory nothing. Closing a descriptor removes it from epoll,
//! since it has no duplicate (all descriptors are close-on-exec).
//!
//! A token is a connection's id: generation and key in one word. So the reactor can check whether an event is for the
//! slot's present connection. Generations begin at 1; tokens of generation 0 are ports.

use super::{Addrs, Close, ConnId, Event, Io, Moment, PortId, Signal, UnixNanos, is_exhausted};
use ::mio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use ::mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fmt;
use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Maximum number of events that one poll returns. The next poll returns the rest.
const EVENTS_MAX: usize = 1024;

/// How many connections per port the kernel keeps waiting, up to its net.core.somaxconn.
/// Twisted's default is 50, too few for a burst of clients.
const BACKLOG: i32 = 1024;

/// TCP keepalive, for peers that vanish without a FIN, for example when they lose power: the kernel probes after two
/// minutes of silence, and drops the connection after two more.
fn keepalive() -> TcpKeepalive {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(120));
    keepalive.with_interval(Duration::from_secs(30)).with_retries(4)
}

/// The token of the signals. No connection has both this generation and this key.
const SIGNALS: Token = Token(usize::MAX);

/// The kernel's sockets, clocks and signals.
pub struct MioIo {
    poll: Poll,
    events: Events,
    signals: Option<Signals>,
    /// Signals received before the loop ran, each once; the first poll reports them.
    early: Vec<Signal>,
    start: Instant,
    ports: Vec<Option<Listener>>,
    sockets: Vec<Option<OpenSocket>>,
    /// A descriptor kept open so that it can be freed when the process has run out of them.
    /// Twisted: tcp.py, _FileDescriptorReservation.
    reserve: Option<File>,
}

/// The open socket of a connection.
#[derive(Debug)]
enum OpenSocket {
    Stream(TcpStream),
    Datagrams(UdpSocket),
    Unix(UnixStream),
}

#[derive(Debug)]
enum Listener {
    Tcp { listener: TcpListener, host: SocketAddr },
    Unix { listener: UnixListener, _path: SocketPath },
}

/// The path of a listening Unix socket. Dropping this value removes the file, also when listening fails halfway.
#[derive(Debug)]
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // If this fails, the next process finds that no process listens on the file, and replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Accepts the next waiting connection.
    fn accept(&self) -> io::Result<(OpenSocket, Addrs)> {
        match self {
            Listener::Tcp { listener, host } => {
                let (stream, peer) = listener.accept()?;
                let host = match host.ip().is_unspecified() {
                    true => stream.local_addr()?,
                    false => *host,
                };
                let [peer, local] = [peer, host].map(unmapped);
                Ok((OpenSocket::Stream(stream), Addrs { peer, local }))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                Ok((OpenSocket::Unix(stream), Addrs::UNIX))
            }
        }
    }
}

impl MioIo {
    /// Opens an event poll, and catches `signals` from now on. Fails with the kernel's error.
    pub fn new(signals: &[Signal]) -> io::Result<MioIo> {
        let poll = Poll::new()?;
        let signals = match signals {
            [] => None,
            some => {
                let mut caught = Signals::new(some.iter().filter_map(number))?;
                poll.registry().register(&mut caught, SIGNALS, Interest::READABLE)?;
                Some(caught)
            }
        };
        Ok(MioIo {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            signals,
            early: Vec::new(),
            start: Instant::now(),
            ports: Vec::new(),
            sockets: Vec::new(),
            reserve: reserve().ok(),
        })
    }

    /// Whether SIGINT or SIGTERM has arrived, for a program with a long start before its loop runs.
    /// The first poll reports all signals that have arrived by then.
    pub fn is_told_to_end(&mut self) -> bool {
        for came in self.signals.iter_mut().flat_map(Signals::pending).filter_map(signal) {
            if !self.early.contains(&came) {
                self.early.push(came);
            }
        }
        self.early.iter().any(|came| matches!(came, Signal::Interrupt | Signal::Terminate))
    }

    /// Reads the wall clock, for code without a reactor, such as `main` and the log.
    pub fn wall_clock() -> UnixNanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn socket(&mut self, id: ConnId) -> io::Result<&mut OpenSocket> {
        let socket = self.sockets.get_mut(id.key()).and_then(Option::as_mut);
        socket.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn stream(&mut self, id: ConnId) -> io::Result<&mut TcpStream> {
        match self.socket(id)? {
            OpenSocket::Stream(stream) => Ok(stream),
            OpenSocket::Datagrams(_) | OpenSocket::Unix(_) => Err(ErrorKind::InvalidInput.into()),
        }
    }

    fn port(&self, port: PortId) -> io::Result<&Listener> {
        let open = self.ports.get(port.key()).and_then(Option::as_ref);
        open.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn keep(&mut self, id: ConnId, mut socket: OpenSocket) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        match &mut socket {
            OpenSocket::Stream(stream) => registry.register(stream, token(id), both)?,
            OpenSocket::Datagrams(socket) => registry.register(socket, token(id), both)?,
            OpenSocket::Unix(stream) => registry.register(stream, token(id), both)?,
        }
        put(&mut self.sockets, id.key(), socket);
        Ok(())
    }

    /// Accepts connections and closes them, until none waits or `most` are closed.
    fn turn_away(&mut self, port: PortId, most: usize) -> Result<usize, usize> {
        let port = self.port(port).map_err(|_| 0_usize)?;
        for turned_away in 0..most {
            match port.accept() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(turned_away),
                Err(e) if is_exhausted(&e) => return Err(turned_away),
                // A connection that is gone already counts too, so that the loop ends.
                _ => {}
            }
        }
        Ok(most)
    }
}

impl Io for MioIo {
    fn now(&mut self) -> Moment {
        Moment::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&mut self) -> UnixNanos {
        MioIo::wall_clock()
    }

    /// The kernel seeds `RandomState`, whose keys differ at every call.
    fn random(&mut self) -> u64 {
        RandomState::new().hash_one(0)
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = if self.early.is_empty() { timeout } else { Some(Duration::ZERO) };
        events.extend(self.early.drain(..).map(Event::Signal));
        match self.poll.poll(&mut self.events, timeout) {
            // Any handled signal interrupts epoll_wait, even with SA_RESTART. This turn goes on without events; the
            // next poll reports the signal.
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            match event.token() {
                SIGNALS => {
                    let pending = self.signals.iter_mut().flat_map(Signals::pending);
                    events.extend(pending.filter_map(signal).map(Event::Signal));
                }
                Token(port) if port >> 32 == 0 => {
                    events.push(Event::Acceptable(PortId::new(port as u32)));
                }
                Token(id) => events.push(Event::Ready {
                    id: ConnId::new(id as u32, (id >> 32) as u32),
                    // On a failed connection both a read and a write return the error.
                    readable: event.is_readable() || event.is_error(),
                    writable: event.is_writable() || event.is_error(),
                    read_closed: event.is_read_closed() || event.is_error(),
                    failed: event.is_error(),
                }),
            }
        }
        Ok(())
    }

    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        // On Linux accepted sockets inherit these options, which saves a system call for each. Replies are collected
        // before they are sent, so Nagle's algorithm could only delay them.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&keepalive())?;
        if address.is_ipv6() {
            // So [::] takes IPv4, too, whatever net.ipv6.bindv6only says.
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        let host = listener.local_addr()?;
        self.poll.registry().register(&mut listener, Token(port.key()), Interest::READABLE)?;
        put(&mut self.ports, port.key(), Listener::Tcp { listener, host });
        Ok(host)
    }

    /// Sets the mode before `listen`, after which clients can connect.
    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()> {
        remove_if_dead(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let _path = SocketPath(path.to_owned());
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
        socket.listen(BACKLOG)?;
        let mut listener = UnixListener::from_std(socket.into());
        self.poll.registry().register(&mut listener, Token(port.key()), Interest::READABLE)?;
        put(&mut self.ports, port.key(), Listener::Unix { listener, _path });
        Ok(())
    }

    fn unlisten(&mut self, port: PortId) {
        if let Some(port) = self.ports.get_mut(port.key()) {
            *port = None;
        }
    }

    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs> {
        let (socket, addrs) = self.port(port)?.accept()?;
        self.keep(id, socket)?;
        Ok(addrs)
    }

    fn shed(&mut self, port: PortId, most: usize) -> Result<usize, usize> {
        self.reserve = None;
        let shed = self.turn_away(port, most);
        // If the freed descriptor was taken meanwhile, the next call tries again.
        self.reserve = reserve().ok();
        shed
    }

    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        self.keep(id, OpenSocket::Stream(stream))
    }

    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>> {
        let stream = self.stream(id)?;
        // The kernel reports a failure in SO_ERROR only once, so it is checked first and returned.
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        let peer = match stream.peer_addr() {
            Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(None),
            peer => peer?,
        };
        let host = stream.local_addr()?;
        // If no process listens on a local port in the ephemeral range, a connection to it can connect to itself (TCP's
        // simultaneous open).
        match peer == host {
            true => Err(ErrorKind::ConnectionRefused.into()),
            false => Ok(Some(Addrs { peer, local: host })),
        }
    }

    fn connect_udp(&mut self, id: ConnId, address: SocketAddr) -> io::Result<Addrs> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        // From now on the kernel drops datagrams from other addresses, and reports an unreachable port.
        socket.connect(address)?;
        let host = socket.local_addr()?;
        self.keep(id, OpenSocket::Datagrams(socket))?;
        Ok(Addrs { peer: address, local: host })
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        match self.socket(id)? {
            OpenSocket::Stream(stream) => stream.read(into),
            OpenSocket::Datagrams(socket) => socket.recv(into),
            OpenSocket::Unix(stream) => stream.read(into),
        }
    }

    fn set_user_timeout(&mut self, id: ConnId, timeout: Duration) -> io::Result<()> {
        SockRef::from(&*self.stream(id)?).set_tcp_user_timeout(Some(timeout))
    }

    /// Rust's runtime ignores SIGPIPE, so a write to a closed connection returns EPIPE.
    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize> {
        match self.socket(id)? {
            OpenSocket::Stream(stream) => stream.write(data),
            OpenSocket::Datagrams(socket) => socket.send(data),
            OpenSocket::Unix(stream) => stream.write(data),
        }
    }

    fn shutdown(&mut self, id: ConnId) -> io::Result<()> {
        match self.socket(id)? {
            OpenSocket::Stream(stream) => stream.shutdown(Shutdown::Write),
            OpenSocket::Unix(stream) => stream.shutdown(Shutdown::Write),
            OpenSocket::Datagrams(_) => Err(ErrorKind::InvalidInput.into()),
        }
    }

    fn close(&mut self, id: ConnId, how: Close) {
        let socket = self.sockets.get_mut(id.key()).and_then(Option::take);
        let Some(OpenSocket::Stream(stream)) = socket else { return };
        // A failure of either call does not matter: the socket is dropped in any case.
        let _ = match how {
            // A close with unread input sends RST at once. After a shutdown the peer can still read what has reached it, and a
            // clean end. What waits in our kernel may be lost; therefore `lose_connection` lingers first.
            Close::Orderly => stream.shutdown(Shutdown::Both),
            Close::AfterEnd => Ok(()),
            Close::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
        };
    }
}

impl fmt::Debug for MioIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sockets = self.sockets.iter().flatten().count();
        f.debug_struct("MioIo").field("ports", &self.ports).field("sockets", &sockets).finish()
    }
}

/// Removes the file at `path` if it is the socket of a process that has ended.
fn remove_if_dead(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?.file_type(),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "the file is not a socket: move it away",
        ));
    }
    let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The listening process may be busy; do not wait for it.
    caller.set_nonblocking(true)?;
    match caller.connect(&SockAddr::unix(path)?) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process listens on this socket: end it first",
        )),
    }
}

/// The address as IPv4, if it is an IPv4 address that the kernel wrote as IPv6: `::ffff:192.0.2.1`.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}

fn token(id: ConnId) -> Token {
    Token((id.generation() as usize) << 32 | id.key())
}

fn put<T>(slots: &mut Vec<Option<T>>, key: usize, value: T) {
    if slots.len() <= key {
        slots.resize_with(key + 1, || None);
    }
    slots[key] = Some(value);
}

const NUMBERS: [(Signal, i32); 6] = [
    (Signal::Interrupt, SIGINT),
    (Signal::Terminate, SIGTERM),
    (Signal::Hangup, SIGHUP),
    (Signal::User1, SIGUSR1),
    (Signal::User2, SIGUSR2),
    (Signal::Child, SIGCHLD),
];

fn number(signal: &Signal) -> Option<i32> {
    NUMBERS.iter().find(|(named, _)| named == signal).map(|(_, number)| *number)
}

fn signal(number: i32) -> Option<Signal> {
    NUMBERS.iter().find(|(_, known)| *known == number).map(|(signal, _)| *signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(io: &mut MioIo, port: PortId, id: ConnId) -> Addrs {
        loop {
            match io.accept(port, id) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    io.poll(None, &mut Vec::new()).expect("the poll works");
                }
                accepted => return accepted.expect("a connection waits"),
            }
        }
    }

    /// Without IPv6, `Err` with the kernel's words.
    fn listener(io: &mut MioIo, address: &str) -> io::Result<(PortId, SocketAddr)> {
        let port = PortId::new(0);
        io.listen(port, address.parse().expect("an address")).map(|local| (port, local))
    }

    #[test]
    fn a_port_of_every_address_takes_both_families_and_shows_ipv4_as_such() {
        let mut io = MioIo::new(&[]).expect("a poll");
        let (port, local) = match listener(&mut io, "[::]:0") {
            Ok(opened) => opened,
            Err(why) => {
                assert!(std::env::var("HERD_REQUIRE_ALL").as_deref() != Ok("1"), "no IPv6: {why}");
                return eprintln!("skipped: this machine has no IPv6: {why}");
            }
        };
        for (key, ip) in ["127.0.0.1", "::1"].into_iter().enumerate() {
            let ip: IpAddr = ip.parse().expect("an address");
            let there = std::net::TcpStream::connect((ip, local.port())).expect("it listens");
            let addrs = accepted(&mut io, port, ConnId::new(key as u32, 1));
            assert_eq!(addrs.peer, there.local_addr().expect("it is bound"));
            assert_eq!(addrs.local, SocketAddr::new(ip, local.port()));
        }
    }

    #[test]
    fn a_user_timeout_is_the_kernels() {
        let mut io = MioIo::new(&[]).expect("a poll");
        let (port, local) = listener(&mut io, "127.0.0.1:0").expect("a port is free");
        let _there = std::net::TcpStream::connect(local).expect("it listens");
        let id = ConnId::new(0, 1);
        accepted(&mut io, port, id);
        let limit = Duration::from_millis(12_345);
        io.set_user_timeout(id, limit).expect("the kernel knows it");
        let socket = io.stream(id).expect("it is open");
        assert_eq!(
            SockRef::from(&*socket).tcp_user_timeout().expect("it can be read"),
            Some(limit)
        );
        assert!(
            io.set_user_timeout(ConnId::new(9, 1), limit).is_err(),
            "there is no such connection"
        );
    }
}
