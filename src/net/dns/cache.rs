//! The cache of results, each kept for its lifetime.
//!
//! In: results, under the list of names that were asked for in turn, and moments. Out: the fresh result; or, when no
//! server gives an answer, the last result that was valid.
//!
//! ```text
//!   kept            fresh_until              stale_until = fresh_until + 1 h
//!    ├── used at once ──────┼── servers are asked; ──────────┤ forgotten
//!    │                      │   used only if they fail       │
//! ```
//!
//! A result is fresh for the TTL of its records, and at most an hour, so that an operator's mistake does not last for
//! days. With a TTL of 0 it serves only the lookups that wait for it. A negative result
//! is fresh for 5 s, whatever the zone's SOA allows: long enough to spare the servers a flood, short enough to find
//! a new name soon.
//!
//! Serving stale addresses when no server answers: RFC 8767. Twisted: names/cache.py, CacheResolver.

use super::DnsError;
use super::name::HostName;
use herd_reactor::Moment;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Longest time for which a result is fresh.
pub const TTL_MAX: Duration = Duration::from_secs(3_600);

/// Time for which a negative result is fresh, or a result in which only one address family could be resolved.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(5);

/// Time for which expired addresses may still be used when no server gives an answer.
pub const STALE: Duration = Duration::from_secs(3_600);

/// Time for which stale addresses, once used, are used again without asking a server.
pub const STALE_TTL: Duration = Duration::from_secs(5);

/// Maximum number of entries kept. A new one beyond that evicts the entry that expires first.
pub const ENTRIES_MAX: usize = 1_024;

/// Results, by the list of names that are asked for in turn.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    entries: BTreeMap<Vec<HostName>, CacheEntry>,
}

#[derive(Clone, Debug)]
struct CacheEntry {
    result: Result<Vec<IpAddr>, DnsError>,
    fresh_until: Moment,
    stale_until: Moment,
}

impl Cache {
    /// The fresh result for `names`.
    pub fn fresh(&self, names: &[HostName], now: Moment) -> Option<&Result<Vec<IpAddr>, DnsError>> {
        let entry = self.entries.get(names)?;
        (now < entry.fresh_until).then_some(&entry.result)
    }

    /// The last valid addresses of `names`, even if they have expired. They become fresh again for [`STALE_TTL`],
    /// so that not every lookup waits for servers that do not answer.
    pub fn stale(&mut self, names: &[HostName], now: Moment) -> Option<Vec<IpAddr>> {
        let entry = self.entries.get_mut(names).filter(|entry| now < entry.stale_until)?;
        let addresses = entry.result.clone().ok()?;
        entry.fresh_until = (now + STALE_TTL).min(entry.stale_until);
        Some(addresses)
    }

    /// Stores the addresses of `names`, which are valid for `ttl`, or that there are none. Replaces any earlier
    /// entry for `names`.
    pub fn keep(
        &mut self,
        names: &[HostName],
        result: Result<Vec<IpAddr>, DnsError>,
        ttl: Duration,
        now: Moment,
    ) {
        let fresh_until = now + ttl.min(TTL_MAX);
        let stale_until = if result.is_ok() { fresh_until + STALE } else { fresh_until };
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(names) {
            self.entries.retain(|_, entry| now < entry.stale_until);
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(names) {
            let ends_first = self.entries.iter().min_by_key(|(_, entry)| entry.stale_until);
            if let Some(names) = ends_first.map(|(names, _)| names.clone()) {
                self.entries.remove::<[HostName]>(&names);
            }
        }
        let entry = CacheEntry { result, fresh_until, stale_until };
        self.entries.insert(names.to_vec(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    fn name(text: &str) -> [HostName; 1] {
        [HostName::parse(text).unwrap()]
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// The number of seconds for which addresses with this TTL are fresh.
    fn holds(ttl: Duration) -> u64 {
        let mut cache = Cache::default();
        cache.keep(&name("maps"), Ok(vec![address(1)]), ttl, at(100));
        (0..100_000).find(|s| cache.fresh(&name("maps"), at(100 + s)).is_none()).unwrap()
    }

    #[test]
    fn addresses_hold_for_their_ttl_and_an_hour_at_most() {
        for (ttl, seconds) in [(0, 0), (4, 4), (300, 300), (3_601, 3_600)] {
            assert_eq!(holds(Duration::from_secs(ttl)), seconds);
        }
        assert_eq!(holds(Duration::MAX), 3_600);
    }

    #[test]
    fn that_there_is_nothing_holds_5_s() {
        let mut cache = Cache::default();
        cache.keep(&name("maps"), Err(DnsError::NoSuchName), NEGATIVE_TTL, at(0));
        assert_eq!(cache.fresh(&name("maps"), at(4)), Some(&Err(DnsError::NoSuchName)));
        assert_eq!(cache.fresh(&name("maps"), at(5)), None);
    }

    #[test]
    fn stale_addresses_are_found_for_an_hour_only() {
        let mut cache = Cache::default();
        cache.keep(&name("maps"), Ok(vec![address(1)]), 10 * SECOND, at(0));
        assert_eq!(cache.clone().stale(&name("maps"), at(3_609)), Some(vec![address(1)]));
        assert_eq!(cache.stale(&name("maps"), at(3_610)), None);
        assert_eq!(cache.stale(&name("other"), at(0)), None);
    }

    #[test]
    fn stale_addresses_once_used_hold_5_s_and_never_beyond_their_hour() {
        let mut cache = Cache::default();
        cache.keep(&name("maps"), Ok(vec![address(1)]), 10 * SECOND, at(0));
        cache.stale(&name("maps"), at(60)).unwrap();
        assert!(cache.fresh(&name("maps"), at(64)).is_some());
        assert!(cache.fresh(&name("maps"), at(65)).is_none());
        cache.stale(&name("maps"), at(3_608)).unwrap();
        assert!(cache.fresh(&name("maps"), at(3_610)).is_none());
        assert_eq!(cache.stale(&name("maps"), at(3_610)), None);
    }

    #[test]
    fn a_name_that_is_gone_has_no_stale_addresses() {
        let mut cache = Cache::default();
        cache.keep(&name("maps"), Ok(vec![address(1)]), SECOND, at(0));
        cache.keep(&name("maps"), Err(DnsError::NoSuchName), NEGATIVE_TTL, at(10));
        assert_eq!(cache.stale(&name("maps"), at(11)), None);
    }

    #[test]
    fn it_holds_1024_names_and_forgets_what_ends_first() {
        let mut cache = Cache::default();
        let named = |number: usize| name(&format!("n{number}"));
        for number in 0..ENTRIES_MAX {
            let ttl = if number == 700 { 10 } else { 60 };
            cache.keep(&named(number), Ok(vec![address(1)]), ttl * SECOND, at(0));
        }
        cache.keep(&named(5), Ok(vec![address(2)]), 60 * SECOND, at(1));
        assert!(cache.fresh(&named(700), at(1)).is_some(), "a name that is kept needs no room");
        cache.keep(&name("new"), Ok(vec![address(1)]), 60 * SECOND, at(1));
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert!(cache.fresh(&named(700), at(1)).is_none());
        assert!(
            cache.fresh(&named(5), at(1)).is_some() && cache.fresh(&name("new"), at(1)).is_some()
        );
    }

    #[test]
    fn expired_entries_are_evicted_first() {
        let mut cache = Cache::default();
        for number in 0..ENTRIES_MAX {
            cache.keep(&name(&format!("n{number}")), Ok(vec![address(1)]), SECOND, at(0));
        }
        cache.keep(&name("new"), Ok(vec![address(1)]), SECOND, at(4_000));
        assert_eq!(cache.entries.len(), 1);
    }
}
