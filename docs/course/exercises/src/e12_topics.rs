//! Exercise 12 (chapter 7, 3 points): publish and subscribe; a slow subscriber loses messages.
//!
//! A client subscribes by the line `SUB topic`, and publishes by `PUB topic text`. Each subscriber of the topic gets
//! the line `MSG topic text`. In exercise 11 the slowest reader sets the pace. Here it must not: the publishers of a
//! thousand topics cannot wait for one subscriber that sleeps.
//!
//! The promises:
//!
//! * No more than `LIMIT` bytes of messages wait for a subscriber (and one line `LOST`).
//! * A message that would exceed this is dropped for this subscriber, and counted.
//! * Before the next message that it gets, it gets the line `LOST n`: n messages were dropped in between.
//! * Nobody else loses anything, and messages arrive in order.
//! * A subscriber that is gone leaves nothing behind.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{CloseReason, ConnId, Context, Flow, Shared};
use std::collections::{BTreeMap, BTreeSet};

/// The most bytes that may wait for a subscriber.
pub const LIMIT: usize = 131_072;

/// The shared state.
#[derive(Default)]
pub struct Topics {
    /// The subscribers of each topic.
    pub subscribers: BTreeMap<Vec<u8>, BTreeSet<ConnId>>,
    /// How many messages each subscriber has lost since its last message.
    pub lost: BTreeMap<ConnId, u64>,
}

impl Shared for Topics {
    type Message = ();
}

/// The protocol of a client.
pub struct Visitor;

impl LineProtocol<Topics> for Visitor {
    fn line_received(&mut self, cx: &mut Context<'_, Topics>, line: &[u8]) -> Flow<Mode> {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(b"SUB"), Some(topic), None) => {
                cx.state.subscribers.entry(topic.to_vec()).or_default().insert(cx.id);
            }
            (Some(b"PUB"), Some(topic), Some(_text)) => {
                let message = [b"MSG", &line[3..], b"\n"].concat();
                for id in cx.state.subscribers.get(topic).into_iter().flatten() {
                    cx.core.write(*id, &message);
                }
            }
            _ => return Err("the line is neither SUB nor PUB".into()),
        }
        Ok(Mode::Lines)
    }

    fn connection_lost(&mut self, _cx: &mut Context<'_, Topics>, _why: &CloseReason) {}
}
