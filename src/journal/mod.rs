//! The journal: lines that outlive the process.
//!
//! In: lines of bytes, once a turn of the loop a [`commit`](Journal::commit). Out: a file with a
//! record for each of them, and at the next start the lines again. It knows no connection and no clock, and of a line
//! only how it begins ([`record::LINE_START`]). What a line says, and what happens to its sender, is not its concern.
//!
//! ```text
//!   note(line) ─▶ pending ──commit──▶ journal.7        append, once; sync, by policy
//!                              └────▶ journal.8.new    during a compaction, too
//!   Snapshot (the newest lines)   ──▶ journal.8.new    compact_keys lines in each turn
//! ```
//!
//! The idea: the order of records means nothing. Whoever reads them keeps of each client the newest,
//! by what the line itself says. So a line may stand in a file twice, two files may overlap, and
//! compacting a file (`compact.rs`) needs neither a pause nor a copy: the newest line of each client is
//! written, piece by piece, into a second file, and so are all lines noted meanwhile.
//!
//! Compaction also mends a broken file: what could not be written is still in memory, so a new
//! file with all of it takes the old one's place. A file that was removed while it was open, which takes
//! every write and every sync as ever, is found out by looking for it (`file_identity.rs`).
//!
//! No thread: the sync is the loop's one named exception to "nothing blocks". It is timed, and the
//! log is told when it is slow.
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
pub use self::scan::{Scan, scan};

use self::file::JournalFile;
use self::record::OVERHEAD_BYTES;
use self::state::{Compacting, FileState, JournalState, JournalStep};
use herd_reactor::{LogThrottle, Moment};
use log::Level;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The records of a turn that wait for its end, at most; more are written before it. A file is compacted
/// in pieces of the same size.
const PENDING_BYTES: usize = 64 << 10;

/// How long `everysec` lets what was written wait for its sync.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// When what was written is on the disk. The words are those of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before the turn's replies leave.
    Always,
    /// Within a second.
    EverySecond,
    /// When the operating system sees fit.
    No,
}

/// How a journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The folder that holds a folder for each server.
    pub folder: PathBuf,
    /// When what was written is on the disk.
    pub sync: Sync,
    /// A smaller file is never compacted.
    pub compact_bytes: u64,
    /// A file that is this many times larger than what counts of it is compacted,
    pub compact_factor: u64,
    /// so many lines a turn.
    pub compact_keys: usize,
    /// How long it takes until what has failed is tried again.
    pub retry: Duration,
    /// A sync that takes longer is told to the log.
    pub slow_sync: Duration,
}

/// Every line that counts, numbered from 0: what a journal is compacted from.
///
/// The line of a number may change; whatever it is then has been noted.
pub trait Snapshot {
    /// The end of the numbers: each is below it, and not each of them has a line.
    fn end(&self) -> usize;
    /// The line of one number.
    fn line(&self, number: usize) -> Option<&[u8]>;
    /// About how many bytes their records take, rather more than less.
    fn bytes(&self) -> u64;
}

/// What has happened to a journal since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Lines noted.
    pub records: u64,
    /// Syncs of a file.
    pub syncs: u64,
    /// How long the last of them took,
    pub last_sync: Duration,
    /// and the longest.
    pub longest_sync: Duration,
    /// How many took longer than [`JournalSettings::slow_sync`].
    pub slow_syncs: u64,
    /// How often the file was compacted.
    pub compactions: u64,
    /// What the disk refused: writes, syncs, renames.
    pub failures: u64,
}

/// A folder of records, and what waits to be one.
#[derive(Debug)]
pub struct Journal {
    disk: Box<dyn Disk>,
    settings: JournalSettings,
    owner: Owner,
    /// The file that is appended to. It has whole records.
    file: JournalFile,
    state: JournalState,
    /// The records of this turn that are not yet written; then those on their way to a new file.
    pending: Vec<u8>,
    /// Some of this turn's have been,
    written: bool,
    /// or could not be.
    failure: Option<io::Error>,
    /// Older files, which go when a new one is whole.
    stale: Vec<u64>,
    /// When to look next whether the file is where it was; none before the first commit.
    check: Option<Moment>,
    counts: JournalCounts,
    throttle: LogThrottle,
}

impl Journal {
    /// Takes a line into the records of this turn.
    ///
    /// `line`: any bytes but a newline. Costs its checksum and a copy. What would be more than 64 KiB with
    /// it (`PENDING_BYTES`) is written first: so however much a turn brings, no more memory is held.
    pub fn note(&mut self, line: &[u8]) {
        if is_full(&self.pending, line) {
            self.write_pending();
        }
        record::write(&mut self.pending, line);
        self.counts.records += 1;
    }

    /// Writes what was noted since the last time, and syncs it if the policy says now; then goes on
    /// with compacting, if that is due. To be called once a turn, before its replies leave.
    ///
    /// `now`: of this turn. `snapshot`: every line that counts, those just noted included.
    ///
    /// # Errors
    ///
    /// With [`Sync::Always`], when a write or a sync failed: what was noted may be lost, nobody may
    /// be told that it was kept, and the journal must not be used any more. The same if the file is not
    /// where it was, and cannot be compacted there at once. The other policies give no errors: the
    /// journal [is broken](Journal::is_sound) then, until a new file is whole.
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

    /// Whether all that was noted is in the file. While it is not, nobody should be told that
    /// anything is kept.
    pub fn is_sound(&self) -> bool {
        matches!(self.state.file(), FileState::Synced | FileState::Unsynced(_))
    }

    /// When the journal has something to do though nothing is noted.
    pub fn wake(&self, now: Moment) -> Option<Moment> {
        let compacting = match self.state.compacting() {
            Compacting::Idle => None,
            Compacting::Due(then) => Some(now.max(*then)),
            Compacting::Running(_) => Some(now),
        };
        [compacting, self.sync_due(), self.check, self.throttle.due()].into_iter().flatten().min()
    }

    /// What has happened until now.
    pub fn counts(&self) -> JournalCounts {
        self.counts
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.file.size
    }

    /// For an end in good order: all that was committed is synced, whatever the policy. A journal that is
    /// broken, or is not where it was, is compacted, if that can be done now.
    ///
    /// # Errors
    ///
    /// Those of the last sync or of the new file. What was noted since the failure is lost then.
    pub fn close(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        if !self.is_sound() || self.disk.find(&self.file.name).is_err() {
            return self.compact(now, snapshot);
        }
        if let Some(new) = self.state.take(JournalStep::GaveUp(now)) {
            // Half a file is of no use to anybody; the next start would remove it too.
            let _ = self.disk.remove(&new.file.name);
        }
        match self.state.file() {
            FileState::Unsynced(_) => self.sync(now),
            _ => Ok(()),
        }
    }

    /// Writes what is pending to the file, and to the one that will take its place.
    fn write_pending(&mut self) {
        if self.is_sound() && self.failure.is_none() && !self.pending.is_empty() {
            self.failure = self.file.append(&mut *self.disk, &self.pending).err();
            self.written |= self.failure.is_none();
        }
        if let Some(new) = self.state.compaction() {
            new.append(&mut *self.disk, &self.pending);
        }
        self.pending.clear();
    }

    /// When what was written is to be synced, by the policy.
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
            // The kernel may have dropped what it was to write, and still shows it to whoever reads. The
            // next start must not take it for kept, nor append behind such a gap. If this fails too,
            // nothing better is left to do.
            let _ = self.file.truncate(&mut *self.disk, self.file.synced);
        }
        self.synced(synced?, now);
        self.state.take(JournalStep::Synced);
        Ok(())
    }

    /// Notes how long a sync took, and tells the log if that was long.
    fn synced(&mut self, took: Duration, now: Moment) {
        self.counts.syncs += 1;
        self.counts.last_sync = took;
        self.counts.longest_sync = self.counts.longest_sync.max(took);
        if took > self.settings.slow_sync {
            self.counts.slow_syncs += 1;
            let (limit, path) =
                (self.settings.slow_sync.as_millis(), self.disk.path(&self.file.name));
            let what = format_args!("limit: slow_sync_ms = {limit}: {path}: {took:.1?}");
            let outcome = "syncs were slow; nobody is served meanwhile";
            self.throttle.log(now, Level::Warn, ("slow_sync_ms", 0), what, 1, outcome);
        }
    }

    /// What a failure of the file comes to: the end, or a new file. A compaction that was begun before the
    /// failure is as good as one begun now: all that was noted went there.
    fn on_failure(&mut self, e: io::Error, now: Moment) -> io::Result<()> {
        self.counts.failures += 1;
        self.state.take(JournalStep::Failed(now));
        if self.settings.sync == Sync::Always {
            return Err(e);
        }
        self.tell_failure(&e, now);
        Ok(())
    }

    /// Tells the log what went wrong and what follows, once a second at most.
    fn tell_failure(&mut self, e: &io::Error, now: Moment) {
        let then = match (self.is_sound(), self.settings.sync) {
            (false, Sync::Always) => "nobody is served until a new file is whole",
            (false, _) => "reports are refused until a new file is whole",
            (true, _) => "the old file goes on",
        };
        let key = ("failures", u32::from(!self.is_sound()));
        let what = format_args!("journal: {e}; {then}");
        self.throttle.log(now, Level::Error, key, what, 1, "failures of this kind");
    }
}

/// Whether the record of `line` would be too much for a piece that has `records` already.
fn is_full(records: &[u8], line: &[u8]) -> bool {
    records.len() + line.len() + OVERHEAD_BYTES > PENDING_BYTES
}
