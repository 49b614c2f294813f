//! TLS 1.2 and 1.3 for ports that clients use: the server has a certificate, and clients may have one.
//!
//! In: a certificate and its key, and the authorities of client certificates, as DER. Out: [`ClientPorts`], which wraps
//! the protocols of accepted connections. It reads no file, and does not know what a client may do.
//!
//! A client's certificate must chain to an authority, be valid now, and be usable by a client; if there are revocation
//! lists, one is of its issuer, and does not contain it. As between neighbours ([`mutual`](super::mutual)) no session is
//! resumed, so a revoked certificate is of no use, and the clock is the loop's.
//!
//! A client that names protocols (ALPN) must name that of the port. So no web page can make a browser send lines to the
//! port for lines: browsers name only HTTP's.

use super::mutual::{CredentialError, Credentials, LoopClock, unix_time};
use super::{HandshakeLimit, Tls};
use herd_reactor::UnixNanos;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{
    NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;

/// What a port speaks inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSpeaks {
    /// The lines of the client port.
    Lines,
    /// HTTP/1.1.
    Http,
}

/// The TLS configurations of a server's ports for clients.
#[derive(Debug)]
pub struct ClientPorts {
    lines: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    clock: Arc<LoopClock>,
}

impl ClientPorts {
    /// Makes the configurations. Without authorities no client is asked for a certificate; with some, one without a
    /// certificate is rejected if `is_required`.
    ///
    /// # Errors
    /// Fails if a credential cannot be used; the error names it.
    pub fn new(
        credentials: Credentials,
        is_required: bool,
    ) -> Result<ClientPorts, CredentialError> {
        let Credentials { authorities, chain, key, crls } = credentials;
        let (provider, clock) =
            (Arc::new(ring::default_provider()), Arc::new(LoopClock::default()));
        let verifier = match authorities.is_empty() {
            true => WebPkiClientVerifier::no_client_auth(),
            false => verifier(authorities, crls, is_required)?,
        };
        let config = ServerConfig::builder_with_details(provider, clock.clone())
            .with_protocol_versions(&[&TLS12, &TLS13])
            .and_then(|it| {
                it.with_client_cert_verifier(verifier.clone()).with_single_cert(chain, key)
            });
        let mut config = config.map_err(CredentialError::Key)?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let speaking = |name: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![name.to_vec()];
            Arc::new(config)
        };
        Ok(ClientPorts { lines: speaking(b"herd"), http: speaking(b"http/1.1"), verifier, clock })
    }

    /// Returns why the certificates that a client presented are not accepted any more, if they are not. Where no client is
    /// asked for one, none is rejected.
    pub fn distrust(&self, shown: &[Vec<u8>], wall: UnixNanos) -> Option<rustls::Error> {
        if !self.verifier.offer_client_auth() {
            return None;
        }
        let mut chain = shown.iter().map(|der| CertificateDer::from(&der[..]));
        let leaf = chain.next()?;
        let others: Vec<_> = chain.collect();
        self.verifier.verify_client_cert(&leaf, &others, unix_time(wall)).err()
    }

    /// Makes the server's side of an accepted connection, whose protocol is not chosen yet.
    pub fn accept(
        &self,
        speaks: PortSpeaks,
        limit: HandshakeLimit,
    ) -> Result<Tls<()>, rustls::Error> {
        let config = if speaks == PortSpeaks::Http { &self.http } else { &self.lines };
        Ok(Tls::server(config.clone(), ())?.proving(self.clock.clone(), limit))
    }
}

fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    is_required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, CredentialError> {
    let mut roots = RootCertStore::empty();
    let unknown = || CredentialError::Authority(webpki::Error::UnknownIssuer);
    for authority in authorities {
        roots.add(authority).map_err(|_| unknown())?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .with_crls(crls)
        .only_check_end_entity_revocation();
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.clear_root_hint_subjects().build().map_err(|why| match why {
        VerifierBuilderError::InvalidCrl(_) => {
            CredentialError::Revoked(webpki::Error::UnknownRevocationStatus)
        }
        _ => unknown(),
    })
}

/// Verifies the certificate `leaf` of a client, as a port with these authorities does, at the time `wall`.
///
/// # Errors
/// Fails if it is not valid; the error is the reason.
pub fn verify_client(
    authorities: Vec<CertificateDer<'static>>,
    leaf: &CertificateDer<'_>,
    wall: UnixNanos,
) -> Result<(), rustls::Error> {
    let verifier = verifier(authorities, Vec::new(), true);
    let verifier = verifier.map_err(|_| rustls::Error::NoCertificatesPresented)?;
    verifier.verify_client_cert(leaf, &[], unix_time(wall)).map(drop)
}
