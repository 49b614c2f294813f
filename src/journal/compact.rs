//! Compaction: writes a new file without outdated records, also to replace a broken file.
//!
//! ```text
//!   create journal.8.new ─▶ slice ─▶ slice ─▶ ... ─▶ sync ─▶ rename to journal.8 ─▶ sync folder
//!                             └ one per turn; every new record goes there too         │
//!                                                       journal.7 is removed ◀────────┘
//! ```
//!
//! One file is complete at all times: the old one until the folder is synced, then the new
//! one. If a crash leaves both, the next start reads both; a line that is in both does no
//! harm.
//!
//! A failure before the rename costs only another attempt. After a failure between the rename and the sync of the
//! folder, either file may remain after a crash, so the old one no longer counts as complete.

use super::file::{Compaction, JournalFile, told};
use super::open::{NUMBER_END, UNFINISHED, name_of};
use super::state::{Compacting, FileState, JournalStep};
use super::{Journal, Snapshot, Sync, is_full, record};
use herd_reactor::Moment;
use std::io::{self, ErrorKind};

/// The number of bytes after which a new file is synced, so that each sync takes at most a few milliseconds.
const SYNC_STEP_BYTES: u64 = 1 << 20;

impl Journal {
    fn is_too_large(&self, snapshot: &dyn Snapshot) -> bool {
        let limit = self.settings.compact_factor.saturating_mul(snapshot.bytes());
        self.file.size > limit.max(self.settings.compact_bytes)
    }

    /// Takes the next step of a compaction that is due. If it fails, the old file stays in use, if possible, and
    /// the compaction is retried later.
    ///
    /// # Errors
    /// Fails as [`commit`](Journal::commit) does: with `always`, if either file may remain after a crash.
    pub(super) fn compact_slice(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        let begun = match self.state.compacting() {
            Compacting::Idle if !self.is_too_large(snapshot) => return Ok(()),
            Compacting::Due(then) if now < *then => return Ok(()),
            Compacting::Idle | Compacting::Due(_) => self.begin_compaction(),
            Compacting::Running(_) => Ok(()),
        };
        let placed = begun.and_then(|()| match self.write_slice(now, snapshot)? {
            true => self.take_place(now),
            false => Ok(()),
        });
        let Err(e) = placed else { return Ok(()) };
        self.counts.failures += 1;
        if let Some(new) = self.state.take(JournalStep::GaveUp(now + self.settings.retry)) {
            // If this fails, the next attempt or the next start removes the file.
            let _ = self.disk.remove(&new.file.name);
        }
        if self.state.file() == FileState::Unsettled && self.settings.sync == Sync::Always {
            return Err(e);
        }
        self.tell_failure(&e, now);
        Ok(())
    }

    /// Compacts the whole file before it returns.
    ///
    /// # Errors
    /// Fails if the disk does; the old file then still exists.
    pub fn compact(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<()> {
        self.write_pending();
        self.begin_compaction()?;
        while !self.write_slice(now, snapshot)? {}
        self.take_place(now)
    }

    fn begin_compaction(&mut self) -> io::Result<()> {
        if let Some(old) = self.state.compaction() {
            self.disk.close(&old.file.name);
        }
        // A broken file may also have lost its name, and the folder may be gone.
        let old_is_lost = self.disk.find(&self.file.name).is_err();
        if old_is_lost {
            self.regain_folder()?;
        }
        self.create_next(old_is_lost)
    }

    /// Creates the next file with only its first line.
    pub(super) fn create_next(&mut self, old_is_lost: bool) -> io::Result<()> {
        // The new file must not get the number of a file that is to be removed.
        let newest = self.stale.iter().fold(self.file.number, |newest, &stale| newest.max(stale));
        let number = (newest + 1) % NUMBER_END;
        let name = format!("{}{UNFINISHED}", name_of(number));
        let file = JournalFile::create(&mut *self.disk, number, name)?;
        let mut new = Compaction { file, next: 0, old_is_lost, failure: None };
        new.append(&mut *self.disk, &self.owner.head());
        self.state.take(JournalStep::Begun(new));
        Ok(())
    }

    /// Writes the lines of the next numbers, a piece at a time, so that memory does not depend on
    /// the length of a slice. Returns whether they were the last.
    fn write_slice(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<bool> {
        // All pending records have been written, so that their buffer is free.
        let Journal { disk, state, pending: piece, .. } = self;
        let Some(new) = state.compaction() else { return Ok(false) };
        let end = snapshot.end().min(new.next + self.settings.compact_keys);
        for line in (new.next..end).filter_map(|number| snapshot.line(number)) {
            if is_full(piece, line) {
                new.append(&mut **disk, piece);
                piece.clear();
            }
            record::write(piece, line);
        }
        new.append(&mut **disk, piece);
        piece.clear();
        new.next = end;
        if let Some(e) = new.failure.take() {
            return Err(e);
        }
        debug_assert!(new.file.synced <= new.file.size);
        let is_last = end == snapshot.end();
        if !is_last && new.file.size - new.file.synced >= SYNC_STEP_BYTES {
            let took = new.file.sync(&mut **disk)?;
            self.synced(took, now);
        }
        Ok(is_last)
    }

    /// Replaces the old file with the complete new one: syncs it, renames it, syncs the folder, and removes the
    /// old file.
    ///
    /// # Errors
    ///
    /// The old file stays in use; or, if the state is [`FileState::Unsettled`], either may remain after a crash.
    pub(super) fn take_place(&mut self, now: Moment) -> io::Result<()> {
        let Some(new) = self.state.compaction() else { return Ok(()) };
        if let Some(e) = new.failure.take() {
            return Err(e);
        }
        let took = new.file.sync(&mut *self.disk)?;
        let (name, mut number) = (new.file.name.clone(), new.file.number);
        self.synced(took, now);
        // An operator may have put a file under this name meanwhile. It stays, and the next start reads it.
        while let Err(e) = self.disk.rename(&name, &name_of(number)) {
            if e.kind() != ErrorKind::AlreadyExists {
                return Err(told(&*self.disk, "renamed", &name, &e));
            }
            number = (number + 1) % NUMBER_END;
        }
        let was_sound = self.is_sound();
        let was_unsettled = self.state.file() == FileState::Unsettled;
        let Some(new) = self.state.take(JournalStep::Placed) else { return Ok(()) };
        let old_is_lost = new.old_is_lost || self.disk.find(&self.file.name).is_err();
        let placed = JournalFile { number, name: name_of(number), ..new.file };
        let old = std::mem::replace(&mut self.file, placed);
        self.disk.close(&old.name);
        // An unsettled old file can go now: the file before it and the new one have all its records. Otherwise
        // each attempt would leave a complete file behind. A file under the name of a lost one belongs to the
        // operator and stays.
        if !old_is_lost && (!was_unsettled || self.disk.remove(&old.name).is_err()) {
            self.stale.push(old.number);
        }
        let synced = self.disk.sync_folder();
        synced.map_err(|e| told(&*self.disk, "put on the disk", &self.file.name, &e))?;
        self.state.take(JournalStep::Settled);
        self.counts.compactions += 1;
        // Failures that were only counted are logged now, before the line that says that they are over.
        self.throttle.report_all();
        let path = self.disk.path(&self.file.name);
        match was_sound {
            false => log::warn!("journal: {path} is complete: the server accepts reports again"),
            true => log::info!("journal: compacted to {path}, {} bytes", self.file.size),
        }
        self.remove_stale();
        Ok(())
    }

    /// Removes the files that newer ones have replaced; a failed removal is retried after the next compaction.
    fn remove_stale(&mut self) {
        let (disk, taken) = (&mut self.disk, self.file.number);
        self.stale.retain(|&number| number != taken);
        self.stale.retain(|&number| match disk.remove(&name_of(number)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                log::warn!("journal: {} cannot be removed: {e}", disk.path(&name_of(number)));
                true
            }
            _ => false,
        });
    }
}
