//! Chance from a seed, so that a run can be asked for again.

use herd_reactor::SplitMix64;
use std::ops::Range;
use std::time::Duration;

/// The reactor's random generator, and what a run makes of its bits.
#[derive(Debug)]
pub(crate) struct Dice(SplitMix64);

impl Dice {
    /// The same rolls after the same `seed`.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(SplitMix64::new(seed))
    }

    /// 0 to `sides` - 1.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0.next_u64() as usize % sides.max(1)
    }

    /// Whether something happens that happens `once` in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    /// A time of `range`, in milliseconds.
    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        let width = (range.end - range.start) as usize;
        Duration::from_millis(range.start + self.roll(width) as u64)
    }

    /// One of `all`, if there is any.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.roll(all.len())])
    }
}
