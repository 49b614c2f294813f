//! The live stream of the HTTP port: real servers on real reactors, over a network in memory.

use crate::support::cluster::{Cluster, Ending, MS, SECOND, TalkId, topology};
use crate::support::openapi::assert_listed;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Signal, UnixNanos};
use places_herd::config::{ServerView, Topology};
use places_herd::server::config_state::{ConfigReader, Prepared};
use serde_json::Value;
use std::net::SocketAddr;

/// 2026-11-29.
const NOW: u64 = 1_795_954_532;

/// Two servers, of which Alford has an HTTP port. `http`: the lines of `[http]`; `limits`: those of `[limits]`.
fn herd(http: &str, limits: &str) -> Cluster {
    let limits = format!("{limits}\n[http]\ninsecure_http = true\n{http}");
    let text = topology("Alford Bolden; Bolden", &limits);
    let client = "client = '10.0.0.1:12000'\n";
    let text = text.replace(client, &format!("{client}http = '10.0.0.1:12200'\n"));
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &text);
    cluster.stop_wall_clocks(UnixNanos(NOW * 1_000_000_000));
    cluster
}

fn dial(cluster: &mut Cluster) -> TalkId {
    cluster.dial(SocketAddr::from(([10, 0, 0, 1], 12_200)))
}

/// Opens a stream with the query `query` and the header lines `lines`. Returns it, and the head of the answer.
fn follow(cluster: &mut Cluster, query: &str, lines: &str) -> (TalkId, String) {
    let talk = dial(cluster);
    cluster.send(talk, format!("GET /v1/events{query} HTTP/1.1\r\nHost: 10.0.0.1\r\n{lines}\r\n"));
    cluster.run_for(MS);
    let heard = cluster.hear(talk);
    let (head, rest) = heard.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{heard}"));
    let head = head.to_owned();
    assert_listed("GET /v1/events", &head);
    if head.starts_with("HTTP/1.1 200 ") {
        assert!(rest.starts_with("retry: 2000\n"), "{rest}");
        let events = events(rest);
        assert_eq!(events[0].name, "status", "{rest}");
    }
    let rest = rest.to_owned();
    (talk, head + "\n\n" + &rest)
}

#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Value,
}

impl Event {
    /// `+` each client that was sent, with its time; `-` each that is gone.
    fn words(&self) -> Vec<String> {
        let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
        let text = |of: &Value| of.as_str().expect("a text").to_owned();
        match self.name.as_str() {
            "gone" => list(&self.data["ids"]).iter().map(|id| format!("-{}", text(id))).collect(),
            "reports" => {
                let one = |one: &Value| {
                    format!("+{}@{}", text(&one["id"]), text(&one["properties"]["time"]))
                };
                list(&self.data["features"]).iter().map(one).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The events in a part of a stream that begins and ends with whole events.
fn events(text: &str) -> Vec<Event> {
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text}");
    let event = |text: &str| {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ").unwrap_or_else(|| panic!("{text}"));
        Event {
            id: field("id: "),
            name: field("event: ").expect("a name"),
            data: serde_json::from_str(&data).expect("JSON"),
        }
    };
    text.split_terminator("\n\n").map(event).collect()
}

/// What arrives on the stream within a second, in words.
fn words(cluster: &mut Cluster, talk: TalkId) -> String {
    cluster.run_for(SECOND);
    let heard = cluster.hear(talk);
    events(&heard).iter().flat_map(Event::words).collect::<Vec<_>>().join(" ")
}

fn report(cluster: &mut Cluster, server: &str, lines: &[&str]) {
    let client = cluster.client(server);
    for line in lines {
        let reply = cluster.say(client, &format!("IAMAT {line}"));
        assert!(reply.starts_with("AT "), "{line}: {reply}");
    }
}

#[test]
fn a_stream_begins_with_its_head_the_status_and_everything_that_is_known() {
    let mut cluster = herd("", "");
    report(&mut cluster, "Alford", &[&format!("kiwi +34.068930-118.445127 {NOW}")]);
    let (talk, begun) = follow(&mut cluster, "", "");
    let (head, rest) = begun.split_once("\n\n").unwrap();
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("Date: ")).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "Cache-Control: no-store",
            "Connection: close",
            "Content-Type: text/event-stream",
            "HTTP/1.1 200 OK",
            "X-Accel-Buffering: no",
        ]
    );
    assert_eq!(
        events(rest)[0].data,
        serde_json::json!({
            "server": "Alford", "clients": 1, "resumed": false,
            "herd": [{"name": "Alford", "http": "10.0.0.1:12200"}, {"name": "Bolden", "http": null}],
        })
    );
    let heard = rest.to_owned()
        + &{
            cluster.run_for(SECOND);
            cluster.hear(talk)
        };
    let reports = &events(&heard)[1];
    let difference = "+0.000000000";
    assert_eq!(
        reports.data["features"][0],
        serde_json::json!({
            "type": "Feature", "id": "kiwi",
            "geometry": {"type": "Point", "coordinates": [-118.445127, 34.068930]},
            "properties": {"time": NOW.to_string(), "server": "Alford", "diff": difference},
        })
    );
    assert!(reports.id.is_some(), "nothing else is due");
}

#[test]
fn a_report_to_any_server_of_the_herd_reaches_a_follower() {
    let mut cluster = herd("", "");
    let (talk, _) = follow(&mut cluster, "", "");
    assert_eq!(words(&mut cluster, talk), "");
    report(&mut cluster, "Alford", &["kiwi +1+1 5", "kiwi +1+1 6"]);
    report(&mut cluster, "Bolden", &["fig +1+1 7"]);
    let heard = words(&mut cluster, talk);
    assert!(heard.ends_with("+kiwi@6 +fig@7") || heard.ends_with("+fig@7 +kiwi@6"), "{heard}");
    report(&mut cluster, "Alford", &["kiwi +1+1 4"]);
    assert_eq!(words(&mut cluster, talk), "", "an older report is no news");
}

#[test]
fn a_quiet_table_costs_a_server_with_followers_nothing() {
    let mut cluster = herd("", "");
    follow(&mut cluster, "", "");
    cluster.run_for(SECOND);
    let timers = cluster.reactor("Alford").parts().1.timers_pending();
    cluster.run_for(10 * SECOND);
    assert!(cluster.reactor("Alford").parts().1.timers_pending() <= timers);
    assert!(cluster.member("Alford").counters.accepted.iter().sum::<u64>() > 0);
}

#[test]
fn ten_events_a_second_carry_any_number_of_reports() {
    let mut cluster = herd("", "");
    let (talk, _) = follow(&mut cluster, "", "");
    cluster.run_for(SECOND);
    cluster.hear(talk);
    let client = cluster.client("Alford");
    for millis in 0..1_000 {
        cluster.send(client, format!("IAMAT kiwi +1+1 {}.{millis:03}\n", NOW - 1));
        cluster.run_for(MS);
    }
    cluster.run_for(SECOND);
    let heard = cluster.hear(talk);
    let events = events(&heard);
    assert!((9..=12).contains(&events.len()), "{} events", events.len());
    assert_eq!(events.last().unwrap().words(), [format!("+kiwi@{}.999", NOW - 1)]);
}

#[test]
fn every_fifteen_seconds_the_status_shows_that_the_stream_is_alive() {
    let mut cluster = herd("", "");
    let (talk, _) = follow(&mut cluster, "", "");
    cluster.run_for(46 * SECOND);
    let heard = cluster.hear(talk);
    let events = events(&heard);
    assert!(
        events.iter().all(|event| event.name == "status" && event.data.get("resumed").is_none())
    );
    assert!(events.iter().all(|event| event.id.is_some()), "nothing is due: {heard}");
    assert_eq!(events.len(), 3, "{heard}");
}

#[test]
fn a_follower_that_returns_is_sent_only_what_it_has_missed() {
    let mut cluster = herd("", "");
    report(&mut cluster, "Alford", &["kiwi +1+1 5", "fig +1+1 5"]);
    let (talk, begun) = follow(&mut cluster, "", "");
    cluster.run_for(SECOND);
    let heard = begun.split_once("\n\n").unwrap().1.to_owned() + &cluster.hear(talk);
    let last = events(&heard).iter().rev().find_map(|event| event.id.clone()).expect("an id");
    cluster.abort(talk);
    cluster.run_for(SECOND);
    assert_eq!(cluster.member("Alford").table.len(), 2);
    report(&mut cluster, "Alford", &["fig +2+2 6", "plum +1+1 6"]);
    for (id, resumed, expected) in [
        (last.clone(), true, "+fig@6 +plum@6"),
        ("1-2".to_owned(), false, "+kiwi@5 +fig@6 +plum@6"),
        (last.replace('-', "-999"), false, "+kiwi@5 +fig@6 +plum@6"),
        ("x".to_owned(), false, "+kiwi@5 +fig@6 +plum@6"),
    ] {
        let (talk, begun) = follow(&mut cluster, "", &format!("Last-Event-ID: {id}\r\n"));
        let begun = begun.split_once("\n\n").unwrap().1.to_owned();
        assert_eq!(events(&begun)[0].data["resumed"], resumed, "{id}");
        cluster.run_for(SECOND);
        let heard = begun + &cluster.hear(talk);
        let words: Vec<_> = events(&heard).iter().flat_map(Event::words).collect();
        assert_eq!(words.join(" "), expected, "{id}");
    }
}

#[test]
fn gone_names_the_clients_that_leave_the_box_and_those_that_are_forgotten() {
    let mut cluster = herd("", "expire_after_s = 3600");
    let now = NOW;
    let (talk, _) = follow(&mut cluster, "?bbox=170,-30,-170,0", "");
    report(
        &mut cluster,
        "Alford",
        &[
            &format!("suva -18+178 {}", now - 3_500),
            &format!("apia -14-172 {now}"),
            &format!("rome +42+12 {now}"),
        ],
    );
    let heard = words(&mut cluster, talk);
    assert_eq!(heard, format!("+suva@{} +apia@{now}", now - 3_500));
    report(&mut cluster, "Alford", &[&format!("apia -14-169 {now}.5")]);
    assert_eq!(words(&mut cluster, talk), "-apia");
    cluster.stop_wall_clocks(UnixNanos((now + 200) * 1_000_000_000));
    cluster.run_for(61 * SECOND);
    assert_eq!(words(&mut cluster, talk), "-suva");
}

#[test]
fn a_follower_may_name_the_clients_that_it_wants() {
    let mut cluster = herd("", "");
    let (talk, _) = follow(&mut cluster, "?client=jane%2Fphone&client=kiwi&token=x", "");
    report(&mut cluster, "Alford", &["kiwi +1+1 5", "fig +1+1 5", "jane/phone +1+1 5"]);
    let heard = words(&mut cluster, talk);
    assert!(heard.contains("+kiwi@5") && heard.contains("+jane/phone@5"), "{heard}");
    assert!(!heard.contains("fig"), "{heard}");
}

#[test]
fn a_request_that_cannot_be_followed_is_refused() {
    let mut cluster = herd("", "");
    for (query, status) in [
        ("?bbox=1,2,3", "422"),
        ("?bbox=1,2,3,x", "422"),
        ("?bbox=181,2,3,4", "422"),
        ("?bbox=1,2,3,4&bbox=1,2,3,4", "422"),
    ] {
        let (_, head) = follow(&mut cluster, query, "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{query}: {head}");
    }
    let talk = dial(&mut cluster);
    cluster.send(talk, "HEAD /v1/events HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
    cluster.settle();
    let heard = cluster.hear(talk);
    assert!(
        heard.starts_with("HTTP/1.1 405 ") && heard.contains("Allow: GET, OPTIONS\r\n"),
        "{heard}"
    );
}

#[test]
fn more_followers_than_the_limit_are_told_when_to_try_again() {
    let mut cluster = herd("", "");
    let talks: Vec<_> = (0..64).map(|_| follow(&mut cluster, "", "").0).collect();
    report(&mut cluster, "Alford", &["kiwi +1+1 5"]);
    for talk in &talks {
        assert_eq!(words(&mut cluster, *talk), "+kiwi@5");
    }
    let (_, head) = follow(&mut cluster, "", "");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: 60"), "{head}");
    assert_eq!(cluster.reactor("Alford").parts().1.throttled("followers"), 1);
    cluster.abort(talks[7]);
    cluster.settle();
    let (_, head) = follow(&mut cluster, "", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

/// The largest number of bytes that wait to be sent to one client of Alford.
fn pending(cluster: &mut Cluster) -> usize {
    let (_, core) = cluster.reactor("Alford").parts();
    let all = core.connection_ids();
    all.into_iter().map(|id| core.pending(id)).max().unwrap_or_default()
}

#[test]
fn a_follower_that_does_not_read_costs_bits_and_is_closed_after_a_minute() {
    const CLIENTS: usize = 1_000;
    const REPORTS: usize = 100;
    let mut cluster = herd("", "");
    let (deaf, _) = follow(&mut cluster, "", "");
    cluster.run_for(SECOND);
    cluster.listen_to(deaf, false);
    let client = cluster.client("Alford");
    let mut most = 0;
    for number in 0..REPORTS {
        let line = |client| format!("IAMAT c{client} +1+1 {}\n", NOW - 1_000 + number as u64);
        cluster.send(client, (0..CLIENTS).map(line).collect::<String>());
        cluster.run_for(500 * MS);
        cluster.hear(client);
        most = most.max(pending(&mut cluster));
    }
    assert!((1..256 << 10).contains(&most), "{most} bytes waited");
    assert_eq!(cluster.ending(deaf), None);
    let (healthy, begun) = follow(&mut cluster, "?client=c7", "");
    assert!(begun.contains("\"clients\":1000"), "{begun}");
    cluster.run_for(62 * SECOND);
    assert!(!cluster.stands(deaf) || cluster.ending(deaf).is_some(), "60 s without reading");
    assert_eq!(cluster.reactor("Alford").parts().1.throttled("slow_reader_ms"), 1);
    assert!(cluster.stands(healthy));
}

#[test]
fn a_slow_follower_gets_the_newest_report_of_each_client_once() {
    let mut cluster = herd("", "");
    let (talk, _) = follow(&mut cluster, "", "");
    cluster.run_for(SECOND);
    cluster.listen_to(talk, false);
    let client = cluster.client("Alford");
    for seconds in 0..200 {
        let line = |client| format!("IAMAT c{client} +1+1 {}\n", NOW - 1_000 + seconds);
        cluster.send(client, (0..300).map(line).collect::<String>());
        cluster.run_for(100 * MS);
    }
    cluster.hear(talk);
    cluster.listen_to(talk, true);
    cluster.run_for(2 * SECOND);
    let heard = cluster.hear(talk);
    let newest = format!("@{}", NOW - 1_000 + 199);
    let words: Vec<_> = events(&heard).iter().flat_map(Event::words).collect();
    let last = &words[words.len() - 300..];
    assert!(last.iter().all(|word| word.ends_with(&newest)), "{last:?}");
    assert!(words.len() < 300 * 30, "{} reports were sent of 60,000", words.len());
}

#[test]
fn a_server_that_stops_ends_its_streams_in_good_order() {
    let mut cluster = herd("", "");
    let talks: Vec<_> = (0..64).map(|_| follow(&mut cluster, "", "").0).collect();
    cluster.reactor("Alford").io().signal(Signal::Terminate);
    cluster.run_for(SECOND);
    for talk in talks {
        assert_eq!(cluster.ending(talk), Some(Ending::Fin));
        let heard = cluster.hear(talk);
        events(&heard);
    }
    assert!(cluster.has_ended("Alford"));
}

/// Reads the same configuration again.
#[derive(Debug)]
struct Same(Topology);

impl ConfigReader for Same {
    fn read(&mut self, _: &ServerView, _: &str, _: UnixNanos) -> Result<Prepared, Vec<String>> {
        Ok(Prepared {
            topology: self.0.clone(),
            changes: Vec::new(),
            places: None,
            peer_tls: None,
            access: places_herd::server::client_access::ClientAccess::default(),
            connections_max: usize::MAX,
        })
    }

    fn terminal_has_closed(&self) -> bool {
        false
    }
}

#[test]
fn a_reload_ends_streams_so_that_a_withdrawn_token_reads_no_further() {
    let mut cluster = herd("", "");
    let (talk, _) = follow(&mut cluster, "", "");
    let same = Same(cluster.topology().clone());
    cluster.member("Alford").config_reader = Some(Box::new(same));
    cluster.reactor("Alford").io().signal(Signal::Hangup);
    cluster.run_for(SECOND);
    assert_eq!(cluster.ending(talk), Some(Ending::Fin));
    assert!(follow(&mut cluster, "", "").1.starts_with("HTTP/1.1 200 OK"));
}
