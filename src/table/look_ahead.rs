//! Finds the clients of several reports before they are merged, so that the cache misses overlap.
//!
//! In: the ids in the lines that will be merged next. Out: their slots. [`Table::merge`] compares each slot's id with
//! the report's, and searches the index if it differs. So a look-ahead never changes an outcome.
//!
//! The idea: with a million clients the search for one waits for memory three times, each time for an address that
//! the wait before has brought: a part of the index, its entry, the line. The searches for different clients do not
//! depend on each other, and here nothing stands between them, so the processor waits for several at the same time.

use super::Table;
use super::store::Slot;
use std::hint::black_box;
use std::mem;

impl Table {
    /// Finds the clients of the reports that will be merged next, in this order.
    pub fn look_ahead<'a>(&mut self, clients: impl Iterator<Item = &'a [u8]>) {
        let mut ahead = mem::take(&mut self.ahead);
        ahead.clear();
        // The first slot with a similar hash is nearly always the right one.
        ahead.extend(clients.filter_map(|client| self.index.find(self.hash(client), |_| true)));
        ahead.reverse();
        // Most lines take two cache lines: one has the header, the other the last byte.
        let lasts = ahead.iter().map(|&slot| self.lines.line(slot).last().unwrap_or(&0));
        black_box(lasts.fold(0, |all, last| all ^ last));
        self.ahead = ahead;
    }

    /// Returns the slot of `client` if it is among those that were found ahead. It and those before it are then dropped.
    #[inline]
    pub(super) fn found_ahead(&mut self, client: &[u8]) -> Option<Slot> {
        let at = self.ahead.iter().rposition(|&slot| self.lines.client(slot) == client)?;
        let slot = self.ahead[at];
        self.ahead.truncate(at);
        Some(slot)
    }
}
