//! The WHATSATs that wait for their places.
//!
//! A source may answer at once, as the embedded one does, or later, as one on the network. To who
//! asked there is no difference: the answer comes as a [`Message`], in a later turn. So a source is
//! exchanged without a change to [`Chatserver`](super::chatserver::Chatserver).
//!
//! ```text
//!   ask ──▶ ≤ in_flight at the source ──▶ answered ──▶ Message to the connection
//!      └──▶ ≤ queue waiting for it ──┘        ▲
//!      └──▶ refused: OVER_QUERY_LIMIT         └── or the deadline: UNKNOWN_ERROR
//! ```
//!
//! Whatever happens, each question is answered exactly once, or forgotten because who asked has
//! gone. The deadline counts from the question, the time in the queue included.

use crate::places::{Answer, Failure, Progress, Query, Source, Status, Ticket};
use crate::reactor::{ConnId, Core, Seldom, Shared, TimerId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is posted to a connection of a herd member.
#[derive(Debug)]
pub enum Message {
    /// The answer to the question that was given this ticket.
    Answered(Ticket, Answer),
}

/// What the questions' deadlines need of whoever keeps them.
pub trait Inquirer: Shared<Message = Message> {
    /// The questions.
    fn inquiries(&mut self) -> &mut Inquiries;
}

/// Limits on questions to the source of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InquiryLimits {
    /// How many are put to the source at one time.
    pub in_flight: usize,
    /// How many wait for that; more are refused.
    pub queue: usize,
    /// How long a question waits for its answer, from when it was asked.
    pub deadline: Duration,
}

/// The questions of one member that are not answered yet, and the source that answers them.
#[derive(Debug)]
pub struct Inquiries {
    source: Box<dyn Source>,
    limits: InquiryLimits,
    open: BTreeMap<Ticket, Inquiry>,
    /// Those of `open` that the source has not been asked yet. Tickets are given in order.
    queue: BTreeMap<Ticket, Query>,
    last_ticket: u64,
    refused: Seldom,
    expired: Seldom,
}

#[derive(Debug)]
struct Inquiry {
    asker: ConnId,
    deadline: TimerId,
}

impl Inquiries {
    /// No questions yet, for `source`.
    pub fn new(source: Box<dyn Source>, limits: InquiryLimits) -> Inquiries {
        Inquiries {
            source,
            limits,
            open: BTreeMap::new(),
            queue: BTreeMap::new(),
            last_ticket: 0,
            refused: Seldom::default(),
            expired: Seldom::default(),
        }
    }

    /// How many questions wait for their answers.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no question waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many have been put to the source.
    fn in_flight(&self) -> usize {
        self.open.len() - self.queue.len()
    }

    /// Asks what is near; the answer is posted to `asker`, in a later turn, exactly once.
    pub fn ask<S: Inquirer>(&mut self, core: &mut Core<S>, asker: ConnId, query: Query) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        if self.in_flight() < self.limits.in_flight {
            if let Progress::Answered(answer) = self.source.nearby(ticket, &query) {
                core.post(asker, Message::Answered(ticket, answer));
                return ticket;
            }
            self.open(core, ticket, asker);
        } else if self.queue.len() < self.limits.queue {
            self.open(core, ticket, asker);
            self.queue.insert(ticket, query);
        } else {
            if let Some(times) = self.refused.happened(1, core.now()) {
                let (name, max) = (self.source.name(), self.limits.queue);
                log::warn!("limit: whatsat_queue = {max}: {times} questions to {name} refused");
            }
            let message = "Query limit reached; retry later.".to_owned();
            let failure = Failure { status: Status::OverQueryLimit, message };
            core.post(asker, Message::Answered(ticket, Answer::Failed(failure)));
        }
        ticket
    }

    fn open<S: Inquirer>(&mut self, core: &mut Core<S>, ticket: Ticket, asker: ConnId) {
        let deadline = core.call_later(self.limits.deadline, move |state: &mut S, core| {
            state.inquiries().expire(core, ticket);
        });
        self.open.insert(ticket, Inquiry { asker, deadline });
    }

    /// The source has found the answer to `ticket`. If nobody waits for it any more, it is dropped.
    pub fn answered<S: Inquirer>(&mut self, core: &mut Core<S>, ticket: Ticket, answer: Answer) {
        let Some(inquiry) = self.close(core, ticket) else { return };
        core.post(inquiry.asker, Message::Answered(ticket, answer));
        self.ask_next(core);
    }

    /// Who asked has gone.
    pub fn forget<S: Inquirer>(&mut self, core: &mut Core<S>, ticket: Ticket) {
        self.close(core, ticket);
        self.ask_next(core);
    }

    fn expire<S: Inquirer>(&mut self, core: &mut Core<S>, ticket: Ticket) {
        let deadline_ms = self.limits.deadline.as_millis();
        if let Some(times) = self.expired.happened(1, core.now()) {
            let name = self.source.name();
            log::warn!(
                "limit: whatsat_deadline_ms = {deadline_ms}: {times} questions to {name} expired"
            );
        }
        let message = "The places provider did not answer in time.".to_owned();
        let failure = Failure { status: Status::UnknownError, message };
        self.answered(core, ticket, Answer::Failed(failure));
    }

    fn close<S: Inquirer>(&mut self, core: &mut Core<S>, ticket: Ticket) -> Option<Inquiry> {
        let inquiry = self.open.remove(&ticket)?;
        self.queue.remove(&ticket);
        // When it is the deadline that has come, it is spent.
        let _ = core.cancel(inquiry.deadline);
        Some(inquiry)
    }

    /// Puts the next questions to the source, now that there is room.
    fn ask_next<S: Inquirer>(&mut self, core: &mut Core<S>) {
        while self.in_flight() < self.limits.in_flight {
            let Some((ticket, query)) = self.queue.pop_first() else { return };
            if let Progress::Answered(answer) = self.source.nearby(ticket, &query)
                && let Some(inquiry) = self.close(core, ticket)
            {
                core.post(inquiry.asker, Message::Answered(ticket, answer));
            }
        }
    }
}
