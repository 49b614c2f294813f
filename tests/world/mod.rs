//! A herd in one process: real members on real reactors, each over a [`MemoryIo`] of its own, and
//! one reactor more for everybody else: clients, strangers, and servers that a test plays itself.
//!
//! ```text
//!      Alford      Bolden      ...      outside        reactors, none of which ever sleeps
//!         │ Io        │ Io                 │ Io
//!      MemoryIo    MemoryIo    ...      MemoryIo
//!         └───────────┴── Frames ──────────┘           the World: carries, holds, drops, counts
//! ```
//!
//! The world owns the clock and the cables. Each step carries what was sent, lets the time jump to
//! when somebody has something to do, and turns those whose time has come, in the order of their
//! names. So it is as deterministic as its parts: the same seed plays the same again, and years
//! cost seconds.
//!
//! Each member lives on a machine with an address of its own, 10.0.0.1 for the first of the
//! topology; a machine that is started again dials from another one, as no old connection may be
//! taken for a new one. Whatever address belongs to no member is outside.

// Each test file uses its own part of this one.
#![allow(dead_code)]

use places_herd::herd::member::Member;
use places_herd::herd::network::Network;
use places_herd::herd::peer_tls::PeerTls;
use places_herd::herd::topology::Topology;
use places_herd::journal::{Refusal, Replayed};
use places_herd::places::{Progress, Query, Source, Ticket};
use places_herd::reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, Context, Core, Factory, Flow, Io, Limits,
    Moment, Protocol, Reactor, Shared, UnixNanos,
};
use places_herd::testing::{Frame, FrameKind, MemoryDisk, MemoryIo, MemoryOptions};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const NANO: Duration = Duration::from_nanos(1);

/// The herd of the shipped topology.toml, for [`topology`].
pub(crate) const FIVE: &str =
    "Alford Parker Welsh; Bolden Parker Welsh; Hamilton Parker; Parker Bolden; Welsh";

/// Everybody who is no member, in the names of machines.
const OUTSIDE: &str = "outside";

/// Turns at one moment after which a world is taken to be running in circles.
const TURNS_MAX: usize = 1_000_000;

/// The text of a topology file. `servers`: `Alford Parker Welsh; Parker; Welsh*` is Alford with two
/// neighbours, of which Welsh is plain. `limits`: the lines of `[limits]`.
pub(crate) fn topology(servers: &str, limits: &str) -> String {
    let mut text = String::new();
    for (index, server) in servers.split(';').enumerate() {
        let mut words = server.split_whitespace();
        let name = words.next().expect("a server has a name");
        let neighbours: Vec<&str> = words.collect();
        let machine = index + 1;
        let peer = match name.strip_suffix('*') {
            Some(_) => "plain = true".to_owned(),
            None => format!("peer = '10.0.0.{machine}:12100'"),
        };
        writeln!(
            text,
            "[[server]]\nname = '{}'\nclient = '10.0.0.{machine}:12000'\n{peer}\n\
             neighbours = {neighbours:?}",
            name.trim_end_matches('*')
        )
        .expect("a String takes everything");
    }
    format!("herd = 'places-herd'\ninsecure_peers = true\n{text}[limits]\n{limits}\n")
}

/// The same, where servers have to prove who they are by the certificates in `folder`.
pub(crate) fn sealed(servers: &str, folder: &Path, limits: &str) -> String {
    let text = topology(servers, limits).replacen("insecure_peers = true\n", "", 1);
    format!("{text}[peer_tls]\nfolder = '{}'\n", folder.display())
}

/// Members, everybody else, and the cables between them. See the head of its file.
#[derive(Debug)]
pub(crate) struct World {
    options: MemoryOptions,
    topology: Topology,
    members: BTreeMap<String, Reactor<MemoryIo, Member>>,
    outside: Reactor<MemoryIo, Outside>,
    /// Whose an address is.
    homes: BTreeMap<IpAddr, String>,
    /// Pairs of machines between which nothing arrives, and what waits to.
    cuts: BTreeMap<[String; 2], Vec<Frame>>,
    /// All bytes that were sent, by the two ends of their stream.
    wire: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
    /// Who asked whom to connect, and when.
    dials: Vec<(Moment, SocketAddr, SocketAddr)>,
    /// What was asked of machines that were gone: it is asked again.
    unanswered: Vec<Frame>,
    /// Who answers datagrams outside.
    answerer: Option<Answerer>,
    now: Moment,
    carried: u64,
    lives: u8,
}

/// What the world does with a reactor, whatever runs on it.
trait Machine {
    fn kernel(&mut self) -> &mut MemoryIo;
    fn turn(&mut self);
}

impl<S: Shared> Machine for Reactor<MemoryIo, S> {
    fn kernel(&mut self) -> &mut MemoryIo {
        self.io()
    }

    /// When its process has ended, the kernel still sends what it was given.
    fn turn(&mut self) {
        match self.is_stopped() {
            true => self.io().poll(None, &mut Vec::new()).expect("this poll never fails"),
            // A turn ends in an error if the journal fails; then the process has ended.
            false => assert!(self.turn().is_ok() || self.is_stopped(), "this poll never fails"),
        }
    }
}

impl World {
    /// Nobody yet, in the network of `options` and the herd of `topology`.
    pub(crate) fn new(options: MemoryOptions, topology: &str) -> World {
        let parsed = Topology::parse(topology, Path::new("topology.toml"));
        let host = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
        let io = MemoryIo::carried(MemoryOptions { host, ..options.clone() });
        World {
            topology: parsed.unwrap_or_else(|faults| panic!("{faults:?}\n{topology}")),
            members: BTreeMap::new(),
            outside: Reactor::new(io, Outside::default(), Limits::default()),
            homes: BTreeMap::new(),
            cuts: BTreeMap::new(),
            wire: BTreeMap::new(),
            dials: Vec::new(),
            unanswered: Vec::new(),
            answerer: None,
            now: Moment::default(),
            carried: 0,
            lives: 0,
            options,
        }
    }

    /// A whole herd of members, up and linked.
    pub(crate) fn herd(options: MemoryOptions, topology: &str) -> World {
        let mut world = World::new(options, topology);
        for name in world.names() {
            world.start(&name);
        }
        world.settle();
        world
    }

    /// The names of all members of the topology that are not plain.
    pub(crate) fn names(&self) -> Vec<String> {
        let members = self.topology.servers.iter().filter(|server| !server.plain);
        members.map(|server| server.name.clone()).collect()
    }

    // Members.

    /// Starts the member `name`, or starts it again, knowing nothing; nobody asks it for places.
    pub(crate) fn start(&mut self, name: &str) {
        self.start_with(name, Box::new(Silent));
    }

    /// Starts the member `name` with a journal on `disk`, by the topology's settings.
    pub(crate) fn start_on(&mut self, name: &str, disk: MemoryDisk) -> Result<Replayed, Refusal> {
        let settings = self.topology.journal.clone().expect("the topology has [journal]");
        let member = self.born(name, Box::new(Silent));
        let (member, replayed) = member.with_journal(Box::new(disk), &settings)?;
        self.join(name, member);
        Ok(replayed)
    }

    /// Starts the member `name` with places from `source`.
    pub(crate) fn start_with(&mut self, name: &str, source: Box<dyn Source>) {
        self.start_as(name, source, |member| member);
    }

    /// The same, with a source that asks the network.
    pub(crate) fn start_asking(&mut self, name: &str, source: Box<dyn Source>, network: Network) {
        self.start_as(name, source, |member| member.with_network(network));
    }

    fn start_as(
        &mut self,
        name: &str,
        source: Box<dyn Source>,
        made: impl FnOnce(Member) -> Member,
    ) {
        let member = made(self.born(name, source));
        self.join(name, member);
    }

    fn born(&mut self, name: &str, source: Box<dyn Source>) -> Member {
        self.lives += 1;
        let seed = self.options.seed.wrapping_add(u64::from(self.lives) << 32);
        let member = Member::new(&self.topology, name, source, seed, usize::MAX);
        member.expect("it is in the topology")
    }

    fn join(&mut self, name: &str, member: Member) {
        let server = self.topology.server(name).expect("a server of the topology").clone();
        let IpAddr::V4(address) = server.client.ip() else { unreachable!("all are 10.0.0.n") };
        let host = IpAddr::V4(Ipv4Addr::new(10, 0, self.lives, address.octets()[3]));
        let seed = self.options.seed.wrapping_add(u64::from(self.lives) << 32);
        let mut io = MemoryIo::carried(MemoryOptions { seed, host, ..self.options.clone() });
        io.advance(self.now);
        let mut member = member;
        if let Some(settings) = &self.topology.peer_tls {
            let read = PeerTls::read(settings, &self.topology.herd, name, io.wall());
            member = member.with_peer_tls(read.unwrap_or_else(|fault| panic!("{fault}")));
        }
        let limits = Member::reactor_limits(&self.topology);
        let mut reactor = Reactor::new(io, member, limits);
        Member::join(&mut reactor).expect("nobody listens there yet");
        self.homes.extend([host, server.client.ip()].map(|ip| (ip, name.to_owned())));
        self.members.insert(name.to_owned(), reactor);
        for frame in std::mem::take(&mut self.unanswered) {
            self.carry(frame);
        }
    }

    /// The machine of `name` vanishes, and says nothing of it. What it is sent is lost, but who asks
    /// to connect asks again when it is back. (A machine that was never there refuses.)
    pub(crate) fn crash(&mut self, name: &str) {
        self.members.remove(name).expect("it was started");
    }

    /// The same, and its disk, as it was left: what was not synced may still be lost.
    pub(crate) fn crash_off(&mut self, name: &str) -> MemoryDisk {
        let mut reactor = self.members.remove(name).expect("it was started");
        let disk = reactor.state().take_journal_disk().expect("it was started with one");
        *(disk as Box<dyn Any>).downcast().expect("it is in memory")
    }

    /// The disk of the member `name`.
    pub(crate) fn disk(&mut self, name: &str) -> &mut MemoryDisk {
        let disk = self.member(name).journal_disk().expect("it was started with one");
        (disk as &mut dyn Any).downcast_mut().expect("it is in memory")
    }

    /// Whether the member `name` has ended by itself.
    pub(crate) fn has_ended(&mut self, name: &str) -> bool {
        self.reactor(name).is_stopped()
    }

    /// What the member `name` shares among its connections.
    pub(crate) fn member(&mut self, name: &str) -> &mut Member {
        self.reactor(name).state()
    }

    /// The reactor under the member `name`. What is done to it is noticed when the world runs on.
    pub(crate) fn reactor(&mut self, name: &str) -> &mut Reactor<MemoryIo, Member> {
        self.members.get_mut(name).expect("it was started")
    }

    /// The AT line of each client that `name` knows.
    pub(crate) fn knows(&mut self, name: &str) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let herd = &self.member(name).herd;
        herd.iter().map(|(_, at)| (text(at.client()), text(at.line()))).collect()
    }

    /// The neighbours that `name` is linked to, by its own lights.
    pub(crate) fn linked(&mut self, name: &str) -> BTreeSet<String> {
        let links = self.member(name).links.iter();
        links.filter(|(_, link)| link.conn.is_some()).map(|(_, l)| l.server.name.clone()).collect()
    }

    /// Bytes that wait in `name` to be sent to its neighbour `to`.
    pub(crate) fn pending(&mut self, name: &str, to: &str) -> usize {
        let (member, core) = self.reactor(name).parts();
        let id = member.links.named(to.as_bytes()).expect("a neighbour");
        member.links.link(id).conn.map_or(0, |conn| core.pending(conn))
    }

    /// Sets every member's wall clock to `shown`, and stops it: then what is computed of it does
    /// not depend on when it is read.
    pub(crate) fn stop_wall_clocks(&mut self, shown: UnixNanos) {
        for member in self.members.values_mut() {
            member.io().set_wall(shown);
            member.io().set_wall_skew(-1_000_000);
        }
    }

    // Cables.

    /// From now on nothing arrives between two machines, until [`heal`](World::heal): as if each
    /// packet was lost, to be sent again. `"outside"` is a machine, too.
    pub(crate) fn cut(&mut self, one: &str, other: &str) {
        self.cuts.entry(pair(one, other)).or_default();
    }

    /// What was cut is whole again; what was held arrives.
    pub(crate) fn heal(&mut self, one: &str, other: &str) {
        for frame in self.cuts.remove(&pair(one, other)).unwrap_or_default() {
            self.carry(frame);
        }
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

    /// How many AT lines were sent between members.
    pub(crate) fn at_lines(&self) -> usize {
        let names = self.names();
        let pairs = names.iter().flat_map(|from| names.iter().map(move |to| (from, to)));
        let lines = pairs.flat_map(|(from, to)| self.lines(from, to));
        lines.filter(|line| line.starts_with("AT ")).count()
    }

    /// The streams between two machines: the ends of each, the one that dialled first.
    pub(crate) fn streams(&self, from: &str, to: &str) -> Vec<(SocketAddr, SocketAddr)> {
        let ends = self.wire.keys().copied();
        ends.filter(|(source, target)| self.home(*source) == from && self.home(*target) == to)
            .collect()
    }

    /// When `from` dialled the server `to`.
    pub(crate) fn dials(&self, from: &str, to: &str) -> Vec<Moment> {
        let peer = self.topology.server(to).expect("a server of the topology").peer;
        let dials = self.dials.iter();
        let ours =
            dials.filter(|(_, source, target)| self.home(*source) == from && *target == peer);
        ours.map(|(at, ..)| *at).collect()
    }

    /// All bytes that were sent, as text: equal for two worlds that went the same way.
    pub(crate) fn transcript(&self) -> String {
        let mut text = String::new();
        for ((from, to), bytes) in &self.wire {
            writeln!(text, "{from} {to}\n{}", bytes.escape_ascii()).expect("a String takes all");
        }
        text
    }

    /// Forgets what was sent so far.
    pub(crate) fn forget_lines(&mut self) {
        self.wire.clear();
    }

    fn home(&self, address: SocketAddr) -> &str {
        self.homes.get(&address.ip()).map_or(OUTSIDE, String::as_str)
    }

    /// Takes one frame to where it goes: not over a cut cable, and not to a machine that is gone.
    fn carry(&mut self, frame: Frame) {
        let [from, to] = [frame.from, frame.to].map(|end| self.home(end).to_owned());
        if let Some(held) = self.cuts.get_mut(&pair(&from, &to)) {
            return held.push(frame);
        }
        self.carried += 1;
        match self.members.get_mut(&to) {
            Some(member) => member.io().put_frame(frame),
            None if to == OUTSIDE => self.outside.io().put_frame(frame),
            None if frame.kind == FrameKind::Syn => self.unanswered.push(frame),
            None => {}
        }
    }

    fn carry_all(&mut self) {
        let frames: Vec<Frame> =
            self.machines().flat_map(|machine| machine.kernel().take_frames()).collect();
        for frame in frames {
            let ends = (frame.from, frame.to);
            match &frame.kind {
                FrameKind::Data(bytes) => self.wire.entry(ends).or_default().extend(bytes),
                FrameKind::Syn => self.dials.push((self.now, frame.from, frame.to)),
                _ => {}
            }
            self.carry(frame);
        }
    }

    // Time.

    /// What time it is.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Lets everything happen that happens within `time`.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        // What the test has done since may have given anybody something to do.
        self.machines().for_each(Machine::turn);
        let mut turns = 0;
        loop {
            self.carry_all();
            let wake = self.machines().filter_map(|machine| machine.kernel().next_wake()).min();
            let Some(wake) = wake.filter(|wake| *wake <= until) else { break };
            turns = if wake > self.now { 0 } else { turns + 1 };
            assert!(turns < TURNS_MAX, "at {:?} the world does not come to rest", self.now);
            self.set_time(wake);
            for machine in self.machines() {
                if machine.kernel().next_wake().is_some_and(|its| its <= wake) {
                    machine.turn();
                }
            }
            self.answer_datagrams();
        }
        self.set_time(until);
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
        self.machines().for_each(|machine| machine.kernel().advance(now));
    }

    fn machines(&mut self) -> impl Iterator<Item = &mut dyn Machine> {
        let outside = std::iter::once(&mut self.outside as &mut dyn Machine);
        self.members.values_mut().map(|member| member as &mut dyn Machine).chain(outside)
    }

    // Everybody else.

    /// A client of the member `name`.
    pub(crate) fn client(&mut self, name: &str) -> TalkId {
        self.dial(self.topology.server(name).expect("a server of the topology").client)
    }

    /// Somebody at the peer port of the member `name`.
    pub(crate) fn stranger(&mut self, name: &str) -> TalkId {
        self.dial(self.topology.server(name).expect("a server of the topology").peer)
    }

    /// Somebody who has dialled `address`.
    pub(crate) fn dial(&mut self, address: SocketAddr) -> TalkId {
        let (outside, core) = self.outside.parts();
        let talk = TalkId(outside.talks.len());
        outside.talks.push(Talk::default());
        core.connect_tcp(address, ConnectOptions::default(), Box::new(Dialled(talk)));
        self.settle();
        talk
    }

    /// Listens in the place of the server `name`, which is not to be started. Who dials it is in
    /// [`callers`](World::callers).
    pub(crate) fn play(&mut self, name: &str) {
        let address = self.topology.server(name).expect("a server of the topology").peer;
        self.outside.listen_tcp(address, Box::new(Played)).expect("nobody listens there yet");
    }

    /// Those who have dialled a server that the test plays, in the order of their coming.
    pub(crate) fn callers(&mut self) -> Vec<TalkId> {
        self.outside.state().callers.clone()
    }

    /// Says `data`, as it stands.
    pub(crate) fn send(&mut self, talk: TalkId, data: impl AsRef<[u8]>) {
        if let (Some(id), core) = self.connection(talk) {
            core.write(id, data.as_ref());
        }
    }

    /// Says `text` and a newline, and lets everything happen that follows. Returns what is heard.
    pub(crate) fn say(&mut self, talk: TalkId, text: &str) -> String {
        self.send(talk, text);
        self.send(talk, "\n");
        self.settle();
        self.hear(talk)
    }

    /// What has been heard since the last call, non-ASCII escaped.
    pub(crate) fn hear(&mut self, talk: TalkId) -> String {
        let heard = std::mem::take(&mut self.outside.state().talks[talk.0].heard);
        String::from_utf8(heard).unwrap_or_else(|e| e.into_bytes().escape_ascii().to_string())
    }

    /// The same, without taking it.
    pub(crate) fn heard(&mut self, talk: TalkId) -> &[u8] {
        &self.outside.state().talks[talk.0].heard
    }

    /// How the other side has ended it, if it has.
    pub(crate) fn ending(&mut self, talk: TalkId) -> Option<Ending> {
        self.outside.state().talks[talk.0].ending
    }

    /// Ends our side: nothing more is said.
    pub(crate) fn end(&mut self, talk: TalkId) {
        if let (Some(id), core) = self.connection(talk) {
            core.lose_write_connection(id);
        }
    }

    /// Goes away, with a reset.
    pub(crate) fn abort(&mut self, talk: TalkId) {
        if let (Some(id), core) = self.connection(talk) {
            core.abort_connection(id);
        }
    }

    /// Stops listening to what is said, or listens again.
    pub(crate) fn listen_to(&mut self, talk: TalkId, listens: bool) {
        let (Some(id), core) = self.connection(talk) else { return };
        match listens {
            true => core.resume_producing(id),
            false => core.pause_producing(id),
        }
    }

    /// Listens outside, at `address`, with what `factory` builds.
    pub(crate) fn host(&mut self, address: SocketAddr, factory: Box<dyn Factory<Outside>>) {
        self.outside.listen_tcp(address, factory).expect("nobody listens there yet");
    }

    /// Answers datagrams to `address`, outside, with what `answer` makes of them. For one address.
    pub(crate) fn host_datagrams(
        &mut self,
        address: SocketAddr,
        answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + 'static,
    ) {
        self.outside.io().play_datagrams(address);
        self.answerer = Some(Answerer(Box::new(answer)));
    }

    /// The network outside, to have faults.
    pub(crate) fn outside_network(&mut self) -> &mut MemoryIo {
        self.outside.io()
    }

    fn answer_datagrams(&mut self) {
        let Some(Answerer(answer)) = &mut self.answerer else { return };
        let io = self.outside.io();
        for asked in io.take_datagrams() {
            if let Some(bytes) = answer(&asked.bytes) {
                io.send_datagram(asked.to, asked.from, bytes);
            }
        }
    }

    fn connection(&mut self, talk: TalkId) -> (Option<ConnId>, &mut Core<Outside>) {
        let (outside, core) = self.outside.parts();
        (outside.talks[talk.0].id, core)
    }
}

fn pair(one: &str, other: &str) -> [String; 2] {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

/// Fair and foul weather, one after the other. A failing test has printed in which it failed.
pub(crate) fn weathers() -> impl Iterator<Item = MemoryOptions> {
    let foul = (1..=4).map(MemoryOptions::rough);
    let all = std::iter::once(MemoryOptions::calm(0)).chain(foul);
    all.inspect(|options| println!("in this weather: {options:?}"))
}

/// Names one connection of those outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TalkId(usize);

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The other side has said all it had to say.
    Fin,
    /// It was reset, or never made.
    Broken,
}

/// Makes an answer of what is asked, or none.
struct Answerer(Box<Answers>);

type Answers = dyn FnMut(&[u8]) -> Option<Vec<u8>>;

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

/// What those outside have heard.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    talks: Vec<Talk>,
    callers: Vec<TalkId>,
}

#[derive(Debug, Default)]
struct Talk {
    id: Option<ConnId>,
    heard: Vec<u8>,
    ending: Option<Ending>,
}

impl Shared for Outside {
    type Message = ();
}

/// Hears, and does nothing of its own: neither the other side's end nor a failure makes it speak.
impl Protocol<Outside> for TalkId {
    fn name(&self) -> &'static str {
        OUTSIDE
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Outside>) -> Flow {
        cx.state.talks[self.0].id = Some(cx.id);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Outside>, data: &[u8]) -> Flow {
        cx.state.talks[self.0].heard.extend(data);
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, Outside>) -> Flow {
        cx.state.talks[self.0].ending = Some(Ending::Fin);
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Outside>, _why: &CloseReason) {
        let talk = &mut cx.state.talks[self.0];
        talk.id = None;
        talk.ending.get_or_insert(Ending::Broken);
    }
}

#[derive(Debug)]
struct Dialled(TalkId);

impl Factory<Outside> for Dialled {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Outside>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Outside>>> {
        Some(Box::new(self.0))
    }
}

impl ClientFactory<Outside> for Dialled {
    fn client_connection_failed(
        &mut self,
        _core: &mut Core<Outside>,
        state: &mut Outside,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        state.talks[self.0.0].ending = Some(Ending::Broken);
    }
}

#[derive(Debug)]
struct Played;

impl Factory<Outside> for Played {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Outside>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Outside>>> {
        let caller = TalkId(cx.state.talks.len());
        cx.state.talks.push(Talk::default());
        cx.state.callers.push(caller);
        Some(Box::new(caller))
    }
}

/// A source that is never asked, or never answers.
#[derive(Debug)]
struct Silent;

impl Source for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn nearby(&mut self, _ticket: Ticket, _query: &Query) -> Progress {
        Progress::Waiting
    }
}
