//! The test of exercise 19.

use exercises::e19_forget::{Change, KEEP, Server};
use herd_reactor::SplitMix64;

fn put(name: &str, stamp: u64, value: &str) -> Change {
    Change { name: name.to_owned(), stamp, value: Some(value.to_owned()) }
}

fn forget(name: &str, stamp: u64) -> Change {
    Change { name: name.to_owned(), stamp, value: None }
}

/// A server that has got these changes.
fn server(changes: &[Change]) -> Server {
    let mut server = Server::default();
    for change in changes {
        server.apply(change);
    }
    server
}

/// Checks that `right` is the value after the changes, in whatever order they arrive.
#[track_caller]
fn check(changes: [Change; 2], right: Option<&str>) {
    let [first, second] = &changes;
    for order in [[first, second], [second, first]] {
        let arrived = order.map(Change::clone);
        let server = server(&arrived);
        assert_eq!(server.get("kiwi"), right, "after {:?} and then {:?}", arrived[0], arrived[1]);
    }
}

#[test]
fn the_newest_change_is_right_in_either_order() {
    check([put("kiwi", 1, "a"), put("kiwi", 2, "b")], Some("b"));
    check([put("kiwi", 1, "a"), forget("kiwi", 2)], None);
    check([forget("kiwi", 1), put("kiwi", 2, "b")], Some("b"));
}

#[test]
fn with_equal_stamps_all_servers_agree() {
    check([put("kiwi", 1, "a"), forget("kiwi", 1)], None);
    check([put("kiwi", 1, "a"), put("kiwi", 1, "b")], Some("b"));
}

#[test]
fn a_change_is_news_once() {
    let mut server = Server::default();
    for (change, is_news) in [
        (put("kiwi", 5, "a"), true),
        (put("kiwi", 5, "a"), false),
        (put("kiwi", 4, "z"), false),
        (forget("kiwi", 6), true),
        (forget("kiwi", 6), false),
        (put("kiwi", 6, "b"), false),
        (forget("emu", 3), true),
        (put("emu", 2, "c"), false),
        (put("emu", 4, "d"), true),
    ] {
        assert_eq!(server.apply(&change), is_news, "whether {change:?} was news");
    }
}

#[test]
fn a_server_that_was_cut_off_learns_what_was_forgotten() {
    let mut away = server(&[put("kiwi", 1, "a"), put("emu", 1, "b")]);
    let there = server(&[put("kiwi", 1, "a"), put("emu", 1, "b"), forget("kiwi", 2)]);
    for change in there.changes() {
        away.apply(&change);
    }
    assert_eq!(away.get("kiwi"), None, "kiwi was forgotten while the server was cut off");
    assert_eq!(away.get("emu"), Some("b"), "emu was not forgotten");
}

#[test]
fn a_tombstone_is_dropped_in_time_and_a_value_is_not() {
    let mut server = server(&[put("kiwi", 1, "a"), forget("kiwi", 10), put("emu", 2, "b")]);
    server.compact(10 + KEEP);
    assert!(!server.apply(&put("kiwi", 5, "late")), "an old value came back {KEEP} s later");
    server.compact(11 + KEEP);
    let left: Vec<String> = server.changes().into_iter().map(|change| change.name).collect();
    assert_eq!(left, ["emu"], "what the server keeps {} s after the FORGET of kiwi", KEEP + 1);
    assert_eq!(server.get("emu"), Some("b"), "an old value is still right");
    server.compact(5);
    assert_eq!(server.get("emu"), Some("b"), "the clock of the caller was set back");
}

/// Three servers; links lose a third of the changes, repeat a third, and reorder them all. Then they compare.
#[test]
fn three_servers_agree_in_the_end() {
    for seed in 0..300 {
        let mut chance = SplitMix64::new(seed);
        let mut below = |most: u64| chance.next_u64() % most;
        let mut servers = [Server::default(), Server::default(), Server::default()];
        let (mut under_way, mut all): (Vec<(usize, Change)>, Vec<Change>) = Default::default();
        for time in 0..60 {
            let name = ["kiwi", "emu", "moa"][below(3) as usize];
            // The clients' clocks differ by up to 5 s.
            let stamp = time / 2 + below(5);
            let change = match below(3) {
                0 => forget(name, stamp),
                _ => put(name, stamp, ["a", "b", "c"][below(3) as usize]),
            };
            all.push(change.clone());
            under_way.push((below(3) as usize, change));
            for _ in 0..below(8) {
                if under_way.is_empty() {
                    break;
                }
                let (to, change) = under_way.swap_remove(below(under_way.len() as u64) as usize);
                if !servers[to].apply(&change) {
                    continue;
                }
                for other in (0..3).filter(|other| *other != to) {
                    let copies = below(3);
                    (0..copies).for_each(|_| under_way.push((other, change.clone())));
                }
            }
        }
        // Each client's change has reached a server; the links are lost for what is between servers.
        for (to, change) in under_way.drain(..).filter(|(_, change)| all.contains(change)) {
            servers[to].apply(&change);
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            for change in servers[from].changes() {
                servers[to].apply(&change);
            }
        }
        for name in ["kiwi", "emu", "moa"] {
            let of_name = all.iter().filter(|change| change.name == name);
            let right = of_name.max_by_key(|it| (it.stamp, it.value.is_none(), it.value.clone()));
            let right = right.and_then(|change| change.value.as_deref());
            let values = servers.each_ref().map(|server| server.get(name));
            assert_eq!(
                values, [right; 3],
                "seed {seed}: the values of {name} on the three servers"
            );
        }
    }
}
