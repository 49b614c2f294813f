//! What one IAMAT costs in computing: parse it, write its AT line, merge it into the table.
//!
//! Every client is known, its stamp newer, the ids in random order: the way of a busy server. The
//! lines are written before the clock runs, as they would come from the socket; the table is as
//! cold as it is with so many clients. Every iteration checks its verdict and its line's length.
//!
//! `cargo bench --bench command`; what a number is worth, README of this directory's reports says.

use divan::{Bencher, black_box};
use places_herd::herd::command::{Command, CommandLimits};
use places_herd::herd::sighting::Sighting;
use places_herd::herd::stamp::Stamp;
use places_herd::herd::table::{Herd, Rule, Verdict};

const START_SECONDS: u64 = 1_479_413_884;
/// Received a quarter of a second after it was stamped, give or take.
const LATENCY_NANOS: u64 = 263_873_386;

fn main() {
    divan::main();
}

/// The whole of it.
#[divan::bench(args = [100_000, 1_000_000], sample_count = 200, sample_size = 2_000)]
fn iamat(bencher: Bencher<'_, '_>, clients: u64) {
    let mut reports = Reports::new(clients);
    let mut herd = Herd::new(4, 7);
    let mut scratch = Vec::with_capacity(256);
    for _ in 0..clients {
        assert_eq!(serve(&mut herd, &reports.next(), &mut scratch), Verdict::First);
    }
    bencher.with_inputs(|| reports.next()).bench_local_refs(|report| {
        assert_eq!(serve(&mut herd, report, &mut scratch), Verdict::Newer)
    });
}

/// Its first part: from the line to the command.
#[divan::bench(sample_count = 200, sample_size = 2_000)]
fn parse_iamat(bencher: Bencher<'_, '_>) {
    let mut reports = Reports::new(100_000);
    let limits = CommandLimits::default();
    bencher.with_inputs(|| reports.next()).bench_local_refs(|report| {
        let command = Command::parse(black_box(&report.line), &limits);
        assert!(matches!(command, Ok(Command::Iamat(_))));
    });
}

/// Its second part: from the command to the AT line.
#[divan::bench(sample_count = 200, sample_size = 2_000)]
fn write_at(bencher: Bencher<'_, '_>) {
    let mut reports = Reports::new(1);
    let report = reports.next();
    let Ok(Command::Iamat(iamat)) = Command::parse(&report.line, &CommandLimits::default()) else {
        panic!("an IAMAT");
    };
    let mut scratch = Vec::with_capacity(256);
    bencher.bench_local(|| {
        let sighting = Sighting::taken(black_box(&iamat), b"Alford", report.received, &mut scratch);
        assert_eq!(sighting.line().len(), 80);
    });
}

struct Report {
    line: Vec<u8>,
    received: Stamp,
}

/// IAMAT lines of 57 bytes without end: all clients in random order, then all again a second later.
struct Reports {
    order: Vec<u64>,
    next: usize,
    seconds: u64,
}

impl Reports {
    fn new(clients: u64) -> Reports {
        let mut order: Vec<u64> = (0..clients).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for last in (1..order.len()).rev() {
            // xorshift: any shuffle will do, as long as it is the same every time.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(last, (random % (last as u64 + 1)) as usize);
        }
        Reports { order, next: 0, seconds: START_SECONDS }
    }

    fn next(&mut self) -> Report {
        if self.next == self.order.len() {
            self.next = 0;
            self.seconds += 1;
        }
        let client = self.order[self.next];
        self.next += 1;
        let (seconds, nanos) = (self.seconds, 100_000_000 + client * 137 % 700_000_000);
        let line = format!("IAMAT client-{client:07} +34.068930-118.445127 {seconds}.{nanos}");
        let received = Stamp(seconds * 1_000_000_000 + nanos + LATENCY_NANOS);
        Report { line: line.into_bytes(), received }
    }
}

fn serve(herd: &mut Herd, report: &Report, scratch: &mut Vec<u8>) -> Verdict {
    let Ok(Command::Iamat(iamat)) = Command::parse(&report.line, &CommandLimits::default()) else {
        panic!("an IAMAT");
    };
    let sighting = Sighting::taken(&iamat, b"Alford", report.received, scratch);
    assert_eq!(sighting.line().len(), 80);
    herd.merge(&sighting, Rule::Client).1
}
