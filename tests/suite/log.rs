//! The log of a process, from the macros to the file.
//!
//! The test runs in a separate process, because a process has only one log, and the test reads it after all
//! lines are written.

use crate::support::alone::in_a_process_of_its_own;
use crate::support::process::is_readable;
use std::fs;
use std::io::{Read, Write, pipe};
use std::path::Path;
use std::time::Instant;

use places_herd::log::{self, Direction, LogSettings, LogTo, Party};

/// Returns lines whose bytes try to be more than one line, or to look like another line.
fn hostile() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = (0..=255).map(|byte| vec![b'a', byte, b'z']).collect();
    for c in "\u{85}\u{9b}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}"
        .chars()
    {
        lines.push(format!("a{c}z").into_bytes());
    }
    lines.push(b"x\r\n2026-11-22T10:16:39.123456Z INFO  client 1 < IAMAT forged +1-1 1".to_vec());
    lines.push(b"\x1b[2J\x1b]0;title\x07".to_vec());
    // Pseudo-random bytes, the same in every run.
    let mut state = 1_u64;
    for length in 0..500 {
        lines.push(
            (0..length)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect(),
        );
    }
    lines
}

#[test]
fn one_event_is_one_line_whatever_the_bytes() {
    if !in_a_process_of_its_own("log::one_event_is_one_line_whatever_the_bytes") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("log-{}", std::process::id()));
    let settings = LogSettings {
        to: Some(LogTo::File),
        folder: folder.clone(),
        folder_is_set: true,
        ..LogSettings::default()
    };
    assert!(!log::traffic_is_on() && !log::unwritten());
    log::traffic(0, Party::Named(b"nobody"), Direction::In, b"is listening yet");

    let path = log::start(&settings, "Alford", || 1_795_342_599_123_456_789)
        .expect("the folder can be made");
    assert_eq!(Path::new(&path), folder.join("Alford-2026-11-22T10-16-39Z.log"));
    assert_eq!((log::place(), log::failure()), (Some(path.clone()), None));
    assert!(log::traffic_is_on() && !log::unwritten());
    let another = LogSettings { folder: folder.join("another"), ..settings.clone() };
    assert!(log::start(&another, "Alford", || 0).is_err(), "a process has one log");

    let hostile = hostile();
    for bytes in &hostile {
        log::traffic(1_000, Party::Named(b"client 127.0.0.1:4711"), Direction::Out, bytes);
        ::log::info!("refused: {}", log::Escaped(bytes));
        ::log::info!("as text: {}", String::from_utf8_lossy(bytes));
        ::log::debug!("not wanted");
    }
    assert!(log::unwritten());
    ::log::warn!("low on {}", "descriptors");
    assert!(!log::unwritten(), "a warning is written at once, and what came before it first");
    log::flush();

    let text = fs::read_to_string(&path).expect("the log is text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3 * hostile.len() + 1);
    for (event, lines) in lines.chunks_exact(3).enumerate() {
        assert!(
            lines[0].starts_with("1970-01-01T00:00:00.000001Z INFO  client 127.0.0.1:4711 > "),
            "{event}"
        );
        assert!(lines[1].starts_with("2026-11-22T10:16:39.123456Z INFO  refused: "), "{event}");
        assert!(lines[2].starts_with("2026-11-22T10:16:39.123456Z INFO  as text: "), "{event}");
        let escaped = lines[0].split_once(" > ").expect("a traffic line").1;
        assert_eq!(
            Some(escaped),
            lines[1].strip_prefix("2026-11-22T10:16:39.123456Z INFO  refused: ")
        );
    }
    assert_eq!(lines.last(), Some(&"2026-11-22T10:16:39.123456Z WARN  low on descriptors"));
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    fs::remove_dir_all(folder).expect("nobody else uses it");
}

#[test]
fn new_settings_take_effect_when_they_are_applied_and_the_file_stays_the_same() {
    if !in_a_process_of_its_own(
        "log::new_settings_take_effect_when_they_are_applied_and_the_file_stays_the_same",
    ) {
        return;
    }
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logs-{}", std::process::id()));
    let settings = LogSettings {
        folder: folder.join("one"),
        folder_is_set: true,
        level: "warn".into(),
        rotate_keep: 5,
        ..LogSettings::default()
    };
    assert!(log::prepare(&settings).expect("nothing is opened").is_none(), "there is no log yet");
    let first =
        log::start(&settings, "Alford", || 1_795_342_599_123_456_789).expect("a new folder");
    ::log::info!("one");
    ::log::warn!("two");

    let changed =
        LogSettings { level: "info,herd::traffic=off".into(), json: true, ..settings.clone() };
    let prepared = log::prepare(&changed).expect("the folder is there").expect("there is a log");
    ::log::info!("three");
    prepared.apply();
    ::log::info!("four");
    assert!(!log::traffic_is_on());
    assert_eq!(log::place().as_ref(), Some(&first));
    log::flush();
    let text = fs::read_to_string(&first).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with("Z WARN  two") && lines[1].contains("\"text\":\"four\""), "{text}");

    // Another folder has a file and a link of its own; what is prepared and not applied leaves nothing.
    let moved = LogSettings { folder: folder.join("two"), ..settings.clone() };
    drop(log::prepare(&moved));
    assert_eq!(fs::read_dir(&moved.folder).expect("it was made").count(), 0);
    log::prepare(&moved).expect("a new folder").expect("there is a log").apply();
    let second = log::place().expect("there is a log");
    assert_eq!(
        fs::canonicalize(moved.folder.join("Alford.log")).ok(),
        fs::canonicalize(&second).ok()
    );
    let blocked = LogSettings { folder: folder.join("one/Alford.log/x"), ..settings };
    assert!(log::prepare(&blocked).is_err());
    ::log::warn!("five");
    assert!(fs::read_to_string(&second).expect("text").ends_with("WARN  five\n"));
    assert_eq!(fs::read_to_string(&first).expect("text"), text);
    fs::remove_dir_all(folder).expect("nobody else uses it");
}

#[test]
fn new_settings_tear_no_line_on_stderr_and_lose_none() {
    if !in_a_process_of_its_own("log::new_settings_tear_no_line_on_stderr_and_lose_none") {
        return;
    }
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("log-to-{}", std::process::id()));
    let settings = |to| LogSettings {
        to: Some(to),
        folder: folder.clone(),
        folder_is_set: true,
        ..LogSettings::default()
    };
    let (mut reader, mut writer) = pipe().expect("descriptors are free");
    let shown = rustix::io::dup(rustix::stdio::stderr()).expect("a descriptor is free");
    rustix::stdio::dup2_stderr(&writer).expect("it is open");
    log::start(&settings(LogTo::Stderr), "Alford", || 0).expect("no folder is needed");
    // The pipe has room for a part of the first line.
    let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("a pipe");
    writer.write_all(&b"x".repeat(size - 4_096)).expect("it takes as many");
    let long = "y".repeat(6_000);
    for to in [LogTo::Both, LogTo::Stderr, LogTo::Both, LogTo::File] {
        ::log::info!("{long}");
        log::flush();
        log::prepare(&settings(to)).expect("it can be made").expect("there is a log").apply();
    }
    let mut told = String::new();
    while is_readable(&reader, Instant::now()) {
        let mut chunk = [0; 1 << 16];
        let count = reader.read(&mut chunk).expect("a pipe");
        told.push_str(str::from_utf8(&chunk[..count]).expect("ASCII"));
        log::flush();
    }
    rustix::stdio::dup2_stderr(&shown).expect("it is open");
    let lines: Vec<&str> = told.lines().map(|line| line.trim_start_matches('x')).collect();
    let whole = format!("1970-01-01T00:00:00.000000Z INFO  Alford: {long}");
    assert_eq!(lines, [&*whole; 4]);
    assert_eq!(log::dropped() + log::dropped_stderr(), 0);
    fs::remove_dir_all(folder).expect("nobody else uses it");
}
