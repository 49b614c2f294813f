//! Runs a plan, and checks the promises.
//!
//! ```text
//!   0 s               20 s        the last    + quiet           + 4 PINGs            + 3 s
//!   │ steps begin      │ steps end │ nothing   │ all agree,       │ one update, to     │ over
//!   │                  │           │ happens   │ PING and no more │ all, told once     │
//! ```
//!
//! Where clients expire, a month passes at the end.

use super::at_line::{AtLine, Newest, raise};
use super::conversation::Conversation;
use super::ledger::{Ledger, Loss};
use super::places::{Asked, Unreliable};
use super::plain::Plain;
use super::plan::{DiskFault, Plan, Said, What};
use super::replicas::{Fate, Replicas};
use super::sabotage::{Sabotage, Saboteur};
use super::steps::Death;
use super::watch::{Seen, Watch};
use crate::support::cluster::{Cluster, OUTSIDE, Remains, TalkId};
use crate::support::dice::Dice;
use herd_reactor::Moment;
use places_herd::journal::{Replayed, Sync};
use places_herd::places::Answer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// The time between checks of a run.
pub(super) const SLICE: Duration = Duration::from_millis(500);

/// The maximum time for an update to reach every server of a quiet herd.
pub(super) const SPREADS_IN: Duration = Duration::from_secs(3);

// The promises that other files name.

pub(crate) const AGREEMENT: &str = "servers that can reach each other have equal tables";
pub(crate) const NEWEST_WINS: &str = "the newest report of any reachable server wins";
pub(crate) const ANSWERED: &str =
    "a restarted server with `always` has every report that it has answered";
pub(crate) const TAKEN: &str = "a restarted server has every line that its journal has taken in";
pub(crate) const WORD: &str = "a reply that leaves before a neighbour has its report is counted";
pub(crate) const OPENS: &str = "a journal can be opened after any death of its server";
pub(crate) const TIMERS: &str = "timers fire on time, and reach the right connection";

/// The maximum number of characters in the description of a broken promise, which may contain long ids.
const WHAT_CHARS: usize = 400;

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    pub(crate) what: String,
    pub(crate) at: Moment,
    /// The last step of the plan before the failure.
    pub(crate) step: Option<usize>,
}

/// The outcome of one run, and the events in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) met: BTreeSet<&'static str>,
    pub(crate) simulated: Duration,
    pub(crate) turns: u64,
    pub(crate) acknowledged: u64,
    pub(crate) answers: Answers,
    /// The time from the last fault until all tables were equal, to the precision of a slice.
    pub(crate) agreed_after: Duration,
    /// The losses of journals in power failures.
    pub(crate) losses: Vec<Loss>,
    /// The PINGs counted in four periods while the wall clocks were a day wrong, and the expected number.
    pub(crate) pings: [u64; 2],
    /// The lines for one update, and 2E - (n - 1); `None` if they were not counted.
    pub(crate) update_lines: Option<[u64; 2]>,
}

/// The fates of the reports that servers have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Replies that waited for a neighbour and that a client received.
    pub(crate) held: u64,
    /// Replies that left without an acknowledgement, received by a client or not.
    pub(crate) unreplicated: u64,
    /// Deaths of servers that lost their table and their disk.
    pub(crate) destroyed: u64,
    /// Answered reports for which no server had the report or a newer one at the end.
    pub(crate) lost: u64,
    /// Lost reports that were counted as unreplicated.
    pub(crate) lost_counted: u64,
    /// Lost reports for which every neighbour that had them has died.
    pub(crate) lost_with_takers: u64,
}

/// The next event of a run.
#[derive(Debug)]
pub(super) enum Action {
    /// A step begins.
    Begin(usize),
    /// A step continues or ends; the second number counts the times before.
    Next(usize, u32),
    /// The source of places answers.
    Answer(Asked),
}

/// One run.
pub(crate) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cluster: Cluster,
    pub(super) agenda: BTreeMap<(Moment, u64), Action>,
    pub(super) posted: u64,
    pub(super) conversations: Vec<Conversation>,
    /// The current conversation of each talker.
    pub(super) talks: Vec<Option<usize>>,
    /// The clients that do not read, by the step that has stopped them.
    pub(super) deaf: BTreeMap<usize, TalkId>,
    pub(super) asking: Sender<Asked>,
    pub(super) asked: Receiver<Asked>,
    pub(super) seen: Receiver<Seen>,
    pub(super) plain: Option<Plain>,
    /// The journals of the servers that have one.
    pub(super) ledgers: BTreeMap<usize, Ledger>,
    /// Servers that have exited by themselves and still have to be declared dead.
    pub(super) ended: BTreeSet<usize>,
    /// The observations of neighbours, if replies wait for one.
    pub(super) replicas: Option<Replicas>,
    /// All received replies to reports, and the fate of each.
    pub(super) answered: Vec<(AtLine, Fate)>,
    /// The reports that must be known at the end: the newest acknowledged ones, except those whose last holder died.
    pub(super) floor: Newest,
    /// All reports that clients have sent, each with its server. No other report may ever be stored.
    pub(super) sent: BTreeSet<(usize, String)>,
    /// The stamps with which a client was reported more than once at the same location. A server that has
    /// such a report answers with a new line and keeps the stored one.
    pub(super) repeated: BTreeSet<(String, u64)>,
    pub(super) gone: BTreeSet<usize>,
    pub(super) step: Option<usize>,
    pub(super) outcome: Outcome,
}

/// Runs `plan`. With `keeps_log` it returns the log, also after a failure.
pub(crate) fn play(
    plan: &Plan,
    sabotage: Option<Sabotage>,
    keeps_log: bool,
) -> (Result<Outcome, Box<Broken>>, String) {
    let mut run = Run::new(plan, sabotage);
    if keeps_log {
        run.cluster.keep_log();
    }
    let result = run.play();
    let log = run.cluster.log("end").to_owned();
    (result.map(|()| run.outcome), log)
}

pub(super) type Kept = Result<(), Box<Broken>>;

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Plan, sabotage: Option<Sabotage>) -> Run<'a> {
        let mut cluster = Cluster::new(plan.weather.clone(), &plan.topology());
        let (asking, asked) = channel();
        let (sender, seen) = channel();
        let most = [plan.limits.link_pending_most(), plan.limits.client_pending_most()];
        let saboteur = sabotage.map(|sabotage| Saboteur::new(sabotage, plan.limits.ping()));
        let acks = plan.ack_wait.is_some();
        let watch = Watch::new(acks, plan.limits.buffer_bytes, most, sender, saboteur);
        cluster.meddle(Box::new(watch));
        let syncs_lie = sabotage == Some(Sabotage::ReplyBeforeSync);
        Run {
            plain: Plain::new(plan, &mut cluster),
            cluster,
            agenda: BTreeMap::new(),
            posted: 0,
            conversations: Vec::new(),
            talks: vec![None; plan.talkers.len()],
            deaf: BTreeMap::new(),
            asking,
            asked,
            seen,
            ledgers: ledgers(plan, syncs_lie),
            ended: BTreeSet::new(),
            replicas: plan.ack_wait.map(Replicas::new),
            answered: Vec::new(),
            floor: Newest::new(),
            sent: BTreeSet::new(),
            repeated: repeated(plan),
            gone: BTreeSet::new(),
            step: None,
            outcome: Outcome::default(),
            plan,
        }
    }

    pub(super) fn play(&mut self) -> Kept {
        for server in self.members() {
            self.start(server)?;
        }
        for (number, step) in self.plan.steps.iter().enumerate() {
            self.later(Moment::default() + step.at, Action::Begin(number));
        }
        self.run_until(Moment::default() + self.plan.quiet_from())?;
        self.come_to_agree()?;
        self.stay_quiet()?;
        self.tell_one_update()?;
        self.grow_old()?;
        self.outcome.simulated = self.cluster.now() - Moment::default();
        self.outcome.turns = self.cluster.turns();
        Ok(())
    }

    /// Returns all servers but the plain one.
    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.plan.servers.len()).filter(|server| self.plan.plain != Some(*server)).collect()
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        let members = self.members();
        members.into_iter().filter(|server| self.cluster.lives(self.name(*server))).collect()
    }

    /// Returns the name of a machine.
    pub(super) fn name(&self, number: usize) -> &'static str {
        self.plan.servers.get(number).copied().unwrap_or(OUTSIDE)
    }

    pub(super) fn start(&mut self, server: usize) -> Kept {
        let name = self.name(server);
        let life = self.cluster.life(name) + 1;
        let dice = Dice::new(self.plan.seed ^ (server as u64) << 40 ^ (life as u64) << 50);
        let source = Unreliable { dice, server, life, asked: self.asking.clone() };
        let seed = self.plan.seed ^ (server as u64) << 20 ^ (life as u64) << 30;
        let disk = self.ledgers.get_mut(&server).map(|ledger| ledger.disk_for(life, seed));
        match self.cluster.start_from(name, Box::new(source), Remains(disk)) {
            Ok(replayed) => self.has_started(server, &replayed),
            Err(refusal) => self.broken(OPENS, format!("{name}: {refusal}")),
        }
    }

    /// Checks that a started server has read everything that its journal must have.
    fn has_started(&mut self, server: usize, replayed: &Replayed) -> Kept {
        let read = self.known(server);
        let name = self.name(server);
        if replayed.torn_bytes > 0 {
            self.met("a torn tail");
        }
        let Some(ledger) = self.ledgers.get(&server) else { return Ok(()) };
        if replayed.files > 0 {
            self.outcome.met.insert("a restart with its disk");
        }
        if ledger.sync == Sync::Always
            && let Some(lost) = ledger.answered.values().find(|it| !self.is_kept(&read, it))
        {
            return self.broken(ANSWERED, format!("{name} has lost {}", lost.line));
        }
        if let Some(lost) = ledger.demand().values().find(|it| !self.is_kept(&read, it)) {
            return self.broken(TAKEN, format!("{name} has lost {}", lost.line));
        }
        let loss = self.ledgers.get_mut(&server).and_then(|ledger| ledger.started(&read));
        self.outcome.losses.extend(loss);
        read.into_values().for_each(|report| raise(&mut self.floor, report));
        Ok(())
    }

    pub(super) fn later(&mut self, at: Moment, action: Action) {
        self.posted += 1;
        self.agenda.insert((at, self.posted), action);
    }

    pub(super) fn run_until(&mut self, until: Moment) -> Kept {
        while self.cluster.now() < until {
            let next = self.agenda.first_key_value().map_or(until, |((at, _), _)| *at);
            self.cluster.run_until(next.min(until).min(self.cluster.now() + SLICE));
            self.look()?;
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

    /// Processes the observations. A server that has exited by itself is dead.
    pub(super) fn look(&mut self) -> Kept {
        self.take_in()?;
        while let Some(server) = self.ended.pop_first() {
            self.die(server, Death::Ended, true)?;
        }
        Ok(())
    }

    /// Processes the observations, and the queries to the sources of places.
    pub(super) fn take_in(&mut self) -> Kept {
        while let Ok(asked) = self.asked.try_recv() {
            match &asked.answer {
                Some((after, answer)) => {
                    let failed = matches!(answer, Answer::Failed(_));
                    self.met(if failed { "places fail late" } else { "places answer late" });
                    let at = self.cluster.now() + *after;
                    self.later(at, Action::Answer(asked));
                }
                None => self.met("places never answer"),
            }
        }
        while let Ok(seen) = self.seen.try_recv() {
            match seen {
                Seen::Backlog => self.met("news waits as a bit"),
                Seen::Full => self.met("a send buffer is full"),
                Seen::Taken(server, at, lines) => {
                    let Some(ledger) = self.ledgers.get_mut(&server) else { continue };
                    lines.iter().for_each(|line| ledger.took(at, read_stored(line)));
                }
                Seen::Broken(server, since) => {
                    let Some(ledger) = self.ledgers.get_mut(&server) else { continue };
                    ledger.sound_until = since;
                    let fault = ledger.failing.filter(|_| since.is_some());
                    self.outcome.met.extend(fault.map(DiskFault::name));
                }
                Seen::Ended(server) => {
                    self.ended.insert(server);
                    let fault = self.ledgers.get(&server).and_then(|ledger| ledger.failing);
                    self.outcome.met.extend(fault.map(DiskFault::name));
                    self.met("a server ends for its disk");
                }
                Seen::Turned(server, turn, lines) => {
                    let life = (server, self.cluster.life(self.name(server)));
                    let news = lines.iter().map(|line| read_stored(line)).collect();
                    let replicas = self.replicas.as_mut().expect("it was watched for them");
                    replicas.turned(life, turn, news);
                }
                Seen::TooMuch(what) => {
                    return self.broken("every buffer stays under its limit", what);
                }
            }
        }
        if let Some(plain) = &mut self.plain {
            plain.turn(&mut self.cluster);
            self.outcome.met.insert("a plain neighbour");
        }
        Ok(())
    }

    pub(super) fn met(&mut self, what: &'static str) {
        self.outcome.met.insert(what);
    }

    pub(super) fn broken<T>(&self, promise: &'static str, what: String) -> Result<T, Box<Broken>> {
        let what = what.chars().take(WHAT_CHARS).collect();
        Err(Box::new(Broken { promise, what, at: self.cluster.now(), step: self.step }))
    }
}

/// Parses a stored line.
fn read_stored(line: &[u8]) -> AtLine {
    AtLine::read(&String::from_utf8_lossy(line)).expect("a stored line is an AT line")
}

/// Returns new ledgers for the servers that have a journal.
fn ledgers(plan: &Plan, syncs_lie: bool) -> BTreeMap<usize, Ledger> {
    let Some(journaling) = &plan.journaling else { return BTreeMap::new() };
    // Only `always` promises something before the reply.
    let syncs_lie = syncs_lie && journaling.sync == Sync::Always;
    let servers = journaling.servers.iter().filter(|server| plan.plain != Some(**server));
    servers.map(|server| (*server, Ledger::new(journaling, syncs_lie))).collect()
}

/// Returns the stamps with which a client is reported more than once at one location.
fn repeated(plan: &Plan) -> BTreeSet<(String, u64)> {
    let mut seen = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    for step in &plan.steps {
        let What::Say { commands, .. } = &step.what else { continue };
        for said in commands {
            let Said::Iamat { client, location, stamp, .. } = said else { continue };
            let line = format!("AT - + {} {location} {stamp}", plan.clients[*client]);
            let report = AtLine::read(&line).expect("it is one");
            let (client, nanos) = (report.client, report.stamp_nanos);
            if !seen.insert((client.clone(), nanos, *location)) {
                repeated.insert((client, nanos));
            }
        }
    }
    repeated
}
