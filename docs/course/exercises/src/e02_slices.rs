//! Exercise 2 (chapter 1, 3 points): a long job in slices, so that other clients are served meanwhile.
//!
//! A client sends a number n in a line; the answer is the sum of the numbers from 1 to n, in a line. The sum is
//! computed step by step, so it stands for any long computation. This server computes it in one call. That is right
//! for one client, but all others wait: there is only one thread.
//!
//! Compute at most `SLICE` steps of a job in one turn, and go on in the next turn.
//!
//! The promises:
//!
//! * While a long job runs, a short job of another client is answered.
//! * No turn takes more than `SLICE` steps of one job.
//! * The loop does not sleep while a job runs.
//! * A client that sends two numbers at once gets two answers, in order.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Core, Flow, Shared, TurnCounts};

/// The most steps of one job in one turn.
pub const SLICE: u64 = 1_000;

/// The shared state: it counts the steps, for the test. Leave it as it is.
#[derive(Default)]
pub struct Work {
    steps_of_this_turn: u64,
    /// The most steps that one turn has taken.
    pub most_steps: u64,
}

impl Shared for Work {
    type Message = ();

    fn before_poll(&mut self, _: &mut Core<Work>, _: &TurnCounts) -> std::io::Result<()> {
        self.most_steps = self.most_steps.max(self.steps_of_this_turn);
        self.steps_of_this_turn = 0;
        Ok(())
    }
}

/// A job: the sum of the numbers from 1 to `n`. Leave it as it is.
#[derive(Default)]
pub struct Job {
    n: u64,
    at: u64,
    sum: u64,
}

impl Job {
    pub fn new(n: u64) -> Job {
        Job { n, at: 0, sum: 0 }
    }

    /// Takes up to `steps` steps. Returns the sum when the job is done.
    pub fn work(&mut self, work: &mut Work, steps: u64) -> Option<u64> {
        let steps = steps.min(self.n - self.at);
        work.steps_of_this_turn += steps;
        for _ in 0..steps {
            self.at += 1;
            self.sum += self.at;
        }
        (self.at == self.n).then_some(self.sum)
    }
}

/// Answers each number with a sum.
#[derive(Default)]
pub struct Sums;

impl LineProtocol<Work> for Sums {
    fn line_received(&mut self, cx: &mut Context<'_, Work>, line: &[u8]) -> Flow<Mode> {
        let mut job = Job::new(std::str::from_utf8(line)?.parse()?);
        if let Some(sum) = job.work(cx.state, u64::MAX) {
            cx.write(format!("{sum}\n").as_bytes());
        }
        Ok(Mode::Lines)
    }
}
