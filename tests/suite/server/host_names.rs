//! Neighbours that are dialled by their host names: a real server and its resolver, over a network in memory, and a name
//! server that says what the test wants.

use crate::support::cluster::{Cluster, MS, SECOND, topology};
use crate::support::fake_google::names::{Naming, Zone};
use crate::support::logged::Logged;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Shared, Signal, UnixNanos};
use places_herd::config::{ServerView, Topology};
use places_herd::fetch::pool::HttpPool;
use places_herd::fetch::roots::client_config;
use places_herd::net::dns::{DnsClient, DnsOptions, Via};
use places_herd::places::{Progress, Query, Source, Ticket};
use places_herd::server::config_state::{ConfigReader, Prepared};
use places_herd::server::network::Network;
use places_herd::server::place_queries::PlacesInUse;
use std::net::SocketAddr;
use std::path::Path;

/// A source that never answers.
#[derive(Debug)]
struct Silent;

impl Source for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn nearby(&mut self, _ticket: Ticket, _query: &Query) -> Progress {
        Progress::Waiting
    }
}

/// Reads a topology with a new source of places, which uses a network or none.
#[derive(Debug)]
struct SourceReader {
    text: String,
    has_network: bool,
}

impl ConfigReader for SourceReader {
    fn read(&mut self, _: &ServerView, _: &str, _: UnixNanos) -> Result<Prepared, Vec<String>> {
        let (source, network) = (Box::new(Silent), self.has_network.then(|| network(&self.text)));
        Ok(Prepared {
            topology: parsed(&self.text),
            changes: Vec::new(),
            places: Some(PlacesInUse { source, fallback: None, network }),
            peer_tls: None,
            access: places_herd::server::client_access::ClientAccess::default(),
            connections_max: 100,
        })
    }

    fn terminal_has_closed(&self) -> bool {
        false
    }
}

fn parsed(text: &str) -> Topology {
    Topology::parse(text, Path::new("topology.toml")).expect("it is valid")
}

/// The network of a source of places: its name server is the test's.
fn network(text: &str) -> Network {
    let places = parsed(text).places;
    let options = DnsOptions {
        servers: vec![names()],
        total: places.dns_timeout(),
        hosts: "/nonexistent".into(),
        resolv_conf: "/nonexistent".into(),
    };
    let tls = client_config(None).expect("the program has roots");
    Network { dns: DnsClient::new(options), pool: HttpPool::new(tls, places.pool_limits()) }
}

/// The address of the name server.
fn names() -> SocketAddr {
    "10.9.9.9:53".parse().expect("an address")
}

/// Alford and its neighbour Bolden, which is found at `bolden.example`; Bolden runs. The zone knows no name yet.
fn bolden() -> (Cluster, Zone, String) {
    let text = topology("Alford Bolden; Bolden", "").replace(
        "peer = '10.0.0.2:12100'",
        "peer = 'bolden.example:12100'\npeer_listen = '10.0.0.2:12100'",
    );
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
    let zone = Zone::default();
    let asked = zone.clone();
    cluster.host_datagrams(names(), move |query| asked.answer(Via::Udp, query));
    cluster.start("Bolden");
    (cluster, zone, text)
}

/// [`bolden`] and Alford, whose source of places uses a network.
fn pair() -> (Cluster, Zone) {
    let (mut cluster, zone, text) = bolden();
    cluster.start_asking("Alford", Box::new(Silent), network(&text));
    (cluster, zone)
}

fn at(addresses: &[&str]) -> Naming {
    Naming::At(addresses.iter().map(|text| text.parse().expect("an address")).collect())
}

fn is_linked(cluster: &mut Cluster) -> bool {
    cluster.linked("Alford").contains("Bolden")
}

#[test]
fn a_name_that_does_not_resolve_is_tried_again_and_logged_like_any_failure() {
    let log = Logged::here();
    let (mut cluster, zone) = pair();
    cluster.run_for(30 * SECOND);
    assert!(cluster.dials("Alford", "Bolden").is_empty());
    let failures = cluster.member("Alford").counters.dial_failures;
    // After the first pauses, one each retry_max_ms.
    assert!((8..=15).contains(&failures), "{failures}");
    let text = log.text();
    let said =
        "Bolden: cannot connect: bolden.example:12100: no such host name; attempt 1, retry in ";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("attempt 8, retry in "), "{text}");
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.run_for(11 * SECOND);
    assert!(is_linked(&mut cluster), "{}", log.text());
    assert!(log.text().contains("connected to Bolden at 10.0.0.2:12100 after "), "{}", log.text());
}

#[test]
fn every_address_of_a_name_is_tried() {
    let (mut cluster, zone) = pair();
    // Nobody listens at the first two.
    zone.say("bolden.example", at(&["10.9.9.200", "10.9.9.201", "10.0.0.2"]));
    cluster.run_for(SECOND);
    assert!(is_linked(&mut cluster));
}

#[test]
fn a_name_is_looked_up_again_when_its_ttl_has_passed_and_the_new_address_is_dialled() {
    let (mut cluster, zone) = pair();
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.run_for(10 * SECOND);
    assert!(is_linked(&mut cluster));
    let queries = zone.queries(Via::Udp);
    // The TTL is 60 s. From now on the name leads elsewhere, where nobody listens.
    cluster.run_for(120 * SECOND);
    assert_eq!(zone.queries(Via::Udp), queries, "a link needs no name");
    zone.say("bolden.example", at(&["10.9.9.200"]));
    cluster.kill("Bolden");
    cluster.run_for(SECOND);
    assert!(zone.queries(Via::Udp) > queries);
    let dials = cluster.dials("Alford", "Bolden").len();
    cluster.start("Bolden");
    cluster.run_for(61 * SECOND);
    assert!(!is_linked(&mut cluster), "the old address is not used");
    assert_eq!(cluster.dials("Alford", "Bolden").len(), dials);
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.run_for(66 * SECOND);
    assert!(is_linked(&mut cluster));
}

#[test]
fn a_lost_link_is_made_again_after_the_first_pause() {
    let (mut cluster, zone) = pair();
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.run_for(20 * SECOND);
    for _ in 0..3 {
        cluster.kill("Bolden");
        cluster.start("Bolden");
        cluster.run_for(300 * MS);
        assert!(is_linked(&mut cluster));
        cluster.run_for(60 * SECOND);
    }
}

#[test]
fn a_server_that_stops_dials_no_name() {
    let (mut cluster, zone) = pair();
    cluster.run_for(SECOND);
    cluster.reactor("Alford").stop();
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.run_for(20 * SECOND);
    assert!(cluster.has_ended("Alford") && cluster.dials("Alford", "Bolden").is_empty());
}

#[test]
fn a_name_that_is_being_looked_up_when_a_reload_brings_a_source_with_a_network_is_still_dialled() {
    let (mut cluster, zone, text) = bolden();
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.start_as("Alford", Box::new(Silent), |mut member| {
        member.config_reader = Some(Box::new(SourceReader { text, has_network: true }));
        member
    });
    let (member, core) = cluster.reactor("Alford").parts();
    member.signalled(core, Signal::Hangup);
    cluster.run_for(60 * SECOND);
    assert!(
        is_linked(&mut cluster),
        "{} failures",
        cluster.member("Alford").counters.dial_failures
    );
}

#[test]
fn after_a_reload_to_a_source_without_a_network_its_name_server_is_asked_no_more() {
    let (mut cluster, zone, text) = bolden();
    zone.say("bolden.example", at(&["10.0.0.2"]));
    cluster.start_as("Alford", Box::new(Silent), |member| {
        let network = network(&text);
        let reader = SourceReader { text, has_network: false };
        let mut member = member.with_network(network);
        member.config_reader = Some(Box::new(reader));
        member
    });
    cluster.run_for(SECOND);
    assert!(is_linked(&mut cluster));
    let queries = zone.queries(Via::Udp);
    let (member, core) = cluster.reactor("Alford").parts();
    member.signalled(core, Signal::Hangup);
    cluster.kill("Bolden");
    // The TTL is 60 s.
    cluster.run_for(120 * SECOND);
    assert_eq!(zone.queries(Via::Udp), queries);
}
