//! Two linked servers without connections: their tables, their comparison, and the lines in transit.

use super::{at, choice};
use places_herd::replication::anti_entropy::Comparison;
use places_herd::table::digest::leaf_of;
use places_herd::table::{ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use places_herd::wire::sync_message::ROW_LINE_BYTES_MAX;
use std::collections::VecDeque;

/// A number of clients with which the sums of leaves are sent.
const MANY: usize = 1_000_000;

/// A number of lines that no comparison reaches: 8 rows of groups, and 2,048 of leaves and as many WANTs from each
/// side.
const TURNS_MAX: usize = 20_000;

struct Side {
    table: Table,
    comparison: Comparison,
    /// The lines in transit to it.
    coming: VecDeque<Vec<u8>>,
    /// The reports that clients send to it during the comparison.
    news: VecDeque<Vec<u8>>,
}

impl Side {
    fn new() -> Side {
        let (comparison, coming, news) = Default::default();
        Side { table: Table::new(1), comparison, coming, news }
    }

    /// Merges an AT line; returns whether it is news.
    fn merge(&mut self, line: &[u8]) -> bool {
        let at = at(line).expect("only such lines are told");
        self.table.merge(&Report::relayed(&at, &mut Vec::new()), ReportOrigin::Server).1.is_news()
    }
}

/// Two servers compare their tables, and at the end these are equal. `<` before a line puts it into the first
/// table, `>` into the second, `=` into both; `(` and `)` make it news for the first and the second during the
/// comparison. The first byte is the seed for the order of events, and decides whether the servers have few clients.
pub fn comparison(data: &[u8]) {
    let (seed, text) = choice(data);
    let mut sides = [Side::new(), Side::new()];
    for line in text.split(|byte| *byte == b'\n') {
        let Some((&whose, line)) = line.split_first() else { continue };
        if at(line).is_none() {
            continue;
        }
        match whose {
            b'<' => _ = sides[0].merge(line),
            b'>' => _ = sides[1].merge(line),
            b'=' => sides.iter_mut().for_each(|side| _ = side.merge(line)),
            b'(' => sides[0].news.push_back(line.to_vec()),
            b')' => sides[1].news.push_back(line.to_vec()),
            _ => {}
        }
    }
    sides[0].comparison.begin();
    let mut chance = u64::from(seed);
    let mut turns = 0;
    while let Some(act) = next(&sides, &mut chance) {
        act(&mut sides, seed & 1 != 0);
        turns += 1;
        assert!(turns < TURNS_MAX + 10 * text.len(), "they never come to an end");
    }
    let [one, other] = &mut sides;
    assert_eq!(one.table.state_hash(), other.table.state_hash());
    assert_eq!(one.table.len(), other.table.len());
    for (_, report) in one.table.iter() {
        let theirs = other.table.latest(report.client()).expect("both know the same clients");
        assert_eq!(report.line(), theirs.line());
    }
    assert!(one.comparison.is_idle() && other.comparison.is_idle());
}

type Act = fn(&mut [Side; 2], bool);

/// Chooses one of the possible next events.
fn next(sides: &[Side; 2], chance: &mut u64) -> Option<Act> {
    let [one, other] = sides;
    let acts: [(bool, Act); 8] = [
        (one.comparison.has_words(), |sides, _| speak(sides, 0)),
        (other.comparison.has_words(), |sides, _| speak(sides, 1)),
        (!one.coming.is_empty(), |sides, many| hear(sides, 0, many)),
        (!other.coming.is_empty(), |sides, many| hear(sides, 1, many)),
        (!one.comparison.is_idle() && !one.comparison.has_words(), |sides, _| give(sides, 0)),
        (!other.comparison.is_idle() && !other.comparison.has_words(), |sides, _| give(sides, 1)),
        (!one.news.is_empty(), |sides, _| report(sides, 0)),
        (!other.news.is_empty(), |sides, _| report(sides, 1)),
    ];
    *chance =
        chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let possible = || acts.iter().filter(|(is_possible, _)| *is_possible);
    let count = possible().count().max(1);
    possible().nth((*chance >> 33) as usize % count).map(|(_, act)| *act)
}

fn speak(sides: &mut [Side; 2], who: usize) {
    let mut line = Vec::new();
    let Side { table, comparison, .. } = &mut sides[who];
    assert!(comparison.write_next(table.digest(), &mut line));
    assert!(line.len() <= ROW_LINE_BYTES_MAX);
    sides[1 - who].coming.push_back(line);
}

fn hear(sides: &mut [Side; 2], who: usize, many: bool) {
    let Side { table, comparison, coming, .. } = &mut sides[who];
    let line = coming.pop_front().expect("there is one");
    match Command::parse(&line, &CommandLimits::default()) {
        Ok(Command::Compare(said)) => {
            let clients = if many { MANY } else { table.len() };
            comparison.hear(said, table.digest(), clients);
        }
        Ok(Command::At(_)) => _ = sides[who].merge(&line),
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

fn give(sides: &mut [Side; 2], who: usize) {
    let Side { table, comparison, .. } = &mut sides[who];
    let leaves = comparison.take_given();
    let lines = table.iter().filter(|(_, report)| leaves.contains(leaf_of(report.client())));
    let lines: Vec<_> = lines.map(|(_, report)| report.line().to_vec()).collect();
    sides[1 - who].coming.extend(lines);
}

/// Delivers a client's report; news is flooded at once.
fn report(sides: &mut [Side; 2], who: usize) {
    let line = sides[who].news.pop_front().expect("there is one");
    if sides[who].merge(&line) {
        let told = super::relayed(&at(&line).expect("it has been read before"));
        sides[1 - who].coming.push_back(told);
    }
}
