//! More connections than descriptors.

use super::{ALFORD, let_pass};
use crate::support::herd::{Client, Setup, eventually, holds, raise_descriptors, same};
use crate::support::skipped;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const DESCRIPTORS: u32 = 256;

/// Takes all 256 descriptors of a server, and makes many more attempts, at both ports.
fn starve(setup: Setup, attempts: usize, watched: Duration) {
    raise_descriptors();
    // Strangers and clients together exceed the number of descriptors.
    let setup = setup.played("Aaron", ALFORD).limit("hello_ms", 600_000);
    let herd = setup.limit("unfinished_line_ms", 600_000).without_traffic_in_the_log().start();
    let server = herd.process(ALFORD);
    let mut first = herd.client(ALFORD);
    same(&first.ask("x"), b"? x", "the first is served");
    // All attempts stay connected at the same time, as far as the server allows it.
    let mut strangers: Vec<Client> = (0..100).map(|_| herd.stranger(ALFORD)).collect();
    let mut served: Vec<Client> = Vec::new();
    let mut turned_away = 0;
    let mut left = attempts - strangers.len();
    while left > 0 {
        let some: Vec<Client> = (0..left.min(500)).map(|_| herd.client(ALFORD)).collect();
        left -= some.len();
        for mut client in some {
            client.try_send("x\n");
            match client.is_ended() {
                true => turned_away += 1,
                false => served.push(client),
            }
        }
    }
    assert_eq!(served.len() + turned_away + strangers.len(), attempts, "none is left hanging");
    assert!((64..DESCRIPTORS as usize).contains(&(served.len() + strangers.len())));
    assert!(server.descriptors() <= DESCRIPTORS as usize);
    herd.logged(
        ALFORD,
        &["limit", "no descriptor is free", "turned away", "ulimit -n", "connections"],
    );

    // Only now and then a connection comes or goes, so the processor must rest.
    let (before, start) = (server.ticks(), Instant::now());
    while start.elapsed() < watched {
        let mut another = herd.client(ALFORD);
        another.try_send("x\n");
        assert!(another.is_ended(), "there is no room");
        let_pass(Duration::from_millis(50));
    }
    let share = (server.ticks() - before) as f64 / start.elapsed().as_secs_f64();
    same(&first.ask("y"), b"? y", "a connected client is served all the time");

    // Connections that close make room.
    let (were, freed) = (served.len(), Instant::now());
    served.clear();
    strangers.clear();
    eventually("a new client is served", || {
        let mut client = herd.client(ALFORD);
        client.try_send("x\n");
        holds(!client.is_ended())
    });
    let told =
        herd.log(ALFORD).lines().filter(|line| line.contains("no descriptor is free")).count();
    println!(
        "P11 {attempts} attempts at {DESCRIPTORS} descriptors: {were} served, {turned_away} turned away, \
         none left waiting; {share:.1} % of a core while starved; served again {:.0?} after room; {told} log \
         lines",
        freed.elapsed()
    );
    assert!(share <= 5.0, "it spins: {share:.1} %");
}

#[test]
fn connections_beyond_the_descriptors_are_turned_away_and_the_processor_rests() {
    let setup = Setup::of(&[ALFORD], &[]).descriptors(DESCRIPTORS);
    starve(setup, 600, Duration::from_millis(500));
}

#[test]
#[ignore = "takes a minute: 10,000 attempts"]
fn ten_thousand_attempts_at_256_descriptors() {
    let setup = Setup::of(&[ALFORD], &[]).descriptors(DESCRIPTORS);
    starve(setup, 10_000, Duration::from_secs(5));
}

/// A connection that waits in the backlog is accepted when a descriptor is freed, without a further connection.
#[test]
fn who_waits_when_room_comes_back_is_served_without_another_connection() {
    raise_descriptors();
    let setup = Setup::of(&[ALFORD], &[]).descriptors(DESCRIPTORS).limit("connections", 100);
    let herd = setup.start();
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..400).map(|_| herd.client(ALFORD)).collect();
        let served = clients.iter_mut().filter_map(|client| {
            client.try_send("x\n");
            (!client.is_ended()).then_some(())
        });
        assert!(served.count() >= 64, "each is served or closed, none waits");
        drop(clients);
        eventually("all are gone", || holds(herd.status(ALFORD)["connected_clients"] == 0));
        let mut one = herd.client(ALFORD);
        same(&one.ask("x"), b"? x", "one connection, and it is served");
    }
}

/// Counts by strace how often the kernel returns EMFILE.
#[test]
#[ignore = "takes a minute, and needs strace"]
fn the_kernel_is_not_asked_in_vain_again_and_again() {
    if Command::new("strace").arg("-V").output().is_err() {
        skipped::<()>("P11 EMFILE: strace is missing");
        return;
    }
    raise_descriptors();
    let inside = "ulimit -n 256 && exec strace -D -qq -e trace=accept4 -e signal=none -o accepts \
                  \"$0\" \"$@\"";
    let setup = Setup::of(&[ALFORD], &[]).inside(&["sh", "-c", inside]).played("Aaron", ALFORD);
    let herd = setup.limit("hello_ms", 600_000).start();
    let _strangers: Vec<Client> = (0..100).map(|_| herd.stranger(ALFORD)).collect();
    let mut served: Vec<Client> = Vec::new();
    let start = Instant::now();
    let mut attempts = 0;
    while start.elapsed() < Duration::from_secs(5) {
        attempts += 1;
        let mut client = herd.client(ALFORD);
        client.try_send("x\n");
        if !client.is_ended() {
            served.push(client);
        }
        thread::yield_now();
    }
    let refused = || {
        let trace = fs::read_to_string(herd.folder().join("accepts")).unwrap_or_default();
        trace.lines().filter(|line| line.contains("EMFILE")).count()
    };
    let under_attack = refused();
    let_pass(Duration::from_secs(5));
    let at_rest = refused() - under_attack;
    println!(
        "P11 EMFILE: {under_attack} of {attempts} attempts in 5 s met it, each once; {at_rest} in 5 s \
         without attempts"
    );
    assert!(under_attack > 0 && under_attack <= attempts, "once for an attempt at most");
    assert!(at_rest <= 100, "20 a second at most");
}
