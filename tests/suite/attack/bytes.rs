//! Bytes that are not a command: other protocols, zeros, random bytes. The server answers or closes as documented,
//! stores nothing, and writes one log line for one event.

use super::ALFORD;
use crate::support::dice::Dice;
use crate::support::herd::{Client, Herd, NOWHERE, Setup, eventually, same, show};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// The first bytes of a TLS 1.3 client, without any byte that ends a line.
fn tls_hello() -> Vec<u8> {
    let body = [&[0x03, 0x03][..], &[0x5a; 32], &[0, 0, 2, 0x13, 0x01, 1, 0, 0, 0]].concat();
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, handshake.len() as u8][..], &handshake].concat()
}

/// The bytes that strangers send, each with a name.
fn strange(seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut dice = Dice::new(seed);
    let mut all = vec![
        ("a TLS hello".to_owned(), tls_hello()),
        ("an HTTP request".to_owned(), b"GET / HTTP/1.1\r\nHost: herd\r\n\r\n".to_vec()),
        ("NULs".to_owned(), vec![0; 1_000]),
        ("NULs, and an end".to_owned(), [&[0; 1_000][..], b"\n"].concat()),
        ("SSH".to_owned(), b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("RESP".to_owned(), b"*1\r\n$4\r\nPING\r\n".to_vec()),
    ];
    for n in 0..40 {
        let count = 1 + dice.below(if n % 4 == 0 { 800 } else { 60 });
        all.push((format!("random bytes {n}"), dice.bytes(count)));
    }
    all
}

fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_white(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// The expected replies to lines that are not commands: a copy of each that is not blank.
fn copies(said: &[u8]) -> Vec<u8> {
    let lines = said.split(|byte| *byte == b'\n').map(trimmed).filter(|line| !line.is_empty());
    lines.flat_map(|line| [b"? ", line, b"\n"].concat()).collect()
}

fn known(herd: &Herd) -> [Value; 2] {
    let status = herd.status(ALFORD);
    [status["known_clients"].clone(), status["state"].clone()]
}

#[test]
fn what_is_no_command_is_answered_or_closed_at_each_port_and_nothing_is_stored() {
    let herd = Setup::of(&[ALFORD], &[]).played("Aaron", ALFORD).start();
    let before = known(&herd);
    let (mut client_port, mut peer_port, mut status_socket) = (0, 0, 0);
    for (case, said) in strange(7) {
        let reply = herd.client(ALFORD).say_all(&said);
        same(&reply, &copies(&said), &format!("client port, {case}"));
        client_port += 1;

        // The first line that is not blank ends the connection; a line that begins with `?` is not answered.
        let mut stranger = herd.stranger(ALFORD);
        stranger.try_send(&said);
        stranger.half_close_if_it_stands();
        let (reply, _) = stranger.rest_and_end();
        let first = said.split(|byte| *byte == b'\n').find(|line| !trimmed(line).is_empty());
        let expected = match first {
            Some(line) if !line.starts_with(b"?") => copies(line),
            _ => Vec::new(),
        };
        // A reset may have overtaken the answer.
        assert!(expected.starts_with(&reply), "peer port, {case}: {}", show(&reply));
        peer_port += 1;

        let mut asker = UnixStream::connect(herd.status_socket(ALFORD)).expect("it listens");
        let mut reply = Vec::new();
        let answered = asker
            .write_all(&said)
            .and_then(|()| asker.shutdown(Shutdown::Write))
            .and_then(|()| asker.read_to_end(&mut reply));
        if answered.is_ok() {
            same(&reply, &copies(&said), &format!("status socket, {case}"));
        }
        status_socket += 1;
    }
    assert_eq!(known(&herd), before, "nothing is stored");
    herd.catch_up(ALFORD);
    println!(
        "P18 other protocols and chance: {client_port} at the client port, {peer_port} at the peer port, \
         {status_socket} at the status socket: all answered or closed, 0 stored, 0 crashes"
    );
}

/// Characters that change the direction of text, are invisible, or end a line for some programs.
const BIDI: &[char] = &[
    '\u{85}', '\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}',
    '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2060}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}', '\u{feff}',
];

/// Client ids that a log might write wrongly.
fn ids(fuzz: usize) -> Vec<Vec<u8>> {
    let mut ids: Vec<Vec<u8>> =
        (0..=255u8).filter(|byte| !is_white(byte)).map(|byte| vec![b'a', byte, b'z']).collect();
    ids.extend(BIDI.iter().map(|c| format!("a{c}z").into_bytes()));
    ids.push(b"2026-11-22T10:16:39.123456Z\x1bERROR\x07forged".to_vec());
    let mut dice = Dice::new(11);
    ids.extend((0..fuzz).map(|_| {
        let count = 1 + dice.below(60);
        let mut id = dice.bytes(count);
        id.retain(|byte| !is_white(byte));
        id.push(b'!');
        id
    }));
    ids
}

/// Undoes the log's escaping of a line's bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |digits: &[u8]| {
            let text = std::str::from_utf8(digits).expect("two digits");
            u8::from_str_radix(text, 16).expect("two hexadecimal digits")
        };
        let taken = match (first, after.first()) {
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', Some(b'x')) => (hex(&after[1..3]), 4),
            (b'\\', _) => panic!("a backslash stands alone: {text}"),
            _ => (first, 1),
        };
        bytes.push(taken.0);
        rest = &rest[taken.1..];
    }
    bytes
}

/// Reads a log back: the party, direction and bytes of each line that was received or sent. Checks the form of every log
/// line.
fn read_back(log: &str) -> Vec<(String, char, Vec<u8>)> {
    let mut traffic = Vec::new();
    for line in log.split_terminator('\n') {
        let fields: Vec<&str> = line.splitn(3, ' ').collect();
        let [time, level, text] = fields[..] else { panic!("no log line: {line:?}") };
        assert!(time.len() == 27 && time.ends_with('Z') && time.starts_with("20"), "{line:?}");
        assert!(["INFO", "WARN"].contains(&level), "a level: {line:?}");
        let hidden = |c: char| c.is_control() || BIDI.contains(&c);
        assert_eq!(line.chars().find(|&c| hidden(c)), None, "{line:?}");
        let mut words = text.trim_start().splitn(3, ' ');
        if let (Some(who), Some(sign @ ("<" | ">")), Some(rest)) =
            (words.next(), words.next(), words.next())
        {
            let sign = if sign == "<" { '<' } else { '>' };
            traffic.push((who.to_owned(), sign, unescaped(rest)));
        }
    }
    traffic
}

/// Sends `fuzz` ids and all single bytes through IAMAT and AT lines, and reads the log back.
fn one_event_one_line(fuzz: usize) {
    let herd = Setup::of(&[ALFORD], &[]).played("Aaron", ALFORD).start();
    let mut client = herd.client(ALFORD);
    let mut neighbour = herd.neighbour("Aaron", ALFORD);
    let mut said: Vec<Vec<u8>> = Vec::new();
    let mut answered: Vec<Vec<u8>> = Vec::new();
    let mut relayed: Vec<Vec<u8>> = Vec::new();
    for (n, id) in ids(fuzz).into_iter().enumerate() {
        let iamat = [b"IAMAT ", &id[..], b" ", NOWHERE.as_bytes(), b" 5"].concat();
        answered.push(client.ask(&iamat));
        said.push(iamat);
        // The same id in a line that is not a command.
        let noise = [b"x", &id[..]].concat();
        answered.push(client.ask(&noise));
        said.push(noise);
        let mut at = format!("AT Aaron +0.5 n{n}").into_bytes();
        at.extend_from_slice(&id);
        at.extend_from_slice(format!(" {NOWHERE} 6").as_bytes());
        neighbour.send([&at[..], b"\n"].concat());
        relayed.push(at);
    }
    // When the server answers this invalid line, it has read all lines before it.
    neighbour.send("end\n");
    while neighbour.line() != b"? end" {}
    let events = said.len() + answered.len() + relayed.len();
    let lines = eventually("all is in the log", || {
        let traffic = read_back(&herd.log(ALFORD));
        let end = traffic.iter().any(|(_, sign, line)| *sign == '>' && line == b"? end");
        if end { Ok(traffic) } else { Err(traffic.len()) }
    });
    let of = |who: &str, sign: char| -> Vec<Vec<u8>> {
        let ours = lines.iter().filter(|(name, way, _)| name.starts_with(who) && *way == sign);
        ours.map(|(.., line)| line.clone()).collect()
    };
    assert!(of("Chatserver,", '<') == said, "each line of the client, once, as it was");
    assert!(of("Chatserver,", '>') == answered, "each answer, once, as it was");
    let from_aaron = of("Aaron", '<');
    assert_eq!(from_aaron.len(), relayed.len() + 1, "each line of the neighbour, once");
    assert!(from_aaron[..relayed.len()] == relayed, "as it was");
    let read = said.len() + answered.len() + from_aaron.len() - 1;
    println!(
        "P21 one event is one line: {} single bytes, {} characters that turn or hide text, {fuzz} random \
         ids, each in IAMAT, in no command and in AT: {read} lines == {events} events",
        256 - 6,
        BIDI.len()
    );
    assert_eq!(read, events);
}

#[test]
fn one_event_is_one_line_of_the_log_whatever_the_bytes() {
    one_event_one_line(200);
}

#[test]
#[ignore = "takes a minute: 50,000 random ids"]
fn one_event_is_one_line_of_the_log_for_fifty_thousand_random_ids() {
    one_event_one_line(50_000);
}

/// Half-closes a connection, unless the server has closed it already.
trait HalfClose {
    fn half_close_if_it_stands(&mut self);
}

impl HalfClose for Client {
    fn half_close_if_it_stands(&mut self) {
        let _ = self.writer().shutdown(Shutdown::Write);
    }
}
