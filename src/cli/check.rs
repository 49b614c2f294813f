//! `herd check`: the same reading that a server begins with, and nothing after it.

use super::exit::{Exit, Failure};
use super::sources::OpenPlaces;
use super::topology_file::TopologyFile;
use super::{print_error, print_line};
use crate::config::{Diagnostic, PeerTlsSettings, Server, Topology};
use crate::log::plural;
use crate::server::peer_tls::PeerTls;
use herd_reactor::MioIo;

/// Say what is wrong, or doubtful, with a topology file and the certificates, keys and places that it names
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Exit with 78 for warnings too
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let topology = file.read()?;
        let (mut warnings, mut faults) = (topology.warnings().to_vec(), Vec::new());
        if let Some(settings) = &topology.peer_tls {
            check_certificates(&topology, settings, &mut warnings, &mut faults);
        }
        if let Err(why) = OpenPlaces::open(&topology.places, |warning| warnings.push(warning)) {
            faults.extend(why);
        }
        warnings.iter().for_each(print_error);
        if !faults.is_empty() {
            return Err(file.refused(&faults));
        }
        // Both ends of an edge have it, so all together are twice as many.
        let ends: usize = topology.servers.iter().map(|server| server.neighbours.len()).sum();
        print_line(&format!(
            "{file}: {}, {}, no faults, {}",
            plural(topology.servers.len(), "server"),
            plural(ends / 2, "edge"),
            plural(warnings.len(), "warning"),
        ));
        match self.strict && !warnings.is_empty() {
            true => Err(Failure::new(Exit::Config, "with --strict a warning is a fault")),
            false => Ok(()),
        }
    }
}

/// Reads the certificates of those servers that have any on this machine, says how many days are left to each, and
/// adds what is doubtful or wrong.
fn check_certificates(
    topology: &Topology,
    settings: &PeerTlsSettings,
    warnings: &mut Vec<Diagnostic>,
    faults: &mut Vec<Diagnostic>,
) {
    let wall = MioIo::wall_clock();
    let is_here = |server: &&Server| {
        let file = |end| settings.folder.join(format!("{}.{end}", server.name)).exists();
        file("pem") || file("key")
    };
    let here: Vec<&Server> = topology.servers.iter().filter(is_here).collect();
    if here.is_empty() {
        let what = format!("{}: no server has a certificate here", settings.folder.display());
        faults.push(settings.here.error(what, "herd pki init, then herd pki issue NAME"));
    }
    for server in here {
        match PeerTls::read(settings, &topology.herd, &server.name, wall) {
            Ok(tls) => {
                let (own, authority) = (tls.days_left(wall), tls.authority_days_left(wall));
                let days = plural(own as usize, "day");
                print_line(&format!("{}: {days} left, its authority {authority}", server.name));
                let new = tls.warnings(wall).into_iter().filter(|new| !warnings.contains(new));
                warnings.extend(new.collect::<Vec<_>>());
            }
            // What is wrong with ca.pem is so for all of them.
            Err(fault) if faults.contains(&fault) => {}
            Err(fault) => faults.push(*fault),
        }
    }
}
