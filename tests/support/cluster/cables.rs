//! The cables between the machines of a cluster: whole, slow, or cut.
//!
//! Nothing is lost on a cable: what is cut holds what was sent, as TCP sends again what was lost, and
//! lets it arrive when it is whole. What was sent first arrives first, whatever becomes of the delay.

use herd_reactor::Moment;
use herd_reactor::testing::Segment;
use std::collections::BTreeMap;
use std::time::Duration;

/// All cables, each by its two machines.
#[derive(Debug, Default)]
pub(super) struct Cables {
    /// Those of which there is something to say: what is not in here is whole and adds no delay.
    known: BTreeMap<[usize; 2], Cable>,
}

#[derive(Debug, Default)]
struct Cable {
    is_cut: bool,
    held: Vec<Segment>,
    /// How much longer everything takes.
    delay: Duration,
    /// When the last segment in each direction arrives: up the machines' numbers, and down.
    latest: [Moment; 2],
}

impl Cables {
    /// Takes in a segment from one machine to another, and gives it back if it goes on; then with the
    /// time at which it will arrive.
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

    /// Makes a cable whole, and gives back what was held.
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
