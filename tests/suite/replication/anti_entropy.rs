//! The promises of anti-entropy: linked neighbours find their differences, at a bounded cost, and expired reports
//! disappear everywhere.

use crate::support::cluster::{Cluster, FIVE, MS, SECOND, TalkId, know, topology, weathers};
use herd_reactor::UnixNanos;
use herd_reactor::testing::MemoryOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PAIR: &str = "Alford Bolden; Bolden";

fn line(client: usize, stamp: usize) -> String {
    format!("AT Alford +0.263873386 client-{client:07} +34.068930-118.445127 {stamp}.392014450")
}

fn sums(cluster: &mut Cluster) -> Vec<u64> {
    let names = cluster.names();
    names.iter().map(|name| cluster.member(name).table.state_hash()).collect()
}

fn agree(cluster: &mut Cluster) -> bool {
    let sums = sums(cluster);
    sums.iter().all(|sum| *sum == sums[0])
}

/// Returns the bytes sent in both directions.
fn bytes(cluster: &Cluster) -> usize {
    let said = [("Alford", "Bolden"), ("Bolden", "Alford")];
    said.iter().map(|(from, to)| cluster.lines(from, to).concat().len()).sum()
}

/// Cuts the link between Alford and Bolden, runs `meanwhile`, and lets them connect again.
fn meet_again(cluster: &mut Cluster, meanwhile: impl FnOnce(&mut Cluster)) {
    cluster.cut("Alford", "Bolden");
    cluster.run_for(20 * SECOND);
    assert!(cluster.linked("Alford").is_empty() && cluster.linked("Bolden").is_empty());
    meanwhile(cluster);
    cluster.forget_lines();
    cluster.heal("Alford", "Bolden");
    while cluster.linked("Alford").is_empty() {
        cluster.run_for(100 * MS);
    }
    cluster.settle();
}

fn said(lines: &[String], name: &str) -> usize {
    lines.iter().filter(|line| line.split(' ').next() == Some(name)).count()
}

// Meeting.

#[test]
fn meeting_again_costs_8_kib_and_8_kib_for_each_difference_among_a_million_clients() {
    const CLIENTS: usize = 1_000_000;
    let limits = format!("known_clients = {CLIENTS}");
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology(PAIR, &limits));
    let mut differing = 0;
    for differences in [0, 1, 10, 100] {
        let before = bytes(&cluster);
        assert!(before < 200, "the tables are still empty");
        meet_again(&mut cluster, |cluster| {
            if differences == 0 {
                for client in 0..CLIENTS {
                    let line = line(client, 1_479_413_884);
                    ["Alford", "Bolden"].into_iter().for_each(|name| know(cluster, name, &line));
                }
            }
            for n in 0..differences {
                differing += 1;
                let name = ["Alford", "Bolden"][n % 2];
                know(cluster, name, &line(differing * 7_919 % CLIENTS, 1_479_413_885));
            }
            assert_eq!(agree(cluster), differences == 0);
        });
        let cost = bytes(&cluster);
        println!("{CLIENTS} clients, {differences} differences: {cost} bytes, both ways");
        assert!(cost <= 8_192 + 8_192 * differences, "{cost} bytes for {differences}");
        assert!(agree(&mut cluster), "{differences} differences");
        cluster.forget_lines();
    }
    assert_eq!(cluster.member("Alford").table.len(), CLIENTS);
}

#[test]
fn a_server_that_comes_back_empty_gets_all_lines_and_little_else() {
    const CLIENTS: usize = 20_000;
    for name in ["Alford", "Bolden"] {
        let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology(PAIR, ""));
        let other = if name == "Alford" { "Bolden" } else { "Alford" };
        meet_again(&mut cluster, |cluster| {
            (0..CLIENTS).for_each(|client| know(cluster, other, &line(client, 1_479_413_884)));
        });
        assert!(agree(&mut cluster));
        let told = cluster.lines(other, name);
        let lines: usize =
            told.iter().filter(|line| line.starts_with("AT ")).map(String::len).sum();
        assert_eq!(said(&told, "AT"), CLIENTS, "each once");
        assert_eq!(said(&cluster.lines(name, other), "AT"), 0);
        assert!(bytes(&cluster) - lines < 64 << 10, "{} bytes", bytes(&cluster) - lines);
    }
}

#[test]
fn two_that_differ_in_thousands_agree_though_news_goes_on_meanwhile() {
    const CLIENTS: usize = 3_000;
    for weather in weathers() {
        let limits = "line_bytes = 1_024\nclient_id_bytes = 64\nflood_buffer_bytes = 4_096";
        let mut cluster = Cluster::new(weather, &topology(PAIR, limits));
        for (name, first) in [("Alford", 0), ("Bolden", CLIENTS / 2)] {
            cluster.start(name);
            cluster.cut("Alford", "Bolden");
            (first..first + CLIENTS)
                .for_each(|c| know(&mut cluster, name, &line(c, 1_479_413_884)));
        }
        let talks = ["Alford", "Bolden"].map(|name| cluster.client(name));
        cluster.heal("Alford", "Bolden");
        let mut most = 0;
        for step in 0..400 {
            for (n, talk) in talks.into_iter().enumerate() {
                let client = (step * 37 + n * 1_013) % (2 * CLIENTS);
                let report = format!("IAMAT client-{client:07} +1+1 1479413885.{step:03}\n");
                cluster.send(talk, report);
            }
            cluster.run_for(5 * MS);
            for (from, to) in [("Alford", "Bolden"), ("Bolden", "Alford")] {
                most = most.max(cluster.pending(from, to));
            }
        }
        cluster.run_for(30 * SECOND);
        assert!(agree(&mut cluster), "what both had before is found, what came since is flooded");
        assert_eq!(cluster.knows("Alford"), cluster.knows("Bolden"));
        assert!(most <= 4_096 + 200, "{most} bytes");
    }
}

/// Compares a session with the example of docs/protocol.md, in which `[n x 0]` stands for n zeros.
#[test]
fn the_example_in_the_protocol_is_true() {
    let text = std::fs::read_to_string("docs/protocol.md").expect("the protocol");
    let example = text.split("In this example Alford").nth(1).expect("the example");
    let example = example.split("    > SYNC").nth(1).expect("it begins with SYNC");
    let example = example.split("\n\n").next().expect("it ends with a blank line");
    let mut expected = BTreeMap::from([('>', Vec::new()), ('<', Vec::new())]);
    for line in format!("    > SYNC{example}").lines() {
        let (side, said) = line.trim().split_at(2);
        let mut written = String::new();
        for (n, part) in said.split(['[', ']']).enumerate() {
            match (n % 2, part.strip_suffix(" x 0")) {
                (1, Some(count)) => written += &"0".repeat(count.parse().expect("a number")),
                _ => written += part,
            }
        }
        let side = side.chars().next().expect("a side");
        expected.get_mut(&side).expect("a side").push(written + "\n");
    }
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology("Alford Parker; Parker", ""));
    cluster.start("Parker");
    let at = "AT Welsh +0.001250331 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";
    know(&mut cluster, "Parker", at);
    cluster.start("Alford");
    cluster.settle();
    assert!(agree(&mut cluster));
    // The first line of each side is its HELLO.
    assert_eq!(cluster.lines("Alford", "Parker")[1..], expected[&'>']);
    assert_eq!(cluster.lines("Parker", "Alford")[1..], expected[&'<']);
}

// The comparison every `sync_ms`.

#[test]
fn what_a_link_has_lost_is_found_within_sync_ms() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(FIVE, "sync_ms = 60_000"));
        for (n, name) in cluster.names().iter().enumerate() {
            know(&mut cluster, name, &line(n, 1_479_413_884));
            know(&mut cluster, name, &line(99, 1_479_413_884 + n));
        }
        cluster.run_for(59 * SECOND);
        assert!(!agree(&mut cluster), "no server has sent its reports yet");
        // The news reaches the other end of the herd: lines that a comparison brings are flooded like any news.
        cluster.run_for(4 * SECOND);
        assert!(agree(&mut cluster));
        assert_eq!(cluster.knows("Welsh").len(), 6);
    }
}

#[test]
fn only_the_dialler_sends_sync_and_equal_servers_send_no_more() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology(PAIR, "sync_ms = 60_000"));
    cluster.run_for(3_600 * SECOND + SECOND);
    assert_eq!(said(&cluster.lines("Alford", "Bolden"), "SYNC"), 61);
    assert_eq!(said(&cluster.lines("Bolden", "Alford"), "SYNC"), 0);
    let others = ["GROUPS", "LEAVES", "WANT"];
    assert!(others.iter().all(|name| said(&cluster.lines("Bolden", "Alford"), name) == 0));
}

#[test]
fn while_something_is_under_way_to_a_neighbour_nothing_is_compared() {
    let options = MemoryOptions {
        send_window_bytes: 4_096,
        receive_window_bytes: 4_096,
        ..MemoryOptions::calm(1)
    };
    let limits = "line_bytes = 1_024\nclient_id_bytes = 64\nflood_buffer_bytes = 4_096\n\
                  sync_ms = 1_000\nping_ms = 1_000\nsilence_ms = 600_000";
    let mut cluster = Cluster::herd(options, &topology(PAIR, limits));
    cluster.cut("Alford", "Bolden");
    let talk = cluster.client("Alford");
    for client in 0..500 {
        cluster.send(talk, format!("IAMAT c{client:03} +1+1 1479413884\n"));
    }
    cluster.settle();
    assert!(cluster.backlog("Alford", "Bolden") > 0);
    cluster.forget_lines();
    cluster.run_for(60 * SECOND);
    assert_eq!(said(&cluster.lines("Alford", "Bolden"), "SYNC"), 0);
    cluster.heal("Alford", "Bolden");
    cluster.run_for(3 * SECOND);
    assert!(said(&cluster.lines("Alford", "Bolden"), "SYNC") >= 1);
    assert_eq!(said(&cluster.lines("Bolden", "Alford"), "GROUPS"), 0, "then they agree");
    assert!(agree(&mut cluster));
}

// Lines of a neighbour.

/// Starts Bolden, and a neighbour played by the test that has sent HELLO as Alford.
fn played_alford(limits: &str) -> (Cluster, TalkId) {
    let mut cluster =
        Cluster::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford", limits));
    cluster.start("Bolden");
    let alford = cluster.stranger("Bolden");
    let hello = "HELLO Bolden places-herd 1 speaks=1-1\n";
    assert_eq!(cluster.say(alford, "HELLO Alford places-herd 1"), hello);
    (cluster, alford)
}

#[test]
fn leaves_that_differ_are_given_and_asked_for() {
    let (mut cluster, alford) = played_alford("");
    let kiwi = "AT Welsh +0.001250331 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";
    know(&mut cluster, "Bolden", kiwi);
    // Its leaf is 9397: place 23 of its row.
    let row = |sum: &str| format!("LEAVES 9380 {}{sum}{}", "0".repeat(16 * 23), "0".repeat(16 * 8));
    assert_eq!(cluster.say(alford, &row("d3721166f545d699")), "", "equal");
    assert_eq!(cluster.say(alford, &row("0000000000000000")), format!("{kiwi}\n"), "lacking");
    let both = format!("WANT 9380 00800000\n{kiwi}\n");
    assert_eq!(cluster.say(alford, &row("d3721166f545d698")), both, "another");
    assert_eq!(cluster.say(alford, "WANT 9380 00800000"), format!("{kiwi}\n"));
    assert_eq!(cluster.say(alford, "WANT 9380 ff7fffff"), "");
}

#[test]
fn what_is_malformed_is_refused_and_what_is_wrong_does_no_harm() {
    let (mut cluster, alford) = played_alford("");
    know(&mut cluster, "Bolden", &line(1, 1_479_413_884));
    let sums = "0".repeat(512);
    for words in [
        "SYNC".to_owned(),
        "SYNC 0".to_owned(),
        "SYNC 0123456789ABCDEF".to_owned(),
        format!("GROUPS 1 {sums}"),
        format!("GROUPS 01 {sums}"),
        format!("GROUPS 00 {}", &sums[1..]),
        format!("LEAVES 00 {sums}"),
        format!("LEAVES 0001 {sums}"),
        "WANT 0000 fffffffff".to_owned(),
        "WANT 0010 ffffffff".to_owned(),
    ] {
        assert_eq!(cluster.say(alford, &words), format!("? {words}\n"));
    }
    assert_eq!(cluster.ending(alford), None);
    // The neighbour claims lines that it does not have; Bolden requests them in vain.
    let heard = cluster.say(alford, &format!("GROUPS 00 {}", "f".repeat(512)));
    assert!(heard.lines().all(|line| line.starts_with("WANT ") || line.starts_with("AT ")));
    assert_eq!(cluster.knows("Bolden").len(), 1);
}

#[test]
fn strangers_and_plain_neighbours_compare_nothing() {
    let mut cluster =
        Cluster::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford Clark; Clark*", ""));
    cluster.play("Clark");
    cluster.start("Bolden");
    cluster.run_for(SECOND);
    let clark = cluster.callers()[0];
    let anonymous = cluster.stranger("Bolden");
    cluster.say(anonymous, "AT Clark +0.5 kiwi +1+1 1479413884");
    cluster.hear(clark);
    for talk in [clark, anonymous, cluster.stranger("Bolden")] {
        for words in ["SYNC 0123456789abcdef", "WANT 0000 ffffffff"] {
            if cluster.ending(talk).is_none() {
                assert_eq!(cluster.say(talk, words).trim_end(), format!("? {words}"));
            }
        }
    }
}

#[test]
fn a_neighbour_that_asks_without_end_and_does_not_listen_costs_no_more_than_the_limit() {
    const CLIENTS: usize = 10_000;
    let (mut cluster, alford) = played_alford("flood_buffer_bytes = 16_384");
    (0..CLIENTS).for_each(|client| know(&mut cluster, "Bolden", &line(client, 1_479_413_884)));
    cluster.listen_to(alford, false);
    for round in 0..200 {
        let sum = format!("{round:016x}");
        cluster.send(alford, format!("SYNC {sum}\n"));
        for first in (0..256).step_by(32) {
            cluster.send(alford, format!("GROUPS {first:02x} {}\n", sum.repeat(32)));
        }
        for row in 0..100 {
            cluster
                .send(alford, format!("WANT {:04x} ffffffff\n", (round * 100 + row) % 2_048 * 32));
            cluster.send(alford, format!("LEAVES {:04x} {}\n", row * 32, sum.repeat(32)));
        }
        cluster.run_for(MS);
        let pending = cluster.pending("Bolden", "Alford");
        assert!(pending <= 16_384 + 600, "{pending} bytes");
    }
    // Bolden still serves clients, and the neighbour gets its answers once it reads.
    let talk = cluster.client("Bolden");
    assert!(cluster.say(talk, "IAMAT kiwi +1+1 1479413884").starts_with("AT Bolden "));
    cluster.listen_to(alford, true);
    cluster.run_for(10 * SECOND);
    let heard = cluster.hear(alford);
    let heard: BTreeSet<&str> = heard.lines().collect();
    for client in 0..CLIENTS {
        assert!(heard.contains(line(client, 1_479_413_884).as_str()), "client {client}");
    }
    assert_eq!(cluster.say(alford, "PING"), "");
}

#[test]
fn a_neighbour_that_lacks_much_is_told_in_portions_that_a_buffer_of_64_kib_holds() {
    const CLIENTS: usize = 30_000;
    let (mut cluster, alford) = played_alford("");
    (0..CLIENTS).for_each(|client| know(&mut cluster, "Bolden", &line(client, 1_479_413_884)));
    cluster.listen_to(alford, false);
    (0..2_048).for_each(|row| cluster.send(alford, format!("WANT {:04x} ffffffff\n", row * 32)));
    cluster.run_for(SECOND);
    let pending = cluster.pending("Bolden", "Alford");
    assert!((1..=65_536).contains(&pending), "{pending} bytes");
    cluster.listen_to(alford, true);
    cluster.run_for(10 * SECOND);
    let told = cluster.hear(alford).lines().filter(|line| line.starts_with("AT ")).count();
    assert_eq!(told, CLIENTS);
}

// Age.

const HOUR: u64 = 3_600_000_000_000;
/// A full minute, and an hour later than the stamp 1479416400.
const THEN: UnixNanos = UnixNanos(1_479_420_000_000_000_000);

fn aged(servers: &str) -> Cluster {
    let options = MemoryOptions { wall: THEN, ..MemoryOptions::calm(1) };
    Cluster::herd(options, &topology(servers, "expire_after_s = 3_600"))
}

#[test]
fn an_older_report_is_refused_and_an_older_line_dropped_without_a_word() {
    let mut cluster = aged("Alford; Bolden Alford");
    cluster.crash("Alford");
    let talk = cluster.client("Bolden");
    let old = "IAMAT kiwi +1+1 1479416399.999999999";
    assert_eq!(cluster.say(talk, old), format!("? {old}\n"));
    let alford = cluster.stranger("Bolden");
    cluster.say(alford, "HELLO Alford places-herd 1");
    assert_eq!(cluster.say(alford, "AT Alford +0.5 kiwi +1+1 1479416399.999999999"), "");
    let table = &mut cluster.member("Bolden").table;
    assert_eq!((table.len(), table.state_hash()), (0, 0), "the report is not stored");
    assert_eq!(cluster.ending(alford), None);
    assert!(cluster.say(talk, "IAMAT kiwi +1+1 1479416402").starts_with("AT Bolden "));
    cluster.say(alford, "AT Alford +0.5 fig +1+1 1479416402");
    assert_eq!(cluster.knows("Bolden").len(), 2);
}

#[test]
fn at_that_age_a_client_is_not_served_and_within_a_minute_it_is_forgotten_everywhere() {
    let mut cluster = aged(FIVE);
    let talk = cluster.client("Hamilton");
    for (client, stamp) in [("kiwi", 1_479_416_430_u64), ("fig", 1_479_416_490)] {
        cluster.say(talk, &format!("IAMAT {client} +1+1 {stamp}"));
    }
    cluster.settle();
    assert_eq!(cluster.knows("Welsh").len(), 2);
    let question = "WHATSAT kiwi 1 1";
    let welsh = cluster.client("Welsh");
    cluster.run_for(40 * SECOND);
    assert_eq!(cluster.say(welsh, question), format!("? {question}\n"));
    assert_eq!(cluster.knows("Welsh").len(), 2, "it is forgotten at the full minute only");
    cluster.run_for(21 * SECOND);
    for name in cluster.names() {
        assert_eq!(cluster.knows(&name).into_keys().collect::<Vec<_>>(), ["fig"], "{name}");
    }
    assert!(agree(&mut cluster));
    // It may be reported again.
    assert!(cluster.say(talk, "IAMAT kiwi +1+1 1479420060").starts_with("AT Hamilton "));
    assert_eq!(cluster.knows("Welsh").len(), 2);
    cluster.run_for(Duration::from_nanos(HOUR + HOUR / 30));
    assert_eq!(sums(&mut cluster), [0; 5], "nothing is left");
}

#[test]
fn thousands_are_forgotten_in_slices_and_nobody_waits() {
    const CLIENTS: usize = 50_000;
    let mut cluster = aged(PAIR);
    for name in ["Alford", "Bolden"] {
        (0..CLIENTS).for_each(|client| know(&mut cluster, name, &line(client, 1_479_416_410)));
    }
    cluster.run_for(59 * SECOND);
    assert_eq!(cluster.member("Alford").table.len(), CLIENTS);
    cluster.forget_lines();
    cluster.run_for(2 * SECOND);
    assert_eq!(sums(&mut cluster), [0, 0]);
    assert_eq!(cluster.member("Alford").table.line_bytes(), 0);
    assert_eq!(cluster.at_lines(), 0);
}

#[test]
fn a_clock_that_is_set_forwards_and_back_loses_nothing_for_good() {
    let mut cluster = aged("Alford Bolden; Bolden Clark; Clark");
    let talk = cluster.client("Bolden");
    for client in 0..100 {
        cluster.say(talk, &format!("IAMAT c{client} +1+1 1479419999.{client:03}"));
    }
    let known = cluster.knows("Clark");
    assert_eq!(known.len(), 100);
    let year = UnixNanos(THEN.0 + 8_760 * HOUR);
    cluster.reactor("Bolden").io().set_wall(year);
    cluster.run_for(61 * SECOND);
    assert!(cluster.knows("Bolden").is_empty(), "by its clock all reports have expired");
    assert_eq!(cluster.knows("Alford"), known);
    cluster.reactor("Bolden").io().set_wall(UnixNanos(THEN.0 - 8_760 * HOUR));
    cluster.run_for(61 * SECOND);
    assert_eq!(cluster.knows("Bolden"), known, "the neighbours bring the reports back");
    cluster.reactor("Bolden").io().set_wall(UnixNanos(THEN.0 + 122_000_000_000));
    cluster.run_for(61 * SECOND);
    assert!(agree(&mut cluster) && cluster.knows("Bolden") == known);
}
