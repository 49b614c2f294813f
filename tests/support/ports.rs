//! Ports that certainly refuse connections, ports that are free again, and addresses for fixed ports.
//!
//! Each process that is being started keeps a copy of a closed listener for an instant, between its fork and its exec,
//! and accepts connections, which are then reset. And another test may take a port that was released.

#![allow(dead_code, unreachable_pub, reason = "each test file uses only a part of it")]

use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum time that a closed listener lives on.
const PATIENCE: Duration = Duration::from_secs(20);

/// A TCP port of loopback that refuses each connection while this lives: it is bound, but not listening.
#[derive(Debug)]
pub struct RefusingPort(Socket);

impl RefusingPort {
    pub fn new() -> RefusingPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port is free");
        RefusingPort(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().ok().and_then(|it| it.as_socket()).expect("it is bound")
    }
}

/// A UDP port of loopback at which the kernel answers that the port is unreachable: its socket is connected to itself.
#[derive(Debug)]
pub struct RefusingUdpPort(UdpSocket);

impl RefusingUdpPort {
    pub fn new() -> RefusingUdpPort {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        socket.connect(socket.local_addr().expect("it is bound")).expect("it is there");
        RefusingUdpPort(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }
}

/// Waits until no process listens at `address`, where one of ours has listened.
#[track_caller]
pub fn wait_until_free(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a descriptor is free");
        // With this option, ended connections at the address do not prevent the bind, but a listener does.
        socket.set_reuse_address(true).expect("a socket can be made so");
        match socket.bind(&address.into()) {
            Ok(()) => return,
            Err(why) => assert!(Instant::now() < deadline, "{address} is never free: {why}"),
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A loopback address that no other test uses, from 127.1.0.0 to 127.128.255.255, so that fixed ports are free there. The
/// process selects 13 of its 23 bits, and the number of the call 10.
pub fn own_loopback() -> Ipv4Addr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), TAKEN.fetch_add(1, Ordering::Relaxed));
    let [_, high, middle, low] = ((process & 0x1fff) << 10 | number & 0x3ff).to_be_bytes();
    Ipv4Addr::new(127, 1 + high, middle, low)
}
