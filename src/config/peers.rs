//! How neighbours authenticate each other: by certificates (`[peer_tls]`), or not at all (`insecure_peers`).
//!
//! In: the table `[peer_tls]` and the key `insecure_peers`. Out: [`Security`], and the checks that it makes on each
//! server. It opens no file, because the folder's contents differ from machine to machine. The module that reads the
//! certificates makes its errors with [`PeerTlsSettings::here`], the line that names the folder.
//!
//! The idea: a peer port beyond the loopback that demands no proof lets any machine act as a server. So the topology
//! must allow it explicitly (`insecure_peers`). A plain server cannot prove its name, so a herd with certificates has
//! none: one port that accepts anonymous lines would make the certificates of all others useless.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::DnsName;
use toml::Spanned;

use super::diagnostic::{Diagnostic, Diagnostics, quoted};
use super::toml_section::Section;

/// The folder of a herd's certificates; it has the same name on each machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTlsSettings {
    /// The folder, relative to the working directory.
    pub folder: PathBuf,
    /// The position in the topology that names the folder. Errors about its files point here.
    pub here: Diagnostic,
}

/// How the servers of a herd authenticate each other.
#[derive(Clone, Debug)]
pub(super) struct Security {
    pub(super) tls: Option<PeerTlsSettings>,
    insecure: bool,
}

/// Reads `[peer_tls]` and `insecure_peers`. `path`: the topology file's path. `is_supposed`: act as if the file
/// had a table `[peer_tls]`.
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
        let what = "insecure_peers has no effect: with [peer_tls] every neighbour proves its name";
        diagnostics.warn(place, what, "remove insecure_peers, or remove [peer_tls]");
    }
    Security { tls, insecure }
}

impl Security {
    /// Records an error for a server that [`Security`] does not allow. `bound`: the address that its peer port binds.
    pub(super) fn check(
        &self,
        herd: &str,
        name: Option<&Spanned<&str>>,
        bound: Option<&Spanned<SocketAddr>>,
        plain: bool,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        match (&self.tls, name, bound) {
            (Some(_), Some(name), _) => {
                check_name(herd, name, diagnostics);
                if plain {
                    let what = format!(
                        "{} has plain = true, but a plain server speaks no TLS",
                        quoted(name.get_ref())
                    );
                    let remedy = "a herd with [peer_tls] cannot have a plain server: remove the server or [peer_tls]";
                    diagnostics.error(name.span(), what, remedy);
                }
            }
            (None, _, Some(bound)) => self.check_address(bound, diagnostics),
            _ => {}
        }
    }

    fn check_address(&self, bound: &Spanned<SocketAddr>, diagnostics: &mut Diagnostics<'_>) {
        if bound.get_ref().ip().to_canonical().is_loopback() {
            return;
        }
        let what = "any machine that reaches this peer port can act as a server of the herd";
        match self.insecure {
            true => {
                let remedy =
                    "restrict it to the herd's machines, with a firewall or a private network";
                diagnostics.warn(bound.span(), what, remedy);
            }
            false => {
                let remedy = "add a table [peer_tls] (docs/peer-tls.md), so that servers prove their names; or \
                                              set insecure_peers = true at the top of the file, if only the herd's machines can \
                                              reach this port";
                diagnostics.error(bound.span(), what, remedy);
            }
        }
    }

    /// Records an error for each pair of server names that differ only in case: DNS takes them for one name.
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
                    let remedy = "with [peer_tls], choose names that differ in more than upper and lower case";
                    diagnostics.error(name.span(), what, remedy);
                }
                _ => {}
            }
        }
    }
}

/// The DNS name in a server's certificate.
pub fn certificate_name(server: &str, herd: &str) -> String {
    format!("{server}.{herd}")
}

fn check_name(herd: &str, name: &Spanned<&str>, diagnostics: &mut Diagnostics<'_>) {
    let full = certificate_name(name.get_ref(), herd);
    if !herd.is_empty() && DnsName::try_from(full.as_str()).is_err() {
        let what = format!(
            "{} is not a DNS name, but [peer_tls] needs one for the certificate",
            quoted(&full)
        );
        let remedy = "each part between points has 1 to 63 letters, digits, _ and -, and no - at its start \
                              or end; the herd's name does not end with a number";
        diagnostics.error(name.span(), what, remedy);
    }
}
