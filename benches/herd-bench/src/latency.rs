//! A histogram of latencies in nanoseconds, with three significant digits, up to ten minutes.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

const LONGEST_NS: u64 = 600_000_000_000;

/// The latencies of one kind of request.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Creates an empty histogram.
    pub(crate) fn new() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in order"))
    }

    /// Records `time`, `count` times. A longer time than ten minutes counts as ten minutes.
    #[inline]
    pub(crate) fn record(&mut self, time: Duration, count: u64) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS);
        self.0.saturating_record_n(ns, count);
    }

    /// Removes all recorded times.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The number of recorded times.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The percentile `share` (0 to 1), in microseconds.
    pub(crate) fn us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }

    /// The count, percentiles and maximum as JSON; times in microseconds.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "count": self.count(),
            "p50": self.us(0.5),
            "p90": self.us(0.9),
            "p99": self.us(0.99),
            "p99.9": self.us(0.999),
            "max": self.us(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut latencies = Latencies::new();
        for us in 1..=10_000 {
            latencies.record(Duration::from_micros(us), 3);
        }
        assert_eq!(latencies.count(), 30_000);
        for (share, us) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0), (1.0, 10_000.0)] {
            let error = (latencies.us(share) - us).abs() / us;
            assert!(error < 0.001, "{share}: {} is not {us}", latencies.us(share));
        }
    }

    #[test]
    fn hours_count_as_ten_minutes() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(7_200), 1);
        assert!((latencies.us(1.0) - 6e8).abs() / 6e8 < 0.001);
    }
}
