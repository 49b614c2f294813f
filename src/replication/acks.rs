//! Holds replies back until a neighbour has acknowledged their reports: `ack = "peer"`.
//!
//! In: waiting replies, lines written to a link, and the neighbours' acknowledgements.
//! Out: the clients that may get their replies now. It knows neither lines nor clocks.
//!
//! The idea: a neighbour takes lines in the order in which they were written to it, so one number is
//! enough: "I have taken the first `n`". Replies wait by the turn, not by the line: the replies of
//! one turn form a *batch*, and before the next poll every link notes the number of lines written to it so far.
//! When its neighbour has taken that many, the link has *acknowledged* the batch and all batches before it.
//!
//! ```text
//!   turn        7        8        9
//!   written     40       52       61         marks of one link: (40, 7) (52, 8) (61, 9)
//!   ACK 55 ────────────────▶ batches 7 and 8 are acknowledged
//! ```
//!
//! While the neighbour has a backlog, its link notes nothing, because a neighbour cannot have
//! taken lines that were not written to it. A link acknowledges only batches whose replies all began to wait
//! after the link was made. One link that acknowledges a batch is enough.
//!
//! Source: docs/protocol.md "Acknowledgement".

use super::NeighbourId;
use herd_reactor::ConnId;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// The maximum number of marks per link. Above it a new mark replaces the last one, so that the batches of both are
/// acknowledged with the later one.
const MARKS_MAX: usize = 1_024;

/// The replies that began to wait in one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch(pub(super) u64);

/// The replies that wait, and the progress of each neighbour.
#[derive(Debug)]
pub struct Acks {
    /// The batch of this turn.
    current: u64,
    /// The batches that are not acknowledged, oldest first.
    waiting: VecDeque<WaitingBatch>,
    progress: Vec<Option<NeighbourProgress>>,
    /// Whether the replies wait for the bus, and neighbours acknowledge nothing.
    by_bus: bool,
}

#[derive(Debug)]
struct WaitingBatch {
    batch: u64,
    waiters: Vec<ConnId>,
    replies: u64,
}

/// The progress of the neighbour at the other end of one connection.
#[derive(Debug)]
struct NeighbourProgress {
    /// The first batch of which every line was flooded to the neighbour.
    since: u64,
    /// The number of lines written to the neighbour.
    written: u64,
    /// The number of lines that the neighbour has acknowledged.
    taken: u64,
    /// Pairs of a batch and the lines written by the end of its turn: `(written, batch)`.
    marks: VecDeque<(u64, u64)>,
}

impl Acks {
    /// Creates a state in which no reply waits and no neighbour is linked. `last`: the last batch of an earlier state, so
    /// that no number is used twice.
    pub fn new(Batch(last): Batch) -> Acks {
        let (waiting, progress) = (VecDeque::new(), Vec::new());
        Acks { current: last + 1, waiting, progress, by_bus: false }
    }

    /// Makes the replies wait for the bus.
    pub(super) fn by_bus(self) -> Acks {
        Acks { by_bus: true, ..self }
    }

    /// Whether the replies wait for the bus.
    pub(crate) fn are_by_bus(&self) -> bool {
        self.by_bus
    }

    /// The last batch that waits.
    pub(crate) fn newest(&self) -> Option<Batch> {
        self.waiting.back().map(|waiting| Batch(waiting.batch))
    }

    /// The batch of this turn.
    pub(crate) fn current(&self) -> Batch {
        Batch(self.current)
    }

    /// Starts the progress of neighbour `id` on a new link.
    pub fn linked(&mut self, id: NeighbourId) {
        if self.by_bus {
            return;
        }
        // Replies that began to wait in this turn belong to reports that were flooded before the link was made.
        let is_late = self.waiting.back().is_some_and(|waiting| waiting.batch == self.current);
        let since = self.current + u64::from(is_late);
        let nothing = NeighbourProgress { since, written: 0, taken: 0, marks: VecDeque::new() };
        if self.progress.len() <= id.0 {
            self.progress.resize_with(id.0 + 1, || None);
        }
        self.progress[id.0] = Some(nothing);
    }

    /// Ends the progress of neighbour `id`: its link is lost, and no more acknowledgements come.
    pub fn lost(&mut self, id: NeighbourId) {
        self.progress.get_mut(id.0).into_iter().for_each(|progress| *progress = None);
    }

    /// Counts lines written to neighbour `id`.
    pub fn wrote(&mut self, id: NeighbourId, lines: usize) {
        if let Some(Some(progress)) = self.progress.get_mut(id.0) {
            progress.written += lines as u64;
        }
    }

    /// Lets a reply to `waiter` wait from this turn on. Returns its batch.
    pub fn wait(&mut self, waiter: ConnId) -> Batch {
        let batch = self.current;
        let batches = self.waiting.iter().map(|waiting| waiting.batch);
        debug_assert!(batches.chain([batch + 1]).is_sorted_by(|a, b| a < b));
        match self.waiting.back_mut() {
            Some(waiting) if waiting.batch == batch => {
                waiting.replies += 1;
                if waiting.waiters.last() != Some(&waiter) {
                    waiting.waiters.push(waiter);
                }
            }
            _ => self.waiting.push_back(WaitingBatch { batch, waiters: vec![waiter], replies: 1 }),
        }
        Batch(batch)
    }

    /// Ends the turn: lines written from now on belong to the next batch. `has_backlog`: whether
    /// a neighbour has a backlog. Returns the batch of this turn, if there is one; the caller then
    /// sets the batch's deadline.
    pub fn before_poll(&mut self, has_backlog: impl Fn(NeighbourId) -> bool) -> Option<Batch> {
        let newest = self.waiting.back()?.batch;
        for (key, progress) in self.progress.iter_mut().enumerate() {
            let progress = progress.as_mut().filter(|progress| progress.since <= newest);
            if let Some(progress) = progress.filter(|_| !has_backlog(NeighbourId(key))) {
                progress.mark(newest);
            }
        }
        let has_batch = newest == self.current;
        self.current += u64::from(has_batch);
        has_batch.then_some(Batch(newest))
    }

    /// Records that neighbour `id` has taken the first `count` lines written to it. `None` if fewer lines were
    /// written, or if the neighbour has acknowledged more before.
    pub fn acknowledged(&mut self, id: NeighbourId, count: u64) -> Option<()> {
        let progress = self.progress.get_mut(id.0)?.as_mut()?;
        if count > progress.written || count < progress.taken {
            return None;
        }
        progress.taken = count;
        Some(())
    }

    /// Takes the clients that may get their replies now, batch by batch. Call it after
    /// [`before_poll`](Acks::before_poll) and [`acknowledged`](Acks::acknowledged).
    pub fn take_acked(&mut self) -> Vec<(ConnId, Batch)> {
        let mut free = Vec::new();
        for batches in self.progress.iter_mut().flatten().filter_map(NeighbourProgress::take_acked)
        {
            release(&mut self.waiting, batches, &mut free);
        }
        free
    }

    /// Expires all batches up to `batch`. Returns the clients that get their replies without an acknowledgement, and
    /// the number of these replies.
    pub fn expired(&mut self, Batch(batch): Batch) -> (Vec<(ConnId, Batch)>, u64) {
        let mut free = Vec::new();
        let replies = release(&mut self.waiting, 0..=batch, &mut free);
        (free, replies)
    }
}

impl NeighbourProgress {
    /// Notes that all lines of `batch` have been written.
    fn mark(&mut self, batch: u64) {
        let mark = (self.written, batch);
        let is_full = self.marks.len() >= MARKS_MAX;
        match self.marks.back_mut() {
            Some(last) if last.1 == batch => {}
            Some(last) if is_full || last.0 == self.written => *last = mark,
            _ => self.marks.push_back(mark),
        }
    }

    /// Takes the batches that the neighbour has acknowledged completely; returns each mark once.
    fn take_acked(&mut self) -> Option<RangeInclusive<u64>> {
        debug_assert!(self.taken <= self.written && self.marks.iter().is_sorted());
        let count = self.marks.iter().take_while(|(written, _)| *written <= self.taken).count();
        self.marks.drain(..count).next_back().map(|(_, batch)| self.since..=batch)
    }
}

/// Removes `batches` from the `waiting` ones, and adds their waiters to `free`. Returns the number of replies.
fn release(
    waiting: &mut VecDeque<WaitingBatch>,
    batches: RangeInclusive<u64>,
    free: &mut Vec<(ConnId, Batch)>,
) -> u64 {
    let first = waiting.partition_point(|waiting| waiting.batch < *batches.start());
    let end = waiting.partition_point(|waiting| waiting.batch <= *batches.end());
    let mut replies = 0;
    for WaitingBatch { batch, waiters, replies: its } in waiting.drain(first..end.max(first)) {
        debug_assert!(waiters.len() as u64 <= its, "each waiter has a reply");
        free.extend(waiters.into_iter().map(|waiter| (waiter, Batch(batch))));
        replies += its;
    }
    replies
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARKER: NeighbourId = NeighbourId(0);
    const WELSH: NeighbourId = NeighbourId(1);

    fn client(number: u32) -> ConnId {
        ConnId::new(number, 1)
    }

    /// Returns the acks of two linked neighbours.
    fn two() -> Acks {
        let mut acks = Acks::new(Batch::default());
        acks.linked(PARKER);
        acks.linked(WELSH);
        acks
    }

    /// Runs a turn in which `waiter` reports and `lines` are written to both neighbours.
    fn turn(acks: &mut Acks, waiter: u32, lines: u64) -> Batch {
        let batch = acks.wait(client(waiter));
        (0..lines).for_each(|_| {
            acks.wrote(PARKER, 1);
            acks.wrote(WELSH, 1);
        });
        assert_eq!(acks.before_poll(|_| false), Some(batch));
        batch
    }

    fn released(acks: &mut Acks) -> Vec<usize> {
        acks.take_acked().iter().map(|(waiter, _)| waiter.key()).collect()
    }

    #[test]
    fn a_batch_is_released_by_the_first_neighbour_that_has_all_of_it() {
        let mut acks = two();
        turn(&mut acks, 1, 3);
        assert!(released(&mut acks).is_empty());
        acks.acknowledged(PARKER, 2).unwrap();
        assert!(released(&mut acks).is_empty());
        acks.acknowledged(WELSH, 3).unwrap();
        assert_eq!(released(&mut acks), [1]);
        acks.acknowledged(PARKER, 3).unwrap();
        assert!(released(&mut acks).is_empty());
        assert!(acks.waiting.is_empty());
    }

    #[test]
    fn one_number_covers_all_batches_before_it() {
        let mut acks = two();
        for waiter in 1..=4 {
            turn(&mut acks, waiter, 1);
        }
        acks.acknowledged(PARKER, 3).unwrap();
        assert_eq!(released(&mut acks), [1, 2, 3]);
        acks.acknowledged(PARKER, 4).unwrap();
        assert_eq!(released(&mut acks), [4]);
    }

    #[test]
    fn what_is_in_the_backlog_has_not_been_taken() {
        let mut acks = two();
        acks.lost(WELSH);
        acks.wait(client(1));
        acks.before_poll(|_| true);
        acks.acknowledged(PARKER, 0).unwrap();
        assert!(released(&mut acks).is_empty());
        // The client's line is sent from the backlog.
        acks.wrote(PARKER, 1);
        assert_eq!(acks.before_poll(|_| false), None);
        assert!(released(&mut acks).is_empty());
        acks.acknowledged(PARKER, 1).unwrap();
        assert_eq!(released(&mut acks), [1]);
    }

    #[test]
    fn a_report_that_was_no_news_waits_for_what_was_written_before() {
        let mut acks = two();
        turn(&mut acks, 1, 1);
        turn(&mut acks, 2, 0);
        acks.acknowledged(WELSH, 1).unwrap();
        assert_eq!(released(&mut acks), [1, 2]);
        turn(&mut acks, 3, 0);
        assert_eq!(released(&mut acks), [3]);
    }

    #[test]
    fn an_expired_batch_is_released_with_all_batches_before_it() {
        let mut acks = two();
        let first = turn(&mut acks, 1, 1);
        let second = turn(&mut acks, 2, 1);
        turn(&mut acks, 3, 1);
        assert_eq!(acks.expired(second), (vec![(client(1), first), (client(2), second)], 2));
        assert_eq!(acks.expired(first), (vec![], 0));
        acks.acknowledged(PARKER, 3).unwrap();
        assert_eq!(released(&mut acks), [3]);
    }

    #[test]
    fn a_lost_link_acknowledges_nothing_and_a_new_one_no_earlier_batch() {
        let mut acks = two();
        let first = turn(&mut acks, 1, 5);
        acks.lost(PARKER);
        acks.lost(WELSH);
        assert_eq!(acks.acknowledged(PARKER, 5), None);
        assert!(released(&mut acks).is_empty());
        acks.linked(PARKER);
        acks.before_poll(|_| false);
        assert!(released(&mut acks).is_empty(), "the new link never got those lines");
        turn(&mut acks, 2, 1);
        acks.acknowledged(PARKER, 1).unwrap();
        assert_eq!(released(&mut acks), [2]);
        assert_eq!(acks.expired(first), (vec![(client(1), first)], 1));
    }

    #[test]
    fn a_link_acknowledges_nothing_that_waited_before_it_in_its_own_turn() {
        let mut acks = two();
        acks.lost(WELSH);
        let early = acks.wait(client(1));
        acks.wrote(PARKER, 1);
        acks.linked(WELSH);
        acks.wait(client(2));
        acks.wrote(WELSH, 1);
        acks.before_poll(|_| false);
        acks.acknowledged(WELSH, 1).unwrap();
        assert!(released(&mut acks).is_empty(), "of the two lines it got only the second");
        turn(&mut acks, 3, 1);
        acks.acknowledged(WELSH, 2).unwrap();
        assert_eq!(released(&mut acks), [3]);
        assert_eq!(acks.expired(early).1, 2);
    }

    #[test]
    fn an_ack_of_more_than_was_written_or_less_than_before_is_rejected() {
        let mut acks = two();
        turn(&mut acks, 1, 3);
        assert_eq!(acks.acknowledged(PARKER, 4), None);
        acks.acknowledged(PARKER, 2).unwrap();
        assert_eq!(acks.acknowledged(PARKER, 1), None);
        acks.acknowledged(PARKER, 3).unwrap();
    }

    #[test]
    fn marks_are_bounded_and_what_they_acknowledge_is_not_lost() {
        let mut acks = two();
        for waiter in 0..3_000 {
            turn(&mut acks, waiter, 1);
        }
        assert!(acks.progress[0].as_ref().unwrap().marks.len() <= MARKS_MAX);
        acks.acknowledged(PARKER, 3_000).unwrap();
        assert_eq!(released(&mut acks).len(), 3_000);
    }

    #[test]
    fn a_client_with_many_replies_in_one_turn_is_released_once() {
        let mut acks = two();
        let batch = acks.wait(client(1));
        assert_eq!(acks.wait(client(1)), batch);
        acks.wait(client(2));
        acks.before_poll(|_| false);
        assert_eq!(acks.expired(batch), (vec![(client(1), batch), (client(2), batch)], 3));
    }
}
