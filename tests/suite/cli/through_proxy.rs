//! `herd serve` behind a proxy: real processes, a proxy in this one, and a fake Google on TLS behind it.

use super::ALONE;
use crate::support::fake_google::{Authority, FakeGoogle, Script, Step, with_length};
use crate::support::process::{DEADLINE, Herd};
use rustix::process::Signal;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;

const KEY: &str = "AIzaCANARY-through-the-tunnel";
const PASSWORD: &str = "CANARY-p4ss";

/// `me:CANARY-p4ss`, in base64.
const CREDENTIALS: &str = "bWU6Q0FOQVJZLXA0c3M=";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("the test"));

/// Starts a proxy that connects each client to the host that it names. Returns its address, and all that clients send: the
/// head, then the rest. `refusal`: the reply that clients get instead.
fn start_proxy(refusal: Option<&'static str>) -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    let (heard, hears) = channel();
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let heard = heard.clone();
            // An error means that a peer has closed, which the test sees on its own side.
            thread::spawn(move || serve_proxy(client, refusal, &heard));
        }
    });
    (address, hears)
}

fn serve_proxy(
    mut client: TcpStream,
    refusal: Option<&str>,
    heard: &Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head).into_owned();
    let _ = heard.send(head);
    if let Some(refusal) = refusal {
        client.write_all(refusal.as_bytes())?;
        return client.shutdown(Shutdown::Write);
    }
    let origin = line.split(' ').nth(1).unwrap_or_default();
    let mut server = TcpStream::connect(origin)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 4096];
    loop {
        let count = client.read(&mut bytes)?;
        if count == 0 {
            return server.shutdown(Shutdown::Both);
        }
        let _ = heard.send(bytes[..count].to_vec());
        server.write_all(&bytes[..count])?;
    }
}

/// Starts a fake Google with TLS and one place. Returns it, and its requests.
fn start_google() -> (FakeGoogle, Receiver<String>) {
    let (heard, hears) = channel();
    let heard = Mutex::new(heard);
    let script = Script::answering(move |asked| {
        let request = String::from_utf8_lossy(asked.request).into_owned();
        let _ = heard.lock().expect("nobody panics").send(request);
        let place = r#"{"places": [{"id": "ChIJ-1", "displayName": {"text": "Ackerman Union"},
            "location": {"latitude": 34.07, "longitude": -118.44}}]}"#;
        vec![Step::Send(with_length(place.as_bytes()))]
    });
    (FakeGoogle::new(&AUTHORITY, script), hears)
}

/// Returns a herd of one server that asks Google at `origin`.
fn asking(test: &str, origin: SocketAddr) -> Herd {
    let herd = Herd::new(test, ALONE);
    AUTHORITY.write_pem(&herd.folder().join("ca.pem")).expect("the folder is ours");
    herd.write(&format!(
        "{}[places]\nsource = \"google\"\nbase_url = \"https://{origin}\"\nca_file = \"ca.pem\"\n",
        herd.text()
    ));
    herd
}

/// Sends a WHATSAT, and returns the reply.
fn whatsat(herd: &Herd) -> String {
    let mut client = TcpStream::connect((herd.ip(), 12_000)).expect("it listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let lines = b"IAMAT kiwi +34.068930-118.445127 5\nWHATSAT kiwi 10 5\n";
    client.write_all(lines).expect("it reads");
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut reply = String::new();
    client.read_to_string(&mut reply).expect("text, and an end");
    reply
}

/// Runs a server behind `proxy` for one WHATSAT. Returns the reply, and all that the server printed and logged.
fn served_through(herd: &Herd, proxy: &str) -> (String, String) {
    let environment = [
        ("GOOGLE_MAPS_API_KEY", KEY),
        ("RUST_LOG", "trace"),
        ("HTTPS_PROXY", proxy),
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ];
    let mut server = herd.start_in(&environment, &["serve", "Alford"]);
    let mut said = server.line();
    let reply = whatsat(herd);
    server.signal(Signal::TERM);
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    said.push_str(&[ended.stdout, ended.stderr].concat());
    for log in fs::read_dir(herd.folder().join("log")).expect("a folder") {
        let log = fs::read(log.expect("a file").path()).expect("it can be read");
        said.push_str(&String::from_utf8_lossy(&log));
    }
    (reply, said)
}

#[test]
fn a_whatsat_is_answered_through_a_proxy_that_sees_only_ciphertext() {
    let (google, asked) = start_google();
    let (proxy, heard) = start_proxy(None);
    let herd = asking("proxied", google.address());
    let (reply, said) = served_through(&herd, &format!("http://me:{PASSWORD}@{proxy}"));
    assert!(reply.contains("\"name\" : \"Ackerman Union\""), "{reply}");
    assert!(asked.recv_timeout(DEADLINE).expect("a request").contains(KEY));
    let heard: Vec<Vec<u8>> = heard.try_iter().collect();
    let head = String::from_utf8_lossy(&heard[0]).into_owned();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", google.address())), "{head}");
    assert!(head.contains(&format!("\r\nProxy-Authorization: Basic {CREDENTIALS}\r\n")), "{head}");
    let seen = String::from_utf8_lossy(&heard.concat()).into_owned();
    for secret in [KEY, PASSWORD, CREDENTIALS] {
        assert!(!said.contains(secret) && !reply.contains(secret), "{secret}: {said}");
        assert!(secret == CREDENTIALS || !seen.contains(secret), "{secret}: {seen}");
    }
    assert_eq!((google.connections(), google.requests()), (1, 1), "and never past the proxy");
}

#[test]
fn a_refusal_by_the_proxy_is_not_taken_for_one_by_the_service() {
    let (google, _asked) = start_google();
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let (proxy, heard) = start_proxy(Some(refusal));
    let herd = asking("refusing", google.address());
    let (reply, said) = served_through(&herd, &format!("http://me:{PASSWORD}@{proxy}"));
    assert!(reply.contains("did not answer (phase: connect)"), "{reply}");
    assert!(said.contains(&format!("the proxy {proxy}: it answered 407")), "{said}");
    assert!(!said.contains("CANARY") && !said.contains(CREDENTIALS), "{said}");
    assert!(heard.try_iter().count() > 0);
    assert_eq!(google.connections(), 0);
}

#[test]
fn the_remedy_for_a_failure_of_the_proxy_is_about_the_proxy() {
    let (google, _asked) = start_google();
    let herd = asking("remedied", google.address());
    for (user, answer, remedy) in [
        ("", "407 Proxy Authentication Required", "https_proxy=http://user:password@host:port"),
        (
            "me:CANARY-p4ss@",
            "407 Proxy Authentication Required",
            "check user and password in https_proxy",
        ),
        ("me:CANARY-p4ss@", "403 Forbidden", "allows CONNECT to"),
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").leak();
        let (proxy, _heard) = start_proxy(Some(answer));
        let through = format!("http://{user}{proxy}");
        let environment =
            [("GOOGLE_MAPS_API_KEY", KEY), ("HTTPS_PROXY", &through), ("NO_PROXY", "")];
        let ended = herd.start_in(&environment, &["places", "check"]).end();
        assert_eq!(ended.code, Some(69), "{ended:?}");
        let said = ended.stdout;
        assert!(
            said.contains(&format!("the proxy {proxy}: it answered {}", &answer[9..12])),
            "{said}"
        );
        let line = said.lines().find(|line| line.starts_with("remedy")).expect("a remedy");
        assert!(line.contains(remedy) && line.contains("HTTPS_PROXY"), "{line}");
        assert!(!line.contains("the service runs"), "{line}");
        assert!(!said.contains("CANARY") && !said.contains(CREDENTIALS), "{said}");
    }
}

#[test]
fn serve_and_check_refuse_a_proxy_that_is_none_and_do_not_quote_it() {
    let herd = asking("malformed", SocketAddr::from(([127, 0, 0, 1], 443)));
    for proxy in [
        "socks5://me:CANARY@127.0.0.1:1080",
        "http://me:CANARY@",
        "http://127.0.0.1:CANARY",
        "http://me:CANARY@127.0.0.1:99999",
        "http://me:CANARY@127.0.0.1:0",
        "http://127.0.0.1:3128/?CANARY",
    ] {
        let environment =
            [("GOOGLE_MAPS_API_KEY", KEY), ("HTTPS_PROXY", proxy), ("RUST_LOG", "trace")];
        for command in [&["serve", "Alford"][..], &["places", "check"], &["check"]] {
            let ended = herd.start_in(&environment, command).end();
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{proxy}: {ended:?}");
            assert!(ended.stderr.contains(":12:10: error: HTTPS_PROXY "), "{proxy}: {ended:?}");
            assert!(!ended.stderr.contains("CANARY"), "{proxy}: {ended:?}");
        }
    }
    // A source without requests does not look at the proxy.
    herd.write(herd.text());
    let mut server = herd.start_in(&[("HTTPS_PROXY", "socks5://CANARY")], &["serve", "Alford"]);
    assert!(server.line().starts_with("Alford: clients "));
}
