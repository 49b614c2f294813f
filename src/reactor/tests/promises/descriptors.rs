//! Tests a process that runs out of descriptors, on the kernel.

use crate::stage::{MS, actor, in_its_own_process, kernel};
use herd_reactor::ReactorLimits;
use herd_reactor::testing::Heard;
use rustix::io::retry_on_intr;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::net::TcpStream;
use std::time::Duration;

/// The highest open descriptor.
fn highest() -> u64 {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap());
    numbers.max().unwrap()
}

fn limit(soft: u64) {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: hard }).unwrap();
}

#[test]
fn a_process_out_of_descriptors_turns_away_does_not_spin_and_recovers() {
    in_its_own_process(
        "descriptors::a_process_out_of_descriptors_turns_away_does_not_spin_and_recovers",
        turn_away_and_recover,
    );
}

fn turn_away_and_recover() {
    const WAITING: usize = 250;
    let mut stage = kernel(ReactorLimits::default());
    let address = stage.listen(|| actor("server"));
    // The kernel accepts the connections into the backlog.
    let mut clients: Vec<TcpStream> =
        (0..WAITING).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Reading the directory takes one more descriptor, so the limit leaves room for about ten.
    limit(highest() + 1 + 10);
    stage.reactor.io().take();
    stage.pass(Duration::from_secs(1));
    let counts = stage.reactor.io().take();
    let accepted = stage.records().count("server", |heard| *heard == Heard::Made);
    assert!((8..=12).contains(&accepted), "{accepted}");
    let mut turned_away = 0;
    clients.retain_mut(|client| {
        client.set_read_timeout(Some(MS)).unwrap();
        // With a timeout set, the kernel does not restart an interrupted read.
        let ended = retry_on_intr(|| rustix::io::read(&*client, &mut [0])).is_ok();
        turned_away += usize::from(ended);
        !ended
    });
    assert_eq!(accepted + turned_away, WAITING, "no connection waits for ever");
    // There are three batches, a tenth of a second apart.
    assert!(counts.sheds <= 5 && counts.accepts < 50 && counts.polls < 50, "{counts:?}");
    // The rejected connections have left the backlog, so the next one is accepted.
    let late = TcpStream::connect(address).unwrap();
    stage.until("the next is accepted", |scene, _| {
        scene.records.count("server", |heard| *heard == Heard::Made) > accepted
    });
    drop((late, clients));
    stage.until_lost("server", accepted + 1);
}
