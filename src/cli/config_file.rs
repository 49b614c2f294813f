//! Reads the topology of a running server again, with the code of `herd serve` and `herd check`.
//!
//! In: the file's name, which was found at the start. Out: [`Prepared`], or all faults. It blocks while it reads
//! (ARCHITECTURE.md has the times).

use super::check::check_folder;
use super::descriptors::connections_max;
use super::sources::OpenPlaces;
use super::terminal::Terminal;
use super::topology_file::TopologyFile;
use crate::config::{Diagnostic, ServerView, Supposed, Topology, diff};
use crate::log as log_file;
use crate::server::config_state::{ConfigReader, Prepared};
use crate::server::peer_tls::PeerTls;
use crate::server::place_queries::PlacesInUse;
use herd_reactor::UnixNanos;

/// The topology of one running server.
#[derive(Debug)]
pub(super) struct ConfigFile {
    file: TopologyFile,
    name: String,
    terminal: Terminal,
    /// The SHA-256 of the topology whose warnings were logged.
    warned: String,
}

impl ConfigFile {
    /// The file of the server `name`, from which `topology` was read.
    pub(super) fn new(
        file: &TopologyFile,
        topology: &Topology,
        name: &str,
        terminal: Terminal,
    ) -> ConfigFile {
        let (name, warned) = (name.to_owned(), topology.sha256.clone());
        ConfigFile { file: file.clone(), name, terminal, warned }
    }
}

impl ConfigReader for ConfigFile {
    fn read(
        &mut self,
        in_force: &ServerView,
        herd: &str,
        wall: UnixNanos,
    ) -> Result<Prepared, Vec<String>> {
        let path = self.file.path();
        let supposed = Supposed { no_search: true, ..Supposed::default() };
        let read = Topology::read_supposing(path, supposed)
            .and_then(|topology| Ok((topology.view_of(path, &self.name)?, topology)));
        let in_words = |faults: &[Diagnostic]| faults.iter().map(Diagnostic::in_one_line).collect();
        let (view, topology) =
            read.map_err::<Vec<String>, _>(|faults| in_words(faults.iter().as_slice()))?;
        if topology.sha256 != self.warned {
            topology.warnings().iter().for_each(|it| log::warn!("{}", it.in_one_line()));
            self.warned.clone_from(&topology.sha256);
        }
        let changes = diff(in_force, &view);
        let has = |table: &str| changes.iter().any(|change| change.key.starts_with(table));
        let opened = open(&topology, herd, &self.name, wall, has("places."));
        let mut faults = opened.as_ref().err().cloned().unwrap_or_default();
        let journal = topology.journal.as_ref().map(|journal| journal.folder.join(&self.name));
        let log_folder = log_file::destination(&topology.log).folder;
        let folders = [
            ("log", log_folder.as_deref()),
            ("status", topology.status_folder.as_deref()),
            ("journal", journal.as_deref()),
        ];
        for (table, folder) in folders {
            faults.extend(folder.and_then(|folder| check_folder(&topology, table, folder)));
        }
        let Ok((places, peer_tls)) = opened else { return Err(in_words(&faults)) };
        if !faults.is_empty() {
            return Err(in_words(&faults));
        }
        // This comes last, because it may create a file.
        let log = match has("log.") {
            true => log_file::prepare(&topology.log)
                .map_err(|error| vec![format!("cannot create the log: {error}")])?,
            false => None,
        };
        let (connections_max, ..) = connections_max(view.neighbours.len());
        Ok(Prepared { topology, view, log, places, peer_tls, connections_max })
    }

    fn terminal_has_closed(&self) -> bool {
        self.terminal.has_closed()
    }
}

/// What [`open`] opens.
type Opened = (Option<PlacesInUse>, Option<PeerTls>);

/// Opens the source of places, if `has_places`, and the certificates of the server `name` of `topology`. Logs warnings.
/// `herd`: the herd's name in the certificates.
pub(super) fn open(
    topology: &Topology,
    herd: &str,
    name: &str,
    wall: UnixNanos,
    has_places: bool,
) -> Result<Opened, Vec<Diagnostic>> {
    let warn = |warning: Diagnostic| log::warn!("{}", warning.in_one_line());
    let places = has_places.then(|| OpenPlaces::open(&topology.places, warn)).transpose();
    let read = |settings| PeerTls::read(settings, herd, name, wall);
    match (places, topology.peer_tls.as_ref().map(read).transpose()) {
        (Ok(places), Ok(peer_tls)) => Ok((places.map(|places| places.in_use), peer_tls)),
        (places, peer_tls) => {
            let mut faults = places.err().unwrap_or_default();
            faults.extend(peer_tls.err().map(|fault| *fault));
            Err(faults)
        }
    }
}
