//! The test of exercise 17.

use crate::support::*;
use exercises::e17_scramble::Scramble;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{ConnId, Context, Flow, Protocol, Shared, TimerId, factory};
use std::net::SocketAddr;

/// The shared state: what the protocol above the filter has received, and its latest connection.
#[derive(Default)]
struct World {
    received: Vec<u8>,
    id: Option<ConnId>,
}

impl Shared for World {
    type Message = String;
}

/// A protocol that knows nothing of the filter below it.
struct Talker;

impl Protocol<World> for Talker {
    fn connection_made(&mut self, cx: &mut Context<'_, World>) -> Flow {
        cx.state.id = Some(cx.id);
        cx.write(b"welcome\n");
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, World>, data: &[u8]) -> Flow {
        cx.state.received.extend_from_slice(data);
        cx.write(data);
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, World>) -> Flow {
        cx.write(b"goodbye\n");
        cx.lose_connection();
        Ok(())
    }

    fn message(&mut self, cx: &mut Context<'_, World>, message: String) -> Flow {
        cx.write(message.as_bytes());
        cx.timer_later(SECOND);
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, World>, _timer: TimerId) -> Flow {
        cx.write(b"tick\n");
        Ok(())
    }
}

const KEY: [u8; 4] = [1, 0x80, 0xff, 7];

fn xor(data: &[u8]) -> Vec<u8> {
    data.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

/// What a client understands of all that it has received.
fn understood(client: &Client) -> String {
    text(&xor(&client.bytes()))
}

fn stage(options: MemoryOptions) -> (Stage<World>, SocketAddr) {
    let mut stage = Stage::on(options, World::default());
    let address = stage.listen(factory(|_, _| Some(Scramble::new(Talker))));
    (stage, address)
}

#[test]
fn both_directions_are_scrambled() {
    let (mut stage, address) = stage(MemoryOptions::calm(0));
    let client = stage.connect(address);
    stage.send(&client, &[&KEY[..], &xor(b"to and fro\n")].concat());
    assert_eq!(text(&stage.state().received), "to and fro\n", "what the protocol above received");
    assert_eq!(understood(&client), "welcome\nto and fro\n", "what the client understood");
}

#[test]
fn the_cipher_goes_on_over_every_chunking() {
    let sent = [&KEY[..], &xor(b"to and fro\n")].concat();
    for pieces in every_chunking(&sent).step_by(61) {
        let (mut stage, address) = stage(MemoryOptions::calm(0));
        let client = stage.connect(address);
        pieces.iter().for_each(|piece| stage.send(&client, piece));
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        let received = text(&stage.state().received);
        assert_eq!(received, "to and fro\n", "chunks of {sizes:?} bytes, the key included");
        assert_eq!(understood(&client), "welcome\nto and fro\n", "chunks of {sizes:?} bytes");
    }
}

#[test]
fn what_is_written_before_the_key_waits_for_it() {
    let (mut stage, address) = stage(MemoryOptions::calm(0));
    let client = stage.connect(address);
    stage.send(&client, &KEY[..3]);
    stage.pass(SECOND);
    assert_eq!(client.count(), 0, "bytes that were sent before the key was known");
    stage.send(&client, &KEY[3..]);
    assert_eq!(understood(&client), "welcome\n", "a millisecond after the key was known");
    assert_eq!(text(&stage.state().received), "", "the key is not for the protocol above");
}

#[test]
fn messages_timers_and_others_write_through_the_filter() {
    let (mut stage, address) = stage(MemoryOptions::calm(0));
    let client = stage.connect(address);
    stage.send(&client, &KEY);
    let id = stage.state().id.expect("it is connected");
    stage.reactor.post(id, "message\n".to_owned());
    stage.reactor.write(id, b"from another\n");
    stage.pass(2 * SECOND);
    let mut lines: Vec<String> = understood(&client).lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some("tick"), "the timer's line is the last one");
    lines.sort();
    assert_eq!(lines, ["from another", "message", "welcome"], "the lines before it, sorted");
    stage.end(&client);
    stage.pass(SECOND);
    assert!(understood(&client).ends_with("tick\ngoodbye\n"), "the client has ended its side");
    assert!(client.was_closed_in_order(), "the connection is still open");
}

#[test]
fn without_a_key_a_connection_ends_at_once_and_sends_nothing() {
    for known in 0..4 {
        let (mut stage, address) = stage(MemoryOptions::calm(0));
        let client = stage.connect(address);
        stage.send(&client, &KEY[..known]);
        stage.end(&client);
        stage.pass(SECOND);
        assert_eq!(client.count(), 0, "bytes sent after {known} bytes of the key");
        assert!(client.ended_at().is_some(), "a second later the connection is still open");
    }
}

#[test]
fn much_data_passes_a_rough_network() {
    let data: Vec<u8> = (0..200_000).map(|at| ((at * 31) >> 3) as u8).collect();
    for seed in 0..3 {
        let (mut stage, address) = stage(MemoryOptions::rough(seed));
        let client = stage.connect(address);
        stage.send(&client, &[&KEY[..], &xor(&data)].concat());
        stage.pass(10 * SECOND);
        assert!(stage.state().received == data, "seed {seed}: the protocol above got other bytes");
        let expected = [b"welcome\n", &data[..]].concat();
        assert!(xor(&client.bytes()) == expected, "seed {seed}: the client understood other bytes");
    }
}
