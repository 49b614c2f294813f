//! What outlives the process: the member's [journal](crate::journal), and what is done with it when.
//!
//! ```text
//!   start ─▶ each line of the journal is merged, by the members' rule
//!   news ──▶ Member::flood ─▶ note
//!   turn_ended ─▶ commit ─▶ then the replies leave
//! ```
//!
//! An AT line says by itself whether it is newer than another, so the journal need not be told what
//! replaced what, and it does not matter in which order it is read.
//!
//! What lies too far ahead is passed over, and what it has beaten counts. It is not taken out of the file:
//! a clock that is wrong at the start must cost nothing that the next start cannot bring back. What is
//! too old stands in nobody's way, so it is read, and waits for its minute ([sweep](super::sweep)).
//!
//! What a client is told depends on the policy: docs/protocol.md, "IAMAT". While the journal is
//! broken reports are refused at the client port. Neighbours' news is taken: refusing it would not
//! save it, as they will not say it again.

use super::member::Member;
use crate::config::Seconds;
use crate::journal::{Counts, Disk, Journal, JournalSettings, Live, Owner, Refusal, Replayed};
use crate::table::{Herd, Rule, Verdict};
use crate::wire::command::{Command, CommandLimits};
use crate::wire::report::Sighting;
use herd_reactor::{Core, Moment, TimerId, UnixNanos};
use log::Level;
use std::io;

/// A member's journal, and its timer.
#[derive(Debug)]
pub struct Durable {
    journal: Journal,
    wake: Option<TimerId>,
    /// Reports refused because of it.
    refused: u64,
    /// It has failed for good.
    failed: bool,
}

impl Durable {
    /// Takes in news.
    pub(super) fn note(&mut self, line: &[u8]) {
        self.journal.note(line);
    }
}

impl Member {
    /// The same, with the journal on `disk`: what it holds is known, but for what lies further ahead
    /// than is let in at `wall`, the time of this start; and from now on it is told all that is new. To be
    /// called before the member meets anybody.
    ///
    /// # Errors
    ///
    /// Why the journal is not opened; the folder is as it was, or mended.
    pub fn with_journal(
        self,
        disk: Box<dyn Disk>,
        settings: &JournalSettings,
        wall: UnixNanos,
    ) -> Result<(Member, Replayed), Refusal> {
        self.with_journal_unless(disk, settings, wall, &mut || false)
    }

    /// The same, unless the member is to end before it has begun: `stops` is asked between pieces of the
    /// journal.
    ///
    /// # Errors
    ///
    /// [`Refusal::Stopped`] too.
    pub fn with_journal_unless(
        mut self,
        disk: Box<dyn Disk>,
        settings: &JournalSettings,
        wall: UnixNanos,
        stops: &mut dyn FnMut() -> bool,
    ) -> Result<(Member, Replayed), Refusal> {
        self.let_in_until(wall);
        let owner = Owner { server: self.server.name.clone(), herd: self.herd_name.clone() };
        let herd = &mut self.herd;
        let mut line = Vec::new();
        let mut ahead: u64 = 0;
        let mut each = |record: &[u8]| {
            let verdict = replay(herd, record, &mut line);
            ahead += u64::from(verdict == Some(Verdict::Ahead));
            verdict.is_some()
        };
        let (journal, replayed) =
            Journal::open_unless(disk, settings.clone(), &owner, false, &mut each, stops)?;
        if let (1.., Some(Seconds(max))) = (ahead, self.limits.ahead_max) {
            log::warn!("limit: ahead_max_s = {max}: {ahead} records of the journal passed over");
        }
        let durable = Durable { journal, wake: None, refused: 0, failed: false };
        self.durable = Some(Box::new(durable));
        Ok((self, replayed))
    }

    /// Whether a report may be answered as one that is kept.
    pub fn takes_reports(&self) -> bool {
        self.durable.as_ref().is_none_or(|durable| durable.journal.is_sound())
    }

    /// A report was refused because the journal is broken.
    pub(super) fn report_refused(&mut self, core: &mut Core<Member>) {
        let Some(durable) = &mut self.durable else { return };
        durable.refused += 1;
        let (key, what) = (("journal", 0), format_args!("journal: broken"));
        core.log_throttled(Level::Warn, key, what, 1, "reports refused");
    }

    /// Writes this turn's news, and syncs them if the policy says so; sees to being woken when the
    /// journal has more to do.
    pub(super) fn commit(&mut self, core: &mut Core<Member>) -> io::Result<()> {
        let Some(durable) = &mut self.durable else { return Ok(()) };
        let now = core.now();
        if let Err(e) = durable.journal.commit(now, &self.herd) {
            durable.failed = true;
            return Err(e);
        }
        let Some(wake) = durable.journal.wake(now) else { return Ok(()) };
        let due = durable.wake.and_then(|timer| core.due(timer));
        if due.is_none_or(|due| due > wake) {
            if let Some(late) = durable.wake.take() {
                // It may have been spent.
                let _ = core.cancel(late);
            }
            // A turn is all that is needed.
            durable.wake = Some(core.call_later(wake - now, |_, _| {}));
        }
        Ok(())
    }

    /// Whether the loop ended because the journal failed.
    pub fn journal_failed(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| durable.failed)
    }

    /// What has happened to the journal, if there is one, and how many reports were refused for it. Whether
    /// it is sound now [`takes_reports`](Member::takes_reports) says.
    pub fn journal_counts(&self) -> Option<(Counts, u64)> {
        self.durable.as_ref().map(|durable| (durable.journal.counts(), durable.refused))
    }

    /// The journal's disk, for whoever made it.
    pub fn journal_disk(&mut self) -> Option<&mut dyn Disk> {
        self.durable.as_mut().map(|durable| durable.journal.disk())
    }

    /// Takes the disk out, as a dead process leaves it.
    pub fn take_journal_disk(&mut self) -> Option<Box<dyn Disk>> {
        self.durable.take().map(|durable| durable.journal.into_disk())
    }

    /// Ends the journal in good order: all of it is on the disk.
    ///
    /// # Errors
    ///
    /// Those of the last sync; or, of a broken journal, of the attempt to write it anew.
    pub fn close_journal(&mut self, now: Moment) -> io::Result<()> {
        match self.durable.take() {
            Some(mut durable) if !durable.failed => durable.journal.close(now, &self.herd),
            _ => Ok(()),
        }
    }
}

/// Merges one line of a journal into `herd`: what became of it. None: it is no AT line.
///
/// `scratch`: overwritten.
pub fn replay(herd: &mut Herd, record: &[u8], scratch: &mut Vec<u8>) -> Option<Verdict> {
    let Ok(Command::At(at)) = Command::parse(record, &CommandLimits::default()) else {
        return None;
    };
    Some(herd.merge(&Sighting::relayed(&at, scratch), Rule::Member).1)
}

impl Live for Herd {
    fn end(&self) -> usize {
        self.keys()
    }

    fn line(&self, number: usize) -> Option<&[u8]> {
        self.line_of(number)
    }

    /// The store's header of a line is longer than what a record has besides it.
    fn bytes(&self) -> u64 {
        self.line_bytes() as u64
    }
}
