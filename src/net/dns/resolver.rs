//! The pending lookups, and the results that need no lookup.
//!
//! In: names to [`resolve`](Resolver::resolve), received bytes, failures, and the time. Out: [`Action`]s. The caller
//! takes them after every call until none is left, and carries them out.
//!
//! The resolver looks for a name in this order: an address written as a name; localhost (RFC 6761: always this
//! machine); the cache; the hosts file, whose names are never cached; the servers. Equal lookups that are pending
//! at the same time share one query. A and AAAA are asked together, and the lookup ends
//!
//! * when both families have ended;
//! * 50 ms after the query for A has found addresses: a server that drops AAAA queries must not delay every
//!   connection (RFC 8305, section 3). This does not apply the other way round, since a host without IPv6 could not
//!   use what was found;
//! * when the total limit has passed.
//!
//! With a search list (`config.rs`) a lookup has several names, which are asked for in turn: the next one when the
//! servers have replied that the previous name has no addresses, or have failed. The next query goes first to the
//! server that answered the previous one, so the lookup waits for a silent server only once. The total limit is the
//! same as for one name. If no name has addresses, but the servers failed for one of them, the result is that
//! failure; the same rule combines the two families.
//!
//! If no server gives an answer, expired addresses are used again (RFC 8767). A failure is not cached: the next
//! lookup asks the servers again, and lookups that arrive in the meantime share its query.
//!
//! It knows no socket, no clock and no file. Twisted: names/client.py, Resolver; names/resolve.py.

use super::DnsError;
use super::action::{Action, LookupId, Outbox, QueryId};
use super::cache::{Cache, NEGATIVE_TTL};
use super::config::Config;
use super::family_query::{FamilyQuery, QueryStep};
use super::hosts::Hosts;
use super::message::{AddressSet, Family};
use super::name::HostName;
use herd_reactor::{Moment, SplitMix64};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Time that a lookup waits for AAAA when it has IPv4 addresses. RFC 8305, section 3: Resolution Delay.
pub const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Maximum number of pending lookups, including those that share a query. Further ones fail with
/// [`DnsError::TooManyLookups`].
pub const LOOKUPS_MAX: usize = 1_024;

/// A stub resolver without sockets.
#[derive(Debug, Default)]
pub struct Resolver {
    config: Config,
    hosts: Hosts,
    cache: Cache,
    /// The pending lookups, by the names that they ask for in turn.
    lookups: BTreeMap<Vec<HostName>, Lookup>,
    out: Outbox,
    /// The total number of callers in `lookups`.
    waiting: usize,
}

/// The lookup of one name.
#[derive(Debug)]
struct Lookup {
    /// The name as its first caller wrote it, for the log.
    name: HostName,
    askers: Vec<LookupId>,
    /// The index of the name that is being asked for, and the combined result of the names before it.
    at: usize,
    before: Option<DnsError>,
    /// The time when the lookup ends, even if a result is missing.
    deadline: Moment,
    /// IPv6, then IPv4.
    families: [FamilyQuery; 2],
}

impl Resolver {
    /// Replaces the configuration. Pending lookups continue with the new servers.
    pub fn reload(&mut self, config: Config) {
        self.config = config;
    }

    /// Replaces the hosts file. Also clears the cache, which may have names that are now in the hosts file.
    pub fn reload_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
        self.cache = Cache::default();
    }

    /// Looks up `name`: an address or a host name. A name with a dot at its end is fully qualified, so the search
    /// list is not applied to it.
    ///
    /// `random`: 64 random bits, from which the ids of the queries are generated. The result is an
    /// [`Action::Done`], which follows at once or after [`Config::total`] at the latest.
    pub fn resolve(&mut self, name: &str, now: Moment, random: u64) -> LookupId {
        let asker = self.out.lookup();
        match self.known(name, now) {
            Ok(result) => self.out.done(asker, result),
            Err((name, names)) => self.look_up(name, names, asker, now, random),
        }
        asker
    }

    /// Handles bytes that were received for `query`; over TCP, one complete message.
    pub fn answer(&mut self, query: QueryId, bytes: &[u8], now: Moment) {
        self.step(query, now, |family, cx| family.answer(cx, query, bytes));
    }

    /// Handles the failure of the socket of `query`, or of the attempt to open it.
    pub fn failed(&mut self, query: QueryId, now: Moment) {
        self.step(query, now, |family, cx| family.failed(cx, query, DnsError::Unreachable));
    }

    /// Handles the passing of time. Call it at [`next_timeout`](Resolver::next_timeout); extra calls do no harm.
    pub fn timeout(&mut self, now: Moment) {
        let Resolver { config, lookups, out, .. } = self;
        let mut cx = QueryStep { config, out, now };
        let mut due = Vec::new();
        for (names, lookup) in lookups.iter_mut().filter(|(_, lookup)| lookup.next_timeout() <= now)
        {
            lookup.families.iter_mut().for_each(|family| family.timeout(&mut cx));
            due.push(names.clone());
        }
        due.iter().for_each(|names| self.conclude(names, now));
    }

    /// The time at which to call [`timeout`](Resolver::timeout); `None` if no lookup is pending.
    pub fn next_timeout(&self) -> Option<Moment> {
        self.lookups.values().map(Lookup::next_timeout).min()
    }

    /// Takes the next action. Actions must be carried out in this order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.out.next()
    }

    /// The result for the name `text` if it needs no query; else the parsed name, and the names to ask for in turn.
    fn known(
        &self,
        text: &str,
        now: Moment,
    ) -> Result<Result<Vec<IpAddr>, DnsError>, (HostName, Vec<HostName>)> {
        if let Ok(address) = text.parse() {
            return Ok(Ok(vec![address]));
        }
        let Some(name) = HostName::parse(text) else {
            return Ok(Err(DnsError::BadName));
        };
        if name.is_localhost() {
            let addresses = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            return Ok(Ok(addresses.to_vec()));
        }
        let names = self.config.names(name.clone(), text.ends_with('.'));
        if let Some(result) = self.cache.fresh(&names, now) {
            return Ok(result.clone());
        }
        match self.hosts.addresses(&text.to_ascii_lowercase()) {
            Some(addresses) => Ok(Ok(addresses)),
            None => Err((name, names)),
        }
    }

    /// Joins the pending lookup of `names`, or begins one.
    fn look_up(
        &mut self,
        name: HostName,
        names: Vec<HostName>,
        asker: LookupId,
        now: Moment,
        random: u64,
    ) {
        if self.waiting >= LOOKUPS_MAX {
            return self.out.done(asker, Err(DnsError::TooManyLookups));
        }
        self.waiting += 1;
        if let Some(lookup) = self.lookups.get_mut(&names) {
            return lookup.askers.push(asker);
        }
        let mut chance = SplitMix64::new(random);
        let mut cx = QueryStep { config: &self.config, out: &mut self.out, now };
        let families = [Family::V6, Family::V4].map(|family| {
            let mut query = FamilyQuery::new(&names[0], family, chance.next_u64());
            query.try_next(&mut cx);
            query
        });
        let (askers, deadline) = (vec![asker], now + self.config.total);
        let lookup = Lookup { name, askers, at: 0, before: None, deadline, families };
        self.lookups.insert(names, lookup);
    }

    /// Runs `step` on the family query that owns `query`, and then continues its lookup. It searches all queries:
    /// each lookup has only a few, and there is seldom more than one lookup.
    fn step(
        &mut self,
        query: QueryId,
        now: Moment,
        step: impl FnOnce(&mut FamilyQuery, &mut QueryStep<'_>),
    ) {
        let Resolver { config, lookups, out, .. } = self;
        let asked = lookups.iter_mut().find_map(|(names, lookup)| {
            let family = lookup.families.iter_mut().find(|one| one.position(query).is_some())?;
            Some((names, family))
        });
        let Some((names, family)) = asked else { return };
        step(family, &mut QueryStep { config, out, now });
        let names = names.clone();
        self.conclude(&names, now);
    }

    /// Ends the lookup of `names` if it is complete or late, or continues with the next name.
    fn conclude(&mut self, names: &[HostName], now: Moment) {
        let Some(lookup) = self.lookups.get_mut(names) else { return };
        let [v6, v4] = &lookup.families;
        let both_ended = v6.end().is_some() && v4.end().is_some();
        if let Some(Ok(_)) = v4.end() {
            lookup.deadline = lookup.deadline.min(now + RESOLUTION_DELAY);
        }
        if let Some(why) = lookup.leads_on().filter(|_| now < lookup.deadline)
            && let Some(next) = names.get(lookup.at + 1)
        {
            lookup.at += 1;
            lookup.before = Some(lookup.before.map_or(why, |before| neither(before, why)));
            let mut cx = QueryStep { config: &self.config, out: &mut self.out, now };
            lookup.families.iter_mut().for_each(|query| query.ask_for(&mut cx, next));
        } else if (both_ended || lookup.deadline <= now)
            && let Some(lookup) = self.lookups.remove(names)
        {
            self.finish(names, lookup, now);
        }
    }

    /// Combines the two families, caches the result, and returns it to all callers.
    fn finish(&mut self, names: &[HostName], lookup: Lookup, now: Moment) {
        let Lookup { name, askers, mut families, before, .. } = lookup;
        families.iter_mut().for_each(|family| family.stop(&mut self.out));
        let result = match families.map(FamilyQuery::into_end) {
            [Ok(v6), Ok(v4)] => {
                let ttl = v6.ttl.min(v4.ttl);
                Ok(AddressSet { list: [v6.list, v4.list].concat(), ttl })
            }
            [Ok(found), Err(why)] | [Err(why), Ok(found)] => {
                // The other family may have addresses, too: keep the result for a short time only.
                let ttl = if why.is_definite() { found.ttl } else { NEGATIVE_TTL };
                Ok(AddressSet { ttl, ..found })
            }
            [Err(v6), Err(v4)] => {
                let why = neither(v6, v4);
                Err(before.map_or(why, |before| neither(before, why)))
            }
        };
        let (result, ttl) = match result {
            Ok(AddressSet { list, ttl }) => (Ok(list), Some(ttl)),
            Err(why) if why.is_definite() => (Err(why), Some(NEGATIVE_TTL)),
            Err(why) => {
                let stale = self.cache.stale(names, now).ok_or(why);
                if stale.is_ok() {
                    log::warn!("dns: {name}: {why}; using its expired addresses");
                }
                (stale, None)
            }
        };
        // The hosts file may contain the name by now, or contain it without the final dot.
        if let Some(ttl) = ttl.filter(|_| self.hosts.addresses(name.as_str()).is_none()) {
            self.cache.keep(names, result.clone(), ttl, now);
        }
        self.waiting -= askers.len();
        askers.into_iter().for_each(|asker| self.out.done(asker, result.clone()));
    }
}

/// Combines the errors of the two families, or of two names. A failure of the servers has priority, because the
/// result is then unknown. Of two different definite errors one shows that the name exists, so the result is
/// `NoAddresses`.
fn neither(v6: DnsError, v4: DnsError) -> DnsError {
    if !v4.is_definite() || v4 == v6 {
        v4
    } else if !v6.is_definite() {
        v6
    } else {
        DnsError::NoAddresses
    }
}

impl Lookup {
    /// The error after which the next name is asked for: the servers replied, but with no address. Else `None`.
    fn leads_on(&self) -> Option<DnsError> {
        let [Some(Err(v6)), Some(Err(v4))] = self.families.each_ref().map(FamilyQuery::end) else {
            return None;
        };
        let why = neither(*v6, *v4);
        (why.is_definite() || why == DnsError::ServerFailed).then_some(why)
    }

    fn next_timeout(&self) -> Moment {
        let tries = self.families.iter().filter_map(FamilyQuery::next_timeout);
        tries.fold(self.deadline, Moment::min)
    }
}
