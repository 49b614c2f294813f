//! `herd places check`: sends one request to the source of places, and prints each step.
//!
//! An operator with a new key runs it first. It sends one request as a server would (`sources.rs`, the same reactor,
//! the same pool), and prints the time of each phase, or the phase that failed and the remedy.
//!
//! The key is removed from the service's text after the JSON is decoded and before the text is cut, and once more from
//! the whole output (`check_output.rs`).

use super::check_output::{CheckOutput, Ms};
use super::exit::{Exit, Failure};
use super::sources::OpenPlaces;
use super::topology_file::TopologyFile;
use super::{print_line, print_warning};
use crate::config::{PlacesSource, SourceName, Supposed, Topology, UpstreamKind};
use crate::fetch::pool::{
    self, FetchError, FetchId, FetchPhase, FetchTiming, Fetching, HttpPool, PendingRequest,
};
use crate::http::Response;
use crate::log::one_line;
use crate::net::dns::{DnsClient, DnsError, LookupId, Resolving};
use crate::places::{Answer, Fetch, Progress, Query, Scheme, SearchStatus, Source, Ticket};
use crate::server::network::{self, Network};
use crate::server::place_queries::{PlacesInUse, query_near};
use crate::wire::command::Radius;
use crate::wire::location::Location;
use herd_reactor::{Core, MioIo, Moment, Reactor, ReactorLimits, Shared, TurnCounts};
use std::io;
use std::net::IpAddr;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Places {
    Check(PlacesCheck),
}

/// Send one real request to the source of places, and print each step
///
/// It sends the request only once. A service that bills requests bills this one. It never prints the key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd places check
  herd places check google --at -33.8703830+151.1979255 --radius 0.5")]
pub(super) struct PlacesCheck {
    /// embedded, file, google, google-legacy or photon [default: the source in the topology]
    source: Option<SourceName>,
    /// The location: degrees north and east
    #[arg(
        long,
        value_name = "LOCATION",
        default_value = "+34.068930-118.445127",
        allow_hyphen_values = true,
        value_parser = location
    )]
    at: String,
    /// The radius in kilometres, more than 0 and at most 50
    #[arg(long, value_name = "KM", default_value = "10", value_parser = radius)]
    radius: String,
}

fn location(text: &str) -> Result<String, &'static str> {
    Location::parse(text.as_bytes()).ok_or("write degrees, as in +34.068930-118.445127")?;
    Ok(text.to_string())
}

fn radius(text: &str) -> Result<String, &'static str> {
    Radius::parse(text.as_bytes()).ok_or("write kilometres, more than 0 and at most 50")?;
    Ok(text.to_string())
}

impl PlacesCheck {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        let supposed = Supposed { source: self.source, ..Supposed::default() };
        let topology = file.read_supposing(supposed)?;
        let OpenPlaces { in_use: PlacesInUse { mut source, network, .. }, key } =
            OpenPlaces::open(&topology.places, print_warning)
                .map_err(|faults| file.refused(&faults))?;
        let query = self.query();
        let name = source.name();
        let mut report = CheckOutput::new(move |text| match &key {
            Some(key) => key.scrub(text),
            None => text.to_owned(),
        });
        let asked = source.nearby(Ticket(1), &query);
        let (answer, advice) = match (asked, network, &topology.places.source) {
            (Progress::Answered(answer), ..) => {
                report.line("source", format_args!("{name}, in memory"));
                FetchPhase::ALL.iter().for_each(|phase| report.line(&phase.to_string(), "-"));
                report.line("http", "-");
                (answer, None)
            }
            (Progress::Fetch(fetch), Some(network), PlacesSource::Network(upstream)) => {
                report.line("source", format_args!("{name}, {}", shown(&fetch)));
                let way = Way::new(&fetch);
                let (outcome, timing, ended) = ask(&topology, network, fetch, &mut report)?;
                way.report(&mut report, &outcome, &timing, ended);
                judge(&mut report, source.as_mut(), &query, outcome, upstream.kind)
            }
            _ => {
                let what =
                    format!("herd places check cannot ask the source {name}; only a server can");
                return Err(Failure::new(Exit::Internal, what));
            }
        };
        report_answer(&mut report, &answer, &query);
        if let Some(advice) = advice {
            report.line("remedy", advice);
        }
        print_line(&report.finish());
        match answer {
            Answer::Found(_) | Answer::Listed(_) | Answer::Rendered(_) => Ok(()),
            Answer::Failed(failure) => {
                let what = format!("{name} returned no places: {}", failure.status.as_str());
                Err(Failure::new(Exit::Unavailable, what))
            }
        }
    }

    fn query(&self) -> Query {
        let valid = "clap has checked it";
        let location = Location::parse(self.at.as_bytes()).expect(valid);
        let radius = Radius::parse(self.radius.as_bytes()).expect(valid);
        query_near(location, radius)
    }
}

type Outcome = Result<Response, FetchError>;

/// The reactor's state: the resolver, the connection pool, and the outcome.
#[derive(Debug)]
struct CheckState {
    network: Network,
    outcome: Option<(Outcome, FetchTiming, Moment)>,
}

impl CheckState {
    /// Keeps the outcome, and stops the reactor, so that it does not poll again.
    fn end(&mut self, core: &mut Core<CheckState>, outcome: Outcome, timing: FetchTiming) {
        self.outcome = Some((outcome, timing, core.now()));
        core.stop();
    }
}

impl Shared for CheckState {
    type Message = PendingRequest;

    fn before_poll(&mut self, core: &mut Core<CheckState>, _: &TurnCounts) -> io::Result<()> {
        pool::before_poll(self, core);
        Ok(())
    }
}

impl Resolving for CheckState {
    fn dns(&mut self) -> &mut DnsClient {
        &mut self.network.dns
    }

    fn resolved(
        &mut self,
        core: &mut Core<CheckState>,
        lookup: LookupId,
        result: Result<Vec<IpAddr>, DnsError>,
    ) {
        pool::resolved(self, core, lookup, result);
    }
}

impl Fetching for CheckState {
    fn pool(&mut self) -> &mut HttpPool {
        &mut self.network.pool
    }

    fn fetched(
        &mut self,
        core: &mut Core<CheckState>,
        _: FetchId,
        outcome: Outcome,
        timing: FetchTiming,
    ) {
        self.end(core, outcome, timing);
    }
}

/// Sends the request, within the deadline of a WHATSAT. Returns the outcome, the time of each phase, and when it ended.
/// Reports the warnings about resolv.conf that a server would log.
fn ask(
    topology: &Topology,
    network: Network,
    fetch: Fetch,
    report: &mut CheckOutput,
) -> Result<(Outcome, FetchTiming, Moment), Failure> {
    let (origin, request) = network::request(fetch)
        .map_err(|e| Failure::config(format!("cannot make a request to this source: {e}")))?;
    let io = MioIo::new(&[]).map_err(|e| Failure::os("cannot create the event poll", e))?;
    let asking = CheckState { network, outcome: None };
    let mut reactor = Reactor::new(io, asking, ReactorLimits::default());
    let (asking, core) = reactor.parts();
    let id = pool::fetch(asking, core, origin, request);
    let deadline = topology.places.deadline;
    core.call_later(deadline, move |asking: &mut CheckState, core| {
        let Some(timing) = asking.network.pool.timing(id) else { return };
        pool::cancel(asking, core, id);
        let phase = FetchPhase::ALL.into_iter().find(|phase| timing.end_of(*phase).is_none());
        let what = format!("places.deadline_ms = {} has passed", deadline.as_millis());
        let phase = phase.unwrap_or(FetchPhase::Body);
        let error = FetchError { phase, what, lasting: false, by_proxy: false };
        asking.end(core, Err(error), timing);
    });
    loop {
        reactor.turn().map_err(|e| Failure::os("the event loop failed", e))?;
        let asking = reactor.state();
        if let Some(outcome) = asking.outcome.take() {
            let remarks = asking.network.dns.remarks().iter();
            let warnings = remarks.filter(|(level, _)| *level == log::Level::Warn);
            warnings.for_each(|(_, what)| report.line("warning", one_line(what)));
            return Ok(outcome);
        }
    }
}

/// Returns the answer that the source reads from the response, and the remedy for a failure.
fn judge(
    report: &mut CheckOutput,
    source: &mut dyn Source,
    query: &Query,
    outcome: Outcome,
    kind: UpstreamKind,
) -> (Answer, Option<&'static str>) {
    match outcome {
        Ok(response) => {
            report.line("http", response.status);
            let parsed = source.read(query, network::reply(&response));
            if !parsed.log.is_empty() {
                report.line("it says", &parsed.log);
            }
            let advice = match &parsed.answer {
                Answer::Failed(failure) => {
                    Some(after_answer(kind, failure.status, response.status))
                }
                _ => None,
            };
            (parsed.answer, advice)
        }
        Err(error) => {
            report.line("http", "-");
            let failure = crate::places::SearchFailure::unanswered(&error.phase.to_string());
            (Answer::Failed(failure), Some(on_the_way(&error)))
        }
    }
}

/// Returns the remedy for a request that got no response. The error says whether the proxy failed.
fn on_the_way(error: &FetchError) -> &'static str {
    match error.phase {
        _ if error.by_proxy && error.what.ends_with(" 407") => {
            "write the proxy's user and password into https_proxy=http://user:password@host:port, which goes before \
             HTTPS_PROXY (% and two hex digits for a character that a URL cannot have), and remove proxy under \
             [places]; only Basic authentication is supported"
        }
        _ if error.by_proxy && error.what.contains(" 407 to the user") => {
            "check user and password in https_proxy, or else HTTPS_PROXY (% and two hex digits for a character that a \
             URL cannot have), and that the proxy accepts Basic authentication, the only one supported"
        }
        _ if error.by_proxy => {
            "check the proxy's address (proxy under [places], or else https_proxy, or else HTTPS_PROXY), that it runs, and \
             that it allows CONNECT to the host and port of base_url; NO_PROXY lists hosts that need no proxy"
        }
        FetchPhase::Dns => "check the host in base_url, and resolver, resolv_conf and hosts_file",
        FetchPhase::Connect => {
            "check that the service runs at base_url, and that no firewall blocks the way"
        }
        FetchPhase::Tls if error.what.contains("CA:TRUE") => {
            "give the service a certificate without CA:TRUE; if it is self-signed, name it as ca_file, too"
        }
        FetchPhase::Tls => {
            "check that ca_file has the service's authority, that base_url has the name in its certificate, and that \
             this machine's clock is right"
        }
        FetchPhase::FirstByte | FetchPhase::Body => {
            "the service was reached but did not answer in time, or not correctly: try again; then raise deadline_ms, or \
             body_bytes for longer replies, under [places]"
        }
    }
}

/// Returns the remedy for a response that has no places. docs/sources.md has the table.
fn after_answer(kind: UpstreamKind, status: SearchStatus, http: u16) -> &'static str {
    match (status, kind) {
        (SearchStatus::RequestDenied, UpstreamKind::Google(_)) => {
            "enable places.googleapis.com and billing for the key's project, and check that the key's restrictions \
             allow that API from this machine"
        }
        (SearchStatus::RequestDenied, UpstreamKind::GoogleLegacy) => {
            "check that the key's project has the Places API (places-backend.googleapis.com) and billing, and that \
             the key's restrictions allow that API from this machine; since October 2026 no project can begin with \
             it: then write source = \"google\""
        }
        (SearchStatus::RequestDenied, UpstreamKind::Photon) => {
            "photon itself needs no key: check which server answers at base_url"
        }
        (SearchStatus::OverQueryLimit, _) => "wait, or raise the quota of the key's project",
        (SearchStatus::InvalidRequest, UpstreamKind::Photon) => {
            "check that this photon has the language under [places]"
        }
        (SearchStatus::InvalidRequest, _) => {
            "check that Google supports the language under [places]; if it does, this is a bug"
        }
        (SearchStatus::UnknownError, _) => match http {
            500..=599 => "the service, or a proxy in front of it, has a problem: try again later",
            _ => "check which server answers at base_url: it is not the expected service",
        },
    }
}

/// Returns the URL of the request, without its query and so without a key.
fn shown(fetch: &Fetch) -> String {
    let scheme = if fetch.scheme == Scheme::Https { "https" } else { "http" };
    let host = match fetch.host.contains(':') {
        true => format!("[{}]", fetch.host),
        false => fetch.host.clone(),
    };
    format!("{scheme}://{host}:{}{}", fetch.port, fetch.target.path())
}

/// The phases that a request needs.
#[derive(Debug)]
struct Way {
    has_name: bool,
    is_secure: bool,
}

impl Way {
    fn new(fetch: &Fetch) -> Way {
        let has_name = fetch.host.parse::<IpAddr>().is_err();
        Way { has_name, is_secure: fetch.scheme == Scheme::Https }
    }

    /// Writes a line for each phase: its time, that it was not needed, or why it failed.
    fn report(
        &self,
        report: &mut CheckOutput,
        outcome: &Outcome,
        timing: &FetchTiming,
        ended: Moment,
    ) {
        let mut since = timing.begun.unwrap_or_default();
        for phase in FetchPhase::ALL {
            let end = timing.end_of(phase);
            let is_needed = match phase {
                FetchPhase::Dns => self.has_name,
                FetchPhase::Tls => self.is_secure,
                _ => true,
            };
            let name = phase.to_string();
            match (outcome, end) {
                (Err(error), _) if error.phase == phase => {
                    let what = one_line(&error.what);
                    report.line(&name, format_args!("{}  FAILED: {what}", Ms(ended - since)));
                }
                (_, Some(end)) if is_needed => report.line(&name, Ms(end - since)),
                _ => report.line(&name, "-"),
            }
            since = end.unwrap_or(since);
        }
    }
}

/// Writes the status, the number of places, and the first place as a client would see it.
fn report_answer(report: &mut CheckOutput, answer: &Answer, query: &Query) {
    match answer {
        Answer::Failed(failure) => {
            let (status, message) = (failure.status.as_str(), &failure.message);
            report.line("status", format_args!("{status}: {message}"));
        }
        _ => report.line("status", answer.status(usize::MAX)),
    }
    report.line("places", answer.count(usize::MAX));
    let Some(([name, place_id, types, vicinity], location)) = answer.first() else { return };
    report.line("first", report.cut(&name));
    report.line("  place_id", report.cut(&place_id));
    report.line("  types", report.cut(&types));
    report.line("  vicinity", report.cut(&vicinity));
    let km = location.map(|location| query.distance_m(location) / 1e3);
    report.line("  distance", km.map_or("-".to_string(), |km| format!("{km:.3} km")));
}
