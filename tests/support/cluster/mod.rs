//! A herd in one process: real servers on real reactors, each over a [`MemoryIo`] of its own, and one more reactor
//! for the outside: clients, strangers, and servers that a test plays itself.
//!
//! ```text
//!      Alford      Bolden      ...      outside        reactors, none of which ever sleeps
//!         │ Io        │ Io                 │ Io
//!      MemoryIo    MemoryIo    ...      MemoryIo
//!         └───────────┴── Segments ────────┘           the Cluster: carries, holds, drops, counts
//! ```
//!
//! The cluster owns the clock and the cables. Each step carries the sent segments, advances the time to the next
//! event, and runs a turn of each machine that has something to do, in the order of the topology. So it is as
//! deterministic as its parts: the same seed gives the same run, and years cost seconds.
//!
//! Each server has a machine with an address of its own, 10.0.0.1 for the first of the topology and 10.1.0.0 for the
//! 256th. A machine that is started again dials from another address, so that no old connection is taken for a new one. An address that
//! belongs to no server is outside.
//!
//! Machines and their processes end in different ways. A machine that [vanishes](Cluster::crash) sends nothing, and
//! data for it is lost. If a process is [frozen](Cluster::freeze) or [killed](Cluster::kill), its kernel goes on:
//! it receives data and answers as a kernel does.

// Each test file uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod cables;
pub(crate) mod graphs;
#[path = "../memory_disk.rs"]
pub(crate) mod memory_disk;
mod outside;

pub(crate) use self::outside::{Ending, Outside, TalkId};

use self::cables::Cables;
use self::memory_disk::{MemoryDisk, SharedDisk};
use self::outside::Answerer;
use herd_reactor::testing::{MemoryIo, MemoryOptions, Segment, SegmentKind};
use herd_reactor::{Io, Moment, Reactor, ReactorLimits, UnixNanos};
use places_herd::config::{ServerView, Topology};
use places_herd::journal::{JournalSettings, OpenError, Replayed};
use places_herd::places::{Progress, Query, Source, Ticket};
use places_herd::server::config_state::{ConfigReader, Prepared};
use places_herd::server::member::Member;
use places_herd::server::network::Network;
use places_herd::server::peer_tls::PeerTls;
use places_herd::table::ReportOrigin;
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::report::Report;
use std::cell::RefMut;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const NANO: Duration = Duration::from_nanos(1);

/// The herd of the shipped topology.toml, for [`topology`].
pub(crate) const FIVE: &str =
    "Alford Parker Welsh; Bolden Parker Welsh; Hamilton Parker; Parker Bolden; Welsh";

/// The name of the machine that stands for the world outside the herd.
pub(crate) const OUTSIDE: &str = "outside";

/// The names of the machines of NATS begin with this; the node's number follows.
pub(crate) const NATS: &str = "nats";

/// The second byte of the addresses of these machines.
const NATS_NET: u8 = 254;

/// Where the node of NATS with this number listens. It is served by the outside, but has cables of its own.
pub(crate) fn nats_address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, NATS_NET, 0, node as u8 + 1], 4_222))
}

/// Maximum turns at one moment; beyond it the cluster is regarded as looping for ever.
const TURNS_MAX: usize = 1_000_000;

/// The text of a topology file. `servers`: `Alford Parker Welsh; Parker; Welsh*` is Alford with two
/// neighbours, of which Welsh is plain. `limits`: the lines of `[limits]`.
pub(crate) fn topology(servers: &str, limits: &str) -> String {
    let mut text = String::new();
    for (index, server) in servers.split(';').enumerate() {
        let mut words = server.split_whitespace();
        let name = words.next().expect("a server has a name");
        let neighbours: Vec<&str> = words.collect();
        let machine = format!("10.{}.0.{}", (index + 1) / 256, (index + 1) % 256);
        let peer = match name.strip_suffix('*') {
            Some(_) => "plain = true".to_owned(),
            None => format!("peer = '{machine}:12100'"),
        };
        writeln!(
            text,
            "[[server]]\nname = '{}'\nclient = '{machine}:12000'\n{peer}\n\
             neighbours = {neighbours:?}",
            name.trim_end_matches('*')
        )
        .expect("a String takes everything");
    }
    format!("herd = 'places-herd'\ninsecure_peers = true\n{text}[limits]\n{limits}\n")
}

/// Makes a topology as [`topology`] does, with `[peer_tls]` and the certificates in `folder`.
pub(crate) fn sealed(servers: &str, folder: &Path, limits: &str) -> String {
    let text = topology(servers, limits).replacen("insecure_peers = true\n", "", 1);
    format!("{text}[peer_tls]\nfolder = '{}'\n", folder.display())
}

/// The topology of the server with this name, which does not change; its certificates are read again at SIGHUP.
#[derive(Debug)]
struct Certificates(Topology, String);

impl ConfigReader for Certificates {
    fn read(
        &mut self,
        _: &ServerView,
        herd: &str,
        wall: UnixNanos,
    ) -> Result<Prepared, Vec<String>> {
        let Certificates(topology, name) = self;
        let read = |settings| PeerTls::read(settings, herd, name, wall);
        let peer_tls = topology.peer_tls.as_ref().map(read).transpose();
        Ok(Prepared {
            topology: topology.clone(),
            changes: Vec::new(),
            places: None,
            peer_tls: peer_tls.map_err(|fault| vec![fault.in_one_line()])?,
            access: places_herd::server::client_access::ClientAccess::default(),
            connections_max: usize::MAX,
        })
    }

    fn terminal_has_closed(&self) -> bool {
        false
    }
}

/// The servers, the outside, and the cables between them; see the head of this file.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: MemoryOptions,
    topology: Topology,
    /// The machines, in the order of the topology.
    machines: Vec<Machine>,
    outside: Reactor<MemoryIo, Outside>,
    cables: Cables,
    /// All bytes that were sent, by the two ends of their stream.
    wire: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
    /// A line for each segment, in the order in which they were sent, if a test wants it.
    log: Option<String>,
    meddler: Option<Box<dyn Meddler>>,
    /// Every attempt to connect: when, from where and to where.
    dials: Vec<(Moment, SocketAddr, SocketAddr)>,
    /// Segments to machines that were gone, which arrive when those are back.
    unanswered: Vec<Segment>,
    /// The function that answers datagrams outside.
    answerer: Option<Answerer>,
    now: Moment,
    carried: u64,
    turned: u64,
    lives: u32,
    outside_is_touched: bool,
}

/// One server's machine.
#[derive(Debug, Default)]
struct Machine {
    /// The machine's kernel and process; `None` before it was started, and after it has vanished.
    reactor: Option<Box<Reactor<MemoryIo, Member>>>,
    state: State,
    /// Whether the machine was ever started, so that its addresses are its own.
    was_started: bool,
    /// How often the machine was started.
    lives: usize,
    /// The duration of a turn of the machine's process.
    pace: Duration,
    /// The time when the next turn can begin.
    rests_until: Moment,
    /// The time when the last turn began.
    turned_at: Moment,
    /// Whether the test has accessed the machine since its last turn, so that it may have something to do.
    is_touched: bool,
    /// The disk of the machine's journal, if it has one.
    disk: Option<SharedDisk>,
}

/// The state of a machine's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    /// The process is stopped, and may be resumed.
    Frozen,
    /// The process is gone.
    Killed,
}

/// An observer that sees each event of a running cluster and may change it, which a test cannot do between two calls.
pub(crate) trait Meddler: std::fmt::Debug {
    /// The server with this number in the topology is started, perhaps again.
    fn started(&mut self, _server: usize) {}

    /// The server with this number in the topology has had its turn.
    fn turned(&mut self, _server: usize, _reactor: &mut Reactor<MemoryIo, Member>) {}

    /// `segment` was sent from the first to the second of `ends`. The segments that are added to `on` travel in its
    /// place.
    fn sent(&mut self, segment: Segment, _ends: [Option<&mut Member>; 2], on: &mut Vec<Segment>) {
        on.push(segment);
    }
}

/// The remains of a dead server: its disk, if it had a journal. Unsynced data may still be lost.
#[derive(Debug, Default)]
pub(crate) struct Remains(pub(crate) Option<MemoryDisk>);

impl Machine {
    /// The time when the machine next has something to do.
    fn wake(&mut self) -> Option<Moment> {
        let kernel = self.reactor.as_mut()?.io();
        match self.state {
            State::Running => kernel.next_wake().map(|wake| wake.max(self.rests_until)),
            State::Frozen | State::Killed => kernel.next_arrival(),
        }
    }

    /// Runs a turn of the machine's process, or only its kernel if the process cannot run. Returns whether the process
    /// had a turn.
    fn turn(&mut self, now: Moment) -> bool {
        let Some(reactor) = &mut self.reactor else { return false };
        self.is_touched = false;
        match self.state {
            State::Running if self.rests_until > now => reactor.io().arrive(),
            // The process has exited by itself; its kernel still sends the data that it has buffered.
            State::Running if reactor.is_stopped() => {
                reactor.io().poll(None, &mut Vec::new()).expect("this poll never fails");
            }
            State::Running => {
                (self.rests_until, self.turned_at) = (now + self.pace, now);
                // A turn ends in an error if the journal fails; then the process has ended.
                assert!(reactor.turn().is_ok() || reactor.is_stopped(), "this poll never fails");
                return true;
            }
            State::Frozen | State::Killed => reactor.io().arrive(),
        }
        false
    }
}

/// Puts `line` into the table of the server `name` without flooding it, as if a link had lost it.
pub(crate) fn know(cluster: &mut Cluster, name: &str, line: &str) {
    match Command::parse(line.as_bytes(), &CommandLimits::default()) {
        Ok(Command::At(at)) => {
            let mut scratch = Vec::new();
            let report = Report::relayed(&at, &mut scratch);
            let (_, verdict) = cluster.member(name).table.merge(&report, ReportOrigin::Server);
            assert!(verdict.is_news(), "{line}");
        }
        other => panic!("{line}: {other:?}"),
    }
}

impl Cluster {
    /// Creates a cluster without servers, in the network of `options` and the herd of `topology`.
    pub(crate) fn new(options: MemoryOptions, topology: &str) -> Cluster {
        let parsed = Topology::parse(topology, Path::new("topology.toml"));
        let topology = parsed.unwrap_or_else(|faults| panic!("{faults:?}\n{topology}"));
        let host = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
        let io = MemoryIo::external_clock(MemoryOptions { host, ..options.clone() });
        Cluster {
            machines: topology.servers.iter().map(|_| Machine::default()).collect(),
            topology,
            outside: Reactor::new(io, Outside::default(), ReactorLimits::default()),
            cables: Cables::default(),
            wire: BTreeMap::new(),
            log: None,
            meddler: None,
            dials: Vec::new(),
            unanswered: Vec::new(),
            answerer: None,
            now: Moment::default(),
            carried: 0,
            turned: 0,
            lives: 0,
            outside_is_touched: false,
            options,
        }
    }

    /// Creates a cluster with all servers of `topology`, started and linked.
    pub(crate) fn herd(options: MemoryOptions, topology: &str) -> Cluster {
        let mut cluster = Cluster::new(options, topology);
        for name in cluster.names() {
            cluster.start(&name);
        }
        cluster.settle();
        cluster
    }

    /// The names of all servers of the topology that are not plain.
    pub(crate) fn names(&self) -> Vec<String> {
        let members = self.topology.servers.iter().filter(|server| !server.plain);
        members.map(|server| server.name.clone()).collect()
    }

    /// The herd's topology.
    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Installs `meddler`.
    pub(crate) fn meddle(&mut self, meddler: Box<dyn Meddler>) {
        self.meddler = Some(meddler);
    }

    /// Replaces the topology for servers that are started from now on, as if the operator had edited the file. It must
    /// have the same servers.
    pub(crate) fn edit(&mut self, topology: &str) {
        let parsed = Topology::parse(topology, Path::new("topology.toml"));
        let topology = parsed.unwrap_or_else(|faults| panic!("{faults:?}\n{topology}"));
        assert_eq!(topology.servers, self.topology.servers, "the machines stay");
        self.topology = topology;
    }

    /// The time on a wall clock that no test has set.
    fn wall(&self) -> UnixNanos {
        let mut io = MemoryIo::external_clock(self.options.clone());
        io.advance(self.now);
        io.wall()
    }

    // Servers.

    /// Starts or restarts the server `name` with an empty table. Its source of places never answers.
    pub(crate) fn start(&mut self, name: &str) {
        self.start_with(name, Box::new(Silent));
    }

    /// Starts the server `name` with a journal on `disk`, with the topology's settings.
    pub(crate) fn start_on(&mut self, name: &str, disk: MemoryDisk) -> Result<Replayed, OpenError> {
        let settings = self.topology.journal.clone().expect("the topology has [journal]");
        let member = self.born(name, Box::new(Silent));
        let (member, replayed) = self.with_journal(name, member, disk, &settings)?;
        self.join(name, member);
        Ok(replayed)
    }

    /// Starts the server `name` with places from `source`.
    pub(crate) fn start_with(&mut self, name: &str, source: Box<dyn Source>) {
        let member = self.born(name, source);
        self.join(name, member);
    }

    /// Starts the server `name` with places from `source`, which uses `network`.
    pub(crate) fn start_asking(&mut self, name: &str, source: Box<dyn Source>, network: Network) {
        self.start_as(name, source, |member| member.with_network(network));
    }

    /// Starts the server `name` with places from `source`, changed by `made`.
    pub(crate) fn start_as(
        &mut self,
        name: &str,
        source: Box<dyn Source>,
        made: impl FnOnce(Member) -> Member,
    ) {
        let member = made(self.born(name, source));
        self.join(name, member);
    }

    /// Starts the server `name` from its remains; without a disk it has no journal. Returns what was replayed from its
    /// journal.
    pub(crate) fn start_from(
        &mut self,
        name: &str,
        source: Box<dyn Source>,
        remains: Remains,
    ) -> Result<Replayed, OpenError> {
        let mut member = self.born(name, source);
        let mut replayed = Replayed::default();
        if let (Some(disk), Some(settings)) = (remains.0, self.topology.journal.clone()) {
            (member, replayed) = self.with_journal(name, member, disk, &settings)?;
        }
        self.join(name, member);
        Ok(replayed)
    }

    /// Gives `member` a journal on `disk`, which survives the member's death.
    fn with_journal(
        &mut self,
        name: &str,
        member: Member,
        disk: MemoryDisk,
        settings: &JournalSettings,
    ) -> Result<(Member, Replayed), OpenError> {
        let disk = SharedDisk::new(disk);
        let held = Box::new(disk.clone());
        let opened = member.with_journal(held, settings, self.wall(), &mut || false)?;
        let machine = self.number(name);
        self.machines[machine].disk = Some(disk);
        Ok(opened)
    }

    fn born(&mut self, name: &str, source: Box<dyn Source>) -> Member {
        self.lives += 1;
        let seed = self.options.seed.wrapping_add(u64::from(self.lives) << 32);
        let member = Member::new(&self.topology, name, source, seed, usize::MAX);
        member.expect("it is in the topology")
    }

    fn join(&mut self, name: &str, member: Member) {
        let machine = self.number(name);
        let server = &self.topology.servers[machine];
        let IpAddr::V4(address) = server.client_listen.ip() else {
            unreachable!("all are 10.x.0.y")
        };
        let [_, high, _, low] = address.octets();
        // Servers listen in the net 10.x.0.y.
        let life = ((self.lives - 1) % 255 + 1) as u8;
        let host = IpAddr::V4(Ipv4Addr::new(10, high, life, low));
        let seed = self.options.seed.wrapping_add(u64::from(self.lives) << 32);
        let mut io = MemoryIo::external_clock(MemoryOptions { seed, host, ..self.options.clone() });
        io.advance(self.now);
        let mut member = member;
        if let Some(settings) = &self.topology.peer_tls {
            let read = PeerTls::read(settings, &self.topology.herd, name, io.wall());
            let peer_tls = read.unwrap_or_else(|fault| panic!("{fault}"));
            member.peer_tls = Some(Box::new(peer_tls));
            let certificates = Certificates(self.topology.clone(), name.to_owned());
            member.config_reader = Some(Box::new(certificates));
        }
        let limits = Member::reactor_limits(&self.topology);
        let mut reactor = Reactor::new(io, member, limits);
        Member::start(&mut reactor).expect("nobody listens there yet");
        let lives = self.machines[machine].lives + 1;
        if let Some(before) = &mut self.machines[machine].reactor {
            // The machine is the same, so segments under way still reach its kernel.
            self.unanswered.extend(before.io().take_under_way());
        }
        self.machines[machine] = Machine {
            reactor: Some(Box::new(reactor)),
            was_started: true,
            lives,
            is_touched: true,
            disk: self.machines[machine].disk.take(),
            ..Machine::default()
        };
        if let Some(meddler) = &mut self.meddler {
            meddler.started(machine);
        }
        for segment in std::mem::take(&mut self.unanswered) {
            self.carry(segment);
        }
    }

    /// Makes the machine of `name` vanish without a sign. Data for it is lost, but attempts to connect are repeated
    /// when it is back. (A machine that was never started refuses them.)
    pub(crate) fn crash(&mut self, name: &str) -> Remains {
        self.carry_all();
        let machine = self.number(name);
        let mut dead = self.machines[machine].reactor.take().expect("it was started");
        for segment in dead.io().take_under_way() {
            self.carry(segment);
        }
        drop(dead);
        self.remains(machine)
    }

    fn remains(&mut self, machine: usize) -> Remains {
        Remains(self.machines[machine].disk.take().map(|disk| disk.take()))
    }

    /// Kills the process of `name`; its kernel closes its connections.
    pub(crate) fn kill(&mut self, name: &str) -> Remains {
        let machine = self.number(name);
        self.reactor(name).io().kill();
        self.machines[machine].state = State::Killed;
        self.remains(machine)
    }

    /// Stops the process of `name`, until it is [thawed](Cluster::thaw).
    pub(crate) fn freeze(&mut self, name: &str) {
        let machine = self.number(name);
        if self.machines[machine].state == State::Running {
            self.machines[machine].state = State::Frozen;
        }
    }

    /// Resumes a frozen process.
    pub(crate) fn thaw(&mut self, name: &str) {
        let machine = self.number(name);
        if self.machines[machine].state == State::Frozen {
            self.machines[machine].state = State::Running;
            self.machines[machine].is_touched = true;
        }
    }

    /// Sets the duration of each turn of `name`.
    pub(crate) fn set_pace(&mut self, name: &str, pace: Duration) {
        let machine = self.number(name);
        self.machines[machine].pace = pace;
    }

    /// Whether the process of `name` exists; it may be frozen.
    pub(crate) fn lives(&self, name: &str) -> bool {
        let machine = &self.machines[self.number(name)];
        machine.reactor.is_some() && machine.state != State::Killed
    }

    /// The time until which `name` has done all due work: now, unless its process is stopped or waits between two
    /// turns.
    pub(crate) fn is_done_until(&self, name: &str) -> Moment {
        let machine = &self.machines[self.number(name)];
        let rests = machine.rests_until > self.now || machine.is_touched;
        match machine.state == State::Running && !rests {
            true => self.now,
            false => machine.turned_at,
        }
    }

    /// How often `name` was started.
    pub(crate) fn life(&self, name: &str) -> usize {
        self.machines[self.number(name)].lives
    }

    /// Makes the machine of `name` vanish, and returns its disk. Unsynced data may still be lost.
    pub(crate) fn crash_off(&mut self, name: &str) -> MemoryDisk {
        self.crash(name).0.expect("it was started with one")
    }

    /// The disk of the server `name`.
    pub(crate) fn disk(&self, name: &str) -> RefMut<'_, MemoryDisk> {
        self.machines[self.number(name)].disk.as_ref().expect("it was started with one").look()
    }

    /// Whether the server `name` has exited by itself.
    pub(crate) fn has_ended(&mut self, name: &str) -> bool {
        self.reactor(name).is_stopped()
    }

    /// The state of the server `name`.
    pub(crate) fn member(&mut self, name: &str) -> &mut Member {
        self.reactor(name).state()
    }

    /// The reactor of the server `name`. Changes to it take effect when the cluster runs on.
    pub(crate) fn reactor(&mut self, name: &str) -> &mut Reactor<MemoryIo, Member> {
        let number = self.number(name);
        let machine = &mut self.machines[number];
        machine.is_touched = true;
        machine.reactor.as_mut().expect("it was started")
    }

    /// The AT line of each client that `name` knows.
    pub(crate) fn knows(&mut self, name: &str) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let herd = &self.member(name).table;
        herd.iter().map(|(_, at)| (text(at.client()), text(at.line()))).collect()
    }

    /// The neighbours that `name` regards as linked.
    pub(crate) fn linked(&mut self, name: &str) -> BTreeSet<String> {
        let links = self.member(name).neighbours.iter();
        links.filter(|(_, link)| link.conn.is_some()).map(|(_, l)| l.server.name.clone()).collect()
    }

    /// The number of bytes that wait in `name` to be sent to its neighbour `to`.
    pub(crate) fn pending(&mut self, name: &str, to: &str) -> usize {
        let (member, core) = self.reactor(name).parts();
        let id = member.neighbours.named(to.as_bytes()).expect("a neighbour");
        member.neighbours.get(id).conn.map_or(0, |conn| core.pending(conn))
    }

    /// The bytes that `name` still has to send to its neighbours, or that they have not read yet. Each client in a
    /// backlog counts as the longest line.
    pub(crate) fn waiting_on_links(&mut self, name: &str) -> usize {
        let reactor = self.reactor(name);
        let (member, core) = reactor.parts();
        let longest = member.table.iter().map(|(_, at)| at.line().len() + 1).max().unwrap_or(0);
        let links = member.neighbours.iter().filter_map(|(_, link)| {
            let conn = link.conn?;
            Some((conn, core.pending(conn) + member.table.backlogs.len(link.backlog) * longest))
        });
        let links: Vec<_> = links.collect();
        links.into_iter().map(|(conn, to_say)| to_say + reactor.io().unread_bytes(conn)).sum()
    }

    /// How many clients are in the backlog of `name`'s neighbour `to`.
    pub(crate) fn backlog(&mut self, name: &str, to: &str) -> usize {
        let member = self.member(name);
        let id = member.neighbours.named(to.as_bytes()).expect("a neighbour");
        member.table.backlogs.len(member.neighbours.get(id).backlog)
    }

    /// Sets every server's wall clock to `shown`, and stops it, so that results do not depend on when it is read.
    pub(crate) fn stop_wall_clocks(&mut self, shown: UnixNanos) {
        for reactor in self.machines.iter_mut().filter_map(|machine| machine.reactor.as_mut()) {
            reactor.io().set_wall(shown);
            reactor.io().set_wall_skew(-1_000_000);
        }
    }

    /// The number of the server `name` in the topology; the outside has the number after the last, and the nodes of NATS
    /// follow.
    fn number(&self, name: &str) -> usize {
        let number = self.topology.servers.iter().position(|server| server.name == name);
        let node = || name.strip_prefix(NATS).and_then(|node| node.parse::<usize>().ok());
        number.or_else(|| node().map(|node| self.machines.len() + 1 + node)).unwrap_or_else(|| {
            assert_eq!(name, OUTSIDE, "a server of the topology");
            self.machines.len()
        })
    }

    // Cables.

    /// Cuts the cable between two machines until [`heal`](Cluster::heal): each packet is lost and retransmitted until
    /// then. `"outside"` is a machine, too.
    pub(crate) fn cut(&mut self, one: &str, other: &str) {
        // Segments that have left already are carried first.
        self.carry_all();
        self.cables.cut(self.number(one), self.number(other));
    }

    /// Makes a cut cable whole; the segments that it held arrive.
    pub(crate) fn heal(&mut self, one: &str, other: &str) {
        for segment in self.cables.heal(self.number(one), self.number(other)) {
            self.carry(segment);
        }
    }

    /// Sets the additional delay of every segment between two machines.
    pub(crate) fn delay(&mut self, one: &str, other: &str, delay: Duration) {
        self.cables.delay(self.number(one), self.number(other), delay);
    }

    /// The lines that `from` has sent to `to` since the start, or since they were last forgotten.
    pub(crate) fn lines(&self, from: &str, to: &str) -> Vec<String> {
        let sent = self
            .wire
            .iter()
            .filter(|((source, target), _)| self.home(*source) == from && self.home(*target) == to);
        let text = sent.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        text.collect::<String>().split_inclusive('\n').map(str::to_owned).collect()
    }

    /// The streams between servers: the numbers of the two servers, and the stream's bytes.
    pub(crate) fn peer_streams(&self) -> impl Iterator<Item = ([usize; 2], &[u8])> {
        let ends = |&(from, to): &(SocketAddr, SocketAddr)| [self.place(from), self.place(to)];
        let streams = self.wire.iter().map(move |(key, bytes)| (ends(key), bytes.as_slice()));
        streams.filter(|(ends, _)| ends.iter().all(|end| *end < self.machines.len()))
    }

    /// How many AT lines were sent between servers.
    pub(crate) fn at_lines(&self) -> usize {
        let lines = self.peer_streams().flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'));
        lines.filter(|line| line.starts_with(b"AT ")).count()
    }

    /// The streams between two machines: the two ends of each, the dialling end first.
    pub(crate) fn streams(&self, from: &str, to: &str) -> Vec<(SocketAddr, SocketAddr)> {
        let ends = self.wire.keys().copied();
        ends.filter(|(source, target)| self.home(*source) == from && self.home(*target) == to)
            .collect()
    }

    /// When `from` dialled the server `to`.
    pub(crate) fn dials(&self, from: &str, to: &str) -> Vec<Moment> {
        let peer = self.topology.server(to).expect("a server of the topology").peer_listen;
        let dials = self.dials.iter();
        let ours =
            dials.filter(|(_, source, target)| self.home(*source) == from && *target == peer);
        ours.map(|(at, ..)| *at).collect()
    }

    /// All sent bytes, as text: equal for two clusters that ran identically.
    pub(crate) fn transcript(&self) -> String {
        let mut text = String::new();
        for ((from, to), bytes) in &self.wire {
            writeln!(text, "{from} {to}\n{}", bytes.escape_ascii()).expect("a String takes all");
        }
        text
    }

    /// Starts a log with a line for each segment.
    pub(crate) fn keep_log(&mut self) {
        self.log.get_or_insert_default();
    }

    /// Appends `remark` to the log, and returns the log.
    pub(crate) fn log(&mut self, remark: &str) -> &str {
        let Some(log) = &mut self.log else { return "" };
        if !remark.is_empty() {
            writeln!(log, "{:?} -- {remark}", self.now).expect("a String takes everything");
        }
        log
    }

    /// Forgets all bytes that were sent so far.
    pub(crate) fn forget_lines(&mut self) {
        self.wire.clear();
    }

    fn home(&self, address: SocketAddr) -> &str {
        self.topology.servers.get(self.place(address)).map_or(OUTSIDE, |server| &server.name)
    }

    /// The number of the machine that has this address.
    fn place(&self, address: SocketAddr) -> usize {
        let outside = self.machines.len();
        let SocketAddr::V4(address) = address else { return outside };
        match address.ip().octets() {
            [10, NATS_NET, _, node] => outside + usize::from(node),
            [10, high, _, low] => {
                let place = usize::from(u16::from_be_bytes([high, low])).wrapping_sub(1);
                let known = self.machines.get(place).is_some_and(|machine| machine.was_started);
                if known { place } else { outside }
            }
            _ => outside,
        }
    }

    /// Delivers one segment, unless its cable is cut or its machine is gone.
    fn carry(&mut self, segment: Segment) {
        let [from, to] = [segment.from, segment.to].map(|end| self.place(end));
        let Some(segment) = self.cables.pass(from, to, self.now, segment) else { return };
        self.carried += 1;
        let Some(machine) = self.machines.get_mut(to) else {
            return self.outside.io().put_segment(segment);
        };
        match &mut machine.reactor {
            Some(reactor) => reactor.io().put_segment(segment),
            None if segment.kind == SegmentKind::Syn => self.unanswered.push(segment),
            None => {}
        }
    }

    fn carry_all(&mut self) {
        let mut segments = Vec::new();
        for reactor in self.machines.iter_mut().filter_map(|machine| machine.reactor.as_mut()) {
            segments.append(&mut reactor.io().take_segments());
        }
        segments.append(&mut self.outside.io().take_segments());
        if let Some(mut meddler) = self.meddler.take() {
            for segment in std::mem::take(&mut segments) {
                let ends = [segment.from, segment.to].map(|end| self.place(end));
                meddler.sent(segment, self.members(ends), &mut segments);
            }
            self.meddler = Some(meddler);
        }
        for segment in segments {
            self.note(&segment);
            self.carry(segment);
        }
    }

    /// The servers with these numbers, each if it is alive; both `None` unless these are two different servers.
    fn members(&mut self, numbers: [usize; 2]) -> [Option<&mut Member>; 2] {
        let Ok(machines) = self.machines.get_disjoint_mut(numbers) else { return [None, None] };
        machines.map(|machine| machine.reactor.as_mut().map(|reactor| reactor.state()))
    }

    /// Writes a sent segment into the log.
    fn note(&mut self, segment: &Segment) {
        let ends = (segment.from, segment.to);
        match &segment.kind {
            SegmentKind::Data(bytes) => self.wire.entry(ends).or_default().extend(bytes),
            SegmentKind::Syn => self.dials.push((self.now, segment.from, segment.to)),
            _ => {}
        }
        if let Some(mut log) = self.log.take() {
            let text = match &segment.kind {
                SegmentKind::Data(bytes) => format!("\"{}\"", bytes.escape_ascii()),
                other => format!("{other:?}"),
            };
            let [from, to] = [segment.from, segment.to].map(|end| (self.home(end), end.port()));
            let (from, source, to, target) = (from.0, from.1, to.0, to.1);
            writeln!(log, "{:?} {from}:{source} > {to}:{target} {text}", self.now)
                .expect("a String takes everything");
            self.log = Some(log);
        }
    }

    // Time.

    /// The cluster's time.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// How many turns the servers have had.
    pub(crate) fn turns(&self) -> u64 {
        self.turned
    }

    /// Runs the cluster for `time`.
    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Runs the cluster until the time `until`.
    pub(crate) fn run_until(&mut self, until: Moment) {
        // The test may have given any machine something to do since the last call.
        for number in 0..self.machines.len() {
            if self.machines[number].is_touched {
                self.turn(number);
            }
        }
        if std::mem::take(&mut self.outside_is_touched) {
            self.turn_outside();
        }
        let mut turns = 0;
        loop {
            self.carry_all();
            let wakes = self.machines.iter_mut().filter_map(Machine::wake);
            let wake = wakes.chain(self.outside.io().next_wake()).min();
            let Some(wake) = wake.filter(|wake| *wake <= until) else { break };
            turns = if wake > self.now { 0 } else { turns + 1 };
            assert!(turns < TURNS_MAX, "at {:?} the cluster does not come to rest", self.now);
            self.set_time(wake);
            for number in 0..self.machines.len() {
                if self.machines[number].wake().is_some_and(|its| its <= wake) {
                    self.turn(number);
                }
            }
            if self.outside.io().next_wake().is_some_and(|its| its <= wake) {
                self.turn_outside();
            }
            self.answer_datagrams();
        }
        self.set_time(until);
    }

    fn turn(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if machine.turn(self.now) {
            self.turned += 1;
            if let (Some(meddler), Some(reactor)) = (&mut self.meddler, &mut machine.reactor) {
                meddler.turned(number, reactor);
            }
        }
    }

    fn turn_outside(&mut self) {
        self.outside.turn().expect("this poll never fails");
    }

    /// Runs until nothing has been under way for a millisecond.
    pub(crate) fn settle(&mut self) {
        loop {
            let before = self.carried;
            self.run_for(MS);
            if self.carried == before {
                return;
            }
        }
    }

    fn set_time(&mut self, to: Moment) {
        self.now = self.now.max(to);
        let now = self.now;
        for reactor in self.machines.iter_mut().filter_map(|machine| machine.reactor.as_mut()) {
            reactor.io().advance(now);
        }
        self.outside.io().advance(now);
    }
}

/// Network options from calm to rough. Each is printed, so that the output of a failing test names its own.
pub(crate) fn weathers() -> impl Iterator<Item = MemoryOptions> {
    let foul = (1..=4).map(MemoryOptions::rough);
    let all = std::iter::once(MemoryOptions::calm(0)).chain(foul);
    all.inspect(|options| println!("in this weather: {options:?}"))
}

/// A source that is never asked, or never answers.
#[derive(Debug)]
pub(crate) struct Silent;

impl Source for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn nearby(&mut self, _ticket: Ticket, _query: &Query) -> Progress {
        Progress::Waiting
    }
}
