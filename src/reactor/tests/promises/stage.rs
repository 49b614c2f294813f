//! The stage on which the reactor's promises are played: a reactor over either kernel, recorders as
//! actors, and `until`, which turns it. No sleeps: a stage that waits in vain says what was heard.

// Each test binary uses a part of this.
#![allow(dead_code, unused_macros)]

use herd_reactor::testing::{
    CountingIo, Heard, MemoryIo, MemoryOptions, Record, Recorder, RecordingFactory, Records,
};
use herd_reactor::{
    ClientFactory, ConnId, ConnectOptions, ConnectorId, Core, Io, MioIo, PortId, Protocol, Reactor,
    ReactorLimits, Shared, Signal, TurnCounts,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// How long a stage waits for anything: real seconds on the kernel, virtual ones in memory.
const PATIENCE: Duration = Duration::from_secs(20);

/// A millisecond.
pub(crate) const MS: Duration = Duration::from_millis(1);

/// What the actors share: the log, and the number of the turn.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(crate) records: Records,
    pub(crate) turn: u64,
    /// Remarks of closures, with the turn in which they were made.
    pub(crate) notes: Vec<(u64, String)>,
    /// Connections by their own address and their peer's; for actors that say so.
    pub(crate) met: BTreeMap<(SocketAddr, SocketAddr), ConnId>,
    /// Whose pending bytes are remarked upon before a poll.
    pub(crate) watched: Option<ConnId>,
    /// What the last turn has done.
    pub(crate) counts: TurnCounts,
    /// With what the next turn is to end.
    pub(crate) failure: Option<std::io::Error>,
}

impl Scene {
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push((self.turn, note.into()));
    }

    /// The remarks without their turns.
    pub(crate) fn said(&self) -> Vec<&str> {
        self.notes.iter().map(|(_, note)| note.as_str()).collect()
    }
}

impl Shared for Scene {
    type Message = String;

    fn before_poll(&mut self, core: &mut Core<Scene>, counts: &TurnCounts) -> std::io::Result<()> {
        self.counts = *counts;
        self.turn += 1;
        if let Some(id) = self.watched {
            self.note(format!("{} wait before the poll", core.pending(id)));
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn signalled(&mut self, core: &mut Core<Scene>, signal: Signal) {
        self.note(format!("{signal:?}"));
        core.stop();
    }
}

impl AsMut<Records> for Scene {
    fn as_mut(&mut self) -> &mut Records {
        &mut self.records
    }
}

/// An actor.
pub(crate) type Actor = Recorder<Scene>;

/// An actor that only records.
pub(crate) fn actor(name: &'static str) -> Actor {
    Recorder::new(name)
}

/// Runs `body`, which is the body of `test`, in a process of its own: it changes what is the whole process's
/// (a limit, a signal's handler), and other tests run beside it in this one.
pub(crate) fn in_its_own_process(test: &str, body: impl FnOnce()) {
    const TEST: &str = "HERD_REACTOR_OWN_PROCESS";
    if std::env::var_os(TEST).is_some_and(|own| own == test) {
        return body();
    }
    let mut program = Command::new(std::env::current_exe().unwrap());
    let ran = program.args([test, "--exact", "--nocapture"]).env(TEST, test).output().unwrap();
    let [out, err] = [&ran.stdout, &ran.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(ran.status.success() && out.contains("1 passed"), "{out}{err}");
}

/// A reactor over `I`, and what its actors have done.
pub(crate) struct Stage<I: Io> {
    pub(crate) reactor: Reactor<CountingIo<I>, Scene>,
}

/// On the kernel's loopback.
pub(crate) fn kernel(limits: ReactorLimits) -> Stage<MioIo> {
    Stage::over(MioIo::new(&[]).unwrap(), limits)
}

/// In memory.
pub(crate) fn memory(options: MemoryOptions, limits: ReactorLimits) -> Stage<MemoryIo> {
    Stage::over(MemoryIo::new(options), limits)
}

impl<I: Io> Stage<I> {
    pub(crate) fn over(io: I, limits: ReactorLimits) -> Stage<I> {
        Stage { reactor: Reactor::new(CountingIo::new(io), Scene::default(), limits) }
    }

    /// Listens on a free port of 127.0.0.1; `build` makes an actor for each connection.
    pub(crate) fn listen(&mut self, build: impl FnMut() -> Actor + 'static) -> SocketAddr {
        self.listen_as(build).1
    }

    pub(crate) fn listen_as(
        &mut self,
        mut build: impl FnMut() -> Actor + 'static,
    ) -> (PortId, SocketAddr) {
        let factory = RecordingFactory::by("port", move |_, _| Some(build()));
        self.reactor.listen_tcp("127.0.0.1:0".parse().unwrap(), factory).unwrap()
    }

    /// Asks for a connection to `address` for `actor`.
    pub(crate) fn connect(&mut self, address: SocketAddr, actor: Actor) -> ConnectorId {
        self.connect_by(address, ConnectOptions::default(), once("connector", actor))
    }

    pub(crate) fn connect_by(
        &mut self,
        address: SocketAddr,
        options: ConnectOptions,
        factory: Box<dyn ClientFactory<Scene>>,
    ) -> ConnectorId {
        self.core().connect_tcp(address, options, factory)
    }

    /// A connection between two actors that both have heard of it.
    pub(crate) fn pair(&mut self, server: Actor, client: Actor) -> SocketAddr {
        let names = [name_of(&server), name_of(&client)];
        let mut server = Some(server);
        let address = self.listen(move || server.take().expect("one connection only"));
        self.connect(address, client);
        self.until_made(&names);
        address
    }

    /// Turns until there are actors of all these `names`, each connected.
    #[track_caller]
    pub(crate) fn until_made(&mut self, names: &[&str]) {
        self.until(&format!("{names:?} are connected"), |scene, _| {
            names.iter().all(|name| scene.records.id(name).is_some())
        });
    }

    pub(crate) fn core(&mut self) -> &mut Core<Scene> {
        self.reactor.parts().1
    }

    pub(crate) fn scene(&mut self) -> &mut Scene {
        self.reactor.state()
    }

    pub(crate) fn records(&mut self) -> &mut Records {
        &mut self.reactor.state().records
    }

    /// The connection of the latest actor called `name`.
    #[track_caller]
    pub(crate) fn id(&mut self, name: &str) -> ConnId {
        self.records().id(name).unwrap_or_else(|| panic!("{name} has not been connected"))
    }

    #[track_caller]
    pub(crate) fn write(&mut self, name: &str, data: &[u8]) {
        let id = self.id(name);
        self.core().write(id, data);
    }

    /// Turns once, and sleeps a millisecond at most.
    #[track_caller]
    pub(crate) fn turn(&mut self) {
        let wake = self.core().call_later(MS, |_, _| {});
        self.reactor.turn().unwrap();
        let _ = self.core().cancel(wake);
    }

    /// Turns until `done`; fails when that takes too long.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Scene, &Core<Scene>) -> bool) {
        let deadline = self.core().now() + PATIENCE;
        loop {
            let (scene, core) = self.reactor.parts();
            if done(scene, core) {
                break;
            }
            assert!(core.now() < deadline, "never: {what}\n{}", told(&scene.records));
            self.turn();
        }
    }

    /// Turns until so much time has passed: to see that nothing happens.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.core().now() + time;
        let wake = self.core().call_later(time, |_, _| {});
        while self.core().now() < end {
            self.reactor.turn().unwrap();
        }
        let _ = self.core().cancel(wake);
    }

    /// Turns until what actors called `name` hear comes to `total`, counted by `weigh`. Looks at each
    /// line of the log once: logs are long.
    #[track_caller]
    fn until_total(
        &mut self,
        name: &str,
        what: &str,
        total: usize,
        weigh: impl Fn(&Heard) -> usize,
    ) {
        let (mut seen, mut sum) = (0, 0);
        self.until(&format!("{name}: {what}"), |scene, _| {
            let new = scene.records.log[seen..].iter().filter(|record| record.who == name);
            sum += new.map(|record| weigh(&record.heard)).sum::<usize>();
            seen = scene.records.log.len();
            sum >= total
        });
    }

    /// Turns until actors called `name` have lost `count` connections.
    #[track_caller]
    pub(crate) fn until_lost(&mut self, name: &str, count: usize) {
        let lost = |heard: &Heard| usize::from(matches!(heard, Heard::Lost(..)));
        self.until_total(name, "lost", count, lost);
    }

    /// Turns until actors called `name` have been given `count` bytes.
    #[track_caller]
    pub(crate) fn until_bytes(&mut self, name: &str, count: usize) {
        self.until_total(name, &format!("{count} bytes"), count, |heard| match heard {
            Heard::Data(data) => data.len(),
            _ => 0,
        });
    }

    /// Turns until an actor called `name` has heard `what`.
    #[track_caller]
    pub(crate) fn until_heard(&mut self, name: &str, what: &Heard) {
        self.until_total(name, &format!("{what:?}"), 1, |heard| usize::from(heard == what));
    }
}

fn name_of(actor: &Actor) -> &'static str {
    actor.name()
}

/// A factory for one actor.
pub(crate) fn once(name: &'static str, actor: Actor) -> Box<RecordingFactory<Scene>> {
    let mut actor = Some(actor);
    RecordingFactory::by(name, move |_, _| actor.take())
}

/// The log, long data cut short.
fn told(records: &Records) -> String {
    let mut told = String::new();
    for Record { at, who, id, heard } in &records.log {
        let mut heard = format!("{heard:?}");
        heard.truncate(100);
        told.push_str(&format!("{at:?} {who} {id:?} {heard}\n"));
    }
    told
}

/// Bytes that tell their place: `count` of them.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Runs each promise on the kernel, on a calm network in memory, and on rough ones.
macro_rules! on_every_network {
    ($limits:expr => $($name:ident)*) => { $(mod $name {
        #[allow(unused_imports)]
        use super::*;

        #[test]
        fn on_the_kernel() {
            super::$name(crate::stage::kernel($limits));
        }

        #[test]
        fn in_memory() {
            super::$name(crate::stage::memory(MemoryOptions::calm(0), $limits));
        }

        #[test]
        fn in_rough_memory() {
            for seed in 1..=5 {
                // Shown when the promise is broken.
                println!("seed {seed}");
                super::$name(crate::stage::memory(MemoryOptions::rough(seed), $limits));
            }
        }
    })* };
}

/// Likewise, for promises about single reads and writes, which a rough network cuts in pieces.
macro_rules! on_calm_networks {
    ($limits:expr => $($name:ident)*) => { $(mod $name {
        #[allow(unused_imports)]
        use super::*;

        #[test]
        fn on_the_kernel() {
            super::$name(crate::stage::kernel($limits));
        }

        #[test]
        fn in_memory() {
            super::$name(crate::stage::memory(MemoryOptions::calm(0), $limits));
        }
    })* };
}
