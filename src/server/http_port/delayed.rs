//! Answers that are ready but wait: for a neighbour's acknowledgement, or for a while.

use super::exchange::{AnswerStep, HttpAnswer, PendingAnswer};
use crate::http::HttpReply;
use crate::replication::acks::Batch;
use crate::server::member::{Cx, Message};
use herd_reactor::TimerId;
use std::time::Duration;

/// The delay of an error at `/report`. OsmAnd repeats a rejected report at once, without a pause.
const HOLD: Duration = Duration::from_secs(5);

/// The answer to reports that have been taken in this turn: with `ack = "peer"` it waits until a neighbour has them, or
/// for `ack_wait_ms`.
pub(super) fn when_acknowledged(cx: &mut Cx<'_>, reply: HttpReply) -> HttpAnswer {
    match &mut cx.state.neighbours.acks {
        None => reply.into(),
        Some(acks) => DelayedReply::answer(reply, Until::Acknowledged(acks.wait(cx.id))),
    }
}

/// Delays an error, unless the server is stopping.
pub(super) fn hold(cx: &mut Cx<'_>, reply: HttpReply) -> HttpAnswer {
    match cx.core.is_stopping() {
        true => reply.into(),
        false => DelayedReply::answer(reply, Until::Held(cx.core.timer_later(cx.id, HOLD))),
    }
}

/// An answer that waits.
struct DelayedReply {
    reply: Option<HttpReply>,
    until: Until,
}

/// What a [`DelayedReply`] answer waits for.
#[derive(PartialEq)]
enum Until {
    /// A neighbour has this batch.
    Acknowledged(Batch),
    /// This timer is due.
    Held(TimerId),
}

impl DelayedReply {
    fn answer(reply: HttpReply, until: Until) -> HttpAnswer {
        HttpAnswer::Waits(Box::new(DelayedReply { reply: Some(reply), until }))
    }

    fn step(&mut self, is_over: bool) -> AnswerStep {
        self.reply.take_if(|_| is_over).map_or(AnswerStep::Wait, AnswerStep::Reply)
    }
}

impl PendingAnswer for DelayedReply {
    fn message(&mut self, _: &mut Cx<'_>, message: &Message) -> AnswerStep {
        let Message::Released(batch) = message else { return AnswerStep::Wait };
        self.step(self.until == Until::Acknowledged(*batch))
    }

    fn timer(&mut self, _: &mut Cx<'_>, timer: TimerId) -> AnswerStep {
        self.step(self.until == Until::Held(timer))
    }

    fn stopping(&mut self, _: &mut Cx<'_>) -> AnswerStep {
        self.step(matches!(self.until, Until::Held(_)))
    }

    fn close(self: Box<Self>, cx: &mut Cx<'_>) {
        if let Until::Held(timer) = self.until {
            // It may be due already.
            let _ = cx.core.cancel(timer);
        }
    }
}
