//! The command line.

use crate::failure::Failure;
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::time::Duration;

/// Maximum number of clients: an id has seven digits.
pub(crate) const KEYS_MAX: u32 = 10_000_000;

/// A load generator that checks every reply.
///
/// Without --idle, --records, --connect or --flood it sends requests over all connections, and prints
/// the rate of replies and their latencies. Exit status: 0 for success, 1 if a reply was wrong or did not
/// arrive within 30 s (with --rate, missing replies are only counted and noted), 2 for a wrong command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "herd-bench", version, max_term_width = 100)]
pub struct Options {
    /// Client ports of the servers, as IP:PORT or localhost:PORT; connections go to them in turn
    #[arg(required = true, value_name = "ADDRESS", value_parser = address)]
    pub(crate) addresses: Vec<SocketAddr>,

    /// The protocol of the servers
    #[arg(long, value_enum, default_value_t = Speaks::Herd, help_heading = "Load")]
    pub(crate) protocol: Speaks,

    /// Number of connections
    #[arg(long, short = 'C', default_value_t = 50, help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,

    /// Requests in flight on each connection: a batch is one send, and the next follows when all are answered;
    /// more than 1 pipelines HTTP
    #[arg(long, short = 'P', default_value_t = 1, help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) pipeline: u32,

    /// Duration of the load, in seconds [default: 3, unless --requests is given]
    #[arg(long, short = 'd', value_name = "SECONDS", value_parser = seconds, help_heading = "Load")]
    pub(crate) duration: Option<Duration>,

    /// Number of requests
    #[arg(long, short = 'n', help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,

    /// Open loop: send this many requests a second over all connections, without waiting for replies;
    /// latencies count from the time when a request was due, not when it was sent
    #[arg(long, short = 'r', value_name = "PER_SECOND", value_parser = rate, help_heading = "Load")]
    pub(crate) rate: Option<f64>,

    /// Number of distinct clients in the reports, divided among the connections; at least one each
    #[arg(long, default_value_t = 1_000, help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(KEYS_MAX)))]
    pub(crate) keys: u32,

    /// Ratio of IAMAT and WHATSAT requests, as in iamat=9,whatsat=1
    #[arg(long, default_value = "iamat=1", value_parser = Mix::parse, help_heading = "Load")]
    pub(crate) mix: Mix,

    /// Radius of a WHATSAT, in km (not with --protocol http)
    #[arg(long, default_value_t = 10, value_name = "KM", help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) radius: u32,

    /// Maximum number of places that a WHATSAT asks for (not with --protocol http)
    #[arg(long, default_value_t = 20, value_name = "ITEMS", help_heading = "Load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) bound: u32,

    /// Instead: open N idle connections, and print the server's memory for each, between the first 1,000
    /// and all; with --duration or --requests, apply the load while they are open
    #[arg(long, value_name = "N", requires = "pid", group = "instead", help_heading = "Instead")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=60_000))]
    pub(crate) idle: Option<u32>,

    /// Instead: report N distinct clients, and print the server's memory for each
    #[arg(long, value_name = "N", requires = "pid", group = "instead", help_heading = "Instead")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(KEYS_MAX)))]
    pub(crate) records: Option<u32>,

    /// Instead: connect, send one request, read the reply and close, on --connections connections at a time
    #[arg(long, group = "instead", help_heading = "Instead")]
    pub(crate) connect: bool,

    /// Instead: report a client to the first server, and print how long the others take to learn it
    ///
    /// With --observer this program acts as a neighbour of the servers, which flood the report to it.
    /// Without, it polls the second and further addresses by WHATSAT. Polling takes processor time of the
    /// servers, and measures no finer than the time of one request.
    #[arg(long, group = "instead", help_heading = "Instead")]
    pub(crate) flood: bool,

    /// Act as a plain neighbour, listening at ADDRESS, of a server that is HOPS hops from the first
    #[arg(long, value_name = "HOPS=ADDRESS", requires = "flood", help_heading = "Instead")]
    #[arg(value_parser = Observer::parse)]
    pub(crate) observer: Vec<Observer>,

    /// With --flood: report N clients at once to all addresses, and print how long until each server knows all
    #[arg(long, value_name = "N", requires = "observer", help_heading = "Instead")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(KEYS_MAX)))]
    pub(crate) burst: Option<u32>,

    /// Processes of the servers, to measure their memory and processor time
    #[arg(long, value_name = "PID", value_delimiter = ',', help_heading = "Results")]
    pub(crate) pid: Vec<u32>,

    /// Print one line of JSON instead of a table; times are in microseconds
    #[arg(long, help_heading = "Results")]
    pub(crate) json: bool,
}

/// The kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The rate and latency of requests.
    Load,
    /// The memory of this many idle connections.
    Idle(u32),
    /// The memory of this many clients.
    Records(u32),
    /// Connections of one request each.
    Connect,
    /// How fast reports propagate.
    Flood,
}

/// The protocol of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speaks {
    /// The client port of docs/protocol.md
    Herd,
    /// HTTP/1.1: POST /herd.php with an IAMAT line as its body, or GET /herd.php?client=ID for a WHATSAT; the
    /// body of the reply is the AT line
    Http,
    /// HTTP/1.1: PUT /v1/clients/ID with a location and a time in JSON; the body of the reply is a GeoJSON Feature
    HttpPut,
    /// HTTP/1.1: POST /owntracks, as the app sends it; the body of the reply is []
    HttpOwntracks,
    /// HTTP/1.1: as http-put, to a server whose replies may have any body
    HttpFixed,
    /// A server that sends every byte back
    Echo,
    /// Redis: SET client "location time"
    RespSet,
    /// Redis: GEOADD herd longitude latitude client
    RespGeoadd,
    /// NATS: PUB in verbose mode
    Nats,
}

/// The ratio of IAMAT and WHATSAT requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) iamat: u32,
    pub(crate) whatsat: u32,
}

impl Mix {
    fn parse(text: &str) -> Result<Mix, String> {
        let mut mix = Mix { iamat: 0, whatsat: 0 };
        for part in text.split(',') {
            let (name, count) = part.split_once('=').ok_or("write iamat=9,whatsat=1")?;
            let count = count.parse().ok().filter(|count| *count <= 1_000_000);
            let count = count.ok_or_else(|| format!("{part}: not a count up to 1,000,000"))?;
            match name {
                "iamat" => mix.iamat = count,
                "whatsat" => mix.whatsat = count,
                _ => return Err(format!("{name}: neither iamat nor whatsat")),
            }
        }
        if mix.iamat + mix.whatsat == 0 { Err("all counts are 0".into()) } else { Ok(mix) }
    }
}

/// An address at which this program listens as a plain neighbour, and the distance of its server from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observer {
    pub(crate) hops: u32,
    pub(crate) address: SocketAddr,
}

impl Observer {
    fn parse(text: &str) -> Result<Observer, String> {
        let (hops, address) = text.split_once('=').ok_or("write 2=127.0.0.1:13000")?;
        let hops = hops.parse().map_err(|error| format!("{hops}: {error}"))?;
        let address = self::address(address).map_err(|error| format!("{address}: {error}"))?;
        Ok(Observer { hops, address })
    }
}

impl Options {
    /// The kind of measurement.
    pub fn mode(&self) -> Mode {
        match (self.idle, self.records) {
            (Some(count), _) => Mode::Idle(count),
            (_, Some(count)) => Mode::Records(count),
            _ if self.connect => Mode::Connect,
            _ if self.flood => Mode::Flood,
            _ => Mode::Load,
        }
    }

    /// The duration and the most requests; at least one of them is set.
    pub(crate) fn extent(&self) -> (Option<Duration>, Option<u64>) {
        match (self.duration, self.requests) {
            (None, None) => (Some(Duration::from_secs(3)), None),
            given => given,
        }
    }

    /// Checks contradictions that clap cannot find.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let refuse = |what: &str| Err(Failure::Options(what.to_owned()));
        let is_herd = self.protocol == Speaks::Herd;
        let has_whatsat = is_herd || self.protocol == Speaks::Http;
        match self.mode() {
            _ if self.mix.whatsat > 0 && !has_whatsat => {
                refuse("--mix: only --protocol herd and --protocol http have WHATSAT")
            }
            Mode::Connect if self.protocol == Speaks::Nats => {
                refuse("--connect: NATS needs a greeting first, which would be measured too")
            }
            Mode::Flood if !is_herd => {
                refuse("--flood, --observer, --burst: only servers of --protocol herd flood")
            }
            Mode::Flood if self.observer.is_empty() && self.addresses.len() < 2 => {
                refuse("--flood: give --observer, or the addresses of the servers to poll")
            }
            Mode::Load | Mode::Idle(_) => Ok(()),
            _ if self.rate.is_some() => refuse("--rate: only for load and --idle"),
            _ if self.mix.whatsat > 0 => {
                refuse("--mix: WHATSAT only for load and --idle; this measurement sends IAMATs")
            }
            _ => Ok(()),
        }
    }
}

/// An IP address and a port; `localhost` is 127.0.0.1, as in a topology.
fn address(text: &str) -> Result<SocketAddr, String> {
    let here = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let text = here.as_deref().unwrap_or(text);
    text.parse().map_err(|_| "write IP:PORT, as in 127.0.0.1:12000, or localhost:PORT".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match seconds {
        0.01..=86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not between 0.01 and 86400".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.1..=1e9).contains(&rate) { Ok(rate) } else { Err("not between 0.1 and 1e9".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Options {
        Options::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn modes_exclude_each_other() {
        let line = "herd-bench 127.0.0.1:1 --idle 10 --pid 1 --connect";
        assert!(Options::try_parse_from(line.split(' ')).is_err());
        assert_eq!(parsed("herd-bench 127.0.0.1:1 --idle 10 --pid 1").mode(), Mode::Idle(10));
        assert_eq!(parsed("herd-bench 127.0.0.1:1").mode(), Mode::Load);
    }

    #[test]
    fn localhost_is_an_address_and_other_names_are_none() {
        let here = [SocketAddr::from(([127, 0, 0, 1], 12_000))];
        assert_eq!(parsed("herd-bench localhost:12000").addresses, here);
        for wrong in ["localhost", "localhost:99999", "box.example:12000"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_is_measured_of_a_process() {
        assert!(Options::try_parse_from("herd-bench 127.0.0.1:1 --idle 10".split(' ')).is_err());
    }

    #[test]
    fn a_mix_is_counts_of_known_requests() {
        assert_eq!(Mix::parse("iamat=9,whatsat=1"), Ok(Mix { iamat: 9, whatsat: 1 }));
        assert_eq!(Mix::parse("whatsat=1"), Ok(Mix { iamat: 0, whatsat: 1 }));
        for wrong in ["", "iamat", "iamat=x", "iamat=-1", "iamat=0", "at=1"] {
            assert!(Mix::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flood_needs_observers_or_servers_to_poll() {
        assert!(parsed("herd-bench 127.0.0.1:1 --flood").check().is_err());
        assert!(parsed("herd-bench 127.0.0.1:1 127.0.0.1:2 --flood").check().is_ok());
        assert!(parsed("herd-bench 127.0.0.1:1 --flood --observer 2=127.0.0.1:3").check().is_ok());
        assert!(parsed("herd-bench 127.0.0.1:1 --protocol echo --mix whatsat=1").check().is_err());
    }

    #[test]
    fn http_has_whatsat_and_does_not_flood() {
        let check = |line: &str| {
            parsed(&format!("herd-bench 127.0.0.1:1 127.0.0.1:2 --protocol http {line}")).check()
        };
        for fine in ["-C 1", "-P 8 --rate 5", "--connect", "--idle 5 --pid 1 --mix whatsat=1"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for wrong in ["--flood", "--flood --observer 1=127.0.0.1:3", "--connect --mix whatsat=1"] {
            assert!(matches!(check(wrong), Err(Failure::Options(_))), "{wrong}");
        }
    }

    #[test]
    fn three_seconds_unless_said() {
        let extent = |line| parsed(line).extent();
        assert_eq!(extent("herd-bench 127.0.0.1:1"), (Some(Duration::from_secs(3)), None));
        assert_eq!(extent("herd-bench 127.0.0.1:1 -n 5"), (None, Some(5)));
    }
}
