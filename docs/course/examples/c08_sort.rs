//! Sorts lines, as the command `sort` does: the answer can only be given when the last line has come.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::{MemoryIo, MemoryOptions, TracedIo};
use herd_reactor::{ConnectOptions, Context, Flow, Protocol, Reactor, factory};
use std::time::Duration;

#[derive(Default)]
struct Sort(Vec<Vec<u8>>);

impl LineProtocol<()> for Sort {
    fn line_received(&mut self, _cx: &mut Context<'_, ()>, line: &[u8]) -> Flow<Mode> {
        self.0.push([line, b"\n"].concat());
        Ok(Mode::Lines)
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        self.0.sort();
        cx.write(&self.0.concat());
        cx.lose_connection();
        Ok(())
    }
}

struct Client;

impl Protocol<()> for Client {
    fn data_received(&mut self, _cx: &mut Context<'_, ()>, _data: &[u8]) -> Flow {
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let (delay, turn_cost) = (Duration::from_millis(10), Duration::ZERO);
    let options = MemoryOptions { delay: delay..=delay, turn_cost, ..MemoryOptions::calm(0) };
    let io = TracedIo::new(MemoryIo::new(options), |line| println!("{line}"));
    let mut reactor = Reactor::new(io, (), Default::default());
    let address = ([127, 0, 0, 1], 4000).into();
    let sort = || LineReceiver::new(Sort::default(), LineLimits::default());
    reactor.listen_tcp(address, factory(move |_, _| Some(sort())))?;
    let client = factory(|cx, _| {
        cx.write(b"plum\nfig\npear\n");
        cx.lose_write_connection();
        Some(Client)
    });
    reactor.connect_tcp(address, ConnectOptions::default(), client);
    reactor.call_later(Duration::from_secs(1), |(), core| core.stop());
    reactor.run()
}
