//! What the bucket has of a client, against the table.

use super::{BusLink, NAME};
use crate::config::Seconds;
use crate::log::{Direction, Escaped};
use crate::nats::{AckSubject, Delivery, read_key};
use crate::server::member::{Cx, Member};
use crate::table::{MergeOutcome, ReportOrigin};
use crate::wire::command::Command;
use crate::wire::report::Report;
use log::Level;

impl BusLink {
    /// The watch has delivered a message.
    pub(super) fn seen_by_watch(&self, cx: &mut Cx<'_>, message: &Delivery<'_>, ack: &AckSubject) {
        let Some(port) = &mut cx.state.bus else { return };
        port.bus.counts.delivered += 1;
        let Some(key) = port.bus.bucket().key_of(message.subject) else { return };
        let is_marker = message.headers.is_marker();
        let line = message.payload.filter(|_| !is_marker);
        self.seen(cx, key, None, ack.stream_sequence, line, is_marker);
    }

    /// The bucket has `line` under `key`, as message `sequence`; no line: it is too long, or a marker of a deletion.
    /// `client`: whose key it is, if the caller knows that.
    pub(super) fn seen(
        &self,
        cx: &mut Cx<'_>,
        key: &[u8],
        client: Option<&[u8]>,
        sequence: u64,
        line: Option<&[u8]>,
        is_marker: bool,
    ) {
        let parsed = line.map(|line| Command::parse(line, &cx.state.command_limits));
        let at = match (&parsed, &mut cx.state.bus) {
            (Some(Ok(Command::At(at))), Some(port)) => {
                Some(at).filter(|_| port.bus.is_key_of(key, at.client))
            }
            _ => None,
        };
        let Some(at) = at else {
            if !is_marker {
                self.pass_over(cx, key, "it is no AT line of this client");
            }
            return self.lacks(cx, key, client, sequence);
        };
        let mut scratch = std::mem::take(&mut cx.state.scratch);
        cx.state.set_window(cx.core.wall());
        let report = Report::relayed(at, &mut scratch);
        BusLink::log_line(cx, Direction::In, report.line());
        let (found, outcome) = cx.state.table.merge(&report, ReportOrigin::Server);
        match (found, outcome) {
            (Some(found), MergeOutcome::First | MergeOutcome::Newer | MergeOutcome::Same) => {
                if outcome.is_news() {
                    cx.state.flood(cx.core, &[found], &[report.line()], None);
                }
                let Member { bus: Some(port), table, .. } = &mut *cx.state else { return };
                port.bus.has(table, found, sequence);
            }
            (None, MergeOutcome::Ahead) => {
                let ahead = cx.state.limits.ahead_max.map_or(0, |Seconds(max)| max);
                let value = format_args!("{ahead}, by {} on the bus", Escaped(key));
                cx.core.limit_hit("ahead_max_s", value, 1, "reports dropped");
                self.pass_over(cx, key, "it is stamped too far ahead");
                self.lacks(cx, key, Some(at.client), sequence);
            }
            _ => {
                if outcome == MergeOutcome::Full {
                    let (key, what) = (("table_full", 0), format_args!("table full (8 GiB)"));
                    cx.core.log_throttled(Level::Error, key, what, 1, "reports of the bus dropped");
                }
                self.lacks(cx, key, Some(at.client), sequence);
            }
        }
        cx.state.scratch = scratch;
    }

    /// The bucket lacks our report of the client of `key`, if we have one.
    fn lacks(&self, cx: &mut Cx<'_>, key: &[u8], client: Option<&[u8]>, sequence: u64) {
        let Member { bus: Some(port), table, .. } = &mut *cx.state else { return };
        let mut of_key = Vec::new();
        let client = match client {
            Some(client) => client,
            None if read_key(key, &mut of_key) => &of_key,
            // A hashed key does not say whose it is. The next write of that client conflicts, and is compared then.
            None => return,
        };
        if let Some(found) = table.key_of(client) {
            port.bus.lacks(table, found, sequence);
        }
    }

    fn pass_over(&self, cx: &mut Cx<'_>, key: &[u8], why: &str) {
        let what =
            format_args!("{NAME}: the message of key {} is passed over: {why}", Escaped(key));
        let key = ("bus_passed_over", 0);
        cx.core.log_throttled(Level::Warn, key, what, 1, "messages");
    }
}
