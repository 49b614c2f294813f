//! What operators and browsers ask the HTTP port: health, status, metrics, and the files of the page.

use crate::support::cluster::{Cluster, MS, SECOND, topology};
use crate::support::openapi::assert_listed;
use crate::support::{promtool, skipped};
use herd_reactor::Signal;
use herd_reactor::testing::MemoryOptions;
use places_herd::page::{ASSETS, INDEX};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

fn herd() -> Cluster {
    let text = topology("Alford Bolden; Bolden", "[http]\ninsecure_http = true");
    let client = "client = '10.0.0.1:12000'\n";
    let text = text.replace(client, &format!("{client}http = '10.0.0.1:12200'\n"));
    let mut cluster = Cluster::herd(MemoryOptions::calm(1), &text);
    cluster.run_for(SECOND);
    cluster
}

/// The answer to `GET path` with the header lines `lines`: its head, and its body.
fn get(cluster: &mut Cluster, path: &str, lines: &str) -> (String, Vec<u8>) {
    let talk = cluster.dial(SocketAddr::from(([10, 0, 0, 1], 12_200)));
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n{lines}\r\n");
    cluster.send(talk, request);
    cluster.run_for(MS);
    let heard = cluster.heard(talk).to_vec();
    let end = heard.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(heard[..end + 2].to_vec()).expect("text");
    assert_listed(&format!("GET {path}"), &head);
    (head, heard[end + 4..].to_vec())
}

fn text(cluster: &mut Cluster, path: &str, lines: &str) -> (String, String) {
    let (head, body) = get(cluster, path, lines);
    (head, String::from_utf8(body).expect("text"))
}

#[test]
fn a_server_is_alive_and_ready_and_says_why_it_is_not() {
    let mut cluster = herd();
    let (head, body) = text(&mut cluster, "/healthz", "");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == "ok\n", "{head}{body}");
    let (head, body) = text(&mut cluster, "/readyz", "");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == "healthy\n", "{head}{body}");
    // A client keeps the server from ending. A lame duck accepts no connections, so the asker is there before.
    let _client = cluster.client("Alford");
    let talk = cluster.dial(SocketAddr::from(([10, 0, 0, 1], 12_200)));
    cluster.reactor("Alford").io().signal(Signal::User2);
    cluster.run_for(MS);
    cluster.send(talk, "GET /readyz HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
    cluster.run_for(MS);
    let heard = cluster.hear(talk);
    assert!(heard.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{heard}");
    assert!(heard.contains("\r\nRetry-After: ") && heard.contains("lame duck"), "{heard}");
}

#[test]
fn the_status_is_that_of_the_status_socket_and_reading_it_resets_nothing() {
    let mut cluster = herd();
    let status = |cluster: &mut Cluster| -> Value {
        let (head, body) = text(cluster, "/status.json", "");
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
        serde_json::from_str(&body).expect("JSON")
    };
    let first = status(&mut cluster);
    assert_eq!(
        (&first["server"], &first["links"][0]["name"]),
        (&"Alford".into(), &"Bolden".into())
    );
    assert_eq!(first["http"]["followers"], 0);
    assert_eq!(first["links"][0]["linked"], true);
    cluster.cut("Alford", "Bolden");
    cluster.run_for(60 * SECOND);
    let later = status(&mut cluster);
    let changed = |status: &Value| status["links"][0]["changed_s"].as_f64().expect("a number");
    assert_eq!(later["links"][0]["linked"], false, "{later}");
    assert!(changed(&later) < 60.0, "the link was lost meanwhile: {}", changed(&later));
    cluster.run_for(5 * SECOND);
    let last = status(&mut cluster);
    assert!((4.9..5.1).contains(&(changed(&last) - changed(&later))), "{last}");
    let lag = |status: &Value| status["longest_lag_ms"].as_f64().expect("a number");
    assert!(lag(&last) >= lag(&later), "{} after {}", lag(&last), lag(&later));
}

/// Has the strict parser of prometheus-client read `text`. Returns its number of families.
fn families(text: &str) -> Option<usize> {
    const READ: &str = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as read; \
                        print(len(list(read(sys.stdin.read()))))";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/.venv/bin/python");
    if !python.exists() {
        return skipped("nothing parses OpenMetrics: run tests/python/install");
    }
    let mut child = Command::new(python);
    let mut child = child
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "it is refused, see above: {text}");
    Some(String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number"))
}

#[test]
fn both_formats_of_the_metrics_are_accepted_by_their_checkers() {
    let mut cluster = herd();
    let client = cluster.client("Alford");
    cluster.say(client, "IAMAT kiwi +1+1 5");
    get(&mut cluster, "/nowhere", "");
    let (head, plain) = text(&mut cluster, "/metrics", "");
    assert!(
        head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(plain.contains("\nherd_table_clients{server=\"Alford\"} 1\n"), "{plain}");
    assert!(plain.contains("\nherd_http_followers{server=\"Alford\"} 0\n"), "{plain}");
    if let Some(said) = promtool(&plain) {
        assert_eq!(said, "", "{plain}");
    }
    let prometheus = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let (head, open) = text(&mut cluster, "/metrics", prometheus);
    let expected =
        "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(expected), "{head}");
    let types = plain.lines().filter(|line| line.starts_with("# TYPE ")).count();
    if let Some(families) = families(&open) {
        assert_eq!(families, types);
    }
}

#[test]
fn a_turn_makes_the_numbers_for_one_connection_only_and_each_gets_its_answers_in_order() {
    let mut cluster = herd();
    cluster.set_pace("Alford", MS);
    let dial = |cluster: &mut Cluster| cluster.dial(SocketAddr::from(([10, 0, 0, 1], 12_200)));
    let talks: Vec<_> = (0..6).map(|_| dial(&mut cluster)).collect();
    cluster.run_for(20 * MS);
    let paths = ["/metrics", "/healthz", "/status.json", "/nowhere", "/metrics"];
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
    for talk in &talks {
        cluster.send(*talk, paths.map(request).concat());
    }
    let numbers = |heard: &[u8]| {
        let heard = String::from_utf8_lossy(heard);
        heard.matches("version=0.0.4").count() + heard.matches("Cache-Control: no-store").count()
    };
    let (mut before, mut turns) = (0, 0);
    while before < 3 * talks.len() {
        cluster.run_for(MS);
        let now = talks.iter().map(|talk| numbers(cluster.heard(*talk))).sum();
        assert!(now <= before + 1 && turns < 100, "{before}, then {now} in turn {turns}");
        (before, turns) = (now, turns + 1);
    }
    for talk in talks {
        let heard = cluster.hear(talk);
        let parts = ["version=0.0.4", "ok\n", "\"server\":", " 404 ", "version=0.0.4"];
        let mut rest = &*heard;
        for part in parts {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{part} in {heard}")).1;
        }
        assert_eq!(heard.matches("HTTP/1.1 ").count(), paths.len());
    }
}

#[test]
fn open_metrics_is_for_those_who_name_it() {
    let mut cluster = herd();
    for (accept, is_open) in [
        ("", false),
        ("Accept: */*\r\n", false),
        ("Accept: application/json\r\n", false),
        ("Accept: application/openmetrics-text; version=1.0.0; q=0\r\n", false),
        ("Accept: application/openmetrics-text;q=0.0, text/plain\r\n", false),
        ("Accept: text/plain;q=0.5, application/OpenMetrics-text;q=0.001\r\n", true),
        ("Accept: application/openmetrics-text\r\n", true),
    ] {
        let (head, body) = text(&mut cluster, "/metrics", accept);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{accept}: {head}");
        assert_eq!(body.ends_with("# EOF\n"), is_open, "{accept}");
    }
}

#[test]
fn the_page_and_its_files_are_compressed_kept_and_asked_for_again_by_their_tags() {
    let mut cluster = herd();
    for asset in std::iter::once(&INDEX).chain(ASSETS) {
        let plain = asset.plain();
        for (accept, body, tag, is_gzip) in [
            ("", &plain[..], asset.etag, false),
            ("Accept-Encoding: gzip, deflate, br\r\n", asset.gzip, asset.gzip_etag, true),
            ("Accept-Encoding: *\r\n", asset.gzip, asset.gzip_etag, true),
            ("Accept-Encoding: gzip;q=0, *\r\n", &plain, asset.etag, false),
            ("Accept-Encoding: br, gzip; q=0.000\r\n", &plain, asset.etag, false),
            ("Accept-Encoding: identity, GZIP;Q=0.5\r\n", asset.gzip, asset.gzip_etag, true),
        ] {
            let (head, got) = get(&mut cluster, asset.path, accept);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{}: {head}", asset.path);
            assert!(got == body, "{} {accept}", asset.path);
            assert_eq!(head.contains("\r\nContent-Encoding: gzip\r\n"), is_gzip, "{head}");
            for line in [
                &format!("Content-Type: {}", asset.content_type),
                &format!("ETag: {tag}"),
                "Vary: Accept-Encoding",
                "X-Content-Type-Options: nosniff",
                "Referrer-Policy: strict-origin-when-cross-origin",
            ] {
                assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
            }
            let known = format!("{accept}If-None-Match: {tag}\r\n");
            let (head, got) = get(&mut cluster, asset.path, &known);
            assert!(head.starts_with("HTTP/1.1 304 ") && got.is_empty(), "{head}");
            assert!(head.contains(&format!("\r\nETag: {tag}\r\n")), "{head}");
        }
    }
    let (head, _) = get(&mut cluster, ASSETS[0].path, "");
    assert!(head.contains("\r\nCache-Control: public, max-age=31536000, immutable\r\n"), "{head}");
    let (head, _) = get(&mut cluster, "/", "");
    assert!(head.contains("\r\nCache-Control: no-cache\r\n"), "{head}");
    assert!(head.contains("\r\nCross-Origin-Opener-Policy: same-origin\r\n"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: "));
    let policy = policy.expect("a policy");
    assert!(policy.contains("connect-src 'self' http://10.0.0.1:12200;"), "{policy}");
}

#[test]
fn no_path_leads_to_another_file() {
    let mut cluster = herd();
    let folder = ASSETS[0].path.rsplit_once('/').expect("a folder").0;
    for path in [
        "/assets/",
        "/assets/x",
        folder,
        &format!("{folder}/"),
        &format!("{folder}/../page.js"),
        &format!("{}/", ASSETS[0].path),
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/index.html",
        "//",
    ] {
        let (head, _) = get(&mut cluster, path, "");
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}
