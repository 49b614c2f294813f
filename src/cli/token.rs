//! `herd token new`: makes a token, and the line for the file of tokens that says what its bearer may do.
//!
//! In: a role and an id. Out: the token on stdout, which is stored nowhere else, and a new line in the file that
//! `[http] tokens` names, if it is set; else the line is printed.

use super::exit::{Exit, Failure};
use super::topology_file::TopologyFile;
use super::{print_note, unprinted};
use crate::access::{in_hex, new_token, sha256};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    New(NewToken),
}

/// Make a token, and allow its bearer to report or to read
///
/// It prints the token, and appends a line with its hash to the file. The token cannot be printed again. Running servers use
/// it after `herd reload`. To take a token back, remove its line, and reload.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd token new write jane/phone     jane's phone may report its location
  herd token new write 'jane*'        so may all ids that begin with jane
  herd token new read '*'             a browser may read everything; open http://.../?token=TOKEN
A token may have several lines. To write a line for a token that exists already, take its hash:
  printf %s TOKEN | sha256sum")]
pub(super) struct NewToken {
    /// What the bearer may do
    #[arg(value_parser = ["read", "write"])]
    role: String,
    /// The id that the token is for; with * at its end, all ids that begin with the text before it
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// The file of tokens to append the line to [default: the topology's http.tokens; if that is not set, the line is printed]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    file: Option<PathBuf>,
}

impl NewToken {
    pub(super) fn run(&self, topology: &TopologyFile) -> Result<(), Failure> {
        let is_bad = |c: char| c.is_whitespace() || c.is_control();
        let start = self.id.strip_suffix('*').unwrap_or(&self.id);
        if self.id.is_empty() || self.id.contains(is_bad) || start.contains('*') {
            let what = format!(
                "{:?} is no id: it is empty, or has white space, or * before its end",
                self.id
            );
            return Err(Failure::new(Exit::Usage, what));
        }
        let named = match &self.file {
            Some(file) => Some(file.clone()),
            None => topology.read_servers()?.http.tokens.map(|tokens| tokens.path),
        };
        let no_random = || Failure::new(Exit::Os, "the system gives no random numbers");
        let token = new_token().ok_or_else(no_random)?;
        let line = format!("{} {} {}\n", self.role, self.id, in_hex(&sha256(token.as_bytes())));
        // A token that is lost must not be in the file.
        if let Err(e) = writeln!(io::stdout(), "{token}") {
            return unprinted(&e);
        }
        let Some(path) = named else {
            let what = format!("its line for the file of [http] tokens: {}", line.trim_end());
            print_note(&what);
            return Ok(());
        };
        append(&path, &line).map_err(|e| {
            let what = format!("{} cannot be written: {e}", path.display());
            Failure::new(Exit::CannotCreate, what)
        })?;
        let (role, id) = (&self.role, &self.id);
        print_note(&format!("{}: {role} {id}; now run: herd reload", path.display()));
        Ok(())
    }
}

/// Appends a line to the file, which is made if it does not exist, readable by its owner only.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut before = Vec::new();
    file.read_to_end(&mut before)?;
    let is_cut = before.last().is_some_and(|byte| *byte != b'\n');
    let line = if is_cut { format!("\n{line}") } else { line.to_owned() };
    file.write_all(line.as_bytes())?;
    file.sync_all()
}
