//! One connection to a server: bytes to send, requests that wait for a reply, and the beginning of an incomplete reply.
//!
//! All connections read into one buffer, which the caller owns. Buffers do not shrink, so nothing is allocated after
//! each connection has sent its largest batch.

use crate::failure::Failure;
use crate::protocol::{Checked, Expected, Protocol};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as StdStream};
use std::time::{Duration, Instant};

/// The timeout for everything that a server must do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The size of the read buffer.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// How a server ended a connection between two replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server's last reply announced the end.
    Announced,
    /// The server closed the connection without announcing it.
    Silent,
}

/// How many answered requests are kept before they are removed from the list.
const FORGET_AT: usize = 1_024;

/// An open connection, after the protocol's greeting.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// The index of the server in the list of addresses.
    target: usize,
    outgoing: Vec<u8>,
    sent: usize,
    expected: Vec<Expected>,
    answered: usize,
    unfinished: Vec<u8>,
    /// Whether the server may close the connection between two replies.
    reopens: bool,
    /// Whether the server has sent a reply over this stream.
    has_replied: bool,
    /// Set when the server has ended the connection; then the stream is shut down.
    ended: Option<Ending>,
}

impl Connection {
    /// Connects to `address`, which has index `target` in the list, and sends the protocol's greeting.
    ///
    /// Blocks until the server has accepted and has answered the greeting.
    pub(crate) fn open<P: Protocol>(address: SocketAddr, target: usize) -> Result<Self, Failure> {
        let stream = open::<P>(address)?;
        stream.set_nonblocking(true).map_err(|error| Failure::io("a connection", error))?;
        Ok(Connection::new::<P>(TcpStream::from_std(stream), target))
    }

    /// Wraps `stream`, which must be non-blocking.
    pub(crate) fn new<P: Protocol>(stream: TcpStream, target: usize) -> Connection {
        Connection {
            stream,
            target,
            outgoing: Vec::new(),
            sent: 0,
            expected: Vec::new(),
            answered: 0,
            unfinished: Vec::new(),
            reopens: P::REOPENS,
            has_replied: false,
            ended: None,
        }
    }

    /// The index of the server in the list of addresses.
    #[inline]
    pub(crate) fn target(&self) -> usize {
        self.target
    }

    /// How the server has ended the connection; the caller opens it again before the next request.
    #[inline]
    pub(crate) fn ended(&self) -> Option<Ending> {
        self.ended
    }

    /// Connects again to `address`, without blocking, and composes the unanswered requests again.
    pub(crate) fn reopen<P: Protocol>(
        &mut self,
        protocol: &P,
        address: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<(), Failure> {
        debug_assert!(self.unfinished.is_empty());
        // A child of this process between fork and exec keeps the old socket open, and its events have the same token.
        let _ = registry.deregister(&mut self.stream);
        self.stream = connect(address)?;
        self.register(registry, token)?;
        self.outgoing.clear();
        self.sent = 0;
        for expected in &self.expected[self.answered..] {
            protocol.compose(self.target, expected.request(), &mut self.outgoing);
        }
        self.has_replied = false;
        self.ended = None;
        Ok(())
    }

    /// Registers the connection with the poll, for both directions.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> Result<(), Failure> {
        registry
            .register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| Failure::io("a connection", error))
    }

    /// The number of requests that wait for a reply.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.expected.len() - self.answered
    }

    /// The buffer to compose requests into, and the list of their expected replies.
    #[inline]
    pub(crate) fn composing(&mut self) -> (&mut Vec<u8>, &mut Vec<Expected>) {
        (&mut self.outgoing, &mut self.expected)
    }

    /// Sends as much as the kernel takes. If the server has closed a connection that may be opened again, the next read
    /// finds that out, after the replies before it. The caller sends the rest when the poll reports the connection
    /// writable.
    #[inline]
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => match lost(error) {
                    Failure::Closed if self.reopens => return Ok(()),
                    failure => return Err(failure),
                },
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once into `buffer` and checks all complete replies; calls `each` with the time of the read and the kind of
    /// each reply. Returns whether there may be more to read.
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
            Ok(0) => return self.closed().map(|()| false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => match lost(error) {
                Failure::Closed => return self.closed().map(|()| false),
                failure => return Err(failure),
            },
        };
        let end = kept + count;
        self.check(protocol, &buffer[..end], each)?;
        // After a short read the socket is empty, and an event will report the next bytes.
        Ok(end == buffer.len())
    }

    /// Handles the end of the stream. It is an error within a reply, or if the server has sent no reply over this
    /// stream to any of the requests; so a connection that is opened again makes progress.
    fn closed(&mut self) -> Result<(), Failure> {
        let is_between = self.unfinished.is_empty() && (self.has_replied || self.in_flight() == 0);
        match self.ended {
            Some(_) => Ok(()),
            None if self.reopens && is_between => {
                self.end(Ending::Silent);
                Ok(())
            }
            None => Err(Failure::Closed),
        }
    }

    /// Shuts the stream down, so that the server need not wait until it is replaced.
    fn end(&mut self, ending: Ending) {
        self.ended = Some(ending);
        // An error means that the server has already reset the connection.
        let _ = self.stream.shutdown(Shutdown::Both);
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
                    self.has_replied = true;
                    each(now, expected.kind);
                }
                Ok(Checked::LastReply(bytes)) => {
                    self.answered += 1;
                    each(now, expected.kind);
                    // Node answers 503 to pipelined requests that it does not process any more. We send these
                    // requests again.
                    if self.answered == self.expected.len() && bytes < rest.len() {
                        return Err(wrong::<P>("bytes follow the last reply", expected, rest));
                    }
                    rest = &[];
                    self.end(Ending::Announced);
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

    /// Handles data that arrives while no request waits: only asides are allowed.
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
                Ok(Checked::Reply(_) | Checked::LastReply(_)) | Err(_) => {
                    return Err(wrong::<P>("no request was sent", &nothing, rest));
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

/// Begins a connection to `address`, without blocking.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let failed = |error| Failure::io(&format!("connecting to {address}"), error);
    let stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Opens a blocking connection, and exchanges the protocol's greeting.
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
                return Err(wrong::<P>("bytes follow the reply", expected, &received));
            }
            Ok(Checked::LastReply(_)) => {
                let what = "the server closes the connection after this reply";
                return Err(wrong::<P>(what, expected, &received));
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
            return Err(Failure::Silence("no end of the answer to the greeting".into()));
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

/// The failure for a failed read or write.
pub(crate) fn lost(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::io("a connection", error),
    }
}

/// The failure for a wrong reply, with the expected and the received text.
pub(crate) fn wrong<P: Protocol>(
    what: &'static str,
    expected: &Expected,
    received: &[u8],
) -> Failure {
    const SHOWN: usize = 500;
    let kind = P::KINDS[usize::from(expected.kind)];
    let operands = expected.operands.escape_ascii();
    let shown = received[..SHOWN.min(received.len())].escape_ascii().to_string();
    Failure::Wrong(what, format!("the reply to {kind} {operands}"), shown)
}
