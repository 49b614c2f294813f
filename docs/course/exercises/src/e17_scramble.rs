//! Exercise 17 (chapter 10, 3 points): a filter between the wire and any protocol.
//!
//! TLS is a protocol inside a protocol: it changes the bytes in both directions, and the protocol above it does not
//! know. This filter has the same shape and a childish cipher. The client's first `KEY_BYTES` bytes are the key.
//! After them, byte number i of each direction, counted from 0, is XORed with byte i mod `KEY_BYTES` of the key.
//! This filter changes nothing.
//!
//! The promises:
//!
//! * The protocol above gets plain bytes, and never the key.
//! * Whatever anybody writes to the connection is sent as cipher, also when another connection or a timer writes it.
//! * What is written before the key is known waits for it, and follows it at once.
//! * A connection that is closed before its key is known ends at once, and sends nothing.

use herd_reactor::{CloseReason, Context, Flow, Protocol, Shared, TimerId};

/// The length of the key.
pub const KEY_BYTES: usize = 4;

/// Scrambles what `P` sends and receives.
pub struct Scramble<P> {
    inner: P,
}

impl<P> Scramble<P> {
    /// Puts the filter around a protocol.
    pub fn new(inner: P) -> Scramble<P> {
        Scramble { inner }
    }
}

impl<S: Shared, P: Protocol<S>> Protocol<S> for Scramble<P> {
    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.inner.data_received(cx, data)
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
