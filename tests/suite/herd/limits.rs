//! Limits: what happens to connections that exceed one. docs/protocol.md names their keys.

use crate::support::herd::{
    Client, Herd, NOWHERE, Setup, eventually, holds, iamat, masked, same, stamp, unix_ns,
};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

/// The default of `line_bytes`.
const LINE_BYTES: usize = 16_384;

/// The default of `line_echo_bytes`.
const ECHO_BYTES: usize = 1_024;

fn letters(count: usize) -> Vec<u8> {
    (0..count).map(|n| b'a' + (n % 26) as u8).collect()
}

/// The reply to a line that is too long.
fn cut(line: &[u8]) -> Vec<u8> {
    [b"? ", &line[..ECHO_BYTES], b"\n"].concat()
}

#[test]
fn a_line_of_16384_bytes_is_served() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let (start, end) = ("IAMAT kiwi ", "+34-118 1400000000");
    let padded = format!("{start}{}{end}", " ".repeat(LINE_BYTES - start.len() - end.len()));
    assert_eq!(padded.len(), LINE_BYTES);
    for line_end in ["", "\r"] {
        let reply = client.ask(format!("{padded}{line_end}"));
        same(&masked(&reply), b"AT Alford # kiwi +34-118 1400000000", "a command so long");
    }
    let line = letters(LINE_BYTES);
    same(&client.ask(&line), &[b"? ", &line[..]].concat(), "no command, so long: a whole copy");
    let reply = herd.client("Alford").say_all(&line);
    same(&reply, &[b"? ", &line[..], b"\n"].concat(), "and without its end");
}

#[test]
fn a_longer_line_is_answered_by_its_beginning_and_the_end() {
    let herd = Setup::alone().start();
    for (case, length, end) in [
        ("one byte too long", LINE_BYTES + 1, "\n"),
        ("one byte too long, CR LF", LINE_BYTES + 1, "\r\n"),
        ("one byte too long, the end of the stream", LINE_BYTES + 1, ""),
        ("64 KiB line", 65_536, "\n"),
        ("64 KiB line, and commands behind it", 65_536, "\nIAMAT k +0+0 1\nx\n"),
    ] {
        let line = letters(length);
        let reply = herd.client("Alford").say_all([&line, end.as_bytes()].concat());
        same(&reply, &cut(&line), case);
    }
    assert_eq!(herd.report("Alford", "k"), None, "what follows such a line is not read");
    herd.logged("Alford", &["line_bytes = 16384"]);
}

#[test]
fn a_longer_line_ends_the_connection_without_the_clients_help() {
    // So long that only the client's half-close could end the connection sooner.
    let herd = Setup::alone().limit("linger_ms", 60_000).start();
    let mut client = herd.client("Alford");
    let line = letters(40_000);
    client.send("before\n");
    client.send([&line, &b"\n"[..]].concat());
    let expected = [b"? before\n".as_slice(), &cut(&line)].concat();
    same(&client.rest(), &expected, "the write side is shut, though the client's is not");
    assert!(client.try_send(letters(100_000)), "further input is still read and discarded");
    client.half_close();
}

#[test]
fn an_endless_line_is_cut_short() {
    let herd = Setup::alone().limit("linger_ms", 60_000).start();
    let before = herd.process("Alford").memory_bytes();
    let mut client = herd.client("Alford");
    let mut writer = Client::from(client.writer());
    let line = letters(26 * 10_000);
    let piece = line.clone();
    // Far more than `linger_bytes`; the server closes before all of it is sent.
    let sender = thread::spawn(move || (0..400).take_while(|_| writer.try_send(&piece)).count());
    let (reply, _) = client.rest_and_end();
    same(&reply, &cut(&line), "64 KiB line, endless line: `?` line");
    let pieces = sender.join().expect("the sender ends");
    assert!(pieces < 400, "the server takes {pieces} pieces of 260 kB and goes on");
    let grown = herd.process("Alford").memory_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "bounded memory: it has grown by {grown} bytes");
    herd.catch_up("Alford");
}

#[test]
fn a_silent_client_behind_a_long_line_is_closed_in_time() {
    let herd = Setup::alone().limit("linger_ms", 100).start();
    let mut client = herd.client("Alford");
    let line = letters(20_000);
    client.send(&line);
    same(&client.rest(), &cut(&line), "answered without a line end");
    eventually("it is closed after linger_ms", || holds(!client.try_send("x\n")));
}

#[test]
fn an_unfinished_line_is_given_its_time_and_no_more() {
    let herd = Setup::alone().limit("unfinished_line_ms", 300).start();
    let mut idle = herd.client("Alford");
    let mut slow = herd.client("Alford");
    slow.send("IAMAT kiwi +34-118 14000");
    let mut trickling = herd.client("Alford");
    eventually("bytes that trickle in do not prolong it", || holds(!trickling.try_send("x")));
    let (reply, _) = slow.rest_and_end();
    same(&reply, b"", "closed without a reply");
    same(&idle.ask("x"), b"? x", "a client that has begun no line may wait for ever");
    assert_eq!(herd.report("Alford", "kiwi"), None, "half a command is none");
    herd.logged(
        "Alford",
        &["WARN", "limit: unfinished_line_ms = 300, reached by Chatserver,", " closed"],
    );
    let mut stranger = herd.stranger("Alford");
    stranger.send("HEL");
    assert!(stranger.is_ended(), "neighbours have no more time");
    herd.logged("Alford", &["Interserver,", "disconnected: timed out: an unfinished line"]);
}

#[test]
fn the_log_tells_which_limit_refused_reports_by_their_stamps() {
    let herd = Setup::alone().limit("max_future_ms", 1_000).limit("expire_after_s", 60).start();
    let mut client = herd.client("Alford");
    for stamp in ["9999999999", "1"] {
        let refused = format!("IAMAT kiwi {NOWHERE} {stamp}");
        same(&client.ask(&refused), format!("? {refused}").as_bytes(), "it is refused");
    }
    herd.logged("Alford", &["WARN", "limit: max_future_ms = 1000: 1 report refused"]);
    herd.logged("Alford", &["WARN", "limit: expire_after_s = 60: 1 report refused"]);
}

#[test]
fn each_limit_on_lines_and_commands_is_logged_with_its_key_and_counted() {
    let setup = Setup::alone().limit("client_id_bytes", 3).limit("location_bytes", 16);
    let herd = setup.limit("line_bytes", 1_024).limit("line_echo_bytes", 4).start();
    let mut client = herd.client("Alford");
    for refused in ["IAMAT kiwi +34-118 1", "WHATSAT kiwi 10 5", "IAMAT ki +34.123456-118.12345 1"]
    {
        same(&client.ask(refused), format!("? {refused}").as_bytes(), "it is refused");
    }
    same(
        &client.ask("IAMAT ki here 1"),
        b"? IAMAT ki here 1",
        "this is not a location of any length",
    );
    for _ in 0..2 {
        let mut talker = herd.client("Alford");
        talker.send(letters(2_000));
        assert!(talker.rest().starts_with(b"? "));
    }
    let hits = herd.status("Alford")["limit_hits"].clone();
    for (key, value, times, outcome) in [
        ("client_id_bytes", "3", 2, "commands refused"),
        ("location_bytes", "16", 1, "commands refused"),
        (
            "line_bytes",
            "1024 (echoed: line_echo_bytes = 4), reached by Chatserver,",
            2,
            "connections closed",
        ),
    ] {
        assert_eq!(hits[key], times, "{key}: {hits}");
        let outcome = outcome.replacen('s', "", 1);
        herd.logged(
            "Alford",
            &["WARN", &format!("limit: {key} = {value}"), &format!(": 1 {outcome}")],
        );
    }
    assert_eq!(hits["connections"], 0, "{hits}");
}

#[test]
fn the_log_names_the_smaller_one_of_two_limits_on_stamps_ahead() {
    for (max_future_ms, ahead_max_s, named) in [
        (0, 60, "limit: ahead_max_s = 60: 1 report refused"),
        (60_001, 60, "limit: ahead_max_s = 60: 1 report refused"),
        (60_000, 60, "limit: max_future_ms = 60000: 1 report refused"),
    ] {
        let setup = Setup::alone().limit("max_future_ms", max_future_ms);
        let herd = setup.limit("ahead_max_s", ahead_max_s).start();
        let refused = format!("IAMAT kiwi {NOWHERE} 9999999999");
        same(&herd.client("Alford").ask(&refused), format!("? {refused}").as_bytes(), named);
        herd.logged("Alford", &["WARN", named]);
    }
}

#[test]
fn the_log_names_the_client_that_did_not_take_the_rest_within_close_ms() {
    let setup = Setup::alone().limit("drain_ms", 60_000).limit("close_ms", 300);
    let herd = setup.without_traffic_in_the_log().start();
    let mut client = herd.narrow_client("Alford");
    herd.hold_up("Alford", &mut client, |n| iamat(&"kiwi".repeat(250), NOWHERE, &n.to_string()));
    herd.process("Alford").signal(Signal::TERM);
    herd.logged(
        "Alford",
        &["WARN", "limit: close_ms = 300, as Chatserver,", "does not read: 1 connection aborted"],
    );
}

#[test]
fn status_connections_have_limits_too_and_the_log_names_them() {
    const ASKERS_MAX: usize = 16;
    let herd = Setup::alone().start();
    let ask = || UnixStream::connect(herd.status_socket("Alford")).expect("it listens");
    let mut endless = ask();
    // The server may close before all of the line is sent.
    let _ = endless.write_all(&letters(100_000));
    let mut reply = Vec::new();
    let _ = endless.read_to_end(&mut reply);
    same(&reply, b"", "closed without a reply");
    herd.logged(
        "Alford",
        &["WARN", "limit: LINE_BYTES = 1024, reached by Status,", "1 connection closed"],
    );

    // Another herd is used here, because the first status connection may not have ended yet.
    let herd = Setup::alone().start();
    let ask = || UnixStream::connect(herd.status_socket("Alford")).expect("it listens");
    let mut askers: Vec<UnixStream> = (0..2 * ASKERS_MAX).map(|_| ask()).collect();
    let served = askers.iter_mut().filter_map(|asker| {
        asker.write_all(b"x\n").ok()?;
        let mut reply = [0; 4];
        asker.read_exact(&mut reply).ok()?;
        same(&reply, b"? x\n", "an accepted connection is answered");
        Some(())
    });
    assert_eq!(served.count(), ASKERS_MAX);
    herd.logged("Alford", &["WARN", "limit: ASKERS_MAX = 16: ", "connections of herd status"]);
}

/// Adds up the numbers of the log lines that end with `end`: `limit: connections = 1: 72 clients turned away`.
fn times(log: &str, end: &str) -> u64 {
    let one = end.replacen("s ", " ", 1);
    let lines = log.lines().filter_map(|line| line.strip_suffix(end).or(line.strip_suffix(&one)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn the_log_counts_all_that_were_turned_away_while_the_server_is_idle_and_when_it_ends() {
    const END: &str = " clients turned away";
    let mut herd = Setup::alone().limit("connections", 1).start();
    herd.logged("Alford", &["Chatserver,", "disconnected"]);
    let mut client = herd.client("Alford");
    same(&client.ask("x"), b"? x", "the first is let in");
    let turn_away = |herd: &Herd, many: usize| {
        for mut each in (0..many).map(|_| herd.client("Alford")) {
            assert!(each.is_ended(), "it is turned away");
        }
    };
    turn_away(&herd, 72);
    // Nothing more happens, and still the log reports all of them.
    eventually("all 72 are logged", || match times(&herd.log("Alford"), END) {
        72 => Ok(()),
        times => Err(times),
    });
    turn_away(&herd, 41);
    herd.process("Alford").signal(Signal::TERM);
    eventually("it ends", || herd.process_mut("Alford").ended().ok_or("it runs"));
    assert_eq!(times(&herd.log("Alford"), END), 72 + 41, "the end tells the rest");
}

#[test]
fn strangers_at_the_peer_port_write_one_line_a_second_and_not_what_they_like() {
    const MANY: u64 = 60;
    let herd = Setup::alone().start();
    let start = Instant::now();
    let garbage = "\x01".repeat(16_000) + "\n";
    for _ in 0..MANY {
        let mut stranger = herd.stranger("Alford");
        stranger.try_send(&garbage);
        assert!(stranger.line_or_end().is_none_or(|line| line.starts_with(b"?")));
    }
    eventually("all are logged", || match times(&herd.log("Alford"), " connections like this") {
        MANY => Ok(()),
        times => Err(times),
    });
    let log = herd.log("Alford");
    let told = log.lines().filter(|line| line.contains("rejected: its first line is not a valid"));
    let bytes: Vec<usize> = told.map(str::len).collect();
    let lines_max = start.elapsed().as_secs() as usize + 2;
    assert!(bytes.len() <= lines_max && bytes.iter().all(|bytes| *bytes < 5_000), "{bytes:?}");
}

#[test]
fn the_log_tells_of_each_refused_report_under_the_limit_that_refused_it() {
    let mut herd = Setup::alone().limit("expire_after_s", 60).limit("known_clients", 1).start();
    let mut client = herd.client("Alford");
    client.ask(iamat("kiwi", NOWHERE, &stamp(unix_ns())).trim_end());
    for _ in 0..10 {
        for line in [
            format!("IAMAT kiwi {NOWHERE} 9999999999"),
            format!("IAMAT kiwi {NOWHERE} 1"),
            format!("IAMAT fig {NOWHERE} {}", stamp(unix_ns())),
        ] {
            same(&client.ask(&line), format!("? {line}").as_bytes(), "it is refused");
        }
    }
    herd.process("Alford").signal(Signal::TERM);
    eventually("it ends", || herd.process_mut("Alford").ended().ok_or("it runs"));
    let log = herd.log("Alford");
    for limit in ["max_future_ms = 86400000", "expire_after_s = 60", "known_clients = 1, "] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(limit)).collect();
        let end = if limit.contains("clients") {
            " reports of new clients refused"
        } else {
            " reports refused"
        };
        assert_eq!(times(&lines.join("\n"), end), 10, "{limit}: {lines:?}");
    }
}

#[test]
fn above_known_clients_only_the_known_are_served() {
    let edges = [("Alford", "Bolden")];
    let herd = Setup::of(&["Alford", "Bolden"], &edges).limit("known_clients", 2).start();
    let mut client = herd.client("Alford");
    for id in ["k1", "k2"] {
        let line = client.ask(format!("IAMAT {id} {NOWHERE} 1"));
        herd.settle(&["Bolden"], id, &line);
    }
    let refused = format!("IAMAT k3 {NOWHERE} 1");
    same(&client.ask(&refused), format!("? {refused}").as_bytes(), "a third one is refused");
    let at_bolden = herd.client("Bolden").ask(&refused);
    same(&at_bolden, format!("? {refused}").as_bytes(), "those of other servers count, too");
    let line = client.ask(format!("IAMAT k1 {NOWHERE} 2"));
    herd.settle(&["Alford", "Bolden"], "k1", &line);
    herd.logged("Alford", &["limit", "known_clients = 2"]);
}

#[test]
fn above_connections_clients_are_turned_away_and_neighbours_are_not() {
    let setup = Setup::of(&["Alford"], &[]).played("Aaron", "Alford").limit("connections", 10);
    let herd = setup.start();
    let mut clients: Vec<Client> = Vec::new();
    eventually("one is too many", || {
        assert!(clients.len() <= 20, "ten are allowed");
        let mut client = herd.client("Alford");
        client.try_send("x\n");
        if client.is_ended() {
            return Ok(());
        }
        same(&client.line(), b"? x", "this one is let in");
        clients.push(client);
        Err(clients.len())
    });
    herd.neighbour("Aaron", "Alford");
    same(&clients[0].ask("y"), b"? y", "connected clients are served");
    herd.logged("Alford", &["limit", "connections = 10"]);
    clients.clear();
    eventually("there is room again", || {
        let mut client = herd.client("Alford");
        client.try_send("x\n");
        holds(!client.is_ended())
    });
}
