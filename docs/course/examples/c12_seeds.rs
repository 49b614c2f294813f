//! A client has a server count to 3, and repeats a request when it loses the connection. 1,000 seeds, 1,000 networks.

use herd_reactor::testing::{MemoryIo, MemoryOptions, TracedIo};
use herd_reactor::{Backoff, ConnectOptions, Context, Flow, Moment, Protocol, Reactor};
use herd_reactor::{ReactorLimits, SplitMix64, factory};

const MS: std::time::Duration = std::time::Duration::from_millis(1);
type S = ((usize, usize),); // How far the server has counted, and how far the client knows.

struct Server;
impl Protocol<S> for Server {
    fn data_received(&mut self, cx: &mut Context<'_, S>, number: &[u8]) -> Flow {
        cx.state.0.0 += 1;
        cx.write(number);
        Ok(())
    }
}
struct Client;
impl Protocol<S> for Client {
    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.write(b"123".get(cx.state.0.1..=cx.state.0.1).unwrap_or(b""));
        Ok(())
    }
    fn data_received(&mut self, cx: &mut Context<'_, S>, _: &[u8]) -> Flow {
        cx.state.0.1 += 1;
        self.connection_made(cx)
    }
}

fn fails(seed: u64, resets: &[u64], trace: fn(&str)) -> bool {
    let io = MemoryIo::new(MemoryOptions { delay: MS..=20 * MS, ..MemoryOptions::calm(seed) });
    let mut reactor = Reactor::new(TracedIo::new(io, trace), ((0, 0),), ReactorLimits::default());
    let address = ([192, 0, 2, 1], 4000).into();
    reactor.listen_tcp(address, factory(|_, _| Some(Server))).unwrap();
    let how = ConnectOptions { reconnect: Some(Backoff::new(MS, MS, 1.0, 0.0)), timeout: 99 * MS };
    reactor.connect_tcp(address, how, factory(|_, _| Some(Client)));
    for at in resets.iter().map(|ms| Moment::from_nanos(ms * 1_000_000)) {
        let wait = at - reactor.now();
        reactor.call_later(wait, |_, _| {});
        while reactor.now() < at && reactor.turn().is_ok() {}
        let network = reactor.io().inner();
        network.connections().into_iter().for_each(|id| network.reset(id));
    }
    while reactor.turn().is_ok() {} // It fails when nothing is under way any more.
    reactor.state().0.0 != 3
}

fn main() {
    let dice = |seed| SplitMix64::new(seed).next_u64() % 400;
    let plan = |seed| (0..4).map(|n| 400 * n + dice(4 * seed + n)).collect::<Vec<u64>>();
    let failing: Vec<u64> = (1..=1000).filter(|&seed| fails(seed, &plan(seed), |_| {})).collect();
    let Some(&seed) = failing.first() else { return println!("none of 1000 seeds fails") };
    let mut resets = plan(seed);
    for index in (0..4).rev() {
        let fewer = [&resets[..index], &resets[index + 1..]].concat();
        resets = if fails(seed, &fewer, |_| {}) { fewer } else { resets };
    }
    println!("{} seeds fail. Seed {seed}: {:?} ms, {resets:?} needed", failing.len(), plan(seed));
    fails(seed, &resets, |line| println!("{line}"));
}
