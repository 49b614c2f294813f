//! A load generator for a server of the herd, and for what it is compared with.
//!
//! It speaks only what clients speak, so it drives every server that keeps to docs/protocol.md, and
//! through the same loop Redis, NATS and a server that sends every byte back. One thread, one poll,
//! no allocation per message. Every reply is checked against what was asked: the first wrong one ends
//! the run, because a fast wrong server is not fast.
//!
//! In reading order: [`Options`] is the command line; `reports` makes up the IAMATs; a `protocol`
//! composes requests and checks replies; a `connection` sends requests and reads replies; `load`
//! is the loop. `memory`, `connect` and `flood` are the other things to measure. `usage` looks at
//! the processes from outside, `latency` counts times, `results` prints.
//!
//! What it measures and what it does not: benches/README.md.

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
use protocol::{Echo, Herd, Nats, Protocol, RespGeoadd, RespSet};
use results::Results;
use std::ffi::OsString;
use std::io::Write;

/// What clap ends with, too.
const WRONG_COMMAND_LINE: u8 = 2;

/// Is the program `herd-bench` with the command line `words`, its name first: prints, and returns the exit status.
///
/// Ends the process if `words` are no command line, or ask for help.
pub fn run_program(words: impl IntoIterator<Item = OsString>) -> u8 {
    match run(&Options::parse_from(words), &mut std::io::stdout().lock()) {
        Ok(()) => 0,
        Err(failure) => {
            // `eprintln!` would panic if nobody could read it.
            let _ = writeln!(std::io::stderr(), "herd-bench: {failure}");
            if matches!(failure, Failure::Options(_)) { WRONG_COMMAND_LINE } else { 1 }
        }
    }
}

/// Does what `options` ask for, and writes the results to `out`: a table, or one line of JSON.
///
/// Errors: the options contradict each other; a server cannot be reached, closes, is silent for 30 s,
/// or gives a wrong reply. What had been measured until then is not reported. Silence in the open loop is
/// no error: what was due and is not answered is part of the results.
pub fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    options.check()?;
    usage::raise_descriptor_limit();
    let results = match options.protocol {
        Speaks::Herd => measure::<Herd>(options),
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
