//! A yardstick: an echo server on bare epoll. `echo-peer --port 12000`. With `--http on` it sends a fixed reply for each
//! HTTP request instead, and finds requests only by the empty line behind their heads.
//!
//! With one thread and one message under way no server on this machine can be faster: level-triggered epoll, one
//! read and one write for each message, no buffer of its own. Bytes that a client does not read at once are
//! written when the socket has room again; until then the server reads nothing more from that client.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

const READ_BYTES: usize = 65_536;
const EVENTS: usize = 1_024;

/// The end of a head. No body of a report has it.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// As long as the reply of herd to a PUT.
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Mon, 30 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/geo+json\r\n\
    Herd-Verdict: new\r\n\
    Content-Length: 196\r\n\r\n\
    {\"type\":\"Feature\",\"id\":\"client-0000000.bench\",\"geometry\":{\"type\":\"Point\",\
    \"coordinates\":[-118.445127,34.06893]},\"properties\":{\"time\":\"1479413884.392014450\",\
    \"server\":\"Alford\",\"diff\":\"+0.263873386\"}}";

/// A client, and the bytes that it has not read yet.
struct Client {
    stream: TcpStream,
    waiting: Vec<u8>,
    /// How many bytes of [`HEAD_END`] the last read ended with.
    matched: usize,
}

fn main() -> io::Result<()> {
    let (port, mut log, is_http) = arguments()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    // The standard library listens with a backlog of 128; a second listen(2) makes it longer.
    check(unsafe { libc::listen(listener.as_raw_fd(), 4_096) })?;
    println!("echo listens on {}", listener.local_addr()?.port());
    let poll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    let mut clients: HashMap<RawFd, Client> = HashMap::new();
    control(poll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN)?;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut buffer = vec![0; READ_BYTES];
    loop {
        for event in wait(poll, &mut events)? {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                let Ok((stream, address)) = listener.accept() else { continue };
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                note(&mut log, format_args!("connection from {address}"))?;
                let fd = stream.as_raw_fd();
                control(poll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)?;
                clients.insert(fd, Client { stream, waiting: Vec::new(), matched: 0 });
            } else if !serve(
                poll,
                clients.get_mut(&fd).expect("it is registered"),
                &mut buffer,
                is_http,
            )? {
                // Closing removes it from the poll.
                clients.remove(&fd);
                note(&mut log, format_args!("connection lost"))?;
            }
        }
    }
}

/// Does at most one read and one write. Returns false if the connection has ended.
fn serve(poll: RawFd, client: &mut Client, buffer: &mut [u8], is_http: bool) -> io::Result<bool> {
    let fd = client.stream.as_raw_fd();
    if !client.waiting.is_empty() {
        let waiting = std::mem::take(&mut client.waiting);
        let Some(sent) = send(fd, &waiting) else { return Ok(false) };
        client.waiting = waiting[sent..].to_vec();
        if client.waiting.is_empty() {
            control(poll, libc::EPOLL_CTL_MOD, fd, libc::EPOLLIN)?;
        }
        return Ok(true);
    }
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    match count {
        0 => Ok(false),
        count if count < 0 => Ok(is_for_later(&io::Error::last_os_error())),
        count => {
            let mut data = &buffer[..count as usize];
            let replies;
            if is_http {
                replies = REPLY.repeat(heads(&mut client.matched, data));
                data = &replies;
            }
            let Some(sent) = send(fd, data) else { return Ok(false) };
            if sent < data.len() {
                client.waiting = data[sent..].to_vec();
                control(poll, libc::EPOLL_CTL_MOD, fd, libc::EPOLLOUT)?;
            }
            Ok(true)
        }
    }
}

/// Counts the heads that end in `data`.
fn heads(matched: &mut usize, data: &[u8]) -> usize {
    let mut count = 0;
    for &byte in data {
        *matched = match byte {
            byte if byte == HEAD_END[*matched] => *matched + 1,
            b'\r' => 1,
            _ => 0,
        };
        if *matched == HEAD_END.len() {
            (*matched, count) = (0, count + 1);
        }
    }
    count
}

/// Returns how many bytes the kernel took; `None` if the connection has ended.
fn send(fd: RawFd, data: &[u8]) -> Option<usize> {
    let sent = unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL) };
    match sent {
        count if count >= 0 => Some(count as usize),
        _ => is_for_later(&io::Error::last_os_error()).then_some(0),
    }
}

fn is_for_later(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn wait(poll: RawFd, events: &mut [libc::epoll_event]) -> io::Result<&[libc::epoll_event]> {
    loop {
        let most = events.len() as i32;
        match check(unsafe { libc::epoll_wait(poll, events.as_mut_ptr(), most, -1) }) {
            Ok(count) => return Ok(&events[..count as usize]),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

fn control(poll: RawFd, operation: i32, fd: RawFd, interest: i32) -> io::Result<()> {
    let mut event = libc::epoll_event { events: interest as u32, u64: fd as u64 };
    check(unsafe { libc::epoll_ctl(poll, operation, fd, &mut event) }).map(drop)
}

fn check(returned: i32) -> io::Result<i32> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

fn note(log: &mut Option<File>, event: std::fmt::Arguments<'_>) -> io::Result<()> {
    log.as_mut().map_or(Ok(()), |file| writeln!(file, "{event}"))
}

/// The port, the file in which to log connections, and whether requests are HTTP.
fn arguments() -> io::Result<(u16, Option<File>, bool)> {
    let usage = || io::Error::other("usage: echo-peer --port N [--log FILE|off] [--http on|off]");
    let (mut port, mut log, mut is_http) = (None, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let value = words.next().ok_or_else(usage)?;
        match (option.as_str(), value.as_str()) {
            ("--port", number) => port = Some(number.parse().map_err(|_| usage())?),
            ("--log", "off") => {}
            ("--http", word @ ("on" | "off")) => is_http = word == "on",
            ("--log", path) => log = Some(File::options().create(true).append(true).open(path)?),
            _ => return Err(usage()),
        }
    }
    Ok((port.ok_or_else(usage)?, log, is_http))
}
