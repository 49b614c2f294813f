//! `herd check`: the same reading that a server begins with, and nothing after it.

use super::exit::{Exit, Failure};
use super::say;
use super::topology_file::{TopologyFile, counted};

/// Say what is wrong, or doubtful, with a topology file
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    topology: TopologyFile,
    /// Exit with 78 for warnings too
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let topology = self.topology.read()?;
        let warnings = topology.warnings();
        for warning in warnings {
            eprintln!("{warning}");
        }
        // Both ends of an edge have it, so all together are twice as many.
        let ends: usize = topology.servers.iter().map(|server| server.neighbours.len()).sum();
        say(&format!(
            "{}: {}, {}, no faults, {}",
            self.topology.path().display(),
            counted(topology.servers.len(), "server"),
            counted(ends / 2, "edge"),
            counted(warnings.len(), "warning"),
        ));
        match self.strict && !warnings.is_empty() {
            true => Err(Failure::new(Exit::Config, "with --strict a warning is a fault")),
            false => Ok(()),
        }
    }
}
