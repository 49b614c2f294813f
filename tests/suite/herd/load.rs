//! The load generator drives real servers, and finds every reply correct.

use crate::support::herd::{FIVE, Herd, Setup};
use clap::Parser;
use herd_bench::{Options, run};
use serde_json::Value;

/// Runs the generator with addresses, ids and the options `line`, and returns its report.
#[track_caller]
fn bench(herd: &Herd, servers: &[&str], line: &str) -> Value {
    let mut words = vec!["herd-bench".to_owned(), "--json".to_owned()];
    for server in servers {
        words.push(herd.client_address(server).to_string());
        words.push(format!("--pid={}", herd.process(server).id()));
    }
    words.extend(line.split_whitespace().map(str::to_owned));
    let options = Options::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    run(&options, &mut out).unwrap_or_else(|failure| panic!("{line}: {failure}"));
    serde_json::from_slice(&out).expect("one line of JSON")
}

#[test]
fn replies_under_load_are_right_whatever_the_mix_and_however_many_are_in_flight() {
    let herd = Setup::alone().start();
    for (load, iamats, whatsats) in [
        ("-C 1 -P 1 -n 200", 200, 0),
        ("-C 5 -P 100 -n 10000", 10_000, 0),
        ("-C 3 -P 20 -n 900 --mix iamat=2,whatsat=1 --keys 30", 600, 300),
        ("-C 2 -P 1 -n 50 --mix whatsat=1 --keys 16 --radius 50", 0, 50),
        ("-C 3 -P 4 -n 500 --rate 5000 --mix iamat=9,whatsat=1", 450, 50),
    ] {
        let report = bench(&herd, &["Alford"], load);
        let count = |kind: &str| report["latency_us"][kind]["count"].as_u64().unwrap_or(0);
        assert_eq!((count("IAMAT"), count("WHATSAT")), (iamats, whatsats), "{load}");
        assert!(report["used"]["server_us_each"].as_f64().is_some_and(|us| us > 0.0), "{report}");
    }
}

#[test]
fn connections_idle_ones_and_clients_are_counted() {
    let herd = Setup::alone().start();
    let report = bench(&herd, &["Alford"], "--connect -C 4 -n 100");
    assert_eq!(report["count"], 100);
    let report = bench(&herd, &["Alford"], "--idle 400 -C 2 -n 100");
    assert_eq!((&report["idle"]["first"], &report["replies"]), (&200.into(), &100.into()));
    let report = bench(&herd, &["Alford"], "--records 20000");
    let each = report["records"]["bytes_each"].as_f64().expect("a number");
    assert!(each > 10.0, "a record is stored somewhere: {report}");
    assert_eq!(report["latency_us"]["IAMAT"]["count"], 20_000);
}

/// The herd of five, each server with an observer of the generator as its plain neighbour. Hamilton receives the reports;
/// its news takes three hops to Welsh.
fn observed() -> (Herd, String) {
    const HOPS: [(&str, u32); 5] =
        [("Hamilton", 0), ("Parker", 1), ("Alford", 2), ("Bolden", 2), ("Welsh", 3)];
    let setup = HOPS
        .iter()
        .fold(Setup::five(), |setup, (server, _)| setup.plain(&format!("By{server}"), server));
    let mut herd = setup.without_traffic_in_the_log().start();
    let observers = HOPS.map(|(server, hops)| {
        let address = herd.leave_to_others(&format!("By{server}"));
        format!(" --observer {hops}={address}")
    });
    (herd, observers.concat())
}

#[test]
fn news_is_seen_at_every_server_by_its_observer() {
    let (herd, observers) = observed();
    let report = bench(&herd, &["Hamilton"], &format!("--flood -n 30{observers}"));
    let counts: Vec<_> = ["reply", "0 hops", "1 hop", "2 hops", "3 hops"]
        .map(|row| report["latency_us"][row]["count"].as_u64())
        .into();
    assert_eq!(counts, [30, 30, 30, 60, 30].map(Some), "{report}");
}

#[test]
fn a_burst_into_all_servers_ends_when_all_know_all() {
    let (herd, observers) = observed();
    let line = format!("--flood --burst 5000 -C 10 -P 100{observers}");
    let report = bench(&herd, &FIVE, &line);
    assert_eq!((&report["clients"], &report["observers"]), (&5_000.into(), &5.into()));
    assert!(report["seconds"].as_f64() >= report["seconds_to_last_reply"].as_f64(), "{report}");
}

#[test]
fn without_observers_servers_are_asked_and_the_report_says_so() {
    let herd = Setup::five().without_traffic_in_the_log().start();
    let report = bench(&herd, &["Hamilton", "Parker", "Welsh"], "--flood -n 10");
    let welsh = herd.client_address("Welsh").to_string();
    assert_eq!(report["latency_us"][&welsh]["count"], 10, "{report}");
    assert!(report["notes"].to_string().contains("WHATSAT"), "{report}");
}
