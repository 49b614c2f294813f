//! The state of a double: connections, subscriptions, streams, deadlines. It does no IO: operations of clients and the
//! time go in, and what is to be sent comes out.

use super::super::dice::Dice;
use super::faults::Faults;
use super::login::LoginRule;
use super::puts::Put;
use super::reader::{ClientOp, Fault};
use super::streams::{Message, Streams};
use super::subjects;
use super::{Manner, Settings};
use herd_reactor::{ConnId, Core, Moment, Shared, UnixNanos};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a client may take to log in.
const LOGIN_TIME: Duration = Duration::from_secs(2);

/// How long a cluster without a majority is silent about puts, before it answers 503.
const QUORUM_SILENCE: Duration = Duration::from_secs(12);

/// Numbers for assertions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted connections, and those that have logged in.
    pub connections: usize,
    pub logins: usize,
    pub refused_logins: usize,
    /// All puts that have arrived.
    pub puts: usize,
    /// Puts without an expected sequence, which are refused: a fault of the client.
    pub unconditional: usize,
    pub stored: usize,
    /// Puts that were refused because their sequence was wrong.
    pub conflicts: usize,
    pub deliveries: usize,
    /// Subscriptions, and JetStream requests by their verb, such as `STREAM.INFO`.
    pub asked: BTreeMap<String, usize>,
    /// What clients have done wrong, in words. It should be empty.
    pub faults: Vec<String>,
}

/// One step that the glue carries out.
#[derive(Debug)]
pub enum Outgoing {
    Write(ConnId, Vec<u8>),
    /// Close when all is sent.
    Lose(ConnId),
    Abort(ConnId),
}

impl Outgoing {
    pub fn take<S: Shared>(self, core: &mut Core<S>) {
        match self {
            Outgoing::Write(id, bytes) => core.write(id, &bytes),
            Outgoing::Lose(id) => core.lose_connection(id),
            Outgoing::Abort(id) => core.abort_connection(id),
        }
    }
}

/// One connection of a client.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) node: usize,
    nonce: String,
    stage: Stage,
    headers: bool,
    no_responders: bool,
    /// It takes INFO at any time: protocol 1.
    pub(super) takes_info: bool,
    verbose: bool,
    subscriptions: BTreeMap<Vec<u8>, Subscription>,
    /// It has sent a PING.
    was_pinged: bool,
    /// The PINGs that it has not answered.
    pings_out: u32,
    /// Bytes that are sent a few at a time.
    held: VecDeque<u8>,
    is_dripping: bool,
    /// The next message is the last, and is sent by half.
    pub(super) is_cut: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// INFO is sent.
    #[default]
    Greeted,
    LoggedIn,
    /// It is being closed; nothing is read or sent any more.
    Ended,
}

#[derive(Debug)]
struct Subscription {
    subject: Vec<u8>,
    /// How many messages it still receives, if that is limited.
    left: Option<u64>,
}

/// A message to the subscribers of `to`.
#[derive(Clone, Debug)]
pub struct Reply {
    pub to: Vec<u8>,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
    /// It is sent by the stream and not by the API: 2.9.10 writes two blanks before its size.
    pub is_internal: bool,
}

/// What is due at a time.
#[derive(Debug)]
pub enum Due {
    Login(ConnId),
    Ping(ConnId),
    Drip(ConnId),
    Reply(Reply),
    Commit(Put),
    LatePut(Put),
    /// A request of a consumer expires, or wants a heartbeat.
    Expiry {
        stream: String,
        consumer: String,
        request: u64,
    },
    Heartbeat {
        stream: String,
        consumer: String,
        request: u64,
    },
    Inactive {
        stream: String,
        consumer: String,
    },
    /// The end of a time without deliveries or without a majority.
    Recovery,
    /// The end of a lame duck's grace.
    NodeEnds(usize),
}

/// The times of the events that last.
#[derive(Debug, Default)]
pub struct Troubles {
    pub unavailable_until: Moment,
    pub mute_until: Moment,
    /// From when until when there is no majority.
    pub no_quorum: Option<(Moment, Moment)>,
    pub is_disk_full: bool,
    pub are_credentials_expired: bool,
    /// The nodes that are gone.
    pub down: BTreeSet<usize>,
    /// The nodes that are lame ducks.
    pub lame: BTreeSet<usize>,
}

/// See the head of this file.
#[derive(Debug)]
pub struct World {
    pub settings: Settings,
    pub faults: Faults,
    pub streams: Streams,
    pub counters: Counters,
    /// Every message that was stored since this was last taken, and the one that it has replaced, if a test wants that.
    pub history: Option<Vec<(Message, Option<Message>)>>,
    /// Puts without an expected sequence are stored, as by the real server. The double refuses them otherwise.
    pub takes_unconditional: bool,
    pub(super) troubles: Troubles,
    pub(super) now: Moment,
    pub(super) wall: UnixNanos,
    pub(super) dice: Dice,
    /// Puts that wait for a majority.
    pub(super) held_puts: Vec<Put>,
    /// The keys whose puts are being committed.
    pub(super) in_flight: BTreeSet<Vec<u8>>,
    pub(super) leader: usize,
    pub(super) connections: BTreeMap<ConnId, Connection>,
    due: BTreeMap<(Moment, u64), Due>,
    last_id: u64,
    /// When the glue calls [`World::woken`].
    woken_at: Option<Moment>,
    pub(super) outgoing: Vec<Outgoing>,
}

impl World {
    pub fn new(seed: u64, settings: Settings) -> World {
        World {
            settings,
            faults: Faults::default(),
            streams: Streams::default(),
            counters: Counters::default(),
            history: None,
            takes_unconditional: false,
            troubles: Troubles::default(),
            now: Moment::default(),
            wall: UnixNanos::default(),
            dice: Dice::new(seed),
            held_puts: Vec::new(),
            in_flight: BTreeSet::new(),
            leader: 0,
            connections: BTreeMap::new(),
            due: BTreeMap::new(),
            last_id: 0,
            woken_at: None,
            outgoing: Vec::new(),
        }
    }

    // What the glue calls.

    /// Sets the time and does what was due by then.
    pub fn begin(&mut self, now: Moment, wall: UnixNanos) {
        (self.now, self.wall) = (now, wall);
        self.streams.iter_mut().for_each(|stream| stream.expire(wall));
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            let due = first.remove();
            self.carry_out(due);
        }
    }

    /// What is to be sent, and when the glue must call next, if it does not know yet.
    pub fn finish(&mut self) -> (Vec<Outgoing>, Option<Moment>) {
        let due = self.due.keys().next().map(|(due, _)| *due);
        let earlier = due.filter(|due| self.woken_at.is_none_or(|known| *due < known));
        self.woken_at = earlier.or(self.woken_at);
        (std::mem::take(&mut self.outgoing), earlier)
    }

    /// The glue has called because of time.
    pub fn woken(&mut self) {
        if self.woken_at.is_some_and(|known| known <= self.now) {
            self.woken_at = None;
        }
    }

    /// A connection was accepted. Returns the line with INFO; `None` if the node is down.
    pub fn greet(&mut self, id: ConnId, node: usize) -> Option<Vec<u8>> {
        if self.troubles.down.contains(&node) {
            return None;
        }
        self.counters.connections += 1;
        let nonce = match self.settings.login.wants_nonce() {
            true => format!("{:016x}", self.dice.bits()),
            false => String::new(),
        };
        let info = self.info(id, node, &nonce, false);
        self.connections.insert(id, Connection { node, nonce, ..Connection::default() });
        if self.settings.login != LoginRule::Nobody {
            self.call_later(LOGIN_TIME, Due::Login(id));
        }
        self.call_later(LOGIN_TIME, Due::Ping(id));
        Some(info)
    }

    /// A client's connection is gone.
    pub fn lost(&mut self, id: ConnId) {
        self.connections.remove(&id);
    }

    /// A client has broken the protocol.
    pub fn broken(&mut self, id: ConnId, fault: &Fault) {
        let (Fault::Told(text) | Fault::Untold(text)) = fault;
        self.counters.faults.push((*text).to_owned());
        match fault {
            Fault::Told(text) => self.refuse(id, text),
            Fault::Untold(_) => self.close(id),
        }
    }

    /// Carries out what a client wants.
    pub fn take(&mut self, id: ConnId, op: ClientOp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (stage, verbose) = (connection.stage, connection.verbose);
        let is_early = stage == Stage::Greeted
            && !matches!(op, ClientOp::Connect(_) | ClientOp::Ping | ClientOp::Pong);
        if is_early {
            self.counters.faults.push("an operation before CONNECT".to_owned());
            if self.settings.login != LoginRule::Nobody {
                return self.refuse(id, "Authorization Violation");
            }
        }
        match op {
            _ if stage == Stage::Ended => return,
            ClientOp::Connect(json) => return self.connect(id, &json),
            ClientOp::Ping => return self.pong(id),
            ClientOp::Pong => {
                connection.pings_out = 0;
                return;
            }
            ClientOp::Sub { subject, sid } => self.subscribe(id, subject, sid),
            ClientOp::Unsub { sid, max } => match (max, connection.subscriptions.get_mut(&sid)) {
                (Some(max), Some(its)) if max > 0 => its.left = Some(max),
                _ => drop(connection.subscriptions.remove(&sid)),
            },
            ClientOp::Pub { subject, reply, headers, payload } => {
                self.publish(id, &subject, &reply, headers, payload);
            }
        }
        if verbose {
            self.write(id, b"+OK\r\n");
        }
    }

    // Connections.

    pub(super) fn info(&self, id: ConnId, node: usize, nonce: &str, is_second: bool) -> Vec<u8> {
        if let Some(scripted) = &self.settings.info {
            return format!("INFO {} \r\n", scripted.replace("$NONCE", nonce)).into_bytes();
        }
        let Settings { manner, nodes, jetstream, max_payload, tls, connect_urls, .. } =
            &self.settings;
        let (version, go) = match manner {
            Manner::V2_9 => ("2.9.10", "go1.19.8"),
            Manner::V2_15 => ("2.15.1", "go1.27.2"),
        };
        let (name, client) = (node_name(node), id.generation());
        let mut text = format!(
            "INFO {{\"server_id\":\"{name}\",\"server_name\":\"{name}\",\"version\":\"{version}\",\"proto\":1,\
             \"go\":\"{go}\",\"host\":\"127.0.0.1\",\"port\":4222,\"headers\":true"
        );
        if self.settings.login != LoginRule::Nobody {
            text += ",\"auth_required\":true";
        }
        if tls.is_some() {
            text += ",\"tls_required\":true";
        }
        text += &format!(",\"max_payload\":{max_payload}");
        if *jetstream {
            text += ",\"jetstream\":true";
        }
        text += &format!(",\"client_id\":{client},\"client_ip\":\"127.0.0.1\"");
        if !nonce.is_empty() {
            text += &format!(",\"nonce\":\"{nonce}\"");
        }
        if *nodes > 1 {
            text += ",\"cluster\":\"double\"";
        }
        if !connect_urls.is_empty() {
            text += &format!(",\"connect_urls\":{}", Value::from(connect_urls.clone()));
        }
        if self.troubles.lame.contains(&node) {
            text += ",\"ldm\":true";
        }
        if is_second {
            text += ",\"connect_info\":true,\"remote_account\":\"$G\"";
        }
        (text + "} \r\n").into_bytes()
    }

    fn connect(&mut self, id: ConnId, json: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Ok(said) = serde_json::from_slice::<Value>(json) else {
            return self.broken(id, &Fault::Untold("CONNECT without JSON"));
        };
        let is = |name: &str, absent: bool| said[name].as_bool().unwrap_or(absent);
        connection.headers = is("headers", false);
        connection.no_responders = is("no_responders", false);
        connection.takes_info = said["protocol"].as_u64().is_some_and(|protocol| protocol > 0);
        // It is on unless the client turns it off.
        connection.verbose = is("verbose", true);
        if connection.no_responders && !connection.headers {
            self.counters.faults.push("no_responders without headers".to_owned());
            return self.refuse(id, "No Responders Requires Headers Support");
        }
        if !self.settings.login.accepts(&said, &connection.nonce) {
            self.counters.refused_logins += 1;
            return self.refuse(id, "Authorization Violation");
        }
        let is_verbose = connection.verbose;
        connection.stage = Stage::LoggedIn;
        self.counters.logins += 1;
        if is_verbose {
            self.write(id, b"+OK\r\n");
        }
    }

    fn pong(&mut self, id: ConnId) {
        self.write(id, b"PONG\r\n");
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (node, is_logged_in) = (connection.node, connection.stage == Stage::LoggedIn);
        let takes_info = connection.takes_info;
        let is_first = !std::mem::replace(&mut connection.was_pinged, true);
        if is_logged_in && self.troubles.are_credentials_expired {
            return self.refuse(id, "User Authentication Expired");
        }
        if is_logged_in && is_first && takes_info && self.settings.manner == Manner::V2_15 {
            let info = self.info(id, node, "", true);
            self.write(id, &info);
        }
    }

    fn subscribe(&mut self, id: ConnId, subject: Vec<u8>, sid: Vec<u8>) {
        *self.counters.asked.entry("SUB".to_owned()).or_default() += 1;
        if !subjects::is_valid(&subject) {
            self.counters.faults.push("SUB to an invalid subject".to_owned());
            return self.write(id, b"-ERR 'Invalid Subject'\r\n");
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            let new = Subscription { subject, left: None };
            connection.subscriptions.entry(sid).or_insert(new);
        }
    }

    /// Says `-ERR` and closes.
    pub(super) fn refuse(&mut self, id: ConnId, text: &str) {
        self.write(id, format!("-ERR '{text}'\r\n").as_bytes());
        self.close(id);
    }

    pub(super) fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stage = Stage::Ended;
            let rest: Vec<u8> = connection.held.drain(..).collect();
            self.outgoing.extend([Outgoing::Write(id, rest), Outgoing::Lose(id)]);
        }
    }

    pub(super) fn write(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.stage == Stage::Ended {
            return;
        }
        if connection.is_cut {
            self.outgoing.push(Outgoing::Write(id, bytes[..bytes.len() / 2].to_vec()));
            return self.close(id);
        }
        if self.faults.trickle.is_none() && connection.held.is_empty() {
            return match self.outgoing.last_mut() {
                Some(Outgoing::Write(last, written)) if *last == id => written.extend(bytes),
                _ => self.outgoing.push(Outgoing::Write(id, bytes.to_vec())),
            };
        }
        connection.held.extend(bytes);
        if !std::mem::replace(&mut connection.is_dripping, true) {
            self.call_later(Duration::ZERO, Due::Drip(id));
        }
    }

    fn drip(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (bytes, every) = self.faults.trickle.unwrap_or((usize::MAX, Duration::ZERO));
        let count = bytes.min(connection.held.len());
        let drops: Vec<u8> = connection.held.drain(..count).collect();
        connection.is_dripping = !connection.held.is_empty();
        let goes_on = connection.is_dripping;
        self.outgoing.push(Outgoing::Write(id, drops));
        if goes_on {
            self.call_later(every, Due::Drip(id));
        }
    }

    pub(super) fn of_node(&self, node: usize) -> Vec<ConnId> {
        let its = self.connections.iter().filter(|(_, connection)| connection.node == node);
        its.map(|(id, _)| *id).collect()
    }

    // Routing.

    fn publish(
        &mut self,
        id: ConnId,
        subject: &[u8],
        reply: &[u8],
        headers: Vec<u8>,
        payload: Vec<u8>,
    ) {
        let denied = &self.settings.publish_denied;
        if denied.iter().any(|pattern| subjects::matches(pattern.as_bytes(), subject)) {
            let subject = String::from_utf8_lossy(subject);
            let text = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
            return self.write(id, text.as_bytes());
        }
        let mut is_heard = false;
        if subjects::is_literal(subject) {
            is_heard = self.send(subject, subject, reply, &headers, &payload, false);
            is_heard |= match subject.strip_prefix(b"$JS.") {
                Some(_) if !self.settings.jetstream => false,
                Some(rest) if rest.starts_with(b"ACK.") => true,
                Some(rest) => match rest.strip_prefix(b"API.") {
                    Some(verb) => self.request(verb, reply, &payload),
                    None => false,
                },
                None => self.put(subject, reply, headers, payload),
            };
        }
        if !is_heard && !reply.is_empty() {
            self.say_that_nobody_listens(id, subject, reply);
        }
    }

    /// Answers 503 to the publisher, if it has subscribed to its reply subject.
    fn say_that_nobody_listens(&mut self, id: ConnId, subject: &[u8], reply: &[u8]) {
        let Some(connection) = self.connections.get(&id) else { return };
        let mut its = connection.subscriptions.iter();
        let sid = its.find(|(_, its)| subjects::matches(&its.subject, reply));
        if let Some((sid, _)) = sid.filter(|_| connection.no_responders) {
            let sid = sid.clone();
            let headers = self.unavailable(subject);
            let text = message(reply, &sid, b"", &headers, b"", false);
            self.write(id, &text);
        }
    }

    /// The headers of the answer where nobody listens.
    pub(super) fn unavailable(&self, subject: &[u8]) -> Vec<u8> {
        let subject = String::from_utf8_lossy(subject);
        match self.settings.manner {
            Manner::V2_9 => b"NATS/1.0 503\r\n\r\n".to_vec(),
            Manner::V2_15 => {
                format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n").into_bytes()
            }
        }
    }

    /// Whether a client listens to `subject`.
    pub(super) fn has_interest(&self, subject: &[u8]) -> bool {
        hears(&self.connections, subject)
    }

    /// Sends a message that shows `subject` to all subscribers of `to`. Returns whether there are any.
    pub(super) fn send(
        &mut self,
        to: &[u8],
        subject: &[u8],
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
        is_internal: bool,
    ) -> bool {
        let wide = is_internal && self.settings.manner == Manner::V2_9;
        let mut texts = Vec::new();
        for (id, connection) in &mut self.connections {
            let headers = if connection.headers { headers } else { b"" };
            connection.subscriptions.retain(|sid, its| {
                if subjects::matches(&its.subject, to) {
                    texts.push((*id, message(subject, sid, reply, headers, payload, wide)));
                    its.left = its.left.map(|left| left - 1);
                }
                its.left != Some(0)
            });
        }
        for (id, text) in &texts {
            self.write(*id, text);
        }
        !texts.is_empty()
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        let Reply { to, headers, payload, is_internal } = reply;
        if !to.is_empty() {
            self.send(&to, &to, b"", &headers, &payload, is_internal);
        }
    }

    // Time.

    pub(super) fn call_later(&mut self, delay: Duration, due: Due) {
        self.last_id += 1;
        self.due.insert((self.now + delay, self.last_id), due);
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether something happens that happens in so many of a thousand cases.
    pub(super) fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.dice.roll(1_000) < u64::from(permille)
    }

    pub(super) fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        if range.end().is_zero() {
            return Duration::ZERO;
        }
        let nanos = |time: &Duration| time.as_nanos() as u64;
        Duration::from_nanos(self.dice.within(nanos(range.start())..=nanos(range.end())))
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::Login(id) => {
                let stage = self.connections.get(&id).map(|its| its.stage);
                if stage == Some(Stage::Greeted) {
                    self.refuse(id, "Authentication Timeout");
                }
            }
            Due::Ping(id) => self.ping(id),
            Due::Drip(id) => self.drip(id),
            Due::Reply(reply) => self.reply(reply),
            Due::Commit(put) => self.commit(put),
            Due::LatePut(put) => self.store_late(put),
            Due::Expiry { stream, consumer, request } => self.expire(&stream, &consumer, request),
            Due::Heartbeat { stream, consumer, request } => {
                self.heartbeat(stream, consumer, request);
            }
            Due::Inactive { stream, consumer } => self.remove_if_inactive(stream, consumer),
            Due::Recovery => self.recover(),
            Due::NodeEnds(node) => self.of_node(node).into_iter().for_each(|id| self.close(id)),
        }
    }

    fn ping(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.pings_out >= 2 {
            return self.refuse(id, "Stale Connection");
        }
        connection.pings_out += 1;
        self.write(id, b"PING\r\n");
        self.call_later(self.settings.ping_interval, Due::Ping(id));
    }

    /// A time without deliveries or without a majority may be over.
    pub(super) fn recover(&mut self) {
        if self.troubles.no_quorum.is_some_and(|(_, until)| until <= self.now) {
            self.troubles.no_quorum = None;
            for put in std::mem::take(&mut self.held_puts) {
                self.store_late(put);
            }
        }
        self.deliver_all();
    }

    /// Whether there is no majority, and since more than some seconds.
    pub(super) fn quorum(&self) -> Quorum {
        match self.troubles.no_quorum {
            Some((since, until)) if until > self.now => match self.now >= since + QUORUM_SILENCE {
                true => Quorum::LongLost,
                false => Quorum::Lost,
            },
            _ => Quorum::Held,
        }
    }
}

/// Whether a majority of the nodes is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    Held,
    Lost,
    /// Lost, and the server has noticed.
    LongLost,
}

pub fn node_name(node: usize) -> String {
    format!("double{node}")
}

pub(super) fn hears(connections: &BTreeMap<ConnId, Connection>, subject: &[u8]) -> bool {
    let mut all = connections.values().flat_map(|connection| connection.subscriptions.values());
    all.any(|subscription| subjects::matches(&subscription.subject, subject))
}

/// A MSG or HMSG. With `wide` there are two blanks where the reply subject would be, as 2.9.10 writes.
fn message(
    subject: &[u8],
    sid: &[u8],
    reply: &[u8],
    headers: &[u8],
    payload: &[u8],
    wide: bool,
) -> Vec<u8> {
    let (verb, mut sizes) = match headers {
        [] => ("MSG", String::new()),
        _ => ("HMSG", format!("{} ", headers.len())),
    };
    sizes += &(headers.len() + payload.len()).to_string();
    let mut text = verb.as_bytes().to_vec();
    for word in [subject, sid] {
        text.push(b' ');
        text.extend(word);
    }
    text.push(b' ');
    if !reply.is_empty() {
        text.extend(reply);
    }
    if !reply.is_empty() || wide {
        text.push(b' ');
    }
    for part in [sizes.as_bytes(), b"\r\n", headers, payload, b"\r\n"] {
        text.extend(part);
    }
    text
}
