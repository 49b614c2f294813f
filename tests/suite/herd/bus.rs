//! Herds with a bus, in one process with a double of NATS, on a clock that jumps. `bus_real.rs` has real servers of NATS, and
//! the simulation (`simulation/bus.rs`) has random faults.

use crate::support::cluster::{
    Cluster, FIVE, MS, Meddler, OUTSIDE, SECOND, TalkId, nats_address, topology,
};
use crate::support::dice::Dice;
use crate::support::logged::Logged;
use crate::support::nats_double::{Act, Manner, Message, NatsDouble, Settings};
use herd_reactor::testing::{MemoryIo, MemoryOptions, Segment, SegmentKind};
use herd_reactor::{Io, Reactor, Signal, UnixNanos};
use places_herd::config::{ServerView, Topology};
use places_herd::nats::write_key;
use places_herd::server::client_access::ClientAccess;
use places_herd::server::config_state::{ConfigReader, Prepared};
use places_herd::server::member::Member;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

const EPOCH_S: u64 = 1_479_413_884;

const PAIR: &str = "Alford; Bolden";

/// What a test chooses; see [`Setup::cluster`].
struct Setup {
    servers: &'static str,
    limits: &'static str,
    ack: &'static str,
    nats: Settings,
}

impl Setup {
    fn of(servers: &'static str) -> Setup {
        Setup { servers, limits: "", ack: "local", nats: Settings::default() }
    }

    fn limits(self, limits: &'static str) -> Setup {
        Setup { limits, ..self }
    }

    fn topology(&self) -> String {
        let urls: Vec<String> =
            (0..self.nats.nodes).map(|node| format!("nats://{}", nats_address(node))).collect();
        let bus = format!("[bus]\nnats = {urls:?}\nbucket = 'herd'\ninsecure_nats = true");
        let limits = format!("max_future_ms = 0\n{}\n{bus}", self.limits);
        format!("ack = '{}'\n{}", self.ack, topology(self.servers, &limits))
    }

    /// A cluster whose servers are not started, and its NATS.
    fn cluster(self) -> (Cluster, NatsDouble) {
        let mut cluster = Cluster::new(MemoryOptions::calm(7), &self.topology());
        let (nodes, double) = (self.nats.nodes, NatsDouble::new(7, self.nats));
        for node in 0..nodes {
            cluster.host(nats_address(node), Box::new(double.node(node)));
        }
        (cluster, double)
    }

    /// A cluster whose servers have read the bucket.
    fn herd(self) -> (Cluster, NatsDouble) {
        let (mut cluster, double) = self.cluster();
        for name in cluster.names() {
            cluster.start(&name);
        }
        cluster.run_for(SECOND);
        (cluster, double)
    }
}

fn act(cluster: &mut Cluster, double: &NatsDouble, act: &Act) {
    double.act(cluster.outside_core(), act);
}

/// Reports to `server`; the reply is the line.
fn report(cluster: &mut Cluster, server: &str, text: &str) -> String {
    let talk = cluster.client(server);
    cluster.say(talk, &format!("IAMAT {text}")).trim_end().to_owned()
}

/// The lines of the bucket, by client.
fn bucket(double: &NatsDouble) -> BTreeMap<String, String> {
    let all = double.world().streams.bucket("herd").into_values();
    all.map(|line| (line.split(' ').nth(3).unwrap_or_default().to_owned(), line)).collect()
}

/// All tables and the bucket are equal, and nothing is owed. Returns what they have.
fn all_equal(cluster: &mut Cluster, double: &NatsDouble) -> BTreeMap<String, String> {
    let bucket = bucket(double);
    for name in cluster.names() {
        assert_eq!(cluster.knows(&name), bucket, "{name}");
        assert_eq!(owed(cluster, &name), 0, "{name}");
    }
    assert_eq!(double.world().counters.faults, Vec::<String>::new());
    bucket
}

fn owed(cluster: &mut Cluster, name: &str) -> usize {
    let member = cluster.member(name);
    member.bus.as_ref().expect("it has a bus").bus.owed(&member.table)
}

fn in_flight(cluster: &mut Cluster, name: &str) -> usize {
    cluster.member(name).bus.as_ref().expect("it has a bus").bus.in_flight()
}

fn is_live(cluster: &mut Cluster, name: &str) -> bool {
    cluster.member(name).bus.as_ref().expect("it has a bus").bus.is_live()
}

fn puts(double: &NatsDouble) -> usize {
    double.world().counters.puts
}

/// Another program stores a value under a client's key.
fn store(cluster: &mut Cluster, double: &NatsDouble, client: &str, headers: &[u8], value: &[u8]) {
    let mut key = Vec::new();
    write_key(client.as_bytes(), &mut key);
    store_under(cluster, double, &key, headers, value);
}

fn store_under(
    cluster: &mut Cluster,
    double: &NatsDouble,
    key: &[u8],
    headers: &[u8],
    value: &[u8],
) {
    let time = cluster.outside_network().wall();
    let subject = [b"$KV.herd.", key].concat();
    let message = Message { subject, headers: headers.to_vec(), payload: value.to_vec(), time };
    double.world().streams.get_mut("KV_herd").expect("there is a bucket").put(message);
    act(cluster, double, &Act::Mute(Duration::ZERO));
}

fn delete(cluster: &mut Cluster, double: &NatsDouble, client: &str) {
    store(cluster, double, client, b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", b"");
}

#[test]
fn servers_without_links_exchange_reports() {
    let (mut cluster, double) = Setup::of(PAIR).herd();
    let kiwi = report(&mut cluster, "Alford", "kiwi +1+1 1479413884.5");
    let fig = report(&mut cluster, "Bolden", "fig +2+2 1479413884.5");
    cluster.settle();
    let known = all_equal(&mut cluster, &double);
    assert_eq!(known.into_values().collect::<Vec<_>>(), [fig, kiwi]);
    assert_eq!(puts(&double), 2);
}

#[test]
fn nats_may_be_away_at_the_start_and_only_bits_wait_for_it() {
    let (mut cluster, double) = Setup::of(PAIR).cluster();
    act(&mut cluster, &double, &Act::Kill { node: 0 });
    for name in ["Alford", "Bolden"] {
        cluster.start(name);
    }
    for round in 0..20 {
        for client in 0..30 {
            let second = EPOCH_S + round;
            let line = report(&mut cluster, "Alford", &format!("client-{client} +1+1 {second}"));
            assert!(line.starts_with("AT Alford "), "{line}");
        }
        cluster.run_for(3 * SECOND);
        assert_eq!((owed(&mut cluster, "Alford"), in_flight(&mut cluster, "Alford")), (30, 0));
    }
    act(&mut cluster, &double, &Act::Start { node: 0 });
    cluster.run_for(10 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double).len(), 30);
    assert_eq!(puts(&double), 30, "only the latest of each");
}

#[test]
fn a_silent_nats_gets_one_put_at_a_time_and_then_all() {
    for manner in [Manner::V2_9, Manner::V2_15] {
        let nats = Settings { manner, ..Settings::default() };
        let (mut cluster, double) = Setup { nats, ..Setup::of(PAIR) }.herd();
        act(&mut cluster, &double, &Act::FillDisk);
        for client in 0..10 {
            let line = report(&mut cluster, "Alford", &format!("client-{client} +1+1 1479413884"));
            assert!(line.starts_with("AT Alford "), "{line}");
        }
        cluster.run_for(7 * SECOND);
        assert!(in_flight(&mut cluster, "Alford") <= 1);
        assert_eq!(bucket(&double).len(), 0);
        act(&mut cluster, &double, &Act::Restart);
        cluster.run_for(30 * SECOND);
        assert_eq!(all_equal(&mut cluster, &double).len(), 10);
    }
}

#[test]
fn the_newest_wins_from_either_side() {
    for (alford, bolden, winner) in [
        ("kiwi +1+1 1479413884", "kiwi +2+2 1479413885", "Bolden"),
        ("kiwi +1+1 1479413886", "kiwi +2+2 1479413885", "Alford"),
        ("kiwi +1+1 1479413885", "kiwi +1+1 1479413885", "Bolden"),
    ] {
        for first in ["Alford", "Bolden"] {
            let (mut cluster, double) = Setup::of(PAIR).herd();
            for name in ["Alford", "Bolden"] {
                cluster.cut(name, "nats0");
            }
            report(&mut cluster, "Alford", alford);
            report(&mut cluster, "Bolden", bolden);
            let second = if first == "Alford" { "Bolden" } else { "Alford" };
            cluster.heal(first, "nats0");
            cluster.run_for(SECOND);
            cluster.heal(second, "nats0");
            cluster.run_for(10 * SECOND);
            let known = all_equal(&mut cluster, &double);
            let line = &known["kiwi"];
            assert!(line.starts_with(&format!("AT {winner} ")), "{first} first: {line}");
        }
    }
}

/// Follows the puts of one server on the wire.
#[derive(Debug)]
struct Puts {
    window: usize,
    /// The key of each put without an answer, by the subject of the answer.
    in_flight: BTreeMap<String, String>,
}

impl Meddler for Puts {
    fn sent(&mut self, segment: Segment, _: [Option<&mut Member>; 2], on: &mut Vec<Segment>) {
        if let SegmentKind::Data(bytes) = &segment.kind {
            for line in String::from_utf8_lossy(bytes).lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    ["HPUB", key, reply, ..] if segment.to.port() == 4_222 => {
                        let is_twice = self.in_flight.values().any(|its| its == key);
                        assert!(!is_twice, "two puts of {key}");
                        self.in_flight.insert(reply.to_owned(), key.to_owned());
                        assert!(self.in_flight.len() <= self.window);
                    }
                    ["MSG", reply, ..] => drop(self.in_flight.remove(reply)),
                    _ => {}
                }
            }
        }
        on.push(segment);
    }

    fn turned(&mut self, _: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        let bus = reactor.state().bus.as_ref().expect("it has a bus");
        assert!(bus.bus.in_flight() <= self.window);
    }
}

#[test]
fn one_put_of_a_client_is_in_flight_and_the_window_in_all() {
    let (mut cluster, double) = Setup::of("Alford").limits("bus_window = 3").herd();
    cluster.meddle(Box::new(Puts { window: 3, in_flight: BTreeMap::new() }));
    double.world().faults.ack_delay = 100 * MS..=300 * MS;
    for round in 0..6 {
        for client in 0..8 {
            report(&mut cluster, "Alford", &format!("c{client} +1+1 {}", EPOCH_S + round));
        }
        cluster.run_for(200 * MS);
    }
    cluster.run_for(10 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double).len(), 8);
    assert!(puts(&double) < 48, "what changes while it waits is written once");
}

#[test]
fn a_herd_of_five_with_links_and_a_bus_puts_each_update_about_once() {
    const UPDATES: u64 = 400;
    let (mut cluster, double) = Setup::of(FIVE).herd();
    let mut dice = Dice::new(5);
    let names = cluster.names();
    let talks: Vec<TalkId> = names.iter().map(|name| cluster.client(name)).collect();
    for update in 0..UPDATES {
        // The clients roam: each report goes to any server.
        let (talk, client) = (dice.one_of(&talks), dice.below(40));
        let stamp = EPOCH_S as f64 + update as f64 / 20.0;
        cluster.send(talk, format!("IAMAT client-{client} +1+1 {stamp:.3}\n"));
        cluster.run_for(dice.within(0..=100) as u32 * MS);
    }
    cluster.run_for(5 * SECOND);
    all_equal(&mut cluster, &double);
    let puts = puts(&double) as u64;
    assert!(puts * 10 <= UPDATES * 12, "{puts} puts for {UPDATES} updates");
}

#[test]
fn another_server_puts_a_report_only_after_the_repair_time() {
    let (mut cluster, double) =
        Setup::of("Alford Bolden; Bolden").limits("bus_repair_ms = 2_000").herd();
    cluster.cut("Alford", "nats0");
    let kiwi = report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    assert_eq!(cluster.knows("Bolden")["kiwi"], kiwi, "over the link");
    cluster.run_for(1_900 * MS);
    assert_eq!(puts(&double), 0);
    cluster.run_for(2_500 * MS);
    assert_eq!((puts(&double), bucket(&double)["kiwi"].clone()), (1, kiwi));
    cluster.heal("Alford", "nats0");
    cluster.run_for(10 * SECOND);
    all_equal(&mut cluster, &double);
}

#[test]
fn a_watch_resumes_by_time_after_a_gap_and_after_a_lost_connection() {
    let (mut cluster, double) = Setup::of(PAIR).herd();
    report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    for (number, trouble) in
        [Act::Gap, Act::Close { node: 0 }, Act::Reset { node: 0 }].into_iter().enumerate()
    {
        act(&mut cluster, &double, &trouble);
        report(&mut cluster, "Alford", &format!("client-{number} +1+1 1479413884"));
        report(&mut cluster, "Alford", &format!("other-{number} +1+1 1479413884"));
        cluster.run_for(20 * SECOND);
        assert_eq!(all_equal(&mut cluster, &double).len(), 3 + 2 * number, "{trouble:?}");
    }
    let text = cluster.transcript();
    assert!(text.matches("by_start_time").count() >= 4);
    assert!(!text.contains("by_start_seq"), "never by sequence");
    let bus = &cluster.member("Bolden").bus.as_ref().expect("it has a bus").bus;
    assert_eq!(bus.counts.reads, 1, "the whole bucket is read at the start only");
}

#[test]
fn a_stream_that_is_deleted_or_made_anew_or_goes_back_is_filled_again() {
    for trouble in [Act::DeleteStreams, Act::RemakeStreams, Act::GoBack(2), Act::Renumber(7)] {
        let (mut cluster, double) = Setup::of(PAIR).limits("sync_ms = 2_000").herd();
        for client in 0..4 {
            report(&mut cluster, "Alford", &format!("client-{client} +1+1 1479413884"));
        }
        act(&mut cluster, &double, &trouble);
        cluster.run_for(30 * SECOND);
        assert_eq!(all_equal(&mut cluster, &double).len(), 4, "{trouble:?}");
    }
}

#[test]
fn what_another_program_deletes_is_there_again_unless_it_has_expired() {
    let limits = "sync_ms = 2_000\nexpire_after_s = 100";
    let (mut cluster, double) = Setup::of(PAIR).limits(limits).herd();
    let kiwi = report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    delete(&mut cluster, &double, "kiwi");
    cluster.run_for(5 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double)["kiwi"], kiwi);
    double.world().streams.get_mut("KV_herd").expect("it is there").purge(b"$KV.herd.>");
    cluster.run_for(10 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double)["kiwi"], kiwi);
    // The bucket keeps a message for 220 s.
    let later = UnixNanos((EPOCH_S + 200) * 1_000_000_000);
    cluster.outside_network().set_wall(later);
    for name in ["Alford", "Bolden"] {
        cluster.reactor(name).io().set_wall(later);
    }
    assert_eq!(bucket(&double).len(), 1);
    delete(&mut cluster, &double, "kiwi");
    cluster.run_for(70 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double).len(), 0);
}

#[test]
fn a_message_with_an_odd_key_or_foreign_headers_is_passed_over_and_costs_no_connection() {
    let (mut cluster, double) = Setup::of(PAIR).herd();
    let logged = Logged::here();
    store_under(&mut cluster, &double, b"bad\x01key", b"", b"x");
    store_under(&mut cluster, &double, b"fig", b"HTTP/1.0\r\n\r\n", b"x");
    cluster.run_for(SECOND);
    report(&mut cluster, "Alford", "kiwi +3+3 1479413884");
    cluster.run_for(5 * SECOND);
    assert!(cluster.knows("Bolden").contains_key("kiwi"));
    let text = logged.text();
    assert!(!text.contains("disconnected"), "{text}");
    assert!(text.contains(r"the message of key bad\x01key is passed over"), "{text}");
}

#[test]
fn a_value_that_is_no_report_of_its_key_is_passed_over_and_replaced() {
    let long = "x".repeat(40_000);
    for value in [
        "nonsense",
        "AT Alford +0.1 fig +1+1 1479413999",
        "AT Alford +0.1 kiwi +1+1 x",
        "AT Alford +0.1 kiwi +1+1 1479999999",
        "IAMAT kiwi +1+1 1479413999",
        &long,
    ] {
        let (mut cluster, double) = Setup::of(PAIR).limits("ahead_max_s = 3_600").herd();
        let logged = Logged::here();
        store(&mut cluster, &double, "kiwi", b"", value.as_bytes());
        cluster.run_for(SECOND);
        for name in ["Alford", "Bolden"] {
            assert_eq!(cluster.knows(name).len(), 0, "{name} {value:.40}");
        }
        let text = logged.text();
        assert!(text.contains("the message of key kiwi is passed over"), "{value:.40}: {text}");
        let kiwi = report(&mut cluster, "Bolden", "kiwi +3+3 1479413884");
        cluster.run_for(5 * SECOND);
        assert_eq!(all_equal(&mut cluster, &double)["kiwi"], kiwi, "{value:.40}");
    }
}

#[test]
fn with_ack_bus_a_reply_waits_for_the_acknowledgement() {
    let (mut cluster, double) =
        Setup { ack: "bus", ..Setup::of(PAIR) }.limits("ack_wait_ms = 2_000").herd();
    double.world().faults.ack_delay = 500 * MS..=500 * MS;
    // The watch delivers the line before the acknowledgement comes, which is as good.
    act(&mut cluster, &double, &Act::Mute(60 * SECOND));
    let talk = cluster.client("Alford");
    cluster.send(talk, "IAMAT kiwi +1+1 1479413884\n");
    cluster.run_for(450 * MS);
    assert_eq!((cluster.hear(talk), bucket(&double).len()), (String::new(), 1));
    cluster.run_for(100 * MS);
    assert!(cluster.hear(talk).starts_with("AT Alford "));
    assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 0);
}

#[test]
fn with_ack_bus_a_reply_leaves_after_ack_wait_ms_and_is_counted() {
    let (mut cluster, double) =
        Setup { ack: "bus", ..Setup::of(PAIR) }.limits("ack_wait_ms = 2_000").herd();
    act(&mut cluster, &double, &Act::FillDisk);
    let talk = cluster.client("Alford");
    cluster.send(talk, "IAMAT kiwi +1+1 1479413884\n");
    cluster.run_for(1_900 * MS);
    assert_eq!(cluster.hear(talk), "");
    cluster.run_for(200 * MS);
    assert!(cluster.hear(talk).starts_with("AT Alford "));
    assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 1);
}

#[test]
fn with_ack_peer_a_bus_releases_no_reply() {
    let (mut cluster, _double) = Setup { ack: "peer", ..Setup::of("Alford Bolden; Bolden") }
        .limits("ack_wait_ms = 2_000")
        .herd();
    cluster.cut("Alford", "Bolden");
    let talk = cluster.client("Alford");
    cluster.send(talk, "IAMAT kiwi +1+1 1479413884\n");
    cluster.run_for(1_900 * MS);
    assert_eq!(cluster.hear(talk), "");
    cluster.run_for(200 * MS);
    assert!(cluster.hear(talk).starts_with("AT Alford "));
    assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 1);
}

#[test]
fn news_from_a_neighbour_that_comes_before_an_acknowledgement_is_written_too() {
    let (mut cluster, double) = Setup::of("Alford Bolden; Bolden").herd();
    cluster.cut("Bolden", "nats0");
    cluster.run_for(30 * SECOND);
    double.world().faults.ack_delay = 500 * MS..=500 * MS;
    report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    let newer = report(&mut cluster, "Bolden", "kiwi +2+2 1479413885");
    cluster.run_for(100 * MS);
    assert_eq!(
        (cluster.knows("Alford")["kiwi"].as_str(), in_flight(&mut cluster, "Alford")),
        (&*newer, 1)
    );
    cluster.run_for(5 * SECOND);
    assert_eq!(bucket(&double)["kiwi"], newer);
}

#[test]
fn a_stream_that_is_unavailable_for_a_while_does_not_end_the_watch() {
    let (mut cluster, double) = Setup::of("Alford").limits("sync_ms = 1_000").herd();
    let logged = Logged::here();
    act(&mut cluster, &double, &Act::Unavailable(8 * SECOND));
    report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    cluster.run_for(7 * SECOND);
    assert!(is_live(&mut cluster, "Alford"), "{}", logged.text());
    cluster.run_for(7 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double).len(), 1);
}

#[test]
fn a_server_that_ends_writes_what_it_owes_if_nats_is_there() {
    let (mut cluster, double) = Setup::of("Alford").limits("bus_window = 1").herd();
    double.world().faults.commit = 20 * MS..=20 * MS;
    let talk = cluster.client("Alford");
    let reports = (0..20).map(|client| format!("IAMAT client-{client} +1+1 1479413884\n"));
    cluster.send(talk, reports.collect::<String>());
    cluster.run_for(10 * MS);
    assert!(owed(&mut cluster, "Alford") > 10);
    cluster.reactor("Alford").io().signal(Signal::Terminate);
    cluster.run_for(10 * SECOND);
    assert!(cluster.has_ended("Alford"));
    assert_eq!(bucket(&double).len(), 20);
}

#[test]
fn a_server_that_ends_waits_for_an_unreachable_nats_no_longer_than_drain_ms() {
    let limits = "drain_ms = 2_000\nlame_duck_ms = 0";
    for is_silent in [false, true] {
        let (mut cluster, double) = Setup::of("Alford").limits(limits).herd();
        match is_silent {
            true => act(&mut cluster, &double, &Act::FillDisk),
            false => cluster.cut("Alford", "nats0"),
        }
        report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
        cluster.reactor("Alford").io().signal(Signal::Terminate);
        cluster.run_for(2_500 * MS);
        assert!(cluster.has_ended("Alford"), "silent: {is_silent}");
    }
}

#[test]
fn two_sites_with_links_of_their_own_are_joined_by_the_bus() {
    let sites = "Alford Bolden; Bolden Clark; Clark; Dunn Eliot; Eliot";
    let (mut cluster, double) = Setup::of(sites).herd();
    for (number, name) in cluster.names().into_iter().enumerate() {
        report(&mut cluster, &name, &format!("client-{number} +1+1 1479413884"));
    }
    cluster.run_for(5 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double).len(), 5);
    assert_eq!(puts(&double), 5);
    // A cut between the sites: each goes on, and the newest wins later.
    for name in ["Dunn", "Eliot"] {
        cluster.cut(name, "nats0");
    }
    report(&mut cluster, "Alford", "client-0 +2+2 1479413886");
    report(&mut cluster, "Dunn", "client-0 +3+3 1479413885");
    report(&mut cluster, "Dunn", "client-1 +3+3 1479413885");
    cluster.run_for(5 * SECOND);
    assert!(cluster.knows("Eliot")["client-0"].starts_with("AT Dunn "));
    for name in ["Dunn", "Eliot"] {
        cluster.heal(name, "nats0");
    }
    cluster.run_for(10 * SECOND);
    let known = all_equal(&mut cluster, &double);
    assert!(known["client-0"].starts_with("AT Alford "), "{known:?}");
    assert!(known["client-1"].starts_with("AT Dunn "), "{known:?}");
}

#[test]
fn a_client_whose_key_is_hashed_is_a_client_like_others() {
    let limits = "client_id_bytes = 2_048\nline_bytes = 4_096";
    let (mut cluster, double) = Setup::of(PAIR).limits(limits).herd();
    let id = "x".repeat(1_500);
    report(&mut cluster, "Alford", &format!("{id} +1+1 1479413884"));
    cluster.run_for(SECOND);
    let key = double.world().streams.bucket("herd").into_keys().next().expect("one key");
    assert!(key.starts_with("=_") && key.len() == 66, "{key}");
    cluster.cut("Alford", "nats0");
    report(&mut cluster, "Bolden", &format!("{id} +2+2 1479413885"));
    let newest = report(&mut cluster, "Alford", &format!("{id} +3+3 1479413886"));
    cluster.run_for(SECOND);
    cluster.heal("Alford", "nats0");
    cluster.run_for(10 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double)[&id], newest);
}

/// The nodes of NATS to which Alford has dialled.
fn nodes(cluster: &Cluster) -> BTreeSet<std::net::IpAddr> {
    let streams = cluster.streams("Alford", OUTSIDE).into_iter();
    streams.filter(|(_, to)| to.port() == 4_222).map(|(_, to)| to.ip()).collect()
}

#[test]
fn a_server_of_nats_that_ends_soon_is_left_for_another_one() {
    let nats = Settings { nodes: 3, ..Settings::default() };
    let (mut cluster, double) = Setup { nats, ..Setup::of("Alford") }.herd();
    let before = nodes(&cluster);
    assert_eq!(before.len(), 1);
    for node in (0..3).filter(|node| before.contains(&nats_address(*node).ip())) {
        act(&mut cluster, &double, &Act::LameDuck { node, grace: 60 * SECOND });
    }
    cluster.run_for(10 * SECOND);
    assert!(is_live(&mut cluster, "Alford"));
    assert_eq!(nodes(&cluster).len(), 2, "before its grace is over");
    report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    cluster.settle();
    assert_eq!(all_equal(&mut cluster, &double).len(), 1);
}

#[test]
fn expired_credentials_are_retried_slowly_until_they_are_renewed() {
    let (mut cluster, double) = Setup::of("Alford").herd();
    let logged = Logged::here();
    act(&mut cluster, &double, &Act::ExpireCredentials);
    let before = double.world().counters.connections;
    cluster.run_for(60 * SECOND);
    let tries = double.world().counters.connections - before;
    assert!((5..=30).contains(&tries), "{tries} tries in a minute");
    assert!(logged.text().contains("renew the file"), "{}", logged.text());
    report(&mut cluster, "Alford", "kiwi +1+1 1479413884");
    act(&mut cluster, &double, &Act::RenewCredentials);
    cluster.run_for(10 * SECOND);
    assert_eq!(all_equal(&mut cluster, &double).len(), 1);
}

#[test]
fn a_nats_that_requires_tls_is_refused_with_the_remedy_if_the_url_is_plain() {
    let info = r#"{"server_id":"n","version":"2.15.1","headers":true,"max_payload":1048576,"jetstream":true,"tls_required":true}"#;
    let nats = Settings { info: Some(info.to_owned()), ..Settings::default() };
    let logged = Logged::here();
    let (mut cluster, double) = Setup { nats, ..Setup::of("Alford") }.herd();
    assert!(!is_live(&mut cluster, "Alford"));
    assert!(logged.text().contains("write tls:// in `nats` of [bus]"), "{}", logged.text());
    assert_eq!(double.world().counters.logins, 0, "nothing is said in plain text");
}

/// A topology that was edited.
#[derive(Debug)]
struct Edited(String);

impl ConfigReader for Edited {
    fn read(&mut self, _: &ServerView, _: &str, _: UnixNanos) -> Result<Prepared, Vec<String>> {
        let topology = Topology::parse(&self.0, Path::new("topology.toml"));
        Ok(Prepared {
            topology: topology.expect("it is valid"),
            changes: Vec::new(),
            places: None,
            peer_tls: None,
            access: ClientAccess::default(),
            connections_max: usize::MAX,
        })
    }

    fn terminal_has_closed(&self) -> bool {
        false
    }
}

#[test]
fn a_reload_changes_the_window_and_the_repair_time() {
    let (mut cluster, double) =
        Setup::of("Alford Bolden; Bolden").limits("bus_window = 1\nbus_repair_ms = 60_000").herd();
    let edited = Setup::of("Alford Bolden; Bolden").limits("bus_window = 5\nbus_repair_ms = 500");
    double.world().faults.ack_delay = 200 * MS..=200 * MS;
    act(&mut cluster, &double, &Act::Mute(1_000 * SECOND));
    let talk = cluster.client("Alford");
    let reports: String =
        (0..20).map(|client| format!("IAMAT client-{client} +1+1 1479413884\n")).collect();
    cluster.send(talk, reports);
    cluster.run_for(100 * MS);
    assert_eq!(in_flight(&mut cluster, "Alford"), 1);
    for name in ["Alford", "Bolden"] {
        cluster.member(name).config_reader = Some(Box::new(Edited(edited.topology())));
        cluster.reactor(name).io().signal(Signal::Hangup);
    }
    cluster.run_for(350 * MS);
    assert_eq!(in_flight(&mut cluster, "Alford"), 5);
    assert_eq!(cluster.knows("Bolden").len(), 20, "over the link");
    cluster.run_for(2 * SECOND);
    let bus = &cluster.member("Bolden").bus.as_ref().expect("it has a bus").bus;
    assert!(bus.counts.puts > 0, "it does not wait for a minute");
}
