//! The comparison: two linked servers find out which lines each of them lacks, without sending their tables.
//!
//! In: the neighbour's sums, and our [digest](crate::table::digest). Out: the lines to send next, and the leaves of
//! which the neighbour lacks lines. It knows no client's line and no connection: [`neighbours`](super::neighbours)
//! sends its output, and the server's sweep finds the lines.
//!
//! ```text
//!         dialler                              listener
//!            │ ── SYNC state ───────────────────▶ │   equal? nothing more
//!            │ ◀─────────────── GROUPS, 8 rows ── │
//!   differ?  │ ── LEAVES, 8 rows a group ───────▶ │   differ?
//!            │ ◀────────────────── WANT leaves ── │
//!            │ ◀── AT lines of these leaves ────▶ │
//! ```
//!
//! If one side has no clients in a group, or if the server that compares the groups has so few clients that its
//! lines are shorter than their sums, the leaves are skipped: the whole group is sent, requested, or both. So a small
//! herd transfers little more than its differences, and a server that starts empty receives all lines after a short
//! exchange.
//!
//! Each line is compared with the sums at the time of its arrival. That is enough: equal sums,
//! even if computed at two different times, show that each side knew at its time what the other knew at its own.
//! So the comparison finds all differences from before the link; later news is flooded in any case. A repeated
//! comparison does no harm.
//!
//! Lines to send are remembered as bits, at most 25 KiB for any input from the neighbour,
//! and sent while there is room; a repeated request meanwhile is answered once.
//!
//! Source: docs/protocol.md "Meeting". The models are the anti-entropy of Demers et al. 1987, which compares
//! checksums first, and the hash trees of later systems; two levels are enough for a table in memory.

use crate::table::digest::Digest;
use crate::table::leaf_set::LeafSet;
use crate::wire::sync_message::{
    DigestRow, GROUPS, Marks, ROW, SyncMessage, write_groups, write_leaves, write_sync, write_want,
};

/// A server with at most this many clients has about 16 in a group: their lines are shorter than
/// the sums of the group's leaves.
const FEW_CLIENTS: usize = 16 * GROUPS;

/// The state of the comparison with one neighbour.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Whether to send SYNC.
    sync: bool,
    /// The rows of our groups to send: bit `n` is row `n`.
    groups: u8,
    /// Our leaves with sums to send; always whole rows.
    tell: LeafSet,
    /// The leaves with lines to request from the neighbour.
    ask: LeafSet,
    /// The leaves with lines to send to the neighbour.
    give: LeafSet,
    /// Whether the neighbour has sent a line since the last call of [`Comparison::is_at_rest`].
    heard: bool,
}

const _: () = assert!(GROUPS / ROW == u8::BITS as usize && ROW == u32::BITS as usize);

impl Comparison {
    /// Starts a comparison: our SYNC is due.
    pub fn begin(&mut self) {
        self.sync = true;
    }

    /// Whether there is nothing left to send: neither lines of the comparison nor lines of leaves.
    pub fn is_idle(&self) -> bool {
        !self.has_words() && self.give.is_empty()
    }

    /// Whether there is a line of the comparison to send.
    pub fn has_words(&self) -> bool {
        self.sync || self.groups != 0 || !self.tell.is_empty() || !self.ask.is_empty()
    }

    /// Whether the comparison is idle, and the neighbour has sent no line of one since the last call. On a slow link
    /// the rest of a comparison may take longer than the pause before the next one.
    pub fn is_at_rest(&mut self) -> bool {
        !std::mem::take(&mut self.heard) && self.is_idle()
    }

    /// Handles a line of the neighbour. `digest`: our current sums; `clients`: our number of clients.
    pub fn hear(&mut self, line: SyncMessage<'_>, digest: &Digest, clients: usize) {
        self.heard = true;
        match line {
            SyncMessage::Sync(state) if state == digest.state() => {}
            SyncMessage::Sync(_) => self.groups = u8::MAX,
            SyncMessage::Groups(row) => self.hear_groups(row, digest, clients <= FEW_CLIENTS),
            SyncMessage::Leaves(row) => self.hear_leaves(row, digest),
            SyncMessage::Want(marks) => self.give.insert(marks.first / ROW, marks.bits),
        }
    }

    fn hear_groups(&mut self, row: DigestRow<'_>, digest: &Digest, few: bool) {
        for (group, theirs) in (row.first..).zip(row.sums()) {
            let ours = digest.groups()[group];
            if ours == theirs {
                continue;
            }
            if ours != 0 && theirs != 0 && !few {
                self.tell.insert_group(group);
                continue;
            }
            if ours != 0 {
                self.give.insert_group(group);
            }
            if theirs != 0 {
                self.ask.insert_group(group);
            }
        }
    }

    fn hear_leaves(&mut self, row: DigestRow<'_>, digest: &Digest) {
        let ours = &digest.leaves()[row.first..];
        let (mut give, mut ask) = (0, 0);
        for (n, (theirs, &ours)) in row.sums().zip(ours).enumerate() {
            let differ = u32::from(ours != theirs);
            give |= (differ & u32::from(ours != 0)) << n;
            ask |= (differ & u32::from(theirs != 0)) << n;
        }
        self.give.insert(row.first / ROW, give);
        self.ask.insert(row.first / ROW, ask);
    }

    /// Appends the next line to send, without a delimiter; returns whether there was one. It has at most
    /// [`ROW_LINE_BYTES_MAX`](crate::wire::sync_message::ROW_LINE_BYTES_MAX) bytes.
    pub fn write_next(&mut self, digest: &Digest, out: &mut Vec<u8>) -> bool {
        if std::mem::take(&mut self.sync) {
            write_sync(out, digest.state());
        } else if self.groups != 0 {
            write_groups(out, digest.groups(), self.groups.trailing_zeros() as usize);
            self.groups &= self.groups - 1;
        } else if let Some((row, bits)) = self.ask.take_row() {
            write_want(out, Marks { first: row * ROW, bits });
        } else if let Some((row, _)) = self.tell.take_row() {
            write_leaves(out, digest.leaves(), row);
        } else {
            return false;
        }
        true
    }

    /// Takes the leaves of which the neighbour lacks lines. The caller has to send those lines.
    pub fn take_given(&mut self) -> LeafSet {
        std::mem::take(&mut self.give)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::digest::leaf_of;
    use crate::wire::command::{Command, CommandLimits};
    use crate::wire::sync_message::{LEAVES, ROW_LINE_BYTES_MAX};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// One side of a comparison: its lines, and its state.
    #[derive(Default)]
    struct Side {
        lines: BTreeMap<String, u32>,
        comparison: Comparison,
    }

    impl Side {
        fn digest(&self) -> Digest {
            let mut digest = Digest::new();
            for (client, version) in &self.lines {
                digest.add(client.as_bytes(), line(client, *version).as_bytes());
            }
            digest
        }

        fn hear(&mut self, line: &[u8], digest: &Digest, clients: usize) {
            match Command::parse(line, &CommandLimits::default()) {
                Ok(Command::Compare(said)) => self.comparison.hear(said, digest, clients),
                other => panic!("{}: {other:?}", line.escape_ascii()),
            }
        }

        fn take_given(&mut self) -> BTreeMap<String, u32> {
            let leaves = self.comparison.take_given();
            let given =
                self.lines.iter().filter(|(client, _)| leaves.contains(leaf_of(client.as_bytes())));
            given.map(|(client, version)| (client.clone(), *version)).collect()
        }

        fn merge(&mut self, lines: BTreeMap<String, u32>) {
            for (client, version) in lines {
                let known = self.lines.entry(client).or_default();
                *known = version.max(*known);
            }
        }
    }

    fn line(client: &str, version: u32) -> String {
        format!("AT Alford +0.5 {client} +1+1 {version}")
    }

    /// Runs the conversation until neither side has a line to send. Returns the number of lines, and of bytes.
    fn converse(sides: &mut [Side; 2], clients: usize) -> (usize, usize) {
        let digests = [sides[0].digest(), sides[1].digest()];
        let (mut lines, mut bytes) = (0, 0);
        sides[0].comparison.begin();
        while let Some(speaker) = sides.iter().position(|side| side.comparison.has_words()) {
            let mut line = Vec::new();
            assert!(sides[speaker].comparison.write_next(&digests[speaker], &mut line));
            assert!(line.len() <= ROW_LINE_BYTES_MAX);
            (lines, bytes) = (lines + 1, bytes + line.len() + 1);
            sides[1 - speaker].hear(&line, &digests[1 - speaker], clients);
        }
        (lines, bytes)
    }

    fn both(lines: &[(String, u32)]) -> [Side; 2] {
        [(); 2].map(|()| Side { lines: lines.iter().cloned().collect(), ..Side::default() })
    }

    fn clients(count: usize) -> Vec<(String, u32)> {
        (0..count).map(|n| (format!("client-{n}"), 5)).collect()
    }

    #[test]
    fn equal_tables_cost_one_line() {
        for count in [0, 1, 1_000] {
            let mut sides = both(&clients(count));
            assert_eq!(converse(&mut sides, count), (1, "SYNC 0123456789abcdef\n".len()));
            assert!(sides.iter().all(|side| side.comparison.is_idle()));
        }
    }

    #[test]
    fn one_difference_among_many_clients_costs_one_group_and_one_leaf() {
        let mut sides = both(&clients(10_000));
        sides[1].lines.insert("client-77".to_owned(), 6);
        // SYNC, 8 rows of groups, 8 rows of leaves, WANT.
        let (lines, bytes) = converse(&mut sides, 10_000);
        assert_eq!(lines, 18);
        assert!(bytes < 9_000, "{bytes}");
        let leaf = leaf_of(b"client-77");
        for side in &mut sides {
            let given = side.take_given();
            assert_eq!(given.keys().filter(|client| leaf_of(client.as_bytes()) != leaf).count(), 0);
            assert!(given.contains_key("client-77"));
            assert!(side.comparison.is_idle());
        }
    }

    #[test]
    fn an_empty_side_is_given_all_lines_and_asked_for_none() {
        let all = clients(10_000);
        for empty in [0, 1] {
            let mut sides = both(&all);
            sides[empty].lines.clear();
            let (lines, _) = converse(&mut sides, 10_000);
            // If the empty side was the listener, its groups already show everything.
            assert_eq!(lines, if empty == 1 { 9 } else { 9 + LEAVES / ROW });
            assert!(sides[empty].take_given().is_empty());
            assert_eq!(sides[1 - empty].take_given().len(), all.len());
        }
    }

    #[test]
    fn few_clients_are_compared_without_their_leaves() {
        let mut sides = both(&clients(200));
        sides[0].lines.insert("fig".to_owned(), 6);
        sides[1].lines.insert("client-7".to_owned(), 6);
        // SYNC, 8 rows of groups, and 8 rows of WANT for each group; that of fig may be empty.
        let (lines, bytes) = converse(&mut sides, 200);
        assert!(lines <= 9 + 2 * 8, "{lines}");
        assert!(bytes < 5_000, "{bytes}");
        assert!(sides[0].take_given().contains_key("fig"));
        assert!(sides[1].take_given().contains_key("client-7"));
    }

    #[test]
    fn it_is_at_rest_when_nothing_was_received_since_the_last_call() {
        let digest = both(&clients(10))[0].digest();
        let mut side = Side::default();
        assert!(side.comparison.is_at_rest());
        side.hear(b"SYNC 0123456789abcdef", &digest, 10);
        assert!(!side.comparison.is_at_rest(), "GROUPS is still to be sent");
        while side.comparison.write_next(&digest, &mut Vec::new()) {}
        assert!(side.comparison.is_at_rest(), "everything is sent, and nothing was received");
        side.hear(format!("GROUPS 00 {}", "0".repeat(16 * ROW)).as_bytes(), &digest, 0);
        side.comparison.take_given();
        assert!(side.comparison.is_idle());
        assert!(!side.comparison.is_at_rest(), "seven more may follow");
        assert!(side.comparison.is_at_rest());
    }

    #[test]
    fn a_repeated_line_is_answered_once() {
        let digest = both(&clients(1_000))[0].digest();
        let mut side = Side::default();
        for round in 0..3_000 {
            side.hear(format!("SYNC {round:016x}").as_bytes(), &digest, 10_000);
            for (name, first) in [("GROUPS", "20"), ("LEAVES", "0400")] {
                let sums = format!("{round:016x}").repeat(ROW);
                side.hear(format!("{name} {first} {sums}").as_bytes(), &digest, 10_000);
            }
            side.hear(b"WANT ffe0 ffffffff", &digest, 10_000);
        }
        let mut said = 0;
        while side.comparison.write_next(&digest, &mut Vec::new()) {
            said += 1;
        }
        // Eight rows of groups, the leaves of 32 groups, and WANT rows.
        assert!(said <= 8 + 32 * 8 + 32 * 8, "{said}");
        assert!(!side.comparison.take_given().is_empty());
        assert!(side.comparison.tell.holds_nothing() && side.comparison.ask.holds_nothing());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A single comparison finds every difference, whichever side knows which lines.
        #[test]
        fn after_one_comparison_both_tables_are_equal(
            shared in 0..300usize,
            one in prop::collection::btree_map("[a-c]{1,4}|client-[0-9]{1,2}", 1..9u32, 0..40),
            other in prop::collection::btree_map("[a-c]{1,4}|client-[0-9]{1,2}", 1..9u32, 0..40),
            many: bool,
        ) {
            let mut sides = both(&clients(shared));
            sides[0].lines.extend(one);
            sides[1].lines.extend(other);
            converse(&mut sides, if many { FEW_CLIENTS + 1 } else { FEW_CLIENTS });
            let given = sides.each_mut().map(Side::take_given);
            for (n, lines) in given.into_iter().enumerate() {
                sides[1 - n].merge(lines);
            }
            prop_assert_eq!(&sides[0].lines, &sides[1].lines);
            prop_assert!(sides.iter().all(|side| side.comparison.is_idle()));
        }
    }
}
