//! Exercise 13 (chapter 8, 1 point): a server that answers after the client's end.
//!
//! A client sends a text and ends its side; then it waits for the answer, as `printf 'text' | nc -N host port` does.
//! The answer is the number of lines (LF) and of bytes, such as `2 11`. It takes `THOUGHT` to compute. By default
//! the reactor closes a connection when the client has ended its side, so this server never answers.
//!
//! The promises:
//!
//! * The answer comes `THOUGHT` after the client's end, and then the server ends the connection.
//! * A client that goes on sending gets no answer yet.
//! * A client that is gone meanwhile harms nobody.

use herd_reactor::{Context, Flow, Protocol, TimerId};
use std::time::Duration;

/// How long the answer takes.
pub const THOUGHT: Duration = Duration::from_secs(1);

/// Counts lines and bytes.
#[derive(Default)]
pub struct WordCount {
    lines: usize,
    bytes: usize,
}

impl Protocol<()> for WordCount {
    fn data_received(&mut self, _cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        self.lines += data.iter().filter(|byte| **byte == b'\n').count();
        self.bytes += data.len();
        Ok(())
    }

    /// A timer of this connection is due: the answer is ready.
    fn timer(&mut self, cx: &mut Context<'_, ()>, _timer: TimerId) -> Flow {
        cx.write(format!("{} {}\n", self.lines, self.bytes).as_bytes());
        Ok(())
    }
}
