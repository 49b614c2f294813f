//! Runs a plan with a bus, and checks its promises.
//!
//! ```text
//!   0 s            20 s        the last step  + 21 s          as long as it takes      + a while
//!   │ steps begin   │ steps end │ Act::Calm,   │ late puts     │ tables and bucket are  │ nothing is
//!   │               │           │ all up       │ have come     │ equal and hold the     │ written
//!                                                               newest, nothing is owed
//! ```
//!
//! If the bucket has forgotten writes without a trace, it may take until the hourly reading; the tables may not. Where
//! clients expire, a month passes at the end, and all must be equal again.

use super::at_line::{AtLine, Newest, raise};
use super::bus_plan::{BUCKET, BusPlan, BusWhat, repeated};
use super::bus_sabotage::BusSabotage;
use super::bus_watch::{BusSeen, BusWatch};
use super::conversation::Conversation;
use super::plan::{EPOCH_S, EXPIRE_AFTER_S, Ends};
use super::run::{Broken, SLICE};
use crate::support::cluster::memory_disk::MemoryDisk;
use crate::support::cluster::{Cluster, Remains, SECOND, Silent, nats_address};
use crate::support::nats_double::{Act, Message, NatsDouble, Settings};
use herd_reactor::{Io, Moment, UnixNanos};
use places_herd::nats::write_key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub(crate) const BUS_AGREEMENT: &str = "all tables and the bucket become equal";
pub(crate) const BUCKET_NEWEST: &str =
    "each table has all that the bucket has, without the hourly reading";
pub(crate) const STORED: &str = "no report is lost that a table, the bucket or a journal had";
pub(crate) const NO_NEWER_REPLACED: &str = "no put replaces a newer report";
pub(crate) const BUS_WORD: &str = "a reply that leaves before the bucket has its report is counted";

/// Late puts are stored up to 20 s after they were sent.
const LATE: Duration = Duration::from_secs(21);

/// How often a server reads the whole bucket.
const READ_EVERY: Duration = Duration::from_secs(3_600);

const MONTH_S: u64 = 30 * 86_400;

/// What happened in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct BusOutcome {
    pub(crate) met: BTreeSet<&'static str>,
    pub(crate) simulated: Duration,
    pub(crate) turns: u64,
    pub(crate) acknowledged: u64,
    /// The time from the last fault until all was equal, to the precision of a slice, at least 21 s.
    pub(crate) agreed_after: Duration,
    /// Replies that waited until the bucket had the report, and those that were counted.
    pub(crate) founded: u64,
    pub(crate) counted: u64,
    pub(crate) puts: u64,
    pub(crate) stored: u64,
    pub(crate) conflicts: u64,
}

#[derive(Clone, Copy, Debug)]
enum BusAction {
    Begin(usize),
    End(usize),
}

struct BusRun<'a> {
    plan: &'a BusPlan,
    cluster: Cluster,
    double: NatsDouble,
    agenda: BTreeMap<(Moment, usize), BusAction>,
    conversations: Vec<Conversation>,
    /// The current conversation with each server.
    talks: Vec<Option<usize>>,
    disks: BTreeMap<usize, MemoryDisk>,
    seen: Receiver<BusSeen>,
    repeated: BTreeSet<(String, u64)>,
    /// The reports that must be there at the end.
    floor: Newest,
    step: Option<usize>,
    outcome: BusOutcome,
}

type Kept<T = ()> = Result<T, Box<Broken>>;

/// Runs `plan`. With `keeps_log` it returns the log, also after a failure.
pub(crate) fn play(
    plan: &BusPlan,
    sabotage: Option<BusSabotage>,
    keeps_log: bool,
) -> (Result<BusOutcome, Box<Broken>>, String) {
    let mut run = BusRun::new(plan, sabotage);
    if keeps_log {
        run.cluster.keep_log();
    }
    let result = run.play();
    let log = run.cluster.log("end").to_owned();
    (result.map(|()| run.outcome), log)
}

impl<'a> BusRun<'a> {
    fn new(plan: &'a BusPlan, sabotage: Option<BusSabotage>) -> BusRun<'a> {
        let mut cluster = Cluster::new(plan.weather.clone(), &plan.topology());
        let settings = Settings { manner: plan.manner, nodes: plan.nodes, ..Settings::default() };
        let double = NatsDouble::new(plan.seed, settings);
        for node in 0..plan.nodes {
            cluster.host(nats_address(node), Box::new(double.node(node)));
        }
        let (sender, seen) = channel();
        cluster.meddle(Box::new(BusWatch::new(plan, double.clone(), sender, sabotage)));
        BusRun {
            talks: vec![None; plan.servers.len()],
            cluster,
            double,
            agenda: BTreeMap::new(),
            conversations: Vec::new(),
            disks: BTreeMap::new(),
            seen,
            repeated: repeated(plan),
            floor: Newest::new(),
            step: None,
            outcome: BusOutcome::default(),
            plan,
        }
    }

    fn play(&mut self) -> Kept {
        for server in 0..self.plan.servers.len() {
            self.start(server)?;
        }
        for (number, step) in self.plan.steps.iter().enumerate() {
            self.agenda.insert((Moment::default() + step.at, 2 * number), BusAction::Begin(number));
        }
        self.run_until(Moment::default() + self.plan.quiet_from())?;
        self.cluster.log("calm");
        self.double.act(self.cluster.outside_core(), &Act::Calm);
        self.take_in()?;
        self.floor_of_now();
        self.run_for(LATE)?;
        self.come_to_agree()?;
        self.all_are_answered()?;
        self.grow_old()?;
        self.outcome.simulated = self.cluster.now() - Moment::default();
        self.outcome.turns = self.cluster.turns();
        let world = self.double.world();
        let counters = &world.counters;
        (self.outcome.puts, self.outcome.stored) = (counters.puts as u64, counters.stored as u64);
        self.outcome.conflicts = counters.conflicts as u64;
        Ok(())
    }

    fn start(&mut self, server: usize) -> Kept {
        let name = self.plan.servers[server];
        let fresh = || MemoryDisk::new(self.plan.seed ^ (server as u64) << 20);
        let disk = self.disks.remove(&server).or_else(|| self.plan.has_journal.then(fresh));
        match self.cluster.start_from(name, Box::new(Silent), Remains(disk)) {
            Ok(_) => Ok(()),
            Err(refusal) => self.broken("a journal can be opened", format!("{name}: {refusal}")),
        }
    }

    fn run_for(&mut self, time: Duration) -> Kept {
        self.run_until(self.cluster.now() + time)
    }

    fn run_until(&mut self, until: Moment) -> Kept {
        while self.cluster.now() < until {
            let next = self.agenda.first_key_value().map_or(until, |((at, _), _)| *at);
            self.cluster.run_until(next.min(until).min(self.cluster.now() + SLICE));
            self.take_in()?;
            while let Some(entry) = self.agenda.first_entry() {
                if entry.key().0 > self.cluster.now() {
                    break;
                }
                let action = entry.remove();
                self.act(action)?;
            }
        }
        Ok(())
    }

    /// Processes the observations.
    fn take_in(&mut self) -> Kept {
        let keeps = !self.plan.forgets();
        while let Ok(seen) = self.seen.try_recv() {
            match seen {
                BusSeen::Stored(lines) if keeps => {
                    lines.into_iter().for_each(|line| raise(&mut self.floor, line));
                }
                BusSeen::Stored(_) => {}
                BusSeen::Founded(_) => self.outcome.founded += 1,
                BusSeen::Counted => self.outcome.counted += 1,
                BusSeen::Met(what) => drop(self.outcome.met.insert(what)),
                BusSeen::Replaced(what) => return self.broken(NO_NEWER_REPLACED, what),
                BusSeen::Unfounded(line) => return self.broken(BUS_WORD, line),
                BusSeen::TooMuch(what) => {
                    return self.broken("everything stays under its limit", what);
                }
            }
        }
        for number in 0..self.conversations.len() {
            let talk = &mut self.conversations[number];
            let heard = self.cluster.heard(talk.talk);
            let acknowledged = match talk.hear(heard, self.plan.servers[talk.server]) {
                Ok(acknowledged) => acknowledged,
                Err(why) => return self.broken("replies in order, one for each command", why),
            };
            self.outcome.acknowledged += acknowledged.len() as u64;
            if self.plan.has_journal {
                acknowledged.into_iter().for_each(|report| raise(&mut self.floor, report));
            }
        }
        Ok(())
    }

    // Steps.

    fn act(&mut self, action: BusAction) -> Kept {
        let plan = self.plan;
        match action {
            BusAction::Begin(number) => {
                let what = &plan.steps[number].what;
                self.step = Some(number);
                self.outcome.met.insert(what.kind());
                self.cluster.log(&format!("step {number}: {what:.300?}"));
                self.begin(number, what)
            }
            BusAction::End(number) => {
                self.cluster.log(&format!("step {number} ends"));
                self.end(&plan.steps[number].what)
            }
        }
    }

    fn begin(&mut self, number: usize, what: &BusWhat) -> Kept {
        let mut ends_after = None;
        match what {
            BusWhat::Say { server, commands } => {
                let talk = self.conversation(*server);
                for said in commands {
                    let talk = &mut self.conversations[talk];
                    let line = talk.say(said, &self.plan.clients, self.plan.limits);
                    self.cluster.send(talk.talk, line);
                }
            }
            BusWhat::Die { server, vanishes, gone } => {
                self.die(*server, *vanishes)?;
                ends_after = Some(*gone);
            }
            BusWhat::Freeze { server, lasts } => {
                self.cluster.freeze(self.plan.servers[*server]);
                ends_after = Some(*lasts);
            }
            BusWhat::Cut { ends, lasts } => {
                self.cut(*ends, true);
                ends_after = Some(*lasts);
            }
            BusWhat::NoNats { servers, lasts } => {
                self.part(servers, true);
                ends_after = Some(*lasts);
            }
            BusWhat::Rates { faults, lasts } => {
                self.double.world().faults = (**faults).clone();
                ends_after = Some(*lasts);
            }
            BusWhat::Nats(act) => self.double.act(self.cluster.outside_core(), act),
            BusWhat::Delete { client } => {
                self.put(*client, b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", b"");
            }
            BusWhat::Store { client, value } => self.put(*client, b"", value.as_bytes()),
            BusWhat::Purge => {
                let mut world = self.double.world();
                if let Some(stream) = world.streams.get_mut(&format!("KV_{BUCKET}")) {
                    stream.purge(b"$KV.herd.>");
                }
            }
        }
        if let Some(lasts) = ends_after {
            let at = self.cluster.now() + lasts;
            self.agenda.insert((at, 2 * number + 1), BusAction::End(number));
        }
        Ok(())
    }

    fn end(&mut self, what: &BusWhat) -> Kept {
        match what {
            BusWhat::Die { server, .. } if !self.cluster.lives(self.plan.servers[*server]) => {
                return self.start(*server);
            }
            BusWhat::Freeze { server, .. } => self.cluster.thaw(self.plan.servers[*server]),
            BusWhat::Cut { ends, .. } => self.cut(*ends, false),
            BusWhat::NoNats { servers, .. } => self.part(servers, false),
            BusWhat::Rates { .. } => self.double.world().faults = Default::default(),
            _ => {}
        }
        Ok(())
    }

    /// The conversation with a server, or a new one.
    fn conversation(&mut self, server: usize) -> usize {
        if let Some(number) = self.talks[server] {
            let talk = &self.conversations[number];
            if !talk.is_excused && self.cluster.ending(talk.talk).is_none() {
                return number;
            }
        }
        let name = self.plan.servers[server];
        let address = self.cluster.topology().server(name).expect("it is listed").client_listen;
        let talk = self.cluster.begin_dial(address);
        let lives = self.cluster.lives(name);
        let mut talk = Conversation::new(talk, server, self.cluster.life(name));
        talk.is_excused = !lives;
        self.conversations.push(talk);
        self.talks[server] = Some(self.conversations.len() - 1);
        self.conversations.len() - 1
    }

    fn die(&mut self, server: usize, vanishes: bool) -> Kept {
        let name = self.plan.servers[server];
        if !self.cluster.lives(name) {
            return Ok(());
        }
        self.take_in()?;
        let talks = self.conversations.iter_mut().filter(|talk| talk.server == server);
        talks.for_each(|talk| talk.is_excused = true);
        let remains = match vanishes {
            true => self.cluster.crash(name),
            false => self.cluster.kill(name),
        };
        if let Some(mut disk) = remains.0 {
            match vanishes {
                true => disk.crash(),
                false => disk.release(),
            }
            self.disks.insert(server, disk);
        }
        Ok(())
    }

    fn cut(&mut self, [one, other]: Ends, is_cut: bool) {
        let (one, other) = (self.plan.name(one), self.plan.name(other));
        match is_cut {
            true => self.cluster.cut(&one, &other),
            false => self.cluster.heal(&one, &other),
        }
    }

    fn part(&mut self, servers: &[usize], is_cut: bool) {
        for server in servers {
            for node in 0..self.plan.nodes {
                self.cut([*server, self.plan.servers.len() + node], is_cut);
            }
        }
    }

    /// Another program stores a value under a client's key.
    fn put(&mut self, client: usize, headers: &[u8], value: &[u8]) {
        let time = self.cluster.outside_network().wall();
        let mut world = self.double.world();
        let Some(stream) = world.streams.get_mut(&format!("KV_{BUCKET}")) else { return };
        let mut subject = format!("$KV.{BUCKET}.").into_bytes();
        write_key(self.plan.clients[client].as_bytes(), &mut subject);
        let (headers, payload) = (headers.to_vec(), value.to_vec());
        stream.put(Message { subject, headers, payload, time });
        drop(world);
        // It is delivered now.
        self.double.act(self.cluster.outside_core(), &Act::Mute(Duration::ZERO));
    }

    // Promises.

    fn table(&mut self, server: usize) -> Newest {
        let known = self.cluster.knows(self.plan.servers[server]).into_values();
        let reports = known.map(|line| AtLine::read(&line).expect("a stored line is an AT line"));
        reports.map(|report| (report.client.clone(), report)).collect()
    }

    /// The reports in the bucket that are under the right key, and the clients whose keys have something else.
    fn bucket(&self) -> (Newest, Vec<String>) {
        let (mut reports, mut others) = (Newest::new(), Vec::new());
        let all = self.double.world().streams.bucket(BUCKET);
        for (key, value) in all {
            let report = AtLine::read(&value).filter(|report| {
                let mut its = Vec::new();
                write_key(report.client.as_bytes(), &mut its);
                its == key.as_bytes()
            });
            match report {
                Some(report) => drop(reports.insert(report.client.clone(), report)),
                None => others.push(key),
            }
        }
        (reports, others)
    }

    /// What any table and the bucket have now must be there at the end.
    fn floor_of_now(&mut self) {
        let (bucket, _) = self.bucket();
        bucket.into_values().for_each(|report| raise(&mut self.floor, report));
        for server in 0..self.plan.servers.len() {
            for report in self.table(server).into_values() {
                raise(&mut self.floor, report);
            }
        }
    }

    /// What keeps the herd from being equal, if anything does.
    fn disagreement(&mut self) -> Option<String> {
        let (bucket, others) = self.bucket();
        for (server, name) in self.plan.servers.iter().enumerate() {
            let table = self.table(server);
            if let Some(what) = difference(&table, &bucket) {
                return Some(format!("{name} and the bucket: {what}"));
            }
            let member = self.cluster.member(name);
            let Some(port) = &member.bus else { return Some("no bus".to_owned()) };
            let (owed, in_flight) = (port.bus.owed(&member.table), port.bus.in_flight());
            if !port.bus.is_live() || owed + in_flight > 0 {
                let is_live = port.bus.is_live();
                return Some(format!("{name}: live {is_live}, {owed} owed, {in_flight} in flight"));
            }
            let wrong = others.iter().find(|key| {
                table.keys().any(|client| {
                    let mut its = Vec::new();
                    write_key(client.as_bytes(), &mut its);
                    its == key.as_bytes()
                })
            });
            if let Some(key) = wrong {
                return Some(format!("a value of {key} was not replaced"));
            }
        }
        None
    }

    /// A table that lacks something that the bucket has.
    fn lag(&mut self) -> Option<String> {
        let (bucket, _) = self.bucket();
        for (server, name) in self.plan.servers.iter().enumerate() {
            let table = self.table(server);
            let lags = |it: &&AtLine| {
                !table.get(&it.client).is_some_and(|known| known.is_as_new_as(it, &self.repeated))
            };
            if let Some(lacking) = bucket.values().find(lags) {
                return Some(format!("{name} lacks {}", lacking.line));
            }
        }
        None
    }

    /// The time within which all must be equal, unless the bucket forgets without a trace.
    fn quiet(&self) -> Duration {
        let limits = self.plan.limits;
        // A server may wait 80 s for the answer to a new consumer that was lost before the faults ended.
        125 * SECOND
            + limits.silence
            + 2 * limits.retry_max
            + 2 * limits.compare
            + 3 * self.plan.repair
    }

    fn come_to_agree(&mut self) -> Kept {
        let begin = self.cluster.now();
        let untraced =
            self.plan.steps.iter().any(|step| step.what.leaves_no_trace(self.plan.in_memory));
        let quiet = begin + self.quiet();
        let mut why = self.disagreement();
        while why.is_some() && self.cluster.now() < quiet {
            self.run_for(SLICE)?;
            why = self.disagreement();
        }
        if let Some(what) = self.lag() {
            return self.broken(BUCKET_NEWEST, what);
        }
        if why.is_some() && untraced {
            self.outcome.met.insert("only the hourly reading shows it");
            let until = begin + READ_EVERY + self.quiet();
            while why.is_some() && self.cluster.now() < until {
                self.run_for(10 * SECOND)?;
                why = self.disagreement();
            }
        }
        if let Some(what) = why {
            return self.broken(BUS_AGREEMENT, what);
        }
        let after = self.cluster.now() - begin + LATE;
        self.outcome.agreed_after = self.outcome.agreed_after.max(after);
        self.nothing_is_lost()?;
        self.nothing_is_written()
    }

    fn nothing_is_lost(&mut self) -> Kept {
        let known = self.table(0);
        let is_kept = |it: &&AtLine| {
            known.get(&it.client).is_some_and(|known| known.is_as_new_as(it, &self.repeated))
        };
        match self.floor.values().find(|it| !is_kept(it)) {
            Some(lost) => self.broken(STORED, format!("{} is lost", lost.line)),
            None => Ok(()),
        }
    }

    /// Where all is equal nothing is written, and no client has broken the protocol of NATS.
    fn nothing_is_written(&mut self) -> Kept {
        let before = self.double.world().counters.puts;
        self.run_for(self.plan.limits.compare + 2 * self.plan.repair + SECOND)?;
        let counters = self.double.world().counters.clone();
        if counters.puts != before {
            let what = format!("{} more puts", counters.puts - before);
            return self.broken("where all is equal nothing is written", what);
        }
        if counters.unconditional > 0 || !counters.faults.is_empty() {
            let what = format!("{:?}", counters.faults);
            return self.broken("the server follows the protocol of NATS", what);
        }
        if let Some(what) = self.disagreement() {
            return self.broken(BUS_AGREEMENT, format!("no more: {what}"));
        }
        Ok(())
    }

    fn all_are_answered(&mut self) -> Kept {
        self.take_in()?;
        for number in 0..self.conversations.len() {
            let talk = &self.conversations[number];
            let (id, open, is_excused) = (talk.talk, talk.open(), talk.is_excused);
            let ending = self.cluster.ending(id);
            if !is_excused && (open > 0 || ending.is_some()) {
                let what = format!("{id:?}: {open} commands without a reply, ended: {ending:?}");
                return self.broken("every command is answered", what);
            }
        }
        Ok(())
    }

    /// Sets all clocks a month ahead. If clients expire, the expired ones are gone everywhere, and the others are in
    /// the bucket again, whose messages have all expired.
    fn grow_old(&mut self) -> Kept {
        if !self.plan.limits.expires {
            return Ok(());
        }
        let wall = UnixNanos((EPOCH_S + MONTH_S) * 1_000_000_000);
        let oldest = (EPOCH_S + MONTH_S - EXPIRE_AFTER_S) * 1_000_000_000;
        let wanted: Vec<String> = self
            .table(0)
            .into_values()
            .filter(|report| report.stamp_nanos > oldest)
            .map(|report| report.line)
            .collect();
        self.cluster.outside_network().set_wall(wall);
        for name in &self.plan.servers {
            self.cluster.reactor(name).io().set_wall(wall);
        }
        self.floor.retain(|_, report| report.stamp_nanos > oldest);
        self.run_for(62 * SECOND)?;
        self.come_to_agree()?;
        let known: Vec<String> = self.table(0).into_values().map(|report| report.line).collect();
        if known != wanted {
            let what = format!("{known:?} instead of {wanted:?}");
            return self.broken("expired reports are gone, and all others unchanged", what);
        }
        self.outcome.met.insert("clients expire");
        Ok(())
    }

    fn broken<T>(&self, promise: &'static str, what: String) -> Kept<T> {
        let what = what.chars().take(600).collect();
        Err(Box::new(Broken { promise, what, at: self.cluster.now(), step: self.step }))
    }
}

/// The first client of which one has another line than the other.
fn difference(one: &Newest, other: &Newest) -> Option<String> {
    let clients: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let line = |of: &Newest, client: &String| of.get(client).map(|report| report.line.clone());
    let differs = clients.into_iter().find(|client| line(one, client) != line(other, client))?;
    Some(format!("{:?} and {:?}", line(one, differs), line(other, differs)))
}
