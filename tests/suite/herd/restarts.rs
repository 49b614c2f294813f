//! Servers that are restarted under use: one after the other with SIGTERM, or a hub on which all other servers and many
//! clients depend. The long forms are plays of examples/chaos (docs/chaos.md).

use crate::support::herd::{Client, FIVE, Herd, NOWHERE, Setup, eventually, holds, masked, same};
use rustix::process::Signal;

/// Ends `name` with SIGTERM while a client of each server sends reports. Adds the clients of the reports that were
/// acknowledged; no reply is cut, and no client of `name` is reset.
pub(super) fn end_under_load(
    herd: &mut Herd,
    name: &str,
    round: usize,
    acknowledged: &mut Vec<String>,
) {
    const REPORTS: usize = 300;
    let mut client = herd.client(name);
    let others: Vec<&str> = FIVE.into_iter().filter(|other| *other != name).collect();
    let mut loads: Vec<Client> = others.iter().map(|other| herd.client(other)).collect();
    let commands = |to: &str| -> String {
        let ids = (0..REPORTS).map(|n| (format!("{to}-{round}-{name}-{n}"), n));
        ids.map(|(id, n)| format!("IAMAT {id} {NOWHERE} {n}\n")).collect()
    };
    for (load, other) in loads.iter_mut().zip(&others) {
        load.send(commands(other));
    }
    client.send(commands(name));
    // At least one command has been answered; the number of others is random.
    let first = client.line();
    herd.process(name).signal(Signal::TERM);
    let (rest, end) = client.rest_and_end();
    assert!(end.is_none(), "{name} resets nobody: {end:?}");
    let mut taken = vec![(name, [&first[..], b"\n", &rest].concat())];
    for (mut load, other) in loads.into_iter().zip(others) {
        let lines = (0..REPORTS).flat_map(|_| [load.line(), b"\n".to_vec()].concat());
        taken.push((other, lines.collect()));
    }
    for (server, replies) in taken {
        let replies = masked(&replies);
        assert!(replies.ends_with(b"\n"), "no reply is cut");
        for (n, line) in replies.split(|&byte| byte == b'\n').enumerate() {
            if !line.is_empty() {
                let client = format!("{server}-{round}-{name}-{n}");
                let expected = format!("AT {server} # {client} {NOWHERE} {n}");
                same(line, expected.as_bytes(), "replies in order, none left out");
                acknowledged.push(client);
            }
        }
    }
    let status = eventually("it ends", || herd.process_mut(name).ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(0));
}

/// Waits until each server of the herd of five knows all of `clients`.
pub(super) fn all_know(herd: &Herd, clients: &[String]) {
    for name in FIVE {
        eventually(&format!("{name} knows all that was acknowledged"), || {
            let known = herd.reports(name, clients);
            let lost = known.iter().position(Option::is_none);
            lost.map_or(Ok(()), |lost| Err(clients[lost].clone()))
        });
    }
}

#[test]
fn a_rolling_restart_under_load_loses_no_acknowledged_report_and_resets_no_client() {
    const ROUNDS: usize = 2;
    let setup = Setup::five().journal("sync = \"no\"").without_traffic_in_the_log();
    let mut herd = setup.start();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        for name in FIVE {
            end_under_load(&mut herd, name, round, &mut acknowledged);
            herd.restart(name);
        }
    }
    all_know(&herd, &acknowledged);
}

#[test]
fn a_server_killed_ten_times_in_a_row_is_linked_again_each_time_at_once() {
    let edges = [("Alford", "Bolden")];
    let mut herd = Setup::of(&["Alford", "Bolden"], &edges).start();
    for kill in 0..10 {
        herd.kill("Alford");
        let line = herd.client("Bolden").ask(format!("IAMAT kiwi {NOWHERE} {kill}"));
        herd.restart("Alford");
        herd.settle(&["Alford", "Bolden"], "kiwi", &line);
    }
    // The kernel has reported each loss to Bolden, so no link was replaced, and nothing was warned of or rejected.
    let log = herd.log("Bolden");
    assert!(!log.contains("claim one name") && !log.contains("rejected"), "{log}");
}

#[test]
fn a_dialled_server_killed_ten_times_in_a_row_is_linked_again_and_warned_of_once() {
    let edges = [("Alford", "Bolden")];
    let mut herd = Setup::of(&["Alford", "Bolden"], &edges).start();
    for kill in 0..10 {
        herd.linked("Alford", "Bolden");
        herd.kill("Bolden");
        let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} {kill}"));
        herd.restart("Bolden");
        herd.settle(&["Alford", "Bolden"], "kiwi", &line);
    }
    let log = herd.log("Alford");
    let warnings =
        log.lines().filter(|line| line.contains(" WARN ") && line.contains("was lost 5 times"));
    assert_eq!(warnings.count(), 1, "{log}");
}

#[test]
fn two_servers_that_claim_one_name_are_warned_of_once_and_the_link_stays() {
    // The pause is so long that no attempt of this test comes after it.
    let setup = Setup::alone().played("Aaron", "Alford").limit("retry_max_ms", 3_600_000);
    let herd = setup.limit("retry_first_ms", 60_000).start();
    let mut links: Vec<Client> = (0..6).map(|_| herd.neighbour("Aaron", "Alford")).collect();
    for link in &mut links[..5] {
        assert!(link.is_ended(), "the next has replaced it");
    }
    let hello = herd.hello("Aaron");
    for _ in 0..3 {
        let mut rejected = herd.stranger("Alford");
        same(&rejected.ask(&hello), format!("? {hello}").as_bytes(), "rejected");
        assert!(rejected.is_ended());
    }
    // The last of the six is the link: its lines count.
    let line = format!("AT Aaron +0.5 kiwi {NOWHERE} 1");
    links[5].send(format!("{line}\n"));
    eventually("it is known", || herd.report("Alford", "kiwi").ok_or("not yet"));
    herd.logged("Alford", &["INFO", "rejected: Aaron is linked, and was replaced too often"]);
    let log = herd.log("Alford");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("claim one name")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let linked = links[5].writer().local_addr().expect("it is bound");
    assert!(
        warnings[0].contains(" WARN ") && warnings[0].contains(&linked.to_string()),
        "{warnings:?}"
    );
    assert_eq!(
        warnings[0].matches("Aaron at 127.0.0.1:").count(),
        2,
        "both addresses: {warnings:?}"
    );
}

#[test]
fn a_hub_that_was_killed_has_all_its_neighbours_and_clients_back() {
    const CLIENTS: usize = 200;
    // The hub's name sorts last, so that all others dial it.
    const HUB: &str = "Zenith";
    let leaves = ["L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8"];
    let names: Vec<&str> = leaves.into_iter().chain([HUB]).collect();
    let edges = leaves.map(|leaf| (leaf, HUB));
    let mut herd = Setup::of(&names, &edges).without_traffic_in_the_log().start();
    for leaf in leaves {
        herd.linked(leaf, HUB);
    }
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| herd.client(HUB)).collect();
    herd.kill(HUB);
    assert!(clients.iter_mut().all(Client::is_ended), "a dead server's clients hear of it");
    // Reports to the leaves stay there while the hub is down.
    let lines = leaves.map(|leaf| herd.client(leaf).ask(format!("IAMAT of{leaf} {NOWHERE} 1")));

    herd.restart(HUB);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| herd.client(HUB)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let line = masked(&client.ask(format!("IAMAT c{number} {NOWHERE} 1")));
        same(&line, format!("AT {HUB} # c{number} {NOWHERE} 1").as_bytes(), "it is served");
    }
    for leaf in leaves {
        eventually("the link is back", || {
            holds(herd.log(leaf).matches("linked to Zenith").count() == 2)
        });
    }
    for (leaf, line) in leaves.iter().zip(&lines) {
        herd.settle(&names, &format!("of{leaf}"), line);
    }
}
