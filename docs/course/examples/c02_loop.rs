//! An echo server on an edge-triggered poll, without a reactor.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpListener;

const LISTENER: u64 = 0;
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn main() -> Result<()> {
    let flags = EventFlags::IN | EventFlags::ET;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let listener = TcpListener::bind("127.0.0.1:4000")?;
    listener.set_nonblocking(true)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), flags)?;
    println!("echo at 127.0.0.1:4000");
    let (mut streams, mut last_key) = (HashMap::new(), LISTENER);
    let (mut events, mut ready) = (Vec::with_capacity(64), Vec::new());
    loop {
        let timeout = if ready.is_empty() { None } else { Some(&NO_TIME) };
        epoll::wait(&epoll, spare_capacity(&mut events), timeout)?;
        for event in events.drain(..) {
            let key = event.data.u64();
            if !ready.contains(&key) {
                ready.push(key);
            }
        }
        for key in std::mem::take(&mut ready) {
            if key == LISTENER {
                let Ok((stream, _)) = listener.accept() else { continue };
                ready.push(LISTENER);
                last_key += 1;
                stream.set_nonblocking(true)?;
                epoll::add(&epoll, &stream, EventData::new_u64(last_key), flags)?;
                streams.insert(last_key, stream);
                continue;
            }
            let (mut buffer, Some(stream)) = ([0; 8], streams.get_mut(&key)) else { continue };
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => {
                    let _ = stream.write_all(&buffer[..count]);
                    ready.push(key);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => drop(streams.remove(&key)),
            }
        }
    }
}
