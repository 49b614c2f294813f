//! Two rude clients of a server of lines: one sends 10 MB before its line ends, the other a byte every 10 s.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{CloseReason, ConnectOptions, Context, Flow, Protocol, Reactor, factory};
use std::time::Duration;

struct Server;

impl LineProtocol<()> for Server {
    fn line_received(&mut self, cx: &mut Context<'_, ()>, line: &[u8]) -> Flow<Mode> {
        println!("{:?} a line of {} bytes", cx.now(), line.len());
        Ok(Mode::Lines)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, ()>, why: &CloseReason) {
        println!("{:?} a connection is lost: {why}", cx.now());
    }
}

struct Client;

impl Protocol<()> for Client {
    fn data_received(&mut self, _cx: &mut Context<'_, ()>, _data: &[u8]) -> Flow {
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let io = MemoryIo::new(MemoryOptions::calm(0));
    let mut reactor = Reactor::new(io, (), Default::default());
    let limits = LineLimits { line_bytes: 1_000, unfinished_line: Duration::from_secs(30) };
    let address = ([127, 0, 0, 1], 4000).into();
    reactor.listen_tcp(address, factory(move |_, _| Some(LineReceiver::new(Server, limits))))?;
    for (piece, count, pause_ms) in [(&[b'x'; 10_000] as &[u8], 1_000, 1), (b"x", 60, 10_000)] {
        let pause = Duration::from_millis(pause_ms);
        let client = factory(move |cx, _| {
            let id = cx.id;
            for number in 1..=count {
                cx.core.call_later(pause * number, move |(), core| core.write(id, piece));
            }
            cx.core.call_later(pause * count, move |(), core| core.write(id, b"\n"));
            Some(Client)
        });
        reactor.connect_tcp(address, ConnectOptions::default(), client);
    }
    reactor.call_later(Duration::from_secs(3_600), |(), core| core.stop());
    reactor.run()
}
