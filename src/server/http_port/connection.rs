//! One connection to the HTTP port.
//!
//! In: bytes, which [`RequestReader`] turns into requests. Out: their answers, in order. The connection handles one request
//! at a time: while an answer waits or the send buffer is full, it keeps further bytes, and pauses reading if they are many.
//!
//! | state | begins | ends at the latest after | then |
//! |---|---|---|---|
//! | Idle | with the connection, and with each answer | `keep_alive_ms` | close |
//! | Head | with the first byte of a request that does not arrive whole | `head_ms` | 408, close |
//! | Body | with the end of its head | `body_ms`, or, behind [`SMALL_BODY_BYTES`], when less than [`BODY_BYTES_PER_SECOND`] arrive | 408, close |
//! | Answering | with a request whose answer waits | | Idle |
//! | Closing | with the last answer | the reactor's limits | |
//!
//! A connection has one timer. It is set again only when it fires, or when a state begins that may end earlier. So a
//! request that arrives whole sets no timer.
//!
//! Twisted: web/http.py, HTTPChannel.

use super::NAME;
use super::delayed;
use super::exchange::{AnswerStep, Ask, HttpAnswer, PendingAnswer};
use super::routes::{self, Admitted, PageOrigin, ROUTES};
use crate::http::{
    FieldSlots, HttpError, HttpLimits, HttpReply, Method, ReplyPart, RequestEvent, RequestHead,
    RequestReader,
};
use crate::log::Direction;
use crate::server::client_tls::check_again;
use crate::server::counters::Door;
use crate::server::member::{Cx, Member, Message, limit_closes, log_line, log_name};
use herd_reactor::{CloseReason, Flow, Moment, Protocol, TimerId, Transport};
use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

/// A body must arrive at least at this rate, on average over [`RATE_PERIOD`].
const BODY_BYTES_PER_SECOND: u32 = 500;

/// A body is not checked for its rate before this many bytes have arrived: a report from a bad network is shorter.
const SMALL_BODY_BYTES: u32 = 16 * 1024;

/// How often the rate of a body is checked.
const RATE_PERIOD: Duration = Duration::from_secs(5);

/// The protocol of a connection.
pub(super) struct HttpConnection {
    reader: RequestReader,
    /// The request whose answer waits.
    exchange: Option<Box<OpenExchange>>,
    /// Bytes that arrived after that request, or while the send buffer was full.
    kept: Vec<u8>,
    timer: TimerId,
    /// When the state began.
    since: Moment,
    state: ConnectionState,
    /// Whether its address was counted when it connected.
    is_counted: bool,
    /// Whether the connection ends after the next answer, because the server stops.
    leaves: bool,
    /// Whether the peer has half-closed it: it ends when everything that was received is answered.
    is_half_closed: bool,
    /// The bytes of the body at the last check of its rate.
    body_seen: u32,
    /// The memory of its unfinished request, as it is counted for all connections.
    held_bytes: u32,
}

/// See the table at the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    Idle,
    Head,
    Body,
    Answering,
    Closing,
}

use ConnectionState::{Answering, Body, Closing, Head, Idle};

/// A request whose answer waits, or a stream.
struct OpenExchange {
    waiting: Box<dyn PendingAnswer>,
    terms: Terms,
    is_stream: bool,
    /// The length of the request's body, which the answer may need until it is ready.
    body_bytes: usize,
}

/// What an answer depends on besides its handler.
#[derive(Default)]
struct Terms {
    /// The path of the route, for the status; empty for none.
    route: &'static str,
    head_only: bool,
    keeps_alive: bool,
    http_1_0: bool,
    /// Header lines for the browser.
    cors: String,
    /// Method and path for the log, if it has lines of traffic.
    logged: Option<String>,
}

impl Protocol<Member> for HttpConnection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn data_received(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Flow {
        match &self.exchange {
            None if self.kept.is_empty() => self.read(cx, data),
            // A stream is the last answer: what follows is never read.
            Some(exchange) if exchange.is_stream => {}
            _ => {
                self.keep(cx, data);
                self.note_memory(cx);
            }
        }
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Cx<'_>) -> Flow {
        self.is_half_closed = true;
        self.end_if_answered(cx);
        Ok(())
    }

    fn shutting_down(&mut self, cx: &mut Cx<'_>) -> Flow {
        self.leaves = true;
        match self.exchange {
            Some(_) => self.step(cx, |waiting, cx| waiting.stopping(cx)),
            None if self.reader.is_idle() && self.kept.is_empty() => cx.lose_connection(),
            None => {}
        }
        Ok(())
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: Message) -> Flow {
        match message {
            Message::Leave => return self.shutting_down(cx),
            Message::CertificatesReplaced => check_again(cx, NAME),
            message => self.step(cx, |waiting, cx| waiting.message(cx, &message)),
        }
        Ok(())
    }

    fn resume_producing(&mut self, cx: &mut Cx<'_>) -> Flow {
        match self.exchange {
            Some(_) => self.step(cx, |waiting, cx| waiting.drained(cx)),
            None => self.read_kept(cx),
        }
        Ok(())
    }

    fn timer(&mut self, cx: &mut Cx<'_>, timer: TimerId) -> Flow {
        match timer == self.timer {
            true => self.check_time(cx),
            false => self.step(cx, |waiting, cx| waiting.timer(cx, timer)),
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Cx<'_>, why: &CloseReason) {
        if let Some(exchange) = self.exchange.take() {
            exchange.waiting.close(cx);
        }
        cx.state.http_port.held_bytes -= self.held_bytes as usize;
        // The timer may be due already.
        let _ = cx.core.cancel(self.timer);
        if self.is_counted {
            cx.state.client_left(cx.core, cx.id);
        }
        cx.state.counters.closed[Door::Http as usize][why.number()] += 1;
        let name = log_name(NAME, cx.id);
        log::info!(event = "disconnected", conn:% = name, reason:% = why; "{name}: disconnected: {why}");
    }
}

impl HttpConnection {
    /// Makes the protocol of a connection from `peer`, and counts it. Returns `None` if a limit rejects it.
    pub(super) fn admitted(cx: &mut Cx<'_>, peer: SocketAddr) -> Option<HttpConnection> {
        let is_counted = cx.state.admit_client(cx.core, peer)?;
        let name = log_name(NAME, cx.id);
        log::info!(event = "connected", conn:% = name, address:% = peer; "{name},{peer}: connected");
        let (high_water, idle) = (cx.state.limits.send_buffer_bytes, cx.state.http.keep_alive);
        cx.core.register_producer(cx.id, high_water);
        cx.state.counters.accepted[Door::Http as usize] += 1;
        Some(HttpConnection {
            reader: RequestReader::default(),
            exchange: None,
            kept: Vec::new(),
            timer: cx.core.timer_later(cx.id, idle),
            since: cx.core.now(),
            state: Idle,
            is_counted,
            leaves: false,
            is_half_closed: false,
            body_seen: 0,
            held_bytes: 0,
        })
    }

    /// Handles the requests in `data`, until an answer waits or the send buffer is full. Keeps the rest.
    fn read(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        let (mut rest, mut has_answered) = (data, false);
        let http = &cx.state.http;
        let (head_bytes, body_bytes) = (http.head_bytes, http.body_bytes);
        let limits = HttpLimits { head_bytes, body_bytes, ..HttpLimits::default() };
        while !rest.is_empty() && self.may_read(cx) {
            let mut slots = FieldSlots::new();
            let (taken, event) = self.reader.received(rest, &mut slots, &limits);
            rest = &rest[taken..];
            match event {
                RequestEvent::More => {}
                RequestEvent::Head(head) => match check(cx, &head) {
                    (terms, Err(reply)) => {
                        let answer = rejection(cx, &terms, reply.closing());
                        self.answer(cx, answer, terms, 0);
                    }
                    _ if rest.is_empty() && !head.http_1_0 && head.get("Expect").is_some() => {
                        cx.write(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    _ => {}
                },
                RequestEvent::Done(head, body) => {
                    let body_bytes = body.len();
                    let (terms, answer) = handle(cx, &head, body);
                    self.reader.answered();
                    self.answer(cx, answer, terms, body_bytes);
                    has_answered = true;
                }
                RequestEvent::Failed(error) => self.failed(cx, error),
            }
        }
        // A stream is the last answer.
        if self.state != Closing && !self.exchange.as_ref().is_some_and(|it| it.is_stream) {
            self.keep(cx, rest);
        }
        self.note_memory(cx);
        self.note_state(cx, has_answered);
        self.end_if_answered(cx);
    }

    /// Ends a connection that the peer has half-closed, if nothing is left to be answered.
    fn end_if_answered(&mut self, cx: &mut Cx<'_>) {
        match &self.exchange {
            _ if !self.is_half_closed => {}
            // A follower is gone.
            Some(exchange) if exchange.is_stream => self.step(cx, |_, _| AnswerStep::End),
            None if self.kept.is_empty() => cx.lose_connection(),
            _ => {}
        }
    }

    /// Whether the next request may be read now.
    fn may_read(&self, cx: &Cx<'_>) -> bool {
        let is_full = cx.transport().is_none_or(Transport::is_full);
        self.state != Closing && self.exchange.is_none() && !is_full
    }

    /// Keeps bytes for later. If they are many, no more are read.
    fn keep(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        self.kept.extend_from_slice(data);
        if self.kept.len() >= cx.state.http.head_bytes {
            cx.pause_producing();
        }
    }

    /// Goes on with the bytes that were kept.
    fn read_kept(&mut self, cx: &mut Cx<'_>) {
        let kept = mem::take(&mut self.kept);
        self.read(cx, &kept);
        if self.kept.len() < cx.state.http.head_bytes {
            cx.resume_producing();
        }
    }

    /// Answers a request whose body has `body_bytes`, or notes that the answer waits.
    fn answer(&mut self, cx: &mut Cx<'_>, answer: HttpAnswer, mut terms: Terms, body_bytes: usize) {
        let (waiting, is_stream) = match answer {
            HttpAnswer::Reply(reply) => return self.write(cx, &reply, terms),
            HttpAnswer::Waits(waiting) => (waiting, false),
            HttpAnswer::Stream(head, waiting) => {
                terms.keeps_alive = false;
                write_reply(cx, &head, &terms, ReplyPart::StreamHead);
                (waiting, true)
            }
        };
        self.exchange = Some(Box::new(OpenExchange { waiting, terms, is_stream, body_bytes }));
        if self.leaves {
            self.step(cx, |waiting, cx| waiting.stopping(cx));
        }
    }

    /// Writes an answer, and closes the connection after the last one. If the peer may still be sending, the server first
    /// discards its bytes for a while: closing at once would reset the connection, and the reset can overtake the answer.
    fn write(&mut self, cx: &mut Cx<'_>, reply: &HttpReply, mut terms: Terms) {
        terms.keeps_alive &= !reply.close && !self.leaves && !cx.core.is_stopping();
        let part = if terms.head_only { ReplyPart::Head } else { ReplyPart::Whole };
        write_reply(cx, reply, &terms, part);
        if terms.keeps_alive {
            return;
        }
        self.state = Closing;
        self.reader.answered();
        match reply.close {
            true => cx.core.linger(cx.id),
            false => cx.lose_connection(),
        }
    }

    /// The peer does not speak HTTP, or exceeds a limit.
    fn failed(&mut self, cx: &mut Cx<'_>, error: HttpError) {
        log::info!("{}: rejected: {error}", log_name(NAME, cx.id));
        match error {
            HttpError::HeadTooLong(most) => self.limit_hit(cx, "head_bytes", most),
            HttpError::BodyTooLong(most) => self.limit_hit(cx, "body_bytes", most),
            _ => {}
        }
        self.fail(cx, error.status(), &error.to_string().replacen("the peer", "the client", 1));
    }

    fn limit_hit(&self, cx: &mut Cx<'_>, key: &'static str, value: impl fmt::Display) {
        limit_closes(cx.core, key, &value, &log_name(NAME, cx.id));
    }

    /// Answers something that is not a request, and ends the connection.
    fn fail(&mut self, cx: &mut Cx<'_>, status: u16, detail: &str) {
        self.write(cx, &HttpReply::problem(status, detail, None).closing(), Terms::default());
    }

    /// Passes an event to the answer that waits, and takes the step that it returns.
    fn step(
        &mut self,
        cx: &mut Cx<'_>,
        call: impl FnOnce(&mut dyn PendingAnswer, &mut Cx<'_>) -> AnswerStep,
    ) {
        let Some(mut exchange) = self.exchange.take() else { return };
        match call(&mut *exchange.waiting, cx) {
            AnswerStep::Wait => self.exchange = Some(exchange),
            AnswerStep::Then(next) => {
                std::mem::replace(&mut exchange.waiting, next).close(cx);
                self.exchange = Some(exchange);
            }
            AnswerStep::Reply(reply) => {
                exchange.waiting.close(cx);
                self.write(cx, &reply, exchange.terms);
                self.read_kept(cx);
            }
            AnswerStep::End => {
                exchange.waiting.close(cx);
                self.state = Closing;
                cx.lose_connection();
            }
        }
    }

    /// Counts the memory of the unfinished request, and rejects it if all unfinished requests take too much.
    fn note_memory(&mut self, cx: &mut Cx<'_>) {
        let in_use = self.exchange.as_ref().map_or(0, |exchange| exchange.body_bytes);
        let held = self.reader.held_bytes() + in_use + self.kept.capacity();
        let (now, before) = (held as u32, self.held_bytes);
        let (all, most) = (&mut cx.state.http_port.held_bytes, cx.state.http.total_body_bytes);
        *all = *all - before as usize + now as usize;
        let is_too_much = now > before && *all > most && self.exchange.is_none();
        self.held_bytes = now;
        if is_too_much {
            self.limit_hit(cx, "total_body_bytes", most);
            let reply = HttpReply::problem(503, "too many requests are unfinished", None);
            self.write(cx, &reply.with("Retry-After: 60").closing(), Terms::default());
            self.note_memory(cx);
        }
    }

    /// Notes the state of the connection, and sets the timer if the state may end before the timer fires. `is_new`: an
    /// answer was written, so this is the state of the next request.
    fn note_state(&mut self, cx: &mut Cx<'_>, is_new: bool) {
        let state = match self.reader.body_bytes() {
            _ if self.state == Closing => return,
            _ if self.exchange.is_some() || !self.kept.is_empty() => Answering,
            _ if self.reader.is_idle() => Idle,
            None => Head,
            Some(_) => Body,
        };
        if state == self.state && !is_new {
            return;
        }
        (self.state, self.since, self.body_seen) = (state, cx.core.now(), 0);
        let first = match state {
            Head => cx.state.http.head,
            Body => cx.state.http.body.min(RATE_PERIOD),
            _ => return,
        };
        // The timer is always pending here.
        let _ = cx.core.reset(self.timer, first);
    }

    /// Called when the timer fires. Ends a state that has lasted too long, or sets the timer again.
    fn check_time(&mut self, cx: &mut Cx<'_>) {
        let (http, passed) = (&cx.state.http, cx.core.now() - self.since);
        let (key, limit) = match self.state {
            Head => ("head_ms", http.head),
            Body => ("body_ms", http.body),
            Idle | Answering | Closing => ("", http.keep_alive),
        };
        let seen = self.reader.body_bytes().unwrap_or_default() as u32;
        let least = BODY_BYTES_PER_SECOND * RATE_PERIOD.as_secs() as u32;
        let is_slow = seen >= SMALL_BODY_BYTES && seen - self.body_seen < least;
        self.body_seen = seen;
        let next = match (self.state, limit.saturating_sub(passed)) {
            (Answering | Closing, _) => limit,
            (Idle, Duration::ZERO) => {
                return cx.lose_because(Some(CloseReason::TimeoutError("a request")));
            }
            (Body, left) if !left.is_zero() && !is_slow => left.min(RATE_PERIOD),
            (Head | Idle, left) if !left.is_zero() => left,
            _ => {
                let value = limit.as_millis();
                match self.state {
                    Body if passed < limit => {
                        let rate =
                            format_args!("{value} (at least {BODY_BYTES_PER_SECOND} bytes/s)");
                        self.limit_hit(cx, key, rate);
                    }
                    _ => self.limit_hit(cx, key, value),
                }
                self.fail(cx, 408, "the request did not arrive in time");
                return self.note_memory(cx);
            }
        };
        self.timer = cx.core.timer_later(cx.id, next);
    }
}

/// Checks the head of a request.
fn check<'a>(cx: &Cx<'_>, head: &RequestHead<'a>) -> (Terms, Result<Admitted<'a>, HttpReply>) {
    let (found, origin) = (routes::find(head.path), PageOrigin::of(cx.state, head));
    let terms = Terms {
        route: found.map_or("", |(number, _)| ROUTES[number].path),
        head_only: head.method == Method::Head,
        keeps_alive: head.keeps_alive(),
        http_1_0: head.http_1_0,
        cors: origin.headers(),
        logged: crate::log::traffic_is_on()
            .then(|| [head.method.as_str(), " ", head.path].concat()),
    };
    // The valid certificates that the peer presented; `None` if the port does not speak TLS.
    let transport = cx.core.transport(cx.id).filter(|_| cx.state.http.tls);
    let shown = transport.map(Transport::peer_certificates);
    (terms, routes::admit(cx.state, shown, head, found, &origin))
}

/// Has the handler of a complete request answer it.
fn handle(cx: &mut Cx<'_>, head: &RequestHead<'_>, body: Cow<'_, [u8]>) -> (Terms, HttpAnswer) {
    let (terms, checked) = check(cx, head);
    let answer = match checked {
        Ok(Admitted { handler, caller, segment }) => {
            handler(cx, &mut Ask { head, segment, body, caller })
        }
        // A rejected request with a body closes the connection, as it does if the body has not arrived yet.
        Err(reply) if body.is_empty() => rejection(cx, &terms, reply),
        Err(reply) => rejection(cx, &terms, reply.closing()),
    };
    (terms, answer)
}

/// The answer to a rejected request. It is delayed at `/report`, because some apps repeat a request at once.
fn rejection(cx: &mut Cx<'_>, terms: &Terms, reply: HttpReply) -> HttpAnswer {
    match terms.route.starts_with("/report") && reply.status == 401 {
        true => delayed::hold(cx, reply),
        false => reply.into(),
    }
}

/// Appends the answer to the send buffer, counts it, and logs it.
fn write_reply(cx: &mut Cx<'_>, reply: &HttpReply, terms: &Terms, part: ReplyPart) {
    let route = if terms.route.is_empty() { "other" } else { terms.route };
    *cx.state.http_port.requests.entry((route, reply.status)).or_default() += 1;
    if let Some(logged) = &terms.logged {
        log_line(cx, NAME, Direction::In, format!("{logged} {}", reply.status).as_bytes());
    }
    let connection = match (terms.keeps_alive, terms.http_1_0) {
        (false, _) => "Connection: close\r\n",
        (true, true) => "Connection: keep-alive\r\n",
        (true, false) => "",
    };
    let (date, cors) = (cx.state.http_port.date(cx.core.wall()), &*terms.cors);
    let room = reply.bytes() + cors.len();
    cx.core.write_with(cx.id, room, |out| reply.write(out, part, date, [connection, cors]));
}
