//! What a server knows of the other end of a link, as a table of states and steps.
//!
//! | from     | `LinkStep::Identified`: HELLO is accepted, or the plain neighbour that we dialled is connected | `LinkStep::Reported`: AT, and a plain neighbour is configured |
//! |----------|---------|-------|
//! | Stranger | Linked  | Plain |
//! | Dialled  | Linked  |       |
//! | Linked   |         |       |
//! | Plain    |         | Plain |
//!
//! In an empty cell the step is refused, and the connection stays what it is. What the other end has proved is a
//! state of its own, `PeerProof`: Awaited becomes Given when the handshake is done, and nothing else changes it.

use crate::replication::NeighbourId;

/// What the other end has proved by a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerProof {
    /// Nobody is asked.
    NotAsked,
    /// Nothing yet: the handshake goes on, with the certificates that were read then.
    Awaited { generation: u32 },
    /// That it is this neighbour.
    Given { by: NeighbourId, generation: u32 },
}

/// What we know of who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// It dialled us, and has said nothing yet.
    Stranger,
    /// We dialled it; it has not said HELLO yet.
    Dialled(NeighbourId),
    /// It is this neighbour, and has said so; or it is plain, and we dialled it.
    Linked(NeighbourId),
    /// It dialled us and said AT: one of the plain neighbours, nobody knows which.
    Plain,
}

/// What can make more known of who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkStep {
    /// It is this neighbour.
    Identified(NeighbourId),
    /// It has said AT, though not who it is.
    Reported,
}

impl LinkState {
    /// The table at the head of this file.
    pub(super) fn after(self, step: LinkStep) -> Option<LinkState> {
        match (self, step) {
            (LinkState::Stranger, LinkStep::Identified(id)) => Some(LinkState::Linked(id)),
            (LinkState::Dialled(dialled), LinkStep::Identified(id)) if dialled == id => {
                Some(LinkState::Linked(id))
            }
            (LinkState::Stranger | LinkState::Plain, LinkStep::Reported) => Some(LinkState::Plain),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_from_every_state_is_as_the_table_says() {
        use LinkState::{Dialled, Linked, Plain, Stranger};
        let (this, other) = (NeighbourId(1), NeighbourId(2));
        let steps = [LinkStep::Identified(this), LinkStep::Identified(other), LinkStep::Reported];
        let table = [
            (Stranger, [Some(Linked(this)), Some(Linked(other)), Some(Plain)]),
            (Dialled(this), [Some(Linked(this)), None, None]),
            (Linked(this), [None, None, None]),
            (Plain, [None, None, Some(Plain)]),
        ];
        for (from, expected) in table {
            assert_eq!(steps.map(|step| from.after(step)), expected, "{from:?}");
        }
    }
}
