//! Throttles warnings that may occur thousands of times a second to one log line a second, without losing any.
//!
//! In: occurrences, each with a key. Out: log lines such as `limit: connections = 1: 72 clients turned away`, whose
//! numbers add up to all occurrences. So a limit that rejects thousands of clients does not fill the disk.
//!
//! ```text
//!   log ──first for a second──▶ line
//!     └──later──▶ count ──due: the second has passed──▶ report ──▶ line
//!                     └──dropped, as at exit──────────────────────▶ line
//! ```
//!
//! The throttle sets no timer. Its owner calls [`report`](LogThrottle::report) at the time [`due`](LogThrottle::due).
//! While nothing is counted that is never, so an idle server does not wake up for it.

use crate::Moment;
use log::Level;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The shortest time between two log lines of one key.
const EVERY: Duration = Duration::from_secs(1);

/// Identifies one warning: a word, and a number (of a connection or a port) where several warnings share the word.
pub type ThrottleKey = (&'static str, u32);

/// A throttle: the warnings logged recently, and the occurrences counted but not yet logged.
#[derive(Debug, Default)]
pub struct LogThrottle {
    /// Warnings that were logged within the last second or have occurrences counted. Older ones stay until the next
    /// warning is added.
    warnings: Vec<Warning>,
    /// The number of occurrences since the start, by the word of the key.
    totals: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Warning {
    key: ThrottleKey,
    logged: Moment,
    counted: Option<Counted>,
}

/// Occurrences not yet logged, with the text of the first of them.
#[derive(Debug)]
struct Counted {
    times: u64,
    level: Level,
    what: String,
    outcome: &'static str,
}

impl LogThrottle {
    /// Logs `<what>: <times> <outcome>`, or only counts the occurrences if `key` was logged within the last second.
    ///
    /// `outcome` begins with a noun in the plural; its `s` is left out if `times` is 1. `what` is formatted only for a
    /// line and for the first occurrence counted. If `times` is 0, nothing happens.
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
        write(level, key, what, times, outcome);
    }

    /// The number of occurrences since the start of all warnings with this word in their key, logged or not.
    pub fn total(&self, word: &str) -> u64 {
        self.totals.get(word).copied().unwrap_or(0)
    }

    /// The time when the next line is due; `None` while nothing is counted.
    pub fn due(&self) -> Option<Moment> {
        let counted = self.warnings.iter().filter(|warning| warning.counted.is_some());
        counted.map(|warning| warning.logged + EVERY).min()
    }

    /// Logs the counted occurrences of each key whose last line is at least a second old.
    pub fn report(&mut self, now: Moment) {
        for warning in self.warnings.iter_mut().filter(|warning| now - warning.logged >= EVERY) {
            if let Some(counted) = warning.counted.take() {
                warning.logged = now;
                counted.log(warning.key);
            }
        }
    }

    /// Logs all counted occurrences at once, as at the end.
    pub fn report_all(&mut self) {
        let counted =
            self.warnings.drain(..).filter_map(|it| it.counted.map(|counted| (it.key, counted)));
        counted.for_each(|(key, counted)| counted.log(key));
    }
}

impl Drop for LogThrottle {
    fn drop(&mut self) {
        self.report_all();
    }
}

impl Counted {
    fn log(self, key: ThrottleKey) {
        let Counted { times, level, what, outcome } = self;
        write(level, key, format_args!("{what}"), times, outcome);
    }
}

fn write(level: Level, key: ThrottleKey, what: fmt::Arguments<'_>, times: u64, outcome: &str) {
    let (noun, rest) = outcome.split_once(' ').unwrap_or((outcome, ""));
    let singular = noun.strip_suffix('s').filter(|_| times == 1);
    log::log!(
        level, event = "throttled", key = key.0, count = times;
        "{what}: {times} {} {rest}", singular.unwrap_or(noun)
    );
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
