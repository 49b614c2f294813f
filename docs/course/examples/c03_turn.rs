//! Prints what happens in each turn of a reactor: the calls of the program, and its calls of the network.

use herd_reactor::testing::{MemoryIo, MemoryOptions, TracedIo};
use herd_reactor::{ConnectOptions, Context, Core, Flow, Protocol, Reactor, ReactorLimits};
use herd_reactor::{Shared, TimerId, TurnCounts, factory};
use std::{io::Result, time::Duration};

struct State;

impl Shared for State {
    type Message = &'static str;
    fn before_poll(&mut self, _: &mut Core<State>, counts: &TurnCounts) -> Result<()> {
        println!("  before_poll: {counts:?}");
        Ok(())
    }
}

struct End(&'static str);

impl Protocol<State> for End {
    fn data_received(&mut self, cx: &mut Context<'_, State>, _: &[u8]) -> Flow {
        println!("  {}: data_received", self.0);
        cx.write(b"read, ");
        cx.core.post(cx.id, "message");
        cx.timer_later(Duration::ZERO);
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, State>, _: TimerId) -> Flow {
        println!("  {}: timer", self.0);
        cx.write(b"timer, ");
        Ok(())
    }

    fn message(&mut self, cx: &mut Context<'_, State>, text: &'static str) -> Flow {
        println!("  {}: message", self.0);
        cx.write(text.as_bytes());
        Ok(())
    }
}

fn main() -> Result<()> {
    let io = TracedIo::new(MemoryIo::new(MemoryOptions::default()), |line| {
        if line.starts_with(' ') {
            println!("{line}");
        }
    });
    let mut reactor = Reactor::new(io, State, ReactorLimits::default());
    reactor.listen_tcp(([127, 0, 0, 1], 4000).into(), factory(|_, _| Some(End("server"))))?;
    let client = factory(|cx, _| {
        cx.write(b"hello");
        Some(End("client"))
    });
    reactor.connect_tcp(([127, 0, 0, 1], 4000).into(), ConnectOptions::default(), client);
    (1..=3).try_for_each(|turn| {
        println!("turn {turn}");
        reactor.turn()
    })
}
