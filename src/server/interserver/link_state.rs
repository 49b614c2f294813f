//! What a server knows of the peer at the other end of a connection, as tables of states and steps.
//!
//! | from     | Identified | Other | Reported |
//! |----------|------------|-------|----------|
//! | Stranger | Linked     |       | Plain    |
//! | Dialled  | Linked     |       |          |
//! | Linked   |            |       |          |
//! | Plain    |            |       | Plain    |
//!
//! `Identified`: the peer's HELLO is accepted, or the plain neighbour that we dialled is connected. `Other`: the peer
//! is identified as a neighbour other than the one that we dialled or that is linked. `Reported`: the peer sent AT, and
//! a plain neighbour is configured.
//!
//! | proof    | Proved |
//! |----------|--------|
//! | NotAsked |        |
//! | Awaited  | Given  |
//! | Given    |        |
//!
//! `Proved`: the TLS handshake is done, with a neighbour's certificate. An empty cell leaves the state as it is, and in
//! the first table the step is refused. Nothing else changes a state.

use crate::replication::NeighbourId;

/// The name that the peer has proved by a certificate, if one is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerProof {
    /// No proof is required: `[peer_tls]` is off.
    NotAsked,
    /// The handshake is under way. `generation`: which reading of our certificates it uses.
    Awaited { generation: u32 },
    /// The peer has proved that it is the neighbour `by`, against our certificates of `generation`.
    Given { by: NeighbourId, generation: u32 },
}

impl PeerProof {
    /// The state after the step `Proved`, from the table of proofs at the head of this file.
    pub(super) fn proved(self, by: NeighbourId) -> PeerProof {
        let PeerProof::Awaited { generation } = self else { return self };
        PeerProof::Given { by, generation }
    }
}

/// What we know of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The peer dialled us and has not identified itself yet.
    Stranger,
    /// We dialled this neighbour; it has not said HELLO yet.
    Dialled(NeighbourId),
    /// The peer is this neighbour: it said HELLO, or it is plain and we dialled it.
    Linked(NeighbourId),
    /// The peer dialled us and sent AT: it is a plain neighbour, but we cannot tell which.
    Plain,
}

/// An event by which we learn more about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkStep {
    /// The peer is this neighbour.
    Identified(NeighbourId),
    /// The peer sent AT without a HELLO.
    Reported,
}

impl LinkState {
    /// The state after `step`, from the first table at the head of this file; `None` if the step is refused.
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

    const THIS: NeighbourId = NeighbourId(1);
    const OTHER: NeighbourId = NeighbourId(2);

    /// The table of the head that begins with `name`: its steps, and its rows.
    fn table(name: &str) -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
        let lines = include_str!("link_state.rs").lines();
        let from_there = lines.skip_while(|line| !line.starts_with(&format!("//! | {name} ")));
        let table = from_there.take_while(|line| line.starts_with("//! |"));
        let mut rows = table.map(|row| {
            let row = row.strip_prefix("//! |").and_then(|row| row.strip_suffix('|'));
            row.expect("it is a row").split('|').map(str::trim).collect::<Vec<_>>()
        });
        let head = rows.next().expect("it has a head");
        (head[1..].to_vec(), rows.skip(1).collect())
    }

    fn state(name: &str, id: NeighbourId) -> LinkState {
        match name {
            "Stranger" => LinkState::Stranger,
            "Dialled" => LinkState::Dialled(id),
            "Linked" => LinkState::Linked(id),
            "Plain" => LinkState::Plain,
            _ => panic!("{name}"),
        }
    }

    #[test]
    fn every_step_from_every_state_is_as_the_table_says() {
        let (steps, rows) = table("from");
        assert_eq!((steps, rows.len()), (vec!["Identified", "Other", "Reported"], 4));
        for row in rows {
            let from = state(row[0], THIS);
            // A stranger has no name yet, so no neighbour is another one to it.
            let stranger = from == LinkState::Stranger;
            let steps = [
                (LinkStep::Identified(THIS), row[1], THIS),
                (LinkStep::Identified(OTHER), row[if stranger { 1 } else { 2 }], OTHER),
                (LinkStep::Reported, row[3], THIS),
            ];
            for (step, next, id) in steps {
                let expected = (!next.is_empty()).then(|| state(next, id));
                assert_eq!(from.after(step), expected, "{from:?}: {step:?}");
            }
        }
    }

    #[test]
    fn every_proof_from_every_state_is_as_the_table_says() {
        let (steps, rows) = table("proof");
        assert_eq!((steps, rows.len()), (vec!["Proved"], 3));
        let proof = |name, by| match name {
            "NotAsked" => PeerProof::NotAsked,
            "Awaited" => PeerProof::Awaited { generation: 7 },
            "Given" => PeerProof::Given { by, generation: 7 },
            _ => panic!("{name}"),
        };
        for row in rows {
            let (before, by) = (proof(row[0], THIS), OTHER);
            let expected = if row[1].is_empty() { before } else { proof(row[1], by) };
            assert_eq!(before.proved(by), expected, "{}", row[0]);
        }
    }
}
