//! Compacting a journal: to be rid of what no longer counts, or of a file that is broken.
//!
//! ```text
//!   create journal.8.new ─▶ slice ─▶ slice ─▶ ... ─▶ sync ─▶ rename to journal.8 ─▶ sync folder
//!                             └ a turn each; every new record goes there too          │
//!                                                       journal.7 is removed ◀────────┘
//! ```
//!
//! At every moment one file is whole: until the folder is synced the old one, from then on the new
//! one. Should both be there after a crash, both are read, and a line that stands in both does no
//! harm.
//!
//! What fails before the rename costs nothing but another attempt. After it, it is not known which
//! of the two a crash would leave, so the old one no longer counts as whole.

use super::file::{Compaction, JournalFile, told};
use super::open::{NUMBER_END, UNFINISHED, name_of};
use super::state::{Compacting, FileState, JournalStep};
use super::{Journal, Snapshot, Sync, is_full, record};
use herd_reactor::Moment;
use std::io::{self, ErrorKind};

/// So much of a compacted file is synced at once: less than a few milliseconds' worth.
const SYNC_STEP_BYTES: u64 = 1 << 20;

impl Journal {
    fn is_too_large(&self, snapshot: &dyn Snapshot) -> bool {
        let limit = self.settings.compact_factor.saturating_mul(snapshot.bytes());
        self.file.size > limit.max(self.settings.compact_bytes)
    }

    /// Takes the next step of compaction, if there is one. If it fails, the old file goes on, if it can, and
    /// a new one is tried again later.
    ///
    /// # Errors
    ///
    /// As [`commit`](Journal::commit): with `always`, when it is not known any more which file
    /// a crash would leave.
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
            // If this fails, the next attempt or the next start removes it.
            let _ = self.disk.remove(&new.file.name);
        }
        if self.state.file() == FileState::Unsettled && self.settings.sync == Sync::Always {
            return Err(e);
        }
        self.tell_failure(&e, now);
        Ok(())
    }

    /// Compacts the whole file, here and now.
    ///
    /// # Errors
    ///
    /// Those of the disk; the old file is still there then.
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
        // Whatever else has broken it, it may also be lost: then there may be no folder to write to.
        let old_is_lost = self.disk.find(&self.file.name).is_err();
        if old_is_lost {
            self.regain_folder()?;
        }
        self.create_next(old_is_lost)
    }

    /// Makes the next file, with nothing in it but its first line.
    pub(super) fn create_next(&mut self, old_is_lost: bool) -> io::Result<()> {
        // A file to be removed must not have the name of the one that takes its place.
        let newest = self.stale.iter().fold(self.file.number, |newest, &stale| newest.max(stale));
        let number = (newest + 1) % NUMBER_END;
        let name = format!("{}{UNFINISHED}", name_of(number));
        let file = JournalFile::create(&mut *self.disk, number, name)?;
        let mut new = Compaction { file, next: 0, old_is_lost, failure: None };
        new.append(&mut *self.disk, &self.owner.head());
        self.state.take(JournalStep::Begun(new));
        Ok(())
    }

    /// Writes the lines of the next numbers, a piece at a time: what is held in memory does not depend on
    /// how long a slice is. Returns whether they were the last.
    fn write_slice(&mut self, now: Moment, snapshot: &dyn Snapshot) -> io::Result<bool> {
        // All that was noted is written by now, so that its room is free.
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

    /// The new file is whole. Once it is on the disk, it takes the old one's place; once that will be so
    /// after a crash, too, the old one can go.
    ///
    /// # Errors
    ///
    /// The old one goes on; or, if the file is [`FileState::Unsettled`] then, a crash may leave either.
    pub(super) fn take_place(&mut self, now: Moment) -> io::Result<()> {
        let Some(new) = self.state.compaction() else { return Ok(()) };
        if let Some(e) = new.failure.take() {
            return Err(e);
        }
        let took = new.file.sync(&mut *self.disk)?;
        let (name, mut number) = (new.file.name.clone(), new.file.number);
        self.synced(took, now);
        // An operator may have put a file there meanwhile. It stays, and the next start reads it.
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
        // A file that never was there for certain is missed by nobody: what counts is in the one before
        // it and in this one. Else each attempt would leave a whole file. And what has the name of one
        // that is lost is not ours to remove.
        if !old_is_lost && (!was_unsettled || self.disk.remove(&old.name).is_err()) {
            self.stale.push(old.number);
        }
        let synced = self.disk.sync_folder();
        synced.map_err(|e| told(&*self.disk, "put on the disk", &self.file.name, &e))?;
        self.state.take(JournalStep::Settled);
        self.counts.compactions += 1;
        // What was counted of failures would be told as if it were still so.
        self.throttle.report_all();
        let path = self.disk.path(&self.file.name);
        match was_sound {
            false => log::warn!("journal: {path} is whole: reports are taken again"),
            true => log::info!("journal: {path} is compacted, {} bytes", self.file.size),
        }
        self.remove_stale();
        Ok(())
    }

    /// Removes the files whose place others have taken; what cannot be removed is tried again next
    /// time.
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
