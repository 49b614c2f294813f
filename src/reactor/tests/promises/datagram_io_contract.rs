//! The contract of [`Io`] for datagrams, one test per promise, on the kernel and in memory. Where the two would differ,
//! the kernel is right. A socket that has sent may be reported writable at any time.

use herd_reactor::io::{Close, Event};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, Io, MioIo};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const SOCKET: ConnId = ConnId::new(0, 1);
const OTHER: ConnId = ConnId::new(1, 2);

/// The timeout for a datagram on the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// The peer under test control: a socket on the kernel, or a played port in memory.
trait Far<I> {
    fn open(io: &mut I) -> Self;
    fn address(&self) -> SocketAddr;
    fn say(&self, io: &mut I, to: SocketAddr, bytes: &[u8]);
    /// The next datagram, which has been sent already, and its sender's address.
    fn hear(&mut self, io: &mut I) -> (SocketAddr, Vec<u8>);
}

impl Far<MioIo> for UdpSocket {
    fn open(_io: &mut MioIo) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn address(&self) -> SocketAddr {
        self.local_addr().unwrap()
    }

    fn say(&self, _io: &mut MioIo, to: SocketAddr, bytes: &[u8]) {
        self.send_to(bytes, to).unwrap();
    }

    fn hear(&mut self, _io: &mut MioIo) -> (SocketAddr, Vec<u8>) {
        let mut bytes = vec![0; 65_536];
        let (count, from) = self.recv_from(&mut bytes).unwrap();
        bytes.truncate(count);
        (from, bytes)
    }
}

/// A played port, and the datagrams taken from it.
struct Played(SocketAddr, Vec<herd_reactor::testing::Datagram>);

impl Far<MemoryIo> for Played {
    fn open(io: &mut MemoryIo) -> Played {
        let port = 5_300 + u16::try_from(io.descriptors()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        io.play_datagrams(address);
        Played(address, Vec::new())
    }

    fn address(&self) -> SocketAddr {
        self.0
    }

    fn say(&self, io: &mut MemoryIo, to: SocketAddr, bytes: &[u8]) {
        io.send_datagram(self.0, to, bytes.to_vec());
    }

    fn hear(&mut self, io: &mut MemoryIo) -> (SocketAddr, Vec<u8>) {
        self.1.extend(io.take_datagrams());
        let heard = self.1.remove(0);
        assert_eq!(heard.to, self.0);
        (heard.from, heard.bytes)
    }
}

/// A UDP socket that is connected to the other end.
struct DatagramBench<I, F> {
    io: I,
    far: F,
    host: SocketAddr,
}

impl<I: Io, F: Far<I>> DatagramBench<I, F> {
    fn new(mut io: I) -> DatagramBench<I, F> {
        let far = F::open(&mut io);
        let addrs = io.connect_udp(SOCKET, far.address()).unwrap();
        assert_eq!(addrs.peer, far.address());
        let mut bench = DatagramBench { io, far, host: addrs.local };
        assert_eq!(bench.told(), Some((false, true, false)), "it is open at once");
        bench
    }

    /// Polls until there are no more events, and returns their flags: readable, writable, read_closed.
    fn told(&mut self) -> Option<(bool, bool, bool)> {
        let mut told: Option<(bool, bool, bool)> = None;
        let mut events = Vec::new();
        loop {
            self.io.poll(Some(Duration::from_millis(5)), &mut events).unwrap();
            if events.is_empty() {
                return told;
            }
            for event in events.drain(..) {
                let Event::Ready { id: SOCKET, readable, writable, read_closed, .. } = event else {
                    panic!("{event:?}");
                };
                let all = told.get_or_insert_default();
                *all = (all.0 | readable, all.1 | writable, all.2 | read_closed);
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.far.say(&mut self.io, self.host, bytes);
    }

    fn read(&mut self, room: usize) -> io::Result<Vec<u8>> {
        let mut into = vec![0; room];
        let count = self.io.read(SOCKET, &mut into)?;
        into.truncate(count);
        Ok(into)
    }

    #[track_caller]
    fn nothing_is_left(&mut self) {
        assert_eq!(self.read(100).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

fn each_read_gives_one_datagram<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    bench.nothing_is_left();
    bench.say(b"one");
    bench.say(b"");
    bench.say(b"three");
    assert_eq!(bench.told(), Some((true, true, false)));
    assert_eq!(bench.told(), None, "an event is reported once");
    assert_eq!(bench.read(100).unwrap(), b"one");
    assert_eq!(bench.read(100).unwrap(), b"", "an empty datagram is not the end");
    assert_eq!(bench.read(100).unwrap(), b"three");
    bench.nothing_is_left();
    bench.say(b"four");
    assert_eq!(bench.told(), Some((true, true, false)));
}

fn what_has_no_room_in_the_buffer_is_lost<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    bench.say(b"too long");
    bench.say(b"next");
    bench.told();
    assert_eq!(bench.read(3).unwrap(), b"too");
    assert_eq!(bench.read(100).unwrap(), b"next");
}

fn each_write_is_one_datagram<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    let longest = vec![7; 65_507];
    for data in [b"one".as_slice(), b"", &longest] {
        assert_eq!(bench.io.write(SOCKET, data).unwrap(), data.len());
        assert_eq!(bench.far.hear(&mut bench.io), (bench.host, data.to_vec()));
    }
    let error = bench.io.write(SOCKET, &[0; 65_508]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MSGSIZE.raw_os_error()));
}

fn a_stranger_is_not_heard<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    let stranger = F::open(&mut bench.io);
    stranger.say(&mut bench.io, bench.host, b"believe me");
    bench.say(b"truth");
    bench.told();
    assert_eq!(bench.read(100).unwrap(), b"truth");
    bench.nothing_is_left();
}

fn that_nobody_is_there_is_told_once<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    bench.io.close(SOCKET, Close::Orderly);
    bench.told();
    bench.io.connect_udp(SOCKET, nobody).unwrap();
    bench.told();
    for _ in 0..2 {
        bench.io.write(SOCKET, b"anybody?").unwrap();
        assert_eq!(bench.told(), Some((true, true, true)));
        assert_eq!(bench.read(100).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        bench.nothing_is_left();
    }
    bench.io.write(SOCKET, b"anybody?").unwrap();
    bench.told();
    let error = bench.io.write(SOCKET, b"hello?").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "a write returns the error too");
    bench.nothing_is_left();
}

fn what_only_a_stream_has_is_an_error<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    assert_eq!(bench.io.shutdown(SOCKET).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(bench.io.connected(SOCKET).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn two_sockets_have_two_ports_and_the_closed_one_is_gone<I: Io, F: Far<I>>(io: I) {
    let mut bench: DatagramBench<I, F> = DatagramBench::new(io);
    let other = bench.io.connect_udp(OTHER, bench.far.address()).unwrap();
    assert_ne!(other.local, bench.host);
    bench.io.close(SOCKET, Close::Orderly);
    assert_eq!(bench.read(100).unwrap_err().kind(), ErrorKind::NotConnected);
    bench.say(b"too late");
    bench.io.close(OTHER, Close::Reset);
    assert_eq!(bench.io.write(OTHER, b"").unwrap_err().kind(), ErrorKind::NotConnected);
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod kernel {
            use super::*;
            $(#[test] fn $name() { super::$name::<_, UdpSocket>(MioIo::new(&[]).unwrap()); })*
        }
        mod memory {
            use super::*;
            $(#[test] fn $name() {
                super::$name::<_, Played>(MemoryIo::new(MemoryOptions::calm(1)));
            })*
        }
    };
}

on_both! {
    each_read_gives_one_datagram
    what_has_no_room_in_the_buffer_is_lost
    each_write_is_one_datagram
    a_stranger_is_not_heard
    that_nobody_is_there_is_told_once
    what_only_a_stream_has_is_an_error
    two_sockets_have_two_ports_and_the_closed_one_is_gone
}
