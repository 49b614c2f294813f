//! The memory of a server by the allocator's own count: bytes that were allocated and not freed. The kernel counts
//! whole pages, which depend on earlier allocations; this count does not.
//!
//! To measure a server in a network in memory, the test drops it: the bytes that are freed then are those that the
//! server held. So the test's own memory does not count.

#![cfg(target_os = "linux")]

#[path = "../support/cluster/mod.rs"]
mod cluster;

use cap::Cap;
use cluster::memory_disk::MemoryDisk;
use cluster::{Cluster, MS, SECOND, TalkId, topology};
use herd_reactor::line_receiver::LineReceiver;
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{Core, Factory, MioIo, Protocol, Reactor, ReactorLimits, Transport, UnixNanos};
use places_herd::config::Topology;
use places_herd::places::{Answer, Progress, Query, SearchFailure, SearchStatus, Source, Ticket};
use places_herd::server::chatserver::{Chatserver, ChatserverFactory};
use places_herd::server::http_port::HttpFactory;
use places_herd::server::member::Member;
use std::alloc::System;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Ensures that one test runs at a time, because the count of the heap covers all threads.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Another thread may still print the result of the last test, or start the next one, and allocate meanwhile. When
    // all others sleep, only this thread can wake them.
    let deadline = Instant::now() + Duration::from_secs(60);
    while others_run() {
        assert!(Instant::now() < deadline, "another thread does not come to rest");
        thread::yield_now();
    }
    guard
}

/// Whether another thread of this process does not sleep.
fn others_run() -> bool {
    let own = fs::read_link("/proc/thread-self").expect("Linux has it");
    let threads = fs::read_dir("/proc/self/task").expect("Linux has it");
    let mut others = threads.map(|entry| entry.expect("an entry").path());
    others.any(|path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        path.file_name() != own.file_name() && !state.is_empty() && !state.starts_with('S')
    })
}

/// The time on the wall clocks, which are stopped, so that lines do not change their length.
const NOON: UnixNanos = UnixNanos(1_479_500_000_000_000_000);

/// Maximum memory of a server when nothing is under way.
const SERVER_BYTES_MAX: usize = 832 << 10;

/// The number of clients that are reported.
const CLIENTS: usize = 50;

/// A source that answers one question of three at once, and the others never.
#[derive(Debug, Default)]
struct Moody(usize);

impl Source for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn nearby(&mut self, _ticket: Ticket, _query: &Query) -> Progress {
        self.0 += 1;
        match self.0 % 3 {
            0 => Progress::Answered(Answer::Failed(SearchFailure {
                status: SearchStatus::RequestDenied,
                message: "x".repeat(2_000),
            })),
            _ => Progress::Waiting,
        }
    }
}

/// Alford and its neighbour, and the load on them.
struct Life {
    cluster: Cluster,
    round: usize,
}

impl Life {
    fn new(has_journal: bool) -> Life {
        let limits = "unfinished_line_ms = 1_000\n";
        let text = topology("Alford Bolden; Bolden", limits);
        let text = text + "[journal]\nsync = 'everysec'\ncompact_bytes = 1_048_576\n";
        let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
        match has_journal {
            true => drop(cluster.start_on("Alford", MemoryDisk::new(1)).expect("it is empty")),
            false => cluster.start_with("Alford", Box::new(Moody::default())),
        }
        cluster.start("Bolden");
        cluster.stop_wall_clocks(NOON);
        cluster.settle();
        Life { cluster, round: 0 }
    }

    /// Returns `count` reports, each of the next client. The reports of a client differ in their stamps only.
    fn reports(&self, count: usize) -> String {
        let line = |number: usize| {
            let (client, second) = (number % CLIENTS, 1_479_400_000 + self.round);
            format!("IAMAT client-{client:02} +34.068930-118.445127 {second}.{number:09}\n")
        };
        (0..count).map(|number| line(number + 1)).collect()
    }

    /// Connects a client, has it send commands of all kinds, and disconnects it.
    fn one_round(&mut self) {
        self.round += 1;
        let client = self.cluster.client("Alford");
        self.cluster.send(client, self.reports(CLIENTS));
        self.cluster.send(client, "WHATSAT client-01 10 5\nWHATSAT client-02 10 5\nnonsense\nIAM");
        self.cluster.run_for(MS);
        self.cluster.send(client, "AT client-03 +1+1 5\n");
        if self.round.is_multiple_of(10) {
            self.cluster.send(client, "x".repeat(100_000));
        }
        if self.round.is_multiple_of(20) {
            self.backlog(client);
        }
        if self.round.is_multiple_of(50) {
            // Longer than silence_ms: the link is closed, dialled again, and the tables are compared.
            self.cluster.cut("Alford", "Bolden");
            self.cluster.run_for(20 * SECOND);
            self.cluster.heal("Alford", "Bolden");
        }
        match self.round % 3 {
            0 => self.cluster.abort(client),
            1 => self.cluster.end(client),
            // The line never ends, so the server closes the client.
            _ => self.cluster.send(client, "IAMAT "),
        }
        self.cluster.run_for(3 * SECOND);
        self.cluster.forget_lines();
    }

    /// Sends more than the neighbour takes, and more than the client reads.
    fn backlog(&mut self, client: TalkId) {
        self.cluster.freeze("Bolden");
        self.cluster.listen_to(client, false);
        self.cluster.send(client, self.reports(8_000));
        self.cluster.run_for(SECOND);
        self.cluster.listen_to(client, true);
        self.cluster.thaw("Bolden");
        self.cluster.run_for(SECOND);
    }

    /// The bytes that Alford holds when all clients have disconnected.
    fn weigh(mut self) -> usize {
        self.cluster.run_for(120 * SECOND);
        let (known, told) = (self.cluster.knows("Alford"), self.cluster.knows("Bolden"));
        assert!(known.len() == CLIENTS && known == told, "the rounds did what they should");
        drop((known, told));
        let before = HEAP.allocated();
        // The disk does not count as the server's memory.
        let _disk = self.cluster.crash("Alford");
        before - HEAP.allocated()
    }
}

#[test]
fn a_server_holds_after_two_thousand_rounds_what_it_held_after_one_thousand() {
    let _alone = alone();
    for has_journal in [false, true] {
        let [few, many] = [1_000, 2_000].map(|rounds| {
            let mut life = Life::new(has_journal);
            (0..rounds).for_each(|_| life.one_round());
            life.weigh()
        });
        println!("journal {has_journal}: {few} bytes after 1,000 rounds, {many} after 2,000");
        assert_eq!(few, many);
        // The digests take 514 KiB of these, and the one read buffer takes 64 KiB.
        assert!(many <= SERVER_BYTES_MAX, "{many} bytes");
    }
}

/// Starts Alford alone, on the kernel's loopback, with a port of `factory`.
fn on_the_kernel(factory: Box<dyn Factory<Member>>) -> (Reactor<MioIo, Member>, SocketAddr) {
    let text = topology("Alford", "");
    let topology = Topology::parse(&text, Path::new("topology.toml")).expect("a topology");
    let source = Box::new(Moody::default());
    let member = Member::new(&topology, "Alford", source, 1, usize::MAX).expect("Alford is there");
    let io = MioIo::new(&[]).expect("the kernel gives a poll");
    let mut reactor = Reactor::new(io, member, ReactorLimits::default());
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_, address) = reactor.listen_tcp(anywhere, factory).expect("a port of loopback");
    (reactor, address)
}

/// Wakes the poll every millisecond from now on: it must not sleep after the last answer was sent.
fn tick(core: &mut Core<Member>) {
    core.call_later(Duration::from_millis(1), |_, core| tick(core));
}

/// The bytes that an idle connection takes at a port of `factory`, after `request` was answered on it, if there is one.
fn bytes_each(factory: Box<dyn Factory<Member>>, request: &[u8]) -> usize {
    // Powers of two, at which vectors that double are full. So unused capacity is not counted; the kernel would not
    // count it either, because it is not touched.
    const FEW: usize = 128;
    const MANY: usize = 256;
    let (mut reactor, address) = on_the_kernel(factory);
    tick(reactor.parts().1);
    let mut clients: Vec<TcpStream> = Vec::with_capacity(MANY);
    let mut held = [FEW, MANY].into_iter().map(|count| {
        while clients.len() < count {
            let mut client = TcpStream::connect(address).expect("Alford listens");
            client.write_all(request).expect("the kernel takes it");
            client.set_nonblocking(true).expect("a socket");
            while reactor.parts().1.connections() <= clients.len()
                || (!request.is_empty() && client.peek(&mut [0]).is_err())
            {
                reactor.turn().expect("this poll does not fail");
            }
            clients.push(client);
        }
        HEAP.allocated()
    });
    let (few, many) = (held.next().expect("two"), held.next().expect("two"));
    (many - few) / (MANY - FEW)
}

#[test]
fn an_idle_client_connection_takes_at_most_200_bytes() {
    let _alone = alone();
    let each = bytes_each(Box::new(ChatserverFactory), b"");
    println!("{each} bytes for each idle connection, of these");
    println!("    {} Transport", size_of::<Transport>());
    println!("    {} LineReceiver<Chatserver>", size_of::<LineReceiver<Chatserver>>());
    println!("    {} where it is", size_of::<Option<Box<dyn Protocol<Member>>>>());
    println!("the rest: its socket, and lists that are as long as there are connections");
    assert!(each <= 200, "{each} bytes");
}

#[test]
fn an_idle_http_connection_takes_at_most_400_bytes() {
    let _alone = alone();
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let each = bytes_each(Box::new(HttpFactory), request);
    println!("{each} bytes for each idle connection");
    assert!(each <= 400, "{each} bytes");
}
