//! With `ack = "peer"`: which neighbour had each answered report, and which replies left without one.
//!
//! In: every turn of every server, with its new lines and its count of unreplicated replies;
//! the replies that clients have received. Out: the fate of each reply.
//!
//! The idea: a client cannot see why a reply has left. But the reply's line contains the time at which the report was
//! received, to the nanosecond of the server's clock, which identifies the turn. A server gives up a reply in one
//! turn only, the first in which it has waited long enough, and counts it. So the count of that turn must be at least
//! the number of replies that no neighbour had in time.
//!
//! ```text
//!   server       received ── held ──────── wait ────────▶ given up: counted += 1
//!   neighbour          had it, or a newer one, by then? ─▶ taken
//! ```
//!
//! It knows nothing of ACK lines, nor of the server's own bookkeeping.

use super::at_line::AtLine;
use herd_reactor::{Core, Moment};
use places_herd::server::member::Member;
use std::collections::BTreeMap;
use std::time::Duration;

/// One life of one server: the server's number, and how often it has been started.
pub(crate) type Life = (usize, usize);

/// One turn of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    at: Moment,
    /// The server's wall clock, in nanoseconds.
    wall_nanos: u64,
    /// The number of replies that the server has sent so far without an acknowledgement.
    unreplicated: u64,
}

impl Turn {
    pub(crate) fn of(member: &Member, core: &Core<Member>) -> Turn {
        let (at, wall_nanos) = (core.now(), core.wall().0);
        Turn { at, wall_nanos, unreplicated: member.counters.unreplicated_replies }
    }
}

/// Why a reply may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Replies do not wait in this run.
    Local,
    /// These neighbours, in these lives, had the report, or a newer one, before the server was due to stop waiting
    /// for them.
    Taken(Vec<Life>),
    /// No neighbour had the report, and the server has counted the reply.
    Counted,
    /// No neighbour had the report, and the server has not counted the reply.
    Unfounded,
}

/// The observations of all servers of a run.
#[derive(Debug)]
pub(crate) struct Replicas {
    wait: Duration,
    lives: BTreeMap<Life, Record>,
}

/// The observations of one life of one server.
#[derive(Debug, Default)]
struct Record {
    turns: Vec<Turn>,
    /// The lines that the server has stored of each client, and when.
    stored: BTreeMap<String, Vec<(Moment, AtLine)>>,
    /// The first and the last turn that may have given up each reply whose report no neighbour had.
    untaken: Vec<[usize; 2]>,
}

impl Replicas {
    /// Starts without observations. `wait`: how long replies wait.
    pub(crate) fn new(wait: Duration) -> Replicas {
        Replicas { wait, lives: BTreeMap::new() }
    }

    /// Notes a turn of a server, and the lines that it has stored since its last turn.
    pub(crate) fn turned(&mut self, life: Life, turn: Turn, news: Vec<AtLine>) {
        let record = self.lives.entry(life).or_default();
        record.turns.push(turn);
        for report in news {
            let all = record.stored.entry(report.client.clone()).or_default();
            all.push((turn.at, report));
        }
    }

    /// Returns the number of replies that all servers have given up.
    pub(crate) fn unreplicated(&self) -> u64 {
        let last = self.lives.values().filter_map(|record| record.turns.last());
        last.map(|turn| turn.unreplicated).sum()
    }

    /// Returns the fate of a reply of `server` that a client has received. `neighbours`: the neighbours that could
    /// acknowledge it. `is_kept`: whether the first line is at least as new as the second.
    ///
    /// `None` if the server had no turn in which it can have received the report.
    pub(crate) fn fate(
        &mut self,
        server: usize,
        reply: &AtLine,
        neighbours: &[usize],
        is_kept: impl Fn(&AtLine, &AtLine) -> bool,
    ) -> Option<Fate> {
        let received = reply.received_nanos()?;
        let lives = self.lives.range((server, 0)..(server + 1, 0)).rev();
        let mut turns =
            lives.filter_map(|(life, record)| Some((*life, record.received(received)?)));
        let (life, [first, last]) = turns.next()?;
        let record = &self.lives[&life];
        // A line that had to wait for room may be delivered by the flush of the next turn, with the time
        // of the last read; then the turn after that one holds it.
        let given_up = [first, last + 2].map(|turn| record.gives_up(turn, self.wait));
        let since = record.turns[first].at;
        // Until the server gives up, an acknowledgement may still arrive.
        let by = record.turns.get(given_up[1]).map(|turn| turn.at);
        let takers = self.lives.iter().filter(|((neighbour, _), record)| {
            neighbours.contains(neighbour)
                && record.turns.last().is_some_and(|turn| turn.at >= since)
                && record.has(reply, by, &is_kept)
        });
        let takers: Vec<Life> = takers.map(|(life, _)| *life).collect();
        if !takers.is_empty() {
            return Some(Fate::Taken(takers));
        }
        let record = self.lives.get_mut(&life)?;
        record.untaken.push(given_up);
        record.untaken.sort();
        Some(if record.has_counted_all() { Fate::Counted } else { Fate::Unfounded })
    }
}

impl Record {
    /// Returns the first and the last turn in which the server's clock showed `wall_nanos`.
    fn received(&self, wall_nanos: u64) -> Option<[usize; 2]> {
        let showed = |turn: &Turn| turn.wall_nanos == wall_nanos;
        Some([self.turns.iter().position(showed)?, self.turns.iter().rposition(showed)?])
    }

    /// Returns the turn in which the server gives up a reply held in `turn`: the first that begins `wait` later.
    /// It may not have happened yet.
    fn gives_up(&self, turn: usize, wait: Duration) -> usize {
        let Some(held) = self.turns.get(turn) else { return self.turns.len() };
        self.turns.partition_point(|turn| turn.at < held.at + wait)
    }

    /// Whether the server had stored the report of `reply`, or a newer one, by that time.
    fn has(
        &self,
        reply: &AtLine,
        by: Option<Moment>,
        is_kept: impl Fn(&AtLine, &AtLine) -> bool,
    ) -> bool {
        let mut stored = self.stored.get(&reply.client).into_iter().flatten();
        stored.any(|(at, known)| by.is_none_or(|by| *at <= by) && is_kept(known, reply))
    }

    /// Whether the server's counts cover each reply whose report no neighbour had. Assigning the replies in the order
    /// of their first and last turn finds an assignment if there is one.
    fn has_counted_all(&self) -> bool {
        let mut used: BTreeMap<usize, u64> = BTreeMap::new();
        self.untaken.iter().all(|[first, last]| {
            let mut turns = *first..=(*last).min(self.turns.len().saturating_sub(1));
            let free =
                turns.find(|turn| used.get(turn).copied().unwrap_or(0) < self.counted(*turn));
            free.map(|turn| *used.entry(turn).or_default() += 1).is_some()
        })
    }

    /// Returns the number of replies that it has given up in a turn.
    fn counted(&self, turn: usize) -> u64 {
        let before = turn.checked_sub(1).map_or(0, |before| self.turns[before].unreplicated);
        self.turns[turn].unreplicated - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cluster::{MS, SECOND};

    const ALFORD: usize = 0;
    const BOLDEN: usize = 1;

    /// Returns the moment `ms` after the start; wall clocks are 100 s ahead of it.
    fn at(ms: u32) -> Moment {
        Moment::default() + ms * MS
    }

    fn turn(ms: u32, unreplicated: u64) -> Turn {
        let wall = 100 * SECOND + ms * MS;
        Turn { at: at(ms), wall_nanos: wall.as_nanos() as u64, unreplicated }
    }

    /// Returns a report that Alford received `ms` after the start.
    fn reply(client: &str, ms: u32) -> AtLine {
        let line = format!("AT Alford +0.{ms:03}000000 {client} +1+1 100");
        AtLine::read(&line).expect("it is one")
    }

    /// Returns observations of Alford: the times of its turns, and its count by then; replies wait for 50 ms.
    fn replicas(turns: &[(u32, u64)]) -> Replicas {
        let mut replicas = Replicas::new(50 * MS);
        for (ms, counted) in turns {
            replicas.turned((ALFORD, 1), turn(*ms, *counted), Vec::new());
        }
        replicas
    }

    fn fate(replicas: &mut Replicas, reply: &AtLine) -> Option<Fate> {
        replicas.fate(ALFORD, reply, &[BOLDEN], |known, wanted| known >= wanted)
    }

    #[test]
    fn what_a_neighbour_has_in_time_is_taken_and_what_it_has_later_is_not() {
        for (stored_ms, taken) in [(40, true), (70, true), (71, false)] {
            let mut replicas = replicas(&[(10, 0), (15, 0), (15, 0), (70, 0), (90, 0)]);
            replicas.turned((BOLDEN, 1), turn(stored_ms, 0), vec![reply("kiwi", 10)]);
            let expected = if taken { Fate::Taken(vec![(BOLDEN, 1)]) } else { Fate::Unfounded };
            assert_eq!(fate(&mut replicas, &reply("kiwi", 10)), Some(expected), "{stored_ms}");
        }
    }

    #[test]
    fn one_that_is_counted_explains_one_reply_of_its_turn() {
        let mut replicas = replicas(&[(10, 0), (10, 0), (30, 0), (60, 1), (80, 3)]);
        let [kiwi, fig, plum] = ["kiwi", "fig", "plum"].map(|client| reply(client, 10));
        let late = reply("lime", 30);
        assert_eq!(fate(&mut replicas, &late), Some(Fate::Counted));
        assert_eq!(fate(&mut replicas, &kiwi), Some(Fate::Counted));
        // It may have been held in a later turn, and then given up in the last one.
        assert_eq!(fate(&mut replicas, &fig), Some(Fate::Counted));
        assert_eq!(fate(&mut replicas, &plum), Some(Fate::Unfounded));
        assert_eq!(replicas.unreplicated(), 3);
    }

    #[test]
    fn a_life_that_was_over_or_asleep_has_taken_nothing() {
        let mut replicas = replicas(&[(10, 0), (15, 0), (20, 0)]);
        replicas.turned((BOLDEN, 1), turn(5, 0), vec![reply("kiwi", 10)]);
        assert_eq!(fate(&mut replicas, &reply("kiwi", 10)), Some(Fate::Unfounded));
        assert_eq!(fate(&mut replicas, &reply("kiwi", 11)), None, "there was no turn then");
    }
}
