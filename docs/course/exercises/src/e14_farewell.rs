//! Exercise 14 (chapter 8, 2 points): a shutdown that finishes the work and says goodbye.
//!
//! Each line `work` is a job, and gets the answer `done` after `JOB`. When the reactor is to stop, it calls
//! `shutting_down` of every protocol, and waits some seconds for the connections to end. By default a connection
//! ends at once, so this server forgets the jobs that it has accepted.
//!
//! The promises:
//!
//! * On shutdown, an idle connection gets `bye`, and ends.
//! * A connection with jobs gets their answers first, then `bye`, and ends.
//! * A line that arrives after the shutdown began gets `closing`, and is no job.
//! * The reactor stops as soon as the last job is done.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Flow, TimerId};
use std::time::Duration;

/// How long a job takes.
pub const JOB: Duration = Duration::from_millis(500);

/// Does the jobs of a client.
#[derive(Default)]
pub struct Worker;

impl LineProtocol<()> for Worker {
    fn line_received(&mut self, cx: &mut Context<'_, ()>, line: &[u8]) -> Flow<Mode> {
        if line == b"work" {
            cx.timer_later(JOB);
        }
        Ok(Mode::Lines)
    }

    /// A job is done.
    fn timer(&mut self, cx: &mut Context<'_, ()>, _timer: TimerId) -> Flow {
        cx.write(b"done\n");
        Ok(())
    }
}
