//! A solution of exercise 12.

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
                    let lost = cx.state.lost.entry(*id).or_default();
                    if cx.core.pending(*id) + message.len() > LIMIT {
                        *lost += 1;
                        continue;
                    }
                    match std::mem::take(lost) {
                        0 => {}
                        lost => cx.core.write(*id, format!("LOST {lost}\n").as_bytes()),
                    }
                    cx.core.write(*id, &message);
                }
            }
            _ => return Err("the line is neither SUB nor PUB".into()),
        }
        Ok(Mode::Lines)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Topics>, _why: &CloseReason) {
        cx.state.lost.remove(&cx.id);
        cx.state.subscribers.retain(|_, subscribers| {
            subscribers.remove(&cx.id);
            !subscribers.is_empty()
        });
    }
}
