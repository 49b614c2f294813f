//! Taking a client's report. The reports from all ports take this path, so a report by HTTP has the same effect as the
//! same report in an IAMAT line.
//!
//! In: the operands of an IAMAT. Out: the table, the journal and the neighbours have the report, or it is rejected. With
//! `ack = "peer"` or `"bus"` the caller delays its answer until a neighbour or the bus has the report.
//!
//! Report: section 3.2.

use super::counters::Door;
use super::member::Member;
use crate::config::Seconds;
use crate::phones::ReportOutcome;
use crate::table::{MergeOutcome, ReportOrigin};
use crate::wire::command::Iamat;
use crate::wire::report::Report;
use crate::wire::stamp::Stamp;
use herd_reactor::Core;
use std::time::Duration;

const REPORTS_REFUSED: &str = "reports refused";

/// The reason for which a report with this outcome is refused, for the log and for the client.
pub(super) fn refusal(outcome: ReportOutcome) -> &'static str {
    match outcome {
        ReportOutcome::Journal => "the journal is broken",
        ReportOutcome::Full => "known_clients or known_bytes is reached: no room for a new client",
        ReportOutcome::Late => "stamped longer ago than expire_after_s allows",
        _ => "stamped further in the future than max_future_ms or ahead_max_s allows",
    }
}

impl Member {
    /// Stores a client's report, notes it in the journal and floods it, if it is news. `line` becomes its AT line. Counts
    /// it, if it is from the client port. An error is the outcome of a report that is refused.
    ///
    /// Inlined, so that the client port has it in its own code.
    #[inline(always)]
    pub(super) fn take_report(
        &mut self,
        core: &mut Core<Member>,
        door: Door,
        iamat: &Iamat<'_>,
        line: &mut Vec<u8>,
    ) -> Result<MergeOutcome, ReportOutcome> {
        let received = Stamp::from(core.wall());
        self.set_window(core.wall());
        if is_too_far_ahead(iamat.stamp, received, self.limits.max_future) {
            self.count_report(door, MergeOutcome::Ahead);
            return Err(self.note_early(core));
        }
        if let Some(persist) = self.persist.as_ref().filter(|it| !it.journal.is_sound()) {
            persist.report_refused(core);
            return Err(ReportOutcome::Journal);
        }
        let Member { server, table, .. } = &mut *self;
        let report = Report::taken(iamat, server.name.as_bytes(), received, line);
        let line = report.line();
        let (key, outcome) = table.merge(&report, ReportOrigin::Client);
        self.count_report(door, outcome);
        match (key, outcome) {
            (Some(key), outcome) if outcome.is_news() => self.flood(core, &[key], &[line], None),
            (_, MergeOutcome::Full) => {
                let (clients, bytes) = (self.limits.known_clients, self.limits.known_bytes);
                let values = format_args!("{clients}, known_bytes = {bytes}");
                core.limit_hit("known_clients", values, 1, "reports of new clients refused");
                return Err(ReportOutcome::Full);
            }
            (_, MergeOutcome::Expired) => {
                let max = self.limits.expire_after.map_or(0, |Seconds(seconds)| seconds);
                core.limit_hit("expire_after_s", max, 1, REPORTS_REFUSED);
                return Err(ReportOutcome::Late);
            }
            (_, MergeOutcome::Ahead) => return Err(self.note_early(core)),
            _ => {}
        }
        if let Some(key) = key.filter(|_| self.neighbours.acks.is_some()) {
            self.await_acknowledgement(core, key, outcome);
        }
        Ok(outcome)
    }

    #[inline(always)]
    fn count_report(&mut self, door: Door, outcome: MergeOutcome) {
        if door == Door::Client {
            self.counters.report(door, outcome);
        }
    }

    /// Counts and logs a report that is stamped too far ahead. The log names the smaller of the two limits.
    pub(super) fn note_early(&self, core: &mut Core<Member>) -> ReportOutcome {
        let max_future = self.limits.max_future.map_or(u128::MAX, |max| max.as_millis());
        match self.limits.ahead_max {
            Some(Seconds(max)) if u128::from(max) * 1_000 < max_future => {
                core.limit_hit("ahead_max_s", max, 1, REPORTS_REFUSED);
            }
            _ => core.limit_hit("max_future_ms", max_future, 1, REPORTS_REFUSED),
        }
        ReportOutcome::Early
    }
}

/// Whether `stamp` is more than `max_future` ahead of `received`. A stamp far in the future would beat all honest
/// stamps of its client until that time.
fn is_too_far_ahead(stamp: Stamp, received: Stamp, max_future: Option<Duration>) -> bool {
    stamp > received
        && max_future.is_some_and(|max| Duration::from_nanos(stamp.0 - received.0) > max)
}
