//! Who may use the ports for clients: TLS on the second client port and the HTTP port, client certificates, tokens.
//!
//! Real processes and real sockets; the clients are rustls, openssl, and `herd client --tls`.

use crate::support::certs::{Authority, Issued, Wish};
use crate::support::herd::{PATIENCE, eventually, holds};
use crate::support::process::{Ended, Herd, Process};
use crate::support::skipped;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};
use rustix::process::Signal;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

const LINES: u16 = 12_300;
const HTTP: u16 = 12_200;
const SITE: &str = "+34.068930-118.445127";

/// The server's certificate, valid from one year to another.
fn server_wish(from: i32, until: i32) -> Wish {
    Wish { from: (from, 1, 1), until: (until, 1, 1), ..Wish::of("herd.example") }
}

/// A herd of Alford, whose ports speak TLS, with these lines in `[http]` and `[client_tls]`, not started; and the authority
/// of all certificates.
fn sealed(test: &str, http: &str, client_tls: &str) -> (Herd, Authority) {
    let (herd, authority) = (Herd::new(test, &[]), Authority::new("the herd's"));
    let pki = herd.folder().join("pki");
    fs::create_dir(&pki).expect("the folder is ours");
    authority.write(&pki);
    authority.issue(&server_wish(2020, 2049)).write(&pki, "Alford");
    write(&herd, http, client_tls);
    (herd, authority)
}

fn write(herd: &Herd, http: &str, client_tls: &str) {
    let ip = herd.ip();
    herd.write(&format!(
        "herd = \"test\"\n[[server]]\nname = \"Alford\"\nclient = \"{ip}:12000\"\npeer = \"{ip}:12100\"\n\
         http = \"{ip}:{HTTP}\"\nclient_tls = \"{ip}:{LINES}\"\n[http]\n{http}\n[client_tls]\n{client_tls}\n\
         [limits]\ndrain_ms = 2000\nclient_tls_ms = 1000\n"
    ));
}

/// A client's certificate.
struct Certified {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Certified {
    /// Names that are a URI if they have a colon, else a DNS name.
    fn new(authority: &Authority, names: &[&str], until: i32) -> Certified {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().expect("a key"));
        // It must be ignored.
        params.distinguished_name.push(DnType::CommonName, "jane/phone");
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains(':') {
                true => SanType::URI((*name).try_into().expect("ASCII")),
                false => SanType::DnsName((*name).try_into().expect("ASCII")),
            })
            .collect();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![ClientAuth];
        let chain = vec![authority.sign(&params, &key).der().clone()];
        Certified { chain, key }
    }
}

type Talk = StreamOwned<ClientConnection, TcpStream>;

/// A TLS client of one port.
struct Caller {
    herd_folder: std::path::PathBuf,
    ip: std::net::Ipv4Addr,
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    alpn: Vec<Vec<u8>>,
}

impl Caller {
    fn of(herd: &Herd) -> Caller {
        Caller {
            herd_folder: herd.folder().to_owned(),
            ip: herd.ip(),
            name: "herd.example.places-herd",
            version: &TLS13,
            alpn: Vec::new(),
        }
    }

    fn connect(&self, port: u16, shown: Option<&Certified>) -> Talk {
        let mut roots = RootCertStore::empty();
        let authority = self.herd_folder.join("pki/ca.pem");
        for der in CertificateDer::pem_file_iter(authority).expect("it is there") {
            roots.add(der.expect("it is PEM")).expect("it is an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[self.version])
            .expect("it is known")
            .with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(Certified { chain, key }) => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                config.with_client_auth_cert(chain.clone(), key).expect("they fit")
            }
        };
        config.alpn_protocols = self.alpn.clone();
        let name = ServerName::try_from(self.name).expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("it is valid");
        let socket = TcpStream::connect((self.ip, port)).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is open");
        StreamOwned::new(tls, socket)
    }
}

/// Sends `bytes`, and returns what comes up to `end`, or up to the end or the failure of the connection.
fn said(talk: &mut Talk, bytes: &str, end: &str) -> String {
    let (mut reply, mut byte) = (String::new(), [0]);
    if talk.write_all(bytes.as_bytes()).and_then(|()| talk.flush()).is_err() {
        return reply;
    }
    while !reply.ends_with(end) && talk.read(&mut byte).is_ok_and(|count| count > 0) {
        reply.push(char::from(byte[0]));
    }
    reply
}

fn iamat(talk: &mut Talk, id: &str) -> String {
    said(talk, &format!("IAMAT {id} {SITE} 1400794645.5\n"), "\n")
}

/// The status of the answer to a request of the HTTP port.
fn status(talk: &mut Talk, method: &str, target: &str, fields: &str, body: &str) -> u16 {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = said(talk, &request, "\0");
    reply.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn state(herd: &Herd) -> Value {
    let ended = herd.run(&["status", "--json"]);
    let all: Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    all.get(0).cloned().unwrap_or(all)
}

/// The text of all log files.
fn log(herd: &Herd) -> String {
    let all = fs::read_dir(herd.folder().join("log")).expect("there is a log");
    all.map(|file| fs::read_to_string(file.expect("an entry").path()).expect("text")).collect()
}

#[track_caller]
fn reload(herd: &Herd) -> String {
    let Ended { code, stdout, stderr, .. } = herd.run(&["reload"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    stdout
}

const PUT_BODY: &str = "{\"lat\":34.1,\"lon\":-118.4,\"time\":1400794645}";

#[test]
fn clients_speak_tls_1_2_and_1_3_on_both_ports_and_nothing_else() {
    let (herd, _) = sealed("both", "tls = true", "");
    let _server = herd.serve("Alford");
    for version in [&TLS12, &TLS13] {
        let caller = Caller { version, ..Caller::of(&herd) };
        let mut talk = caller.connect(LINES, None);
        assert!(iamat(&mut talk, "kiwi").starts_with("AT Alford "));
        assert_eq!(said(&mut talk, "NONSENSE\n", "\n"), "? NONSENSE\n");
        assert_eq!(talk.conn.protocol_version(), Some(version.version));
        assert_eq!(status(&mut caller.connect(HTTP, None), "GET", "/healthz", "", ""), 200);
    }
    // The names in the certificate are the server's, as are NAME and NAME.HERD.
    for (host, expected) in [
        ("herd.example.places-herd", 200),
        ("HERD.example.places-herd:12200", 200),
        ("Alford", 200),
        ("alford.test", 200),
        ("other.example", 421),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = said(&mut Caller::of(&herd).connect(HTTP, None), &request, "\0");
        assert!(reply.starts_with(&format!("HTTP/1.1 {expected} ")), "{host}: {reply}");
    }
    // A client that names protocols must name that of the port.
    for (port, protocol, is_good) in [
        (LINES, "herd", true),
        (LINES, "http/1.1", false),
        (HTTP, "http/1.1", true),
        (HTTP, "h2", false),
    ] {
        let caller = Caller { alpn: vec![protocol.into()], ..Caller::of(&herd) };
        let mut talk = caller.connect(port, None);
        let answered = match port {
            LINES => iamat(&mut talk, "kiwi").starts_with("AT "),
            _ => status(&mut talk, "GET", "/healthz", "", "") == 200,
        };
        assert_eq!(answered, is_good, "{port} {protocol}");
    }
    // The name of the server is checked, and plain text is closed.
    let other = Caller { name: "other.example", ..Caller::of(&herd) };
    assert_eq!(iamat(&mut other.connect(LINES, None), "kiwi"), "");
    let mut plain = TcpStream::connect((herd.ip(), LINES)).expect("it listens");
    plain.set_read_timeout(Some(PATIENCE)).expect("it is open");
    plain.write_all(b"IAMAT kiwi +1+1 1\n").expect("it is open");
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"AT") && !rest.starts_with(b"?"), "{rest:?}");
    let days = &state(&herd)["certificates"]["client_left_days"];
    assert!(days.as_f64().is_some_and(|days| days > 365.0), "{days}");
}

#[test]
fn a_certificate_proves_an_id_and_limits_what_its_client_may_do() {
    let limits = "certificates = \"required\"\nown_id_only = true\nask = \"own\"";
    let (herd, authority) = sealed("own", "tls = true", limits);
    let _server = herd.serve("Alford");
    let mut refused = 0;
    let (caller, stranger) = (Caller::of(&herd), Authority::new("another"));
    let jane = "herd:client:jane%2Fphone";
    for (what, names, until, authority, id, is_its_own) in [
        ("its URI", &[jane][..], 2049, &authority, "jane/phone", Some(true)),
        ("another id", &[jane], 2049, &authority, "kim", Some(false)),
        ("its DNS name", &["kim.example"], 2049, &authority, "kim.example", Some(true)),
        (
            "a URI counts before a name",
            &["kim.example", jane],
            2049,
            &authority,
            "kim.example",
            Some(false),
        ),
        ("the CN is ignored", &[], 2049, &authority, "jane/phone", Some(false)),
        ("two ids prove none", &[jane, "herd:client:kim"], 2049, &authority, "kim", Some(false)),
        ("another URI", &["urn:jane/phone"], 2049, &authority, "jane/phone", Some(false)),
        ("it has expired", &[jane], 2021, &authority, "jane/phone", None),
        ("another authority", &[jane], 2049, &stranger, "jane/phone", None),
    ] {
        let shown = Certified::new(authority, names, until);
        let reply = iamat(&mut caller.connect(LINES, Some(&shown)), id);
        let expected = match is_its_own {
            Some(true) => reply.starts_with("AT Alford +"),
            Some(false) => reply == format!("? IAMAT {id} {SITE} 1400794645.5\n"),
            None => reply.is_empty(),
        };
        assert!(expected, "{what}: {reply}");
        refused += u64::from(is_its_own == Some(false));
        let hits = &state(&herd)["limit_hits"];
        assert_eq!(hits["own_id_only"].as_u64().unwrap_or(0), refused, "{what}");
        let asked =
            said(&mut caller.connect(LINES, Some(&shown)), &format!("WHATSAT {id} 1 1\n"), "\n");
        assert_eq!(asked.starts_with("AT "), is_its_own == Some(true), "{what}: {asked}");
        let hits = &state(&herd)["limit_hits"];
        assert_eq!(hits["ask"].as_u64().unwrap_or(0), refused, "{what}");
        let target = format!("/v1/clients/{}", id.replace('/', "%2F"));
        let json = "Content-Type: application/json\r\n";
        let http = |method: &str, target: &str, body: &str| {
            status(&mut caller.connect(HTTP, Some(&shown)), method, target, json, body)
        };
        let own = match is_its_own {
            Some(true) => 200,
            Some(false) => 403,
            None => 0,
        };
        assert_eq!(http("PUT", &target, PUT_BODY), own, "{what}");
        assert_eq!(http("GET", &target, ""), own, "{what}");
        assert_eq!(http("GET", &format!("/v1/near?client={id}&radius=1"), ""), own, "{what}");
        let all = if is_its_own.is_some() { 403 } else { 0 };
        for target in ["/v1/clients", "/v1/events", "/status.json", "/metrics"] {
            assert_eq!(http("GET", target, ""), all, "{what} {target}");
        }
        // A report of an app about another id is dropped, but does not stay in its queue.
        let body = format!("id={}&lat=1&lon=2&timestamp=1400794645", id.replace('/', "%2F"));
        let app = match (is_its_own, names.is_empty() || names.len() == 2 && id == "kim") {
            (None, _) => 0,
            (Some(false), true) => 401,
            _ if names == ["urn:jane/phone"] => 401,
            _ => 200,
        };
        assert_eq!(http("POST", "/report", &body), app, "{what}");
    }
    assert_eq!(iamat(&mut caller.connect(LINES, None), "jane/phone"), "", "no certificate");
    for line in ["limit: own_id_only = true: ", "limit: ask = \"own\": "] {
        eventually(line, || holds(log(&herd).contains(line)));
    }
    // A revoked certificate is of no use after the reload.
    let shown = Certified::new(&authority, &[jane], 2049);
    assert!(iamat(&mut caller.connect(LINES, Some(&shown)), "jane/phone").starts_with("AT "));
    let serial =
        places_herd::net::tls::cert_info::CertInfo::of(&shown.chain[0]).expect("a certificate");
    authority.revoke(&herd.folder().join("pki"), &[&serial.serial.into()]);
    reload(&herd);
    assert_eq!(iamat(&mut caller.connect(LINES, Some(&shown)), "jane/phone"), "");
}

#[test]
fn without_limits_an_optional_certificate_changes_nothing_and_with_them_a_client_without_one_may_nothing()
 {
    let (herd, authority) = sealed("optional", "tls = true", "certificates = \"optional\"");
    let _server = herd.serve("Alford");
    let caller = Caller::of(&herd);
    let jane = Certified::new(&authority, &["herd:client:jane"], 2049);
    for shown in [None, Some(&jane)] {
        assert!(iamat(&mut caller.connect(LINES, shown), "kim").starts_with("AT "));
    }
    let mut open = caller.connect(LINES, Some(&jane));
    assert!(iamat(&mut open, "kim").starts_with("AT "));
    write(&herd, "tls = true", "certificates = \"optional\"\nown_id_only = true");
    assert!(reload(&herd).contains("client_tls.own_id_only false -> true"));
    assert!(iamat(&mut open, "kim").starts_with("? "), "it holds for open connections at once");
    assert!(iamat(&mut open, "jane").starts_with("AT "));
    assert!(iamat(&mut caller.connect(LINES, None), "jane").starts_with("? "));
    assert!(iamat(&mut caller.connect(LINES, Some(&jane)), "jane").starts_with("AT "));
    assert!(iamat(&mut caller.connect(LINES, Some(&jane)), "kim").starts_with("? "));
    let asked = said(&mut caller.connect(LINES, None), "WHATSAT kim 1 1\n", "\n");
    assert!(asked.starts_with("AT "), "ask = any: {asked}");
}

/// Whether a request on a connection that stays open is answered with this status.
fn is_answered(talk: &mut Talk, target: &str, status: u16) -> bool {
    let request = format!("{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    let head = said(talk, &request, "\r\n\r\n");
    let length =
        head.split("Content-Length: ").nth(1).and_then(|it| it.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    head.starts_with(&format!("HTTP/1.1 {status} ")) && talk.read_exact(&mut body).is_ok()
}

#[test]
fn a_reload_ends_the_connections_of_a_revoked_certificate_and_no_others() {
    let limits = "certificates = \"optional\"";
    let (herd, authority) = sealed("cut", "tls = true", limits);
    let _server = herd.serve("Alford");
    let caller = Caller::of(&herd);
    let [jane, kim] =
        ["herd:client:jane", "herd:client:kim"].map(|id| Certified::new(&authority, &[id], 2049));
    let mut open = [Some(&jane), Some(&kim), None].map(|shown| {
        let mut pair = [LINES, HTTP].map(|port| caller.connect(port, shown));
        assert!(iamat(&mut pair[0], "kiwi").starts_with("AT "));
        assert!(is_answered(&mut pair[1], "GET /healthz", 200));
        pair
    });
    let serial = places_herd::net::tls::cert_info::CertInfo::of(&jane.chain[0]).expect("a serial");
    authority.revoke(&herd.folder().join("pki"), &[&serial.serial.into()]);
    let told = reload(&herd);
    assert!(told.contains("certificates or revocation lists for clients replaced, "), "{told}");
    let stays = open.each_mut().map(|[lines, http]| {
        let answered = iamat(lines, "kiwi").starts_with("AT ");
        assert_eq!(is_answered(http, "GET /healthz", 200), answered);
        answered
    });
    assert_eq!(stays, [false, true, true]);
    // The same files again are no change.
    assert!(!reload(&herd).contains("for clients replaced"));
    // Where certificates are not asked for, one that was presented does no harm.
    write(&herd, "tls = true", "certificates = \"none\"");
    reload(&herd);
    assert!(iamat(&mut open[1][0], "kiwi").starts_with("AT "));
    assert!(is_answered(&mut open[1][1], "GET /healthz", 200));
}

#[test]
fn once_certificates_are_required_an_open_connection_without_one_may_do_nothing() {
    let (herd, authority) = sealed("require", "tls = true", "certificates = \"optional\"");
    let _server = herd.serve("Alford");
    let jane = Certified::new(&authority, &["herd:client:jane"], 2049);
    let mut open = [None, Some(&jane)].map(|shown| {
        let mut pair = [LINES, HTTP].map(|port| Caller::of(&herd).connect(port, shown));
        assert!(iamat(&mut pair[0], "kiwi").starts_with("AT "));
        assert!(is_answered(&mut pair[1], "GET /v1/clients", 200));
        pair
    });
    write(&herd, "tls = true", "certificates = \"required\"");
    reload(&herd);
    for ([lines, http], may) in open.iter_mut().zip([false, true]) {
        let (reply, status) = if may { ("AT ", 200) } else { ("? ", 403) };
        assert!(iamat(lines, "kiwi").starts_with(reply));
        assert!(said(lines, "WHATSAT kiwi 1 1\n", "\n").starts_with(reply));
        assert!(is_answered(http, "GET /v1/clients", status));
    }
    assert_eq!(state(&herd)["limit_hits"]["certificates"], 2);
}

#[test]
fn a_reload_replaces_the_certificate_and_touches_no_open_connection() {
    let (herd, authority) = sealed("renewed", "tls = true", "");
    let server = herd.serve("Alford");
    let pki = herd.folder().join("pki");
    let seen = |port| {
        let mut talk = Caller::of(&herd).connect(port, None);
        talk.conn.complete_io(&mut talk.sock).expect("the handshake succeeds");
        talk.conn.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let mut open = Caller::of(&herd).connect(LINES, None);
    assert!(iamat(&mut open, "open").starts_with("AT "));
    thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            let mut talk = Caller::of(&herd).connect(LINES, None);
            (0..2_000).filter(|_| iamat(&mut talk, "busy").starts_with("AT ")).count()
        });
        for year in [2040, 2041, 2042] {
            let before = [seen(LINES), seen(HTTP)];
            let issued: Issued = authority.issue(&server_wish(2020, year));
            issued.write(&pki, "Alford");
            server.signal(Signal::HUP);
            let is_new = |der: &[u8]| der == &**issued.certificate.der();
            eventually("new connections see the new certificate", || {
                holds(is_new(&seen(LINES)) && is_new(&seen(HTTP)))
            });
            assert!(!before.iter().any(|der| is_new(der)));
        }
        assert_eq!(reporter.join().expect("it does not panic"), 2_000);
    });
    assert!(iamat(&mut open, "open").starts_with("AT "), "it is still open");
    // A pair that does not fit changes nothing.
    let good = fs::read(pki.join("Alford.pem")).expect("it is there");
    let other = authority.issue(&server_wish(2020, 2049));
    fs::write(pki.join("Alford.pem"), other.certificate.pem()).expect("the folder is ours");
    let refused = herd.run(&["reload"]);
    assert!(
        refused.code == Some(78) && refused.stderr.contains("is not the key of"),
        "{refused:?}"
    );
    fs::write(pki.join("Alford.pem"), good).expect("the folder is ours");
    assert!(iamat(&mut Caller::of(&herd).connect(LINES, None), "kiwi").starts_with("AT "));
    // An expired one neither starts nor reloads.
    authority.issue(&server_wish(2020, 2021)).write(&pki, "Alford");
    let refused = herd.run(&["reload"]);
    assert!(refused.stderr.contains("has expired"), "{refused:?}");
    let refused = herd.run(&["check"]);
    assert!(refused.code == Some(78) && refused.stderr.contains("has expired"), "{refused:?}");
}

#[test]
fn the_end_of_a_server_ends_connections_with_tls_in_order() {
    for signal in [Signal::TERM, Signal::USR2] {
        let (herd, _) = sealed("ends", "tls = true", "");
        let mut server = herd.serve("Alford");
        let caller = Caller::of(&herd);
        let (mut lines, mut http) = (caller.connect(LINES, None), caller.connect(HTTP, None));
        // One has not begun its handshake.
        let silent = TcpStream::connect((herd.ip(), LINES)).expect("it listens");
        assert!(iamat(&mut lines, "kiwi").starts_with("AT "));
        let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert!(said(&mut http, get, "ok\n").starts_with("HTTP/1.1 200"));
        server.signal(signal);
        drop(silent);
        for talk in [&mut lines, &mut http] {
            let mut rest = Vec::new();
            let end = talk.read_to_end(&mut rest);
            // rustls reports an end without close_notify as an error.
            assert!(end.is_ok() && rest.is_empty(), "{signal:?}: {end:?} {rest:?}");
        }
        assert_eq!(server.end().code, Some(0), "{signal:?}");
    }
}

#[test]
fn a_handshake_has_limits() {
    let (herd, _) = sealed("limits", "tls = true", "");
    let text = fs::read_to_string(herd.topology()).expect("it is there");
    herd.write(&format!("{text}client_tls_handshakes = 1\nclient_tls_bytes = 4096\n"));
    let _server = herd.serve("Alford");
    let hits = |key: &str| state(&herd)["limit_hits"][key].as_u64().unwrap_or(0);
    let connect = |port| {
        let socket = TcpStream::connect((herd.ip(), port)).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is open");
        socket
    };
    let mut rest = Vec::new();
    // The oldest one makes room, on either port; the last one times out.
    let mut sockets = [connect(LINES), connect(HTTP)];
    sockets.iter_mut().for_each(|socket| drop(socket.read_to_end(&mut rest)));
    assert_eq!((hits("client_tls_handshakes"), hits("client_tls_ms")), (1, 1));
    // The head of a record of 16 KiB, and the start of a long ClientHello.
    let mut long = connect(HTTP);
    let hello = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3][..], &[0; 9_000]].concat();
    let _ = long.write_all(&hello);
    let _ = long.read_to_end(&mut rest);
    eventually("the long one is closed", || holds(hits("client_tls_bytes") == 1));
    assert!(iamat(&mut Caller::of(&herd).connect(LINES, None), "kiwi").starts_with("AT "));
}

/// Sends a request to the plain HTTP port, and returns the whole answer.
fn plain(herd: &Herd, request: &str) -> String {
    let mut socket = TcpStream::connect((herd.ip(), HTTP)).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is open");
    let request =
        request.replacen(" HTTP/1.1\n", " HTTP/1.1\nHost: localhost\nConnection: close\n", 1);
    socket.write_all(request.replace('\n', "\r\n").as_bytes()).expect("it is open");
    let mut reply = Vec::new();
    let _ = socket.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

/// Makes a token with `herd token new`.
#[track_caller]
fn token(herd: &Herd, role: &str, id: &str) -> String {
    let Ended { code, stdout, stderr, .. } = herd.run(&["token", "new", role, id]);
    assert_eq!(code, Some(0), "{stderr}");
    stdout.lines().next().expect("a token").to_owned()
}

#[test]
fn tokens_decide_who_reads_and_reports() {
    let (herd, _) = sealed("tokens", "tokens = \"herd.tokens\"", "");
    let [page, jane] = [("read", "*"), ("write", "jane*")].map(|(role, id)| token(&herd, role, id));
    let mode = fs::metadata(herd.folder().join("herd.tokens")).expect("it was made").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let mut server = herd.start_in(&[("RUST_LOG", "debug")], &["serve", "Alford"]);
    server.line();
    let basic = |user: &str, token: &str| {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{token}"));
        format!("Authorization: Basic {encoded}\n")
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\n");
    let put = |id: &str| format!("PUT /v1/clients/{id}");
    let report = "id=jane&lat=1&lon=2&timestamp=1400794645";
    for (what, target, fields, body, status) in [
        ("no token", "GET /status.json".to_owned(), String::new(), "", 401),
        ("health needs none", "GET /healthz".to_owned(), String::new(), "", 200),
        ("nor does the page", "GET /".to_owned(), String::new(), "", 200),
        ("a wrong one", "GET /status.json".to_owned(), bearer("CANARY"), "", 401),
        ("reading", "GET /status.json".to_owned(), bearer(&page), "", 200),
        ("reading, by the query", format!("GET /metrics?token={page}"), String::new(), "", 200),
        ("a token for reports", "GET /status.json".to_owned(), bearer(&jane), "", 403),
        ("a report", put("jane"), bearer(&jane), PUT_BODY, 200),
        ("of a prefix", put("jane%2Fcar"), basic("x", &jane), PUT_BODY, 200),
        ("of another id", put("kim"), bearer(&jane), PUT_BODY, 403),
        ("by a reader", put("jane"), bearer(&page), PUT_BODY, 403),
        ("of nobody", put("jane"), String::new(), PUT_BODY, 401),
        ("of an app", "POST /report".to_owned(), basic("jane", &jane), report, 200),
        (
            "of an app, by the query",
            format!("POST /report?token={jane}"),
            String::new(),
            report,
            200,
        ),
        (
            "of an app for another id",
            "POST /owntracks/kim".to_owned(),
            basic("kim", &jane),
            report,
            400,
        ),
        ("a preflight needs none", "OPTIONS /v1/clients".to_owned(), String::new(), "", 204),
    ] {
        let json = if body == PUT_BODY { "Content-Type: application/json\n" } else { "" };
        let length = body.len();
        let request =
            format!("{target} HTTP/1.1\n{fields}{json}Content-Length: {length}\n\n{body}");
        let reply = plain(&herd, &request);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {reply}");
        let challenge = reply.lines().any(|line| line.starts_with("WWW-Authenticate: "));
        assert_eq!(challenge, status == 401, "{what}: {reply}");
    }
    let dropped = plain(
        &herd,
        &format!(
            "POST /report HTTP/1.1\n{}Content-Length: 35\n\nid=kim&lat=1&lon=2&timestamp=140079",
            bearer(&jane)
        ),
    );
    assert!(
        dropped.starts_with("HTTP/1.1 200 ") && dropped.contains("Herd-Dropped: 1"),
        "{dropped}"
    );
    // A token that is withdrawn is of no use after the reload.
    let path = herd.folder().join("herd.tokens");
    let lines = fs::read_to_string(&path).expect("it is there");
    let rest: String = lines
        .lines()
        .filter(|line| line.starts_with("write"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, rest).expect("the folder is ours");
    let told = reload(&herd);
    assert!(
        told.contains("http.tokens") && told.contains("herd.tokens: the file has changed"),
        "{told}"
    );
    let asked = |token: &str| plain(&herd, &format!("GET /metrics?token={token} HTTP/1.1\n\n"));
    assert!(asked(&page).starts_with("HTTP/1.1 401 ") && asked(&jane).starts_with("HTTP/1.1 403 "));
    // A faulty file changes nothing.
    fs::write(&path, "read *\nCANARY\n").expect("the folder is ours");
    let refused = herd.run(&["reload"]);
    assert!(refused.code == Some(78), "{refused:?}");
    for part in ["herd.tokens:1: ", "herd.tokens:2: ", "three fields"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    assert!(asked(&jane).starts_with("HTTP/1.1 403 "));
    let refused = herd.run(&["check"]);
    assert!(refused.code == Some(78) && refused.stderr.contains("herd.tokens:2: "), "{refused:?}");
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
    let log = log(&herd);
    assert!(log.contains(" < PUT /v1/clients/jane 200") && log.contains(" < GET /metrics 401"));
    for secret in [&page, &jane, "CANARY", "token="] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_server_does_not_start_with_a_faulty_file_of_tokens_and_warns_of_an_open_one() {
    let (herd, _) = sealed("faulty", "tokens = \"herd.tokens\"", "");
    let path = herd.folder().join("herd.tokens");
    let mut refused = herd.start(&["serve", "Alford"]);
    let Ended { code, stderr, .. } = refused.end();
    assert!(code == Some(78) && stderr.contains("herd token new"), "{stderr}");
    fs::write(&path, "# none\n").expect("the folder is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let warned = herd.run(&["check"]);
    assert!(warned.code == Some(0), "{warned:?}");
    assert!(
        warned.stderr.contains("other users may open this file of tokens (mode 0644)"),
        "{warned:?}"
    );
    let mut server = herd.serve("Alford");
    assert!(plain(&herd, "GET /metrics HTTP/1.1\n\n").starts_with("HTTP/1.1 401 "));
    server.signal(Signal::TERM);
    let warnings = server.end().stderr.matches("other users may open").count();
    assert_eq!(warnings, 1);
}

#[test]
fn without_a_file_of_tokens_the_command_prints_the_line() {
    let (herd, _) = sealed("printed", "", "");
    let Ended { code, stdout, stderr } = herd.run(&["token", "new", "write", "jane/phone"]);
    assert_eq!(code, Some(0));
    let token = stdout.strip_suffix('\n').expect("a line");
    assert!(token.len() == 26 && token.bytes().all(|it| it.is_ascii_alphanumeric()), "{stdout}");
    let hash = places_herd::access::in_hex(&places_herd::access::sha256(token.as_bytes()));
    assert!(stderr.trim_end().ends_with(&format!(": write jane/phone {hash}")), "{stderr}");
    let file = herd.folder().join("own");
    fs::write(&file, "# without an end").expect("the folder is ours");
    let file = file.to_str().expect("text");
    let Ended { code, stdout, stderr } = herd.run(&["token", "new", "read", "*", "--file", file]);
    assert!(code == Some(0) && stdout.len() == 27 && stderr.contains("herd reload"), "{stderr}");
    let text = fs::read_to_string(file).expect("it is there");
    assert!(text.starts_with("# without an end\nread * ") && text.ends_with('\n'), "{text}");
    for wrong in [
        &["token", "new", "admin", "x"][..],
        &["token", "new", "read", "a b"],
        &["token", "new", "read", ""],
        &["token", "new", "read", "ja*ne"],
        &["token", "new", "read", "jane**"],
    ] {
        assert_eq!(herd.run(wrong).code, Some(64), "{wrong:?}");
    }
}

/// Runs `herd client` with these arguments, and `typed` on its stdin.
fn client(herd: &Herd, args: &[&str], typed: &str) -> Ended {
    let mut process: Process = herd.start(&[&["client"], args].concat());
    process.type_in(typed);
    process.end()
}

#[cfg(feature = "pki")]
#[test]
fn herd_client_speaks_tls_with_certificates_of_herd_pki() {
    let herd = Herd::new("pki", &[]);
    let limits = "certificates = \"required\"\nown_id_only = true";
    write(&herd, "", limits);
    for args in [
        &["pki", "init"][..],
        &["pki", "issue", "Alford"],
        &["pki", "issue", "--client", "jane/phone"],
    ] {
        let Ended { code, stderr, .. } = herd.run(args);
        assert_eq!(code, Some(0), "{stderr}");
    }
    let _server = herd.serve("Alford");
    let file = |name: &str| herd.folder().join("pki").join(name).to_str().expect("text").to_owned();
    let (ca, cert, key) =
        (file("ca.pem"), file("client-jane%2Fphone.pem"), file("client-jane%2Fphone.key"));
    let shown = ["Alford", "--ca", &ca, "--cert", &cert, "--key", &key];
    let iamat = |id: &'static str| ["iamat", id, SITE];
    let told = client(&herd, &[&shown[..], &iamat("jane/phone")].concat(), "");
    assert!(told.code == Some(0) && told.stdout.starts_with("AT Alford "), "{told:?}");
    let told = client(&herd, &[&shown[..], &iamat("kim")].concat(), "");
    assert_eq!(told.code, Some(1), "{told:?}");
    let lines: String =
        (0..1_000).map(|n| format!("IAMAT jane/phone {SITE} {}\n", 1_500_000_000 + n)).collect();
    let told = client(&herd, &shown, &lines);
    assert_eq!(
        (told.code, told.stdout.matches("AT Alford ").count()),
        (Some(0), 1_000),
        "{}",
        told.stderr
    );
    // What is wrong is told, with the option that mends it.
    let at = format!("{}:{LINES}", herd.ip());
    let plain = format!("{}:12000", herd.ip());
    for (args, part) in [
        (&["Alford", "--tls"][..], "name the file of its authority with --ca"),
        (&["Alford", "--ca", &ca], "show a certificate with --cert and --key"),
        (&[&at, "--ca", &ca], "say its name with --server-name"),
        (&[&plain, "--ca", &ca], "TLS failed"),
        (&[&at], "speaks TLS at this port: try --tls"),
        (&["Alford", "--ca", &key], "should hold a certificate"),
    ] {
        let told = client(&herd, &[args, &iamat("jane/phone")].concat(), "");
        assert!(told.code.is_some_and(|code| code == 69 || code == 78), "{told:?}");
        assert!(told.stderr.contains(part), "{args:?}: {told:?}");
    }
    let named = ["--server-name", "Alford.test", "--cert", &cert, "--key", &key];
    let told = client(
        &herd,
        &[&[at.as_str(), "--ca", &ca], &named[..], &iamat("jane/phone")].concat(),
        "",
    );
    assert_eq!(told.code, Some(0), "{told:?}");
    // A neighbour does not accept a client's certificate: it has one usage only.
    let revoked = herd.run(&["pki", "revoke", "client-jane%2Fphone"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    reload(&herd);
    let aside = fs::read_dir(herd.folder().join("pki")).expect("it is there");
    let aside = aside.map(|it| it.expect("an entry").path().display().to_string());
    let aside: Vec<String> = aside.filter(|it| it.contains(".revoked.")).collect();
    let [cert, key] =
        ["pem", "key"].map(|end| aside.iter().find(|it| it.ends_with(end)).expect("it is kept"));
    let told = client(
        &herd,
        &[&["Alford", "--ca", &ca, "--cert", cert, "--key", key], &iamat("jane/phone")[..]]
            .concat(),
        "",
    );
    assert_eq!(told.code, Some(69), "{told:?}");
}

#[test]
fn openssl_is_a_client_like_any_other() {
    if Command::new("openssl").arg("version").output().is_err() {
        skipped::<()>("openssl is not installed");
        return;
    }
    let (herd, _) = sealed("openssl", "tls = true", "");
    let _server = herd.serve("Alford");
    let ca = herd.folder().join("pki/ca.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let at = format!("{}:{LINES}", herd.ip());
        let mut openssl = Command::new("openssl");
        let options = ["s_client", "-quiet", "-verify_return_error", "-no_ign_eof", version];
        openssl.args(options).args([
            "-verify_hostname",
            "herd.example.places-herd",
            "-connect",
            &at,
        ]);
        let mut openssl = openssl
            .arg("-CAfile")
            .arg(&ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let mut stdin = openssl.stdin.take().expect("a pipe");
        stdin.write_all(b"IAMAT kiwi +34.068930-118.445127 1400794645.5\n").expect("it reads");
        let mut reply = [0; 9];
        openssl.stdout.take().expect("a pipe").read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"AT Alford", "{version}");
        drop(stdin);
        let _ = openssl.kill();
        let _ = openssl.wait();
    }
}
