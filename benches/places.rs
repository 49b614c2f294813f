//! Measures WHATSAT with places from a TLS service, from outside: over a kept connection, over a new connection each
//! time, and its effect on the latency of IAMATs. Run `cargo bench --bench places`; it takes less than a minute. The
//! figures are for people to read; they are not a test.
//!
//! The server is the real program with the log off. The service is the tests' fake Google on loopback TLS, in this
//! process, with a thread for each connection; it sends 20 places in 24 KiB. Its time is part of each figure. The first
//! figures need no sockets: they are the time to read one reply, in this process.
//!
//! Latencies are measured with everything on core 1, as in `herd.rs`. In the open loop the server has core 0 and
//! everything else core 1. There each request has a planned time, and its latency counts from that time and not from
//! its send. Each pair has one half with slow WHATSATs and one without, so that other load on this machine affects
//! both. All threads on core 1 have nice 19 except those that send and time the IAMATs: the service encrypts 24 KiB for
//! each WHATSAT, and time spent waiting for it would count as the server's. The report also says how late the IAMATs
//! were sent; that part of a latency is not the server's.

#[path = "../tests/support/fake_google/mod.rs"]
mod fake_google;
#[path = "../tests/support/ports.rs"]
mod ports;
mod support;

use fake_google::{Authority, FakeGoogle, Script, Step, with_fields};
use places_herd::log::secret::Secret;
use places_herd::places::{BaseUrl, Google, GoogleLegacy, Mask, Query, Rank, Reply, Source};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};
use support::{ask, connect, cores, cpu_model, free_port, pin, read_reply};

/// The number of places in a reply.
const PLACES: usize = 20;
/// The approximate length of a reply.
const BODY_BYTES: usize = 24 * 1024;

/// The rate of IAMATs in the open loop.
const IAMATS_PER_SECOND: u32 = 20_000;
/// The number of connections that send IAMATs.
const IAMAT_CONNECTIONS: usize = 8;

/// The rate of the slow WHATSATs.
const WHATSATS_PER_SECOND: u32 = 200;
/// The number of connections that send WHATSATs.
const WHATSAT_CONNECTIONS: usize = 8;
/// How long the service waits before it answers a slow WHATSAT.
const THINKING: Duration = Duration::from_millis(300);

/// The duration of one half of a pair.
const HALF: Duration = Duration::from_millis(2_500);
/// The number of pairs.
const PAIRS: usize = 5;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("the benchmark"));

fn main() {
    // `cargo bench` passes --bench. `cargo test --benches` does not; it only needs this to start.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("machine: {} cores, {}, load {}", cores(), cpu_model(), load.trim_end());
    pin(std::process::id(), 1);
    println!("{:<46} {:>9} {:>9} {:>9}", "", "p50 us", "p99 us", "count");
    reading();
    one_at_a_time("WHATSAT, kept connection", "", 3_000, |connections, resumed, count| {
        assert!(connections <= 2 && resumed <= 1, "{connections} connections for {count}");
    });
    one_at_a_time(
        "WHATSAT, new connection each, session resumed",
        "Connection: close\r\n",
        500,
        |made, resumed, count| {
            assert!(
                made >= count && resumed + 1 >= made,
                "{resumed} of {made} resumed for {count}"
            );
        },
    );
    open_loop();
}

/// Measures reading one reply of a service, and writing the text that a client gets.
fn reading() {
    let key = Secret::new("AIzaBENCH-0123456789_abcdefghijklmnopqr").expect("a key");
    let base = |url: &str| url.parse::<BaseUrl>().expect("a URL");
    let google = Google {
        base: base("https://places.googleapis.com"),
        key: key.clone(),
        mask: Mask::Full,
        rank: Rank::Prominence,
        language: None,
    };
    let legacy = GoogleLegacy { base: base("https://maps.googleapis.com"), key, language: None };
    let body = body().into_bytes();
    let told = answered(&mut google.clone(), &body);
    row_of_readings("reading a reply of google, 24 KiB", google, &body);
    row_of_readings("reading a reply of google-legacy, as long as told", legacy, &told);
}

fn row_of_readings(name: &str, mut source: impl Source, body: &[u8]) {
    let mut taken = Vec::new();
    for _ in 0..3_000 {
        let start = Instant::now();
        let text = answered(&mut source, body);
        taken.push(start.elapsed());
        assert!(text.ends_with(b"\"status\" : \"OK\"\n}"));
    }
    row(name, &mut taken);
}

fn answered(source: &mut impl Source, body: &[u8]) -> Vec<u8> {
    let query = Query {
        latitude: 34.0,
        longitude: -118.4,
        latitude_text: b"+34.0".to_vec(),
        longitude_text: b"-118.4".to_vec(),
        radius_m: 10_000.0,
        radius_text: b"10".to_vec(),
    };
    let reply = Reply {
        status: 200,
        content_type: Some(b"application/json; charset=UTF-8"),
        content_encoding: None,
        retry_after: None,
        date: None,
        body,
    };
    let mut text = Vec::new();
    source.read(&query, reply).answer.write(PLACES, &mut text);
    text
}

/// Measures one WHATSAT after the other. `header`: added to the service's replies. `check` gets three counts:
/// connections, connections that resumed a TLS session, and WHATSATs.
fn one_at_a_time(name: &str, header: &str, times: usize, check: impl Fn(usize, usize, usize)) {
    let service = service(Duration::ZERO, header);
    let server = Server::start(service.address(), 1);
    let mut stream = server.connect();
    ask(&mut stream, b"IAMAT kiwi +34.068930-118.445127 17\n");
    let mut taken = Vec::new();
    for i in 0..times + times / 10 {
        let start = Instant::now();
        stream.write_all(b"WHATSAT kiwi 10 20\n").expect("sent");
        let reply = read_reply(&mut stream);
        // The first requests are a warm-up, and do not count.
        if i >= times / 10 {
            taken.push(start.elapsed());
        }
        assert!(reply.starts_with(b"AT Alford ") && reply.ends_with(b"\"OK\"\n}\n\n"));
        assert!(reply.len() > BODY_BYTES / 2, "{} bytes", reply.len());
    }
    check(service.connections(), service.resumed(), times);
    row(name, &mut taken);
}

/// Measures IAMATs in an open loop, with and without slow WHATSATs at the same time.
fn open_loop() {
    // A new thread inherits the nice value.
    let service = thread::spawn(|| {
        step_back();
        service(THINKING, "")
    });
    let service = service.join().expect("a service");
    let server = Server::start(service.address(), 0);
    let mut ratios = Vec::new();
    for pair in 1..=PAIRS {
        // The halves take turns to be first, so that neither always follows the other.
        let mut halves =
            [pair % 2 == 0, pair % 2 != 0].map(|is_asked| (is_asked, half(&server, is_asked)));
        halves.sort_by_key(|(is_asked, _)| *is_asked);
        let [without, with] = halves.map(|(is_asked, (mut taken, mut late))| {
            let name = if is_asked { "with" } else { "without" };
            row(&format!("IAMAT, 20,000/s, pair {pair}, {name} 200 WHATSAT/s"), &mut taken);
            row("    of which they were sent late", &mut late);
            percentile(&taken, 0.99)
        });
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "p99 of IAMAT with WHATSATs, by that without: median {:.2}, of {ratios:.2?}",
        ratios[PAIRS / 2]
    );
}

/// Runs one half. Returns the latencies of the IAMATs, from their planned times, and how late each was sent.
fn half(server: &Server, is_asked: bool) -> (Vec<Duration>, Vec<Duration>) {
    let asking = is_asked.then(|| ask_slowly(server));
    // The server makes its connections to the service before the measurement begins.
    thread::sleep(THINKING * 2);
    let streams: Vec<TcpStream> = (0..IAMAT_CONNECTIONS).map(|_| server.connect()).collect();
    let start = Instant::now() + Duration::from_millis(20);
    let total = (HALF.as_secs_f64() * f64::from(IAMATS_PER_SECOND)) as usize;
    let planned =
        move |line: usize| start + Duration::from_secs(1) * line as u32 / IAMATS_PER_SECOND;
    let readers: Vec<_> = streams
        .iter()
        .enumerate()
        .map(|(connection, stream)| {
            let mut stream = stream.try_clone().expect("a clone");
            thread::spawn(move || {
                let (mut taken, mut line) = (Vec::new(), connection);
                let mut bytes = [0; 65_536];
                while line < total {
                    let count = stream.read(&mut bytes).expect("replies");
                    assert!(count > 0, "the server closed");
                    let now = Instant::now();
                    for _ in bytes[..count].iter().filter(|byte| **byte == b'\n') {
                        taken.push(now.saturating_duration_since(planned(line)));
                        line += IAMAT_CONNECTIONS;
                    }
                }
                taken
            })
        })
        .collect();
    let late = send_planned(streams, total, planned);
    let taken: Vec<Duration> =
        readers.into_iter().flat_map(|reader| reader.join().expect("all replies came")).collect();
    assert_eq!(taken.len(), total);
    if let Some(asking) = asking {
        let answered: usize =
            asking.into_iter().map(|asking| asking.join().expect("answered")).sum();
        assert!(answered >= (HALF.as_secs_f64() * f64::from(WHATSATS_PER_SECOND)) as usize);
    }
    (taken, late)
}

/// Sends each line at its planned time: sends all that are due, then sleeps for a moment. Returns how late each was.
fn send_planned(
    mut streams: Vec<TcpStream>,
    total: usize,
    planned: impl Fn(usize) -> Instant,
) -> Vec<Duration> {
    let mut late = Vec::with_capacity(total);
    let mut texts = vec![Vec::new(); streams.len()];
    let mut line = 0;
    while line < total {
        let now = Instant::now();
        while line < total && planned(line) <= now {
            let text = &mut texts[line % IAMAT_CONNECTIONS];
            let _ = writeln!(text, "IAMAT c{} +34.068930-118.445127 {line}.5", line % 1_000);
            late.push(now - planned(line));
            line += 1;
        }
        for (stream, text) in
            streams.iter_mut().zip(&mut texts).filter(|(_, text)| !text.is_empty())
        {
            stream.write_all(text).expect("sent");
            text.clear();
        }
        thread::sleep(Duration::from_micros(200));
    }
    late
}

/// Gives this thread, and the threads that it starts, the lowest priority.
fn step_back() {
    let _ = rustix::process::nice(19);
}

/// Sends slow WHATSATs at planned times for the duration of a half, for changing clients, over several connections. The
/// threads return how many were answered.
fn ask_slowly(server: &Server) -> Vec<thread::JoinHandle<usize>> {
    let time = HALF + THINKING * 2;
    let total =
        (time.as_secs_f64() * f64::from(WHATSATS_PER_SECOND)) as usize / WHATSAT_CONNECTIONS;
    let gap = Duration::from_secs(1) * WHATSAT_CONNECTIONS as u32 / WHATSATS_PER_SECOND;
    (0..WHATSAT_CONNECTIONS)
        .flat_map(|connection| {
            let mut stream = server.connect();
            // Enough clients that no two requests in flight are about the same one.
            for place in 0..20 {
                let line = format!("IAMAT w{connection}.{place} +{place}.{connection}-118.4 17\n");
                ask(&mut stream, line.as_bytes());
            }
            let mut replies =
                BufReader::with_capacity(1 << 16, stream.try_clone().expect("a clone"));
            let sending = thread::spawn(move || {
                step_back();
                let start = Instant::now() + gap * connection as u32 / WHATSAT_CONNECTIONS as u32;
                for number in 0..total {
                    let due = start + gap * number as u32;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let line = format!("WHATSAT w{connection}.{} 10 20\n", number % 20);
                    stream.write_all(line.as_bytes()).expect("sent");
                }
                0
            });
            let receiving = thread::spawn(move || {
                step_back();
                let (mut line, mut answered, mut good) = (String::new(), 0, 0);
                while answered < total {
                    line.clear();
                    assert!(
                        replies.read_line(&mut line).expect("replies") > 0,
                        "the server closed"
                    );
                    good += usize::from(line == "   \"status\" : \"OK\"\n");
                    answered += usize::from(line == "\n");
                }
                assert_eq!(good, answered, "every reply has places");
                answered
            });
            [sending, receiving]
        })
        .collect()
}

/// A fake Google on TLS that waits for `thinking` before each answer.
fn service(thinking: Duration, header: &str) -> FakeGoogle {
    let response = with_fields(
        &format!(
            "{header}Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n",
            body().len()
        ),
        body().as_bytes(),
    );
    let script = Script::new(move |_| {
        let pause = (!thinking.is_zero()).then_some(Step::Pause(thinking));
        pause.into_iter().chain([Step::Send(response.clone())]).collect()
    });
    FakeGoogle::new(&AUTHORITY, script)
}

/// A reply with all fields of the full mask, in Google's layout.
fn body() -> String {
    let mut places = Vec::new();
    for number in 0..PLACES {
        let mut place = String::new();
        let _ = write!(
            place,
            r##"    {{
      "id": "ChIJ{number:04}tQDz4uwokRCq3y3mP1Yqs",
      "types": [
        "coffee_shop",
        "cafe",
        "food_store",
        "store",
        "food",
        "point_of_interest",
        "establishment"
      ],
      "plusCode": {{
        "globalCode": "85633H{number:02}+H{number:02}",
        "compoundCode": "3H{number:02}+H{number:02} Westwood, Los Angeles, CA, USA"
      }},
      "location": {{
        "latitude": 34.0689{number:02}1,
        "longitude": -118.4451{number:02}7
      }},
      "viewport": {{
        "low": {{
          "latitude": 34.067607969708496,
          "longitude": -118.44652173029149
        }},
        "high": {{
          "latitude": 34.0703059302915,
          "longitude": -118.4438237697085
        }}
      }},
      "rating": 4.{number:02},
      "businessStatus": "OPERATIONAL",
      "priceLevel": "PRICE_LEVEL_MODERATE",
      "userRatingCount": 12{number:02},
      "iconMaskBaseUri": "https://maps.gstatic.com/mapfiles/place_api/icons/v2/cafe_pinlet",
      "iconBackgroundColor": "#FF9E67",
      "displayName": {{
        "text": "Caf\u00e9 \u003cNumber {number}\u003e \u0026 Söhne",
        "languageCode": "en"
      }},
      "currentOpeningHours": {{
        "openNow": true
      }},
      "photos": [
        {{
          "name": "places/ChIJ{number:04}tQDz4uwokRCq3y3mP1Yqs/photos/AfLeUgM_cN0-1vSdxbE4sCzR2WhkHjQZyT9vK8mLpXoIuYtReWqAsDfGhJkLzXcVbNm",
          "widthPx": 4032,
          "heightPx": 3024,
          "authorAttributions": [
            {{
              "displayName": "A Guest of {number}",
              "uri": "//maps.google.com/maps/contrib/1034567890123456789{number:02}"
            }}
          ]
        }}
      ],
      "shortFormattedAddress": "1{number:02} Westwood Plaza, Los Angeles"
    }}"##
        );
        places.push(place);
    }
    let mut body = format!("{{\n  \"places\": [\n{}\n  ]\n}}\n", places.join(",\n"));
    // Pads the body to its length with white space, which JSON allows at the end.
    while body.len() < BODY_BYTES {
        body.push(' ');
    }
    assert!(body.len() < BODY_BYTES * 9 / 4, "{} bytes", body.len());
    body
}

/// A server without neighbours, whose source of places is the service.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    /// Starts a server that asks `service`, on core `core`.
    fn start(service: SocketAddr, core: usize) -> Server {
        let port = free_port();
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-places-{port}"));
        fs::create_dir_all(&folder).expect("a folder in target/tmp");
        AUTHORITY.write_pem(&folder.join("ca.pem")).expect("a file in target/tmp");
        let topology = format!(
            "herd = \"bench\"\n[[server]]\nname = \"Alford\"\nclient = \"127.0.0.1:{port}\"\n\
             peer = \"127.0.0.1:{}\"\nneighbours = []\n[places]\nsource = \"google\"\n\
             mask = \"full\"\nbase_url = \"https://{service}\"\nca_file = \"ca.pem\"\n",
            free_port()
        );
        fs::write(folder.join("topology.toml"), topology).expect("the topology is written");
        let child = Command::new(env!("CARGO_BIN_EXE_herd"))
            .args(["serve", "Alford", "--topology"])
            .arg(folder.join("topology.toml"))
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into()))
            .env("GOOGLE_MAPS_API_KEY", "AIzaBENCH-0123456789_abcdefghijklmnopqr")
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let server = Server { child, port, folder };
        server.connect();
        pin(server.child.id(), core);
        server
    }

    /// Connects as soon as the server listens.
    fn connect(&self) -> TcpStream {
        connect(self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn row(name: &str, taken: &mut [Duration]) {
    taken.sort();
    let [half, most] = [0.5, 0.99].map(|share| percentile(taken, share).as_secs_f64() * 1e6);
    println!("{name:<46} {half:>9.1} {most:>9.1} {:>9}", taken.len());
}

/// The percentile `share` of sorted times.
fn percentile(taken: &[Duration], share: f64) -> Duration {
    taken[((taken.len() - 1) as f64 * share) as usize]
}
