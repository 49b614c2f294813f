//! The test of exercise 3.

use crate::support::*;
use exercises::e03_edge::{READ_BYTES, Reader};
use herd_reactor::io::{Event, Io};
use herd_reactor::testing::{CountingIo, MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, PortId};
use std::time::Duration;

const SENDERS: u32 = 3;

/// The receiving end of a sender's connection.
fn receiver(number: u32) -> ConnId {
    ConnId::new(number, 1)
}

/// The sending end.
fn sender(number: u32) -> ConnId {
    ConnId::new(SENDERS + number, 1)
}

struct Bench {
    io: CountingIo<MemoryIo>,
    reader: Reader,
    may_sleep: bool,
    turns: usize,
}

impl Bench {
    /// Three connections, whose receiving ends the reader reads.
    fn new(options: MemoryOptions) -> Bench {
        let mut io = CountingIo::new(MemoryIo::new(options));
        let port = PortId::new(0);
        let address = io.listen(port, port_of_test()).unwrap();
        let mut bench = Bench { io, reader: Reader::default(), may_sleep: true, turns: 0 };
        for number in 0..SENDERS {
            bench.io.connect(sender(number), address).unwrap();
            let mut accepted = false;
            for _ in 0..1_000 {
                bench.turn(MS);
                accepted = accepted || bench.io.accept(port, receiver(number)).is_ok();
                if accepted && bench.io.connected(sender(number)).unwrap().is_some() {
                    break;
                }
            }
            assert!(accepted, "the network in memory connects");
        }
        bench.pass(SECOND);
        bench
    }

    /// One poll, and one turn of the reader. Senders' events are not the reader's. Checks the number of reads.
    fn turn(&mut self, most: Duration) {
        let timeout = if self.may_sleep { most } else { Duration::ZERO };
        let mut events = Vec::new();
        self.io.poll(Some(timeout), &mut events).unwrap();
        events.retain(
            |event| matches!(event, Event::Ready { id, .. } if id.key() < SENDERS as usize),
        );
        self.io.take();
        self.may_sleep = self.reader.turn(&mut self.io, &events);
        let reads = self.io.take().reads;
        assert!(
            reads <= u64::from(SENDERS),
            "{reads} reads in one turn: each of {SENDERS} connections is read at most once"
        );
        self.turns += 1;
        assert!(self.turns < 100_000, "{} turns: `turn` never returns true", self.turns);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.io.now() + time;
        while self.io.now() < end {
            let left = end - self.io.now();
            self.turn(left);
        }
    }

    fn send(&mut self, number: u32, mut data: &[u8]) {
        while !data.is_empty() {
            match self.io.write(sender(number), data) {
                Ok(count) => data = &data[count..],
                Err(_) => self.turn(MS),
            }
        }
    }

    fn received(&self, number: u32) -> Vec<u8> {
        self.reader.received.get(&receiver(number)).cloned().unwrap_or_default()
    }
}

fn port_of_test() -> std::net::SocketAddr {
    port(4000)
}

#[test]
fn everything_is_read_although_the_poll_reports_it_once() {
    let mut bench = Bench::new(MemoryOptions::calm(0));
    let data: Vec<u8> = (0..1_000_u32).map(|byte| byte as u8).collect();
    bench.send(0, &data);
    bench.pass(SECOND);
    let count = bench.received(0).len();
    assert!(
        bench.received(0) == data,
        "1000 bytes were sent, {count} were read: the poll does not report the rest again"
    );
}

#[test]
fn a_connection_that_sends_much_does_not_hold_up_the_others() {
    let mut bench = Bench::new(MemoryOptions::calm(0));
    bench.send(0, &[b'x'; 100 * READ_BYTES]);
    bench.send(1, b"short");
    // `turn` also checks that each connection is read at most once.
    bench.turn(MS);
    bench.turn(MS);
    assert_eq!(text(&bench.received(1)), "short", "it was not read within two turns");
    bench.pass(SECOND);
    assert_eq!(bench.received(0).len(), 100 * READ_BYTES, "bytes of the other connection");
}

#[test]
fn the_end_behind_the_data_is_noted() {
    let mut bench = Bench::new(MemoryOptions::calm(0));
    for (number, count) in [(0, 5), (1, 2 * READ_BYTES), (2, 0)] {
        bench.send(number, &vec![b'x'; count]);
        bench.io.shutdown(sender(number)).unwrap();
    }
    bench.pass(SECOND);
    for (number, count) in [(0, 5), (1, 2 * READ_BYTES), (2, 0)] {
        assert_eq!(bench.received(number).len(), count, "the bytes before the end");
        assert!(
            bench.reader.ended.contains(&receiver(number)),
            "the end behind {count} bytes is not noted; one event reported the data and the end"
        );
    }
}

#[test]
fn when_nothing_is_left_the_loop_sleeps() {
    let mut bench = Bench::new(MemoryOptions::calm(0));
    bench.send(0, &[b'x'; 10 * READ_BYTES]);
    bench.send(1, &[b'x'; READ_BYTES]);
    bench.io.shutdown(sender(1)).unwrap();
    bench.pass(SECOND);
    assert!(bench.may_sleep, "everything is read, but `turn` returned false: the loop spins");
    bench.turns = 0;
    bench.pass(10 * SECOND);
    assert!(bench.turns < 10, "{} turns in ten seconds in which nothing arrives", bench.turns);
}

#[test]
fn late_and_spurious_events_do_no_harm() {
    for seed in 0..20 {
        let mut bench =
            Bench::new(MemoryOptions { arrival_bytes: 1..=40, ..MemoryOptions::rough(seed) });
        let data = |number| (0..500_u32).map(move |byte| (byte * (number + 1)) as u8);
        for number in 0..SENDERS {
            bench.send(number, &data(number).collect::<Vec<u8>>());
            bench.io.shutdown(sender(number)).unwrap();
        }
        bench.pass(SECOND);
        for number in 0..SENDERS {
            let received = bench.received(number);
            assert!(
                received.iter().copied().eq(data(number)),
                "seed {seed}: {} of 500 bytes",
                received.len()
            );
            assert!(bench.reader.ended.contains(&receiver(number)), "seed {seed}: no end is noted");
        }
    }
}
