//! The server's log: one event, one line, in one file.
//!
//! In: events, through the macros of the `log` crate (`warn!("...")`), and every line that went in
//! or out, through [`traffic`]. Out: a file `Alford-2026-11-22T10-16-39Z.log`, its lines like
//!
//! ```text
//! 2026-11-22T10:16:39.123456Z INFO  client 127.0.0.1:51966 < IAMAT kiwi +34.0689-118.4451 1479.5
//! 2026-11-22T10:16:39.123461Z INFO  Parker > AT Alford +0.2 kiwi +34.0689-118.4451 1479.5
//! 2026-11-22T10:17:02.000013Z WARN  client 127.0.0.1:51966: no line for 30 s, closed
//! ```
//!
//! It knows neither herd nor reactor; it reads no clock but the one it is handed.
//!
//! ```text
//! info!, warn! -> env_logger (filter, form) --+
//!                                             +--> LogFile (buffer, losses) -> RotatingFile
//! traffic ------> (form only) ----------------+
//! ```
//!
//! The idea: the macros are for what happens now and then. A busy server has two traffic lines or
//! more for each request, and there formatting would cost more than the request; so those go
//! straight into the buffer, and lines of one connection and one time share what they begin with.
//! Both kinds end in the same buffer, in order.
//!
//! The buffer is written when 64 KiB wait, at once for a warning or an error, and when [`flush`] is
//! called: by the reactor, 100 ms after it first finds something [`unwritten`], and by `main` at
//! the end.
//!
//! `RUST_LOG` chooses, as `env_logger` documents it; `info` if it is not set or empty. Traffic lines are of
//! target [`TRAFFIC`] and level info: `RUST_LOG=info,herd::traffic=off` leaves them out. A directive that
//! makes no sense is ignored, with a warning.
//!
//! Invariants: no byte of a client or a neighbour ends a line or fakes one ([`escape()`]). No error
//! of the disk stops the server: lines are dropped and counted. There is one log in a process, and
//! it belongs to the thread that began it: what another thread says is not logged. So no line takes a
//! lock; the two atomic operations of one were a twelfth of what a busy server did.

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
    /// The folder of the log files; made if it is not there.
    pub folder: PathBuf,
    /// A file of this size is begun anew; 0 = never.
    pub rotate_bytes: u64,
    /// So many elders of a file are kept.
    pub rotate_keep: u64,
}

/// Which way a line went.
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

/// Who a line comes from or goes to, as the log calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party<'a> {
    /// By a name, which is escaped: `Parker`.
    Named(&'a [u8]),
    /// By the word for what it speaks, which is ours, and its number: `Chatserver,12`.
    Numbered(&'static str, u32),
}

thread_local! {
    static LOG: RefCell<Option<LogFile>> = const { RefCell::new(None) };
}
static TRAFFIC_IS_ON: AtomicBool = AtomicBool::new(false);

/// Begins the log of the server `name`, and tells in which file.
///
/// The file is new, and named after the server and the time: `Alford-2026-11-22T10-16-39Z.log`,
/// with `-2` and so on before the `.log` if that exists.
///
/// # Errors
///
/// When folder or file cannot be made; the message names which. When a log was begun before.
pub fn start(settings: &LogSettings, name: &str, clock: Clock) -> io::Result<PathBuf> {
    let file =
        RotatingFile::create(settings, &format!("{name}-{}", stamp::for_a_file_name(clock())))?;
    let path = file.path().to_owned();
    let (traffic, faults) = install(clock)?;
    let mut log = LogFile::new(Box::new(file), clock);
    for fault in faults {
        // Past the filter, which may have gone wrong by this very fault.
        let stamp = String::from_utf8_lossy(TimestampCache::new().at(clock())).into_owned();
        log.event(format!("{stamp} WARN  {fault}\n").as_bytes());
    }
    LOG.set(Some(log));
    TRAFFIC_IS_ON.store(traffic, Ordering::Relaxed);
    Ok(path)
}

/// Whether [`traffic`] does anything: decided once, by [`start`].
#[inline]
pub fn traffic_is_on() -> bool {
    TRAFFIC_IS_ON.load(Ordering::Relaxed)
}

/// Logs a line that went in or out.
///
/// `unix_ns`: when, nanoseconds since 1970. `party`: who else had to do with it. `line`: as on the
/// wire, without its end; it is escaped here. Costs little more than copying it.
#[inline]
pub fn traffic(unix_ns: u64, party: Party<'_>, direction: Direction, line: &[u8]) {
    if traffic_is_on() {
        with_log(|log| log.traffic(unix_ns, &party, direction, line));
    }
}

/// Writes what waits. May be called from a panic hook.
pub fn flush() {
    with_log(LogFile::flush);
}

/// Whether a line waits to be written; then a [`flush`] should come within 100 ms.
pub fn unwritten() -> bool {
    with_log(|log| log.unwritten())
}

/// How many lines have not been written because the disk refused, since the start.
pub fn dropped() -> u64 {
    with_log(|log| log.dropped)
}

/// Hands the log to `f`; nothing happens if there is none, or not on this thread.
///
/// Nor if it is in use further up on this very stack. That is so in one case: a panic in here, whose
/// hook wants to log. Then a line is lost.
#[inline]
fn with_log<T: Default>(f: impl FnOnce(&mut LogFile) -> T) -> T {
    let ours = LOG.try_with(|log| log.try_borrow_mut().ok()?.as_mut().map(f));
    ours.ok().flatten().unwrap_or_default()
}

/// Makes `env_logger` the process's logger. Tells whether it lets traffic lines through, and what of `RUST_LOG`
/// was ignored, which is also said on stderr.
fn install(clock: Clock) -> io::Result<(bool, Vec<String>)> {
    let (filter, faults) = filter::chosen(&env::var_os("RUST_LOG").unwrap_or_default());
    for fault in &faults {
        // `env_logger` would say it with `eprintln!`, which panics if nobody can read it.
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
    // The text is ours; still, whatever foreign text found its way into it cannot leave the line.
    writeln!(out, " {:5} {}", record.level(), one_line(&record.args().to_string()))
}

/// What `env_logger` writes to: one call, one line.
struct Pipe;

impl Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        with_log(|log| log.event(line));
        Ok(line.len())
    }

    /// Does nothing: `env_logger` calls it after every line, and [`LogFile`] knows better when.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
