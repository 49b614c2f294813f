//! How a server starts: it listens for clients, neighbours and `herd status`, and dials its neighbours.
//!
//! This is the only file that knows all factories. They share the [`Member`].

use super::chatserver::ChatserverFactory;
use super::interserver::{Dialler, InterserverFactory};
use super::member::Member;
use super::status::status_factory;
use crate::config::{Server, socket_path};
use crate::replication::neighbours::Neighbour;
use herd_reactor::{Backoff, ConnectOptions, Core, Io, Reactor};
use std::io;
use std::net::SocketAddr;

/// The addresses at which a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerAddrs {
    /// The client port.
    pub client: SocketAddr,
    /// The peer port.
    pub peer: SocketAddr,
}

impl Member {
    /// Starts to serve: listens on the server's two ports and its status socket, and dials the neighbours that this
    /// server has to dial. Returns the addresses, which differ from the topology's where that says port 0.
    ///
    /// The client port is opened last: a client that can connect finds all the others open.
    ///
    /// # Errors
    ///
    /// The server cannot listen at one of its addresses; the error names it.
    pub fn start<I: Io>(reactor: &mut Reactor<I, Member>) -> io::Result<ServerAddrs> {
        let (member, core) = reactor.parts();
        member.counters.since = core.now();
        (member.config.loaded_at, member.config.last_attempt) = (core.wall(), core.wall());
        let server = member.server.clone();
        let tcp_fails = |key: &str, address: SocketAddr, e: io::Error| {
            let (name, port) = (&server.name, address.port());
            let remedy = match e.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "end the process that \"ss -ltnp 'sport = :{port}'\" shows, or write another port"
                ),
                io::ErrorKind::PermissionDenied => "write a port from 1024 on".to_owned(),
                _ => "write an address of this machine".to_owned(),
            };
            let what = format!(
                "{name} cannot listen on {key} = \"{address}\": {e}; {remedy} as {key} of {name} in the topology"
            );
            io::Error::new(e.kind(), what)
        };
        let (_, peer) = reactor
            .listen_tcp(server.peer, Box::new(InterserverFactory))
            .map_err(|e| tcp_fails("peer", server.peer, e))?;
        if let Some(folder) = reactor.state().status_folder.clone() {
            let path = socket_path(&folder, &server.name);
            reactor.listen_unix(&path, Box::new(status_factory)).map_err(|e| {
                let at = path.display();
                let what = format!("{} cannot listen at {at} for herd status: {e}", server.name);
                io::Error::new(e.kind(), what)
            })?;
        }
        let (_, client) = reactor
            .listen_tcp(server.client, Box::new(ChatserverFactory))
            .map_err(|e| tcp_fails("client", server.client, e))?;
        let (member, core) = reactor.parts();
        member.watch_certificates(core);
        member.dial(core);
        member.forget_by_the_minute(core);
        Ok(ServerAddrs { client, peer })
    }

    /// Whether this server dials the neighbour `other`. In a pair, the server whose name sorts first dials, so that the
    /// pair has one link; plain neighbours are always dialled.
    pub(super) fn dials(&self, other: &Server) -> bool {
        other.plain || self.server.name < other.name
    }

    /// How neighbours are dialled.
    pub(super) fn connect_options(&self) -> ConnectOptions {
        let retry = &self.limits;
        let jitter = retry.retry_jitter_percent as f64 / 100.0;
        let backoff = Backoff::new(retry.retry_first, retry.retry_max, 2.0, jitter);
        ConnectOptions { timeout: retry.connect, reconnect: Some(backoff) }
    }

    /// Dials the neighbours that this server dials, except those that it dials already.
    pub(super) fn dial(&mut self, core: &mut Core<Member>) {
        let is_due = |link: &Neighbour| link.connector.is_none() && self.dials(&link.server);
        let due: Vec<_> =
            self.neighbours.iter().filter(|(_, link)| is_due(link)).map(|(id, _)| id).collect();
        for id in due {
            let (options, dialler) = (self.connect_options(), Box::new(Dialler::new(id)));
            let link = self.neighbours.get_mut(id);
            link.connector = Some(core.connect_tcp(link.server.peer, options, dialler));
        }
    }
}
