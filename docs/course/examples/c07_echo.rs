//! An echo server, and a client that sends 16 MiB and reads nothing for an hour.

use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnectOptions, Context, Flow, Protocol, Reactor, TimerId, factory};
use std::time::Duration;

const TOTAL: usize = 16 << 20;

/// How many bytes the server has read, and how many of them wait in its send buffer.
type Server = ((usize, usize),);

struct Echo;

impl Protocol<Server> for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Server>, data: &[u8]) -> Flow {
        cx.write(data);
        cx.state.0 = (cx.state.0.0 + data.len(), cx.pending());
        Ok(())
    }
}

/// Counts the bytes that come back.
struct Client(usize);

impl Protocol<Server> for Client {
    fn timer(&mut self, cx: &mut Context<'_, Server>, _timer: TimerId) -> Flow {
        let (read, waiting) = cx.state.0;
        println!("unsent: client {}, server {waiting}; the server has read {read}", cx.pending());
        cx.resume_producing();
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Server>, data: &[u8]) -> Flow {
        self.0 += data.len();
        if self.0 == TOTAL {
            println!("everything has come back");
            cx.core.stop();
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let io = MemoryIo::new(MemoryOptions::calm(0));
    let mut reactor = Reactor::new(io, ((0, 0),), Default::default());
    let address = ([127, 0, 0, 1], 4000).into();
    reactor.listen_tcp(address, factory(|_, _| Some(Echo)))?;
    let client = factory(|cx, _| {
        cx.unregister_producer();
        cx.pause_producing();
        cx.write(&vec![b'x'; TOTAL]);
        cx.timer_later(Duration::from_secs(3_600));
        Some(Client(0))
    });
    reactor.connect_tcp(address, ConnectOptions::default(), client);
    reactor.run()
}
