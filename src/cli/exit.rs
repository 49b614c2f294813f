//! Exit statuses, failures, and what the process does about panics and signals.
//!
//! The numbers are those of sysexits.h, which service managers know. A restart does not help against 64, 65 and 78;
//! it may help against the others.

use crate::log;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::consts;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How a failing stdout changes the exit status.
const STDOUT: &str = "\
Failed writes to stdout and stderr do not change the exit status, except that 74 means that the disk
had no room for replies of client or lines of journal dump. A closed pipe, as with `| head`, is no
failure.";

/// Why a process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The command succeeded, or the server was stopped by SIGINT or SIGTERM.
    Ok = 0,
    /// `herd client`: the server rejected the command. `herd status --healthy`: a server is not healthy.
    Refused = 1,
    /// The command line is wrong.
    Usage = 64,
    /// A journal is damaged, or belongs to another server.
    Data = 65,
    /// An address to listen on is in use, or a server or a source of places cannot be reached.
    Unavailable = 69,
    /// A bug: the process panicked.
    Internal = 70,
    /// A system call failed.
    Os = 71,
    /// A log, a folder for status sockets, a topology or a certificate could not be created.
    CannotCreate = 73,
    /// Reading or writing a journal failed, or the disk has no room for output for programs.
    Io = 74,
    /// The topology, or something that it refers to, has faults.
    Config = 78,
}

impl Exit {
    const ALL: [(Exit, &str); 10] = [
        (Exit::Ok, "success, or stopped in order by a signal"),
        (Exit::Refused, "client: a command or line was rejected with '? '; status: not healthy"),
        (Exit::Usage, "the command line is wrong, or names a server that is not in the topology"),
        (Exit::Data, "a journal is damaged, or belongs to another server"),
        (Exit::Unavailable, "an address is in use, or a server or service cannot be reached"),
        (Exit::Internal, "a bug; the log has the details"),
        (Exit::Os, "a system call failed"),
        (
            Exit::CannotCreate,
            "a log, a status folder, a topology or a certificate cannot be created",
        ),
        (Exit::Io, "reading or writing a journal failed, or stdout has no room: see below"),
        (
            Exit::Config,
            "the topology, or something that it refers to, has faults; they were printed",
        ),
    ];

    /// Returns all statuses with their meanings, for `--help`.
    pub(super) fn table() -> String {
        let rows = Exit::ALL.map(|(exit, meaning)| format!("\n  {:>2}  {meaning}", exit as u8));
        format!("Exit statuses:{}\n\n{STDOUT}", rows.concat())
    }

    /// Returns the status of a process that has ended, if it is one of ours.
    pub(super) fn of(status: ExitStatus) -> Option<Exit> {
        Exit::ALL.iter().map(|row| row.0).find(|exit| status.code() == Some(*exit as i32))
    }

    /// Describes how a process ended: `exit status: 69 (an address is in use, ...)`.
    pub(super) fn describe(status: ExitStatus) -> String {
        match Exit::ALL.iter().find(|row| Exit::of(status) == Some(row.0)) {
            Some((_, meaning)) => format!("{status} ({meaning})"),
            None => status.to_string(),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// The message, printed after `herd: `. Empty if everything has been printed already.
    pub(super) what: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure { exit, what: what.into() }
    }

    /// Creates the failure of a topology, or of something that it or the command line names.
    pub(super) fn config(what: impl Into<String>) -> Failure {
        Failure::new(Exit::Config, what)
    }

    /// Creates the failure of a system call, or of another part of the system. `what` names it.
    pub(super) fn os(what: &str, error: impl fmt::Display) -> Failure {
        Failure::new(Exit::Os, format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Makes a panic end the process with [`Exit::Internal`], after it and all buffered lines have been written to the log,
/// which passes it on to stderr without waiting for its reader. Without a log the panic is printed.
pub(super) fn on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if ::log::log_enabled!(::log::Level::Error) {
            ::log::error!(event = "panic"; "bug: {panic}");
            // It is empty unless RUST_BACKTRACE is set.
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                backtrace.to_string().lines().for_each(|line| ::log::error!("bug: {line}"));
            }
            log::flush();
        } else {
            tell(panic);
        }
        std::process::exit(Exit::Internal as i32);
    }));
}

/// Makes signals harmless that would kill the process. After SIGXFSZ a write beyond the limit of file sizes (`ulimit -f`)
/// fails as on a full disk, so that journal and log handle it. SIGUSR1 and SIGUSR2 may arrive before a server awaits them.
pub(super) fn survive_signals() {
    for signal in [consts::SIGXFSZ, consts::SIGUSR1, consts::SIGUSR2] {
        // If the signal cannot be caught, it kills the process, as it would without this.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
}

/// Unblocks the signals that this program waits for, because some supervisors and shells start programs with signals
/// blocked. The servers that `herd up` starts inherit this.
pub(super) fn unblock_signals() {
    let awaited =
        [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD].into_iter().collect::<SigSet>();
    // It fails only for an unknown operation.
    let _ = awaited.thread_unblock();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_end_of_a_child_is_described_in_words() {
        let described = |wait_status| Exit::describe(ExitStatus::from_raw(wait_status));
        assert_eq!(
            described(69 << 8),
            "exit status: 69 (an address is in use, or a server or service cannot be reached)"
        );
        assert_eq!(described(3 << 8), "exit status: 3");
        assert_eq!(described(9), "signal: 9 (SIGKILL)");
    }
}
