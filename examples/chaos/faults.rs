//! The faults: which, where, when, how long. Each is one step with its own end, and no target has two at once.

use crate::proxy::Weather;
use crate::run::Run;
use herd_reactor::Core;
use std::collections::BTreeMap;
use std::time::Duration;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Cut,
    Down,
    Slow,
    Frozen,
    FrozenOneWay,
    HalfOpen,
    Stopped,
    Killed,
    AllKilled,
}

impl Kind {
    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Cut => "link cut",
            Kind::Down => "link down for a while",
            Kind::Slow => "link slow",
            Kind::Frozen => "link frozen",
            Kind::FrozenOneWay => "link frozen one way",
            Kind::HalfOpen => "link half open",
            Kind::Stopped => "server stopped (SIGSTOP, SIGCONT)",
            Kind::Killed => "server killed (SIGKILL)",
            Kind::AllKilled => "all servers killed at once",
        }
    }
}

/// What goes wrong in networks, and how often compared to each other.
pub(crate) const OF_NETWORKS: [Kind; 9] = [
    Kind::Cut,
    Kind::Cut,
    Kind::Down,
    Kind::Slow,
    Kind::Slow,
    Kind::Frozen,
    Kind::FrozenOneWay,
    Kind::HalfOpen,
    Kind::Stopped,
];

/// The same, and with servers.
pub(crate) const ALL: [Kind; 13] = [
    Kind::Cut,
    Kind::Cut,
    Kind::Down,
    Kind::Slow,
    Kind::Slow,
    Kind::Frozen,
    Kind::FrozenOneWay,
    Kind::HalfOpen,
    Kind::Stopped,
    Kind::Killed,
    Kind::Killed,
    Kind::Killed,
    Kind::AllKilled,
];

/// What is wrong with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Edge(usize),
    Server(usize),
}

/// What goes wrong now, and how often what has.
#[derive(Debug)]
pub(crate) struct Faults {
    menu: Vec<Kind>,
    /// By target: the number of its fault.
    active: BTreeMap<Target, u64>,
    number: u64,
    pub(crate) counts: BTreeMap<Kind, u64>,
    /// Who is killed loses its journal.
    loses_disks: bool,
    /// The ledger is not told.
    is_control: bool,
}

impl Faults {
    /// None yet.
    pub(crate) fn new(loses_disks: bool, is_control: bool) -> Faults {
        let (menu, active, counts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let loses_disks = loses_disks || is_control;
        Faults { menu, active, number: 0, counts, loses_disks, is_control }
    }
}

impl Run {
    /// From now on faults of `menu` happen.
    pub(crate) fn begin_faults(&mut self, core: &mut Core<Run>, menu: &[Kind]) {
        self.faults.menu = menu.to_vec();
        self.next_fault(core);
    }

    /// Ends all faults, now. No more begin.
    pub(crate) fn end_faults(&mut self, core: &mut Core<Run>) {
        self.faults.menu.clear();
        while let Some((target, _)) = self.faults.active.pop_first() {
            self.heal(core, target);
        }
    }

    fn next_fault(&mut self, core: &mut Core<Run>) {
        let Some(kind) = self.dice.one_of(&self.faults.menu) else { return };
        self.strike(core, kind);
        let pause = self.dice.millis(100..700);
        core.call_later(pause, Run::next_fault);
    }

    /// Has `kind` happen to somebody, if there is somebody to whom nothing happens yet.
    fn strike(&mut self, core: &mut Core<Run>, kind: Kind) {
        let free = |target: &Target| !self.faults.active.contains_key(target);
        let servers = (0..self.servers.all.len()).map(Target::Server).filter(free);
        let edges = (0..self.edges.len()).map(Target::Edge).filter(free);
        let targets: Vec<Target> = match kind {
            Kind::Stopped | Kind::Killed => servers.collect(),
            // Who is stopped, too: a dead process does not wake.
            Kind::AllKilled => (0..self.servers.all.len()).map(Target::Server).collect(),
            _ => edges.collect(),
        };
        let Some(target) = self.dice.one_of(&targets) else { return };
        let all_forget = self.loses_memory() && !self.faults.is_control;
        if kind == Kind::AllKilled && (all_forget || !self.dice.once_in(4)) {
            // Nobody would know anything; and once in a while is enough.
            return;
        }
        *self.faults.counts.entry(kind).or_default() += 1;
        match (kind, target) {
            (Kind::AllKilled, _) => {
                for target in targets {
                    self.kill(target);
                    let time = self.dice.millis(50..1_500);
                    self.last(core, target, time);
                }
                return;
            }
            (Kind::Killed, _) => self.kill(target),
            (_, Target::Server(server)) => self.servers.all[server].freeze(true),
            (_, Target::Edge(edge)) => self.spoil(core, kind, edge),
        }
        let time = match kind {
            // One in ten longer than a link may be silent.
            Kind::Frozen | Kind::FrozenOneWay | Kind::Stopped if self.dice.once_in(10) => {
                self.dice.millis(16_000..18_000)
            }
            Kind::Killed => self.dice.millis(50..2_000),
            _ => self.dice.millis(200..3_000),
        };
        self.last(core, target, time);
    }

    fn spoil(&mut self, core: &mut Core<Run>, kind: Kind, edge: usize) {
        let weather = match kind {
            Kind::Down => Weather::Down,
            Kind::Slow => Weather::Slow(self.dice.millis(10..300)),
            Kind::Frozen => Weather::Frozen,
            Kind::FrozenOneWay => Weather::FrozenOneWay,
            Kind::HalfOpen => {
                let keeps_inbound = self.dice.once_in(2);
                return self.edges[edge].half_open(core, keeps_inbound);
            }
            _ => return self.edges[edge].cut(core),
        };
        self.edges[edge].set(core, weather);
    }

    /// Whether who is killed forgets.
    fn loses_memory(&self) -> bool {
        self.faults.loses_disks || self.servers.plan.journal.is_none()
    }

    fn kill(&mut self, target: Target) {
        let Target::Server(server) = target else { return };
        self.servers.all[server].kill();
        if self.faults.loses_disks
            && let Err(why) = self.servers.remove_journal(server)
        {
            self.broken = Some(format!("a journal cannot be removed: {why}"));
        }
        if self.loses_memory() && !self.faults.is_control {
            self.servers.all[server].losses += 1;
            self.ledger.forget(server);
        }
    }

    /// Has what happens to `target` end after `time`, unless something else happens to it by then.
    fn last(&mut self, core: &mut Core<Run>, target: Target, time: Duration) {
        self.faults.number += 1;
        let number = self.faults.number;
        self.faults.active.insert(target, number);
        core.call_later(time, move |run, core| {
            if run.faults.active.get(&target) == Some(&number) {
                run.faults.active.remove(&target);
                run.heal(core, target);
            }
        });
    }

    fn heal(&mut self, core: &mut Core<Run>, target: Target) {
        match target {
            Target::Edge(edge) => self.edges[edge].set(core, Weather::Fair),
            Target::Server(server) if self.servers.all[server].is_frozen => {
                self.servers.all[server].freeze(false);
            }
            Target::Server(server) => {
                if let Err(why) = self.servers.start(server) {
                    self.broken = Some(format!("a server cannot be started: {why}"));
                }
            }
        }
    }
}
