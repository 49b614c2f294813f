//! A relay: what the second client sends goes to the first one, which reads at most 64 KiB every 10 ms.

use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{ConnId, ConnectOptions, Context, Flow, Protocol, Reactor, factory};
use std::time::Duration;

/// The relay's connections: to the slow client, and then to the fast one.
type Relay = (Vec<ConnId>,);

struct Side;

impl Protocol<Relay> for Side {
    fn data_received(&mut self, cx: &mut Context<'_, Relay>, data: &[u8]) -> Flow {
        let slow = cx.state.0[0];
        cx.core.write(slow, data);
        if cx.core.pending(slow) > 65_536 {
            cx.pause_producing();
            cx.core.resume_when_drained(slow);
        }
        Ok(())
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, Relay>) -> Flow {
        cx.core.resume_producing(cx.state.0[1]);
        Ok(())
    }
}

struct Client;

impl Protocol<Relay> for Client {
    fn data_received(&mut self, cx: &mut Context<'_, Relay>, _data: &[u8]) -> Flow {
        let id = cx.id;
        cx.pause_producing();
        cx.core.call_later(Duration::from_millis(10), move |_, core| core.resume_producing(id));
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let io = MemoryIo::new(MemoryOptions::calm(0));
    let mut reactor = Reactor::new(io, (Vec::new(),), Default::default());
    let address = ([127, 0, 0, 1], 4000).into();
    let side = factory(|cx: &mut Context<'_, Relay>, _| {
        cx.state.0.push(cx.id);
        Some(Side)
    });
    reactor.listen_tcp(address, side)?;
    reactor.connect_tcp(address, ConnectOptions::default(), factory(|_, _| Some(Client)));
    let fast = factory(|cx, _| {
        cx.write(&vec![b'x'; 16 << 20]);
        Some(Client)
    });
    reactor.connect_tcp(address, ConnectOptions::default(), fast);
    reactor.call_later(Duration::from_secs(1), |relay, core| {
        println!("after a second, {} bytes wait in the relay", core.pending(relay.0[0]));
        core.stop();
    });
    reactor.run()
}
