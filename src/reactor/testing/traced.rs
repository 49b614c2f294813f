//! Tells in plain words which calls a reactor makes on its [`Io`], turn by turn.
//!
//! The `Io` is the only place where a reactor touches the world, so these lines are all that one sees of it from
//! below: what it asks the kernel for, and what it gets. What happens in between (timers, requests, the calls of
//! protocols) shows only by its consequences.
//!
//! A turn here is a turn of [`Reactor::turn`](crate::Reactor::turn): it sends, polls, and then reads what the poll has
//! found. So the reply to a request stands in the turn after the request. The `Io` is not told when a turn begins; it
//! sees that the reactor reads its clock once after the poll, and once more when the next turn begins.

use crate::io::{Addrs, Close, Event};
use crate::{ConnId, Io, Moment, PortId, UnixNanos};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How many bytes of what was read or written a line shows.
const SHOWN_BYTES: usize = 60;

/// An [`Io`] that passes each call to another one, and describes the call and its result in a line of text.
///
/// The lines of a turn are indented below its number. Connections are called c1, c2 and so on, in the order in which
/// they appear; a listening port is called by its address. The clocks and the random bits are not told. In memory the
/// same program prints the same lines every time.
///
/// ```
/// use herd_reactor::testing::{MemoryIo, MemoryOptions, Recorder, Records, TracedIo};
/// use herd_reactor::{ConnectOptions, Reactor, ReactorLimits, factory};
/// use std::{cell::RefCell, rc::Rc};
///
/// let lines = Rc::new(RefCell::new(String::new()));
/// let sink = lines.clone();
/// let io = TracedIo::new(MemoryIo::new(MemoryOptions::default()), move |line| {
///     sink.borrow_mut().push_str(&format!("{line}\n"));
/// });
/// let mut reactor = Reactor::new(io, Records::default(), ReactorLimits::default());
/// let address = ([127, 0, 0, 1], 7000).into();
/// reactor.listen_tcp(address, factory(|_, _| Some(Recorder::new("server"))))?;
/// let client = factory(|cx, _| {
///     cx.write(b"hello\n");
///     Some(Recorder::new("client"))
/// });
/// reactor.connect_tcp(address, ConnectOptions::default(), client);
/// reactor.turn()?;
/// reactor.turn()?;
/// assert_eq!(*lines.borrow(), r#"before the first turn
///   listened at 127.0.0.1:7000
/// turn 1
///   began to connect c1 to 127.0.0.1:7000
///   slept 1µs of at most 30s; found a client at 127.0.0.1:7000, c1 writable
///   connected c1 to 127.0.0.1:7000 from 127.0.0.1:32768
///   accepted c2 from 127.0.0.1:32768 at 127.0.0.1:7000
///   nothing to accept at 127.0.0.1:7000
/// turn 2
///   wrote 6 bytes to c1: "hello\n"
///   slept 1µs of at most 30s; found c2 readable and writable
///   read 6 bytes from c2: "hello\n"
/// "#);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TracedIo<I> {
    inner: I,
    sink: Box<dyn FnMut(&str)>,
    turn: u64,
    /// How often the reactor has read its clock since the last poll.
    clocks: u64,
    /// The line above the next one, if that is the first of its turn.
    heading: Option<String>,
    /// The number of each open connection.
    numbers: BTreeMap<ConnId, usize>,
    named: usize,
    /// The address of each port.
    ports: BTreeMap<PortId, String>,
}

impl<I: Io> TracedIo<I> {
    /// Creates an `Io` that describes the calls to `inner`. `sink` gets each line, without its end, during the call.
    pub fn new(inner: I, sink: impl FnMut(&str) + 'static) -> TracedIo<I> {
        TracedIo {
            inner,
            sink: Box::new(sink),
            turn: 0,
            clocks: 0,
            heading: Some("before the first turn".into()),
            numbers: BTreeMap::new(),
            named: 0,
            ports: BTreeMap::new(),
        }
    }

    /// The `Io` whose calls are described.
    pub fn inner(&mut self) -> &mut I {
        &mut self.inner
    }

    fn tell(&mut self, line: String) {
        if let Some(heading) = self.heading.take() {
            (self.sink)(&heading);
        }
        (self.sink)(&format!("  {line}"));
    }

    /// Tells the result of a call that was `to` do something; `lacking` says what there is none of if it would block.
    fn told<T>(
        &mut self,
        result: io::Result<T>,
        to: &str,
        lacking: &str,
        done: impl FnOnce(&T) -> String,
    ) -> io::Result<T> {
        self.tell(match &result {
            Ok(value) => done(value),
            Err(e) if e.kind() == ErrorKind::WouldBlock => format!("{lacking} to {to}"),
            Err(e) => format!("failed to {to}: {e}"),
        });
        result
    }

    /// The name of a connection; a new one gets the next number.
    fn name(&mut self, id: ConnId, is_new: bool) -> String {
        if is_new {
            self.named += 1;
            self.numbers.insert(id, self.named);
        }
        self.numbers.get(&id).map_or("a closed connection".into(), |number| format!("c{number}"))
    }

    fn port(&self, port: PortId) -> String {
        self.ports.get(&port).cloned().unwrap_or_else(|| "a closed port".into())
    }

    fn event(&mut self, event: &Event) -> String {
        match *event {
            Event::Acceptable(port) => format!("a client at {}", self.port(port)),
            Event::Ready { id, readable, writable, read_closed, failed } => {
                let flags = [readable, writable, read_closed, failed];
                let words = flags.iter().zip(["readable", "writable", "ended", "failed"]);
                let words: Vec<&str> = words.filter(|(is, _)| **is).map(|(_, word)| word).collect();
                format!("{} {}", self.name(id, false), words.join(" and "))
            }
            Event::Signal(signal) => format!("the signal {signal:?}"),
        }
    }
}

/// A duration without its last digits, which say nothing.
fn rounded(time: Duration) -> Duration {
    match time.as_secs() {
        0 => Duration::from_micros(time.as_nanos().div_ceil(1_000) as u64),
        _ => Duration::from_millis(time.as_nanos().div_ceil(1_000_000) as u64),
    }
}

/// The first `count` of `of` bytes: how many they are, the `other` end, and the beginning of their text.
fn moved(of: &[u8], count: usize, other: &str) -> String {
    let text = of[..count.min(SHOWN_BYTES)].escape_ascii();
    let more = if count > SHOWN_BYTES { "..." } else { "" };
    format!("{count} bytes {other}: \"{text}\"{more}")
}

impl<I: Io> Io for TracedIo<I> {
    fn now(&mut self) -> Moment {
        self.clocks += 1;
        if self.clocks == 2 {
            self.turn += 1;
            self.heading = Some(format!("turn {}", self.turn));
        }
        self.inner.now()
    }

    fn wall(&mut self) -> UnixNanos {
        self.inner.wall()
    }

    fn random(&mut self) -> u64 {
        self.inner.random()
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let (before, old) = (self.inner.now(), events.len());
        let result = self.inner.poll(timeout, events);
        self.clocks = 0;
        let slept = rounded(self.inner.now() - before);
        let slept = match timeout.map(rounded) {
            Some(Duration::ZERO) => "did not sleep".into(),
            Some(most) => format!("slept {slept:?} of at most {most:?}"),
            None => format!("slept {slept:?} without a limit"),
        };
        let found: Vec<String> = events[old..].iter().map(|event| self.event(event)).collect();
        let found = if found.is_empty() { "nothing".into() } else { found.join(", ") };
        self.told(result, "poll", "nothing", |()| format!("{slept}; found {found}"))
    }

    fn listen(&mut self, port: PortId, address: SocketAddr) -> io::Result<SocketAddr> {
        let result = self.inner.listen(port, address);
        let at = result.as_ref().unwrap_or(&address).to_string();
        self.ports.extend(result.is_ok().then(|| (port, at.clone())));
        self.told(result, &format!("listen at {at}"), "nothing", |_| format!("listened at {at}"))
    }

    fn listen_unix(&mut self, port: PortId, path: &Path) -> io::Result<()> {
        let (result, at) = (self.inner.listen_unix(port, path), path.display().to_string());
        self.ports.extend(result.is_ok().then(|| (port, at.clone())));
        self.told(result, &format!("listen at {at}"), "nothing", |()| format!("listened at {at}"))
    }

    fn unlisten(&mut self, port: PortId) {
        self.inner.unlisten(port);
        self.tell(format!("stopped listening at {}", self.port(port)));
        self.ports.remove(&port);
    }

    fn accept(&mut self, port: PortId, id: ConnId) -> io::Result<Addrs> {
        let result = self.inner.accept(port, id);
        let (name, at) = (self.name(id, result.is_ok()), self.port(port));
        let done = |ends: &Addrs| format!("accepted {name} from {} at {at}", ends.peer);
        self.told(result, &format!("accept at {at}"), "nothing", done)
    }

    fn shed(&mut self, port: PortId, most: usize) -> Result<usize, usize> {
        let result = self.inner.shed(port, most);
        let (Ok(shed) | Err(shed)) = result;
        let at = self.port(port);
        self.tell(format!("had no descriptor left, and turned away {shed} clients at {at}"));
        result
    }

    fn connect(&mut self, id: ConnId, address: SocketAddr) -> io::Result<()> {
        let result = self.inner.connect(id, address);
        let name = self.name(id, result.is_ok());
        let done = |(): &()| format!("began to connect {name} to {address}");
        self.told(result, &format!("connect to {address}"), "nothing", done)
    }

    fn connected(&mut self, id: ConnId) -> io::Result<Option<Addrs>> {
        let (result, name) = (self.inner.connected(id), self.name(id, false));
        self.told(result, &format!("connect {name}"), "nothing", |ends| match ends {
            Some(Addrs { peer, local }) => format!("connected {name} to {peer} from {local}"),
            None => format!("{name} is not connected yet"),
        })
    }

    fn connect_udp(&mut self, id: ConnId, address: SocketAddr) -> io::Result<Addrs> {
        let result = self.inner.connect_udp(id, address);
        let name = self.name(id, result.is_ok());
        let done = |_: &Addrs| format!("opened {name} for datagrams to {address}");
        self.told(result, &format!("open a socket to {address}"), "nothing", done)
    }

    fn read(&mut self, id: ConnId, into: &mut [u8]) -> io::Result<usize> {
        let (result, name) = (self.inner.read(id, into), self.name(id, false));
        self.told(result, &format!("read from {name}"), "nothing", |&count| match count {
            0 => format!("read the end of {name}"),
            _ => format!("read {}", moved(into, count, &format!("from {name}"))),
        })
    }

    fn write(&mut self, id: ConnId, data: &[u8]) -> io::Result<usize> {
        let (result, name) = (self.inner.write(id, data), self.name(id, false));
        self.told(result, &format!("write to {name}"), "no room", |&count| match count {
            all if all == data.len() => {
                format!("wrote {}", moved(data, all, &format!("to {name}")))
            }
            some => {
                let to = format!("of {} to {name}", data.len());
                format!("wrote {}", moved(data, some, &to))
            }
        })
    }

    fn set_user_timeout(&mut self, id: ConnId, timeout: Duration) -> io::Result<()> {
        let (result, name) = (self.inner.set_user_timeout(id, timeout), self.name(id, false));
        let done = |(): &()| format!("set the user timeout of {name} to {timeout:?}");
        self.told(result, &format!("set the user timeout of {name}"), "nothing", done)
    }

    fn shutdown(&mut self, id: ConnId) -> io::Result<()> {
        let (result, name) = (self.inner.shutdown(id), self.name(id, false));
        let done = |(): &()| format!("ended our side of {name}");
        self.told(result, &format!("end our side of {name}"), "nothing", done)
    }

    fn close(&mut self, id: ConnId, how: Close) {
        self.inner.close(id, how);
        let name = self.name(id, false);
        self.numbers.remove(&id);
        self.tell(match how {
            Close::Orderly => format!("closed {name}"),
            Close::AfterEnd => format!("closed {name} after its end"),
            Close::Reset => format!("reset {name}"),
        });
    }
}

impl<I: fmt::Debug> fmt::Debug for TracedIo<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedIo").field("inner", &self.inner).finish_non_exhaustive()
    }
}
