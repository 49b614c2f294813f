//! Slow loris: connections that begin a line and never end it.

use super::{ALFORD, bench, iamat_p99_us, median};
use crate::support::herd::{Herd, Setup, raise_descriptors, same};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// One slow connection.
struct Slow {
    stream: TcpStream,
    begun: Instant,
    /// The time from its first byte until it was closed.
    lived: Option<Duration>,
}

/// Opens `count` connections from the loopback address `from`, and begins a line on each.
fn open(herd: &Herd, count: usize, from: u8) -> Vec<Slow> {
    let address: SocketAddr = herd.client_address(ALFORD);
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0));
    let slow = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
        socket.bind(&source.into()).expect("a port is free");
        socket.connect(&address.into()).expect("it listens");
        socket.set_nonblocking(true).expect("a socket can be made so");
        let mut stream = TcpStream::from(socket);
        let begun = Instant::now();
        stream.write_all(b"I").expect("a byte has room");
        Slow { stream, begun, lived: None }
    };
    (0..count).map(slow).collect()
}

/// Sends a byte on each connection every `every`, until all are closed or `patience` is over.
fn tend(slow: &mut [Slow], every: Duration, patience: Duration) {
    let start = Instant::now();
    let mut fed = start;
    while start.elapsed() < patience {
        if fed.elapsed() >= every {
            fed = Instant::now();
            for slow in slow.iter_mut().filter(|slow| slow.lived.is_none()) {
                // The read below detects a closed connection.
                let _ = slow.stream.write(b"x");
            }
        }
        let open: Vec<usize> = (0..slow.len()).filter(|&n| slow[n].lived.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let mut polled: Vec<PollFd<'_>> =
            open.iter().map(|&n| PollFd::new(&slow[n].stream, PollFlags::IN)).collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        retry_on_intr(|| poll(&mut polled, Some(&wait))).expect("descriptors of ours");
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (&n, _) in open.iter().zip(ready).filter(|(_, ready)| *ready) {
            match slow[n].stream.read(&mut [0; 64]) {
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Ok(1..) => panic!("a line without an end was answered"),
                Ok(0) | Err(_) => slow[n].lived = Some(slow[n].begun.elapsed()),
            }
        }
    }
}

#[test]
fn slow_lorises_are_all_closed_and_none_before_its_time() {
    const DEADLINE: Duration = Duration::from_millis(1_000);
    const MANY: usize = 300;
    raise_descriptors();
    let herd = Setup::alone().limit("unfinished_line_ms", 1_000).start();
    let mut honest = herd.client(ALFORD);
    let mut slow = open(&herd, MANY, 1);
    same(&honest.ask("x"), b"? x", "others are served");
    tend(&mut slow, Duration::from_millis(100), Duration::from_secs(30));
    let lived: Vec<Duration> = slow.iter().filter_map(|slow| slow.lived).collect();
    assert_eq!(lived.len(), MANY, "all are closed, though each sends a byte now and then");
    assert!(lived.iter().all(|lived| *lived >= DEADLINE), "each has its time");
    same(&honest.ask("x"), b"? x", "a client that has begun no line stays");
    herd.logged(ALFORD, &["limit: unfinished_line_ms = 1000"]);
    println!("P10 slow loris: {MANY} of {MANY} closed");
}

#[test]
#[ignore = "takes minutes: 8,000 connections, three times"]
fn slow_lorises_by_the_thousand_delay_nobody() {
    const MANY: usize = 8_000;
    const PAIRS: u8 = 3;
    const DEADLINE: Duration = Duration::from_secs(30);
    const LOAD: &str = "-C 100 -P 1 -d 5 --keys 100";
    raise_descriptors();
    let herd = Setup::alone().start();
    bench(&herd, "-C 100 -P 1 -d 1 --keys 100");
    let (mut alone, mut among, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut closed, mut latest) = (0, Duration::ZERO);
    for pair in 0..PAIRS {
        let without = iamat_p99_us(&bench(&herd, LOAD));
        let mut slow = open(&herd, MANY, 2 + pair);
        let tending = thread::spawn(move || {
            tend(&mut slow, Duration::from_secs(5), 2 * DEADLINE);
            slow
        });
        let with = iamat_p99_us(&bench(&herd, LOAD));
        let slow = tending.join().expect("it only tends");
        let late = slow.iter().filter_map(|slow| slow.lived?.checked_sub(DEADLINE));
        closed += late.clone().count();
        latest = latest.max(late.max().unwrap_or_default());
        alone.push(without);
        among.push(with);
        ratios.push(with / without);
    }
    let ratio = median(&ratios);
    println!(
        "P10 slow loris: {closed} of {} closed, the latest {latest:.0?} after its deadline; IAMAT p99 of \
         100 clients, medians of {PAIRS} pairs: {:.0} us without, {:.0} us among {MANY}, {ratio:.2} x",
        MANY * usize::from(PAIRS),
        median(&alone),
        median(&among),
    );
    assert_eq!(closed, MANY * usize::from(PAIRS), "all, and none before its time");
    assert!(latest <= Duration::from_secs(1), "{latest:?}");
    assert!(ratio <= 2.0, "{ratios:?}");
}
