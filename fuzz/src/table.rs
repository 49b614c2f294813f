//! Compares the table with a sorted map.

use super::{at, relayed};
use places_herd::table::backlog::BacklogId;
use places_herd::table::{MergeOutcome, ReportOrigin, Table};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS_MAX: usize = 6;

/// A client's latest report: stamp, line, location.
type Known = (Stamp, Vec<u8>, Vec<u8>);

/// The table as a map, with one backlog.
struct Model {
    /// The id of the backlog.
    id: BacklogId,
    known: BTreeMap<Vec<u8>, Known>,
    /// The clients in the backlog.
    backlog: BTreeSet<Vec<u8>>,
    /// The oldest allowed stamp, in nanoseconds.
    oldest: u64,
    /// The newest allowed stamp, in nanoseconds; `None` allows all.
    newest: Option<u64>,
}

impl Model {
    fn outcome(&self, client: &[u8], new: &Known, origin: ReportOrigin) -> MergeOutcome {
        if new.0.0 < self.oldest {
            return MergeOutcome::Expired;
        }
        let is_ahead = |stamp: &Stamp| self.newest.is_some_and(|newest| stamp.0 > newest);
        if is_ahead(&new.0) {
            return MergeOutcome::Ahead;
        }
        let Some(old) = self.known.get(client) else {
            let full = origin == ReportOrigin::Client && self.known.len() >= CLIENTS_MAX;
            return if full { MergeOutcome::Full } else { MergeOutcome::First };
        };
        if is_ahead(&old.0) {
            return MergeOutcome::Newer;
        }
        let ((stamp, line, location), (old_stamp, old_line, old_location)) = (new, old);
        match origin {
            ReportOrigin::Client if stamp == old_stamp && location == old_location => {
                MergeOutcome::Same
            }
            ReportOrigin::Plain if stamp == old_stamp && line != old_line => MergeOutcome::Older,
            _ if (stamp, line) > (old_stamp, old_line) => MergeOutcome::Newer,
            _ if (stamp, line) == (old_stamp, old_line) => MergeOutcome::Same,
            _ => MergeOutcome::Older,
        }
    }
}

/// For each line of the input, the table does the same as the map. `C` and `P` before an AT line merge it as
/// a client's and as a plain neighbour's. `L` and `U` before a stamp set the oldest and the newest allowed stamp;
/// `F` and `A` forget reports before and after it. `O` takes the next client out of the backlog.
/// Servers' lines in any order make the same table.
pub fn table(data: &[u8]) {
    let mut table = Table::new(1);
    table.set_limits(CLIENTS_MAX, usize::MAX);
    let mut model = Model {
        id: table.backlogs.add(),
        known: BTreeMap::new(),
        backlog: BTreeSet::new(),
        oldest: 0,
        newest: None,
    };
    let mut most = 0;
    for line in data.split(|byte| *byte == b'\n') {
        act(&mut table, &mut model, line);
        most = most.max(model.known.len());
    }
    agree(&mut table, &model);
    assert_eq!(table.keys(), most, "free keys are used again");
    any_order(data);
}

fn act(table: &mut Table, model: &mut Model, line: &[u8]) {
    let (origin, text) = match line {
        [b'C', text @ ..] => (ReportOrigin::Client, text),
        [b'P', text @ ..] => (ReportOrigin::Plain, text),
        [b'L' | b'F' | b'U' | b'A', text @ ..] if text.first() != Some(&b'T') => {
            if let Some(stamp) = Stamp::parse(text) {
                age(table, model, line[0], stamp);
            }
            return;
        }
        [b'O', ..] => {
            let taken =
                table.backlogs.take_next(model.id).map(|key| table.report(key).client().to_vec());
            assert_eq!(taken.is_some(), !model.backlog.is_empty());
            assert!(taken.is_none_or(|client| model.backlog.remove(&client)));
            return;
        }
        text => (ReportOrigin::Server, text),
    };
    let Some(at) = at(text) else { return };
    let mut scratch = Vec::new();
    let report = Report::relayed(&at, &mut scratch);
    let new = (report.stamp(), report.line().to_vec(), report.location().text.to_vec());
    let expected = model.outcome(at.client, &new, origin);
    let (key, outcome) = table.merge(&report, origin);
    assert_eq!(outcome, expected);
    assert_eq!(
        key.is_none(),
        matches!(outcome, MergeOutcome::Full | MergeOutcome::Expired | MergeOutcome::Ahead)
    );
    if let Some(key) = key.filter(|_| outcome.is_news()) {
        table.backlogs.mark(model.id, key);
        model.backlog.insert(at.client.to_vec());
        model.known.insert(at.client.to_vec(), new);
    }
}

fn age(table: &mut Table, model: &mut Model, what: u8, stamp: Stamp) {
    let before = model.known.len();
    let forgotten = match what {
        b'L' => {
            table.set_oldest(stamp);
            model.oldest = stamp.0;
            return;
        }
        b'U' => {
            table.set_newest(stamp);
            model.newest = Some(stamp.0);
            return;
        }
        b'F' => {
            model.known.retain(|_, (old, ..)| *old >= stamp);
            table.forget_before(stamp, 0..table.keys())
        }
        _ => {
            model.known.retain(|_, (old, ..)| *old <= stamp);
            table.forget_after(stamp, 0..table.keys())
        }
    };
    let Model { known, backlog, .. } = model;
    backlog.retain(|client| known.contains_key(client));
    assert_eq!(forgotten, before - known.len());
}

fn agree(table: &mut Table, model: &Model) {
    assert_eq!(
        (table.len(), table.backlogs.len(model.id)),
        (model.known.len(), model.backlog.len())
    );
    let mut fresh = Table::new(2);
    for (client, (stamp, line, _)) in &model.known {
        let latest = table.latest(client).map(|report| report.line());
        let newest = model.newest.unwrap_or(u64::MAX);
        assert_eq!(latest, (model.oldest..=newest).contains(&stamp.0).then_some(&line[..]));
        let at = at(line).expect("it was stored as one");
        fresh.merge(&Report::relayed(&at, &mut Vec::new()), ReportOrigin::Server);
    }
    let stored: BTreeSet<_> = table.iter().map(|(_, report)| report.line().to_vec()).collect();
    assert_eq!(stored, model.known.values().map(|(_, line, _)| line.clone()).collect());
    let (ours, theirs) = (table.digest(), fresh.digest());
    assert_eq!((ours.state(), ours.groups()), (theirs.state(), theirs.groups()));
}

fn any_order(data: &[u8]) {
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').filter_map(at).collect();
    let (mut forth, mut newest) = (Table::new(3), BTreeMap::new());
    for at in lines.iter().rev() {
        forth.merge(&Report::relayed(at, &mut Vec::new()), ReportOrigin::Server);
        let line = (at.stamp, relayed(at));
        let known = newest.entry(at.client).or_insert_with(|| line.clone());
        *known = line.max(known.clone());
    }
    assert_eq!(forth.len(), newest.len());
    for (client, (_, line)) in newest {
        assert_eq!(forth.latest(client).expect("it was merged").line(), line);
    }
}
