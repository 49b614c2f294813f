//! What the bus's bucket holds of each client: the sequence of its message, 8 bytes a client.
//!
//! In: the sequences that the bucket tells, and which clients' reports are being written to it. Out: the sequence that a
//! write must expect. It knows neither lines nor connections, and not whether the bucket's line is the newest.
//!
//! Two bits of each number are flags, because a sequence never reaches 2^62: a write of the client's line is in flight,
//! and the line has changed since it was sent.
//!
//! The key of a forgotten client goes to another client. So a forgotten client loses its number, and the writes that are
//! in flight for it are told apart from those of its successor ([`Revisions::take_forgotten`]).

use super::store::ClientKey;

const IN_FLIGHT: u64 = 1 << 63;
const CHANGED: u64 = 1 << 62;

/// The bucket's sequence of each client; see the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    of: Vec<u64>,
    /// How many clients have a sequence.
    known: usize,
    /// The clients that were forgotten while a write was in flight.
    forgotten: Vec<ClientKey>,
}

impl Revisions {
    /// Returns the sequence of the client's message; 0 if none is known.
    pub(crate) fn get(&self, key: ClientKey) -> u64 {
        self.raw(key) & !(IN_FLIGHT | CHANGED)
    }

    /// Notes the sequence of the client's message, 0 if there is none.
    pub(crate) fn set(&mut self, key: ClientKey, sequence: u64) {
        // A server that tells a greater one does not keep to its protocol; a write that expects this one conflicts.
        let sequence = sequence.min(CHANGED - 1);
        let before = self.get(key);
        self.known = self.known + usize::from(sequence > 0) - usize::from(before > 0);
        let raw = self.raw_mut(key);
        *raw = *raw & (IN_FLIGHT | CHANGED) | sequence;
    }

    /// The number of clients with a sequence.
    pub(crate) fn known(&self) -> usize {
        self.known
    }

    /// Whether a write of the client's line is in flight.
    pub(crate) fn is_in_flight(&self, key: ClientKey) -> bool {
        self.raw(key) & IN_FLIGHT != 0
    }

    /// A write of the client's line begins. Returns false if one is in flight already: then it must follow that one.
    pub(crate) fn begin(&mut self, key: ClientKey) -> bool {
        let raw = self.raw_mut(key);
        let flag = if *raw & IN_FLIGHT == 0 { IN_FLIGHT } else { CHANGED };
        *raw |= flag;
        flag == IN_FLIGHT
    }

    /// The write of the client's line has ended. Returns whether another one must follow.
    pub(crate) fn end(&mut self, key: ClientKey) -> bool {
        let raw = self.raw_mut(key);
        debug_assert!(*raw & IN_FLIGHT != 0);
        let has_changed = *raw & CHANGED != 0;
        *raw &= !(IN_FLIGHT | CHANGED);
        has_changed
    }

    /// Forgets all sequences and all writes in flight.
    pub(crate) fn clear(&mut self) {
        self.of.clear();
        self.forgotten.clear();
        self.known = 0;
    }

    /// The client has been forgotten.
    pub(super) fn forgot(&mut self, key: ClientKey) {
        self.set(key, 0);
        if self.is_in_flight(key) {
            self.end(key);
            self.forgotten.push(key);
        }
    }

    /// Takes the clients that were forgotten while a write was in flight. What that write's answer says is of no use.
    pub(crate) fn take_forgotten(&mut self) -> Vec<ClientKey> {
        std::mem::take(&mut self.forgotten)
    }

    fn raw(&self, key: ClientKey) -> u64 {
        self.of.get(key.index()).copied().unwrap_or(0)
    }

    fn raw_mut(&mut self, key: ClientKey) -> &mut u64 {
        if self.of.len() <= key.index() {
            self.of.resize(key.index() + 1, 0);
        }
        &mut self.of[key.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kiwi() -> ClientKey {
        ClientKey::new(3)
    }

    #[test]
    fn a_write_and_the_news_meanwhile_leave_the_sequence_as_it_is() {
        let mut revisions = Revisions::default();
        assert_eq!((revisions.get(kiwi()), revisions.known()), (0, 0));
        revisions.set(kiwi(), 7);
        assert!(revisions.begin(kiwi()), "the first write");
        assert!(!revisions.begin(kiwi()), "only one at a time");
        assert!(revisions.is_in_flight(kiwi()));
        revisions.set(kiwi(), 9);
        assert_eq!((revisions.get(kiwi()), revisions.known()), (9, 1));
        assert!(revisions.end(kiwi()), "the line has changed");
        assert!(revisions.begin(kiwi()) && !revisions.end(kiwi()));
        revisions.set(kiwi(), 0);
        assert_eq!(revisions.known(), 0);
    }

    #[test]
    fn a_sequence_that_no_stream_reaches_sets_no_flag() {
        let mut revisions = Revisions::default();
        revisions.set(kiwi(), u64::MAX);
        assert!(
            !revisions.is_in_flight(kiwi()) && revisions.begin(kiwi()) && !revisions.end(kiwi())
        );
        assert_eq!(revisions.get(kiwi()), CHANGED - 1);
    }

    #[test]
    fn a_forgotten_client_leaves_nothing_to_its_successor() {
        let mut revisions = Revisions::default();
        revisions.set(kiwi(), 7);
        revisions.begin(kiwi());
        revisions.forgot(kiwi());
        assert_eq!((revisions.get(kiwi()), revisions.known()), (0, 0));
        assert!(revisions.begin(kiwi()));
        assert_eq!(revisions.take_forgotten(), [kiwi()]);
        assert_eq!(revisions.take_forgotten(), []);
        revisions.end(kiwi());
        revisions.forgot(kiwi());
        assert_eq!(revisions.take_forgotten(), [], "nothing was in flight");
    }
}
