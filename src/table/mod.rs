//! The table: every client's latest report.
//!
//! In: reports, and the origin of each. Out: an outcome, from which the caller
//! decides what to flood and what to reply. The table knows no connection, no clock and no server's name:
//! its callers know the neighbours, schedule the writes and reply to clients.
//!
//! The idea: the newest report wins, and "newest" is one total order: the stamp, then the line.
//! Merging is therefore commutative, associative and idempotent: servers that have seen the
//! same reports, in any order and any number of times, hold the same lines.
//!
//! A hash index maps a client's id to its key. Keys count the clients in order of arrival, and a client
//! keeps its key. The key of a forgotten client goes to the next new client, so
//! keys are dense; iteration and the bits of [`Backlogs`] follow their order. The hash is
//! seeded, because strangers choose the ids.
//!
//! Expiry depends on the stamp alone: a report older than the [oldest allowed](Table::set_oldest) is
//! neither taken, from any origin, nor served. So no neighbour can bring back a forgotten report, and
//! no server has to remember that it was forgotten. The same holds for reports after the
//! [newest allowed](Table::set_newest): a stamp far ahead would beat all honest reports of its client until then.
//!
//! The [`Digest`] of all lines follows every change, so that two servers can compare their tables.

pub mod backlog;
pub(crate) mod changes;
pub(crate) mod client_set;
pub mod digest;
mod index;
mod lazy_digest;
pub mod leaf_set;
mod look_ahead;
pub(crate) mod revisions;
mod store;

use std::cmp::Ordering;
use std::hash::Hasher;
use std::ops::Range;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

pub use self::store::ClientKey;

use self::backlog::{BacklogId, Backlogs};
use self::changes::Changes;
use self::digest::{Digest, leaf_of};
use self::index::Index;
use self::lazy_digest::{LazyDigest, PENDING_MAX};
use self::leaf_set::LeafSet;
use self::revisions::Revisions;
use self::store::{LineStore, Slot};
use crate::wire::report::{Report, Stored};
use crate::wire::stamp::Stamp;

/// The default limit of clients: a table that knows this many rejects new clients of its own.
pub const CLIENTS_MAX: usize = 1_000_000;

/// Where a report comes from, which decides when it replaces the stored report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOrigin {
    /// A client's IAMAT, taken by this server: it must be greater in the total order. A report with the stored
    /// stamp and location is not news, although its line would differ in server and difference.
    Client,
    /// Another server's AT: it must be greater in the total order.
    Server,
    /// A plain neighbour's AT: its stamp must be strictly newer, because that neighbour may have put its own name
    /// into a line that it only passed on.
    Plain,
}

/// The result of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeOutcome {
    /// Stored: the client was unknown.
    First,
    /// Stored: it replaced the client's older report.
    Newer,
    /// Not stored: the table already has this report.
    Same,
    /// Not stored: the table has a newer report.
    Older,
    /// Not stored: the client is new and the limit for new clients is reached ([`ReportOrigin::Client`]), or all
    /// lines together take 8 GiB (every origin).
    Full,
    /// Not stored: it is older than the [oldest allowed](Table::set_oldest).
    Expired,
    /// Not stored: it is further ahead than the [newest allowed](Table::set_newest).
    Ahead,
}

impl MergeOutcome {
    /// The number of outcomes.
    pub const COUNT: usize = 7;

    /// The number of outcomes of reports that no limit keeps out; these come first.
    pub const TAKEN: usize = 4;

    /// Whether the report was stored and must therefore be flooded.
    pub fn is_news(self) -> bool {
        matches!(self, MergeOutcome::First | MergeOutcome::Newer)
    }
}

/// Every client's latest report, and the backlogs: the reports that have not been sent to each owner yet.
pub struct Table {
    /// The backlogs. A merge does not change them; the flood does.
    pub backlogs: Backlogs,
    /// The latest changes, once a reader has begun to follow the table. A merge does not note them; the flood does.
    pub(crate) changes: Option<Box<Changes>>,
    /// What the bus's bucket holds, if there is a bus.
    pub(crate) revisions: Option<Box<Revisions>>,
    lines: LineStore,
    /// The sums of all lines.
    digest: LazyDigest,
    /// The slots of the clients whose reports are merged next, the next one last. Empty if a slot has become free since
    /// they were found, because a free slot still holds a line.
    ahead: Vec<Slot>,
    /// Reports with an earlier stamp are neither taken nor served.
    oldest: Stamp,
    /// Reports with a later stamp are neither taken nor served.
    newest: Stamp,
    /// The slot of each client's line, by the hash of its id.
    index: Index,
    hash_seed: u64,
    hash_constants: SharedSeed,
    clients_max: usize,
    bytes_max: usize,
}

impl Table {
    /// Makes an empty table.
    ///
    /// `seed`: random and secret: a client that knows it can choose ids that collide.
    pub fn new(seed: u64) -> Table {
        Table {
            backlogs: Backlogs::default(),
            changes: None,
            revisions: None,
            lines: LineStore::default(),
            digest: LazyDigest::new(PENDING_MAX),
            ahead: Vec::new(),
            oldest: Stamp(0),
            newest: Stamp(u64::MAX),
            index: Index::default(),
            hash_seed: seed,
            hash_constants: SharedSeed::from_u64(seed),
            clients_max: CLIENTS_MAX,
            bytes_max: usize::MAX,
        }
    }

    /// Sets the maximum number of clients, instead of [`CLIENTS_MAX`], and a limit in bytes for the memory of all lines.
    /// Above either, new clients of this server are rejected; clients that are stored stay. Ids may be long, so that the
    /// limit of clients alone does not bound memory.
    ///
    /// Other servers' clients count towards both, but are never rejected.
    pub fn set_limits(&mut self, clients_max: usize, bytes_max: usize) {
        (self.clients_max, self.bytes_max) = (clients_max, bytes_max);
    }

    /// Makes the table neither take nor serve reports before `oldest`. A later call may set an earlier time:
    /// reports that are still stored are then served again.
    pub fn set_oldest(&mut self, oldest: Stamp) {
        self.oldest = oldest;
    }

    /// Makes the table neither take nor serve reports after `newest`; any other report replaces one that is still
    /// stored. A later call may set a later time: reports that are still stored are then served again.
    pub fn set_newest(&mut self, newest: Stamp) {
        self.newest = newest;
    }

    fn has_room(&self, report: &Report<'_>) -> bool {
        let has_memory = self.lines.memory() < self.bytes_max || self.lines.has_slot_for(report);
        self.len() < self.clients_max && has_memory
    }

    /// Stores a report if it is news.
    ///
    /// Returns the client's key, but no key if the report was rejected ([`MergeOutcome::Full`],
    /// [`MergeOutcome::Expired`], [`MergeOutcome::Ahead`]).
    /// A known client's line is overwritten in place; only a new client or a longer line allocates memory.
    /// When a part of the index is full it doubles, which rehashes a ninth of all clients.
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
        let slot = match self.found_ahead(client) {
            Some(slot) => slot,
            None => {
                let hash = self.hash(client);
                let Some(slot) = self.find_hashed(client, hash) else {
                    if origin == ReportOrigin::Client && !self.has_room(report) {
                        return (None, MergeOutcome::Full);
                    }
                    let key = self.admit(hash, report);
                    return (key, key.map_or(MergeOutcome::Full, |_| MergeOutcome::First));
                };
                slot
            }
        };
        let (header, stored) = self.lines.stored(slot);
        let outcome = match origin.outcome(report, &stored) {
            MergeOutcome::Older if lies_after(self.newest, &self.lines, slot) => {
                MergeOutcome::Newer
            }
            outcome => outcome,
        };
        if outcome == MergeOutcome::Newer {
            self.digest.replace(header.key, client, stored.line(), report.line());
            let Some(now) = self.lines.replace(slot, header, report) else {
                self.digest.replace(header.key, client, report.line(), self.lines.line(slot));
                return (None, MergeOutcome::Full);
            };
            if now != slot {
                self.index.replace(self.hash(client), slot, now);
                self.ahead.clear();
            }
        }
        (Some(header.key), outcome)
    }

    /// Returns the number of clients.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether the table has no client.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the table has a report of this client with an allowed stamp.
    pub fn knows(&self, client: &[u8]) -> bool {
        self.latest(client).is_some()
    }

    /// Returns the latest report of a client; `None` if there is none, or if it is older than the
    /// [oldest allowed](Table::set_oldest) or further ahead than the [newest](Table::set_newest).
    pub fn latest(&self, client: &[u8]) -> Option<Report<'_>> {
        self.find(client).and_then(|slot| self.if_allowed(slot))
    }

    /// Returns the latest report of the client with key number `index`, as [`latest`](Table::latest) does; `None` also if
    /// no client has this key at present.
    pub fn served(&self, index: usize) -> Option<Report<'_>> {
        self.lines.find(index).and_then(|slot| self.if_allowed(slot))
    }

    fn if_allowed(&self, slot: Slot) -> Option<Report<'_>> {
        let report = self.lines.report(slot);
        (self.oldest..=self.newest).contains(&report.stamp()).then_some(report)
    }

    /// Returns the key of a client; `None` if the table has no report of it.
    pub(crate) fn key_of(&self, client: &[u8]) -> Option<ClientKey> {
        self.find(client).map(|slot| self.lines.key(slot))
    }

    /// Returns the latest report of the client with this key. Panics if no client has it.
    pub fn report(&self, key: ClientKey) -> Report<'_> {
        self.lines.report(self.lines.slot(key))
    }

    /// Returns the latest AT line of the client with this key, without a delimiter. Panics if no client has it.
    pub fn line(&self, key: ClientKey) -> &[u8] {
        self.lines.line(self.lines.slot(key))
    }

    /// Returns the line of the client with key number `index`, below [`keys`](Table::keys); `None` if no client
    /// has this key at present.
    pub fn line_of(&self, index: usize) -> Option<&[u8]> {
        self.lines.find(index).map(|slot| self.lines.line(slot))
    }

    /// Iterates over all clients and their latest reports, in the order of their keys. It includes reports whose
    /// stamp is no longer allowed but that are not yet [forgotten](Table::forget_before).
    pub fn iter(&self) -> impl Iterator<Item = (ClientKey, Report<'_>)> {
        let stored = (0..self.keys()).filter_map(|index| self.lines.find(index));
        stored.map(|slot| (self.lines.key(slot), self.lines.report(slot)))
    }

    /// Returns the number of keys, unused ones included: the end of the range for callers that process
    /// the table in slices.
    pub fn keys(&self) -> usize {
        self.lines.keys()
    }

    /// Returns the length of all lines together, in bytes. Servers that know the same reports have the same length.
    pub fn line_bytes(&self) -> usize {
        self.lines.line_bytes()
    }

    /// Returns the memory that the lines take, in bytes, with their headers and their spare room.
    pub fn slot_bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// Returns the sums of all lines, for comparison with another server's. Takes some ms if many lines have changed
    /// since the last call.
    pub fn digest(&mut self) -> &Digest {
        self.digest.read(&self.lines)
    }

    /// Does a part of the work of the next [`digest`](Table::digest), for callers that must not delay the loop: adds the
    /// lines of up to `most` changed clients. Returns whether no work is left.
    pub fn settle_digest(&mut self, most: usize) -> bool {
        self.digest.settle(&self.lines, most)
    }

    /// Puts the digest's work off until this is called with `false`: for a replay, which merges many reports and never
    /// reads the digest.
    pub fn put_off_digest(&mut self, is_put_off: bool) {
        self.digest.pending_max = if is_put_off { usize::MAX } else { PENDING_MAX };
        if !is_put_off {
            self.digest();
        }
    }

    /// Returns one hash of all lines, which is equal at servers with equal tables. 0 for an empty table.
    pub fn state_hash(&mut self) -> u64 {
        self.digest().state()
    }

    /// Marks every client in the owner's backlog. Takes time proportional to the clients / 64.
    pub fn mark_all(&mut self, id: BacklogId) {
        self.backlogs.mark_all(id, self.lines.keys(), self.lines.unused());
    }

    /// For each backlog of `wanted`, marks the clients among `keys` whose
    /// [leaf](self::digest::leaf_of) is in its set. Takes time proportional to the keys.
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

    /// Forgets the clients among `keys` with a latest report before `oldest`; returns their number. They
    /// leave every backlog, and new clients get their keys. Takes time proportional to the keys.
    pub fn forget_before(&mut self, oldest: Stamp, keys: Range<usize>) -> usize {
        self.forget_all(keys, |stamp| stamp < oldest)
    }

    /// Forgets the clients among `keys` with a latest report after `newest`; returns their number. They
    /// leave every backlog, and new clients get their keys. Takes time proportional to the keys.
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
        self.digest.remove(self.lines.key(slot), report.client(), report.line());
        let hash = self.hash(report.client());
        self.index.remove(hash, slot);
        self.backlogs.forget_client(self.lines.key(slot));
        if let Some(changes) = &mut self.changes {
            changes.forgot(self.lines.key(slot), report.client());
        }
        if let Some(revisions) = &mut self.revisions {
            revisions.forgot(self.lines.key(slot));
        }
        self.lines.forget(slot);
        self.ahead.clear();
        debug_assert_eq!(self.index.len(), self.len());
    }

    fn find(&self, client: &[u8]) -> Option<Slot> {
        self.find_hashed(client, self.hash(client))
    }

    fn find_hashed(&self, client: &[u8], hash: u64) -> Option<Slot> {
        self.index.find(hash, |&slot| self.lines.client(slot) == client)
    }

    /// Stores the line of a new client; `None` if there is no room for it.
    fn admit(&mut self, hash: u64, report: &Report<'_>) -> Option<ClientKey> {
        let slot = self.lines.push(report)?;
        let key = self.lines.key(slot);
        self.digest.add(key, report.client(), report.line());
        let (lines, seed, constants) = (&self.lines, self.hash_seed, &self.hash_constants);
        let rehash = |&slot: &Slot| hash_of(lines.client(slot), seed, constants);
        self.index.grow(hash, |&slot| lines.touch(slot), rehash);
        self.index.insert(hash, slot, rehash);
        debug_assert_eq!(self.index.len(), self.len());
        Some(key)
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

/// Whether the report in `slot` is after `newest`. Only reports that are not news reach this check, so that news
/// does not pay for it.
#[cold]
#[inline(never)]
fn lies_after(newest: Stamp, lines: &LineStore, slot: Slot) -> bool {
    lines.report(slot).stamp() > newest
}

/// Hashes a client's id by foldhash with our own constants: the default constants are public, so that a client
/// could choose ids that collide with any seed.
fn hash_of(client: &[u8], seed: u64, constants: &SharedSeed) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed, constants);
    hasher.write(client);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, CommandLimits};
    use proptest::prelude::*;

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
    fn the_newest_stamp_wins_in_any_order_of_arrival() {
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
    fn servers_agree_on_one_of_two_lines_with_equal_stamps() {
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
    fn a_repeated_report_is_not_news_at_any_server() {
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
        let mut table = Table::new(1);
        table.set_limits(1, usize::MAX);
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
    fn a_full_line_store_rejects_new_clients_and_takes_lines_that_fit() {
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
            |table: &mut Table| (table.len(), table.state_hash(), table.digest().leaves().to_vec());
        let before = seen(&mut table);
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
            assert!(seen(&mut table) == before, "nothing has changed, no sum either");
        }
        assert_eq!(
            merge(&mut table, "AT A +0.5 d +2+2 6", ReportOrigin::Server),
            MergeOutcome::Newer
        );
        assert_eq!(latest(&table, "c").unwrap(), "AT A +0.5 c +1+1 5");
        assert_eq!(latest(&table, "d").unwrap(), "AT A +0.5 d +2+2 6");
    }

    #[test]
    fn a_report_further_ahead_than_allowed_is_rejected_from_every_origin() {
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
    fn a_stored_report_further_ahead_than_allowed_blocks_no_client() {
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
            // From now on the table behaves as if the report ahead had never been there.
            assert_eq!(merge(&mut table, "AT B +0.5 c +3+3 4", origin), MergeOutcome::Older);
            assert_eq!(table.forget_after(Stamp(6_000_000_000), 0..2), 1);
            assert_eq!(table.forget_after(Stamp(6_000_000_000), 2..3), 1);
            let mut honest = Table::new(2);
            merge(&mut honest, "AT B +0.5 c +2+2 5", origin);
            assert_eq!((table.len(), table.state_hash()), (1, honest.state_hash()));
        }
    }

    #[test]
    fn clients_are_iterated_in_order_of_arrival() {
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

    /// One operation on a table. Numbers stand for clients and stamps.
    #[derive(Clone, Debug)]
    enum Step {
        LookAhead(Vec<u8>),
        Merge(u8, u32, usize),
        ForgetBefore(u32),
        Settle(usize),
        Compare,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop::collection::vec(0..9u8, 0..20).prop_map(Step::LookAhead),
            9 => (0..9u8, 1..9u32, 1..40usize).prop_map(|(c, at, long)| Step::Merge(c, at, long)),
            1 => (1..9u32).prop_map(Step::ForgetBefore),
            1 => (0..4usize).prop_map(Step::Settle),
            1 => Just(Step::Compare),
        ]
    }

    proptest! {
        /// Look-ups of any clients before the merges and pending clients change neither an outcome nor a sum.
        #[test]
        fn looking_ahead_and_pending_sums_change_nothing(
            steps in prop::collection::vec(step(), 0..80),
            pending_max in 0..6usize,
        ) {
            let (mut table, mut plain) = (Table::new(1), Table::new(2));
            table.digest = LazyDigest::new(pending_max);
            plain.digest = LazyDigest::new(0);
            let name = |client: &u8| format!("client-{client}");
            for step in steps {
                match step {
                    Step::LookAhead(clients) => {
                        let names: Vec<String> = clients.iter().map(name).collect();
                        table.look_ahead(names.iter().map(String::as_bytes));
                    }
                    Step::Merge(client, stamp, digits) => {
                        let place = "1".repeat(digits);
                        let line = format!("AT A +0.5 {} +1.{place}+1 {stamp}", name(&client));
                        let outcomes = [&mut table, &mut plain]
                            .map(|table| merge(table, &line, ReportOrigin::Server));
                        prop_assert_eq!(outcomes[0], outcomes[1]);
                    }
                    Step::ForgetBefore(stamp) => {
                        let oldest = Stamp(u64::from(stamp) * 1_000_000_000);
                        let keys = table.keys();
                        let forgotten = table.forget_before(oldest, 0..keys);
                        prop_assert_eq!(forgotten, plain.forget_before(oldest, 0..keys));
                    }
                    Step::Settle(most) => {
                        let pending = table.digest.pending();
                        prop_assert_eq!(table.settle_digest(most), pending <= most);
                        prop_assert_eq!(table.digest.pending(), pending.saturating_sub(most));
                    }
                    Step::Compare => {
                        prop_assert_eq!(table.digest().leaves(), plain.digest().leaves());
                    }
                }
                prop_assert_eq!(table.state_hash(), plain.state_hash());
                let lines = |table: &Table| -> Vec<_> { table.iter().map(|(_, at)| at.line().to_vec()).collect() };
                prop_assert_eq!(lines(&table), lines(&plain));
            }
            prop_assert_eq!(table.digest().state(), plain.state_hash());
        }
    }
}
