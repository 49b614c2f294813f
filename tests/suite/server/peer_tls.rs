//! The promises of a peer port with `[peer_tls]`: which peers it accepts and rejects, and for how long.
//!
//! Whole herds in memory, on a simulated clock. Impostors are rustls clients and servers that the test plays, and that
//! accept any certificate.

use crate::support::certs::{Authority, BOTH, Issued, Wish, good};
use crate::support::cluster::{
    Cluster, Ending, FIVE, MS, SECOND, TalkId, sealed, topology, weathers,
};
use crate::support::logged::Logged;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Signal, UnixNanos};
use places_herd::config::Topology;
use places_herd::server::peer_tls::PeerTls;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme,
};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn report(cluster: &mut Cluster, name: &str, client: &str, stamp: &str) {
    let talk = cluster.client(name);
    let answer = cluster.say(talk, &format!("IAMAT {client} +1+1 {stamp}"));
    assert!(answer.starts_with("AT "), "{answer}");
    cluster.end(talk);
    cluster.settle();
}

/// Accepts any certificate.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS client that presents this certificate, or none.
fn caller(
    shown: Option<&Issued>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Connection {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(issued) => config.with_client_auth_cert(issued.chain(), issued.key()).unwrap(),
    };
    let name = ServerName::try_from("bolden.places-herd").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap().into()
}

/// A TLS server that presents this certificate, and requests none.
fn called(shown: &Issued) -> Connection {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(shown.chain(), shown.key())
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap().into()
}

/// One side of a TLS connection that a test plays in a cluster.
struct Played {
    tls: Connection,
    talk: TalkId,
    read: usize,
    /// All bytes that this side has sent over the wire.
    said: Vec<u8>,
    /// The decrypted text that this side has received.
    heard: String,
    failed: Option<String>,
}

impl Played {
    fn new(talk: TalkId, tls: Connection) -> Played {
        let (said, heard) = (Vec::new(), String::new());
        Played { tls, talk, read: 0, said, heard, failed: None }
    }

    /// Sends `text` as soon as the handshake allows it, and runs the cluster until it is quiet.
    fn say(&mut self, cluster: &mut Cluster, text: &str) {
        let mut left = Some(text);
        loop {
            if let Some(text) = left.filter(|_| !self.tls.is_handshaking()) {
                self.tls.writer().write_all(text.as_bytes()).unwrap();
                left = None;
            }
            let mut wire = Vec::new();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut wire).unwrap();
            }
            self.said.extend(&wire);
            cluster.send(self.talk, &wire);
            cluster.settle();
            let new = cluster.heard(self.talk)[self.read..].to_vec();
            self.read += new.len();
            let mut rest = &new[..];
            while !rest.is_empty() && self.failed.is_none() {
                self.tls.read_tls(&mut rest).unwrap();
                self.failed = self.tls.process_new_packets().err().map(|why| why.to_string());
                let mut plain = Vec::new();
                let _ = self.tls.reader().read_to_end(&mut plain);
                self.heard += str::from_utf8(&plain).unwrap();
            }
            if self.failed.is_some() || (new.is_empty() && !self.tls.wants_write()) {
                return;
            }
        }
    }
}

/// Adams, Abel and Alford dial Bolden, which dials Clark. Abel and Alford are not started.
const AROUND_BOLDEN: &str = "Abel Bolden; Adams Bolden; Alford Bolden; Bolden Clark; Clark";
const ALL: [&str; 5] = ["Abel", "Adams", "Alford", "Bolden", "Clark"];

fn around_bolden(options: MemoryOptions, folder: &Path) -> Cluster {
    let mut cluster = Cluster::new(options, &sealed(AROUND_BOLDEN, folder, ""));
    for name in ["Bolden", "Adams", "Clark"] {
        cluster.start(name);
    }
    cluster.run_for(SECOND);
    assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
    cluster
}

/// The lines by which an impostor tries to be linked as `as_name`, and to report kiwi.
fn intrusion(as_name: &str) -> String {
    format!("HELLO {as_name} places-herd 1\nAT {as_name} +0.000000001 kiwi +9+9 1479413999\n")
}

/// A way to attack the peer port.
enum Class {
    /// Sends these bytes.
    Bytes(Vec<u8>),
    /// Speaks TLS with this certificate, and says this name in HELLO.
    Shows(Option<Issued>, &'static str),
    /// Speaks TLS 1.2 with this certificate.
    Old(Issued),
}

/// The sign by which an impostor learns that it was rejected.
enum Sign {
    /// Nothing that it understands.
    None,
    /// One of these alerts of TLS.
    Alert(&'static [&'static str]),
    /// An orderly end, after its certificate was accepted.
    End,
    /// A copy of its HELLO.
    Refusal,
}

/// The 14 classes. The attempts of a class differ by `attempt`, where the class allows it.
fn classes(
    authority: &Authority,
    revoked: &Issued,
    attempt: usize,
    recorded: &[u8],
) -> Vec<(&'static str, Class, Sign)> {
    let issue = |wish: Wish| authority.issue(&wish);
    let alford = || Wish::of("Alford");
    let shows = |issued: Issued| Class::Shows(Some(issued), "Alford");
    let uses = [vec![], vec![ServerAuth], vec![ClientAuth]];
    let mut stolen = issue(alford());
    stolen.certificate = revoked.certificate.clone();
    stolen.key = rcgen::KeyPair::try_from(revoked.key.serialize_der()).unwrap();
    vec![
        ("plain TCP", Class::Bytes(intrusion("Alford").into_bytes()), Sign::None),
        (
            "TLS without a certificate",
            Class::Shows(None, "Alford"),
            Sign::Alert(&["CertificateRequired"]),
        ),
        ("signed by itself", shows(Issued::self_signed(&alford())), Sign::Alert(&["UnknownCA"])),
        (
            "another authority",
            shows(Authority::new("the herd's").issue(&alford())),
            Sign::Alert(&["UnknownCA", "DecryptError"]),
        ),
        (
            "expired",
            shows(issue(Wish { until: (2016, 11, 1), ..alford() })),
            Sign::Alert(&["CertificateExpired"]),
        ),
        (
            "not yet valid",
            shows(issue(Wish { from: (2016, 12, 1), ..alford() })),
            Sign::Alert(&["CertificateExpired"]),
        ),
        (
            "wrong use",
            shows(issue(Wish { uses: uses[attempt % 3].clone(), ..alford() })),
            Sign::Alert(&["UnsupportedCertificate"]),
        ),
        ("unknown name", Class::Shows(Some(issue(Wish::of("Mallory"))), "Mallory"), Sign::End),
        ("another name in HELLO", Class::Shows(Some(issue(alford())), "Abel"), Sign::Refusal),
        (
            "the name of a live neighbour in HELLO",
            Class::Shows(Some(issue(alford())), "Adams"),
            Sign::Refusal,
        ),
        ("our own name", Class::Shows(Some(issue(Wish::of("Bolden"))), "Bolden"), Sign::End),
        ("revoked", Class::Shows(Some(stolen), "Abel"), Sign::Alert(&["CertificateRevoked"])),
        ("TLS 1.2", Class::Old(issue(alford())), Sign::Alert(&["ProtocolVersion"])),
        ("a session played again", Class::Bytes(recorded.to_vec()), Sign::None),
    ]
}

#[test]
fn of_fourteen_classes_of_impostors_a_hundred_each_none_is_let_in() {
    const WORLDS: usize = 10;
    const EACH: usize = 10;
    let (folder, authority) = good("impostors", &ALL);
    let revoked = authority.issue(&Wish::of("Abel"));
    authority.revoke(folder.path(), &[&revoked.serial]);
    let mut refused = [0; 14];
    let (mut accepted, mut names) = (0, Vec::new());
    for seed in 0..WORLDS {
        let mut cluster = around_bolden(MemoryOptions::rough(seed as u64), folder.path());
        report(&mut cluster, "Bolden", "kiwi", "1479413884");
        // A legitimate neighbour is linked: this shows that impostors are not rejected because of the test's setup.
        let recorded = {
            let talk = cluster.stranger("Bolden");
            let alford = authority.issue(&Wish::of("Alford"));
            let mut honest = Played::new(talk, caller(Some(&alford), &TLS13));
            honest.say(&mut cluster, "HELLO Alford places-herd 1\n");
            assert!(honest.heard.starts_with("HELLO Bolden"), "{:?}", honest.failed);
            honest.say(&mut cluster, "AT Alford +0.000000001 kiwi +2+2 1479413885\n");
            assert!(cluster.knows("Bolden")["kiwi"].starts_with("AT Alford "), "it is heard");
            assert!(cluster.linked("Bolden").contains("Alford"));
            cluster.abort(talk);
            cluster.settle();
            honest.said
        };
        let before = (cluster.knows("Bolden"), cluster.linked("Bolden"), cluster.linked("Adams"));
        for attempt in 0..EACH {
            for (number, (name, class, sign)) in
                classes(&authority, &revoked, attempt, &recorded).into_iter().enumerate()
            {
                let talk = cluster.stranger("Bolden");
                let (heard, failed) = match class {
                    Class::Bytes(bytes) => {
                        cluster.send(talk, bytes);
                        cluster.settle();
                        (String::new(), None)
                    }
                    Class::Shows(shown, hello) => {
                        let mut impostor = Played::new(talk, caller(shown.as_ref(), &TLS13));
                        impostor.say(&mut cluster, &intrusion(hello));
                        (impostor.heard, impostor.failed)
                    }
                    Class::Old(shown) => {
                        let mut impostor = Played::new(talk, caller(Some(&shown), &TLS12));
                        impostor.say(&mut cluster, &intrusion("Alford"));
                        (impostor.heard, impostor.failed)
                    }
                };
                cluster.settle();
                let understood = String::from_utf8_lossy(cluster.heard(talk)).into_owned();
                let alert = failed.clone().unwrap_or_default();
                let is_told = match sign {
                    Sign::None => true,
                    Sign::Alert(known) => known.iter().any(|known| alert.ends_with(known)),
                    Sign::End => (heard.as_str(), &failed) == ("", &None),
                    Sign::Refusal => heard.starts_with("? HELLO ") && failed.is_none(),
                };
                assert!(is_told, "{name}: {heard:?} {failed:?}");
                let let_in = heard.contains("HELLO Bolden") || understood.contains("HELLO Bolden");
                accepted += usize::from(let_in);
                refused[number] += usize::from(!let_in && cluster.ending(talk).is_some());
                if names.len() <= number {
                    names.push(name);
                }
                let after =
                    (cluster.knows("Bolden"), cluster.linked("Bolden"), cluster.linked("Adams"));
                assert_eq!(after, before, "{name}");
                // How long the server keeps the connection is not tested here.
                cluster.abort(talk);
                cluster.settle();
            }
        }
    }
    for (name, refused) in names.iter().zip(refused) {
        println!("{name}: {refused} refused");
        assert_eq!(refused, WORLDS * EACH, "{name}");
    }
    println!("{} refused, {accepted} accepted", refused.iter().sum::<usize>());
    assert_eq!((refused.iter().sum::<usize>(), accepted), (1_400, 0));
}

#[test]
fn a_server_that_is_dialled_has_to_be_the_one_that_was_dialled() {
    for (number, show) in ["Adams", "Clark", "clark", "Bolden", "Mallory"].into_iter().enumerate() {
        let (folder, authority) = good(&format!("dialled-{number}"), &ALL);
        let mut cluster =
            Cluster::new(MemoryOptions::calm(1), &sealed(AROUND_BOLDEN, folder.path(), ""));
        cluster.play("Clark");
        cluster.start("Bolden");
        cluster.settle();
        let talk = cluster.callers()[0];
        let mut clark = Played::new(talk, called(&authority.issue(&Wish::of(show))));
        // Clark requests no certificate here, which does not matter to Bolden.
        clark.say(&mut cluster, "");
        cluster.settle();
        let hello = clark.heard.contains("HELLO Bolden");
        assert_eq!(hello, show == "Clark", "{show}: {:?}", clark.failed);
        clark.say(&mut cluster, "HELLO Clark places-herd 1\n");
        let linked = if show == "Clark" { set(&["Clark"]) } else { set(&[]) };
        assert_eq!(cluster.linked("Bolden"), linked, "{show}");
    }
}

#[test]
fn a_certificate_for_two_servers_is_for_neither() {
    let (folder, authority) = good("several", &ALL);
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    let names = ["Alford", "Abel"].map(|name| format!("{name}.places-herd")).to_vec();
    for (names, is_linked) in [
        (names, false),
        (vec!["Alford.places-herd".into(), "elsewhere.example".into()], true),
        (vec!["alford.places-herd".into()], false),
        (vec!["*.places-herd".into()], false),
        (vec!["Alford.another-herd".into()], false),
    ] {
        let issued = authority.issue(&Wish { names: names.clone(), ..Wish::of("") });
        let talk = cluster.stranger("Bolden");
        let mut alford = Played::new(talk, caller(Some(&issued), &TLS13));
        alford.say(&mut cluster, "HELLO Alford places-herd 1\n");
        assert_eq!(cluster.linked("Bolden").contains("Alford"), is_linked, "{names:?}");
        cluster.abort(talk);
        cluster.settle();
    }
}

#[test]
fn a_sealed_herd_of_five_converges_whatever_the_weather_even_byte_by_byte() {
    let (folder, _) = good("five", &["Alford", "Bolden", "Hamilton", "Parker", "Welsh"]);
    let bytewise =
        MemoryOptions { arrival_bytes: 1..=1, write_bytes: 1..=1, ..MemoryOptions::calm(9) };
    for weather in weathers().chain([bytewise]) {
        let mut cluster = Cluster::new(weather, &sealed(FIVE, folder.path(), ""));
        for name in cluster.names() {
            cluster.start(&name);
        }
        cluster.run_for(SECOND);
        assert_eq!(cluster.linked("Parker"), set(&["Alford", "Bolden", "Hamilton"]));
        for (number, name) in cluster.names().into_iter().enumerate() {
            report(&mut cluster, &name, &format!("c{number}"), "1479413884");
        }
        cluster.run_for(SECOND);
        let known = cluster.knows("Hamilton");
        assert_eq!(known.len(), 5);
        for name in cluster.names() {
            assert_eq!(cluster.knows(&name), known, "{name}");
        }
        // None of the text can be read on the wire.
        let said = cluster.lines("Alford", "Parker").concat();
        assert!(
            said.len() > 1_000 && !said.contains("HELLO") && !said.contains("1479413884"),
            "{said}"
        );
        // PINGs keep a link, and a lost link is made again.
        cluster.run_for(60 * SECOND);
        cluster.crash("Parker");
        cluster.run_for(20 * SECOND);
        cluster.start("Parker");
        cluster.run_for(20 * SECOND);
        assert_eq!(cluster.knows("Parker"), known);
    }
}

#[test]
fn plain_text_at_a_sealed_port_and_tls_at_a_plain_one_are_closed_at_once() {
    let (folder, authority) = good("mixed", &ALL);
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    let talk = cluster.stranger("Bolden");
    cluster.send(talk, "HELLO");
    cluster.settle();
    assert!(cluster.ending(talk).is_some());

    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(AROUND_BOLDEN, ""));
    cluster.start("Bolden");
    let talk = cluster.stranger("Bolden");
    let alford = authority.issue(&Wish::of("Alford"));
    Played::new(talk, caller(Some(&alford), &TLS13)).say(&mut cluster, "");
    assert_eq!(cluster.ending(talk), Some(Ending::Fin));
    assert!(cluster.heard(talk).starts_with(b"? \x16\x03"), "any line but HELLO is answered");
    // Lines are still accepted there.
    let talk = cluster.stranger("Bolden");
    assert!(cluster.say(talk, "HELLO Alford places-herd 1").starts_with("HELLO Bolden"));
}

/// Returns the first bytes of other protocols, random bytes, and the bytes of an honest neighbour with one bit changed.
fn noise(honest: &[u8]) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut all = vec![
        b"GET / HTTP/1.1\r\nHost: herd\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        vec![0; 1_000],
        vec![0; 20_000],
        intrusion("Alford").repeat(1_000).into_bytes(),
    ];
    for _ in 0..100 {
        let count = 1 + roll(800);
        all.push((0..count).map(|_| roll(256) as u8).collect());
        // Random bytes in valid TLS records, so that more than the first byte is read.
        let mut record = vec![20 + roll(5) as u8, 3, roll(4) as u8, 0, 200];
        record.extend((0..200).map(|_| roll(256) as u8));
        all.push(record);
        let mut changed = honest.to_vec();
        changed[roll(honest.len())] ^= 1 << roll(8);
        all.push(changed);
    }
    all
}

#[test]
fn noise_at_a_sealed_port_is_closed_and_changes_nothing() {
    let (folder, authority) = good("noise", &ALL);
    let mut cluster = around_bolden(MemoryOptions::rough(1), folder.path());
    report(&mut cluster, "Bolden", "kiwi", "1479413884");
    let talk = cluster.stranger("Bolden");
    let alford = authority.issue(&Wish::of("Alford"));
    let mut honest = Played::new(talk, caller(Some(&alford), &TLS13));
    honest.say(&mut cluster, &intrusion("Alford").replace("1479413999", "1479413885"));
    assert!(cluster.linked("Bolden").contains("Alford"), "{:?}", honest.failed);
    cluster.abort(talk);
    cluster.settle();
    let before = (cluster.knows("Bolden"), cluster.linked("Bolden"));
    let noise = noise(&honest.said);
    let count = noise.len();
    for said in noise {
        let talk = cluster.stranger("Bolden");
        cluster.send(talk, &said[..]);
        // This is longer than `peer_tls_ms`.
        cluster.run_for(6 * SECOND);
        assert!(cluster.ending(talk).is_some(), "{}", said.escape_ascii());
        let heard = String::from_utf8_lossy(cluster.heard(talk));
        assert!(!heard.contains("HELLO"), "{heard}");
        assert_eq!((cluster.knows("Bolden"), cluster.linked("Bolden")), before);
    }
    println!("P18 noise at a sealed peer port: {count} connections, all closed, 0 effects");
}

#[test]
fn a_peer_without_a_proof_is_closed_after_peer_tls_ms() {
    let (folder, _) = good("deadline", &ALL);
    let limits = "peer_tls_ms = 700\nhello_ms = 100_000";
    let mut cluster =
        Cluster::new(MemoryOptions::calm(1), &sealed(AROUND_BOLDEN, folder.path(), limits));
    cluster.start("Bolden");
    let mute = cluster.stranger("Bolden");
    let slow = cluster.stranger("Bolden");
    // Bytes that trickle in do not extend the deadline.
    for byte in [0x16, 3, 1, 0, 200, 1] {
        cluster.send(slow, [byte]);
        cluster.run_for(100 * MS);
    }
    assert_eq!((cluster.ending(mute), cluster.ending(slow)), (None, None));
    cluster.run_for(100 * MS);
    assert_eq!(
        (cluster.ending(mute), cluster.ending(slow)),
        (Some(Ending::Broken), Some(Ending::Broken))
    );
}

#[test]
fn at_the_limit_of_handshakes_the_oldest_makes_room() {
    let (folder, authority) = good("many", &ALL);
    let limits = "peer_tls_handshakes = 3";
    let mut cluster =
        Cluster::new(MemoryOptions::calm(1), &sealed(AROUND_BOLDEN, folder.path(), limits));
    cluster.start("Bolden");
    let mutes: Vec<TalkId> = (0..5).map(|_| cluster.stranger("Bolden")).collect();
    cluster.settle();
    let endings: Vec<bool> = mutes.iter().map(|mute| cluster.ending(*mute).is_some()).collect();
    assert_eq!(endings, [true, true, false, false, false]);
    // A legitimate neighbour is linked all the same, and then takes none of the places.
    let alford = authority.issue(&Wish::of("Alford"));
    let talk = cluster.stranger("Bolden");
    let mut honest = Played::new(talk, caller(Some(&alford), &TLS13));
    honest.say(&mut cluster, "HELLO Alford places-herd 1\n");
    assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
    let late: Vec<TalkId> = (0..3).map(|_| cluster.stranger("Bolden")).collect();
    cluster.settle();
    assert!(late.iter().all(|talk| cluster.ending(*talk).is_none()));
    assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
}

#[test]
fn a_stranger_is_read_no_further_than_peer_tls_bytes() {
    let (folder, _) = good("bytes", &ALL);
    let limits = "peer_tls_bytes = 4_096";
    let mut cluster =
        Cluster::new(MemoryOptions::calm(1), &sealed(AROUND_BOLDEN, folder.path(), limits));
    cluster.start("Bolden");
    let talk = cluster.stranger("Bolden");
    // A hello of 60,000 bytes, in records of 1,000 bytes, each of which is within the limit.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(60_004, 0);
    let mut sent = 0;
    for piece in hello.chunks(1_000) {
        cluster
            .send(talk, [&[0x16, 3, 1], &(piece.len() as u16).to_be_bytes()[..], piece].concat());
        cluster.settle();
        sent += piece.len();
        if cluster.ending(talk).is_some() {
            break;
        }
    }
    assert!((4_096..=9_000).contains(&sent), "cut off after {sent} bytes");
}

// Reloading.

fn hang_up(cluster: &mut Cluster, name: &str) {
    cluster.reactor(name).io().signal(Signal::Hangup);
    cluster.settle();
}

#[test]
fn a_link_whose_certificate_is_revoked_ends_at_the_next_sighup_and_is_not_made_again() {
    for weather in weathers() {
        let (folder, authority) = good("live", &ALL);
        let abel = authority.issue(&Wish::of("Abel"));
        abel.write(folder.path(), "Abel");
        let mut cluster = around_bolden(weather, folder.path());
        cluster.start("Abel");
        cluster.run_for(SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Abel", "Adams", "Clark"]));
        authority.revoke(folder.path(), &[&abel.serial]);
        cluster.run_for(SECOND);
        assert!(cluster.linked("Bolden").contains("Abel"), "Bolden has not read the list yet");
        hang_up(&mut cluster, "Bolden");
        assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
        cluster.run_for(60 * SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
        report(&mut cluster, "Abel", "kiwi", "1479413884");
        assert!(!cluster.knows("Bolden").contains_key("kiwi"));
        // With a new certificate Abel is linked again, as soon as it has loaded it.
        authority.issue(&Wish::of("Abel")).write(folder.path(), "Abel");
        hang_up(&mut cluster, "Abel");
        cluster.run_for(10 * SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Abel", "Adams", "Clark"]));
        assert!(cluster.knows("Bolden").contains_key("kiwi"));
    }
}

#[test]
fn a_proof_from_before_a_sighup_has_to_be_given_again() {
    let (folder, authority) = good("between", &ALL);
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    let alford = authority.issue(&Wish::of("Alford"));
    let talk = cluster.stranger("Bolden");
    let mut slow = Played::new(talk, caller(Some(&alford), &TLS13));
    slow.say(&mut cluster, "");
    authority.revoke(folder.path(), &[&alford.serial]);
    hang_up(&mut cluster, "Bolden");
    slow.say(&mut cluster, "HELLO Alford places-herd 1\n");
    assert_eq!(slow.heard, "? HELLO Alford places-herd 1\n");
    assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
}

#[test]
fn faulty_files_leave_the_old_certificates_in_force() {
    let (folder, authority) = good("faulty", &ALL);
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    let path = |name: &str| folder.path().join(name);
    let good_key = fs::read(path("Bolden.key")).unwrap();
    for spoil in [
        &|| fs::write(path("Bolden.key"), "nothing").unwrap() as _,
        &|| fs::remove_file(path("Bolden.key")).unwrap(),
        &|| fs::copy(path("Adams.key"), path("Bolden.key")).map(|_| ()).unwrap(),
        &|| {
            fs::write(path("Bolden.key"), &good_key).unwrap();
            fs::write(
                path("revoked.crl"),
                "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            )
            .unwrap();
        },
        &|| Authority::new("the herd's").revoke(folder.path(), &[]),
        &|| {
            fs::remove_file(path("revoked.crl")).unwrap();
            fs::write(path("ca.pem"), "").unwrap();
        },
    ] as [&dyn Fn(); 6]
    {
        spoil();
        hang_up(&mut cluster, "Bolden");
        assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
        let alford = authority.issue(&Wish::of("Alford"));
        let talk = cluster.stranger("Bolden");
        let mut alford = Played::new(talk, caller(Some(&alford), &TLS13));
        alford.say(&mut cluster, "HELLO Alford places-herd 1\n");
        assert!(alford.heard.starts_with("HELLO Bolden"), "{:?}", alford.failed);
        cluster.abort(talk);
        cluster.settle();
    }
}

#[test]
fn another_authority_ends_all_links_of_the_old_one() {
    let (folder, _) = good("new-ca", &ALL);
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    let new = Authority::new("the next");
    new.write(folder.path());
    for name in ALL {
        new.issue(&Wish::of(name)).write(folder.path(), name);
    }
    hang_up(&mut cluster, "Bolden");
    assert_eq!(cluster.linked("Bolden"), set(&[]));
    hang_up(&mut cluster, "Adams");
    hang_up(&mut cluster, "Clark");
    cluster.run_for(20 * SECOND);
    assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
}

#[test]
fn a_certificate_that_has_expired_at_sighup_leaves_the_old_one_in_use_and_is_logged() {
    let (folder, authority) = good("expired", &ALL);
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    let expired = Wish { until: (2016, 11, 1), ..Wish::of("Bolden") };
    authority.issue(&expired).write(folder.path(), "Bolden");
    let log = Logged::here();
    hang_up(&mut cluster, "Bolden");
    let text = log.text();
    for part in [
        "SIGHUP: refused, nothing has changed: ",
        "Bolden.pem has expired, on Tue, 01 Nov 2016 00:00:00 GMT",
        // The simulated time is long before this program was built.
        "set the clock: this machine's clock shows Thu, 17 Nov 2016",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    cluster.crash("Clark");
    cluster.start("Clark");
    cluster.run_for(60 * SECOND);
    assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
}

#[test]
fn a_link_outlives_its_certificate_and_cannot_be_made_again() {
    let (folder, authority) = good("expiry", &ALL);
    // The simulated time begins on 17 November 2016.
    let short = Wish { until: (2016, 11, 18), ..Wish::of("Adams") };
    authority.issue(&short).write(folder.path(), "Adams");
    let mut cluster = around_bolden(MemoryOptions::calm(1), folder.path());
    cluster.run_for(2 * DAY);
    assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]), "time alone cuts no link");
    cluster.crash("Bolden");
    cluster.start("Bolden");
    cluster.run_for(60 * SECOND);
    assert_eq!(cluster.linked("Bolden"), set(&["Clark"]));
    // SIGHUP checks the existing links.
    authority.issue(&Wish::of("Adams")).write(folder.path(), "Adams");
    hang_up(&mut cluster, "Adams");
    cluster.run_for(20 * SECOND);
    assert_eq!(cluster.linked("Bolden"), set(&["Adams", "Clark"]));
}

#[test]
fn without_certificates_sighup_does_nothing() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology("Alford Bolden; Bolden", ""));
    hang_up(&mut cluster, "Alford");
    cluster.run_for(SECOND);
    assert_eq!(cluster.linked("Alford"), set(&["Bolden"]));
}

// Errors and warnings about the files.

/// 17 November 2016.
const WALL: UnixNanos = UnixNanos(1_479_340_800_000_000_000);

fn read(folder: &Path, wall: UnixNanos) -> Result<PeerTls, String> {
    let text = sealed("Alford Bolden; Bolden", folder, "");
    let topology = Topology::parse(&text, Path::new("topology.toml")).unwrap();
    let settings = topology.peer_tls.unwrap();
    PeerTls::read(&settings, "places-herd", "Alford", wall).map_err(|fault| fault.to_string())
}

fn warnings(folder: &Path, wall: UnixNanos) -> Vec<String> {
    let read = read(folder, wall).unwrap();
    read.warnings(wall).iter().map(|warning| warning.in_one_line()).collect()
}

#[test]
fn a_key_that_others_may_read_and_days_that_run_out_are_warned_of() {
    let (folder, authority) = good("warnings", &["Alford"]);
    assert_eq!(warnings(folder.path(), WALL), [""; 0]);
    let key = folder.path().join("Alford.key");
    for (mode, is_told) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let told = warnings(folder.path(), WALL);
        assert_eq!(told.len(), usize::from(is_told), "{mode:o}: {told:?}");
        assert!(told.iter().all(|told| told.contains(&format!("mode {mode:04o}"))), "{told:?}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for (until, days, is_told) in [((2016, 12, 18), 31, false), ((2016, 12, 17), 30, true)] {
        authority.issue(&Wish { until, ..Wish::of("Alford") }).write(folder.path(), "Alford");
        assert_eq!(read(folder.path(), WALL).unwrap().days_left(WALL)[0], days);
        let told = warnings(folder.path(), WALL);
        assert_eq!(told.len(), usize::from(is_told), "{told:?}");
        assert!(told.iter().all(|told| told.contains("Alford.pem: 30 days left")), "{told:?}");
    }
}

#[test]
fn each_fault_of_the_files_is_reported_at_the_line_that_names_the_folder_with_a_remedy() {
    let (folder, authority) = good("faults", &["Alford", "Bolden"]);
    let file = |name: &str| folder.path().join(name);
    let as_alford = |wish: Wish| authority.issue(&wish).write(folder.path(), "Alford");
    let alford = || Wish::of("Alford");
    let cases: [(&str, &dyn Fn()); 11] = [
        ("has expired", &|| as_alford(Wish { until: (2016, 11, 1), ..alford() })),
        ("is not valid yet", &|| as_alford(Wish { from: (2016, 12, 1), ..alford() })),
        ("is not valid for both uses", &|| {
            as_alford(Wish { uses: BOTH[..1].to_vec(), ..alford() })
        }),
        ("is not for Alford.places-herd", &|| as_alford(Wish::of("Bolden"))),
        ("was not issued by the authority in ca.pem", &|| {
            Authority::new("another").issue(&alford()).write(folder.path(), "Alford");
        }),
        ("is not the key of", &|| {
            as_alford(alford());
            fs::copy(file("Bolden.key"), file("Alford.key")).unwrap();
        }),
        ("is revoked", &|| {
            let issued = authority.issue(&alford());
            issued.write(folder.path(), "Alford");
            authority.revoke(folder.path(), &[&issued.serial]);
        }),
        ("has no list of the authority", &|| {
            as_alford(alford());
            Authority::new("another").revoke(folder.path(), &[]);
        }),
        ("should hold a revocation list in PEM", &|| fs::write(file("revoked.crl"), "").unwrap()),
        ("should hold a certificate in PEM", &|| {
            fs::remove_file(file("revoked.crl")).unwrap();
            fs::write(file("Alford.pem"), "x").unwrap();
        }),
        ("ca.pem: No such file", &|| fs::remove_file(file("ca.pem")).unwrap()),
    ];
    for (what, spoil) in cases {
        spoil();
        let told = read(folder.path(), WALL).expect_err(what);
        assert!(told.contains(what), "{what}: {told}");
        assert!(told.starts_with("topology.toml:"), "{told}");
        assert!(told.contains("\n  = remedy: ") || told.contains("= remedy: "), "{told}");
        assert!(told.contains("folder = "), "{told}");
    }
}

/// Private memory of this process, in bytes.
fn memory() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1_024
}

/// A measurement, to be run by hand: `cargo test --release --test suite server::peer_tls::what_ -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a promise"]
fn what_a_handshake_and_a_link_cost() {
    const SERVERS: usize = 24;
    let names: Vec<String> = (0..SERVERS).map(|number| format!("S{number:02}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let (folder, _) = good("cost", &all);
    let row = |reach: usize| -> String {
        let with = |at: usize| names[at..SERVERS.min(at + reach + 1)].join(" ");
        (0..SERVERS).map(with).collect::<Vec<_>>().join(";")
    };
    for is_sealed in [false, true] {
        let mut told = Vec::new();
        // First a chain, in which each server has one or two neighbours; then each is every other's neighbour.
        for reach in [1, SERVERS - 1] {
            let links = (0..SERVERS).map(|at| reach.min(SERVERS - 1 - at)).sum::<usize>() as i64;
            let text = match is_sealed {
                true => sealed(&row(reach), folder.path(), "peer_tls_handshakes = 128"),
                false => topology(&row(reach), ""),
            };
            let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
            let before = memory();
            let begun = std::time::Instant::now();
            for name in &names {
                cluster.start(name);
            }
            cluster.run_for(SECOND);
            let took = begun.elapsed();
            let linked: usize = names.iter().map(|name| cluster.linked(name).len()).sum();
            assert_eq!(linked as i64, 2 * links);
            told.push((links, took, memory() - before));
        }
        let links = told[1].0 - told[0].0;
        println!(
            "sealed {is_sealed}: a link costs {} bytes at each end, and {:?} to make at both together",
            (told[1].2 - told[0].2) / (2 * links),
            (told[1].1.saturating_sub(told[0].1)) / links as u32
        );
    }
}
