//! The command line, tested with the real binary: its output, its exit statuses, and that it leaves no process behind.
//!
//! Each wait is for an event (a line, the end of a process), and has a deadline; no test sleeps. A guard kills each
//! process by its id when the test ends, also when an assertion fails.
//!
//! Each test has a loopback address of its own (all of 127/8 is the loopback). So all tests can use the same ports, and
//! tests and runs do not disturb each other.

mod bus_check;
mod first_hour;
#[cfg(feature = "embedded-places")]
mod health;
mod logs;
mod patience;
#[cfg(feature = "pki")]
mod pki;
mod places_check;
mod through_proxy;
mod unprinted;
mod up_bus;

use crate::support::process::{DEADLINE, Ended, Herd, Out, Process, Stray, is_readable, until};
use nix::sys::signal::SigSet;
use rustix::process::Signal;
use rustix::pty::{self, OpenptFlags};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const TRIANGLE: &[(&str, &[&str])] =
    &[("Alford", &["Bolden"]), ("Bolden", &["Parker"]), ("Parker", &["Alford"])];
const PAIR: &[(&str, &[&str])] = &[("Alford", &["Bolden"]), ("Bolden", &[])];
const ALONE: &[(&str, &[&str])] = &[("Alford", &[])];

const KIWI: &str = "+34.068930-118.445127";

// Help, version, and wrong command lines.

#[test]
fn help_and_version_exit_with_0_and_explain() {
    let help = Process::run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("$ herd client Alford iamat"), "{}", help.stdout);
    assert!(help.stdout.contains("\n  78  "), "{}", help.stdout);
    let version = Process::run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains("GeoNames") && version.stdout.contains("CC BY 4.0"));
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    for wrong in [&["fold"][..], &["serve"], &["client"], &["check", "--strictly"], &[]] {
        let ended = Process::run(wrong);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{wrong:?}");
        assert!(ended.stderr.contains("Usage: herd"), "{}", ended.stderr);
    }
}

// check

#[test]
fn the_shipped_topology_has_one_warning_and_it_is_about_parker() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/topology.toml");
    let checked = Process::run(&["check", "--topology", shipped]);
    assert_eq!(checked.code, Some(0));
    let summary = "5 servers, 5 edges, no faults, 1 warning";
    assert_eq!(checked.stdout, format!("{shipped} (--topology): {summary}\n"));
    assert!(checked.stderr.contains("warning: when \"Parker\" stops"), "{}", checked.stderr);
    assert_eq!(Process::run(&["check", "--strict", "--topology", shipped]).code, Some(78));
}

#[test]
fn every_command_prints_all_faults_and_exits_with_78() {
    let herd = Herd::new("faults", ALONE);
    herd.write("[[server]]\nname = \"Alford\"\nclient = \"nowhere\"\nneighbours = [\"Wilkes\"]\n");
    for command in [&["check"][..], &["serve", "Alford"], &["up"], &["client", "Alford"]] {
        let ended = herd.run(command);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{command:?}");
        let path = herd.topology();
        for place in [":3:10: error: ", ":4:15: error: "] {
            assert!(ended.stderr.contains(&format!("{path}{place}")), "{}", ended.stderr);
        }
        assert!(ended.stderr.contains("= remedy: "), "{}", ended.stderr);
        let last = ended.stderr.lines().last().expect("there are lines");
        assert!(
            last.starts_with(&format!("herd: {path} (--topology): ")) && last.ends_with(" faults"),
            "{last}"
        );
    }
}

// serve

#[test]
fn serve_says_where_it_listens_and_ends_with_0_at_sigterm() {
    let herd = Herd::new("serve", ALONE);
    let mut alford = herd.start(&["serve", "Alford"]);
    let line = alford.line();
    let ip = herd.ip();
    let start = format!("Alford: clients {ip}:12000, neighbours {ip}:12100, log ");
    let log = line.strip_prefix(&start).unwrap_or_else(|| panic!("{line}")).to_string();
    assert_eq!(herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]).code, Some(0));

    let limits = fs::read_to_string(format!("/proc/{}/limits", alford.id())).expect("it runs");
    let files: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(files[3], files[4], "the soft limit is raised to the hard one");

    alford.signal(Signal::TERM);
    assert_eq!(alford.end().code, Some(0));
    let log = fs::read_to_string(log).expect("the log is where the line said");
    let expected = [
        "INFO  herd ",
        ": Alford of ",
        "INFO  [places] source = embedded, rank = prominence, ",
        "INFO  [log] format = text, rotate_bytes = 100000000, ",
        "INFO  [limits] line_bytes = 16384, ",
        "INFO  no [journal]: Alford forgets its reports when it ends\n",
        &format!("INFO  descriptors: {}, so at most ", files[3]),
        "IAMAT kiwi",
        "Alford has ended\n",
    ];
    let places = expected.map(|part| log.find(part).unwrap_or_else(|| panic!("{part}: {log}")));
    assert!(places.is_sorted() && log.ends_with("Alford has ended\n"), "{log}");
}

#[test]
fn an_invalid_directive_of_rust_log_is_reported_once_on_stderr_and_in_the_log() {
    let herd = Herd::new("rust-log", ALONE);
    for (asked, warnings) in
        [("", 0), ("warn,herd::traffic=info", 0), ("herd=inof", 1), ("inof", 1), ("off,in=of", 1)]
    {
        let mut alford = herd.start_in(&[("RUST_LOG", asked)], &["serve", "Alford"]);
        let line = alford.line();
        assert_eq!(herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]).code, Some(0));
        alford.signal(Signal::TERM);
        let ended = alford.end();
        assert_eq!(ended.code, Some(0));
        let log = line.rsplit_once(", log ").expect("it is named").1;
        let log = fs::read_to_string(log).expect("the log is where the line said");
        for said in [&ended.stderr, &log] {
            assert_eq!(said.matches("RUST_LOG: ignored \"").count(), warnings, "{asked}: {said}");
        }
        let has_traffic = log.contains("IAMAT kiwi");
        assert_eq!(has_traffic, !asked.starts_with("off"), "{asked:?}: what is left, else info");
    }
    // A server does not need stderr for that.
    for out in Out::ALL {
        let alford = herd.start_unheard_in(&[("RUST_LOG", "inof")], &["serve", "Alford"], out);
        until("it answers", || (herd.run(&["status"]).code == Some(0)).then_some(()));
        alford.signal(Signal::TERM);
        assert_eq!(alford.code(), Some(0), "{out:?}");
    }
}

#[test]
fn signals_that_were_blocked_at_the_start_end_the_program_nevertheless() {
    use nix::sys::signal::Signal::{SIGCHLD, SIGTERM};
    let blocked: SigSet = [SIGTERM, SIGCHLD].into_iter().collect();
    for command in [&["serve", "Alford"][..], &["up"]] {
        let herd = Herd::new("blocked", ALONE);
        // The signals are blocked in this thread; the child inherits that.
        blocked.thread_block().expect("they can be blocked");
        let mut started = herd.start(command);
        blocked.thread_unblock().expect("they were not before");
        started.line();
        started.signal(Signal::TERM);
        assert_eq!(started.end().code, Some(0), "{command:?}");
    }
}

#[test]
fn other_users_cannot_read_the_folders_that_a_server_makes() {
    let herd = Herd::new("modes", ALONE);
    let serve = format!("umask 0; exec \"{}\" serve Alford", env!("CARGO_BIN_EXE_herd"));
    let serve = format!("{serve} --topology '{}'", herd.topology());
    let mut alford = Process::shell_started(&serve);
    let log = alford.line().rsplit_once(", log ").expect("it is named").1.to_owned();
    for (path, mode) in [
        (herd.folder().join("log"), 0o750),
        (herd.folder().join("run"), 0o750),
        (herd.folder().join("run/Alford.sock"), 0o660),
        (log.into(), 0o640),
    ] {
        let is = fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(format!("{is:o}"), format!("{mode:o}"), "{}", path.display());
    }
}

#[test]
fn serve_refuses_a_name_that_is_not_in_its_topology() {
    let herd = Herd::new("unknown", PAIR);
    let ended = herd.run(&["serve", "Wilkes"]);
    assert_eq!(ended.code, Some(64));
    let said = format!(
        "herd: {} (--topology) has no server \"Wilkes\"; its servers are Alford, Bolden\n",
        herd.topology()
    );
    assert_eq!(ended.stderr, said);
}

#[test]
fn serve_leaves_a_plain_server_to_its_own_program() {
    let herd = Herd::new("plain", PAIR);
    herd.write(&herd.text().replace("name = \"Bolden\"", "name = \"Bolden\"\nplain = true"));
    assert_eq!(herd.run(&["serve", "Bolden"]).code, Some(64));
}

#[test]
fn serve_exits_with_69_when_an_address_is_in_use_and_leaves_no_socket() {
    for port in [12_000, 12_100] {
        // Each port is on a new address, because a child process may keep a copy of a closed listener for an instant.
        let herd = Herd::new("in-use", ALONE);
        let taken = TcpListener::bind((herd.ip(), port)).expect("the address is ours");
        let ended = herd.run(&["serve", "Alford"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""));
        let address = taken.local_addr().expect("it listens").to_string();
        let said = &ended.stderr;
        assert!(said.contains(&address) && said.contains("in use"), "{said}");
        assert!(!herd.folder().join("run/Alford.sock").exists(), "it goes with the server");
    }
}

#[test]
fn serve_exits_with_73_if_it_cannot_create_the_log() {
    let herd = Herd::new("no-log", ALONE);
    herd.write(&format!("{}[log]\nfolder = \"/dev/null/log\"\n", herd.text()));
    let ended = herd.run(&["serve", "Alford"]);
    assert_eq!(ended.code, Some(73));
    assert!(ended.stderr.contains("/dev/null/log"), "{}", ended.stderr);
}

#[test]
fn serve_exits_with_78_when_its_places_have_faults() {
    let herd = Herd::new("places", ALONE);
    fs::write(herd.folder().join("p.geojsonl"), "no JSON\n").expect("the folder is ours");
    herd.write(&format!("{}[places]\nsource = \"file\"\nfile = \"p.geojsonl\"\n", herd.text()));
    let ended = herd.run(&["serve", "Alford"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("p.geojsonl: line 1: "), "{}", ended.stderr);
}

/// Returns a herd of one server whose places come from the file `name` with this text.
fn with_places(test: &str, name: &str, text: impl AsRef<[u8]>) -> Herd {
    let herd = Herd::new(test, ALONE);
    fs::write(herd.folder().join(name), text).expect("the folder is ours");
    herd.write(&format!("{}[places]\nsource = \"file\"\nfile = \"{name}\"\n", herd.text()));
    herd
}

const SHOP: &str = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[-118.4,34.1]},"properties":{"name":"Shop"}}"#;

#[test]
fn check_and_places_check_report_the_same_faults_of_a_file_of_places() {
    let good = format!("{SHOP}\n");
    let nowhere = SHOP.replace("\"Point\"", "null");
    let collection = format!("{{\"type\":\"FeatureCollection\",\"features\":[\n{SHOP}\n]}}");
    for (name, text, code) in [
        ("places.json", good.clone(), 0),
        ("places.GEOJSON", collection.clone(), 0),
        ("p.jsonl", format!("{good}{nowhere}\n{nowhere}"), 0),
        ("p.csv", good.clone(), 78),
        ("p.txt", good, 78),
        ("p.json", String::new(), 78),
        ("p.geojson", nowhere, 78),
        ("p.geojsonl", SHOP.replace("34.1", "134.1"), 78),
        ("p.geojsons", SHOP.replace("}}", "}"), 78),
        ("p.geojsonseq", collection.replace(']', ""), 78),
    ] {
        let herd = with_places("places-checked", name, text);
        let checked = herd.run(&["check"]);
        let asked = herd.run(&["places", "check"]);
        assert_eq!((checked.code, asked.code), (Some(code), Some(code)), "{checked:?} {asked:?}");
        // They print the same lines about the file, and different lines about the rest.
        let about = |stderr: &str| {
            let is_about = |line: &&str| line.contains(&format!("{name}: "));
            stderr.lines().filter(is_about).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(about(&checked.stderr), about(&asked.stderr), "{checked:?} {asked:?}");
        let files: Vec<_> = fs::read_dir(herd.folder()).expect("a folder").collect();
        assert_eq!(files.len(), 2, "nothing was made: {files:?}");
    }
}

/// Returns a topology with a service on this machine that needs a key, and `keys` under `[places]`.
fn asking_google(herd: &Herd, keys: &str) -> String {
    let google = "[places]\nsource = \"google\"\nbase_url = \"https://127.0.0.1:9\"\n";
    [herd.text(), google, keys].concat()
}

#[test]
fn check_reads_the_key_and_the_certificates_of_a_source_as_a_server_does() {
    let herd = Herd::new("checked-files", ALONE);
    let file = |name: &str, text: &str, mode| {
        let path = herd.folder().join(name);
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let checked_with = |key, keys: &str, code| {
        herd.write(&asking_google(&herd, keys));
        let checked = herd.start_in(&[("GOOGLE_MAPS_API_KEY", key)], &["check"]).end();
        assert_eq!(checked.code, Some(code), "{keys}: {checked:?}");
        checked.stderr
    };
    let checked = |keys: &str, code| checked_with("", keys, code);
    file("good.key", "CANARY\n", 0o600);
    file("open.key", "CANARY\n", 0o644);
    file("two.key", "CANARY\nCANARY\n", 0o600);
    file("text.pem", "CANARY\n", 0o600);
    assert_eq!(checked_with("KEY", "", 0), "");
    assert!(checked("", 0).contains(":12:10: warning: GOOGLE_MAPS_API_KEY is not set"));
    let bad = checked_with("CANARY and more", "", 78);
    assert!(bad.contains(":12:10: error: GOOGLE_MAPS_API_KEY: it has"), "{bad}");
    assert_eq!(checked("key_file = \"good.key\"\n", 0), "");
    assert!(checked("key_file = \"open.key\"\n", 0).contains("open.key: other users may open"));
    assert_eq!(herd.run(&["check", "--strict"]).code, Some(78), "a warning is a fault then");
    for (keys, what) in [
        ("key_file = \"two.key\"\n", "two.key: it has a character that no key has"),
        (
            "key_file = \"good.key\"\nca_file = \"text.pem\"\n",
            "text.pem should hold a certificate in PEM",
        ),
    ] {
        let said = checked(keys, 78);
        assert!(said.contains(what) && !said.contains("CANARY"), "{said}");
        let served = herd.run(&["serve", "Alford"]);
        assert_eq!((served.code, served.stderr), (Some(78), said), "a server says the same");
    }
}

#[test]
fn all_faults_of_files_and_variables_are_reported_at_once_with_a_place_in_the_topology() {
    let herd = Herd::new("led-to", ALONE);
    fs::write(herd.folder().join("two.key"), "CANARY\nCANARY\n").expect("the folder is ours");
    fs::write(herd.folder().join("text.pem"), "CANARY\n").expect("the folder is ours");
    let bus =
        "[bus]\nnats = [\"nats://127.0.0.1\"]\ncredentials = \"text.pem\"\nca_file = \"two.key\"\n";
    let keys = format!("key_file = \"two.key\"\nca_file = \"text.pem\"\n[peer_tls]\n{bus}");
    herd.write(&asking_google(&herd, &keys));
    for command in [&["check"][..], &["serve", "Alford"]] {
        let ended = herd.start_in(&[("https_proxy", "socks5://CANARY")], command).end();
        assert_eq!(ended.code, Some(78), "{ended:?}");
        let said = ended.stderr;
        for (place, file) in [
            ("14:12", "two.key: "),
            ("15:11", "text.pem "),
            ("12:10", "https_proxy is not the URL of an HTTP proxy"),
            ("19:15", "cannot read the credentials: "),
            ("20:11", "cannot read the certificates to trust: "),
        ] {
            let line = said.lines().find(|line| line.contains(&format!(":{place}: error: ")));
            assert!(line.is_some_and(|line| line.contains(file)), "{file}: {said}");
        }
        assert!(said.contains(":16:1: error: ") && said.contains(": 6 faults\n"), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
    assert_eq!(logged(&herd), "", "a start that fails leaves no log");
}

#[test]
fn no_command_waits_for_a_pipe_in_the_place_of_a_file() {
    let herd = Herd::new("pipes", ALONE);
    let folder = herd.folder().display().to_string();
    let made = Process::shell(&format!(
        "cd {folder} && mkdir -p pki j && mkfifo pipe.json pki/ca.pem pki/Alford.pem j/journal.1"
    ));
    assert_eq!(made.code, Some(0), "{made:?}");
    let pipe = format!("{folder}/pipe.json");
    let refused = |args: &[&str], code| {
        // `herd journal` reads no topology.
        let is_journal = args[0] == "journal";
        let ended = if is_journal { Process::run(args) } else { herd.run(args) };
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        let said = [ended.stdout, ended.stderr].concat();
        assert!(said.contains("regular file"), "{args:?}: {said}");
    };
    for command in ["check", "serve Alford", "client Alford", "status", "up", "pki init"] {
        let line = format!("{} {command} --topology {pipe}", env!("CARGO_BIN_EXE_herd"));
        let ended = Process::shell(&line);
        assert_eq!(ended.code, Some(78), "{command}: {ended:?}");
        assert!(ended.stderr.contains("it is not a regular file"), "{command}: {ended:?}");
    }
    for key in ["key_file", "ca_file", "hosts_file", "resolv_conf"] {
        for file in [pipe.as_str(), "/dev/zero", &folder] {
            herd.write(&asking_google(&herd, &format!("{key} = \"{file}\"\n")));
            refused(&["check"], 78);
            refused(&["serve", "Alford"], 78);
            refused(&["places", "check"], 78);
        }
    }
    let places = "[places]\nsource = \"file\"\nfile = \"pipe.json\"\n";
    herd.write(&[herd.text(), places].concat());
    refused(&["check"], 78);
    refused(&["serve", "Alford"], 78);
    herd.write(&[herd.text(), "[peer_tls]\nfolder = \"pki\"\n"].concat());
    refused(&["check"], 78);
    refused(&["serve", "Alford"], 78);
    herd.write(herd.text());
    for path in [pipe.as_str(), "/dev/zero", &format!("{folder}/j")] {
        refused(&["journal", "check", path], 74);
        refused(&["journal", "dump", path], 74);
    }
    refused(&["journal", "compact", &format!("{folder}/j")], 74);
}

#[test]
fn warnings_about_a_file_of_places_are_logged_at_the_start() {
    let nowhere = SHOP.replace("\"Point\"", "null");
    let herd = with_places("places-doubtful", "p.json", [SHOP, &nowhere, &nowhere].join("\n"));
    let passed_over = "p.json: skipped 2 records without a Point, the first on line 2";
    let no_kind =
        "p.json: no record has a known category, so each place is only a point_of_interest;";
    for command in [&["check"][..], &["places", "check"]] {
        let ended = herd.run(command);
        for said in [passed_over, no_kind] {
            assert_eq!(ended.stderr.matches(said).count(), 1, "{ended:?}");
        }
    }
    assert_eq!(herd.run(&["check", "--strict"]).code, Some(78), "a warning is a fault then");
    let mut server = herd.start(&["serve", "Alford"]);
    server.line();
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
    let log = logged(&herd);
    for said in [passed_over, no_kind] {
        assert_eq!(log.matches(said).count(), 1, "{log}");
    }
}

/// Returns all logs of `herd`'s servers.
fn logged(herd: &Herd) -> String {
    let logs = fs::read_dir(herd.folder().join("log")).expect("a folder");
    // One is a link to the newest.
    let files = logs.map(|log| log.expect("a file").path()).filter(|path| !path.is_symlink());
    files.map(|path| fs::read_to_string(path).expect("it can be read")).collect()
}

#[test]
fn the_log_names_the_limit_of_places_that_rejected_a_whatsat() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it listens");
    let herd = Herd::new("places-limits", ALONE);
    let text = herd.text();
    herd.write(&format!(
        "{text}whatsats_per_connection = 1\n[places]\nsource = \"google\"\nbase_url = \"https://{address}\"\n\
         deadline_ms = 600_000\nin_flight = 1\nqueue = 0\n"
    ));
    let key = [("GOOGLE_MAPS_API_KEY", "key"), ("HTTPS_PROXY", ""), ("https_proxy", "")];
    let mut alford = herd.start_in(&key, &["serve", "Alford"]);
    alford.line();
    let ask = |number: usize| {
        let mut client = TcpStream::connect((herd.ip(), 12_000)).expect("it listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let lines = format!("IAMAT c{number} +{number}+2 5\nWHATSAT c{number} 10 5\n");
        client.write_all(lines.as_bytes()).expect("it reads");
        client
    };
    let _first = ask(0);
    assert!(is_readable(&silent, Instant::now() + DEADLINE), "the first question is under way");
    let mut second = ask(1);
    let (mut reply, mut piece) = (String::new(), [0; 512]);
    while !reply.ends_with("\n\n") {
        let taken = second.read(&mut piece).expect("a reply");
        assert!(taken > 0, "{reply}");
        reply.push_str(str::from_utf8(&piece[..taken]).expect("text"));
    }
    assert!(reply.contains("OVER_QUERY_LIMIT"), "{reply}");
    alford.signal(Signal::TERM);
    assert_eq!(alford.end().code, Some(0));
    let log = logged(&herd);
    assert!(log.contains("limit: places.queue = 0: google"), "{log}");
}

#[test]
fn clients_that_wait_for_places_when_the_server_is_stopped_get_a_reply() {
    let herd = Herd::new("stops", ALONE);
    // The kernel accepts connections, and nothing is ever sent on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it listens");
    let text = herd.text().replace("drain_ms = 2000\n", "drain_ms = 30000\n");
    // A handshake may take a quarter of the deadline.
    let places = "[places]\nsource = \"google\"\ndeadline_ms = 240000\n";
    herd.write(&format!("{text}{places}base_url = \"https://{address}\"\n"));
    let key = [("GOOGLE_MAPS_API_KEY", "key"), ("HTTPS_PROXY", ""), ("https_proxy", "")];
    let mut alford = herd.start_in(&key, &["serve", "Alford"]);
    alford.line();
    let mut clients: Vec<TcpStream> = (0..6)
        .map(|number| {
            let mut client = TcpStream::connect((herd.ip(), 12_000)).expect("it listens");
            client.set_read_timeout(Some(DEADLINE)).expect("a socket");
            let lines = format!("IAMAT c{number} +{number}+2 5\nWHATSAT c{number} 10 5\n");
            client.write_all(lines.as_bytes()).expect("it reads");
            let mut at = [0; 4];
            client.read_exact(&mut at).expect("a reply");
            client
        })
        .collect();
    assert!(is_readable(&silent, Instant::now() + DEADLINE), "one handshake has begun");
    let begun = Instant::now();
    alford.signal(Signal::TERM);
    for client in &mut clients {
        let mut reply = String::new();
        client.read_to_string(&mut reply).expect("text, and an end");
        assert!(reply.ends_with("\"status\" : \"UNKNOWN_ERROR\"\n}\n\n"), "{reply}");
    }
    assert_eq!(alford.end().code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits for the drain's end");
}

#[test]
fn serve_does_not_start_if_its_parent_has_ended_already() {
    let herd = Herd::new("orphan", ALONE);
    let nobody = i32::MAX.to_string();
    assert_eq!(herd.run(&["serve", "Alford", "--parent", &nobody]).code, Some(69));
}

// status

#[test]
fn status_shows_servers_that_run_and_servers_that_do_not() {
    let herd = Herd::new("status", TRIANGLE);
    let nobody = herd.run(&["status"]);
    assert_eq!(nobody.code, Some(69));
    assert_eq!(
        nobody.stdout.matches("it does not run here, or its socket").count(),
        3,
        "{}",
        nobody.stdout
    );
    let folder = herd.folder().join("run");
    fs::create_dir_all(folder.join("Parker.sock")).expect("the folder is ours");
    fs::write(folder.join("Alford.sock"), "").expect("the folder is ours");
    for name in ["Parker", "Alford"] {
        let path = folder.join(format!("{name}.sock"));
        let shown = herd.run(&["status", name, name, name]).stdout;
        let what = format!("it does not run here: no server listens at {}", path.display());
        assert_eq!(shown.matches(&what).count(), 1, "each is told once: {shown}");
        let refused = herd.run(&["serve", name]);
        assert_eq!(refused.code, Some(69), "{refused:?}");
        let what =
            format!("{} for herd status: the file is not a socket: move it away", path.display());
        assert!(refused.stderr.contains(&what), "{refused:?}");
    }
    fs::remove_dir_all(folder).expect("the folder is ours");

    let alford = herd.serve("Alford");
    let mut bolden = herd.serve("Bolden");
    assert_eq!(herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]).code, Some(0));
    let shown = until("both know of kiwi and of each other", || {
        let shown = herd.run(&["status", "Alford", "Bolden"]);
        (!shown.stdout.contains("Bolden(down)")
            && shown.stdout.matches("  0        1  ").count() == 2)
            .then_some(shown)
    });
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert!(lines[0].starts_with("server  process  up for  clients  known  state"), "{lines:?}");
    assert!(lines[1].starts_with(&format!("Alford  {}", alford.id())), "{lines:?}");
    assert!(lines[1].ends_with("Bolden Parker(down)"), "{lines:?}");
    let state = |line: &str| line.split_whitespace().nth(5).map(str::to_owned);
    assert_eq!(state(lines[1]), state(lines[2]), "they know the same");

    let json = herd.run(&["status", "Bolden", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!(told["server"], "Bolden");
    assert_eq!(told["process"], bolden.id());
    assert_eq!((&told["known_clients"], &told["connected_clients"]), (&1.into(), &0.into()));
    assert!(told["journal"].is_null(), "it has none: {told}");
    assert!(told["longest_lag_ms"].as_f64() > Some(0.0), "no turn takes no time: {told}");

    let socket = herd.folder().join("run/Bolden.sock");
    assert_eq!(fs::metadata(&socket).expect("it is there").permissions().mode() & 0o777, 0o660);
    assert_eq!(asked(&socket, "STATUS\n").lines().count(), 1);
    assert_eq!(asked(&socket, "IAMAT kiwi +1+1 1\n"), "? IAMAT kiwi +1+1 1\n");
    bolden.signal(Signal::TERM);
    assert_eq!(bolden.end().code, Some(0));
    assert!(!socket.exists());
    assert_eq!(herd.run(&["status"]).code, Some(69));
}

/// Sends only `line` to the server that listens at `socket`, and returns the reply.
fn asked(socket: &Path, line: &str) -> String {
    let mut server = UnixStream::connect(socket).expect("it listens");
    server.set_read_timeout(Some(DEADLINE)).expect("a socket");
    server.write_all(line.as_bytes()).expect("it reads");
    server.shutdown(Shutdown::Write).expect("it stands");
    let mut answer = String::new();
    server.read_to_string(&mut answer).expect("text, and an end");
    answer
}

#[test]
fn a_second_server_of_the_same_name_and_folder_does_not_start() {
    let herd = Herd::new("twice", ALONE);
    let _first = herd.serve("Alford");
    // The second topology has other addresses, but the same folder.
    let other = herd.text().replace(&herd.ip().to_string(), "127.0.0.1");
    fs::write(herd.folder().join("other.toml"), other.replace(":12", ":22")).expect("ours");
    let topology = herd.folder().join("other.toml");
    let ended = Process::run(&["serve", "Alford", "--topology", &topology.to_string_lossy()]);
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("run/Alford.sock"), "{}", ended.stderr);
}

#[test]
fn without_a_folder_for_sockets_there_is_no_status() {
    let herd = Herd::new("unasked", ALONE);
    herd.write(&format!("{}[status]\nfolder = \"\"\n", herd.text()));
    let _alford = herd.serve("Alford");
    assert!(!herd.folder().join("run").exists());
    let asked = herd.run(&["status"]);
    assert_eq!(asked.code, Some(78));
    assert!(asked.stderr.contains("[status] folder is \"\""), "{}", asked.stderr);
}

// up

#[test]
fn the_commands_that_up_proposes_work() {
    let herd = Herd::new("typed", TRIANGLE);
    let mut up = herd.start(&["up"]);
    let _servers = up.herd();
    let said = up.lines_until("Ctrl-C stops all servers.");
    let typed = |word: &str| {
        let found = said.iter().find(|line| line.starts_with("  ") && line.contains(word));
        found.unwrap_or_else(|| panic!("no {word} in {said:?}")).as_str()
    };
    let told = Process::shell(typed(" iamat "));
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.starts_with("AT Alford +"), "{}", told.stdout);
    // The report travels over a connection of the two servers, which may not be open yet.
    let asked = crate::support::process::until("the news arrives", || {
        Some(Process::shell(typed(" whatsat "))).filter(|asked| asked.code == Some(0))
    });
    let (at, places) = asked.stdout.split_once('\n').expect("an AT line");
    assert_eq!(at, told.stdout.trim_end());
    assert!(
        places.starts_with("{\n") && places.ends_with("   \"status\" : \"OK\"\n}\n\n"),
        "{places}"
    );
    assert!(typed("printf 'IAMAT").ends_with(&format!("| nc -N {} 12000", herd.ip())));
}

#[test]
fn names_and_files_may_begin_with_a_dash() {
    let herd = Herd::new("dash", &[("-x", &["-h"]), ("-h", &[])]);
    {
        let mut up = herd.start(&["up"]);
        let _servers = up.herd();
        let said = up.lines_until("Ctrl-C stops all servers.");
        for (word, reply) in [(" iamat ", "AT -x +"), (" whatsat ", "AT -x +")] {
            let typed = said.iter().find(|line| line.starts_with("  ") && line.contains(word));
            let typed = typed.unwrap_or_else(|| panic!("no {word} in {said:?}"));
            until("it is answered", || {
                let ended = Process::shell(typed);
                (ended.code == Some(0) && ended.stdout.starts_with(reply)).then_some(())
            });
        }
        let told = herd.run(&["client", "-x", "iamat", "-kiwi", "-34.0+151.2", "5"]);
        assert!(told.stdout.ends_with(" -kiwi -34.0+151.2 5\n"), "{told:?}");
        assert_eq!(herd.run(&["status", "--", "-x", "-h"]).code, Some(0));
        assert_eq!(herd.run(&["status", "--json", "--", "-x"]).stdout.lines().count(), 1);
        up.signal(Signal::TERM);
        assert_eq!(up.end().code, Some(0));
    }
    let folders =
        "[log]\nfolder = \"-log\"\n[status]\nfolder = \"-run\"\n[journal]\nfolder = \"-j\"\n";
    let text = format!("{}{folders}", herd.text());
    fs::write(herd.folder().join("-t.toml"), text).expect("the folder is ours");
    let silent = |args: &[&str]| {
        let args = [args, &["--topology", "-t.toml"]].concat();
        herd.start_unheard(&args, Out::Fine, Out::Fine)
    };
    let up = silent(&["up"]);
    until("all answer", || (silent(&["status"]).code() == Some(0)).then_some(()));
    up.signal(Signal::TERM);
    assert_eq!(up.code(), Some(0));
    for folder in ["-log", "-run", "-j/-x", "-j/-h"] {
        assert!(herd.folder().join(folder).is_dir(), "{folder}");
    }
    let journal = ["journal", "check", "--", "-j/-x"];
    assert_eq!(herd.start_unheard(&journal, Out::Fine, Out::Fine).code(), Some(0));
    // An unknown option is not taken for a name.
    for wrong in ["status --jsn", "serve --strict", "journal check --salvag"] {
        let wrong: Vec<&str> = wrong.split(' ').collect();
        assert_eq!(herd.start_unheard(&wrong, Out::Fine, Out::Fine).code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn up_restarts_a_killed_server_and_stops_all_at_sigterm() {
    let herd = Herd::new("up", TRIANGLE);
    let mut up = herd.start(&["up"]);
    let mut servers = up.herd();
    assert_eq!(servers.len(), 3);
    assert!(servers.iter().all(Stray::leads_its_group));
    let killed = servers.remove(2);
    killed.kill();
    let ended = format!(
        "Parker (process {}) has ended, signal: 9 (SIGKILL); next attempt in 1 s",
        killed.id()
    );
    assert_eq!(up.line_with("has ended"), ended);
    let again = up.line_with("Parker listens, process ");
    servers.push(Stray::new(again.rsplit(' ').next().expect("its id")));
    assert_eq!(herd.run(&["client", "Parker", "iamat", "kiwi", KIWI]).code, Some(0));

    up.signal(Signal::TERM);
    let last = up.line_with("all servers have ended");
    assert_eq!(last, "all servers have ended");
    assert_eq!(up.end().code, Some(0));
    servers.iter().for_each(Stray::has_ended);
}

#[test]
fn a_second_signal_kills_servers_that_do_not_end() {
    let herd = Herd::new("twice", PAIR);
    let mut up = herd.start(&["up"]);
    let servers = up.herd();
    servers[0].signal(Signal::STOP);
    up.signal(Signal::INT);
    servers[1].has_ended();
    // Two signals within a short time count as one, so the second may have to be sent again.
    until("it is killed", || {
        up.signal(Signal::INT);
        servers[0].ends_within(Duration::from_millis(100)).then_some(())
    });
    let ended = format!("Alford (process {}) has ended, signal: 9 (SIGKILL)", servers[0].id());
    assert_eq!(up.line_with("SIGKILL"), ended);
    assert_eq!(up.end().code, Some(0));
    servers[0].has_ended();
}

#[test]
fn the_servers_end_when_up_is_killed() {
    let herd = Herd::new("killed", PAIR);
    let mut up = herd.start(&["up"]);
    let servers = up.herd();
    up.signal(Signal::KILL);
    assert_eq!(up.end().code, None);
    servers.iter().for_each(Stray::has_ended);
}

#[test]
fn one_server_that_cannot_start_keeps_no_other_from_it() {
    let herd = Herd::new("partly", PAIR);
    let taken = TcpListener::bind((herd.ip(), 12_000)).expect("the address is ours");
    let mut up = herd.start(&["up"]);
    let ended = up.line_with("Alford (process ");
    assert!(ended.contains("has ended, exit status: 69 (an address is in use"), "{ended}");
    let servers = up.herd();
    assert_eq!(servers.len(), 1, "Bolden");
    drop(taken);
    let again = up.line_with("Alford listens, process ");
    let _alford = Stray::new(again.rsplit(' ').next().expect("its id"));
}

#[test]
fn up_prints_the_warnings_of_the_topology_once() {
    // Only Alford lists the other.
    let herd = Herd::new("warned", PAIR);
    let mut up = herd.start(&["up"]);
    let _servers = up.herd();
    up.signal(Signal::TERM);
    let ended = up.end();
    assert_eq!(ended.stderr.matches("they are neighbours anyway").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_second_herd_on_the_same_addresses_reports_it_and_exits() {
    let herd = Herd::new("second", PAIR);
    let mut up = herd.start(&["up"]);
    let _servers = up.herd();
    // The second herd has a folder of its own.
    let other = herd.folder().join("other");
    fs::create_dir(&other).expect("the folder is ours");
    fs::copy(herd.topology(), other.join("topology.toml")).expect("the folder is ours");
    let topology = other.join("topology.toml");
    let second = Process::run(&["up", "--topology", &topology.to_string_lossy()]);
    assert_eq!(second.code, Some(69));
    assert!(second.stderr.contains("Bolden cannot listen on"), "{}", second.stderr);
    assert!(!second.stdout.contains("next attempt"), "{}", second.stdout);
    assert!(second.stderr.ends_with("herd: no server could be started\n"), "{}", second.stderr);
}

// client

#[test]
fn a_command_prints_its_reply() {
    let herd = Herd::new("client", ALONE);
    let _alford = herd.serve("Alford");
    let told =
        herd.run(&["client", "Alford", "iamat", "kiwi", "-34.0+151.2", "1400794645.392014450"]);
    assert_eq!(told.code, Some(0));
    assert!(told.stdout.starts_with("AT Alford +"), "{}", told.stdout);
    assert!(told.stdout.ends_with(" kiwi -34.0+151.2 1400794645.392014450\n"), "{}", told.stdout);
    let address = format!("{}:12000", herd.ip());
    let asked = herd.run(&["client", &address, "whatsat", "kiwi", "10", "2"]);
    assert_eq!(asked.code, Some(0));
    assert!(asked.stdout.starts_with(&told.stdout), "{}", asked.stdout);
}

#[test]
fn an_iamat_without_a_stamp_gets_the_current_time() {
    let herd = Herd::new("stamp", ALONE);
    let _alford = herd.serve("Alford");
    let told = herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]).stdout;
    let words: Vec<&str> = told.split_whitespace().collect();
    let difference: f64 = words[2].parse().expect("seconds");
    assert!((0.0..20.0).contains(&difference), "{told}");
    assert_eq!(words[5].split_once('.').expect("a point").1.len(), 9, "{told}");
}

#[test]
fn a_refusal_exits_with_1() {
    let herd = Herd::new("refusal", ALONE);
    let _alford = herd.serve("Alford");
    for (words, reason) in [
        (
            &["whatsat", "nobody", "10", "5"][..],
            "it is valid, but the server does not know this client (or has ask = \"own\"), or this is not a port for clients",
        ),
        (&["whatsat", "kiwi", "51", "5"], "the radius is not a number above 0 and at most 50"),
        (
            &["iamat", "kiwi", "+34-118", "4102444800"],
            "it is valid, but a limit or own_id_only of the server rejected it (the log names it), or this is not a port for clients",
        ),
    ] {
        let ended = herd.run(&[&["client", "Alford"], words].concat());
        let line = words.join(" ").replace("whatsat", "WHATSAT").replace("iamat", "IAMAT");
        let stderr = format!("herd: Alford rejected the command: {reason}\n");
        assert_eq!(ended, Ended { code: Some(1), stdout: format!("? {line}\n"), stderr });
    }
}

#[test]
fn lines_typed_on_a_terminal_get_the_time_and_may_be_rejected_also_if_stdout_is_a_pipe() {
    let herd = Herd::new("typed", ALONE);
    let mut alford = herd.start(&["serve", "Alford"]);
    alford.line();
    let terminal = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    pty::grantpt(&terminal).and_then(|()| pty::unlockpt(&terminal)).expect("it is ours");
    let name = pty::ptsname(&terminal, Vec::new()).expect("it has a name").into_string();
    let (herd_program, topology) = (env!("CARGO_BIN_EXE_herd"), herd.topology());
    let line =
        format!("'{herd_program}' client --topology '{topology}' Alford < {}", name.expect("text"));
    let mut client = Process::shell_started(&line);
    File::from(terminal.try_clone().expect("a descriptor"))
        .write_all(b"blub\nIAMAT\x0bkiwi  +1+2 \n\x04")
        .expect("it takes lines");
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("? blub\nAT Alford +0.0"), "{ended:?}");
}

#[test]
fn a_rejected_line_from_a_pipe_ends_the_session_with_1_unless_it_is_to_keep_going() {
    let herd = Herd::new("rejected", ALONE);
    let _alford = herd.serve("Alford");
    fs::write(herd.folder().join("lines"), "IAMAT kiwi +1+2 5\nPING\n\x1b\nIAMAT emu +1+2 5\n")
        .expect("a file");
    let ended = herd.start_reading(&["client", "Alford"], "lines").end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.starts_with("AT Alford +"), "{}", ended.stdout);
    let first = "herd: rejected \"PING\": clients may send only IAMAT and WHATSAT\n";
    assert!(ended.stderr.starts_with(first), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("; --keep-going sends all lines\n"), "{}", ended.stderr);
    let ended = herd.start_reading(&["client", "--keep-going", "Alford"], "lines").end();
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 4));
    assert_eq!(
        ended.stderr,
        format!(
            "{first}herd: rejected \"\\u{{1b}}\": the commands are IAMAT and WHATSAT, in capitals\n"
        )
    );
}

#[test]
fn lines_from_a_pipe_get_their_replies_and_no_prompt() {
    let herd = Herd::new("lines", ALONE);
    let _alford = herd.serve("Alford");
    let mut client = herd.start(&["client", "--keep-going", "Alford"]);
    client.type_in("blub\n");
    assert_eq!(client.line(), "? blub", "while stdin is open");
    client.type_in("IAMAT kiwi +1+2 5\nthe last line counts without its newline");
    let ended = client.end();
    let (at, rest) = ended.stdout.split_once('\n').expect("an AT line");
    assert!(at.starts_with("AT Alford +") && at.ends_with(" kiwi +1+2 5"), "{at}");
    assert_eq!(rest, "? the last line counts without its newline\n");
    assert_eq!(ended.code, Some(0));
}

#[test]
fn commands_that_only_need_the_servers_run_without_the_file_of_places() {
    let herd = Herd::new("no-places", ALONE);
    let text = format!("{}[places]\nsource = \"file\"\nfile = \"gone.json\"\n", herd.text());
    fs::write(herd.topology(), text).expect("the folder is ours");
    for (command, code) in [("status", 69), ("client Alford iamat kiwi +1+2", 69), ("check", 78)] {
        let words: Vec<&str> = command.split(' ').collect();
        let ended = herd.run(&words);
        assert_eq!(ended.code, Some(code), "{command}: {ended:?}");
        assert_eq!(ended.stderr.contains("gone.json"), command == "check", "{ended:?}");
    }
}

#[test]
fn options_of_client_may_stand_after_the_command() {
    let herd = Herd::new("after", ALONE);
    let _alford = herd.serve("Alford");
    let told = herd.run(&["client", "Alford", "iamat", "kiwi", KIWI, "--timeout", "9"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
}

/// The server stops reading from a client that does not read, so a client that only sent would wait for ever. Here each
/// line of 14 bytes gets a reply of more than 100, and the buffers of both sides cannot hold all of them.
#[test]
fn the_client_takes_replies_while_it_still_sends() {
    let herd = Herd::new("bulk", ALONE);
    let _alford = herd.serve("Alford");
    // Long lines fill the buffers of both directions with little work.
    let (lines, line) = (8_000, format!("IAMAT {} +0-30 5\n", "k".repeat(4_000)));
    fs::write(herd.folder().join("lines"), line.repeat(lines)).expect("a file");
    let replies = herd.start_reading(&["client", "Alford"], "lines").end();
    assert_eq!(replies.code, Some(0));
    assert_eq!(replies.stdout.lines().count(), lines);
    assert!(replies.stdout.lines().all(|reply| reply.ends_with(line["IAMAT".len()..].trim_end())));
}

#[test]
fn a_connection_that_the_server_closes_exits_with_69() {
    let herd = Herd::new("closed", ALONE);
    let alford = herd.serve("Alford");
    let mut client = herd.start(&["client", "Alford"]);
    client.type_in("IAMAT kiwi +1+2 5\n");
    assert!(client.line().starts_with("AT Alford "));
    alford.signal(Signal::TERM);
    let ended = client.end_with_stdin_open();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(69), "herd: Alford closed the connection\n")
    );
}

#[test]
fn a_server_that_does_not_run_exits_with_69() {
    let herd = Herd::new("nobody", ALONE);
    let ended = herd.run(&["client", "Alford", "whatsat", "kiwi", "10", "5"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""));
    assert!(ended.stderr.starts_with("herd: Alford cannot be reached: "), "{}", ended.stderr);
    assert_eq!(herd.run(&["client", "Wilkes"]).code, Some(64));
}
