//! Opens a journal at the start of a server: reads the files in its folder, repairs them if that loses
//! nothing, and rejects them otherwise.
//!
//! ```text
//!   lock ─▶ remove *.new ─▶ read journal.6, journal.7 ─▶ move a torn tail away, sync ─▶ append to journal.7
//!                               └ each whole record to the caller          more than one: compact
//! ```
//!
//! It reads all files, the oldest first. There is more than one only after a crash
//! at a certain point of a [compaction](super::compact); they overlap.

use super::disk::FileReader;
use super::file::{JournalFile, told};
use super::record::{FileHead, Owner};
use super::scan::{RecordReceiver, Scan, scan};
use super::state::{JournalState, JournalStep};
use super::{Disk, Journal, JournalCounts, JournalSettings, PENDING_BYTES};
use herd_reactor::{LogThrottle, Moment};
use std::fmt;
use std::io::{self, ErrorKind};

/// The suffix of a file that is not complete yet.
pub(super) const UNFINISHED: &str = ".new";

/// The suffix of a journal's newest torn tail; for older ones a dot and their age follow.
pub(super) const TORN: &str = ".torn";

/// The numbers of journal files are below this. 0 follows the last number, since the order of the files has no meaning.
pub(super) const NUMBER_END: u64 = u64::MAX / 2;

/// The part of a journal file's name before its number.
pub(super) const STEM: &str = "journal.";

/// What [`Journal::open`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The number of files.
    pub files: usize,
    /// The number of whole records in all files.
    pub records: u64,
    /// The size of all files, in bytes.
    pub bytes: u64,
    /// The bytes of torn tails, which are now in separate files.
    pub torn_bytes: u64,
    /// The damaged bytes that a salvage skipped.
    pub damaged_bytes: u64,
}

/// Why a journal cannot be opened. The text says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses this folder.
    Locked(String),
    /// The contents of a file are unusable; the text says why, and what to do.
    Unusable(String),
    /// The operating system returned an error.
    Os(io::Error),
    /// The caller asked to stop.
    Stopped,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked(path) => {
                write!(f, "{path} is locked: another server, or another `herd journal`, uses it")
            }
            OpenError::Unusable(why) => f.write_str(why),
            OpenError::Os(error) => error.fmt(f),
            OpenError::Stopped => {
                f.write_str("stopped before the whole journal was read; no record is lost")
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Os(error)
    }
}

/// Returns the journal files among `names` with their numbers, the lowest first.
///
/// # Errors
///
/// A file is named like a journal but has an invalid number. The text begins with its name and says
/// what to do.
pub fn files_of(names: &[String]) -> Result<Vec<(u64, &str)>, String> {
    let mut files = Vec::new();
    for name in names {
        let Some(digits) = name.strip_prefix(STEM) else { continue };
        if let Some(number) = number_of(digits) {
            files.push((number, name.as_str()));
        } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{name}: its number is too large or begins with 0: rename it"));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Parses the number in a journal file's name; `None` if it has a leading 0 or is too large.
pub(super) fn number_of(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number: &u64| *number < NUMBER_END && number.to_string() == digits)
}

pub(super) fn name_of(number: u64) -> String {
    format!("{STEM}{number}")
}

impl Journal {
    /// Opens the journal of `owner` on `disk`, and creates it if there is none.
    ///
    /// It passes the line of every whole record to `each`, which returns whether the line is valid. It moves a torn
    /// tail to a separate file. `salvage`: damage is skipped, and the caller has to
    /// [compact](Journal::compact) the file. `stops` returns whether to stop; it is called before each piece
    /// of 64 KiB is read, and after the last one.
    ///
    /// # Errors
    ///
    /// No record is lost, the caller must discard the lines passed to `each`, and the folder is unlocked again.
    pub fn open(
        disk: Box<dyn Disk>,
        settings: JournalSettings,
        owner: &Owner,
        salvage: bool,
        each: &mut dyn RecordReceiver,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Journal, Replayed), OpenError> {
        let mut journal = Journal {
            disk,
            settings,
            owner: owner.clone(),
            file: JournalFile::default(),
            state: JournalState::default(),
            // Doubling from this capacity reaches PENDING_BYTES exactly.
            pending: Vec::with_capacity(PENDING_BYTES / 16),
            written: false,
            failure: None,
            stale: Vec::new(),
            check: None,
            counts: JournalCounts::default(),
            throttle: LogThrottle::default(),
        };
        let mut has_stopped = false;
        let mut stops = || {
            has_stopped = has_stopped || stops();
            has_stopped
        };
        match journal.replay(salvage, each, &mut stops) {
            Err(_) if has_stopped => Err(OpenError::Stopped),
            replayed => Ok((journal, replayed?)),
        }
    }

    fn replay(
        &mut self,
        salvage: bool,
        each: &mut dyn RecordReceiver,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<Replayed, OpenError> {
        self.disk.lock().map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => OpenError::Locked(self.disk.path("")),
            _ => OpenError::Os(told(&*self.disk, "locked", "", &e)),
        })?;
        let names = self.disk.list().map_err(|e| told(&*self.disk, "read", "", &e))?;
        let files = files_of(&names);
        let files = files.map_err(|why| OpenError::Unusable(self.disk.path("") + &why))?;
        let unfinished = |name: &str| {
            let name = name.strip_prefix(STEM)?.strip_suffix(UNFINISHED)?;
            number_of(name.strip_suffix(TORN).unwrap_or(name))
        };
        for name in names.iter().filter(|name| unfinished(name).is_some()) {
            self.disk.remove(name).map_err(|e| told(&*self.disk, "removed", name, &e))?;
        }
        let mut replayed = Replayed::default();
        for (number, name) in files {
            let scan = self.read(name, salvage, each, stops)?;
            if let Some(at) = scan.torn_at() {
                self.set_aside(name, at, scan.size, stops)?;
                replayed.torn_bytes += scan.bad_bytes;
            }
            if scan.head == FileHead::Cut {
                // The file has no records, and nothing can be appended to it.
                self.disk.close(name);
                self.stale.push(number);
                continue;
            }
            replayed.files += 1;
            replayed.records += scan.records;
            replayed.bytes += scan.size;
            if scan.damaged_at().is_some() {
                replayed.damaged_bytes += scan.bad_bytes;
            }
            self.append_to(number, name, &scan)?;
        }
        match replayed.files {
            // The first file is created like a compacted one, so that a file under its final name always has its
            // first line.
            0 => {
                self.create_next(false)?;
                self.take_place(Moment::default())?;
                self.counts = JournalCounts::default();
            }
            // The newest file's name may not be on the disk yet.
            _ => self.disk.sync_folder().map_err(|e| told(&*self.disk, "synced", "", &e))?,
        }
        if !self.stale.is_empty() || replayed.damaged_bytes > 0 {
            self.state.take(JournalStep::Wanted(Moment::default()));
        }
        Ok(replayed)
    }

    /// Reads one file, and passes its lines to `each`.
    fn read(
        &mut self,
        name: &str,
        salvage: bool,
        each: &mut dyn RecordReceiver,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<Scan, OpenError> {
        self.disk.open(name).map_err(|e| told(&*self.disk, "opened", name, &e))?;
        let mut reader = FileReader { disk: &mut *self.disk, name, offset: 0, stops };
        let scan = scan(&mut reader, each);
        let scan = scan.map_err(|e| told(&*self.disk, "read", name, &e))?;
        match scan.refusal(&self.disk.path(name), Some(&self.owner), salvage) {
            Some(why) => Err(OpenError::Unusable(why)),
            None => Ok(scan),
        }
    }

    /// Makes the file `name` the current one, until a newer file is read. It cuts off a torn tail, which has been
    /// [set aside](Journal::set_aside) before.
    fn append_to(&mut self, number: u64, name: &str, scan: &Scan) -> io::Result<()> {
        let disk = &mut *self.disk;
        let file = JournalFile { number, name: name.to_owned(), size: scan.size, synced: 0 };
        let older = std::mem::replace(&mut self.file, file);
        if !older.name.is_empty() {
            disk.close(&older.name);
            self.stale.push(older.number);
        }
        if let Some(at) = scan.torn_at() {
            self.file.truncate(disk, at)?;
        }
        if scan.lacks_newline {
            // Otherwise the next record would start in the same line as this one.
            self.file.append(disk, b"\n")?;
        }
        // The records of a killed process may not be on the disk yet. From now on the server acknowledges
        // them, and does not note them again.
        self.file.sync(disk).map(drop)
    }
}
