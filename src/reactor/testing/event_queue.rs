//! The segments under way, by time of arrival, and the clock of the network.

use super::options::MemoryOptions;
use super::segment::{Segment, SegmentKind};
use crate::{ConnId, Moment, SplitMix64};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Above this number of remembered streams, those whose last segment has arrived are removed.
const LATEST_MAX: usize = 1024;

/// An event that the queue holds until its time.
#[derive(Debug)]
pub(super) enum Scheduled {
    /// A segment arrives.
    Segment(Segment),
    /// A connection has room again after a short write.
    Writable(ConnId),
}

/// The clock, the random generator, and everything that is under way.
#[derive(Debug)]
pub(super) struct EventQueue {
    pub(super) options: MemoryOptions,
    pub(super) now: Moment,
    chance: SplitMix64,
    /// Sorted by time, then by age.
    scheduled: BTreeMap<(Moment, u64), Scheduled>,
    sequence: u64,
    /// When the last segment of each stream arrives; the next one must not overtake it.
    latest: BTreeMap<(SocketAddr, SocketAddr), Moment>,
    /// Sent segments that a simulator will take; `None` without a simulator, and then segments go on the queue.
    pub(super) out: Option<Vec<Segment>>,
}

impl EventQueue {
    pub(super) fn new(options: MemoryOptions, carried: bool) -> EventQueue {
        EventQueue {
            chance: SplitMix64::new(options.seed),
            options,
            now: Moment::default(),
            scheduled: BTreeMap::new(),
            sequence: 0,
            latest: BTreeMap::new(),
            out: carried.then(Vec::new),
        }
    }

    /// Sends a segment of a stream; it arrives after those sent before.
    pub(super) fn send(&mut self, from: SocketAddr, to: SocketAddr, kind: SegmentKind) {
        let delay = self.options.delay.clone();
        let mut arrives = self.now + self.duration(&delay);
        if let Some(latest) = self.latest.get(&(from, to)).copied() {
            let gap = match kind {
                SegmentKind::Data(_) => self.options.gap.clone(),
                _ => Duration::ZERO..=Duration::ZERO,
            };
            arrives = arrives.max(latest + self.duration(&gap));
        }
        if self.latest.len() > LATEST_MAX {
            let now = self.now;
            self.latest.retain(|_, latest| *latest >= now);
        }
        self.latest.insert((from, to), arrives);
        self.put_on(Segment { from, to, arrives, kind });
    }

    /// Sends a segment that may overtake others, and may be lost.
    pub(super) fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, kind: SegmentKind) {
        if self.happens(self.options.datagram_losses) {
            return;
        }
        let delay = self.options.delay.clone();
        let arrives = self.now + self.duration(&delay);
        self.put_on(Segment { from, to, arrives, kind });
    }

    fn put_on(&mut self, segment: Segment) {
        match &mut self.out {
            Some(out) => out.push(segment),
            None => self.schedule(segment.arrives, Scheduled::Segment(segment)),
        }
    }

    /// Schedules `due` for the time `at`.
    pub(super) fn schedule(&mut self, at: Moment, due: Scheduled) {
        self.sequence += 1;
        self.scheduled.insert((at, self.sequence), due);
    }

    /// The time of the next event.
    pub(super) fn earliest(&self) -> Option<Moment> {
        self.scheduled.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next event that is due.
    pub(super) fn next_due(&mut self) -> Option<Scheduled> {
        let entry = self.scheduled.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        Some(entry.remove())
    }

    /// Takes all segments off the queue, in the order of arrival, and drops the other events.
    pub(super) fn take_under_way(&mut self) -> Vec<Segment> {
        let dues = std::mem::take(&mut self.scheduled).into_values();
        dues.filter_map(|due| match due {
            Scheduled::Segment(segment) => Some(segment),
            Scheduled::Writable(_) => None,
        })
        .collect()
    }

    /// Returns 64 random bits.
    pub(super) fn random(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// Returns true with `probability`. Draws no random number if `probability` is 0.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && (self.random() as f64) < probability * u64::MAX as f64
    }

    /// Returns a uniformly random number from `range`.
    pub(super) fn within(&mut self, range: &RangeInclusive<usize>) -> usize {
        let (low, high) = (*range.start() as u64, *range.end() as u64);
        self.between(low, high) as usize
    }

    fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let (low, high) = (range.start().as_nanos() as u64, range.end().as_nanos() as u64);
        Duration::from_nanos(self.between(low, high))
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        if low == high {
            return low;
        }
        low + self.random() % (high - low).saturating_add(1)
    }

    /// The time when a write that was cut short at random may continue.
    pub(super) fn after_a_gap(&mut self) -> Moment {
        let gap = self.options.gap.clone();
        self.now + self.duration(&gap)
    }
}
