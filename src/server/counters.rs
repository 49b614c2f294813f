//! What the connections of a server count, as plain numbers. `metrics.rs` has the table of their names, units and help.

use herd_reactor::Moment;

/// What the connections of one server count. Counts start at 0 with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// When the server began to listen.
    pub since: Moment,
    /// Clients connected now.
    pub clients: u64,
    /// Connections to the peer port now.
    pub peer_connections: u64,
    /// Those of them that have been given the place of a plain neighbour that has no news.
    pub silent_peers: u64,
    /// Connections to the status socket now.
    pub status_connections: u64,
    /// Replies that left before a neighbour had what they acknowledge.
    pub unreplicated_replies: u64,
    /// Failed attempts to connect to a neighbour.
    pub dial_failures: u64,
    /// Records of the journal that were passed over at the start.
    pub journal_records_ahead: u64,
}
