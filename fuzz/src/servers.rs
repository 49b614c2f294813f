//! Whole servers, each with one connection.

use super::{choice, pieces};
use herd_reactor::Factory;
use herd_reactor::testing::StringTransport;
use places_herd::config::Topology;
use places_herd::places::{Progress, Query, Source, Ticket};
use places_herd::server::chatserver::ChatserverFactory;
use places_herd::server::interserver::InterserverFactory;
use places_herd::server::member::Member;
use places_herd::server::status::status_factory;
use places_herd::table::{MergeOutcome, ReportOrigin, Table};
use places_herd::wire::command::{Command, is_blank, write_refusal};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

/// A source that never answers, like one that waits for the network.
#[derive(Debug)]
struct Nobody;

impl Source for Nobody {
    fn name(&self) -> &'static str {
        "nobody"
    }

    fn nearby(&mut self, _ticket: Ticket, _query: &Query) -> Progress {
        Progress::Waiting
    }
}

const LINE_BYTES: usize = 1_024;
const KNOWN_CLIENTS: usize = 20;

const HERD: &str = "
herd = 'h'
[[server]]
name = 'B'
client = '127.0.0.1:12000'
peer = '127.0.0.1:12100'
neighbours = ['A', 'C', 'P']
[[server]]
name = 'A'
client = '127.0.0.1:12001'
peer = '127.0.0.1:12101'
neighbours = []
[[server]]
name = 'C'
client = '127.0.0.1:12002'
peer = '127.0.0.1:12102'
neighbours = []
[[server]]
name = 'P'
client = '127.0.0.1:12003'
plain = true
neighbours = []
[status]
folder = ''
[limits]
line_bytes = 1024
client_id_bytes = 64
known_clients = 20
max_future_ms = 0
";

fn server() -> StringTransport<Member> {
    static TOPOLOGY: OnceLock<Topology> = OnceLock::new();
    let topology = TOPOLOGY.get_or_init(|| {
        Topology::parse(HERD, Path::new("topology.toml")).expect("it is a good one")
    });
    let member = Member::new(topology, "B", Box::new(Nobody), 1, 100).expect("it is there");
    StringTransport::new(member)
}

/// Feeds `text` to a connection that `factory` makes; returns the bytes that the server wrote.
fn talk(
    mut factory: impl Factory<Member>,
    seed: u8,
    text: &[u8],
) -> (StringTransport<Member>, Vec<u8>) {
    let mut transport = server();
    let peer = ([127, 0, 0, 1], 54_321).into();
    let protocol = factory.build_protocol(&mut transport.context(), peer);
    let mut protocol = protocol.expect("there is room for one");
    let mut flow = protocol.connection_made(&mut transport.context());
    for piece in pieces(seed, text) {
        if flow.is_err() || transport.is_disconnecting() {
            break;
        }
        flow = protocol.data_received(&mut transport.context(), piece);
    }
    let written = transport.take();
    (transport, written)
}

/// Returns the complete lines of `text` without their ends, up to the first that is too long; and the rest of
/// `text`.
fn whole_lines(text: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        if line.len() > LINE_BYTES {
            break;
        }
        lines.push(line);
        rest = &rest[end + 1..];
    }
    (lines, rest)
}

fn refusal(line: &[u8]) -> Vec<u8> {
    let mut refusal = Vec::new();
    write_refusal(&mut refusal, line);
    refusal.push(b'\n');
    refusal
}

fn lines_of(table: &Table) -> BTreeSet<Vec<u8>> {
    table.iter().map(|(_, report)| report.line().to_vec()).collect()
}

/// The replies equal a model's, one for each command and in order; a WHATSAT that waits for places delays only the
/// replies after it. The table equals a model's, too.
pub fn client_port(data: &[u8]) {
    let (seed, text) = choice(data);
    let (transport, written) = talk(ChatserverFactory, seed, text);
    let member = &transport.state;
    let mut table = Table::new(1);
    table.set_limits(KNOWN_CLIENTS, usize::MAX);
    let (mut expected, mut waiting) = (Vec::new(), 0);
    let (lines, rest) = whole_lines(text);
    let mut scratch = Vec::new();
    for line in lines {
        // At the limit of waiting WHATSATs the server stops reading.
        if is_blank(line) || waiting == member.limits.whatsats_per_connection {
            continue;
        }
        let reply = match Command::parse(line, &member.command_limits) {
            Ok(Command::Iamat(iamat)) => {
                let report = Report::taken(&iamat, b"B", Stamp(0), &mut scratch);
                match table.merge(&report, ReportOrigin::Client).1 {
                    MergeOutcome::Full => refusal(line),
                    _ => [report.line(), b"\n"].concat(),
                }
            }
            Ok(Command::Whatsat(whatsat)) if table.knows(whatsat.client) => {
                waiting += 1;
                continue;
            }
            _ => refusal(line),
        };
        if waiting == 0 {
            expected.extend(reply);
        }
    }
    let (before, behind) = written.split_at_checked(expected.len()).unwrap_or((&written, b""));
    assert_eq!(before.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(lines_of(&member.table), lines_of(&table));
    let is_too_long = rest.strip_suffix(b"\r").unwrap_or(rest).len() > LINE_BYTES;
    match is_too_long && waiting == 0 {
        true => assert_eq!(behind, refusal(&rest[..LINE_BYTES])),
        false if rest.len() > LINE_BYTES => {}
        false => assert_eq!(behind, b""),
    }
}

/// The state of the connection to the peer port.
#[derive(Clone, Copy, PartialEq)]
enum PeerState {
    Stranger,
    Linked,
    Plain,
    Gone,
}

/// Only a neighbour with a valid HELLO and a plain neighbour can bring news, and the table equals a model's. The
/// server answers each refused line, and no other, with `? ` once; all its other lines are lines of the
/// protocol. The first byte decides whether a HELLO comes first.
pub fn peer_port(data: &[u8]) {
    let (seed, text) = choice(data);
    let hello: &[u8] = if seed & 1 == 0 { b"" } else { b"HELLO A h 1\n" };
    let text = [hello, text].concat();
    let (transport, written) = talk(InterserverFactory, seed, &text);
    let member = &transport.state;
    let mut table = Table::new(1);
    let (mut state, mut faults, mut refused) = (PeerState::Stranger, 0, Vec::new());
    if text.first().is_some_and(|first| (20..=23).contains(first)) {
        // It speaks TLS.
        state = PeerState::Gone;
    }
    let (lines, rest) = whole_lines(&text);
    for line in lines.into_iter().filter(|line| !is_blank(line)) {
        if state == PeerState::Gone {
            break;
        }
        let heard = Command::parse(line, &member.command_limits);
        match (state, heard) {
            (PeerState::Linked, Ok(Command::At(at))) => {
                table.merge(&Report::relayed(&at, &mut Vec::new()), ReportOrigin::Server);
            }
            (PeerState::Linked, Ok(Command::Ping | Command::Bye | Command::Compare(_))) => {}
            (PeerState::Stranger | PeerState::Plain, Ok(Command::At(at))) => {
                state = PeerState::Plain;
                table.merge(&Report::relayed(&at, &mut Vec::new()), ReportOrigin::Plain);
            }
            (PeerState::Stranger, Ok(Command::Hello(hello)))
                if (hello.name, hello.herd, hello.version) == (b"A", b"h", 1) =>
            {
                state = PeerState::Linked;
            }
            _ => {
                faults += 1;
                // The hundredth fault closes the connection without an answer.
                if !line.starts_with(b"?") && faults < 100 {
                    refused.push(refusal(line));
                }
                if state == PeerState::Stranger || faults == 100 {
                    state = PeerState::Gone;
                }
            }
        }
    }
    assert_eq!(lines_of(&member.table), lines_of(&table));
    let mut said = Vec::new();
    for line in written.split_inclusive(|byte| *byte == b'\n') {
        let (words, end) = line.split_at(line.len() - 1);
        assert_eq!(end, b"\n");
        match Command::parse(words, &member.command_limits) {
            Ok(Command::Hello(_) | Command::Compare(_)) => {}
            _ => said.push(line.to_vec()),
        }
    }
    let long = rest.len() > LINE_BYTES || text.first().is_some_and(|first| *first < 32);
    assert!(said == refused || long, "{:?}", written.escape_ascii().to_string());
    assert!(said.starts_with(&refused) || long);
}

/// The reply to STATUS and to RELOAD is one line of JSON, the reply to anything else `? ` and a copy. RELOAD is the last
/// line of a connection. This server has no file to reload.
pub fn status_socket(data: &[u8]) {
    let (seed, text) = choice(data);
    let (_, written) = talk(status_factory, seed, text);
    let (lines, _) = whole_lines(text);
    let is_reload = |line: &[u8]| [&b"RELOAD"[..], b"RELOAD strict"].contains(&line.trim_ascii());
    let mut asked: Vec<_> =
        lines.into_iter().filter(|line| !line.trim_ascii().is_empty()).collect();
    if let Some(last) = asked.iter().position(|line| is_reload(line)) {
        asked.truncate(last + 1);
    }
    let said: Vec<_> = written.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(said.len(), asked.len());
    for (asked, said) in asked.into_iter().zip(said) {
        if asked.trim_ascii() == b"STATUS" {
            let said: serde_json::Value = serde_json::from_slice(said).expect("it is JSON");
            assert_eq!(
                (said["server"].as_str(), said["known_clients"].as_u64()),
                (Some("B"), Some(0))
            );
            assert_eq!(said["links"].as_array().map(Vec::len), Some(3));
        } else if is_reload(asked) {
            let said: serde_json::Value = serde_json::from_slice(said).expect("it is JSON");
            assert_eq!(said["reloaded"], false);
        } else {
            assert_eq!(said, refusal(asked));
        }
    }
}
