//! What outlives the process: the server's [journal](crate::journal), and what is done with it when.
//!
//! ```text
//!   start ─▶ each line of the journal is merged, like an AT of another server
//!   news ──▶ note
//!   before the replies of a turn leave ──▶ commit
//! ```
//!
//! An AT line says by itself whether it is newer than another, so the journal need not be told what
//! replaced what, and it does not matter in which order it is read.
//!
//! What lies too far ahead is passed over, and what it has beaten counts. It is not taken out of the file:
//! a clock that is wrong at the start must cost nothing that the next start cannot bring back. What is
//! too old stands in nobody's way, so it is read, and waits for its minute (`sweep.rs`).
//!
//! What a client is told depends on the policy: docs/protocol.md, "IAMAT". While the journal is
//! broken reports are refused at the client port. Neighbours' news is taken: refusing it would not
//! save it, as they will not say it again.

use crate::journal::{
    Disk, Journal, JournalCounts, JournalSettings, OpenError, Owner, Replayed, Snapshot,
};
use crate::table::{MergeOutcome, ReportOrigin, Table};
use crate::wire::command::{Command, CommandLimits};
use crate::wire::report::Report;
use herd_reactor::{Core, Moment, Shared, TimerId};
use log::Level;
use std::io;

/// A server's journal, and its timer.
#[derive(Debug)]
pub(super) struct Persist {
    journal: Journal,
    wake: Option<TimerId>,
    /// It has failed for good.
    failed: bool,
}

/// What was found in a journal at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    pub(super) replayed: Replayed,
    /// Records that the table did not take because they lie too far ahead.
    pub(super) ahead: u64,
}

impl Persist {
    /// Opens the journal of `owner` on `disk`, and merges what it holds into `table`. `stops` is asked
    /// between pieces of the journal whether to give up.
    ///
    /// # Errors
    ///
    /// Why the journal is not opened; the folder is as it was, or mended.
    pub(super) fn open(
        disk: Box<dyn Disk>,
        settings: &JournalSettings,
        owner: &Owner,
        table: &mut Table,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Persist, Recovered), OpenError> {
        let mut line = Vec::new();
        let mut ahead: u64 = 0;
        let mut each = |record: &[u8]| {
            let outcome = replay(table, record, &mut line);
            ahead += u64::from(outcome == Some(MergeOutcome::Ahead));
            outcome.is_some()
        };
        let (journal, replayed) =
            Journal::open(disk, settings.clone(), owner, false, &mut each, stops)?;
        let persist = Persist { journal, wake: None, failed: false };
        Ok((persist, Recovered { replayed, ahead }))
    }

    /// Takes in news.
    pub(super) fn note(&mut self, line: &[u8]) {
        self.journal.note(line);
    }

    /// Whether a report may be answered as one that is kept.
    pub(super) fn is_sound(&self) -> bool {
        self.journal.is_sound()
    }

    /// A report was refused because the journal is broken.
    pub(super) fn report_refused<S: Shared>(&self, core: &mut Core<S>) {
        let (key, what) = (("journal", 0), format_args!("journal: broken"));
        core.log_throttled(Level::Warn, key, what, 1, "reports refused");
    }

    /// Writes this turn's news, and syncs them if the policy says so; sees to being woken when the
    /// journal has more to do.
    ///
    /// # Errors
    ///
    /// The policy is `always` and the disk has failed: nothing of this turn may be acknowledged.
    pub(super) fn commit<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        table: &Table,
    ) -> io::Result<()> {
        let now = core.now();
        if let Err(e) = self.journal.commit(now, table) {
            self.failed = true;
            return Err(e);
        }
        let Some(wake) = self.journal.wake(now) else { return Ok(()) };
        let due = self.wake.and_then(|timer| core.due(timer));
        if due.is_none_or(|due| due > wake) {
            if let Some(late) = self.wake.take() {
                // It may have been spent.
                let _ = core.cancel(late);
            }
            // A turn is all that is needed.
            self.wake = Some(core.call_later(wake - now, |_, _| {}));
        }
        Ok(())
    }

    /// Whether the loop ended because the journal failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// What has happened to the journal.
    pub(super) fn counts(&self) -> JournalCounts {
        self.journal.counts()
    }

    /// Ends the journal in good order: all of it is on the disk.
    ///
    /// # Errors
    ///
    /// Those of the last sync; or, of a broken journal, of the attempt to compact it.
    pub(super) fn close(mut self, now: Moment, table: &Table) -> io::Result<()> {
        match self.failed {
            true => Ok(()),
            false => self.journal.close(now, table),
        }
    }
}

/// Merges one line of a journal into `table`: what became of it. None: it is no AT line.
///
/// `scratch`: overwritten.
pub fn replay(table: &mut Table, record: &[u8], scratch: &mut Vec<u8>) -> Option<MergeOutcome> {
    let Ok(Command::At(at)) = Command::parse(record, &CommandLimits::default()) else {
        return None;
    };
    Some(table.merge(&Report::relayed(&at, scratch), ReportOrigin::Server).1)
}

impl Snapshot for Table {
    fn end(&self) -> usize {
        self.keys()
    }

    fn line(&self, number: usize) -> Option<&[u8]> {
        self.line_of(number)
    }

    /// The store's header of a line is longer than what a record has besides it.
    fn bytes(&self) -> u64 {
        self.slot_bytes() as u64
    }
}
