//! The test of exercise 13.

use crate::support::*;
use exercises::e13_after_fin::{THOUGHT, WordCount};
use herd_reactor::factory;
use std::net::SocketAddr;

fn stage() -> (Stage<()>, SocketAddr) {
    let mut stage = Stage::new(());
    let address = stage.listen(factory(|_, _| Some(WordCount::default())));
    (stage, address)
}

#[test]
fn the_answer_comes_after_the_clients_end() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"to and\n");
    stage.send(&client, b"fro\n");
    let begin = stage.now();
    stage.end(&client);
    stage.pass(THOUGHT / 2);
    assert!(client.ended_at().is_none(), "the server ended the connection before its answer");
    assert_eq!(client.text(), "", "the answer came before {THOUGHT:?} had passed");
    stage.pass(THOUGHT);
    assert_eq!(client.text(), "2 11\n", "the answer to \"to and\\nfro\\n\" and the end");
    let took = client.first_at().unwrap() - begin;
    assert!(took < THOUGHT + 10 * MS, "the answer came {took:?} after the end");
}

#[test]
fn after_the_answer_the_server_ends_the_connection() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.end(&client);
    stage.pass(2 * THOUGHT);
    assert_eq!(client.text(), "0 0\n", "the answer to an empty text");
    assert!(client.was_closed_in_order(), "two seconds later the connection is still open");
    assert_eq!(stage.reactor.connections(), 0, "connections that are left in the reactor");
}

#[test]
fn a_client_that_has_not_ended_gets_no_answer() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"one\n");
    stage.pass(10 * THOUGHT);
    assert_eq!(client.text(), "", "the client may still send something");
    assert!(client.ended_at().is_none(), "the server ended the connection");
    stage.send(&client, b"two\n");
    stage.end(&client);
    stage.pass(2 * THOUGHT);
    assert_eq!(client.text(), "2 8\n", "the answer to \"one\\ntwo\\n\"");
}

#[test]
fn a_client_that_is_gone_meanwhile_harms_nobody() {
    let (mut stage, address) = stage();
    let [gone, client] = [stage.connect(address), stage.connect(address)];
    for it in [&gone, &client] {
        stage.send(it, b"text");
        stage.end(it);
    }
    stage.abort(&gone);
    stage.pass(2 * THOUGHT);
    assert_eq!(client.text(), "0 4\n", "the answer to the client that stayed");
    assert_eq!(stage.reactor.connections(), 0, "connections that are left in the reactor");
}
