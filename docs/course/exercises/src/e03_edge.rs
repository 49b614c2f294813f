//! Exercise 3 (chapter 2, 2 points): the reading half of a loop, on a bare `Io`.
//!
//! There is no reactor here. The test polls the network, and gives your `Reader` the events. The poll is
//! edge-triggered: after an event it owes no further event for that connection until a read has returned
//! `WouldBlock` or fewer bytes than the buffer holds. This reader reads once per event, so it loses whatever is
//! left.
//!
//! The promises:
//!
//! * Everything that arrives is read, and each end (a read of 0 bytes) is noted.
//! * A turn reads each connection at most once, so that one that sends much does not hold up the others.
//! * `turn` returns false while something is left to read, so that the next poll does not sleep; otherwise it
//!   returns true, and nothing is read until the next event.
//! * Events may be spurious: a read may return `WouldBlock`.

use herd_reactor::ConnId;
use herd_reactor::io::{Event, Io};
use std::collections::{BTreeMap, BTreeSet};

/// The size of the buffer of one read.
pub const READ_BYTES: usize = 16;

/// Reads the connections that a poll reports.
#[derive(Default)]
pub struct Reader {
    /// What each connection has sent.
    pub received: BTreeMap<ConnId, Vec<u8>>,
    /// The connections whose ends have been read.
    pub ended: BTreeSet<ConnId>,
}

impl Reader {
    /// Takes the events of one poll, and reads each ready connection once. Returns whether the next poll may sleep.
    pub fn turn(&mut self, io: &mut impl Io, events: &[Event]) -> bool {
        for event in events {
            if let Event::Ready { id, readable: true, .. } = *event {
                let mut buffer = [0; READ_BYTES];
                if let Ok(count) = io.read(id, &mut buffer) {
                    self.received.entry(id).or_default().extend(&buffer[..count]);
                }
            }
        }
        true
    }
}
