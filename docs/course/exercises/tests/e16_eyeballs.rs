//! The test of exercise 16.

use crate::support::*;
use exercises::e16_eyeballs::{HEAD_START, Race, race};
use herd_reactor::testing::{MemoryOptions, NetworkFault};
use herd_reactor::{Context, Flow, Protocol, factory};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const FIRST: u16 = 4001;
const SECOND_PORT: u16 = 4002;

/// Each connection that a server got, and when; and what the servers received.
#[derive(Clone, Default)]
struct Servers {
    accepted: Rc<RefCell<Vec<(u16, Duration)>>>,
    received: Rc<RefCell<Vec<(u16, String)>>>,
}

struct Server(u16, Servers);

impl Protocol<Race> for Server {
    fn data_received(&mut self, _cx: &mut Context<'_, Race>, data: &[u8]) -> Flow {
        self.1.received.borrow_mut().push((self.0, text(data)));
        Ok(())
    }
}

impl Servers {
    fn listen(&self, stage: &mut Stage<Race>, number: u16) {
        let servers = self.clone();
        let server = factory(move |cx: &mut Context<'_, Race>, _| {
            let now = Duration::from_nanos(cx.now().as_nanos());
            servers.accepted.borrow_mut().push((number, now));
            Some(Server(number, servers.clone()))
        });
        stage.reactor.listen_tcp(port(number), server).unwrap();
    }

    /// The ports that got a connection.
    fn ports(&self) -> Vec<u16> {
        self.accepted.borrow().iter().map(|(number, _)| *number).collect()
    }
}

/// Runs a race for `time`. `listening`: the ports that have a server; `vanish`: a port to which packets vanish.
fn run(
    listening: &[u16],
    vanish: Option<u16>,
    delay: Duration,
    time: Duration,
) -> (Stage<Race>, Servers) {
    let options = MemoryOptions { delay: delay..=delay, ..MemoryOptions::calm(0) };
    let mut stage = Stage::on(options, Race::default());
    let servers = Servers::default();
    listening.iter().for_each(|number| servers.listen(&mut stage, *number));
    if let Some(number) = vanish {
        stage.reactor.io().fault(port(number), NetworkFault::Blackhole);
    }
    let addresses: [SocketAddr; 2] = [port(FIRST), port(SECOND_PORT)];
    let (state, core) = stage.reactor.parts();
    race(core, state, addresses);
    stage.pass(time);
    assert_eq!(stage.reactor.timers_pending(), 0, "{time:?} later a timer is still pending");
    (stage, servers)
}

#[track_caller]
fn check_winner(stage: &mut Stage<Race>, servers: &Servers, winner: u16) {
    assert_eq!(stage.state().winner, Some(port(winner)), "the winner");
    assert!(!stage.state().has_failed, "a connection was made, but `has_failed` is true");
    let received = servers.received.borrow().clone();
    assert_eq!(received, [(winner, "hello\n".to_owned())], "what the servers received");
    assert_eq!(stage.reactor.connections(), 2, "open: both ends of the winner, and no other");
}

#[test]
fn an_address_that_answers_in_time_is_the_only_one_tried() {
    let (mut stage, servers) = run(&[FIRST, SECOND_PORT], None, 50 * MS, HEAD_START - 10 * MS);
    check_winner(&mut stage, &servers, FIRST);
    assert_eq!(servers.ports(), [FIRST], "the ports that got a connection");
}

#[test]
fn when_the_first_address_does_not_answer_the_second_gets_its_turn() {
    let (mut stage, servers) = run(&[FIRST, SECOND_PORT], Some(FIRST), 10 * MS, SECOND);
    check_winner(&mut stage, &servers, SECOND_PORT);
    let (_, at) = servers.accepted.borrow()[0];
    let expected = HEAD_START..HEAD_START + 50 * MS;
    assert!(
        expected.contains(&at),
        "the second address was reached at {at:?}, not in {expected:?}"
    );
}

#[test]
fn when_the_first_address_refuses_the_second_is_tried_at_once() {
    let (mut stage, servers) = run(&[SECOND_PORT], None, 10 * MS, SECOND / 5);
    check_winner(&mut stage, &servers, SECOND_PORT);
    let (_, at) = servers.accepted.borrow()[0];
    assert!(at < 100 * MS, "refused within 20 ms, but the second address was reached at {at:?}");
}

#[test]
fn when_both_are_slow_only_the_first_to_connect_stays() {
    // The first is connected after 400 ms, and the second would be after 650 ms.
    let (mut stage, servers) = run(&[FIRST, SECOND_PORT], None, 200 * MS, 2 * SECOND);
    check_winner(&mut stage, &servers, FIRST);
}

#[test]
fn two_connections_at_the_same_time_have_one_winner() {
    // Both are connected within the same milliseconds, in either order.
    for micros in (0..5_000).step_by(50) {
        let options = MemoryOptions::calm(micros);
        let mut stage = Stage::on(options, Race::default());
        let servers = Servers::default();
        [FIRST, SECOND_PORT].iter().for_each(|number| servers.listen(&mut stage, *number));
        stage.reactor.io().fault(port(FIRST), NetworkFault::Freeze);
        let (state, core) = stage.reactor.parts();
        race(core, state, [port(FIRST), port(SECOND_PORT)]);
        stage.pass(HEAD_START - 2 * MS + Duration::from_micros(micros));
        stage.reactor.io().heal(port(FIRST));
        stage.pass(60 * SECOND);
        assert!(!stage.state().has_failed, "a connection was made, but `has_failed` is true");
        let received = servers.received.borrow().clone();
        assert_eq!(received.len(), 1, "one connection says hello, but {received:?}");
        assert_eq!(stage.state().winner, Some(port(received[0].0)), "the winner says hello");
        assert_eq!(stage.reactor.connections(), 2, "open: both ends of the winner, and no other");
    }
}

#[test]
fn when_both_fail_the_race_has_failed() {
    let (mut stage, _) = run(&[], None, 10 * MS, SECOND);
    assert!(stage.state().has_failed, "both refused, but `has_failed` is false");
    assert_eq!(stage.state().winner, None, "nobody won");
    let (mut stage, _) = run(&[], Some(FIRST), 10 * MS, 60 * SECOND);
    assert!(stage.state().has_failed, "one is silent, the other refuses, after a minute");
}

#[test]
fn a_slow_first_address_still_wins_when_the_second_refuses() {
    let (mut stage, servers) = run(&[FIRST], None, 200 * MS, 2 * SECOND);
    check_winner(&mut stage, &servers, FIRST);
}
