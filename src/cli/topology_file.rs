//! The option `--topology FILE`, which all commands have, and what may go wrong with it.

use super::exit::{Exit, Failure};
use super::print_error;
use crate::config::{Diagnostic, Server, Supposed, Topology};
use crate::log::plural;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where it is looked for if nothing is said.
const DEFAULT: &str = "topology.toml";

/// The file that describes the herd.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TopologyFile {
    /// The file that describes the herd
    #[arg(long = "topology", value_name = "FILE", default_value = DEFAULT, allow_hyphen_values = true)]
    path: PathBuf,
}

impl TopologyFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, unless it went without saying.
    pub(super) fn named(&self) -> Option<&Path> {
        Some(self.path()).filter(|path| *path != Path::new(DEFAULT))
    }

    /// Reads the file; its faults are printed, all of them.
    pub(super) fn read(&self) -> Result<Topology, Failure> {
        self.read_supposing(Supposed::default())
    }

    /// The same, as if it said what is `supposed`.
    pub(super) fn read_supposing(&self, supposed: Supposed) -> Result<Topology, Failure> {
        Topology::read_supposing(&self.path, supposed)
            .map_err(|faults| self.refused(faults.iter().as_slice()))
    }

    /// The failure of a topology with these faults, which are printed.
    pub(super) fn refused(&self, faults: &[Diagnostic]) -> Failure {
        faults.iter().for_each(print_error);
        let what = format!("{}: {}", self.path.display(), plural(faults.len(), "fault"));
        Failure::new(Exit::Config, what)
    }

    /// Each of the servers `names` once, in this order.
    pub(super) fn servers<'t>(
        &self,
        topology: &'t Topology,
        names: &[String],
    ) -> Result<Vec<&'t Server>, Failure> {
        let new = names.iter().enumerate().filter(|(at, name)| !names[..*at].contains(name));
        new.map(|(_, name)| self.server(topology, name)).collect()
    }

    /// The server `name` of this file, or a failure that names those there are.
    pub(super) fn server<'t>(
        &self,
        topology: &'t Topology,
        name: &str,
    ) -> Result<&'t Server, Failure> {
        topology.server(name).ok_or_else(|| {
            let mut what =
                format!("{} has no server {name:?}; its servers are", self.path.display());
            for (number, server) in topology.servers.iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                let _ = write!(what, "{comma} {}", server.name);
            }
            Failure::new(Exit::Usage, what)
        })
    }
}
