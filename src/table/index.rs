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

/// The number of lines that a growing table reads at once.
const GROUP: usize = 16;

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

    /// Doubles the table of `hash` if it is full.
    ///
    /// hashbrown would hash one id after the other, and wait for the cache misses of each line. Here `touch` reads a
    /// group of lines first, so that their misses overlap, and then `rehash` hashes the ids.
    pub(crate) fn grow(&mut self, hash: u64, touch: impl Fn(&Slot), rehash: impl Fn(&Slot) -> u64) {
        let part = &mut self.parts[part(hash)];
        if part.len() < part.capacity() {
            return;
        }
        let slots: Vec<Slot> = part.iter().copied().collect();
        *part = HashTable::with_capacity(2 * slots.len());
        for group in slots.chunks(GROUP) {
            group.iter().for_each(&touch);
            for slot in group {
                part.insert_unique(rehash(slot), *slot, &rehash);
            }
        }
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
    fn a_table_that_has_grown_keeps_its_slots_and_has_room_for_one_more() {
        let mut index = Index::default();
        let rehash = |slot: &Slot| hash(slot.number());
        // After the first 2,000, each new slot replaces an old one, as when clients are forgotten.
        for n in 0..20_000 {
            let touched = std::cell::RefCell::new(Vec::new());
            let (before, part) = (index.parts[part(hash(n))].len(), part(hash(n)));
            index.grow(hash(n), |slot| touched.borrow_mut().push(slot.number()), rehash);
            let mut touched = touched.into_inner();
            touched.sort_unstable();
            touched.dedup();
            assert!(touched.is_empty() || touched.len() == before, "each line is read first");
            index.insert(hash(n), Slot::numbered(n), |_| unreachable!("it has grown"));
            assert!(index.parts[part].capacity() < 2_000);
            if n >= 2_000 {
                index.remove(hash(n - 2_000), Slot::numbered(n - 2_000));
            }
        }
        for n in 0..20_000 {
            let found = index.find(hash(n), |&other| other == Slot::numbered(n));
            assert_eq!(found.is_some(), n >= 18_000);
        }
    }

    #[test]
    fn a_million_clients_fill_their_tables() {
        let mut index = Index::default();
        let rehash = |slot: &Slot| hash(slot.number());
        for n in 0..1_000_000 {
            index.grow(hash(n), |_| {}, rehash);
            index.insert(hash(n), Slot::numbered(n), |_| unreachable!("it has grown"));
        }
        let bytes: usize = index.parts.iter().map(HashTable::allocation_size).sum();
        assert!(bytes <= 6_000_000, "{bytes}");
    }
}
