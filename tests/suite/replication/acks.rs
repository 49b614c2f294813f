//! `ack = "peer"`: what an answer to an IAMAT is worth then. Real members on a clock advanced by hand, and
//! now and then a neighbour that the test plays.

use crate::support::cluster::{FIVE, MS, SECOND, TalkId, World, topology, weathers};
use herd_reactor::testing::MemoryOptions;
use std::time::Duration;

const PAIR: &str = "Alford Bolden; Bolden";

/// The text of a topology whose servers wait for a neighbour's word.
fn waiting(servers: &str, limits: &str) -> String {
    format!("ack = 'peer'\n{}", topology(servers, limits))
}

/// Bolden, and Alford played by the test, linked: who asks for ACKs says so in its HELLO.
fn played(limits: &str) -> (World, TalkId) {
    let mut world = World::new(MemoryOptions::calm(1), &waiting(PAIR, limits));
    world.start("Bolden");
    let alford = world.stranger("Bolden");
    let heard = world.say(alford, "HELLO Alford places-herd 1");
    assert!(heard.starts_with("HELLO Bolden places-herd 1 ack=1\n"), "{heard}");
    (world, alford)
}

/// Waits until something is heard, for `time` at most; returns how long that took.
fn until_heard(world: &mut World, talk: TalkId, time: Duration) -> Option<Duration> {
    let begun = world.now();
    while world.heard(talk).is_empty() {
        if world.now() - begun > time {
            return None;
        }
        world.run_for(MS);
    }
    Some(world.now() - begun)
}

#[test]
fn the_reply_waits_for_the_neighbours_word() {
    let (mut world, alford) = played("");
    let client = world.client("Bolden");
    assert_eq!(world.say(client, "IAMAT kiwi +1+1 5"), "");
    let told = world.hear(alford);
    assert!(told.starts_with("AT Bolden ") && told.ends_with(" kiwi +1+1 5\n"), "{told}");
    assert_eq!(world.say(alford, "ACK 1"), "");
    assert_eq!(world.hear(client), told);
    assert_eq!(world.member("Bolden").unreplicated(), 0);
}

#[test]
fn without_a_word_it_leaves_after_the_limit_and_is_counted() {
    let (mut world, alford) = played("ack_wait_ms = 400\n");
    let client = world.client("Bolden");
    world.send(client, "IAMAT kiwi +1+1 5\nIAMAT kiwi +1+1 6\n");
    let took = until_heard(&mut world, client, SECOND).expect("the reply leaves in any case");
    assert!((400 * MS..=410 * MS).contains(&took), "{took:?}");
    assert_eq!(world.hear(client).lines().count(), 2);
    assert_eq!(world.member("Bolden").unreplicated(), 2);
    // A word that comes too late does no harm.
    assert!(!world.say(alford, "ACK 2").contains('?'));
}

/// Both come while the server stands still, so that one turn reads the report and then the HELLO: what the
/// neighbour was never told it must not be taken to know.
#[test]
fn who_is_linked_after_the_report_in_its_turn_has_not_heard_of_it() {
    let mut world = World::new(MemoryOptions::calm(1), &waiting(PAIR, ""));
    world.start("Bolden");
    let (client, alford) = (world.client("Bolden"), world.stranger("Bolden"));
    world.freeze("Bolden");
    world.say(client, "IAMAT kiwi +1+1 5");
    world.say(alford, "HELLO Alford places-herd 1");
    world.thaw("Bolden");
    world.settle();
    assert!(world.hear(alford).starts_with("HELLO Bolden places-herd 1 ack=1\n"));
    assert_eq!(world.hear(client), "");
    // They have still to compare, so the limit is what lets the reply go.
    world.run_for(SECOND);
    assert_eq!(world.hear(client).lines().count(), 1);
    assert_eq!(world.member("Bolden").unreplicated(), 1);
}

#[test]
fn one_word_is_for_all_lines_up_to_it() {
    let (mut world, alford) = played("");
    let client = world.client("Bolden");
    for stamp in 1..=5 {
        world.send(client, format!("IAMAT kiwi +1+1 {stamp}\n"));
        world.run_for(MS);
    }
    world.say(alford, "ACK 3");
    assert_eq!(world.hear(client).lines().count(), 3);
    world.say(alford, "ACK 5");
    assert_eq!(world.hear(client).lines().count(), 2);
}

#[test]
fn replies_keep_their_order_whatever_waits() {
    let (mut world, alford) = played("");
    let client = world.client("Bolden");
    world.send(client, "IAMAT kiwi +1+1 5\nnonsense\nIAMAT fig +1+1 5\n");
    world.settle();
    assert_eq!(world.hear(client), "", "what comes behind it waits, too");
    world.say(alford, "ACK 2");
    let heard = world.hear(client);
    let firsts: Vec<&str> = heard.lines().map(|line| &line[..2]).collect();
    assert_eq!(firsts, ["AT", "? ", "AT"], "{heard}");
}

#[test]
fn who_ends_its_side_still_gets_its_reply() {
    let (mut world, alford) = played("");
    let client = world.client("Bolden");
    world.send(client, "IAMAT kiwi +1+1 5\n");
    world.end(client);
    world.settle();
    assert_eq!((world.hear(client).as_str(), world.ending(client)), ("", None));
    world.say(alford, "ACK 1");
    assert!(world.hear(client).starts_with("AT Bolden "));
    assert!(world.ending(client).is_some());
}

#[test]
fn a_report_said_again_is_told_again_before_it_is_acknowledged() {
    let (mut world, alford) = played("");
    let client = world.client("Bolden");
    world.say(client, "IAMAT kiwi +1+1 5");
    world.run_for(SECOND);
    assert_eq!(world.hear(client).lines().count(), 1);
    assert_eq!(world.member("Bolden").unreplicated(), 1);
    world.hear(alford);
    // Nobody has said that it has the first; so the second must not be taken for known.
    assert_eq!(world.say(client, "IAMAT kiwi +1+1 5"), "");
    assert!(world.hear(alford).starts_with("AT Bolden "));
    world.say(alford, "ACK 2");
    assert!(world.hear(client).starts_with("AT Bolden "));
    assert_eq!(world.member("Bolden").unreplicated(), 1);
}

#[test]
fn a_word_that_cannot_be_is_a_fault() {
    let (mut world, alford) = played("");
    assert_eq!(world.say(alford, "ACK 1"), "? ACK 1\n", "nothing was told yet");
    assert_eq!(world.say(alford, "ACK x"), "? ACK x\n");
    let client = world.client("Bolden");
    world.say(client, "IAMAT kiwi +1+1 5");
    world.hear(alford);
    world.say(alford, "ACK 1");
    assert_eq!(world.say(alford, "ACK 0"), "? ACK 0\n", "it had taken one");
    world.hear(client);
    assert_eq!(world.say(client, "ACK 1"), "? ACK 1\n", "at the client port it is no command");
}

#[test]
fn who_did_not_ask_is_told_nothing_and_wants_to_hear_nothing() {
    let mut world = World::new(MemoryOptions::calm(1), &topology(PAIR, ""));
    world.start("Bolden");
    let alford = world.stranger("Bolden");
    let heard = world.say(alford, "HELLO Alford places-herd 1");
    assert!(heard.starts_with("HELLO Bolden places-herd 1\n"), "{heard}");
    assert!(!world.say(alford, "AT Alford +0.5 kiwi +1+1 5").contains("ACK"));
    assert_eq!(world.say(alford, "ACK 0"), "? ACK 0\n");
    let client = world.client("Bolden");
    assert!(world.say(client, "IAMAT kiwi +1+1 6").starts_with("AT "));
}

#[test]
fn who_asks_is_told_once_a_turn_how_much_was_taken() {
    let mut world = World::new(MemoryOptions::calm(1), &topology(PAIR, ""));
    world.start("Bolden");
    let alford = world.stranger("Bolden");
    world.say(alford, "HELLO Alford places-herd 1 ack=1");
    let lines: String = (1..=10).map(|n| format!("AT Alford +0.5 kiwi +1+1 {n}\n")).collect();
    world.send(alford, lines);
    world.settle();
    assert_eq!(world.hear(alford), "ACK 10\n");
    // What is old or said again has been taken, too.
    assert_eq!(world.say(alford, "AT Alford +0.5 kiwi +1+1 3"), "ACK 11\n");
}

#[test]
fn in_a_herd_of_members_replies_come_at_once_and_none_is_counted() {
    for weather in weathers() {
        let mut world = World::herd(weather, &waiting(FIVE, ""));
        for (number, name) in world.names().into_iter().enumerate() {
            let client = world.client(&name);
            world.send(client, format!("IAMAT c{number} +1+1 5\n").repeat(20));
            let took = until_heard(&mut world, client, SECOND).expect("a reply");
            assert!(took < 250 * MS, "{name}: {took:?}");
            world.settle();
            assert_eq!(world.hear(client).lines().count(), 20);
        }
        for name in world.names() {
            assert_eq!(world.member(&name).unreplicated(), 0, "{name}");
        }
    }
}

#[test]
fn a_server_that_nobody_can_reach_answers_after_the_limit() {
    let mut world = World::herd(MemoryOptions::calm(1), &waiting(PAIR, ""));
    world.cut("Alford", "Bolden");
    let client = world.client("Alford");
    world.send(client, "IAMAT kiwi +1+1 5\n");
    let took = until_heard(&mut world, client, SECOND).expect("the reply leaves in any case");
    assert!(took >= 250 * MS, "{took:?}");
    assert_eq!(world.member("Alford").unreplicated(), 1);
}

/// Servers take reports while some of their links are cut, and each is destroyed for good as soon as it
/// has answered. Returns how many of the answered reports nobody else knew, and how many of these had
/// been counted as unreplicated.
fn destroy(ack: &str, seeds: std::ops::Range<u64>) -> (u64, u64) {
    let (mut lost, mut counted) = (0, 0);
    for seed in seeds {
        let text = format!("ack = '{ack}'\n{}", topology(FIVE, ""));
        let options = MemoryOptions { seed, ..MemoryOptions::rough(seed) };
        let mut world = World::herd(options, &text);
        let names = world.names();
        let victim = names[seed as usize % names.len()].clone();
        for (number, other) in names.iter().enumerate() {
            if *other != victim && seed >> number & 3 != 0 {
                world.cut(&victim, other);
            }
        }
        let client = world.client(&victim);
        world.send(client, "IAMAT kiwi +1+1 5\n");
        until_heard(&mut world, client, SECOND).expect("the reply leaves in any case");
        let unreplicated = world.member(&victim).unreplicated();
        world.crash(&victim);
        world.run_for(SECOND);
        for other in names.iter().filter(|other| **other != victim) {
            world.heal(&victim, other);
        }
        let survivors: Vec<String> = names.into_iter().filter(|name| *name != victim).collect();
        let is_known = survivors.iter().any(|name| world.knows(name).contains_key("kiwi"));
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
    assert_eq!(lost, counted, "each that is lost had been counted");
    let (lost_locally, _) = destroy("local", 0..200);
    println!("ack = \"local\": {lost_locally} of 200");
    assert!(lost_locally >= lost && lost_locally > 20, "{lost_locally}: this test shows nothing");
}
