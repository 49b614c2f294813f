//! The promises of a herd after the last fault, and the functions that check them.

use super::at_line::{AtLine, Newest, raise};
use super::conversation::Conversation;
use super::plan::{EPOCH_S, EXPIRE_AFTER_S};
use super::replicas::Fate;
use super::run::{AGREEMENT, Kept, NEWEST_WINS, Run, SLICE, SPREADS_IN, TIMERS};
use crate::support::cluster::{Ending, SECOND};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Run<'_> {
    /// Returns the reports in a server's table.
    pub(super) fn known(&mut self, server: usize) -> Newest {
        let known = self.cluster.knows(self.name(server)).into_values();
        let reports = known.map(|line| AtLine::read(&line).expect("a stored line is an AT line"));
        reports.map(|report| (report.client.clone(), report)).collect()
    }

    /// Returns the newest reports in the tables of several servers.
    pub(super) fn known_to(&mut self, servers: &[usize]) -> Newest {
        let mut newest = Newest::new();
        for server in servers {
            for report in self.known(*server).into_values() {
                raise(&mut newest, report);
            }
        }
        newest
    }

    /// Whether `known` has a report at least as new as `wanted`.
    pub(super) fn is_kept(&self, known: &Newest, wanted: &AtLine) -> bool {
        let known = known.get(&wanted.client);
        known.is_some_and(|known| known.is_as_new_as(wanted, &self.repeated))
    }

    /// Returns the living servers, in groups that can reach each other.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
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

    /// Returns a server's neighbours, without the plain one.
    pub(super) fn neighbours(&self, server: usize) -> impl Iterator<Item = usize> {
        let edges = self.plan.edges.iter().filter(move |edge| edge.contains(&server));
        let others = edges.map(move |[one, other]| one + other - server);
        others.filter(|other| self.plan.plain != Some(*other))
    }

    pub(super) fn names(&self, servers: impl Iterator<Item = usize>) -> BTreeSet<String> {
        servers.map(|server| self.name(server).to_owned()).collect()
    }

    // The promises.

    /// After the last fault, servers that can reach each other come to equal tables in time, and lose
    /// nothing.
    pub(super) fn come_to_agree(&mut self) -> Kept {
        let begin = self.cluster.now();
        self.wait_for_replies()?;
        let was_quiet = self.cluster.now() == begin;
        let mut until = (begin + self.plan.limits.quiet()).max(self.cluster.now() + SPREADS_IN);
        let groups = self.groups();
        let wanted: Vec<Newest> = groups.iter().map(|group| self.known_to(group)).collect();
        let alive = self.alive();
        let known = self.known_to(&alive);
        self.keep("a living server has every acknowledged report that must survive", &known)?;
        let mut agreed_after = None;
        for _ in 0..2 {
            while self.cluster.now() < until {
                self.run_until(self.cluster.now() + SLICE)?;
                if agreed_after.is_none() && self.disagreement(&groups).is_none() {
                    agreed_after = Some(self.cluster.now() - begin);
                }
            }
            // Bytes that wait on the links at the deadline get more time to arrive. This happens only once, so that a
            // server that never stops sending gains little, and one that forgets to send gains nothing.
            let bytes = self.waiting_on_links();
            until = self.cluster.now() + self.plan.transfer(bytes);
        }
        if let Some(what) = self.disagreement(&groups) {
            return self.broken(AGREEMENT, what);
        }
        // If replies were still open, there was later news, so the time would mean nothing.
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
        self.keep("the newest acknowledged report is known at the end", &known)?;
        self.count_the_lost(&known);
        self.all_are_linked()
    }

    /// Returns the bytes on all links that the servers have written and their neighbours have not read.
    fn waiting_on_links(&mut self) -> usize {
        let alive = self.alive();
        let names = alive.into_iter().map(|server| self.name(server)).collect::<Vec<_>>();
        names.into_iter().map(|name| self.cluster.waiting_on_links(name)).sum()
    }

    /// Counts the answered reports that are not among `known`, by the reason why they need not be.
    fn count_the_lost(&mut self, known: &Newest) {
        let lost = self.answered.iter().filter(|(reply, _)| !self.is_kept(known, reply));
        let lost: Vec<&Fate> = lost.map(|(_, fate)| fate).collect();
        let count = |which: &dyn Fn(&Fate) -> bool| lost.iter().filter(|fate| which(fate)).count();
        let counted = count(&|fate| *fate == Fate::Counted);
        let with_takers =
            count(&|fate| matches!(fate, Fate::Taken(_)) && !self.is_with_a_taker(fate));
        let answers = &mut self.outcome.answers;
        answers.lost = lost.len() as u64;
        answers.lost_counted = counted as u64;
        answers.lost_with_takers = with_takers as u64;
        let Some(replicas) = &self.replicas else { return };
        answers.held = self.answered.len() as u64;
        answers.unreplicated = replicas.unreplicated();
        self.met("replies wait for a neighbour");
        if self.outcome.answers.unreplicated > 0 {
            self.met("replies leave without its word");
        }
    }

    /// Checks that `known` has all reports that must be known.
    pub(super) fn keep(&self, promise: &'static str, known: &Newest) -> Kept {
        match self.floor.values().find(|wanted| !self.is_kept(known, wanted)) {
            Some(lost) => self.broken(promise, format!("{} is lost", lost.line)),
            None => Ok(()),
        }
    }

    /// Describes two servers of one group whose tables or sums differ, if there are any.
    pub(super) fn disagreement(&mut self, groups: &[Vec<usize>]) -> Option<String> {
        for group in groups {
            let first = self.cluster.knows(self.name(group[0]));
            let sum = self.cluster.member(self.name(group[0])).table.state_hash();
            for server in &group[1..] {
                let other = self.cluster.knows(self.name(*server));
                if other != first {
                    let differs =
                        first.iter().find(|(client, line)| other.get(*client) != Some(line));
                    let (one, other) = (self.name(group[0]), self.name(*server));
                    return Some(format!("{one} and {other} have different tables: {differs:?}"));
                }
                if self.cluster.member(self.name(*server)).table.state_hash() != sum {
                    let (one, other) = (self.name(group[0]), self.name(*server));
                    return Some(format!("{one} and {other} have equal tables but different sums"));
                }
            }
        }
        None
    }

    /// Checks that a client has sent every report to the server that its line names.
    pub(super) fn nothing_is_invented(&self, known: &Newest) -> Kept {
        for report in known.values() {
            let operands = report.line.splitn(4, ' ').nth(3).unwrap_or_default();
            let plain = self.plan.plain.map(|number| self.name(number));
            let said = self.members().into_iter().any(|server| {
                let named = [Some(self.name(server)), plain].contains(&Some(report.server()));
                named && self.sent.contains(&(server, operands.to_owned()))
            });
            if !said {
                return self.broken("nothing is invented", report.line.clone());
            }
        }
        Ok(())
    }

    /// Checks that each server is linked to each living neighbour, and has no connection left over.
    pub(super) fn all_are_linked(&mut self) -> Kept {
        let alive: BTreeSet<usize> = self.alive().into_iter().collect();
        for server in alive.iter().copied() {
            let name = self.name(server);
            let wanted = self.names(self.neighbours(server).filter(|other| alive.contains(other)));
            let mut linked = self.cluster.linked(name);
            linked.retain(|linked| self.plan.plain.is_none_or(|plain| linked != self.name(plain)));
            if linked != wanted {
                let what = format!("{name} is linked to {linked:?}, and should be to {wanted:?}");
                return self.broken("every link is made again", what);
            }
            let dead = self.neighbours(server).filter(|other| !alive.contains(other)).count();
            let life = self.cluster.life(name);
            let mut clients = 0;
            for number in 0..self.conversations.len() {
                let talk = &self.conversations[number];
                let here = talk.server == server && talk.life == life;
                clients += usize::from(here && self.cluster.ending(talk.talk).is_none());
            }
            let connections = self.cluster.reactor(name).parts().1.connections();
            let most = wanted.len() + dead + clients;
            if self.plan.plain.is_none() && connections > most {
                let what = format!("{name}: {connections} connections, and {most} are needed");
                return self.broken("no connection is left over", what);
            }
        }
        Ok(())
    }

    /// Checks that the servers send only PINGs, and send them on time for any setting of the wall clock.
    pub(super) fn stay_quiet(&mut self) -> Kept {
        const PINGS: usize = 4;
        for server in self.alive() {
            let by_s = if server % 2 == 0 { 86_400 } else { -86_400 };
            self.set_wall(server, by_s);
        }
        self.cluster.forget_lines();
        self.run_until(self.cluster.now() + PINGS as u32 * self.plan.limits.ping())?;
        let mut pings: BTreeMap<[usize; 2], usize> = BTreeMap::new();
        for (ends, bytes) in self.cluster.peer_streams() {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            for line in lines {
                if line.starts_with(b"AT ") || line.starts_with(b"GROUPS ") {
                    let what = format!("{ends:?}: {}", line.escape_ascii());
                    return self.broken("floods end", what);
                }
                *pings.entry(ends).or_default() += usize::from(line.ends_with(b"PING"));
            }
        }
        for [one, other] in self.standing_edges() {
            for ends in [[one, other], [other, one]] {
                let heard = pings.get(&ends).copied().unwrap_or(0);
                self.outcome.pings[0] += heard as u64;
                self.outcome.pings[1] += PINGS as u64;
                if heard.abs_diff(PINGS) > 1 {
                    let what = format!("{ends:?}: {heard} PINGs instead of {PINGS}");
                    return self.broken(TIMERS, what);
                }
            }
        }
        self.hear_all()?;
        self.all_are_answered()
    }

    /// Waits until all commands are answered. A WHATSAT is answered within its deadline, but a server does not read
    /// from a client with too many open ones, so that the next one may have to wait for as long, and so on.
    pub(super) fn wait_for_replies(&mut self) -> Kept {
        let held = self.plan.ack_wait.unwrap_or_default();
        let deadline = self.plan.limits.whatsat_deadline + held + SECOND;
        let (mut before, mut patience) = (usize::MAX, Duration::ZERO);
        loop {
            self.hear_all()?;
            let mut open = 0;
            for number in 0..self.conversations.len() {
                let talk = &self.conversations[number];
                let stands = self.cluster.ending(talk.talk).is_none();
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
            self.run_until(self.cluster.now() + SLICE)?;
            patience += SLICE;
        }
    }

    /// Returns the edges between living servers.
    pub(super) fn standing_edges(&self) -> Vec<[usize; 2]> {
        let alive = self.alive();
        let edges = self.plan.edges.iter().copied();
        edges.filter(|edge| edge.iter().all(|end| alive.contains(end))).collect()
    }

    /// Checks that every client that no fault has hit got all its replies and, unless it has ended its side, is still
    /// connected.
    pub(super) fn all_are_answered(&mut self) -> Kept {
        for number in 0..self.conversations.len() {
            let talk = &self.conversations[number];
            let (id, open) = (talk.talk, talk.open());
            let ending = self.cluster.ending(id);
            if talk.is_excused || self.is_cut_off(talk) {
                continue;
            }
            if open > 0 {
                let what = format!("{id:?}: {open} commands without a reply, ended: {ending:?}");
                return self.broken("every command is answered", what);
            }
            if !talk.has_ended && ending.is_some() || ending == Some(Ending::Broken) {
                return self
                    .broken("no client is cut off for no reason", format!("{id:?}: {ending:?}"));
            }
        }
        Ok(())
    }

    /// Whether the server of this conversation is dead, or in a later life.
    pub(super) fn is_cut_off(&self, talk: &Conversation) -> bool {
        let name = self.name(talk.server);
        !self.cluster.lives(name) || self.cluster.life(name) != talk.life
    }

    /// Checks that one report in the quiet herd costs one line for each direction of each edge, less one for each
    /// server that it reaches.
    pub(super) fn tell_one_update(&mut self) -> Kept {
        let Some(server) = self.alive().first().copied() else { return Ok(()) };
        let name = self.name(server);
        let address = self.cluster.topology().server(name).expect("it is listed").client_listen;
        let talk = self.cluster.begin_dial(address);
        let report = "latest +3+3 4100000000.5";
        let report =
            if self.plan.limits.refuses_the_future { "latest +3+3 1479413884.5" } else { report };
        self.sent.insert((server, report.to_owned()));
        self.cluster.send(talk, format!("IAMAT {report}\n"));
        self.cluster.forget_lines();
        self.run_until(self.cluster.now() + SPREADS_IN)?;
        let mut lines: BTreeMap<[usize; 2], usize> = BTreeMap::new();
        let mut has_compared = false;
        for (ends, bytes) in self.cluster.peer_streams() {
            let all = || bytes.split(|byte| *byte == b'\n');
            *lines.entry(ends).or_default() += all().filter(|it| it.starts_with(b"AT ")).count();
            has_compared |= all().any(|line| line.starts_with(b"GROUPS "));
        }
        let groups = self.groups();
        let group = groups.into_iter().find(|group| group.contains(&server)).unwrap_or_default();
        for member in &group {
            if !self.cluster.knows(self.name(*member)).contains_key("latest") {
                let what = format!("{} does not have it", self.name(*member));
                return self.broken("an update reaches every server", what);
            }
        }
        // A comparison during the flood may send the line once more.
        if self.plan.plain.is_some() || has_compared {
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
        self.outcome.update_lines = Some([all as u64, bound as u64]);
        Ok(())
    }

    /// Sets all clocks a month ahead. If clients expire, the expired ones must be gone
    /// after the next full minute, and all others unchanged.
    pub(super) fn grow_old(&mut self) -> Kept {
        if !self.plan.limits.expires {
            return Ok(());
        }
        const MONTH_S: u64 = 30 * 86_400;
        let alive = self.alive();
        let oldest_nanos = (EPOCH_S + MONTH_S - EXPIRE_AFTER_S) * 1_000_000_000;
        let mut wanted = Vec::new();
        for server in &alive {
            let known = self.known(*server).into_values();
            let young = known.filter(|report| report.stamp_nanos > oldest_nanos);
            wanted.push(young.map(|report| report.line).collect::<BTreeSet<_>>());
            self.set_wall(*server, MONTH_S as i64);
        }
        self.run_until(self.cluster.now() + 62 * SECOND)?;
        for (server, wanted) in alive.iter().zip(wanted) {
            let known = self.known(*server).into_values().map(|report| report.line);
            let known: BTreeSet<_> = known.collect();
            if let Some(wrong) = known.symmetric_difference(&wanted).next() {
                let what = format!("{}: {wrong}", self.name(*server));
                return self.broken("expired reports are gone, and all others unchanged", what);
            }
        }
        self.met("clients expire");
        Ok(())
    }
}
