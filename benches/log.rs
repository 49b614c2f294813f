//! Measures the cost of a log line. Run `cargo bench --bench log`.
//!
//! The goal is less than 60 ns for a traffic line, without the writes of 64 KiB (`no_disk`); `file` includes them.

use std::io;
use std::path::Path;

use divan::Bencher;
use places_herd::log::{self, Direction, LogDisk, LogFile, LogSettings, LogTo, Party};

const CONNECTION: Party<'static> = Party::Numbered("Chatserver", 51_966);
const IAMAT: &[u8] = b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1400794645.392014450";
const FOREIGN: &[u8] = "IAMAT Zürich\u{202e} +47.3769+8.5417 1400794645.392014450".as_bytes();

struct Nowhere;

impl LogDisk for Nowhere {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

/// A clock that advances by 10 µs at each reading.
struct Clock(u64);

impl Clock {
    fn next(&mut self) -> u64 {
        self.0 += 10_000;
        self.0
    }
}

#[divan::bench]
fn no_disk(bencher: Bencher<'_, '_>) {
    let mut file = LogFile::new(Box::new(Nowhere), || 0);
    let mut clock = Clock(1_795_342_599_123_456_789);
    bencher.bench_local(|| {
        file.traffic(clock.next(), &CONNECTION, Direction::In, divan::black_box(IAMAT))
    });
}

/// The lines of one read, which have the same time.
#[divan::bench]
fn no_disk_same_read(bencher: Bencher<'_, '_>) {
    let mut file = LogFile::new(Box::new(Nowhere), || 0);
    bencher.bench_local(|| {
        file.traffic(1, &CONNECTION, Direction::In, divan::black_box(IAMAT));
    });
}

#[divan::bench]
fn no_disk_escaped(bencher: Bencher<'_, '_>) {
    let mut file = LogFile::new(Box::new(Nowhere), || 0);
    let mut clock = Clock(1_795_342_599_123_456_789);
    bencher.bench_local(|| {
        file.traffic(clock.next(), &CONNECTION, Direction::In, divan::black_box(FOREIGN))
    });
}

#[divan::bench]
fn file(bencher: Bencher<'_, '_>) {
    let mut clock = Clock(1_795_342_599_123_456_789);
    bencher.bench_local(|| {
        log::traffic(clock.next(), CONNECTION, Direction::In, divan::black_box(IAMAT))
    });
    log::flush();
}

#[divan::bench]
fn file_through_the_macros(bencher: Bencher<'_, '_>) {
    let line = String::from_utf8_lossy(IAMAT);
    bencher.bench_local(|| ::log::info!("client 127.0.0.1:51966 < {}", divan::black_box(&line)));
    log::flush();
}

#[divan::bench]
fn unwritten() -> bool {
    log::unwritten()
}

/// The yardstick: copies as many bytes as a line has.
#[divan::bench]
fn memcpy(bencher: Bencher<'_, '_>) {
    let line = [0_u8; 126];
    let mut out = Vec::with_capacity(64 * 1024);
    bencher.bench_local(|| {
        out.extend_from_slice(divan::black_box(&line));
        if out.len() > 63 * 1024 {
            out.clear();
        }
    });
}

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("log-bench");
    let _ = std::fs::remove_dir_all(&folder);
    let settings = LogSettings {
        to: Some(LogTo::File),
        folder: folder.clone(),
        folder_is_set: true,
        rotate_bytes: 100_000_000,
        rotate_keep: 1,
        ..LogSettings::default()
    };
    log::start(&settings, "Alford", || 1_795_342_599_123_456_789).expect("the folder can be made");
    divan::main();
    let _ = std::fs::remove_dir_all(&folder);
}
