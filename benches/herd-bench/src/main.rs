//! The command line of the load generator: `herd-bench --help`.

use clap::Parser;
use herd_bench::Failure;
use std::io::Write;
use std::process::ExitCode;

/// What clap ends with, too.
const WRONG_COMMAND_LINE: u8 = 2;

fn main() -> ExitCode {
    match herd_bench::run(&herd_bench::Options::parse(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // `eprintln!` would panic if nobody could read it.
            let _ = writeln!(std::io::stderr(), "herd-bench: {failure}");
            match failure {
                Failure::Options(_) => WRONG_COMMAND_LINE.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
