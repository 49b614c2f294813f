//! `herd trace`: prints what each turn of a running server's loop does, as the server reports it at its Unix socket.

use super::exit::Failure;
use super::patience::Patience;
use super::status::{ask, sockets, told};
use super::topology_file::TopologyFile;
use super::{exit::Exit, print_line};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind};
use std::time::Duration;

/// Print what each turn of a server's loop does
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line for each turn. What the last poll found: `slept` is its duration, `events` what the kernel
reported, `accepts` new connections, `reads` connections that were read. What the turn then did:
`timers` that were due, `requests` of earlier calls (messages, ends of connections, connects), and
`writes`, connections that got output, which is sent before the next poll.
The turns of an idle server are rare: talk to it meanwhile. The timeout is for the first connect.
Exits with 69 if the server does not run here.")]
pub(super) struct TraceArgs {
    /// Server of the topology. Write `--` before a name that begins with a dash
    #[arg(value_name = "NAME")]
    name: String,
    /// Turns to print
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    turns: u64,
    /// Print a line of JSON for each turn
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

/// The columns, which are members of the reply, behind the time that the poll slept.
const COLUMNS: [&str; 6] = ["events", "accepts", "reads", "timers", "requests", "writes"];

impl TraceArgs {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let topology = file.read_servers()?;
        let sockets = sockets(file, &topology, std::slice::from_ref(&self.name))?;
        let [(server, path)] = sockets.as_slice() else { unreachable!("one name, one socket") };
        let failed = |e: std::io::Error| {
            let why = told(&e, path, self.patience);
            Failure::new(Exit::Unavailable, format!("{}: {why}", self.name))
        };
        if server.plain {
            return Err(failed(ErrorKind::Unsupported.into()));
        }
        let socket = ask(path, format!("TRACE {}\n", self.turns).as_bytes(), self.patience.end());
        let socket = socket.map_err(failed)?;
        socket.set_read_timeout(None).map_err(failed)?;
        if !self.json {
            print_line(&format!("{:>6} {:>12} {}", "turn", "slept", columns(str::to_owned)));
        }
        let mut seen = 0;
        for line in BufReader::new(socket).lines() {
            let line = line.map_err(failed)?;
            let Ok(turn @ Value::Object(_)) = serde_json::from_str(&line) else {
                let old = "it does not know TRACE: it may be an older version of herd";
                return Err(failed(std::io::Error::other(old)));
            };
            let number = |name: &str| turn[name].as_u64().unwrap_or_default();
            seen = number("turn");
            let slept = format!("{:.1?}", Duration::from_micros(number("slept_us")));
            match self.json {
                true => print_line(&line),
                false => print_line(&format!(
                    "{seen:>6} {slept:>12} {}",
                    columns(|name| number(name).to_string())
                )),
            }
        }
        // It closes the connection after the last turn, and earlier if it ends.
        (seen > 0).then_some(()).ok_or_else(|| failed(ErrorKind::UnexpectedEof.into()))
    }
}

/// The cells of one line, to the right of each column.
fn columns(cell: impl Fn(&str) -> String) -> String {
    COLUMNS.map(|name| format!("{:>1$}", cell(name), name.len().max(8))).join(" ")
}
