//! The HTTP port of a server in memory: which answers it gives, when it closes a connection, and how it ends.

use crate::support::cluster::{Cluster, MS, SECOND, TalkId, topology};
use crate::support::logged::Logged;
use crate::support::openapi::assert_listed;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Signal, UnixNanos};
use places_herd::server::exposition::{MetricsFormat, exposition};
use places_herd::server::status::status;
use std::time::Duration;

/// The time on the wall clocks: Fri, 18 Nov 2016 20:18:04 GMT.
const EVENING: UnixNanos = UnixNanos(1_479_500_284_000_000_000);

/// Alford with an HTTP port, in which `[http]` has `keys`, and `[limits]` has `limits`.
fn alford(limits: &str, keys: &str) -> Cluster {
    let text = topology("Alford", limits).replace("client =", "http = '10.0.0.1:12200'\nclient =");
    let text = format!("{text}[http]\ninsecure_http = true\n{keys}\n");
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &text);
    cluster.stop_wall_clocks(EVENING);
    cluster
}

fn dial(cluster: &mut Cluster) -> TalkId {
    let address = cluster.topology().server("Alford").and_then(|it| it.http).expect("it has one");
    cluster.dial(address)
}

/// Replaces `|` by CR LF.
fn crlf(text: &str) -> String {
    text.replace('|', "\r\n")
}

/// Sends `stream` and returns all that comes back, in which `|` is CR LF.
fn say(cluster: &mut Cluster, talk: TalkId, stream: &str) -> String {
    cluster.send(talk, crlf(stream));
    cluster.settle();
    cluster.hear(talk).replace("\r\n", "|")
}

/// The answer to `stream` on a connection of its own, and whether that stays open.
fn answer(cluster: &mut Cluster, stream: &str) -> (String, bool) {
    let talk = dial(cluster);
    let answer = say(cluster, talk, stream);
    if let Some((head, _)) = answer.split_once("||") {
        assert_listed(stream, &crlf(head));
    }
    let stays = cluster.ending(talk).is_none();
    cluster.abort(talk);
    cluster.settle();
    (answer, stays)
}

/// The status of that answer, and whether the connection stays open.
fn status_of(cluster: &mut Cluster, stream: &str) -> (u16, bool) {
    let (answer, stays) = answer(cluster, stream);
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3));
    let status = status.unwrap_or_else(|| panic!("{answer:?} to {stream}"));
    (status.parse().expect("a number"), stays)
}

const OK: &str = "HTTP/1.1 200 OK|Date: Fri, 18 Nov 2016 20:18:04 GMT|";

const TEXT: &str = "Content-Type: text/plain; charset=utf-8|Content-Length: 3||";

const GET: &str = "GET /healthz HTTP/1.1|Host: a.example|";

#[test]
fn a_request_is_answered_in_the_same_way_however_it_is_cut() {
    let mut cluster = alford("", "hosts = ['a.example']");
    let ok = format!("{OK}{TEXT}ok\n");
    for (stream, expected) in [
        (format!("{GET}|"), ok.clone()),
        (format!("{GET}|{GET}|"), ok.repeat(2)),
        (format!("{GET}Content-Length: 5||hello{GET}|"), ok.repeat(2)),
        ("HEAD /healthz HTTP/1.1|Host: a.example||".to_owned(), format!("{OK}{TEXT}")),
        (format!("{GET}Connection: close||{GET}|"), format!("{OK}Connection: close|{TEXT}ok\n")),
        ("GET /healthz HTTP/1.0||".to_owned(), format!("{OK}Connection: close|{TEXT}ok\n")),
        (
            "GET /healthz HTTP/1.0|Connection: keep-alive||".to_owned(),
            format!("{OK}Connection: keep-alive|{TEXT}ok\n"),
        ),
        (
            "OPTIONS /healthz HTTP/1.1|Host: a.example||".to_owned(),
            "HTTP/1.1 204 No Content|Date: Fri, 18 Nov 2016 20:18:04 GMT|Allow: GET, HEAD, OPTIONS||".to_owned(),
        ),
    ] {
        let (bytes, talk) = (crlf(&stream), dial(&mut cluster));
        assert_eq!(say(&mut cluster, talk, &stream), expected, "{stream}");
        for cut in 1..bytes.len() {
            let talk = dial(&mut cluster);
            cluster.send(talk, &bytes[..cut]);
            cluster.settle();
            cluster.send(talk, &bytes[cut..]);
            cluster.settle();
            assert_eq!(cluster.hear(talk).replace("\r\n", "|"), expected, "{stream} cut at {cut}");
        }
    }
}

#[test]
fn each_fault_of_a_request_has_its_status_and_leaves_the_connection_in_step_or_closes_it() {
    let mut cluster = alford("", "hosts = ['a.example']\nbody_bytes = 1024\nhead_bytes = 1024");
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1|Host: 10.0.0.1|{more}|");
    let put = |more: &str| format!("PUT /v1/clients/jane HTTP/1.1|Host: localhost:12200|{more}|");
    for (stream, expected) in [
        (get("/healthz", ""), (200, true)),
        (get("/healthz/", ""), (404, true)),
        (get("//healthz", ""), (404, true)),
        (get("/%68ealthz", ""), (404, true)),
        (get("/v1/clients/a/b", ""), (404, true)),
        (get("/v1/clients/%zz", ""), (400, true)),
        (get("/v1/clients/%00", ""), (400, true)),
        ("DELETE /healthz HTTP/1.1|Host: localhost||".to_owned(), (405, true)),
        ("HEAD /v1/events HTTP/1.1|Host: localhost||".to_owned(), (405, true)),
        ("HEAD /report?id=a&lat=1&lon=2 HTTP/1.1|Host: localhost||".to_owned(), (405, true)),
        ("BREW /healthz HTTP/1.1|Host: localhost||".to_owned(), (501, false)),
        ("GET /healthz HTTP/1.1|Host: b.example||".to_owned(), (421, true)),
        ("GET /healthz HTTP/1.1|Host: alford||".to_owned(), (200, true)),
        ("GET /healthz HTTP/1.1|Host: ALFORD.places-herd:12200||".to_owned(), (200, true)),
        ("GET /healthz HTTP/1.1|Host: Alford.example||".to_owned(), (421, true)),
        // The client uses this server as a proxy.
        ("GET http://b.example/healthz HTTP/1.1|Host: localhost||".to_owned(), (400, false)),
        ("GET http://LOCALHOST/healthz HTTP/1.1|Host: b.example||".to_owned(), (200, true)),
        ("GET /healthz HTTP/1.1|Host: [::1]:80||".to_owned(), (200, true)),
        ("OPTIONS * HTTP/1.1|Host: localhost||".to_owned(), (204, true)),
        (get("/healthz", "Expect: 100-continue|"), (200, true)),
        (get("/healthz", "Expect: a wonder|"), (417, true)),
        (put(""), (411, true)),
        (put("Content-Length: 2|Content-Encoding: gzip|") + "{}", (415, false)),
        // What a web site makes a browser send.
        (put("Content-Length: 2|Origin: http://evil.example|") + "{}", (403, false)),
        (put("Content-Length: 2|Sec-Fetch-Site: cross-site|") + "{}", (403, false)),
        (put("Content-Length: 2|Sec-Fetch-Site: same-site|") + "{}", (403, false)),
        (put("Content-Length: 2|Sec-Fetch-Site: same-origin|") + "{}", (422, true)),
        (put("Content-Length: 2|Sec-Fetch-Site: none|") + "{}", (422, true)),
        (get("/report?id=a", "Sec-Fetch-Site: cross-site|"), (403, true)),
        (get("/report?id=a", "Sec-Fetch-Site: same-site|"), (403, true)),
        (get("/healthz", "Sec-Fetch-Site: cross-site|"), (200, true)),
        // Framing errors and limits: the rest of the stream has no meaning.
        (get("/healthz", "Content-Length: 1|Content-Length: 2|"), (400, false)),
        (get("/healthz", &format!("X: {}|", "x".repeat(1024))), (431, false)),
        (put("Content-Length: 1025|"), (413, false)),
        ("GET /healthz HTTP/3.0|Host: localhost||".to_owned(), (505, false)),
    ] {
        let stream = format!("{stream}{}", if expected.1 { "" } else { GET });
        assert_eq!(status_of(&mut cluster, &stream), expected, "{stream}");
        let (answer, _) = answer(&mut cluster, &stream);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(answer.contains("|Connection: close|"), !expected.1, "{answer}");
        if expected.0 >= 400 {
            assert!(answer.contains("|Content-Type: application/problem+json|"), "{answer}");
        }
        assert_eq!(answer.contains("|Allow: "), [204, 405].contains(&expected.0), "{answer}");
    }
}

#[test]
fn a_page_may_read_the_answer_if_its_origin_is_allowed_or_is_the_herds() {
    let mut cluster = alford("", "allow_origins = ['https://map.example']");
    for (origin, is_allowed) in [
        ("https://map.example", true),
        ("HTTPS://Map.example", true),
        ("http://10.0.0.1:12200", true),
        ("http://map.example", false),
        ("null", false),
    ] {
        let (told, _) = answer(
            &mut cluster,
            &format!("GET /healthz HTTP/1.1|Host: localhost|Origin: {origin}||"),
        );
        let line = format!(
            "|Access-Control-Allow-Origin: {}|Access-Control-Expose-Headers: ETag, Link, Herd-Verdict, Herd-Dropped, Retry-After|Vary: Origin|",
            origin.to_lowercase()
        );
        assert_eq!(told.contains(&line), is_allowed, "{told}");
        assert_eq!(told.contains("Access-Control"), is_allowed, "{told}");
        let (told, _) = answer(
            &mut cluster,
            &format!(
                "OPTIONS /v1/clients/a HTTP/1.1|Host: localhost|Origin: {origin}|Access-Control-Request-Method: PUT||"
            ),
        );
        assert!(told.starts_with("HTTP/1.1 204 "), "{told}");
        for line in
            ["Access-Control-Max-Age: 600", "Access-Control-Allow-Methods: PUT, GET, HEAD, OPTIONS"]
        {
            assert_eq!(told.contains(&format!("|{line}|")), is_allowed, "{told}");
        }
    }
}

#[test]
fn the_body_is_asked_for_only_if_the_head_is_good_and_no_byte_of_it_has_come() {
    let mut cluster = alford("", "");
    let head =
        "PUT /v1/clients/jane HTTP/1.1|Host: localhost|Content-Length: 2|Expect: 100-Continue||";
    let talk = dial(&mut cluster);
    assert_eq!(say(&mut cluster, talk, head), "HTTP/1.1 100 Continue||");
    assert!(say(&mut cluster, talk, "{}").starts_with("HTTP/1.1 "));
    let talk = dial(&mut cluster);
    assert!(say(&mut cluster, talk, &format!("{head}{{")).is_empty());
    assert!(say(&mut cluster, talk, "}").starts_with("HTTP/1.1 "));
    // A final answer takes the place of the invitation.
    let told = answer(&mut cluster, &head.replace("jane", "%zz"));
    assert!(told.0.starts_with("HTTP/1.1 400 ") && !told.1, "{told:?}");
    let told = answer(&mut cluster, &head.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(told, (String::new(), true));
}

/// Compares the table at the head of `connection.rs`, row by row.
#[test]
fn each_state_of_a_connection_ends_at_its_deadline_as_the_table_says() {
    let table = include_str!("../../../src/server/http_port/connection.rs");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("//! | "))
        .map(|line| line[3..].trim_matches(['|', ' ']).split(" | ").collect())
        .collect();
    let states: Vec<&str> = rows.iter().skip(1).map(|row| row[0]).collect();
    assert_eq!(states, ["Idle", "Head", "Body", "Answering", "Closing"]);
    let mut cluster = alford("", "keep_alive_ms = 40_000\nhead_ms = 2_000\nbody_ms = 20_000");
    let head = "PUT /v1/clients/jane HTTP/1.1|Host: localhost|Content-Length: 40000||";
    let first = "x".repeat(16_384);
    // What is sent at first, and then each second; when the connection ends, and with which status.
    for (state, start, more, seconds, status) in [
        ("Idle", "", "", 40, ""),
        ("Idle", "GET /healthz HTTP/1.1|Host: localhost||", "", 40, ""),
        ("Head", "G", "", 2, "408"),
        ("Head", "GET /healthz HTTP/1.1|", "X: y|", 2, "408"),
        ("Head", "GET /healthz HTTP/1.1|Host: localhost||G", "", 2, "408"),
        ("Body", head, "", 20, "408"),
        ("Body", head, "x", 20, "408"),
        ("Body", &*format!("{head}{first}"), "x", 10, "408"),
        ("Body", &format!("{head}{first}"), &"x".repeat(700), 20, "408"),
    ] {
        let talk = dial(&mut cluster);
        say(&mut cluster, talk, start);
        let mut told = String::new();
        for second in 1..=seconds {
            assert!(cluster.ending(talk).is_none(), "{state}: {start} ended before {second} s");
            cluster.run_for(SECOND - 2 * MS);
            told += &say(&mut cluster, talk, more);
            cluster.run_for(2 * MS);
        }
        cluster.run_for(10 * MS);
        told += &cluster.hear(talk);
        assert!(cluster.ending(talk).is_some(), "{state}: {start} did not end");
        let expected =
            if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status} ") };
        assert!(
            told.starts_with(&expected) && told.is_empty() == status.is_empty(),
            "{state}: {told}"
        );
        cluster.abort(talk);
        cluster.settle();
    }
}

#[test]
fn a_small_body_may_arrive_slowly_and_the_log_says_why_a_large_one_may_not() {
    let logged = Logged::here();
    let mut cluster = alford("", "body_ms = 20_000");
    let body = format!("{{\"lat\":1,\"lon\":2,\"note\":\"{:58}\"}}", "");
    let head = |length| {
        format!("PUT /v1/clients/jane HTTP/1.1|Host: localhost|Content-Length: {length}||")
    };
    let (talk, start) = (dial(&mut cluster), format!("{}{}", head(85), &body[..42]));
    assert_eq!((body.len(), say(&mut cluster, talk, &start)), (85, String::new()));
    cluster.run_for(19 * SECOND);
    assert!(say(&mut cluster, talk, &body[42..]).starts_with("HTTP/1.1 200 "));
    logged.take();
    let large = format!("{}{}", head(20_000), "x".repeat(16_384));
    assert_eq!(say(&mut cluster, talk, &large), "");
    cluster.run_for(11 * SECOND);
    assert!(cluster.hear(talk).starts_with("HTTP/1.1 408 "));
    let lines = logged.take();
    let why = "limit: body_ms = 20000 (at least 500 bytes/s), reached by";
    assert!(lines.iter().any(|line| line.contains(why)), "{lines:?}");
}

#[test]
fn the_log_says_why_a_request_was_rejected_before_it_was_parsed() {
    let logged = Logged::here();
    let mut cluster = alford("", "head_bytes = 1024");
    for (stream, why) in [
        (
            "GET /a{b} HTTP/1.1|Host: localhost||",
            "sent a malformed target, or one whose characters must be",
        ),
        ("GET / HTTP/1.1|Host: localhost|X : y||", "sent a malformed"),
        ("\u{16}\u{3}\u{1}||", "sent a malformed"),
        (&format!("GET /{}", "x".repeat(1_100)), "sent a head of more than 1024 bytes"),
    ] {
        logged.take();
        let (_, stays) = answer(&mut cluster, stream);
        let lines = logged.take();
        let is_told = |line: &String| line.starts_with("INFO ") && line.contains(why);
        assert!(!stays && lines.iter().any(is_told), "{stream}: {lines:?}");
    }
}

#[test]
fn a_request_has_its_whole_time_although_another_came_before_it_in_pieces() {
    let mut cluster = alford("", "head_ms = 2_000");
    let talk = dial(&mut cluster);
    let request = "GET /healthz HTTP/1.1|Host: localhost||";
    // Each piece ends in the middle of a request, so the connection is never idle.
    say(&mut cluster, talk, &request[..20]);
    for _ in 0..10 {
        cluster.run_for(SECOND);
        let piece = format!("{}{}", &request[20..], &request[..20]);
        assert!(say(&mut cluster, talk, &piece).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn all_unfinished_requests_together_have_a_limit() {
    let mut cluster = alford("", "total_body_bytes = 2_097_152\nbody_bytes = 1_048_576");
    let head = "PUT /v1/clients/jane HTTP/1.1|Host: localhost|Content-Length: 1000000||";
    let mut refused = 0;
    let talks: Vec<TalkId> = (0..6).map(|_| dial(&mut cluster)).collect();
    for talk in talks {
        let told = say(&mut cluster, talk, &format!("{head}{}", "x".repeat(900_000)));
        refused +=
            usize::from(told.starts_with("HTTP/1.1 503 ") && told.contains("|Retry-After: 60|"));
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 503 "), "{told}");
    }
    assert!(refused >= 4, "{refused}");
    cluster.run_for(60 * SECOND);
    // The memory is counted back when the connections have ended.
    let talk = dial(&mut cluster);
    assert!(say(&mut cluster, talk, &format!("{head}{}", "x".repeat(900_000))).is_empty());
}

#[test]
fn http_connections_count_as_clients_and_are_counted() {
    let mut cluster = alford("connections = 3\nconnections_per_address = 2", "");
    let _line = cluster.client("Alford");
    let talk = dial(&mut cluster);
    assert!(say(&mut cluster, talk, "GET /healthz HTTP/1.1|Host: localhost||").contains("200 OK"));
    let more = dial(&mut cluster);
    assert!(!cluster.stands(more) || cluster.ending(more).is_some(), "two of one address");
    let (member, core) = cluster.reactor("Alford").parts();
    let text = exposition(MetricsFormat::Prometheus, &[("Alford", status(member, core))]);
    for line in [
        "herd_http_requests_total{server=\"Alford\",route=\"/healthz\",code=\"200\"} 1",
        "herd_connections{server=\"Alford\",port=\"http\"} 1",
        "herd_connections_accepted_total{server=\"Alford\",port=\"http\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_lame_duck_and_a_stopping_server_end_when_their_idle_http_connections_have() {
    for (signal, within) in [(Signal::User2, 20 * SECOND), (Signal::Terminate, SECOND)] {
        let mut cluster = alford("lame_duck_ms = 10_000\ndrain_ms = 4_000", "");
        let talks: Vec<TalkId> = (0..50).map(|_| dial(&mut cluster)).collect();
        for talk in &talks {
            say(&mut cluster, *talk, "GET /healthz HTTP/1.1|Host: localhost||");
        }
        let (member, core) = cluster.reactor("Alford").parts();
        herd_reactor::Shared::signalled(member, core, signal);
        cluster.run_for(within);
        assert!(talks.iter().all(|talk| cluster.ending(*talk).is_some()), "{signal:?}");
        assert!(cluster.has_ended("Alford"), "{signal:?}");
    }
}

#[test]
fn a_stopping_server_answers_the_request_that_has_begun_and_closes() {
    let mut cluster = alford("drain_ms = 4_000", "");
    let talk = dial(&mut cluster);
    say(&mut cluster, talk, "GET /healthz HTTP/1.1|Ho");
    let (member, core) = cluster.reactor("Alford").parts();
    herd_reactor::Shared::signalled(member, core, Signal::Terminate);
    cluster.run_for(SECOND);
    let told = say(&mut cluster, talk, "st: localhost||");
    assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("|Connection: close|"), "{told}");
    assert!(cluster.ending(talk).is_some());
}

#[test]
fn whoever_half_closes_the_connection_still_gets_the_answers() {
    let mut cluster = alford("", "");
    let talk = dial(&mut cluster);
    cluster.send(talk, crlf("GET /healthz HTTP/1.1|Host: localhost||").repeat(3));
    cluster.end(talk);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.hear(talk).matches("200 OK").count(), 3);
    assert!(cluster.ending(talk).is_some());
    // Also behind answers that wait.
    let talk = dial(&mut cluster);
    let get = |path: &str| crlf(&format!("GET {path} HTTP/1.1|Host: localhost||"));
    let stream = ["/v1/clients", "/healthz", "/metrics", "/status.json", "/healthz"].map(get);
    cluster.send(talk, stream.concat());
    cluster.end(talk);
    cluster.run_for(SECOND);
    assert_eq!(cluster.hear(talk).matches("200 OK").count(), 5);
    assert!(cluster.ending(talk).is_some());
    // A stream that begins after that ends at once.
    let talk = dial(&mut cluster);
    cluster.send(talk, [get("/metrics"), get("/v1/events")].concat());
    cluster.end(talk);
    cluster.run_for(SECOND);
    assert!(cluster.hear(talk).contains("text/event-stream") && cluster.ending(talk).is_some());
}

#[test]
fn requests_behind_one_that_waits_are_answered_after_it_and_in_order() {
    let text = topology("Alford Bolden; Bolden", "ack_wait_ms = 3_000\nsend_buffer_bytes = 65_536");
    let text = text.replacen("client =", "http = '10.0.0.1:12200'\nclient =", 1);
    let text = format!("ack = 'peer'\n{text}[http]\ninsecure_http = true\n");
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
    cluster.start("Alford");
    cluster.stop_wall_clocks(EVENING);
    let talk = dial(&mut cluster);
    let put =
        "PUT /v1/clients/jane HTTP/1.1|Host: localhost|Content-Length: 16||{\"lat\":1,\"lon\":2}";
    let put = put.replace("16", "17");
    let get = "GET /healthz HTTP/1.1|Host: localhost||";
    let more = 5_000;
    let stream = format!("{put}{get}{put}{}", get.repeat(more));
    assert_eq!(say(&mut cluster, talk, &stream), "", "no neighbour acknowledges the first report");
    cluster.run_for(2 * SECOND);
    assert_eq!(cluster.hear(talk), "");
    cluster.run_for(2 * SECOND);
    let told = cluster.hear(talk);
    assert_eq!((told.matches("Herd-Verdict: new").count(), told.matches("ok\n").count()), (1, 1));
    assert!(told.find("Herd-Verdict") < told.find("ok\n"));
    cluster.run_for(4 * SECOND);
    let told = cluster.hear(talk);
    assert_eq!(
        (told.matches("Herd-Verdict: same").count(), told.matches("ok\n").count()),
        (1, more)
    );
    assert!(told.find("Herd-Verdict") < told.find("ok\n"));
    // A client that half-closes its connection is still answered.
    let leaving = dial(&mut cluster);
    cluster.send(leaving, crlf(&format!("{put}{get}{put}{get}")));
    cluster.end(leaving);
    cluster.run_for(4 * SECOND);
    assert!(cluster.ending(leaving).is_none(), "the second report waits");
    cluster.run_for(4 * SECOND);
    let told = cluster.hear(leaving);
    assert_eq!((told.matches("Herd-Verdict").count(), told.matches("ok\n").count()), (2, 2));
    assert!(cluster.ending(leaving).is_some());
    // A server that stops does not wait for the rest.
    cluster.send(talk, crlf(&put));
    cluster.run_for(SECOND);
    let (member, core) = cluster.reactor("Alford").parts();
    herd_reactor::Shared::signalled(member, core, Signal::Terminate);
    cluster.run_for(4 * SECOND);
    let told = cluster.hear(talk);
    assert!(told.contains("Connection: close") && told.contains("Herd-Verdict"), "{told}");
    assert!(cluster.has_ended("Alford"));
}
