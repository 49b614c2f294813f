//! Fetching: which connection a request goes over, and what becomes of it. Twisted: web/client.py,
//! Agent and HTTPConnectionPool.
//!
//! ```text
//!   fetch ─▶ an idle connection to that origin ────────────────▶ Exchanging ─▶ fetched
//!      └──▶ Waiting ─▶ Resolving ─▶ Connecting ─▶ Securing ─────▶    ▲   │
//!           for one of   names in   happy         TLS, its       again, once, if a connection
//!           few hand-    the loop   eyeballs      name checked   that was kept had been closed
//!           shakes
//! ```
//!
//! Where there is a proxy, it is the proxy whose name becomes addresses and who is connected to, and
//! before Securing comes Tunnelling: it connects us to the origin. All else is as without.
//!
//! Everything here is memory: the agent is one value among what the protocols share, and its
//! functions take the state and the core. They call no protocol; the answer is told by
//! [`Fetching::fetched`], exactly once for each fetch that is not cancelled.
//!
//! A handshake is the dearest thing this loop does (about half a millisecond of computing that cannot
//! be cut up), so few are in progress at one time, connections are kept, and sessions resumed.
//!
//! Twisted's agent has no limit on connections, on bodies or on the time from request to response;
//! here each has one.

use super::exchange::Exchange;
use super::eyeballs::{Attempt, Eyeballs, Next};
use super::http::{HttpLimits, Request, Response};
use super::tunnel::{Proxy, Tunnel};
use crate::dns::{self, DnsError, LookupId, Resolving};
use crate::reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, ConnectorId, Context, Core, Factory,
    Moment, Protocol,
};
use crate::tls::Tls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What shares its reactor with an agent.
pub trait Fetching: Resolving<Message: From<Order> + TryInto<Order>> {
    /// The agent.
    fn agent(&mut self) -> &mut Agent;

    /// What came of a fetch. `trip`: when it got how far.
    fn fetched(
        &mut self,
        core: &mut Core<Self>,
        fetch: FetchId,
        outcome: Result<Response, FetchError>,
        trip: Trip,
    );
}

/// Names one fetch of an agent. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(u64);

/// Whom to ask: what connections are kept for. Equal origins share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Over TLS, or plain.
    pub secure: bool,
    /// A name, or an address (of IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A request for a connection that is already there: posted to it.
#[derive(Clone, Debug)]
pub struct Order {
    pub(super) fetch: FetchId,
    pub(super) request: Request,
}

/// How much, how many and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentLimits {
    /// Names being resolved, connections and handshakes in progress, all together.
    pub handshakes: usize,
    /// Connections kept idle, of all origins.
    pub idle_connections: usize,
    /// From the start of connecting to one address to its end; and as long again for a proxy's answer.
    pub connect: Duration,
    /// From the connection to the end of the handshake.
    pub tls: Duration,
    /// From the request to the response's first byte.
    pub first_byte: Duration,
    /// Between any two pieces of it.
    pub between_bytes: Duration,
    /// How long a connection is kept that is not used.
    pub idle: Duration,
    /// Of one response.
    pub http: HttpLimits,
    /// Bytes of all responses that are being received.
    pub all_bytes: usize,
}

/// Why a fetch brought no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// How far it had got.
    pub phase: Phase,
    /// What happened, in words for the log. Never bytes of the peer's.
    pub what: String,
}

/// The parts of a fetch, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// A name becomes addresses.
    Dns,
    /// An address becomes a connection, through a proxy if there is one.
    Connect,
    /// The connection becomes a secret and certain one.
    Tls,
    /// The request is sent; nothing has come back.
    FirstByte,
    /// The response comes.
    Body,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 5] =
        [Phase::Dns, Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Body];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Dns => "dns",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::FirstByte => "first byte",
            Phase::Body => "body",
        })
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.phase, self.what)
    }
}

/// When a fetch got how far. What is `None` was not needed, or not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trip {
    /// It began to be worked on.
    pub begun: Option<Moment>,
    /// The name had become addresses.
    pub resolved: Option<Moment>,
    /// A connection to the origin stood.
    pub connected: Option<Moment>,
    /// The handshake was done, or not needed.
    pub secured: Option<Moment>,
    /// The first byte of the response was there.
    pub first_byte: Option<Moment>,
    /// The whole response was there.
    pub ended: Option<Moment>,
}

impl Trip {
    /// When the end of a phase was reached.
    pub fn end_of(&self, phase: Phase) -> Option<Moment> {
        match phase {
            Phase::Dns => self.resolved,
            Phase::Connect => self.connected,
            Phase::Tls => self.secured,
            Phase::FirstByte => self.first_byte,
            Phase::Body => self.ended,
        }
    }
}

/// The fetches that are under way, and the connections that are kept for those to come.
#[derive(Debug)]
pub struct Agent {
    tls: Arc<ClientConfig>,
    limits: AgentLimits,
    /// Through whom all origins are reached but the plain ones.
    proxy: Option<Proxy>,
    fetches: BTreeMap<FetchId, Fetch>,
    /// Those that wait for a handshake to end.
    waiting: VecDeque<FetchId>,
    /// The one used last is last, and is used first.
    idle: Vec<(Origin, ConnId)>,
    /// Bytes of responses held by all exchanges together.
    held_bytes: usize,
    last: u64,
}

#[derive(Debug)]
struct Fetch {
    origin: Origin,
    request: Request,
    stage: Stage,
    /// The request goes out a second time.
    again: bool,
    trip: Trip,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Resolving(LookupId),
    Connecting {
        eyeballs: Eyeballs<String>,
        connectors: Vec<(Attempt, ConnectorId)>,
    },
    /// A proxy is asked to connect us.
    Tunnelling(ConnId),
    Securing(ConnId),
    Exchanging {
        conn: ConnId,
        kept: bool,
    },
}

impl Agent {
    /// No connections yet.
    pub fn new(tls: Arc<ClientConfig>, limits: AgentLimits) -> Agent {
        Agent {
            tls,
            limits,
            proxy: None,
            fetches: BTreeMap::new(),
            waiting: VecDeque::new(),
            idle: Vec::new(),
            held_bytes: 0,
            last: 0,
        }
    }

    /// Reaches all origins through `proxy`, but those without TLS: they are on this machine.
    pub fn with_proxy(mut self, proxy: Option<Proxy>) -> Agent {
        self.proxy = proxy;
        self
    }

    /// How much, how many and how long.
    pub fn limits(&self) -> &AgentLimits {
        &self.limits
    }

    /// How many fetches are under way.
    pub fn fetches(&self) -> usize {
        self.fetches.len()
    }

    /// How far a fetch has got that is under way.
    pub fn trip(&self, id: FetchId) -> Option<Trip> {
        self.fetches.get(&id).map(|fetch| fetch.trip)
    }

    /// How many connections are kept.
    pub fn idle_connections(&self) -> usize {
        self.idle.len()
    }

    fn handshakes(&self) -> usize {
        let busy =
            |fetch: &&Fetch| !matches!(fetch.stage, Stage::Waiting | Stage::Exchanging { .. });
        self.fetches.values().filter(busy).count()
    }

    fn take_idle(&mut self, origin: &Origin) -> Option<ConnId> {
        let at = self.idle.iter().rposition(|(kept, _)| kept == origin)?;
        Some(self.idle.remove(at).1)
    }

    /// An exchange holds so many bytes of a response now, and held so many before. Whether there is
    /// room for them.
    pub(super) fn hold(&mut self, before: usize, now: usize) -> bool {
        self.held_bytes = self.held_bytes + now - before;
        self.held_bytes <= self.limits.all_bytes
    }

    /// Whether the handshake of `conn` is done. Whoever has begun it may have cancelled.
    fn is_secured(&self, conn: ConnId) -> bool {
        let is_on = |fetch: &Fetch| matches!(fetch.stage, Stage::Exchanging { conn: its, .. } if its == conn);
        self.idle.iter().any(|(_, idle)| *idle == conn) || self.fetches.values().any(is_on)
    }

    /// The proxy on the way to `origin`.
    fn proxy_to(&self, origin: &Origin) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| origin.secure)
    }

    /// Whom `conn` is at work for.
    fn fetch_on(&self, conn: ConnId) -> Option<FetchId> {
        let is_on = |fetch: &Fetch| match fetch.stage {
            Stage::Tunnelling(its) | Stage::Securing(its) => its == conn,
            Stage::Exchanging { conn: its, .. } => its == conn,
            _ => false,
        };
        self.fetches.iter().find(|(_, fetch)| is_on(fetch)).map(|(id, _)| *id)
    }
}

/// Sends `request` to `origin`. What comes of it is told by [`Fetching::fetched`], in a later turn.
pub fn fetch<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    origin: Origin,
    request: Request,
) -> FetchId {
    let agent = state.agent();
    agent.last += 1;
    let id = FetchId(agent.last);
    let trip = Trip { begun: Some(core.now()), ..Trip::default() };
    let stage = match agent.take_idle(&origin) {
        Some(conn) => {
            core.post(conn, Order { fetch: id, request: request.clone() }.into());
            Stage::Exchanging { conn, kept: true }
        }
        None => {
            agent.waiting.push_back(id);
            Stage::Waiting
        }
    };
    agent.fetches.insert(id, Fetch { origin, request, stage, again: false, trip });
    start_waiting(state, core);
    id
}

/// Nobody wants to know any more. A connection that is being secured is kept for the next.
pub fn cancel<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId) {
    let agent = state.agent();
    let Some(fetch) = agent.fetches.remove(&id) else { return };
    match fetch.stage {
        Stage::Waiting => agent.waiting.retain(|waiting| *waiting != id),
        Stage::Resolving(_) | Stage::Securing(_) => {}
        Stage::Connecting { connectors, .. } => {
            connectors.into_iter().for_each(|(_, connector)| core.stop_trying(connector));
        }
        Stage::Tunnelling(conn) | Stage::Exchanging { conn, .. } => core.abort_connection(conn),
    }
    start_waiting(state, core);
}

/// Begins with those that wait: on connections that are kept, and as far as handshakes may be in
/// progress.
fn start_waiting<S: Fetching>(state: &mut S, core: &mut Core<S>) {
    start_on_idle(state.agent(), core);
    while state.agent().handshakes() < state.agent().limits.handshakes {
        let agent = state.agent();
        let Some(id) = agent.waiting.pop_front() else { return };
        let Some(fetch) = agent.fetches.get(&id) else { continue };
        let host = match agent.proxy_to(&fetch.origin) {
            Some(proxy) => proxy.host.clone(),
            None => fetch.origin.host.clone(),
        };
        let lookup = dns::ask(state, core, &host);
        if let Some(fetch) = state.agent().fetches.get_mut(&id) {
            fetch.stage = Stage::Resolving(lookup);
        }
    }
}

/// Those that wait and whose origin's connection has become free go over it. Not whose request goes
/// out again: that is done on a new one, so that it is done once.
fn start_on_idle<S: Fetching>(agent: &mut Agent, core: &mut Core<S>) {
    if agent.idle.is_empty() {
        return;
    }
    for id in std::mem::take(&mut agent.waiting) {
        let Some(fetch) = agent.fetches.get(&id) else { continue };
        let origin = fetch.origin.clone();
        let conn = if fetch.again { None } else { agent.take_idle(&origin) };
        match (conn, agent.fetches.get_mut(&id)) {
            (Some(conn), Some(fetch)) => {
                core.post(conn, Order { fetch: id, request: fetch.request.clone() }.into());
                fetch.stage = Stage::Exchanging { conn, kept: true };
            }
            _ => agent.waiting.push_back(id),
        }
    }
}

/// A name has become addresses, or not: for [`Resolving::resolved`] to call.
pub fn resolved<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    lookup: LookupId,
    result: Result<Vec<IpAddr>, DnsError>,
) {
    let Agent { fetches, proxy, .. } = state.agent();
    let mut asked = fetches.iter_mut();
    let is_asker = |fetch: &Fetch| matches!(fetch.stage, Stage::Resolving(its) if its == lookup);
    let Some((id, fetch)) = asked.find(|(_, fetch)| is_asker(fetch)) else { return };
    let id = *id;
    let proxy = proxy.as_ref().filter(|_| fetch.origin.secure);
    match result {
        Err(why) => {
            let what = blaming(proxy.is_some(), why.to_string());
            finish(state, core, id, Err(failure(Phase::Dns, what)));
        }
        Ok(addresses) => {
            fetch.trip.resolved = Some(core.now());
            let port = proxy.map_or(fetch.origin.port, |proxy| proxy.port);
            let addresses: Vec<SocketAddr> =
                addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
            let mut eyeballs = Eyeballs::new(&addresses);
            let next = eyeballs.started(core.now());
            fetch.stage = Stage::Connecting { eyeballs, connectors: Vec::new() };
            connect_next(state, core, id, next);
        }
    }
}

/// Does what the eyeballs say.
fn connect_next<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId, next: Next<String>) {
    let limits = state.agent().limits;
    let is_proxied = state.agent().proxy.is_some();
    let Some(fetch) = state.agent().fetches.get_mut(&id) else { return };
    let Stage::Connecting { connectors, .. } = &mut fetch.stage else { return };
    let until = match next {
        Next::Try { attempt, address, until } => {
            let options = ConnectOptions { timeout: limits.connect, reconnect: None };
            let factory = Box::new(Dialler { fetch: id, attempt });
            connectors.push((attempt, core.connect_tcp(address, options, factory)));
            until
        }
        Next::Wait { until } => until,
        Next::Connected => None,
        Next::Failed(why) => {
            let what = why.unwrap_or_else(|| "the name has no address".to_owned());
            let what = blaming(is_proxied && fetch.origin.secure, what);
            return finish(state, core, id, Err(failure(Phase::Connect, what)));
        }
    };
    if let Some(until) = until {
        core.call_later(until - core.now(), move |state, core| {
            let now = core.now();
            step(state, core, id, |eyeballs| eyeballs.woken(now));
        });
    }
}

fn step<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    id: FetchId,
    take: impl FnOnce(&mut Eyeballs<String>) -> Next<String>,
) {
    let Some(fetch) = state.agent().fetches.get_mut(&id) else { return };
    let Stage::Connecting { eyeballs, .. } = &mut fetch.stage else { return };
    let next = take(eyeballs);
    connect_next(state, core, id, next);
}

/// One attempt to connect for one fetch.
#[derive(Debug)]
struct Dialler {
    fetch: FetchId,
    attempt: Attempt,
}

impl<S: Fetching> Factory<S> for Dialler {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        let (id, now) = (self.fetch, cx.now());
        let agent = cx.state.agent();
        let (tls, limits) = (agent.tls.clone(), agent.limits);
        let fetch = agent.fetches.get_mut(&id)?;
        let Stage::Connecting { eyeballs, connectors } = &mut fetch.stage else { return None };
        let losers = eyeballs.connected(self.attempt);
        if losers.contains(&self.attempt) {
            return None;
        }
        for (attempt, connector) in connectors.drain(..) {
            if losers.contains(&attempt) {
                cx.core.stop_trying(connector);
            }
        }
        let exchange = Exchange::new(fetch.origin.clone(), limits);
        if !fetch.origin.secure {
            fetch.trip.connected = Some(now);
            fetch.stage = Stage::Securing(cx.id);
            return Some(Box::new(exchange));
        }
        let secured = ServerName::try_from(fetch.origin.host.clone())
            .map_err(|e| e.to_string())
            .and_then(|name| Tls::client(tls, name, exchange).map_err(|e| e.to_string()));
        let secured = match secured {
            Ok(secured) => secured,
            Err(why) => {
                // Told by a timer, since nobody may be called from within a call.
                cx.core.call_later(Duration::ZERO, move |state: &mut S, core| {
                    finish(state, core, id, Err(failure(Phase::Tls, why)));
                });
                return None;
            }
        };
        if let Some(proxy) = &agent.proxy {
            let request = proxy.request(&fetch.origin).ok()?;
            fetch.stage = Stage::Tunnelling(cx.id);
            return Some(Box::new(Tunnel::new(request, limits.http, limits.connect, secured)));
        }
        secure(cx.state, cx.core, id, cx.id);
        Some(Box::new(secured))
    }
}

/// The connection to the origin stands: the handshake begins.
fn secure<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId, conn: ConnId) {
    let time = state.agent().limits.tls;
    let Some(fetch) = state.agent().fetches.get_mut(&id) else { return };
    fetch.trip.connected = Some(core.now());
    fetch.stage = Stage::Securing(conn);
    core.call_later(time, move |state: &mut S, core| {
        if !state.agent().is_secured(conn) {
            core.abort_because(conn, CloseReason::TimeoutError("the TLS handshake"));
        }
    });
}

/// A proxy has connected us to the origin.
pub(super) fn tunnelled<S: Fetching>(state: &mut S, core: &mut Core<S>, conn: ConnId) {
    if let Some(id) = state.agent().fetch_on(conn) {
        secure(state, core, id, conn);
    }
}

impl<S: Fetching> ClientFactory<S> for Dialler {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<S>,
        state: &mut S,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        let (attempt, why, now) = (self.attempt, why.to_string(), core.now());
        step(state, core, self.fetch, |eyeballs| eyeballs.failed(attempt, why, now));
    }
}

/// A connection is ready for its first request. `None`: nobody wants it any more, and it is kept.
pub(super) fn secured<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    conn: ConnId,
    origin: &Origin,
) -> Option<Order> {
    let agent = state.agent();
    let order = agent.fetch_on(conn).and_then(|id| {
        let fetch = agent.fetches.get_mut(&id)?;
        fetch.trip.secured = Some(core.now());
        fetch.stage = Stage::Exchanging { conn, kept: false };
        Some(Order { fetch: id, request: fetch.request.clone() })
    });
    if order.is_none() {
        keep(agent, conn, origin);
    }
    start_waiting(state, core);
    order
}

/// The first byte of a response is there.
pub(super) fn first_byte<S: Fetching>(state: &mut S, core: &Core<S>, id: FetchId) {
    if let Some(fetch) = state.agent().fetches.get_mut(&id) {
        fetch.trip.first_byte.get_or_insert(core.now());
    }
}

/// The response is there. Returns whether the connection is kept.
pub(super) fn responded<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    conn: ConnId,
    origin: &Origin,
    id: FetchId,
    response: Response,
) -> bool {
    let agent = state.agent();
    let room = agent.idle.len() < agent.limits.idle_connections;
    let kept = response.reusable && room && !core.is_stopping();
    if kept {
        keep(agent, conn, origin);
    }
    finish(state, core, id, Ok(response));
    kept
}

fn keep(agent: &mut Agent, conn: ConnId, origin: &Origin) {
    agent.idle.push((origin.clone(), conn));
}

/// A connection is gone. If somebody was waiting for it, he is told; or, if the connection had been
/// kept and nothing had come back, his request goes out again on a new one: the peer had closed it
/// before it saw the request.
pub(super) fn lost<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    conn: ConnId,
    begun: bool,
    why: &CloseReason,
) {
    let agent = state.agent();
    agent.idle.retain(|(_, idle)| *idle != conn);
    let Some(id) = agent.fetch_on(conn) else { return };
    let Some(fetch) = agent.fetches.get_mut(&id) else { return };
    // That we have waited in vain, or stop, says nothing about whether the request was seen.
    let ended_by_us = matches!(
        why,
        CloseReason::TimeoutError(_) | CloseReason::ConnectionAborted | CloseReason::ReactorStopped
    );
    let phase = match fetch.stage {
        Stage::Exchanging { kept: true, .. } if !begun && !ended_by_us => {
            fetch.stage = Stage::Waiting;
            fetch.again = true;
            agent.waiting.push_front(id);
            return start_waiting(state, core);
        }
        Stage::Exchanging { .. } if begun => Phase::Body,
        Stage::Exchanging { .. } => Phase::FirstByte,
        Stage::Tunnelling(_) => Phase::Connect,
        _ => Phase::Tls,
    };
    let why = blaming(phase == Phase::Connect, why.to_string());
    finish(state, core, id, Err(failure(phase, why)));
}

/// Whose fault it was, where it was not the origin's.
fn blaming(proxy: bool, why: String) -> String {
    if proxy { format!("the proxy: {why}") } else { why }
}

/// The end of a fetch: it is told, once.
fn finish<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    id: FetchId,
    outcome: Result<Response, FetchError>,
) {
    let Some(mut fetch) = state.agent().fetches.remove(&id) else { return };
    if outcome.is_ok() {
        fetch.trip.ended = Some(core.now());
    }
    state.fetched(core, id, outcome, fetch.trip);
    start_waiting(state, core);
}

fn failure(phase: Phase, what: String) -> FetchError {
    FetchError { phase, what }
}
