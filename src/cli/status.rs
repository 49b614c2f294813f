//! `herd status`: how the servers of this machine are, by their own words.

use super::exit::{Exit, Failure};
use super::say;
use super::topology_file::TopologyFile;
use places_herd::herd::topology::{Server, Topology, socket_path};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A server answers in its next turn, or does not turn.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// No answer is longer: the largest herd has 64 servers.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Ask the servers on this machine how they are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd status
  herd status Alford --json

Asked is the socket NAME.sock in the folder that [status] names, which its owner and group may open.
`state` is a hash of all that a server knows: servers that know the same have the same.
`journal` is sound, or broken until a new file is whole: reports are refused meanwhile.
Exits with 69 if one that was asked did not answer.")]
pub(super) struct Status {
    /// Which servers of the topology [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// One line of JSON for each server that answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    topology: TopologyFile,
}

impl Status {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let topology = self.topology.read()?;
        let servers = self.servers(&topology)?;
        let Some(folder) = &topology.status_folder else {
            let what = "[status] folder is \"\": servers of this topology cannot be asked";
            return Err(Failure::new(Exit::Config, what));
        };
        let mut rows = Rows::default();
        let mut silent = 0;
        for server in servers {
            match ask(&socket_path(folder, &server.name)) {
                Ok(answer) if self.json => say(&answer.to_string()),
                Ok(answer) => rows.push(&server.name, &answer),
                Err(why) => {
                    silent += 1;
                    if self.json {
                        eprintln!("herd: {}: {why}", server.name);
                    }
                    rows.push_silent(&server.name, &why);
                }
            }
        }
        if !self.json {
            say(&rows.to_string());
        }
        match silent {
            0 => Ok(()),
            _ => Err(Failure::new(Exit::Unavailable, "")),
        }
    }

    /// Those named, or all that are ours.
    fn servers<'t>(&self, topology: &'t Topology) -> Result<Vec<&'t Server>, Failure> {
        match self.names.as_slice() {
            [] => Ok(topology.servers.iter().filter(|server| !server.plain).collect()),
            names => names.iter().map(|name| self.topology.server(topology, name)).collect(),
        }
    }
}

/// Asks whoever listens at `path`.
fn ask(path: &Path) -> io::Result<Value> {
    let server = UnixStream::connect(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            io::Error::new(e.kind(), "it does not run here")
        }
        _ => io::Error::new(e.kind(), format!("{}: {e}", path.display())),
    })?;
    server.set_read_timeout(Some(ANSWERED_WITHIN))?;
    answer_of(server)
}

fn answer_of(mut server: UnixStream) -> io::Result<Value> {
    let mut line = String::new();
    let answer = server
        .write_all(b"STATUS\n")
        .and_then(|()| BufReader::new(server.take(ANSWER_BYTES_MAX)).read_line(&mut line))
        .and_then(|_| Ok(serde_json::from_str(&line)?));
    answer.map_err(|e| {
        let what = match e.kind() {
            // What a timeout is called on Unix.
            ErrorKind::WouldBlock => {
                format!("it listens, and says nothing for {} s", ANSWERED_WITHIN.as_secs())
            }
            // The first is what a line that breaks off comes to, too.
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                "it closes the connection without an answer; its log says why".to_owned()
            }
            _ => return e,
        };
        io::Error::new(e.kind(), what)
    })
}

/// The answers as a table for people.
#[derive(Debug, Default)]
struct Rows(Vec<Vec<String>>);

impl Rows {
    fn push(&mut self, name: &str, answer: &Value) {
        let number = |key: &str| answer[key].as_u64().unwrap_or(0).to_string();
        let state = answer["state"].as_str().unwrap_or("-").to_owned();
        let uptime_s = answer["uptime_s"].as_f64().unwrap_or(0.0) as u64;
        let links = answer["links"].as_array().map_or(&[][..], Vec::as_slice).iter();
        let links: Vec<String> = links.map(link).collect();
        self.0.push(vec![
            name.to_owned(),
            number("process"),
            format!("{uptime_s}s"),
            number("connected_clients"),
            number("known_clients"),
            state,
            journal(&answer["journal"]).to_owned(),
            links.join(" "),
        ]);
    }

    fn push_silent(&mut self, name: &str, why: &io::Error) {
        self.0.push(vec![name.to_owned(), why.to_string()]);
    }
}

/// `sound`, `broken`, or `-` where there is none.
fn journal(journal: &Value) -> &'static str {
    match journal["sound"].as_bool() {
        Some(true) => "sound",
        Some(false) => "broken",
        None => "-",
    }
}

/// `Parker`, `Parker(down)`, or `Parker(owed 12)`.
fn link(link: &Value) -> String {
    let name = link["name"].as_str().unwrap_or("?");
    match (link["linked"].as_bool(), link["owed_clients"].as_u64()) {
        (Some(true), Some(0)) => name.to_owned(),
        (Some(true), owed) => format!("{name}(owed {})", owed.unwrap_or(0)),
        _ => format!("{name}(down)"),
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = ["server", "process", "up for", "clients", "known", "state", "journal", "links"];
        let head: Vec<String> = head.map(str::to_owned).to_vec();
        // A silent server's reason may run across the columns.
        let tables = self.0.iter().filter(|row| row.len() == head.len()).chain([&head]);
        let mut widths = vec![0; head.len()];
        for row in tables {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let names = self.0.iter().map(|row| row[0].len());
        widths[0] = names.max().unwrap_or(0).max(widths[0]);
        for (number, row) in [&head].into_iter().chain(&self.0).enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            let end = if number < self.0.len() { "\n" } else { "" };
            write!(f, "{}{end}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::Shutdown;

    #[test]
    fn who_is_closed_without_an_answer_is_not_told_of_json() {
        let pair = || UnixStream::pair().expect("descriptors are free");
        let (turned_away, other) = pair();
        drop(other);
        let (cut_off, mut other) = pair();
        other.write_all(b"{\"server\":").expect("it is read");
        other.shutdown(Shutdown::Write).expect("it stands");
        for server in [turned_away, cut_off] {
            let why = answer_of(server).expect_err("there is no answer").to_string();
            assert!(why.contains("without an answer"), "{why}");
        }
    }

    #[test]
    fn answers_become_a_table() {
        let mut rows = Rows::default();
        rows.push(
            "Alford",
            &json!({
                "process": 4711, "uptime_s": 61.9, "connected_clients": 2, "known_clients": 1000,
                "state": "00ff00ff00ff00ff",
                "links": [
                    {"name": "Parker", "linked": true, "owed_clients": 0},
                    {"name": "Welsh", "linked": false, "owed_clients": 0},
                    {"name": "Bolden", "linked": true, "owed_clients": 12},
                ],
            }),
        );
        for (name, sound) in [("Bolden", true), ("Parker", false)] {
            rows.push(name, &json!({"process": 1, "state": "0", "journal": {"sound": sound}}));
        }
        rows.push_silent("Hamilton", &io::Error::other("it does not run here"));
        assert_eq!(
            rows.to_string(),
            "\
server    process  up for  clients  known  state             journal  links
Alford    4711     61s     2        1000   00ff00ff00ff00ff  -        Parker Welsh(down) Bolden(owed 12)
Bolden    1        0s      0        0      0                 sound
Parker    1        0s      0        0      0                 broken
Hamilton  it does not run here"
        );
    }
}
