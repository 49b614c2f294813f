//! What neighbours are promised: whole herds of real members, in one process, and now and then a
//! server that the test plays itself.

use crate::support::cluster::{Ending, FIVE, MS, NANO, SECOND, TalkId, World, topology, weathers};
use herd_reactor::testing::MemoryOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PAIR: &str = "Alford Bolden; Bolden";

fn calm(servers: &str, limits: &str) -> World {
    World::herd(MemoryOptions::calm(1), &topology(servers, limits))
}

/// A report of `client` at `name`; returns the AT line of the answer, without its end.
fn report(world: &mut World, name: &str, client: &str, stamp: &str) -> String {
    report_at(world, name, client, "+1+1", stamp)
}

fn report_at(world: &mut World, name: &str, client: &str, place: &str, stamp: &str) -> String {
    let talk = world.client(name);
    let answer = world.say(talk, &format!("IAMAT {client} {place} {stamp}"));
    world.end(talk);
    world.settle();
    assert!(answer.starts_with("AT ") && answer.ends_with('\n'), "{answer}");
    answer.trim_end().to_owned()
}

/// What all members know, if they agree.
fn agreed(world: &mut World) -> BTreeMap<String, String> {
    let names = world.names();
    let known = world.knows(&names[0]);
    for name in &names[1..] {
        assert_eq!(world.knows(name), known, "{name} knows other than {}", names[0]);
    }
    known
}

/// Somebody at the peer port of `name` who says HELLO as `as_name`, and is believed.
fn linked_as(world: &mut World, name: &str, as_name: &str) -> TalkId {
    let talk = world.stranger(name);
    let heard = world.say(talk, &format!("HELLO {as_name} places-herd 1"));
    assert!(heard.starts_with(&format!("HELLO {name} places-herd 1\n")), "{heard:?}");
    talk
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

// Meeting.

#[test]
fn the_name_that_sorts_first_dials_and_says_hello_and_sync_and_the_other_says_hello() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(FIVE, ""));
        for (first, second) in [
            ("Alford", "Parker"),
            ("Alford", "Welsh"),
            ("Bolden", "Parker"),
            ("Bolden", "Welsh"),
            ("Hamilton", "Parker"),
        ] {
            let streams = world.streams(first, second);
            assert_eq!(streams.len(), 1, "{first} and {second}");
            // Who dialled goes to the other's peer port.
            assert_eq!(streams[0].1.port(), 12_100, "{first} and {second}");
            let hello = |name| format!("HELLO {name} places-herd 1\n");
            assert_eq!(world.lines(first, second), [hello(first), format!("SYNC {:016x}\n", 0)]);
            assert_eq!(world.lines(second, first), [hello(second)]);
        }
        assert_eq!(world.linked("Parker"), set(&["Alford", "Bolden", "Hamilton"]));
        assert_eq!(world.linked("Welsh"), set(&["Alford", "Bolden"]));
    }
}

#[test]
fn the_answer_to_a_hello_waits_for_it() {
    let mut world = calm("Alford; Parker Alford", "");
    world.crash("Alford");
    let alford = world.stranger("Parker");
    world.run_for(SECOND);
    assert_eq!(world.hear(alford), "");
    assert_eq!(world.say(alford, "HELLO Alford places-herd 1"), "HELLO Parker places-herd 1\n");
}

#[test]
fn options_that_nobody_knows_are_ignored() {
    let mut world = calm("Alford; Parker Alford", "");
    world.crash("Alford");
    let alford = world.stranger("Parker");
    let hello = "HELLO Alford places-herd 1 colour=blue since=";
    assert_eq!(world.say(alford, hello), "HELLO Parker places-herd 1\n");
}

#[test]
fn on_every_link_made_each_side_sends_what_the_other_lacks() {
    for weather in weathers() {
        let mut world = World::new(weather, &topology(PAIR, ""));
        for (name, clients) in [("Alford", ["fig", "kiwi"]), ("Bolden", ["kiwi", "plum"])] {
            world.start(name);
            for client in clients {
                report(&mut world, name, client, "1479413884");
            }
        }
        world.run_for(10 * SECOND);
        let ats = |lines: Vec<String>| lines.into_iter().filter(|l| l.starts_with("AT ")).count();
        assert_eq!(ats(world.lines("Alford", "Bolden")), 2);
        assert_eq!(ats(world.lines("Bolden", "Alford")), 2);
        assert_eq!(agreed(&mut world).len(), 3);
    }
}

// The flood.

#[test]
fn each_update_reaches_all_five_with_exactly_2e_minus_n_minus_1_lines() {
    const EDGES: usize = 5;
    const SERVERS: usize = 5;
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(FIVE, ""));
        for (update, name) in world.names().into_iter().cycle().take(20).enumerate() {
            world.forget_lines();
            let line = report(&mut world, &name, "kiwi", &format!("1479413884.{update:03}"));
            assert_eq!(agreed(&mut world), BTreeMap::from([("kiwi".to_owned(), line)]));
            assert_eq!(world.at_lines(), 2 * EDGES - (SERVERS - 1), "taken by {name}");
        }
    }
}

#[test]
fn news_is_never_told_to_whom_it_came_from() {
    let mut world = calm("Alford Bolden; Bolden Clark; Clark", "");
    world.forget_lines();
    let line = format!("{}\n", report(&mut world, "Alford", "kiwi", "1479413884"));
    assert_eq!(world.lines("Alford", "Bolden"), [line.as_str()]);
    assert_eq!(world.lines("Bolden", "Clark"), [line.as_str()]);
    assert_eq!(world.lines("Bolden", "Alford"), [""; 0]);
    assert_eq!(world.lines("Clark", "Bolden"), [""; 0]);
}

#[test]
fn equal_stamps_taken_by_two_members_at_once_settle_on_one_line_everywhere() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(FIVE, ""));
        let talks = ["Hamilton", "Welsh", "Alford"].map(|name| world.client(name));
        for (talk, place) in talks.into_iter().zip(["+3+3", "+2+2", "+1+1"]) {
            world.send(talk, format!("IAMAT kiwi {place} 1479413884\n"));
        }
        world.settle();
        let line = agreed(&mut world).remove("kiwi").expect("it was reported");
        // Of equal stamps the line that sorts last.
        assert!(line.starts_with("AT Welsh ") && line.ends_with(" kiwi +2+2 1479413884"), "{line}");
    }
}

#[test]
fn an_older_line_is_dropped_and_goes_no_further() {
    let mut world = calm("Alford; Bolden Alford Clark; Clark", "");
    report(&mut world, "Bolden", "kiwi", "1479413884");
    let known = agreed(&mut world);
    world.crash("Alford");
    let alford = linked_as(&mut world, "Bolden", "Alford");
    world.forget_lines();
    assert_eq!(world.say(alford, "AT Alford +0.000000001 kiwi +2+2 1479413883"), "");
    assert_eq!(world.lines("Bolden", "Clark"), [""; 0]);
    assert_eq!(world.knows("Bolden"), known);
}

// A neighbour that is slow.

/// Kernels and limits so small that a hundred lines fill them.
fn narrow() -> (MemoryOptions, &'static str) {
    let options = MemoryOptions {
        send_window_bytes: 4_096,
        receive_window_bytes: 4_096,
        ..MemoryOptions::calm(1)
    };
    (options, "line_bytes = 1_024\nclient_id_bytes = 64\nflood_buffer_bytes = 4_096")
}

#[test]
fn to_a_slow_neighbour_news_waits_as_bits_and_then_only_the_latest_line_is_sent() {
    const CLIENTS: usize = 200;
    const MOVES: usize = 50;
    let (options, limits) = narrow();
    let mut world = World::herd(options, &topology(PAIR, limits));
    world.cut("Alford", "Bolden");
    world.forget_lines();
    let talk = world.client("Alford");
    let mut longest = 0;
    for step in 0..MOVES {
        for client in 0..CLIENTS {
            world.send(talk, format!("IAMAT c{client:03} +1+1 14794{step:02}000\n"));
        }
        world.settle();
        longest = longest.max(world.hear(talk).lines().map(str::len).max().unwrap_or(0));
        let pending = world.pending("Alford", "Bolden");
        assert!(pending <= 4_096 + longest, "{pending} bytes");
    }
    let owed = world.member("Alford").herd.owed.owed(0);
    assert!((CLIENTS / 2..=CLIENTS).contains(&owed), "{owed} are owed");
    world.heal("Alford", "Bolden");
    world.settle();
    let known = agreed(&mut world);
    assert_eq!(known.len(), CLIENTS);
    // What the kernels and the send buffer held was old. After that, one line for each client.
    let sent = world.lines("Alford", "Bolden");
    let (held, latest) = sent.split_at(sent.len() - owed);
    assert!(held.concat().len() <= 3 * 4_096 + longest, "{} lines were held", held.len());
    let latest: BTreeSet<&str> = latest.iter().map(|line| line.trim_end()).collect();
    assert_eq!(latest.len(), owed);
    assert!(known.values().filter(|line| latest.contains(line.as_str())).count() == owed);
}

#[test]
fn a_slow_neighbour_holds_up_nobody_else() {
    let (options, limits) = narrow();
    let mut world = World::herd(options, &topology("Alford Bolden Clark; Bolden; Clark", limits));
    world.cut("Alford", "Bolden");
    let talk = world.client("Alford");
    for client in 0..1_000 {
        world.send(talk, format!("IAMAT c{client:03} +1+1 1479413884\n"));
    }
    world.settle();
    assert_eq!(world.knows("Clark").len(), 1_000);
    assert!(world.knows("Bolden").is_empty());
}

#[test]
fn what_a_slow_neighbour_tells_is_not_told_back_to_it() {
    const CLIENTS: usize = 400;
    let (options, limits) = narrow();
    let mut world = World::herd(options, &topology("Alford; Bolden Alford", limits));
    world.crash("Alford");
    let alford = linked_as(&mut world, "Bolden", "Alford");
    world.listen_to(alford, false);
    let talk = world.client("Bolden");
    for client in 0..CLIENTS {
        world.send(talk, format!("IAMAT c{client:03} +1+1 1479413884\n"));
    }
    world.settle();
    let last = format!("c{:03}", CLIENTS - 1);
    let line = format!("AT Alford +0.000000001 {last} +2+2 1479413885");
    world.send(alford, format!("{line}\n"));
    world.settle();
    assert_eq!(world.knows("Bolden")[&last], line);
    world.listen_to(alford, true);
    world.settle();
    let heard = world.hear(alford);
    assert_eq!(heard.lines().count(), CLIENTS - 1);
    assert!(!heard.contains(&last), "{last} was told back");
}

// Signs of life.

#[test]
fn pings_keep_a_link_on_which_nothing_else_is_said() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(PAIR, ""));
        world.run_for(3_600 * SECOND);
        assert_eq!(world.linked("Alford"), set(&["Bolden"]));
        assert_eq!(world.streams("Alford", "Bolden").len(), 1);
        for (from, to) in [("Alford", "Bolden"), ("Bolden", "Alford")] {
            let pings = world.lines(from, to).iter().filter(|line| *line == "PING\n").count();
            assert!((719..=720).contains(&pings), "{pings}");
        }
    }
}

#[test]
fn any_line_is_a_sign_of_life_and_silence_ends_a_link_after_silence_ms_exactly() {
    let mut world = calm("Alford; Bolden Alford", "silence_ms = 15_000");
    world.crash("Alford");
    let alford = linked_as(&mut world, "Bolden", "Alford");
    for sign in ["PING\n", "AT Alford +0.000000001 kiwi +1+1 1\n", "?\n", "\n", "nonsense\n"] {
        world.run_for(14 * SECOND);
        world.send(alford, sign);
        // Half a line is none.
        world.run_for(14 * SECOND);
        assert_eq!(world.linked("Bolden"), set(&["Alford"]), "{sign:?} is a sign of life");
        world.send(alford, "PI");
        world.run_for(SECOND - NANO);
        assert_eq!(world.linked("Bolden"), set(&["Alford"]));
        world.send(alford, "NG\n");
    }
    world.run_for(15 * SECOND - NANO);
    assert_eq!(world.linked("Bolden"), set(&["Alford"]));
    world.run_for(NANO);
    assert_eq!(world.linked("Bolden"), set(&[]));
}

#[test]
fn a_neighbour_that_vanished_without_a_word_is_found_out_by_both_who_dials_and_who_is_dialled() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology("Alford; Bolden Alford Clark; Clark", ""));
        world.crash("Alford");
        world.crash("Clark");
        world.run_for(9 * SECOND);
        assert_eq!(world.linked("Bolden"), set(&["Alford", "Clark"]));
        world.run_for(6 * SECOND + MS);
        assert_eq!(world.linked("Bolden"), set(&[]));
        world.start("Alford");
        world.start("Clark");
        world.run_for(40 * SECOND);
        assert_eq!(world.linked("Bolden"), set(&["Alford", "Clark"]));
    }
}

#[test]
fn who_cannot_be_reached_is_dialled_again_after_growing_delays_up_to_retry_max() {
    let limits = "retry_first_ms = 200\nretry_max_ms = 5_000\nretry_jitter_percent = 20";
    let mut world = World::new(MemoryOptions::calm(1), &topology(PAIR, limits));
    world.start("Alford");
    world.run_for(60 * SECOND);
    let dials = world.dials("Alford", "Bolden");
    let waits: Vec<u128> = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    let delays = [200, 400, 800, 1_600, 3_200].into_iter().chain(std::iter::repeat(5_000));
    assert!(waits.len() >= 14, "{waits:?}");
    for (wait, delay) in waits.iter().zip(delays) {
        assert!((delay * 4 / 5..=delay).contains(wait), "{waits:?}");
    }
    // By chance, so that a herd that was cut off together does not come back together.
    assert!(waits[5..].iter().collect::<BTreeSet<_>>().len() > 1, "{waits:?}");
    // When it is there at last, it is found within the longest delay.
    world.start("Bolden");
    world.run_for(5 * SECOND);
    assert_eq!(world.linked("Alford"), set(&["Bolden"]));
}

#[test]
fn who_accepts_and_stands_still_is_never_long_without_a_connection_to_find_when_it_goes_on() {
    let limits =
        "hello_ms = 5_000\nretry_first_ms = 200\nretry_max_ms = 5_000\nretry_jitter_percent = 20";
    let mut world = World::new(MemoryOptions::calm(1), &topology(PAIR, limits));
    world.play("Bolden");
    world.start("Alford");
    world.run_for(60 * SECOND);
    let dials = world.dials("Alford", "Bolden");
    let waits: Vec<u128> = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(waits.len() >= 10, "{waits:?}");
    assert!(waits.iter().all(|wait| (5_160..5_250).contains(wait)), "{waits:?}");
}

#[test]
fn only_a_link_that_stood_is_dialled_again_after_the_first_delay() {
    let limits = "retry_first_ms = 200\nretry_max_ms = 5_000\nretry_jitter_percent = 20";
    let mut world = World::new(MemoryOptions::calm(1), &topology(PAIR, limits));
    world.start("Alford");
    world.run_for(60 * SECOND);
    world.play("Bolden");
    world.run_for(5 * SECOND);
    // It accepts, and never says HELLO: as good as nobody.
    let mute = world.callers()[0];
    world.abort(mute);
    world.run_for(3_900 * MS);
    assert_eq!(world.callers().len(), 1);
    world.run_for(1_200 * MS);
    let bolden = world.callers()[1];
    // Nor is a link that is lost at once any proof that dialling again soon is of use.
    world.say(bolden, "HELLO Bolden places-herd 1");
    world.abort(bolden);
    world.run_for(3_900 * MS);
    assert_eq!(world.callers().len(), 2);
    world.run_for(1_200 * MS);
    let bolden = world.callers()[2];
    world.say(bolden, "HELLO Bolden places-herd 1");
    for _ in 0..4 {
        world.run_for(5 * SECOND);
        world.say(bolden, "PING");
    }
    world.abort(bolden);
    world.run_for(200 * MS);
    assert_eq!(world.callers().len(), 4);
}

#[test]
fn a_hello_of_a_linked_name_replaces_the_old_connection() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(PAIR, ""));
        let line = report(&mut world, "Bolden", "kiwi", "1479413884");
        // It is back before Bolden has noticed that it was gone.
        world.crash("Alford");
        world.start("Alford");
        world.settle();
        assert_eq!(world.linked("Bolden"), set(&["Alford"]));
        assert_eq!(agreed(&mut world), BTreeMap::from([("kiwi".to_owned(), line)]));
        assert_eq!(world.reactor("Bolden").parts().1.connections(), 1);
        // The end of the old one does not end the new one.
        world.run_for(60 * SECOND);
        assert_eq!(world.linked("Bolden"), set(&["Alford"]));
        let line = report(&mut world, "Bolden", "fig", "1479413884");
        assert_eq!(world.knows("Alford")["fig"], line);
    }
}

/// The process ends, or its machine loses power: then Bolden takes the old link for a good one.
#[test]
fn a_server_killed_ten_times_in_thirty_seconds_is_back_each_time_at_once_or_after_the_pause() {
    for (weather, vanishes) in
        weathers().flat_map(|weather| [(weather.clone(), false), (weather, true)])
    {
        let mut world = World::herd(weather, &topology(PAIR, ""));
        for kill in 1..=10 {
            let line = report(&mut world, "Bolden", &format!("kiwi-{kill}"), "1479413884");
            let start = world.now();
            // A process says that it ends, a machine does not.
            match vanishes {
                true => drop(world.crash("Alford")),
                false => drop(world.kill("Alford")),
            }
            world.start("Alford");
            while !world.knows("Alford").values().any(|known| *known == line) {
                world.run_for(10 * MS);
                assert!(world.now() - start < SECOND, "{kill}: it is not back");
            }
            let at_once =
                world.dials("Alford", "Bolden").iter().filter(|dial| **dial >= start).count() == 1;
            assert!(at_once || kill == 10, "{kill}: it was rejected");
            world.run_until(start + 3 * SECOND);
            assert_eq!(world.linked("Bolden"), set(&["Alford"]));
        }
    }
}

/// How often two that both say they are Alford have had the link to Bolden, when each of them dials again
/// `again` after it has lost it.
fn fight(world: &mut World, time: Duration, again: Duration) -> usize {
    let mut links = 0;
    let mut claims: Vec<TalkId> = Vec::new();
    let end = world.now() + time;
    while world.now() < end {
        claims.retain(|talk| world.ending(*talk).is_none());
        while claims.len() < 2 {
            let talk = world.stranger("Bolden");
            let answer = world.say(talk, "HELLO Alford places-herd 1");
            links += usize::from(answer.starts_with("HELLO Bolden places-herd 1\n"));
            claims.push(talk);
            world.run_for(MS);
        }
        world.run_for(again);
    }
    links
}

#[test]
fn two_that_claim_one_name_take_the_link_from_each_other_no_faster_than_retry_max() {
    let mut world = calm(PAIR, "");
    world.crash("Alford");
    world.run_for(20 * SECOND);
    let first = fight(&mut world, 60 * SECOND, 50 * MS);
    // The first finds no link. Five replace it at once, then after 0.2, 0.4, 0.8, 1.6, 3.2 and every 5 s.
    assert!((18..=21).contains(&first), "{first} in a minute");
    let later = fight(&mut world, 120 * SECOND, 50 * MS);
    assert!((22..=25).contains(&later), "once in five seconds: {later} in two minutes");
    assert_eq!(world.linked("Bolden"), set(&["Alford"]), "one of them has it");
    // It calms down: a minute later the next five replace it at once.
    world.run_for(5 * SECOND);
    let quiet = linked_as(&mut world, "Bolden", "Alford");
    for _ in 0..13 {
        world.run_for(5 * SECOND);
        world.say(quiet, "PING");
    }
    assert_eq!(fight(&mut world, 100 * MS, MS), 5);
}

#[test]
fn one_that_is_rejected_is_answered_and_the_link_that_stands_is_not_touched() {
    let mut world = calm(PAIR, "retry_first_ms = 1_000");
    world.crash("Alford");
    world.run_for(20 * SECOND);
    let links: Vec<TalkId> = (0..6).map(|_| linked_as(&mut world, "Bolden", "Alford")).collect();
    let linked = links[5];
    let rejected = world.stranger("Bolden");
    let hello = "HELLO Alford places-herd 1";
    assert_eq!(world.say(rejected, hello), format!("? {hello}\n"));
    assert!(world.ending(rejected).is_some() && world.ending(linked).is_none());
    let told = "AT Alford +0.5 kiwi +1+1 1479413884";
    assert_eq!(world.say(linked, told), "");
    assert!(world.knows("Bolden").contains_key("kiwi"));
    // A link that is lost is none to be replaced: the next is taken at once.
    world.abort(linked);
    world.settle();
    let next = world.stranger("Bolden");
    assert!(world.say(next, hello).starts_with("HELLO Bolden "));
}

// Strangers.

#[test]
fn whoever_says_a_wrong_hello_is_answered_and_turned_away() {
    let servers = "Alford; Bolden Alford Clark; Clark; Dunn; Eliot* Bolden";
    for (words, why) in [
        ("HELLO Alford other-herd 1", "another herd"),
        ("HELLO Alford places-herd 2", "another version"),
        ("HELLO Alford places-herd 99999999999", "no version"),
        ("HELLO Alford places-herd", "no version at all"),
        ("HELLO Alford places-herd 1 =blue", "an option without a key"),
        ("HELLO Alf/rd places-herd 1", "no name"),
        ("HELLO Nobody places-herd 1", "no server"),
        ("HELLO Dunn places-herd 1", "a server, and no neighbour"),
        ("HELLO Bolden places-herd 1", "ourselves"),
        ("HELLO Clark places-herd 1", "a neighbour that is ours to dial"),
        ("HELLO Eliot places-herd 1", "a plain neighbour, which says none"),
        ("hello Alford places-herd 1", "not in upper case"),
        ("PING", "too early"),
        ("IAMAT kiwi +1+1 1479413884", "for the other port"),
        ("WHATSAT kiwi 1 1", "for the other port"),
        ("GET / HTTP/1.1", "nonsense"),
        ("AT Alford +0.000000001 kiwi +1+1", "a malformed AT"),
    ] {
        let mut world = World::new(MemoryOptions::calm(1), &topology(servers, ""));
        world.start("Bolden");
        let stranger = world.stranger("Bolden");
        assert_eq!(world.say(stranger, words), format!("? {words}\n"), "{why}");
        assert_eq!(world.ending(stranger), Some(Ending::Fin), "{why}");
        assert_eq!(world.linked("Bolden"), set(&[]), "{why}");
        assert!(world.knows("Bolden").is_empty(), "{why}");
    }
}

#[test]
fn an_at_before_hello_is_refused_where_no_plain_neighbour_is_configured() {
    let mut world = World::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford", ""));
    world.start("Bolden");
    let stranger = world.stranger("Bolden");
    let at = "AT Alford +0.000000001 kiwi +1+1 1479413884";
    assert_eq!(world.say(stranger, at), format!("? {at}\n"));
    assert_eq!(world.ending(stranger), Some(Ending::Fin));
    assert!(world.knows("Bolden").is_empty());
}

#[test]
fn nothing_is_heard_of_a_stranger_after_its_wrong_word() {
    let mut world = World::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford", ""));
    world.start("Bolden");
    let stranger = world.stranger("Bolden");
    let words = "PING\nHELLO Alford places-herd 1\nAT Alford +0.000000001 kiwi +1+1 1";
    assert_eq!(world.say(stranger, words), "? PING\n");
    assert!(world.knows("Bolden").is_empty() && world.linked("Bolden").is_empty());
}

#[test]
fn who_says_no_hello_within_hello_ms_is_dropped_on_either_side() {
    let servers = "Alford; Bolden Alford Clark; Clark";
    let mut world = World::new(MemoryOptions::calm(1), &topology(servers, "hello_ms = 5_000"));
    world.play("Clark");
    world.start("Bolden");
    world.run_for(Duration::ZERO);
    let clark = world.callers()[0];
    assert_eq!(world.hear(clark), "HELLO Bolden places-herd 1\n");
    world.run_for(5 * SECOND - NANO);
    assert_eq!(world.ending(clark), None);
    world.run_for(NANO);
    assert!(world.ending(clark).is_some());

    let stranger = world.stranger("Bolden");
    // Neither a blank line nor a complaint is a HELLO.
    world.send(stranger, "\n? what\nHELLO Alf");
    world.run_for(5 * SECOND);
    assert!(world.ending(stranger).is_some());
    assert_eq!(world.hear(stranger), "");
}

#[test]
fn who_answers_the_dial_must_be_the_neighbour_that_was_dialled() {
    let servers = "Alford Bolden Clark; Bolden; Clark";
    let mut world = World::new(MemoryOptions::calm(1), &topology(servers, ""));
    world.play("Bolden");
    world.start("Alford");
    world.settle();
    let caller = world.callers()[0];
    assert_eq!(world.hear(caller), "HELLO Alford places-herd 1\n");
    let words = "HELLO Clark places-herd 1";
    assert_eq!(world.say(caller, words), format!("? {words}\n"));
    assert_eq!(world.ending(caller), Some(Ending::Fin));
    assert!(world.linked("Alford").is_empty());
    // It is dialled again, and may do better.
    world.run_for(SECOND);
    let again = world.callers()[1];
    world.say(again, "HELLO Bolden places-herd 1");
    assert_eq!(world.linked("Alford"), set(&["Bolden"]));
}

// What linked neighbours say.

#[test]
fn after_hello_what_is_malformed_is_answered_and_the_link_stays() {
    let mut world = calm("Alford; Bolden Alford", "");
    world.crash("Alford");
    let alford = linked_as(&mut world, "Bolden", "Alford");
    for words in [
        "AT",
        "AT Alford +0.000000001 kiwi +1+1",
        "AT Alford +0.000000001 kiwi +1+1 1479413884 more",
        "AT Alford soon kiwi +1+1 1479413884",
        "AT Alford +0.000000001 kiwi 1+1 1479413884",
        "AT Alford +0.000000001 kiwi +1+1 later",
        "HELLO Alford places-herd 1",
        "IAMAT kiwi +1+1 1479413884",
        "WHATSAT kiwi 1 1",
        "PING PING",
        "nonsense",
    ] {
        assert_eq!(world.say(alford, words), format!("? {words}\n"));
    }
    assert!(world.knows("Bolden").is_empty());
    world.say(alford, "AT Alford +0.000000001 kiwi +1+1 1479413884");
    assert_eq!(world.knows("Bolden").len(), 1);
    assert_eq!(world.ending(alford), None);
}

#[test]
fn a_line_that_begins_with_a_question_mark_is_never_answered() {
    let mut world = calm("Alford; Bolden Alford", "");
    world.crash("Alford");
    let alford = linked_as(&mut world, "Bolden", "Alford");
    for complaint in ["?", "? PING", "?? what", "?AT", "? ? ? ?"] {
        assert_eq!(world.say(alford, complaint), "");
        // A stranger has nothing to complain of.
        let stranger = world.stranger("Bolden");
        assert_eq!(world.say(stranger, complaint), "");
        assert_eq!(world.ending(stranger), Some(Ending::Fin));
    }
    assert_eq!(world.ending(alford), None);
}

#[test]
fn a_line_too_long_ends_the_link_after_its_refusal() {
    let mut world = calm("Alford; Bolden Alford", "");
    world.crash("Alford");
    let alford = linked_as(&mut world, "Bolden", "Alford");
    let heard = world.say(alford, &"x".repeat(20_000));
    assert_eq!(heard, format!("? {}\n", "x".repeat(1_024)));
    assert_eq!(world.ending(alford), Some(Ending::Fin));
    world.run_for(2 * SECOND);
    assert!(world.linked("Bolden").is_empty());
}

// A plain neighbour.

const WITH_PLAIN: &str = "Alford Bolden Clark; Bolden; Clark*";

/// Alford and Bolden, and the plain Clark, whom the test plays and Alford has dialled.
fn with_plain() -> (World, TalkId) {
    let mut world = World::new(MemoryOptions::calm(1), &topology(WITH_PLAIN, ""));
    world.play("Clark");
    world.start("Alford");
    world.start("Bolden");
    world.run_for(SECOND);
    let clark = world.callers()[0];
    (world, clark)
}

#[test]
fn a_plain_neighbour_is_told_at_lines_with_cr_lf_and_nothing_else() {
    let (mut world, clark) = with_plain();
    let first = report(&mut world, "Alford", "kiwi", "1479413884");
    let second = report(&mut world, "Bolden", "fig", "1479413884");
    world.run_for(60 * SECOND);
    assert_eq!(world.hear(clark), format!("{first}\r\n{second}\r\n"));
    assert_eq!(world.linked("Alford"), set(&["Bolden", "Clark"]));
}

#[test]
fn a_plain_neighbour_is_told_everything_on_every_connection() {
    let (mut world, clark) = with_plain();
    let line = report(&mut world, "Alford", "kiwi", "1479413884");
    world.abort(clark);
    world.run_for(SECOND);
    let again = world.callers()[1];
    assert_eq!(world.hear(again), format!("{line}\r\n"));
}

#[test]
fn an_anonymous_connection_may_say_at_where_a_plain_neighbour_is_configured() {
    let (mut world, clark) = with_plain();
    let anonymous = world.stranger("Alford");
    let line = "AT Clark +0.5 kiwi +1+1 1479413884";
    world.send(anonymous, format!("{line}\r\n"));
    world.settle();
    assert_eq!(world.knows("Alford")["kiwi"], line);
    assert_eq!(world.hear(anonymous), "");
    // Nobody knows which plain neighbour it was; so it is told, too.
    assert_eq!(world.hear(clark), format!("{line}\r\n"));
    // It may say AT and nothing else, and what is malformed is answered.
    for words in ["HELLO Bolden places-herd 1", "PING", "AT Clark +0.5 kiwi +1+1"] {
        assert_eq!(world.say(anonymous, words), format!("? {words}\n"));
    }
    assert_eq!(world.ending(anonymous), None);
}

#[test]
fn an_exponent_difference_is_relayed_verbatim_through_the_whole_herd() {
    let (mut world, clark) = with_plain();
    let anonymous = world.stranger("Alford");
    for (n, difference) in ["9.5e-05", "-1.25E+2", "+0.263873", "0.5", "7"].iter().enumerate() {
        let line = format!("AT Clark {difference} c{n} +1+1 1479413884");
        world.send(anonymous, format!("{line}\r\n"));
        world.settle();
        assert_eq!(world.knows("Alford")[&format!("c{n}")], line);
    }
    assert_eq!(agreed(&mut world).len(), 5);
    // On a link that is made later, too.
    world.crash("Bolden");
    world.start("Bolden");
    world.run_for(30 * SECOND);
    assert_eq!(agreed(&mut world).len(), 5);
    assert_eq!(world.hear(clark).lines().count(), 5);
    assert!(!world.lines("Bolden", "Alford").iter().any(|line| line.starts_with('?')));
}

#[test]
fn a_plain_neighbours_at_counts_only_if_its_time_is_strictly_newer() {
    let (mut world, clark) = with_plain();
    let line = report(&mut world, "Alford", "kiwi", "1479413884");
    world.hear(clark);
    let anonymous = world.stranger("Alford");
    // It passes the line on as its own; it sorts after ours, and still is nothing new.
    for talk in [anonymous, clark] {
        world.say(talk, "AT Zebra +9.5 kiwi +1+1 1479413884\r");
        world.say(talk, "AT Zebra +9.5 kiwi +9+9 1479413884.0\r");
        assert_eq!(agreed(&mut world)["kiwi"], line);
    }
    let newer = ["AT Clark +9.5 kiwi +1+1 1479413884.1", "AT Clark +9.5 kiwi +1+1 1479413884.2"];
    world.say(anonymous, newer[0]);
    assert_eq!(agreed(&mut world)["kiwi"], newer[0]);
    assert_eq!(world.hear(clark), format!("{}\r\n", newer[0]));
    // What it tells on the connection that we dialled is not told back.
    assert_eq!(world.say(clark, newer[1]), "");
    assert_eq!(agreed(&mut world)["kiwi"], newer[1]);
}

#[test]
fn a_silent_plain_neighbour_keeps_its_connections() {
    let (mut world, clark) = with_plain();
    let anonymous = world.stranger("Alford");
    world.say(anonymous, "AT Clark +0.5 kiwi +1+1 1479413884");
    world.run_for(3_600 * SECOND);
    assert_eq!((world.ending(clark), world.ending(anonymous)), (None, None));
}

#[test]
fn a_plain_neighbour_without_news_may_stay_and_nobody_besides() {
    let (mut world, _) = with_plain();
    let clark = world.stranger("Alford");
    let idler = world.stranger("Alford");
    world.run_for(3_600 * SECOND);
    assert_eq!(world.ending(clark), None, "there is one plain neighbour, and this may be it");
    assert!(world.ending(idler).is_some(), "this one it is not");
    world.say(clark, "AT Clark +0.5 kiwi +1+1 1479413884");
    assert_eq!(agreed(&mut world)["kiwi"], "AT Clark +0.5 kiwi +1+1 1479413884");
    // Its place is free when it has gone.
    world.end(clark);
    let again = world.stranger("Alford");
    world.run_for(3_600 * SECOND);
    assert_eq!(world.ending(again), None);
    // A member that is slow is heard there, too.
    let slow = "HELLO Bolden places-herd 1";
    assert!(world.say(again, slow).starts_with("? HELLO Bolden"), "Alford sorts first, and dials");
}

// Partitions and restarts.

#[test]
fn after_a_partition_is_healed_all_know_the_newest_of_every_client() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(FIVE, ""));
        report(&mut world, "Alford", "old", "1479413800");
        // Alford, Welsh | Bolden, Parker, Hamilton
        for (one, other) in [("Alford", "Parker"), ("Bolden", "Welsh")] {
            world.cut(one, other);
        }
        let mut newest = BTreeMap::new();
        for (name, client, stamp) in [
            ("Alford", "left", "1479413884"),
            ("Hamilton", "right", "1479413884"),
            ("Welsh", "both", "1479413885"),
            ("Parker", "both", "1479413884"),
            ("Bolden", "old", "1479413886"),
            ("Alford", "old", "1479413887"),
        ] {
            let line = report(&mut world, name, client, stamp);
            if (name, client) != ("Parker", "both") {
                newest.insert(client.to_owned(), line);
            }
        }
        assert!(!world.knows("Hamilton").contains_key("left"));
        assert!(!world.knows("Alford").contains_key("right"));
        // Long enough for both sides to have given the links up.
        world.run_for(20 * SECOND);
        assert_eq!(world.linked("Alford"), set(&["Welsh"]));
        assert_eq!(world.linked("Parker"), set(&["Bolden", "Hamilton"]));
        world.heal("Alford", "Parker");
        world.heal("Bolden", "Welsh");
        world.run_for(40 * SECOND);
        assert_eq!(world.linked("Alford"), set(&["Parker", "Welsh"]));
        assert_eq!(agreed(&mut world), newest);
    }
}

#[test]
fn a_partition_shorter_than_the_silence_costs_no_link() {
    for weather in weathers() {
        let mut world = World::herd(weather, &topology(FIVE, ""));
        world.cut("Alford", "Parker");
        world.cut("Bolden", "Welsh");
        report(&mut world, "Alford", "left", "1479413884");
        report(&mut world, "Hamilton", "right", "1479413884");
        world.run_for(9 * SECOND);
        world.heal("Alford", "Parker");
        world.heal("Bolden", "Welsh");
        world.settle();
        assert_eq!(agreed(&mut world).len(), 2);
        assert_eq!(world.streams("Alford", "Parker").len(), 1);
    }
}

#[test]
fn a_member_restarted_empty_gets_everything_back_its_own_clients_included() {
    for weather in weathers() {
        for name in ["Alford", "Parker", "Welsh"] {
            let mut world = World::herd(weather.clone(), &topology(FIVE, ""));
            for (n, taker) in world.names().iter().enumerate() {
                report(&mut world, taker, &format!("c{n}"), "1479413884");
            }
            let before = agreed(&mut world);
            assert_eq!(before.len(), 5);
            world.crash(name);
            world.run_for(10 * SECOND);
            world.start(name);
            assert!(world.knows(name).is_empty());
            // Those who dial it have first to find out that it was gone.
            world.run_for(30 * SECOND);
            assert_eq!(agreed(&mut world), before);
        }
    }
}

#[test]
fn thousands_of_clients_are_exchanged_on_meeting_within_the_limit_of_what_may_wait() {
    const CLIENTS: usize = 5_000;
    let (options, limits) = narrow();
    let mut world = World::new(options, &topology(PAIR, limits));
    for name in ["Alford", "Bolden"] {
        world.start(name);
        // Each alone, as yet: nobody has been told.
        world.cut("Alford", "Bolden");
        let talk = world.client(name);
        for client in 0..CLIENTS {
            world.send(talk, format!("IAMAT {name}{client} +1+1 1479413884\n"));
        }
        world.settle();
    }
    world.heal("Alford", "Bolden");
    let mut most = 0;
    for _ in 0..100 {
        world.run_for(100 * MS);
        for (from, to) in [("Alford", "Bolden"), ("Bolden", "Alford")] {
            most = most.max(world.pending(from, to));
        }
    }
    assert!(most <= 4_096 + 200, "{most} bytes");
    assert_eq!(agreed(&mut world).len(), 2 * CLIENTS);
    assert_eq!(world.member("Alford").herd.owed.owed(0), 0);
}

/// Otherwise two neighbours that both stop reading would wait for each other.
#[test]
fn a_neighbour_is_read_however_much_waits_to_be_sent_to_it() {
    let mut world = calm(PAIR, "");
    for name in ["Alford", "Bolden"] {
        let (member, core) = world.reactor(name).parts();
        let link = member.links.iter().find_map(|(_, link)| link.conn).expect("they are linked");
        // Blank lines, which mean nothing.
        core.write(link, &vec![b'\n'; 1 << 20]);
        assert!(core.transport(link).is_some_and(|transport| transport.is_delivering()), "{name}");
    }
}

// The apparatus.

#[test]
fn the_same_seed_plays_the_same_again() {
    let play = |seed| {
        let mut world = World::herd(MemoryOptions::rough(seed), &topology(FIVE, ""));
        for (n, name) in world.names().iter().enumerate() {
            report(&mut world, name, &format!("c{n}"), "1479413884");
        }
        world.crash("Parker");
        world.run_for(20 * SECOND);
        world.start("Parker");
        world.run_for(20 * SECOND);
        world.transcript()
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}
