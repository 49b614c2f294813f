//! Negative controls: breaks one rule of the herd at a time, to prove that the simulation notices.
//!
//! The sabotage comes from outside: it changes the segments between servers, or a server's public state. The
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

/// Sends PINGs to the connection that has the slot now, as the timer of a lost connection would if timers named
/// slots.
fn ping(core: &mut Core<Member>, conn: ConnId, delay: Duration, every: Duration) {
    core.call_later(delay, move |_, core| {
        if core.transport(conn).is_some() {
            core.write(conn, b"PING\n");
            ping(core, conn, every, every);
        }
    });
}

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Only the original's rule is left: a newer stamp is forwarded once. There is no order among equal stamps, and
    /// no comparison on a new link.
    ReportsRule,
    /// Among lines with equal stamps, the first to arrive stays.
    NoTotalOrder,
    /// A new link carries only later news.
    NoPushOnConnect,
    /// An id names a slot without a generation, so that events for the old connection reach the next one.
    NoGenerations,
    /// A slow neighbour's backlog sometimes loses a client.
    LostDirtyBit,
    /// A report is answered before it is on the disk: the disk reports a sync that it has not done.
    /// The [ledger](super::ledger) owns the disks and does this.
    ReplyBeforeSync,
    /// A server's SYNC carries the receiver's state.
    LyingDigest,
    /// A report is answered before a neighbour has it: the acknowledgement arrives as soon as the line
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

    /// Returns the promises that depend on the rule. Another broken promise does not prove that the simulation
    /// notices the sabotage.
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

/// Breaks one rule.
#[derive(Debug)]
pub(crate) struct Saboteur {
    sabotage: Sabotage,
    ping: Duration,
    /// The connection of each link, as of the last turn of its server, and the time at which it was made.
    links: BTreeMap<(usize, NeighbourId), (ConnId, Moment)>,
    /// The last connection that was a link in each slot of each server, and the time at which it was made.
    slots: BTreeMap<(usize, usize), (ConnId, Moment)>,
    /// The incomplete last line of each stream.
    unfinished: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
    /// The number of AT lines sent, by stream.
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

    /// Notes that a link has a new connection.
    fn linked(&mut self, server: usize, core: &mut Core<Member>, conn: ConnId) {
        let now = core.now();
        let before = self.slots.insert((server, conn.key()), (conn, now));
        if self.sabotage == Sabotage::NoGenerations
            && let Some((_, since)) = before.filter(|(before, _)| *before != conn)
        {
            // The timer of the previous connection in this slot now names this one.
            let every = self.ping.as_nanos();
            let left = every - (now - since).as_nanos() % every;
            ping(core, conn, Duration::from_nanos(left as u64), self.ping);
        }
    }

    /// Returns an ACK that arrives at once for the AT lines in `text`, which is sent to a neighbour.
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

    /// Returns the part of a line that reaches `to`: all, nothing, or a changed line of the same length.
    fn pass<'a>(&self, line: &'a [u8], to: &mut Member) -> Cow<'a, [u8]> {
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

/// Returns the number of AT lines in `text`.
fn at_lines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"AT ")).count()
}

/// Whether a line belongs to a comparison.
fn compares(line: &[u8]) -> bool {
    [&b"SYNC "[..], b"GROUPS ", b"LEAVES ", b"WANT "].iter().any(|name| line.starts_with(name))
}

/// Whether `line` is an AT line that has the same stamp as the stored line, but is not equal to it.
fn ties(line: &[u8], to: &mut Member) -> bool {
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
            // The sender must get its window back for the dropped bytes.
            let kind = SegmentKind::Taken(stopped);
            on.push(Segment { from: segment.to, to: segment.from, arrives: segment.arrives, kind });
        }
        if !passed.is_empty() {
            on.push(Segment { kind: SegmentKind::Data(passed), ..segment });
        }
    }
}
