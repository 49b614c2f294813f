//! A bell: clients of port 4000 hear what clients of port 4001 ring.

use herd_reactor::{CloseReason, ConnId, Context, Flow, MioIo, Protocol, Reactor};
use herd_reactor::{ReactorLimits, Shared, factory};

struct Tower {
    ears: Vec<ConnId>,
}

impl Shared for Tower {
    type Message = String;
}

struct Ear {
    heard: u32,
}

impl Protocol<Tower> for Ear {
    fn connection_made(&mut self, cx: &mut Context<'_, Tower>) -> Flow {
        cx.state.ears.push(cx.id);
        cx.write(b"listening\n");
        Ok(())
    }

    fn data_received(&mut self, _: &mut Context<'_, Tower>, _: &[u8]) -> Flow {
        Err("an ear does not speak".into())
    }

    fn message(&mut self, cx: &mut Context<'_, Tower>, text: String) -> Flow {
        self.heard += 1;
        cx.write(format!("{}: {text}", self.heard).as_bytes());
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Tower>, _: &CloseReason) {
        cx.state.ears.retain(|ear| *ear != cx.id);
    }
}

struct Ringer;

impl Protocol<Tower> for Ringer {
    fn data_received(&mut self, cx: &mut Context<'_, Tower>, data: &[u8]) -> Flow {
        for ear in &cx.state.ears {
            cx.core.post(*ear, str::from_utf8(data)?.to_owned());
        }
        cx.write(format!("{:?} rings for {:?}\n", cx.id, cx.state.ears).as_bytes());
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let state = Tower { ears: Vec::new() };
    let mut reactor = Reactor::new(MioIo::new(&[])?, state, ReactorLimits::default());
    reactor.listen_tcp(([127, 0, 0, 1], 4000).into(), factory(|_, _| Some(Ear { heard: 0 })))?;
    reactor.listen_tcp(([127, 0, 0, 1], 4001).into(), factory(|_, _| Some(Ringer)))?;
    println!("the bell hangs");
    reactor.run()
}
