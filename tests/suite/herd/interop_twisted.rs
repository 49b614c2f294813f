//! A herd of mixed servers: ours and the Python original, real processes, each a neighbour of the other.
//!
//! ```text
//!     Alford ── Bolden*          * the original (benches/peers/twisted), to us a plain neighbour
//!       │          │
//!     Welsh    Hamilton*         every kind of edge: ours to the original and back,
//!       │          │             ours to ours, original to original
//!     Parker ──────┘
//! ```
//!
//! The original runs on the Python of `HERD_TWISTED_PYTHON`, else on that of the venv which
//! `benches/peers/install` makes. If neither exists, these tests are skipped (`support::skipped`).

use crate::support::herd::{
    Client, FIVE, Herd, NOWHERE, PATIENCE, Process, Setup, eventually, holds, show,
};
use crate::support::skipped;
use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

const OURS: [&str; 3] = ["Alford", "Parker", "Welsh"];

/// The Python with Twisted; `None` if there is none.
fn python() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/.venv/bin/python");
    let python = env::var_os("HERD_TWISTED_PYTHON").map_or(installed, PathBuf::from);
    if python.exists() {
        return Some(python);
    }
    let missing = format!("{} is missing: run benches/peers/install", python.display());
    skipped(&format!("no herd of mixed servers: {missing}"))
}

/// A herd that includes originals.
struct Mixed {
    originals: BTreeMap<&'static str, Process>,
    herd: Herd,
    python: PathBuf,
    places: Places,
    neighbours: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Mixed {
    /// Starts a ring of five: three servers of `herd` and two on Twisted.
    fn ring(python: PathBuf) -> Mixed {
        let edges = [("Alford", "Welsh"), ("Parker", "Welsh"), ("Bolden", "Hamilton")];
        let setup = Setup::of(&OURS, &edges).plain("Bolden", "Alford").plain("Hamilton", "Parker");
        let bolden = ("Bolden", vec!["Alford", "Hamilton"]);
        let hamilton = ("Hamilton", vec!["Bolden", "Parker"]);
        Mixed::start(python, setup, BTreeMap::from([bolden, hamilton]))
    }

    /// One of our servers, and one original.
    fn pair(python: PathBuf) -> Mixed {
        let setup = Setup::alone().plain("Bolden", "Alford");
        Mixed::start(python, setup, BTreeMap::from([("Bolden", vec!["Alford"])]))
    }

    fn start(
        python: PathBuf,
        setup: Setup,
        neighbours: BTreeMap<&'static str, Vec<&'static str>>,
    ) -> Mixed {
        let (herd, places) = (setup.start(), Places::start());
        let mut mixed = Mixed { originals: BTreeMap::new(), herd, python, places, neighbours };
        for name in mixed.neighbours.keys().copied().collect::<Vec<_>>() {
            mixed.herd.hand_over(name);
            mixed.start_original(name);
        }
        mixed
    }

    fn start_original(&mut self, name: &'static str) {
        let address = self.herd.peer_address(name);
        let mut command = Command::new(&self.python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/twisted/server.py"));
        command.args([name, "--port", &address.port().to_string(), "--places", &self.places.url()]);
        for neighbour in &self.neighbours[name] {
            command.args(["--neighbour", &self.herd.peer_address(neighbour).to_string()]);
        }
        command.arg("--log").arg(self.log(name)).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("Python can be started");
        self.originals.insert(name, Process::new(child));
        // Waits for an answer and not only for a connection: a child process may keep a copy of our
        // closed listener on that port until its exec, and accept the connection.
        eventually(&format!("{name} answers"), || answers(address));
    }

    /// Kills an original with SIGKILL.
    fn kill_original(&mut self, name: &str) {
        self.originals.remove(name).expect("it runs").kill();
    }

    /// The log of an original, in the herd's folder, which is kept if the test fails.
    fn log(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.herd.name());
        folder.join(format!("{name}.original.log"))
    }

    /// A client of any server. The original has one port for clients and neighbours.
    fn client(&self, name: &str) -> Client {
        match self.neighbours.contains_key(name) {
            true => Client::connect(self.herd.peer_address(name)),
            false => self.herd.client(name),
        }
    }

    /// Reports `client` at `name`, and returns the AT line of the reply.
    fn report(&self, name: &str, client: &str, stamp: &str) -> String {
        let line = show(&self.client(name).ask(format!("IAMAT {client} {NOWHERE} {stamp}")));
        assert!(line.starts_with(&format!("AT {name} ")), "{name} takes a report: {line}");
        assert!(line.ends_with(&format!(" {client} {NOWHERE} {stamp}")), "and repeats it: {line}");
        line
    }

    /// The AT line with which `name` answers a WHATSAT of `client`.
    fn known(&self, name: &str, client: &str) -> Option<String> {
        self.client(name).whatsat(client, "0.001", "1").ok().map(|nearby| show(&nearby.line))
    }

    /// Waits until all of `names` give `line` for `client`.
    fn settle<'n>(&self, names: impl IntoIterator<Item = &'n &'n str>, client: &str, line: &str) {
        for name in names {
            eventually(&format!("{name} knows {line}"), || {
                let known = self.known(name, client);
                if known.as_deref() == Some(line) { Ok(()) } else { Err(known) }
            });
        }
    }
}

/// Whether a server answers at `address`.
fn answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello?\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    holds(line.starts_with("? hello?")).map_err(io::Error::other)
}

/// A substitute for Google, which the original asks: it returns three places, each named after the query.
struct Places {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Places {
    fn start() -> Places {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let serve = move || while serve_places(&listener).is_some() {};
        Places { address, thread: Some(thread::spawn(serve)) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves one connection. Returns `None` if the peer sent no request.
fn serve_places(listener: &TcpListener) -> Option<()> {
    let (stream, _) = listener.accept().ok()?;
    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let asked = head.first()?.split(' ').nth(1)?;
    let place = format!("{{\"name\" : \"{asked}\"}}");
    let body = format!(
        "{{\"html_attributions\" : [], \"results\" : [{place}, {place}, {place}], \"status\" : \"OK\"}}"
    );
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = (&stream).write_all([head, body].concat().as_bytes());
    Some(())
}

impl Drop for Places {
    fn drop(&mut self) {
        // A connection without a request ends the thread.
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn a_report_to_one_server_reaches_all_word_for_word() {
    let Some(python) = python() else { return };
    let mixed = Mixed::ring(python);
    for name in FIVE {
        let client = format!("client-of-{name}");
        let line = mixed.report(name, &client, "1479413884.392014450");
        mixed.settle(&FIVE, &client, &line);
    }
}

#[test]
fn news_does_not_go_round_the_ring_for_ever() {
    let Some(python) = python() else { return };
    let mixed = Mixed::ring(python);
    // The second report follows the first on every edge: when it has arrived, none of the first is under way.
    for client in ["first", "last"] {
        for name in FIVE {
            let client = format!("{client}-of-{name}");
            let line = mixed.report(name, &client, "1");
            mixed.settle(&FIVE, &client, &line);
        }
    }
    for name in OURS {
        let others = FIVE.into_iter().filter(|of| *of != name);
        // A log line is written a little later than its event.
        for of in others.clone() {
            mixed.herd.logged(name, &[" < AT ", &format!(" last-of-{of} ")]);
        }
        let log = mixed.herd.log(name);
        for of in others {
            let client = format!(" first-of-{of} ");
            let came = |line: &&str| line.contains(" < AT ") && line.contains(&client);
            let times = log.lines().filter(came).count();
            // Once from each of two neighbours, and once more from a neighbour that has connected again.
            assert!((1..=4).contains(&times), "{name} heard of {of}'s {times} times:\n{log}");
        }
    }
}

#[test]
fn the_newest_report_wins_on_whichever_server() {
    let Some(python) = python() else { return };
    let mixed = Mixed::ring(python);
    let first = mixed.report("Bolden", "kiwi", "1400000000.5");
    mixed.settle(&FIVE, "kiwi", &first);
    let newest = mixed.report("Parker", "kiwi", "1400000000.500000001");
    mixed.settle(&FIVE, "kiwi", &newest);
    // The report is answered, but neither stored nor passed on.
    let _ = mixed.report("Hamilton", "kiwi", "1400000000.4");
    let _ = mixed.report("Welsh", "kiwi", "999999999.9");
    let marker = mixed.report("Hamilton", "marker", "1");
    mixed.settle(&FIVE, "marker", &marker);
    for name in FIVE {
        assert_eq!(mixed.known(name, "kiwi").as_ref(), Some(&newest), "{name}");
    }
}

#[test]
fn an_original_that_was_away_is_sent_what_it_missed() {
    let Some(python) = python() else { return };
    let mut mixed = Mixed::ring(python);
    let before = mixed.report("Bolden", "before", "1400000000");
    mixed.settle(&FIVE, "before", &before);
    mixed.kill_original("Bolden");
    let others = ["Alford", "Hamilton", "Parker", "Welsh"];
    let of_ours = mixed.report("Alford", "of-ours", "1400000000");
    let of_original = mixed.report("Hamilton", "of-an-original", "1400000000");
    // The ring is a chain now, and news takes the long way.
    mixed.settle(&others, "of-ours", &of_ours);
    mixed.settle(&others, "of-an-original", &of_original);
    mixed.start_original("Bolden");
    mixed.settle(&FIVE, "before", &before);
    mixed.settle(&FIVE, "of-ours", &of_ours);
    mixed.settle(&FIVE, "of-an-original", &of_original);
    let after = mixed.report("Bolden", "after", "1400000000");
    mixed.settle(&FIVE, "after", &after);
}

#[test]
fn an_original_sends_its_table_to_one_of_ours_that_has_lost_its_memory() {
    let Some(python) = python() else { return };
    let mut mixed = Mixed::pair(python);
    let lines = ["Alford", "Bolden"].map(|name| mixed.report(name, name, "1400000000"));
    for line in &lines {
        mixed.settle(&["Alford", "Bolden"], line.split(' ').nth(1).expect("its server"), line);
    }
    mixed.herd.kill("Alford");
    mixed.herd.restart("Alford");
    mixed.settle(&["Alford"], "Alford", &lines[0]);
    mixed.settle(&["Alford"], "Bolden", &lines[1]);
}

#[test]
fn an_original_answers_whatsat_for_a_client_that_was_reported_to_us() {
    let Some(python) = python() else { return };
    let mixed = Mixed::pair(python);
    let line = mixed.report("Alford", "kiwi", "1400000000");
    mixed.settle(&["Bolden"], "kiwi", &line);
    let nearby = mixed.client("Bolden").whatsat("kiwi", "12.5", "2").expect("it knows kiwi");
    assert_eq!(show(&nearby.line), line);
    let asked = nearby.results()[0]["name"].as_str().expect("a name");
    assert!(asked.contains(&format!("location={}&", NOWHERE.replacen("-123", ",-123", 1))));
    assert!(asked.contains("&radius=12500&"), "kilometres for us, metres for Google: {asked}");
    assert_eq!(nearby.results().len(), 2, "the bound");
}

#[test]
fn an_original_logs_lines_and_neighbours() {
    let Some(python) = python() else { return };
    let mixed = Mixed::pair(python);
    let line = mixed.report("Alford", "kiwi", "1400000000");
    mixed.settle(&["Bolden"], "kiwi", &line);
    let log = || std::fs::read_to_string(mixed.log("Bolden")).unwrap_or_default();
    for part in
        [format!("in: b'{line}'"), "out: b'AT Alford".into(), "Interserver: connected".into()]
    {
        eventually(&format!("its log has {part}"), || holds(log().contains(&part)));
    }
}
