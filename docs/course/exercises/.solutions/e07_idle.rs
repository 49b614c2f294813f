//! A solution of exercise 7.

use herd_reactor::{CloseReason, Context, Flow, Protocol, TimerId};
use std::time::Duration;

/// How long a client may be silent.
pub const IDLE: Duration = Duration::from_secs(10);

/// Echoes, and closes an idle connection.
#[derive(Default)]
pub struct Echo {
    timer: Option<TimerId>,
}

impl Protocol<()> for Echo {
    fn connection_made(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        self.timer = Some(cx.timer_later(IDLE));
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        if let Some(timer) = self.timer {
            cx.reset(timer, IDLE)?;
        }
        cx.write(data);
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, ()>, _timer: TimerId) -> Flow {
        self.timer = None;
        cx.lose_because(Some(CloseReason::TimeoutError("idle")));
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, ()>, _why: &CloseReason) {
        if let Some(timer) = self.timer.take() {
            // It is pending, since `timer` has not been called.
            let _ = cx.cancel(timer);
        }
    }
}
