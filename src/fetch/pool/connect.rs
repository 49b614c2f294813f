//! How the pool opens a connection: resolve a name, connect to an address, perhaps through a proxy, and do the TLS
//! handshake.
//!
//! In: a fetch that may begin. Out: a protocol that reports to the pool when it is ready, or the failure of the
//! fetch. It knows neither the other fetches nor the kept connections.
//!
//! Each step belongs to one [`Stage`] of the fetch. A step that comes late, after a cancel, finds another stage or no
//! fetch, and does nothing.

use super::connection::Exchange;
use super::{
    FetchId, FetchPhase, Fetching, HttpPool, Origin, PendingFetch, Stage, failure, finish,
};
use crate::fetch::proxy::Tunnel;
use crate::net::dns::{self, DnsError, LookupId};
use crate::net::eyeballs::{Attempt, Eyeballs, Next};
use crate::net::race::Race;
use crate::net::tls::Tls;
use herd_reactor::{ClientFactory, CloseReason, ConnId, Context, Core, Factory, Moment, Protocol};
use rustls::pki_types::ServerName;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Starts the lookup of the name to connect to.
pub(super) fn dial<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId) {
    let pool = state.pool();
    let Some(fetch) = pool.fetches.get(&id) else { return };
    let proxy = pool.proxy.as_ref().filter(|_| fetch.origin.secure);
    let host = proxy.map_or(&fetch.origin.host, |proxy| &proxy.host).clone();
    let lookup = dns::ask(state, core, &host);
    if let Some(fetch) = state.pool().fetches.get_mut(&id) {
        fetch.stage = Stage::Resolving(lookup);
    }
}

/// Continues with the result of a lookup. Must be called by [`Resolving::resolved`](dns::Resolving::resolved).
pub fn resolved<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    lookup: LookupId,
    result: Result<Vec<IpAddr>, DnsError>,
) {
    let HttpPool { fetches, proxy, .. } = state.pool();
    let mut asked = fetches.iter_mut();
    let is_asker =
        |fetch: &PendingFetch| matches!(fetch.stage, Stage::Resolving(its) if its == lookup);
    let Some((id, fetch)) = asked.find(|(_, fetch)| is_asker(fetch)) else { return };
    let id = *id;
    let proxy = proxy.as_ref().filter(|_| fetch.origin.secure);
    match result {
        Err(why) => {
            let error = failure(FetchPhase::Dns, why.to_string(), proxy);
            finish(state, core, id, Err(error));
        }
        Ok(addresses) => {
            fetch.timing.ended(FetchPhase::Dns, core.now());
            let port = proxy.map_or(fetch.origin.port, |proxy| proxy.port);
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port));
            fetch.stage = Stage::Connecting(Race::new(addresses.collect()));
            step(state, core, id, Eyeballs::next);
        }
    }
}

/// Takes a step of the happy eyeballs of the fetch `id`, if it is connecting.
fn step<S: Fetching>(
    state: &mut S,
    core: &mut Core<S>,
    id: FetchId,
    taken: impl FnOnce(&mut Eyeballs<String>, Moment) -> Next<String>,
) {
    let timeout = state.pool().limits.connect;
    let HttpPool { fetches, proxy, .. } = state.pool();
    let Some(fetch) = fetches.get_mut(&id) else { return };
    let Stage::Connecting(race) = &mut fetch.stage else { return };
    let factory = |attempt| ConnectAttempt { fetch: id, attempt };
    let again = move |state: &mut S, core: &mut Core<S>| step(state, core, id, Eyeballs::next);
    if let Err(what) = race.step(core, timeout, taken, factory, again) {
        let proxy = proxy.as_ref().filter(|_| fetch.origin.secure);
        let error = failure(FetchPhase::Connect, what, proxy);
        finish(state, core, id, Err(error));
    }
}

/// One attempt to connect for one fetch.
#[derive(Debug)]
struct ConnectAttempt {
    fetch: FetchId,
    attempt: Attempt,
}

impl<S: Fetching> Factory<S> for ConnectAttempt {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        let (id, now) = (self.fetch, cx.now());
        let HttpPool { fetches, tls, limits, proxy, .. } = cx.state.pool();
        let (tls, limits) = (tls.clone(), *limits);
        let fetch = fetches.get_mut(&id)?;
        let Stage::Connecting(race) = &mut fetch.stage else { return None };
        if !race.won(cx.core, self.attempt) {
            return None;
        }
        let exchange = Exchange::new(fetch.origin.clone(), limits);
        if !fetch.origin.secure {
            fetch.timing.ended(FetchPhase::Connect, now);
            fetch.stage = Stage::Securing(cx.id);
            return Some(Box::new(exchange));
        }
        let prepare = || -> Result<_, Box<dyn Error>> {
            let Origin { host, port, .. } = &fetch.origin;
            let secured = Tls::client(tls, ServerName::try_from(host.clone())?, exchange)?;
            Ok((secured, proxy.as_ref().map(|proxy| proxy.request(host, *port)).transpose()?))
        };
        let (secured, request) = match prepare().map_err(|why| why.to_string()) {
            Ok(prepared) => prepared,
            Err(why) => {
                // A timer reports the failure, since a callback never runs inside a callback.
                cx.core.call_later(Duration::ZERO, move |state: &mut S, core| {
                    finish(state, core, id, Err(failure(FetchPhase::Tls, why, None)));
                });
                return None;
            }
        };
        if let Some(request) = request {
            fetch.stage = Stage::Tunnelling(cx.id);
            return Some(Box::new(Tunnel::new(
                request,
                limits.http,
                limits.connect,
                tunnelled::<S>,
                secured,
            )));
        }
        secure(cx.state, cx.core, id, cx.id);
        Some(Box::new(secured))
    }
}

/// Starts the TLS handshake on a connection to the origin, with its timeout.
fn secure<S: Fetching>(state: &mut S, core: &mut Core<S>, id: FetchId, conn: ConnId) {
    let time = state.pool().limits.tls;
    let Some(fetch) = state.pool().fetches.get_mut(&id) else { return };
    fetch.timing.ended(FetchPhase::Connect, core.now());
    fetch.stage = Stage::Securing(conn);
    core.call_later(time, move |state: &mut S, core| {
        if !state.pool().is_secured(conn) {
            core.abort_because(conn, CloseReason::TimeoutError("the TLS handshake"));
        }
    });
}

/// Called when a proxy has opened the tunnel to the origin.
fn tunnelled<S: Fetching>(state: &mut S, core: &mut Core<S>, conn: ConnId) {
    if let Some(id) = state.pool().fetch_on(conn) {
        secure(state, core, id, conn);
    }
}

impl<S: Fetching> ClientFactory<S> for ConnectAttempt {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<S>,
        state: &mut S,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        let (attempt, why) = (self.attempt, why.to_string());
        step(state, core, self.fetch, |eyeballs, now| eyeballs.failed(attempt, why, now));
    }
}
