//! Sweeps: what has to go through the whole table does so in slices, one a turn.
//!
//! In: leaves of which neighbours lack lines, and which stamps are let in. Out: the clients' bits in
//! [`Owed`](crate::table::backlog::Owed), and a table without those that are too old, or too far ahead. It does
//! not know how the leaves were found; the [comparison](crate::replication::anti_entropy) does.
//!
//! The idea: to go through a million clients at once would keep everybody waiting. After a slice a
//! timer that is due at once brings the next turn, and between two turns all connections are served.
//! One sweep gives to all neighbours at once. What is wanted while it is under way waits for the next,
//! so that nothing is given twice for having been asked for once.
//!
//! Clients are forgotten at the full minutes of the wall clock: so servers whose clocks agree roughly
//! store the same all the time but for an instant, and comparing finds no difference. What is too old
//! and waits for its minute is neither served nor taken ([`Herd::let_in_since`]).
//!
//! So is what lies too far ahead ([`Herd::let_in_until`]). It is not taken in the first place, so that it
//! is stored only if the clock was set back.
//!
//! [`Herd::let_in_since`]: crate::table::Herd::let_in_since
//! [`Herd::let_in_until`]: crate::table::Herd::let_in_until

use super::member::Member;
use crate::config::{Limits, Seconds};
use crate::replication::neighbours::NeighbourId;
use crate::table::leaf_set::LeafSet;
use crate::wire::stamp::Stamp;
use herd_reactor::{ConnId, Core, UnixNanos};
use std::ops::Range;
use std::time::Duration;

/// Clients that are gone through in one turn.
const SLICE: usize = 4_096;

const MINUTE_NANOS: u64 = 60_000_000_000;

/// The sweeps that are under way.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    giving: Option<Giving>,
    forgetting: Option<Forgetting>,
    /// The next slice is due in the next turn.
    is_due: bool,
}

/// Finds the clients of which neighbours lack lines.
#[derive(Debug)]
struct Giving {
    next: usize,
    /// Which leaves to whom, while the connection is the same.
    wanted: Vec<(NeighbourId, ConnId, LeafSet)>,
}

/// Forgets the clients whose latest sighting is before `oldest`, and those whose is too far ahead by now.
#[derive(Debug)]
struct Forgetting {
    next: usize,
    oldest: Option<Stamp>,
    too_old: usize,
    too_far_ahead: usize,
}

impl Sweeps {
    /// Are neighbours being found what they lack?
    pub(super) fn are_giving(&self) -> bool {
        self.giving.is_some()
    }
}

impl Member {
    /// Tells the table what time it is, if not all stamps are let in: to be called before it is asked
    /// for a sighting or given one.
    pub(super) fn let_in(&mut self, wall: UnixNanos) {
        if let Some(age) = self.limits.expire_after {
            self.herd.let_in_since(oldest_at(wall, age));
        }
        self.let_in_until(wall);
    }

    /// The same for what lies ahead alone.
    pub(super) fn let_in_until(&mut self, wall: UnixNanos) {
        if let Some(ahead) = self.limits.ahead_max {
            self.herd.let_in_until(newest_at(wall, ahead));
        }
    }

    /// Forgets what is not let in any more at every full minute, from the next one on.
    pub(super) fn forget_by_the_minute(&mut self, core: &mut Core<Member>) {
        let Limits { expire_after, ahead_max, .. } = self.limits;
        if expire_after.is_none() && ahead_max.is_none() {
            return;
        }
        // Asked anew each time: the wall clock may have been set meanwhile, or even stand still.
        let delay = Duration::from_nanos(MINUTE_NANOS - core.wall().0 % MINUTE_NANOS);
        core.call_later(delay.max(Duration::from_secs(1)), move |member, core| {
            let UnixNanos(now) = core.wall();
            // A timer may be late, and the two clocks may drift by a little: the nearest minute.
            let minute = (now + MINUTE_NANOS / 2) / MINUTE_NANOS * MINUTE_NANOS;
            let oldest = expire_after.map(|age| oldest_at(UnixNanos(minute), age));
            let forgetting = Forgetting { next: 0, oldest, too_old: 0, too_far_ahead: 0 };
            member.sweeps.forgetting = Some(forgetting);
            member.sweep_on(core);
            member.forget_by_the_minute(core);
        });
    }

    /// Sees to it that what has to be swept is, beginning in the next turn.
    pub(super) fn sweep_on(&mut self, core: &mut Core<Member>) {
        let Sweeps { giving, forgetting, is_due } = &mut self.sweeps;
        if giving.is_none() {
            let wanted = self.links.take_given();
            *giving = (!wanted.is_empty()).then_some(Giving { next: 0, wanted });
        }
        if !*is_due && (giving.is_some() || forgetting.is_some()) {
            *is_due = true;
            core.call_later(Duration::ZERO, |member, core| {
                member.sweeps.is_due = false;
                member.give_slice(core);
                member.forget_slice(core.wall());
                member.sweep_on(core);
            });
        }
    }

    fn give_slice(&mut self, core: &mut Core<Member>) {
        let Some(giving) = &mut self.sweeps.giving else { return };
        giving.wanted.retain(|(id, conn, _)| self.links.link(*id).conn == Some(*conn));
        let (slice, is_last) = slice(&mut giving.next, self.herd.keys());
        let wanted = giving.wanted.iter().map(|(id, _, leaves)| (id.0, leaves));
        self.herd.owe_leaves(wanted, slice);
        for (id, ..) in &giving.wanted {
            self.links.pay(core, &mut self.herd, *id);
        }
        if is_last || giving.wanted.is_empty() {
            self.sweeps.giving = None;
        }
    }

    fn forget_slice(&mut self, wall: UnixNanos) {
        let Some(forgetting) = &mut self.sweeps.forgetting else { return };
        let Limits { expire_after, ahead_max, .. } = self.limits;
        let (slice, is_last) = slice(&mut forgetting.next, self.herd.keys());
        if let Some(oldest) = forgetting.oldest {
            forgetting.too_old += self.herd.forget_before(oldest, slice.clone());
        }
        // By the clock as it is now: what has been let in since the sweep began stays.
        if let Some(newest) = ahead_max.map(|ahead| newest_at(wall, ahead)) {
            forgetting.too_far_ahead += self.herd.forget_after(newest, slice);
        }
        if !is_last {
            return;
        }
        if let (forgotten @ 1.., Some(Seconds(age))) = (forgetting.too_old, expire_after) {
            log::info!("limit: expire_after_s = {age}: {forgotten} clients forgotten");
        }
        if let (forgotten @ 1.., Some(Seconds(ahead))) = (forgetting.too_far_ahead, ahead_max) {
            log::warn!("limit: ahead_max_s = {ahead}: {forgotten} clients forgotten");
        }
        self.sweeps.forgetting = None;
    }
}

/// The next slice of `all`, and whether it is the last.
fn slice(next: &mut usize, all: usize) -> (Range<usize>, bool) {
    let slice = *next..(*next + SLICE).min(all);
    *next = slice.end;
    (slice, *next == all)
}

/// The oldest stamp that is let in at a time.
fn oldest_at(UnixNanos(wall): UnixNanos, Seconds(age): Seconds) -> Stamp {
    Stamp(wall.saturating_sub(age.saturating_mul(1_000_000_000)))
}

/// The newest stamp that is let in at a time.
fn newest_at(UnixNanos(wall): UnixNanos, Seconds(ahead): Seconds) -> Stamp {
    Stamp(wall.saturating_add(ahead.saturating_mul(1_000_000_000)))
}
