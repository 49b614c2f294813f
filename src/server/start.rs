//! How a server joins the herd: it listens for clients, for neighbours and for who runs it, and it dials.
//!
//! The only file that knows all factories. What they share is the [`Member`].

use super::chatserver::ChatserverFactory;
use super::interserver::{Dialler, InterserverFactory};
use super::member::Member;
use super::status::status_factory;
use crate::config::{Server, socket_path};
use herd_reactor::{Backoff, ConnectOptions, Core, Io, Reactor};
use std::io;
use std::net::SocketAddr;

/// Where a server can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerAddrs {
    /// By clients.
    pub client: SocketAddr,
    /// By its neighbours.
    pub peer: SocketAddr,
}

impl Member {
    /// Begins to serve: listens on both ports of the server and at its status socket, and dials those
    /// neighbours that are its to dial. Says where it listens, which differs from the topology where that says port 0.
    ///
    /// The port for clients is opened last: who gets through to it finds all the others open.
    pub fn start<I: Io>(reactor: &mut Reactor<I, Member>) -> io::Result<ServerAddrs> {
        let (member, core) = reactor.parts();
        member.counters.since = core.now();
        let server = member.server.clone();
        let tcp_fails = |key: &str, address: SocketAddr, e: io::Error| {
            let (name, port) = (&server.name, address.port());
            let remedy = match e.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "; end the process that \"ss -ltnp 'sport = :{port}'\" shows, or write another port as {key} \
                     of {name} in the topology"
                ),
                _ => String::new(),
            };
            let what = format!("{name} cannot listen on {key} = \"{address}\": {e}{remedy}");
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

    /// Of a pair the name that sorts first dials, so that they do not meet twice; a plain neighbour
    /// is dialled always.
    fn dial(&mut self, core: &mut Core<Member>) {
        let ours = |link: &Server| link.plain || self.server.name < link.name;
        let retry = &self.limits;
        let jitter = retry.retry_jitter_percent as f64 / 100.0;
        let backoff = Backoff::new(retry.retry_first, retry.retry_max, 2.0, jitter);
        for (id, link) in self.neighbours.iter().filter(|(_, link)| ours(&link.server)) {
            let options =
                ConnectOptions { timeout: self.limits.connect, reconnect: Some(backoff.clone()) };
            core.connect_tcp(link.server.peer, options, Box::new(Dialler::new(id)));
        }
    }
}
