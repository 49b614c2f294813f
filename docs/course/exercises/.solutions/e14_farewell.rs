//! A solution of exercise 14.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Flow, TimerId};
use std::time::Duration;

/// How long a job takes.
pub const JOB: Duration = Duration::from_millis(500);

/// Does the jobs of a client.
#[derive(Default)]
pub struct Worker {
    jobs: usize,
    is_closing: bool,
}

impl Worker {
    /// Ends the connection if it is to end and no job is left.
    fn leave(&self, cx: &mut Context<'_, ()>) {
        if self.is_closing && self.jobs == 0 {
            cx.write(b"bye\n");
            cx.lose_connection();
        }
    }
}

impl LineProtocol<()> for Worker {
    fn line_received(&mut self, cx: &mut Context<'_, ()>, line: &[u8]) -> Flow<Mode> {
        if self.is_closing {
            cx.write(b"closing\n");
        } else if line == b"work" {
            self.jobs += 1;
            cx.timer_later(JOB);
        }
        Ok(Mode::Lines)
    }

    /// A job is done.
    fn timer(&mut self, cx: &mut Context<'_, ()>, _timer: TimerId) -> Flow {
        self.jobs -= 1;
        cx.write(b"done\n");
        self.leave(cx);
        Ok(())
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        self.is_closing = true;
        self.leave(cx);
        Ok(())
    }
}
