//! The neighbours that this server dials: what each attempt waits for, as a value. `interserver/dialling.rs` carries the
//! attempts out.

use crate::net::dns::LookupId;
use crate::net::race::Race;
use crate::replication::NeighbourId;
use herd_reactor::Backoff;
use std::collections::BTreeMap;

/// An attempt to connect to a neighbour, with a number that no other attempt of this server has.
pub(super) type DialAttempt = (NeighbourId, u64);

/// The neighbours that this server dials.
pub(super) type Dials = BTreeMap<NeighbourId, Dial>;

/// One neighbour that this server dials.
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
    /// The lookup of the neighbour's host name.
    Resolving(LookupId),
    /// A connection to one of the addresses.
    Racing(Race),
}
