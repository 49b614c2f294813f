//! A load generator for servers of the herd, and for the servers that they are compared with.
//!
//! It uses only the client protocol, so it drives every server that implements docs/protocol.md; the same loop also
//! drives HTTP servers, Redis, NATS and an echo server. It has one thread and one poll, and allocates nothing per message. Every
//! reply is checked against its request. The first wrong reply ends the run, because a fast server that is wrong is
//! worthless.
//!
//! In reading order: [`Options`] is the command line; `reports` makes up the IAMATs; a `protocol` composes requests
//! and checks replies; a `connection` sends requests and reads replies; `load` is the loop. `memory`, `connect` and
//! `flood` are the other measurements. `usage` reads the resource use of processes, `latency` is a histogram of times,
//! and `results` prints.
//!
//! benches/README.md says what the program measures and what it does not.

mod options;

mod reports;

mod protocol;

mod schedule;

mod latency;
mod results;
mod usage;

mod connection;

mod load;

mod connect;
mod flood;
mod memory;

mod failure;

#[cfg(test)]
mod servers;

pub use failure::Failure;
pub use options::{Mode, Options};

use clap::Parser;
use options::Speaks;
use protocol::{Echo, Herd, Http, HttpReports, Nats, Protocol, RespGeoadd, RespSet};
use results::Results;
use std::ffi::OsString;
use std::io::Write;

/// The exit status for a wrong command line, the same as clap's.
const WRONG_COMMAND_LINE: u8 = 2;

/// Runs the program `herd-bench` with the command line `words`, whose first word is its name. Prints the results, and
/// returns the exit status.
///
/// Ends the process if clap rejects `words`, or if they ask for help.
pub fn run_program(words: impl IntoIterator<Item = OsString>) -> u8 {
    match run(&Options::parse_from(words), &mut std::io::stdout().lock()) {
        Ok(()) => 0,
        Err(failure) => {
            // `eprintln!` would panic if standard error is closed.
            let _ = writeln!(std::io::stderr(), "herd-bench: {failure}");
            if matches!(failure, Failure::Options(_)) { WRONG_COMMAND_LINE } else { 1 }
        }
    }
}

/// Runs the measurement of `options`, and writes the results to `out` as a table or as one line of JSON.
///
/// Fails if options contradict each other, or if a server cannot be reached, closes a connection, does not reply for
/// 30 s or sends a wrong reply; results measured until then are not reported. In the open loop, missing replies are
/// not an error but are counted in the results.
pub fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    options.check()?;
    usage::raise_descriptor_limit();
    let results = match options.protocol {
        Speaks::Herd => measure::<Herd>(options),
        Speaks::Http => measure::<Http>(options),
        Speaks::HttpPut | Speaks::HttpOwntracks | Speaks::HttpFixed => {
            measure::<HttpReports>(options)
        }
        Speaks::Echo => measure::<Echo>(options),
        Speaks::RespSet => measure::<RespSet>(options),
        Speaks::RespGeoadd => measure::<RespGeoadd>(options),
        Speaks::Nats => measure::<Nats>(options),
    }?;
    results.print(options.json, out).map_err(|error| Failure::io("the results", error))
}

fn measure<P: Protocol>(options: &Options) -> Result<Results, Failure> {
    match options.mode() {
        Mode::Load => load::measure::<P>(options),
        Mode::Idle(count) => memory::idle::<P>(options, count),
        Mode::Records(count) => memory::records::<P>(options, count),
        Mode::Connect => connect::measure::<P>(options),
        Mode::Flood => flood::measure(options),
    }
}
