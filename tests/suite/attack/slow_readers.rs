//! Clients that send commands and never read.

use super::{ALFORD, bench, iamat_p99_us, mib};
use crate::support::herd::{Client, NOWHERE, Setup, iamat, masked, same};

/// Maximum memory for one such client: replies up to `send_buffer_bytes`, one reply more, and as many bytes of commands
/// that are not parsed yet.
const BYTES_EACH: u64 = 512 << 10;

/// Has `count` clients pipeline IAMATs and WHATSATs until the server reads from none of them any more. Returns the
/// server's growth in bytes, the number of commands, and the IAMAT p99 of other clients in microseconds.
fn deaf(count: usize, load: &str) -> (u64, usize, f64) {
    let herd = Setup::alone().without_traffic_in_the_log().start();
    let mut honest = herd.client(ALFORD);
    honest.ask("IAMAT kiwi +34.068930-118.445127 1400000000");
    honest.whatsat("kiwi", "50", "20").expect("kiwi is known");
    bench(&herd, "-C 10 -P 1 -n 1000 --keys 100");
    let before = herd.process(ALFORD).memory_bytes();
    let mut clients: Vec<Client> = (0..count).map(|_| herd.narrow_client(ALFORD)).collect();
    // The unsent rest of each client's commands.
    let mut rests: Vec<Vec<u8>> = vec![Vec::new(); count];
    let (mut stamp, mut quiet) = (0, 0);
    while quiet < 200 {
        let mut taken = 0;
        for (client, rest) in clients.iter_mut().zip(&mut rests) {
            if rest.is_empty() {
                for _ in 0..200 {
                    stamp += 1;
                    rest.extend(iamat("deaf", NOWHERE, &stamp.to_string()).bytes());
                    rest.extend_from_slice(b"WHATSAT kiwi 50 20\n");
                }
            }
            let sent = client.send_now(rest);
            rest.drain(..sent);
            taken += sent;
        }
        same(&honest.ask("x"), b"? x", "others are served");
        quiet = if taken == 0 { quiet + 1 } else { 0 };
    }
    let p99 = iamat_p99_us(&bench(&herd, load));
    let grown = herd.process(ALFORD).memory_bytes().saturating_sub(before);
    // At last they read, and the replies are in order.
    let expected = format!("AT Alford # deaf {NOWHERE} 1");
    same(&masked(&clients[0].line()), expected.as_bytes(), "nothing is lost");
    clients[0].nearby().expect("kiwi is known");
    (grown, 2 * stamp, p99)
}

#[test]
fn clients_that_never_read_cost_bounded_memory_and_delay_nobody() {
    const MANY: usize = 8;
    let (grown, commands, _) = deaf(MANY, "-C 10 -P 1 -n 1000 --keys 100");
    println!("P8 {MANY} clients that never read: RSS grew by {:.2} MiB", mib(grown));
    assert!(commands >= 400 * MANY);
    assert!(grown <= MANY as u64 * BYTES_EACH + (4 << 20), "it has grown by {grown} bytes");
}

#[test]
#[ignore = "takes a minute: 200 of them"]
fn clients_that_never_read_by_the_hundred() {
    const MANY: usize = 200;
    let (grown, commands, p99) = deaf(MANY, "-C 100 -P 1 -d 5 --keys 100");
    println!(
        "P8 {MANY} clients that never read: {commands} commands begun, RSS grew by {:.2} MiB, {:.0} KiB \
         each; IAMAT p99 of 100 others {p99:.0} us",
        mib(grown),
        grown as f64 / 1_024.0 / MANY as f64,
    );
    assert!(grown <= MANY as u64 * BYTES_EACH + (4 << 20), "it has grown by {grown} bytes");
}
