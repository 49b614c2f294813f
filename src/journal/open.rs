//! Where a journal begins: what the folder holds is read, mended if that loses nothing, and refused
//! if it does not.
//!
//! ```text
//!   lock ─▶ remove *.new ─▶ read journal.6, journal.7 ─▶ move a torn tail away, sync ─▶ append to journal.7
//!                               └ each whole record to the caller          more than one: compact
//! ```
//!
//! All files that are there are read, the oldest first; more than one are there only after a crash
//! at a certain moment ([compaction](super::compact)), and overlap.

use super::disk::FileReader;
use super::file::{JournalFile, told};
use super::record::{FileHead, Owner};
use super::scan::{Scan, scan};
use super::state::{JournalState, JournalStep};
use super::{Disk, Journal, JournalCounts, JournalSettings, PENDING_BYTES};
use herd_reactor::{LogThrottle, Moment};
use std::fmt;
use std::io::{self, ErrorKind};

/// The ending of a file that is not whole yet.
pub(super) const UNFINISHED: &str = ".new";

/// The ending of the newest torn tail of a journal; older ones have a dot and their age behind it.
pub(super) const TORN: &str = ".torn";

/// All numbers of journals are below it. After the last one comes 0: the order of the files means nothing.
pub(super) const NUMBER_END: u64 = u64::MAX / 2;

/// What the names of journals have before their number.
pub(super) const STEM: &str = "journal.";

/// What was read at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Files.
    pub files: usize,
    /// Whole records in them.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of torn tails: they are in files of their own now.
    pub torn_bytes: u64,
    /// Bytes that are damaged, if salvage was wanted.
    pub damaged_bytes: u64,
}

/// Why a journal is not opened. The text says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has this folder.
    Locked(String),
    /// What is in a file cannot be used: this is why, and what to do.
    Unusable(String),
    /// The operating system refused something.
    Os(io::Error),
    /// Whoever opens it was told to stop.
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
                f.write_str("the journal was not read to its end, and is as it was")
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

/// The journals among the files `names`, oldest first, by their numbers.
///
/// # Errors
///
/// Why one would not be read though it is called like them, and what to do; its name comes first.
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

/// The number with the digits `digits`, as a journal's name has it.
pub(super) fn number_of(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number: &u64| *number < NUMBER_END && number.to_string() == digits)
}

pub(super) fn name_of(number: u64) -> String {
    format!("{STEM}{number}")
}

impl Journal {
    /// Opens the journal of `owner` on `disk`, and makes it if there is none.
    ///
    /// Hands every whole record's line to `each`, which says whether it can make sense of it. A torn
    /// tail is moved to a file of its own. `salvage`: damage is passed over, and the file is to be
    /// [compacted](Journal::compact). `stops` is asked whether to stop, before each piece that is read
    /// (64 KiB), and behind the last one.
    ///
    /// # Errors
    ///
    /// Nothing has been lost then, and what `each` was given must not be used. The folder is free again.
    pub fn open(
        disk: Box<dyn Disk>,
        settings: JournalSettings,
        owner: &Owner,
        salvage: bool,
        each: &mut dyn FnMut(&[u8]) -> bool,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Journal, Replayed), OpenError> {
        let mut journal = Journal {
            disk,
            settings,
            owner: owner.clone(),
            file: JournalFile::default(),
            state: JournalState::default(),
            // What doubles from here comes to PENDING_BYTES, and to no more.
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
        each: &mut dyn FnMut(&[u8]) -> bool,
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
                // There is nothing in it, and nothing can be appended.
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
            // As any other compaction, so that a file under its final name always has its first line.
            0 => {
                self.create_next(false)?;
                self.take_place(Moment::default())?;
                self.counts = JournalCounts::default();
            }
            // A name that was given last may not be on the disk either.
            _ => self.disk.sync_folder().map_err(|e| told(&*self.disk, "synced", "", &e))?,
        }
        if !self.stale.is_empty() || replayed.damaged_bytes > 0 {
            self.state.take(JournalStep::Wanted(Moment::default()));
        }
        Ok(replayed)
    }

    /// Reads one file.
    fn read(
        &mut self,
        name: &str,
        salvage: bool,
        each: &mut dyn FnMut(&[u8]) -> bool,
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

    /// The file `name` is the one to append to, until a newer one is read. A torn tail is cut off; it was
    /// [set aside](Journal::set_aside).
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
            // Else the next record would be taken for damage behind this one.
            self.file.append(disk, b"\n")?;
        }
        // What a killed process has written may not be on the disk yet; but what is read is answered for
        // from now on, and not noted again.
        self.file.sync(disk).map(drop)
    }
}
