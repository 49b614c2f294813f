//! A solution of exercise 2.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Core, Flow, Shared, TimerId, TurnCounts};
use std::time::Duration;

/// The most steps of one job in one turn.
pub const SLICE: u64 = 1_000;

/// The shared state: it counts the steps, for the test.
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

/// A job: the sum of the numbers from 1 to `n`.
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
pub struct Sums {
    job: Option<Job>,
}

impl Sums {
    /// Takes the next slice of the job.
    fn go_on(&mut self, cx: &mut Context<'_, Work>) {
        let Some(job) = &mut self.job else { return };
        match job.work(cx.state, SLICE) {
            Some(sum) => {
                self.job = None;
                cx.write(format!("{sum}\n").as_bytes());
                cx.resume_producing();
            }
            // A timer that is due at once runs in the next turn, and the poll in between does not sleep.
            None => drop(cx.timer_later(Duration::ZERO)),
        }
    }
}

impl LineProtocol<Work> for Sums {
    fn line_received(&mut self, cx: &mut Context<'_, Work>, line: &[u8]) -> Flow<Mode> {
        self.job = Some(Job::new(std::str::from_utf8(line)?.parse()?));
        // The next line waits until this one is answered.
        cx.pause_producing();
        // The first slice runs in the next turn, since this turn may have run the last one of another line.
        cx.timer_later(Duration::ZERO);
        Ok(Mode::Lines)
    }

    fn timer(&mut self, cx: &mut Context<'_, Work>, _timer: TimerId) -> Flow {
        self.go_on(cx);
        Ok(())
    }
}
