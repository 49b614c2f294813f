//! What a process leaves behind: its exit status, and one line that says why.
//!
//! The numbers are those of sysexits.h, where a service manager looks for them: what cannot be mended by
//! trying again (64, 65, 78) differs from what can.

use crate::log;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::consts::SIGXFSZ;
use std::fmt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a failing stdout changes.
const STDOUT: &str = "\
They do not depend on whether stdout and stderr can be written, but for what programs read: replies
of client and lines of journal dump for which there is no room are 74. A reader that has gone, as
behind `| head`, is no failure.";

/// Why a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// All went well; or an orderly end was asked for.
    Ok = 0,
    /// `herd client`: the server did not accept the command.
    Refused = 1,
    /// The command line makes no sense.
    Usage = 64,
    /// A journal is damaged, or is another server's.
    Data = 65,
    /// An address to listen on is taken; a server to talk to, or a source of places, is not there.
    Unavailable = 69,
    /// A bug: the process panicked.
    Internal = 70,
    /// The operating system refused something.
    Os = 71,
    /// The log, the folder for status sockets, a topology or a certificate could not be created.
    CannotCreate = 73,
    /// The disk refused to read or keep a journal, or has no room for what programs read from stdout.
    Io = 74,
    /// The topology, or a file it names, has faults.
    Config = 78,
}

impl Exit {
    const ALL: [(Exit, &str); 10] = [
        (Exit::Ok, "done, or ended in good order after SIGINT or SIGTERM"),
        (Exit::Refused, "client: the server answered '? ', an invalid command"),
        (Exit::Usage, "the command line is wrong, or names a server that the topology has not"),
        (Exit::Data, "a journal is damaged, or is another server's"),
        (Exit::Unavailable, "an address is in use, or a server or service is not there"),
        (Exit::Internal, "a bug; the log has it"),
        (Exit::Os, "the operating system refused something"),
        (
            Exit::CannotCreate,
            "a log, a status folder, a topology or a certificate cannot be created",
        ),
        (Exit::Io, "the disk refused to read or keep a journal, or stdout has no room: see below"),
        (Exit::Config, "the topology, or what it refers to, has faults; they were printed"),
    ];

    /// All statuses with their meaning, for `--help`.
    pub(super) fn table() -> String {
        let rows = Exit::ALL.map(|(exit, meaning)| format!("\n  {:>2}  {meaning}", exit as u8));
        format!("Exit statuses:{}\n\n{STDOUT}", rows.concat())
    }

    /// The status with which a process ended, if it is one of these.
    pub(super) fn of(status: ExitStatus) -> Option<Exit> {
        Exit::ALL.iter().map(|row| row.0).find(|exit| status.code() == Some(*exit as i32))
    }

    /// How a process ended, in words: `exit status: 69 (an address is in use, ...)`.
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

/// Why a command could not do what it was to do.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// For people, after `herd: `; empty if all has been said already.
    pub(super) what: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure { exit, what: what.into() }
    }

    /// The operating system refused `what`.
    pub(super) fn os(what: &str, error: impl fmt::Display) -> Failure {
        Failure::new(Exit::Os, format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// From now on a panic is logged, with all that waits to be logged, and ends the process with
/// [`Exit::Internal`].
pub(super) fn on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        ::log::error!("bug: {panic}");
        log::flush();
        std::process::exit(Exit::Internal as i32);
    }));
}

/// From now on a write beyond the limit of file sizes (`ulimit -f`) is refused, as on a full disk, and does not
/// end the process: what becomes of journal and log then is theirs to say.
///
/// The kernel sends SIGXFSZ with the refusal, which kills whoever does not catch it.
pub(super) fn survive_file_size_limit() {
    // Where it cannot be caught the limit kills, as before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// From now on the signals that this program waits for arrive, though whoever started it had blocked them: some
/// supervisors and shells do. A program that `herd up` starts inherits that.
pub(super) fn unblock_signals() {
    let awaited = [SIGINT, SIGTERM, SIGHUP, SIGCHLD].into_iter().collect::<SigSet>();
    // It can only fail for an operation that there is not.
    let _ = awaited.thread_unblock();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_end_of_a_child_is_told_in_words() {
        let told = |wait_status| Exit::describe(ExitStatus::from_raw(wait_status));
        assert_eq!(
            told(69 << 8),
            "exit status: 69 (an address is in use, or a server or service is not there)"
        );
        assert_eq!(told(3 << 8), "exit status: 3");
        assert_eq!(told(9), "signal: 9 (SIGKILL)");
    }
}
