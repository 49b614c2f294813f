//! A solution of exercise 13.

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

    fn read_connection_lost(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        cx.timer_later(THOUGHT);
        Ok(())
    }

    /// A timer of this connection is due: the answer is ready.
    fn timer(&mut self, cx: &mut Context<'_, ()>, _timer: TimerId) -> Flow {
        cx.write(format!("{} {}\n", self.lines, self.bytes).as_bytes());
        cx.lose_connection();
        Ok(())
    }
}
