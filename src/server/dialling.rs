//! Dials the neighbours and the bus, each again and again.
//!
//! ```text
//!            ┌──────────────────────────── an address ─┐
//!   Idle ────┴─ a name ─▶ Resolving ──its addresses──▶ Racing ──the first──▶ Idle, connected
//!    ▲                        │ none                     │ all failed             │ lost
//!    └────────────────────────┴──────────────────────────┴────────────────────────┘
//!                    the next attempt follows after the backoff
//! ```
//!
//! A name is looked up at each attempt, because an address that was right an hour ago may be another machine's now. A
//! name that does not resolve is a failed attempt like any other. All addresses of a name are tried, by happy eyeballs.
//! The bus has several servers, of which each attempt dials the next.

use super::bus_link;
use super::dials::{Dial, DialAttempt, DialStage, DialTarget};
use super::interserver;
use super::member::{Cx, Member, log_name};
use crate::config::{DialAddr, Server};
use crate::log::plural;
use crate::net::dns::{self, DnsError, LookupId};
use crate::net::eyeballs::{Attempt, Eyeballs, Next};
use crate::net::race::Race;
use crate::replication::NeighbourId;
use herd_reactor::{Backoff, ClientFactory, CloseReason, Core, Factory, Moment, Protocol};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

impl Member {
    /// Whether this server dials the neighbour `other`. In a pair, the server whose name sorts first dials, so that the
    /// pair has one link; plain neighbours are always dialled.
    pub(super) fn dials(&self, other: &Server) -> bool {
        other.plain || self.server.name < other.name
    }

    /// The pauses between attempts.
    pub(super) fn backoff(&self) -> Backoff {
        let retry = &self.limits;
        let jitter = retry.retry_jitter_percent as f64 / 100.0;
        Backoff::new(retry.retry_first, retry.retry_max, 2.0, jitter)
    }

    /// Dials the bus and the neighbours that this server dials, except those that it dials already.
    pub(super) fn dial_all(&mut self, core: &mut Core<Member>) {
        let due = self.neighbours.iter().filter(|(_, link)| self.dials(&link.server));
        let due = due.map(|(id, _)| DialTarget::Neighbour(id));
        let due = due.chain(self.bus.as_ref().map(|_| DialTarget::Bus));
        let due = due.filter(|target| !self.dials.contains_key(target));
        for target in due.collect::<Vec<_>>() {
            let (backoff, stage) = (self.backoff(), DialStage::Idle);
            self.dials.insert(target, Dial { backoff, failures: 0, number: 0, stage });
            self.dial(core, target);
        }
    }

    /// Stops dialling the neighbour `id`, until [`dial_all`](Member::dial_all). A connection stays.
    pub(super) fn stop_dialling(&mut self, core: &mut Core<Member>, id: NeighbourId) {
        let dial = self.dials.remove(&DialTarget::Neighbour(id));
        if let Some(Dial { stage: DialStage::Racing(mut race), .. }) = dial {
            race.stop(core);
        }
    }

    /// The address of `target`, and for the log the name of the protocol and of the target.
    fn described(&self, target: DialTarget) -> (DialAddr, &'static str, String) {
        match (target, &self.bus) {
            (DialTarget::Neighbour(id), _) => {
                let server = &self.neighbours.get(id).server;
                (server.peer.clone(), interserver::NAME, server.name.clone())
            }
            (DialTarget::Bus, Some(port)) => (port.address(), bus_link::NAME, port.url.to_string()),
            (DialTarget::Bus, None) => unreachable!("only a server with a bus dials it"),
        }
    }

    /// Begins an attempt to connect to `target`, unless this server stops.
    fn dial(&mut self, core: &mut Core<Member>, target: DialTarget) {
        if core.is_stopping() {
            return;
        }
        if let Some(port) = self.bus.as_mut().filter(|_| target == DialTarget::Bus) {
            port.choose(core.random());
        }
        let stage = match self.described(target).0 {
            DialAddr::Ip(address) => DialStage::Racing(Race::new(vec![address])),
            DialAddr::Name { host, .. } => DialStage::Resolving(dns::ask(self, core, &host)),
        };
        self.dial_attempts += 1;
        let number = self.dial_attempts;
        self.dials.entry(target).and_modify(|dial| (dial.number, dial.stage) = (number, stage));
        self.race(core, (target, number), Eyeballs::next);
    }

    /// The dial that makes this attempt; `None` if that is not the latest one.
    fn dial_of(&mut self, (target, number): DialAttempt) -> Option<&mut Dial> {
        self.dials.get_mut(&target).filter(|dial| dial.number == number)
    }

    /// Continues with the result of a lookup. Returns false if no attempt waits for it.
    pub(super) fn dial_resolved(
        &mut self,
        core: &mut Core<Member>,
        lookup: LookupId,
        result: &Result<Vec<IpAddr>, DnsError>,
    ) -> bool {
        let is_asker =
            |dial: &Dial| matches!(dial.stage, DialStage::Resolving(its) if its == lookup);
        let Some((&target, dial)) = self.dials.iter().find(|(_, dial)| is_asker(dial)) else {
            return false;
        };
        let (dialled, (address, ..)) = ((target, dial.number), self.described(target));
        match result {
            Err(why) => {
                let why = format!("{address}: {why}");
                self.dial_failed(core, dialled, &why);
            }
            Ok(addresses) => {
                let port = address.port();
                let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
                let stage = DialStage::Racing(Race::new(addresses));
                self.dials.entry(target).and_modify(|dial| dial.stage = stage);
                self.race(core, dialled, Eyeballs::next);
            }
        }
        true
    }

    /// Takes a step of the happy eyeballs of `dialled`, if it is the latest attempt and tries addresses. A server that stops
    /// tries no further ones.
    fn race(
        &mut self,
        core: &mut Core<Member>,
        dialled: DialAttempt,
        taken: impl FnOnce(&mut Eyeballs<String>, Moment) -> Next<String>,
    ) {
        let timeout = self.limits.connect;
        let dial = self.dial_of(dialled).filter(|_| !core.is_stopping());
        let Some(Dial { stage: DialStage::Racing(race), .. }) = dial else { return };
        let factory = |attempt| Dialler { dialled, attempt };
        let again = move |member: &mut Member, core: &mut Core<Member>| {
            member.race(core, dialled, Eyeballs::next);
        };
        if let Err(why) = race.step(core, timeout, taken, factory, again) {
            self.dial_failed(core, dialled, &why);
        }
    }

    /// Counts and logs a failed attempt, and sets the timer for the next one, unless this server stops. A neighbour may be
    /// down for days, so only attempts whose number is a power of two are logged at INFO, the others at DEBUG.
    fn dial_failed(&mut self, core: &mut Core<Member>, dialled: DialAttempt, why: &str) {
        let Some(delay) = self.dial_later(core, dialled) else { return };
        let Some(dial) = self.dial_of(dialled) else { return };
        dial.failures += 1;
        let failures = dial.failures;
        self.counters.dial_failures += 1;
        let (_, protocol, name) = self.described(dialled.0);
        let level = if failures.is_power_of_two() { log::Level::Info } else { log::Level::Debug };
        log::log!(
            level,
            event = "cannot_connect", neighbour:% = name, reason:% = why;
            "{protocol}: {name}: cannot connect: {why}; attempt {failures}, retry in {delay:.1?}"
        );
    }

    /// Sets the timer for the attempt after `dialled`. Returns the delay; `None` if that is not the latest attempt, or if the
    /// server stops, and dials no more.
    fn dial_later(&mut self, core: &mut Core<Member>, dialled: DialAttempt) -> Option<Duration> {
        let dial = self.dial_of(dialled).filter(|_| !core.is_stopping())?;
        dial.stage = DialStage::Idle;
        let delay = dial.backoff.next(core.random());
        core.call_later(delay, move |member: &mut Member, core| {
            if member.dial_of(dialled).is_some() {
                member.dial(core, dialled.0);
            }
        });
        Some(delay)
    }
}

/// Builds the connection of one attempt to connect to one address.
#[derive(Debug)]
struct Dialler {
    dialled: DialAttempt,
    attempt: Attempt,
}

impl Factory<Member> for Dialler {
    fn build_protocol(
        &mut self,
        cx: &mut Cx<'_>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Member>>> {
        let dial = cx.state.dial_of(self.dialled)?;
        let DialStage::Racing(race) = &mut dial.stage else { return None };
        if !race.won(cx.core, self.attempt) {
            return None;
        }
        dial.stage = DialStage::Idle;
        let after = match std::mem::take(&mut dial.failures) {
            0 => String::new(),
            failures => format!(" after {}", plural(failures as usize, "failed attempt")),
        };
        let (_, protocol, neighbour) = cx.state.described(self.dialled.0);
        let name = log_name(protocol, cx.id);
        log::info!(
            event = "connected", conn:% = name, address:% = peer, neighbour:% = neighbour;
            "{name}: connected to {neighbour} at {peer}{after}"
        );
        let protocol = match self.dialled.0 {
            DialTarget::Neighbour(id) => interserver::dialled(cx, id),
            DialTarget::Bus => bus_link::dialled(cx),
        };
        if protocol.is_none() {
            cx.state.dial_later(cx.core, self.dialled);
        }
        protocol
    }
}

impl ClientFactory<Member> for Dialler {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<Member>,
        member: &mut Member,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        if matches!(why, CloseReason::TimeoutError(_)) {
            let (.., name) = member.described(self.dialled.0);
            let value = format_args!("{}, reached by {name}", member.limits.connect.as_millis());
            core.limit_hit("connect_ms", value, 1, "attempts to connect given up");
        }
        let (attempt, why) = (self.attempt, why.to_string());
        member.race(core, self.dialled, |eyeballs, now| eyeballs.failed(attempt, why, now));
    }

    fn client_connection_lost(
        &mut self,
        core: &mut Core<Member>,
        member: &mut Member,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        member.dial_later(core, self.dialled);
    }
}
