//! Where the log of a process goes, and what becomes of it: the environment, journald, stderr that nothing reads,
//! rotation, failures, and the causes of ends.

use super::{ALONE, KIWI};
use crate::support::process::{DEADLINE, Herd, Process, is_readable, until};
use rustix::fs::fstat;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

const SERVE: &[&str] = &["serve", "Alford"];

/// The path of the log that a start line names.
fn named(line: &str) -> PathBuf {
    line.rsplit_once(", log ").expect("it is named").1.into()
}

/// Adds `lines` under `[log]` to the topology.
fn with_log(test: &str, lines: &str) -> Herd {
    let herd = Herd::new(test, ALONE);
    herd.write(&format!("{}\n[log]\n{lines}\n", herd.text()));
    herd
}

fn client(herd: &Herd) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect((herd.ip(), 12_000)).expect("it listens"))
}

/// Sends a line, and returns the first line of the reply.
fn ask(client: &mut BufReader<TcpStream>, line: &str) -> String {
    client.get_mut().write_all(format!("{line}\n").as_bytes()).expect("it reads");
    let mut reply = String::new();
    client.read_line(&mut reply).expect("it answers");
    reply
}

fn iamat(client: &mut BufReader<TcpStream>, number: usize) {
    let reply = ask(client, &format!("IAMAT kiwi {KIWI} {number}"));
    assert!(reply.starts_with("AT Alford ") && reply.ends_with(&format!(" {number}\n")), "{reply}");
}

/// The member `log` of the status.
fn status(herd: &Herd) -> Value {
    let socket = UnixStream::connect(herd.folder().join("run/Alford.sock")).expect("it listens");
    let mut socket = BufReader::new(socket);
    socket.get_mut().write_all(b"STATUS\n").expect("it reads");
    let mut line = String::new();
    socket.read_line(&mut line).expect("it answers");
    serde_json::from_str::<Value>(&line).expect("JSON")["log"].take()
}

/// The names of the files in `folder`, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn end(server: &mut Process) {
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn under_journald_each_line_has_a_priority_and_no_time_and_there_is_no_file() {
    let herd = Herd::new("journald", ALONE);
    let (mut journal, stderr) = UnixStream::pair().expect("descriptors are free");
    let found = fstat(&stderr).expect("it is open");
    let stream = format!("{}:{}", found.st_dev, found.st_ino);
    let mut alford = herd.start_into(
        &[("JOURNAL_STREAM", stream.as_str())],
        SERVE,
        std::os::fd::OwnedFd::from(stderr),
    );
    assert!(alford.line().ends_with(", log stderr"));
    assert_eq!(status(&herd)["path"], "stderr");
    let mut client = client(&herd);
    iamat(&mut client, 1);
    ask(&mut client, &format!("IAMAT {} {KIWI} 1", "k".repeat(5_000)));
    end(&mut alford);
    let mut text = String::new();
    journal.read_to_string(&mut text).expect("text");
    for line in text.lines() {
        assert!(line.starts_with("<6>Alford: ") || line.starts_with("<4>Alford: "), "{line}");
    }
    for part in ["<6>Alford: Chatserver,", " < IAMAT kiwi ", "<4>Alford: limit: client_id_bytes = "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.ends_with("<6>Alford: Alford has ended\n"), "{text}");
    assert!(!herd.folder().join("log").exists());

    // The same variable, but another stderr: a shell in a unit that redirects it.
    let mut alford = herd.start_in(&[("JOURNAL_STREAM", stream.as_str())], SERVE);
    assert!(named(&alford.line()).exists());
    end(&mut alford);
}

#[test]
fn what_keeps_a_server_from_starting_has_the_priority_of_an_error_in_the_journal() {
    let herd = Herd::new("journald-refused", ALONE);
    let _held = TcpListener::bind((herd.ip(), 12_100)).expect("the address is ours");
    let (mut journal, stderr) = UnixStream::pair().expect("descriptors are free");
    let found = fstat(&stderr).expect("it is open");
    let stream = format!("{}:{}", found.st_dev, found.st_ino);
    let stderr = std::os::fd::OwnedFd::from(stderr);
    let mut alford = herd.start_into(&[("JOURNAL_STREAM", stream.as_str())], SERVE, stderr);
    assert_eq!(alford.end().code, Some(69));
    let mut text = String::new();
    journal.read_to_string(&mut text).expect("text");
    let last = text.lines().last().expect("it tells the cause");
    assert!(last.starts_with("<3>herd: Alford cannot listen on peer = "), "{text}");
}

#[test]
fn logs_directory_is_the_folder_unless_the_topology_names_one() {
    for (lines, is_own) in [("", false), ("to = \"file\"", false), ("folder = \"mine\"", true)] {
        let herd = with_log("logs-directory", lines);
        let given = herd.folder().join("given");
        let variable = format!("{}:{}", given.display(), herd.folder().join("other").display());
        let mut alford = herd.start_in(&[("LOGS_DIRECTORY", variable.as_str())], SERVE);
        let folder = if is_own { herd.folder().join("mine") } else { given };
        assert_eq!(named(&alford.line()).parent(), Some(&*folder), "{lines}");
        end(&mut alford);
    }
}

/// Makes a pipe that is full, and returns its reader and its writer.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = pipe().expect("descriptors are free");
    let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("a pipe");
    writer.write_all(&b"x".repeat(size)).expect("it takes as many");
    (reader, writer)
}

#[test]
fn a_full_pipe_that_nothing_reads_stops_no_server_and_the_next_line_tells_how_many_are_missing() {
    for (lines, is_file) in [("to = \"stderr\"", false), ("", true), ("to = \"both\"", true)] {
        let herd = with_log("full-pipe", lines);
        let (mut reader, writer) = full_pipe();
        let mut alford = herd.start_into(&[], SERVE, writer);
        alford.line();
        let mut client = client(&herd);
        // Its lines are more than the buffer of 64 KiB holds.
        (1..=2_000).for_each(|number| iamat(&mut client, number));
        ask(&mut client, &format!("IAMAT {} {KIWI} 1", "k".repeat(5_000)));
        if is_file {
            let log = status(&herd);
            assert_eq!((&log["failing"], &log["dropped"]), (&Value::Null, &0.into()), "{lines}");
        } else {
            let log = until("it counts", || Some(status(&herd)).filter(|log| log["dropped"] != 0));
            assert!(log["failing"].as_str().is_some_and(|why| why.contains("stderr")), "{log}");
        }
        // Now something reads it.
        let mut text = String::new();
        let tells = if lines.is_empty() { "limit: client_id_bytes" } else { "missing here" };
        while !text.contains(tells) {
            let mut chunk = [0; 1 << 16];
            assert!(is_readable(&reader, Instant::now() + DEADLINE), "{lines}: {text}");
            let count = reader.read(&mut chunk).expect("a pipe");
            text.push_str(str::from_utf8(&chunk[..count]).expect("ASCII"));
            iamat(&mut client, 3_000);
            if lines.is_empty() {
                ask(&mut client, &format!("IAMAT {} {KIWI} 1", "k".repeat(5_000)));
            }
        }
        let whole = |line: &str| line.trim_start_matches('x').starts_with("20") || line.is_empty();
        assert!(text.lines().all(whole), "{lines}: no line is torn: {text}");
        alford.signal(Signal::TERM);
        drop(reader);
        assert_eq!(alford.end().code, Some(0));
    }
}

/// Makes the server log a warning: this id is too long.
fn warn(client: &mut BufReader<TcpStream>) {
    ask(client, &format!("IAMAT {} {KIWI} 1", "k".repeat(5_000)));
}

#[test]
fn a_log_of_warnings_alone_reaches_stderr_again_once_something_reads_it() {
    let herd = with_log("full-pipe-warnings", "level = \"warn\"");
    let (mut reader, writer) = full_pipe();
    let mut alford = herd.start_into(&[], SERVE, writer);
    alford.line();
    warn(&mut client(&herd));
    let mut full = vec![0; rustix::pipe::fcntl_getpipe_size(&reader).expect("a pipe")];
    reader.read_exact(&mut full).expect("it is full");
    let mut text = String::new();
    until("a further warning brings the first one along", || {
        // A line that is too long is a warning of another kind, and ends the connection.
        let mut client = client(&herd);
        client.get_mut().write_all(&b"k".repeat(20_000)).expect("it reads");
        client.read_line(&mut String::new()).ok();
        text += &read_now(&mut reader);
        ["client_id_bytes", "line_bytes"].iter().all(|key| text.contains(key)).then_some(())
    });
    end(&mut alford);
}

/// Reads what `pipe` holds now.
fn read_now(pipe: &mut std::io::PipeReader) -> String {
    let mut text = Vec::new();
    while is_readable(pipe, Instant::now()) {
        let mut chunk = [0; 1 << 16];
        let count = pipe.read(&mut chunk).expect("a pipe");
        text.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(text).expect("ASCII")
}

#[test]
fn a_reload_that_moves_the_log_tears_no_line_and_loses_none() {
    let herd = with_log("moves", "to = \"both\"");
    let text = herd.text();
    let (mut reader, mut writer) = pipe().expect("descriptors are free");
    let mut alford = herd.start_into(&[], SERVE, writer.try_clone().expect("a descriptor"));
    let mut logs = vec![named(&alford.line())];
    let mut client = client(&herd);
    let mut told = String::new();
    let mut numbers = 0;
    for to in ["both", "stderr", "file", "stderr", "both", "file", "both", "stderr", "file"] {
        herd.write(&text.replace("\"both\"", &format!("\"{to}\"")));
        // A long line is torn, because the pipe has room for a part of it.
        told += &read_now(&mut reader);
        let room = 4_096;
        let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("a pipe");
        writer.write_all(&b"x".repeat(size - room)).expect("it takes as many");
        ask(&mut client, &format!("NO {} END", "y".repeat(6_000)));
        for _ in 0..20 {
            numbers += 1;
            iamat(&mut client, numbers);
        }
        let reloaded = herd.run(&["reload"]);
        assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
        told += &read_now(&mut reader);
        if let Some(path) = status(&herd)["path"].as_str().filter(|path| *path != "stderr") {
            logs.push(path.into());
        }
    }
    end(&mut alford);
    told += &read_now(&mut reader);
    logs.sort();
    logs.dedup();
    let files: String = logs.iter().map(|log| fs::read_to_string(log).expect("text")).collect();
    let of = |number: usize, text: &str| {
        text.matches(&format!(" < IAMAT kiwi {KIWI} {number}\n")).count()
    };
    for number in 1..=numbers {
        let both = (of(number, &files), of(number, &told));
        assert!(both.0 <= 1 && both.1 <= 1 && both != (0, 0), "{number}: {both:?}");
    }
    for line in told.lines().map(|line| line.trim_start_matches('x')).chain(files.lines()) {
        assert!(line.starts_with("20") || line.is_empty(), "torn: {line}");
        assert!(!line.contains("yyy") || line.ends_with(" END"), "torn: {line}");
    }
    assert_eq!(told.matches("missing here").count(), 0, "{told}");
}

#[test]
fn warnings_and_errors_are_also_on_stderr_with_the_servers_name_and_other_lines_are_not() {
    let herd = Herd::new("copies", ALONE);
    let mut alford = herd.start(SERVE);
    let log = named(&alford.line());
    let mut client = client(&herd);
    iamat(&mut client, 1);
    ask(&mut client, &format!("IAMAT {} {KIWI} 1", "k".repeat(5_000)));
    end(&mut alford);
    let told = alford.stderr();
    let copies: Vec<&str> = told.lines().filter(|line| line.contains("client_id_bytes")).collect();
    assert_eq!(copies.len(), 1, "{told}");
    assert!(copies[0].contains("Z WARN  Alford: limit: client_id_bytes = "), "{told}");
    assert!(!told.contains(" INFO "), "{told}");
    assert!(fs::read_to_string(log).expect("text").contains(" WARN  limit: client_id_bytes"));
}

#[test]
fn a_start_that_fails_leaves_no_log_file_and_tells_its_cause_once() {
    let herd = Herd::new("failed-start", ALONE);
    let mut alford = herd.start(SERVE);
    let log = named(&alford.line());
    end(&mut alford);
    let before = names(&herd.folder().join("log"));
    let held = TcpListener::bind((herd.ip(), 12_100)).expect("the address is ours");
    let refused = herd.run(SERVE);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(69), ""));
    assert_eq!(refused.stderr.matches("cannot listen on peer").count(), 1, "{}", refused.stderr);
    drop(held);
    herd.write(&format!("{}\n[status]\nfolder = \"topology.toml/run\"\n", herd.text()));
    let refused = herd.run(SERVE);
    assert_eq!(refused.code, Some(73));
    assert_eq!(refused.stderr.matches("[status] folder").count(), 1, "{}", refused.stderr);
    assert_eq!(names(&herd.folder().join("log")), before);
    let link = herd.folder().join("log/Alford.log");
    assert_eq!(fs::canonicalize(link).ok(), fs::canonicalize(log).ok(), "to the last good start");
}

#[test]
fn old_files_are_counted_over_all_starts() {
    let herd = with_log("old-files", "rotate_keep = 1");
    let mut logs = Vec::new();
    for _ in 0..3 {
        let mut alford = herd.start(SERVE);
        logs.push(
            named(&alford.line()).file_name().expect("a file").to_string_lossy().into_owned(),
        );
        end(&mut alford);
    }
    logs.remove(0);
    logs.push("Alford.log".into());
    logs.sort();
    assert_eq!(names(&herd.folder().join("log")), logs);
}

#[test]
fn a_log_that_was_renamed_is_opened_again_at_a_signal_and_no_line_is_lost() {
    let herd = Herd::new("reopen", ALONE);
    let mut alford = herd.start(SERVE);
    let log = named(&alford.line());
    let mut client = client(&herd);
    let mut numbers = 1..;
    let mut parts = Vec::new();
    for (round, signal) in [Signal::USR1, Signal::HUP, Signal::USR1].into_iter().enumerate() {
        let old = log.with_extension(format!("{round}"));
        numbers.by_ref().take(500).for_each(|number| iamat(&mut client, number));
        fs::rename(&log, &old).expect("it is there");
        numbers.by_ref().take(500).for_each(|number| iamat(&mut client, number));
        alford.signal(signal);
        until("it is opened again", || log.exists().then_some(()));
        numbers.by_ref().take(500).for_each(|number| iamat(&mut client, number));
        parts.push(old);
    }
    // Without a signal it is noticed, too, even if the folder is gone.
    let old = herd.folder().join("moved");
    fs::rename(log.parent().expect("a folder"), &old).expect("it is there");
    until("it is made again", || {
        numbers.by_ref().take(1).for_each(|number| iamat(&mut client, number));
        log.exists().then_some(())
    });
    end(&mut alford);
    let count = numbers.next().expect("it has no end") - 1;
    let moved = |path: &PathBuf| old.join(path.file_name().expect("a file"));
    parts.iter_mut().for_each(|part| *part = moved(part));
    parts.extend([moved(&log), log]);
    let text: String = parts.iter().map(|part| fs::read_to_string(part).expect("text")).collect();
    let received = text.lines().filter_map(|line| line.split_once(" < IAMAT kiwi "));
    let received: Vec<usize> = received
        .map(|(_, line)| line.rsplit(' ').next().unwrap_or_default().parse().unwrap())
        .collect();
    assert!(received.iter().copied().eq(1..=count), "each line once, in order");
    assert!(text.contains("was moved or removed") && text.ends_with("Alford has ended\n"));
}

#[test]
fn a_log_that_cannot_be_written_shows_in_the_status_and_once_on_stderr() {
    let herd = Herd::new("full-log", ALONE);
    // Files may have 8 KiB, in blocks of 512 bytes. Stderr has less.
    let serve = format!("ulimit -f 16; exec \"{}\" serve Alford", env!("CARGO_BIN_EXE_herd"));
    let mut alford = Process::shell_started(&format!("{serve} --topology '{}'", herd.topology()));
    alford.line();
    assert_eq!(status(&herd)["failing"], Value::Null);
    let mut client = client(&herd);
    (1..=2_000).for_each(|number| iamat(&mut client, number));
    let log = until("it fails", || Some(status(&herd)).filter(|log| log["failing"] != Value::Null));
    assert!(log["failing"].as_str().is_some_and(|why| why.contains("too large")), "{log}");
    until("it counts", || (status(&herd)["dropped"].as_u64() > Some(0)).then_some(()));
    end(&mut alford);
    let told = alford.stderr();
    assert_eq!(told.matches("ERROR Alford: the log cannot be written").count(), 1, "{told}");
}

#[test]
fn each_line_of_a_json_log_is_an_object_with_the_members_of_its_event() {
    let herd = with_log("json", "format = \"json\"");
    let mut alford = herd.start(SERVE);
    let log = named(&alford.line());
    let mut client = client(&herd);
    iamat(&mut client, 1);
    ask(&mut client, &format!("IAMAT {} {KIWI} 1", "k".repeat(5_000)));
    ask(&mut client, "WHATSAT kiwi 10 1");
    let address = client.get_ref().local_addr().expect("it has one").to_string();
    drop(client);
    end(&mut alford);
    let text = fs::read_to_string(log).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    for line in &lines {
        for member in ["time", "level", "server", "text"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
    }
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).expect(event);
    let events: BTreeSet<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    for event in ["listening", "connected", "line", "throttled", "stopping", "ended"] {
        assert!(events.contains(event), "{event}: {events:?}");
    }
    let whatsat = of("whatsat");
    for (member, value) in [
        ("client", "kiwi".into()),
        ("address", Value::from(address)),
        ("radius", "10".into()),
        ("count", 1.into()),
        ("status", "OK".into()),
        ("places", 1.into()),
    ] {
        assert_eq!(whatsat[member], value, "{member}: {whatsat}");
    }
    assert!(whatsat["ms"].is_number() && whatsat["conn"] == of("connected")["conn"], "{whatsat}");
    assert_eq!(of("stopping")["reason"], "SIGTERM");
    assert_eq!(of("throttled")["key"], "client_id_bytes");
}

#[test]
fn each_whatsat_leaves_one_line_with_its_outcome_which_has_a_directive_of_its_own() {
    for (level, expected) in [
        ("info,herd::traffic=off", 3),
        ("warn,herd::whatsat=info", 3),
        ("info,herd::whatsat=off", 0),
        ("warn", 0),
    ] {
        let herd = with_log("whatsat", &format!("level = \"{level}\""));
        let mut alford = herd.start(SERVE);
        let log = named(&alford.line());
        let mut client = client(&herd);
        iamat(&mut client, 1);
        ask(&mut client, "WHATSAT kiwi 10 x");
        assert_eq!(ask(&mut client, "WHATSAT nobody 10 5"), "? WHATSAT nobody 10 5\n");
        let address = client.get_ref().local_addr().expect("it has one");
        for bound in [1, 2] {
            ask(&mut client, &format!("WHATSAT kiwi 10 {bound}"));
            let mut line = String::new();
            while line != "\n" {
                line.clear();
                client.read_line(&mut line).expect("the reply has an end");
            }
        }
        end(&mut alford);
        let text = fs::read_to_string(log).expect("text");
        let lines: Vec<&str> =
            text.lines().filter(|line| line.contains(&format!(",{address}: WHATSAT "))).collect();
        assert_eq!(lines.len(), expected, "{level}: {text}");
        if expected > 0 {
            let said = "WHATSAT nobody 10 5: not answered: no report of this client is stored";
            assert!(lines[0].ends_with(said), "{text}");
            assert!(lines[1].contains("WHATSAT kiwi 10 1: OK, 1 place, "), "{text}");
            assert!(lines[2].contains(" bytes, "), "{text}");
            assert!(lines[2].ends_with(" ms"), "{text}");
        }
        assert_eq!(text.contains(KIWI), level == "info,herd::whatsat=off", "locations: {text}");
    }
}

#[test]
fn the_log_says_which_signal_ended_the_server() {
    let herd = Herd::new("ends", ALONE);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut alford = herd.start(SERVE);
        let log = named(&alford.line());
        alford.signal(signal);
        assert_eq!(alford.end().code, Some(0));
        let text = fs::read_to_string(log).expect("text");
        assert!(text.contains(&format!("{name}: Alford stops, and serves")), "{text}");
    }
    let mut up = herd.start(&["up"]);
    let servers = up.herd();
    up.signal(Signal::KILL);
    servers.iter().for_each(|server| server.has_ended());
    let text = fs::read_to_string(herd.folder().join("log/Alford.log")).expect("text");
    let parent = format!("process {}, the parent, has ended, so the kernel sent SIGTERM", up.id());
    assert!(text.contains(&parent) && text.contains("SIGTERM: Alford stops"), "{text}");
}
