//! Plays a plan, and holds what happens against what is promised.
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

/// How long a run goes on without looking at what has come of it.
pub(super) const SLICE: Duration = Duration::from_millis(500);

/// How long an update may take through the whole of a quiet herd.
pub(super) const SPREADS_IN: Duration = Duration::from_secs(3);

/// Promises that have to be named elsewhere.
pub(crate) const AGREEMENT: &str = "all that can reach each other know the same";
pub(crate) const NEWEST_WINS: &str = "the newest that a reachable server knew wins";
pub(crate) const ANSWERED: &str =
    "what a server with `always` has answered is there when it is started again";
pub(crate) const TAKEN: &str = "what a journal has taken in is there when it is read again";
pub(crate) const WORD: &str = "what leaves before a neighbour has it is counted";
pub(crate) const OPENS: &str = "a journal can be opened, whatever became of its server";
pub(crate) const TIMERS: &str = "timers fire when they are due, and reach whom they are for";

/// What is said of a broken promise has so many characters at most: ids may be long.
const WHAT_CHARS: usize = 400;

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    pub(crate) what: String,
    pub(crate) at: Moment,
    /// The step of the plan that was played last.
    pub(crate) step: Option<usize>,
}

/// What one run has come to, and what it has met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) met: BTreeSet<&'static str>,
    pub(crate) simulated: Duration,
    pub(crate) turns: u64,
    pub(crate) acknowledged: u64,
    pub(crate) answers: Answers,
    /// How long after the last fault all agreed, as far as the slices tell.
    pub(crate) agreed_after: Duration,
    /// What losses of power have taken from journals.
    pub(crate) losses: Vec<Loss>,
    /// PINGs of four periods that were counted while the wall clocks were a day wrong, and how many
    /// there should have been.
    pub(crate) pings: [u64; 2],
    /// Lines for one update, and what 2E - (n - 1) is; nothing where it was not counted.
    pub(crate) update_lines: Option<[u64; 2]>,
}

/// What became of the reports that clients were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Replies that waited for a neighbour's word and were heard.
    pub(crate) held: u64,
    /// Replies that servers have given up waiting for a neighbour, heard by somebody or not.
    pub(crate) unreplicated: u64,
    /// Deaths with everything that the server knew.
    pub(crate) destroyed: u64,
    /// Answered reports that nobody knew in the end, nor anything newer.
    pub(crate) lost: u64,
    /// Of these: counted as unreplicated; and those that were lost with each neighbour that had them.
    pub(crate) lost_counted: u64,
    pub(crate) lost_with_takers: u64,
}

/// What happens next.
#[derive(Debug)]
pub(super) enum Action {
    Begin(usize),
    /// The same again, or its end: so many have been before.
    Next(usize, u32),
    Answer(Asked),
}

/// One run.
pub(crate) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cluster: Cluster,
    pub(super) agenda: BTreeMap<(Moment, u64), Action>,
    pub(super) posted: u64,
    pub(super) conversations: Vec<Conversation>,
    /// The conversation that each talker has.
    pub(super) talks: Vec<Option<usize>>,
    /// Those who do not read, by the step that has stopped them.
    pub(super) deaf: BTreeMap<usize, TalkId>,
    pub(super) asking: Sender<Asked>,
    pub(super) asked: Receiver<Asked>,
    pub(super) seen: Receiver<Seen>,
    pub(super) plain: Option<Plain>,
    /// The journals of the servers that have one.
    pub(super) ledgers: BTreeMap<usize, Ledger>,
    /// Servers that have ended by themselves, and are not known to be dead yet.
    pub(super) ended: BTreeSet<usize>,
    /// Who has what was answered, if replies wait for a neighbour's word.
    pub(super) replicas: Option<Replicas>,
    /// All replies to reports that were heard, and why each may have left.
    pub(super) answered: Vec<(AtLine, Fate)>,
    /// What must be known in the end: the newest acknowledged, less what died with who alone knew it.
    pub(super) floor: Newest,
    /// Reports that were sent, each with its server: nothing else may ever be known.
    pub(super) sent: BTreeSet<(usize, String)>,
    /// Stamps that a client was reported with more than once at the same location. A server that knows
    /// such a report answers with a line of its own and keeps the one it has.
    pub(super) repeated: BTreeSet<(String, u64)>,
    pub(super) gone: BTreeSet<usize>,
    pub(super) step: Option<usize>,
    pub(super) outcome: Outcome,
}

/// Plays `plan`. The log is kept if it is wanted, and then given back in any case.
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

    /// All servers but the plain one.
    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.plan.servers.len()).filter(|server| self.plan.plain != Some(*server)).collect()
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        let members = self.members();
        members.into_iter().filter(|server| self.cluster.lives(self.name(*server))).collect()
    }

    /// The name of a machine.
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

    /// What a server with a journal reads of it is what it should be.
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

    /// Takes in what has happened. Who has ended by itself is dead.
    pub(super) fn look(&mut self) -> Kept {
        self.take_in()?;
        while let Some(server) = self.ended.pop_first() {
            self.die(server, Death::Ended, true)?;
        }
        Ok(())
    }

    /// Takes in what was seen, and what was asked.
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

/// A line that a server knows.
fn read_stored(line: &[u8]) -> AtLine {
    AtLine::read(&String::from_utf8_lossy(line)).expect("a stored line is an AT line")
}

/// The journals of those that have one, all new.
fn ledgers(plan: &Plan, syncs_lie: bool) -> BTreeMap<usize, Ledger> {
    let Some(journaling) = &plan.journaling else { return BTreeMap::new() };
    // It is `always` that promises something before the reply.
    let syncs_lie = syncs_lie && journaling.sync == Sync::Always;
    let servers = journaling.servers.iter().filter(|server| plan.plain != Some(**server));
    servers.map(|server| (*server, Ledger::new(journaling, syncs_lie))).collect()
}

/// The stamps with which a client is reported more than once at one location.
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
