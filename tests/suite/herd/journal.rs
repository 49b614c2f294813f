//! The journal of real processes that are killed and started again.

use crate::support::herd::{Client, Herd, NOWHERE, Setup, eventually, holds, show};
use crate::support::skipped;
use places_herd::journal::{Owner, record};
use places_herd::server::metrics::{METRICS, NEIGHBOUR_METRICS};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ALFORD: &str = "Alford";

fn with_journal(sync: &str) -> Setup {
    Setup::alone().without_traffic_in_the_log().journal(&format!("sync = \"{sync}\""))
}

/// Reports some clients with growing stamps, from `from + 1` on, until the server is gone. Counts acknowledged reports.
/// Returns the last stamp that was sent, and each client's newest acknowledged stamp.
pub(super) fn load(client: &Client, from: u64, count: &AtomicU64) -> (u64, BTreeMap<u64, u64>) {
    const CLIENTS: u64 = 200;
    let (mut writer, mut reader) = (client.writer(), client.writer());
    let writing = thread::spawn(move || {
        let mut stamp = from;
        loop {
            let lines: String = (0..50)
                .map(|_| {
                    stamp += 1;
                    format!("IAMAT c{} {NOWHERE} {stamp}\n", stamp % CLIENTS)
                })
                .collect();
            if writer.write_all(lines.as_bytes()).is_err() {
                return stamp;
            }
        }
    });
    let mut told = Vec::new();
    let mut chunk = [0; 65_536];
    let mut acknowledged = BTreeMap::new();
    while let Ok(bytes @ 1..) = reader.read(&mut chunk) {
        told.extend_from_slice(&chunk[..bytes]);
        let whole = told.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in told.drain(..whole).collect::<Vec<_>>().split(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            let fields: Vec<&str> = text.split(' ').collect();
            let ["AT", ALFORD, _, client, _, stamp] = fields[..] else {
                assert!(line.is_empty(), "{text}");
                continue;
            };
            let client = client[1..].parse().expect("a client of ours");
            acknowledged.insert(client, stamp.parse().expect("a stamp of ours"));
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    (writing.join().expect("it only writes"), acknowledged)
}

/// Kills a loaded server `kills` times, and checks after each restart that no acknowledged report is missing. Returns how
/// many reports were acknowledged.
fn kill_under_load(sync: &str, kills: u64, at_least: u64) -> u64 {
    let mut herd = with_journal(sync).start();
    let (mut stamp, mut lost) = (0, Vec::new());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut kept: BTreeMap<u64, u64> = BTreeMap::new();
    for kill in 0..kills {
        let (client, counting) = (herd.client(ALFORD), acknowledged.clone());
        let loading = thread::spawn(move || load(&client, stamp, &counting));
        // The goal is this kill's share of `at_least`, and a little more, so that each kill happens at another point.
        let goal = at_least * (kill + 1) / kills + kill * 997 % 1_000;
        eventually("so much is acknowledged", || {
            holds(acknowledged.load(Ordering::Relaxed) >= goal)
        });
        herd.kill(ALFORD);
        let (said, newest) = loading.join().expect("it only reads");
        stamp = said;
        kept.extend(newest);
        herd.restart(ALFORD);
        let clients: Vec<String> = kept.keys().map(|client| format!("c{client}")).collect();
        for ((client, newest), line) in kept.iter().zip(herd.reports(ALFORD, &clients)) {
            let found = line.as_deref().and_then(|line| line.rsplit(' ').next()?.parse().ok());
            if found.is_none_or(|found: u64| found < *newest) {
                lost.push((kill, *client, *newest, found));
            }
        }
    }
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    println!(
        "{sync}: {} lost of {acknowledged} acknowledged reports over {kills} kills",
        lost.len()
    );
    assert!(lost.is_empty(), "{lost:?}");
    acknowledged
}

#[test]
fn no_acknowledged_report_is_lost_by_kill_9() {
    for sync in ["always", "everysec", "no"] {
        assert!(kill_under_load(sync, 3, 3_000) > 0);
    }
}

/// `cargo test --release --test suite a_million -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes: a million acknowledged reports, two hundred kills"]
fn a_million_acknowledged_reports_over_two_hundred_kills() {
    let acknowledged = kill_under_load("always", 200, 1_000_000);
    assert!(acknowledged >= 1_000_000, "only {acknowledged}");
}

#[test]
fn an_orderly_end_keeps_all_and_the_log_tells_what_was_read() {
    let mut herd = with_journal("no").start();
    let line = herd.client(ALFORD).ask(format!("IAMAT kiwi {NOWHERE} 5"));
    herd.process(ALFORD).signal(Signal::TERM);
    eventually("it ends", || holds(herd.process_mut(ALFORD).ended().is_some()));
    herd.restart(ALFORD);
    assert_eq!(herd.report(ALFORD, "kiwi"), Some(show(&line)));
    eventually("the log tells of it", || {
        holds(herd.log(ALFORD).contains("1 record of 1 client read"))
    });
}

#[test]
fn the_status_tells_what_has_happened_to_the_journal_and_every_metric() {
    let herd = with_journal("always").start();
    herd.client(ALFORD).ask(format!("IAMAT kiwi {NOWHERE} 5"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.args(["status", "--json", "--topology"]).arg(herd.topology());
    let output = command.output().expect("it can be run");
    let said: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let journal = &said["journal"];
    assert_eq!((&journal["records"], &journal["failures"]), (&1.into(), &0.into()), "{said}");
    assert_eq!(journal["sound"], true, "{said}");
    assert!(journal["syncs"].as_u64() >= Some(1), "{said}");
    assert_eq!(journal["sync_duration"]["count"], journal["syncs"], "{said}");
    assert!(journal["bytes"].as_u64() > Some(40), "{said}");
    assert!(journal["longest_sync_ms"].as_f64() > Some(0.0), "{said}");
    let has = |told: &Value, member: &str| {
        let path = format!("/{}", member.replacen('.', "/", 1));
        assert!(told.pointer(&path).is_some_and(|value| !value.is_null()), "{member}: {told}");
    };
    // The server has neither certificates nor a bus.
    let is_there =
        |member: &&str| !member.starts_with("certificates.") && !member.starts_with("bus.");
    METRICS
        .iter()
        .map(|metric| metric.status)
        .filter(is_there)
        .for_each(|member| has(&said, member));
    for link in said["links"].as_array().expect("a list") {
        NEIGHBOUR_METRICS.iter().for_each(|metric| has(link, metric.status));
    }
}

pub(super) fn run(args: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    let output = command.arg("journal").args(args).arg(path).output().expect("it can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn newest(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).expect("it is there");
    let files = files.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|path| !path.ends_with("lock")).collect();
    files.sort();
    files.pop().expect("there is one")
}

/// Starts Alford, whose journal is the file `journal`, and stops it while it reads the file. Returns whether the signal
/// was in time.
fn stopped_while_it_reads(herd: &mut Herd, journal: &Path, caught: Signal) -> bool {
    let size = fs::metadata(journal).expect("it is there").len();
    herd.begin(ALFORD);
    eventually("it looks for signals", || holds(herd.process(ALFORD).catches(caught)));
    herd.freeze(ALFORD);
    eventually("it is stopped", || holds(herd.process(ALFORD).stands_still()));
    herd.process(ALFORD).bytes_read() < size
}

#[test]
fn a_signal_ends_a_server_that_reads_its_journal_which_stays_as_it_is() {
    let mut herd = with_journal("always").start();
    let kiwi = herd.client(ALFORD).ask(format!("IAMAT kiwi {NOWHERE} 5"));
    herd.kill(ALFORD);
    let file = newest(&herd.journal(ALFORD));
    let mut bytes = fs::read(&file).expect("it is there");
    let mut clients = 0;
    for (signal, times) in [(Signal::TERM, 1), (Signal::INT, 2)] {
        // If the server finished reading before the signal, the next attempt has more lines. There is a last attempt.
        for lines in [100_000, 200_000, 400_000, 800_000] {
            (clients..lines).for_each(|n| {
                record::write(&mut bytes, format!("AT Alford +1 c{n} {NOWHERE} 5").as_bytes());
            });
            clients = lines.max(clients);
            fs::write(&file, &bytes).expect("the folder is ours");
            if stopped_while_it_reads(&mut herd, &file, signal) {
                break;
            }
            herd.kill(ALFORD);
        }
        herd.process(ALFORD).signal(signal);
        herd.thaw(ALFORD);
        let status = eventually("it ends", || herd.process_mut(ALFORD).ended().ok_or("it runs"));
        assert_eq!(status.code(), Some(0), "{status}");
        let log = herd.log(ALFORD);
        assert_eq!(log.matches("was stopped while it read its journal").count(), times, "{log}");
        assert!(fs::read(&file).expect("it is there") == bytes, "the journal is as it was");
    }
    herd.restart(ALFORD);
    herd.logged(ALFORD, &[&format!("{} records of {0} clients read", clients + 1)]);
    assert_eq!(herd.report(ALFORD, "kiwi"), Some(show(&kiwi)));
}

#[test]
fn the_journal_command_checks_shows_and_mends() {
    let mut herd = with_journal("always").start();
    let mut client = herd.client(ALFORD);
    let mut lines = Vec::new();
    for stamp in 1..=30 {
        lines.push(show(&client.ask(format!("IAMAT c{} {NOWHERE} {stamp}", stamp % 10))));
    }
    let folder = herd.journal(ALFORD);
    // While the server runs, its journal may be inspected but not changed.
    let (code, said, _) = run(&["check"], &folder);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("30 records") && said.contains("whole\n10 clients in all"), "{said}");
    let (code, said, _) = run(&["dump"], &folder);
    assert_eq!((code, said), (Some(0), format!("{}\n", lines.join("\n"))));
    let (code, _, errors) = run(&["compact"], &folder);
    assert_eq!(code, Some(69), "{errors}");
    herd.kill(ALFORD);

    // A torn tail is not a fault; damage is.
    let file = newest(&folder);
    let whole = fs::read(&file).expect("it is there");
    fs::write(&file, [&whole[..], b"AT Alf"].concat()).expect("it can be written");
    let (code, said, _) = run(&["check"], &file);
    assert_eq!(code, Some(0));
    assert!(said.contains(&format!("the last 6 of them, from byte {} on", whole.len())), "{said}");
    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    fs::write(&file, &damaged).expect("it can be written");
    for command in ["check", "dump", "compact"] {
        let (code, said, errors) = run(&[command], &folder);
        assert_eq!(code, Some(65), "{command}: {said}{errors}");
        assert!(format!("{said}{errors}").contains("damaged at byte "), "{said}{errors}");
        assert_eq!(fs::read(&file).expect("it is there"), damaged, "{command} changed it");
    }
    let (code, said, _) = run(&["dump", "--salvage"], &folder);
    assert_eq!((code, said.lines().count()), (Some(0), 29));
    let why = herd.try_restart(ALFORD).expect_err("it is damaged");
    assert!(why.contains("65") && why.contains("--salvage"), "{why}");
    let (code, said, errors) = run(&["compact", "--salvage"], &folder);
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.contains("29 records of 10 clients"), "{said}");
    let (code, said, _) = run(&["check"], &folder);
    assert_eq!(code, Some(0));
    assert!(said.contains("10 records"), "{said}");
    herd.restart(ALFORD);
    assert_eq!(herd.report(ALFORD, "c0"), lines.last().cloned());

    let missing = folder.join("journal.99");
    assert_eq!(run(&["check"], &missing).0, Some(74));
    assert_eq!(run(&["check"], folder.parent().expect("it has one")).0, Some(65));
}

/// A folder with journal files of Alford, each with the given name and lines.
fn folder_of(test: &str, files: &[(&str, &[&str])]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("herd-compact-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("it can be made");
    for (name, lines) in files {
        let mut bytes = Owner { server: ALFORD.into(), herd: "test".into() }.head();
        lines.iter().for_each(|line| record::write(&mut bytes, line.as_bytes()));
        fs::write(folder.join(name), bytes).expect("the folder is ours");
    }
    folder
}

#[test]
fn compacting_keeps_what_a_server_with_ahead_max_s_would_use() {
    let folder = folder_of(
        "ahead",
        &[
            ("journal.1", &["AT Alford +1 kiwi +1+1 5", "AT Alford +1 kiwi +2+2 9999999999"]),
            (
                "journal.2",
                &[
                    "AT Alford +1 plum +1+1 9999999998",
                    "AT Alford +1 kiwi +1+1 4",
                    "AT Alford +1 plum +2+2 9999999999",
                    "AT Alford +1 fig +1+1 6",
                ],
            ),
        ],
    );
    let (code, said, errors) = run(&["compact"], &folder);
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.contains("6 records of 3 clients"), "{said}");
    assert!(said.contains("ahead of this machine's clock: 2 lines"), "{said}");
    let (code, said, _) = run(&["dump"], &folder);
    assert_eq!(code, Some(0));
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    let expected = [
        "AT Alford +1 fig +1+1 6",
        "AT Alford +1 kiwi +1+1 5",
        "AT Alford +1 kiwi +2+2 9999999999",
        "AT Alford +1 plum +2+2 9999999999",
    ];
    assert_eq!(lines, expected);
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn what_no_server_reads_is_not_compacted_and_nothing_is_made_beside_it() {
    let folder = folder_of("copy", &[("saved", &["AT Alford +1 kiwi +1+1 5"])]);
    let (code, said, errors) = run(&["compact"], &folder.join("saved"));
    assert_eq!(code, Some(64), "{said}{errors}");
    assert!(errors.contains("journal.NUMBER"), "{errors}");
    let left: Vec<_> = fs::read_dir(&folder).expect("it is there").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_journal_with_a_number_that_is_none_is_refused_by_every_command() {
    let path = folder_of("number", &[("journal.1", &[]), ("journal.9223372036854775807", &[])]);
    for command in ["check", "dump", "compact"] {
        let (code, said, errors) = run(&[command], &path);
        assert_eq!((code, said.as_str()), (Some(65), ""), "{command}");
        assert!(
            errors.contains("/journal.9223372036854775807: its number is too large"),
            "{errors}"
        );
        // A single file is read whatever its name is, but only a file with a number is compacted.
        let file = path.join("journal.9223372036854775807");
        let status = if command == "compact" { 65 } else { 0 };
        assert_eq!(run(&[command], &file).0, Some(status), "{command}");
    }
    assert!(!path.join("journal.2").exists() && path.join("journal.1").exists());
}

#[test]
fn a_file_that_ends_in_its_first_line_is_in_nobodys_way() {
    let folder = folder_of("head", &[("journal.1", &["AT Alford +1 kiwi +1+1 5"])]);
    fs::write(folder.join("journal.2"), "HERDJ 1 Alf").expect("the folder is ours");
    let (code, said, errors) = run(&["compact"], &folder);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert_eq!(run(&["dump"], &folder).1, "AT Alford +1 kiwi +1+1 5\n");
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_dump_that_finds_no_room_does_not_pass_for_one() {
    let herd = with_journal("always").start();
    herd.client(ALFORD).ask(format!("IAMAT kiwi {NOWHERE} 5"));
    let dump = |out: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command.args(["journal", "dump"]).arg(herd.journal(ALFORD)).stdout(out);
        command.output().expect("it can be run")
    };
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let dumped = dump(full.into());
    let errors = String::from_utf8_lossy(&dumped.stderr).into_owned();
    assert_eq!(dumped.status.code(), Some(74), "{errors}");
    assert!(errors.contains("cannot write to stdout: No space left"), "{errors}");
    // A closed reader, as with `| head`, is not a fault.
    let (reader, writer) = std::io::pipe().expect("descriptors are free");
    drop(reader);
    assert_eq!(dump(writer.into()).status.code(), Some(0));
}

#[test]
fn anothers_journal_ends_the_start_with_65() {
    let mut herd = with_journal("always").start();
    herd.kill(ALFORD);
    let file = newest(&herd.journal(ALFORD));
    fs::write(&file, "HERDJ 1 Bolden other\n").expect("it can be written");
    let why = herd.try_restart(ALFORD).expect_err("it is another's");
    assert!(why.contains("65") && why.contains("is the journal of Bolden"), "{why}");
}

/// Overwrites Alford's journal, which contains the clients `a` and `b`, with the bytes that `damage` returns.
fn damaged(herd: &Herd, damage: impl Fn(&[u8], &[u8], &[u8]) -> Vec<u8>) -> PathBuf {
    let file = herd.journal(ALFORD).join("journal.1");
    let bytes = fs::read(&file).expect("it is there");
    let mut pieces = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut next = || pieces.next().expect("a head and two records");
    let (head, a, b) = (next(), next(), next());
    fs::write(&file, damage(head, a, b)).expect("the folder is ours");
    file
}

/// A herd whose only server was killed, with the clients `a` and `b` in its journal.
fn killed(setup: Setup) -> Herd {
    let mut herd = setup.without_traffic_in_the_log().start();
    let mut client = herd.client(ALFORD);
    for name in ["a", "b"] {
        client.ask(format!("IAMAT {name} {NOWHERE} 5"));
    }
    herd.kill(ALFORD);
    herd
}

#[test]
fn a_whole_record_behind_a_hole_is_damage_and_salvage_keeps_it() {
    let mut herd = killed(with_journal("no"));
    let folder = herd.journal(ALFORD);
    let zeros = [0; 4_096];
    let file = damaged(&herd, |head, a, b| [head, a, &zeros, b].concat());
    let before = fs::read(&file).expect("it is there");
    let (code, said, _) = run(&["check"], &folder);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("before 1 intact record"), "{said}");
    let why = herd.try_restart(ALFORD).expect_err("it is damaged");
    assert!(why.contains("65") && why.contains("--salvage"), "{why}");
    assert_eq!(fs::read(&file).expect("it is there"), before);
    let (code, said, errors) = run(&["compact", "--salvage"], &folder);
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.contains("2 records of 2 clients") && said.contains("4096 bytes"), "{said}");
    herd.restart(ALFORD);
    assert!(herd.report(ALFORD, "a").is_some() && herd.report(ALFORD, "b").is_some());
}

#[test]
fn a_torn_tail_is_moved_by_the_start_and_no_command_takes_it_for_a_journal() {
    let mut herd = killed(with_journal("no"));
    let folder = herd.journal(ALFORD);
    let tail = [0; 70_000];
    let file = damaged(&herd, |head, a, b| [head, a, b, &tail].concat());
    let (code, said, _) = run(&["check"], &folder);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the last 70000 of them, from byte "), "{said}");
    assert!(said.contains("are a torn tail\n2 clients in all"), "{said}");
    herd.restart(ALFORD);
    herd.logged(ALFORD, &["WARN", "the last 70000 bytes of ", "moved them to", "journal.1.torn"]);
    assert!(herd.report(ALFORD, "a").is_some() && herd.report(ALFORD, "b").is_some());
    let torn = folder.join("journal.1.torn");
    let is_moved = || fs::read(&torn).expect("it was moved") == tail;
    assert!(is_moved());
    assert_eq!(mode(&torn) & !0o640, 0);
    herd.kill(ALFORD);
    // A command moves another torn tail away, and keeps the one that was moved before.
    let bytes = fs::read(&file).expect("it is there");
    fs::write(&file, [&bytes[..], b"AT Alford"].concat()).expect("the folder is ours");
    let (code, said, errors) = run(&["compact"], &folder);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        said.contains("9 bytes were a torn tail, and are in journal.NUMBER.torn now"),
        "{said}"
    );
    assert_eq!(fs::read(&torn).expect("it is there"), b"AT Alford");
    assert!(fs::read(folder.join("journal.1.torn.1")).expect("it is kept") == tail);
    assert_eq!(run(&["dump"], &folder).1.lines().count(), 2);
    for (command, status) in [("check", 65), ("dump", 65), ("compact", 64)] {
        assert_eq!(run(&[command], &torn).0, Some(status), "{command}");
    }
}

#[test]
fn a_torn_tail_that_cannot_be_moved_ends_the_start_with_74_whatever_the_policy() {
    for sync in ["always", "everysec", "no"] {
        let mut herd = killed(with_small_files(&format!("sync = \"{sync}\"")));
        let file = damaged(&herd, |head, a, b| [head, a, b, &[0; 200_000]].concat());
        let before = fs::read(&file).expect("it is there");
        let why = herd.try_restart(ALFORD).expect_err("there is no room for it");
        assert!(why.contains("74") && why.contains("the last 200000 bytes of "), "{why}");
        assert!(
            why.contains("cannot be moved to") && why.contains("journal.1.torn (make room"),
            "{why}"
        );
        assert!(fs::read(&file).expect("it is there") == before, "{sync}");
        assert!(!herd.journal(ALFORD).join("journal.1.torn").exists(), "{sync}");
    }
}

#[test]
fn a_journal_with_cr_lf_is_refused_for_that_reason_and_as_it_is() {
    let mut herd = killed(with_journal("no"));
    let file = damaged(&herd, |head, a, b| {
        [head, a, b]
            .concat()
            .iter()
            .flat_map(|byte| match byte {
                b'\n' => b"\r\n".to_vec(),
                _ => vec![*byte],
            })
            .collect()
    });
    let before = fs::read(&file).expect("it is there");
    let why = herd.try_restart(ALFORD).expect_err("it is not as it was written");
    assert!(why.contains("65") && why.contains("from LF to CR LF"), "{why}");
    assert!(!why.contains('\r'), "{why:?}");
    for command in ["check", "dump", "compact"] {
        let (code, said, errors) = run(&[command, "--salvage"], &herd.journal(ALFORD));
        assert_eq!(code, Some(65), "{command}: {said}{errors}");
        let said = said + &errors;
        assert!(said.contains("from LF to CR LF") && !said.contains('\r'), "{said:?}");
    }
    assert_eq!(fs::read(&file).expect("it is there"), before);
}

#[test]
fn a_journal_that_an_editor_or_a_packer_has_had_is_refused_for_that_reason_and_as_it_is() {
    let mut herd = killed(with_journal("no"));
    let folder = herd.journal(ALFORD);
    let whole = fs::read(folder.join("journal.1")).expect("it is there");
    let text = str::from_utf8(&whole).expect("a journal is text");
    let utf_16 = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    // The last member: whether `--salvage` recovers all records.
    for (said, bytes, is_salvaged) in [
        ("from LF to CR LF", text.replace('\n', "\r\n"), false),
        ("from LF to CR LF", text.replacen('\n', "\r\n", 3).replacen("\r\n", "\n", 1), true),
        ("from LF to CR LF or CR", text.replace('\n', "\r"), false),
        ("from LF to CR LF or CR", text.replace('\n', "\r").repeat(2_000), false),
        ("has a byte order mark before its first line", format!("\u{feff}{text}"), false),
    ]
    .map(|(said, text, is_salvaged)| (said, text.into_bytes(), is_salvaged))
    .into_iter()
    .chain([
        ("it is UTF-16: convert it first", utf_16, false),
        ("it is compressed with gzip: decompress it first", b"\x1f\x8b\x08\0\0".to_vec(), false),
    ]) {
        fs::write(folder.join("journal.1"), &bytes).expect("the folder is ours");
        let why = herd.try_restart(ALFORD).expect_err("it is not as it was written");
        assert!(why.contains("65") && why.contains(said) && !why.contains("--salvage"), "{why}");
        for command in ["check", "dump", "compact"] {
            let (code, out, errors) = run(&[command], &folder);
            let told = out + &errors;
            assert_eq!(code, Some(65), "{command}: {told}");
            assert!(told.contains(said) && !told.contains(['\r', '\u{feff}']), "{told:?}");
        }
        assert_eq!(fs::read(folder.join("journal.1")).expect("it is there"), bytes);
        let (code, told, errors) = run(&["dump", "--salvage"], &folder);
        let expected = if is_salvaged { (Some(0), 2) } else { (Some(65), 0) };
        assert_eq!((code, told.lines().count()), expected, "{said}: {errors}");
    }
}

#[test]
fn line_ends_that_were_changed_are_changed_back_by_the_command_that_is_told() {
    let lines = ["AT Alford +0.1 kiwi +1.0+1.0 1", "AT Alford +0.1 plum +1.0+1.0 1"];
    let path = folder_of("line-ends", &[("journal.1", &lines)]);
    let file = path.join("journal.1");
    let whole = fs::read_to_string(&file).expect("it is there");
    for (what, text) in [
        ("CR LF", whole.replace('\n', "\r\n")),
        ("CR", whole.replace('\n', "\r")),
        ("CR LF in a part", whole.replacen('\n', "\r\n", 2).replacen("\r\n", "\n", 1)),
        ("CR in a part", whole.replacen('\n', "\r", 2).replacen('\r', "\n", 1)),
    ] {
        fs::write(&file, text).expect("the folder is ours");
        let (code, said, _) = run(&["check"], &path);
        assert_eq!(code, Some(65), "{what}: {said}");
        let remedy = said.split('`').nth(1).expect("it names a command");
        assert!(Command::new("sh").args(["-c", remedy]).status().expect("it is there").success());
        let (code, said, _) = run(&["check"], &path);
        assert!(code == Some(0) && said.contains("2 records") && said.contains("whole"), "{said}");
    }
}

#[test]
fn a_named_pipe_in_the_folder_keeps_neither_a_start_nor_a_command_waiting() {
    let mut herd = killed(with_journal("no"));
    let folder = herd.journal(ALFORD);
    for name in ["lock", "journal.1"] {
        let path = folder.join(name);
        fs::rename(&path, folder.join("away")).expect("it is ours");
        let made = Command::new("mkfifo").arg(&path).status().expect("it can be run");
        assert!(made.success());
        let why = herd.try_restart(ALFORD).expect_err("it is not a file");
        assert!(why.contains("74") && why.contains(name), "{why}");
        assert!(why.contains("it is not a regular file but a named pipe; move it away"), "{why}");
        let (code, _, errors) = run(&["compact"], &folder);
        assert_eq!(code, Some(74), "{errors}");
        if name != "lock" {
            assert_eq!(run(&["check"], &folder).0, Some(74));
            assert_eq!(run(&["dump"], &folder).0, Some(74));
        }
        fs::rename(folder.join("away"), &path).expect("it is ours");
    }
    herd.restart(ALFORD);
    assert!(herd.report(ALFORD, "a").is_some());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn whatever_the_umask_others_may_look_into_no_folder_that_a_server_makes() {
    let herd = with_journal("no").inside(&["sh", "-c", "umask 0 && exec \"$0\" \"$@\""]).start();
    herd.client(ALFORD).ask(format!("IAMAT kiwi {NOWHERE} 5"));
    let journal = herd.journal(ALFORD);
    for folder in [
        &journal,
        journal.parent().expect("it has one"),
        &herd.folder().join("log"),
        &herd.folder().join("run"),
    ] {
        assert_eq!(mode(folder), 0o750, "{folder:?}");
    }
    for file in ["lock", "journal.1"] {
        assert_eq!(mode(&journal.join(file)), 0o640, "{file}");
    }
}

/// Starts a server whose journal is on a small file system of its own, if the machine allows mounting one. Returns it with
/// the path of a file that fills the file system, and that file; both are reached through the server's process, because
/// only its mount namespace has the file system.
fn on_a_small_device(settings: &str) -> Option<(Herd, PathBuf, fs::File)> {
    let inside =
        "mkdir -p journal && mount -t tmpfs -o size=256k none journal && exec \"$0\" \"$@\"";
    let is_possible = |how: &&str| {
        let mount = [how, "sh", "-c", "mount -t tmpfs -o size=256k none /mnt"];
        Command::new("unshare").args(mount).output().is_ok_and(|output| output.status.success())
    };
    // The second way is for machines where only root may mount.
    let Some(how) = ["-rm", "-m"].into_iter().find(is_possible) else {
        return skipped(
            "cannot mount a file system: neither `unshare -rm` nor `unshare -m` allows it here",
        );
    };
    let setup = Setup::alone()
        .without_traffic_in_the_log()
        .journal(settings)
        .inside(&["unshare", how, "sh", "-c", inside]);
    let herd = setup.start();
    let process = herd.process(ALFORD).id();
    let folder = herd.journal(ALFORD).strip_prefix("/").expect("it is absolute").to_owned();
    let filler = PathBuf::from(format!("/proc/{process}/root")).join(folder).join("filler");
    let file = fs::File::create(&filler).expect("there is room yet");
    Some((herd, filler, file))
}

fn fill(mut file: &fs::File) {
    let full = std::iter::repeat_with(|| file.write_all(&[0; 1_024])).find_map(Result::err);
    assert_eq!(full.expect("it is small").kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn with_always_a_full_device_ends_the_server_with_74_without_a_false_acknowledgement() {
    let Some((mut herd, _, file)) = on_a_small_device("sync = \"always\"") else { return };
    let mut client = herd.client(ALFORD);
    fill(&file);
    // The rest of the journal's last page has room for some reports.
    let mut acknowledged = 0;
    loop {
        client.try_send(format!("IAMAT kiwi {NOWHERE} {}\n", acknowledged + 1));
        match client.line_or_end() {
            Some(line) => assert!(line.starts_with(b"AT Alford "), "{}", show(&line)),
            None => break,
        }
        acknowledged += 1;
    }
    let status = eventually("it ends", || herd.process_mut(ALFORD).ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(74));
    herd.logged(ALFORD, &["ERROR", "journal: ", "cannot be written to"]);
}

#[test]
fn a_full_device_is_survived_and_left_behind_without_a_restart() {
    let settings = "sync = \"everysec\"\nretry_ms = 200";
    let Some((herd, filler, file)) = on_a_small_device(settings) else { return };
    let mut client = herd.client(ALFORD);
    fill(&file);
    let mut stamp = 0;
    let mut say = |client: &mut Client| {
        stamp += 1;
        show(&client.ask(format!("IAMAT kiwi {NOWHERE} {stamp}")))
    };
    let mut newest = String::new();
    eventually("reports are refused", || match say(&mut client) {
        refused if refused.starts_with("? IAMAT kiwi") => Ok(()),
        taken => {
            newest = taken;
            Err("they are taken")
        }
    });
    let known = herd.report(ALFORD, "kiwi");
    assert_eq!(known.as_ref(), Some(&newest), "reading goes on");
    assert_eq!(herd.status(ALFORD)["journal"]["sound"], false);
    fs::remove_file(&filler).expect("it is ours");
    drop(file);
    let freed = Instant::now();
    eventually("reports are taken again", || holds(say(&mut client).starts_with("AT ")));
    let journal = herd.status(ALFORD)["journal"].clone();
    assert_eq!(journal["sound"], true, "{journal}");
    assert!(journal["failures"].as_u64() >= Some(1), "what has failed is still counted: {journal}");
    println!("a full device: reports are taken {:?} after there is room", freed.elapsed());
    assert!(freed.elapsed() < Duration::from_secs(20));
}

/// A server whose files cannot grow beyond some tens of KiB.
fn with_small_files(settings: &str) -> Setup {
    let inside = "ulimit -f 96 && exec \"$0\" \"$@\"";
    Setup::alone().journal(settings).inside(&["sh", "-c", inside])
}

#[test]
fn with_always_a_limit_of_file_sizes_ends_the_server_with_74_as_a_full_device_does() {
    let setup = with_small_files("sync = \"always\"").without_traffic_in_the_log();
    let mut herd = setup.start();
    let mut client = herd.client(ALFORD);
    let mut acknowledged = 0;
    loop {
        client.try_send(format!("IAMAT kiwi {NOWHERE} {}\n", acknowledged + 1));
        match client.line_or_end() {
            Some(line) => assert!(line.starts_with(b"AT Alford "), "{}", show(&line)),
            None => break,
        }
        acknowledged += 1;
    }
    assert!(acknowledged >= 300, "{acknowledged}");
    let status = eventually("it ends", || herd.process_mut(ALFORD).ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(74), "{status}");
    herd.logged(ALFORD, &["ERROR", "journal: ", "cannot be written to"]);
}

#[test]
fn a_server_whose_journal_stays_broken_says_that_it_is_not_healthy_and_why() {
    let herd = with_small_files("sync = \"no\"").without_traffic_in_the_log().start();
    let status = |option: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let output = command.args(["status", option, "--topology"]).arg(herd.topology()).output();
        let output = output.expect("it can be run");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    assert_eq!(status("--healthy"), (Some(0), "Alford: healthy\n".to_owned()));
    // Each client is new, so no file has room for the newest line of each.
    let mut client = herd.client(ALFORD);
    let mut number = 0;
    while client.ask(format!("IAMAT c{number} {NOWHERE} 5")).starts_with(b"AT ") {
        number += 1;
    }
    let reason =
        "Alford: its journal is broken, so it refuses reports; see the ERROR lines of its log";
    assert_eq!(status("--healthy"), (Some(1), format!("{reason}\n")));
    let (code, shown) = status("--timeout=5");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((code, lines.len(), lines[2]), (Some(0), 3, reason), "{shown}");
    assert!(lines[1].contains("  NOT HEALTHY  broken"), "{shown}");
    let health = &herd.status(ALFORD)["health"];
    assert_eq!(health["healthy"], false, "{health}");
    assert_eq!(health["reasons"].as_array().map(Vec::len), Some(1), "{health}");
}

/// The log reaches the limit first, because it contains each line that is received or sent.
#[test]
fn a_limit_of_file_sizes_is_survived_by_journal_and_log() {
    let herd = with_small_files("sync = \"everysec\"\nretry_ms = 200").start();
    let mut client = herd.client(ALFORD);
    let mut taken = 0;
    for stamp in 1..=3_000 {
        let line = client.ask(format!("IAMAT kiwi {NOWHERE} {stamp}"));
        taken += usize::from(line.starts_with(b"AT Alford "));
    }
    let journal = herd.status(ALFORD)["journal"].clone();
    assert!(journal["failures"].as_u64() >= Some(1), "the limit was met: {journal}");
    assert!(journal["rewrites"].as_u64() >= Some(1), "and a new file is whole: {journal}");
    assert!(taken > 2_000, "{taken} reports were taken");
    assert!(herd.report(ALFORD, "kiwi").is_some(), "reading goes on");
}

#[test]
fn a_folder_that_is_taken_away_is_told_of_and_made_again_when_it_can_be() {
    let settings = "sync = \"everysec\"\nretry_ms = 100";
    let mut herd = Setup::alone().without_traffic_in_the_log().journal(settings).start();
    let mut client = herd.client(ALFORD);
    client.ask(format!("IAMAT plum {NOWHERE} 1"));
    let folder = herd.journal(ALFORD);
    fs::rename(&folder, folder.with_extension("away")).expect("it is ours");
    fs::write(&folder, "in its place").expect("it is ours");
    let mut stamp = 0;
    let mut say = || {
        stamp += 1;
        show(&client.ask(format!("IAMAT kiwi {NOWHERE} {stamp}")))
    };
    eventually("reports are refused", || holds(say().starts_with("? ")));
    assert_eq!(herd.status(ALFORD)["journal"]["sound"], false);
    herd.logged(ALFORD, &["ERROR", "journal.1 cannot be found: ", "removed, renamed or replaced"]);
    fs::remove_file(&folder).expect("it is ours");
    let mut newest = String::new();
    eventually("reports are taken again", || {
        newest = say();
        holds(newest.starts_with("AT "))
    });
    assert_eq!(herd.status(ALFORD)["journal"]["sound"], true);
    herd.kill(ALFORD);
    herd.restart(ALFORD);
    assert_eq!(herd.report(ALFORD, "kiwi"), Some(newest));
    assert!(herd.report(ALFORD, "plum").is_some(), "what was known before is in it, too");
}

#[test]
fn with_always_what_is_acknowledged_after_the_folder_was_removed_is_kept() {
    let mut herd = with_journal("always").start();
    let mut client = herd.client(ALFORD);
    client.ask(format!("IAMAT plum {NOWHERE} 1"));
    fs::remove_dir_all(herd.journal(ALFORD)).expect("it is ours");
    let kiwi = show(&client.ask(format!("IAMAT kiwi {NOWHERE} 5")));
    assert!(kiwi.starts_with("AT "), "{kiwi}");
    herd.kill(ALFORD);
    herd.restart(ALFORD);
    assert_eq!(herd.report(ALFORD, "kiwi"), Some(kiwi));
    assert!(herd.report(ALFORD, "plum").is_some(), "what was known before is in it, too");
}

#[test]
fn two_servers_do_not_share_a_folder() {
    let herd = with_journal("no").start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.args(["serve", ALFORD, "--topology"]).arg(herd.topology());
    let output = command.output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("is locked: another server"), "{said}");
}
