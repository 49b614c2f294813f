//! A server that does over TLS what a script says: answers, and every fault that a server or what
//! stands before it can have.
//!
//! ```text
//!   Script ──▶ Serving, a Protocol of our own reactor ──▶ MemoryIo: in a cluster, on its clock
//!                                                    └──▶ MioIo: in a thread (FakeGoogle), on loopback
//! ```
//!
//! A script has two questions to answer: how the n-th connection is greeted, and what steps follow
//! the n-th request. The same connections run in memory and over the kernel, so what a test finds
//! out on a clock advanced by hand is true of the process, too.
//!
//! * `authority`: who is trusted, and certificates good and bad.
//! * `serving`: one connection: TLS, requests, steps.
//! * `thread`: the same in a thread, for those who need a real socket.
//! * `names`: a name server, in memory and in a thread.
//! * `places`: both of Google's interfaces, with places made up for any point.
//! * `setting`: what a herd is told to find it.
//! * `faults`: all that can go wrong, by name.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each that uses this uses a part of it"
)]

mod authority;
#[path = "../certs.rs"]
pub mod certs;
pub mod faults;
pub mod names;
pub mod places;
mod serving;
pub mod setting;
mod thread;

pub use self::authority::{Certificate, Version};
pub use self::certs::Authority;
pub use self::serving::{Running, Serves};
pub use self::thread::{FakeGoogle, Thread};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a connection begins.
#[derive(Clone, Debug)]
pub enum Greeting {
    /// With a handshake.
    Tls,
    /// With a handshake; and all that is sent goes byte by byte, each in a segment of its own.
    TlsByteByByte,
    /// With a handshake, when the gate is open.
    TlsBehind(Gate),
    /// It is accepted, and nothing is ever said.
    Silence,
    /// In another language than TLS.
    Garbage,
    /// It is closed at once.
    Close,
}

/// One thing to do for a request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes, and with them, in one piece, a record that nobody has sealed.
    SendWithBadRecord(Vec<u8>),
    /// Sends each byte in a TLS record of its own.
    SendInRecordsOfOne(Vec<u8>),
    /// Sends a byte each time this much time has passed, as long as the peer is there.
    Drip(Vec<u8>, Duration),
    /// Does nothing for so long.
    Pause(Duration),
    /// Waits until the gate is open.
    Await(Gate),
    /// Says nothing more, and reads until the peer goes.
    Silence,
    /// Closes as TLS wants it: with close_notify.
    Close,
    /// Ends the stream of bytes below TLS, of which TLS is not told.
    Cut,
}

/// Is shut until somebody opens it, for good.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A request, and how many came before it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Over all connections.
    pub number: usize,
    /// Over its own.
    pub on_connection: usize,
    /// Head and body.
    pub request: &'a [u8],
}

/// What is done for a request.
pub type Answerer = Box<dyn Fn(&Asked<'_>) -> Vec<Step> + Send + Sync>;

/// What a server does.
pub struct Script {
    pub versions: Vec<Version>,
    /// What the n-th connection is shown, counted from 0.
    pub certificate: Box<dyn Fn(usize) -> Certificate + Send + Sync>,
    /// How the n-th connection begins.
    pub greeting: Box<dyn Fn(usize) -> Greeting + Send + Sync>,
    /// What follows a request.
    pub request: Answerer,
}

impl Script {
    /// Greets well, and does for the n-th request what `request` says.
    pub fn new(request: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Script {
        Script::answering(move |asked| request(asked.number))
    }

    /// Greets well, and does for each request what `request` says.
    pub fn answering(request: impl Fn(&Asked<'_>) -> Vec<Step> + Send + Sync + 'static) -> Script {
        Script {
            versions: vec![Version::Tls12, Version::Tls13],
            certificate: Box::new(|_| Certificate::Good),
            greeting: Box::new(|_| Greeting::Tls),
            request: Box::new(request),
        }
    }

    pub fn greeting(mut self, greet: impl Fn(usize) -> Greeting + Send + Sync + 'static) -> Script {
        self.greeting = Box::new(greet);
        self
    }

    pub fn certificate(
        mut self,
        show: impl Fn(usize) -> Certificate + Send + Sync + 'static,
    ) -> Script {
        self.certificate = Box::new(show);
        self
    }

    pub fn version(mut self, version: Version) -> Script {
        self.versions = vec![version];
        self
    }
}

/// A response with a body of known length.
pub fn with_length(body: &[u8]) -> Vec<u8> {
    with_fields(&format!("Content-Length: {}\r\n", body.len()), body)
}

/// The same in chunks of at most `size` bytes.
pub fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let chunks = [chunked(body, size), b"0\r\n\r\n".to_vec()].concat();
    with_fields("Transfer-Encoding: chunked\r\n", &chunks)
}

/// Chunks of at most `size` bytes, without the last one.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(size) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks
}

/// The same, to be ended by the end of the stream.
pub fn until_close(body: &[u8]) -> Vec<u8> {
    with_fields("", body)
}

/// 200 with header fields, each with its line's end, and what comes behind the head.
pub fn with_fields(fields: &str, rest: &[u8]) -> Vec<u8> {
    with_status("200 OK", fields, rest)
}

/// The same with another status.
pub fn with_status(status: &str, fields: &str, rest: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 ", status.as_bytes(), b"\r\n", fields.as_bytes(), b"\r\n", rest].concat()
}
