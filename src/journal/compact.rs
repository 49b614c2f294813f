//! Writing a journal anew: to be rid of what no longer counts, or of a file that is broken.
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

use super::open::{UNFINISHED, name_of};
use super::{Disk, Journal, Snapshot, append_all, is_full, record};
use herd_reactor::Moment;
use std::io;

/// So much of a file that is being rewritten is synced at once: less than a few milliseconds' worth.
const SYNC_STEP_BYTES: u64 = 1 << 20;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Compaction {
    number: u64,
    pub(super) name: String,
    /// The next line to be written.
    next: usize,
    size: u64,
    synced: u64,
    /// The file whose place it takes is not where it was.
    pub(super) old_is_lost: bool,
    /// Why it is of no use any more.
    failure: Option<io::Error>,
}

impl Journal {
    /// Whether the file is to be written anew: it is broken, or others stand beside it, or too little
    /// of it counts.
    pub(super) fn wants_rewrite(&self) -> bool {
        self.broken || self.rewrite_wanted
    }

    fn is_too_large(&self, live: &dyn Snapshot) -> bool {
        let limit = self.settings.compact_factor.saturating_mul(live.bytes());
        self.size > limit.max(self.settings.compact_bytes)
    }

    /// Takes the next step of rewriting, if there is one.
    ///
    /// # Errors
    ///
    /// As [`commit`](Journal::commit): with `always`, when it is not known any more which file
    /// a crash would leave.
    pub(super) fn go_on_rewriting(&mut self, now: Moment, live: &dyn Snapshot) -> io::Result<()> {
        if self.rewrite.is_none() {
            self.rewrite_wanted |= self.is_too_large(live);
            if !self.wants_rewrite() || self.retry.is_some_and(|retry| now < retry) {
                return Ok(());
            }
            self.retry = None;
            if let Err(e) = self.begin_rewrite() {
                self.give_up_rewriting(&e, now);
                return Ok(());
            }
        }
        let placed = match self.rewrite_slice(now, live) {
            Ok(false) => return Ok(()),
            Ok(true) => self.take_place(),
            Err(e) => Err(e),
        };
        match placed {
            Ok(()) => {
                let settled = self.settle(now);
                self.on_failure(settled, now)
            }
            Err(e) => {
                self.give_up_rewriting(&e, now);
                Ok(())
            }
        }
    }

    /// Writes the whole file anew, here and now.
    ///
    /// # Errors
    ///
    /// Those of the disk; the old file is still there then.
    pub fn rewrite(&mut self, now: Moment, live: &dyn Snapshot) -> io::Result<()> {
        self.write_pending();
        self.begin_rewrite()?;
        while !self.rewrite_slice(now, live)? {}
        self.take_place()?;
        self.settle(now)
    }

    fn begin_rewrite(&mut self) -> io::Result<()> {
        if let Some(Compaction { name, .. }) = self.rewrite.take() {
            self.disk.close(&name);
        }
        // Whatever else has broken it, it may also be lost: then there may be no folder to write to.
        let old_is_lost = !self.name.is_empty() && self.disk.find(&self.name).is_err();
        if old_is_lost {
            self.regain_folder()?;
        }
        // A file to be removed must not have the name of the one that takes its place.
        let number = self.stale.iter().fold(self.number, |newest, &stale| newest.max(stale)) + 1;
        let name = format!("{}{UNFINISHED}", name_of(number));
        self.disk.create(&name).map_err(|e| self.told("created", &name, &e))?;
        let mut size = 0;
        let head = self.owner.head();
        let written = append_all(&mut *self.disk, &name, &head, &mut size);
        let failure = written.map_err(|e| self.told("written to", &name, &e)).err();
        self.rewrite =
            Some(Compaction { number, name, next: 0, size, synced: 0, old_is_lost, failure });
        Ok(())
    }

    /// The records of this turn go to the new file, too.
    pub(super) fn append_to_rewrite(&mut self) {
        let Some(mut rewrite) = self.rewrite.take() else { return };
        if rewrite.failure.is_none() {
            let Compaction { name, size, .. } = &mut rewrite;
            let written = append_all(&mut *self.disk, name, &self.pending, size);
            rewrite.failure = written.map_err(|e| self.told("written to", name, &e)).err();
        }
        self.rewrite = Some(rewrite);
    }

    /// Writes the next slice; whether it was the last.
    fn rewrite_slice(&mut self, now: Moment, live: &dyn Snapshot) -> io::Result<bool> {
        let Some(mut rewrite) = self.rewrite.take() else { return Ok(false) };
        let outcome = self.write_slice(&mut rewrite, now, live);
        self.rewrite = Some(rewrite);
        outcome
    }

    fn write_slice(
        &mut self,
        rewrite: &mut Compaction,
        now: Moment,
        live: &dyn Snapshot,
    ) -> io::Result<bool> {
        if let Some(e) = rewrite.failure.take() {
            return Err(e);
        }
        let end = live.end().min(rewrite.next + self.settings.compact_keys);
        self.append_lines(rewrite, end, live)
            .map_err(|e| self.told("written to", &rewrite.name, &e))?;
        let Compaction { name, next, size, synced, .. } = rewrite;
        *next = end;
        debug_assert!(*synced <= *size);
        let is_last = end == live.end();
        if is_last || *size - *synced >= SYNC_STEP_BYTES {
            let synced_file = self.disk.sync(name);
            self.synced(synced_file, now).map_err(|e| self.told("synced", name, &e))?;
            *synced = *size;
        }
        Ok(is_last)
    }

    /// Appends the lines of the next numbers, up to `end`, a piece at a time: what is held in memory does
    /// not depend on how long a slice is.
    fn append_lines(
        &mut self,
        rewrite: &mut Compaction,
        end: usize,
        live: &dyn Snapshot,
    ) -> io::Result<()> {
        // All that was noted is written by now, so that its room is free.
        let Journal { disk, pending: piece, .. } = self;
        let Compaction { name, next, size, .. } = rewrite;
        for line in (*next..end).filter_map(|number| live.line(number)) {
            if is_full(piece, line) {
                append_piece(&mut **disk, name, piece, size)?;
            }
            record::write(piece, line);
        }
        append_piece(&mut **disk, name, piece, size)
    }

    /// The new file is whole, and on the disk: it takes the old one's place.
    ///
    /// # Errors
    ///
    /// It does not, and the old one goes on.
    fn take_place(&mut self) -> io::Result<()> {
        let Some(Compaction { number, name, size, old_is_lost, .. }) = &self.rewrite else {
            return Ok(());
        };
        let (number, size, old_is_lost) = (*number, *size, *old_is_lost);
        let new_name = name_of(number);
        self.disk.rename(name, &new_name).map_err(|e| self.told("renamed", name, &e))?;
        self.rewrite = None;
        self.disk.close(&self.name);
        // A file that never was there for certain is missed by nobody: what counts is in the one before
        // it and in this one. Else each attempt would leave a whole file. And what has the name of one
        // that is lost is not ours to remove.
        if !old_is_lost && (!self.unsettled || self.disk.remove(&self.name).is_err()) {
            self.stale.push(self.number);
        }
        self.unsettled = true;
        (self.number, self.name, self.size) = (number, new_name, size);
        self.synced_size = size;
        self.unsynced = None;
        Ok(())
    }

    /// Has it stay so after a crash; then the old file can go.
    ///
    /// # Errors
    ///
    /// After a crash either may be there.
    fn settle(&mut self, now: Moment) -> io::Result<()> {
        if let Err(e) = self.disk.sync_folder() {
            self.retry = Some(now + self.settings.retry);
            return Err(self.told("put on the disk", &self.name, &e));
        }
        self.unsettled = false;
        self.counts.rewrites += 1;
        self.rewrite_wanted = false;
        let path = self.disk.path(&self.name);
        match std::mem::take(&mut self.broken) {
            true => log::warn!("journal: {path} is whole: reports are taken again"),
            false => log::info!("journal: {path} is written anew, {} bytes", self.size),
        }
        self.remove_stale();
        Ok(())
    }

    /// Removes the files whose place others have taken; what cannot be removed is tried again next
    /// time.
    fn remove_stale(&mut self) {
        let disk = &mut self.disk;
        self.stale.retain(|&number| match disk.remove(&name_of(number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                log::warn!("journal: {} cannot be removed: {e}", disk.path(&name_of(number)));
                true
            }
            _ => false,
        });
    }

    /// The old file goes on, if it can; a new one is tried again later.
    fn give_up_rewriting(&mut self, e: &io::Error, now: Moment) {
        self.counts.failures += 1;
        if let Some(Compaction { name, .. }) = self.rewrite.take() {
            // If this fails, the next attempt or the next start removes it.
            let _ = self.disk.remove(&name);
        }
        self.retry = Some(now + self.settings.retry);
        self.tell_failure(e, now);
    }
}

/// Appends the records of `piece` to a file, as [`append_all`] does, and empties it in any case.
fn append_piece(
    disk: &mut dyn Disk,
    name: &str,
    piece: &mut Vec<u8>,
    size: &mut u64,
) -> io::Result<()> {
    let appended = append_all(disk, name, piece, size);
    piece.clear();
    appended
}
