//! Mutual TLS 1.3 under one private authority: each side shows a certificate, and each judges the
//! other's by the same rules, whoever has dialled.
//!
//! In: certificates, a key and revocation lists, as DER. Out: [`Mutual`], which wraps a
//! protocol for either side of a connection. Reads no file and knows no herd: *that* a certificate
//! is to be believed is decided here, and *whose* it is by who reads its names afterwards.
//!
//! The rules (`PeerVerifier`), one more than a browser has:
//!
//! * It leads to the authority, and holds at this moment.
//! * It is for both uses, servers' and clients', and says so: a server of a herd is both. (A verifier of
//!   either side usually asks for its own use only, and for none where the certificate names none.)
//! * If there are revocation lists, its issuer's is among them, and it does not stand there.
//! * Who is dialled shows the name that was dialled, as DNS compares names.
//!
//! No session is resumed and no ticket given: a resumed session shows no certificate, so a revoked one
//! would live on in it. No early data, which anybody could replay.
//!
//! rustls asks for the time by a trait. Its own answer is the system's clock; ours is the loop's
//! ([`LoopClock`]), so that nothing here reads a clock, and tests hold it by hand.

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

/// 1.3.6.1.5.5.7.3.1 and 2, as they stand in a certificate. RFC 5280, section 4.2.1.12.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// What a server needs to prove who it is, and to judge others.
#[derive(Debug)]
pub struct Credentials {
    /// Whom to trust: at least one.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The server's own certificate first, then any between it and the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first.
    pub key: PrivateKeyDer<'static>,
    /// Revocation lists; without any, nothing is revoked.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// Which of the credentials cannot be used, and why.
#[derive(Debug)]
pub enum CredentialError {
    /// An authority's certificate; or there is none.
    Authority(webpki::Error),
    /// A list of what is revoked.
    Revoked(webpki::Error),
    /// The server's certificate, its key, or the two together.
    Key(rustls::Error),
}

/// One server's way to speak mutual TLS, in both directions.
#[derive(Debug)]
pub struct Mutual {
    accepting: Arc<ServerConfig>,
    dialling: Arc<ClientConfig>,
    verifier: Arc<PeerVerifier>,
    clock: Arc<LoopClock>,
}

impl Mutual {
    /// Both directions, of the same credentials.
    ///
    /// # Errors
    ///
    /// Which of the credentials is not usable.
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
        // Whoever listens on the way need not learn who is dialled.
        dialling.enable_sni = false;
        Ok(Mutual { accepting: Arc::new(accepting), dialling: Arc::new(dialling), verifier, clock })
    }

    /// Wraps `inner` for a connection from somebody.
    pub fn accept<P>(&self, limit: HandshakeLimit, inner: P) -> Result<Tls<P>, rustls::Error> {
        let tls = Tls::server(self.accepting.clone(), inner)?;
        Ok(tls.proving(self.clock.clone(), limit))
    }

    /// Wraps `inner` for a connection that we made to `server`.
    pub fn dial<P>(
        &self,
        server: ServerName<'static>,
        limit: HandshakeLimit,
        inner: P,
    ) -> Result<Tls<P>, rustls::Error> {
        let tls = Tls::client(self.dialling.clone(), server, inner)?;
        Ok(tls.proving(self.clock.clone(), limit))
    }

    /// Whether these certificates, as a peer showed them, are to be believed at `wall`.
    ///
    /// # Errors
    ///
    /// Why they are not.
    pub fn verify(&self, shown: &[Vec<u8>], wall: UnixNanos) -> Result<(), webpki::Error> {
        let shown: Vec<CertificateDer<'_>> =
            shown.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let (leaf, intermediates) = shown.split_first().ok_or(webpki::Error::BadDer)?;
        self.verifier.verify(leaf, intermediates, unix_time(wall))
    }
}

/// The DNS names that the certificate `der` is for, as they stand there; none if it is none.
pub fn dns_names(der: &[u8]) -> Vec<String> {
    let der = CertificateDer::from(der);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return Vec::new() };
    certificate.valid_dns_names().map(str::to_owned).collect()
}

/// The loop's wall clock, for rustls: shows what it was last set to.
#[derive(Debug, Default)]
pub struct LoopClock(AtomicU64);

impl LoopClock {
    /// From now on it is `wall`.
    pub fn set(&self, UnixNanos(nanos): UnixNanos) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl TimeProvider for LoopClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(UnixNanos(self.0.load(Ordering::Relaxed))))
    }
}

fn unix_time(UnixNanos(nanos): UnixNanos) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(nanos))
}

/// Who judges certificates, of either side.
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

/// Both uses must be named.
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

/// What both of rustls' traits ask for in the same words.
macro_rules! tls13_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            // It is not offered, so nobody gets here.
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
    /// No hints: a stranger need not learn who is trusted here.
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

/// What the peer is told, which is the alert that fits, and the log.
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
