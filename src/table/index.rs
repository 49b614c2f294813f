//! Finds the slot of each client's line by the hash of its id.
//!
//! In: hashes, and a predicate that recognises the right slot. Out: slots. It knows neither ids nor lines.
//!
//! The idea: a hash table that is full doubles, so it is often half empty. An entry takes 5 bytes,
//! and all entries move at once. This index is nine tables; the hash chooses one. They double at different
//! times, each in a ninth of the time. Nine is not a power of two, so that a million clients (the
//! default limit) fill 85 of 100 entries, where a single table would fill 48.

use super::store::Slot;
use hashbrown::HashTable;

const PARTS: usize = 9;

/// Slots by hashes.
#[derive(Debug, Default)]
pub(crate) struct Index {
    parts: [HashTable<Slot>; PARTS],
}

impl Index {
    /// Returns the slot stored under `hash` for which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&Slot) -> bool) -> Option<Slot> {
        self.parts[part(hash)].find(hash, is_it).copied()
    }

    /// Replaces the slot `old`, which is stored under `hash`, by `new`.
    pub(crate) fn replace(&mut self, hash: u64, old: Slot, new: Slot) {
        if let Some(slot) = self.parts[part(hash)].find_mut(hash, |&slot| slot == old) {
            *slot = new;
        }
    }

    /// Stores a slot that is not in the index yet. `hash_of`: recomputes the hash of a stored slot when a table grows.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(&Slot) -> u64) {
        self.parts[part(hash)].insert_unique(hash, slot, hash_of);
    }

    /// Returns the number of slots.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Removes `slot` if it is stored under `hash`.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) {
        if let Ok(entry) = self.parts[part(hash)].find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }
}

/// Chooses the table of a hash by the middle bits, because the tables themselves use the bits at both ends.
#[inline]
fn part(hash: u64) -> usize {
    let middle = (hash >> 24) & u64::from(u32::MAX);
    ((middle * PARTS as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns hashes that look random.
    fn hash(n: u64) -> u64 {
        twox_hash::XxHash3_64::oneshot(&n.to_le_bytes())
    }

    #[test]
    fn what_is_stored_is_found_until_it_is_removed() {
        let mut index = Index::default();
        let rehash = |slot: &Slot| hash(slot.number());
        (0..10_000).for_each(|n| index.insert(hash(n), Slot::numbered(n), rehash));
        for n in 0..10_000 {
            let slot = Slot::numbered(n);
            assert_eq!(index.find(hash(n), |&other| other == slot), Some(slot));
            assert_eq!(index.find(hash(n), |_| false), None);
            index.remove(hash(n), slot);
            assert_eq!(index.find(hash(n), |&other| other == slot), None);
        }
        assert!(index.parts.iter().all(HashTable::is_empty));
    }

    #[test]
    fn a_million_clients_fill_their_tables() {
        let mut index = Index::default();
        let rehash = |slot: &Slot| hash(slot.number());
        (0..1_000_000).for_each(|n| index.insert(hash(n), Slot::numbered(n), rehash));
        let bytes: usize = index.parts.iter().map(HashTable::allocation_size).sum();
        assert!(bytes <= 6_000_000, "{bytes}");
    }
}
