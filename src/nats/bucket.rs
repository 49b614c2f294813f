//! A key-value bucket, and the requests about it.
//!
//! In: names, options, lines. Out: the bytes of JetStream's requests. The bucket `B` is the stream `KV_B`, whose keys are the
//! subjects `$KV.B.>`; it is made as the stock tools make it, so that they can read it. Nothing unneeded is sent, because
//! newer servers reject members that they do not know.
//!
//! Sources: nats-architecture-and-design, ADR-8 (key-value) and ADR-1 (JetStream's JSON API).

use super::outgoing::{put_head, write_pub};
use crate::log::rfc_3339;
use serde_json::json;
use std::io::Write as _;
use std::time::Duration;

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The time after which a server forgets a consumer that nobody asks.
const INACTIVE: Duration = Duration::from_secs(120);

/// The time in which a stream recognises a message by its id; as the stock tools have it.
const DUPLICATES: Duration = Duration::from_secs(120);

/// The header that makes a put conditional, up to its value. Servers ignore it in any other spelling, and if the value is
/// empty; the put would then be unconditional.
const EXPECTED: &[u8] = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: ";

/// The key to which `herd bus check` writes. It is no client's: an id's key has two hexadecimal digits behind `=`, or `_` and
/// the 64 digits of a hash.
pub const CHECK_KEY: &[u8] = b"=_check";

/// The bucket `B`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bucket {
    /// `KV_B`.
    stream: String,
    /// `$KV.B.>`.
    watch: String,
}

/// Where a stream is stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Storage {
    /// In files, which survive a restart.
    #[default]
    File,
    /// In memory.
    Memory,
}

/// What [`Bucket::write_stream_create`] may choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BucketOptions {
    /// The number of servers that store it, 1 to 5.
    pub replicas: u8,
    /// Where it is stored.
    pub storage: Storage,
    /// The age at which a key is removed; `None` keeps it for ever.
    pub max_age: Option<Duration>,
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WatchStart {
    /// With the last message of each key: all that the bucket holds.
    LastPerSubject,
    /// With the first message at or after this time, in nanoseconds since 1970, of the server's clock.
    Since(u64),
}

impl Bucket {
    /// Returns the bucket with this name: 1 to 64 letters, digits, `_` and `-`.
    pub fn new(name: &str) -> Option<Bucket> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_valid);
        is_name.then(|| Bucket { stream: format!("KV_{name}"), watch: format!("$KV.{name}.>") })
    }

    /// Its name, `B`.
    pub fn name(&self) -> &str {
        &self.stream["KV_".len()..]
    }

    /// Its stream, `KV_B`.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The part of a subject before the key, `$KV.B.`.
    fn prefix(&self) -> &[u8] {
        &self.watch.as_bytes()[..self.watch.len() - 1]
    }

    /// Returns the key in a subject of this bucket.
    pub fn key_of<'s>(&self, subject: &'s [u8]) -> Option<&'s [u8]> {
        subject.strip_prefix(self.prefix()).filter(|key| !key.is_empty())
    }

    /// Writes a put that succeeds only if the last sequence of `key` is `expected`; 0 means that nothing is stored. There is
    /// no other put, so that no line overwrites one that it was not compared with. The answer is a
    /// [`PutReply`](super::PutReply).
    pub fn write_put(
        &self,
        out: &mut Vec<u8>,
        key: &[u8],
        reply: &[u8],
        expected: u64,
        line: &[u8],
    ) {
        self.put(out, key, reply, (expected, b""), line);
    }

    /// Writes a put with more headers than one: `more`, whose lines end with CR LF.
    fn put(
        &self,
        out: &mut Vec<u8>,
        key: &[u8],
        reply: &[u8],
        (expected, more): (u64, &[u8]),
        line: &[u8],
    ) {
        let digits = expected.checked_ilog10().unwrap_or(0) as usize + 1;
        let header = EXPECTED.len() + digits + "\r\n".len() + more.len() + "\r\n".len();
        out.extend_from_slice(b"HPUB ");
        out.extend_from_slice(self.prefix());
        put_head(out, key, reply, &[header, header + line.len()]);
        out.extend_from_slice(EXPECTED);
        let _ = write!(out, "{expected}\r\n");
        out.extend_from_slice(more);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the mark of a deleted key, which is conditional and answered as a put is.
    pub fn write_marker(&self, out: &mut Vec<u8>, key: &[u8], reply: &[u8], expected: u64) {
        self.put(out, key, reply, (expected, b"KV-Operation: DEL\r\n"), b"");
    }

    /// Asks for the state of the stream; the answer is a [`StreamState`](super::StreamState).
    pub fn write_stream_info(&self, out: &mut Vec<u8>, reply: &[u8]) {
        write_pub(out, format!("$JS.API.STREAM.INFO.{}", self.stream), reply, b"");
    }

    /// Makes the stream; the answer is a [`StreamState`](super::StreamState). It has no limit on its bytes, because at such a
    /// limit some servers refuse even to replace a key.
    pub fn write_stream_create(&self, out: &mut Vec<u8>, reply: &[u8], options: &BucketOptions) {
        let max_age = options.max_age.unwrap_or_default();
        let duplicates = options.max_age.map_or(DUPLICATES, |age| age.min(DUPLICATES));
        let config = json!({
            "name": self.stream, "subjects": [self.watch], "retention": "limits", "max_consumers": -1,
            "max_msgs": -1, "max_bytes": -1, "max_age": nanos(max_age), "max_msgs_per_subject": 1,
            "max_msg_size": -1, "discard": "new",
            "storage": match options.storage { Storage::File => "file", Storage::Memory => "memory" },
            "num_replicas": options.replicas, "duplicate_window": nanos(duplicates),
            "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
        });
        let subject = format!("$JS.API.STREAM.CREATE.{}", self.stream);
        write_pub(out, subject, reply, config.to_string().as_bytes());
    }

    /// Makes a pull consumer of all keys; the answer is a [`ConsumerState`](super::ConsumerState). The name `consumer` must
    /// be new: letters, digits, `_` and `-`.
    pub fn write_consumer_create(
        &self,
        out: &mut Vec<u8>,
        reply: &[u8],
        consumer: &str,
        start: WatchStart,
    ) {
        let mut config = json!({
            "name": consumer, "deliver_policy": "last_per_subject", "ack_policy": "none",
            "max_deliver": 1, "filter_subject": self.watch, "replay_policy": "instant",
            "num_replicas": 1, "mem_storage": true, "inactive_threshold": nanos(INACTIVE),
        });
        if let WatchStart::Since(unix_ns) = start {
            config["deliver_policy"] = "by_start_time".into();
            config["opt_start_time"] = rfc_3339(unix_ns).into();
        }
        let request = json!({ "stream_name": self.stream, "config": config });
        let subject = format!("$JS.API.CONSUMER.CREATE.{}.{consumer}.{}", self.stream, self.watch);
        write_pub(out, subject, reply, request.to_string().as_bytes());
    }

    /// Deletes a consumer.
    pub fn write_consumer_delete(&self, out: &mut Vec<u8>, reply: &[u8], consumer: &str) {
        write_pub(out, format!("$JS.API.CONSUMER.DELETE.{}.{consumer}", self.stream), reply, b"");
    }

    /// Asks a consumer to deliver up to `batch` messages to `reply` within `expires`, and a heartbeat after each `heartbeat`
    /// without one.
    pub fn write_next(
        &self,
        out: &mut Vec<u8>,
        reply: &[u8],
        consumer: &str,
        batch: u32,
        expires: Duration,
        heartbeat: Duration,
    ) {
        let (expires, heartbeat) = (nanos(expires), nanos(heartbeat));
        let request = json!({ "batch": batch, "expires": expires, "idle_heartbeat": heartbeat });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.stream);
        write_pub(out, subject, reply, request.to_string().as_bytes());
    }

    /// Asks the leader for the last message of `key`; the answer is a [`LeaderMessage`](super::LeaderMessage).
    pub fn write_leader_get(&self, out: &mut Vec<u8>, reply: &[u8], key: &[u8]) {
        let subject = [self.prefix(), key].concat();
        let request = json!({ "last_by_subj": String::from_utf8_lossy(&subject) });
        let api = format!("$JS.API.STREAM.MSG.GET.{}", self.stream);
        write_pub(out, api, reply, request.to_string().as_bytes());
    }
}

/// A duration as JetStream's JSON has it.
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const REPLY: &[u8] = b"_INBOX.7Xk.41";

    fn herd() -> Bucket {
        Bucket::new("herd").unwrap()
    }

    /// The subject and the JSON of the request that `write` writes.
    fn request(write: impl FnOnce(&Bucket, &mut Vec<u8>)) -> (String, Value) {
        let mut out = b"before".to_vec();
        write(&herd(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, payload) = text.strip_prefix("beforePUB ").unwrap().split_once("\r\n").unwrap();
        let payload = payload.strip_suffix("\r\n").unwrap();
        let [subject, reply, size] = head.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{head}")
        };
        assert_eq!((reply, size.parse()), ("_INBOX.7Xk.41", Ok(payload.len())));
        (subject.to_owned(), serde_json::from_str(payload).unwrap_or_default())
    }

    #[test]
    fn the_name_of_a_bucket_is_one_token() {
        let bucket = herd();
        assert_eq!((bucket.name(), bucket.stream()), ("herd", "KV_herd"));
        let long = "a".repeat(65);
        assert!(Bucket::new(&long[1..]).is_some() && Bucket::new("A_b-9").is_some());
        for name in ["", "a.b", "a b", "a*", ">", "é", "a\r\n", &long] {
            assert_eq!(Bucket::new(name), None, "{name}");
        }
    }

    #[test]
    fn the_key_is_the_rest_of_the_subject() {
        for (subject, key) in [
            ("$KV.herd.kiwi.cs", Some("kiwi.cs")),
            ("$KV.herd.", None),
            ("$KV.herd", None),
            ("$KV.herd2.kiwi", None),
            ("_INBOX.a", None),
        ] {
            assert_eq!(herd().key_of(subject.as_bytes()), key.map(str::as_bytes), "{subject}");
        }
    }

    #[test]
    fn a_put_is_conditional_to_the_byte() {
        let line = [b'x'; 82];
        let mut out = b"PING\r\n".to_vec();
        herd().write_put(&mut out, b"kiwi.cs.ucla.edu", REPLY, 7, &line);
        let mut expected = b"PING\r\nHPUB $KV.herd.kiwi.cs.ucla.edu _INBOX.7Xk.41 52 134\r\n\
            NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 7\r\n\r\n"
            .to_vec();
        expected.extend_from_slice(&line);
        expected.extend_from_slice(b"\r\n");
        assert_eq!(out, expected);
    }

    #[test]
    fn a_marker_is_a_put_with_a_header_more_and_nothing_else() {
        let mut out = Vec::new();
        herd().write_marker(&mut out, CHECK_KEY, b"r", 12);
        let expected = "HPUB $KV.herd.=_check r 72 72\r\nNATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 12\r\n\
                        KV-Operation: DEL\r\n\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(!super::super::read_key(CHECK_KEY, &mut Vec::new()));
    }

    #[test]
    fn the_sizes_of_a_put_count_every_digit() {
        for expected in [0, 1, 9, 10, 99, 100, u64::MAX] {
            let mut out = Vec::new();
            herd().write_put(&mut out, b"k", b"r", expected, b"AT");
            let header =
                format!("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {expected}\r\n\r\n");
            let (size, total) = (header.len(), header.len() + 2);
            let text = format!("HPUB $KV.herd.k r {size} {total}\r\n{header}AT\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn a_bucket_is_made_as_the_stock_tools_make_it() {
        let stock = |replicas, storage, max_age: u64, duplicates: u64| {
            let text = format!(
                r#"{{"name":"KV_herd","subjects":["$KV.herd.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,
                "max_bytes":-1,"max_age":{max_age},"max_msgs_per_subject":1,"max_msg_size":-1,"discard":"new",
                "storage":"{storage}","num_replicas":{replicas},"duplicate_window":{duplicates},
                "allow_rollup_hdrs":true,"deny_delete":true,"allow_direct":true}}"#
            );
            serde_json::from_str::<Value>(&text).unwrap()
        };
        for (replicas, storage, max_age, expected) in [
            (1, Storage::File, None, stock(1, "file", 0, 120_000_000_000)),
            (
                3,
                Storage::Memory,
                Some(3_600),
                stock(3, "memory", 3_600_000_000_000, 120_000_000_000),
            ),
            // A server refuses a window that is longer than the age.
            (1, Storage::File, Some(60), stock(1, "file", 60_000_000_000, 60_000_000_000)),
        ] {
            let options =
                BucketOptions { replicas, storage, max_age: max_age.map(Duration::from_secs) };
            let (subject, config) =
                request(|herd, out| herd.write_stream_create(out, REPLY, &options));
            assert_eq!((&*subject, config), ("$JS.API.STREAM.CREATE.KV_herd", expected));
        }
    }

    #[test]
    fn a_consumer_reads_all_or_begins_at_a_time() {
        let consumer = |start| {
            request(|herd, out| herd.write_consumer_create(out, REPLY, "Alford-5f3a-1", start))
        };
        let (subject, all) = consumer(WatchStart::LastPerSubject);
        assert_eq!(subject, "$JS.API.CONSUMER.CREATE.KV_herd.Alford-5f3a-1.$KV.herd.>");
        let expected = json!({"stream_name": "KV_herd", "config": {
            "name": "Alford-5f3a-1", "deliver_policy": "last_per_subject", "ack_policy": "none", "max_deliver": 1,
            "filter_subject": "$KV.herd.>", "replay_policy": "instant", "num_replicas": 1, "mem_storage": true,
            "inactive_threshold": 120_000_000_000_u64,
        }});
        assert_eq!(all, expected);
        let (_, since) = consumer(WatchStart::Since(1_795_342_599_123_456_789));
        assert_eq!(since["config"]["deliver_policy"], "by_start_time");
        assert_eq!(since["config"]["opt_start_time"], "2026-11-22T10:16:39.123456Z");
    }

    #[test]
    fn the_other_requests_have_their_subjects_and_members() {
        let (subject, none) = request(|herd, out| herd.write_stream_info(out, REPLY));
        assert_eq!((&*subject, none), ("$JS.API.STREAM.INFO.KV_herd", Value::Null));
        let (subject, none) = request(|herd, out| herd.write_consumer_delete(out, REPLY, "c-1"));
        assert_eq!((&*subject, none), ("$JS.API.CONSUMER.DELETE.KV_herd.c-1", Value::Null));
        let seconds = Duration::from_secs;
        let (subject, next) =
            request(|herd, out| herd.write_next(out, REPLY, "c-1", 1_000, seconds(30), seconds(5)));
        assert_eq!(subject, "$JS.API.CONSUMER.MSG.NEXT.KV_herd.c-1");
        let expected = json!({"batch": 1_000, "expires": 30_000_000_000_u64, "idle_heartbeat": 5_000_000_000_u64});
        assert_eq!(next, expected);
        let (subject, get) = request(|herd, out| herd.write_leader_get(out, REPLY, b"kiwi=2A"));
        assert_eq!(subject, "$JS.API.STREAM.MSG.GET.KV_herd");
        assert_eq!(get, json!({"last_by_subj": "$KV.herd.kiwi=2A"}));
    }
}
