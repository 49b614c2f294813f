//! A chat server: it sends each line of a client to all other clients. Run `cargo run -p herd-reactor --example chat`.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{
    CloseReason, ConnId, Context, Flow, MioIo, Protocol, Reactor, ReactorLimits, Signal, factory,
};

/// The shared state: the connected clients. Twisted keeps it in the factory.
pub(crate) type Room = (Vec<ConnId>,);

/// The line protocol of one client.
pub(crate) struct Client;

impl LineProtocol<Room> for Client {
    fn connection_made(&mut self, cx: &mut Context<'_, Room>) -> Flow {
        cx.write(b"welcome\n");
        cx.state.0.push(cx.id);
        Ok(())
    }

    fn line_received(&mut self, cx: &mut Context<'_, Room>, line: &[u8]) -> Flow<Mode> {
        for &other in cx.state.0.iter().filter(|other| **other != cx.id) {
            // A client that does not read misses lines, so that it does not fill our memory.
            if cx.core.pending(other) < 65_536 {
                cx.core.write(other, line);
                cx.core.write(other, b"\n");
            }
        }
        Ok(Mode::Lines)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Room>, _why: &CloseReason) {
        cx.state.0.retain(|id| *id != cx.id);
    }
}

/// The protocol of one connection: a `LineReceiver` around a `Client`.
pub(crate) fn client() -> impl Protocol<Room> {
    LineReceiver::new(Client, LineLimits::default())
}

#[allow(dead_code)]
fn main() -> std::io::Result<()> {
    let io = MioIo::new(&[Signal::Interrupt, Signal::Terminate])?;
    let mut reactor = Reactor::new(io, (Vec::new(),), ReactorLimits::default());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(client())))?;
    println!("{address}");
    reactor.run()
}
