//! What happens in one run, as data: made from a seed, printable, and still a plan when steps are
//! taken out of it.
//!
//! A fault and its end are one step: whoever takes the step out takes both. Times are counted from the
//! start of the run; everything ends before [`Plan::quiet_from`].

use crate::support::cluster::{MS, SECOND};
use crate::support::dice::Dice;
use herd_reactor::testing::MemoryOptions;
use places_herd::journal::Sync;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The names of servers, in the order in which they sort and in which a plan takes them.
const NAMES: [&str; 12] = [
    "Alford", "Bolden", "Clark", "Dunn", "Eliot", "Frost", "Gale", "Hamilton", "Ivers", "Judd",
    "Kent", "Lowe",
];

/// What the clients' clocks show at the start of a run: whole seconds of the wall clock.
pub(crate) const EPOCH_S: u64 = 1_479_413_884;

/// How stamps of the far future begin, and no others.
const FAR_FUTURE: &str = "40000000";

/// How stamps begin that are too old wherever clients expire, and no others.
const EXPIRED: &str = "14774";

/// At which age clients are forgotten, if they are: far from the age of any stamp, whatever a server's
/// clock shows.
pub(crate) const EXPIRE_AFTER_S: u64 = 1_000_000;

/// How far ahead a stamp is taken for certain by a server with `max_future_ms`, and refused for
/// certain. Wall clocks are stepped by a day at most.
const MAX_FUTURE_MS: u64 = 3 * 86_400_000;

/// Makes of a plan's seed that of a die that is thrown for the waiting for neighbours alone: all others
/// fall as they would without it.
const ACK_DIE: u64 = 0xac << 48;

/// Everything about one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Their names; a machine's number is its place in this list.
    pub(crate) servers: Vec<&'static str>,
    /// The number of the plain neighbour, if there is one.
    pub(crate) plain: Option<usize>,
    pub(crate) edges: Vec<[usize; 2]>,
    pub(crate) weather: MemoryOptions,
    pub(crate) limits: PlanLimits,
    /// What outlives the servers, if something does.
    pub(crate) journaling: Option<Journaling>,
    /// Replies wait for a neighbour's word (`ack = "peer"`), so long at most; or they do not.
    pub(crate) ack_wait: Option<Duration>,
    /// The ids of the clients that are reported.
    pub(crate) clients: Vec<String>,
    /// The server that each talker talks to.
    pub(crate) talkers: Vec<usize>,
    pub(crate) steps: Vec<Step>,
}

/// Those limits of the topology that differ from plan to plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanLimits {
    pub(crate) silence: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) buffer_bytes: usize,
    pub(crate) whatsat_deadline: Duration,
    pub(crate) refuses_the_future: bool,
    /// How often neighbours compare what they know.
    pub(crate) compare: Duration,
    /// Clients are forgotten at [`EXPIRE_AFTER_S`].
    pub(crate) expires: bool,
}

/// Which servers have a journal, and how it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Journaling {
    pub(crate) sync: Sync,
    pub(crate) servers: BTreeSet<usize>,
    /// Their disks often take a part of what is written only.
    pub(crate) short_writes: bool,
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// So many bytes more fit on it.
    Full { room: u64 },
    /// Half of all writes fail.
    Writes,
    /// No sync succeeds, and what it was to sync is lost.
    Syncs,
    /// Nothing works any more after so many calls. If the process ends for that, the machine's power
    /// has failed in the middle of its turn.
    Power { calls: u64 },
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

impl Step {
    /// When something is said, and by which talker; if that is what happens.
    fn talk(&self) -> Option<(Duration, usize)> {
        match &self.what {
            What::Say { talker, .. } => Some((self.at, *talker)),
            _ => None,
        }
    }

    /// When it is over.
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

/// A cable, by its two machines; the machine behind the servers is everybody outside.
pub(crate) type Ends = [usize; 2];

/// What happens. What lasts ends of its own accord.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A talker says something, on the connection that it has or on a new one.
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
    /// Nothing arrives between those in `side` and the others.
    Partition { side: Vec<usize>, lasts: Duration },
    /// A cable is cut and healed again and again.
    Flap { ends: Ends, times: u32, every: Duration },
    /// Cables are cut one by one, and healed one by one in another order.
    Clog { stopped: Vec<Ends>, freed: Vec<Ends>, every: Duration },
    /// A server's process stands still.
    Freeze { server: usize, lasts: Duration },
    /// A server's process is killed, and started again unless it is gone for good.
    Kill { server: usize, gone: Option<Duration>, keeps_disk: bool },
    /// A server's machine vanishes, and is started again unless it is gone for good.
    Vanish { server: usize, gone: Option<Duration>, keeps_disk: bool },
    /// A server's wall clock is set.
    ClockStep { server: usize, by_s: i64 },
    /// A server's wall clock goes too fast.
    ClockSkew { server: usize, ppm: i64 },
    /// Each turn of a server takes long, so that it reads little.
    Slow { server: usize, pace: Duration, lasts: Duration },
    /// A server has no descriptor left.
    NoDescriptors { server: usize, lasts: Duration },
    /// Connections vanish between the kernel and accept.
    AcceptFails { server: usize, lasts: Duration },
    /// A server's disk fails. If the server ends for that, it is started when the disk is mended.
    DiskFails { server: usize, how: DiskFault, lasts: Duration },
}

/// One command of a client.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// `kind` says how the stamp was chosen.
    Iamat { client: usize, location: &'static str, stamp: String, kind: StampKind },
    /// The radius is another one each time, so that an answer tells which question it is for.
    Whatsat { client: usize, radius: String },
    /// What is no command.
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

/// What a talker does when it has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It stays.
    Stay,
    /// It ends its side.
    End,
    /// It goes away with a reset, whatever may come.
    Abort,
}

impl Plan {
    /// From here on nothing happens any more: when the last fault has ended and the last word is said.
    pub(crate) fn quiet_from(&self) -> Duration {
        self.steps.iter().map(Step::end).max().unwrap_or_default().max(SECOND)
    }

    /// The plan of a seed.
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

    /// In a quarter of the runs replies wait for a neighbour's word. There a server is lost for good
    /// more often than elsewhere, soon after something was said to it, and now and then as one that
    /// only its clients could reach.
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

    /// How long it takes at most until all servers have read what is in `bytes` that wait on links.
    ///
    /// A link carries a receive window in each round trip, as the next is sent when it has been read: in the
    /// worst weather 2,000 bytes in 200 ms. All links work at the same time, but a line may stand behind all other
    /// bytes there are; and it is passed on from link to link, of which there are fewer than servers on any way, for a
    /// round trip each. The gaps between arrivals, 50 us at most, are nothing beside that.
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

    /// The same, and replies wait for nobody.
    pub(crate) fn with_local_acks(&self) -> Plan {
        Plan { ack_wait: None, ..self.clone() }
    }

    /// The text of its topology, as [`topology`](crate::support::cluster::topology) wants it.
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
        // Never the default of a day: the clocks of these herds are set by a day.
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

    /// All cables between neighbours, and those between servers and everybody outside.
    pub(crate) fn cables(&self) -> impl Iterator<Item = Ends> + '_ {
        let outside = self.servers.len();
        self.edges.iter().copied().chain((0..outside).map(move |server| [server, outside]))
    }
}

impl PlanLimits {
    /// How often a neighbour is sent a PING: three are within a silence.
    pub(crate) fn ping(self) -> Duration {
        self.silence / 3
    }

    /// How long after the last fault everybody must know everything. A link whose other end is gone is
    /// noticed when it has been silent for too long; then it is dialled after the longest pause, and
    /// if that fails, as may be when both ends are late, after another.
    pub(crate) fn quiet(self) -> Duration {
        self.silence + 2 * self.retry_max
    }

    /// Whether a report with this stamp is refused by whoever is asked.
    pub(crate) fn refuses(self, stamp: &str) -> bool {
        self.refuses_the_future && stamp.starts_with(FAR_FUTURE)
            || self.expires && stamp.starts_with(EXPIRED)
    }

    /// The most that may wait on one link: the mark, and the longest line that is written when it has
    /// not been reached.
    pub(crate) fn link_pending_most(self) -> usize {
        self.buffer_bytes + 4_096
    }

    /// The most that may wait on one client's connection: the mark, the longest reply, and as many
    /// replies as may wait behind that and are written with it.
    pub(crate) fn client_pending_most(self) -> usize {
        2 * self.buffer_bytes + 8_192
    }
}

/// A connected graph. Members stay connected without the plain neighbour.
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
    // From a tree to twice as many edges as servers.
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
        // To compare what differs takes 4 KiB, so a little of this goes a long way.
        compare: if dice.percent(10) { dice.one_of(&[500, 3_000]) } else { 60_000 } * MS,
        expires: dice.percent(6),
    }
}

/// In half of the runs some servers have journals, or all.
fn journaling(dice: &mut Dice, count: usize) -> Option<Journaling> {
    let share = dice.one_of(&[0, 0, 60, 100]);
    let sync = dice.one_of(&[Sync::Always, Sync::EverySecond, Sync::No]);
    let servers: BTreeSet<usize> = (0..count).filter(|_| dice.percent(share)).collect();
    let short_writes = dice.percent(20);
    (!servers.is_empty()).then_some(Journaling { sync, servers, short_writes })
}

impl Journaling {
    /// The table `[journal]`.
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

/// The network: calm, or contrary in one way or another; windows so small that they fill.
fn weather(dice: &mut Dice, seed: u64) -> MemoryOptions {
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
    /// Stamps that were used, to be used again.
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
        // At most one server goes for good, so that somebody is left to agree.
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

    /// When something happens: now and then as soon as all begin, mostly later.
    fn moment(&mut self) -> Duration {
        match self.dice.percent(10) {
            true => self.dice.within(0..=100) as u32 * MS,
            false => self.dice.within(100..=20_000) as u32 * MS,
        }
    }

    /// How long something lasts: an instant, or longer than any patience.
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
                // Long enough to be met.
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
