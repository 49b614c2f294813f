//! Reports by HTTP and the rest of the server: the table, the journal, the flood, acknowledgements, limits, and how long a
//! turn may be. Real servers in memory, on a clock of the test's own.

use crate::support::cluster::memory_disk::{DiskFaults, MemoryDisk};
use crate::support::cluster::{Cluster, MS, SECOND, TalkId, topology};
use crate::support::logged::Logged;
use crate::support::openapi::assert_listed;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Signal, UnixNanos};
use places_herd::access::{in_hex, sha256};
use places_herd::phones::ReportOutcome;
use places_herd::server::client_access::ClientAccess;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// 2026-11-29T12:15:33.25Z.
const NOON: UnixNanos = UnixNanos(1_795_954_533_250_000_000);

/// The topology of Alford and Bolden, with HTTP ports and `more` before all tables.
fn pair(more: &str, limits: &str) -> String {
    let mut text = topology("Alford Bolden; Bolden", limits);
    for machine in ["10.0.0.1", "10.0.0.2"] {
        let client = format!("client = '{machine}:12000'");
        text = text.replace(&client, &format!("http = '{machine}:12200'\n{client}"));
    }
    format!("{more}\n{text}[http]\ninsecure_http = true\n")
}

fn herd(more: &str, limits: &str) -> Cluster {
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &pair(more, limits));
    cluster.stop_wall_clocks(NOON);
    cluster
}

fn dial(cluster: &mut Cluster, name: &str) -> TalkId {
    let http = cluster.topology().server(name).and_then(|it| it.http).expect("it has a port");
    cluster.dial(http)
}

fn request(method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request to Alford. Returns the status, the head and the body of the answer; the status is 0 if none has come.
fn ask(cluster: &mut Cluster, method: &str, target: &str, body: &str) -> (u16, String, String) {
    let talk = dial(cluster, "Alford");
    cluster.send(talk, request(method, target, body));
    cluster.settle();
    let answer = answer(cluster, talk);
    if answer.0 > 0 {
        assert_listed(&format!("{method} {target}"), &answer.1);
    }
    answer
}

/// The one answer that has come.
fn answer(cluster: &mut Cluster, talk: TalkId) -> (u16, String, String) {
    let heard = cluster.hear(talk);
    let Some((head, body)) = heard.split_once("\r\n\r\n") else { return Default::default() };
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

fn outcomes(cluster: &mut Cluster, outcome: ReportOutcome) -> u64 {
    cluster.member("Alford").counters.http_reports[outcome as usize]
}

/// A body of Overland with so many Features, of `ids` clients.
fn batch(features: usize, ids: usize) -> String {
    let feature = |n: usize| {
        format!(
            r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[-118.4451272,34.0689301]}},"properties":
            {{"timestamp":"2026-11-29T12:15:32Z","horizontal_accuracy":13,"speed":1,"course":-1,"altitude":53,
            "motion":["walking"],"battery_level":0.87,"wifi":"{:330}","device_id":"c{}"}}}}"#,
            n % 7,
            n % ids
        )
    };
    let features: Vec<_> = (0..features).map(feature).collect();
    format!(r#"{{"locations":[{}]}}"#, features.join(","))
}

#[test]
fn a_report_by_http_and_the_same_by_line_are_the_same_report() {
    let iamat = "IAMAT jane/phone +34.0689301-118.4451272 1795954532\n";
    let put = request(
        "PUT",
        "/v1/clients/jane%2Fphone",
        r#"{"lat":34.0689301,"lon":-118.4451272,"time":1795954532}"#,
    );
    let owntracks = request(
        "POST",
        "/owntracks",
        r#"{"_type":"location","topic":"owntracks/jane/phone","tst":1795954532,"lat":34.0689301,"lon":-118.4451272}"#,
    );
    let report = request(
        "GET",
        "/report?id=jane/phone&lat=34.0689301&lon=-118.44512720&time=1795954532",
        "",
    );
    let overland = request(
        "POST",
        "/overland/jane%2fphone",
        r#"{"locations":[{"geometry":{"coordinates":[-118.4451272,34.0689301]},"properties":{"timestamp":"2026-11-29T12:15:32Z"}}]}"#,
    );
    let run = |said: &str| {
        let journal = "[journal]\nsync = 'everysec'\n";
        let text = format!("{}{journal}", pair("", ""));
        let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
        cluster.start_on("Alford", MemoryDisk::new(1)).expect("the disk is empty");
        cluster.start_on("Bolden", MemoryDisk::new(2)).expect("the disk is empty");
        cluster.settle();
        cluster.stop_wall_clocks(NOON);
        cluster.forget_lines();
        let talk = match said.starts_with("IAMAT") {
            true => cluster.client("Alford"),
            false => dial(&mut cluster, "Alford"),
        };
        // The same twice: the second is no news.
        for _ in 0..2 {
            cluster.send(talk, said);
            cluster.settle();
        }
        cluster.run_for(2 * SECOND);
        assert!(cluster.hear(talk).matches("\n").count() > 1, "it is answered");
        let tables = ["Alford", "Bolden"].map(|name| cluster.knows(name));
        let flood = cluster.lines("Alford", "Bolden");
        let remains = cluster.crash_off("Alford");
        cluster
            .start_on("Alford", {
                let mut disk = remains;
                disk.release();
                disk
            })
            .expect("the journal can be read");
        (tables, flood, cluster.knows("Alford"))
    };
    let expected = run(iamat);
    assert_eq!(expected.0[0].len(), 1);
    assert_eq!(expected.0[0], expected.0[1]);
    assert_eq!(expected.0[0], expected.2, "the journal has it");
    for said in [put, owntracks, report, overland] {
        assert_eq!(run(&said), expected, "{said}");
    }
}

#[test]
fn a_batch_of_2000_is_taken_in_slices_of_which_there_is_one_a_turn() {
    for talks in [1, 5] {
        let mut cluster = herd("", "");
        cluster.set_pace("Alford", MS);
        let body = batch(2_000, 2_000);
        assert!(body.len() > 1_000_000);
        let talks: Vec<_> = (0..talks).map(|_| dial(&mut cluster, "Alford")).collect();
        for talk in &talks {
            cluster.send(*talk, request("POST", "/overland", &body));
        }
        cluster.run_for(10 * MS);
        // What a client sends meanwhile is answered meanwhile.
        let client = cluster.client("Alford");
        cluster.send(client, "IAMAT kiwi +1+1 1795954532\n");
        cluster.run_for(10 * MS);
        assert!(cluster.hear(client).starts_with("AT Alford "));
        assert!(talks.iter().all(|talk| cluster.heard(*talk).is_empty()), "they are being read");
        // A turn is a millisecond here. 1.2 MB in slices of 32 KiB are 37 slices, and 2,000 reports 16.
        cluster.run_for(50 * MS * talks.len() as u32 - 20 * MS);
        assert!(cluster.heard(talks[talks.len() - 1]).is_empty(), "one slice a turn");
        cluster.run_for(20 * MS * talks.len() as u32);
        for talk in &talks {
            let (status, head, body) = answer(&mut cluster, *talk);
            assert_eq!(
                (status, &*body),
                (200, r#"{"result":"ok","taken":2000,"dropped":0}"#),
                "{head}"
            );
        }
        assert_eq!(cluster.knows("Alford").len(), 2_001);
        assert_eq!(cluster.knows("Bolden").len(), 2_001);
        assert_eq!(outcomes(&mut cluster, ReportOutcome::New), 2_000);
        assert_eq!(outcomes(&mut cluster, ReportOutcome::Same), 2_000 * (talks.len() as u64 - 1));
    }
}

#[test]
fn of_a_batch_only_the_newest_report_of_each_client_is_flooded() {
    let mut cluster = herd("", "");
    cluster.forget_lines();
    let (status, _, body) = ask(&mut cluster, "POST", "/overland", &batch(2_000, 3));
    assert_eq!((status, &*body), (200, r#"{"result":"ok","taken":2000,"dropped":0}"#));
    let flood = cluster.lines("Alford", "Bolden");
    assert_eq!(flood.iter().filter(|line| line.starts_with("AT ")).count(), 3, "{flood:?}");
}

#[test]
fn a_connection_that_is_lost_in_the_middle_of_its_batch_leaves_nothing_behind() {
    let mut cluster = herd("", "");
    cluster.set_pace("Alford", MS);
    let body = batch(2_000, 2_000);
    let talks: Vec<_> = (0..3).map(|_| dial(&mut cluster, "Alford")).collect();
    for talk in &talks {
        cluster.send(*talk, request("POST", "/overland", &body));
    }
    cluster.run_for(10 * MS);
    assert!(talks.iter().all(|talk| cluster.heard(*talk).is_empty()), "they are being read");
    cluster.abort(talks[0]);
    cluster.abort(talks[1]);
    cluster.run_for(SECOND);
    let (status, ..) = answer(&mut cluster, talks[2]);
    assert_eq!(status, 200);
    cluster.set_pace("Alford", Duration::ZERO);
    let (status, ..) = ask(&mut cluster, "POST", "/overland", &body);
    assert_eq!(status, 200, "the next one has its turn");
}

#[test]
fn a_body_that_ends_too_early_is_not_taken_in_part() {
    let mut cluster = herd("", "");
    let body = batch(2_000, 2_000);
    let (status, ..) = ask(&mut cluster, "POST", "/overland", &body[..body.len() - 1]);
    assert_eq!(status, 400);
    assert!(cluster.knows("Alford").is_empty());
    assert_eq!(outcomes(&mut cluster, ReportOutcome::Malformed), 1);
}

/// The paths, each with a valid request.
fn valid() -> [(&'static str, &'static str, &'static str); 4] {
    [
        ("PUT", "/v1/clients/jane", r#"{"lat":1,"lon":2}"#),
        ("POST", "/owntracks/jane", r#"{"_type":"location","lat":1,"lon":2}"#),
        (
            "POST",
            "/overland/jane",
            r#"{"locations":[{"geometry":{"coordinates":[2,1]},"properties":{}}]}"#,
        ),
        ("GET", "/report/jane?lat=1&lon=2", ""),
    ]
}

/// Sends each valid request, and asserts that it is answered by 503 with Retry-After; that of `/report` 5 s later.
fn assert_unavailable(cluster: &mut Cluster, outcome: ReportOutcome) {
    let before = outcomes(cluster, outcome);
    for (method, target, body) in valid() {
        let talk = dial(cluster, "Alford");
        cluster.send(talk, request(method, target, body));
        cluster.settle();
        if target.starts_with("/report") {
            cluster.run_for(4_900 * MS);
            assert_eq!(answer(cluster, talk).0, 0, "it is held back");
            cluster.run_for(200 * MS);
        }
        let (status, head, body) = answer(cluster, talk);
        assert_eq!(status, 503, "{target}: {body}");
        assert!(head.lines().any(|line| line == "Retry-After: 60"), "{head}");
    }
    assert_eq!(outcomes(cluster, outcome), before + 4);
}

#[test]
fn a_full_table_has_no_room_for_new_clients_and_known_ones_go_on() {
    let mut cluster = herd("", "known_clients = 1");
    let (status, ..) = ask(&mut cluster, "PUT", "/v1/clients/joe", r#"{"lat":1,"lon":2,"time":5}"#);
    assert_eq!(status, 200);
    assert_unavailable(&mut cluster, ReportOutcome::Full);
    let (status, ..) = ask(&mut cluster, "PUT", "/v1/clients/joe", r#"{"lat":1,"lon":2,"time":6}"#);
    assert_eq!(status, 200);
    // The known client of a batch is taken; the app repeats the batch for the others.
    let two = r#"[{"id":"jane","lat":1,"lon":2},{"id":"joe","lat":3,"lon":4,"time":7}]"#;
    let talk = dial(&mut cluster, "Alford");
    cluster.send(talk, request("POST", "/report", two));
    cluster.run_for(6 * SECOND);
    assert_eq!(answer(&mut cluster, talk).0, 503);
    assert!(cluster.knows("Alford")["joe"].ends_with("+3+4 7"));
}

#[test]
fn with_a_journal_that_is_not_sound_reports_come_later_and_are_counted_apart_from_lines() {
    let text = format!("{}[journal]\nsync = 'everysec'\nretry_ms = 60_000\n", pair("", ""));
    let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
    cluster.start_on("Alford", MemoryDisk::new(1)).expect("the disk is empty");
    cluster.settle();
    cluster.disk("Alford").faults =
        DiskFaults { write_errors: 1.0, sync_errors: 1.0, ..DiskFaults::default() };
    // The policy allows that the reports of the turn in which the disk fails are answered.
    let (status, ..) = ask(&mut cluster, "PUT", "/v1/clients/joe", r#"{"lat":1,"lon":2,"time":5}"#);
    assert_eq!(status, 200);
    let client = cluster.client("Alford");
    assert_eq!(cluster.say(client, "IAMAT kiwi +1+1 6"), "? IAMAT kiwi +1+1 6\n");
    assert_unavailable(&mut cluster, ReportOutcome::Journal);
    let (member, core) = cluster.reactor("Alford").parts();
    let status = places_herd::server::status::status(member, core);
    assert_eq!(status["journal"]["refused_reports"], 1, "those by line");
    assert_eq!(status["reports"]["http"]["journal"], 4);
    assert_eq!(status["malformed_reports"], 0);
}

#[test]
fn with_ack_peer_an_answer_waits_for_a_neighbour_and_without_one_for_the_limit() {
    for (method, target, body) in valid() {
        let mut cluster = herd("ack = 'peer'", "ack_wait_ms = 400");
        cluster.delay("Alford", "Bolden", 50 * MS);
        let talk = dial(&mut cluster, "Alford");
        cluster.send(talk, request(method, target, body));
        cluster.run_for(90 * MS);
        assert_eq!(
            answer(&mut cluster, talk).0,
            0,
            "{target}: it waits for the way there and back"
        );
        cluster.run_for(60 * MS);
        assert_eq!(answer(&mut cluster, talk).0, 200, "{target}");
        assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 0);
        cluster.crash("Bolden");
        cluster.send(talk, request(method, target, body));
        cluster.run_for(390 * MS);
        assert_eq!(answer(&mut cluster, talk).0, 0, "{target}: there is no neighbour");
        cluster.run_for(20 * MS);
        assert_eq!(answer(&mut cluster, talk).0, 200, "{target}");
        assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 1);
    }
}

#[test]
fn a_long_batch_waits_for_a_neighbour_once() {
    let mut cluster = herd("ack = 'peer'", "ack_wait_ms = 400");
    let (status, _, body) = ask(&mut cluster, "POST", "/overland", &batch(2_000, 2_000));
    assert_eq!((status, &*body), (200, r#"{"result":"ok","taken":2000,"dropped":0}"#));
    assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 0);
    cluster.crash("Bolden");
    let talk = dial(&mut cluster, "Alford");
    cluster.send(talk, request("POST", "/overland", &batch(2_000, 2_000)));
    cluster.run_for(390 * MS);
    assert_eq!(answer(&mut cluster, talk).0, 0);
    cluster.run_for(100 * MS);
    assert_eq!(answer(&mut cluster, talk).0, 200);
    assert_eq!(cluster.member("Alford").counters.unreplicated_replies, 1, "one answer");
}

#[test]
fn a_server_that_stops_answers_503_to_a_batch_that_it_is_reading() {
    let mut cluster = herd("", "");
    cluster.set_pace("Alford", MS);
    let talk = dial(&mut cluster, "Alford");
    cluster.send(talk, request("POST", "/overland", &batch(2_000, 2_000)));
    cluster.run_for(10 * MS);
    let (member, core) = cluster.reactor("Alford").parts();
    herd_reactor::Shared::signalled(member, core, Signal::Terminate);
    cluster.run_for(100 * MS);
    let (status, head, _) = answer(&mut cluster, talk);
    assert_eq!(status, 503);
    assert!(
        head.lines().any(|line| line == "Retry-After: 60")
            && head.lines().any(|line| line == "Connection: close")
    );
    assert!(cluster.ending(talk).is_some());
}

#[test]
fn the_log_tells_once_a_second_why_reports_are_dropped() {
    let logged = Logged::here();
    let mut cluster = herd("", "");
    logged.take();
    for _ in 0..3 {
        let (status, head, body) = ask(&mut cluster, "GET", "/report?id=jane&lat=x&lon=2", "");
        assert_eq!((status, &*body), (200, "dropped: lat is not a number"), "{head}");
    }
    ask(&mut cluster, "POST", "/owntracks", r#"{"_type":"encrypted"}"#);
    ask(&mut cluster, "POST", "/owntracks", r#"{"_type":"waypoint"}"#);
    cluster.run_for(2 * SECOND);
    let lines = logged.take();
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("dropped")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("lat is not a number: 1 report dropped"), "{lines:?}");
    assert!(lines[1].contains("remove the encryption key"), "{lines:?}");
    assert!(lines[2].contains("lat is not a number: 2 reports dropped"), "{lines:?}");
    assert_eq!(outcomes(&mut cluster, ReportOutcome::Malformed), 3);
    assert_eq!(outcomes(&mut cluster, ReportOutcome::Encrypted), 1);
    assert_eq!(outcomes(&mut cluster, ReportOutcome::NoLocation), 1);
}

#[test]
fn a_value_that_is_too_long_does_not_block_an_app() {
    let mut cluster = herd("", "");
    let long = "x".repeat(70_000);
    for (target, body) in [
        ("/owntracks/jane", format!(r#"{{"_type":"dump","text":"{long}"}}"#)),
        ("/overland/jane", format!(r#"{{"locations":[{{"x":"{long}"}}]}}"#)),
        ("/report/jane", format!(r#"{{"lat":1,"lon":2,"x":"{long}"}}"#)),
    ] {
        let (status, head, _) = ask(&mut cluster, "POST", target, &body);
        assert_eq!(status, 200, "{target}");
        assert!(head.lines().any(|line| line == "Herd-Dropped: 1"), "{head}");
    }
    let body = format!(r#"{{"lat":1,"lon":2,"x":"{long}"}}"#);
    assert_eq!(ask(&mut cluster, "PUT", "/v1/clients/jane", &body).0, 413);
    assert!(cluster.knows("Alford").is_empty());
    // It does not take the other reports of a batch with it; nor does one that is nested too deep.
    let point = |id: &str, more: &str| {
        format!(
            r#"{{"geometry":{{"coordinates":[2,1]}},"properties":{{"device_id":"{id}"{more}}}}}"#
        )
    };
    let (long, deep) = (format!(",\"x\":\"{long}\""), format!(",\"x\":{}", "[".repeat(70)));
    let deep = deep + &"]".repeat(70);
    let list = [point("a", ""), point("b", &long), point("c", &deep), point("d", "")].join(",");
    let body = format!(r#"{{"trip":{{"x":1{long}}},"locations":[{list}]}}"#);
    let (_, head, body) = ask(&mut cluster, "POST", "/overland", &body);
    assert_eq!(body, r#"{"result":"ok","taken":2,"dropped":2}"#);
    assert!(head.lines().any(|line| line == "Herd-Dropped: 2"), "{head}");
    assert_eq!(cluster.knows("Alford").len(), 2);
    let deep = ["[".repeat(70), "]".repeat(70)].concat();
    let list = format!(r#"[{{"id":"e","lat":1,"lon":2}},{{"id":"f","lat":1,"lon":2,"x":{deep}}}]"#);
    let (_, head, _) = ask(&mut cluster, "POST", "/report", &list);
    assert!(head.lines().any(|line| line == "Herd-Dropped: 1"), "{head}");
    assert_eq!(cluster.knows("Alford").len(), 3);
}

#[test]
fn a_wrong_token_is_held_back_at_report_and_a_report_that_it_does_not_allow_is_dropped() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens_of_phones");
    fs::write(&file, format!("write jane {}\n", in_hex(&sha256(b"secret")))).expect("it is ours");
    let tokens = format!("[http]\ntokens = '{}'", file.display());
    let mut cluster =
        Cluster::herd(MemoryOptions::calm(1), &pair("", "").replace("[http]", &tokens));
    let access = ClientAccess::read(cluster.topology(), "Alford", NOON).expect("the file is valid");
    *cluster.member("Alford").access = access;
    let talk = dial(&mut cluster, "Alford");
    cluster.send(talk, request("GET", "/report?id=jane&lat=1&lon=2&token=wrong", ""));
    cluster.run_for(4_900 * MS);
    assert_eq!(answer(&mut cluster, talk).0, 0, "OsmAnd would repeat it at once");
    cluster.run_for(200 * MS);
    let (status, head, _) = answer(&mut cluster, talk);
    assert_eq!(status, 401);
    assert!(head.lines().any(|line| line == "WWW-Authenticate: Basic realm=\"herd\""), "{head}");
    // It does not matter whether the body comes with the head.
    let posted = request("POST", "/report?token=wrong", "id=jane&lat=1&lon=2");
    let (head, body) = posted.split_at(posted.find("id=").expect("a body"));
    for pieces in [&[&*posted][..], &[head, body]] {
        let talk = dial(&mut cluster, "Alford");
        for piece in pieces {
            cluster.send(talk, *piece);
            cluster.run_for(2_400 * MS / pieces.len() as u32);
        }
        cluster.run_for(2_400 * MS);
        assert_eq!(answer(&mut cluster, talk).0, 0, "{} pieces", pieces.len());
        cluster.run_for(300 * MS);
        let (status, head, _) = answer(&mut cluster, talk);
        assert!(status == 401 && head.contains("Connection: close"), "{head}");
    }
    let location = r#"{"_type":"location","lat":1,"lon":2}"#;
    assert_eq!(ask(&mut cluster, "POST", "/owntracks/jane?token=wrong", location).0, 401);
    let (status, head, body) = ask(&mut cluster, "GET", "/report/joe?lat=1&lon=2&token=secret", "");
    assert_eq!(status, 200, "an error would block the app");
    assert!(head.lines().any(|line| line == "Herd-Dropped: 1"), "{head}");
    assert_eq!(body, "dropped: the token or certificate does not allow reports of this client");
    assert_eq!(outcomes(&mut cluster, ReportOutcome::Forbidden), 1);
    assert_eq!(ask(&mut cluster, "POST", "/owntracks/jane?token=secret", location).0, 200);
    assert_eq!(cluster.knows("Alford").len(), 1);
}

#[test]
fn a_put_does_not_show_the_known_report_to_a_caller_that_may_not_read_it() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens_of_writers");
    let line =
        |role: &str, token: &str| format!("{role} jane {}\n", in_hex(&sha256(token.as_bytes())));
    let lines = [line("write", "writer"), line("write", "both"), line("read", "both")];
    fs::write(&file, lines.concat()).expect("it is ours");
    let tokens = format!("[http]\ntokens = '{}'", file.display());
    let mut cluster =
        Cluster::herd(MemoryOptions::calm(1), &pair("", "").replace("[http]", &tokens));
    cluster.stop_wall_clocks(NOON);
    let access = ClientAccess::read(cluster.topology(), "Alford", NOON).expect("the file is valid");
    *cluster.member("Alford").access = access;
    // New, the same, and older.
    for time in [1_795_954_532_u64, 1_795_954_532, 5] {
        for (token, shows) in [("writer", false), ("both", true)] {
            let report = format!(r#"{{"lat":1,"lon":2,"time":{time}}}"#);
            let target = format!("/v1/clients/jane?token={token}");
            let (status, head, body) = ask(&mut cluster, "PUT", &target, &report);
            assert!(status == 200 && head.contains("Herd-Verdict: "), "{head}");
            assert_eq!((body == "{}", body.contains("Feature")), (!shows, shows), "{body}");
        }
    }
}

#[test]
fn each_put_that_is_too_early_is_counted_and_told() {
    let logged = Logged::here();
    let mut cluster = herd("", "max_future_ms = 60_000");
    for (time, count) in [(1_795_954_600, 1), (1_895_954_600, 2)] {
        let body = format!(r#"{{"lat":1,"lon":2,"time":{time}}}"#);
        let (status, _, told) = ask(&mut cluster, "PUT", "/v1/clients/jane", &body);
        assert_eq!(status, 422, "{time}: {told}");
        let (member, core) = cluster.reactor("Alford").parts();
        let status = places_herd::server::status::status(member, core);
        assert_eq!(status["limit_hits"]["max_future_ms"], count, "{time}: {told}");
    }
    cluster.run_for(2 * SECOND);
    // The second one a second later.
    let told = "limit: max_future_ms = 60000: 1 report refused";
    assert_eq!(logged.text().matches(told).count(), 2);
}
