//! What a handler of the HTTP port gets and gives: a request, and its answer, which may come later.

use crate::access::Caller;
use crate::http::{HttpReply, RequestHead};
use crate::server::member::{Cx, Message};
use herd_reactor::TimerId;
use std::borrow::Cow;

/// A complete request that the [router](super::routes) has admitted.
pub(super) struct Ask<'a> {
    /// The head: path and query as they were sent, and the header fields.
    pub head: &'a RequestHead<'a>,
    /// The decoded segment of the path that stands for `{id}` or `{name}` in the route; `None` if the route has none, or
    /// the path ends before it.
    pub segment: Option<Cow<'a, [u8]>>,
    /// The body without its framing.
    pub body: Cow<'a, [u8]>,
    /// What the request may do.
    pub caller: Caller,
}

/// The answer to a request.
pub(super) enum HttpAnswer {
    /// It is ready.
    Reply(HttpReply),
    /// It comes later.
    Waits(Box<dyn PendingAnswer>),
    /// It begins with this head, and then never ends: [`PendingAnswer`] writes the rest to the connection, with
    /// [`Core::write_with`](herd_reactor::Core::write_with). The connection ends with it.
    Stream(HttpReply, Box<dyn PendingAnswer>),
}

/// An answer that is not ready yet, or that never ends. Its calls never run inside the handler that made it.
pub(super) trait PendingAnswer {
    /// A message that was posted to the connection.
    fn message(&mut self, cx: &mut Cx<'_>, message: &Message) -> AnswerStep;

    /// A timer that this answer has set is due.
    fn timer(&mut self, _cx: &mut Cx<'_>, _timer: TimerId) -> AnswerStep {
        AnswerStep::Wait
    }

    /// The send buffer is empty again after it was full, or after
    /// [`resume_when_drained`](herd_reactor::Core::resume_when_drained).
    fn drained(&mut self, _cx: &mut Cx<'_>) -> AnswerStep {
        AnswerStep::Wait
    }

    /// The server stops, or wants this connection to end: finish soon.
    fn stopping(&mut self, _cx: &mut Cx<'_>) -> AnswerStep {
        AnswerStep::Wait
    }

    /// Releases what this answer holds, because it is over or the connection is lost. Called once, last.
    fn close(self: Box<Self>, _cx: &mut Cx<'_>) {}
}

/// What follows a call of [`PendingAnswer`].
pub(super) enum AnswerStep {
    /// The answer still waits, or the stream goes on.
    Wait,
    /// The answer is ready. A stream must not return this.
    Reply(HttpReply),
    /// Another answer takes the place of this one.
    Then(Box<dyn PendingAnswer>),
    /// The stream is over: the connection closes when all that was written has been sent.
    End,
}

impl From<HttpReply> for HttpAnswer {
    fn from(reply: HttpReply) -> HttpAnswer {
        HttpAnswer::Reply(reply)
    }
}
