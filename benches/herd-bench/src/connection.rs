//! One connection to a server: bytes that are to leave, requests that wait for a reply, and the beginning
//! of a reply that is not whole yet.
//!
//! All connections read into one buffer, which belongs to whoever drives them. Buffers keep what they have
//! grown to, so nothing is allocated once each connection has had its largest batch.

use crate::failure::Failure;
use crate::protocol::{Checked, Expected, Protocol};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::time::{Duration, Instant};

/// How long anybody is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Room for what is read at once.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// When so many requests have been answered of those that are remembered, they are forgotten.
const FORGET_AT: usize = 1_024;

/// A connection that is made and greeted.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Of the list of addresses.
    target: usize,
    outgoing: Vec<u8>,
    sent: usize,
    expected: Vec<Expected>,
    answered: usize,
    unfinished: Vec<u8>,
}

impl Connection {
    /// Connects to `address`, the `target`-th of the list, and says the protocol's greeting.
    ///
    /// Blocks until the server has accepted, and has answered the greeting.
    pub(crate) fn open<P: Protocol>(address: SocketAddr, target: usize) -> Result<Self, Failure> {
        let stream = open::<P>(address)?;
        stream.set_nonblocking(true).map_err(|error| Failure::io("a connection", error))?;
        Ok(Connection::new(TcpStream::from_std(stream), target))
    }

    /// Over `stream`, which does not block.
    pub(crate) fn new(stream: TcpStream, target: usize) -> Connection {
        Connection {
            stream,
            target,
            outgoing: Vec::new(),
            sent: 0,
            expected: Vec::new(),
            answered: 0,
            unfinished: Vec::new(),
        }
    }

    /// Has the poll tell of it, once for all.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> Result<(), Failure> {
        registry
            .register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| Failure::io("a connection", error))
    }

    /// How many requests wait for a reply.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.expected.len() - self.answered
    }

    /// Where requests are composed to, and what is expected for them.
    #[inline]
    pub(crate) fn composing(&mut self) -> (&mut Vec<u8>, &mut Vec<Expected>) {
        (&mut self.outgoing, &mut self.expected)
    }

    /// Sends what the kernel takes. The rest leaves when the poll says that it is writable.
    #[inline]
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once into `buffer`, checks all replies that are whole, and tells `each` of their kinds and
    /// of when they were read. Returns whether there may be more to read.
    #[inline]
    pub(crate) fn receive<P: Protocol>(
        &mut self,
        protocol: &mut P,
        buffer: &mut [u8],
        each: impl FnMut(Instant, u8),
    ) -> Result<bool, Failure> {
        let kept = self.unfinished.len();
        buffer[..kept].copy_from_slice(&self.unfinished);
        let count = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Err(Failure::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(lost(error)),
        };
        let end = kept + count;
        self.check(protocol, &buffer[..end], each)?;
        // Fewer bytes than there was room for: the socket is empty, and its next bytes will be an event.
        Ok(end == buffer.len())
    }

    #[inline]
    fn check<P: Protocol>(
        &mut self,
        protocol: &mut P,
        received: &[u8],
        mut each: impl FnMut(Instant, u8),
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let mut rest = received;
        while !rest.is_empty() {
            let Some(expected) = self.expected.get(self.answered) else {
                return self.unasked(protocol, rest);
            };
            match protocol.check(self.target, rest, expected) {
                Ok(Checked::Reply(bytes)) => {
                    rest = &rest[bytes..];
                    self.answered += 1;
                    each(now, expected.kind);
                }
                Ok(Checked::Aside(bytes, answer)) => {
                    rest = &rest[bytes..];
                    self.outgoing.extend_from_slice(answer);
                    self.send()?;
                }
                Ok(Checked::Unfinished) => break,
                Err(what) => return Err(wrong::<P>(what, expected, rest)),
            }
        }
        self.unfinished.clear();
        self.unfinished.extend_from_slice(rest);
        self.forget();
        Ok(())
    }

    /// What comes while nothing is asked may be an aside, and nothing else.
    fn unasked<P: Protocol>(&mut self, protocol: &mut P, mut rest: &[u8]) -> Result<(), Failure> {
        self.forget();
        self.unfinished.clear();
        let nothing = Expected { kind: 0, operands: [b'-'; crate::reports::OPERANDS_BYTES] };
        while !rest.is_empty() {
            match protocol.check(self.target, rest, &nothing) {
                Ok(Checked::Aside(bytes, answer)) => {
                    rest = &rest[bytes..];
                    self.outgoing.extend_from_slice(answer);
                }
                Ok(Checked::Unfinished) => {
                    self.unfinished.extend_from_slice(rest);
                    break;
                }
                Ok(Checked::Reply(_)) | Err(_) => {
                    return Err(wrong::<P>("nothing was asked", &nothing, rest));
                }
            }
        }
        self.send()
    }

    #[inline]
    fn forget(&mut self) {
        if self.answered == self.expected.len() {
            self.expected.clear();
            self.answered = 0;
        } else if self.answered >= FORGET_AT && self.answered * 2 >= self.expected.len() {
            self.expected.drain(..self.answered);
            self.answered = 0;
        }
    }
}

/// A blocking connection that has been greeted.
pub(crate) fn open<P: Protocol>(address: SocketAddr) -> Result<StdStream, Failure> {
    let failed = |error| Failure::io(&format!("connecting to {address}"), error);
    let mut stream = StdStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    if !P::GREETING.is_empty() {
        stream.write_all(P::GREETING).map_err(lost)?;
        wait_for(&mut stream, b"+OK\r\n")?;
    }
    Ok(stream)
}

/// Sends a request over a blocking connection, and waits for its reply.
pub(crate) fn ask<P: Protocol>(
    stream: &mut StdStream,
    target: usize,
    protocol: &mut P,
    (request, expected): (&[u8], &Expected),
) -> Result<(), Failure> {
    stream.write_all(request).map_err(lost)?;
    let mut received = Vec::new();
    loop {
        match protocol.check(target, &received, expected) {
            Ok(Checked::Reply(bytes)) if bytes == received.len() => return Ok(()),
            Ok(Checked::Reply(_)) => {
                return Err(wrong::<P>("more than was asked for", expected, &received));
            }
            Ok(Checked::Aside(bytes, answer)) => {
                received.drain(..bytes);
                stream.write_all(answer).map_err(lost)?;
            }
            Ok(Checked::Unfinished) => read_some(stream, &mut received)?,
            Err(what) => return Err(wrong::<P>(what, expected, &received)),
        }
    }
}

fn wait_for(stream: &mut StdStream, end: &[u8]) -> Result<(), Failure> {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        if received.len() > BUFFER_BYTES {
            return Err(Failure::Silence("the answer to the greeting".into()));
        }
        read_some(stream, &mut received)?;
    }
    Ok(())
}

fn read_some(stream: &mut StdStream, received: &mut Vec<u8>) -> Result<(), Failure> {
    let mut chunk = [0; 4_096];
    match stream.read(&mut chunk) {
        Ok(0) => Err(Failure::Closed),
        Ok(count) => {
            received.extend_from_slice(&chunk[..count]);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(Failure::Silence(format!("no reply within {PATIENCE:?}")))
        }
        Err(error) => Err(lost(error)),
    }
}

/// What a failed read or write means.
pub(crate) fn lost(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::io("a connection", error),
    }
}

/// A reply that is not what was expected, readably.
pub(crate) fn wrong<P: Protocol>(
    what: &'static str,
    expected: &Expected,
    received: &[u8],
) -> Failure {
    const SHOWN: usize = 200;
    let kind = P::KINDS[usize::from(expected.kind)];
    let operands = expected.operands.escape_ascii();
    let shown = received[..SHOWN.min(received.len())].escape_ascii().to_string();
    Failure::Wrong(what, format!("what {kind} {operands} gets"), shown)
}
