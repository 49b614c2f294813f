//! The connection to the bus: the login, the bucket, the watch, and the answers to writes.
//!
//! ```text
//!   Greeting ─INFO─▶ LoggingIn ─PONG─▶ Checking ─the stream─▶ Opening ─the consumer─▶ Reading ─all─▶ Live
//!                                        │  ▲ no stream          ▲                       │            │
//!                                        ▼  │                    └── a gap, silence ─────┴────────────┘
//!                                       Making
//! ```
//!
//! Every stage before Live must end within 5 s, or up to 20 s (Opening: 80 s) after earlier failures, except Reading, in which the watch must
//! not fall silent: 2.9 needs some seconds to make a watch of a million keys, and is silent meanwhile. If a server breaks
//! the protocol, refuses the login, or does not answer, the connection is lost, and the next server is dialled after the
//! backoff. Whatever happens, the clients that the bucket lacks are bits of the backlog.
//!
//! What the bucket has of a client is compared with the table as a neighbour's report is: newer reports are taken and
//! flooded. A message that is no AT line, or that is stored under another client's key, is passed over and counted; it is
//! overwritten when this server has a report of that client.
//!
//! Rules: docs/protocol.md "The bus".

mod greeting;
mod seen;

use self::greeting::Greeting;
pub(crate) use self::greeting::remedy as remedy_of_words;
use super::bus_port::BusPort;
use super::dials::DialTarget;
use super::member::{Cx, Member, Message, limit_closes, log_name};
use crate::config::Seconds;
use crate::log::{Direction, Escaped, Party, plural};
use crate::nats::{
    AckSubject, ApiError, BucketOptions, ConsumerState, Delivery, LeaderMessage, NatsReader, PING,
    PONG, PutReply, ServerInfo, ServerOp, StreamState, WatchStart, base62, write_connect,
    write_sub,
};
use crate::net::tls::Tls;
use crate::replication::bus::{ANSWER, PUT_TOKEN};
use crate::replication::bus_watch::Watch;
use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{CloseReason, Flow, Moment, Protocol, TimerId};
use log::Level;
use rustls::pki_types::ServerName;
use std::time::Duration;

pub(super) const NAME: &str = "Bus";

/// The longest message that is read. An AT line is shorter; a longer message is passed over.
pub(crate) const MESSAGE_BYTES: usize = 32 * 1_024;

/// How often overdue answers are looked for.
const TICK: Duration = Duration::from_millis(250);

/// The longest time that an answer about the stream may take, and about a new consumer: on a busy machine 2.9 takes 50 s to
/// make one of a million keys.
const PATIENCE_MAX: Duration = Duration::from_secs(20);
const CONSUMER_PATIENCE_MAX: Duration = Duration::from_secs(80);

/// The pause before a new watch, so that a server that refuses each does not get one after the other.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// How often the whole bucket is read, in case it lost something without a trace.
const READ_EVERY: Duration = Duration::from_secs(3_600);

/// The subscription of all answers; the watches have greater numbers.
const ANSWERS: u64 = 1;

/// The error code of a stream that does not exist.
pub(crate) const NO_STREAM: u32 = 10_059;

/// How much further `max_age` of the bucket is than `expire_after_s` and `max_future_ms` together.
const AGE_MARGIN: Duration = Duration::from_secs(120);

/// How far the connection is; see the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BusStage {
    Greeting,
    LoggingIn,
    Checking,
    Making,
    Opening(WatchStart),
    Reading,
    Live,
    /// The watch is gone; a new one follows after a pause.
    Resting,
}

/// The connection to a server of NATS.
#[derive(Debug)]
pub(super) struct BusLink {
    reader: NatsReader,
    stage: BusStage,
    /// When the stage began.
    since: Moment,
    heard: Moment,
    pinged: Moment,
    /// When the stream was checked for the last time; the highest sequence that was seen then, and how many clients the
    /// bucket had as far as this server knew.
    checked: Moment,
    asked_at: (u64, u64),
    is_checking: bool,
    watch: Option<Watch>,
    /// The stream's last sequence before the watch began: when it is delivered, the bucket is read.
    reads_until: u64,
    /// The number of questions to JetStream, and of watches, so far.
    questions: u64,
    timer: Option<TimerId>,
}

impl LineProtocol<Member> for BusLink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn connection_made(&mut self, cx: &mut Cx<'_>) -> Flow {
        let Some(port) = &mut cx.state.bus else { return Err("there is no bus".into()) };
        port.conn = Some(cx.id);
        let is_greeted = port.info.is_some();
        self.tick_later(cx);
        // Inside TLS, INFO came before the handshake.
        match is_greeted {
            true => self.log_in(cx),
            false => Ok(()),
        }
    }

    fn line_received(&mut self, _: &mut Cx<'_>, _: &[u8]) -> Flow<Mode> {
        // The receiver is in raw mode.
        Ok(Mode::Raw)
    }

    fn raw_data_received(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Flow<(usize, Mode)> {
        self.heard = cx.now();
        let mut taken = 0;
        while cx.transport().is_some_and(|transport| transport.is_connected()) {
            let (more, op) = self.reader.read(&data[taken..])?;
            taken += more;
            match op {
                Some(op) => self.handle(cx, op)?,
                None if more > 0 => {}
                None => break,
            }
        }
        Ok((taken, Mode::Raw))
    }

    fn timer(&mut self, cx: &mut Cx<'_>, timer: TimerId) -> Flow {
        if self.timer == Some(timer) {
            self.tick_later(cx);
            return self.tick(cx);
        }
        Ok(())
    }

    /// A server that ends writes what its clients reported first, for as long as `drain_ms` allows.
    fn shutting_down(&mut self, cx: &mut Cx<'_>) -> Flow {
        self.leave_if_paid(cx);
        Ok(())
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: Message) -> Flow {
        if matches!(message, Message::Leave) {
            self.leave_if_paid(cx);
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Cx<'_>, why: &CloseReason) {
        let Member { bus: Some(port), table, limits, dials, .. } = &mut *cx.state else { return };
        let (name, url) = (log_name(NAME, cx.id), &port.url);
        let owed = port.bus.owed(table);
        log::info!(
            event = "disconnected", conn:% = name, reason:% = why;
            "{name},{url}: disconnected: {why}; its backlog is {}", plural(owed, "report")
        );
        let silence = limits.silence;
        let now = cx.core.now();
        if let Some(dial) = dials.get_mut(&DialTarget::Bus)
            && port.live_since.is_some_and(|since| now - since >= silence)
        {
            dial.backoff.reset();
        }
        port.linked(now, false);
        port.bus.lost(table);
        (port.conn, port.info) = (None, None);
    }
}

impl BusLink {
    fn new(now: Moment) -> BusLink {
        BusLink {
            reader: NatsReader::new(MESSAGE_BYTES),
            stage: BusStage::Greeting,
            since: now,
            heard: now,
            pinged: now,
            checked: now,
            asked_at: (0, 0),
            is_checking: false,
            watch: None,
            reads_until: 0,
            questions: ANSWERS,
            timer: None,
        }
    }

    fn enter(&mut self, cx: &Cx<'_>, stage: BusStage) {
        (self.stage, self.since) = (stage, cx.now());
    }

    fn tick_later(&mut self, cx: &mut Cx<'_>) {
        self.timer = Some(cx.timer_later(TICK));
    }

    fn handle(&mut self, cx: &mut Cx<'_>, op: ServerOp<'_>) -> Flow {
        match op {
            ServerOp::Info(json) => {
                let info = ServerInfo::parse(json)?;
                let is_first = self.stage == BusStage::Greeting;
                if greeting::adopt(cx, info) {
                    cx.lose_connection();
                }
                return if is_first { self.log_in(cx) } else { Ok(()) };
            }
            ServerOp::Ping => cx.write(PONG),
            ServerOp::Pong if self.stage == BusStage::LoggingIn => self.logged_in(cx),
            ServerOp::Pong | ServerOp::Ok => {}
            ServerOp::Err(text) => return self.error(cx, text),
            ServerOp::Msg(message) if message.sid == ANSWERS => return self.answer(cx, &message),
            ServerOp::Msg(message) => self.watched(cx, &message),
        }
        Ok(())
    }

    /// Sends CONNECT, with the signature of the server's nonce.
    fn log_in(&mut self, cx: &mut Cx<'_>) -> Flow {
        let mut out = Vec::new();
        let inbox = format!("_INBOX.{}.", base62(&[cx.core.random(), cx.core.random()]));
        let Member { bus: Some(port), server, .. } = &mut *cx.state else { return Ok(()) };
        let BusPort { info: Some(info), login, url, .. } = &**port else { return Ok(()) };
        if info.tls_required && !port.settings.needs_tls(url) {
            return Err(
                "it requires TLS: write tls:// in `nats` of [bus], or name a ca_file".into()
            );
        }
        if !info.headers {
            return Err("it knows no headers: NATS 2.9 or newer is needed".into());
        }
        let login = login.as_ref().or(url.login.as_ref());
        write_connect(&mut out, info, login, &format!("herd {}", server.name))?;
        write_sub(&mut out, &format!("{inbox}*"), ANSWERS);
        port.inbox = inbox.into_bytes();
        cx.write(&out);
        self.enter(cx, BusStage::LoggingIn);
        Ok(())
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>) {
        if let Member { bus: Some(port), .. } = &mut *cx.state
            && let BusPort { info: Some(info), url, bus, .. } = &mut **port
        {
            bus.counts.connections += 1;
            let (name, version) = (log_name(NAME, cx.id), &info.version);
            log::info!(
                event = "linked", conn:% = name;
                "{name}: connected to the bus at {url}: NATS {version}"
            );
        }
        self.check(cx);
    }

    /// Asks a question of JetStream, which `write` appends with the subject of its answer. `letter` begins that subject.
    fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        letter: char,
        write: impl FnOnce(&mut BusPort, &mut Vec<u8>, &[u8]),
    ) {
        let Some(port) = &mut cx.state.bus else { return };
        self.questions += 1;
        let reply = [&port.inbox[..], format!("{letter}{}", self.questions).as_bytes()].concat();
        let mut out = Vec::new();
        write(port, &mut out, &reply);
        cx.write(&out);
    }

    /// Asks for the state of the stream. A check while the watch is live changes its stage only if it finds something.
    fn check(&mut self, cx: &mut Cx<'_>) {
        (self.checked, self.is_checking) = (cx.now(), true);
        let Member { bus: Some(port), table, .. } = &*cx.state else { return };
        let known = table.revisions.as_ref().map_or(0, |revisions| revisions.known());
        self.asked_at = (port.position.last_sequence, known as u64);
        if self.stage != BusStage::Live {
            self.enter(cx, BusStage::Checking);
        }
        self.ask(cx, 's', |port, out, reply| port.bus.bucket().write_stream_info(out, reply));
    }

    fn make_stream(&mut self, cx: &mut Cx<'_>) {
        let limits = &cx.state.limits;
        // A report may be stamped ahead, and then expires later.
        let margin = AGE_MARGIN + limits.max_future.unwrap_or_default();
        let max_age = limits.expire_after.map(|Seconds(age)| Duration::from_secs(age) + margin);
        self.enter(cx, BusStage::Making);
        self.ask(cx, 's', |port, out, reply| {
            let (replicas, storage) = (port.settings.replicas, port.settings.storage);
            let options = BucketOptions { replicas, storage, max_age };
            port.bus.bucket().write_stream_create(out, reply, &options);
        });
    }

    /// Handles an answer: to a write, or to a question.
    fn answer(&mut self, cx: &mut Cx<'_>, message: &Delivery<'_>) -> Flow {
        let Member { bus: Some(port), table, .. } = &mut *cx.state else { return Ok(()) };
        let Some(token) = message.subject.strip_prefix(&port.inbox[..]) else { return Ok(()) };
        let Some((&letter, number)) = token.split_first() else { return Ok(()) };
        let number = str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        match (letter, number) {
            (b's', Some(number)) if number == self.questions => self.stream(cx, message),
            (b'c', Some(number)) if number == self.questions => self.consumer(cx, message),
            (letter, Some(token)) if letter == PUT_TOKEN as u8 => {
                if let Some(key) = port.bus.asked(table, token) {
                    return self.leader_said(cx, token, key, message);
                }
                let reply = PutReply::parse(message);
                if let PutReply::Stored(sequence) = reply {
                    let position = &mut port.position;
                    position.last_sequence = position.last_sequence.max(sequence);
                }
                // The stream may be gone, of which a watch is not told.
                let is_trouble =
                    matches!(reply, PutReply::Later(_)) && self.stage == BusStage::Live;
                let is_due =
                    is_trouble && !self.is_checking && cx.core.now() - self.checked >= ANSWER;
                if let Some((key, why)) = port.bus.answered(cx.core.now(), table, token, reply) {
                    let what = format_args!(
                        "{NAME}: {} is not stored: {why}{}",
                        Escaped(table.report(key).client()),
                        remedy(&why)
                    );
                    let key = ("bus_error", why.err_code);
                    cx.core.log_throttled(Level::Error, key, what, 1, "reports");
                }
                if is_due {
                    self.check(cx);
                }
                Ok(())
            }
            // It belongs to a question that was asked again since.
            _ => Ok(()),
        }
    }

    /// Handles what the server says of the stream.
    fn stream(&mut self, cx: &mut Cx<'_>, message: &Delivery<'_>) -> Flow {
        self.is_checking = false;
        let state = match StreamState::parse(message) {
            Ok(state) => state,
            // The watch goes on, and another check follows.
            Err(why) if self.stage == BusStage::Live && why.passes() => return Ok(()),
            Err(why) if why.err_code == NO_STREAM && self.stage != BusStage::Making => {
                self.end_watch(cx);
                self.make_stream(cx);
                return Ok(());
            }
            Err(why) => return Err(self.refused(cx, "the bucket cannot be used", &why)),
        };
        let Member { bus: Some(port), table, .. } = &mut *cx.state else { return Ok(()) };
        let is_overdue = cx.core.now() - port.read_at >= READ_EVERY;
        let (asked_at, known) = self.asked_at;
        if is_overdue || known > state.messages {
            port.position.forget();
        }
        // A watch of an empty bucket has no time to resume from, but lacks nothing.
        if self.stage == BusStage::Live && port.position.is_of(&state, asked_at) {
            return Ok(());
        }
        let (before, start) = (port.position.last_sequence, port.position.resume(&state, asked_at));
        if start == WatchStart::LastPerSubject {
            if before > 0 {
                log::info!(
                    "{NAME}: the bucket is read again: it was made anew, went back, or is checked"
                );
            }
            port.bus.begin_reading(table);
            port.read_at = cx.core.now();
        } else {
            port.bus.counts.resumed += 1;
        }
        self.reads_until = state.last_sequence;
        self.open_watch(cx, start);
        Ok(())
    }

    fn open_watch(&mut self, cx: &mut Cx<'_>, start: WatchStart) {
        self.end_watch(cx);
        self.enter(cx, BusStage::Opening(start));
        let (now, random) = (cx.now(), cx.core.random());
        let sid = self.questions + 1;
        let mut watch = None;
        self.ask(cx, 'c', |port, out, reply| {
            let named = (sid, format!("herd-{}-{sid}", base62(&[random])));
            let bucket = port.bus.bucket();
            watch = Some(Watch::open(now, bucket, named, &port.inbox, reply, start, out));
        });
        self.watch = watch;
    }

    fn end_watch(&mut self, cx: &mut Cx<'_>) {
        let Some(port) = &mut cx.state.bus else { return };
        port.bus.pause();
        if let Some(watch) = self.watch.take() {
            let mut out = Vec::new();
            watch.close(port.bus.bucket(), &mut out);
            cx.write(&out);
        }
    }

    /// Handles what the server says of the watch's consumer.
    fn consumer(&mut self, cx: &mut Cx<'_>, message: &Delivery<'_>) -> Flow {
        match ConsumerState::parse(message) {
            Ok(state) => {
                self.enter(cx, BusStage::Reading);
                self.want_more(cx);
                if state.pending == 0 {
                    self.go_live(cx);
                }
                Ok(())
            }
            Err(why) => Err(self.refused(cx, "the bucket cannot be watched", &why)),
        }
    }

    fn want_more(&mut self, cx: &mut Cx<'_>) {
        let Some((port, watch)) = cx.state.bus.as_ref().zip(self.watch.as_mut()) else { return };
        let mut out = Vec::new();
        watch.ask(port.bus.bucket(), &mut out);
        if !out.is_empty() {
            cx.write(&out);
        }
    }

    /// The watch has delivered about all that the bucket had.
    fn go_live(&mut self, cx: &mut Cx<'_>) {
        self.enter(cx, BusStage::Live);
        let now = cx.now();
        let Member { bus: Some(port), table, .. } = &mut *cx.state else { return };
        port.bus.go_live(now);
        port.linked(now, true);
        port.patience = ANSWER;
        let (name, owed) = (log_name(NAME, cx.id), port.bus.owed(table));
        log::info!("{name}: the bucket is read; it may lack {}", plural(owed, "report"));
    }

    /// Handles a message or a status of the watch. Those of earlier watches are dropped.
    fn watched(&mut self, cx: &mut Cx<'_>, message: &Delivery<'_>) {
        let now = cx.now();
        let Some(port) = &mut cx.state.bus else { return };
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.sid == message.sid) else {
            return;
        };
        let ack = AckSubject::parse(message.reply);
        let step = match (message.headers.status(), ack) {
            (Some(status), None) => watch.status(now, status, message),
            (_, Some(ack)) if watch.delivered(now, &ack, &mut port.position) => Ok(()),
            _ => Err("a message is lacking"),
        };
        if let Err(why) = step {
            return self.rest(cx, why);
        }
        if let Some(ack) = ack {
            self.seen_by_watch(cx, message, &ack);
        }
        // The number of pending messages is a hint: 2.9 never counts down what was replaced before its delivery. A
        // status says that there is nothing to deliver now.
        let is_read =
            ack.is_none_or(|ack| ack.pending == 0 || ack.stream_sequence >= self.reads_until);
        if is_read && self.stage == BusStage::Reading {
            self.go_live(cx);
        }
        self.want_more(cx);
    }

    /// Ends the watch; a new one begins after a pause.
    fn rest(&mut self, cx: &mut Cx<'_>, why: &str) {
        log::info!("{NAME}: the watch begins anew: {why}");
        self.end_watch(cx);
        self.enter(cx, BusStage::Resting);
    }

    /// Whether it waits for an answer that has a deadline of its own.
    fn is_asking(&self) -> bool {
        !matches!(self.stage, BusStage::Reading | BusStage::Live | BusStage::Resting)
    }

    /// Looks for what is overdue.
    fn tick(&mut self, cx: &mut Cx<'_>) -> Flow {
        let now = cx.now();
        let Member { bus: Some(port), table, limits, .. } = &mut *cx.state else { return Ok(()) };
        let mut out = Vec::new();
        port.bus.tick(now, table, &port.inbox, &mut out);
        let (ping, silence, sync) = (limits.ping, limits.silence, limits.sync);
        let (patience, is_asking) = (port.patience, self.is_asking());
        if now - self.heard >= silence && !is_asking {
            limit_closes(cx.core, "silence_ms", &silence.as_millis(), &log_name(NAME, cx.id));
            cx.abort_connection();
            return Ok(());
        }
        if now - self.pinged >= ping && self.stage != BusStage::Greeting {
            self.pinged = now;
            out.extend_from_slice(PING);
        }
        if !out.is_empty() {
            cx.write(&out);
        }
        match self.stage {
            BusStage::Reading | BusStage::Live
                if self.watch.as_ref().is_some_and(|it| it.is_silent(now)) =>
            {
                self.rest(cx, "its consumer is silent");
            }
            BusStage::Live if self.is_checking && now - self.checked >= patience => {
                return Err(format!("no answer about the stream for {patience:?}").into());
            }
            BusStage::Live if now - self.checked >= sync => self.check(cx),
            BusStage::Reading | BusStage::Live => self.want_more(cx),
            BusStage::Resting if now - self.since >= WATCH_PAUSE => self.check(cx),
            stage if is_asking && now - self.since >= patience => {
                if let Some(port) = &mut cx.state.bus {
                    let most = match stage {
                        BusStage::Opening(_) => CONSUMER_PATIENCE_MAX,
                        _ => PATIENCE_MAX,
                    };
                    port.patience = most.min(2 * patience);
                }
                let why = format!("no answer for {patience:?} in stage {stage:?}");
                return Err(why.into());
            }
            _ => {}
        }
        self.leave_if_paid(cx);
        Ok(())
    }

    /// Ends the connection of a server that stops, unless reports of its clients are still to be written.
    fn leave_if_paid(&mut self, cx: &mut Cx<'_>) {
        let Member { bus: Some(port), table, .. } = &*cx.state else { return };
        if cx.core.is_stopping() && (port.bus.is_paid(table) || !port.bus.is_live()) {
            self.end_watch(cx);
            cx.lose_connection();
        }
    }

    /// The text of JetStream's error for the log, with its remedy.
    fn refused(&self, cx: &Cx<'_>, what: &str, why: &ApiError) -> Box<dyn std::error::Error> {
        let name = log_name(NAME, cx.id);
        log::error!("{name}: {what}: {why}{}", remedy(why));
        format!("{what}: {why}").into()
    }

    /// Handles `-ERR`. After some errors the connection stays open.
    fn error(&mut self, cx: &mut Cx<'_>, text: &[u8]) -> Flow {
        let (text, name) = (String::from_utf8_lossy(text).into_owned(), log_name(NAME, cx.id));
        let remedy = greeting::remedy(&text);
        let what = format_args!("{name}: the server says: {}{remedy}", Escaped(text.as_bytes()));
        // One key for each kind of error, because the texts name subjects.
        let key = ("bus_error", crc32fast::hash(remedy.as_bytes()));
        cx.core.log_throttled(Level::Error, key, what, 1, "times");
        let lower = text.to_ascii_lowercase();
        let stays = ["permissions violation", "invalid subject", "invalid publish subject"];
        match stays.iter().any(|it| lower.starts_with(it)) {
            true => Ok(()),
            false => Err(format!("the server says: {text}").into()),
        }
    }

    fn log_line(cx: &Cx<'_>, direction: Direction, line: &[u8]) {
        if crate::log::traffic_is_on() {
            crate::log::traffic(cx.wall().0, Party::Named(b"bus"), direction, line);
        }
    }

    /// Handles the leader's answer about the client of a write that conflicted.
    fn leader_said(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        key: crate::table::ClientKey,
        message: &Delivery<'_>,
    ) -> Flow {
        let found = LeaderMessage::parse(message);
        let Member { bus: Some(port), table, .. } = &mut *cx.state else { return Ok(()) };
        match found {
            _ if message.payload.is_none() => port.bus.has_nothing(table, token, true),
            Ok(None) => port.bus.has_nothing(table, token, false),
            Ok(Some(found)) => {
                let (mut key_text, client) = (Vec::new(), table.report(key).client().to_vec());
                crate::nats::write_key(&client, &mut key_text);
                // A stream that went back has a smaller sequence than the one that was noted.
                port.bus.forget_sequence(table, key);
                let line = Some(&found.line[..]).filter(|_| !found.is_marker);
                self.seen(cx, &key_text, Some(&client), found.sequence, line, found.is_marker);
                if let Member { bus: Some(port), table, .. } = &mut *cx.state {
                    port.bus.compared(table, token);
                }
            }
            // The answer is overdue after a while.
            Err(why) => {
                log::debug!("{NAME}: the stream's leader does not answer: {why}");
            }
        }
        Ok(())
    }
}

/// Builds the connection to the server of the bus that we dialled.
pub(super) fn dialled(cx: &mut Cx<'_>) -> Option<Box<dyn Protocol<Member>>> {
    // The server closes connections whose client stops reading because its own output waits.
    cx.core.unregister_producer(cx.id);
    let lines = LineLimits { line_bytes: 0, unfinished_line: Duration::MAX };
    let link = LineReceiver::new(BusLink::new(cx.core.now()), lines).with_mode(Mode::Raw);
    let port = cx.state.bus.as_mut()?;
    if !port.settings.needs_tls(&port.url) {
        return Some(Box::new(link));
    }
    let name = ServerName::try_from(port.tls_name(&port.url).to_owned());
    let secured = name
        .map_err(|why| why.to_string())
        .and_then(|name| Tls::client(port.tls.clone(), name, link).map_err(|why| why.to_string()));
    match secured {
        Ok(secured) => {
            let (id, time) = (cx.id, cx.state.limits.connect);
            cx.core.call_later(time, move |member: &mut Member, core| {
                if member.bus.as_ref().is_some_and(|port| port.conn != Some(id)) {
                    core.abort_because(id, CloseReason::TimeoutError("INFO and the TLS handshake"));
                }
            });
            Some(Box::new(Greeting::new(secured)))
        }
        Err(why) => {
            log::error!("{}: cannot set up TLS: {why}", log_name(NAME, cx.id));
            None
        }
    }
}

/// The remedy of JetStream's error, as the end of a sentence.
fn remedy(why: &ApiError) -> String {
    why.remedy().map_or_else(String::new, |remedy| format!("; {remedy}"))
}
