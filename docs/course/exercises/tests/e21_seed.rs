//! The test of exercise 21.

use crate::support::*;
use exercises::e21_seed::{Bank, Customer, World};
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Backoff, ConnectOptions, SplitMix64, factory};
use std::time::Duration;

const SEEDS: u64 = 200;
const DEPOSITS: u64 = 20;

/// The state after a run of a minute, in which connections are reset `resets` times.
fn run(options: MemoryOptions, resets: u64) -> World {
    let mut chance = SplitMix64::new(options.seed);
    let state = World { amounts: (1..=DEPOSITS).collect(), ..World::default() };
    let mut stage = Stage::on(options, state);
    let address = stage.listen_lines(|| Bank);
    let backoff = Backoff::new(10 * MS, 10 * MS, 1.0, 0.0);
    let options = ConnectOptions { reconnect: Some(backoff), ..ConnectOptions::default() };
    let customer = factory(|_, _| Some(Customer::default()));
    stage.reactor.connect_tcp(address, options, customer);
    for _ in 0..resets {
        stage.pass(Duration::from_millis(chance.next_u64() % 160));
        let open = stage.reactor.io().connections();
        if !open.is_empty() {
            let reset = open[chance.next_u64() as usize % open.len()];
            stage.reactor.io().reset(reset);
        }
    }
    stage.pass(60 * SECOND);
    std::mem::take(stage.state())
}

/// The state after a run with this seed on a bad network.
fn run_seed(seed: u64) -> World {
    let options = MemoryOptions {
        delay: MS..=10 * MS,
        gap: Duration::ZERO..=5 * MS,
        arrival_bytes: 1..=4,
        ..MemoryOptions::calm(seed)
    };
    run(options, 3)
}

/// Fails if `wrong` finds a fault with any seed; shows the first such run.
#[track_caller]
fn check(wrong: impl Fn(&World) -> Option<String>) {
    let runs = (0..SEEDS).map(|seed| (seed, run_seed(seed)));
    let mut faults = runs.filter_map(|(seed, world)| Some((seed, wrong(&world)?, world.log)));
    if let Some((seed, fault, log)) = faults.next() {
        let others = faults.count();
        let log = log.join("\n");
        panic!(
            "seed {seed}: {fault}; {others} of {SEEDS} seeds more show this fault\n\
             the log of seed {seed}:\n{log}\n"
        );
    }
}

#[test]
fn on_a_calm_network_each_deposit_is_taken_once() {
    let world = run(MemoryOptions::calm(0), 0);
    assert_eq!(world.balance, DEPOSITS * (DEPOSITS + 1) / 2, "the sum of 1 to {DEPOSITS}");
    assert!(world.amounts.is_empty(), "the customer still waits: {:?}", world.amounts);
}

#[test]
fn no_deposit_is_taken_twice() {
    let right = DEPOSITS * (DEPOSITS + 1) / 2;
    check(|world| {
        let open: u64 = world.amounts.iter().sum();
        let most = right - open + world.amounts.front().unwrap_or(&0);
        let fault = || format!("the balance is {}, and at most {most} was paid in", world.balance);
        (world.balance > most).then(fault)
    });
}

#[test]
fn each_deposit_gets_through_within_a_minute() {
    check(|world| {
        let left = world.amounts.len();
        (left > 0).then(|| format!("{left} of {DEPOSITS} deposits still wait after a minute"))
    });
}
