//! What many runs have met, and what they have cost.

use super::run::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Of so many seeds, each kind of fault must be met in one.
const SELDOM: u64 = 50;

/// All that there is to be met.
const KINDS: [&str; 30] = [
    "a client that does not read",
    "a client vanishes",
    "a far-future stamp",
    "a frozen server",
    "a late stamp",
    "a link down",
    "a machine lost and back",
    "a partition",
    "a plain neighbour",
    "a question",
    "a report",
    "a reset",
    "a send buffer is full",
    "a server lost for good",
    "a server that reads little",
    "a slow link",
    "a stamp of now",
    "a tied stamp",
    "a wall clock set",
    "a wall clock too fast or slow",
    "accept fails",
    "flapping",
    "kill -9 and restart",
    "news waits as a bit",
    "no descriptors",
    "places answer late",
    "places fail late",
    "places never answer",
    "split arrivals, short writes",
    "swizzle-clog",
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) cpu: Duration,
    simulated: Duration,
    turns: u64,
    acknowledged: u64,
    slowest: Duration,
    met: BTreeMap<&'static str, u64>,
}

impl Summary {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.turns += outcome.turns;
        self.acknowledged += outcome.acknowledged;
        self.slowest = self.slowest.max(outcome.agreed_after);
        for what in &outcome.met {
            *self.met.entry(what).or_default() += 1;
        }
    }

    pub(crate) fn join(&mut self, other: &Summary) {
        self.seeds += other.seeds;
        self.cpu += other.cpu;
        self.simulated += other.simulated;
        self.turns += other.turns;
        self.acknowledged += other.acknowledged;
        self.slowest = self.slowest.max(other.slowest);
        for (what, count) in &other.met {
            *self.met.entry(what).or_default() += count;
        }
    }

    /// What was met in too few seeds to say that it is tested.
    pub(crate) fn seldom(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = KINDS.iter().map(|what| (*what, self.met.get(what).copied().unwrap_or(0)));
        counts.filter(|(_, count)| count * SELDOM < self.seeds)
    }

    /// The table. `passed`: real time.
    pub(crate) fn text(&self, passed: Duration) -> String {
        let Summary { seeds, turns, acknowledged, slowest, .. } = self;
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        let per_second = hours / passed.as_secs_f64().max(1e-9);
        let cpu_ms = self.cpu.as_secs_f64() * 1_000.0 / (*seeds).max(1) as f64;
        let mut text = format!(
            "0 broken promises in {seeds} seeds: {hours:.0} simulated hours, {per_second:.2} for each \
             real second; {cpu_ms:.2} ms CPU a seed\n{turns} turns, {acknowledged} acknowledged reports; \
             the slowest herd agreed {slowest:?} after the last fault\nseeds that met"
        );
        for (what, count) in &self.met {
            write!(text, "\n  {count:>7}  {what}").expect("a String takes everything");
        }
        text
    }
}

/// Processor time that this thread has used; nothing where Linux's account of it cannot be read.
pub(crate) fn thread_cpu() -> Duration {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = account.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
