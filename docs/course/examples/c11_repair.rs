//! The ring again: server 4 is cut off while two clients report. A new link tells its ends what they have missed.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, ConnectOptions, Context, Core, Flow, Reactor, ReactorLimits, factory};
use std::{collections::BTreeMap, net::SocketAddr};

type Server = (BTreeMap<String, String>, Vec<ConnId>); // The table, and the links.
type S = ([Server; 5],);

fn report(servers: &mut S, core: &mut Core<S>, me: usize, from: Option<ConnId>, line: &str) {
    let (table, links) = &mut servers.0[me];
    let Some((client, new)) = line.split_once(' ') else { return };
    if table.get(client).is_none_or(|old| **old < *new) {
        table.insert(client.to_owned(), new.to_owned());
        for link in links.iter().filter(|link| Some(**link) != from) {
            core.write(*link, format!("{line}\n").as_bytes());
        }
    }
}

struct Link(usize);
impl LineProtocol<S> for Link {
    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        let (table, links) = &mut cx.state.0[self.0];
        links.push(cx.id);
        for (client, report) in table {
            cx.core.write(cx.id, format!("{client} {report}\n").as_bytes());
        }
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
    while reactor.turn().is_ok() {}
    let (servers, core) = reactor.parts();
    servers.0[4].1.drain(..).for_each(|link| core.abort_connection(link));
    report(servers, core, 0, None, "kiwi 1 Venice");
    report(servers, core, 4, None, "emu 1 Encino");
    while reactor.turn().is_ok() {}
    reactor.state().0.iter().for_each(|(table, _)| println!("cut off: {table:?}"));
    reactor.connect_tcp(address(0), ConnectOptions::default(), link(4));
    while reactor.turn().is_ok() {}
    reactor.state().0.iter().for_each(|(table, _)| println!("linked: {table:?}"));
    Ok(())
}
