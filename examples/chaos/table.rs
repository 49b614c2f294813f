//! The printed table: rows with a name, a measurement, and whether a check failed.

use crate::ledger::{Ledger, Mistakes};
use crate::servers::{Looks, Servers};
use std::fmt::Display;

/// Width of the names.
const WIDTH: usize = 40;

/// Prints rows at once, and remembers whether all checks passed.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) all_held: bool,
}

impl Table {
    /// Starts a table, with a headline.
    pub(crate) fn new(head: &str) -> Table {
        println!("{head}\n");
        Table { all_held: true }
    }

    /// Prints a measurement without a check.
    pub(crate) fn row(&mut self, name: &str, value: impl Display) {
        println!("{name:WIDTH$}{value}");
    }

    /// Prints a measurement and, if `held` is false, that its check failed.
    pub(crate) fn must(&mut self, name: &str, value: impl Display, held: bool) {
        self.all_held &= held;
        println!("{name:WIDTH$}{value}{}", if held { "" } else { "   <-- does not hold" });
    }

    /// Prints the number of `mistakes`, which must be 0, and the first of them.
    pub(crate) fn never(&mut self, name: &str, mistakes: &Mistakes) {
        self.must(name, mistakes.count, mistakes.count == 0);
        mistakes.shown.iter().for_each(|what| println!("    {what}"));
    }

    /// Prints the counts of replies.
    pub(crate) fn replies(&mut self, ledger: &Ledger) {
        self.row("reports acknowledged", ledger.acknowledged);
        self.row("questions answered", ledger.answered);
        self.row("commands never answered", ledger.unanswered);
        self.never("wrong replies", &ledger.wrong);
        self.never("replies older than ones before", &ledger.went_back);
    }

    /// Prints the resources that the processes have used, and their exits and panics.
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

/// The slope of the line fitted to `points` by least squares; 0 if there are fewer than two.
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
