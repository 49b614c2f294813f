//! The faults: their kind, target, start and duration. Each fault ends by itself, and no target has two at a time.

use crate::bus::Bus;
use crate::proxy::Weather;
use crate::run::Run;
use herd_reactor::Core;
use std::collections::BTreeMap;
use std::time::Duration;

/// The kinds of faults.
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
    BusStopped,
    BusKilled,
}

impl Kind {
    /// The name of this kind in the printed table.
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
            Kind::BusStopped => "nats-server stopped (SIGSTOP, SIGCONT)",
            Kind::BusKilled => "nats-server killed (SIGKILL)",
        }
    }
}

/// The faults that kill no server. A kind that is listed twice is twice as frequent.
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

/// All faults. A kind that is listed several times is more frequent.
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

/// The target of a fault, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Edge(usize),
    Server(usize),
    Bus,
}

/// The faults under way, and the counts of all faults so far.
#[derive(Debug)]
pub(crate) struct Faults {
    menu: Vec<Kind>,
    /// The number of the active fault of each target.
    active: BTreeMap<Target, u64>,
    number: u64,
    pub(crate) counts: BTreeMap<Kind, u64>,
    /// Whether the journal of a killed server is removed.
    loses_disks: bool,
    /// Whether such losses are hidden from the ledger.
    is_control: bool,
}

impl Faults {
    /// Creates the state with no fault under way.
    pub(crate) fn new(loses_disks: bool, is_control: bool) -> Faults {
        let (menu, active, counts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let loses_disks = loses_disks || is_control;
        Faults { menu, active, number: 0, counts, loses_disks, is_control }
    }
}

impl Run {
    /// Starts to cause faults of `menu`.
    pub(crate) fn begin_faults(&mut self, core: &mut Core<Run>, menu: &[Kind]) {
        self.faults.menu = menu.to_vec();
        self.next_fault(core);
    }

    /// Ends all faults now, and causes no more.
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

    /// Causes a fault of `kind` on a random target that has none yet, if there is one.
    fn strike(&mut self, core: &mut Core<Run>, kind: Kind) {
        let free = |target: &Target| !self.faults.active.contains_key(target);
        let servers = (0..self.servers.all.len()).map(Target::Server).filter(free);
        let edges = (0..self.edges.len()).map(Target::Edge).filter(free);
        let targets: Vec<Target> = match kind {
            Kind::Stopped | Kind::Killed => servers.collect(),
            // Stopped servers are targets, too: being killed ends that fault.
            Kind::AllKilled => (0..self.servers.all.len()).map(Target::Server).collect(),
            Kind::BusStopped | Kind::BusKilled => {
                Some(Target::Bus).into_iter().filter(free).collect()
            }
            _ => edges.collect(),
        };
        let Some(target) = self.dice.one_of(&targets) else { return };
        let all_forget = self.loses_memory() && !self.faults.is_control;
        if kind == Kind::AllKilled && (all_forget || !self.dice.once_in(4)) {
            // If all servers lost their memory, no promise would remain to be checked. Otherwise one such fault of
            // four is enough.
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
            (Kind::BusKilled, _) => self.servers.bus.iter_mut().for_each(Bus::kill),
            (_, Target::Bus) => self.servers.bus.iter_mut().for_each(|bus| bus.freeze(true)),
            (_, Target::Server(server)) => self.servers.all[server].freeze(true),
            (_, Target::Edge(edge)) => self.spoil(core, kind, edge),
        }
        let time = match kind {
            // One in ten lasts longer than `silence_ms`.
            Kind::Frozen | Kind::FrozenOneWay | Kind::Stopped | Kind::BusStopped
                if self.dice.once_in(10) =>
            {
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

    /// Whether a killed server loses its memory.
    fn loses_memory(&self) -> bool {
        self.faults.loses_disks || self.servers.plan.journal.is_none()
    }

    fn kill(&mut self, target: Target) {
        let Target::Server(server) = target else { return };
        self.servers.all[server].kill();
        if self.faults.loses_disks
            && let Err(why) = self.servers.remove_journal(server)
        {
            self.broken = Some(format!("cannot remove the journal of a killed server: {why}"));
        }
        if self.loses_memory() && !self.faults.is_control {
            self.servers.all[server].losses += 1;
            self.ledger.forget(server);
        }
    }

    /// Ends the fault of `target` after `time`, unless another fault has replaced it by then.
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
            Target::Bus => {
                let Some(bus) = &mut self.servers.bus else { return };
                if bus.is_frozen {
                    bus.freeze(false);
                } else if let Err(why) = bus.start() {
                    self.broken = Some(format!("cannot restart nats-server: {why}"));
                }
            }
            Target::Server(server) if self.servers.all[server].is_frozen => {
                self.servers.all[server].freeze(false);
            }
            Target::Server(server) => {
                if let Err(why) = self.servers.start(server) {
                    self.broken = Some(format!("cannot restart a server: {why}"));
                }
            }
        }
    }
}
