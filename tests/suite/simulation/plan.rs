//! The plan of one run, as data: made from a seed, printable, and still valid when steps are
//! removed.
//!
//! A fault and its end are one step, so that removing the step removes both. Times count from the
//! start of the run; all faults end before [`Plan::quiet_from`].

use crate::support::cluster::{MS, SECOND};
use crate::support::dice::Dice;
use herd_reactor::testing::MemoryOptions;
use places_herd::journal::Sync;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The names of servers, sorted. A plan uses the first ones.
const NAMES: [&str; 12] = [
    "Alford", "Bolden", "Clark", "Dunn", "Eliot", "Frost", "Gale", "Hamilton", "Ivers", "Judd",
    "Kent", "Lowe",
];

/// The clients' clocks at the start of a run, in whole seconds.
pub(crate) const EPOCH_S: u64 = 1_479_413_884;

/// The beginning of stamps in the far future, and of no others.
const FAR_FUTURE: &str = "40000000";

/// The beginning of stamps that are too old if clients expire, and of no others.
const EXPIRED: &str = "14774";

/// The age at which clients expire, if they do: far from the age of any stamp, for any setting of a server's
/// clock.
pub(crate) const EXPIRE_AFTER_S: u64 = 1_000_000;

/// The limit on future stamps, if a run has one. No plan sets a clock by more than a day, so only stamps that the plan
/// puts far into the future exceed it.
const MAX_FUTURE_MS: u64 = 3 * 86_400_000;

/// Changes a plan's seed into that of a separate die for `ack = "peer"`, so that all other dice fall as they would
/// without it.
const ACK_DIE: u64 = 0xac << 48;

/// Everything about one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The names of the servers; a machine's number is its index in this list.
    pub(crate) servers: Vec<&'static str>,
    /// The number of the plain neighbour, if there is one.
    pub(crate) plain: Option<usize>,
    pub(crate) edges: Vec<[usize; 2]>,
    pub(crate) weather: MemoryOptions,
    pub(crate) limits: PlanLimits,
    /// The journals; `None` if the run has none.
    pub(crate) journaling: Option<Journaling>,
    /// Maximum time that replies wait for a neighbour (`ack = "peer"`); `None` if they do not wait.
    pub(crate) ack_wait: Option<Duration>,
    /// The ids of the clients that are reported.
    pub(crate) clients: Vec<String>,
    /// The server that each talker talks to.
    pub(crate) talkers: Vec<usize>,
    pub(crate) steps: Vec<Step>,
}

/// The limits of the topology that differ from plan to plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanLimits {
    pub(crate) silence: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) buffer_bytes: usize,
    pub(crate) whatsat_deadline: Duration,
    pub(crate) refuses_the_future: bool,
    /// How often neighbours compare their tables.
    pub(crate) compare: Duration,
    /// Clients expire after [`EXPIRE_AFTER_S`].
    pub(crate) expires: bool,
}

/// Which servers have a journal, and how it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Journaling {
    pub(crate) sync: Sync,
    pub(crate) servers: BTreeSet<usize>,
    /// Writes to their disks are often short.
    pub(crate) short_writes: bool,
}

/// A fault of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// The disk is full after `room` more bytes.
    Full { room: u64 },
    /// Half of all writes fail.
    Writes,
    /// No sync succeeds, and the unsynced bytes are lost.
    Syncs,
    /// Every call after the next `calls` fails. If the process exits because of it, this counts as a power failure in
    /// the middle of its turn.
    Power { calls: u64 },
}

/// One event of a plan, and its time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

impl Step {
    /// Returns the time and the talker, if this step is a [`What::Say`].
    fn talk(&self) -> Option<(Duration, usize)> {
        match &self.what {
            What::Say { talker, .. } => Some((self.at, *talker)),
            _ => None,
        }
    }

    /// Returns the time at which the step ends.
    fn end(&self) -> Duration {
        self.at
            + match &self.what {
                What::Deaf { lasts, .. }
                | What::Delay { lasts, .. }
                | What::Split { lasts, .. }
                | What::Cut { lasts, .. }
                | What::Partition { lasts, .. }
                | What::Freeze { lasts, .. }
                | What::Slow { lasts, .. }
                | What::NoDescriptors { lasts, .. }
                | What::AcceptFails { lasts, .. }
                | What::DiskFails { lasts, .. } => *lasts,
                What::Flap { times, every, .. } => *times * *every,
                What::Clog { stopped, freed, every } => {
                    (stopped.len() + freed.len()) as u32 * *every
                }
                What::Kill { gone, .. } | What::Vanish { gone, .. } => gone.unwrap_or_default(),
                What::Say { .. }
                | What::Reset { .. }
                | What::ClockStep { .. }
                | What::ClockSkew { .. } => Duration::ZERO,
            }
    }
}

/// A cable, by its two machines; the number after the last server is the machine of all clients.
pub(crate) type Ends = [usize; 2];

/// The event of a step. An event that lasts includes its end.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A talker sends commands, on its connection or on a new one.
    Say { talker: usize, commands: Vec<Said>, then: Then },
    /// A talker does not read for a while.
    Deaf { talker: usize, lasts: Duration },
    /// Everything between two machines takes longer.
    Delay { ends: Ends, by: Duration, lasts: Duration },
    /// Bytes arrive in small pieces, and writes are short.
    Split { server: usize, most: usize, lasts: Duration },
    /// The network resets a link.
    Reset { ends: Ends },
    /// A cable is cut.
    Cut { ends: Ends, lasts: Duration },
    /// No bytes arrive between the machines in `side` and the others.
    Partition { side: Vec<usize>, lasts: Duration },
    /// A cable is cut and healed again and again.
    Flap { ends: Ends, times: u32, every: Duration },
    /// Cables are cut one by one, and healed one by one in another order.
    Clog { stopped: Vec<Ends>, freed: Vec<Ends>, every: Duration },
    /// A server's process is frozen.
    Freeze { server: usize, lasts: Duration },
    /// A server's process is killed, and restarted unless it is lost for good.
    Kill { server: usize, gone: Option<Duration>, keeps_disk: bool },
    /// A server's machine vanishes, and is restarted unless it is lost for good.
    Vanish { server: usize, gone: Option<Duration>, keeps_disk: bool },
    /// A server's wall clock is set.
    ClockStep { server: usize, by_s: i64 },
    /// A server's wall clock runs too fast or too slow.
    ClockSkew { server: usize, ppm: i64 },
    /// Each turn of a server takes long, so that it reads little.
    Slow { server: usize, pace: Duration, lasts: Duration },
    /// A server has no descriptor left.
    NoDescriptors { server: usize, lasts: Duration },
    /// Connections vanish between the kernel and accept.
    AcceptFails { server: usize, lasts: Duration },
    /// A server's disk fails. If the server exits because of it, it is restarted when the disk is repaired.
    DiskFails { server: usize, how: DiskFault, lasts: Duration },
}

/// One command of a client.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A report; `kind` is how the stamp was chosen.
    Iamat { client: usize, location: &'static str, stamp: String, kind: StampKind },
    /// A query. The radius is different each time, so that an answer shows its query.
    Whatsat { client: usize, radius: String },
    /// An invalid command.
    Nonsense(&'static str),
}

/// How a stamp was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StampKind {
    Now,
    Late,
    Tied,
    FarFuture,
    Expired,
}

/// What a talker does after its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The talker stays connected.
    Stay,
    /// The talker half-closes the connection.
    End,
    /// The talker resets the connection without waiting for replies.
    Abort,
}

impl Plan {
    /// Returns the time by which the last fault has ended and the last command has been sent.
    pub(crate) fn quiet_from(&self) -> Duration {
        self.steps.iter().map(Step::end).max().unwrap_or_default().max(SECOND)
    }

    /// Makes the plan of a seed.
    pub(crate) fn new(seed: u64) -> Plan {
        let mut dice = Dice::new(seed);
        let count = dice.within(2..=12) as usize;
        let plain = (count > 2 && dice.percent(15)).then(|| dice.below(count));
        let edges = edges(&mut dice, count, plain);
        let limits = limits(&mut dice);
        let journaling = journaling(&mut dice, count);
        let long_names = dice.percent(25);
        let many = long_names || dice.percent(20);
        let clients = (0..if many { 24 } else { dice.within(1..=6) })
            .map(|client| match long_names {
                true => format!("client-{client}-{}", "x".repeat(dice.within(0..=1_500) as usize)),
                false => format!("client-{client}"),
            })
            .collect::<Vec<_>>();
        let members: Vec<usize> = (0..count).filter(|server| plain != Some(*server)).collect();
        let talkers = (0..dice.within(1..=5)).map(|_| dice.one_of(&members)).collect::<Vec<_>>();
        let mut plan = Plan {
            seed,
            servers: NAMES[..count].to_vec(),
            plain,
            edges,
            weather: weather(&mut dice, seed),
            limits,
            journaling,
            ack_wait: None,
            clients,
            talkers,
            steps: Vec::new(),
        };
        let mut writer =
            Writer { dice, questions: 0, stamps: Vec::new(), plan: &mut plan, members };
        writer.write(many);
        plan.wait_for_neighbours(Dice::new(seed ^ ACK_DIE));
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    /// In a quarter of the runs replies wait for a neighbour. In these runs a server is lost for good
    /// more often than in others, soon after it got a report, and sometimes while only its clients
    /// could reach it.
    fn wait_for_neighbours(&mut self, mut dice: Dice) {
        if !dice.percent(25) {
            return;
        }
        self.ack_wait = Some(dice.within(20..=250) as u32 * MS);
        if self.servers.len() < 3 || self.loses_a_server() || !dice.percent(25) {
            return;
        }
        let talks: Vec<(Duration, usize)> = self.steps.iter().filter_map(Step::talk).collect();
        let (said, talker) = dice.one_of(&talks);
        let server = self.talkers[talker];
        if dice.percent(50) {
            let at = said.saturating_sub(dice.within(0..=300) as u32 * MS);
            let side = vec![server, self.servers.len()];
            self.steps.push(Step { at, what: What::Partition { side, lasts: 2 * SECOND } });
        }
        let at = said + dice.within(1..=200) as u32 * MS;
        self.steps.push(Step { at, what: What::Vanish { server, gone: None, keeps_disk: false } });
    }

    /// Returns the maximum time until all servers have read `bytes` that wait on links.
    ///
    /// A link carries one receive window per round trip, as the next one is sent when it has been read: in the
    /// worst network 2,000 bytes in 200 ms. All links work at the same time, but a line may be queued after all other
    /// bytes. It is then passed on from link to link, for a round trip each; any path has fewer links than there are
    /// servers. The gaps between arrivals, 50 us at most, are negligible.
    pub(crate) fn transfer(&self, bytes: usize) -> Duration {
        if bytes == 0 {
            return Duration::ZERO;
        }
        let windows = bytes.div_ceil(self.weather.receive_window_bytes) + self.servers.len();
        2 * *self.weather.delay.end() * windows as u32
    }

    /// Whether a server is lost for good.
    pub(crate) fn loses_a_server(&self) -> bool {
        let mut steps = self.steps.iter().map(|step| &step.what);
        steps.any(|what| {
            matches!(what, What::Kill { gone: None, .. } | What::Vanish { gone: None, .. })
        })
    }

    /// Returns the same plan with `ack = "local"`.
    pub(crate) fn with_local_acks(&self) -> Plan {
        Plan { ack_wait: None, ..self.clone() }
    }

    /// Returns the text of its topology, made by [`topology`](crate::support::cluster::topology).
    pub(crate) fn topology(&self) -> String {
        let servers = self.servers.iter().enumerate().map(|(number, name)| {
            let star = if self.plain == Some(number) { "*" } else { "" };
            let to = self.edges.iter().filter(|[one, _]| *one == number);
            let neighbours: Vec<&str> = to.map(|[_, other]| self.servers[*other]).collect();
            format!("{name}{star} {}", neighbours.join(" "))
        });
        let PlanLimits { silence, retry_max, buffer_bytes, whatsat_deadline, .. } = self.limits;
        let (silence_ms, retry_max_ms) = (silence.as_millis(), retry_max.as_millis());
        let ping_ms = self.limits.ping().as_millis();
        let deadline_ms = whatsat_deadline.as_millis();
        // It never uses the default of a day, because the clocks of these herds are set by a day.
        let max_future_ms = if self.limits.refuses_the_future { MAX_FUTURE_MS } else { 0 };
        let expire_after_s = if self.limits.expires { EXPIRE_AFTER_S } else { 0 };
        let sync_ms = self.limits.compare.as_millis();
        let limits = format!(
            "line_bytes = 4_096\nclient_id_bytes = 2_048\nsilence_ms = {silence_ms}\nping_ms = {ping_ms}\nretry_max_ms = {retry_max_ms}\n\
             flood_buffer_bytes = {buffer_bytes}\nsend_buffer_bytes = {buffer_bytes}\n\
             max_future_ms = {max_future_ms}\n\
             expire_after_s = {expire_after_s}\nsync_ms = {sync_ms}\n\
             [places]\ndeadline_ms = {deadline_ms}\n{}",
            self.journaling.as_ref().map(Journaling::topology).unwrap_or_default()
        );
        let servers = servers.collect::<Vec<_>>().join("; ");
        let Some(wait) = self.ack_wait else {
            return crate::support::cluster::topology(&servers, &limits);
        };
        let limits = format!("ack_wait_ms = {}\n{limits}", wait.as_millis());
        format!("ack = 'peer'\n{}", crate::support::cluster::topology(&servers, &limits))
    }

    /// Returns all cables between neighbours, and those between servers and the clients' machine.
    pub(crate) fn cables(&self) -> impl Iterator<Item = Ends> + '_ {
        let outside = self.servers.len();
        self.edges.iter().copied().chain((0..outside).map(move |server| [server, outside]))
    }
}

impl PlanLimits {
    /// Returns the time between PINGs: three of them fit into `silence`.
    pub(crate) fn ping(self) -> Duration {
        self.silence / 3
    }

    /// Returns the time after the last fault by which all tables must be equal. A server detects a dead link
    /// after `silence`; then it dials after the longest pause, and
    /// if that fails, as it may if both ends are late, after another.
    pub(crate) fn quiet(self) -> Duration {
        self.silence + 2 * self.retry_max
    }

    /// Whether every server rejects a report with this stamp.
    pub(crate) fn refuses(self, stamp: &str) -> bool {
        self.refuses_the_future && stamp.starts_with(FAR_FUTURE)
            || self.expires && stamp.starts_with(EXPIRED)
    }

    /// Returns the maximum pending output of one link: the limit, and the longest line that is written just
    /// below it.
    pub(crate) fn link_pending_most(self) -> usize {
        self.buffer_bytes + 4_096
    }

    /// Returns the maximum pending output of one client's connection: the limit, the longest reply, and all
    /// replies that may wait behind that one and are written with it.
    pub(crate) fn client_pending_most(self) -> usize {
        2 * self.buffer_bytes + 8_192
    }
}

/// Makes a connected graph, which stays connected without the plain neighbour.
fn edges(dice: &mut Dice, count: usize, plain: Option<usize>) -> Vec<[usize; 2]> {
    let mut order: Vec<usize> = (0..count).filter(|server| plain != Some(*server)).collect();
    dice.shuffle(&mut order);
    order.extend(plain);
    let mut edges: BTreeSet<[usize; 2]> = BTreeSet::new();
    let mut add = |one: usize, other: usize| {
        edges.insert([one.min(other), one.max(other)]);
    };
    for index in 1..count {
        add(order[dice.below(index)], order[index]);
    }
    // The result is anything from a tree to twice as many edges as servers.
    for _ in 0..dice.below(count + 2) {
        let (one, other) = (dice.below(count), dice.below(count));
        if one != other {
            add(one, other);
        }
    }
    edges.into_iter().collect()
}

fn limits(dice: &mut Dice) -> PlanLimits {
    PlanLimits {
        silence: dice.one_of(&[3, 6, 15]) * SECOND,
        retry_max: dice.one_of(&[1, 2, 5]) * SECOND,
        buffer_bytes: dice.one_of(&[4_096, 16_384, 262_144]),
        whatsat_deadline: dice.one_of(&[1, 8]) * SECOND,
        refuses_the_future: dice.percent(30),
        // A comparison of different tables takes 4 KiB, so only one run in ten compares often.
        compare: if dice.percent(10) { dice.one_of(&[500, 3_000]) } else { 60_000 } * MS,
        expires: dice.percent(6),
    }
}

/// Gives some or all servers a journal, in half of the runs.
fn journaling(dice: &mut Dice, count: usize) -> Option<Journaling> {
    let share = dice.one_of(&[0, 0, 60, 100]);
    let sync = dice.one_of(&[Sync::Always, Sync::EverySecond, Sync::No]);
    let servers: BTreeSet<usize> = (0..count).filter(|_| dice.percent(share)).collect();
    let short_writes = dice.percent(20);
    (!servers.is_empty()).then_some(Journaling { sync, servers, short_writes })
}

impl Journaling {
    /// Returns the table `[journal]` of the topology.
    fn topology(&self) -> String {
        let sync = match self.sync {
            Sync::Always => "always",
            Sync::EverySecond => "everysec",
            Sync::No => "no",
        };
        format!(
            "[journal]\nsync = '{sync}'\ncompact_bytes = 65_536\ncompact_keys = 3\nretry_ms = 1_000"
        )
    }
}

/// Makes the network: calm, or difficult in various ways, with windows small enough to fill.
pub(super) fn weather(dice: &mut Dice, seed: u64) -> MemoryOptions {
    let calm = MemoryOptions::calm(seed);
    let micros = |from: u64, to: u64| Duration::from_micros(from)..=Duration::from_micros(to);
    MemoryOptions {
        delay: dice.one_of(&[(0, 0), (0, 500), (100, 20_000), (1_000, 100_000)]).pipe(micros),
        gap: dice.one_of(&[(0, 0), (0, 50)]).pipe(micros),
        arrival_bytes: 1..=dice.one_of(&[200, 3_000, 100_000]),
        write_bytes: 1..=dice.one_of(&[500, 9_000, 100_000]),
        send_window_bytes: dice.one_of(&[2_000, 20_000, 256 << 10]),
        receive_window_bytes: dice.one_of(&[2_000, 20_000, 256 << 10]),
        spurious_events: dice.one_of(&[0.0, 0.0, 0.2]),
        ..calm
    }
}

trait Pipe: Sized {
    fn pipe<T>(self, call: impl FnOnce(u64, u64) -> T) -> T;
}

impl Pipe for (u64, u64) {
    fn pipe<T>(self, call: impl FnOnce(u64, u64) -> T) -> T {
        call(self.0, self.1)
    }
}

/// Writes the steps of a plan.
struct Writer<'a> {
    dice: Dice,
    questions: u64,
    /// The stamps used so far, some of which are used again.
    stamps: Vec<String>,
    plan: &'a mut Plan,
    members: Vec<usize>,
}

impl Writer<'_> {
    fn write(&mut self, many: bool) {
        for _ in 0..self.dice.within(2..=9) {
            let (at, what) = (self.moment(), self.fault());
            self.plan.steps.push(Step { at, what });
        }
        // At most one server is lost for good, so that others remain.
        if self.plan.servers.len() > 2 && self.dice.percent(15) {
            let (at, server) = (self.moment(), self.dice.one_of(&self.members));
            let what = match self.dice.percent(50) {
                true => What::Kill { server, gone: None, keeps_disk: false },
                false => What::Vanish { server, gone: None, keeps_disk: false },
            };
            self.plan.steps.push(Step { at, what });
        }
        for _ in 0..self.dice.within(3..=25) {
            let (at, what) = (self.moment(), self.words(many));
            self.plan.steps.push(Step { at, what });
        }
    }

    /// Chooses the time of an event: sometimes right at the start, mostly later.
    fn moment(&mut self) -> Duration {
        match self.dice.percent(10) {
            true => self.dice.within(0..=100) as u32 * MS,
            false => self.dice.within(100..=20_000) as u32 * MS,
        }
    }

    /// Chooses a duration: from an instant to longer than some timeouts.
    fn time(&mut self) -> Duration {
        let most = self.dice.one_of(&[200, 2_000, 9_500]);
        self.dice.within(1..=most) as u32 * MS
    }

    fn cable(&mut self) -> Ends {
        // Mostly between neighbours.
        match self.dice.percent(85) {
            true => self.dice.one_of(&self.plan.edges),
            false => [self.dice.one_of(&self.members), self.plan.servers.len()],
        }
    }

    fn fault(&mut self) -> What {
        let server = self.dice.one_of(&self.members);
        let (ends, lasts) = (self.cable(), self.time());
        let disks = if self.plan.journaling.is_some() { 6 } else { 0 };
        let keeps_disk = self.dice.percent(75);
        match self.dice.below(17 + disks) {
            0 => What::Deaf { talker: self.dice.below(self.plan.talkers.len()), lasts },
            1 => {
                let by = self.dice.within(1..=800) as u32 * MS;
                What::Delay { ends, by, lasts }
            }
            2 => What::Split { server, most: self.dice.within(1..=40) as usize, lasts },
            3 => What::Reset { ends: self.dice.one_of(&self.plan.edges) },
            4 | 5 => What::Cut { ends, lasts },
            6 => {
                let count = self.plan.servers.len() + 1;
                let side = (0..count).filter(|_| self.dice.percent(50)).collect();
                What::Partition { side, lasts }
            }
            7 => {
                let times = self.dice.within(2..=8) as u32;
                let every = self.dice.within(1..=9_000 / u64::from(times)) as u32 * MS;
                What::Flap { ends, times, every }
            }
            8 => {
                let mut stopped: Vec<Ends> = self.plan.edges.clone();
                self.dice.shuffle(&mut stopped);
                stopped.truncate(1 + self.dice.below(stopped.len()));
                let mut freed = stopped.clone();
                self.dice.shuffle(&mut freed);
                let every = self.dice.within(1..=4_500 / stopped.len() as u64) as u32 * MS;
                What::Clog { stopped, freed, every }
            }
            9 => What::Freeze { server, lasts },
            10 | 17 => What::Kill { server, gone: Some(lasts), keeps_disk },
            11 | 18 => What::Vanish { server, gone: Some(lasts), keeps_disk },
            12 => {
                let by_s = self.dice.within(0..=2 * 86_400) as i64 - 86_400;
                What::ClockStep { server, by_s }
            }
            13 => {
                let ppm = self.dice.within(0..=400_000) as i64 - 200_000;
                What::ClockSkew { server, ppm }
            }
            14 => What::Slow { server, pace: self.dice.within(20..=400) as u32 * MS, lasts },
            15 => What::NoDescriptors { server, lasts },
            16 => What::AcceptFails { server, lasts },
            _ => {
                // The fault lasts long enough for the server to meet it.
                let lasts = self.dice.within(500..=9_500) as u32 * MS;
                What::DiskFails { server, how: self.disk_fault(), lasts }
            }
        }
    }

    fn disk_fault(&mut self) -> DiskFault {
        match self.dice.below(5) {
            0 | 1 => DiskFault::Full { room: self.dice.within(0..=200) },
            2 => DiskFault::Writes,
            3 => DiskFault::Syncs,
            _ => DiskFault::Power { calls: self.dice.within(0..=20) },
        }
    }

    fn words(&mut self, many: bool) -> What {
        let talker = self.dice.below(self.plan.talkers.len());
        let most = if many { 40 } else { 5 };
        let commands = (0..self.dice.within(1..=most)).map(|_| self.command()).collect();
        let then = match self.dice.below(8) {
            0 | 1 => Then::End,
            2 => Then::Abort,
            _ => Then::Stay,
        };
        What::Say { talker, commands, then }
    }

    fn command(&mut self) -> Said {
        let client = self.dice.below(self.plan.clients.len());
        match self.dice.below(20) {
            0..=3 => {
                self.questions += 1;
                let radius =
                    format!("{}.{:04}", 1 + self.questions / 10_000, self.questions % 10_000);
                Said::Whatsat { client, radius }
            }
            4 => Said::Nonsense(self.dice.one_of(&[
                "WHATSAT",
                "IAMAT a b c",
                "hello world",
                "AT x y",
            ])),
            _ => {
                let (stamp, kind) = self.stamp();
                let location =
                    self.dice.one_of(&["+1+1", "-34.068930-118.445127", "+0.5-7", "+2+2"]);
                Said::Iamat { client, location, stamp, kind }
            }
        }
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

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        let name = |number: usize| self.servers.get(number).copied().unwrap_or("outside");
        for (number, server) in self.servers.iter().enumerate() {
            let to = self.edges.iter().filter(|[one, _]| *one == number);
            let to: Vec<&str> = to.map(|[_, other]| name(*other)).collect();
            let plain = if self.plain == Some(number) { " (plain)" } else { "" };
            writeln!(f, "server {number} {server}{plain}: {}", to.join(" "))?;
        }
        writeln!(f, "{:?}\n{:?}\n{:?}", self.limits, self.weather, self.journaling)?;
        match self.ack_wait {
            Some(wait) => writeln!(f, "ack = peer, for {wait:?} at most")?,
            None => writeln!(f, "ack = local")?,
        }
        for (number, client) in self.clients.iter().enumerate() {
            let (start, end) = client.split_at(client.len().min(12));
            let more = if end.is_empty() { "" } else { "..." };
            writeln!(f, "client {number}: {start}{more} ({} bytes)", client.len())?;
        }
        for (number, server) in self.talkers.iter().enumerate() {
            writeln!(f, "talker {number} talks to {}", name(*server))?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "step {number} at {:?}: {:?}", step.at, step.what)?;
        }
        Ok(())
    }
}
