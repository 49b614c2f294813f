//! Functions shared by the benchmarks that measure a server from outside: its port, its core, and requests to it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connects to a server on loopback, as soon as it listens.
pub(crate) fn connect(port: u16) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true).expect("no-delay");
                return stream;
            }
            Err(e) => assert!(Instant::now() < deadline, "no server: {e}"),
        }
        // The starting server may share a core with this process.
        thread::yield_now();
    }
}

/// Sends a request whose reply is one AT line, and checks the reply.
pub(crate) fn ask(stream: &mut TcpStream, line: &[u8]) {
    stream.write_all(line).expect("sent");
    let mut reply = [0; 512];
    let count = stream.read(&mut reply).expect("a reply");
    assert!(reply[..count].starts_with(b"AT "), "{:?}", String::from_utf8_lossy(&reply[..count]));
}

/// Reads the reply to a WHATSAT, including its blank line.
pub(crate) fn read_reply(stream: &mut TcpStream) -> Vec<u8> {
    let mut reply = vec![0; 131_072];
    let mut filled = 0;
    while !reply[..filled].ends_with(b"\n\n") {
        let count = stream.read(&mut reply[filled..]).expect("a reply");
        assert!(count > 0, "the server closed");
        filled += count;
    }
    reply.truncate(filled);
    reply
}

/// A port that was free a moment ago, below the kernel's range of ephemeral ports.
pub(crate) fn free_port() -> u16 {
    let start = 20_000 + (std::process::id() % 5_000) as u16;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let skip = TAKEN.fetch_add(1, Ordering::Relaxed);
    (start..32_000)
        .skip(skip.into())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Pins a process, with all its threads, to one core, if the machine has several and taskset is installed.
pub(crate) fn pin(process: u32, core: usize) {
    if cores() > 1 {
        let args = ["-acp".to_owned(), core.to_string(), process.to_string()];
        let _ = Command::new("taskset").args(args).stdout(Stdio::null()).status();
    }
}

/// The number of cores, counted once, before this process is pinned to one of them.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// The name of the processor in /proc/cpuinfo.
pub(crate) fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown CPU").to_owned()
}
