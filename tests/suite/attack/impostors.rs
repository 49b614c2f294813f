//! Clients that send neighbours' commands, and clients with stamps from the future.

use super::ALFORD;
use crate::support::herd::{Client, Herd, NOWHERE, Setup, eventually, masked, same, unix_ns};
use rustix::process::Signal;
use std::io::Write;
use std::thread;

/// Commands of neighbours.
fn lines_of_neighbours(herd: &str) -> Vec<String> {
    let sums = "0123456789abcdef".repeat(32);
    vec![
        format!("AT Aaron +0.000000001 kiwi {NOWHERE} 9000000000"),
        format!("AT Alford -5.000000001 stranger {NOWHERE} 1"),
        format!("HELLO Aaron {herd} 1"),
        format!("HELLO Alford {herd} 1 key=value"),
        "PING".to_owned(),
        "SYNC 0123456789abcdef".to_owned(),
        format!("GROUPS 00 {sums}"),
        format!("LEAVES 9380 {sums}"),
        "WANT 9300 ffffffff".to_owned(),
        "WANT 0000 ffffffff".to_owned(),
    ]
}

#[test]
fn a_client_cannot_speak_as_a_neighbour() {
    const MANY: usize = 10_000;
    let herd = Setup::of(&[ALFORD], &[]).played("Aaron", ALFORD);
    let herd = herd.without_traffic_in_the_log().start();
    let mut neighbour = herd.neighbour("Aaron", ALFORD);
    let mut client = herd.client(ALFORD);
    let known = client.ask(format!("IAMAT kiwi {NOWHERE} 5"));
    same(&neighbour.line(), &known, "the neighbour receives it");
    let told = |herd: &Herd| {
        let mut status = herd.status(ALFORD);
        // It grows with the time.
        status["links"][0]["changed_s"].take();
        ["state", "known_clients", "links"].map(|member| status[member].clone())
    };
    let before = told(&herd);

    let lines = lines_of_neighbours(&herd.name());
    let mut writer = client.writer();
    let said = lines.clone();
    let sender = thread::spawn(move || {
        for line in said.iter().cycle().take(MANY) {
            writeln!(writer, "{line}").expect("the server reads");
        }
    });
    let mut effects = 0;
    for line in lines.iter().cycle().take(MANY) {
        effects += usize::from(client.line() != format!("? {line}").as_bytes());
    }
    sender.join().expect("all was sent");
    assert_eq!(told(&herd), before, "its table and its links are unchanged");
    // The next line to the neighbour is the next report, so nothing was sent to it meanwhile.
    let next = client.ask(format!("IAMAT kiwi {NOWHERE} 6"));
    same(&neighbour.line(), &next, "nothing was passed on");
    println!("P20 neighbours' lines at the client port: {effects} effects / {MANY}");
    assert_eq!(effects, 0);
}

#[test]
fn a_far_future_stamp_holds_no_client_by_default() {
    const MANY: usize = 1_000;
    const MAX_FUTURE_S: i128 = 86_400;
    let herd = Setup::alone().start();
    let mut client = herd.client(ALFORD);
    let now = unix_ns() / 1_000_000_000;
    let mut stuck = 0;
    for n in 0..MANY {
        let ahead = now + MAX_FUTURE_S + 3_600 + (n * n * n) as i128;
        let refused = format!("IAMAT client-{n} {NOWHERE} {}", ahead.min(9_999_999_999));
        same(&client.ask(&refused), format!("? {refused}").as_bytes(), "it is refused");
        // The furthest accepted stamp loses to an honest one as soon as the clock has reached it.
        let honest = client.ask(format!("IAMAT client-{n} {NOWHERE} {now}"));
        let known = herd_line(&mut client, n);
        stuck += usize::from(known.as_deref() != Some(&honest[..]));
    }
    herd.logged(ALFORD, &["WARN", "limit: max_future_ms = 86400000: ", "reports refused"]);
    println!("P17 stamps more than {MAX_FUTURE_S} s ahead: {stuck} clients stuck / {MANY}");
    assert_eq!(stuck, 0);
    let at = masked(&client.ask(format!("IAMAT near {NOWHERE} {}", now + MAX_FUTURE_S / 2)));
    assert!(at.starts_with(b"AT Alford # near "), "a clock a little ahead is believed");
}

#[test]
fn a_far_future_stamp_holds_no_client_of_a_herd_restarted_with_ahead_max() {
    const MANY: usize = 1_000;
    const ROW: [&str; 3] = [ALFORD, "Bolden", "Clark"];
    let setup = Setup::of(&ROW, &[(ALFORD, "Bolden"), ("Bolden", "Clark")]);
    let setup = setup.journal("sync = \"no\"").limit("sync_ms", 1_000).limit("max_future_ms", 0);
    let mut herd = setup.without_traffic_in_the_log().start();
    let ids: Vec<String> = (0..MANY).map(|n| format!("client-{n}")).collect();
    let mut liar = herd.client("Bolden");
    let lies = ids.iter().map(|id| liar.ask(format!("IAMAT {id} {NOWHERE} 9999999999")));
    let last = lies.last().expect("they are many");
    herd.settle(&ROW, &ids[MANY - 1], &last);

    let now = unix_ns() / 1_000_000_000;
    let honest = reports(&herd, &ROW, &ids, now);
    let before = ROW.map(|name| stuck(&herd, name, &ids, &honest));
    herd.edit_limit("ahead_max_s", 60);
    for name in ROW {
        herd.process(name).signal(Signal::TERM);
        eventually("it ends", || herd.process_mut(name).ended().ok_or("it runs"));
        herd.restart(name);
        herd.logged(name, &["WARN", "limit: ahead_max_s = 60: 1000 records of the journal"]);
    }
    let honest = reports(&herd, &ROW, &ids, now + 1);
    for name in ROW {
        eventually(&format!("no client is stuck at {name}"), || {
            match stuck(&herd, name, &ids, &honest) {
                0 => Ok(()),
                stuck => Err(stuck),
            }
        });
    }
    println!("P17 restarts with ahead_max_s: {before:?} clients stuck / {MANY} before, 0 after");
    assert_eq!(before, [MANY; 3]);
}

/// Has each client report once, at one server after the other. Returns the replies.
fn reports(herd: &Herd, servers: &[&str], ids: &[String], stamp: i128) -> Vec<String> {
    let mut clients: Vec<Client> = servers.iter().map(|name| herd.client(name)).collect();
    let each = ids.iter().zip((0..servers.len()).cycle());
    let answers = each.map(|(id, at)| clients[at].ask(format!("IAMAT {id} {NOWHERE} {stamp}")));
    answers.map(|line| String::from_utf8(line).expect("it is ASCII")).collect()
}

/// The number of clients whose last report the server `name` does not serve.
fn stuck(herd: &Herd, name: &str, ids: &[String], honest: &[String]) -> usize {
    let served = herd.reports(name, ids);
    served.iter().zip(honest).filter(|(served, honest)| served.as_ref() != Some(honest)).count()
}

fn herd_line(client: &mut Client, n: usize) -> Option<Vec<u8>> {
    client.whatsat(&format!("client-{n}"), "0.001", "1").ok().map(|nearby| nearby.line)
}
