//! The connections between servers: those that the peer port accepts and those that we dial, wrapped in TLS if that is
//! configured.
//!
//! In: an established connection. Out: an [`Interserver`] that reads its lines. It knows no command.

use super::link_state::LinkState;
use super::{Interserver, NAME};
use crate::replication::NeighbourId;
use crate::server::counters::Door;
use crate::server::member::{Cx, Member, log_name};
use herd_reactor::line_receiver::{LineLimits, LineReceiver, Mode};
use herd_reactor::{Factory, Protocol};
use std::net::SocketAddr;

/// Maximum concurrent connections to the peer port of a server with up to 64 neighbours. A server with more neighbours
/// accepts two connections for each: the link, and the connection that replaces it. A connection that does not say HELLO
/// in time is closed and frees its place.
const CALLERS_MAX: u64 = 128;

/// Maximum concurrent TLS handshakes at the peer port of a server with up to 64 neighbours, unless the topology sets one.
const HANDSHAKES: usize = 64;

/// Builds an [`Interserver`] for each connection to the peer port.
#[derive(Debug, Default)]
pub struct InterserverFactory;

impl Factory<Member> for InterserverFactory {
    fn build_protocol(
        &mut self,
        cx: &mut Cx<'_>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Member>>> {
        let most = CALLERS_MAX.max(2 * cx.state.neighbours.count() as u64);
        if cx.state.counters.open(Door::Peer) >= most {
            cx.core.limit_hit("CALLERS_MAX", most, 1, "connections turned away");
            return None;
        }
        let name = log_name(NAME, cx.id);
        log::info!(event = "connected", conn:% = name, address:% = peer; "{name},{peer}: connected");
        let stranger = interserver(cx, LinkState::Stranger)?;
        cx.state.counters.accepted[Door::Peer as usize] += 1;
        let Member { peer_tls, limits, neighbours, .. } = &mut *cx.state;
        if let Some(tls) = peer_tls {
            // After a restart all neighbours dial at once, and none of them may close another one's handshake.
            let most = limits.peer_tls_handshakes.unwrap_or(neighbours.count().max(HANDSHAKES));
            tls.handshakes.begun(cx.core, cx.id, most);
        }
        Some(stranger)
    }
}

/// Builds the connection to the neighbour `id`, which we dialled.
pub(in crate::server) fn dialled(
    cx: &mut Cx<'_>,
    id: NeighbourId,
) -> Option<Box<dyn Protocol<Member>>> {
    interserver(cx, LinkState::Dialled(id))
}

/// Builds an [`Interserver`], in TLS if that is configured.
fn interserver(cx: &mut Cx<'_>, link_state: LinkState) -> Option<Box<dyn Protocol<Member>>> {
    let lines = LineLimits {
        line_bytes: cx.state.limits.line_bytes,
        unfinished_line: cx.state.limits.unfinished_line,
    };
    // Never stop reading because a neighbour does not read: it may do the same.
    cx.core.unregister_producer(cx.id);
    if let Some(timeout) = cx.state.limits.link_user_timeout {
        cx.core.set_user_timeout(cx.id, timeout);
    }
    let lines = LineReceiver::new(Interserver::new(cx, link_state), lines);
    let Member { peer_tls, neighbours, limits, .. } = &*cx.state;
    let Some(tls) = peer_tls else { return Some(Box::new(lines.with_mode(Mode::Raw))) };
    let dialled = match link_state {
        LinkState::Dialled(id) => Some(neighbours.get(id).server.name.as_str()),
        _ => None,
    };
    match tls.wrap(dialled, limits, lines) {
        Ok(wrapped) => Some(Box::new(wrapped)),
        Err(why) => {
            log::error!("{}: cannot set up TLS: {why}", log_name(NAME, cx.id));
            None
        }
    }
}
