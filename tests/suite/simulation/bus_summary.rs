//! Sums up what many runs with a bus have met, and what they cost.

use super::bus_run::BusOutcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// One of this many seeds must meet each kind of event.
const SELDOM: u64 = 100;

/// All kinds of events that must be met.
const KINDS: [&str; 33] = [
    "NATS: a full disk",
    "NATS: a gap",
    "NATS: a message cut",
    "NATS: a node killed",
    "NATS: a node started",
    "NATS: connections closed",
    "NATS: connections reset",
    "NATS: consumers end",
    "NATS: credentials expire",
    "NATS: lame duck",
    "NATS: last writes forgotten",
    "NATS: mute",
    "NATS: no majority",
    "NATS: rates of faults",
    "NATS: renumbered",
    "NATS: restart",
    "NATS: stream deleted",
    "NATS: stream made anew",
    "NATS: unavailable",
    "a cable cut",
    "a frozen server",
    "a machine lost and back",
    "a report",
    "another program: a key deleted",
    "another program: a value of its own",
    "another program: the bucket purged",
    "clients expire",
    "conflicts",
    "kill -9 and restart",
    "news waits as a bit",
    "replies leave counted",
    "replies wait for the bus",
    "servers without NATS",
];

#[derive(Clone, Debug, Default)]
pub(crate) struct BusSummary {
    seeds: u64,
    simulated: Duration,
    turns: u64,
    slowest: (Duration, u64),
    met: BTreeMap<&'static str, u64>,
    /// Acknowledged reports, puts, stored puts, conflicts, replies that waited, replies that were counted.
    sums: [u64; 6],
}

impl BusSummary {
    pub(crate) fn add(&mut self, seed: u64, outcome: &BusOutcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.turns += outcome.turns;
        // Those that wait for the hourly reading are counted by themselves.
        if !outcome.met.contains("only the hourly reading shows it") {
            self.slowest = self.slowest.max((outcome.agreed_after, seed));
        }
        let also = [
            ("conflicts", outcome.conflicts),
            ("replies wait for the bus", outcome.founded),
            ("replies leave counted", outcome.counted),
        ];
        let also = also.iter().filter(|(_, count)| *count > 0).map(|(what, _)| what);
        for what in outcome.met.iter().chain(also) {
            *self.met.entry(what).or_default() += 1;
        }
        let BusOutcome { acknowledged, puts, stored, conflicts, founded, counted, .. } = *outcome;
        let more = [acknowledged, puts, stored, conflicts, founded, counted];
        self.sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }

    pub(crate) fn join(&mut self, other: &BusSummary) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.turns += other.turns;
        self.slowest = self.slowest.max(other.slowest);
        for (what, count) in &other.met {
            *self.met.entry(what).or_default() += count;
        }
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, more)| *sum += more);
    }

    /// The kinds of events that too few seeds have met.
    pub(crate) fn seldom(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = KINDS.iter().map(|what| (*what, self.met.get(what).copied().unwrap_or(0)));
        counts.filter(|(_, count)| count * SELDOM < self.seeds)
    }

    /// The table. `passed`: the real time that the runs took.
    pub(crate) fn text(&self, passed: Duration) -> String {
        let BusSummary { seeds, turns, slowest: (slowest, seed), .. } = self;
        let [acknowledged, puts, stored, conflicts, founded, counted] = self.sums;
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        let mut text = format!(
            "bus: 0 broken promises in {seeds} seeds: {hours:.0} simulated hours in {passed:.0?}; {turns} turns\n\
             {acknowledged} acknowledged reports, {puts} puts, {stored} stored, {conflicts} conflicts\n\
             ack = bus: {founded} replies waited until the bucket had the report, {counted} were counted\n\
             the slowest herd agreed {slowest:?} after the last fault (seed {seed}; 21 s pass in any case)\n\
             seeds that met"
        );
        for (what, count) in &self.met {
            write!(text, "\n  {count:>7}  {what}").expect("a String takes everything");
        }
        text
    }
}
