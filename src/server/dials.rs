//! Whom this server dials: what each attempt waits for, as a value. `dialling.rs` carries the attempts out.

use crate::net::dns::LookupId;
use crate::net::race::Race;
use crate::replication::NeighbourId;
use herd_reactor::Backoff;
use std::collections::BTreeMap;

/// Whom a server dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DialTarget {
    /// A neighbour.
    Neighbour(NeighbourId),
    /// A server of the bus; each attempt takes the next one.
    Bus,
}

/// An attempt to connect to a target, with a number that no other attempt of this server has.
pub(super) type DialAttempt = (DialTarget, u64);

/// All targets that this server dials.
pub(super) type Dials = BTreeMap<DialTarget, Dial>;

/// One target that this server dials.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) backoff: Backoff,
    /// How many attempts have failed since the last connection.
    pub(super) failures: u64,
    /// The number of the latest attempt, of all that this server makes. What an earlier one still tells changes nothing.
    pub(super) number: u64,
    pub(super) stage: DialStage,
}

/// What the latest attempt waits for.
#[derive(Debug)]
pub(super) enum DialStage {
    /// The timer of the next attempt, or the loss of the connection.
    Idle,
    /// The lookup of the target's host name.
    Resolving(LookupId),
    /// A connection to one of the addresses.
    Racing(Race),
}
