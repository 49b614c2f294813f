//! Conversations of a client with a server, as text: `tests/fixtures/transcripts/*.txt`.
//!
//! ```text
//!     # a remark
//!     ! known_clients = 2                       a line of [limits]
//!     > IAMAT kiwi +34.06-118.44 1479413884     a line from the client
//!     < AT Alford +0.655887836 kiwi ...         a line from the server
//! ```
//!
//! The test sends all lines from the client and half-closes; the server must reply exactly with the lines
//! from the server and then end the connection. Each transcript is played whole, byte by byte, at every
//! split, in pieces of every length as the network cuts them, and without its last newline: a server
//! must treat all of these the same.
//!
//! The wall clock is stopped at 1479413884.655887836. There are two places around every point, but none
//! within less than a kilometre, and at exactly 13 km the source fails. In a line `\\`, `\r`, `\t`
//! and `\x0b` are escapes as in Rust. White space at the end of a line is part of it.

use crate::support::cluster::{Cluster, Ending, topology};
use herd_reactor::UnixNanos;
use herd_reactor::testing::MemoryOptions;
use places_herd::places::{
    Answer, Business, Found, Place, Point, Progress, Query, Scope, SearchFailure, SearchStatus,
    Source, Ticket, Viewport,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

const NOON: UnixNanos = UnixNanos(1_479_413_884_655_887_836);

/// The client's lines, the expected replies, and the limits.
#[derive(Debug, Default)]
struct Transcript {
    limits: String,
    said: Vec<u8>,
    expected: String,
}

impl Transcript {
    fn read(name: &str) -> Transcript {
        let path = Path::new("tests/fixtures/transcripts").join(name).with_extension("txt");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut transcript = Transcript::default();
        for line in text.lines() {
            match line.split_at_checked(2) {
                Some(("! ", limit)) => transcript.limits += &format!("{limit}\n"),
                Some(("> ", said)) => {
                    transcript.said.extend([unescape(said), b"\n".to_vec()].concat())
                }
                Some(("< ", heard)) => transcript.expected += &format!("{heard}\n"),
                Some(("# ", _)) => {}
                _ => match line {
                    ">" => transcript.said.push(b'\n'),
                    "<" => transcript.expected.push('\n'),
                    "" | "#" => {}
                    _ => panic!("{}: what is {line:?}?", path.display()),
                },
            }
        }
        assert!(!transcript.said.is_empty(), "{} is empty", path.display());
        transcript
    }

    /// Plays the transcript over the network of `options`: sends each of `pieces` when the previous one has had its
    /// effect.
    fn play<'p>(&self, options: MemoryOptions, pieces: impl IntoIterator<Item = &'p [u8]>) {
        let mut cluster = Cluster::new(options, &topology("Alford", &self.limits));
        cluster.start_with("Alford", Box::new(Gazetteer));
        cluster.stop_wall_clocks(NOON);
        let client = cluster.client("Alford");
        let mut lengths = Vec::new();
        for piece in pieces {
            lengths.push(piece.len());
            cluster.send(client, piece);
            cluster.run_for(Duration::ZERO);
        }
        cluster.end(client);
        cluster.settle();
        let heard = escape(cluster.heard(client));
        assert!(
            heard == self.expected,
            "in pieces of {lengths:?}: {}",
            first_difference(&heard, &self.expected)
        );
        assert_eq!(cluster.ending(client), Some(Ending::Fin), "in pieces of {lengths:?}");
    }

    /// Plays the transcript in all the ways that the head comment names.
    fn play_all(&self) {
        let said = self.said.as_slice();
        let calm = || MemoryOptions::calm(1);
        self.play(calm(), [said]);
        self.play(calm(), said.chunks(1));
        for split in 1..said.len() {
            let (first, second) = said.split_at(split);
            self.play(calm(), [first, second]);
        }
        for length in 1..=said.len() {
            let gap = Duration::from_micros(1)..=Duration::from_micros(1);
            let arrival_bytes = length..=length;
            self.play(MemoryOptions { gap, arrival_bytes, ..calm() }, [said]);
        }
        for seed in 1..=10 {
            self.play(MemoryOptions::rough(seed), [said]);
        }
        self.play(calm(), said.strip_suffix(b"\n"));
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let (byte, length) = match (byte, after) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', hex @ ..]) if hex.len() >= 2 => {
                let digits = str::from_utf8(&hex[..2]).expect("two hexadecimal digits");
                (u8::from_str_radix(digits, 16).expect("two hexadecimal digits"), 3)
            }
            (b'\\', _) => panic!("a lone backslash in {text:?}"),
            (byte, _) => (*byte, 0),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes
}

/// Escapes `bytes` as in a line of a transcript.
fn escape(bytes: &[u8]) -> String {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let escaped = lines.map(|line| match line {
        [line @ .., b'\n'] => format!("{}\n", escape_line(line)),
        line => escape_line(line),
    });
    escaped.collect()
}

fn escape_line(line: &[u8]) -> String {
    // Quotes are not escaped, in JSON and elsewhere.
    line.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn first_difference(heard: &str, expected: &str) -> String {
    let mut lines = heard.lines().zip(expected.lines());
    match lines.find(|(heard, expected)| heard != expected) {
        Some((heard, expected)) => format!("\n  heard    {heard}\n  expected {expected}"),
        None => format!("heard {} lines: {heard}", heard.lines().count()),
    }
}

/// A source with two places around every point.
#[derive(Debug)]
struct Gazetteer;

impl Source for Gazetteer {
    fn name(&self) -> &'static str {
        "gazetteer"
    }

    fn nearby(&mut self, _ticket: Ticket, query: &Query) -> Progress {
        let (latitude, longitude) = (query.latitude, query.longitude);
        let place = |name: &str| {
            let location = Point { latitude, longitude };
            Place {
                location,
                viewport: Viewport { southwest: location, northeast: location },
                name: name.to_owned().into(),
                place_id: format!("test:{name}").into(),
                plus_code: None,
                types: Vec::new().into(),
                vicinity: None,
                scope: Scope::App,
                business: Business::default(),
            }
        };
        let places = match query.radius_m {
            ..1_000.0 => Vec::new(),
            _ => vec![place("Here"), place("There")],
        };
        let message = "The places provider did not answer sensibly.".to_owned();
        Progress::Answered(match query.radius_m {
            13_000.0 => {
                Answer::Failed(SearchFailure { status: SearchStatus::UnknownError, message })
            }
            _ => Answer::Found(Found { places, ..Found::default() }),
        })
    }
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { Transcript::read(stringify!($name)).play_all(); })*

        /// A transcript that no test plays would promise nothing.
        #[test]
        fn every_transcript_is_played() {
            let files = fs::read_dir("tests/fixtures/transcripts").expect("it is there");
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
    bytes_are_bytes
    iamat
    iamat_refused
    limits_that_refuse
    line_too_long
    newest_wins
    not_for_clients
    the_specifications_own_example
    whatsat
    whatsat_refused
    white_space
}
