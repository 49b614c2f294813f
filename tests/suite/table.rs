//! Compares the table with a plain model, and checks the laws that make a herd converge.

use std::collections::{BTreeMap, BTreeSet};

use places_herd::table::{ClientKey, MergeOutcome, ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use proptest::prelude::*;

fn merge(table: &mut Table, line: &str, origin: ReportOrigin) -> (Option<ClientKey>, MergeOutcome) {
    match Command::parse(line.as_bytes(), &CommandLimits::default()) {
        Ok(Command::At(at)) => table.merge(&Report::relayed(&at, &mut Vec::new()), origin),
        other => panic!("{line}: {other:?}"),
    }
}

fn herd_of(lines: &[String]) -> Table {
    let mut table = Table::new(3);
    for line in lines {
        merge(&mut table, line, ReportOrigin::Server);
    }
    table
}

/// Returns all lines of a table, in the order of the clients' ids.
fn contents(table: &Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    table.iter().map(|(_, at)| (at.client().to_vec(), at.line().to_vec())).collect()
}

/// Lines of few clients and few stamps, so that they collide; of all lengths, so that they move between slots.
fn at_line() -> impl Strategy<Value = String> {
    let server = prop::sample::select(&["A", "Bolden", "Hamilton"][..]);
    let difference = prop::sample::select(&["+0.5", "-0.000000001", "9.5e-05"][..]);
    let location = prop::sample::select(&["+1+1", "+34.068930-118.445127", "-0.50-7"][..]);
    let stamp =
        prop::sample::select(&["5", "5.0", "5.000000001", "12.5", "999", "1000000000.25"][..]);
    let client = prop_oneof![4 => (0..12u32).prop_map(|n| format!("client-{n}")), 1 => "x{1,300}"];
    (server, difference, client, location, stamp)
        .prop_map(|(n, d, c, l, s)| format!("AT {n} {d} {c} {l} {s}"))
}

fn at_lines() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(at_line(), 0..60)
}

fn origin() -> impl Strategy<Value = ReportOrigin> {
    prop::sample::select(&[ReportOrigin::Client, ReportOrigin::Server, ReportOrigin::Plain][..])
}

/// The model: a map of lines, with a second implementation of "the newest wins" that works on text.
#[derive(Default)]
struct Model {
    lines: BTreeMap<String, String>,
    order: Vec<String>,
}

impl Model {
    fn merge(
        &mut self,
        line: &str,
        origin: ReportOrigin,
        clients_max: usize,
    ) -> (Option<usize>, MergeOutcome) {
        let field = |line: &str, index| line.split(' ').nth(index).unwrap_or_default().to_owned();
        let nanos = |line: &str| {
            let stamp = field(line, 5);
            let (whole, part) = stamp.split_once('.').unwrap_or((&stamp, ""));
            format!("{whole}{part:0<9}").parse::<u64>().expect("digits")
        };
        let client = field(line, 3);
        let Some(stored) = self.lines.get(&client) else {
            if origin == ReportOrigin::Client && self.order.len() >= clients_max {
                return (None, MergeOutcome::Full);
            }
            self.lines.insert(client.clone(), line.to_owned());
            self.order.push(client);
            return (Some(self.order.len() - 1), MergeOutcome::First);
        };
        let outcome = match (origin, nanos(line).cmp(&nanos(stored))) {
            (_, std::cmp::Ordering::Less) => MergeOutcome::Older,
            (_, std::cmp::Ordering::Greater) => MergeOutcome::Newer,
            _ if line == stored => MergeOutcome::Same,
            (ReportOrigin::Client, _) if field(line, 4) == field(stored, 4) => MergeOutcome::Same,
            (ReportOrigin::Plain, _) => MergeOutcome::Older,
            _ if line > stored.as_str() => MergeOutcome::Newer,
            _ => MergeOutcome::Older,
        };
        if outcome == MergeOutcome::Newer {
            self.lines.insert(client.clone(), line.to_owned());
        }
        (self.order.iter().position(|known| *known == client), outcome)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_herd_is_a_map_in_which_the_newest_wins(
        steps in prop::collection::vec((at_line(), origin()), 0..200),
        clients_max in 0..14usize,
        seed: u64,
    ) {
        let mut table = Table::new(seed);
        table.set_limits(clients_max, usize::MAX);
        let mut model = Model::default();
        for (line, origin) in &steps {
            let (key, outcome) = merge(&mut table, line, *origin);
            let expected = model.merge(line, *origin, clients_max);
            prop_assert_eq!((key.map(ClientKey::index), outcome), expected);
            if let Some(key) = key {
                prop_assert_eq!(table.line(key), model.lines[&model.order[key.index()]].as_bytes());
            }
        }
        prop_assert_eq!(table.len(), model.lines.len());
        for ((key, report), client) in table.iter().zip(&model.order) {
            prop_assert_eq!(report.client(), client.as_bytes());
            prop_assert_eq!(report.line(), model.lines[client].as_bytes());
            prop_assert_eq!(table.latest(client.as_bytes()), Some(table.report(key)));
        }
        prop_assert!(!table.knows(b"nobody") && table.latest(b"nobody").is_none());
    }

    /// Servers may receive lines in any order and any number of times.
    #[test]
    fn merging_is_commutative_and_idempotent(lines in at_lines(), seed: u64) {
        let mut shuffled = lines.clone();
        shuffled.extend(lines.iter().take(10).cloned());
        let mut random = seed | 1;
        for last in (1..shuffled.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(last, (random >> 33) as usize % (last + 1));
        }
        let twice = [lines.clone(), lines.clone()].concat();
        let expected = contents(&herd_of(&lines));
        prop_assert_eq!(&contents(&herd_of(&shuffled)), &expected);
        prop_assert_eq!(&contents(&herd_of(&twice)), &expected);
    }

    /// The merged lines of two servers may be merged with a third in either grouping.
    #[test]
    fn merging_is_associative(a in at_lines(), b in at_lines(), c in at_lines()) {
        let lines = |table: &Table| -> Vec<String> {
            let lines = contents(table).into_values();
            lines.map(|line| String::from_utf8(line).unwrap()).collect()
        };
        let left = [lines(&herd_of(&[a.clone(), b.clone()].concat())), c.clone()].concat();
        let right = [a, lines(&herd_of(&[b, c].concat()))].concat();
        prop_assert_eq!(contents(&herd_of(&left)), contents(&herd_of(&right)));
    }

    #[test]
    fn a_backlog_is_a_set_of_clients(
        steps in prop::collection::vec((0..8u8, 0..3usize, 0..150usize), 0..150),
    ) {
        let mut table = Table::new(3);
        let ids = [(); 3].map(|()| table.backlogs.add());
        let mut model = vec![BTreeSet::new(); 3];
        let mut keys = Vec::new();
        for (n, (step, owner, client)) in steps.iter().copied().enumerate() {
            let known = keys.get(client % keys.len().max(1)).copied();
            match (step, known) {
                (0 | 1, _) => {
                    // New clients arrive while bits are set.
                    for _ in 0..=client % 40 {
                        let line = format!("AT A +0.5 client-{} +1+1 5", keys.len());
                        keys.extend(merge(&mut table, &line, ReportOrigin::Server).0);
                    }
                }
                (2 | 3, Some(key)) => {
                    table.backlogs.mark(ids[owner], key);
                    model[owner].insert(key);
                }
                (4, Some(key)) => {
                    table.backlogs.unmark(ids[owner], key);
                    model[owner].remove(&key);
                }
                (5, _) => {
                    table.mark_all(ids[owner]);
                    model[owner] = keys.iter().copied().collect();
                }
                (6, _) if client == 0 => {
                    table.backlogs.clear(ids[owner]);
                    model[owner].clear();
                }
                _ => {
                    for _ in 0..client {
                        let taken = table.backlogs.take_next(ids[owner]);
                        prop_assert_eq!(taken.is_some(), !model[owner].is_empty());
                        prop_assert!(taken.is_none_or(|key| model[owner].remove(&key)));
                    }
                }
            }
            for (&id, backlog) in ids.iter().zip(&model) {
                prop_assert_eq!(table.backlogs.len(id), backlog.len());
                // There may be thousands of keys: all are checked every 20 steps, the current one always.
                let all = n % 20 == 0 || n + 1 == steps.len();
                for &key in if all { &keys[..] } else { known.as_slice() } {
                    prop_assert_eq!(table.backlogs.contains(id, key), backlog.contains(&key));
                }
            }
        }
    }
}

/// One operation on a table that forgets.
#[derive(Clone, Debug)]
enum Step {
    Merge(String, ReportOrigin),
    LetInSince(u64),
    LetInUntil(u64),
    ForgetBefore(u64, usize),
    ForgetAfter(u64, usize),
    Mark(usize),
    MarkAll,
    TakeNext,
}

fn forgetful_step() -> impl Strategy<Value = Step> {
    // The stamps of `at_line`, and some between them; in any order, because clocks may be set.
    let oldest =
        || prop::sample::select(&[0, 5_000_000_000, 5_000_000_001, 13_000_000_000, 1 << 40][..]);
    let newest = || prop::sample::select(&[u64::MAX, u64::MAX, 1 << 40, 12_500_000_000, 5][..]);
    prop_oneof![
        12 => (at_line(), origin()).prop_map(|(line, origin)| Step::Merge(line, origin)),
        2 => oldest().prop_map(Step::LetInSince),
        2 => newest().prop_map(Step::LetInUntil),
        3 => (oldest(), 0..20usize).prop_map(|(oldest, from)| Step::ForgetBefore(oldest, from)),
        2 => (newest(), 0..20usize).prop_map(|(newest, from)| Step::ForgetAfter(newest, from)),
        3 => (0..20usize).prop_map(Step::Mark),
        1 => Just(Step::MarkAll),
        2 => Just(Step::TakeNext),
    ]
}

fn stamp_of(line: &str) -> u64 {
    let stamp = line.rsplit(' ').next().unwrap_or_default();
    let (whole, part) = stamp.split_once('.').unwrap_or((stamp, ""));
    format!("{whole}{part:0<9}").parse().expect("digits")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// For any operations in any order and any settings of the clock, the table is a map:
    /// its index, keys, bits and sums agree with the model. A report that is too old or too far ahead is neither
    /// taken nor served, and blocks no client.
    #[test]
    fn a_herd_that_forgets_is_a_map_in_which_the_newest_wins(
        steps in prop::collection::vec(forgetful_step(), 0..150),
        seed: u64,
    ) {
        let mut table = Table::new(seed);
        let mut model = Model::default();
        let ids = [table.backlogs.add(), table.backlogs.add()];
        let mut backlogs = [BTreeSet::<Vec<u8>>::new(), BTreeSet::new()];
        let (mut oldest, mut newest) = (0, u64::MAX);
        for step in steps {
            match step {
                Step::Merge(line, origin) => {
                    let client = line.split(' ').nth(3).unwrap_or_default();
                    let held = model.lines.get(client).map_or(0, |line| stamp_of(line));
                    let expected = match stamp_of(&line) {
                        stamp if stamp < oldest => MergeOutcome::Expired,
                        stamp if stamp > newest => MergeOutcome::Ahead,
                        _ if held > newest => {
                            model.lines.insert(client.to_owned(), line.clone());
                            MergeOutcome::Newer
                        }
                        _ => model.merge(&line, origin, usize::MAX).1,
                    };
                    let (key, outcome) = merge(&mut table, &line, origin);
                    prop_assert_eq!(outcome, expected);
                    let is_let_in = !matches!(outcome, MergeOutcome::Expired | MergeOutcome::Ahead);
                    prop_assert_eq!(key.is_some(), is_let_in);
                }
                Step::LetInSince(stamp) => {
                    oldest = stamp;
                    table.set_oldest(Stamp(stamp));
                }
                Step::LetInUntil(stamp) => {
                    newest = stamp;
                    table.set_newest(Stamp(stamp));
                }
                Step::ForgetBefore(stamp, from) | Step::ForgetAfter(stamp, from) => {
                    let is_before = matches!(step, Step::ForgetBefore(..));
                    let goes = |at: Stamp| match is_before {
                        true => at < Stamp(stamp),
                        false => at > Stamp(stamp),
                    };
                    let slice = from.min(table.keys())..(from + 7).min(table.keys());
                    let held: Vec<Vec<u8>> = table
                        .iter()
                        .filter(|(key, at)| slice.contains(&key.index()) && goes(at.stamp()))
                        .map(|(_, at)| at.client().to_vec())
                        .collect();
                    let forgotten = match is_before {
                        true => table.forget_before(Stamp(stamp), slice),
                        false => table.forget_after(Stamp(stamp), slice),
                    };
                    prop_assert_eq!(forgotten, held.len());
                    for client in held {
                        let client = String::from_utf8(client).unwrap();
                        model.lines.remove(&client);
                        model.order.retain(|known| *known != client);
                        for backlog in &mut backlogs {
                            backlog.remove(client.as_bytes());
                        }
                    }
                }
                Step::Mark(nth) => {
                    let known =
                        table.iter().nth(nth).map(|(key, at)| (key, at.client().to_vec()));
                    if let Some((key, client)) = known {
                        table.backlogs.mark(ids[nth % 2], key);
                        backlogs[nth % 2].insert(client);
                    }
                }
                Step::MarkAll => {
                    table.mark_all(ids[1]);
                    backlogs[1] = contents(&table).into_keys().collect();
                }
                Step::TakeNext => {
                    let taken = table.backlogs.take_next(ids[0]);
                    let taken = taken.map(|key| table.report(key).client().to_vec());
                    prop_assert_eq!(taken.is_some(), !backlogs[0].is_empty());
                    prop_assert!(taken.is_none_or(|client| backlogs[0].remove(&client)));
                }
            }
            let expected: BTreeMap<Vec<u8>, Vec<u8>> =
                model.lines.iter().map(|(c, l)| (c.clone().into(), l.clone().into())).collect();
            prop_assert_eq!(&contents(&table), &expected);
            prop_assert_eq!((table.len(), table.is_empty()), (expected.len(), expected.is_empty()));
            for (client, line) in &model.lines {
                let served = table.latest(client.as_bytes()).map(|at| at.line());
                let is_let_in = (oldest..=newest).contains(&stamp_of(line));
                prop_assert_eq!(served, is_let_in.then_some(line.as_bytes()));
                prop_assert_eq!(table.knows(client.as_bytes()), is_let_in);
            }
            for (&id, backlog) in ids.iter().zip(&backlogs) {
                prop_assert_eq!(table.backlogs.len(id), backlog.len());
                for (key, at) in table.iter() {
                    let is_marked = table.backlogs.contains(id, key);
                    prop_assert_eq!(is_marked, backlog.contains(at.client()));
                }
            }
        }
        let lines: Vec<String> = model.lines.into_values().collect();
        let mut fresh = herd_of(&lines);
        prop_assert_eq!(table.state_hash(), fresh.state_hash());
        let sum: usize = table.iter().map(|(_, report)| report.line().len()).sum();
        prop_assert_eq!((table.line_bytes(), fresh.line_bytes()), (sum, sum));
        prop_assert_eq!(table.digest().groups(), fresh.digest().groups());
        prop_assert_eq!(table.digest().leaves(), fresh.digest().leaves());
    }
}

#[test]
fn what_is_forgotten_makes_room_for_others() {
    let line = |client: &str, stamp: u32| format!("AT Alford +0.5 {client} +1+1 {stamp}");
    let mut table = Table::new(3);
    table.set_limits(100, usize::MAX);
    for client in 100..200 {
        assert_eq!(
            merge(&mut table, &line(&client.to_string(), client), ReportOrigin::Client).1,
            MergeOutcome::First
        );
    }
    let bytes = table.slot_bytes();
    assert_eq!(
        merge(&mut table, &line("new", 9), ReportOrigin::Client),
        (None, MergeOutcome::Full)
    );
    let keys = table.keys();
    assert_eq!(table.forget_before(Stamp(150_000_000_000), 0..keys), 50);
    assert_eq!((table.len(), table.slot_bytes()), (50, bytes / 2));
    for client in 300..350 {
        let (key, outcome) =
            merge(&mut table, &line(&client.to_string(), client), ReportOrigin::Client);
        assert_eq!(outcome, MergeOutcome::First);
        assert!(key.is_some_and(|key| key.index() < 50), "keys are used again");
    }
    assert_eq!((table.len(), table.slot_bytes(), table.keys()), (100, bytes, 100));
    assert_eq!(
        merge(&mut table, &line("new", 9), ReportOrigin::Client),
        (None, MergeOutcome::Full)
    );
}

/// The limit applies to used memory: slots of lines and free slots.
#[test]
fn free_slots_count_as_used_for_lines_that_do_not_fit() {
    let line = |client: &str| format!("AT Alford +0.5 {client} +1+1 5");
    let mut table = Table::new(3);
    table.set_limits(usize::MAX, 500);
    // 36 bytes each.
    for client in 'a'..='n' {
        let line = line(&client.to_string());
        assert_eq!(merge(&mut table, &line, ReportOrigin::Client).1, MergeOutcome::First, "{line}");
    }
    assert_eq!(merge(&mut table, &line("y"), ReportOrigin::Client).1, MergeOutcome::Full);
    assert_eq!(table.forget_before(Stamp(6_000_000_000), 0..13), 13);
    assert_eq!(
        merge(&mut table, &line(&"y".repeat(400)), ReportOrigin::Client).1,
        MergeOutcome::Full
    );
    assert_eq!(merge(&mut table, &line("y"), ReportOrigin::Client).1, MergeOutcome::First);
    // An empty table has no free slots.
    table.forget_before(Stamp(6_000_000_000), 0..14);
    assert_eq!((table.len(), table.slot_bytes()), (0, 0));
    assert_eq!(
        merge(&mut table, &line(&"y".repeat(400)), ReportOrigin::Client).1,
        MergeOutcome::First
    );
}

#[test]
fn equal_tables_have_equal_sums_with_any_history() {
    let mut herds = [Table::new(1), Table::new(99)];
    assert_eq!(herds[0].state_hash(), 0);
    for client in 0..1_000 {
        merge(&mut herds[0], &format!("AT A +0.5 c{client} +1+1 6"), ReportOrigin::Server);
    }
    for client in (0..1_000).rev() {
        for stamp in [5, 4, 6] {
            merge(
                &mut herds[1],
                &format!("AT A +0.5 c{client} +1+1 {stamp}"),
                ReportOrigin::Server,
            );
        }
    }
    assert_eq!(herds[0].state_hash(), herds[1].state_hash());
    let [leaves, others] = herds.each_mut().map(|herd| herd.digest().leaves());
    assert_eq!(leaves, others);
    merge(&mut herds[1], "AT A +0.5 c7 +1+1 7", ReportOrigin::Server);
    assert_ne!(herds[0].state_hash(), herds[1].state_hash());
    let mut differing = |level: fn(&mut Table) -> &[u64]| {
        let [sums, others] = herds.each_mut().map(level);
        sums.iter().zip(others).filter(|(one, other)| one != other).count()
    };
    assert_eq!(differing(|table| table.digest().groups()), 1);
    assert_eq!(differing(|table| table.digest().leaves()), 1);
    merge(&mut herds[0], "AT A +0.5 c7 +1+1 7", ReportOrigin::Server);
    assert_eq!(herds[0].state_hash(), herds[1].state_hash());
}

/// A line that fits is written over the client's old one, without an allocation.
#[test]
fn a_known_clients_line_is_written_over_in_place() {
    let mut table = Table::new(3);
    let keys: Vec<ClientKey> = (0..1000)
        .filter_map(|client| {
            let line = format!("AT Alford +0.263873386 client-{client:04} +34.0-118.4 1.5");
            merge(&mut table, &line, ReportOrigin::Server).0
        })
        .collect();
    for (client, &key) in keys.iter().enumerate() {
        let line = format!("AT Bolden -0.263873386 client-{client:04} -34.0+118.4 2.5");
        let address = table.line(key).as_ptr();
        assert_eq!(
            merge(&mut table, &line, ReportOrigin::Client),
            (Some(key), MergeOutcome::Newer)
        );
        assert_eq!((table.line(key), table.line(key).as_ptr()), (line.as_bytes(), address));
    }
}
