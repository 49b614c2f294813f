//! Limits how often a neighbour's new connection may replace a link that is still open.
//!
//! In: the time of a new connection. Out: whether it replaces the link. It knows no connection and no log.
//!
//! A server that was killed and restarted may be back before its neighbour notices the loss. Then the new connection is
//! right, and the old one is dead. If two servers claim one name, each new connection looks right, and they would take
//! the link from each other as fast as they can dial. Only the frequency distinguishes the two cases:
//!
//! ```text
//!   five in 60 s: at once ─▶ then a pause after each: first, doubled up to max ─▶ 60 s without one: at once again
//! ```
//!
//! The same rule judges a neighbour that we dial: it was killed and restarted, or it ends each link.

use herd_reactor::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// The number of replacements without a pause within [`WITHIN`].
pub(crate) const AT_ONCE: usize = 5;

/// How long a replacement counts, and the minimum time without one after which all are forgotten.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// The replacements of one link.
#[derive(Debug, Default)]
pub(crate) struct Replacements {
    /// The times of the replacements that count, the oldest first; empty while pauses apply.
    recent: VecDeque<Moment>,
    /// The time of the last replacement.
    last: Option<Moment>,
    /// The pause after the last replacement; `None` until there are too many.
    pause: Option<Duration>,
}

/// The decision on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// `Ok`: the connection replaces the link. `Err`: the connection is rejected, and a new one may replace the link
    /// after this time.
    pub(crate) outcome: Result<(), Duration>,
    /// Whether there were too many replacements, for the first time since the last reset. This is worth a warning.
    pub(crate) is_alarming: bool,
}

impl Replacements {
    /// Returns the pause after the last replacement; zero while no pause applies.
    pub(crate) fn pause(&self) -> Duration {
        self.pause.unwrap_or_default()
    }

    /// Decides on a new connection at `now`, while the link is open. `first`, `max`: the first and the longest pause.
    pub(crate) fn rule(&mut self, now: Moment, first: Duration, max: Duration) -> Ruling {
        // A pause may be longer than WITHIN. A connection that only observes its pause must not reset it.
        let calm = WITHIN.max(2 * self.pause.unwrap_or_default());
        if self.last.is_none_or(|last| now - last >= calm) {
            *self = Replacements::default();
        }
        self.recent.retain(|at| now - *at < WITHIN);
        let is_alarming = self.recent.len() >= AT_ONCE;
        if is_alarming {
            self.recent.clear();
            self.pause = Some(first);
        }
        match (self.pause, self.last) {
            (Some(pause), Some(last)) if now - last < pause => {
                return Ruling { outcome: Err(pause - (now - last)), is_alarming };
            }
            (Some(pause), _) => self.pause = Some((2 * pause).min(max)),
            (None, _) => self.recent.push_back(now),
        }
        self.last = Some(now);
        Ruling { outcome: Ok(()), is_alarming }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_millis(5_000);

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// Tries a new connection every millisecond, from `start` on for `millis`; returns when they replace the link.
    fn attack(link: &mut Replacements, start: u64, millis: u64) -> Vec<u64> {
        (start..start + millis)
            .filter(|now| link.rule(at(*now), FIRST, MAX).outcome.is_ok())
            .collect()
    }

    #[test]
    fn five_replace_at_once_then_the_pause_doubles_up_to_the_most() {
        let made = attack(&mut Replacements::default(), 1_000, 60_000);
        let pauses: Vec<u64> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses[..9], [1, 1, 1, 1, 200, 400, 800, 1_600, 3_200]);
        assert!(pauses[9..].iter().all(|pause| *pause == 5_000), "{pauses:?}");
        assert_eq!(made.len(), 20);
    }

    #[test]
    fn a_pause_longer_than_a_minute_is_kept_too() {
        let max = Duration::from_secs(300);
        let mut link = Replacements::default();
        let tries = (0..20_000).map(|tenth| tenth * 100);
        let made: Vec<u64> =
            tries.filter(|now| link.rule(at(*now), FIRST, max).outcome.is_ok()).collect();
        let pauses: Vec<u64> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[3..].windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&300_000));
    }

    #[test]
    fn it_is_calm_when_sixty_seconds_have_passed_without_one() {
        let mut link = Replacements::default();
        let last = *attack(&mut link, 0, 30_000).last().expect("there were many");
        assert_ne!(link.rule(at(last + 1), FIRST, MAX).outcome, Ok(()));
        assert_eq!(attack(&mut link, last + 60_000, 205).len(), 6, "as at the first time");
    }

    #[test]
    fn it_is_alarming_once_until_it_is_calm() {
        let mut link = Replacements::default();
        let mut alarms = |start: u64| -> Vec<u64> {
            let times = (0..100).map(|n| start + 100 * n);
            times.filter(|now| link.rule(at(*now), FIRST, MAX).is_alarming).collect()
        };
        assert_eq!(alarms(0), [500], "at the sixth");
        assert!(alarms(10_000).is_empty());
        assert_eq!(alarms(90_000), [90_500]);
    }

    #[test]
    fn a_rejection_says_when_to_retry_and_does_not_count() {
        let mut link = Replacements::default();
        (0..5).for_each(|now| assert_eq!(link.rule(at(now), FIRST, MAX).outcome, Ok(())));
        for now in 5..204 {
            let left = Duration::from_millis(204 - now);
            assert_eq!(link.rule(at(now), FIRST, MAX).outcome, Err(left));
        }
        assert_eq!(link.rule(at(204), FIRST, MAX).outcome, Ok(()));
    }

    #[test]
    fn ten_in_thirty_seconds_wait_for_at_most_a_tenth_of_their_interval() {
        let mut link = Replacements::default();
        for kill in 0..10 {
            let killed = 3_000 * kill;
            let mut tries = (killed..killed + 300).map(|now| link.rule(at(now), FIRST, MAX));
            assert!(tries.any(|ruling| ruling.outcome.is_ok()), "{kill}: it is back");
        }
    }

    #[test]
    fn a_slow_restart_loop_is_never_held_up() {
        let mut link = Replacements::default();
        for n in 0..1_000 {
            let ruling = link.rule(at(n * 12_000), FIRST, MAX);
            assert_eq!(ruling, Ruling { outcome: Ok(()), is_alarming: false }, "{n}");
        }
    }
}
