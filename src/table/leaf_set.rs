//! A set of leaves of the [digest](super::digest), as bits: which parts of the table a neighbour lacks.
//!
//! In: rows of 32 leaves. Out: one row at a time, going round. It does not know what a leaf's sum is.

use crate::wire::sync_message::{LEAVES, LEAVES_IN_GROUP, ROW};

/// Some of all leaves: 8 KiB, which are held only while there are any.
#[derive(Clone, Default)]
pub struct LeafSet {
    /// Leaf `32 r + n` is bit `n` of row `r`. None or all rows.
    rows: Vec<u32>,
    /// How many rows have bits.
    count: usize,
    /// The row to look at next.
    next: usize,
}

impl LeafSet {
    const ROWS: usize = LEAVES / ROW;

    /// Is no leaf in it?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Is this leaf in it?
    pub fn contains(&self, leaf: usize) -> bool {
        self.rows.get(leaf / ROW).is_some_and(|row| row >> (leaf % ROW) & 1 != 0)
    }

    pub(crate) fn insert(&mut self, row: usize, bits: u32) {
        if bits == 0 {
            return;
        }
        if self.rows.is_empty() {
            self.rows = vec![0; LeafSet::ROWS];
            self.next = 0;
        }
        self.count += usize::from(self.rows[row] == 0);
        self.rows[row] |= bits;
    }

    pub(crate) fn insert_group(&mut self, group: usize) {
        const ROWS_IN_GROUP: usize = LEAVES_IN_GROUP / ROW;
        let first = group * ROWS_IN_GROUP;
        (first..first + ROWS_IN_GROUP).for_each(|row| self.insert(row, u32::MAX));
    }

    /// Takes a row that has bits, going round; the last one taken gives the memory back.
    pub(crate) fn take_row(&mut self) -> Option<(usize, u32)> {
        if self.is_empty() {
            return None;
        }
        while self.rows[self.next] == 0 {
            self.next = (self.next + 1) % LeafSet::ROWS;
        }
        let taken = (self.next, std::mem::take(&mut self.rows[self.next]));
        self.count -= 1;
        if self.is_empty() {
            debug_assert!(self.rows.iter().all(|row| *row == 0));
            self.rows = Vec::new();
        }
        Some(taken)
    }
}

impl std::fmt::Debug for LeafSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeafSet({} rows)", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl LeafSet {
        /// Whether it holds no memory: empty is not enough.
        pub(crate) fn holds_nothing(&self) -> bool {
            self.rows.is_empty()
        }
    }

    #[test]
    fn the_last_row_taken_gives_the_memory_back() {
        let mut leaves = LeafSet::default();
        leaves.insert(7, 1);
        leaves.insert(3, 2);
        assert!(!leaves.holds_nothing());
        assert_eq!((leaves.take_row(), leaves.holds_nothing()), (Some((3, 2)), false));
        assert_eq!((leaves.take_row(), leaves.holds_nothing()), (Some((7, 1)), true));
    }
}
