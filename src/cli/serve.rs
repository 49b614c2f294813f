//! `herd serve NAME`: runs one server of the herd in the foreground.
//!
//! Every check of the start comes before the ports are opened. So a supervisor that reads the start line on stdout, as
//! `herd up` does, knows that the server listens. The steps, with the exit statuses of their failures:
//!
//! ```text
//! topology (78) ─▶ name (64) ─▶ log (73) ─▶ places, certificates (78) ─▶ status (73) ─▶ journal (65, 69, 74)
//!   ─▶ ports (69) ─▶ start line ─▶ loop (71, 74)
//! ```
//!
//! SIGINT and SIGTERM stop the server, also while it reads its journal; SIGUSR2 stops it slowly (the lame duck). At SIGHUP
//! it reloads its configuration and opens its log again, or stops if the terminal was closed; at SIGUSR1 it opens its log
//! again. The log file of a start that fails is removed; its cause is on stderr.

use super::check::check_folder;
use super::config_file::{self, ConfigFile};
use super::descriptors::connections_max;
use super::exit::{Exit, Failure};
use super::journal::refused;
use super::print_line;
use super::terminal::Terminal;
use super::topology_file::{FOLDER_MODE, TopologyFile};
use crate::config::{Server, Supposed, Topology};
use crate::files;
use crate::journal::{JournalSettings, KernelDisk, OpenError};
use crate::log::{self, plural};
use crate::server::member::Member;
use crate::server::notify::Notify;
use crate::server::start::ServerAddrs;
use herd_reactor::{Io, MioIo, Moment, Reactor, Signal};
use rustix::process::{self, Pid, Resource, Rlimit};
use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Run one server of the herd in the foreground
#[derive(Debug, clap::Args)]
#[command(after_help = "\
When the server listens, it prints one line on stdout, which begins with NAME and a colon.
It does not use the built-in topology.

Signals:
  SIGTERM, SIGINT  Stop accepting, serve for drain_ms at most, write the journal, and end with 0
  SIGUSR2          Close the ports, end the clients over lame_duck_ms, then stop as at SIGTERM
  SIGHUP           Read the topology and its files again, as herd reload does, and open the log file
                   again. If the terminal was closed, stop as at SIGTERM
  SIGUSR1          Open the log file again, after another program has renamed it

Environment:
  HERD_TOPOLOGY             The topology, unless --topology names one
  RUST_LOG                  What to log, instead of [log] level: error, warn, info, debug, trace
                            or off. RUST_LOG=info,herd::traffic=off leaves out the lines of
                            clients and neighbours
  LOGS_DIRECTORY            The folder of the log, unless [log] says where it goes
  JOURNAL_STREAM            systemd sets it. If it names stderr, and neither [log] nor
                            LOGS_DIRECTORY says where the log goes, it goes to the journal
  GOOGLE_MAPS_API_KEY       Google's key, unless places.key_file names a file
  https_proxy, HTTPS_PROXY  The proxy to Google, unless places.proxy names one
  no_proxy, NO_PROXY        Hosts that need no proxy
  NOTIFY_SOCKET, WATCHDOG_USEC                            Set by systemd; see docs/packages.md
  STATE_DIRECTORY, RUNTIME_DIRECTORY, CREDENTIALS_DIRECTORY")]
pub(super) struct Serve {
    /// A server of the topology. Write `--` before a name that begins with a dash
    name: String,
    /// Stop when this process, the parent, has ended; `herd up` passes it
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<i32>,
    /// Use the nats-server at this address as the bus, and no edges; `herd up --bus` passes it
    #[arg(long, value_name = "ADDRESS", hide = true)]
    bus: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(&self, file: &TopologyFile) -> Result<(), Failure> {
        if let Some(parent) = self.parent {
            end_with(parent)?;
        }
        file.must_be_a_file()?;
        let supposed = Supposed { bus: self.bus, ..Supposed::default() };
        let mut topology = file.read_supposing(supposed)?;
        let server = file.server_to_run(&topology, &self.name)?.clone();
        if let Some(folder) = log::destination(&topology.log).folder {
            must_take_files(file, &topology, "log", &folder)?;
        }
        let log = log::start(&topology.log, &self.name, || MioIo::wall_clock().0)
            .map_err(|e| Failure::new(Exit::CannotCreate, format!("cannot create the log: {e}")))?;
        let outcome =
            serve(file, &mut topology, &server, supposed, &log, self.parent).map_err(told);
        log::flush();
        outcome
    }
}

/// Logs why a server that had started has failed. The log passes it on to stderr. A server that could not start has no
/// log, so its failure is printed.
fn told(failure: Failure) -> Failure {
    if log::abandon() || !::log::log_enabled!(::log::Level::Error) {
        return failure;
    }
    ::log::error!(event = "failed"; "{failure}");
    Failure { what: String::new(), ..failure }
}

/// Runs `server` of `topology`, which was read from `file` with the settings in `supposed`. `log`: where its log is, for the
/// start line. `parent`: the process whose end stops it.
fn serve(
    file: &TopologyFile,
    topology: &mut Topology,
    server: &Server,
    supposed: Supposed,
    log: &str,
    parent: Option<i32>,
) -> Result<(), Failure> {
    let (name, neighbours) = (&server.name, server.neighbours.len());
    let (connections_max, kept, wanted) = connections_max(neighbours);
    log_settings(file, topology, name, connections_max);
    if kept < wanted {
        ::log::warn!(
            "the limit of {} descriptors (ulimit -Hn) is low for {}: clients may leave {kept} for neighbours, \
             listeners and files, which may need {wanted}; raise it to {} or more",
            connections_max + kept,
            plural(neighbours, "neighbour"),
            4 * wanted,
        );
    }
    // herd up prints them once for all its servers.
    let level = if parent.is_some() { ::log::Level::Info } else { ::log::Level::Warn };
    for warning in topology.warnings() {
        ::log::log!(level, "{}", warning.in_one_line());
    }
    dump_no_core();
    let terminal = Terminal::at_start();
    let wall = MioIo::wall_clock();
    let herd = topology.herd.clone();
    let (places, peer_tls, access) = config_file::open(topology, &herd, name, wall, true)
        .map_err(|faults| file.refused(&faults))?;
    let places = places.expect("it was to be opened");
    let signals =
        [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User1, Signal::User2];
    let mut io =
        MioIo::new(&signals).map_err(|e| Failure::os("cannot create the event poll", e))?;
    let mut notify = notify(&mut io);
    let seed = io.random();
    let mut member = Member::new(topology, name, places.source, seed, connections_max)
        .expect("the server was looked up in this topology");
    if let Some(network) = places.network {
        member = member.with_network(network);
    }
    member.place_queries.fallback = places.fallback;
    member.peer_tls = peer_tls.map(Box::new);
    *member.access = access;
    if let Some(folder) = &topology.status_folder {
        must_take_files(file, topology, "status", folder)?;
        // If other users could write to the folder, they could replace the socket.
        files::create_folder(folder, FOLDER_MODE).map_err(|e| {
            let what =
                format!("cannot create the folder for status sockets, {}: {e}", folder.display());
            Failure::new(Exit::CannotCreate, what)
        })?;
    }
    member.config_reader = Some(Box::new(ConfigFile {
        file: file.clone(),
        name: name.clone(),
        supposed,
        terminal,
        warned: topology.sha256.clone(),
    }));
    if let Some(settings) = &topology.journal {
        let mut stops = || {
            notify.extend(io.now());
            io.is_told_to_end()
        };
        member = match open_journal(member, settings, &mut stops)? {
            Some(member) => member,
            None => {
                log::started();
                ::log::info!("{name} was stopped while it read its journal, which is unchanged");
                return Ok(());
            }
        };
    }
    member.notify = notify;
    let mut reactor = Reactor::new(io, member, Member::reactor_limits(topology));
    let ServerAddrs { client, peer, http, client_tls } =
        Member::start(&mut reactor).map_err(|e| Failure::new(Exit::Unavailable, e.to_string()))?;
    log::started();
    let named = |name: &str, address: Option<SocketAddr>| {
        address.map_or(String::new(), |address| format!(", {name} {address}"))
    };
    let http = named("clients with TLS", client_tls) + &named("http", http);
    ::log::info!(event = "listening"; "{name} listens: clients {client}, neighbours {peer}{http}");
    print_line(&format!("{name}: clients {client}, neighbours {peer}{http}, log {log}"));
    if let Err(e) = reactor.run() {
        return Err(match reactor.state().journal_failed() {
            true => {
                Failure::new(Exit::Io, format!("journal: {e}; reports without a reply are lost"))
            }
            false => Failure::os("the event loop failed", e),
        });
    }
    let (member, core) = reactor.parts();
    member
        .close_journal(core.now())
        .map_err(|e| Failure::new(Exit::Io, format!("journal: {e}")))?;
    if let Some(parent) = parent.filter(|parent| process::getppid() != Pid::from_raw(*parent)) {
        ::log::info!("process {parent}, the parent, has ended, so the kernel sent SIGTERM");
    }
    ::log::info!(event = "ended"; "{name} has ended");
    Ok(())
}

/// The service manager, as the environment names it.
fn notify(io: &mut MioIo) -> Notify {
    // The reactor's moments count from this time of CLOCK_MONOTONIC.
    let passed = io.now().since(Moment::default());
    let monotonic = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    Notify::from_environment(|name| env::var_os(name), monotonic.saturating_sub(passed))
}

/// Fails if this server could not create a file in `folder`, the folder of the table `table`.
fn must_take_files(
    file: &TopologyFile,
    topology: &Topology,
    table: &str,
    folder: &Path,
) -> Result<(), Failure> {
    let Some(fault) = check_folder(topology, table, folder) else { return Ok(()) };
    Err(Failure { exit: Exit::CannotCreate, ..file.refused(&[fault]) })
}

/// Logs which program runs with which settings: the first lines of each log.
fn log_settings(file: &TopologyFile, topology: &Topology, name: &str, connections_max: usize) {
    let (version, process) = (env!("HERD_VERSION"), std::process::id());
    ::log::info!("herd {version}, process {process}: {name} of {}, topology {file}", topology.herd);
    for table in ["[places]", "[log]", "[limits]"] {
        ::log::info!("{table} {}", topology.in_force(table));
    }
    match &topology.journal {
        Some(journal) => {
            let (keys, folder) = (topology.in_force("[journal]"), journal.folder.display());
            ::log::info!("[journal] {keys}, folder {folder}");
        }
        None => ::log::info!("no [journal]: {name} forgets its reports when it ends"),
    }
    if let Some(bus) = &topology.bus {
        let urls = bus.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        ::log::info!("[bus] bucket = {}, nats = {urls}", bus.bucket.name());
    }
    let descriptors = process::getrlimit(Resource::Nofile).current;
    let descriptors = descriptors.map_or("unlimited".into(), |most| most.to_string());
    let clients = topology.limits.connections.unwrap_or(usize::MAX).min(connections_max);
    ::log::info!("descriptors: {descriptors}, so at most {clients} clients are connected at once");
}

/// Opens the journal of `member`, in its own folder under that of `settings`, and replays it. Returns `None` if `stops`
/// returned true meanwhile.
fn open_journal(
    member: Member,
    settings: &JournalSettings,
    stops: &mut dyn FnMut() -> bool,
) -> Result<Option<Member>, Failure> {
    let folder = settings.folder.join(&member.server.name);
    let begun = Instant::now();
    let disk = KernelDisk::new(&folder, move || begun.elapsed());
    let wall = MioIo::wall_clock();
    let opened = member.with_journal(Box::new(disk), settings, wall, stops);
    let (member, replayed) = match opened {
        Err(OpenError::Stopped) => return Ok(None),
        opened => opened.map_err(refused)?,
    };
    ::log::info!(
        "journal: {}: {} of {} read in {:.1?}",
        folder.display(),
        plural(replayed.records as usize, "record"),
        plural(member.table.len(), "client"),
        begun.elapsed(),
    );
    Ok(Some(member))
}

/// Turns core dumps off: a core would contain keys.
fn dump_no_core() {
    let given = process::getrlimit(Resource::Core);
    // A process may always lower its own limit.
    let _ = process::setrlimit(Resource::Core, Rlimit { current: Some(0), ..given });
}

/// Makes the kernel send SIGTERM to this process when `parent` ends. Fails if it has ended already.
pub(super) fn end_with(parent: i32) -> Result<(), Failure> {
    process::set_parent_process_death_signal(Some(process::Signal::TERM))
        .map_err(|e| Failure::os("prctl(PR_SET_PDEATHSIG)", e))?;
    match process::getppid() == Pid::from_raw(parent) {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Unavailable,
            format!("process {parent}, the parent, has ended already"),
        )),
    }
}
