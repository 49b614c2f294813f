//! One running server: what its connections share, and the protocols on its ports.
//!
//! * [`counters`]: what a server counts.
//! * [`place_queries`]: the WHATSATs that wait for their places.
//! * [`member`]: the state that all connections of one server share.
//! * `events`: the events of a server besides bytes: signals, timers, answers, the end of a turn.
//! * [`notify`]: what a server tells its service manager.
//! * `lame_duck`: the phases of a server, and its orderly ends.
//! * [`health`]: whether a server is healthy.
//! * `resources`: what the kernel counts of the process.
//! * [`metrics`] and [`exposition`]: the table of all metrics, and Prometheus' text.
//! * `sweep`: passes over the whole table, in slices.
//! * `taking`: the way of a client's report into the table, the journal and the neighbours.
//! * [`persist`]: the server's journal, which outlives the process.
//! * [`network`]: the server's resolver and connection pool, for sources that use the network.
//! * `dials`, `dialling`: the neighbours that the server dials, and the bus.
//! * `handshakes`: the TLS handshakes that are under way.
//! * [`peer_tls`]: the certificates by which neighbours authenticate each other.
//! * [`client_access`]: the tokens and certificates that say what clients may do.
//! * `address_counts`: the clients connected from each address.
//! * `pace`: how fast a client sends commands, and how long it is idle.
//! * [`http_port`]: the HTTP port; `http_state`: what its connections share.
//! * [`chatserver`] and [`interserver`]: the original's two pairs of factory and receiver.
//! * [`client_tls`]: both kinds of client ports inside TLS.
//! * [`status`]: the status that a server reports to its operator.
//! * `traces`: what each turn of the loop does, for those who ask at the status socket.
//! * [`start`]: how a server starts: it listens and dials.
//! * [`config_state`]: the configuration in force. `reload`: how a new one replaces it.

mod address_counts;
mod bus;
pub(crate) mod bus_link;
pub mod bus_port;
pub mod chatserver;
pub mod client_access;
pub mod client_tls;
pub mod config_state;
pub mod counters;
mod dialling;
mod dials;
mod events;
pub mod exposition;
mod handshakes;
pub mod health;
pub mod http_port;
mod http_state;
pub mod interserver;
mod lame_duck;
pub mod member;
pub mod metrics;
pub mod network;
pub mod notify;
mod pace;
pub mod peer_tls;
pub mod persist;
pub mod place_queries;
mod reload;
mod resources;
pub mod start;
pub mod status;
mod sweep;
mod taking;
mod traces;
