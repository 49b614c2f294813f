//! An application server herd on a hand-written reactor after Twisted's.
//!
//! The modules stand in the order in which to read them; each uses only modules above it. The reactor
//! is a crate of its own, [`herd_reactor`]. To see the whole at once, follow one IAMAT:
//! [`Reactor::turn`](herd_reactor::Reactor::turn) reads it,
//! [`LineReceiver`](herd_reactor::line_receiver::LineReceiver) finds its end,
//! [`Chatserver`](server::chatserver::Chatserver) has it parsed into a
//! [`Command`](wire::command::Command), the [table](table::Table) decides whether it is news,
//! and the [neighbours](replication::neighbours::Neighbours) are sent it.

pub mod wire;

pub mod table;

pub mod files;

pub mod log;

pub mod journal;

pub mod net;

pub mod http;

pub mod places;

pub mod fetch;

pub mod config;

pub mod replication;

pub mod server;

pub mod cli;
