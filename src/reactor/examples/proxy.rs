//! A proxy: it connects each client to the given address, and passes data on in both directions.
//! Run `cargo run -p herd-reactor --example proxy 127.0.0.1:80`.
//!
//! Back-pressure: while much output is pending for one side, the proxy does not read the other. Half-close: when one
//! side ends, the proxy delivers its data and then its end to the other side; the other direction goes on.

use herd_reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, Context, Core, Factory, Flow, MioIo,
    Protocol, Reactor, ReactorLimits, Shared, Signal,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

/// How many bytes may be pending for one side before the proxy stops reading the other.
const HIGH_WATER: usize = 65_536;

/// The shared state: the address to connect to, and the other side of each connection.
struct Pairs {
    to: SocketAddr,
    other: BTreeMap<ConnId, ConnId>,
}

impl Shared for Pairs {
    type Message = ();
}

/// The protocol of either side of a pair.
struct Side;

impl Protocol<Pairs> for Side {
    fn connection_made(&mut self, cx: &mut Context<'_, Pairs>) -> Flow {
        // While output for this side is pending, `data_received` stops reading the other side. If it also stopped
        // reading this side, both could wait for ever.
        cx.unregister_producer();
        match cx.state.other.get(&cx.id) {
            Some(&inbound) => cx.core.resume_producing(inbound),
            // The outbound side is not connected yet, so there is nowhere to write to.
            None => cx.pause_producing(),
        }
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Pairs>, data: &[u8]) -> Flow {
        let Some(&other) = cx.state.other.get(&cx.id) else { return Ok(()) };
        cx.core.write(other, data);
        if cx.core.pending(other) > HIGH_WATER {
            cx.pause_producing();
            cx.core.resume_when_drained(other);
        }
        Ok(())
    }

    /// This side's pending output is sent: read the other side again.
    fn resume_producing(&mut self, cx: &mut Context<'_, Pairs>) -> Flow {
        if let Some(&other) = cx.state.other.get(&cx.id) {
            cx.core.resume_producing(other);
        }
        Ok(())
    }

    /// This side has ended: end the other side's output. Each connection is lost when both its directions have ended.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, Pairs>) -> Flow {
        if let Some(&other) = cx.state.other.get(&cx.id) {
            cx.core.lose_write_connection(other);
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Pairs>, why: &CloseReason) {
        let Some(other) = cx.state.other.remove(&cx.id) else { return };
        cx.state.other.remove(&other);
        match why {
            CloseReason::ConnectionDone => cx.core.lose_connection(other),
            _ => cx.core.abort_connection(other),
        }
    }
}

/// Builds the client's side, and begins to connect the outbound side.
struct Inbound;

impl Factory<Pairs> for Inbound {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Pairs>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Pairs>>> {
        let options =
            ConnectOptions { timeout: Duration::from_secs(5), ..ConnectOptions::default() };
        let outbound = Outbound { inbound: cx.id };
        cx.core.connect_tcp(cx.state.to, options, Box::new(outbound));
        Some(Box::new(Side))
    }
}

/// Builds the outbound side for the client `inbound`.
struct Outbound {
    inbound: ConnId,
}

impl Factory<Pairs> for Outbound {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Pairs>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Pairs>>> {
        // The client may be gone by now; then this connection is closed.
        cx.core.transport(self.inbound)?;
        cx.state.other.insert(self.inbound, cx.id);
        cx.state.other.insert(cx.id, self.inbound);
        Some(Box::new(Side))
    }
}

impl ClientFactory<Pairs> for Outbound {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<Pairs>,
        _pairs: &mut Pairs,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        core.abort_connection(self.inbound);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let to = std::env::args().nth(1).ok_or("usage: proxy ADDRESS")?.parse()?;
    let io = MioIo::new(&[Signal::Interrupt, Signal::Terminate])?;
    let pairs = Pairs { to, other: BTreeMap::new() };
    let mut reactor = Reactor::new(io, pairs, ReactorLimits::default());
    let (_, address) = reactor.listen_tcp(([127, 0, 0, 1], 0).into(), Box::new(Inbound))?;
    println!("{address}");
    Ok(reactor.run()?)
}
