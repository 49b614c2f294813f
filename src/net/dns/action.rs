//! The actions that a [`Resolver`](super::Resolver) requests, and the ids that identify them.

use super::DnsError;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Identifies one lookup, which has exactly one result. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(u64);

/// Identifies one query to one server. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(u64);

/// The transport of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// One datagram, from a socket of its own.
    Udp,
    /// A connection of its own; each message follows its length in two bytes.
    Tcp,
}

/// An action that the resolver requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send `bytes` to `server`, and report every answer, or that the socket has failed.
    Send {
        /// The id under which answers are reported.
        query: QueryId,
        /// The name server.
        server: SocketAddr,
        /// The transport.
        via: Via,
        /// The query, without the two bytes of TCP.
        bytes: Vec<u8>,
    },
    /// Close the socket of this query: its answer is no longer needed.
    Cancel {
        /// The query.
        query: QueryId,
    },
    /// A lookup has ended. Occurs exactly once for each lookup.
    Done {
        /// The lookup.
        lookup: LookupId,
        /// At least one address, IPv6 first, each family in the order of its source.
        result: Result<Vec<IpAddr>, DnsError>,
    },
}

/// The queue of actions, and the source of ids.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    actions: VecDeque<Action>,
    lookups: u64,
    queries: u64,
}

impl Outbox {
    /// A new id for a lookup.
    pub(super) fn lookup(&mut self) -> LookupId {
        self.lookups += 1;
        LookupId(self.lookups)
    }

    pub(super) fn send(&mut self, server: SocketAddr, via: Via, bytes: &[u8]) -> QueryId {
        self.queries += 1;
        let query = QueryId(self.queries);
        self.actions.push_back(Action::Send { query, server, via, bytes: bytes.to_vec() });
        query
    }

    pub(super) fn cancel(&mut self, query: QueryId) {
        self.actions.push_back(Action::Cancel { query });
    }

    pub(super) fn done(&mut self, lookup: LookupId, result: Result<Vec<IpAddr>, DnsError>) {
        self.actions.push_back(Action::Done { lookup, result });
    }

    /// Takes the oldest action.
    pub(super) fn next(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
