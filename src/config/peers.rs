//! How neighbours know each other: by certificates (`[peer_tls]`), or by nothing but their address.
//!
//! In: the table `[peer_tls]` and the key `insecure_peers`. Out: [`Security`], and what it demands of
//! each server. Opens no file: the folder's contents differ from machine to machine. The
//! module that reads them makes its errors with [`PeerTlsSettings::here`], which is the line that names the folder.
//!
//! The idea: a peer port beyond the loopback that asks for no proof lets anybody speak as a server.
//! So the topology has to ask for it by a key (`insecure_peers`). A plain server proves nothing and cannot be asked to, so
//! a herd of certificates has none: one port that takes anonymous lines would undo all the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::DnsName;
use toml::Spanned;

use super::diagnostic::{Diagnostic, Diagnostics, quoted};
use super::toml_section::Section;

/// Where a herd's certificates are: the same folder name on each machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTlsSettings {
    /// The folder, as seen from the working directory.
    pub folder: PathBuf,
    /// The place in the topology that names the folder. Errors about its files point here.
    pub here: Diagnostic,
}

/// What the servers of a herd demand of each other.
#[derive(Clone, Debug)]
pub(super) struct Security {
    pub(super) tls: Option<PeerTlsSettings>,
    insecure: bool,
}

/// Reads both. `path`: of the topology file. `is_supposed`: there is a table `[peer_tls]` even if it is not written.
pub(super) fn read(
    top: &Section<'_>,
    path: &Path,
    is_supposed: bool,
    diagnostics: &mut Diagnostics<'_>,
) -> Security {
    let insecure = top.flag("insecure_peers");
    let section = top.section("[peer_tls]", diagnostics);
    let tls = (section.is_there() || is_supposed).then(|| {
        let place = section.place_of("folder").or(section.head.clone());
        let here = diagnostics.diagnostic_at(path, place);
        let folder = path.parent().unwrap_or(Path::new("")).join(section.text_or_default("folder"));
        PeerTlsSettings { folder, here }
    });
    if let (Some(_), true, Some(place)) = (&tls, insecure, top.place_of("insecure_peers")) {
        let what = "with [peer_tls] every neighbour proves who it is: this allows nothing";
        diagnostics.warn(place, what, "take one of the two out");
    }
    Security { tls, insecure }
}

impl Security {
    /// Finds servers that this herd cannot know, or would believe without any proof.
    pub(super) fn check(
        &self,
        herd: &str,
        name: Option<&Spanned<&str>>,
        peer: Option<&Spanned<SocketAddr>>,
        plain: bool,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        match (&self.tls, name, peer) {
            (Some(_), Some(name), _) => {
                check_name(herd, name, diagnostics);
                if plain {
                    let what = format!("{} is plain, and speaks no TLS", quoted(name.get_ref()));
                    let remedy = "a herd with [peer_tls] has no plain server: take one of them out";
                    diagnostics.error(name.span(), what, remedy);
                }
            }
            (None, _, Some(peer)) => self.check_address(peer, diagnostics),
            _ => {}
        }
    }

    fn check_address(&self, peer: &Spanned<SocketAddr>, diagnostics: &mut Diagnostics<'_>) {
        let ip = peer.get_ref().ip().to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            // The second has an error of its own.
            return;
        }
        let what = "whoever reaches this port may speak as a server";
        match self.insecure {
            true => {
                let remedy =
                    "let only the herd's machines reach it: by a firewall, or a private network";
                diagnostics.warn(peer.span(), what, remedy);
            }
            false => {
                let remedy = "let servers prove who they are: add a table [peer_tls] \
                              (docs/peer-tls.md); or insecure_peers = true at the top, if only the \
                              herd's machines reach it";
                diagnostics.error(peer.span(), what, remedy);
            }
        }
    }

    /// Finds names that are two for us, and one for DNS.
    pub(super) fn check_names<'t>(
        &self,
        names: impl Iterator<Item = &'t Spanned<&'t str>>,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        let mut seen = BTreeMap::new();
        for name in names.filter(|_| self.tls.is_some()) {
            let text = *name.get_ref();
            match seen.insert(text.to_ascii_lowercase(), text) {
                Some(other) if other != text => {
                    let what =
                        format!("{} and {} are one name in DNS", quoted(text), quoted(other));
                    let remedy =
                        "with [peer_tls] let names differ in more than upper and lower case";
                    diagnostics.error(name.span(), what, remedy);
                }
                _ => {}
            }
        }
    }
}

/// The name that a server's certificate is for.
pub fn certificate_name(server: &str, herd: &str) -> String {
    format!("{server}.{herd}")
}

fn check_name(herd: &str, name: &Spanned<&str>, diagnostics: &mut Diagnostics<'_>) {
    let full = certificate_name(name.get_ref(), herd);
    if !herd.is_empty() && DnsName::try_from(full.as_str()).is_err() {
        let what = format!("{} is no DNS name, and certificates need one", quoted(&full));
        let remedy = "between two points are at most 63 letters, digits, _ and -, the - neither first \
                      nor last; and the herd's name does not end with a number";
        diagnostics.error(name.span(), what, remedy);
    }
}
