//! Servers with clients, on a disk that loses unsynced bytes.

use super::seeds;
use crate::support::cluster::memory_disk::{DiskFaults, MemoryDisk};
use crate::support::cluster::{Cluster, MS, SECOND, TalkId, topology};
use crate::support::dice::Dice;
use herd_reactor::Moment;
use herd_reactor::testing::MemoryOptions;
use places_herd::server::health::unhealthy;
use std::collections::BTreeMap;
use std::time::Duration;

const CLIENTS: u64 = 12;

fn alone(sync: &str) -> String {
    let journal = "compact_bytes = 65536\ncompact_keys = 3\nretry_ms = 1000";
    format!("{}[journal]\nsync = '{sync}'\n{journal}\n", topology("Alford", ""))
}

/// One server, one client that counts up, and the replies to it.
struct Life {
    cluster: Cluster,
    client: TalkId,
    dice: Dice,
    said: u64,
    /// Every acknowledged stamp of each client, and when it was acknowledged.
    acknowledged: BTreeMap<u64, Vec<(u64, Moment)>>,
    refused: u64,
}

impl Life {
    fn new(seed: u64, sync: &str, disk: MemoryDisk) -> Life {
        let mut cluster = Cluster::new(MemoryOptions::calm(seed), &alone(sync));
        cluster.start_on("Alford", disk).expect("the disk is empty");
        let client = cluster.client("Alford");
        let dice = Dice::new(seed);
        Life { cluster, client, dice, said: 0, acknowledged: BTreeMap::new(), refused: 0 }
    }

    /// Sends a few reports at once, and lets some time pass.
    fn step(&mut self) {
        for _ in 0..1 + self.dice.roll(8) {
            self.said += 1;
            let client = self.dice.roll(CLIENTS);
            let line = format!("IAMAT c{client} +34.068930-118.445127 {}\n", self.said);
            self.cluster.send(self.client, line);
        }
        let pause = match self.dice.roll(10) {
            0 => Duration::from_millis(self.dice.roll(700)),
            _ => Duration::from_micros(self.dice.roll(3_000)),
        };
        self.cluster.run_for(pause);
        self.listen();
    }

    fn listen(&mut self) {
        let now = self.cluster.now();
        for line in self.cluster.hear(self.client).lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields[..] {
                ["AT", "Alford", _, client, _, stamp] => {
                    let client = client[1..].parse().expect("a client of ours");
                    let stamp = stamp.parse().expect("a stamp of ours");
                    self.acknowledged.entry(client).or_default().push((stamp, now));
                }
                ["?", ..] => self.refused += 1,
                _ => panic!("{line}"),
            }
        }
    }

    /// Turns the power off and on again. Returns the acknowledged reports that are missing, each with the time since
    /// its acknowledgement.
    fn crash(&mut self) -> Vec<(u64, u64, Duration)> {
        let mut disk = self.cluster.crash_off("Alford");
        disk.crash();
        disk.faults = Default::default();
        self.cluster.start_on("Alford", disk).expect("what is left can be read");
        let known: BTreeMap<String, u64> = self
            .cluster
            .knows("Alford")
            .into_iter()
            .map(|(client, line)| (client, line.rsplit(' ').next().unwrap().parse().unwrap()))
            .collect();
        let now = self.cluster.now();
        let mut lost = Vec::new();
        for (client, acknowledged) in &self.acknowledged {
            let kept = known.get(&format!("c{client}")).copied().unwrap_or(0);
            let missing = acknowledged.iter().filter(|(stamp, _)| *stamp > kept);
            lost.extend(missing.map(|(stamp, at)| (*client, *stamp, now - *at)));
        }
        lost
    }
}

/// Returns a disk that in some cases also fails before the power does.
fn disk(seed: u64, dice: &mut Dice) -> MemoryDisk {
    let mut disk = MemoryDisk::new(seed);
    disk.sync_time = Duration::from_micros(50)..=Duration::from_millis(3);
    match dice.roll(4) {
        0 => disk.faults.calls_left = Some(10 + dice.roll(120)),
        1 => disk.faults.short_writes = 0.3,
        _ => {}
    }
    disk
}

#[test]
fn with_always_an_acknowledged_report_is_never_missing() {
    let (mut acknowledged, mut ended) = (0, 0);
    for seed in 0..seeds() {
        let mut dice = Dice::new(seed ^ 0xa1);
        let mut life = Life::new(seed, "always", disk(seed, &mut dice));
        let fails_at = dice.roll(40);
        for step in 0..10 + dice.roll(30) {
            if seed % 4 == 3 && step == fails_at {
                let faults = &mut life.cluster.disk("Alford").faults;
                match dice.roll(3) {
                    0 => faults.sync_errors = 1.0,
                    1 => faults.write_errors = 1.0,
                    _ => faults.room_bytes = Some(0),
                }
            }
            life.step();
        }
        ended += u64::from(life.cluster.has_ended("Alford"));
        acknowledged += life.acknowledged.values().map(Vec::len).sum::<usize>();
        assert_eq!(life.refused, 0, "seed {seed}: with always no report is rejected");
        let lost = life.crash();
        assert!(lost.is_empty(), "seed {seed}: acknowledged and lost: {lost:?}");
    }
    println!(
        "always: 0 of {acknowledged} acknowledged reports lost in {} crashes; {ended} members had \
         ended by themselves",
        seeds()
    );
    assert!(ended > 0 && acknowledged > 0);
}

#[test]
fn with_everysec_a_crash_loses_a_second_and_a_sync_at_most() {
    let (mut longest, mut lost_in_all, mut acknowledged) = (Duration::ZERO, 0, 0);
    for seed in 0..seeds() {
        let mut dice = Dice::new(seed ^ 0xe5);
        let mut disk = MemoryDisk::new(seed);
        let sync_max = Duration::from_millis(3);
        disk.sync_time = Duration::ZERO..=sync_max;
        let mut life = Life::new(seed, "everysec", disk);
        (0..10 + dice.roll(60)).for_each(|_| life.step());
        acknowledged += life.acknowledged.values().map(Vec::len).sum::<usize>();
        let lost = life.crash();
        lost_in_all += lost.len();
        for (client, stamp, age) in lost {
            assert!(age <= SECOND + sync_max + MS, "seed {seed}: c{client} {stamp}: {age:?}");
            longest = longest.max(age);
        }
    }
    println!(
        "everysec: lost window at most {longest:?} in {} crashes, {lost_in_all} of {acknowledged} \
         acknowledged reports",
        seeds()
    );
    assert!(lost_in_all > 0, "the disk lost nothing, so the test checked nothing");
}

#[test]
fn with_any_policy_the_end_of_the_process_alone_loses_nothing() {
    for sync in ["always", "everysec", "no"] {
        for seed in 0..seeds() / 20 {
            let mut life = Life::new(seed, sync, MemoryDisk::new(seed));
            (0..20).for_each(|_| life.step());
            let mut disk = life.cluster.crash_off("Alford");
            disk.release();
            life.cluster.start_on("Alford", disk).expect("it is whole");
            let known = life.cluster.knows("Alford");
            for (client, acknowledged) in &life.acknowledged {
                let newest = acknowledged.iter().map(|(stamp, _)| *stamp).max().unwrap();
                let line = &known[&format!("c{client}")];
                assert!(line.ends_with(&format!(" {newest}")), "{sync}, seed {seed}: {line}");
            }
        }
    }
}

#[test]
fn with_always_a_failure_ends_the_server_and_its_replies_stay() {
    let mut life = Life::new(1, "always", MemoryDisk::new(1));
    life.step();
    life.cluster.settle();
    life.listen();
    life.cluster.disk("Alford").faults.sync_errors = 1.0;
    let told = life.cluster.say(life.client, "IAMAT kiwi +1+1 5");
    assert_eq!(told, "");
    assert!(life.cluster.has_ended("Alford") && life.cluster.member("Alford").journal_failed());
}

#[test]
fn with_everysec_reads_go_on_and_reports_are_refused_until_a_new_file_is_whole() {
    for full in [false, true] {
        let mut life = Life::new(1, "everysec", MemoryDisk::new(1));
        let cluster = &mut life.cluster;
        let before = cluster.say(life.client, "IAMAT kiwi +1+1 5");
        assert!(before.starts_with("AT Alford "), "{before}");
        let errors = if full { 0.0 } else { 1.0 };
        cluster.disk("Alford").faults = DiskFaults {
            room_bytes: full.then_some(0),
            write_errors: errors,
            sync_errors: errors,
            ..DiskFaults::default()
        };
        // The reports of the turn in which the disk fails are still answered: the
        // policy allows a second until they are synced.
        assert!(cluster.say(life.client, "IAMAT kiwi +1+1 6").starts_with("AT "));
        for stamp in 7..20 {
            let refused = cluster.say(life.client, &format!("IAMAT kiwi +1+1 {stamp}"));
            assert_eq!(refused, format!("? IAMAT kiwi +1+1 {stamp}\n"));
            cluster.run_for(300 * MS);
        }
        // The table still serves reads; this cluster has no source of places, so WHATSAT plum is checked instead.
        let (member, core) = cluster.reactor("Alford").parts();
        assert!(unhealthy(member, core.wall())[0].contains("journal"), "it is not healthy");
        assert!(cluster.knows("Alford")["kiwi"].ends_with(" 6"));
        assert_eq!(cluster.say(life.client, "WHATSAT plum 10 1"), "? WHATSAT plum 10 1\n");
        cluster.disk("Alford").faults = Default::default();
        let healed = cluster.now();
        while !cluster.say(life.client, "IAMAT kiwi +1+1 30").starts_with("AT ") {
            cluster.run_for(10 * MS);
        }
        println!("full {full}: reports are taken {:?} after the disk is", cluster.now() - healed);
        assert!(cluster.now() - healed <= SECOND + 50 * MS);
        let (member, core) = cluster.reactor("Alford").parts();
        assert!(unhealthy(member, core.wall()).is_empty());
        let refused = core.throttled("journal");
        let counts = member.journal_counts().expect("it has one");
        assert!(refused >= 13 && counts.failures >= 2 && counts.compactions == 1, "{counts:?}");
        assert!(counts.failures < 8, "tried every second, and not more often: {counts:?}");
        cluster.run_for(2 * SECOND);
        life.acknowledged = BTreeMap::new();
        life.crash();
        assert!(life.cluster.knows("Alford")["kiwi"].ends_with(" 30"));
    }
}

#[test]
fn neighbours_news_is_taken_while_reports_are_refused_and_is_kept() {
    let text = topology("Alford Bolden; Bolden", "");
    let text = format!("{text}[journal]\nsync = 'everysec'\nretry_ms = 1000\n");
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
    cluster.start_on("Alford", MemoryDisk::new(1)).expect("a new one");
    cluster.start("Bolden");
    cluster.settle();
    let (there, here) = (cluster.client("Bolden"), cluster.client("Alford"));
    cluster.disk("Alford").faults.sync_errors = 1.0;
    cluster.say(there, "IAMAT kiwi +1+1 5");
    cluster.run_for(3 * SECOND);
    assert_eq!(cluster.say(here, "IAMAT plum +1+1 5"), "? IAMAT plum +1+1 5\n");
    cluster.say(there, "IAMAT pear +1+1 5");
    cluster.disk("Alford").faults.sync_errors = 0.0;
    cluster.run_for(3 * SECOND);
    assert!(cluster.say(here, "IAMAT plum +1+1 5").starts_with("AT "));
    cluster.run_for(2 * SECOND);
    cluster.crash("Bolden");
    let mut disk = cluster.crash_off("Alford");
    disk.crash();
    cluster.start_on("Alford", disk).expect("it is whole");
    assert_eq!(cluster.knows("Alford").into_keys().collect::<Vec<_>>(), ["kiwi", "pear", "plum"]);
}

#[test]
fn compaction_keeps_the_file_small_under_load_and_never_stops_it() {
    let mut life = Life::new(1, "no", MemoryDisk::new(1));
    let mut largest = 0;
    for _ in 0..4_000 {
        life.step();
        largest = largest.max(life.cluster.disk("Alford").size());
    }
    let counts = life.cluster.member("Alford").journal_counts().expect("it has one");
    println!(
        "{} records, {} compactions, {largest} bytes at most",
        counts.records, counts.compactions
    );
    assert!(counts.compactions >= 5 && largest < 2 * 65_536 + 65_536, "{largest}, {counts:?}");
    let mut disk = life.cluster.crash_off("Alford");
    disk.release();
    let replayed = life.cluster.start_on("Alford", disk).expect("it is whole");
    assert_eq!(life.cluster.knows("Alford").len() as u64, CLIENTS);
    assert!(replayed.records < counts.records / 2, "{replayed:?}");
}
