//! What a server's files say about its clients: its tokens, its certificate for clients, and whose certificates it
//! accepts.
//!
//! In: the files that `[http]` and `[client_tls]` name. Out: [`ClientAccess`], which says what a request may do, and
//! wraps connections to the ports that speak TLS.
//!
//! The files are read at the start and at each reload. A connection keeps the certificate that it began with.
//!
//! A client's certificate has the client's id in its URI `herd:client:ID`, percent-encoded, or without such a URI in its
//! only DNS name. A certificate that names several ids, or none, proves no id.

use super::peer_tls::{CertificateFiles, expires, untimely};
use crate::access::{Caller, IdPattern, NoAccess, Presented, TokenFault, Tokens, sha256};
use crate::config::{ClientTlsSettings, Diagnostic, NamedFile, PresentsCertificate, Topology};
use crate::files;
use crate::http::percent_decode;
use crate::net::tls::cert_info::CertInfo;
use crate::net::tls::clients::ClientPorts;
use crate::net::tls::mutual::{Credentials, subject_names};
use herd_reactor::UnixNanos;
use std::time::Duration;

/// The form of a client's id in a certificate.
pub const ID_URI: &str = "herd:client:";

/// The tokens and certificates of one server.
#[derive(Debug, Default)]
pub struct ClientAccess {
    tokens: Option<Tokens>,
    /// The certificate for clients, if there is one.
    pub tls: Option<ClientTls>,
    /// A warning about the file of tokens.
    warning: Option<Diagnostic>,
}

/// The certificate for clients.
#[derive(Debug)]
pub struct ClientTls {
    settings: ClientTlsSettings,
    files: CertificateFiles,
    pub(super) ports: ClientPorts,
    own: CertInfo,
    /// The DNS names in the certificate.
    pub(super) names: Vec<String>,
    /// The hashes of the certificate, and of the authorities and the revocation lists.
    hashes: [[u8; 32]; 2],
    /// The mode of the key's file.
    key_mode: u32,
}

impl ClientAccess {
    /// Reads the files of the server `name` of `topology`, and checks them at the time `wall`.
    ///
    /// # Errors
    /// Fails if a file has a fault; all faults are returned, at the places where the topology names the files.
    pub fn read(
        topology: &Topology,
        name: &str,
        wall: UnixNanos,
    ) -> Result<ClientAccess, Vec<Diagnostic>> {
        let (mut access, mut faults) = (ClientAccess::default(), Vec::new());
        match topology.http.tokens.as_ref().map(read_tokens).transpose() {
            Ok(read) => {
                let (tokens, warning) = read.unzip();
                (access.tokens, access.warning) = (tokens, warning.flatten());
            }
            Err(more) => faults = more,
        }
        match topology.client_tls.as_ref().map(|it| ClientTls::read(it, name, wall)).transpose() {
            Ok(tls) => access.tls = tls,
            Err(fault) => faults.push(*fault),
        }
        if faults.is_empty() { Ok(access) } else { Err(faults) }
    }

    /// Adopts what `new` has. Only a restart switches TLS on or off. Returns whether the certificate is another one, and
    /// whether the authorities or the revocation lists are others.
    pub(super) fn replace_by(&mut self, new: ClientAccess) -> [bool; 2] {
        let (tls, are_others) = match (self.tls.take(), new.tls) {
            (Some(old), Some(new)) => {
                let are_others = [0, 1].map(|at| old.hashes[at] != new.hashes[at]);
                (Some(new), are_others)
            }
            (old, _) => (old, [false; 2]),
        };
        *self = ClientAccess { tls, ..new };
        are_others
    }

    /// Warnings about the files at `wall`: secrets that others can read, and a certificate that expires soon.
    pub fn warnings(&self, wall: UnixNanos) -> Vec<Diagnostic> {
        let of_tls = |tls: &ClientTls| {
            let remedy = "renew the certificate, and run \"herd reload\"";
            let own = expires(&tls.files.certificate, &tls.own, wall, remedy);
            [own, tls.files.open_key(tls.key_mode)]
        };
        let of_tls = self.tls.as_ref().map(of_tls).into_iter().flatten().flatten();
        self.warning.iter().cloned().chain(of_tls).collect()
    }

    /// Returns what a request may do that presents a token in `authorization` or in its `query`. `shown`: the valid
    /// certificates that its connection presented, perhaps none; `None` without TLS. The table is in [`crate::access`].
    pub(super) fn caller(
        &self,
        shown: Option<&[Vec<u8>]>,
        authorization: Option<&[u8]>,
        query: &[u8],
    ) -> Result<Caller, NoAccess> {
        let tls = self.tls.as_ref().zip(shown);
        let by_certificate = tls.map(|(tls, shown)| tls.caller(shown));
        if let Some(nobody) = by_certificate.clone()
            && tls.is_some_and(|(tls, shown)| tls.lacks(shown))
        {
            return Ok(nobody);
        }
        let Some(tokens) = &self.tokens else {
            return Ok(by_certificate.unwrap_or_else(Caller::everybody));
        };
        let by_certificate = by_certificate.filter(|_| shown.is_some_and(|it| !it.is_empty()));
        match (Presented::find(authorization, query), by_certificate) {
            (None, Some(caller)) => Ok(caller),
            (None, None) => Err(NoAccess::Missing),
            (Some(presented), by_certificate) => {
                let by_token = tokens.caller(&presented.token).ok_or(NoAccess::Wrong)?;
                Ok(by_certificate.map_or_else(|| by_token.clone(), |it| it.and(by_token)))
            }
        }
    }
}

impl ClientTls {
    /// Reads the files that `settings` name for the server `name`.
    fn read(
        settings: &ClientTlsSettings,
        name: &str,
        wall: UnixNanos,
    ) -> Result<ClientTls, Box<Diagnostic>> {
        let files = CertificateFiles::of_clients(settings, name);
        let presents = settings.certificates;
        let (credentials, key_mode) = files.read(presents != PresentsCertificate::None)?;
        let own = files.own(&credentials.chain[0])?;
        let Credentials { authorities, chain, crls, .. } = &credentials;
        let (_, names) = subject_names(&chain[0]);
        let trusted = authorities.iter().map(|it| &it[..]).chain(crls.iter().map(|it| it.as_ref()));
        let shown = chain.iter().map(|it| &it[..]);
        let hashes = [shown.collect::<Vec<_>>(), trusted.collect()].map(|it| sha256(&it.concat()));
        if own.left(wall).is_zero() || wall.0 / 1_000_000_000 < own.not_before {
            let renew = "renew it, and copy certificate and key here";
            return Err(files.dated(untimely(&own, &own, wall, renew)));
        }
        let ports = ClientPorts::new(credentials, presents == PresentsCertificate::Required)
            .map_err(|why| files.unusable(&why))?;
        Ok(ClientTls { settings: settings.clone(), files, ports, own, names, hashes, key_mode })
    }

    /// The time until the certificate expires; 0 if it has.
    pub(super) fn left(&self, wall: UnixNanos) -> Duration {
        self.own.left(wall)
    }

    /// Whether the client presented no certificate, but one is required. The handshake would have failed, unless a reload
    /// has changed the setting since.
    pub(super) fn lacks(&self, shown: &[Vec<u8>]) -> bool {
        self.settings.certificates == PresentsCertificate::Required && shown.is_empty()
    }

    /// Returns what a client may do that presented the valid certificates `shown`, perhaps none.
    pub(super) fn caller(&self, shown: &[Vec<u8>]) -> Caller {
        if self.lacks(shown) {
            return Caller::new(Vec::new(), Vec::new());
        }
        let ClientTlsSettings { own_id_only, ask_own_only, .. } = self.settings;
        let allowed = |is_limited| match is_limited {
            true => certified_id(shown).iter().map(|id| IdPattern::exactly(id)).collect(),
            false => vec![IdPattern::parse(b"*")],
        };
        Caller::new(allowed(own_id_only), allowed(ask_own_only))
    }

    /// Whether [`caller`](ClientTls::caller) depends on the certificate.
    pub(super) fn is_limited(&self) -> bool {
        self.settings.own_id_only || self.settings.ask_own_only
    }
}

/// The one id that the first of these certificates names.
fn certified_id(shown: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (uris, names) = subject_names(shown.first()?);
    let mut ids = uris.iter().filter_map(|uri| uri.strip_prefix(ID_URI)).peekable();
    if ids.peek().is_none() {
        return <[String; 1]>::try_from(names).ok().map(|[name]| name.into_bytes());
    }
    let id = ids.next().filter(|_| ids.next().is_none())?;
    percent_decode(id.as_bytes()).map(|id| id.into_owned()).filter(|id| !id.is_empty())
}

/// Reads the tokens in `file`; also returns a warning.
fn read_tokens(file: &NamedFile) -> Result<(Tokens, Option<Diagnostic>), Vec<Diagnostic>> {
    let path = files::credential_or(file.path.clone());
    let read = Tokens::read(&path).map_err(|faults| {
        let in_words = |TokenFault { line, what, remedy }: TokenFault| {
            let line = if line == 0 { String::new() } else { format!(":{line}") };
            file.here.error(format!("{}{line}: {what}", path.display()), remedy)
        };
        faults.into_iter().map(in_words).collect::<Vec<_>>()
    });
    let (tokens, warning) = read?;
    let in_words = |what| file.here.warning(format!("{}: {what}", path.display()), "chmod 600 it");
    Ok((tokens, warning.map(in_words)))
}
