//! SplitMix64 from a seed, so that a run can be asked for again.

use std::ops::Range;
use std::time::Duration;

/// A small generator of chance (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same rolls after the same `seed`.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `sides` - 1.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
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
