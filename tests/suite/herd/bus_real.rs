//! Herds whose servers have no links, but a bucket in common: real processes, and real nats-servers, which are killed,
//! stopped, and told other logins.
//!
//! ```text
//!   clients ──▶ herd serve Alford ──▶ nats-server ◀── herd serve Bolden ◀── clients
//!                                          ▲
//!                           the test, nats-py: what the bucket holds
//! ```
//!
//! Servers with `ack = "bus"` reply when JetStream has a report. So a report whose reply was not given up after
//! `ack_wait_ms` must survive everything here, also the death of all servers of the herd.
//!
//! One nats-server is of the version in PATH, 2.9 in CI; clusters are of the pinned newer one.

use super::ends::{Kept, ends_in_time, patient};
use crate::support::certs::{Authority, BOTH, Wish};
use crate::support::herd::{
    Client, FIVE, Herd, NOWHERE, PATIENCE, Setup, eventually, eventually_within, holds, iamat, show,
};
use crate::support::nats_double::seed_text;
use crate::support::nats_server::{self, NatsServers};
use crate::support::skipped;
use places_herd::nats::Nkey;
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The clients that [`load`] reports.
const CLIENTS: usize = 300;

/// How many reports a connection of [`load`] sends before it reads their replies.
const AT_ONCE: usize = 20;

/// A cluster of a busy machine may need several elections.
const LONG: Duration = Duration::from_secs(120);

/// The first three servers of the Python original.
const THREE: [&str; 3] = ["Alford", "Bolden", "Hamilton"];

/// Gives the servers of `setup` a bus at `urls`, with these further lines of `[bus]`, and `ack = "bus"`.
pub(super) fn with_bus(setup: Setup, urls: &str, more: &str) -> Setup {
    setup.more(&format!("[bus]\nnats = [{urls}]\n{more}")).prepared(ack_bus)
}

/// Sets `ack = "bus"`: servers reply when JetStream has the report, too.
fn ack_bus(folder: &Path) {
    let path = folder.join("topology.toml");
    let text = fs::read_to_string(&path).expect("it has been written");
    fs::write(path, format!("ack = \"bus\"\n{text}")).expect("the folder is ours");
}

/// A herd without links, whose servers reply when JetStream has the report, or after 20 s.
fn herd_at(names: &[&str], urls: &str, more: &str) -> Herd {
    let setup = with_bus(Setup::of(names, &[]), urls, more).limit("ack_wait_ms", 20_000);
    let herd = setup.limit("bus_repair_ms", 200).without_traffic_in_the_log().start();
    names.iter().for_each(|name| live(&herd, name));
    herd
}

/// Waits until the server has read the bucket.
fn live(herd: &Herd, name: &str) {
    eventually_within(LONG, &format!("{name} has read the bucket"), || {
        holds(herd.status(name)["bus"]["live"] == true)
    });
}

/// Replies of these servers that left before JetStream had the report.
fn given_up(herd: &Herd, names: &[&str]) -> u64 {
    names.iter().map(|name| herd.status(name)["unreplicated_replies"].as_u64().unwrap()).sum()
}

/// What [`load`] has reported, and what was replied to.
struct Loaded {
    replies: usize,
    /// The newest stamp of each client.
    newest: Vec<usize>,
}

/// Reports [`CLIENTS`] clients at each of `servers` at once, while `during` runs, which gets the number of replies so far.
fn load(servers: &[SocketAddr], during: impl FnOnce(&AtomicUsize)) -> Loaded {
    let (replies, running) = (AtomicUsize::new(0), Arc::new(()));
    let report = |number: usize, running: &std::sync::Weak<()>| {
        let mut client = Client::connect(servers[number]);
        let mut newest = vec![0; CLIENTS];
        let rounds = (0..).take_while(|_| running.upgrade().is_some());
        for round in rounds {
            // No two reports of a client have the same stamp.
            let stamp = round * servers.len() + number + 1;
            let reported = (0..AT_ONCE).map(|n| (round * AT_ONCE + n + number * 37) % CLIENTS);
            let lines =
                reported.clone().map(|c| iamat(&format!("c{c}"), NOWHERE, &stamp.to_string()));
            client.send(lines.collect::<String>());
            for reported in reported {
                let reply = client.line();
                assert!(reply.starts_with(b"AT "), "{}", show(&reply));
                newest[reported] = stamp;
                replies.fetch_add(1, Ordering::Relaxed);
            }
        }
        newest
    };
    thread::scope(|scope| {
        let (report, weak) = (&report, Arc::downgrade(&running));
        let threads: Vec<_> = (0..servers.len())
            .map(|number| (number, weak.clone()))
            .map(|(number, weak)| scope.spawn(move || report(number, &weak)))
            .collect();
        // The threads end when this value is dropped, also by a panic.
        let running = running;
        during(&replies);
        drop(running);
        let newest = threads.into_iter().map(|thread| thread.join().expect("its promises hold"));
        let newest = newest
            .reduce(|one, other| one.iter().zip(&other).map(|(a, b)| *a.max(b)).collect())
            .expect("there is a server");
        Loaded { replies: replies.load(Ordering::Relaxed), newest }
    })
}

/// Waits for a thousand further replies.
fn a_thousand_more(replies: &AtomicUsize) {
    let wanted = replies.load(Ordering::Relaxed) + 1_000;
    eventually_within(LONG, "a thousand replies", || {
        let so_far = replies.load(Ordering::Relaxed);
        if so_far < wanted { Err(so_far) } else { Ok(()) }
    });
}

/// Waits until all tables equal the bucket. Returns the stamp of each client of [`load`].
fn agree(herd: &Herd, names: &[&str], nats: &NatsServers) -> Vec<usize> {
    let clients: Vec<String> = (0..CLIENTS).map(|client| format!("c{client}")).collect();
    let lines = eventually_within(LONG, "all tables equal the bucket", || {
        let bucket = nats.bucket(0, &herd.name()).map_err(|e| e.to_string())?;
        let lines: Vec<_> = clients.iter().map(|client| bucket.get(client).cloned()).collect();
        for name in names {
            let reports = herd.reports(name, &clients);
            let differ = reports.iter().zip(&lines).filter(|(one, other)| one != other);
            let differ: Vec<_> = differ.collect();
            if !differ.is_empty() {
                return Err(format!("{name} differs in {}: {:?}", differ.len(), differ[0]));
            }
        }
        Ok(lines)
    });
    let stamp = |line: Option<String>| line?.rsplit(' ').next()?.parse().ok();
    lines.into_iter().map(|line| stamp(line).unwrap_or(0)).collect()
}

/// Asserts that nothing that was acknowledged is lost if all servers of the herd die now, and that their tables equal the
/// bucket at the end.
fn nothing_is_lost(herd: &mut Herd, names: &[&str], nats: &NatsServers, loaded: &Loaded) {
    let Loaded { replies, newest } = loaded;
    let given_up = given_up(herd, names);
    // What was given up is in the tables of the servers alone, so they must live.
    if given_up == 0 {
        names.iter().for_each(|name| herd.kill(name));
        names.iter().for_each(|name| herd.restart(name));
        names.iter().for_each(|name| live(herd, name));
    }
    let found = agree(herd, names, nats);
    let lost = found.iter().zip(newest).filter(|(found, newest)| found != newest).count();
    println!(
        "nats-server {}: {replies} replies, {given_up} of them given up; of {CLIENTS} clients {lost} lost",
        nats.version(),
    );
    assert_eq!(lost, 0, "found {found:?}, acknowledged {newest:?}");
}

fn client_addresses(herd: &Herd, names: &[&str]) -> Vec<SocketAddr> {
    names.iter().map(|name| herd.client_address(name)).collect()
}

#[test]
fn without_links_a_report_at_any_server_is_served_by_all_and_an_empty_server_reads_everything() {
    let Some(program) = nats_server::program() else { return };
    let nats = NatsServers::alone(&program);
    let mut herd = herd_at(&FIVE, &nats.urls(), "");
    let lines = FIVE.map(|name| herd.client(name).ask(format!("IAMAT of{name} {NOWHERE} 1")));
    for (name, line) in FIVE.iter().zip(&lines) {
        herd.settle(&FIVE, &format!("of{name}"), line);
    }
    assert_eq!(given_up(&herd, &FIVE), 0);
    herd.kill("Hamilton");
    herd.restart("Hamilton");
    for (name, line) in FIVE.iter().zip(&lines) {
        herd.settle(&["Hamilton"], &format!("of{name}"), line);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_nats_and_then_the_herd_are_killed_under_load() {
    let Some(program) = nats_server::program() else { return };
    let mut nats = NatsServers::alone(&program);
    let mut herd = herd_at(&FIVE, &nats.urls(), "");
    let loaded = load(&client_addresses(&herd, &FIVE), |replies| {
        a_thousand_more(replies);
        nats.kill(0);
        nats.restart(0);
        a_thousand_more(replies);
    });
    nothing_is_lost(&mut herd, &FIVE, &nats, &loaded);
}

#[test]
fn a_cluster_loses_nothing_acknowledged_when_its_leader_and_then_all_are_killed_under_load() {
    let Some(program) = nats_server::newer_program() else { return };
    let mut nats = NatsServers::start(&program, 3, "");
    let mut herd = herd_at(&THREE, &nats.urls(), "replicas = 3");
    let loaded = load(&client_addresses(&herd, &THREE), |replies| {
        a_thousand_more(replies);
        let leader = nats.leader(&herd.name());
        nats.kill(leader);
        a_thousand_more(replies);
        nats.restart(leader);
        a_thousand_more(replies);
        nats.restart_all();
        a_thousand_more(replies);
    });
    nothing_is_lost(&mut herd, &THREE, &nats, &loaded);
}

#[test]
fn a_server_ends_in_time_while_nats_hangs() {
    let Some(program) = nats_server::program() else { return };
    ends_in_time("NATS hangs, and a reply waits for it", || -> Kept {
        let nats = NatsServers::alone(&program);
        let setup = with_bus(Setup::alone(), &nats.urls(), "");
        let herd = patient(setup).limit("ack_wait_ms", 60_000).start();
        live(&herd, "Alford");
        nats.signal(0, Signal::STOP);
        let mut client = herd.client("Alford");
        client.send(iamat("kiwi", NOWHERE, "1"));
        herd.catch_up("Alford");
        (herd, Box::new((client, nats)))
    });
}

/// Asserts that a report at one server is served by the other, with this bus.
fn joins(case: &str, nats: &NatsServers, login: &str, more: &str) {
    let url = format!("\"nats://{login}{}\"", nats.address(0));
    let herd = herd_at(&["Alford", "Bolden"], &url, more);
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.settle(&["Bolden"], "kiwi", &line);
    assert_eq!(given_up(&herd, &["Alford"]), 0, "{case}");
    for name in ["Alford", "Bolden"] {
        assert!(!herd.log(name).contains("s3cret"), "{case}: a log has the secret");
    }
}

/// The lines of a configuration with these users.
fn users(users: &str) -> String {
    format!("authorization {{ users: [ {users} ] }}")
}

#[test]
fn each_way_to_log_in_is_accepted() {
    let Some(program) = nats_server::program() else { return };
    let nats = NatsServers::guarded(&program, |_, _| users("{ user: herd, password: s3cret }"));
    joins("user and password", &nats, "herd:s3cret@", "");

    let nats = NatsServers::guarded(&program, |_, _| "authorization { token: s3cret }".into());
    joins("token", &nats, "s3cret@", "");

    let seed = seed_text(b"the seed of a key pair, 32 bytes");
    let nkey = Nkey::parse(&seed).expect("it is a seed");
    let mut file = PathBuf::new();
    let nats = NatsServers::guarded(&program, |_, folder| {
        file = folder.join("herd.nkey");
        fs::write(&file, &seed).expect("the folder is ours");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&file, private).expect("the folder is ours");
        users(&format!("{{ nkey: {} }}", nkey.public_key()))
    });
    joins("nkey", &nats, "", &format!("credentials = {file:?}"));
}

#[test]
fn tls_is_verified_with_the_authority_of_ca_file() {
    let Some(program) = nats_server::program() else { return };
    let mut authority = PathBuf::new();
    let nats = NatsServers::guarded(&program, |ip, folder| {
        let (from, until, uses) = ((2020, 1, 1), (2100, 1, 1), BOTH.to_vec());
        let wish = Wish { names: vec![ip.to_string()], from, until, uses };
        let ours = Authority::new("the test's");
        ours.issue(&wish).write(folder, "nats");
        ours.write(folder);
        authority = folder.join("ca.pem");
        let [certificate, key] = ["nats.pem", "nats.key"].map(|name| folder.join(name));
        format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}")
    });
    joins("TLS", &nats, "", &format!("ca_file = {authority:?}"));

    // Another authority of the same name is not trusted.
    let other = authority.with_file_name("other.pem");
    Authority::new("the test's").write_pem(&other).expect("the folder is ours");
    let setup = with_bus(Setup::alone(), &nats.urls(), &format!("ca_file = {other:?}"));
    let herd = setup.limit("ack_wait_ms", 1).start();
    herd.logged("Alford", &["Bus", "certificate"]);
    assert_eq!(herd.status("Alford")["bus"]["live"], false);
}

#[test]
fn with_a_wrong_password_the_log_has_the_remedy_and_the_server_goes_on() {
    let Some(program) = nats_server::program() else { return };
    let right = users("{ user: herd, password: right }");
    let mut nats = NatsServers::guarded(&program, |_, _| right);
    let url = format!("\"nats://herd:wr0ng@{}\"", nats.address(0));
    let herd = with_bus(Setup::alone(), &url, "").limit("ack_wait_ms", 1).start();
    herd.logged(
        "Alford",
        &["ERROR", "Authorization Violation", "check the login in `credentials`"],
    );
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.settle(&["Alford"], "kiwi", &line);
    assert_eq!(herd.status("Alford")["bus"]["live"], false);
    assert!(!herd.log("Alford").contains("wr0ng"), "the log has the password");

    nats.reload(0, &users("{ user: herd, password: wr0ng }"));
    live(&herd, "Alford");
    eventually("the report is written", || {
        holds(herd.status("Alford")["bus"]["results"]["acknowledged"] == 1)
    });
}

#[test]
fn a_revoked_login_ends_the_connection_and_a_restored_one_brings_what_was_missed() {
    let Some(program) = nats_server::program() else { return };
    let (ours, theirs) = ("{ user: herd, password: right }", "{ user: other, password: other }");
    let mut nats = NatsServers::guarded(&program, |_, _| users(&format!("{ours}, {theirs}")));
    let url = format!("\"nats://herd:right@{}\"", nats.address(0));
    let herd = herd_at(&["Alford", "Bolden"], &url, "");
    let mut client = herd.client("Alford");
    // 2.9 counts replaced messages among those that it will deliver to a watch that resumes.
    for stamp in 1..=5 {
        client.ask(format!("IAMAT mango {NOWHERE} {stamp}"));
    }
    nats.reload(0, &users(theirs));
    for name in ["Alford", "Bolden"] {
        herd.logged(name, &["ERROR", "Authorization Violation"]);
        assert_eq!(herd.status(name)["bus"]["live"], false, "{name}");
    }
    client.send(format!("IAMAT kiwi {NOWHERE} 1\n"));
    nats.reload(0, &users(&format!("{ours}, {theirs}")));
    let line = client.line();
    herd.settle(&["Bolden"], "kiwi", &line);
    assert_eq!(given_up(&herd, &["Alford"]), 0);
    for name in ["Alford", "Bolden"] {
        live(&herd, name);
        assert_eq!(herd.status(name)["bus"]["reads"], 1, "{name} has resumed");
    }
}

/// Runs `tests/python/bucket.py` with these arguments, if nats-py is installed, and returns its lines.
fn nats_py(nats: &NatsServers, args: &[&str]) -> Option<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let python = folder.join(".venv/bin/python");
    if !python.exists() {
        return skipped("nats-py is missing: run tests/python/install");
    }
    let url = format!("nats://{}", nats.address(0));
    let ran = Command::new(python).arg(folder.join("bucket.py")).arg(url).args(args).output();
    let ran = ran.expect("python can be started");
    let [out, err] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).expect("text"));
    assert!(ran.status.success(), "{args:?}: {err}");
    Some(out.lines().map(str::to_owned).collect())
}

#[test]
fn nats_py_reads_the_bucket_and_what_it_writes_is_served_and_what_it_deletes_comes_back() {
    let Some(program) = nats_server::program() else { return };
    let nats = NatsServers::alone(&program);
    if nats_py(&nats, &["make", "made_before"]).is_none() {
        return;
    }
    // Of the herd's own making, and of nats-py's, which lacks `allow_direct`.
    for (bucket, more) in [(None, ""), (Some("made_before"), "bucket = \"made_before\"")] {
        let herd = herd_at(&["Alford", "Bolden"], &nats.urls(), more);
        let name = herd.name();
        let bucket = bucket.unwrap_or(&name);
        let mut client = herd.client("Alford");
        let [kiwi, jane] = ["kiwi.cs.ucla.edu", "jane*phone"]
            .map(|id| show(&client.ask(format!("IAMAT {id} {NOWHERE} 1"))));
        let list = || {
            let mut lines = nats_py(&nats, &["list", bucket]).unwrap_or_default();
            lines.sort();
            lines
        };
        let ours = [format!("jane=2Aphone {jane}"), format!("kiwi.cs.ucla.edu {kiwi}")];
        assert_eq!(list(), ours);

        let mango = format!("AT Python +0.5 mango {NOWHERE} 2");
        nats_py(&nats, &["put", bucket, "mango", &mango]);
        herd.settle(&["Alford", "Bolden"], "mango", mango.as_bytes());

        nats_py(&nats, &["delete", bucket, "kiwi.cs.ucla.edu"]);
        nats_py(&nats, &["delete", bucket, "mango"]);
        let all = [&ours[..], &[format!("mango {mango}")]].concat();
        eventually_within(PATIENCE * 2, "what was deleted comes back", || match list() {
            lines if lines == all => Ok(()),
            lines => Err(lines),
        });
    }
}
