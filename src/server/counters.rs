//! The counters that a server's connections update, as plain numbers. `metrics.rs` has the table of their names, units
//! and help.

use crate::phones::ReportOutcome;
use crate::table::MergeOutcome;
use crate::wire::fields::Fields;
use herd_reactor::{CloseReason, Moment, UnixNanos};

/// The places where connections are accepted, in the order of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The client port.
    Client,
    /// The peer port.
    Peer,
    /// The status socket.
    Status,
    /// The HTTP port.
    Http,
}

/// The names of the [`Door`]s as values of labels.
pub(super) const DOORS: [&str; 4] = ["client", "peer", "status", "http"];

/// The limits that refuse connections, by [`Door`].
pub(super) const REFUSING: [&[&str]; DOORS.len()] =
    [&["connections", "connections_per_address"], &["CALLERS_MAX"], &["ASKERS_MAX"], &[]];

/// The kinds of commands at the client port and at the peer port. SYNC stands for all lines of anti-entropy.
pub(super) const COMMANDS: [&[&str]; 2] =
    [&["IAMAT", "WHATSAT", "other"], &["AT", "HELLO", "PING", "ACK", "BYE", "SYNC", "other"]];

/// The counters of one server. They start at 0 with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The time when the server began to listen.
    pub since: Moment,
    /// The same time by the wall clock.
    pub started: UnixNanos,
    /// Connections to the peer port that stay open though silent, in the place of a plain neighbour without news.
    pub silent_peers: u64,
    /// Connections accepted, by [`Door`].
    pub accepted: [u64; DOORS.len()],
    /// Accepted connections that were closed, by [`Door`] and reason.
    pub closed: [[u64; CloseReason::NAMES.len()]; DOORS.len()],
    /// Reports at the client port and at the peer port, by [`MergeOutcome`].
    pub reports: [[u64; MergeOutcome::COUNT]; 2],
    /// Reports by HTTP, by [`ReportOutcome`].
    pub http_reports: [u64; ReportOutcome::NAMES.len()],
    /// Commands accepted and refused, by kind as in [`COMMANDS`], without the reports that were taken.
    commands: [[[u64; 2]; 7]; 2],
    /// Replies that were sent before a neighbour acknowledged the report.
    pub unreplicated_replies: u64,
    /// Failed attempts to connect to a neighbour.
    pub dial_failures: u64,
    /// Records of the journal that were skipped at the start because they are stamped too far ahead.
    pub journal_records_ahead: u64,
}

impl Counters {
    /// The number of open connections that were accepted at `door`.
    #[inline]
    pub fn open(&self, door: Door) -> u64 {
        self.accepted[door as usize] - self.closed[door as usize].iter().sum::<u64>()
    }

    /// The number of connections that count as clients: those at the client port and at the HTTP port.
    pub(super) fn clients(&self) -> u64 {
        self.open(Door::Client) + self.open(Door::Http)
    }

    /// Counts a report that arrived at `door`.
    #[inline]
    pub(super) fn report(&mut self, door: Door, outcome: MergeOutcome) {
        self.reports[door as usize][outcome as usize] += 1;
    }

    /// Counts the command that `line` begins with, which has arrived at `door`; but not a report that was taken.
    pub(super) fn command(&mut self, door: Door, line: &[u8], is_refused: bool) {
        let (word, kinds) = (Fields::of(line).next(), COMMANDS[door as usize]);
        let kind = kinds.iter().position(|kind| word == Some(kind.as_bytes()));
        self.commands[door as usize][kind.unwrap_or(kinds.len() - 1)][usize::from(is_refused)] += 1;
    }

    /// Commands accepted and refused, by kind as in [`COMMANDS`].
    pub(super) fn commands(&self) -> [[[u64; 2]; 7]; 2] {
        let mut commands = self.commands;
        for (commands, reports) in commands.iter_mut().zip(self.reports) {
            commands[0][0] = reports[..MergeOutcome::TAKEN].iter().sum();
        }
        // A client's report that a limit keeps out has been counted with its reply.
        commands[1][0][1] += self.kept_out(Door::Peer);
        commands
    }

    /// The clients' IAMATs that are not well-formed: those that were refused, but neither kept out by a limit nor one of
    /// the `unkept` ones, which the journal could not keep.
    pub(super) fn malformed_reports(&self, unkept: u64) -> u64 {
        self.commands[Door::Client as usize][0][1] - self.kept_out(Door::Client) - unkept
    }

    /// The reports that arrived at `door` and that a limit kept out.
    fn kept_out(&self, door: Door) -> u64 {
        self.reports[door as usize][MergeOutcome::TAKEN..].iter().sum()
    }
}
