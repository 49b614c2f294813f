//! What the connections of the HTTP port share.
//!
//! In: the topology, and what the connections note here. Out: the host names for which this server answers, the Date of
//! an answer, and numbers for the status. It knows no connection and no request.

use crate::config::{DialAddr, Server, Topology, certificate_name};
use herd_reactor::{ConnId, UnixNanos};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// What all connections of the HTTP port share.
#[derive(Debug, Default)]
pub(super) struct HttpState {
    /// The host names that a Host may have besides those of `[http] hosts`: NAME, NAME.HERD, and the host names in the
    /// server's `client` and `peer`.
    pub(super) hosts: Vec<String>,
    /// The origins of the herd's own pages.
    pub(super) origins: Vec<String>,
    /// The name and the HTTP address of each server of the herd.
    pub(super) herd: Vec<(String, Option<SocketAddr>)>,
    /// The number of lists of clients that are being made.
    pub(super) lists: usize,
    /// The memory of all unfinished requests and of bytes that wait behind answers.
    pub(super) held_bytes: usize,
    /// The followers of the live stream.
    pub(super) followers: Followers,
    /// The connections with long work, in the order of their next slices. The first one has been sent its message.
    pub(super) slices: VecDeque<ConnId>,
    /// The number of answers so far, by the path of the route and the status.
    pub(super) requests: BTreeMap<(&'static str, u16), u64>,
    /// The current second since 1970, and its text in the field Date.
    date: (u64, String),
}

impl HttpState {
    /// The state of the server `server` of `topology`.
    pub(super) fn new(topology: &Topology, server: &Server) -> HttpState {
        let mut port = HttpState::default();
        port.configure(topology, server, &topology.herd, topology.http.tls);
        port
    }

    /// Adopts a new configuration. Only a restart changes the name of the `herd`, and whether the HTTP ports speak `tls`.
    pub(super) fn configure(
        &mut self,
        topology: &Topology,
        server: &Server,
        herd: &str,
        tls: bool,
    ) {
        let scheme = if tls { "https" } else { "http" };
        let pages = topology.servers.iter().filter_map(|server| server.http);
        self.origins = pages.map(|address| format!("{scheme}://{address}")).collect();
        let all = topology.servers.iter();
        self.herd = all.map(|server| (server.name.clone(), server.http)).collect();
        let name = |it: &DialAddr| match it {
            DialAddr::Ip(_) => None,
            DialAddr::Name { host, .. } => Some(host.trim_end_matches('.').to_ascii_lowercase()),
        };
        let full = certificate_name(&server.name, herd);
        let named = [&server.name, &full].map(|it| it.to_ascii_lowercase());
        let dialled = [&server.client, &server.peer].into_iter().filter_map(name);
        self.hosts = dialled.chain(named).collect();
    }

    /// The number of answers so far, by the path of the route and the status.
    pub(super) fn requests(&self) -> BTreeMap<&'static str, BTreeMap<String, u64>> {
        let mut requests = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (&(route, status), &count) in &self.requests {
            requests.entry(route).or_default().insert(status.to_string(), count);
        }
        requests
    }

    /// The number of followers of the live stream.
    pub(super) fn followers(&self) -> usize {
        self.followers.streams.len()
    }

    /// The time `wall`, as HTTP writes it.
    pub(super) fn date(&mut self, wall: UnixNanos) -> &str {
        let second = wall.0 / 1_000_000_000;
        if self.date.0 != second || self.date.1.is_empty() {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            self.date = (second, httpdate::fmt_http_date(time));
        }
        &self.date.1
    }
}

/// The followers of a server.
#[derive(Debug, Default)]
pub(super) struct Followers {
    pub(super) streams: BTreeSet<ConnId>,
    /// Whether the timer for the next round is set.
    pub(super) round_is_set: bool,
}
