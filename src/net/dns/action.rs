//! What a [`Resolver`](super::Resolver) wants done, and under which names.

use super::DnsError;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Names one wish for addresses; answered once. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(u64);

/// Names one query to one server. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(u64);

/// How a query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// As one datagram, from a socket of its own.
    Udp,
    /// Over a connection of its own, behind two bytes that say its length.
    Tcp,
}

/// What the resolver wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send `bytes` to `server`, and tell of every answer, or that the socket is gone.
    Send {
        /// Under this name.
        query: QueryId,
        /// To this server.
        server: SocketAddr,
        /// In this way.
        via: Via,
        /// The query, without TCP's two bytes.
        bytes: Vec<u8>,
    },
    /// Close the socket of this query: nothing is expected of it any more.
    Cancel {
        /// Which one.
        query: QueryId,
    },
    /// A lookup is over. Each lookup, exactly once.
    Done {
        /// Which one.
        lookup: LookupId,
        /// At least one address, those of IPv6 first, each family in the order of its source.
        result: Result<Vec<IpAddr>, DnsError>,
    },
}

/// What is to be done, and names for it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    actions: VecDeque<Action>,
    lookups: u64,
    queries: u64,
}

impl Outbox {
    /// The name of the next lookup.
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

    /// Takes what was put in first.
    pub(super) fn next(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
