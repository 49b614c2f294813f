//! Tests that need the kernel: signals, a connection attempt without an answer, and socket files.

use crate::stage::{Actor, MS, Scene, Stage, actor, in_its_own_process, kernel, once};
use herd_reactor::io::Addrs;
use herd_reactor::testing::{Heard, RecordingFactory};
use herd_reactor::{ConnectOptions, Histogram, MioIo, Reactor, ReactorLimits, Signal};
use rustix::process::{getpid, kill_process};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn sigterm_wakes_the_loop_and_is_told() {
    in_its_own_process("kernel::sigterm_wakes_the_loop_and_is_told", send_itself_sigterm);
}

fn send_itself_sigterm() {
    let io = MioIo::new(&[Signal::Terminate]).unwrap();
    let mut stage = Stage::over(io, ReactorLimits::default());
    stage.pair(actor("server"), actor("client"));
    stage.core().call_later(MS, |_: &mut Scene, _| {
        kill_process(getpid(), rustix::process::Signal::TERM).unwrap();
    });
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), ["Terminate"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

#[test]
fn sigint_and_sigterm_stop_a_reactor_that_does_not_say_otherwise() {
    in_its_own_process(
        "kernel::sigint_and_sigterm_stop_a_reactor_that_does_not_say_otherwise",
        || {
            for sent in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
                let io = MioIo::new(&[Signal::Interrupt, Signal::Terminate]).unwrap();
                let mut reactor = Reactor::new(io, (), ReactorLimits::default());
                reactor.call_later(MS, move |_, _| kill_process(getpid(), sent).unwrap());
                reactor.run().unwrap();
                assert!(reactor.is_stopped());
            }
        },
    );
}

#[test]
fn sigusr1_is_told() {
    in_its_own_process("kernel::sigusr1_is_told", || {
        send_itself(rustix::process::Signal::USR1, Signal::User1);
    });
}

#[test]
fn sigusr2_is_told() {
    in_its_own_process("kernel::sigusr2_is_told", || {
        send_itself(rustix::process::Signal::USR2, Signal::User2);
    });
}

fn send_itself(sent: rustix::process::Signal, told: Signal) {
    let io = MioIo::new(&[Signal::User1, Signal::User2]).unwrap();
    let mut stage = Stage::over(io, ReactorLimits::default());
    stage.core().call_later(MS, move |_: &mut Scene, _| kill_process(getpid(), sent).unwrap());
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), [format!("{told:?}")]);
}

#[test]
fn a_signal_before_the_loop_runs_is_seen_then_and_told_by_it() {
    in_its_own_process(
        "kernel::a_signal_before_the_loop_runs_is_seen_then_and_told_by_it",
        interrupt_before_the_loop,
    );
}

fn interrupt_before_the_loop() {
    let mut io = MioIo::new(&[Signal::Interrupt]).unwrap();
    assert!(!io.is_told_to_end());
    kill_process(getpid(), rustix::process::Signal::INT).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !io.is_told_to_end() {
        assert!(Instant::now() < deadline, "the signal has arrived");
        std::thread::yield_now();
    }
    assert!(io.is_told_to_end(), "asking does not use it up");
    let mut stage = Stage::over(io, ReactorLimits::default());
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), ["Interrupt"]);
}

/// Blocks for `time`, as a slow call does.
fn work_for(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

#[test]
fn the_longest_lag_counts_slow_calls_and_late_timers() {
    let mut stage = kernel(ReactorLimits::default());
    let busy = actor("server").on(|_, heard| {
        if let Heard::Data(_) = heard {
            work_for(30 * MS);
        }
        Ok(())
    });
    stage.pair(busy, actor("client"));
    stage.core().take_longest_lag();
    stage.write("client", b"x");
    stage.until_bytes("server", 1);
    // The turn that has read the byte took long; the next turn measures that as lag.
    stage.core().call_later(200 * MS, |_, _| {});
    stage.turn();
    let lag = stage.core().take_longest_lag();
    assert!(lag >= 30 * MS, "other ready connections have waited: {lag:?}");

    stage.core().call_later(Duration::ZERO, |_, _| work_for(30 * MS));
    stage.core().call_later(10 * MS, |scene, _| scene.note("late"));
    stage.until("the second call is made", |scene, _| scene.said() == ["late"]);
    let lag = stage.core().take_longest_lag();
    assert!(lag >= 20 * MS, "a timer that fell due meanwhile was late: {lag:?}");
    assert_eq!(stage.core().take_longest_lag(), Duration::ZERO, "reading it resets it");
}

#[test]
fn the_durations_of_turns_and_the_lags_are_counted_and_reading_resets_nothing() {
    let mut stage = kernel(ReactorLimits::default());
    stage.core().call_later(Duration::ZERO, |_, _| work_for(30 * MS));
    stage.core().call_later(10 * MS, |scene, _| scene.note("late"));
    stage.until("the second call is made", |scene, _| scene.said() == ["late"]);
    // The number of values above the bound of 16.384 ms.
    let long = |histogram: &Histogram| {
        let (_, count) = histogram.buckets().filter(|(bound, _)| *bound < 0.02).last().unwrap();
        histogram.count() - count
    };
    for _ in 0..2 {
        let (turns, lags) = (*stage.core().turn_durations(), *stage.core().lags());
        assert!(turns.sum() >= 30 * MS && long(&turns) >= 1, "{turns:?}");
        assert!(lags.sum() >= 20 * MS && long(&lags) >= 1, "{lags:?}");
    }
}

#[test]
fn a_connection_that_nobody_answers_times_out() {
    // With a backlog of 0 the kernel takes one connection and drops the next SYN.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let mut stage = kernel(ReactorLimits::default());
    let options = ConnectOptions { timeout: 50 * MS, reconnect: None };
    let began = stage.core().now();
    stage.connect_by(address, options, once("connector", actor("client")));
    stage.until_heard("connector", &Heard::Failed("TimeoutError", None));
    assert!(stage.core().now() - began >= 50 * MS);
    assert_eq!(stage.core().connections(), 0);
}

/// A path without a file.
fn free_path(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("herd-{}-{test}.sock", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn echo() -> Actor {
    actor("server").on(|cx, heard| {
        if let Heard::Data(data) = heard {
            cx.write(data);
        }
        Ok(())
    })
}

#[test]
fn a_socket_file_serves_whom_its_mode_lets_in_and_goes_when_listening_ends() {
    let path = free_path("serves");
    let mut stage = kernel(ReactorLimits::default());
    let factory = RecordingFactory::by("port", |_, _| Some(echo()));
    let port = stage.reactor.listen_unix(&path, factory).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"to and fro").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    stage.until_lost("server", 1);
    let mut echoed = String::new();
    client.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "to and fro");

    let mut late = UnixStream::connect(&path).unwrap();
    late.write_all(b"I am here").unwrap();
    stage.until_bytes("server", "to and froI am here".len());
    let id = stage.id("server");
    assert_eq!(stage.core().transport(id).map(|transport| transport.addrs()), Some(Addrs::UNIX));
    stage.core().stop_listening(port);
    stage.turn();
    stage.turn();
    assert!(!path.exists(), "{path:?}");
    late.write_all(b", and still").unwrap();
    stage.until_bytes("server", "to and froI am here, and still".len());
}

#[test]
fn a_socket_file_is_taken_over_from_the_dead_only() {
    let path = free_path("dead");
    let mut stage = kernel(ReactorLimits::default());
    let mut listen =
        |path| stage.reactor.listen_unix(path, RecordingFactory::by("port", |_, _| Some(echo())));

    let living = UnixListener::bind(&path).unwrap();
    assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(living);
    listen(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);

    let file = free_path("file");
    fs::write(&file, "somebody's diary").unwrap();
    assert_eq!(listen(&file).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's diary");
    fs::remove_file(&file).unwrap();
    stage.core().stop();
    stage.reactor.run().unwrap();
    assert!(!path.exists(), "{path:?}");
}
