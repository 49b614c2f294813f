//! How a server starts: it listens for clients, neighbours and `herd status`, and dials its neighbours.
//!
//! This is the only file that knows all factories. They share the [`Member`].

use super::chatserver::{ChatserverFactory, TlsClientFactory};
use super::http_port::HttpFactory;
use super::interserver::InterserverFactory;
use super::member::Member;
use super::status::status_factory;
use crate::config::{DialAddr, socket_path};
use herd_reactor::{Factory, Io, Reactor};
use std::io;
use std::net::SocketAddr;

/// The addresses at which a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerAddrs {
    /// The client port.
    pub client: SocketAddr,
    /// The peer port.
    pub peer: SocketAddr,
    /// The HTTP port, if the server has one.
    pub http: Option<SocketAddr>,
    /// The client port that speaks TLS, if the server has one.
    pub client_tls: Option<SocketAddr>,
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
        (member.counters.since, member.counters.started) = (core.now(), core.wall());
        (member.config.loaded_at, member.config.last_attempt) = (core.wall(), core.wall());
        let server = member.server.clone();
        let tcp_fails = |key: &str, found: &DialAddr, address: SocketAddr, e: io::Error| {
            let (name, port) = (&server.name, address.port());
            let end = if *found == DialAddr::Ip(address) { "" } else { "_listen" };
            let remedy = match e.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "end the process that \"ss -ltnp 'sport = :{port}'\" shows, or write another port"
                ),
                io::ErrorKind::PermissionDenied => "write a port from 1024 on".to_owned(),
                _ => "write an address of this machine".to_owned(),
            };
            let what = format!(
                "{name} cannot listen on {key}{end} = \"{address}\": {e}; {remedy} as {key}{end} of {name} in the topology"
            );
            io::Error::new(e.kind(), what)
        };
        let (peer_port, peer) = reactor
            .listen_tcp(server.peer_listen, Box::new(InterserverFactory))
            .map_err(|e| tcp_fails("peer", &server.peer, server.peer_listen, e))?;
        if let Some(folder) = reactor.state().status_folder.clone() {
            let path = socket_path(&folder, &server.name);
            reactor.listen_unix(&path, Box::new(status_factory)).map_err(|e| {
                let at = path.display();
                let what = format!("{} cannot listen at {at} for herd status: {e}", server.name);
                io::Error::new(e.kind(), what)
            })?;
        }
        let mut listen = |key, address: Option<SocketAddr>, factory: Box<dyn Factory<Member>>| {
            let Some(address) = address else { return Ok(None) };
            let listening = reactor.listen_tcp(address, factory).map(Some);
            listening.map_err(|e| tcp_fails(key, &DialAddr::Ip(address), address, e))
        };
        let http = listen("http", server.http, Box::new(HttpFactory))?;
        let client_tls = listen("client_tls", server.client_tls, Box::new(TlsClientFactory))?;
        let (client_port, client) = reactor
            .listen_tcp(server.client_listen, Box::new(ChatserverFactory))
            .map_err(|e| tcp_fails("client", &server.client, server.client_listen, e))?;
        let (member, core) = reactor.parts();
        member.watch_certificates(core);
        member.dial_all(core);
        member.forget_by_the_minute(core);
        member.ports = vec![peer_port, client_port];
        member.ports.extend(http.into_iter().chain(client_tls).map(|(port, _)| port));
        member.begin_serving(core);
        Ok(ServerAddrs {
            client,
            peer,
            http: http.map(|(_, address)| address),
            client_tls: client_tls.map(|(_, address)| address),
        })
    }
}
