//! Exercise 18 (chapter 10, 3 points): the frames of WebSocket (RFC 6455, section 5), after the handshake.
//!
//! ```text
//! 1 byte    FIN 0x80, three reserved bits 0x70, the opcode 0x0f
//! 1 byte    MASK 0x80, the length: 0 to 125; or 126 or 127, if the length follows
//! 2 or 8    the length, if it follows (big-endian)
//! 4 bytes   the mask, if MASK is set
//! ..        the payload; with a mask, byte i is XORed with byte i mod 4 of the mask
//! ```
//!
//! Opcodes: 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong. A client masks its frames, and a server does
//! not. Write a server that echoes. This one knows no frames.
//!
//! The promises:
//!
//! * A frame of data (0, 1, 2) comes back with the same first byte and payload.
//! * A ping gets a pong with its payload, also between the frames of one message.
//! * A pong is ignored.
//! * A close frame gets a close frame with its payload, and the connection ends.
//! * An error gets a close frame whose payload is a code of two bytes, and the connection ends: 1009 for more than
//!   `PAYLOAD_BYTES` bytes of data; 1002 for a frame without a mask, a reserved bit, another opcode, or a frame of
//!   opcode 8 to 10 that lacks FIN or has a length over 125.
//! * Each chunking gets the same answers.

use herd_reactor::{Context, Flow, Protocol};

/// The longest payload of a frame.
pub const PAYLOAD_BYTES: usize = 1_000;

/// Echoes frames, and answers pings.
#[derive(Default)]
pub struct WebSocket;

impl Protocol<()> for WebSocket {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        cx.write(data);
        Ok(())
    }
}
