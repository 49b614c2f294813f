//! What becomes of a torn tail: the start moves it to a file of its own.
//!
//! ```text
//!   copy to journal.7.torn.new ─▶ sync ─▶ an older journal.7.torn becomes journal.7.torn.1
//!     ─▶ rename to journal.7.torn ─▶ sync folder ─▶ truncate journal.7
//! ```
//!
//! A crash before the truncation leaves the tail in its journal, and the next start moves it. If the
//! crash came after the renaming, that start finds an equal copy, and makes no second one.
//!
//! The program never reads these files again: they are for people. The last five of a folder are
//! kept, as older log files are: of `journal.7`, `journal.7.torn.4` is the oldest.

use super::disk::FileReader;
use super::file::{JournalFile, told};
use super::open::{STEM, TORN, UNFINISHED, number_of};
use super::{Journal, PENDING_BYTES};
use std::cmp::Reverse;
use std::io::{self, Read};

/// How many torn tails of a folder are kept.
const KEPT: usize = 5;

/// The last bytes of the file `name`, from `at` to its `size`, and where they are moved.
struct Tail<'a> {
    journal: FileReader<'a>,
    at: u64,
    size: u64,
    torn: String,
}

impl Journal {
    /// Copies the last bytes of the file `name`, from `at` to its `size`, to a file beside it, which is on
    /// the disk when this returns: they can be cut off then.
    ///
    /// # Errors
    ///
    /// They cannot be cut off.
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
        let ends = format!("{path} ends in {bytes} bytes of no whole record, from byte {at} on");
        moved.map_err(|e| {
            let remedy = "(make room, or move the journal away)";
            let what = format!("{ends}; they cannot be moved to {torn_path} {remedy}: {e}");
            io::Error::new(e.kind(), what)
        })?;
        log::warn!("journal: {ends}: moved to {torn_path}");
        Ok(())
    }
}

impl Tail<'_> {
    fn copy_once(&mut self) -> io::Result<()> {
        if !self.is_copied().unwrap_or(false) {
            let new = format!("{}{UNFINISHED}", self.torn);
            let copied = self.copy(&new).and_then(|()| self.take_name(&new));
            if copied.is_err() {
                // If this fails, the next start removes it.
                let _ = self.journal.disk.remove(&new);
            }
            copied?;
        }
        // A copy of the start before may have a name that is not yet on the disk.
        self.journal.disk.sync_folder()
    }

    /// Whether a start before has copied it: only a file that was synced has that name.
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

    /// Gives the file `new` its name. The oldest of the folder are removed before, as the number of a journal
    /// grows each time that it is compacted; older ones of this journal move on by one, up to the first that is free.
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

/// What sorts torn tails by age, the oldest first: the number of their journal, and of its tails the age.
fn age_of(name: &str) -> Option<(u64, Reverse<u64>)> {
    let (number, age) = name.strip_prefix(STEM)?.split_once(TORN)?;
    let age = match age {
        "" => 0,
        age => number_of(age.strip_prefix('.')?).filter(|age| (1..KEPT as u64).contains(age))?,
    };
    Some((number_of(number)?, Reverse(age)))
}
