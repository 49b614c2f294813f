//! The lookups under way, and all that answers without one.
//!
//! In: names to [`resolve`](Resolver::resolve), and what the network and the clock have done. Out:
//! [`Action`]s, which the caller takes after every call until there are none, and carries out.
//!
//! The resolver looks for a name in this order: an address written as a name; localhost (RFC 6761: always this
//! machine); the cache; the hosts file, whose names are never cached; the servers. Equal lookups that are under way
//! share one query. A and AAAA are asked together, and the lookup is over
//!
//! * when both families have ended;
//! * 50 ms after the query for A has found addresses: a server that drops AAAA must not make every
//!   connection wait (RFC 8305, section 3). Not the other way round, for a host without IPv6 could
//!   not use what there is;
//! * when the total limit has passed.
//!
//! With a search list (`config.rs`) a lookup has several names, asked for one after another: the next when the
//! servers have said that there is nothing of the one before, or could not say; it goes first to the server that has
//! answered for the one before, so that a silent server is waited for once. The time for all is the same as for one.
//! If none has addresses, but for one of them no server could say, then nobody knows; as with the families.
//!
//! If no server would say, addresses that held before are used again (RFC 8767). A failure is not
//! remembered: the next to ask asks the servers again, and whoever asks meanwhile shares his question.
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

/// How long AAAA is waited for when there are IPv4 addresses. RFC 8305, section 3: Resolution Delay.
pub const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Lookups that wait at one time, those that share a question included; more are refused.
pub const LOOKUPS_MAX: usize = 1_024;

/// A stub resolver without sockets.
#[derive(Debug, Default)]
pub struct Resolver {
    config: Config,
    hosts: Hosts,
    cache: Cache,
    /// By the names to be asked for.
    lookups: BTreeMap<Vec<HostName>, Lookup>,
    out: Outbox,
    /// Those who wait for `lookups`.
    waiting: usize,
}

/// One name that is being looked up.
#[derive(Debug)]
struct Lookup {
    /// As it was first written, for the log.
    name: HostName,
    askers: Vec<LookupId>,
    /// Which of the names to ask for is being asked for, and what those before it have come to.
    at: usize,
    before: Option<DnsError>,
    /// When it is over, whatever is missing.
    deadline: Moment,
    /// IPv6, then IPv4.
    families: [FamilyQuery; 2],
}

impl Resolver {
    /// resolv.conf may say something else from now on. Lookups under way go on with the new servers.
    pub fn reload(&mut self, config: Config) {
        self.config = config;
    }

    /// The hosts file says something else from now on: also of names in the cache.
    pub fn reload_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
        self.cache = Cache::default();
    }

    /// Looks up `name`: an address, or a name; with a dot at its end it is whole, and not searched for in other
    /// domains.
    ///
    /// `random`: 64 random bits, from which the ids of the queries are made. The result is an
    /// [`Action::Done`], perhaps among the next actions, and after [`Config::total`] at the latest.
    pub fn resolve(&mut self, name: &str, now: Moment, random: u64) -> LookupId {
        let asker = self.out.lookup();
        match self.known(name, now) {
            Ok(result) => self.out.done(asker, result),
            Err((name, names)) => self.look_up(name, names, asker, now, random),
        }
        asker
    }

    /// Bytes have come to the socket of `query`: over TCP, one whole message.
    pub fn answer(&mut self, query: QueryId, bytes: &[u8], now: Moment) {
        self.step(query, now, |family, cx| family.answer(cx, query, bytes));
    }

    /// The socket of `query` is gone, or could not be made.
    pub fn failed(&mut self, query: QueryId, now: Moment) {
        self.step(query, now, |family, cx| family.failed(cx, query, DnsError::Unreachable));
    }

    /// Time has passed. To be called at [`next_timeout`](Resolver::next_timeout), or whenever.
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

    /// When [`timeout`](Resolver::timeout) is to be called; None: nothing is waited for.
    pub fn next_timeout(&self) -> Option<Moment> {
        self.lookups.values().map(Lookup::next_timeout).min()
    }

    /// What is to be done next; in this order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.out.next()
    }

    /// What can be said of the name `text` without asking anybody; else the name, and those to be asked for.
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

    /// Joins the lookup of `name`, or begins it. `names`: those to be asked for.
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

    /// Lets the family that has put `query` take a step, and its lookup what follows. Every query is
    /// looked at: there are a few for each lookup, and seldom more than one lookup.
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

    /// Ends the lookup of `names` if it is time, or goes on to the next of them.
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

    /// Puts the families together, remembers the result, and tells it to all who asked.
    fn finish(&mut self, names: &[HostName], lookup: Lookup, now: Moment) {
        let Lookup { name, askers, mut families, before, .. } = lookup;
        families.iter_mut().for_each(|family| family.stop(&mut self.out));
        let result = match families.map(FamilyQuery::into_end) {
            [Ok(v6), Ok(v4)] => {
                let ttl = v6.ttl.min(v4.ttl);
                Ok(AddressSet { list: [v6.list, v4.list].concat(), ttl })
            }
            [Ok(found), Err(why)] | [Err(why), Ok(found)] => {
                // Of the other family there may be more than nothing: it is asked again soon.
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
                    log::warn!("dns: {name}: {why}; the addresses that it had are used");
                }
                (stale, None)
            }
        };
        // The hosts file may have got the name meanwhile, or have it for those who write no dot at its end.
        if let Some(ttl) = ttl.filter(|_| self.hosts.addresses(name.as_str()).is_none()) {
            self.cache.keep(names, result.clone(), ttl, now);
        }
        self.waiting -= askers.len();
        askers.into_iter().for_each(|asker| self.out.done(asker, result.clone()));
    }
}

/// Why there is no address of either family, or of either name: what we do not know, if of one we do not; else
/// that the name exists, if one has seen it.
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
    /// Why the next name is to be asked for, if it is: servers have spoken, and there is nothing here.
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
