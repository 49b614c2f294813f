//! What one IAMAT costs in computing: parse it, write its AT line, merge it into the table.
//!
//! Every client is known, its stamp newer, the ids in random order: the way of a busy server. The
//! lines are written before the clock runs, as they would come from the socket; the table is as
//! cold as it is with so many clients. Every iteration checks its verdict and its line's length.
//!
//! `cargo bench --bench command`; how far to trust a figure: benches/README.md.

#[path = "support/reports.rs"]
mod reports;

use divan::{Bencher, black_box};
use places_herd::table::{MergeOutcome, ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use reports::Reports;

/// Received a quarter of a second after it was stamped, give or take.
const LATENCY_NANOS: u64 = 263_873_386;

fn main() {
    divan::main();
}

/// The whole of it.
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

/// Its first part: from the line to the command.
#[divan::bench(sample_count = 200, sample_size = 2_000)]
fn parse_iamat(bencher: Bencher<'_, '_>) {
    let mut reports = Reports::new(100_000);
    let limits = CommandLimits::default();
    bencher.with_inputs(|| next(&mut reports)).bench_local_refs(|report| {
        let command = Command::parse(black_box(&report.line), &limits);
        assert!(matches!(command, Ok(Command::Iamat(_))));
    });
}

/// Its second part: from the command to the AT line.
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

/// The next report as an IAMAT line of 57 bytes, and when it is received.
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
