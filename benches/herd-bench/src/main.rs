//! The command line program; see `herd-bench --help`.

use std::env::args_os;
use std::process::ExitCode;

fn main() -> ExitCode {
    herd_bench::run_program(args_os()).into()
}
