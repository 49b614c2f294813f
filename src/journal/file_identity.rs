//! Whether the file is still where the next start looks for it.
//!
//! A file that is removed while it is open, or whose folder is renamed, takes every write and every sync as
//! ever, and nobody will find it again. No call says so. So the journal looks: does the file's name still
//! lead to the file that is open, and the lock's name to the lock that is held? A file system has to give
//! an open file and its name one inode number for that, as all local ones do, and NFS.
//!
//! If not, it is broken like one that cannot be written to, and mended in the same way: of what is in
//! memory, in the folder of that name, which is made and locked again. What else is found there is
//! somebody's, so nothing of it is written over or removed; the next start reads it.
//!
//! With `always` nothing may be acknowledged before it can be found. So it looks at every sync, and writes
//! the new file at once, before the turn's replies leave: nobody is served meanwhile, but what is in memory
//! may be all that there is, and to end would lose it.

use super::file::told;
use super::state::{Compacting, JournalStep};
use super::{Journal, SYNC_EVERY, Snapshot, Sync};
use herd_reactor::Moment;
use std::io;
use std::time::Duration;

/// How long it may go unnoticed while nothing is written.
const CHECK_EVERY: Duration = Duration::from_secs(60);

impl Journal {
    /// Something was written: whether it can be found is to be seen at once with `always`, else within a
    /// second.
    pub(super) fn check_soon(&mut self, now: Moment) {
        let soon = match self.settings.sync {
            Sync::Always => now,
            Sync::EverySecond | Sync::No => now + SYNC_EVERY,
        };
        self.check = Some(self.check.map_or(soon, |next| next.min(soon)));
    }

    /// Looks for the file if it is time, and sees to one that is not found.
    ///
    /// # Errors
    ///
    /// With `always`, that it cannot be compacted.
    pub(super) fn check_file(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        if *self.check.get_or_insert(now) > now {
            return Ok(());
        }
        self.check = Some(now + CHECK_EVERY);
        match self.state.compacting() {
            // That is known, and being seen to.
            Compacting::Running(new) if new.old_is_lost && !self.is_sound() => return Ok(()),
            _ => {}
        }
        let Err(e) = self.disk.find(&self.file.name) else { return Ok(()) };
        self.counts.failures += 1;
        // Begun in a folder that may be gone.
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

    /// Has a folder again where it was, and the lock in it. What is there keeps its name.
    pub(super) fn regain_folder(&mut self) -> io::Result<()> {
        let locked = self.disk.lock_again();
        locked.map_err(|e| told(&*self.disk, "locked", "", &e))?;
        self.stale.clear();
        Ok(())
    }
}
