//! The command line: what may be typed, and what comes of it.
//!
//! In: the arguments of the process. Out: text, and an exit status out of one table (`exit.rs`).
//!
//! Each command is a struct that clap fills, in a file of its own, with a `run` that returns its failure
//! instead of ending the process. So there is one place that prints failures and one that exits: here.

mod check;
mod client;
mod config;
mod exit;
mod init;
mod journal;
mod patience;
#[cfg(feature = "pki")]
mod pki;
mod places_check;
mod proxy;
mod serve;
mod sources;
mod status;
mod topology_file;
mod up;

use self::exit::{Exit, Failure};
use self::topology_file::TopologyFile;
use crate::log::one_line;
use clap::{Parser, Subcommand};
use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The version, and the commit if the build knew it: `-V`. build.rs writes it.
const VERSION: &str = env!("HERD_VERSION");

/// What `--version` says.
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

Kiwi told Alford where it is, and Hamilton, whom Alford does not even talk to, knew. The protocol
is lines of text, so nc does as well:
  $ printf 'WHATSAT kiwi.cs.ucla.edu 10 5\\n' | nc -N 127.0.0.1 12002";

/// An application server herd: servers that tell each other where their clients are.
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
    /// The file that describes the herd [default: the first that there is: the file that HERD_TOPOLOGY names, ./topology.toml,
    /// /etc/herd/topology.toml, the built-in topology]
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
    /// Make certificates by which the servers of a herd know each other
    #[cfg(feature = "pki")]
    #[command(subcommand)]
    Pki(pki::Pki),
    /// Ask the source of places
    #[command(subcommand)]
    Places(places_check::Places),
    Status(status::Status),
    Journal(journal::JournalArgs),
}

/// Does what the arguments ask for.
pub fn run() -> ExitCode {
    exit::on_panic();
    exit::survive_file_size_limit();
    exit::unblock_signals();
    let outcome = match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(asked) => {
            // clap's word for help and version is "error" too; only real ones go to stderr. Nobody may be
            // there to read them, which changes nothing.
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
            CliCommand::Places(places_check::Places::Check(check)) => check.run(&topology),
            CliCommand::Status(status) => status.run(&topology),
            CliCommand::Journal(journal) => journal.run(),
        }
    }
}

/// Prints lines for people to stdout. What could steer a terminal is escaped: some of it others have said.
///
/// A full disk or a closed pipe changes nothing: the exit status says what the command did, and not whether
/// somebody could read about it. `println!` would panic, and so is denied in main.rs. What programs read (the
/// replies of `client`, the lines of `journal dump`) does not go through here: see [`unprinted`].
fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{}", harmless(text));
}

/// Prints a line for people to stderr; as with [`print_line`], nothing depends on it.
fn print_error(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", harmless(&text.to_string()));
}

/// `text` with each of its lines escaped.
fn harmless(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

/// Rows below each other, two blanks between their cells. What is last in its row may be as long as it likes.
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

/// What others have said, for stdout: as it is, unless that is a terminal.
fn shown(bytes: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    match is_terminal {
        true => harmless(&String::from_utf8_lossy(bytes)).into_bytes().into(),
        false => bytes.into(),
    }
}

/// What it comes to that replies or lines could not be printed. A reader that has had enough (`| head`) is no
/// failure. But a copy for which the disk has no room must not pass for one.
fn unprinted(error: &io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(Exit::Io, format!("stdout cannot be written: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault_with_the_commands() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_others_say_steers_no_terminal_and_is_piped_as_it_is() {
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
            &["places", "check", "--at", "-34.0-118.4"],
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
