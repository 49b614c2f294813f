//! A solution of exercise 3.

use herd_reactor::ConnId;
use herd_reactor::io::{Event, Io};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

/// The size of the buffer of one read.
pub const READ_BYTES: usize = 16;

/// Reads the connections that a poll reports.
#[derive(Default)]
pub struct Reader {
    /// What each connection has sent.
    pub received: BTreeMap<ConnId, Vec<u8>>,
    /// The connections whose ends have been read.
    pub ended: BTreeSet<ConnId>,
    /// The connections of which something may be left to read.
    ready: BTreeSet<ConnId>,
}

impl Reader {
    /// Takes the events of one poll, and reads each ready connection once. Returns whether the next poll may sleep.
    pub fn turn(&mut self, io: &mut impl Io, events: &[Event]) -> bool {
        for event in events {
            if let Event::Ready { id, readable: true, .. } = *event {
                self.ready.insert(id);
            }
        }
        for id in self.ready.clone() {
            let mut buffer = [0; READ_BYTES];
            match io.read(id, &mut buffer) {
                Ok(0) => {
                    self.ended.insert(id);
                    self.ready.remove(&id);
                }
                // It stays ready even after a short read, because the end may be behind it.
                Ok(count) => self.received.entry(id).or_default().extend(&buffer[..count]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => drop(self.ready.remove(&id)),
            }
        }
        self.ready.is_empty()
    }
}
