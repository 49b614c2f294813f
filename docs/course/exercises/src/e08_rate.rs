//! Exercise 8 (chapter 5, 2 points): a rate limiter for each connection, without a timer.
//!
//! A client may send one line per `INTERVAL` in the long run, and up to `BURST` lines at once after a pause. Each
//! line within the limit is answered by `ok`, and each other line by `slow down`. This server lets everything
//! through.
//!
//! Write `Limiter::allow`. It gets the present time; it needs no timer, and no list of the last lines.
//!
//! The promises:
//!
//! * After a long pause exactly `BURST` lines are allowed at once.
//! * A line every `INTERVAL` is allowed for ever.
//! * Lines that are not allowed cost nothing: a client that sends too fast still gets its rate.
//! * Connections do not share a limit.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Flow, Moment};
use std::time::Duration;

/// One line per this time is allowed in the long run.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// How many lines are allowed at once.
pub const BURST: u32 = 5;

/// Allows `BURST` lines at once, and one per `INTERVAL` in the long run.
#[derive(Default)]
pub struct Limiter;

impl Limiter {
    /// Whether a line is allowed at the time `now`. Time never goes back.
    pub fn allow(&mut self, _now: Moment) -> bool {
        true
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
