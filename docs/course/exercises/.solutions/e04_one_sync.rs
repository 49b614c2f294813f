//! A solution of exercise 4.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Core, Flow, Shared, TurnCounts};
use std::io;

/// A journal on a disk.
#[derive(Default)]
pub struct Journal {
    /// The lines that would survive a power failure.
    pub safe: usize,
    /// How often it was synced.
    pub syncs: usize,
    /// The disk is broken: the next sync fails.
    pub is_broken: bool,
    new: usize,
}

impl Journal {
    /// Stores a line. It is not safe before the next sync.
    pub fn append(&mut self, _line: &[u8]) {
        self.new += 1;
    }

    /// Makes all lines safe that have been appended.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("the disk is broken"));
        }
        self.syncs += 1;
        self.safe += std::mem::take(&mut self.new);
        Ok(())
    }
}

/// The shared state.
#[derive(Default)]
pub struct Store {
    pub journal: Journal,
    /// The journal has lines that are not synced.
    has_new: bool,
}

impl Shared for Store {
    type Message = ();

    /// Runs before the send, so it holds up the replies of this turn.
    fn before_poll(&mut self, _: &mut Core<Store>, _: &TurnCounts) -> io::Result<()> {
        match std::mem::take(&mut self.has_new) {
            true => self.journal.sync(),
            false => Ok(()),
        }
    }
}

/// Stores each line, and answers `ok`.
pub struct Keeper;

impl LineProtocol<Store> for Keeper {
    fn line_received(&mut self, cx: &mut Context<'_, Store>, line: &[u8]) -> Flow<Mode> {
        cx.state.journal.append(line);
        cx.state.has_new = true;
        cx.write(b"ok\n");
        Ok(Mode::Lines)
    }
}
