//! `herd man`: the manual pages, made from the help of the commands.

use super::exit::{Exit, Failure};
use super::{Cli, unprinted};
use clap::CommandFactory;
use std::io;
use std::path::PathBuf;

/// Print the manual page herd(1), or write the pages of all commands
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The folder for one page of each command, such as /usr/local/share/man/man1; it replaces pages that are there
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Some(folder) = &self.folder else {
            // As generate_to below does: no page for `herd help`.
            let page = clap_mangen::Man::new(Cli::command().disable_help_subcommand(true));
            return page.render(&mut io::stdout()).or_else(|e| unprinted(&e));
        };
        clap_mangen::generate_to(Cli::command(), folder).map_err(|e| {
            let what = format!("cannot write the manual pages to {}: {e}", folder.display());
            Failure::new(Exit::CannotCreate, what)
        })
    }
}
