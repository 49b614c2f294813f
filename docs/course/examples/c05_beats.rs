//! A beat every minute, for a year. Each turn takes a millisecond of the network's own clock.

use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{Core, Moment, Reactor};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const YEAR: u32 = 365 * 24 * 60;

fn beat(count: &mut (u32,), core: &mut Core<(u32,)>) {
    count.0 += 1;
    let late = core.now() - (Moment::default() + MINUTE * count.0);
    if count.0 == YEAR {
        println!("beat {YEAR} was {late:?} late");
        return core.stop();
    }
    core.call_later(MINUTE.saturating_sub(late), beat);
}

fn main() -> std::io::Result<()> {
    let turn_cost = Duration::from_millis(1);
    let io = MemoryIo::new(MemoryOptions { turn_cost, ..MemoryOptions::calm(0) });
    let mut reactor = Reactor::new(io, (0,), Default::default());
    reactor.call_later(MINUTE, beat);
    reactor.run()
}
