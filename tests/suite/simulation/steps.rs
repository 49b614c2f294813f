//! The events at servers and in the network: the beginning and the end of each step of a plan.

use super::at_line::{Newest, raise};
use super::conversation::Conversation;
use super::plan::{DiskFault, EPOCH_S, Ends, Step, What};
use super::run::{Action, Kept, Run};
use herd_reactor::UnixNanos;
use places_herd::journal::Sync;
use std::time::Duration;

/// How a server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The server's process is killed.
    Killed,
    /// The server's machine is lost.
    Vanished,
    /// The server's process exits by itself, because its journal has failed.
    Ended,
}

impl Run<'_> {
    pub(super) fn act(&mut self, action: Action) -> Kept {
        let plan = self.plan;
        match action {
            Action::Begin(number) => {
                let Step { what, .. } = &plan.steps[number];
                self.step = Some(number);
                self.cluster.log(&format!("step {number}: {what:?}"));
                self.met(what.kind());
                self.begin(number, what)
            }
            Action::Next(number, times) => {
                self.cluster.log(&format!("step {number}, again: {times}"));
                self.go_on(number, &plan.steps[number].what, times)
            }
            Action::Answer(asked) => {
                self.answer(asked);
                Ok(())
            }
        }
    }

    /// Schedules the end of step `number` after `lasts`.
    pub(super) fn ends_after(&mut self, number: usize, lasts: Duration) {
        self.later(self.cluster.now() + lasts, Action::Next(number, 0));
    }

    pub(super) fn begin(&mut self, number: usize, what: &What) -> Kept {
        match what {
            What::Say { talker, commands, then } => self.say(*talker, commands, *then),
            What::Deaf { talker, lasts } => {
                if let Some(talk) = self.talks[*talker] {
                    let talk = self.conversations[talk].talk;
                    self.deaf.insert(number, talk);
                    self.cluster.listen_to(talk, false);
                }
                self.ends_after(number, *lasts);
            }
            What::Delay { ends: [one, other], by, lasts } => {
                self.cluster.delay(self.name(*one), self.name(*other), *by);
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
            What::Flap { .. } | What::Clog { .. } => self.go_on(number, what, 0)?,
            What::Freeze { server, lasts } => {
                self.cluster.freeze(self.name(*server));
                self.ends_after(number, *lasts);
            }
            What::Kill { server, gone, keeps_disk } | What::Vanish { server, gone, keeps_disk } => {
                let is_killed = matches!(what, What::Kill { .. });
                let death = if is_killed { Death::Killed } else { Death::Vanished };
                match gone {
                    Some(gone) => self.ends_after(number, *gone),
                    None => drop(self.gone.insert(*server)),
                }
                self.die(*server, death, *keeps_disk)?;
            }
            What::ClockStep { server, by_s } => self.set_wall(*server, *by_s),
            What::ClockSkew { server, ppm } => {
                if let Some(kernel) = self.kernel(*server) {
                    kernel.set_wall_skew(*ppm);
                }
            }
            What::Slow { server, pace, lasts } => {
                self.cluster.set_pace(self.name(*server), *pace);
                self.ends_after(number, *lasts);
            }
            What::NoDescriptors { server, lasts } => {
                self.excuse(|talk| talk.server == *server);
                if let Some(kernel) = self.kernel(*server) {
                    kernel.options().descriptors_max = kernel.descriptors();
                }
                self.ends_after(number, *lasts);
            }
            What::DiskFails { server, how, lasts } => {
                self.fail_disk(*server, *how);
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

    /// Continues a step: ends one that lasts, or does the next part of one that repeats.
    pub(super) fn go_on(&mut self, number: usize, what: &What, times: u32) -> Kept {
        match what {
            What::Deaf { .. } => {
                if let Some(talk) = self.deaf.remove(&number) {
                    self.cluster.listen_to(talk, true);
                }
            }
            What::Delay { ends: [one, other], .. } => {
                self.cluster.delay(self.name(*one), self.name(*other), Duration::ZERO);
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
                // The cable is cut and healed in turn, and healed at the end.
                self.cut(*ends, times.is_multiple_of(2) && times + 1 < *most);
                if times + 1 < *most {
                    self.later(self.cluster.now() + *every, Action::Next(number, times + 1));
                }
            }
            What::Clog { stopped, freed, every } => {
                let index = times as usize;
                match index.checked_sub(stopped.len()) {
                    None => self.cut(stopped[index], true),
                    Some(index) => self.cut(freed[index], false),
                }
                if index + 1 < stopped.len() + freed.len() {
                    self.later(self.cluster.now() + *every, Action::Next(number, times + 1));
                }
            }
            What::Freeze { server, .. } => self.cluster.thaw(self.name(*server)),
            What::Kill { server, .. } | What::Vanish { server, .. } => self.start_again(*server)?,
            What::DiskFails { server, .. } => {
                self.mend_disk(*server);
                self.start_again(*server)?;
            }
            What::Slow { server, .. } => self.cluster.set_pace(self.name(*server), Duration::ZERO),
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
        Ok(())
    }

    /// Restarts a dead server, unless it is lost for good or its disk still fails.
    fn start_again(&mut self, server: usize) -> Kept {
        let fails = self.ledgers.get(&server).is_some_and(|ledger| ledger.failing.is_some());
        match self.cluster.lives(self.name(server)) || self.gone.contains(&server) || fails {
            true => Ok(()),
            false => self.start(server),
        }
    }

    /// Makes the disk of a server fail, if it has one.
    fn fail_disk(&mut self, server: usize, how: DiskFault) {
        let name = self.name(server);
        let lives = self.cluster.lives(name);
        let Some(ledger) = self.ledgers.get_mut(&server).filter(|_| lives) else { return };
        ledger.failing = Some(how);
        let mut disk = self.cluster.disk(name);
        let size = disk.size();
        let faults = &mut disk.faults;
        match how {
            DiskFault::Full { room } => faults.room_bytes = Some(size + room),
            DiskFault::Writes => faults.write_errors = 0.5,
            DiskFault::Syncs => faults.sync_errors = 1.0,
            DiskFault::Power { calls } => faults.calls_left = Some(calls),
        }
        let talks = self.conversations.iter_mut().filter(|talk| talk.server == server);
        talks.for_each(Conversation::may_be_refused);
    }

    /// Repairs the disk of a server.
    fn mend_disk(&mut self, server: usize) {
        let name = self.name(server);
        let lives = self.cluster.lives(name);
        let Some(ledger) = self.ledgers.get_mut(&server) else { return };
        ledger.failing = None;
        let faults = ledger.faults();
        match &mut ledger.disk {
            Some(disk) => disk.faults = faults,
            None if lives => self.cluster.disk(name).faults = faults,
            None => {}
        }
    }

    /// Returns the kernel of a living server.
    pub(super) fn kernel(&mut self, server: usize) -> Option<&mut herd_reactor::testing::MemoryIo> {
        let name = self.name(server);
        self.cluster.lives(name).then(|| self.cluster.reactor(name).io())
    }

    pub(super) fn cut(&mut self, [one, other]: Ends, is_cut: bool) {
        let (one, other) = (self.name(one), self.name(other));
        match is_cut {
            true => self.cluster.cut(one, other),
            false => self.cluster.heal(one, other),
        }
    }

    pub(super) fn part(&mut self, side: &[usize], is_cut: bool) {
        for ends in
            self.plan.cables().filter(|ends| side.contains(&ends[0]) != side.contains(&ends[1]))
        {
            self.cut(ends, is_cut);
        }
    }

    /// Resets the link between two neighbours.
    pub(super) fn reset(&mut self, [one, other]: Ends) {
        let (one, other) = (self.name(one), self.name(other));
        if !self.cluster.lives(one) {
            return;
        }
        let reactor = self.cluster.reactor(one);
        let links = &reactor.state().neighbours;
        let conn = links.named(other.as_bytes()).and_then(|id| links.get(id).conn);
        if let Some(conn) = conn {
            reactor.io().reset(conn);
        }
    }

    pub(super) fn set_wall(&mut self, server: usize, by_s: i64) {
        if let Some(kernel) = self.kernel(server) {
            let second = EPOCH_S as i64 + by_s;
            kernel.set_wall(UnixNanos(second as u64 * 1_000_000_000));
        }
    }

    /// Lets a server die. Reports that no other server has are lost, except those on its disk, if it keeps that.
    pub(super) fn die(&mut self, server: usize, death: Death, keeps_disk: bool) -> Kept {
        self.take_in()?;
        self.ended.remove(&server);
        let name = self.name(server);
        if !self.cluster.lives(name) {
            // The server is dead already, and was to be restarted. Now it may be lost for
            // good, with its disk.
            self.floor = self.what_outlives();
            return Ok(());
        }
        let until = self.cluster.is_done_until(name);
        self.hear_all()?;
        self.excuse(|talk| talk.server == server);
        for talk in self.conversations.iter_mut().filter(|talk| talk.server == server) {
            // A connection attempt that is still open may succeed with the next life.
            talk.life += usize::from(!self.cluster.stands(talk.talk));
        }
        let remains = match death {
            Death::Vanished => self.cluster.crash(name),
            Death::Killed | Death::Ended => self.cluster.kill(name),
        };
        let disk = remains.0.filter(|_| keeps_disk);
        self.outcome.answers.destroyed += u64::from(disk.is_none());
        if let Some(ledger) = self.ledgers.get_mut(&server) {
            ledger.died(disk, self.cluster.now(), until, death == Death::Vanished);
        }
        self.floor = self.what_outlives();
        Ok(())
    }

    /// Returns the reports that must be known at the end: those of survivors, those on the
    /// disks of servers that will be restarted, and those that a neighbour had acknowledged, as long as such
    /// a neighbour lives.
    fn what_outlives(&mut self) -> Newest {
        let mut floor = self.known_to(&self.alive());
        let back = self.ledgers.iter().filter(|(server, _)| !self.gone.contains(server));
        for (_, ledger) in back.filter(|(_, ledger)| ledger.disk.is_some()) {
            let answered = ledger.answered.values().filter(|_| ledger.sync == Sync::Always);
            let kept = ledger.demand().into_values().chain(answered.cloned());
            kept.for_each(|report| raise(&mut floor, report));
        }
        let kept = self.answered.iter().filter(|(_, fate)| self.is_with_a_taker(fate));
        kept.for_each(|(report, _)| raise(&mut floor, report.clone()));
        floor
    }

    pub(super) fn excuse(&mut self, which: impl Fn(&Conversation) -> bool) {
        self.conversations
            .iter_mut()
            .filter(|talk| which(talk))
            .for_each(|talk| talk.is_excused = true);
    }
}

impl What {
    /// Returns the name of the event in the summary.
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
            What::DiskFails { .. } => "a disk that fails",
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

impl DiskFault {
    /// Returns the name of the fault in the summary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DiskFault::Full { .. } => "a disk is full",
            DiskFault::Writes | DiskFault::Syncs | DiskFault::Power { .. } => "a disk gives errors",
        }
    }
}
