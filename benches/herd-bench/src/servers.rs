//! Tests of the generator against small servers on loopback, some right and some wrong.

mod http;

use crate::{Failure, Options, run, run_program};
use clap::Parser;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, exit};
use std::sync::mpsc::channel;
use std::{env, iter, thread};

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it listens");
    (listener, address)
}

/// Listens, and serves each connection in a thread of its own, as long as the test runs.
fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let (listener, address) = listen();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// Runs the generator against the server at `address`, and returns its report.
fn bench(address: SocketAddr, line: &str) -> Result<Value, Failure> {
    let words = line.split(' ').map(str::to_owned);
    let words = ["herd-bench".to_owned(), address.to_string(), "--json".to_owned()]
        .into_iter()
        .chain(words);
    let options = Options::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    run(&options, &mut out)?;
    Ok(serde_json::from_slice(&out).expect("one line of JSON"))
}

#[test]
fn every_request_is_answered_and_counted_once() {
    let address = serve(echo);
    for load in ["-C 1 -P 1", "-C 3 -P 7", "-C 8 -P 128", "-C 2 -r 20000", "-C 2 -P 2 -r 100000"] {
        let report =
            bench(address, &format!("--protocol echo -n 3001 {load}")).expect("right replies");
        assert_eq!(report["replies"], 3_001, "{load}: {report}");
        assert_eq!(report["latency_us"]["echo"]["count"], 3_001, "{load}: {report}");
        assert!(report["rate"].as_f64().is_some_and(|rate| rate > 0.0), "{load}: {report}");
    }
}

#[test]
fn batches_that_fill_every_buffer_are_answered() {
    let report = bench(serve(echo), "--protocol echo -C 2 -P 50000 -n 150000");
    assert_eq!(report.expect("right replies")["replies"], 150_000);
}

#[test]
fn an_open_loop_is_not_faster_than_was_said() {
    let report = bench(serve(echo), "--protocol echo -C 2 -r 1000 -n 100").expect("right replies");
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.099), "{report}");
    assert_eq!(report["unanswered"], 0);
    assert_eq!(report["lateness_us"]["we were late by"]["count"], 100);
}

#[test]
fn a_run_ends_when_its_time_is_over() {
    let report = bench(serve(echo), "--protocol echo -C 2 -d 0.05").expect("right replies");
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds < 20.0), "{report}");
}

#[test]
fn an_open_loop_on_time_does_not_call_itself_the_limit() {
    // The generator polls while it waits, so it may have used a whole core.
    let report = bench(serve(echo), "--protocol echo -C 1 -r 2000 -n 400").expect("right replies");
    let late = report["lateness_us"]["we were late by"]["p99"].as_f64().expect("a time") > 1_000.0;
    assert_eq!(report["used"]["generator_is_the_limit"], late, "{report}");
    let notes = report["notes"].to_string();
    assert!(!notes.contains("its share of a core"), "{report}");
}

#[test]
fn a_run_over_all_clients_reports_how_many_requests_were_in_flight() {
    let line = format!("--protocol echo -C 3 --records 300 --pid {}", std::process::id());
    let report = bench(serve(echo), &line).expect("right replies");
    assert_eq!((&report["replies"], &report["records"]["clients"]), (&300.into(), &300.into()));
    assert_eq!((&report["connections"], &report["pipeline"]), (&3.into(), &64.into()), "{report}");
    let report = bench(serve(echo), &format!("{line} -P 100")).expect("right replies");
    assert_eq!(report["pipeline"], 100, "{report}");
}

#[test]
fn idle_connections_that_the_server_closes_fail_the_run() {
    let (listener, address) = listen();
    thread::spawn(move || {
        // It closes every other connection before it accepts the next.
        for (number, stream) in listener.incoming().flatten().enumerate() {
            if number % 2 == 1 {
                thread::spawn(move || echo(stream));
            }
        }
    });
    let line = format!("--protocol echo --idle 20 --pid {}", std::process::id());
    let failure = bench(address, &line);
    assert!(matches!(failure, Err(Failure::IdleClosed(10, 20))), "{failure:?}");
}

/// The environment variable with which this test program runs again as the generator; its value is the command line.
const AS_PROGRAM: &str = "HERD_BENCH_COMMAND_LINE";

#[test]
fn the_exit_status_tells_a_wrong_command_line_from_a_wrong_reply() {
    if let Ok(line) = env::var(AS_PROGRAM) {
        let words = iter::once("herd-bench").chain(line.split(' '));
        exit(run_program(words.map(Into::into)).into());
    }
    let status = |line: &str| {
        let name = "servers::the_exit_status_tells_a_wrong_command_line_from_a_wrong_reply";
        let mut command = Command::new(env::current_exe().expect("the tests are a program"));
        command.args([name, "--exact", "--nocapture"]).env(AS_PROGRAM, line);
        command.output().expect("it can be started").status.code()
    };
    assert_eq!(status("--mix iamat"), Some(2));
    for contradiction in ["--flood", "--connect --rate 5", "--protocol echo --mix whatsat=1"] {
        assert_eq!(status(&format!("127.0.0.1:1 {contradiction}")), Some(2), "{contradiction}");
    }
    let address = serve(echo_wrongly);
    assert_eq!(status(&format!("{address} --protocol echo -C 1 -n 1")), Some(1));
}

#[test]
fn connections_of_one_request_are_counted() {
    let report = bench(serve(echo), "--protocol echo --connect -C 3 -n 50").expect("right replies");
    assert_eq!(report["count"], 50);
}

/// Sends every line back with one byte changed, a different byte in each line.
fn echo_wrongly(mut stream: TcpStream) {
    let mut line = [0; 70];
    for place in 0..69 {
        if stream.read_exact(&mut line).is_err() {
            return;
        }
        line[place] ^= 1;
        let _ = stream.write_all(&line);
    }
}

#[test]
fn a_server_that_sends_something_else_fails_the_run() {
    let address = serve(echo_wrongly);
    for load in ["-C 1", "-C 1 -P 4", "-C 2 -r 1000", "-C 1 --connect"] {
        let failure = bench(address, &format!("--protocol echo -n 10 {load}"));
        assert!(matches!(failure, Err(Failure::Wrong(..))), "{load}: {failure:?}");
    }
}

#[test]
fn a_reply_that_nobody_asked_for_fails_the_run() {
    let address = serve(|mut stream| {
        let mut line = [0; 70];
        while stream.read_exact(&mut line).is_ok() {
            let _ = stream.write_all(&line);
            let _ = stream.write_all(&line);
        }
    });
    let failure = bench(address, "--protocol echo -C 1 -n 100");
    assert!(matches!(failure, Err(Failure::Wrong(..))), "{failure:?}");
}

#[test]
fn a_server_that_closes_fails_the_run() {
    let address = serve(|mut stream| {
        let _ = stream.read(&mut [0; 65_536]);
    });
    let failure = bench(address, "--protocol echo -C 1 -n 100");
    assert!(matches!(failure, Err(Failure::Closed)), "{failure:?}");
    // A bound port without a listener. A port that was closed could be taken by another program.
    let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    let address = nobody.local_addr().expect("it is bound").as_socket().expect("an address");
    let failure = bench(address, "--protocol echo -C 1 -n 1");
    assert!(matches!(failure, Err(Failure::Io(..))), "{failure:?}");
}

#[test]
fn nats_is_greeted_and_its_pings_are_answered() {
    let (said, heard) = channel();
    let address = serve(move |stream| {
        let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
        let mut stream = stream;
        let _ = stream.write_all(b"INFO {}\r\n");
        while let Some(Ok(line)) = lines.next() {
            match &line[..4] {
                "CONN" => stream.write_all(b"+OK\r\n"),
                "clie" => stream.write_all(b"PING\r\n+OK\r\n"),
                _ => Ok(()),
            }
            .expect("the generator reads");
            let _ = said.send(line);
        }
    });
    let report = bench(address, "--protocol nats -C 1 --keys 1 -n 50").expect("right replies");
    assert_eq!(report["replies"], 50);
    let lines: Vec<String> = heard.try_iter().collect();
    assert!(lines[0].starts_with("CONNECT "), "{}", lines[0]);
    let pongs = lines.iter().filter(|line| *line == "PONG").count();
    // The last PONG may still be under way.
    assert!(pongs >= 49, "{pongs}");
}
