//! The stage of the tests: a reactor on the kernel or in memory, recorders as actors, and `until`, which runs turns
//! until a condition holds. Tests do not sleep. When a condition stays false, the stage panics and prints the log.

// Not every function here has a caller.
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

/// The shared state of the actors: the log, and the number of the turn.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(crate) records: Records,
    pub(crate) turn: u64,
    /// Notes made by closures, each with its turn.
    pub(crate) notes: Vec<(u64, String)>,
    /// Connections by our address and the peer's, if the actors enter them.
    pub(crate) met: BTreeMap<(SocketAddr, SocketAddr), ConnId>,
    /// A connection whose pending bytes are noted before each poll.
    pub(crate) watched: Option<ConnId>,
    /// The counts of the last turn.
    pub(crate) counts: TurnCounts,
    /// The error that the next `before_poll` returns.
    pub(crate) failure: Option<std::io::Error>,
}

impl Scene {
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push((self.turn, note.into()));
    }

    /// The notes without their turns.
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

/// An actor: a protocol that records its calls.
pub(crate) type Actor = Recorder<Scene>;

/// An actor that only records.
pub(crate) fn actor(name: &'static str) -> Actor {
    Recorder::new(name)
}

/// Runs `body`, the body of `test`, in a process of its own, because it changes state of the whole process (a limit,
/// a signal handler) while other tests run in this one.
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

/// A reactor on `I`, with actors.
pub(crate) struct Stage<I: Io> {
    pub(crate) reactor: Reactor<CountingIo<I>, Scene>,
}

/// A stage on the kernel's loopback.
pub(crate) fn kernel(limits: ReactorLimits) -> Stage<MioIo> {
    Stage::over(MioIo::new(&[]).unwrap(), limits)
}

/// A stage in memory.
pub(crate) fn memory(options: MemoryOptions, limits: ReactorLimits) -> Stage<MemoryIo> {
    Stage::over(MemoryIo::new(options), limits)
}

impl<I: Io> Stage<I> {
    pub(crate) fn over(io: I, limits: ReactorLimits) -> Stage<I> {
        Stage { reactor: Reactor::new(CountingIo::new(io), Scene::default(), limits) }
    }

    /// Listens on a free port of 127.0.0.1; `build` makes an actor for each accepted connection.
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

    /// Connects `actor` to `address`.
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

    /// Connects two actors, and waits until both have had `connection_made`.
    pub(crate) fn pair(&mut self, server: Actor, client: Actor) -> SocketAddr {
        let names = [name_of(&server), name_of(&client)];
        let mut server = Some(server);
        let address = self.listen(move || server.take().expect("one connection only"));
        self.connect(address, client);
        self.until_made(&names);
        address
    }

    /// Runs turns until an actor of each of the `names` is connected.
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

    /// Runs one turn, which sleeps at most a millisecond.
    #[track_caller]
    pub(crate) fn turn(&mut self) {
        let wake = self.core().call_later(MS, |_, _| {});
        self.reactor.turn().unwrap();
        let _ = self.core().cancel(wake);
    }

    /// Runs turns until `done` returns true; panics after [`PATIENCE`].
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Scene, &Core<Scene>) -> bool) {
        let deadline = self.core().now() + PATIENCE;
        loop {
            let (scene, core) = self.reactor.parts();
            if done(scene, core) {
                break;
            }
            assert!(core.now() < deadline, "not in time: {what}\n{}", told(&scene.records));
            self.turn();
        }
    }

    /// Runs turns for `time`, to show that nothing happens.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.core().now() + time;
        let wake = self.core().call_later(time, |_, _| {});
        while self.core().now() < end {
            self.reactor.turn().unwrap();
        }
        let _ = self.core().cancel(wake);
    }

    /// Runs turns until the calls of actors called `name`, weighed by `weigh`, add up to `total`. Reads each entry of
    /// the log only once, because logs are long.
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

    /// Runs turns until actors called `name` have lost `count` connections.
    #[track_caller]
    pub(crate) fn until_lost(&mut self, name: &str, count: usize) {
        let lost = |heard: &Heard| usize::from(matches!(heard, Heard::Lost(..)));
        self.until_total(name, "lost", count, lost);
    }

    /// Runs turns until actors called `name` have received `count` bytes.
    #[track_caller]
    pub(crate) fn until_bytes(&mut self, name: &str, count: usize) {
        self.until_total(name, &format!("{count} bytes"), count, |heard| match heard {
            Heard::Data(data) => data.len(),
            _ => 0,
        });
    }

    /// Runs turns until an actor called `name` has had the call `what`.
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

/// The log as text, with long data cut short.
fn told(records: &Records) -> String {
    let mut told = String::new();
    for Record { at, who, id, heard } in &records.log {
        let mut heard = format!("{heard:?}");
        heard.truncate(100);
        told.push_str(&format!("{at:?} {who} {id:?} {heard}\n"));
    }
    told
}

/// A sequence of `count` bytes in which a byte out of place shows.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Tests each promise on the kernel, on a calm in-memory network, and on rough ones.
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
                // Shown when the test fails.
                println!("seed {seed}");
                super::$name(crate::stage::memory(MemoryOptions::rough(seed), $limits));
            }
        }
    })* };
}

/// Tests each promise on the kernel and on a calm in-memory network. For promises about single reads and writes, which
/// a rough network would split.
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
