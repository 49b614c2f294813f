//! The table against a plain model of itself, and the laws that let a herd converge.

use std::collections::{BTreeMap, BTreeSet};

use places_herd::herd::command::{Command, CommandLimits};
use places_herd::herd::sighting::Sighting;
use places_herd::herd::table::{ClientKey, Herd, Rule, Verdict};
use proptest::prelude::*;

fn merge(herd: &mut Herd, line: &str, rule: Rule) -> (Option<ClientKey>, Verdict) {
    match Command::parse(line.as_bytes(), &CommandLimits::default()) {
        Ok(Command::At(at)) => herd.merge(&Sighting::relayed(&at, &mut Vec::new()), rule),
        other => panic!("{line}: {other:?}"),
    }
}

fn herd_of(lines: &[String]) -> Herd {
    let mut herd = Herd::new(0, 3);
    for line in lines {
        merge(&mut herd, line, Rule::Member);
    }
    herd
}

/// All lines of a herd, in the order of the clients' ids.
fn contents(herd: &Herd) -> BTreeMap<Vec<u8>, Vec<u8>> {
    herd.iter().map(|(_, at)| (at.client().to_vec(), at.line().to_vec())).collect()
}

/// Lines of few clients and few stamps, so that they meet; of all lengths, so that they move.
fn at_line() -> impl Strategy<Value = String> {
    let server = prop::sample::select(&["A", "Bolden", "Hamilton"][..]);
    let difference = prop::sample::select(&["+0.5", "-0.000000001", "9.5e-05"][..]);
    let location = prop::sample::select(&["+1+1", "+34.068930-118.445127", "-0.50-7"][..]);
    let stamp =
        prop::sample::select(&["5", "5.0", "5.000000001", "12.5", "999", "1000000000.25"][..]);
    let client = prop_oneof![4 => (0..12u32).prop_map(|n| format!("client-{n}")), 1 => "x{1,300}"];
    (server, difference, client, location, stamp)
        .prop_map(|(n, d, c, l, s)| format!("AT {n} {d} {c} {l} {s}"))
}

fn at_lines() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(at_line(), 0..60)
}

fn rule() -> impl Strategy<Value = Rule> {
    prop::sample::select(&[Rule::Client, Rule::Member, Rule::Plain][..])
}

/// The model: a map of lines, and newest wins written down once more, on text.
#[derive(Default)]
struct Model {
    lines: BTreeMap<String, String>,
    order: Vec<String>,
}

impl Model {
    fn merge(&mut self, line: &str, rule: Rule, clients_max: usize) -> (Option<usize>, Verdict) {
        let field = |line: &str, index| line.split(' ').nth(index).unwrap_or_default().to_owned();
        let nanos = |line: &str| {
            let stamp = field(line, 5);
            let (whole, part) = stamp.split_once('.').unwrap_or((&stamp, ""));
            format!("{whole}{part:0<9}").parse::<u64>().expect("digits")
        };
        let client = field(line, 3);
        let Some(stored) = self.lines.get(&client) else {
            if rule == Rule::Client && self.order.len() >= clients_max {
                return (None, Verdict::Full);
            }
            self.lines.insert(client.clone(), line.to_owned());
            self.order.push(client);
            return (Some(self.order.len() - 1), Verdict::First);
        };
        let verdict = match (rule, nanos(line).cmp(&nanos(stored))) {
            (_, std::cmp::Ordering::Less) => Verdict::Older,
            (_, std::cmp::Ordering::Greater) => Verdict::Newer,
            _ if line == stored => Verdict::Same,
            (Rule::Client, _) if field(line, 4) == field(stored, 4) => Verdict::Same,
            (Rule::Plain, _) => Verdict::Older,
            _ if line > stored.as_str() => Verdict::Newer,
            _ => Verdict::Older,
        };
        if verdict == Verdict::Newer {
            self.lines.insert(client.clone(), line.to_owned());
        }
        (self.order.iter().position(|known| *known == client), verdict)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_herd_is_a_map_in_which_the_newest_wins(
        steps in prop::collection::vec((at_line(), rule()), 0..200),
        clients_max in 0..14usize,
        seed: u64,
    ) {
        let mut herd = Herd::new(0, seed).with_clients_max(clients_max);
        let mut model = Model::default();
        for (line, rule) in &steps {
            let (key, verdict) = merge(&mut herd, line, *rule);
            let expected = model.merge(line, *rule, clients_max);
            prop_assert_eq!((key.map(ClientKey::index), verdict), expected);
            if let Some(key) = key {
                prop_assert_eq!(herd.line(key), model.lines[&model.order[key.index()]].as_bytes());
            }
        }
        prop_assert_eq!(herd.len(), model.lines.len());
        for ((key, sighting), client) in herd.iter().zip(&model.order) {
            prop_assert_eq!(sighting.client(), client.as_bytes());
            prop_assert_eq!(sighting.line(), model.lines[client].as_bytes());
            prop_assert_eq!(herd.latest(client.as_bytes()), Some(herd.sighting(key)));
        }
        prop_assert!(!herd.knows(b"nobody") && herd.latest(b"nobody").is_none());
    }

    /// Members may hear of each other in any order and as often as they like.
    #[test]
    fn merging_is_commutative_and_idempotent(lines in at_lines(), seed: u64) {
        let mut shuffled = lines.clone();
        shuffled.extend(lines.iter().take(10).cloned());
        let mut random = seed | 1;
        for last in (1..shuffled.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(last, (random >> 33) as usize % (last + 1));
        }
        let twice = [lines.clone(), lines.clone()].concat();
        let expected = contents(&herd_of(&lines));
        prop_assert_eq!(&contents(&herd_of(&shuffled)), &expected);
        prop_assert_eq!(&contents(&herd_of(&twice)), &expected);
    }

    /// What two servers have merged may be merged as one.
    #[test]
    fn merging_is_associative(a in at_lines(), b in at_lines(), c in at_lines()) {
        let lines = |herd: &Herd| -> Vec<String> {
            let lines = contents(herd).into_values();
            lines.map(|line| String::from_utf8(line).unwrap()).collect()
        };
        let left = [lines(&herd_of(&[a.clone(), b.clone()].concat())), c.clone()].concat();
        let right = [a, lines(&herd_of(&[b, c].concat()))].concat();
        prop_assert_eq!(contents(&herd_of(&left)), contents(&herd_of(&right)));
    }

    #[test]
    fn what_is_owed_is_a_set_for_each_neighbour(
        steps in prop::collection::vec((0..8u8, 0..3usize, 0..150usize), 0..400),
    ) {
        let mut herd = Herd::new(3, 3);
        let mut model = vec![BTreeSet::new(); 3];
        let mut keys = Vec::new();
        for (step, neighbour, client) in steps {
            let known = keys.get(client % keys.len().max(1)).copied();
            match (step, known) {
                (0 | 1, _) => {
                    // New clients come while bits are set.
                    for _ in 0..=client % 40 {
                        let line = format!("AT A +0.5 client-{} +1+1 5", keys.len());
                        keys.extend(merge(&mut herd, &line, Rule::Member).0);
                    }
                }
                (2 | 3, Some(key)) => {
                    herd.owed.owe(neighbour, key);
                    model[neighbour].insert(key);
                }
                (4, Some(key)) => {
                    herd.owed.settle(neighbour, key);
                    model[neighbour].remove(&key);
                }
                (5, _) => {
                    herd.owed.owe_all(neighbour);
                    model[neighbour] = keys.iter().copied().collect();
                }
                (6, _) if client == 0 => {
                    herd.owed.forget(neighbour);
                    model[neighbour].clear();
                }
                _ => {
                    for _ in 0..client {
                        let paid = herd.owed.pay(neighbour);
                        prop_assert_eq!(paid.is_some(), !model[neighbour].is_empty());
                        prop_assert!(paid.is_none_or(|key| model[neighbour].remove(&key)));
                    }
                }
            }
            for (neighbour, owed) in model.iter().enumerate() {
                prop_assert_eq!(herd.owed.owed(neighbour), owed.len());
                for &key in &keys {
                    prop_assert_eq!(herd.owed.owes(neighbour, key), owed.contains(&key));
                }
            }
        }
    }
}

/// No memory is asked for: the line of a known client that fits is written where the old one was.
#[test]
fn a_known_clients_line_is_written_over_in_place() {
    let mut herd = Herd::new(2, 3);
    let keys: Vec<ClientKey> = (0..1000)
        .filter_map(|client| {
            let line = format!("AT Alford +0.263873386 client-{client:04} +34.0-118.4 1.5");
            merge(&mut herd, &line, Rule::Member).0
        })
        .collect();
    for (client, &key) in keys.iter().enumerate() {
        let line = format!("AT Bolden -0.263873386 client-{client:04} -34.0+118.4 2.5");
        let address = herd.line(key).as_ptr();
        assert_eq!(merge(&mut herd, &line, Rule::Client), (Some(key), Verdict::Newer));
        assert_eq!((herd.line(key), herd.line(key).as_ptr()), (line.as_bytes(), address));
    }
}
