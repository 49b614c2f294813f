//! The herd of five in trouble: servers that die, hang, and are cut off from each other, and the state of the herd when
//! the trouble is over.
//!
//! The text of each assertion names its case.

use crate::support::herd::{FIVE, Herd, NOWHERE, Setup, eventually, masked, same, show};
use std::io::Write;
use std::thread;

/// Waits until all of `names` give exactly `expected` for `clients`.
#[track_caller]
fn settle_all(herd: &Herd, names: &[&str], clients: &[String], expected: &[Option<String>]) {
    for name in names {
        eventually(&format!("{name} has the newest of all"), || {
            let lines = herd.reports(name, clients);
            let other = lines.iter().zip(expected).position(|(line, expected)| line != expected);
            match other {
                None => Ok(()),
                Some(at) => Err(format!("{at}: {:?}, not {:?}", lines[at], expected[at])),
            }
        });
    }
}

#[test]
fn a_server_that_was_killed_comes_back_and_learns_all_it_missed_and_had() {
    let mut herd = Setup::five().start();
    let own = herd.client("Parker").ask(format!("IAMAT parkers {NOWHERE} 1400000000.123456789"));
    let old = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1400000000"));
    herd.settle(&FIVE, "parkers", &own);
    herd.settle(&FIVE, "kiwi", &old);

    herd.kill("Parker");
    let new = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1400000001"));
    herd.settle(&["Alford", "Welsh", "Bolden"], "kiwi", &new);
    let known = herd.report("Hamilton", "kiwi");
    assert_eq!(known, Some(show(&old)), "a server down: go on, with what is known");
    let cut_off = herd.client("Hamilton").ask(format!("IAMAT islander {NOWHERE} 1"));

    herd.restart("Parker");
    herd.settle(&FIVE, "kiwi", &new);
    herd.settle(&FIVE, "islander", &cut_off);
    // The restarted server learns all locations, its own earlier clients included, with the original AT lines.
    herd.settle(&FIVE, "parkers", &own);
    let next = herd.client("Hamilton").ask(format!("IAMAT kiwi {NOWHERE} 1400000002"));
    herd.settle(&FIVE, "kiwi", &next);
}

#[test]
fn a_server_dies_and_comes_back_again_and_again() {
    let mut herd = Setup::five().start();
    for round in 0..4 {
        herd.kill("Parker");
        let line = herd.client("Hamilton").ask(format!("IAMAT kiwi {NOWHERE} {round}"));
        herd.restart("Parker");
        herd.settle(&FIVE, "kiwi", &line);
    }
}

#[test]
fn sides_of_a_split_herd_go_on_and_are_equal_and_newest_when_it_heals() {
    const CLIENTS: usize = 100;
    let mut herd = Setup::five().start();
    let clients: Vec<String> = (0..CLIENTS).map(|n| format!("k{n}")).collect();
    for client in &clients {
        herd.client("Alford").ask(format!("IAMAT {client} {NOWHERE} 1"));
    }
    let before = herd.reports("Alford", &clients);
    settle_all(&herd, &FIVE, &clients, &before);

    // Without these two no server receives news of another.
    herd.kill("Parker");
    herd.kill("Welsh");
    let (mut expected, mut bolden_first) = (Vec::new(), String::new());
    for (number, client) in clients.iter().enumerate() {
        // Each side receives reports of each client; the newest is now on one side, now on another.
        let sides = ["Alford", "Bolden", "Hamilton"];
        let lines: Vec<Vec<u8>> = sides
            .iter()
            .enumerate()
            .map(|(side, name)| {
                let stamp = 10 + (side + number) % sides.len();
                herd.client(name).ask(format!("IAMAT {client} {NOWHERE} {stamp}"))
            })
            .collect();
        let newest = lines.iter().find(|line| line.ends_with(b" 12")).expect("one is the newest");
        expected.push(Some(show(newest)));
        if number == 0 {
            bolden_first = show(&lines[1]);
        }
        for (name, line) in sides.iter().zip(&lines) {
            let known = herd.report(name, client);
            assert_eq!(known, Some(show(line)), "the other side must still give its own copy");
        }
    }
    herd.restart("Welsh");
    // Two of the three sides are linked again. Bolden's report of the first client is newer than that of the other
    // side.
    let first = &clients[0];
    herd.settle(&["Alford", "Bolden", "Welsh"], first, bolden_first.as_bytes());
    herd.restart("Parker");
    // The partition has healed: all servers converge on the newest reports.
    settle_all(&herd, &FIVE, &clients, &expected);
}

/// Reports each of `clients` at `server`, `rounds` times, with growing stamps; and checks after each round that another
/// connection is served.
fn load(herd: &Herd, server: &str, clients: &[String], rounds: usize) {
    let mut connection = herd.client(server);
    let mut other = herd.client(server);
    for round in 1..=rounds {
        let commands: String =
            clients.iter().map(|client| format!("IAMAT {client} {NOWHERE} {round}\n")).collect();
        let mut writer = connection.writer();
        let sender = thread::spawn(move || writer.write_all(commands.as_bytes()));
        for client in clients {
            let expected = format!("AT {server} # {client} {NOWHERE} {round}");
            same(&masked(&connection.line()), expected.as_bytes(), "no delay to others");
        }
        sender.join().expect("the sender ends").expect("all was sent");
        same(&other.ask("x"), b"? x", "no delay to others");
    }
}

#[test]
fn a_server_that_comes_back_is_sent_thousands_of_clients() {
    // More than a neighbour's send buffer holds, so that its backlog is sent in many portions.
    let pad = "k".repeat(500);
    let clients: Vec<String> = (0..5_000).map(|n| format!("{n}{pad}")).collect();
    let mut herd = Setup::five().without_traffic_in_the_log().start();
    herd.kill("Hamilton");
    load(&herd, "Alford", &clients, 2);
    let known = herd.reports("Alford", &clients);
    herd.restart("Hamilton");
    settle_all(&herd, &["Hamilton"], &clients, &known);
}

#[test]
fn a_hung_neighbour_delays_no_client_costs_bounded_memory_and_catches_up() {
    const CLIENTS: usize = 2_000;
    const ID_BYTES: usize = 1_000;
    const ROUNDS: usize = 15;
    let herd = Setup::five().without_traffic_in_the_log().start();
    herd.linked("Alford", "Parker");
    herd.linked("Alford", "Welsh");
    herd.linked("Bolden", "Welsh");
    herd.linked("Hamilton", "Parker");
    let pad = "k".repeat(ID_BYTES - 8);
    let clients: Vec<String> = (0..CLIENTS).map(|n| format!("{n:08}{pad}")).collect();
    let others = ["Alford", "Bolden", "Welsh"];
    let before = others.map(|name| herd.process(name).memory_bytes());

    herd.freeze("Parker");
    load(&herd, "Alford", &clients, ROUNDS);
    let newest = herd.reports("Alford", &clients);
    assert!(newest.iter().flatten().all(|line| line.ends_with(&format!(" {ROUNDS}"))));
    settle_all(&herd, &others, &clients, &newest);

    // The bound is three times the size of the lines, plus the size of a neighbour's send buffer. That is far less
    // than the clients have sent.
    let bound = 3 * CLIENTS * (ID_BYTES + 100) + (2 << 20);
    let said = ROUNDS * CLIENTS * (ID_BYTES + 100);
    assert!(bound * 3 < said, "the test says enough to see a queue grow");
    for (name, before) in others.iter().zip(before) {
        let grown = herd.process(name).memory_bytes().saturating_sub(before) as usize;
        assert!(grown < bound, "queue bounded: {name} has grown by {grown} bytes, not {bound}");
    }

    herd.thaw("Parker");
    // Parker catches up after SIGCONT, and so does Hamilton, whose only neighbour it is.
    settle_all(&herd, &["Parker", "Hamilton"], &clients, &newest);
}

#[test]
fn a_neighbour_that_falls_silent_is_dropped_and_met_again() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let herd = setup.limit("ping_ms", 100).limit("silence_ms", 2_000).start();
    herd.linked("Alford", "Bolden");
    let first = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.settle(&["Bolden"], "kiwi", &first);
    herd.freeze("Bolden");
    herd.logged("Alford", &["Bolden", "silence_ms = 2000"]);
    herd.logged("Alford", &["Bolden", "disconnected"]);
    let second = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 2"));
    herd.thaw("Bolden");
    herd.settle(&["Alford", "Bolden"], "kiwi", &second);
}

#[test]
fn a_neighbour_that_was_never_up_is_linked_when_it_starts() {
    let mut herd = Setup::five().start();
    for name in ["Parker", "Welsh"] {
        herd.kill(name);
    }
    let lines = ["Alford", "Bolden", "Hamilton"].map(|name| {
        let line = herd.client(name).ask(format!("IAMAT of{name} {NOWHERE} 1"));
        (format!("of{name}"), line)
    });
    for name in ["Welsh", "Parker"] {
        herd.restart(name);
    }
    for (client, line) in &lines {
        herd.settle(&FIVE, client, line);
    }
}
