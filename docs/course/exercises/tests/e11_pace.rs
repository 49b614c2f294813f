//! The test of exercise 11.

use crate::support::*;
use exercises::e11_pace::{HIGH_WATER, Reader, Room, Source};
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{READ_BYTES_MAX, factory};
use std::net::SocketAddr;

const MOST: usize = HIGH_WATER + READ_BYTES_MAX;

/// A room with a source, on a network that holds little.
struct Play {
    stage: Stage<Room>,
    source: Client,
    readers: SocketAddr,
}

impl Play {
    fn new() -> Play {
        let options = MemoryOptions {
            send_window_bytes: 20_000,
            receive_window_bytes: 20_000,
            ..MemoryOptions::calm(0)
        };
        let mut stage = Stage::on(options, Room::default());
        let sources = stage.listen(factory(|_, _| Some(Source)));
        let readers = stage.listen(factory(|_, _| Some(Reader)));
        let source = stage.connect(sources);
        Play { stage, source, readers }
    }

    fn reader(&mut self) -> Client {
        self.stage.connect(self.readers)
    }

    /// The source sends `count` bytes, whose values depend on their places.
    fn send(&mut self, count: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..count).map(|at| ((at * 31) >> 3) as u8).collect();
        self.stage.reactor.write(self.source.id(), &data);
        data
    }

    /// Half a second, in which no reader has too much waiting.
    fn pass(&mut self) {
        self.stage.watch(SECOND / 2, |stage| {
            let most = stage.most_pending();
            assert!(most <= MOST, "{most} bytes wait for a reader, more than {MOST}");
        });
    }
}

#[track_caller]
fn check(reader: &Client, sent: &[u8], who: &str) {
    let received = reader.bytes();
    assert!(received == sent, "{who} got {} of {} bytes", received.len(), sent.len());
}

#[test]
fn every_reader_gets_every_byte() {
    let mut play = Play::new();
    let readers = [play.reader(), play.reader(), play.reader()];
    let sent = play.send(500_000);
    play.pass();
    readers.iter().for_each(|reader| check(reader, &sent, "a reader"));
}

#[test]
fn a_reader_that_does_not_read_stops_the_source() {
    let mut play = Play::new();
    let [fast, slow] = [play.reader(), play.reader()];
    play.stage.pause(&slow);
    let sent = play.send(2_000_000);
    play.pass();
    let early = fast.count();
    assert!(
        early < 300_000,
        "the fast reader got {early} bytes: the slow one did not set the pace"
    );
    play.stage.resume(&slow);
    play.pass();
    check(&slow, &sent, "the slow reader, which reads again,");
    check(&fast, &sent, "the fast reader");
}

#[test]
fn the_slowest_of_two_slow_readers_sets_the_pace() {
    let mut play = Play::new();
    let readers = [play.reader(), play.reader(), play.reader()];
    readers.iter().for_each(|reader| play.stage.pause(reader));
    let sent = play.send(1_000_000);
    play.pass();
    for (number, reader) in readers.iter().enumerate() {
        let most = readers.iter().map(Client::count).max().unwrap_or(0);
        assert!(most < 300_000, "{number} of 3 readers read, but one of them got {most} bytes");
        play.stage.resume(reader);
        play.pass();
    }
    readers.iter().for_each(|reader| check(reader, &sent, "a reader"));
}

#[test]
fn when_the_slow_reader_is_gone_the_others_go_on() {
    for is_reset in [false, true] {
        let mut play = Play::new();
        let [fast, slow] = [play.reader(), play.reader()];
        play.stage.pause(&slow);
        let sent = play.send(1_000_000);
        play.pass();
        match is_reset {
            true => play.stage.abort(&slow),
            false => play.stage.close(&slow),
        }
        play.pass();
        check(&fast, &sent, "the slow reader is gone, but the fast one");
    }
}

#[test]
fn when_the_source_is_gone_each_reader_gets_the_rest_and_the_end() {
    let mut play = Play::new();
    let [fast, slow] = [play.reader(), play.reader()];
    play.stage.pause(&slow);
    let sent = play.send(300_000);
    play.stage.close(&play.source.clone());
    play.pass();
    play.stage.resume(&slow);
    play.pass();
    check(&slow, &sent, "the slow reader");
    assert!(fast.was_closed_in_order() && slow.was_closed_in_order(), "a reader got no end");
}

#[test]
fn without_a_reader_the_source_is_read() {
    let mut play = Play::new();
    play.send(300_000);
    play.pass();
    let late = play.reader();
    let sent = play.send(1_000);
    play.pass();
    check(&late, &sent, "a reader that came later");
}
