//! `ack = "peer"`: what a reply to IAMAT then guarantees. Real servers on a clock that the test advances, and
//! in some tests a neighbour that the test plays.

use crate::support::cluster::{Cluster, FIVE, MS, SECOND, TalkId, topology, weathers};
use herd_reactor::testing::MemoryOptions;
use std::time::Duration;

const PAIR: &str = "Alford Bolden; Bolden";

/// Returns a topology whose servers wait for a neighbour's acknowledgement.
fn waiting(servers: &str, limits: &str) -> String {
    format!("ack = 'peer'\n{}", topology(servers, limits))
}

/// Starts Bolden, linked to Alford, which the test plays. Bolden asks for ACKs in its HELLO.
fn played(limits: &str) -> (Cluster, TalkId) {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &waiting(PAIR, limits));
    cluster.start("Bolden");
    let alford = cluster.stranger("Bolden");
    let heard = cluster.say(alford, "HELLO Alford places-herd 1");
    assert!(heard.starts_with("HELLO Bolden places-herd 1 speaks=1-1 ack=1\n"), "{heard}");
    (cluster, alford)
}

/// Waits until the connection has received something, for at most `time`; returns how long that took.
fn until_heard(cluster: &mut Cluster, talk: TalkId, time: Duration) -> Option<Duration> {
    let begun = cluster.now();
    while cluster.heard(talk).is_empty() {
        if cluster.now() - begun > time {
            return None;
        }
        cluster.run_for(MS);
    }
    Some(cluster.now() - begun)
}

#[test]
fn the_reply_waits_for_the_neighbours_acknowledgement() {
    let (mut cluster, alford) = played("");
    let client = cluster.client("Bolden");
    assert_eq!(cluster.say(client, "IAMAT kiwi +1+1 5"), "");
    let told = cluster.hear(alford);
    assert!(told.starts_with("AT Bolden ") && told.ends_with(" kiwi +1+1 5\n"), "{told}");
    assert_eq!(cluster.say(alford, "ACK 1"), "");
    assert_eq!(cluster.hear(client), told);
    assert_eq!(cluster.member("Bolden").counters.unreplicated_replies, 0);
}

#[test]
fn without_an_acknowledgement_it_leaves_after_the_limit_and_is_counted() {
    let (mut cluster, alford) = played("ack_wait_ms = 400\n");
    let client = cluster.client("Bolden");
    cluster.send(client, "IAMAT kiwi +1+1 5\nIAMAT kiwi +1+1 6\n");
    let took = until_heard(&mut cluster, client, SECOND).expect("the reply leaves in any case");
    assert!((400 * MS..=410 * MS).contains(&took), "{took:?}");
    assert_eq!(cluster.hear(client).lines().count(), 2);
    assert_eq!(cluster.member("Bolden").counters.unreplicated_replies, 2);
    // A late ACK does no harm.
    assert!(!cluster.say(alford, "ACK 2").contains('?'));
}

/// A report and a HELLO arrive while the server is frozen, so that one turn reads the report and then the HELLO. The
/// neighbour was never sent the report, so its link must not acknowledge it.
#[test]
fn a_link_made_after_the_report_in_its_turn_does_not_acknowledge_it() {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &waiting(PAIR, ""));
    cluster.start("Bolden");
    let (client, alford) = (cluster.client("Bolden"), cluster.stranger("Bolden"));
    cluster.freeze("Bolden");
    cluster.say(client, "IAMAT kiwi +1+1 5");
    cluster.say(alford, "HELLO Alford places-herd 1");
    cluster.thaw("Bolden");
    cluster.settle();
    assert!(cluster.hear(alford).starts_with("HELLO Bolden places-herd 1 speaks=1-1 ack=1\n"));
    assert_eq!(cluster.hear(client), "");
    // Bolden only compares with the neighbour so far; the reply leaves at its deadline.
    cluster.run_for(SECOND);
    assert_eq!(cluster.hear(client).lines().count(), 1);
    assert_eq!(cluster.member("Bolden").counters.unreplicated_replies, 1);
}

#[test]
fn one_ack_covers_all_lines_before_it() {
    let (mut cluster, alford) = played("");
    let client = cluster.client("Bolden");
    for stamp in 1..=5 {
        cluster.send(client, format!("IAMAT kiwi +1+1 {stamp}\n"));
        cluster.run_for(MS);
    }
    cluster.say(alford, "ACK 3");
    assert_eq!(cluster.hear(client).lines().count(), 3);
    cluster.say(alford, "ACK 5");
    assert_eq!(cluster.hear(client).lines().count(), 2);
}

#[test]
fn replies_keep_their_order_whatever_waits() {
    let (mut cluster, alford) = played("");
    let client = cluster.client("Bolden");
    cluster.send(client, "IAMAT kiwi +1+1 5\nnonsense\nIAMAT fig +1+1 5\n");
    cluster.settle();
    assert_eq!(cluster.hear(client), "", "the replies after it wait, too");
    cluster.say(alford, "ACK 2");
    let heard = cluster.hear(client);
    let firsts: Vec<&str> = heard.lines().map(|line| &line[..2]).collect();
    assert_eq!(firsts, ["AT", "? ", "AT"], "{heard}");
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_reply() {
    let (mut cluster, alford) = played("");
    let client = cluster.client("Bolden");
    cluster.send(client, "IAMAT kiwi +1+1 5\n");
    cluster.end(client);
    cluster.settle();
    assert_eq!((cluster.hear(client).as_str(), cluster.ending(client)), ("", None));
    cluster.say(alford, "ACK 1");
    assert!(cluster.hear(client).starts_with("AT Bolden "));
    assert!(cluster.ending(client).is_some());
}

#[test]
fn a_repeated_report_is_flooded_again_before_it_is_acknowledged() {
    let (mut cluster, alford) = played("");
    let client = cluster.client("Bolden");
    cluster.say(client, "IAMAT kiwi +1+1 5");
    cluster.run_for(SECOND);
    assert_eq!(cluster.hear(client).lines().count(), 1);
    assert_eq!(cluster.member("Bolden").counters.unreplicated_replies, 1);
    cluster.hear(alford);
    // No neighbour has acknowledged the first report, so the second needs an acknowledgement of its own.
    assert_eq!(cluster.say(client, "IAMAT kiwi +1+1 5"), "");
    assert!(cluster.hear(alford).starts_with("AT Bolden "));
    cluster.say(alford, "ACK 2");
    assert!(cluster.hear(client).starts_with("AT Bolden "));
    assert_eq!(cluster.member("Bolden").counters.unreplicated_replies, 1);
}

#[test]
fn an_impossible_ack_is_a_fault() {
    let (mut cluster, alford) = played("");
    assert_eq!(cluster.say(alford, "ACK 1"), "? ACK 1\n", "no line was sent yet");
    assert_eq!(cluster.say(alford, "ACK x"), "? ACK x\n");
    let client = cluster.client("Bolden");
    cluster.say(client, "IAMAT kiwi +1+1 5");
    cluster.hear(alford);
    cluster.say(alford, "ACK 1");
    assert_eq!(cluster.say(alford, "ACK 0"), "? ACK 0\n", "it had acknowledged one");
    cluster.hear(client);
    assert_eq!(cluster.say(client, "ACK 1"), "? ACK 1\n", "ACK is invalid on the client port");
}

#[test]
fn a_neighbour_that_did_not_ask_gets_no_acks_and_may_send_none() {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(PAIR, ""));
    cluster.start("Bolden");
    let alford = cluster.stranger("Bolden");
    let heard = cluster.say(alford, "HELLO Alford places-herd 1");
    assert!(heard.starts_with("HELLO Bolden places-herd 1 speaks=1-1\n"), "{heard}");
    assert!(!cluster.say(alford, "AT Alford +0.5 kiwi +1+1 5").contains("ACK"));
    assert_eq!(cluster.say(alford, "ACK 0"), "? ACK 0\n");
    let client = cluster.client("Bolden");
    assert!(cluster.say(client, "IAMAT kiwi +1+1 6").starts_with("AT "));
}

#[test]
fn a_neighbour_that_asks_gets_one_ack_a_turn() {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(PAIR, ""));
    cluster.start("Bolden");
    let alford = cluster.stranger("Bolden");
    cluster.say(alford, "HELLO Alford places-herd 1 ack=1");
    let lines: String = (1..=10).map(|n| format!("AT Alford +0.5 kiwi +1+1 {n}\n")).collect();
    cluster.send(alford, lines);
    cluster.settle();
    assert_eq!(cluster.hear(alford), "ACK 10\n");
    // Old and repeated lines count, too.
    assert_eq!(cluster.say(alford, "AT Alford +0.5 kiwi +1+1 3"), "ACK 11\n");
}

#[test]
fn in_a_herd_of_members_replies_come_at_once_and_none_is_counted() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &waiting(FIVE, ""));
        for (number, name) in cluster.names().into_iter().enumerate() {
            let client = cluster.client(&name);
            cluster.send(client, format!("IAMAT c{number} +1+1 5\n").repeat(20));
            let took = until_heard(&mut cluster, client, SECOND).expect("a reply");
            assert!(took < 250 * MS, "{name}: {took:?}");
            cluster.settle();
            assert_eq!(cluster.hear(client).lines().count(), 20);
        }
        for name in cluster.names() {
            assert_eq!(cluster.member(&name).counters.unreplicated_replies, 0, "{name}");
        }
    }
}

#[test]
fn a_server_without_links_answers_after_the_limit() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &waiting(PAIR, ""));
    cluster.cut("Alford", "Bolden");
    let client = cluster.client("Alford");
    cluster.send(client, "IAMAT kiwi +1+1 5\n");
    let took = until_heard(&mut cluster, client, SECOND).expect("the reply leaves in any case");
    assert!(took >= 250 * MS, "{took:?}");
    assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 1);
}

/// Servers take reports while some of their links are cut, and each is destroyed for good as soon as it
/// has answered. Returns how many answered reports no other server had, and how many of these had
/// been counted as unreplicated.
fn destroy(ack: &str, seeds: std::ops::Range<u64>) -> (u64, u64) {
    let (mut lost, mut counted) = (0, 0);
    for seed in seeds {
        let text = format!("ack = '{ack}'\n{}", topology(FIVE, ""));
        let options = MemoryOptions { seed, ..MemoryOptions::rough(seed) };
        let mut cluster = Cluster::herd(options, &text);
        let names = cluster.names();
        let victim = names[seed as usize % names.len()].clone();
        for (number, other) in names.iter().enumerate() {
            if *other != victim && seed >> number & 3 != 0 {
                cluster.cut(&victim, other);
            }
        }
        let client = cluster.client(&victim);
        cluster.send(client, "IAMAT kiwi +1+1 5\n");
        until_heard(&mut cluster, client, SECOND).expect("the reply leaves in any case");
        let unreplicated = cluster.member(&victim).counters.unreplicated_replies;
        cluster.crash(&victim);
        cluster.run_for(SECOND);
        for other in names.iter().filter(|other| **other != victim) {
            cluster.heal(&victim, other);
        }
        let survivors: Vec<String> = names.into_iter().filter(|name| *name != victim).collect();
        let is_known = survivors.iter().any(|name| cluster.knows(name).contains_key("kiwi"));
        if !is_known {
            lost += 1;
            counted += unreplicated;
        }
    }
    (lost, counted)
}

#[test]
fn what_was_answered_survives_the_server_that_answered_unless_it_was_counted() {
    let (lost, counted) = destroy("peer", 0..200);
    println!(
        "ack = \"peer\": {lost} of 200 answered reports lost with their server, {counted} of them counted"
    );
    assert_eq!(lost, counted, "each lost report had been counted");
    let (lost_locally, _) = destroy("local", 0..200);
    println!("ack = \"local\": {lost_locally} of 200");
    assert!(
        lost_locally >= lost && lost_locally > 20,
        "{lost_locally}: too few losses to compare with"
    );
}
