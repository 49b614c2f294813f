//! The certificates of a test authority, valid and invalid.

use super::certs::Authority;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// The names in a good certificate, besides 127.0.0.1.
pub const NAMES: [&str; 4] =
    ["localhost", "places.test", "places.googleapis.com", "maps.googleapis.com"];

/// The certificate that a server presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// A valid certificate for [`NAMES`] and 127.0.0.1.
    Good,
    /// A certificate for another name.
    WrongHost,
    /// A certificate from an unknown authority.
    Untrusted,
    /// A self-signed certificate.
    SelfSigned,
    /// The authority's own certificate, which a server must not present.
    Authoritys,
    /// An expired certificate.
    Expired,
}

/// The TLS versions that a server supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Authority {
    /// The key and the chain of a server that presents `certificate`.
    pub fn server(&self, certificate: Certificate, versions: &[Version]) -> Arc<ServerConfig> {
        let names = match certificate {
            Certificate::WrongHost => vec!["elsewhere.example".to_owned()],
            _ => NAMES.iter().chain(&["127.0.0.1"]).map(ToString::to_string).collect(),
        };
        let mut params = CertificateParams::new(names).unwrap();
        if certificate == Certificate::Expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        if certificate == Certificate::Authoritys {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let signed = match certificate {
            Certificate::SelfSigned => params.self_signed(&key),
            Certificate::Untrusted => Ok(Authority::new("a stranger").sign(&params, &key)),
            _ => Ok(self.sign(&params, &key)),
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let versions: Vec<_> = versions
            .iter()
            .map(|version| match version {
                Version::Tls12 => &TLS12,
                Version::Tls13 => &TLS13,
            })
            .collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.unwrap().der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
