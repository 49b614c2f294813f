//! One server of the herd: what its two kinds of connection share, and how it begins.
//!
//! In Twisted this is what hangs on the factories: the dictionary of clients, the neighbours, the
//! configuration. Here it is the `S` of the reactor: each call of a protocol is lent it.

use super::chatserver::ChatserverFactory;
use super::command::CommandLimits;
use super::inquiry::{Inquiries, InquiryLimits, Message};
use super::interserver::{Dialler, InterserverFactory};
use super::links::{Links, NeighbourId};
use super::stamp::Stamp;
use super::table::{ClientKey, Herd};
use super::topology::{Limits, Server, Topology};
use crate::log::{self, Direction};
use crate::places::Source;
use crate::reactor::{
    self, Backoff, ConnId, ConnectOptions, Context, Core, Io, Reactor, Seldom, Shared, UnixNanos,
};
use std::io;
use std::net::SocketAddr;
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
    /// The limits of the topology.
    pub limits: Limits,
    /// The same, as far as they concern commands.
    pub command_limits: CommandLimits,
    /// Every client's latest sighting.
    pub herd: Herd,
    /// The neighbours.
    pub links: Links,
    /// The questions that wait for places.
    pub inquiries: Inquiries,
    /// Where an AT line is composed, to be copied from here to wherever it goes.
    pub(super) line: Vec<u8>,
    /// Connections that are let in at most. Key: `connections`.
    pub(super) connections_max: usize,
    /// Reports of new clients for which there was no room.
    pub(super) refused_clients: Seldom,
    log_timer_is_set: bool,
}

/// `cx`, in the herd.
pub type Cx<'a> = Context<'a, Member>;

impl Shared for Member {
    type Message = Message;

    fn turn_ended(&mut self, core: &mut Core<Member>) {
        if !self.log_timer_is_set && log::unwritten() {
            self.log_timer_is_set = true;
            core.call_later(LOG_DELAY, |member, _| {
                member.log_timer_is_set = false;
                log::flush();
            });
        }
    }
}

/// Where a member can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// By clients.
    pub client: SocketAddr,
    /// By its neighbours.
    pub peer: SocketAddr,
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
            command_limits: CommandLimits {
                client_id_bytes: limits.client_id_bytes,
                location_bytes: limits.location_bytes,
            },
            herd: Herd::new(links.len(), seed).with_clients_max(limits.known_clients),
            links,
            inquiries: Inquiries::new(source, inquiry_limits),
            line: Vec::new(),
            connections_max: limits.connections.unwrap_or(usize::MAX).min(connections_max),
            limits,
            refused_clients: Seldom::default(),
            log_timer_is_set: false,
        })
    }

    /// The reactor's share of the limits.
    pub fn reactor_limits(topology: &Topology) -> reactor::Limits {
        reactor::Limits { close: topology.limits.close, drain: topology.limits.drain }
    }

    /// Begins to serve: listens on both ports of the member, and dials those neighbours that are its
    /// to dial. Says where it listens, which differs from the topology where that says port 0.
    pub fn join<I: Io>(reactor: &mut Reactor<I, Member>) -> io::Result<Addresses> {
        let server = reactor.state().server.clone();
        let at = |what: &str, address, e: io::Error| {
            io::Error::new(
                e.kind(),
                format!("{} cannot listen on {address} for {what}: {e}", server.name),
            )
        };
        let (_, client) = reactor
            .listen_tcp(server.client, Box::new(ChatserverFactory::default()))
            .map_err(|e| at("clients", server.client, e))?;
        let (_, peer) = reactor
            .listen_tcp(server.peer, Box::new(InterserverFactory))
            .map_err(|e| at("neighbours", server.peer, e))?;
        let (member, core) = reactor.parts();
        member.dial(core);
        Ok(Addresses { client, peer })
    }

    /// Of a pair the name that sorts first dials, so that they do not meet twice; a plain neighbour
    /// is dialled always.
    fn dial(&mut self, core: &mut Core<Member>) {
        let ours = |link: &Server| link.plain || self.server.name < link.name;
        let retry = &self.limits;
        let backoff = Backoff::new(
            retry.retry_first,
            retry.retry_max,
            2.0,
            retry.retry_jitter_percent as f64 / 100.0,
        );
        for (id, link) in self.links.iter().filter(|(_, link)| ours(&link.server)) {
            let options =
                ConnectOptions { timeout: self.limits.connect, reconnect: Some(backoff.clone()) };
            core.connect_tcp(link.server.peer, options, Box::new(Dialler::new(id)));
        }
    }

    /// Passes news on; see [`Links::flood`].
    pub(super) fn flood(
        &mut self,
        core: &mut Core<Member>,
        key: ClientKey,
        from: Option<NeighbourId>,
    ) {
        self.links.flood(core, &mut self.herd, key, from);
    }
}

impl From<UnixNanos> for Stamp {
    fn from(UnixNanos(nanos): UnixNanos) -> Stamp {
        Stamp(nanos)
    }
}

/// The name of a connection in the log, after Twisted's `logstr`: `Chatserver,12`.
pub(super) fn log_name(protocol: &str, id: ConnId) -> String {
    format!("{protocol},{}", id.generation())
}

/// Logs a line that came in or goes out, if lines are logged.
pub(super) fn log_line(cx: &Cx<'_>, protocol: &str, direction: Direction, line: &[u8]) {
    if log::traffic_is_on() {
        log::traffic(cx.wall().0, log_name(protocol, cx.id).as_bytes(), direction, line);
    }
}
