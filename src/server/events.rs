//! The events of a server besides bytes: a turn ends, a signal arrives, a timer is due, a name is resolved,
//! a request is answered. Each event is one function here; the parts of [`Member`] do the work.

use super::counters::Door;
use super::interserver;
use super::member::{Member, Message, ServerPhase, Timer};
use super::network;
use super::peer_tls::WATCH_EVERY;
use super::place_queries::{AsksPlaces, PlaceQueries};
use crate::config::Diagnostic;
use crate::fetch::pool::{self, FetchError, FetchId, FetchTiming, Fetching, HttpPool};
use crate::http::Response;
use crate::log::{self as log_file, plural};
use crate::net::dns::{DnsClient, DnsError, LookupId, Resolving};
use crate::replication::acks::Batch;
use herd_reactor::{CloseReason, Core, Shared, Signal, TurnCounts};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Maximum time that a line stays in the log's buffer.
const LOG_DELAY: Duration = Duration::from_millis(100);

impl Shared for Member {
    type Message = Message;

    fn signalled(&mut self, core: &mut Core<Member>, signal: Signal) {
        match signal {
            Signal::Hangup => self.hung_up(core),
            Signal::User1 => log_file::reopen(),
            Signal::User2 => self.begin_lame_duck(core),
            Signal::Interrupt => self.stop(core, "SIGINT"),
            Signal::Terminate => self.stop(core, "SIGTERM"),
            Signal::Child => {}
        }
    }

    fn before_poll(&mut self, core: &mut Core<Member>, counts: &TurnCounts) -> io::Result<()> {
        self.traces.report(core, counts);
        let doors = [Door::Client, Door::Peer, Door::Status, Door::Http];
        let open = doors.map(|door| self.counters.open(door)).iter().sum::<u64>();
        debug_assert!(open <= core.connections() as u64);
        if self.phase == ServerPhase::LameDuck && self.counters.clients() == 0 {
            self.begin_drain(core);
        }
        self.acknowledge(core);
        if self.bus.is_some() {
            self.pay_bus(core);
        }
        if let Some(persist) = &mut self.persist {
            persist.commit(core, &self.table)?;
        }
        if let Some(network) = self.place_queries.take_next() {
            self.use_network(core, network);
        }
        if self.pool.is_some() {
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
        &mut self.resolver
    }

    fn resolved(
        &mut self,
        core: &mut Core<Member>,
        lookup: LookupId,
        result: Result<Vec<IpAddr>, DnsError>,
    ) {
        if !self.dial_resolved(core, lookup, &result) && self.pool.is_some() {
            pool::resolved(self, core, lookup, result);
        }
    }
}

impl Fetching for Member {
    fn pool(&mut self) -> &mut HttpPool {
        self.pool.as_mut().expect("only the pool's own callbacks call this")
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
    /// Acts on `timer`, which is due.
    pub(super) fn timer_due(&mut self, core: &mut Core<Member>, timer: Timer) {
        match timer {
            Timer::Log => {
                self.log_timer_is_set = false;
                log_file::flush();
            }
            Timer::Sweep => {
                self.sweeps.sweep(core, &mut self.table, &mut self.neighbours);
                self.sweep_on(core);
                // It may have forgotten clients.
                self.wake_followers(core);
            }
            Timer::Minute => {
                self.minute_timer_is_set = false;
                self.sweeps.begin_forgetting(core.wall());
                self.sweep_on(core);
                self.forget_by_the_minute(core);
            }
            Timer::AckWait(batch) => self.give_up(core, batch),
            Timer::Certificates => self.watch_certificates(core),
            Timer::Notify => self.notify_manager(core),
            Timer::Followers => self.begin_round(core),
            Timer::Bus => {}
        }
    }

    /// Stops the server, and logs the signal that says so.
    fn stop(&mut self, core: &mut Core<Member>, signal: &str) {
        let (name, drain_ms) = (&self.server.name, self.limits.drain.as_millis());
        let how = match core.is_stopping() {
            true => "ends at once: this is the second signal".to_owned(),
            false => format!("stops, and serves its connections for drain_ms = {drain_ms} at most"),
        };
        log::info!(event = "stopping", reason = signal; "{signal}: {name} {how}");
        self.begin_drain(core);
    }

    /// Sets the timer for the next full minute, at which clients with expired reports are forgotten.
    pub(super) fn forget_by_the_minute(&mut self, core: &mut Core<Member>) {
        if !self.minute_timer_is_set
            && let Some(delay) = self.sweeps.until_the_minute(core.wall())
        {
            self.minute_timer_is_set = true;
            Timer::Minute.set(core, delay);
        }
    }

    /// Sends the neighbours the acknowledgements of this turn, and sets the deadline of the replies that began to
    /// wait in it. Called at the end of each turn.
    fn acknowledge(&mut self, core: &mut Core<Member>) {
        self.neighbours.acknowledge(core);
        if self.neighbours.acks.is_none() {
            return;
        }
        if let Some(batch) = self.neighbours.before_poll(&self.table) {
            Timer::AckWait(batch).set(core, self.limits.ack_wait);
        }
        self.release_acked(core);
        self.release_stored(core);
    }

    /// Sends the replies of `batch` although neither a neighbour nor the bus acknowledged their reports within `ack_wait_ms`, and counts
    /// them.
    fn give_up(&mut self, core: &mut Core<Member>, batch: Batch) {
        let Some(acks) = &mut self.neighbours.acks else { return };
        let (free, replies) = acks.expired(batch);
        let outcome = match acks.are_by_bus() {
            true => "answers sent before the bus had the reports",
            false => "answers sent before a neighbour's ACK",
        };
        free.into_iter().for_each(|(waiter, batch)| core.post(waiter, Message::Released(batch)));
        if let Some(port) = &mut self.bus {
            port.bus.give_up(batch);
        }
        self.counters.unreplicated_replies += replies;
        let limit_ms = self.limits.ack_wait.as_millis();
        core.limit_hit("ack_wait_ms", limit_ms, replies, outcome);
    }

    /// Logs which certificates were read, and closes the links to neighbours whose certificate is no longer valid.
    pub(super) fn use_certificates(&self, core: &mut Core<Member>) {
        let wall = core.wall();
        let Some(tls) = &self.peer_tls else { return };
        let days = plural(tls.days_left(wall)[0] as usize, "day");
        log::info!("reloaded the certificates; the server's is valid for {days} more");
        log_warnings(&tls.warnings(wall));
        for (_, link) in self.neighbours.iter() {
            let Some(conn) = link.conn else { continue };
            let shown = core.transport(conn).map_or(&[][..], |t| t.peer_certificates());
            if let Some(why) = tls.distrust(shown, wall) {
                let (ours, number, name) =
                    (interserver::NAME, conn.generation(), &link.server.name);
                log::warn!("{ours},{number}: {name}: its certificate is no longer valid: {why:?}");
                let why = "its certificate is no longer valid".into();
                core.abort_because(conn, CloseReason::ProtocolFailed(why));
            }
        }
    }

    /// Logs warnings about the certificates and the tokens, now and once a day.
    pub(super) fn watch_certificates(&mut self, core: &mut Core<Member>) {
        log_warnings(&self.access.warnings(core.wall()));
        if let Some(tls) = &self.peer_tls {
            log_warnings(&tls.warnings(core.wall()));
        }
        if self.peer_tls.is_some() || self.access.tls.is_some() {
            Timer::Certificates.set(core, WATCH_EVERY);
        }
    }
}

/// Logs these warnings.
pub(super) fn log_warnings(warnings: &[Diagnostic]) {
    warnings.iter().for_each(|warning| log::warn!("{}", warning.in_one_line()));
}

/// Starts the fetches that WHATSATs wait for, and cancels those that no WHATSAT waits for any more.
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
