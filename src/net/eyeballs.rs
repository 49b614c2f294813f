//! Happy eyeballs: which of a host's addresses to try next, and when.
//!
//! In: the addresses; then when the first attempt may begin, the passing of time, and the result of each attempt.
//! Out: what to do now ([`Next`]), and when to ask again. It opens no connection, has no clock and cancels nothing
//! itself: it says which attempts to cancel.
//!
//! ```text
//!   0 ms     250 ms     500 ms
//!   v6 a ------------------------------ ...  (silent: cancelled when another connects)
//!            v4 b --x                        refused: the next begins at once
//!                   v6 c ----- connected     the winner
//! ```
//!
//! The idea: the two address families alternate, and each attempt gets a head start over the next. So no connection
//! is delayed by a family that does not work, and the preferred family does not lose by a few milliseconds.
//!
//! Source: RFC 8305, sections 4 (First Address Family Count 1) and 5. Twisted:
//! internet/endpoints.py, HostnameEndpoint, where a failure does not start the next attempt early.

use herd_reactor::Moment;
use std::net::SocketAddr;
use std::time::Duration;

/// The head start of an attempt over the next. RFC 8305: Connection Attempt Delay, recommended.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Identifies one attempt of one [`Eyeballs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(usize);

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<E> {
    /// Start to connect to the address. Then proceed as for [`Next::Wait`].
    Try {
        /// The id under which the caller reports the result.
        attempt: Attempt,
        /// The address to connect to.
        address: SocketAddr,
        /// The time at which to call [`Eyeballs::next`], as for [`Next::Wait`].
        until: Option<Moment>,
    },
    /// Wait until an attempt connects or fails, or until that moment.
    Wait {
        /// The time at which to call [`Eyeballs::next`]; `None` if all addresses have been tried.
        until: Option<Moment>,
    },
    /// Every address has failed. Contains the last failure, which is returned only once; `None` if there were no
    /// addresses.
    Failed(Option<E>),
    /// An attempt has connected: there is nothing to do.
    Connected,
}

/// Tries the addresses of one host until one connects.
///
/// `E` is the reason why an attempt failed.
#[derive(Clone, Debug)]
pub struct Eyeballs<E> {
    /// The addresses, in the order in which they are tried.
    addresses: Vec<SocketAddr>,
    /// The number of addresses that have been tried.
    tried: usize,
    /// The attempts without a result.
    pending: Vec<Attempt>,
    /// The time when the next attempt may begin, if one is left.
    due: Moment,
    connected: bool,
    last_failure: Option<E>,
}

impl<E> Eyeballs<E> {
    /// Takes the addresses of a host, the best first. IPv6 goes first if there is any.
    pub fn new(addresses: &[SocketAddr]) -> Eyeballs<E> {
        Eyeballs {
            addresses: interleaved(addresses),
            tried: 0,
            pending: Vec::new(),
            due: Moment::default(),
            connected: false,
            last_failure: None,
        }
    }

    /// Reports that the attempt has failed: the next one begins at once. Ignored for an attempt that is not
    /// pending.
    pub fn failed(&mut self, attempt: Attempt, why: E, now: Moment) -> Next<E> {
        if self.forget(attempt) {
            self.last_failure = Some(why);
            self.due = now;
        }
        self.next(now)
    }

    /// Reports that the attempt has connected. Returns the attempts to cancel: all others that are pending.
    ///
    /// If another attempt has connected before, returns this attempt, which must be cancelled.
    pub fn connected(&mut self, attempt: Attempt) -> Vec<Attempt> {
        if !self.forget(attempt) {
            return vec![attempt];
        }
        self.connected = true;
        std::mem::take(&mut self.pending)
    }

    /// Starts, and continues when time has passed. Calls that are early or redundant do no harm.
    pub fn next(&mut self, now: Moment) -> Next<E> {
        if self.connected {
            return Next::Connected;
        }
        match self.addresses.get(self.tried) {
            Some(&address) if self.due <= now => {
                let attempt = Attempt(self.tried);
                self.tried += 1;
                self.pending.push(attempt);
                self.due = now + ATTEMPT_DELAY;
                Next::Try { attempt, address, until: self.until() }
            }
            None if self.pending.is_empty() => Next::Failed(self.last_failure.take()),
            _ => Next::Wait { until: self.until() },
        }
    }

    fn until(&self) -> Option<Moment> {
        (self.tried < self.addresses.len()).then_some(self.due)
    }

    /// Removes the attempt from those pending; returns whether it was pending.
    fn forget(&mut self, attempt: Attempt) -> bool {
        let at = self.pending.iter().position(|pending| *pending == attempt);
        at.map(|at| self.pending.remove(at)).is_some()
    }
}

/// Alternates the two families, IPv6 first, each in the given order; then the rest of the longer one.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut v6 = addresses.iter().copied().filter(SocketAddr::is_ipv6);
    let mut v4 = addresses.iter().copied().filter(SocketAddr::is_ipv4);
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(v6.next());
        order.extend(v4.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use Next::{Connected, Failed, Try, Wait};

    const V6_A: &str = "[2001:db8::a]:443";
    const V6_B: &str = "[2001:db8::b]:443";
    const V6_C: &str = "[2001:db8::c]:443";
    const V4_A: &str = "192.0.2.1:443";
    const V4_B: &str = "192.0.2.2:443";

    fn eyeballs(addresses: &[&str]) -> Eyeballs<&'static str> {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Eyeballs::new(&addresses)
    }

    fn ms(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    fn attempt(number: usize, address: &str, until: Option<u64>) -> Next<&'static str> {
        let address = address.parse().unwrap();
        Try { attempt: Attempt(number), address, until: until.map(ms) }
    }

    fn wait(until: Option<u64>) -> Next<&'static str> {
        Wait { until: until.map(ms) }
    }

    #[test]
    fn the_families_take_turns_and_ipv6_goes_first() {
        for (given, order) in [
            (vec![V4_A, V4_B, V6_A, V6_B, V6_C], vec![V6_A, V4_A, V6_B, V4_B, V6_C]),
            (vec![V4_A, V6_A, V4_B], vec![V6_A, V4_A, V4_B]),
            (vec![V4_B, V4_A], vec![V4_B, V4_A]),
            (vec![V6_B, V6_A], vec![V6_B, V6_A]),
            (vec![], vec![]),
        ] {
            let order: Vec<SocketAddr> = order.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(eyeballs(&given).addresses, order);
        }
    }

    #[test]
    fn an_attempt_that_is_silent_gives_way_after_its_head_start() {
        let mut eyeballs = eyeballs(&[V6_A, V4_A, V6_B]);
        assert_eq!(eyeballs.next(ms(1_000)), attempt(0, V6_A, Some(1_250)));
        assert_eq!(eyeballs.next(ms(1_249)), wait(Some(1_250)));
        assert_eq!(eyeballs.next(ms(1_250)), attempt(1, V4_A, Some(1_500)));
        // This call is late: the head start counts from the moment at which the attempt began.
        assert_eq!(eyeballs.next(ms(1_600)), attempt(2, V6_B, None));
        assert_eq!(eyeballs.next(ms(9_999)), wait(None));
        assert_eq!(eyeballs.connected(Attempt(1)), [Attempt(0), Attempt(2)]);
        assert_eq!(eyeballs.next(ms(9_999)), Connected);
    }

    #[test]
    fn a_failure_starts_the_next_attempt_at_once() {
        let mut eyeballs = eyeballs(&[V6_A, V4_A, V6_B, V4_B]);
        assert_eq!(eyeballs.next(ms(0)), attempt(0, V6_A, Some(250)));
        assert_eq!(eyeballs.failed(Attempt(0), "unreachable", ms(3)), attempt(1, V4_A, Some(253)));
        assert_eq!(eyeballs.next(ms(250)), wait(Some(253)));
        assert_eq!(eyeballs.next(ms(253)), attempt(2, V6_B, Some(503)));
        // Any pending attempt may fail, and only its first failure counts.
        assert_eq!(eyeballs.failed(Attempt(1), "refused", ms(300)), attempt(3, V4_B, None));
        assert_eq!(eyeballs.failed(Attempt(1), "refused", ms(301)), wait(None));
        assert_eq!(eyeballs.connected(Attempt(3)), [Attempt(2)]);
    }

    #[test]
    fn when_all_have_failed_the_last_failure_is_told() {
        let mut eyeballs = eyeballs(&[V6_A, V4_A]);
        assert_eq!(eyeballs.next(ms(0)), attempt(0, V6_A, Some(250)));
        assert_eq!(eyeballs.next(ms(250)), attempt(1, V4_A, None));
        assert_eq!(eyeballs.failed(Attempt(1), "refused", ms(260)), wait(None));
        assert_eq!(eyeballs.failed(Attempt(0), "timed out", ms(900)), Failed(Some("timed out")));
    }

    #[test]
    fn without_addresses_it_has_failed_before_it_began() {
        assert_eq!(eyeballs(&[]).next(ms(0)), Failed(None));
    }

    #[test]
    fn an_attempt_that_connects_second_is_cancelled() {
        let mut eyeballs = eyeballs(&[V6_A, V4_A, V4_B]);
        eyeballs.next(ms(0));
        eyeballs.next(ms(250));
        assert_eq!(eyeballs.connected(Attempt(0)), [Attempt(1)]);
        assert_eq!(eyeballs.connected(Attempt(1)), [Attempt(1)]);
        assert_eq!(eyeballs.failed(Attempt(1), "reset", ms(300)), Connected);
    }
}
