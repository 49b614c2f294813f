//! The server's log: one file, with one line for each event.
//!
//! In: events, through the macros of the `log` crate (`warn!("...")`), and every line received or sent,
//! through [`traffic`]. Out: a file `Alford-2026-11-22T10-16-39Z.log` with lines like
//!
//! ```text
//! 2026-11-22T10:16:39.123456Z INFO  client 127.0.0.1:51966 < IAMAT kiwi +34.0689-118.4451 1479.5
//! 2026-11-22T10:16:39.123461Z INFO  Parker > AT Alford +0.2 kiwi +34.0689-118.4451 1479.5
//! 2026-11-22T10:17:02.000013Z WARN  client 127.0.0.1:51966: no line for 30 s, closed
//! ```
//!
//! It knows neither the herd nor the reactor, and reads only the clock that its caller passes.
//!
//! ```text
//! info!, warn! -> env_logger (filter, form) --+
//!                                             +--> LogFile (buffer, losses) -> RotatingFile
//! traffic ------> (form only) ----------------+
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
//! `RUST_LOG` selects the lines, as `env_logger` documents it; the default is `info`, also if it is empty. Traffic
//! lines have target [`TRAFFIC`] and level info: `RUST_LOG=info,herd::traffic=off` leaves them out. A directive
//! that makes no sense is ignored, with a warning.
//!
//! Invariants: no byte of a client or a neighbour can end or fake a log line ([`escape()`]). No disk
//! error stops the server: lines are dropped and counted. A process has one log, which
//! belongs to the thread that started it; events of other threads are not logged. So no line takes a
//! lock: the two atomic operations of a lock took a twelfth of a busy server's time.

mod disk;
mod escape;
mod filter;
mod log_file;
pub mod secret;
mod stamp;

use std::cell::RefCell;
use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::{Level, Log, Metadata, Record};
use env_logger::fmt::Formatter;
use env_logger::{Builder, Target};

pub use disk::{LogDisk, RotatingFile};
pub use escape::{Escaped, escape, one_line, operand, plural, shell_quoted};
pub use log_file::{LogFile, WAITING_BYTES};
use stamp::TimestampCache;

/// The wall clock, in nanoseconds since 1970, UTC.
pub type Clock = fn() -> u64;

/// The target of the traffic lines, for `RUST_LOG`.
pub const TRAFFIC: &str = "herd::traffic";

/// Where the log goes and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The folder of the log files; created if it does not exist.
    pub folder: PathBuf,
    /// The size at which the log starts a new file; 0 = never.
    pub rotate_bytes: u64,
    /// The number of older files to keep.
    pub rotate_keep: u64,
}

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

thread_local! {
    static LOG: RefCell<Option<LogFile>> = const { RefCell::new(None) };
}
static TRAFFIC_IS_ON: AtomicBool = AtomicBool::new(false);

/// Starts the log of the server `name`, and returns the path of its file.
///
/// The file is new, and named after the server and the time: `Alford-2026-11-22T10-16-39Z.log`,
/// with `-2` and so on before the `.log` if that exists.
///
/// # Errors
/// Fails if the folder or the file cannot be created (the message names it), or if a log has been started before.
pub fn start(settings: &LogSettings, name: &str, clock: Clock) -> io::Result<PathBuf> {
    let file =
        RotatingFile::create(settings, &format!("{name}-{}", stamp::for_a_file_name(clock())))?;
    let path = file.path().to_owned();
    let (traffic, faults) = install(clock)?;
    let mut log = LogFile::new(Box::new(file), clock);
    for fault in faults {
        // These bypass the filter, which this very fault may have broken.
        let stamp = String::from_utf8_lossy(TimestampCache::new().at(clock())).into_owned();
        log.event(format!("{stamp} WARN  {fault}\n").as_bytes());
    }
    LOG.set(Some(log));
    TRAFFIC_IS_ON.store(traffic, Ordering::Relaxed);
    Ok(path)
}

/// Whether [`traffic`] logs anything; [`start`] decides this once.
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
        with_log(|log| log.traffic(unix_ns, &party, direction, line));
    }
}

/// Writes the buffer to the file. A panic hook may call it.
pub fn flush() {
    with_log(LogFile::flush);
}

/// Adopts what a running log can adopt of new settings: `rotate_bytes` and `rotate_keep`.
pub fn set_rotation(settings: &LogSettings) {
    with_log(|log| log.set_rotation(settings));
}

/// Whether the buffer holds lines; then the caller should [`flush`] within 100 ms.
pub fn unwritten() -> bool {
    with_log(|log| log.unwritten())
}

/// Returns the number of lines dropped since the start because the disk refused writes.
pub fn dropped() -> u64 {
    with_log(|log| log.dropped)
}

/// Calls `f` with the log; does nothing if there is no log on this thread.
///
/// It also does nothing if the log is already borrowed further up the stack. That happens in one case: after a panic
/// inside the log, when the panic hook logs. That line is lost.
#[inline]
fn with_log<T: Default>(f: impl FnOnce(&mut LogFile) -> T) -> T {
    let ours = LOG.try_with(|log| log.try_borrow_mut().ok()?.as_mut().map(f));
    ours.ok().flatten().unwrap_or_default()
}

/// Makes `env_logger` the process's logger. Returns whether it accepts traffic lines, and a warning for each
/// directive of `RUST_LOG` that it ignored, which it also prints on stderr.
fn install(clock: Clock) -> io::Result<(bool, Vec<String>)> {
    let (filter, faults) = filter::chosen(&env::var_os("RUST_LOG").unwrap_or_default());
    for fault in &faults {
        // `env_logger` would use `eprintln!`, which panics if stderr is closed.
        let _ = io::stderr().write_all(format!("warning: {fault}\n").as_bytes());
    }
    let logger = Builder::new()
        .parse_filters(&filter)
        .format(move |out, record| form(out, clock(), record))
        .target(Target::Pipe(Box::new(Pipe)))
        .build();
    let traffic = logger.enabled(&Metadata::builder().level(Level::Info).target(TRAFFIC).build());
    let most = logger.filter();
    ::log::set_boxed_logger(Box::new(logger))
        .map_err(|error| io::Error::new(io::ErrorKind::AlreadyExists, error))?;
    ::log::set_max_level(most);
    Ok((traffic, faults))
}

/// Writes `record` as a line: `<time> <level> <text>`.
fn form(out: &mut Formatter, unix_ns: u64, record: &Record<'_>) -> io::Result<()> {
    out.write_all(TimestampCache::new().at(unix_ns))?;
    // The text is ours, but may contain foreign text, which must not start a new line.
    writeln!(out, " {:5} {}", record.level(), one_line(&record.args().to_string()))
}

/// The target of `env_logger`, which writes one line per call.
struct Pipe;

impl Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        with_log(|log| log.event(line));
        Ok(line.len())
    }

    /// Does nothing: `env_logger` calls it after every line, but [`LogFile`] decides when to write.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
