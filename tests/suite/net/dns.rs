//! The resolver on the reactor, on the kernel and in memory: sockets, a name server in the test, and files that
//! change.
//!
//! The name server's sockets are checked between the turns, so no thread is needed. In memory the server is a
//! simulated port, and for TCP a protocol on the same reactor. `src/net/dns/tests/mod.rs` tests without sockets
//! what the resolver decides, and when.

use crate::support::fake_google::names::{failed, found, framed as with_length, truncated};
use crate::support::logged::Logged;
use crate::support::ports::RefusingUdpPort;
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{
    Context, Core, Factory, Flow, Io, MioIo, Protocol, Reactor, ReactorLimits, Shared, TimerId,
};
use places_herd::net::dns::client::FILE_BYTES_MAX;
use places_herd::net::dns::{DnsClient, DnsError, DnsOptions, LookupId, Resolving, Via, ask};
use simple_dns::RCODE;
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Timeout for every wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);

type Found = Result<Vec<IpAddr>, DnsError>;

/// The server's answer to a query; `None` if it is silent.
#[derive(Clone)]
struct Says(Arc<Mutex<Answers>>);

type Answers = dyn FnMut(Via, &[u8]) -> Vec<u8>;

impl Says {
    fn new(says: impl FnMut(Via, &[u8]) -> Vec<u8> + 'static) -> Says {
        Says(Arc::new(Mutex::new(says)))
    }

    fn answer(&self, via: Via, query: &[u8]) -> Vec<u8> {
        (self.0.lock().unwrap())(via, query)
    }
}

impl fmt::Debug for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Says")
    }
}

/// The shared state of the reactor, which asks for names.
#[derive(Debug)]
struct Asker {
    client: DnsClient,
    turn: u64,
    /// Each finished lookup, its result, and the turn in which it finished.
    found: Vec<(LookupId, Found, u64)>,
    /// A name to look up once another was found.
    next: Option<&'static str>,
    /// The longest sleep of the poll; `None`: until the next timer.
    nap: Option<Duration>,
    wake: Option<TimerId>,
}

impl Shared for Asker {
    type Message = ();

    /// Limits the sleep of the next poll to `nap`. This is done here, just after the clock was read, because a
    /// timer that was set before the turn may have expired before the poll begins.
    fn before_poll(
        &mut self,
        core: &mut Core<Asker>,
        _: &herd_reactor::TurnCounts,
    ) -> std::io::Result<()> {
        self.turn += 1;
        self.wake = self.nap.map(|nap| core.call_later(nap, |_, _| {}));
        Ok(())
    }
}

impl Resolving for Asker {
    fn dns(&mut self) -> &mut DnsClient {
        &mut self.client
    }

    fn resolved(&mut self, core: &mut Core<Asker>, lookup: LookupId, result: Found) {
        self.found.push((lookup, result, self.turn));
        if let Some(name) = self.next.take() {
            ask(self, core, name);
        }
    }
}

struct Stage<I: Kernel> {
    reactor: Reactor<I, Asker>,
    server: I::Server,
}

/// A kernel, and a name server on it.
trait Kernel: Io + Sized {
    type Server;

    /// Starts a server that answers each query with the result of `says`.
    fn stage(total: Duration, says: Says) -> Stage<Self>;

    /// Lets the server answer the queries that have arrived.
    fn serve(&mut self, server: &mut Self::Server);

    /// An address that drops all datagrams.
    fn nobody() -> SocketAddr;
}

impl Kernel for MioIo {
    type Server = NameServer;

    fn stage(total: Duration, says: Says) -> Stage<MioIo> {
        let server = NameServer::new(says);
        let servers = vec![server.address()];
        let options = DnsOptions { servers, total, ..no_files() };
        Stage::over(MioIo::new(&[]).unwrap(), options, server)
    }

    fn serve(&mut self, server: &mut NameServer) {
        server.serve();
    }

    fn nobody() -> SocketAddr {
        static NOBODY: LazyLock<RefusingUdpPort> = LazyLock::new(RefusingUdpPort::new);
        NOBODY.address()
    }
}

impl Kernel for MemoryIo {
    type Server = Says;

    fn stage(total: Duration, says: Says) -> Stage<MemoryIo> {
        let address = "127.0.0.1:53".parse().unwrap();
        let options = DnsOptions { servers: vec![address], total, ..no_files() };
        let mut io = MemoryIo::new(MemoryOptions::rough(1));
        io.play_datagrams(address);
        let mut stage = Stage::over(io, options, says.clone());
        stage.reactor.listen_tcp(address, Box::new(says)).unwrap();
        stage
    }

    fn serve(&mut self, says: &mut Says) {
        for asked in self.take_datagrams() {
            let answer = says.answer(Via::Udp, &asked.bytes);
            if !answer.is_empty() {
                self.send_datagram(asked.to, asked.from, answer);
            }
        }
    }

    fn nobody() -> SocketAddr {
        "127.0.0.1:54".parse().unwrap()
    }
}

/// TCP, on the same reactor as the client.
impl Factory<Asker> for Says {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Asker>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Asker>>> {
        Some(Box::new(OverTcp { says: self.clone(), received: Vec::new() }))
    }
}

#[derive(Debug)]
struct OverTcp {
    says: Says,
    received: Vec<u8>,
}

impl Protocol<Asker> for OverTcp {
    fn name(&self) -> &'static str {
        "names"
    }

    fn data_received(&mut self, cx: &mut Context<'_, Asker>, data: &[u8]) -> Flow {
        self.received.extend_from_slice(data);
        if let Some((length, query)) = self.received.split_first_chunk()
            && query.len() == usize::from(u16::from_be_bytes(*length))
        {
            cx.write(&self.says.answer(Via::Tcp, query));
        }
        Ok(())
    }
}

impl<I: Kernel> Stage<I> {
    fn new(total: Duration, says: impl FnMut(Via, &[u8]) -> Vec<u8> + 'static) -> Stage<I> {
        I::stage(total, Says::new(says))
    }

    fn over(io: I, options: DnsOptions, server: I::Server) -> Stage<I> {
        let client = DnsClient::new(options);
        let asker = Asker { client, turn: 0, found: Vec::new(), next: None, nap: None, wake: None };
        Stage { reactor: Reactor::new(io, asker, ReactorLimits::default()), server }
    }

    fn ask(&mut self, name: &str) -> LookupId {
        let (state, core) = self.reactor.parts();
        ask(state, core, name)
    }

    /// Runs one turn that sleeps at most a millisecond.
    fn turn(&mut self) {
        self.reactor.state().nap = Some(MS);
        self.reactor.turn().unwrap();
        let (state, core) = self.reactor.parts();
        state.nap = None;
        if let Some(wake) = state.wake.take() {
            let _ = core.cancel(wake);
        }
        self.reactor.io().serve(&mut self.server);
    }

    /// Runs turns until `done`.
    #[track_caller]
    fn until(&mut self, mut done: impl FnMut(&Asker, &Core<Asker>) -> bool) {
        let deadline = self.reactor.parts().1.now() + PATIENCE;
        loop {
            let (state, core) = self.reactor.parts();
            if done(state, core) {
                return;
            }
            assert!(core.now() < deadline, "never: {:?}", state.found);
            self.turn();
        }
    }

    /// Lets `time` pass; in memory this takes no time.
    fn pass(&mut self, time: Duration) {
        let end = self.reactor.parts().1.now() + time;
        self.reactor.parts().1.call_later(time, |_, _| {});
        while self.reactor.parts().1.now() < end {
            self.reactor.turn().unwrap();
        }
    }

    /// Looks up `name`.
    #[track_caller]
    fn find(&mut self, name: &str) -> Found {
        let id = self.ask(name);
        self.until(|asker, _| asker.found.iter().any(|(found, ..)| *found == id));
        let found = &mut self.reactor.state().found;
        let position = found.iter().position(|(found, ..)| *found == id).unwrap();
        found.remove(position).1
    }

    /// Whether all sockets of queries are closed.
    #[track_caller]
    fn until_nothing_is_open(&mut self) {
        self.until(|_, core| core.connections() == 0);
    }
}

/// A name server on loopback, over UDP and TCP on one port.
struct NameServer {
    udp: UdpSocket,
    tcp: TcpListener,
    /// The TCP connections, each with the bytes that are still to be sent.
    streams: Vec<(TcpStream, VecDeque<u8>)>,
    says: Says,
}

impl NameServer {
    fn new(says: Says) -> NameServer {
        let (tcp, udp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
                let udp = UdpSocket::bind(tcp.local_addr().unwrap()).ok()?;
                Some((tcp, udp))
            })
            .expect("a port that is free for both");
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        NameServer { udp, tcp, streams: Vec::new(), says }
    }

    fn address(&self) -> SocketAddr {
        self.udp.local_addr().unwrap()
    }

    /// Answers the queries that have arrived; over TCP with one byte per turn.
    fn serve(&mut self) {
        let mut query = [0; 600];
        while let Ok((length, from)) = self.udp.recv_from(&mut query) {
            let answer = self.says.answer(Via::Udp, &query[..length]);
            if !answer.is_empty() {
                self.udp.send_to(&answer, from).unwrap();
            }
        }
        while let Ok((stream, _)) = self.tcp.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            self.streams.push((stream, VecDeque::new()));
        }
        for (stream, unsaid) in &mut self.streams {
            if let Ok(length @ 3..) = stream.read(&mut query) {
                unsaid.extend(self.says.answer(Via::Tcp, &query[2..length]));
            }
            if let Some(byte) = unsaid.pop_front() {
                // The client may have closed the connection.
                let _ = stream.write(&[byte]);
            }
        }
    }
}

fn no_files() -> DnsOptions {
    let none = PathBuf::from("/nonexistent");
    DnsOptions { hosts: none.clone(), resolv_conf: none, ..DnsOptions::default() }
}

/// An answer with one address of the requested family.
fn one_address(query: &[u8]) -> Vec<u8> {
    found(query, &both().unwrap())
}

fn list(addresses: &[&str]) -> Found {
    Ok(addresses.iter().map(|text| text.parse().unwrap()).collect())
}

fn both() -> Found {
    list(&["2001:db8::1", "192.0.2.1"])
}

fn a_name_is_found_by_datagrams_and_their_sockets_are_closed<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |via, query| {
        assert_eq!(via, Via::Udp);
        one_address(query)
    });
    assert_eq!(stage.find("maps.example"), both());
    stage.until_nothing_is_open();
    assert_eq!(stage.reactor.parts().1.timers_pending(), 0);
}

fn each_query_comes_from_a_socket_of_its_own<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |_, _| Vec::new());
    stage.ask("maps.example");
    stage.ask("other.example");
    stage.until(|_, core| core.connections() == 4);
}

fn a_truncated_answer_is_followed_by_tcp<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |via, query| match via {
        Via::Udp => truncated(query),
        Via::Tcp => with_length(&one_address(query)),
    });
    assert_eq!(stage.find("maps.example"), both());
    stage.until_nothing_is_open();
}

fn over_tcp_an_answer_may_follow_others<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |via, query| match via {
        Via::Udp => truncated(query),
        Via::Tcp => {
            let foreign = [&[query[0] ^ 1], &query[1..]].concat();
            let messages = [Vec::new(), one_address(&foreign), one_address(query)];
            messages.iter().flat_map(|message| with_length(message)).collect()
        }
    });
    assert_eq!(stage.find("maps.example"), both());
}

fn when_nobody_listens_it_is_over_at_once<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |_, _| Vec::new());
    let options = DnsOptions { servers: vec![I::nobody()], total: PATIENCE, ..no_files() };
    stage.reactor.state().client = DnsClient::new(options);
    assert_eq!(stage.find("maps.example"), Err(DnsError::Unreachable));
    stage.until_nothing_is_open();
}

fn a_silent_server_costs_the_total_limit_and_leaves_nothing_open<I: Kernel>() {
    let mut stage = Stage::<I>::new(60 * MS, |_, _| Vec::new());
    let begun = stage.reactor.parts().1.now();
    assert_eq!(stage.find("maps.example"), Err(DnsError::TimedOut));
    let took = stage.reactor.parts().1.now() - begun;
    assert!(took >= 60 * MS, "{took:?}");
    stage.until_nothing_is_open();
    assert_eq!(stage.reactor.parts().1.timers_pending(), 0);
}

fn a_stream_that_says_nothing_costs_the_total_limit_too<I: Kernel>() {
    let mut stage = Stage::<I>::new(60 * MS, |via, query| match via {
        Via::Udp => truncated(query),
        Via::Tcp => Vec::new(),
    });
    assert_eq!(stage.find("maps.example"), Err(DnsError::TimedOut));
    stage.until_nothing_is_open();
}

fn a_server_that_fails_once_is_asked_again<I: Kernel>() {
    let mut queries = 0;
    let mut stage = Stage::<I>::new(PATIENCE, move |_, query| {
        queries += 1;
        match queries {
            1 => failed(query, RCODE::ServerFailure),
            _ => one_address(query),
        }
    });
    assert_eq!(stage.find("maps.example"), both());
}

fn what_is_known_is_told_in_a_later_turn<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |_, _| Vec::new());
    stage.reactor.state().next = Some("192.0.2.8");
    stage.ask("192.0.2.7");
    assert!(stage.reactor.state().found.is_empty(), "not within the call");
    stage.until(|asker, _| asker.found.len() == 2);
    let found = &stage.reactor.state().found;
    assert_eq!((&found[0].1, &found[1].1), (&list(&["192.0.2.7"]), &list(&["192.0.2.8"])));
    assert!(found[1].2 > found[0].2, "asked by a timer, told in a turn after it");
}

fn who_waits_when_the_reactor_stops_is_still_answered<I: Kernel>() {
    let mut stage = Stage::<I>::new(PATIENCE, |_, query| one_address(query));
    stage.ask("maps.example");
    stage.until(|_, core| core.connections() == 2);
    stage.reactor.parts().1.stop();
    for _ in 0..200 {
        if stage.reactor.is_stopped() {
            break;
        }
        stage.turn();
    }
    assert!(stage.reactor.is_stopped(), "and then it ends");
    assert_eq!(stage.reactor.state().found[0].1, both());
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod kernel {
            use super::*;
            $(#[test] fn $name() { super::$name::<MioIo>(); })*
        }
        mod memory {
            use super::*;
            $(#[test] fn $name() { super::$name::<MemoryIo>(); })*
        }
    };
}

on_both! {
    a_name_is_found_by_datagrams_and_their_sockets_are_closed
    each_query_comes_from_a_socket_of_its_own
    a_truncated_answer_is_followed_by_tcp
    over_tcp_an_answer_may_follow_others
    when_nobody_listens_it_is_over_at_once
    a_silent_server_costs_the_total_limit_and_leaves_nothing_open
    a_stream_that_says_nothing_costs_the_total_limit_too
    a_server_that_fails_once_is_asked_again
    what_is_known_is_told_in_a_later_turn
    who_waits_when_the_reactor_stops_is_still_answered
}

/// The test runs in memory, where a minute takes no time, and without a name server.
#[test]
fn the_hosts_file_is_read_again_when_it_has_changed_once_a_minute() {
    let directory = std::env::temp_dir().join(format!("places-herd-dns-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let hosts = directory.join("hosts");
    fs::write(&hosts, "192.0.2.7 maps.example\n").unwrap();
    let options = DnsOptions { hosts: hosts.clone(), ..no_files() };
    let nobody = Says::new(|_, _| Vec::new());
    let mut stage = Stage::over(MemoryIo::new(MemoryOptions::calm(0)), options, nobody);

    assert_eq!(stage.find("maps.example"), list(&["192.0.2.7"]));
    assert_eq!(stage.find("other.example"), Err(DnsError::Unreachable));
    fs::write(&hosts, "192.0.2.7 maps.example\n192.0.2.8 other.example\n").unwrap();
    stage.pass(Duration::from_secs(59));
    assert_eq!(stage.find("other.example"), Err(DnsError::Unreachable), "not yet");
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.find("other.example"), list(&["192.0.2.8"]));

    fs::remove_file(&hosts).unwrap();
    stage.pass(Duration::from_secs(60));
    assert_eq!(stage.find("maps.example"), Err(DnsError::Unreachable), "it is gone");
    fs::remove_dir_all(&directory).unwrap();
}

/// A folder with a resolv.conf and a hosts file, and a client that reads them, without a name server.
fn with_files(test: &str, resolv_conf: &[u8], hosts: &[u8]) -> (PathBuf, Stage<MemoryIo>) {
    let folder =
        std::env::temp_dir().join(format!("places-herd-dns-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("resolv.conf"), resolv_conf).unwrap();
    fs::write(folder.join("hosts"), hosts).unwrap();
    let options = DnsOptions {
        hosts: folder.join("hosts"),
        resolv_conf: folder.join("resolv.conf"),
        ..DnsOptions::default()
    };
    let nobody = Says::new(|_, _| Vec::new());
    (folder, Stage::over(MemoryIo::new(MemoryOptions::calm(0)), options, nobody))
}

#[test]
fn what_is_not_regarded_of_the_files_is_logged_once_and_again_when_it_has_changed() {
    let log = Logged::here();
    let (folder, mut stage) = with_files(
        "remarks",
        b"nameserver fe80::1%no-such-if\nnameserver 127.0.0.1\noptions edns0 rotate\n",
        b"",
    );
    let logged = |stage: &mut Stage<MemoryIo>| {
        stage.pass(Duration::from_secs(60));
        let _ = stage.find("maps.example.");
        log.take().into_iter().filter(|line| line.contains("resolv.conf")).collect::<Vec<_>>()
    };
    let path = folder.join("resolv.conf");
    let line = |level: &str, what: &str| format!("{level} dns: {}: {what}", path.display());
    let said = [
        line("WARN", "line 1: there is no network interface \"no-such-if\": name server ignored"),
        line("INFO", "line 3: \"edns0\" is ignored"),
        line("INFO", "line 3: \"rotate\" is ignored"),
    ];
    assert_eq!(logged(&mut stage), said);
    assert_eq!(logged(&mut stage), [""; 0]);
    fs::write(&path, "nameserver 127.0.0.1\nsortlist\n").unwrap();
    assert_eq!(logged(&mut stage), [line("INFO", "line 2: \"sortlist\" is ignored")]);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn byte_order_marks_and_other_line_ends_do_not_matter() {
    let (folder, mut stage) = with_files(
        "bom",
        b"\xef\xbb\xbfnameserver 127.0.0.1\r\n",
        b"\xef\xbb\xbf192.0.2.7 maps\r\n",
    );
    assert_eq!(stage.find("maps"), list(&["192.0.2.7"]));
    assert_eq!(stage.reactor.state().client.remarks(), []);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_hosts_file_is_read_up_to_its_limit_and_what_is_beyond_is_logged() {
    let log = Logged::here();
    let mut text = b"192.0.2.7 first\n".to_vec();
    text.resize(FILE_BYTES_MAX as usize, b'#');
    text.extend(b"\n192.0.2.8 last\n");
    let (folder, mut stage) = with_files("long", b"search .\n", &text);
    assert_eq!(stage.find("first"), list(&["192.0.2.7"]));
    assert_eq!(stage.find("last"), Err(DnsError::Unreachable));
    let logged = log.take();
    assert!(logged.iter().any(|line| line.contains("only the first 16777216 bytes")), "{logged:?}");
    fs::remove_dir_all(&folder).unwrap();
}

/// The network interface that every Linux has.
#[test]
fn a_name_server_on_an_interface_is_asked_there() {
    let (folder, mut stage) = with_files("scope", b"nameserver fe80::53%lo\n", b"");
    let _ = stage.find("maps.example");
    assert_eq!(stage.reactor.state().client.remarks(), []);
    fs::remove_dir_all(&folder).unwrap();
}
