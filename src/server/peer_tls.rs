//! The certificates by which neighbours know each other: read, judged, watched, and read anew.
//!
//! In: the folder that `[peer_tls]` names. Out: [`PeerTls`], which wraps the connections of the peer
//! port and of those who dial; and whose a certificate is.
//!
//! ```text
//!   ca.pem  NAME.pem  NAME.key  revoked.crl ──read──▶ PeerTls ──wrap──▶ Tls<LineReceiver<Interserver>>
//!                                              ▲                            │ handshake done
//!                                   SIGHUP ────┘              neighbour_of ◀┘ then HELLO
//! ```
//!
//! TLS proves that somebody owns a certificate of the herd's authority. Whose it is, is decided here,
//! by hand: the one name in it that is a neighbour's, `NAME.HERD`, byte for byte, as names of servers are
//! compared everywhere. The other names in it, its CN first of all, mean nothing.
//!
//! Reading blocks, on a few small files: at the start, and once for each SIGHUP. What cannot be used
//! leaves in force what was.

use crate::config::{Diagnostic, Limits, PeerTlsSettings, certificate_name};
use crate::log::plural;
use crate::net::tls::cert_info::CertInfo;
use crate::net::tls::mutual::{CredentialError, Credentials, Mutual, dns_names};
use crate::net::tls::{HandshakeLimit, Tls, pem};
use crate::replication::{NeighbourId, neighbours::Neighbours};
use herd_reactor::{CloseReason, ConnId, Core, Shared, UnixNanos};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// With fewer days left, a certificate is warned of.
pub const DAYS_LEFT_MIN: u64 = 30;

/// How often a server looks how many are left.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(86_400);

/// One server's certificates, and the handshakes that they are used in.
#[derive(Debug)]
pub struct PeerTls {
    settings: PeerTlsSettings,
    herd: String,
    name: String,
    mutual: Mutual,
    /// What the server's certificate says, and the authority's that ends first.
    own: CertInfo,
    authority: CertInfo,
    /// Who else may read the key: bits of its file's mode.
    key_mode: u32,
    /// How often the files have been read: what was proved by older ones has to be proved again.
    generation: u32,
    /// Connections to the peer port that have not proved anything yet, the oldest first.
    handshakes: VecDeque<ConnId>,
}

impl PeerTls {
    /// Reads the files of the server `name` of `herd`, and judges them by `wall`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with them, at the place where the topology names the folder.
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
        let mutual = Mutual::new(credentials).map_err(|why| files.unusable(&why))?;
        mutual.verify(&shown, wall).map_err(|why| files.refused(&why))?;
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
            generation: 0,
            handshakes: VecDeque::new(),
        })
    }

    /// Whole days for which the server's certificate still holds.
    pub fn days_left(&self, wall: UnixNanos) -> u64 {
        self.own.days_left(wall)
    }

    /// The same of the authority; of several, the one that ends first.
    pub fn authority_days_left(&self, wall: UnixNanos) -> u64 {
        self.authority.days_left(wall)
    }

    /// What is doubtful about the files at `wall`.
    pub fn warnings(&self, wall: UnixNanos) -> Vec<Diagnostic> {
        let files = Files::of(&self.settings, &self.name);
        let mut warnings = Vec::new();
        let ending = [(&files.certificate, &self.own), (&files.authority, &self.authority)];
        for (file, info) in ending {
            let days = info.days_left(wall);
            if days < DAYS_LEFT_MIN {
                let days = plural(days as usize, "day");
                let what = format!("{}: {days} left", file.display());
                let remedy = "put a new one in its place, and send the server SIGHUP";
                warnings.push(self.settings.here.warning(what, remedy));
            }
        }
        if self.key_mode & 0o077 != 0 {
            let (file, mode) = (files.key.display(), self.key_mode & 0o777);
            let what = format!("{file}: others may open this key (mode {mode:04o})");
            warnings.push(self.settings.here.warning(what, "chmod 600 it"));
        }
        warnings
    }

    /// How often the files have been read since the start.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Reads the files again.
    pub(super) fn read_anew(&mut self, wall: UnixNanos) -> Result<(), Box<Diagnostic>> {
        let read = PeerTls::read(&self.settings, &self.herd, &self.name, wall)?;
        *self = PeerTls {
            generation: self.generation + 1,
            handshakes: std::mem::take(&mut self.handshakes),
            ..read
        };
        Ok(())
    }

    /// Wraps `inner` for a connection: to the neighbour that was `dialled`, or from somebody.
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

    /// Why these certificates, the first of which is the neighbour's own, are not believed at `wall`.
    pub(super) fn distrust(&self, shown: &[Vec<u8>], wall: UnixNanos) -> Option<webpki::Error> {
        self.mutual.verify(shown, wall).err()
    }

    /// The neighbour that has shown these certificates, the first of which is its own.
    pub(super) fn neighbour_of(
        &self,
        neighbours: &Neighbours,
        shown: &[Vec<u8>],
    ) -> Result<NeighbourId, &'static str> {
        let names = shown.first().map(|leaf| dns_names(leaf)).unwrap_or_default();
        let names_it = |name: &str| names.contains(&certificate_name(name, &self.herd));
        if names_it(&self.name) {
            return Err("its certificate is for this server itself");
        }
        let mut named = neighbours.iter().filter(|(_, link)| names_it(&link.server.name));
        match (named.next(), named.next()) {
            (Some((id, _)), None) => Ok(id),
            (None, _) => Err("its certificate is for no neighbour of this server"),
            (Some(_), Some(_)) => Err("its certificate is for several servers"),
        }
    }

    /// Somebody has come to the peer port. When there are too many who have proved nothing, the oldest
    /// makes room: who is honest needs little time, and who is not shall not hold the place.
    pub(super) fn handshake_begun<S: Shared>(
        &mut self,
        core: &mut Core<S>,
        id: ConnId,
        limits: &Limits,
    ) {
        let most = limits.peer_tls_handshakes;
        while self.handshakes.len() >= most
            && let Some(oldest) = self.handshakes.pop_front()
        {
            core.limit_hit("peer_tls_handshakes", most, 1, "handshakes closed");
            core.abort_because(oldest, CloseReason::TimeoutError("another TLS handshake"));
        }
        debug_assert!(self.handshakes.iter().all(|it| *it != id && core.transport(*it).is_some()));
        self.handshakes.push_back(id);
    }

    /// It has proved itself, or is gone.
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
            key: file(format!("{name}.key")),
            revoked: file("revoked.crl".to_owned()),
        }
    }

    /// All that they hold, and the mode of the key's file.
    fn read(&self) -> Result<(Credentials, u32), Box<Diagnostic>> {
        let authorities = self.objects(&self.authority, "certificate")?.0;
        let chain = self.objects(&self.certificate, "certificate")?.0;
        let (keys, key_mode) = self.objects(&self.key, "private key")?;
        let key = keys.into_iter().next().expect("there is at least one");
        let crls = match self.revoked.exists() {
            false => Vec::new(),
            true => self.objects(&self.revoked, "revocation list")?.0,
        };
        Ok((Credentials { authorities, chain, key, crls }, key_mode))
    }

    /// What one file holds, at least one, and the file's mode.
    fn objects<T: PemObject>(
        &self,
        path: &Path,
        wanted: &str,
    ) -> Result<(Vec<T>, u32), Box<Diagnostic>> {
        let (found, permissions) =
            pem::read(path, wanted).map_err(|what| self.fault(path, what))?;
        Ok((found, permissions.mode()))
    }

    /// What is wrong with the file at `path`.
    fn fault(&self, path: &Path, what: String) -> Box<Diagnostic> {
        let remedy = match path {
            path if path == self.authority => {
                "bring ca.pem here; only if there is none anywhere, begin with: herd pki init"
            }
            path if path == self.revoked => {
                "put the list in its place that herd pki revoke has written"
            }
            _ => &format!("put a new pair in its place, as from: herd pki issue {}", self.name),
        };
        Box::new(self.here.error(what, remedy))
    }

    fn no_certificate(&self, path: &Path) -> Box<Diagnostic> {
        self.fault(path, format!("{} holds what is no certificate", path.display()))
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

    /// Every neighbour would refuse it for this.
    fn refused(&self, why: &webpki::Error) -> Box<Diagnostic> {
        use webpki::Error::{
            CaUsedAsEndEntity, CertExpired, CertNotValidYet, CertRevoked, EmptyEkuExtension,
            UnknownIssuer, UnknownRevocationStatus,
        };
        let certificate = self.certificate.display();
        let what = match why {
            CaUsedAsEndEntity => format!("{certificate} is an authority's own (CA:TRUE)"),
            CertExpired { .. } => format!("{certificate} has expired"),
            CertNotValidYet { .. } => format!("{certificate} does not hold yet"),
            CertRevoked => format!("{certificate} is revoked"),
            EmptyEkuExtension => {
                format!("{certificate} is not for both uses, serverAuth and clientAuth")
            }
            UnknownIssuer => format!("{certificate} is not of the authority in ca.pem"),
            UnknownRevocationStatus => {
                let revoked = self.revoked.display();
                format!("{revoked} has no list of the authority that issued {certificate}")
            }
            why => format!("{certificate} is not to be believed: {why:?}"),
        };
        self.fault(&self.certificate, what)
    }
}
