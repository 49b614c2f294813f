//! The table: every client's latest report.
//!
//! In: reports, and by whose word they come. Out: an outcome, from which the caller
//! knows what to tell whom. There is no connection in here, no clock and no name of a server: who
//! the neighbours are, when to write to them and what a client is answered, others decide.
//!
//! The idea: newest wins, and what "newest" means is one total order: the stamp, then the line.
//! Merging is therefore commutative, associative and idempotent, and servers that have seen the
//! same reports, in whatever order and however often, hold the same lines.
//!
//! A client is found by its id through a hash index of keys; a key is the client's number in the
//! order of coming, and stays. The key of a client that is forgotten goes to the next new one, so
//! keys are dense, and both going through the table and [`Backlogs`]'s bits are in that order. The hash is
//! seeded throughout, as ids are chosen by strangers.
//!
//! What is forgotten is a pure function of the stamp: below the [oldest](Table::set_oldest) that is
//! allowed, a report is not taken, whoever brings it, and not served. So nobody can bring back what
//! has been forgotten, and no server need remember that it was. The same holds above the
//! [newest](Table::set_newest): a stamp far ahead would beat all honest ones of its client for as long.
//!
//! The [`Digest`] of all lines follows every change, so that two servers can compare what they know.

pub mod backlog;
pub mod digest;
mod index;
pub mod leaf_set;
mod store;

use std::cmp::Ordering;
use std::hash::Hasher;
use std::ops::Range;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

pub use self::store::ClientKey;

use self::backlog::{BacklogId, Backlogs};
use self::digest::{Digest, leaf_of};
use self::index::Index;
use self::leaf_set::LeafSet;
use self::store::{LineStore, Slot};
use crate::wire::report::{Report, Stored};
use crate::wire::stamp::Stamp;

/// How many clients a table knows before a new one is refused, unless it is told otherwise.
pub const CLIENTS_MAX: usize = 1_000_000;

/// By whose word a report comes, and so what it takes to replace the one stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOrigin {
    /// A client's IAMAT, taken by this server: the total order, but a report of the stamp and location
    /// already stored is nothing new, though the line would differ by server and difference.
    Client,
    /// Another server's AT: the total order.
    Server,
    /// A plain neighbour's AT: a strictly newer stamp, as it may have put its own name into a line
    /// it only passed on.
    Plain,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeOutcome {
    /// Stored: nothing was known of this client.
    First,
    /// Stored: it replaced what was known of this client.
    Newer,
    /// Not stored: it says what was known.
    Same,
    /// Not stored: something newer is known.
    Older,
    /// Not stored: the client is new and there is no room for new ones ([`ReportOrigin::Client`]); or there is none
    /// for lines at all, whoever brings one: they may take 8 GiB.
    Full,
    /// Not stored: it is older than the [oldest allowed](Table::set_oldest).
    Expired,
    /// Not stored: it is further ahead than the [newest allowed](Table::set_newest).
    Ahead,
}

impl MergeOutcome {
    /// Is it stored now, and so to be passed on?
    pub fn is_news(self) -> bool {
        matches!(self, MergeOutcome::First | MergeOutcome::Newer)
    }
}

/// Every client's latest report, and which of them each owner of a backlog has not been sent yet.
pub struct Table {
    /// The backlogs. Merging does not touch them; who passes news on does.
    pub backlogs: Backlogs,
    lines: LineStore,
    /// The sums of all lines.
    digest: Digest,
    /// Reports before this are none,
    oldest: Stamp,
    /// and those after this.
    newest: Stamp,
    /// Where a client's line is, by its id.
    index: Index,
    hash_seed: u64,
    hash_constants: SharedSeed,
    clients_max: usize,
    bytes_max: usize,
}

impl Table {
    /// A table of no clients.
    ///
    /// `seed`: random, and kept from clients: who knows it can choose ids that collide.
    pub fn new(seed: u64) -> Table {
        Table {
            backlogs: Backlogs::default(),
            lines: LineStore::default(),
            digest: Digest::new(),
            oldest: Stamp(0),
            newest: Stamp(u64::MAX),
            index: Index::default(),
            hash_seed: seed,
            hash_constants: SharedSeed::from_u64(seed),
            clients_max: CLIENTS_MAX,
            bytes_max: usize::MAX,
        }
    }

    /// The same, with another limit than [`CLIENTS_MAX`] for what clients may add.
    ///
    /// Other servers' clients count towards it, but are never refused.
    pub fn with_clients_max(self, clients_max: usize) -> Table {
        Table { clients_max, ..self }
    }

    /// The same, with a limit on the memory for their lines, in bytes: for what clients may add. An id
    /// may be long, so that a number of clients is no limit on it.
    pub fn with_bytes_max(self, bytes_max: usize) -> Table {
        Table { bytes_max, ..self }
    }

    /// From now on no report before `oldest` is taken or served. It may go back again: what is still
    /// stored is served again then.
    pub fn set_oldest(&mut self, oldest: Stamp) {
        self.oldest = oldest;
    }

    /// From now on no report after `newest` is taken or served, nor does one that is still stored beat
    /// any other. It may go forward again: what is still stored is served again then.
    pub fn set_newest(&mut self, newest: Stamp) {
        self.newest = newest;
    }

    fn has_room(&self, report: &Report<'_>) -> bool {
        let has_memory = self.lines.memory() < self.bytes_max || self.lines.has_slot_for(report);
        self.len() < self.clients_max && has_memory
    }

    /// Takes a report in, if it is news.
    ///
    /// Returns the client's key, unless nothing became of it ([`MergeOutcome::Full`], [`MergeOutcome::Expired`],
    /// [`MergeOutcome::Ahead`]).
    /// A known client's line is written over in place; memory is allocated for a new client or a
    /// longer line only.
    /// With every doubling a ninth of the index is built anew.
    /// Source: report.txt section 3.3; docs/protocol.md "Peer port", "A plain neighbour".
    pub fn merge(
        &mut self,
        report: &Report<'_>,
        origin: ReportOrigin,
    ) -> (Option<ClientKey>, MergeOutcome) {
        if report.stamp() < self.oldest {
            return (None, MergeOutcome::Expired);
        }
        if report.stamp() > self.newest {
            return (None, MergeOutcome::Ahead);
        }
        let client = report.client();
        let hash = self.hash(client);
        let leaf = self.digest.leaf(client);
        let Some(slot) = self.index.find_mut(hash, |&slot| self.lines.client(slot) == client)
        else {
            if origin == ReportOrigin::Client && !self.has_room(report) {
                return (None, MergeOutcome::Full);
            }
            let key = self.admit(hash, report);
            return (key, key.map_or(MergeOutcome::Full, |_| MergeOutcome::First));
        };
        let (header, stored) = self.lines.stored(*slot);
        let outcome = match origin.outcome(report, &stored) {
            MergeOutcome::Older if lies_after(self.newest, &self.lines, *slot) => {
                MergeOutcome::Newer
            }
            outcome => outcome,
        };
        if outcome == MergeOutcome::Newer {
            self.digest.replace(leaf, stored.line(), report.line());
            let Some(now) = self.lines.replace(*slot, header, report) else {
                let leaf = self.digest.leaf(client);
                self.digest.replace(leaf, report.line(), self.lines.line(*slot));
                return (None, MergeOutcome::Full);
            };
            *slot = now;
        }
        (Some(header.key), outcome)
    }

    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Is no client known?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is this client known, and its report of an allowed time?
    pub fn knows(&self, client: &[u8]) -> bool {
        self.latest(client).is_some()
    }

    /// The latest report of a client; `None` if there was none, or it is older than the
    /// [oldest allowed](Table::set_oldest) or further ahead than the [newest](Table::set_newest).
    pub fn latest(&self, client: &[u8]) -> Option<Report<'_>> {
        let report = self.find(client).map(|slot| self.lines.report(slot));
        report.filter(|report| (self.oldest..=self.newest).contains(&report.stamp()))
    }

    /// The latest report of the client with this key.
    pub fn report(&self, key: ClientKey) -> Report<'_> {
        self.lines.report(self.lines.slot(key))
    }

    /// The latest AT line of the client with this key, without a delimiter.
    pub fn line(&self, key: ClientKey) -> &[u8] {
        self.lines.line(self.lines.slot(key))
    }

    /// The line of the client whose key is `index`, below [`keys`](Table::keys); `None` if no client has
    /// it at present.
    pub fn line_of(&self, index: usize) -> Option<&[u8]> {
        self.lines.find(index).map(|slot| self.lines.line(slot))
    }

    /// All clients with their latest reports, in the order of their keys; also those whose time is not allowed
    /// any more and that are not yet [forgotten](Table::forget_before).
    pub fn iter(&self) -> impl Iterator<Item = (ClientKey, Report<'_>)> {
        let stored = (0..self.keys()).filter_map(|index| self.lines.find(index));
        stored.map(|slot| (self.lines.key(slot), self.lines.report(slot)))
    }

    /// How many keys there are, those that no client has at present included: the end of the range
    /// through which to go in slices.
    pub fn keys(&self) -> usize {
        self.lines.keys()
    }

    /// The lengths of all lines together, in bytes: equal at servers that know the same.
    pub fn line_bytes(&self) -> usize {
        self.lines.line_bytes()
    }

    /// The memory that the lines take in bytes, with their headers and what they have to spare.
    pub fn slot_bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// The sums of all lines, to compare with another server's.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// One number for all that is stored: equal at servers that know the same. 0: nothing is.
    pub fn state_hash(&self) -> u64 {
        self.digest.state()
    }

    /// The owner may lack every client's line. Takes time for each 64 clients.
    pub fn mark_all(&mut self, id: BacklogId) {
        self.backlogs.mark_all(id, self.lines.unused());
    }

    /// Of the clients with `keys`, marks in each backlog of `wanted` those whose
    /// [leaf](self::digest::leaf_of) is in its set. Takes time for each key.
    pub fn mark_leaves<'a>(
        &mut self,
        wanted: impl Iterator<Item = (BacklogId, &'a LeafSet)> + Clone,
        keys: Range<usize>,
    ) {
        for slot in keys.filter_map(|index| self.lines.find(index)) {
            let leaf = leaf_of(self.lines.client(slot));
            for (id, _) in wanted.clone().filter(|(_, leaves)| leaves.contains(leaf)) {
                self.backlogs.mark(id, self.lines.key(slot));
            }
        }
    }

    /// Forgets the clients with `keys` whose latest report is before `oldest`: how many. They
    /// leave every backlog, and their keys are for others. Takes time for each key.
    pub fn forget_before(&mut self, oldest: Stamp, keys: Range<usize>) -> usize {
        self.forget_all(keys, |stamp| stamp < oldest)
    }

    /// The same of those whose latest report is after `newest`.
    pub fn forget_after(&mut self, newest: Stamp, keys: Range<usize>) -> usize {
        self.forget_all(keys, |stamp| stamp > newest)
    }

    fn forget_all(&mut self, keys: Range<usize>, which: impl Fn(Stamp) -> bool) -> usize {
        let before = self.len();
        for index in keys {
            let Some(slot) = self.lines.find(index) else { continue };
            if which(self.lines.report(slot).stamp()) {
                self.forget(slot);
            }
        }
        before - self.len()
    }

    fn forget(&mut self, slot: Slot) {
        let report = self.lines.report(slot);
        self.digest.remove(report.client(), report.line());
        let hash = self.hash(report.client());
        self.index.remove(hash, slot);
        self.backlogs.forget_client(self.lines.key(slot));
        self.lines.forget(slot);
        debug_assert_eq!(self.index.len(), self.len());
    }

    fn find(&self, client: &[u8]) -> Option<Slot> {
        self.index.find(self.hash(client), |&slot| self.lines.client(slot) == client)
    }

    /// Stores the line of a new client, if there is room for it.
    fn admit(&mut self, hash: u64, report: &Report<'_>) -> Option<ClientKey> {
        let slot = self.lines.push(report)?;
        self.backlogs.admit(self.lines.key(slot));
        debug_assert_eq!(self.backlogs.clients, self.keys());
        self.digest.add(report.client(), report.line());
        let (lines, seed, constants) = (&self.lines, self.hash_seed, &self.hash_constants);
        let rehash = |&slot: &Slot| hash_of(lines.client(slot), seed, constants);
        self.index.insert(hash, slot, rehash);
        debug_assert_eq!(self.index.len(), self.len());
        Some(self.lines.key(slot))
    }

    fn hash(&self, client: &[u8]) -> u64 {
        hash_of(client, self.hash_seed, &self.hash_constants)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("clients", &self.len()).finish_non_exhaustive()
    }
}

impl ReportOrigin {
    fn outcome(self, new: &Report<'_>, stored: &Stored<'_>) -> MergeOutcome {
        let stamps = new.order_of_stamps(stored);
        let equal_stamps = stamps.is_eq();
        match self {
            ReportOrigin::Client
                if equal_stamps && new.location().text == stored.location_text() =>
            {
                MergeOutcome::Same
            }
            ReportOrigin::Plain if equal_stamps && new.line() != stored.line() => {
                MergeOutcome::Older
            }
            _ => match new.order(stamps, stored.line()) {
                Ordering::Greater => MergeOutcome::Newer,
                Ordering::Equal => MergeOutcome::Same,
                Ordering::Less => MergeOutcome::Older,
            },
        }
    }
}

/// Whether the report in `slot` is after `newest`. News does not come here: so it pays nothing for it.
#[cold]
#[inline(never)]
fn lies_after(newest: Stamp, lines: &LineStore, slot: Slot) -> bool {
    lines.report(slot).stamp() > newest
}

/// foldhash with constants of our own: those it comes with are public, and ids can be made of them
/// that collide whatever the seed.
fn hash_of(client: &[u8], seed: u64, constants: &SharedSeed) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed, constants);
    hasher.write(client);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, CommandLimits};

    fn merge(table: &mut Table, line: &str, origin: ReportOrigin) -> MergeOutcome {
        match Command::parse(line.as_bytes(), &CommandLimits::default()) {
            Ok(Command::At(at)) => table.merge(&Report::relayed(&at, &mut Vec::new()), origin).1,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn latest(table: &Table, client: &str) -> Option<String> {
        let report = table.latest(client.as_bytes())?;
        Some(String::from_utf8(report.line().to_vec()).unwrap())
    }

    #[test]
    fn the_newest_stamp_wins_whatever_the_order_of_coming() {
        let mut table = Table::new(1);
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 999999999.5", ReportOrigin::Server),
            MergeOutcome::First
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +2+2 1000000000.25", ReportOrigin::Server),
            MergeOutcome::Newer
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +3+3 1000000000.2", ReportOrigin::Server),
            MergeOutcome::Older
        );
        assert_eq!(latest(&table, "c").unwrap(), "AT A +0.5 c +2+2 1000000000.25");
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn of_equal_stamps_members_agree_on_one_line() {
        for lines in [
            ["AT A +0.5 c +1+1 5", "AT B +0.1 c +2+2 5"],
            ["AT B +0.1 c +2+2 5", "AT A +0.5 c +1+1 5"],
        ] {
            let mut table = Table::new(1);
            for line in lines.iter().chain(&lines) {
                merge(&mut table, line, ReportOrigin::Server);
            }
            assert_eq!(latest(&table, "c").unwrap(), "AT B +0.1 c +2+2 5");
        }
    }

    #[test]
    fn a_report_said_again_is_nothing_new_at_any_server() {
        let mut table = Table::new(1);
        merge(&mut table, "AT A +0.5 c +1+1 5.0", ReportOrigin::Client);
        assert_eq!(
            merge(&mut table, "AT B +9.5 c +1+1 5", ReportOrigin::Client),
            MergeOutcome::Same
        );
        assert_eq!(
            merge(&mut table, "AT B +9.5 c +1+2 5", ReportOrigin::Client),
            MergeOutcome::Newer
        );
        assert_eq!(
            merge(&mut table, "AT A +9.5 c +1+3 5", ReportOrigin::Client),
            MergeOutcome::Older
        );
        assert_eq!(
            merge(&mut table, "AT A +9.5 c +1+1 4", ReportOrigin::Client),
            MergeOutcome::Older
        );
        assert_eq!(latest(&table, "c").unwrap(), "AT B +9.5 c +1+2 5");
    }

    #[test]
    fn a_plain_neighbour_needs_a_newer_stamp() {
        let mut table = Table::new(1);
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 5", ReportOrigin::Plain),
            MergeOutcome::First
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 5", ReportOrigin::Plain),
            MergeOutcome::Same
        );
        assert_eq!(
            merge(&mut table, "AT Z +0.5 c +1+1 5", ReportOrigin::Plain),
            MergeOutcome::Older
        );
        assert_eq!(
            merge(&mut table, "AT Z +0.5 c +1+1 5.000000001", ReportOrigin::Plain),
            MergeOutcome::Newer
        );
    }

    #[test]
    fn a_full_table_refuses_new_clients_of_its_own_only() {
        let mut table = Table::new(1).with_clients_max(1);
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 5", ReportOrigin::Client),
            MergeOutcome::First
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 d +1+1 5", ReportOrigin::Client),
            MergeOutcome::Full
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 6", ReportOrigin::Client),
            MergeOutcome::Newer
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 d +1+1 5", ReportOrigin::Server),
            MergeOutcome::First
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 e +1+1 5", ReportOrigin::Plain),
            MergeOutcome::First
        );
        assert!(table.knows(b"d") && !table.knows(b"f"));
    }

    #[test]
    fn at_the_end_of_the_memory_for_lines_nobody_is_let_in_and_what_fits_still_is() {
        let mut table = Table { lines: LineStore::ending_at(100), ..Table::new(1) };
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 5", ReportOrigin::Server),
            MergeOutcome::First
        );
        assert_eq!(
            merge(&mut table, "AT A +0.5 d +1+1 5", ReportOrigin::Server),
            MergeOutcome::First
        );
        let seen =
            |table: &Table| (table.len(), table.state_hash(), table.digest().leaves().to_vec());
        let before = seen(&table);
        for origin in [ReportOrigin::Client, ReportOrigin::Server, ReportOrigin::Plain] {
            let new = "AT A +0.5 a-long-name-that-does-not-fit +1+1 5";
            assert_eq!(
                merge(&mut table, new, origin),
                MergeOutcome::Full,
                "a new client, {origin:?}"
            );
            let longer = "AT A +0.5 d +1.000000000000000000+1.00000000000000000 6";
            assert_eq!(
                merge(&mut table, longer, origin),
                MergeOutcome::Full,
                "a longer line, {origin:?}"
            );
            assert!(seen(&table) == before, "nothing has changed, no sum either");
        }
        assert_eq!(
            merge(&mut table, "AT A +0.5 d +2+2 6", ReportOrigin::Server),
            MergeOutcome::Newer
        );
        assert_eq!(latest(&table, "c").unwrap(), "AT A +0.5 c +1+1 5");
        assert_eq!(latest(&table, "d").unwrap(), "AT A +0.5 d +2+2 6");
    }

    #[test]
    fn a_report_further_ahead_than_is_let_in_is_none_whoever_brings_it() {
        let mut table = Table::new(1);
        table.set_newest(Stamp(5_000_000_000));
        for origin in [ReportOrigin::Client, ReportOrigin::Server, ReportOrigin::Plain] {
            let ahead = "AT A +0.5 c +1+1 5.000000001";
            assert_eq!(merge(&mut table, ahead, origin), MergeOutcome::Ahead);
        }
        assert_eq!((table.len(), table.state_hash()), (0, 0));
        assert_eq!(
            merge(&mut table, "AT A +0.5 c +1+1 5", ReportOrigin::Client),
            MergeOutcome::First
        );
    }

    #[test]
    fn what_lies_further_ahead_than_is_let_in_holds_nobody() {
        for origin in [ReportOrigin::Client, ReportOrigin::Server, ReportOrigin::Plain] {
            let mut table = Table::new(1);
            for client in ["c", "d", "e"] {
                merge(
                    &mut table,
                    &format!("AT A +0.5 {client} +1+1 9999999999"),
                    ReportOrigin::Server,
                );
            }
            assert_eq!(merge(&mut table, "AT B +0.5 c +2+2 5", origin), MergeOutcome::Older);
            table.set_newest(Stamp(6_000_000_000));
            assert_eq!((latest(&table, "c"), table.knows(b"d"), table.len()), (None, false, 3));
            assert_eq!(merge(&mut table, "AT B +0.5 c +2+2 5", origin), MergeOutcome::Newer);
            assert_eq!(latest(&table, "c").unwrap(), "AT B +0.5 c +2+2 5");
            // As if there had never been anything else.
            assert_eq!(merge(&mut table, "AT B +0.5 c +3+3 4", origin), MergeOutcome::Older);
            assert_eq!(table.forget_after(Stamp(6_000_000_000), 0..2), 1);
            assert_eq!(table.forget_after(Stamp(6_000_000_000), 2..3), 1);
            let mut honest = Table::new(2);
            merge(&mut honest, "AT B +0.5 c +2+2 5", origin);
            assert_eq!((table.len(), table.state_hash()), (1, honest.state_hash()));
        }
    }

    #[test]
    fn clients_are_gone_through_in_the_order_they_came() {
        let mut table = Table::new(1);
        for client in ["pear", "fig", "apple", "fig"] {
            merge(&mut table, &format!("AT A +0.5 {client} +1+1 5"), ReportOrigin::Server);
        }
        let clients: Vec<_> = table.iter().map(|(key, at)| (key.index(), at.client())).collect();
        assert_eq!(clients, [(0, &b"pear"[..]), (1, b"fig"), (2, b"apple")]);
        let id = table.backlogs.add();
        table.mark_all(id);
        let key = table.backlogs.take_next(id).unwrap();
        assert_eq!(table.line(key), b"AT A +0.5 pear +1+1 5");
    }
}
