//! The client port's protocol: IAMAT, WHATSAT, and `? ` for everything else. This is the original's first pair of
//! factory and receiver.
//!
//! Replies leave in the order of the commands; `replies` holds those that wait.
//!
//! Nothing grows without limit. The server stops reading from a client that does not take its replies, has
//! too many WHATSATs open, or has too many replies queued behind an open one, until that number falls. `Pace` limits
//! how fast commands are read and how long a client may be idle.
//!
//! Report: sections 3.1 to 3.4. Rules: docs/protocol.md.

mod replies;

use self::replies::{LoggedWhatsat, NAME, ReplyQueue};
use super::client_tls::{check_again, forbidden, inside_tls};
use super::counters::Door;
use super::member::{Cx, Member, Message, limit_closes, log_line, log_name};
use super::pace::Pace;
use super::place_queries::query_near;
use super::taking::refusal;
use crate::log::Direction;
use crate::net::tls::clients::PortSpeaks;
use crate::wire::command::{
    Command, Iamat, ParseError, Whatsat, client_ahead, is_blank, write_refusal,
};
use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{CloseReason, Context, Factory, Flow, Protocol, TimerId, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// Builds a [`Chatserver`] for each client. Twisted: the original's `ServerFactory` for clients.
#[derive(Debug, Default)]
pub struct ChatserverFactory;

impl Factory<Member> for ChatserverFactory {
    fn build_protocol(
        &mut self,
        cx: &mut Cx<'_>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Member>>> {
        let (client, lines) = Chatserver::admitted(cx, peer)?;
        Some(Box::new(LineReceiver::new(client, lines)))
    }
}

/// Builds a [`Chatserver`] in TLS for each client of the second client port.
#[derive(Debug, Default)]
pub struct TlsClientFactory;

impl Factory<Member> for TlsClientFactory {
    fn build_protocol(
        &mut self,
        cx: &mut Cx<'_>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Member>>> {
        inside_tls(cx, PortSpeaks::Lines, |cx| {
            let (client, lines) = Chatserver::admitted(cx, peer)?;
            Some(LineReceiver::new(Chatserver { is_certified: true, ..client }, lines))
        })
    }
}

/// One client's connection.
#[derive(Debug, Default)]
pub struct Chatserver {
    /// The queue of replies; `None` while none waits, so that it costs an idle client one word.
    queue: Option<Box<ReplyQueue>>,
    /// How the connection ends when all replies have been written.
    ending: Ending,
    /// Whether its address was counted when it connected.
    is_counted: bool,
    /// Whether the client may be limited to what its certificate allows.
    is_certified: bool,
    /// Whether `Member::paces` has what is noted for `idle_client_ms` and `commands_per_second`.
    is_paced: bool,
}

/// How a connection ends. A later variant overrides an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// The connection stays open.
    #[default]
    None,
    /// The connection is closed: the client half-closed it, or the server stops.
    Close,
    /// The client sent a line that is too long: the server discards further input for a while, then closes.
    Linger,
}

impl LineProtocol<Member> for Chatserver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn lines_ahead(&mut self, cx: &mut Cx<'_>, lines: &[&[u8]]) -> usize {
        cx.state.table.look_ahead(lines.iter().filter_map(|line| client_ahead(line)));
        0
    }

    fn line_received(
        &mut self,
        cx: &mut Cx<'_>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn std::error::Error>> {
        if is_blank(line) {
            return Ok(Mode::Lines);
        }
        if self.is_paced
            && let Some(pace) = cx.state.paces.get_mut(&cx.id)
            && let Some(pause) = pace.command(cx.core.now(), cx.state.limits.commands_per_second)
        {
            self.pause(cx, pause);
        }
        log_line(cx, NAME, Direction::In, line);
        let parsed = Command::parse(line, &cx.state.command_limits);
        if self.is_certified
            && let Ok(command) = &parsed
            && let Some((key, value)) = forbidden(cx, command)
        {
            cx.core.limit_hit(key, value, 1, "commands refused");
            self.refuse(cx, line, &"its certificate does not allow that");
            return Ok(Mode::Lines);
        }
        match parsed {
            Ok(Command::Iamat(iamat)) => self.iamat(cx, &iamat, line),
            Ok(Command::Whatsat(whatsat)) => self.whatsat(cx, &whatsat, line),
            // The commands of neighbours are invalid on this port.
            Ok(
                Command::At(_)
                | Command::Hello(_)
                | Command::Ping
                | Command::Ack(_)
                | Command::Bye
                | Command::Compare(_),
            ) => {
                self.refuse(cx, line, &"a command of neighbours, which belongs on the peer port");
            }
            Err(invalid) => {
                let limits = &cx.state.limits;
                let limit = match invalid {
                    ParseError::Client => Some(("client_id_bytes", limits.client_id_bytes)),
                    ParseError::LocationBytes => Some(("location_bytes", limits.location_bytes)),
                    _ => None,
                };
                if let Some((key, bytes)) = limit {
                    cx.core.limit_hit(key, bytes, 1, "commands refused");
                }
                self.refuse(cx, line, &invalid);
            }
        }
        Ok(Mode::Lines)
    }

    fn line_length_exceeded(&mut self, cx: &mut Cx<'_>, start: &[u8]) -> Flow {
        let start = cx.state.line_too_long(cx.core, start, &log_name(NAME, cx.id));
        log_line(cx, NAME, Direction::In, start);
        self.refuse(cx, start, &"the line is too long");
        self.end(cx, Ending::Linger);
        Ok(())
    }

    fn line_timed_out(&mut self, cx: &mut Cx<'_>) -> Flow {
        cx.state.line_timed_out(cx.core, cx.id, &log_name(NAME, cx.id));
        Ok(())
    }

    /// The client has half-closed the connection: it still gets all its replies.
    fn read_connection_lost(&mut self, cx: &mut Cx<'_>) -> Flow {
        self.end(cx, Ending::Close);
        Ok(())
    }

    fn shutting_down(&mut self, cx: &mut Cx<'_>) -> Flow {
        self.end(cx, Ending::Close);
        Ok(())
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: Message) -> Flow {
        match message {
            Message::Leave => self.end(cx, Ending::Close),
            Message::CertificatesReplaced => check_again(cx, NAME),
            message => {
                if let Some(queue) = &mut self.queue {
                    queue.message(&message);
                }
                self.write_answered(cx);
            }
        }
        Ok(())
    }

    /// The send buffer is empty again: writes the replies that waited for it.
    fn resume_producing(&mut self, cx: &mut Cx<'_>) -> Flow {
        self.write_answered(cx);
        Ok(())
    }

    fn timer(&mut self, cx: &mut Cx<'_>, timer: TimerId) -> Flow {
        let Some(pace) = cx.state.paces.get_mut(&cx.id) else { return Ok(()) };
        if pace.idle == Some(timer) {
            self.check_idle(cx);
        } else if pace.pause == Some(timer) {
            pace.pause = None;
            self.pause_or_resume(cx);
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Cx<'_>, why: &CloseReason) {
        if let Some(queue) = self.queue.take() {
            queue.close(cx);
        }
        if self.is_counted {
            cx.state.client_left(cx.core, cx.id);
        }
        cx.state.paces.remove(&cx.id);
        cx.state.counters.closed[Door::Client as usize][why.number()] += 1;
        let name = log_name(NAME, cx.id);
        log::info!(event = "disconnected", conn:% = name, reason:% = why; "{name}: disconnected: {why}");
    }
}

impl Chatserver {
    /// Makes the protocol of a client from `peer`, and counts it, unless a limit keeps it out.
    fn admitted(cx: &mut Cx<'_>, peer: SocketAddr) -> Option<(Chatserver, LineLimits)> {
        let is_counted = cx.state.admit_client(cx.core, peer)?;
        let Member { limits, paces, .. } = &mut *cx.state;
        let name = log_name(NAME, cx.id);
        log::info!(event = "connected", conn:% = name, address:% = peer; "{name},{peer}: connected");
        let idle = limits.idle_client.map(|limit| cx.core.timer_later(cx.id, limit));
        let is_paced = idle.is_some() || limits.commands_per_second.is_some();
        if is_paced {
            paces.insert(cx.id, Pace::new(cx.core.now(), idle));
        }
        let client = Chatserver { is_counted, is_paced, ..Chatserver::default() };
        let lines =
            LineLimits { line_bytes: limits.line_bytes, unfinished_line: limits.unfinished_line };
        cx.core.register_producer(cx.id, limits.send_buffer_bytes);
        cx.state.counters.accepted[Door::Client as usize] += 1;
        Some((client, lines))
    }

    /// Handles IAMAT: a client reports its location. Report: section 3.2.
    #[inline(always)]
    fn iamat(&mut self, cx: &mut Cx<'_>, iamat: &Iamat<'_>, line: &[u8]) {
        let mut reply = std::mem::take(&mut cx.state.scratch);
        let taken = cx.state.take_report(cx.core, Door::Client, iamat, &mut reply);
        match taken {
            Ok(_) => {
                if let Some(acks) = &mut cx.state.neighbours.acks {
                    self.queue.get_or_insert_default().wait_for_neighbour(acks.wait(cx.id));
                }
                self.reply(cx, &reply);
                cx.state.scratch = reply;
            }
            Err(why) => {
                cx.state.scratch = reply;
                self.refuse(cx, line, &refusal(why));
            }
        }
    }

    /// Handles WHATSAT: a client asks for the places near a client. Report: section 3.4.
    fn whatsat(&mut self, cx: &mut Cx<'_>, whatsat: &Whatsat<'_>, line: &[u8]) {
        cx.state.set_window(cx.wall());
        let question = LoggedWhatsat::new(cx.core.now(), whatsat);
        let Context { core, state, id } = cx;
        let Some(report) = state.table.latest(whatsat.client) else {
            let why = "no report of this client is stored";
            if let Some(question) = question {
                question.unanswered(cx, why);
            }
            return self.refuse(cx, line, &why);
        };
        let query = query_near(report.location(), whatsat.radius);
        let head = [report.line(), b"\n"].concat();
        state.counters.command(Door::Client, b"WHATSAT", false);
        let ticket = state.place_queries.ask(core, *id, query);
        self.queue.get_or_insert_default().wait_for_places(ticket, head, whatsat.bound, question);
        self.pause_or_resume(cx);
    }

    /// Replies `? ` and a copy of the line, as the specification demands and the original servers do.
    fn refuse(&mut self, cx: &mut Cx<'_>, line: &[u8], why: &dyn std::fmt::Display) {
        log::debug!("{}: refused: {why}", log_name(NAME, cx.id));
        cx.state.counters.command(Door::Client, line, true);
        let mut reply = std::mem::take(&mut cx.state.scratch);
        reply.clear();
        write_refusal(&mut reply, line);
        self.reply(cx, &reply);
        cx.state.scratch = reply;
    }

    /// Replies with `line`, or queues it behind the replies that wait.
    fn reply(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        log_line(cx, NAME, Direction::Out, line);
        let Some(queue) = &mut self.queue else {
            return cx.core.write_with(cx.id, line.len() + 1, |out| {
                out.extend_from_slice(line);
                out.push(b'\n');
            });
        };
        queue.push(cx.core, line);
        self.pause_or_resume(cx);
    }

    /// Writes the replies that are ready at the head of the queue until the send buffer is full, then ends, pauses or
    /// resumes the connection.
    fn write_answered(&mut self, cx: &mut Cx<'_>) {
        while !cx.transport().is_none_or(Transport::is_full)
            && let Some(queue) = &mut self.queue
            && queue.write_next(cx)
        {
            if queue.is_empty()
                && let Some(done) = self.queue.take()
            {
                done.close(cx);
            }
        }
        match self.queue {
            None => self.end(cx, self.ending),
            Some(_) => self.pause_or_resume(cx),
        }
    }

    /// Pauses reading from the client while its queue is over a limit or its connection ends; otherwise resumes it.
    fn pause_or_resume(&mut self, cx: &mut Cx<'_>) {
        let limits = &cx.state.limits;
        let too_many = self.queue.as_ref().is_some_and(|queue| {
            queue.questions() >= limits.whatsats_per_connection
                || queue.bytes() > limits.send_buffer_bytes
        });
        let pauses = || cx.state.paces.get(&cx.id).is_some_and(|pace| pace.pause.is_some());
        match too_many || self.is_paced && pauses() || self.ending != Ending::None {
            true => cx.pause_producing(),
            false => cx.resume_producing(),
        }
    }

    /// Reads no further command from the client for this time, because of `commands_per_second`.
    #[cold]
    fn pause(&mut self, cx: &mut Cx<'_>, time: Duration) {
        let Some(pace) = cx.state.paces.get_mut(&cx.id) else { return };
        debug_assert!(pace.pause.is_none(), "no command is delivered while reading is paused");
        pace.pause = Some(cx.core.timer_later(cx.id, time));
        let per_second = cx.state.limits.commands_per_second.unwrap_or_default();
        let value = format_args!("{per_second}, reached by {}", log_name(NAME, cx.id));
        cx.core.limit_hit("commands_per_second", value, 1, "pauses in reading");
        self.pause_or_resume(cx);
    }

    /// Closes the connection if the client has sent no command for `idle_client_ms`; else sets the timer for the next check.
    fn check_idle(&mut self, cx: &mut Cx<'_>) {
        let Some(pace) = cx.state.paces.get_mut(&cx.id) else { return };
        let Some(limit) = cx.state.limits.idle_client else { return pace.idle = None };
        let left = limit.saturating_sub(cx.core.now() - pace.heard);
        // A client that waits for us is not idle.
        let waits = self.queue.is_some() || pace.pause.is_some();
        if left.is_zero() && !waits {
            let who = log_name(NAME, cx.id);
            limit_closes(cx.core, "idle_client_ms", &limit.as_millis(), &who);
            return cx.core.lose_because(cx.id, Some(CloseReason::TimeoutError("a command")));
        }
        pace.idle = Some(cx.core.timer_later(cx.id, if waits { limit } else { left }));
    }

    /// Ends the connection as `ending` says, now or when the last reply has been written.
    fn end(&mut self, cx: &mut Cx<'_>, ending: Ending) {
        self.ending = self.ending.max(ending);
        match self.ending {
            _ if self.queue.is_some() => self.pause_or_resume(cx),
            Ending::None => self.pause_or_resume(cx),
            Ending::Close => cx.lose_connection(),
            Ending::Linger => cx.core.linger(cx.id),
        }
    }
}
