//! The connection pool: which connection a request uses, and the result of the request. Twisted: web/client.py, Agent
//! and HTTPConnectionPool.
//!
//! ```text
//!   fetch ─▶ an idle connection to that origin ────────────────▶ Exchanging ─▶ fetched
//!      └──▶ Waiting ─▶ Resolving ─▶ Connecting ─▶ Securing ─────▶    ▲   │
//!           for one of   name to     happy         TLS, its       again, once, if a kept
//!           few hand-    addresses   eyeballs      name checked   connection was closed
//!           shakes
//! ```
//!
//! An origin over TLS may be behind a proxy. Then the pool resolves the proxy's name and connects to the proxy, and
//! the stage Tunnelling comes between Connecting and Securing: the proxy connects us to the origin. A plain origin
//! has no proxy, and no Securing.
//!
//! This file is the pool: the queue of fetches, the kept connections, and which fetch uses which connection.
//! `connect` contains the stages from Resolving to Securing, and `connection` contains Exchanging.
//!
//! Everything here is memory: the pool is one value in the state that the protocols share, and its functions take the
//! state and the core. They call no protocol. [`Fetching::fetched`] receives the result, exactly once for each fetch
//! that is not cancelled.
//!
//! A handshake is the most expensive thing that this loop does: about half a millisecond of computation that cannot
//! be split. So only a few are in progress at a time, connections are kept, and sessions are resumed.
//!
//! Twisted's agent does not limit connections, bodies, or the time from request to response; here each has a limit.

mod connect;
mod connection;
mod timing;

use crate::http::{HttpLimits, ProxyUrl, Request, Response};
use crate::net::dns::{LookupId, Resolving};
use crate::net::race::Race;
use crate::net::tls::BadPeer;
pub use connect::resolved;
use herd_reactor::{CloseReason, ConnId, Core, Shared};
use rustls::ClientConfig;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
pub use timing::{FetchError, FetchPhase, FetchTiming};

/// Implemented by the shared state that owns the pool. Its [`before_poll`](herd_reactor::Shared::before_poll) must
/// call the pool's [`before_poll`].
pub trait Fetching: Resolving<Message: From<PendingRequest> + TryInto<PendingRequest>> {
    /// The pool.
    fn pool(&mut self) -> &mut HttpPool;

    /// Receives the result of a fetch, and the time at which each of its phases ended.
    fn fetched(
        &mut self,
        core: &mut Core<Self>,
        fetch: FetchId,
        outcome: Result<Response, FetchError>,
        timing: FetchTiming,
    );
}

/// Identifies one fetch of a pool. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub(crate) u64);

/// The peer of a request. Connections are kept per origin; equal origins share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whether the connection uses TLS.
    pub secure: bool,
    /// A name or an address; an IPv6 address has no brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A request for an existing connection, which receives it as a message.
#[derive(Clone, Debug)]
pub struct PendingRequest {
    fetch: FetchId,
    request: Request,
}

/// The limits of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpPoolLimits {
    /// Maximum number of lookups, connection attempts and handshakes in progress, all together.
    pub handshakes: usize,
    /// Maximum number of idle connections, of all origins.
    pub idle_connections: usize,
    /// Timeout for connecting to one address, and again for a proxy's response.
    pub connect: Duration,
    /// Timeout for the TLS handshake.
    pub tls: Duration,
    /// Timeout from the request to the first byte of the response.
    pub first_byte: Duration,
    /// Timeout between two parts of the response.
    pub between_bytes: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// The limits of one response.
    pub http: HttpLimits,
    /// Maximum bytes of all responses that are being received.
    pub all_bytes: usize,
}

/// The fetches in progress, and the connections that are kept for later fetches.
#[derive(Debug)]
pub struct HttpPool {
    tls: Arc<ClientConfig>,
    limits: HttpPoolLimits,
    /// The proxy for all origins except plain ones, which are on this machine.
    proxy: Option<ProxyUrl>,
    fetches: BTreeMap<FetchId, PendingFetch>,
    /// The fetches that wait until a handshake may begin.
    waiting: VecDeque<FetchId>,
    /// Connections that lost their fetch by a cancel during the handshake; they still count as handshakes in progress.
    unclaimed: Vec<ConnId>,
    /// The idle connections. The one used last is at the end, and is used first.
    idle: Vec<(Origin, ConnId)>,
    /// The number of response bytes held by all exchanges.
    held_bytes: usize,
    last: u64,
}

#[derive(Debug)]
struct PendingFetch {
    origin: Origin,
    request: Request,
    stage: Stage,
    /// Whether this is the second attempt to send the request.
    again: bool,
    timing: FetchTiming,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Resolving(LookupId),
    Connecting(Race),
    /// The proxy was asked for a tunnel.
    Tunnelling(ConnId),
    Securing(ConnId),
    Exchanging {
        conn: ConnId,
        kept: bool,
    },
}

impl HttpPool {
    /// A pool without connections.
    pub fn new(tls: Arc<ClientConfig>, limits: HttpPoolLimits) -> HttpPool {
        HttpPool {
            tls,
            limits,
            proxy: None,
            fetches: BTreeMap::new(),
            waiting: VecDeque::new(),
            unclaimed: Vec::new(),
            idle: Vec::new(),
            held_bytes: 0,
            last: 0,
        }
    }

    /// Uses `proxy` for all origins with TLS. Origins without TLS are on this machine.
    pub fn with_proxy(mut self, proxy: Option<ProxyUrl>) -> HttpPool {
        self.proxy = proxy;
        self
    }

    /// Adopts the settings of `new`, a pool without connections. No connection that was made with the old ones is used
    /// again. Call it when no fetch is in progress.
    pub fn adopt<S: Shared>(&mut self, core: &mut Core<S>, new: HttpPool) {
        debug_assert!(self.fetches.is_empty());
        (self.tls, self.limits, self.proxy) = (new.tls, new.limits, new.proxy);
        let idle = self.idle.drain(..).map(|(_, conn)| conn);
        idle.chain(self.unclaimed.iter().copied()).for_each(|conn| core.abort_connection(conn));
    }

    /// The number of fetches in progress.
    pub fn fetches(&self) -> usize {
        self.fetches.len()
    }

    /// The timing so far of a fetch in progress.
    pub fn timing(&self, id: FetchId) -> Option<FetchTiming> {
        self.fetches.get(&id).map(|fetch| fetch.timing)
    }

    /// The number of idle connections.
    pub fn idle_connections(&self) -> usize {
        self.idle.len()
    }

    fn handshakes(&self) -> usize {
        let busy = |fetch: &&PendingFetch| {
            !matches!(fetch.stage, Stage::Waiting | Stage::Exchanging { .. })
        };
        self.fetches.values().filter(busy).count() + self.unclaimed.len()
    }

    /// Replaces the number of response bytes that an exchange held before by the number that it holds now. Returns
    /// whether the total is within its limit.
    fn hold(&mut self, before: usize, now: usize) -> bool {
        debug_assert!(before <= self.held_bytes, "more is given back than all exchanges hold");
        self.held_bytes = self.held_bytes + now - before;
        self.held_bytes <= self.limits.all_bytes
    }

    /// Whether the handshake of `conn` is done, even if its fetch was cancelled.
    fn is_secured(&self, conn: ConnId) -> bool {
        let is_on = |fetch: &PendingFetch| matches!(fetch.stage, Stage::Exchanging { conn: its, .. } if its == conn);
        self.idle.iter().any(|(_, idle)| *idle == conn) || self.fetches.values().any(is_on)
    }

    /// The fetch that uses `conn`.
    fn fetch_on(&self, conn: ConnId) -> Option<FetchId> {
        let is_on = |fetch: &PendingFetch| match fetch.stage {
            Stage::Tunnelling(its) | Stage::Securing(its) => its == conn,
            Stage::Exchanging { conn: its, .. } => its == conn,
            _ => false,
        };
        self.fetches.iter().find(|(_, fetch)| is_on(fetch)).map(|(id, _)| *id)
    }
}

/// Sends `request` to `origin`. [`Fetching::fetched`] receives the result, in a later turn.
pub fn fetch<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    origin: Origin,
    request: Request,
) -> FetchId {
    let pool = state.pool();
    pool.last += 1;
    let id = FetchId(pool.last);
    let timing = FetchTiming { begun: Some(core.now()), ..FetchTiming::default() };
    let fetch = PendingFetch { origin, request, stage: Stage::Waiting, again: false, timing };
    pool.fetches.insert(id, fetch);
    pool.waiting.push_back(id);
    start_waiting(state, core);
    id
}

/// Cancels a fetch: it gets no result. A connection in its TLS handshake is completed, and kept for a later fetch.
pub fn cancel<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId) {
    if take_off(state.pool(), core, id).is_some() {
        start_waiting(state, core);
    }
}

/// Must be called by [`Shared::before_poll`].
///
/// When the reactor stops, no connection is opened any more. Fetches without a connection fail here at once, and
/// need not wait for the end of the drain. An exchange in progress may finish in time; a handshake does not.
pub fn before_poll<S: Fetching>(state: &mut S, core: &mut Core<S>) {
    if !core.is_stopping() {
        return;
    }
    let fetches = state.pool().fetches.iter();
    let phases: Vec<(FetchId, FetchPhase)> = fetches
        .filter_map(|(id, fetch)| match fetch.stage {
            Stage::Resolving(_) => Some((*id, FetchPhase::Dns)),
            Stage::Waiting | Stage::Connecting(_) => Some((*id, FetchPhase::Connect)),
            _ => None,
        })
        .collect();
    for (id, phase) in phases {
        if let Some(fetch) = take_off(state.pool(), core, id) {
            let stops = failure(phase, "the server is stopping".to_owned(), None);
            state.fetched(core, id, Err(stops), fetch.timing);
        }
    }
}

/// Removes a fetch, and stops the work for it.
fn take_off<S: Fetching>(
    pool: &mut HttpPool,
    core: &mut Core<S>,
    id: FetchId,
) -> Option<PendingFetch> {
    let mut fetch = pool.fetches.remove(&id)?;
    match &mut fetch.stage {
        Stage::Waiting => pool.waiting.retain(|waiting| *waiting != id),
        Stage::Resolving(_) => {}
        Stage::Securing(conn) => pool.unclaimed.push(*conn),
        Stage::Connecting(race) => race.stop(core),
        Stage::Tunnelling(conn) | Stage::Exchanging { conn, .. } => core.abort_connection(*conn),
    }
    Some(fetch)
}

/// Starts waiting fetches: on idle connections, and on new ones as far as the limit on handshakes allows. When the
/// reactor stops, `before_poll` ends them instead.
fn start_waiting<S: Fetching>(state: &mut S, core: &mut Core<S>) {
    if core.is_stopping() {
        return;
    }
    start_on_idle(state.pool(), core);
    while state.pool().handshakes() < state.pool().limits.handshakes {
        let Some(id) = state.pool().waiting.pop_front() else { return };
        connect::dial(state, core, id);
    }
}

/// Starts waiting fetches whose origin has an idle connection, except retries. A retry uses a new connection, because
/// an idle one may have been closed by the server, and then the request would have to be sent a third time.
fn start_on_idle<S: Fetching>(pool: &mut HttpPool, core: &mut Core<S>) {
    let HttpPool { waiting, fetches, idle, .. } = pool;
    waiting.retain(|id| {
        let Some(fetch) = fetches.get_mut(id).filter(|fetch| !fetch.again) else { return true };
        let kept = idle.iter().rposition(|(origin, _)| *origin == fetch.origin);
        let Some((_, conn)) = kept.map(|at| idle.remove(at)) else { return true };
        fetch.stage = Stage::Exchanging { conn, kept: true };
        core.post(conn, PendingRequest { fetch: *id, request: fetch.request.clone() }.into());
        false
    });
}

/// Called when a connection is ready for its first request. Returns the request; `None` if its fetch was cancelled.
/// Then another waiting fetch uses the connection, or it is kept if there is room.
fn secured<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    conn: ConnId,
    origin: &Origin,
) -> Option<PendingRequest> {
    let pool = state.pool();
    pool.unclaimed.retain(|unclaimed| *unclaimed != conn);
    let request = pool.fetch_on(conn).and_then(|id| {
        let fetch = pool.fetches.get_mut(&id)?;
        fetch.timing.ended(FetchPhase::Tls, core.now());
        fetch.stage = Stage::Exchanging { conn, kept: false };
        Some(PendingRequest { fetch: id, request: fetch.request.clone() })
    });
    if request.is_none() {
        pool.idle.push((origin.clone(), conn));
    }
    start_waiting(state, core);
    let HttpPool { idle, limits, .. } = state.pool();
    if idle.len() > limits.idle_connections && idle.pop_if(|(_, last)| *last == conn).is_some() {
        core.lose_connection(conn);
    }
    request
}

/// Called when the first byte of a response was received.
fn first_byte<S: Fetching>(state: &mut S, core: &Core<S>, id: FetchId) {
    if let Some(fetch) = state.pool().fetches.get_mut(&id) {
        fetch.timing.ended(FetchPhase::FirstByte, core.now());
    }
}

/// Called when a response is complete. Returns whether the connection is kept.
fn responded<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    conn: ConnId,
    origin: &Origin,
    id: FetchId,
    response: Response,
) -> bool {
    let pool = state.pool();
    let room = pool.idle.len() < pool.limits.idle_connections;
    let kept = response.reusable && room && !core.is_stopping();
    if kept {
        pool.idle.push((origin.clone(), conn));
    }
    finish(state, core, id, Ok(response));
    kept
}

/// Called when a connection was closed. If a fetch was using it, the fetch fails. But if the connection had been
/// kept and no byte came back, the request is sent again on a new one: the peer had closed the connection before it
/// saw the request.
fn lost<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    conn: ConnId,
    begun: bool,
    why: &CloseReason,
) {
    let pool = state.pool();
    pool.idle.retain(|(_, idle)| *idle != conn);
    pool.unclaimed.retain(|unclaimed| *unclaimed != conn);
    let Some(id) = pool.fetch_on(conn) else { return start_waiting(state, core) };
    let Some(fetch) = pool.fetches.get_mut(&id) else { return };
    // Our own timeout or shutdown does not show whether the peer saw the request.
    let ended_by_us = matches!(
        why,
        CloseReason::TimeoutError(_) | CloseReason::ConnectionAborted | CloseReason::ReactorStopped
    );
    let phase = match fetch.stage {
        Stage::Exchanging { kept: true, .. } if !begun && !ended_by_us => {
            fetch.stage = Stage::Waiting;
            fetch.again = true;
            pool.waiting.push_front(id);
            return start_waiting(state, core);
        }
        Stage::Exchanging { .. } if begun => FetchPhase::Body,
        Stage::Exchanging { .. } => FetchPhase::FirstByte,
        Stage::Tunnelling(_) => FetchPhase::Connect,
        _ => FetchPhase::Tls,
    };
    let lasting = matches!(why, CloseReason::ProtocolFailed(why) if why.is::<BadPeer>());
    let proxy = pool.proxy.as_ref().filter(|_| phase == FetchPhase::Connect);
    let error = FetchError { lasting, ..failure(phase, why.to_string(), proxy) };
    finish(state, core, id, Err(error));
}

/// Ends a fetch, and reports its result once.
fn finish<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    id: FetchId,
    outcome: Result<Response, FetchError>,
) {
    let Some(mut fetch) = state.pool().fetches.remove(&id) else { return };
    if outcome.is_ok() {
        fetch.timing.ended(FetchPhase::Body, core.now());
    }
    state.fetched(core, id, outcome, fetch.timing);
    start_waiting(state, core);
}

/// The error of a fetch. `proxy` is set if the proxy, not the origin, is the cause.
fn failure(phase: FetchPhase, what: String, proxy: Option<&ProxyUrl>) -> FetchError {
    let is_refused = |proxy: &ProxyUrl| proxy.credentials.is_some() && what.ends_with(" 407");
    let to =
        if proxy.is_some_and(is_refused) { " to the user and password it was sent" } else { "" };
    let what = proxy.map_or(what.clone(), |proxy| format!("the proxy {proxy}: {what}{to}"));
    FetchError { phase, what, lasting: false, by_proxy: proxy.is_some() }
}
