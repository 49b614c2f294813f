//! The server as a process: its log, its shutdown, its one thread, its processor time, its descriptors.

use crate::support::herd::{Client, NOWHERE, Setup, eventually, holds, iamat, masked, same, show};
use rustix::process::Signal;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn every_line_in_and_out_is_in_the_log() {
    let herd = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]).start();
    herd.linked("Alford", "Bolden");
    let mut client = herd.client("Alford");
    let at = show(&client.ask(format!("IAMAT kiwi {NOWHERE} 1400000000.5")));
    herd.settle(&["Bolden"], "kiwi", at.as_bytes());
    client.ask("no  such command");
    let iamat = format!("IAMAT kiwi {NOWHERE} 1400000000.5");
    let cases = [
        ("Alford", vec![" < ", &iamat], "a client's line"),
        ("Alford", vec![" > ", &at, "Chatserver"], "the answer"),
        ("Alford", vec!["Bolden", " > ", &at], "the flood, with the neighbour's name"),
        ("Bolden", vec!["Alford", " < ", &at], "the same at the other end"),
        ("Alford", vec![" < ", "no  such command"], "an invalid command"),
        ("Alford", vec![" > ", "? no  such command"], "and its copy"),
        ("Bolden", vec![" < ", "WHATSAT kiwi 0.001 1"], "a question"),
        ("Bolden", vec![" > ", &at, "Chatserver"], "the AT line of its answer"),
        (
            "Bolden",
            vec![",127.0.0.1:", ": WHATSAT kiwi 0.001 1: ZERO_RESULTS, no places, "],
            "who asked, and the outcome",
        ),
        ("Alford", vec!["HELLO Alford", " > "], "HELLO out"),
        ("Alford", vec!["HELLO Bolden", " < "], "HELLO in"),
    ];
    for (server, parts, _) in cases {
        herd.logged(server, &parts);
    }
    let log = herd.log("Bolden");
    assert!(!log.contains("html_attributions"), "of a reply to WHATSAT never the JSON: {log}");
}

#[test]
fn connections_made_and_lost_are_in_the_log_with_the_neighbours_name() {
    let mut herd = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]).start();
    herd.logged("Alford", &["connected: linked to Bolden"]);
    herd.logged("Bolden", &["connected: linked to Alford"]);
    herd.kill("Bolden");
    herd.logged("Alford", &["Interserver", "Bolden", "disconnected"]);
    herd.restart("Bolden");
    eventually("they are linked again", || {
        holds(herd.log("Alford").matches("linked to Bolden").count() == 2)
    });
}

#[test]
fn one_event_is_one_line_of_the_log_whatever_a_client_sends() {
    let herd = Setup::alone().start();
    let forged = "2026-11-22T10:16:39.123456Z ERROR forged";
    let ids: [&[u8]; 5] = [
        b"\x1b[2J\x1b[31mred\x07",
        "\u{202e}desrever\u{202c}\u{2066}\u{200f}".as_bytes(),
        "line\u{2028}separator\u{2029}\u{85}\u{feff}".as_bytes(),
        b"\xff\xfe\xc3\x28\x9b1m",
        b"back\\slash\\x1b\x7f\0",
    ];
    let mut client = herd.client("Alford");
    for id in ids {
        let line = [b"IAMAT ", id, b" +34-118 1400000000"].concat();
        assert!(client.ask(&line).starts_with(b"AT Alford "), "{}", show(&line));
    }
    client.ask(format!("x\r{forged}\x0b{forged}"));
    herd.logged("Alford", &["\\x1b[2J\\x1b[31mred\\x07"]);
    herd.logged("Alford", &["back\\\\slash\\\\x1b\\x7f\\x00"]);
    herd.logged("Alford", &[" > ? x\\x0d"]);
    let log = herd.log("Alford");
    for line in log.lines() {
        let fields: Vec<&str> = line.splitn(3, ' ').collect();
        let level = fields.get(1).copied().unwrap_or_default();
        assert!(line.starts_with("20") && fields[0].ends_with('Z'), "a time comes first: {line:?}");
        assert!(["INFO", "WARN"].contains(&level), "then a level, and no ERROR: {line:?}");
    }
    let seen = |c: char| !matches!(c, '\n' | ' '..='~');
    assert_eq!(log.chars().find(|&c| seen(c)), None, "control and bidi characters are escaped");
    let answers = log.lines().filter(|line| line.contains(" > "));
    assert_eq!(answers.count(), ids.len() + 1, "one event, one line");
}

#[test]
fn a_terminated_server_closes_idle_clients_and_its_ports_and_exits_with_0() {
    let mut herd =
        Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]).limit("drain_ms", 60_000).start();
    herd.linked("Alford", "Bolden");
    for (name, signal) in [("Alford", Signal::TERM), ("Bolden", Signal::INT)] {
        let mut idle = herd.client(name);
        same(&idle.ask("x"), b"? x", "it is served");
        let mut half = herd.client(name);
        half.send("IAMAT kiwi +34-118 14");
        herd.process(name).signal(signal);
        same(&idle.rest(), b"", "idle clients are closed, not reset");
        same(&half.rest_and_end().0, b"", "half a line has no reply");
        herd.closed(name);
        // Far sooner than drain_ms, because nothing has to be drained.
        let status = eventually("it ends", || herd.process_mut(name).ended().ok_or("it runs"));
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn a_terminated_server_sends_what_it_has_answered() {
    // The limits are high, so that they do not matter, however long the sending takes and however many commands the
    // client has sent meanwhile.
    let setup = Setup::alone().limit("drain_ms", 60_000);
    let setup = setup.limit("linger_ms", 60_000).limit("linger_bytes", 1 << 30);
    let mut herd = setup.start();
    let mut client = herd.narrow_client("Alford");
    // Many commands are answered, with more replies than the kernel takes; and many are not read yet.
    let id = "kiwi".repeat(250);
    herd.hold_up("Alford", &mut client, |n| iamat(&id, "+0+0", &n.to_string()));
    herd.process("Alford").signal(Signal::TERM);
    herd.closed("Alford");
    let (replies, _) = client.rest_and_end();
    drop(client);
    let replies = masked(&replies);
    let lines: Vec<&[u8]> = replies.split_inclusive(|&byte| byte == b'\n').collect();
    for (n, line) in lines.iter().enumerate() {
        let expected = format!("AT Alford # {id} +0+0 {n}\n");
        same(line, expected.as_bytes(), "whole lines in order");
    }
    let status = eventually("it ends", || herd.process_mut("Alford").ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(0));
    let answered = herd.log("Alford").lines().filter(|line| line.contains(" > AT ")).count();
    assert_eq!(lines.len(), answered, "a reply in flight still arrives");
}

#[test]
fn a_terminated_server_gives_places_that_were_asked_for() {
    let mut herd = Setup::alone().limit("drain_ms", 60_000).start();
    let mut client = herd.narrow_client("Alford");
    client.ask("IAMAT kiwi +34.068930-118.445127 1400000000");
    for _ in 0..10 {
        client.send("WHATSAT kiwi 50 20\n");
    }
    herd.catch_up("Alford");
    herd.process("Alford").signal(Signal::TERM);
    herd.closed("Alford");
    for _ in 0..10 {
        assert_eq!(client.nearby().expect("kiwi is known").results().len(), 20);
    }
    same(&client.rest(), b"", "then the end");
    let status = eventually("it ends", || herd.process_mut("Alford").ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_terminated_server_waits_no_longer_than_drain_ms() {
    // Only drain_ms ends a connection whose client does not read its replies.
    let setup = Setup::alone().limit("drain_ms", 300);
    let mut herd = setup.limit("close_ms", 600_000).limit("linger_ms", 60_000).start();
    let mut client = herd.narrow_client("Alford");
    client.ask("IAMAT kiwi +34.068930-118.445127 1400000000");
    herd.hold_up("Alford", &mut client, |_| "WHATSAT kiwi 50 20\n".to_owned());
    herd.process("Alford").signal(Signal::TERM);
    let status = eventually("it ends", || herd.process_mut("Alford").ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut herd = Setup::alone().limit("drain_ms", 600_000).limit("close_ms", 600_000).start();
    let mut client = herd.narrow_client("Alford");
    client.ask("IAMAT kiwi +34.068930-118.445127 1400000000");
    herd.hold_up("Alford", &mut client, |_| "WHATSAT kiwi 50 20\n".to_owned());
    herd.process("Alford").signal(Signal::TERM);
    herd.closed("Alford");
    herd.process("Alford").signal(Signal::TERM);
    eventually("it ends", || herd.process_mut("Alford").ended().ok_or("it runs"));
    herd.logged("Alford", &["INFO  SIGTERM: Alford stops, and serves its connections"]);
    herd.logged("Alford", &["INFO  SIGTERM: Alford ends at once: this is the second signal"]);
}

#[test]
fn a_server_has_one_thread_under_load() {
    let herd = Setup::five().start();
    let mut clients: Vec<Client> = (0..50).map(|_| herd.client("Parker")).collect();
    for round in 0..20 {
        for client in &mut clients {
            client.send(format!("IAMAT kiwi +34-118 {round}\nWHATSAT kiwi 10 5\n"));
        }
        assert_eq!(herd.process("Parker").threads(), 1, "while it is at work");
        for client in &mut clients {
            assert!(client.line().starts_with(b"AT "));
            client.nearby().expect("kiwi is known");
        }
    }
    for name in ["Alford", "Bolden", "Hamilton", "Parker", "Welsh"] {
        assert_eq!(herd.process(name).threads(), 1);
    }
}

#[test]
fn an_idle_herd_uses_no_processor_time() {
    let herd = Setup::five().start();
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.settle(&["Hamilton", "Bolden"], "kiwi", &line);
    let mut idle = herd.client("Parker");
    idle.send("half a line");
    herd.catch_up("Parker");
    let names = ["Alford", "Bolden", "Hamilton", "Parker", "Welsh"];
    let ticks = || names.map(|name| herd.process(name).ticks());
    // Waits until the last log lines are written and all servers are linked.
    let mut before = ticks();
    eventually("nothing is left to do", || {
        thread::park_timeout(Duration::from_millis(200));
        let now = ticks();
        let quiet = std::mem::replace(&mut before, now) == now;
        holds(quiet)
    });
    // The time in which nothing must happen.
    let end = Instant::now() + Duration::from_secs(1);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    let used: Vec<u64> = ticks().iter().zip(before).map(|(now, before)| now - before).collect();
    // The kernel may charge one tick to any process that happens to run.
    assert!(used.iter().all(|&ticks| ticks <= 1), "ticks of 10 ms in a second: {used:?}");
}

#[test]
fn without_descriptors_clients_are_turned_away_and_the_processor_rests() {
    let herd = Setup::of(&["Alford"], &[]).descriptors(64).start();
    let server = herd.process("Alford");
    let mut first = herd.client("Alford");
    same(&first.ask("x"), b"? x", "the first is served");
    let mut clients: Vec<Client> = (0..200).map(|_| herd.client("Alford")).collect();
    // Each client is accepted and answered, or closed; none is left waiting.
    let mut served: Vec<Client> = Vec::new();
    for mut client in clients.drain(..) {
        client.try_send("x\n");
        if !client.is_ended() {
            served.push(client);
        }
    }
    assert!((10..64).contains(&served.len()), "{} of 200 are served", served.len());
    let line = herd.logged("Alford", &["limit", "turned away"]);
    assert!(line.contains("connections"), "the log names limit and key: {line}");

    same(&first.ask("y"), b"? y", "a connected client is served all the time");
    let before = server.ticks();
    let end = Instant::now() + Duration::from_millis(500);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    let used = server.ticks() - before;
    assert!(used <= 5, "it does not spin: {used} ticks of 50");

    served.clear();
    eventually("new clients are served", || {
        let mut client = herd.client("Alford");
        client.try_send("x\n");
        holds(!client.is_ended())
    });
}
