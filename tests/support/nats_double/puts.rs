//! The way of a put: the check of its sequence, the time until it is stored, its ack, and all that may go wrong.
//!
//! ```text
//!   put ──▶ silence, 503, a false conflict
//!    └──▶ check ──▶ conflict
//!           └──▶ in flight ──commit──▶ stored ──▶ ack, late or never
//!                (10164 to others)         └──▶ deliveries
//! ```

use super::Manner;
use super::reader::field;
use super::streams::Message;
use super::world::{Due, Quorum, Reply, World};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

/// A put on its way.
#[derive(Clone, Debug)]
pub struct Put {
    stream: String,
    reply: Vec<u8>,
    subject: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
    /// `None`: an unreadable number, which never matches.
    expected: Option<u64>,
    /// It has no expected sequence, and the double takes it.
    is_unconditional: bool,
}

impl World {
    /// Takes a message that a stream may store. Returns whether there is one.
    pub(super) fn put(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        headers: Vec<u8>,
        payload: Vec<u8>,
    ) -> bool {
        let Some(stream) = self.streams.storing(subject) else { return false };
        let (name, max) = (stream.config.name.clone(), stream.config.max_msg_size);
        self.counters.puts += 1;
        let (subject, reply) = (subject.to_vec(), reply.to_vec());
        let expected = field(&headers, EXPECTED).map(str::parse);
        let is_conditional = expected.is_some() || self.takes_unconditional;
        let is_unconditional = expected.is_none();
        let expected = expected.and_then(Result::ok);
        let size = headers.len() + payload.len();
        let put =
            Put { stream: name, reply, subject, headers, payload, expected, is_unconditional };
        if !is_conditional {
            self.counters.unconditional += 1;
            self.counters.faults.push("an unconditional put".to_owned());
            self.refuse_put(&put, 10003, "the double refuses unconditional puts");
        } else if max >= 0 && size > max as usize {
            self.refuse_put(&put, 10054, "message size exceeds maximum allowed");
        } else {
            self.meet_faults(put);
        }
        true
    }

    fn meet_faults(&mut self, put: Put) {
        let quorum = self.quorum();
        if self.troubles.is_disk_full {
            // Nothing is said.
        } else if quorum == Quorum::Lost {
            self.held_puts.push(put);
        } else if quorum == Quorum::LongLost
            || self.troubles.unavailable_until > self.now
            || self.happens(self.faults.unavailable_puts)
        {
            let headers = self.unavailable(&put.subject);
            self.reply(Reply { to: put.reply, headers, payload: Vec::new(), is_internal: true });
        } else if self.happens(self.faults.lost_puts) {
            // Nothing is said.
        } else if self.happens(self.faults.late_puts) {
            let delay = self.duration(&self.faults.late_by.clone());
            self.call_later(delay, Due::LatePut(put));
        } else if self.happens(self.faults.false_conflicts) {
            let is_unnamed = self.is_replicated(&put) && self.dice_says_yes();
            self.refuse_conflict(&put, is_unnamed);
        } else {
            self.check(put);
        }
    }

    fn is_replicated(&self, put: &Put) -> bool {
        let replicas = self.streams.get(&put.stream).map_or(1, |stream| stream.config.replicas);
        replicas > 1 && self.settings.manner == Manner::V2_15
    }

    fn dice_says_yes(&mut self) -> bool {
        self.dice.percent(50)
    }

    /// Whether the sequence of `put` is right now.
    fn is_right(&self, put: &Put) -> bool {
        let stream = self.streams.get(&put.stream);
        put.is_unconditional && stream.is_some()
            || stream.is_some_and(|stream| put.expected == Some(stream.sequence_of(&put.subject)))
    }

    fn check(&mut self, put: Put) {
        if self.in_flight.contains(&put.subject) {
            let is_unnamed = self.settings.manner == Manner::V2_15;
            return self.refuse_conflict(&put, is_unnamed);
        }
        if !self.is_right(&put) {
            return self.refuse_conflict(&put, false);
        }
        let commit = self.duration(&self.faults.commit.clone());
        if commit.is_zero() {
            return self.store(put, true);
        }
        self.in_flight.insert(put.subject.clone());
        self.call_later(commit, Due::Commit(put));
    }

    /// The time of a put in flight is over.
    pub(super) fn commit(&mut self, put: Put) {
        // After a restart it is forgotten.
        if self.in_flight.remove(&put.subject) && self.is_right(&put) {
            self.store(put, true);
        }
    }

    /// Stores a put long after it came, if its sequence is still right.
    pub(super) fn store_late(&mut self, put: Put) {
        let is_answered = self.dice_says_yes();
        if self.is_right(&put) && !self.in_flight.contains(&put.subject) {
            self.store(put, is_answered);
        } else if is_answered {
            self.refuse_conflict(&put, false);
        }
    }

    fn store(&mut self, put: Put, is_answered: bool) {
        let Put { stream: name, reply, subject, headers, payload, .. } = put;
        let Some(stream) = self.streams.get_mut(&name) else { return };
        let message = Message { subject, headers, payload, time: self.wall };
        if let Some(history) = &mut self.history {
            let before = stream.messages.get(&stream.sequence_of(&message.subject)).cloned();
            history.push((message.clone(), before));
        }
        let sequence = stream.put(message);
        self.counters.stored += 1;
        let blank = if self.settings.manner == Manner::V2_9 { " " } else { "" };
        let text = format!("{{\"stream\":\"{name}\",{blank}\"seq\":{sequence}}}");
        let ack =
            Reply { to: reply, headers: Vec::new(), payload: text.into_bytes(), is_internal: true };
        let delay = self.duration(&self.faults.ack_delay.clone());
        if is_answered && !self.happens(self.faults.lost_acks) {
            if delay.is_zero() {
                self.reply(ack);
            } else {
                self.call_later(delay, Due::Reply(ack));
            }
        }
        self.deliver(&name);
    }

    /// Refuses with 10164, which does not name the sequence, or 10071, which does.
    fn refuse_conflict(&mut self, put: &Put, is_unnamed: bool) {
        self.counters.conflicts += 1;
        let Some(stream) = self.streams.get(&put.stream) else { return };
        let sequence = stream.sequence_of(&put.subject);
        match is_unnamed {
            true => self.refuse_put(put, 10164, "wrong last sequence"),
            false => self.refuse_put(put, 10071, &format!("wrong last sequence: {sequence}")),
        }
    }

    fn refuse_put(&mut self, put: &Put, code: u32, description: &str) {
        let stream = &put.stream;
        let text = format!(
            "{{\"error\":{{\"code\":400,\"err_code\":{code},\"description\":\"{description}\"}},\
             \"stream\":\"{stream}\",\"seq\":0}}"
        );
        let (to, payload) = (put.reply.clone(), text.into_bytes());
        self.reply(Reply { to, headers: Vec::new(), payload, is_internal: true });
    }
}
