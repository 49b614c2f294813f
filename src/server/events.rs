//! What happens to a server besides bytes: a turn ends, a signal comes, a timer is due, a name is resolved,
//! a request is answered. Each is one function here; what it does is done by the parts of [`Member`].

use super::interserver;
use super::member::{Member, Message, Timer};
use super::network;
use super::peer_tls::WATCH_EVERY;
use super::place_queries::{AsksPlaces, PlaceQueries};
use crate::fetch::pool::{self, FetchError, FetchId, FetchTiming, Fetching, HttpPool};
use crate::http::Response;
use crate::log::{self as log_file, plural};
use crate::net::dns::{DnsClient, DnsError, LookupId, Resolving};
use crate::replication::acks::Batch;
use herd_reactor::{CloseReason, Core, Shared, Signal, TurnCounts};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long a line may lie in the log's buffer.
const LOG_DELAY: Duration = Duration::from_millis(100);

impl Shared for Member {
    type Message = Message;

    fn signalled(&mut self, core: &mut Core<Member>, signal: Signal) {
        match signal {
            Signal::Hangup => self.read_certificates(core),
            Signal::Interrupt | Signal::Terminate => core.stop(),
            Signal::Child => {}
        }
    }

    fn before_poll(&mut self, core: &mut Core<Member>, _: &TurnCounts) -> io::Result<()> {
        let counted = self.counters.clients
            + self.counters.peer_connections
            + self.counters.status_connections;
        debug_assert!(counted <= core.connections() as u64);
        self.acknowledge(core);
        if let Some(persist) = &mut self.persist {
            persist.commit(core, &self.table)?;
        }
        if self.network.is_some() {
            fetch_wanted(self, core);
            pool::before_poll(self, core);
        }
        if !self.log_timer_is_set && log_file::unwritten() {
            self.log_timer_is_set = true;
            Timer::Log.set(core, LOG_DELAY);
        }
        Ok(())
    }
}

impl AsksPlaces for Member {
    fn place_queries(&mut self) -> &mut PlaceQueries {
        &mut self.place_queries
    }
}

impl Resolving for Member {
    fn dns(&mut self) -> &mut DnsClient {
        &mut self.network().dns
    }

    fn resolved(
        &mut self,
        core: &mut Core<Member>,
        lookup: LookupId,
        result: Result<Vec<IpAddr>, DnsError>,
    ) {
        pool::resolved(self, core, lookup, result);
    }
}

impl Fetching for Member {
    fn pool(&mut self) -> &mut HttpPool {
        &mut self.network().pool
    }

    fn fetched(
        &mut self,
        core: &mut Core<Member>,
        fetch: FetchId,
        outcome: Result<Response, FetchError>,
        timing: FetchTiming,
    ) {
        log::debug!("Https: {timing:?}");
        self.place_queries().fetched(core, fetch, outcome);
    }
}

impl Member {
    /// `timer` is due.
    pub(super) fn timer_due(&mut self, core: &mut Core<Member>, timer: Timer) {
        match timer {
            Timer::Log => {
                self.log_timer_is_set = false;
                log_file::flush();
            }
            Timer::Sweep => {
                self.sweeps.sweep(core, &mut self.table, &mut self.neighbours);
                self.sweep_on(core);
            }
            Timer::Minute => {
                self.sweeps.begin_forgetting(core.wall());
                self.sweep_on(core);
                self.forget_by_the_minute(core);
            }
            Timer::AckWait(batch) => self.give_up(core, batch),
            Timer::Certificates => self.watch_certificates(core),
        }
    }

    /// Forgets what is not allowed any more at every full minute, from the next one on.
    pub(super) fn forget_by_the_minute(&mut self, core: &mut Core<Member>) {
        if let Some(delay) = self.sweeps.until_the_minute(core.wall()) {
            Timer::Minute.set(core, delay);
        }
    }

    /// The turn ends: tells neighbours what has been taken of theirs, and sets the deadline for the
    /// replies that began to wait in it.
    fn acknowledge(&mut self, core: &mut Core<Member>) {
        self.neighbours.acknowledge(core);
        if self.neighbours.acks.is_none() {
            return;
        }
        if let Some(batch) = self.neighbours.before_poll(&self.table) {
            Timer::AckWait(batch).set(core, self.limits.ack_wait);
        }
        self.release_acked(core);
    }

    /// No neighbour has said in time that it has what was acknowledged in `batch`: the replies leave all
    /// the same, and are counted.
    fn give_up(&mut self, core: &mut Core<Member>, batch: Batch) {
        let Some(acks) = &mut self.neighbours.acks else { return };
        let (free, replies) = acks.expired(batch);
        free.into_iter().for_each(|(waiter, batch)| core.post(waiter, Message::Released(batch)));
        self.counters.unreplicated_replies += replies;
        let limit_ms = self.limits.ack_wait.as_millis();
        core.limit_hit("ack_wait_ms", limit_ms, replies, "answers left without a neighbour's word");
    }

    /// SIGHUP: reads the certificates again, and closes the links to those that are no more to be
    /// believed. What is faulty leaves the old ones in force.
    fn read_certificates(&mut self, core: &mut Core<Member>) {
        let wall = core.wall();
        let Some(tls) = &mut self.peer_tls else {
            return log::info!("SIGHUP: there is no [peer_tls], so nothing is read anew");
        };
        match tls.read_anew(wall) {
            Ok(()) => log::info!(
                "SIGHUP: the certificates were read anew, {} left",
                plural(tls.days_left(wall) as usize, "day")
            ),
            Err(fault) => {
                log::error!("SIGHUP: the old certificates stay in force: {}", fault.in_one_line());
            }
        }
        tls.warnings(wall).iter().for_each(|warning| log::warn!("{}", warning.in_one_line()));
        for (_, link) in self.neighbours.iter() {
            let Some(conn) = link.conn else { continue };
            let shown = core.transport(conn).map_or(&[][..], |t| t.peer_certificates());
            if let Some(why) = tls.distrust(shown, wall) {
                let (ours, name) = (interserver::NAME, &link.server.name);
                log::warn!("{ours},{}: {name}: its certificate: {why:?}", conn.generation());
                let why = "its certificate is no more to be believed".into();
                core.abort_because(conn, CloseReason::ProtocolFailed(why));
            }
        }
    }

    /// Tells the log, now and once a day, what is doubtful about the certificates.
    pub(super) fn watch_certificates(&mut self, core: &mut Core<Member>) {
        let Some(tls) = &self.peer_tls else { return };
        let warnings = tls.warnings(core.wall());
        warnings.iter().for_each(|warning| log::warn!("{}", warning.in_one_line()));
        Timer::Certificates.set(core, WATCH_EVERY);
    }
}

/// Begins what the questions want fetched, and ends what they want no more.
fn fetch_wanted(member: &mut Member, core: &mut Core<Member>) {
    while let Some(id) = member.place_queries.next_unwanted() {
        pool::cancel(member, core, id);
    }
    while let Some((key, fetch)) = member.place_queries.next_wanted() {
        match network::request(fetch) {
            Ok((origin, request)) => {
                let id = pool::fetch(member, core, origin, request);
                member.place_queries.begun(&key, id);
            }
            Err(why) => member.place_queries.failed(core, &key, &why.to_string()),
        }
    }
}
