//! The pieces of work that `parts.rs` times and counts. Each is prepared beforehand, and checks its own results.

use crate::reports::Reports;
use crate::still::Still;
use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::testing::{MemoryIo, MemoryOptions, StringTransport};
use herd_reactor::{Context, Protocol, Reactor, ReactorLimits, Shared, UnixNanos};
use places_herd::config::Topology;
use places_herd::journal::{Owner, record, scan};
use places_herd::places::{Answer, Embedded, Progress, Query, Rank, Source, Ticket};
use places_herd::server::member::Member;
use places_herd::server::persist::Replay;
use places_herd::table::{MergeOutcome, ReportOrigin, Table};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

/// A piece of work that is repeated; `prepare` runs before each `run`, and is not measured.
pub(crate) trait Work {
    fn prepare(&mut self) {}
    fn run(&mut self);
}

impl<F: FnMut()> Work for F {
    fn run(&mut self) {
        self();
    }
}

/// A row of the table; one run does its work `each` times.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) each: usize,
    pub(crate) work: Box<dyn Work>,
}

const EACH: usize = 1_000;

fn named(name: String, work: impl Work + 'static) -> Named {
    Named { name, each: EACH, work: Box::new(work) }
}

/// Creates a piece of work. They are created one at a time, because some take much memory.
pub(crate) type Make = Box<dyn Fn() -> Named>;

/// All pieces of work, in the order of the table.
pub(crate) fn works() -> Vec<Make> {
    let mut works: Vec<Make> = Vec::new();
    for chunk in [16, 64, 256, 1_024] {
        works.push(Box::new(move || lines(chunk)));
    }
    for (name, line) in COMMANDS {
        works.push(Box::new(move || parse(name, line.to_owned())));
    }
    for (name, first) in [("GROUPS", "80"), ("LEAVES", "9380")] {
        let sums = "d3721166f545d699".repeat(32);
        works.push(Box::new(move || parse(name, format!("{name} {first} {sums}"))));
    }
    works.push(Box::new(format_at));
    for clients in [1_000, 100_000] {
        works.push(Box::new(move || upsert(clients)));
    }
    for (lines, neighbours) in [(1, 0), (100, 0), (100, 1), (100, 4)] {
        works.push(Box::new(move || iamats(lines, neighbours, 1_000)));
    }
    for clients in [100_000, 1_000_000] {
        works.push(Box::new(move || iamats(100, 0, clients)));
    }
    for (form, requests) in [(Form::Put, 1), (Form::Put, 16), (Form::OwnTracks, 16)] {
        works.push(Box::new(move || by_http(form, requests)));
    }
    for (clients, times) in [(100_000, 1), (10_000, 10)] {
        works.push(Box::new(move || replayed(clients, times)));
    }
    for what in ["cancelled", "reset", "fired"] {
        for pending in [1, 100, 10_000] {
            works.push(Box::new(move || timers(what, pending)));
        }
    }
    works.push(Box::new(memory_turn));
    // There is no place within 1 km of UCLA, so Paris is measured too.
    for (radius_km, place) in [(1, &UCLA), (1, &PARIS), (10, &UCLA), (50, &UCLA)] {
        works.push(Box::new(move || places(radius_km, place)));
    }
    works.push(Box::new(json));
    works
}

const COMMANDS: [(&str, &str); 8] = [
    ("IAMAT", "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450"),
    ("WHATSAT", "WHATSAT kiwi.cs.ucla.edu 10 5"),
    ("AT", "AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450"),
    ("HELLO", "HELLO Alford places-herd 1 ack=1"),
    ("PING", "PING"),
    ("ACK", "ACK 1234567"),
    ("SYNC", "SYNC d3721166f545d699"),
    ("WANT", "WANT 9380 00800000"),
];

/// Twisted's own workload (benchmarks/test_linereceiver.py): 1,000 lines of 50 bytes, in chunks.
fn lines(chunk: usize) -> Named {
    let line = [&[b'x'; 48][..], b"\r\n"].concat();
    let bytes = line.repeat(EACH);
    let mut receiver = LineReceiver::new(Counter, LineLimits::default());
    let mut transport = StringTransport::new(Count(0));
    receiver.connection_made(&mut transport.context()).expect("made");
    let run = move || {
        for chunk in bytes.chunks(chunk) {
            receiver.data_received(&mut transport.context(), black_box(chunk)).expect("taken");
        }
        assert_eq!(std::mem::take(&mut transport.state.0), EACH);
    };
    named(format!("a line of 50 bytes, chunks of {chunk}"), run)
}

#[derive(Debug)]
struct Count(usize);

impl Shared for Count {
    type Message = ();
}

#[derive(Debug)]
struct Counter;

impl LineProtocol<Count> for Counter {
    fn name(&self) -> &'static str {
        "Counter"
    }

    fn line_received(
        &mut self,
        cx: &mut Context<'_, Count>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn std::error::Error>> {
        cx.state.0 += usize::from(line.len() == 48);
        Ok(Mode::Lines)
    }
}

fn parse(name: &str, line: String) -> Named {
    let limits = CommandLimits::default();
    let run = move || {
        for _ in 0..EACH {
            assert!(black_box(Command::parse(black_box(line.as_bytes()), &limits)).is_ok());
        }
    };
    named(format!("{name}, parsed"), run)
}

fn format_at() -> Named {
    let mut scratch = Vec::new();
    let run = move || {
        let line = COMMANDS[0].1.as_bytes();
        let Ok(Command::Iamat(iamat)) = Command::parse(line, &CommandLimits::default()) else {
            panic!("an IAMAT");
        };
        for latency in 0..EACH as u64 {
            let received = Stamp(iamat.stamp.0 + latency * 1_000_003);
            let report = Report::taken(black_box(&iamat), b"Alford", received, &mut scratch);
            assert_eq!(report.line().len(), 82);
        }
    };
    named("AT, written".into(), run)
}

/// Merges newer reports of known clients, as they come from a neighbour.
struct Upsert {
    table: Table,
    reports: Reports,
    lines: Vec<String>,
    scratch: Vec<u8>,
}

fn upsert(clients: u64) -> Named {
    let (mut table, reports) = (Table::new(7), Reports::new(clients));
    let _ = [(); 4].map(|()| table.backlogs.add());
    let mut upsert = Upsert { table, reports, lines: Vec::new(), scratch: Vec::new() };
    for _ in 0..clients {
        let line = at(&mut upsert.reports);
        assert_eq!(upsert.merge(&line), MergeOutcome::First);
    }
    named(format!("AT, merged, {clients} clients known"), upsert)
}

impl Upsert {
    fn merge(&mut self, line: &str) -> MergeOutcome {
        match Command::parse(line.as_bytes(), &CommandLimits::default()) {
            Ok(Command::At(at)) => {
                let report = Report::relayed(&at, &mut self.scratch);
                self.table.merge(&report, ReportOrigin::Server).1
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

impl Work for Upsert {
    fn prepare(&mut self) {
        self.lines = (0..EACH).map(|_| at(&mut self.reports)).collect();
    }

    fn run(&mut self) {
        for line in std::mem::take(&mut self.lines) {
            assert_eq!(self.merge(&line), MergeOutcome::Newer);
        }
    }
}

/// Replays a journal into an empty table, as a server does at its start.
struct Replayed {
    table: Table,
    journal: Vec<u8>,
    records: u64,
}

fn replayed(clients: u64, times: u64) -> Named {
    let (mut reports, records) = (Reports::new(clients), clients * times);
    let owner = Owner { server: "Alford".into(), herd: "bench".into() };
    let mut journal = owner.head();
    (0..records).for_each(|_| record::write(&mut journal, at(&mut reports).as_bytes()));
    let name = format!("a record, replayed, {clients} clients, {times} of each");
    let work = Replayed { table: Table::new(7), journal, records };
    Named { name, each: records as usize, work: Box::new(work) }
}

impl Work for Replayed {
    fn prepare(&mut self) {
        self.table = Table::new(7);
    }

    fn run(&mut self) {
        let table = &mut self.table;
        let mut replay = Replay { table, scratch: Vec::new(), ahead: 0 };
        let scan = scan(&mut &self.journal[..], &mut replay).expect("memory can be read");
        assert_eq!(scan.records, self.records);
    }
}

/// How a client sends a report.
#[derive(Clone, Copy, Debug)]
enum Form {
    Iamat,
    Put,
    OwnTracks,
}

/// Serves reports of one connection in one turn of a server's reactor, with neighbours: everything but the kernel.
struct Served {
    reactor: Reactor<Still, Member>,
    reports: Reports,
    form: Form,
    lines: usize,
    /// The number of the client's connection.
    client: usize,
    /// How many bytes the server sends for each report of the client.
    bytes_each: u64,
}

/// The number of the peer port, which a server opens first.
const FOR_NEIGHBOURS: usize = 0;
/// The number of the client port, or of the HTTP port if there is one.
const FOR_CLIENTS: usize = 1;

pub(crate) fn iamats(lines: usize, neighbours: usize, clients: u64) -> Named {
    let names = &["Alford", "Bolden", "Hamilton", "Parker"][..neighbours];
    // The server whose name sorts first dials, so all neighbours dial this server.
    let mut topology = format!(
        "herd = \"bench\"\n[[server]]\nname = \"Welsh\"\nclient = \"127.0.0.1:1\"\n\
         peer = \"127.0.0.1:2\"\nneighbours = {names:?}\n"
    );
    for (number, name) in names.iter().enumerate() {
        let _ = write!(
            topology,
            "[[server]]\nname = \"{name}\"\nclient = \"127.0.0.1:{}\"\npeer = \"127.0.0.1:{}\"\n\
             neighbours = [\"Welsh\"]\n",
            number * 2 + 3,
            number * 2 + 4
        );
    }
    topology += "[limits]\nknown_clients = 100_000_000\nknown_bytes = 8_000_000_000\n";
    let topology = Topology::parse(&topology, Path::new("bench.toml")).expect("a topology");
    let source = Box::new(Embedded::new(Rank::default()));
    let member = Member::new(&topology, "Welsh", source, 7, 100).expect("Welsh is a member");
    let mut reactor = Reactor::new(Still::default(), member, ReactorLimits::default());
    Member::start(&mut reactor).expect("Welsh listens");
    for (caller, name) in names.iter().enumerate() {
        reactor.io().call(FOR_NEIGHBOURS);
        reactor.turn().expect("a turn");
        reactor.io().say(caller, format!("HELLO {name} bench 1\n").into_bytes());
        reactor.turn().expect("a turn");
    }
    reactor.io().call(FOR_CLIENTS);
    reactor.turn().expect("a turn");
    let linked = reactor.state().neighbours.iter().filter(|(_, link)| link.conn.is_some()).count();
    assert_eq!(linked, neighbours);
    let bytes_each = (1 + neighbours as u64) * 80;
    let reports = Reports::new(clients);
    let mut served =
        Served { reactor, reports, form: Form::Iamat, lines, client: neighbours, bytes_each };
    for _ in 0..clients / lines as u64 {
        served.prepare();
        served.reactor.turn().expect("a turn");
    }
    let name = format!("IAMAT, {lines} a turn, {neighbours} neighbours, {clients} clients");
    Named { name, each: lines, work: Box::new(served) }
}

/// Serves reports by HTTP.
fn by_http(form: Form, requests: usize) -> Named {
    let topology = "herd = \"bench\"\n[[server]]\nname = \"Welsh\"\nclient = \"127.0.0.1:1\"\n\
                    peer = \"127.0.0.1:2\"\nhttp = \"127.0.0.1:3\"\n";
    let topology = Topology::parse(topology, Path::new("bench.toml")).expect("a topology");
    let source = Box::new(Embedded::new(Rank::default()));
    let member = Member::new(&topology, "Welsh", source, 7, 100).expect("Welsh is a member");
    let mut reactor = Reactor::new(Still::default(), member, ReactorLimits::default());
    Member::start(&mut reactor).expect("Welsh listens");
    reactor.io().call(FOR_CLIENTS);
    reactor.turn().expect("a turn");
    // A Feature and its head, or [] and its head.
    let bytes_each = if matches!(form, Form::Put) { 321 } else { 109 };
    let reports = Reports::new(1_000);
    let mut served = Served { reactor, reports, form, lines: requests, client: 0, bytes_each };
    served.prepare();
    served.reactor.turn().expect("a turn");
    let name = format!("{form:?} by HTTP, {requests} a turn");
    Named { name, each: requests, work: Box::new(served) }
}

/// A report as a request.
fn request(form: Form, operands: &str) -> String {
    let (id, time) = (&operands[..14], &operands[36..]);
    let location = "\"lat\":34.068930,\"lon\":-118.445127";
    let (line, app, body) = match form {
        Form::OwnTracks => (
            "POST /owntracks".to_owned(),
            "User-Agent: Owntracks-Android/gms/420509001\r\nX-Limit-U: jane\r\nX-Limit-D: phone\r\n",
            format!(
                "{{\"_type\":\"location\",\"topic\":\"owntracks/{id}/phone\",\"_id\":\"bb8a8cd6\",\
                 \"created_at\":1479413884,\"tst\":{time},{location},\"acc\":13,\"alt\":53,\"vel\":2,\
                 \"cog\":38,\"batt\":87,\"t\":\"u\",\"tid\":\"ne\"}}"
            ),
        ),
        _ => (format!("PUT /v1/clients/{id}"), "", format!("{{{location},\"time\":\"{time}\"}}")),
    };
    format!(
        "{line} HTTP/1.1\r\nHost: 127.0.0.1:3\r\n{app}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl Work for Served {
    fn prepare(&mut self) {
        let one = |_| match self.form {
            Form::Iamat => iamat(&mut self.reports) + "\n",
            form => request(form, &self.reports.next().operands),
        };
        let lines: String = (0..self.lines).map(one).collect();
        // The wall clock shows about a quarter of a second after the last report's time.
        self.reactor.io().wall = UnixNanos(self.reports.seconds() * 1_000_000_000 + 999_873_386);
        self.reactor.io().say(self.client, lines.into_bytes());
        self.reactor.io().sent = 0;
    }

    /// Sends the replies to the previous lines, and reads these lines.
    fn run(&mut self) {
        self.reactor.turn().expect("a turn");
        assert_eq!(self.reactor.io().sent, self.bytes_each * self.lines as u64);
    }
}

/// With `pending` timers pending, sets another timer and then cancels it, resets it or lets it fire.
fn timers(what: &'static str, pending: usize) -> Named {
    const EACH: usize = 100;
    let mut reactor = Reactor::new(Still::default(), Count(0), ReactorLimits::default());
    let hour = Duration::from_secs(3_600);
    for _ in 0..pending {
        let _ = reactor.parts().1.call_later(hour, |_, _| {});
    }
    let run = move || {
        let core = reactor.parts().1;
        let delay = if what == "fired" { Duration::ZERO } else { hour };
        let ids: [_; EACH] =
            std::array::from_fn(|_| core.call_later(delay, |count: &mut Count, _| count.0 += 1));
        match what {
            "cancelled" => ids.iter().for_each(|id| core.cancel(*id).expect("it waits")),
            "reset" => {
                ids.iter().for_each(|id| core.reset(*id, hour * 2).expect("it waits"));
                ids.iter().for_each(|id| core.cancel(*id).expect("it waits"));
            }
            _ => {}
        }
        reactor.turn().expect("a turn");
        let fired = std::mem::take(&mut reactor.state().0);
        assert_eq!(fired, if what == "fired" { EACH } else { 0 });
    };
    let name = format!("a timer, started and {what}, {pending} pending");
    Named { name, each: EACH, work: Box::new(run) }
}

/// Runs turns on the in-memory network, in each of which a timer fires and the next one is set.
fn memory_turn() -> Named {
    let io = MemoryIo::new(MemoryOptions::default());
    let mut reactor = Reactor::new(io, Count(0), ReactorLimits::default());
    let run = move || {
        for _ in 0..EACH {
            // The poll sleeps until the timer is due; it fires in the next turn.
            let delay = Duration::from_millis(1);
            let _ = reactor.parts().1.call_later(delay, |count: &mut Count, _| count.0 += 1);
            reactor.turn().expect("a turn");
        }
        assert!(std::mem::take(&mut reactor.state().0) >= EACH - 1);
    };
    named("a turn with one timer, MemoryIo".into(), run)
}

/// A location to ask about: its name, latitude and longitude, and both as text.
type Place = (&'static str, f64, f64, &'static str, &'static str);

const UCLA: Place = ("UCLA", 34.068_930, -118.445_127, "+34.068930", "-118.445127");
const PARIS: Place = ("Paris", 48.856_600, 2.352_200, "+48.8566", "+2.3522");

fn query(radius_km: u32, place: &Place) -> Query {
    let (_, latitude, longitude, latitude_text, longitude_text) = *place;
    Query {
        latitude,
        longitude,
        latitude_text: latitude_text.into(),
        longitude_text: longitude_text.into(),
        radius_m: f64::from(radius_km) * 1_000.0,
        radius_text: radius_km.to_string().into_bytes(),
    }
}

fn answer(query: &Query) -> Answer {
    match Embedded::new(Rank::default()).nearby(Ticket(1), query) {
        Progress::Answered(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn places(radius_km: u32, place: &'static Place) -> Named {
    let (query, is_there_none) = (query(radius_km, place), (radius_km, place) == (1, &UCLA));
    let run = move || {
        let answer = answer(black_box(&query));
        let status = black_box(answer).status(20);
        assert_eq!(status, if is_there_none { "ZERO_RESULTS" } else { "OK" });
    };
    let name = format!("embedded places, {radius_km} km of {}", place.0);
    Named { name, each: 1, work: Box::new(run) }
}

/// Writes twenty places in Google's layout.
fn json() -> Named {
    let answer = answer(&query(50, &UCLA));
    let mut out = Vec::new();
    let run = move || {
        out.clear();
        black_box(&answer).write(20, &mut out);
        assert!(out.ends_with(b"}") && out.len() > 1_000);
    };
    Named { name: "20 places, written as JSON".into(), each: 1, work: Box::new(run) }
}

fn iamat(reports: &mut Reports) -> String {
    format!("IAMAT {}", reports.next().operands)
}

fn at(reports: &mut Reports) -> String {
    format!("AT Alford +0.263873386 {}", reports.next().operands)
}
