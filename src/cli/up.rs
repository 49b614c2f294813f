//! `herd up`: runs servers of a topology, one process each, until Ctrl-C.
//!
//! It runs on the reactor, without a socket: its events are signals, and its timers restart servers.
//!
//! ```text
//!            start             start line on stdout
//!      ┌──────────▶ starting ───────────────────────▶ listening
//!      │                │                                 │
//!      │            SIGCHLD: the server has ended; up prints why
//!      │                ▼                                 ▼
//!      └────────────── resting: 1 s, 2 s, 4 s ... 30 s ◀──┘
//! ```
//!
//! A server is started again whatever its exit status was, because an address may be free again, or a fault of the
//! topology repaired. `up` exits only if no server listens after the first attempt, with the status of the first
//! server.
//!
//! At SIGHUP `up` reads the topology, too. It stops the servers that were removed from it, and when they have ended, passes
//! the signal on to the others and starts those that were added. So what a removed server still has to tell reaches the
//! others while they know it. A topology with faults is printed; the others get the signal anyway, and log why they refuse
//! it. SIGUSR1 is passed on, too, and SIGUSR2 is ignored: it would end all servers at once.
//!
//! With `--bus` a nats-server is started first, and the servers when it accepts connections; they are told its address
//! (`serve --bus`), and read the topology as if it had no edges. It is not started again if it ends.
//!
//! `up` ends in one of three ways, and no server survives it:
//!
//! * At Ctrl-C, SIGTERM, or when its terminal is closed, it sends SIGTERM to each server, and waits until all have drained
//!   and ended. Each server is in a process group of its own, so the terminal's SIGINT does not reach it.
//! * At a second signal, or `drain_ms` and 10 s later, it sends SIGKILL to the servers that are left.
//! * If `up` itself is killed, the kernel sends SIGTERM to each server (`serve --parent`, prctl PR_SET_PDEATHSIG).
//!
//! nats-server is killed when all servers have ended, and in the third case as they are.

mod banner;
mod nats;

use super::descriptors::raise_descriptor_limit;
use super::exit::{Exit, Failure};
use super::status::listens;
use super::terminal::Terminal;
use super::topology_file::{FOLDER_MODE, TopologyFile};
use super::{print_error, print_line, print_warning};
use crate::config::{Server, Supposed, Topology, socket_path};
use crate::files;
use herd_reactor::{Backoff, Core, MioIo, Moment, Reactor, ReactorLimits, Shared, Signal};
use nats::NatsServer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, kill_process};
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, mem};

// `up` restarts a server that has ended after a pause of PAUSE_FIRST, which doubles each time up to PAUSE_MAX. After a
// server has run for LIVED_LONG, its pauses begin with PAUSE_FIRST again.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const LIVED_LONG: Duration = Duration::from_secs(60);

/// Two signals within this time count as one: `timeout`, for example, signals both the process and its group.
const ONE_WISH: Duration = Duration::from_millis(300);

/// How much longer than `drain_ms` a server may take to end before it is killed. A killed server loses only what the
/// journal's `sync` leaves to the operating system.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// How long nats-server may take to accept connections.
const NATS_WITHIN: Duration = Duration::from_secs(30);

/// How often `up` looks for the start line of a server. The line comes through a pipe, and the reactor does not watch
/// pipes; a start takes only some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The signals that `up` handles.
const SIGNALS: [Signal; 6] = [
    Signal::Interrupt,
    Signal::Terminate,
    Signal::Hangup,
    Signal::Child,
    Signal::User1,
    Signal::User2,
];

/// Run servers of the herd, one process each
///
/// It restarts each server that ends. If no server can be started at first, herd up exits. At SIGTERM or Ctrl-C it
/// stops all servers, and kills those that still run drain_ms and 10 s later. At a second signal, at least 0.3 s later,
/// it kills them at once. At SIGHUP all servers reload their configuration; those that were added to the topology are
/// started, those that were removed are stopped. At SIGUSR1 all servers open their log files again. SIGUSR2, which is
/// meant for one server, is ignored.
#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    /// Servers of the topology. Write `--` before a name that begins with a dash [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Start a nats-server, too, and let the servers exchange reports through it instead of over links
    ///
    /// The program nats-server must be on the path. It keeps its files in a temporary folder, which is removed at the end.
    #[arg(long)]
    bus: bool,
    /// Run nats-server with the operands as its arguments, and stop when this process has ended
    #[arg(long, value_name = "PID", hide = true)]
    nats_server_of: Option<i32>,
}

impl UpArgs {
    pub(super) fn run(&self, file: TopologyFile) -> Result<(), Failure> {
        if let Some(parent) = self.nats_server_of {
            return nats::become_nats_server(parent, &self.names);
        }
        // Only the servers need the right port, which is not known yet.
        let bus = self.bus.then_some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4222)));
        let supposed = Supposed { bus, ..Supposed::default() };
        let topology = file.read_supposing(supposed)?;
        let servers = file.servers(&topology, &self.names)?;
        servers
            .iter()
            .try_for_each(|server| file.server_to_run(&topology, &server.name).map(drop))?;
        if servers.is_empty() {
            let what = format!("{file}: all servers have plain = true, so there is none to run");
            return Err(Failure::config(what));
        }
        // This process holds one pipe for each server.
        raise_descriptor_limit();
        let starting = must_not_run(&topology, &servers)?;
        let found = file.to_string();
        file.make()?;
        match file.is_built_in() {
            true => print_line(&format!("{found}: all files go to ./herd-data")),
            false => topology.warnings().iter().for_each(|it| print_warning(it.in_one_line())),
        }
        let up = Up {
            program: env::current_exe()
                .map_err(|e| Failure::os("cannot find the path of this program", e))?,
            topology: file,
            supposed,
            bus: self.bus.then(NatsServer::start).transpose()?,
            names: self.names.clone(),
            terminal: Terminal::at_start(),
            servers: servers.into_iter().map(SupervisedServer::new).collect(),
            patience: topology.limits.drain + ENDED_WITHIN,
            https: topology.http.tls,
            is_shown: false,
            is_reloading: false,
            is_ending: false,
            ending_since: Moment::default(),
            starting,
            outcome: Ok(()),
        };
        let io =
            MioIo::new(&SIGNALS).map_err(|e| Failure::os("cannot create the event poll", e))?;
        let mut reactor = Reactor::new(io, up, ReactorLimits::default());
        let (up, core) = reactor.parts();
        match up.bus {
            Some(_) => up.look_for_bus(core, core.now() + NATS_WITHIN),
            None => up.start_all(core),
        }
        reactor.run().map_err(|e| Failure::os("the event loop failed", e))?;
        mem::replace(&mut reactor.state().outcome, Ok(()))
    }
}

/// Fails if one of these servers runs already, because a second one could only find its ports in use. Another `up`
/// waits here until the folder that is returned, which is locked, is dropped.
fn must_not_run(topology: &Topology, servers: &[&Server]) -> Result<Option<File>, Failure> {
    let Some(folder) = &topology.status_folder else { return Ok(None) };
    let locked = files::create_folder(folder, FOLDER_MODE).and_then(|()| File::open(folder)).ok();
    if let Some(folder) = locked.as_ref().filter(|folder| folder.try_lock().is_err()) {
        print_line("waiting until another herd up has started its servers");
        // A file system without locks has none to wait for.
        let _ = folder.lock();
    }
    let runs = |server: &&&Server| listens(&socket_path(folder, &server.name));
    let running = servers.iter().filter(runs).map(|server| server.name.as_str());
    let running = running.collect::<Vec<_>>().join(", ");
    let what = format!(
        "this herd runs already: {running} in {}; \"herd status\" shows them. End them first (Ctrl-C in the \
         terminal of herd up, or kill its process), or start only other servers: herd up NAME",
        folder.display()
    );
    running.is_empty().then_some(locked).ok_or(Failure::new(Exit::Unavailable, what))
}

/// The servers, and the state of `up`.
#[derive(Debug)]
struct Up {
    /// This program, which runs each server.
    program: PathBuf,
    topology: TopologyFile,
    /// The settings that override the file's.
    supposed: Supposed,
    /// The nats-server that was started with `--bus`.
    bus: Option<NatsServer>,
    /// The servers that the operator named; empty: all.
    names: Vec<String>,
    terminal: Terminal,
    servers: Vec<SupervisedServer>,
    /// How long the servers may take to end.
    patience: Duration,
    /// Whether the HTTP ports speak TLS.
    https: bool,
    /// Each server has been tried once, and the table has been printed.
    is_shown: bool,
    /// SIGHUP has come, and the servers get it when those that were removed have ended.
    is_reloading: bool,
    /// A signal has stopped `up`: no server is started any more.
    is_ending: bool,
    ending_since: Moment,
    /// The locked folder of the status sockets, until each server has been tried once.
    starting: Option<File>,
    outcome: Result<(), Failure>,
}

/// A server that `up` keeps running.
#[derive(Debug)]
struct SupervisedServer {
    server: Server,
    /// When it was removed from the topology, if it was.
    removed: Option<Moment>,
    /// The server's process; `None` while the server waits to be started again.
    child: Option<Child>,
    started: Moment,
    listens: bool,
    /// Whether SIGHUP is to be passed on to it when it listens. Before that it would end it.
    is_to_reload: bool,
    /// The exit status of its last process.
    last: Option<Exit>,
    pauses: Backoff,
}

impl SupervisedServer {
    fn new(server: &Server) -> SupervisedServer {
        SupervisedServer {
            server: server.clone(),
            removed: None,
            child: None,
            started: Moment::default(),
            listens: false,
            is_to_reload: false,
            last: None,
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_MAX, 2.0, 0.0),
        }
    }

    /// Whether the first attempt to start the server is over, successful or not.
    fn was_tried(&self) -> bool {
        self.listens || self.last.is_some()
    }

    /// Whether the child has printed its start line. The pipe of a child that has ended without it reports only a
    /// hang-up.
    fn has_spoken(&self) -> bool {
        let Some(stdout) = self.child.as_ref().and_then(|child| child.stdout.as_ref()) else {
            return false;
        };
        let mut polled = [PollFd::new(stdout, PollFlags::IN)];
        let looked = poll(&mut polled, Some(&Timespec::default()));
        looked.is_ok() && polled[0].revents().contains(PollFlags::IN)
    }

    /// If the child has ended, removes it, and returns its process id and how it ended.
    fn reap(&mut self) -> Option<(u32, ExitStatus)> {
        let child = self.child.as_mut()?;
        let ended = (child.id(), child.try_wait().ok()??);
        self.child = None;
        (self.listens, self.is_to_reload) = (false, false);
        Some(ended)
    }

    /// Sends `signal` to its process, if it runs.
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(child) = &self.child {
            // The child has not been reaped, so its id is still its own, and kill cannot fail.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Passes SIGHUP on, if that is due.
    fn reload(&mut self) {
        if self.listens && mem::take(&mut self.is_to_reload) {
            self.signal(rustix::process::Signal::HUP);
        }
    }
}

impl Shared for Up {
    type Message = Infallible;

    fn signalled(&mut self, core: &mut Core<Up>, signal: Signal) {
        match signal {
            Signal::Interrupt | Signal::Terminate => self.end(core),
            Signal::Child => self.reap(core),
            Signal::Hangup if self.terminal.has_closed() => self.end(core),
            Signal::Hangup => self.read_topology(core),
            // A server that does not listen yet has just made its log, and the signal could end it.
            Signal::User1 => {
                let listening = self.servers.iter().filter(|kept| kept.listens);
                listening.for_each(|kept| kept.signal(rustix::process::Signal::USR1));
            }
            Signal::User2 => {}
        }
    }
}

impl Up {
    /// Starts the servers when nats-server accepts connections, for which it has until `deadline`.
    fn look_for_bus(&mut self, core: &mut Core<Up>, deadline: Moment) {
        let Some(bus) = self.bus.as_mut().filter(|bus| !self.is_ending && !bus.has_ended) else {
            return;
        };
        if bus.listens() {
            return self.start_all(core);
        }
        if core.now() < deadline {
            core.call_later(LOOK_EVERY, move |up, core| up.look_for_bus(core, deadline));
            return;
        }
        let (limit, last) = (NATS_WITHIN.as_secs(), bus.last_words());
        let what = format!("nats-server accepts no connections after {limit} s; {last}");
        self.outcome = Err(Failure::new(Exit::Unavailable, what));
        core.stop();
    }

    /// If nats-server has ended, says so. If it never accepted connections, stops with a failure.
    fn reap_bus(&mut self, core: &mut Core<Up>) {
        let Some(bus) = &mut self.bus else { return };
        match bus.reap() {
            Some(how) if bus.address.is_some() => {
                let what = "the servers keep their reports, but exchange none; to start it again, start herd up again";
                print_line(&format!("{how}; {what}"));
            }
            Some(how) => {
                self.outcome = Err(Failure::new(Exit::Unavailable, how));
                core.stop();
            }
            None => {}
        }
    }

    fn start_all(&mut self, core: &mut Core<Up>) {
        (0..self.servers.len()).for_each(|number| self.start(core, number));
    }

    fn start(&mut self, core: &mut Core<Up>, number: usize) {
        let bus = self.bus.as_ref().map(|bus| bus.address);
        if bus == Some(None) {
            return;
        }
        let bus = bus.flatten().map(|address| format!("--bus={address}"));
        let kept = &mut self.servers[number];
        if self.is_ending || kept.removed.is_some() || kept.child.is_some() {
            return;
        }
        kept.started = core.now();
        // The option is one word, because the path may begin with a dash. The server's name may, too, so it follows
        // "--".
        let topology = [OsStr::new("--topology="), self.topology.path().as_os_str()];
        let child = Command::new(&self.program)
            .args(["serve", "--parent", &process::id().to_string()])
            .arg(topology.into_iter().collect::<OsString>())
            .args(bus)
            .args(["--", &kept.server.name])
            // The service manager has started this process, and not the servers.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn();
        match child {
            Ok(child) => {
                kept.child = Some(child);
                self.look_later(core, number);
            }
            Err(e) => self.rest(core, number, Exit::Os, &format!("cannot be started: {e}")),
        }
    }

    fn look_later(&mut self, core: &mut Core<Up>, number: usize) {
        core.call_later(LOOK_EVERY, move |up, core| up.look(core, number));
    }

    /// Checks whether a server listens, and checks again later until the server listens or has ended.
    fn look(&mut self, core: &mut Core<Up>, number: usize) {
        let kept = &mut self.servers[number];
        let Some(child) = &kept.child else { return };
        if !kept.has_spoken() {
            return self.look_later(core, number);
        }
        kept.listens = true;
        if self.is_shown {
            print_line(&format!("{} listens, process {}", kept.server.name, child.id()));
        }
        kept.reload();
        self.show_when_tried(core);
    }

    /// Reaps all children that have ended: the kernel may deliver one SIGCHLD for several.
    fn reap(&mut self, core: &mut Core<Up>) {
        self.reap_bus(core);
        for number in 0..self.servers.len() {
            let Some((process, status)) = self.servers[number].reap() else { continue };
            let kept = &self.servers[number];
            if kept.removed.is_some() {
                print_line(&format!("{} has ended, {}", kept.server.name, Exit::describe(status)));
            } else if !(self.is_ending && status.success()) {
                let exit = Exit::of(status).unwrap_or(Exit::Internal);
                let how = format!("(process {process}) has ended, {}", Exit::describe(status));
                self.rest(core, number, exit, &how);
            }
        }
        self.reload_when_removed(core);
        self.stop_when_alone(core);
    }

    /// Reads the topology again, and stops the servers that were removed from it.
    fn read_topology(&mut self, core: &mut Core<Up>) {
        if self.is_ending {
            return;
        }
        self.is_reloading = true;
        let topology = self.topology.read_supposing(self.supposed);
        let topology = topology.map_err(|failure| print_error(format_args!("herd: {failure}")));
        if let Ok(topology) = topology {
            self.patience = topology.limits.drain + ENDED_WITHIN;
            let wanted = topology.servers.iter().filter(|server| !server.plain);
            let is_named =
                |server: &&Server| self.names.is_empty() || self.names.contains(&server.name);
            let wanted: Vec<&Server> = wanted.filter(is_named).collect();
            for kept in &mut self.servers {
                match wanted.iter().find(|server| server.name == kept.server.name) {
                    Some(_) => kept.removed = None,
                    None if kept.removed.is_none() => {
                        (kept.removed, kept.last) = (Some(core.now()), None);
                        kept.signal(rustix::process::Signal::TERM);
                    }
                    None => {}
                }
            }
            let known =
                self.servers.iter().map(|kept| kept.server.name.clone()).collect::<Vec<_>>();
            let added = wanted.into_iter().filter(|server| !known.contains(&server.name));
            self.servers.extend(added.map(SupervisedServer::new));
        }
        let patience = self.patience;
        core.call_later(patience, move |up, core| {
            let is_late = |since: Moment| core.now() - since >= patience;
            let late = up.servers.iter().filter(|kept| kept.removed.is_some_and(is_late));
            late.for_each(|kept| kept.signal(rustix::process::Signal::KILL));
        });
        self.reload_when_removed(core);
    }

    /// If SIGHUP has come, and all servers that were removed have ended, passes it on and starts the servers that were
    /// added.
    fn reload_when_removed(&mut self, core: &mut Core<Up>) {
        let mut removed = self.servers.iter().filter(|kept| kept.removed.is_some());
        if !self.is_reloading || removed.any(|kept| kept.child.is_some()) {
            return;
        }
        self.is_reloading = false;
        print_line("all servers reload their configuration");
        for number in 0..self.servers.len() {
            let kept = &mut self.servers[number];
            kept.is_to_reload = kept.child.is_some();
            kept.reload();
            if kept.last.is_none() {
                self.start(core, number);
            }
        }
    }

    /// Prints `how` a server ended, and schedules the next attempt.
    fn rest(&mut self, core: &mut Core<Up>, number: usize, exit: Exit, how: &str) {
        let kept = &mut self.servers[number];
        let name = &kept.server.name;
        kept.last = Some(exit);
        if self.is_ending {
            return print_line(&format!("{name} {how}"));
        }
        if core.now() - kept.started >= LIVED_LONG {
            kept.pauses.reset();
        }
        let pause = kept.pauses.next(0);
        // Before the table is printed, `up` may still exit, so it promises no next attempt.
        let next = self.is_shown.then(|| format!("; next attempt in {} s", pause.as_secs()));
        print_line(&format!("{name} {how}{}", next.unwrap_or_default()));
        core.call_later(pause, move |up, core| up.start(core, number));
        self.show_when_tried(core);
    }

    /// Prints the table when each server has been tried once. If none of them listens, stops with a failure.
    fn show_when_tried(&mut self, core: &mut Core<Up>) {
        let all_were_tried =
            self.servers.iter().all(|kept| kept.removed.is_some() || kept.was_tried());
        if self.is_shown || self.is_ending || !all_were_tried {
            return;
        }
        self.is_shown = true;
        self.starting = None;
        if !self.servers.iter().any(|kept| kept.listens) {
            let exit = self.servers.iter().find_map(|kept| kept.last).unwrap_or(Exit::Internal);
            self.outcome = Err(Failure::new(exit, "no server could be started"));
            return core.stop();
        }
        let rows: Vec<(&Server, Option<u32>)> = self
            .servers
            .iter()
            .map(|kept| (&kept.server, kept.child.as_ref().filter(|_| kept.listens).map(Child::id)))
            .collect();
        print_line(&banner::table(&rows));
        if let Some((bus, address)) = self.bus.as_ref().and_then(|bus| Some((bus, bus.address?))) {
            print_line(&bus.banner(address));
        }
        if let Some(page) = banner::live_page(self.https, &rows) {
            print_line(&page);
        }
        let program = env::args_os().next().unwrap_or_else(|| "herd".into());
        print_line(&banner::what_to_type(&program.to_string_lossy(), self.topology.named(), &rows));
    }

    /// Stops all servers: with SIGTERM at the first signal, with SIGKILL at the second or when they take too long.
    fn end(&mut self, core: &mut Core<Up>) {
        if self.is_ending && core.now() - self.ending_since < ONE_WISH {
            return;
        }
        self.ending_since = core.now();
        if self.is_ending {
            self.send("killing all servers", rustix::process::Signal::KILL);
        } else {
            self.is_ending = true;
            self.send(
                "stopping all servers; a second signal kills them",
                rustix::process::Signal::TERM,
            );
            // If all have ended before, the loop has stopped, and this timer does not fire.
            core.call_later(self.patience, |up, _| {
                let what = "killing the servers that have not ended within drain_ms and 10 s";
                up.send(what, rustix::process::Signal::KILL);
            });
        }
        self.stop_when_alone(core);
    }

    fn send(&self, what: &str, signal: rustix::process::Signal) {
        print_line(what);
        self.servers.iter().for_each(|kept| kept.signal(signal));
    }

    fn stop_when_alone(&mut self, core: &mut Core<Up>) {
        if self.is_ending
            && !core.is_stopping()
            && self.servers.iter().all(|kept| kept.child.is_none())
        {
            print_line("all servers have ended");
            core.stop();
        }
    }
}
