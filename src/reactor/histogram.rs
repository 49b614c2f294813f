//! A histogram of durations with fixed buckets, for monitoring.
//!
//! In: durations. Out: how many there were up to each bound, and their sum. It is never reset, so any number of readers
//! can read it, each by the difference between two readings. It has the form that Prometheus expects.
//!
//! The bounds are a power of four apart, from 16.384 us to 17.2 s: powers of two in nanoseconds, so that the bucket of
//! a duration is a matter of its highest bit.

use std::time::Duration;

/// The exponent of the first bound: 2^14 ns.
const FIRST: u32 = 14;

/// The number of bounds. Longer durations are in a last bucket without one.
const BOUNDS: usize = 11;

/// How often a duration occurred, by size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS + 1],
    nanos: u64,
}

impl Histogram {
    /// Counts `duration`.
    pub fn add(&mut self, duration: Duration) {
        self.add_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a duration in nanoseconds. A turn does this twice, so it avoids the conversion.
    #[inline]
    pub(crate) fn add_nanos(&mut self, nanos: u64) {
        // The bound itself belongs to its bucket, and the lowest bits decide nothing.
        let highest = (nanos.saturating_sub(1) | ((1 << FIRST) - 1)).ilog2();
        self.counts[((highest + 2 - FIRST) as usize / 2).min(BOUNDS)] += 1;
        self.nanos = self.nanos.wrapping_add(nanos);
    }

    /// Each bound in seconds, with the number of durations up to it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = (0..BOUNDS as i32).map(|n| 2f64.powi(FIRST as i32 + 2 * n) / 1e9);
        let counts = self.counts.into_iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(counts)
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_a_nanosecond_more_to_the_next() {
        for bucket in 0..BOUNDS {
            let bound = 1 << (FIRST as usize + 2 * bucket);
            for (nanos, expected) in [(bound, bucket), (bound + 1, bucket + 1)] {
                let mut histogram = Histogram::default();
                histogram.add(Duration::from_nanos(nanos));
                assert_eq!(histogram.counts[expected], 1, "{nanos} ns");
            }
        }
    }

    #[test]
    fn the_bounds_are_a_power_of_four_apart_from_16_us_to_17_s() {
        let bounds: Vec<f64> = Histogram::default().buckets().map(|(bound, _)| bound).collect();
        assert_eq!((bounds[0], bounds[BOUNDS - 1]), (0.000_016_384, 17.179_869_184));
        assert!(bounds.windows(2).all(|pair| pair[1] == 4.0 * pair[0]), "{bounds:?}");
    }

    proptest! {
        #[test]
        fn each_bound_counts_the_durations_up_to_it(
            all in prop::collection::vec((0..64u32, any::<u64>()).prop_map(|(bits, n)| n >> bits), 0..50)
        ) {
            let mut histogram = Histogram::default();
            all.iter().for_each(|nanos| histogram.add(Duration::from_nanos(*nanos)));
            for (bound, count) in histogram.buckets() {
                let up_to = all.iter().filter(|nanos| **nanos <= (bound * 1e9).round() as u64).count();
                prop_assert_eq!(count, up_to as u64);
            }
            prop_assert_eq!(histogram.count(), all.len() as u64);
        }
    }
}
