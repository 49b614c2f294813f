//! The digest of a table whose lines change far more often than anybody reads the digest.
//!
//! In: each line that is stored, overwritten or forgotten. Out: the [`Digest`] of all lines. It reads the latest
//! lines from the [store](super::store).
//!
//! The idea: if fewer clients report than may be pending, most of the hashes that an overwrite adds are subtracted again
//! before the digest is read. So the first overwrite subtracts the hash of the old line and makes the client pending: its
//! line is not in the sums. Further overwrites cost nothing. Reading the digest adds the lines of all pending clients.
//!
//! Measured with look_ahead.rs and `wire/command/usual.rs` together: 0.75 of the server's processor time with 50 connections
//! and 128 commands in flight (benches/README.md, "Goals, and what was tried").
//!
//! At most [`PENDING_MAX`] clients are pending, so that a read does not delay the loop for long. The line of a client
//! beyond this number is added at once. A replay of a journal, when no loop runs yet, has no such limit.

use super::client_set::ClientSet;
use super::digest::Digest;
use super::store::{ClientKey, LineStore};

/// Maximum pending clients while the loop runs. With a million clients, adding 60,000 lines delays the loop by some 7 ms.
pub(super) const PENDING_MAX: usize = 1 << 16;

/// Number of lines that are read at a time.
const GROUP: usize = 16;

/// The digest, and the clients whose lines are not in it.
#[derive(Debug)]
pub(super) struct LazyDigest {
    sums: Digest,
    pending: ClientSet,
    /// Maximum clients whose lines are not in the sums.
    pub(super) pending_max: usize,
}

impl LazyDigest {
    /// Makes the digest of an empty table, with at most `pending_max` pending clients.
    pub(super) fn new(pending_max: usize) -> LazyDigest {
        LazyDigest { sums: Digest::new(), pending: ClientSet::default(), pending_max }
    }

    /// Adds the line of a new client.
    pub(super) fn add(&mut self, key: ClientKey, client: &[u8], line: &[u8]) {
        if self.has_room() {
            self.pending.insert(key);
        } else {
            self.sums.add(client, line);
        }
    }

    /// Replaces a client's line.
    #[inline]
    pub(super) fn replace(&mut self, key: ClientKey, client: &[u8], old: &[u8], new: &[u8]) {
        if self.has_room() {
            if self.pending.insert(key) {
                self.sums.remove(client, old);
            }
        } else if !self.pending.contains(key) {
            self.sums.replace(client, old, new);
        }
    }

    /// The number of pending clients.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether one more client may become pending.
    fn has_room(&self) -> bool {
        self.pending.len() < self.pending_max
    }

    /// Removes the line of a forgotten client.
    pub(super) fn remove(&mut self, key: ClientKey, client: &[u8], line: &[u8]) {
        if !self.pending.remove(key) {
            self.sums.remove(client, line);
        }
    }

    /// Returns the digest of all `lines`.
    pub(super) fn read(&mut self, lines: &LineStore) -> &Digest {
        self.settle(lines, usize::MAX);
        &self.sums
    }

    /// Adds the lines of up to `most` pending clients to the sums. Returns whether no client is pending any more.
    ///
    /// It reads the lines of a group first, so that their cache misses overlap.
    pub(super) fn settle(&mut self, lines: &LineStore, most: usize) -> bool {
        let LazyDigest { sums, pending, .. } = self;
        let mut left = most;
        let mut slots = Vec::with_capacity(GROUP);
        loop {
            let keys = std::iter::from_fn(|| pending.take_next()).take(GROUP.min(left));
            slots.extend(keys.map(|key| lines.slot(key)));
            if slots.is_empty() {
                return pending.len() == 0;
            }
            left -= slots.len();
            slots.iter().for_each(|&slot| lines.touch(slot));
            slots.drain(..).for_each(|slot| sums.add(lines.client(slot), lines.line(slot)));
        }
    }
}
