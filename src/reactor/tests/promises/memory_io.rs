//! Tests that need the in-memory network: faults on demand, clocks that are set, a process out of descriptors, and
//! runs that repeat from their seed.

use crate::stage::{MS, Scene, Stage, actor, memory, once, pattern};
use herd_reactor::io::{Addrs, Close, Event};
use herd_reactor::testing::{
    CountingIo, Datagram, Heard, MemoryIo, MemoryOptions, NetworkFault, RecordingFactory, Segment,
    SegmentKind,
};
use herd_reactor::{
    Backoff, ConnId, ConnectOptions, Context, Filter, Flow, Io, Moment, PortId, Protocol, Reactor,
    ReactorLimits, Signal, UnixNanos, factory,
};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn calm() -> Stage<MemoryIo> {
    memory(MemoryOptions::calm(0), ReactorLimits::default())
}

fn with(options: MemoryOptions) -> Stage<MemoryIo> {
    memory(options, ReactorLimits::default())
}

fn network(stage: &mut Stage<MemoryIo>) -> &mut MemoryIo {
    stage.reactor.io().inner()
}

// Seeds and clocks.

/// Runs five echoing connections, one of them aborted, on a rough network. Returns the whole log.
fn play(seed: u64) -> String {
    let mut stage = with(MemoryOptions { connect_failures: 0.3, ..MemoryOptions::rough(seed) });
    let address = stage.listen(|| {
        actor("server").on(|cx, heard| {
            if let Heard::Data(data) = heard {
                cx.write(data);
            }
            Ok(())
        })
    });
    for name in ["a", "b", "c", "d", "e"] {
        let backoff = Backoff::new(MS, 100 * MS, 2.0, 0.5);
        let options = ConnectOptions { reconnect: Some(backoff), ..ConnectOptions::default() };
        let factory = RecordingFactory::by(name, move |_, _| {
            Some(actor(name).on(|cx, heard| {
                if *heard == Heard::Made {
                    let most = cx.core.random() as usize % 5_000;
                    cx.write(&pattern(most));
                }
                Ok(())
            }))
        });
        stage.connect_by(address, options, factory);
    }
    stage.pass(20 * MS);
    if let Some(id) = stage.records().id("c") {
        stage.core().abort_connection(id);
    }
    stage.pass(SECOND);
    stage.records().to_string()
}

#[test]
fn the_same_seed_gives_the_same_log_byte_for_byte() {
    for seed in 0..10 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
    assert_ne!(play(1), play(2));
    assert!(play(1).len() > 10_000, "the log is long enough to compare");
}

#[test]
fn a_poll_that_would_never_end_fails() {
    let mut stage = calm();
    stage.pair(actor("server"), actor("client"));
    // Cancelled timers may still wake the loop.
    let error = (0..10).find_map(|_| stage.reactor.turn().err());
    assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Deadlock));
}

#[test]
fn hours_pass_in_no_time() {
    let mut stage = calm();
    stage.core().call_later(10_000 * 3_600 * SECOND, |_, core| core.stop());
    stage.reactor.run().unwrap();
    assert!(stage.core().now() >= Moment::default() + 10_000 * 3_600 * SECOND);
}

#[test]
fn the_wall_clock_is_fresh_in_every_call() {
    // Each segment is under way for a second, while the loop sleeps.
    let mut stage = with(MemoryOptions { delay: SECOND..=SECOND, ..MemoryOptions::calm(0) });
    let tell = |name| {
        actor(name).on(|cx, heard| {
            if let Heard::Made | Heard::Data(_) | Heard::ReadLost = heard {
                let wall = cx.wall().0;
                cx.state.note(wall.to_string());
            }
            Ok(())
        })
    };
    let address = stage.listen(move || tell("server"));
    let begin = network(&mut stage).options().wall.0;
    stage.connect(
        address,
        actor("client").on(|cx, heard| {
            if *heard == Heard::Made {
                cx.write(b"x");
                cx.core.lose_write_connection(cx.id);
            }
            Ok(())
        }),
    );
    stage.until_lost("server", 1);
    let told = stage
        .scene()
        .said()
        .into_iter()
        .map(|wall| Duration::from_nanos(wall.parse::<u64>().unwrap() - begin).as_secs());
    // The SYN took a second, and so did its answer; then data and end arrived together.
    assert_eq!(told.collect::<Vec<_>>(), [1, 3, 3]);
}

#[test]
fn timers_do_not_care_when_the_wall_clock_is_set() {
    let mut stage = calm();
    for back in [true, false] {
        let set = stage.core().now();
        stage.core().call_later(SECOND, |scene, core| {
            scene.note(core.now().as_nanos().to_string());
        });
        let wall = if back { UnixNanos(1) } else { UnixNanos(4_000_000_000_000_000_000) };
        network(&mut stage).set_wall(wall);
        stage.pass(2 * SECOND);
        let ran = Moment::from_nanos(stage.scene().said().last().unwrap().parse().unwrap());
        let late = ran - (set + SECOND);
        assert!(late < MS, "{late:?}");
        assert!(stage.core().wall().0 >= wall.0 + 2_000_000_000);
    }
}

#[test]
fn a_wall_clock_that_goes_wrong_gains_what_it_should() {
    let mut stage = calm();
    network(&mut stage).set_wall(UnixNanos(1_000_000_000));
    network(&mut stage).set_wall_skew(100_000);
    let began = stage.core().now();
    stage.pass(10 * SECOND);
    let passed = stage.core().now() - began;
    stage.core().call_later(Duration::ZERO, |_, _| {});
    stage.turn();
    let shown = Duration::from_nanos(stage.core().wall().0 - 1_000_000_000);
    assert!(shown >= passed.mul_f64(1.1) && shown < passed.mul_f64(1.1) + 5 * MS, "{shown:?}");
}

/// An `Io` of which only the clock and the poll are used. The test's calls share the clock, and move it to simulate
/// taking time.
#[derive(Debug)]
struct Slow {
    clock: Rc<Cell<Moment>>,
    /// The timeout of each poll.
    asked: Vec<Option<Duration>>,
    read: u32,
}

#[rustfmt::skip]
impl Io for Slow {
    fn now(&mut self) -> Moment {
        self.read += 1;
        self.clock.get()
    }
    fn poll(&mut self, timeout: Option<Duration>, _: &mut Vec<Event>) -> io::Result<()> {
        self.asked.push(timeout);
        self.clock.set(self.clock.get() + timeout.unwrap_or_default());
        Ok(())
    }
    fn wall(&mut self) -> UnixNanos { UnixNanos(0) }
    fn random(&mut self) -> u64 { 0 }
    fn listen(&mut self, _: PortId, _: SocketAddr) -> io::Result<SocketAddr> { unreachable!() }
    fn listen_unix(&mut self, _: PortId, _: &Path) -> io::Result<()> { unreachable!() }
    fn unlisten(&mut self, _: PortId) { unreachable!() }
    fn accept(&mut self, _: PortId, _: ConnId) -> io::Result<Addrs> { unreachable!() }
    fn shed(&mut self, _: PortId, _: usize) -> Result<usize, usize> { unreachable!() }
    fn connect(&mut self, _: ConnId, _: SocketAddr) -> io::Result<()> { unreachable!() }
    fn connected(&mut self, _: ConnId) -> io::Result<Option<Addrs>> { unreachable!() }
    fn connect_udp(&mut self, _: ConnId, _: SocketAddr) -> io::Result<Addrs> { unreachable!() }
    fn read(&mut self, _: ConnId, _: &mut [u8]) -> io::Result<usize> { unreachable!() }
    fn write(&mut self, _: ConnId, _: &[u8]) -> io::Result<usize> { unreachable!() }
    fn shutdown(&mut self, _: ConnId) -> io::Result<()> { unreachable!() }
    fn close(&mut self, _: ConnId, _: Close) { unreachable!() }
}

#[test]
fn the_time_that_a_timer_takes_is_not_slept_once_more() {
    let clock = Rc::new(Cell::new(Moment::default()));
    let io = Slow { clock: Rc::clone(&clock), asked: Vec::new(), read: 0 };
    let mut reactor = Reactor::new(io, Scene::default(), ReactorLimits::default());
    let core = reactor.parts().1;
    core.call_later(Duration::ZERO, move |_, _| clock.set(clock.get() + 60 * MS));
    for millis in [100, 160] {
        core.call_later(millis * MS, move |scene, core| {
            scene.note(core.now().as_nanos().to_string());
        });
    }
    reactor.io().read = 0;
    (0..3).for_each(|_| reactor.turn().unwrap());
    assert_eq!(reactor.io().asked, [Some(40 * MS), Some(60 * MS), None]);
    assert_eq!(reactor.state().said(), ["100000000", "160000000"]);
    assert_eq!(reactor.io().read, 9, "before the calls, after them, after the poll");
}

#[test]
fn a_turn_reads_the_clock_three_times() {
    let mut stage = calm();
    stage.pair(actor("server"), actor("client"));
    stage.pass(SECOND);
    stage.core().call_later(SECOND, |_, _| {});
    stage.reactor.io().take();
    stage.turn();
    let counts = stage.reactor.io().take();
    assert_eq!((counts.polls, counts.clocks), (1, 3));
}

#[test]
fn the_counts_of_a_turn_tell_how_long_the_poll_before_it_slept() {
    let mut stage = calm();
    stage.core().call_later(5 * MS, |_, _| {});
    stage.reactor.turn().unwrap();
    stage.turn();
    let counts = stage.scene().counts;
    // A poll of this network takes a microsecond more.
    assert_eq!((counts.slept, counts.timers), (5 * MS + Duration::from_micros(1), 1));
}

/// A filter that changes the case of each byte, around nothing.
struct Shouting;

impl Protocol<(Vec<u8>,)> for Shouting {
    fn as_filter(&mut self) -> Option<&mut dyn Filter<(Vec<u8>,)>> {
        Some(self)
    }

    fn data_received(&mut self, cx: &mut Context<'_, (Vec<u8>,)>, data: &[u8]) -> Flow {
        cx.state.0.extend_from_slice(data);
        Ok(())
    }
}

impl Filter<(Vec<u8>,)> for Shouting {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, _: bool) -> Flow {
        wire.extend(plain.drain(..).map(|byte| byte ^ 32));
        Ok(())
    }
}

#[test]
fn a_filter_also_encodes_what_its_factory_has_written() {
    let io = MemoryIo::new(MemoryOptions::calm(0));
    let mut reactor = Reactor::new(io, (Vec::new(),), ReactorLimits::default());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, address) = reactor.listen_tcp(any, factory(|_, _| Some(Shouting))).unwrap();
    let client = factory(|cx: &mut Context<'_, (Vec<u8>,)>, _| {
        cx.write(b"secret");
        Some(Shouting)
    });
    reactor.connect_tcp(address, ConnectOptions::default(), client);
    while reactor.state().0.is_empty() {
        reactor.turn().unwrap();
    }
    assert_eq!(reactor.state().0, b"SECRET");
}

// Faults.

#[test]
fn a_connection_that_nobody_answers_times_out() {
    let mut stage = calm();
    let address = stage.listen(|| actor("server"));
    network(&mut stage).fault(address, NetworkFault::Blackhole);
    let options = ConnectOptions { timeout: 3 * SECOND, reconnect: None };
    stage.connect_by(address, options, once("connector", actor("client")));
    let began = stage.core().now();
    stage.until_heard("connector", &Heard::Failed("TimeoutError", None));
    let took = stage.core().now() - began;
    assert!(took >= 3 * SECOND && took < 3 * SECOND + MS, "{took:?}");
    stage.pass(MS);
    assert_eq!((stage.core().connections(), stage.core().timers_pending()), (0, 0));
}

#[test]
fn stop_trying_during_an_unanswered_attempt_is_a_failure_at_once() {
    let mut stage = calm();
    let address = stage.listen(|| actor("server"));
    network(&mut stage).fault(address, NetworkFault::Blackhole);
    let connector = stage.connect(address, actor("client"));
    stage.pass(SECOND);
    stage.core().stop_trying(connector);
    stage.pass(MS);
    assert_eq!(stage.records().heard("connector"), [&Heard::Failed("ConnectionAborted", None)]);
    assert_eq!(stage.core().timers_pending(), 0);
}

#[test]
fn a_refused_port_is_reached_when_it_listens_again() {
    let mut stage = calm();
    let address = stage.listen(|| actor("server"));
    network(&mut stage).fault(address, NetworkFault::Refuse);
    let backoff = Backoff::new(SECOND, 5 * SECOND, 2.0, 0.0);
    let options = ConnectOptions { reconnect: Some(backoff), ..ConnectOptions::default() };
    let factory = RecordingFactory::by("connector", |_, _| Some(actor("client")));
    stage.connect_by(address, options, factory);
    // The attempts begin after 0, 1, 3, 7 and 12 seconds.
    stage.pass(9 * SECOND);
    network(&mut stage).heal(address);
    stage.until_made(&["client"]);
    let failures = stage.records().count("connector", |h| matches!(h, Heard::Failed(..)));
    assert_eq!(failures, 4);
    assert_eq!(stage.core().now().as_nanos() / 1_000_000_000, 12);
}

#[test]
fn what_a_frozen_link_held_arrives_when_it_thaws() {
    let mut stage = calm();
    let address = stage.pair(actor("server"), actor("client"));
    network(&mut stage).fault(address, NetworkFault::Freeze);
    stage.write("client", b"cold ");
    stage.write("server", b"ice");
    stage.pass(SECOND);
    stage.write("client", b"feet");
    let client = stage.id("client");
    stage.core().lose_connection(client);
    stage.pass(SECOND);
    assert_eq!(stage.records().bytes("server"), b"");
    network(&mut stage).heal(address);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("server"), b"cold feet");
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

#[test]
fn bytes_are_unread_from_the_write_until_the_peer_has_said_that_it_has_read_them() {
    let narrow = MemoryOptions { receive_window_bytes: 100, ..MemoryOptions::calm(0) };
    let mut stage = with(MemoryOptions { delay: SECOND..=SECOND, ..narrow });
    stage.pair(actor("server"), actor("client"));
    let [client, server] = ["client", "server"].map(|name| stage.id(name));
    stage.core().pause_producing(server);
    stage.write("client", &pattern(250));
    stage.turn();
    assert_eq!(network(&mut stage).unread_bytes(client), 250, "100 are under way, 150 wait");
    stage.pass(5 * SECOND);
    assert_eq!(network(&mut stage).unread_bytes(client), 250, "100 have arrived");
    stage.core().resume_producing(server);
    stage.until_bytes("server", 100);
    stage.pass(1_001 * MS);
    assert_eq!(network(&mut stage).unread_bytes(client), 150);
    stage.until_bytes("server", 250);
    stage.pass(1_001 * MS);
    assert_eq!(network(&mut stage).unread_bytes(client), 0);
    assert_eq!(network(&mut stage).unread_bytes(server), 0);
}

#[test]
fn a_partition_holds_what_stands_and_answers_nobody_new() {
    let mut stage = calm();
    let mut names = ["old server", "new server"].into_iter();
    let address = stage.listen(move || actor(names.next().unwrap()));
    stage.connect(address, actor("old"));
    stage.until_made(&["old", "old server"]);
    network(&mut stage).fault(address, NetworkFault::Partition);
    stage.write("old", b"held");
    let options = ConnectOptions { timeout: SECOND, reconnect: None };
    stage.connect_by(address, options, once("connector 2", actor("new")));
    stage.until_heard("connector 2", &Heard::Failed("TimeoutError", None));
    network(&mut stage).heal(address);
    stage.until_bytes("old server", 4);
}

#[test]
fn a_connection_reset_by_the_network_is_lost_at_both_ends() {
    let mut stage = calm();
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    network(&mut stage).reset(client);
    stage.until_lost("client", 1);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionLost"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionLost"]);
}

#[test]
fn an_accept_that_fails_costs_one_connection_and_not_the_batch() {
    let mut stage = with(MemoryOptions { accept_failures: 0.5, ..MemoryOptions::calm(7) });
    let address = stage.listen(|| actor("server"));
    for _ in 0..50 {
        stage.connect(address, actor("client"));
    }
    stage.pass(SECOND);
    let accepted = stage.records().count("server", |heard| *heard == Heard::Made);
    let reset = stage.records().lost("client").len();
    assert_eq!(accepted + reset, 50);
    assert!(accepted > 5 && reset > 5, "{accepted} {reset}");
}

#[test]
fn a_connection_that_finds_the_backlog_full_is_accepted_later() {
    let mut stage = with(MemoryOptions { backlog: 3, ..MemoryOptions::calm(0) });
    let address = stage.listen(|| actor("server"));
    for _ in 0..10 {
        stage.connect(address, actor("client"));
    }
    stage.until("all got in", |scene, _| {
        scene.records.count("server", |heard| *heard == Heard::Made) == 10
    });
    assert!(stage.core().now() >= Moment::default() + 3 * SECOND);
}

// Descriptors.

#[test]
fn a_process_out_of_descriptors_turns_away_and_does_not_spin() {
    // There is room for the port and eleven connections.
    let mut stage = with(MemoryOptions { descriptors_max: 12, ..MemoryOptions::calm(0) });
    let address = stage.listen(|| actor("server"));
    // Nine clients leave two descriptors for the server.
    for _ in 0..9 {
        stage.connect(address, actor("client"));
    }
    stage.turn();
    stage.pass(SECOND);
    let made = stage.records().count("server", |heard| *heard == Heard::Made);
    assert_eq!(made, 2, "nine clients, one port, two free");
    assert_eq!(stage.records().lost("client").len(), 7, "the others were closed");
    // The rejected clients are gone, so there is room again, and the port accepts the next one.
    stage.connect(address, actor("late"));
    stage.until("the late one was accepted", |scene, _| {
        scene.records.count("server", |heard| *heard == Heard::Made) == 3
    });
    stage.reactor.io().take();
    stage.pass(10 * SECOND);
    let counts = stage.reactor.io().take();
    assert!(counts.polls < 10 && counts.accepts <= 1, "{counts:?}");
}

#[test]
fn a_full_process_sheds_in_batches_and_strands_nobody() {
    const WAITING: usize = 450;
    let mut stage = with(MemoryOptions::calm(0));
    let address = stage.listen(|| actor("server"));
    for _ in 0..WAITING {
        stage.connect(address, actor("client").stays());
    }
    // All clients are in the backlog when the limit is lowered.
    stage.core().call_later(Duration::ZERO, |_, _| {});
    let full = stage.reactor.io().inner().options();
    full.descriptors_max = usize::MAX;
    stage.turn();
    let open = network(&mut stage).descriptors();
    network(&mut stage).options().descriptors_max = open;
    stage.reactor.io().take();
    stage.pass(5 * SECOND);
    let counts = stage.reactor.io().take();
    let accepted = stage.records().count("server", |heard| *heard == Heard::Made);
    let turned_away = stage.records().count("client", |heard| *heard == Heard::ReadLost);
    assert_eq!(accepted + turned_away, WAITING, "no connection waits for ever");
    assert!(counts.accepts < 200 && counts.sheds < 20 && counts.polls < 200, "{counts:?}");
}

#[test]
fn a_throttled_warning_has_a_timer_only_while_something_is_counted() {
    let mut stage = calm();
    let mut warn = |times, timers| {
        let what = format_args!("limit: n = 1");
        stage.core().log_throttled(log::Level::Warn, ("n", 0), what, times, "cut");
        assert_eq!(stage.core().timers_pending(), timers);
    };
    warn(1, 0);
    warn(1, 1);
    warn(71, 1);
    stage.pass(SECOND + MS);
    assert_eq!(stage.core().timers_pending(), 0, "after the line a second later no timer is left");
    stage.reactor.io().take();
    stage.pass(3_600 * SECOND);
    let polls = stage.reactor.io().take().polls;
    assert!(polls <= 2, "an idle server sleeps: {polls} polls in an hour");
}

#[test]
fn a_connect_without_a_descriptor_is_a_failure() {
    let mut stage = with(MemoryOptions { descriptors_max: 1, ..MemoryOptions::calm(0) });
    let address = stage.listen(|| actor("server"));
    stage.connect(address, actor("client"));
    stage.until_heard("connector", &Heard::Failed("ConnectError", None));
}

// Signals.

#[test]
fn a_signal_reaches_what_is_shared() {
    let mut stage = calm();
    stage.pair(actor("server"), actor("client"));
    network(&mut stage).signal(Signal::Terminate);
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), ["Terminate"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

// Several reactors.

/// Two reactors and their segments: the smallest simulator.
struct Pair {
    reactors: [Reactor<MemoryIo, Scene>; 2],
    now: Moment,
    /// The segments under way.
    segments: Vec<Segment>,
    /// Whether the cable is cut.
    cut: bool,
    /// Whether the first reactor's process is stopped or killed; then only its kernel goes on.
    stopped: bool,
    carried: usize,
}

impl Pair {
    const HOSTS: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    ];

    fn new(seed: u64) -> Pair {
        let reactors = Pair::HOSTS.map(|host| {
            let io = MemoryIo::external_clock(MemoryOptions { host, ..MemoryOptions::rough(seed) });
            Reactor::new(io, Scene::default(), ReactorLimits::default())
        });
        let (now, segments) = (Moment::default(), Vec::new());
        Pair { reactors, now, segments, cut: false, stopped: false, carried: 0 }
    }

    /// Runs a turn of each reactor that has something to do, carries their segments, and moves the clock to the
    /// next event, until `end`.
    fn run(&mut self, end: Moment) {
        // The test may have made requests from outside.
        let asked = self.reactors.iter_mut().skip(usize::from(self.stopped));
        asked.for_each(|reactor| reactor.turn().unwrap());
        while self.now < end {
            let now = self.now;
            for (reactor, host) in self.reactors.iter_mut().zip(Pair::HOSTS) {
                let (due, later) =
                    std::mem::take(&mut self.segments).into_iter().partition(|segment| {
                        !self.cut && segment.to.ip() == host && segment.arrives <= now
                    });
                self.segments = later;
                let due: Vec<Segment> = due;
                reactor.io().advance(now);
                let wake = !due.is_empty() || reactor.io().next_wake().is_some_and(|at| at <= now);
                self.carried += due.len();
                due.into_iter().for_each(|segment| reactor.io().put_segment(segment));
                if self.stopped && host == Pair::HOSTS[0] {
                    reactor.io().arrive();
                } else if wake {
                    reactor.turn().unwrap();
                }
                self.segments.extend(reactor.io().take_segments());
            }
            let stopped = self.stopped;
            let wakes = self.reactors.iter_mut().enumerate().filter_map(|(index, reactor)| {
                match stopped && index == 0 {
                    true => reactor.io().next_arrival(),
                    false => reactor.io().next_wake(),
                }
            });
            let segments =
                self.segments.iter().filter(|_| !self.cut).map(|segment| segment.arrives);
            let next = wakes.chain(segments).min().unwrap_or(end);
            // A poll takes time here too.
            self.now = next.max(now + Duration::from_micros(1)).min(end);
        }
    }

    fn scene(&mut self, which: usize) -> &mut Scene {
        self.reactors[which].state()
    }
}

/// Two reactors; the second one's client is connected to the first one's echo server.
fn connected(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    let echo = RecordingFactory::by("port", |_, _| {
        Some(actor("server").on(|cx, heard| {
            if let Heard::Data(data) = heard {
                cx.write(data);
            }
            Ok(())
        }))
    });
    let any = SocketAddr::new(Pair::HOSTS[0], 0);
    let (_, address) = pair.reactors[0].listen_tcp(any, echo).unwrap();
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.write(&pattern(100_000));
        }
        Ok(())
    });
    let core = pair.reactors[1].parts().1;
    core.connect_tcp(address, ConnectOptions::default(), once("connector", client));
    pair
}

#[test]
fn two_reactors_meet_when_somebody_carries_their_frames() {
    for seed in 0..5 {
        let mut pair = connected(seed);
        pair.run(Moment::default() + 10 * SECOND);
        assert!(pair.scene(1).records.bytes("client") == pattern(100_000), "seed {seed}");
        assert!(pair.carried > 100);
        let client = pair.scene(1).records.id("client").unwrap();
        pair.reactors[1].parts().1.lose_connection(client);
        pair.run(Moment::default() + 20 * SECOND);
        assert_eq!(pair.scene(0).records.lost("server"), ["ConnectionDone"]);
        assert_eq!(pair.scene(1).records.lost("client"), ["ConnectionDone"]);
    }
}

#[test]
fn frames_can_be_held_and_delivered_later() {
    let mut pair = connected(3);
    pair.run(Moment::default() + MS);
    pair.cut = true;
    let before = pair.carried;
    pair.run(Moment::default() + 5 * SECOND);
    assert_eq!(pair.carried, before);
    assert!(pair.scene(1).records.bytes("client").len() < 100_000);
    pair.cut = false;
    pair.run(Moment::default() + 10 * SECOND);
    assert!(pair.scene(1).records.bytes("client") == pattern(100_000));
}

#[test]
fn under_a_process_that_is_stopped_the_kernel_goes_on() {
    for seed in 0..5 {
        let mut pair = connected(seed);
        pair.stopped = true;
        pair.run(Moment::default() + 5 * SECOND);
        // The kernel has accepted the connection and some data, which the process has not read.
        assert!(pair.scene(1).records.id("client").is_some(), "seed {seed}");
        assert!(pair.scene(0).records.id("server").is_none());
        assert!(pair.carried > 2);
        pair.stopped = false;
        pair.run(Moment::default() + 10 * SECOND);
        assert!(pair.scene(1).records.bytes("client") == pattern(100_000), "seed {seed}");
    }
}

#[test]
fn what_is_under_way_can_be_taken_back() {
    let mut io = MemoryIo::external_clock(MemoryOptions::calm(0));
    let [here, there] = ["10.0.0.1:1", "10.0.0.2:2"].map(|address| address.parse().unwrap());
    let arrivals = [2, 1, 3].map(|second| Moment::default() + second * SECOND);
    for arrives in arrivals {
        io.put_segment(Segment { from: there, to: here, arrives, kind: SegmentKind::Syn });
    }
    io.advance(arrivals[1]);
    io.arrive();
    // The arrived segment is answered; the others are returned, in the order of arrival.
    assert_eq!(io.take_segments().len(), 1);
    let left: Vec<Moment> = io.take_under_way().iter().map(|segment| segment.arrives).collect();
    assert_eq!(left, [arrivals[0], arrivals[2]]);
    assert_eq!(io.next_arrival(), None);
}

#[test]
fn of_a_process_that_is_killed_the_kernel_sends_the_rest_and_closes() {
    for seed in 0..5 {
        let mut pair = connected(seed);
        pair.run(Moment::default() + 10 * SECOND);
        let client = pair.reactors[1].io().connections()[0];
        let address = pair.reactors[1].parts().1.transport(client).unwrap().addrs().peer;
        let last = pattern(10_000);
        let server = pair.scene(0).records.id("server").unwrap();
        pair.reactors[0].parts().1.write(server, &last);
        pair.reactors[0].turn().unwrap();
        pair.reactors[0].io().kill();
        pair.stopped = true;
        let segments = pair.reactors[0].io().take_segments();
        pair.segments.extend(segments);
        assert_eq!(pair.reactors[0].io().descriptors(), 0);
        pair.run(Moment::default() + 15 * SECOND);
        // The killed process made one write, which may have been short.
        let heard = pair.scene(1).records.bytes("client");
        let rest = heard.strip_prefix(&pattern(100_000)[..]).unwrap();
        assert!(!rest.is_empty() && last.starts_with(rest), "seed {seed}");
        assert_eq!(pair.scene(1).records.lost("client"), ["ConnectionDone"]);
        let another = once("another", actor("client"));
        let core = pair.reactors[1].parts().1;
        core.connect_tcp(address, ConnectOptions::default(), another);
        pair.run(Moment::default() + 20 * SECOND);
        let refused = Heard::Failed("ConnectError", None);
        assert_eq!(pair.scene(1).records.heard("another"), [&refused], "seed {seed}");
    }
}

#[test]
fn a_frame_to_nobody_is_answered_with_a_reset() {
    let mut io = MemoryIo::external_clock(MemoryOptions::calm(0));
    let [here, there] = ["10.0.0.1:1", "10.0.0.2:2"].map(|address| address.parse().unwrap());
    let kind = SegmentKind::Data(b"?".to_vec());
    io.put_segment(Segment { from: there, to: here, arrives: Moment::default(), kind });
    let mut reactor = Reactor::new(CountingIo::new(io), Scene::default(), ReactorLimits::default());
    reactor.turn().unwrap();
    let answers = reactor.io().inner().take_segments();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].to, &answers[0].kind), (there, &SegmentKind::Reset));
}

#[test]
fn a_port_at_a_path_is_reached_by_its_address() {
    let mut stage = memory(MemoryOptions::calm(0), ReactorLimits::default());
    let path = Path::new("run/Alford.sock");
    let listen = |stage: &mut Stage<MemoryIo>| {
        stage.reactor.listen_unix(path, RecordingFactory::by("port", |_, _| Some(actor("server"))))
    };
    let port = listen(&mut stage).unwrap();
    assert_eq!(listen(&mut stage).unwrap_err().kind(), ErrorKind::AddrInUse);
    let address = stage.reactor.io().inner().address_of(path).unwrap();
    stage.connect(address, actor("client"));
    stage.until_made(&["server", "client"]);
    stage.core().stop_listening(port);
    stage.pass(SECOND);
    assert_eq!(stage.reactor.io().inner().address_of(path), None);
    listen(&mut stage).unwrap();
}

// Datagrams.

fn names() -> SocketAddr {
    "127.0.0.1:53".parse().unwrap()
}

/// A stage with a played port for datagrams and a client that is connected to it.
fn asking(options: MemoryOptions) -> (Stage<MemoryIo>, ConnId) {
    let mut stage = with(options);
    network(&mut stage).play_datagrams(names());
    stage.core().connect_udp(names(), once("connector", actor("client").stays()));
    stage.until_made(&["client"]);
    let id = stage.id("client");
    (stage, id)
}

/// Sends twenty datagrams, one per turn. Returns those that arrive within a second.
fn twenty(options: MemoryOptions) -> Vec<u8> {
    let (mut stage, id) = asking(options);
    for number in 0..20 {
        stage.core().write(id, &[number]);
        stage.core().call_later(Duration::ZERO, |_, _| {});
        stage.turn();
    }
    stage.pass(SECOND);
    network(&mut stage).take_datagrams().iter().map(|datagram| datagram.bytes[0]).collect()
}

#[test]
fn datagrams_get_lost_and_overtake_each_other_as_the_options_say() {
    let all: Vec<u8> = (0..20).collect();
    assert_eq!(twenty(MemoryOptions::calm(0)), all);
    let lossy = MemoryOptions { datagram_losses: 0.5, ..MemoryOptions::calm(0) };
    let some = twenty(lossy.clone());
    assert!((3..17).contains(&some.len()) && some.is_sorted(), "{some:?}");
    assert_eq!(twenty(lossy), some, "the same seed loses the same datagrams");
    let slow = MemoryOptions { delay: MS..=100 * MS, ..MemoryOptions::calm(0) };
    let mut mixed = twenty(slow);
    assert!(!mixed.is_sorted(), "{mixed:?}");
    mixed.sort_unstable();
    assert_eq!(mixed, all);
}

#[test]
fn a_poll_that_sleeps_ends_when_something_comes_to_a_played_port() {
    let delay = SECOND..=SECOND;
    let (mut stage, id) = asking(MemoryOptions { delay, ..MemoryOptions::calm(0) });
    stage.core().write(id, b"who is maps.example?");
    stage.core().call_later(60 * SECOND, |_, _| {});
    let began = stage.core().now();
    let heard = loop {
        stage.turn();
        if let Some(heard) = network(&mut stage).take_datagrams().pop() {
            break heard;
        }
    };
    let took = stage.core().now() - began;
    assert!(took >= SECOND && took < SECOND + MS, "{took:?}");
    let Datagram { from, to, bytes } = heard;
    assert_eq!((to, bytes.as_slice()), (names(), b"who is maps.example?".as_slice()));
    network(&mut stage).send_datagram(to, from, b"192.0.2.1".to_vec());
    stage.until_bytes("client", 9);
    assert_eq!(stage.records().bytes("client"), b"192.0.2.1");
}

#[test]
fn what_has_no_room_at_the_receiver_is_dropped() {
    let narrow = MemoryOptions { receive_window_bytes: 5, ..MemoryOptions::calm(0) };
    assert_eq!(twenty(narrow), [0, 1, 2, 3, 4]);
}

#[test]
fn a_fault_is_one_for_datagrams_too() {
    for (fault, lost, held) in [
        (NetworkFault::Refuse, true, false),
        (NetworkFault::Blackhole, false, false),
        (NetworkFault::Partition, false, false),
        (NetworkFault::Freeze, false, true),
    ] {
        let (mut stage, id) = asking(MemoryOptions::calm(0));
        network(&mut stage).fault(names(), fault);
        stage.core().write(id, b"?");
        stage.pass(SECOND);
        assert_eq!(network(&mut stage).take_datagrams(), [], "{fault:?}");
        assert_eq!(stage.records().lost("client") == ["ConnectionLost"], lost, "{fault:?}");
        network(&mut stage).heal(names());
        stage.pass(SECOND);
        assert_eq!(network(&mut stage).take_datagrams().len(), usize::from(held), "{fault:?}");
    }
}

#[test]
fn a_datagram_to_nobody_is_told_and_costs_the_connection() {
    let mut stage = calm();
    stage.core().connect_udp(names(), once("connector", actor("client").stays()));
    stage.until_made(&["client"]);
    let id = stage.id("client");
    stage.core().write(id, b"?");
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionLost"]);
    assert_eq!(network(&mut stage).descriptors(), 0);
}

#[test]
fn a_datagram_that_nobody_reads_does_not_hinder_the_end() {
    let (mut stage, id) = asking(MemoryOptions::calm(0));
    let client = stage.core().transport(id).unwrap().addrs().local;
    stage.core().pause_producing(id);
    network(&mut stage).send_datagram(names(), client, b"late".to_vec());
    stage.pass(SECOND);
    stage.core().lose_connection(id);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
}

#[test]
fn datagrams_are_carried_to_another_network_and_back() {
    let [mut here, mut there] = Pair::HOSTS
        .map(|host| MemoryIo::external_clock(MemoryOptions { host, ..MemoryOptions::calm(0) }));
    let far = SocketAddr::new(Pair::HOSTS[1], 53);
    there.play_datagrams(far);
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.write(b"?");
        }
        Ok(())
    });
    here.advance(Moment::default() + SECOND);
    let mut reactor =
        Reactor::new(CountingIo::new(here), Scene::default(), ReactorLimits::default());
    reactor.parts().1.connect_udp(far, once("connector", client));
    let turns = |reactor: &mut Reactor<CountingIo<MemoryIo>, Scene>| {
        (0..4).for_each(|_| reactor.turn().unwrap());
    };
    turns(&mut reactor);
    reactor.io().inner().take_segments().into_iter().for_each(|segment| there.put_segment(segment));
    there.advance(Moment::default() + SECOND);
    let asked = there.take_datagrams();
    assert_eq!(asked.iter().map(|d| d.bytes.as_slice()).collect::<Vec<_>>(), [b"?"]);
    assert_eq!(asked[0].from.ip(), Pair::HOSTS[0]);
    there.send_datagram(far, asked[0].from, b"!".to_vec());
    there.take_segments().into_iter().for_each(|segment| reactor.io().inner().put_segment(segment));
    turns(&mut reactor);
    assert_eq!(reactor.state().records.bytes("client"), b"!");
}
