//! When which request is due in the open loop: message `n` at start + n / rate, on connection n modulo
//! connections. So the k-th of a connection was due at a time that follows from k, and nothing need be
//! remembered; whatever delays it is part of its latency.

use std::time::Duration;

/// A rate, dealt out to connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    nanoseconds_each: f64,
    connections: u64,
}

impl Schedule {
    /// `rate` requests a second.
    pub(crate) fn new(rate: f64, connections: u32) -> Schedule {
        Schedule { nanoseconds_each: 1e9 / rate, connections: connections.into() }
    }

    /// When request `n` is due, counted from the start.
    pub(crate) fn due(&self, n: u64) -> Duration {
        Duration::from_nanos((n as f64 * self.nanoseconds_each) as u64)
    }

    /// When the `k`-th request of `connection` was due.
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
