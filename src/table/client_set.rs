//! A set of clients, one bit for each.
//!
//! In and out: clients by their keys, which are dense. The next client to take is found round-robin: the search starts
//! after the last one taken, so that a client that is added again and again does not starve the others.
//!
//! A set grows when a client is added and takes no memory before, so that a thousand empty sets cost nothing.

use super::store::ClientKey;

/// A set of clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSet {
    /// Bit `k % 64` of word `k / 64` is client `k`. No word: none of its clients is in the set.
    words: Vec<u64>,
    /// The number of bits set.
    count: usize,
    /// The client at which the next search starts; the first one if it is beyond the last word.
    cursor: usize,
}

impl ClientSet {
    /// Adds a client. Returns whether it was not in the set.
    #[inline]
    pub(crate) fn insert(&mut self, key: ClientKey) -> bool {
        let (word, bit) = position(key);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.count += usize::from(is_new);
        self.words[word] |= bit;
        is_new
    }

    /// Makes this the set of the clients below `clients`, without the `unused` keys. Takes time proportional to the
    /// clients / 64.
    pub(crate) fn fill(&mut self, clients: usize, unused: &[ClientKey]) {
        self.words.clear();
        self.words.resize(clients.div_ceil(64), u64::MAX);
        if let Some(last) = self.words.last_mut() {
            *last >>= (64 - clients % 64) % 64;
        }
        self.count = clients;
        self.cursor = 0;
        for &key in unused {
            self.remove(key);
        }
        debug_assert_eq!(self.count, self.bits());
    }

    /// Adds all clients of another set. Takes time proportional to the clients / 64.
    pub(crate) fn add_all(&mut self, other: ClientSet) {
        if self.count == 0 {
            *self = ClientSet { cursor: self.cursor, ..other };
            return;
        }
        self.words.resize(self.words.len().max(other.words.len()), 0);
        self.words.iter_mut().zip(other.words).for_each(|(word, more)| *word |= more);
        self.count = self.bits();
    }

    /// Whether the client is in the set.
    pub(crate) fn contains(&self, key: ClientKey) -> bool {
        let (word, bit) = position(key);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Removes a client. Returns whether it was in the set.
    pub(crate) fn remove(&mut self, key: ClientKey) -> bool {
        let (word, bit) = position(key);
        let Some(bits) = self.words.get_mut(word).filter(|bits| **bits & bit != 0) else {
            return false;
        };
        *bits &= !bit;
        self.count -= 1;
        true
    }

    /// Takes the next client out of the set; `None` if the set is empty. It takes every client in the set before it
    /// takes any client twice.
    pub(crate) fn take_next(&mut self) -> Option<ClientKey> {
        if self.count == 0 {
            return None;
        }
        let cursor = if self.cursor < self.words.len() * 64 { self.cursor } else { 0 };
        let start = cursor / 64;
        // The search goes from the cursor to the end of its word, then through the words after it, wraps
        // around, and ends with the cursor's word again, which may have bits before the cursor.
        let ahead = self.words[start] & (u64::MAX << (cursor % 64));
        let (word, bits) = if ahead != 0 {
            (start, ahead)
        } else {
            let words = self.words.iter().copied().enumerate();
            let mut round = words.clone().skip(start + 1).chain(words.take(start + 1));
            round.find(|&(_, bits)| bits != 0)?
        };
        let client = word * 64 + bits.trailing_zeros() as usize;
        self.words[word] &= !(1 << (client % 64));
        self.count -= 1;
        debug_assert!(self.count > 0 || self.bits() == 0);
        self.cursor = client + 1;
        Some(ClientKey::new(client))
    }

    /// Returns the number of clients in the set.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Computes the correct value of `count`. Takes time proportional to the clients / 64.
    fn bits(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Returns the index of a client's word, and its bit in that word.
fn position(key: ClientKey) -> (usize, u64) {
    (key.index() / 64, 1 << (key.index() % 64))
}
