//! `herd status --healthy` and `--prometheus`: what a monitoring system gets to see. `herd trace`.

use super::{KIWI, PAIR};
use crate::support::process::{Herd, until};
use crate::support::promtool;
use rustix::process::Signal;

#[test]
fn promtool_accepts_the_metrics_of_one_server_and_of_several() {
    let herd = Herd::new("promtool", PAIR);
    let _servers = ["Alford", "Bolden"].map(|name| herd.serve(name));
    assert_eq!(herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]).code, Some(0));
    assert_eq!(herd.run(&["client", "Alford", "whatsat", "kiwi", "10", "5"]).code, Some(0));
    until("they are linked", || {
        let linked = herd.run(&["status", "--healthy", "--linked", "1"]);
        (linked.code == Some(0)).then_some(())
    });
    let one = herd.run(&["status", "Alford", "--prometheus"]);
    let all = herd.run(&["status", "--prometheus"]);
    for shown in [&one, &all] {
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
        assert!(shown.stdout.ends_with('\n'), "{shown:?}");
    }
    assert!(one.stdout.contains("\nherd_table_clients{server=\"Alford\"} 1\n"), "{}", one.stdout);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("herd_build_info{{server=\"Bolden\",version=\"{version}\"}} 1");
    for sample in [
        "herd_table_clients{server=\"Alford\"} 1",
        "herd_table_clients{server=\"Bolden\"} 1",
        "herd_neighbour_up{server=\"Alford\",neighbour=\"Bolden\"} 1",
        "herd_questions_total{server=\"Alford\",source=\"embedded\",status=\"OK\"} 1",
        &build,
    ] {
        assert!(all.stdout.lines().any(|line| line == sample), "{sample}: {}", all.stdout);
    }
    for shown in [one, all] {
        let Some(said) = promtool(&shown.stdout) else { return };
        assert_eq!(said, "", "{}", shown.stdout);
    }
}

#[test]
fn status_healthy_exits_with_the_verdict_and_prints_the_reasons() {
    let herd = Herd::new("healthy", PAIR);
    let ask = |options: &[&str]| {
        let ended = herd.run(&[&["status", "--healthy"], options].concat());
        (ended.code, ended.stdout)
    };
    let (code, shown) = ask(&[]);
    assert_eq!(code, Some(69), "no server replies: {shown}");
    assert!(shown.starts_with("Alford: it does not run here"), "{shown}");

    let _alford = herd.serve("Alford");
    assert_eq!(ask(&["Alford"]), (Some(0), "Alford: healthy\n".to_owned()), "links do not count");
    let (code, shown) = ask(&["--linked", "1", "Alford"]);
    let expected = "Alford: linked to 0 of 1 neighbours, not to 1 (--linked)\n";
    assert_eq!((code, shown.as_str()), (Some(1), expected));
    let (code, shown) = ask(&[]);
    assert_eq!((code, shown.lines().count()), (Some(1), 2), "only one replies: {shown}");
    assert!(shown.contains("Alford: healthy\nBolden: it does not run here"), "{shown}");

    let bolden = herd.serve("Bolden");
    until("they are linked", || (ask(&["--linked", "1"]).0 == Some(0)).then_some(()));
    bolden.signal(Signal::KILL);
    until("the loss is noticed", || (ask(&["--linked", "1", "Alford"]).0 == Some(1)).then_some(()));
    let ended = herd.run(&["status", "--linked", "1"]);
    assert_eq!(ended.code, Some(64), "--linked belongs to --healthy: {ended:?}");
}

#[test]
fn trace_prints_the_turns_in_which_a_request_is_served() {
    let herd = Herd::new("trace", PAIR);
    let gone = herd.run(&["trace", "Alford"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (Some(69), ""));
    assert!(gone.stderr.starts_with("herd: Alford: it does not run here"), "{gone:?}");

    let _alford = herd.serve("Alford");
    for options in [&[][..], &["--json"]] {
        let mut trace = herd.start(&[&["trace", "Alford", "--turns", "7"], options].concat());
        if options.is_empty() {
            assert!(trace.line().ends_with(" events  accepts    reads   timers requests   writes"));
        }
        // The first turn is the one that has read the request for a trace.
        let mut turns = vec![trace.line()];
        while turns.len() < 7 {
            assert_eq!(herd.run(&["client", "Alford", "iamat", "kiwi", KIWI]).code, Some(0));
            turns.push(trace.line());
        }
        let ended = trace.end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{turns:?}");
        let reads = |turn: &String| match serde_json::from_str::<serde_json::Value>(turn) {
            Ok(turn) => turn["reads"].as_u64(),
            Err(_) => turn.split_whitespace().nth(4).and_then(|cell| cell.parse().ok()),
        };
        assert!(turns.iter().filter_map(reads).sum::<u64>() > 1, "{turns:?}");
    }
}
