//! Sweeps: passes over the whole table, in slices, one slice a turn.
//!
//! In: the leaves (groups of clients) whose lines neighbours lack, and the range of accepted stamps. Out: the clients'
//! bits in [`Backlogs`](crate::table::backlog::Backlogs), and a table without the clients whose reports are too old or
//! too far ahead. It does not know how the leaves were found; the [comparison](crate::replication::anti_entropy) does.
//!
//! The idea: a pass over a million clients in one turn would delay every connection. After each slice a timer that is
//! due at once causes the next turn, and between two turns all connections are served. One sweep serves all
//! neighbours. Leaves that are found during a sweep wait for the next one, so that a leaf found once is swept once.
//!
//! Clients are forgotten at the full minutes of the wall clock. So servers whose clocks roughly agree store the same
//! clients except for an instant, and a comparison finds no difference. A report that is too old is neither served
//! nor accepted even before its minute has come ([`Table::set_oldest`]).
//!
//! The same holds for a report too far ahead ([`Table::set_newest`]). Such a report is never accepted, so it is in the
//! table only if the clock was set back.
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

/// Number of clients that a sweep visits in one turn.
const SLICE: usize = 4_096;

const MINUTE_NANOS: u64 = 60_000_000_000;

/// The sweeps that are under way, and the range of accepted stamps.
#[derive(Debug)]
pub(super) struct Sweeps {
    /// The age at which a report is forgotten; `None`: never. Key: `expire_after_s`.
    expire_after: Option<Seconds>,
    /// How far ahead of our clock a report may be stamped; `None`: any distance. Key: `ahead_max_s`.
    ahead_max: Option<Seconds>,
    /// Clients forgotten so far because their report was too old.
    pub(super) forgotten_old: u64,
    /// Clients forgotten so far because their report was too far ahead.
    pub(super) forgotten_ahead: u64,
    giving: Option<Giving>,
    forgetting: Option<Forgetting>,
    /// Whether a timer for the next slice is set.
    is_due: bool,
}

/// The sweep that marks clients in the neighbours' backlogs: those in leaves of which the neighbours lack lines.
#[derive(Debug)]
struct Giving {
    next: usize,
    /// The leaves of which each neighbour lacks lines, and the connection to it. An entry ends with its connection.
    wanted: Vec<(NeighbourId, ConnId, LeafSet)>,
}

/// The sweep that forgets each client whose latest report has a stamp before `oldest` or too far ahead of our clock.
#[derive(Debug)]
struct Forgetting {
    next: usize,
    oldest: Option<Stamp>,
    too_old: usize,
    too_far_ahead: usize,
}

impl Sweeps {
    /// Creates the state with no sweep under way.
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

    /// Adopts new limits. A report that they no longer exclude is served again, if it is still stored.
    pub(super) fn set_limits(&mut self, table: &mut Table, limits: &Limits) {
        (self.expire_after, self.ahead_max) = (limits.expire_after, limits.ahead_max);
        table.set_oldest(Stamp(0));
        table.set_newest(Stamp(u64::MAX));
        // The next minute begins a sweep with the new limit.
        self.forgetting.iter_mut().for_each(|forgetting| forgetting.oldest = None);
    }

    /// Whether a sweep for neighbours is under way.
    pub(super) fn are_giving(&self) -> bool {
        self.giving.is_some()
    }

    /// Sets the range of stamps that `table` accepts at `wall`, if the limits restrict it. Call this before the table
    /// is read or a report is merged.
    pub(super) fn set_window(&self, table: &mut Table, wall: UnixNanos) {
        if let Some(age) = self.expire_after {
            table.set_oldest(oldest_at(wall, age));
        }
        self.set_newest(table, wall);
    }

    /// Sets only the newest stamp that `table` accepts at `wall`.
    pub(super) fn set_newest(&self, table: &mut Table, wall: UnixNanos) {
        if let Some(ahead) = self.ahead_max {
            table.set_newest(newest_at(wall, ahead));
        }
    }

    /// How long it is until the next full minute, when clients are forgotten; at least a second. `None`: all stamps
    /// are accepted.
    ///
    /// Call it again for each minute: the wall clock may have been set meanwhile, or may not move at all.
    pub(super) fn until_the_minute(&self, wall: UnixNanos) -> Option<Duration> {
        self.expire_after.or(self.ahead_max)?;
        let delay = Duration::from_nanos(MINUTE_NANOS - wall.0 % MINUTE_NANOS);
        Some(delay.max(Duration::from_secs(1)))
    }

    /// Begins to forget clients, at a full minute.
    pub(super) fn begin_forgetting(&mut self, UnixNanos(now): UnixNanos) {
        // The timer may be late and the two clocks may drift apart a little, so `now` is rounded to the nearest minute.
        let minute = (now + MINUTE_NANOS / 2) / MINUTE_NANOS * MINUTE_NANOS;
        let oldest = self.expire_after.map(|age| oldest_at(UnixNanos(minute), age));
        self.forgetting = Some(Forgetting { next: 0, oldest, too_old: 0, too_far_ahead: 0 });
    }

    /// Whether a slice is due in the next turn and no timer was set for it yet; the caller sets the timer.
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
        // This uses the present time, so a report that became acceptable since the sweep began stays.
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

/// Returns the next slice of `all` keys, and whether it is the last.
fn slice(next: &mut usize, all: usize) -> (Range<usize>, bool) {
    let slice = *next..(*next + SLICE).min(all);
    *next = slice.end;
    (slice, *next == all)
}

/// The oldest stamp that is accepted at `wall`.
fn oldest_at(UnixNanos(wall): UnixNanos, Seconds(age): Seconds) -> Stamp {
    Stamp(wall.saturating_sub(age.saturating_mul(1_000_000_000)))
}

/// The newest stamp that is accepted at `wall`.
fn newest_at(UnixNanos(wall): UnixNanos, Seconds(ahead): Seconds) -> Stamp {
    Stamp(wall.saturating_add(ahead.saturating_mul(1_000_000_000)))
}
