//! A client sends 1 MiB. After the first piece the server answers with a farewell of 1 MiB, and closes.

use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{CloseReason, Context, Flow, Protocol, Reactor, ReactorLimits, factory};
use std::time::Duration;

struct Server;

impl Protocol<()> for Server {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, _data: &[u8]) -> Flow {
        cx.write(&vec![b'!'; 1 << 20]);
        cx.lose_connection();
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, ()>, why: &CloseReason) {
        println!("{:?} server: {why}", cx.now());
    }
}

/// Counts the bytes of the farewell.
struct Client(usize);

impl Protocol<()> for Client {
    fn data_received(&mut self, _cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        self.0 += data.len();
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, ()>, why: &CloseReason) {
        println!("{:?} client: {why}, after {} bytes", cx.now(), self.0);
    }
}

fn main() -> std::io::Result<()> {
    let delay = Duration::from_millis(10);
    let io = MemoryIo::new(MemoryOptions { delay: delay..=delay, ..MemoryOptions::calm(0) });
    let limits = ReactorLimits::default();
    let mut reactor = Reactor::new(io, (), limits);
    let address = ([127, 0, 0, 1], 4000).into();
    reactor.listen_tcp(address, factory(|_, _| Some(Server)))?;
    let client = factory(|cx, _| {
        cx.unregister_producer();
        cx.write(&vec![b'?'; 1 << 20]);
        Some(Client(0))
    });
    reactor.connect_tcp(address, Default::default(), client);
    reactor.call_later(Duration::from_secs(60), |(), core| core.stop());
    reactor.run()
}
