//! `herd status`: asks the servers on this machine for their status, each at its Unix socket.

use super::descriptors::raise_descriptor_limit;
use super::exit::{Exit, Failure};
use super::patience::{Patience, Timed, connect, is_late};
use super::topology_file::TopologyFile;
use super::{in_columns, print_error, print_line};
use crate::config::{Server, Topology, socket_path};
use crate::log::one_line;
use crate::server::exposition::{MetricsFormat, exposition};
use crate::server::health::verdict;
use serde_json::Value;
use socket2::{SockAddr, Socket};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Minimum time for each server, even if others have used up the timeout. The kernel needs less to connect to a
/// healthy server, or to deliver a reply that has arrived.
const A_MOMENT: Duration = Duration::from_millis(20);

/// Maximum length of a reply that is read. Even in the largest herd, of 1,024 servers, a server's reply is shorter.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Maximum links of a server that the table shows. Those that are down or have a backlog come first.
const LINKS_MAX: usize = 16;

/// Show the status of the servers on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd status
  herd status Alford --json
  herd status Alford --prometheus
  herd status Alford --healthy --linked 1

It connects to the socket NAME.sock in the folder of [status], which its owner and group may use.
`state` is a hash of the server's table: servers with equal tables have equal hashes.
`journal` is sound or broken. While it is broken, the server rejects reports and tries to write a
new file.
It asks all servers at once; the timeout is for all of them together.
Exits with 69 if a server did not reply.
With --healthy it prints one line for each server, and exits with 0 if all are healthy, with 69 if
no server replied, and with 1 otherwise. docs/status.md explains all members and metrics.")]
pub(super) struct Status {
    /// Servers of the topology. Write `--` before a name that begins with a dash [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one line of JSON for each server that replies
    #[arg(long, conflicts_with_all = ["prometheus", "healthy"])]
    json: bool,
    /// Print the metrics of the servers that reply, in Prometheus' text format
    #[arg(long, conflicts_with = "healthy")]
    prometheus: bool,
    /// Exit with 0 if all servers are healthy, with 1 if not, and with 69 if none replied
    #[arg(long)]
    healthy: bool,
    /// Demand at least this many linked neighbours of a healthy server
    #[arg(long, value_name = "N", requires = "healthy")]
    linked: Option<usize>,
    #[command(flatten)]
    patience: Patience,
}

impl Status {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let topology = file.read_servers()?;
        let sockets = sockets(file, &topology, &self.names)?;
        let (mut rows, mut statuses) = (StatusRows::default(), Vec::new());
        let (mut silent, mut unhealthy) = (0, 0);
        let end = self.patience.end();
        // All requests are sent before the first reply is read, so there is a socket for each server.
        raise_descriptor_limit();
        let asked = sockets.iter().map(|(server, path)| match server.plain {
            true => Err(ErrorKind::Unsupported.into()),
            false => ask(path, b"STATUS\n", Instant::now() + A_MOMENT),
        });
        let asked: Vec<_> = asked.collect();
        for ((server, path), asked) in sockets.iter().zip(asked) {
            let answer = answer(asked, path, end.max(Instant::now() + A_MOMENT));
            let answer = answer.map_err(|e| told(&e, path, self.patience));
            silent += usize::from(answer.is_err());
            match (answer, server.name.as_str()) {
                (answer, name) if self.healthy => {
                    let reasons = answer.map(|answer| reasons(&answer, self.linked));
                    let reasons = reasons.unwrap_or_else(|why| vec![why.to_string()]);
                    unhealthy += usize::from(!reasons.is_empty());
                    print_line(&told_verdict(name, &reasons));
                }
                (Ok(answer), _) if self.json => print_line(&answer.to_string()),
                (Ok(answer), name) if self.prometheus => statuses.push((name, answer)),
                (Ok(answer), name) => rows.push(name, &answer),
                (Err(why), name) if self.json || self.prometheus => {
                    print_error(format_args!("herd: {name}: {why}"));
                }
                (Err(why), name) => rows.rows.push(vec![name.to_owned(), why.to_string()]),
            }
        }
        let text = if self.prometheus {
            exposition(MetricsFormat::Prometheus, &statuses)
        } else {
            rows.to_string()
        };
        if !self.json && !self.healthy && !text.is_empty() {
            print_line(text.trim_end());
        }
        let exit =
            if self.healthy && silent < sockets.len() { Exit::Refused } else { Exit::Unavailable };
        (silent + unhealthy == 0).then_some(()).ok_or(Failure::new(exit, ""))
    }
}

/// The servers of `topology` with these names, all of them if there are none, each with the path of its status socket.
pub(super) fn sockets<'t>(
    file: &TopologyFile,
    topology: &'t Topology,
    names: &[String],
) -> Result<Vec<(&'t Server, PathBuf)>, Failure> {
    let servers = file.servers(topology, names)?.into_iter();
    let Some(folder) = &topology.status_folder else {
        let what =
            "[status] folder is \"\", so servers have no status sockets; they still obey SIGHUP";
        return Err(Failure::config(format!("{file}: {what}")));
    };
    Ok(servers.map(|server| (server, socket_path(folder, &server.name))).collect())
}

/// Whether a server listens at `path`. A server with a full queue does.
pub(super) fn listens(path: &Path) -> bool {
    let end = Instant::now() + A_MOMENT;
    let connected = SockAddr::unix(path).and_then(|address| connect(&address, end));
    connected.map_or_else(|e| is_late(&e), |_| true)
}

/// Sends `line` to the server that listens at `path`.
pub(super) fn ask(path: &Path, line: &[u8], end: Instant) -> io::Result<Socket> {
    let socket = connect(&SockAddr::unix(path)?, end)?;
    Timed { socket: &socket, end: Some(end) }.write_all(line)?;
    Ok(socket)
}

/// Reads the reply of a server. A server whose queue was full gets the request again.
fn answer(asked: io::Result<Socket>, path: &Path, end: Instant) -> io::Result<Value> {
    let again = |e: io::Error| if is_late(&e) { ask(path, b"STATUS\n", end) } else { Err(e) };
    answer_of(&asked.or_else(again)?, end)
}

/// Returns the error with a text for the operator.
pub(super) fn told(error: &io::Error, path: &Path, patience: Patience) -> io::Error {
    let what = match error.kind() {
        ErrorKind::Unsupported => "it is plain, so it has no status socket".to_owned(),
        ErrorKind::NotFound => {
            format!("it does not run here, or its socket {} was removed", path.display())
        }
        ErrorKind::ConnectionRefused => {
            format!("it does not run here: no server listens at {}", path.display())
        }
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            "it closed the connection without a reply; its log says why".to_owned()
        }
        _ if is_late(error) => {
            format!(
                "it listens, but did not reply within {patience}; wait longer with --timeout SECONDS"
            )
        }
        _ => format!("{}: {error}", path.display()),
    };
    io::Error::new(error.kind(), what)
}

/// Reads the reply of a server: one line with a JSON object.
pub(super) fn answer_of(socket: &Socket, end: Instant) -> io::Result<Value> {
    let server = Timed { socket, end: Some(end) };
    let mut line = String::new();
    let count = BufReader::new(server.take(ANSWER_BYTES_MAX)).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(answer @ Value::Object(_)) => Ok(answer),
        _ if count as u64 == ANSWER_BYTES_MAX => Err(io::Error::other("its reply does not end")),
        _ if !line.ends_with('\n') => Err(ErrorKind::UnexpectedEof.into()),
        _ => Err(io::Error::other(
            "its reply is not a status; it may be another program, or an older version of herd",
        )),
    }
}

/// The replies as a table for people.
#[derive(Debug, Default)]
struct StatusRows {
    rows: Vec<Vec<String>>,
    /// Why servers are not healthy, a line for each, below the table.
    verdicts: Vec<String>,
}

impl StatusRows {
    fn push(&mut self, name: &str, answer: &Value) {
        let number = |key: &str| answer[key].as_u64().unwrap_or(0).to_string();
        let state = answer["state"].as_str().unwrap_or("-").to_owned();
        let uptime_s = answer["uptime_s"].as_f64().unwrap_or(0.0) as u64;
        let mut links: Vec<String> = links(answer).iter().map(link).collect();
        let others = links.len().saturating_sub(LINKS_MAX);
        if others > 0 {
            links.sort_by_key(|link| !link.ends_with(')'));
            let troubled =
                links.split_off(LINKS_MAX).iter().filter(|link| link.ends_with(')')).count();
            links.push(format!("and {others} more, {troubled} of them with trouble"));
        }
        let health = match (answer["health"].is_object(), reasons(answer, None)) {
            (false, _) => "-",
            (true, reasons) if reasons.is_empty() => "healthy",
            (true, reasons) => {
                self.verdicts.push(told_verdict(name, &reasons));
                "NOT HEALTHY"
            }
        };
        let journal = answer["journal"]["sound"].as_bool();
        let journal = journal.map_or("-", |is_so| if is_so { "sound" } else { "broken" });
        let row = [
            name.to_owned(),
            number("process"),
            format!("{uptime_s}s"),
            number("connected_clients"),
            number("known_clients"),
            state,
            health.to_owned(),
            journal.to_owned(),
            links.join(" "),
        ];
        self.rows.push(row.map(|cell| one_line(&cell).into_owned()).to_vec());
    }
}

/// Why a server is not healthy by its own judgement, or is not linked to `linked` neighbours; empty if it is both.
fn reasons(status: &Value, linked: Option<usize>) -> Vec<String> {
    let mut reasons = match status["health"]["reasons"].as_array() {
        Some(reasons) => reasons.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => vec!["its status has no health: it may be an older version of herd".to_owned()],
    };
    let links = links(status);
    let neighbours: Vec<_> = links.iter().filter(|link| link["bus"] != true).collect();
    let linked_now = neighbours.iter().filter(|link| link["linked"] == true).count();
    let (count, all) = (linked_now, neighbours.len());
    if let Some(wanted) = linked.filter(|wanted| count < *wanted) {
        reasons.push(format!("linked to {count} of {all} neighbours, not to {wanted} (--linked)"));
    }
    reasons
}

/// A line that says whether the server `name` is healthy, and why not.
fn told_verdict(name: &str, reasons: &[String]) -> String {
    one_line(&format!("{name}: {}", verdict(reasons))).into_owned()
}

/// The links in the status of a server.
fn links(status: &Value) -> &[Value] {
    status["links"].as_array().map_or(&[], Vec::as_slice)
}

/// Describes a link: `Parker`, `Parker(down)`, or `Parker(backlog 12)`.
fn link(link: &Value) -> String {
    let name = link["name"].as_str().unwrap_or("?");
    match (link["linked"].as_bool(), link["backlog_clients"].as_u64()) {
        (Some(true), Some(0)) => name.to_owned(),
        (Some(true), backlog) => format!("{name}(backlog {})", backlog.unwrap_or(0)),
        _ => format!("{name}(down)"),
    }
}

impl std::fmt::Display for StatusRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = "server,process,up for,clients,known,state,health,journal,links".split(',');
        let head = head.map(str::to_owned).collect();
        f.write_str(in_columns(&[&[head], self.rows.as_slice()].concat()).trim_end())?;
        self.verdicts.iter().try_for_each(|verdict| write!(f, "\n{verdict}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::thread;

    #[test]
    fn a_connection_that_ends_without_a_reply_is_reported_as_such() {
        let pair = || UnixStream::pair().expect("descriptors are free");
        let (turned_away, other) = pair();
        drop(other);
        let (cut_off, mut other) = pair();
        other.write_all(b"{\"server\":").expect("it is read");
        other.shutdown(Shutdown::Write).expect("it stands");
        let patience = Patience { timeout: Duration::from_secs(60) };
        for server in [turned_away, cut_off] {
            let why = answer_of(&server.into(), patience.end()).expect_err("there is no answer");
            let why = told(&why, Path::new("x"), patience).to_string();
            assert!(why.contains("without a reply"), "{why}");
        }
    }

    #[test]
    fn a_reply_that_is_no_status_or_does_not_end_is_reported_as_such() {
        let says = |answer: Vec<u8>| {
            let (server, mut other) = UnixStream::pair().expect("descriptors are free");
            let sender = thread::spawn(move || other.write_all(&answer));
            let end = Instant::now() + Duration::from_secs(60);
            let why = answer_of(&server.into(), end).expect_err("it is not a status");
            // The rest may fail to be sent, because it is not read.
            let _ = sender.join().expect("it does not panic");
            why.to_string()
        };
        for answer in ["? STATUS\n", "17\n", "\n"] {
            assert!(says(answer.into()).starts_with("its reply is not a status"), "{answer}");
        }
        let endless = vec![b' '; 2 * ANSWER_BYTES_MAX as usize];
        assert_eq!(says(endless), "its reply does not end");
    }

    #[test]
    fn control_characters_in_a_status_do_not_reach_the_terminal() {
        let answer = json!({"state": "\u{1b}[2J\u{9b}", "links": [{"name": "a\n\u{202e}"}]});
        let mut rows = StatusRows::default();
        rows.push("Alford", &answer);
        let shown = rows.to_string();
        assert!(shown.contains(r"\x1b[2J\xc2\x9b") && shown.is_ascii(), "{shown}");
        assert_eq!(shown.lines().count(), 2);
    }

    #[test]
    fn of_many_links_those_with_trouble_are_shown_first() {
        let link = |n| json!({"name": format!("s{n}"), "linked": n != 900, "backlog_clients": u64::from(n == 7)});
        let mut rows = StatusRows::default();
        rows.push("hub", &json!({"links": (0..1_023).map(link).collect::<Vec<_>>()}));
        let shown = rows.to_string();
        assert!(shown.contains("s7(backlog 1) s900(down) s0 s1 s2 "), "{shown}");
        assert!(shown.ends_with(" s14 and 1007 more, 0 of them with trouble"), "{shown}");
    }

    #[test]
    fn links_with_trouble_that_are_not_shown_are_counted() {
        let link = |n| json!({"name": format!("s{n}"), "linked": n >= 100, "backlog_clients": 0});
        let mut rows = StatusRows::default();
        rows.push("hub", &json!({"links": (0..1_023).map(link).collect::<Vec<_>>()}));
        assert!(
            rows.to_string().ends_with(" s15(down) and 1007 more, 84 of them with trouble"),
            "{rows}"
        );
    }

    #[test]
    fn replies_become_a_table() {
        let mut rows = StatusRows::default();
        rows.push(
            "Alford",
            &json!({
                "process": 4711, "uptime_s": 61.9, "connected_clients": 2, "known_clients": 1000,
                "health": {"healthy": true, "reasons": []}, "state": "00ff00ff00ff00ff",
                "links": [
                    {"name": "Parker", "linked": true, "backlog_clients": 0},
                    {"name": "Welsh", "linked": false, "backlog_clients": 0},
                    {"name": "Bolden", "linked": true, "backlog_clients": 12},
                ],
            }),
        );
        // An older version tells no health.
        rows.push("Bolden", &json!({"process": 1, "state": "0", "journal": {"sound": true}}));
        let health =
            json!({"healthy": false, "reasons": ["its journal is broken", "it is ending"]});
        let parker =
            json!({"process": 1, "state": "0", "health": health, "journal": {"sound": false}});
        rows.push("Parker", &parker);
        rows.rows.push(vec!["Hamilton".to_owned(), "it does not run here".to_owned()]);
        assert_eq!(
            rows.to_string(),
            "\
server    process  up for  clients  known  state             health       journal  links
Alford    4711     61s     2        1000   00ff00ff00ff00ff  healthy      -        Parker Welsh(down) Bolden(backlog 12)
Bolden    1        0s      0        0      0                 -            sound
Parker    1        0s      0        0      0                 NOT HEALTHY  broken
Hamilton  it does not run here
Parker: its journal is broken; it is ending"
        );
    }
}
