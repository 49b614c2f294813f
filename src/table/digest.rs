//! The digest: the whole table in few enough numbers to compare it with another server's.
//!
//! In: each line that is stored, overwritten or forgotten. Out: sums, at three levels. It knows neither the
//! meaning of the lines nor the [comparison](crate::replication::anti_entropy).
//!
//! ```text
//! state       1 sum    of all groups          if equal, both tables are equal and the comparison ends
//! groups    256 sums   each of its leaves     show which of 256 parts differ
//! leaves 65,536 sums   each of its lines      at a million clients, a leaf has fifteen
//! ```
//!
//! The idea: the hash of a line looks like a random number, and the sum of such numbers does
//! not depend on the order of arrival. So the sums are maintained, not recomputed: a line that replaces
//! another adds its hash and subtracts the other's, at all three levels, at once or later (`lazy_digest.rs`).
//!
//! The definition is fixed, so that servers in any language come to the same sums. With XXH3 (64 bits,
//! seed 0, default secret; the specification is public, at xxhash.com):
//!
//! * a client's leaf is the upper 16 bits of the XXH3 of its id, and its group the upper 8 of these;
//! * the hash of a line is the XXH3 of the AT line's bytes, without a delimiter;
//! * a leaf's sum is the sum of the hashes of its clients' lines, a group's the sum of its leaves, and the
//!   state the sum of the groups: modulo 2^64, and 0 if there is no line.
//!
//! One of 2^64 comparisons takes two different tables for equal. XXH3 is not a cryptographic hash: a client that
//! knows in what two servers differ can choose a report that hides the difference, as long as that report
//! is its latest. It would gain a stale line at one server; to sign every line would cost all clients more.

use crate::wire::sync_message::{GROUPS, LEAVES, LEAVES_IN_GROUP};
use twox_hash::XxHash3_64;

/// The sums over all lines. They take 512 KiB, of which the parts without clients are never touched.
#[derive(Clone)]
pub struct Digest {
    leaves: Vec<u64>,
    groups: Vec<u64>,
    state: u64,
}

/// Returns the leaf to which a client belongs, from 0 to [`LEAVES`] - 1.
pub fn leaf_of(client: &[u8]) -> usize {
    (XxHash3_64::oneshot(client) >> 48) as usize
}

impl Digest {
    pub(crate) fn new() -> Digest {
        Digest { leaves: vec![0; LEAVES], groups: vec![0; GROUPS], state: 0 }
    }

    /// Returns the sum of all lines.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// Returns the sums of the groups.
    pub fn groups(&self) -> &[u64] {
        &self.groups
    }

    /// Returns the sums of the leaves, group by group.
    pub fn leaves(&self) -> &[u64] {
        &self.leaves
    }

    /// Adds a client's line.
    pub(crate) fn add(&mut self, client: &[u8], line: &[u8]) {
        self.shift(leaf_of(client), hash(line));
    }

    /// Removes a client's line.
    pub(crate) fn remove(&mut self, client: &[u8], line: &[u8]) {
        self.shift(leaf_of(client), hash(line).wrapping_neg());
    }

    /// Replaces a client's line.
    pub(crate) fn replace(&mut self, client: &[u8], old: &[u8], new: &[u8]) {
        self.shift(leaf_of(client), hash(new).wrapping_sub(hash(old)));
    }

    fn shift(&mut self, leaf: usize, by: u64) {
        let group = leaf / LEAVES_IN_GROUP;
        for sum in [&mut self.leaves[leaf], &mut self.groups[group], &mut self.state] {
            *sum = sum.wrapping_add(by);
        }
        debug_assert_eq!(self.state, sum_of(&self.groups));
        debug_assert_eq!(
            self.groups[group],
            sum_of(&self.leaves[group * LEAVES_IN_GROUP..][..LEAVES_IN_GROUP])
        );
    }
}

/// Computes the sum of `parts`, modulo 2^64.
fn sum_of(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.wrapping_add(*part))
}

fn hash(line: &[u8]) -> u64 {
    XxHash3_64::oneshot(line)
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:016x})", self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIWI: (&[u8], &[u8]) = (b"kiwi", b"AT Alford +0.5 kiwi +1+1 5");
    const FIG: (&[u8], &[u8]) = (b"fig", b"AT Welsh +0.25 fig +2+2 5");

    fn digest(lines: &[(&[u8], &[u8])]) -> Digest {
        let mut digest = Digest::new();
        lines.iter().for_each(|(client, line)| digest.add(client, line));
        digest
    }

    /// These numbers are part of the protocol: every implementation must compute the same.
    #[test]
    fn the_numbers_are_fixed() {
        assert_eq!(Digest::new().state(), 0);
        assert_eq!(leaf_of(b"kiwi"), 0xdfed);
        assert_eq!(leaf_of(b"fig"), 0x8b33);
        assert_eq!(hash(KIWI.1), 0x5699_5060_ef04_55b4);
        assert_eq!(hash(FIG.1), 0x9d7a_0363_6054_53d4);
        assert_eq!(digest(&[KIWI, FIG]).state(), 0xf413_53c4_4f58_a988);
    }

    #[test]
    fn the_order_does_not_matter_and_each_level_is_the_sum_of_the_one_below() {
        let digests = [digest(&[KIWI, FIG]), digest(&[FIG, KIWI])];
        for digest in &digests {
            assert_eq!(digest.state(), hash(KIWI.1).wrapping_add(hash(FIG.1)));
            assert_eq!(digest.leaves()[leaf_of(b"kiwi")], hash(KIWI.1));
            assert_eq!(digest.groups()[leaf_of(b"fig") / LEAVES_IN_GROUP], hash(FIG.1));
            let sum = |sums: &[u64]| sums.iter().copied().fold(0, u64::wrapping_add);
            assert_eq!(sum(digest.groups()), digest.state());
            assert_eq!(sum(digest.leaves()), digest.state());
        }
    }

    #[test]
    fn what_is_written_over_or_forgotten_leaves_no_trace() {
        let mut digest = digest(&[KIWI]);
        let newer = b"AT Alford +0.5 kiwi +1+1 6";
        digest.replace(KIWI.0, KIWI.1, newer);
        assert_eq!(digest.state(), hash(newer));
        digest.add(FIG.0, FIG.1);
        digest.remove(KIWI.0, newer);
        assert_eq!(digest.state(), hash(FIG.1));
        digest.remove(FIG.0, FIG.1);
        assert!(digest.leaves().iter().chain(digest.groups()).all(|&sum| sum == 0));
    }
}
