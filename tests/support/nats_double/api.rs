//! The JetStream requests: `$JS.API.<verb>.<stream>...`, and their answers in the server's words.
//!
//! Streams are buckets: the last message of each subject, nothing else. Consumers are pull consumers without acks.

use super::consumers::{Consumer, Waiting};
use super::streams::{Stream, StreamConfig};
use super::world::{Due, Quorum, Reply, World, node_name};
use super::{Manner, subjects, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use herd_reactor::{Moment, UnixNanos};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::time::Duration;

const STREAM_FIELDS: &str = "name description subjects retention max_consumers max_msgs max_bytes max_age \
    max_msgs_per_subject max_msg_size discard storage num_replicas no_ack duplicate_window placement mirror sources \
    compression first_seq subject_transform republish allow_direct mirror_direct discard_new_per_subject sealed \
    deny_delete deny_purge allow_rollup_hdrs consumer_limits allow_msg_ttl subject_delete_marker_ttl metadata";
const CREATE_FIELDS: &str = "stream_name config action";
const CONSUMER_FIELDS: &str = "name durable_name description deliver_policy opt_start_seq opt_start_time ack_policy \
    ack_wait max_deliver backoff filter_subject filter_subjects replay_policy rate_limit_bps sample_freq max_waiting \
    max_ack_pending flow_control headers_only max_batch max_expires max_bytes deliver_subject deliver_group \
    idle_heartbeat inactive_threshold num_replicas mem_storage direct metadata pause_until priority_groups";
const GET_FIELDS: &str = "seq last_by_subj next_by_subj batch max_bytes start_time multi_last up_to_seq up_to_time no_hdr";

/// The requests that may wait at a consumer: the default of `max_waiting`.
const WAITING_MAX: usize = 512;

const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// An error answer.
struct ApiError(u16, u32, String);

type Answer = Result<String, ApiError>;

fn error<T>(code: u16, err_code: u32, description: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError(code, err_code, description.into()))
}

impl World {
    /// Carries out the request `verb`, the subject behind `$JS.API.`. Returns whether anything listens there.
    pub(super) fn request(&mut self, verb: &[u8], reply: &[u8], payload: &[u8]) -> bool {
        let verb = String::from_utf8_lossy(verb).into_owned();
        let words: Vec<&str> = verb.split('.').collect();
        let name = match words[..] {
            ["CONSUMER", "MSG", "NEXT", ..] | ["STREAM", "MSG", "GET", ..] => 3,
            _ => 2.min(words.len()),
        };
        *self.counters.asked.entry(words[..name].join(".")).or_default() += 1;
        if self.troubles.is_disk_full && self.settings.manner == Manner::V2_9 {
            return true;
        }
        let (kind, answer) = match words[..] {
            ["STREAM", "INFO", stream] => ("stream_info", self.stream_info(stream)),
            ["STREAM", "CREATE", stream] => ("stream_create", self.stream_create(stream, payload)),
            ["STREAM", "DELETE", stream] => return self.stream_delete(stream, reply),
            ["STREAM", "PURGE", stream] => ("stream_purge", self.stream_purge(stream, payload)),
            ["STREAM", "MSG", "GET", stream] => {
                ("stream_msg_get", self.message_get(stream, payload))
            }
            ["CONSUMER", "CREATE", stream, consumer, ref filter @ ..] => {
                let filter = filter.join(".");
                ("consumer_create", self.consumer_create(stream, consumer, &filter, payload))
            }
            ["CONSUMER", "DELETE", stream, consumer] => {
                return self.consumer_delete(stream, consumer, reply);
            }
            ["CONSUMER", "MSG", "NEXT", stream, consumer] => {
                return self.next(stream, consumer, reply, payload);
            }
            _ => return true,
        };
        self.answer(reply, kind, answer);
        true
    }

    fn answer(&mut self, reply: &[u8], kind: &str, answer: Answer) {
        let answer = match self.happens(self.faults.failing_requests) {
            true => temporarily_unavailable(),
            false => answer,
        };
        let (extra, answer) = match answer {
            Err(_) if kind == "stream_info" => (",\"total\":0,\"offset\":0,\"limit\":0", answer),
            answer => ("", answer),
        };
        let body = match answer {
            Ok(body) => body,
            Err(ApiError(code, err_code, description)) => {
                let description = go_string(&description);
                format!(
                    "\"error\":{{\"code\":{code},\"err_code\":{err_code},\"description\":{description}}}{extra}"
                )
            }
        };
        let text = format!("{{\"type\":\"io.nats.jetstream.api.v1.{kind}_response\",{body}}}");
        let (to, payload) = (reply.to_vec(), text.into_bytes());
        let answer = Reply { to, headers: Vec::new(), payload, is_internal: false };
        let delay = self.duration(&self.faults.answer_delay.clone());
        if self.happens(self.faults.lost_answers) {
            // It is lost on its way.
        } else if delay.is_zero() {
            self.reply(answer);
        } else {
            self.call_later(delay, Due::Reply(answer));
        }
    }

    /// Refuses a request while there is no leader, or no majority for a change.
    fn leads(&self, is_change: bool) -> Result<(), ApiError> {
        let has_no_quorum = is_change && self.quorum() != Quorum::Held;
        match self.troubles.unavailable_until > self.now || has_no_quorum {
            true => temporarily_unavailable().map(drop),
            false => Ok(()),
        }
    }

    fn stream(&self, name: &str) -> Result<&Stream, ApiError> {
        match self.streams.get(name) {
            Some(stream) => Ok(stream),
            None => error(404, 10059, "stream not found"),
        }
    }

    /// Reads JSON with these fields and no others.
    fn read(&mut self, payload: &[u8], fields: &str) -> Result<Map<String, Value>, ApiError> {
        let is_old = self.settings.manner == Manner::V2_9;
        let Ok(Value::Object(said)) = serde_json::from_slice(payload) else {
            self.counters.faults.push("a request with invalid JSON".to_owned());
            let why = if is_old { "invalid JSON" } else { "invalid JSON: unexpected EOF" };
            return error(400, 10025, why);
        };
        self.know(&said, fields)?;
        Ok(said)
    }

    /// Refuses unknown fields; 2.9.10 ignores them.
    fn know(&mut self, said: &Map<String, Value>, fields: &str) -> Result<(), ApiError> {
        let is_known = |name: &&String| fields.split(' ').any(|field| field == name.as_str());
        let Some(unknown) = said.keys().find(|name| !is_known(name)) else { return Ok(()) };
        self.counters.faults.push(format!("unknown field {unknown}"));
        match self.settings.manner {
            Manner::V2_9 => Ok(()),
            Manner::V2_15 => {
                error(400, 10025, format!("invalid JSON: json: unknown field \"{unknown}\""))
            }
        }
    }

    // Streams.

    fn stream_info(&mut self, name: &str) -> Answer {
        self.leads(false)?;
        let stream = self.stream(name)?;
        Ok(format!("\"total\":0,\"offset\":0,\"limit\":0,{}", self.described(stream)))
    }

    fn stream_create(&mut self, name: &str, payload: &[u8]) -> Answer {
        let said = self.read(payload, STREAM_FIELDS)?;
        self.leads(true)?;
        let config = read_stream(&said).or_else(|what| {
            error(500, 10052, format!("the double has no streams with this {what}"))
        })?;
        if config.name != name {
            return error(400, 10056, "stream name in subject does not match request");
        }
        if config.replicas > self.settings.nodes {
            return match self.settings.nodes {
                1 => error(500, 10074, "replicas > 1 not supported in non-clustered mode"),
                _ => error(400, 10005, "no suitable peers for placement"),
            };
        }
        if !config.max_age.is_zero()
            && u128::from(config.duplicate_window) > config.max_age.as_nanos()
        {
            return error(500, 10052, "duplicates window can not be larger then max age");
        }
        match self.streams.get(name) {
            Some(known) if known.config != config => {
                return error(
                    400,
                    10058,
                    "stream name already in use with a different configuration",
                );
            }
            Some(_) => {}
            None => self.streams.insert(Stream::new(config, self.wall)),
        }
        let stream = self.stream(name)?;
        Ok(format!("{},\"did_create\":true", self.described(stream)))
    }

    fn stream_delete(&mut self, name: &str, reply: &[u8]) -> bool {
        let deleted = self.leads(true).and_then(|()| match self.streams.remove(name) {
            Some(stream) => Ok(stream),
            None => error(404, 10059, "stream not found"),
        });
        let (answer, gone) = match deleted {
            Ok(stream) => (Ok("\"success\":true".to_owned()), Some(stream)),
            Err(why) => (Err(why), None),
        };
        let consumers = gone.into_iter().flat_map(|stream| stream.consumers.into_values());
        let waiting: Vec<Waiting> = consumers.flat_map(|its| its.waiting).collect();
        if self.settings.manner == Manner::V2_9 {
            self.tell_waiting(waiting, "409 Consumer Deleted");
            self.answer(reply, "stream_delete", answer);
        } else {
            self.answer(reply, "stream_delete", answer);
            self.tell_waiting(waiting, "409 Consumer Deleted");
        }
        true
    }

    fn stream_purge(&mut self, name: &str, payload: &[u8]) -> Answer {
        let said = match payload {
            [] => Map::new(),
            _ => self.read(payload, "filter seq keep")?,
        };
        self.leads(true)?;
        self.stream(name)?;
        let filter = said.get("filter").and_then(Value::as_str).unwrap_or(">");
        let stream = self.streams.get_mut(name).expect("it was found");
        let purged = stream.purge(filter.as_bytes());
        Ok(format!("\"success\":true,\"purged\":{purged}"))
    }

    fn message_get(&mut self, name: &str, payload: &[u8]) -> Answer {
        self.leads(false)?;
        self.stream(name)?;
        let said = self.read(payload, GET_FIELDS)?;
        let stream = self.stream(name)?;
        let subject = said.get("last_by_subj").and_then(Value::as_str);
        let sequence = match (subject, said.get("seq").and_then(Value::as_u64)) {
            (Some(subject), _) => stream.sequence_of(subject.as_bytes()),
            (None, Some(sequence)) => sequence,
            (None, None) => return error(400, 10003, "bad request"),
        };
        let Some(message) = stream.messages.get(&sequence) else {
            return error(404, 10037, "no message found");
        };
        let subject = go_string(&String::from_utf8_lossy(&message.subject));
        let field = |name: &str, bytes: &[u8]| match bytes {
            [] => String::new(),
            _ => format!(",\"{name}\":\"{}\"", STANDARD.encode(bytes)),
        };
        let (headers, data) = (field("hdrs", &message.headers), field("data", &message.payload));
        let time = time::rfc3339(message.time);
        Ok(format!(
            "\"message\":{{\"subject\":{subject},\"seq\":{sequence}{headers}{data},\"time\":\"{time}\"}}"
        ))
    }

    /// `config`, `created`, `state` and what follows, as in the answers about a stream.
    fn described(&self, stream: &Stream) -> String {
        let is_old = self.settings.manner == Manner::V2_9;
        let created = time::rfc3339(stream.created);
        let messages = &stream.messages;
        let bytes: usize = messages.values().map(|message| message.size()).sum();
        let first_time =
            messages.values().next().map_or(ZERO_TIME.into(), |its| time::rfc3339(its.time));
        let last_time = match stream.last {
            0 => ZERO_TIME.into(),
            _ => time::rfc3339(stream.last_time),
        };
        let subjects = match messages.len() {
            0 => String::new(),
            count => format!(",\"num_subjects\":{count}"),
        };
        let (count, first, last) = (messages.len(), stream.first(), stream.last);
        let consumers = stream.consumers.len();
        format!(
            "\"config\":{},\"created\":\"{created}\",\"state\":{{\"messages\":{count},\"bytes\":{bytes},\
             \"first_seq\":{first},\"first_ts\":\"{first_time}\",\"last_seq\":{last},\"last_ts\":\"{last_time}\"\
             {subjects},\"consumer_count\":{consumers}}}{}{}",
            config_text(&stream.config, is_old),
            self.cluster_text(),
            self.time_text()
        )
    }

    fn cluster_text(&self) -> String {
        let leader = node_name(self.leader);
        match self.settings.nodes {
            1 if self.settings.manner == Manner::V2_9 => String::new(),
            1 => format!(",\"cluster\":{{\"leader\":\"{leader}\"}}"),
            nodes => {
                let others = (0..nodes).filter(|node| *node != self.leader).map(|node| {
                    let offline = match self.troubles.down.contains(&node) {
                        true => ",\"offline\":true",
                        false => "",
                    };
                    let name = node_name(node);
                    format!("{{\"name\":\"{name}\",\"current\":true{offline},\"active\":0}}")
                });
                let others: Vec<String> = others.collect();
                let others = others.join(",");
                format!(
                    ",\"cluster\":{{\"name\":\"double\",\"leader\":\"{leader}\",\"replicas\":[{others}]}}"
                )
            }
        }
    }

    /// The time of the answer, which 2.9.10 does not say.
    fn time_text(&self) -> String {
        match self.settings.manner {
            Manner::V2_9 => String::new(),
            Manner::V2_15 => format!(",\"ts\":\"{}\"", time::rfc3339(self.wall)),
        }
    }

    // Consumers.

    fn consumer_create(
        &mut self,
        stream: &str,
        name: &str,
        filter: &str,
        payload: &[u8],
    ) -> Answer {
        let said = self.read(payload, CREATE_FIELDS)?;
        let Some(Value::Object(config)) = said.get("config") else {
            return error(400, 10003, "bad request");
        };
        self.know(config, CONSUMER_FIELDS)?;
        self.leads(false)?;
        if said.get("stream_name").and_then(Value::as_str) != Some(stream) {
            return error(400, 10034, "subject does not match consumer create request");
        }
        self.stream(stream)?;
        let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("filter_subject") != filter {
            let why = "Consumer create request did not match filtered subject from create subject";
            return error(400, 10131, why);
        }
        if !text("deliver_subject").is_empty() || !text("durable_name").is_empty() {
            return error(400, 10003, "the double has no push and no durable consumers");
        }
        let cursor = self.start_position(stream, config)?;
        let known = self.stream(stream)?.consumers.get(name).map(|its| its.config.clone());
        let config = Value::Object(config.clone());
        match known {
            Some(known) if known != config => return error(400, 10148, "consumer already exists"),
            Some(_) => {}
            None => self.add_consumer(stream, name, filter, config, cursor),
        }
        let consumer = &self.stream(stream)?.consumers[name];
        Ok(self.consumer_text(stream, consumer))
    }

    /// The position before the first message that a new consumer gets.
    fn start_position(&self, stream: &str, config: &Map<String, Value>) -> Result<u64, ApiError> {
        let stream = self.stream(stream)?;
        let policy = config.get("deliver_policy").and_then(Value::as_str).unwrap_or("all");
        let before_first = stream.first().saturating_sub(1);
        let sequence = config.get("opt_start_seq").and_then(Value::as_u64);
        match policy {
            "all" | "last_per_subject" => Ok(before_first),
            "new" => Ok(stream.last),
            "by_start_sequence" => match (sequence, self.settings.manner) {
                (None | Some(0), _) => error(
                    400,
                    10094,
                    "consumer delivery policy is deliver by start sequence, but optional start sequence is not set",
                ),
                (Some(wanted), Manner::V2_9) => Ok((wanted - 1).clamp(before_first, stream.last)),
                (Some(wanted), Manner::V2_15) => Ok((wanted - 1).max(before_first)),
            },
            "by_start_time" => {
                let Some(text) = config.get("opt_start_time").and_then(Value::as_str) else {
                    return error(
                        400,
                        10094,
                        "consumer delivery policy is deliver by start time, but optional start time is not set",
                    );
                };
                let Some(since) = time::parse(text) else {
                    return error(400, 10025, format!("invalid JSON: parsing time \"{text}\""));
                };
                let mut messages = stream.messages.iter();
                let found = messages.find(|(_, message)| message.time >= since);
                Ok(found.map_or(stream.last, |(sequence, _)| sequence - 1))
            }
            _ => error(400, 10025, format!("invalid JSON: invalid deliver policy \"{policy}\"")),
        }
    }

    fn add_consumer(&mut self, stream: &str, name: &str, filter: &str, config: Value, cursor: u64) {
        let threshold = config["inactive_threshold"].as_u64().unwrap_or(5_000_000_000);
        let up = (0..self.settings.nodes).filter(|node| !self.troubles.down.contains(node));
        let up: Vec<usize> = up.collect();
        let is_of_last = config["deliver_policy"] == "last_per_subject";
        let mut consumer = Consumer {
            name: name.to_owned(),
            filter: filter.to_owned(),
            config,
            created: self.wall,
            node: self.dice.one_of(&up),
            cursor,
            delivered: 0,
            last_stream: cursor,
            pending: 0,
            counts_replaced: !is_of_last && self.settings.manner == Manner::V2_9,
            waiting: VecDeque::new(),
            inactive_threshold: Duration::from_nanos(threshold),
            last_active: self.now,
            loses_next: false,
        };
        let its = self.streams.get_mut(stream).expect("it was found");
        consumer.pending = its.pending(&consumer);
        its.consumers.insert(name.to_owned(), consumer);
        let (stream, consumer) = (stream.to_owned(), name.to_owned());
        self.call_later(Duration::from_nanos(threshold), Due::Inactive { stream, consumer });
    }

    fn consumer_text(&self, stream: &str, consumer: &Consumer) -> String {
        let Consumer { name, created, delivered, last_stream, pending, waiting, .. } = consumer;
        let (created, waiting) = (time::rfc3339(*created), waiting.len());
        let config = go_escaped(&consumer.config.to_string());
        let floor = if self.settings.manner == Manner::V2_9 { 0 } else { *last_stream };
        format!(
            "\"stream_name\":\"{stream}\",\"name\":\"{name}\",\"created\":\"{created}\",\"config\":{config},\
             \"delivered\":{{\"consumer_seq\":{delivered},\"stream_seq\":{last_stream}}},\
             \"ack_floor\":{{\"consumer_seq\":{delivered},\"stream_seq\":{floor}}},\"num_ack_pending\":0,\
             \"num_redelivered\":0,\"num_waiting\":{waiting},\"num_pending\":{pending}{}",
            self.time_text()
        )
    }

    fn consumer_delete(&mut self, stream: &str, name: &str, reply: &[u8]) -> bool {
        let deleted = self.leads(false).and_then(|()| {
            self.stream(stream)?;
            let its = self.streams.get_mut(stream).expect("it was found");
            match its.consumers.remove(name) {
                Some(consumer) => Ok(consumer.waiting),
                None => error(404, 10014, "consumer not found"),
            }
        });
        let (answer, waiting) = match deleted {
            Ok(waiting) => (Ok("\"success\":true".to_owned()), waiting),
            Err(why) => (Err(why), VecDeque::new()),
        };
        self.answer(reply, "consumer_delete", answer);
        self.tell_waiting(waiting, "409 Consumer Deleted");
        true
    }

    /// A request for messages. Returns whether the consumer is there to hear it, as far as the client is told.
    fn next(&mut self, stream: &str, name: &str, reply: &[u8], payload: &[u8]) -> bool {
        let is_old = self.settings.manner == Manner::V2_9;
        let id = self.new_id();
        let now = self.now;
        let its = self.streams.get_mut(stream).and_then(|its| its.consumers.get_mut(name));
        let Some(consumer) = its else { return is_old };
        let Some(asked) = Next::read(payload) else {
            self.status(reply, "400 Bad Request");
            return true;
        };
        consumer.last_active = now;
        if asked.heartbeat.is_some_and(|heartbeat| heartbeat * 2 > asked.expires) {
            self.status(reply, "400 Bad Request - heartbeat value too large");
        } else if asked.no_wait && consumer.pending == 0 {
            self.status(reply, "404 No Messages");
        } else if consumer.waiting.len() >= WAITING_MAX {
            self.status(reply, "409 Exceeded MaxWaiting");
        } else {
            let Next { batch: left, heartbeat, .. } = asked;
            let reply = reply.to_vec();
            consumer.waiting.push_back(Waiting { id, reply, left, heartbeat, active: now });
            let (stream, consumer, request) = (stream.to_owned(), name.to_owned(), id);
            if let Some(heartbeat) = heartbeat {
                let (stream, consumer) = (stream.clone(), consumer.clone());
                self.call_later(heartbeat, Due::Heartbeat { stream, consumer, request });
            }
            self.deliver(&stream);
            if asked.no_wait || !asked.expires.is_zero() {
                self.call_later(asked.expires, Due::Expiry { stream, consumer, request });
            }
        }
        true
    }
}

/// What a request for messages says.
struct Next {
    batch: u64,
    expires: Duration,
    heartbeat: Option<Duration>,
    no_wait: bool,
}

impl Next {
    fn read(payload: &[u8]) -> Option<Next> {
        let said: Value = match payload {
            [] => Value::from(1),
            _ => serde_json::from_slice(payload).ok()?,
        };
        let nanos = |name: &str| Duration::from_nanos(said[name].as_u64().unwrap_or(0));
        let batch = said.as_u64().or(said["batch"].as_u64()).unwrap_or(1).max(1);
        let heartbeat = Some(nanos("idle_heartbeat")).filter(|heartbeat| !heartbeat.is_zero());
        let no_wait = said["no_wait"].as_bool().unwrap_or(false);
        Some(Next { batch, expires: nanos("expires"), heartbeat, no_wait })
    }
}

/// Reads a stream's configuration. Fails with the field that the double cannot follow.
fn read_stream(said: &Map<String, Value>) -> Result<StreamConfig, &'static str> {
    let text = |name: &str, absent| said.get(name).and_then(Value::as_str).unwrap_or(absent);
    let number = |name: &str, absent| said.get(name).and_then(Value::as_i64).unwrap_or(absent);
    let is = |name: &str| said.get(name).and_then(Value::as_bool).unwrap_or(false);
    for (name, wanted) in [("retention", "limits"), ("compression", "none")] {
        if text(name, wanted) != wanted {
            return Err("retention or compression");
        }
    }
    if number("max_msgs_per_subject", -1) != 1 {
        return Err("max_msgs_per_subject");
    }
    for name in ["mirror", "sources", "republish", "subject_transform", "placement", "first_seq"] {
        if said.contains_key(name) {
            return Err("mirror, sources, republish, subject_transform, placement or first_seq");
        }
    }
    for name in ["max_msgs", "max_bytes", "max_consumers"] {
        if !matches!(number(name, -1), -1 | 0) {
            return Err("limit");
        }
    }
    let subjects = said.get("subjects").and_then(Value::as_array).ok_or("subjects")?;
    let subjects: Vec<String> =
        subjects.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if !subjects.iter().all(|subject| subjects::is_valid(subject.as_bytes())) {
        return Err("subjects");
    }
    let max_age = Duration::from_nanos(number("max_age", 0) as u64);
    let window = match (number("duplicate_window", 0), max_age.as_nanos()) {
        (0, 0) => 120_000_000_000,
        (0, age) => age.min(120_000_000_000) as u64,
        (window, _) => window as u64,
    };
    Ok(StreamConfig {
        name: text("name", "").to_owned(),
        subjects,
        max_age,
        max_msg_size: number("max_msg_size", -1),
        is_in_memory: text("storage", "file") == "memory",
        replicas: number("num_replicas", 1).max(1) as usize,
        allow_direct: is("allow_direct"),
        deny_delete: is("deny_delete"),
        allow_rollup: is("allow_rollup_hdrs"),
        discards_new: text("discard", "old") == "new",
        duplicate_window: window,
    })
}

fn config_text(config: &StreamConfig, is_old: bool) -> String {
    let StreamConfig { name, max_msg_size, replicas, duplicate_window: window, .. } = config;
    let subjects = go_escaped(&Value::from(config.subjects.clone()).to_string());
    let age = config.max_age.as_nanos();
    let discard = if config.discards_new { "new" } else { "old" };
    let storage = if config.is_in_memory { "memory" } else { "file" };
    let (compression, rest) = match is_old {
        true => ("", ""),
        false => (
            "\"compression\":\"none\",",
            ",\"consumer_limits\":{},\"allow_msg_ttl\":false,\"metadata\":{\"_nats.level\":\"5\",\
             \"_nats.req.level\":\"0\",\"_nats.ver\":\"2.15.1\"}",
        ),
    };
    let (direct, deny_delete, rollup) =
        (config.allow_direct, config.deny_delete, config.allow_rollup);
    format!(
        "{{\"name\":\"{name}\",\"subjects\":{subjects},\"retention\":\"limits\",\"max_consumers\":-1,\
         \"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":{age},\"max_msgs_per_subject\":1,\
         \"max_msg_size\":{max_msg_size},\"discard\":\"{discard}\",\"storage\":\"{storage}\",\
         \"num_replicas\":{replicas},\"duplicate_window\":{window},{compression}\"allow_direct\":{direct},\
         \"mirror_direct\":false,\"sealed\":false,\"deny_delete\":{deny_delete},\"deny_purge\":false,\
         \"allow_rollup_hdrs\":{rollup}{rest}}}"
    )
}

fn temporarily_unavailable() -> Answer {
    error(503, 10008, "JetStream system temporarily unavailable")
}

/// A JSON string as Go writes it.
fn go_string(text: &str) -> String {
    go_escaped(&Value::from(text).to_string())
}

fn go_escaped(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}
