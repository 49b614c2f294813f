//! A request of a phone app. The server reads its reports, then takes them, both in slices, and then answers.
//!
//! It answers a short request in the turn in which it arrives, unless the answer must wait for a neighbour.

use super::NAME;
use super::delayed::{hold, when_acknowledged};
use super::exchange::{AnswerStep, Ask, HttpAnswer, PendingAnswer};
use super::reports::{rules, take, unavailable};
use super::slices::{begin_slices, end_slices, slice_done};
use crate::access::{Caller, Presented};
use crate::http::HttpReply;
use crate::phones::{
    App, Fault, PhoneReading, PhoneRequest, ReportOutcome, SLICE_BYTES, Unreadable, mended,
};
use crate::server::member::{Cx, Message, log_name};
use crate::server::taking::refusal;
use log::Level;

/// How many reports are taken in a turn.
const SLICE_REPORTS: usize = 128;

/// A request of an app; see the head of this file.
pub(super) struct PhoneBatch {
    app: App,
    caller: Caller,
    reading: PhoneReading,
    is_read: bool,
    /// The body, if it is not read in one turn.
    body: Vec<u8>,
    /// Why the app must send some reports again.
    refused: Option<ReportOutcome>,
}

impl PhoneBatch {
    /// Reads and takes the reports of a request of `app`.
    pub(super) fn begin(cx: &mut Cx<'_>, ask: &mut Ask<'_>, app: App) -> HttpAnswer {
        if let Some(body) = mended(&ask.body) {
            ask.body = body.into();
        }
        let shown = Presented::find(ask.head.get("Authorization"), b"");
        let request = PhoneRequest {
            app,
            path_id: ask.segment.as_deref(),
            query: ask.head.query.as_bytes(),
            user: ask.head.get("X-Limit-U"),
            device: ask.head.get("X-Limit-D"),
            basic_user: shown.as_ref().and_then(|shown| shown.user.as_deref()),
            body: &ask.body,
        };
        let mut batch = PhoneBatch {
            app,
            caller: ask.caller.clone(),
            reading: PhoneReading::new(&request, rules(cx)),
            is_read: false,
            body: Vec::new(),
            refused: None,
        };
        if ask.body.len() <= SLICE_BYTES
            && let Some(answer) = batch.slice(cx, &ask.body)
        {
            batch.count(cx);
            return answer;
        }
        batch.body = std::mem::take(&mut ask.body).into_owned();
        begin_slices(cx);
        HttpAnswer::Waits(Box::new(batch))
    }

    /// Does the work of one turn. Returns the answer at the end.
    fn slice(&mut self, cx: &mut Cx<'_>, body: &[u8]) -> Option<HttpAnswer> {
        if cx.core.is_stopping() {
            return Some(self.error(cx, unavailable("the server stops")));
        }
        if !self.is_read {
            match self.reading.read(body) {
                Ok(has_more) => self.is_read = !has_more,
                Err(Unreadable::TooLong) => {
                    self.is_read = true;
                    let fault = Fault::new(ReportOutcome::Malformed, Unreadable::TOO_LONG);
                    self.reading.fault(fault);
                }
                Err(why) => {
                    self.reading.outcomes = Default::default();
                    self.reading.outcomes[ReportOutcome::Malformed as usize] = 1;
                    return Some(self.error(cx, HttpReply::problem(400, &why.to_string(), None)));
                }
            }
        }
        if self.is_read {
            self.take_some(cx);
        }
        (self.is_read && self.reading.kept.is_empty()).then(|| self.answer(cx))
    }

    /// Takes some of the reports that have been read.
    fn take_some(&mut self, cx: &mut Cx<'_>) {
        use ReportOutcome::{Early, Forbidden, Full, Journal, Late};
        for _ in 0..SLICE_REPORTS {
            let Some((id, report)) = self.reading.kept.pop_first() else { break };
            let outcome = match self.caller.may_write(&id) {
                true => take(cx, &id, &report),
                false => Forbidden,
            };
            match outcome {
                Forbidden => {
                    let why = "the token or certificate does not allow reports of this client";
                    self.reading.fault(Fault::new(outcome, why));
                }
                Early | Late => self.reading.fault(Fault::new(outcome, refusal(outcome))),
                outcome => self.reading.outcomes[outcome as usize] += 1,
            }
            if matches!(outcome, Full | Journal) {
                self.refused = Some(outcome);
            }
            if outcome == Journal {
                self.reading.kept.clear();
            }
        }
    }

    /// The answer when nothing is left.
    fn answer(&mut self, cx: &mut Cx<'_>) -> HttpAnswer {
        let (outcomes, fault) = (self.reading.outcomes, self.reading.fault);
        let taken: u32 = outcomes[..=ReportOutcome::Older as usize].iter().sum();
        let dropped: u32 = outcomes[ReportOutcome::Malformed as usize..].iter().sum();
        if let Some(Fault { outcome, why, .. }) = fault.filter(|_| dropped > 0) {
            let key = (why, outcome as u32);
            let what = format_args!("{}: {why}", log_name(NAME, cx.id));
            cx.core.log_throttled(Level::Warn, key, what, dropped.into(), "reports dropped");
        }
        if let Some(outcome) = self.refused {
            return self.error(cx, unavailable(refusal(outcome)));
        }
        let reply = match (self.app, fault) {
            (App::OwnTracks, _) => HttpReply::json(200, &b"[]"[..]),
            (App::Overland, _) => {
                let body = format!(r#"{{"result":"ok","taken":{taken},"dropped":{dropped}}}"#);
                HttpReply::json(200, body.into_bytes())
            }
            (App::Report, None) => HttpReply::text(200, "OK"),
            (App::Report, Some(Fault { why, .. })) if dropped > 0 => {
                HttpReply::text(200, format!("dropped: {why}"))
            }
            (App::Report, Some(Fault { why, .. })) => {
                HttpReply::text(200, format!("OK, but {why}"))
            }
        };
        let reply = match dropped {
            0 => reply,
            _ => reply.with(&format!("Herd-Dropped: {dropped}")),
        };
        if taken > 0 { when_acknowledged(cx, reply) } else { reply.into() }
    }

    /// An answer that makes the app repeat the request.
    fn error(&self, cx: &mut Cx<'_>, reply: HttpReply) -> HttpAnswer {
        if self.app == App::Report { hold(cx, reply) } else { reply.into() }
    }

    /// Adds the outcomes of the reports to the server's counters. Further calls add nothing.
    fn count(&mut self, cx: &mut Cx<'_>) {
        let outcomes = std::mem::take(&mut self.reading.outcomes);
        let totals = &mut cx.state.counters.http_reports;
        totals.iter_mut().zip(outcomes).for_each(|(total, more)| *total += u64::from(more));
    }
}

impl PendingAnswer for PhoneBatch {
    fn message(&mut self, cx: &mut Cx<'_>, message: &Message) -> AnswerStep {
        let Message::NextSlice = message else { return AnswerStep::Wait };
        let body = std::mem::take(&mut self.body);
        let answer = self.slice(cx, &body);
        self.body = body;
        slice_done(cx, answer.is_none());
        match answer {
            None => AnswerStep::Wait,
            Some(HttpAnswer::Reply(reply)) => AnswerStep::Reply(reply),
            Some(HttpAnswer::Waits(next) | HttpAnswer::Stream(_, next)) => AnswerStep::Then(next),
        }
    }

    fn close(mut self: Box<Self>, cx: &mut Cx<'_>) {
        self.count(cx);
        end_slices(cx);
    }
}
