//! The chat server of `chat.rs` and two clients, on a slow in-memory network that loses connections. The same seed
//! prints the same lines. Run `cargo run -p herd-reactor --example simulated 7`.

#[path = "chat.rs"]
mod chat;

use chat::{Room, client};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{
    Backoff, CloseReason, ConnectOptions, Context, Flow, Protocol, Reactor, ReactorLimits, factory,
};
use std::error::Error;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A client that sends its name when it connects, and prints what it receives and when.
struct Speaker(&'static str);

impl Protocol<Room> for Speaker {
    fn connection_made(&mut self, cx: &mut Context<'_, Room>) -> Flow {
        cx.write(format!("{} is here\n", self.0).as_bytes());
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Room>, data: &[u8]) -> Flow {
        println!("{:?} {} hears {:?}", cx.now(), self.0, String::from_utf8_lossy(data));
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Room>, why: &CloseReason) {
        println!("{:?} {} is cut off: {why}", cx.now(), self.0);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    let io = MemoryIo::new(MemoryOptions {
        delay: Duration::from_millis(20)..=Duration::from_millis(400),
        arrival_bytes: 1..=10,
        connect_failures: 0.2,
        accept_failures: 0.2,
        ..MemoryOptions::rough(seed)
    });
    let mut reactor = Reactor::new(io, (Vec::new(),), ReactorLimits::default());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(client())))?;
    for name in ["Ada", "Bob"] {
        let backoff = Backoff::new(SECOND, 8 * SECOND, 2.0, 0.5);
        let options = ConnectOptions { reconnect: Some(backoff), ..ConnectOptions::default() };
        reactor.connect_tcp(address, options, factory(move |_, _| Some(Speaker(name))));
    }
    // Every five seconds the network resets a connection, 11 times; the simulation ends after 55 s of its own clock.
    for lost in 1..12 {
        let deadline = reactor.now() + 5 * SECOND;
        reactor.call_later(5 * SECOND, |_, _| {});
        while reactor.now() < deadline {
            reactor.turn()?;
        }
        let open = reactor.io().connections();
        if let Some(id) = open.get(lost % open.len().max(1)) {
            reactor.io().reset(*id);
        }
    }
    Ok(())
}
