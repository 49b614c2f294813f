//! The phases of a server as its operator and its service manager see them: the start, the lame duck, the drain, and
//! what it tells systemd meanwhile. The test plays the manager's socket.

use super::bus_real;
use crate::support::herd::{
    Client, Herd, NOWHERE, PATIENCE, Setup, eventually, holds, iamat, raise_descriptors, same,
};
use crate::support::ports::RefusingPort;
use places_herd::journal::record;
use rustix::process::Signal;
use std::any::Any;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
#[cfg(feature = "pki")]
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The service manager's socket, played by the test.
struct Manager {
    socket: UnixDatagram,
    /// The value of NOTIFY_SOCKET.
    name: String,
    /// The lines that were read and not asked for yet.
    lines: Vec<String>,
}

impl Manager {
    fn new(is_abstract: bool) -> Manager {
        let path = own_path();
        let path = path.to_str().expect("text");
        let (socket, name) = match is_abstract {
            true => {
                let address = net::SocketAddr::from_abstract_name(&path[1..]).expect("it is short");
                (UnixDatagram::bind_addr(&address), format!("@{}", &path[1..]))
            }
            false => (UnixDatagram::bind(path), path.to_owned()),
        };
        Manager { socket: socket.expect("the name is ours"), name, lines: Vec::new() }
    }

    /// The command that starts a server under this manager, with a watchdog of 0.4 s.
    fn inside(&self) -> [&'static str; 3] {
        let socket = format!("NOTIFY_SOCKET={}", self.name);
        ["env", socket.leak(), "WATCHDOG_USEC=400000"]
    }

    /// Returns the next line that begins with `key`, and drops those before it.
    fn line(&mut self, key: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no {key}, but {:?}", self.lines);
            if let Some(at) = self.lines.iter().position(|line| line.starts_with(key)) {
                return self.lines.drain(..=at).next_back().expect("it is the last");
            }
            self.lines = self.message(PATIENCE).expect(key);
        }
    }

    /// Returns the lines of the next message; `None` if none arrives within `time`.
    fn message(&self, time: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(time)).expect("it is not zero");
        let mut bytes = [0; 4_096];
        match self.socket.recv(&mut bytes) {
            Ok(count) => {
                let text = str::from_utf8(&bytes[..count]).expect("text");
                assert!(text.ends_with('\n'), "{text:?}");
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                None
            }
        }
    }

    /// Sends to the socket until its queue is full.
    fn fill(&self) {
        let sender = UnixDatagram::unbound().expect("a descriptor");
        sender.set_nonblocking(true).expect("it can be set");
        let address = self.socket.local_addr().expect("it is bound");
        while sender.send_to_addr(b"X=1\n", &address).is_ok() {}
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // An abstract name has no file.
        let _ = fs::remove_file(&self.name);
    }
}

/// Returns a path that no other test uses.
fn own_path() -> PathBuf {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("herd-notify-{}-{number}", std::process::id()))
}

fn ends_with_0(herd: &mut Herd, name: &str) {
    let status = eventually("it ends", || herd.process_mut(name).ended().ok_or("it runs"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_service_manager_hears_of_the_start_of_life_of_changes_and_of_the_end() {
    for is_abstract in [false, true] {
        let mut manager = Manager::new(is_abstract);
        let setup = Setup::alone().journal("sync = \"no\"").inside(&manager.inside());
        let mut herd = setup.start();
        manager.line("READY=1");
        herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
        herd.kill("Alford");
        herd.begin("Alford");
        // What the first process has sent may still be in the queue, but not its start.
        manager.line("EXTEND_TIMEOUT_USEC=");
        manager.line("READY=1");
        TcpStream::connect(herd.client_address("Alford")).expect("it listens when it is ready");
        manager.line("STATUS=clients: 0 connected, 1 known; neighbours: 0 of 0 linked; healthy");
        (0..3).for_each(|_| drop(manager.line("WATCHDOG=1")));
        let mut client = herd.client("Alford");
        client.ask(format!("IAMAT kiwi {NOWHERE} 1"));
        manager.line("STATUS=clients: 1 connected, 1 known;");

        let topology = fs::read(herd.topology()).expect("it is there");
        fs::write(herd.topology(), "nonsense").expect("the folder is ours");
        herd.process("Alford").signal(Signal::HUP);
        manager.line("RELOADING=1");
        manager.line("MONOTONIC_USEC=");
        manager.line("READY=1");
        herd.logged("Alford", &["SIGHUP: refused, nothing has changed"]);
        fs::write(herd.topology(), topology).expect("the folder is ours");

        herd.freeze("Alford");
        eventually("it stands still", || holds(herd.process("Alford").stands_still()));
        while manager.message(Duration::from_millis(1)).is_some() {}
        let silence = manager.message(Duration::from_millis(700));
        assert_eq!(silence, None, "a server that hangs sends no sign of life");
        herd.thaw("Alford");
        manager.line("WATCHDOG=1");

        herd.process("Alford").signal(Signal::TERM);
        manager.line("STOPPING=1");
        manager.line("EXTEND_TIMEOUT_USEC=");
        ends_with_0(&mut herd, "Alford");
    }
}

#[test]
fn a_service_manager_that_does_not_read_delays_nothing_and_hears_of_the_start_later() {
    let mut manager = Manager::new(false);
    manager.fill();
    let mut herd = Setup::alone().inside(&manager.inside()).start();
    let mut client = herd.client("Alford");
    same(&client.ask("x"), b"? x", "it is served");
    herd.logged(
        "Alford",
        &["WARN", "NOTIFY_SOCKET: cannot tell the service manager", "trying again"],
    );
    manager.line("READY=1");
    herd.logged("Alford", &["NOTIFY_SOCKET: the service manager takes messages again"]);
    manager.fill();
    herd.process("Alford").signal(Signal::TERM);
    ends_with_0(&mut herd, "Alford");
}

#[test]
fn a_notify_socket_that_cannot_be_used_is_logged_once_and_changes_nothing() {
    let stream = own_path();
    let listener = UnixListener::bind(&stream).expect("the name is ours");
    let long = format!("/{}", "x".repeat(200));
    let names = ["vsock:2:1", "relative", &long, "/dev/null", "/nowhere/notify"];
    for name in names.into_iter().chain(stream.to_str()) {
        let socket = format!("NOTIFY_SOCKET={name}").leak();
        let mut herd = Setup::alone().inside(&["env", socket, "WATCHDOG_USEC=20000"]).start();
        let mut client = herd.client("Alford");
        same(&client.ask("x"), b"? x", name);
        herd.process("Alford").signal(Signal::TERM);
        ends_with_0(&mut herd, "Alford");
        let warnings = herd.log("Alford").matches("NOTIFY_SOCKET").count();
        assert_eq!(warnings, 1, "{name}");
    }
    drop(listener);
    let _ = fs::remove_file(stream);
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let mut manager = Manager::new(false);
    let [env, socket, watchdog] = manager.inside();
    let herd = Setup::alone().inside(&[env, socket, watchdog, "WATCHDOG_PID=1"]).start();
    manager.line("READY=1");
    let mut client = herd.client("Alford");
    client.ask(format!("IAMAT kiwi {NOWHERE} 1"));
    // The watchdog would be due five times before this STATUS, which follows the first by a second.
    let mut lines = Vec::new();
    while !lines
        .iter()
        .any(|line: &String| line.starts_with("STATUS=clients: 1 connected, 1 known"))
    {
        lines.extend(manager.message(PATIENCE).expect("a STATUS follows"));
    }
    assert!(!lines.iter().any(|line| line.starts_with("WATCHDOG")), "{lines:?}");
}

#[test]
fn a_lame_duck_ends_its_clients_one_after_the_other_and_serves_the_rest() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let mut herd = setup.limit("lame_duck_ms", 2_000).start();
    herd.linked("Alford", "Bolden");
    let mut clients: Vec<Client> = (0..20).map(|_| herd.client("Alford")).collect();
    clients.iter_mut().for_each(|client| same(&client.ask("x"), b"? x", "it is served"));
    let begun = Instant::now();
    herd.process("Alford").signal(Signal::USR2);
    herd.closed("Alford");
    assert!(TcpStream::connect(herd.peer_address("Alford")).is_err(), "both ports are closed");
    herd.logged("Bolden", &["Alford", "it ends soon"]);
    assert_eq!(herd.status("Bolden")["links"][0]["leaving"], true);
    // A second signal changes nothing.
    herd.process("Alford").signal(Signal::USR2);
    herd.logged("Alford", &["SIGUSR2: ignored"]);
    // Whoever has not been ended is served, and the neighbour hears of it.
    let mut reported = 0;
    for (n, client) in clients.iter_mut().enumerate() {
        let line = format!("IAMAT kiwi{n} {NOWHERE} 1\n");
        let answer = client.try_send(&line).then(|| client.line_or_end()).flatten();
        if let Some(answer) = answer {
            herd.settle(&["Bolden"], &format!("kiwi{n}"), &answer);
            reported += 1;
        }
    }
    assert!(reported > 0, "all were ended at once");
    for client in &mut clients {
        let (rest, reset) = client.rest_and_end();
        same(&rest, b"", "nothing more");
        // A command that crossed the end of the connection may cause a reset.
        assert!(reset.is_none() || reported < 20, "{reset:?}");
    }
    ends_with_0(&mut herd, "Alford");
    assert!(begun.elapsed() >= Duration::from_millis(1_900), "the ends are spread");
}

#[test]
fn a_lame_duck_without_clients_ends_at_once_and_one_with_a_sigterm_drains() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let setup = setup.limit("lame_duck_ms", 3_600_000).limit("drain_ms", 60_000);
    let mut herd = setup.start();
    herd.linked("Alford", "Bolden");
    herd.logged("Bolden", &["Chatserver,", "disconnected"]);
    herd.process("Bolden").signal(Signal::USR2);
    ends_with_0(&mut herd, "Bolden");
    herd.logged("Alford", &["Bolden", "it ends soon"]);

    let mut client = herd.client("Alford");
    same(&client.ask("x"), b"? x", "it is served");
    herd.process("Alford").signal(Signal::USR2);
    herd.closed("Alford");
    same(&client.ask("y"), b"? y", "it is still served");
    herd.process("Alford").signal(Signal::TERM);
    same(&client.rest(), b"", "it is ended in order");
    ends_with_0(&mut herd, "Alford");
}

#[test]
fn a_lame_duck_keeps_its_configuration_and_its_links_and_tells_those_that_it_makes_later() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let mut herd = setup.limit("lame_duck_ms", 3_600_000).start();
    herd.linked("Alford", "Bolden");
    let mut client = herd.client("Bolden");
    same(&client.ask("x"), b"? x", "it is served");
    herd.process("Bolden").signal(Signal::USR2);
    herd.closed("Bolden");
    // This change would make its links again, and its ports are closed.
    let topology = fs::read_to_string(herd.topology()).expect("it is there");
    let edited = format!("ack = \"peer\"\n{topology}");
    fs::write(herd.topology(), edited).expect("the folder is ours");
    herd.process("Bolden").signal(Signal::HUP);
    herd.logged("Bolden", &["SIGHUP: refused, nothing has changed: the server is ending"]);
    fs::write(herd.topology(), topology).expect("the folder is ours");
    let answer = client.ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.settle(&["Alford"], "kiwi", &answer);
    herd.process("Bolden").signal(Signal::TERM);
    ends_with_0(&mut herd, "Bolden");

    let mut client = herd.client("Alford");
    same(&client.ask("x"), b"? x", "it is served");
    herd.process("Alford").signal(Signal::USR2);
    herd.closed("Alford");
    herd.begin("Bolden");
    herd.logged("Bolden", &["Alford", "it ends soon"]);
    assert_eq!(herd.status("Bolden")["links"][0]["leaving"], true);
}

#[test]
fn a_lame_duck_without_time_tells_its_neighbours_before_it_ends() {
    let setup = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let mut herd = setup.limit("lame_duck_ms", 0).start();
    herd.linked("Alford", "Bolden");
    let mut client = herd.client("Bolden");
    same(&client.ask("x"), b"? x", "it is served");
    herd.process("Bolden").signal(Signal::USR2);
    same(&client.rest(), b"", "it is ended in order");
    ends_with_0(&mut herd, "Bolden");
    herd.logged("Alford", &["Bolden", "it ends soon"]);
}

#[test]
fn a_neighbour_that_does_not_know_bye_hears_nothing_of_a_lame_duck_until_the_link_ends() {
    let mut herd = Setup::alone().played("Aaron", "Alford").limit("lame_duck_ms", 500).start();
    let mut client = herd.client("Alford");
    let mut aaron = herd.neighbour("Aaron", "Alford");
    herd.process("Alford").signal(Signal::USR2);
    herd.closed("Alford");
    let answer = client.try_send(format!("IAMAT kiwi {NOWHERE} 1\n")).then(|| client.line_or_end());
    let told: Vec<u8> = aaron.rest();
    if let Some(answer) = answer.flatten() {
        same(&told, &[&answer[..], b"\n"].concat(), "a report still spreads");
    } else {
        same(&told, b"", "no line that it does not know");
    }
    ends_with_0(&mut herd, "Alford");
}

/// The limits of the servers that [`STATES`] makes. Everything but `drain_ms` is long.
pub(super) fn patient(setup: Setup) -> Setup {
    let setup = setup.limit("drain_ms", 300).limit("close_ms", 600_000).limit("linger_ms", 60_000);
    setup.limit("hello_ms", 60_000).limit("connect_ms", 60_000).without_traffic_in_the_log()
}

type MakeState = fn() -> Kept;

/// A server in a state, and the connections and sockets that keep it there.
pub(super) type Kept = (Herd, Box<dyn Any>);

fn with_places(base_url: &str, resolver: SocketAddr) -> Kept {
    let places = format!(
        "[places]\nsource = \"photon\"\nrank = \"distance\"\nbase_url = \"{base_url}\"\nresolver = \"{resolver}\"\n\
         deadline_ms = 60000"
    );
    let herd = patient(Setup::alone()).more(&places).start();
    let mut client = herd.client("Alford");
    client.ask(format!("IAMAT kiwi {NOWHERE} 1"));
    client.send("WHATSAT kiwi 10 5\n");
    herd.catch_up("Alford");
    (herd, Box::new(client))
}

/// A server whose bus is at `address`, and a client that waits for its reply.
fn with_bus(address: SocketAddr) -> (Herd, Client) {
    let setup = bus_real::with_bus(Setup::alone(), &format!("\"nats://{address}\""), "");
    let herd = patient(setup).limit("ack_wait_ms", 60_000).start();
    let mut client = herd.client("Alford");
    client.send(iamat("kiwi", NOWHERE, "1"));
    herd.catch_up("Alford");
    (herd, client)
}

/// A server that begins with a journal of `records` reports of `clients` clients.
fn with_journal(records: usize, clients: usize) -> Herd {
    let mut herd = patient(Setup::alone()).journal("sync = \"no\"\ncompact_bytes = 65_536").start();
    herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.kill("Alford");
    let file = herd.journal("Alford").join("journal.1");
    let mut bytes = fs::read(&file).expect("it is there");
    for n in 0..records {
        let line = format!("AT Alford +1 c{} {NOWHERE} {}", n % clients, n + 5);
        record::write(&mut bytes, line.as_bytes());
    }
    fs::write(&file, bytes).expect("the folder is ours");
    herd.begin("Alford");
    herd
}

/// The states in which a server may be when SIGTERM arrives, and how a test brings it there.
const STATES: &[(&str, MakeState)] = &[
    ("idle, with a client that has sent half a line", || {
        let herd = patient(Setup::alone()).start();
        let mut client = herd.client("Alford");
        client.send("IAMAT kiwi +34");
        herd.catch_up("Alford");
        (herd, Box::new(client))
    }),
    ("it reads a long journal", || {
        let herd = with_journal(400_000, 400_000);
        eventually("it looks for signals", || holds(herd.process("Alford").catches(Signal::TERM)));
        (herd, Box::new(()))
    }),
    ("it compacts its journal", || {
        let herd = with_journal(200_000, 60_000);
        let folder = herd.journal("Alford");
        let begun = || ["journal.2.new", "journal.2"].iter().any(|name| folder.join(name).exists());
        eventually("it compacts its journal", || holds(begun()));
        (herd, Box::new(()))
    }),
    ("a client of the status socket says half a line, another nothing", || {
        let herd = patient(Setup::alone()).start();
        let connect = || UnixStream::connect(herd.status_socket("Alford")).expect("it listens");
        let clients = (connect(), connect());
        (&clients.0).write_all(b"REL").expect("it is open");
        (herd, Box::new(clients))
    }),
    ("a lame duck", || {
        let herd = patient(Setup::alone()).limit("lame_duck_ms", 600_000).start();
        let client = herd.client("Alford");
        herd.process("Alford").signal(Signal::USR2);
        herd.closed("Alford");
        (herd, Box::new(client))
    }),
    ("it reloads", || {
        let herd = patient(Setup::alone()).start();
        herd.process("Alford").signal(Signal::HUP);
        (herd, Box::new(()))
    }),
    ("its journal is broken", || {
        // No file may grow beyond 48 KiB.
        let small = ["sh", "-c", "ulimit -f 96 && exec \"$0\" \"$@\""];
        let herd = patient(Setup::alone()).journal("sync = \"no\"").inside(&small).start();
        let mut client = herd.client("Alford");
        let mut stamp = 0;
        eventually("its journal is broken", || {
            stamp += 1;
            holds(client.ask(format!("IAMAT c{stamp} {NOWHERE} 1")).starts_with(b"?"))
        });
        (herd, Box::new(client))
    }),
    ("a client does not read", || {
        let herd = patient(Setup::alone()).start();
        let mut client = herd.narrow_client("Alford");
        let id = "kiwi".repeat(250);
        herd.hold_up("Alford", &mut client, |n| iamat(&id, "+0+0", &n.to_string()));
        (herd, Box::new(client))
    }),
    ("thousands of idle HTTP connections, and followers that do not read", || {
        raise_descriptors();
        let herd = patient(Setup::alone()).http().start();
        let address = herd.http_address("Alford");
        let ask = |path| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("it is open");
            stream
        };
        let idle: Vec<TcpStream> = (0..4_000).map(|_| ask("/healthz")).collect();
        let followers: Vec<TcpStream> = (0..64).map(|_| ask("/v1/events")).collect();
        for stream in idle.iter().chain(&followers) {
            stream.peek(&mut [0]).expect("it is answered");
        }
        (herd, Box::new((idle, followers)))
    }),
    ("one neighbour is silent after HELLO, one does not say it, one is not there", || {
        let setup = patient(Setup::alone()).played("Aaron", "Alford").played("Bolden", "Alford");
        let mut herd = setup.played("Clark", "Alford").start();
        let clark = herd.leave_to_others("Clark");
        let links = (herd.neighbour("Aaron", "Alford"), herd.dialled("Bolden"));
        (herd, Box::new((links, clark)))
    }),
    #[cfg(feature = "pki")]
    ("of three TLS neighbours two are silent, and one has begun the handshake", || {
        let setup = patient(Setup::alone()).limit("peer_tls_ms", 60_000).more("[peer_tls]");
        let setup = setup.played("Bolden", "Alford").prepared(|folder| {
            for args in [&["init"][..], &["issue", "Alford"]] {
                let mut pki = Command::new(env!("CARGO_BIN_EXE_herd"));
                let made = pki.arg("pki").args(args).current_dir(folder).output();
                assert!(made.expect("it runs").status.success(), "{args:?}");
            }
        });
        let herd = setup.start();
        let connect = || TcpStream::connect(herd.peer_address("Alford")).expect("it listens");
        let (dialled, silent, begun) = (herd.dialled("Bolden"), connect(), connect());
        // The head of a record of a handshake.
        (&begun).write_all(b"\x16\x03\x01\x02\0\x01\0").expect("it is open");
        (herd, Box::new((dialled, silent, begun)))
    }),
    ("its bus refuses connections, and a reply waits for it", || {
        let nowhere = RefusingPort::new();
        let (herd, client) = with_bus(nowhere.address());
        (herd, Box::new((client, nowhere)))
    }),
    ("its bus is silent, and a reply waits for it", || {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (herd, client) = with_bus(silent.local_addr().expect("it is bound"));
        (herd, Box::new((client, silent)))
    }),
    ("the name server is silent", || {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = silent.local_addr().expect("it is bound");
        let (herd, client) = with_places("https://places.test", address);
        (herd, Box::new((client, silent)))
    }),
    ("the source of places is silent", || {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = silent.local_addr().expect("it is bound");
        let (herd, client) = with_places(&format!("http://{address}"), address);
        (herd, Box::new((client, silent)))
    }),
];

#[test]
fn in_every_state_a_server_ends_within_drain_ms_and_half_a_second_of_a_sigterm() {
    for (state, make) in STATES {
        ends_in_time(state, make);
    }
}

/// Asserts that a server in the state that `make` brings it to ends in time after a SIGTERM.
pub(super) fn ends_in_time(state: &str, make: impl Fn() -> Kept) {
    const ATTEMPTS: usize = 5;
    let mut times = Vec::new();
    // A busy machine may delay one attempt, or two, but a state that lasts is late each time.
    while times.iter().all(|time| *time > Duration::from_millis(300 + 500)) {
        assert!(times.len() < ATTEMPTS, "{state}: it has ended after {times:?}");
        let (mut herd, kept) = make();
        let signalled = Instant::now();
        herd.process("Alford").signal(Signal::TERM);
        let ended = || herd.process_mut("Alford").ended().ok_or("it runs");
        let status = eventually(state, ended);
        times.push(signalled.elapsed());
        assert!([Some(0), Some(74)].contains(&status.code()), "{state}: {status}");
        drop(kept);
    }
    println!("{state}: {:?}", times.last());
}
