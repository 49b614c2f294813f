//! One follower of the table: the clients that it must still be sent, those that it has been sent, and the text of its
//! events.
//!
//! In: the table and its latest [`Changes`]. Out: the next events as text, each with a bounded number of clients. It knows
//! no connection and no clock: `events.rs` decides when a follower may write.
//!
//! The idea: a follower has a backlog, like a slow neighbour: one bit for each client whose latest report it may lack
//! (`due`). When the follower can take an event, it is sent the latest reports of up to [`CLIENTS`] of these clients. So a
//! follower that does not read costs bits, and a client that moves often costs no more than one that moves once. A second
//! bit for each client (`told`) notes that the follower has been sent it. When such a client is forgotten or leaves the
//! bounding box, the event `gone` names it.
//!
//! A slice takes the bit of a client, and then decides by the client's latest report whether it matches the filter. So for
//! a new follower every client is due, and a slice must limit the clients that it examines ([`EXAMINED`]).
//!
//! A follower that reconnects presents the id of the last event that it received, `START-CHANGE`. This id means that it has
//! been sent everything before that change; hence an event has an id only if nothing is due after it. If the ring of
//! changes still has that change, only the clients that have changed since are due, and every client counts as told. So
//! the follower may be sent `gone` for a client that it does not know.
//!
//! The table reuses the keys of forgotten clients. So a slice first reports which clients were forgotten, while their bits
//! in `told` still mean them, and only then sends reports.
//!
//! Source: the WHATWG's HTML standard, "Server-sent events".

use super::bounding_box::BoundingBox;
use super::feature::{add_feature, begin_collection, end_collection};
use crate::access::in_hex;
use crate::table::Table;
use crate::table::changes::Changes;
use crate::table::client_set::ClientSet;
use crate::wire::report::Report;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write as _;

/// Maximum clients in the events of one round.
const CLIENTS: usize = 500;

/// Maximum clients that one slice examines, in about 0.2 ms.
const EXAMINED: usize = 2_048;

/// An event ends when its lines or ids have this many bytes, because ids may be long.
const EVENT_BYTES: usize = 64 << 10;

/// Which clients a follower wants.
#[derive(Debug, Default)]
pub(super) struct FollowerFilter {
    /// Only the clients with these ids; empty: all.
    pub(super) ids: BTreeSet<Vec<u8>>,
    /// Only the clients in this box.
    pub(super) bbox: Option<BoundingBox>,
}

impl FollowerFilter {
    fn has_id(&self, id: &[u8]) -> bool {
        self.ids.is_empty() || self.ids.contains(id)
    }

    fn matches(&self, report: &Report<'_>) -> bool {
        let is_inside = |bbox: &BoundingBox| bbox.contains(report.location().degrees());
        self.has_id(report.client()) && self.bbox.as_ref().is_none_or(is_inside)
    }

    /// The clients that may match now.
    fn candidates(&self, table: &Table) -> ClientSet {
        let mut set = ClientSet::default();
        if self.ids.is_empty() {
            set.fill(table.keys(), &[]);
        }
        self.ids.iter().filter_map(|id| table.key_of(id)).for_each(|key| _ = set.insert(key));
        set
    }
}

/// One follower.
#[derive(Debug)]
pub(super) struct Follower {
    filter: FollowerFilter,
    /// When the server started: the first part of the ids of events.
    start: u64,
    /// The clients whose latest report it may lack.
    due: ClientSet,
    /// The clients that it has been sent, without those that `gone` has named since.
    told: ClientSet,
    /// The first change that is not in `due` yet.
    next_change: u64,
    /// The first change whose forgotten client it has not been told of.
    next_forgotten: u64,
    /// The change at which it connected. It may know any client that was forgotten before, from an earlier connection.
    returned_at: u64,
    /// Whether it has returned, and lacks only what has changed since.
    pub(super) is_resumed: bool,
    /// The clients sent in this round.
    sent: usize,
}

impl Follower {
    /// Makes a follower whose last event had the id `last`. It lacks every report, unless this server, which started at
    /// `start`, sent that event, and the table still has all changes since.
    pub(super) fn new(
        filter: FollowerFilter,
        table: &Table,
        start: u64,
        last: Option<&[u8]>,
    ) -> Follower {
        let changes = changes(table);
        let returns_to = last.and_then(|id| change_of(id, start)).filter(|&change| {
            changes.since(change).is_some() && changes.forgotten_since(change).is_some()
        });
        let (all, none) = (filter.candidates(table), ClientSet::default());
        let (due, told) = if returns_to.is_some() { (none, all) } else { (all, none) };
        let next = returns_to.unwrap_or(changes.count());
        Follower {
            filter,
            start,
            due,
            told,
            next_change: next,
            next_forgotten: next,
            returned_at: changes.count(),
            is_resumed: returns_to.is_some(),
            sent: 0,
        }
    }

    /// Notes the changes since the last call. If there were more than the ring holds, every client is due.
    pub(super) fn catch_up(&mut self, table: &Table) {
        match changes(table).since(self.next_change) {
            Some(keys) => keys.for_each(|key| _ = self.due.insert(key)),
            None => self.due.fill(table.keys(), &[]),
        }
        self.next_change = changes(table).count();
    }

    /// Appends the next events to `out`. Returns whether the follower needs another slice in this round; `None` if the ids
    /// of forgotten clients were dropped before it was sent them, so that it must reconnect as a new follower.
    pub(super) fn write_slice(&mut self, table: &Table, out: &mut Vec<u8>) -> Option<bool> {
        self.catch_up(table);
        let (mut gone, mut reports) = (Vec::new(), Vec::new());
        let has_more = self.take_forgotten(changes(table), &mut gone)?
            && self.take_due(table, &mut gone, &mut reports);
        if !gone.is_empty() {
            let (texts, others): (Vec<&[u8]>, Vec<_>) =
                gone.into_iter().partition(|id| str::from_utf8(id).is_ok());
            let texts: Vec<_> = texts.into_iter().map(String::from_utf8_lossy).collect();
            let others: Vec<_> = others.into_iter().map(in_hex).collect();
            self.begin_event(out, "gone", reports.is_empty());
            // Writing to a Vec does not fail.
            let _ = write!(out, "{}\n\n", json!({ "ids": texts, "ids_hex": others }));
        }
        if !reports.is_empty() {
            self.begin_event(out, "reports", true);
            begin_collection(out);
            reports.iter().for_each(|report| add_feature(out, report));
            end_collection(out);
            out.extend_from_slice(b"\n\n");
        }
        self.sent = if has_more { self.sent + reports.len() } else { 0 };
        Some(has_more)
    }

    /// Appends the beginning of an event, up to its data. `is_last`: no other event follows it in the same slice.
    pub(super) fn begin_event(&self, out: &mut Vec<u8>, name: &str, is_last: bool) {
        // Writing to a Vec does not fail.
        if is_last && !self.is_behind() {
            let _ = writeln!(out, "id: {:x}-{}", self.start, self.next_change);
        }
        let _ = write!(out, "event: {name}\ndata: ");
    }

    /// Whether it has not been sent everything that [`catch_up`](Follower::catch_up) has noted.
    pub(super) fn is_behind(&self) -> bool {
        self.due.len() > 0 || self.next_forgotten < self.next_change
    }

    /// Takes the clients that were forgotten since the last call and that the follower may know. Returns whether these are
    /// all; `None` if the ids of some were dropped.
    fn take_forgotten<'t>(
        &mut self,
        changes: &'t Changes,
        gone: &mut Vec<&'t [u8]>,
    ) -> Option<bool> {
        let mut bytes = 0;
        for client in changes.forgotten_since(self.next_forgotten)? {
            if bytes > EVENT_BYTES {
                return Some(false);
            }
            let was_told = self.told.remove(client.key) || client.change < self.returned_at;
            if was_told && self.filter.has_id(&client.id) {
                bytes += client.id.len();
                gone.push(&*client.id);
            }
            self.next_forgotten = client.change + 1;
        }
        self.next_forgotten = changes.count();
        Some(true)
    }

    /// Takes clients that are due. Those that match the filter go to `reports`; of the others, those that it has been sent
    /// go to `gone`. Returns whether it may take more in this round.
    fn take_due<'t>(
        &mut self,
        table: &'t Table,
        gone: &mut Vec<&'t [u8]>,
        reports: &mut Vec<Report<'t>>,
    ) -> bool {
        let mut bytes = 0;
        for _ in 0..EXAMINED {
            if self.sent + reports.len() >= CLIENTS || bytes > EVENT_BYTES {
                return false;
            }
            let Some(key) = self.due.take_next() else { return false };
            let Some(report) = table.served(key.index()) else { continue };
            if self.filter.matches(&report) {
                self.told.insert(key);
                reports.push(report);
            } else if self.told.remove(key) {
                gone.push(report.client());
            } else {
                continue;
            }
            bytes += report.line().len();
        }
        self.due.len() > 0
    }
}

/// The latest changes of a table that is followed.
fn changes(table: &Table) -> &Changes {
    table.changes.as_ref().expect("the first follower begins them")
}

/// Returns the change in the id of an event of the server that started at `start`; `None` if it is no such id.
fn change_of(id: &[u8], start: u64) -> Option<u64> {
    let (of, change) = str::from_utf8(id).ok()?.split_once('-')?;
    let is_ours = u64::from_str_radix(of, 16) == Ok(start);
    change.parse().ok().filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::ReportOrigin;
    use crate::table::changes::RING;
    use crate::wire::command::{Command, CommandLimits};
    use crate::wire::stamp::Stamp;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    const START: u64 = 0x6b1f;

    /// A table whose news is noted, as the flood does.
    struct Followed(Table);

    impl Followed {
        fn new() -> Followed {
            let mut table = Table::new(1);
            table.changes = Some(Box::default());
            Followed(table)
        }

        fn report(&mut self, client: &str, location: &str, seconds: u64) {
            self.report_bytes(format!("AT A +0.5 {client} {location} {seconds}").as_bytes());
        }

        fn report_bytes(&mut self, line: &[u8]) {
            let Ok(Command::At(at)) = Command::parse(line, &CommandLimits::default()) else {
                panic!("{line:?}")
            };
            let mut scratch = Vec::new();
            let (key, outcome) =
                self.0.merge(&Report::relayed(&at, &mut scratch), ReportOrigin::Server);
            if outcome.is_news() {
                self.0.changes.as_mut().unwrap().reported(&[key.unwrap()]);
            }
        }

        fn forget_before(&mut self, seconds: u64) {
            self.0.forget_before(Stamp(seconds * 1_000_000_000), 0..self.0.keys());
        }

        fn follow(&self, filter: FollowerFilter, last: Option<&str>) -> Follower {
            Follower::new(filter, &self.0, START, last.map(str::as_bytes))
        }

        /// One slice, and its events.
        fn slice(&self, follower: &mut Follower) -> (Option<bool>, Vec<Event>) {
            let mut out = Vec::new();
            let slice = follower.write_slice(&self.0, &mut out);
            (slice, events(&out))
        }

        /// All that is due, in words: `+` a client that was sent, `-` one that is gone.
        fn all(&self, follower: &mut Follower) -> String {
            let mut words = Vec::new();
            loop {
                let (_, events) = self.slice(follower);
                words.extend(events.iter().flat_map(|event| event.words.clone()));
                if !follower.is_behind() {
                    return words.join(" ");
                }
            }
        }
    }

    #[derive(Debug)]
    struct Event {
        id: Option<String>,
        words: Vec<String>,
    }

    fn events(text: &[u8]) -> Vec<Event> {
        let text = str::from_utf8(text).unwrap();
        assert!(text.is_empty() || text.ends_with("\n\n"));
        let event = |text: &str| {
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            let data: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
            let words = match field("event: ").unwrap() {
                "gone" => {
                    let lists =
                        ["ids", "ids_hex"].map(|list| data[list].as_array().unwrap().iter());
                    lists
                        .into_iter()
                        .flatten()
                        .map(|id| format!("-{}", id.as_str().unwrap()))
                        .collect()
                }
                _ => {
                    let features = data["features"].as_array().unwrap().iter();
                    features.map(|one| format!("+{}", one["id"].as_str().unwrap())).collect()
                }
            };
            Event { id: field("id: ").map(str::to_owned), words }
        };
        text.split_terminator("\n\n").map(event).collect()
    }

    /// The id of an event after which nothing is due.
    fn id(follower: &Follower) -> Option<String> {
        (!follower.is_behind()).then(|| format!("{:x}-{}", follower.start, follower.next_change))
    }

    fn bbox(text: &str) -> FollowerFilter {
        FollowerFilter { bbox: BoundingBox::parse(text.as_bytes()), ..FollowerFilter::default() }
    }

    fn only(ids: &[&str]) -> FollowerFilter {
        let ids = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        FollowerFilter { ids, bbox: None }
    }

    #[test]
    fn a_new_follower_is_sent_everything_and_then_only_the_newest_report_of_each_change() {
        let mut herd = Followed::new();
        herd.report("kiwi", "+1+1", 1);
        herd.report("fig", "+2+2", 1);
        let mut follower = herd.follow(FollowerFilter::default(), None);
        let (slice, events) = herd.slice(&mut follower);
        assert_eq!((slice, events.len(), follower.is_behind()), (Some(false), 1, false));
        assert_eq!(events[0].words, ["+kiwi", "+fig"]);
        assert_eq!(events[0].id.as_deref(), Some("6b1f-2"));
        assert_eq!(herd.all(&mut follower), "");
        for seconds in 2..9 {
            herd.report("fig", "+3+3", seconds);
        }
        let mut out = Vec::new();
        follower.write_slice(&herd.0, &mut out);
        let expected = "id: 6b1f-9\nevent: reports\ndata: {\"type\":\"FeatureCollection\",\"features\":[\
            {\"type\":\"Feature\",\"id\":\"fig\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[3,3]},\
            \"properties\":{\"time\":\"8\",\"server\":\"A\",\"diff\":\"+0.5\"}}]}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn an_event_has_at_most_five_hundred_clients_and_an_id_only_if_nothing_is_due_after_it() {
        let mut herd = Followed::new();
        (0..1_001).for_each(|number| herd.report(&format!("c{number}"), "+1+1", 1));
        let mut follower = herd.follow(FollowerFilter::default(), None);
        let mut slices = Vec::new();
        for _ in 0..4 {
            let (slice, events) = herd.slice(&mut follower);
            let words = events.iter().map(|event| event.words.len()).sum::<usize>();
            let has_id = events.iter().any(|event| event.id.is_some());
            assert_eq!(slice, Some(false), "the rest is for the next round");
            slices.push((follower.is_behind(), words, has_id));
        }
        let full = (true, CLIENTS, false);
        assert_eq!(slices, [full, full, (false, 1, true), (false, 0, false)]);
    }

    #[test]
    fn long_ids_end_an_event_earlier() {
        let mut herd = Followed::new();
        (0..100).for_each(|number| herd.report(&format!("{number:01000}"), "+1+1", 1));
        let (slice, events) = herd.slice(&mut herd.follow(FollowerFilter::default(), None));
        assert_eq!((slice, events[0].words.len()), (Some(false), 65));
    }

    #[test]
    fn a_slice_examines_a_bounded_number_of_clients() {
        let mut herd = Followed::new();
        (0..2 * EXAMINED).for_each(|number| herd.report(&format!("c{number}"), "+1+1", 1));
        herd.report("in", "+50+50", 1);
        let mut follower = herd.follow(bbox("40,40,60,60"), None);
        for _ in 0..2 {
            let (slice, events) = herd.slice(&mut follower);
            assert_eq!((slice, events.len()), (Some(true), 0));
        }
        assert_eq!(herd.all(&mut follower), "+in");
    }

    #[test]
    fn leaving_a_box_across_the_antimeridian_is_told_once_and_only_of_clients_that_were_in_it() {
        let mut herd = Followed::new();
        herd.report("suva", "-18+178", 1);
        herd.report("apia", "-14-172", 1);
        herd.report("rome", "+42+12", 1);
        let mut follower = herd.follow(bbox("170,-30,-170,0"), None);
        assert_eq!(herd.all(&mut follower), "+suva +apia");
        herd.report("suva", "-18-179", 2);
        herd.report("apia", "-14-169", 2);
        herd.report("rome", "+42+13", 2);
        assert_eq!(herd.all(&mut follower), "-apia +suva");
        herd.report("apia", "-14-168", 3);
        assert_eq!(herd.all(&mut follower), "");
        herd.report("apia", "-14+180", 4);
        assert_eq!(herd.all(&mut follower), "+apia");
    }

    #[test]
    fn a_forgotten_client_is_gone_even_if_another_has_its_key_by_then() {
        let mut herd = Followed::new();
        herd.report("old", "+1+1", 1);
        herd.report("young", "+1+1", 9);
        let mut follower = herd.follow(FollowerFilter::default(), None);
        let mut other = herd.follow(FollowerFilter::default(), None);
        assert_eq!(herd.all(&mut follower), "+old +young");
        herd.forget_before(5);
        herd.report("new", "+1+1", 9);
        assert_eq!(herd.all(&mut follower), "-old +new");
        assert_eq!(herd.all(&mut other), "+new +young", "it was never told of the old one");
        herd.forget_before(10);
        herd.report("new", "+2+2", 11);
        assert_eq!(herd.all(&mut follower), "-new -young +new", "gone comes before the new report");
    }

    #[test]
    fn a_follower_of_some_clients_hears_of_no_other() {
        let mut herd = Followed::new();
        herd.report("kiwi", "+1+1", 1);
        herd.report("fig", "+1+1", 1);
        let mut follower = herd.follow(only(&["fig", "unknown"]), None);
        assert_eq!(herd.all(&mut follower), "+fig");
        herd.report("kiwi", "+1+1", 2);
        herd.report("unknown", "+1+1", 2);
        assert_eq!(herd.all(&mut follower), "+unknown");
        herd.forget_before(5);
        assert_eq!(herd.all(&mut follower), "-fig -unknown");
    }

    #[test]
    fn ids_that_are_not_utf_8_are_gone_by_their_digits() {
        let mut herd = Followed::new();
        for id in [&b"a\"b"[..], b"\xff\x01", b"c"] {
            herd.report_bytes(&[b"AT A +0.5 ", id, b" +1+1 1"].concat());
        }
        let mut follower = herd.follow(FollowerFilter::default(), None);
        herd.all(&mut follower);
        herd.forget_before(5);
        let mut out = Vec::new();
        follower.write_slice(&herd.0, &mut out);
        let expected = "id: 6b1f-6\nevent: gone\ndata: {\"ids\":[\"a\\\"b\",\"c\"],\"ids_hex\":[\"ff01\"]}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_follower_that_returns_is_sent_what_has_changed_and_what_is_gone() {
        let mut herd = Followed::new();
        for client in ["a", "b", "c"] {
            herd.report(client, "+1+1", 1);
        }
        let mut follower = herd.follow(FollowerFilter::default(), None);
        herd.all(&mut follower);
        let last = id(&follower);
        herd.report("b", "+2+2", 9);
        herd.forget_before(5);
        herd.report("d", "+2+2", 9);
        for filter in [FollowerFilter::default(), bbox("0,0,5,5"), only(&["a", "b", "c", "d"])] {
            let mut follower = herd.follow(filter, last.as_deref());
            assert!(follower.is_resumed);
            let mut words: Vec<_> = herd.all(&mut follower).split(' ').map(str::to_owned).collect();
            words.sort();
            assert_eq!(words, ["+b", "+d", "-a", "-c"]);
            assert_eq!(herd.all(&mut follower), "");
        }
        let last = id(&follower);
        let mut current = herd.follow(FollowerFilter::default(), last.as_deref());
        assert_eq!(herd.all(&mut current), herd.all(&mut follower));
    }

    #[test]
    fn a_follower_that_returns_hears_the_end_of_clients_that_an_event_without_an_id_named() {
        let mut herd = Followed::new();
        let mut follower = herd.follow(FollowerFilter::default(), None);
        let last = id(&follower);
        (0..CLIENTS).for_each(|number| herd.report(&format!("c{number}"), "+1+1", 1));
        herd.report("due", "+1+1", 9);
        let (slice, events) = herd.slice(&mut follower);
        assert_eq!(
            (slice, events[0].id.as_deref(), &*events[0].words[0]),
            (Some(false), None, "+c0")
        );
        herd.forget_before(5);
        herd.report("new", "+1+1", 9);
        herd.forget_before(9);
        let words = herd.all(&mut herd.follow(FollowerFilter::default(), last.as_deref()));
        assert_eq!(words.matches("-c").count(), CLIENTS, "{words}");
    }

    #[test]
    fn a_follower_that_returns_too_late_or_from_another_start_is_sent_everything() {
        let mut herd = Followed::new();
        herd.report("a", "+1+1", 1);
        let first = "6b1f-1";
        let resumed = |herd: &Followed, last: &str| {
            let mut follower = herd.follow(FollowerFilter::default(), Some(last));
            (follower.is_resumed, herd.all(&mut follower))
        };
        (2..=RING as u64 + 1).for_each(|seconds| herd.report("b", "+1+1", seconds));
        assert_eq!(resumed(&herd, first), (true, "+b".to_owned()), "within the ring");
        herd.report("b", "+1+1", RING as u64 + 2);
        assert_eq!(resumed(&herd, first), (false, "+a +b".to_owned()), "one change too late");
        let now = changes(&herd.0).count();
        for last in
            [format!("6b20-{now}"), format!("6b1f-{}", now + 1), format!("6b1f-{}", u64::MAX)]
        {
            assert_eq!(resumed(&herd, &last), (false, "+a +b".to_owned()));
        }
        assert_eq!(resumed(&herd, &format!("6b1f-{now}")), (true, String::new()));
    }

    #[test]
    fn the_ids_of_our_events_are_read_and_others_are_none() {
        assert_eq!(change_of(b"6b1f-18231", START), Some(18_231));
        assert_eq!(change_of(b"6b1f-18231", START + 1), None);
        for text in ["", "-", "6b1f", "6b1f-", "-1", "6b1f--1", "x-1", "6b1f-18231 ", "\u{663}-1"] {
            assert_eq!(change_of(text.as_bytes(), START), None, "{text:?}");
        }
        assert_eq!(change_of(b"6b1f-99999999999999999999", START), None);
        assert_eq!(change_of(b"\xff-1", START), None);
    }

    #[test]
    fn a_follower_that_does_not_read_costs_bits() {
        let mut herd = Followed::new();
        (0..1_000).for_each(|number| herd.report(&format!("c{number}"), "+1+1", 1));
        let mut follower = herd.follow(FollowerFilter::default(), None);
        herd.all(&mut follower);
        // More changes than the ring holds, without a call: everybody is due, and nobody twice.
        (2..102).for_each(|seconds| {
            (0..1_000).for_each(|number| herd.report(&format!("c{number}"), "+2+2", seconds));
        });
        follower.catch_up(&herd.0);
        assert_eq!(follower.due.len(), 1_000);
        assert_eq!(herd.all(&mut follower).split(' ').count(), 1_000);
    }

    #[test]
    fn a_follower_that_misses_too_many_forgotten_clients_must_begin_anew() {
        let mut herd = Followed::new();
        let mut follower = herd.follow(FollowerFilter::default(), None);
        for number in 0..2_000 {
            herd.report(&format!("{number:04096}"), "+1+1", 1);
            herd.forget_before(5);
        }
        assert_eq!(herd.slice(&mut follower).0, None);
    }

    /// What happens to a table and a follower. Numbers stand for clients, places and times.
    #[derive(Clone, Debug)]
    enum Step {
        Report(u8, i8, u64),
        Forget(u64),
        Slice,
        /// The follower's connection is lost, and it returns with the id of its last event.
        Return,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            9 => (0..20u8, -3..3i8, 1..30u64).prop_map(|(client, place, at)| Step::Report(client, place, at)),
            2 => (1..30u64).prop_map(Step::Forget),
            6 => Just(Step::Slice),
            2 => Just(Step::Return),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: a follower that has been sent all that is due knows exactly the clients
        /// of the table that match its filter, and their latest reports.
        #[test]
        fn a_follower_knows_what_the_table_knows(
            steps in prop::collection::vec(step(), 0..120),
            filter in 0..4usize,
        ) {
            let filter = || match filter {
                0 => FollowerFilter::default(),
                1 => bbox("-1,-90,1,90"),
                2 => bbox("1,-90,-1,90"),
                _ => only(&["c1", "c2", "c3"]),
            };
            let mut herd = Followed::new();
            let mut follower = herd.follow(filter(), None);
            let (mut seen, mut last) = (BTreeMap::<String, Value>::new(), None::<String>);
            for step in steps.into_iter().chain([Step::Return, Step::Slice]) {
                match step {
                    Step::Report(client, place, at) => {
                        herd.report(&format!("c{client}"), &format!("+0{place:+}"), at);
                    }
                    Step::Forget(before) => herd.forget_before(before),
                    Step::Return => {
                        follower = herd.follow(filter(), last.as_deref());
                        if !follower.is_resumed {
                            seen.clear();
                        }
                    }
                    Step::Slice => {
                        let mut out = Vec::new();
                        let slice = follower.write_slice(&herd.0, &mut out);
                        prop_assert_eq!(slice, Some(false), "so few clients are one slice");
                        last = events(&out).last().map_or(last, |event| event.id.clone());
                        for text in str::from_utf8(&out).unwrap().split_terminator("\n\n") {
                            let data = text.lines().find_map(|line| line.strip_prefix("data: "));
                            let data: Value = serde_json::from_str(data.unwrap()).unwrap();
                            for id in data["ids"].as_array().into_iter().flatten() {
                                seen.remove(id.as_str().unwrap());
                            }
                            for one in data["features"].as_array().into_iter().flatten() {
                                seen.insert(one["id"].as_str().unwrap().to_owned(), one.clone());
                            }
                        }
                        let matching = herd.0.iter().filter(|(_, report)| filter().matches(report));
                        let known: BTreeMap<String, Value> = matching.map(|(_, report)| {
                            let mut text = Vec::new();
                            super::super::feature::write_feature(&mut text, &report);
                            let one: Value = serde_json::from_slice(&text).unwrap();
                            (one["id"].as_str().unwrap().to_owned(), one)
                        }).collect();
                        prop_assert_eq!(&seen, &known);
                    }
                }
            }
        }
    }
}
