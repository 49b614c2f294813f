//! Delayed calls: a heap of times over a slab of calls.
//!
//! As in Twisted, cancelling a call leaves its heap entry behind, and postponing it only notes the later time; the
//! heap is corrected when the old entry comes up. So an idle timeout that every packet postpones costs one store per
//! packet. Unlike Twisted's, the order is total: by time, then by age. (In Twisted, ten timers of one instant ran as
//! 0 2 6 9 8 5 7 4 1 3, issue #6718.)
//!
//! A call made in a turn runs in the next turn at the earliest, whatever its delay, so calls that make calls cannot
//! keep the loop from its sockets.
//!
//! Twisted: internet/base.py, DelayedCall, callLater, runUntilCurrent.

use crate::Moment;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::num::NonZeroU32;

/// The heap is rebuilt when it has more cancelled entries than this, and more than half of it is cancelled.
/// Twisted: runUntilCurrent.
const CANCELLED_MAX: usize = 50;

/// Identifies one delayed call, in 8 bytes; an `Option` of it takes 8 bytes too.
///
/// After the call has run or was cancelled, the id refers to nothing, never to the next call in the slot, for the
/// next 2^32 calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    key: u32,
    sequence: NonZeroU32,
}

/// The error for a call that has already run or was cancelled.
///
/// Twisted distinguishes AlreadyCalled and AlreadyCancelled; programs never act on the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPending;

impl fmt::Display for NotPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call has run or was cancelled")
    }
}

impl std::error::Error for NotPending {}

/// The delayed calls of one reactor, each a `T`.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    delayed: Slab<Delayed<T>>,
    heap: BinaryHeap<Reverse<HeapEntry>>,
    /// Entries made since the last turn, not in the heap yet. Twisted: _newDelayedCalls.
    new: Vec<HeapEntry>,
    cancelled: usize,
    sequence: u64,
}

#[derive(Debug)]
struct Delayed<T> {
    due: Moment,
    /// The current heap entry of this call; its older entries are void.
    entry: HeapEntry,
    call: T,
}

/// An entry in the heap: ordered by time, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HeapEntry {
    at: Moment,
    sequence: u64,
    key: u32,
}

impl HeapEntry {
    fn id(self) -> TimerId {
        let sequence = NonZeroU32::new(self.sequence as u32).unwrap_or(NonZeroU32::MIN);
        TimerId { key: self.key, sequence }
    }
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Timers<T> {
        Timers {
            delayed: Slab::new(),
            heap: BinaryHeap::new(),
            new: Vec::new(),
            cancelled: 0,
            sequence: 0,
        }
    }

    /// Makes a call that is due at `due`. Twisted: reactor.callLater.
    pub(crate) fn call_at(&mut self, due: Moment, call: T) -> TimerId {
        self.sequence += 1;
        let entry =
            HeapEntry { at: due, sequence: self.sequence, key: self.delayed.vacant_key() as u32 };
        self.delayed.insert(Delayed { due, entry, call });
        self.new.push(entry);
        entry.id()
    }

    /// Cancels a call and returns it. Twisted: DelayedCall.cancel.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Result<T, NotPending> {
        self.pending(id)?;
        self.cancelled += 1;
        Ok(self.delayed.remove(id.key as usize).call)
    }

    /// Makes a call due at `due`. A later time is only noted; an earlier one gets a new heap entry at once.
    /// Twisted: DelayedCall.reset.
    pub(crate) fn reset(&mut self, id: TimerId, due: Moment) -> Result<(), NotPending> {
        let delayed = self.pending(id)?;
        delayed.due = due;
        if due < delayed.entry.at {
            delayed.entry.at = due;
            let entry = delayed.entry;
            self.new.push(entry);
            self.cancelled += 1;
        }
        Ok(())
    }

    /// The time when the call is due; `None` if it is not pending. Twisted: DelayedCall.getTime.
    pub(crate) fn due(&self, id: TimerId) -> Option<Moment> {
        self.delayed.get(id.key as usize).filter(|d| d.entry.id() == id).map(|d| d.due)
    }

    /// The number of pending calls. Twisted: getDelayedCalls.
    pub(crate) fn len(&self) -> usize {
        self.delayed.len()
    }

    /// Admits the calls made since the last turn, so that [`next_due`](Timers::next_due) returns them. Calls made in
    /// this turn are admitted in the next.
    pub(crate) fn admit_new(&mut self) {
        self.heap.extend(self.new.drain(..).map(Reverse));
        // Each pending call has one current entry; all other entries are void.
        debug_assert_eq!(self.heap.len(), self.delayed.len() + self.cancelled);
        if self.cancelled > CANCELLED_MAX && self.cancelled > self.heap.len() / 2 {
            let delayed = &self.delayed;
            self.heap.retain(|Reverse(entry)| is_current(delayed, *entry));
            self.cancelled = self.heap.len() - self.delayed.len();
        }
    }

    /// Takes the earliest admitted call that is due at `now`.
    pub(crate) fn next_due(&mut self, now: Moment) -> Option<(TimerId, T)> {
        while let Some(entry) = self.heap.peek().map(|Reverse(entry)| *entry) {
            if entry.at > now {
                return None;
            }
            self.heap.pop();
            if !is_current(&self.delayed, entry) {
                self.cancelled -= 1;
                continue;
            }
            let delayed = &mut self.delayed[entry.key as usize];
            if delayed.due <= entry.at {
                return Some((entry.id(), self.delayed.remove(entry.key as usize).call));
            }
            // The call was postponed: it gets an entry for its new time.
            delayed.entry.at = delayed.due;
            self.heap.push(Reverse(delayed.entry));
        }
        None
    }

    /// The time when the loop must wake. No call is due earlier; the call at that time may have been cancelled or
    /// postponed.
    pub(crate) fn earliest(&self) -> Option<Moment> {
        let new = self.new.iter().map(|entry| entry.at).min();
        let old = self.heap.peek().map(|Reverse(entry)| entry.at);
        match (new, old) {
            (Some(new), Some(old)) => Some(new.min(old)),
            (new, old) => new.or(old),
        }
    }

    fn pending(&mut self, id: TimerId) -> Result<&mut Delayed<T>, NotPending> {
        match self.delayed.get_mut(id.key as usize) {
            Some(delayed) if delayed.entry.id() == id => Ok(delayed),
            _ => Err(NotPending),
        }
    }
}

/// Whether `entry` is the current entry of a pending call.
fn is_current<T>(delayed: &Slab<Delayed<T>>, entry: HeapEntry) -> bool {
    delayed.get(entry.key as usize).is_some_and(|delayed| delayed.entry == entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    fn run(timers: &mut Timers<u32>, now: u64) -> Vec<u32> {
        timers.admit_new();
        std::iter::from_fn(|| timers.next_due(at(now)).map(|(_, call)| call)).collect()
    }

    #[test]
    fn calls_run_by_time_and_equal_times_first_come() {
        let mut timers = Timers::new();
        for call in 0..10 {
            timers.call_at(at(7), call);
        }
        timers.call_at(at(3), 99);
        assert_eq!(run(&mut timers, 7), [99, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_call_made_in_a_turn_waits_for_the_next() {
        let mut timers = Timers::new();
        let first = timers.call_at(at(1), 1);
        timers.admit_new();
        assert_eq!(timers.next_due(at(5)), Some((first, 1)));
        timers.call_at(at(0), 2);
        assert_eq!(timers.next_due(at(5)), None);
        assert_eq!(timers.earliest(), Some(at(0)));
        assert_eq!(run(&mut timers, 5), [2]);
    }

    #[test]
    fn a_cancelled_call_never_runs_and_its_id_is_spent() {
        let mut timers = Timers::new();
        let id = timers.call_at(at(1), 1);
        assert_eq!(timers.cancel(id), Ok(1));
        assert_eq!(timers.cancel(id), Err(NotPending));
        let next = timers.call_at(at(1), 2);
        assert_eq!(timers.reset(id, at(9)), Err(NotPending));
        assert_eq!(run(&mut timers, 5), [2]);
        assert_eq!(timers.cancel(next), Err(NotPending));
    }

    #[test]
    fn a_postponed_call_costs_no_heap_place_and_runs_at_its_new_time() {
        let mut timers = Timers::new();
        let id = timers.call_at(at(10), 1);
        timers.admit_new();
        for packet in 11..1_000 {
            timers.reset(id, at(packet)).unwrap();
        }
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(run(&mut timers, 998), [0; 0]);
        assert_eq!(run(&mut timers, 999), [1]);
    }

    #[test]
    fn a_call_moved_up_runs_once_and_early() {
        let mut timers = Timers::new();
        let id = timers.call_at(at(100), 1);
        timers.admit_new();
        timers.reset(id, at(5)).unwrap();
        assert_eq!(run(&mut timers, 5), [1]);
        assert_eq!(run(&mut timers, 1_000), [0; 0]);
    }

    #[test]
    fn the_heap_does_not_keep_what_was_cancelled() {
        let mut timers = Timers::new();
        for call in 0..10_000 {
            let id = timers.call_at(at(1_000_000), call);
            timers.cancel(id).unwrap();
            timers.admit_new();
        }
        assert!(timers.heap.len() <= CANCELLED_MAX + 1);
    }

    proptest! {
        /// The reference is a list that is searched and sorted: the same calls must run in the same order.
        #[test]
        fn runs_what_a_sorted_list_would_run(steps in prop::collection::vec((0..4u8, 0..40u64, 0..20usize), 1..120)) {
            let mut timers = Timers::new();
            let mut model: Vec<(Moment, u32)> = Vec::new();
            let mut ids = Vec::new();
            let mut now = 0;
            for (step, nanos, which) in steps {
                let known = ids.get(which).copied();
                match (step, known) {
                    (0, _) => {
                        let call = ids.len() as u32;
                        ids.push((timers.call_at(at(now + nanos), call), call));
                        model.push((at(now + nanos), call));
                    }
                    (1, Some((id, call))) => {
                        let was = model.iter().any(|entry| entry.1 == call);
                        prop_assert_eq!(timers.cancel(id).is_ok(), was);
                        model.retain(|entry| entry.1 != call);
                    }
                    (2, Some((id, call))) => {
                        let was = model.iter_mut().find(|entry| entry.1 == call);
                        prop_assert_eq!(timers.reset(id, at(now + nanos)).is_ok(), was.is_some());
                        was.into_iter().for_each(|entry| entry.0 = at(now + nanos));
                    }
                    _ => {
                        now += nanos;
                        let mut due: Vec<_> = model.extract_if(.., |entry| entry.0 <= at(now)).collect();
                        due.sort();
                        let due: Vec<u32> = due.into_iter().map(|entry| entry.1).collect();
                        prop_assert_eq!(run(&mut timers, now), due);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert!(timers.earliest() <= model.iter().map(|entry| entry.0).min() || model.is_empty());
            }
        }
    }
}
