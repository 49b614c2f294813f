//! What a reactor asks of the kernel for one request, in plain words: an echo server and its client, in memory.
//! Run `cargo run -p herd-reactor --example traced`.

use herd_reactor::testing::{MemoryIo, MemoryOptions, TracedIo};
use herd_reactor::{
    CloseReason, ConnectOptions, Context, Flow, Protocol, Reactor, ReactorLimits, factory,
};
use std::time::Duration;

/// The server sends back what it receives.
struct Echo;

impl Protocol<()> for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(data);
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, ()>, _why: &CloseReason) {
        cx.core.stop();
    }
}

/// The client sends one request, and leaves when it has the reply.
struct Client;

impl Protocol<()> for Client {
    fn connection_made(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        cx.write(b"hello\n");
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, ()>, _reply: &[u8]) -> Flow {
        cx.lose_connection();
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    // By the network's own clock, everything that is sent arrives after 10 ms, and a turn takes no time.
    let (delay, turn_cost) = (Duration::from_millis(10), Duration::ZERO);
    let options = MemoryOptions { delay: delay..=delay, turn_cost, ..MemoryOptions::calm(1) };
    let io = TracedIo::new(MemoryIo::new(options), |line| println!("{line}"));
    let mut reactor = Reactor::new(io, (), ReactorLimits::default());
    let any = ([127, 0, 0, 1], 7000).into();
    let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(Echo)))?;
    reactor.connect_tcp(address, ConnectOptions::default(), factory(|_, _| Some(Client)));
    reactor.run()
}
