//! The loop: all connections, one poll, one thread.
//!
//! ```text
//!   closed loop:  compose a batch of P ── one send ──▶ server ──▶ check all P ── the next batch
//!   open loop:    request is due by the schedule ──▶ compose, send; wait if P are in flight
//! ```
//!
//! In the closed loop a request's latency counts from the send of its batch, in the open loop from the time when it was
//! due. The open loop polls instead of sleeping less than a millisecond, so that it is on time. The report includes how
//! late it was.

use crate::connection::{BUFFER_BYTES, Connection, Ending, PATIENCE};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::options::{Mix, Options};
use crate::protocol::{Expected, Protocol};
use crate::reports::{Next, Reports};
use crate::results::{Outcome, Progress, Reopened, Results};
use crate::schedule::Schedule;
use crate::usage::Usage;
use mio::{Events, Poll, Registry, Token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The longest time between two readings of the clock.
const TICK: Duration = Duration::from_millis(200);

/// The loop polls instead of sleeping for less than this, because waking up takes longer than polling.
const TOO_SHORT_TO_SLEEP: Duration = Duration::from_millis(1);

/// The first poll token that does not belong to one of the load's own connections.
pub(crate) const TOKENS_BESIDE: usize = 1 << 32;

/// Measures requests and replies.
pub(crate) fn measure<P: Protocol>(options: &Options) -> Result<Results, Failure> {
    let mut load = Load::<P>::new(options, options.keys)?;
    load.tell_all(&mut ())?;
    let outcome = load.run(options)?;
    Ok(Results::of_load::<P>(options, &outcome))
}

/// Other sockets that the same loop serves.
pub(crate) trait Beside {
    /// Handles an event of `token`, which is [`TOKENS_BESIDE`] or more.
    fn ready(
        &mut self,
        registry: &Registry,
        token: usize,
        buffer: &mut [u8],
    ) -> Result<(), Failure>;

    /// Whether everything awaited has arrived.
    fn is_done(&self) -> bool;
}

/// No other sockets.
impl Beside for () {
    fn ready(&mut self, _: &Registry, _: usize, _: &mut [u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn is_done(&self) -> bool {
        true
    }
}

/// How many requests are left to send.
#[derive(Debug)]
enum Left {
    /// This number over all connections; none is sent after the time, if there is one.
    All(u64, Option<Instant>),
    /// This number on each connection.
    Each(Vec<u64>),
}

impl Left {
    /// Takes up to `wanted` requests for `connection`. Returns how many it took.
    #[inline]
    fn take(&mut self, connection: usize, wanted: u64, now: Instant) -> u64 {
        let left = match self {
            Left::All(_, Some(until)) if now >= *until => return 0,
            Left::All(left, _) => left,
            Left::Each(left) => &mut left[connection],
        };
        let taken = wanted.min(*left);
        *left -= taken;
        taken
    }

    fn is_over(&self, now: Instant) -> bool {
        match self {
            Left::All(left, until) => *left == 0 || until.is_some_and(|until| now >= until),
            Left::Each(left) => left.iter().all(|left| *left == 0),
        }
    }
}

/// The counts of the open loop.
#[derive(Debug)]
struct Pace {
    schedule: Schedule,
    start: Instant,
    until: Option<Instant>,
    /// How many requests have become due.
    due: u64,
    /// How many requests will become due at most.
    most: u64,
    /// The number of requests of each connection that have become due, were composed, and were answered.
    books: Vec<[u64; 3]>,
    lateness: Latencies,
}

/// The connections and their requests.
pub(crate) struct Load<P> {
    poll: Poll,
    protocol: P,
    reports: Reports,
    addresses: Vec<SocketAddr>,
    connections: Vec<Connection>,
    reopened: Reopened,
    /// The time at which the last batch of each connection was sent.
    batch_at: Vec<Instant>,
    pipeline: u32,
    /// True while each client is reported once, regardless of the mix.
    telling: bool,
    left: Left,
    pace: Option<Pace>,
    latencies: Vec<Latencies>,
    replies: u64,
    last_reply: Instant,
    progress: Progress,
    pids: Vec<u32>,
}

impl<P: Protocol> Load<P> {
    /// Connects to all addresses in turn; the connections will report `keys` clients.
    pub(crate) fn new(options: &Options, keys: u32) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(|error| Failure::io("a poll", error))?;
        let mut connections = Vec::new();
        for number in 0..options.connections as usize {
            let target = number % options.addresses.len();
            let mut connection = Connection::open::<P>(options.addresses[target], target)?;
            connection.register(poll.registry(), Token(number))?;
            connections.push(connection);
        }
        let now = Instant::now();
        Ok(Load {
            poll,
            protocol: P::new(options),
            reports: Reports::new(options.connections, keys, options.mix),
            batch_at: vec![now; connections.len()],
            connections,
            addresses: options.addresses.clone(),
            reopened: Reopened::default(),
            pipeline: options.pipeline,
            telling: false,
            left: Left::All(0, None),
            pace: None,
            latencies: P::KINDS.iter().map(|_| Latencies::new()).collect(),
            replies: 0,
            last_reply: now,
            progress: Progress::new(),
            pids: options.pid.clone(),
        })
    }

    /// The reports that the requests are made of.
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Starts to store the last stamp of each client.
    pub(crate) fn remember(&mut self) {
        self.reports.remember();
    }

    /// The registry for the sockets of a [`Beside`].
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Reports each client once. Returns when all requests are answered and `beside` is done.
    pub(crate) fn tell_all(&mut self, beside: &mut impl Beside) -> Result<Outcome, Failure> {
        let each = u64::from(self.reports.clients()) / self.connections.len() as u64;
        let pipeline = self.pipeline;
        self.pipeline = pipeline.max(P::TELLING_PIPELINE);
        self.telling = true;
        self.left = Left::Each(vec![each; self.connections.len()]);
        let outcome = self.go(beside);
        self.pipeline = pipeline;
        self.telling = false;
        outcome
    }

    /// Sends requests as `options` say.
    pub(crate) fn run(&mut self, options: &Options) -> Result<Outcome, Failure> {
        let (duration, requests) = options.extent();
        let start = Instant::now();
        let until = duration.map(|duration| start + duration);
        let requests = requests.unwrap_or(u64::MAX);
        self.left = Left::All(requests, until);
        self.pace = options.rate.map(|rate| Pace {
            schedule: Schedule::new(rate, options.connections),
            start,
            until,
            due: 0,
            most: requests,
            books: vec![[0; 3]; self.connections.len()],
            lateness: Latencies::new(),
        });
        let outcome = self.go(&mut ());
        self.pace = None;
        outcome
    }

    fn go(&mut self, beside: &mut impl Beside) -> Result<Outcome, Failure> {
        self.latencies.iter_mut().for_each(Latencies::clear);
        self.replies = 0;
        self.reopened = Reopened::default();
        let usage = Usage::now(&self.pids)?;
        // In the open loop the due times and the duration count from the start of the schedule.
        let start = self.pace.as_ref().map_or_else(Instant::now, |pace| pace.start);
        self.last_reply = start;
        if self.pace.is_none() {
            for number in 0..self.connections.len() {
                self.next_batch(number, Instant::now())?;
            }
        }
        let unanswered = self.turns(start, beside)?;
        Ok(Outcome {
            replies: self.replies,
            seconds: (self.last_reply - start).as_secs_f64(),
            latencies: self.latencies.clone(),
            lateness: self.pace.as_ref().map(|pace| pace.lateness.clone()),
            unanswered,
            reopened: self.reopened,
            used: usage.since()?,
        })
    }

    /// Runs the loop until all requests are sent and answered. Returns how many were never answered.
    fn turns(&mut self, start: Instant, beside: &mut impl Beside) -> Result<u64, Failure> {
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut seen, mut seen_at) = (0, start);
        loop {
            let now = Instant::now();
            self.release(now)?;
            if self.is_done(now) && beside.is_done() {
                return Ok(0);
            }
            if self.replies > seen {
                (seen, seen_at) = (self.replies, now);
            } else if now - seen_at > PATIENCE {
                return self.given_up();
            }
            self.progress.show(now - start, self.replies);
            let timeout = self.timeout(now);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                polled => polled.map_err(|error| Failure::io("the poll", error))?,
            }
            for event in &events {
                let Token(number) = event.token();
                if number >= TOKENS_BESIDE {
                    beside.ready(self.poll.registry(), number, &mut buffer)?;
                    continue;
                }
                if event.is_writable() {
                    self.connections[number].send()?;
                }
                if event.is_readable() {
                    self.readable(number, P::REOPENS && event.is_read_closed(), &mut buffer)?;
                }
            }
        }
    }

    /// Ends a run without replies for [`PATIENCE`]. The open loop counts the unanswered requests; otherwise this is an
    /// error.
    fn given_up(&self) -> Result<u64, Failure> {
        match &self.pace {
            Some(pace) => Ok(pace.due - self.replies),
            None => Err(Failure::Silence(format!("no reply for {PATIENCE:?}"))),
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        match &self.pace {
            Some(pace) => pace.is_over(now) && pace.due == self.replies,
            None => {
                self.left.is_over(now)
                    && self.connections.iter().all(|connection| connection.in_flight() == 0)
            }
        }
    }

    fn timeout(&self, now: Instant) -> Duration {
        let Some(pace) = self.pace.as_ref().filter(|pace| !pace.is_over(now)) else { return TICK };
        let left = (pace.start + pace.schedule.due(pace.due)).saturating_duration_since(now);
        // The poll sleeps whole milliseconds, rounded up.
        if left <= TOO_SHORT_TO_SLEEP * 2 {
            Duration::ZERO
        } else {
            TICK.min(left - TOO_SHORT_TO_SLEEP)
        }
    }

    /// Reads all that has arrived. If `is_closed`, that includes the end of the stream, which no later event reports.
    #[inline]
    fn readable(
        &mut self,
        number: usize,
        is_closed: bool,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let mut more = true;
        while more {
            let connection = &mut self.connections[number];
            let mut counts = [0_u64; 2];
            let mut at = self.last_reply;
            let (latencies, pace) = (&mut self.latencies, &mut self.pace);
            more = connection.receive(&mut self.protocol, buffer, |now, kind| {
                at = now;
                counts[usize::from(kind)] += 1;
                if let Some(pace) = pace {
                    latencies[usize::from(kind)].record(pace.answered(number, now), 1);
                }
            })?;
            more = (more || is_closed) && connection.ended().is_none();
            self.replies += counts[0] + counts[1];
            self.last_reply = at;
            if P::REOPENS && self.connections[number].in_flight() > 0 {
                self.reopen_if_ended(number)?;
            }
            match &self.pace {
                Some(_) => self.compose_due(number)?,
                None => self.batch_answered(number, counts, at)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn batch_answered(
        &mut self,
        number: usize,
        counts: [u64; 2],
        at: Instant,
    ) -> Result<(), Failure> {
        let taken = at - self.batch_at[number];
        for (latencies, count) in self.latencies.iter_mut().zip(counts) {
            if count > 0 {
                latencies.record(taken, count);
            }
        }
        match self.connections[number].in_flight() {
            0 => self.next_batch(number, at),
            _ => Ok(()),
        }
    }

    #[inline]
    fn next_batch(&mut self, number: usize, now: Instant) -> Result<(), Failure> {
        let count = self.left.take(number, self.pipeline.into(), now);
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            self.compose(number)?;
        }
        self.batch_at[number] = Instant::now();
        self.connections[number].send()
    }

    #[inline]
    fn compose(&mut self, number: usize) -> Result<(), Failure> {
        self.reopen_if_ended(number)?;
        let next = match self.telling {
            true => Next::Tell(self.reports.tell(number)),
            false => self.reports.next(number),
        };
        let connection = &mut self.connections[number];
        let target = connection.target();
        let (out, expected) = connection.composing();
        expected.push(Expected::compose(&self.protocol, target, next, out));
        Ok(())
    }

    /// Opens a connection again that the server has ended.
    #[inline]
    fn reopen_if_ended(&mut self, number: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[number];
        let Some(ending) = connection.ended().filter(|_| P::REOPENS) else { return Ok(()) };
        match ending {
            Ending::Announced => self.reopened.announced += 1,
            Ending::Silent => self.reopened.silent += 1,
        }
        let address = self.addresses[connection.target()];
        connection.reopen(&self.protocol, address, self.poll.registry(), Token(number))
    }

    /// Open loop: sends the requests that are due by now.
    fn release(&mut self, now: Instant) -> Result<(), Failure> {
        while let Some(number) = self.pace.as_mut().and_then(|pace| pace.next_due(now)) {
            if self.connections[number].in_flight() < self.pipeline as usize {
                self.compose_due(number)?;
            }
        }
        Ok(())
    }

    /// Open loop: sends requests that are due on a connection, as many as may be in flight.
    fn compose_due(&mut self, number: usize) -> Result<(), Failure> {
        while self.connections[number].in_flight() < self.pipeline as usize
            && self.pace.as_mut().is_some_and(|pace| pace.take_due(number))
        {
            self.compose(number)?;
        }
        self.connections[number].send()
    }
}

impl Pace {
    fn is_over(&self, now: Instant) -> bool {
        self.due >= self.most || self.until.is_some_and(|until| now >= until)
    }

    /// The connection of the next request that is due, if there is one.
    fn next_due(&mut self, now: Instant) -> Option<usize> {
        let due = self.start + self.schedule.due(self.due);
        // A request that was due before the end is sent even if we are late.
        let over = self.due >= self.most || self.until.is_some_and(|until| due >= until);
        if over || now < due {
            return None;
        }
        self.lateness.record(now - due, 1);
        let connection = self.schedule.connection(self.due);
        self.due += 1;
        self.books[connection][0] += 1;
        Some(connection)
    }

    fn take_due(&mut self, connection: usize) -> bool {
        let [due, composed, _] = &mut self.books[connection];
        let taken = *composed < *due;
        *composed += u64::from(taken);
        taken
    }

    /// Counts a reply that arrived `now`, and returns its latency.
    fn answered(&mut self, connection: usize, now: Instant) -> Duration {
        let answered = &mut self.books[connection][2];
        let due = self.start + self.schedule.due_of(connection, *answered);
        *answered += 1;
        now.saturating_duration_since(due)
    }
}

/// The mix of IAMATs only.
pub(crate) const ONLY_TELL: Mix = Mix { iamat: 1, whatsat: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: f64, most: u64, start: Instant) -> Pace {
        Pace {
            schedule: Schedule::new(rate, 2),
            start,
            until: None,
            due: 0,
            most,
            books: vec![[0; 3]; 2],
            lateness: Latencies::new(),
        }
    }

    #[test]
    fn a_reply_that_had_to_wait_counts_from_when_it_was_due() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut pace = pace(1_000.0, 100, start);
        // The loop was held up for 10 ms: eleven requests are due, six of them on the first connection.
        let due: Vec<usize> = std::iter::from_fn(|| pace.next_due(start + ms(10))).collect();
        assert_eq!(due.len(), 11);
        let taken = (0..20).filter(|_| pace.take_due(0)).count();
        assert_eq!(taken, 6);
        assert_eq!(pace.answered(0, start + ms(11)), ms(11));
        assert_eq!(pace.answered(0, start + ms(11)), ms(9));
        assert_eq!(pace.answered(1, start + ms(11)), ms(10));
        assert!((pace.lateness.us(1.0) - 10_000.0).abs() < 20.0);
    }

    #[test]
    fn no_more_becomes_due_than_was_asked_for() {
        let start = Instant::now();
        let mut pace = pace(1_000.0, 5, start);
        let later = start + Duration::from_secs(1);
        assert_eq!(std::iter::from_fn(|| pace.next_due(later)).count(), 5);
        assert!(pace.is_over(start));
    }

    #[test]
    fn what_is_left_is_shared_or_each_ones_own() {
        let now = Instant::now();
        let mut left = Left::All(10, None);
        assert_eq!([left.take(0, 8, now), left.take(1, 8, now), left.take(0, 8, now)], [8, 2, 0]);
        let mut left = Left::Each(vec![3, 5]);
        assert_eq!([left.take(0, 4, now), left.take(1, 4, now), left.take(1, 4, now)], [3, 4, 1]);
        let mut left = Left::All(10, Some(now));
        assert_eq!(left.take(0, 8, now), 0);
    }
}
