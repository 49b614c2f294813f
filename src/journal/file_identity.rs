//! Checks that the journal's file is still where the next start looks for it.
//!
//! An open file still accepts every write and every sync after it is removed or its folder is renamed,
//! but the next start cannot find it, and no system call reports this. So the journal checks: does the file's name
//! still lead to the open file, and the lock's name to the lock that it holds? For this the file system must give
//! an open file and its name the same inode number, as all local ones and NFS do.
//!
//! A file that has lost its name is broken, like a file that cannot be written, and is repaired in the same way: a
//! new file is written from memory, in the folder of that name, which is created and locked again. Other files
//! in that folder belong to an operator: none is overwritten or removed, and the next start reads them.
//!
//! With `always` a record must be findable before it is acknowledged. So the journal checks at every sync, and writes
//! the new file immediately, before the turn's replies leave. The server serves no client meanwhile, but memory may hold
//! the only copy, which would be lost if the server ended.

use super::file::told;
use super::state::{Compacting, JournalStep};
use super::{Journal, SYNC_EVERY, Snapshot, Sync};
use herd_reactor::Moment;
use std::io;
use std::time::Duration;

/// The time between checks while nothing is written.
const CHECK_EVERY: Duration = Duration::from_secs(60);

impl Journal {
    /// Schedules a check after a write: immediately with `always`, else within a second.
    pub(super) fn check_soon(&mut self, now: Moment) {
        let soon = match self.settings.sync {
            Sync::Always => now,
            Sync::EverySecond | Sync::No => now + SYNC_EVERY,
        };
        self.check = Some(self.check.map_or(soon, |next| next.min(soon)));
    }

    /// Checks the file's name if a check is due, and replaces a file that has lost its name.
    ///
    /// # Errors
    /// Fails with `always`, if the new file cannot be written.
    pub(super) fn check_file(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        if *self.check.get_or_insert(now) > now {
            return Ok(());
        }
        self.check = Some(now + CHECK_EVERY);
        match self.state.compacting() {
            // A running compaction is already replacing the lost file.
            Compacting::Running(new) if new.old_is_lost && !self.is_sound() => return Ok(()),
            _ => {}
        }
        let Err(e) = self.disk.find(&self.file.name) else { return Ok(()) };
        self.counts.failures += 1;
        // This compaction was started in a folder that may be gone.
        if let Some(new) = self.state.take(JournalStep::Lost(now)) {
            self.disk.close(&new.file.name);
        }
        let what = "found: it or its folder was removed, renamed or replaced";
        self.tell_failure(&told(&*self.disk, what, &self.file.name, &e), now);
        match self.settings.sync {
            Sync::Always => self.compact(now, snapshot),
            Sync::EverySecond | Sync::No => Ok(()),
        }
    }

    /// Creates and locks the folder again. Files that are there stay as they are.
    pub(super) fn regain_folder(&mut self) -> io::Result<()> {
        let locked = self.disk.lock_again();
        locked.map_err(|e| told(&*self.disk, "locked", "", &e))?;
        self.stale.clear();
        Ok(())
    }
}
