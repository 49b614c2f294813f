//! Sums up the events and the costs of many runs.

use super::run::{Answers, Outcome};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// One of this many seeds must meet each kind of event.
const SELDOM: u64 = 50;

/// All kinds of events.
const KINDS: [&str; 40] = [
    "a client that does not read",
    "a client vanishes",
    "a disk is full",
    "a disk gives errors",
    "a disk that fails",
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
    "a restart with its disk",
    "a send buffer is full",
    "a server ends for its disk",
    "a server lost for good",
    "a server that reads little",
    "a slow link",
    "a stamp of now",
    "a stamp too old",
    "a tied stamp",
    "a torn tail",
    "a wall clock set",
    "a wall clock too fast or slow",
    "accept fails",
    "clients expire",
    "flapping",
    "kill -9 and restart",
    "news waits as a bit",
    "no descriptors",
    "places answer late",
    "places fail late",
    "places never answer",
    "replies leave without its word",
    "replies wait for a neighbour",
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
    /// The power failures of each policy, the number of those with a loss, and the longest
    /// window.
    losses: BTreeMap<&'static str, (u64, u64, Duration)>,
    pings: [u64; 2],
    /// The herds in which an update was counted, its lines, and the expected number of lines.
    updates: [u64; 3],
    /// The herds whose replies wait for a neighbour, and the fates of those replies.
    waiting: [u64; 7],
    /// The herds of these that lose a server for good, and the reports lost in them with `ack = "peer"` and with
    /// `ack = "local"`.
    compared: [u64; 3],
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
        for loss in &outcome.losses {
            let window = loss.window.unwrap_or_default();
            self.lose(loss.policy, (1, u64::from(loss.window.is_some()), window));
        }
        add(&mut self.pings, outcome.pings);
        if let Some([lines, bound]) = outcome.update_lines {
            add(&mut self.updates, [1, lines, bound]);
        }
        if outcome.met.contains("replies wait for a neighbour") {
            let Answers { held, unreplicated, destroyed, lost, lost_counted, lost_with_takers } =
                outcome.answers;
            let lost = [lost, lost_counted, lost_with_takers];
            add(&mut self.waiting, [1, held, unreplicated, destroyed, lost[0], lost[1], lost[2]]);
        }
    }

    /// Adds the outcomes of one plan that was run twice: with replies that wait for a neighbour, and without.
    pub(crate) fn compare(&mut self, waiting: &Outcome, local: &Outcome) {
        add(&mut self.compared, [1, waiting.answers.lost, local.answers.lost]);
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
        other.losses.iter().for_each(|(policy, loss)| self.lose(policy, *loss));
        add(&mut self.pings, other.pings);
        add(&mut self.updates, other.updates);
        add(&mut self.waiting, other.waiting);
        add(&mut self.compared, other.compared);
    }

    fn lose(&mut self, policy: &'static str, (times, lossy, window): (u64, u64, Duration)) {
        let all = self.losses.entry(policy).or_default();
        *all = (all.0 + times, all.1 + lossy, all.2.max(window));
    }

    /// Returns the figures of the promises, one line each.
    fn figures(&self) -> String {
        let [herds, lines, bound] = self.updates;
        let [pings, wanted] = self.pings;
        let mut text = format!(
            "one update: {lines} lines in {herds} herds, 2E - (n - 1) is {bound}\nwall clocks wrong by \
             a day: {pings} PINGs for {wanted}, nowhere more than one too many or too few"
        );
        for (policy, (times, lossy, window)) in &self.losses {
            write!(
                text,
                "\npower lost, {policy}: something in {lossy} of {times}, {window:?} at most"
            )
            .expect("a String takes everything");
        }
        let [herds, held, unreplicated, destroyed, lost, counted, with_takers] = self.waiting;
        let others = lost - counted - with_takers;
        let [losing, peer, local] = self.compared;
        write!(
            text,
            "\nack = peer: {herds} herds, {held} replies held, {unreplicated} left unreplicated; \
             {destroyed} servers destroyed\n  answered reports lost: {counted} that were counted, \
             {with_takers} with each neighbour that had them, {others} others\n  in {losing} of \
             these herds, where a server is lost for good: {peer}; with ack = local: {local}"
        )
        .expect("a String takes everything");
        text
    }

    /// Returns the kinds of events that too few seeds have met.
    pub(crate) fn seldom(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = KINDS.iter().map(|what| (*what, self.met.get(what).copied().unwrap_or(0)));
        counts.filter(|(_, count)| count * SELDOM < self.seeds)
    }

    /// Returns the table. `passed`: the real time that the runs took.
    pub(crate) fn text(&self, passed: Duration) -> String {
        let Summary { seeds, turns, acknowledged, slowest, .. } = self;
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        let per_second = hours / passed.as_secs_f64().max(1e-9);
        let cpu_ms = self.cpu.as_secs_f64() * 1_000.0 / (*seeds).max(1) as f64;
        let mut text = format!(
            "0 broken promises in {seeds} seeds: {hours:.0} simulated hours, {per_second:.2} for each \
             real second; {cpu_ms:.2} ms CPU a seed\n{turns} turns, {acknowledged} acknowledged reports; \
             the slowest herd agreed {slowest:?} after the last fault\n{}\nseeds that met",
            self.figures()
        );
        for (what, count) in &self.met {
            write!(text, "\n  {count:>7}  {what}").expect("a String takes everything");
        }
        text
    }
}

/// Adds `more` to `all`, element by element.
fn add<const N: usize>(all: &mut [u64; N], more: [u64; N]) {
    all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
}

/// Returns the processor time of this thread; zero if Linux's account of it cannot be read.
pub(crate) fn thread_cpu() -> Duration {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = account.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
