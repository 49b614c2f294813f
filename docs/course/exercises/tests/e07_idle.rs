//! The test of exercise 7.

use crate::support::*;
use exercises::e07_idle::{Echo, IDLE};
use herd_reactor::factory;
use std::net::SocketAddr;

fn stage() -> (Stage<()>, SocketAddr) {
    let mut stage = Stage::new(());
    let address = stage.listen(factory(|_, _| Some(Echo::default())));
    (stage, address)
}

#[test]
fn a_silent_client_is_closed_in_time() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    let begin = stage.now();
    stage.pass(IDLE - 10 * MS);
    assert!(client.ended_at().is_none(), "the connection was closed before {IDLE:?} had passed");
    stage.pass(SECOND);
    let ended = client.ended_at().expect("a client that was silent for 11 s is still connected");
    assert!(ended < begin + IDLE + 10 * MS, "closed {:?} after the beginning", ended - begin);
    assert!(client.was_closed_in_order(), "the connection was reset: {:?}", client.lost());
}

#[test]
fn a_client_that_speaks_from_time_to_time_stays() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    for _ in 0..10 {
        stage.pass(IDLE * 9 / 10);
        stage.send(&client, b".");
        assert!(client.ended_at().is_none(), "it spoke within {IDLE:?}, and was closed");
    }
    assert_eq!(client.text(), "..........", "the server echoes");
    let last = stage.now();
    stage.pass(2 * IDLE);
    let ended = client.ended_at().expect("a client that became silent is still connected") - last;
    assert!(
        (IDLE - 10 * MS..IDLE + 10 * MS).contains(&ended),
        "closed {ended:?} after the last byte, not {IDLE:?}"
    );
}

#[test]
fn each_connection_has_its_own_time() {
    let (mut stage, address) = stage();
    let silent = stage.connect(address);
    stage.pass(IDLE / 2);
    let talking = stage.connect(address);
    stage.pass(IDLE / 2 + SECOND);
    assert!(silent.ended_at().is_some(), "the silent client is still connected");
    assert!(talking.ended_at().is_none(), "the other client was closed, too");
}

#[test]
fn a_connection_has_one_timer() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    let clients = [client, stage.connect(address)];
    for _ in 0..100 {
        clients.iter().for_each(|client| stage.send(client, b"."));
    }
    let timers = stage.reactor.timers_pending();
    assert!(timers <= 2, "{timers} timers are pending for 2 connections");
}

#[test]
fn a_connection_that_is_gone_leaves_no_timer() {
    let (mut stage, address) = stage();
    for round in 0..10 {
        let client = stage.connect(address);
        stage.send(&client, b".");
        match round % 2 {
            0 => stage.close(&client),
            _ => stage.abort(&client),
        }
    }
    stage.pass(SECOND);
    let timers = stage.reactor.timers_pending();
    assert_eq!(timers, 0, "no connection is open, but {timers} timers are pending");
}
