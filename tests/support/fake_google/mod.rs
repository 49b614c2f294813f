//! A TLS server that follows a script: it gives answers, and shows every fault that a server or a middlebox can have.
//!
//! ```text
//!   Script ──▶ Serving, a Protocol of our own reactor ──▶ MemoryIo: in a cluster, on its clock
//!                                                    └──▶ MioIo: in a thread (FakeGoogle), on loopback
//! ```
//!
//! A script decides two things: how the n-th connection is greeted, and which steps follow the n-th request. The
//! same connections run in memory and over the kernel, so what a test shows on a clock advanced by hand holds for
//! the process, too.
//!
//! * `authority`: a certificate authority, and certificates good and bad.
//! * `serving`: one connection: TLS, requests, steps.
//! * `thread`: the server in a thread, for tests that need a real socket.
//! * `names`: a name server, in memory and in a thread.
//! * `places`: both of Google's interfaces, with places made up for any point.
//! * `setting`: the files that lead a herd to it.
//! * `faults`: all faults, by name.

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
    /// The connection begins with a TLS handshake.
    Tls,
    /// The connection begins with a TLS handshake, and each byte is sent in a segment of its own.
    TlsByteByByte,
    /// The connection begins with a TLS handshake, once the gate is open.
    TlsBehind(Gate),
    /// The connection is accepted, and nothing is ever sent.
    Silence,
    /// The connection begins with bytes that are not TLS.
    Garbage,
    /// The connection is closed at once.
    Close,
}

/// One step of the answer to a request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes together with a record that is not encrypted.
    SendWithBadRecord(Vec<u8>),
    /// Sends each byte in a TLS record of its own.
    SendInRecordsOfOne(Vec<u8>),
    /// Sends one byte per interval, as long as the peer is connected.
    Drip(Vec<u8>, Duration),
    /// Waits for this time.
    Pause(Duration),
    /// Waits until the gate is open.
    Await(Gate),
    /// Sends nothing more, and reads until the peer closes.
    Silence,
    /// Closes properly, with close_notify.
    Close,
    /// Ends the TCP stream without close_notify.
    Cut,
}

/// A gate: it is closed until it is opened, and then stays open.
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

/// A request, and the number of requests before it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The number of earlier requests over all connections.
    pub number: usize,
    /// The number of earlier requests on its connection.
    pub on_connection: usize,
    /// Head and body.
    pub request: &'a [u8],
}

/// The steps for a request.
pub type Answerer = Box<dyn Fn(&Asked<'_>) -> Vec<Step> + Send + Sync>;

/// The behaviour of a server.
pub struct Script {
    pub versions: Vec<Version>,
    /// The certificate for the n-th connection, counted from 0.
    pub certificate: Box<dyn Fn(usize) -> Certificate + Send + Sync>,
    /// The greeting of the n-th connection.
    pub greeting: Box<dyn Fn(usize) -> Greeting + Send + Sync>,
    /// The steps for a request.
    pub request: Answerer,
}

impl Script {
    /// A server without faults in its connections that takes the steps of `request` for the n-th request.
    pub fn new(request: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Script {
        Script::answering(move |asked| request(asked.number))
    }

    /// A server without faults in its connections that takes the steps of `request` for each request.
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

/// A response with a body in chunks of at most `size` bytes.
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

/// A response whose body ends with the stream.
pub fn until_close(body: &[u8]) -> Vec<u8> {
    with_fields("", body)
}

/// A 200 response with header fields, each with its line end, and the bytes after the head.
pub fn with_fields(fields: &str, rest: &[u8]) -> Vec<u8> {
    with_status("200 OK", fields, rest)
}

/// A response with a status, header fields, each with its line end, and the bytes after the head.
pub fn with_status(status: &str, fields: &str, rest: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 ", status.as_bytes(), b"\r\n", fields.as_bytes(), b"\r\n", rest].concat()
}
