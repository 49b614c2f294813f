//! What a server reports of itself: the metrics in Prometheus' text format, the counters in them, and its health.

use crate::support::certs::good;
use crate::support::cluster::{Cluster, FIVE, SECOND, sealed, topology};
use herd_reactor::UnixNanos;
use herd_reactor::testing::MemoryOptions;
use places_herd::server::exposition::{MetricsFormat, exposition};
use places_herd::server::health::unhealthy;
use places_herd::server::member::ServerPhase;
use places_herd::server::status::status;
use std::collections::{BTreeMap, BTreeSet};

/// The samples of `server`: each with its name and labels, and its value.
fn samples(cluster: &mut Cluster, server: &str) -> BTreeMap<String, f64> {
    let text = text(cluster, server);
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        // Each sample has this label; it is left out here.
        let of_server = format!("{{server=\"{server}\"");
        let (family, labels) = name.split_once(&of_server).expect("the label server");
        let name = match labels.strip_prefix(',') {
            Some(labels) => format!("{family}{{{labels}"),
            None => family.to_owned(),
        };
        (name, value.parse().unwrap_or_else(|_| panic!("{line}")))
    });
    samples.collect()
}

fn text(cluster: &mut Cluster, name: &str) -> String {
    let (member, core) = cluster.reactor(name).parts();
    exposition(MetricsFormat::Prometheus, &[(name, status(member, core))])
}

fn has(samples: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(samples.get(*name), Some(value), "{name} in {samples:#?}");
    }
}

#[test]
fn each_family_has_its_help_and_type_once_and_each_sample_stands_under_its_own_family_once() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology(FIVE, ""));
    let text = text(&mut cluster, "Alford");
    let (mut families, mut samples, mut family) = (BTreeSet::new(), BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            let (name, help) = about.split_once(' ').expect("a name and a help");
            assert!(name == family && help.ends_with('.'), "{line}");
        } else if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').expect("a name and a type");
            assert!(families.insert(name), "{line}");
            family = name;
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let bare = name.split('{').next().unwrap_or_default();
            let part = bare.strip_prefix(family).unwrap_or_else(|| panic!("{line} in {family}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&part), "{line} in {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(!name.contains('*'), "{line}");
            assert!(samples.insert(name), "twice: {line}");
        }
    }
    assert!(families.len() >= 35, "{families:?}");
}

#[test]
fn the_buckets_of_a_histogram_grow_up_to_its_count() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology("Alford", ""));
    let text = text(&mut cluster, "Alford");
    let counts: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("herd_turn_duration_seconds_"))
        .filter(|line| !line.starts_with("sum{"))
        .map(|line| line.rsplit_once(' ').expect("a value").1.parse().expect("a number"))
        .collect();
    assert!(counts.is_sorted() && counts.len() == 13 && counts[12] > 0.0, "{text}");
    assert_eq!(counts[11], counts[12], "the bucket without a bound, and the count");
}

#[test]
fn commands_reports_and_connections_are_counted_by_what_became_of_them() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology("Alford Bolden; Bolden", ""));
    let talk = cluster.client("Alford");
    for line in [
        "IAMAT kiwi +1+1 5",
        "IAMAT kiwi +1+1 5",
        "IAMAT kiwi +1+1 4",
        "IAMAT fig +1+1 6",
        "IAMAT kiwi +1+1 9999999999",
        "IAMAT kiwi +1+1",
        " IAMAT\x0bkiwi",
        "IAMAT\x0bplum +1+1 x",
        "IAMATS are",
        "WHATSAT kiwi 10 5",
        "WHATSAT nobody 10 5",
        "HELLO",
    ] {
        cluster.say(talk, line);
    }
    let alford = samples(&mut cluster, "Alford");
    has(
        &alford,
        &[
            ("herd_commands_total{port=\"client\",kind=\"IAMAT\",result=\"ok\"}", 4.0),
            ("herd_commands_total{port=\"client\",kind=\"IAMAT\",result=\"refused\"}", 4.0),
            ("herd_commands_total{port=\"client\",kind=\"WHATSAT\",result=\"ok\"}", 1.0),
            ("herd_commands_total{port=\"client\",kind=\"WHATSAT\",result=\"refused\"}", 1.0),
            ("herd_commands_total{port=\"client\",kind=\"other\",result=\"refused\"}", 2.0),
            ("herd_reports_total{door=\"client\",outcome=\"new\"}", 2.0),
            ("herd_reports_total{door=\"client\",outcome=\"same\"}", 1.0),
            ("herd_reports_total{door=\"client\",outcome=\"older\"}", 1.0),
            ("herd_reports_total{door=\"client\",outcome=\"early\"}", 1.0),
            ("herd_reports_total{door=\"client\",outcome=\"malformed\"}", 3.0),
            ("herd_limit_hits_total{limit=\"max_future_ms\"}", 1.0),
            ("herd_table_clients", 2.0),
            ("herd_questions_waiting", 1.0),
            ("herd_neighbour_up{neighbour=\"Bolden\"}", 1.0),
            ("herd_neighbour_link_changes_total{neighbour=\"Bolden\"}", 1.0),
            ("herd_neighbour_reports_total{neighbour=\"Bolden\",direction=\"out\"}", 2.0),
            ("herd_neighbour_reports_total{neighbour=\"Bolden\",direction=\"in\"}", 0.0),
            ("herd_comparisons_started_total", 1.0),
            ("herd_comparison_lines_total{direction=\"out\"}", 1.0),
            ("herd_connections_accepted_total{port=\"client\"}", 1.0),
            ("herd_connections_accepted_total{port=\"peer\"}", 0.0),
            ("herd_connections{port=\"client\"}", 1.0),
            ("herd_healthy", 1.0),
        ],
    );
    let bolden = samples(&mut cluster, "Bolden");
    has(
        &bolden,
        &[
            ("herd_commands_total{port=\"peer\",kind=\"AT\",result=\"ok\"}", 2.0),
            ("herd_commands_total{port=\"peer\",kind=\"HELLO\",result=\"ok\"}", 1.0),
            ("herd_commands_total{port=\"peer\",kind=\"SYNC\",result=\"ok\"}", 1.0),
            ("herd_reports_total{door=\"peer\",outcome=\"new\"}", 2.0),
            ("herd_neighbour_reports_total{neighbour=\"Alford\",direction=\"in\"}", 2.0),
            ("herd_connections_accepted_total{port=\"peer\"}", 1.0),
        ],
    );

    cluster.abort(talk);
    let stranger = cluster.stranger("Bolden");
    cluster.say(stranger, "IAMAT kiwi +1+1 5");
    cluster.run_for(700 * SECOND);
    let alford = samples(&mut cluster, "Alford");
    has(
        &alford,
        &[
            ("herd_connections_closed_total{port=\"client\",reason=\"lost\"}", 1.0),
            ("herd_connections{port=\"client\"}", 0.0),
        ],
    );
    let count = |name: &str| alford[name];
    let finished = count("herd_comparisons_finished_total");
    assert!(finished >= 1.0 && count("herd_comparisons_started_total") == finished + 1.0);
    assert!(count("herd_commands_total{port=\"peer\",kind=\"PING\",result=\"ok\"}") > 1.0);
    has(
        &samples(&mut cluster, "Bolden"),
        &[
            ("herd_commands_total{port=\"peer\",kind=\"other\",result=\"refused\"}", 1.0),
            ("herd_connections_closed_total{port=\"peer\",reason=\"done\"}", 1.0),
        ],
    );
}

#[test]
fn a_client_that_is_turned_away_is_refused_and_neither_accepted_nor_open() {
    let limits = topology("Alford", "connections = 1");
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &limits);
    let talks = [(); 3].map(|()| cluster.client("Alford"));
    cluster.run_for(SECOND);
    let expected = |open| {
        [
            ("herd_connections_accepted_total{port=\"client\"}", 1.0),
            ("herd_connections_refused_total{port=\"client\"}", 2.0),
            ("herd_connections_refused_total{port=\"peer\"}", 0.0),
            ("herd_limit_hits_total{limit=\"connections\"}", 2.0),
            ("herd_connections{port=\"client\"}", open),
        ]
    };
    has(&samples(&mut cluster, "Alford"), &expected(1.0));
    cluster.abort(talks[0]);
    cluster.run_for(SECOND);
    has(&samples(&mut cluster, "Alford"), &expected(0.0));
}

#[test]
fn questions_are_counted_by_source_and_status_with_the_time_until_their_answers() {
    // The cluster's source never answers, so the deadline does.
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology("Alford", ""));
    let talk = cluster.client("Alford");
    cluster.say(talk, "IAMAT kiwi +1+1 5");
    cluster.say(talk, "WHATSAT kiwi 10 5");
    let questions = &cluster.member("Alford").place_queries;
    assert_eq!((questions.answers.len(), questions.durations.count()), (0, 0));
    cluster.run_for(60 * SECOND);
    let alford = samples(&mut cluster, "Alford");
    let answers = cluster.member("Alford").place_queries.answers.clone();
    let source = answers.keys().next().expect("there is an answer");
    let unknown = format!("herd_questions_total{{source=\"{source}\",status=\"UNKNOWN_ERROR\"}}");
    has(
        &alford,
        &[
            (unknown.as_str(), 1.0),
            ("herd_question_duration_seconds_count", 1.0),
            ("herd_questions_waiting", 0.0),
            ("herd_limit_hits_total{limit=\"places.deadline_ms\"}", 1.0),
        ],
    );
    assert!(alford["herd_question_duration_seconds_sum"] >= 1.0, "{alford:?}");
}

#[test]
fn a_server_is_healthy_only_while_it_serves() {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &topology("Alford Bolden; Bolden", ""));
    cluster.kill("Bolden");
    let mut reasons = |phase: Option<ServerPhase>| {
        let (member, core) = cluster.reactor("Alford").parts();
        member.phase = phase.unwrap_or(member.phase);
        unhealthy(member, core.wall())
    };
    assert_eq!(reasons(None), [""; 0], "a neighbour that is down does not count");
    for (phase, word) in [
        (ServerPhase::Starting, "starting"),
        (ServerPhase::LameDuck, "lame duck"),
        (ServerPhase::Draining, "ending"),
    ] {
        let reasons = reasons(Some(phase));
        assert!(reasons.len() == 1 && reasons[0].contains(word), "{phase:?}: {reasons:?}");
    }
    assert_eq!(reasons(Some(ServerPhase::Serving)), [""; 0]);
}

#[test]
fn a_server_whose_own_certificate_has_expired_is_not_healthy() {
    let (folder, _) = good("unhealthy", &["Alford", "Bolden"]);
    let text = sealed("Alford Bolden; Bolden", folder.path(), "");
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &text);
    let (member, core) = cluster.reactor("Alford").parts();
    let wall = core.wall();
    assert!(unhealthy(member, wall).is_empty());
    let left = |samples: BTreeMap<String, f64>| samples["herd_certificate_left_seconds{certificate=\"own\"}"];
    let left = left(samples(&mut cluster, "Alford"));
    // The status rounds to thousandths of a day.
    let expired = UnixNanos(wall.0 + ((left + 100.0) * 1e9) as u64);
    let member = cluster.member("Alford");
    let reasons = unhealthy(member, expired);
    assert!(reasons.len() == 1 && reasons[0].contains("certificate"), "{reasons:?}");
}
