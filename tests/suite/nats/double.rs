//! What the double does beside the transcripts: credentials, TLS, faults. What a real server does as well is tested at
//! one, too, if there is one.

use crate::support::certs::{Authority, Folder};
use crate::support::cluster::{Cluster, Ending as End, MS, SECOND, TalkId, topology};
use crate::support::dice::Dice;
use crate::support::fake_google::{Certificate, Version};
use crate::support::nats_double::{
    Act, Ending, Faults, LoginRule, NatsDouble, NatsThread, PublicKey, Settings,
};
use crate::support::nats_server::{self, NatsServers};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use herd_reactor::testing::MemoryOptions;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::SigningKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SignatureAlgorithm, SignatureScheme, StreamOwned,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The deadline of each answer, which only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(20);

const LOGIN: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n\
                     SUB i.* 1\r\nSUB w 2\r\n";

const CREATE: &str = "{\"name\":\"KV_h\",\"subjects\":[\"$KV.h.>\"],\"max_msgs_per_subject\":1,\
                      \"num_replicas\":1,\"max_age\":0}";

// Credentials and TLS, over loopback.

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be made so");
    stream
}

/// Reads INFO, logs in with what `said` makes of the nonce, and returns the next line.
fn answer_to_login(address: SocketAddr, said: impl Fn(&str) -> String) -> String {
    let mut stream = BufReader::new(connect(address));
    let mut info = String::new();
    stream.read_line(&mut info).expect("INFO");
    let nonce = info.split("\"nonce\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let login = format!("CONNECT {{\"verbose\":false,{}}}", said(nonce.unwrap_or_default()));
    write!(stream.get_mut(), "{login}\r\nPING\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("an answer");
    answer.trim_end().to_owned()
}

/// A user's key.
struct Nkey(Arc<dyn SigningKey>);

impl Nkey {
    fn new(seed: u8) -> Nkey {
        let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let der = [&head[..], &[seed; 32]].concat();
        Nkey(any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).expect("a key"))
    }

    fn public(&self) -> PublicKey {
        assert_eq!(self.0.algorithm(), SignatureAlgorithm::ED25519);
        let info = self.0.public_key().expect("it has one");
        PublicKey::new(info.last_chunk().expect("the key is at the end"))
    }

    fn sign(&self, nonce: &str) -> String {
        let signer = self.0.choose_scheme(&[SignatureScheme::ED25519]).expect("its scheme");
        URL_SAFE_NO_PAD.encode(signer.sign(nonce.as_bytes()).expect("a signature"))
    }
}

/// Tests `good` and `bad` at the double with `rule`, and at a real server with the lines `config`.
fn only_the_good_login_is_accepted(
    rule: LoginRule,
    config: Option<&str>,
    good: impl Fn(&str) -> String,
    bad: impl Fn(&str) -> String,
) {
    let double = NatsThread::new(Settings { login: rule, ..Settings::default() });
    assert_eq!(answer_to_login(double.address(), &good), "PONG");
    assert_eq!(answer_to_login(double.address(), &bad), "-ERR 'Authorization Violation'");
    assert_eq!(double.double.world().counters.refused_logins, 1);
    if let (Some(config), Some(program)) = (config, nats_server::program()) {
        let server = NatsServers::start_unasked(&program, config);
        assert_eq!(answer_to_login(server.address(0), &good), "PONG");
        assert_eq!(answer_to_login(server.address(0), &bad), "-ERR 'Authorization Violation'");
    }
}

#[test]
fn a_token_is_compared() {
    let rule = LoginRule::Token("secret".to_owned());
    let config = Some("authorization { token: secret }");
    let login = |token: &'static str| move |_: &str| format!("\"auth_token\":\"{token}\"");
    only_the_good_login_is_accepted(rule, config, login("secret"), login("public"));
}

#[test]
fn a_password_is_compared() {
    let rule = LoginRule::User { user: "herd".to_owned(), password: "secret".to_owned() };
    let config = Some("authorization { user: herd, password: secret }");
    let login =
        |pass: &'static str| move |_: &str| format!("\"user\":\"herd\",\"pass\":\"{pass}\"");
    only_the_good_login_is_accepted(rule, config, login("secret"), login("public"));
}

#[test]
fn an_nkey_signs_the_nonce() {
    let (right, wrong) = (Nkey::new(7), Nkey::new(8));
    let public = right.public();
    let config = format!("authorization {{ users: [{{ nkey: {} }}] }}", public.text());
    let login = |key: Nkey| {
        let public = public.text().to_owned();
        move |nonce: &str| format!("\"nkey\":\"{public}\",\"sig\":\"{}\"", key.sign(nonce))
    };
    let rule = LoginRule::Nkey(public.clone());
    only_the_good_login_is_accepted(rule, Some(&config), login(right), login(wrong));
}

#[test]
fn a_jwt_needs_the_signature_of_its_key() {
    let (right, wrong) = (Nkey::new(7), Nkey::new(8));
    let rule = LoginRule::Jwt { jwt: "a.b.c".to_owned(), nkey: right.public() };
    let login =
        |key: Nkey| move |nonce: &str| format!("\"jwt\":\"a.b.c\",\"sig\":\"{}\"", key.sign(nonce));
    only_the_good_login_is_accepted(rule, None, login(right), login(wrong));
}

#[test]
fn whoever_does_not_log_in_is_disconnected() {
    let login = LoginRule::Token("secret".to_owned());
    let double = NatsThread::new(Settings { login, ..Settings::default() });
    let mut all = String::new();
    connect(double.address()).read_to_string(&mut all).expect("it ends");
    assert!(all.ends_with("-ERR 'Authentication Timeout'\r\n"), "{all}");
}

#[test]
fn an_act_reaches_a_double_in_a_thread() {
    let double = NatsThread::new(Settings { nodes: 2, ..Settings::default() });
    let mut streams = [0, 1].map(|node: usize| connect(double.addresses[node]));
    let mut info = [0; 5];
    for stream in &mut streams {
        stream.read_exact(&mut info).expect("INFO");
    }
    double.act(Act::Close { node: 1 });
    let mut all = String::new();
    streams[1].read_to_string(&mut all).expect("it ends");
    double.act(Act::ExpireCredentials);
    streams[0].read_to_string(&mut all).expect("it ends");
    assert!(all.ends_with("-ERR 'User Authentication Expired'\r\n"), "{all}");
}

/// Talks TLS after INFO, and returns what the server answers to PING.
fn pong_over_tls(address: SocketAddr, folder: &Folder) -> String {
    let mut stream = connect(address);
    let mut info = Vec::new();
    while !info.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("INFO in plain text");
        info.push(byte[0]);
    }
    let info = String::from_utf8(info).expect("text");
    assert!(info.contains("\"tls_required\":true"), "{info}");
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(folder.path().join("ca.pem"));
    roots.add(authority.expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    stream.get_mut().write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("an answer");
    answer
}

#[test]
fn tls_begins_after_info() {
    let folder = Folder::new("nats-double-tls");
    let authority = Authority::new("the bus's");
    authority.write(folder.path());
    for version in [Version::Tls12, Version::Tls13] {
        let tls = Some(authority.server(Certificate::Good, &[version]));
        let double = NatsThread::new(Settings { tls, ..Settings::default() });
        assert_eq!(pong_over_tls(double.address(), &folder), "PONG\r\n");
    }
}

/// The helper for real servers: a cluster survives a killed node, which comes back with its files.
#[test]
fn three_real_servers_form_a_cluster() {
    let Some(program) = nats_server::program() else { return };
    let mut servers = NatsServers::start(&program, 3, "");
    let mut stream = BufReader::new(connect(servers.address(1)));
    let config = CREATE.replace("\"num_replicas\":1", "\"num_replicas\":3");
    let mut say = |text: &str, wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        // Until there is a leader, JetStream refuses or is silent.
        stream.get_mut().set_read_timeout(Some(SECOND)).expect("a socket can be made so");
        stream.get_mut().write_all(text.as_bytes()).expect("it reads");
        let mut heard = String::new();
        while !heard.contains(wanted) {
            assert!(Instant::now() < deadline, "{heard}");
            if stream.read_line(&mut heard).is_err() || heard.contains("503") {
                heard.clear();
                stream.get_mut().write_all(text.as_bytes()).expect("it reads");
            }
        }
    };
    say(LOGIN, "INFO");
    let create = |config: &str| {
        format!("PUB $JS.API.STREAM.CREATE.KV_h i.0 {}\r\n{config}\r\n", config.len())
    };
    say(&create(&config), "\"num_replicas\":3");
    say(&put("a", 0, "one"), "\"seq\":1}");
    servers.kill(0);
    say(&put("b", 0, "two"), "\"seq\":");
    servers.restart(0);
    assert!(!servers.log(0).is_empty());
}

// Faults, in memory.

/// A double of some nodes in a cluster's outside, and a client that has logged in at the first.
struct Stage {
    cluster: Cluster,
    double: NatsDouble,
    talk: TalkId,
}

fn node(number: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 1 + number as u8)), 4222)
}

impl Stage {
    fn new(settings: Settings) -> Stage {
        Stage::with(MemoryOptions::calm(1), settings, CREATE)
    }

    fn with(options: MemoryOptions, settings: Settings, config: &str) -> Stage {
        let mut cluster = Cluster::new(options, &topology("Alford", ""));
        let nodes = settings.nodes;
        let double = NatsDouble::new(1, settings);
        (0..nodes).for_each(|its| cluster.host(node(its), Box::new(double.node(its))));
        let talk = cluster.dial(node(0));
        let mut stage = Stage { cluster, double, talk };
        stage.say(LOGIN);
        let made = stage.publish("$JS.API.STREAM.CREATE.KV_h", "i.0", config);
        assert!(made.contains("did_create"), "{made}");
        stage
    }

    /// Sends `text`, and returns what comes until nothing is under way.
    fn say(&mut self, text: &str) -> String {
        self.cluster.send(self.talk, text);
        self.cluster.settle();
        self.cluster.hear(self.talk)
    }

    fn publish(&mut self, subject: &str, reply: &str, payload: &str) -> String {
        self.say(&format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len()))
    }

    fn put(&mut self, key: &str, sequence: u64, line: &str) -> String {
        self.say(&put(key, sequence, line))
    }

    fn act(&mut self, act: Act) {
        self.double.act(self.cluster.outside_core(), &act);
        self.cluster.settle();
    }

    /// What comes in this time.
    fn wait(&mut self, time: Duration) -> String {
        self.cluster.run_for(time);
        self.cluster.hear(self.talk)
    }

    fn watch(&mut self) -> String {
        let config = "{\"stream_name\":\"KV_h\",\"config\":{\"name\":\"c\",\"filter_subject\":\"$KV.h.>\",\
                      \"deliver_policy\":\"last_per_subject\",\"inactive_threshold\":30000000000}}";
        let made = self.publish("$JS.API.CONSUMER.CREATE.KV_h.c.$KV.h.>", "i.1", config);
        assert!(made.contains("\"num_pending\""), "{made}");
        let next = "{\"batch\":100,\"expires\":30000000000,\"idle_heartbeat\":1000000000}";
        self.publish("$JS.API.CONSUMER.MSG.NEXT.KV_h.c", "w", next)
    }

    fn line(&self, key: &str) -> Option<String> {
        self.double.world().streams.bucket("h").get(key).cloned()
    }

    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.double.world().faults);
    }
}

fn put(key: &str, sequence: u64, line: &str) -> String {
    let headers = format!("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {sequence}\r\n\r\n");
    let (header, total) = (headers.len(), headers.len() + line.len());
    format!("HPUB $KV.h.{key} i.{key} {header} {total}\r\n{headers}{line}\r\n")
}

#[test]
fn an_unconditional_put_is_counted_and_refused() {
    let mut stage = Stage::new(Settings::default());
    let heard = stage.publish("$KV.h.a", "i.a", "one");
    assert!(heard.contains("unconditional"), "{heard}");
    let wrong = "NATS/1.0\r\nnats-expected-last-subject-sequence: 0\r\n\r\n";
    let heard = stage.say(&format!("HPUB $KV.h.a i.a {0} {0}\r\n{wrong}\r\n", wrong.len()));
    assert!(heard.contains("unconditional"), "{heard}");
    let world = stage.double.world();
    assert_eq!((world.counters.puts, world.counters.unconditional), (2, 2));
    assert!(world.streams.bucket("h").is_empty());
}

#[test]
fn puts_can_be_stored_without_an_ack_or_lost_or_stored_late() {
    let mut stage = Stage::new(Settings::default());
    stage.faults(|faults| faults.lost_acks = 1_000);
    assert_eq!(stage.put("a", 0, "one"), "");
    assert_eq!(stage.line("a").as_deref(), Some("one"));
    stage.faults(|faults| *faults = Faults { lost_puts: 1_000, ..Faults::default() });
    assert_eq!(stage.put("a", 1, "two"), "");
    assert_eq!(stage.line("a").as_deref(), Some("one"));
    let late_by = 5 * SECOND..=5 * SECOND;
    stage.faults(|faults| *faults = Faults { late_puts: 1_000, late_by, ..Faults::default() });
    assert_eq!(stage.put("a", 1, "three"), "");
    assert_eq!(stage.line("a").as_deref(), Some("one"));
    stage.wait(6 * SECOND);
    assert_eq!(stage.line("a").as_deref(), Some("three"));
}

#[test]
fn a_put_in_flight_refuses_others_before_its_own_ack() {
    let mut stage = Stage::new(Settings::default());
    stage.faults(|faults| faults.commit = 10 * MS..=10 * MS);
    let heard = stage.say(&(put("a", 0, "one") + &put("a", 0, "two"))) + &stage.wait(SECOND);
    let conflict = heard.find("10164").expect("a conflict");
    assert!(conflict < heard.find("\"seq\":1}").expect("an ack"), "{heard}");
    assert_eq!(stage.line("a").as_deref(), Some("one"));
}

#[test]
fn acks_come_in_another_order() {
    let mut stage = Stage::new(Settings::default());
    stage.faults(|faults| faults.ack_delay = Duration::ZERO..=100 * MS);
    let all: String = (0..20).map(|key| put(&format!("k{key}"), 0, "line")).collect();
    let heard = stage.say(&all) + &stage.wait(SECOND);
    let acks: Vec<&str> = heard.matches("i.k").collect();
    assert_eq!(acks.len(), 20, "{heard}");
    assert!(heard.find("\"seq\":20}") < heard.rfind("\"seq\":"), "{heard}");
}

#[test]
fn a_server_can_be_unavailable_for_a_time() {
    let mut stage = Stage::new(Settings::default());
    stage.act(Act::Unavailable(SECOND));
    assert!(stage.put("a", 0, "one").contains("NATS/1.0 503"));
    assert!(stage.publish("$JS.API.STREAM.INFO.KV_h", "i.1", "").contains("10008"));
    stage.wait(SECOND);
    assert!(stage.put("a", 0, "one").contains("\"seq\":1}"));
}

#[test]
fn a_stream_that_goes_back_has_the_earlier_lines() {
    let mut stage = Stage::new(Settings::default());
    stage.put("a", 0, "one");
    stage.put("b", 0, "two");
    stage.put("a", 1, "three");
    stage.act(Act::GoBack(2));
    assert_eq!((stage.line("a").as_deref(), stage.line("b")), (Some("one"), None));
    assert!(stage.put("a", 3, "four").contains("wrong last sequence: 1"));
    assert!(stage.put("a", 1, "four").contains("\"seq\":2}"));
}

#[test]
fn a_stream_can_be_deleted_made_again_and_renumbered() {
    let mut stage = Stage::new(Settings::default());
    stage.put("a", 0, "one");
    let created = stage.double.world().streams.get("KV_h").map(|stream| stream.created);
    stage.act(Act::Renumber(5));
    assert!(stage.put("a", 1, "two").contains("wrong last sequence: 6"));
    stage.act(Act::RemakeStreams);
    assert_ne!(stage.double.world().streams.get("KV_h").map(|stream| stream.created), created);
    assert!(stage.put("a", 0, "two").contains("\"seq\":1}"));
    stage.act(Act::DeleteStreams);
    assert!(stage.put("a", 0, "two").contains("NATS/1.0 503"));
    assert!(stage.publish("$JS.API.STREAM.INFO.KV_h", "i.1", "").contains("10059"));
}

#[test]
fn a_lost_delivery_shows_as_a_gap_and_in_heartbeats() {
    let mut stage = Stage::new(Settings::default());
    assert_eq!(stage.watch(), "");
    stage.act(Act::Gap);
    let heard = stage.put("a", 0, "one");
    assert!(!heard.contains("$JS.ACK"), "{heard}");
    let heard = stage.wait(1_100 * MS);
    assert!(heard.contains("Nats-Last-Consumer: 1\r\nNats-Last-Stream: 1"), "{heard}");
    assert!(stage.put("b", 0, "two").contains("$JS.ACK.KV_h.c.1.2.2."));
}

#[test]
fn heartbeats_can_go_on_without_deliveries() {
    let mut stage = Stage::new(Settings::default());
    stage.watch();
    stage.act(Act::Mute(5 * SECOND));
    assert!(!stage.put("a", 0, "one").contains("$JS.ACK"));
    let heard = stage.wait(4_500 * MS);
    assert!(heard.contains("Nats-Last-Consumer: 0") && !heard.contains("$JS.ACK"), "{heard}");
    assert!(stage.wait(SECOND).contains("$JS.ACK.KV_h.c.1.1.1."));
}

#[test]
fn a_consumer_ends_with_409_or_in_silence() {
    for (ending, status) in [(Ending::Deleted, "Deleted"), (Ending::LeadershipChange, "Leadership")]
    {
        let mut stage = Stage::new(Settings::default());
        stage.watch();
        stage.act(Act::EndConsumers(ending));
        let heard = stage.wait(MS);
        assert!(heard.contains("NATS/1.0 409") && heard.contains(status), "{heard}");
    }
    let mut stage = Stage::new(Settings::default());
    stage.watch();
    stage.act(Act::EndConsumers(Ending::Silent));
    assert_eq!(stage.wait(60 * SECOND).replace("PING\r\n", ""), "");
}

#[test]
fn an_old_key_expires() {
    let age = CREATE.replace("\"max_age\":0", "\"max_age\":10000000000");
    let mut stage = Stage::with(MemoryOptions::calm(1), Settings::default(), &age);
    stage.put("a", 0, "one");
    stage.wait(9 * SECOND);
    assert!(stage.put("a", 0, "two").contains("wrong last sequence: 1"));
    stage.wait(SECOND);
    assert!(stage.put("a", 1, "two").contains("wrong last sequence: 0"));
    assert!(stage.put("a", 0, "two").contains("\"seq\":2}"));
}

#[test]
fn a_full_disk_is_silent_until_the_restart() {
    let mut stage = Stage::new(Settings::default());
    stage.act(Act::FillDisk);
    assert_eq!(stage.put("a", 0, "one"), "");
    assert!(stage.publish("$JS.API.STREAM.INFO.KV_h", "i.1", "").contains("last_seq"));
    stage.act(Act::Restart);
    assert_eq!(stage.cluster.ending(stage.talk), Some(End::Broken));
    stage.talk = stage.cluster.dial(node(0));
    stage.say(LOGIN);
    assert!(stage.put("a", 0, "one").contains("\"seq\":1}"));
}

#[test]
fn a_cluster_answers_503_without_a_leader_and_nothing_without_a_majority() {
    let mut stage = Stage::new(Settings { nodes: 3, ..Settings::default() });
    stage.talk = stage.cluster.dial(node(1));
    stage.say(LOGIN);
    stage.act(Act::Kill { node: 0 });
    assert!(stage.put("a", 0, "one").contains("NATS/1.0 503"));
    stage.wait(7 * SECOND);
    assert!(stage.put("a", 0, "one").contains("\"seq\":1}"));
    stage.act(Act::Kill { node: 2 });
    assert_eq!(stage.put("a", 1, "two"), "");
    stage.wait(13 * SECOND);
    assert!(stage.put("a", 1, "three").contains("NATS/1.0 503"));
    stage.act(Act::Start { node: 2 });
    assert_eq!(stage.line("a").as_deref(), Some("two"));
}

#[test]
fn expired_credentials_are_refused_after_pong() {
    let mut stage = Stage::new(Settings::default());
    stage.act(Act::ExpireCredentials);
    let told = "-ERR 'User Authentication Expired'\r\n";
    assert_eq!(stage.wait(MS), told);
    stage.talk = stage.cluster.dial(node(0));
    assert!(stage.say(&format!("{LOGIN}PING\r\n")).ends_with(&format!("PONG\r\n{told}")));
    assert_eq!(stage.cluster.ending(stage.talk), Some(End::Fin));
}

#[test]
fn a_lame_duck_says_so_and_leaves() {
    let mut stage = Stage::new(Settings::default());
    stage.talk = stage.cluster.dial(node(0));
    stage.say(&LOGIN.replace("false,", "false,\"protocol\":1,"));
    stage.act(Act::LameDuck { node: 0, grace: SECOND });
    assert!(stage.wait(MS).contains("\"ldm\":true"));
    assert_eq!(stage.cluster.ending(stage.talk), None);
    stage.wait(SECOND);
    assert_eq!(stage.cluster.ending(stage.talk), Some(End::Fin));
}

#[test]
fn a_message_can_be_cut_and_bytes_can_trickle() {
    let mut stage = Stage::new(Settings::default());
    let whole = stage.put("a", 0, "one");
    stage.faults(|faults| faults.trickle = Some((1, MS)));
    let trickled = stage.put("b", 0, "one") + &stage.wait(SECOND);
    assert_eq!(trickled.replace("i.b", "i.a").replace(":2", ":1"), whole);
    stage.faults(|faults| faults.trickle = None);
    stage.act(Act::CutMessage { node: 0 });
    let half = stage.put("c", 0, "one");
    assert_eq!(half.len(), whole.len() / 2);
    assert_eq!(stage.cluster.ending(stage.talk), Some(End::Fin));
}

#[test]
fn a_client_that_answers_no_ping_is_stale() {
    let mut stage = Stage::new(Settings::default());
    let heard = stage.wait(600 * SECOND);
    assert_eq!(heard, "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
}

/// Whatever clients and faults do, the double goes on, and serves when the faults have ended.
#[test]
fn the_double_survives_all_of_its_faults() {
    for seed in 1..=30 {
        let mut dice = Dice::new(seed);
        let settings = Settings { nodes: 3, ..Settings::default() };
        let mut stage = Stage::with(MemoryOptions::rough(seed), settings, CREATE);
        for _ in 0..150 {
            if !stage.cluster.stands(stage.talk) {
                stage.talk = stage.cluster.dial(node(dice.below(3)));
                stage.say(LOGIN);
            }
            match dice.below(12) {
                0 => {
                    let act = Act::random(&mut dice, 3);
                    stage.act(act);
                }
                1 => stage.double.world().faults = Faults::random(&mut dice),
                2 => drop(stage.publish("$JS.API.STREAM.CREATE.KV_h", "i.0", CREATE)),
                3 => drop(stage.publish("$JS.API.CONSUMER.DELETE.KV_h.c", "i.0", "")),
                4 => {
                    let next = "{\"batch\":3,\"expires\":2000000000,\"idle_heartbeat\":500000000}";
                    stage.publish("$JS.API.CONSUMER.MSG.NEXT.KV_h.c", "w", next);
                }
                5 => {
                    let config = "{\"stream_name\":\"KV_h\",\"config\":{\"name\":\"c\",\
                                  \"filter_subject\":\"$KV.h.>\"}}";
                    stage.publish("$JS.API.CONSUMER.CREATE.KV_h.c.$KV.h.>", "i.1", config);
                }
                6 => drop(stage.publish("$JS.API.STREAM.PURGE.KV_h", "i.0", "")),
                7 => drop(stage.wait(Duration::from_millis(dice.within(1..=5_000)))),
                _ => {
                    let (key, sequence) = (format!("k{}", dice.below(5)), dice.within(0..=20));
                    let known =
                        stage.double.world().streams.get("KV_h").map_or(0, |stream| {
                            stream.sequence_of(format!("$KV.h.{key}").as_bytes())
                        });
                    stage.put(&key, if dice.percent(80) { known } else { sequence }, "line");
                }
            }
        }
        stage.act(Act::Calm);
        stage.wait(60 * SECOND);
        stage.talk = stage.cluster.dial(node(0));
        stage.say(LOGIN);
        stage.publish("$JS.API.STREAM.CREATE.KV_h", "i.0", CREATE);
        let heard = stage.put("fresh", 0, "line");
        assert!(heard.contains("{\"stream\":\"KV_h\",\"seq\":"), "seed {seed}: {heard}");
        assert_eq!(stage.line("fresh").as_deref(), Some("line"));
        assert_eq!(stage.double.world().counters.faults, Vec::<String>::new());
    }
}
