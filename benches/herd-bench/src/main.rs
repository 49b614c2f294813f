//! The command line of the load generator: `herd-bench --help`.

use std::env::args_os;
use std::process::ExitCode;

fn main() -> ExitCode {
    herd_bench::run_program(args_os()).into()
}
