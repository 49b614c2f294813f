//! A solution of exercise 8.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Flow, Moment};
use std::time::Duration;

/// One line per this time is allowed in the long run.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// How many lines are allowed at once.
pub const BURST: u32 = 5;

/// Allows `BURST` lines at once, and one per `INTERVAL` in the long run: the generic cell rate algorithm.
#[derive(Default)]
pub struct Limiter {
    /// When the next line would be due if all allowed lines had come at the long-run rate.
    due: Moment,
}

impl Limiter {
    /// Whether a line is allowed at the time `now`. Time never goes back.
    pub fn allow(&mut self, now: Moment) -> bool {
        let due = self.due.max(now);
        let is_allowed = due - now <= INTERVAL * (BURST - 1);
        if is_allowed {
            self.due = due + INTERVAL;
        }
        is_allowed
    }
}

/// Answers each line by `ok` or `slow down`.
#[derive(Default)]
pub struct Limited {
    limiter: Limiter,
}

impl LineProtocol<()> for Limited {
    fn line_received(&mut self, cx: &mut Context<'_, ()>, _line: &[u8]) -> Flow<Mode> {
        let answer = if self.limiter.allow(cx.now()) { "ok\n" } else { "slow down\n" };
        cx.write(answer.as_bytes());
        Ok(Mode::Lines)
    }
}
