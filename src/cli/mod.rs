//! The command line: its arguments, and one file for each command.
//!
//! In: the arguments of the process. Out: text, and an exit status from one table (`exit.rs`).
//!
//! Each command is a struct that clap fills, with a method `run` that returns its failure. Only this file prints
//! failures and exits.

mod bus_check;
mod check;
mod check_output;
mod client;
mod completions;
mod config;
mod config_file;
mod descriptors;
mod exit;
mod init;
mod journal;
mod man;
mod patience;
#[cfg(feature = "pki")]
mod pki;
mod places_check;
mod proxy;
mod reload;
mod serve;
mod sources;
mod status;
mod terminal;
mod token;
mod topology_file;
mod trace;
mod up;

use self::exit::{Exit, Failure};
use self::topology_file::TopologyFile;
use crate::log::{is_journal, one_line};
use clap::{Parser, Subcommand};
use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `-V` prints: the version, and the commit if build.rs found it.
const VERSION: &str = env!("HERD_VERSION");

/// What `--version` prints.
const LONG_VERSION: &str = concat!(
    env!("HERD_VERSION"),
    "\n\nThe places it knows are data of GeoNames (https://www.geonames.org), CC BY 4.0,\n",
    "and of airportsdata (https://github.com/mborsetti/airportsdata), MIT. See NOTICE."
);

const SESSION: &str = "\
A session:
  $ herd up &
  $ herd client Alford iamat kiwi.cs.ucla.edu +34.068930-118.445127
  AT Alford +0.000183157 kiwi.cs.ucla.edu +34.068930-118.445127 1795342599.123456789
  $ herd client Hamilton whatsat kiwi.cs.ucla.edu 10 5
  AT Alford +0.000183157 kiwi.cs.ucla.edu +34.068930-118.445127 1795342599.123456789
  {
     \"html_attributions\" : [
  ...

Kiwi reported its location to Alford. Hamilton knows it too, although Alford and Hamilton are not
neighbours. The reply has the server that took the report, its clock minus the client's clock, and
what the client sent. The newest report of a client wins, by the client's clock.

The protocol is lines of text, so nc works as well:
  IAMAT ID LOCATION TIME       LOCATION: degrees north and east; TIME: seconds since 1970
  WHATSAT ID KILOMETRES RESULTS
  $ printf 'WHATSAT kiwi.cs.ucla.edu 10 5\\n' | nc -N 127.0.0.1 12002";

/// An application server herd: servers that pass the locations of their clients on to each other
#[derive(Debug, Parser)]
#[command(
    name = "herd",
    version = VERSION,
    long_version = LONG_VERSION,
    after_help = "'herd --help' shows a session and the exit statuses.",
    after_long_help = format!("{SESSION}\n\n{}", Exit::table()),
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    /// The file that describes the herd [default: the file that HERD_TOPOLOGY names; if that is not set, the
    /// first that exists of ./topology.toml and /etc/herd/topology.toml, or the built-in topology]
    #[arg(long, value_name = "FILE", global = true, allow_hyphen_values = true)]
    topology: Option<PathBuf>,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Init(init::InitArgs),
    Up(up::UpArgs),
    Serve(serve::Serve),
    Check(check::Check),
    Config(config::PrintConfig),
    Client(client::Client),
    /// Make the certificates with which servers and clients prove their names
    #[cfg(feature = "pki")]
    #[command(subcommand)]
    Pki(pki::Pki),
    /// Make the tokens with which clients use the HTTP ports
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Send a test request to the source of places
    #[command(subcommand)]
    Places(places_check::Places),
    /// Test the bus of a topology
    #[command(subcommand)]
    Bus(bus_check::BusCommand),
    Status(status::Status),
    Trace(trace::TraceArgs),
    Reload(reload::ReloadArgs),
    Journal(journal::JournalArgs),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the command that the arguments name, prints its failure, and returns the exit status.
pub fn run() -> ExitCode {
    exit::on_panic();
    exit::survive_signals();
    exit::unblock_signals();
    let outcome = match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(asked) => {
            // clap returns help and version as errors, too; only real errors go to stderr. A failed write
            // does not change the exit status.
            let _ = asked.print();
            return if asked.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    match outcome {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            if !failure.what.is_empty() {
                print_error(format_args!("herd: {failure}"));
            }
            failure.exit.into()
        }
    }
}

impl Cli {
    fn run(&self) -> Result<(), Failure> {
        let topology = TopologyFile::find(self.topology.as_deref());
        match &self.command {
            CliCommand::Init(init) => init.run(self.topology.as_deref()),
            CliCommand::Up(up) => up.run(topology),
            CliCommand::Serve(serve) => serve.run(&topology),
            CliCommand::Check(check) => check.run(&topology),
            CliCommand::Config(config) => config.run(),
            CliCommand::Client(client) => client.run(&topology),
            #[cfg(feature = "pki")]
            CliCommand::Pki(pki) => pki.run(&topology),
            CliCommand::Token(token::TokenCommand::New(new)) => new.run(&topology),
            CliCommand::Places(places_check::Places::Check(check)) => check.run(&topology),
            CliCommand::Bus(bus_check::BusCommand::Check(check)) => check.run(&topology),
            CliCommand::Status(status) => status.run(&topology),
            CliCommand::Trace(trace) => trace.run(&topology),
            CliCommand::Reload(reload) => reload.run(&topology),
            CliCommand::Journal(journal) => journal.run(),
            CliCommand::Completions(completions) => completions.run(),
            CliCommand::Man(man) => man.run(),
        }
    }
}

/// Prints lines for people to stdout. Escapes control characters, because part of the text comes from other
/// machines and could control the terminal.
///
/// A full disk or a closed pipe is ignored: the exit status says what the command did, not whether its output was
/// read. `println!` would panic, so main.rs denies it. Output for programs (the replies of `client`, the lines of
/// `journal dump`) is not printed here: see [`unprinted`].
fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{}", harmless(text));
}

/// Prints lines about an error to stderr, and ignores failures as [`print_line`] does.
fn print_error(text: impl std::fmt::Display) {
    complain("<3>", &text.to_string());
}

/// Prints lines about a warning to stderr, and ignores failures as [`print_line`] does.
fn print_warning(text: impl std::fmt::Display) {
    complain("<4>", &text.to_string());
}

/// Prints lines for people to stderr, beside output for programs, and ignores failures as [`print_line`] does.
fn print_note(text: &str) {
    complain("<6>", text);
}

/// Prints lines to stderr, each with its `priority` if journald reads them.
fn complain(priority: &str, text: &str) {
    let text = harmless(text);
    let text = match is_journal() {
        true => format!("{priority}{}", text.replace('\n', &format!("\n{priority}"))),
        false => text,
    };
    let _ = writeln!(io::stderr(), "{text}");
}

/// Returns `text` with the control characters of each line escaped.
fn harmless(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

/// Formats rows as columns, two spaces apart. The last cell of a row does not widen its column.
fn in_columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].len());
        cells.max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(column, cell)| format!("{cell:0$}", width(column)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Returns received bytes for stdout: escaped for a terminal, unchanged for anything else.
fn shown(bytes: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    match is_terminal {
        true => harmless(&String::from_utf8_lossy(bytes)).into_bytes().into(),
        false => bytes.into(),
    }
}

/// The outcome of a command whose output for programs could not be written. A closed pipe (`| head`) is not a failure.
/// A full disk is a failure, because the copy on it is incomplete.
fn unprinted(error: &io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(Exit::Io, format!("cannot write to stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault_in_the_commands() {
        Cli::command().debug_assert();
    }

    #[test]
    fn received_bytes_are_escaped_for_a_terminal_and_unchanged_in_a_pipe() {
        let said = b"? \x1b[2J\xc2\x9b\"\\\"\x7f\r\n  caf\xc3\xa9\n\n";
        assert_eq!(shown(said, false).as_ref(), said);
        let expected = "? \\x1b[2J\\xc2\\x9b\"\\\"\\x7f\\x0d\n  caf\u{e9}\n\n";
        assert_eq!(shown(said, true).as_ref(), expected.as_bytes());
    }

    #[test]
    fn a_location_may_begin_with_a_minus() {
        let typed = ["herd", "client", "Alford", "iamat", "kiwi", "-34.0+151.2"];
        assert!(Cli::try_parse_from(typed).is_ok());
    }

    #[test]
    fn names_ids_and_numbers_may_begin_with_a_dash() {
        for typed in [
            &["client", "-x"][..],
            &["client", "-x", "--timeout", "9", "iamat", "-kiwi", "-34.0+151.2", "-1"],
            &["client", "--topology=-t.toml", "-x", "whatsat", "-kiwi", "-1", "--bound"],
            &["client", "Alford", "iamat", "--", "-h", "-34.0+151.2"],
            &["serve", "--topology=-t.toml", "--parent", "1", "--", "-h"],
            &["status", "--json", "--", "-x", "--timeout"],
            &["reload", "--strict", "--", "-x"],
            &["places", "check", "--at", "-34.0-118.4"],
            &["bus", "check", "--timeout", "9", "--", "-x"],
            &["journal", "check", "--", "-journal/-x"],
            #[cfg(feature = "pki")]
            &["pki", "issue", "--folder=-pki", "--", "-x", "-y"],
            #[cfg(feature = "pki")]
            &["pki", "revoke", "--", "-x"],
        ] {
            let parsed = Cli::try_parse_from([&["herd"], typed].concat());
            assert!(parsed.is_ok(), "{typed:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn help_teaches_a_session_and_the_exit_statuses() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("herd client Alford iamat kiwi.cs.ucla.edu"), "{help}");
        assert!(help.contains("78"), "{help}");
    }
}
