//! Tests of `TracedIo`: each call of an `Io` and each result in the words that the course shows.

use herd_reactor::io::{Close, Event};
use herd_reactor::testing::{MemoryIo, MemoryOptions, NetworkFault, TracedIo};
use herd_reactor::{ConnId, Io, PortId, Signal};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const PORT: PortId = PortId::new(0);
const CLIENT: ConnId = ConnId::new(0, 1);
const SERVER: ConnId = ConnId::new(1, 2);

/// A traced network without a reactor, and the lines told since the last look.
struct Trace {
    io: TracedIo<MemoryIo>,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Trace {
    fn new(options: MemoryOptions) -> Trace {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let sink = lines.clone();
        let io = TracedIo::new(MemoryIo::new(options), move |line| {
            sink.borrow_mut().push(line.to_string());
        });
        let mut trace = Trace { io, lines };
        trace.io.listen(PORT, at()).unwrap();
        trace.expect(&["before the first turn", "  listened at 127.0.0.1:7000"]);
        trace
    }

    fn calm() -> Trace {
        Trace::new(MemoryOptions { turn_cost: Duration::ZERO, ..MemoryOptions::calm(1) })
    }

    fn expect(&mut self, lines: &[&str]) {
        assert_eq!(std::mem::take(&mut *self.lines.borrow_mut()), lines);
    }

    fn poll(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.io.poll(Some(Duration::ZERO), &mut events).unwrap();
        events
    }

    /// Connects the client to the server, and forgets the lines.
    fn connected(mut self) -> Trace {
        self.io.connect(CLIENT, at()).unwrap();
        self.poll();
        self.io.accept(PORT, SERVER).unwrap();
        self.io.connected(CLIENT).unwrap();
        self.poll();
        self.lines.borrow_mut().clear();
        self
    }
}

fn at() -> SocketAddr {
    ([127, 0, 0, 1], 7000).into()
}

#[test]
fn names_follow_the_order_of_appearance_and_are_not_reused() {
    let mut trace = Trace::calm();
    trace.io.connect(CLIENT, at()).unwrap();
    trace.io.connected(CLIENT).unwrap();
    trace.poll();
    trace.io.accept(PORT, SERVER).unwrap();
    trace.io.accept(PORT, ConnId::new(2, 3)).unwrap_err();
    trace.io.close(CLIENT, Close::Orderly);
    trace.io.connect(ConnId::new(0, 3), at()).unwrap();
    trace.io.read(CLIENT, &mut [0]).unwrap_err();
    trace.expect(&[
        "  began to connect c1 to 127.0.0.1:7000",
        "  c1 is not connected yet",
        "  did not sleep; found a client at 127.0.0.1:7000, c1 writable",
        "  accepted c2 from 127.0.0.1:32768 at 127.0.0.1:7000",
        "  nothing to accept at 127.0.0.1:7000",
        "  closed c1",
        "  began to connect c3 to 127.0.0.1:7000",
        "  failed to read from a closed connection: Transport endpoint is not connected (os error 107)",
    ]);
}

#[test]
fn bytes_are_escaped_and_cut() {
    let mut trace = Trace::calm().connected();
    trace.io.write(CLIENT, b"\r\n\"\x00\xff").unwrap();
    trace.io.write(CLIENT, &[b'x'; 61]).unwrap();
    trace.poll();
    trace.io.read(SERVER, &mut [0; 100]).unwrap();
    trace.io.read(SERVER, &mut [0; 100]).unwrap_err();
    let many = "x".repeat(60);
    trace.expect(&[
        r#"  wrote 5 bytes to c1: "\r\n\"\x00\xff""#,
        &format!(r#"  wrote 61 bytes to c1: "{many}"..."#),
        "  did not sleep; found c2 readable and writable",
        &format!(r#"  read 66 bytes from c2: "\r\n\"\x00\xff{}"..."#, "x".repeat(55)),
        "  nothing to read from c2",
    ]);
}

#[test]
fn a_short_write_and_a_full_buffer_are_told() {
    let options =
        MemoryOptions { send_window_bytes: 4, receive_window_bytes: 4, ..MemoryOptions::calm(1) };
    let mut trace = Trace::new(options).connected();
    trace.io.write(CLIENT, b"0123456789").unwrap();
    trace.poll();
    trace.io.write(CLIENT, b"456789").unwrap();
    trace.io.write(CLIENT, b"89").unwrap_err();
    trace.expect(&[
        r#"  wrote 4 bytes of 10 to c1: "0123""#,
        "  did not sleep; found c2 readable and writable, c1 writable",
        r#"  wrote 4 bytes of 6 to c1: "4567""#,
        "  no room to write to c1",
    ]);
}

#[test]
fn each_way_to_end_a_connection_has_its_words() {
    let mut trace = Trace::calm().connected();
    trace.io.shutdown(CLIENT).unwrap();
    trace.poll();
    trace.io.read(SERVER, &mut [0; 8]).unwrap();
    trace.io.close(SERVER, Close::AfterEnd);
    trace.io.close(CLIENT, Close::Reset);
    trace.io.unlisten(PORT);
    trace.expect(&[
        "  ended our side of c1",
        "  did not sleep; found c2 readable and writable and ended",
        "  read the end of c2",
        "  closed c2 after its end",
        "  reset c1",
        "  stopped listening at 127.0.0.1:7000",
    ]);
}

#[test]
fn failures_are_told_with_their_reason() {
    let mut trace = Trace::calm();
    trace.io.listen(PortId::new(1), at()).unwrap_err();
    trace.io.inner().fault(at(), NetworkFault::Refuse);
    trace.io.connect(CLIENT, at()).unwrap();
    trace.poll();
    trace.io.connected(CLIENT).unwrap_err();
    trace.expect(&[
        "  failed to listen at 127.0.0.1:7000: Address already in use (os error 98)",
        "  began to connect c1 to 127.0.0.1:7000",
        "  did not sleep; found c1 readable and writable and ended and failed",
        "  failed to connect c1: Connection refused (os error 111)",
    ]);
    trace.io.inner().heal(at());
    let mut trace = trace.connected();
    let id = trace.io.inner().connections()[0];
    trace.io.inner().reset(id);
    trace.poll();
    trace.io.write(CLIENT, b"x").unwrap_err();
    trace.expect(&[
        "  did not sleep; found c2 readable and writable and ended and failed, \
         c3 readable and writable and ended and failed",
        "  failed to write to c2: Connection reset by peer (os error 104)",
    ]);
}

#[test]
fn the_rest_of_the_calls_is_told() {
    let mut trace = Trace::calm();
    trace.io.listen_unix(PortId::new(1), Path::new("/run/herd.sock")).unwrap();
    trace.io.connect_udp(SERVER, ([127, 0, 0, 1], 53).into()).unwrap();
    trace.io.set_user_timeout(SERVER, Duration::from_secs(20)).unwrap();
    trace.io.inner().signal(Signal::Hangup);
    trace.poll();
    trace.io.inner().options().descriptors_max = 0;
    trace.io.connect(CLIENT, at()).unwrap_err();
    let _ = trace.io.shed(PORT, 5);
    trace.io.poll(None, &mut Vec::new()).unwrap_err();
    trace.expect(&[
        "  listened at /run/herd.sock",
        "  opened c1 for datagrams to 127.0.0.1:53",
        "  set the user timeout of c1 to 20s",
        "  did not sleep; found the signal Hangup, c1 writable",
        "  failed to connect to 127.0.0.1:7000: Too many open files (os error 24)",
        "  had no descriptor left, and turned away 0 clients at 127.0.0.1:7000",
        "  failed to poll: no segment is under way and no timer is set: this poll would hang",
    ]);
}

#[test]
fn a_turn_begins_at_the_second_reading_of_the_clock_after_the_poll() {
    let mut trace = Trace::calm();
    // `Reactor::new`, and the beginning and the end of the first turn.
    for _ in 0..3 {
        trace.io.now();
    }
    trace.poll();
    trace.io.now();
    trace.io.accept(PORT, SERVER).unwrap_err();
    trace.io.now();
    trace.poll();
    trace.expect(&[
        "turn 1",
        "  did not sleep; found nothing",
        "  nothing to accept at 127.0.0.1:7000",
        "turn 2",
        "  did not sleep; found nothing",
    ]);
}
