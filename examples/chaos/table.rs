//! What is printed: rows of a name and what was measured, and whether that is as it must be.

use crate::ledger::{Ledger, Mistakes};
use crate::servers::{Looks, Servers};
use std::fmt::Display;

/// Width of the names.
const WIDTH: usize = 40;

/// Prints rows as they come, and remembers whether all held.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) all_held: bool,
}

impl Table {
    /// With a headline.
    pub(crate) fn new(head: &str) -> Table {
        println!("{head}\n");
        Table { all_held: true }
    }

    /// A measurement that must be nothing in particular.
    pub(crate) fn row(&mut self, name: &str, value: impl Display) {
        println!("{name:WIDTH$}{value}");
    }

    /// One that must be as it is.
    pub(crate) fn must(&mut self, name: &str, value: impl Display, held: bool) {
        self.all_held &= held;
        println!("{name:WIDTH$}{value}{}", if held { "" } else { "   <-- does not hold" });
    }

    /// Something that must not have happened, and what it was.
    pub(crate) fn never(&mut self, name: &str, mistakes: &Mistakes) {
        self.must(name, mistakes.count, mistakes.count == 0);
        mistakes.shown.iter().for_each(|what| println!("    {what}"));
    }

    /// What clients met.
    pub(crate) fn replies(&mut self, ledger: &Ledger) {
        self.row("reports acknowledged", ledger.acknowledged);
        self.row("questions answered", ledger.answered);
        self.row("commands never answered", ledger.unanswered);
        self.never("wrong replies", &ledger.wrong);
        self.never("replies older than ones before", &ledger.went_back);
    }

    /// What the processes have used, and whether one of them has misbehaved.
    pub(crate) fn processes(&mut self, servers: &Servers) {
        let looks = |of: fn(&Looks) -> u64| servers.all.iter().map(move |server| of(&server.looks));
        let memory = looks(|looks| looks.most_memory_kib).max().unwrap_or(0);
        let descriptors = looks(|looks| looks.most_descriptors as u64).max().unwrap_or(0);
        let threads = looks(|looks| looks.most_threads as u64).max().unwrap_or(0);
        self.row("most memory of a server", format_args!("{memory} KiB"));
        self.row("most descriptors of a server", descriptors);
        self.must("most threads of a server", threads, threads == 1);
        let mut ended = Mistakes::default();
        let all = servers.all.iter().flat_map(|server| &server.ended_itself);
        all.for_each(|what| ended.note(|| what.clone()));
        self.never("servers that ended by themselves", &ended);
        let panics = servers.panics();
        self.must("panics", panics, panics == 0);
    }
}

/// The slope of the straight line that is nearest to `points`, by least squares; 0 of fewer than two.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let products = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    let squares = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    if squares > 0.0 { products / squares } else { 0.0 }
}

/// The value below which `percent` of `sorted` lie.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or(0)
}
