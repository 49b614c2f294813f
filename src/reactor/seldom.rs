//! When something that may happen thousands of times a second is worth a log line.

use super::Moment;
use std::time::Duration;

/// How long what happens again is only counted.
const EVERY: Duration = Duration::from_secs(1);

/// Counts what happens, and lets it be told the first time and then once a second: a limit that cuts
/// thousands must not fill the disk with their names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seldom {
    untold: u64,
    told: Option<Moment>,
}

impl Seldom {
    /// It has happened `times` more. Returns how often since it was last told, if it is to be told
    /// now.
    pub fn happened(&mut self, times: u64, now: Moment) -> Option<u64> {
        self.untold += times;
        if self.told.is_some_and(|told| now - told < EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_then_once_a_second_with_the_number() {
        let mut seldom = Seldom::default();
        let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
        assert_eq!(seldom.happened(1, at(0)), Some(1));
        assert_eq!(seldom.happened(1, at(1)), None);
        assert_eq!(seldom.happened(40, at(999)), None);
        assert_eq!(seldom.happened(1, at(1_000)), Some(42));
        assert_eq!(seldom.happened(1, at(5_000)), Some(1));
    }
}
