//! Real servers, real sockets, and everything that goes wrong with both.
//!
//! ```text
//! cargo run --release --example chaos                       a minute of faults under load
//! cargo run --release --example chaos -- --soak             half an hour: does anything grow?
//! cargo run --release --example chaos -- --half-open        how soon a silent neighbour is found
//! cargo run --release --example chaos -- --storm            a hub dies: how soon is everybody back?
//! cargo run --release --example chaos -- --rolling          servers are replaced under load
//! ```
//!
//! It starts `herd serve` processes on loopback, puts a proxy on each edge, reports and asks all the while,
//! and remembers what it was told. Then the faults end, and what the servers know is held against it. It
//! prints a table; its exit status is 0 only if all held.
//!
//! ```text
//!   clients ──▶ herd serve Alford ──▶ proxy ──▶ herd serve Parker ◀── clients
//!                    ▲                  ▲             ▲
//!                    └──── SIGKILL, SIGSTOP, cut, ────┘
//!                          slow, frozen, half open
//! ```
//!
//! All of it but the servers is one thread on one reactor: that of this crate, as any program may use it.
//! Read `ledger.rs` for what is promised, `faults.rs` for what goes wrong, `proxy.rs` for how, `run.rs` for how
//! it is held together, `plays.rs` for what is measured. docs/chaos.md tells more.

mod clients;
mod dice;
mod faults;
mod ledger;
mod plays;
mod proxy;
mod run;
mod servers;
mod table;

use clap::{Parser, ValueEnum};
use herd_reactor::MioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::Plan;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, process};

/// Why a run could not be brought to its end.
type Failed = Box<dyn std::error::Error>;

/// The report's servers.
const FIVE: [&str; 5] = ["Alford", "Bolden", "Hamilton", "Parker", "Welsh"];

/// The report's edges, by numbers of [`FIVE`].
const EDGES_OF_FIVE: [(usize, usize); 5] = [(0, 3), (0, 4), (1, 3), (1, 4), (2, 3)];

/// The hub of a storm. Its name sorts last, so that all dial it.
const HUB: &str = "Zenith";

/// Real servers on loopback, and everything that goes wrong with them
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Options {
    /// For how long things go wrong [default: 60; with --soak 1800]
    #[arg(long)]
    seconds: Option<u64>,
    /// What chance begins with [default: the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// When servers sync what they know; off: they have no journal
    #[arg(long, value_enum, default_value_t = Journal::Everysec)]
    journal: Journal,
    /// Who is killed loses its journal, too
    #[arg(long)]
    lose_disks: bool,
    /// The same, but it is expected to be there: a run that must fail, to see that a loss is seen
    #[arg(long)]
    control: bool,
    /// Servers talk by TLS, with certificates made for the run
    #[arg(long)]
    tls: bool,
    /// How many servers [default: 5, the report's; with --storm 51]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=64))]
    servers: Option<u8>,
    /// How many clients are reported of
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// How many connections report and ask [default: 4 for each server; with --storm 2000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    connections: Option<u32>,
    /// Commands a second, of all connections together
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How often: stops with --half-open, restarts with --storm and --rolling [default: 3, 3, 100]
    #[arg(long)]
    times: Option<u32>,
    /// Where topologies, logs and journals are; removed at the end if all held [default: a new one in the
    /// temporary folder]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Nothing is killed, and the memory of each server is measured
    #[arg(long, group = "play")]
    soak: bool,
    /// Nothing goes wrong at all, to compare with
    #[arg(long)]
    calm: bool,
    /// Measure how soon a neighbour that has fallen silent is found, with the default limits
    #[arg(long, group = "play")]
    half_open: bool,
    /// Measure how soon all are back after a server with many neighbours and clients was killed
    #[arg(long, group = "play")]
    storm: bool,
    /// End one server after the other in good order, and start it again, under load
    #[arg(long, group = "play")]
    rolling: bool,
}

/// `sync` of `[journal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Journal {
    Always,
    Everysec,
    No,
    Off,
}

impl Journal {
    fn sync(self) -> Option<&'static str> {
        match self {
            Journal::Always => Some("always"),
            Journal::Everysec => Some("everysec"),
            Journal::No => Some("no"),
            Journal::Off => None,
        }
    }
}

impl Options {
    /// Chosen before the first use: see `main`.
    fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    fn folder(&self) -> PathBuf {
        let new = || env::temp_dir().join(format!("herd-chaos-{}", process::id()));
        self.folder.clone().unwrap_or_else(new)
    }

    /// The herd that is to be.
    fn plan(&self) -> Result<Plan, Failed> {
        let folder = self.folder();
        if folder.exists() {
            return Err(format!("{} is there already", folder.display()).into());
        }
        let number = usize::from(self.servers.unwrap_or(if self.storm { 51 } else { 5 }));
        let (names, edges) = match number {
            _ if self.storm => star(number),
            5 => (FIVE.map(str::to_owned).to_vec(), EDGES_OF_FIVE.to_vec()),
            _ => ring(number),
        };
        let program = servers::program()?;
        Ok(Plan { names, edges, journal: self.journal.sync(), tls: self.tls, program, folder })
    }
}

/// A ring with a chord from every third to the one opposite.
fn ring(number: usize) -> (Vec<String>, Vec<(usize, usize)>) {
    let names = (0..number).map(|n| format!("Server{n:02}")).collect();
    let neighbours = (0..number).map(|n| (n, (n + 1) % number));
    let chords = (0..number).step_by(3).map(|n| (n, (n + number / 2) % number));
    let sorted = |(one, other): (usize, usize)| (one.min(other), one.max(other));
    let mut edges: Vec<(usize, usize)> = neighbours.chain(chords).map(sorted).collect();
    edges.retain(|(one, other)| one != other);
    edges.sort_unstable();
    edges.dedup();
    (names, edges)
}

/// One hub, the last, and all others its neighbours.
fn star(number: usize) -> (Vec<String>, Vec<(usize, usize)>) {
    let leaves = (1..number).map(|n| format!("Leaf{n:02}"));
    let edges = (0..number - 1).map(|leaf| (leaf, number - 1)).collect();
    (leaves.chain([HUB.to_owned()]).collect(), edges)
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    options.seed.get_or_insert(MioIo::wall_clock().0 % 1_000_000);
    raise_descriptor_limit();
    let outcome = match () {
        () if options.half_open => plays::half_open(&options),
        () if options.storm => plays::storm(&options),
        () if options.rolling => plays::rolling(&options),
        () => plays::faults(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("not all held; logs and journals are kept in {}", options.folder().display());
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("chaos: seed {}: {why}", options.seed());
            if options.folder().exists() {
                eprintln!("chaos: logs and journals are kept in {}", options.folder().display());
            }
            ExitCode::FAILURE
        }
    }
}

/// As far as it goes: what cannot be had is missed where it is needed.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
