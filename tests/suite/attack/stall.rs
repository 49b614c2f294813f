//! The loop never stalls: silent name servers and Places services, a journal, and a log on a full disk, all at the same
//! time and under load.

use super::{ALFORD, bench, iamat_p99_us, median};
use crate::support::herd::{Client, Setup};
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Puts the log on a small file system of its own, which is soon full.
const ON_A_SMALL_DISK: &str = "mount -t tmpfs -o size=128k none log && exec \"$0\" \"$@\"";
const DISK_BYTES: u64 = 128 << 10;

/// Whether this machine allows mounting a private file system.
fn can_mount() -> bool {
    let words = ["-rm", "sh", "-c", "mount -t tmpfs -o size=128k none /mnt"];
    Command::new("unshare").args(words).output().is_ok_and(|output| output.status.success())
}

/// A service that never answers, with the tables of the topology that use it.
struct Dead {
    what: &'static str,
    tables: String,
}

fn source(base_url: &str, more: &str) -> String {
    format!(
        "[places]\nsource = \"google\"\nbase_url = \"{base_url}\"\nkey_file = \"key\"\n{more}\n"
    )
}

fn dead_name_server(address: SocketAddr) -> Dead {
    let resolver = format!("resolver = \"{address}\"");
    Dead { what: "a dead name server", tables: source("https://places.test", &resolver) }
}

fn dead_places(address: SocketAddr) -> Dead {
    Dead { what: "a dead Places", tables: source(&format!("https://{address}"), "") }
}

/// Loads a server that has all these troubles, and prints the latency of IAMATs.
fn troubled(dead: &Dead, load: &str, askers: usize) -> serde_json::Value {
    let mounts = can_mount();
    let setup =
        Setup::alone().more(&dead.tables).journal("sync = \"everysec\"").prepared(|folder| {
            fs::write(folder.join("key"), "nobodys\n").expect("the folder is ours");
            fs::create_dir_all(folder.join("log")).expect("the folder is ours");
        });
    let setup = match mounts {
        true => setup.inside(&["unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK]),
        false => setup,
    };
    let herd = setup.start();
    let mut client = herd.client(ALFORD);
    client.ask("IAMAT kiwi +34.068930-118.445127 5");

    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..askers)
        .map(|_| {
            let (mut client, stop, answers) = (herd.client(ALFORD), stop.clone(), answers.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    answers.fetch_add(ask_in_vain(&mut client), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let report = bench(&herd, load);
    stop.store(true, Ordering::Relaxed);
    for asker in asking {
        asker.join().expect("each question is answered");
    }
    let iamat = &report["latency_us"]["IAMAT"];
    println!(
        "P14 the loop never stalls, {}, journal everysec, log {}: {} IAMATs, p50 {} us, p99 {} us, max {} us; \
         {} WHATSATs answered",
        dead.what,
        if mounts { "on a full disk" } else { "on a disk (none can be mounted here)" },
        iamat["count"],
        iamat["p50"],
        iamat["p99"],
        iamat["max"],
        answers.load(Ordering::Relaxed),
    );
    assert!(answers.load(Ordering::Relaxed) >= askers, "each asker has its answers");
    if mounts {
        let folder = herd.folder().strip_prefix("/").expect("it is absolute").join("log");
        let root = PathBuf::from(format!("/proc/{}/root", herd.process(ALFORD).id()));
        let logs = fs::read_dir(root.join(folder)).expect("the process is there");
        let size: u64 = logs
            .map(|log| log.expect("a file").metadata().expect("a file"))
            .filter(|log| log.is_file())
            .map(|log| log.len())
            .sum();
        assert!(size > DISK_BYTES / 2 && size <= DISK_BYTES, "the disk is full: {size} bytes");
    }
    report
}

/// Asks as many WHATSATs as one connection may have open, and reads their answers: errors, within the deadline.
fn ask_in_vain(client: &mut Client) -> usize {
    const AT_ONCE: usize = 16;
    client.send("WHATSAT kiwi 10 5\n".repeat(AT_ONCE));
    for _ in 0..AT_ONCE {
        let nearby = client.nearby().expect("kiwi is known");
        let status = nearby.json["status"].as_str().expect("a status").to_owned();
        assert!(["UNKNOWN_ERROR", "OVER_QUERY_LIMIT"].contains(&&*status), "{status}");
    }
    AT_ONCE
}

fn all(load: &str, askers: usize) -> Vec<serde_json::Value> {
    // This name server receives questions and answers none.
    let names = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    // The kernel accepts connections into this backlog, and nothing answers.
    let places = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let name_server = dead_name_server(names.local_addr().expect("it is bound"));
    let service = dead_places(places.local_addr().expect("it listens"));
    [name_server, service].map(|dead| troubled(&dead, load, askers)).into()
}

#[test]
fn dead_services_a_journal_and_a_full_disk_stop_no_iamat() {
    for report in all("-C 10 -P 1 -n 3000 --keys 100", 2) {
        assert_eq!(report["latency_us"]["IAMAT"]["count"], 3_000);
    }
}

/// The machine may be busy with other work, so the test compares latencies with those of a server that has a journal and
/// no trouble.
#[test]
#[ignore = "takes a minute: load for 3 s, nine times"]
fn the_loop_never_stalls() {
    const LOAD: &str = "-C 100 -P 1 -d 3 --rate 5000 --keys 1000";
    let (mut calm, mut ratios) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..3 {
        let herd = Setup::alone().journal("sync = \"everysec\"").start();
        let without = iamat_p99_us(&bench(&herd, LOAD));
        drop(herd);
        for (ratios, report) in ratios.iter_mut().zip(all(LOAD, 20)) {
            ratios.push(iamat_p99_us(&report) / without);
        }
        calm.push(without);
    }
    let [names, places] = ratios.map(|ratios| median(&ratios));
    println!(
        "P14 the loop never stalls, IAMAT p99, medians of 3: {:.0} us without trouble; {names:.2} x with a \
         dead name server, {places:.2} x with a dead Places",
        median(&calm)
    );
    assert!(names <= 2.0 && places <= 2.0);
}
