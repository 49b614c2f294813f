//! What a server keeps of its bus: the algorithm, and the servers of NATS that it may connect to.
//!
//! In: the topology, and what servers say of themselves. Out: the server to dial next. `bus.rs` gives the bus its work,
//! `bus_link.rs` is the connection.

use crate::config::{BusSettings, DialAddr, Limits, Topology};
use crate::fetch::roots::trusting_these;
use crate::nats::{Login, NatsUrl, ServerInfo};
use crate::replication::bus::{ANSWER, Bus};
use crate::replication::bus_watch::WatchPosition;
use crate::table::Table;
use herd_reactor::{ConnId, Core, Moment, Shared};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A server's bus.
#[derive(Debug)]
pub struct BusPort {
    /// What the topology says of it.
    pub settings: BusSettings,
    /// What the bucket is owed.
    pub bus: Bus,
    /// How far the bucket was read.
    pub position: WatchPosition,
    /// The login of the next connection; the file is read again before each.
    pub(super) login: Option<Login>,
    pub(super) tls: Arc<ClientConfig>,
    /// Servers of the same cluster, by INFO.
    learnt: Vec<NatsUrl>,
    /// The number of the server that was dialled last.
    next: Option<usize>,
    /// The server that is dialled, or that is connected.
    pub(super) url: NatsUrl,
    /// The connection, once it is made.
    pub conn: Option<ConnId>,
    /// What the connected server says of itself.
    pub info: Option<ServerInfo>,
    /// The beginning of the subjects of answers on this connection.
    pub(super) inbox: Vec<u8>,
    /// Since when the bucket is read completely on this connection.
    pub(super) live_since: Option<Moment>,
    /// When that began or ended, and how often.
    changed: Moment,
    link_changes: u64,
    /// The time of the last reading of the whole bucket.
    pub(super) read_at: Moment,
    /// How long an answer about the stream may take. Each that is missing doubles it, because a server that is given up
    /// goes on with what it was asked, and has less time for the same question of the next connection.
    pub(super) patience: Duration,
}

impl BusPort {
    /// The bus of the server `name`, if `topology` has one; not connected. `tls`: the authorities to trust.
    pub(super) fn new(topology: &Topology, name: &str, table: &mut Table) -> Option<Box<BusPort>> {
        let settings = topology.bus.clone()?;
        let url = settings.urls.first()?.clone();
        let mut bus = Bus::new(settings.bucket.clone(), name, table);
        set_limits(&mut bus, &topology.limits);
        let tls = tls_config(&settings).ok()?;
        Some(Box::new(BusPort {
            bus,
            position: WatchPosition::default(),
            login: settings.login.clone(),
            tls,
            learnt: Vec::new(),
            next: None,
            url,
            conn: None,
            info: None,
            inbox: Vec::new(),
            live_since: None,
            changed: Moment::default(),
            link_changes: 0,
            read_at: Moment::default(),
            patience: ANSWER,
            settings,
        }))
    }

    /// The bus as a link of the status, with the members of a neighbour's. No server has this name: a server's has no blank.
    pub(super) fn link<S: Shared>(&self, table: &Table, core: &Core<S>) -> Value {
        let counts = &self.bus.counts;
        json!({
            "name": format!("NATS {}", self.settings.bucket.name()),
            "plain": false,
            "bus": true,
            "linked": self.live_since.is_some(),
            "leaving": self.info.as_ref().is_some_and(|info| info.ldm),
            "changed_s": (core.now() - self.changed).as_secs_f64(),
            "link_changes": self.link_changes,
            "at_lines": { "in": counts.delivered, "out": counts.puts },
            "pending_bytes": self.conn.map_or(0, |conn| core.pending(conn)),
            "backlog_clients": self.bus.owed(table),
        })
    }

    /// The bucket is read completely on this connection, or the connection is lost.
    pub(super) fn linked(&mut self, now: Moment, is_linked: bool) {
        if self.live_since.is_some() != is_linked {
            self.live_since = is_linked.then_some(now);
            self.changed = now;
            self.link_changes += 1;
        }
    }

    /// Chooses the server to dial now: each in turn, the learnt ones last, and at first any. Reads the login again, because
    /// operators renew its file in place.
    pub(super) fn choose(&mut self, chance: u64) {
        let urls = self.settings.urls.iter().chain(&self.learnt);
        let next = self.next.map_or(chance as usize % self.settings.urls.len(), |next| next + 1);
        let next = next % urls.clone().count();
        if let Some(url) = urls.into_iter().nth(next) {
            (self.next, self.url) = (Some(next), url.clone());
        }
        (self.conn, self.info) = (None, None);
        match self.settings.read_login(|_| {}) {
            Ok(login) => self.login = login,
            Err(fault) => {
                log::warn!("Bus: the login of the start is used: {}", fault.in_one_line())
            }
        }
    }

    /// The address of the server to dial.
    pub(super) fn address(&self) -> DialAddr {
        let NatsUrl { host, port, .. } = &self.url;
        match host.parse() {
            Ok(ip) => DialAddr::Ip(SocketAddr::new(ip, *port)),
            Err(_) => DialAddr::Name { host: host.clone(), port: *port },
        }
    }

    /// Whether another server than the connected one is known.
    pub(super) fn has_others(&self) -> bool {
        self.settings.urls.len() + self.learnt.len() > 1
    }

    /// Adopts what a server says of itself and its cluster. Servers that the topology names are not learnt.
    pub(super) fn heard(&mut self, info: ServerInfo) {
        let (first, tls) = (&self.settings.urls[0], self.url.tls);
        let found = info.connect_urls.iter().filter_map(|text| {
            let url: NatsUrl = format!("nats://{text}").parse().ok()?;
            Some(NatsUrl { tls, login: first.login.clone(), ..url })
        });
        let is_known = |url: &NatsUrl| {
            self.settings.urls.iter().any(|it| (&it.host, it.port) == (&url.host, url.port))
        };
        let found: Vec<_> = found.filter(|url| !is_known(url)).collect();
        if !found.is_empty() {
            self.learnt = found;
        }
        self.info = Some(info);
    }

    /// The name that the certificate of `url` must have. Servers say their addresses in INFO, and certificates have names.
    pub(super) fn tls_name<'a>(&'a self, url: &'a NatsUrl) -> &'a str {
        let is_address = |url: &NatsUrl| url.host.parse::<std::net::IpAddr>().is_ok();
        let is_learnt = self.learnt.contains(url) && is_address(url);
        let named = self.settings.urls.iter().find(|it| is_learnt && !is_address(it));
        &named.unwrap_or(url).host
    }
}

/// The TLS settings of connections to the bus.
///
/// # Errors
/// rustls offers no version of TLS.
pub(crate) fn tls_config(settings: &BusSettings) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(settings.authorities.iter().cloned());
    Ok(Arc::new(trusting_these(trusted)?.with_no_client_auth()))
}

/// Gives the bus the limits of the topology.
pub(super) fn set_limits(bus: &mut Bus, limits: &Limits) {
    bus.set_limits(limits.bus_window, limits.bus_repair);
}
