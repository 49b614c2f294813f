//! The clients: connections that report and ask, check every reply against the
//! [`Ledger`](crate::ledger::Ledger), and reconnect when they are cut off. These speak lines; those of `http.rs` speak HTTP.
//!
//! Each connection belongs to one server and reports any client, so each client moves from server to server. One
//! report of ten is late: its time is before that of the newest report.

use crate::http::HttpClient;
use crate::ledger::{Stamp, location_at, read_at, write_stamp};
use crate::run::Run;
use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{
    Backoff, ClientFactory, CloseReason, ConnectOptions, Context, Core, Factory, Flow, Moment,
    Protocol, TimerId,
};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// Maximum commands of one connection that wait for replies; at this number it sends no more.
const WAITING_MAX: usize = 64;

/// Timeout for replies: a connection whose server is silent for this long is closed and made again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How late a late report may be, in nanoseconds.
const LATE_MAX: usize = 5_000_000_000;

/// The settings and the counts of all connections.
#[derive(Debug)]
pub(crate) struct Load {
    /// Whether the connections send commands.
    pub(crate) is_on: bool,
    /// How often each connection sends commands.
    pub(crate) every: Duration,
    /// How many commands a connection sends at a time.
    pub(crate) commands: usize,
    /// The time of the last reply on each connection.
    pub(crate) answered: Vec<Moment>,
    /// Commands that wait for replies, of all connections.
    pub(crate) waiting: usize,
    /// Connections that were reset; replies on their way to the client may have been lost.
    pub(crate) resets: u64,
    /// The latencies of replies, in microseconds; `None` while the play does not measure them.
    pub(crate) latencies: Option<Vec<u64>>,
}

impl Load {
    /// Creates the load: each of `connections` sends `commands` at a time, and again after `every`.
    pub(crate) fn new(connections: usize, every: Duration, commands: usize) -> Load {
        Load {
            is_on: true,
            every,
            commands,
            answered: vec![Moment::default(); connections],
            waiting: 0,
            resets: 0,
            latencies: None,
        }
    }
}

/// Starts to connect connection `number` to `server` at `address`, and to reconnect it for ever.
pub(crate) fn connect(
    core: &mut Core<Run>,
    number: usize,
    server: usize,
    address: SocketAddr,
    is_http: bool,
) {
    core.connect_tcp(address, patient(), Box::new(Clients { number, server, is_http }));
}

/// The options of connections that are made again for ever.
pub(crate) fn patient() -> ConnectOptions {
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1), 2.0, 0.5);
    ConnectOptions { timeout: PATIENCE, reconnect: Some(backoff) }
}

/// Builds a [`Client`] or an [`HttpClient`] each time that the connection is made.
#[derive(Debug)]
struct Clients {
    number: usize,
    server: usize,
    is_http: bool,
}

impl Factory<Run> for Clients {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Run>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Run>>> {
        let queue = Queue {
            number: self.number,
            server: self.server,
            losses: cx.state.servers.all[self.server].losses,
            waiting: VecDeque::new(),
            heard: cx.now(),
        };
        if self.is_http {
            return Some(Box::new(HttpClient::new(queue)));
        }
        let client = Client { queue, is_within_json: false };
        Some(Box::new(LineReceiver::new(client, LineLimits::default())))
    }
}

impl ClientFactory<Run> for Clients {}

/// A command that waits for its reply, with what to check the reply against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Report {
        client: usize,
        stamp: Stamp,
    },
    /// `at_least`: the newest stamp that the server had shown when the question was sent.
    Ask {
        client: usize,
        at_least: Stamp,
    },
}

/// The commands of one connection that wait for their replies, whatever its protocol is.
#[derive(Debug)]
pub(crate) struct Queue {
    number: usize,
    pub(crate) server: usize,
    /// How often the server had lost its memory when the connection was made. Replies count until the server's next
    /// loss.
    losses: u64,
    waiting: VecDeque<(Command, Moment)>,
    heard: Moment,
}

impl Queue {
    /// Starts the timer, at a random time, so that the connections do not send at the same time.
    pub(crate) fn begin(cx: &mut Context<'_, Run>) {
        let every = cx.state.load.every;
        let first = cx.state.dice.millis(0..every.as_millis() as u64);
        cx.timer_later(first);
    }

    /// Handles the timer. Returns the commands to send now: as many as the load demands and `WAITING_MAX` allows.
    pub(crate) fn due(&mut self, cx: &mut Context<'_, Run>) -> Vec<Command> {
        let now = cx.now();
        if !self.waiting.is_empty() && now - self.heard > PATIENCE {
            cx.abort_connection();
            return Vec::new();
        }
        let every = cx.state.load.every;
        cx.timer_later(every);
        if !cx.state.load.is_on {
            return Vec::new();
        }
        if self.waiting.is_empty() {
            self.heard = now;
        }
        let count = cx.state.load.commands.min(WAITING_MAX - self.waiting.len());
        let commands: Vec<Command> = (0..count).map(|_| self.command(cx)).collect();
        self.waiting.extend(commands.iter().map(|command| (*command, now)));
        cx.state.load.waiting += count;
        commands
    }

    fn command(&self, cx: &mut Context<'_, Run>) -> Command {
        let (now, run) = (cx.wall().0, &mut *cx.state);
        let is_question = run.dice.once_in(5);
        let client = run.dice.roll(run.ledger.clients());
        if is_question {
            return Command::Ask { client, at_least: run.ledger.must_know(self.server, client) };
        }
        let stamp = match run.dice.once_in(10) {
            true => now - run.dice.roll(LATE_MAX) as u64,
            false => run.ledger.stamp(now),
        };
        Command::Report { client, stamp }
    }

    /// Takes the oldest unanswered command, to which the reply just received belongs; `None` if all are answered.
    pub(crate) fn answered(&mut self, cx: &mut Context<'_, Run>) -> Option<Command> {
        let now = cx.now();
        self.heard = now;
        let (command, said) = self.waiting.pop_front()?;
        let load = &mut cx.state.load;
        load.waiting -= 1;
        load.answered[self.number] = now;
        if let Some(latencies) = &mut load.latencies {
            latencies.push((now - said).as_micros() as u64);
        }
        Some(command)
    }

    /// Whether the server has kept its memory since the connection was made.
    pub(crate) fn counts(&self, run: &Run) -> bool {
        run.servers.all[self.server].losses == self.losses
    }

    /// Counts the commands whose replies will never come.
    pub(crate) fn lost(&self, run: &mut Run, why: &CloseReason) {
        run.load.waiting -= self.waiting.len();
        run.ledger.unanswered += self.waiting.len() as u64;
        if matches!(why, CloseReason::ConnectionLost(_)) {
            run.load.resets += 1;
        }
    }
}

/// One connection that speaks lines.
#[derive(Debug)]
struct Client {
    queue: Queue,
    is_within_json: bool,
}

impl Client {
    /// Checks a reply against the command that it answers.
    fn judge(&mut self, run: &mut Run, command: &Command, line: &str) {
        let (server, counts) = (self.queue.server, self.queue.counts(run));
        let name = &run.servers.all[server].name;
        match *command {
            Command::Report { client, stamp } => match read_at(line, Some(name)) {
                Some(read) if read == (client, stamp) => {
                    run.ledger.acknowledge(server, client, stamp, counts);
                }
                _ => run.ledger.wrong.note(|| format!("{name}: {command:?}: {line}")),
            },
            Command::Ask { client, at_least } => match read_at(line, None) {
                Some((other, stamp)) if other == client => {
                    self.is_within_json = true;
                    if stamp < at_least {
                        run.ledger.went_back.note(|| format!("{name}: {command:?}: {line}"));
                    }
                    run.ledger.answer(server, client, stamp, counts);
                }
                _ if line == format!("? WHATSAT c{client} 0.001 1") => {
                    if at_least > 0 {
                        run.ledger.went_back.note(|| format!("{name}: {command:?}: {line}"));
                    }
                    run.ledger.answered += 1;
                }
                _ => run.ledger.wrong.note(|| format!("{name}: {command:?}: {line}")),
            },
        }
    }
}

impl LineProtocol<Run> for Client {
    fn name(&self) -> &'static str {
        "Client"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Run>) -> Flow {
        Queue::begin(cx);
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, Run>, _timer: TimerId) -> Flow {
        let mut said = String::new();
        for command in self.queue.due(cx) {
            match command {
                Command::Report { client, stamp } => {
                    let _ = write!(said, "IAMAT c{client} {} ", location_at(stamp));
                    write_stamp(&mut said, stamp);
                    said.push('\n');
                }
                Command::Ask { client, .. } => {
                    let _ = writeln!(said, "WHATSAT c{client} 0.001 1");
                }
            }
        }
        cx.write(said.as_bytes());
        Ok(())
    }

    fn line_received(
        &mut self,
        cx: &mut Context<'_, Run>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn Error>> {
        if self.is_within_json {
            self.queue.heard = cx.now();
            self.is_within_json = !line.is_empty();
            return Ok(Mode::Lines);
        }
        let line = String::from_utf8_lossy(line);
        match self.queue.answered(cx) {
            Some(command) => self.judge(cx.state, &command, &line),
            None => cx.state.ledger.wrong.note(|| format!("a reply without a command: {line}")),
        }
        Ok(Mode::Lines)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Run>, why: &CloseReason) {
        self.queue.lost(cx.state, why);
    }
}
