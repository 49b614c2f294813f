//! The watch of the bus: a pull consumer of the bucket's stream, which delivers what the bucket has and then its news.
//!
//! In: the messages and statuses of one consumer. Out: the requests for more, and whether the consumer must be replaced by
//! a new one. It knows neither what a message says nor the connection.
//!
//! A consumer has a name of its own and lives in one node's memory. After a gap, silence or a word that it is gone, the
//! watch begins anew with another consumer. Sequences are not safe to resume from, because a stream made anew begins at
//! 1; so the new consumer begins at a time, some minutes before the last message.
//!
//! Source: docs/protocol.md "The bus".

use crate::nats::{AckSubject, Bucket, Delivery, StreamState, WatchStart, write_sub, write_unsub};
use herd_reactor::Moment;
use std::time::Duration;

/// Messages that one request asks for. Another request follows when fewer than half of them are to come.
const BATCH: u32 = 1_000;

/// How long a request waits for news.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the consumer says that it is there while it has no news.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The silence after which a consumer is taken to be gone: 2.5 heartbeats.
const SILENCE: Duration = Duration::from_millis(12_500);

/// How far before the last message a new consumer begins. A server that loses its power may lose the last two minutes of
/// what it stored; the rest is for clocks that differ.
const MARGIN: Duration = Duration::from_secs(300);

/// How far this server has followed the stream.
#[derive(Clone, Debug, Default)]
pub struct WatchPosition {
    /// When the stream was made, as its server writes it; empty before the first connection.
    pub created: String,
    /// The highest sequence that was seen.
    pub last_sequence: u64,
    /// When the last message was stored, by the server's clock, in nanoseconds since 1970.
    pub last_time: u64,
}

impl WatchPosition {
    /// Adopts what the server says of the stream. `asked_at`: the highest sequence that was seen when it was asked, because
    /// messages may overtake its answer. Returns where the next watch begins.
    pub(crate) fn resume(&mut self, state: &StreamState, asked_at: u64) -> WatchStart {
        if !self.is_of(state, asked_at) || self.last_time == 0 {
            *self = WatchPosition { created: state.created.clone(), ..WatchPosition::default() };
            return WatchStart::LastPerSubject;
        }
        WatchStart::Since(self.last_time.saturating_sub(MARGIN.as_nanos() as u64))
    }

    /// Whether the stream is the one that was watched, and has not gone back.
    pub(crate) fn is_of(&self, state: &StreamState, asked_at: u64) -> bool {
        self.created == state.created && state.last_sequence >= asked_at
    }

    /// The next watch reads everything.
    pub(crate) fn forget(&mut self) {
        *self = WatchPosition::default();
    }
}

/// One consumer of the stream.
#[derive(Debug)]
pub struct Watch {
    /// The id of its subscription, which no other watch of the connection has.
    pub(crate) sid: u64,
    consumer: String,
    inbox: Vec<u8>,
    /// Messages that it has delivered.
    delivered: u64,
    /// Messages that were asked for and are to come.
    wanted: u32,
    heard: Moment,
}

impl Watch {
    /// Makes a consumer with the unique name `consumer`, whose messages come by the subscription `sid`. `inbox`: the
    /// beginning of the subjects of answers; the answer to its creation comes to `reply`.
    pub(crate) fn open(
        now: Moment,
        bucket: &Bucket,
        (sid, consumer): (u64, String),
        inbox: &[u8],
        reply: &[u8],
        start: WatchStart,
        out: &mut Vec<u8>,
    ) -> Watch {
        // Two tokens, so that the subscription of all answers, `*`, does not get its messages, too.
        let inbox = [inbox, b"w.", sid.to_string().as_bytes()].concat();
        write_sub(out, &String::from_utf8_lossy(&inbox), sid);
        bucket.write_consumer_create(out, reply, &consumer, start);
        Watch { sid, consumer, inbox, delivered: 0, wanted: 0, heard: now }
    }

    /// Ends the consumer.
    pub(crate) fn close(self, bucket: &Bucket, out: &mut Vec<u8>) {
        write_unsub(out, self.sid);
        bucket.write_consumer_delete(out, b"", &self.consumer);
    }

    /// Asks for messages, if few are to come.
    pub(crate) fn ask(&mut self, bucket: &Bucket, out: &mut Vec<u8>) {
        if self.wanted < BATCH / 2 {
            self.wanted += BATCH;
            bucket.write_next(out, &self.inbox, &self.consumer, BATCH, EXPIRES, HEARTBEAT);
        }
    }

    /// Notes a message. Returns false if one before it is lacking.
    pub(crate) fn delivered(
        &mut self,
        now: Moment,
        ack: &AckSubject,
        to: &mut WatchPosition,
    ) -> bool {
        self.heard = now;
        self.wanted = self.wanted.saturating_sub(1);
        self.delivered += 1;
        to.last_sequence = to.last_sequence.max(ack.stream_sequence);
        to.last_time = to.last_time.max(ack.time);
        self.delivered == ack.consumer_sequence
    }

    /// Handles a status. An error is why a new consumer is needed.
    pub(crate) fn status(
        &mut self,
        now: Moment,
        status: u16,
        delivery: &Delivery<'_>,
    ) -> Result<(), &'static str> {
        self.heard = now;
        let number = |name| {
            let text = delivery.headers.get(name).and_then(|text| str::from_utf8(text).ok())?;
            text.parse::<u64>().ok()
        };
        match status {
            100 if number("Nats-Last-Consumer").is_some_and(|last| last != self.delivered) => {
                Err("a message is lacking")
            }
            100 => Ok(()),
            404 | 408 => {
                // The rest of that request does not come.
                let rest = number("Nats-Pending-Messages").unwrap_or(self.wanted.into());
                self.wanted -= (rest.min(self.wanted.into())) as u32;
                Ok(())
            }
            409 => Err("the server has ended it"),
            503 => Err("it is gone"),
            _ => Err("it sent an unknown status"),
        }
    }

    /// Whether it has been silent for too long.
    pub(crate) fn is_silent(&self, now: Moment) -> bool {
        now - self.heard >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(created: &str, last_sequence: u64) -> StreamState {
        let created = created.to_owned();
        StreamState { created, last_sequence, messages: 0, replicas: 1 }
    }

    #[test]
    fn a_watch_resumes_by_time_and_reads_all_of_a_stream_that_went_back() {
        let mut position = WatchPosition::default();
        assert_eq!(position.resume(&state("monday", 7), 0), WatchStart::LastPerSubject);
        (position.last_sequence, position.last_time) = (9, 1_000_000_000_000);
        assert_eq!(position.resume(&state("monday", 9), 9), WatchStart::Since(700_000_000_000));
        assert_eq!(position.resume(&state("monday", 8), 9), WatchStart::LastPerSubject);
        assert_eq!((position.last_sequence, position.last_time), (0, 0));
        (position.last_sequence, position.last_time) = (9, 1);
        assert_eq!(position.resume(&state("tuesday", 9), 9), WatchStart::LastPerSubject);
        assert_eq!(position.created, "tuesday");
    }
}
