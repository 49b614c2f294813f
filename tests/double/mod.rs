//! A server on loopback that does over TLS what a script says: answers, and every fault that a
//! server or what stands before it can have.
//!
//! One thread accepts, and one serves each connection, blocking. A script has two questions to
//! answer: how the n-th connection is greeted, and what steps follow the n-th request. Nothing here
//! waits for time to pass, but [`Step::Drip`].

#![allow(dead_code, unreachable_pub, reason = "each that uses this uses a part of it")]

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Who is trusted: a certificate authority made at run time.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// For `localhost` and 127.0.0.1, by the authority.
    Good,
    /// For another name.
    WrongHost,
    /// By an authority of its own.
    Untrusted,
    /// By itself.
    SelfSigned,
    /// It was good once.
    Expired,
}

/// The versions of TLS that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

/// How a connection begins.
#[derive(Clone, Debug)]
pub enum Greeting {
    /// With a handshake.
    Tls,
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
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let is_open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, for those who are to trust it.
    pub fn write_pem(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, &self.pem)
    }

    fn server(&self, certificate: Certificate, versions: &[Version]) -> Arc<ServerConfig> {
        let names = match certificate {
            Certificate::WrongHost => vec!["elsewhere.example".to_owned()],
            _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut params = CertificateParams::new(names).unwrap();
        if certificate == Certificate::Expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let signed = match certificate {
            Certificate::SelfSigned => params.self_signed(&key),
            Certificate::Untrusted => params.signed_by(&key, &Authority::new("a stranger").issuer),
            _ => params.signed_by(&key, &self.issuer),
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let versions: Vec<_> = versions
            .iter()
            .map(|version| match version {
                Version::Tls12 => &TLS12,
                Version::Tls13 => &TLS13,
            })
            .collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.unwrap().der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// What is done for the request of that number, whose head these bytes are.
pub type Answerer = Box<dyn Fn(usize, &[u8]) -> Vec<Step> + Send + Sync>;

/// What a server does.
pub struct Script {
    pub versions: Vec<Version>,
    /// What the n-th connection is shown, counted from 0.
    pub certificate: Box<dyn Fn(usize) -> Certificate + Send + Sync>,
    /// How the n-th connection begins.
    pub greeting: Box<dyn Fn(usize) -> Greeting + Send + Sync>,
    /// What follows the n-th request, counted from 0 over all connections; with its head and body.
    pub request: Answerer,
}

impl Script {
    /// Greets well, and does for each request what `request` says.
    pub fn new(request: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Script {
        Script {
            versions: vec![Version::Tls12, Version::Tls13],
            certificate: Box::new(|_| Certificate::Good),
            greeting: Box::new(|_| Greeting::Tls),
            request: Box::new(move |number, _| request(number)),
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

/// The server. It ends when it is dropped.
pub struct Double {
    address: SocketAddr,
    shared: Arc<Running>,
    accepting: Option<JoinHandle<()>>,
}

struct Running {
    script: Script,
    /// One for each kind of certificate that was shown: sessions are resumed by the same one.
    configs: Mutex<Vec<(Certificate, Arc<ServerConfig>)>>,
    authority: &'static Authority,
    connections: AtomicUsize,
    resumed: AtomicUsize,
    requests: AtomicUsize,
    closed: AtomicUsize,
    /// To end those that wait for a peer; `None` when it is over.
    open: Mutex<Option<Vec<TcpStream>>>,
}

impl Double {
    pub fn new(authority: &'static Authority, script: Script) -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Running {
            script,
            configs: Mutex::default(),
            authority,
            connections: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            open: Mutex::new(Some(Vec::new())),
        });
        let accepting = Some(thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        }));
        Double { address, shared, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many handshakes resumed a session.
    pub fn resumed(&self) -> usize {
        self.shared.resumed.load(Ordering::SeqCst)
    }

    /// How many requests came, whole.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many connections are over.
    pub fn closed(&self) -> usize {
        self.shared.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let open = self.shared.open.lock().unwrap().take();
        for socket in open.into_iter().flatten() {
            // It may be over already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        // The thread that accepts sees that it is over when it has accepted.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

/// A thread for each connection. They end when their peers go, or with the double.
fn accept(listener: &TcpListener, shared: &Arc<Running>) {
    while let Ok((socket, _)) = listener.accept() {
        let Some(open) = &mut *shared.open.lock().unwrap() else { return };
        open.push(socket.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // That a peer goes in the middle of everything is what this is made for.
            let _ = shared.serve(socket);
            shared.closed.fetch_add(1, Ordering::SeqCst);
        });
    }
}

impl Running {
    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        match (self.script.greeting)(number) {
            Greeting::Tls => {}
            Greeting::TlsBehind(gate) => gate.wait(),
            Greeting::Silence => return until_end(&mut socket),
            Greeting::Garbage => {
                socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
                return until_end(&mut socket);
            }
            Greeting::Close => return over(&mut socket),
        }
        let config = self.config((self.script.certificate)(number));
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        let mut peer = StreamOwned::new(tls, socket);
        while peer.conn.is_handshaking() {
            peer.conn.complete_io(&mut peer.sock)?;
        }
        if peer.conn.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Ordering::SeqCst);
        }
        let mut received = Vec::new();
        while let Some(request) = next_request(&mut peer, &mut received)? {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            for step in (self.script.request)(number, &request) {
                if !take_step(&mut peer, step)? {
                    return Ok(());
                }
            }
        }
        peer.conn.send_close_notify();
        peer.flush()?;
        over(&mut peer.sock)
    }

    fn config(&self, certificate: Certificate) -> Arc<ServerConfig> {
        let mut configs = self.configs.lock().unwrap();
        if let Some((_, config)) = configs.iter().find(|(shown, _)| *shown == certificate) {
            return Arc::clone(config);
        }
        let config = self.authority.server(certificate, &self.script.versions);
        configs.push((certificate, Arc::clone(&config)));
        config
    }
}

type Peer = StreamOwned<ServerConnection, TcpStream>;

/// Returns whether there is still a connection.
fn take_step(peer: &mut Peer, step: Step) -> io::Result<bool> {
    match step {
        Step::Send(bytes) => peer.write_all(&bytes)?,
        Step::SendWithBadRecord(bytes) => {
            peer.conn.writer().write_all(&bytes)?;
            let mut wire = Vec::new();
            while peer.conn.wants_write() {
                peer.conn.write_tls(&mut wire)?;
            }
            wire.extend_from_slice(b"\x17\x03\x03\x00\x20 a record of thirty-two bytes ...");
            peer.sock.write_all(&wire)?;
        }
        Step::SendInRecordsOfOne(bytes) => {
            for byte in bytes {
                peer.conn.writer().write_all(&[byte])?;
            }
        }
        Step::Drip(bytes, pause) => {
            for byte in bytes {
                thread::sleep(pause);
                peer.write_all(&[byte])?;
                peer.flush()?;
            }
        }
        Step::Await(gate) => gate.wait(),
        Step::Silence => {
            until_end(&mut peer.sock)?;
            return Ok(false);
        }
        Step::Close => {
            peer.conn.send_close_notify();
            peer.flush()?;
            over(&mut peer.sock)?;
            return Ok(false);
        }
        Step::Cut => {
            over(&mut peer.sock)?;
            return Ok(false);
        }
    }
    peer.flush()?;
    Ok(true)
}

/// The next request with its body; `None` when the peer has ended.
fn next_request(peer: &mut Peer, received: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut piece = [0; 4096];
    loop {
        if let Some(length) = request_bytes(received).filter(|length| *length <= received.len()) {
            return Ok(Some(received.drain(..length).collect()));
        }
        match peer.read(&mut piece)? {
            0 => return Ok(None),
            count => received.extend_from_slice(&piece[..count]),
        }
    }
}

/// How long the request is of which `received` holds the whole head.
fn request_bytes(received: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let head = received.windows(END.len()).position(|four| four == END)? + END.len();
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some(head + length.map_or(0, |length| length.trim().parse().unwrap()))
}

/// Ends our side properly, so that what was sent arrives.
fn over(socket: &mut TcpStream) -> io::Result<()> {
    socket.shutdown(Shutdown::Write)?;
    until_end(socket)
}

fn until_end(socket: &mut TcpStream) -> io::Result<()> {
    io::copy(socket, &mut io::sink()).map(drop)
}

/// A response with a body of known length.
pub fn with_length(body: &[u8]) -> Vec<u8> {
    with_fields(&format!("Content-Length: {}\r\n", body.len()), body)
}

/// The same in chunks of at most `size` bytes.
pub fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(size) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    with_fields("Transfer-Encoding: chunked\r\n", &chunks)
}

/// The same, to be ended by the end of the stream.
pub fn until_close(body: &[u8]) -> Vec<u8> {
    with_fields("", body)
}

/// 200 with header fields, each with its line's end, and what comes behind the head.
pub fn with_fields(fields: &str, rest: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\n", fields.as_bytes(), b"\r\n", rest].concat()
}
