//! Timers in memory, where the clock jumps from one timer to the next, and how long the loop may sleep.

use herd_reactor::testing::{MemoryIo, MemoryOptions, TracedIo};
use herd_reactor::{Core, Moment, Reactor, ReactorLimits, UnixNanos};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR_NANOS: u64 = 3_600_000_000_000;

fn say(core: &Core<()>, what: &str) {
    let wall = core.wall().0 / 1_000_000_000;
    let (h, m, s) = (wall / 3_600, wall / 60 % 60, wall % 60);
    println!("{:?}, at {h:02}:{m:02}:{s:02}: {what}", core.now() - Moment::default());
}

/// The clock by which a lease ends.
fn lease_clock(core: &Core<()>) -> u64 {
    core.now().as_nanos()
}

fn check_lease(core: &mut Core<()>, ends: u64) {
    let left = ends.saturating_sub(lease_clock(core));
    if left == 0 {
        say(core, "the lease has ended");
        return core.stop();
    }
    core.call_later(Duration::from_nanos(left), move |(), core| check_lease(core, ends));
}

fn main() -> std::io::Result<()> {
    let (noon, turn_cost) = (UnixNanos(12 * HOUR_NANOS), Duration::ZERO);
    let memory = MemoryIo::new(MemoryOptions { wall: noon, turn_cost, ..MemoryOptions::calm(0) });
    // The calls are indented; the numbers of the turns are not, and are left out.
    let calls = |line: &str| _ = line.starts_with(' ').then(|| println!("{line}"));
    let io = TracedIo::new(memory, calls);
    let mut reactor = Reactor::new(io, (), ReactorLimits::default());
    for name in ["first", "second"] {
        reactor.call_later(2 * SECOND, move |(), core| say(core, name));
    }
    let silence = reactor.call_later(3 * SECOND, |(), core| say(core, "silent for 3 s"));
    let unwanted = reactor.call_later(4 * SECOND, |(), core| say(core, "never"));
    reactor.call_later(SECOND, move |(), core| {
        say(core, "a line came, so the silence begins again");
        core.reset(silence, 3 * SECOND).expect("it is pending");
        core.cancel(unwanted).expect("it is pending");
    });
    let ends = lease_clock(&reactor) + 5_000_000_000;
    check_lease(reactor.parts().1, ends);
    while !reactor.is_stopped() {
        reactor.turn()?;
        if reactor.now() == Moment::default() + 2 * SECOND {
            println!("Somebody sets the clock of the machine back to 11:00.");
            reactor.io().inner().set_wall(UnixNanos(11 * HOUR_NANOS));
        }
    }
    Ok(())
}
