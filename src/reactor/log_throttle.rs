//! Warnings that may occur thousands of times a second, as one log line a second that loses none of them.
//!
//! In: occurrences, each counted under a key. Out: log lines `limit: connections = 1: 72 clients turned away`, whose
//! numbers add up to all occurrences. A limit that cuts thousands must not fill the disk with their names.
//!
//! ```text
//!   log ──first for a second──▶ line
//!     └──later──▶ count ──due: the second has passed──▶ report ──▶ line
//!                     └──dropped, as at exit──────────────────────▶ line
//! ```
//!
//! It sets no timer. The owner calls [`report`](LogThrottle::report) when [`due`](LogThrottle::due) says so, and that is
//! never while nothing is counted: an idle server does not wake for it.

use crate::Moment;
use log::Level;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long further occurrences are only counted after a line.
const EVERY: Duration = Duration::from_secs(1);

/// Names one warning: a word, and a number where several share the word (a connection's, a port's).
pub type ThrottleKey = (&'static str, u32);

/// The warnings of one owner, with what is counted of each and not yet logged.
#[derive(Debug, Default)]
pub struct LogThrottle {
    /// Those that were logged within the last second or have something counted; others until the next is added.
    warnings: Vec<Warning>,
    /// How often each word of a key has occurred since the start.
    totals: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Warning {
    key: ThrottleKey,
    logged: Moment,
    counted: Option<Counted>,
}

/// Occurrences that no line has told yet, in the words of the first of them.
#[derive(Debug)]
struct Counted {
    times: u64,
    level: Level,
    what: String,
    outcome: &'static str,
}

impl LogThrottle {
    /// Something has occurred `times` more. Logs `<what>: <times> <outcome>`, of which the first word is a noun in the
    /// plural, whose `s` is left out for one; unless `key` was logged within the last
    /// second; then it is counted for the next line. Formats `what` for the first one counted only. Not even once is nothing.
    pub fn log(
        &mut self,
        now: Moment,
        level: Level,
        key: ThrottleKey,
        what: fmt::Arguments<'_>,
        times: u64,
        outcome: &'static str,
    ) {
        if times == 0 {
            return;
        }
        *self.totals.entry(key.0).or_default() += times;
        let times = match self.warnings.iter_mut().find(|warning| warning.key == key) {
            Some(warning) if now - warning.logged < EVERY => {
                let first = || Counted { times: 0, level, what: what.to_string(), outcome };
                warning.counted.get_or_insert_with(first).times += times;
                return;
            }
            Some(warning) => {
                warning.logged = now;
                times + warning.counted.take().map_or(0, |counted| counted.times)
            }
            None => {
                let counts = |it: &Warning| it.counted.is_some() || now - it.logged < EVERY;
                self.warnings.retain(counts);
                self.warnings.push(Warning { key, logged: now, counted: None });
                times
            }
        };
        write(level, what, times, outcome);
    }

    /// How often warnings whose key has this word have occurred since the start, logged or not.
    pub fn total(&self, word: &str) -> u64 {
        self.totals.get(word).copied().unwrap_or(0)
    }

    /// When the next line is due; never, if nothing is counted.
    pub fn due(&self) -> Option<Moment> {
        let counted = self.warnings.iter().filter(|warning| warning.counted.is_some());
        counted.map(|warning| warning.logged + EVERY).min()
    }

    /// Logs what was counted more than a second ago.
    pub fn report(&mut self, now: Moment) {
        for warning in self.warnings.iter_mut().filter(|warning| now - warning.logged >= EVERY) {
            if let Some(counted) = warning.counted.take() {
                warning.logged = now;
                counted.log();
            }
        }
    }

    /// Logs all that was counted: nothing follows.
    pub fn report_all(&mut self) {
        self.warnings.drain(..).filter_map(|warning| warning.counted).for_each(|it| it.log());
    }
}

impl Drop for LogThrottle {
    fn drop(&mut self) {
        self.report_all();
    }
}

impl Counted {
    fn log(self) {
        let Counted { times, level, what, outcome } = self;
        write(level, format_args!("{what}"), times, outcome);
    }
}

fn write(level: Level, what: fmt::Arguments<'_>, times: u64, outcome: &str) {
    let (noun, rest) = outcome.split_once(' ').unwrap_or((outcome, ""));
    let singular = noun.strip_suffix('s').filter(|_| times == 1);
    log::log!(level, "{what}: {times} {} {rest}", singular.unwrap_or(noun));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn happened(throttle: &mut LogThrottle, key: ThrottleKey, millis: u64) {
        throttle.log(at(millis), Level::Warn, key, format_args!("limit: n = {millis}"), 1, "cut");
    }

    fn counted(throttle: &LogThrottle) -> Vec<(u64, &str)> {
        let counted = throttle.warnings.iter().filter_map(|warning| warning.counted.as_ref());
        counted.map(|counted| (counted.times, &*counted.what)).collect()
    }

    #[test]
    fn what_occurs_within_a_second_of_a_line_is_counted_and_due_when_the_second_has_passed() {
        let mut throttle = LogThrottle::default();
        happened(&mut throttle, ("n", 0), 500);
        assert_eq!(throttle.due(), None, "it is logged at once");
        happened(&mut throttle, ("n", 0), 501);
        happened(&mut throttle, ("n", 0), 1_499);
        assert_eq!(counted(&throttle), [(2, "limit: n = 501")]);
        assert_eq!(throttle.due(), Some(at(1_500)));
        throttle.report(at(1_499));
        assert_eq!(throttle.due(), Some(at(1_500)), "not before its time");
        throttle.report(at(1_500));
        assert_eq!((throttle.due(), counted(&throttle)), (None, vec![]));
        happened(&mut throttle, ("n", 0), 1_600);
        assert_eq!(throttle.due(), Some(at(2_500)), "a report is a line, too");
    }

    #[test]
    fn what_has_occurred_not_even_once_is_no_line() {
        let mut throttle = LogThrottle::default();
        throttle.log(at(500), Level::Warn, ("n", 0), format_args!("n"), 0, "cut");
        assert!(throttle.warnings.is_empty() && throttle.due().is_none());
    }

    #[test]
    fn keys_are_counted_apart_and_summed_by_their_word() {
        let mut throttle = LogThrottle::default();
        for (key, millis) in [("n", 0), ("m", 10), ("n", 20), ("m", 30), ("n", 40)] {
            happened(&mut throttle, (key, 7), millis);
            happened(&mut throttle, (key, 8), millis);
        }
        assert_eq!(["n", "m", "none"].map(|word| throttle.total(word)), [6, 4, 0]);
        let expected = [(2, "limit: n = 20"), (2, "limit: n = 20"), (1, "limit: n = 30")];
        assert_eq!(counted(&throttle)[..3], expected);
        assert_eq!(throttle.due(), Some(at(1_000)));
    }

    #[test]
    fn only_what_was_logged_within_the_last_second_is_remembered() {
        let mut throttle = LogThrottle::default();
        for number in 0..10_000 {
            happened(&mut throttle, ("n", number), u64::from(number));
        }
        assert_eq!(throttle.warnings.len(), 1_000);
    }

    #[test]
    fn what_was_counted_is_in_the_next_line_whatever_comes_first() {
        let mut throttle = LogThrottle::default();
        [0, 1, 2_000].into_iter().for_each(|millis| happened(&mut throttle, ("n", 0), millis));
        assert_eq!((throttle.due(), counted(&throttle)), (None, vec![]));
        happened(&mut throttle, ("n", 0), 2_001);
        assert_eq!(counted(&throttle), [(1, "limit: n = 2001")]);
        throttle.report_all();
        assert_eq!((throttle.due(), counted(&throttle)), (None, vec![]));
    }
}
