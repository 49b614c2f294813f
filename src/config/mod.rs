//! The file `topology.toml`: the servers of the herd, their addresses, and their limits.
//!
//! In: a path, or the text. Out: a consistent [`Topology`], or [`TopologyErrors`] with all errors at once, each
//! with its position and a remedy. If the file has errors, a server exits with status 78. It opens no socket; knows
//! neither `Table` nor reactor.
//!
//! The idea: three passes, each of which continues after an error. [`KEYS`] alone defines what each table may
//! contain.
//!
//! ```text
//! text -> TOML          -> tables, key by key    -> servers, together  -> Topology
//!         (toml)           (KEYS, Section)          (servers)              and warnings
//!         is it TOML?      unknown key, wrong      name used twice, unknown
//!                          type, out of range      neighbour, itself
//! ```
//!
//! The file is the same for all servers of a herd. Being neighbours is mutual, so an edge that only one side lists
//! counts too. It causes a warning, because a reader of the other server's entry does not see it.
//!
//! Invariants: names are unique and fit [`NAME_BYTES_MAX`](crate::wire::command::NAME_BYTES_MAX). Addresses are
//! unique. Every neighbour is another server of the herd, and lists are made symmetric. The limits are consistent
//! ([`Limits`]). The files named under `[places]` exist, and the keys there fit the source. No peer port beyond the
//! loopback accepts unauthenticated neighbours, unless `insecure_peers` allows it; no HTTP port beyond the loopback
//! accepts everybody, unless `insecure_http` allows it; no connection to NATS leaves the machine without TLS, unless
//! `insecure_nats` allows it. With `[peer_tls]`, each server's name fits a certificate. The path of each status socket fits a socket address.

mod bus;
mod diagnostic;
mod dial_addr;
mod diff;
mod graph;
mod http;
mod journal;
mod keys;
mod limits;
mod log;
mod page;
mod peers;
mod places;
mod servers;
mod status;
mod toml_section;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

pub use bus::BusSettings;
pub use diagnostic::{Diagnostic, TopologyErrors};
pub use dial_addr::DialAddr;
pub use diff::{Change, ServerView, diff};
pub use http::{ClientTlsSettings, HttpSettings, NamedFile, PresentsCertificate};
pub use keys::{DefaultValue, KEYS, Key, Reload, TOP, ValueType, range_in_words};
pub use limits::{Limits, Seconds};
pub use page::page;
pub use peers::{PeerTlsSettings, certificate_name};
pub use places::{KEY_VARIABLE, PlacesSettings, PlacesSource, SourceName, Upstream, UpstreamKind};
pub use servers::{SERVERS_MAX, Server};
pub use status::socket_path;
pub use toml_section::most_like;

use crate::access::{in_hex, sha256};
use crate::files;
use crate::journal::JournalSettings;
use crate::log::LogSettings;
use diagnostic::Diagnostics;
use toml_section::Section;

/// Longest topology file in bytes: 1,024 servers with names of 64 bytes that list each other have 71 MB. A longer file is
/// assumed to be something else.
const FILE_BYTES_MAX: u64 = 80 << 20;

/// A herd: its servers, and the settings that apply to all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The name that all servers share. Servers reject neighbours that name another herd.
    pub herd: String,
    /// When an IAMAT is answered.
    pub ack: Acknowledge,
    /// The servers, in the file's order, at least one.
    pub servers: Vec<Server>,
    /// The folder of the certificates for mutual TLS between neighbours. `None`: neighbours are not authenticated.
    pub peer_tls: Option<PeerTlsSettings>,
    /// Who may use the HTTP ports, and how much a request may hold.
    pub http: HttpSettings,
    /// TLS for clients. `None`: no port for clients speaks TLS.
    pub client_tls: Option<ClientTlsSettings>,
    /// The source of places for WHATSAT, and its settings.
    pub places: PlacesSettings,
    /// Where the log goes.
    pub log: LogSettings,
    /// The folder of the status sockets. `None`: servers have no status socket.
    pub status_folder: Option<PathBuf>,
    /// The settings of the journal. `None`: a server forgets its reports when it ends.
    pub journal: Option<JournalSettings>,
    /// The settings of the bus. `None`: the servers exchange reports over links alone.
    pub bus: Option<BusSettings>,
    /// How much a server accepts and keeps, and how long it waits.
    pub limits: Limits,
    /// The value of every key but those of servers, as it applies, in the order of [`KEYS`]. A key without a value is left
    /// out.
    pub settings: Vec<(&'static Key, String)>,
    /// The SHA-256 of the text, in hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
    /// The positions in the file that name the folders of `log`, `status` and `journal`. Errors about a folder point
    /// there.
    pub folder_keys: BTreeMap<&'static str, Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// When the server replies to an IAMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// The reply leaves when this server has stored the report.
    Local,
    /// The reply leaves when a neighbour has stored the report, too.
    Peer,
    /// The reply leaves when JetStream has stored the report, too. The topology has a `[bus]`.
    Bus,
}

/// Settings that override what the file says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supposed {
    /// The source under `[places]`; the other keys of that table still apply.
    pub source: Option<SourceName>,
    /// Reads the topology as if it had a table `[peer_tls]`.
    pub peer_tls: bool,
    /// Reads the topology as if it had a table `[bus]` that names the nats-server at this address, and no edges. A
    /// topology with a table `[bus]` is rejected.
    pub bus: Option<SocketAddr>,
    /// The caller asks no source, so the files that `[places]` names may be missing.
    pub no_source: bool,
    /// Does not warn of servers that are cut off when another one stops, the search for which takes long in a large
    /// herd.
    pub no_search: bool,
}

impl Topology {
    /// Reads the topology file at `path`, with the settings in `supposed` instead of those in the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or has errors with these settings; all its errors are returned.
    pub fn read_supposing(path: &Path, supposed: Supposed) -> Result<Topology, TopologyErrors> {
        let (bytes, _) = files::read(path, FILE_BYTES_MAX).map_err(|error| {
            let what = format!("cannot read the topology: {error}");
            let remedy = match error.kind() {
                ErrorKind::PermissionDenied => "let this user read the file and open its folder",
                _ => "write one with `herd init`, or name another file with --topology",
            };
            TopologyErrors::of_file(path, "", None, what, remedy)
        })?;
        if let Some(what) = files::encoded(&bytes) {
            return Err(TopologyErrors::of_file(
                path,
                "",
                None,
                what,
                "save the topology as text in UTF-8",
            ));
        }
        str::from_utf8(&bytes)
            .map_err(|error| {
                let (text, at) = (String::from_utf8_lossy(&bytes), error.valid_up_to());
                let what = "the topology is not valid UTF-8 here";
                TopologyErrors::of_file(path, &text, Some(at), what, "save the file as UTF-8")
            })
            .and_then(|text| Topology::parse_supposing(text, path, supposed))
    }

    /// Parses `text`, the contents of the file at `path`. Paths in it are relative to that file's folder.
    ///
    /// # Errors
    /// Fails if the text has errors; all of them are returned.
    pub fn parse(text: &str, path: &Path) -> Result<Topology, TopologyErrors> {
        Topology::parse_supposing(text, path, Supposed::default())
    }

    /// Parses `text` as [`parse`](Topology::parse) does, with the settings in `supposed` instead of those in the
    /// text.
    ///
    /// # Errors
    /// Fails if the text has errors with these settings; all of them are returned.
    pub fn parse_supposing(
        text: &str,
        path: &Path,
        supposed: Supposed,
    ) -> Result<Topology, TopologyErrors> {
        let (document, errors) = DeTable::parse_recoverable(text);
        if document.get_ref().is_empty() && errors.is_empty() {
            let remedy = "delete the file, and write one with `herd init`";
            return Err(TopologyErrors::of_file(path, "", None, "the topology is empty", remedy));
        }
        let mut diagnostics = Diagnostics::new(text);
        diagnostics.not_toml(&errors);
        let top = Section::top(document.get_ref(), &mut diagnostics);
        let folder = path.parent().unwrap_or(Path::new(""));
        top.require("herd", &mut diagnostics);
        let herd = top.text("herd").map(Spanned::into_inner).unwrap_or_default();
        let security = peers::read(&top, path, supposed.peer_tls, &mut diagnostics);
        let http = http::read(&top, path, &mut diagnostics);
        let bus = bus::read(&top, path, herd, supposed, &mut diagnostics);
        let has_bus = bus.is_some() || top.has("bus");
        let servers =
            servers::read(&top, herd, &security, &http, has_bus, supposed, &mut diagnostics);
        let [places, log_table, limits] =
            ["[places]", "[log]", "[limits]"].map(|name| top.section(name, &mut diagnostics));
        let topology = Topology {
            herd: herd.to_owned(),
            ack: match top.text_or_default("ack") {
                // `herd up --bus` has no neighbours.
                "peer" if supposed.bus.is_some() => Acknowledge::Bus,
                "peer" => Acknowledge::Peer,
                "bus" => Acknowledge::Bus,
                _ => Acknowledge::Local,
            },
            status_folder: status::read(&top, folder, &servers, &mut diagnostics),
            servers,
            peer_tls: security.tls,
            http: http.settings,
            client_tls: http.tls,
            log: log::read(&log_table, folder, &mut diagnostics),
            journal: journal::read(&top, folder, &mut diagnostics),
            bus,
            limits: Limits::read(&limits),
            settings: diff::settings(&top, text, folder),
            sha256: in_hex(&sha256(text.as_bytes())),
            places: places::read(&places, path, supposed, &mut diagnostics),
            folder_keys: ["log", "status", "journal"]
                .map(|name| (name, diagnostics.diagnostic_at(path, top.place_of_folder(name))))
                .into(),
            warnings: Vec::new(),
        };
        topology.limits.check_together(&limits, &places, &mut diagnostics);
        let warnings = diagnostics.into_result(path)?;
        Ok(Topology { warnings, ..topology })
    }

    /// The server called `name`.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The neighbours of the server `name`, sorted by name; empty if there is no such server.
    pub fn neighbours_of(&self, name: &str) -> Vec<&Server> {
        let names = self.server(name).map_or(&[][..], |server| &server.neighbours);
        let is_named = |server: &&Server| names.binary_search(&server.name).is_ok();
        let mut neighbours: Vec<&Server> = self.servers.iter().filter(is_named).collect();
        neighbours.sort_unstable_by_key(|server| &server.name);
        neighbours
    }

    /// The numbers and choices of the table `section` as they apply: `sync = everysec, retry_ms = 5000`.
    pub fn in_force(&self, section: &str) -> String {
        let is_shown = |key: &Key| matches!(key.kind, ValueType::Number(..) | ValueType::Choice(_));
        let all = self.settings.iter();
        let shown = all.filter(|(key, _)| key.section == section && is_shown(key));
        let shown = shown.map(|(key, value)| format!("{} = {value}", key.name));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The warnings about the file, in its order.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}
