//! The option `--timeout`, and connections that obey it.
//!
//! One deadline covers a whole connection attempt or a whole reply. Before each call the remaining time becomes the
//! socket's timeout, so a peer that sends one byte at a time does not extend it.

use socket2::{SockAddr, Socket, Type};
use std::borrow::Borrow;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// The shortest `--timeout`: a socket would treat a much shorter one as no timeout.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest `--timeout`.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The option `--timeout SECONDS`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Patience {
    /// How long to wait, see below; 0.001 to 3600
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(super) timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let seconds = seconds.filter(|timeout| (SHORTEST..=LONGEST).contains(timeout));
    seconds.ok_or("write seconds, from 0.001 to 3600")
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.timeout.as_secs_f64())
    }
}

impl Patience {
    /// Returns the deadline of a timeout that begins now.
    pub(super) fn end(self) -> Instant {
        Instant::now() + self.timeout
    }
}

/// Returns the time that is left until `end`. If `end` has passed, returns an error that counts as a timeout
/// ([`is_late`]).
fn until(end: Instant) -> io::Result<Duration> {
    let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
    left.map(|left| left.max(SHORTEST)).ok_or(ErrorKind::TimedOut.into())
}

/// Whether an error means a timeout. On Unix a socket's own timeout is reported as "would block".
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// Connects to `address`, an Internet address or a Unix socket, before `end`.
pub(super) fn connect(address: &SockAddr, end: Instant) -> io::Result<Socket> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if !address.is_unix() {
        return socket.connect_timeout(address, until(end)?).map(|()| socket);
    }
    // The kernel connects to a Unix socket at once, unless its queue is full. Then connect waits as long as the send
    // timeout allows; poll(2) would not report when there is room.
    loop {
        socket.set_write_timeout(Some(until(end)?))?;
        match socket.connect(address) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome.map(|()| socket),
        }
    }
}

/// A connection with one deadline for all reads and writes, if `end` is set. After it they fail with an error that counts as
/// a timeout ([`is_late`]).
#[derive(Debug)]
pub(super) struct Timed<S> {
    pub(super) socket: S,
    pub(super) end: Option<Instant>,
}

impl<S: Borrow<Socket>> Read for Timed<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.socket.borrow();
        if let Some(end) = self.end {
            socket.set_read_timeout(Some(until(end)?))?;
        }
        socket.read(bytes)
    }
}

impl<S: Borrow<Socket>> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = self.socket.borrow();
        if let Some(end) = self.end {
            socket.set_write_timeout(Some(until(end)?))?;
        }
        socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::thread;

    #[test]
    fn a_timeout_is_a_number_of_seconds() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2_500)));
        assert_eq!(seconds("3600"), Ok(LONGEST));
        for wrong in ["", "0", "-1", "0.0001", "3601", "inf", "NaN", "1e99", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peer_that_sends_a_byte_at_a_time_gains_nothing() {
        let (socket, mut peer) = UnixStream::pair().expect("descriptors are free");
        let sender = thread::spawn(move || while peer.write_all(b"x").is_ok() {});
        let socket = Socket::from(socket);
        let end = Instant::now() + Duration::from_millis(50);
        let mut timed = Timed { socket: &socket, end: Some(end) };
        let mut byte = [0];
        let error = loop {
            match timed.read(&mut byte) {
                Ok(count) => assert_eq!(count, 1, "the peer is there"),
                Err(error) => break error,
            }
        };
        assert!(is_late(&error), "{error}");
        drop(socket);
        sender.join().expect("it does not panic");
    }

    #[test]
    fn a_peer_that_does_not_read_ends_a_write_at_the_deadline() {
        let (socket, _peer) = UnixStream::pair().expect("descriptors are free");
        let socket = Socket::from(socket);
        let end = Instant::now() + Duration::from_millis(50);
        let written = Timed { socket: &socket, end: Some(end) }.write_all(&vec![b'x'; 8 << 20]);
        assert!(is_late(&written.expect_err("nobody reads it")));
    }
}
