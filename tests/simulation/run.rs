//! Plays a plan, and holds what happens against what is promised.
//!
//! ```text
//!   0 s               20 s        the last    + quiet           + 4 PINGs            + 3 s
//!   │ steps begin      │ steps end │ nothing   │ all agree,       │ one update, to     │ over
//!   │                  │           │ happens   │ PING and no more │ all, told once     │
//! ```

use super::conversation::Conversation;
use super::dice::Dice;
use super::places::{Asked, Unreliable};
use super::plain::Plain;
use super::plan::{EPOCH_S, Ends, Plan, Said, StampKind, Step, Then, What};
use super::sabotage::{Sabotage, Saboteur};
use super::sighted::{Newest, Sighted, raise};
use super::watch::{Seen, Watch};
use super::world::{Ending, OUTSIDE, SECOND, TalkId, World};
use places_herd::places::Answer;
use places_herd::reactor::{Moment, UnixNanos};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long a run goes on without looking at what has come of it.
const SLICE: Duration = Duration::from_millis(500);

/// How long an update may take through the whole of a quiet herd.
const SPREADS_IN: Duration = Duration::from_secs(3);

/// Promises that have to be named elsewhere.
pub(crate) const AGREEMENT: &str = "all that can reach each other know the same";
pub(crate) const NEWEST_WINS: &str = "the newest that a reachable server knew wins";
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
    /// How long after the last fault all agreed, as far as the slices tell.
    pub(crate) agreed_after: Duration,
}

/// What happens next.
#[derive(Debug)]
enum Action {
    Begin(usize),
    /// The same again, or its end: so many have been before.
    Next(usize, u32),
    Answer(Asked),
}

/// One run.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    world: World,
    agenda: BTreeMap<(Moment, u64), Action>,
    posted: u64,
    conversations: Vec<Conversation>,
    /// The conversation that each talker has.
    talks: Vec<Option<usize>>,
    /// Those who do not read, by the step that has stopped them.
    deaf: BTreeMap<usize, TalkId>,
    asking: Sender<Asked>,
    asked: Receiver<Asked>,
    seen: Receiver<Seen>,
    plain: Option<Plain>,
    /// What must be known in the end: the newest acknowledged, less what died with who alone knew it.
    floor: Newest,
    /// Reports that were sent, each with its server: nothing else may ever be known.
    sent: BTreeSet<(usize, String)>,
    /// Stamps that a client was reported with more than once at the same place. A server that knows
    /// such a report answers with a line of its own and keeps the one it has.
    repeated: BTreeSet<(String, u64)>,
    gone: BTreeSet<usize>,
    step: Option<usize>,
    outcome: Outcome,
}

/// Plays `plan`. The log is kept if it is wanted, and then given back in any case.
pub(crate) fn play(
    plan: &Plan,
    sabotage: Option<Sabotage>,
    keeps_log: bool,
) -> (Result<Outcome, Box<Broken>>, String) {
    let mut run = Run::new(plan, sabotage);
    if keeps_log {
        run.world.keep_log();
    }
    let result = run.play();
    let log = run.world.log("end").to_owned();
    (result.map(|()| run.outcome), log)
}

type Kept = Result<(), Box<Broken>>;

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, sabotage: Option<Sabotage>) -> Run<'a> {
        let mut world = World::new(plan.weather.clone(), &plan.topology());
        let (asking, asked) = channel();
        let (sender, seen) = channel();
        let most = [plan.limits.link_pending_most(), plan.limits.client_pending_most()];
        let saboteur = sabotage.map(|sabotage| Saboteur::new(sabotage, plan.limits.ping()));
        let (mark, told) = (plan.limits.buffer_bytes, [false; 3]);
        world.meddle(Box::new(Watch { mark, most, seen: sender, told, saboteur }));
        Run {
            plain: Plain::new(plan, &mut world),
            world,
            agenda: BTreeMap::new(),
            posted: 0,
            conversations: Vec::new(),
            talks: vec![None; plan.talkers.len()],
            deaf: BTreeMap::new(),
            asking,
            asked,
            seen,
            floor: Newest::new(),
            sent: BTreeSet::new(),
            repeated: repeated(plan),
            gone: BTreeSet::new(),
            step: None,
            outcome: Outcome::default(),
            plan,
        }
    }

    fn play(&mut self) -> Kept {
        for server in self.members() {
            self.start(server);
        }
        for (number, step) in self.plan.steps.iter().enumerate() {
            self.later(Moment::default() + step.at, Action::Begin(number));
        }
        self.run_until(Moment::default() + self.plan.quiet_from())?;
        self.come_to_agree()?;
        self.stay_quiet()?;
        self.tell_one_update()?;
        self.outcome.simulated = self.world.now() - Moment::default();
        self.outcome.turns = self.world.turns();
        Ok(())
    }

    /// All servers but the plain one.
    fn members(&self) -> Vec<usize> {
        (0..self.plan.servers.len()).filter(|server| self.plan.plain != Some(*server)).collect()
    }

    fn alive(&self) -> Vec<usize> {
        let members = self.members();
        members.into_iter().filter(|server| self.world.lives(self.name(*server))).collect()
    }

    /// The name of a machine.
    fn name(&self, number: usize) -> &'static str {
        self.plan.servers.get(number).copied().unwrap_or(OUTSIDE)
    }

    fn start(&mut self, server: usize) {
        let name = self.name(server);
        let life = self.world.life(name) + 1;
        let dice = Dice::new(self.plan.seed ^ (server as u64) << 40 ^ (life as u64) << 50);
        let source = Unreliable { dice, server, life, asked: self.asking.clone() };
        self.world.start_with(name, Box::new(source));
    }

    fn later(&mut self, at: Moment, action: Action) {
        self.posted += 1;
        self.agenda.insert((at, self.posted), action);
    }

    fn run_until(&mut self, until: Moment) -> Kept {
        while self.world.now() < until {
            let next = self.agenda.first_key_value().map_or(until, |((at, _), _)| *at);
            self.world.run_until(next.min(until).min(self.world.now() + SLICE));
            self.look()?;
            while let Some(entry) = self.agenda.first_entry() {
                if entry.key().0 > self.world.now() {
                    break;
                }
                let action = entry.remove();
                self.act(action)?;
            }
        }
        Ok(())
    }

    /// Takes in what has happened.
    fn look(&mut self) -> Kept {
        while let Ok(asked) = self.asked.try_recv() {
            match &asked.answer {
                Some((after, answer)) => {
                    let failed = matches!(answer, Answer::Failed(_));
                    self.met(if failed { "places fail late" } else { "places answer late" });
                    let at = self.world.now() + *after;
                    self.later(at, Action::Answer(asked));
                }
                None => self.met("places never answer"),
            }
        }
        while let Ok(seen) = self.seen.try_recv() {
            match seen {
                Seen::Owed => self.met("news waits as a bit"),
                Seen::Full => self.met("a send buffer is full"),
                Seen::TooMuch(what) => {
                    return self.broken("every buffer stays under its limit", what);
                }
            }
        }
        if let Some(plain) = &mut self.plain {
            plain.turn(&mut self.world);
            self.outcome.met.insert("a plain neighbour");
        }
        Ok(())
    }

    fn met(&mut self, what: &'static str) {
        self.outcome.met.insert(what);
    }

    fn broken<T>(&self, promise: &'static str, what: String) -> Result<T, Box<Broken>> {
        let what = what.chars().take(WHAT_CHARS).collect();
        Err(Box::new(Broken { promise, what, at: self.world.now(), step: self.step }))
    }

    // The steps.

    fn act(&mut self, action: Action) -> Kept {
        let plan = self.plan;
        match action {
            Action::Begin(number) => {
                let Step { what, .. } = &plan.steps[number];
                self.step = Some(number);
                self.world.log(&format!("step {number}: {what:?}"));
                self.met(what.kind());
                self.begin(number, what)
            }
            Action::Next(number, times) => {
                self.world.log(&format!("step {number}, again: {times}"));
                self.go_on(number, &plan.steps[number].what, times);
                Ok(())
            }
            Action::Answer(asked) => {
                self.answer(asked);
                Ok(())
            }
        }
    }

    /// The end of step `number` comes after `lasts`.
    fn ends_after(&mut self, number: usize, lasts: Duration) {
        self.later(self.world.now() + lasts, Action::Next(number, 0));
    }

    fn begin(&mut self, number: usize, what: &What) -> Kept {
        match what {
            What::Say { talker, commands, then } => self.say(*talker, commands, *then),
            What::Deaf { talker, lasts } => {
                if let Some(talk) = self.talks[*talker] {
                    let talk = self.conversations[talk].talk;
                    self.deaf.insert(number, talk);
                    self.world.listen_to(talk, false);
                }
                self.ends_after(number, *lasts);
            }
            What::Delay { ends: [one, other], by, lasts } => {
                self.world.delay(self.name(*one), self.name(*other), *by);
                self.ends_after(number, *lasts);
            }
            What::Split { server, most, lasts } => {
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().arrival_bytes = 1..=*most;
                    kernel.options().write_bytes = 1..=*most;
                }
                self.ends_after(number, *lasts);
            }
            What::Reset { ends } => self.reset(*ends),
            What::Cut { ends, lasts } => {
                self.cut(*ends, true);
                self.ends_after(number, *lasts);
            }
            What::Partition { side, lasts } => {
                self.part(side, true);
                self.ends_after(number, *lasts);
            }
            What::Flap { .. } | What::Clog { .. } => self.go_on(number, what, 0),
            What::Freeze { server, lasts } => {
                self.world.freeze(self.name(*server));
                self.ends_after(number, *lasts);
            }
            What::Kill { server, gone } | What::Vanish { server, gone } => {
                self.die(*server, matches!(what, What::Kill { .. }))?;
                match gone {
                    Some(gone) => self.ends_after(number, *gone),
                    None => drop(self.gone.insert(*server)),
                }
            }
            What::ClockStep { server, by_s } => self.set_wall(*server, *by_s),
            What::ClockSkew { server, ppm } => {
                if let Some(kernel) = self.kernel(*server) {
                    kernel.set_wall_skew(*ppm);
                }
            }
            What::Slow { server, pace, lasts } => {
                self.world.set_pace(self.name(*server), *pace);
                self.ends_after(number, *lasts);
            }
            What::NoDescriptors { server, lasts } => {
                self.excuse(|talk| talk.server == *server);
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().descriptors_max = kernel.descriptors();
                }
                self.ends_after(number, *lasts);
            }
            What::AcceptFails { server, lasts } => {
                self.excuse(|talk| talk.server == *server);
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().accept_failures = 0.7;
                }
                self.ends_after(number, *lasts);
            }
        }
        Ok(())
    }

    /// What a step does later: for those that last, the end; for the others, what is next.
    fn go_on(&mut self, number: usize, what: &What, times: u32) {
        match what {
            What::Deaf { .. } => {
                if let Some(talk) = self.deaf.remove(&number) {
                    self.world.listen_to(talk, true);
                }
            }
            What::Delay { ends: [one, other], .. } => {
                self.world.delay(self.name(*one), self.name(*other), Duration::ZERO);
            }
            What::Split { server, .. } => {
                let weather = self.plan.weather.clone();
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().arrival_bytes = weather.arrival_bytes;
                    kernel.options().write_bytes = weather.write_bytes;
                }
            }
            What::Cut { ends, .. } => self.cut(*ends, false),
            What::Partition { side, .. } => self.part(side, false),
            What::Flap { ends, times: most, every } => {
                // Cut, healed, cut ...; the last is a heal.
                self.cut(*ends, times.is_multiple_of(2) && times + 1 < *most);
                if times + 1 < *most {
                    self.later(self.world.now() + *every, Action::Next(number, times + 1));
                }
            }
            What::Clog { stopped, freed, every } => {
                let index = times as usize;
                match index.checked_sub(stopped.len()) {
                    None => self.cut(stopped[index], true),
                    Some(index) => self.cut(freed[index], false),
                }
                if index + 1 < stopped.len() + freed.len() {
                    self.later(self.world.now() + *every, Action::Next(number, times + 1));
                }
            }
            What::Freeze { server, .. } => self.world.thaw(self.name(*server)),
            What::Kill { server, .. } | What::Vanish { server, .. }
                if !self.world.lives(self.name(*server)) && !self.gone.contains(server) =>
            {
                self.start(*server);
            }
            What::Slow { server, .. } => self.world.set_pace(self.name(*server), Duration::ZERO),
            What::NoDescriptors { server, .. } => {
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().descriptors_max = usize::MAX;
                }
            }
            What::AcceptFails { server, .. } => {
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().accept_failures = 0.0;
                }
            }
            _ => {}
        }
    }

    /// The kernel under a server that is there.
    fn kernel(&mut self, server: usize) -> Option<&mut places_herd::testing::MemoryIo> {
        let name = self.name(server);
        self.world.lives(name).then(|| self.world.reactor(name).io())
    }

    fn cut(&mut self, [one, other]: Ends, is_cut: bool) {
        let (one, other) = (self.name(one), self.name(other));
        match is_cut {
            true => self.world.cut(one, other),
            false => self.world.heal(one, other),
        }
    }

    fn part(&mut self, side: &[usize], is_cut: bool) {
        for ends in
            self.plan.cables().filter(|ends| side.contains(&ends[0]) != side.contains(&ends[1]))
        {
            self.cut(ends, is_cut);
        }
    }

    /// Resets the connection that stands between two neighbours.
    fn reset(&mut self, [one, other]: Ends) {
        let (one, other) = (self.name(one), self.name(other));
        if !self.world.lives(one) {
            return;
        }
        let reactor = self.world.reactor(one);
        let links = &reactor.state().links;
        let conn = links.named(other.as_bytes()).and_then(|id| links.link(id).conn);
        if let Some(conn) = conn {
            reactor.io().reset(conn);
        }
    }

    fn set_wall(&mut self, server: usize, by_s: i64) {
        if let Some(kernel) = self.kernel(server) {
            let second = EPOCH_S as i64 + by_s;
            kernel.set_wall(UnixNanos(second as u64 * 1_000_000_000));
        }
    }

    /// A server dies, and what it alone knew with it.
    fn die(&mut self, server: usize, is_killed: bool) -> Kept {
        let name = self.name(server);
        if !self.world.lives(name) {
            return Ok(());
        }
        self.hear_all()?;
        self.excuse(|talk| talk.server == server);
        for talk in self.conversations.iter_mut().filter(|talk| talk.server == server) {
            // Who still asks for a connection may get one from the next life.
            talk.life += usize::from(!self.world.stands(talk.talk));
        }
        match is_killed {
            true => self.world.kill(name),
            false => self.world.crash(name),
        };
        // Whatever a survivor knows must be known in the end; of the rest some may be.
        self.floor = self.known_to(&self.alive());
        Ok(())
    }

    fn excuse(&mut self, which: impl Fn(&Conversation) -> bool) {
        self.conversations
            .iter_mut()
            .filter(|talk| which(talk))
            .for_each(|talk| talk.is_excused = true);
    }

    // What clients say and hear.

    fn say(&mut self, talker: usize, commands: &[Said], then: Then) {
        let server = self.plan.talkers[talker];
        let name = self.name(server);
        let number = match self.talks[talker].filter(|number| self.can_say(*number)) {
            Some(number) => number,
            None => {
                let address = self.world.topology().server(name).expect("it is listed").client;
                let talk = self.world.begin_dial(address);
                // Who asks a machine that is lost is heard when it is back.
                let life = self.world.life(name) + usize::from(!self.world.lives(name));
                let mut talk = Conversation::new(talk, server, life);
                // It may be refused, or turned away.
                talk.is_excused = !self.world.lives(name) || self.is_troubled(server);
                self.conversations.push(talk);
                self.conversations.len() - 1
            }
        };
        self.talks[talker] = Some(number);
        for said in commands {
            match said {
                Said::Iamat { client, place, stamp, kind } => {
                    let client = &self.plan.clients[*client];
                    self.sent.insert((server, format!("{client} {place} {stamp}")));
                    self.outcome.met.insert(kind.name());
                }
                Said::Whatsat { .. } => self.met("a question"),
                Said::Nonsense(_) => {}
            }
            let refuses = self.plan.limits.refuses_the_future;
            let talk = &mut self.conversations[number];
            let line = talk.say(said, &self.plan.clients, refuses);
            self.world.send(talk.talk, line);
        }
        let talk = &mut self.conversations[number];
        match then {
            Then::Stay => {}
            Then::End => {
                talk.has_ended = true;
                self.world.end(talk.talk);
            }
            Then::Abort => {
                (talk.has_ended, talk.is_excused) = (true, true);
                // Who is not connected yet cannot go away: what it has said will be heard.
                talk.has_vanished = self.world.stands(talk.talk);
                self.world.abort(talk.talk);
                self.met("a client vanishes");
            }
        }
    }

    /// Whether more can be said in this conversation.
    fn can_say(&mut self, number: usize) -> bool {
        let talk = &self.conversations[number];
        !talk.has_ended && self.world.ending(talk.talk).is_none()
    }

    /// Whether a server has something that makes it turn clients away.
    fn is_troubled(&mut self, server: usize) -> bool {
        self.kernel(server).is_some_and(|kernel| {
            let options = kernel.options();
            options.descriptors_max < usize::MAX || options.accept_failures > 0.0
        })
    }

    fn answer(&mut self, asked: Asked) {
        let name = self.name(asked.server);
        if !self.world.lives(name) || self.world.life(name) != asked.life {
            return;
        }
        if let Some((_, answer)) = asked.answer {
            let (member, core) = self.world.reactor(name).parts();
            member.inquiries.answered(core, asked.ticket, answer);
        }
    }

    /// Reads all replies that have come.
    fn hear_all(&mut self) -> Kept {
        for number in 0..self.conversations.len() {
            let talk = &mut self.conversations[number];
            let name = self.plan.servers[talk.server];
            let heard = self.world.heard(talk.talk);
            let acknowledged = match talk.hear(heard, name) {
                Ok(acknowledged) => acknowledged,
                Err(why) => return self.broken("replies in order, one for each command", why),
            };
            let counts = self.world.lives(name) && self.world.life(name) == talk.life;
            self.outcome.acknowledged += acknowledged.len() as u64;
            for sighted in acknowledged.into_iter().filter(|_| counts) {
                raise(&mut self.floor, sighted);
            }
        }
        Ok(())
    }

    // What is known.

    /// What a server knows.
    fn known(&mut self, server: usize) -> Newest {
        let known = self.world.knows(self.name(server)).into_values();
        let sighted = known.map(|line| Sighted::read(&line).expect("a stored line is an AT line"));
        sighted.map(|sighted| (sighted.client.clone(), sighted)).collect()
    }

    /// The newest of what several servers know.
    fn known_to(&mut self, servers: &[usize]) -> Newest {
        let mut newest = Newest::new();
        for server in servers {
            for sighted in self.known(*server).into_values() {
                raise(&mut newest, sighted);
            }
        }
        newest
    }

    /// Whether `known` is at least as new as `wanted`.
    fn is_kept(&self, known: &Newest, wanted: &Sighted) -> bool {
        known.get(&wanted.client).is_some_and(|known| {
            let repeated = (wanted.client.clone(), wanted.stamp_nanos);
            known >= wanted
                || known.stamp_nanos == wanted.stamp_nanos && self.repeated.contains(&repeated)
        })
    }

    /// The members that are alive, in groups that can reach each other.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut left: BTreeSet<usize> = self.alive().into_iter().collect();
        let mut groups = Vec::new();
        while let Some(first) = left.pop_first() {
            let mut group = vec![first];
            let mut next = 0;
            while let Some(server) = group.get(next).copied() {
                for other in self.neighbours(server) {
                    if left.remove(&other) {
                        group.push(other);
                    }
                }
                next += 1;
            }
            groups.push(group);
        }
        groups
    }

    /// The members among a server's neighbours.
    fn neighbours(&self, server: usize) -> impl Iterator<Item = usize> {
        let edges = self.plan.edges.iter().filter(move |edge| edge.contains(&server));
        let others = edges.map(move |[one, other]| one + other - server);
        others.filter(|other| self.plan.plain != Some(*other))
    }

    fn names(&self, servers: impl Iterator<Item = usize>) -> BTreeSet<String> {
        servers.map(|server| self.name(server).to_owned()).collect()
    }

    // The promises.

    /// Nothing goes wrong any more; in time all that can reach each other know the same, and nothing
    /// is lost.
    fn come_to_agree(&mut self) -> Kept {
        let begin = self.world.now();
        self.wait_for_replies()?;
        let was_quiet = self.world.now() == begin;
        let until = (begin + self.plan.limits.quiet()).max(self.world.now() + SPREADS_IN);
        let groups = self.groups();
        let wanted: Vec<Newest> = groups.iter().map(|group| self.known_to(group)).collect();
        let alive = self.alive();
        let known = self.known_to(&alive);
        self.keep("no acknowledged report is lost with somebody who knew it", &known)?;
        let mut agreed_after = None;
        while self.world.now() < until {
            self.run_until(self.world.now() + SLICE)?;
            if agreed_after.is_none() && self.disagreement(&groups).is_none() {
                agreed_after = Some(self.world.now() - begin);
            }
        }
        if let Some(what) = self.disagreement(&groups) {
            return self.broken(AGREEMENT, what);
        }
        // Where somebody still spoke, there was something new to be told.
        self.outcome.agreed_after = agreed_after.filter(|_| was_quiet).unwrap_or_default();
        for (group, wanted) in groups.iter().zip(&wanted) {
            let known = self.known(group[0]);
            if let Some(lost) = wanted.values().find(|wanted| !self.is_kept(&known, wanted)) {
                let now = known.get(&lost.client).map(|known| &known.line);
                let what = format!("{} was known, now {now:?}", lost.line);
                return self.broken(NEWEST_WINS, what);
            }
            self.nothing_is_invented(&known)?;
        }
        let known = self.known_to(&alive);
        self.hear_all()?;
        self.keep("the newest acknowledged report is known in the end", &known)?;
        self.all_are_linked()
    }

    /// `known` holds all that must be known by now.
    fn keep(&self, promise: &'static str, known: &Newest) -> Kept {
        match self.floor.values().find(|wanted| !self.is_kept(known, wanted)) {
            Some(lost) => self.broken(promise, format!("{} is lost", lost.line)),
            None => Ok(()),
        }
    }

    /// Two servers of one group that know different things, if there are.
    fn disagreement(&mut self, groups: &[Vec<usize>]) -> Option<String> {
        for group in groups {
            let first = self.world.knows(self.name(group[0]));
            for server in &group[1..] {
                let other = self.world.knows(self.name(*server));
                if other != first {
                    let differs =
                        first.iter().find(|(client, line)| other.get(*client) != Some(line));
                    let (one, other) = (self.name(group[0]), self.name(*server));
                    return Some(format!("{one} and {other} know different things: {differs:?}"));
                }
            }
        }
        None
    }

    /// All that is known was said by a client to the server that the line names.
    fn nothing_is_invented(&self, known: &Newest) -> Kept {
        for sighted in known.values() {
            let operands = sighted.line.splitn(4, ' ').nth(3).unwrap_or_default();
            let plain = self.plan.plain.map(|number| self.name(number));
            let said = self.members().into_iter().any(|server| {
                let named = [Some(self.name(server)), plain].contains(&Some(sighted.server()));
                named && self.sent.contains(&(server, operands.to_owned()))
            });
            if !said {
                return self.broken("nothing is invented", sighted.line.clone());
            }
        }
        Ok(())
    }

    /// Each server is linked to each neighbour that is alive, and has no connection that nobody needs.
    fn all_are_linked(&mut self) -> Kept {
        let alive: BTreeSet<usize> = self.alive().into_iter().collect();
        for server in alive.iter().copied() {
            let name = self.name(server);
            let wanted = self.names(self.neighbours(server).filter(|other| alive.contains(other)));
            let mut linked = self.world.linked(name);
            linked.retain(|linked| self.plan.plain.is_none_or(|plain| linked != self.name(plain)));
            if linked != wanted {
                let what = format!("{name} is linked to {linked:?}, and should be to {wanted:?}");
                return self.broken("every link stands again", what);
            }
            let dead = self.neighbours(server).filter(|other| !alive.contains(other)).count();
            let life = self.world.life(name);
            let mut clients = 0;
            for number in 0..self.conversations.len() {
                let talk = &self.conversations[number];
                let here = talk.server == server && talk.life == life;
                clients += usize::from(here && self.world.ending(talk.talk).is_none());
            }
            let connections = self.world.reactor(name).parts().1.connections();
            let most = wanted.len() + dead + clients;
            if self.plan.plain.is_none() && connections > most {
                let what = format!("{name}: {connections} connections, and {most} are needed");
                return self.broken("nothing is left behind", what);
            }
        }
        Ok(())
    }

    /// Nobody has anything to say but PING, and says it when it is due, whatever the wall clock shows.
    fn stay_quiet(&mut self) -> Kept {
        const PINGS: usize = 4;
        for server in self.alive() {
            let by_s = if server % 2 == 0 { 86_400 } else { -86_400 };
            self.set_wall(server, by_s);
        }
        self.world.forget_lines();
        self.run_until(self.world.now() + PINGS as u32 * self.plan.limits.ping())?;
        let mut pings: BTreeMap<[usize; 2], usize> = BTreeMap::new();
        for (ends, bytes) in self.world.peer_streams() {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            for line in lines {
                if line.starts_with(b"AT ") {
                    let what = format!("{ends:?}: {}", line.escape_ascii());
                    return self.broken("floods end", what);
                }
                *pings.entry(ends).or_default() += usize::from(line.ends_with(b"PING"));
            }
        }
        for [one, other] in self.standing_edges() {
            for ends in [[one, other], [other, one]] {
                let heard = pings.get(&ends).copied().unwrap_or(0);
                if heard.abs_diff(PINGS) > 1 {
                    let what = format!("{ends:?}: {heard} PINGs instead of {PINGS}");
                    return self.broken(TIMERS, what);
                }
            }
        }
        self.hear_all()?;
        self.all_are_answered()
    }

    /// Lets all be heard that was said. A question is answered within its deadline; but a client that
    /// has too much open is not read, so that its next question may have to wait until then, and so on.
    fn wait_for_replies(&mut self) -> Kept {
        let deadline = self.plan.limits.whatsat_deadline + SECOND;
        let (mut before, mut patience) = (usize::MAX, Duration::ZERO);
        loop {
            self.hear_all()?;
            let mut open = 0;
            for number in 0..self.conversations.len() {
                let talk = &self.conversations[number];
                let stands = self.world.ending(talk.talk).is_none();
                if stands && !self.is_cut_off(talk) && !talk.has_vanished {
                    open += talk.open();
                }
            }
            if open < before {
                (before, patience) = (open, Duration::ZERO);
            }
            if open == 0 || patience > deadline {
                return Ok(());
            }
            self.run_until(self.world.now() + SLICE)?;
            patience += SLICE;
        }
    }

    /// The edges between members that are alive.
    fn standing_edges(&self) -> Vec<[usize; 2]> {
        let alive = self.alive();
        let edges = self.plan.edges.iter().copied();
        edges.filter(|edge| edge.iter().all(|end| alive.contains(end))).collect()
    }

    /// Who has been left in peace has got all replies, and who has not ended is still connected.
    fn all_are_answered(&mut self) -> Kept {
        for number in 0..self.conversations.len() {
            let talk = &self.conversations[number];
            let (id, open) = (talk.talk, talk.open());
            let ending = self.world.ending(id);
            if talk.is_excused || self.is_cut_off(talk) {
                continue;
            }
            if open > 0 {
                let what = format!("{id:?}: {open} commands without a reply, ended: {ending:?}");
                return self.broken("every command is answered", what);
            }
            if !talk.has_ended && ending.is_some() || ending == Some(Ending::Broken) {
                return self
                    .broken("nobody is cut off without a reason", format!("{id:?}: {ending:?}"));
            }
        }
        Ok(())
    }

    /// Whether the server of this conversation, or that life of it, is gone.
    fn is_cut_off(&self, talk: &Conversation) -> bool {
        let name = self.name(talk.server);
        !self.world.lives(name) || self.world.life(name) != talk.life
    }

    /// One report in the quiet herd costs one line for each direction of each edge, less those by which
    /// it came.
    fn tell_one_update(&mut self) -> Kept {
        let Some(server) = self.alive().first().copied() else { return Ok(()) };
        let name = self.name(server);
        let address = self.world.topology().server(name).expect("it is listed").client;
        let talk = self.world.begin_dial(address);
        let report = "latest +3+3 4100000000.5";
        let report =
            if self.plan.limits.refuses_the_future { "latest +3+3 1479413884.5" } else { report };
        self.sent.insert((server, report.to_owned()));
        self.world.send(talk, format!("IAMAT {report}\n"));
        self.world.forget_lines();
        self.run_until(self.world.now() + SPREADS_IN)?;
        let mut lines: BTreeMap<[usize; 2], usize> = BTreeMap::new();
        for (ends, bytes) in self.world.peer_streams() {
            let count =
                bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"AT ")).count();
            *lines.entry(ends).or_default() += count;
        }
        let groups = self.groups();
        let group = groups.into_iter().find(|group| group.contains(&server)).unwrap_or_default();
        for member in &group {
            if !self.world.knows(self.name(*member)).contains_key("latest") {
                let what = format!("{} has not heard of it", self.name(*member));
                return self.broken("an update reaches everybody", what);
            }
        }
        if self.plan.plain.is_some() {
            return Ok(());
        }
        let edges = self.standing_edges();
        let edges = edges.iter().filter(|edge| group.contains(&edge[0])).count();
        let (most, all) = (lines.values().copied().max(), lines.values().sum::<usize>());
        let bound = 2 * edges - (group.len() - 1);
        if most > Some(1) || all != bound {
            let what = format!("{all} lines, {most:?} at most in one direction, for {bound}");
            return self.broken("an update costs 2E - (n - 1) lines", what);
        }
        Ok(())
    }
}

/// The stamps with which a client is reported more than once at one place.
fn repeated(plan: &Plan) -> BTreeSet<(String, u64)> {
    let mut seen = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    for step in &plan.steps {
        let What::Say { commands, .. } = &step.what else { continue };
        for said in commands {
            let Said::Iamat { client, place, stamp, .. } = said else { continue };
            let line = format!("AT - + {} {place} {stamp}", plan.clients[*client]);
            let sighted = Sighted::read(&line).expect("it is one");
            let (client, nanos) = (sighted.client, sighted.stamp_nanos);
            if !seen.insert((client.clone(), nanos, *place)) {
                repeated.insert((client, nanos));
            }
        }
    }
    repeated
}

impl What {
    /// Its name in the summary.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            What::Say { .. } => "a report",
            What::Deaf { .. } => "a client that does not read",
            What::Delay { .. } => "a slow link",
            What::Split { .. } => "split arrivals, short writes",
            What::Reset { .. } => "a reset",
            What::Cut { .. } => "a link down",
            What::Partition { .. } => "a partition",
            What::Flap { .. } => "flapping",
            What::Clog { .. } => "swizzle-clog",
            What::Freeze { .. } => "a frozen server",
            What::Kill { gone: Some(_), .. } => "kill -9 and restart",
            What::Vanish { gone: Some(_), .. } => "a machine lost and back",
            What::Kill { .. } | What::Vanish { .. } => "a server lost for good",
            What::ClockStep { .. } => "a wall clock set",
            What::ClockSkew { .. } => "a wall clock too fast or slow",
            What::Slow { .. } => "a server that reads little",
            What::NoDescriptors { .. } => "no descriptors",
            What::AcceptFails { .. } => "accept fails",
        }
    }
}

impl StampKind {
    fn name(self) -> &'static str {
        match self {
            StampKind::Now => "a stamp of now",
            StampKind::Late => "a late stamp",
            StampKind::Tied => "a tied stamp",
            StampKind::FarFuture => "a far-future stamp",
        }
    }
}
