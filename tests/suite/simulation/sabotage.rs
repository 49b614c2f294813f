//! Negative controls: rules of the herd taken away, one at a time, to see that the simulation notices.
//!
//! All of it is done from outside, to the segments between servers or to what a server has public; the
//! program itself knows nothing of it.

use super::run::{AGREEMENT, ANSWERED, NEWEST_WINS, TAKEN, TIMERS, WORD};
use crate::support::cluster::Meddler;
use herd_reactor::testing::{MemoryIo, Segment, SegmentKind};
use herd_reactor::{ConnId, Core, Moment, Reactor};
use places_herd::replication::NeighbourId;
use places_herd::server::member::Member;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// PINGs as the timer of a connection that has gone would send them, if timers named slots: to who has the
/// slot now.
fn ping(core: &mut Core<Member>, conn: ConnId, delay: Duration, every: Duration) {
    core.call_later(delay, move |_, core| {
        if core.transport(conn).is_some() {
            core.write(conn, b"PING\n");
            ping(core, conn, every, every);
        }
    });
}

/// A rule that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A newer stamp is forwarded, once, and that is all: neither an order among equal stamps nor
    /// anything when servers meet again. The rule of the report.
    ReportsRule,
    /// Of equal stamps the first to come stays.
    NoTotalOrder,
    /// Who is met is told only what is new from then on.
    NoPushOnConnect,
    /// An id names whoever has its slot: what was meant for the one before reaches the next.
    NoGenerations,
    /// A client is lost from a slow neighbour's backlog now and then.
    LostDirtyBit,
    /// A report is answered before it is on the disk: the disk says that it has synced, and has not.
    /// Disks are the [ledger](super::ledger)'s, and there this is done.
    ReplyBeforeSync,
    /// Who says what it knows says that it knows what the other knows.
    LyingDigest,
    /// A report is answered before a neighbour has it: the neighbour's word is there as soon as the line
    /// has been sent.
    ReplyBeforeWord,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 8] = [
        Sabotage::ReportsRule,
        Sabotage::NoTotalOrder,
        Sabotage::NoPushOnConnect,
        Sabotage::NoGenerations,
        Sabotage::LostDirtyBit,
        Sabotage::ReplyBeforeSync,
        Sabotage::LyingDigest,
        Sabotage::ReplyBeforeWord,
    ];

    /// The promises by which it may be noticed: any other is no proof that the simulation looks.
    pub(crate) fn breaks(self) -> &'static [&'static str] {
        match self {
            Sabotage::NoGenerations => &[TIMERS],
            Sabotage::ReplyBeforeSync => &[ANSWERED, TAKEN],
            Sabotage::ReplyBeforeWord => &[WORD],
            _ => &[AGREEMENT, NEWEST_WINS],
        }
    }

    fn changes_lines(self) -> bool {
        use Sabotage::{LyingDigest, NoPushOnConnect, NoTotalOrder, ReplyBeforeWord, ReportsRule};
        match self {
            ReportsRule | NoTotalOrder | NoPushOnConnect | LyingDigest | ReplyBeforeWord => true,
            Sabotage::NoGenerations | Sabotage::LostDirtyBit | Sabotage::ReplyBeforeSync => false,
        }
    }
}

/// Takes one rule away.
#[derive(Debug)]
pub(crate) struct Saboteur {
    sabotage: Sabotage,
    ping: Duration,
    /// The connection that each link had after its server's last turn, and since when.
    links: BTreeMap<(usize, NeighbourId), (ConnId, Moment)>,
    /// Connections that were links once: by server and slot, the last one and since when.
    slots: BTreeMap<(usize, usize), (ConnId, Moment)>,
    /// Beginnings of lines, by stream.
    unfinished: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
    /// AT lines that were sent, by stream.
    told: BTreeMap<(SocketAddr, SocketAddr), usize>,
    now: Moment,
}

impl Saboteur {
    pub(crate) fn new(sabotage: Sabotage, ping: Duration) -> Saboteur {
        Saboteur {
            sabotage,
            ping,
            links: BTreeMap::new(),
            slots: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            told: BTreeMap::new(),
            now: Moment::default(),
        }
    }

    /// A link has got a connection.
    fn linked(&mut self, server: usize, core: &mut Core<Member>, conn: ConnId) {
        let now = core.now();
        let before = self.slots.insert((server, conn.key()), (conn, now));
        if self.sabotage == Sabotage::NoGenerations
            && let Some((_, since)) = before.filter(|(before, _)| *before != conn)
        {
            // The timer of the connection that was there before names this one now.
            let every = self.ping.as_nanos();
            let left = every - (now - since).as_nanos() % every;
            ping(core, conn, Duration::from_nanos(left as u64), self.ping);
        }
    }

    /// `text` is sent to a neighbour: if there are AT lines in it, the word that they have been taken, which
    /// arrives at once.
    fn word_for(&mut self, text: &[u8], segment: &Segment) -> Option<Segment> {
        let count = at_lines(text);
        if self.sabotage != Sabotage::ReplyBeforeWord || count == 0 {
            return None;
        }
        let told = self.told.entry((segment.from, segment.to)).or_default();
        *told += count;
        let kind = SegmentKind::Data(format!("ACK {told}\n").into_bytes());
        Some(Segment { from: segment.to, to: segment.from, arrives: self.now, kind })
    }

    /// What gets through of a line, to whom; perhaps nothing. Never more than there was.
    fn pass<'a>(&self, line: &'a [u8], to: &Member) -> Cow<'a, [u8]> {
        let is_sync = line.starts_with(b"SYNC ") && line.ends_with(b"\n");
        let is_stopped = match self.sabotage {
            Sabotage::LyingDigest if is_sync => {
                return format!("SYNC {:016x}\n", to.table.state_hash()).into_bytes().into();
            }
            Sabotage::NoPushOnConnect => compares(line),
            Sabotage::ReplyBeforeWord => line.starts_with(b"ACK "),
            Sabotage::NoTotalOrder => ties(line, to),
            Sabotage::ReportsRule => compares(line) || ties(line, to),
            _ => false,
        };
        if is_stopped { Cow::default() } else { line.into() }
    }
}

/// How many of the lines in `text` are AT lines.
fn at_lines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"AT ")).count()
}

/// Whether a line is one of those by which two that meet find out what they lack.
fn compares(line: &[u8]) -> bool {
    [&b"SYNC "[..], b"GROUPS ", b"LEAVES ", b"WANT "].iter().any(|name| line.starts_with(name))
}

/// Whether it is an AT line as new as what is known, and not the same.
fn ties(line: &[u8], to: &Member) -> bool {
    let line = line.trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ').skip(3);
    let (client, stamp) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    let known = to.table.latest(client).filter(|_| line.starts_with(b"AT "));
    known.is_some_and(|known| known.stamp_text() == stamp && known.line() != line)
}

impl Meddler for Saboteur {
    fn turned(&mut self, server: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        let (member, core) = reactor.parts();
        self.now = core.now();
        let conns: Vec<_> =
            member.neighbours.iter().map(|(id, link)| (id, link.backlog, link.conn)).collect();
        for (id, backlog, conn) in conns {
            if self.sabotage == Sabotage::LostDirtyBit {
                let _ = member.table.backlogs.take_next(backlog);
            }
            let before = self.links.get(&(server, id)).map(|(conn, _)| *conn);
            match conn {
                Some(conn) if before != Some(conn) => {
                    self.links.insert((server, id), (conn, core.now()));
                    self.linked(server, core, conn);
                }
                Some(_) => {}
                None => drop(self.links.remove(&(server, id))),
            }
        }
    }

    fn sent(&mut self, segment: Segment, ends: [Option<&mut Member>; 2], on: &mut Vec<Segment>) {
        let filters = self.sabotage.changes_lines();
        let (SegmentKind::Data(bytes), [Some(_), Some(to)], true) = (&segment.kind, ends, filters)
        else {
            return on.push(segment);
        };
        let stream = (segment.from, segment.to);
        let mut text = self.unfinished.remove(&stream).unwrap_or_default();
        text.extend(bytes);
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.unfinished.insert(stream, text.split_off(end));
        on.extend(self.word_for(&text, &segment));
        let mut passed = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            passed.extend_from_slice(&self.pass(line, to));
        }
        let stopped = text.len() - passed.len();
        if stopped > 0 {
            // Who sent it must not wait for the room that it took.
            let kind = SegmentKind::Taken(stopped);
            on.push(Segment { from: segment.to, to: segment.from, arrives: segment.arrives, kind });
        }
        if !passed.is_empty() {
            on.push(Segment { kind: SegmentKind::Data(passed), ..segment });
        }
    }
}
