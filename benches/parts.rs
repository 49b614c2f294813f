//! Measures each part of the hot path: its time and its number of instructions.
//!
//!     cargo bench --bench parts                            times, in ns
//!     cargo bench --bench parts -- instructions            instructions, compared with the recorded ones
//!     cargo bench --bench parts -- instructions record     the same, and records them
//!     cargo bench --bench parts -- iamat CLIENTS...        the time of an IAMAT, in ns, with this many known clients
//!
//! A time depends on the machine and its load. A number of instructions does not, so it shows the effect of a change:
//! the numbers are recorded in `benches/instructions.md`, and a difference of more than 2 % is marked. They depend on
//! the compiler, whose version is recorded too. Counting needs valgrind.
//!
//! The parts make no system calls. The part IAMAT is everything that a server does for an IAMAT from the read to the
//! send: lines, parsing, table, digest, reply, flood.

#[path = "support/reports.rs"]
mod reports;
#[path = "support/still.rs"]
mod still;
#[path = "support/works.rs"]
mod works;

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use works::{Make, Named, Work, iamats, works};

/// The number of runs; the result is their median.
const RUNS: usize = 41;
/// The shortest time of a run.
const RUN: Duration = Duration::from_millis(2);

/// The largest relative difference that is not marked.
const TOLERANCE: f64 = 0.02;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    match () {
        // This is what valgrind runs.
        () if has("counted") => {
            let number: usize = args.last().and_then(|last| last.parse().ok()).expect("a number");
            count(works()[number]());
        }
        // `cargo test --benches` only needs this to start.
        () if !has("--bench") => {}
        () if has("instructions") => compare(has("record")),
        () if has("iamat") => {
            let clients = args.iter().filter_map(|arg| arg.parse().ok());
            time(clients.map(|clients| Box::new(move || iamats(100, 0, clients)) as Make));
        }
        () => time(works().into_iter()),
    }
}

fn time(works: impl Iterator<Item = Make>) {
    println!("{:<52} {:>9} {:>9}", "ns", "median", "best");
    for make in works {
        let Named { name, each, mut work } = make();
        let mut times: Vec<f64> = (0..RUNS).map(|_| run(&mut *work) / each as f64).collect();
        times.sort_by(f64::total_cmp);
        println!("{name:<52} {:>9.1} {:>9.1}", times[RUNS / 2], times[0]);
    }
}

/// Calls `run` for at least [`RUN`]. Returns the mean time of a call in ns.
fn run(work: &mut dyn Work) -> f64 {
    let (mut taken, mut calls) = (Duration::ZERO, 0);
    while taken < RUN {
        work.prepare();
        let start = Instant::now();
        work.run();
        taken += start.elapsed();
        calls += 1;
    }
    taken.as_nanos() as f64 / f64::from(calls)
}

/// Runs the work three times to warm up, and then once in the function that valgrind counts.
fn count(Named { name, each, mut work }: Named) {
    for _ in 0..3 {
        work.prepare();
        work.run();
    }
    work.prepare();
    counted_part(&mut *work);
    println!("{name}\t{each}");
}

#[inline(never)]
fn counted_part(work: &mut dyn Work) {
    work.run();
    // Keeps the call above from becoming a tail call, whose return valgrind would not see.
    black_box(work);
}

/// Prints the counted numbers beside the recorded ones.
fn compare(is_recording: bool) {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.md");
    let recorded = fs::read_to_string(&table).unwrap_or_default();
    let counted = counted();
    println!("{:<52} {:>9} {:>9} {:>8}", "instructions", "counted", "recorded", "");
    for (name, count) in &counted {
        match recorded_in(&recorded, name) {
            Some(before) => {
                let more = count / before - 1.0;
                let mark = if more.abs() > TOLERANCE { "  <--" } else { "" };
                println!("{name:<52} {count:>9.1} {before:>9.1} {:>+7.1}%{mark}", more * 100.0);
            }
            None => println!("{name:<52} {count:>9.1} {:>9}", "-"),
        }
    }
    if is_recording {
        fs::write(&table, written(&counted)).expect("benches/instructions.md is written");
    }
}

/// Counts the instructions of all pieces of work with valgrind, each in a process of its own.
fn counted() -> Vec<(String, f64)> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    fs::create_dir_all(&folder).expect("a folder in target/tmp");
    (0..works().len()).map(|number| counted_alone(number, &folder.join("counts"))).collect()
}

fn counted_alone(number: usize, counts: &Path) -> (String, f64) {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_part*"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe().expect("this program"))
        .args(["counted".to_owned(), number.to_string()])
        .output()
        .expect("valgrind is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("a name and a number");
    let (name, each) = said.trim_end().split_once('\t').expect("a name and a number");
    let counts = fs::read_to_string(counts).expect("what valgrind has counted");
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    let [total, each] = [total, each].map(|number| number.parse::<f64>().expect("a number"));
    (name.to_owned(), total / each)
}

/// The recorded number of `name`; a row of the table is `| name | number |`.
fn recorded_in(table: &str, name: &str) -> Option<f64> {
    let row = table.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")))?;
    row.trim_end_matches(" |").parse().ok()
}

fn written(counted: &[(String, f64)]) -> String {
    let rustc = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    let rustc = String::from_utf8(rustc.unwrap_or_default()).unwrap_or_default();
    let mut table = format!(
        "# Instructions\n\nWritten by `cargo bench --bench parts -- instructions record`, with {}: how many \
         instructions\neach part of the hot path takes, as valgrind counts them. Without `record` the command \
         compares\nits counts with this table.\n\n| what | instructions |\n| --- | ---: |\n",
        rustc.trim()
    );
    for (name, count) in counted {
        let _ = writeln!(table, "| {name} | {count:.1} |");
    }
    table
}
