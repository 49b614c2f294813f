//! A neighbour that never reads: the number of clients bounds the memory that it costs, whatever the time and the load.

use super::{ALFORD, bench, mib};
use crate::support::cluster::{Cluster, SECOND, topology};
use crate::support::herd::{Herd, Setup, eventually};
use herd_reactor::testing::MemoryOptions;
use std::fmt::Write;
use std::time::{Duration, Instant};

const BOLDEN: &str = "Bolden";

/// The default of `flood_buffer_bytes`.
const FLOOD_BUFFER_BYTES: usize = 262_144;
/// The default of `line_bytes`.
const LINE_BYTES: usize = 16_384;

/// A neighbour sends PING but reads nothing for `seconds` seconds, in each of which each of `clients` clients reports.
/// Then it reads.
fn deaf_for(seconds: u64, clients: usize) {
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology("Aaron; Alford Aaron", ""));
    cluster.start(ALFORD);
    let neighbour = cluster.stranger(ALFORD);
    assert_eq!(
        cluster.say(neighbour, "HELLO Aaron places-herd 1"),
        "HELLO Alford places-herd 1 speaks=1-1\n"
    );
    cluster.listen_to(neighbour, false);
    let client = cluster.client(ALFORD);
    let (mut pending, mut backlog, mut buffered, mut told) = (0, 0, 0, 0);
    let from = cluster.now();
    for second in 1..=seconds {
        let mut lines = String::new();
        for n in 0..clients {
            let _ = writeln!(lines, "IAMAT client-number-{n} +34.068930-118.445127 {second}");
        }
        cluster.send(client, &lines);
        if second % 5 == 0 {
            cluster.send(neighbour, "PING\n");
        }
        cluster.run_until(from + u32::try_from(second).expect("some hours") * SECOND);
        told += cluster.hear(client).lines().filter(|line| line.starts_with("AT Alford ")).count();
        pending = pending.max(cluster.pending(ALFORD, "Aaron"));
        backlog = backlog.max(cluster.backlog(ALFORD, "Aaron"));
        buffered = buffered.max(cluster.member(ALFORD).table.slot_bytes());
        cluster.forget_lines();
    }
    cluster.run_for(SECOND);
    told += cluster.hear(client).lines().count();
    assert_eq!(told as u64, seconds * clients as u64, "each report was answered");
    assert!(
        cluster.linked(ALFORD).contains("Aaron"),
        "a neighbour that is only behind stays linked"
    );
    assert!(pending <= FLOOD_BUFFER_BYTES + LINE_BYTES, "{pending} bytes wait");
    assert!(backlog <= clients, "{backlog} clients of {clients} are in the backlog");

    cluster.listen_to(neighbour, true);
    cluster.run_for(10 * SECOND);
    let heard = cluster.hear(neighbour);
    let newest = format!(" {seconds}");
    let newest = heard.lines().filter(|line| line.starts_with("AT ") && line.ends_with(&newest));
    assert_eq!(newest.count(), clients, "it has the newest of each client, once");
    println!(
        "P8 neighbour that never reads, simulated: {seconds} s, {told} reports of {clients} clients: at \
         most {pending} bytes and {backlog} clients waited for it, the table {buffered} bytes; then {} lines",
        heard.lines().count()
    );
}

#[test]
fn an_hour_with_a_neighbour_that_never_reads_costs_no_more_than_its_clients() {
    deaf_for(3_600, 60);
}

#[test]
#[ignore = "takes minutes: an hour of 2,000 reports a second"]
fn an_hour_of_full_load_with_a_neighbour_that_never_reads() {
    deaf_for(3_600, 2_000);
}

/// The measured effect of a neighbour's stop.
struct Stopped {
    grown_bytes: u64,
    replies: u64,
    converged: Duration,
}

/// Stops Bolden under load for `seconds`, resumes it, and waits until both tables are equal.
fn stop_for(setup: Setup, seconds: u64) -> Stopped {
    let load = |seconds: u64| format!("-C 10 -P 100 --keys 1000 -d {seconds}");
    let same = |herd: &Herd| {
        let [one, other] = [ALFORD, BOLDEN].map(|name| herd.status(name)["state"].clone());
        if one == other { Ok(()) } else { Err([one, other]) }
    };
    let herd = setup.without_traffic_in_the_log().start();
    herd.linked(ALFORD, BOLDEN);
    bench(&herd, &load(1));
    eventually("both know the same", || same(&herd));
    let before = herd.process(ALFORD).memory_bytes();
    herd.freeze(BOLDEN);
    let report = bench(&herd, &load(seconds));
    let grown_bytes = herd.process(ALFORD).memory_bytes().saturating_sub(before);
    let thawed = Instant::now();
    herd.thaw(BOLDEN);
    eventually("both know the same again", || same(&herd));
    let replies = report["replies"].as_u64().expect("a number");
    Stopped { grown_bytes, replies, converged: thawed.elapsed() }
}

fn pair() -> Setup {
    Setup::of(&[ALFORD, BOLDEN], &[(ALFORD, BOLDEN)])
}

fn tell(what: &str, seconds: u64, stopped: &Stopped) {
    println!(
        "P8 neighbour stopped for {seconds} s, {what}: {} replies meanwhile, RSS grew by {:.2} MiB, \
         converged {:.2?} after SIGCONT",
        stopped.replies,
        mib(stopped.grown_bytes),
        stopped.converged
    );
}

#[test]
fn a_stopped_neighbour_costs_bounded_memory_and_catches_up() {
    let stopped = stop_for(pair(), 5);
    tell("the link kept", 5, &stopped);
    assert!(stopped.grown_bytes <= 8 << 20, "{} bytes", stopped.grown_bytes);
}

#[test]
#[ignore = "takes minutes: two stops of a minute under full load"]
fn a_neighbour_stopped_for_a_minute_costs_bounded_memory_and_catches_up() {
    let kept = stop_for(pair(), 60);
    tell("the link kept", 60, &kept);
    // With the shipped limits the neighbour is silent for too long: it is closed, and dialled again and again.
    let shipped = pair().limit("ping_ms", 5_000).limit("silence_ms", 15_000);
    let shipped = shipped.limit("retry_first_ms", 200).limit("retry_max_ms", 5_000);
    let cut = stop_for(shipped, 60);
    tell("the shipped limits", 60, &cut);
    for stopped in [&kept, &cut] {
        assert!(stopped.grown_bytes <= 8 << 20, "{} bytes", stopped.grown_bytes);
        // This holds for the closed link, too: a new connection already waits for the neighbour to resume.
        assert!(stopped.converged <= Duration::from_secs(2), "{:?}", stopped.converged);
    }
}
