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

use crate::config::{Diagnostic, Limits, PeerTlsSettings, certificate_name};
use crate::files;
use crate::log::plural;
use crate::net::tls::cert_info::CertInfo;
use crate::net::tls::mutual::{CredentialError, Credentials, Mutual, dns_names};
use crate::net::tls::{HandshakeLimit, Tls, pem};
use crate::replication::{NeighbourId, neighbours::Neighbours};
use herd_reactor::{CloseReason, ConnId, Core, Shared, UnixNanos};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
    settings: PeerTlsSettings,
    herd: String,
    name: String,
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
    handshakes: VecDeque<ConnId>,
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
        let files = Files::of(settings, name);
        let (credentials, key_mode) = files.read()?;
        let shown: Vec<Vec<u8>> =
            credentials.chain.iter().map(|der| der.as_ref().to_vec()).collect();
        let own =
            CertInfo::of(&shown[0]).ok_or_else(|| files.no_certificate(&files.certificate))?;
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
                let (what, remedy) = untimely(&own, &authority, wall, name);
                let what = format!("{} {what}", files.certificate.display());
                Box::new(files.here.error(what, remedy))
            }
            why => files.refused(&why),
        })?;
        let wanted = certificate_name(name, herd);
        let names = dns_names(&shown[0]);
        if !names.contains(&wanted) {
            let what = format!("{} is not for {wanted}", files.certificate.display());
            return Err(files.fault(&files.certificate, what));
        }
        Ok(PeerTls {
            settings: settings.clone(),
            herd: herd.to_owned(),
            name: name.to_owned(),
            mutual,
            own,
            authority,
            key_mode,
            hash: hash.finish(),
            generation: 0,
            handshakes: VecDeque::new(),
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
        let files = Files::of(&self.settings, &self.name);
        let mut warnings = Vec::new();
        let renew = format!(
            "run \"herd pki renew {}\" where ca.key is, copy certificate and key here, and run \"herd reload\"",
            self.name
        );
        let replace = "replace the authority before it expires (docs/peer-tls.md)".to_owned();
        let own = (&files.certificate, &self.own, renew);
        for (file, info, remedy) in [own, (&files.authority, &self.authority, replace)] {
            let days = info.days_left(wall);
            if days <= DAYS_LEFT_MIN {
                let days = plural(days as usize, "day");
                let what = format!("{}: {days} left", file.display());
                warnings.push(self.settings.here.warning(what, remedy));
            }
        }
        if self.key_mode & 0o077 != 0 {
            let (file, mode) = (files.key.display(), self.key_mode & 0o777);
            let what = format!("{file}: other users may open this key (mode {mode:04o})");
            warnings.push(self.settings.here.warning(what, "chmod 600 it"));
        }
        warnings
    }

    /// Replaces the certificates by those of `new`. Returns whether these are others. A handshake that is under way must
    /// be repeated.
    pub(super) fn replace_by(&mut self, new: PeerTls) -> bool {
        let are_others = self.hash != new.hash;
        *self = PeerTls {
            generation: self.generation + 1,
            handshakes: std::mem::take(&mut self.handshakes),
            ..new
        };
        are_others
    }

    /// Wraps `inner` in TLS, for a connection to the neighbour `dialled` or, if that is `None`, from a stranger.
    pub(super) fn wrap<P>(
        &self,
        dialled: Option<&str>,
        limits: &Limits,
        inner: P,
    ) -> Result<Tls<P>, String> {
        let limit = HandshakeLimit { key: "peer_tls_bytes", bytes: limits.peer_tls_bytes };
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
        if names_it(&self.name) {
            return Err("its certificate names this server itself");
        }
        let mut named = neighbours.iter().filter(|(_, link)| names_it(&link.server.name));
        match (named.next(), named.next()) {
            (Some((id, _)), None) => Ok(id),
            (None, _) => Err("its certificate names no neighbour of this server"),
            (Some(_), Some(_)) => Err("its certificate names several neighbours"),
        }
    }

    /// Registers a handshake on the peer port. At `most` of them the oldest unfinished one is closed: an honest peer
    /// finishes quickly, and an attacker must not hold the place.
    pub(super) fn handshake_begun<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        id: ConnId,
        most: usize,
    ) {
        while self.handshakes.len() >= most
            && let Some(oldest) = self.handshakes.pop_front()
        {
            core.limit_hit("peer_tls_handshakes", most, 1, "handshakes closed");
            core.abort_because(oldest, CloseReason::TimeoutError("another TLS handshake"));
        }
        debug_assert!(self.handshakes.iter().all(|it| *it != id && core.transport(*it).is_some()));
        self.handshakes.push_back(id);
    }

    /// Removes the handshake of the connection `id`, which has succeeded or is lost.
    pub(super) fn handshake_ended(&mut self, id: ConnId) {
        self.handshakes.retain(|other| *other != id);
    }
}

/// The files of one server.
struct Files {
    here: Diagnostic,
    name: String,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    revoked: PathBuf,
}

impl Files {
    fn of(settings: &PeerTlsSettings, name: &str) -> Files {
        let file = |name: String| settings.folder.join(name);
        Files {
            here: settings.here.clone(),
            name: name.to_owned(),
            authority: file("ca.pem".to_owned()),
            certificate: file(format!("{name}.pem")),
            key: files::credential_or(file(format!("{name}.key"))),
            revoked: file("revoked.crl".to_owned()),
        }
    }

    /// Reads all files; also returns the mode of the key's file.
    fn read(&self) -> Result<(Credentials, u32), Box<Diagnostic>> {
        let authorities = self.objects(&self.authority, "certificate")?.0;
        let chain = self.objects(&self.certificate, "certificate")?.0;
        let (mut keys, key_mode) = self.objects(&self.key, "private key")?;
        // While `herd pki renew` replaces the pair, the file has two keys.
        let provider = ring::default_provider();
        let fits = |key: &PrivateKeyDer<'static>| {
            CertifiedKey::from_der(Vec::clone(&chain), key.clone_key(), &provider).is_ok()
        };
        let key = keys.swap_remove(keys.iter().position(fits).unwrap_or(0));
        let crls = match self.revoked.exists() {
            false => Vec::new(),
            true => self.objects(&self.revoked, "revocation list")?.0,
        };
        Ok((Credentials { authorities, chain, key, crls }, key_mode))
    }

    /// Reads the objects of one file, of which there is at least one, and the file's mode.
    fn objects<T: PemObject>(
        &self,
        path: &Path,
        wanted: &str,
    ) -> Result<(Vec<T>, u32), Box<Diagnostic>> {
        let (found, permissions) =
            pem::read(path, wanted).map_err(|what| self.fault(path, what))?;
        Ok((found, permissions.mode()))
    }

    /// The fault `what` of the file at `path`, with its remedy.
    fn fault(&self, path: &Path, what: String) -> Box<Diagnostic> {
        let readable = accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
        let remedy = match path {
            _ if readable == Err(Errno::ACCESS) => NOT_READABLE,
            path if path == self.authority => {
                "copy the herd's ca.pem here; only if the herd has none yet, run: herd pki init"
            }
            path if path == self.revoked => "replace it with the list that herd pki revoke wrote",
            path if files::is_credential(path) => {
                "restart the server: the service manager gives it the present key only at its start"
            }
            _ => {
                &format!("replace certificate and key; to make them: herd pki issue {}", self.name)
            }
        };
        Box::new(self.here.error(what, remedy))
    }

    fn no_certificate(&self, path: &Path) -> Box<Diagnostic> {
        self.fault(path, format!("{} contains an invalid certificate", path.display()))
    }

    fn unusable(&self, why: &CredentialError) -> Box<Diagnostic> {
        let [certificate, key, revoked] =
            [&self.certificate, &self.key, &self.revoked].map(|path| path.display());
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
        let certificate = self.certificate.display();
        let what = match why {
            CaUsedAsEndEntity => format!("{certificate} is a CA certificate (CA:TRUE)"),
            CertRevoked => format!("{certificate} is revoked"),
            EmptyEkuExtension => {
                format!("{certificate} is not valid for both uses, serverAuth and clientAuth")
            }
            UnknownIssuer => format!("{certificate} was not issued by the authority in ca.pem"),
            UnknownRevocationStatus => {
                let revoked = self.revoked.display();
                format!("{revoked} has no list of the authority that issued {certificate}")
            }
            why => format!("{certificate} is not valid: {why:?}"),
        };
        self.fault(&self.certificate, what)
    }
}

/// What is wrong with the dates of the certificate `own` of the server `name`, and a remedy. The clock may be wrong
/// instead: it is if it shows a time before this program was built, or before the authority was made.
fn untimely(
    own: &CertInfo,
    authority: &CertInfo,
    UnixNanos(nanos): UnixNanos,
    name: &str,
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
    let renew = format!("run \"herd pki renew {name}\" where ca.key is, and copy both files here");
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
            let (what, remedy) = untimely(own, authority, UnixNanos(seconds * 1_000_000_000), "Bo");
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
            (
                built + 3 * YEAR,
                "run \"herd pki renew Bo\" where ca.key is, and copy both files here; but ",
            ),
        ] {
            let remedy = remedy(&own, &authority, seconds);
            assert!(remedy.contains(part), "{seconds}: {remedy}");
        }
        // The authority was made after this program.
        let authority = info(built + YEAR / 2, built + 10 * YEAR);
        assert!(remedy(&own, &authority, built + 1).starts_with("set the clock: "));
    }
}
