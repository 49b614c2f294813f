//! Connects to the first of three addresses that answers. The first one is silent, and the second refuses.

use herd_reactor::testing::{MemoryIo, MemoryOptions, NetworkFault};
use herd_reactor::{ClientFactory, CloseReason, ConnectOptions, Context, Factory, Flow, Protocol};
use herd_reactor::{Reactor, ReactorLimits, factory};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};

const HEAD_START: Duration = Duration::from_millis(250);
type S = (VecDeque<SocketAddr>,); // The shared state: the addresses that are not tried yet.
type Core = herd_reactor::Core<S>;
type Made = Option<Box<dyn Protocol<S>>>;
type Wait = Option<Duration>;

fn next(untried: &mut S, core: &mut Core) {
    let Some(address) = untried.0.pop_front() else { return };
    println!("{:?} try {address}", core.now());
    core.connect_tcp(address, ConnectOptions::default(), Box::new(Attempt(address)));
    let left = untried.0.len();
    core.call_later(HEAD_START, move |untried, core| {
        if untried.0.len() == left {
            next(untried, core); // No failure has begun it already.
        }
    });
}

struct Attempt(SocketAddr);
impl Factory<S> for Attempt {
    fn build_protocol(&mut self, cx: &mut Context<'_, S>, _: SocketAddr) -> Made {
        println!("{:?} connected to {}", cx.now(), self.0);
        cx.state.0.clear();
        cx.stop(); // It ends the other attempts, too.
        Some(Box::new(Attempt(self.0)))
    }
}

impl ClientFactory<S> for Attempt {
    fn client_connection_failed(&mut self, core: &mut Core, s: &mut S, why: &CloseReason, _: Wait) {
        println!("{:?} {}: {why}", core.now(), self.0);
        next(s, core);
    }
}

impl Protocol<S> for Attempt {
    fn data_received(&mut self, _: &mut Context<'_, S>, _: &[u8]) -> Flow {
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let delay = Duration::from_millis(20)..=Duration::from_millis(20);
    let mut io = MemoryIo::new(MemoryOptions { delay, ..MemoryOptions::calm(1) });
    let addresses = ["[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443"];
    let addresses = addresses.map(|address| address.parse().unwrap());
    io.fault(addresses[0], NetworkFault::Blackhole);
    let mut reactor = Reactor::new(io, (addresses.into(),), ReactorLimits::default());
    reactor.listen_tcp(addresses[2], factory(move |_, _| Some(Attempt(addresses[2]))))?;
    reactor.call_later(Duration::ZERO, next);
    reactor.run()
}
