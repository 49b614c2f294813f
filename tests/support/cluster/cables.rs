//! The cables between the machines of a cluster: whole, slow, or cut.
//!
//! A cable loses nothing: a cut cable holds the segments and delivers them when it is whole again, because TCP would
//! retransmit them. Segments arrive in the order in which they were sent, even if the delay changes.

use herd_reactor::Moment;
use herd_reactor::testing::Segment;
use std::collections::BTreeMap;
use std::time::Duration;

/// All cables, each by its two machines.
#[derive(Debug, Default)]
pub(super) struct Cables {
    /// The cables that a test has changed. All others are whole and add no delay.
    known: BTreeMap<[usize; 2], Cable>,
}

#[derive(Debug, Default)]
struct Cable {
    is_cut: bool,
    held: Vec<Segment>,
    /// The additional delay of every segment.
    delay: Duration,
    /// When the last segment in each direction arrives: to the machine with the higher number, and back.
    latest: [Moment; 2],
}

impl Cables {
    /// Passes a segment from one machine to another. Returns it with the time of its arrival, or holds it and returns
    /// `None` if the cable is cut.
    pub(super) fn pass(
        &mut self,
        from: usize,
        to: usize,
        now: Moment,
        segment: Segment,
    ) -> Option<Segment> {
        let Some(cable) = self.known.get_mut(&pair(from, to)) else { return Some(segment) };
        if cable.is_cut {
            cable.held.push(segment);
            return None;
        }
        let latest = &mut cable.latest[usize::from(from > to)];
        *latest = (*latest).max(segment.arrives.max(now) + cable.delay);
        Some(Segment { arrives: *latest, ..segment })
    }

    pub(super) fn cut(&mut self, one: usize, other: usize) {
        self.known.entry(pair(one, other)).or_default().is_cut = true;
    }

    /// Makes a cable whole, and returns the segments that it held.
    pub(super) fn heal(&mut self, one: usize, other: usize) -> Vec<Segment> {
        let Some(cable) = self.known.get_mut(&pair(one, other)) else { return Vec::new() };
        cable.is_cut = false;
        std::mem::take(&mut cable.held)
    }

    pub(super) fn delay(&mut self, one: usize, other: usize, delay: Duration) {
        self.known.entry(pair(one, other)).or_default().delay = delay;
    }
}

fn pair(one: usize, other: usize) -> [usize; 2] {
    [one.min(other), one.max(other)]
}
