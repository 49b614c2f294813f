//! The backlogs: one bit for every owner and client, set while the client's latest report has not been
//! sent to the owner. The owners are the neighbours; the digest (`lazy_digest.rs`) has a set of its own.
//!
//! In: "this owner lacks that client's latest line". Out: those clients, one at a time, when the
//! owner can take them. This file knows neither lines nor connections.
//!
//! The idea: a backlog holds clients, not lines. When a client's turn comes, the owner receives the line
//! that is the latest *then*, however often the client has moved since. So the number of clients bounds a
//! backlog, at any rate of reports and for any absence of its owner. A slow owner and an absent one
//! are the same case: bits that wait.
//!
//! Clients are taken round-robin: the search for the next bit starts after the last client taken, so that a
//! client that is marked again and again does not starve the others.
//!
//! Owners come and go while the server runs. A [`BacklogId`] is a slot and its generation: after its owner
//! is removed the id reaches no backlog, even if another owner gets the slot.
//!
//! Source: docs/protocol.md "Peer port".

use super::store::ClientKey;

/// Identifies one owner's backlog; after that backlog is removed it never identifies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogId {
    slot: u32,
    generation: u32,
}

/// Every owner's backlog.
///
/// The backlog of a removed owner's id is empty, and marks to it have no effect. A client that the table does not
/// know is a bug and may panic.
#[derive(Clone, Debug, Default)]
pub struct Backlogs {
    /// The number of keys.
    pub(super) clients: usize,
    /// The number of bits set in all backlogs.
    marked: usize,
    /// The backlogs, by slot.
    sets: Vec<DirtySet>,
}

/// One slot, and its owner's backlog.
#[derive(Clone, Debug, Default)]
struct DirtySet {
    /// Distinguishes successive owners of the slot.
    generation: u32,
    has_owner: bool,
    /// Bit `k % 64` of word `k / 64` is client `k`. Sized for all clients while there is an owner, else empty.
    words: Vec<u64>,
    /// The number of bits set.
    count: usize,
    /// The client at which the next search starts.
    cursor: usize,
}

impl Backlogs {
    /// Adds an owner, with an empty backlog.
    pub fn add(&mut self) -> BacklogId {
        let slot = self.sets.iter().position(|set| !set.has_owner).unwrap_or(self.sets.len());
        if slot == self.sets.len() {
            self.sets.push(DirtySet::default());
        }
        let set = &mut self.sets[slot];
        set.has_owner = true;
        set.words.resize(self.clients.div_ceil(64), 0);
        BacklogId { slot: slot as u32, generation: set.generation }
    }

    /// Removes an owner: frees the backlog's memory and makes its slot available to another owner.
    pub fn remove(&mut self, id: BacklogId) {
        self.clear(id);
        if let Some(set) = self.set_mut(id) {
            *set = DirtySet { generation: id.generation.wrapping_add(1), ..DirtySet::default() };
        }
    }

    fn set(&self, id: BacklogId) -> Option<&DirtySet> {
        self.sets.get(id.slot as usize).filter(|set| set.generation == id.generation)
    }

    fn set_mut(&mut self, id: BacklogId) -> Option<&mut DirtySet> {
        self.sets.get_mut(id.slot as usize).filter(|set| set.generation == id.generation)
    }

    /// Makes room for a new client, which is in no backlog yet. `key`: a forgotten client's, or the next new one.
    pub(crate) fn admit(&mut self, key: ClientKey) {
        self.clients = self.clients.max(key.index() + 1);
        let words = self.clients.div_ceil(64);
        for set in self.sets.iter_mut().filter(|set| set.has_owner) {
            set.words.resize(words, 0);
        }
    }

    /// Removes a forgotten client from every backlog.
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        let owned = self.sets.iter_mut().filter(|set| set.has_owner);
        self.marked -= owned.map(|set| set.unmark(key)).sum::<usize>();
    }

    /// Puts the client into the owner's backlog: the owner lacks its latest line. Returns whether it was not in it.
    pub fn mark(&mut self, id: BacklogId, key: ClientKey) -> bool {
        let Some(set) = self.set_mut(id) else { return false };
        let (word, bit) = position(key);
        let added = usize::from(set.words[word] & bit == 0);
        set.count += added;
        set.words[word] |= bit;
        self.marked += added;
        added == 1
    }

    /// Puts every client into the owner's backlog, as after a new link. Takes time proportional to the
    /// clients / 64. `unused`: the keys that no client has.
    pub(crate) fn mark_all(&mut self, id: BacklogId, unused: &[ClientKey]) {
        let clients = self.clients;
        let Some(set) = self.set_mut(id) else { return };
        let before = set.count;
        set.words.fill(u64::MAX);
        if let Some(last) = set.words.last_mut() {
            *last >>= (64 - clients % 64) % 64;
        }
        set.count = clients;
        for &key in unused {
            set.unmark(key);
        }
        debug_assert_eq!(set.count, set.bits());
        self.marked += set.count - before;
    }

    /// Whether all backlogs are empty.
    pub fn are_empty(&self) -> bool {
        debug_assert_eq!(self.marked, self.sets.iter().map(|set| set.count).sum::<usize>());
        self.marked == 0
    }

    /// Whether the client is in the owner's backlog.
    pub fn contains(&self, id: BacklogId, key: ClientKey) -> bool {
        let (word, bit) = position(key);
        self.set(id).is_some_and(|set| set.words[word] & bit != 0)
    }

    /// Removes the client from the owner's backlog, because the owner itself sent us the latest line. Returns whether
    /// it was in it.
    pub fn unmark(&mut self, id: BacklogId, key: ClientKey) -> bool {
        let taken = self.set_mut(id).map_or(0, |set| set.unmark(key));
        self.marked -= taken;
        taken == 1
    }

    /// Takes the next client out of the owner's backlog, for the caller to send its line; `None` if the backlog
    /// is empty.
    ///
    /// It takes every client in the backlog before it takes any client twice.
    pub fn take_next(&mut self, id: BacklogId) -> Option<ClientKey> {
        let clients = self.clients;
        let set = self.set_mut(id).filter(|set| set.count > 0)?;
        let start = set.cursor / 64;
        // The search goes from the cursor to the end of its word, then through the words after it, wraps
        // around, and ends with the cursor's word again, which may have bits before the cursor.
        let ahead = set.words[start] & (u64::MAX << (set.cursor % 64));
        let (word, bits) = if ahead != 0 {
            (start, ahead)
        } else {
            let words = set.words.iter().copied().enumerate();
            let mut round = words.clone().skip(start + 1).chain(words.take(start + 1));
            round.find(|&(_, bits)| bits != 0)?
        };
        let client = word * 64 + bits.trailing_zeros() as usize;
        set.words[word] &= !(1 << (client % 64));
        set.count -= 1;
        debug_assert!(set.count > 0 || set.bits() == 0);
        set.cursor = if client + 1 < clients { client + 1 } else { 0 };
        self.marked -= 1;
        Some(ClientKey::new(client))
    }

    /// Returns the number of clients in the owner's backlog.
    pub fn len(&self, id: BacklogId) -> usize {
        self.set(id).map_or(0, |set| set.count)
    }

    /// Whether the owner's backlog is empty.
    pub fn is_empty(&self, id: BacklogId) -> bool {
        self.len(id) == 0
    }

    /// Empties the backlog of an owner that is disconnected. When it reconnects, every client whose latest report
    /// it lacks is marked again.
    pub fn clear(&mut self, id: BacklogId) {
        if let Some(set) = self.set_mut(id) {
            debug_assert_eq!(set.count, set.bits());
            set.words.fill(0);
            let marked = std::mem::take(&mut set.count);
            self.marked -= marked;
        }
    }
}

impl DirtySet {
    /// Computes the correct value of `count`. Takes time proportional to the clients / 64.
    fn bits(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Clears a client's bit; returns 1 if it was set, else 0.
    fn unmark(&mut self, key: ClientKey) -> usize {
        let (word, bit) = position(key);
        let taken = usize::from(self.words[word] & bit != 0);
        self.count -= taken;
        self.words[word] &= !bit;
        taken
    }
}

/// Returns the index of a client's word, and its bit in that word.
fn position(key: ClientKey) -> (usize, u64) {
    (key.index() / 64, 1 << (key.index() % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn two_owners(clients: usize) -> (Backlogs, [BacklogId; 2]) {
        let mut backlogs = Backlogs::default();
        let ids = [backlogs.add(), backlogs.add()];
        (0..clients).for_each(|client| backlogs.admit(ClientKey::new(client)));
        (backlogs, ids)
    }

    fn taken(backlogs: &mut Backlogs, id: BacklogId) -> Vec<usize> {
        std::iter::from_fn(|| backlogs.take_next(id)).map(ClientKey::index).collect()
    }

    #[test]
    fn a_backlog_of_everything_is_exactly_the_clients_there_are() {
        for clients in [0, 1, 63, 64, 65, 128, 1000] {
            let (mut backlogs, [one, other]) = two_owners(clients);
            backlogs.mark_all(one, &[]);
            assert_eq!((backlogs.len(one), backlogs.len(other)), (clients, 0));
            assert_eq!(taken(&mut backlogs, one), (0..clients).collect::<Vec<_>>());
            assert!(backlogs.is_empty(one));
        }
    }

    #[test]
    fn a_client_is_counted_once() {
        let (mut backlogs, [one, _]) = two_owners(100);
        for _ in 0..3 {
            backlogs.mark(one, ClientKey::new(70));
        }
        assert!(backlogs.contains(one, ClientKey::new(70)));
        assert!(!backlogs.contains(one, ClientKey::new(71)));
        assert_eq!(backlogs.len(one), 1);
        backlogs.unmark(one, ClientKey::new(70));
        backlogs.unmark(one, ClientKey::new(70));
        assert_eq!((backlogs.len(one), backlogs.take_next(one)), (0, None));
    }

    #[test]
    fn a_client_marked_again_and_again_does_not_starve_others() {
        let (mut backlogs, [one, _]) = two_owners(200);
        backlogs.mark(one, ClientKey::new(130));
        backlogs.mark(one, ClientKey::new(5));
        let mut taken = Vec::new();
        for _ in 0..3 {
            backlogs.mark(one, ClientKey::new(4));
            taken.extend(backlogs.take_next(one).map(ClientKey::index));
        }
        assert_eq!(taken, [4, 5, 130]);
    }

    #[test]
    fn taking_goes_round_within_one_word_too() {
        let (mut backlogs, [one, _]) = two_owners(64);
        for client in [63, 40, 39] {
            backlogs.mark(one, ClientKey::new(client));
            assert_eq!(taken(&mut backlogs, one), [client]);
        }
    }

    #[test]
    fn a_cleared_backlog_is_empty() {
        let (mut backlogs, [one, other]) = two_owners(100);
        backlogs.mark_all(one, &[]);
        backlogs.mark_all(other, &[]);
        backlogs.clear(one);
        assert_eq!((backlogs.take_next(one), backlogs.len(other)), (None, 100));
        assert!(backlogs.is_empty(one));
    }

    #[test]
    fn a_client_that_is_forgotten_is_in_no_backlog() {
        let (mut backlogs, [one, other]) = two_owners(100);
        let gone = ClientKey::new(70);
        backlogs.mark(one, gone);
        backlogs.mark_all(other, &[]);
        backlogs.forget_client(gone);
        assert_eq!((backlogs.take_next(one), backlogs.len(other)), (None, 99));
        backlogs.mark_all(one, &[gone]);
        assert_eq!(backlogs.len(one), 99);
        assert!(!taken(&mut backlogs, one).contains(&70));
        backlogs.admit(gone);
        assert!(!backlogs.contains(one, gone));
        backlogs.mark_all(one, &[]);
        assert_eq!(backlogs.len(one), 100);
    }

    #[test]
    fn the_id_of_a_removed_owner_reaches_no_backlog() {
        let (mut backlogs, [gone, other]) = two_owners(100);
        backlogs.mark_all(gone, &[]);
        backlogs.remove(gone);
        backlogs.admit(ClientKey::new(100));
        backlogs.forget_client(ClientKey::new(99));
        let next = backlogs.add();
        assert_eq!((next.slot, backlogs.sets.len()), (gone.slot, 2), "its slot is used again");
        let key = ClientKey::new(100);
        backlogs.mark(next, key);
        backlogs.mark(gone, ClientKey::new(1));
        backlogs.mark_all(gone, &[]);
        backlogs.unmark(gone, key);
        backlogs.clear(gone);
        backlogs.remove(gone);
        assert_eq!((backlogs.len(gone), backlogs.take_next(gone)), (0, None));
        assert!(!backlogs.contains(gone, key));
        assert_eq!((backlogs.len(next), backlogs.len(other)), (1, 0));
        assert_eq!(taken(&mut backlogs, next), [100]);
    }

    /// One operation on backlogs. The first number chooses among all owners that ever existed.
    #[derive(Clone, Debug)]
    enum Step {
        Add,
        Remove(usize),
        Admit,
        Forget(usize),
        Mark(usize, usize),
        MarkAll(usize),
        Unmark(usize, usize),
        Take(usize),
        Clear(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let owner = 0..100usize;
        prop_oneof![
            2 => Just(Step::Add),
            2 => owner.clone().prop_map(Step::Remove),
            6 => Just(Step::Admit),
            2 => (0..100usize).prop_map(Step::Forget),
            8 => (owner.clone(), 0..100usize).prop_map(|(owner, client)| Step::Mark(owner, client)),
            1 => owner.clone().prop_map(Step::MarkAll),
            3 => (owner.clone(), 0..100usize).prop_map(|(owner, client)| Step::Unmark(owner, client)),
            4 => owner.clone().prop_map(Step::Take),
            1 => owner.prop_map(Step::Clear),
        ]
    }

    proptest! {
        /// Owners and clients come and go: the backlog of each present owner equals a set of clients, and
        /// that of each removed owner is empty, whatever is done with its id.
        #[test]
        fn backlogs_are_a_set_for_each_owner_that_is_there(
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let mut backlogs = Backlogs::default();
            // All owners that ever existed; a removed owner has no set.
            let mut model: Vec<(BacklogId, Option<BTreeSet<ClientKey>>)> = Vec::new();
            let (mut known, mut unused) = (BTreeSet::new(), Vec::<ClientKey>::new());
            for step in steps {
                let nth = |number: usize| known.iter().copied().nth(number % known.len().max(1));
                let owners = model.len().max(1);
                match step {
                    Step::Add => model.push((backlogs.add(), Some(BTreeSet::new()))),
                    Step::Admit => {
                        let next = ClientKey::new(known.len());
                        let key = unused.pop().unwrap_or(next);
                        backlogs.admit(key);
                        known.insert(key);
                    }
                    Step::Forget(number) => {
                        if let Some(key) = nth(number) {
                            backlogs.forget_client(key);
                            model.iter_mut().filter_map(|(_, set)| set.as_mut()).for_each(|set| {
                                set.remove(&key);
                            });
                            known.remove(&key);
                            unused.push(key);
                        }
                    }
                    Step::Remove(owner) => {
                        if let Some((id, set)) = model.get_mut(owner % owners) {
                            backlogs.remove(*id);
                            *set = None;
                        }
                    }
                    Step::Mark(owner, client) => {
                        if let (Some((id, set)), Some(key)) = (model.get_mut(owner % owners), nth(client)) {
                            backlogs.mark(*id, key);
                            set.iter_mut().for_each(|set| { set.insert(key); });
                        }
                    }
                    Step::MarkAll(owner) => {
                        if let Some((id, set)) = model.get_mut(owner % owners) {
                            backlogs.mark_all(*id, &unused);
                            set.iter_mut().for_each(|set| set.clone_from(&known));
                        }
                    }
                    Step::Unmark(owner, client) => {
                        if let (Some((id, set)), Some(key)) = (model.get_mut(owner % owners), nth(client)) {
                            backlogs.unmark(*id, key);
                            set.iter_mut().for_each(|set| { set.remove(&key); });
                        }
                    }
                    Step::Take(owner) => {
                        if let Some((id, set)) = model.get_mut(owner % owners) {
                            let key = backlogs.take_next(*id);
                            prop_assert_eq!(key.is_some(), set.iter().any(|set| !set.is_empty()));
                            if let (Some(key), Some(set)) = (key, set) {
                                prop_assert!(set.remove(&key));
                            }
                        }
                    }
                    Step::Clear(owner) => {
                        if let Some((id, set)) = model.get_mut(owner % owners) {
                            backlogs.clear(*id);
                            set.iter_mut().for_each(BTreeSet::clear);
                        }
                    }
                }
                let there = model.iter().filter(|(_, set)| set.is_some()).count();
                prop_assert!(backlogs.sets.iter().filter(|set| set.has_owner).count() == there);
                for (id, set) in &model {
                    let none = BTreeSet::new();
                    let set = set.as_ref().unwrap_or(&none);
                    prop_assert_eq!(backlogs.len(*id), set.len());
                    for &key in &known {
                        prop_assert_eq!(backlogs.contains(*id, key), set.contains(&key));
                    }
                }
            }
        }
    }
}
