//! The simulator: thousands of whole herds of real servers, on real reactors, in a faulty network.
//! A seed determines each run, and the same seed gives the same run again.
//!
//! ```text
//!   seed ─▶ Plan ─▶ Run ─▶ Outcome            the faults that occurred, and durations
//!            data     │
//!                     └──▶ Broken ─▶ shrink ─▶ the promise, the seed, the plan, the end of the log
//! ```
//!
//! How it works, what it checks and how to run one seed again: docs/simulation.md.
//!
//! Environment: `HERD_SEED=n` runs one seed with its log; with `HERD_CONTROL=NAME`, `a_control` runs it with a broken rule; `HERD_SEEDS=n` runs n seeds, beginning with
//! `HERD_SEED_BASE`: a number, or `new` for one from the clock.

mod at_line;
mod bus;
mod bus_plan;
mod bus_run;
mod bus_sabotage;
mod bus_summary;
mod bus_watch;
mod clients;
mod conversation;
mod laws;
mod ledger;
mod places;
mod plain;
mod plan;
mod promises;
mod replicas;
mod run;
mod sabotage;
mod shrink;
mod steps;
mod summary;
mod watch;

use plan::Plan;
use run::{Broken, Outcome, play};
use sabotage::Sabotage;
use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use summary::Summary;

/// The default number of seeds. CI runs 50,000.
const SEEDS: u64 = 300;
/// The default first seed.
const SEED_BASE: u64 = 1;

/// A run of this many seeds must meet every kind of event.
const ENOUGH: u64 = 2_000;

/// One of this many seeds is also run with `ack = "local"`, if it has `ack = "peer"` and a server that is
/// lost for good. The second run costs as much as the first.
const COMPARED: u64 = 4;

/// The number of seeds within which each broken rule must be noticed.
const CAUGHT_WITHIN: u64 = 1_000;

/// The number of log lines that are printed when a run fails.
const LOG_TAIL: usize = 60;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} = {text:?} should be a number")))
}

/// Returns the first seed.
fn seed_base() -> u64 {
    match std::env::var("HERD_SEED_BASE").as_deref() {
        Ok("new") => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos() as u64 % 1_000_000_000_000
        }
        Ok(_) => number("HERD_SEED_BASE").unwrap_or(SEED_BASE),
        Err(_) => SEED_BASE,
    }
}

/// Prints figures on stderr, also when the test passes.
fn say(text: &str) {
    // If stderr is closed, the text is lost.
    let _ = writeln!(stderr(), "{text}");
}

/// Runs a plan; a panic is a broken promise like any other.
fn try_plan(plan: &Plan, sabotage: Option<Sabotage>) -> Result<Outcome, Box<Broken>> {
    let played = catch_unwind(AssertUnwindSafe(|| play(plan, sabotage, false).0));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        let (at, what) = (Default::default(), text.to_owned());
        Err(Box::new(Broken { promise: "nothing panics", what, at, step: None }))
    })
}

/// Runs a seed's plan, and adds its outcome to `summary`. Some plans whose replies wait for a neighbour
/// are run again without that wait, to compare the losses.
fn try_seed(seed: u64, summary: &mut Summary) -> Result<(), Box<Broken>> {
    let plan = Plan::new(seed);
    let outcome = try_plan(&plan, None)?;
    if seed.is_multiple_of(COMPARED) && plan.ack_wait.is_some() && plan.loses_a_server() {
        summary.compare(&outcome, &try_plan(&plan.with_local_acks(), None)?);
    }
    summary.add(&outcome);
    Ok(())
}

/// Describes the failure of a seed: the smallest plan that still fails, and the end of its log.
fn story(seed: u64, broken: &Broken, sabotage: Option<Sabotage>) -> String {
    let plan = Plan::new(seed);
    let fails =
        |plan: &Plan| try_plan(plan, sabotage).err().filter(|it| it.promise == broken.promise);
    let (least, broken) = shrink::shrink(plan, broken.clone(), fails);
    let log = catch_unwind(AssertUnwindSafe(|| play(&least, sabotage, true).1)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
    let again = match sabotage {
        Some(sabotage) => {
            format!("HERD_CONTROL={sabotage:?} cargo test --test suite simulation::a_control")
        }
        None => format!("HERD_SEED={seed} cargo test --test suite simulation::whatever"),
    };
    format!(
        "\n{tail}\n\nthe smallest plan that fails:\n{least}\nBROKEN: {}\n{}\nat {:?}, after step {:?} of \
         seed {seed}\n{again} runs it again",
        broken.promise, broken.what, broken.at, broken.step,
    )
}

/// The seeds that failed, and the broken promise of each.
type Failures = BTreeMap<u64, Box<Broken>>;

/// The number of failures after which no more seeds are run.
const FAILURES_MAX: usize = 20;

/// Runs `seeds` on all processors.
fn play_all(seeds: Range<u64>) -> (Summary, Failures) {
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<(Summary, Failures)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut summary = Summary::default();
                let cpu = summary::thread_cpu();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    if let Err(broken) = try_seed(seed, &mut summary) {
                        let failures = &mut lock().1;
                        failures.insert(seed, broken);
                        if failures.len() >= FAILURES_MAX {
                            next.fetch_max(seeds.end, Ordering::Relaxed);
                        }
                    }
                }
                summary.cpu = summary::thread_cpu() - cpu;
                lock().0.join(&summary);
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn whatever_happens_the_herd_keeps_its_promises() {
    if let Some(seed) = number("HERD_SEED") {
        let plan = Plan::new(seed);
        let (result, log) = play(&plan, None, true);
        say(&format!("{log}\n{plan}"));
        match result {
            Ok(outcome) => say(&format!("seed {seed}: all kept\n{outcome:?}")),
            Err(broken) => panic!("{}", story(seed, &broken, None)),
        }
        return;
    }
    let (base, count) = (seed_base(), number("HERD_SEEDS").unwrap_or(SEEDS));
    say(&format!("simulation: seeds {base} to {}", base + count - 1));
    let begin = std::time::Instant::now();
    let (summary, failures) = play_all(base..base + count);
    for (seed, broken) in &failures {
        say(&format!("seed {seed}: BROKEN: {}: {}", broken.promise, broken.what));
    }
    if let Some((seed, broken)) = failures.first_key_value() {
        panic!("{}", story(*seed, broken, None));
    }
    say(&summary.text(begin.elapsed()));
    assert_eq!(summary.seeds, count);
    for (what, least) in summary.seldom() {
        assert!(
            count < ENOUGH,
            "{what} was met in {least} of {count} seeds only: it is not tested"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    let mut bytes = 0;
    for seed in 0..20 {
        let plan = Plan::new(seed);
        let [(_, one), (_, other)] = [(); 2].map(|()| play(&plan, None, true));
        assert!(one == other, "seed {seed}");
        bytes += one.len();
    }
    assert!(bytes > 100_000, "{bytes} bytes: the logs are too short to compare");
    assert_ne!(play(&Plan::new(1), None, true).1, play(&Plan::new(2), None, true).1);
}

/// Keeping a log does not change a run.
#[test]
fn a_run_with_its_log_is_the_run_without_it() {
    for seed in 0..20 {
        let plan = Plan::new(seed);
        let [with, without] = [true, false].map(|log| play(&plan, None, log).0.map(|it| it.turns));
        assert_eq!(with.ok(), without.ok(), "seed {seed}");
    }
}

#[test]
fn every_broken_rule_is_noticed() {
    for sabotage in Sabotage::ALL {
        let base = SEED_BASE;
        let caught = (base..base + CAUGHT_WITHIN).find_map(|seed| {
            let broken = try_plan(&Plan::new(seed), Some(sabotage)).err()?;
            Some((seed, broken))
        });
        let (seed, broken) = caught.unwrap_or_else(|| panic!("{sabotage:?} was not noticed"));
        assert!(try_plan(&Plan::new(seed), None).is_ok(), "seed {seed} fails without {sabotage:?}");
        assert!(sabotage.breaks().contains(&broken.promise), "{sabotage:?}: {broken:?}");
        say(&format!("{sabotage:?}: caught at seed {seed}: {}: {}", broken.promise, broken.what));
    }
}

/// The rules that `examples/break_it` breaks, each at the seed that it names. With `HERD_CONTROL=NAME` only that one, with its story.
#[test]
fn a_control_breaks_its_promise_at_the_seed_that_break_it_names() {
    let example = include_str!("../../../examples/break_it/main.rs");
    let asked = std::env::var("HERD_CONTROL").ok();
    let mut seen = 0;
    for named in example.split("Simulated { control: \"").skip(1) {
        let (control, rest) = named.split_once("\", seed: ").expect("a seed follows");
        let seed = rest.split(' ').next().and_then(|seed| seed.parse().ok()).expect("a number");
        if asked.as_ref().is_some_and(|asked| asked != control) {
            continue;
        }
        seen += 1;
        let is_named = |sabotage: &Sabotage| format!("{sabotage:?}") == control;
        let sabotage = Sabotage::ALL.into_iter().find(is_named);
        let broken = try_plan(&Plan::new(seed), sabotage).expect_err("it is noticed");
        assert!(sabotage.is_some_and(|it| it.breaks().contains(&broken.promise)), "{broken:?}");
        if asked.is_some() {
            say(&story(seed, &broken, sabotage));
        }
    }
    assert_eq!(seen, if asked.is_some() { 1 } else { 3 });
}

#[test]
fn a_plan_shrinks_to_the_steps_that_matter() {
    let sabotage = Some(Sabotage::ReportsRule);
    let seed = (SEED_BASE..).find(|seed| try_plan(&Plan::new(*seed), sabotage).is_err());
    let plan = Plan::new(seed.expect("there are enough"));
    let broken = *try_plan(&plan, sabotage).expect_err("it was found");
    let promise = broken.promise;
    let fails = |plan: &Plan| try_plan(plan, sabotage).err().filter(|it| it.promise == promise);
    let (least, broken) = shrink::shrink(plan.clone(), broken, fails);
    assert!(least.steps.len() < plan.steps.len());
    assert_eq!(broken.promise, promise);
    for step in 0..least.steps.len() {
        let mut less = least.clone();
        less.steps.remove(step);
        assert!(fails(&less).is_none(), "step {step} does not matter");
    }
    assert!(least.steps.len() <= 4, "{least}");
}
