//! An application server herd on a hand-written reactor after Twisted's.
//!
//! The modules are listed in reading order; each uses only modules above it. The reactor is a crate of
//! its own, [`herd_reactor`]. To see the whole program at once, follow one IAMAT:
//! [`Reactor::turn`](herd_reactor::Reactor::turn) reads it,
//! [`LineReceiver`](herd_reactor::line_receiver::LineReceiver) finds its end,
//! [`Chatserver`](server::chatserver::Chatserver) parses it into a
//! [`Command`](wire::command::Command), the [table](table::Table) decides whether it is news,
//! and [`Neighbours`](replication::neighbours::Neighbours) floods it to the neighbours.

pub mod wire;

pub mod table;

pub mod files;

pub mod log;

pub mod journal;

pub mod net;

pub mod http;

pub mod places;

pub mod fetch;

pub mod nats;

pub mod phones;

pub mod access;

pub mod config;

pub mod replication;

pub mod page;

pub mod server;

pub mod cli;
