//! Sends back all data that it receives. Run `cargo run -p herd-reactor --example echo`, then `nc 127.0.0.1 PORT`.

use herd_reactor::{Context, Flow, MioIo, Protocol, Reactor, ReactorLimits, Signal, factory};

struct Echo;

impl Protocol<()> for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(data);
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let io = MioIo::new(&[Signal::Interrupt, Signal::Terminate])?;
    let mut reactor = Reactor::new(io, (), ReactorLimits::default());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(Echo)))?;
    println!("{address}");
    reactor.run()
}
