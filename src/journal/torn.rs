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
//! The program never reads these files again: they are for people. A folder keeps the last five.

use super::open::{Refusal, STEM};
use super::rewrite::UNFINISHED;
use super::{Journal, PENDING_BYTES, append_all};
use std::io::{self, ErrorKind};

/// The ending of the newest torn tail of a journal; older ones have a dot and a number behind it.
pub const TORN: &str = ".torn";

/// How many torn tails a folder keeps.
const KEPT: usize = 5;

/// The torn tails among the files `names`, oldest first.
fn torn_of(names: &[String]) -> Vec<&str> {
    let mut torn: Vec<(u64, u64, &str)> = names
        .iter()
        .filter_map(|name| {
            let (journal, number) = name.strip_prefix(STEM)?.split_once(TORN)?;
            let number = match number {
                "" => u64::MAX,
                _ => number.strip_prefix('.')?.parse().ok()?,
            };
            Some((journal.parse().ok()?, number, name.as_str()))
        })
        .collect();
    torn.sort_unstable();
    torn.into_iter().map(|(_, _, name)| name).collect()
}

impl Journal {
    /// Copies the last bytes of the file `name`, from `at` to its `size`, to a file beside it, which is on
    /// the disk when this returns: they can be cut off then.
    ///
    /// # Errors
    ///
    /// They cannot be cut off. [`Refusal::Stopped`]: `stops` said so.
    pub(super) fn set_aside(
        &mut self,
        name: &str,
        at: u64,
        size: u64,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(), Refusal> {
        let torn = format!("{name}{TORN}");
        let mut has_stopped = false;
        let copied = self.copy_once(name, at, size, &torn, &mut || {
            has_stopped |= stops();
            has_stopped
        });
        self.disk.close(&torn);
        let (bytes, path, torn) = (size - at, self.disk.path(name), self.disk.path(&torn));
        match copied {
            Ok(()) => {
                log::warn!(
                    "journal: {path} ended in {bytes} bytes of no whole record, from byte {at} on: moved to {torn}"
                );
                Ok(())
            }
            Err(_) if has_stopped => Err(Refusal::Stopped),
            Err(e) => {
                let what = format!(
                    "{path} ends in {bytes} bytes of no whole record that cannot be moved to {torn} \
                     (make room, or move the journal away)"
                );
                Err(Refusal::Os(what, e))
            }
        }
    }

    fn copy_once(
        &mut self,
        name: &str,
        at: u64,
        size: u64,
        torn: &str,
        stops: &mut dyn FnMut() -> bool,
    ) -> io::Result<()> {
        if !self.is_copied(name, at, size, torn, stops).unwrap_or(false) {
            let new = format!("{torn}{UNFINISHED}");
            let copied = self.copy(name, at, &new, stops).and_then(|()| {
                self.number_older(torn)?;
                self.disk.rename(&new, torn)
            });
            if copied.is_err() {
                // If this fails, the next start removes it.
                let _ = self.disk.remove(&new);
            }
            copied?;
        }
        // A copy of the start before may have a name that is not yet on the disk.
        self.disk.sync_folder()?;
        self.remove_oldest(torn)
    }

    /// Whether the file `torn` has the bytes of `name` from `at` on. Only a file that was synced has that
    /// name.
    fn is_copied(
        &mut self,
        name: &str,
        at: u64,
        size: u64,
        torn: &str,
        stops: &mut dyn FnMut() -> bool,
    ) -> io::Result<bool> {
        if self.disk.open(torn)? != size - at {
            return Ok(false);
        }
        let (mut ours, mut copy) = (vec![0; PENDING_BYTES], vec![0; PENDING_BYTES]);
        let mut offset = 0;
        while !stops() {
            let count = self.disk.read_at(name, at + offset, &mut ours)?;
            let copied = self.disk.read_at(torn, offset, &mut copy[..count])?;
            if count == 0 || copied == 0 || ours[..copied] != copy[..copied] {
                return Ok(count == 0);
            }
            offset += copied as u64;
        }
        Ok(false)
    }

    /// Copies the bytes of `name` from `at` on to the file `new`, and syncs it.
    fn copy(
        &mut self,
        name: &str,
        mut at: u64,
        new: &str,
        stops: &mut dyn FnMut() -> bool,
    ) -> io::Result<()> {
        self.disk.create(new)?;
        let mut buffer = vec![0; PENDING_BYTES];
        let mut size = 0;
        while !stops() {
            let count = match self.disk.read_at(name, at, &mut buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count == 0 {
                return self.disk.sync(new).map(drop);
            }
            append_all(&mut *self.disk, new, &buffer[..count], &mut size)?;
            at += count as u64;
        }
        Err(io::Error::other("told to stop"))
    }

    /// Gives the file `torn`, if there is one, a number behind its name: one more than the last.
    fn number_older(&mut self, torn: &str) -> io::Result<()> {
        let names = self.disk.list()?;
        let number = |name: &String| name.strip_prefix(torn)?.strip_prefix('.')?.parse().ok();
        let last: u64 = names.iter().filter_map(number).max().unwrap_or(0);
        match names.iter().any(|name| name == torn) {
            true => self.disk.rename(torn, &format!("{torn}.{}", last.saturating_add(1))),
            false => Ok(()),
        }
    }

    /// Removes all torn tails but the last ones; `newest` is one of those, whatever its number.
    fn remove_oldest(&mut self, newest: &str) -> io::Result<()> {
        let names = self.disk.list()?;
        let mut torn = torn_of(&names);
        torn.retain(|name| *name != newest);
        for name in &torn[..torn.len().saturating_sub(KEPT - 1)] {
            if let Err(e) = self.disk.remove(name) {
                log::warn!("journal: {} cannot be removed: {e}", self.disk.path(name));
            }
        }
        Ok(())
    }
}
