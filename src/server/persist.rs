//! A server's [journal](crate::journal), which outlives the process, and when it is read and written.
//!
//! ```text
//!   start ─▶ each line of the journal is merged, like an AT of another server
//!   news ──▶ note
//!   before the replies of a turn leave ──▶ commit
//! ```
//!
//! The stamps of two AT lines decide which is newer, so the journal does not record which line replaced which, and
//! the order in which it is read does not matter.
//!
//! A record stamped too far ahead is skipped, and the older records of its client count. It stays in the file: if the
//! clock was wrong at this start, the next start must be able to recover it. A record that is too old does no harm,
//! so it is read, and the sweep of the next minute forgets it (`sweep.rs`).
//!
//! What a reply to a client promises depends on the policy: docs/protocol.md, "IAMAT". While the journal is broken,
//! the client port refuses reports. Reports from neighbours are accepted: a refused report would be lost, because
//! neighbours do not send it again.

use crate::journal::{
    Disk, Journal, JournalSettings, OpenError, Owner, RecordReceiver, Replayed, Snapshot,
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
    /// The journal. [`commit`](Persist::commit) writes what was noted in it.
    pub(super) journal: Journal,
    wake: Option<TimerId>,
    /// Whether a commit failed under policy `always`, which ends the loop.
    pub(super) failed: bool,
}

/// The outcome of reading a journal at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    pub(super) replayed: Replayed,
    /// Records that the table rejected because they are stamped too far ahead.
    pub(super) ahead: u64,
}

impl Persist {
    /// Opens the journal of `owner` on `disk`, and merges its records into `table`. `stops` is called between pieces
    /// of the journal; opening is abandoned when it returns true.
    ///
    /// # Errors
    /// Fails if the journal cannot be opened; the folder is then unchanged, or repaired.
    pub(super) fn open(
        disk: Box<dyn Disk>,
        settings: &JournalSettings,
        owner: &Owner,
        table: &mut Table,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Persist, Recovered), OpenError> {
        table.put_off_digest(true);
        let mut replay = Replay { table, scratch: Vec::new(), ahead: 0 };
        let opened = Journal::open(disk, settings.clone(), owner, false, &mut replay, stops);
        let ahead = replay.ahead;
        let (journal, replayed) = opened?;
        table.put_off_digest(false);
        let persist = Persist { journal, wake: None, failed: false };
        Ok((persist, Recovered { replayed, ahead }))
    }

    /// Logs (throttled) and counts a report that was refused because the journal is broken.
    pub(super) fn report_refused<S: Shared>(&self, core: &mut Core<S>) {
        let (key, what) = (("journal", 0), format_args!("journal: broken, see its ERROR lines"));
        core.log_throttled(Level::Warn, key, what, 1, "reports refused");
    }

    /// Writes the lines noted in this turn, syncs them if the policy demands it, and sets a timer for the journal's
    /// next work.
    ///
    /// # Errors
    ///
    /// The policy is `always` and the disk failed: no report of this turn may be acknowledged.
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
                // The timer may have fired already.
                let _ = core.cancel(late);
            }
            // The timer only has to cause a turn: `commit` runs at the end of each.
            self.wake = Some(core.call_later(wake - now, |_, _| {}));
        }
        Ok(())
    }

    /// Closes the journal, with all of it synced to the disk, unless it has failed.
    ///
    /// # Errors
    /// Fails if the last sync fails, or if the journal is broken and the attempt to compact it fails.
    pub(super) fn close(mut self, now: Moment, table: &Table) -> io::Result<()> {
        match self.failed {
            true => Ok(()),
            false => self.journal.close(now, table),
        }
    }
}

/// Merges the lines of a journal into a table.
#[derive(Debug)]
pub struct Replay<'t> {
    /// The table.
    pub table: &'t mut Table,
    /// A buffer that is overwritten.
    pub scratch: Vec<u8>,
    /// The number of lines that the table rejected because they are stamped too far ahead.
    pub ahead: u64,
}

impl RecordReceiver for Replay<'_> {
    fn records_ahead(&mut self, records: &[&[u8]]) {
        self.table.look_ahead(records.iter().filter_map(|record| client_of(record)));
    }

    fn line(&mut self, line: &[u8]) -> bool {
        let outcome = replay(self.table, line, &mut self.scratch);
        self.ahead += u64::from(outcome == Some(MergeOutcome::Ahead));
        outcome.is_some()
    }
}

/// Returns the fourth field of an AT line, if single blanks separate its fields. It need not be a valid line.
fn client_of(line: &[u8]) -> Option<&[u8]> {
    let mut blanks = memchr::memchr_iter(b' ', line).skip(2);
    let (before, behind) = (blanks.next()?, blanks.next()?);
    Some(&line[before + 1..behind])
}

/// Merges one line of a journal into `table`. Returns the outcome, or `None` if `record` is not an AT line.
///
/// `scratch` is a buffer that is overwritten.
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

    /// An upper bound: the table's header of a line is longer than the frame of a record.
    fn bytes(&self) -> u64 {
        self.slot_bytes() as u64
    }
}
