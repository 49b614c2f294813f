//! A solution of exercise 15.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{
    Backoff, ClientFactory, CloseReason, ConnectOptions, ConnectorId, Context, Core, Factory, Flow,
    Protocol, Shared,
};
use std::net::SocketAddr;
use std::time::Duration;

/// The number of failures in a row after which the client gives up.
pub const TRIES: usize = 5;

/// The shared state.
#[derive(Default)]
pub struct Calls {
    /// No further attempt will begin.
    pub has_given_up: bool,
    /// How many attempts have failed in a row.
    pub failures: usize,
    /// The connector, once `call` has been called.
    pub connector: Option<ConnectorId>,
}

impl Shared for Calls {
    type Message = ();
}

/// Begins to call the server at `address`.
pub fn call(core: &mut Core<Calls>, calls: &mut Calls, address: SocketAddr) {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8), 2.0, 0.0);
    let options = ConnectOptions { reconnect: Some(backoff), ..ConnectOptions::default() };
    calls.connector = Some(core.connect_tcp(address, options, Box::new(Caller)));
}

/// The factory of the connector. It learns of each failure and each loss.
struct Caller;

impl Caller {
    /// Counts a failure or a loss.
    fn failed(core: &mut Core<Calls>, calls: &mut Calls) {
        calls.failures += 1;
        if let Some(connector) = calls.connector.filter(|_| calls.failures == TRIES) {
            calls.has_given_up = true;
            core.stop_trying(connector);
        }
    }
}

impl Factory<Calls> for Caller {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Calls>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Calls>>> {
        Some(Box::new(LineReceiver::new(Greeted, LineLimits::default())))
    }
}

impl ClientFactory<Calls> for Caller {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<Calls>,
        calls: &mut Calls,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        Caller::failed(core, calls);
    }

    fn client_connection_lost(
        &mut self,
        core: &mut Core<Calls>,
        calls: &mut Calls,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        Caller::failed(core, calls);
    }
}

/// The protocol of a connection to the server.
struct Greeted;

impl LineProtocol<Calls> for Greeted {
    fn line_received(&mut self, cx: &mut Context<'_, Calls>, line: &[u8]) -> Flow<Mode> {
        if line == b"hello" {
            cx.state.failures = 0;
            cx.reset_delay();
        }
        Ok(Mode::Lines)
    }
}
