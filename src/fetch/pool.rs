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
//! An origin over TLS may lie behind a proxy. Then the proxy's name becomes addresses and the proxy is connected
//! to, and between Connecting and Securing comes Tunnelling: the proxy connects us to the origin. A plain origin has no
//! proxy, and no Securing.
//!
//! This file is the pool: who waits, what is kept, and who goes over which connection; from Resolving
//! to Securing a fetch is in `connect`, and Exchanging it is in `connection`.
//!
//! Everything here is memory: the pool is one value among what the protocols share, and its
//! functions take the state and the core. They call no protocol; the answer is told by
//! [`Fetching::fetched`], exactly once for each fetch that is not cancelled.
//!
//! A handshake is the dearest thing this loop does (about half a millisecond of computing that cannot
//! be cut up), so few are in progress at one time, connections are kept, and sessions resumed.
//!
//! Twisted's agent has no limit on connections, on bodies or on the time from request to response;
//! here each has one.

mod connect;
mod connection;
mod timing;

use crate::http::{HttpLimits, ProxyUrl, Request, Response};
use crate::net::dns::{LookupId, Resolving};
use crate::net::eyeballs::{Attempt, Eyeballs};
use crate::net::tls::BadPeer;
pub use connect::resolved;
use herd_reactor::{CloseReason, ConnId, ConnectorId, Core};
use rustls::ClientConfig;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
pub use timing::{FetchError, FetchPhase, FetchTiming};

/// What shares its reactor with a pool. Its [`before_poll`](herd_reactor::Shared::before_poll) calls
/// the pool's, [`before_poll`].
pub trait Fetching: Resolving<Message: From<PendingRequest> + TryInto<PendingRequest>> {
    /// The pool.
    fn pool(&mut self) -> &mut HttpPool;

    /// What came of a fetch. `timing`: when it got how far.
    fn fetched(
        &mut self,
        core: &mut Core<Self>,
        fetch: FetchId,
        outcome: Result<Response, FetchError>,
        timing: FetchTiming,
    );
}

/// Names one fetch of a pool. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub(crate) u64);

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
pub struct PendingRequest {
    fetch: FetchId,
    request: Request,
}

/// How much, how many and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpPoolLimits {
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

/// The fetches that are under way, and the connections that are kept for those to come.
#[derive(Debug)]
pub struct HttpPool {
    tls: Arc<ClientConfig>,
    limits: HttpPoolLimits,
    /// Through whom all origins are reached but the plain ones, which are on this machine.
    proxy: Option<ProxyUrl>,
    fetches: BTreeMap<FetchId, PendingFetch>,
    /// Those that wait for a handshake to end.
    waiting: VecDeque<FetchId>,
    /// Connections being secured for nobody any more: handshakes in progress all the same.
    unclaimed: Vec<ConnId>,
    /// The one used last is last, and is used first.
    idle: Vec<(Origin, ConnId)>,
    /// Bytes of responses held by all exchanges together.
    held_bytes: usize,
    last: u64,
}

#[derive(Debug)]
struct PendingFetch {
    origin: Origin,
    request: Request,
    stage: Stage,
    /// The request goes out a second time.
    again: bool,
    timing: FetchTiming,
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

impl HttpPool {
    /// No connections yet.
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

    /// Reaches all origins through `proxy`, but those without TLS: they are on this machine.
    pub fn with_proxy(mut self, proxy: Option<ProxyUrl>) -> HttpPool {
        self.proxy = proxy;
        self
    }

    /// How many fetches are under way.
    pub fn fetches(&self) -> usize {
        self.fetches.len()
    }

    /// How far a fetch has got that is under way.
    pub fn timing(&self, id: FetchId) -> Option<FetchTiming> {
        self.fetches.get(&id).map(|fetch| fetch.timing)
    }

    /// How many connections are kept.
    pub fn idle_connections(&self) -> usize {
        self.idle.len()
    }

    fn handshakes(&self) -> usize {
        let busy = |fetch: &&PendingFetch| {
            !matches!(fetch.stage, Stage::Waiting | Stage::Exchanging { .. })
        };
        self.fetches.values().filter(busy).count() + self.unclaimed.len()
    }

    /// An exchange holds so many bytes of a response now, and held so many before. Whether there is
    /// room for them.
    fn hold(&mut self, before: usize, now: usize) -> bool {
        debug_assert!(before <= self.held_bytes, "more is given back than all exchanges hold");
        self.held_bytes = self.held_bytes + now - before;
        self.held_bytes <= self.limits.all_bytes
    }

    /// Whether the handshake of `conn` is done. Whoever has begun it may have cancelled.
    fn is_secured(&self, conn: ConnId) -> bool {
        let is_on = |fetch: &PendingFetch| matches!(fetch.stage, Stage::Exchanging { conn: its, .. } if its == conn);
        self.idle.iter().any(|(_, idle)| *idle == conn) || self.fetches.values().any(is_on)
    }

    /// Whom `conn` is at work for.
    fn fetch_on(&self, conn: ConnId) -> Option<FetchId> {
        let is_on = |fetch: &PendingFetch| match fetch.stage {
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

/// Nobody wants to know any more. A connection that is being secured is kept for the next.
pub fn cancel<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId) {
    if take_off(state.pool(), core, id).is_some() {
        start_waiting(state, core);
    }
}

/// For [`Shared::before_poll`](herd_reactor::Shared::before_poll) to call.
///
/// Once the reactor stops, no connection is begun: what has none is told so, here, and need not wait
/// for the end of the drain. An exchange under way is finished, if it is in time; a handshake is not.
pub fn before_poll<S: Fetching>(state: &mut S, core: &mut Core<S>) {
    if !core.is_stopping() {
        return;
    }
    let fetches = state.pool().fetches.iter();
    let phases: Vec<(FetchId, FetchPhase)> = fetches
        .filter_map(|(id, fetch)| match fetch.stage {
            Stage::Resolving(_) => Some((*id, FetchPhase::Dns)),
            Stage::Waiting | Stage::Connecting { .. } => Some((*id, FetchPhase::Connect)),
            _ => None,
        })
        .collect();
    for (id, phase) in phases {
        if let Some(fetch) = take_off(state.pool(), core, id) {
            let stops = failure(phase, "the server stops".to_owned(), None);
            state.fetched(core, id, Err(stops), fetch.timing);
        }
    }
}

/// Takes a fetch off the list, and stops what is being done for it.
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
        Stage::Connecting { connectors, .. } => {
            connectors.drain(..).for_each(|(_, connector)| core.stop_trying(connector));
        }
        Stage::Tunnelling(conn) | Stage::Exchanging { conn, .. } => core.abort_connection(*conn),
    }
    Some(fetch)
}

/// Begins with those that wait: on connections that are kept, and as far as handshakes may be in
/// progress. When the reactor stops, who waits is told so before the next poll.
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

/// Those that wait and whose origin's connection has become free go over it. Not whose request goes
/// out again: that is done on a new one, so that it is done once.
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

/// A connection is ready for its first request. `None`: who wanted it does so no more. Then who waits
/// for such a one goes over it, or it is kept if there is room.
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
        fetch.timing.secured = Some(core.now());
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

/// The first byte of a response is there.
fn first_byte<S: Fetching>(state: &mut S, core: &Core<S>, id: FetchId) {
    if let Some(fetch) = state.pool().fetches.get_mut(&id) {
        fetch.timing.first_byte.get_or_insert(core.now());
    }
}

/// The response is there. Returns whether the connection is kept.
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

/// A connection is gone. If somebody was waiting for it, he is told; or, if the connection had been
/// kept and nothing had come back, his request goes out again on a new one: the peer had closed it
/// before it saw the request.
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
    // That we have waited in vain, or stop, says nothing about whether the request was seen.
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

/// The end of a fetch: it is told, once.
fn finish<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    id: FetchId,
    outcome: Result<Response, FetchError>,
) {
    let Some(mut fetch) = state.pool().fetches.remove(&id) else { return };
    if outcome.is_ok() {
        fetch.timing.ended = Some(core.now());
    }
    state.fetched(core, id, outcome, fetch.timing);
    start_waiting(state, core);
}

/// `proxy`: whose fault it was, where it was not the origin's.
fn failure(phase: FetchPhase, what: String, proxy: Option<&ProxyUrl>) -> FetchError {
    let is_refused = |proxy: &ProxyUrl| proxy.credentials.is_some() && what.ends_with(" 407");
    let to =
        if proxy.is_some_and(is_refused) { " to the user and password it was sent" } else { "" };
    let what = proxy.map_or(what.clone(), |proxy| format!("the proxy {proxy}: {what}{to}"));
    FetchError { phase, what, lasting: false, by_proxy: proxy.is_some() }
}
