//! `herd bus check`, against the NATS double, the real nats-server, and servers that do one thing wrong. No output may show a
//! login.

use super::ALONE;
use crate::support::certs::{Authority, Issued, UNTIL, Wish};
use crate::support::nats_double::{Act, LoginRule, NatsThread, Settings};
use crate::support::nats_server::{NatsServers, program};
use crate::support::ports::RefusingPort;
use crate::support::process::{DEADLINE, Ended, Herd, is_readable, until};
use rustls::ServerConfig;
use rustls::crypto::ring;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

const BUCKET: &str = "places-herd";

/// The secrets of these tests contain this word.
const CANARY: &str = "CANARY";

fn herd(bus: &str) -> Herd {
    let herd = Herd::new("bus-check", ALONE);
    herd.write(&format!("{}[bus]\nbucket = \"{BUCKET}\"\n{bus}\n", herd.text()));
    herd
}

fn herd_at(address: SocketAddr) -> Herd {
    herd(&format!("nats = [\"nats://{address}\"]"))
}

/// Runs the check.
fn check(herd: &Herd, args: &[&str]) -> Ended {
    let ended = herd.run(&[&["bus", "check"], args].concat());
    assert!(!format!("{ended:?}").contains(CANARY), "{ended:?}");
    ended
}

/// The steps in the output, without their times; `FAILED` and `remedy` with their texts.
fn steps(ended: &Ended) -> Vec<String> {
    let without_time = |line: &str| {
        let (name, rest) = line.split_once(' ').expect("a value");
        let rest = rest.trim_start();
        let said = rest.split_once(" ms").map_or(rest, |(_, said)| said.trim_start());
        format!("{name} {said}").trim_end().to_owned()
    };
    ended.stdout.lines().map(without_time).collect()
}

#[track_caller]
fn assert_fails(herd: &Herd, step: &str, what: &str, remedy: &str) {
    let ended = check(herd, &["--timeout", "60"]);
    assert_failed(&ended, step, what, remedy);
}

#[track_caller]
fn assert_failed(ended: &Ended, step: &str, what: &str, remedy: &str) {
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let steps = steps(ended);
    let [.., failed, advice] = &steps[..] else { panic!("{ended:?}") };
    assert!(failed.starts_with(&format!("{step} FAILED: ")) && failed.contains(what), "{ended:?}");
    assert!(advice.starts_with("remedy ") && advice.contains(remedy), "{ended:?}");
    assert!(ended.stderr.contains("no server of NATS passed all steps"), "{ended:?}");
}

/// A server that accepts one connection, greets, and answers each line of the client by `answer`.
fn scripted(greeting: &str, answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, greeting) = (listener.local_addr().expect("it listens"), greeting.to_owned());
    thread::spawn(move || {
        assert!(is_readable(&listener, Instant::now() + DEADLINE), "nobody connects");
        let (mut client, _) = listener.accept().expect("somebody connects");
        // It writes to a client that may be gone.
        let _ = client.write_all(greeting.as_bytes());
        let lines = BufReader::new(client.try_clone().expect("a descriptor")).lines();
        for line in lines.map_while(Result::ok) {
            let _ = client.write_all(answer(&line).as_bytes());
        }
    });
    address
}

/// A server whose JetStream answers each question with `answer`.
fn answering(answer: Value) -> SocketAddr {
    let info = "INFO {\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576}\r\n";
    scripted(info, move |line| {
        let answer = answer.to_string();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["PING"] => "PONG\r\n".to_owned(),
            ["PUB", _, reply, _] => format!("MSG {reply} 1 {}\r\n{answer}\r\n", answer.len()),
            _ => String::new(),
        }
    })
}

#[test]
fn a_check_creates_no_bucket() {
    let nats = NatsThread::new(Settings::default());
    let ended = check(&herd_at(nats.address()), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let stream =
        "stream KV_places-herd does not exist yet; the first server that connects creates it";
    let greeting = "greeting NATS 2.15.1";
    let url = format!("server nats://{}", nats.address());
    let expected = [
        &url,
        "name -",
        "connect",
        greeting,
        "tls -",
        "login without a login",
        "jetstream",
        stream,
        "put -",
        "get -",
        "watch -",
    ];
    assert_eq!(steps(&ended), expected);
    assert_eq!(nats.double.world().streams.names(), Vec::<String>::new());
}

#[test]
fn all_steps_pass_beside_servers_that_take_no_notice() {
    let nats = NatsThread::new(Settings::default());
    let herd = herd_at(nats.address());
    let mut server = herd.serve("Alford");
    let status = || {
        let ended = herd.run(&["status", "--json"]);
        serde_json::from_str::<Value>(&ended.stdout).unwrap_or_default()
    };
    until("the server reads the bucket", || (status()["bus"]["live"] == true).then_some(()));
    for messages in ["no messages", "1 message"] {
        let ended = check(&herd, &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let steps = steps(&ended);
        assert_eq!(steps[7], format!("stream KV_places-herd, {messages}, 1 replica"));
        assert_eq!(steps[8..], ["put", "get", "watch"]);
    }
    let delivered = |status: &Value| status["bus"]["delivered"].as_u64() >= Some(2);
    let status = until("the watch delivers both", || Some(status()).filter(delivered));
    assert_eq!(status["bus"]["passed_over"], 0, "{status}");
    assert_eq!((&status["known_clients"], &status["bus"]["puts"]), (&json!(0), &json!(0)));
    let world = nats.double.world();
    assert_eq!(world.streams.bucket(BUCKET).len(), 0);
    let stream = world.streams.get("KV_places-herd").expect("the server has made it");
    assert_eq!((stream.messages.len(), stream.consumers.len()), (1, 1), "{stream:?}");
    assert_eq!(world.counters.faults, Vec::<String>::new());
    drop(world);
    server.signal(rustix::process::Signal::TERM);
    let log = server.end();
    assert!(!format!("{log:?}").contains("passed over"), "{log:?}");
}

#[test]
fn each_server_of_the_list_is_visited_until_one_works() {
    let (closed, nats) = (RefusingPort::new(), NatsThread::new(Settings::default()));
    let (first, second) = (closed.address(), nats.address());
    let other = NatsThread::new(Settings { jetstream: false, ..Settings::default() });
    let third = other.address();
    let urls = [first, second, third].map(|it| format!("\"nats://{it}\"")).join(", ");
    let herd = herd(&format!("nats = [{urls}]"));
    let ended = check(&herd, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = format!("reachable   nats://{second}, nats://{third}; not: nats://{first}\n");
    assert!(ended.stdout.ends_with(&last), "{ended:?}");
    assert_eq!(other.double.world().counters.logins, 0);
    let ended = check(&herd, &[&third.to_string()]);
    assert_failed(&ended, "jetstream", "503", "enable JetStream");
    assert_eq!(check(&herd, &["10.0.0.1"]).code, Some(64));
}

#[test]
fn what_keeps_a_server_from_being_reached_is_named() {
    let closed = RefusingPort::new();
    assert_fails(&herd_at(closed.address()), "connect", "refused", "check that nats-server runs");
    let named = herd("nats = [\"nats://nowhere.invalid\"]\ninsecure_nats = true");
    assert_fails(&named, "name", "", "check the host in `nats` of [bus]");
    let ssh = scripted("SSH-2.0-OpenSSH_9.2p1\r\n", |_| String::new());
    assert_fails(&herd_at(ssh), "greeting", "unknown verb", "must be a server of NATS");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = herd_at(silent.local_addr().expect("it listens"));
    let ended = check(&silent, &["--timeout", "0.2"]);
    assert_failed(&ended, "greeting", "no answer within 0.2 s", "handshake_first");
    let none = Herd::new("bus-check", ALONE);
    none.write(none.text());
    assert_eq!(check(&none, &[]).code, Some(78));
}

#[test]
fn what_is_wrong_with_tls_is_named() {
    let authority = Authority::new("of NATS");
    let until = (2_100, UNTIL.1, UNTIL.2);
    let wish = Wish { names: vec!["127.0.0.1".into()], until, ..Wish::of("nats") };
    let settings = |issued: &Issued| {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(issued.chain(), issued.key())
            .expect("a certificate");
        Settings { tls: Some(Arc::new(config)), ..Settings::default() }
    };
    let nats = NatsThread::new(settings(&authority.issue(&wish)));
    let secure = |url: &str, authority: &Authority| {
        let herd = herd(&format!("nats = [\"{url}\"]\nca_file = \"ca.pem\""));
        authority.write(herd.folder());
        herd
    };
    let url = format!("tls://{}", nats.address());
    let ended = check(&secure(&url, &authority), &[]);
    assert_eq!((ended.code, &steps(&ended)[4][..]), (Some(0), "tls"), "{ended:?}");
    let other = secure(&url, &Authority::new("another"));
    assert_fails(&other, "tls", "UnknownIssuer", "name the file of its authority as ca_file");
    let named = secure(&url.replace("127.0.0.1", "localhost"), &authority);
    assert_fails(&named, "tls", "localhost", "write a name of its certificate");
    assert_fails(&herd_at(nats.address()), "tls", "requires TLS", "write tls://");
    let old = NatsThread::new(settings(&authority.issue(&Wish { until: UNTIL, ..wish })));
    let old = secure(&format!("tls://{}", old.address()), &authority);
    assert_fails(&old, "tls", "xpired", "renew its certificate");
    let plain = NatsThread::new(Settings::default());
    let plain = secure(&format!("tls://{}", plain.address()), &authority);
    assert_fails(&plain, "tls", "offers no TLS", "write tls into its configuration");
}

#[test]
fn a_refused_login_is_named_and_not_shown() {
    let login = LoginRule::User { user: "jane".into(), password: "right".into() };
    let nats = NatsThread::new(Settings { login, ..Settings::default() });
    let herd_of = |login: &str, address| herd(&format!("nats = [\"nats://{login}@{address}\"]"));
    let remedy = "check the login";
    for wrong in ["jane:CANARY", "CANARY"] {
        let herd = herd_of(wrong, nats.address());
        assert_fails(&herd, "login", "Authorization Violation", remedy);
    }
    let ended = check(&herd_of("jane:right", nats.address()), &[]);
    assert_eq!((ended.code, &steps(&ended)[5][..]), (Some(0), "login user and password"));
    // A server that repeats what it was sent.
    let info = "INFO {\"version\":\"2.9.10\",\"headers\":true}\r\n";
    let echo = scripted(info, |line| format!("-ERR 'Authorization Violation: {line}'\r\n"));
    assert_fails(&herd_of("jane:CANARY", echo), "login", "***", remedy);
}

#[test]
fn what_is_wrong_with_jetstream_is_named() {
    let error = json!({"error": {"code": 503, "err_code": 10_039, "description": "JetStream not enabled for account"}});
    assert_fails(&herd_at(answering(error)), "jetstream", "for account", "and for the account");
    let state = json!({"messages": 1, "last_seq": 1});
    for (config, what) in [
        (json!({"name": "KV_places-herd", "mirror": {"name": "x"}}), "is a mirror"),
        (json!({"name": "KV_places-herd", "subjects": ["a"]}), "is not a key-value bucket"),
    ] {
        let herd = herd_at(answering(json!({"config": config, "state": state, "created": "now"})));
        let ended = check(&herd, &[]);
        assert_eq!(ended.code, Some(69), "{ended:?}");
        let last = steps(&ended).pop().expect("a line");
        assert!(last.starts_with("stream FAILED: the stream KV_places-herd"), "{last}");
        assert!(last.contains(what) && last.ends_with("choose another bucket in [bus]"), "{last}");
    }
}

#[test]
fn a_bucket_that_cannot_be_written_is_named() {
    let nats = NatsThread::new(Settings::default());
    let herd = herd_at(nats.address());
    let mut server = herd.serve("Alford");
    let is_made = || (!nats.double.world().streams.names().is_empty()).then_some(());
    until("the server makes the bucket", is_made);
    server.signal(rustix::process::Signal::TERM);
    server.end();
    let denied = |subject: &str| {
        let denied = if subject.is_empty() { vec![] } else { vec![subject.to_owned()] };
        nats.double.world().settings.publish_denied = denied;
    };
    for (step, subject) in [
        ("jetstream", "$JS.API.STREAM.INFO.>"),
        ("stream", "$JS.API.STREAM.MSG.GET.>"),
        ("put", "$KV.>"),
        ("watch", "$JS.API.CONSUMER.CREATE.>"),
    ] {
        denied(subject);
        assert_fails(&herd, step, "Permissions Violation", "lists the subjects");
    }
    denied("");
    assert_eq!(check(&herd, &[]).code, Some(0));
    nats.act(Act::FillDisk);
    let ended = check(&herd, &["--timeout", "0.2"]);
    assert_failed(&ended, "put", "no answer within 0.2 s", "room on its disks");
}

#[test]
fn all_steps_pass_at_the_real_server() {
    let Some(program) = program() else { return };
    let nats = NatsServers::alone(&program);
    let herd = herd_at(nats.address(0));
    let mut server = herd.serve("Alford");
    let is_there = || {
        let ended = check(&herd, &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Some(steps(&ended)).filter(|steps| !steps[7].contains("does not exist"))
    };
    let steps = until("the server makes the bucket", is_there);
    assert_eq!(steps[3], format!("greeting NATS {}", nats.version()));
    assert_eq!(steps[8..], ["put", "get", "watch"]);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}
