//! `herd check`: the same reading that a server begins with, and nothing after it.

use super::exit::{Exit, Failure};
use super::sources::{open_key, open_trusted, read_file};
use super::topology_file::TopologyFile;
use super::{print_error, print_line};
use crate::config::{Diagnostic, PeerTlsSettings, PlacesSource, Server, Topology};
use crate::log::plural;
use crate::server::peer_tls::PeerTls;
use herd_reactor::MioIo;

/// Say what is wrong, or doubtful, with a topology file and the certificates, keys and places that it names
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
        let mut warnings = topology.warnings().to_vec();
        if let Some(settings) = &topology.peer_tls {
            warnings.extend(self.check_certificates(&topology, settings)?);
        }
        for warning in &warnings {
            print_error(warning);
        }
        let count = warnings.len() + self.check_places(&topology)?;
        // Both ends of an edge have it, so all together are twice as many.
        let ends: usize = topology.servers.iter().map(|server| server.neighbours.len()).sum();
        print_line(&format!(
            "{}: {}, {}, no faults, {}",
            self.topology.path().display(),
            plural(topology.servers.len(), "server"),
            plural(ends / 2, "edge"),
            plural(count, "warning"),
        ));
        match self.strict && count > 0 {
            true => Err(Failure::new(Exit::Config, "with --strict a warning is a fault")),
            false => Ok(()),
        }
    }

    /// Reads the files that the source of places has, as a server does; returns how many warnings it has printed.
    fn check_places(&self, topology: &Topology) -> Result<usize, Failure> {
        let mut count = 0;
        let warn = |warning| {
            print_error(format_args!("warning: {warning}"));
            count += 1;
        };
        match &topology.places.source {
            PlacesSource::Embedded => {}
            PlacesSource::File(path) => {
                read_file(path, topology.places.rank, warn)?;
            }
            PlacesSource::Network(upstream) => {
                // A key in the environment is the server's, and perhaps not here.
                if upstream.key_file.is_some() {
                    open_key(&topology.places, warn)?;
                }
                open_trusted(upstream)?;
            }
        }
        Ok(count)
    }

    /// Reads the certificates of those servers that have any on this machine, says how many days are
    /// left to each, and returns what is doubtful.
    fn check_certificates(
        &self,
        topology: &Topology,
        settings: &PeerTlsSettings,
    ) -> Result<Vec<Diagnostic>, Failure> {
        let wall = MioIo::wall_clock();
        let is_here = |server: &&Server| {
            let file = |end| settings.folder.join(format!("{}.{end}", server.name)).exists();
            file("pem") || file("key")
        };
        let here: Vec<&Server> = topology.servers.iter().filter(is_here).collect();
        if here.is_empty() {
            let what = format!("{}: no server has a certificate here", settings.folder.display());
            print_error(settings.error(&what, "herd pki init, then herd pki issue NAME"));
            return Err(self.faults(1));
        }
        let (mut warnings, mut faults) = (Vec::new(), Vec::new());
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
                Err(fault) if !faults.contains(&fault) => faults.push(fault),
                Err(_) => {}
            }
        }
        faults.iter().for_each(print_error);
        match faults.len() {
            0 => Ok(warnings),
            count => Err(self.faults(count)),
        }
    }

    fn faults(&self, count: usize) -> Failure {
        let path = self.topology.path().display();
        Failure::new(Exit::Config, format!("{path}: {}", plural(count, "fault")))
    }
}
