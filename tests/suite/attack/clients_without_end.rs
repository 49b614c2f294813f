//! Endless lines, and an endless number of new clients.

use super::{ALFORD, mib};
use crate::support::cluster::{Cluster, SECOND, topology};
use crate::support::herd::{
    Client, Herd, NOWHERE, Setup, eventually, holds, masked, same, unix_ns,
};
use herd_reactor::Io;
use herd_reactor::testing::MemoryOptions;
use std::fmt::Write as _;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

/// Sends one endless line, until the connection is closed or `bytes` are sent. Returns how many bytes the kernel took,
/// and the reply.
fn endless(mut client: Client, bytes: usize) -> (usize, Vec<u8>) {
    let mut writer = Client::from(client.writer());
    let sender = thread::spawn(move || {
        let piece = vec![b'a'; 65_536];
        (0..bytes / piece.len()).take_while(|_| writer.try_send(&piece)).count() * piece.len()
    });
    let (reply, _) = client.rest_and_end();
    (sender.join().expect("it only sends"), reply)
}

fn endless_lines(at_each_port: usize) {
    const FAR_MORE: usize = 256 << 20;
    let herd = Setup::of(&[ALFORD], &[]).played("Aaron", ALFORD).start();
    let before = herd.process(ALFORD).memory_bytes();
    let (mut most, expected) = (0, [b"? ".as_slice(), &[b'a'; 1_024], b"\n"].concat());
    for _ in 0..at_each_port {
        let linked = herd.neighbour("Aaron", ALFORD);
        for (port, client) in
            [("client", herd.client(ALFORD)), ("peer", herd.stranger(ALFORD)), ("linked", linked)]
        {
            let (taken, mut reply) = endless(client, FAR_MORE);
            // A neighbour receives other lines before the reply.
            let kept = reply.len().saturating_sub(expected.len());
            same(&reply.split_off(kept), &expected, port);
            most = most.max(taken);
        }
    }
    assert!(most < FAR_MORE, "the connection is closed long before");
    let grown = herd.process(ALFORD).memory_bytes().saturating_sub(before);
    for who in ["Chatserver,", "Interserver,"] {
        herd.logged(ALFORD, &["WARN", "limit: ", who, "line_bytes = 16384"]);
    }
    println!(
        "P8 endless lines: {} cut, the longest at {:.1} MiB of {} (kernel buffers included), RSS grew by \
         {:.2} MiB",
        3 * at_each_port,
        mib(most as u64),
        FAR_MORE >> 20,
        mib(grown)
    );
    assert!(grown < 4 << 20, "{grown} bytes");
}

#[test]
fn endless_lines_are_cut_at_both_ports() {
    endless_lines(1);
}

#[test]
#[ignore = "takes a minute: hundreds of endless lines"]
fn endless_lines_again_and_again() {
    endless_lines(100);
}

/// Reports the clients `from` to `to`, pipelined. Returns how many reports were accepted and how many refused.
fn report(herd: &Herd, from: usize, to: usize) -> (usize, usize) {
    let mut client = herd.client(ALFORD);
    let mut writer = client.writer();
    let now = unix_ns() / 1_000_000_000;
    let sender = thread::spawn(move || {
        for start in (from..to).step_by(1_000) {
            let mut lines = String::new();
            for n in start..to.min(start + 1_000) {
                let _ = writeln!(lines, "IAMAT client-{n} {NOWHERE} {now}");
            }
            writer.write_all(lines.as_bytes()).expect("the server reads");
        }
    });
    let (mut taken, mut refused) = (0, 0);
    for n in from..to {
        match client.line() {
            line if line.starts_with(b"AT Alford ") => taken += 1,
            line => {
                same(&line, format!("? IAMAT client-{n} {NOWHERE} {now}").as_bytes(), "a copy");
                refused += 1;
            }
        }
    }
    sender.join().expect("all was sent");
    (taken, refused)
}

/// Fills the table of a server with `most` clients, its limit, and reports more.
fn beyond(most: usize, more: usize, expire: bool) {
    let setup =
        Setup::of(&[ALFORD], &[]).played("Aaron", ALFORD).limit("known_clients", most as u64);
    let setup = if expire { setup.limit("expire_after_s", 60) } else { setup };
    let herd = setup.without_traffic_in_the_log().start();
    let empty = herd.process(ALFORD).memory_bytes();
    assert_eq!(report(&herd, 0, most), (most, 0));
    // The first refusal may allocate.
    assert_eq!(report(&herd, most, most + 1), (0, 1));
    let full = herd.process(ALFORD).memory_bytes();
    assert_eq!(report(&herd, most + 1, most + more), (0, more - 1), "each new one is refused");
    let grown = herd.process(ALFORD).memory_bytes().saturating_sub(full);
    let mut client = herd.client(ALFORD);
    let now = unix_ns() / 1_000_000_000;
    let known = client.ask(format!("IAMAT client-1 {NOWHERE} {now}"));
    let expected = format!("AT Alford # client-1 {NOWHERE} {now}");
    same(&masked(&known), expected.as_bytes(), "known ones are served");
    client.whatsat("client-0", "0.001", "1").expect("they are found, too");
    // A neighbour's news is never refused, or servers would not agree.
    let mut neighbour = herd.neighbour("Aaron", ALFORD);
    neighbour.send(format!("AT Aaron +0.000000001 of-aaron {NOWHERE} {now}\n"));
    eventually("a neighbour's new client is known", || {
        holds(client.whatsat("of-aaron", "1", "1").is_ok())
    });
    herd.logged(
        ALFORD,
        &["WARN", &format!("limit: known_clients = {most}, known_bytes = "), "refused"],
    );
    let lines = herd.log(ALFORD).lines().filter(|line| line.contains("known_clients = ")).count();
    assert!(lines < more, "one log line counts several refusals: {lines} lines");
    println!(
        "P9 {most} clients and {more} more: {more} of {more} refused, {:.0} bytes of RSS for each known, RSS \
         grew by {:.2} MiB while {more} were refused, {lines} lines in the log",
        (full - empty) as f64 / most as f64,
        mib(grown)
    );
    let (room, each) = (4 << 20, full.saturating_sub(empty) / most as u64);
    assert!(full <= empty + 250 * most as u64 + room, "{each} bytes for each client");
    assert!(grown <= 1 << 20, "RSS is flat: {grown} bytes");
    if expire {
        let waited = Instant::now();
        while herd.status(ALFORD)["known_clients"] != 0 {
            assert!(waited.elapsed() < Duration::from_secs(180), "they are forgotten");
            thread::park_timeout(Duration::from_millis(500));
        }
        let waited = waited.elapsed();
        assert_eq!(report(&herd, most, 2 * most), (most, 0), "there is room for as many again");
        let after = herd.process(ALFORD).memory_bytes();
        println!(
            "P9 expire_after_s = 60: room for {most} new clients {waited:.0?} later; RSS {:.1} MiB when full \
             again, {:.1} when full first",
            mib(after),
            mib(full)
        );
        // Free keys and free slots are listed, four bytes each, in lists that grow by doubling.
        assert!(after <= full + 16 * most as u64 + (1 << 20));
    }
}

#[test]
fn beyond_known_clients_new_ones_are_refused_and_memory_stays() {
    beyond(5_000, 20_000, false);
}

#[test]
#[ignore = "takes minutes: a million clients, and the full minutes at which they are forgotten"]
fn a_million_clients_and_more() {
    beyond(1_000_000, 200_000, true);
}

#[test]
fn with_expire_after_s_there_is_room_again() {
    let limits = "known_clients = 100\nexpire_after_s = 60";
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &topology("Alford", limits));
    cluster.start(ALFORD);
    let client = cluster.client(ALFORD);
    let report = |cluster: &mut Cluster, n: usize| {
        let now = cluster.reactor(ALFORD).io().wall().0 / 1_000_000_000;
        cluster.say(client, &format!("IAMAT client-{n} +1+1 {now}")).starts_with("AT ")
    };
    assert!((0..100).all(|n| report(&mut cluster, n)));
    assert!((100..200).all(|n| !report(&mut cluster, n)));
    cluster.run_for(121 * SECOND);
    assert!((100..200).all(|n| report(&mut cluster, n)), "the old ones are forgotten");
    assert!(!report(&mut cluster, 0), "and now these are all");
}
