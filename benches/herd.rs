//! Measures one server of the herd from outside: its start, idling, idle connections, known clients, IAMAT, WHATSAT and
//! a journal. Run `cargo bench --bench herd`, or add `-- journal` to measure only the journal. The figures are for
//! people to read; they are not a test. `-- spread SHAPE:SERVERS...` counts messages and hops in herds in memory.
//!
//! The server is the real program on loopback. Its log is off unless RUST_LOG is set. Every reply is checked, so a fast
//! server that is wrong fails.
//!
//! Rates are measured with the server on core 0 and this process on core 1. Latencies are measured with both on core 1:
//! on a virtual machine, waking a sleeping core takes tens of microseconds, which would be most of the figure and says
//! nothing about the server.

#[path = "../tests/support/cluster/mod.rs"]
mod cluster;
#[path = "support/spread.rs"]
mod spread;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{ask, connect, cores, cpu_model, free_port, pin, read_reply};

fn main() {
    // `cargo bench` passes --bench. `cargo test --benches` does not; it only needs this to start.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    if std::env::args().any(|arg| arg == "spread") {
        return spread::spread(std::env::args().filter(|arg| arg.contains(':')));
    }
    println!("machine: {} cores, {}", cores(), cpu_model());
    pin(std::process::id(), 1);
    if std::env::args().any(|arg| arg == "journal") {
        return journal();
    }
    start_to_first_reply();
    idle();
    idle_connections();
    known_clients();
    latency("IAMAT, one at a time", 1, 50_000, |i| {
        format!("IAMAT c{} +34.068930-118.445127 {i}\n", i % 1_000)
    });
    pipelined(3_000_000, &Server::beside_us());
    journal();
    whatsat("10 km", 10);
    whatsat("50 km", 50);
}

/// A server without neighbours.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    fn start() -> Server {
        Server::start_with("")
    }

    /// Starts a server; `more` is appended to its topology.
    fn start_with(more: &str) -> Server {
        let port = free_port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{port}"));
        fs::create_dir_all(&folder).expect("a folder in target/tmp");
        let topology = format!(
            "herd = \"bench\"\n[[server]]\nname = \"Alford\"\nclient = \"127.0.0.1:{port}\"\n\
             peer = \"127.0.0.1:{}\"\nneighbours = []\n{more}",
            free_port()
        );
        fs::write(folder.join("topology.toml"), topology).expect("the topology is written");
        let child = Command::new(env!("CARGO_BIN_EXE_herd"))
            .args(["serve", "Alford", "--topology"])
            .arg(folder.join("topology.toml"))
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into()))
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        Server { child, port, folder }
    }

    /// Starts a server on the other core.
    fn beside_us() -> Server {
        Server::on(0)
    }

    /// Starts a server on the core of this process.
    fn with_us() -> Server {
        Server::on(1)
    }

    fn on(core: usize) -> Server {
        Server::start().pinned(core)
    }

    fn pinned(self, core: usize) -> Server {
        let server = self;
        server.connect();
        pin(server.child.id(), core);
        server
    }

    /// Connects as soon as the server listens.
    fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// A field of /proc/PID/status, in KiB.
    fn status_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("/proc/PID/status");
        let line = status.lines().find(|line| line.starts_with(field)).expect(field);
        line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
    }

    /// The processor time used until now, in clock ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("/proc/PID/stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split(' ').collect();
        fields[12].parse::<u64>().expect("utime") + fields[13].parse::<u64>().expect("stime")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start_to_first_reply() {
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let start = Instant::now();
            let server = Server::start();
            let mut stream = server.connect();
            ask(&mut stream, b"IAMAT kiwi +1+2 17\n");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("start to first reply: median {:?}, max {:?} of 20", times[10], times[19]);
}

fn idle() {
    let server = Server::beside_us();
    let (rss, before) = (server.status_kib("VmRSS:"), server.cpu_ticks());
    std::thread::sleep(Duration::from_secs(3));
    let (ticks, threads) = (server.cpu_ticks() - before, server.status_kib("Threads:"));
    println!("idle: RSS {rss} KiB, {threads} thread, {ticks} ticks of CPU in 3 s");
}

fn idle_connections() {
    let server = Server::beside_us();
    let mut streams = Vec::new();
    let mut rss = Vec::new();
    for count in [1_000, 19_000] {
        while streams.len() < count {
            streams.push(server.connect());
        }
        // The last connection gets its reply when all before it have been accepted.
        ask(streams.last_mut().expect("one"), b"IAMAT kiwi +1+2 17\n");
        rss.push(server.status_kib("VmRSS:"));
    }
    let each = (rss[1] - rss[0]) * 1024 / 18_000;
    println!("idle connection: {each} bytes ({} KiB at 1,000, {} KiB at 19,000)", rss[0], rss[1]);
}

fn known_clients() {
    const CLIENTS: u64 = 1_000_000;
    let server = Server::beside_us();
    let stream = server.connect();
    let before = server.status_kib("VmRSS:");
    let mut replies = BufReader::with_capacity(1 << 20, stream.try_clone().expect("a clone"));
    let mut stream = stream;
    let mut line = String::new();
    for batch in (0..CLIENTS).step_by(1_000) {
        let lines: String = (batch..batch + 1_000)
            .map(|i| {
                format!(
                    "IAMAT client-{i:07}.cs.ucla.edu +34.068930-118.445127 1479413884.392014450\n"
                )
            })
            .collect();
        stream.write_all(lines.as_bytes()).expect("sent");
        for i in batch..batch + 1_000 {
            line.clear();
            replies.read_line(&mut line).expect("a reply");
            assert!(line.contains(&format!(" client-{i:07}.cs")), "{line}");
        }
    }
    let after = server.status_kib("VmRSS:");
    println!(
        "known client: {} bytes of RSS ({before} KiB before, {after} KiB with 1,000,000; AT line {} bytes)",
        (after - before) * 1024 / CLIENTS,
        line.len()
    );
}

/// Measures the latency of one request at a time on one connection.
fn latency(name: &str, lines: usize, times: u64, request: impl Fn(u64) -> String) {
    let server = Server::with_us();
    let mut stream = server.connect();
    let mut taken = Vec::new();
    let mut replies = BufReader::new(stream.try_clone().expect("a clone"));
    let mut reply = String::new();
    let begun = Instant::now();
    for i in 0..times {
        let request = request(i);
        let start = Instant::now();
        stream.write_all(request.as_bytes()).expect("sent");
        for _ in 0..lines {
            reply.clear();
            replies.read_line(&mut reply).expect("a reply");
        }
        taken.push(start.elapsed());
        assert!(reply.starts_with("AT "), "{reply}");
    }
    let rate = times as f64 / begun.elapsed().as_secs_f64();
    print_percentiles(name, &mut taken, &format!("{rate:.0}/s"));
}

/// Measures the cost of a journal by its policy. The policies take turns for five rounds, because a machine's speed
/// drifts; the median of each is compared with that of no journal.
fn journal() {
    const ROUNDS: usize = 5;
    // With as few clients as here, compacting at every MiB is most of the cost.
    let policies = [
        ("off", ""),
        ("no", "[journal]\nsync = \"no\"\n"),
        ("no, compacted at 1 MiB", "[journal]\nsync = \"no\"\ncompact_bytes = 1_048_576\n"),
        ("everysec", "[journal]\nsync = \"everysec\"\n"),
        ("always", "[journal]\nsync = \"always\"\n"),
    ];
    let mut rates = policies.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((policy, journal), rates) in policies.iter().zip(&mut rates) {
            print!("journal {policy}: ");
            let server = Server::start_with(journal).pinned(0);
            rates.push(pipelined(500_000, &server));
        }
    }
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    for ((policy, _), median) in policies.iter().zip(medians) {
        println!("journal {policy}: {median:.0}/s, {:.2} of off", median / medians[0]);
    }
}

/// Sends `count` requests on one connection, as many in flight as it takes. Returns the rate per second.
fn pipelined(count: u64, server: &Server) -> f64 {
    let mut stream = server.connect();
    let mut replies = BufReader::with_capacity(1 << 20, stream.try_clone().expect("a clone"));
    let (begun, ticks) = (Instant::now(), server.cpu_ticks());
    let asking = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for i in 0..count {
            let _ = writeln!(lines, "IAMAT c{} +34.068930-118.445127 {i}.392014450", i % 1_000);
            if lines.len() > 60_000 || i + 1 == count {
                stream.write_all(&lines).expect("sent");
                lines.clear();
            }
        }
    });
    let mut reply = Vec::new();
    for _ in 0..count {
        reply.clear();
        replies.read_until(b'\n', &mut reply).expect("a reply");
        assert!(reply.starts_with(b"AT Alford "));
    }
    asking.join().expect("all was sent");
    let cpu = (server.cpu_ticks() - ticks) as f64 * 10_000.0 / count as f64;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("IAMAT, pipelined on one connection: {rate:.0}/s, {cpu:.2} us of server CPU each");
    rate
}

fn whatsat(name: &str, radius_km: u32) {
    const TIMES: usize = 5_000;
    let server = Server::with_us();
    let mut stream = server.connect();
    let cities = ["+34.068930-118.445127", "+48.8566+2.3522", "+35.6762+139.6503", "+38.90-100.50"];
    for (i, city) in cities.iter().enumerate() {
        ask(&mut stream, format!("IAMAT c{i} {city} 17\n").as_bytes());
    }
    for (i, city) in cities.iter().enumerate() {
        let mut taken = Vec::new();
        let mut bytes = 0;
        for _ in 0..TIMES {
            let start = Instant::now();
            stream.write_all(format!("WHATSAT c{i} {radius_km} 20\n").as_bytes()).expect("sent");
            let reply = read_reply(&mut stream);
            taken.push(start.elapsed());
            assert!(reply.starts_with(b"AT Alford ") && reply.ends_with(b"\n}\n\n"));
            bytes = reply.len();
        }
        print_percentiles(
            &format!("WHATSAT {name} at {city}"),
            &mut taken,
            &format!("{bytes} bytes"),
        );
    }
}

fn print_percentiles(name: &str, taken: &mut [Duration], more: &str) {
    taken.sort();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
    println!("{name}: p50 {:?}, p90 {:?}, p99 {:?}, {more}", at(0.5), at(0.9), at(0.99));
}
