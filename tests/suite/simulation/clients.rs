//! Sends the clients' commands, and checks the replies.

use super::at_line::{AtLine, raise};
use super::conversation::Conversation;
use super::ledger::Ledger;
use super::places::Asked;
use super::plan::{Said, StampKind, Then};
use super::replicas::Fate;
use super::run::{Broken, Kept, Run, WORD};

impl Run<'_> {
    pub(super) fn say(&mut self, talker: usize, commands: &[Said], then: Then) {
        let server = self.plan.talkers[talker];
        let name = self.name(server);
        let number = match self.talks[talker].filter(|number| self.can_say(*number)) {
            Some(number) => number,
            None => {
                let address =
                    self.cluster.topology().server(name).expect("it is listed").client_listen;
                let talk = self.cluster.begin_dial(address);
                // A connection attempt to a lost machine succeeds when the machine is back, in its next life.
                let life = self.cluster.life(name) + usize::from(!self.cluster.lives(name));
                let mut talk = Conversation::new(talk, server, life);
                // The connection may be refused, or closed at once.
                talk.is_excused = !self.cluster.lives(name) || self.is_troubled(server);
                self.conversations.push(talk);
                self.conversations.len() - 1
            }
        };
        self.talks[talker] = Some(number);
        for said in commands {
            match said {
                Said::Iamat { client, location, stamp, kind } => {
                    let client = &self.plan.clients[*client];
                    self.sent.insert((server, format!("{client} {location} {stamp}")));
                    self.outcome.met.insert(kind.name());
                }
                Said::Whatsat { .. } => self.met("a question"),
                Said::Nonsense(_) => {}
            }
            let limits = self.plan.limits;
            let talk = &mut self.conversations[number];
            let line = talk.say(said, &self.plan.clients, limits);
            self.cluster.send(talk.talk, line);
        }
        let disk_fails = self.ledgers.get(&server).is_some_and(Ledger::may_refuse);
        let talk = &mut self.conversations[number];
        if disk_fails {
            talk.may_be_refused();
        }
        match then {
            Then::Stay => {}
            Then::End => {
                talk.has_ended = true;
                self.cluster.end(talk.talk);
            }
            Then::Abort => {
                (talk.has_ended, talk.is_excused) = (true, true);
                // A connection that is not made yet cannot be reset: its commands will arrive.
                talk.has_vanished = self.cluster.stands(talk.talk);
                self.cluster.abort(talk.talk);
                self.met("a client vanishes");
            }
        }
    }

    /// Whether the client can still send on this connection.
    pub(super) fn can_say(&mut self, number: usize) -> bool {
        let talk = &self.conversations[number];
        !talk.has_ended && self.cluster.ending(talk.talk).is_none()
    }

    /// Whether a fault of the server makes it turn clients away.
    pub(super) fn is_troubled(&mut self, server: usize) -> bool {
        self.kernel(server).is_some_and(|kernel| {
            let options = kernel.options();
            options.descriptors_max < usize::MAX || options.accept_failures > 0.0
        })
    }

    pub(super) fn answer(&mut self, asked: Asked) {
        let name = self.name(asked.server);
        if !self.cluster.lives(name) || self.cluster.life(name) != asked.life {
            return;
        }
        if let Some((_, answer)) = asked.answer {
            let (member, core) = self.cluster.reactor(name).parts();
            member.place_queries.answered(core, asked.ticket, answer);
        }
    }

    /// Checks all replies received so far.
    pub(super) fn hear_all(&mut self) -> Kept {
        for number in 0..self.conversations.len() {
            let talk = &mut self.conversations[number];
            let name = self.plan.servers[talk.server];
            let heard = self.cluster.heard(talk.talk);
            let acknowledged = match talk.hear(heard, name) {
                Ok(acknowledged) => acknowledged,
                Err(why) => return self.broken("replies in order, one for each command", why),
            };
            let server = talk.server;
            let counts = self.cluster.lives(name) && self.cluster.life(name) == talk.life;
            self.outcome.acknowledged += acknowledged.len() as u64;
            let ledger = self.ledgers.get_mut(&talk.server);
            if let Some(ledger) = ledger.filter(|ledger| talk.life >= ledger.first_life) {
                acknowledged.iter().cloned().for_each(|it| raise(&mut ledger.answered, it));
            }
            for report in acknowledged {
                let fate = self.fate(server, &report)?;
                if counts || self.is_with_a_taker(&fate) {
                    raise(&mut self.floor, report.clone());
                }
                self.answered.push((report, fate));
            }
        }
        Ok(())
    }

    /// Finds out why a server may have answered a report.
    fn fate(&mut self, server: usize, reply: &AtLine) -> Result<Fate, Box<Broken>> {
        let neighbours: Vec<usize> = self.neighbours(server).collect();
        let Run { replicas: Some(replicas), repeated, .. } = self else { return Ok(Fate::Local) };
        let is_kept = |known: &AtLine, wanted: &AtLine| known.is_as_new_as(wanted, repeated);
        match replicas.fate(server, reply, &neighbours, is_kept) {
            Some(Fate::Unfounded) => {
                let what = format!("no neighbour had it, and none was counted: {}", reply.line);
                self.broken(WORD, what)
            }
            Some(fate) => Ok(fate),
            None => self.broken(WORD, format!("received in no turn: {}", reply.line)),
        }
    }

    /// Whether a neighbour that had the answered report has survived.
    pub(super) fn is_with_a_taker(&self, fate: &Fate) -> bool {
        let Fate::Taken(takers) = fate else { return false };
        takers.iter().any(|(server, life)| {
            let name = self.name(*server);
            self.cluster.lives(name) && self.cluster.life(name) == *life
        })
    }
}

impl StampKind {
    fn name(self) -> &'static str {
        match self {
            StampKind::Now => "a stamp of now",
            StampKind::Late => "a late stamp",
            StampKind::Tied => "a tied stamp",
            StampKind::FarFuture => "a far-future stamp",
            StampKind::Expired => "a stamp too old",
        }
    }
}
