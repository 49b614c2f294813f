//! A context without a reactor, for calling one protocol by hand and reading what it wrote.
//!
//! Twisted: internet/testing.py, StringTransport. Nothing is sent, no timer runs and no message is delivered; the
//! core shows what the protocol requested.

use crate::io::Addrs;
use crate::{ConnId, Context, Core, Moment, Phase, ReactorLimits, Shared, UnixNanos};
use std::net::SocketAddr;

/// One open connection without a socket.
#[derive(Debug)]
pub struct StringTransport<S: Shared> {
    /// The core that the context lends.
    pub core: Core<S>,
    /// The shared state.
    pub state: S,
    /// The id of the connection.
    pub id: ConnId,
}

impl<S: Shared> StringTransport<S> {
    /// Creates a connection from 127.0.0.1:54321 to 127.0.0.1:12345, with its own `state`.
    pub fn new(state: S) -> StringTransport<S> {
        let mut core =
            Core::new(ReactorLimits::default(), 0, Moment::default(), UnixNanos::default());
        let addrs = Addrs {
            peer: SocketAddr::from(([127, 0, 0, 1], 54_321)),
            local: SocketAddr::from(([127, 0, 0, 1], 12_345)),
        };
        let id = core.next_id();
        core.insert(id, Phase::Connected, addrs, None);
        StringTransport { core, state, id }
    }

    /// Returns a context to call the protocol with.
    pub fn context(&mut self) -> Context<'_, S> {
        Context { core: &mut self.core, state: &mut self.state, id: self.id }
    }

    /// Takes the data written since the last call. Twisted: value and clear.
    pub fn take(&mut self) -> Vec<u8> {
        let Some(transport) = self.core.transport_mut(self.id) else { return Vec::new() };
        let written = transport.unsent(usize::MAX).to_vec();
        transport.take_out();
        written
    }

    /// Whether the protocol has closed the connection. Twisted: `disconnecting`.
    pub fn is_disconnecting(&self) -> bool {
        self.core.transport(self.id).is_none_or(|transport| !transport.is_connected())
    }
}
