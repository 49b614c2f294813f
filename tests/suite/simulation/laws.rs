//! The laws of merging, on which everything else rests: for any order of reports, and any number of repetitions,
//! the same report stays.

use super::say;
use crate::support::dice::Dice;
use places_herd::table::{ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use std::cmp::Ordering;
use std::collections::BTreeSet;

// There are few of each, so that they collide; some stamps are equal but written differently.
const SERVERS: [&str; 3] = ["Alford", "Bolden", "Z"];
const DIFFERENCES: [&str; 4] = ["+0.263873386", "-0.000000001", "+9.5e-05", "0"];
const LOCATIONS: [&str; 3] = ["+1+1", "-34.068930-118.445127", "+1.0+1.0"];
const STAMPS: [&str; 6] = ["5", "5.0", "5.000000001", "0005", "1479413884.392014450", "9999999999"];

fn read<T>(line: &str, with: impl FnOnce(&Report<'_>) -> T) -> T {
    match Command::parse(line.as_bytes(), &CommandLimits::default()) {
        Ok(Command::At(at)) => with(&Report::relayed(&at, &mut Vec::new())),
        other => panic!("{line}: {other:?}"),
    }
}

/// Returns the line that a server keeps of these.
fn merged<'a>(lines: &[&'a str]) -> &'a str {
    let mut table = Table::new(1);
    for line in lines {
        read(line, |report| table.merge(report, ReportOrigin::Server));
    }
    let (_, kept) = table.iter().next().expect("something was merged");
    lines.iter().find(|line| line.as_bytes() == kept.line()).expect("what is kept was merged")
}

/// Compares two reports of one client by the order of docs/protocol.md: the stamp, then the line.
fn order(one: &str, other: &str) -> Ordering {
    read(one, |one| {
        read(other, |other| (one.stamp(), one.line()).cmp(&(other.stamp(), other.line())))
    })
}

/// Returns lines that collide in every way.
fn grid() -> Vec<String> {
    let mut pool = Vec::new();
    for server in SERVERS {
        for difference in DIFFERENCES {
            for location in LOCATIONS {
                pool.extend(
                    STAMPS.map(|it| format!("AT {server} {difference} kiwi {location} {it}")),
                );
            }
        }
    }
    pool
}

/// Returns a random line.
fn random(dice: &mut Dice) -> String {
    let server = dice.one_of(&SERVERS);
    let (sign, seconds, nanos) =
        (dice.one_of(&["+", "-"]), dice.within(0..=99), dice.within(0..=999_999_999));
    let (latitude, longitude) = (dice.within(0..=89), dice.within(0..=179));
    let digits = dice.within(1..=9) as usize;
    let part = dice.bits() % 10_u64.pow(digits as u32);
    let stamp = dice.within(0..=3);
    format!(
        "AT {server} {sign}{seconds}.{nanos:09} kiwi +{latitude}-{longitude} {stamp}.{part:0digits$}"
    )
}

/// Checks every triple of `pool`; returns their number.
fn check(pool: &[&str]) -> usize {
    let all = 0..pool.len();
    let index_of =
        |line: &str| pool.iter().position(|known| *known == line).expect("it is in the pool");
    // The line that a server keeps of each pair.
    let kept: Vec<Vec<usize>> =
        pool.iter().map(|a| pool.iter().map(|b| index_of(merged(&[a, b]))).collect()).collect();
    for (a, b) in all.clone().flat_map(|a| all.clone().map(move |b| (a, b))) {
        assert_eq!(kept[a][b], kept[b][a], "{} and {}, in either order", pool[a], pool[b]);
        let expected = match order(pool[a], pool[b]) {
            Ordering::Equal => a == b,
            Ordering::Greater => kept[a][b] == a,
            Ordering::Less => kept[a][b] == b,
        };
        assert!(expected, "{} and {} are in no order", pool[a], pool[b]);
        for c in all.clone() {
            let (left, right) = (kept[kept[a][b]][c], kept[a][kept[b][c]]);
            assert_eq!(left, right, "{}, {}, {}: however grouped", pool[a], pool[b], pool[c]);
        }
    }
    assert!(all.clone().all(|a| kept[a][a] == a), "a repeated line changes nothing");
    pool.len().pow(3)
}

#[test]
fn merging_is_commutative_associative_idempotent_and_total() {
    let grid = grid();
    let mut triples = check(&grid.iter().map(String::as_str).collect::<Vec<_>>());
    let mut dice = Dice::new(7);
    for _ in 0..4 {
        let pool: BTreeSet<String> = (0..200).map(|_| random(&mut dice)).collect();
        triples += check(&pool.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert!(triples > 1_000_000);
    say(&format!("laws of merging: 0 broken in {triples} triples"));
}
