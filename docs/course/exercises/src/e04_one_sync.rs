//! Exercise 4 (chapter 3, 2 points): a journal that is synced once a turn, before any reply leaves.
//!
//! Each line of a client is stored in a journal, and answered by `ok`. An `ok` is a promise: the line survives a
//! power failure. So the journal must be synced before the `ok` leaves. A sync takes as long as a thousand lines,
//! and this server syncs for every line.
//!
//! Sync once for all lines of a turn. Look at the picture of a turn in chapter 3: between the call of
//! `line_received` and the send of its `ok` there is a place for it.
//!
//! The promises:
//!
//! * No client gets an `ok` before its line is synced.
//! * A turn syncs at most once, and does not sync if it has no line.
//! * If a sync fails, no client gets an `ok` for a line of that turn, and the loop ends with the error.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{Context, Flow, Shared};
use std::io;

/// A journal on a disk. Leave it as it is.
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
}

impl Shared for Store {
    type Message = ();
}

/// Stores each line, and answers `ok`.
pub struct Keeper;

impl LineProtocol<Store> for Keeper {
    fn line_received(&mut self, cx: &mut Context<'_, Store>, line: &[u8]) -> Flow<Mode> {
        cx.state.journal.append(line);
        cx.state.journal.sync()?;
        cx.write(b"ok\n");
        Ok(Mode::Lines)
    }
}
