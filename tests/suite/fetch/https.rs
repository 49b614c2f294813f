//! The pool on the reactor, against a real server over real TLS: its responses, the connections that it keeps, and
//! the effect of every fault of the server.

use crate::support::fake_google::{
    Authority, Certificate, FakeGoogle, Gate, Greeting, Script, Step, Version, in_chunks,
    until_close, with_fields, with_length,
};
use crate::support::logged::Logged;
use crate::support::ports::RefusingPort;
use herd_reactor::{Core, MioIo, Moment, Reactor, ReactorLimits, Shared, TimerId};
use places_herd::fetch::pool::{
    self, FetchError, FetchId, FetchPhase, FetchTiming, Fetching, HttpPool, HttpPoolLimits, Origin,
    PendingRequest,
};
use places_herd::fetch::roots::client_config;
use places_herd::http::{HttpLimits, Method, Request, Response};
use places_herd::net::dns::{DnsClient, DnsError, DnsOptions, LookupId, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Timeout for every wait of a test, and the value of limits that a test is not about.
const PATIENCE: Duration = Duration::from_secs(60);

/// The value of a limit that a test is about.
const SOON: Duration = Duration::from_secs(1);

/// How much later than its limit a fault may be reported: much, because a busy machine may not run this process for
/// seconds, but less than [`PATIENCE`], so that no limit with that value can be the cause.
const SLACK: Duration = Duration::from_secs(30);

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("the test"));

/// The file of certificates that the client trusts.
static CA_FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("https-ca-{}.pem", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    AUTHORITY.write_pem(&path).unwrap();
    path
});

type Outcome = Result<Response, FetchError>;

/// The shared state of the reactor, which starts fetches.
#[derive(Debug)]
struct Asker {
    pool: HttpPool,
    dns: DnsClient,
    fetched: BTreeMap<FetchId, (Outcome, FetchTiming)>,
    wake: Option<TimerId>,
}

impl Shared for Asker {
    type Message = PendingRequest;

    /// Limits the sleep of the next poll to a millisecond. The timer is set here, just after the clock was read,
    /// because one that was set before the turn may have expired before the poll begins.
    fn before_poll(
        &mut self,
        core: &mut Core<Asker>,
        _: &herd_reactor::TurnCounts,
    ) -> std::io::Result<()> {
        pool::before_poll(self, core);
        if let Some(before) = self.wake.replace(core.call_later(MS, |_, _| {})) {
            let _ = core.cancel(before);
        }
        Ok(())
    }
}

impl Resolving for Asker {
    fn dns(&mut self) -> &mut DnsClient {
        &mut self.dns
    }

    fn resolved(
        &mut self,
        core: &mut Core<Asker>,
        lookup: LookupId,
        result: Result<Vec<IpAddr>, DnsError>,
    ) {
        pool::resolved(self, core, lookup, result);
    }
}

impl Fetching for Asker {
    fn pool(&mut self) -> &mut HttpPool {
        &mut self.pool
    }

    fn fetched(
        &mut self,
        _core: &mut Core<Asker>,
        fetch: FetchId,
        outcome: Outcome,
        timing: FetchTiming,
    ) {
        let before = self.fetched.insert(fetch, (outcome, timing));
        assert!(before.is_none(), "told twice: {fetch:?}");
    }
}

struct Stage {
    reactor: Reactor<MioIo, Asker>,
    fake: FakeGoogle,
    host: &'static str,
}

fn patient() -> HttpPoolLimits {
    HttpPoolLimits {
        handshakes: 4,
        idle_connections: 8,
        connect: PATIENCE,
        tls: PATIENCE,
        first_byte: PATIENCE,
        between_bytes: PATIENCE,
        idle: PATIENCE,
        http: HttpLimits::default(),
        all_bytes: 16 << 20,
    }
}

impl Stage {
    fn new(script: Script) -> Stage {
        Stage::with(patient(), script)
    }

    fn with(limits: HttpPoolLimits, script: Script) -> Stage {
        let pool = HttpPool::new(client_config(Some(&CA_FILE)).unwrap(), limits);
        let none = PathBuf::from("/nonexistent");
        let options =
            DnsOptions { hosts: none.clone(), resolv_conf: none, ..DnsOptions::default() };
        let asker =
            Asker { pool, dns: DnsClient::new(options), fetched: BTreeMap::new(), wake: None };
        let reactor = Reactor::new(MioIo::new(&[]).unwrap(), asker, ReactorLimits::default());
        Stage { reactor, fake: FakeGoogle::new(&AUTHORITY, script), host: "127.0.0.1" }
    }

    fn start(&mut self, target: &str) -> FetchId {
        self.send(
            Request::new(
                Method::Get,
                self.host,
                Some(self.fake.address().port()),
                target,
                Vec::new(),
            )
            .unwrap(),
        )
    }

    fn send(&mut self, request: Request) -> FetchId {
        let port = self.fake.address().port();
        let origin = Origin { secure: true, host: self.host.to_owned(), port };
        let (state, core) = self.reactor.parts();
        pool::fetch(state, core, origin, request)
    }

    fn now(&mut self) -> Moment {
        self.reactor.parts().1.now()
    }

    fn turn(&mut self) {
        self.reactor.turn().unwrap();
    }

    /// Runs turns until `done`.
    #[track_caller]
    fn until(&mut self, mut done: impl FnMut(&mut Stage) -> bool) {
        let deadline = self.now() + PATIENCE;
        while !done(self) {
            assert!(self.now() < deadline, "never: {:?}", self.reactor.state());
            self.turn();
        }
    }

    /// Runs turns for a while in which something must not happen.
    fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        self.until(|stage| stage.now() >= end);
    }

    #[track_caller]
    fn outcome(&mut self, id: FetchId) -> (Outcome, FetchTiming) {
        self.until(|stage| stage.reactor.state().fetched.contains_key(&id));
        self.reactor.state().fetched.remove(&id).unwrap()
    }

    /// Fetches `/`.
    #[track_caller]
    fn get(&mut self) -> Outcome {
        let id = self.start("/");
        self.outcome(id).0
    }

    #[track_caller]
    fn works(&mut self) {
        assert_eq!(body(self.get()), "good");
    }

    /// Checks that the next fetch fails in `phase`, no later than `limit` allows, and that the one after it succeeds.
    #[track_caller]
    fn fails_once(&mut self, phase: FetchPhase, limit: Duration) -> String {
        let begun = self.now();
        let error = self.get().unwrap_err();
        let took = self.now() - begun;
        assert_eq!(error.phase, phase, "{error}");
        assert!(took < limit + SLACK, "{error}: after {took:?}");
        self.works();
        error.what
    }

    fn idle(&mut self) -> usize {
        self.reactor.state().pool.idle_connections()
    }

    /// The connections and requests that the server has counted.
    fn seen(&self) -> (usize, usize) {
        (self.fake.connections(), self.fake.requests())
    }
}

#[track_caller]
fn body(outcome: Outcome) -> String {
    let response = outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(response.status, 200);
    String::from_utf8(response.body).unwrap()
}

fn good() -> Vec<Step> {
    vec![Step::Send(with_length(b"good"))]
}

/// The first request meets `fault`; all others are answered.
fn at_first(fault: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Script {
    Script::new(move |number| if number == 0 { fault() } else { good() })
}

#[test]
fn a_response_comes_over_either_version_of_tls() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut stage = Stage::new(Script::new(|_| good()).version(version));
        let id = stage.start("/places");
        let (outcome, timing) = stage.outcome(id);
        assert_eq!(body(outcome), "good");
        let ends = FetchPhase::ALL.map(|phase| timing.end_of(phase));
        let moments: Vec<_> = [timing.begun].into_iter().chain(ends).collect();
        assert!(moments.iter().all(Option::is_some) && moments.is_sorted(), "{timing:?}");
    }
}

#[test]
fn a_name_is_resolved_and_its_certificate_checked() {
    let mut stage = Stage::new(Script::new(|_| good()));
    stage.host = "localhost";
    stage.works();
}

#[test]
fn a_body_comes_whole_in_every_framing() {
    let long: Vec<u8> = (0..300_000_u32).map(|i| b'a' + (i % 23) as u8).collect();
    for size in [0, 1, 5_000, 300_000] {
        let sent = long[..size].to_vec();
        let mut stage = Stage::new(Script::new(move |number| match number {
            0 => vec![Step::Send(with_length(&sent))],
            1 => vec![Step::Send(in_chunks(&sent, 777))],
            _ => vec![Step::Send(until_close(&sent)), Step::Close],
        }));
        for _ in 0..3 {
            assert_eq!(body(stage.get()).as_bytes(), &long[..size]);
        }
        assert_eq!(stage.seen(), (1, 3));
        assert_eq!(stage.idle(), 0, "after a body that ends with the stream");
    }
}

#[test]
fn records_of_one_byte_make_the_same_response() {
    let response = in_chunks(b"good", 3);
    let mut stage =
        Stage::new(Script::new(move |_| vec![Step::SendInRecordsOfOne(response.clone())]));
    stage.works();
    stage.works();
    assert_eq!(stage.seen(), (1, 2));
}

#[test]
fn the_second_fetch_goes_over_the_connection_that_was_kept() {
    let mut stage = Stage::new(Script::new(|_| good()));
    stage.works();
    assert_eq!(stage.idle(), 1);
    let id = stage.start("/");
    let (outcome, timing) = stage.outcome(id);
    assert_eq!(body(outcome), "good");
    let until_tls = [FetchPhase::Dns, FetchPhase::Connect, FetchPhase::Tls];
    assert_eq!(until_tls.map(|phase| timing.end_of(phase)), [None; 3]);
    assert_eq!(stage.seen(), (1, 2));
}

#[test]
fn a_session_is_resumed_by_the_next_handshake() {
    for version in [Version::Tls12, Version::Tls13] {
        let close =
            || vec![Step::Send(with_fields("Connection: close\r\nContent-Length: 4\r\n", b"good"))];
        let mut stage = Stage::new(Script::new(move |_| close()).version(version));
        stage.works();
        assert_eq!(stage.idle(), 0, "the server wants it closed");
        stage.works();
        assert_eq!((stage.seen(), stage.fake.resumed()), ((2, 2), 1), "{version:?}");
    }
}

#[test]
fn a_certificate_that_proves_nothing_is_refused() {
    for (certificate, says) in [
        (Certificate::WrongHost, "not valid for name"),
        (Certificate::Untrusted, "UnknownIssuer"),
        (Certificate::SelfSigned, "UnknownIssuer"),
        (Certificate::Expired, "expired"),
        (Certificate::Authoritys, "(CA:TRUE); the peer needs one that the CA has issued"),
    ] {
        let show = move |number| if number == 0 { certificate } else { Certificate::Good };
        let mut stage = Stage::new(Script::new(|_| good()).certificate(show));
        let what = stage.fails_once(FetchPhase::Tls, Duration::ZERO);
        assert!(what.contains(says), "{certificate:?}: {what}");
        assert!(!what.contains("elsewhere"), "a word of the peer's: {what}");
        assert_eq!(stage.seen(), (2, 1), "no request was sent there");
    }
}

#[test]
fn what_is_trusted_comes_from_pem_and_another_file_is_told_what_it_is() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ca-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, pem) = (folder.join("ca.pem"), std::fs::read_to_string(&*CA_FILE).unwrap());
    let trusted = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        client_config(Some(&file)).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(
        trusted(format!("\u{feff}text\r\n{}", pem.replace('\n', "\r\n")).as_bytes()),
        Ok(())
    );
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    for (bytes, says) in [
        (&der[..], "it is in DER; convert it: openssl x509 -inform DER -in "),
        (b"", "it is empty"),
        (
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
            "certificate 1 cannot be used",
        ),
    ] {
        let fault = trusted(bytes).unwrap_err();
        assert!(fault.starts_with(&file.display().to_string()) && fault.contains(says), "{fault}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let missing = client_config(Some(&file)).unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
}

#[test]
fn a_peer_that_does_not_speak_tls_is_disconnected() {
    for greeting in [Greeting::Garbage, Greeting::Close] {
        let greet = move |number| if number == 0 { greeting.clone() } else { Greeting::Tls };
        let mut stage = Stage::new(Script::new(|_| good()).greeting(greet));
        stage.fails_once(FetchPhase::Tls, Duration::ZERO);
    }
}

#[test]
fn a_server_that_accepts_and_is_silent_costs_the_limit_on_the_handshake() {
    let greet = |number| if number == 0 { Greeting::Silence } else { Greeting::Tls };
    let limits = HttpPoolLimits { tls: SOON, ..patient() };
    let mut stage = Stage::with(limits, Script::new(|_| good()).greeting(greet));
    let what = stage.fails_once(FetchPhase::Tls, SOON);
    assert!(what.contains("TLS handshake"), "{what}");
}

#[test]
fn a_refused_connection_fails_at_once() {
    let mut stage = Stage::new(Script::new(|_| good()));
    stage.fake = FakeGoogle::new(&AUTHORITY, Script::new(|_| good()));
    let nobody = RefusingPort::new();
    let port = nobody.address().port();
    let origin = Origin { secure: true, host: "127.0.0.1".to_owned(), port };
    let request = Request::new(Method::Get, "127.0.0.1", Some(port), "/", Vec::new()).unwrap();
    let (state, core) = stage.reactor.parts();
    let id = pool::fetch(state, core, origin, request);
    assert_eq!(stage.outcome(id).0.unwrap_err().phase, FetchPhase::Connect);
    stage.works();
}

#[test]
fn a_slow_head_costs_the_limit_on_the_first_byte() {
    let limits = HttpPoolLimits { first_byte: SOON, ..patient() };
    let mut stage = Stage::with(limits, at_first(|| vec![Step::Silence]));
    let what = stage.fails_once(FetchPhase::FirstByte, SOON);
    assert!(what.contains("first byte"), "{what}");
    assert_eq!(stage.seen(), (2, 2));
}

#[test]
fn a_body_that_stops_costs_the_limit_between_bytes() {
    let limits = HttpPoolLimits { between_bytes: SOON, ..patient() };
    let fault = || vec![Step::Send(with_fields("Content-Length: 9\r\n", b"good")), Step::Silence];
    let mut stage = Stage::with(limits, at_first(fault));
    let what = stage.fails_once(FetchPhase::Body, SOON);
    assert!(what.contains("more of the response"), "{what}");
    assert_eq!(stage.seen(), (2, 2), "bytes had come: it is not repeated");
}

#[test]
fn a_body_that_drips_is_waited_for_as_long_as_it_drips() {
    let limits = HttpPoolLimits { between_bytes: SOON, first_byte: SOON, ..patient() };
    let drip = || vec![Step::Drip(with_length(b"good"), 30 * MS)];
    let mut stage = Stage::with(limits, at_first(drip));
    let begun = stage.now();
    stage.works();
    assert!(stage.now() - begun > SOON, "longer than each limit");
}

#[test]
fn what_is_cut_short_is_no_response() {
    let faults: [fn() -> Vec<Step>; 6] = [
        || vec![Step::Send(with_fields("Content-Length: 9\r\n", b"good")), Step::Close],
        || {
            vec![
                Step::Send(with_fields("Transfer-Encoding: chunked\r\n", b"9\r\ngood")),
                Step::Close,
            ]
        },
        || {
            vec![
                Step::Send(with_fields("Transfer-Encoding: chunked\r\n", b"4\r\ngood\r\n")),
                Step::Close,
            ]
        },
        || vec![Step::Send(with_fields("Content-Length: 9\r\n", b"good")), Step::Cut],
        // Without close_notify an attacker could have ended the stream.
        || vec![Step::Send(until_close(b"good")), Step::Cut],
        || vec![Step::Send(b"HTTP/1.1 200 OK\r\nCont".to_vec()), Step::Close],
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let mut stage = Stage::new(at_first(fault));
        stage.fails_once(FetchPhase::Body, Duration::ZERO);
        assert_eq!(stage.seen(), (2, 2), "{number}: bytes had come: it is not repeated");
    }
}

#[test]
fn a_connection_that_ends_before_the_first_byte_is_an_error_if_it_was_new() {
    for end in [Step::Close, Step::Cut] {
        let mut stage = Stage::new(at_first(move || vec![end.clone()]));
        stage.fails_once(FetchPhase::FirstByte, Duration::ZERO);
        assert_eq!(stage.seen(), (2, 2));
    }
}

#[test]
fn what_is_no_response_is_an_error() {
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    for bytes in [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
        with_fields("Content-Length: 4\r\nContent-Length: 5\r\n", b"good"),
        with_fields("Transfer-Encoding: chunked\r\n", b"zz\r\ngood"),
        with_fields(both, b"4\r\ngoodX"),
    ] {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut stage = Stage::new(at_first(move || vec![Step::Send(bytes.clone())]));
        let what = stage.fails_once(FetchPhase::Body, Duration::ZERO);
        assert!(!text.contains(&what), "{what}");
    }
}

#[test]
fn a_response_with_both_lengths_is_not_followed_by_another() {
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let bytes = with_fields(both, b"4\r\ngood\r\n0\r\n\r\n");
    let mut stage = Stage::new(at_first(move || vec![Step::Send(bytes.clone())]));
    // An error, or a response on a connection that is then closed: RFC 9112, section 6.3.
    if let Ok(response) = stage.get() {
        assert_eq!(response.body, b"good");
    }
    assert_eq!(stage.idle(), 0);
    stage.works();
    assert_eq!(stage.seen(), (2, 2));
}

#[test]
fn a_body_of_5_mib_is_refused_at_once() {
    let body = vec![b'x'; 5 << 20];
    let (length, chunked) = (with_length(&body), in_chunks(&body, 65_536));
    for bytes in [length, chunked] {
        let mut stage = Stage::new(at_first(move || vec![Step::Send(bytes.clone())]));
        stage.fails_once(FetchPhase::Body, Duration::ZERO);
    }
}

#[test]
fn bytes_behind_a_response_cost_the_connection_and_not_the_response() {
    let bytes = [with_length(b"good"), with_length(b"evil")].concat();
    let mut stage = Stage::new(at_first(move || vec![Step::Send(bytes.clone())]));
    stage.works();
    stage.until(|stage| stage.idle() == 0);
    stage.works();
    assert_eq!(stage.seen(), (2, 2));
}

#[test]
fn bytes_on_an_idle_connection_close_it() {
    let gate = Gate::default();
    let inner = gate.clone();
    let mut stage = Stage::new(at_first(move || {
        let (response, evil) = (with_length(b"good"), with_length(b"evil"));
        vec![Step::Send(response), Step::Await(inner.clone()), Step::Send(evil)]
    }));
    stage.works();
    assert_eq!(stage.idle(), 1);
    gate.open();
    stage.until(|stage| stage.idle() == 0);
    stage.works();
    assert_eq!(stage.seen(), (2, 2));
}

#[test]
fn a_kept_connection_that_the_peer_closed_is_replaced_silently() {
    for end in [Step::Close, Step::Cut] {
        let mut stage =
            Stage::new(at_first(move || vec![Step::Send(with_length(b"good")), end.clone()]));
        stage.works();
        // This works whether or not the client has noticed the end.
        stage.works();
        assert_eq!(stage.seen(), (2, 2));
    }
}

#[test]
fn a_kept_connection_that_ends_instead_of_answering_is_replaced_once() {
    let mut stage = Stage::new(Script::new(|number| match number {
        1 => vec![Step::Close],
        _ => good(),
    }));
    stage.works();
    stage.works();
    assert_eq!(stage.seen(), (2, 3), "the second request went out again");

    let mut stage =
        Stage::new(Script::new(|number| if number == 0 { good() } else { vec![Step::Close] }));
    stage.works();
    assert_eq!(stage.get().unwrap_err().phase, FetchPhase::FirstByte);
    assert_eq!(stage.seen(), (2, 3), "and not once more");
}

#[test]
fn a_request_is_not_repeated_once_bytes_have_come() {
    let mut stage = Stage::new(Script::new(|number| match number {
        1 => vec![Step::Send(b"H".to_vec()), Step::Close],
        _ => good(),
    }));
    stage.works();
    assert_eq!(stage.get().unwrap_err().phase, FetchPhase::Body);
    assert_eq!(stage.seen(), (1, 2));
    stage.works();
}

#[test]
fn few_handshakes_are_in_progress_and_all_are_answered() {
    let gate = Gate::default();
    let (greet, hold) = (gate.clone(), Gate::default());
    let held = hold.clone();
    let script = Script::new(move |_| [vec![Step::Await(held.clone())], good()].concat());
    let mut stage = Stage::new(script.greeting(move |_| Greeting::TlsBehind(greet.clone())));
    let fetches: Vec<_> = (0..10).map(|_| stage.start("/")).collect();
    stage.until(|stage| stage.fake.connections() == 4);
    stage.pass(50 * MS);
    assert_eq!(stage.fake.connections(), 4, "the others wait");
    gate.open();
    stage.until(|stage| stage.fake.requests() == 10);
    hold.open();
    let timings: Vec<FetchTiming> = fetches
        .into_iter()
        .map(|id| {
            let (outcome, timing) = stage.outcome(id);
            assert_eq!(body(outcome), "good");
            timing
        })
        .collect();
    for timing in &timings {
        let moment = timing.end_of(FetchPhase::Dns);
        assert!(moment.is_some());
        let during = |other: &&FetchTiming| {
            other.end_of(FetchPhase::Dns) <= moment && moment < other.end_of(FetchPhase::Tls)
        };
        assert!(timings.iter().filter(during).count() <= 4, "{timings:?}");
    }
    assert_eq!(stage.fake.connections(), 10);
    assert_eq!(stage.idle(), 8, "more are not kept");
}

#[test]
fn a_cancelled_fetch_has_no_result() {
    let gate = Gate::default();
    let greet = gate.clone();
    let hold = Gate::default();
    let held = hold.clone();
    let script = at_first(move || [vec![Step::Await(held.clone())], good()].concat());
    let mut stage = Stage::new(script.greeting(move |_| Greeting::TlsBehind(greet.clone())));
    let cancel = |stage: &mut Stage, id| {
        let (state, core) = stage.reactor.parts();
        pool::cancel(state, core, id);
    };
    // Cancels at once, during the handshake, and during the exchange.
    let id = stage.start("/");
    cancel(&mut stage, id);
    let id = stage.start("/");
    stage.until(|stage| stage.fake.connections() == 1);
    cancel(&mut stage, id);
    gate.open();
    let id = stage.start("/");
    stage.until(|stage| stage.fake.requests() == 1);
    cancel(&mut stage, id);
    assert_eq!(stage.reactor.state().pool.fetches(), 0);
    hold.open();
    stage.works();
    assert!(stage.reactor.state().fetched.is_empty());
}

#[test]
fn an_unused_connection_is_closed() {
    let limits = HttpPoolLimits { idle: SOON, ..patient() };
    let mut stage = Stage::with(limits, Script::new(|_| good()));
    stage.works();
    assert_eq!(stage.idle(), 1);
    let begun = stage.now();
    stage.until(|stage| stage.idle() == 0 && stage.fake.closed() == 1);
    assert!(stage.now() - begun < SOON + SLACK);
    stage.works();
}

#[test]
fn all_responses_together_have_a_limit() {
    let limits = HttpPoolLimits { all_bytes: 100_000, ..patient() };
    let gate = Gate::default();
    let held = gate.clone();
    let mut stage = Stage::with(
        limits,
        Script::new(move |number| match number {
            0 | 1 => {
                let (first, rest) = (vec![b'x'; 60_000], vec![b'x'; 1]);
                let head = with_fields("Content-Length: 60001\r\n", &first);
                vec![Step::Send(head), Step::Await(held.clone()), Step::Send(rest)]
            }
            _ => good(),
        }),
    );
    let two = [stage.start("/"), stage.start("/")];
    stage.until(|stage| stage.reactor.state().fetched.len() == 1);
    gate.open();
    let outcomes = two.map(|id| stage.outcome(id).0);
    let errors: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(errors.len(), 1, "the other has room");
    assert_eq!(errors[0].phase, FetchPhase::Body);
    assert!(errors[0].what.contains("all responses together exceed"), "{}", errors[0]);
    stage.works();
}

#[test]
fn an_exchange_under_way_is_finished_when_the_reactor_stops() {
    let gate = Gate::default();
    let held = gate.clone();
    let mut stage = Stage::new(Script::new(move |number| match number {
        0 => good(),
        _ => [vec![Step::Await(held.clone())], good()].concat(),
    }));
    stage.works();
    let id = stage.start("/");
    stage.until(|stage| stage.fake.requests() == 2);
    stage.reactor.parts().1.stop();
    stage.turn();
    gate.open();
    assert_eq!(body(stage.outcome(id).0), "good");
    stage.until(|stage| stage.reactor.is_stopped());
}

#[test]
fn a_connection_has_one_timer_however_often_it_is_used() {
    let limits =
        HttpPoolLimits { first_byte: PATIENCE / 2, between_bytes: PATIENCE / 4, ..patient() };
    let mut stage = Stage::with(limits, Script::new(|_| good()));
    stage.works();
    let timers = stage.reactor.parts().1.timers_pending();
    for _ in 0..20 {
        stage.works();
    }
    assert_eq!(stage.seen(), (1, 21));
    let now = stage.reactor.parts().1.timers_pending();
    assert!(now <= timers, "{now}, and {timers} after the first");
}

#[test]
fn a_request_is_not_repeated_because_the_server_is_slow() {
    let limits = HttpPoolLimits { first_byte: SOON, ..patient() };
    let slow = Script::new(|number| if number == 1 { vec![Step::Silence] } else { good() });
    let mut stage = Stage::with(limits, slow);
    stage.works();
    stage.fails_once(FetchPhase::FirstByte, SOON);
    assert_eq!(stage.seen(), (2, 3), "nobody asked twice");
}

#[test]
fn a_fetch_that_waits_for_a_kept_connection_fails_at_once_when_the_reactor_stops() {
    let mut stage =
        Stage::new(Script::new(|number| if number == 0 { good() } else { vec![Step::Silence] }));
    stage.works();
    let id = stage.start("/");
    stage.until(|stage| stage.fake.requests() == 2);
    stage.reactor.parts().1.stop();
    stage.reactor.parts().1.stop();
    stage.until(|stage| stage.reactor.is_stopped());
    assert_eq!(stage.outcome(id).0.unwrap_err().phase, FetchPhase::FirstByte);
}

#[test]
fn a_fetch_without_a_connection_fails_when_the_reactor_stops() {
    let limits = HttpPoolLimits { handshakes: 1, ..patient() };
    let mut stage = Stage::with(limits, Script::new(|_| good()).greeting(|_| Greeting::Silence));
    let fetches = [stage.start("/1"), stage.start("/2"), stage.start("/3"), stage.start("/4")];
    stage.until(|stage| stage.fake.connections() == 1);
    stage.reactor.parts().1.stop();
    let late = stage.start("/5");
    stage.until(|stage| stage.reactor.is_stopped());
    let phases = fetches.map(|id| stage.outcome(id).0.unwrap_err().phase);
    assert_eq!(
        phases,
        [FetchPhase::Tls, FetchPhase::Connect, FetchPhase::Connect, FetchPhase::Connect]
    );
    let error = stage.outcome(late).0.unwrap_err();
    assert_eq!(error.what, "the server is stopping");
    assert_eq!(stage.fake.connections(), 1, "nothing new is begun");
    assert_eq!(stage.reactor.state().pool.fetches(), 0);
}

#[test]
fn a_fetch_that_waits_for_a_name_fails_when_the_reactor_stops() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut stage = Stage::new(Script::new(|_| good()));
    let none = PathBuf::from("/nonexistent");
    let servers = vec![silent.local_addr().unwrap()];
    let options = DnsOptions { servers, hosts: none, total: PATIENCE, ..Default::default() };
    stage.reactor.state().dns = DnsClient::new(options);
    stage.host = "places.example";
    let id = stage.start("/");
    stage.turn();
    stage.reactor.parts().1.stop();
    stage.turn();
    assert_eq!(stage.outcome(id).0.unwrap_err().phase, FetchPhase::Dns);
}

#[test]
fn a_handshake_of_a_cancelled_fetch_has_a_timeout() {
    let limits = HttpPoolLimits { tls: SOON, ..patient() };
    let mut stage = Stage::with(limits, Script::new(|_| good()).greeting(|_| Greeting::Silence));
    let id = stage.start("/");
    stage.until(|stage| format!("{:?}", stage.reactor.state().pool).contains("Securing"));
    let (state, core) = stage.reactor.parts();
    pool::cancel(state, core, id);
    stage.until(|stage| stage.reactor.parts().1.connections() == 0);
    assert!(stage.reactor.state().fetched.is_empty());
}

#[test]
fn a_handshake_of_a_cancelled_fetch_counts_as_in_progress() {
    let limits = HttpPoolLimits { handshakes: 1, ..patient() };
    let gate = Gate::default();
    let greet = gate.clone();
    let script = Script::new(|_| good()).greeting(move |_| Greeting::TlsBehind(greet.clone()));
    let mut stage = Stage::with(limits, script);
    let unwanted = stage.start("/");
    stage.until(|stage| stage.fake.connections() == 1);
    let (state, core) = stage.reactor.parts();
    pool::cancel(state, core, unwanted);
    let id = stage.start("/");
    stage.pass(50 * MS);
    assert_eq!(stage.fake.connections(), 1, "the next one waits for it");
    gate.open();
    assert_eq!(body(stage.outcome(id).0), "good");
    assert_eq!(stage.seen(), (1, 1), "and goes over it");
    assert_eq!(stage.idle(), 1);
}

#[test]
fn a_failed_handshake_of_a_cancelled_fetch_makes_room_for_the_next() {
    let limits = HttpPoolLimits { handshakes: 1, tls: SOON, ..patient() };
    let greet = |number| if number == 0 { Greeting::Silence } else { Greeting::Tls };
    let mut stage = Stage::with(limits, Script::new(|_| good()).greeting(greet));
    let unwanted = stage.start("/");
    stage.until(|stage| stage.fake.connections() == 1);
    let (state, core) = stage.reactor.parts();
    pool::cancel(state, core, unwanted);
    stage.works();
    assert_eq!(stage.seen(), (2, 1));
}

#[test]
fn a_connection_of_a_cancelled_fetch_is_kept_only_if_there_is_room() {
    let limits = HttpPoolLimits { idle_connections: 0, ..patient() };
    let gate = Gate::default();
    let greet = gate.clone();
    let script = Script::new(|_| good()).greeting(move |_| Greeting::TlsBehind(greet.clone()));
    let mut stage = Stage::with(limits, script);
    let id = stage.start("/");
    stage.until(|stage| stage.fake.connections() == 1);
    let (state, core) = stage.reactor.parts();
    pool::cancel(state, core, id);
    gate.open();
    stage.until(|stage| {
        assert_eq!(stage.idle(), 0);
        stage.reactor.parts().1.connections() == 0
    });
    stage.works();
}

#[test]
fn what_came_before_a_bad_record_in_one_piece_is_a_response() {
    let fault = || vec![Step::SendWithBadRecord(with_length(b"good")), Step::Silence];
    let mut stage = Stage::new(at_first(fault));
    stage.works();
    stage.until(|stage| stage.idle() == 0);
    stage.works();
    assert_eq!(stage.seen(), (2, 2));
}

#[test]
fn a_bad_record_behind_a_part_of_a_response_is_an_error() {
    let part = with_fields("Content-Length: 9\r\n", b"good");
    let fault = move || vec![Step::SendWithBadRecord(part.clone()), Step::Silence];
    let mut stage = Stage::new(at_first(fault));
    stage.fails_once(FetchPhase::Body, Duration::ZERO);
    assert_eq!(stage.seen(), (2, 2));
}

#[test]
fn a_kept_connection_that_the_peer_cuts_is_no_matter_for_the_log() {
    for end in [Step::Close, Step::Cut] {
        let cut = move || vec![Step::Send(with_length(b"good")), end.clone()];
        let mut stage = Stage::new(at_first(cut));
        let logged = Logged::here();
        stage.works();
        stage.until(|stage| stage.idle() == 0);
        stage.until(|stage| stage.reactor.parts().1.connections() == 0);
        assert_eq!(logged.above(log::Level::Debug), [""; 0]);
    }
}

#[test]
fn a_host_that_no_certificate_can_name_is_an_error() {
    let mut stage = Stage::new(Script::new(|_| good()));
    stage.host = "a-.localhost";
    assert_eq!(stage.get().unwrap_err().phase, FetchPhase::Tls);
    stage.host = "localhost";
    stage.works();
}

#[test]
fn a_waiting_fetch_uses_the_connection_that_becomes_free() {
    let limits = HttpPoolLimits { handshakes: 1, ..patient() };
    let greet = |number| if number == 0 { Greeting::Tls } else { Greeting::Silence };
    let mut stage = Stage::with(limits, Script::new(|_| good()).greeting(greet));
    for _ in 0..10 {
        stage.start("/");
    }
    // One fetch may have begun a second handshake, which is never finished.
    stage.until(|stage| stage.reactor.state().fetched.len() >= 9);
    assert!(stage.fake.connections() <= 2, "{:?}", stage.seen());
}

#[test]
fn a_key_is_never_shown() {
    const KEY: &str = "canary";
    let gate = Gate::default();
    let held = gate.clone();
    let mut stage =
        Stage::new(Script::new(move |_| [vec![Step::Await(held.clone())], good()].concat()));
    let port = Some(stage.fake.address().port());
    let request =
        Request::new(Method::Get, "127.0.0.1", port, "/places?key=canary", Vec::new()).unwrap();
    let request = request.header("X-Goog-Api-Key", KEY).unwrap();
    let id = stage.send(request.clone());
    stage.until(|stage| {
        let shown = format!("{:?}", stage.reactor);
        assert!(shown.contains("/places") && !shown.contains(KEY), "{shown}");
        stage.fake.requests() == 1
    });
    gate.open();
    assert_eq!(body(stage.outcome(id).0), "good");
    // The next request is posted to the connection, and a posted message is not printed.
    stage.send(request);
    let shown = format!("{:?}", stage.reactor);
    assert!(!shown.contains(KEY), "{shown}");
}
