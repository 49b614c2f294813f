//! `herd pki`: a certificate authority for the herd, in a folder.
//!
//! In: the topology, for the names and the folder of `[peer_tls]`. Out: the files that a server reads
//! ([`crate::server::peer_tls`]), and `ca.key`, which no server needs. Keep it on a machine without a server.
//!
//! ```text
//!   init   ─▶ ca.pem  ca.key
//!   issue  ─▶ NAME.pem  NAME.key, or client-ID.pem  client-ID.key
//!   renew  ─▶ NAME.pem  NAME.key, and the pair before as NAME-SERIAL.old.pem and .key
//!   revoke ─▶ one more entry in revoked.crl; NAME.pem and NAME.key are renamed
//! ```
//!
//! Keys are ECDSA on P-256. Only the owner can read the files (0600). No file is overwritten, because it may be the only
//! copy, except `revoked.crl`, which is replaced by a longer one in one step, and the pair that `renew` replaces.
//!
//! A certificate and its key are two files, which no system call replaces together. So `renew` first replaces the key by a
//! file with both keys, the new one first; then the certificate; then the file with both keys by one with the new key. A
//! server takes the key that fits its certificate, so it can read the pair at any moment, even if `renew` was killed.
//!
//! Before a new certificate is written, it is verified as a neighbour would verify it.

use super::exit::{Exit, Failure};
use super::print_line;
use super::topology_file::TopologyFile;
use crate::access::in_hex;
use crate::config::{Server, Supposed, Topology, certificate_name};
use crate::files;
use crate::log::plural;
use crate::net::tls::cert_info::CertInfo;
use crate::net::tls::clients::verify_client;
use crate::net::tls::mutual::{Credentials, Mutual};
use crate::net::tls::pem;
use crate::phones::check_id;
use crate::server::client_access::ID_URI;
use crate::wire::command::CommandLimits;
use herd_reactor::{MioIo, UnixNanos};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, string::Ia5String,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// How much earlier a certificate becomes valid, and how much later it expires, because clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3_600);

/// A revocation list must name the date of the next list. No server checks it.
const NEXT_LIST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Pki {
    Init(Init),
    Issue(Issue),
    Renew(Renew),
    Revoke(Revoke),
}

impl Pki {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        match self {
            Pki::Init(init) => init.run(file),
            Pki::Issue(issue) => issue.run(file),
            Pki::Renew(renew) => renew.run(file),
            Pki::Revoke(revoke) => revoke.run(file),
        }
    }
}

/// Create the herd's certificate authority
///
/// Anyone who has ca.key can make a certificate for any server. Keep it on a machine without a server.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    #[command(flatten)]
    place: FolderArgs,
    /// How many days the authority's certificate is valid
    #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// Make a certificate and a key for servers of the topology, or for clients
#[derive(Debug, clap::Args)]
pub(super) struct Issue {
    /// Servers of the topology
    #[arg(required_unless_present = "client")]
    names: Vec<String>,
    /// A client, by its id, for a port with client certificates (docs/client-tls.md); may be repeated
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    client: Vec<String>,
    #[command(flatten)]
    place: FolderArgs,
    #[command(flatten)]
    term: TermArgs,
}

/// Replace certificates and keys by new ones from the same authority
///
/// The old pairs are kept under other names. They remain valid until they expire; `herd pki revoke` is for a key that was
/// stolen.
#[derive(Debug, clap::Args)]
pub(super) struct Renew {
    /// Servers of the topology [default: all that have a certificate in the folder]
    names: Vec<String>,
    /// A client, by its id; may be repeated
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    client: Vec<String>,
    #[command(flatten)]
    place: FolderArgs,
    #[command(flatten)]
    term: TermArgs,
}

/// Revoke a certificate
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// A server of the topology, or client-ID, as in the name of the certificate's file
    name: String,
    #[command(flatten)]
    place: FolderArgs,
}

/// The option `--days` for certificates of servers.
#[derive(Debug, clap::Args)]
struct TermArgs {
    /// How many days the certificates are valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// The option `--folder` of all `pki` commands.
#[derive(Debug, clap::Args)]
struct FolderArgs {
    /// The folder of the certificates and keys [default: the topology's peer_tls.folder, or pki beside the topology]
    #[arg(long, value_name = "FOLDER", allow_hyphen_values = true)]
    folder: Option<PathBuf>,
}

impl FolderArgs {
    fn open(&self, file: &TopologyFile) -> Result<(Topology, PkiFolder), Failure> {
        // This refuses names that no certificate can have, even if the topology has no [peer_tls] yet.
        let supposed = Supposed { peer_tls: true, no_source: true, ..Supposed::default() };
        let topology = file.read_supposing(supposed)?;
        let named = topology.peer_tls.as_ref().map(|tls| tls.folder.clone());
        let path = self.folder.clone().or(named).unwrap_or_default();
        Ok((topology, PkiFolder { path }))
    }
}

impl Init {
    fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let (topology, folder) = self.place.open(file)?;
        let (certificate, key) = (folder.file("ca.pem"), folder.file("ca.key"));
        must_be_free(&[&certificate, &key])?;
        let pair = new_key()?;
        let mut params = authority(&topology.herd, &pair);
        hold(&mut params, MioIo::wall_clock(), self.days);
        let made = params.self_signed(&pair).map_err(|e| cannot("make a certificate", e))?;
        folder.make()?;
        write_new(&key, &pair.serialize_pem())?;
        write_new(&certificate, &made.pem())?;
        print_line(&format!(
            "{}: the authority that the herd {} trusts, valid for {}\n{}: its key; keep it on a machine without a server",
            certificate.display(),
            topology.herd,
            plural(self.days as usize, "day"),
            key.display(),
        ));
        Ok(())
    }
}

impl Issue {
    fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let (topology, folder) = self.place.open(file)?;
        let servers = match self.names.is_empty() {
            true => Vec::new(),
            false => file.servers(&topology, &self.names)?,
        };
        let clients: Vec<String> = self.client.iter().map(|id| file_name(id)).collect();
        let names = servers.iter().map(|server| &server.name).chain(&clients);
        for name in names {
            let ends = ["pem", "key"].map(|end| folder.of(name, end));
            must_be_free(&ends.each_ref().map(PathBuf::as_path))?;
        }
        let (issuer, days) = (folder.issuer(&topology.herd)?, self.term.days);
        for server in servers {
            let pair = folder.pair(&topology.herd, &server.name, &issuer, days)?;
            folder.write(&server.name, &pair)?;
        }
        for (id, name) in self.client.iter().zip(&clients) {
            folder.write(name, &folder.client_pair(id, &issuer, days)?)?;
        }
        Ok(())
    }
}

impl Renew {
    fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let (topology, folder) = self.place.open(file)?;
        let mut servers = match self.client.is_empty() || !self.names.is_empty() {
            true => file.servers(&topology, &self.names)?,
            false => Vec::new(),
        };
        servers.retain(|server| !self.names.is_empty() || folder.of(&server.name, "pem").exists());
        if servers.is_empty() && self.client.is_empty() {
            let what = format!("no server has a certificate in {}", folder.path.display());
            return Err(Failure::config(format!("{what}; make one with \"herd pki issue NAME\"")));
        }
        let issuer = folder.issuer(&topology.herd)?;
        let mut made = Vec::new();
        for Server { name, .. } in servers {
            let pair = folder.pair(&topology.herd, name, &issuer, self.term.days)?;
            made.push((name.clone(), folder.aside(name, "old")?, pair));
        }
        for id in &self.client {
            let (name, pair) = (file_name(id), folder.client_pair(id, &issuer, self.term.days)?);
            let aside = folder.aside(&name, "old")?;
            made.push((name, aside, pair));
        }
        // If one of them could not be made, none is replaced.
        for (name, aside, pair) in made {
            folder.replace_pair(&name, &aside, &pair)?;
            let old = folder.of(&aside, "pem");
            print_line(&format!("{}; the one before is {}", pair.what, old.display()));
        }
        print_line("copy a server's files to its machine, and run \"herd reload\" there");
        Ok(())
    }
}

/// A certificate and its key, in PEM.
struct Pair {
    /// What they are, and in which files they belong, for the operator.
    what: String,
    certificate: String,
    key: String,
}

impl Revoke {
    fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let (topology, folder) = self.place.open(file)?;
        let certificate = folder.of(&self.name, "pem");
        let (der, info) = folder.certificate(&self.name)?;
        let wall = MioIo::wall_clock();
        let mut revoked = folder.revoked()?;
        revoked.retain(|(serial, _)| *serial != info.serial);
        revoked.push((info.serial.clone(), since_1970(wall)));
        let count = revoked.len();
        let list = signed_list(&folder.issuer(&topology.herd)?, revoked, wall)?;
        if !is_of_the_issuer(list.der(), &der) {
            let what = "is from an authority other than that of ca.key, so a list signed with ca.key does not revoke it";
            return Err(Failure::config(format!("{} {what}", certificate.display())));
        }
        let pem = list.pem().map_err(|e| cannot("make a list", e))?;
        replace(&folder.file("revoked.crl"), &pem)?;
        // The files are renamed, so that a new certificate can be issued for the name.
        let aside = folder.aside(&self.name, "revoked")?;
        for end in ["pem", "key"] {
            let from = folder.of(&self.name, end);
            if from.exists() {
                let to = folder.of(&aside, end);
                must_be_free(&[&to])?;
                fs::rename(&from, &to).map_err(|e| cannot(&from.display().to_string(), e))?;
            }
        }
        print_line(&format!(
            "{}: {} revoked; copy it to every server's machine, and run \"herd reload\" there. An older certificate of {} is \
             valid until it expires or is revoked itself (docs/peer-tls.md)",
            folder.file("revoked.crl").display(),
            plural(count, "certificate"),
            self.name,
        ));
        Ok(())
    }
}

/// The folder of the authority and the certificates.
struct PkiFolder {
    path: PathBuf,
}

impl PkiFolder {
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn of(&self, name: &str, end: &str) -> PathBuf {
        self.file(&format!("{name}.{end}"))
    }

    fn make(&self) -> Result<(), Failure> {
        files::create_folder(&self.path, 0o700)
            .map_err(|e| cannot(&self.path.display().to_string(), e))
    }

    /// Returns the certificate of the server `name` in this folder.
    fn certificate(&self, name: &str) -> Result<(CertificateDer<'static>, CertInfo), Failure> {
        let path = self.of(name, "pem");
        let der: CertificateDer<'_> = read(&path, "certificate")?.swap_remove(0);
        let info = CertInfo::of(&der)
            .ok_or_else(|| Failure::config(format!("{} is not a certificate", path.display())))?;
        Ok((der, info))
    }

    /// Returns the name, without its end, under which the present pair of the server `name` is kept.
    fn aside(&self, name: &str, why: &str) -> Result<String, Failure> {
        let serial = self.certificate(name)?.1.serial_in_hex();
        Ok(format!("{name}-{}.{why}", &serial[..serial.len().min(12)]))
    }

    /// Writes a new pair.
    fn write(&self, name: &str, pair: &Pair) -> Result<(), Failure> {
        write_new(&self.of(name, "key"), &pair.key)?;
        write_new(&self.of(name, "pem"), &pair.certificate)?;
        print_line(&pair.what);
        Ok(())
    }

    /// Makes a key and a certificate for the server `name`, and verifies them as a neighbour would.
    fn pair(
        &self,
        herd: &str,
        name: &str,
        issuer: &Issuer<'_, KeyPair>,
        days: u32,
    ) -> Result<Pair, Failure> {
        let full = certificate_name(name, herd);
        let dns_name = Ia5String::try_from(full.as_str()).map_err(|e| cannot(&full, e))?;
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let subject = (full.as_str(), SanType::DnsName(dns_name), usages);
        let (pair, der, key) = self.signed(name, subject, issuer, days)?;
        self.judge(&der, &key, MioIo::wall_clock())?;
        Ok(pair)
    }

    /// Makes a key and a certificate for the client `id`, and verifies them as a server would.
    fn client_pair(
        &self,
        id: &str,
        issuer: &Issuer<'_, KeyPair>,
        days: u32,
    ) -> Result<Pair, Failure> {
        check_id(id.as_bytes(), &CommandLimits::default())
            .map_err(|fault| Failure::config(format!("--client {id:?}: {}", fault.why)))?;
        let full = format!("{ID_URI}{}", percent_encoded(id));
        let uri = Ia5String::try_from(full.as_str()).map_err(|e| cannot(&full, e))?;
        let subject = (full.as_str(), SanType::URI(uri), vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let (pair, der, _) = self.signed(&file_name(id), subject, issuer, days)?;
        let path = self.file("ca.pem");
        verify_client(read(&path, "certificate")?, &der, MioIo::wall_clock())
            .map_err(|_| self.other_key(&path))?;
        Ok(pair)
    }

    /// Makes a key, and a certificate for `subject`: its name, as people see it and as programs do, and its usages.
    fn signed(
        &self,
        name: &str,
        (full, san, usages): (&str, SanType, Vec<ExtendedKeyUsagePurpose>),
        issuer: &Issuer<'_, KeyPair>,
        days: u32,
    ) -> Result<(Pair, CertificateDer<'static>, KeyPair), Failure> {
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(san);
        params.distinguished_name.push(DnType::CommonName, full);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        hold(&mut params, MioIo::wall_clock(), days);
        let made = params.signed_by(&key, issuer).map_err(|e| cannot(full, e))?;
        let what = format!(
            "{}: {full}, valid for {}; its key is {}",
            self.of(name, "pem").display(),
            plural(days as usize, "day"),
            self.of(name, "key").display()
        );
        let pair = Pair { what, certificate: made.pem(), key: key.serialize_pem() };
        Ok((pair, made.der().clone(), key))
    }

    fn other_key(&self, path: &Path) -> Failure {
        let what = "ca.key is not the key of ca.pem, or they were made for a herd of another name";
        Failure::config(format!("{}: {what}", path.display()))
    }

    /// Replaces the pair of the server `name`, which is kept as `aside`; see the head of this file.
    fn replace_pair(&self, name: &str, aside: &str, pair: &Pair) -> Result<(), Failure> {
        let [certificate, key] = ["pem", "key"].map(|end| self.of(name, end));
        for (from, end) in [(&certificate, "pem"), (&key, "key")] {
            let to = self.of(aside, end);
            // The link is there already if an earlier attempt was killed.
            if from.exists() && !to.exists() {
                fs::hard_link(from, &to).map_err(|e| cannot(&to.display().to_string(), e))?;
            }
        }
        // Where certificates are made, the key may be missing.
        let old_key = fs::read_to_string(&key).unwrap_or_default();
        replace(&key, &format!("{}{old_key}", pair.key))?;
        replace(&certificate, &pair.certificate)?;
        replace(&key, &pair.key)
    }

    /// Returns the issuer: the key in ca.key, with the name that `init` derived from it.
    fn issuer(&self, herd: &str) -> Result<Issuer<'static, KeyPair>, Failure> {
        let path = self.file("ca.key");
        let der: PrivatePkcs8KeyDer<'_> = read(&path, "private key")?.swap_remove(0);
        let key = KeyPair::try_from(&der)
            .map_err(|why| Failure::config(format!("cannot use {}: {why}", path.display())))?;
        Ok(Issuer::new(authority(herd, &key), key))
    }

    /// Fails if a neighbour with this ca.pem would reject the certificate `der`.
    fn judge(
        &self,
        der: &CertificateDer<'_>,
        key: &KeyPair,
        wall: UnixNanos,
    ) -> Result<(), Failure> {
        let path = self.file("ca.pem");
        let credentials = Credentials {
            authorities: read(&path, "certificate")?,
            chain: vec![der.clone().into_owned()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            crls: Vec::new(),
        };
        let judged = Mutual::new(credentials)
            .map_err(|e| Failure::config(format!("{}: {e:?}", path.display())));
        judged?.verify(&[der.to_vec()], wall).map_err(|_| self.other_key(&path))
    }

    /// Returns the serial numbers in revoked.crl, and when each was revoked, as the time since 1970.
    fn revoked(&self) -> Result<Vec<(Vec<u8>, Duration)>, Failure> {
        let path = self.file("revoked.crl");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let fault = |why: String| Failure::config(format!("{}: {why}", path.display()));
        let ders: Vec<CertificateRevocationListDer<'_>> = read(&path, "revocation list")?;
        let list = webpki::BorrowedCertRevocationList::from_der(&ders[0]);
        let list = list.map_err(|e| fault(format!("{e:?}")))?;
        list.into_iter()
            .map(|revoked| {
                let revoked = revoked.map_err(|e| fault(format!("{e:?}")))?;
                let since = Duration::from_secs(revoked.revocation_date.as_secs());
                Ok((revoked.serial_number.to_vec(), since))
            })
            .collect()
    }
}

fn signed_list(
    issuer: &Issuer<'_, KeyPair>,
    revoked: Vec<(Vec<u8>, Duration)>,
    wall: UnixNanos,
) -> Result<CertificateRevocationList, Failure> {
    let (epoch, now) = (rcgen::date_time_ymd(1970, 1, 1), since_1970(wall));
    let revoked_certs = revoked.into_iter().map(|(serial, since)| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: epoch + since,
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: epoch + now,
        next_update: epoch + now + NEXT_LIST,
        crl_number: SerialNumber::from(now.as_secs()),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).map_err(|e| cannot("make a list", e))
}

/// Whether the issuer of `list` issued `certificate`, too. Neighbours look at no other list for it.
fn is_of_the_issuer(list: &[u8], certificate: &CertificateDer<'_>) -> bool {
    let list = webpki::BorrowedCertRevocationList::from_der(list);
    let list = list.map(webpki::CertRevocationList::from);
    match (list, webpki::EndEntityCert::try_from(certificate)) {
        (Ok(list), Ok(certificate)) => list.issuer() == certificate.issuer(),
        _ => false,
    }
}

/// Returns the certificate parameters of the authority of `herd` with this key.
///
/// Several herds may have one name, so the authority's name has digits of the key's identifier, too. Then a certificate
/// of another authority is rejected for its unknown issuer, not for a bad signature.
fn authority(herd: &str, key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let key = in_hex(&params.key_identifier(key)[..4]);
    let name = format!("authority {key} of the herd {herd}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// `id` with all but letters, digits, `.`, `_` and `-` percent-encoded.
fn percent_encoded(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    id.bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// The name, without its end, of the files of the client `id`.
fn file_name(id: &str) -> String {
    format!("client-{}", percent_encoded(id))
}

fn hold(params: &mut CertificateParams, wall: UnixNanos, days: u32) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970(wall);
    params.not_before = now - CLOCKS_DIFFER;
    params.not_after = now + DAY * days + CLOCKS_DIFFER;
}

/// Returns the time since 1970 in whole seconds, as certificates have it.
fn since_1970(UnixNanos(nanos): UnixNanos) -> Duration {
    Duration::from_secs(Duration::from_nanos(nanos).as_secs())
}

fn new_key() -> Result<KeyPair, Failure> {
    KeyPair::generate().map_err(|e| cannot("make a key", e))
}

fn read<T: PemObject>(path: &Path, wanted: &str) -> Result<Vec<T>, Failure> {
    let remedy = match path.exists() {
        true => "",
        false => "; \"herd pki init\" makes an authority, \"herd pki issue NAME\" a certificate",
    };
    pem::read(path, wanted).map(|read| read.0).map_err(|why| Failure::config(why + remedy))
}

/// Fails if one of the files exists, before anything is written.
fn must_be_free(paths: &[&Path]) -> Result<(), Failure> {
    match paths.iter().find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => {
            let what = format!("{} exists, and is not overwritten", path.display());
            Err(Failure::new(Exit::CannotCreate, format!("{what}: move it away first")))
        }
    }
}

/// Writes a file that does not exist yet, with mode 0600.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(|e| cannot(&path.display().to_string(), e))
}

/// Replaces the file at `path`, or creates it, in one step.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let new = path.with_added_extension("new");
    // A process that was killed while it wrote may have left half a file there.
    let _ = fs::remove_file(&new);
    write_new(&new, text)?;
    fs::rename(&new, path).map_err(|e| cannot(&path.display().to_string(), e))
}

fn cannot(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::CannotCreate, format!("{what}: {error}"))
}
