//! Where a journal begins: what the folder holds is read, mended if that loses nothing, and refused
//! if it does not.
//!
//! ```text
//!   lock ─▶ remove *.new ─▶ read journal.6, journal.7 ─▶ move a torn tail away, sync ─▶ append to journal.7
//!                               └ each whole record to the caller          more than one: rewrite
//! ```
//!
//! All files that are there are read, the oldest first; more than one are there only after a crash
//! at a certain moment ([`rewrite`](super::compact)), and overlap.

use super::disk::FileReader;
use super::record::{FileHead, Owner, VERSION};
use super::scan::{Scan, scan};
use super::{Disk, Journal, JournalCounts, JournalSettings, PENDING_BYTES, append_all};
use crate::log::shell_quoted;
use herd_reactor::{LogThrottle, Moment};
use std::fmt;
use std::io::{self, ErrorKind};

/// The ending of a file that is not whole yet.
pub(super) const UNFINISHED: &str = ".new";

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
    /// Another process has the folder.
    Locked(String),
    /// The file is another server's, or another herd's.
    Anothers(String, Owner),
    /// The file was written by a later version of the program.
    Newer(String, u32),
    /// The file's line ends were changed.
    CarriageReturn(String),
    /// The file is no journal.
    Foreign(String),
    /// The file is damaged, and there are whole records behind that.
    Damaged {
        /// The file.
        path: String,
        /// Where the damage begins, in bytes.
        at: u64,
        /// Whole records behind it.
        records_after: u64,
    },
    /// The operating system refused something.
    Os(String, io::Error),
    /// Whoever opens it was told to stop.
    Stopped,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked(path) => {
                write!(f, "{path} is locked: another server, or another `herd journal`, uses it")
            }
            OpenError::Anothers(path, Owner { server, herd }) => {
                write!(
                    f,
                    "{path} is the journal of {server} in the herd {herd}; choose another folder"
                )
            }
            OpenError::Newer(path, version) => write!(
                f,
                "{path} has format {version}, and this program reads {VERSION}; use the program that wrote it"
            ),
            OpenError::CarriageReturn(path) => write!(
                f,
                "{path} has a CR in its first line: an editor, or git, has changed its line ends from LF to CR LF; \
                 bring it back from a copy, or change them back, as with `sed -i 's/\\r$//' {}`",
                shell_quoted(path)
            ),
            OpenError::Foreign(path) => write!(
                f,
                "{path} is no journal: its first line is not `HERDJ 1 SERVER HERD`; \
                 bring it back from a copy, move it away, or choose another folder"
            ),
            OpenError::Damaged { path, at, records_after } => write!(
                f,
                "{path} is damaged at byte {at}, with {records_after} whole records behind that; \
                 bring it back from a copy, or keep what is whole with `herd journal compact {} --salvage`",
                shell_quoted(path)
            ),
            OpenError::Os(what, error) => write!(f, "{what}: {error}"),
            OpenError::Stopped => {
                write!(f, "the journal was not read to its end, and is as it was")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// The journals among the files `names`, oldest first, by their numbers.
pub fn files_of(names: &[String]) -> Vec<(u64, &str)> {
    let mut files: Vec<(u64, &str)> = names
        .iter()
        .filter_map(|name| {
            let number = name.strip_prefix(STEM)?.parse().ok()?;
            // So that there is always a next one.
            (number < u64::MAX / 2 && name_of(number) == *name).then_some((number, name.as_str()))
        })
        .collect();
    files.sort_unstable();
    files
}

pub(super) fn name_of(number: u64) -> String {
    format!("{STEM}{number}")
}

/// Whether the file is one that was not finished.
fn is_unfinished(name: &str) -> bool {
    name.starts_with(STEM) && name.ends_with(UNFINISHED)
}

impl Journal {
    /// Opens the journal of `owner` on `disk`, and makes it if there is none.
    ///
    /// Hands every whole record's line to `each`, which says whether it can make sense of it. A torn
    /// tail is moved to a file of its own. `salvage`: damage is passed over, and the file is to be
    /// [written anew](Journal::rewrite).
    ///
    /// # Errors
    ///
    /// Nothing has been lost then, and what `each` was given must not be used.
    pub fn open(
        disk: Box<dyn Disk>,
        settings: JournalSettings,
        owner: &Owner,
        salvage: bool,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(Journal, Replayed), OpenError> {
        Journal::open_unless(disk, settings, owner, salvage, each, &mut || false)
    }

    /// The same, unless it is to stop: before each piece that is read (64 KiB), and behind the last one,
    /// `stops` is asked.
    ///
    /// # Errors
    ///
    /// [`OpenError::Stopped`] too: then every whole record is where it was, and the folder is free again.
    pub fn open_unless(
        disk: Box<dyn Disk>,
        settings: JournalSettings,
        owner: &Owner,
        salvage: bool,
        each: &mut dyn FnMut(&[u8]) -> bool,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Journal, Replayed), OpenError> {
        let mut journal = Journal::unopened(disk, settings, owner);
        let names = journal.lock_and_list()?;
        for name in names.iter().filter(|name| is_unfinished(name)) {
            journal.disk.remove(name).map_err(|e| journal.os("removed", name, e))?;
        }
        let mut replayed = Replayed::default();
        for (number, name) in files_of(&names) {
            let scan = journal.read(name, salvage, each, stops)?;
            if let Some(at) = scan.torn_at() {
                journal.set_aside(name, at, scan.size, stops)?;
                replayed.torn_bytes += scan.bad_bytes;
            }
            if scan.head == FileHead::Cut {
                // There is nothing in it, and nothing can be appended.
                journal.disk.close(name);
                journal.stale.push(number);
                continue;
            }
            replayed.files += 1;
            replayed.records += scan.records;
            replayed.bytes += scan.size;
            if scan.damaged_at().is_some() {
                replayed.damaged_bytes += scan.bad_bytes;
            }
            journal.take(number, name, &scan)?;
        }
        match replayed.files {
            0 => journal.create()?,
            // A name that was given last may not be on the disk either.
            _ => journal.disk.sync_folder().map_err(|e| {
                OpenError::Os(format!("{} cannot be synced", journal.disk.path("")), e)
            })?,
        }
        journal.rewrite_wanted = !journal.stale.is_empty() || replayed.damaged_bytes > 0;
        Ok((journal, replayed))
    }

    fn unopened(disk: Box<dyn Disk>, settings: JournalSettings, owner: &Owner) -> Journal {
        Journal {
            disk,
            settings,
            owner: owner.clone(),
            number: 0,
            name: String::new(),
            size: 0,
            synced_size: 0,
            unsynced: None,
            broken: false,
            // What doubles from here comes to PENDING_BYTES, and to no more.
            pending: Vec::with_capacity(PENDING_BYTES / 16),
            written: false,
            failure: None,
            rewrite: None,
            retry: None,
            rewrite_wanted: false,
            stale: Vec::new(),
            unsettled: false,
            look: None,
            counts: JournalCounts::default(),
            throttle: LogThrottle::default(),
        }
    }

    fn lock_and_list(&mut self) -> Result<Vec<String>, OpenError> {
        let folder = self.disk.path("");
        self.disk.lock().map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => OpenError::Locked(folder.clone()),
            _ => OpenError::Os(format!("{folder} cannot be locked"), e),
        })?;
        self.disk.list().map_err(|e| OpenError::Os(format!("{folder} cannot be read"), e))
    }

    /// Reads one file.
    fn read(
        &mut self,
        name: &str,
        salvage: bool,
        each: &mut dyn FnMut(&[u8]) -> bool,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<Scan, OpenError> {
        self.disk.open(name).map_err(|e| self.os("opened", name, e))?;
        let mut reading = FileReader::new(&mut *self.disk, name, stops);
        let scan = match scan(&mut reading, each) {
            Err(_) if reading.has_stopped => return Err(OpenError::Stopped),
            scan => scan.map_err(|e| self.os("read", name, e))?,
        };
        let path = self.disk.path(name);
        match &scan.head {
            FileHead::Of(owner) if *owner == self.owner => {}
            FileHead::Of(owner) => return Err(OpenError::Anothers(path, owner.clone())),
            FileHead::Newer(version) => return Err(OpenError::Newer(path, *version)),
            FileHead::Cut => {}
            FileHead::CarriageReturn => return Err(OpenError::CarriageReturn(path)),
            FileHead::Foreign => return Err(OpenError::Foreign(path)),
        }
        match scan.damaged_at() {
            Some(at) if !salvage => {
                let records_after = scan.records_after;
                Err(OpenError::Damaged { path, at, records_after })
            }
            _ => Ok(scan),
        }
    }

    /// The file `name` is the one to append to, until a newer one is read. A torn tail is cut off; it was
    /// [set aside](Journal::set_aside).
    fn take(&mut self, number: u64, name: &str, scan: &Scan) -> Result<(), OpenError> {
        if !self.name.is_empty() {
            self.disk.close(&self.name);
            self.stale.push(self.number);
        }
        (self.number, self.name, self.size) = (number, name.to_owned(), scan.size);
        if let Some(at) = scan.torn_at() {
            self.disk.truncate(name, at).map_err(|e| self.os("truncated", name, e))?;
            self.size = at;
        }
        if scan.lacks_newline() {
            // Else the next record would be taken for damage behind this one.
            append_all(&mut *self.disk, name, b"\n", &mut self.size)
                .map_err(|e| self.os("mended", name, e))?;
        }
        // What a killed process has written may not be on the disk yet; but what is read is answered for
        // from now on, and not noted again.
        self.disk.sync(name).map_err(|e| self.os("synced", name, e))?;
        self.synced_size = self.size;
        Ok(())
    }

    /// Makes the first file, with nothing in it but its first line.
    fn create(&mut self) -> Result<(), OpenError> {
        struct Nothing;
        impl super::Snapshot for Nothing {
            fn end(&self) -> usize {
                0
            }
            fn line(&self, _number: usize) -> Option<&[u8]> {
                None
            }
            fn bytes(&self) -> u64 {
                0
            }
        }
        // As any other rewriting, so that a file under its final name always has its first line.
        let made = self.rewrite(Moment::default(), &Nothing);
        let folder = self.disk.path("");
        made.map_err(|e| OpenError::Os(format!("{folder}: no journal can be made"), e))?;
        self.counts = JournalCounts::default();
        Ok(())
    }

    fn os(&self, what: &str, name: &str, e: io::Error) -> OpenError {
        OpenError::Os(format!("{} cannot be {what}", self.disk.path(name)), e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_can_be_typed_whatever_the_path() {
        let path = String::from("./-my journal/it's");
        let remedy = OpenError::CarriageReturn(path.clone()).to_string();
        assert!(remedy.ends_with(r"`sed -i 's/\r$//' './-my journal/it'\''s'`"), "{remedy}");
        let remedy = OpenError::Damaged { path, at: 1, records_after: 1 }.to_string();
        let typed = r"`herd journal compact './-my journal/it'\''s' --salvage`";
        assert!(remedy.ends_with(typed), "{remedy}");
    }
}
