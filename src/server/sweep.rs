//! Sweeps: what has to go through the whole table does so in slices, one a turn.
//!
//! In: leaves of which neighbours lack lines, and which stamps are allowed. Out: the clients' bits in
//! [`Backlogs`](crate::table::backlog::Backlogs), and a table without those that are too old, or too far ahead. It does
//! not know how the leaves were found; the [comparison](crate::replication::anti_entropy) does.
//!
//! The idea: to go through a million clients at once would keep everybody waiting. After a slice a
//! timer that is due at once brings the next turn, and between two turns all connections are served.
//! One sweep gives to all neighbours at once. What is wanted while it is under way waits for the next,
//! so that nothing is given twice for having been asked for once.
//!
//! Clients are forgotten at the full minutes of the wall clock: so servers whose clocks agree roughly
//! store the same all the time but for an instant, and comparing finds no difference. What is too old
//! and waits for its minute is neither served nor taken ([`Table::set_oldest`]).
//!
//! So is what lies too far ahead ([`Table::set_newest`]). It is not taken in the first place, so that it
//! is stored only if the clock was set back.
//!
//! [`Table::set_oldest`]: crate::table::Table::set_oldest
//! [`Table::set_newest`]: crate::table::Table::set_newest

use crate::config::{Limits, Seconds};
use crate::log::plural;
use crate::replication::{NeighbourId, neighbours::Neighbours};
use crate::table::Table;
use crate::table::leaf_set::LeafSet;
use crate::wire::stamp::Stamp;
use herd_reactor::{ConnId, Core, Shared, UnixNanos};
use std::ops::Range;
use std::time::Duration;

/// Clients that are gone through in one turn.
const SLICE: usize = 4_096;

const MINUTE_NANOS: u64 = 60_000_000_000;

/// The sweeps that are under way, and which stamps are allowed.
#[derive(Debug)]
pub(super) struct Sweeps {
    /// A report is forgotten at this age, if at any. Key: `expire_after_s`.
    expire_after: Option<Seconds>,
    /// A report is not taken that lies further ahead. Key: `ahead_max_s`.
    ahead_max: Option<Seconds>,
    /// Clients forgotten until now, because their reports were too old,
    pub(super) forgotten_old: u64,
    /// and because they were too far ahead.
    pub(super) forgotten_ahead: u64,
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

/// Forgets the clients whose latest report is before `oldest`, and those whose is too far ahead by now.
#[derive(Debug)]
struct Forgetting {
    next: usize,
    oldest: Option<Stamp>,
    too_old: usize,
    too_far_ahead: usize,
}

impl Sweeps {
    /// Nothing is under way.
    pub(super) fn new(limits: &Limits) -> Sweeps {
        Sweeps {
            expire_after: limits.expire_after,
            ahead_max: limits.ahead_max,
            forgotten_old: 0,
            forgotten_ahead: 0,
            giving: None,
            forgetting: None,
            is_due: false,
        }
    }

    /// Are neighbours being found what they lack?
    pub(super) fn are_giving(&self) -> bool {
        self.giving.is_some()
    }

    /// Tells the table what time it is, if not all stamps are allowed: to be called before it is asked
    /// for a report or given one.
    pub(super) fn set_window(&self, table: &mut Table, wall: UnixNanos) {
        if let Some(age) = self.expire_after {
            table.set_oldest(oldest_at(wall, age));
        }
        self.set_newest(table, wall);
    }

    /// The same for what lies ahead alone.
    pub(super) fn set_newest(&self, table: &mut Table, wall: UnixNanos) {
        if let Some(ahead) = self.ahead_max {
            table.set_newest(newest_at(wall, ahead));
        }
    }

    /// How long until the next full minute, when what is not allowed any more is forgotten. `None`: all
    /// stamps are allowed.
    ///
    /// To be asked again each time: the wall clock may have been set meanwhile, or even stand still.
    pub(super) fn until_the_minute(&self, wall: UnixNanos) -> Option<Duration> {
        self.expire_after.or(self.ahead_max)?;
        let delay = Duration::from_nanos(MINUTE_NANOS - wall.0 % MINUTE_NANOS);
        Some(delay.max(Duration::from_secs(1)))
    }

    /// A full minute has come: forgetting begins.
    pub(super) fn begin_forgetting(&mut self, UnixNanos(now): UnixNanos) {
        // A timer may be late, and the two clocks may drift by a little: the nearest minute.
        let minute = (now + MINUTE_NANOS / 2) / MINUTE_NANOS * MINUTE_NANOS;
        let oldest = self.expire_after.map(|age| oldest_at(UnixNanos(minute), age));
        self.forgetting = Some(Forgetting { next: 0, oldest, too_old: 0, too_far_ahead: 0 });
    }

    /// Whether a slice has to be swept in the next turn, and nobody has been told so yet.
    pub(super) fn is_newly_due(&mut self, neighbours: &mut Neighbours) -> bool {
        if self.giving.is_none() {
            let wanted = neighbours.take_given();
            self.giving = (!wanted.is_empty()).then_some(Giving { next: 0, wanted });
        }
        let has_work = self.giving.is_some() || self.forgetting.is_some();
        debug_assert!(has_work || !self.is_due);
        has_work && !std::mem::replace(&mut self.is_due, has_work)
    }

    /// Sweeps one slice.
    pub(super) fn sweep<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &mut Table,
        neighbours: &mut Neighbours,
    ) {
        self.is_due = false;
        self.give_slice(core, table, neighbours);
        self.forget_slice(table, core.wall());
    }

    fn give_slice<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &mut Table,
        neighbours: &mut Neighbours,
    ) {
        let Some(giving) = &mut self.giving else { return };
        giving.wanted.retain(|(id, conn, _)| neighbours.get(*id).conn == Some(*conn));
        let (slice, is_last) = slice(&mut giving.next, table.keys());
        let wanted =
            giving.wanted.iter().map(|(id, _, leaves)| (neighbours.get(*id).backlog, leaves));
        table.mark_leaves(wanted, slice);
        for (id, ..) in &giving.wanted {
            neighbours.send_due(core, table, *id);
        }
        if is_last || giving.wanted.is_empty() {
            self.giving = None;
        }
    }

    fn forget_slice(&mut self, table: &mut Table, wall: UnixNanos) {
        let Some(forgetting) = &mut self.forgetting else { return };
        let (slice, is_last) = slice(&mut forgetting.next, table.keys());
        if let Some(oldest) = forgetting.oldest {
            forgetting.too_old += table.forget_before(oldest, slice.clone());
        }
        // By the clock as it is now: what has been allowed since the sweep began stays.
        if let Some(newest) = self.ahead_max.map(|ahead| newest_at(wall, ahead)) {
            forgetting.too_far_ahead += table.forget_after(newest, slice);
        }
        if !is_last {
            return;
        }
        if let (forgotten @ 1.., Some(Seconds(age))) = (forgetting.too_old, self.expire_after) {
            self.forgotten_old += forgotten as u64;
            let clients = plural(forgotten, "client");
            log::info!("limit: expire_after_s = {age}: {clients} forgotten");
        }
        if let (forgotten @ 1.., Some(Seconds(ahead))) = (forgetting.too_far_ahead, self.ahead_max)
        {
            self.forgotten_ahead += forgotten as u64;
            let clients = plural(forgotten, "client");
            log::warn!("limit: ahead_max_s = {ahead}: {clients} forgotten");
        }
        self.forgetting = None;
    }
}

/// The next slice of `all`, and whether it is the last.
fn slice(next: &mut usize, all: usize) -> (Range<usize>, bool) {
    let slice = *next..(*next + SLICE).min(all);
    *next = slice.end;
    (slice, *next == all)
}

/// The oldest stamp that is allowed at a time.
fn oldest_at(UnixNanos(wall): UnixNanos, Seconds(age): Seconds) -> Stamp {
    Stamp(wall.saturating_sub(age.saturating_mul(1_000_000_000)))
}

/// The newest stamp that is allowed at a time.
fn newest_at(UnixNanos(wall): UnixNanos, Seconds(ahead): Seconds) -> Stamp {
    Stamp(wall.saturating_add(ahead.saturating_mul(1_000_000_000)))
}
