//! `herd places check`: one question to the source of places, and how it went.
//!
//! What an operator runs first who has a key: it asks as a server would (`sources.rs`, the same reactor, the
//! same pool), once, and shows each phase of the way with its time, or where the way ended and what to do.
//!
//! What a service says is scrubbed of the key before it is cut, as it stands after JSON was undone; and all of
//! it once more before it is shown.

use super::exit::{Exit, Failure};
use super::sources::OpenPlaces;
use super::topology_file::TopologyFile;
use super::{print_error, print_line};
use crate::config::{PlacesSource, SourceName, Supposed, Topology, UpstreamKind};
use crate::fetch::pool::{
    self, FetchError, FetchId, FetchPhase, FetchTiming, Fetching, HttpPool, PendingRequest,
};
use crate::http::Response;
use crate::log::one_line;
use crate::log::secret::Secret;
use crate::net::dns::{DnsClient, DnsError, LookupId, Resolving};
use crate::places::{Answer, Fetch, Progress, Query, Scheme, SearchStatus, Source, Ticket};
use crate::server::network::{self, Network};
use crate::wire::command::Radius;
use crate::wire::location::Location;
use herd_reactor::{Core, MioIo, Moment, Reactor, ReactorLimits, Shared, TurnCounts};
use std::fmt::{self, Write as _};
use std::io;
use std::net::IpAddr;

/// The longest text of a service's that is shown, in characters.
const TEXT_CHARS_MAX: usize = 200;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Places {
    Check(PlacesCheck),
}

/// Put one real question to the source of places, and show how it went
///
/// One attempt, never repeated; a service that bills requests bills this one. The key is never shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  herd places check
  herd places check google --at -33.8703830+151.1979255 --radius 0.5")]
pub(super) struct PlacesCheck {
    /// embedded, file, google, google-legacy or photon [default: the one in the topology]
    source: Option<SourceName>,
    /// Degrees north and east
    #[arg(
        long,
        value_name = "LOCATION",
        default_value = "+34.068930-118.445127",
        allow_hyphen_values = true,
        value_parser = location
    )]
    at: String,
    /// Kilometres, more than 0, at most 50
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
        let OpenPlaces { mut source, key, network, .. } =
            OpenPlaces::open(&topology.places, print_error)
                .map_err(|faults| file.refused(&faults))?;
        let query = self.query();
        let name = source.name();
        let mut report = CheckOutput { text: String::new(), key };
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
                let what = format!("{name} can only be asked by a server");
                return Err(Failure::new(Exit::Internal, what));
            }
        };
        report.answer(&answer, &query);
        if let Some(advice) = advice {
            report.line("remedy", advice);
        }
        print_line(&report.scrub(report.text.trim_end()));
        match answer {
            Answer::Found(_) | Answer::Rendered(_) => Ok(()),
            Answer::Failed(failure) => {
                let what = format!("{name} gives no places: {}", failure.status.as_str());
                Err(Failure::new(Exit::Unavailable, what))
            }
        }
    }

    fn query(&self) -> Query {
        let valid = "clap has checked it";
        let location = Location::parse(self.at.as_bytes()).expect(valid);
        let radius = Radius::parse(self.radius.as_bytes()).expect(valid);
        let (latitude, longitude) = location.degrees();
        Query {
            latitude,
            longitude,
            latitude_text: location.latitude().to_vec(),
            longitude_text: location.longitude().to_vec(),
            radius_m: radius.metres(),
            radius_text: radius.text.to_vec(),
        }
    }
}

type Outcome = Result<Response, FetchError>;

/// What the reactor is lent: the way to the network, and what came back over it.
#[derive(Debug)]
struct CheckState {
    network: Network,
    outcome: Option<(Outcome, FetchTiming, Moment)>,
}

impl CheckState {
    /// It is over. Stopped, the reactor does not wait in its poll once more.
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

/// Fetches once, within the deadline of a WHATSAT; also says when it was over. What a server's log would warn
/// of resolv.conf is reported.
fn ask(
    topology: &Topology,
    network: Network,
    fetch: Fetch,
    report: &mut CheckOutput,
) -> Result<(Outcome, FetchTiming, Moment), Failure> {
    let (origin, request) = network::request(fetch)
        .map_err(|e| Failure::new(Exit::Config, format!("this cannot be asked: {e}")))?;
    let io = MioIo::new(&[]).map_err(|e| Failure::os("the kernel gives no poll", e))?;
    let asking = CheckState { network, outcome: None };
    let mut reactor = Reactor::new(io, asking, ReactorLimits::default());
    let (asking, core) = reactor.parts();
    let id = pool::fetch(asking, core, origin, request);
    let deadline = topology.places.deadline;
    core.call_later(deadline, move |asking: &mut CheckState, core| {
        let Some(timing) = asking.network.pool.timing(id) else { return };
        pool::cancel(asking, core, id);
        let phase = FetchPhase::ALL.into_iter().find(|phase| timing.end_of(*phase).is_none());
        let what = format!("places.deadline_ms = {} is over", deadline.as_millis());
        let phase = phase.unwrap_or(FetchPhase::Body);
        let error = FetchError { phase, what, lasting: false, by_proxy: false };
        asking.end(core, Err(error), timing);
    });
    loop {
        reactor.turn().map_err(|e| Failure::os("the loop cannot go on", e))?;
        let asking = reactor.state();
        if let Some(outcome) = asking.outcome.take() {
            let remarks = asking.network.dns.remarks().iter();
            let warnings = remarks.filter(|(level, _)| *level == log::Level::Warn);
            warnings.for_each(|(_, what)| report.line("warning", one_line(what)));
            return Ok(outcome);
        }
    }
}

/// What came back, as the source reads it; and what to do about it.
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

/// What to do if the way ended so. The error names the proxy, if it was that.
fn on_the_way(error: &FetchError) -> &'static str {
    match error.phase {
        _ if error.by_proxy && error.what.ends_with(" 407") => {
            "write the proxy's user and password into https_proxy=http://user:password@host:port, \
             which goes before HTTPS_PROXY (% and two digits for what stands in no URL), and leave out proxy under \
             [places]; only Basic is spoken"
        }
        _ if error.by_proxy && error.what.contains(" 407 to the user") => {
            "see that user and password in https_proxy, else HTTPS_PROXY, are right (% and two digits for what stands \
             in no URL), and that the proxy takes Basic: no other way is spoken"
        }
        _ if error.by_proxy => {
            "see that the proxy (under [places], else https_proxy, else HTTPS_PROXY) is named rightly, that it runs, and that it \
             lets CONNECT through to the host and port of base_url; NO_PROXY lists hosts that need none"
        }
        FetchPhase::Dns => {
            "see that base_url names the right host, and whom resolver, resolv_conf and hosts_file ask"
        }
        FetchPhase::Connect => {
            "see that the service runs where base_url says, and that no firewall or proxy is between"
        }
        FetchPhase::Tls if error.what.contains("CA:TRUE") => {
            "give the service such a certificate; if it has signed it itself, name the same one as ca_file"
        }
        FetchPhase::Tls => {
            "see that ca_file vouches for the service, that base_url has the name in its certificate, \
             and that this machine's clock is right"
        }
        FetchPhase::FirstByte | FetchPhase::Body => {
            "the service is there and does not answer as it should: try again; then raise deadline_ms, or body_bytes \
             if its replies are longer, under [places]"
        }
    }
}

/// What to do about a refusal. docs/sources.md has the table.
fn after_answer(kind: UpstreamKind, status: SearchStatus, http: u16) -> &'static str {
    match (status, kind) {
        (SearchStatus::RequestDenied, UpstreamKind::Google(_)) => {
            "enable places.googleapis.com for the key's project, with billing, and see that the key's \
             restrictions let it use that API from this machine"
        }
        (SearchStatus::RequestDenied, UpstreamKind::GoogleLegacy) => {
            "see that the key's project has the Places API (places-backend.googleapis.com) and billing, and \
             that the key's restrictions let it use that API from this machine; since October 2026 no \
             project can begin with it: then write source = \"google\""
        }
        (SearchStatus::RequestDenied, UpstreamKind::Photon) => {
            "photon itself wants no key: see who answers at base_url"
        }
        (SearchStatus::OverQueryLimit, _) => "wait, or raise the quota of the key's project",
        (SearchStatus::InvalidRequest, UpstreamKind::Photon) => {
            "see that language is one that this photon has been given"
        }
        (SearchStatus::InvalidRequest, _) => {
            "see that language is one that Google knows; else it is a bug"
        }
        (SearchStatus::UnknownError, _) => match http {
            500..=599 => "the service, or what is in front of it, has trouble: try again later",
            _ => "see who answers at base_url: this is not the service that was expected",
        },
    }
}

/// What is asked, without a key.
fn shown(fetch: &Fetch) -> String {
    let scheme = if fetch.scheme == Scheme::Https { "https" } else { "http" };
    let host = match fetch.host.contains(':') {
        true => format!("[{}]", fetch.host),
        false => fetch.host.clone(),
    };
    format!("{scheme}://{host}:{}{}", fetch.port, fetch.target.path())
}

/// Which phases the way has.
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

    /// A line for each phase: how long it took, that it was not needed, or why it was the last.
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
                    report.line(&name, format_args!("{}  FAILED: {what}", Ms(since, ended)));
                }
                (_, Some(end)) if is_needed => report.line(&name, Ms(since, end)),
                _ => report.line(&name, "-"),
            }
            since = end.unwrap_or(since);
        }
    }
}

/// The time between two moments, in milliseconds.
struct Ms(Moment, Moment);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} ms", (self.1 - self.0).as_secs_f64() * 1e3)
    }
}

/// The text that is shown.
#[derive(Debug)]
struct CheckOutput {
    text: String,
    /// What must not be in it.
    key: Option<Secret>,
}

impl CheckOutput {
    fn line(&mut self, name: &str, value: impl fmt::Display) {
        let _ = writeln!(self.text, "{name:<12}{value}");
    }

    /// The status, how many places, and the first of them as a client would see it.
    fn answer(&mut self, answer: &Answer, query: &Query) {
        match answer {
            Answer::Failed(failure) => {
                let (status, message) = (failure.status.as_str(), &failure.message);
                self.line("status", format_args!("{status}: {message}"));
            }
            _ => self.line("status", answer.status(usize::MAX)),
        }
        self.line("places", answer.count(usize::MAX));
        let Some(([name, place_id, types, vicinity], location)) = answer.first() else { return };
        self.line("first", self.cut(&name));
        self.line("  place_id", self.cut(&place_id));
        self.line("  types", self.cut(&types));
        self.line("  vicinity", self.cut(&vicinity));
        let km = location.map(|location| query.distance_m(location) / 1e3);
        self.line("  distance", km.map_or("-".to_string(), |km| format!("{km:.3} km")));
    }

    /// A service's text, fit for a terminal.
    fn cut(&self, text: &str) -> String {
        let text = self.scrub(if text.is_empty() { "-" } else { text });
        one_line(&text).chars().take(TEXT_CHARS_MAX).collect()
    }

    fn scrub(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_string(), |key| key.scrub(text))
    }
}
