//! Three clients connect through a network that refuses three of five attempts. At 10 s the server resets them.

use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{Backoff, ClientFactory, CloseReason, ConnectOptions, Context, Factory, Flow};
use herd_reactor::{Protocol, Reactor, ReactorLimits, factory};
use std::{net::SocketAddr, time::Duration};

const SECOND: Duration = Duration::from_secs(1);
type Core = herd_reactor::Core<()>;
type Made = Option<Box<dyn Protocol<()>>>;
type Wait = Option<Duration>;

fn print(core: &Core, name: &str, what: &str) {
    println!("{:5} ms: {name} {what}", core.now().as_nanos() / 1_000_000);
}

struct Client(&'static str);
impl Protocol<()> for Client {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, _: &[u8]) -> Flow {
        print(cx, self.0, "is served");
        cx.reset_delay();
        Ok(())
    }
}

impl Factory<()> for Client {
    fn build_protocol(&mut self, _: &mut Context<'_, ()>, _: SocketAddr) -> Made {
        Some(Box::new(Client(self.0)))
    }
}

impl ClientFactory<()> for Client {
    fn client_connection_failed(&mut self, core: &mut Core, _: &mut (), _: &CloseReason, w: Wait) {
        print(core, self.0, &format!("failed to connect, waits {w:.2?}"));
    }
    fn client_connection_lost(&mut self, core: &mut Core, _: &mut (), _: &CloseReason, w: Wait) {
        print(core, self.0, &format!("lost its connection, waits {w:.2?}"));
    }
}

fn main() -> std::io::Result<()> {
    let options = MemoryOptions { connect_failures: 0.6, ..MemoryOptions::calm(4) };
    let mut reactor = Reactor::new(MemoryIo::new(options), (), ReactorLimits::default());
    let address = ([192, 0, 2, 1], 4000).into();
    let server = factory(|cx, _| {
        cx.write(b"hello\n");
        Some(Client("the server"))
    });
    reactor.listen_tcp(address, server)?;
    for name in ["Ada", "Bob", "Eve"] {
        let reconnect = Some(Backoff::new(SECOND, 8 * SECOND, 2.0, 0.5));
        let options = ConnectOptions { reconnect, ..ConnectOptions::default() };
        reactor.connect_tcp(address, options, Box::new(Client(name)));
    }
    reactor.call_later(10 * SECOND, |_, core| {
        core.connection_ids().into_iter().for_each(|id| core.abort_connection(id));
    });
    reactor.call_later(15 * SECOND, |_, _| std::process::exit(0));
    reactor.run()
}
