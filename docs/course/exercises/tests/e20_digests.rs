//! The test of exercise 20.

use exercises::e20_digests::{Entry, Table, bucket};
use herd_reactor::SplitMix64;
use std::collections::BTreeMap;

const ENTRIES: usize = 4_096;

fn entry(stamp: u64, value: &str) -> Entry {
    Entry { stamp, value: value.to_owned() }
}

fn name(number: usize) -> String {
    format!("client{number:04}")
}

fn table() -> Table {
    let mut table = Table::default();
    for number in 0..ENTRIES {
        table.put(name(number), entry(1_000, &format!("+34.0689-118.4451 {number:04}")));
    }
    table
}

/// Exchanges what differs. Returns the number of messages and of bytes.
#[track_caller]
fn exchange(ours: &mut Table, theirs: &mut Table) -> (usize, usize) {
    let mut right: BTreeMap<String, Entry> = ours.entries.clone();
    for (name, entry) in &theirs.entries {
        let best = right.entry(name.clone()).or_insert_with(|| entry.clone());
        *best = (*best).clone().max(entry.clone());
    }
    let (mut messages, mut bytes) = (0, 0);
    let mut next = Some(ours.begin());
    let mut tables = [&mut *theirs, &mut *ours];
    while let Some(message) = next.take() {
        messages += 1;
        bytes += message.bytes();
        assert!(messages <= 10, "the exchange does not end");
        next = tables[0].receive(message);
        tables.swap(0, 1);
    }
    for (who, table) in [("that began", ours), ("that answered", theirs)] {
        let of_both = right.iter().find(|(name, entry)| table.entries.get(*name) != Some(entry));
        if let Some((name, entry)) = of_both {
            let got = table.entries.get(name);
            panic!("the table {who} has {got:?} for {name}, and {entry:?} is right");
        }
    }
    (messages, bytes)
}

#[test]
fn equal_tables_exchange_one_message() {
    let (messages, bytes) = exchange(&mut table(), &mut table());
    assert_eq!(messages, 1, "messages ({bytes} bytes) between two equal tables");
    assert!(bytes <= 2_100, "{bytes} bytes between two equal tables");
    let (messages, _) = exchange(&mut Table::default(), &mut Table::default());
    assert_eq!(messages, 1, "messages between two empty tables");
}

#[test]
fn three_differences_in_either_table_cost_few_bytes() {
    for newer in ["the first", "the second", "both"] {
        let (mut ours, mut theirs) = (table(), table());
        for (at, number) in [7, 1_000, 4_000].into_iter().enumerate() {
            let is_ours = newer == "the first" || newer == "both" && at % 2 == 0;
            let changed = if is_ours { &mut ours } else { &mut theirs };
            changed.put(name(number), entry(2_000, "+48.8584+002.2945 here"));
        }
        let (_, bytes) = exchange(&mut ours, &mut theirs);
        assert!(bytes <= 6_000, "three entries are newer in {newer}, and {bytes} bytes were sent");
    }
}

#[test]
fn an_entry_that_one_table_lacks_is_sent() {
    for is_ours in [false, true] {
        let (mut ours, mut theirs) = (table(), table());
        let lacking = if is_ours { &mut ours } else { &mut theirs };
        lacking.entries.remove(&name(77));
        let (_, bytes) = exchange(&mut ours, &mut theirs);
        assert!(bytes <= 6_000, "one entry was missing, and {bytes} bytes were sent");
    }
    exchange(&mut Table::default(), &mut table());
    exchange(&mut table(), &mut Table::default());
}

#[test]
fn a_stamp_alone_is_a_difference() {
    let (mut ours, mut theirs) = (table(), table());
    let value = theirs.entries[&name(5)].value.clone();
    theirs.put(name(5), entry(1_001, &value));
    exchange(&mut ours, &mut theirs);
}

#[test]
fn two_values_that_changed_places_are_a_difference() {
    let (mut ours, mut theirs) = (Table::default(), Table::default());
    let first = name(0);
    let same_bucket = (1..).map(name).find(|name| bucket(name) == bucket(&first)).unwrap();
    for (table, values) in [(&mut ours, ["a", "b"]), (&mut theirs, ["b", "a"])] {
        table.put(first.clone(), entry(1, values[0]));
        table.put(same_bucket.clone(), entry(1, values[1]));
    }
    exchange(&mut ours, &mut theirs);
}

#[test]
fn whatever_differs_both_tables_are_right_in_the_end() {
    for seed in 0..100 {
        let mut chance = SplitMix64::new(seed);
        let mut below = |most: u64| chance.next_u64() % most;
        let mut tables = [Table::default(), Table::default()];
        for table in &mut tables {
            for _ in 0..below(60) {
                let number = below(50) as usize;
                table.put(name(number), entry(below(4), ["a", "b", "c"][below(3) as usize]));
            }
        }
        let [ours, theirs] = &mut tables;
        println!("seed {seed}");
        exchange(ours, theirs);
    }
}
