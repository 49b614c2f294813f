//! The resolver on our reactor: sockets, a timer and two files. It has no rules of its own.
//!
//! ```text
//!   ask ─▶ Resolver ─▶ actions ─▶ Send    a Query on a UDP or TCP connection of its own
//!              ▲                  Cancel  the connection is lost
//!              │                  Done    `resolved` is called, in a later turn
//!              └── answer, failed: the Query;  timeout: one timer, for whatever is due first
//! ```
//!
//! A lookup checks the files at most once a minute: it reads resolv.conf then, and the hosts file if that has
//! changed. They are on the local disk; nothing else here could block. Ignored parts of them are logged once, and
//! again when they change.
//!
//! A query survives the beginning of a shutdown, since a client may still get its reply; the total limit on a lookup
//! ends the query.
//!
//! Twisted: names/client.py, Resolver; names/dns.py, DNSDatagramProtocol and DNSProtocol.

use super::DnsError;
use super::action::{Action, LookupId, QueryId, Via};
use super::config::{Config, Remark, TOTAL};
use super::hosts::Hosts;
use super::resolver::Resolver;
use herd_reactor::{
    ClientFactory, CloseReason, ConnectOptions, ConnectorId, Context, Core, Factory, Flow, Moment,
    Protocol, Shared, TimerId,
};
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long the files are not checked again. Twisted: Resolver.maybeParseConfig, 60 s.
const FILES_EVERY: Duration = Duration::from_secs(60);

/// Longest part of a file that is read; the rest is ignored. Long lists of blocked names take 10 MB.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Variables that override resolv.conf in glibc, but are ignored here: a server's environment is seldom checked.
const IGNORED: [&str; 2] = ["LOCALDOMAIN", "RES_OPTIONS"];

/// Size of the length before each message on TCP. RFC 1035, section 4.2.2.
const LENGTH_BYTES: usize = 2;

/// The settings of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// The name servers to ask; empty: those of resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// Timeout of a whole lookup.
    pub total: Duration,
    /// The path of the hosts file.
    pub hosts: PathBuf,
    /// The path of resolv.conf; not read if `servers` is not empty.
    pub resolv_conf: PathBuf,
}

impl Default for DnsOptions {
    fn default() -> DnsOptions {
        DnsOptions {
            servers: Vec::new(),
            total: TOTAL,
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

/// Implemented by the shared state that owns the resolver.
pub trait Resolving: Shared + 'static {
    /// The resolver.
    fn dns(&mut self) -> &mut DnsClient;

    /// Receives the result of an [`ask`]: at least one address, IPv6 first, or an error. Called exactly once for each
    /// lookup, from a timer, in a later turn.
    fn resolved(
        &mut self,
        core: &mut Core<Self>,
        lookup: LookupId,
        result: Result<Vec<IpAddr>, DnsError>,
    );
}

/// Looks up all addresses of `name`, which may be an IP address. [`Resolving::resolved`] receives the result in a
/// later turn, after [`DnsOptions::total`] at the latest.
pub fn ask<S: Resolving>(state: &mut S, core: &mut Core<S>, name: &str) -> LookupId {
    let client = state.dns();
    client.look_at_files(core.now());
    let lookup = client.resolver.resolve(name, core.now(), core.random());
    carry_out(state, core);
    lookup
}

/// A [`Resolver`], and the reactor's objects that carry out its actions.
#[derive(Debug)]
pub struct DnsClient {
    options: DnsOptions,
    resolver: Resolver,
    /// The connectors of the open queries.
    connectors: BTreeMap<QueryId, ConnectorId>,
    /// The timer for the resolver's next timeout.
    timer: Option<TimerId>,
    /// The time when the files were last checked.
    looked: Option<Moment>,
    /// The version of the hosts file that was read.
    stamp: Option<FileVersion>,
    /// The remarks on resolv.conf that were logged.
    remarks: Vec<Remark>,
}

/// Time of modification and length of a file, by which a change is detected.
type FileVersion = (SystemTime, u64);

impl DnsClient {
    /// A client that has not read the files yet.
    pub fn new(options: DnsOptions) -> DnsClient {
        DnsClient {
            options,
            resolver: Resolver::default(),
            connectors: BTreeMap::new(),
            timer: None,
            looked: None,
            stamp: None,
            remarks: Vec::new(),
        }
    }

    /// Adopts other options. The next lookup reads the files that they name.
    pub fn set_options(&mut self, new: DnsClient) {
        (self.options, self.looked, self.stamp) = (new.options, None, None);
    }

    /// The ignored parts of resolv.conf, with the level at which they were logged.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Reads the files again, if it is time to check them.
    fn look_at_files(&mut self, now: Moment) {
        if self.looked.is_some_and(|looked| now - looked < FILES_EVERY) {
            return;
        }
        let is_first = self.looked.replace(now).is_none();
        let DnsOptions { servers, total, hosts, resolv_conf } = &self.options;
        let (mut config, remarks) = match servers.is_empty() {
            true => read(resolv_conf),
            false => (Config::with_servers(servers.clone()), Vec::new()),
        };
        config.total = *total;
        self.resolver.reload(config);
        if remarks != self.remarks {
            remarks.iter().for_each(|(level, what)| log::log!(*level, "dns: {what}"));
            self.remarks = remarks;
        }
        let stamp = stamp(hosts);
        if is_first || stamp != self.stamp {
            self.resolver.reload_hosts(Hosts::parse(text(hosts)));
            self.stamp = stamp;
        }
    }
}

/// Reads resolv.conf. Returns the configuration, and remarks on what is ignored.
fn read(resolv_conf: &Path) -> (Config, Vec<Remark>) {
    let text = text(resolv_conf);
    let (config, said) = Config::parse(&String::from_utf8_lossy(&text), index_of);
    let path = resolv_conf.display();
    let of_file = said.into_iter().map(|(level, what)| (level, format!("{path}: {what}")));
    let set = IGNORED.into_iter().filter(|name| env::var_os(name).is_some());
    let of_environment =
        set.map(|name| (log::Level::Info, format!("{name} in the environment is ignored")));
    (config, of_file.chain(of_environment).collect())
}

/// Parses an IP address and a port; a scope in it may be an interface's name, as in `[fe80::53%eth0]:53`.
pub fn socket_address(text: &str) -> Result<SocketAddr, AddrParseError> {
    let numbered = text.split_once('%').and_then(|(address, behind)| {
        let (scope, port) = behind.split_once(']')?;
        Some(format!("{address}%{}]{port}", index_of(scope)?))
    });
    numbered.as_deref().unwrap_or(text).parse()
}

/// The index of the network interface of this name.
fn index_of(name: &str) -> Option<u32> {
    // The kernel takes this request on any socket.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    rustix::net::netdevice::name_to_index(&socket, name).ok()
}

fn stamp(path: &Path) -> Option<FileVersion> {
    let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The contents of a file, without a byte order mark; empty if the file is missing. Opens only regular files,
/// because a pipe would block.
fn text(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if path.is_file()
        && let Err(e) =
            File::open(path).and_then(|f| f.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    {
        log::warn!("dns: cannot read {}: {e}; the rest of it is ignored", path.display());
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let path = path.display();
        log::warn!("dns: {path} is too long: only the first {FILE_BYTES_MAX} bytes are read");
        bytes.truncate(FILE_BYTES_MAX as usize);
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    bytes
}

/// Carries out the resolver's actions, and sets its timer. It runs no callback, so it may be called from anywhere;
/// `resolved` follows in a later turn.
fn carry_out<S: Resolving>(state: &mut S, core: &mut Core<S>) {
    let client = state.dns();
    while let Some(action) = client.resolver.next_action() {
        match action {
            Action::Send { query, server, via, bytes } => {
                let protocol = DnsQuery { query, via, bytes, received: Vec::new() };
                let factory = Box::new(QueryFactory(query, Some(protocol)));
                let connector = match via {
                    Via::Udp => core.connect_udp(server, factory),
                    Via::Tcp => core.connect_tcp(server, ConnectOptions::default(), factory),
                };
                client.connectors.insert(query, connector);
            }
            Action::Cancel { query } => {
                if let Some(connector) = client.connectors.remove(&query) {
                    core.stop_trying(connector);
                }
            }
            Action::Done { lookup, result } => {
                core.call_later(Duration::ZERO, move |state: &mut S, core| {
                    state.resolved(core, lookup, result);
                });
            }
        }
    }
    if let Some(timer) = client.timer.take() {
        // It may be the timer that has just fired.
        let _ = core.cancel(timer);
    }
    client.timer = client.resolver.next_timeout().map(|due| {
        core.call_later(due - core.now(), |state: &mut S, core| {
            state.dns().resolver.timeout(core.now());
            carry_out(state, core);
        })
    });
}

/// Reports to the resolver that the socket of `query` has failed.
fn failed<S: Resolving>(state: &mut S, core: &mut Core<S>, query: QueryId) {
    let client = state.dns();
    client.connectors.remove(&query);
    client.resolver.failed(query, core.now());
    carry_out(state, core);
}

/// Creates the only connection of a query.
#[derive(Debug)]
struct QueryFactory(QueryId, Option<DnsQuery>);

impl<S: Resolving> Factory<S> for QueryFactory {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        Some(Box::new(self.1.take()?))
    }
}

impl<S: Resolving> ClientFactory<S> for QueryFactory {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<S>,
        state: &mut S,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        log::debug!("dns: {:?}: {why}", self.0);
        failed(state, core, self.0);
    }
}

/// One query to one server. Twisted: names/dns.py, DNSDatagramProtocol and DNSProtocol.
#[derive(Debug)]
struct DnsQuery {
    query: QueryId,
    via: Via,
    bytes: Vec<u8>,
    /// The start of an incomplete message, over TCP.
    received: Vec<u8>,
}

impl DnsQuery {
    /// Passes a complete message to the resolver.
    fn message_received<S: Resolving>(&self, cx: &mut Context<'_, S>, message: &[u8]) {
        cx.state.dns().resolver.answer(self.query, message, cx.core.now());
        carry_out(cx.state, cx.core);
    }
}

impl<S: Resolving> Protocol<S> for DnsQuery {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        if self.via == Via::Tcp {
            let length = u16::try_from(self.bytes.len())?;
            cx.write(&length.to_be_bytes());
        }
        cx.write(&self.bytes);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        if self.via == Via::Udp {
            self.message_received(cx, data);
            return Ok(());
        }
        self.received.extend_from_slice(data);
        let mut rest = self.received.as_slice();
        while let Some((message, behind)) = first_message(rest) {
            self.message_received(cx, message);
            rest = behind;
        }
        // `received` is drained once for all messages: there may be thousands that are empty.
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
        Ok(())
    }

    /// The query continues, since its lookup may still answer a client.
    fn shutting_down(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, _why: &CloseReason) {
        failed(cx.state, cx.core, self.query);
    }
}

/// The first message of a stream, if it is complete, and the bytes after it.
fn first_message(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = stream.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
