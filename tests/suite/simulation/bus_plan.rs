//! The plan of one run with a bus, as data: made from a seed by a generator of its own, so that the seeds of other plans
//! play as before.
//!
//! A plan is a small herd, with or without links, a double of NATS, and steps: reports, faults of servers and cables,
//! faults of NATS, and other programs that write to the bucket. At the end of the steps all faults end.

use super::plan::{EPOCH_S, EXPIRE_AFTER_S, Ends, PlanLimits, Said, StampKind, weather};
use crate::support::cluster::{MS, NATS, OUTSIDE, SECOND, nats_address, topology};
use crate::support::dice::Dice;
use crate::support::nats_double::{Act, Faults, Manner};
use herd_reactor::testing::MemoryOptions;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The names of servers. A plan uses the first ones.
const NAMES: [&str; 5] = ["Alford", "Bolden", "Clark", "Dunn", "Eliot"];

/// Changes a seed, so that the dice of this generator are no other's.
const BUS_DIE: u64 = 0xb5 << 48;

/// The same, for [`BusPlan::forget_behind_a_back`].
const BACK_DIE: u64 = 0xbac << 44;

/// The bucket.
pub(crate) const BUCKET: &str = "herd";

/// How the servers are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    None,
    Chain,
    Mesh,
    /// Two groups, each fully linked, that only the bus joins.
    TwoSites,
}

/// Everything about one run.
#[derive(Clone, Debug)]
pub(crate) struct BusPlan {
    pub(crate) seed: u64,
    pub(crate) servers: Vec<&'static str>,
    pub(crate) links: Links,
    pub(crate) edges: Vec<Ends>,
    pub(crate) weather: MemoryOptions,
    pub(crate) limits: PlanLimits,
    pub(crate) window: usize,
    pub(crate) repair: Duration,
    pub(crate) has_journal: bool,
    /// How long replies wait for the bus (`ack = "bus"`); `None` if they do not wait.
    pub(crate) ack_wait: Option<Duration>,
    pub(crate) manner: Manner,
    pub(crate) nodes: usize,
    pub(crate) in_memory: bool,
    pub(crate) clients: Vec<String>,
    pub(crate) steps: Vec<BusStep>,
}

/// One event, and its time.
#[derive(Clone, Debug)]
pub(crate) struct BusStep {
    pub(crate) at: Duration,
    pub(crate) what: BusWhat,
}

#[derive(Clone, Debug)]
pub(crate) enum BusWhat {
    /// A client reports to a server; the next time perhaps to another.
    Say {
        server: usize,
        commands: Vec<Said>,
    },
    /// A server's process is killed, or its machine vanishes; it is restarted.
    Die {
        server: usize,
        vanishes: bool,
        gone: Duration,
    },
    Freeze {
        server: usize,
        lasts: Duration,
    },
    /// A cable is cut: between two servers, or, with a number behind the last server, between a server and a node of NATS.
    Cut {
        ends: Ends,
        lasts: Duration,
    },
    /// Servers are cut off from all nodes of NATS.
    NoNats {
        servers: Vec<usize>,
        lasts: Duration,
    },
    /// NATS has these faults.
    Rates {
        faults: Box<Faults>,
        lasts: Duration,
    },
    Nats(Act),
    /// Another program deletes a client's key.
    Delete {
        client: usize,
    },
    Purge,
    /// Another program stores a value under a client's key.
    Store {
        client: usize,
        value: String,
    },
}

impl BusStep {
    fn end(&self) -> Duration {
        self.at
            + match &self.what {
                BusWhat::Die { gone: lasts, .. }
                | BusWhat::Freeze { lasts, .. }
                | BusWhat::Cut { lasts, .. }
                | BusWhat::NoNats { lasts, .. }
                | BusWhat::Rates { lasts, .. } => *lasts,
                _ => Duration::ZERO,
            }
    }
}

impl BusWhat {
    /// The name of the event in the summary.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            BusWhat::Say { .. } => "a report",
            BusWhat::Die { vanishes: false, .. } => "kill -9 and restart",
            BusWhat::Die { vanishes: true, .. } => "a machine lost and back",
            BusWhat::Freeze { .. } => "a frozen server",
            BusWhat::Cut { .. } => "a cable cut",
            BusWhat::NoNats { .. } => "servers without NATS",
            BusWhat::Rates { .. } => "NATS: rates of faults",
            BusWhat::Delete { .. } => "another program: a key deleted",
            BusWhat::Purge => "another program: the bucket purged",
            BusWhat::Store { .. } => "another program: a value of its own",
            BusWhat::Nats(act) => match act {
                Act::Unavailable(_) => "NATS: unavailable",
                Act::NoQuorum(_) => "NATS: no majority",
                Act::Mute(_) => "NATS: mute",
                Act::FillDisk => "NATS: a full disk",
                Act::Restart => "NATS: restart",
                Act::GoBack(_) => "NATS: last writes forgotten",
                Act::DeleteStreams => "NATS: stream deleted",
                Act::RemakeStreams => "NATS: stream made anew",
                Act::Renumber(_) => "NATS: renumbered",
                Act::EndConsumers(_) => "NATS: consumers end",
                Act::Gap => "NATS: a gap",
                Act::LameDuck { .. } => "NATS: lame duck",
                Act::Close { .. } => "NATS: connections closed",
                Act::Reset { .. } => "NATS: connections reset",
                Act::CutMessage { .. } => "NATS: a message cut",
                Act::Kill { .. } => "NATS: a node killed",
                Act::Start { .. } => "NATS: a node started",
                Act::ExpireCredentials => "NATS: credentials expire",
                Act::RenewCredentials => "NATS: credentials renewed",
                Act::Calm => "NATS: calm",
            },
        }
    }

    /// Whether the bucket may lose what it had acknowledged.
    pub(crate) fn forgets(&self, in_memory: bool) -> bool {
        match self {
            BusWhat::Nats(act) => match act {
                Act::GoBack(_) | Act::Renumber(_) | Act::DeleteStreams | Act::RemakeStreams => true,
                // A full disk is mended by a restart.
                Act::Restart | Act::FillDisk => in_memory,
                _ => false,
            },
            BusWhat::Delete { .. } | BusWhat::Purge | BusWhat::Store { .. } => true,
            _ => false,
        }
    }

    /// Whether that may happen without a trace that servers could see, so that only the hourly reading shows it.
    pub(crate) fn leaves_no_trace(&self, in_memory: bool) -> bool {
        match self {
            BusWhat::Nats(act) => match act {
                Act::GoBack(_) | Act::Renumber(_) => true,
                Act::Restart | Act::FillDisk => in_memory,
                _ => false,
            },
            _ => false,
        }
    }
}

impl BusPlan {
    pub(crate) fn new(seed: u64) -> BusPlan {
        let mut dice = Dice::new(seed ^ BUS_DIE);
        let count = dice.within(2..=5) as usize;
        let links = dice.one_of(&[Links::None, Links::Chain, Links::Mesh, Links::TwoSites]);
        let silence = dice.one_of(&[3, 6, 15]) * SECOND;
        let limits = PlanLimits {
            silence,
            retry_max: dice.one_of(&[1, 2, 5]) * SECOND,
            buffer_bytes: dice.one_of(&[4_096, 16_384, 262_144]),
            whatsat_deadline: SECOND,
            refuses_the_future: dice.percent(30),
            compare: dice.one_of(&[1_000, 5_000, 20_000]) * MS,
            expires: dice.percent(10),
        };
        let many = dice.percent(20);
        let clients = if many { 24 } else { dice.within(1..=6) };
        let clients = (0..clients).map(|client| client_id(&mut dice, client)).collect();
        let nodes = dice.one_of(&[1, 3]);
        let mut plan = BusPlan {
            seed,
            servers: NAMES[..count].to_vec(),
            links,
            edges: edges(links, count),
            weather: weather(&mut dice, seed),
            limits,
            window: dice.one_of(&[1, 2, 3, 8, 1_024]),
            repair: dice.one_of(&[100, 300, 1_000, 2_500]) * MS,
            has_journal: dice.percent(40),
            ack_wait: dice.percent(40).then(|| dice.within(20..=8_000) as u32 * MS),
            manner: dice.one_of(&[Manner::V2_9, Manner::V2_15]),
            nodes,
            in_memory: dice.percent(20),
            clients,
            steps: Vec::new(),
        };
        let mut writer = Writer { dice, stamps: Vec::new(), plan: &mut plan };
        writer.write(many);
        plan.forget_behind_a_back(Dice::new(seed ^ BACK_DIE));
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    /// In a tenth of the runs the bucket forgets its last writes while a server cannot see it, and grows beyond what that
    /// server has seen. A server that resumed by sequence would miss what came in between.
    fn forget_behind_a_back(&mut self, mut dice: Dice) {
        if !dice.percent(10) {
            return;
        }
        let (count, at) = (self.servers.len(), dice.within(3_000..=15_000) as u32 * MS);
        let blind = dice.below(count);
        let puts = dice.within(1..=3);
        let mut add = |at, what| self.steps.push(BusStep { at, what });
        add(at, BusWhat::NoNats { servers: vec![blind], lasts: 6 * SECOND });
        add(at + 500 * MS, BusWhat::Nats(Act::GoBack(puts)));
        for number in 0..puts as usize + 2 {
            let server = (blind + 1 + dice.below(count - 1)) % count;
            let client = number % self.clients.len();
            let stamp = format!("{}.{number:09}", EPOCH_S + 50);
            let said = Said::Iamat { client, location: "+3+3", stamp, kind: StampKind::Now };
            let at = at + (1_000 + 300 * number as u32) * MS;
            add(at, BusWhat::Say { server, commands: vec![said] });
        }
    }

    /// When the last step has ended.
    pub(crate) fn quiet_from(&self) -> Duration {
        self.steps.iter().map(BusStep::end).max().unwrap_or_default().max(SECOND)
    }

    /// The name of a machine: a server's, or that of a node of NATS.
    pub(crate) fn name(&self, number: usize) -> String {
        match number.checked_sub(self.servers.len()) {
            None => self.servers[number].to_owned(),
            Some(node) if node < self.nodes => format!("{NATS}{node}"),
            Some(_) => OUTSIDE.to_owned(),
        }
    }

    /// Whether the bucket may lose what it had acknowledged.
    pub(crate) fn forgets(&self) -> bool {
        self.steps.iter().any(|step| step.what.forgets(self.in_memory))
    }

    pub(crate) fn topology(&self) -> String {
        let servers = self.servers.iter().enumerate().map(|(number, name)| {
            let to = self.edges.iter().filter(|[one, _]| *one == number);
            let neighbours: Vec<&str> = to.map(|[_, other]| self.servers[*other]).collect();
            format!("{name} {}", neighbours.join(" "))
        });
        let PlanLimits { silence, retry_max, buffer_bytes, compare, .. } = self.limits;
        let max_future_ms = if self.limits.refuses_the_future { 3 * 86_400_000_u64 } else { 0 };
        let expire_after_s = if self.limits.expires { EXPIRE_AFTER_S } else { 0 };
        let urls: Vec<String> =
            (0..self.nodes).map(|node| format!("nats://{}", nats_address(node))).collect();
        let storage = if self.in_memory { "memory" } else { "file" };
        let wait = self.ack_wait.map_or(250, |wait| wait.as_millis());
        let journal = if self.has_journal { "[journal]\nsync = 'always'\n" } else { "" };
        let limits = format!(
            "line_bytes = 4_096\nclient_id_bytes = 2_048\nsilence_ms = {}\nping_ms = {}\nretry_max_ms = {}\nack_wait_ms = {wait}\n\
             flood_buffer_bytes = {buffer_bytes}\nsend_buffer_bytes = {buffer_bytes}\n\
             max_future_ms = {max_future_ms}\nexpire_after_s = {expire_after_s}\nsync_ms = {}\n\
             bus_window = {}\nbus_repair_ms = {}\n\
             [bus]\nnats = {urls:?}\nbucket = '{BUCKET}'\nreplicas = {}\nstorage = '{storage}'\ninsecure_nats = true\n\
             {journal}",
            silence.as_millis(),
            self.limits.ping().as_millis(),
            retry_max.as_millis(),
            compare.as_millis(),
            self.window,
            self.repair.as_millis(),
            self.nodes,
        );
        let ack = if self.ack_wait.is_some() { "ack = 'bus'\n" } else { "" };
        let servers = servers.collect::<Vec<_>>().join("; ");
        format!("{ack}{}", topology(&servers, &limits))
    }
}

/// Most ids are keys of the bucket as they are, some must be encoded, and a few are hashed.
fn client_id(dice: &mut Dice, client: u64) -> String {
    match dice.below(20) {
        0 => format!("_.{client}..*>="),
        1 => format!("client-{client}-{}", "x".repeat(1_100)),
        _ => format!("client-{client}"),
    }
}

fn edges(links: Links, count: usize) -> Vec<Ends> {
    let pairs = (0..count).flat_map(|one| (one + 1..count).map(move |other| [one, other]));
    let site = |server: usize| server * 2 / count.max(2);
    pairs
        .filter(|[one, other]| match links {
            Links::None => false,
            Links::Chain => one + 1 == *other,
            Links::Mesh => true,
            Links::TwoSites => site(*one) == site(*other),
        })
        .collect()
}

/// Writes the steps of a plan.
struct Writer<'a> {
    dice: Dice,
    /// The stamps used so far, some of which are used again.
    stamps: Vec<String>,
    plan: &'a mut BusPlan,
}

impl Writer<'_> {
    fn write(&mut self, many: bool) {
        for _ in 0..self.dice.within(1..=7) {
            let (at, what) = (self.moment(), self.fault());
            self.plan.steps.push(BusStep { at, what });
        }
        for _ in 0..self.dice.within(3..=25) {
            let (at, server) = (self.moment(), self.server());
            let most = if many { 20 } else { 3 };
            let commands = (0..self.dice.within(1..=most)).map(|_| self.report()).collect();
            self.plan.steps.push(BusStep { at, what: BusWhat::Say { server, commands } });
        }
    }

    fn server(&mut self) -> usize {
        self.dice.below(self.plan.servers.len())
    }

    fn moment(&mut self) -> Duration {
        match self.dice.percent(10) {
            true => self.dice.within(0..=100) as u32 * MS,
            false => self.dice.within(100..=20_000) as u32 * MS,
        }
    }

    /// From an instant to longer than some timeouts.
    fn time(&mut self) -> Duration {
        let most = self.dice.one_of(&[200, 2_000, 9_500, 20_000]);
        self.dice.within(1..=most) as u32 * MS
    }

    fn fault(&mut self) -> BusWhat {
        let (server, lasts) = (self.server(), self.time());
        let (count, nodes) = (self.plan.servers.len(), self.plan.nodes);
        match self.dice.below(20) {
            0 | 1 => BusWhat::Die { server, vanishes: self.dice.percent(50), gone: lasts },
            2 => BusWhat::Freeze { server, lasts },
            3 if !self.plan.edges.is_empty() => {
                BusWhat::Cut { ends: self.dice.one_of(&self.plan.edges), lasts }
            }
            3 | 4 => BusWhat::Cut { ends: [server, count + self.dice.below(nodes)], lasts },
            5 | 6 => {
                let share = self.dice.one_of(&[50, 100]);
                let servers = (0..count).filter(|_| self.dice.percent(share)).collect();
                BusWhat::NoNats { servers, lasts }
            }
            7..=10 => {
                let faults = Box::new(Faults::random(&mut self.dice));
                BusWhat::Rates { faults, lasts }
            }
            11 => self.other_program(),
            _ => BusWhat::Nats(Act::random(&mut self.dice, nodes)),
        }
    }

    /// Only keys that show their client: the servers cannot know whose a hashed key is.
    fn other_program(&mut self) -> BusWhat {
        let short = |id: &String| id.len() < 300;
        let clients = (0..self.plan.clients.len()).filter(|it| short(&self.plan.clients[*it]));
        let clients: Vec<usize> = clients.collect();
        if clients.is_empty() || self.dice.percent(20) {
            return BusWhat::Purge;
        }
        let client = self.dice.one_of(&clients);
        let id = &self.plan.clients[client];
        let value = match self.dice.below(5) {
            0 => return BusWhat::Delete { client },
            1 => "nonsense".to_owned(),
            2 => format!("AT Alford +0.1 not-{id} +1+1 {EPOCH_S}"),
            3 => format!("AT Alford +0.1 {id} +1+1 x"),
            _ => "y".repeat(40_000),
        };
        BusWhat::Store { client, value }
    }

    fn report(&mut self) -> Said {
        let client = self.dice.below(self.plan.clients.len());
        let (stamp, kind) = self.stamp();
        let location = self.dice.one_of(&["+1+1", "-34.068930-118.445127", "+0.5-7", "+2+2"]);
        Said::Iamat { client, location, stamp, kind }
    }

    fn stamp(&mut self) -> (String, StampKind) {
        let (second, nanos) = (self.dice.within(0..=40), self.dice.within(0..=999_999_999));
        let (stamp, kind) = match self.dice.below(20) {
            0..=4 if !self.stamps.is_empty() => {
                return (self.stamps[self.dice.below(self.stamps.len())].clone(), StampKind::Tied);
            }
            0..=7 => (EPOCH_S - 3_600 + second, StampKind::Late),
            8 => (4_000_000_000 + second, StampKind::FarFuture),
            9 if self.plan.limits.expires => (EPOCH_S - 2_000_000 + second, StampKind::Expired),
            _ => (EPOCH_S + second, StampKind::Now),
        };
        let stamp = match self.dice.percent(30) {
            true => stamp.to_string(),
            false => format!("{stamp}.{nanos:09}"),
        };
        self.stamps.push(stamp.clone());
        (stamp, kind)
    }
}

impl fmt::Display for BusPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BusPlan { seed, links, limits, window, repair, has_journal, ack_wait, .. } = self;
        writeln!(f, "bus seed {seed}\nservers {:?}, links {links:?}", self.servers)?;
        writeln!(f, "{limits:?}\n{:?}", self.weather)?;
        writeln!(f, "bus_window {window}, bus_repair {repair:?}, journal {has_journal}")?;
        writeln!(f, "ack by the bus within {ack_wait:?}")?;
        let BusPlan { manner, nodes, in_memory, .. } = self;
        writeln!(f, "NATS {manner:?}, {nodes} nodes, in memory: {in_memory}")?;
        for (number, client) in self.clients.iter().enumerate() {
            writeln!(f, "client {number}: {client:.20} ({} bytes)", client.len())?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            let text = format!("{:?}", step.what);
            writeln!(f, "step {number} at {:?}: {text:.500}", step.at)?;
        }
        Ok(())
    }
}

/// The stamps with which a client is reported more than once at one location: any line with such a stamp will do.
pub(crate) fn repeated(plan: &BusPlan) -> BTreeSet<(String, u64)> {
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for step in &plan.steps {
        let BusWhat::Say { commands, .. } = &step.what else { continue };
        for said in commands {
            let Said::Iamat { client, location, stamp, .. } = said else { continue };
            let line = format!("AT - + {} {location} {stamp}", plan.clients[*client]);
            let report = super::at_line::AtLine::read(&line).expect("it is one");
            if !seen.insert((report.client.clone(), report.stamp_nanos, *location)) {
                repeated.insert((report.client, report.stamp_nanos));
            }
        }
    }
    repeated
}
