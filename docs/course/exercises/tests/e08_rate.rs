//! The test of exercise 8.

use crate::support::*;
use exercises::e08_rate::{BURST, INTERVAL, Limited, Limiter};
use herd_reactor::Moment;
use std::time::Duration;

/// How many of the lines at these times are allowed.
fn allowed(limiter: &mut Limiter, times: impl IntoIterator<Item = Duration>) -> usize {
    let moments = times.into_iter().map(|time| Moment::default() + time);
    moments.filter(|now| limiter.allow(*now)).count()
}

#[test]
fn a_burst_is_allowed_at_once_and_no_line_more() {
    for pause in [Duration::ZERO, SECOND, 3_600 * SECOND] {
        let mut limiter = Limiter::default();
        let count = allowed(&mut limiter, [pause; 20]);
        assert_eq!(count, BURST as usize, "lines allowed of 20 at once, after {pause:?}");
        let count = allowed(&mut limiter, [pause + 3_600 * SECOND; 20]);
        assert_eq!(count, BURST as usize, "lines allowed of 20 at once, an hour after a burst");
    }
}

#[test]
fn after_a_burst_one_more_line_is_allowed_per_interval() {
    let mut limiter = Limiter::default();
    allowed(&mut limiter, [SECOND; 5]);
    for number in 1..=20 {
        let time = SECOND + number * INTERVAL;
        let early = allowed(&mut limiter, [time - Duration::from_nanos(1)]);
        assert_eq!(early, 0, "a line a nanosecond before interval {number} has passed");
        let count = allowed(&mut limiter, [time, time, time]);
        assert_eq!(count, 1, "lines allowed of 3 when interval {number} has passed");
    }
}

#[test]
fn a_line_every_interval_is_allowed_for_ever() {
    let mut limiter = Limiter::default();
    let count = allowed(&mut limiter, (0..100_000).map(|number| number * INTERVAL));
    assert_eq!(count, 100_000, "lines allowed of 100,000, one every {INTERVAL:?}");
}

#[test]
fn lines_that_are_not_allowed_cost_nothing() {
    let mut limiter = Limiter::default();
    let count = allowed(&mut limiter, (0..100_000).map(|number| number * MS));
    // 100 s at 10 lines a second, and the burst.
    assert_eq!(
        count,
        1_000 + BURST as usize - 1,
        "lines allowed in 100 s of a line per millisecond"
    );
}

#[test]
fn connections_do_not_share_a_limit_and_need_no_timer() {
    let mut stage = Stage::new(());
    let address = stage.listen_lines(Limited::default);
    let before = stage.reactor.timers_pending();
    let clients = [stage.connect(address), stage.connect(address)];
    for client in &clients {
        stage.send(client, &b"line\n".repeat(7));
        assert_eq!(
            client.text(),
            "ok\n".repeat(5) + "slow down\nslow down\n",
            "seven lines at once"
        );
    }
    assert_eq!(
        stage.reactor.timers_pending(),
        before,
        "timers are pending; the limiter needs none"
    );
    stage.pass(2 * INTERVAL);
    stage.send(&clients[0], &b"line\n".repeat(3));
    let answers = clients[0].text();
    assert!(answers.ends_with("down\nok\nok\nslow down\n"), "200 ms later: {answers:?}");
}
