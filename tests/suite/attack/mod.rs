//! Limits under attack: the promises of a server against hostile clients and neighbours, with printed figures.
//!
//! ```text
//!   attackers, by the thousand ──▶ client port, peer port, status socket ┐
//!   a few honest clients ────────▶ client port                           ├ herd serve Alford
//!   /proc, log, status ◀─────────────────────────────────────────────────┘
//! ```
//!
//! Each promise has a short form, which `cargo test` runs: it asserts bounds on memory, counts and
//! closed connections, and nothing that depends on the speed of the machine. The long form has the full numbers
//! and the ratios of latencies, and prints one line that names the promise:
//!
//! ```text
//! cargo test --release --test suite attack:: -- --ignored --nocapture --test-threads 1
//! ```
//!
//! The rules themselves are in docs/protocol.md.

#![cfg(all(target_os = "linux", feature = "embedded-places"))]

mod bytes;
mod clients_without_end;
mod descriptors;
mod impostors;
mod neighbour;
mod secrets;
mod slow;
mod slow_readers;
mod stall;

use crate::support::herd::Herd;
use clap::Parser;
use herd_bench::{Options, run};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

const ALFORD: &str = "Alford";

/// Runs the load generator against Alford with the options `load`, and returns its report.
#[track_caller]
fn bench(herd: &Herd, load: &str) -> Value {
    let address = herd.client_address(ALFORD).to_string();
    let words = ["herd-bench", "--json", &address].into_iter().chain(load.split_whitespace());
    let options = Options::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    run(&options, &mut out).unwrap_or_else(|failure| panic!("{load}: {failure}"));
    serde_json::from_slice(&out).expect("one line of JSON")
}

/// The 99th percentile of the latency of IAMATs in a report of [`bench`], in microseconds.
fn iamat_p99_us(report: &Value) -> f64 {
    report["latency_us"]["IAMAT"]["p99"].as_f64().expect("IAMATs were sent")
}

/// The median of `values`.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Waits for `time`, in which something must not happen.
fn let_pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// Bytes as MiB, to be printed.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
