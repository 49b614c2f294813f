//! `herd`: the servers of an application server herd, and the commands that operate them.
//!
//! ```text
//! herd init                     writes a topology.toml for the servers that it is given
//! herd up                       runs every server of topology.toml, one process each, and restarts them
//! herd serve Alford             runs one server in the foreground
//! herd check                    reports errors and warnings about topology.toml
//! herd config                   prints every key of topology.toml
//! herd client Alford            sends lines to a server and prints its replies
//! herd pki init                 creates the herd's certificate authority; also `issue` and `revoke`
//! herd places check             asks the source of places one question and reports how it went
//! herd bus check                makes all steps of a connection to the bus and reports how each went
//! herd status                   prints the status of the servers on this machine
//! herd journal check            checks a server's journal for damage
//! herd completions bash         prints a script with which a shell completes commands and options
//! herd man                      prints the manual page; with a folder, writes the pages of all commands
//! ```
//!
//! The library `places_herd` contains all the code; `main` only calls it and returns the exit status.

// These macros panic when stdout or stderr is closed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    places_herd::cli::run()
}
