//! The herd of five in health: a report to one server reaches all, and all tables are equal.
//!
//! The text of each assertion names its case.

use crate::support::herd::{FIVE, NOWHERE, Setup, eventually, masked, same, show};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

const LOS_ANGELES: &str = "+34.068930-118.445127";

#[test]
fn a_report_to_any_server_reaches_all_five_byte_for_byte() {
    let herd = Setup::five().start();
    for (number, origin) in FIVE.iter().enumerate() {
        let line = format!("IAMAT kiwi{number} {LOS_ANGELES} 1479413884.392014450");
        let at = herd.client(origin).ask(line);
        let start = format!("AT {origin} +");
        assert!(at.starts_with(start.as_bytes()), "the origin is named: {}", show(&at));
        herd.settle(&FIVE, &format!("kiwi{number}"), &at);
        for server in FIVE {
            let mut client = herd.client(server);
            let nearby = client.whatsat(&format!("kiwi{number}"), "10", "5").expect("it is known");
            same(
                &nearby.line,
                &at,
                "server and difference in a relayed AT: the origin's, everywhere",
            );
            assert_eq!(nearby.json["status"], "OK");
            assert!((1..=5).contains(&nearby.results().len()), "at most `bound` places");
            assert!(nearby.json["html_attributions"].is_array());
        }
    }
}

#[test]
fn the_newest_report_wins_at_whichever_server_it_is_made() {
    let herd = Setup::five().start();
    let first = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1400000000.000000001"));
    herd.settle(&FIVE, "kiwi", &first);
    let newer = herd.client("Hamilton").ask(format!("IAMAT kiwi {NOWHERE} 1400000000.000000002"));
    herd.settle(&FIVE, "kiwi", &newer);
    let late = herd.client("Welsh").ask(format!("IAMAT kiwi {NOWHERE} 1400000000.000000001"));
    assert!(late.starts_with(b"AT Welsh "), "a late report is answered: {}", show(&late));
    // This later report of Welsh's reaches all servers; the late report would have arrived before it.
    let marker = herd.client("Welsh").ask(format!("IAMAT marker {NOWHERE} 1"));
    herd.settle(&FIVE, "marker", &marker);
    for server in FIVE {
        let known = herd.report(server, "kiwi");
        assert_eq!(
            known,
            Some(show(&newer)),
            "same client at two servers: newest stamp everywhere"
        );
    }
}

#[test]
fn flooding_ends_although_the_graph_has_a_cycle() {
    let herd = Setup::five().start();
    for (one, other) in
        [("Alford", "Parker"), ("Alford", "Welsh"), ("Bolden", "Parker"), ("Bolden", "Welsh")]
    {
        herd.linked(one, other);
    }
    herd.linked("Hamilton", "Parker");
    let kiwi = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1"));
    herd.settle(&FIVE, "kiwi", &kiwi);
    for n in 0..20 {
        let marker = herd.client(FIVE[n % 5]).ask(format!("IAMAT marker{n} {NOWHERE} 1"));
        herd.settle(&FIVE, &format!("marker{n}"), &marker);
        for server in FIVE {
            herd.logged(server, &[" < ", &format!(" marker{n} ")]);
        }
    }
    let mut received = 0;
    for server in FIVE {
        let log = herd.log(server);
        let here = log.lines().filter(|line| line.contains(" < AT ") && line.contains(" kiwi "));
        received += here.count();
    }
    // All servers but Alford receive it; each of five edges carries it once in each direction at most.
    assert!((4..=10).contains(&received), "cycle: idle afterwards: {received} AT lines received");
}

#[test]
fn equal_stamps_at_two_servers_at_once_end_as_one_line_everywhere() {
    const CLIENTS: usize = 300;
    let herd = Setup::five().start();
    herd.linked("Hamilton", "Parker");
    let clients: Vec<String> = (0..CLIENTS).map(|n| format!("k{n}")).collect();
    let together = Barrier::new(2);
    let report = |server: &str, location: &str| {
        let mut connection = herd.client(server);
        together.wait();
        let mut lines = BTreeMap::new();
        for client in &clients {
            let line = connection.ask(format!("IAMAT {client} {location} 1400000000.5"));
            lines.insert(client.clone(), show(&line));
        }
        lines
    };
    let (at_alford, at_hamilton) = thread::scope(|scope| {
        let one = scope.spawn(|| report("Alford", "-48.8767-123.3933"));
        let other = scope.spawn(|| report("Hamilton", "-48.8768-123.3933"));
        (one.join().expect("Alford answers"), other.join().expect("Hamilton answers"))
    });
    // Among lines with equal stamps, the greater line counts.
    let greater =
        |client: &String| Some(at_alford[client].clone().max(at_hamilton[client].clone()));
    let expected: Vec<Option<String>> = clients.iter().map(greater).collect();
    for server in FIVE {
        eventually(&format!("{server} settles as all do"), || {
            let lines = herd.reports(server, &clients);
            let other = lines.iter().zip(&expected).position(|(line, expected)| line != expected);
            match other {
                None => Ok(()),
                Some(at) => Err(format!("{:?}, not {:?}", lines[at], expected[at])),
            }
        });
    }
}

#[test]
fn many_clients_at_many_servers_at_once_end_alike() {
    const CLIENTS: usize = 200;
    const MOVES: usize = 10;
    let herd = Setup::five().start();
    let clients: Vec<String> = (0..CLIENTS).map(|n| format!("k{n}")).collect();
    let last = thread::scope(|scope| {
        let wander = |start: usize| {
            let (herd, clients) = (&herd, &clients);
            scope.spawn(move || {
                let mut connection = herd.client(FIVE[start]);
                let mut last = BTreeMap::new();
                for n in 0..MOVES {
                    for client in clients {
                        // Each server has stamps of its own, in growing order; the server with the newest
                        // stamp differs from client to client.
                        let turn = (start + client.len() + client.as_bytes()[1] as usize) % 5;
                        let stamp = 1_000 + n * 5 + turn;
                        let line = connection.ask(format!("IAMAT {client} {NOWHERE} {stamp}"));
                        last.insert((client.clone(), stamp), show(&line));
                    }
                }
                last
            })
        };
        let all: Vec<_> = (0..FIVE.len()).map(wander).collect();
        let mut last = BTreeMap::new();
        for one in all {
            last.extend(one.join().expect("it is answered"));
        }
        last
    });
    let newest = |client: &String| last.get(&(client.clone(), 1_000 + MOVES * 5 - 1)).cloned();
    let expected: Vec<Option<String>> = clients.iter().map(newest).collect();
    assert!(expected.iter().all(Option::is_some), "the test knows the newest of all");
    for server in FIVE {
        eventually(&format!("{server} has the newest of all"), || {
            let lines = herd.reports(server, &clients);
            if lines == expected { Ok(()) } else { Err(lines) }
        });
    }
}

#[test]
fn odd_client_ids_reach_all_five_byte_for_byte() {
    let ids: [&[u8]; 4] =
        [b"\xff\xfe\x80", b"a\0b", b"\x1b[31m", "\u{202e}kiwi\u{2028}".as_bytes()];
    let herd = Setup::five().start();
    let lines = ids.map(|id| {
        let line = [b"IAMAT ", id, b" -48.8767-123.3933 1400000000"].concat();
        herd.client("Alford").ask(line)
    });
    let marker = herd.client("Alford").ask(format!("IAMAT marker {NOWHERE} 1"));
    herd.settle(&FIVE, "marker", &marker);
    for server in FIVE {
        for (id, line) in ids.iter().zip(&lines) {
            eventually("it has come, too", || {
                let asked = [b"WHATSAT ", *id, b" 1 1"].concat();
                let mut client = herd.client(server);
                let reply = client.ask(asked);
                if reply == *line { Ok(()) } else { Err(show(&reply)) }
            });
        }
    }
}

#[test]
fn the_longest_line_that_a_client_can_cause_reaches_all_five() {
    let herd = Setup::five().start();
    let (id, location) =
        ("k".repeat(4_096), format!("-48.{}-123.{}", "8".repeat(28), "3".repeat(27)));
    assert_eq!(location.len(), 64);
    let line = herd.client("Hamilton").ask(format!("IAMAT {id} {location} 0000000000.123456789"));
    let expected = format!("AT Hamilton # {id} {location} 0000000000.123456789");
    same(&masked(&line), expected.as_bytes(), "client_id_bytes, location_bytes, longest stamp");
    herd.settle(&FIVE, &id, &line);
}
