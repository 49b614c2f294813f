//! Exercise 5 (chapter 3, 3 points): a port whose lines are answered before all others.
//!
//! A server has two ports: one for everybody, and an express port for its operator. Each line is answered by `done`
//! and the line. An answer is expensive, so a turn may give at most `BATCH` of them. This server answers each line
//! when it arrives. So one client with a thousand lines takes all the time that there is, and the operator waits.
//!
//! Let lines wait in the shared state, and answer them in `before_poll`.
//!
//! The promises:
//!
//! * A turn gives at most `BATCH` answers.
//! * Lines of the express port are answered first, and all other lines in the order in which they arrived.
//! * No line is lost, and the loop does not sleep while a line waits.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Flow, Shared};

/// The most answers in one turn.
pub const BATCH: usize = 10;

/// The shared state.
#[derive(Default)]
pub struct Desk;

impl Shared for Desk {
    type Message = ();
}

/// The protocol of a connection of either port.
pub struct Clerk {
    /// The connection came to the express port.
    pub is_express: bool,
}

impl LineProtocol<Desk> for Clerk {
    fn line_received(&mut self, cx: &mut Context<'_, Desk>, line: &[u8]) -> Flow<Mode> {
        cx.write(&[b"done ", line, b"\n"].concat());
        Ok(Mode::Lines)
    }
}
