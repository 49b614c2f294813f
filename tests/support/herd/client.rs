//! The test's side of one connection to a server.

use super::PATIENCE;
use rustix::io::retry_on_intr;
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A TCP connection that sends bytes and waits for bytes. Every wait ends after [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Received bytes that the test has not taken yet.
    received: Vec<u8>,
}

/// A reply to WHATSAT: `AT` line, JSON, blank line.
#[derive(Debug)]
pub(crate) struct Nearby {
    /// The AT line, without its end.
    pub(crate) line: Vec<u8>,
    /// All bytes after the AT line, including the two newlines at the end.
    pub(crate) text: Vec<u8>,
    /// The parsed `text`.
    pub(crate) json: Value,
}

impl Nearby {
    /// The places.
    pub(crate) fn results(&self) -> &Vec<Value> {
        self.json["results"].as_array().expect("results is a list")
    }

    /// Latitude and longitude of each place.
    pub(crate) fn places(&self) -> Vec<(f64, f64)> {
        let degrees = |place: &Value, key: &str| {
            place["geometry"]["location"][key].as_f64().expect("a coordinate is a number")
        };
        self.results().iter().map(|place| (degrees(place, "lat"), degrees(place, "lng"))).collect()
    }
}

impl Client {
    /// Connects to `address`, at which a server must listen.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|why| panic!("cannot connect to {address}: {why}"));
        Client::from(stream)
    }

    /// Connects with small buffers of fixed size, so that few bytes are under way. With still smaller ones TCP itself
    /// would stall for lack of room for an ACK.
    #[track_caller]
    pub(crate) fn connect_narrow(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("a socket can be made");
        socket.set_recv_buffer_size(65_536).expect("a receive buffer has a size");
        socket.set_send_buffer_size(65_536).expect("a send buffer has a size");
        socket.connect(&address.into()).expect("a server listens");
        Client::from(TcpStream::from(socket))
    }

    /// Sends `bytes`, as one segment if they are few.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes what is sent");
    }

    /// Sends `bytes` until the connection fails. Returns whether all were sent.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends as many of `bytes` as the kernel takes without waiting. Returns their number.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a socket can be made so");
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) => panic!("the connection is lost after {sent} bytes: {why}"),
            }
        }
        self.stream.set_nonblocking(false).expect("a socket can be made so");
        sent
    }

    /// Half-closes: the server reads the end of the stream.
    #[track_caller]
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is up");
    }

    /// Breaks the connection with a reset.
    pub(crate) fn reset(self) {
        let now = Some(Duration::ZERO);
        SockRef::from(&self.stream).set_linger(now).expect("a socket can be made so");
    }

    /// The number of our bytes that wait in the kernel for the server to read them.
    pub(crate) fn unread_by_server(&self) -> u64 {
        let ends = [self.stream.peer_addr(), self.stream.local_addr()];
        let [server, ours] = ends.map(|end| match end.expect("the connection stands") {
            SocketAddr::V4(v4) => {
                let ip = u32::from_ne_bytes(v4.ip().octets());
                format!("{ip:08X}:{:04X}", v4.port())
            }
            SocketAddr::V6(_) => unreachable!("the herds of the tests are on 127.0.0.1"),
        });
        // The server's half of this connection: number, local, remote, state, tx_queue:rx_queue.
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux lists its connections");
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row[1] == server && row[2] == ours);
        let queues = row.and_then(|row| row[4].split_once(':').map(|(_, rx)| rx.to_owned()));
        queues.map_or(0, |rx| u64::from_str_radix(&rx, 16).expect("a queue has a length"))
    }

    /// A clone of the stream, with which another thread can write.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor is free")
    }

    /// Returns all bytes up to and including the next `end`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut searched = 0;
        loop {
            let found = self.received[searched..].windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                let rest = self.received.split_off(searched + at + end.len());
                return std::mem::replace(&mut self.received, rest);
            }
            searched = self.received.len().saturating_sub(end.len() - 1);
            match self.read_more() {
                Ok(0) => panic!("the end came instead of {}; {}", show(end), self.so_far()),
                Ok(_) => {}
                Err(why) => panic!("{why} instead of {}; {}", show(end), self.so_far()),
            }
        }
    }

    /// Returns the next line, without its LF.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Vec<u8> {
        let mut line = self.read_until(b"\n");
        line.pop();
        line
    }

    /// Returns the next line, without its LF, or `None` if the connection ends first.
    #[track_caller]
    pub(crate) fn line_or_end(&mut self) -> Option<Vec<u8>> {
        while !self.received.contains(&b'\n') {
            match self.read_more() {
                Ok(1..) => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    panic!("neither a line nor the end within {PATIENCE:?}; {}", self.so_far())
                }
                Ok(_) | Err(_) => return None,
            }
        }
        Some(self.line())
    }

    /// Sends `line` and an LF, and returns the next line.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: impl AsRef<[u8]>) -> Vec<u8> {
        self.send([line.as_ref(), b"\n"].concat());
        self.line()
    }

    /// Sends a WHATSAT. `Err` is the line that came instead of a reply of three parts.
    #[track_caller]
    pub(crate) fn whatsat(
        &mut self,
        client: &str,
        radius: &str,
        bound: &str,
    ) -> Result<Nearby, Vec<u8>> {
        self.send(format!("WHATSAT {client} {radius} {bound}\n"));
        self.nearby()
    }

    /// Returns the reply to a WHATSAT that was sent before.
    #[track_caller]
    pub(crate) fn nearby(&mut self) -> Result<Nearby, Vec<u8>> {
        let line = self.line();
        if !line.starts_with(b"AT ") {
            return Err(line);
        }
        let text = self.read_until(b"\n\n");
        let json = serde_json::from_slice(&text)
            .unwrap_or_else(|why| panic!("no JSON, {why}: {}", show(&text)));
        Ok(Nearby { line, text, json })
    }

    /// Returns all bytes up to the end of the stream.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let (rest, end) = self.rest_and_end();
        if let Some(why) = end {
            panic!("{why} instead of the end, after {}", show(&rest));
        }
        rest
    }

    /// Returns all bytes up to the end of the stream, and the error if the end is a reset (`None`: an orderly end).
    #[track_caller]
    pub(crate) fn rest_and_end(&mut self) -> (Vec<u8>, Option<io::Error>) {
        loop {
            let end = match self.read_more() {
                Ok(0) => None,
                Ok(_) => continue,
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    panic!("no end within {PATIENCE:?}; {}", self.so_far())
                }
                Err(why) => Some(why),
            };
            return (std::mem::take(&mut self.received), end);
        }
    }

    /// Waits for bytes or the end of the stream, orderly or not. Returns whether it was the end, without any bytes.
    #[track_caller]
    pub(crate) fn is_ended(&mut self) -> bool {
        self.received.is_empty()
            && match self.read_more() {
                Ok(count) => count == 0,
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    panic!("neither a word nor the end within {PATIENCE:?}")
                }
                Err(_) => true,
            }
    }

    /// Sends `bytes`, half-closes, and returns the whole reply.
    #[track_caller]
    pub(crate) fn say_all(mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(bytes);
        self.half_close();
        self.rest()
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 65_536];
        // With a timeout the kernel does not restart an interrupted call.
        let count = retry_on_intr(|| rustix::io::read(&self.stream, &mut chunk))?;
        self.received.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    fn so_far(&self) -> String {
        let start = &self.received[..self.received.len().min(2_000)];
        format!("of {} bytes that came: {}", self.received.len(), show(start))
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a socket can be made so");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time is set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time is set");
        Client { stream, received: Vec::new() }
    }
}

/// Shows `bytes` as readable text.
pub(crate) fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Replaces the time difference in each AT line of `reply`, which a test cannot predict, by `#`.
///
/// A difference has a sign, digits, a point and nine digits; everything else stays as it is.
pub(crate) fn masked(reply: &[u8]) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = reply
        .split(|&byte| byte == b'\n')
        .map(|line| {
            let mut fields: Vec<&[u8]> = line.splitn(4, |&byte| byte == b' ').collect();
            if fields.len() == 4 && fields[0] == b"AT" && is_difference(fields[2]) {
                fields[2] = b"#";
            }
            fields.join(&b' ')
        })
        .collect();
    lines.join(&b'\n')
}

fn is_difference(text: &[u8]) -> bool {
    let Some((b'+' | b'-', digits)) = text.split_first() else { return false };
    let mut parts = digits.split(|&byte| byte == b'.');
    let mut digits = || parts.next().filter(|part| part.iter().all(u8::is_ascii_digit));
    let whole = digits().is_some_and(|part| !part.is_empty());
    let fraction = digits().is_some_and(|part| part.len() == 9);
    whole && fraction && parts.next().is_none()
}
