//! The results of a run, as a table for people or as one line of JSON for programs.

use crate::latency::Latencies;
use crate::options::Options;
use crate::protocol::Protocol;
use crate::usage::Used;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How often the progress line is updated.
const PROGRESS: Duration = Duration::from_millis(500);

/// The measurements of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The number of replies.
    pub(crate) replies: u64,
    /// The time from the first request to the last reply.
    pub(crate) seconds: f64,
    /// Latencies by kind of request.
    pub(crate) latencies: Vec<Latencies>,
    /// Open loop: how late this program was in noticing that requests were due.
    pub(crate) lateness: Option<Latencies>,
    /// Open loop: requests that were due, but got no reply for `PATIENCE`.
    pub(crate) unanswered: u64,
    /// Connections that servers ended and that were opened again.
    pub(crate) reopened: Reopened,
    pub(crate) used: Used,
}

/// The number of connections that servers ended and that were opened again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reopened {
    /// Connections whose last reply announced the end.
    pub(crate) announced: u64,
    /// Connections whose last reply did not announce it.
    pub(crate) silent: u64,
}

/// A table and the same as JSON.
#[derive(Debug)]
pub(crate) struct Results {
    text: String,
    json: Value,
}

impl Results {
    /// Creates results with a heading; `json` is an object.
    pub(crate) fn new(heading: String, json: Value) -> Results {
        Results { text: heading + "\n", json }
    }

    /// Creates the results of a load.
    pub(crate) fn of_load<P: Protocol>(options: &Options, outcome: &Outcome) -> Results {
        let Options { connections, pipeline, .. } = options;
        let rate = outcome.replies as f64 / outcome.seconds;
        let heading = format!("{connections} connections, {pipeline} in flight on each");
        let mut results = Results::new(
            heading,
            json!({
                "mode": "load",
                "connections": connections,
                "pipeline": pipeline,
                "keys": options.keys,
                "rate_asked": options.rate,
                "replies": outcome.replies,
                "seconds": outcome.seconds,
                "rate": rate,
                "unanswered": outcome.unanswered,
            }),
        );
        results.line(&format!(
            "{} replies in {:.3} s, all checked",
            grouped(outcome.replies),
            outcome.seconds
        ));
        results.line(&format!("{} a second", grouped(rate as u64)));
        let kinds = P::KINDS.iter().zip(&outcome.latencies);
        let kinds: Vec<_> = kinds.filter(|(_, latencies)| latencies.count() > 0).collect();
        results.latencies(
            "latency_us",
            kinds.iter().map(|(kind, latencies)| (kind.to_string(), *latencies)),
        );
        if P::REOPENS {
            results.reopened(outcome.reopened);
        }
        let used = match &outcome.lateness {
            Some(lateness) => {
                results.open_loop(options, outcome, lateness);
                outcome.used.polling(lateness.us(0.99))
            }
            None => outcome.used,
        };
        results.used(used, outcome.replies, "reply");
        results
    }

    fn reopened(&mut self, reopened: Reopened) {
        let Reopened { announced, silent } = reopened;
        self.value("reopened", json!({"announced": announced, "silent": silent}));
        if announced > 0 {
            self.line(&format!(
                "connections that the server closed by \"Connection: close\", opened again: {}",
                grouped(announced)
            ));
        }
        if silent > 0 {
            self.warn(format!(
                "the server closed {} connections without \"Connection: close\"; they were opened and unanswered \
                 requests sent again",
                grouped(silent)
            ));
        }
    }

    fn open_loop(&mut self, options: &Options, outcome: &Outcome, lateness: &Latencies) {
        self.latencies("lateness_us", [("we were late by".to_owned(), lateness)].into_iter());
        if outcome.unanswered > 0 {
            self.warn(format!("{} requests were due but got no reply", outcome.unanswered));
        }
        let (rate, asked) = (outcome.replies as f64 / outcome.seconds, options.rate.unwrap_or(0.0));
        if rate < asked * 0.98 {
            self.warn(format!(
                "the rate is below --rate {asked}: the latencies are those of a growing queue"
            ));
        }
    }

    /// Adds a line to the table.
    pub(crate) fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "  {line}");
    }

    /// Adds a value to the JSON.
    pub(crate) fn value(&mut self, name: &str, value: Value) {
        self.json[name] = value;
    }

    /// Adds a note that a reader of the figures must know.
    pub(crate) fn warn(&mut self, warning: String) {
        self.line(&format!("note: {warning}"));
        match self.json["notes"].as_array_mut() {
            Some(notes) => notes.push(warning.into()),
            None => self.json["notes"] = json!([warning]),
        }
    }

    /// Adds a table of percentiles.
    pub(crate) fn latencies<'a>(
        &mut self,
        name: &str,
        rows: impl Iterator<Item = (String, &'a Latencies)>,
    ) {
        let _ = writeln!(
            self.text,
            "  {:<16} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10}  us",
            "", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for (row, latencies) in rows {
            let _ = write!(self.text, "  {row:<16} {:>12}", grouped(latencies.count()));
            for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let _ = write!(self.text, " {:>10.1}", latencies.us(share));
            }
            self.text.push('\n');
            self.json[name][&row] = latencies.to_json();
        }
    }

    /// Adds the processor time of this program and of the servers, in total and per `each` of `count`.
    pub(crate) fn used(&mut self, used: Used, count: u64, each: &str) {
        let own = used.own_us_each(count);
        self.line(&format!(
            "this program used {:.2} of a core, {own:.3} us for each {each}",
            used.own
        ));
        if let (Some(share), Some(us)) = (used.servers, used.server_us_each(count)) {
            self.line(&format!(
                "the servers used {share:.2} of a core, {us:.3} us for each {each}"
            ));
        }
        self.value("used", used.to_json(count));
        for warning in used.warnings() {
            self.warn(warning);
        }
    }

    /// Writes the table, or one line of JSON.
    pub(crate) fn print(&self, as_json: bool, out: &mut impl Write) -> io::Result<()> {
        match as_json {
            true => writeln!(out, "{}", self.json),
            false => out.write_all(self.text.as_bytes()),
        }
    }
}

/// A number with a comma between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A progress line on standard error, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    last: (Duration, u64),
}

impl Progress {
    /// Creates a progress line, which is empty at first.
    pub(crate) fn new() -> Progress {
        Progress { is_shown: io::stderr().is_terminal(), last: (Duration::ZERO, 0) }
    }

    /// Shows `count` after `elapsed`.
    #[inline]
    pub(crate) fn show(&mut self, elapsed: Duration, count: u64) {
        // A new run has begun.
        if elapsed < self.last.0 {
            self.last = (Duration::ZERO, 0);
        }
        if self.is_shown && elapsed - self.last.0 >= PROGRESS {
            self.write(elapsed, count);
        }
    }

    fn write(&mut self, elapsed: Duration, count: u64) {
        let seconds = (elapsed - self.last.0).as_secs_f64();
        let rate = count.saturating_sub(self.last.1) as f64 / seconds;
        let seconds = elapsed.as_secs_f64();
        // A write error (the terminal is gone) must not end the run.
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{seconds:.1} s  {}  {} a second",
            grouped(count),
            grouped(rate as u64)
        );
        self.last = (elapsed, count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && self.last.0 > Duration::ZERO {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let grouped: Vec<_> = [0, 999, 1_000, 1_234_567].map(grouped).into();
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn table_and_json_say_the_same() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(5), 7);
        let mut results = Results::new("heading".into(), json!({"mode": "load"}));
        results.latencies("latency_us", [("IAMAT".to_owned(), &latencies)].into_iter());
        results.warn("one".into());
        results.warn("two".into());
        let mut text = Vec::new();
        results.print(false, &mut text).expect("memory");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("IAMAT") && text.contains("5.0") && text.contains("note: two"),
            "{text}"
        );
        let mut line = Vec::new();
        results.print(true, &mut line).expect("memory");
        let json: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(json["latency_us"]["IAMAT"]["count"], 7);
        assert_eq!(json["notes"], json!(["one", "two"]));
    }
}
