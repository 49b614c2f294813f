//! The certificates by which neighbours authenticate each other: reading, checking, watching and reloading them.
//!
//! In: the folder that `[peer_tls]` names. Out: [`PeerTls`], which wraps the connections that the peer port
//! accepts and those that we dial, and says which neighbour a certificate belongs to.
//!
//! ```text
//!   ca.pem  NAME.pem  NAME.key  revoked.crl ──read──▶ PeerTls ──wrap──▶ Tls<LineReceiver<Interserver>>
//!                                              ▲                            │ handshake done
//!                                   SIGHUP ────┘              neighbour_of ◀┘ then HELLO
//! ```
//!
//! TLS proves that the peer owns a certificate of the herd's authority. This file decides to which neighbour the
//! certificate belongs: exactly one of its DNS names must be the name `NAME.HERD` of a neighbour, byte for byte, as
//! names of servers are compared everywhere. Its other names, above all its CN, mean nothing.
//!
//! Reading blocks, on a few small files, at the start and once for each reload. If a file cannot be used, the
//! certificates read before stay in force.

use super::handshakes::Handshakes;
use crate::config::{
    ClientTlsSettings, Diagnostic, Limits, NamedFile, PeerTlsSettings, certificate_name,
};
use crate::files;
use crate::log::plural;
use crate::net::tls::cert_info::CertInfo;
use crate::net::tls::mutual::{CredentialError, Credentials, Mutual, dns_names};
use crate::net::tls::{HandshakeLimit, Tls, pem};
use crate::replication::{NeighbourId, neighbours::Neighbours};
use herd_reactor::UnixNanos;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

/// A certificate that is valid for this many days or fewer causes a warning.
pub const DAYS_LEFT_MIN: u64 = 30;

/// The remedy if a file, or its folder, may not be read: `herd pki` makes files for its own user only.
pub const NOT_READABLE: &str = "let the user that runs the servers own the folder and its files, such as by: chown -R herd: pki";

/// How often a server checks the days that its certificates have left.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(86_400);

/// One server's certificates, and the handshakes that they are used in.
#[derive(Debug)]
pub struct PeerTls {
    files: CertificateFiles,
    herd: String,
    mutual: Mutual,
    /// The server's certificate.
    own: CertInfo,
    /// The authority's certificate; of several, the one that expires first.
    authority: CertInfo,
    /// The mode of the key's file.
    key_mode: u32,
    /// A hash of the certificates and lists.
    hash: u64,
    /// How often the files have been reloaded. A proof against older certificates must be repeated.
    pub(super) generation: u32,
    /// Connections to the peer port whose handshake is under way, oldest first.
    pub(super) handshakes: Handshakes,
}

impl PeerTls {
    /// Reads the files of the server `name` of `herd`, and checks them at the time `wall`.
    ///
    /// # Errors
    ///
    /// The first fault of the files, reported at the place where the topology names the folder.
    pub fn read(
        settings: &PeerTlsSettings,
        herd: &str,
        name: &str,
        wall: UnixNanos,
    ) -> Result<PeerTls, Box<Diagnostic>> {
        let files = CertificateFiles::of_peers(settings, name);
        let (credentials, key_mode) = files.read(true)?;
        let shown: Vec<Vec<u8>> =
            credentials.chain.iter().map(|der| der.as_ref().to_vec()).collect();
        let own = files.own(&shown[0])?;
        let ends = credentials.authorities.iter().map(|der| CertInfo::of(der.as_ref()));
        let ends = ends.collect::<Option<Vec<_>>>();
        let authority = ends.and_then(|all| all.into_iter().min_by_key(|info| info.not_after));
        let authority = authority.ok_or_else(|| files.no_certificate(&files.authority))?;
        let mut hash = DefaultHasher::new();
        credentials.authorities.iter().for_each(|der| der.as_ref().hash(&mut hash));
        credentials.crls.iter().for_each(|der| der.as_ref().hash(&mut hash));
        shown.hash(&mut hash);
        let mutual = Mutual::new(credentials).map_err(|why| files.unusable(&why))?;
        mutual.verify(&shown, wall).map_err(|why| match why {
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                let renew = format!(
                    "run \"herd pki renew {name}\" where ca.key is, and copy both files here"
                );
                files.dated(untimely(&own, &authority, wall, &renew))
            }
            why => files.refused(&why),
        })?;
        let wanted = certificate_name(name, herd);
        let names = dns_names(&shown[0]);
        if !names.contains(&wanted) {
            let what = format!("{} is not for {wanted}", files.certificate.path.display());
            return Err(files.fault(&files.certificate, what));
        }
        Ok(PeerTls {
            files,
            herd: herd.to_owned(),
            mutual,
            own,
            authority,
            key_mode,
            hash: hash.finish(),
            generation: 0,
            handshakes: Handshakes::of_peers(),
        })
    }

    /// Whole days until the server's certificate and the authority's expire.
    pub fn days_left(&self, wall: UnixNanos) -> [u64; 2] {
        [self.own.days_left(wall), self.authority.days_left(wall)]
    }

    /// The time until the server's certificate and the authority's expire; 0 if they have.
    pub(super) fn left(&self, wall: UnixNanos) -> [Duration; 2] {
        [self.own.left(wall), self.authority.left(wall)]
    }

    /// Warnings about the files at `wall`: certificates that expire soon, and a key that others can read.
    pub fn warnings(&self, wall: UnixNanos) -> Vec<Diagnostic> {
        let files = &self.files;
        let renew = format!(
            "run \"herd pki renew {}\" where ca.key is, copy certificate and key here, and run \"herd reload\"",
            files.name
        );
        let replace = "replace the authority before it expires (docs/peer-tls.md)";
        let own = expires(&files.certificate, &self.own, wall, &renew);
        let authority = expires(&files.authority, &self.authority, wall, replace);
        own.into_iter().chain(authority).chain(files.open_key(self.key_mode)).collect()
    }

    /// Replaces the certificates by those of `new`. Returns whether these are others. A handshake that is under way must
    /// be repeated.
    pub(super) fn replace_by(&mut self, mut new: PeerTls) -> bool {
        new.generation = self.generation + 1;
        std::mem::swap(&mut self.handshakes, &mut new.handshakes);
        std::mem::replace(self, new).hash != self.hash
    }

    /// Wraps `inner` in TLS, for a connection to the neighbour `dialled` or, if that is `None`, from a stranger.
    pub(super) fn wrap<P>(
        &self,
        dialled: Option<&str>,
        limits: &Limits,
        inner: P,
    ) -> Result<Tls<P>, String> {
        let bytes = limits.peer_tls_bytes;
        let limit = HandshakeLimit { key: "peer_tls_bytes", bytes, time: None };
        let wrapped = match dialled {
            None => self.mutual.accept(limit, inner),
            Some(name) => {
                let name = ServerName::try_from(certificate_name(name, &self.herd));
                self.mutual.dial(name.map_err(|e| e.to_string())?, limit, inner)
            }
        };
        wrapped.map_err(|e| e.to_string())
    }

    /// Why the certificates `shown`, the first of which is the peer's own, are not valid at `wall`; `None` if they are.
    pub(super) fn distrust(&self, shown: &[Vec<u8>], wall: UnixNanos) -> Option<webpki::Error> {
        self.mutual.verify(shown, wall).err()
    }

    /// The neighbour that presented the certificates `shown`, the first of which is its own.
    pub(super) fn neighbour_of(
        &self,
        neighbours: &Neighbours,
        shown: &[Vec<u8>],
    ) -> Result<NeighbourId, &'static str> {
        let names = shown.first().map(|leaf| dns_names(leaf)).unwrap_or_default();
        let names_it = |name: &str| names.contains(&certificate_name(name, &self.herd));
        if names_it(&self.files.name) {
            return Err("its certificate names this server itself");
        }
        let mut named = neighbours.iter().filter(|(_, link)| names_it(&link.server.name));
        match (named.next(), named.next()) {
            (Some((id, _)), None) => Ok(id),
            (None, _) => Err("its certificate names no neighbour of this server"),
            (Some(_), Some(_)) => Err("its certificate names several neighbours"),
        }
    }
}

/// The files of one server, for its neighbours or for its clients.
#[derive(Debug)]
pub(super) struct CertificateFiles {
    name: String,
    authority: NamedFile,
    pub(super) certificate: NamedFile,
    key: NamedFile,
    revoked: NamedFile,
    is_for_clients: bool,
}

impl CertificateFiles {
    fn of_peers(settings: &PeerTlsSettings, name: &str) -> CertificateFiles {
        let files = [&format!("{name}.pem"), &format!("{name}.key"), "ca.pem"];
        let named =
            |file| NamedFile { path: settings.folder.join(file), here: settings.here.clone() };
        CertificateFiles::new(name, files.map(named), false)
    }

    pub(super) fn of_clients(settings: &ClientTlsSettings, name: &str) -> CertificateFiles {
        let files = [&settings.certificate, &settings.key, &settings.ca];
        CertificateFiles::new(name, files.map(|file| file.of_server(name)), true)
    }

    fn new(name: &str, files: [NamedFile; 3], is_for_clients: bool) -> CertificateFiles {
        let (name, [certificate, mut key, authority]) = (name.to_owned(), files);
        key.path = files::credential_or(key.path);
        let mut revoked = authority.clone();
        revoked.path.set_file_name("revoked.crl");
        CertificateFiles { name, authority, certificate, key, revoked, is_for_clients }
    }

    /// Reads all files, those of the authority only if it `has_authority`; also returns the mode of the key's file.
    pub(super) fn read(&self, has_authority: bool) -> Result<(Credentials, u32), Box<Diagnostic>> {
        let (mut authorities, mut crls) = (Vec::new(), Vec::new());
        if has_authority {
            authorities = self.objects(&self.authority, "certificate")?.0;
        }
        let chain = self.objects(&self.certificate, "certificate")?.0;
        let (keys, key_mode) = self.objects(&self.key, "private key")?;
        let key = fitting_key(&chain, keys);
        if has_authority && self.revoked.path.exists() {
            crls = self.objects(&self.revoked, "revocation list")?.0;
        }
        Ok((Credentials { authorities, chain, key, crls }, key_mode))
    }

    /// Reads the objects of one file, of which there is at least one, and the file's mode.
    fn objects<T: PemObject>(
        &self,
        file: &NamedFile,
        wanted: &str,
    ) -> Result<(Vec<T>, u32), Box<Diagnostic>> {
        let (found, permissions) =
            pem::read(&file.path, wanted).map_err(|what| self.fault(file, what))?;
        Ok((found, permissions.mode()))
    }

    /// The facts of the server's certificate.
    pub(super) fn own(&self, der: &[u8]) -> Result<CertInfo, Box<Diagnostic>> {
        CertInfo::of(der).ok_or_else(|| self.no_certificate(&self.certificate))
    }

    /// The fault `what` of a file, with its remedy.
    fn fault(&self, file: &NamedFile, what: String) -> Box<Diagnostic> {
        let path = &file.path;
        let readable = accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
        let remedy = match path {
            _ if self.is_for_clients => {
                "replace it, or name another file, which the user that runs the servers can read (docs/client-tls.md)"
            }
            _ if readable == Err(Errno::ACCESS) => NOT_READABLE,
            path if *path == self.authority.path => {
                "copy the herd's ca.pem here; only if the herd has none yet, run: herd pki init"
            }
            path if *path == self.revoked.path => {
                "replace it with the list that herd pki revoke wrote"
            }
            path if files::is_credential(path) => {
                "restart the server: the service manager gives it the present key only at its start"
            }
            _ => {
                &format!("replace certificate and key; to make them: herd pki issue {}", self.name)
            }
        };
        Box::new(file.here.error(what, remedy))
    }

    fn no_certificate(&self, file: &NamedFile) -> Box<Diagnostic> {
        self.fault(file, format!("{} contains an invalid certificate", file.path.display()))
    }

    /// The fault of the server's certificate that [`untimely`] describes.
    pub(super) fn dated(&self, (what, remedy): (String, String)) -> Box<Diagnostic> {
        let NamedFile { path, here } = &self.certificate;
        Box::new(here.error(format!("{} {what}", path.display()), remedy))
    }

    /// A warning if other users may open the key, whose file has this mode.
    pub(super) fn open_key(&self, mode: u32) -> Option<Diagnostic> {
        let NamedFile { path, here } = &self.key;
        let (path, shown) = (path.display(), mode & 0o777);
        let what = format!("{path}: other users may open this key (mode {shown:04o})");
        (mode & 0o077 != 0).then(|| here.warning(what, "chmod 600 it"))
    }

    pub(super) fn unusable(&self, why: &CredentialError) -> Box<Diagnostic> {
        let [certificate, key, revoked] =
            [&self.certificate, &self.key, &self.revoked].map(|file| file.path.display());
        match why {
            CredentialError::Authority(_) => self.no_certificate(&self.authority),
            CredentialError::Revoked(why) => {
                self.fault(&self.revoked, format!("{revoked} cannot be used: {why:?}"))
            }
            CredentialError::Key(rustls::Error::InconsistentKeys(_)) => {
                self.fault(&self.key, format!("{key} is not the key of {certificate}"))
            }
            CredentialError::Key(why) => {
                self.fault(&self.certificate, format!("{certificate}: {why}"))
            }
        }
    }

    /// The fault of the server's certificate, but for its dates, for which every neighbour would reject it.
    fn refused(&self, why: &webpki::Error) -> Box<Diagnostic> {
        use webpki::Error::{
            CaUsedAsEndEntity, CertRevoked, EmptyEkuExtension, UnknownIssuer,
            UnknownRevocationStatus,
        };
        let certificate = self.certificate.path.display();
        let what = match why {
            CaUsedAsEndEntity => format!("{certificate} is a CA certificate (CA:TRUE)"),
            CertRevoked => format!("{certificate} is revoked"),
            EmptyEkuExtension => {
                format!("{certificate} is not valid for both uses, serverAuth and clientAuth")
            }
            UnknownIssuer => format!("{certificate} was not issued by the authority in ca.pem"),
            UnknownRevocationStatus => {
                let revoked = self.revoked.path.display();
                format!("{revoked} has no list of the authority that issued {certificate}")
            }
            why => format!("{certificate} is not valid: {why:?}"),
        };
        self.fault(&self.certificate, what)
    }
}

/// A warning if a certificate expires soon after `wall`.
pub(super) fn expires(
    NamedFile { path, here }: &NamedFile,
    info: &CertInfo,
    wall: UnixNanos,
    remedy: &str,
) -> Option<Diagnostic> {
    let days = info.days_left(wall);
    let what = format!("{}: {} left", path.display(), plural(days as usize, "day"));
    (days <= DAYS_LEFT_MIN).then(|| here.warning(what, remedy))
}

/// The one of `keys`, of which there is at least one, that fits the certificate: while `herd pki renew` replaces the pair,
/// the file has two keys.
fn fitting_key(
    chain: &[CertificateDer<'static>],
    mut keys: Vec<PrivateKeyDer<'static>>,
) -> PrivateKeyDer<'static> {
    let provider = ring::default_provider();
    let fits = |key: &PrivateKeyDer<'static>| {
        CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider).is_ok()
    };
    keys.swap_remove(keys.iter().position(fits).unwrap_or(0))
}

/// What is wrong with the dates of the certificate `own`, and a remedy; `renew` is how to replace it. The clock may be
/// wrong instead: it is if it shows a time before this program was built, or before the authority was made.
pub(super) fn untimely(
    own: &CertInfo,
    authority: &CertInfo,
    UnixNanos(nanos): UnixNanos,
    renew: &str,
) -> (String, String) {
    let date = |seconds| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let now = Duration::from_nanos(nanos).as_secs();
    // The build script writes a number.
    let built: u64 = env!("HERD_BUILT").parse().unwrap_or(0);
    let what = match now < own.not_before {
        true => format!("is not valid yet, but from {} on", date(own.not_before)),
        false => format!("has expired, on {}", date(own.not_after)),
    };
    let clock = format!("this machine's clock shows {}", date(now));
    let remedy = if now < built || now < authority.not_before {
        let made = date(built.max(authority.not_before));
        format!(
            "set the clock: {clock}, but this program or the herd's authority was made on {made}"
        )
    } else if now < own.not_before {
        format!(
            "{clock}: if that is right, the certificate was made by a clock that is ahead: set that one, and {renew}"
        )
    } else {
        format!("{renew}; but {clock}: if that is wrong, set it")
    };
    (what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 86_400;

    #[test]
    fn a_remedy_tells_a_wrong_clock_from_an_old_certificate() {
        let built: u64 = env!("HERD_BUILT").parse().expect("a number");
        let info = |not_before, not_after| CertInfo { serial: Vec::new(), not_before, not_after };
        let authority = info(built - YEAR, built + 10 * YEAR);
        let own = info(built + YEAR, built + 2 * YEAR);
        let remedy = |own: &CertInfo, authority: &CertInfo, seconds: u64| {
            let (what, remedy) =
                untimely(own, authority, UnixNanos(seconds * 1_000_000_000), "renew");
            assert_eq!(what.starts_with("is not valid yet"), seconds < own.not_before, "{what}");
            remedy
        };
        for (seconds, part) in [
            (
                0,
                "set the clock: this machine's clock shows Thu, 01 Jan 1970 00:00:00 GMT, but this program",
            ),
            (built - 1, "set the clock: this machine's clock shows "),
            (built + 1, "the certificate was made by a clock that is ahead"),
            (built + 3 * YEAR, "renew; but "),
        ] {
            let remedy = remedy(&own, &authority, seconds);
            assert!(remedy.contains(part), "{seconds}: {remedy}");
        }
        // The authority was made after this program.
        let authority = info(built + YEAR / 2, built + 10 * YEAR);
        assert!(remedy(&own, &authority, built + 1).starts_with("set the clock: "));
    }
}
