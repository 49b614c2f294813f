//! A context without a reactor: to call one protocol by hand and look at what it wrote.
//!
//! Twisted: internet/testing.py, StringTransport. Nothing is sent, nothing becomes due, nothing is
//! posted to anybody; what the protocol asked for can be seen in the core.

use crate::io::Addrs;
use crate::{ConnId, Context, Core, Moment, Phase, ReactorLimits, Shared, UnixNanos};
use std::net::SocketAddr;

/// One connection that stands, and nothing under it.
#[derive(Debug)]
pub struct StringTransport<S: Shared> {
    /// What a call may touch.
    pub core: Core<S>,
    /// What the protocols share.
    pub state: S,
    /// The connection.
    pub id: ConnId,
}

impl<S: Shared> StringTransport<S> {
    /// A connection from 127.0.0.1:54321, whose protocol shares `state` with nobody.
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

    /// A context to call the protocol with.
    pub fn context(&mut self) -> Context<'_, S> {
        Context { core: &mut self.core, state: &mut self.state, id: self.id }
    }

    /// Takes what was written since the last call. Twisted: value and clear.
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
