//! Exercise 10 (chapter 6, 2 points): a parser of netstrings.
//!
//! A netstring is a length in decimal, a colon, as many bytes, and a comma: `5:hello,`. The length tells the
//! receiver what to expect, so the bytes may be any. Write a protocol that sends each netstring back as a netstring.
//! This one takes each chunk for exactly one netstring.
//!
//! The promises:
//!
//! * The answers are the same for every chunking.
//! * The length is at most `PAYLOAD_BYTES`, and has no leading zero (but `0:,` is right).
//! * Anything else is an error: `data_received` returns `Err` as soon as the wrong byte has arrived, and does not
//!   wait for a payload that is too long.
//! * Netstrings before the error have been answered.

use herd_reactor::{Context, Flow, Protocol};

/// The longest payload.
pub const PAYLOAD_BYTES: usize = 1_000;

/// Sends each netstring back.
#[derive(Default)]
pub struct Netstrings;

impl Protocol<()> for Netstrings {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(data);
        Ok(())
    }
}
