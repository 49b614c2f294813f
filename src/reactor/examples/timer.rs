//! Delayed calls: one of the reactor, which ends the program after an hour, and one of each connection's protocol,
//! which greets a client that sends nothing. Run `cargo run -p herd-reactor --example timer`.

use herd_reactor::{
    Context, Flow, MioIo, Protocol, Reactor, ReactorLimits, Signal, TimerId, factory,
};
use std::time::Duration;

/// How long a client may be silent before it is greeted.
const PATIENCE: Duration = Duration::from_millis(200);

/// Greets a client once, if it has sent nothing in time.
#[derive(Default)]
struct Greeter {
    silence: Option<TimerId>,
}

impl Protocol<()> for Greeter {
    fn connection_made(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        self.silence = Some(cx.timer_later(PATIENCE));
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, ()>, _data: &[u8]) -> Flow {
        if let Some(timer) = self.silence.take() {
            // `cancel` fails only for a call that has run; here it has not.
            cx.cancel(timer)?;
        }
        cx.write(b"so you are there\n");
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, ()>, timer: TimerId) -> Flow {
        if self.silence == Some(timer) {
            self.silence = None;
            cx.write(b"is anybody there?\n");
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let io = MioIo::new(&[Signal::Interrupt, Signal::Terminate])?;
    let mut reactor = Reactor::new(io, (), ReactorLimits::default());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(Greeter::default())))?;
    println!("{address}");
    // The closure gets the shared state and the core: it can reach every connection, but no protocol.
    reactor.call_later(Duration::from_secs(3_600), |(), core| core.stop());
    reactor.run()
}
