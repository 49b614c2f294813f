//! `herd completions SHELL`: a script with which a shell completes the commands and options of herd.

use super::exit::Failure;
use super::{Cli, unprinted};
use clap::CommandFactory;
use std::io::{self, Write};

/// Print a script with which a shell completes herd's commands and options
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell; it reads the script from a file such as ~/.local/share/bash-completion/completions/herd
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "herd", &mut script);
        io::stdout().write_all(&script).or_else(|e| unprinted(&e))
    }
}
