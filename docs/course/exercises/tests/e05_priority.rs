//! The test of exercise 5.

use crate::support::*;
use exercises::e05_priority::{BATCH, Clerk, Desk};

/// A stage with two normal clients and one of the express port.
fn stage() -> (Stage<Desk>, [Client; 2], Client) {
    let mut stage = Stage::new(Desk::default());
    let [normal, express] =
        [false, true].map(|is_express| stage.listen_lines(move || Clerk { is_express }));
    let clients = [stage.connect(normal), stage.connect(normal)];
    let operator = stage.connect(express);
    (stage, clients, operator)
}

fn lines(name: &str, count: usize) -> String {
    (0..count).map(|number| format!("{name} {number}\n")).collect()
}

fn answers(name: &str, count: usize) -> String {
    (0..count).map(|number| format!("done {name} {number}\n")).collect()
}

#[test]
fn each_line_is_answered_in_order() {
    let (mut stage, [kiwi, emu], operator) = stage();
    for (client, name) in [(&kiwi, "kiwi"), (&emu, "emu"), (&operator, "operator")] {
        stage.send(client, lines(name, 3).as_bytes());
        stage.pass(MS);
        assert_eq!(client.text(), answers(name, 3), "{name} sent three lines");
    }
}

#[test]
fn a_turn_gives_at_most_a_batch_of_answers() {
    let (mut stage, [kiwi, emu], operator) = stage();
    for (client, name) in [(&kiwi, "kiwi"), (&emu, "emu"), (&operator, "operator")] {
        stage.reactor.write(client.id(), lines(name, 45).as_bytes());
    }
    let mut before = 0;
    stage.watch(MS, |_| {
        let all: String = [&kiwi, &emu, &operator].map(Client::text).concat();
        let answers = all.matches("done").count();
        let new = answers - before;
        assert!(new <= BATCH, "a turn gave {new} answers, more than {BATCH}");
        before = answers;
    });
    assert_eq!(kiwi.text(), answers("kiwi", 45), "kiwi sent 45 lines");
}

#[test]
fn a_line_of_the_express_port_is_answered_first() {
    let (mut stage, [kiwi, _], operator) = stage();
    stage.reactor.write(kiwi.id(), lines("kiwi", 1_000).as_bytes());
    stage.reactor.write(operator.id(), lines("operator", 2).as_bytes());
    stage.until("the operator has its answers", |_| operator.text().lines().count() == 2);
    let others = kiwi.text().lines().count();
    assert!(
        others + 2 <= BATCH,
        "{others} normal lines were answered up to the turn that answered the express ones"
    );
    stage.send(&operator, b"now\n");
    assert!(operator.text().ends_with("done now\n"), "it waits while normal lines are answered");
}

#[test]
fn normal_lines_are_answered_in_the_order_of_arrival() {
    let (mut stage, [kiwi, emu], _) = stage();
    stage.reactor.write(kiwi.id(), lines("kiwi", 30).as_bytes());
    stage.turn();
    stage.reactor.write(emu.id(), lines("emu", 1).as_bytes());
    stage.pass(MS);
    let [last, only] = [&kiwi, &emu].map(|client| client.arrivals().last().expect("answers").0);
    assert!(only >= last, "emu came later, and was answered at {only:?}, before {last:?}");
}

#[test]
fn the_loop_does_not_sleep_while_a_line_waits() {
    let (mut stage, [kiwi, _], _) = stage();
    stage.reactor.write(kiwi.id(), lines("kiwi", 100).as_bytes());
    // The only timer is that of `pass`, in ten seconds. A loop that sleeps meanwhile is late.
    stage.pass(10 * SECOND);
    assert_eq!(kiwi.text(), answers("kiwi", 100), "kiwi sent 100 lines");
    let arrivals = kiwi.arrivals();
    let took = arrivals[arrivals.len() - 1].0 - arrivals[0].0;
    assert!(took < MS, "the answers took {took:?}: the loop slept while lines waited");
    let mut turns = 0;
    stage.watch(SECOND, |_| turns += 1);
    assert!(turns <= 3, "{turns} turns in a second in which no line waits: the loop spins");
}

#[test]
fn lines_of_a_client_that_is_gone_hold_up_nobody() {
    let (mut stage, [kiwi, emu], _) = stage();
    stage.reactor.write(kiwi.id(), lines("kiwi", 200).as_bytes());
    stage.turn();
    stage.turn();
    stage.reactor.abort_connection(kiwi.id());
    stage.send(&emu, b"here\n");
    stage.pass(MS);
    assert_eq!(emu.text(), "done here\n", "emu's line waits behind 200 lines of a lost connection");
}
