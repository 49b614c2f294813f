//! Herds with a bus: thousands of whole herds whose servers also write to a double of NATS that fails in all ways. The
//! plans come from a generator of their own.
//!
//! Environment: `HERD_BUS_SEED=n` runs one seed with its log; `HERD_BUS_SEEDS=n` runs n seeds, which is else a tenth of
//! `HERD_SEEDS`; `HERD_SEED_BASE` is that of the other simulation.

use super::bus_plan::BusPlan;
use super::bus_run::{BusOutcome, play};
use super::bus_sabotage::BusSabotage;
use super::bus_summary::BusSummary;
use super::run::Broken;
use super::{ENOUGH, FAILURES_MAX, LOG_TAIL, number, say, seed_base};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The default number of seeds.
const SEEDS: u64 = 100;

/// Of so many seeds of the other simulation one is run here, because a herd with a bus takes some five times as long.
const SHARE: u64 = 10;

/// Seeds that found a fault once.
const REGRESSIONS: [u64; 8] = [2, 28, 56, 257, 814, 1_016, 1_668, 2_442];

/// The last seed by which each broken rule must be noticed.
const CAUGHT_WITHIN: u64 = 500;

fn try_plan(plan: &BusPlan, sabotage: Option<BusSabotage>) -> Result<BusOutcome, Box<Broken>> {
    let played = catch_unwind(AssertUnwindSafe(|| play(plan, sabotage, false).0));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        let (at, what) = (Default::default(), text.to_owned());
        Err(Box::new(Broken { promise: "nothing panics", what, at, step: None }))
    })
}

/// Leaves out steps until every remaining one is needed.
fn shrink(mut plan: BusPlan, mut broken: Broken) -> (BusPlan, Broken) {
    let mut size = plan.steps.len().div_ceil(2).max(1);
    loop {
        let (mut spared, mut start) = (false, 0);
        while start < plan.steps.len() {
            let mut less = plan.clone();
            less.steps.drain(start..(start + size).min(plan.steps.len()));
            match try_plan(&less, None).err().filter(|it| it.promise == broken.promise) {
                Some(still) => (plan, broken, spared) = (less, *still, true),
                None => start += size,
            }
        }
        match (size, spared) {
            (1, false) => return (plan, broken),
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
}

fn story(seed: u64, broken: &Broken) -> String {
    let (least, broken) = shrink(BusPlan::new(seed), broken.clone());
    let log = catch_unwind(AssertUnwindSafe(|| play(&least, None, true).1)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
    format!(
        "\n{tail}\n\nthe smallest plan that fails:\n{least}\nBROKEN: {}\n{}\nat {:?}, after step {:?} of \
         seed {seed}\nHERD_BUS_SEED={seed} cargo test --test suite simulation::bus::whatever runs it again",
        broken.promise, broken.what, broken.at, broken.step,
    )
}

fn play_all(seeds: Range<u64>) -> (BusSummary, BTreeMap<u64, Box<Broken>>) {
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<(BusSummary, BTreeMap<u64, Box<Broken>>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut summary = BusSummary::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match try_plan(&BusPlan::new(seed), None) {
                        Ok(outcome) => summary.add(seed, &outcome),
                        Err(broken) => {
                            say(&format!("bus seed {seed}: BROKEN: {}", broken.promise));
                            let failures = &mut lock().1;
                            failures.insert(seed, broken);
                            if failures.len() >= FAILURES_MAX {
                                next.fetch_max(seeds.end, Ordering::Relaxed);
                            }
                        }
                    }
                }
                lock().0.join(&summary);
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn whatever_happens_to_nats_tables_and_bucket_hold_the_newest() {
    if let Some(seed) = number("HERD_BUS_SEED") {
        let plan = BusPlan::new(seed);
        let (result, log) = play(&plan, None, true);
        say(&format!("{log}\n{plan}"));
        match result {
            Ok(outcome) => say(&format!("seed {seed}: all kept\n{outcome:?}")),
            Err(broken) => panic!("{}", story(seed, &broken)),
        }
        return;
    }
    let share = number("HERD_SEEDS").map(|seeds| seeds.div_ceil(SHARE));
    let (base, count) = (seed_base(), number("HERD_BUS_SEEDS").or(share).unwrap_or(SEEDS));
    say(&format!("simulation of the bus: seeds {base} to {}", base + count - 1));
    let begin = std::time::Instant::now();
    let (summary, failures) = play_all(base..base + count);
    for (seed, broken) in &failures {
        say(&format!("bus seed {seed}: BROKEN: {}: {}", broken.promise, broken.what));
    }
    if let Some((seed, broken)) = failures.first_key_value() {
        panic!("{}", story(*seed, broken));
    }
    say(&summary.text(begin.elapsed()));
    for (what, least) in summary.seldom() {
        assert!(
            count < ENOUGH,
            "{what} was met in {least} of {count} seeds only: it is not tested"
        );
    }
}

#[test]
fn seeds_that_found_a_fault_once_find_none() {
    for seed in REGRESSIONS {
        if let Err(broken) = try_plan(&BusPlan::new(seed), None) {
            panic!("{}", story(seed, &broken));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bus_byte_for_byte() {
    for seed in 0..5 {
        let plan = BusPlan::new(seed);
        let [(_, one), (_, other)] = [(); 2].map(|()| play(&plan, None, true));
        assert!(one == other && one.len() > 10_000, "seed {seed}");
    }
}

#[test]
fn every_broken_rule_of_the_bus_is_noticed() {
    for sabotage in BusSabotage::ALL {
        let first = sabotage.first_seed();
        let caught = (first..=CAUGHT_WITHIN).find_map(|seed| {
            let broken = try_plan(&BusPlan::new(seed), Some(sabotage)).err()?;
            sabotage.breaks().contains(&broken.promise).then_some((seed, broken))
        });
        let (seed, broken) = caught.unwrap_or_else(|| panic!("{sabotage:?} was not noticed"));
        assert!(
            try_plan(&BusPlan::new(seed), None).is_ok(),
            "seed {seed} fails without {sabotage:?}"
        );
        say(&format!("{sabotage:?}: caught at seed {seed}: {}: {}", broken.promise, broken.what));
    }
}
