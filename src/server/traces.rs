//! Traces: what each turn of the loop has done, for the connections of `herd trace`.
//!
//! In: the counts of a turn, before its poll. Out: a line of JSON to each connection that asked for turns, which is closed
//! after its last one. While nobody asks, a turn costs one test of an empty list.
//!
//! Sending a line makes the kernel report that connection as writable. A turn that only hears of that is not reported;
//! otherwise each line would cause the next one.

use herd_reactor::{BUFFER_SIZE, ConnId, Core, Shared, TurnCounts};
use serde_json::json;

/// The connections that are told of turns.
#[derive(Debug, Default)]
pub(super) struct Traces(Vec<Trace>);

#[derive(Debug)]
struct Trace {
    conn: ConnId,
    /// The turns seen so far, and how many the connection asked for.
    seen: u64,
    asked: u64,
    /// Turns that it was not told of, because it did not read.
    missed: u64,
}

impl Traces {
    /// Tells `conn` of the next `turns` turns, at least one, instead of those that it asked for before.
    pub(super) fn begin(&mut self, conn: ConnId, turns: u64) {
        self.end(conn);
        self.0.push(Trace { conn, seen: 0, asked: turns, missed: 0 });
    }

    /// Forgets a connection.
    pub(super) fn end(&mut self, conn: ConnId) {
        self.0.retain(|trace| trace.conn != conn);
    }

    /// Reports a turn: what the last poll found, and what this turn has done and is about to send.
    pub(super) fn report<S: Shared>(&mut self, core: &mut Core<S>, counts: &TurnCounts) {
        let TurnCounts { slept, events, accepts, reads, timers, requests, writes } = *counts;
        if self.0.is_empty() || accepts + reads + timers + requests + writes == 0 {
            return;
        }
        self.0.retain_mut(|trace| {
            trace.seen += 1;
            if core.pending(trace.conn) > BUFFER_SIZE {
                trace.missed += 1;
            } else {
                let line = json!({
                    "turn": trace.seen, "slept_us": slept.as_micros() as u64, "events": events,
                    "accepts": accepts, "reads": reads, "timers": timers, "requests": requests,
                    "writes": writes, "missed": trace.missed,
                });
                core.write(trace.conn, format!("{line}\n").as_bytes());
            }
            let is_last = trace.seen == trace.asked;
            if is_last {
                core.lose_connection(trace.conn);
            }
            !is_last
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_reactor::testing::StringTransport;
    use serde_json::Value;

    const BUSY: TurnCounts = TurnCounts {
        slept: std::time::Duration::from_micros(1_500),
        events: 2,
        accepts: 1,
        reads: 1,
        timers: 3,
        requests: 4,
        writes: 5,
    };

    fn lines(transport: &mut StringTransport<()>) -> Vec<Value> {
        let text = String::from_utf8(transport.take()).expect("JSON is text");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[test]
    fn each_turn_is_a_line_and_the_connection_closes_after_the_last() {
        let (mut transport, mut traces) = (StringTransport::new(()), Traces::default());
        traces.report(&mut transport.core, &BUSY);
        assert_eq!(lines(&mut transport), Vec::<Value>::new(), "nobody has asked");
        traces.begin(transport.id, 2);
        traces.report(&mut transport.core, &BUSY);
        let expected = json!({
            "turn": 1, "slept_us": 1500, "events": 2, "accepts": 1, "reads": 1, "timers": 3,
            "requests": 4, "writes": 5, "missed": 0,
        });
        assert_eq!(lines(&mut transport), [expected]);
        assert!(!transport.is_disconnecting());
        traces.report(&mut transport.core, &BUSY);
        assert_eq!(lines(&mut transport)[0]["turn"], 2);
        assert!(transport.is_disconnecting() && traces.0.is_empty());
    }

    #[test]
    fn a_turn_that_only_hears_that_a_line_was_taken_is_no_turn() {
        let (mut transport, mut traces) = (StringTransport::new(()), Traces::default());
        traces.begin(transport.id, 2);
        traces.report(&mut transport.core, &TurnCounts { events: 1, ..TurnCounts::default() });
        assert_eq!((lines(&mut transport).len(), traces.0[0].seen), (0, 0));
    }

    #[test]
    fn turns_that_a_slow_reader_misses_are_counted_and_cost_no_memory() {
        let (mut transport, mut traces) = (StringTransport::new(()), Traces::default());
        traces.begin(transport.id, u64::MAX);
        for _ in 0..10_000 {
            traces.report(&mut transport.core, &BUSY);
        }
        assert!(transport.core.pending(transport.id) < BUFFER_SIZE + 1_000);
        let told = lines(&mut transport).len() as u64;
        traces.report(&mut transport.core, &BUSY);
        assert_eq!(lines(&mut transport)[0]["missed"], 10_000 - told);
        traces.end(transport.id);
        assert!(traces.0.is_empty());
    }
}
