//! One connection of the fake Google: the server's side of TLS, requests, and the steps for each.
//!
//! In: bytes from the wire. Out: what the script demands, whether a server should do that or not. It is a
//! [`Filter`], like [`Tls`](places_herd::net::tls::Tls) for a client. But it writes to rustls itself, and keeps the
//! output of rustls, because it must do things that a transport never does: cut the stream below TLS, or send it
//! byte by byte.
//!
//! It takes steps until one must wait; a timer then takes the next. It does not depend on the shared state of the
//! reactor, so a fake Google can run beside whatever a test has there.

use super::{Asked, Authority, Certificate, Greeting, Script, Step};
use herd_reactor::{CloseReason, Context, Factory, Filter, Flow, Protocol, Shared, TimerId};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Interval at which a gate is checked.
const GATE_EVERY: Duration = Duration::from_millis(1);

/// The state that all connections of one fake Google share.
pub struct Running {
    script: Script,
    /// One configuration for each kind of certificate, so that sessions are resumed by the configuration that began
    /// them.
    configs: Mutex<Vec<(Certificate, Arc<ServerConfig>)>>,
    authority: &'static Authority,
    connections: AtomicUsize,
    resumed: AtomicUsize,
    requests: AtomicUsize,
    closed: AtomicUsize,
}

impl Running {
    pub fn new(authority: &'static Authority, script: Script) -> Arc<Running> {
        Arc::new(Running {
            script,
            configs: Mutex::default(),
            authority,
            connections: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
        })
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The number of handshakes that resumed a session.
    pub fn resumed(&self) -> usize {
        self.resumed.load(Ordering::SeqCst)
    }

    /// The number of complete requests.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The number of closed connections.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
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

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = (self.connections(), self.requests());
        f.debug_struct("Running").field("connections, requests", &seen).finish()
    }
}

/// Builds the connections of a fake Google, on any reactor.
#[derive(Debug)]
pub struct Serves(pub Arc<Running>);

impl<S: Shared> Factory<S> for Serves {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        let number = self.0.connections.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(Serving::new(Arc::clone(&self.0), number)))
    }
}

#[derive(Debug)]
struct Serving {
    running: Arc<Running>,
    number: usize,
    greeting: Greeting,
    tls: Option<ServerConnection>,
    /// Bytes that were received before the handshake may begin.
    early: Vec<u8>,
    greeted: bool,
    /// The plaintext of an incomplete request.
    received: Vec<u8>,
    requests: usize,
    steps: VecDeque<Step>,
    /// Whether a timer will take the next step.
    pausing: bool,
    /// Whether nothing more will be sent.
    over: bool,
    /// Whether the peer has sent close_notify.
    peer_ended: bool,
    /// Bytes from rustls that are still to be sent.
    wire: VecDeque<u8>,
    /// The timer that will send the next byte.
    ticking: Option<TimerId>,
    /// Whether the connection ends without close_notify.
    cut: bool,
}

impl Serving {
    fn new(running: Arc<Running>, number: usize) -> Serving {
        let greeting = (running.script.greeting)(number);
        Serving {
            running,
            number,
            greeting,
            tls: None,
            early: Vec::new(),
            greeted: false,
            received: Vec::new(),
            requests: 0,
            steps: VecDeque::new(),
            pausing: false,
            over: false,
            peer_ended: false,
            wire: VecDeque::new(),
            ticking: None,
            cut: false,
        }
    }

    /// Begins the handshake, now or when the gate is open.
    fn greet<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow {
        if let Greeting::TlsBehind(gate) = &self.greeting
            && !gate.is_open()
        {
            cx.timer_later(GATE_EVERY);
            return Ok(());
        }
        let config = self.running.config((self.running.script.certificate)(self.number));
        let mut tls = ServerConnection::new(config)?;
        tls.set_buffer_limit(None);
        self.tls = Some(tls);
        let early = std::mem::take(&mut self.early);
        self.take(cx, &early)
    }

    fn take<S: Shared>(&mut self, cx: &mut Context<'_, S>, mut wire: &[u8]) -> Flow {
        while !wire.is_empty() {
            let Some(tls) = &mut self.tls else { return Ok(()) };
            if tls.read_tls(&mut wire)? == 0 {
                break;
            }
            if let Err(why) = tls.process_new_packets() {
                // The alert for the error is still sent.
                self.flush(cx)?;
                return Err(why.into());
            }
            match tls.reader().read_to_end(&mut self.received) {
                Ok(_) => self.peer_ended = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
            if !self.greeted && !tls.is_handshaking() {
                self.greeted = true;
                let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
                self.running.resumed.fetch_add(usize::from(resumed), Ordering::SeqCst);
            }
        }
        self.work(cx)?;
        self.flush(cx)
    }

    /// Takes steps until one must wait, then reads the next request.
    fn work<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow {
        while !self.pausing && !self.over {
            if let Some(step) = self.steps.pop_front() {
                self.take_step(cx, step)?;
                continue;
            }
            let Some(request) = next_request(&mut self.received) else {
                if self.peer_ended {
                    self.end(cx);
                }
                return Ok(());
            };
            let number = self.running.requests.fetch_add(1, Ordering::SeqCst);
            let asked = Asked { number, on_connection: self.requests, request: &request };
            self.requests += 1;
            self.steps = (self.running.script.request)(&asked).into();
        }
        Ok(())
    }

    fn take_step<S: Shared>(&mut self, cx: &mut Context<'_, S>, step: Step) -> Flow {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        match step {
            Step::Send(bytes) => tls.writer().write_all(&bytes)?,
            Step::SendWithBadRecord(bytes) => {
                tls.writer().write_all(&bytes)?;
                self.take_wire()?;
                self.wire.extend(b"\x17\x03\x03\x00\x20 a record of thirty-two bytes ...");
            }
            Step::SendInRecordsOfOne(bytes) => {
                for byte in bytes {
                    tls.writer().write_all(&[byte])?;
                }
            }
            Step::Drip(bytes, pause) => {
                if let Some((first, rest)) = bytes.split_first() {
                    let rest = Step::Drip(rest.to_vec(), pause);
                    for step in [rest, Step::Send(vec![*first]), Step::Pause(pause)] {
                        self.steps.push_front(step);
                    }
                }
            }
            Step::Pause(time) => self.pause(cx, time),
            Step::Await(gate) if gate.is_open() => {}
            Step::Await(gate) => {
                self.steps.push_front(Step::Await(gate));
                self.pause(cx, GATE_EVERY);
            }
            Step::Silence => self.over = true,
            Step::Close => self.end(cx),
            Step::Cut => {
                self.cut = true;
                self.end(cx);
            }
        }
        Ok(())
    }

    fn pause<S: Shared>(&mut self, cx: &mut Context<'_, S>, time: Duration) {
        self.pausing = true;
        cx.timer_later(time);
    }

    fn end<S: Shared>(&mut self, cx: &mut Context<'_, S>) {
        self.over = true;
        cx.lose_connection();
    }

    /// Sends the output of rustls: all of it, or one byte now and the next in the next turn.
    fn flush<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.take_wire()?;
        cx.core.encode_later(cx.id);
        if self.wire.len() > 1 && self.is_byte_by_byte() && self.ticking.is_none() {
            self.ticking = Some(cx.timer_later(Duration::ZERO));
        }
        Ok(())
    }

    fn take_wire(&mut self) -> Flow {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            tls.write_tls(&mut self.wire)?;
        }
        Ok(())
    }

    fn is_byte_by_byte(&self) -> bool {
        matches!(self.greeting, Greeting::TlsByteByByte)
    }
}

impl<S: Shared> Protocol<S> for Serving {
    fn name(&self) -> &'static str {
        "FakeGoogle"
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        Some(self)
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        match self.greeting {
            Greeting::Tls | Greeting::TlsByteByByte | Greeting::TlsBehind(_) => self.greet(cx),
            Greeting::Silence => Ok(()),
            Greeting::Garbage => {
                self.wire.extend(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                self.flush(cx)
            }
            Greeting::Close => {
                self.end(cx);
                Ok(())
            }
        }
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        match (&self.tls, &self.greeting) {
            (None, Greeting::TlsBehind(_)) => self.early.extend_from_slice(data),
            (None, _) => {}
            (Some(_), _) => return self.take(cx, data),
        }
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        match self.ticking {
            Some(byte) if byte == timer => self.ticking = None,
            _ if self.tls.is_none() => return self.greet(cx),
            _ => {
                self.pausing = false;
                self.work(cx)?;
            }
        }
        self.flush(cx)
    }

    fn connection_lost(&mut self, _cx: &mut Context<'_, S>, _why: &CloseReason) {
        self.running.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl<S: Shared> Filter<S> for Serving {
    fn encode(&mut self, _plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        if let Some(tls) = self.tls.as_mut().filter(|_| closing && !self.cut) {
            tls.send_close_notify();
        }
        self.take_wire()?;
        let count = match self.is_byte_by_byte() && !closing {
            true => self.wire.len().min(1),
            false => self.wire.len(),
        };
        // The bytes are copied in two pieces rather than one by one, because benchmarks wait for this.
        let (front, back) = self.wire.as_slices();
        let from_front = count.min(front.len());
        wire.extend_from_slice(&front[..from_front]);
        wire.extend_from_slice(&back[..count - from_front]);
        self.wire.drain(..count);
        Ok(())
    }
}

/// The next request with its body, if it is complete.
fn next_request(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = request_bytes(received).filter(|length| *length <= received.len())?;
    Some(received.drain(..length).collect())
}

/// The length of the request whose complete head is in `received`.
fn request_bytes(received: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let head = received.windows(END.len()).position(|four| four == END)? + END.len();
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some(head + length.map_or(0, |length| length.trim().parse().unwrap()))
}
