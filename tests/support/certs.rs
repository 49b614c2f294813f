//! Certificates for tests: an authority, the certificates that it issues, and all their possible faults.

#![allow(dead_code, unreachable_pub, reason = "each test file uses only a part of it")]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The years of the simulated clocks.
pub const FROM: (i32, u8, u8) = (2016, 1, 1);
pub const UNTIL: (i32, u8, u8) = (2017, 6, 1);

pub const BOTH: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

/// The wanted content of a certificate.
#[derive(Clone, Debug)]
pub struct Wish {
    pub names: Vec<String>,
    pub from: (i32, u8, u8),
    pub until: (i32, u8, u8),
    pub uses: Vec<ExtendedKeyUsagePurpose>,
}

impl Wish {
    /// A good certificate of this server of the herd `places-herd`.
    pub fn of(server: &str) -> Wish {
        let names = vec![format!("{server}.places-herd")];
        Wish { names, from: FROM, until: UNTIL, uses: BOTH.to_vec() }
    }

    fn params(&self) -> CertificateParams {
        static LAST: AtomicU64 = AtomicU64::new(1);
        let mut params = CertificateParams::new(self.names.clone()).unwrap();
        // The CN must be ignored, so it names a good neighbour: if it were read, tests would fail.
        params.distinguished_name.push(DnType::CommonName, "Alford.places-herd");
        params.serial_number = Some(SerialNumber::from(LAST.fetch_add(1, Ordering::Relaxed)));
        params.not_before = date_time_ymd(self.from.0, self.from.1, self.from.2);
        params.not_after = date_time_ymd(self.until.0, self.until.1, self.until.2);
        params.extended_key_usages = self.uses.clone();
        params
    }
}

/// A certificate and its key.
pub struct Issued {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
    pub serial: SerialNumber,
}

impl Issued {
    fn new(params: &CertificateParams, certificate: rcgen::Certificate, key: KeyPair) -> Issued {
        Issued { certificate, key, serial: params.serial_number.clone().unwrap() }
    }

    /// Makes a certificate that is signed with its own key.
    pub fn self_signed(wish: &Wish) -> Issued {
        let (params, key) = (wish.params(), KeyPair::generate().unwrap());
        Issued::new(&params, params.self_signed(&key).unwrap(), key)
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Writes the files of the server `name`.
    pub fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(format!("{name}.pem")), self.certificate.pem()).unwrap();
        let key = folder.join(format!("{name}.key"));
        fs::write(&key, self.key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, wish: &Wish) -> Issued {
        let (params, key) = (wish.params(), KeyPair::generate().unwrap());
        Issued::new(&params, self.sign(&params, &key), key)
    }

    /// Issues a certificate with the content `params` for `key`.
    pub fn sign(&self, params: &CertificateParams, key: &KeyPair) -> rcgen::Certificate {
        params.signed_by(key, &self.issuer).unwrap()
    }

    /// Writes the authority's certificate as `ca.pem`.
    pub fn write(&self, folder: &Path) {
        self.write_pem(&folder.join("ca.pem")).unwrap();
    }

    /// Writes the authority's certificate to `path`, for peers that trust it.
    pub fn write_pem(&self, path: &Path) -> io::Result<()> {
        fs::write(path, &self.pem)
    }

    /// Writes `revoked.crl` with exactly these revoked certificates.
    pub fn revoke(&self, folder: &Path, serials: &[&SerialNumber]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: date_time_ymd(2016, 6, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2016, 6, 1),
            next_update: date_time_ymd(2016, 7, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.issuer).unwrap().pem().unwrap();
        fs::write(folder.join("revoked.crl"), pem).unwrap();
    }
}

/// A new empty folder. Dropping this value removes the folder.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Folder {
        let name = format!("certs-{}-{test}", std::process::id());
        // Cargo sets this folder for tests only; an example does not need it.
        let folder =
            option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = folder.join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes an authority, and a folder with good certificates of the servers `names`.
pub fn good(test: &str, names: &[&str]) -> (Folder, Authority) {
    let (folder, authority) = (Folder::new(test), Authority::new("the herd's"));
    authority.write(folder.path());
    for name in names {
        authority.issue(&Wish::of(name)).write(folder.path(), name);
    }
    (folder, authority)
}
