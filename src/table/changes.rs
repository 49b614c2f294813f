//! The latest changes of a table, for readers that follow it: which clients have reported, and which were forgotten.
//!
//! In: the keys of clients whose reports were stored; the key and id of each client that is forgotten. Out: all of these
//! since a given change. It knows no reader: a reader remembers the number of the first change that it has not read.
//!
//! The idea: changes are numbered from 0, and a ring holds the clients' keys of the last [`RING`]. So a change costs one
//! store, however many readers follow, and a reader that went away can return and ask for the changes since. A reader
//! that has fallen behind further than the ring must read the whole table.
//!
//! The table drops the line of a forgotten client, and gives its key to another client. So its id is kept beside the
//! ring, for readers that know the client. These ids may take [`FORGOTTEN_BYTES`]; then the oldest are dropped.
//!
//! ```text
//!   number         ...  7      8      9      10     11   = count, the next
//!   ring           ...  kiwi   fig    kiwi   pear
//!   forgotten                  fig                       fig reported for the last time before 8
//! ```

use super::store::ClientKey;
use std::collections::VecDeque;

/// Number of changes that the ring holds: 256 KiB of keys.
pub(crate) const RING: usize = 65_536;

/// Maximum memory of the ids of forgotten clients.
pub(crate) const FORGOTTEN_BYTES: usize = 4 << 20;

/// The memory of a forgotten client besides the bytes of its id.
const ENTRY_BYTES: usize = size_of::<ForgottenClient>();

/// The latest changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The number of changes so far, which is the number of the next one.
    count: u64,
    /// The key of change `n` is at `n % RING`.
    ring: Vec<ClientKey>,
    /// In the order of their numbers.
    forgotten: VecDeque<ForgottenClient>,
    forgotten_bytes: usize,
    /// Every client forgotten by this change or a later one is in `forgotten`.
    complete_from: u64,
}

/// A client that was forgotten.
#[derive(Debug)]
pub(crate) struct ForgottenClient {
    /// The number of the change by which it was forgotten.
    pub(crate) change: u64,
    /// The key that it had.
    pub(crate) key: ClientKey,
    /// Its id.
    pub(crate) id: Box<[u8]>,
}

impl Changes {
    /// Notes that reports of these clients were stored.
    pub(crate) fn reported(&mut self, keys: &[ClientKey]) {
        keys.iter().for_each(|&key| self.changed(key));
    }

    /// Notes that the client with the id `id` was forgotten, which had the key `key`.
    pub(super) fn forgot(&mut self, key: ClientKey, id: &[u8]) {
        self.forgotten.push_back(ForgottenClient { change: self.count, key, id: id.into() });
        self.forgotten_bytes += ENTRY_BYTES + id.len();
        self.changed(key);
        while self.forgotten_bytes > FORGOTTEN_BYTES
            && let Some(dropped) = self.forgotten.pop_front()
        {
            self.forgotten_bytes -= ENTRY_BYTES + dropped.id.len();
            self.complete_from = dropped.change + 1;
        }
    }

    fn changed(&mut self, key: ClientKey) {
        if self.ring.len() < RING {
            self.ring.push(key);
        } else {
            self.ring[self.count as usize % RING] = key;
        }
        self.count += 1;
    }

    /// Returns the number of changes so far, which is the number of the next one.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the keys of the clients of change `from` and of all later ones, the oldest first; `None` if the ring does
    /// not hold all of these, or if there was no such change yet. A client may occur several times, and a key that no
    /// client has may occur.
    pub(crate) fn since(&self, from: u64) -> Option<impl Iterator<Item = ClientKey>> {
        let is_held = from <= self.count && self.count - from <= RING as u64;
        is_held.then(|| (from..self.count).map(|change| self.ring[change as usize % RING]))
    }

    /// Returns the clients forgotten by change `from` or later, the oldest first; `None` if the ids of some have been
    /// dropped.
    pub(crate) fn forgotten_since(
        &self,
        from: u64,
    ) -> Option<impl Iterator<Item = &ForgottenClient>> {
        let first = self.forgotten.partition_point(|one| one.change < from);
        (from >= self.complete_from).then(|| self.forgotten.range(first..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(changes: &Changes, from: u64) -> Option<Vec<usize>> {
        Some(changes.since(from)?.map(ClientKey::index).collect())
    }

    fn ids(changes: &Changes, from: u64) -> Option<Vec<&[u8]>> {
        Some(changes.forgotten_since(from)?.map(|one| &*one.id).collect())
    }

    #[test]
    fn every_change_since_a_number_is_found_in_order() {
        let mut changes = Changes::default();
        assert_eq!(
            (changes.count(), keys(&changes, 0), keys(&changes, 1)),
            (0, Some(vec![]), None)
        );
        changes.reported(&[3, 1, 3].map(ClientKey::new));
        assert_eq!((changes.count(), keys(&changes, 0)), (3, Some(vec![3, 1, 3])));
        assert_eq!((keys(&changes, 2), keys(&changes, 3)), (Some(vec![3]), Some(vec![])));
        assert_eq!(keys(&changes, 4), None, "a change that has not happened");
        assert_eq!(keys(&changes, u64::MAX), None);
    }

    #[test]
    fn the_ring_holds_as_many_changes_as_it_says_and_not_one_more() {
        let mut changes = Changes::default();
        for number in 0..RING {
            changes.reported(&[ClientKey::new(number)]);
        }
        assert_eq!(keys(&changes, 0).map(|keys| keys.len()), Some(RING));
        changes.reported(&[ClientKey::new(7), ClientKey::new(8)]);
        assert_eq!(keys(&changes, 1), None);
        let held = keys(&changes, 2).unwrap();
        assert_eq!((held.len(), held[0], &held[RING - 3..]), (RING, 2, &[RING - 1, 7, 8][..]));
        for _ in 0..3 * RING {
            changes.reported(&[ClientKey::new(9)]);
        }
        assert_eq!(keys(&changes, changes.count() - RING as u64), Some(vec![9; RING]));
    }

    #[test]
    fn a_forgotten_client_is_a_change_and_its_id_is_kept() {
        let mut changes = Changes::default();
        changes.reported(&[ClientKey::new(0)]);
        changes.forgot(ClientKey::new(0), b"kiwi");
        changes.reported(&[ClientKey::new(0)]);
        changes.forgot(ClientKey::new(0), b"fig");
        assert_eq!((changes.count(), keys(&changes, 1)), (4, Some(vec![0, 0, 0])));
        assert_eq!(ids(&changes, 0), Some(vec![&b"kiwi"[..], b"fig"]));
        assert_eq!(ids(&changes, 1), Some(vec![&b"kiwi"[..], b"fig"]));
        assert_eq!(ids(&changes, 2), Some(vec![&b"fig"[..]]));
        assert_eq!(ids(&changes, 4), Some(vec![]));
    }

    #[test]
    fn ids_of_forgotten_clients_take_a_bounded_memory() {
        let mut changes = Changes::default();
        let long = [b'x'; 4_096];
        let most = FORGOTTEN_BYTES / (ENTRY_BYTES + long.len());
        for number in 0..most {
            changes.forgot(ClientKey::new(number), &long);
        }
        assert_eq!(ids(&changes, 0).map(|ids| ids.len()), Some(most));
        changes.forgot(ClientKey::new(most), &long);
        assert_eq!((ids(&changes, 0), ids(&changes, 1).map(|ids| ids.len())), (None, Some(most)));
        assert!(changes.forgotten_bytes <= FORGOTTEN_BYTES);
        // An id that is larger than everything is dropped at once.
        changes.forgot(ClientKey::new(0), &vec![0; FORGOTTEN_BYTES]);
        assert_eq!((changes.forgotten.len(), changes.forgotten_bytes), (0, 0));
        assert_eq!(
            (ids(&changes, changes.count() - 1), ids(&changes, changes.count())),
            (None, Some(vec![]))
        );
    }
}
