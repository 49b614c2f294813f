//! Asks the kernel again and again whether a socket is readable.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::{event::Timespec, fd::OwnedFd};
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};

/// Waits up to 100 ms for an event.
fn poll(epoll: &OwnedFd) -> Result<()> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let mut events = Vec::with_capacity(8);
    epoll::wait(epoll, spare_capacity(&mut events), Some(&timeout))?;
    println!("poll: {}", if events.is_empty() { "nothing" } else { "readable" });
    Ok(())
}

fn read(socket: &mut TcpStream, most: usize) {
    let mut buffer = vec![0; most];
    let text = socket.read(&mut buffer).map(|count| String::from_utf8_lossy(&buffer[..count]));
    println!("read: {:?}", text.map_err(|error| error.kind()));
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let flags = EventFlags::IN | EventFlags::ET;
    epoll::add(&epoll, &socket, EventData::new_u64(1), flags)?;

    println!("the peer sends 10 bytes");
    sender.write_all(b"to and fro")?;
    poll(&epoll)?;
    poll(&epoll)?;
    read(&mut socket, 3);
    poll(&epoll)?;
    println!("the peer sends 1 byte");
    sender.write_all(b"!")?;
    poll(&epoll)?;
    read(&mut socket, 100);
    read(&mut socket, 100);
    Ok(())
}
