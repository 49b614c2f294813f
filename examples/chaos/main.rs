//! Real servers and real sockets under every fault that can be caused from outside.
//!
//! ```text
//! cargo run --release --example chaos                       a minute of faults under load
//! cargo run --release --example chaos -- --soak             half an hour: does anything grow?
//! cargo run --release --example chaos -- --half-open        how soon is a silent neighbour detected?
//! cargo run --release --example chaos -- --storm            a hub dies: how soon are all clients and links back?
//! cargo run --release --example chaos -- --rolling          servers are restarted under load
//! ```
//!
//! The program starts `herd serve` processes on loopback, puts a proxy on each edge, reports clients and asks for
//! them all the while, and records the replies. Then the faults end, and it checks the servers' tables against the
//! record. It prints a table; its exit status is 0 only if all checks pass.
//!
//! ```text
//!   clients ──▶ herd serve Alford ──▶ proxy ──▶ herd serve Parker ◀── clients
//!                    ▲                  ▲             ▲
//!                    └──── SIGKILL, SIGSTOP, cut, ────┘
//!                          slow, frozen, half open
//! ```
//!
//! Everything but the servers runs in one thread on one reactor: the crate `herd-reactor`, which any program may use.
//! `bus.rs` is the bus, `ledger.rs` has the promises, `clients.rs` and `http.rs` the clients, `attackers.rs` those who mean harm, `faults.rs` the faults, `proxy.rs` their effect on connections, `run.rs` the shared
//! state, `plays.rs` the measurements. docs/chaos.md says more.

mod attackers;
mod bus;
mod clients;
mod dice;
mod faults;
mod http;
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

/// The reason for which a run was abandoned.
type Failed = Box<dyn std::error::Error>;

/// The servers of the Python original.
const FIVE: [&str; 5] = ["Alford", "Bolden", "Hamilton", "Parker", "Welsh"];

/// The links of the Python original, as pairs of indices into [`FIVE`].
const EDGES_OF_FIVE: [(usize, usize); 5] = [(0, 3), (0, 4), (1, 3), (1, 4), (2, 3)];

/// The hub of a storm. Its name sorts last, so that all other servers dial it.
const HUB: &str = "Zenith";

/// Run real servers on loopback, cause faults, and check that no acknowledged report is lost
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Options {
    /// Duration of the faults, in seconds [default: 60; with --soak 1800]
    #[arg(long)]
    seconds: Option<u64>,
    /// Seed of the random generator [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// The sync policy of the servers' journals; off: the servers have no journals
    #[arg(long, value_enum, default_value_t = Journal::Everysec)]
    journal: Journal,
    /// Remove the journal of each server that is killed
    #[arg(long)]
    lose_disks: bool,
    /// Remove journals but expect their reports to survive: a run that must fail, to show that a loss is detected
    #[arg(long)]
    control: bool,
    /// Connect the servers by mutual TLS, with certificates made for the run
    #[arg(long)]
    tls: bool,
    /// Half of the connections report and ask by HTTP, and others attack: heads that never end, followers that never read
    #[arg(long)]
    http: bool,
    /// Join the servers by a bus, the nats-server on the path, instead of links
    #[arg(long, conflicts_with_all = ["half_open", "storm"])]
    bus: bool,
    /// Number of servers [default: 5, the original herd; with --storm 51]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=64))]
    servers: Option<u8>,
    /// Number of clients whose locations are reported
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// Number of connections that report and ask [default: 4 for each server; with --storm 2000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    connections: Option<u32>,
    /// Commands a second, of all connections together
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Number of stops (--half-open) or restarts (--storm, --rolling) [default: 3, 3, 100]
    #[arg(long)]
    times: Option<u32>,
    /// Folder of topologies, logs and journals. It must not exist, and is removed if all checks pass [default: a new
    /// one in the temporary folder]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Kill no server, and measure the memory of each
    #[arg(long, group = "play")]
    soak: bool,
    /// Cause no faults, for comparison
    #[arg(long)]
    calm: bool,
    /// Measure how soon a neighbour that has fallen silent is detected, with the default limits
    #[arg(long, group = "play")]
    half_open: bool,
    /// Measure how soon all clients and links are back after a hub was killed
    #[arg(long, group = "play")]
    storm: bool,
    /// Restart one server after the other with SIGTERM, under load
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
    /// The seed, which `main` has set before the first use.
    fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    fn folder(&self) -> PathBuf {
        let new = || env::temp_dir().join(format!("herd-chaos-{}", process::id()));
        self.folder.clone().unwrap_or_else(new)
    }

    /// The herd that these options describe.
    fn plan(&self) -> Result<Plan, Failed> {
        let folder = self.folder();
        if folder.exists() {
            return Err(
                format!("--folder {} exists already: name a new one", folder.display()).into()
            );
        }
        let number = usize::from(self.servers.unwrap_or(if self.storm { 51 } else { 5 }));
        let (names, mut edges) = match number {
            _ if self.storm => star(number),
            5 => (FIVE.map(str::to_owned).to_vec(), EDGES_OF_FIVE.to_vec()),
            _ => ring(number),
        };
        if self.bus {
            edges = (0..number).map(|server| (server, number)).collect();
        }
        let program = servers::program()?;
        let (journal, tls, http, bus) = (self.journal.sync(), self.tls, self.http, self.bus);
        Ok(Plan { names, edges, journal, tls, http, bus, program, folder })
    }
}

/// A ring with a chord from every third server to the opposite one.
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

/// A star: the last server is the hub, and all others are its neighbours.
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
            println!("a check failed; logs and journals are in {}", options.folder().display());
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("chaos: seed {}: {why}", options.seed());
            if options.folder().exists() {
                eprintln!("chaos: logs and journals are in {}", options.folder().display());
            }
            ExitCode::FAILURE
        }
    }
}

/// Raises the descriptor limit as far as the kernel allows. If it is too low, later calls fail and say so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
