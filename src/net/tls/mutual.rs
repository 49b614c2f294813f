//! Mutual TLS 1.3 under one private authority: each side presents a certificate, and both sides verify the other's
//! by the same rules, no matter which side dialled.
//!
//! In: certificates, a key and revocation lists, as DER. Out: [`Mutual`], which wraps a protocol for either side of
//! a connection. It reads no file and knows no herd: it decides whether a certificate is valid. Its caller reads the
//! names in it afterwards, and decides which server that is.
//!
//! The rules (`PeerVerifier`), which are stricter than a browser's:
//!
//! * The certificate chains to the authority, and is valid at this moment.
//! * It names both key usages, server and client authentication, because a server of a herd is both. (A verifier
//!   usually requires only the usage of the peer's side, and accepts a certificate that names no usage.)
//! * If there are revocation lists, one of them is of the certificate's issuer, and does not contain the certificate.
//! * On a connection that we dialled, the certificate contains the dialled name, by DNS comparison.
//!
//! No session is resumed, and no ticket is issued: a resumed session presents no certificate, so a revoked
//! certificate would remain usable. There is no early data, because it could be replayed.
//!
//! rustls asks for the time through a trait. Its default is the system's clock; here it is the loop's
//! ([`LoopClock`]), so that this code reads no clock, and tests set the time.

use super::{HandshakeLimit, Tls};
use herd_reactor::UnixNanos;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use webpki::{
    CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};

/// The usages 1.3.6.1.5.5.7.3.1 and 2, as encoded in a certificate. RFC 5280, section 4.2.1.12.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// What a server needs to authenticate itself, and to verify its peers.
#[derive(Debug)]
pub struct Credentials {
    /// The trusted authorities: at least one.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The server's own certificate first, then any intermediate certificates up to the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate in `chain`.
    pub key: PrivateKeyDer<'static>,
    /// The revocation lists; if empty, no certificate is revoked.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// The credential that cannot be used, and why.
#[derive(Debug)]
pub enum CredentialError {
    /// An authority's certificate, or its absence.
    Authority(webpki::Error),
    /// A revocation list.
    Revoked(webpki::Error),
    /// The server's certificate, its key, or the two together.
    Key(rustls::Error),
}

/// The TLS configurations of one server, for both directions.
#[derive(Debug)]
pub struct Mutual {
    accepting: Arc<ServerConfig>,
    dialling: Arc<ClientConfig>,
    verifier: Arc<PeerVerifier>,
    clock: Arc<LoopClock>,
}

impl Mutual {
    /// Makes the configurations of both directions from the same credentials.
    ///
    /// # Errors
    /// Fails if a credential cannot be used; the error names it.
    pub fn new(credentials: Credentials) -> Result<Mutual, CredentialError> {
        let Credentials { authorities, chain, key, crls } = credentials;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(PeerVerifier::new(&authorities, &crls, algorithms)?);
        Mutual::with(verifier, chain, key, provider).map_err(CredentialError::Key)
    }

    fn with(
        verifier: Arc<PeerVerifier>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Mutual, rustls::Error> {
        let clock = Arc::new(LoopClock::default());
        let mut accepting = ServerConfig::builder_with_details(provider.clone(), clock.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain.clone(), key.clone_key())?;
        accepting.send_tls13_tickets = 0;
        accepting.session_storage = Arc::new(NoServerSessionStorage {});
        let mut dialling = ClientConfig::builder_with_details(provider, clock.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_auth_cert(chain, key)?;
        dialling.resumption = Resumption::disabled();
        // SNI would show an eavesdropper which server is dialled.
        dialling.enable_sni = false;
        Ok(Mutual { accepting: Arc::new(accepting), dialling: Arc::new(dialling), verifier, clock })
    }

    /// Wraps `inner` for an accepted connection.
    pub fn accept<P>(&self, limit: HandshakeLimit, inner: P) -> Result<Tls<P>, rustls::Error> {
        let tls = Tls::server(self.accepting.clone(), inner)?;
        Ok(tls.proving(self.clock.clone(), limit))
    }

    /// Wraps `inner` for a connection that was dialled to `server`.
    pub fn dial<P>(
        &self,
        server: ServerName<'static>,
        limit: HandshakeLimit,
        inner: P,
    ) -> Result<Tls<P>, rustls::Error> {
        let tls = Tls::client(self.dialling.clone(), server, inner)?;
        Ok(tls.proving(self.clock.clone(), limit))
    }

    /// Verifies the certificates that a peer presented, at the time `wall`.
    ///
    /// # Errors
    /// Fails if they are not valid; the error is the reason.
    pub fn verify(&self, shown: &[Vec<u8>], wall: UnixNanos) -> Result<(), webpki::Error> {
        let shown: Vec<CertificateDer<'_>> =
            shown.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let (leaf, intermediates) = shown.split_first().ok_or(webpki::Error::BadDer)?;
        self.verifier.verify(leaf, intermediates, unix_time(wall))
    }
}

/// The DNS names in the certificate `der`, as written there; empty if `der` is not a certificate.
pub fn dns_names(der: &[u8]) -> Vec<String> {
    subject_names(der).1
}

/// The URIs and the DNS names in the certificate `der`. Its CN means nothing.
pub fn subject_names(der: &[u8]) -> (Vec<String>, Vec<String>) {
    let der = CertificateDer::from(der);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return Default::default() };
    let uris = certificate.valid_uri_names().map(str::to_owned).collect();
    (uris, certificate.valid_dns_names().map(str::to_owned).collect())
}

/// The loop's wall clock, for rustls. It shows the time that was set last.
#[derive(Debug, Default)]
pub struct LoopClock(AtomicU64);

impl LoopClock {
    /// Sets the time.
    pub fn set(&self, UnixNanos(nanos): UnixNanos) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl TimeProvider for LoopClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(UnixNanos(self.0.load(Ordering::Relaxed))))
    }
}

pub(super) fn unix_time(UnixNanos(nanos): UnixNanos) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(nanos))
}

/// Verifies the certificates of either side.
#[derive(Debug)]
struct PeerVerifier {
    authorities: Vec<TrustAnchor<'static>>,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn new(
        authorities: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'_>],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<PeerVerifier, CredentialError> {
        if authorities.is_empty() {
            return Err(CredentialError::Authority(webpki::Error::UnknownIssuer));
        }
        let anchor = |der| anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned());
        let list = |der: &CertificateRevocationListDer<'_>| {
            OwnedCertRevocationList::from_der(der).map(CertRevocationList::from)
        };
        let authorities = authorities.iter().map(anchor).collect::<Result<_, _>>();
        let crls = crls.iter().map(list).collect::<Result<_, _>>();
        Ok(PeerVerifier {
            authorities: authorities.map_err(CredentialError::Authority)?,
            crls: crls.map_err(CredentialError::Revoked)?,
            algorithms,
        })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let lists: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let crls = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::EndEntity)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .build()
        });
        let (algorithms, anchors) = (self.algorithms.all, &self.authorities);
        leaf.verify_for_usage(algorithms, anchors, intermediates, now, BothUses, crls, None)?;
        Ok(())
    }
}

/// Requires both key usages.
struct BothUses;

impl ExtendedKeyUsageValidator for BothUses {
    fn validate(&self, named: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let (mut as_server, mut as_client) = (false, false);
        for purpose in named {
            let purpose = purpose?;
            as_server |= purpose == KeyPurposeId::new(SERVER_AUTH);
            as_client |= purpose == KeyPurposeId::new(CLIENT_AUTH);
        }
        if as_server && as_client { Ok(()) } else { Err(webpki::Error::EmptyEkuExtension) }
    }
}

/// The methods that both of rustls' traits require with the same signature.
macro_rules! tls13_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            // TLS 1.2 is not offered, so this is never called.
            Err(PeerIncompatible::Tls13RequiredForQuic.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for PeerVerifier {
    /// No hints: a peer without a certificate need not learn which authorities are trusted here.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now).map_err(to_rustls)?;
        Ok(ClientCertVerified::assertion())
    }

    tls13_signatures!();
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now).map_err(to_rustls)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(to_rustls)?;
        leaf.verify_is_valid_for_subject_name(dialled).map_err(to_rustls)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures!();
}

/// The error for rustls, which sends the matching alert to the peer, and for the log.
fn to_rustls(why: webpki::Error) -> rustls::Error {
    use webpki::Error::{
        BadDer, BadDerTime, CertExpired, CertNotValidForName, CertNotValidYet, CertRevoked,
        EmptyEkuExtension, InvalidCertValidity, InvalidSignatureForPublicKey, UnknownIssuer,
        UnknownRevocationStatus,
    };
    let known = match why {
        BadDer | BadDerTime => CertificateError::BadEncoding,
        CertExpired { .. } | InvalidCertValidity => CertificateError::Expired,
        CertNotValidYet { .. } => CertificateError::NotValidYet,
        CertNotValidForName(_) => CertificateError::NotValidForName,
        CertRevoked => CertificateError::Revoked,
        EmptyEkuExtension => CertificateError::InvalidPurpose,
        InvalidSignatureForPublicKey => CertificateError::BadSignature,
        UnknownIssuer => CertificateError::UnknownIssuer,
        UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    known.into()
}
