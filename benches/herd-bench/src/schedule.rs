//! The schedule of the open loop. Request `n` is due at start + n / rate, on connection n modulo connections. So the
//! due time of a connection's k-th request can be computed from k, and need not be stored. Any delay after the due
//! time counts as latency.

use std::time::Duration;

/// A rate, divided among connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    nanoseconds_each: f64,
    connections: u64,
}

impl Schedule {
    /// Creates a schedule of `rate` requests a second over all connections.
    pub(crate) fn new(rate: f64, connections: u32) -> Schedule {
        Schedule { nanoseconds_each: 1e9 / rate, connections: connections.into() }
    }

    /// The time when request `n` is due, from the start.
    pub(crate) fn due(&self, n: u64) -> Duration {
        Duration::from_nanos((n as f64 * self.nanoseconds_each) as u64)
    }

    /// The time when the `k`-th request of `connection` is due, from the start.
    pub(crate) fn due_of(&self, connection: usize, k: u64) -> Duration {
        self.due(connection as u64 + k * self.connections)
    }

    /// The connection of request `n`.
    pub(crate) fn connection(&self, n: u64) -> usize {
        (n % self.connections) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly_and_in_turn() {
        let schedule = Schedule::new(1_000.0, 3);
        let due: Vec<_> =
            (0..5).map(|n| (schedule.connection(n), schedule.due(n).as_micros())).collect();
        assert_eq!(due, [(0, 0), (1, 1_000), (2, 2_000), (0, 3_000), (1, 4_000)]);
    }

    #[test]
    fn a_connection_knows_when_each_of_its_own_was_due() {
        let schedule = Schedule::new(12_345.678, 7);
        let mut counts = [0; 7];
        for n in 0..10_000 {
            let connection = schedule.connection(n);
            assert_eq!(schedule.due_of(connection, counts[connection]), schedule.due(n));
            counts[connection] += 1;
        }
    }

    #[test]
    fn the_rate_holds_over_a_day() {
        let schedule = Schedule::new(1e6, 50);
        assert_eq!(schedule.due(86_400_000_000), Duration::from_secs(86_400));
    }
}
