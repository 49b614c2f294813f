//! What is done with fuzzed bytes, one function for each parser of outside bytes, and what must hold
//! then. Used by the targets of libFuzzer and, on all that lies in `corpus/`, by `cargo test`.
//!
//! A body that returns has found nothing. That nothing panics is the least of it: each says what
//! else is promised of its parser, for any bytes.

#![allow(dead_code, reason = "a target uses one of them")]

use places_herd::dns::hosts::Hosts;
use places_herd::dns::message::{Family, Question};
use places_herd::dns::{config::Config, name::HostName};
use places_herd::herd::chatserver::ChatserverFactory;
use places_herd::herd::command::{Command, CommandLimits, is_blank, write_hello, write_refusal};
use places_herd::herd::interserver::InterserverFactory;
use places_herd::herd::member::Member;
use places_herd::herd::sighting::Sighting;
use places_herd::herd::table::{Herd, Rule};
use places_herd::herd::topology::Topology;
use places_herd::https::http::{HttpLimits, Method, Progress as Read, ResponseReader};
use places_herd::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use places_herd::places::{
    Answer, BaseUrl, Google, GoogleLegacy, Mask, Photon, Progress, Query, Rank, Reply, Scheme,
    Source, Ticket,
};
use places_herd::reactor::{Context, Factory, Flow, Protocol, Shared};
use places_herd::secret::Secret;
use places_herd::testing::StringTransport;
use std::error::Error;
use std::path::Path;

/// What is done with bytes.
pub(crate) type Body = fn(&[u8]);

/// A body by its name, which is also its folder's under `corpus/`.
pub(crate) const ALL: &[(&str, Body)] = &[
    ("base_url", base_url),
    ("client_port", client_port),
    ("command", command),
    ("dns_answer", dns_answer),
    ("dns_files", dns_files),
    ("http_response", http_response),
    ("lines", lines),
    ("peer_port", peer_port),
    ("places_google", places_google),
    ("places_legacy", places_legacy),
    ("places_photon", places_photon),
    ("table", table),
    ("topology", topology),
];

/// The first byte of `data` chooses; the rest is what it chooses for.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// `data` in pieces whose lengths go round among those that `seed` makes.
fn pieces(seed: u8, data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    let mut turn = 0_u32;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        turn += 1;
        let length = 1 + usize::from(seed.rotate_left(turn) ^ seed) % 97;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

// Lines.

/// What was heard: lines, `None` where one was too long.
#[derive(Debug, Default)]
struct Heard(Vec<Option<Vec<u8>>>);

impl Shared for Heard {
    type Message = ();
}

#[derive(Debug)]
struct Listener;

impl LineProtocol<Heard> for Listener {
    fn name(&self) -> &'static str {
        "Listener"
    }

    fn line_received(
        &mut self,
        cx: &mut Context<'_, Heard>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn Error>> {
        cx.state.0.push(Some(line.to_vec()));
        Ok(Mode::Lines)
    }

    fn line_length_exceeded(&mut self, cx: &mut Context<'_, Heard>, _start: &[u8]) -> Flow {
        cx.state.0.push(None);
        Ok(())
    }
}

/// Any pieces give the lines that splitting the whole gives, up to the first that is too long.
pub(crate) fn lines(data: &[u8]) {
    const LINE_BYTES: usize = 40;
    let (seed, text) = choice(data);
    let mut transport = StringTransport::new(Heard::default());
    let limits = LineLimits { line_bytes: LINE_BYTES, ..LineLimits::default() };
    let mut receiver = LineReceiver::new(Listener, limits);
    for piece in pieces(seed, text) {
        receiver.data_received(&mut transport.context(), piece).expect("this listener never fails");
    }
    receiver.read_connection_lost(&mut transport.context()).expect("this listener never fails");

    let mut expected: Vec<Option<Vec<u8>>> = Vec::new();
    let mut parts: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    for part in parts {
        let line = part.strip_suffix(b"\r").unwrap_or(part);
        let fits = line.len() <= LINE_BYTES;
        expected.push(fits.then(|| line.to_vec()));
        if !fits {
            break;
        }
    }
    assert_eq!(transport.state.0, expected);
}

/// What a line says can be said again and means the same; what it does not say is refused in one line.
pub(crate) fn command(data: &[u8]) {
    if data.contains(&b'\n') {
        return;
    }
    let limits = CommandLimits::default();
    let mut scratch = Vec::new();
    match Command::parse(data, &limits) {
        Ok(Command::Iamat(iamat)) => {
            let received = iamat.stamp;
            let sighting = Sighting::taken(&iamat, b"Alford", received, &mut scratch);
            assert_eq!((sighting.client(), sighting.stamp()), (iamat.client, iamat.stamp));
            let line = sighting.line().to_vec();
            let Ok(Command::At(at)) = Command::parse(&line, &limits) else {
                panic!("an AT line of ours is not understood: {}", line.escape_ascii());
            };
            assert_eq!(Sighting::relayed(&at, &mut Vec::new()).line(), line);
            let (latitude, longitude) = iamat.location.degrees();
            assert!(latitude.abs() <= 90.0 && longitude.abs() <= 180.0);
        }
        Ok(Command::At(at)) => {
            let line = Sighting::relayed(&at, &mut scratch).line().to_vec();
            let Ok(Command::At(again)) = Command::parse(&line, &limits) else {
                panic!("a relayed AT line is not understood: {}", line.escape_ascii());
            };
            assert_eq!(Sighting::relayed(&again, &mut Vec::new()).line(), line);
        }
        Ok(Command::Whatsat(whatsat)) => {
            assert!((1..=20).contains(&whatsat.bound));
            let metres = whatsat.radius.metres();
            assert!(metres > 0.0 && metres <= 50_000.0);
        }
        Ok(Command::Hello(hello)) => {
            let options: Vec<_> = hello.options.iter().collect();
            write_hello(&mut scratch, hello.name, hello.herd, hello.version, &options);
            let Ok(Command::Hello(again)) = Command::parse(&scratch, &limits) else {
                panic!("a HELLO of ours is not understood: {}", scratch.escape_ascii());
            };
            assert_eq!(
                (again.name, again.herd, again.version),
                (hello.name, hello.herd, hello.version)
            );
        }
        Ok(_) => {}
        Err(invalid) => {
            write_refusal(&mut scratch, data);
            assert!(scratch.starts_with(b"?") && !scratch.contains(&b'\n'));
            assert!(!invalid.to_string().contains('\n'));
        }
    }
}

/// Sightings in any order make the same table.
pub(crate) fn table(data: &[u8]) {
    let limits = CommandLimits::default();
    let ats: Vec<_> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| match Command::parse(line, &limits) {
            Ok(Command::At(at)) => Some(at),
            _ => None,
        })
        .collect();
    let merge = |herd: &mut Herd, at| {
        let mut scratch = Vec::new();
        let sighting = Sighting::relayed(at, &mut scratch);
        herd.merge(&sighting, Rule::Member);
        let latest = herd.latest(sighting.client()).expect("it was merged");
        assert!(!sighting.newer_than(&latest));
    };
    let (mut forth, mut back) = (Herd::new(2, 1), Herd::new(2, 2));
    ats.iter().for_each(|at| merge(&mut forth, at));
    ats.iter().rev().for_each(|at| merge(&mut back, at));
    assert_eq!(forth.len(), back.len());
    for (_, sighting) in forth.iter() {
        let other = back.latest(sighting.client()).expect("both know the same clients");
        assert_eq!(sighting.line(), other.line());
    }
}

// Whole servers, as far as one connection reaches.

/// Answers nothing, as a source does that waits for the network.
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
";

fn server() -> StringTransport<Member> {
    let topology = Topology::parse(HERD, Path::new("topology.toml")).expect("it is a good one");
    let member = Member::new(&topology, "B", Box::new(Nobody), 1, 100).expect("it is there");
    StringTransport::new(member)
}

/// Feeds a connection that `factory` makes, and gives what was written to it.
fn talk(mut factory: impl Factory<Member>, data: &[u8]) -> (StringTransport<Member>, Vec<u8>) {
    let (seed, text) = choice(data);
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

/// As many lines of reply as there were commands, each what it may be; and nothing is stored that a
/// client may not say.
pub(crate) fn client_port(data: &[u8]) {
    let (transport, written) = talk(ChatserverFactory::default(), data);
    let replies = written.split_inclusive(|byte| *byte == b'\n');
    let mut count = 0;
    for reply in replies {
        assert!(reply.ends_with(b"\n"));
        assert!(reply.starts_with(b"AT B ") || reply.starts_with(b"?"), "{}", reply.escape_ascii());
        count += 1;
    }
    let (_, text) = choice(data);
    let commands = text.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count();
    assert!(count <= commands, "{count} replies to {commands} commands");
    assert!(transport.state.herd.len() <= 20);
    for (_, sighting) in transport.state.herd.iter() {
        assert!(sighting.line().starts_with(b"AT B "));
    }
}

/// Only after a good HELLO, or as a plain neighbour, does anybody tell news; and no answer is an answer
/// to an answer.
pub(crate) fn peer_port(data: &[u8]) {
    let (transport, written) = talk(InterserverFactory::default(), data);
    for line in written.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\n"));
        assert!(!line.starts_with(b"? ?"), "{}", line.escape_ascii());
    }
    let (_, text) = choice(data);
    let said = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    assert!(transport.state.herd.is_empty() || said(b"AT"));
}

// The network's other end.

/// In any pieces the same comes out, within all limits.
pub(crate) fn http_response(data: &[u8]) {
    let (seed, stream) = choice(data);
    let method = match seed % 8 {
        0 => Method::Head,
        1 => Method::Connect,
        _ => Method::Get,
    };
    let limits = HttpLimits {
        head_bytes: 512,
        headers: 8,
        interim: 2,
        body_bytes: 600,
        chunk_line_bytes: 32,
        trailer_bytes: 64,
    };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ResponseReader::new(method, limits);
        for piece in pieces {
            match reader.received(piece) {
                Ok(Read::More) => assert!(reader.buffered() <= 2_000, "{}", reader.buffered()),
                Ok(Read::Done(response)) => return Ok(response),
                Err(error) => return Err(error.to_string()),
            }
        }
        match reader.ended() {
            Ok(Read::Done(response)) => Ok(response),
            Ok(Read::More) => panic!("after the end there is no more"),
            Err(error) => Err(error.to_string()),
        }
    };
    let whole = read(&mut [stream].into_iter().filter(|piece| !piece.is_empty()));
    let cut = read(&mut pieces(seed, stream));
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!((whole.status, &whole.body), (cut.status, &cut.body));
            assert!(whole.body.len() <= limits.body_bytes);
        }
        (Err(_), Err(_)) => {}
        (whole, cut) => panic!("whole: {whole:?}, in pieces: {cut:?}"),
    }
}

/// Whatever answers, only what repeats the question is an answer, and it has few addresses.
pub(crate) fn dns_answer(data: &[u8]) {
    let (seed, answer) = choice(data);
    let name = HostName::parse("places.googleapis.com").expect("it is a name");
    let family = if seed & 1 == 0 { Family::V4 } else { Family::V6 };
    let question = Question::new(&name, family, 0x1234);
    // Bytes that would only have to guess the id are helped to it.
    let mut helped = answer.to_vec();
    if seed & 2 != 0 && helped.len() >= 2 {
        helped[..2].copy_from_slice(&question.bytes()[..2]);
    }
    let _ = question.read(&helped);
    // And so are those that would have to guess the question.
    if seed & 4 != 0 {
        let mut message = question.bytes().to_vec();
        message[2] |= 0x80;
        message[6..8].copy_from_slice(&1_u16.to_be_bytes());
        message.extend_from_slice(answer);
        let _ = question.read(&message);
    }
}

/// The files that say where to ask.
pub(crate) fn dns_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let config = Config::parse(&text);
    assert!(config.tries() >= 1);
    let _ = config.server(0);
    let hosts = Hosts::parse(&text);
    if let Some(name) = HostName::parse("localhost") {
        assert!(hosts.addresses(&name).is_none_or(|addresses| !addresses.is_empty()));
    }
}

/// What is read of an address is an address again, and plain http stays on this machine.
pub(crate) fn base_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<BaseUrl>() {
        Ok(url) => {
            let scheme = if url.scheme == Scheme::Https { "https" } else { "http" };
            let host = match url.host.contains(':') {
                true => format!("[{}]", url.host),
                false => url.host.clone(),
            };
            let written = format!("{scheme}://{host}:{}{}", url.port, url.path);
            assert_eq!(written.parse::<BaseUrl>().as_ref(), Ok(&url), "{written}");
            let address = url.host.parse::<std::net::IpAddr>();
            let is_here = url.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback());
            assert!(url.scheme == Scheme::Https || is_here, "{url:?}");
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

const KEY: &str = "CANARY-4fZq91-key";

fn query() -> Query {
    Query {
        latitude: 34.06893,
        longitude: -118.445127,
        latitude_text: b"+34.068930".to_vec(),
        longitude_text: b"-118.445127".to_vec(),
        radius_m: 10_000.0,
        radius_text: b"10".to_vec(),
    }
}

/// Whatever comes back, what is told of it is JSON, has no blank line and no key, and few results.
fn read_reply(mut source: impl Source, data: &[u8]) {
    let (seed, body) = choice(data);
    let status = [200, 200, 200, 200, 400, 403, 429, 503][usize::from(seed % 8)];
    let reply = Reply {
        status,
        content_type: (seed & 8 == 0).then_some(b"application/json".as_slice()),
        content_encoding: None,
        retry_after: None,
        date: None,
        body,
    };
    let reading = source.read(&query(), reply);
    assert!(!reading.log.contains(KEY) && !reading.log.contains('\n'));
    if let Answer::Found(found) = &reading.answer {
        assert!(found.places.len() <= 20);
    }
    for bound in [1, 20] {
        let mut out = Vec::new();
        reading.answer.write(bound, &mut out);
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        assert!(!text.contains("\n\n") && !text.ends_with('\n') && !text.contains(KEY), "{text}");
        let read: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let results = read["results"].as_array().map_or(0, Vec::len);
        assert!(results <= bound, "{results} of {bound}");
    }
}

fn base(url: &str) -> BaseUrl {
    url.parse().expect("it is a URL")
}

fn key() -> Secret {
    Secret::new(KEY).expect("it is a key")
}

/// Google's Places API (New).
pub(crate) fn places_google(data: &[u8]) {
    read_reply(
        Google {
            base: base("https://places.googleapis.com"),
            key: key(),
            mask: Mask::Full,
            rank: Rank::Prominence,
            language: None,
        },
        data,
    );
}

/// Google's legacy Nearby Search.
pub(crate) fn places_legacy(data: &[u8]) {
    let base = base("https://maps.googleapis.com");
    read_reply(GoogleLegacy { base, key: key(), language: None }, data);
}

/// Photon.
pub(crate) fn places_photon(data: &[u8]) {
    read_reply(Photon { base: base("http://127.0.0.1:2322"), language: None }, data);
}

/// All faults are told, each in lines of their own; and what is good stays good.
pub(crate) fn topology(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Topology::parse(text, Path::new("topology.toml")) {
        Ok(topology) => {
            assert!(!topology.servers.is_empty());
            for server in &topology.servers {
                for neighbour in &server.neighbours {
                    let other = topology.server(neighbour).expect("a neighbour is a server");
                    assert!(other.neighbours.contains(&server.name));
                }
            }
        }
        Err(faults) => {
            assert!(faults.iter().count() > 0);
            assert!(faults.to_string().contains("remedy"));
        }
    }
}
