//! Negative controls of the bus: breaks one rule at a time, to prove that the simulation notices. The sabotage comes from
//! outside, as in `sabotage.rs`.

use super::bus_run::{BUCKET_NEWEST, BUS_AGREEMENT, BUS_WORD, NO_NEWER_REPLACED};
use super::bus_watch::machine;
use crate::support::nats_double::NatsDouble;
use herd_reactor::Reactor;
use herd_reactor::testing::{MemoryIo, Segment, SegmentKind};
use places_herd::server::member::Member;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BusSabotage {
    /// Puts do not say which message they replace.
    NoExpectedSequence,
    /// The backlog of the bus sometimes loses a client.
    LostBacklogBit,
    /// A watch resumes behind the last sequence that it saw.
    ResumeBySequence,
    /// A report is answered before the bucket has it.
    ReplyBeforeAcknowledgement,
}

impl BusSabotage {
    pub(crate) const ALL: [BusSabotage; 4] = [
        BusSabotage::NoExpectedSequence,
        BusSabotage::LostBacklogBit,
        BusSabotage::ResumeBySequence,
        BusSabotage::ReplyBeforeAcknowledgement,
    ];

    /// The seed from which on the simulation tries to notice it. Every rule is noticed within 500 seeds from 1 on; a later
    /// start saves time.
    pub(crate) fn first_seed(self) -> u64 {
        match self {
            BusSabotage::NoExpectedSequence => 50,
            BusSabotage::ResumeBySequence => 410,
            BusSabotage::LostBacklogBit | BusSabotage::ReplyBeforeAcknowledgement => 1,
        }
    }

    /// The promises that depend on the rule.
    pub(crate) fn breaks(self) -> &'static [&'static str] {
        match self {
            BusSabotage::NoExpectedSequence => &[NO_NEWER_REPLACED],
            BusSabotage::LostBacklogBit | BusSabotage::ResumeBySequence => {
                &[BUS_AGREEMENT, BUCKET_NEWEST]
            }
            BusSabotage::ReplyBeforeAcknowledgement => &[BUS_WORD],
        }
    }
}

/// Breaks one rule.
#[derive(Debug)]
pub(crate) struct BusSaboteur {
    sabotage: BusSabotage,
    /// The last sequence that each server has seen.
    last: BTreeMap<usize, u64>,
}

impl BusSaboteur {
    pub(crate) fn new(sabotage: BusSabotage, double: &NatsDouble) -> BusSaboteur {
        let is_unconditional = sabotage == BusSabotage::NoExpectedSequence;
        double.world().takes_unconditional = is_unconditional;
        BusSaboteur { sabotage, last: BTreeMap::new() }
    }

    pub(crate) fn turned(&mut self, server: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        let member = reactor.state();
        let Some(port) = &member.bus else { return };
        self.last.insert(server, port.position.last_sequence);
        match self.sabotage {
            BusSabotage::LostBacklogBit => {
                let due = port.bus.due;
                let _ = member.table.backlogs.take_next(due);
            }
            BusSabotage::ReplyBeforeAcknowledgement => {
                member.limits.ack_wait = Duration::from_millis(1);
                member.counters.unreplicated_replies = 0;
            }
            BusSabotage::NoExpectedSequence | BusSabotage::ResumeBySequence => {}
        }
    }

    pub(crate) fn sent(&mut self, mut segment: Segment, on: &mut Vec<Segment>) {
        if let SegmentKind::Data(bytes) = &mut segment.kind
            && segment.to.port() == 4_222
        {
            match self.sabotage {
                BusSabotage::NoExpectedSequence => {
                    replace(bytes, b"Nats-Expected-Last-Subject", b"Nats-Expected-Lost-Subject");
                }
                BusSabotage::ResumeBySequence => {
                    let last = machine(segment.from).and_then(|it| self.last.get(&it)).copied();
                    resume_behind(bytes, last.unwrap_or(0));
                }
                BusSabotage::LostBacklogBit | BusSabotage::ReplyBeforeAcknowledgement => {}
            }
        }
        on.push(segment);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Replaces each `before` by `after`, which is as long.
fn replace(bytes: &mut [u8], before: &[u8], after: &[u8]) {
    let mut from = 0;
    while let Some(at) = find(&bytes[from..], before) {
        bytes[from + at..from + at + after.len()].copy_from_slice(after);
        from += at + after.len();
    }
}

/// Makes a request for a consumer that begins at a time one that begins behind message `last`. Its length stays.
fn resume_behind(bytes: &mut Vec<u8>, last: u64) {
    const POLICY: &[u8] = b"\"deliver_policy\":\"by_start_time\"";
    const START: &[u8] = b"\"opt_start_time\":\"";
    let Some(policy) = find(bytes, POLICY) else { return };
    let Some(start) = find(&bytes[policy..], START).map(|at| policy + at) else { return };
    let Some(length) = find(&bytes[start + START.len()..], b"\"") else { return };
    let end = start + START.len() + length + 1;
    let before = bytes.len();
    let number = format!("\"opt_start_seq\":{}", last + 1);
    let pad = (end - start).saturating_sub(number.len() + "sequence".len() - "time".len());
    bytes.splice(start..end, number.into_bytes().into_iter().chain(vec![b' '; pad]));
    let after = b"\"deliver_policy\":\"by_start_sequence\"";
    bytes.splice(policy..policy + POLICY.len(), after.iter().copied());
    assert_eq!(bytes.len(), before);
}
