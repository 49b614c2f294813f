//! Connecting and reconnecting: Twisted's Connector and ReconnectingClientFactory.
//!
//! A connector outlives its connections. It owns the factory; it connects, and with a [`Backoff`] it waits and
//! connects again after each failure or loss, until it is stopped. `Backoff` is a pure value.
//!
//! Twisted: internet/tcp.py, Connector; internet/protocol.py, ReconnectingClientFactory.

use crate::io::{Addrs, Io};
use crate::protocol::{ClientFactory, CloseReason, ConnId, ConnectorId, Context, Shared};
use crate::queue::{ConnectKind, RunState, TimerCall};
use crate::transport::Phase;
use crate::{Reactor, TimerId};
use std::net::SocketAddr;
use std::time::Duration;

/// How long to wait between attempts: exponential backoff up to a maximum, with jitter.
///
/// The jitter spreads the retries of clients that lost their connections at the same time.
///
/// Twisted's ReconnectingClientFactory begins at 1 s, grows by e up to an hour, and feeds its jitter
/// back into the delay, so that it drifts above its own maximum (issues #4734, #7696, #8714).
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    delay: Duration,
}

impl Backoff {
    /// The first delay is `first`; each following one is `factor` times longer, up to `max`. The jitter shortens each
    /// wait by up to the share `jitter` (0 to 1) of the delay, and never lengthens it.
    ///
    /// Panics if `factor` is less than 1, `jitter` is outside 0 to 1, or `first` is longer than `max`.
    pub fn new(first: Duration, max: Duration, factor: f64, jitter: f64) -> Backoff {
        assert!(factor >= 1.0 && (0.0..=1.0).contains(&jitter) && first <= max);
        Backoff { first, max, factor, jitter, delay: first }
    }

    /// Returns how long to wait before the next attempt. `chance`: 64 random bits.
    pub fn next(&mut self, chance: u64) -> Duration {
        let share = chance as f64 / u64::MAX as f64;
        let delay = self.delay.mul_f64(1.0 - self.jitter * share);
        self.delay = self.delay.mul_f64(self.factor).min(self.max);
        delay
    }

    /// Starts again with the first delay. Twisted: resetDelay.
    pub fn reset(&mut self) {
        self.delay = self.first;
    }
}

/// Options of [`Core::connect_tcp`](crate::Core::connect_tcp).
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The timeout of each attempt. Twisted: connectTCP's timeout, 30 s.
    pub timeout: Duration,
    /// If set, the connector tries again after every failure and loss, without end.
    /// Twisted: ReconnectingClientFactory.
    pub reconnect: Option<Backoff>,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions { timeout: Duration::from_secs(30), reconnect: None }
    }
}

/// One request to be connected, through all its attempts and connections.
pub(super) struct Connector<S: Shared> {
    kind: ConnectKind,
    address: SocketAddr,
    options: ConnectOptions,
    factory: Box<dyn ClientFactory<S>>,
    state: ConnectorState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectorState {
    /// The connector has this connection, or is making it.
    Trying(ConnId),
    /// The connector waits for this timer before its next attempt.
    Waiting(TimerId),
}

impl<I: Io, S: Shared> Reactor<I, S> {
    /// Starts a connector. Twisted: BaseConnector.connect.
    pub(super) fn start_connector(
        &mut self,
        id: ConnectorId,
        kind: ConnectKind,
        address: SocketAddr,
        options: ConnectOptions,
        mut factory: Box<dyn ClientFactory<S>>,
    ) {
        if self.core.run_state == RunState::Stopped {
            let Reactor { core, state, .. } = self;
            let why = CloseReason::ReactorStopped;
            return factory.client_connection_failed(core, state, &why, None);
        }
        let state = ConnectorState::Trying(self.core.next_id());
        self.connectors.insert(id, Connector { kind, address, options, factory, state });
        self.attempt(id);
    }

    /// Begins the next attempt, whose timer is due.
    pub(super) fn retry_connector(&mut self, id: ConnectorId) {
        self.attempt(id);
    }

    /// Stops a connector and closes its connection.
    pub(super) fn stop_connector(&mut self, id: ConnectorId) {
        let conn = self.retire_connector(id);
        // The loss of this connection removes the connector.
        conn.into_iter().for_each(|conn| self.core.lose_connection(conn));
    }

    /// Stops a connector, but leaves an open connection alone and returns its id: its protocol may have something to
    /// finish.
    pub(super) fn retire_connector(&mut self, id: ConnectorId) -> Option<ConnId> {
        let connector = self.connectors.get_mut(&id)?;
        connector.options.reconnect = None;
        match connector.state {
            ConnectorState::Trying(conn)
                if self.core.transport(conn)?.phase() != Phase::Connecting =>
            {
                return Some(conn);
            }
            ConnectorState::Trying(conn) => self.core.abort_connection(conn),
            ConnectorState::Waiting(timer) => {
                // The connector waits, so the timer is pending.
                let _ = self.core.cancel(timer);
                self.connectors.remove(&id);
            }
        }
        None
    }

    /// Begins an attempt to connect. Twisted: BaseClient.resolveAddress, doConnect.
    fn attempt(&mut self, id: ConnectorId) {
        let conn = self.core.next_id();
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        connector.state = ConnectorState::Trying(conn);
        let (address, timeout) = (connector.address, connector.options.timeout);
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let addrs = Addrs { peer: address, local: unknown };
        self.core.insert(conn, Phase::Connecting, addrs, Some(id));
        let begun = match connector.kind {
            ConnectKind::Tcp => self.io.connect(conn, address).map(|()| None),
            ConnectKind::Udp => self.io.connect_udp(conn, address).map(Some),
        };
        match begun {
            Ok(None) => self.core.set_deadline(conn, timeout),
            Ok(Some(addrs)) => self.connected(conn, addrs, true),
            Err(e) => self.core.lost(conn, CloseReason::ConnectError(e)),
        }
    }

    /// Asks the kernel for the result of an attempt, after an event. Twisted: BaseClient.doConnect.
    pub(super) fn do_connect(&mut self, conn: ConnId) {
        let addrs = match self.io.connected(conn) {
            Ok(Some(addrs)) => addrs,
            Ok(None) => return,
            Err(e) => return self.core.lost(conn, CloseReason::ConnectError(e)),
        };
        self.connected(conn, addrs, false);
    }

    /// Builds the protocol of a connection that has just opened. Twisted: BaseClient._connectDone.
    fn connected(&mut self, conn: ConnId, addrs: Addrs, datagrams: bool) {
        let Some(transport) = self.core.transport_mut(conn) else { return };
        transport.made(addrs, datagrams);
        let connector = transport.connector();
        self.core.drop_deadline(conn);
        let Reactor { core, state, connectors, .. } = self;
        let factory = connector.and_then(|id| connectors.get_mut(&id)).map(|c| &mut c.factory);
        let mut cx = Context { core, state, id: conn };
        match factory.and_then(|factory| factory.build_protocol(&mut cx, addrs.peer)) {
            Some(protocol) => self.connect_protocol(conn, protocol),
            None => self.core.abort_connection(conn),
        }
    }

    /// Handles the end of a connection of the connector `id`; `made` says whether it had a protocol. Decides whether
    /// another attempt follows, and calls the factory. Twisted: connectionFailed, connectionLost, retry.
    pub(super) fn connector_lost(
        &mut self,
        id: ConnectorId,
        why: &CloseReason,
        made: bool,
        delay_reset: bool,
    ) {
        let Reactor { core, state, connectors, .. } = self;
        let Some(connector) = connectors.get_mut(&id) else { return };
        let stopping = core.run_state != RunState::Running;
        let retry = match connector.options.reconnect.as_mut().filter(|_| !stopping) {
            Some(backoff) => {
                if delay_reset {
                    backoff.reset();
                }
                Some(backoff.next(core.random()))
            }
            None => None,
        };
        match made {
            true => connector.factory.client_connection_lost(core, state, why, retry),
            false => connector.factory.client_connection_failed(core, state, why, retry),
        }
        match retry {
            Some(delay) => {
                let timer = core.timers.call_at(core.now + delay, TimerCall::Retry(id));
                connector.state = ConnectorState::Waiting(timer);
            }
            None => drop(connectors.remove(&id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_delay_doubles_up_to_the_most_and_begins_anew_after_a_reset() {
        let mut backoff = Backoff::new(200 * MS, 5_000 * MS, 2.0, 0.2);
        let waits: Vec<_> = (0..7).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        backoff.reset();
        assert_eq!(backoff.next(0), 200 * MS);
    }

    #[test]
    fn the_jitter_shortens_by_its_share_at_most_and_never_lengthens() {
        let mut backoff = Backoff::new(1_000 * MS, 1_000 * MS, 1.0, 0.2);
        assert_eq!(backoff.next(u64::MAX), 800 * MS);
        for chance in (0..u64::MAX).step_by(usize::MAX / 1_000) {
            let wait = backoff.next(chance);
            assert!((800 * MS..=1_000 * MS).contains(&wait), "{wait:?}");
        }
    }
}
