//! Exercise 15 (chapter 9, 2 points): a client that tries again, later and later, and gives up.
//!
//! `call` connects to a server, which greets each client by `hello`. This client tries once. Let it try again after
//! each failure and after each loss: after 1 s, then 2 s, 4 s and 8 s, without jitter. After `TRIES` failures in a
//! row it gives up.
//!
//! An attempt fails if no connection is made, and also if the connection is lost before the greeting: a server that
//! accepts everybody and dies at once is not up. The loss of a connection that was greeted is the first failure of a
//! new row.
//!
//! The promises:
//!
//! * Attempts begin 0, 1, 3, 7 and 15 s after the first one.
//! * When the fifth has failed, `has_given_up` is true, and no further attempt begins.
//! * After a greeting the row starts again: the next attempt begins 1 s after the loss.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{
    ClientFactory, ConnectOptions, ConnectorId, Context, Core, Factory, Flow, Protocol, Shared,
};
use std::net::SocketAddr;

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
    let connector = core.connect_tcp(address, ConnectOptions::default(), Box::new(Caller));
    calls.connector = Some(connector);
}

/// The factory of the connector. It learns of each failure and each loss.
struct Caller;

impl Factory<Calls> for Caller {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Calls>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Calls>>> {
        Some(Box::new(LineReceiver::new(Greeted, LineLimits::default())))
    }
}

impl ClientFactory<Calls> for Caller {}

/// The protocol of a connection to the server.
struct Greeted;

impl LineProtocol<Calls> for Greeted {
    fn line_received(&mut self, _cx: &mut Context<'_, Calls>, _line: &[u8]) -> Flow<Mode> {
        Ok(Mode::Lines)
    }
}
