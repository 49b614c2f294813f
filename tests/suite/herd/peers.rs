//! The peer port: which connections it accepts and rejects, and the lines between neighbours. The test plays
//! Aaron, a neighbour of Alford's whose name sorts first, so that Aaron dials.

use crate::support::herd::{Client, NOWHERE, Setup, masked, same, show};
use std::fs;
use std::path::Path;

fn alford_and_aaron() -> Setup {
    Setup::of(&["Alford"], &[]).played("Aaron", "Alford")
}

/// The next line that is not a PING.
fn news(neighbour: &mut Client) -> Vec<u8> {
    loop {
        let line = neighbour.line();
        if line != b"PING" {
            return line;
        }
    }
}

/// Asks for the lines of all leaves, 32 at a time.
fn ask_for_all(neighbour: &mut Client) {
    let wants = (0..1 << 16).step_by(32).map(|first| format!("WANT {first:04x} ffffffff\n"));
    neighbour.send(wants.collect::<String>());
}

#[test]
fn what_neighbours_say_is_an_invalid_command_on_the_client_port() {
    let herd = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]).start();
    herd.linked("Alford", "Bolden");
    let mut client = herd.client("Alford");
    let lines = [
        "AT Bolden +0.263873386 spoofed -48.8767-123.3933 1400000000.5".to_owned(),
        "SYNC 0123456789abcdef".to_owned(),
        "WANT 0000 ffffffff".to_owned(),
        "AT Alford +0.263873386 spoofed -48.8767-123.3933 1400000000.5".to_owned(),
        "AS Clark +0.25 testuser +12-118 1234".to_owned(),
        herd.hello("Bolden"),
        herd.hello("Alford"),
        "PING".to_owned(),
    ];
    for line in &lines {
        let case = "AT from a client on the client port: `? ` + copy";
        same(&client.ask(line), format!("? {line}").as_bytes(), case);
    }
    same(&client.ask(&lines[0]), format!("? {}", lines[0]).as_bytes(), "nor after a HELLO");
    let marker = client.ask(format!("IAMAT marker {NOWHERE} 1"));
    herd.settle(&["Bolden"], "marker", &marker);
    for server in ["Alford", "Bolden"] {
        assert_eq!(herd.report(server, "spoofed"), None, "no effect at {server}");
    }
}

#[test]
fn a_stranger_that_says_one_wrong_word_is_out() {
    let setup = alford_and_aaron().played("Zoe", "Alford");
    let herd = setup.start();
    let name = herd.name();
    let at = "AT Aaron +0.263873386 kiwi -48.8767-123.3933 1400000000.5";
    let cases = [
        ("unknown name", format!("HELLO Nobody {name} 1")),
        ("another case", format!("HELLO aaron {name} 1")),
        ("wrong herd", format!("HELLO Aaron {name}x 1")),
        ("wrong version", format!("HELLO Aaron {name} 2")),
        ("wrong version", format!("HELLO Aaron {name} 0")),
        ("no version", format!("HELLO Aaron {name}")),
        ("a version that is none", format!("HELLO Aaron {name} one")),
        ("an option without a key", format!("HELLO Aaron {name} 1 =x")),
        ("own name", format!("HELLO Alford {name} 1")),
        ("a name that sorts after", format!("HELLO Zoe {name} 1")),
        ("AT before HELLO", at.to_owned()),
        ("PING before HELLO", "PING".to_owned()),
        ("a client's command", format!("IAMAT kiwi {NOWHERE} 1400000000.5")),
        ("a client's command", "WHATSAT kiwi 10 5".to_owned()),
        ("garbage", "lorem  ipsum".to_owned()),
        ("HTTP", "GET / HTTP/1.1".to_owned()),
        ("NUL bytes", "\0\0\0".to_owned()),
    ];
    for (case, line) in cases {
        let mut stranger = herd.stranger("Alford");
        // The server does not read the lines after the wrong one.
        let hello = herd.hello("Aaron");
        stranger.send(format!("{line}\n{hello}\n{at}\n"));
        same(&stranger.rest(), format!("? {line}\n").as_bytes(), case);
        assert_eq!(herd.report("Alford", "kiwi"), None, "{case}: state unchanged");
    }
    let mut stranger = herd.stranger("Alford");
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xde\xad\n\xbe\xef\x00";
    stranger.send(hello);
    let answer = [b"? ", &hello[..13], b"\n"].concat();
    same(&stranger.rest(), &answer, "TLS hello");
}

#[test]
fn a_stranger_that_says_nothing_is_out_after_hello_ms() {
    let herd = alford_and_aaron().limit("hello_ms", 200).start();
    let mut silent = herd.stranger("Alford");
    let mut undecided = herd.stranger("Alford");
    undecided.send("HELLO Aaron ");
    let mut blank = herd.stranger("Alford");
    blank.send("\n \r\n");
    for stranger in [&mut silent, &mut undecided, &mut blank] {
        same(&stranger.rest_and_end().0, b"", "HELLO timeout closes, without a word");
    }
    herd.logged("Alford", &["WARN", "limit: hello_ms = 200, reached by Interserver,", " closed"]);
    assert_eq!(herd.status("Alford")["limit_hits"]["hello_ms"], 3);
}

#[test]
fn a_stranger_that_leaves_is_forgotten() {
    let herd = alford_and_aaron().start();
    same(&herd.stranger("Alford").say_all(""), b"", "nothing is said to it");
    same(&herd.stranger("Alford").say_all("HEL"), b"? HEL\n", "the last line counts here, too");
    drop(herd.neighbour("Aaron", "Alford"));
}

#[test]
fn hello_is_answered_by_hello_and_want_by_the_whole_table() {
    let herd = alford_and_aaron().start();
    let mut client = herd.client("Alford");
    client.ask(format!("IAMAT k1 {NOWHERE} 1"));
    let known = [
        client.ask(format!("IAMAT k1 {NOWHERE} 2")),
        client.ask(format!("IAMAT k2 {NOWHERE} 1")),
        client.ask(format!("IAMAT k3 {NOWHERE} 1")),
    ];
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    neighbour.send("SYNC 0000000000000000\n");
    for first in (0..256).step_by(32) {
        let row = show(&news(&mut neighbour));
        assert!(row.starts_with(&format!("GROUPS {first:02x} ")), "it differs: {row}");
    }
    ask_for_all(&mut neighbour);
    let mut told: Vec<Vec<u8>> = (0..3).map(|_| news(&mut neighbour)).collect();
    told.sort_unstable();
    assert!(told == known, "each client's latest line, once: {:?}", told.map_show());
    let line = client.ask(format!("IAMAT k4 {NOWHERE} 1"));
    same(&news(&mut neighbour), &line, "and from then on what is new");
}

/// Shows a line in messages.
trait MapShow {
    fn map_show(&self) -> Vec<String>;
}

impl MapShow for Vec<Vec<u8>> {
    fn map_show(&self) -> Vec<String> {
        self.iter().map(|line| show(line)).collect()
    }
}

#[test]
fn unknown_options_of_a_hello_are_ignored() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.stranger("Alford");
    let answer = neighbour.ask(format!("{} digest=1 empty= a=b=c", herd.hello("Aaron")));
    assert_eq!(show(&answer), herd.told_hello("Alford"));
}

#[test]
fn a_neighbours_news_is_accepted_and_not_sent_back() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    let at = format!("AT Welsh +0.001250331 kiwi {NOWHERE} 1400000000.5");
    neighbour.send(format!("{at}\n"));
    herd.settle(&["Alford"], "kiwi", at.as_bytes());
    let older = format!("AT Welsh +0.001250331 kiwi {NOWHERE} 1400000000.4");
    neighbour.send(format!("{older}\r\n{at}\n  AT  Parker -0.000000001 owl {NOWHERE} 7 \n"));
    herd.settle(&["Alford"], "owl", format!("AT Parker -0.000000001 owl {NOWHERE} 7").as_bytes());
    herd.settle(&["Alford"], "kiwi", at.as_bytes());
    // An IAMAT that is not newer is answered, but is not news.
    let mut client = herd.client("Alford");
    client.ask(format!("IAMAT kiwi {NOWHERE} 1400000000.4"));
    client.ask(format!("IAMAT kiwi {NOWHERE} 1400000000.5"));
    let marker = client.ask(format!("IAMAT marker {NOWHERE} 1"));
    client.ask(format!("IAMAT marker {NOWHERE} 1"));
    let last = client.ask(format!("IAMAT marker {NOWHERE} 2"));
    same(&news(&mut neighbour), &marker, "of all that, only this is news to Aaron");
    same(&news(&mut neighbour), &last, "the same IAMAT again is not flooded");
}

#[test]
fn of_equal_stamps_the_greater_line_counts() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    let at = |server: &str, difference: &str| {
        format!("AT {server} {difference} kiwi {NOWHERE} 1400000000.5")
    };
    let (less, greater) = (at("Parker", "+0.000000001"), at("Parker", "+0.000000002"));
    for (said, known) in [(&greater, &greater), (&less, &greater)] {
        neighbour.send(format!("{said}\nx\n"));
        same(&news(&mut neighbour), b"? x", "it has been read");
        assert_eq!(herd.report("Alford", "kiwi").as_ref(), Some(known));
    }
    let greatest = at("Welsh", "+0.000000001");
    neighbour.send(format!("{greatest}\n"));
    herd.settle(&["Alford"], "kiwi", greatest.as_bytes());
}

#[test]
fn a_malformed_line_of_a_neighbour_is_answered_and_the_link_stays() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    let lines = [
        "AT",
        "AT Welsh +0.001250331 kiwi +34-118",
        "AT Welsh +0.001250331 kiwi +34-118 1400000000 more",
        "AT Welsh +nan kiwi +34-118 1400000000",
        "AT Welsh --999.99 kiwi +34-118 1400000000",
        "AT Welsh +0.001250331 kiwi +91-118 1400000000",
        "AT Welsh +0.001250331 kiwi +34-118 nan",
        "at Welsh +0.001250331 kiwi +34-118 1400000000",
        "IAMAT kiwi +34-118 1400000000",
        "WHATSAT kiwi 10 5",
        "PING PONG",
        "lorem  ipsum",
        "\0",
    ];
    for line in lines {
        neighbour.send(format!("{line}\n"));
        same(&news(&mut neighbour), format!("? {line}").as_bytes(), "malformed AT: `? `");
    }
    let hello = herd.hello("Aaron");
    neighbour.send(format!("{hello}\n"));
    same(&news(&mut neighbour), format!("? {hello}").as_bytes(), "HELLO is said once");
    assert_eq!(herd.report("Alford", "kiwi"), None, "none of them had an effect");
    let at = format!("AT Welsh +0.001250331 kiwi {NOWHERE} 1400000000");
    neighbour.send(format!("{at}\n"));
    herd.settle(&["Alford"], "kiwi", at.as_bytes());
}

#[test]
fn a_complaint_is_logged_and_never_answered() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    neighbour.send("? AT Alford\n?\n?x\n? ? ?\n\n  \r\nlast\n");
    same(&news(&mut neighbour), b"? last", "nothing was said to those before");
    herd.logged("Alford", &["Aaron", "? ? ?"]);
    let mut stranger = herd.stranger("Alford");
    stranger.send("? x\n");
    stranger.half_close();
    same(&stranger.rest(), b"", "nor to a stranger's");
}

#[test]
fn a_second_hello_of_a_linked_name_replaces_the_first() {
    let herd = alford_and_aaron().start();
    let mut first = herd.neighbour("Aaron", "Alford");
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    same(&news(&mut first), &line, "the first is linked");
    let mut second = herd.neighbour("Aaron", "Alford");
    same(&first.rest_and_end().0, b"", "the first is closed");
    ask_for_all(&mut second);
    same(&news(&mut second), &line, "the second link receives the whole table");
    let next = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 2"));
    same(&news(&mut second), &next, "and what is new");
    let at = format!("AT Welsh +0.001250331 kiwi {NOWHERE} 3");
    second.send(format!("{at}\n"));
    herd.settle(&["Alford"], "kiwi", at.as_bytes());
}

#[test]
fn an_impostor_does_not_replace_a_link() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    let hello = format!("HELLO Aaron {} 2", herd.name());
    let impostor = herd.stranger("Alford").say_all(format!("{hello}\n"));
    same(&impostor, format!("? {hello}\n").as_bytes(), "refused");
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    same(&news(&mut neighbour), &line, "the link is up");
}

#[test]
fn signs_of_life_are_given_and_expected() {
    let herd = alford_and_aaron().limit("ping_ms", 100).limit("silence_ms", 1_000).start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    for _ in 0..3 {
        same(&neighbour.line(), b"PING", "PING from both sides");
    }
    let (pings, _) = neighbour.rest_and_end();
    assert!(pings.starts_with(b"PING\nPING\n"), "they go on while nothing comes: {}", show(&pings));
    herd.logged(
        "Alford",
        &["WARN", "limit: silence_ms = 1000, reached by Interserver,", "Aaron: 1 conn"],
    );
    assert_eq!(herd.status("Alford")["limit_hits"]["silence_ms"], 1);
    assert!(!herd.log("Alford").contains("PING"), "without RUST_LOG=debug no PING is logged");
    // Any line is a sign of life: a neighbour that sends lines outlives the limit.
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    for _ in 0..20 {
        same(&neighbour.line(), b"PING", "a tenth of a second and more");
        neighbour.send("PING\n");
    }
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    same(&news(&mut neighbour), &line, "the link is still up");
}

#[test]
fn a_neighbour_whose_name_sorts_after_is_dialled_again_and_again() {
    let herd = Setup::of(&["Alford"], &[]).played("Zoe", "Alford").start();
    let kiwi = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    for round in 0..4 {
        let mut link = herd.dialled("Zoe");
        assert_eq!(
            show(&link.line()),
            format!("{} bye=1", herd.told_hello("Alford")),
            "the dialling server says HELLO first"
        );
        if round == 1 {
            link.send("HELLO Zoe another-herd 1\n");
            same(&link.rest(), b"? HELLO Zoe another-herd 1\n", "another herd is refused");
            continue;
        }
        link.send(format!("{}\n", herd.hello("Zoe")));
        let sync = show(&news(&mut link));
        assert!(sync.starts_with("SYNC ") && sync.len() == 21, "then SYNC, on every link: {sync}");
        ask_for_all(&mut link);
        same(&news(&mut link), &kiwi, "each new link receives the whole table");
        let at = format!("AT Zoe +0.000000001 kiwi {NOWHERE} 0");
        link.send(format!("{at}\nx\n"));
        same(&news(&mut link), b"? x", "the older news of Zoe is not news");
        if round == 2 { link.reset() } else { drop(link) }
    }
}

#[test]
fn a_line_too_long_ends_a_neighbours_connection() {
    let herd = alford_and_aaron().start();
    let mut neighbour = herd.neighbour("Aaron", "Alford");
    let line = "x".repeat(16_385);
    neighbour.send(format!("{line}\n"));
    neighbour.half_close();
    same(&neighbour.rest(), format!("? {}\n", &line[..1_024]).as_bytes(), "its first 1,024 bytes");
    herd.logged("Alford", &["WARN", "limit: line_bytes = 16384 (", "Aaron: 1 connection closed"]);
    assert_eq!(herd.status("Alford")["limit_hits"]["line_bytes"], 1);
}

#[test]
fn a_neighbour_that_does_not_read_gets_the_latest_line_of_every_client() {
    const CLIENTS: usize = 500;
    const ROUNDS: usize = 30;
    let pad = "k".repeat(990);
    let herd = alford_and_aaron().without_traffic_in_the_log().start();
    let mut neighbour = herd.narrow_neighbour("Aaron", "Alford");
    let mut client = herd.client("Alford");
    let before = herd.process("Alford").memory_bytes();
    for round in 1..=ROUNDS {
        for n in 0..CLIENTS {
            client.ask(format!("IAMAT {n}{pad} {NOWHERE} {round}"));
        }
    }
    let grown = herd.process("Alford").memory_bytes().saturating_sub(before);
    let said = ROUNDS * CLIENTS * 1_000;
    assert!(grown < 4 << 20, "bounded: it has grown by {grown} bytes and had {said} to say");
    let mut last = vec![0; CLIENTS];
    let mut told = 0;
    while last.iter().any(|&round| round < ROUNDS) {
        let line = String::from_utf8(news(&mut neighbour)).expect("it is ASCII");
        let fields: Vec<&str> = line.split(' ').collect();
        let n: usize = fields[3].trim_end_matches('k').parse().expect("a client's number");
        let round: usize = fields[5].parse().expect("a stamp");
        assert!(round > last[n], "news of {n} comes in order, once: {round} after {}", last[n]);
        last[n] = round;
        told += 1;
    }
    assert!(told < ROUNDS * CLIENTS, "the backlog holds clients, not lines: {told} lines came");
}

#[test]
fn servers_may_be_started_in_any_order() {
    for names in [["Alford", "Bolden"], ["Bolden", "Alford"]] {
        let herd = Setup::of(&names, &[("Alford", "Bolden")]).start();
        let line = herd.client(names[0]).ask(format!("IAMAT kiwi {NOWHERE} 1"));
        let expected = format!("AT {} # kiwi {NOWHERE} 1", names[0]);
        same(&masked(&line), expected.as_bytes(), "the origin is named");
        herd.settle(&names, "kiwi", &line);
    }
}

/// Sets `ack = "peer"`: servers reply when a neighbour has the report, too.
fn ack_peer(folder: &Path) {
    let path = folder.join("topology.toml");
    let text = fs::read_to_string(&path).expect("it has been written");
    fs::write(path, format!("ack = \"peer\"\n{text}")).expect("the folder is ours");
}

#[test]
fn with_ack_peer_a_reply_waits_for_a_neighbours_acknowledgement() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]).prepared(ack_peer);
    // Longer than any deadline of this test, so only an ACK can release the replies.
    let herd = setup.limit("ack_wait_ms", 60_000).start();
    herd.linked("Alford", "Bolden");
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    assert_eq!(herd.report("Bolden", "kiwi"), Some(show(&line)), "Bolden has it already");
    assert_eq!(herd.status("Alford")["unreplicated_replies"], 0);
}

#[test]
fn with_ack_peer_a_reply_without_an_acknowledgement_is_counted_and_logged() {
    let herd = alford_and_aaron().prepared(ack_peer).limit("ack_wait_ms", 50).start();
    let line = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    same(&masked(&line), format!("AT Alford # kiwi {NOWHERE} 1").as_bytes(), "it is answered");
    assert_eq!(herd.status("Alford")["unreplicated_replies"], 1);
    let told = "limit: ack_wait_ms = 50: 1 answer sent before a neighbour's ACK";
    herd.logged("Alford", &["WARN", told]);
}
