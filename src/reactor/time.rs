//! Two clocks, with two types that the compiler keeps apart.
//!
//! [`Moment`] is monotonic time, for deadlines and delays; it never goes back. [`UnixNanos`] is wall-clock time, for
//! comparison with time stamps of others. Twisted times its calls by the wall clock (python/runtime.py), so setting the
//! clock back stalls its timers.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in monotonic time, in nanoseconds since the reactor's [`Io`](crate::Io) was created.
///
/// Only moments of the same reactor can be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The moment `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates, so that a delay of centuries means never and does not panic.
    fn add(self, delay: Duration) -> Moment {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Wall-clock time: nanoseconds since the Unix epoch. The type suffices until the year 2554.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixNanos(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_never_goes_below_zero() {
        assert_eq!(Moment(5) - Moment(7), Duration::ZERO);
        assert_eq!(Moment(7) - Moment(5), Duration::from_nanos(2));
    }

    #[test]
    fn an_endless_delay_saturates() {
        assert_eq!(Moment(1) + Duration::MAX, Moment(u64::MAX));
    }
}
