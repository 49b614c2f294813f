//! What a client of the herd reads, whatever goes wrong between the herd and its places.
//!
//! A row is a fault and its promise: what the client reads, within which time, and how often the service is asked.
//! The member, its resolver, its pool and its TLS are real. The service, its name server and the network between
//! them are doubles in the same network in memory, so hours of waiting cost nothing. With every fault:
//!
//! * the reply has its usual frame: AT line, JSON, blank line; and it is followed by the reply to an IAMAT that
//!   the same client has sent after its WHATSAT;
//! * an IAMAT of another client is answered at once, at every moment;
//! * when the fault is gone, the next WHATSAT on the same connection is answered with places.
//!
//! `cargo test --test suite places::faults:: -- --nocapture` prints the table in docs/sources.md.

use crate::support::cluster::{Cluster, MS, SECOND, TalkId, topology};
use crate::support::fake_google::faults::{ALL, Fault, Place, Switch, Way, named};
use crate::support::fake_google::names::{OverTcp, Zone};
use crate::support::fake_google::places::{Api, Places};
use crate::support::fake_google::{Authority, Running, Serves};
use herd_reactor::testing::{self, MemoryOptions};
use places_herd::config::{PlacesSource, Topology};
use places_herd::fetch::pool::HttpPool;
use places_herd::fetch::roots::client_config;
use places_herd::log::secret::Secret;
use places_herd::net::dns::{DnsClient, DnsOptions};
use places_herd::places::{Progress, Query, Source, Ticket};
use places_herd::server::network::Network;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const KEY: &str = "AIzaCANARY-of-the-table-of-faults-012345";

/// Interval between the IAMATs of another client while a fault lasts.
const TICK: Duration = Duration::from_millis(20);

/// Time within which a reply "at once" arrives in a network without latency.
const AT_ONCE: Duration = Duration::ZERO;
/// Time within which a reply "at once" arrives in a network with latency.
const AT_ONCE_IN_FOUL_WEATHER: Duration = Duration::from_millis(5);

/// Time that successive handshakes may add in a network with latency.
const FOUL_WEATHER: Duration = Duration::from_millis(400);

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("the table of faults"));

/// The promise for a fault.
#[derive(Clone, Copy, Debug)]
struct Promise {
    fault: &'static str,
    /// The interface for which it holds; `None`: both.
    api: Option<Api>,
    status: &'static str,
    /// `error_message`; empty if there is none.
    message: &'static str,
    /// Earliest and latest time of the reply, in milliseconds.
    within: (u64, u64),
    /// Number of requests to the service.
    asked: usize,
}

const UNANSWERED: &str = "UNKNOWN_ERROR";

const fn row(
    fault: &'static str,
    status: &'static str,
    message: &'static str,
    within: (u64, u64),
    asked: usize,
) -> Promise {
    Promise { fault, api: None, status, message, within, asked }
}

/// The places arrive as without a fault.
const fn found(fault: &'static str, within: (u64, u64), asked: usize) -> Promise {
    row(fault, "OK", "", within, asked)
}

const DNS: &str = "The places provider did not answer (phase: dns).";
const CONNECT: &str = "The places provider did not answer (phase: connect).";
const TLS: &str = "The places provider did not answer (phase: tls).";
const FIRST_BYTE: &str = "The places provider did not answer (phase: first byte).";
const BODY: &str = "The places provider did not answer (phase: body).";
const ANSWER: &str = "The places provider did not answer (phase: answer).";
const LATE: &str = "The places provider did not answer in time.";
const REFUSED: &str = "The places provider refused the server's credentials.";

/// A second attempt follows after 100 to 400 ms, if it may help.
const TABLE: &[Promise] = &[
    row("no-name", UNANSWERED, DNS, (100, 400), 0),
    row("silent-names", UNANSWERED, DNS, (4_100, 4_400), 0),
    row("failing-names", UNANSWERED, DNS, (100, 400), 0),
    found("long-names", (0, 0), 1),
    row("refused", UNANSWERED, CONNECT, (100, 400), 0),
    row("blackholed", UNANSWERED, CONNECT, (3_100, 3_400), 0),
    row("silent", UNANSWERED, TLS, (4_100, 4_400), 0),
    row("closed", UNANSWERED, TLS, (100, 400), 0),
    row("not-tls", UNANSWERED, TLS, (0, 0), 0),
    row("wrong-host", UNANSWERED, TLS, (0, 0), 0),
    row("untrusted", UNANSWERED, TLS, (0, 0), 0),
    row("expired", UNANSWERED, TLS, (0, 0), 0),
    found("split-records", (0, 0), 1),
    found("small-records", (0, 0), 1),
    row("slow-head", UNANSWERED, FIRST_BYTE, (4_000, 4_000), 1),
    row("stopped-body", UNANSWERED, BODY, (2_000, 2_000), 1),
    row("dripping-body", UNANSWERED, LATE, (8_000, 8_000), 1),
    row("truncated-chunk", UNANSWERED, BODY, (0, 0), 1),
    row("truncated-length", UNANSWERED, BODY, (0, 0), 1),
    row("cut", UNANSWERED, BODY, (0, 0), 1),
    row("oversize", UNANSWERED, BODY, (0, 0), 1),
    row("oversize-length", UNANSWERED, BODY, (0, 0), 1),
    found("chunk-extensions", (0, 0), 1),
    found("both-lengths", (0, 0), 1),
    row("html-502", UNANSWERED, ANSWER, (100, 400), 2),
    row("gzip", UNANSWERED, ANSWER, (0, 0), 1),
    row("bad-json", UNANSWERED, ANSWER, (0, 0), 1),
    Promise {
        api: Some(Api::New),
        ..row("quota", "OVER_QUERY_LIMIT", "Query limit reached; retry after 41 s.", (0, 0), 1)
    },
    Promise {
        // The old interface's error does not say when to retry.
        api: Some(Api::Legacy),
        ..row("quota", "OVER_QUERY_LIMIT", "Query limit reached; retry later.", (0, 0), 1)
    },
    found("quota-then-good", (2_000, 2_000), 2),
    found("503-then-good", (100, 400), 2),
    row("error-200", "REQUEST_DENIED", REFUSED, (0, 0), 1),
    found("idle-close", (0, 0), 2),
];

impl Promise {
    fn fault(&self) -> &'static Fault {
        named(self.fault).expect("a fault of that name")
    }

    fn is_of(&self, api: Api) -> bool {
        self.api.is_none_or(|its| its == api)
    }

    /// The row of the table in docs/sources.md.
    fn line(&self) -> String {
        let what = self.fault().what;
        let source = self.api.map_or("both", Api::source);
        let (_, latest) = self.within;
        let within = match latest {
            0 => "at once".to_owned(),
            ms => format!("{} s", ms as f64 / 1_000.0),
        };
        format!(
            "| {what} | {source} | `{}` | {} | {within} | {} |",
            self.status, self.message, self.asked
        )
    }
}

/// A member that asks a fake Google, and two of its clients.
struct Stage {
    cluster: Cluster,
    running: Arc<Running>,
    zone: Zone,
    switch: Switch,
    fault: &'static Fault,
    api: Api,
    asker: TalkId,
    other: TalkId,
    reports: u64,
    at_once: Duration,
}

/// What the client read for a WHATSAT.
#[derive(Debug)]
struct Reply {
    at: String,
    json: Value,
    /// The reply to the command after it.
    behind: String,
    took: Duration,
}

fn service() -> SocketAddr {
    "192.0.2.10:443".parse().unwrap()
}

fn name_server() -> SocketAddr {
    "192.0.2.53:53".parse().unwrap()
}

/// The source of a member whose topology sets only `source`.
fn source(api: Api) -> Box<dyn Source> {
    let text = format!("{}[places]\nsource = '{}'\n", topology("Alford", ""), api.source());
    let topology = Topology::parse(&text, Path::new("topology.toml")).unwrap();
    let PlacesSource::Network(upstream) = topology.places.source else { unreachable!("{text}") };
    upstream.open(topology.places.rank, Secret::new(KEY).ok()).expect("there is a key")
}

/// The limits of a topology that sets none.
fn network(text: &str) -> Network {
    static CA: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
        let name = format!("faults-ca-{}.pem", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        AUTHORITY.write_pem(&path).unwrap();
        path
    });
    let places = Topology::parse(text, Path::new("topology.toml")).unwrap().places;
    let options = DnsOptions {
        servers: vec![name_server()],
        total: places.dns_timeout(),
        hosts: "/nonexistent".into(),
        resolv_conf: "/nonexistent".into(),
    };
    let pool = HttpPool::new(client_config(Some(&CA)).unwrap(), places.pool_limits());
    Network { dns: DnsClient::new(options), pool }
}

impl Stage {
    fn new(fault: &'static Fault, api: Api, options: MemoryOptions) -> Stage {
        let calm = options.delay.end().is_zero();
        let text = topology("Alford", "");
        let mut cluster = Cluster::new(options, &text);
        let switch = Switch::default();
        let running =
            Running::new(&AUTHORITY, fault.script(api, Places::default(), switch.clone()));
        cluster.host(service(), Box::new(Serves(Arc::clone(&running))));
        let zone = Zone::default();
        cluster.host(name_server(), Box::new(OverTcp(zone.clone())));
        let asked = zone.clone();
        let answer = move |query: &[u8]| asked.answer(places_herd::net::dns::Via::Udp, query);
        cluster.host_datagrams(name_server(), answer);
        cluster.start_asking("Alford", source(api), network(&text));
        let [asker, other] = ["asker", "other"].map(|_| cluster.client("Alford"));
        let at_once = if calm { AT_ONCE } else { AT_ONCE_IN_FOUL_WEATHER };
        let mut stage =
            Stage { cluster, running, zone, switch, fault, api, asker, other, reports: 0, at_once };
        stage.strike(false);
        stage.cluster.say(asker, "IAMAT kiwi +34.068930-118.445127 5");
        stage
    }

    /// Switches the fault on or off.
    fn strike(&mut self, strikes: bool) {
        self.switch.set(strikes);
        let naming = self.fault.naming(vec![service().ip()], strikes);
        self.zone.say(self.api.host(), naming);
        let network = self.cluster.outside_network();
        match self.fault.at {
            Place::Way(Way::Refused) if strikes => {
                network.fault(service(), testing::NetworkFault::Refuse);
            }
            Place::Way(Way::Lost) if strikes => {
                network.fault(service(), testing::NetworkFault::Blackhole);
            }
            _ => network.heal(service()),
        }
    }

    /// Another client sends an IAMAT, and is answered at once.
    fn others_are_served(&mut self) {
        self.reports += 1;
        let report = format!("IAMAT pear +0-0 {}\n", self.reports);
        self.cluster.send(self.other, report);
        self.cluster.run_for(self.at_once);
        let heard = self.cluster.hear(self.other);
        assert!(
            heard.starts_with("AT Alford ") && heard.ends_with(&format!(" {}\n", self.reports))
        );
    }

    /// Sends a WHATSAT, and an IAMAT after it; serves the other client until both are answered.
    fn whatsat(&mut self) -> Reply {
        let begun = self.cluster.now();
        self.cluster.send(self.asker, "WHATSAT kiwi 10 5\nIAMAT fig +1-1 5\n");
        loop {
            self.others_are_served();
            let heard = String::from_utf8_lossy(self.cluster.heard(self.asker)).into_owned();
            let parts = heard.split_once("\n\n").filter(|(_, behind)| behind.ends_with('\n'));
            let took = self.cluster.now() - begun;
            if let Some((reply, behind)) = parts {
                self.cluster.hear(self.asker);
                let (at, json) = reply.split_once('\n').expect("an AT line");
                let json = serde_json::from_str(json).expect("JSON");
                return Reply { at: at.to_owned(), json, behind: behind.to_owned(), took };
            }
            assert!(took < 60 * SECOND, "no reply: {heard}");
            self.cluster.run_for(TICK - self.at_once);
        }
    }

    /// Sends a WHATSAT, and gets five of twenty places.
    fn works(&mut self) {
        let reply = self.whatsat();
        self.check_frame(&reply);
        self.check_places(&reply);
    }

    fn check_frame(&self, reply: &Reply) {
        let at = " kiwi +34.068930-118.445127 5";
        assert!(reply.at.starts_with("AT Alford ") && reply.at.ends_with(at), "{reply:?}");
        let fig = " fig +1-1 5\n";
        assert!(reply.behind.starts_with("AT Alford "), "{reply:?}");
        assert!(reply.behind.ends_with(fig), "{reply:?}");
        assert_eq!(reply.behind.lines().count(), 1, "{reply:?}");
    }

    fn check_places(&self, reply: &Reply) {
        assert_eq!(reply.json["status"], "OK", "{reply:?}");
        let results = reply.json["results"].as_array().expect("a list");
        assert_eq!(results.len(), 5);
        assert_eq!(results[0]["name"], "Lantern & Sons Hardware");
        assert_eq!(results[4]["vicinity"], "38 Example Street, Doubletown");
    }
}

/// Plays one row, and checks its promise.
fn play(promise: &Promise, api: Api, options: MemoryOptions) {
    let fault = promise.fault();
    println!("{} of {}: {options:?}", promise.fault, api.source());
    let slack = if options.delay.end().is_zero() { TICK } else { TICK + FOUL_WEATHER };
    let mut stage = Stage::new(fault, api, options);
    if promise.fault == "idle-close" {
        stage.works();
    }
    let asked = stage.running.requests();
    stage.strike(true);
    let reply = stage.whatsat();
    stage.check_frame(&reply);
    assert_eq!(reply.json["status"], promise.status, "{reply:?}");
    let message = reply.json.get("error_message").and_then(Value::as_str);
    assert_eq!(message.unwrap_or_default(), promise.message, "{reply:?}");
    match promise.status {
        "OK" => stage.check_places(&reply),
        _ => assert_eq!(reply.json["results"], Value::Array(Vec::new())),
    }
    let (earliest, latest) = promise.within;
    assert!(reply.took >= earliest as u32 * MS, "{:?} is too early", reply.took);
    assert!(reply.took <= latest as u32 * MS + slack, "{:?} is too late", reply.took);
    assert_eq!(stage.running.requests() - asked, promise.asked, "requests");
    stage.strike(false);
    // The resolver caches for five seconds that a name does not exist.
    stage.cluster.run_for(6 * SECOND);
    stage.works();
    stage.works();
    let shown = format!("{:?}", stage.cluster);
    assert!(!shown.contains(KEY), "nobody sees the key");
}

fn play_all(api: Api) {
    for promise in TABLE.iter().filter(|promise| promise.is_of(api)) {
        play(promise, api, MemoryOptions::calm(0));
        play(promise, api, MemoryOptions::rough(1));
    }
}

#[test]
fn every_fault_of_google_comes_to_what_the_table_promises() {
    play_all(Api::New);
}

#[test]
fn every_fault_of_the_old_google_comes_to_what_the_table_promises() {
    play_all(Api::Legacy);
}

#[test]
fn every_fault_has_its_row_for_each_interface() {
    for fault in ALL {
        let mut rows = BTreeMap::new();
        for api in [Api::New, Api::Legacy] {
            let of = TABLE.iter().filter(|row| row.fault == fault.name && row.is_of(api));
            rows.insert(api.source(), of.count());
        }
        assert_eq!(rows.into_values().collect::<Vec<_>>(), [1, 1], "{}", fault.name);
    }
}

#[test]
fn the_documentation_shows_this_table() {
    let mut table = String::from(
        "| what goes wrong | source | `status` | `error_message` | within | asked |\n\
         |---|---|---|---|---|---|\n",
    );
    for promise in TABLE {
        writeln!(table, "{}", promise.line()).unwrap();
    }
    println!("{table}");
    let docs = include_str!("../../../docs/sources.md");
    assert!(docs.contains(&table), "docs/sources.md is to show:\n{table}");
}

// The fake Google itself.

const MASK: &str = "X-Goog-FieldMask: places.id,places.displayName.text,places.location,places.photos.name,\
                    places.rating\r\n";

/// The status line, and the answer to a search of the new interface.
fn search(fields: &str, count: u64) -> (String, Value) {
    let circle = r#"{"center":{"latitude":34.0,"longitude":-118.0},"radius":5000.0}"#;
    let body =
        format!(r#"{{"locationRestriction":{{"circle":{circle}}},"maxResultCount":{count}}}"#);
    let request = format!("POST /v1/places:searchNearby HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
    answered(&request)
}

fn answered(request: &str) -> (String, Value) {
    let places = Places { key: Some(KEY.to_owned()) };
    let response = String::from_utf8(places.answer(request.as_bytes())).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap().to_owned();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn the_double_of_the_new_interface_wants_a_key_and_a_mask_and_answers_what_it_is_asked() {
    let key = format!("X-Goog-Api-Key: {KEY}\r\n");
    for (fields, count, http, status) in [
        (MASK, 20, "403", "PERMISSION_DENIED"),
        (&format!("X-Goog-Api-Key: another\r\n{MASK}"), 20, "400", "INVALID_ARGUMENT"),
        (&key, 20, "400", "INVALID_ARGUMENT"),
        (&format!("{key}{MASK}"), 0, "400", "INVALID_ARGUMENT"),
        (&format!("{key}{MASK}"), 21, "400", "INVALID_ARGUMENT"),
    ] {
        let (line, said) = search(fields, count);
        assert!(line.starts_with(&format!("HTTP/1.1 {http} ")), "{line}");
        assert_eq!(said["error"]["status"], status, "{said}");
    }
    let (line, said) = search(&format!("{key}{MASK}"), 3);
    assert_eq!(line, "HTTP/1.1 200 OK");
    let places = said["places"].as_array().unwrap();
    assert_eq!(places.len(), 3);
    let first: Vec<_> = places[0].as_object().unwrap().keys().collect();
    assert_eq!(first, ["displayName", "id", "location", "photos", "rating"], "what the mask names");
    let name = serde_json::json!({ "text": "Lantern & Sons Hardware" });
    assert_eq!(places[0]["displayName"], name, "and no more of it");
}

#[test]
fn the_double_of_the_old_interface_says_on_200_what_is_wrong() {
    let ask = |query: &str| {
        let path = "/maps/api/place/nearbysearch/json";
        answered(&format!("GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n"))
    };
    for (query, status) in [
        ("location=34,-118&radius=5000".to_owned(), "REQUEST_DENIED"),
        ("location=34,-118&radius=5000&key=another".to_owned(), "REQUEST_DENIED"),
        (format!("location=34&radius=5000&key={KEY}"), "INVALID_REQUEST"),
        (format!("location=34,-118&key={KEY}"), "INVALID_REQUEST"),
        (format!("location=34,-118&radius=5000&key={KEY}"), "OK"),
    ] {
        let (line, said) = ask(&query);
        assert_eq!(
            (line.as_str(), &said["status"]),
            ("HTTP/1.1 200 OK", &status.into()),
            "{query}"
        );
        let count = if status == "OK" { 20 } else { 0 };
        assert_eq!(said["results"].as_array().unwrap().len(), count);
    }
}

#[test]
fn an_answer_of_the_double_is_as_long_as_one_of_google() {
    let mut upstream = source(Api::New);
    let query = Query {
        latitude: 34.06893,
        longitude: -118.445127,
        latitude_text: b"+34.068930".to_vec(),
        longitude_text: b"-118.445127".to_vec(),
        radius_m: 10_000.0,
        radius_text: b"10".to_vec(),
    };
    let Progress::Fetch(fetch) = upstream.nearby(Ticket(1), &query) else { panic!("it asks") };
    let (_, request) = places_herd::server::network::request(fetch).unwrap();
    let mut bytes = Vec::new();
    request.write(&mut bytes);
    let response = Places::default().answer(&bytes);
    assert!((20 << 10..28 << 10).contains(&response.len()), "{} bytes", response.len());
}
