//! The table `[bus]`: the NATS cluster through which the servers exchange reports, and how they log in to it.
//!
//! In: the table. Out: [`BusSettings`], or errors. Reading the table opens no file, because credentials differ from machine
//! to machine; [`BusSettings::read_files`] reads them when a server starts, when it reloads, and in `herd check`.
//!
//! The idea: whoever reads the network between a server and NATS knows where all clients are, and can log in as the server.
//! So a plain URL beyond the loopback must be allowed explicitly (`insecure_nats`), as plain peer ports must.

use super::Supposed;
use super::diagnostic::{Diagnostic, Diagnostics, quoted};
use super::http::{NamedFile, named_file};
use super::toml_section::Section;
use crate::files;
use crate::nats::{Bucket, Login, NatsUrl, Storage};
use crate::net::tls::pem;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use toml::Spanned;

/// The bucket of a herd whose name cannot be the name of a bucket.
const BUCKET: &str = "herd";

/// The values of `[bus]`; [`KEYS`](super::KEYS) documents them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusSettings {
    /// The servers of the NATS cluster, at least one.
    pub urls: Vec<NatsUrl>,
    /// The bucket of the reports.
    pub bucket: Bucket,
    /// What `credentials` holds; `None` before [`BusSettings::read_files`]. It takes precedence over the login in a URL.
    pub login: Option<Login>,
    /// The file of the login. A file with this name that the service manager provides takes its place.
    pub credentials: Option<NamedFile>,
    /// The file of the certificates to trust. With it every connection uses TLS.
    pub ca_file: Option<NamedFile>,
    /// What `ca_file` holds; empty before [`BusSettings::read_files`].
    pub authorities: Vec<CertificateDer<'static>>,
    /// Whether a connection beyond the loopback may do without TLS.
    pub insecure_nats: bool,
    /// The number of replicas of a bucket that a server creates.
    pub replicas: u8,
    /// Where JetStream keeps a bucket that a server creates.
    pub storage: Storage,
}

/// Reads `[bus]`. `path`: the topology file's path. `herd`: the herd's name. A bus that is `supposed` has no table.
pub(super) fn read(
    top: &Section<'_>,
    path: &Path,
    herd: &str,
    supposed: Supposed,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<BusSettings> {
    let section = top.section("[bus]", diagnostics);
    match (section.is_there(), supposed.bus) {
        (true, Some(_)) => {
            let what = "--bus starts a nats-server for a herd without a bus, but this topology has a table [bus]";
            let remedy = "run herd up without --bus, or remove [bus]";
            diagnostics.error(section.head.clone(), what, remedy);
            None
        }
        (true, None) => read_table(&section, path, herd, diagnostics),
        (false, Some(address)) => {
            let mut settings = BusSettings::of(&section, path, herd, diagnostics);
            settings.urls = vec![url_of(address)];
            Some(settings)
        }
        (false, None) => {
            // The table may be in a part of the file that was not parsed.
            let is_unread = top.has("bus") || diagnostics.is_broken();
            let ack = top.text("ack").filter(|ack| !is_unread && *ack.get_ref() == "bus");
            if let Some(ack) = ack {
                let what = "ack = \"bus\" needs a bus, but there is no table [bus]";
                let remedy =
                    "add a table [bus] (docs/bus.md), or write ack = \"peer\" or ack = \"local\"";
                diagnostics.error(ack.span(), what, remedy);
            }
            None
        }
    }
}

/// The settings of a table that is in the file; `None` if it has errors.
fn read_table(
    section: &Section<'_>,
    path: &Path,
    herd: &str,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<BusSettings> {
    let mut settings = BusSettings::of(section, path, herd, diagnostics);
    section.require("nats", diagnostics);
    let urls = section.texts("nats");
    if section.lists_nothing("nats") {
        let what = "nats must list at least one server";
        let remedy = "write nats = [\"nats://127.0.0.1:4222\"]";
        diagnostics.error(section.place_of("nats"), what, remedy);
    }
    if let Some(text) = section.text("credentials").filter(|text| is_seed(text.get_ref())) {
        // The text is a secret, so it is not shown.
        let what = "credentials is an nkey's seed, but must name the file that holds it";
        diagnostics.error_unseen(
            text.span(),
            what,
            "write the seed into a file, and its name here",
        );
        settings.credentials = None;
    }
    settings.urls = urls.iter().filter_map(|url| settings.read_url(url, diagnostics)).collect();
    if let Some(name) = section.text("bucket") {
        match Bucket::new(name.get_ref()) {
            Some(bucket) => settings.bucket = bucket,
            None => {
                let what = format!("bucket cannot be {}", quoted(name.get_ref()));
                let remedy = "use 1 to 64 letters (A-Z, a-z), digits, _ and -";
                diagnostics.error(name.span(), what, remedy);
            }
        }
    }
    (!settings.urls.is_empty()).then_some(settings)
}

/// Whether `text` looks like the seed of an nkey: base32 that begins with `SU` or another kind of key.
fn is_seed(text: &str) -> bool {
    let is_base32 = text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    text.starts_with('S') && text.len() >= 10 && is_base32
}

/// The URL of a nats-server on this machine.
fn url_of(address: SocketAddr) -> NatsUrl {
    format!("nats://{address}").parse().expect("an address makes a URL")
}

impl BusSettings {
    /// The settings of the table, without the URLs, and with the bucket of a table that names none.
    fn of(
        section: &Section<'_>,
        path: &Path,
        herd: &str,
        diagnostics: &Diagnostics<'_>,
    ) -> BusSettings {
        let file = |key| section.has(key).then(|| named_file(section, key, path, diagnostics));
        let bucket = Bucket::new(herd).or_else(|| Bucket::new(BUCKET));
        BusSettings {
            urls: Vec::new(),
            bucket: bucket.expect("it is the name of a bucket"),
            login: None,
            credentials: file("credentials"),
            ca_file: file("ca_file"),
            authorities: Vec::new(),
            insecure_nats: section.flag("insecure_nats"),
            replicas: section.number("replicas"),
            storage: match section.text_or_default("storage") {
                "memory" => Storage::Memory,
                _ => Storage::File,
            },
        }
    }

    /// Parses a URL of the list, and checks whether it may be used. An error does not repeat the URL, because it may hold a
    /// password.
    fn read_url(&self, text: &Spanned<&str>, diagnostics: &mut Diagnostics<'_>) -> Option<NatsUrl> {
        let url: NatsUrl = match text.get_ref().parse() {
            Ok(url) => url,
            Err((what, remedy)) => {
                diagnostics.error_unseen(text.span(), &format!("nats {what}"), remedy);
                return None;
            }
        };
        if url.login.is_some() {
            let what = "nats contains a password or a token, but other users may read this file";
            let remedy = "log in with an nkey or a .creds file (credentials under [bus]), or chmod 600 this file";
            diagnostics.warn(text.span(), what, remedy);
        }
        if url.tls || self.ca_file.is_some() || is_loopback(&url.host) {
            return Some(url);
        }
        let what = format!("the connection to {url} leaves this machine without TLS");
        if self.insecure_nats {
            let remedy = "make sure that no other machines can read that network, or use tls://";
            diagnostics.warn(text.span(), what, remedy);
        } else {
            let remedy = "write tls:// instead of nats://; or name the NATS servers' authority as ca_file; or set \
                          insecure_nats = true under [bus], if no other machines can read that network";
            diagnostics.error(text.span(), what, remedy);
        }
        Some(url)
    }

    /// Whether the connection to `url` must be TLS: the table says so, or the server is on another machine and
    /// `insecure_nats` is not set.
    pub fn needs_tls(&self, url: &NatsUrl) -> bool {
        let may_be_plain = self.insecure_nats || is_loopback(&url.host);
        url.tls || self.ca_file.is_some() || !may_be_plain
    }

    /// Reads the files that the table names into `login` and `authorities`. It blocks. Calls `warn` if others than the owner
    /// may read the credentials.
    ///
    /// # Errors
    /// Fails if a file cannot be read or used; all faults are returned, at the places where the topology names the files.
    pub fn read_files(&mut self, warn: impl FnMut(Diagnostic)) -> Result<(), Vec<Diagnostic>> {
        let mut faults = Vec::new();
        match self.read_login(warn) {
            Ok(login) => self.login = login,
            Err(fault) => faults.push(*fault),
        }
        if let Some(NamedFile { path, here }) = &self.ca_file {
            match authorities(path) {
                Ok(authorities) => self.authorities = authorities,
                Err(why) => {
                    let what = format!("cannot read the certificates to trust: {why}");
                    let remedy = "name a file of certificates in PEM, or remove ca_file";
                    faults.push(here.error(what, remedy));
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Reads the credentials; `None` if the table names none. It blocks. Operators renew the file in place, so it may be
    /// read again at each login. Calls `warn` if others than the owner may read it.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or holds no login.
    pub fn read_login(
        &self,
        warn: impl FnMut(Diagnostic),
    ) -> Result<Option<Login>, Box<Diagnostic>> {
        let Some(NamedFile { path, here }) = &self.credentials else { return Ok(None) };
        let read = Login::from_file(&files::credential_or(path.clone()));
        let (login, warning) = read.map_err(|why| {
            let remedy = "name a .creds file, or a file that holds an nkey's seed and nothing else";
            here.error(format!("cannot read the credentials: {why}"), remedy)
        })?;
        warning.map(|what| here.warning(what, "chmod 600 it")).into_iter().for_each(warn);
        Ok(Some(login))
    }
}

/// The certificates in the file at `path`; each can be trusted.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let (certificates, _): (Vec<CertificateDer<'static>>, _) = pem::read(path, "certificate")?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(&certificates) {
        let added = roots.add(certificate.clone());
        added
            .map_err(|e| format!("{}: certificate {number} cannot be used: {e}", path.display()))?;
    }
    Ok(certificates)
}

/// Whether `host` is certainly on this machine. A name that would have to be looked up is not.
fn is_loopback(host: &str) -> bool {
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}
