//! The computing time of one IAMAT: parse it, write its AT line, merge it into the table.
//!
//! As on a busy server, every client is known, every stamp is newer, and the ids come in random order. The input lines
//! are made before the clock runs. The table is as cold in the cache as its size makes it. Every iteration checks the
//! outcome of the merge and the length of the line.
//!
//! Run `cargo bench --bench command`. benches/README.md says how far to trust a figure.

#[path = "support/reports.rs"]
mod reports;

use divan::{Bencher, black_box};
use places_herd::table::{MergeOutcome, ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use reports::Reports;

/// The time from a report's stamp to its receipt: about a quarter of a second.
const LATENCY_NANOS: u64 = 263_873_386;

fn main() {
    divan::main();
}

/// All three steps.
#[divan::bench(args = [100_000, 1_000_000], sample_count = 200, sample_size = 2_000)]
fn iamat(bencher: Bencher<'_, '_>, clients: u64) {
    let mut reports = Reports::new(clients);
    let mut table = Table::new(7);
    let _ = [(); 4].map(|()| table.backlogs.add());
    let mut scratch = Vec::with_capacity(256);
    for _ in 0..clients {
        assert_eq!(serve(&mut table, &next(&mut reports), &mut scratch), MergeOutcome::First);
    }
    bencher.with_inputs(|| next(&mut reports)).bench_local_refs(|report| {
        assert_eq!(serve(&mut table, report, &mut scratch), MergeOutcome::Newer)
    });
}

/// Measures the first step of an IAMAT: from the line to the command.
#[divan::bench(sample_count = 200, sample_size = 2_000)]
fn parse_iamat(bencher: Bencher<'_, '_>) {
    let mut reports = Reports::new(100_000);
    let limits = CommandLimits::default();
    bencher.with_inputs(|| next(&mut reports)).bench_local_refs(|report| {
        let command = Command::parse(black_box(&report.line), &limits);
        assert!(matches!(command, Ok(Command::Iamat(_))));
    });
}

/// Measures the second step of an IAMAT: from the command to the AT line.
#[divan::bench(sample_count = 200, sample_size = 2_000)]
fn write_at(bencher: Bencher<'_, '_>) {
    let mut reports = Reports::new(1);
    let report = next(&mut reports);
    let Ok(Command::Iamat(iamat)) = Command::parse(&report.line, &CommandLimits::default()) else {
        panic!("an IAMAT");
    };
    let mut scratch = Vec::with_capacity(256);
    bencher.bench_local(|| {
        let report = Report::taken(black_box(&iamat), b"Alford", report.received, &mut scratch);
        assert_eq!(report.line().len(), 80);
    });
}

struct Sample {
    line: Vec<u8>,
    received: Stamp,
}

/// The next report as an IAMAT line of 57 bytes, and the time of its receipt.
fn next(reports: &mut Reports) -> Sample {
    let report = reports.next();
    let line = format!("IAMAT {}", report.operands).into_bytes();
    Sample { line, received: Stamp(report.stamp_nanos + LATENCY_NANOS) }
}

fn serve(table: &mut Table, report: &Sample, scratch: &mut Vec<u8>) -> MergeOutcome {
    let Ok(Command::Iamat(iamat)) = Command::parse(&report.line, &CommandLimits::default()) else {
        panic!("an IAMAT");
    };
    let report = Report::taken(&iamat, b"Alford", report.received, scratch);
    assert_eq!(report.line().len(), 80);
    table.merge(&report, ReportOrigin::Client).1
}
