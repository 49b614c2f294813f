//! Measures propagation: this program reports a client to one server, and observes when the others know.
//!
//! ```text
//!                 IAMAT                 AT                AT
//!      we ───────────────▶ server 0 ───────▶ server 1 ───────▶ server 2
//!      ▲ ▲  reply             │ AT              │ AT              │ AT
//!      │ └────────────────────┘                 │                 │
//!      └─ observers: plain neighbours ◀─────────┴─────────────────┘
//! ```
//!
//! An observer is an additional neighbour, which the servers dial and send AT lines to. It receives reports when the
//! servers flood them, and costs them as much as any neighbour. Without observers this program polls the servers by
//! WHATSAT.
//!
//! The loop polls instead of sleeping, because waking up would take a large part of the measured time.

mod asked;
mod observers;

use crate::connection::{BUFFER_BYTES, Connection, PATIENCE};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::load::{Beside, Load, ONLY_TELL, TOKENS_BESIDE};
use crate::options::Options;
use crate::protocol::{Expected, Herd, Protocol};
use crate::reports::{Next, Operands, Reports};
use crate::results::{Progress, Results, grouped};
use crate::usage::{Usage, Used};
use asked::Asked;
use mio::{Events, Poll, Registry, Token};
use observers::Observers;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time between two reports before the measurement. This program sends reports until every witness has seen one.
const PROBE: Duration = Duration::from_millis(300);

/// Reports clients to the first server, and measures how long the others take to know.
pub(crate) fn measure(options: &Options) -> Result<Results, Failure> {
    match (options.burst, options.observer.is_empty()) {
        (Some(count), _) => burst(options, count),
        (None, false) => {
            let rows = options.observer.iter().map(|observer| hops(observer.hops)).collect();
            let observers = |registry: &Registry| Observers::listen(registry, &options.observer);
            one_by_one(options, rows, observers)
        }
        (None, true) => {
            let rows = options.addresses[1..].iter().map(|address| address.to_string()).collect();
            let mut results =
                one_by_one(options, rows, |registry| Asked::connect(registry, options))?;
            results.warn(
                "measured by polling with WHATSAT: times include half a request's latency".into(),
            );
            Ok(results)
        }
    }
}

/// The means by which this program sees what the servers know.
trait Witnesses: Beside {
    /// Starts to wait for the report with these operands.
    fn await_news(&mut self, operands: &Operands) -> Result<(), Failure>;

    /// The time when each witness saw the awaited report.
    fn arrivals(&self) -> &[Option<Instant>];
}

fn hops(hops: u32) -> String {
    if hops == 1 { "1 hop".into() } else { format!("{hops} hops") }
}

/// Sends reports one by one: the next one when all servers know the last.
fn one_by_one<W: Witnesses>(
    options: &Options,
    rows: Vec<String>,
    witnesses: impl FnOnce(&Registry) -> Result<W, Failure>,
) -> Result<Results, Failure> {
    let mut herald = Herald::new(options, witnesses)?;
    herald.wait_for_all()?;
    let (duration, requests) = options.extent();
    let usage = Usage::now(&options.pid)?;
    let start = Instant::now();
    let mut progress = Progress::new();
    let mut replied = Latencies::new();
    let mut known: BTreeMap<&str, Latencies> = BTreeMap::new();
    while replied.count() < requests.unwrap_or(u64::MAX)
        && duration.is_none_or(|duration| start.elapsed() < duration)
    {
        let told = herald.tell()?;
        if !herald.is_known_within(PATIENCE)? {
            return Err(Failure::Silence(format!("not all servers got a report in {PATIENCE:?}")));
        }
        replied.record(herald.reply - told, 1);
        for (row, arrival) in rows.iter().zip(herald.witnesses.arrivals()) {
            let took = arrival.map_or(Duration::ZERO, |arrival| arrival - told);
            known.entry(row).or_insert_with(Latencies::new).record(took, 1);
        }
        progress.show(start.elapsed(), replied.count());
    }
    drop(progress);
    let (used, count) = (usage.since()?, replied.count());
    let heading = format!("{} reports, one at a time, from the client's send", grouped(count));
    let mut results = Results::new(heading, json!({"mode": "flood", "count": count}));
    let rows = known.iter().map(|(row, latencies)| (row.to_string(), latencies));
    results.latencies("latency_us", std::iter::once(("reply".to_owned(), &replied)).chain(rows));
    print_used(&mut results, used, count);
    Ok(results)
}

/// Adds the servers' processor time. This program polls without sleeping, so its own share means nothing.
fn print_used(results: &mut Results, used: Used, count: u64) {
    if let (Some(share), Some(us)) = (used.servers, used.server_us_each(count)) {
        results.line(&format!("the servers used {share:.2} of a core, {us:.1} us for each"));
    }
    results.value("used", used.polling(0.0).to_json(count));
}

/// The connection that reports, and the witnesses.
struct Herald<W> {
    poll: Poll,
    protocol: Herd,
    reports: Reports,
    origin: Connection,
    witnesses: W,
    buffer: Vec<u8>,
    /// The time when the last reply arrived.
    reply: Instant,
}

const ORIGIN: Token = Token(0);

impl<W: Witnesses> Herald<W> {
    fn new(
        options: &Options,
        witnesses: impl FnOnce(&Registry) -> Result<W, Failure>,
    ) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(|error| Failure::io("a poll", error))?;
        let mut origin = Connection::open::<Herd>(options.addresses[0], 0)?;
        origin.register(poll.registry(), ORIGIN)?;
        Ok(Herald {
            protocol: Herd::new(options),
            reports: Reports::new(1, options.keys, ONLY_TELL),
            origin,
            witnesses: witnesses(poll.registry())?,
            poll,
            buffer: vec![0; BUFFER_BYTES],
            reply: Instant::now(),
        })
    }

    /// Sends reports until every witness has seen one. Servers may need some seconds until they dial a new observer.
    fn wait_for_all(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.tell()?;
            if self.is_known_within(PROBE)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let arrivals = self.witnesses.arrivals();
                let heard = arrivals.iter().filter(|arrival| arrival.is_some()).count();
                return Err(Failure::Silence(format!(
                    "{heard} of {} witnesses saw a report: is each one a plain neighbour of its server?",
                    arrivals.len()
                )));
            }
        }
    }

    /// Sends the next report. Returns the time of the send.
    fn tell(&mut self) -> Result<Instant, Failure> {
        let next = self.reports.tell(0);
        self.witnesses.await_news(next)?;
        let (out, expected) = self.origin.composing();
        expected.push(Expected::compose(&self.protocol, 0, Next::Tell(next), out));
        let now = Instant::now();
        self.origin.send()?;
        Ok(now)
    }

    /// Waits until the last report has its reply and all witnesses have seen it. Returns false after `time`.
    fn is_known_within(&mut self, time: Duration) -> Result<bool, Failure> {
        let deadline = Instant::now() + time;
        let mut events = Events::with_capacity(64);
        while self.origin.in_flight() > 0 || !self.witnesses.is_done() {
            if Instant::now() > deadline {
                return Ok(false);
            }
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                polled => polled.map_err(|error| Failure::io("the poll", error))?,
            }
            for event in &events {
                if event.token() != ORIGIN {
                    let (registry, Token(token)) = (self.poll.registry(), event.token());
                    self.witnesses.ready(registry, token, &mut self.buffer)?;
                    continue;
                }
                let reply = &mut self.reply;
                self.origin.send()?;
                self.origin.receive(&mut self.protocol, &mut self.buffer, |now, _| *reply = now)?;
            }
        }
        Ok(true)
    }
}

/// Reports many clients at once to all servers, until each server knows all of them.
fn burst(options: &Options, count: u32) -> Result<Results, Failure> {
    let connections = (1..=options.connections).rev().find(|n| count.is_multiple_of(*n));
    let options =
        Options { connections: connections.unwrap_or(1), mix: ONLY_TELL, ..options.clone() };
    let listen = |registry: &Registry| Observers::listen(registry, &options.observer);
    let mut herald = Herald::new(&options, listen)?;
    herald.wait_for_all()?;
    let mut observers = herald.witnesses;
    drop(herald.origin);

    let mut load = Load::<Herd>::new(&options, count)?;
    load.remember();
    observers.change_poll(herald.poll.registry(), load.registry())?;
    observers.await_clients(count);
    let start = Instant::now();
    let outcome = load.tell_all(&mut observers)?;
    let seconds = start.elapsed().as_secs_f64();
    observers.verify(load.reports())?;

    let servers = observers.count();
    let rate = f64::from(count) / seconds;
    let heading = format!(
        "{} clients reported to {} servers, until {servers} knew all",
        grouped(count.into()),
        options.addresses.len()
    );
    let json = json!({
        "mode": "burst",
        "clients": count,
        "observers": servers,
        "seconds": seconds,
        "seconds_to_last_reply": outcome.seconds,
        "rate": rate,
    });
    let mut results = Results::new(heading, json);
    results.line(&format!(
        "{seconds:.3} s, {} a second; all were answered after {:.3} s",
        grouped(rate as u64),
        outcome.seconds
    ));
    results.used(outcome.used, count.into(), "client, all servers together");
    Ok(results)
}

const _: () = assert!(ORIGIN.0 < TOKENS_BESIDE);
