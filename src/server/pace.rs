//! How long a client may send no command (`idle_client_ms`), and how fast its commands are read (`commands_per_second`).
//!
//! In: the time of each command. Out: how long to wait before the next one is read. It sets no timer.
//!
//! The idea: a bucket holds the commands of one second. Each command takes one out, and the bucket fills up again at the
//! limit's rate. Instead of the bucket's contents, [`Pace`] keeps the time at which it will be full, so that a command
//! costs one addition and one comparison (the generic cell rate algorithm). When the bucket is empty, reading pauses for
//! at least [`PAUSE_MIN`], so that a fast client causes ten timers a second and not one for each command.

use herd_reactor::{Moment, TimerId};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The pace of one client. A connection that is made while neither limit is set has none.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time of the last command, or of the connection.
    pub(super) heard: Moment,
    /// The time at which the bucket will be full.
    full: Moment,
    /// The timer that checks whether the client is idle.
    pub(super) idle: Option<TimerId>,
    /// The timer that ends the pause, while reading is paused.
    pub(super) pause: Option<TimerId>,
}

impl Pace {
    pub(super) fn new(now: Moment, idle: Option<TimerId>) -> Pace {
        Pace { heard: now, full: now, idle, pause: None }
    }

    /// Notes a command. Returns how long to wait before the next one is read; `None` if it may be read at once.
    pub(super) fn command(&mut self, now: Moment, per_second: Option<u32>) -> Option<Duration> {
        self.heard = now;
        let each = SECOND / per_second?;
        self.full = self.full.max(now) + each;
        let until_next = (self.full - now + each).saturating_sub(SECOND);
        (!until_next.is_zero()).then(|| until_next.max(PAUSE_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_commands_of_a_second_are_read_at_once_and_the_next_one_later() {
        for per_second in [1, 2, 10, 1_000] {
            let mut pace = Pace::new(at(0), None);
            for _ in 1..per_second {
                assert_eq!(pace.command(at(0), Some(per_second)), None);
            }
            let pause = pace.command(at(0), Some(per_second));
            assert_eq!(pause, Some((SECOND / per_second).max(PAUSE_MIN)), "{per_second}");
        }
    }

    #[test]
    fn without_a_limit_nothing_waits_and_a_command_is_noted() {
        let mut pace = Pace::new(at(0), None);
        for millis in 0..10_000 {
            assert_eq!(pace.command(at(millis), None), None);
        }
        assert_eq!(pace.heard, at(9_999));
    }

    proptest! {
        /// A client that sends as fast as it is read, or pauses as it likes, is never read faster than the limit, but for the
        /// commands of one second; and it is read as fast as that if it always has a command.
        #[test]
        fn no_client_is_read_faster_than_its_limit_and_a_busy_one_not_slower(
            per_second in 1_u32..200,
            pauses in prop::collection::vec(0_u64..3_000, 1..300),
            is_busy: bool,
        ) {
            let (mut pace, mut now, mut read) = (Pace::new(at(0), None), at(0), 0_u32);
            for pause in pauses {
                let own = if is_busy { Duration::ZERO } else { Duration::from_micros(pause) };
                now = now + pace.command(now, Some(per_second)).unwrap_or_default().max(own);
                read += 1;
                let most = (now - at(0)).as_secs_f64() * f64::from(per_second);
                prop_assert!(f64::from(read) <= most + f64::from(per_second) + 0.001);
                if is_busy {
                    let least = most - 0.1 * f64::from(per_second) - 1.001;
                    prop_assert!(f64::from(read) >= least, "{read} {least}");
                }
            }
        }
    }
}
