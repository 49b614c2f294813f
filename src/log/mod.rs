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
//! info!, warn! -> filter -> LineForm --+-> LogFile (buffer, losses) -> RotatingFile, or Stderr
//! traffic ------> LineForm ------------+-> LogFile -> Stderr, if the log is a file: warnings and errors
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
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::{Level, LevelFilter, Log, Metadata, Record};
use env_filter::Filter;

pub use destination::{LogDestination, LogSettings, LogTo};
pub use disk::{LogDisk, RotatingFile};
pub use escape::{Escaped, escape, one_line, operand, plural, shell_quoted};
pub use filter::{LEVEL_REMEDY, directives};
use line::LineForm;
pub use log_file::{LogFile, WAITING_BYTES};
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

/// A log that is open: the log itself, and what goes with it.
pub struct OpenLog {
    log: LogFile,
    /// Stderr, if the log is a file.
    stderr: Option<LogFile>,
    all_to_stderr: bool,
    filter: Filter,
    clock: Clock,
    server: String,
    /// The path of the file; `None` if the log is stderr.
    path: Option<PathBuf>,
    /// Whether stderr was told that the log fails.
    failure_is_told: bool,
    settings: LogSettings,
}

thread_local! {
    static LOG: RefCell<Option<OpenLog>> = const { RefCell::new(None) };
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
    let (mut log, ignored) = OpenLog::new(settings, name, clock, None)?;
    ::log::set_boxed_logger(Box::new(Logger))
        .map_err(|error| io::Error::new(io::ErrorKind::AlreadyExists, error))?;
    // These bypass the filter, which this very fault may have broken.
    ignored.iter().for_each(|what| log.log.complain(what));
    log.flush();
    let place = log.place();
    log.put_in_force();
    Ok(place)
}

/// Prepares the log for new settings: opens its file, if it is another one. [`OpenLog::apply`] puts it in force. `None`
/// if no log has been started.
///
/// # Errors
/// Fails if the folder or the file cannot be created; the message names it.
pub fn prepare(settings: &LogSettings) -> io::Result<Option<OpenLog>> {
    let prepared = with_log(|old| {
        let path = old.path.as_deref();
        Some(OpenLog::new(settings, &old.server, old.clock, path))
    });
    prepared.transpose().map(|prepared| prepared.map(|(log, _)| log))
}

/// The server has started: its log stays, the link to it is made, and its oldest files are removed.
pub fn started() {
    if let Some(why) = with_log(|log| log.log.keep().err()) {
        ::log::warn!("log: {why}");
    }
}

/// Ends the log of a server that could not start, and removes its file. Returns false, and does nothing, if the server
/// had [`started`].
pub fn abandon() -> bool {
    let is_kept = with_log(|log| {
        log.flush();
        log.log.is_kept
    });
    if !is_kept {
        LOG.take();
    }
    !is_kept
}

/// Opens the log file again under its name, after another program has moved or removed it. It says so in the log.
pub fn reopen() {
    match with_log(|log| Some((log.path.clone()?, log.reopen()))) {
        Some((path, true)) => ::log::info!("log: opened {} again", path.display()),
        // `failure` says why.
        Some((_, false)) => {}
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
            log.log.traffic(unix_ns, &party, direction, line);
            if log.all_to_stderr
                && let Some(stderr) = &mut log.stderr
            {
                stderr.traffic(unix_ns, &party, direction, line);
            }
        });
    }
}

/// Writes the buffer to the file. A panic hook may call it.
pub fn flush() {
    with_log(OpenLog::flush);
}

/// Whether the buffer holds lines; then the caller should [`flush`] within 100 ms.
pub fn unwritten() -> bool {
    with_log(|log| log.unwritten())
}

/// Returns the number of lines that the log lacks because its file, or stderr without one, refused writes.
pub fn dropped() -> u64 {
    with_log(|log| log.log.dropped)
}

/// Returns the number of lines that stderr lacks, because nothing reads it.
pub fn dropped_stderr() -> u64 {
    with_log(|log| log.stderr.as_ref().unwrap_or(&log.log).dropped)
}

/// Returns why the log cannot be written, or why its file, which was moved or removed, cannot be replaced.
pub fn failure() -> Option<String> {
    with_log(|log| log.failure())
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
fn with_log<T: Default>(f: impl FnOnce(&mut OpenLog) -> T) -> T {
    let ours = LOG.try_with(|log| log.try_borrow_mut().ok()?.as_mut().map(f));
    ours.ok().flatten().unwrap_or_default()
}

impl OpenLog {
    /// Opens the log of the server `name`, and returns it with a warning for each directive that is ignored. If the file
    /// at `path` is in the folder that the settings name, it stays in use: no file is opened, and
    /// [`apply`](OpenLog::apply) takes it over.
    fn new(
        settings: &LogSettings,
        name: &str,
        clock: Clock,
        path: Option<&Path>,
    ) -> io::Result<(OpenLog, Vec<String>)> {
        let LogDestination { folder, all_to_stderr, journal } = destination(settings);
        let (filter, ignored) = filter(settings);
        let on = |disk: Box<dyn LogDisk>, stderr: bool| {
            let form = LineForm::new(settings.json, stderr, stderr && journal, name);
            LogFile::new(disk, clock).with_form(form)
        };
        let stderr = on(Box::new(Stderr), true);
        let (log, stderr, path) = match folder {
            None => (stderr, None, None),
            Some(folder) => match path.filter(|path| path.parent() == Some(&*folder)) {
                Some(path) => (on(Box::new(Stderr), false), Some(stderr), Some(path.to_owned())),
                None => {
                    let start = stamp::for_a_file_name(clock());
                    let file = RotatingFile::create(settings, &folder, name, &start)?;
                    let path = file.path().to_owned();
                    (on(Box::new(file), false), Some(stderr), Some(path))
                }
            },
        };
        let (server, settings, failure_is_told) = (name.to_owned(), settings.clone(), false);
        let log = OpenLog {
            log,
            stderr,
            all_to_stderr,
            filter,
            clock,
            server,
            path,
            failure_is_told,
            settings,
        };
        Ok((log, ignored))
    }

    /// Puts this log in force, instead of the one before.
    pub fn apply(mut self) {
        with_log(|old| {
            old.flush();
            match old.path.is_some() && old.path == self.path {
                true => self.log.go_on_with(&mut old.log, &self.settings),
                false => self.log.dropped = old.log.dropped,
            }
            if let (Some(new), Some(old)) = (&mut self.stderr, &old.stderr) {
                new.dropped = old.dropped;
            }
        });
        self.put_in_force();
        started();
    }

    fn put_in_force(self) {
        let traffic = Metadata::builder().level(Level::Info).target(TRAFFIC).build();
        TRAFFIC_IS_ON.store(self.filter.enabled(&traffic), Ordering::Relaxed);
        ::log::set_max_level(self.filter.filter());
        LOG.set(Some(self));
    }

    fn place(&self) -> String {
        self.path.as_ref().map_or("stderr".into(), |path| path.display().to_string())
    }

    fn event(&mut self, record: &Record<'_>) {
        self.log.event(record);
        if let Some(stderr) = &mut self.stderr
            && (self.all_to_stderr || record.level() <= Level::Warn)
        {
            stderr.event(record);
        }
        self.tell();
    }

    fn flush(&mut self) {
        self.log.flush();
        self.tell();
        if let Some(stderr) = &mut self.stderr {
            stderr.flush();
        }
    }

    fn reopen(&mut self) -> bool {
        let is_open = self.log.reopen();
        self.tell();
        is_open
    }

    /// Whether there is anything to flush. Warnings that stderr has refused wait until the next flush.
    fn unwritten(&self) -> bool {
        let on_stderr = self.stderr.as_ref().is_some_and(LogFile::unwritten);
        self.log.unwritten() || self.all_to_stderr && on_stderr
    }

    fn failure(&self) -> Option<String> {
        self.log.failure().map(|why| why.to_string())
    }

    /// Passes the log's own warnings on to stderr, and tells it once that the log fails.
    fn tell(&mut self) {
        let failure = self.failure();
        let is_new = failure.is_some() && !self.failure_is_told;
        self.failure_is_told = failure.is_some();
        let complaints = self.log.take_complaints();
        let Some(stderr) = &mut self.stderr else { return };
        for what in complaints {
            stderr.tell(Level::Warn, &what);
        }
        if let Some(why) = failure.filter(|_| is_new) {
            let what = format!("the log cannot be written, lines may be lost: {why}");
            stderr.tell(Level::Error, &what);
        }
        // What stderr lacks is told there alone.
        drop(stderr.take_complaints());
    }
}

impl std::fmt::Debug for OpenLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenLog").field(&self.place()).finish()
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
    let chosen = chosen.unwrap_or_else(|| "info".to_owned());
    // All its directives make sense.
    if builder.try_parse(&chosen).is_err() {
        builder.filter_level(LevelFilter::Info);
    }
    (builder.build(), ignored)
}

/// The logger of the `log` crate's macros.
struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        with_log(|log| log.filter.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        with_log(|log| {
            if log.filter.matches(record) {
                log.event(record);
            }
        });
    }

    fn flush(&self) {}
}
