//! The rules of the reactor, each kept and broken.

use crate::broken_io::{BrokenIo, Fault};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{
    ConnId, ConnectOptions, Context, Flow, Protocol, Reactor, ReactorLimits, Shared, UnixNanos,
    factory,
};
use std::io::Result;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Counts the bytes that it receives.
struct Counter;

impl Protocol<(usize,)> for Counter {
    fn data_received(&mut self, cx: &mut Context<'_, (usize,)>, data: &[u8]) -> Flow {
        cx.state.0 += data.len();
        Ok(())
    }
}

/// Sends a text when it connects.
struct Speaker(&'static str);

impl<S: Shared> Protocol<S> for Speaker {
    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.write(self.0.as_bytes());
        Ok(())
    }

    fn data_received(&mut self, _: &mut Context<'_, S>, data: &[u8]) -> Flow {
        println!("    {} reads {:?}", self.0.trim_end(), String::from_utf8_lossy(data));
        Ok(())
    }
}

pub(crate) fn readiness() -> Result<()> {
    for (variant, fault) in [("sound", Fault::None), ("broken", Fault::ShortReads)] {
        let mut reactor = Reactor::new(BrokenIo::new(fault), (0,), ReactorLimits::default());
        let (_, address) = reactor.listen_tcp(ANY.into(), factory(|_, _| Some(Counter)))?;
        let text = "a line of 27 bytes, all in\n";
        reactor.connect_tcp(
            address,
            ConnectOptions::default(),
            factory(|_, _| Some(Speaker(text))),
        );
        reactor.call_later(60 * SECOND, |_, core| core.stop());
        reactor.run()?;
        let received = reactor.state().0;
        println!("{variant}: after a minute the server has {received} of {} bytes", text.len());
    }
    Ok(())
}

/// Answers after a second, by a message to the connection that asked, or to whatever has its slot then.
struct Oracle;

/// Where answers go.
struct Answers {
    by_slot: bool,
    latest: Option<ConnId>,
}

impl Shared for Answers {
    type Message = String;
}

impl Protocol<Answers> for Oracle {
    fn connection_made(&mut self, cx: &mut Context<'_, Answers>) -> Flow {
        cx.state.latest = Some(cx.id);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Answers>, question: &[u8]) -> Flow {
        let (asker, answer) =
            (cx.id, format!("the answer for {}", String::from_utf8_lossy(question)));
        cx.core.call_later(SECOND, move |state, core| {
            // The broken program has kept only the number of the slot, and finds the connection that has it now.
            let latest = state.latest.filter(|latest| state.by_slot && latest.key() == asker.key());
            core.post(latest.unwrap_or(asker), answer);
        });
        Ok(())
    }

    fn message(&mut self, cx: &mut Context<'_, Answers>, answer: String) -> Flow {
        cx.write(answer.as_bytes());
        Ok(())
    }
}

pub(crate) fn generations() -> Result<()> {
    for (variant, by_slot) in [("sound", false), ("broken", true)] {
        println!("{variant}: Ada asks and leaves; Bob connects and asks nothing");
        let io = MemoryIo::new(MemoryOptions::calm(1));
        let answers = Answers { by_slot, latest: None };
        let mut reactor = Reactor::new(io, answers, ReactorLimits::default());
        let (_, address) = reactor.listen_tcp(ANY.into(), factory(|_, _| Some(Oracle)))?;
        let options = ConnectOptions::default;
        reactor.connect_tcp(address, options(), factory(|_, _| Some(Speaker("Ada"))));
        reactor.call_later(SECOND / 4, |state, core| {
            state.latest.into_iter().for_each(|asker| core.abort_connection(asker));
        });
        reactor.call_later(SECOND / 2, move |_, core| {
            core.connect_tcp(address, options(), factory(|_, _| Some(Bob)));
        });
        reactor.call_later(2 * SECOND, |_, core| core.stop());
        reactor.run()?;
    }
    Ok(())
}

/// Asks nothing, and prints what it reads.
struct Bob;

impl Protocol<Answers> for Bob {
    fn data_received(&mut self, _: &mut Context<'_, Answers>, data: &[u8]) -> Flow {
        println!("    Bob reads {:?}", String::from_utf8_lossy(data));
        Ok(())
    }
}

/// A room whose clients have buffers for one line. Bob's is full.
struct Room {
    clients: Vec<(&'static str, bool)>,
    lost: Vec<&'static str>,
    nests: bool,
}

impl Room {
    /// Sends a line to all clients.
    fn broadcast(&mut self) {
        let mut at = 0;
        while at < self.clients.len() {
            self.write(at);
            at += 1;
        }
    }

    fn write(&mut self, at: usize) {
        match self.clients[at] {
            (name, false) => println!("    {name} gets the line"),
            (name, true) if self.nests => self.connection_lost(name),
            (name, true) => self.lost.push(name),
        }
    }

    fn connection_lost(&mut self, name: &'static str) {
        println!("    {name} is lost");
        self.clients.retain(|client| client.0 != name);
    }
}

pub(crate) fn nested() -> Result<()> {
    for (variant, nests) in [("sound", false), ("broken", true)] {
        println!("{variant}:");
        let clients = vec![("Ada", false), ("Bob", true), ("Cora", false), ("Dan", false)];
        let mut room = Room { clients, lost: Vec::new(), nests };
        room.broadcast();
        // The next turn.
        std::mem::take(&mut room.lost).into_iter().for_each(|name| room.connection_lost(name));
    }
    Ok(())
}

pub(crate) fn wall_clock() -> Result<()> {
    for (variant, fault) in [("sound", Fault::None), ("broken", Fault::WallClock)] {
        println!("{variant}:");
        let mut reactor = Reactor::new(BrokenIo::new(fault), (0,), ReactorLimits::default());
        for ping in 1..=4 {
            reactor.call_later(SECOND, |state, core| {
                state.0 += 1;
                // The poll of this turn returns at once, so that the time is read now.
                core.call_later(Duration::ZERO, |_, _| {});
            });
            while reactor.state().0 < ping {
                reactor.turn()?;
            }
            let network = &mut reactor.io().sound;
            let seconds = herd_reactor::Io::now(network).as_nanos() / 1_000_000_000;
            println!("    PING {ping} after {seconds} s");
            if ping == 2 {
                let set_back = herd_reactor::Io::wall(network).0 - 3_600_000_000_000;
                network.set_wall(UnixNanos(set_back));
                println!("    the wall clock is set back by an hour");
            }
        }
    }
    Ok(())
}
