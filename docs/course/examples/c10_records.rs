//! A filter. On the wire, a record is its length in one byte, and its bytes with one bit changed: a is A, A is a.

use herd_reactor::testing::{MemoryIo, MemoryOptions, TracedIo};
use herd_reactor::{ConnectOptions, Context, Filter, Flow, Protocol, Reactor};
use herd_reactor::{ReactorLimits, factory};

struct Inside(&'static str);
impl Protocol<()> for Inside {
    fn connection_made(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        cx.write(self.0.as_bytes());
        cx.write(b"?");
        Ok(())
    }
    fn data_received(&mut self, _: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        println!("  inside: {:?}", String::from_utf8_lossy(data));
        Ok(())
    }
}

struct Records(Vec<u8>, Inside); // The bytes of an unfinished record; the protocol inside.
impl Protocol<()> for Records {
    fn as_filter(&mut self) -> Option<&mut dyn Filter<()>> {
        Some(self)
    }
    fn connection_made(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        self.1.connection_made(cx)
    }
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        self.0.extend_from_slice(data);
        while self.0.first().is_some_and(|length| self.0.len() > *length as usize) {
            let record: Vec<u8> = self.0.drain(..=self.0[0] as usize).map(|b| b ^ 32).collect();
            self.1.data_received(cx, &record[1..])?;
        }
        Ok(())
    }
}

impl Filter<()> for Records {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, _closing: bool) -> Flow {
        for part in std::mem::take(plain).chunks(255) {
            wire.push(part.len() as u8);
            wire.extend(part.iter().map(|byte| byte ^ 32));
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let options = MemoryOptions { arrival_bytes: 8..=8, ..MemoryOptions::rough(4) };
    let io = TracedIo::new(MemoryIo::new(options), |line| println!("{line}"));
    let mut reactor = Reactor::new(io, (), ReactorLimits::default());
    let side = |text| factory(move |_, _| Some(Records(Vec::new(), Inside(text))));
    let address = ([192, 0, 2, 1], 4000).into();
    reactor.listen_tcp(address, side("Who asks"))?;
    reactor.connect_tcp(address, ConnectOptions::default(), side("Is it late"));
    (0..7).try_for_each(|_| reactor.turn())
}
