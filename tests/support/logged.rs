//! Captures the log lines of a test's thread. A process has one logger, and its tests run in many threads.

use log::{Level, LevelFilter, Log, Metadata, Record, set_logger, set_max_level};
use std::cell::{Cell, RefCell};

/// Keeps the log lines of its thread, as long as it lives.
#[derive(Debug)]
pub(crate) struct Logged(());

thread_local! {
    static ALIVE: Cell<usize> = const { Cell::new(0) };
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

impl Logged {
    /// Starts to keep the log lines of this thread.
    pub(crate) fn here() -> Logged {
        // Only the first test of the process installs the logger.
        let _ = set_logger(&Logger);
        set_max_level(LevelFilter::Trace);
        ALIVE.set(ALIVE.get() + 1);
        Logged(())
    }

    /// All lines more severe than `level`.
    pub(crate) fn above(&self, level: Level) -> Vec<String> {
        LINES.with_borrow(|lines| {
            let above = lines.iter().filter(|(its, _)| *its < level);
            above.map(|(_, line)| line.clone()).collect()
        })
    }

    /// All lines since the last call, each after its level.
    pub(crate) fn take(&self) -> Vec<String> {
        let lines = LINES.take().into_iter();
        lines.map(|(level, line)| format!("{level} {line}")).collect()
    }

    /// All lines, each with its line end.
    pub(crate) fn text(&self) -> String {
        LINES.with_borrow(|lines| lines.iter().map(|(_, line)| format!("{line}\n")).collect())
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
        if ALIVE.get() == 0 {
            LINES.take();
        }
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // A thread that ends may log after its thread-locals are gone.
        ALIVE.try_with(|alive| alive.get() > 0).unwrap_or(false)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}
