//! Whether the terminal that a process was started in has been closed.
//!
//! SIGHUP has two meanings: the terminal was closed, so end; and, by convention for daemons, read the configuration
//! again. The kernel takes the controlling terminal from all processes of a session before it sends the signal, and then
//! /dev/tty cannot be opened any more (tty(4), ENXIO).

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::fs;

/// The terminal of this process, if the process should end with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    ends_with_it: bool,
}

impl Terminal {
    /// Looks at the terminal at the start of the process, before SIGHUP is caught. A process that `nohup` started
    /// outlives its terminal.
    pub(super) fn at_start() -> Terminal {
        Terminal { ends_with_it: try_open().is_ok() && !hangup_is_ignored() }
    }

    /// Whether SIGHUP means that the terminal was closed.
    pub(super) fn has_closed(self) -> bool {
        self.ends_with_it && try_open() == Err(Errno::NXIO)
    }
}

fn try_open() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open("/dev/tty", flags, Mode::empty()).map(drop)
}

/// Whether the parent ignored SIGHUP, as `nohup` does. Linux tells it; elsewhere nobody does.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & 1 != 0)
}
