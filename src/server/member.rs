//! One server of the herd: what all its connections share.
//!
//! In Twisted this is what hangs on the factories: the dictionary of clients, the neighbours, the
//! configuration. Here it is the `S` of the reactor: each call of a protocol is lent it.

use super::counters::Counters;
use super::network::Network;
use super::peer_tls::PeerTls;
use super::persist::{Persist, Recovered};
use super::place_queries::{Answered, PlaceQueries, PlaceQueryLimits};
use super::sweep::Sweeps;
use crate::config::{Limits, Seconds, Server, Topology};
use crate::fetch::pool::PendingRequest;
use crate::journal::{Disk, JournalCounts, JournalSettings, OpenError, Owner, Replayed};
use crate::log::{self, Direction, Party, plural};
use crate::places::Source;
use crate::replication::acks::Batch;
use crate::replication::{NeighbourId, neighbours::Neighbours};
use crate::table::{ClientKey, Table};
use crate::wire::command::CommandLimits;
use crate::wire::stamp::Stamp;
use herd_reactor::{CloseReason, ConnId, Context, Core, Moment, UnixNanos};
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What all connections of one server share.
#[derive(Debug)]
pub struct Member {
    /// This server, as the topology describes it.
    pub server: Server,
    /// The name that all servers share.
    pub herd_name: String,
    /// The folder of the sockets at which servers can be asked how they are; none if they cannot.
    pub status_folder: Option<PathBuf>,
    /// The limits of the topology.
    pub limits: Limits,
    /// The same, as far as they concern commands.
    pub command_limits: CommandLimits,
    /// Every client's latest report.
    pub table: Table,
    /// The neighbours.
    pub neighbours: Neighbours,
    /// What goes through the whole table.
    pub(super) sweeps: Sweeps,
    /// The questions that wait for places.
    pub place_queries: PlaceQueries,
    /// The way to the network, if the source of places asks it.
    pub(super) network: Option<Box<Network>>,
    /// The certificates, if neighbours have to prove who they are.
    pub(super) peer_tls: Option<Box<PeerTls>>,
    /// What outlives the process, if the topology has a journal.
    pub(super) persist: Option<Box<Persist>>,
    /// Memory, and nothing else, for a line that is being composed: its taker passes the line on as an argument and gives
    /// the memory back. A buffer of the core's pool in its place would cost a report 79 instructions, some 5 %.
    pub(super) scratch: Vec<u8>,
    /// Clients that are let in at most. Key: `connections`.
    pub(super) clients_max: u64,
    /// What this server counts itself.
    pub counters: Counters,
    pub(super) log_timer_is_set: bool,
}

/// What is posted to a connection of a server.
#[derive(Debug)]
pub enum Message {
    /// To a client's: the answer to a question.
    Answered(Answered),
    /// To one of the pool's: a request.
    PendingRequest(PendingRequest),
    /// To a client's: the replies that were held in that turn may leave.
    Released(Batch),
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

/// What [`Timer::set`] sets timers for; [`Member::timer_due`] has what is done then. Other files set timers of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// Lines of the log have waited long enough in its buffer.
    Log,
    /// A slice of the table is to be swept.
    Sweep,
    /// A full minute: old clients are forgotten.
    Minute,
    /// The replies of this batch have waited long enough for a neighbour's word.
    AckWait(Batch),
    /// A day: how long the certificates still hold.
    Certificates,
}

impl Timer {
    /// Sets it to `delay` from now.
    pub(super) fn set(self, core: &mut Core<Member>, delay: Duration) {
        core.call_later(delay, move |member, core| member.timer_due(core, self));
    }
}

/// `cx`, in the herd.
pub type Cx<'a> = Context<'a, Member>;

impl Member {
    /// The server `name` of `topology`, knowing nothing yet, with places from `source`.
    ///
    /// `seed`: chance, for hashing. `connections_max`: what the process can hold, if the topology
    /// does not say less. `None`: there is no such server.
    pub fn new(
        topology: &Topology,
        name: &str,
        source: Box<dyn Source>,
        seed: u64,
        connections_max: usize,
    ) -> Option<Member> {
        let server = topology.server(name)?.clone();
        let limits = topology.limits.clone();
        let mut table = Table::new(seed)
            .with_clients_max(limits.known_clients)
            .with_bytes_max(limits.known_bytes);
        let neighbours = Neighbours::new(topology, name, &mut table.backlogs);
        let place_query_limits = PlaceQueryLimits {
            in_flight: topology.places.in_flight,
            queue: topology.places.queue,
            deadline: topology.places.deadline,
        };
        Some(Member {
            server,
            herd_name: topology.herd.clone(),
            status_folder: topology.status_folder.clone(),
            command_limits: CommandLimits {
                client_id_bytes: limits.client_id_bytes,
                location_bytes: limits.location_bytes,
            },
            table,
            neighbours,
            sweeps: Sweeps::new(&limits),
            place_queries: PlaceQueries::new(source, place_query_limits),
            network: None,
            peer_tls: None,
            persist: None,
            scratch: Vec::new(),
            clients_max: limits.connections.unwrap_or(usize::MAX).min(connections_max) as u64,
            counters: Counters::default(),
            limits,
            log_timer_is_set: false,
        })
    }

    /// The same, with a way to the network: for a source that asks it.
    pub fn with_network(self, network: Network) -> Member {
        Member { network: Some(Box::new(network)), ..self }
    }

    /// The same, and neighbours have to prove who they are.
    pub fn with_peer_tls(self, peer_tls: PeerTls) -> Member {
        Member { peer_tls: Some(Box::new(peer_tls)), ..self }
    }

    /// The same, with a source that answers where the first one fails.
    pub fn with_fallback(self, fallback: Box<dyn Source>) -> Member {
        Member { place_queries: self.place_queries.with_fallback(fallback), ..self }
    }

    /// The way to the network: asked for only by what came over it.
    pub(super) fn network(&mut self) -> &mut Network {
        self.network.as_mut().expect("only a member with a network asks it")
    }

    /// The reactor's share of the limits.
    pub fn reactor_limits(topology: &Topology) -> herd_reactor::ReactorLimits {
        let Limits { close, drain, linger, linger_bytes, .. } = topology.limits;
        herd_reactor::ReactorLimits { close, drain, linger, linger_bytes }
    }

    /// The same, with the journal on `disk`: what it holds is known, but for what lies further ahead
    /// than is allowed at `wall`, the time of this start; and from now on it is told all that is new. To be
    /// called before the server meets anybody. `stops` is asked between pieces of the journal whether to end
    /// before the server has begun.
    ///
    /// # Errors
    ///
    /// Why the journal is not opened; the folder is as it was, or mended.
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
            ::log::warn!("limit: ahead_max_s = {max}: {records} of the journal passed over");
        }
        self.counters.journal_records_ahead = ahead;
        self.persist = Some(Box::new(persist));
        Ok((self, replayed))
    }

    /// Whether a report may be answered as one that is kept.
    pub fn takes_reports(&self) -> bool {
        self.persist.as_ref().is_none_or(|persist| persist.is_sound())
    }

    /// Whether the loop ended because the journal failed.
    pub fn journal_failed(&self) -> bool {
        self.persist.as_ref().is_some_and(|persist| persist.has_failed())
    }

    /// What has happened to the journal, if there is one. Whether it is sound now
    /// [`takes_reports`](Member::takes_reports) says.
    pub fn journal_counts(&self) -> Option<JournalCounts> {
        self.persist.as_ref().map(|persist| persist.counts())
    }

    /// Ends the journal in good order: all of it is on the disk.
    ///
    /// # Errors
    ///
    /// Those of the last sync; or, of a broken journal, of the attempt to compact it.
    pub fn close_journal(&mut self, now: Moment) -> io::Result<()> {
        self.persist.take().map_or(Ok(()), |persist| persist.close(now, &self.table))
    }

    /// Neighbour `id` says that it has taken the first `count` AT lines of this connection. Whether that
    /// can be.
    pub(super) fn acknowledged(&mut self, id: NeighbourId, count: u64) -> bool {
        self.neighbours.acks.as_mut().is_some_and(|acks| acks.acknowledged(id, count).is_some())
    }

    /// Lets the replies go whose batch has been acknowledged by now.
    pub(super) fn release_acked(&mut self, core: &mut Core<Member>) {
        let Some(acks) = &mut self.neighbours.acks else { return };
        acks.take_acked()
            .into_iter()
            .for_each(|(waiter, batch)| core.post(waiter, Message::Released(batch)));
    }

    /// Logs that `start` begins a line that is too long, of the connection called `who`, and returns what to echo of it.
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

    /// Closes the connection `id`, called `who`, whose line has not ended in time.
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

    /// Tells the table what time it is; see [`Sweeps::set_window`].
    pub(super) fn set_window(&mut self, wall: UnixNanos) {
        self.sweeps.set_window(&mut self.table, wall);
    }

    /// Sees to it that what has to be swept is, beginning in the next turn.
    pub(super) fn sweep_on(&mut self, core: &mut Core<Member>) {
        if self.sweeps.is_newly_due(&mut self.neighbours) {
            Timer::Sweep.set(core, Duration::ZERO);
        }
    }

    /// Passes news on, to the journal and to the neighbours; see [`Neighbours::flood`].
    pub(super) fn flood(
        &mut self,
        core: &mut Core<Member>,
        key: ClientKey,
        from: Option<NeighbourId>,
    ) {
        if let Some(persist) = &mut self.persist {
            persist.note(self.table.line(key));
        }
        self.neighbours.flood(core, &mut self.table, key, from);
    }
}

impl From<UnixNanos> for Stamp {
    fn from(UnixNanos(nanos): UnixNanos) -> Stamp {
        Stamp(nanos)
    }
}

/// The name of a connection in the log, after Twisted's `logstr`: `Chatserver,12`, as
/// [`Party::Numbered`] is written, too.
pub(super) struct LogName {
    bytes: [u8; 32],
    length: usize,
}

impl LogName {
    pub(super) fn new(protocol: &str, id: ConnId) -> LogName {
        let mut name = LogName { bytes: [0; 32], length: 0 };
        // A protocol's name is a word of ours, and a number has ten digits at most.
        let _ = write!(name, "{protocol},{}", id.generation());
        name
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for LogName {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Logs that the limit `key` closes the connection called `who`. Thousands may reach one at once, so the log is told of
/// them together.
pub(super) fn limit_closes(
    core: &mut Core<Member>,
    key: &'static str,
    value: &dyn fmt::Display,
    who: &dyn fmt::Display,
) {
    core.limit_hit(key, format_args!("{value}, as of {who}"), 1, "connections closed");
}

/// Logs a line that came in or goes out, if lines are logged.
pub(super) fn log_line(cx: &Cx<'_>, protocol: &'static str, direction: Direction, line: &[u8]) {
    if log::traffic_is_on() {
        let party = Party::Numbered(protocol, cx.id.generation());
        log::traffic(cx.wall().0, party, direction, line);
    }
}
