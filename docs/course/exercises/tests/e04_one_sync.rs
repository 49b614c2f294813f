//! The test of exercise 4.

use crate::support::*;
use exercises::e04_one_sync::{Keeper, Store};

/// A stage with five clients.
fn stage() -> (Stage<Store>, Vec<Client>) {
    let mut stage = Stage::new(Store::default());
    let address = stage.listen_lines(|| Keeper);
    let clients = (0..5).map(|_| stage.connect(address)).collect();
    (stage, clients)
}

fn oks(clients: &[Client]) -> usize {
    clients.iter().map(|client| client.text().lines().filter(|line| *line == "ok").count()).sum()
}

#[test]
fn each_line_is_answered_and_safe() {
    let (mut stage, clients) = stage();
    stage.send(&clients[0], b"one\ntwo\n");
    assert_eq!(clients[0].text(), "ok\nok\n", "the client sent two lines");
    assert_eq!(stage.state().journal.safe, 2, "lines that are safe");
}

#[test]
fn a_turn_syncs_once_for_all_its_lines() {
    let (mut stage, clients) = stage();
    for client in &clients {
        stage.reactor.write(client.id(), &b"a line\n".repeat(20));
    }
    stage.pass(MS);
    assert_eq!(oks(&clients), 100, "the five clients sent 100 lines");
    let syncs = stage.state().journal.syncs;
    assert_eq!(syncs, 1, "100 lines arrived in one turn, and the journal was synced {syncs} times");
}

#[test]
fn no_ok_leaves_before_its_line_is_safe() {
    let (mut stage, clients) = stage();
    for round in 0..50 {
        stage.reactor.write(clients[round % 5].id(), &b"a line\n".repeat(round));
        stage.turn();
        let (oks, safe) = (oks(&clients), stage.state().journal.safe);
        assert!(oks <= safe, "the clients have {oks} oks, but only {safe} lines are safe");
    }
    stage.pass(MS);
    assert_eq!(oks(&clients), (0..50).sum::<usize>(), "each line gets an ok");
}

#[test]
fn a_turn_without_a_line_does_not_sync() {
    let (mut stage, clients) = stage();
    stage.send(&clients[0], b"one\n");
    stage.pass(SECOND);
    stage.send(&clients[1], b"half a li");
    let syncs = stage.state().journal.syncs;
    assert_eq!(syncs, 1, "one line was sent, and the journal was synced {syncs} times");
}

#[test]
fn after_a_failed_sync_no_ok_leaves_and_the_loop_ends() {
    let (mut stage, clients) = stage();
    stage.send(&clients[0], b"one\n");
    stage.state().journal.is_broken = true;
    stage.reactor.write(clients[1].id(), b"two\n");
    stage.reactor.call_later(SECOND, |_, core| core.stop());
    let ended = stage.reactor.run();
    assert_eq!(oks(&clients), 1, "only the first line is safe, but there are more oks");
    let why = ended.expect_err("the loop goes on, although the sync has failed").to_string();
    assert!(why.contains("the disk is broken"), "the loop ended by {why:?}");
}
