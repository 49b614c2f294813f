//! The resolver's promises, one test each, in steps with explicit times.
//!
//! The [`Stage`] is a resolver on a clock that is advanced by hand. Its queries are in `open` until a test answers
//! them, fails them, or lets the time pass: a timeout runs exactly at the moment that the resolver has requested.

use super::hosts::Hosts;
use super::message::Family;
use super::resolver::{LOOKUPS_MAX, Resolver};
use super::{Action, Config, DnsError, LookupId, QueryId, Via};
use herd_reactor::Moment;
use proptest::prelude::*;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use Family::{V4, V6};

type Found = Result<Vec<IpAddr>, DnsError>;

/// A query that the resolver has sent and not cancelled.
#[derive(Clone, Debug)]
struct Sent {
    query: QueryId,
    server: SocketAddr,
    via: Via,
    bytes: Vec<u8>,
}

impl Sent {
    fn family(&self) -> Family {
        match Packet::parse(&self.bytes).unwrap().questions[0].qtype {
            QTYPE::TYPE(TYPE::A) => V4,
            QTYPE::TYPE(TYPE::AAAA) => V6,
            other => panic!("{other:?}"),
        }
    }

    /// An answer with the records that `fill` adds.
    fn answer(&self, fill: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::parse(&self.bytes).unwrap().into_reply();
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
        fill(&mut packet);
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn fails(&self, rcode: RCODE) -> Vec<u8> {
        self.answer(|packet| *packet.rcode_mut() = rcode)
    }

    fn truncated(&self) -> Vec<u8> {
        self.answer(|packet| packet.set_flags(PacketFlag::TRUNCATION))
    }

    fn has(&self, addresses: &[&str], ttl: u32) -> Vec<u8> {
        let packet = Packet::parse(&self.bytes).unwrap();
        let owner: Name<'_> = packet.questions[0].qname.clone();
        let record = |text: &&str| {
            let data = match text.parse().unwrap() {
                IpAddr::V4(address) => RData::A(A { address: address.into() }),
                IpAddr::V6(address) => RData::AAAA(AAAA { address: address.into() }),
            };
            ResourceRecord::new(owner.clone().into_owned(), CLASS::IN, ttl, data)
        };
        self.answer(|packet| packet.answers = addresses.iter().map(record).collect())
    }
}

struct Stage {
    resolver: Resolver,
    now: Moment,
    /// The open queries, in the order in which they were sent.
    open: Vec<Sent>,
    /// The total number of queries sent.
    sent: usize,
    done: Vec<(LookupId, Found)>,
}

fn resolver(hosts: Hosts, config: Config) -> Resolver {
    let mut resolver = Resolver::default();
    resolver.reload(config);
    resolver.reload_hosts(hosts);
    resolver
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// At most three servers, `192.0.2.53` and the next ones; two tries each, two seconds in total.
fn stage(servers: u8) -> Stage {
    let servers = (0..servers).map(|n| SocketAddr::from(([192, 0, 2, 53 + n], 53))).collect();
    Stage::new(resolver(Hosts::default(), Config::with_servers(servers)))
}

impl Stage {
    fn new(resolver: Resolver) -> Stage {
        let now = Moment::from_nanos(1);
        Stage { resolver, now, open: Vec::new(), sent: 0, done: Vec::new() }
    }

    fn resolve(&mut self, name: &str) -> LookupId {
        let id = self.resolver.resolve(name, self.now, 7);
        self.take_actions();
        id
    }

    fn take_actions(&mut self) {
        while let Some(action) = self.resolver.next_action() {
            match action {
                Action::Send { query, server, via, bytes } => {
                    self.sent += 1;
                    self.open.push(Sent { query, server, via, bytes });
                }
                Action::Cancel { query } => {
                    let position = self.open.iter().position(|sent| sent.query == query);
                    self.open.remove(position.expect("only what is open is cancelled"));
                }
                Action::Done { lookup, result } => {
                    assert!(!self.done.iter().any(|(id, _)| *id == lookup), "done twice");
                    self.done.push((lookup, result));
                }
            }
        }
    }

    /// Lets `time` pass, and runs all timeouts in it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.resolver.next_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.resolver.timeout(due);
            self.take_actions();
        }
        self.now = end;
    }

    /// The latest open query of this family.
    #[track_caller]
    fn query(&self, family: Family) -> Sent {
        let mut open = self.open.iter().rev();
        open.find(|sent| sent.family() == family).expect("a query is open").clone()
    }

    fn hear(&mut self, sent: &Sent, bytes: &[u8]) {
        self.resolver.answer(sent.query, bytes, self.now);
        self.take_actions();
    }

    /// Answers the latest query of this family with the result of `says`.
    #[track_caller]
    fn hears(&mut self, family: Family, says: impl FnOnce(&Sent) -> Vec<u8>) {
        let sent = self.query(family);
        self.hear(&sent, &says(&sent));
    }

    /// The socket of this query fails.
    fn lose(&mut self, sent: &Sent) {
        self.open.retain(|open| open.query != sent.query);
        self.resolver.failed(sent.query, self.now);
        self.take_actions();
    }

    /// The servers with open queries of this family: the last number of their addresses.
    fn asked(&self, family: Family) -> Vec<u8> {
        let open = self.open.iter().filter(|sent| sent.family() == family);
        open.map(|sent| match sent.server.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => unreachable!("the stage's servers have IPv4"),
        })
        .collect()
    }

    /// The results of the finished lookups, in their order.
    fn said(&self) -> Vec<Found> {
        self.done.iter().map(|(_, found)| found.clone()).collect()
    }

    /// The result of looking up `name`, if it is available at once.
    #[track_caller]
    fn found(&mut self, name: &str) -> Found {
        let sent = self.sent;
        let id = self.resolve(name);
        assert_eq!(self.sent, sent, "nobody is asked");
        let (done, found) = self.done.pop().expect("it is known");
        assert_eq!(done, id);
        found
    }

    /// Looks up `maps.example`, which has one address of each family.
    fn learn(&mut self, ttl: u32) {
        self.resolve("maps.example");
        self.hears(V6, |sent| sent.has(&["2001:db8::1"], ttl));
        self.hears(V4, |sent| sent.has(&["192.0.2.1"], ttl));
        assert_eq!(self.said(), [both()]);
        self.done.clear();
    }

    /// Whether `maps.example` is found without a query; otherwise its lookup is pending now.
    fn knows(&mut self) -> bool {
        let sent = self.sent;
        self.resolve("maps.example");
        self.sent == sent
    }
}

fn list(addresses: &[&str]) -> Found {
    Ok(addresses.iter().map(|text| text.parse().unwrap()).collect())
}

fn both() -> Found {
    list(&["2001:db8::1", "192.0.2.1"])
}

// Lookups without a query.

#[test]
fn an_address_is_its_own_answer() {
    assert_eq!(stage(1).found("192.0.2.9"), list(&["192.0.2.9"]));
    assert_eq!(stage(1).found("2001:db8::9"), list(&["2001:db8::9"]));
}

#[test]
fn what_is_no_name_is_refused() {
    assert_eq!(stage(1).found("maps example"), Err(DnsError::BadName));
    assert_eq!(stage(1).found(""), Err(DnsError::BadName));
}

#[test]
fn localhost_is_this_machine_whatever_the_files_say() {
    let hosts = Hosts::parse("192.0.2.66 localhost maps.localhost");
    let mut stage = Stage::new(resolver(hosts, Config::default()));
    for name in ["localhost", "LOCALHOST.", "maps.localhost"] {
        assert_eq!(stage.found(name), list(&["::1", "127.0.0.1"]));
    }
}

#[test]
fn the_hosts_file_comes_before_the_servers() {
    let hosts = Hosts::parse("192.0.2.7 maps.example\n2001:db8::7 maps.example");
    let mut stage = Stage::new(resolver(hosts, Config::default()));
    assert_eq!(stage.found("Maps.Example"), list(&["192.0.2.7", "2001:db8::7"]));
}

#[test]
fn what_servers_say_of_a_name_with_a_final_dot_does_not_hide_the_hosts_file() {
    for has in [&[][..], &["192.0.2.1"]] {
        let mut stage = stage(1);
        stage.resolver.reload_hosts(Hosts::parse("192.0.2.7 maps"));
        stage.resolve("maps.");
        assert_eq!(stage.asks_for(), "maps");
        stage.both_hear(|sent| if sent.family() == V4 { sent.has(has, 60) } else { nobody(sent) });
        assert_eq!(stage.done.len(), 1);
        stage.done.clear();
        assert_eq!(stage.found("maps"), list(&["192.0.2.7"]));
    }
}

#[test]
fn files_that_were_reloaded_count_from_then_on() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    let config = Config::with_servers(vec![([192, 0, 2, 99], 53).into()]);
    stage.resolver.reload(config);
    stage.resolver.reload_hosts(Hosts::parse("192.0.2.7 other.example"));
    assert_eq!(stage.found("other.example"), list(&["192.0.2.7"]));
    stage.pass(ms(1_000));
    assert_eq!(stage.asked(V4), [53, 99], "a lookup under way goes on with the new servers");
}

#[test]
fn a_name_that_the_hosts_file_gets_is_found_there_though_a_server_was_asked_for_it() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 3_600));
    stage.hears(V6, |sent| sent.has(&[], 3_600));
    stage.resolve("other.example");
    let hosts = "192.0.2.7 maps.example other.example";
    stage.resolver.reload_hosts(Hosts::parse(hosts));
    assert_eq!(stage.said(), [list(&["192.0.2.1"])]);
    assert_eq!(stage.found("maps.example"), list(&["192.0.2.7"]));
    stage.hears(V4, |sent| sent.has(&["192.0.2.2"], 3_600));
    stage.hears(V6, |sent| sent.has(&[], 3_600));
    assert_eq!(stage.said().last(), Some(&list(&["192.0.2.2"])));
    assert_eq!(stage.found("other.example"), list(&["192.0.2.7"]));
    stage.resolve("late.example");
    stage.resolver.reload_hosts(Hosts::parse("192.0.2.7 late.example"));
    stage.both_hear(nobody);
    assert_eq!(stage.found("late.example"), list(&["192.0.2.7"]));
}

// Asking.

#[test]
fn both_families_are_asked_together_and_ipv6_comes_first() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    assert_eq!((stage.asked(V6), stage.asked(V4)), (vec![53], vec![53]));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1", "192.0.2.2"], 60));
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    assert_eq!(stage.said(), [list(&["2001:db8::1", "192.0.2.1", "192.0.2.2"])]);
    assert_eq!(stage.resolver.next_timeout(), None);
}

#[test]
fn each_query_has_an_id_of_its_own_made_of_the_random_bits() {
    let ids = |random: u64| {
        let mut stage = stage(2);
        stage.resolver.resolve("maps.example", stage.now, random);
        stage.take_actions();
        stage.pass(ms(1_999));
        let ids: Vec<u16> =
            stage.open.iter().map(|sent| Packet::parse(&sent.bytes).unwrap().id()).collect();
        assert_eq!(ids.len(), 8);
        ids
    };
    let mut seen = [ids(1), ids(2)].concat();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 16);
    assert_eq!(ids(1), ids(1));
}

#[test]
fn equal_names_share_one_lookup_and_each_asker_is_answered() {
    let mut stage = stage(1);
    let first = stage.resolve("maps.example");
    let second = stage.resolve("MAPS.example.");
    assert_eq!(stage.sent, 2);
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    assert_eq!(stage.done, [(first, both()), (second, both())]);
}

#[test]
fn a_silent_server_is_followed_by_the_next_and_all_are_asked_twice() {
    let mut stage = stage(2);
    stage.resolve("maps.example");
    for (passed, asked) in [(499, 1), (1, 2), (499, 2), (1, 3), (499, 3), (1, 4), (499, 4)] {
        stage.pass(ms(passed));
        assert_eq!(stage.asked(V4), [53, 54, 53, 54][..asked]);
    }
    assert_eq!(stage.done, []);
    stage.pass(ms(1));
    assert_eq!(stage.said(), [Err(DnsError::TimedOut)]);
    assert_eq!(stage.open.len(), 0, "nothing is left open");
}

#[test]
fn a_server_that_is_slower_than_its_wait_is_still_heard() {
    let mut stage = stage(3);
    stage.resolve("maps.example");
    let slow = stage.query(V4);
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    stage.pass(ms(900));
    assert_eq!(stage.asked(V4), [53, 54, 55]);
    stage.hear(&slow, &slow.has(&["192.0.2.1"], 60));
    assert_eq!(stage.said(), [both()]);
    assert_eq!(stage.open.len(), 0, "the others are cancelled");
}

#[test]
fn a_server_that_fails_is_followed_by_the_next_at_once() {
    type Fails = fn(&mut Stage, Sent);
    let ways: [Fails; 5] = [
        |stage, sent| stage.hear(&sent, &sent.fails(RCODE::ServerFailure)),
        |stage, sent| stage.hear(&sent, &sent.fails(RCODE::Refused)),
        |stage, sent| stage.hear(&sent, &sent.fails(RCODE::FormatError)),
        |stage, sent| {
            stage.hear(
                &sent,
                &[&sent.answer(|_| {})[..6], b"\0\x09", &sent.answer(|_| {})[8..]].concat(),
            )
        },
        |stage, sent| stage.lose(&sent),
    ];
    for fail in ways {
        let mut stage = stage(2);
        stage.resolve("maps.example");
        let sent = stage.query(V4);
        fail(&mut stage, sent);
        assert_eq!(stage.asked(V4), [54]);
        assert_eq!(stage.asked(V6), [53], "the other family is not concerned");
        stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
        stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
        assert_eq!(stage.said(), [both()]);
    }
}

#[test]
fn a_failure_of_an_earlier_server_hurries_nobody() {
    let mut stage = stage(3);
    stage.resolve("maps.example");
    let first = stage.query(V4);
    stage.pass(ms(400));
    stage.hear(&first, &first.fails(RCODE::ServerFailure));
    assert_eq!(stage.asked(V4), [54]);
}

#[test]
fn when_all_servers_have_failed_it_is_over_at_once() {
    for (why, lost) in [(DnsError::ServerFailed, false), (DnsError::Unreachable, true)] {
        let mut stage = stage(2);
        stage.resolve("maps.example");
        while let Some(sent) = stage.open.first().cloned() {
            match lost {
                true => stage.lose(&sent),
                false => stage.hear(&sent, &sent.fails(RCODE::ServerFailure)),
            }
        }
        assert_eq!((stage.said(), stage.sent), (vec![Err(why)], 8));
    }
}

#[test]
fn a_server_that_was_last_to_be_asked_is_waited_for_though_others_fail() {
    let mut stage = stage(2);
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    stage.pass(ms(500));
    for _ in 0..3 {
        stage.hears(V4, |sent| sent.fails(RCODE::Refused));
    }
    assert_eq!((stage.sent, stage.asked(V4)), (5, vec![53]), "no tries are left");
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    assert_eq!(stage.said(), [both()]);
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let mut stage = stage(2);
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    stage.pass(ms(300));
    stage.hears(V4, Sent::truncated);
    let sent = stage.query(V4);
    assert_eq!((sent.via, stage.asked(V4)), (Via::Tcp, vec![53]), "the same server");
    stage.pass(ms(499));
    assert_eq!(stage.asked(V4), [53], "the wait begins anew");
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    assert_eq!(stage.said(), [both()]);
}

#[test]
fn an_answer_truncated_over_tcp_counts_as_far_as_it_goes_and_is_a_failure_if_it_says_nothing() {
    let mut stage = stage(2);
    stage.resolve("maps.example");
    stage.hears(V4, Sent::truncated);
    stage.hears(V4, Sent::truncated);
    let sent = stage.query(V4);
    assert_eq!((sent.via, stage.asked(V4)), (Via::Udp, vec![54]));
    stage.hears(V4, Sent::truncated);
    stage.hears(V4, |sent| {
        let mut bytes = sent.has(&["192.0.2.1"], 60);
        bytes[2] |= 2;
        bytes
    });
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    assert_eq!(stage.said(), [both()]);
}

#[test]
fn what_is_not_an_answer_changes_nothing() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    let (v4, v6) = (stage.query(V4), stage.query(V6));
    let mut forged = v4.has(&["203.0.113.66"], 60);
    forged[0] ^= 1;
    for bytes in [&forged, &v6.has(&["2001:db8::66"], 60), &v4.bytes, &Vec::new()] {
        stage.hear(&v4, bytes);
        assert_eq!((stage.open.len(), stage.done.len()), (2, 0));
    }
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    assert_eq!(stage.said(), [both()]);
    stage.hear(&v4, &v4.has(&["203.0.113.66"], 60));
    assert_eq!(stage.found("maps.example"), both(), "too late to change anything");
}

#[test]
fn too_many_lookups_are_refused_until_some_are_over() {
    let mut stage = stage(1);
    for number in 0..LOOKUPS_MAX {
        stage.resolve(if number % 2 == 0 { "maps.example" } else { "other.example" });
    }
    assert_eq!(stage.found("third.example"), Err(DnsError::TooManyLookups));
    assert_eq!(stage.found("maps.example"), Err(DnsError::TooManyLookups));
    stage.pass(ms(2_000));
    assert_eq!(stage.done.len(), LOOKUPS_MAX);
    stage.resolve("third.example");
    assert_eq!(stage.open.len(), 2);
}

// Searching.

/// One server, and a search list of two domains.
fn searching(options: &str) -> Stage {
    let text = format!("nameserver 192.0.2.53\nsearch a.example b.example\n{options}");
    Stage::new(resolver(Hosts::default(), Config::parse(&text, |_| None).0))
}

impl Stage {
    /// The name that both families are asking for; there must be no other queries.
    #[track_caller]
    fn asks_for(&self) -> String {
        assert_eq!(self.open.len(), 2);
        let names = self
            .open
            .iter()
            .map(|sent| Packet::parse(&sent.bytes).unwrap().questions[0].qname.to_string());
        let mut names: Vec<String> = names.collect();
        names.dedup();
        assert_eq!(names.len(), 1, "{names:?}");
        names.remove(0)
    }

    /// Answers both open queries with the result of `says`.
    #[track_caller]
    fn both_hear(&mut self, says: impl Fn(&Sent) -> Vec<u8>) {
        self.hears(V6, &says);
        self.hears(V4, &says);
    }
}

fn nobody(sent: &Sent) -> Vec<u8> {
    sent.fails(RCODE::NameError)
}

#[test]
fn a_short_name_is_asked_for_in_each_domain_until_there_is_something() {
    let mut stage = searching("");
    let first = stage.resolve("maps");
    assert_eq!(stage.asks_for(), "maps.a.example");
    stage.both_hear(nobody);
    assert_eq!((stage.asks_for().as_str(), &stage.done), ("maps.b.example", &Vec::new()));
    let second = stage.resolve("MAPS");
    assert_eq!(stage.sent, 4, "it waits with the first");
    stage.hears(V6, |sent| sent.answer(|_| {}));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    assert_eq!(stage.done, [(first, list(&["192.0.2.1"])), (second, list(&["192.0.2.1"]))]);
    stage.done.clear();
    assert_eq!(stage.found("maps"), list(&["192.0.2.1"]));
    assert_eq!(stage.resolver.next_timeout(), None);
}

#[test]
fn at_last_a_short_name_is_asked_for_as_it_is() {
    let mut stage = searching("");
    stage.resolve("maps");
    stage.both_hear(nobody);
    stage.both_hear(|sent| sent.answer(|_| {}));
    assert_eq!(stage.asks_for(), "maps");
    stage.both_hear(nobody);
    assert_eq!(stage.said(), [Err(DnsError::NoAddresses)], "one of the names exists");
    assert_eq!(stage.found("maps"), Err(DnsError::NoAddresses), "which holds for a while");
}

#[test]
fn a_name_with_dots_enough_is_asked_for_as_it_is_first_and_one_with_a_final_dot_only_so() {
    for (options, name, asked) in [
        (
            "",
            "maps.example",
            &["maps.example", "maps.example.a.example", "maps.example.b.example"][..],
        ),
        ("", "maps.example.", &["maps.example"]),
        ("", "maps.", &["maps"]),
        ("options ndots:2", "x.y", &["x.y.a.example", "x.y.b.example", "x.y"]),
        ("options ndots:0", "x", &["x", "x.a.example", "x.b.example"]),
    ] {
        let mut stage = searching(options);
        stage.resolve(name);
        for asked in asked {
            assert_eq!(stage.asks_for(), *asked);
            stage.both_hear(nobody);
        }
        assert_eq!(stage.said(), [Err(DnsError::NoSuchName)]);
    }
}

#[test]
fn a_name_with_a_final_dot_is_another_than_the_one_without() {
    let mut stage = searching("");
    stage.resolve("maps.");
    stage.both_hear(nobody);
    assert_eq!(stage.done.pop().unwrap().1, Err(DnsError::NoSuchName));
    stage.resolve("maps");
    assert_eq!(stage.asks_for(), "maps.a.example");
}

#[test]
fn if_the_servers_fail_the_next_domain_is_asked_and_the_result_is_unknown() {
    let mut stage = searching("");
    stage.resolve("maps");
    for _ in 0..4 {
        let sent = stage.open[0].clone();
        stage.hear(&sent, &sent.fails(RCODE::ServerFailure));
    }
    assert_eq!(stage.asks_for(), "maps.b.example");
    stage.both_hear(nobody);
    stage.both_hear(nobody);
    assert_eq!(stage.said(), [Err(DnsError::ServerFailed)]);
    stage.resolve("maps");
    assert_eq!(stage.asks_for(), "maps.a.example", "it is not remembered");
    stage.both_hear(nobody);
    stage.both_hear(|sent| match sent.family() {
        V6 => sent.answer(|_| {}),
        V4 => sent.has(&["192.0.2.1"], 60),
    });
    assert_eq!(stage.said()[1], list(&["192.0.2.1"]));
}

#[test]
fn a_server_that_was_silent_is_not_waited_for_with_the_next_name() {
    let text = "nameserver 192.0.2.53\nnameserver 192.0.2.54\nnameserver 192.0.2.55\n\
                search a.example b.example c.example d.example e.example\noptions ndots:5";
    let mut stage = Stage::new(resolver(Hosts::default(), Config::parse(text, |_| None).0));
    stage.resolve("maps");
    stage.pass(ms(2_000 / 6 + 1));
    stage.both_hear(nobody);
    for domain in ["b", "c", "d"] {
        assert_eq!(stage.asks_for(), format!("maps.{domain}.example"));
        assert_eq!((stage.asked(V6), stage.asked(V4)), (vec![54], vec![54]));
        stage.both_hear(nobody);
    }
    let sent = stage.query(V4);
    stage.hear(&sent, &sent.fails(RCODE::ServerFailure));
    assert_eq!(stage.asked(V4), [55], "it goes on behind the one that has answered");
    stage.pass(ms(2_000 / 6 + 1));
    assert_eq!(
        (stage.asked(V6), stage.asked(V4)),
        (vec![54, 55], vec![55, 53]),
        "each in its turn"
    );
    stage.pass(ms(2_000));
    stage.resolve("other");
    assert_eq!((stage.asked(V6), stage.asked(V4)), (vec![53], vec![53]), "the next lookup");
}

#[test]
fn a_search_has_no_more_time_than_one_name() {
    let mut stage = searching("");
    stage.resolve("maps");
    stage.pass(ms(800));
    stage.both_hear(nobody);
    stage.pass(ms(800));
    stage.both_hear(nobody);
    assert_eq!(stage.asks_for(), "maps");
    stage.pass(ms(399));
    assert_eq!(stage.done, []);
    stage.pass(ms(1));
    assert_eq!((stage.said(), stage.open.len()), (vec![Err(DnsError::TimedOut)], 0));
    assert_eq!(stage.resolver.next_timeout(), None);
}

#[test]
fn a_server_that_is_silent_or_gone_is_not_asked_for_other_names() {
    let mut stage = searching("");
    stage.resolve("maps");
    stage.pass(ms(2_000));
    assert_eq!((stage.said(), stage.sent), (vec![Err(DnsError::TimedOut)], 4));
    stage.resolve("maps");
    while let Some(sent) = stage.open.first().cloned() {
        stage.lose(&sent);
    }
    assert_eq!((stage.said()[1].clone(), stage.sent), (Err(DnsError::Unreachable), 8));
}

#[test]
fn with_use_vc_all_is_asked_over_tcp() {
    let mut stage = searching("options use-vc");
    stage.resolve("maps.");
    assert!(stage.open.iter().all(|sent| sent.via == Via::Tcp));
    stage.both_hear(|sent| {
        sent.has(&[if sent.family() == V4 { "192.0.2.1" } else { "2001:db8::1" }], 9)
    });
    assert_eq!(stage.said(), [both()]);
}

// One family only.

#[test]
fn a_server_that_drops_aaaa_costs_50_ms() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.pass(ms(10));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    stage.pass(ms(49));
    assert_eq!(stage.done, []);
    stage.pass(ms(1));
    assert_eq!(stage.said(), [list(&["192.0.2.1"])]);
    assert_eq!(stage.open.len(), 0);
}

#[test]
fn a_family_without_an_answer_is_asked_again_after_5_s() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 600));
    stage.pass(ms(50));
    stage.pass(ms(4_999));
    assert!(stage.knows());
    stage.pass(ms(1));
    assert!(!stage.knows());
}

#[test]
fn ipv4_addresses_are_waited_for_to_the_end() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 60));
    stage.pass(ms(1_999));
    assert_eq!(stage.done, []);
    stage.pass(ms(1));
    assert_eq!(stage.said(), [list(&["2001:db8::1"])]);
}

#[test]
fn a_name_may_have_addresses_of_one_family_only() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.answer(|_| {}));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    assert_eq!(stage.said(), [list(&["192.0.2.1"])]);
    stage.pass(ms(59_999));
    assert!(stage.knows(), "it holds as long as the addresses");
}

#[test]
fn no_such_name_and_no_addresses_are_told_apart() {
    let none = |sent: &Sent| sent.answer(|_| {});
    let nobody = |sent: &Sent| sent.fails(RCODE::NameError);
    let failed = |sent: &Sent| sent.fails(RCODE::Refused);
    type Says = fn(&Sent) -> Vec<u8>;
    let cases: [(Says, Says, DnsError); 5] = [
        (nobody, nobody, DnsError::NoSuchName),
        (none, none, DnsError::NoAddresses),
        (nobody, none, DnsError::NoAddresses),
        (none, failed, DnsError::ServerFailed),
        (failed, nobody, DnsError::ServerFailed),
    ];
    for (v6, v4, why) in cases {
        let mut stage = stage(1);
        stage.resolve("maps.example");
        while let Some(sent) = stage.open.first().cloned() {
            let says = if sent.family() == V6 { v6 } else { v4 };
            stage.hear(&sent, &says(&sent));
        }
        assert_eq!(stage.said(), [Err(why)]);
    }
}

// The cache.

#[test]
fn addresses_are_remembered_for_the_least_of_their_ttls() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.has(&["2001:db8::1"], 30));
    stage.hears(V4, |sent| sent.has(&["192.0.2.1"], 60));
    stage.pass(ms(29_999));
    assert_eq!(stage.found("maps.example"), both());
    stage.pass(ms(1));
    assert!(!stage.knows());
}

#[test]
fn a_ttl_of_0_is_not_remembered() {
    let mut stage = stage(1);
    stage.learn(0);
    assert!(!stage.knows());
}

#[test]
fn a_ttl_of_a_second_holds_a_second_and_a_year_holds_an_hour() {
    for (ttl, seconds) in [(1, 1), (31_536_000, 3_600)] {
        let mut stage = stage(1);
        stage.learn(ttl);
        stage.pass(Duration::from_secs(seconds) - ms(1));
        assert!(stage.knows());
        stage.pass(ms(1));
        assert!(!stage.knows());
    }
}

#[test]
fn that_there_is_nothing_is_remembered_5_s() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.fails(RCODE::NameError));
    stage.hears(V4, |sent| sent.fails(RCODE::NameError));
    stage.done.clear();
    stage.pass(ms(4_999));
    assert_eq!(stage.found("maps.example"), Err(DnsError::NoSuchName));
    stage.pass(ms(1));
    assert!(!stage.knows());
}

#[test]
fn a_failure_is_not_remembered() {
    let mut stage = stage(1);
    stage.resolve("maps.example");
    stage.pass(ms(2_000));
    assert_eq!(stage.said(), [Err(DnsError::TimedOut)]);
    assert!(!stage.knows());
}

#[test]
fn when_no_server_speaks_the_addresses_it_had_are_used_for_an_hour() {
    let mut stage = stage(1);
    stage.learn(60);
    stage.pass(Duration::from_secs(60 + 3_600) - ms(2_001));
    stage.resolve("maps.example");
    stage.pass(ms(2_000));
    assert_eq!(stage.said(), [both()], "after the total limit");
    stage.done.clear();
    assert_eq!(stage.found("maps.example"), both(), "then at once");
    stage.pass(ms(1));
    stage.resolve("maps.example");
    stage.pass(ms(2_000));
    assert_eq!(stage.said(), [Err(DnsError::TimedOut)], "the hour is over");
}

#[test]
fn a_name_that_is_gone_is_gone() {
    let mut stage = stage(1);
    stage.learn(60);
    stage.pass(ms(60_000));
    stage.resolve("maps.example");
    stage.hears(V6, |sent| sent.fails(RCODE::NameError));
    stage.hears(V4, |sent| sent.fails(RCODE::NameError));
    assert_eq!(stage.said(), [Err(DnsError::NoSuchName)]);
    stage.done.clear();
    stage.pass(ms(10_000));
    stage.resolve("maps.example");
    stage.pass(ms(2_000));
    assert_eq!(stage.said(), [Err(DnsError::TimedOut)], "what it had before is forgotten");
}

// Whatever happens.

/// What the network and the clock may do next.
#[derive(Clone, Debug)]
enum Event {
    Resolve(u8),
    Pass(u64),
    Answer(prop::sample::Index, Answer),
    Lose(prop::sample::Index),
}

#[derive(Clone, Debug)]
enum Answer {
    Has(u32),
    Fails(u8),
    Truncated,
    Changed(Vec<(prop::sample::Index, u8)>),
    Any(Vec<u8>),
}

fn answers() -> impl Strategy<Value = Answer> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    prop_oneof![
        any::<u32>().prop_map(Answer::Has),
        (0..12_u8).prop_map(Answer::Fails),
        Just(Answer::Truncated),
        prop::collection::vec(change, 1..5).prop_map(Answer::Changed),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Answer::Any),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_u8).prop_map(Event::Resolve),
        (0..1_500_u64).prop_map(Event::Pass),
        (any::<prop::sample::Index>(), answers())
            .prop_map(|(which, says)| Event::Answer(which, says)),
        any::<prop::sample::Index>().prop_map(Event::Lose),
    ]
}

fn made(sent: &Sent, says: &Answer) -> Vec<u8> {
    let address = if sent.family() == V4 { "192.0.2.1" } else { "2001:db8::1" };
    match says {
        Answer::Has(ttl) => sent.has(&[address], *ttl),
        Answer::Fails(rcode) => sent.fails(RCODE::from(u16::from(*rcode))),
        Answer::Truncated => sent.truncated(),
        Answer::Changed(changes) => {
            let mut bytes = sent.has(&[address], 60);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes
        }
        Answer::Any(bytes) => bytes.clone(),
    }
}

proptest! {
    /// Each lookup is answered exactly once, within the total limit, whichever server is silent or lies. After that
    /// no query is open.
    #[test]
    fn every_lookup_ends_in_time(
        servers in 0..4_u8,
        events in prop::collection::vec(events(), 1..60),
    ) {
        // 0 means one server, and three names for each lookup.
        let mut stage = if servers == 0 { searching("options ndots:3") } else { stage(servers) };
        let mut asked: Vec<(LookupId, Moment)> = Vec::new();
        for event in events {
            match event {
                Event::Resolve(name) => {
                    let name = ["maps.example", "Maps.Example.", "other.example", "localhost"][name as usize];
                    asked.push((stage.resolve(name), stage.now));
                }
                Event::Pass(millis) => stage.pass(ms(millis)),
                Event::Answer(which, says) if !stage.open.is_empty() => {
                    let sent = which.get(&stage.open).clone();
                    stage.hear(&sent, &made(&sent, &says));
                }
                Event::Lose(which) if !stage.open.is_empty() => {
                    let sent = which.get(&stage.open).clone();
                    stage.lose(&sent);
                }
                Event::Answer(..) | Event::Lose(_) => {}
            }
            for (id, at) in &asked {
                let is_done = stage.done.iter().any(|(done, _)| done == id);
                prop_assert!(is_done || stage.now - *at < ms(2_000), "{id:?} is late");
            }
        }
        stage.pass(ms(2_000));
        prop_assert_eq!(stage.done.len(), asked.len());
        prop_assert_eq!(stage.open.len(), 0);
        prop_assert_eq!(stage.resolver.next_timeout(), None);
        // A lookup has two families, and two tries for each server or name, each perhaps repeated over TCP.
        let servers_or_names = if servers == 0 { 3 } else { usize::from(servers) };
        prop_assert!(stage.sent <= asked.len() * 2 * 2 * servers_or_names * 2);
        for found in stage.said().into_iter().flatten() {
            prop_assert!(!found.is_empty());
        }
    }
}
