//! One server of the herd: what all its connections share.
//!
//! In Twisted the factories hold this state: the dictionary of clients, the neighbours, the
//! configuration. Here it is the `S` of the reactor, which lends it to each call of a protocol.

use super::address_counts::AddressCounts;
use super::bus_port::BusPort;
use super::client_access::ClientAccess;
use super::config_state::{ConfigReader, ConfigState};
use super::counters::Counters;
use super::dials::Dials;
use super::handshakes::Handshakes;
use super::http_state::HttpState;
use super::network::Network;
use super::notify::Notify;
use super::pace::Pace;
use super::peer_tls::PeerTls;
use super::persist::{Persist, Recovered};
use super::place_queries::{Answered, PlaceQueries, PlaceQueryLimits};
use super::sweep::Sweeps;
use super::traces::Traces;
use crate::config::{HttpSettings, Limits, Seconds, Server, Topology};
use crate::fetch::pool::{HttpPool, PendingRequest};
use crate::journal::{Disk, JournalCounts, JournalSettings, OpenError, Owner, Replayed};
use crate::log::{self, Direction, Party, plural};
use crate::net::dns::{DnsClient, DnsOptions};
use crate::places::Source;
use crate::replication::acks::Batch;
use crate::replication::{NeighbourId, neighbours::Neighbours};
use crate::table::{ClientKey, Table};
use crate::wire::command::CommandLimits;
use crate::wire::stamp::Stamp;
use herd_reactor::{CloseReason, ConnId, Context, Core, Moment, PortId, UnixNanos};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The state that all connections of one server share.
#[derive(Debug)]
pub struct Member {
    /// This server, as the topology describes it, but without the list of neighbours.
    pub server: Server,
    /// The name that all servers share.
    pub herd_name: String,
    /// The folder of the status sockets; `None` if the servers have none.
    pub status_folder: Option<PathBuf>,
    /// The limits of the topology.
    pub limits: Limits,
    /// What the topology says about HTTP.
    pub http: HttpSettings,
    /// What the connections of the HTTP port share.
    pub(super) http_port: HttpState,
    /// The limits of the topology that concern commands.
    pub command_limits: CommandLimits,
    /// Every client's latest report.
    pub table: Table,
    /// The neighbours.
    pub neighbours: Neighbours,
    /// The sweeps over the whole table that are under way.
    pub(super) sweeps: Sweeps,
    /// The WHATSATs that wait for places.
    pub place_queries: PlaceQueries,
    /// The connection pool, if the source of places uses the network.
    pub(super) pool: Option<Box<HttpPool>>,
    /// The one resolver, for the source of places and for the host names of neighbours: a reload may bring a network while
    /// a name is looked up. It opens nothing before its first lookup.
    pub(super) resolver: DnsClient,
    /// The neighbours that this server dials, and the bus.
    pub(super) dials: Dials,
    /// The number of attempts to connect so far.
    pub(super) dial_attempts: u64,
    /// The bus, if the topology has one.
    pub bus: Option<Box<BusPort>>,
    /// The certificates, if neighbours must authenticate themselves.
    pub peer_tls: Option<Box<PeerTls>>,
    /// What clients may do, and the certificate that they see.
    pub access: Box<ClientAccess>,
    /// The handshakes of clients that are under way.
    pub(super) client_handshakes: Handshakes,
    /// The journal, if the topology configures one.
    pub(super) persist: Option<Box<Persist>>,
    /// A scratch buffer in which one line is composed. It carries no state: the function that takes it passes the line
    /// on as an argument and puts the buffer back. A buffer from the core's pool would cost a report 79 instructions
    /// more, some 5 %.
    pub(super) scratch: Vec<u8>,
    /// Maximum connected clients. Key: `connections`.
    pub(super) clients_max: u64,
    /// The clients connected from each address, of those that connected while `connections_per_address` was set.
    pub(super) addresses: AddressCounts,
    /// The pace of each client that connected while `idle_client_ms` or `commands_per_second` was set. It is not in the
    /// connection, which would be larger without these limits, too.
    pub(super) paces: BTreeMap<ConnId, Pace>,
    /// How far this process is in its life.
    pub phase: ServerPhase,
    /// The counters that this server's connections increment.
    pub counters: Counters,
    /// The configuration in force, and the last attempt to reload it.
    pub(super) config: ConfigState,
    /// How the configuration is read again; `None`: it cannot be.
    pub config_reader: Option<Box<dyn ConfigReader>>,
    pub(super) log_timer_is_set: bool,
    /// The connections that are told of each turn.
    pub(super) traces: Traces,
    pub(super) minute_timer_is_set: bool,
    /// The client port and the peer port, while they are open.
    pub(super) ports: Vec<PortId>,
    /// The service manager, which is told how the server fares.
    pub notify: Notify,
}

/// How far a server's process is in its life; `lame_duck.rs` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPhase {
    /// It does not accept clients yet.
    Starting,
    /// It serves.
    Serving,
    /// It accepts no connections any more, and will end.
    LameDuck,
    /// It ends when its connections have ended.
    Draining,
}

/// A message that is posted to a connection of a server.
#[derive(Debug)]
pub enum Message {
    /// The answer to a WHATSAT, for a client's connection.
    Answered(Answered),
    /// A request to send, for a connection of the pool.
    PendingRequest(PendingRequest),
    /// The permission to send the replies held back in this batch, for a client's connection.
    Released(Batch),
    /// The server ends soon: a client's connection ends after its last reply, and a link tells its neighbour.
    Leave,
    /// Certificates for clients were replaced or revoked, for a client's connection that presented one.
    CertificatesReplaced,
    /// The next slice of long work may be done, for a connection that posted this to itself.
    NextSlice,
}

impl From<Answered> for Message {
    fn from(answered: Answered) -> Message {
        Message::Answered(answered)
    }
}

impl From<PendingRequest> for Message {
    fn from(request: PendingRequest) -> Message {
        Message::PendingRequest(request)
    }
}

impl TryFrom<Message> for PendingRequest {
    type Error = Message;

    fn try_from(message: Message) -> Result<PendingRequest, Message> {
        match message {
            Message::PendingRequest(request) => Ok(request),
            other => Err(other),
        }
    }
}

/// The timers of [`Member`]: [`Timer::set`] starts one, and [`Member::timer_due`] acts when it is due. Other files set
/// timers of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// The log's buffer must be flushed.
    Log,
    /// The next slice of the table must be swept.
    Sweep,
    /// A full minute of the wall clock: a sweep begins to forget clients.
    Minute,
    /// The replies of this batch have waited `ack_wait_ms` for a neighbour's acknowledgement.
    AckWait(Batch),
    /// A day has passed: the expiry of the certificates is checked.
    Certificates,
    /// The service manager must be told how the server fares.
    Notify,
    /// The followers of the live stream may be sent what is due.
    Followers,
    /// The next slice of the pass for the bus may be done: the end of the turn does it.
    Bus,
}

impl Timer {
    /// Starts this timer, due `delay` from now.
    pub(super) fn set(self, core: &mut Core<Member>, delay: Duration) {
        core.call_later(delay, move |member, core| member.timer_due(core, self));
    }
}

/// The reactor's [`Context`] with a [`Member`] as its state.
pub type Cx<'a> = Context<'a, Member>;

impl Member {
    /// Creates the server `name` of `topology` with an empty table and places from `source`.
    ///
    /// `seed` is a random number, for hashing. `connections_max` is the number of clients for which the process has
    /// descriptors; the topology may set a lower limit. Returns `None` if the topology has no such server.
    pub fn new(
        topology: &Topology,
        name: &str,
        source: Box<dyn Source>,
        seed: u64,
        connections_max: usize,
    ) -> Option<Member> {
        let config = ConfigState::of(topology, name)?;
        let server = Server { neighbours: Vec::new(), ..topology.server(name)?.clone() };
        let limits = topology.limits.clone();
        let mut table = Table::new(seed);
        table.set_limits(limits.known_clients, limits.known_bytes);
        let neighbours = Neighbours::new(topology, name, &mut table.backlogs);
        let place_query_limits = PlaceQueryLimits::of(&topology.places);
        let http_port = HttpState::new(topology, &server);
        let mut member = Member {
            server,
            herd_name: topology.herd.clone(),
            status_folder: topology.status_folder.clone(),
            http: topology.http.clone(),
            http_port,
            command_limits: command_limits(&limits),
            table,
            neighbours,
            sweeps: Sweeps::new(&limits),
            place_queries: PlaceQueries::new(source, place_query_limits),
            pool: None,
            resolver: DnsClient::new(DnsOptions::default()),
            dials: Dials::new(),
            dial_attempts: 0,
            bus: None,
            peer_tls: None,
            access: Box::default(),
            client_handshakes: Handshakes::of_clients(),
            persist: None,
            scratch: Vec::new(),
            clients_max: clients_max(&limits, connections_max),
            addresses: AddressCounts::default(),
            paces: BTreeMap::new(),
            phase: ServerPhase::Starting,
            counters: Counters::default(),
            config,
            config_reader: None,
            limits,
            log_timer_is_set: false,
            traces: Traces::default(),
            minute_timer_is_set: false,
            ports: Vec::new(),
            notify: Notify::default(),
        };
        member.bus = BusPort::new(topology, name, &mut member.table);
        Some(member)
    }

    /// Adds the resolver and the connection pool, for a source that uses the network.
    pub fn with_network(self, network: Network) -> Member {
        let Network { dns, pool } = network;
        Member { resolver: dns, pool: Some(Box::new(pool)), ..self }
    }

    /// The limits of `topology` that the reactor enforces.
    pub fn reactor_limits(topology: &Topology) -> herd_reactor::ReactorLimits {
        let Limits { close, drain, linger, linger_bytes, slow_reader, .. } = topology.limits;
        herd_reactor::ReactorLimits { close, drain, linger, linger_bytes, slow_reader }
    }

    /// Opens the journal on `disk`, replays it into the table, and notes all news in it from now on.
    ///
    /// Records stamped further ahead of `wall`, the time of this start, than `ahead_max_s` allows are skipped. Call
    /// this before the server listens or dials. `stops` is called between pieces of the journal; the start is
    /// abandoned when it returns true.
    ///
    /// # Errors
    /// Fails if the journal cannot be opened; the folder is then unchanged, or repaired.
    pub fn with_journal(
        mut self,
        disk: Box<dyn Disk>,
        settings: &JournalSettings,
        wall: UnixNanos,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Member, Replayed), OpenError> {
        self.sweeps.set_newest(&mut self.table, wall);
        let owner = Owner { server: self.server.name.clone(), herd: self.herd_name.clone() };
        let (persist, Recovered { replayed, ahead }) =
            Persist::open(disk, settings, &owner, &mut self.table, stops)?;
        if let (1.., Some(Seconds(max))) = (ahead, self.limits.ahead_max) {
            let records = plural(ahead as usize, "record");
            ::log::warn!("limit: ahead_max_s = {max}: {records} of the journal skipped");
        }
        self.counters.journal_records_ahead = ahead;
        self.persist = Some(Box::new(persist));
        Ok((self, replayed))
    }

    /// Admits a client from `peer`, unless a limit keeps it out. Returns whether its address was counted, so that
    /// [`client_left`](Member::client_left) must be called.
    pub(super) fn admit_client(
        &mut self,
        core: &mut Core<Member>,
        peer: SocketAddr,
    ) -> Option<bool> {
        if self.counters.clients() >= self.clients_max {
            core.limit_hit("connections", self.clients_max, 1, "clients turned away");
            return None;
        }
        let Some(most) = self.limits.connections_per_address else { return Some(false) };
        if !self.addresses.enter(peer.ip(), most) {
            let value = format_args!("{most}, reached by {}", peer.ip());
            core.limit_hit("connections_per_address", value, 1, "clients turned away");
            return None;
        }
        Some(true)
    }

    /// The connection `id` of a client whose address was counted is lost.
    pub(super) fn client_left(&mut self, core: &Core<Member>, id: ConnId) {
        if let Some(transport) = core.transport(id) {
            self.addresses.leave(transport.addrs().peer.ip());
        }
    }

    /// Whether reports are accepted: there is no journal, or it is sound.
    pub fn takes_reports(&self) -> bool {
        self.persist.as_ref().is_none_or(|persist| persist.journal.is_sound())
    }

    /// Whether the loop ended because the journal failed.
    pub fn journal_failed(&self) -> bool {
        self.persist.as_ref().is_some_and(|persist| persist.failed)
    }

    /// The journal's counts, if there is a journal. [`takes_reports`](Member::takes_reports) says whether it is sound
    /// now.
    pub fn journal_counts(&self) -> Option<JournalCounts> {
        self.persist.as_ref().map(|persist| persist.journal.counts())
    }

    /// Closes the journal, with all of it synced to the disk.
    ///
    /// # Errors
    /// Fails if the last sync fails, or if the journal is broken and the attempt to compact it fails.
    pub fn close_journal(&mut self, now: Moment) -> io::Result<()> {
        self.notify.extend(now);
        self.persist.take().map_or(Ok(()), |persist| persist.close(now, &self.table))
    }

    /// Neighbour `id` acknowledges the first `count` AT lines of this connection. Returns whether that is plausible.
    pub(super) fn acknowledged(&mut self, id: NeighbourId, count: u64) -> bool {
        self.neighbours.acks.as_mut().is_some_and(|acks| acks.acknowledged(id, count).is_some())
    }

    /// Releases the replies whose batch a neighbour has acknowledged.
    pub(super) fn release_acked(&mut self, core: &mut Core<Member>) {
        let Some(acks) = &mut self.neighbours.acks else { return };
        acks.take_acked()
            .into_iter()
            .for_each(|(waiter, batch)| core.post(waiter, Message::Released(batch)));
    }

    /// Logs that the connection named `who` sent a line longer than `line_bytes`; `start` is its beginning. Returns the
    /// part of `start` to echo.
    pub(super) fn line_too_long<'l>(
        &self,
        core: &mut Core<Member>,
        start: &'l [u8],
        who: &dyn fmt::Display,
    ) -> &'l [u8] {
        let Limits { line_bytes, line_echo_bytes, .. } = self.limits;
        let values = format_args!("{line_bytes} (echoed: line_echo_bytes = {line_echo_bytes})");
        limit_closes(core, "line_bytes", &values, who);
        &start[..line_echo_bytes.min(start.len())]
    }

    /// Closes the connection `id`, named `who`, because its line did not end within `unfinished_line_ms`.
    pub(super) fn line_timed_out(
        &mut self,
        core: &mut Core<Member>,
        id: ConnId,
        who: &dyn fmt::Display,
    ) {
        let limit_ms = self.limits.unfinished_line.as_millis();
        limit_closes(core, "unfinished_line_ms", &limit_ms, who);
        core.lose_because(id, Some(CloseReason::TimeoutError("an unfinished line")));
    }

    /// Updates the stamps that the table accepts at `wall`; see [`Sweeps::set_window`].
    pub(super) fn set_window(&mut self, wall: UnixNanos) {
        self.sweeps.set_window(&mut self.table, wall);
    }

    /// Schedules the next slice of a sweep for the next turn, if there is one and it is not scheduled yet.
    pub(super) fn sweep_on(&mut self, core: &mut Core<Member>) {
        if self.sweeps.is_newly_due(&mut self.neighbours) {
            Timer::Sweep.set(core, Duration::ZERO);
        }
    }

    /// Notes news in the journal, tells the followers, and floods it to the neighbours; see [`Neighbours::flood`]. Inlined, as
    /// `Chatserver::iamat` is: the two calls took a report 35 instructions.
    #[inline(always)]
    pub(super) fn flood(
        &mut self,
        core: &mut Core<Member>,
        keys: &[ClientKey],
        lines: &[&[u8]],
        from: Option<NeighbourId>,
    ) {
        if let Some(persist) = &mut self.persist {
            lines.iter().for_each(|line| persist.journal.note(line));
        }
        if self.table.changes.is_some() {
            self.tell_followers(core, keys);
        }
        if self.bus.is_some() {
            self.tell_bus(keys, from);
        }
        self.neighbours.flood(core, &mut self.table.backlogs, keys, lines, from);
    }

    /// Notes the changes for the followers. Is a function of its own, so that a server without followers pays only for
    /// the question.
    #[inline(never)]
    fn tell_followers(&mut self, core: &mut Core<Member>, keys: &[ClientKey]) {
        if let Some(changes) = &mut self.table.changes {
            changes.reported(keys);
            self.wake_followers(core);
        }
    }
}

/// The part of `limits` that concerns commands.
pub(super) fn command_limits(limits: &Limits) -> CommandLimits {
    let &Limits { client_id_bytes, location_bytes, .. } = limits;
    CommandLimits { client_id_bytes, location_bytes }
}

/// Maximum connected clients, if the process has descriptors for `connections_max`.
pub(super) fn clients_max(limits: &Limits, connections_max: usize) -> u64 {
    limits.connections.unwrap_or(usize::MAX).min(connections_max) as u64
}

impl From<UnixNanos> for Stamp {
    fn from(UnixNanos(nanos): UnixNanos) -> Stamp {
        Stamp(nanos)
    }
}

/// The name of a connection in the log, after Twisted's `logstr`: `Chatserver,12`.
pub(super) fn log_name(protocol: &'static str, id: ConnId) -> Party<'static> {
    Party::Numbered(protocol, id.generation())
}

/// Logs that the limit `key` closes the connection named `who`. Thousands of connections may reach a limit at once, so
/// the line is throttled.
pub(super) fn limit_closes(
    core: &mut Core<Member>,
    key: &'static str,
    value: &dyn fmt::Display,
    who: &dyn fmt::Display,
) {
    core.limit_hit(key, format_args!("{value}, reached by {who}"), 1, "connections closed");
}

/// Logs a line that was received or is sent, if the log's traffic target is on.
#[inline]
pub(super) fn log_line(cx: &Cx<'_>, protocol: &'static str, direction: Direction, line: &[u8]) {
    if log::traffic_is_on() {
        log_traffic(cx, protocol, direction, line);
    }
}

/// Is a function of its own, so that a server without these lines pays only for the question.
#[inline(never)]
fn log_traffic(cx: &Cx<'_>, protocol: &'static str, direction: Direction, line: &[u8]) {
    log::traffic(cx.wall().0, log_name(protocol, cx.id), direction, line);
}
