//! The TLS handshakes that are under way at one kind of port, within a limit.

use herd_reactor::{CloseReason, ConnId, Core, Shared, Transport};
use std::collections::VecDeque;

/// Connections whose handshake has begun, oldest first. Those that have ended are removed when the limit is reached.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// The key of their limit.
    key: &'static str,
    open: VecDeque<ConnId>,
}

impl Handshakes {
    /// The handshakes at the peer port.
    pub(super) fn of_peers() -> Handshakes {
        Handshakes { key: "peer_tls_handshakes", open: VecDeque::new() }
    }

    /// The handshakes at the ports for clients.
    pub(super) fn of_clients() -> Handshakes {
        Handshakes { key: "client_tls_handshakes", open: VecDeque::new() }
    }

    /// Closes all: their certificates would be verified by files that have been replaced.
    pub(super) fn close_all<S: Shared>(&mut self, core: &mut Core<S>) {
        for id in self.open.drain(..) {
            if core.transport(id).is_some_and(Transport::is_shaking_hands) {
                core.abort_connection(id);
            }
        }
    }

    /// Registers a handshake. If `most` handshakes are unfinished, it closes the oldest: an honest peer finishes quickly,
    /// and an attacker must not keep others out.
    pub(super) fn begun<S: Shared>(&mut self, core: &mut Core<S>, id: ConnId, most: usize) {
        let key = self.key;
        if self.open.len() >= most {
            self.open.retain(|id| core.transport(*id).is_some_and(Transport::is_shaking_hands));
        }
        while self.open.len() >= most
            && let Some(oldest) = self.open.pop_front()
        {
            core.limit_hit(key, most, 1, "handshakes closed");
            core.abort_because(oldest, CloseReason::TimeoutError("another TLS handshake"));
        }
        debug_assert!(!self.open.contains(&id));
        self.open.push_back(id);
    }
}
