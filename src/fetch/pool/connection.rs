//! One connection of the [`pool`](super): it sends one request at a time, receives the response, and is kept idle in
//! between.
//!
//! It does not know whether it runs inside TLS (the log calls it `Https` in either case), or what the requests are
//! for.
//!
//! Twisted: web/_newclient.py, HTTP11ClientProtocol.

use super::{FetchId, Fetching, HttpPoolLimits, Origin, PendingRequest};
use crate::http::{HttpError, ResponseProgress, ResponseReader};
use herd_reactor::{CloseReason, Context, Flow, Moment, Protocol, TimerId};
use std::time::Duration;

/// A connection to one origin. It sends one request at a time.
#[derive(Debug)]
pub(super) struct Exchange {
    origin: Origin,
    limits: HttpPoolLimits,
    /// The fetch in progress, and its response so far. `None`: the connection is idle.
    current: Option<Current>,
    /// The time when the current wait times out. `awaited` says what it waits for.
    deadline: Moment,
    awaited: &'static str,
    timer: Option<TimerId>,
}

#[derive(Debug)]
struct Current {
    fetch: FetchId,
    reader: ResponseReader,
    /// The number of response bytes that were reported to the pool as held.
    held: usize,
}

impl Exchange {
    pub(super) fn new(origin: Origin, limits: HttpPoolLimits) -> Exchange {
        Exchange {
            origin,
            limits,
            current: None,
            deadline: Moment::default(),
            awaited: "",
            timer: None,
        }
    }

    fn send<S: Fetching>(&mut self, cx: &mut Context<'_, S>, pending: PendingRequest) {
        let PendingRequest { fetch, request } = pending;
        let reader = ResponseReader::new(request.method(), self.limits.http);
        self.current = Some(Current { fetch, reader, held: 0 });
        cx.core.write_with(cx.id, request.bytes(), |out| request.write(out));
        self.wait_for(cx, "the response's first byte", self.limits.first_byte);
    }

    /// Waits for `awaited`, with a timeout of `time`. One timer serves all waits: if it fires early, it is set again.
    fn wait_for<S: Fetching>(
        &mut self,
        cx: &mut Context<'_, S>,
        awaited: &'static str,
        time: Duration,
    ) {
        let deadline = cx.now() + time;
        // A pending timer fires in time, unless the new timeout is shorter; then it is replaced.
        let due = self.timer.and_then(|timer| cx.core.due(timer));
        if due.is_none_or(|due| due > deadline)
            && let Some(late) = self.timer.replace(cx.timer_later(time))
        {
            // It may be the timer that has just fired.
            let _ = cx.core.cancel(late);
        }
        (self.deadline, self.awaited) = (deadline, awaited);
    }

    /// Handles the progress of the response.
    fn advance<S: Fetching>(
        &mut self,
        cx: &mut Context<'_, S>,
        progress: Result<ResponseProgress, HttpError>,
    ) -> Flow {
        let Some(current) = &mut self.current else { return Ok(()) };
        let held = current.reader.buffered();
        let room = cx.state.pool().hold(current.held, held);
        current.held = held;
        match progress? {
            ResponseProgress::More if !room => {
                let most = self.limits.all_bytes;
                Err(format!("all responses together exceed {most} bytes").into())
            }
            ResponseProgress::More => {
                self.wait_for(cx, "more of the response", self.limits.between_bytes);
                Ok(())
            }
            ResponseProgress::Done(response) => {
                let fetch = current.fetch;
                let patience = response.keep_alive().unwrap_or(self.limits.idle);
                self.forget_current(cx);
                match super::responded(cx.state, cx.core, cx.id, &self.origin, fetch, response) {
                    true => self.wait_for(cx, "use", patience.min(self.limits.idle)),
                    false => cx.lose_connection(),
                }
                Ok(())
            }
        }
    }

    fn forget_current<S: Fetching>(&mut self, cx: &mut Context<'_, S>) {
        if let Some(current) = self.current.take() {
            cx.state.pool().hold(current.held, 0);
        }
    }
}

impl<S: Fetching> Protocol<S> for Exchange {
    fn name(&self) -> &'static str {
        "Https"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        match super::secured(cx.state, cx.core, cx.id, &self.origin) {
            Some(request) => self.send(cx, request),
            None => self.wait_for(cx, "use", self.limits.idle),
        }
        Ok(())
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        if let Ok(request) = message.try_into() {
            self.send(cx, request);
        }
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        let Some(current) = &mut self.current else {
            return Err("the peer sent bytes without a request".into());
        };
        super::first_byte(cx.state, cx.core, current.fetch);
        let progress = current.reader.received(data);
        if let Err(why) = self.advance(cx, progress) {
            // The connection is aborted, because the peer may still be sending.
            cx.core.abort_because(cx.id, CloseReason::ProtocolFailed(why));
        }
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        if let Some(current) = &mut self.current {
            let progress = current.reader.ended();
            self.advance(cx, progress)?;
        }
        cx.lose_connection();
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        debug_assert_eq!(self.timer, Some(timer));
        self.timer = None;
        let left = self.deadline - cx.now();
        if !left.is_zero() {
            self.wait_for(cx, self.awaited, left);
        } else if self.current.is_some() {
            // The connection is aborted, because the peer does not respond, and the fetch must fail at once.
            cx.core.abort_because(cx.id, CloseReason::TimeoutError(self.awaited));
        } else {
            cx.lose_connection();
        }
        Ok(())
    }

    /// Closes an idle connection. An exchange in progress may finish first, within its timeouts.
    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        if self.current.is_none() {
            cx.lose_connection();
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        let begun = self.current.as_ref().is_some_and(|current| current.reader.has_begun());
        self.forget_current(cx);
        super::lost(cx.state, cx.core, cx.id, begun, why);
    }
}
