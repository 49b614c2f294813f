//! The test of exercise 14.

use crate::support::*;
use exercises::e14_farewell::{JOB, Worker};
use std::net::SocketAddr;

fn stage() -> (Stage<()>, SocketAddr) {
    let mut stage = Stage::new(());
    let address = stage.listen_lines(Worker::default);
    (stage, address)
}

/// Stops the reactor, and returns how long that takes.
fn stop(stage: &mut Stage<()>) -> std::time::Duration {
    let begin = stage.now();
    stage.reactor.stop();
    stage.pass(60 * SECOND);
    assert!(stage.reactor.is_stopped(), "the reactor has not stopped within a minute");
    stage.now() - begin
}

#[test]
fn jobs_are_answered_while_the_server_runs() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"work\nwork\n");
    stage.pass(2 * JOB);
    assert_eq!(client.text(), "done\ndone\n", "the client sent two jobs");
    assert!(client.ended_at().is_none(), "the server ended the connection");
}

#[test]
fn an_idle_connection_gets_bye_and_the_server_stops_at_once() {
    let (mut stage, address) = stage();
    let clients = [stage.connect(address), stage.connect(address), stage.connect(address)];
    stage.send(&clients[1], b"wor");
    stage.send(&clients[2], b"work\n");
    stage.pass(2 * JOB);
    let took = stop(&mut stage);
    assert_eq!(clients[0].text(), "bye\n", "a client that sent nothing");
    assert_eq!(clients[1].text(), "bye\n", "a client that sent half a line");
    assert_eq!(clients[2].text(), "done\nbye\n", "a client whose job is done");
    assert!(clients.iter().all(Client::was_closed_in_order), "a connection was reset");
    assert!(took < JOB, "no job was left, but the stop took {took:?}");
}

#[test]
fn jobs_are_finished_before_the_goodbye() {
    let (mut stage, address) = stage();
    let [busy, busier, idle] =
        [stage.connect(address), stage.connect(address), stage.connect(address)];
    stage.send(&busy, b"work\n");
    stage.pass(JOB / 2);
    stage.send(&busier, b"work\nwork\nwork\n");
    let took = stop(&mut stage);
    assert_eq!(idle.text(), "bye\n", "the idle client");
    assert_eq!(busy.text(), "done\nbye\n", "a client with one job");
    assert_eq!(busier.text(), "done\ndone\ndone\nbye\n", "a client with three jobs");
    let [first, second] = [&busy, &busier].map(|it| it.ended_at().expect("it ended"));
    assert!(first < second, "the client whose job was done first had to wait for the other one");
    assert!(took >= JOB * 9 / 10, "the stop took {took:?}, less than the last job");
    assert!(took < JOB * 11 / 10, "the stop took {took:?}, but the last job only {JOB:?}");
}

#[test]
fn a_line_after_the_shutdown_began_is_no_job() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"work\n");
    let id = client.id();
    stage.reactor.call_later(JOB / 2, move |_, core| core.write(id, b"work\n"));
    let took = stop(&mut stage);
    assert_eq!(client.text(), "closing\ndone\nbye\n", "one job before the stop, and one after it");
    assert!(took < JOB * 11 / 10, "the stop took {took:?}, but the only job {JOB:?}");
}

#[test]
fn a_client_that_is_gone_does_not_hold_up_the_stop() {
    let (mut stage, address) = stage();
    let [gone, idle] = [stage.connect(address), stage.connect(address)];
    stage.send(&gone, b"work\n");
    stage.abort(&gone);
    let took = stop(&mut stage);
    assert_eq!(idle.text(), "bye\n", "the idle client");
    assert!(took < JOB, "the only client with a job is gone, but the stop took {took:?}");
}
