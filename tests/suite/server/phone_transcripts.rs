//! Requests of phone apps and curl, and the answers, header by header: `tests/fixtures/phones/*.txt`.
//!
//! ```text
//!     ! known_clients = 2                       a line of [limits]
//!     # a remark
//!     > POST /owntracks HTTP/1.1                a line of a request's head, which ends with CR LF
//!     >                                         the empty line
//!     + {"_type":"location"}                    bytes of the body, without a line end
//!     < HTTP/1.1 200 OK                         a line of an answer's head
//!     - []                                      bytes of its body
//!     = AT Alford +1.250000000 jane ...         what the server knows afterwards
//! ```
//!
//! The test sends all requests on one connection, at once; all answers must come in their order. Each transcript is
//! played in memory: whole, byte by byte, at many splits, and in pieces as a rough network cuts them. There the wall
//! clock is stopped at 1795954533.25. Then a real process plays it on the loopback, where the differences and the dates
//! are masked, and logs each report as an IAMAT and an AT.

use crate::support::cluster::{Cluster, topology};
use crate::support::herd::{Client, Setup};
use herd_reactor::UnixNanos;
use herd_reactor::testing::MemoryOptions;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const NOON: UnixNanos = UnixNanos(1_795_954_533_250_000_000);

const FOLDER: &str = "tests/fixtures/phones";

/// The tables that every server of a transcript has.
const HTTP: &str = "[http]\ninsecure_http = true\nhosts = ['herd.example']";

#[derive(Debug, Default)]
struct PhoneTranscript {
    limits: Vec<String>,
    said: Vec<u8>,
    expected: String,
    known: Vec<String>,
}

impl PhoneTranscript {
    fn read(path: &Path) -> PhoneTranscript {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut transcript = PhoneTranscript::default();
        for line in text.lines() {
            match line.split_at_checked(2).unwrap_or((line, "")) {
                ("! ", limit) => transcript.limits.push(limit.to_owned()),
                ("> " | ">", said) => transcript.said.extend(format!("{said}\r\n").bytes()),
                ("+ ", said) => transcript.said.extend(said.bytes()),
                ("< " | "<", heard) => transcript.expected += &format!("{heard}\r\n"),
                ("- ", heard) => transcript.expected += heard,
                ("= ", known) => transcript.known.push(known.to_owned()),
                ("# " | "#" | "", _) => {}
                _ => panic!("{}: what is {line:?}?", path.display()),
            }
        }
        assert!(!transcript.said.is_empty(), "{} is empty", path.display());
        transcript
    }

    fn play<'p>(&self, options: MemoryOptions, pieces: impl IntoIterator<Item = &'p [u8]>) {
        let limits = self.limits.join("\n");
        let text =
            topology("Alford", &limits).replace("client =", "http = '10.0.0.1:12200'\nclient =");
        let mut cluster = Cluster::herd(options, &format!("{text}{HTTP}\n"));
        cluster.stop_wall_clocks(NOON);
        let http = cluster.topology().server("Alford").and_then(|it| it.http).expect("a port");
        let talk = cluster.dial(http);
        let mut lengths = Vec::new();
        for piece in pieces {
            lengths.push(piece.len());
            cluster.send(talk, piece);
            cluster.run_for(Duration::ZERO);
        }
        cluster.settle();
        let heard = cluster.hear(talk);
        assert_eq!(heard, self.expected, "in pieces of {lengths:?}");
        let known: Vec<_> = cluster.knows("Alford").into_values().collect();
        assert_eq!(known, self.known, "in pieces of {lengths:?}");
        assert_eq!(cluster.ending(talk), None, "the connection stays open");
    }

    /// Plays the transcript in all the ways that the head comment names.
    fn play_all(&self) {
        let said = self.said.as_slice();
        let calm = || MemoryOptions::calm(1);
        self.play(calm(), [said]);
        self.play(calm(), said.chunks(1));
        // A prime, so that a split falls on each byte of a line in some transcript.
        for split in (1..said.len()).step_by(17) {
            let (first, second) = said.split_at(split);
            self.play(calm(), [first, second]);
        }
        for seed in 1..=5 {
            self.play(MemoryOptions::rough(seed), [said]);
        }
    }
}

/// All transcripts, by name.
fn all() -> BTreeMap<String, PhoneTranscript> {
    let files = fs::read_dir(FOLDER).expect("it is there");
    let paths = files.map(|file| file.expect("it can be read").path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, PhoneTranscript::read(&path))
    };
    paths.map(read).collect()
}

/// Replaces what depends on the time in an answer or an AT line.
fn masked(text: &str) -> String {
    let mask = |line: &str| match line.split_once("\"diff\":\"") {
        Some((before, rest)) => format!("{before}{}", &rest[rest.find('"').expect("its end")..]),
        None if line.starts_with("Date: ") || line.starts_with("Content-Length: ") => String::new(),
        None if line.starts_with("AT ") => line.split(' ').skip(3).collect::<Vec<_>>().join(" "),
        None => line.to_owned(),
    };
    // A body is followed by the next answer without a line end.
    text.replace("HTTP/1.1 ", "\nHTTP/1.1 ").lines().map(|line| mask(line) + "\n").collect()
}

#[test]
fn each_request_has_its_answer_however_it_is_cut() {
    for (name, transcript) in all() {
        println!("{name}");
        transcript.play_all();
    }
}

#[test]
fn a_real_server_answers_and_logs_each_report_as_iamat_and_at() {
    // Without a time, or with a limit that depends on it, a report is another one on the clock of this machine.
    let timeless = |it: &PhoneTranscript| {
        let is_limited = it.limits.iter().any(|limit| limit.contains("max_future_ms"));
        !is_limited && !it.known.iter().any(|line| line.contains("533.25"))
    };
    let transcripts: Vec<_> = all().into_iter().filter(|(_, it)| timeless(it)).collect();
    assert!(transcripts.len() >= 10);
    for (name, transcript) in transcripts {
        let setup =
            Setup::alone().http().more(HTTP).limit("max_future_ms", 0).limit("ahead_max_s", 0);
        let herd = setup.start();
        let client = Client::connect(herd.http_address("Alford"));
        let heard = client.say_all(&transcript.said);
        let heard = String::from_utf8_lossy(&heard);
        assert_eq!(masked(&heard), masked(&transcript.expected), "{name}");
        for known in &transcript.known {
            let report = known.split(' ').skip(3).collect::<Vec<_>>().join(" ");
            herd.logged("Alford", &["Http,", &format!("IAMAT {report}")]);
            herd.logged("Alford", &["Http,", "AT Alford ", &report]);
        }
        let request = transcript.said.split(|byte| *byte == b'\r').next().expect("a line");
        let request = String::from_utf8_lossy(request).into_owned();
        let path = request.split([' ', '?']).nth(1).expect("a path").to_owned();
        let line = herd.logged("Alford", &[&path]);
        assert!(!line.contains('?'), "no query is logged: {line}");
    }
}
