//! Conversations with a NATS server, as text: `tests/fixtures/nats/*.txt`. The double must answer as a real server.
//!
//! ```text
//!     # a remark
//!     > SUB inbox.* 1                           a line from the client
//!     > pub SUBJECT REPLY PAYLOAD               a PUB, with the size of its payload; REPLY may be -
//!     > put SUBJECT REPLY SEQUENCE PAYLOAD      an HPUB with Nats-Expected-Last-Subject-Sequence
//!     < MSG inbox.1 1 *\r\n{"stream":*          an operation of the server
//!     ~ MSG ...                                 an operation; those of consecutive lines come in any order
//!     < END                                     the server closes
//!     > AGAIN                                   a new connection
//!     2.9 < MSG ...                             only at 2.9.10 (or 2.15.1)
//! ```
//!
//! In a line `\r`, `\n` and `\s` (a blank) are escapes; `*` stands for any text, and `$(name)` for a word: at its first place any, and
//! the same one later, also in what the client sends. A word has no blank, dot or quote. PINGs of the server are
//! answered and not shown.
//!
//! Each transcript is played to the double in both manners, over loopback, and in memory, where it is cut anywhere;
//! and to the real server, if there is one.

use crate::support::cluster::{Cluster, MS, TalkId, topology};
use crate::support::nats_double::{Manner, NatsDouble, NatsThread, Settings};
use crate::support::nats_server::{self, NatsServers};
use herd_reactor::testing::MemoryOptions;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// The deadline of each answer, which only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the double listens in memory.
const NATS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), 4222);

/// One line of a transcript.
#[derive(Clone, Debug)]
enum Line {
    Sent(String),
    /// Operations in any order.
    Expected(Vec<String>),
}

/// The lines of the file `name` for a version.
fn read(name: &str, version: &str) -> Vec<Line> {
    let path = Path::new("tests/fixtures/nats").join(name).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let of_version = |line: &str| match line.split_once(' ') {
        Some((its @ ("2.9" | "2.15"), line)) => (its == version).then(|| line.to_owned()),
        _ => Some(line.to_owned()),
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all = Vec::new();
    let mut is_group = false;
    for line in lines.filter_map(of_version) {
        let was_group = std::mem::take(&mut is_group);
        match (line.split_at_checked(2), all.last_mut()) {
            (Some(("> ", sent)), _) => all.push(Line::Sent(sent.to_owned())),
            (Some(("< ", expected)), _) => all.push(Line::Expected(vec![expected.to_owned()])),
            (Some(("~ ", expected)), Some(Line::Expected(group))) if was_group => {
                group.push(expected.to_owned());
                is_group = true;
            }
            (Some(("~ ", expected)), _) => {
                all.push(Line::Expected(vec![expected.to_owned()]));
                is_group = true;
            }
            _ => panic!("{}: what is {line:?}?", path.display()),
        }
    }
    all
}

/// A connection to a server.
trait Wire {
    fn send(&mut self, bytes: &[u8]);
    /// More bytes; none if the server has closed.
    fn receive(&mut self) -> Vec<u8>;
    /// Makes a new connection to the same server.
    fn again(&mut self);
}

impl Wire for TcpStream {
    fn send(&mut self, bytes: &[u8]) {
        // The server may have closed; then the transcript ends here.
        let _ = self.write_all(bytes);
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut chunk = [0; 65_536];
        let count = match self.read(&mut chunk) {
            Ok(count) => count,
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(why) => panic!("nothing came: {why}"),
        };
        chunk[..count].to_vec()
    }

    fn again(&mut self) {
        *self = connect(self.peer_addr().expect("it was connected"));
    }
}

/// A connection in a cluster's outside.
struct InMemory {
    cluster: Cluster,
    talk: TalkId,
}

impl InMemory {
    fn new(options: MemoryOptions, settings: Settings) -> InMemory {
        let mut cluster = Cluster::new(options, &topology("Alford", ""));
        cluster.host(NATS, Box::new(NatsDouble::new(1, settings).node(0)));
        let talk = cluster.dial(NATS);
        InMemory { cluster, talk }
    }
}

impl Wire for InMemory {
    fn send(&mut self, bytes: &[u8]) {
        self.cluster.send(self.talk, bytes);
    }

    fn receive(&mut self) -> Vec<u8> {
        let until = self.cluster.now() + PATIENCE;
        loop {
            let heard = self.cluster.hear(self.talk).into_bytes();
            if !heard.is_empty() || self.cluster.ending(self.talk).is_some() {
                return heard;
            }
            assert!(self.cluster.now() < until, "nothing came");
            self.cluster.run_for(MS);
        }
    }

    fn again(&mut self) {
        self.talk = self.cluster.dial(NATS);
    }
}

/// A transcript while it is played.
struct Play<W> {
    wire: W,
    unread: Vec<u8>,
    words: BTreeMap<String, String>,
}

impl<W: Wire> Play<W> {
    fn play(wire: W, lines: &[Line], whose: &str) {
        let mut play = Play { wire, unread: Vec::new(), words: BTreeMap::new() };
        for (number, line) in lines.iter().enumerate() {
            match line {
                Line::Sent(text) if text == "AGAIN" => {
                    play.unread.clear();
                    play.wire.again();
                }
                Line::Sent(text) => play.send(text),
                Line::Expected(patterns) => {
                    let done = &lines[number.saturating_sub(6)..=number];
                    play.expect(patterns, &format!("{whose}: after {done:#?}"));
                }
            }
        }
    }

    fn expect(&mut self, patterns: &[String], whose: &str) {
        let mut left = patterns.to_vec();
        while !left.is_empty() {
            let heard = self.operation();
            let found = left.iter().position(|its| matches(its, &heard, &mut self.words));
            let found = found
                .unwrap_or_else(|| panic!("{whose}\n  heard    {heard}\n  expected {left:#?}"));
            left.remove(found);
        }
    }

    fn send(&mut self, text: &str) {
        let mut text = text.to_owned();
        for (name, word) in &self.words {
            text = text.replace(&format!("$({name})"), word);
        }
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let unescaped =
            |text: &str| text.replace("\\r", "\r").replace("\\n", "\n").replace("\\s", " ");
        let reply = |word: &str| if word == "-" { String::new() } else { format!("{word} ") };
        let sent = match words[..] {
            ["pub", subject, to, ref payload @ ..] => {
                let payload = unescaped(&payload.join(" "));
                format!("PUB {subject} {}{}\r\n{payload}\r\n", reply(to), payload.len())
            }
            ["put", subject, to, sequence, ref payload @ ..] => {
                let name = "Nats-Expected-Last-Subject-Sequence";
                let headers = format!("NATS/1.0\r\n{name}: {}\r\n\r\n", unescaped(sequence));
                let payload = payload.concat();
                let (header, total) = (headers.len(), headers.len() + payload.len());
                let to = reply(to);
                format!("HPUB {subject} {to}{header} {total}\r\n{headers}{payload}\r\n")
            }
            _ => unescaped(&text) + "\r\n",
        };
        self.wire.send(sent.as_bytes());
    }

    /// The next operation of the server, in one line. PINGs are answered.
    fn operation(&mut self) -> String {
        loop {
            let Some(length) = length(&self.unread) else {
                let more = self.wire.receive();
                if more.is_empty() {
                    assert_eq!(self.unread, b"", "the end is in the middle of an operation");
                    return "END".to_owned();
                }
                self.unread.extend(more);
                continue;
            };
            let operation: Vec<u8> = self.unread.drain(..length).collect();
            let text = String::from_utf8(operation).expect("the transcripts are in ASCII");
            let text = text.strip_suffix("\r\n").expect("all operations end so").to_owned();
            match text.as_str() {
                "PING" => self.wire.send(b"PONG\r\n"),
                _ => return text.replace("\r\n", "\\r\\n"),
            }
        }
    }
}

/// The bytes of the first operation in `unread`, if it is whole.
fn length(unread: &[u8]) -> Option<usize> {
    let line = unread.windows(2).position(|two| two == b"\r\n")? + 2;
    let text = std::str::from_utf8(&unread[..line]).expect("the transcripts are in ASCII");
    let mut words = text.split_ascii_whitespace();
    let has_payload = matches!(words.next(), Some("MSG" | "HMSG"));
    let payload = match words.next_back().filter(|_| has_payload) {
        Some(size) => size.parse::<usize>().expect("a size") + 2,
        None => 0,
    };
    (unread.len() >= line + payload).then_some(line + payload)
}

/// Whether `text` has the form of `pattern`. Notes the words that it names.
fn matches(pattern: &str, text: &str, words: &mut BTreeMap<String, String>) -> bool {
    if let Some(rest) = pattern.strip_prefix('*') {
        let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return ends.any(|at| {
            let mut tried = words.clone();
            let does = matches(rest, &text[at..], &mut tried);
            if does {
                *words = tried;
            }
            does
        });
    }
    if let Some((name, rest)) = pattern.strip_prefix("$(").and_then(|it| it.split_once(')')) {
        let ends_word = |c: char| " .\",}".contains(c);
        let length = text.find(ends_word).unwrap_or(text.len());
        let word = words.entry(name.to_owned()).or_insert_with(|| text[..length].to_owned());
        let word = word.clone();
        return text.strip_prefix(&word).is_some_and(|text| matches(rest, text, words));
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some(wanted), Some(given)) if wanted == given => {
            matches(&pattern[wanted.len_utf8()..], &text[given.len_utf8()..], words)
        }
        _ => false,
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be made so");
    stream
}

/// Plays a transcript in all the ways that the head comment names.
fn play_all(name: &str) {
    for (manner, version) in [(Manner::V2_9, "2.9"), (Manner::V2_15, "2.15")] {
        let settings = Settings { manner, ..Settings::default() };
        let lines = read(name, version);
        let double = NatsThread::new(settings.clone());
        Play::play(connect(double.address()), &lines, &format!("the double of {version}"));
        for seed in 1..=3 {
            let wire = InMemory::new(MemoryOptions::rough(seed), settings.clone());
            Play::play(wire, &lines, &format!("in memory, as {version}, with seed {seed}"));
        }
    }
    let Some(program) = nats_server::program() else { return };
    let server = NatsServers::alone(&program);
    let version = server.version();
    let manner = if version.starts_with("2.9.") { "2.9" } else { "2.15" };
    let whose = format!("the real server {version}");
    Play::play(connect(server.address(0)), &read(name, manner), &whose);
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { play_all(stringify!($name)); })*

        /// A transcript that no test plays would promise nothing.
        #[test]
        fn every_transcript_is_played() {
            let files = fs::read_dir("tests/fixtures/nats").expect("it is there");
            let mut names: Vec<String> = files
                .map(|file| file.expect("it can be read").path())
                .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            names.sort();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

transcripts! {
    bucket
    consumers
    faults_of_clients
    greeting
    puts
    start_positions
}
