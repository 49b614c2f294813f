//! What is known of one server's journal: what it has taken in, and so what must be read of it again
//! when the server is dead and is started from its disk. docs/simulation.md, "What may be lost with a
//! server", says the same in words.

use super::at_line::{AtLine, Newest, raise};
use super::plan::{DiskFault, Journaling};
use crate::support::cluster::memory_disk::{DiskFaults, MemoryDisk};
use crate::support::cluster::{MS, SECOND};
use herd_reactor::Moment;
use places_herd::journal::Sync;
use std::time::Duration;

/// How long `everysec` lets what was written wait for its sync; and a tick of the clock.
const WINDOW: Duration = SECOND.saturating_add(MS);

/// How long a sync takes.
const SYNC_TIME: std::ops::RangeInclusive<Duration> =
    Duration::from_micros(50)..=Duration::from_millis(3);

/// The journal of one server.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) sync: Sync,
    short_writes: f64,
    syncs_lie: bool,
    /// The disk of a server that is dead and will be started again.
    pub(crate) disk: Option<MemoryDisk>,
    /// Its first life with this disk: what it answered before is nobody's any more.
    pub(crate) first_life: usize,
    /// What its journal has taken in, and when; `None`: it was read at the start.
    taken: Vec<(Option<Moment>, AtLine)>,
    /// The newest that it has answered clients, in all its lives with this disk.
    pub(crate) answered: Newest,
    /// It is broken since then: the last turn in which it was not.
    pub(crate) sound_until: Option<Moment>,
    /// What is wrong with the disk now.
    pub(crate) failing: Option<DiskFault>,
    /// How and when the server died.
    death: Option<Dead>,
}

#[derive(Clone, Copy, Debug)]
struct Dead {
    at: Moment,
    /// Until when it had done what was due.
    until: Moment,
    /// The power went, and with it what was not synced.
    is_power_lost: bool,
}

/// What a loss of power has taken from one journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) policy: &'static str,
    /// How old the oldest of it was, if something is missing.
    pub(crate) window: Option<Duration>,
}

impl Ledger {
    pub(crate) fn new(journaling: &Journaling, syncs_lie: bool) -> Ledger {
        Ledger {
            sync: journaling.sync,
            short_writes: if journaling.short_writes { 0.3 } else { 0.0 },
            syncs_lie,
            disk: None,
            first_life: 1,
            taken: Vec::new(),
            answered: Newest::new(),
            sound_until: None,
            failing: None,
            death: None,
        }
    }

    /// The disk to start from, in its `life`: the one that was left, or a new one.
    pub(crate) fn disk_for(&mut self, life: usize, seed: u64) -> MemoryDisk {
        let mut disk = self.disk.take().unwrap_or_else(|| {
            self.first_life = life;
            (self.taken, self.answered) = Default::default();
            MemoryDisk::new(seed)
        });
        disk.faults = self.faults();
        disk.sync_time = SYNC_TIME;
        disk
    }

    /// Whether reports may be refused now: its disk fails, or it has not yet written all again.
    pub(crate) fn may_refuse(&self) -> bool {
        self.failing.is_some() || self.sound_until.is_some()
    }

    /// What is wrong with the disk at all times.
    pub(crate) fn faults(&self) -> DiskFaults {
        let (short_writes, syncs_lie) = (self.short_writes, self.syncs_lie);
        DiskFaults { short_writes, syncs_lie, ..DiskFaults::default() }
    }

    /// The journal has taken this in by now.
    pub(crate) fn took(&mut self, at: Moment, report: AtLine) {
        self.taken.push((Some(at), report));
    }

    /// The server has died, and leaves `disk`; none, if that is lost, too. `until`: when it had done all
    /// that was due.
    pub(crate) fn died(
        &mut self,
        disk: Option<MemoryDisk>,
        at: Moment,
        until: Moment,
        has_vanished: bool,
    ) {
        let Some(mut disk) = disk else {
            (self.disk, self.failing, self.death) = (None, None, None);
            (self.taken, self.answered) = Default::default();
            return;
        };
        // Where the machine's power has failed in the middle of a turn, the process has ended for that.
        let is_power_lost = has_vanished || disk.faults.calls_left == Some(0);
        match is_power_lost {
            true => disk.crash(),
            false => disk.release(),
        }
        self.death = Some(Dead { at, until, is_power_lost });
        self.disk = Some(disk);
    }

    /// What must be read when the dead server is started again.
    pub(crate) fn demand(&self) -> Newest {
        let mut demand = Newest::new();
        let taken = self.taken.iter().filter(|(at, _)| self.must_be_kept(*at));
        taken.for_each(|(_, report)| raise(&mut demand, report.clone()));
        demand
    }

    /// Whether what was taken in `at` that time must outlive this death.
    fn must_be_kept(&self, at: Option<Moment>) -> bool {
        let Some(dead) = self.death else { return false };
        // What was read at the start is on the disk.
        let Some(at) = at else { return true };
        match (self.sync, self.sound_until) {
            (Sync::Always, _) => true,
            (Sync::EverySecond, Some(until)) => at + WINDOW <= until,
            (Sync::No, Some(until)) => !dead.is_power_lost && at <= until,
            (_, None) if !dead.is_power_lost => true,
            (Sync::EverySecond, None) => at + WINDOW <= dead.until,
            (Sync::No, None) => false,
        }
    }

    /// The server has been started, and knows `read`: it begins again with that. Says what the power has
    /// taken, if it went.
    pub(crate) fn started(&mut self, read: &Newest) -> Option<Loss> {
        let dead = self.death.take();
        let missing = self
            .taken
            .iter()
            .filter(|(_, report)| read.get(&report.client).is_none_or(|known| known < report));
        let oldest = missing.map(|(at, _)| at.unwrap_or_default()).min();
        let loss = dead.filter(|dead| dead.is_power_lost).map(|dead| Loss {
            policy: match (self.sync, self.sound_until) {
                (Sync::Always, _) => "always",
                (Sync::EverySecond, None) if dead.until == dead.at => "everysec",
                (Sync::EverySecond, _) => {
                    "everysec, of a process that stood still or a disk that failed"
                }
                (Sync::No, _) => "no",
            },
            window: oldest.map(|oldest| dead.at - oldest),
        });
        self.sound_until = None;
        self.taken = read.values().map(|read| (None, read.clone())).collect();
        loss
    }
}
