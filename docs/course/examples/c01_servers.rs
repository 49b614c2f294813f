//! An echo server with a thread for each connection, and one with a loop.

use herd_reactor::{Context, Flow, MioIo, Protocol, Reactor, ReactorLimits, factory};
use std::io::{Read, Result, Write};
use std::{env, fs, net::TcpListener, thread};

fn reply(request: &[u8]) -> Vec<u8> {
    match request {
        b"status\n" => status().unwrap_or_default(),
        _ => request.to_vec(),
    }
}

/// What this process has used so far. The kernel keeps a folder of files about each thread.
fn status() -> Option<Vec<u8>> {
    let (mut threads, mut kib, mut switches, mut nanos) = (0, 0, 0, 0);
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let read = |name| fs::read_to_string(thread.as_ref().ok()?.path().join(name)).ok();
        let (Some(status), Some(schedule)) = (read("status"), read("schedstat")) else { continue };
        let number = |key| status.split_once(key)?.1.split_whitespace().next()?.parse::<u64>().ok();
        threads += 1;
        kib = number("VmRSS:")?;
        switches += number("voluntary_ctxt_switches:")?;
        nanos += schedule.split(' ').next()?.parse::<u64>().ok()?;
    }
    let micros = nanos / 1000;
    Some(format!("{threads} threads {kib} KiB {switches} switches {micros} µs\n").into_bytes())
}

struct Echo;

impl Protocol<()> for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(&reply(data));
        Ok(())
    }
}

fn main() -> Result<()> {
    if env::args().any(|word| word == "loop") {
        let mut reactor = Reactor::new(MioIo::new(&[])?, (), ReactorLimits::default());
        reactor.listen_tcp(([127, 0, 0, 1], 4001).into(), factory(|_, _| Some(Echo)))?;
        println!("a loop serves 127.0.0.1:4001");
        return reactor.run();
    }
    let listener = TcpListener::bind("127.0.0.1:4000")?;
    println!("threads serve 127.0.0.1:4000");
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&reply(&buffer[..count])).expect("the client reads");
            }
        });
    }
    Ok(())
}
