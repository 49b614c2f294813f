//! The server's log: one line for each event, in a file or on stderr.
//!
//! In: events, through the macros of the `log` crate (`warn!("...")`), and every line received or sent,
//! through [`traffic`]. Out: a file `Alford-2026-11-22T10-16-39Z.log` with lines like
//!
//! ```text
//! 2026-11-22T10:16:39.123456Z INFO  Chatserver,12 < IAMAT kiwi +34.0689-118.4451 1479.5
//! 2026-11-22T10:16:39.123461Z INFO  Parker > AT Alford +0.2 kiwi +34.0689-118.4451 1479.5
//! 2026-11-22T10:17:02.000013Z WARN  limit: unfinished_line_ms = 30000, reached by Chatserver,12: 1 connection closed
//! ```
//!
//! It knows neither the herd nor the reactor, and reads only the clock that its caller passes.
//!
//! ```text
//! settings, environment -> LogDestination, filter
//!
//! info!, warn! -> filter -> LineForm --+-> LogFile (buffer, losses) -> RotatingFile
//! traffic ------> LineForm ------------+-> LogFile -> Stderr: every line, or warnings and errors
//! ```
//!
//! The idea: the macros are for rare events. A busy server logs two or more traffic lines
//! for each request, and formatting them would cost more than the request. So traffic lines go
//! straight into the buffer, and lines of one connection with the same time reuse the formatted prefix.
//! Both kinds end up in the same buffer, in order.
//!
//! The buffer is written when it holds 64 KiB, immediately for a warning or an error, and at a
//! [`flush`]: the reactor calls it 100 ms after it first finds something [`unwritten`], and `main` at
//! the end.
//!
//! `RUST_LOG` selects the lines, as `env_filter` documents it, else the key `level`; the default is `info`, also if both
//! are empty. Traffic lines have target [`TRAFFIC`] and level info: `RUST_LOG=info,herd::traffic=off` leaves them out.
//! The lines about questions have target [`WHATSAT`]. A directive that makes no sense is ignored, with a warning.
//!
//! Invariants: no byte of a client or a neighbour can end or fake a log line ([`escape()`]). No disk
//! error stops the server: lines are dropped and counted. No write waits for a reader of stderr. A process has one log,
//! which belongs to the thread that started it; events of other threads are not logged. So no line takes a
//! lock: the two atomic operations of a lock took a twelfth of a busy server's time.

mod destination;
mod disk;
mod escape;
mod filter;
mod line;
mod log_file;
pub mod secret;
mod stamp;
mod stderr;

use std::cell::RefCell;
use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::{Level, Log, Metadata, Record};
use env_filter::Filter;

pub use destination::{LogDestination, LogSettings, LogTo};
pub use disk::{LogDisk, RotatingFile};
pub use escape::{Escaped, OneLine, escape, one_line, operand, plural, shell_quoted};
pub use filter::{LEVEL_REMEDY, directives};
use line::LineForm;
pub use log_file::{LogFile, WAITING_BYTES};
pub(crate) use stamp::rfc_3339;
use stderr::Stderr;

/// The wall clock, in nanoseconds since 1970, UTC.
pub type Clock = fn() -> u64;

/// The target of the traffic lines, for `RUST_LOG`.
pub const TRAFFIC: &str = "herd::traffic";

/// The target of the lines about questions, for `RUST_LOG`.
pub const WHATSAT: &str = "herd::whatsat";

/// The direction of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received: `<`.
    In,
    /// Sent: `>`.
    Out,
}

impl Direction {
    #[inline]
    fn sign(self) -> &'static [u8; 3] {
        match self {
            Direction::In => b" < ",
            Direction::Out => b" > ",
        }
    }
}

/// The peer of a connection, as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party<'a> {
    /// The peer's name, which the log escapes: `Parker`.
    Named(&'a [u8]),
    /// The name of our protocol and the connection's number: `Chatserver,12`.
    Numbered(&'static str, u32),
}

impl fmt::Display for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Named(name) => Escaped(name).fmt(f),
            Party::Numbered(word, number) => write!(f, "{word},{number}"),
        }
    }
}

/// The log of this process.
struct CurrentLog {
    /// The log file; `None` if the log is stderr.
    file: Option<LogFile>,
    stderr: LogFile,
    open: OpenLog,
    clock: Clock,
    server: String,
    has_started: bool,
    /// Whether stderr was told that the log fails.
    failure_is_told: bool,
    /// The number of lines dropped by the logs before this one.
    dropped_before: u64,
}

/// Settings of the log, whose file is open, so that they can be put in force.
#[derive(Debug)]
pub struct OpenLog {
    settings: LogSettings,
    destination: LogDestination,
    filter: Filter,
    /// A warning for each directive of `RUST_LOG` that is ignored.
    ignored: Vec<String>,
    /// The path of the file; `None` if the log is stderr.
    path: Option<PathBuf>,
    /// The file, until it is in use; `None` if the log goes on in the same one.
    new_file: Option<RotatingFile>,
}

thread_local! {
    static LOG: RefCell<Option<CurrentLog>> = const { RefCell::new(None) };
}
static TRAFFIC_IS_ON: AtomicBool = AtomicBool::new(false);

/// Starts the log of the server `name`, and returns the path of its file, or `stderr`.
///
/// The file is new, and named after the server and the time: `Alford-2026-11-22T10-16-39Z.log`,
/// with `-2` and so on before the `.log` if that exists. It is removed again unless [`started`] is called.
///
/// # Errors
/// Fails if the folder or the file cannot be created (the message names it), or if a log has been started before.
pub fn start(settings: &LogSettings, name: &str, clock: Clock) -> io::Result<String> {
    let open = OpenLog::new(settings, name, clock, None)?;
    ::log::set_boxed_logger(Box::new(Logger))
        .map_err(|error| io::Error::new(io::ErrorKind::AlreadyExists, error))?;
    let mut log = CurrentLog {
        file: None,
        stderr: LogFile::new(Box::new(Stderr::new()), clock),
        open,
        clock,
        server: name.to_owned(),
        has_started: false,
        failure_is_told: false,
        dropped_before: 0,
    };
    log.put_in_force();
    let place = log.place();
    LOG.set(Some(log));
    Ok(place)
}

/// Prepares the log for new settings: opens its file, if it is another one. [`OpenLog::apply`] puts them in force. `None`
/// if no log has been started.
///
/// # Errors
/// Fails if the folder or the file cannot be created; the message names it.
pub fn prepare(settings: &LogSettings) -> io::Result<Option<OpenLog>> {
    let open =
        |log: &CurrentLog| OpenLog::new(settings, &log.server, log.clock, log.open.path.as_deref());
    with_log(|log| Some(open(log))).transpose()
}

/// The server has started: its log stays, the link to it is made, and its oldest files are removed.
pub fn started() {
    let failed = with_log(|log| {
        log.has_started = true;
        log.file.as_mut()?.disk.keep(&log.open.settings).err()
    });
    if let Some(why) = failed {
        ::log::warn!("log: {why}");
    }
}

/// Ends the log of a server that could not start, and removes its file. Returns false, and does nothing, if the server
/// had [`started`].
pub fn abandon() -> bool {
    let has_started = with_log(|log| {
        log.flush();
        log.has_started
    });
    if !has_started {
        LOG.take();
    }
    !has_started
}

/// Opens the log file again under its name, after another program has moved or removed it. It says so in the log.
pub fn reopen() {
    match with_log(|log| Some((log.file.as_mut()?.reopen(), log.place()))) {
        Some((true, path)) => ::log::info!("log: opened {path} again"),
        Some((false, _)) => flush(),
        None => ::log::info!("log: there is no file to open again"),
    }
}

/// Returns where the log goes with these settings in this process's environment.
pub fn destination(settings: &LogSettings) -> LogDestination {
    LogDestination::choose(settings, env::var_os("LOGS_DIRECTORY").as_deref(), is_journal())
}

/// Whether journald reads this process's stderr. Then a line may begin with its priority: `<4>`.
pub fn is_journal() -> bool {
    stderr::is_journal(env::var_os("JOURNAL_STREAM").as_deref())
}

/// Whether [`traffic`] logs anything; [`start`] decides this.
#[inline]
pub fn traffic_is_on() -> bool {
    TRAFFIC_IS_ON.load(Ordering::Relaxed)
}

/// Logs a line that was received or sent.
///
/// `unix_ns`: the time, in nanoseconds since 1970. `party`: the peer. `line`: as on the
/// wire, without its delimiter; it is escaped here. It costs little more than a copy of the line.
#[inline]
pub fn traffic(unix_ns: u64, party: Party<'_>, direction: Direction, line: &[u8]) {
    if traffic_is_on() {
        with_log(|log| {
            if let Some(file) = &mut log.file {
                file.traffic(unix_ns, &party, direction, line);
            }
            if log.open.destination.all_to_stderr {
                log.stderr.traffic(unix_ns, &party, direction, line);
            }
        });
    }
}

/// Writes the buffer to the file. A panic hook may call it.
pub fn flush() {
    with_log(CurrentLog::flush);
}

/// Whether the buffer holds lines; then the caller should [`flush`] within 100 ms.
pub fn unwritten() -> bool {
    with_log(|log| log.unwritten())
}

/// Returns the number of lines that the log lacks because its file, or stderr without one, refused writes.
pub fn dropped() -> u64 {
    with_log(|log| log.dropped())
}

/// Returns the number of lines that stderr lacks, because nothing reads it.
pub fn dropped_stderr() -> u64 {
    with_log(|log| log.stderr.dropped)
}

/// Returns why the log cannot be written, or why its file, which was moved or removed, cannot be replaced.
pub fn failure() -> Option<String> {
    with_log(|log| log.main().failure().map(io::Error::to_string))
}

/// Returns the path of the log file, or `stderr`; `None` if no log has been started.
pub fn place() -> Option<String> {
    with_log(|log| Some(log.place()))
}

/// Calls `f` with the log; does nothing if there is no log on this thread.
///
/// It also does nothing if the log is already borrowed further up the stack. That happens in one case: after a panic
/// inside the log, when the panic hook logs. That line is lost.
#[inline]
fn with_log<T: Default>(f: impl FnOnce(&mut CurrentLog) -> T) -> T {
    let ours = LOG.try_with(|log| log.try_borrow_mut().ok()?.as_mut().map(f));
    ours.ok().flatten().unwrap_or_default()
}

impl OpenLog {
    /// Opens the log of the server `name`, unless it is the file at `path`.
    fn new(
        settings: &LogSettings,
        name: &str,
        clock: Clock,
        path: Option<&Path>,
    ) -> io::Result<OpenLog> {
        let (settings, destination) = (settings.clone(), destination(settings));
        let (filter, ignored) = filter(&settings);
        let (mut path, mut new_file) = (path.map(Path::to_owned), None);
        if path.as_deref().and_then(Path::parent) != destination.folder.as_deref() {
            let start = stamp::for_a_file_name(clock());
            let create = |folder: &PathBuf| RotatingFile::create(&settings, folder, name, &start);
            new_file = destination.folder.as_ref().map(create).transpose()?;
            path = new_file.as_ref().map(|file| file.path().to_owned());
        }
        Ok(OpenLog { settings, destination, filter, ignored, path, new_file })
    }

    /// Puts these settings in force, instead of those before.
    pub fn apply(self) {
        with_log(|log| {
            log.flush();
            log.open = self;
            log.put_in_force();
        });
        started();
    }
}

impl CurrentLog {
    /// Goes on as `open` says. Lines that wait go to the new file; without one they are counted as dropped.
    fn put_in_force(&mut self) {
        let mut dropped = self.dropped();
        match (&mut self.file, self.open.new_file.take()) {
            (Some(log), Some(file)) => log.move_to(Box::new(file)),
            (None, Some(file)) => self.file = Some(LogFile::new(Box::new(file), self.clock)),
            (_, None) if self.open.path.is_some() => {}
            (log, None) => dropped += log.take().map_or(0, |log| log.waiting_lines()),
        }
        let OpenLog { settings, destination, filter, ignored, .. } = &self.open;
        let (json, server) = (settings.json, &self.server);
        self.stderr.set_form(LineForm::new(json, true, destination.journal, server));
        if let Some(log) = &mut self.file {
            log.set_form(LineForm::new(json, false, false, server));
        }
        let traffic = Metadata::builder().level(Level::Info).target(TRAFFIC).build();
        TRAFFIC_IS_ON.store(filter.enabled(&traffic), Ordering::Relaxed);
        ::log::set_max_level(filter.filter());
        // These bypass the filter, which this very fault may have broken.
        let log = self.file.as_mut().unwrap_or(&mut self.stderr);
        ignored.iter().for_each(|what| log.complain(what));
        self.dropped_before = dropped.wrapping_sub(log.dropped);
        self.flush();
    }

    /// The file, or stderr without one.
    fn main(&mut self) -> &mut LogFile {
        self.file.as_mut().unwrap_or(&mut self.stderr)
    }

    fn dropped(&mut self) -> u64 {
        self.dropped_before.wrapping_add(self.main().dropped)
    }

    fn place(&self) -> String {
        self.open.path.as_ref().map_or("stderr".into(), |path| path.display().to_string())
    }

    fn event(&mut self, record: &Record<'_>) {
        if let Some(file) = &mut self.file {
            file.event(record);
        }
        if self.open.destination.all_to_stderr {
            self.stderr.event(record);
        } else if record.level() <= Level::Warn {
            self.stderr.event(record);
            // If stderr has refused an earlier warning, there may be no other flush.
            self.stderr.flush();
        }
        self.tell();
    }

    fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
        self.tell();
        self.stderr.flush();
    }

    /// Whether there is anything to flush. Warnings that stderr has refused wait until the next flush or warning.
    fn unwritten(&self) -> bool {
        self.file.as_ref().is_some_and(LogFile::unwritten)
            || self.open.destination.all_to_stderr && self.stderr.unwritten()
    }

    /// Passes the file's own warnings on to stderr, and tells it once that the file fails.
    fn tell(&mut self) {
        // What stderr lacks is told there alone.
        self.stderr.complaints.clear();
        let Some(file) = &mut self.file else { return };
        for what in file.complaints.drain(..) {
            self.stderr.tell(Level::Warn, &what);
        }
        let failure = file.failure();
        if let Some(why) = failure.filter(|_| !self.failure_is_told) {
            let what = format!("the log cannot be written, lines may be lost: {why}");
            self.stderr.tell(Level::Error, &what);
        }
        self.failure_is_told = failure.is_some();
    }
}

/// Returns the filter of these settings and of the environment, and a warning for each directive that is ignored.
fn filter(settings: &LogSettings) -> (Filter, Vec<String>) {
    let variable = env::var_os("RUST_LOG").unwrap_or_default();
    let variable = variable.to_string_lossy();
    let (chosen, ignored) = directives(&variable);
    let warning =
        |directive: &str| format!("RUST_LOG: ignored \"{}\"; {LEVEL_REMEDY}", one_line(directive));
    let ignored = ignored.into_iter().map(warning).collect();
    let chosen = [chosen, directives(&settings.level).0].into_iter().find(|it| !it.is_empty());
    let mut builder = env_filter::Builder::new();
    // All its directives make sense.
    let _ = builder.try_parse(chosen.as_deref().unwrap_or("info"));
    (builder.build(), ignored)
}

/// The logger of the `log` crate's macros.
struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        with_log(|log| log.open.filter.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        with_log(|log| {
            if log.open.filter.matches(record) {
                log.event(record);
            }
        });
    }

    fn flush(&self) {}
}
