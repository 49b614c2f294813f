//! Moves a torn tail of a journal to a separate file when the journal is opened.
//!
//! ```text
//!   copy to journal.7.torn.new ─▶ sync ─▶ an older journal.7.torn becomes journal.7.torn.1
//!     ─▶ rename to journal.7.torn ─▶ sync folder ─▶ truncate journal.7
//! ```
//!
//! A crash before the truncation leaves the tail in its journal, and the next start moves it. If the
//! crash came after the renaming, the next start finds an equal copy, and makes no second one.
//!
//! The server never uses these files; they are for the operator. Like older log files, the last five of a
//! folder are kept: `journal.7.torn.4` is the oldest one of `journal.7`.

use super::disk::FileReader;
use super::file::{JournalFile, told};
use super::open::{STEM, TORN, UNFINISHED, number_of};
use super::{Journal, PENDING_BYTES};
use std::cmp::Reverse;
use std::io::{self, Read};

/// The number of torn tails that a folder keeps.
const KEPT: usize = 5;

/// The last bytes of a journal, from `at` to its `size`, and the name of their new file.
struct Tail<'a> {
    journal: FileReader<'a>,
    at: u64,
    size: u64,
    torn: String,
}

impl Journal {
    /// Copies the last bytes of the file `name`, from `at` to its `size`, to a separate file in the same folder,
    /// and syncs it: the caller may then cut them off.
    ///
    /// # Errors
    ///
    /// The bytes could not be copied; the caller must not cut them off.
    pub(super) fn set_aside(
        &mut self,
        name: &str,
        at: u64,
        size: u64,
        stops: &mut dyn FnMut() -> bool,
    ) -> io::Result<()> {
        let torn = format!("{name}{TORN}");
        let (bytes, path, torn_path) = (size - at, self.disk.path(name), self.disk.path(&torn));
        let journal = FileReader { disk: &mut *self.disk, name, offset: at, stops };
        let mut tail = Tail { journal, at, size, torn };
        let moved = tail.copy_once();
        tail.journal.disk.close(&tail.torn);
        let tail =
            format!("the last {bytes} bytes of {path}, from byte {at} on, hold no whole record");
        moved.map_err(|e| {
            let remedy = "(make room, or move the journal away)";
            let what = format!("{tail}; they cannot be moved to {torn_path} {remedy}: {e}");
            io::Error::new(e.kind(), what)
        })?;
        log::warn!("journal: {tail}: moved them to {torn_path}");
        Ok(())
    }
}

impl Tail<'_> {
    fn copy_once(&mut self) -> io::Result<()> {
        if !self.is_copied().unwrap_or(false) {
            let new = format!("{}{UNFINISHED}", self.torn);
            let copied = self.copy(&new).and_then(|()| self.take_name(&new));
            if copied.is_err() {
                // If this fails, the next start removes the file.
                let _ = self.journal.disk.remove(&new);
            }
            copied?;
        }
        // The name of a copy that a previous start has made may not be on the disk yet.
        self.journal.disk.sync_folder()
    }

    /// Whether a previous start has copied the tail: a file gets its final name only after its sync.
    fn is_copied(&mut self) -> io::Result<bool> {
        let (mut offset, bytes) = (0, self.size - self.at);
        let mut is_equal = self.journal.disk.open(&self.torn)? == bytes;
        let (mut ours, mut copy) = (vec![0; PENDING_BYTES], vec![0; PENDING_BYTES]);
        while is_equal && offset < bytes {
            let count = self.journal.read(&mut ours)?;
            let copied = self.journal.disk.read_at(&self.torn, offset, &mut copy[..count])?;
            is_equal = count > 0 && copied == count && ours[..count] == copy[..count];
            offset += count as u64;
        }
        Ok(is_equal)
    }

    fn copy(&mut self, new: &str) -> io::Result<()> {
        let mut file = JournalFile::create(self.journal.disk, 0, new.to_owned())?;
        let mut buffer = vec![0; PENDING_BYTES];
        self.journal.offset = self.at;
        while let count @ 1.. = self.journal.read(&mut buffer)? {
            file.append(self.journal.disk, &buffer[..count])?;
        }
        file.sync(self.journal.disk).map(drop)
    }

    /// Renames the file `new` to its final name. It first removes the oldest torn tails of the whole folder, because
    /// each compaction gives the journal a new number. Older tails of this journal move up by one, as far as the
    /// first free name.
    fn take_name(&mut self, new: &str) -> io::Result<()> {
        let disk = &mut *self.journal.disk;
        let names = disk.list()?;
        let mut torn: Vec<_> =
            names.iter().filter_map(|name| Some((age_of(name)?, name))).collect();
        torn.sort_unstable();
        let too_many = (torn.len() + 1).saturating_sub(KEPT);
        for (_, oldest) in torn.drain(..too_many) {
            disk.remove(oldest).map_err(|e| told(disk, "removed", oldest, &e))?;
        }
        let name = |age| if age == 0 { self.torn.clone() } else { format!("{}.{age}", self.torn) };
        let is_taken = |age: &usize| torn.iter().any(|(_, taken)| **taken == name(*age));
        for age in (0..(0..).take_while(is_taken).count()).rev() {
            disk.rename(&name(age), &name(age + 1))?;
        }
        disk.rename(new, &self.torn)
    }
}

/// Returns a key that sorts torn tails, the oldest first: the number of their journal, then the reversed age.
fn age_of(name: &str) -> Option<(u64, Reverse<u64>)> {
    let (number, age) = name.strip_prefix(STEM)?.split_once(TORN)?;
    let age = match age {
        "" => 0,
        age => number_of(age.strip_prefix('.')?).filter(|age| (1..KEPT as u64).contains(age))?,
    };
    Some((number_of(number)?, Reverse(age)))
}
