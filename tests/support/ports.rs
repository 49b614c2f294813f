//! Ports that refuse for certain, and ports that are free again.
//!
//! A listener that was closed lives on for an instant in each process that is being started just now, between its fork
//! and its exec, and takes connections, which are reset then. And a port that was given up may become another test's.

#![allow(dead_code, unreachable_pub, reason = "each that uses this uses a part of it")]

use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// How long a listener may live on.
const PATIENCE: Duration = Duration::from_secs(20);

/// A TCP port of loopback that refuses each connection while this lives: it is taken, and nobody listens.
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

/// A UDP port of loopback at which the kernel answers that nobody is there: its socket hears itself alone.
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

/// Comes back when no process listens at `address`, where one of ours has listened.
#[track_caller]
pub fn wait_until_free(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a descriptor is free");
        // Beside connections that have ended it may be bound, beside a listener not.
        socket.set_reuse_address(true).expect("a socket can be made so");
        match socket.bind(&address.into()) {
            Ok(()) => return,
            Err(why) => assert!(Instant::now() < deadline, "{address} is never free: {why}"),
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}
