//! Tests that any chunking of the same bytes gives the same lines, and tests of limits, pauses and ends.
//!
//! Most tests drive the receiver by hand, without a reactor: they pass bytes to `data_received`, and the inner protocol
//! logs its calls. Twisted: protocols/test/test_basic.py.

use herd_reactor::line_receiver::{LINES_AHEAD, LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::{MemoryIo, MemoryOptions, StringTransport};
use herd_reactor::{
    BUFFER_SIZE, ConnectOptions, Context, Flow, Protocol, Reactor, ReactorLimits, Shared, TimerId,
    factory,
};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

/// The log of the inner protocol, oldest first.
#[derive(Debug, Default)]
struct Notes {
    heard: Vec<Heard>,
    /// The announced lines that have not arrived yet, the next one first.
    ahead: VecDeque<Vec<u8>>,
    /// The number of lines of each announcement.
    announced: Vec<usize>,
}

impl Shared for Notes {
    type Message = ();
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Line(Vec<u8>),
    Raw(Vec<u8>),
    TooLong(Vec<u8>),
    TimedOut,
    End,
}

/// An inner protocol that logs its calls and obeys some lines.
#[derive(Debug)]
struct Listener;

impl LineProtocol<Notes> for Listener {
    fn name(&self) -> &'static str {
        "Listener"
    }

    /// Handles lines of one byte here, up to the first line that is longer or empty.
    fn lines_ahead(&mut self, cx: &mut Context<'_, Notes>, lines: &[&[u8]]) -> usize {
        assert!((1..=LINES_AHEAD).contains(&lines.len()));
        cx.state.announced.push(lines.len());
        let without_cr = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let here: Vec<&[u8]> = without_cr.take_while(|line| line.len() == 1).collect();
        cx.state.heard.extend(here.iter().map(|line| Heard::Line(line.to_vec())));
        cx.state.ahead = lines[here.len()..].iter().map(|line| line.to_vec()).collect();
        here.len()
    }

    /// Checks that announced lines arrive in their order.
    fn line_received(
        &mut self,
        cx: &mut Context<'_, Notes>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn Error>> {
        if let Some(ahead) = cx.state.ahead.pop_front() {
            assert_eq!(ahead.strip_suffix(b"\r").unwrap_or(&ahead), line);
        }
        if matches!(line, b"lose" | b"abort" | b"pause" | b"fill" | b"raw" | b"fail") {
            cx.state.ahead.clear();
        }
        cx.state.heard.push(Heard::Line(line.to_vec()));
        match line {
            b"lose" => cx.lose_connection(),
            b"abort" => cx.abort_connection(),
            b"pause" => cx.pause_producing(),
            b"fill" => cx.write(&[b'x'; BUFFER_SIZE + 1]),
            b"raw" => return Ok(Mode::Raw),
            b"fail" => return Err("it was told to fail".into()),
            _ => {}
        }
        Ok(Mode::Lines)
    }

    /// Raw data ends after a `;`.
    fn raw_data_received(
        &mut self,
        cx: &mut Context<'_, Notes>,
        data: &[u8],
    ) -> Result<(usize, Mode), Box<dyn Error>> {
        let end = data.iter().position(|byte| *byte == b';').map(|at| at + 1);
        let taken = end.unwrap_or(data.len());
        cx.state.heard.push(Heard::Raw(data[..taken].to_vec()));
        Ok((taken, if end.is_some() { Mode::Lines } else { Mode::Raw }))
    }

    fn line_length_exceeded(&mut self, cx: &mut Context<'_, Notes>, start: &[u8]) -> Flow {
        cx.state.heard.push(Heard::TooLong(start.to_vec()));
        Ok(())
    }

    fn line_timed_out(&mut self, cx: &mut Context<'_, Notes>) -> Flow {
        cx.state.heard.push(Heard::TimedOut);
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, Notes>) -> Flow {
        cx.state.heard.push(Heard::End);
        Ok(())
    }

    fn message(&mut self, cx: &mut Context<'_, Notes>, (): ()) -> Flow {
        cx.resume_producing();
        Ok(())
    }
}

/// A receiver and the transport under it.
struct Rig {
    receiver: LineReceiver<Listener>,
    transport: StringTransport<Notes>,
}

impl Rig {
    fn new(line_bytes: usize) -> Rig {
        let limits = LineLimits { line_bytes, ..LineLimits::default() };
        let mut rig = Rig {
            receiver: LineReceiver::new(Listener, limits),
            transport: StringTransport::new(Notes::default()),
        };
        rig.receiver.connection_made(&mut rig.transport.context()).unwrap();
        rig
    }

    fn feed(&mut self, data: &[u8]) -> &mut Rig {
        self.receiver.data_received(&mut self.transport.context(), data).unwrap();
        self
    }

    fn end(&mut self) -> &mut Rig {
        self.receiver.read_connection_lost(&mut self.transport.context()).unwrap();
        self
    }

    fn resume(&mut self) -> &mut Rig {
        self.receiver.message(&mut self.transport.context(), ()).unwrap();
        self
    }

    fn heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.transport.state.heard)
    }
}

fn lines<const N: usize>(lines: [&str; N]) -> Vec<Heard> {
    lines.iter().map(|line| Heard::Line(line.as_bytes().to_vec())).collect()
}

fn heard_in_chunks(text: &[u8], line_bytes: usize, chunk: usize) -> Vec<Heard> {
    let mut rig = Rig::new(line_bytes);
    for chunk in text.chunks(chunk) {
        rig.feed(chunk);
    }
    rig.end().heard()
}

const TEXT: &[u8] =
    b"IAMAT a +1+2 3\r\nWHATSAT a 10 5\n\n\r\n lone\rcr \xff\x00\r\r\nlast one has no end";

#[test]
fn every_chunk_length_gives_the_same_lines() {
    let mut whole = lines(["IAMAT a +1+2 3", "WHATSAT a 10 5", "", ""]);
    whole.push(Heard::Line(b" lone\rcr \xff\x00\r".to_vec()));
    whole.extend(lines(["last one has no end"]));
    whole.push(Heard::End);
    for chunk in 1..=TEXT.len() {
        assert_eq!(heard_in_chunks(TEXT, 100, chunk), whole, "in chunks of {chunk}");
    }
}

#[test]
fn every_single_split_gives_the_same_lines() {
    let whole = heard_in_chunks(TEXT, 100, TEXT.len());
    for split in 1..TEXT.len() {
        let mut rig = Rig::new(100);
        assert_eq!(
            rig.feed(&TEXT[..split]).feed(&TEXT[split..]).end().heard(),
            whole,
            "at {split}"
        );
    }
}

#[test]
fn a_line_is_delivered_as_soon_as_its_end_is_there() {
    let mut rig = Rig::new(100);
    assert_eq!(rig.feed(b"one\ntw").heard(), lines(["one"]));
    assert_eq!(rig.feed(b"o\n").heard(), lines(["two"]));
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not_in_any_chunking() {
    for chunk in 1..=12 {
        for end in ["\n", "\r\n", ""] {
            let longest = [b"0123456789", end.as_bytes()].concat();
            let heard = heard_in_chunks(&longest, 10, chunk);
            assert_eq!(
                heard,
                [Heard::Line(b"0123456789".to_vec()), Heard::End],
                "{end:?}, {chunk}"
            );

            let too_long = [b"0123456789A", end.as_bytes(), b"\nnever\n"].concat();
            let heard = heard_in_chunks(&too_long, 10, chunk);
            let [Heard::TooLong(start), Heard::End] = heard.as_slice() else {
                panic!("{heard:?} in chunks of {chunk}");
            };
            assert!(start.starts_with(b"0123456789A"), "{start:?}");
        }
    }
}

#[test]
fn the_first_byte_beyond_the_limit_makes_a_line_too_long_though_nothing_follows_it() {
    for pieces in [vec!["0123456789A"], vec!["0123456789", "A"], vec!["01234", "56789A"]] {
        let mut rig = Rig::new(10);
        for piece in &pieces {
            rig.feed(piece.as_bytes());
        }
        assert_eq!(rig.heard(), [Heard::TooLong(b"0123456789A".to_vec())], "{pieces:?}");
    }
    // A CR may be the first half of the line end.
    assert_eq!(Rig::new(10).feed(b"0123456789\r").heard(), []);
}

#[test]
fn an_endless_line_is_cut_at_the_limit_and_then_ignored_without_being_kept() {
    let mut rig = Rig::new(16_384);
    for _ in 0..100 {
        rig.feed(&[b'x'; 10_000]);
    }
    let heard = rig.heard();
    assert_eq!(heard.len(), 1);
    assert!(matches!(&heard[0], Heard::TooLong(start) if start.len() < 40_000));
}

#[test]
fn by_default_a_line_that_is_too_long_is_an_error() {
    struct Plain;

    impl LineProtocol<()> for Plain {
        fn line_received(&mut self, cx: &mut Context<'_, ()>, line: &[u8]) -> Flow<Mode> {
            cx.write(line);
            Ok(Mode::Lines)
        }
    }

    let limits = LineLimits { line_bytes: 10, ..LineLimits::default() };
    let (mut receiver, mut transport) =
        (LineReceiver::new(Plain, limits), StringTransport::new(()));
    let flow = receiver.data_received(&mut transport.context(), b"0123456789\n0123456789A\n");
    assert_eq!(flow.unwrap_err().to_string(), "the line is too long");
    assert_eq!(transport.take(), b"0123456789");
}

#[test]
fn no_line_is_delivered_after_lose_connection() {
    let mut rig = Rig::new(100);
    assert_eq!(rig.feed(b"a\nlose\nb\n").feed(b"c\n").heard(), lines(["a", "lose"]));
}

#[test]
fn no_line_is_delivered_after_abort_connection() {
    let mut rig = Rig::new(100);
    assert_eq!(rig.feed(b"a\nabort\nb\n").feed(b"c\n").heard(), lines(["a", "abort"]));
}

#[test]
fn no_line_is_delivered_while_paused_and_all_of_them_after() {
    let mut rig = Rig::new(100);
    assert_eq!(rig.feed(b"a\npause\nb\npause\nc\nd").heard(), lines(["a", "pause"]));
    assert_eq!(rig.feed(b" e\n").heard(), []);
    assert_eq!(rig.resume().heard(), lines(["b", "pause"]));
    assert_eq!(rig.resume().heard(), lines(["c", "d e"]));
    assert_eq!(rig.resume().feed(b"f\n").heard(), lines(["f"]));
}

#[test]
fn a_full_send_buffer_holds_lines_back_until_it_is_empty() {
    let mut rig = Rig::new(100);
    assert_eq!(rig.feed(b"a\nfill\nb\nc").heard(), lines(["a", "fill"]));
    let transport = rig.transport.core.transport(rig.transport.id).unwrap();
    assert!(!transport.is_delivering() && transport.pending() == BUFFER_SIZE + 1);
}

#[test]
fn a_failing_line_ends_the_call_with_its_error() {
    let mut rig = Rig::new(100);
    let flow = rig.receiver.data_received(&mut rig.transport.context(), b"a\nfail\nb\n");
    assert_eq!(flow.unwrap_err().to_string(), "it was told to fail");
    assert_eq!(rig.heard(), lines(["a", "fail"]));
}

#[test]
fn raw_mode_takes_the_rest_of_the_chunk_and_gives_lines_back_in_any_chunking() {
    let text = b"a\nraw\nx\ny;b\nraw\n;c\n";
    for chunk in 1..=text.len() {
        let mut joined: Vec<Heard> = Vec::new();
        for heard in heard_in_chunks(text, 100, chunk) {
            match (joined.last_mut(), heard) {
                (Some(Heard::Raw(before)), Heard::Raw(data)) => before.extend(data),
                (_, heard) => joined.push(heard),
            }
        }
        let mut expected = lines(["a", "raw"]);
        expected.push(Heard::Raw(b"x\ny;".to_vec()));
        expected.extend(lines(["b", "raw"]));
        expected.push(Heard::Raw(b";".to_vec()));
        expected.extend(lines(["c"]));
        expected.push(Heard::End);
        assert_eq!(joined, expected, "in chunks of {chunk}");
    }
}

#[test]
fn no_bytes_after_the_end_of_the_stream_means_no_line() {
    assert_eq!(heard_in_chunks(b"a\n", 100, 1), [lines(["a"]), vec![Heard::End]].concat());
}

/// A second implementation of the same rules.
fn reference(text: &[u8]) -> Vec<Heard> {
    let mut heard: Vec<Heard> = text
        .split(|byte| *byte == b'\n')
        .map(|line| match line {
            [start @ .., b'\r'] => Heard::Line(start.to_vec()),
            line => Heard::Line(line.to_vec()),
        })
        .collect();
    // The bytes after the last LF are a line, unless there are none.
    if text.is_empty() || text.ends_with(b"\n") {
        heard.pop();
    }
    heard.push(Heard::End);
    heard
}

#[test]
fn the_complete_lines_of_a_chunk_are_announced_sixteen_at_a_time() {
    let mut rig = Rig::new(1_000);
    rig.feed(b"alone\n");
    assert!(rig.transport.state.announced.is_empty(), "a chunk of one line announces nothing");
    rig.feed(&[&b"a\r\n"[..], &b"b\n".repeat(20), b"unfinished"].concat());
    assert_eq!(rig.transport.state.announced, [16, 5]);
    let handled = rig.heard().into_iter().skip(1).collect::<Vec<_>>();
    assert_eq!(handled[0], Heard::Line(b"a".to_vec()));
    assert_eq!(handled[1..], vec![Heard::Line(b"b".to_vec()); 20], "each is delivered once");
    rig.feed(b"\npause\nafter\nlast\n").resume();
    assert_eq!(
        rig.transport.state.announced,
        [16, 5, 3, 2],
        "what a pause holds back is announced again"
    );
}

proptest! {
    #[test]
    fn any_chunking_of_any_bytes_gives_the_lines_of_the_reference(
        text in prop::collection::vec(prop::sample::select(b"\n\r\nab \xff".to_vec()), 0..200),
        cuts in prop::collection::vec(1..40_usize, 1..40),
    ) {
        let mut rig = Rig::new(1_000);
        let mut rest = &text[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            rig.feed(chunk);
            rest = after;
        }
        prop_assert_eq!(rig.end().heard(), reference(&text));
    }

    #[test]
    fn pauses_anywhere_lose_and_repeat_nothing(
        words in prop::collection::vec(prop::sample::select(vec!["a", "bb", "pause", ""]), 0..60),
        chunk in 1..30_usize,
    ) {
        let text = words.iter().map(|word| format!("{word}\n")).collect::<String>();
        let mut rig = Rig::new(1_000);
        for chunk in text.as_bytes().chunks(chunk) {
            rig.feed(chunk);
            let before = rig.transport.state.heard.len();
            let delivering = |rig: &Rig| {
                rig.transport.core.transport(rig.transport.id).unwrap().is_delivering()
            };
            while !delivering(&rig) {
                rig.resume();
            }
            prop_assert!(rig.transport.state.heard.len() >= before);
        }
        let mut expected = reference(text.as_bytes());
        expected.pop();
        prop_assert_eq!(rig.heard(), expected);
    }
}

/// Two layers on one connection each get their own timers.
#[test]
fn the_protocol_within_hears_its_own_timers_and_not_the_receivers() {
    #[derive(Default)]
    struct Within(Option<TimerId>);

    impl LineProtocol<(Vec<&'static str>,)> for Within {
        fn line_received(
            &mut self,
            cx: &mut Context<'_, (Vec<&'static str>,)>,
            _: &[u8],
        ) -> Flow<Mode> {
            self.0 = Some(cx.timer_later(Duration::from_secs(5)));
            Ok(Mode::Lines)
        }

        fn timer(&mut self, cx: &mut Context<'_, (Vec<&'static str>,)>, timer: TimerId) -> Flow {
            assert_eq!(self.0, Some(timer));
            cx.state.0.push("its own");
            Ok(())
        }

        fn line_timed_out(&mut self, cx: &mut Context<'_, (Vec<&'static str>,)>) -> Flow {
            cx.state.0.push("an unfinished line");
            Ok(())
        }
    }

    struct Client;

    impl Protocol<(Vec<&'static str>,)> for Client {
        fn connection_made(&mut self, cx: &mut Context<'_, (Vec<&'static str>,)>) -> Flow {
            cx.write(b"a line\nand a half");
            Ok(())
        }

        fn data_received(&mut self, _: &mut Context<'_, (Vec<&'static str>,)>, _: &[u8]) -> Flow {
            Ok(())
        }
    }

    let io = MemoryIo::new(MemoryOptions::default());
    let mut reactor = Reactor::new(io, (Vec::new(),), ReactorLimits::default());
    let lines = || LineReceiver::new(Within::default(), LineLimits::default());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, address) = reactor.listen_tcp(any, factory(move |_, _| Some(lines()))).unwrap();
    reactor.connect_tcp(address, ConnectOptions::default(), factory(|_, _| Some(Client)));
    reactor.call_later(Duration::from_secs(40), |_, core| core.stop());
    reactor.run().unwrap();
    assert_eq!(reactor.state().0, ["its own", "an unfinished line"]);
}

#[test]
fn the_unfinished_line_timer_asks_once_and_counts_from_the_first_byte() {
    let mut rig = Rig::new(100);
    assert_eq!(rig.transport.core.timers_pending(), 0);
    for _ in 0..10 {
        rig.feed(b"x");
    }
    assert_eq!(rig.transport.core.timers_pending(), 1);
    rig.feed(b"\nwhole\n");
    assert_eq!(rig.transport.core.timers_pending(), 1);
}
