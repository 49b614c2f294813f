//! What is looked at after every turn of every member: that nothing grows beyond its limit. Beside
//! it, what a run has met, what the journals have taken in, and who knew what when.

use super::replicas::Turn;
use super::sabotage::Saboteur;
use crate::support::cluster::Meddler;
use herd_reactor::testing::{MemoryIo, Segment};
use herd_reactor::{Core, Moment, Reactor};
use places_herd::server::member::Member;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

/// `places.in_flight` and `places.queue`, as they are by default.
const QUESTIONS_MAX: usize = 64 + 1_024;

/// Something that was seen. The first three are told once a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A neighbour had a backlog when a turn ended.
    Backlog,
    /// A connection had more pending than its mark, and was held up for that.
    Full,
    /// More is kept than may be.
    TooMuch(String),
    /// These lines have been given to the journal of this server, in the turn of that time.
    Taken(usize, Moment, Vec<Vec<u8>>),
    /// The journal of this server is broken since that time, its last turn before; or whole again.
    Broken(usize, Option<Moment>),
    /// This server has ended by itself.
    Ended(usize),
    /// A server of those whose replies wait for a neighbour has had this turn, and has new lines since.
    Turned(usize, Turn, Vec<Vec<u8>>),
}

/// What was seen of one server's clients, and of its journal.
#[derive(Debug, Default)]
struct Table {
    /// Every line, by its client's number, and their sum.
    lines: Vec<Vec<u8>>,
    hash: u64,
    /// What was new after the last turn: the next one begins by giving it to the journal.
    news: Vec<Vec<u8>>,
    /// The last turn in which it was sound.
    sound_at: Moment,
    is_broken: bool,
}

impl Table {
    /// Takes in what a member knows by now. Returns the lines that are new.
    fn compare(&mut self, member: &Member) -> Vec<Vec<u8>> {
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

/// Watches, and lets the saboteur do his work, if there is one.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Replies wait for a neighbour's word.
    acks: bool,
    mark: usize,
    /// What may wait at most on a link, and on a client's connection.
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

    /// Looks at what a server knows since its last turn, if somebody wants to hear of it.
    fn look_at_table(&mut self, server: usize, member: &Member, core: &Core<Member>) {
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
            // Who listens may have heard enough; here and below.
            let _ = self.seen.send(Seen::Turned(server, turn, news));
        }
    }

    /// Looks at a server's journal.
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
            // Who listens may have heard enough.
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
        let questions = member.place_queries.len();
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
