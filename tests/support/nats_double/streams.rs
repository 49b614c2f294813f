//! Streams that keep the last message of each subject, as KV buckets do.

use super::consumers::Consumer;
use super::subjects;
use herd_reactor::UnixNanos;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How many puts a stream can [forget](Stream::go_back).
const UNDO_MAX: usize = 10_000;

/// All streams, by name. They outlive all connections.
#[derive(Debug, Default)]
pub struct Streams(BTreeMap<String, Stream>);

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub subject: Vec<u8>,
    /// The header block; empty if the message has none.
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
    pub time: UnixNanos,
}

impl Message {
    /// The bytes that `STREAM.INFO` counts for it.
    pub fn size(&self) -> usize {
        let headers = if self.headers.is_empty() { 0 } else { self.headers.len() + 4 };
        22 + self.subject.len() + headers + self.payload.len() + 8
    }
}

/// The configuration of a stream: what a client may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    pub name: String,
    pub subjects: Vec<String>,
    /// 0: for ever.
    pub max_age: Duration,
    /// -1: no limit.
    pub max_msg_size: i64,
    pub is_in_memory: bool,
    pub replicas: usize,
    pub allow_direct: bool,
    pub deny_delete: bool,
    pub allow_rollup: bool,
    pub discards_new: bool,
    /// In nanoseconds.
    pub duplicate_window: u64,
}

/// One stream and its consumers.
#[derive(Debug)]
pub struct Stream {
    pub config: StreamConfig,
    pub created: UnixNanos,
    /// The sequence of the last put.
    pub last: u64,
    /// When the last put was.
    pub last_time: UnixNanos,
    pub messages: BTreeMap<u64, Message>,
    pub consumers: BTreeMap<String, Consumer>,
    by_subject: BTreeMap<Vec<u8>, u64>,
    /// What each of the last puts has replaced.
    undo: VecDeque<Undo>,
}

/// A put that can be forgotten.
#[derive(Debug)]
struct Undo {
    subject: Vec<u8>,
    /// The message that it has replaced, with its sequence.
    before: Option<(u64, Message)>,
}

impl Streams {
    /// The keys and lines of a bucket, without deleted ones; empty if there is no such bucket.
    pub fn bucket(&self, bucket: &str) -> BTreeMap<String, String> {
        let prefix = format!("$KV.{bucket}.");
        let messages = self.get(&format!("KV_{bucket}")).map(|stream| stream.messages.values());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kept = messages.into_iter().flatten().filter(|message| !message.payload.is_empty());
        kept.map(|message| (text(&message.subject[prefix.len()..]), text(&message.payload)))
            .collect()
    }

    pub fn get(&self, name: &str) -> Option<&Stream> {
        self.0.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Stream> {
        self.0.get_mut(name)
    }

    pub fn insert(&mut self, stream: Stream) {
        self.0.insert(stream.config.name.clone(), stream);
    }

    pub fn remove(&mut self, name: &str) -> Option<Stream> {
        self.0.remove(name)
    }

    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.values_mut()
    }

    /// The stream that stores messages to `subject`.
    pub fn storing(&self, subject: &[u8]) -> Option<&Stream> {
        self.0.values().find(|stream| stream.stores(subject))
    }
}

impl Stream {
    pub fn new(config: StreamConfig, created: UnixNanos) -> Stream {
        Stream {
            config,
            created,
            last: 0,
            last_time: UnixNanos(0),
            messages: BTreeMap::new(),
            consumers: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            undo: VecDeque::new(),
        }
    }

    fn stores(&self, subject: &[u8]) -> bool {
        self.config.subjects.iter().any(|its| subjects::matches(its.as_bytes(), subject))
    }

    /// The sequence of the message with this subject; 0 if there is none.
    pub fn sequence_of(&self, subject: &[u8]) -> u64 {
        self.by_subject.get(subject).copied().unwrap_or(0)
    }

    /// The sequence of the first message, or that of the next one if the stream is empty.
    pub fn first(&self) -> u64 {
        let next = if self.last == 0 { 0 } else { self.last + 1 };
        self.messages.keys().next().copied().unwrap_or(next)
    }

    /// Stores a message, which replaces the last one of its subject. Returns its sequence.
    pub fn put(&mut self, message: Message) -> u64 {
        let before = self.by_subject.get(&message.subject).copied();
        let before = before.map(|sequence| (sequence, self.replace(sequence)));
        self.undo.push_back(Undo { subject: message.subject.clone(), before });
        if self.undo.len() > UNDO_MAX {
            self.undo.pop_front();
        }
        self.last += 1;
        self.last_time = message.time;
        self.insert(self.last, message);
        self.last
    }

    fn insert(&mut self, sequence: u64, message: Message) {
        self.count(sequence, &message.subject, 1);
        self.by_subject.insert(message.subject.clone(), sequence);
        self.messages.insert(sequence, message);
    }

    fn remove(&mut self, sequence: u64) -> Message {
        let message = self.messages.remove(&sequence).expect("it is stored");
        self.by_subject.remove(&message.subject);
        self.count(sequence, &message.subject, -1);
        message
    }

    fn replace(&mut self, sequence: u64) -> Message {
        let message = self.remove(sequence);
        for consumer in self.consumers.values_mut().filter(|its| its.counts_replaced) {
            consumer.pending +=
                u64::from(sequence > consumer.cursor && consumer.wants(&message.subject));
        }
        message
    }

    /// Corrects the consumers' numbers of pending messages.
    fn count(&mut self, sequence: u64, subject: &[u8], by: i64) {
        for consumer in self.consumers.values_mut() {
            if sequence > consumer.cursor && consumer.wants(subject) {
                consumer.pending = consumer.pending.saturating_add_signed(by);
            }
        }
    }

    /// Removes the messages that match `filter`. Returns how many.
    pub fn purge(&mut self, filter: &[u8]) -> usize {
        let matching =
            self.messages.iter().filter(|(_, its)| subjects::matches(filter, &its.subject));
        let matching: Vec<u64> = matching.map(|(sequence, _)| *sequence).collect();
        for sequence in &matching {
            self.remove(*sequence);
        }
        self.undo.clear();
        matching.len()
    }

    /// Removes the messages that are too old.
    pub fn expire(&mut self, wall: UnixNanos) {
        let age = self.config.max_age.as_nanos() as u64;
        while age > 0
            && let Some((sequence, first)) = self.messages.first_key_value()
            && first.time.0 + age <= wall.0
        {
            self.remove(*sequence);
        }
    }

    /// Forgets the last `puts` puts, as a server does that had not synced them: what they had replaced is back.
    pub fn go_back(&mut self, puts: u64) {
        for _ in 0..puts {
            let Some(Undo { subject, before }) = self.undo.pop_back() else { break };
            if let Some(sequence) = self.by_subject.get(&subject).copied() {
                self.remove(sequence);
            }
            if let Some((sequence, message)) = before {
                self.insert(sequence, message);
            }
            self.last -= 1;
        }
    }

    /// Gives all messages sequences that are larger by `by`, as replicas of 2.9.10 that have diverged.
    pub fn renumber(&mut self, by: u64) {
        let messages = std::mem::take(&mut self.messages);
        self.messages = messages.into_iter().map(|(its, message)| (its + by, message)).collect();
        self.by_subject.values_mut().for_each(|its| *its += by);
        self.last += by;
        self.undo.clear();
    }

    /// How many messages a consumer with this position and filter has before it.
    pub fn pending(&self, consumer: &Consumer) -> u64 {
        let behind = self.messages.range(consumer.cursor + 1..);
        behind.filter(|(_, message)| consumer.wants(&message.subject)).count() as u64
    }
}
