//! Which replies wait for the bus, with `ack = "bus"`: by the turn, as those that wait for a neighbour ([`super::acks`]).
//!
//! In: the clients whose reports a batch waits for, and the writes that the bus has acknowledged. Out: the last batch
//! whose reports the bus has, and those of all batches before it. It knows neither connections nor clocks.
//!
//! The idea: of each client only its earliest and its latest batch are kept. A write carries the client's line as it is
//! when it is sent, so its acknowledgement is worth as much for all batches up to then. In between, the client waits with
//! the batch that follows; that is later than needed at times, and never too early.

use crate::table::ClientKey;
use std::collections::{BTreeMap, BTreeSet};

/// The clients whose reports are waited for; see the head of this file.
#[derive(Debug, Default)]
pub(super) struct PutWaits {
    /// The earliest and the latest batch that wait for each client.
    of: BTreeMap<ClientKey, (u64, u64)>,
    /// The clients, by their earliest batch.
    by_batch: BTreeSet<(u64, ClientKey)>,
}

impl PutWaits {
    /// `batch`, the latest so far, waits for the client's report.
    pub(super) fn wait(&mut self, key: ClientKey, batch: u64) {
        let (_, latest) = self.of.entry(key).or_insert_with(|| {
            self.by_batch.insert((batch, key));
            (batch, batch)
        });
        *latest = batch;
    }

    /// The bus has the client's line as it was in `batch`, or a newer one.
    pub(super) fn settled(&mut self, key: ClientKey, batch: u64) {
        let Some(&(earliest, latest)) = self.of.get(&key) else { return };
        if batch < earliest {
            return;
        }
        self.by_batch.remove(&(earliest, key));
        if batch < latest {
            self.of.insert(key, (batch + 1, latest));
            self.by_batch.insert((batch + 1, key));
        } else {
            self.of.remove(&key);
        }
        debug_assert_eq!(self.of.len(), self.by_batch.len());
    }

    /// No reply of `batch` or of an earlier one waits any more.
    pub(super) fn give_up(&mut self, batch: u64) {
        while let Some(&(_, key)) = self.by_batch.first().filter(|(earliest, _)| *earliest <= batch)
        {
            self.settled(key, batch);
        }
    }

    /// The earliest batch that waits.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.by_batch.first().map(|(batch, _)| *batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn kiwi() -> ClientKey {
        ClientKey::new(0)
    }

    fn fig() -> ClientKey {
        ClientKey::new(1)
    }

    #[test]
    fn a_batch_waits_for_each_of_its_clients() {
        let mut waits = PutWaits::default();
        waits.wait(kiwi(), 1);
        waits.wait(fig(), 1);
        waits.wait(kiwi(), 2);
        waits.settled(kiwi(), 1);
        assert_eq!(waits.earliest(), Some(1));
        waits.settled(fig(), 1);
        assert_eq!(waits.earliest(), Some(2));
        waits.settled(kiwi(), 5);
        assert_eq!(waits.earliest(), None);
    }

    #[test]
    fn a_batch_that_was_given_up_holds_no_other_back() {
        let mut waits = PutWaits::default();
        waits.wait(kiwi(), 1);
        waits.wait(kiwi(), 4);
        waits.wait(fig(), 2);
        waits.give_up(2);
        assert_eq!(waits.earliest(), Some(3), "fig is given up, kiwi waits with a later batch");
        waits.give_up(4);
        assert_eq!(waits.earliest(), None);
    }

    proptest! {
        /// Never is a batch let go while one of its reports is neither acknowledged nor given up.
        #[test]
        fn no_batch_leaves_too_early(
            steps in prop::collection::vec((0..3usize, 0..4usize, any::<bool>()), 0..200),
        ) {
            let (mut waits, mut model, mut batch) = (PutWaits::default(), BTreeSet::new(), 0_u64);
            for (what, client, is_new_batch) in steps {
                let key = ClientKey::new(client);
                batch += u64::from(is_new_batch);
                match what {
                    0 => {
                        waits.wait(key, batch);
                        model.insert((batch, key));
                    }
                    1 => {
                        let until = batch.saturating_sub(client as u64);
                        waits.settled(key, until);
                        model.retain(|(waiting, its)| *its != key || *waiting > until);
                    }
                    _ => {
                        let until = batch.saturating_sub(2 + client as u64);
                        waits.give_up(until);
                        model.retain(|(waiting, _)| *waiting > until);
                    }
                }
                let first = model.first().map(|(batch, _)| *batch);
                prop_assert!(waits.earliest().is_some() == first.is_some());
                prop_assert!(waits.earliest() <= first);
            }
        }
    }
}
