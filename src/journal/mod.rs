//! The journal: lines that outlive the process.
//!
//! In: lines of bytes, once a turn of the loop a [`commit`](Journal::commit). Out: a file with a
//! record for each of them, and at the next start the lines again. It knows no command, no
//! connection and no clock: what a line says, and what becomes of whoever sent it, others decide.
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
mod file_identity;
mod open;
pub mod record;
mod scan;
mod torn;

pub use self::disk::{Disk, KernelDisk};
pub use self::open::{OpenError, Replayed, files_of};
pub use self::record::{FileHead, Owner};
pub use self::scan::{Scan, scan};
pub use self::torn::TORN;

use self::compact::Compaction;
use self::record::OVERHEAD_BYTES;
use herd_reactor::{LogThrottle, Moment};
use log::Level;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

/// The records of a turn that wait for its end, at most; more are written before it. A file is written anew
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
    /// A smaller file is never written anew.
    pub compact_bytes: u64,
    /// A file so many times larger than what counts of it is written anew,
    pub compact_factor: u64,
    /// so many lines a turn.
    pub compact_keys: usize,
    /// How long it takes until what has failed is tried again.
    pub retry: Duration,
    /// A sync that takes longer is told to the log.
    pub slow_sync: Duration,
}

/// Every line that counts, numbered from 0: what a journal is written anew from.
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
    /// How often the file was written anew.
    pub rewrites: u64,
    /// What the disk refused: writes, syncs, renames.
    pub failures: u64,
}

/// A folder of records, and what waits to be one.
#[derive(Debug)]
pub struct Journal {
    disk: Box<dyn Disk>,
    settings: JournalSettings,
    owner: Owner,
    /// The file that is appended to, and its size in whole records.
    number: u64,
    name: String,
    size: u64,
    /// So many of its first bytes are on the disk.
    synced_size: u64,
    /// Since when something in it waits for its sync.
    unsynced: Option<Moment>,
    /// It is not what it should be: something that was noted is missing, or may be.
    broken: bool,
    /// The records of this turn that are not yet written; then those on their way to a new file.
    pending: Vec<u8>,
    /// Some of this turn's have been,
    written: bool,
    /// or could not be.
    failure: Option<io::Error>,
    rewrite: Option<Compaction>,
    /// Rewriting has failed: not again before then.
    retry: Option<Moment>,
    /// It is to be rewritten, whatever its size.
    rewrite_wanted: bool,
    /// Older files, which go when a new one is whole.
    stale: Vec<u64>,
    /// The name of the newest may not be on the disk: its folder could not be synced.
    unsettled: bool,
    /// When to look next whether the file is where it was; none before the first commit.
    look: Option<Moment>,
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
    /// with rewriting, if that is due. To be called once a turn, before its replies leave.
    ///
    /// `now`: of this turn. `live`: every line that counts, those just noted included.
    ///
    /// # Errors
    ///
    /// With [`Sync::Always`], when a write or a sync failed: what was noted may be lost, nobody may
    /// be told that it was kept, and the journal must not be used any more. The same if the file is not
    /// where it was, and cannot be written anew there at once. The other policies give no errors: the
    /// journal [is broken](Journal::is_sound) then, until a new file is whole.
    pub fn commit(&mut self, now: Moment, live: &dyn Snapshot) -> io::Result<()> {
        self.throttle.report(now);
        self.write_pending();
        if std::mem::take(&mut self.written) {
            self.unsynced.get_or_insert(now);
            self.look_soon(now);
        }
        debug_assert!(self.synced_size <= self.size);
        debug_assert!(self.broken || self.unsynced.is_some() || self.synced_size == self.size);
        if let Some(e) = self.failure.take() {
            self.on_failure(Err(e), now)?;
        }
        if self.sync_is_due(now) {
            let synced = self.sync(now);
            self.on_failure(synced, now)?;
        }
        self.look_if_due(now, live)?;
        self.go_on_rewriting(now, live)
    }

    /// Whether all that was noted is in the file. While it is not, nobody should be told that
    /// anything is kept.
    pub fn is_sound(&self) -> bool {
        !self.broken
    }

    /// When the journal has something to do though nothing is noted.
    pub fn wake(&self, now: Moment) -> Option<Moment> {
        let rewriting = self.rewrite.as_ref().map(|_| now);
        let beginning = self.wants_rewrite().then(|| self.retry.unwrap_or(now));
        let syncing = match self.settings.sync {
            Sync::EverySecond if !self.broken => self.unsynced.map(|since| since + SYNC_EVERY),
            _ => None,
        };
        let reporting = self.throttle.due();
        [rewriting, beginning, syncing, self.look, reporting].into_iter().flatten().min()
    }

    /// What has happened until now.
    pub fn counts(&self) -> JournalCounts {
        self.counts
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The disk, for whoever made it.
    pub fn disk(&mut self) -> &mut dyn Disk {
        &mut *self.disk
    }

    /// The disk, as it was left: what waits is not written.
    pub fn into_disk(self) -> Box<dyn Disk> {
        self.disk
    }

    /// For an end in good order: all that was committed is synced, whatever the policy. A journal that is
    /// broken, or is not where it was, is written anew, if that can be done now.
    ///
    /// # Errors
    ///
    /// Those of the last sync or of the new file. What was noted since the failure is lost then.
    pub fn close(&mut self, now: Moment, live: &dyn Snapshot) -> io::Result<()> {
        if self.broken || self.disk.find(&self.name).is_err() {
            return self.rewrite(now, live);
        }
        if let Some(rewrite) = self.rewrite.take() {
            // Half a file is of no use to anybody; the next start would remove it too.
            let _ = self.disk.remove(&rewrite.name);
        }
        match self.unsynced.is_some() {
            true => self.sync(now),
            false => Ok(()),
        }
    }

    /// Writes what is pending to the file, and to the one that will take its place.
    fn write_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if !self.broken && self.failure.is_none() {
            let Journal { disk, name, pending, size, .. } = self;
            match append_all(&mut **disk, name, pending, size) {
                Ok(()) => self.written = true,
                Err(e) => self.failure = Some(self.told("written to", &self.name, &e)),
            }
        }
        self.append_to_rewrite();
        self.pending.clear();
    }

    fn sync_is_due(&self, now: Moment) -> bool {
        let Some(since) = self.unsynced.filter(|_| !self.broken) else { return false };
        match self.settings.sync {
            Sync::Always => true,
            Sync::EverySecond => now - since >= SYNC_EVERY,
            Sync::No => false,
        }
    }

    fn sync(&mut self, now: Moment) -> io::Result<()> {
        self.unsynced = None;
        let synced = self.disk.sync(&self.name);
        match synced.is_ok() {
            true => self.synced_size = self.size,
            false => self.cut_off_unsynced(),
        }
        self.synced(synced, now).map_err(|e| self.told("synced", &self.name, &e))
    }

    /// After a sync that failed: the kernel may have dropped what it was to write, and still shows it to
    /// whoever reads. The next start must not take it for kept, nor append behind such a gap.
    fn cut_off_unsynced(&mut self) {
        // If this fails too, nothing better is left to do.
        if self.disk.truncate(&self.name, self.synced_size).is_ok() {
            self.size = self.synced_size;
        }
    }

    /// Notes how long a sync took, and tells the log if that was long.
    fn synced(&mut self, synced: io::Result<Duration>, now: Moment) -> io::Result<()> {
        let took = synced?;
        self.counts.syncs += 1;
        self.counts.last_sync = took;
        self.counts.longest_sync = self.counts.longest_sync.max(took);
        if took > self.settings.slow_sync {
            self.counts.slow_syncs += 1;
            let (limit, path) = (self.settings.slow_sync.as_millis(), self.disk.path(&self.name));
            let what = format_args!("limit: slow_sync_ms = {limit}: {path}: {took:.1?}");
            let outcome = "syncs were slow; nobody is served meanwhile";
            self.throttle.log(now, Level::Warn, ("slow_sync_ms", 0), what, 1, outcome);
        }
        Ok(())
    }

    /// What a failure of the file comes to: the end, or a new file.
    fn on_failure(&mut self, outcome: io::Result<()>, now: Moment) -> io::Result<()> {
        let Err(e) = outcome else { return Ok(()) };
        self.counts.failures += 1;
        if self.settings.sync == Sync::Always {
            return Err(e);
        }
        self.broken = true;
        self.unsynced = None;
        // Begun before the failure, it is as good as one begun now: all that was noted went there.
        self.tell_failure(&e, now);
        Ok(())
    }

    /// Tells the log what went wrong and what follows, once a second at most.
    fn tell_failure(&mut self, e: &io::Error, now: Moment) {
        let then = match (self.broken, self.settings.sync) {
            (true, Sync::Always) => "nobody is served until a new file is whole",
            (true, _) => "reports are refused until a new file is whole",
            (false, _) => "the old file goes on",
        };
        let key = ("failures", u32::from(self.broken));
        let what = format_args!("journal: {e}; {then}");
        self.throttle.log(now, Level::Error, key, what, 1, "such failures");
    }

    /// The error `e` with the file's name, and what could not be done.
    fn told(&self, what: &str, name: &str, e: &io::Error) -> io::Error {
        io::Error::new(e.kind(), format!("{} cannot be {what}: {e}", self.disk.path(name)))
    }
}

/// Whether the record of `line` would be too much for a piece that has `records` already.
fn is_full(records: &[u8], line: &[u8]) -> bool {
    records.len() + line.len() + OVERHEAD_BYTES > PENDING_BYTES
}

/// Appends all of `bytes` to the file `name`, of `size` bytes, or nothing.
fn append_all(disk: &mut dyn Disk, name: &str, bytes: &[u8], size: &mut u64) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let error = match disk.append(name, left) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(count) => {
                left = &left[count..];
                continue;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => e,
        };
        if left.len() < bytes.len() {
            // Else half a record would stand before whatever comes next. If this fails too, the file
            // ends in a torn tail, which the next start moves away; nothing more is appended here.
            let _ = disk.truncate(name, *size);
        }
        return Err(error);
    }
    *size += bytes.len() as u64;
    Ok(())
}
