//! Tests `herd places check`, and that the key appears nowhere: not in stdout, stderr, a log, a reply or the list of
//! processes, whatever the service sends. The service is a fake one on the loopback, without TLS. It replies only after
//! the test has read the list of processes.

use super::{ALONE, PAIR};
use crate::support::ports::RefusingPort;
use crate::support::process::{DEADLINE, Ended, Herd, Process, Stray, is_readable};
use rustix::io::retry_on_intr;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

/// A key as long as Google's, with characters that URLs and JSON encode.
const IN_FILE: &str = "AIzaCANARY/file+0123456789\"abcdefghijk=";
const IN_ENVIRONMENT: &str = "AIzaCANARY/environment+01234567\"abcd=";

/// The part of the key that no output may contain.
const CANARY: &str = "CANARY";

/// A service that replies to one request on each connection.
struct FakeService {
    listener: TcpListener,
}

impl FakeService {
    fn new() -> FakeService {
        FakeService { listener: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    fn places(&self, source: &str, keys: &str) -> String {
        places_at(self.listener.local_addr().expect("it listens"), source, keys)
    }

    /// Waits for a request, runs `meanwhile`, then replies. Returns the request.
    fn answer(&self, status: &str, body: &str, meanwhile: impl FnOnce()) -> String {
        assert!(is_readable(&self.listener, Instant::now() + DEADLINE), "nobody asks");
        let (mut caller, _) = self.listener.accept().expect("somebody calls");
        caller.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let request = read_request(&mut caller);
        meanwhile();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        caller.write_all([&head, body].concat().as_bytes()).expect("it reads");
        request
    }
}

fn places_at(address: SocketAddr, source: &str, keys: &str) -> String {
    format!("[places]\nsource = \"{source}\"\nbase_url = \"http://{address}\"\n{keys}")
}

/// Reads a head, and the body of the length that it names.
fn read_request(caller: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |length| length.trim().parse().expect("a number"));
            if request.len() >= head + 4 + length {
                return String::from_utf8(request).expect("text");
            }
        }
        let mut chunk = [0; 4096];
        // A call with a timeout is not restarted after a signal.
        let count = retry_on_intr(|| rustix::io::read(&*caller, &mut chunk)).expect("it writes");
        assert!(count > 0, "it hangs up after {text:?}");
        request.extend_from_slice(&chunk[..count]);
    }
}

fn found(source: &str, name: &str) -> String {
    let name = json(name);
    match source {
        "google" => format!(
            r#"{{"places": [{{"id": "ChIJ-1", "displayName": {{"text": {name}}},
                "location": {{"latitude": 34.07, "longitude": -118.445127}},
                "types": ["hospital", "point_of_interest"],
                "shortFormattedAddress": "757 Westwood Plaza"}}]}}"#
        ),
        _ => format!(
            r#"{{"html_attributions": [], "results": [{{"name": {name}, "place_id": "ChIJ-1",
                "geometry": {{"location": {{"lat": 34.07, "lng": -118.445127}}}},
                "types": ["hospital", "point_of_interest"],
                "vicinity": "757 Westwood Plaza"}}], "status": "OK"}}"#
        ),
    }
}

fn json(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// HTTP status, body, and the status that `herd` reports: a good reply (with the key in the place of a name), a refusal
/// (that quotes the key in three ways), and a reply that makes no sense.
fn answers(source: &str, key: &str) -> [(&'static str, String, &'static str); 3] {
    let encoded =
        key.replace('/', "%2F").replace('+', "%2B").replace('"', "%22").replace('=', "%3D");
    let said = json(&format!("API key {key} is not authorized: /json?key={encoded}&radius=1"));
    let denied = match source {
        "google" => (
            "403 Forbidden",
            format!(
                r#"{{"error": {{"code": 403, "message": {said}, "status": "PERMISSION_DENIED",
                    "details": [{{"reason": "SERVICE_DISABLED"}}]}}}}"#
            ),
        ),
        _ => (
            "200 OK",
            format!(r#"{{"error_message": {said}, "results": [], "status": "REQUEST_DENIED"}}"#),
        ),
    };
    let garbage = format!("<html>{key} {encoded} {said}</html>");
    [
        ("200 OK", found(source, &format!("UCLA {key} Medical Center")), "OK"),
        (denied.0, denied.1, "REQUEST_DENIED"),
        ("502 Bad Gateway", garbage, "UNKNOWN_ERROR"),
    ]
}

/// Runs `test` for each source, with different keys in a file and in the environment, and the key that is to be sent.
fn each_source(name: &str, mut test: impl FnMut(&Herd, &FakeService, &str, &str)) {
    for source in ["google", "google-legacy"] {
        for (keys, sent) in [("key_file = \"key\"\n", IN_FILE), ("", IN_ENVIRONMENT)] {
            let (herd, service) = (Herd::new(name, ALONE), FakeService::new());
            let file = herd.folder().join("key");
            fs::write(&file, format!("{IN_FILE}\n")).expect("the folder is ours");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
            herd.write(&[herd.text(), &service.places(source, keys)].concat());
            test(&herd, &service, source, sent);
        }
    }
}

fn start(herd: &Herd, args: &[&str]) -> Process {
    let environment = [("GOOGLE_MAPS_API_KEY", IN_ENVIRONMENT), ("RUST_LOG", "trace")];
    herd.start_in(&environment, args)
}

/// Asserts that the key is neither in the text nor in the text decoded up to three times.
fn assert_unseen(what: &str, text: &str) {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..4 {
        let seen = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!seen.contains(CANARY), "the key is in {what}: {text}");
        bytes = decoded(&bytes);
    }
}

/// Decodes `%41` and `\u0041` to `A`.
fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
    let (mut rest, mut out) = (text, Vec::new());
    while let Some((first, behind)) = rest.split_first() {
        let found = match rest {
            [b'%', a, b, behind @ ..] => hex(&[*a, *b]).map(|byte| (byte, behind)),
            [b'\\', b'u', b'0', b'0', a, b, behind @ ..] => {
                hex(&[*a, *b]).map(|byte| (byte, behind))
            }
            _ => None,
        };
        let (byte, behind) = found.unwrap_or((*first, behind));
        out.push(byte);
        rest = behind;
    }
    out
}

/// Returns the key in the encodings that an echo of the request may have.
fn echoes(key: &str) -> Vec<String> {
    let each = |form: &dyn Fn(u8) -> String| key.bytes().map(form).collect::<String>();
    vec![
        each(&|byte| format!("%{byte:02X}")),
        each(&|byte| format!("%{byte:02x}")),
        each(&|byte| format!("%25{byte:02X}")),
        each(&|byte| format!("\\u00{byte:02x}")),
        each(&|byte| format!("\\u00{byte:02X}")),
        each(&|byte| format!("\\u0025{byte:02X}")),
        each(&|byte| match byte {
            b'"' => "\\\"".to_owned(),
            b'/' => "\\/".to_owned(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("\\u00{byte:02x}"),
        }),
    ]
}

/// Returns all logs of a herd.
fn logs(herd: &Herd) -> String {
    let folder = fs::read_dir(herd.folder().join("log")).expect("a folder");
    let logs: Vec<Vec<u8>> =
        folder.map(|log| fs::read(log.expect("a file").path()).expect("it can be read")).collect();
    String::from_utf8_lossy(&logs.concat()).into_owned()
}

/// Sends a WHATSAT about a new location, lets `service` reply with `body`, and returns the server's reply.
fn whatsat(herd: &Herd, service: &FakeService, number: usize, body: &str) -> (String, String) {
    let mut client = TcpStream::connect((herd.ip(), 12_000)).expect("it listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let lines = format!("IAMAT c{number} +{number}-118.445127 5\nWHATSAT c{number} 10 5\n");
    client.write_all(lines.as_bytes()).expect("it reads");
    client.shutdown(Shutdown::Write).expect("it is open");
    let request = service.answer("200 OK", body, || {});
    let mut reply = String::new();
    client.read_to_string(&mut reply).expect("text, and an end");
    (reply, request)
}

fn assert_sent(request: &str, key: &str) {
    let encoded =
        key.replace('/', "%2F").replace('+', "%2B").replace('"', "%22").replace('=', "%3D");
    assert!(request.contains(key) || request.contains(&encoded), "another key: {request}");
}

/// Returns the value of a line of the output.
fn said<'r>(report: &'r Ended, name: &str) -> &'r str {
    let line = report.stdout.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}: {report:?}")).trim()
}

#[test]
fn a_check_shows_phases_and_the_first_place_and_never_the_key() {
    each_source("canary-check", |herd, service, source, key| {
        for (http, body, status) in answers(source, key) {
            let mut check = start(herd, &["places", "check"]);
            let seen = || assert_unseen("ps", &check.command_line());
            assert_sent(&service.answer(http, &body, seen), key);
            let ended = check.end();
            assert_unseen("stdout", &ended.stdout);
            assert_unseen("stderr", &ended.stderr);
            assert_eq!(said(&ended, "http "), &http[..3]);
            assert_eq!((said(&ended, "dns"), said(&ended, "tls")), ("-", "-"));
            for phase in ["connect", "first byte", "body"] {
                assert!(said(&ended, phase).ends_with(" ms"), "{ended:?}");
            }
            assert!(said(&ended, "status").starts_with(status), "{ended:?}");
            if status == "OK" {
                assert_eq!((ended.code, said(&ended, "places")), (Some(0), "1"), "{ended:?}");
                assert_eq!(said(&ended, "first  "), "UCLA *** Medical Center");
                assert_eq!(said(&ended, "  place_id"), "ChIJ-1");
                assert_eq!(said(&ended, "  types"), "hospital, point_of_interest");
                assert_eq!(said(&ended, "  vicinity"), "757 Westwood Plaza");
                assert_eq!(said(&ended, "  distance"), "0.119 km");
            } else {
                assert_eq!((ended.code, said(&ended, "places")), (Some(69), "0"), "{ended:?}");
                let remedy = said(&ended, "remedy");
                assert!(!remedy.is_empty());
                // The remedy does not advise to enable an API that cannot be enabled any more.
                let legacy = source == "google-legacy" && status == "REQUEST_DENIED";
                assert!(!legacy || remedy.contains("no project can begin with it"), "{remedy}");
                assert!(!legacy || !remedy.contains("enable"), "{remedy}");
            }
        }
    });
}

#[test]
fn a_server_never_shows_the_key() {
    each_source("canary-serve", |herd, service, source, key| {
        let mut server = start(herd, &["serve", "Alford"]);
        let started = server.line();
        for (http, body, status) in answers(source, key) {
            let mut client = TcpStream::connect((herd.ip(), 12_000)).expect("it listens");
            client.set_read_timeout(Some(DEADLINE)).expect("a socket");
            client
                .write_all(b"IAMAT kiwi +34.068930-118.445127 5\nWHATSAT kiwi 10 5\n")
                .expect("it reads");
            client.shutdown(Shutdown::Write).expect("it is open");
            let request =
                service.answer(http, &body, || assert_unseen("ps", &server.command_line()));
            assert_sent(&request, key);
            // The second attempt is answered at once, so that the test does not wait for its timeout.
            if status == "UNKNOWN_ERROR" {
                service.answer(http, &body, || {});
            }
            let mut reply = String::new();
            client.read_to_string(&mut reply).expect("text, and an end");
            assert!(reply.contains(status), "{reply}");
            assert_unseen("a reply", &reply);
        }
        server.signal(Signal::TERM);
        let ended = server.end();
        assert_unseen("stdout", &[started.as_str(), &ended.stdout].concat());
        assert_unseen("stderr", &ended.stderr);
        let logs: Vec<_> = fs::read_dir(herd.folder().join("log")).expect("a folder").collect();
        assert!(!logs.is_empty());
        for log in logs {
            let log = fs::read(log.expect("a file").path()).expect("it can be read");
            let log = String::from_utf8_lossy(&log);
            assert!(log.contains("google"), "it logs what failed: {log}");
            assert_unseen("the log", &log);
        }
    });
}

#[test]
fn a_check_distinguishes_configuration_from_failure() {
    let (herd, nobody) = (Herd::new("unconfigured", ALONE), RefusingPort::new());
    let embedded = herd.run(&["places", "check"]);
    assert_eq!((embedded.code, said(&embedded, "status")), (Some(0), "OK"), "{embedded:?}");
    assert_eq!(herd.run(&["places", "check", "photon"]).code, Some(78));
    assert_eq!(herd.run(&["places", "check", "file"]).code, Some(78));
    assert_eq!(herd.run(&["places", "check", "bing"]).code, Some(64));
    assert_eq!(herd.run(&["places", "check", "--at", "34"]).code, Some(64));
    assert_eq!(herd.run(&["places", "check", "--radius", "51"]).code, Some(64));
    herd.write(&[herd.text(), &places_at(nobody.address(), "photon", "")].concat());
    let no_key =
        herd.start_in(&[("GOOGLE_MAPS_API_KEY", "")], &["places", "check", "google"]).end();
    assert_eq!((no_key.code, no_key.stdout.as_str()), (Some(78), ""));
    let refused = herd.run(&["places", "check"]);
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(said(&refused, "connect").contains("FAILED"), "{refused:?}");
    let ms = said(&refused, "connect").split('.').next().expect("a number");
    assert!(ms.parse::<u32>().expect("a number") < 1_000, "it waits for nothing: {ms} ms");
    assert!(said(&refused, "status").starts_with("UNKNOWN_ERROR"), "{refused:?}");
}

/// For any status: what a provider sends besides the fields of an error may be places, which belong to the provider. So
/// the reason of the status line and the header fields are not logged either.
#[test]
fn only_the_fields_of_an_error_in_a_reply_are_logged() {
    const HOUSE: &str = "Quince\u{1b}House";
    for source in ["google", "google-legacy", "photon"] {
        let (herd, service) = (Herd::new("unlogged", ALONE), FakeService::new());
        let file = herd.folder().join("key");
        fs::write(&file, IN_FILE).expect("the folder is ours");
        let key = if source == "photon" { "" } else { "key_file = \"key\"\n" };
        herd.write(&[herd.text(), &service.places(source, key)].concat());
        let places = match source {
            "photon" => {
                r#"{"features": [{"properties": {"name": "Quince House"}}], "error": 1}"#.into()
            }
            source => found(source, "Quince House"),
        };
        let cut = &places[..places.len() - 3];
        let html = "<html>Quince House</html>".to_owned();
        let headed = format!("200 Quince House\r\nContent-Encoding: {HOUSE}");
        let mut server = start(&herd, &["serve", "Alford"]);
        let mut said = server.line();
        for (http, body) in [
            ("203 Quince House", cut),
            ("206 Partial Content", &places),
            ("300 Quince House", &places),
            ("400 Bad Request", &places),
            ("401 Unauthorized", cut),
            ("403 Forbidden", &html),
            ("404 Not Found", "Quince House"),
            ("418 Quince House", &places),
            ("501 Not Implemented", &places),
            ("200 Quince House", cut),
            ("200 OK", "\"Quince House\""),
            ("200 OK\r\nContent-Type: text/Quince House", &places),
            (&headed.replace('\u{1b}', " "), &places),
        ] {
            let mut client = TcpStream::connect((herd.ip(), 12_000)).expect("it listens");
            client.set_read_timeout(Some(DEADLINE)).expect("a socket");
            client.write_all(b"IAMAT k +34-118 5\nWHATSAT k 10 5\n").expect("it reads");
            client.shutdown(Shutdown::Write).expect("it is open");
            service.answer(http, body, || {});
            let mut reply = String::new();
            client.read_to_string(&mut reply).expect("text, and an end");
            assert!(!reply.contains("Quince"), "{source} {http}: {reply}");
            let mut check = start(&herd, &["places", "check"]);
            service.answer(http, body, || {});
            let ended = check.end();
            said.push_str(&[ended.stdout, ended.stderr].concat());
        }
        server.signal(Signal::TERM);
        let ended = server.end();
        said.push_str(&[ended.stdout, ended.stderr, logs(&herd)].concat());
        assert!(said.contains("HTTP 418") && !said.contains("Quince"), "{said}");
    }
}

/// RFC 9110, 15.3.4: 203 is a success whose body a proxy has changed.
#[test]
fn a_reply_of_203_is_as_good_as_one_of_200() {
    let (herd, service) = (Herd::new("transformed", ALONE), FakeService::new());
    fs::write(herd.folder().join("key"), IN_FILE).expect("the folder is ours");
    for source in ["google", "google-legacy"] {
        let keys = "key_file = \"key\"\n";
        herd.write(&[herd.text(), &service.places(source, keys)].concat());
        let mut check = start(&herd, &["places", "check"]);
        service.answer("203 Non-Authoritative", &found(source, "Quince House"), || {});
        let ended = check.end();
        assert_eq!((ended.code, said(&ended, "first  ")), (Some(0), "Quince House"), "{ended:?}");
    }
}

#[test]
fn a_check_warns_about_lines_of_resolv_conf_that_it_ignores() {
    let (herd, service) = (Herd::new("resolv", ALONE), FakeService::new());
    fs::write(herd.folder().join("rc"), "nameserver photon\nnameserver 127.0.0.1\n").expect("ours");
    herd.write(&[herd.text(), &service.places("photon", "resolv_conf = \"rc\"\n")].concat());
    let mut check = start(&herd, &["places", "check"]);
    service.answer("200 OK", r#"{"features": []}"#, || {});
    let ended = check.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warning = said(&ended, "warning");
    assert!(
        warning.ends_with("rc: line 1: \"photon\" is not an IP address: name server ignored"),
        "{warning}"
    );
}

#[test]
fn the_key_stays_hidden_if_the_service_echoes_the_request() {
    each_source("canary-echo", |herd, service, source, key| {
        let mut server = start(herd, &["serve", "Alford"]);
        let mut said = server.line();
        for (number, echo) in echoes(key).into_iter().enumerate() {
            let name = format!("\"{source} /json?key={echo}&radius=1\"");
            let body = match source {
                "google" => format!(
                    r#"{{"places": [{{"id": {name}, "displayName": {{"text": {name}}},
                        "location": {{"latitude": 34.07, "longitude": -118.445127}}}}]}}"#
                ),
                _ => format!(
                    r#"{{"html_attributions": [{name}], "info_messages": [{name}], {name}: 1,
                        "results": [{{"name": {name}}}], "status": "OK"}}"#
                ),
            };
            let (reply, request) = whatsat(herd, service, number, &body);
            assert_sent(&request, key);
            assert!(reply.contains("/json?key=***&radius=1"), "{echo}: {reply}");
            assert_unseen("a reply", &reply);
        }
        server.signal(Signal::TERM);
        let ended = server.end();
        said.push_str(&[ended.stdout, ended.stderr].concat());
        assert_unseen("what it says", &said);
        assert_unseen("the log", &logs(herd));
    });
}

#[test]
fn a_source_that_needs_no_key_is_sent_none() {
    let (herd, service) = (Herd::new("canary-photon", ALONE), FakeService::new());
    herd.write(&[herd.text(), &service.places("photon", "")].concat());
    let mut server = start(&herd, &["serve", "Alford"]);
    let mut said = [server.line(), server.command_line()].concat();
    let body = r#"{"type": "FeatureCollection", "features": [{"type": "Feature",
        "geometry": {"type": "Point", "coordinates": [-118.44, 34.07]},
        "properties": {"osm_type": "N", "osm_id": 1, "osm_key": "amenity", "osm_value": "bar",
        "name": "Bar Nil"}}]}"#;
    let (reply, request) = whatsat(&herd, &service, 34, body);
    assert!(reply.contains("Bar Nil"), "{reply}");
    server.signal(Signal::TERM);
    let ended = server.end();
    said.push_str(&[ended.stdout, ended.stderr, reply, request, logs(&herd)].concat());
    assert_unseen("what a herd with photon says", &said);
}

#[test]
fn a_key_is_in_no_command_line_and_in_no_other_environment() {
    let (herd, service) = (Herd::new("canary-up", PAIR), FakeService::new());
    let file = herd.folder().join("key");
    fs::write(&file, format!("{IN_FILE}\n")).expect("the folder is ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    herd.write(&[herd.text(), &service.places("google", "key_file = \"key\"\n")].concat());
    for in_environment in ["", IN_ENVIRONMENT] {
        let environment = [("GOOGLE_MAPS_API_KEY", in_environment), ("RUST_LOG", "trace")];
        let mut up = herd.start_in(&environment, &["up"]);
        let mut said = up.lines_until("SERVER ");
        let mut rows = up.lines_until("To report ");
        said.append(&mut rows.clone());
        rows.retain(|row| row.ends_with(|c: char| c.is_ascii_digit()));
        let servers: Vec<Stray> =
            rows.iter().map(|row| Stray::new(row.rsplit(' ').next().expect("its id"))).collect();
        assert_eq!(servers.len(), 2);
        for id in servers.iter().map(Stray::id).chain([up.id().to_string().as_str()]) {
            let read = |name: &str| fs::read(format!("/proc/{id}/{name}")).expect("it runs");
            assert_unseen("a command line", &String::from_utf8_lossy(&read("cmdline")));
            let environment = String::from_utf8_lossy(&read("environ")).into_owned();
            let holders: Vec<&str> =
                environment.split('\0').filter(|variable| variable.contains(CANARY)).collect();
            match in_environment {
                "" => assert_eq!(holders, [""; 0]),
                key => assert_eq!(holders, [format!("GOOGLE_MAPS_API_KEY={key}")]),
            }
        }
        up.signal(Signal::TERM);
        let ended = up.end();
        said.extend([ended.stdout, ended.stderr, logs(&herd)]);
        assert_unseen("what herd up says", &said.concat());
        servers.iter().for_each(Stray::has_ended);
    }
}

#[test]
fn no_message_about_a_faulty_configuration_shows_a_key() {
    const KEY: &str = "AIzaSyCANARY-0123456789_abcdefghijklmnop";
    let herd = Herd::new("canary-faults", ALONE);
    fs::write(herd.folder().join("two"), format!("{KEY}\n{KEY}\n")).expect("the folder is ours");
    for lines in [
        "key = \"KEY\"",
        "api_key = \"KEY\"",
        "key_file = \"KEY\"",
        "key_file = \"two\"",
        "key_file = KEY",
        "key_file = \"KEY",
        "key_file = [\"KEY\"]",
        "ca_file = \"KEY\"",
        "base_url = \"https://places.googleapis.com/?key=KEY\"",
        "base_url = \"https://me:KEY@places.googleapis.com\"",
        "base_url = \"KEY\"",
        "proxy = \"http://me:KEY@\"",
        "proxy = \"socks5://me:KEY@a.example:1\"",
        "fields = \"KEY\"",
        "language = \"KEY of mine\"",
        "rank = \"KEY\"",
        "KEY = 1",
        "KEY",
    ] {
        let lines = lines.replace("KEY", KEY);
        herd.write(&format!("{}[places]\nsource = \"google\"\n{lines}\n", herd.text()));
        for command in [&["check"][..], &["serve", "Alford"], &["places", "check"], &["up"]] {
            let ended = start(&herd, command).end();
            assert_eq!(ended.code, Some(78), "{lines}: {ended:?}");
            assert_unseen("what is said of a fault", &[ended.stdout, ended.stderr].concat());
        }
    }
    herd.write(&format!("{}[places]\nsource = \"{KEY}\"\n", herd.text()));
    let ended = start(&herd, &["check"]).end();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert_unseen("what is said of a source", &ended.stderr);
    herd.write(&format!("{}[places]\nsource = \"google\"\n", herd.text()));
    let two = [("GOOGLE_MAPS_API_KEY", "AIzaCANARY and more"), ("RUST_LOG", "trace")];
    let ended = herd.start_in(&two, &["serve", "Alford"]).end();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert_unseen("what is said of the variable", &ended.stderr);
    assert_unseen("the log", &logs(&herd));
}
