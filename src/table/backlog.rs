//! The backlogs: for every owner the set of clients whose latest report has not been sent to it yet. The owners are
//! the neighbours.
//!
//! In: "this owner lacks that client's latest line". Out: those clients, one at a time, when the
//! owner can take them. This file knows neither lines nor connections.
//!
//! The idea: a backlog holds clients, not lines. When a client's turn comes, the owner receives the line
//! that is the latest *then*, however often the client has moved since. So the number of clients bounds a
//! backlog, at any rate of reports and for any absence of its owner. A slow owner and an absent one
//! are the same case: bits that wait.
//!
//! Owners come and go while the server runs. A [`BacklogId`] is a slot and its generation: after its owner
//! is removed the id reaches no backlog, even if another owner gets the slot.
//!
//! Source: docs/protocol.md "Peer port".

use super::client_set::ClientSet;
use super::store::ClientKey;

/// Identifies one owner's backlog; after that backlog is removed it never identifies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogId {
    slot: u32,
    generation: u32,
}

/// Every owner's backlog.
///
/// The backlog of a removed owner's id is empty, and marks to it have no effect.
#[derive(Clone, Debug, Default)]
pub struct Backlogs {
    /// The number of clients in all backlogs.
    marked: usize,
    /// The backlogs, by slot.
    slots: Vec<Backlog>,
}

/// One slot, and its owner's backlog.
#[derive(Clone, Debug, Default)]
struct Backlog {
    /// Distinguishes successive owners of the slot.
    generation: u32,
    has_owner: bool,
    clients: ClientSet,
}

impl Backlogs {
    /// Adds an owner, with an empty backlog.
    pub fn add(&mut self) -> BacklogId {
        let slot = self.slots.iter().position(|slot| !slot.has_owner).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Backlog::default());
        }
        self.slots[slot].has_owner = true;
        BacklogId { slot: slot as u32, generation: self.slots[slot].generation }
    }

    /// Removes an owner: frees the backlog's memory and makes its slot available to another owner.
    pub fn remove(&mut self, id: BacklogId) {
        self.clear(id);
        if let Some(slot) = self.slot_mut(id) {
            *slot = Backlog { generation: id.generation.wrapping_add(1), ..Backlog::default() };
        }
    }

    fn slot_mut(&mut self, id: BacklogId) -> Option<&mut Backlog> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)
    }

    fn set_mut(&mut self, id: BacklogId) -> Option<&mut ClientSet> {
        self.slot_mut(id).map(|slot| &mut slot.clients)
    }

    fn set(&self, id: BacklogId) -> Option<&ClientSet> {
        let slot = self.slots.get(id.slot as usize);
        slot.filter(|slot| slot.generation == id.generation).map(|slot| &slot.clients)
    }

    /// Removes a forgotten client from every backlog.
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        let was_in = self.slots.iter_mut().map(|slot| slot.clients.remove(key));
        self.marked -= was_in.filter(|&was_in| was_in).count();
    }

    /// Puts the client into the owner's backlog: the owner lacks its latest line.
    pub fn mark(&mut self, id: BacklogId, key: ClientKey) {
        let is_new = self.set_mut(id).is_some_and(|set| set.insert(key));
        self.marked += usize::from(is_new);
    }

    /// Puts every client into the owner's backlog, as after a new link. Takes time proportional to the
    /// clients / 64. `unused`: the keys below `keys` that no client has.
    pub(crate) fn mark_all(&mut self, id: BacklogId, keys: usize, unused: &[ClientKey]) {
        let Some(set) = self.set_mut(id) else { return };
        let before = set.len();
        set.fill(keys, unused);
        let after = set.len();
        self.marked = self.marked - before + after;
    }

    /// Whether all backlogs are empty.
    pub fn are_empty(&self) -> bool {
        debug_assert_eq!(
            self.marked,
            self.slots.iter().map(|slot| slot.clients.len()).sum::<usize>()
        );
        self.marked == 0
    }

    /// Whether the client is in the owner's backlog.
    pub fn contains(&self, id: BacklogId, key: ClientKey) -> bool {
        self.set(id).is_some_and(|set| set.contains(key))
    }

    /// Removes the client from the owner's backlog, because the owner itself sent us the latest line.
    pub fn unmark(&mut self, id: BacklogId, key: ClientKey) {
        let was_in = self.set_mut(id).is_some_and(|set| set.remove(key));
        self.marked -= usize::from(was_in);
    }

    /// Takes the next client out of the owner's backlog, for the caller to send its line; `None` if the backlog
    /// is empty. It takes every client in the backlog before it takes any client twice.
    pub fn take_next(&mut self, id: BacklogId) -> Option<ClientKey> {
        let key = self.set_mut(id)?.take_next()?;
        self.marked -= 1;
        Some(key)
    }

    /// Moves all clients of one backlog to another. Takes time proportional to the clients / 64.
    pub(crate) fn move_all(&mut self, from: BacklogId, to: BacklogId) {
        let moved = self.set_mut(from).map(std::mem::take).unwrap_or_default();
        let Some(set) = self.set_mut(to) else { return };
        let before = set.len() + moved.len();
        set.add_all(moved);
        let after = set.len();
        self.marked = self.marked - before + after;
    }

    /// Returns the number of clients in the owner's backlog.
    pub fn len(&self, id: BacklogId) -> usize {
        self.set(id).map_or(0, ClientSet::len)
    }

    /// Whether the owner's backlog is empty.
    pub fn is_empty(&self, id: BacklogId) -> bool {
        self.len(id) == 0
    }

    /// Empties the backlog of an owner that is disconnected, and frees its memory. When it reconnects, every client
    /// whose latest report it lacks is marked again.
    pub fn clear(&mut self, id: BacklogId) {
        let taken = self.set_mut(id).map_or(0, |set| std::mem::take(set).len());
        self.marked -= taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn two_owners() -> (Backlogs, [BacklogId; 2]) {
        let mut backlogs = Backlogs::default();
        let ids = [backlogs.add(), backlogs.add()];
        (backlogs, ids)
    }

    fn taken(backlogs: &mut Backlogs, id: BacklogId) -> Vec<usize> {
        std::iter::from_fn(|| backlogs.take_next(id)).map(ClientKey::index).collect()
    }

    #[test]
    fn a_backlog_of_everything_is_exactly_the_clients_there_are() {
        for clients in [0, 1, 63, 64, 65, 128, 1000] {
            let (mut backlogs, [one, other]) = two_owners();
            backlogs.mark_all(one, clients, &[]);
            assert_eq!((backlogs.len(one), backlogs.len(other)), (clients, 0));
            assert_eq!(taken(&mut backlogs, one), (0..clients).collect::<Vec<_>>());
            assert!(backlogs.is_empty(one));
        }
    }

    #[test]
    fn a_client_is_counted_once() {
        let (mut backlogs, [one, _]) = two_owners();
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
        let (mut backlogs, [one, _]) = two_owners();
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
    fn taking_goes_on_behind_the_last_client_taken_when_the_set_has_grown() {
        let (mut backlogs, [one, _]) = two_owners();
        backlogs.mark(one, ClientKey::new(63));
        assert_eq!(taken(&mut backlogs, one), [63]);
        backlogs.mark(one, ClientKey::new(63));
        backlogs.mark(one, ClientKey::new(64));
        assert_eq!(taken(&mut backlogs, one), [64, 63]);
    }

    #[test]
    fn taking_goes_round_within_one_word_too() {
        let (mut backlogs, [one, _]) = two_owners();
        for client in [63, 40, 39] {
            backlogs.mark(one, ClientKey::new(client));
            assert_eq!(taken(&mut backlogs, one), [client]);
        }
    }

    #[test]
    fn a_backlog_moves_into_another() {
        let (mut backlogs, [one, other]) = two_owners();
        for client in [3, 70] {
            backlogs.mark(one, ClientKey::new(client));
        }
        for client in [3, 200] {
            backlogs.mark(other, ClientKey::new(client));
        }
        backlogs.move_all(one, other);
        assert!(backlogs.is_empty(one) && !backlogs.are_empty());
        assert_eq!(taken(&mut backlogs, other), [3, 70, 200]);
        assert!(backlogs.are_empty());
    }

    #[test]
    fn a_cleared_backlog_is_empty() {
        let (mut backlogs, [one, other]) = two_owners();
        backlogs.mark_all(one, 100, &[]);
        backlogs.mark_all(other, 100, &[]);
        backlogs.clear(one);
        assert_eq!((backlogs.take_next(one), backlogs.len(other)), (None, 100));
        assert!(backlogs.is_empty(one));
    }

    #[test]
    fn a_client_that_is_forgotten_is_in_no_backlog() {
        let (mut backlogs, [one, other]) = two_owners();
        let gone = ClientKey::new(70);
        backlogs.mark(one, gone);
        backlogs.mark_all(other, 100, &[]);
        backlogs.forget_client(gone);
        assert_eq!((backlogs.take_next(one), backlogs.len(other)), (None, 99));
        backlogs.mark_all(one, 100, &[gone]);
        assert_eq!(backlogs.len(one), 99);
        assert!(!taken(&mut backlogs, one).contains(&70));
        assert!(!backlogs.contains(one, gone));
        backlogs.mark_all(one, 100, &[]);
        assert_eq!(backlogs.len(one), 100);
    }

    #[test]
    fn the_id_of_a_removed_owner_reaches_no_backlog() {
        let (mut backlogs, [gone, other]) = two_owners();
        backlogs.mark_all(gone, 100, &[]);
        backlogs.remove(gone);
        backlogs.forget_client(ClientKey::new(99));
        let next = backlogs.add();
        assert_eq!((next.slot, backlogs.slots.len()), (gone.slot, 2), "its slot is used again");
        let key = ClientKey::new(100);
        backlogs.mark(next, key);
        backlogs.mark(gone, ClientKey::new(1));
        backlogs.mark_all(gone, 101, &[]);
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
                            backlogs.mark_all(*id, known.len() + unused.len(), &unused);
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
                prop_assert!(backlogs.slots.iter().filter(|slot| slot.has_owner).count() == there);
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
