//! The promises about stamps far ahead: without a limit they block later reports of their clients; by default no client
//! can report them; with `ahead_max_s` no server accepts them at all, and restarts remove those that a herd has stored.

use crate::support::cluster::memory_disk::MemoryDisk;
use crate::support::cluster::{Cluster, MS, NANO, SECOND, TalkId, know, topology};
use herd_reactor::UnixNanos;
use herd_reactor::testing::MemoryOptions;
use std::collections::BTreeMap;

/// A full minute.
const NOON: u64 = 1_479_420_000;

/// Accepts stamps up to a minute ahead.
const MINUTE: &str = "ahead_max_s = 60";

/// Accepts any stamp.
const ANY: &str = "max_future_ms = 0";

fn at_noon() -> MemoryOptions {
    MemoryOptions { wall: UnixNanos(NOON * 1_000_000_000), ..MemoryOptions::calm(1) }
}

/// The AT line that `name` serves for a client.
fn served(cluster: &mut Cluster, name: &str, client: &str) -> Option<String> {
    let report = cluster.member(name).table.latest(client.as_bytes())?;
    Some(String::from_utf8_lossy(report.line()).into_owned())
}

fn agree(cluster: &mut Cluster) -> bool {
    let names = cluster.names();
    let mut sums = names.iter().map(|name| cluster.member(name).table.state_hash());
    let first = sums.next();
    sums.all(|sum| Some(sum) == first)
}

#[test]
fn a_report_too_far_ahead_is_refused_and_a_line_dropped_without_a_word() {
    let mut cluster = Cluster::herd(at_noon(), &topology("Alford; Bolden Alford", MINUTE));
    cluster.crash("Alford");
    cluster.stop_wall_clocks(UnixNanos(NOON * 1_000_000_000));
    let talk = cluster.client("Bolden");
    let ahead = format!("IAMAT kiwi +1+1 {}.000000001", NOON + 60);
    assert_eq!(cluster.say(talk, &ahead), format!("? {ahead}\n"));
    let alford = cluster.stranger("Bolden");
    cluster.say(alford, "HELLO Alford places-herd 1");
    let line = format!("AT Alford -60.000000001 kiwi +1+1 {}.000000001", NOON + 60);
    assert_eq!(cluster.say(alford, &line), "");
    let herd = &mut cluster.member("Bolden").table;
    assert_eq!((herd.len(), herd.state_hash()), (0, 0), "it is not known");
    let (_, core) = cluster.reactor("Bolden").parts();
    assert_eq!(core.throttled("ahead_max_s"), 2, "both are counted and logged");
    assert_eq!(cluster.say(talk, "WHATSAT kiwi 1 1"), "? WHATSAT kiwi 1 1\n");
    assert_eq!(cluster.ending(alford), None);
    // A stamp exactly at the limit is accepted, from clients and neighbours.
    let edge = format!("IAMAT kiwi +1+1 {}", NOON + 60);
    assert!(cluster.say(talk, &edge).starts_with("AT Bolden -60.000000000 kiwi "));
    cluster.say(alford, &format!("AT Alford -60.0 fig +1+1 {}", NOON + 60));
    assert_eq!(cluster.knows("Bolden").len(), 2);
}

#[test]
fn without_the_limit_any_stamp_is_accepted_and_beats_all_honest_ones() {
    let mut cluster = Cluster::herd(at_noon(), &topology("Alford Bolden; Bolden", ANY));
    let talk = cluster.client("Alford");
    cluster.say(talk, "IAMAT kiwi +9+9 9999999999.999999999");
    assert!(cluster.say(talk, &format!("IAMAT kiwi +1+1 {NOON}")).starts_with("AT Alford "));
    assert!(served(&mut cluster, "Bolden", "kiwi").unwrap().contains(" +9+9 "));
}

#[test]
fn by_default_a_report_more_than_a_day_ahead_is_refused_and_the_client_is_free() {
    let mut cluster = Cluster::herd(at_noon(), &topology("Alford Bolden; Bolden", ""));
    cluster.stop_wall_clocks(UnixNanos(NOON * 1_000_000_000));
    let talk = cluster.client("Alford");
    for late in [format!("{}.000000001", NOON + 86_400), "9999999999".to_owned()] {
        let refused = format!("IAMAT kiwi +9+9 {late}");
        assert_eq!(cluster.say(talk, &refused), format!("? {refused}\n"));
    }
    assert!(cluster.say(talk, &format!("IAMAT kiwi +1+1 {NOON}")).starts_with("AT Alford "));
    let known = served(&mut cluster, "Bolden", "kiwi").expect("Alford has told it");
    assert!(known.contains(" +1+1 "), "{known}");
    let edge = format!("IAMAT kiwi +2+2 {}", NOON + 86_400);
    assert!(cluster.say(talk, &edge).starts_with("AT Alford -86400.000000000 kiwi "));
}

#[test]
fn of_two_limits_the_smaller_one_counts_at_the_client_port() {
    for limits in
        ["max_future_ms = 30_000\nahead_max_s = 60", "max_future_ms = 60_000\nahead_max_s = 30"]
    {
        let mut cluster = Cluster::herd(at_noon(), &topology("Alford", limits));
        cluster.stop_wall_clocks(UnixNanos(NOON * 1_000_000_000));
        let talk = cluster.client("Alford");
        for ahead in [31, 59, 61, 1_000_000] {
            let refused = format!("IAMAT kiwi +1+1 {}", NOON + ahead);
            assert_eq!(cluster.say(talk, &refused), format!("? {refused}\n"), "{limits}");
        }
        let taken = format!("IAMAT kiwi +1+1 {}", NOON + 30);
        assert!(cluster.say(talk, &taken).starts_with("AT Alford -30.000000000 "), "{limits}");
    }
}

/// A report stamped too far ahead may be stored already, for example because the clock was ahead.
#[test]
fn stored_reports_block_no_client_and_within_a_minute_thousands_are_forgotten_in_slices() {
    const CLIENTS: usize = 50_000;
    // The servers do not compare while they forget, because they do not sweep the same slice at the same instant.
    let limits = format!("{MINUTE}\nsync_ms = 50_000");
    let mut cluster = Cluster::herd(at_noon(), &topology("Alford Bolden; Bolden", &limits));
    for name in ["Alford", "Bolden"] {
        for client in 0..CLIENTS {
            // Every tenth stamp is honest.
            let ahead = if client % 10 == 0 { 59 } else { 3_600 + client as u64 };
            know(&mut cluster, name, &format!("AT Alford -1.0 c{client} +9+9 {}", NOON + ahead));
        }
    }
    cluster.run_for(10 * SECOND);
    let talk = cluster.client("Bolden");
    assert_eq!(cluster.say(talk, "WHATSAT c77 1 1"), "? WHATSAT c77 1 1\n");
    assert!(cluster.say(talk, "WHATSAT c70 1 1").is_empty(), "it waits for its places");
    // An honest report is accepted even before the full minute at which the stored one is forgotten.
    let talk = cluster.client("Alford");
    let honest = format!("IAMAT c77 +1+1 {}", NOON + 10);
    assert!(cluster.say(talk, &honest).starts_with("AT Alford "));
    for name in ["Alford", "Bolden"] {
        let line = served(&mut cluster, name, "c77").expect("it is known");
        assert!(line.contains(" +1+1 "), "{name}: {line}");
    }
    cluster.run_for(49 * SECOND);
    assert_eq!(cluster.member("Alford").table.len(), CLIENTS, "the rest waits for its minute");
    cluster.forget_lines();
    cluster.run_for(2 * SECOND);
    for name in ["Alford", "Bolden"] {
        assert_eq!(cluster.member(name).table.len(), CLIENTS / 10 + 1, "{name}");
    }
    assert!(agree(&mut cluster));
    assert_eq!(cluster.at_lines(), 0, "no server sends a line about it");
}

#[test]
fn a_report_accepted_during_a_sweep_is_not_forgotten_by_it() {
    let mut cluster = Cluster::herd(at_noon(), &topology("Alford", MINUTE));
    // The sweep of so many clients takes a dozen turns of ten milliseconds each.
    for client in 0..50_000 {
        know(&mut cluster, "Alford", &format!("AT Alford +0.5 c{client} +1+1 {NOON}"));
    }
    cluster.set_pace("Alford", 10 * MS);
    let talk = cluster.client("Alford");
    cluster.run_for(58 * SECOND);
    for n in 0..400 {
        // The report is stamped as far ahead as is accepted, at every moment of the sweep.
        cluster.run_for(10 * MS);
        let wall = cluster.reactor("Alford").parts().1.wall().0 + 60_000_000_000;
        let (seconds, nanos) = (wall / 1_000_000_000, wall % 1_000_000_000);
        cluster.send(talk, format!("IAMAT n{n} +1+1 {seconds}.{nanos:09}\n"));
    }
    cluster.run_for(SECOND);
    assert_eq!(cluster.hear(talk).matches("AT Alford ").count(), 400, "all were let in");
    assert_eq!(cluster.member("Alford").table.len(), 50_400);
}

#[test]
fn a_server_whose_clock_is_behind_is_sent_again_what_it_has_refused() {
    let mut cluster = Cluster::herd(at_noon(), &topology("Alford Bolden; Bolden", MINUTE));
    let slow = UnixNanos((NOON - 150) * 1_000_000_000);
    cluster.reactor("Bolden").io().set_wall(slow);
    let talk = cluster.client("Alford");
    cluster.say(talk, &format!("IAMAT kiwi +1+1 {NOON}"));
    assert_eq!(served(&mut cluster, "Bolden", "kiwi"), None, "to its clock that is far ahead");
    cluster.run_for(180 * SECOND);
    let kiwi = served(&mut cluster, "Alford", "kiwi");
    assert!(kiwi.is_some() && served(&mut cluster, "Bolden", "kiwi") == kiwi);
    assert!(agree(&mut cluster));
}

#[test]
fn a_neighbour_without_the_limit_says_it_at_each_comparison_and_no_more() {
    const FAR: usize = 100;
    let servers = "Alford Bolden; Bolden Clark; Clark";
    let mut cluster = Cluster::new(at_noon(), &topology(servers, ANY));
    cluster.start("Clark");
    cluster.edit(&topology(servers, MINUTE));
    cluster.start("Alford");
    cluster.start("Bolden");
    cluster.settle();
    let talk = cluster.client("Clark");
    for client in 0..FAR {
        cluster.say(talk, &format!("IAMAT c{client} +9+9 9999999999"));
    }
    let here = cluster.client("Alford");
    let honest: Vec<String> = (0..FAR)
        .map(|client| cluster.say(here, &format!("IAMAT c{client} +1+1 {NOON}")).trim_end().into())
        .collect();
    cluster.run_for(65 * SECOND);
    cluster.forget_lines();
    cluster.run_for(600 * SECOND);
    let said = |cluster: &Cluster, from: &str, to: &str, what: &str| {
        cluster.lines(from, to).iter().filter(|line| line.starts_with(what)).count()
    };
    // In each comparison Clark sends all its lines to Bolden, and Bolden sends its own, which are older for Clark.
    let comparisons = said(&cluster, "Bolden", "Clark", "SYNC ");
    assert!((8..=10).contains(&comparisons), "{comparisons} in ten minutes");
    assert_eq!(said(&cluster, "Clark", "Bolden", "AT "), comparisons * FAR);
    assert_eq!(said(&cluster, "Bolden", "Clark", "AT "), comparisons * FAR);
    assert_eq!(said(&cluster, "Bolden", "Clark", "?") + said(&cluster, "Clark", "Bolden", "?"), 0);
    // Alford receives none of these lines.
    assert!(said(&cluster, "Alford", "Bolden", "SYNC ") >= 8);
    for what in ["AT ", "GROUPS "] {
        let both = [("Alford", "Bolden"), ("Bolden", "Alford")];
        assert!(both.iter().all(|(from, to)| said(&cluster, from, to, what) == 0), "{what}");
    }
    for (client, line) in honest.iter().enumerate() {
        for name in ["Alford", "Bolden"] {
            assert_eq!(served(&mut cluster, name, &format!("c{client}")).as_ref(), Some(line));
        }
    }
    assert!(!agree(&mut cluster), "as long as one of them has no limit");
}

const ALONE: &str = "[journal]\nsync = 'always'\n";

/// Ends Alford's process, and returns its disk.
fn off(cluster: &mut Cluster) -> MemoryDisk {
    let mut disk = cluster.crash_off("Alford");
    disk.release();
    disk
}

#[test]
fn a_record_too_far_ahead_is_skipped_at_the_start_and_those_that_it_had_beaten_count() {
    let mut cluster = Cluster::new(at_noon(), &format!("{}{ALONE}", topology("Alford", ANY)));
    cluster.start_on("Alford", MemoryDisk::new(1)).expect("a new one");
    let talk = cluster.client("Alford");
    cluster.say(talk, &format!("IAMAT kiwi +1+1 {NOON}"));
    cluster.say(talk, &format!("IAMAT fig +2+2 {NOON}"));
    cluster.say(talk, "IAMAT kiwi +9+9 9999999999");
    cluster.say(talk, "IAMAT plum +9+9 9999999999");
    let disk = off(&mut cluster);
    cluster.edit(&format!("{}{ALONE}", topology("Alford", MINUTE)));
    let replayed = cluster.start_on("Alford", disk).expect("it is whole");
    assert_eq!(replayed.records, 4);
    let known = cluster.knows("Alford");
    assert_eq!(known.keys().collect::<Vec<_>>(), ["fig", "kiwi"]);
    assert!(known["kiwi"].contains(" +1+1 "));
    // The record is still in the file: without a limit it counts again.
    let disk = off(&mut cluster);
    cluster.edit(&format!("{}{ALONE}", topology("Alford", ANY)));
    cluster.start_on("Alford", disk).expect("it is whole");
    assert_eq!(cluster.knows("Alford").len(), 3);
}

#[test]
fn a_clock_that_is_wrong_at_the_start_costs_nothing_that_the_next_start_does_not_bring_back() {
    let text = format!("{}{ALONE}", topology("Alford", MINUTE));
    let mut disk = MemoryDisk::new(1);
    let mut known = Vec::new();
    for wall in [UnixNanos(NOON * 1_000_000_000), UnixNanos(0), at_noon().wall] {
        let mut cluster = Cluster::new(MemoryOptions { wall, ..at_noon() }, &text);
        cluster.start_on("Alford", disk).expect("it is whole");
        let talk = cluster.client("Alford");
        if known.is_empty() {
            (0..100).for_each(|c| drop(cluster.say(talk, &format!("IAMAT c{c} +1+1 {NOON}"))));
        }
        cluster.run_for(61 * SECOND);
        known.push(cluster.knows("Alford"));
        disk = off(&mut cluster);
    }
    assert_eq!((known[0].len(), known[1].len()), (100, 0));
    assert_eq!(known[2], known[0]);
}

/// Three servers in a row, and 1,000 clients. An impostor has reported each client at one server with a stamp from the
/// future; the clients themselves go on reporting, each at its own server.
struct Poisoned {
    cluster: Cluster,
    clients: [TalkId; 3],
    /// How often the clients have reported.
    round: u64,
}

const ROW: [&str; 3] = ["Alford", "Bolden", "Clark"];

const MANY: usize = 1_000;

fn row(journal: &str, limits: &str) -> String {
    format!("{}{journal}", topology("Alford Bolden; Bolden Clark; Clark", limits))
}

impl Poisoned {
    fn new(journal: &str) -> Poisoned {
        let mut cluster = Cluster::new(at_noon(), &row(journal, ANY));
        for name in ROW {
            if journal.is_empty() {
                cluster.start(name);
            } else {
                cluster.start_on(name, MemoryDisk::new(1)).expect("a new one");
            }
        }
        cluster.settle();
        let clients = ROW.map(|name| cluster.client(name));
        let mut poisoned = Poisoned { cluster, clients, round: 0 };
        poisoned.report();
        for n in 0..MANY {
            let stamp = (NOON + 3_600 + (n * n * n) as u64).min(9_999_999_999);
            let talk = poisoned.clients[n / 7 % 3];
            poisoned.cluster.send(talk, format!("IAMAT client-{n} +9+9 {stamp}\n"));
        }
        poisoned.cluster.settle();
        poisoned
    }

    /// All clients report once more; each receives an AT line.
    fn report(&mut self) {
        self.round += 1;
        self.cluster.run_for(SECOND);
        self.clients.iter().for_each(|talk| drop(self.cluster.hear(*talk)));
        let stamp = NOON + self.round;
        for n in 0..MANY {
            self.cluster.send(self.clients[n % 3], format!("IAMAT client-{n} +1+1 {stamp}\n"));
        }
        self.cluster.settle();
        for (server, talk) in ROW.iter().zip(self.clients) {
            let heard = self.cluster.hear(talk);
            let answers = heard.lines().filter(|line| line.starts_with("AT "));
            assert!(answers.count() > MANY / 3 - 1, "{server} answers each: {heard}");
        }
    }

    /// The number of clients that any server serves with a stamp from the future, and the number of those whose last
    /// report is not served by all servers.
    fn stuck(&mut self) -> (usize, usize) {
        let last = format!(" +1+1 {}", NOON + self.round);
        let mut clients: BTreeMap<usize, [bool; 2]> = BTreeMap::new();
        for name in ROW {
            for n in 0..MANY {
                let line = served(&mut self.cluster, name, &format!("client-{n}"));
                let [future, stale] = clients.entry(n).or_default();
                *future |= line.as_ref().is_some_and(|line| line.contains(" +9+9 "));
                *stale |= line.is_none_or(|line| !line.ends_with(&last));
            }
        }
        let count = |which: usize| clients.values().filter(|wrong| wrong[which]).count();
        (count(0), count(1))
    }

    fn restart(&mut self, name: &str) {
        self.cluster.end(self.clients[ROW.iter().position(|each| *each == name).unwrap()]);
        self.cluster.settle();
        match self.cluster.kill(name).0 {
            None => self.cluster.start(name),
            Some(mut disk) => {
                disk.release();
                self.cluster.start_on(name, disk).expect("it is whole");
            }
        }
        let peers = |name| if name == "Bolden" { 2 } else { 1 };
        while ROW.iter().any(|name| self.cluster.linked(name).len() < peers(*name)) {
            self.cluster.run_for(100 * MS);
        }
        self.cluster.settle();
        self.clients = ROW.map(|name| self.cluster.client(name));
    }
}

#[test]
fn a_herd_is_healed_by_restarting_one_server_after_another_with_the_limit() {
    for journal in ["", "[journal]\nsync = 'everysec'\n"] {
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let mut herd = Poisoned::new(journal);
            herd.report();
            let (before, _) = herd.stuck();
            assert_eq!(before, MANY, "without the limit all are stuck");
            // Restarts alone do not help: a journal or the neighbours bring such reports back.
            herd.restart("Bolden");
            herd.report();
            assert_eq!(herd.stuck().0, MANY);

            herd.cluster.edit(&row(journal, MINUTE));
            for server in order {
                herd.restart(ROW[server]);
                if server != order[2] {
                    herd.report();
                }
            }
            let (at_once, _) = herd.stuck();
            herd.report();
            let (_, after) = herd.stuck();
            println!(
                "P17 {}, restarted {order:?}: {before} clients stuck / {MANY} before, {at_once} with \
                 the last restart, {after} after one more report",
                if journal.is_empty() { "no journal" } else { "with a journal" },
            );
            assert_eq!((at_once, after), (0, 0));
            assert!(agree(&mut herd.cluster));
            herd.cluster.run_for(130 * SECOND + NANO);
            assert_eq!(herd.stuck(), (0, 0), "and nothing comes back");
        }
    }
}
