//! The counters that a server's connections update, as plain numbers. `metrics.rs` has the table of their names, units
//! and help.

use herd_reactor::Moment;

/// The counters of one server. They start at 0 with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The time when the server began to listen.
    pub since: Moment,
    /// Connected clients.
    pub clients: u64,
    /// Open connections to the peer port.
    pub peer_connections: u64,
    /// Connections to the peer port that stay open though silent, in the place of a plain neighbour without news.
    pub silent_peers: u64,
    /// Open connections to the status socket.
    pub status_connections: u64,
    /// Replies that were sent before a neighbour acknowledged the report.
    pub unreplicated_replies: u64,
    /// Failed attempts to connect to a neighbour.
    pub dial_failures: u64,
    /// Records of the journal that were skipped at the start because they are stamped too far ahead.
    pub journal_records_ahead: u64,
}
