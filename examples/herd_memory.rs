//! Measures the memory of a table with a million clients, and the time of the slowest merge.
//!
//! `cargo run --release --example herd_memory [clients]` fills a table with clients like
//! `client-0000123`, whose AT lines have 76 to 90 bytes, then reports a new location of each, and
//! prints how much the process has grown by Linux' count of resident pages.

use std::time::{Duration, Instant};

use places_herd::table::{ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;

const NEIGHBOURS: usize = 4;

fn main() {
    let clients = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number"));
    let mut table = Table::new(7);
    table.set_limits(clients as usize, usize::MAX);
    (0..NEIGHBOURS).for_each(|_| {
        table.backlogs.add();
    });
    let mut scratch = Vec::with_capacity(256);
    let before = resident_bytes();
    for (round, seconds) in [("known", 1_479_413_884_u64), ("moved", 1_479_413_885)] {
        let (mut line_bytes, mut slowest) = (0, Duration::ZERO);
        for client in 0..clients {
            let line = line(client, seconds);
            let Ok(Command::At(at)) = Command::parse(line.as_bytes(), &CommandLimits::default())
            else {
                panic!("an AT: {line}");
            };
            let report = Report::relayed(&at, &mut scratch);
            line_bytes += report.line().len() as u64;
            let start = Instant::now();
            table.merge(&report, ReportOrigin::Server);
            slowest = slowest.max(start.elapsed());
        }
        let grown = resident_bytes() - before;
        println!(
            "{clients} clients {round}: {:.1} bytes of memory each, of which {:.1} are the line; \
             slowest merge {slowest:?}",
            grown as f64 / clients as f64,
            line_bytes as f64 / clients as f64,
        );
    }
}

/// Returns an AT line of 76 to 90 bytes.
fn line(client: u64, seconds: u64) -> String {
    // The bits are mixed, so that the two lines of a client differ in length.
    let mixed = (client ^ seconds << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let server = ["Alford", "Bolden", "Hamilton", "Parker", "Welsh"][(mixed % 5) as usize];
    let difference = [0, 3, 12, 100][(mixed / 5 % 4) as usize];
    let latitude = ["-5.068930", "+34.068930", "+34.0689300"][(mixed / 20 % 3) as usize];
    let longitude = ["+7.445127", "-118.445127", "-118.4451270"][(mixed / 60 % 3) as usize];
    let nanos = 100_000_000 + mixed % 900_000_000;
    let location = format!("{latitude}{longitude}");
    format!("AT {server} +{difference}.263873386 client-{client:07} {location} {seconds}.{nanos}")
}

/// The resident memory of the process: the second number of /proc/self/statm, in pages of 4 KiB.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("a second number");
    pages.parse::<u64>().expect("a number") * 4096
}
