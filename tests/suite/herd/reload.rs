//! Reloading the configuration of running servers: `herd reload`, SIGHUP, `herd up`; and the recipes of
//! docs/operating.md under load: no report that was acknowledged is lost.

use crate::support::herd::{Client, NOWHERE, eventually, holds, iamat};
use crate::support::process::{Herd, Process, Stray, until};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{self, OpenptFlags};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// A server of a topology: its name, the last digits of its ports, and its neighbours.
type Listed<'t> = (&'t str, u16, &'t [&'t str]);

const PAIR: &[Listed<'_>] = &[("Alford", 0, &["Bolden"]), ("Bolden", 1, &["Alford"])];

/// A topology of `servers` at the addresses of `herd`; `top` and `limits` are lines of the file.
fn text(herd: &Herd, top: &str, limits: &str, servers: &[Listed<'_>]) -> String {
    let ip = herd.ip();
    let tables = servers.iter().map(|(name, port, neighbours)| {
        format!(
            "[[server]]\nname = \"{name}\"\nclient = \"{ip}:{}\"\npeer = \"{ip}:{}\"\n\
             neighbours = {neighbours:?}\n",
            12_000 + port,
            12_100 + port
        )
    });
    // With a short pause before redials the tests are fast.
    format!(
        "herd = \"test\"\n{top}{}[limits]\nretry_first_ms = 20\nretry_max_ms = 200\n{limits}",
        tables.collect::<String>()
    )
}

fn herd_of(test: &str, top: &str, servers: &[Listed<'_>]) -> Herd {
    let herd = Herd::new(test, &[]);
    herd.write(&text(&herd, top, "", servers));
    herd
}

/// Sends `line` to the status socket of `name`, and returns the answer.
fn ask(herd: &Herd, name: &str, line: &str) -> Value {
    let path = herd.folder().join(format!("run/{name}.sock"));
    let mut socket = UnixStream::connect(path).expect("it listens");
    socket.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).expect("it answers");
    serde_json::from_str(&answer).expect("a line of JSON")
}

/// Runs `herd reload`, which must succeed, and returns what it prints.
#[track_caller]
fn reload(herd: &Herd) -> String {
    let ended = herd.run(&["reload"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    ended.stdout
}

/// Waits until the links of `name` are exactly those to `others`.
#[track_caller]
fn linked(herd: &Herd, name: &str, others: &[&str]) {
    eventually(&format!("{name} is linked to {others:?}"), || {
        let links = ask(herd, name, "STATUS")["links"].clone();
        let links = links.as_array().expect("a list");
        let is = links.iter().map(|link| (link["name"].as_str(), link["linked"].as_bool()));
        let mut is: Vec<_> = is.collect();
        is.sort_unstable();
        let wanted: Vec<_> = others.iter().map(|other| (Some(*other), Some(true))).collect();
        if is == wanted { Ok(()) } else { Err(format!("{is:?}")) }
    });
}

/// Waits until `part` stands in the log of `name` so many times.
#[track_caller]
fn logged(herd: &Herd, name: &str, part: &str, times: usize) {
    eventually(&format!("the log of {name} has {part}"), || {
        let files = fs::read_dir(herd.folder().join("log")).into_iter().flatten().flatten();
        // Alford.log is a link to one of the files.
        let files = files.filter(|file| file.file_type().is_ok_and(|it| !it.is_symlink()));
        let ours = files.filter(|file| file.file_name().to_string_lossy().starts_with(name));
        let text: String = ours.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
        holds(text.matches(part).count() >= times)
    });
}

// What is reloaded, and what is not.

#[test]
fn a_limit_and_a_neighbour_change_without_a_restart_and_an_address_does_not() {
    let herd = herd_of("reload", "", PAIR);
    let servers = ["Alford", "Bolden"].map(|name| herd.serve(name));
    linked(&herd, "Alford", &["Bolden"]);
    assert!(reload(&herd).contains("Alford: reloaded: nothing has changed\n"));
    let trio: &[Listed<'_>] = &[
        ("Alford", 0, &["Bolden", "Parker"]),
        ("Bolden", 7, &["Alford"]),
        ("Parker", 2, &["Alford"]),
    ];
    herd.write(&text(&herd, "", "client_id_bytes = 4\n", trio));
    let parker = herd.serve("Parker");
    let (said, ip) = (reload(&herd), herd.ip());
    let alford = format!(
        "Alford: reloaded: limits.client_id_bytes 4096 -> 4, neighbour Bolden {ip}:12101 -> {ip}:12107, \
         neighbour Parker added: {ip}:12102\n"
    );
    assert!(said.contains(&alford), "{said}");
    let pending = format!(
        "server.Bolden.client {ip}:12001 -> {ip}:12007, server.Bolden.peer {ip}:12101 -> {ip}:12107"
    );
    let bolden =
        format!("Bolden: reloaded: limits.client_id_bytes 4096 -> 4; needs a restart: {pending}\n");
    assert!(said.contains(&bolden), "{said}");
    let mut client = Client::connect(SocketAddr::from((ip, 12_000)));
    assert!(client.ask(iamat("kiwi", NOWHERE, "1").trim_end()).starts_with(b"AT "));
    assert!(client.ask(iamat("kiwis", NOWHERE, "1").trim_end()).starts_with(b"? "));
    let config = ask(&herd, "Bolden", "STATUS")["config"].clone();
    let pending: Vec<&str> = pending.split(", ").collect();
    assert_eq!(config["restart_pending"], serde_json::json!(pending), "{config}");
    assert_eq!(config["last_reload_successful"], true);
    // A restart brings what was pending, and the link is made at the new address.
    let [_alford, mut bolden] = servers;
    bolden.signal(Signal::TERM);
    assert_eq!(bolden.end().code, Some(0));
    let _bolden = herd.serve("Bolden");
    linked(&herd, "Alford", &["Bolden", "Parker"]);
    assert_eq!(ask(&herd, "Bolden", "STATUS")["config"]["restart_pending"], serde_json::json!([]));
    drop(parker);
}

#[test]
fn the_log_goes_on_elsewhere_in_another_form_and_at_another_level() {
    let herd = herd_of("reload-log", "", &[("Alford", 0, &[])]);
    // An empty RUST_LOG leaves the level to the file.
    let mut server = herd.start_in(&[("RUST_LOG", "")], &["serve", "Alford"]);
    server.line();
    let with_log = |log: &str| herd.write(&text(&herd, "", log, &[("Alford", 0, &[])]));
    // A folder that cannot be created changes nothing.
    fs::write(herd.folder().join("taken"), "").expect("the folder is ours");
    with_log("[log]\nlevel = \"debug\"\nfolder = \"taken\"\n");
    let refused = herd.run(&["reload"]);
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    with_log("[log]\nlevel = \"warn\"\nformat = \"json\"\nfolder = \"there\"\n");
    assert!(reload(&herd).contains("log.folder"), "it is live");
    let mut client = Client::connect(SocketAddr::from((herd.ip(), 12_000)));
    client.ask(iamat("kiwi", NOWHERE, "1").trim_end());
    with_log("[log]\nformat = \"json\"\nfolder = \"there\"\n");
    reload(&herd);
    client.ask(iamat("kiwi", NOWHERE, "2").trim_end());
    let there = herd.folder().join("there/Alford.log");
    eventually("the second report is in the new file, as JSON", || {
        let log = fs::read_to_string(&there).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let has = |part: &str| lines.clone().any(|line| line.to_string().contains(part));
        assert!(!has(" 1\""), "{log}");
        holds(has("IAMAT kiwi") && has("reloaded"))
    });
}

#[test]
fn a_faulty_file_is_refused_with_all_its_faults_and_nothing_changes() {
    let herd = herd_of("faulty", "", PAIR);
    let alford = herd.serve("Alford");
    let good = text(&herd, "", "connections = 7\n", PAIR);
    for (faulty, why) in [
        (good.replace("connections", "conections"), "did you mean connections?"),
        (format!("{good}[places]\nsource = \"file\"\nfile = \"gone.json\"\n"), "no such file"),
        (format!("{good}[peer_tls]\n"), "ca.pem"),
        (format!("{good}[log]\nfolder = \"topology.toml\"\n"), "cannot create a file"),
        (good.replace("Alford", "Zoe"), "no longer has the server"),
    ] {
        herd.write(&faulty);
        // A file that is no topology stops the command before it asks a server.
        let answer = ask(&herd, "Alford", "RELOAD");
        assert_eq!(answer["reloaded"], false, "{answer}");
        assert!(answer["errors"].to_string().contains(why), "{answer}");
        let config = ask(&herd, "Alford", "STATUS")["config"].clone();
        assert!(config["last_error"].to_string().contains(why), "{config}");
        assert_eq!(config["last_reload_successful"], false);
    }
    alford.signal(Signal::HUP);
    logged(&herd, "Alford", "SIGHUP: refused, nothing has changed: ", 1);
    herd.write(&format!("{good}[peer_tls]\n"));
    let ended = herd.run(&["reload", "Alford"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("herd: Alford: refused, nothing has changed: "), "{ended:?}");
    herd.write(&good);
    let said = herd.run(&["reload", "Alford"]).stdout;
    assert_eq!(said, "Alford: reloaded: limits.connections 0 -> 7\n");
    let config = ask(&herd, "Alford", "STATUS")["config"].clone();
    assert_eq!(
        (&config["last_error"], &config["last_reload_successful"]),
        (&Value::Null, &true.into())
    );
    // Bolden does not run.
    let ended = herd.run(&["reload"]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(69), 1), "{}", ended.stderr);
}

#[test]
fn with_strict_a_change_that_needs_a_restart_changes_nothing() {
    let herd = herd_of("strict", "", PAIR);
    let _alford = herd.serve("Alford");
    let other = text(&herd, "", "connections = 7\n", PAIR).replace("\"test\"", "\"other\"");
    herd.write(&format!("{other}[log]\nfolder = \"elsewhere\"\n"));
    let ended = herd.run(&["reload", "--strict", "Alford"]);
    assert_eq!(ended.code, Some(78));
    assert!(!herd.folder().join("elsewhere").exists());
    herd.write(&other);
    assert!(ended.stderr.contains("needs a restart: herd test -> other"), "{}", ended.stderr);
    let said = herd.run(&["reload", "Alford"]).stdout;
    let expected =
        "Alford: reloaded: limits.connections 0 -> 7; needs a restart: herd test -> other\n";
    assert_eq!(said, expected);
    logged(&herd, "Alford", "7; needs a restart: herd test -> other", 1);
}

#[test]
fn a_connection_to_the_status_socket_reloads_once() {
    let herd = herd_of("once", "", &[("Alford", 0, &[])]);
    let _alford = herd.serve("Alford");
    let mut socket =
        UnixStream::connect(herd.folder().join("run/Alford.sock")).expect("it listens");
    // It may be closed before all is written.
    let _ = socket.write_all(&b"RELOAD\n".repeat(1_000));
    let mut answers = Vec::new();
    BufReader::new(socket).read_until(b'\n', &mut answers).expect("it answers");
    let mut client = Client::connect(SocketAddr::from((herd.ip(), 12_000)));
    client.ask(iamat("kiwi", NOWHERE, "1").trim_end());
    reload(&herd);
    logged(&herd, "Alford", "herd reload: reloaded: ", 2);
    let log = fs::read_to_string(herd.folder().join("log/Alford.log")).expect("it is there");
    assert_eq!(log.matches("herd reload: reloaded: ").count(), 2, "{log}");
}

#[test]
fn places_are_read_again_when_their_file_has_changed() {
    let herd = herd_of("places", "", &[("Alford", 0, &[])]);
    let town = |name: &str| {
        let feature = format!(
            r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[-123.3933,-48.8767]}},"properties":{{"name":"{name}"}}}}"#
        );
        fs::write(herd.folder().join("places.json"), feature).expect("the folder is ours");
    };
    town("Nemo");
    let places = "[places]\nsource = \"file\"\nfile = \"places.json\"\n";
    herd.write(&format!("{}{places}", text(&herd, "", "", &[("Alford", 0, &[])])));
    let _alford = herd.serve("Alford");
    let mut client = Client::connect(SocketAddr::from((herd.ip(), 12_000)));
    client.ask(iamat("kiwi", NOWHERE, "1").trim_end());
    let mut asked = || client.whatsat("kiwi", "10", "5").expect("kiwi is known").json.to_string();
    assert!(asked().contains("Nemo"));
    town("Point Nemo");
    assert!(
        reload(&herd)
            .starts_with("Alford: reloaded: places.file places.json: the file has changed")
    );
    assert!(asked().contains("Point Nemo"));
    herd.write(&text(&herd, "", "", &[("Alford", 0, &[])]));
    assert!(reload(&herd).contains("places.source file -> embedded\n"));
    assert!(!asked().contains("Nemo"));
}

#[test]
fn acknowledgements_are_turned_on_and_off() {
    let herd = herd_of("ack", "", PAIR);
    let _servers = ["Alford", "Bolden"].map(|name| herd.serve(name));
    // Only an acknowledgement releases a reply in the time of this test.
    let waits = "ack_wait_ms = 60_000\n";
    for (round, ack) in ["peer", "local", "peer"].into_iter().enumerate() {
        herd.write(&text(&herd, &format!("ack = \"{ack}\"\n"), waits, PAIR));
        assert!(reload(&herd).contains(&format!("-> {ack}")));
        // Both have closed the link; the new one is first known to Bolden, which was dialled.
        linked(&herd, "Bolden", &["Alford"]);
        linked(&herd, "Alford", &["Bolden"]);
        for port in [12_000, 12_001] {
            let mut client = Client::connect(SocketAddr::from((herd.ip(), port)));
            let reply = client.ask(iamat("kiwi", NOWHERE, &format!("{port}.{round}")).trim_end());
            assert!(reply.starts_with(b"AT "), "{ack}");
        }
    }
    assert_eq!(ask(&herd, "Alford", "STATUS")["unreplicated_replies"], 0);
    assert_eq!(ask(&herd, "Alford", "STATUS")["peer_faults"], 0);
}

// Terminals.

/// A terminal, and a command that has it as its controlling terminal.
fn in_a_terminal(command: &[&str]) -> (OwnedFd, Command) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = pty::openpt(flags).expect("a terminal");
    pty::grantpt(&terminal).and_then(|()| pty::unlockpt(&terminal)).expect("it is ours");
    let name = pty::ptsname(&terminal, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let other = rustix::fs::open(name, flags, Mode::empty()).expect("it can be opened");
    let mut child = Command::new("setsid");
    // Whoever runs the tests may ignore the signal, as nohup does.
    child
        .args(["--ctty", "env", "--default-signal=HUP"])
        .args(command)
        .stdin(other)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    (terminal, child)
}

#[test]
fn sighup_ends_a_server_when_its_terminal_has_closed_and_else_reloads() {
    let program = env!("CARGO_BIN_EXE_herd");
    for (before, outlives) in [(&[][..], false), (&["nohup"][..], true)] {
        let herd = herd_of("terminal", "", &[("Alford", 0, &[])]);
        let topology = herd.topology();
        let serve = [program, "serve", "Alford", "--topology", &topology];
        let (terminal, mut command) = in_a_terminal(&[before, &serve].concat());
        let child = command.spawn().expect("setsid is there");
        drop(command);
        let mut server = crate::support::herd::Process::new(child);
        logged(&herd, "Alford", "Alford listens", 1);
        server.signal(Signal::HUP);
        logged(&herd, "Alford", "SIGHUP: reloaded: ", 1);
        // The kernel sends SIGHUP to the server, which leads its session.
        drop(terminal);
        if outlives {
            logged(&herd, "Alford", "SIGHUP: reloaded: ", 2);
            assert_eq!(server.ended(), None);
            continue;
        }
        logged(&herd, "Alford", "SIGHUP: the terminal was closed", 1);
        let status = eventually("it ends", || server.ended().ok_or("it runs"));
        assert_eq!(status.code(), Some(0));
    }
}

// up

#[test]
fn up_starts_servers_that_were_added_and_stops_those_that_were_removed() {
    let herd = herd_of("up-reload", "", PAIR);
    let mut up = herd.start(&["up"]);
    let servers = up.herd();
    linked(&herd, "Alford", &["Bolden"]);
    let other: &[Listed<'_>] = &[("Alford", 0, &["Parker"]), ("Parker", 2, &["Alford"])];
    herd.write(&text(&herd, "", "", other));
    up.signal(Signal::HUP);
    assert_eq!(
        up.line_with("Bolden has ended"),
        "Bolden has ended, exit status: 0 (success, or stopped in order by a signal)"
    );
    servers[1].has_ended();
    let parker = up.line_with("Parker listens, process ");
    let _parker = Stray::new(parker.rsplit(' ').next().expect("its id"));
    linked(&herd, "Alford", &["Parker"]);
    // A faulty file is told, and what runs goes on.
    herd.write("herd = 1");
    up.signal(Signal::HUP);
    logged(&herd, "Alford", "SIGHUP: refused, nothing has changed: ", 1);
    // A server that comes back is started again.
    let all: &[Listed<'_>] = &[("Alford", 0, &["Parker", "Bolden"]), ("Parker", 2, &[]), PAIR[1]];
    herd.write(&text(&herd, "", "", all));
    up.signal(Signal::HUP);
    let bolden = up.line_with("Bolden listens, process ");
    let _bolden = Stray::new(bolden.rsplit(' ').next().expect("its id"));
    linked(&herd, "Alford", &["Bolden", "Parker"]);
    up.signal(Signal::TERM);
    assert_eq!(up.end().code, Some(0));
}

#[test]
fn up_has_its_servers_open_their_logs_at_sigusr1_and_outlives_sigusr2() {
    let herd = herd_of("up-usr", "", &[("Alford", 0, &[])]);
    let mut up = herd.start(&["up"]);
    let _servers = up.herd();
    up.signal(Signal::USR2);
    up.signal(Signal::USR1);
    let again = format!("log: opened {}", herd.folder().join("log").display());
    logged(&herd, "Alford", &again, 1);
    up.signal(Signal::TERM);
    assert_eq!(up.end().code, Some(0));
}

#[test]
fn up_passes_sighup_on_to_a_server_that_was_starting_when_it_came() {
    let alone: &[Listed<'_>] = &[("Alford", 0, &[])];
    let herd = herd_of("up-early", "", alone);
    let point = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[0,0]},"properties":{"name":"n"}}"#;
    let points = vec![point; 20_000].join(",");
    let places = format!(r#"{{"type":"FeatureCollection","features":[{points}]}}"#);
    fs::write(herd.folder().join("places.json"), places).expect("the folder is ours");
    let with = |limits: &str| {
        let places = "[places]\nsource = \"file\"\nfile = \"places.json\"\n";
        herd.write(&format!("{}{places}", text(&herd, "", limits, alone)));
    };
    with("");
    let mut up = herd.start(&["up"]);
    // It has read the topology, and now reads the places, for some time.
    until("Alford has a log", || fs::read_dir(herd.folder().join("log")).ok()?.next()?.ok());
    with("connections = 7\n");
    up.signal(Signal::HUP);
    logged(&herd, "Alford", "SIGHUP: reloaded: limits.connections 0 -> 7", 1);
    up.signal(Signal::TERM);
    assert_eq!(up.end().code, Some(0));
}

// The recipes of docs/operating.md.

/// A client for each server, which reports without a pause, one report after another. When its server does not listen,
/// it goes to the next one.
struct Load {
    stops: Arc<AtomicBool>,
    acknowledged: Vec<Arc<AtomicUsize>>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(herd: &Herd, ports: &[u16]) -> Load {
        let stops = Arc::new(AtomicBool::new(false));
        let mut load = Load { stops, acknowledged: Vec::new(), clients: Vec::new() };
        for client in 0..ports.len() {
            let (stops, count) = (load.stops.clone(), Arc::new(AtomicUsize::new(0)));
            load.acknowledged.push(count.clone());
            let ports = ports.iter().cycle().skip(client).take(ports.len());
            let servers = ports.map(|port| SocketAddr::from((herd.ip(), 12_000 + port))).collect();
            load.clients.push(thread::spawn(move || report(client, servers, &stops, &count)));
        }
        load.goes_on();
        load
    }

    /// Waits until each client has got some more acknowledgements.
    #[track_caller]
    fn goes_on(&self) {
        let now = || self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed));
        let before: Vec<usize> = now().collect();
        eventually("the clients go on", || {
            let more: Vec<usize> = now().zip(&before).map(|(now, before)| now - before).collect();
            if more.iter().all(|more| *more >= 20) { Ok(()) } else { Err(more) }
        });
    }

    /// Ends the load, and checks that all of `servers` know each report that was acknowledged.
    #[track_caller]
    fn ends(self, herd: &Herd, servers: &[(&str, u16)]) {
        self.goes_on();
        self.stops.store(true, Ordering::Relaxed);
        let ids = self.clients.into_iter().flat_map(|it| it.join().expect("it does not panic"));
        let ids: Vec<String> = ids.collect();
        eventually("all tables are equal", || {
            let state = |(name, _): &(&str, u16)| ask(herd, name, "STATUS")["state"].clone();
            let states: Vec<_> = servers.iter().map(state).collect();
            if states.windows(2).all(|two| two[0] == two[1]) { Ok(()) } else { Err(states) }
        });
        for (name, port) in servers {
            let mut client = Client::connect(SocketAddr::from((herd.ip(), 12_000 + port)));
            for some in ids.chunks(50) {
                let asked = some.iter().map(|id| format!("WHATSAT {id} 0.001 1\n"));
                client.send(asked.collect::<String>());
                for id in some {
                    assert!(client.nearby().is_ok(), "{name} does not know {id}");
                }
            }
            assert_eq!(ask(herd, name, "STATUS")["unreplicated_replies"], 0, "{name}");
        }
    }
}

/// Reports until `stops`, and returns the ids whose reports were acknowledged.
fn report(
    number: usize,
    servers: Vec<SocketAddr>,
    stops: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Vec<String> {
    let mut ids = Vec::new();
    for server in servers.iter().cycle() {
        let Ok(stream) = TcpStream::connect(server) else {
            assert!(!stops.load(Ordering::Relaxed), "no server listens");
            continue;
        };
        let mut client = Client::from(stream);
        loop {
            if stops.load(Ordering::Relaxed) {
                return ids;
            }
            let id = format!("client-{number}-{}", ids.len());
            if !client.try_send(iamat(&id, NOWHERE, "1")) {
                break;
            }
            let Some(reply) = client.line_or_end() else { break };
            assert!(reply.starts_with(b"AT "), "{}", reply.escape_ascii());
            ids.push(id);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
    ids
}

const ACK: &str = "ack = \"peer\"\n";

/// A reply waits until a neighbour has the report, longer than any step of a recipe takes.
const WAIT: &str = "ack_wait_ms = 20_000\ndrain_ms = 1_000\n";

fn loaded(test: &str, servers: &[Listed<'_>]) -> (Herd, Vec<Process>) {
    let herd = Herd::new(test, &[]);
    herd.write(&text(&herd, ACK, WAIT, servers));
    let processes = servers.iter().map(|(name, ..)| herd.serve(name)).collect();
    for (name, _, neighbours) in servers {
        linked(&herd, name, neighbours);
    }
    (herd, processes)
}

#[test]
fn adding_a_server_loses_no_acknowledged_report() {
    let (herd, _processes) = loaded("add", PAIR);
    let load = Load::on(&herd, &[0, 1]);
    let trio: &[Listed<'_>] = &[
        ("Alford", 0, &["Bolden", "Parker"]),
        ("Bolden", 1, &["Alford", "Parker"]),
        ("Parker", 2, &["Alford", "Bolden"]),
    ];
    // 1. Add the server and its links to topology.toml, and run: herd check
    herd.write(&text(&herd, ACK, WAIT, trio));
    assert_eq!(herd.run(&["check"]).code, Some(0));
    // 2. Start the server: herd serve Parker
    let _parker = herd.serve("Parker");
    // 3. Tell the others: herd reload
    reload(&herd);
    linked(&herd, "Parker", &["Alford", "Bolden"]);
    load.ends(&herd, &[("Alford", 0), ("Bolden", 1), ("Parker", 2)]);
}

/// A triangle, so that each server can be without one of the others.
const TRIANGLE: &[Listed<'_>] = &[
    ("Alford", 0, &["Bolden", "Parker"]),
    ("Bolden", 1, &["Alford", "Parker"]),
    ("Parker", 2, &["Alford", "Bolden"]),
];

#[test]
fn removing_a_server_loses_no_acknowledged_report() {
    let (herd, mut processes) = loaded("remove", TRIANGLE);
    let load = Load::on(&herd, &[0, 1, 2]);
    // 1. Stop the server, which still sends what it knows: kill PID
    let mut parker = processes.pop().expect("it was started");
    parker.signal(Signal::TERM);
    assert_eq!(parker.end().code, Some(0));
    load.goes_on();
    // 2. Remove it and its links from topology.toml, and run: herd check
    herd.write(&text(&herd, ACK, WAIT, PAIR));
    assert_eq!(herd.run(&["check"]).code, Some(0));
    // 3. Tell the others: herd reload
    reload(&herd);
    linked(&herd, "Alford", &["Bolden"]);
    load.ends(&herd, &[("Alford", 0), ("Bolden", 1)]);
}

#[test]
fn moving_a_link_loses_no_acknowledged_report() {
    let chain: &[Listed<'_>] = &[
        ("Alford", 0, &["Bolden"]),
        ("Bolden", 1, &["Alford", "Parker"]),
        ("Parker", 2, &["Bolden"]),
    ];
    let (herd, _processes) = loaded("move", chain);
    let load = Load::on(&herd, &[0, 1, 2]);
    // 1. Add the new link to topology.toml, and tell all servers: herd reload
    herd.write(&text(&herd, ACK, WAIT, TRIANGLE));
    reload(&herd);
    // 2. Wait until it is there: herd status
    linked(&herd, "Parker", &["Alford", "Bolden"]);
    load.goes_on();
    // 3. Remove the old link from topology.toml, and tell all servers: herd reload
    let moved: &[Listed<'_>] = &[
        ("Alford", 0, &["Bolden", "Parker"]),
        ("Bolden", 1, &["Alford"]),
        ("Parker", 2, &["Alford"]),
    ];
    herd.write(&text(&herd, ACK, WAIT, moved));
    reload(&herd);
    linked(&herd, "Parker", &["Alford"]);
    linked(&herd, "Bolden", &["Alford"]);
    load.ends(&herd, &[("Alford", 0), ("Bolden", 1), ("Parker", 2)]);
}

#[test]
fn giving_a_server_other_addresses_loses_no_acknowledged_report() {
    let (herd, mut processes) = loaded("address", TRIANGLE);
    let load = Load::on(&herd, &[0, 1, 2, 7]);
    // 1. Write the new addresses into topology.toml, and run: herd check
    let moved: &[Listed<'_>] = &[TRIANGLE[0], TRIANGLE[1], ("Parker", 7, &["Alford", "Bolden"])];
    herd.write(&text(&herd, ACK, WAIT, moved));
    assert_eq!(herd.run(&["check"]).code, Some(0));
    // 2. Restart the server: kill PID, herd serve Parker
    let mut parker = processes.pop().expect("it was started");
    parker.signal(Signal::TERM);
    assert_eq!(parker.end().code, Some(0));
    let _parker = herd.serve("Parker");
    // 3. Tell the others: herd reload
    reload(&herd);
    for (name, _, neighbours) in moved {
        linked(&herd, name, neighbours);
    }
    load.goes_on();
    load.ends(&herd, &[("Alford", 0), ("Bolden", 1), ("Parker", 7)]);
    until("nothing is pending", || {
        let config = ask(&herd, "Parker", "STATUS")["config"].clone();
        (config["restart_pending"] == serde_json::json!([])).then_some(())
    });
}
