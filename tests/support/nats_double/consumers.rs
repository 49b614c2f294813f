//! Pull consumers: their position in a stream, and the requests that wait for messages.

use super::streams::{Message, Stream};
use super::subjects;
use herd_reactor::{Moment, UnixNanos};
use std::collections::VecDeque;
use std::time::Duration;

/// One consumer, in the memory of one node.
#[derive(Debug)]
pub struct Consumer {
    pub name: String,
    pub filter: String,
    /// Its configuration as the client has sent it, to compare it with a second one.
    pub config: serde_json::Value,
    pub created: UnixNanos,
    /// The node in whose memory it is.
    pub node: usize,
    /// The stream sequence before which all is delivered.
    pub cursor: u64,
    /// The number of deliveries: the sequence of the last one.
    pub delivered: u64,
    /// The stream sequence of the last delivery, or the one before the first.
    pub last_stream: u64,
    /// The messages that are still to be delivered, as the server counts them.
    pub pending: u64,
    /// It goes on counting a message that was replaced before its delivery, as 2.9.10 does where not the last of each key
    /// was asked for. So its number never is 0 again.
    pub counts_replaced: bool,
    pub waiting: VecDeque<Waiting>,
    /// It is deleted when no request has come, or waits, for this time.
    pub inactive_threshold: Duration,
    pub last_active: Moment,
    /// The next delivery gets lost on its way.
    pub loses_next: bool,
}

/// A request for messages.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub id: u64,
    pub reply: Vec<u8>,
    /// How many messages it still wants.
    pub left: u64,
    pub heartbeat: Option<Duration>,
    /// When it last got something.
    pub active: Moment,
}

/// A message on its way to a request.
#[derive(Debug)]
pub struct Delivery {
    /// The inbox of the request.
    pub to: Vec<u8>,
    /// `$JS.ACK...`.
    pub reply: String,
    pub message: Message,
}

impl Consumer {
    pub fn wants(&self, subject: &[u8]) -> bool {
        self.filter.is_empty() || subjects::matches(self.filter.as_bytes(), subject)
    }

    pub fn request(&mut self, id: u64) -> Option<&mut Waiting> {
        self.waiting.iter_mut().find(|its| its.id == id)
    }

    pub fn take_request(&mut self, id: u64) -> Option<Waiting> {
        let at = self.waiting.iter().position(|its| its.id == id)?;
        self.waiting.remove(at)
    }
}

impl Stream {
    /// Takes the next message of the consumer `name`, if a request waits for one. Requests that `hears` does not
    /// know are dropped.
    pub fn next_delivery(
        &mut self,
        name: &str,
        now: Moment,
        hears: impl Fn(&[u8]) -> bool,
    ) -> Option<Delivery> {
        let consumer = self.consumers.get_mut(name)?;
        consumer.waiting.retain(|request| hears(&request.reply));
        let request = consumer.waiting.front_mut()?;
        let mut behind = self.messages.range(consumer.cursor + 1..);
        let (filter, cursor) = (consumer.filter.as_bytes(), &mut consumer.cursor);
        let found =
            behind.find(|(_, its)| filter.is_empty() || subjects::matches(filter, &its.subject));
        let Some((&sequence, message)) = found else {
            debug_assert!(consumer.pending == 0 || consumer.counts_replaced, "{name}");
            return None;
        };
        *cursor = sequence;
        consumer.pending -= 1;
        consumer.delivered += 1;
        consumer.last_stream = sequence;
        consumer.last_active = now;
        request.active = now;
        request.left -= 1;
        let to = request.reply.clone();
        if request.left == 0 {
            consumer.waiting.pop_front();
        }
        let (delivered, time, pending) = (consumer.delivered, message.time.0, consumer.pending);
        let stream = &self.config.name;
        let reply = format!("$JS.ACK.{stream}.{name}.1.{sequence}.{delivered}.{time}.{pending}");
        Some(Delivery { to, reply, message: message.clone() })
    }
}
