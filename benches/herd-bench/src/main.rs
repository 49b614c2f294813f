//! The command line of the load generator: `herd-bench --help`.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match herd_bench::run(&herd_bench::Options::parse(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("herd-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
