//! One server of the herd: what all its connections share.
//!
//! In Twisted this is what hangs on the factories: the dictionary of clients, the neighbours, the
//! configuration. Here it is the `S` of the reactor: each call of a protocol is lent it.

use super::network;
use super::network::Network;
use super::peer_tls::PeerTls;
use super::persist::Durable;
use super::place_queries::{Answered, Inquirer, Inquiries, InquiryLimits};
use super::sweep::Sweeps;
use crate::config::{Limits, Server, Topology};
use crate::fetch::pool;
use crate::fetch::pool::Order;
use crate::log;
use crate::log::{Direction, Party};
use crate::places::Source;
use crate::replication::acks::{Acks, Group};
use crate::replication::neighbours::{Links, NeighbourId};
use crate::table::{ClientKey, Herd};
use crate::wire::command::CommandLimits;
use crate::wire::stamp::Stamp;
use ::log::Level;
use herd_reactor;
use herd_reactor::{CloseReason, ConnId, Context, Core, Shared, Signal, UnixNanos};
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long a line may lie in the log's buffer.
const LOG_DELAY: Duration = Duration::from_millis(100);

/// What all connections of one server share.
#[derive(Debug)]
pub struct Member {
    /// This server, as the topology describes it.
    pub server: Server,
    /// The name that all members share.
    pub herd_name: String,
    /// The folder of the sockets at which servers can be asked how they are; none if they cannot.
    pub status_folder: Option<PathBuf>,
    /// The limits of the topology.
    pub limits: Limits,
    /// The same, as far as they concern commands.
    pub command_limits: CommandLimits,
    /// Every client's latest sighting.
    pub herd: Herd,
    /// The neighbours.
    pub links: Links,
    /// What goes through the whole table.
    pub(super) sweeps: Sweeps,
    /// The questions that wait for places.
    pub inquiries: Inquiries,
    /// The way to the network, if the source of places asks it.
    pub(super) network: Option<Box<Network>>,
    /// The certificates, if neighbours have to prove who they are.
    pub(super) peer_tls: Option<Box<PeerTls>>,
    /// What outlives the process, if the topology has a journal.
    pub(super) durable: Option<Box<Durable>>,
    /// Where an AT line is composed, to be copied from here to wherever it goes.
    pub(super) line: Vec<u8>,
    /// Clients that are let in at most (key: `connections`), and those that are in.
    pub(super) clients_max: usize,
    pub(super) clients: usize,
    /// Connections to the peer port.
    pub(super) callers: usize,
    /// Those of them that have been given the place of a plain neighbour that has no news.
    pub(super) silent_callers: usize,
    /// Connections that ask for the status.
    pub(super) askers: usize,
    /// Replies that left before a neighbour had what they acknowledge.
    pub(super) unreplicated: u64,
    log_timer_is_set: bool,
}

/// What is posted to a connection of a member.
#[derive(Debug)]
pub enum Message {
    /// To a client's: the answer to a question.
    Answered(Answered),
    /// To one of the agent's: a request.
    Order(Order),
    /// To a client's: the replies that were held in that turn may leave.
    Released(Group),
}

impl From<Answered> for Message {
    fn from(answered: Answered) -> Message {
        Message::Answered(answered)
    }
}

impl From<Order> for Message {
    fn from(order: Order) -> Message {
        Message::Order(order)
    }
}

impl TryFrom<Message> for Order {
    type Error = Message;

    fn try_from(message: Message) -> Result<Order, Message> {
        match message {
            Message::Order(order) => Ok(order),
            other => Err(other),
        }
    }
}

/// `cx`, in the herd.
pub type Cx<'a> = Context<'a, Member>;

impl Shared for Member {
    type Message = Message;

    fn signalled(&mut self, core: &mut Core<Member>, signal: Signal) {
        match signal {
            Signal::Hangup => self.read_certificates(core),
            Signal::Interrupt | Signal::Terminate => core.stop(),
            Signal::Child => {}
        }
    }

    fn turn_ended(&mut self, core: &mut Core<Member>) -> io::Result<()> {
        self.acknowledge(core);
        if self.durable.is_some() {
            self.commit(core)?;
        }
        if self.network.is_some() {
            network::fetch_wanted(self, core);
            pool::turn_ended(self, core);
        }
        if !self.log_timer_is_set && log::unwritten() {
            self.log_timer_is_set = true;
            core.call_later(LOG_DELAY, |member, _| {
                member.log_timer_is_set = false;
                log::flush();
            });
        }
        Ok(())
    }
}

impl Inquirer for Member {
    fn inquiries(&mut self) -> &mut Inquiries {
        &mut self.inquiries
    }
}

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
        let links = Links::new(topology, name);
        let inquiry_limits = InquiryLimits {
            in_flight: limits.whatsats_in_flight,
            queue: limits.whatsat_queue,
            deadline: limits.whatsat_deadline,
        };
        Some(Member {
            server,
            herd_name: topology.herd.clone(),
            status_folder: topology.status_folder.clone(),
            command_limits: CommandLimits {
                client_id_bytes: limits.client_id_bytes,
                location_bytes: limits.location_bytes,
            },
            herd: Herd::new(links.len(), seed)
                .with_clients_max(limits.known_clients)
                .with_bytes_max(limits.known_bytes),
            links,
            sweeps: Sweeps::default(),
            inquiries: Inquiries::new(source, inquiry_limits),
            network: None,
            peer_tls: None,
            durable: None,
            line: Vec::new(),
            clients_max: limits.connections.unwrap_or(usize::MAX).min(connections_max),
            clients: 0,
            callers: 0,
            silent_callers: 0,
            askers: 0,
            limits,
            unreplicated: 0,
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
        Member { inquiries: self.inquiries.with_fallback(fallback), ..self }
    }

    /// The way to the network: asked for only by what came over it.
    pub(super) fn network(&mut self) -> &mut Network {
        self.network.as_mut().expect("only a member with a network asks it")
    }

    /// The reactor's share of the limits.
    pub fn reactor_limits(topology: &Topology) -> herd_reactor::Limits {
        let Limits { close, drain, linger, linger_bytes, .. } = topology.limits;
        herd_reactor::Limits { close, drain, linger, linger_bytes }
    }

    /// How many replies have left before a neighbour had what they acknowledge; for `ack = "peer"`.
    pub fn unreplicated(&self) -> u64 {
        self.unreplicated
    }

    /// Neighbour `id` says that it has taken the first `count` AT lines of this connection. Whether that
    /// can be.
    pub(super) fn acknowledged(&mut self, id: NeighbourId, count: u64) -> bool {
        self.links.acks.as_mut().is_some_and(|acks| acks.acknowledged(id, count).is_some())
    }

    /// Lets the replies go that have been covered by now.
    pub(super) fn release_covered(&mut self, core: &mut Core<Member>) {
        let free = self.links.acks.as_mut().map(Acks::covered).unwrap_or_default();
        free.into_iter().for_each(|(holder, group)| core.post(holder, Message::Released(group)));
    }

    /// The turn ends: tells neighbours what has been taken of theirs, and sets the time limit for the
    /// replies that were held in it.
    fn acknowledge(&mut self, core: &mut Core<Member>) {
        self.links.acknowledge(core);
        let Member { links, herd, limits, .. } = self;
        let Some(acks) = &mut links.acks else { return };
        if let Some(group) = acks.turn_ended(|id| herd.owed.owed(id.0) > 0) {
            core.call_later(limits.ack_wait, move |member, core| member.give_up(core, group));
        }
        self.release_covered(core);
    }

    /// No neighbour has said in time that it has what was acknowledged in `group`: the replies leave all
    /// the same, and are counted.
    fn give_up(&mut self, core: &mut Core<Member>, group: Group) {
        let Some(acks) = &mut self.links.acks else { return };
        let (free, replies) = acks.expired(group);
        free.into_iter().for_each(|(holder, group)| core.post(holder, Message::Released(group)));
        self.unreplicated += replies;
        let what = format_args!("limit: ack_wait_ms = {}", self.limits.ack_wait.as_millis());
        let outcome = "replies left without a neighbour's word";
        core.log_throttled(Level::Warn, ("ack_wait_ms", 0), what, replies, outcome);
    }

    /// Closes the connection `id`, called `who`, whose line has not ended in time.
    ///
    /// Thousands may do this at once, so the log is told of them together.
    pub(super) fn line_timed_out(&mut self, core: &mut Core<Member>, id: ConnId, who: &str) {
        let limit_ms = self.limits.unfinished_line.as_millis();
        let what = format_args!("limit: unfinished_line_ms = {limit_ms}, as of {who}");
        let key = ("unfinished_line_ms", 0);
        core.log_throttled(Level::Warn, key, what, 1, "connections closed");
        core.lose_because(id, Some(CloseReason::TimeoutError("an unfinished line")));
    }

    /// Passes news on, to the journal and to the neighbours; see [`Links::flood`].
    pub(super) fn flood(
        &mut self,
        core: &mut Core<Member>,
        key: ClientKey,
        from: Option<NeighbourId>,
    ) {
        if let Some(durable) = &mut self.durable {
            durable.note(self.herd.line(key));
        }
        self.links.flood(core, &mut self.herd, key, from);
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

/// Logs a line that came in or goes out, if lines are logged.
pub(super) fn log_line(cx: &Cx<'_>, protocol: &'static str, direction: Direction, line: &[u8]) {
    if log::traffic_is_on() {
        let party = Party::Numbered(protocol, cx.id.generation());
        log::traffic(cx.wall().0, party, direction, line);
    }
}
