//! The test of exercise 2.

use crate::support::*;
use exercises::e02_slices::{SLICE, Sums, Work};
use std::net::SocketAddr;

const LONG: &[u8] = b"200000\n";
const LONG_SUM: &str = "20000100000\n";

fn stage() -> (Stage<Work>, SocketAddr) {
    let mut stage = Stage::new(Work::default());
    let address = stage.listen_lines(Sums::default);
    (stage, address)
}

#[test]
fn the_sums_are_right() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"10\n");
    stage.send(&client, b"0\n");
    stage.send(&client, LONG);
    stage.pass(SECOND);
    assert_eq!(client.text(), format!("55\n0\n{LONG_SUM}"), "the client sent 10, 0 and 200000");
}

#[test]
fn a_short_job_is_answered_while_a_long_one_runs() {
    let (mut stage, address) = stage();
    let [patient, quick] = [stage.connect(address), stage.connect(address)];
    stage.reactor.write(patient.id(), LONG);
    stage.reactor.write(quick.id(), b"3\n");
    stage.pass(SECOND);
    assert_eq!((patient.text(), quick.text()), (LONG_SUM.to_owned(), "6\n".to_owned()));
    let [long, short] = [&patient, &quick].map(|client| client.first_at().unwrap());
    assert!(
        short < long,
        "the sum to 3 arrived at {short:?}, not before the sum to 200000, at {long:?}"
    );
}

#[test]
fn a_turn_takes_at_most_one_slice_of_each_job() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"200000\n500\n5000\n");
    stage.pass(SECOND);
    assert!(client.text().ends_with("12502500\n"), "the last sum is missing: {:?}", client.text());
    let most = stage.state().most_steps;
    assert!(most <= SLICE, "one client, but a turn took {most} steps, more than {SLICE}");

    let (mut stage, address) = self::stage();
    let clients = [stage.connect(address), stage.connect(address)];
    clients.iter().for_each(|client| stage.reactor.write(client.id(), LONG));
    stage.pass(SECOND);
    let most = stage.state().most_steps;
    assert!(most <= 2 * SLICE, "two clients, but a turn took {most} steps, more than 2 * {SLICE}");
    let ended = clients.each_ref().map(|client| client.first_at().expect("a sum"));
    let apart = ended[1].abs_diff(ended[0]);
    assert!(apart < MS / 10, "two equal jobs did not share the turns: they ended {apart:?} apart");
}

#[test]
fn two_numbers_at_once_get_two_answers_in_order() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"200000\n4\n1\n");
    stage.pass(SECOND);
    assert_eq!(client.text(), format!("{LONG_SUM}10\n1\n"), "the client sent 200000, 4 and 1");
}

#[test]
fn the_loop_does_not_sleep_while_a_job_runs() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    let begin = stage.now();
    stage.send(&client, LONG);
    stage.pass(SECOND);
    let took = client.first_at().expect("a sum") - begin;
    assert!(took < 5 * MS, "200 slices took {took:?}: the loop slept while a job was left");
}

#[test]
fn the_loop_sleeps_when_no_job_is_left() {
    let (mut stage, address) = stage();
    let client = stage.connect(address);
    stage.send(&client, b"5000\n");
    stage.pass(SECOND);
    let mut turns = 0;
    stage.watch(SECOND, |_| turns += 1);
    assert!(turns <= 3, "{turns} turns in a second in which no job runs: a timer repeats itself");
}
