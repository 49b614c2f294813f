//! Random choices from a seed, so that a run can be repeated with the same choices.

use herd_reactor::SplitMix64;
use std::ops::Range;
use std::time::Duration;

/// The reactor's random generator, with the choices that a run needs.
#[derive(Debug)]
pub(crate) struct Dice(SplitMix64);

impl Dice {
    /// Starts the generator; the same `seed` gives the same choices.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(SplitMix64::new(seed))
    }

    /// Returns a number from 0 to `sides` - 1.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0.next_u64() as usize % sides.max(1)
    }

    /// Returns true once in `times` calls, on average.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    /// Returns a time within `range`, in milliseconds.
    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        let width = (range.end - range.start) as usize;
        Duration::from_millis(range.start + self.roll(width) as u64)
    }

    /// Returns one of `all`; `None` if it is empty.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.roll(all.len())])
    }
}
