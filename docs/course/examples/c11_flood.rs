//! Five servers in a ring. Each passes news of a client on to its neighbours, and the newest report wins.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, ConnectOptions, Context, Core, Flow, Reactor, ReactorLimits, factory};
use std::{collections::BTreeMap, net::SocketAddr};

#[derive(Default)]
struct Server {
    table: BTreeMap<String, (u64, String)>, // Of each client: the stamp and the place.
    links: Vec<ConnId>,
    sent: usize,
}
type S = ([Server; 5],);

fn report(servers: &mut S, core: &mut Core<S>, me: usize, from: Option<ConnId>, line: &str) {
    let Server { table, links, sent } = &mut servers.0[me];
    let [client, stamp, place] = line.split(' ').collect::<Vec<_>>()[..] else { return };
    let new = (stamp.parse().unwrap(), place.to_owned());
    if table.get(client).is_some_and(|old| *old >= new) {
        return;
    }
    table.insert(client.to_owned(), new);
    for link in links.iter().filter(|link| Some(**link) != from) {
        core.write(*link, format!("{line}\n").as_bytes());
        *sent += 1;
    }
}

struct Link(usize);
impl LineProtocol<S> for Link {
    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.state.0[self.0].links.push(cx.id);
        Ok(())
    }
    fn line_received(&mut self, cx: &mut Context<'_, S>, line: &[u8]) -> Flow<Mode> {
        report(cx.state, cx.core, self.0, Some(cx.id), str::from_utf8(line)?);
        Ok(Mode::Lines)
    }
}

fn main() -> std::io::Result<()> {
    let io = MemoryIo::new(MemoryOptions::rough(1));
    let mut reactor = Reactor::new(io, S::default(), ReactorLimits::default());
    let link = |me| factory(move |_, _| Some(LineReceiver::new(Link(me), LineLimits::default())));
    let address = |server| SocketAddr::from(([192, 0, 2, server as u8], 4000));
    for me in 0..5 {
        reactor.listen_tcp(address(me), link(me))?;
        reactor.connect_tcp(address((me + 1) % 5), ConnectOptions::default(), link(me));
    }
    while reactor.turn().is_ok() {} // It fails when nothing is under way any more.
    for news in [vec![(0, "kiwi 1 Venice")], vec![(1, "kiwi 2 Malibu"), (3, "kiwi 2 Encino")]] {
        let (servers, core) = reactor.parts();
        news.iter().for_each(|(me, line)| report(servers, core, *me, None, line));
        while reactor.turn().is_ok() {}
        println!("{news:?}");
        reactor.state().0.iter().for_each(|s| println!("  {:?}, {} lines", s.table, s.sent));
    }
    Ok(())
}
