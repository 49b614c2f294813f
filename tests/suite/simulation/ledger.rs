//! A model of one server's journal: the lines that it has taken in, and so the lines that a start from its disk
//! must read again after the server's death. docs/simulation.md, "What may be lost with a
//! server", explains the rules.

use super::at_line::{AtLine, Newest, raise};
use super::plan::{DiskFault, Journaling};
use crate::support::cluster::memory_disk::{DiskFaults, MemoryDisk};
use crate::support::cluster::{MS, SECOND};
use herd_reactor::Moment;
use places_herd::journal::Sync;
use std::time::Duration;

/// The delay between a write and its sync under `everysec`, plus a tick of the clock.
const WINDOW: Duration = SECOND.saturating_add(MS);

/// The duration of a sync.
const SYNC_TIME: std::ops::RangeInclusive<Duration> =
    Duration::from_micros(50)..=Duration::from_millis(3);

/// The journal of one server.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) sync: Sync,
    short_writes: f64,
    syncs_lie: bool,
    /// The disk of a dead server that will be restarted.
    pub(crate) disk: Option<MemoryDisk>,
    /// The server's first life with this disk. Replies of earlier lives do not count.
    pub(crate) first_life: usize,
    /// The lines in the journal, and when each was taken in; `None` for a line that was read at the start.
    taken: Vec<(Option<Moment>, AtLine)>,
    /// The newest reports that it has answered, in all its lives with this disk.
    pub(crate) answered: Newest,
    /// The last turn in which the journal was sound, if it is broken.
    pub(crate) sound_until: Option<Moment>,
    /// The current fault of the disk.
    pub(crate) failing: Option<DiskFault>,
    /// How and when the server died.
    death: Option<Dead>,
}

#[derive(Clone, Copy, Debug)]
struct Dead {
    at: Moment,
    /// The time up to which the server had done all its work.
    until: Moment,
    /// The power failed, so that unsynced bytes are lost.
    is_power_lost: bool,
}

/// The loss of one journal in a power failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) policy: &'static str,
    /// The age of the oldest missing line, if one is missing.
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

    /// Returns the disk for the server's `life`: the one of the last life, or a new one.
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

    /// Whether the server may reject reports: its disk fails, or its journal is still broken.
    pub(crate) fn may_refuse(&self) -> bool {
        self.failing.is_some() || self.sound_until.is_some()
    }

    /// Returns the permanent faults of the disk.
    pub(crate) fn faults(&self) -> DiskFaults {
        let (short_writes, syncs_lie) = (self.short_writes, self.syncs_lie);
        DiskFaults { short_writes, syncs_lie, ..DiskFaults::default() }
    }

    /// Notes a report that the journal has taken in.
    pub(crate) fn took(&mut self, at: Moment, report: AtLine) {
        self.taken.push((Some(at), report));
    }

    /// Notes the server's death. `disk`: the disk that it leaves; `None` if that is lost, too. `until`: the time up to
    /// which it had done all its work.
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
        // A process that ended because its disk stopped completely counts as a power failure in the middle of a turn.
        let is_power_lost = has_vanished || disk.faults.calls_left == Some(0);
        match is_power_lost {
            true => disk.crash(),
            false => disk.release(),
        }
        self.death = Some(Dead { at, until, is_power_lost });
        self.disk = Some(disk);
    }

    /// Returns the reports that a restart of the dead server must read.
    pub(crate) fn demand(&self) -> Newest {
        let mut demand = Newest::new();
        let taken = self.taken.iter().filter(|(at, _)| self.must_be_kept(*at));
        taken.for_each(|(_, report)| raise(&mut demand, report.clone()));
        demand
    }

    /// Whether a line that was taken in `at` this time must outlive the death.
    fn must_be_kept(&self, at: Option<Moment>) -> bool {
        let Some(dead) = self.death else { return false };
        // Lines that were read at the start are on the disk.
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

    /// Notes that the server was restarted and has `read` these reports. Returns the loss of a power failure, if there
    /// was one.
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
