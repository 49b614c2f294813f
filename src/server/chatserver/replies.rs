//! The queued replies of one client. Replies leave in the order of the commands. A WHATSAT may have to wait for its
//! places, so the replies after it wait here, already composed:
//!
//! ```text
//!   answered ─▶ send buffer      waiting: [WHATSAT 1 | replies after it] [WHATSAT 2 | replies after it]
//!                                          └ no places yet                       └ has its places
//! ```
//!
//! Only the *replies* wait. An IAMAT behind a slow WHATSAT is stored and flooded at once. With
//! `ack = "peer"` the reply to an IAMAT waits in the same way, for a neighbour's acknowledgement.

use crate::log::{Direction, Escaped, Party, WHATSAT, plural};
use crate::places::{Answer, Ticket};
use crate::replication::acks::Batch;
use crate::server::member::{Cx, Member, Message, log_line, log_name};
use crate::server::place_queries::{Answered, SharedAnswer};
use crate::wire::command::Whatsat;
use herd_reactor::{Core, Moment};
use std::collections::VecDeque;
use std::sync::Arc;

/// The protocol's name in the log.
pub(super) const NAME: &str = "Chatserver";

/// The queued replies of one client; see the head of this file. A queue exists only while an entry waits.
#[derive(Debug, Default)]
pub(super) struct ReplyQueue {
    /// The entries that cannot leave yet, oldest first.
    waiting: VecDeque<Waiting>,
    /// How many entries are WHATSATs.
    questions: usize,
    /// The replies behind all entries, concatenated, in a [buffer of the core](herd_reactor::Core::make_room).
    behind: Vec<u8>,
    /// How many bytes of `behind` have been written to the connection.
    written: usize,
}

/// One entry of the queue: what it waits for, and how many bytes of replies follow it, up to the next entry.
#[derive(Debug)]
struct Waiting {
    what: Awaited,
    after: usize,
}

/// What an entry waits for.
#[derive(Debug)]
enum Awaited {
    /// The answer to a WHATSAT.
    Places {
        ticket: Ticket,
        /// The AT line, with its end.
        head: Vec<u8>,
        bound: usize,
        answer: Option<SharedAnswer>,
        question: Option<Box<LoggedWhatsat>>,
    },
    /// A neighbour's acknowledgement of the reports to which the replies behind this entry belong.
    Neighbour { batch: Batch, is_given: bool },
}

impl Waiting {
    /// Whether the wait is over.
    fn is_over(&self) -> bool {
        match &self.what {
            Awaited::Places { answer, .. } => answer.is_some(),
            Awaited::Neighbour { is_given, .. } => *is_given,
        }
    }
}

impl ReplyQueue {
    /// Queues the reply to a WHATSAT: `head`, its AT line, and up to `bound` of the places that answer `ticket`.
    pub(super) fn wait_for_places(
        &mut self,
        ticket: Ticket,
        head: Vec<u8>,
        bound: usize,
        question: Option<Box<LoggedWhatsat>>,
    ) {
        self.wait(Awaited::Places { ticket, head, bound, answer: None, question });
        self.questions += 1;
    }

    /// Makes all further replies wait for a neighbour's acknowledgement of `batch`.
    pub(super) fn wait_for_neighbour(&mut self, batch: Batch) {
        match self.waiting.back().map(|last| &last.what) {
            Some(Awaited::Neighbour { batch: last, .. }) if *last == batch => {}
            _ => self.wait(Awaited::Neighbour { batch, is_given: false }),
        }
    }

    fn wait(&mut self, what: Awaited) {
        self.waiting.push_back(Waiting { what, after: 0 });
    }

    /// Appends the reply `line` behind the last entry.
    pub(super) fn push(&mut self, core: &mut Core<Member>, line: &[u8]) {
        let Some(before) = self.waiting.back_mut() else { return };
        core.make_room(&mut self.behind, line.len() + 1);
        self.behind.extend_from_slice(line);
        self.behind.push(b'\n');
        before.after += line.len() + 1;
    }

    /// Marks the entries that waited for `message` as ready.
    pub(super) fn message(&mut self, message: &Message) {
        for waiting in &mut self.waiting {
            match (&mut waiting.what, message) {
                (
                    Awaited::Places { ticket, answer, .. },
                    Message::Answered(Answered(answered, found)),
                ) if ticket == answered => *answer = Some(Arc::clone(found)),
                (Awaited::Neighbour { batch, is_given }, Message::Released(released))
                    if batch == released =>
                {
                    *is_given = true;
                }
                _ => {}
            }
        }
    }

    /// Writes the oldest entry, if its wait is over, and the replies behind it. Returns whether it did.
    pub(super) fn write_next(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(first) = self.take_over() else { return false };
        if let Awaited::Places { head, bound, answer: Some(answer), question, .. } = &first.what {
            let bytes = write_places(cx, head, *bound, answer);
            if let Some(question) = question {
                question.answered(cx, answer, bytes);
            }
        }
        let end = self.written + first.after;
        cx.write(&self.behind[self.written..end]);
        self.written = end;
        // This moves at most as many bytes as were written since the last time.
        if 2 * self.written >= self.behind.len() {
            self.behind.drain(..self.written);
            self.written = 0;
        }
        true
    }

    /// Removes the oldest entry, if its wait is over.
    fn take_over(&mut self) -> Option<Waiting> {
        let questions = self.waiting.iter().filter(|it| matches!(it.what, Awaited::Places { .. }));
        debug_assert_eq!(self.questions, questions.count());
        let behind = self.waiting.iter().map(|it| it.after);
        debug_assert_eq!(self.bytes(), behind.sum::<usize>());
        self.waiting.front().filter(|first| first.is_over())?;
        let first = self.waiting.pop_front()?;
        self.questions -= usize::from(matches!(first.what, Awaited::Places { .. }));
        Some(first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many WHATSATs are open.
    pub(super) fn questions(&self) -> usize {
        self.questions
    }

    /// How many bytes of composed replies wait.
    pub(super) fn bytes(&self) -> usize {
        debug_assert!(self.written <= self.behind.len());
        self.behind.len() - self.written
    }

    /// Returns the buffer to the core, and withdraws the WHATSATs that still wait if the connection was lost.
    pub(super) fn close(self, cx: &mut Cx<'_>) {
        cx.core.give_back(self.behind);
        // Newest first. Otherwise withdrawing one would put the next to the source, only for it to be withdrawn, too.
        for waiting in self.waiting.into_iter().rev() {
            let Awaited::Places { ticket, answer, question, .. } = waiting.what else { continue };
            if answer.is_none() {
                cx.state.place_queries.forget(cx.core, ticket);
            }
            if let Some(question) = question {
                question.unanswered(cx, "the connection has ended");
            }
        }
    }
}

/// A WHATSAT, for its line in the log.
#[derive(Debug)]
pub(super) struct LoggedWhatsat {
    client: Vec<u8>,
    radius: Vec<u8>,
    bound: usize,
    since: Moment,
}

impl LoggedWhatsat {
    /// Keeps what the line says; `None` if the line is off.
    pub(super) fn new(now: Moment, whatsat: &Whatsat<'_>) -> Option<Box<LoggedWhatsat>> {
        log::log_enabled!(target: WHATSAT, log::Level::Info).then(|| {
            let (client, radius) = (whatsat.client.to_vec(), whatsat.radius.text.to_vec());
            Box::new(LoggedWhatsat { client, radius, bound: whatsat.bound, since: now })
        })
    }

    fn answered(&self, cx: &Cx<'_>, answer: &Answer, bytes: usize) {
        let (status, places) = (answer.status(self.bound), answer.count(self.bound));
        let ms = ((cx.core.now() - self.since).as_secs_f64() * 10_000.0).round() / 10.0;
        let (name, address, client) = self.names(cx);
        log::info!(
            target: WHATSAT,
            event = "whatsat", conn:% = name, address:% = address, client:% = client,
            radius:% = Escaped(&self.radius), count = self.bound, status = status, places = places,
            ms = ms, bytes = bytes;
            "{name},{address}: WHATSAT {client} {} {}: {status}, {}, {bytes} bytes, {ms} ms",
            Escaped(&self.radius), self.bound, plural(places, "place"),
        );
    }

    /// Logs that there is no answer, and why.
    pub(super) fn unanswered(&self, cx: &Cx<'_>, why: &str) {
        let (name, address, client) = self.names(cx);
        log::info!(
            target: WHATSAT,
            event = "whatsat", conn:% = name, address:% = address, client:% = client,
            radius:% = Escaped(&self.radius), count = self.bound, reason = why;
            "{name},{address}: WHATSAT {client} {} {}: not answered: {why}",
            Escaped(&self.radius), self.bound,
        );
    }

    /// The connection, the asker's address, and the client asked about.
    fn names(&self, cx: &Cx<'_>) -> (Party<'static>, String, Escaped<'_>) {
        let peer = cx.transport().map(|transport| transport.addrs().peer.to_string());
        (log_name(NAME, cx.id), peer.unwrap_or_default(), Escaped(&self.client))
    }
}

/// Writes the reply to a WHATSAT: `head`, which is the AT line; the answer, cut to `bound` places; a blank line. Returns
/// the number of bytes.
fn write_places(cx: &mut Cx<'_>, head: &[u8], bound: usize, answer: &Answer) -> usize {
    // The blank line occurs nowhere else in the reply, and ends it.
    const END: &[u8] = b"\n\n";
    let mut bytes = 0;
    cx.core.write_with(cx.id, head.len() + answer.bytes(bound) + END.len(), |out| {
        let start = out.len();
        out.extend_from_slice(head);
        answer.write(bound, out);
        out.extend_from_slice(END);
        bytes = out.len() - start;
    });
    log_line(cx, NAME, Direction::Out, head.strip_suffix(b"\n").unwrap_or(head));
    bytes
}
