//! The tables `[http]` and `[client_tls]`: who may use a server over HTTP or TLS, and how much a request may hold.
//!
//! In: the tables. Out: [`HttpSettings`] and [`ClientTlsSettings`], and the checks that they make on each server's
//! ports. It opens no file: tokens and certificates differ from machine to machine, and change while servers run.
//!
//! The idea: an HTTP port beyond the loopback that asks for nothing lets everybody read where all clients are, and
//! report for each of them. So the topology must allow it explicitly (`insecure_http`), as it must for peer ports.

use super::diagnostic::{Diagnostic, Diagnostics, quoted};
use super::toml_section::Section;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// The word that stands for the server's name in the path of a certificate or a key.
const NAME: &str = "{name}";

/// The values of `[http]`; [`KEYS`](super::KEYS) documents them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The file of the tokens. `None`: every client that can connect to an HTTP port may use it.
    pub tokens: Option<NamedFile>,
    /// Whether the HTTP ports speak TLS.
    pub tls: bool,
    /// Whether an HTTP port beyond the loopback may be open to everybody.
    pub insecure_http: bool,
    /// Further names that a request may have as its Host, in lower case.
    pub hosts: Vec<String>,
    /// Origins whose pages may use the HTTP ports, in lower case; `*` is every origin.
    pub allow_origins: Vec<String>,
    /// Maximum connections that follow the stream at once.
    pub followers: usize,
    /// Longest head of a request in bytes.
    pub head_bytes: usize,
    /// Longest body of a request in bytes.
    pub body_bytes: usize,
    /// Maximum bytes of all unfinished bodies together.
    pub total_body_bytes: usize,
    /// Time for a request's head.
    pub head: Duration,
    /// Time for a request's body.
    pub body: Duration,
    /// Time between two requests.
    pub keep_alive: Duration,
}

/// The values of `[client_tls]`; [`KEYS`](super::KEYS) documents them. Paths may have `{name}` for the server's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTlsSettings {
    /// The certificate that clients see.
    pub certificate: NamedFile,
    /// Its key.
    pub key: NamedFile,
    /// The authorities of client certificates.
    pub ca: NamedFile,
    /// Whether a client presents a certificate.
    pub certificates: PresentsCertificate,
    /// Whether a client with a certificate may report only its own id.
    pub own_id_only: bool,
    /// Whether a client with a certificate may ask only about its own id.
    pub ask_own_only: bool,
}

/// Whether a client presents a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentsCertificate {
    /// It is not asked for one.
    None,
    /// It may present one, which must then be valid.
    Optional,
    /// Without one the connection is closed.
    Required,
}

/// A file that the topology names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The file's path, relative to the working directory.
    pub path: PathBuf,
    /// The position in the topology that names it. Errors about the file point there.
    pub here: Diagnostic,
}

impl NamedFile {
    /// The file of the server `name`.
    pub fn of_server(&self, name: &str) -> NamedFile {
        let path = self.path.to_string_lossy().replace(NAME, name);
        NamedFile { path: path.into(), here: self.here.clone() }
    }
}

/// Both tables, and where a check of servers may have to point.
#[derive(Debug)]
pub(super) struct HttpSecurity<'t> {
    pub(super) settings: HttpSettings,
    pub(super) tls: Option<ClientTlsSettings>,
    section: Section<'t>,
}

/// Reads `[http]` and `[client_tls]`. `path`: the topology file's path.
pub(super) fn read<'t>(
    top: &Section<'t>,
    path: &Path,
    diagnostics: &mut Diagnostics<'_>,
) -> HttpSecurity<'t> {
    let section = top.section("[http]", diagnostics);
    let host = "write a host name, such as herd.example";
    let origin = "write scheme://host, as in https://map.example, or *";
    let settings = HttpSettings {
        tokens: section.has("tokens").then(|| named_file(&section, "tokens", path, diagnostics)),
        tls: section.flag("tls"),
        insecure_http: section.flag("insecure_http"),
        hosts: names(&section, "hosts", is_host, host, diagnostics),
        allow_origins: names(&section, "allow_origins", is_origin, origin, diagnostics),
        followers: section.number("followers"),
        head_bytes: section.number("head_bytes"),
        body_bytes: section.number("body_bytes"),
        total_body_bytes: section.number("total_body_bytes"),
        head: section.number("head_ms"),
        body: section.number("body_ms"),
        keep_alive: section.number("keep_alive_ms"),
    };
    let (all, one) = (settings.total_body_bytes, settings.body_bytes);
    if let (true, Some(place)) =
        (all < one, section.place_of("total_body_bytes").or_else(|| section.place_of("body_bytes")))
    {
        let what = format!("total_body_bytes ({all}) must be at least body_bytes ({one})");
        diagnostics.error(place, what, "raise total_body_bytes, or lower body_bytes");
    }
    let tls = read_tls(top, path, diagnostics);
    if let (true, None, Some(place)) = (settings.tls, &tls, section.place_of("tls")) {
        let what =
            "tls = true under [http] needs a certificate, but there is no table [client_tls]";
        diagnostics.error(place, what, "add a table [client_tls] (docs/client-tls.md)");
    }
    HttpSecurity { settings, tls, section }
}

fn read_tls(
    top: &Section<'_>,
    path: &Path,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<ClientTlsSettings> {
    let section = top.section("[client_tls]", diagnostics);
    let file = |key| named_file(&section, key, path, diagnostics);
    let settings = ClientTlsSettings {
        certificate: file("certificate"),
        key: file("key"),
        ca: file("ca"),
        certificates: match section.text_or_default("certificates") {
            "optional" => PresentsCertificate::Optional,
            "required" => PresentsCertificate::Required,
            _ => PresentsCertificate::None,
        },
        own_id_only: section.flag("own_id_only"),
        ask_own_only: section.text_or_default("ask") == "own",
    };
    let asks = settings.certificates != PresentsCertificate::None;
    for (key, is_set) in [("own_id_only", settings.own_id_only), ("ask", settings.ask_own_only)] {
        if let (true, false, Some(place)) = (is_set, asks, section.place_of(key)) {
            let what = format!("{key} needs client certificates, but no client is asked for one");
            let remedy = "write certificates = \"required\" or certificates = \"optional\"";
            diagnostics.error(place, what, remedy);
        }
    }
    section.is_there().then_some(settings)
}

/// The file under `key`, or its default.
pub(super) fn named_file(
    section: &Section<'_>,
    key: &str,
    path: &Path,
    diagnostics: &Diagnostics<'_>,
) -> NamedFile {
    let here = diagnostics.diagnostic_at(path, section.place_of(key).or(section.head.clone()));
    let folder = path.parent().unwrap_or(Path::new(""));
    NamedFile { path: folder.join(section.text_or_default(key)), here }
}

/// The texts under `key` in lower case; each that is not `good` gets an error.
fn names(
    section: &Section<'_>,
    key: &str,
    good: fn(&str) -> bool,
    remedy: &str,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<String> {
    let mut names = Vec::new();
    for text in section.texts(key) {
        let (place, text) = (text.span(), text.into_inner());
        if !good(text) {
            diagnostics.error(place, format!("{key} cannot have {}", quoted(text)), remedy);
        }
        names.push(text.to_ascii_lowercase());
    }
    names
}

/// Whether `text` can be the host of a URL, without a port.
fn is_host(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_good)
}

/// Whether `text` is what a browser sends as Origin: a scheme, a host, and perhaps a port; or `*`.
fn is_origin(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_host_and_port = |rest: &str| {
        let host = rest.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        is_host(host.map_or(rest, |(host, _)| host))
    };
    text == "*" || rest.is_some_and(is_host_and_port)
}

impl HttpSecurity<'_> {
    /// Records an error for each port that the tables do not allow, and the warnings about open ports once. `servers`: the
    /// ports `http` and `client_tls` of each server, and whether it is plain.
    pub(super) fn check<'d>(
        &self,
        servers: impl Iterator<Item = ([Option<&'d Spanned<SocketAddr>>; 2], bool)>,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        let mut is_open = false;
        for (ports, plain) in servers {
            for (key, bound) in ["http", "client_tls"].into_iter().zip(ports) {
                if let (true, Some(bound)) = (plain, bound) {
                    let what = format!("a server with plain = true has no port {key}");
                    diagnostics.error(bound.span(), what, format!("remove {key}, or plain = true"));
                }
            }
            let [http, client_tls] = ports;
            if let (None, Some(bound)) = (&self.tls, client_tls) {
                let what =
                    "the port client_tls needs a certificate, but there is no table [client_tls]";
                let remedy =
                    "add a table [client_tls] (docs/client-tls.md), or remove client_tls here";
                diagnostics.error(bound.span(), what, remedy);
            }
            if let Some(bound) = http
                && !bound.get_ref().ip().to_canonical().is_loopback()
            {
                is_open = true;
                self.check_open(bound, diagnostics);
            }
        }
        if is_open {
            self.warn(diagnostics);
        }
    }

    /// Whether each request to the HTTP ports proves something: its client's id by a certificate, or that it has a token.
    fn is_closed(&self) -> bool {
        let presents = self.tls.as_ref().map(|tls| tls.certificates);
        let has_certificate = self.settings.tls && presents == Some(PresentsCertificate::Required);
        self.settings.tokens.is_some() || has_certificate
    }

    /// Records an error for an HTTP port that other machines can reach, if it may not be open to everybody.
    fn check_open(&self, bound: &Spanned<SocketAddr>, diagnostics: &mut Diagnostics<'_>) {
        if !self.is_closed() && !self.settings.insecure_http {
            let what =
                "any machine that reaches this HTTP port can read and report for every client";
            let remedy = "set tokens under [http] (herd token new makes one); or tls = true there with \
                          certificates = \"required\" under [client_tls]; or insecure_http = true under [http], if a \
                          proxy or a firewall decides who reaches this port";
            diagnostics.error(bound.span(), what, remedy);
        }
    }

    /// Records the warnings about HTTP ports that other machines can reach.
    fn warn(&self, diagnostics: &mut Diagnostics<'_>) {
        if let (false, Some(place)) = (self.settings.tls, self.section.place_of("tokens")) {
            let what = "tokens travel unencrypted to the HTTP ports beyond the loopback";
            let remedy =
                "set tls = true under [http], or bind 127.0.0.1 and put a proxy with TLS in front";
            diagnostics.warn(place, what, remedy);
        } else if let (true, false, Some(place)) =
            (self.settings.insecure_http, self.is_closed(), self.section.place_of("insecure_http"))
        {
            let what = "any machine that reaches an HTTP port can read and report for every client";
            let remedy = "restrict the ports to the herd's users, by a proxy, a firewall or a private network";
            diagnostics.warn(place, what, remedy);
        }
    }
}
