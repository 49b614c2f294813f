//! A set of leaves of the [digest](super::digest), one bit each: the parts of the table that a neighbour lacks.
//!
//! In: rows of 32 leaves. Out: one row at a time, round-robin. It knows nothing of the leaves' sums.

use crate::wire::sync_message::{LEAVES, LEAVES_IN_GROUP, ROW};

/// A set of leaves. It takes 8 KiB while it is not empty, and no memory while it is.
#[derive(Clone, Default)]
pub struct LeafSet {
    /// Leaf `32 r + n` is bit `n` of row `r`. The vector holds all rows or, if the set is empty, none.
    rows: Vec<u32>,
    /// The number of rows with bits set.
    count: usize,
    /// The row at which the next search starts.
    next: usize,
}

impl LeafSet {
    const ROWS: usize = LEAVES / ROW;

    /// Whether the set has no leaf.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the set contains this leaf.
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

    /// Takes the next row that has bits, round-robin. When the last row is taken, the memory is freed.
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
        /// Whether the set holds no memory.
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
