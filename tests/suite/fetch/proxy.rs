//! Fetches through a proxy by CONNECT: real sockets, with a proxy and the fake Google as the origin in threads.
//!
//! The proxy treats its n-th connection according to the n-th line of its script. Every wait has a deadline, and is
//! for an event.

use crate::support::fake_google::{Authority, FakeGoogle, Script, Step, with_length};
use crate::support::logged::Logged;
use herd_reactor::{Core, MioIo, Reactor, ReactorLimits, Shared};
use places_herd::fetch::pool::{
    self, FetchError, FetchId, FetchPhase, FetchTiming, Fetching, HttpPool, HttpPoolLimits, Origin,
    PendingRequest,
};
use places_herd::fetch::roots;
use places_herd::http::{HttpLimits, Method, ProxyUrl, Request, Response};
use places_herd::log::secret::Secret;
use places_herd::net::dns::{self, DnsClient, DnsError, DnsOptions, LookupId, Resolving};
use rustix::io::retry_on_intr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Timeout for every wait of a test or of its threads.
const PATIENCE: Duration = Duration::from_secs(20);

const KEY: &str = "CANARY-key";
const NAME: &str = "places.test";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("proxy"));

// The proxy and the origin.

/// What the proxy does with one connection once it has read the head of a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Connects; its response comes byte by byte.
    Connects,
    /// Sends this and nothing more; reads until the peer closes.
    Says(&'static str),
    /// Sends this, and closes.
    Closes(&'static str),
}

/// Reads up to the end of a head.
fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reports all bytes from clients: heads, and the tunnelled traffic.
fn start_proxy(script: Vec<Does>, origin: SocketAddr) -> (u16, Receiver<Vec<u8>>) {
    let (listener, address) = listen();
    let (heard, hears) = channel();
    thread::spawn(move || {
        for does in script {
            let client = limited(listener.accept().unwrap().0);
            let heard = heard.clone();
            // An error here means that the peer has closed, which the test sees from its own side.
            thread::spawn(move || serve_proxy(client, does, origin, &heard));
        }
    });
    (address.port(), hears)
}

fn serve_proxy(
    mut client: TcpStream,
    does: Does,
    origin: SocketAddr,
    heard: &Sender<Vec<u8>>,
) -> io::Result<()> {
    let head = read_head(&mut client)?;
    let _ = heard.send(head.into_bytes());
    match does {
        Does::Closes(answer) => client.write_all(answer.as_bytes()),
        Does::Says(answer) => {
            client.write_all(answer.as_bytes())?;
            io::copy(&mut client, &mut io::sink()).map(drop)
        }
        Does::Connects => {
            let mut server = limited(TcpStream::connect(origin)?);
            for byte in b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n" {
                client.write_all(&[*byte])?;
            }
            let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let mut bytes = [0; 4096];
            loop {
                // With a timeout, the kernel does not restart an interrupted call.
                let count = retry_on_intr(|| rustix::io::read(&client, &mut bytes))?;
                if count == 0 {
                    return server.shutdown(Shutdown::Both);
                }
                let _ = heard.send(bytes[..count].to_vec());
                server.write_all(&bytes[..count])?;
            }
        }
    }
}

/// Answers each request with `found`, and reports its head.
fn start_origin() -> (FakeGoogle, Receiver<String>) {
    let (heard, hears) = channel();
    let script = Script::answering(move |asked| {
        let _ = heard.send(String::from_utf8(asked.request.to_vec()).unwrap());
        vec![Step::Send(with_length(b"found"))]
    });
    (FakeGoogle::new(&AUTHORITY, script), hears)
}

// The client.

type Outcome = (FetchId, Result<Response, FetchError>, FetchTiming);

#[derive(Debug)]
struct Asker {
    client: DnsClient,
    pool: HttpPool,
    outcomes: Vec<Outcome>,
}

impl Shared for Asker {
    type Message = PendingRequest;

    fn before_poll(
        &mut self,
        core: &mut Core<Asker>,
        _: &herd_reactor::TurnCounts,
    ) -> std::io::Result<()> {
        pool::before_poll(self, core);
        Ok(())
    }
}

impl Resolving for Asker {
    fn dns(&mut self) -> &mut DnsClient {
        &mut self.client
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
        outcome: Result<Response, FetchError>,
        timing: FetchTiming,
    ) {
        self.outcomes.push((fetch, outcome, timing));
    }
}

struct Stage {
    reactor: Reactor<MioIo, Asker>,
    folder: PathBuf,
    /// The address of a name server that must not be asked.
    name_server: UdpSocket,
    proxy: Receiver<Vec<u8>>,
    port: u16,
    origin: Receiver<String>,
    logged: Logged,
    _fake: FakeGoogle,
}

impl Stage {
    fn new(test: &str, script: &[Does]) -> Stage {
        Stage::limited(test, script, PATIENCE, None)
    }

    fn limited(test: &str, script: &[Does], connect: Duration, credentials: Option<&str>) -> Stage {
        let logged = Logged::here();
        let (fake, origin) = start_origin();
        let (port, proxy) = start_proxy(script.to_vec(), fake.address());
        let folder = std::env::temp_dir().join(format!("herd-proxy-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        AUTHORITY.write_pem(&folder.join("ca.pem")).unwrap();
        fs::write(folder.join("hosts"), "127.0.0.1 proxy.example\n").unwrap();
        let name_server = UdpSocket::bind("127.0.0.1:0").unwrap();
        name_server.set_nonblocking(true).unwrap();
        let client = DnsClient::new(dns::DnsOptions {
            servers: vec![name_server.local_addr().unwrap()],
            hosts: folder.join("hosts"),
            ..DnsOptions::default()
        });
        let limits = HttpPoolLimits {
            handshakes: 1,
            idle_connections: 4,
            connect,
            tls: PATIENCE,
            first_byte: PATIENCE,
            between_bytes: PATIENCE,
            idle: PATIENCE,
            http: HttpLimits::default(),
            all_bytes: 1 << 20,
        };
        let credentials = credentials.map(|text| Secret::new(text).unwrap());
        let through = ProxyUrl { host: "proxy.example".to_owned(), port, credentials };
        let pool =
            HttpPool::new(roots::client_config(Some(&folder.join("ca.pem"))).unwrap(), limits)
                .with_proxy(Some(through));
        let asker = Asker { client, pool, outcomes: Vec::new() };
        let reactor = Reactor::new(MioIo::new(&[]).unwrap(), asker, ReactorLimits::default());
        Stage { reactor, folder, name_server, proxy, port, origin, logged, _fake: fake }
    }

    fn begin(&mut self, origin: Origin) -> FetchId {
        let request =
            Request::new(Method::Get, &origin.host, None, "/found?x=1", Vec::new()).unwrap();
        let request = request.header("X-Goog-Api-Key", KEY).unwrap();
        let (state, core) = self.reactor.parts();
        pool::fetch(state, core, origin, request)
    }

    /// Runs turns until there is an outcome.
    #[track_caller]
    fn outcome(&mut self) -> Outcome {
        let deadline = self.reactor.parts().1.now() + PATIENCE;
        loop {
            let (state, core) = self.reactor.parts();
            if let Some(outcome) = state.outcomes.pop() {
                return outcome;
            }
            assert!(core.now() < deadline, "never: {:?}", state.pool);
            let wake = core.call_later(Duration::from_millis(5), |_, _| {});
            self.reactor.turn().unwrap();
            let _ = self.reactor.parts().1.cancel(wake);
        }
    }

    #[track_caller]
    fn fetch(&mut self) -> (Result<Response, FetchError>, FetchTiming) {
        let id = self.begin(Origin { secure: true, host: NAME.to_owned(), port: 443 });
        let (its, outcome, timing) = self.outcome();
        assert_eq!(its, id);
        (outcome, timing)
    }

    #[track_caller]
    fn fails(&mut self, phase: FetchPhase) -> String {
        let failure = self.fetch().0.unwrap_err();
        assert_eq!(
            (failure.phase, failure.by_proxy),
            (phase, phase == FetchPhase::Connect),
            "{failure}"
        );
        let named = format!("the proxy proxy.example:{}: ", self.port);
        assert_eq!(failure.what.starts_with(&named), failure.by_proxy, "{failure}");
        failure.what.replacen(&named, "the proxy: ", 1)
    }

    #[track_caller]
    fn works(&mut self) {
        let response = self.fetch().0.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"found"[..]));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_proxy_sees_a_connect_and_the_origin_the_key() {
    let mut stage = Stage::new("connect", &[Does::Connects]);
    let (response, timing) = stage.fetch();
    assert_eq!(response.unwrap().body, b"found");
    let connected = timing.end_of(FetchPhase::Connect);
    assert!(timing.end_of(FetchPhase::Dns) <= connected && connected.is_some());
    assert!(connected <= timing.end_of(FetchPhase::Tls));
    // The connection is kept, and there is no other.
    stage.works();
    assert_eq!(stage.reactor.state().pool.idle_connections(), 1);
    for _ in 0..2 {
        let head = stage.origin.recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with("GET /found?x=1 HTTP/1.1\r\nHost: places.test\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nX-Goog-Api-Key: {KEY}\r\n")), "{head}");
    }
    let seen: Vec<Vec<u8>> = stage.proxy.try_iter().collect();
    let head = String::from_utf8(seen[0].clone()).unwrap();
    assert!(head.starts_with("CONNECT places.test:443 HTTP/1.1\r\nHost: places.test:443\r\n"));
    assert!(!head.contains("Proxy-Authorization"), "{head}");
    let seen = String::from_utf8_lossy(&seen.concat()).into_owned();
    assert_eq!(seen.matches("CONNECT").count(), 1);
    assert!(!seen.contains(KEY) && !seen.contains("/found"));
    // Only the proxy's name was looked up, and that is in the hosts file.
    assert_eq!(
        stage.name_server.recv(&mut [0; 512]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[test]
fn whatever_a_proxy_answers_the_next_fetch_works() {
    const TABLE: [(Does, FetchPhase, &str); 11] = [
        (
            Does::Says("HTTP/1.1 407 CANARY\r\nContent-Length: 9999\r\n\r\nCANARY"),
            FetchPhase::Connect,
            "the proxy: it answered 407",
        ),
        (
            Does::Closes("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>"),
            FetchPhase::Connect,
            "the proxy: it answered 502",
        ),
        (
            Does::Says("HTTP/1.1 503 No\r\nContent-Length: 99999999999\r\n\r\n"),
            FetchPhase::Connect,
            "the proxy: it answered 503",
        ),
        (
            Does::Says("HTTP/1.1 302 Go\r\nLocation: http://CANARY/\r\n\r\n"),
            FetchPhase::Connect,
            "the proxy: it answered 302",
        ),
        (
            Does::Says("CANARY\r\n\r\n"),
            FetchPhase::Connect,
            "the proxy: the peer sent a malformed ",
        ),
        (
            Does::Says("HTTP/1.1 200 OK\r\n\r\nCANARY"),
            FetchPhase::Connect,
            "the proxy: it sent bytes after its response",
        ),
        (
            Does::Says("HTTP/1.1 101 CANARY\r\n\r\n"),
            FetchPhase::Connect,
            "the proxy: the peer switched protocols",
        ),
        (
            Does::Closes(""),
            FetchPhase::Connect,
            "the proxy: the peer closed the connection without",
        ),
        (
            Does::Closes("HTTP/1.1 20"),
            FetchPhase::Connect,
            "the proxy: the peer closed the connection before the end of the head",
        ),
        // The end of the stream and our ClientHello cross; the kernel decides which is noticed first.
        (Does::Closes("HTTP/1.1 200 OK\r\n\r\n"), FetchPhase::Tls, ""),
        (Does::Closes("HTTP/1.1 204 OK\r\n\r\n"), FetchPhase::Tls, ""),
    ];
    for (number, (does, phase, what)) in TABLE.into_iter().enumerate() {
        let mut stage = Stage::new(&format!("table-{number}"), &[does, Does::Connects]);
        let why = stage.fails(phase);
        assert!(why.starts_with(what) && !why.contains("CANARY"), "{does:?}: {why}");
        stage.works();
        assert_eq!(stage.origin.try_iter().count(), 1, "{does:?}");
    }
}

#[test]
fn a_silent_proxy_is_waited_for_as_long_as_a_connection() {
    for said in ["", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"] {
        let script = [Does::Says(said), Does::Connects];
        let patience = Duration::from_millis(300);
        let mut stage = Stage::limited("silence", &script, patience, None);
        let why = stage.fails(FetchPhase::Connect);
        assert_eq!(why, "the proxy: timed out: the answer to CONNECT");
        stage.works();
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named_as_such() {
    let mut stage = Stage::new("gone", &[]);
    // The listener ends with the thread, whose script is empty.
    assert!(stage.proxy.recv_timeout(PATIENCE).is_err());
    let why = stage.fails(FetchPhase::Connect);
    assert!(why.starts_with("the proxy: "), "{why}");
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let script = [Does::Says("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"), Does::Connects];
    let mut stage = Stage::limited("credentials", &script, PATIENCE, Some("me:p4ssw0rd"));
    let encoded = "bWU6cDRzc3cwcmQ=";
    let mut shown = stage.fails(FetchPhase::Connect);
    let id = stage.begin(Origin { secure: true, host: NAME.to_owned(), port: 443 });
    shown += &format!("{:?}", stage.reactor.state());
    let (its, outcome, _) = stage.outcome();
    assert_eq!((its, outcome.unwrap().status), (id, 200));
    let heads: Vec<Vec<u8>> = stage.proxy.try_iter().collect();
    let heads = String::from_utf8_lossy(&heads.concat()).into_owned();
    let line = format!("\r\nProxy-Authorization: Basic {encoded}\r\n");
    assert_eq!(heads.matches(&line).count(), 2, "{heads}");
    assert!(!stage.origin.recv_timeout(PATIENCE).unwrap().contains("Proxy-Authorization"));
    shown += &format!("{:?}", stage.reactor.state());
    shown += &stage.logged.text();
    for secret in ["p4ssw0rd", encoded, KEY] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn an_origin_without_tls_is_reached_without_the_proxy() {
    let mut stage = Stage::new("plain", &[Does::Connects]);
    let (listener, address) = listen();
    let origin = thread::spawn(move || {
        let mut client = limited(listener.accept().unwrap().0);
        let head = read_head(&mut client).unwrap();
        client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        head
    });
    stage.begin(Origin { secure: false, host: "127.0.0.1".to_owned(), port: address.port() });
    assert_eq!(stage.outcome().1.unwrap().status, 204);
    assert!(origin.join().unwrap().starts_with("GET /found"));
    assert!(stage.proxy.try_recv().is_err());
}

#[test]
fn a_fetch_that_is_cancelled_leaves_the_proxy() {
    let mut stage = Stage::new("cancelled", &[Does::Says(""), Does::Connects]);
    let id = stage.begin(Origin { secure: true, host: NAME.to_owned(), port: 443 });
    let mut turns = 0;
    while stage.proxy.try_recv().is_err() {
        turns += 1;
        assert!(turns < 4_000, "no CONNECT");
        let core = stage.reactor.parts().1;
        let _ = core.call_later(Duration::from_millis(5), |_, _| {});
        stage.reactor.turn().unwrap();
    }
    let (state, core) = stage.reactor.parts();
    pool::cancel(state, core, id);
    stage.works();
    let (state, core) = stage.reactor.parts();
    assert_eq!(
        (state.pool.fetches(), state.pool.idle_connections(), core.connections()),
        (0, 1, 1)
    );
}
