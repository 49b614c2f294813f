//! The certificates that an HTTPS client trusts, and its TLS settings. TLS in the reactor: [`crate::net::tls`].

use crate::net::tls::pem;
use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The TLS configuration of a client: TLS 1.2 and 1.3, HTTP/1.1, sessions resumed from memory.
///
/// `ca_file`: PEM certificates to trust instead of the roots that are compiled in.
pub fn client_config(ca_file: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let mut config = trusting(ca_file)?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The beginning of a configuration: TLS 1.2 and 1.3, and the certificates to trust: those in `ca_file`, or else the roots
/// that are compiled in, which browsers trust.
pub fn trusting(
    ca_file: Option<&Path>,
) -> io::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let roots = match ca_file {
        None => browsers_roots(),
        Some(path) => roots_of(path)?,
    };
    trusting_these(roots).map_err(io::Error::other)
}

/// As [`trusting`], with these certificates; without any, with the roots that are compiled in.
pub fn trusting_these(
    roots: RootCertStore,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let roots = if roots.is_empty() { browsers_roots() } else { roots };
    // The provider is named explicitly, so that another crate's default cannot conflict with it.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots))
}

/// The roots that are compiled in.
fn browsers_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn roots_of(path: &Path) -> io::Result<RootCertStore> {
    let (certificates, _): (Vec<CertificateDer<'_>>, _) =
        pem::read(path, "certificate").map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates) {
        roots.add(certificate).map_err(|e| {
            let path = path.display();
            io::Error::other(format!("{path}: certificate {number} cannot be used: {e}"))
        })?;
    }
    Ok(roots)
}
