//! One run: a herd, its proxies and its clients, on one reactor. All plays start and end here.

use crate::attackers::Attackers;
use crate::clients::{self, Load};
use crate::dice::Dice;
use crate::faults::Faults;
use crate::ledger::{Ledger, location_at, read_at, write_stamp};
use crate::proxy::{Edge, Inbound};
use crate::servers::{Plan, Servers};
use crate::{Failed, Options};
use herd_reactor::{Core, MioIo, Moment, Reactor, ReactorLimits, Shared, Signal};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How often an awaited condition is checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often the processes are sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// The time within which the herd must recover: a dead link is detected (15 s), dialled (5 s) and greeted (5 s);
/// twice that, for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

/// What all connections of this program share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) dice: Dice,
    pub(crate) servers: Servers,
    pub(crate) edges: Vec<Edge>,
    pub(crate) ledger: Ledger,
    pub(crate) load: Load,
    pub(crate) faults: Faults,
    pub(crate) attackers: Attackers,
    begun: Moment,
    /// Whether SIGINT or SIGTERM was received.
    pub(crate) is_interrupted: bool,
    /// An error in a callback, which cannot return it.
    pub(crate) broken: Option<String>,
}

impl Shared for Run {
    type Message = Infallible;

    fn signalled(&mut self, _core: &mut Core<Run>, signal: Signal) {
        self.is_interrupted |= matches!(signal, Signal::Interrupt | Signal::Terminate);
    }
}

/// A run and its reactor.
#[derive(Debug)]
pub(crate) struct Stage {
    reactor: Reactor<MioIo, Run>,
}

impl Stage {
    /// Starts the herd of `plan`, and `load` with connections spread over the servers of `spread`; waits until all
    /// servers are linked.
    pub(crate) fn new(
        options: &Options,
        plan: Plan,
        load: Load,
        spread: &[usize],
    ) -> Result<Stage, Failed> {
        let servers = Servers::new(plan)?;
        let edges = servers.plan.edges.iter().map(|&(_, to)| Edge::new(servers.dialled(to)));
        let connections = load.answered.len();
        let run = Run {
            dice: Dice::new(options.seed()),
            edges: edges.collect(),
            ledger: Ledger::new(servers.all.len(), options.clients as usize, MioIo::wall_clock().0),
            load,
            faults: Faults::new(options.lose_disks, options.control),
            attackers: Attackers::default(),
            begun: Moment::default(),
            is_interrupted: false,
            broken: None,
            servers,
        };
        let io = MioIo::new(&[Signal::Interrupt, Signal::Terminate])?;
        let mut stage = Stage { reactor: Reactor::new(io, run, ReactorLimits::default()) };
        let mut proxies = Vec::new();
        for edge in 0..stage.run().edges.len() {
            let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let (_, address) = stage.reactor.listen_tcp(anywhere, Box::new(Inbound(edge)))?;
            proxies.push(address);
        }
        stage.run().servers.write(&proxies)?;
        if let Some(bus) = &mut stage.run().servers.bus {
            bus.start()?;
        }
        for server in 0..stage.run().servers.all.len() {
            stage.run().servers.start(server)?;
        }
        stage.wait("all servers are linked", PATIENCE, |run, _| run.servers.state_of_all())?;
        let (run, core) = stage.reactor.parts();
        run.begun = core.now();
        sample(run, core);
        for number in 0..connections {
            let server = spread[number % spread.len()];
            // Every other connection of a server.
            let is_http = options.http && number / spread.len() % 2 == 1;
            let server_at = &run.servers.all[server];
            let address = if is_http { server_at.http } else { server_at.client };
            clients::connect(core, number, server, address, is_http);
        }
        Ok(stage)
    }

    pub(crate) fn run(&mut self) -> &mut Run {
        self.reactor.state()
    }

    pub(crate) fn parts(&mut self) -> (&mut Run, &mut Core<Run>) {
        self.reactor.parts()
    }

    /// Runs the reactor for `time`.
    pub(crate) fn play(&mut self, time: Duration) -> Result<(), Failed> {
        let (_, core) = self.reactor.parts();
        let until = core.now() + time;
        // The timer only wakes the loop at that time.
        core.call_later(time, |_, _| {});
        while self.reactor.parts().1.now() < until {
            self.reactor.turn()?;
            let run = self.run();
            if run.is_interrupted {
                return Err("interrupted".into());
            }
            if let Some(what) = run.broken.take() {
                return Err(what.into());
            }
        }
        Ok(())
    }

    /// Runs the reactor until `seen` returns a value, and returns that. `what` describes the condition in the error.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut seen: impl FnMut(&mut Run, Moment) -> Option<T>,
    ) -> Result<T, Failed> {
        let begun = Instant::now();
        loop {
            let (run, core) = self.reactor.parts();
            if let Some(saw) = seen(run, core.now()) {
                return Ok(saw);
            }
            if begun.elapsed() > within {
                return Err(format!("not within {} s: {what}", within.as_secs()).into());
            }
            self.play(LOOK_EVERY)?;
        }
    }

    /// Stops the load, and waits until all replies have arrived.
    pub(crate) fn hush(&mut self) -> Result<(), Failed> {
        self.run().load.is_on = false;
        self.wait("all replies arrive", PATIENCE, |run, _| (run.load.waiting == 0).then_some(()))
    }

    /// Waits until all servers are linked and have equal tables; returns the hash of the table.
    pub(crate) fn settle(&mut self) -> Result<String, Failed> {
        let equal = |run: &mut Run, _| run.servers.state_of_all();
        self.wait("all tables are equal", PATIENCE, equal)
    }

    /// Asks every server for every client. Returns the losses: answers with no report, or an older one than expected.
    pub(crate) fn lost(&mut self) -> Result<Lost, Failed> {
        let run = self.run();
        let mut lost = Lost::default();
        for server in &run.servers.all {
            let stream = TcpStream::connect(server.client)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut reader = BufReader::new(stream.try_clone()?);
            for client in 0..run.ledger.clients() {
                (&stream).write_all(format!("WHATSAT c{client} 0.001 1\n").as_bytes())?;
                let line = answer(&mut reader)?;
                let known = read_at(&line, None).filter(|(other, _)| *other == client);
                let known = known.map_or(0, |(_, stamp)| stamp);
                let wanted = run.ledger.all_must_know(client);
                lost.checked += 1;
                if known < wanted {
                    let mut expected = location_at(wanted) + " ";
                    write_stamp(&mut expected, wanted);
                    lost.reports.push(format!("{}: expected {expected}; {line}", server.name));
                } else if known < run.ledger.newest(client) {
                    lost.with_memory.insert(client);
                }
            }
        }
        Ok(lost)
    }
}

/// The result of the questions at the end.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// The number of answers.
    pub(crate) checked: usize,
    /// Answers that are older than expected, each as a text.
    pub(crate) reports: Vec<String>,
    /// Clients whose newest report only one server had acknowledged, which then lost its memory. No promise covers
    /// these clients.
    pub(crate) with_memory: BTreeSet<usize>,
}

/// Reads a whole answer and returns its first line.
fn answer(reader: &mut BufReader<TcpStream>) -> Result<String, Failed> {
    let mut line = String::new();
    reader.by_ref().take(1 << 20).read_line(&mut line)?;
    if line.starts_with("AT ") {
        let mut rest = String::new();
        while reader.by_ref().take(1 << 20).read_line(&mut rest)? > 1 {
            rest.clear();
        }
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Samples the processes, now and every `SAMPLE_EVERY`.
fn sample(run: &mut Run, core: &mut Core<Run>) {
    let minutes = (core.now() - run.begun).as_secs_f64() / 60.0;
    run.servers.look(minutes);
    core.call_later(SAMPLE_EVERY, sample);
}
