//! The promises to neighbours: whole herds of real servers in one process, some of which the test plays.

use crate::support::cluster::{
    Cluster, Ending, FIVE, MS, NANO, SECOND, TalkId, topology, weathers,
};
use crate::support::logged::Logged;
use herd_reactor::testing::MemoryOptions;
use log::Level;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PAIR: &str = "Alford Bolden; Bolden";

fn calm(servers: &str, limits: &str) -> Cluster {
    Cluster::herd(MemoryOptions::calm(1), &topology(servers, limits))
}

/// Reports `client` at `name`; returns the AT line of the reply, without its end.
fn report(cluster: &mut Cluster, name: &str, client: &str, stamp: &str) -> String {
    report_at(cluster, name, client, "+1+1", stamp)
}

fn report_at(cluster: &mut Cluster, name: &str, client: &str, place: &str, stamp: &str) -> String {
    let talk = cluster.client(name);
    let answer = cluster.say(talk, &format!("IAMAT {client} {place} {stamp}"));
    cluster.end(talk);
    cluster.settle();
    assert!(answer.starts_with("AT ") && answer.ends_with('\n'), "{answer}");
    answer.trim_end().to_owned()
}

/// The table of all servers, which must be equal.
fn agreed(cluster: &mut Cluster) -> BTreeMap<String, String> {
    let names = cluster.names();
    let known = cluster.knows(&names[0]);
    for name in &names[1..] {
        assert_eq!(cluster.knows(name), known, "{name} knows other than {}", names[0]);
    }
    known
}

/// A connection to the peer port of `name` that says HELLO as `as_name` and is linked.
fn linked_as(cluster: &mut Cluster, name: &str, as_name: &str) -> TalkId {
    let talk = cluster.stranger(name);
    let heard = cluster.say(talk, &format!("HELLO {as_name} places-herd 1"));
    assert!(heard.starts_with(&format!("HELLO {name} places-herd 1 speaks=1-1\n")), "{heard:?}");
    talk
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

// Meeting.

#[test]
fn the_name_that_sorts_first_dials_and_says_hello_and_sync_and_the_other_says_hello() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(FIVE, ""));
        for (first, second) in [
            ("Alford", "Parker"),
            ("Alford", "Welsh"),
            ("Bolden", "Parker"),
            ("Bolden", "Welsh"),
            ("Hamilton", "Parker"),
        ] {
            let streams = cluster.streams(first, second);
            assert_eq!(streams.len(), 1, "{first} and {second}");
            // The first end is the server that dialled; the other end is a peer port.
            assert_eq!(streams[0].1.port(), 12_100, "{first} and {second}");
            let hello = |name| format!("HELLO {name} places-herd 1 speaks=1-1 bye=1\n");
            assert_eq!(cluster.lines(first, second), [hello(first), format!("SYNC {:016x}\n", 0)]);
            assert_eq!(cluster.lines(second, first), [hello(second)]);
        }
        assert_eq!(cluster.linked("Parker"), set(&["Alford", "Bolden", "Hamilton"]));
        assert_eq!(cluster.linked("Welsh"), set(&["Alford", "Bolden"]));
    }
}

#[test]
fn the_answer_to_a_hello_waits_for_it() {
    let mut cluster = calm("Alford; Parker Alford", "");
    cluster.crash("Alford");
    let alford = cluster.stranger("Parker");
    cluster.run_for(SECOND);
    assert_eq!(cluster.hear(alford), "");
    assert_eq!(
        cluster.say(alford, "HELLO Alford places-herd 1"),
        "HELLO Parker places-herd 1 speaks=1-1\n"
    );
}

#[test]
fn unknown_options_in_hello_are_ignored() {
    let mut cluster = calm("Alford; Parker Alford", "");
    cluster.crash("Alford");
    let alford = cluster.stranger("Parker");
    let hello = "HELLO Alford places-herd 1 colour=blue since=";
    assert_eq!(cluster.say(alford, hello), "HELLO Parker places-herd 1 speaks=1-1\n");
}

#[test]
fn on_every_link_made_each_side_sends_what_the_other_lacks() {
    for weather in weathers() {
        let mut cluster = Cluster::new(weather, &topology(PAIR, ""));
        for (name, clients) in [("Alford", ["fig", "kiwi"]), ("Bolden", ["kiwi", "plum"])] {
            cluster.start(name);
            for client in clients {
                report(&mut cluster, name, client, "1479413884");
            }
        }
        cluster.run_for(10 * SECOND);
        let ats = |lines: Vec<String>| lines.into_iter().filter(|l| l.starts_with("AT ")).count();
        assert_eq!(ats(cluster.lines("Alford", "Bolden")), 2);
        assert_eq!(ats(cluster.lines("Bolden", "Alford")), 2);
        assert_eq!(agreed(&mut cluster).len(), 3);
    }
}

// The flood.

#[test]
fn each_update_reaches_all_five_with_exactly_2e_minus_n_minus_1_lines() {
    const EDGES: usize = 5;
    const SERVERS: usize = 5;
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(FIVE, ""));
        for (update, name) in cluster.names().into_iter().cycle().take(20).enumerate() {
            cluster.forget_lines();
            let line = report(&mut cluster, &name, "kiwi", &format!("1479413884.{update:03}"));
            assert_eq!(agreed(&mut cluster), BTreeMap::from([("kiwi".to_owned(), line)]));
            assert_eq!(cluster.at_lines(), 2 * EDGES - (SERVERS - 1), "taken by {name}");
        }
    }
}

#[test]
fn news_is_never_sent_back_to_its_sender() {
    let mut cluster = calm("Alford Bolden; Bolden Clark; Clark", "");
    cluster.forget_lines();
    let line = format!("{}\n", report(&mut cluster, "Alford", "kiwi", "1479413884"));
    assert_eq!(cluster.lines("Alford", "Bolden"), [line.as_str()]);
    assert_eq!(cluster.lines("Bolden", "Clark"), [line.as_str()]);
    assert_eq!(cluster.lines("Bolden", "Alford"), [""; 0]);
    assert_eq!(cluster.lines("Clark", "Bolden"), [""; 0]);
}

#[test]
fn equal_stamps_taken_by_two_members_at_once_settle_on_one_line_everywhere() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(FIVE, ""));
        let talks = ["Hamilton", "Welsh", "Alford"].map(|name| cluster.client(name));
        for (talk, place) in talks.into_iter().zip(["+3+3", "+2+2", "+1+1"]) {
            cluster.send(talk, format!("IAMAT kiwi {place} 1479413884\n"));
        }
        cluster.settle();
        let line = agreed(&mut cluster).remove("kiwi").expect("it was reported");
        // Among lines with equal stamps, the line that sorts last counts.
        assert!(line.starts_with("AT Welsh ") && line.ends_with(" kiwi +2+2 1479413884"), "{line}");
    }
}

#[test]
fn an_older_line_is_dropped_and_goes_no_further() {
    let mut cluster = calm("Alford; Bolden Alford Clark; Clark", "");
    report(&mut cluster, "Bolden", "kiwi", "1479413884");
    let known = agreed(&mut cluster);
    cluster.crash("Alford");
    let alford = linked_as(&mut cluster, "Bolden", "Alford");
    cluster.forget_lines();
    assert_eq!(cluster.say(alford, "AT Alford +0.000000001 kiwi +2+2 1479413883"), "");
    assert_eq!(cluster.lines("Bolden", "Clark"), [""; 0]);
    assert_eq!(cluster.knows("Bolden"), known);
}

// A neighbour that is slow.

/// Kernel buffers and limits so small that a hundred lines fill them.
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
    let mut cluster = Cluster::herd(options, &topology(PAIR, limits));
    cluster.cut("Alford", "Bolden");
    cluster.forget_lines();
    let talk = cluster.client("Alford");
    let mut longest = 0;
    for step in 0..MOVES {
        for client in 0..CLIENTS {
            cluster.send(talk, format!("IAMAT c{client:03} +1+1 14794{step:02}000\n"));
        }
        cluster.settle();
        longest = longest.max(cluster.hear(talk).lines().map(str::len).max().unwrap_or(0));
        let pending = cluster.pending("Alford", "Bolden");
        assert!(pending <= 4_096 + longest, "{pending} bytes");
    }
    let backlog = cluster.backlog("Alford", "Bolden");
    assert!((CLIENTS / 2..=CLIENTS).contains(&backlog), "{backlog} are in the backlog");
    cluster.heal("Alford", "Bolden");
    cluster.settle();
    let known = agreed(&mut cluster);
    assert_eq!(known.len(), CLIENTS);
    // The kernels' buffers and the send buffer held old lines. After them comes one line for each client.
    let sent = cluster.lines("Alford", "Bolden");
    let (held, latest) = sent.split_at(sent.len() - backlog);
    assert!(held.concat().len() <= 3 * 4_096 + longest, "{} lines were held", held.len());
    let latest: BTreeSet<&str> = latest.iter().map(|line| line.trim_end()).collect();
    assert_eq!(latest.len(), backlog);
    assert!(known.values().filter(|line| latest.contains(line.as_str())).count() == backlog);
}

#[test]
fn a_slow_neighbour_does_not_hold_up_others() {
    let (options, limits) = narrow();
    let mut cluster =
        Cluster::herd(options, &topology("Alford Bolden Clark; Bolden; Clark", limits));
    cluster.cut("Alford", "Bolden");
    let talk = cluster.client("Alford");
    for client in 0..1_000 {
        cluster.send(talk, format!("IAMAT c{client:03} +1+1 1479413884\n"));
    }
    cluster.settle();
    assert_eq!(cluster.knows("Clark").len(), 1_000);
    assert!(cluster.knows("Bolden").is_empty());
}

#[test]
fn news_from_a_slow_neighbour_is_not_sent_back_to_it() {
    const CLIENTS: usize = 400;
    let (options, limits) = narrow();
    let mut cluster = Cluster::herd(options, &topology("Alford; Bolden Alford", limits));
    cluster.crash("Alford");
    let alford = linked_as(&mut cluster, "Bolden", "Alford");
    cluster.listen_to(alford, false);
    let talk = cluster.client("Bolden");
    for client in 0..CLIENTS {
        cluster.send(talk, format!("IAMAT c{client:03} +1+1 1479413884\n"));
    }
    cluster.settle();
    let last = format!("c{:03}", CLIENTS - 1);
    let line = format!("AT Alford +0.000000001 {last} +2+2 1479413885");
    cluster.send(alford, format!("{line}\n"));
    cluster.settle();
    assert_eq!(cluster.knows("Bolden")[&last], line);
    cluster.listen_to(alford, true);
    cluster.settle();
    let heard = cluster.hear(alford);
    assert_eq!(heard.lines().count(), CLIENTS - 1);
    assert!(!heard.contains(&last), "{last} was sent back");
}

// Signs of life.

#[test]
fn pings_keep_a_link_on_which_nothing_else_is_said_and_are_logged_at_debug() {
    for weather in weathers() {
        let logged = Logged::here();
        let mut cluster = Cluster::herd(weather, &topology(PAIR, ""));
        cluster.run_for(3_600 * SECOND);
        assert_eq!(cluster.linked("Alford"), set(&["Bolden"]));
        assert_eq!(cluster.streams("Alford", "Bolden").len(), 1);
        for (from, to) in [("Alford", "Bolden"), ("Bolden", "Alford")] {
            let pings = cluster.lines(from, to).iter().filter(|line| *line == "PING\n").count();
            assert!((719..=720).contains(&pings), "{pings}");
        }
        let text = logged.text();
        for line in ["Alford > PING\n", "Alford < PING\n", "Bolden > PING\n", "Bolden < PING\n"] {
            assert!((719..=720).contains(&text.matches(line).count()), "{line}");
        }
        assert!(!logged.above(Level::Debug).iter().any(|line| line.contains("PING")));
    }
}

#[test]
fn any_line_is_a_sign_of_life_and_silence_ends_a_link_after_silence_ms_exactly() {
    let mut cluster = calm("Alford; Bolden Alford", "silence_ms = 15_000");
    cluster.crash("Alford");
    let alford = linked_as(&mut cluster, "Bolden", "Alford");
    for sign in ["PING\n", "AT Alford +0.000000001 kiwi +1+1 1\n", "?\n", "\n", "nonsense\n"] {
        cluster.run_for(14 * SECOND);
        cluster.send(alford, sign);
        // Half a line is not a sign of life.
        cluster.run_for(14 * SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Alford"]), "{sign:?} is a sign of life");
        cluster.send(alford, "PI");
        cluster.run_for(SECOND - NANO);
        assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
        cluster.send(alford, "NG\n");
    }
    cluster.run_for(15 * SECOND - NANO);
    assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
    cluster.run_for(NANO);
    assert_eq!(cluster.linked("Bolden"), set(&[]));
}

#[test]
fn a_neighbour_that_vanished_silently_is_detected_by_the_dialling_and_the_dialled_side() {
    for weather in weathers() {
        let mut cluster =
            Cluster::herd(weather, &topology("Alford; Bolden Alford Clark; Clark", ""));
        cluster.crash("Alford");
        cluster.crash("Clark");
        cluster.run_for(9 * SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Alford", "Clark"]));
        cluster.run_for(6 * SECOND + MS);
        assert_eq!(cluster.linked("Bolden"), set(&[]));
        cluster.start("Alford");
        cluster.start("Clark");
        cluster.run_for(40 * SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Alford", "Clark"]));
    }
}

#[test]
fn an_unreachable_neighbour_is_dialled_again_after_growing_delays_up_to_retry_max() {
    let limits = "retry_first_ms = 200\nretry_max_ms = 5_000\nretry_jitter_percent = 20";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(PAIR, limits));
    cluster.start("Alford");
    cluster.run_for(60 * SECOND);
    let dials = cluster.dials("Alford", "Bolden");
    let waits: Vec<u128> = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    let delays = [200, 400, 800, 1_600, 3_200].into_iter().chain(std::iter::repeat(5_000));
    assert!(waits.len() >= 14, "{waits:?}");
    for (wait, delay) in waits.iter().zip(delays) {
        assert!((delay * 4 / 5..=delay).contains(wait), "{waits:?}");
    }
    // The delays are random, so that servers that were cut off together do not come back together.
    assert!(waits[5..].iter().collect::<BTreeSet<_>>().len() > 1, "{waits:?}");
    // When the neighbour is up again, it is linked within the longest delay.
    cluster.start("Bolden");
    cluster.run_for(5 * SECOND);
    assert_eq!(cluster.linked("Alford"), set(&["Bolden"]));
}

#[test]
fn a_neighbour_that_hangs_finds_a_new_connection_soon_after_it_goes_on() {
    let limits =
        "hello_ms = 5_000\nretry_first_ms = 200\nretry_max_ms = 5_000\nretry_jitter_percent = 20";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(PAIR, limits));
    cluster.play("Bolden");
    cluster.start("Alford");
    cluster.run_for(60 * SECOND);
    let dials = cluster.dials("Alford", "Bolden");
    let waits: Vec<u128> = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(waits.len() >= 10, "{waits:?}");
    assert!(waits.iter().all(|wait| (5_160..5_250).contains(wait)), "{waits:?}");
}

/// The first five links that are lost at once are dialled again after the first delay. After that, each link must last
/// longer before the delay is reset.
#[test]
fn a_neighbour_that_loses_each_link_is_dialled_again_soon_five_times_and_then_when_a_link_has_stood()
 {
    let limits = "retry_first_ms = 200\nretry_max_ms = 5_000\nretry_jitter_percent = 0";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(PAIR, limits));
    cluster.start("Alford");
    cluster.play("Bolden");
    let mut calls = 0;
    // Lets a link last for `stands` (`None`: the peer never says HELLO), and returns how long after its loss the next
    // connection comes.
    let mut next = |cluster: &mut Cluster, stands: Option<Duration>| {
        while cluster.callers().len() == calls {
            cluster.run_for(MS);
        }
        let bolden = cluster.callers()[calls];
        if stands.is_some() {
            cluster.say(bolden, "HELLO Bolden places-herd 1");
        }
        cluster.run_for(stands.unwrap_or(MS));
        cluster.abort(bolden);
        calls += 1;
        let lost = cluster.now();
        while cluster.callers().len() == calls {
            cluster.run_for(MS);
        }
        let waited = (cluster.now() - lost).as_millis() as u64;
        waited.next_multiple_of(100)
    };
    // The neighbour accepts, but never says HELLO: the delays are those of failed attempts.
    let mute: Vec<u64> = (0..6).map(|_| next(&mut cluster, None)).collect();
    assert_eq!(mute, [200, 400, 800, 1_600, 3_200, 5_000]);
    let lost_at_once: Vec<u64> = (0..10).map(|_| next(&mut cluster, Some(MS))).collect();
    assert_eq!(lost_at_once, [200, 200, 200, 200, 200, 400, 800, 1_600, 3_200, 5_000]);
    assert_eq!(next(&mut cluster, Some(MS)), 5_000);
    assert_eq!(next(&mut cluster, Some(4_900 * MS)), 5_000);
    assert_eq!(next(&mut cluster, Some(5_100 * MS)), 200);
}

#[test]
fn a_hello_of_a_linked_name_replaces_the_old_connection() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(PAIR, ""));
        let line = report(&mut cluster, "Bolden", "kiwi", "1479413884");
        // Alford is back before Bolden has noticed that it was gone.
        cluster.crash("Alford");
        cluster.start("Alford");
        cluster.settle();
        assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
        assert_eq!(agreed(&mut cluster), BTreeMap::from([("kiwi".to_owned(), line)]));
        assert_eq!(cluster.reactor("Bolden").parts().1.connections(), 1);
        // The end of the old connection does not end the new link.
        cluster.run_for(60 * SECOND);
        assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
        let line = report(&mut cluster, "Bolden", "fig", "1479413884");
        assert_eq!(cluster.knows("Alford")["fig"], line);
    }
}

/// The process ends, or its machine loses power; in the second case Bolden believes that the old link is still up.
#[test]
fn a_server_killed_ten_times_in_thirty_seconds_is_back_each_time_at_once_or_after_the_pause() {
    for (weather, vanishes) in
        weathers().flat_map(|weather| [(weather.clone(), false), (weather, true)])
    {
        let mut cluster = Cluster::herd(weather, &topology(PAIR, ""));
        for kill in 1..=10 {
            let line = report(&mut cluster, "Bolden", &format!("kiwi-{kill}"), "1479413884");
            let start = cluster.now();
            // The kernel closes the connections of a process that ends, but a machine without power sends nothing.
            match vanishes {
                true => drop(cluster.crash("Alford")),
                false => drop(cluster.kill("Alford")),
            }
            cluster.start("Alford");
            while !cluster.knows("Alford").values().any(|known| *known == line) {
                cluster.run_for(10 * MS);
                assert!(cluster.now() - start < SECOND, "{kill}: it is not back");
            }
            let at_once =
                cluster.dials("Alford", "Bolden").iter().filter(|dial| **dial >= start).count()
                    == 1;
            assert!(at_once || kill == 10, "{kill}: it was rejected");
            cluster.run_until(start + 3 * SECOND);
            assert_eq!(cluster.linked("Bolden"), set(&["Alford"]));
        }
    }
}

/// Alford dials Bolden. Bolden is back when it has the report that it missed.
#[test]
fn a_dialled_server_killed_ten_times_in_thirty_seconds_is_back_each_time_at_once_or_after_the_pause()
 {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(PAIR, ""));
        for kill in 1..=10 {
            let line = report(&mut cluster, "Alford", &format!("kiwi-{kill}"), "1479413884");
            let start = cluster.now();
            drop(cluster.kill("Bolden"));
            // The kernel closes the connections of the process.
            cluster.run_for(50 * MS);
            cluster.start("Bolden");
            while !cluster.knows("Bolden").values().any(|known| *known == line) {
                cluster.run_for(10 * MS);
                let most = if kill <= 8 { 300 * MS } else { SECOND };
                assert!(cluster.now() - start < most, "{kill}: it is not back");
            }
            cluster.run_until(start + 3 * SECOND);
            assert_eq!(cluster.linked("Alford"), set(&["Bolden"]));
        }
    }
}

/// Has two peers claim to be Alford for `time`, each of which dials Bolden again `again` after it has lost the link.
/// Returns how often a link was made.
fn fight(cluster: &mut Cluster, time: Duration, again: Duration) -> usize {
    let mut links = 0;
    let mut claims: Vec<TalkId> = Vec::new();
    let end = cluster.now() + time;
    while cluster.now() < end {
        claims.retain(|talk| cluster.ending(*talk).is_none());
        while claims.len() < 2 {
            let talk = cluster.stranger("Bolden");
            let answer = cluster.say(talk, "HELLO Alford places-herd 1");
            links += usize::from(answer.starts_with("HELLO Bolden places-herd 1 speaks=1-1\n"));
            claims.push(talk);
            cluster.run_for(MS);
        }
        cluster.run_for(again);
    }
    links
}

#[test]
fn two_peers_that_claim_one_name_replace_each_other_no_faster_than_retry_max() {
    let mut cluster = calm(PAIR, "");
    cluster.crash("Alford");
    cluster.run_for(20 * SECOND);
    let first = fight(&mut cluster, 60 * SECOND, 50 * MS);
    // The first finds no link. Five replace it at once, then after 0.2, 0.4, 0.8, 1.6, 3.2 and every 5 s.
    assert!((18..=21).contains(&first), "{first} in a minute");
    let later = fight(&mut cluster, 120 * SECOND, 50 * MS);
    assert!((22..=25).contains(&later), "once in five seconds: {later} in two minutes");
    assert_eq!(cluster.linked("Bolden"), set(&["Alford"]), "one of them has it");
    // After a calm minute the next five connections replace the link at once again.
    cluster.run_for(5 * SECOND);
    let quiet = linked_as(&mut cluster, "Bolden", "Alford");
    for _ in 0..13 {
        cluster.run_for(5 * SECOND);
        cluster.say(quiet, "PING");
    }
    assert_eq!(fight(&mut cluster, 100 * MS, MS), 5);
}

#[test]
fn a_rejected_connection_is_answered_and_the_existing_link_is_not_touched() {
    let mut cluster = calm(PAIR, "retry_first_ms = 1_000");
    cluster.crash("Alford");
    cluster.run_for(20 * SECOND);
    let links: Vec<TalkId> = (0..6).map(|_| linked_as(&mut cluster, "Bolden", "Alford")).collect();
    let linked = links[5];
    let rejected = cluster.stranger("Bolden");
    let hello = "HELLO Alford places-herd 1";
    assert_eq!(cluster.say(rejected, hello), format!("? {hello}\n"));
    assert!(cluster.ending(rejected).is_some() && cluster.ending(linked).is_none());
    let told = "AT Alford +0.5 kiwi +1+1 1479413884";
    assert_eq!(cluster.say(linked, told), "");
    assert!(cluster.knows("Bolden").contains_key("kiwi"));
    // A lost link need not be replaced: the next connection is accepted at once.
    cluster.abort(linked);
    cluster.settle();
    let next = cluster.stranger("Bolden");
    assert!(cluster.say(next, hello).starts_with("HELLO Bolden "));
}

// Strangers.

#[test]
fn a_wrong_hello_is_answered_and_rejected() {
    let servers = "Alford; Bolden Alford Clark; Clark; Dunn; Eliot* Bolden";
    for (words, why) in [
        ("HELLO Alford other-herd 1", "another herd"),
        ("HELLO Alford places-herd 2", "another version"),
        ("HELLO Alford places-herd 1 speaks=2-3", "no common version"),
        ("HELLO Alford places-herd 1 speaks=3-1", "no range of versions"),
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
        let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(servers, ""));
        cluster.start("Bolden");
        let stranger = cluster.stranger("Bolden");
        assert_eq!(cluster.say(stranger, words), format!("? {words}\n"), "{why}");
        assert_eq!(cluster.ending(stranger), Some(Ending::Fin), "{why}");
        assert_eq!(cluster.linked("Bolden"), set(&[]), "{why}");
        assert!(cluster.knows("Bolden").is_empty(), "{why}");
    }
}

#[test]
fn servers_with_a_common_version_link_and_others_are_told_both_ranges() {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford", ""));
    cluster.start("Bolden");
    // The first is the HELLO of servers that know one version only.
    for hello in ["1", "1 speaks=1-1", "1 speaks=1-9", "1 colour=blue speaks=1-2 ack=0"] {
        let alford = cluster.stranger("Bolden");
        let heard = cluster.say(alford, &format!("HELLO Alford places-herd {hello}"));
        assert!(heard.starts_with("HELLO Bolden places-herd 1 speaks=1-1\n"), "{hello}: {heard}");
        assert_eq!(cluster.linked("Bolden"), set(&["Alford"]), "{hello}");
        cluster.abort(alford);
        cluster.settle();
    }
    let log = Logged::here();
    let newer = cluster.stranger("Bolden");
    let hello = "HELLO Alford places-herd 2 speaks=2-3";
    assert_eq!(cluster.say(newer, hello), format!("? {hello}\n"));
    let text = log.text();
    let line = text.lines().find(|line| line.contains("rejected: it speaks no version"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("(1-1)") && line.contains("speaks=2-3"), "{line}");
    // The text and the range agree.
    let versions = places_herd::server::interserver::VERSIONS;
    assert_eq!(format!("{}-{}", versions.start(), versions.end()), "1-1");
}

#[test]
fn an_at_before_hello_is_refused_where_no_plain_neighbour_is_configured() {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford", ""));
    cluster.start("Bolden");
    let stranger = cluster.stranger("Bolden");
    let at = "AT Alford +0.000000001 kiwi +1+1 1479413884";
    assert_eq!(cluster.say(stranger, at), format!("? {at}\n"));
    assert_eq!(cluster.ending(stranger), Some(Ending::Fin));
    assert!(cluster.knows("Bolden").is_empty());
}

#[test]
fn a_stranger_is_not_read_after_its_wrong_word() {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology("Alford; Bolden Alford", ""));
    cluster.start("Bolden");
    let stranger = cluster.stranger("Bolden");
    let words = "PING\nHELLO Alford places-herd 1\nAT Alford +0.000000001 kiwi +1+1 1";
    assert_eq!(cluster.say(stranger, words), "? PING\n");
    assert!(cluster.knows("Bolden").is_empty() && cluster.linked("Bolden").is_empty());
}

#[test]
fn a_peer_without_hello_within_hello_ms_is_dropped_on_either_side() {
    let servers = "Alford; Bolden Alford Clark; Clark";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(servers, "hello_ms = 5_000"));
    cluster.play("Clark");
    cluster.start("Bolden");
    cluster.run_for(Duration::ZERO);
    let clark = cluster.callers()[0];
    assert_eq!(cluster.hear(clark), "HELLO Bolden places-herd 1 speaks=1-1 bye=1\n");
    cluster.run_for(5 * SECOND - NANO);
    assert_eq!(cluster.ending(clark), None);
    cluster.run_for(NANO);
    assert!(cluster.ending(clark).is_some());

    let stranger = cluster.stranger("Bolden");
    // Neither a blank line nor a line that begins with `?` is a HELLO.
    cluster.send(stranger, "\n? what\nHELLO Alf");
    cluster.run_for(5 * SECOND);
    assert!(cluster.ending(stranger).is_some());
    assert_eq!(cluster.hear(stranger), "");
}

#[test]
fn the_server_that_answers_must_be_the_neighbour_that_was_dialled() {
    let servers = "Alford Bolden Clark; Bolden; Clark";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(servers, ""));
    cluster.play("Bolden");
    cluster.start("Alford");
    cluster.settle();
    let caller = cluster.callers()[0];
    assert_eq!(cluster.hear(caller), "HELLO Alford places-herd 1 speaks=1-1 bye=1\n");
    let words = "HELLO Clark places-herd 1";
    assert_eq!(cluster.say(caller, words), format!("? {words}\n"));
    assert_eq!(cluster.ending(caller), Some(Ending::Fin));
    assert!(cluster.linked("Alford").is_empty());
    // The neighbour is dialled again, and may answer correctly then.
    cluster.run_for(SECOND);
    let again = cluster.callers()[1];
    cluster.say(again, "HELLO Bolden places-herd 1");
    assert_eq!(cluster.linked("Alford"), set(&["Bolden"]));
}

// Lines of linked neighbours.

#[test]
fn after_hello_what_is_malformed_is_answered_and_the_link_stays() {
    let mut cluster = calm("Alford; Bolden Alford", "");
    cluster.crash("Alford");
    let alford = linked_as(&mut cluster, "Bolden", "Alford");
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
        assert_eq!(cluster.say(alford, words), format!("? {words}\n"));
    }
    assert!(cluster.knows("Bolden").is_empty());
    cluster.say(alford, "AT Alford +0.000000001 kiwi +1+1 1479413884");
    assert_eq!(cluster.knows("Bolden").len(), 1);
    assert_eq!(cluster.ending(alford), None);
}

#[test]
fn a_line_that_begins_with_a_question_mark_is_never_answered() {
    let mut cluster = calm("Alford; Bolden Alford", "");
    cluster.crash("Alford");
    let alford = linked_as(&mut cluster, "Bolden", "Alford");
    for complaint in ["?", "? PING", "?? what", "?AT", "? ? ? ?"] {
        assert_eq!(cluster.say(alford, complaint), "");
        // A complaint from a stranger closes its connection.
        let stranger = cluster.stranger("Bolden");
        assert_eq!(cluster.say(stranger, complaint), "");
        assert_eq!(cluster.ending(stranger), Some(Ending::Fin));
    }
    assert_eq!(cluster.ending(alford), None);
}

#[test]
fn a_line_too_long_ends_the_link_after_its_refusal() {
    let mut cluster = calm("Alford; Bolden Alford", "");
    cluster.crash("Alford");
    let alford = linked_as(&mut cluster, "Bolden", "Alford");
    let heard = cluster.say(alford, &"x".repeat(20_000));
    assert_eq!(heard, format!("? {}\n", "x".repeat(1_024)));
    assert_eq!(cluster.ending(alford), Some(Ending::Fin));
    cluster.run_for(2 * SECOND);
    assert!(cluster.linked("Bolden").is_empty());
}

/// What Clark makes of `chunks` from Alford, one in each turn: its table, and the lines that Alford, Ball and the plain
/// Davis hear from it. Of the ACK lines it keeps the last one, because there is one for each turn.
fn made_of(chunks: &[&[u8]], limits: &str) -> (BTreeMap<String, String>, [Vec<String>; 3]) {
    const FOUR: &str = "Alford; Ball; Clark Alford Ball Davis; Davis*";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(FOUR, limits));
    cluster.play("Davis");
    cluster.start("Clark");
    cluster.run_for(SECOND);
    let [alford, ball] = [(); 2].map(|()| cluster.stranger("Clark"));
    cluster.say(alford, "HELLO Alford places-herd 1 ack=1");
    cluster.say(ball, "HELLO Ball places-herd 1");
    for chunk in chunks {
        cluster.send(alford, chunk);
        cluster.settle();
    }
    let heard = [alford, ball, cluster.callers()[0]].map(|talk| {
        let heard = cluster.hear(talk);
        let (acks, others): (Vec<_>, Vec<_>) =
            heard.split_inclusive('\n').map(str::to_owned).partition(|l| l.starts_with("ACK "));
        others.into_iter().chain(acks.into_iter().next_back()).collect()
    });
    (cluster.knows("Clark"), heard)
}

/// The last of `lines` about each client.
fn latest(lines: &[String]) -> BTreeMap<String, String> {
    let ats = lines.iter().filter(|line| line.starts_with("AT "));
    ats.map(|line| (line.split_whitespace().nth(3).expect("a client").into(), line.clone()))
        .collect()
}

fn line_from_a_neighbour() -> impl Strategy<Value = String> {
    let at = |(client, stamp): (usize, u32)| {
        let id = if client == 0 { "c".repeat(900) } else { format!("client-{client}") };
        format!("AT Alford +0.5 {id} +1+1 {stamp}")
    };
    let report = (0..40usize, 1..4u32).prop_map(at);
    prop_oneof![
        20 => report.clone().prop_map(|line| line + "\n"),
        2 => report.clone().prop_map(|line| line + "\r\n"),
        1 => report.clone().prop_map(|line| line.replace("+0.5", " +0.5") + "\n"),
        1 => report.clone().prop_map(|line| format!(" {line} \n")),
        1 => report.prop_map(|line| line + " more\n"),
        1 => prop::sample::select(vec![
            "\n", "\r\n", "PING\n", "ACK 0\n", "SYNC 0000000000000000\n", "? what\n", "nonsense\n"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lines that arrive together have the same effect as lines that arrive one by one, each of them in two pieces.
    #[test]
    fn lines_of_a_neighbour_mean_the_same_however_they_are_cut(
        lines in prop::collection::vec(line_from_a_neighbour(), 0..90),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        narrow in any::<bool>(),
    ) {
        let bytes = lines.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let together: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        let pieces = lines.iter().flat_map(|line| [&line.as_bytes()[..1], &line.as_bytes()[1..]]);
        let one_by_one: Vec<&[u8]> = pieces.collect();
        // With narrow buffers lines go to backlogs, of which only the latest line of each client is sent.
        let limits = if narrow { self::narrow().1 } else { "" };
        let [(known, heard), (known_one, heard_one)] =
            [&together, &one_by_one].map(|chunks| made_of(chunks, limits));
        prop_assert_eq!(known, known_one);
        match narrow {
            false => prop_assert_eq!(heard, heard_one),
            true => prop_assert_eq!(heard.map(|lines| latest(&lines)), heard_one.map(|lines| latest(&lines))),
        }
    }
}

// A plain neighbour.

const WITH_PLAIN: &str = "Alford Bolden Clark; Bolden; Clark*";

/// Starts Alford and Bolden, and returns the connection from Alford to the plain Clark, which the test plays.
fn with_plain() -> (Cluster, TalkId) {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology(WITH_PLAIN, ""));
    cluster.play("Clark");
    cluster.start("Alford");
    cluster.start("Bolden");
    cluster.run_for(SECOND);
    let clark = cluster.callers()[0];
    (cluster, clark)
}

#[test]
fn a_plain_neighbour_is_sent_at_lines_with_cr_lf_and_nothing_else() {
    let (mut cluster, clark) = with_plain();
    let first = report(&mut cluster, "Alford", "kiwi", "1479413884");
    let second = report(&mut cluster, "Bolden", "fig", "1479413884");
    cluster.run_for(60 * SECOND);
    assert_eq!(cluster.hear(clark), format!("{first}\r\n{second}\r\n"));
    assert_eq!(cluster.linked("Alford"), set(&["Bolden", "Clark"]));
}

#[test]
fn a_plain_neighbour_is_sent_the_whole_table_on_every_connection() {
    let (mut cluster, clark) = with_plain();
    let line = report(&mut cluster, "Alford", "kiwi", "1479413884");
    cluster.abort(clark);
    cluster.run_for(SECOND);
    let again = cluster.callers()[1];
    assert_eq!(cluster.hear(again), format!("{line}\r\n"));
}

#[test]
fn an_anonymous_connection_may_say_at_where_a_plain_neighbour_is_configured() {
    let (mut cluster, clark) = with_plain();
    let anonymous = cluster.stranger("Alford");
    let line = "AT Clark +0.5 kiwi +1+1 1479413884";
    cluster.send(anonymous, format!("{line}\r\n"));
    cluster.settle();
    assert_eq!(cluster.knows("Alford")["kiwi"], line);
    assert_eq!(cluster.hear(anonymous), "");
    // Alford cannot know which plain neighbour sent the line, so it sends the line to Clark, too.
    assert_eq!(cluster.hear(clark), format!("{line}\r\n"));
    // Such a connection may send AT only, and a malformed line is answered.
    for words in ["HELLO Bolden places-herd 1", "PING", "AT Clark +0.5 kiwi +1+1"] {
        assert_eq!(cluster.say(anonymous, words), format!("? {words}\n"));
    }
    assert_eq!(cluster.ending(anonymous), None);
}

#[test]
fn an_exponent_difference_is_relayed_verbatim_through_the_whole_herd() {
    let (mut cluster, clark) = with_plain();
    let anonymous = cluster.stranger("Alford");
    for (n, difference) in ["9.5e-05", "-1.25E+2", "+0.263873", "0.5", "7"].iter().enumerate() {
        let line = format!("AT Clark {difference} c{n} +1+1 1479413884");
        cluster.send(anonymous, format!("{line}\r\n"));
        cluster.settle();
        assert_eq!(cluster.knows("Alford")[&format!("c{n}")], line);
    }
    assert_eq!(agreed(&mut cluster).len(), 5);
    // The same holds for a link that is made later.
    cluster.crash("Bolden");
    cluster.start("Bolden");
    cluster.run_for(30 * SECOND);
    assert_eq!(agreed(&mut cluster).len(), 5);
    assert_eq!(cluster.hear(clark).lines().count(), 5);
    assert!(!cluster.lines("Bolden", "Alford").iter().any(|line| line.starts_with('?')));
}

#[test]
fn a_plain_neighbours_at_counts_only_if_its_time_is_strictly_newer() {
    let (mut cluster, clark) = with_plain();
    let line = report(&mut cluster, "Alford", "kiwi", "1479413884");
    cluster.hear(clark);
    let anonymous = cluster.stranger("Alford");
    // The plain neighbour passes the line on as its own. That line sorts after ours, but is still no news.
    for talk in [anonymous, clark] {
        cluster.say(talk, "AT Zebra +9.5 kiwi +1+1 1479413884\r");
        cluster.say(talk, "AT Zebra +9.5 kiwi +9+9 1479413884.0\r");
        assert_eq!(agreed(&mut cluster)["kiwi"], line);
    }
    let newer = ["AT Clark +9.5 kiwi +1+1 1479413884.1", "AT Clark +9.5 kiwi +1+1 1479413884.2"];
    cluster.say(anonymous, newer[0]);
    assert_eq!(agreed(&mut cluster)["kiwi"], newer[0]);
    assert_eq!(cluster.hear(clark), format!("{}\r\n", newer[0]));
    // A report on the connection that we dialled is not sent back.
    assert_eq!(cluster.say(clark, newer[1]), "");
    assert_eq!(agreed(&mut cluster)["kiwi"], newer[1]);
}

#[test]
fn a_silent_plain_neighbour_keeps_its_connections() {
    let (mut cluster, clark) = with_plain();
    let anonymous = cluster.stranger("Alford");
    cluster.say(anonymous, "AT Clark +0.5 kiwi +1+1 1479413884");
    cluster.run_for(3_600 * SECOND);
    assert_eq!((cluster.ending(clark), cluster.ending(anonymous)), (None, None));
}

#[test]
fn a_plain_neighbour_without_news_may_stay_silent_and_no_other_stranger() {
    let (mut cluster, _) = with_plain();
    let clark = cluster.stranger("Alford");
    let idler = cluster.stranger("Alford");
    cluster.run_for(3_600 * SECOND);
    assert_eq!(cluster.ending(clark), None, "there is one plain neighbour, and this may be it");
    assert!(cluster.ending(idler).is_some(), "this one it is not");
    cluster.say(clark, "AT Clark +0.5 kiwi +1+1 1479413884");
    assert_eq!(agreed(&mut cluster)["kiwi"], "AT Clark +0.5 kiwi +1+1 1479413884");
    // Another silent connection may stay when this one has ended.
    cluster.end(clark);
    let again = cluster.stranger("Alford");
    cluster.run_for(3_600 * SECOND);
    assert_eq!(cluster.ending(again), None);
    // The HELLO of a slow server that is not plain is accepted there, too.
    let slow = "HELLO Bolden places-herd 1";
    assert!(
        cluster.say(again, slow).starts_with("? HELLO Bolden"),
        "Alford sorts first, and dials"
    );
}

// Partitions and restarts.

#[test]
fn after_a_partition_is_healed_all_know_the_newest_of_every_client() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(FIVE, ""));
        report(&mut cluster, "Alford", "old", "1479413800");
        // Alford, Welsh | Bolden, Parker, Hamilton
        for (one, other) in [("Alford", "Parker"), ("Bolden", "Welsh")] {
            cluster.cut(one, other);
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
            let line = report(&mut cluster, name, client, stamp);
            if (name, client) != ("Parker", "both") {
                newest.insert(client.to_owned(), line);
            }
        }
        assert!(!cluster.knows("Hamilton").contains_key("left"));
        assert!(!cluster.knows("Alford").contains_key("right"));
        // This is long enough for both sides to close the links.
        cluster.run_for(20 * SECOND);
        assert_eq!(cluster.linked("Alford"), set(&["Welsh"]));
        assert_eq!(cluster.linked("Parker"), set(&["Bolden", "Hamilton"]));
        cluster.heal("Alford", "Parker");
        cluster.heal("Bolden", "Welsh");
        cluster.run_for(40 * SECOND);
        assert_eq!(cluster.linked("Alford"), set(&["Parker", "Welsh"]));
        assert_eq!(agreed(&mut cluster), newest);
    }
}

#[test]
fn a_partition_shorter_than_the_silence_costs_no_link() {
    for weather in weathers() {
        let mut cluster = Cluster::herd(weather, &topology(FIVE, ""));
        cluster.cut("Alford", "Parker");
        cluster.cut("Bolden", "Welsh");
        report(&mut cluster, "Alford", "left", "1479413884");
        report(&mut cluster, "Hamilton", "right", "1479413884");
        cluster.run_for(9 * SECOND);
        cluster.heal("Alford", "Parker");
        cluster.heal("Bolden", "Welsh");
        cluster.settle();
        assert_eq!(agreed(&mut cluster).len(), 2);
        assert_eq!(cluster.streams("Alford", "Parker").len(), 1);
    }
}

#[test]
fn a_member_restarted_empty_gets_everything_back_its_own_clients_included() {
    for weather in weathers() {
        for name in ["Alford", "Parker", "Welsh"] {
            let mut cluster = Cluster::herd(weather.clone(), &topology(FIVE, ""));
            for (n, taker) in cluster.names().iter().enumerate() {
                report(&mut cluster, taker, &format!("c{n}"), "1479413884");
            }
            let before = agreed(&mut cluster);
            assert_eq!(before.len(), 5);
            cluster.crash(name);
            cluster.run_for(10 * SECOND);
            cluster.start(name);
            assert!(cluster.knows(name).is_empty());
            // The neighbours that dial it must first detect that it was gone.
            cluster.run_for(30 * SECOND);
            assert_eq!(agreed(&mut cluster), before);
        }
    }
}

#[test]
fn thousands_of_clients_are_exchanged_on_meeting_within_the_limit_of_what_may_wait() {
    const CLIENTS: usize = 5_000;
    let (options, limits) = narrow();
    let mut cluster = Cluster::new(options, &topology(PAIR, limits));
    for name in ["Alford", "Bolden"] {
        cluster.start(name);
        // The two servers are cut off, so neither has received the other's reports yet.
        cluster.cut("Alford", "Bolden");
        let talk = cluster.client(name);
        for client in 0..CLIENTS {
            cluster.send(talk, format!("IAMAT {name}{client} +1+1 1479413884\n"));
        }
        cluster.settle();
    }
    cluster.heal("Alford", "Bolden");
    let mut most = 0;
    for _ in 0..100 {
        cluster.run_for(100 * MS);
        for (from, to) in [("Alford", "Bolden"), ("Bolden", "Alford")] {
            most = most.max(cluster.pending(from, to));
        }
    }
    assert!(most <= 4_096 + 200, "{most} bytes");
    assert_eq!(agreed(&mut cluster).len(), 2 * CLIENTS);
    assert_eq!(cluster.backlog("Alford", "Bolden"), 0);
}

/// Otherwise two neighbours that both stop reading would wait for each other for ever.
#[test]
fn a_neighbour_is_read_however_much_waits_to_be_sent_to_it() {
    let mut cluster = calm(PAIR, "");
    for name in ["Alford", "Bolden"] {
        let (member, core) = cluster.reactor(name).parts();
        let link =
            member.neighbours.iter().find_map(|(_, link)| link.conn).expect("they are linked");
        // These are blank lines, which mean nothing.
        core.write(link, &vec![b'\n'; 1 << 20]);
        assert!(core.transport(link).is_some_and(|transport| transport.is_delivering()), "{name}");
    }
}

// The simulation itself.

#[test]
fn the_same_seed_plays_the_same_again() {
    let play = |seed| {
        let mut cluster = Cluster::herd(MemoryOptions::rough(seed), &topology(FIVE, ""));
        for (n, name) in cluster.names().iter().enumerate() {
            report(&mut cluster, name, &format!("c{n}"), "1479413884");
        }
        cluster.crash("Parker");
        cluster.run_for(20 * SECOND);
        cluster.start("Parker");
        cluster.run_for(20 * SECOND);
        cluster.transcript()
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}
