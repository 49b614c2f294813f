//! The state that all tasks share: the clients, the neighbours and the log.

use crate::places::Places;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::UnboundedSender;

/// A neighbour's queue, while there is a connection to it.
type Link = RefCell<Option<UnboundedSender<Rc<[u8]>>>>;

/// Where a client was last seen.
struct Sighting {
    nanos: u64,
    /// The AT line of the server that took the report, without its end.
    line: Rc<[u8]>,
}

/// This server.
pub struct Herd {
    pub name: String,
    pub places: Places,
    clients: RefCell<HashMap<Box<[u8]>, Sighting>>,
    links: Vec<Link>,
    log: Option<Log>,
}

impl Herd {
    pub fn new(name: String, places: Places, log: Option<Log>, neighbours: usize) -> Herd {
        let links = (0..neighbours).map(|_| Link::default()).collect();
        Herd { name, places, clients: RefCell::default(), links, log }
    }

    /// Keeps and floods a sighting that is newer than the one we have; drops any other.
    pub fn learn(&self, client: &[u8], nanos: u64, line: &[u8]) {
        let mut clients = self.clients.borrow_mut();
        let line: Rc<[u8]> = match clients.get_mut(client) {
            Some(known) if known.nanos >= nanos => return,
            Some(known) => {
                *known = Sighting { nanos, line: line.into() };
                Rc::clone(&known.line)
            }
            None => {
                let line: Rc<[u8]> = line.into();
                clients.insert(client.into(), Sighting { nanos, line: Rc::clone(&line) });
                line
            }
        };
        for link in self.links.iter().filter_map(|link| link.borrow().clone()) {
            // The line is lost if the connection is ending; the next connection begins with the whole table.
            let _ = link.send(Rc::clone(&line));
        }
    }

    /// The AT line of `client`.
    pub fn sighting(&self, client: &[u8]) -> Option<Rc<[u8]>> {
        self.clients.borrow().get(client).map(|known| Rc::clone(&known.line))
    }

    /// Registers the connection to neighbour `number`, and sends it the whole table.
    pub fn link(&self, number: usize, queue: UnboundedSender<Rc<[u8]>>) {
        for known in self.clients.borrow().values() {
            let _ = queue.send(Rc::clone(&known.line));
        }
        self.links[number].replace(Some(queue));
    }

    /// Removes the connection to neighbour `number`.
    pub fn unlink(&self, number: usize) {
        self.links[number].replace(None);
    }

    pub fn log(&self, event: Arguments<'_>) {
        if let Some(log) = &self.log {
            log.write(event);
        }
    }
}

/// A log file that is written in blocks, and every 100 ms.
pub struct Log {
    file: RefCell<BufWriter<File>>,
}

impl Log {
    pub fn new(path: &str) -> io::Result<Log> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Log { file: RefCell::new(BufWriter::with_capacity(65_536, file)) })
    }

    /// Writes an event. A full disk loses lines, but does not stop the server.
    fn write(&self, event: Arguments<'_>) {
        let now = unix_time();
        let mut file = self.file.borrow_mut();
        let _ = writeln!(file, "{}.{:06} {event}", now.as_secs(), now.subsec_micros());
    }
}

/// Flushes the log every 100 ms, for ever.
pub async fn flush_the_log(herd: Rc<Herd>) {
    let Some(log) = &herd.log else { return };
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = log.file.borrow_mut().flush();
    }
}

/// The wall clock.
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
