//! The journal: stores lines so that they outlive the process.
//!
//! In: lines of bytes, and a [`commit`](Journal::commit) in each turn of the loop. Out: a file with a
//! record for each line, and all lines at the next start. It knows no connection and no clock, and of a line
//! only how it begins ([`record::LINE_START`]). It knows neither the meaning nor the sender of a line.
//!
//! ```text
//!   note(line) ─▶ pending ──commit──▶ journal.7        append, once; sync, by policy
//!                              └────▶ journal.8.new    during a compaction, too
//!   Snapshot (the newest lines)   ──▶ journal.8.new    compact_keys lines in each turn
//! ```
//!
//! The idea: the order of records has no meaning. A reader keeps the newest line of each client, and the
//! stamp in the line decides which is newest. So a file may hold a line twice, two files may overlap, and
//! compaction (`compact.rs`) needs neither a pause nor a copy: it writes the newest line of each client,
//! piece by piece, into a second file, which also receives all lines noted meanwhile.
//!
//! Compaction also repairs a broken file: lines that could not be written are still in memory, so a new
//! file with all lines takes the old one's place. A file that was removed while it was open still accepts
//! writes and syncs; the journal detects this by looking for its name (`file_identity.rs`).
//!
//! There is only one thread: the sync is the loop's named exception to "nothing blocks". The journal times
//! each sync, and logs a slow one.
//!
//! Format: [`record`]. Policies, failures, recovery: docs/journal.md.

mod compact;
mod disk;
mod file;
mod file_identity;
mod open;
pub mod record;
mod scan;
mod state;
mod torn;

pub use self::disk::{Disk, KernelDisk};
pub use self::open::{OpenError, Replayed, files_of};
pub use self::record::{FileHead, Owner};
pub use self::scan::{RecordReceiver, Scan, scan};

use self::file::JournalFile;
use self::record::OVERHEAD_BYTES;
use self::state::{Compacting, FileState, JournalState, JournalStep};
use herd_reactor::{Histogram, LogThrottle, Moment};
use log::Level;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The maximum size of the records that wait for the end of their turn; further ones are written earlier.
/// Compaction writes pieces of the same size.
const PENDING_BYTES: usize = 64 << 10;

/// The delay between a write and its sync under `everysec`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The policy that decides when written records reach the disk. The names of the policies are Redis'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Records reach the disk before the turn's replies leave.
    Always,
    /// Records reach the disk within a second.
    EverySecond,
    /// The operating system decides when records reach the disk.
    No,
}

/// The settings of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The folder that holds a folder for each server.
    pub folder: PathBuf,
    /// The policy that decides when written records reach the disk.
    pub sync: Sync,
    /// A file up to this size is never compacted.
    pub compact_bytes: u64,
    /// A file larger than this many times its newest lines is compacted.
    pub compact_factor: u64,
    /// The number of keys that compaction processes per turn.
    pub compact_keys: usize,
    /// The delay before a failed compaction is retried.
    pub retry: Duration,
    /// A sync that takes longer is logged.
    pub slow_sync: Duration,
}

/// The newest line of each client, numbered from 0: the source of a compaction.
///
/// The line of a number may change during a compaction; each new line has been noted.
pub trait Snapshot {
    /// Returns the end of the numbers. Some numbers below it may have no line.
    fn end(&self) -> usize;
    /// Returns the line of one number.
    fn line(&self, number: usize) -> Option<&[u8]>;
    /// Estimates the bytes of all records, rather too high than too low.
    fn bytes(&self) -> u64;
}

/// The counters of a journal since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Lines noted.
    pub records: u64,
    /// Bytes of records written to the file, without those that a compaction writes.
    pub bytes: u64,
    /// The duration of the last sync.
    pub last_sync: Duration,
    /// The duration of the longest sync.
    pub longest_sync: Duration,
    /// The durations of all syncs of a file.
    pub sync_durations: Histogram,
    /// Syncs that took longer than [`JournalSettings::slow_sync`].
    pub slow_syncs: u64,
    /// Compactions.
    pub compactions: u64,
    /// Failures of the disk: writes, syncs, renames.
    pub failures: u64,
}

/// A folder of records, and the records that are not written yet.
#[derive(Debug)]
pub struct Journal {
    disk: Box<dyn Disk>,
    settings: JournalSettings,
    owner: Owner,
    /// The current file, to which records are appended. It has whole records only.
    file: JournalFile,
    state: JournalState,
    /// This turn's records that are not yet written. Compaction uses it as its buffer, too.
    pending: Vec<u8>,
    /// Whether records of this turn have been written to the file.
    written: bool,
    /// The error of a write in this turn.
    failure: Option<io::Error>,
    /// The numbers of older files, which are removed when a new file is complete.
    stale: Vec<u64>,
    /// When to check next that the file still has its name; `None` before the first commit.
    check: Option<Moment>,
    counts: JournalCounts,
    throttle: LogThrottle,
}

impl Journal {
    /// Adds a line to the records of this turn.
    ///
    /// `line`: any bytes but a newline. This costs a checksum and a copy. If the pending records would
    /// exceed 64 KiB (`PENDING_BYTES`), they are written first, so that a turn with much news needs no more
    /// memory.
    pub fn note(&mut self, line: &[u8]) {
        if is_full(&self.pending, line) {
            self.write_pending();
        }
        record::write(&mut self.pending, line);
        self.counts.records += 1;
    }

    /// Writes the pending records, and syncs them if the policy requires it now; then continues
    /// a compaction that is due. Call it once a turn, before the replies leave.
    ///
    /// `now`: the time of this turn. `snapshot`: the newest line of each client, those just noted included.
    ///
    /// # Errors
    /// Fails with [`Sync::Always`], if a write or a sync fails, or if the file has lost its name and cannot
    /// be compacted to a new one immediately. Then the noted lines may be lost: the caller must not
    /// acknowledge them, and must not use the journal any more. The other policies return no errors: the
    /// journal [is broken](Journal::is_sound) then, until a new file is complete.
    pub fn commit(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        self.throttle.report(now);
        self.write_pending();
        if std::mem::take(&mut self.written) {
            self.state.take(JournalStep::Written(now));
            self.check_soon(now);
        }
        debug_assert!(self.file.synced <= self.file.size);
        debug_assert!(self.state.file() != FileState::Synced || self.file.synced == self.file.size);
        debug_assert!(self.is_sound() || !matches!(self.state.compacting(), Compacting::Idle));
        if let Some(e) = self.failure.take() {
            self.on_failure(e, now)?;
        }
        if self.sync_due().is_some_and(|due| due <= now)
            && let Err(e) = self.sync(now)
        {
            self.on_failure(e, now)?;
        }
        self.check_file(now, snapshot)?;
        self.compact_slice(now, snapshot)
    }

    /// Whether all noted lines are in the file. While it is false, the caller should not acknowledge
    /// reports.
    pub fn is_sound(&self) -> bool {
        matches!(self.state.file(), FileState::Synced | FileState::Unsynced(_))
    }

    /// Returns the time at which the journal needs its next commit although nothing is noted.
    pub fn wake(&self, now: Moment) -> Option<Moment> {
        let compacting = match self.state.compacting() {
            Compacting::Idle => None,
            Compacting::Due(then) => Some(now.max(*then)),
            Compacting::Running(_) => Some(now),
        };
        [compacting, self.sync_due(), self.check, self.throttle.due()].into_iter().flatten().min()
    }

    /// Replaces the settings, all but the folder. They apply from the next commit on.
    pub fn set_settings(&mut self, settings: &JournalSettings) {
        let folder = std::mem::take(&mut self.settings.folder);
        self.settings = JournalSettings { folder, ..settings.clone() };
    }

    /// Returns the counters.
    pub fn counts(&self) -> JournalCounts {
        self.counts
    }

    /// Returns the size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.file.size
    }

    /// Shuts the journal down in good order: syncs all committed records, under every policy. If the journal is broken
    /// or its file has lost its name, it writes a new file.
    ///
    /// # Errors
    /// Fails if the last sync fails, or the new file cannot be written. Lines noted since the failure are
    /// then lost.
    pub fn close(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        if !self.is_sound() || self.disk.find(&self.file.name).is_err() {
            return self.compact(now, snapshot);
        }
        if let Some(new) = self.state.take(JournalStep::GaveUp(now)) {
            // An unfinished file is useless. If this fails, the next start removes it.
            let _ = self.disk.remove(&new.file.name);
        }
        match self.state.file() {
            FileState::Unsynced(_) => self.sync(now),
            _ => Ok(()),
        }
    }

    /// Writes the pending records to the file, and to the new file of a running compaction.
    fn write_pending(&mut self) {
        if self.is_sound() && self.failure.is_none() && !self.pending.is_empty() {
            self.failure = self.file.append(&mut *self.disk, &self.pending).err();
            if self.failure.is_none() {
                self.written = true;
                self.counts.bytes += self.pending.len() as u64;
            }
        }
        if let Some(new) = self.state.compaction() {
            new.append(&mut *self.disk, &self.pending);
        }
        self.pending.clear();
    }

    /// Returns the time at which the policy requires the next sync.
    fn sync_due(&self) -> Option<Moment> {
        match (self.state.file(), self.settings.sync) {
            (FileState::Unsynced(since), Sync::Always) => Some(since),
            (FileState::Unsynced(since), Sync::EverySecond) => Some(since + SYNC_EVERY),
            _ => None,
        }
    }

    fn sync(&mut self, now: Moment) -> io::Result<()> {
        let synced = self.file.sync(&mut *self.disk);
        if synced.is_err() {
            // The kernel may have dropped the unsynced pages while its cache still shows them to readers. The
            // next start must not rely on them, nor append after such a gap. If this fails too,
            // there is no better remedy.
            let _ = self.file.truncate(&mut *self.disk, self.file.synced);
        }
        self.synced(synced?, now);
        self.state.take(JournalStep::Synced);
        Ok(())
    }

    /// Counts a sync, and logs it if it was slow.
    fn synced(&mut self, took: Duration, now: Moment) {
        self.counts.sync_durations.add(took);
        self.counts.last_sync = took;
        self.counts.longest_sync = self.counts.longest_sync.max(took);
        if took > self.settings.slow_sync {
            self.counts.slow_syncs += 1;
            let (limit, path) =
                (self.settings.slow_sync.as_millis(), self.disk.path(&self.file.name));
            let what = format_args!("limit: slow_sync_ms = {limit}: {path}: {took:.1?}");
            let outcome = "syncs took longer; the server serves no client during a sync";
            self.throttle.log(now, Level::Warn, ("slow_sync_ms", 0), what, 1, outcome);
        }
    }

    /// Handles a failure of the file: returns an error that ends the server, or schedules a new file. A compaction
    /// that is already running will do as the new file, because it has received all noted lines.
    fn on_failure(&mut self, e: io::Error, now: Moment) -> io::Result<()> {
        self.counts.failures += 1;
        self.state.take(JournalStep::Failed(now));
        if self.settings.sync == Sync::Always {
            return Err(e);
        }
        self.tell_failure(&e, now);
        Ok(())
    }

    /// Logs a failure and its consequence, once a second at most.
    fn tell_failure(&mut self, e: &io::Error, now: Moment) {
        let then = match (self.is_sound(), self.settings.sync) {
            (false, Sync::Always) => "the server serves no client until a new file is complete",
            (false, _) => "the server rejects reports until a new file is complete",
            (true, _) => "the server keeps using the old file",
        };
        let key = ("failures", u32::from(!self.is_sound()));
        let what = format_args!("journal: {e}; {then}");
        self.throttle.log(now, Level::Error, key, what, 1, "failures of this kind");
    }
}

/// Whether the record of `line` would exceed the limit of a piece that already has `records`.
fn is_full(records: &[u8], line: &[u8]) -> bool {
    records.len() + line.len() + OVERHEAD_BYTES > PENDING_BYTES
}
