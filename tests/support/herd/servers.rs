//! A herd of processes: its topology, its ports, its start and its end.

use super::super::ports::wait_until_free;
use super::{Client, PATIENCE, Process, eventually, holds, show};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The servers of the Python original.
pub(crate) const FIVE: [&str; 5] = ["Alford", "Bolden", "Hamilton", "Parker", "Welsh"];

/// The links of the Python original.
const EDGES_OF_FIVE: [(&str, &str); 5] = [
    ("Alford", "Parker"),
    ("Alford", "Welsh"),
    ("Bolden", "Parker"),
    ("Bolden", "Welsh"),
    ("Hamilton", "Parker"),
];

/// Ports below the kernel's range for outgoing connections, and above those that other programs like to use.
const PORTS: std::ops::Range<u16> = 15_000..32_768;

/// Maximum attempts to start a server: another program may take a port after we have found it free.
const STARTS: usize = 5;

/// The description of a herd.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    edges: Vec<(String, String)>,
    servers: Vec<Listed>,
    limits: String,
    rust_log: Option<&'static str>,
    descriptors: Option<u32>,
    journal: Option<String>,
    inside: Vec<&'static str>,
    more: String,
    has_http: bool,
    prepare: Option<fn(&Path)>,
    program: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Listed {
    name: String,
    played: bool,
    plain: bool,
}

impl Setup {
    /// The five servers of the Python original and their links.
    pub(crate) fn five() -> Setup {
        Setup::of(&FIVE, &EDGES_OF_FIVE)
    }

    /// Alford, which has no neighbour.
    pub(crate) fn alone() -> Setup {
        Setup::of(&["Alford"], &[])
    }

    /// A herd of the servers `names` with these edges. Timeouts that tests wait for are short; PINGs are rare, so that
    /// an idle herd sends nothing.
    pub(crate) fn of(names: &[&str], edges: &[(&str, &str)]) -> Setup {
        let listed = |name: &&str| Listed { name: (*name).to_owned(), played: false, plain: false };
        Setup {
            servers: names.iter().map(listed).collect(),
            edges: edges.iter().map(|(one, other)| ((*one).into(), (*other).into())).collect(),
            limits: "retry_first_ms = 20\nretry_max_ms = 200\n".to_owned(),
            ..Setup::default()
        }
        .limit("ping_ms", 60_000)
        .limit("silence_ms", 600_000)
    }

    /// Sets a key of `[limits]`.
    pub(crate) fn limit(mut self, key: &str, value: u64) -> Setup {
        let others = self.limits.lines().filter(|line| !line.starts_with(&format!("{key} ")));
        let others: String = others.map(|line| format!("{line}\n")).collect();
        self.limits = format!("{others}{key} = {value}\n");
        self
    }

    /// Adds the neighbour `name` of `of`, which is not started: the test plays it.
    pub(crate) fn played(self, name: &str, of: &str) -> Setup {
        self.add(name, of, false)
    }

    /// Adds the plain neighbour `name` of `of`, which the test plays.
    pub(crate) fn plain(self, name: &str, of: &str) -> Setup {
        self.add(name, of, true)
    }

    fn add(mut self, name: &str, of: &str, plain: bool) -> Setup {
        self.servers.push(Listed { name: name.to_owned(), played: true, plain });
        self.edges.push((of.to_owned(), name.to_owned()));
        self
    }

    /// Does not log lines in and out: for tests that send megabytes.
    pub(crate) fn without_traffic_in_the_log(mut self) -> Setup {
        self.rust_log = Some("info,herd::traffic=off");
        self
    }

    /// Limits each server to `most` descriptors.
    pub(crate) fn descriptors(mut self, most: u32) -> Setup {
        self.descriptors = Some(most);
        self
    }

    /// Gives every server a journal; `settings` are the lines of `[journal]`.
    pub(crate) fn journal(mut self, settings: &str) -> Setup {
        self.journal = Some(settings.to_owned());
        self
    }

    /// Starts every server by `command`, in the herd's folder; the server's own command line is appended.
    pub(crate) fn inside(mut self, command: &[&'static str]) -> Setup {
        self.inside = command.to_owned();
        self
    }

    /// Adds tables to the topology.
    pub(crate) fn more(mut self, tables: &str) -> Setup {
        self.more = format!("{}\n{tables}\n", self.more);
        self
    }

    /// Gives every server an HTTP port.
    pub(crate) fn http(mut self) -> Setup {
        self.has_http = true;
        self
    }

    /// Runs the servers by the program at `path`, such as that of an earlier release.
    pub(crate) fn program(mut self, path: PathBuf) -> Setup {
        self.program = Some(path);
        self
    }

    /// Calls `prepare` with the herd's folder, when the topology is written and before a server is started.
    pub(crate) fn prepared(mut self, prepare: fn(&Path)) -> Setup {
        self.prepare = Some(prepare);
        self
    }

    /// Writes the topology, starts the servers, and waits until each answers at both ports.
    #[track_caller]
    pub(crate) fn start(self) -> Herd {
        let mut why = String::new();
        for _ in 0..STARTS {
            match Herd::start(self.clone()) {
                Ok(herd) => return herd,
                Err(failure) => why = failure,
            }
        }
        panic!("no herd after {STARTS} starts: {why}");
    }
}

/// A herd of running servers. Dropping this value ends them.
#[derive(Debug)]
pub(crate) struct Herd {
    setup: Setup,
    folder: PathBuf,
    addresses: BTreeMap<String, ServerAddrs>,
    processes: BTreeMap<String, Process>,
    /// The peer ports of the servers that the test plays.
    listeners: BTreeMap<String, TcpListener>,
}

#[derive(Clone, Copy, Debug)]
struct ServerAddrs {
    client: SocketAddr,
    peer: SocketAddr,
    http: SocketAddr,
}

impl Herd {
    fn start(setup: Setup) -> Result<Herd, String> {
        let mut herd = Herd {
            folder: new_folder(),
            addresses: BTreeMap::new(),
            processes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            setup,
        };
        herd.take_addresses();
        fs::write(herd.topology(), herd.topology_text()).expect("the folder is ours");
        if let Some(prepare) = herd.setup.prepare {
            prepare(&herd.folder);
        }
        for name in herd.started() {
            herd.spawn(&name);
        }
        for name in herd.started() {
            herd.wait_until_it_listens(&name)?;
        }
        Ok(herd)
    }

    /// The names of the servers that are processes.
    fn started(&self) -> Vec<String> {
        let started = self.setup.servers.iter().filter(|server| !server.played);
        started.map(|server| server.name.clone()).collect()
    }

    fn take_addresses(&mut self) {
        // All ports are held until the last is found, so that none is found twice.
        let mut held = Vec::new();
        for server in &self.setup.servers {
            let [client, peer, http] = [(); 3].map(|()| free_port());
            let address = |port: &TcpListener| port.local_addr().expect("it listens");
            let [client_addr, peer_addr, http_addr] = [&client, &peer, &http].map(address);
            let addresses = ServerAddrs { client: client_addr, peer: peer_addr, http: http_addr };
            self.addresses.insert(server.name.clone(), addresses);
            match server.played {
                true => drop(self.listeners.insert(server.name.clone(), peer)),
                false => held.push(peer),
            }
            held.extend([client, http]);
        }
    }

    fn topology_text(&self) -> String {
        let Setup { servers, edges, limits, .. } = &self.setup;
        let herd = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let mut text = format!("herd = \"{herd}\"\n\n[limits]\n{limits}");
        if let Some(settings) = &self.setup.journal {
            text += &format!("\n[journal]\n{settings}\n");
        }
        text += &self.setup.more;
        for Listed { name, plain, .. } in servers {
            let ServerAddrs { client, peer, http } = self.addresses[name];
            let other = |(one, other): &(String, String)| match () {
                () if one == name => Some(format!("{other:?}")),
                () if other == name => Some(format!("{one:?}")),
                () => None,
            };
            let neighbours = edges.iter().filter_map(other).collect::<Vec<_>>().join(", ");
            text += &format!(
                "\n[[server]]\nname = \"{name}\"\nclient = \"{client}\"\npeer = \"{peer}\"\n\
                 neighbours = [{neighbours}]\nplain = {plain}\n"
            );
            if self.setup.has_http && !plain {
                text += &format!("http = \"{http}\"\n");
            }
        }
        text
    }

    fn spawn(&mut self, name: &str) {
        let built = Path::new(env!("CARGO_BIN_EXE_herd"));
        let program = self.setup.program.as_deref().unwrap_or(built);
        let mut command = match self.setup.descriptors {
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\"")]).arg(program);
                shell
            }
            None => match self.setup.inside.split_first() {
                Some((first, more)) => {
                    let mut outer = Command::new(first);
                    outer.args(more).arg(program).current_dir(&self.folder);
                    outer
                }
                None => Command::new(program),
            },
        };
        command.arg("serve").arg(name).arg("--topology").arg(self.topology());
        match self.setup.rust_log {
            Some(filter) => command.env("RUST_LOG", filter),
            None => command.env_remove("RUST_LOG"),
        };
        let output = File::options().create(true).append(true).open(self.output(name));
        let output = output.expect("the folder is ours");
        let errors = output.try_clone().expect("a descriptor is free");
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().expect("the program can be started");
        self.processes.insert(name.to_owned(), Process::new(child));
    }

    fn wait_until_it_listens(&mut self, name: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let client = self.client_address(name);
        loop {
            // The client port is opened last, so everything is open when it is.
            let listens = TcpStream::connect(client);
            if let Some(status) = self.process_mut(name).ended() {
                let said = fs::read_to_string(self.output(name)).unwrap_or_default();
                return Err(format!("{name} has ended, {status}: {said}"));
            }
            match listens {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() > deadline => {
                    return Err(format!("{name} does not listen: {why}"));
                }
                Err(_) => thread::park_timeout(Duration::from_millis(2)),
            }
        }
    }

    /// The herd's name.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The address of the client port of `name`.
    pub(crate) fn client_address(&self, name: &str) -> SocketAddr {
        self.addresses[name].client
    }

    /// The address of the HTTP port of `name`.
    pub(crate) fn http_address(&self, name: &str) -> SocketAddr {
        self.addresses[name].http
    }

    /// The address of the peer port of `name`.
    pub(crate) fn peer_address(&self, name: &str) -> SocketAddr {
        self.addresses[name].peer
    }

    /// Stops playing `name`, and returns the address of its peer port, at which a process may listen now.
    pub(crate) fn hand_over(&mut self, name: &str) -> SocketAddr {
        drop(self.listeners.remove(name).expect("the test plays it"));
        wait_until_free(self.peer_address(name));
        self.peer_address(name)
    }

    /// A new connection to the client port of `name`.
    #[track_caller]
    pub(crate) fn client(&self, name: &str) -> Client {
        Client::connect(self.addresses[name].client)
    }

    /// A new connection to the client port of `name`, with buffers so small that a server soon notices a client that
    /// does not read.
    #[track_caller]
    pub(crate) fn narrow_client(&self, name: &str) -> Client {
        Client::connect_narrow(self.addresses[name].client)
    }

    /// A new connection to the peer port of `name`.
    #[track_caller]
    pub(crate) fn stranger(&self, name: &str) -> Client {
        Client::connect(self.addresses[name].peer)
    }

    /// A new connection to the peer port of `name`, as its neighbour `played`; both HELLOs are exchanged.
    #[track_caller]
    pub(crate) fn neighbour(&self, played: &str, name: &str) -> Client {
        self.greeted(self.stranger(name), played, name)
    }

    /// A new connection to the peer port of `name`, as its neighbour `played`, with small buffers; both HELLOs are
    /// exchanged.
    #[track_caller]
    pub(crate) fn narrow_neighbour(&self, played: &str, name: &str) -> Client {
        self.greeted(Client::connect_narrow(self.addresses[name].peer), played, name)
    }

    #[track_caller]
    fn greeted(&self, mut neighbour: Client, played: &str, name: &str) -> Client {
        let answer = neighbour.ask(self.hello(played));
        assert_eq!(show(&answer), self.told_hello(name), "HELLO is answered by HELLO");
        neighbour
    }

    /// A HELLO of `name` that tells no range of versions, without an LF.
    pub(crate) fn hello(&self, name: &str) -> String {
        format!("HELLO {name} {} 1", self.name())
    }

    /// The HELLO with which the server `name` answers one without options, without an LF.
    pub(crate) fn told_hello(&self, name: &str) -> String {
        format!("{} speaks=1-1", self.hello(name))
    }

    /// Stops listening for `played`, and returns the address at which another program must listen to play it.
    pub(crate) fn leave_to_others(&mut self, played: &str) -> SocketAddr {
        drop(self.listeners.remove(played));
        wait_until_free(self.addresses[played].peer);
        self.addresses[played].peer
    }

    /// Accepts the connection that a server has made to `played`.
    #[track_caller]
    pub(crate) fn dialled(&self, played: &str) -> Client {
        let listener = &self.listeners[played];
        listener.set_nonblocking(true).expect("a socket can be made so");
        let (stream, _) = eventually(&format!("{played} is dialled"), || listener.accept());
        stream.set_nonblocking(false).expect("a socket can be made so");
        Client::from(stream)
    }

    /// Waits until `name` has read all bytes that were sent to it before this call.
    ///
    /// The server has one thread: bytes that were in a socket when it answered us have been read, at the latest in
    /// the same turn.
    #[track_caller]
    pub(crate) fn catch_up(&self, name: &str) {
        same_refusal(&mut self.client(name));
    }

    /// Sends `command(0)`, `command(1)` and so on to `name`, and reads nothing, until the server reads no more: it
    /// answers other clients again and again, and leaves the bytes in this socket unread. Returns how many commands
    /// were begun, and the unsent rest of them. The longer the commands and their replies, the fewer fill the kernel's
    /// buffers of some megabytes.
    #[track_caller]
    pub(crate) fn hold_up(
        &self,
        name: &str,
        client: &mut Client,
        command: impl Fn(usize) -> String,
    ) -> (usize, Vec<u8>) {
        const AT_A_TIME: usize = 1_000;
        let mut other = self.client(name);
        let (mut begun, mut rest) = (0, Vec::new());
        let (mut unread, mut turns, mut since) = (0, 0, Instant::now());
        // On a busy machine each turn takes long.
        let deadline = Instant::now() + PATIENCE * 5;
        // The time is for TCP, which waits before it retransmits segments that found no room at the other end.
        while turns < 50 || since.elapsed() < Duration::from_millis(500) {
            assert!(Instant::now() < deadline, "{name} takes commands for ever: {begun} so far");
            if rest.is_empty() {
                let more = (0..AT_A_TIME).map(|n| command(begun + n)).collect::<String>();
                rest = more.into_bytes();
                begun += AT_A_TIME;
            }
            let sent = client.send_now(&rest);
            rest.drain(..sent);
            same_refusal(&mut other);
            let before = unread;
            unread = if sent == 0 { client.unread_by_server() } else { 0 };
            match unread > 0 && unread == before {
                true => turns += 1,
                false => (turns, since) = (0, Instant::now()),
            }
        }
        (begun, rest)
    }

    /// The AT line with which `name` answers a WHATSAT of `client`, if it knows the client.
    #[track_caller]
    pub(crate) fn report(&self, name: &str, client: &str) -> Option<String> {
        let nearby = self.client(name).whatsat(client, "0.001", "1").ok()?;
        Some(String::from_utf8(nearby.line).expect("the tests that ask this use ASCII"))
    }

    /// The AT lines with which `name` answers WHATSATs of `clients`.
    #[track_caller]
    pub(crate) fn reports(&self, name: &str, clients: &[String]) -> Vec<Option<String>> {
        let mut connection = self.client(name);
        let mut lines = Vec::with_capacity(clients.len());
        // 50 replies fit into the buffers, because no places are near.
        for some in clients.chunks(50) {
            let asked: String =
                some.iter().map(|client| format!("WHATSAT {client} 0.001 1\n")).collect();
            connection.send(asked);
            lines.extend(some.iter().map(|_| {
                let nearby = connection.nearby().ok()?;
                Some(String::from_utf8(nearby.line).expect("the tests that ask this use ASCII"))
            }));
        }
        lines
    }

    /// Waits until all of `names` serve `line` for `client`.
    #[track_caller]
    pub(crate) fn settle(&self, names: &[&str], client: &str, line: &[u8]) {
        let line = show(line);
        for name in names {
            eventually(&format!("{name} knows {line}"), || {
                let known = self.report(name, client);
                if known.as_deref() == Some(&line) { Ok(()) } else { Err(known) }
            });
        }
    }

    /// The process of `name`.
    pub(crate) fn process(&self, name: &str) -> &Process {
        &self.processes[name]
    }

    /// The process of `name`, to be ended.
    pub(crate) fn process_mut(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).expect("it was started")
    }

    /// Kills `name` with SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) {
        self.process_mut(name).kill();
    }

    /// Restarts `name`, which has ended, and waits until it listens.
    #[track_caller]
    pub(crate) fn restart(&mut self, name: &str) {
        self.spawn(name);
        self.wait_until_it_listens(name).expect("its ports are still its own");
    }

    /// Runs servers that are started from now on by the program at `path`, or by this one.
    pub(crate) fn use_program(&mut self, path: Option<&Path>) {
        self.setup.program = path.map(Path::to_owned);
    }

    /// Restarts `name`, which may refuse to start. The error is its output.
    pub(crate) fn try_restart(&mut self, name: &str) -> Result<(), String> {
        // Removes the output of its earlier processes.
        fs::write(self.output(name), "").expect("the folder is ours");
        self.spawn(name);
        self.wait_until_it_listens(name)
    }

    /// Restarts `name` without waiting.
    pub(crate) fn begin(&mut self, name: &str) {
        self.spawn(name);
    }

    /// Sets a key of `[limits]` in the topology file, for servers that are started from now on.
    pub(crate) fn edit_limit(&mut self, key: &str, value: u64) {
        self.setup = self.setup.clone().limit(key, value);
        fs::write(self.topology(), self.topology_text()).expect("the folder is ours");
    }

    /// The status JSON of `name`.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> Value {
        let mut socket = UnixStream::connect(self.status_socket(name)).expect("it listens");
        socket.write_all(b"STATUS\n").expect("it reads");
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).expect("a line of JSON")
    }

    /// The herd's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the journal of `name`.
    pub(crate) fn journal(&self, name: &str) -> PathBuf {
        self.folder.join("journal").join(name)
    }

    /// Stops `name` with SIGSTOP; it keeps its connections.
    pub(crate) fn freeze(&self, name: &str) {
        self.process(name).signal(Signal::STOP);
    }

    /// Resumes `name` with SIGCONT.
    pub(crate) fn thaw(&self, name: &str) {
        self.process(name).signal(Signal::CONT);
    }

    /// The content of the log files of `name`, of all its processes.
    pub(crate) fn log(&self, name: &str) -> String {
        let files = fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten();
        let ours = |path: &PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with(&format!("{name}-")) && file.ends_with(".log")
        };
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).filter(ours).collect();
        paths.sort_unstable();
        paths.iter().map(|path| fs::read_to_string(path).expect("a log is UTF-8")).collect()
    }

    /// Waits until a line of the log of `name` contains all of `parts`, and returns it.
    #[track_caller]
    pub(crate) fn logged(&self, name: &str, parts: &[&str]) -> String {
        eventually(&format!("the log of {name} has a line with {parts:?}"), || {
            let log = self.log(name);
            let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
            line.map(str::to_owned).ok_or("no such line")
        })
    }

    /// Waits until the log of `dialler` says that it is linked to `dialled`.
    #[track_caller]
    pub(crate) fn linked(&self, one: &str, other: &str) {
        let (dialler, dialled) = if one < other { (one, other) } else { (other, one) };
        self.logged(dialler, &["linked to", dialled]);
    }

    /// Waits until the client port of `name` is closed.
    #[track_caller]
    pub(crate) fn closed(&self, name: &str) {
        let address = self.client_address(name);
        eventually(&format!("{name} listens no more"), || {
            holds(TcpStream::connect(address).is_err())
        });
    }

    /// The topology file.
    pub(crate) fn topology(&self) -> PathBuf {
        self.folder.join("topology.toml")
    }

    /// The path of the status socket of `name`.
    pub(crate) fn status_socket(&self, name: &str) -> PathBuf {
        self.folder.join("run").join(format!("{name}.sock"))
    }

    /// The file with stdout and stderr of `name`.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.output"))
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        // The processes end first, because they write to the folder.
        self.processes.clear();
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
            return;
        }
        eprintln!("the herd's topology, output and logs are kept in {}", self.folder.display());
        for name in self.started() {
            let said = fs::read_to_string(self.output(&name)).unwrap_or_default();
            eprintln!("{name} said: {}", said.trim_end());
        }
    }
}

#[track_caller]
fn same_refusal(client: &mut Client) {
    super::same(&client.ask("anything?"), b"? anything?", "others are served");
}

/// An empty folder that no other test has.
fn new_folder() -> PathBuf {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let name = format!("herd-{}-{number}", process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("cargo has made a folder for us");
    folder
}

/// Finds a free port, which the listener holds until it is dropped.
fn free_port() -> TcpListener {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..PORTS.len() {
        // Each test program starts at another port, and each further search at the next.
        let start = process::id().wrapping_mul(7_919) % PORTS.len() as u32;
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + ((start + u32::from(step)) % PORTS.len() as u32) as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
