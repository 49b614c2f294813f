//! Checks after every turn of every server that nothing exceeds its limit. It also reports the events of a
//! run, the lines that the journals have taken in, and when each server has stored which line.

use super::replicas::Turn;
use super::sabotage::Saboteur;
use crate::support::cluster::Meddler;
use herd_reactor::testing::{MemoryIo, Segment};
use herd_reactor::{Core, Moment, Reactor};
use places_herd::server::member::Member;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

/// The defaults of `places.in_flight` and `places.queue` together.
const QUESTIONS_MAX: usize = 64 + 1_024;

/// An observation. The first three are reported once per run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A neighbour had a backlog at the end of a turn.
    Backlog,
    /// A connection had more pending output than its limit, and was held up.
    Full,
    /// A buffer exceeded its limit.
    TooMuch(String),
    /// The journal of this server has taken in these lines, in the turn of that time.
    Taken(usize, Moment, Vec<Vec<u8>>),
    /// The journal of this server is broken, and was sound in the turn of that time for the last time; `None`: it is
    /// sound again.
    Broken(usize, Option<Moment>),
    /// This server has exited by itself.
    Ended(usize),
    /// A server whose replies wait for a neighbour has had this turn, and has stored these lines since its last one.
    Turned(usize, Turn, Vec<Vec<u8>>),
}

/// The observations of one server's table and journal.
#[derive(Debug, Default)]
struct Table {
    /// Every line, by its client's number.
    lines: Vec<Vec<u8>>,
    /// The sum of all lines.
    hash: u64,
    /// The lines that were new after the last turn: the next turn begins by giving them to the journal.
    news: Vec<Vec<u8>>,
    /// The last turn in which the journal was sound.
    sound_at: Moment,
    is_broken: bool,
}

impl Table {
    /// Compares this copy with a server's table. Returns the lines that are new.
    fn compare(&mut self, member: &mut Member) -> Vec<Vec<u8>> {
        let mut news = Vec::new();
        let hash = member.table.state_hash();
        if std::mem::replace(&mut self.hash, hash) == hash {
            return news;
        }
        for (key, report) in member.table.iter() {
            let (index, line) = (key.index(), report.line());
            if self.lines.len() <= index {
                self.lines.resize(index + 1, Vec::new());
            }
            if self.lines[index] != line {
                self.lines[index] = line.to_vec();
                news.push(line.to_vec());
            }
        }
        news
    }
}

/// Observes every turn, and runs the saboteur, if there is one.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Whether replies wait for a neighbour.
    acks: bool,
    mark: usize,
    /// The maximum pending output of a link, and of a client's connection.
    most: [usize; 2],
    seen: Sender<Seen>,
    told: [bool; 3],
    tables: BTreeMap<usize, Table>,
    saboteur: Option<Saboteur>,
}

impl Watch {
    pub(crate) fn new(
        acks: bool,
        mark: usize,
        most: [usize; 2],
        seen: Sender<Seen>,
        saboteur: Option<Saboteur>,
    ) -> Watch {
        Watch { acks, mark, most, seen, told: [false; 3], tables: BTreeMap::new(), saboteur }
    }

    /// Reports the lines that a server has stored since its last turn, if the run needs them.
    fn look_at_table(&mut self, server: usize, member: &mut Member, core: &Core<Member>) {
        let has_journal = member.journal_counts().is_some();
        if has_journal {
            self.look_at_journal(server, member, core.now());
        }
        if !has_journal && !self.acks {
            return;
        }
        let table = self.tables.entry(server).or_default();
        let news = table.compare(member);
        if has_journal {
            table.news.extend_from_slice(&news);
        }
        if self.acks {
            let turn = Turn::of(member, core);
            // The receiver may be gone at the end of the run; here and below.
            let _ = self.seen.send(Seen::Turned(server, turn, news));
        }
    }

    /// Reports the state of a server's journal, and the lines that it has taken in.
    fn look_at_journal(&mut self, server: usize, member: &Member, now: Moment) {
        let table = self.tables.entry(server).or_default();
        let is_broken = !member.takes_reports();
        if std::mem::replace(&mut table.is_broken, is_broken) != is_broken {
            let _ = self.seen.send(Seen::Broken(server, is_broken.then_some(table.sound_at)));
        }
        if !is_broken {
            table.sound_at = now;
            if !table.news.is_empty() {
                let news = std::mem::take(&mut table.news);
                let _ = self.seen.send(Seen::Taken(server, now, news));
            }
        }
    }

    fn tell(&mut self, which: usize, what: Seen) {
        if !std::mem::replace(&mut self.told[which], true) {
            // The receiver may be gone at the end of the run.
            let _ = self.seen.send(what);
        }
    }
}

impl Meddler for Watch {
    fn started(&mut self, server: usize) {
        self.tables.remove(&server);
    }

    fn turned(&mut self, server: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        if reactor.is_stopped() {
            let _ = self.seen.send(Seen::Ended(server));
            return;
        }
        let conns = reactor.io().connections();
        let (member, core) = reactor.parts();
        for conn in conns {
            let pending = core.pending(conn);
            if pending >= self.mark {
                self.tell(0, Seen::Full);
            }
            let is_link = member.neighbours.iter().any(|(_, link)| link.conn == Some(conn));
            let most = self.most[usize::from(!is_link)];
            if pending > most {
                self.tell(
                    2,
                    Seen::TooMuch(format!("{pending} bytes pending of {most} on {conn:?}")),
                );
            }
        }
        self.look_at_table(server, member, core);
        let clients = member.table.len();
        let backlogs = &member.table.backlogs;
        let lens = member.neighbours.iter().map(|(_, link)| backlogs.len(link.backlog));
        let backlog = lens.max().unwrap_or(0);
        if backlog > 0 {
            self.tell(1, Seen::Backlog);
        }
        let questions = member.place_queries.waiting();
        if backlog > clients || questions > QUESTIONS_MAX {
            let much =
                format!("a backlog of {backlog} of {clients} clients, {questions} questions");
            self.tell(2, Seen::TooMuch(much));
        }
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.turned(server, reactor);
        }
    }

    fn sent(&mut self, segment: Segment, ends: [Option<&mut Member>; 2], on: &mut Vec<Segment>) {
        match &mut self.saboteur {
            Some(saboteur) => saboteur.sent(segment, ends, on),
            None => on.push(segment),
        }
    }
}
