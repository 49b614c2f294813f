//! One running server: what its connections share, and the protocols on its ports.
//!
//! * [`counters`] and [`metrics`]: what a server counts, and the table of all that is counted.
//! * [`place_queries`]: the WHATSATs that wait for their places.
//! * [`member`]: what all connections of one server share.
//! * `events`: what happens to a server besides bytes: signals, timers, answers, the end of a turn.
//! * `sweep`: what goes through the whole table does so in slices.
//! * [`persist`]: the server's journal: what outlives the process.
//! * [`network`]: the server's resolver and connection pool, for sources that ask the network.
//! * [`peer_tls`]: the certificates by which neighbours know each other.
//! * [`chatserver`] and [`interserver`]: the report's two pairs of factory and receiver.
//! * [`status`]: what a server says of itself to its operator.
//! * [`start`]: how a server begins: it listens, and dials.

pub mod chatserver;
pub mod counters;
mod events;
pub mod interserver;
pub mod member;
pub mod metrics;
pub mod network;
pub mod peer_tls;
pub mod persist;
pub mod place_queries;
pub mod start;
pub mod status;
mod sweep;
