//! Who is in the herd, where, and under which limits: the file `topology.toml`.
//!
//! In: a path, or the text. Out: a [`Topology`] in which everything holds together, or [`TopologyErrors`],
//! all of them at once, each with its place and a remedy. Whoever starts a server with faults exits
//! with status 78. Opens no socket; knows neither `Table` nor reactor.
//!
//! The idea: three passes, each of which goes on after a fault.
//!
//! ```text
//! text -> TOML          -> tables, key by key    -> servers, together  -> Topology
//!         (toml)           (Section)                (servers)              and warnings
//!         is it TOML?      unknown, wrong type,     twice, nobody,
//!                          out of range             itself
//! ```
//!
//! The file is the same for all members of a herd. Being neighbours is mutual, so an edge that only
//! one side lists counts too; it is warned about, because the other side's reader will not see it.
//!
//! Invariants: names are unique and fit [`NAME_BYTES_MAX`](crate::wire::command::NAME_BYTES_MAX); so are addresses; every neighbour is a
//! server, another one, and has this one as its neighbour; limits agree ([`Limits`]); the files named
//! under `[places]` exist, and what is said there fits the source; no peer port beyond the loopback
//! believes whoever comes, unless that is wanted; with `[peer_tls]` a certificate can have each name;
//! each status socket has a path that fits the address of one.

mod diagnostic;
mod graph;
mod journal;
mod limits;
mod peers;
mod places;
mod servers;
mod status;
mod toml_section;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

pub use diagnostic::{Diagnostic, TopologyErrors};
pub use journal::LIMITS as JOURNAL_LIMITS;
pub use limits::{Limit, Limits, Seconds};
pub use peers::{PeerTlsSettings, certificate_name};
pub use places::{KEY_VARIABLE, PlacesSettings, PlacesSource, SourceName, Upstream, UpstreamKind};
pub use status::socket_path;

use crate::files;
use crate::journal::JournalSettings;
use crate::log::LogSettings;
use diagnostic::Diagnostics;
use toml_section::{Section, TOP};

/// Most servers of a herd. Each keeps a bit per client for each neighbour.
pub const SERVERS_MAX: usize = 64;

/// Most bytes of a topology file: a larger one is something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const ROTATE_BYTES: Limit = Limit {
    key: "rotate_bytes",
    default: 100_000_000,
    range: 0..=1_000_000_000_000,
    meaning: "At this size a log file is begun anew; 0 = never.",
};

const ROTATE_KEEP: Limit = Limit {
    key: "rotate_keep",
    default: 5,
    range: 0..=100,
    meaning: "How many older files of a log are kept.",
};

/// A herd: its members and what holds for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The name that all members share; servers of another herd are refused.
    pub herd: String,
    /// When an IAMAT is answered.
    pub ack: Acknowledge,
    /// The members, in the file's order, at least one.
    pub servers: Vec<Server>,
    /// Where the certificates are by which neighbours know each other. `None`: they are not asked for.
    pub peer_tls: Option<PeerTlsSettings>,
    /// Where WHATSAT looks.
    pub places: PlacesSettings,
    /// Where the log goes.
    pub log: LogSettings,
    /// The folder of the sockets at which servers can be asked how they are; none if they cannot.
    pub status_folder: Option<PathBuf>,
    /// How what is known outlives a server, if it does.
    pub journal: Option<JournalSettings>,
    /// How much a server takes, keeps and waits for.
    pub limits: Limits,
    warnings: Vec<Diagnostic>,
}

/// When an IAMAT is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// When it is stored here.
    Local,
    /// When a neighbour has it, too.
    Peer,
}

/// A member of a herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, as in its AT lines.
    pub name: String,
    /// Where clients find it.
    pub client: SocketAddr,
    /// Where its neighbours find it; the same as `client` only if it is plain.
    pub peer: SocketAddr,
    /// The names of all its neighbours, sorted, whichever side lists them.
    pub neighbours: Vec<String>,
    /// Whether it speaks only AT lines that end in CR LF, as the Python original does.
    pub plain: bool,
}

impl Topology {
    /// Reads the topology file at `path`.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, also that it cannot be read.
    pub fn read(path: &Path) -> Result<Topology, TopologyErrors> {
        Topology::read_asking(path, None)
    }

    /// The same, as if `source` were the one written under `[places]`, with the other keys of that
    /// table. `None`: the one that is.
    ///
    /// # Errors
    ///
    /// All that is wrong with it then.
    pub fn read_asking(
        path: &Path,
        source: Option<SourceName>,
    ) -> Result<Topology, TopologyErrors> {
        let (bytes, _) = files::read(path, FILE_BYTES_MAX).map_err(|error| {
            let what = format!("it cannot be read: {error}");
            TopologyErrors::of_file(path, what, "name a topology file, or write one")
        })?;
        str::from_utf8(&bytes)
            .map_err(|error| {
                let (text, at) = (String::from_utf8_lossy(&bytes), error.valid_up_to());
                TopologyErrors::of_text(
                    &text,
                    at,
                    path,
                    "this is not UTF-8",
                    "save the file as UTF-8",
                )
            })
            .and_then(|text| Topology::parse_asking(text, path, source))
    }

    /// Reads `text`, the contents of the file at `path`; paths in it are relative to that file's
    /// folder.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn parse(text: &str, path: &Path) -> Result<Topology, TopologyErrors> {
        Topology::parse_asking(text, path, None)
    }

    fn parse_asking(
        text: &str,
        path: &Path,
        source: Option<SourceName>,
    ) -> Result<Topology, TopologyErrors> {
        let (document, errors) = DeTable::parse_recoverable(text);
        if document.get_ref().is_empty() && errors.is_empty() {
            let remedy = "begin with the topology.toml of the herd of five";
            return Err(TopologyErrors::of_file(path, "it is empty", remedy));
        }
        let mut findings = Diagnostics::new(text);
        findings.not_toml(&errors);
        let top = Section::new(TOP, document.get_ref(), None, &mut findings);
        let folder = path.parent().unwrap_or(Path::new(""));
        let herd = top.name("herd", "places-herd", &mut findings);
        let herd = herd.map(Spanned::into_inner).unwrap_or_default();
        let security = peers::read(&top, path, &mut findings);
        let servers = servers::read(&top, herd, &security, &mut findings);
        let topology = Topology {
            herd: herd.to_owned(),
            ack: read_ack(&top, &mut findings),
            status_folder: status::read(&top, folder, &servers, &mut findings),
            servers,
            peer_tls: security.tls,
            places: places::read(&top, folder, source, &mut findings),
            log: read_log(&top, folder, &mut findings),
            journal: journal::read(&top, folder, &mut findings),
            limits: Limits::read(top.section("limits", &mut findings).as_ref(), &mut findings),
            warnings: Vec::new(),
        };
        let warnings = findings.into_result(path)?;
        Ok(Topology { warnings, ..topology })
    }

    /// The member `name`.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The neighbours of the member `name`, sorted by name; none if there is no such member.
    pub fn neighbours_of(&self, name: &str) -> Vec<&Server> {
        let names = self.server(name).map_or(&[][..], |server| &server.neighbours);
        names.iter().filter_map(|name| self.server(name)).collect()
    }

    /// What is doubtful about the file, in its order.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

fn read_log(top: &Section<'_>, folder: &Path, findings: &mut Diagnostics<'_>) -> LogSettings {
    let mut settings = LogSettings {
        folder: folder.join("log"),
        rotate_bytes: ROTATE_BYTES.default,
        rotate_keep: ROTATE_KEEP.default,
    };
    let Some(section) = top.section("log", findings) else { return settings };
    if let Some(name) = section.text("folder", "log", findings) {
        settings.folder = folder.join(name.get_ref());
    }
    if let Some(bytes) = section.integer(&ROTATE_BYTES, findings) {
        settings.rotate_bytes = bytes;
    }
    if let Some(keep) = section.integer(&ROTATE_KEEP, findings) {
        settings.rotate_keep = keep;
    }
    settings
}

fn read_ack(top: &Section<'_>, findings: &mut Diagnostics<'_>) -> Acknowledge {
    let Some(word) = top.text("ack", "local", findings) else { return Acknowledge::Local };
    match *word.get_ref() {
        "local" => Acknowledge::Local,
        "peer" => Acknowledge::Peer,
        _ => {
            let remedy = "write ack = \"local\" or ack = \"peer\"";
            findings.fault(word.span(), "this is nothing to wait for", remedy);
            Acknowledge::Local
        }
    }
}
