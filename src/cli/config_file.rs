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
use crate::server::client_access::ClientAccess;
use crate::server::config_state::{ConfigReader, Prepared};
use crate::server::peer_tls::PeerTls;
use crate::server::place_queries::PlacesInUse;
use herd_reactor::UnixNanos;

/// The topology of one running server.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) file: TopologyFile,
    /// The server's name.
    pub(super) name: String,
    /// The settings that override the file's.
    pub(super) supposed: Supposed,
    pub(super) terminal: Terminal,
    /// The SHA-256 of the topology whose warnings were logged.
    pub(super) warned: String,
}

impl ConfigReader for ConfigFile {
    fn read(
        &mut self,
        in_force: &ServerView,
        herd: &str,
        wall: UnixNanos,
    ) -> Result<Prepared, Vec<String>> {
        let in_words =
            |faults: &[Diagnostic]| faults.iter().map(Diagnostic::in_one_line).collect::<Vec<_>>();
        let supposed = Supposed { no_search: true, ..self.supposed };
        let mut topology = Topology::read_supposing(self.file.path(), supposed)
            .map_err(|faults| in_words(faults.iter().as_slice()))?;
        let Some(view) = topology.view_of(&self.name) else {
            let (file, name) = (self.file.path().display(), &self.name);
            let what = format!("{file}: the topology no longer has the server {name}");
            return Err(vec![format!("{what}: stop this server, or restore its entry")]);
        };
        let changes = diff(in_force, &view);
        let has_places = changes.iter().any(|change| change.name.starts_with("places."));
        let journal = topology.journal.as_ref().map(|journal| journal.folder.join(&self.name));
        let folders = [
            ("log", log_file::destination(&topology.log).folder),
            ("status", topology.status_folder.clone()),
            ("journal", journal),
        ];
        let faults = folders.into_iter().filter_map(|(table, folder)| {
            folder.and_then(|folder| check_folder(&topology, table, &folder))
        });
        let mut faults: Vec<Diagnostic> = faults.collect();
        let (places, peer_tls, access) =
            match open(&mut topology, herd, &self.name, wall, has_places) {
                Ok(opened) if faults.is_empty() => opened,
                opened => {
                    faults.extend(opened.err().into_iter().flatten());
                    return Err(in_words(&faults));
                }
            };
        if topology.sha256 != self.warned {
            topology.warnings().iter().for_each(|it| log::warn!("{}", it.in_one_line()));
            self.warned.clone_from(&topology.sha256);
        }
        let (connections_max, ..) = connections_max(topology.neighbours_of(&self.name).len());
        Ok(Prepared { topology, changes, places, peer_tls, access, connections_max })
    }

    fn terminal_has_closed(&self) -> bool {
        self.terminal.has_closed()
    }
}

/// What [`open`] opens.
type Opened = (Option<PlacesInUse>, Option<PeerTls>, ClientAccess);

/// Opens the source of places, if `has_places`, and the certificates and tokens of the server `name` of `topology`; reads the
/// files of its bus into `topology`. Logs warnings. `herd`: the herd's name in the certificates.
pub(super) fn open(
    topology: &mut Topology,
    herd: &str,
    name: &str,
    wall: UnixNanos,
    has_places: bool,
) -> Result<Opened, Vec<Diagnostic>> {
    let warn = |warning: Diagnostic| log::warn!("{}", warning.in_one_line());
    let bus = topology.bus.as_mut().map_or(Ok(()), |bus| bus.read_files(warn));
    let places = has_places.then(|| OpenPlaces::open(&topology.places, warn)).transpose();
    let read = |settings| PeerTls::read(settings, herd, name, wall);
    let peer_tls = topology.peer_tls.as_ref().map(read).transpose();
    match (places, peer_tls, ClientAccess::read(topology, name, wall), bus) {
        (Ok(places), Ok(peer_tls), Ok(access), Ok(())) => {
            Ok((places.map(|places| places.in_use), peer_tls, access))
        }
        (places, peer_tls, access, bus) => {
            let mut faults = places.err().unwrap_or_default();
            faults.extend(peer_tls.err().map(|fault| *fault));
            faults.extend([access.err(), bus.err()].into_iter().flatten().flatten());
            Err(faults)
        }
    }
}
