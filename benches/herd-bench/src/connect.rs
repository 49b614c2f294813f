//! Measures connections of one request, several at a time. Each connects, sends a request, reads the reply and closes.
//!
//! This side closes first, except with HTTP, so the kernel keeps its ports in TIME_WAIT. On loopback it reuses them
//! after a second (tcp_tw_reuse), which is enough for some 28,000 connections a second to one address.

use crate::connection::{BUFFER_BYTES, Connection, PATIENCE, connect};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::load::ONLY_TELL;
use crate::options::Options;
use crate::protocol::{Expected, Protocol};
use crate::reports::{Next, Reports};
use crate::results::{Progress, Results, grouped};
use crate::usage::Usage;
use mio::{Events, Poll, Token};
use serde_json::json;
use std::time::{Duration, Instant};

/// The longest time between two readings of the clock.
const TICK: Duration = Duration::from_millis(200);

/// Runs the measurement for the duration or the number of requests in `options`.
pub(crate) fn measure<P: Protocol>(options: &Options) -> Result<Results, Failure> {
    let (duration, requests) = options.extent();
    let usage = Usage::now(&options.pid)?;
    let start = Instant::now();
    let until = duration.map(|duration| start + duration);
    let mut callers = Callers::<P>::new(options, requests.unwrap_or(u64::MAX), until)?;
    callers.run(start)?;
    let seconds = start.elapsed().as_secs_f64();
    let (used, done) = (usage.since()?, callers.latencies.count());
    let rate = done as f64 / seconds;
    let mut results = Results::new(
        format!("connections of one request, {} at once", options.connections),
        json!({
            "mode": "connect",
            "connections": options.connections,
            "count": done,
            "seconds": seconds,
            "rate": rate,
        }),
    );
    results.line(&format!("{} in {seconds:.3} s, all replies checked", grouped(done)));
    results.line(&format!("{} a second", grouped(rate as u64)));
    let row = ("connect to reply".to_owned(), &callers.latencies);
    results.latencies("latency_us", [row].into_iter());
    results.used(used, done, "connection");
    Ok(results)
}

/// A fixed number of callers, each of which connects, sends a request, closes and begins again.
struct Callers<'a, P> {
    options: &'a Options,
    poll: Poll,
    protocol: P,
    reports: Reports,
    /// One slot per caller: its connection and when it began to connect. `None` when it has nothing left to do.
    callers: Vec<Option<(Connection, Instant)>>,
    left: u64,
    until: Option<Instant>,
    latencies: Latencies,
    buffer: Vec<u8>,
}

impl<'a, P: Protocol> Callers<'a, P> {
    fn new(options: &'a Options, left: u64, until: Option<Instant>) -> Result<Self, Failure> {
        Ok(Callers {
            options,
            poll: Poll::new().map_err(|error| Failure::io("a poll", error))?,
            protocol: P::new(options),
            reports: Reports::new(options.connections, options.keys, ONLY_TELL),
            callers: (0..options.connections).map(|_| None).collect(),
            left,
            until,
            latencies: Latencies::new(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    fn run(&mut self, start: Instant) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1_024);
        let mut progress = Progress::new();
        let mut seen = (0, start);
        for number in 0..self.callers.len() {
            self.call(number)?;
        }
        while self.callers.iter().any(Option::is_some) {
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                polled => polled.map_err(|error| Failure::io("the poll", error))?,
            }
            for event in &events {
                self.ready(event.token().0, event.is_writable())?;
            }
            let now = Instant::now();
            progress.show(now - start, self.latencies.count());
            if self.latencies.count() > seen.0 {
                seen = (self.latencies.count(), now);
            } else if now - seen.1 > PATIENCE {
                return Err(Failure::Silence(format!("no reply for {PATIENCE:?}")));
            }
        }
        Ok(())
    }

    /// Begins a connection, if requests are left.
    fn call(&mut self, number: usize) -> Result<(), Failure> {
        let now = Instant::now();
        if self.left == 0 || self.until.is_some_and(|until| now >= until) {
            return Ok(());
        }
        self.left -= 1;
        let target = number % self.options.addresses.len();
        let address = self.options.addresses[target];
        let mut connection = Connection::new::<P>(connect(address)?, target);
        connection.register(self.poll.registry(), Token(number))?;
        let next = Next::Tell(self.reports.tell(number));
        let (out, expected) = connection.composing();
        expected.push(Expected::compose(&self.protocol, target, next, out));
        self.callers[number] = Some((connection, now));
        Ok(())
    }

    fn ready(&mut self, number: usize, writable: bool) -> Result<(), Failure> {
        let Some((connection, begun)) = self.callers[number].as_mut() else { return Ok(()) };
        if writable {
            connection.send()?;
        }
        let begun = *begun;
        let latencies = &mut self.latencies;
        connection.receive(&mut self.protocol, &mut self.buffer, |now, _| {
            latencies.record(now - begun, 1);
        })?;
        if connection.in_flight() == 0 {
            // Dropping closes. All input has been read, so the server sees an end and no reset.
            self.callers[number] = None;
            self.call(number)?;
        }
        Ok(())
    }
}
