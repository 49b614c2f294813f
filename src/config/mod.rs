//! Who is in the herd, where, and under which limits: the file `topology.toml`.
//!
//! In: a path, or the text. Out: a [`Topology`] in which everything holds together, or [`TopologyErrors`],
//! all of them at once, each with its place and a remedy. A server whose file has errors exits
//! with status 78. Opens no socket; knows neither `Table` nor reactor.
//!
//! The idea: three passes, each of which goes on after an error. What a table may say stands in [`KEYS`], and nowhere else.
//!
//! ```text
//! text -> TOML          -> tables, key by key    -> servers, together  -> Topology
//!         (toml)           (KEYS, Section)          (servers)              and warnings
//!         is it TOML?      unknown, wrong type,     twice, nobody,
//!                          out of range             itself
//! ```
//!
//! The file is the same for all servers of a herd. Being neighbours is mutual, so an edge that only
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
mod keys;
mod limits;
mod page;
mod peers;
mod places;
mod servers;
mod status;
mod toml_section;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

pub use diagnostic::{Diagnostic, TopologyErrors};
pub use keys::{DefaultValue, KEYS, Key, TOP, ValueType, range_in_words};
pub use limits::{Limits, Seconds};
pub use page::page;
pub use peers::{PeerTlsSettings, certificate_name};
pub use places::{KEY_VARIABLE, PlacesSettings, PlacesSource, SourceName, Upstream, UpstreamKind};
pub use servers::{SERVERS_MAX, Server};
pub use status::socket_path;
pub use toml_section::most_like;

use crate::files;
use crate::journal::JournalSettings;
use crate::log::LogSettings;
use diagnostic::Diagnostics;
use toml_section::Section;

/// Most bytes of a topology file: a larger one is something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A herd: its servers and what holds for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The name that all servers share; servers of another herd are refused.
    pub herd: String,
    /// When an IAMAT is answered.
    pub ack: Acknowledge,
    /// The servers, in the file's order, at least one.
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
    folders: BTreeMap<&'static str, Diagnostic>,
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

/// What a file is read as if it said, whatever it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supposed {
    /// The source under `[places]`, beside the other keys of that table.
    pub source: Option<SourceName>,
    /// That there is a table `[peer_tls]`.
    pub peer_tls: bool,
}

impl Topology {
    /// Reads the topology file at `path`.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, also that it cannot be read.
    pub fn read(path: &Path) -> Result<Topology, TopologyErrors> {
        Topology::read_supposing(path, Supposed::default())
    }

    /// The same, as if the file said what is `supposed`.
    ///
    /// # Errors
    ///
    /// All that is wrong with it then.
    pub fn read_supposing(path: &Path, supposed: Supposed) -> Result<Topology, TopologyErrors> {
        let (bytes, _) = files::read(path, FILE_BYTES_MAX).map_err(|error| {
            let what = format!("it cannot be read: {error}");
            TopologyErrors::of_file(path, "", None, what, "name a topology file, or write one")
        })?;
        if let Some(what) = files::encoded(&bytes) {
            return Err(TopologyErrors::of_file(
                path,
                "",
                None,
                what,
                "a topology is text in UTF-8",
            ));
        }
        str::from_utf8(&bytes)
            .map_err(|error| {
                let (text, at) = (String::from_utf8_lossy(&bytes), error.valid_up_to());
                let what = "this is not UTF-8";
                TopologyErrors::of_file(path, &text, Some(at), what, "save the file as UTF-8")
            })
            .and_then(|text| Topology::parse_supposing(text, path, supposed))
    }

    /// Reads `text`, the contents of the file at `path`; paths in it are relative to that file's
    /// folder.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn parse(text: &str, path: &Path) -> Result<Topology, TopologyErrors> {
        Topology::parse_supposing(text, path, Supposed::default())
    }

    /// Reads `text` as [`parse`](Topology::parse) does, as if it said what is `supposed`.
    ///
    /// # Errors
    ///
    /// All that is wrong with it then.
    pub fn parse_supposing(
        text: &str,
        path: &Path,
        supposed: Supposed,
    ) -> Result<Topology, TopologyErrors> {
        let (document, errors) = DeTable::parse_recoverable(text);
        if document.get_ref().is_empty() && errors.is_empty() {
            let remedy = "begin with the topology.toml of the herd of five";
            return Err(TopologyErrors::of_file(path, "", None, "it is empty", remedy));
        }
        let mut diagnostics = Diagnostics::new(text);
        diagnostics.not_toml(&errors);
        let top = Section::top(document.get_ref(), &mut diagnostics);
        let folder = path.parent().unwrap_or(Path::new(""));
        top.require("herd", &mut diagnostics);
        let herd = top.text("herd").map(Spanned::into_inner).unwrap_or_default();
        let security = peers::read(&top, path, supposed.peer_tls, &mut diagnostics);
        let servers = servers::read(&top, herd, &security, &mut diagnostics);
        let [places, log, limits] =
            ["[places]", "[log]", "[limits]"].map(|name| top.section(name, &mut diagnostics));
        let topology = Topology {
            herd: herd.to_owned(),
            ack: match top.text_or_default("ack") {
                "peer" => Acknowledge::Peer,
                _ => Acknowledge::Local,
            },
            status_folder: status::read(&top, folder, &servers, &mut diagnostics),
            servers,
            peer_tls: security.tls,
            log: LogSettings {
                folder: folder.join(log.text_or_default("folder")),
                rotate_bytes: log.number("rotate_bytes"),
                rotate_keep: log.number("rotate_keep"),
            },
            journal: journal::read(&top, folder, &mut diagnostics),
            limits: Limits::read(&limits),
            places: places::read(&places, path, supposed.source, &mut diagnostics),
            folders: ["log", "status", "journal"]
                .map(|name| (name, diagnostics.diagnostic_at(path, top.place_of_folder(name))))
                .into(),
            warnings: Vec::new(),
        };
        topology.limits.check_together(&limits, &places, &mut diagnostics);
        let warnings = diagnostics.into_result(path)?;
        Ok(Topology { warnings, ..topology })
    }

    /// The server `name`.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The neighbours of the server `name`, sorted by name; none if there is no such server.
    pub fn neighbours_of(&self, name: &str) -> Vec<&Server> {
        let names = self.server(name).map_or(&[][..], |server| &server.neighbours);
        names.iter().filter_map(|name| self.server(name)).collect()
    }

    /// The place in the file that names the folder of the table `log`, `status` or `journal`. Errors about that folder
    /// point here.
    pub fn folder_key(&self, table: &str) -> &Diagnostic {
        &self.folders[table]
    }

    /// What is doubtful about the file, in its order.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}
