//! A solution of exercise 17.

use herd_reactor::{CloseReason, Context, Filter, Flow, Protocol, Shared, TimerId};

/// The length of the key.
pub const KEY_BYTES: usize = 4;

/// Scrambles what `P` sends and receives.
pub struct Scramble<P> {
    inner: P,
    /// The key, as far as it has arrived.
    key: Vec<u8>,
    /// How many bytes have passed in each direction.
    received: usize,
    sent: usize,
}

impl<P> Scramble<P> {
    /// Puts the filter around a protocol.
    pub fn new(inner: P) -> Scramble<P> {
        Scramble { inner, key: Vec::new(), received: 0, sent: 0 }
    }
}

impl<S: Shared, P: Protocol<S>> Protocol<S> for Scramble<P> {
    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        let missing = KEY_BYTES - self.key.len();
        let (key, data) = data.split_at(missing.min(data.len()));
        if missing > 0 {
            self.key.extend_from_slice(key);
            // What was written before can be sent now.
            cx.encode_later();
        }
        if data.is_empty() {
            return Ok(());
        }
        let mut plain = data.to_vec();
        xor(&self.key, &mut self.received, &mut plain);
        self.inner.data_received(cx, &plain)
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        Some(self)
    }

    // The other calls are passed on.

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.connection_made(cx)
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.read_connection_lost(cx)
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.resume_producing(cx)
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.inner.message(cx, message)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        self.inner.timer(cx, timer)
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.shutting_down(cx)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.inner.connection_lost(cx, why);
    }
}

impl<S: Shared, P: Protocol<S>> Filter<S> for Scramble<P> {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        if self.key.len() == KEY_BYTES {
            xor(&self.key, &mut self.sent, plain);
            wire.append(plain);
        } else if closing {
            // The key will not arrive any more.
            plain.clear();
        }
        Ok(())
    }
}

/// Changes the bytes of `data`, the first of which has the number `at`.
fn xor(key: &[u8], at: &mut usize, data: &mut [u8]) {
    for byte in data {
        *byte ^= key[*at % KEY_BYTES];
        *at += 1;
    }
}
