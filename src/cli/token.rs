//! `herd token new`: makes a token, and the line for the file of tokens that says what its bearer may do.
//!
//! In: a role and an id. Out: the token on stdout, which is stored nowhere else, and a new line in the file that
//! `[http] tokens` names, if it is set; else the line is printed.

use super::exit::{Exit, Failure};
use super::print_line;
use super::topology_file::TopologyFile;
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
    /// The id for which it may do it; with * at its end, all ids that begin like this
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// The file [default: the topology's http.tokens; if that is not set, the line is printed]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    file: Option<PathBuf>,
}

impl NewToken {
    pub(super) fn run(&self, topology: &TopologyFile) -> Result<(), Failure> {
        if self.id.is_empty() || self.id.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let what = format!("{:?} cannot be an id: it is empty, or has white space", self.id);
            return Err(Failure::new(Exit::Usage, what));
        }
        let named = match &self.file {
            Some(file) => Some(file.clone()),
            None => topology.read_servers()?.http.tokens.map(|tokens| tokens.path),
        };
        let no_random = || Failure::new(Exit::Os, "the system gives no random numbers");
        let token = new_token().ok_or_else(no_random)?;
        let line = format!("{} {} {}\n", self.role, self.id, in_hex(&sha256(token.as_bytes())));
        let Some(path) = named else {
            print_line(&format!(
                "{token}\nits line for the file of [http] tokens: {}",
                line.trim_end()
            ));
            return Ok(());
        };
        append(&path, &line).map_err(|e| {
            let what = format!("{} cannot be written: {e}", path.display());
            Failure::new(Exit::CannotCreate, what)
        })?;
        let (role, id) = (&self.role, &self.id);
        print_line(&format!("{token}\n{}: {role} {id}; now run: herd reload", path.display()));
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
