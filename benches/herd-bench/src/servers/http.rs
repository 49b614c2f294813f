//! Tests of `--protocol http` against a small web server.

use super::{bench, serve};
use crate::Failure;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A web server that stores AT lines.
#[derive(Clone, Default)]
struct Site {
    style: Style,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Default)]
struct Style {
    is_chunked: bool,
    /// After how many replies the server closes a connection; 0 means never.
    closes_after: usize,
    /// Whether the last reply has no `Connection: close`.
    is_silent: bool,
    /// Whether 503 follows the last reply, as Node answers pipelined requests that it does not process any more.
    refuses_more: bool,
    /// The status of replies to GET, if not 200.
    status_of_get: Option<u16>,
    /// Whether GETs are answered with the first report of a client, and not with the last.
    is_stale: bool,
}

#[derive(Default)]
struct State {
    lines: HashMap<String, String>,
    connections: u64,
    /// How many requests asked for `Connection: close`.
    asked_to_close: u64,
    /// How many requests were followed by another one before they were answered.
    pipelined: u64,
}

impl Site {
    fn new(style: Style) -> Site {
        Site { style, ..Site::default() }
    }

    fn start(&self) -> SocketAddr {
        let site = self.clone();
        serve(move |stream| drop(site.talk(stream)))
    }

    fn seen<T>(&self, what: impl FnOnce(&State) -> T) -> T {
        what(&self.state.lock().expect("no test holds it"))
    }

    /// Serves one connection. Fails when the client has closed it.
    fn talk(&self, mut stream: TcpStream) -> std::io::Result<()> {
        self.state.lock().expect("no test holds it").connections += 1;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut replies = 0;
        loop {
            let mut head = Vec::new();
            while head.last().is_none_or(|line: &String| line != "\r\n") {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                head.push(line);
            }
            let post = head[0].starts_with("POST /herd.php HTTP/1.1");
            let mut body = vec![0; if post { 70 } else { 0 }];
            reader.read_exact(&mut body)?;
            let is_asked = head.iter().any(|line| line == "Connection: close\r\n");
            let (status, text) = self.answer(&head[0], &String::from_utf8_lossy(&body));
            {
                let mut state = self.state.lock().expect("no test holds it");
                state.asked_to_close += u64::from(is_asked);
                state.pipelined += u64::from(!reader.buffer().is_empty());
            }
            replies += 1;
            let is_last = is_asked || replies == self.style.closes_after;
            let mut reply = self.reply(status, &text, is_last);
            if is_last && self.style.refuses_more {
                reply.extend(self.reply(503, "", true));
            }
            stream.write_all(&reply)?;
            if is_last {
                stream.shutdown(Shutdown::Write)?;
                // A close with unread requests would reset the connection.
                return std::io::copy(&mut reader, &mut std::io::sink()).map(drop);
            }
        }
    }

    fn answer(&self, request: &str, body: &str) -> (u16, String) {
        let mut state = self.state.lock().expect("no test holds it");
        if let Some(operands) = body.strip_prefix("IAMAT ") {
            let client = operands.split(' ').next().expect("an id").to_owned();
            let line = format!("AT Alford +0.1 {operands}");
            match self.style.is_stale {
                true => drop(state.lines.entry(client).or_insert(line.clone())),
                false => drop(state.lines.insert(client, line.clone())),
            }
            return (200, line);
        }
        let client = request.strip_prefix("GET /herd.php?client=").expect("a GET");
        let client = client.strip_suffix(" HTTP/1.1\r\n").expect("of HTTP/1.1");
        match state.lines.get(client) {
            Some(line) => (self.style.status_of_get.unwrap_or(200), line.clone()),
            None => (404, String::new()),
        }
    }

    fn reply(&self, status: u16, body: &str, is_last: bool) -> Vec<u8> {
        let close = if is_last && !self.style.is_silent { "Connection: close\r\n" } else { "" };
        let (framing, body) = match self.style.is_chunked {
            true => {
                let (first, second) = body.split_at(body.len() / 2);
                let sizes = (first.len(), second.len());
                let body =
                    format!("{:x}\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n", sizes.0, sizes.1);
                ("Transfer-Encoding: chunked".to_owned(), body)
            }
            false => (format!("Content-Length: {}", body.len()), body.to_owned()),
        };
        let head = format!("HTTP/1.1 {status} X\r\nServer: test\r\n{close}{framing}\r\n\r\n");
        (head + &body).into_bytes()
    }
}

#[test]
fn requests_share_kept_connections_and_are_not_pipelined_unless_asked_for() {
    let mix = "--protocol http -C 3 -n 300 --keys 30 --mix iamat=2,whatsat=1";
    for is_chunked in [false, true] {
        for (load, is_pipelined) in
            [("", false), (" -r 20000", false), (" -P 8", true), (" -P 8 -r 50000", true)]
        {
            let site = Site::new(Style { is_chunked, ..Style::default() });
            let report = bench(site.start(), &format!("{mix}{load}")).expect("right replies");
            assert_eq!(report["replies"], 300, "{load}: {report}");
            assert_eq!(report["latency_us"]["IAMAT"]["count"], 200, "{load}: {report}");
            assert_eq!(report["latency_us"]["WHATSAT"]["count"], 100, "{load}: {report}");
            assert_eq!(report["reopened"]["announced"], 0, "{load}: {report}");
            assert_eq!(site.seen(|state| state.connections), 3, "{load}");
            // An open loop that is on time has nothing to pipeline.
            if !is_pipelined {
                assert_eq!(site.seen(|state| state.pipelined), 0, "{load}");
            } else if !load.contains("-r") {
                assert!(site.seen(|state| state.pipelined) > 0, "{load}");
            }
        }
    }
}

#[test]
fn connections_that_the_server_ends_are_opened_again_and_counted() {
    for is_silent in [false, true] {
        for load in ["", "-r 20000", "-P 8", "-P 8 -r 50000"] {
            let site = Site::new(Style { closes_after: 7, is_silent, ..Style::default() });
            let line =
                format!("--protocol http -C 3 -n 300 --keys 30 --mix iamat=2,whatsat=1 {load}");
            let report = bench(site.start(), line.trim_end()).expect("right replies");
            assert_eq!(report["replies"], 300, "{line}: {report}");
            let counts = ["announced", "silent"].map(|kind| report["reopened"][kind].as_u64());
            let (of_kind, other) =
                (counts[usize::from(is_silent)], counts[usize::from(!is_silent)]);
            // 300 replies in connections of seven, less the first and last of each, and those of the 30 reports before.
            assert!(of_kind.is_some_and(|count| count >= 37), "{line}: {report}");
            assert_eq!(other, Some(0), "{line}: {report}");
            assert_eq!(report["notes"].to_string().contains("without"), is_silent, "{report}");
        }
    }
}

#[test]
fn replies_after_the_last_one_are_wrong_unless_more_requests_were_pipelined() {
    let style = Style { closes_after: 7, refuses_more: true, ..Style::default() };
    let line = "--protocol http -C 1 --keys 1 -n 12";
    let failure = bench(Site::new(style).start(), line);
    assert!(matches!(failure, Err(Failure::Wrong("bytes follow the last reply", ..))));
    // The first connection has one reply before the load and six of the first batch. The other six are sent over the
    // second.
    let report = bench(Site::new(style).start(), &format!("{line} -P 8"));
    let report = report.expect("right replies");
    assert_eq!((&report["replies"], &report["reopened"]["announced"]), (&12.into(), &1.into()));
}

#[test]
fn a_connection_without_any_reply_is_not_opened_again() {
    let address = serve(|mut stream| drop(stream.read(&mut [0; 1_000])));
    for load in ["", " -r 1000", " --connect"] {
        let failure = bench(address, &format!("--protocol http -C 2 -n 10{load}"));
        assert!(matches!(failure, Err(Failure::Closed)), "{load}: {failure:?}");
    }
}

#[test]
fn wrong_statuses_and_old_lines_fail_the_run() {
    let wrong = |style| {
        // The connection reports three clients in turn, and asks for each.
        let line = "--protocol http -C 1 -n 100 --keys 3 --mix iamat=1,whatsat=1";
        match bench(Site::new(style).start(), line) {
            Err(Failure::Wrong(what, ..)) => what,
            other => panic!("{other:?}"),
        }
    };
    let status = Style { status_of_get: Some(404), ..Style::default() };
    assert_eq!(wrong(status), "the status is not 200");
    let stale = Style { is_stale: true, ..Style::default() };
    assert_eq!(wrong(stale), "the body is not the AT line for the report");
}

#[test]
fn a_connection_of_one_request_asks_the_server_to_close() {
    let site = Site::default();
    let report =
        bench(site.start(), "--protocol http --connect -C 3 -n 50").expect("right replies");
    assert_eq!(report["count"], 50);
    assert_eq!(site.seen(|state| (state.connections, state.asked_to_close)), (50, 50));
}

#[test]
fn memory_is_measured_of_idle_connections_and_of_clients() {
    let site = Site::default();
    let own = std::process::id();
    let address = site.start();
    let line = format!("--protocol http --idle 20 --pid {own} -C 2 -n 10 --keys 4");
    let report = bench(address, &line).expect("right replies");
    assert_eq!((&report["idle"]["connections"], &report["replies"]), (&20.into(), &10.into()));
    // The site may count a connection that asks nothing after the run.
    let deadline = Instant::now() + Duration::from_secs(30);
    while site.seen(|state| state.connections) < 22 && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(site.seen(|state| state.connections), 22);
    let line = format!("--protocol http --records 300 --pid {own} -C 3");
    let report = bench(address, &line).expect("right replies");
    assert_eq!((&report["replies"], &report["pipeline"]), (&300.into(), &1.into()), "{report}");
    assert_eq!(site.seen(|state| (state.lines.len(), state.pipelined)), (300, 0));
}

#[test]
fn a_connection_that_ends_after_its_first_reply_cannot_be_idle() {
    let site = Site::new(Style { closes_after: 1, ..Style::default() });
    let line = format!("--protocol http --idle 20 --pid {}", std::process::id());
    let failure = bench(site.start(), &line);
    assert!(matches!(failure, Err(Failure::Wrong(what, ..)) if what.contains("closes")));
}
