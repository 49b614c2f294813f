//! `herd`: one small binary, one server of an application server herd in it.
//!
//! ```text
//! herd init                     a topology.toml for these servers
//! herd up                       every server of topology.toml, one process each, kept running
//! herd serve Alford             one of them, in the foreground
//! herd check                    what is wrong, or doubtful, with topology.toml
//! herd client Alford            lines to a server, replies back
//! herd pki init                 a certificate authority of the herd's own; also `issue` and `revoke`
//! herd places check             one question to the source of places, and how it went
//! herd status                   how the servers of this machine are, by their own words
//! herd journal check            whether a server's journal is whole
//! ```
//!
//! All that serves is in the library, `places_herd`; here is only what a process has and a library has
//! not: arguments, exit statuses, limits of the system, children.

// They panic when nobody can read what they print.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    places_herd::cli::run()
}
