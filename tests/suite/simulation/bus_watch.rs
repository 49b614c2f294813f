//! Looks at each turn of each server of a run with a bus, and at each reply that leaves: with `ack = "bus"` the bucket
//! must have had the report, or the reply must be counted. It also runs the saboteur, if there is one.

use super::at_line::{AtLine, Newest, raise};
use super::bus_plan::BusPlan;
use super::bus_sabotage::{BusSabotage, BusSaboteur};
use crate::support::cluster::Meddler;
use crate::support::nats_double::{Message, NatsDouble};
use herd_reactor::Reactor;
use herd_reactor::testing::{MemoryIo, Segment, SegmentKind};
use places_herd::server::member::Member;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;

/// What a connection to NATS may have pending above `flood_buffer_bytes`: one put, and the requests of one turn.
const PENDING_MORE: usize = 8_192;

/// An observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BusSeen {
    /// The bucket has stored these values for the first time.
    Stored(Vec<AtLine>),
    /// A put has replaced a newer report.
    Replaced(String),
    /// A reply has left whose report the bucket had.
    Founded(AtLine),
    /// A reply has left that was counted.
    Counted,
    /// A reply has left too early.
    Unfounded(String),
    TooMuch(String),
    Met(&'static str),
}

#[derive(Debug)]
pub(crate) struct BusWatch {
    double: NatsDouble,
    waits: bool,
    /// Sequences may be used twice, so that a put may replace another message than the one it was compared with.
    forgets: bool,
    window: usize,
    buffer_bytes: usize,
    repeated: BTreeSet<(String, u64)>,
    /// The newest report of each client that the bucket has ever had.
    ever: Newest,
    /// The replies of each server that were counted and have not left.
    counted: BTreeMap<usize, u64>,
    /// The number of counted replies in this life of each server.
    before: BTreeMap<usize, u64>,
    /// The incomplete last line of each stream of replies.
    unfinished: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
    seen: Sender<BusSeen>,
    saboteur: Option<BusSaboteur>,
}

impl BusWatch {
    pub(crate) fn new(
        plan: &BusPlan,
        double: NatsDouble,
        seen: Sender<BusSeen>,
        sabotage: Option<BusSabotage>,
    ) -> BusWatch {
        BusWatch {
            saboteur: sabotage.map(|sabotage| BusSaboteur::new(sabotage, &double)),
            double,
            waits: plan.ack_wait.is_some(),
            forgets: plan.forgets(),
            window: plan.window,
            buffer_bytes: plan.limits.buffer_bytes,
            repeated: super::bus_plan::repeated(plan),
            ever: Newest::new(),
            counted: BTreeMap::new(),
            before: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            seen,
        }
    }

    fn tell(&self, what: BusSeen) {
        // The receiver may be gone at the end of the run.
        let _ = self.seen.send(what);
    }

    fn take_history(&mut self) {
        let stored = std::mem::take(self.double.world().history.get_or_insert_default());
        if stored.is_empty() {
            return;
        }
        let read = |message: &Message| AtLine::read(&String::from_utf8_lossy(&message.payload));
        let mut lines = Vec::new();
        for (message, before) in &stored {
            let Some(line) = read(message) else { continue };
            let newer = before
                .as_ref()
                .and_then(read)
                .filter(|its| its.client == line.client && *its > line && !self.forgets);
            if let Some(newer) = newer {
                self.tell(BusSeen::Replaced(format!("{} by {}", newer.line, line.line)));
            }
            lines.push(line);
        }
        lines.iter().for_each(|line| raise(&mut self.ever, line.clone()));
        self.tell(BusSeen::Stored(lines));
    }

    /// A reply leaves the server with this number.
    fn replied(&mut self, server: usize, reply: AtLine) {
        let had = self.ever.get(&reply.client);
        if had.is_some_and(|had| had.is_as_new_as(&reply, &self.repeated)) {
            return self.tell(BusSeen::Founded(reply));
        }
        let left = self.counted.entry(server).or_default();
        match left.checked_sub(1) {
            Some(less) => {
                *left = less;
                self.tell(BusSeen::Counted);
            }
            None => self.tell(BusSeen::Unfounded(reply.line)),
        }
    }
}

impl Meddler for BusWatch {
    fn started(&mut self, server: usize) {
        self.before.insert(server, 0);
    }

    fn turned(&mut self, server: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        self.take_history();
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.turned(server, reactor);
        }
        let (member, core) = reactor.parts();
        let total = member.counters.unreplicated_replies;
        let before = self.before.insert(server, total).unwrap_or(0);
        *self.counted.entry(server).or_default() += total - before;
        let Some(port) = &member.bus else { return };
        let (in_flight, clients) = (port.bus.in_flight(), member.table.keys());
        let pending = port.conn.map_or(0, |conn| core.pending(conn));
        let owed = port.bus.owed(&member.table);
        if in_flight > self.window
            || owed > 3 * clients + in_flight
            || pending > self.buffer_bytes + PENDING_MORE
        {
            let much = format!("{in_flight} in flight, {owed} owed, {pending} bytes pending");
            self.tell(BusSeen::TooMuch(much));
        }
        if in_flight == self.window {
            self.tell(BusSeen::Met("the window is full"));
        }
        if owed > in_flight && port.conn.is_none() {
            self.tell(BusSeen::Met("news waits as a bit"));
        }
    }

    fn sent(&mut self, segment: Segment, _: [Option<&mut Member>; 2], on: &mut Vec<Segment>) {
        let server = machine(segment.from).filter(|_| segment.from.port() == 12_000 && self.waits);
        if let (Some(server), SegmentKind::Data(bytes)) = (server, &segment.kind) {
            let text = self.unfinished.entry((segment.from, segment.to)).or_default();
            text.extend_from_slice(bytes);
            let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines: Vec<u8> = text.drain(..end).collect();
            for line in String::from_utf8_lossy(&lines).lines() {
                if let Some(reply) = AtLine::read(line.trim_end()) {
                    self.replied(server, reply);
                }
            }
        }
        match &mut self.saboteur {
            Some(saboteur) => saboteur.sent(segment, on),
            None => on.push(segment),
        }
    }
}

/// The number of the server that has this address, unless it is outside.
pub(super) fn machine(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(address) = address.ip() else { return None };
    match address.octets() {
        [10, 0, _, low] if low > 0 => Some(usize::from(low) - 1),
        _ => None,
    }
}
