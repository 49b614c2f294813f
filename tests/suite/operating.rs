//! docs/operating.md has a row for every warning and error of the log, and docs/alerts.yml names metrics that exist.
//!
//! In: the sources, and both pages. A message of the sources is a format string, such as `"journal: {path} is complete"`; its
//! row is the line in the log, with anything in place of the `{path}`. A message without words of its own, such as
//! `"{failure}"`, is listed in [`WORDLESS`] with the beginning of its row.

use crate::support::skipped;
use places_herd::config::Topology;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/operating.md";
const ALERTS: &str = "docs/alerts.yml";

/// The macros and functions that log a line which may be a WARN or an ERROR, up to their arguments.
const LOGGERS: [&str; 5] = ["warn!(", "error!(", "log::log!(", ".log_throttled(", "throttle.log("];

/// Messages without words of their own: a file, the beginning of the message, and a part of the row that stands for it.
const WORDLESS: [(&str, &str, &str); 11] = [
    // A fault or a warning about the topology, or about a file that it names.
    ("", "\"{}\", ", "`topology.toml:"),
    ("src/cli/serve.rs", "\"{failure}\"", "`Alford cannot listen on client"),
    ("src/net/dns/client.rs", "\"dns: {what}\"", "`dns: line 3: "),
    ("src/reactor/protocol.rs", "\"{why}\"", "`connection refused`"),
    ("src/reactor/tcp.rs", "\"{}: {why}\"", "`Interserver,7: invalid peer certificate"),
    ("src/server/bus_link.rs", "\"{name}: {what}: {why}{}\"", "`Bus,7: the bucket cannot be used"),
    ("src/server/place_queries.rs", "\"{}: {}\"", "`google: "),
    ("src/server/place_queries.rs", "\"{}: {why}\"", "`google: "),
    ("src/server/config_state.rs", "\"{by}: {what}\"", "`herd reload: refused"),
    // Their callers have the words.
    ("src/reactor/handle.rs", "key, what, times, outcome", "`limit: connections`"),
    ("src/reactor/log_throttle.rs", "\"{what}: {times} ", "`limit: connections`"),
];

/// The sources of the program and its library crates, without tests.
fn sources() -> Vec<(String, String)> {
    fn find(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("it is there") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true if path.ends_with("tests") || path.ends_with("examples") => {}
                true => find(&path, found),
                false if path.extension().is_some_and(|it| it == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let mut paths = Vec::new();
    find(Path::new("src"), &mut paths);
    let read = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("it is UTF-8");
        let text = text.split("\n#[cfg(test)]\nmod ").next().expect("the first part").to_owned();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = text.lines().filter(is_code).map(|line| line.to_owned() + "\n").collect();
        (path.display().to_string(), code)
    });
    read.collect()
}

/// The arguments of a call, from behind its parenthesis on, up to the one that closes it.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// The words of a call's texts, in order: what stands between the placeholders. Texts in further parentheses do not count,
/// nor that of `event = "..."`.
fn words(call: &str) -> Vec<String> {
    let call = call.replace("\\\"", "");
    let parts: Vec<&str> = call.split('"').collect();
    let (mut texts, mut open, mut closed) = (Vec::new(), 0, 0);
    for pair in parts.chunks_exact(2) {
        open += pair[0].matches('(').count();
        closed += pair[0].matches(')').count();
        if open == closed && !pair[0].trim_end().ends_with('=') {
            texts.push(pair[1]);
        }
    }
    let pieces = texts.into_iter().flat_map(|text| {
        text.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, after)| after))
    });
    // A backslash at the end of a line joins it with the next one.
    let joined = pieces.map(|piece| {
        let words = piece.split_whitespace().filter(|word| *word != "\\");
        words.collect::<Vec<_>>().join(" ")
    });
    joined.filter(|piece| piece.chars().filter(|c| c.is_alphabetic()).count() > 2).collect()
}

/// The rows of the page's tables of lines.
fn rows() -> Vec<String> {
    let page = fs::read_to_string(PAGE).expect("it is there");
    let tables = page.split("\n## Every warning and error\n").nth(1).expect("the page has it");
    let tables = tables.split("\n## ").next().expect("the first part");
    tables.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

/// Finds the row with these `words`, in their order.
fn row_with<'r>(rows: &'r [String], words: &[String]) -> Option<&'r String> {
    rows.iter().find(|row| {
        let mut rest = row.as_str();
        words.iter().all(|word| match rest.split_once(word.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

#[test]
fn each_warning_and_error_of_the_sources_has_a_row_and_each_row_a_message() {
    let rows = rows();
    let (mut missing, mut used, mut calls) = (Vec::new(), Vec::new(), 0);
    let mut need = |place: &str, words: &[String]| match row_with(&rows, words) {
        Some(row) => used.push(row.clone()),
        None => missing.push(format!("{place}: {words:?}")),
    };
    for (path, code) in sources() {
        for logger in LOGGERS {
            for (at, _) in code.match_indices(logger) {
                let call = arguments(&code[at + logger.len()..]);
                // A message may be bound to the name `what` just before.
                let bound = code[..at].rfind("format_args!(");
                let bound = bound.filter(|it| at - it < 400 && call.contains("what"));
                let mut said = bound.map_or(Vec::new(), |it| words(arguments(&code[it + 13..])));
                said.extend(words(call));
                let is_it = |&&(file, part, _): &&(&str, &str, &str)| {
                    path.ends_with(file) && call.contains(part)
                };
                if let Some((.., row)) = WORDLESS.iter().find(is_it) {
                    said = vec![(*row).to_owned()];
                }
                calls += 1;
                if said.is_empty() {
                    need(&path, &[format!("a message without words, add it to WORDLESS: {call}")]);
                } else {
                    need(&path, &said);
                }
            }
        }
    }
    // The keys of limits are the ones of the metrics, which a test there compares with the calls.
    let metrics = fs::read_to_string("src/server/metrics.rs").expect("it is there");
    let keys =
        metrics.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\";"));
    // Their lines have words of their own.
    for key in keys.filter(|key| !["descriptors", "table_full"].contains(key)) {
        calls += 1;
        need("src/server/metrics.rs", &[format!("`limit: {key}`")]);
    }
    assert!(missing.is_empty(), "{PAGE} has no row for\n{}", missing.join("\n"));
    let unused: Vec<_> = rows.iter().filter(|row| !used.contains(row)).collect();
    assert!(unused.is_empty(), "{PAGE} has rows for lines that nothing logs:\n{unused:#?}");
    assert!(calls > 60, "{calls} calls");
}

#[test]
fn each_row_says_what_to_do() {
    for row in rows() {
        let cells = row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>();
        assert!(cells.len() >= 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
}

/// The words of `text` that are names of metrics of a server.
fn metrics(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("herd_") && *word != "herd_").collect()
}

#[test]
fn each_alert_names_metrics_that_a_server_has_and_is_on_the_page() {
    let alerts = fs::read_to_string(ALERTS).expect("it is there");
    let status = fs::read_to_string("docs/status.md").expect("it is there");
    let known = metrics(&status);
    for name in metrics(&alerts) {
        let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(known.contains(&name) || ends.is_some_and(|it| known.contains(&it)), "{name}");
    }
    let page = fs::read_to_string(PAGE).expect("it is there");
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert_eq!(names.len(), 10);
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn promtool_accepts_the_alerts_and_a_herd_in_trouble_fires_each_and_a_calm_one_none() {
    for (what, file, verdict) in [
        ("check", ALERTS, "SUCCESS: 10 rules found"),
        ("test", "tests/fixtures/alerts.yml", "SUCCESS"),
    ] {
        let Ok(output) = Command::new("promtool").args([what, "rules", file]).output() else {
            skipped::<()>("promtool is missing, so nothing checks the alerts: install prometheus");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(verdict), "{output:?}");
    }
}

#[test]
fn the_topology_for_three_machines_has_no_fault() {
    let page = fs::read_to_string(PAGE).expect("it is there");
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    if let Err(faults) = Topology::parse(text.expect("the page has one"), Path::new(PAGE)) {
        panic!("{faults}");
    }
}
