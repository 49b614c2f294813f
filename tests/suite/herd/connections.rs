//! Connections of clients: how commands may be cut into pieces, the order of replies, and clients that end, vanish, or
//! do not read.
//!
//! The text of each assertion names its case.

use crate::support::herd::{Client, NOWHERE, Setup, eventually, holds, iamat, masked, same, show};
use std::io::Write;
use std::thread;

const AT: &[u8] = b"AT Alford # kiwi +34-118 1400000000\n";
const IAMAT: &[u8] = b"IAMAT kiwi +34-118 1400000000\n";

#[test]
fn a_reply_comes_at_once_and_the_connection_stays() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let case = "reply while the client keeps the connection open: at once; several commands on one \
                connection: served in turn";
    for _ in 0..3 {
        same(&masked(&client.ask(&IAMAT[..IAMAT.len() - 1])), &AT[..AT.len() - 1], case);
        same(&client.ask("x"), b"? x", case);
    }
}

#[test]
fn commands_in_one_segment_are_each_answered() {
    let herd = Setup::alone().start();
    let case = "two commands in one segment";
    let reply = herd.client("Alford").say_all([IAMAT, b"x\n", IAMAT].concat());
    same(&masked(&reply), &[AT, b"? x\n", AT].concat(), case);
}

#[test]
fn a_command_may_come_byte_by_byte() {
    let herd = Setup::alone().start();
    let (mut client, mut other) = (herd.client("Alford"), herd.client("Alford"));
    for byte in [IAMAT, b"x y\n"].concat() {
        client.send([byte]);
        // This answer shows that the server has read the byte. So each byte is a segment, and a read, of its own.
        same(&other.ask("read?"), b"? read?", "another client is served meanwhile");
    }
    client.half_close();
    same(&masked(&client.rest()), &[AT, b"? x y\n"].concat(), "one split over many");
}

#[test]
fn any_cut_of_two_commands_gives_the_same_replies() {
    let herd = Setup::alone().start();
    let mut other = herd.client("Alford");
    let commands = b"IAMAT k +0+0 1\r\n\nWHAT k\n";
    for cut in 0..=commands.len() {
        let mut client = herd.client("Alford");
        client.send(&commands[..cut]);
        other.ask("read?");
        let reply = client.say_all(&commands[cut..]);
        same(&masked(&reply), b"AT Alford # k +0+0 1\n? WHAT k\n", &format!("cut at {cut}"));
    }
}

#[test]
fn a_half_closed_client_gets_all_its_replies_and_then_the_end() {
    let herd = Setup::alone().start();
    let unended = &IAMAT[..IAMAT.len() - 1];
    let cases = [
        ("`printf 'IAMAT..\\n' | nc` (half-close): replies sent", IAMAT.to_vec(), AT.to_vec()),
        ("last line without newline, then EOF: counts", unended.to_vec(), AT.to_vec()),
        ("3 in one segment", [IAMAT, b"x\n", IAMAT].concat(), [AT, b"? x\n", AT].concat()),
        (
            "3 in one segment, the last without newline",
            [IAMAT, b"x\n", b"y"].concat(),
            [AT, b"? x\n? y\n"].concat(),
        ),
        ("a CR for the last end", b"x\r".to_vec(), b"? x\n".to_vec()),
    ];
    for (case, sent, expected) in cases {
        let reply = herd.client("Alford").say_all(sent);
        same(&masked(&reply), &expected, case);
    }
}

#[test]
fn a_half_closed_client_gets_its_places_too() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    client.send("IAMAT kiwi +34.068930-118.445127 1400000000\nWHATSAT kiwi 10 5\nWHATSAT kiwi 9 1");
    client.half_close();
    let at = client.line();
    for most in [5, 1] {
        let nearby = client.nearby().expect("kiwi is known");
        same(&nearby.line, &at, "then the server closes, also after a slow Places call");
        assert_eq!(nearby.results().len(), most);
    }
    same(&client.rest(), b"", "then the end");
}

#[test]
fn replies_come_in_the_order_of_the_commands() {
    const ROUNDS: usize = 100;
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let mut writer = client.writer();
    let sender = thread::spawn(move || {
        for round in 0..ROUNDS {
            // More WHATSATs than may be open at a time, with other commands between and after them.
            let commands = format!(
                "IAMAT kiwi +34.068930-118.445127 {round}\n{}x {round}\nWHATSAT kiwi 10 2\nIAMAT o +0+0 {round}\n",
                "WHATSAT kiwi 10 1\n".repeat(20)
            );
            writer.write_all(commands.as_bytes()).expect("the server reads");
        }
    });
    for round in 0..ROUNDS {
        let at = client.line();
        assert!(at.ends_with(format!(" {round}").as_bytes()), "{round}: {}", show(&at));
        for most in [[1; 20].as_slice(), &[2]].concat().into_iter().enumerate() {
            if most.0 == 20 {
                same(&client.line(), format!("? x {round}").as_bytes(), "order of requests");
            }
            let nearby = client.nearby().expect("kiwi is known");
            same(&nearby.line, &at, "order of requests");
            assert_eq!(nearby.results().len(), most.1, "order of requests");
        }
        let expected = format!("AT Alford # o +0+0 {round}");
        same(&masked(&client.line()), expected.as_bytes(), "order of requests");
    }
    sender.join().expect("all was sent");
}

#[test]
fn ten_thousand_pipelined_commands_have_ten_thousand_replies_in_order() {
    const MANY: usize = 10_000;
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let mut writer = client.writer();
    let commands: String =
        (0..MANY).map(|n| iamat(&format!("k{}", n % 7), "+0+0", &n.to_string())).collect();
    let sender = thread::spawn(move || writer.write_all(commands.as_bytes()));
    for n in 0..MANY {
        let expected = format!("AT Alford # k{} +0+0 {n}", n % 7);
        same(&masked(&client.line()), expected.as_bytes(), "in order");
    }
    sender.join().expect("the sender ends").expect("all was sent");
    client.half_close();
    same(&client.rest(), b"", "and no more than that");
}

#[test]
fn a_client_that_never_reads_is_not_read_and_gets_every_reply_in_the_end() {
    let herd = Setup::alone().without_traffic_in_the_log().start();
    let before = herd.process("Alford").memory_bytes();
    let mut client = herd.narrow_client("Alford");
    let id = "kiwi".repeat(250);
    let command = |n: usize| iamat(&id, "+0+0", &n.to_string());
    let (begun, rest) = herd.hold_up("Alford", &mut client, command);

    let grown = herd.process("Alford").memory_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "back-pressure, bounded memory: it has grown by {grown} bytes");

    let mut writer = client.writer();
    let sender = thread::spawn(move || writer.write_all(&rest));
    for n in 0..begun {
        let expected = format!("AT Alford # {id} +0+0 {n}");
        same(&masked(&client.line()), expected.as_bytes(), "every reply, in order");
    }
    sender.join().expect("the sender ends").expect("all was sent");
}

#[test]
fn a_client_that_never_reads_its_places_is_not_read_and_gets_them_in_the_end() {
    let herd = Setup::alone().without_traffic_in_the_log().start();
    let mut client = herd.narrow_client("Alford");
    client.ask("IAMAT kiwi +34.068930-118.445127 1400000000");
    let before = herd.process("Alford").memory_bytes();
    let command = |n: usize| format!("WHATSAT kiwi 50 {}\n", n % 20 + 1);
    let (begun, _) = herd.hold_up("Alford", &mut client, command);

    let grown = herd.process("Alford").memory_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "back-pressure, bounded memory: it has grown by {grown} bytes");

    // All answers would be more than a hundred megabytes of JSON.
    assert!(begun > 1_000);
    for n in 0..1_000 {
        let nearby = client.nearby().expect("kiwi is known");
        assert_eq!(nearby.results().len(), n % 20 + 1, "every reply, in order");
    }
}

#[test]
fn idle_and_vanishing_clients_leave_nothing_behind() {
    let herd = Setup::alone().start();
    let server = herd.process("Alford");
    herd.catch_up("Alford");
    let mut other = herd.client("Alford");
    let before = eventually("only one client is left", || {
        other.ask("x");
        let descriptors = server.descriptors();
        thread::yield_now();
        if server.descriptors() == descriptors { Ok(descriptors) } else { Err(descriptors) }
    });
    let mut clients: Vec<Client> = (0..300).map(|_| herd.client("Alford")).collect();
    same(&other.ask("x"), b"? x", "300 idle connections: no effect");
    for (number, mut client) in clients.drain(..).enumerate() {
        // Some clients have sent nothing, some half a line, some a command whose reply they do not read.
        if number % 3 > 0 {
            client.send(&IAMAT[..if number % 3 == 1 { 9 } else { IAMAT.len() }]);
        }
        if number % 2 == 0 { client.reset() } else { drop(client) }
    }
    eventually("resets, leaks: no descriptor is left over", || {
        same(&other.ask("x"), b"? x", "resets: no effect");
        holds(server.descriptors() <= before)
    });
}

#[test]
fn a_client_sees_nothing_but_its_own_replies() {
    let herd = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]).start();
    let mut waiting = herd.client("Bolden");
    same(&waiting.ask("x"), b"? x", "no banner, no prompt");
    let mut other = herd.client("Alford");
    for n in 0..100 {
        other.ask(format!("IAMAT kiwi {NOWHERE} {n}"));
    }
    let last = other.ask(format!("IAMAT kiwi {NOWHERE} 100"));
    herd.settle(&["Bolden"], "kiwi", &last);
    waiting.half_close();
    same(&waiting.rest(), b"", "waiting clients during floods: nothing");
}
