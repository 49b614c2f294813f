//! Observers act as plain neighbours: the servers dial them and send them AT lines, and they send nothing.

use super::Witnesses;
use crate::connection::lost;
use crate::failure::Failure;
use crate::load::{Beside, TOKENS_BESIDE};
use crate::options::Observer;
use crate::protocol::{REPLY_BYTES_MAX, prefix};
use crate::reports::{OPERANDS_BYTES, Operands, Reports, Stamp, key_and_stamp};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read};
use std::time::Instant;

/// The first token of a connection; the tokens of listeners are lower.
const LINKS: usize = TOKENS_BESIDE + 1_024;

/// All observers.
#[derive(Debug)]
pub(super) struct Observers {
    listeners: Vec<TcpListener>,
    /// The connections that servers have made; `None` for a lost one.
    links: Vec<Option<Link>>,
    heard: Heard,
}

/// A connection from a server to an observer.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    observer: usize,
    unfinished: Vec<u8>,
}

/// What the observers have received.
#[derive(Debug)]
struct Heard {
    awaited: Operands,
    arrivals: Vec<Option<Instant>>,
    /// The latest stamp that each observer has received of each client. Empty unless clients are awaited.
    stamps: Vec<Vec<Option<Stamp>>>,
    /// How many of the stamps are missing, over all observers.
    missing: u64,
}

impl Observers {
    /// Listens at each address.
    pub(super) fn listen(registry: &Registry, observers: &[Observer]) -> Result<Self, Failure> {
        let listeners = observers.iter().enumerate().map(|(number, observer)| {
            let failed = |error| Failure::io(&format!("listening at {}", observer.address), error);
            let mut listener = TcpListener::bind(observer.address).map_err(failed)?;
            let token = Token(TOKENS_BESIDE + number);
            registry.register(&mut listener, token, Interest::READABLE).map_err(failed)?;
            Ok(listener)
        });
        Ok(Observers {
            listeners: listeners.collect::<Result<_, Failure>>()?,
            links: Vec::new(),
            heard: Heard {
                awaited: [0; OPERANDS_BYTES],
                arrivals: vec![None; observers.len()],
                stamps: Vec::new(),
                missing: 0,
            },
        })
    }

    /// The number of observers.
    pub(super) fn count(&self) -> usize {
        self.listeners.len()
    }

    /// Moves all sockets from the poll of `from` to the poll of `to`.
    pub(super) fn change_poll(&mut self, from: &Registry, to: &Registry) -> Result<(), Failure> {
        let failed = |error| Failure::io("an observer", error);
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            let token = Token(TOKENS_BESIDE + number);
            from.deregister(listener).map_err(failed)?;
            to.register(listener, token, Interest::READABLE).map_err(failed)?;
        }
        for (number, link) in self.links.iter_mut().enumerate() {
            if let Some(link) = link {
                let token = Token(LINKS + number);
                from.deregister(&mut link.stream).map_err(failed)?;
                to.register(&mut link.stream, token, Interest::READABLE).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Starts to wait for clients 0 to `count`, in any order.
    pub(super) fn await_clients(&mut self, count: u32) {
        let observers = self.count();
        self.heard.stamps = vec![vec![None; count as usize]; observers];
        self.heard.missing = u64::from(count) * observers as u64;
    }

    /// Checks that every observer has received the last report of every client.
    pub(super) fn verify(&self, told: &Reports) -> Result<(), Failure> {
        for stamps in &self.heard.stamps {
            for (key, stamp) in (0..).zip(stamps) {
                if stamp.as_ref() != told.told(key) {
                    let shown = stamp.map(|stamp| stamp.escape_ascii().to_string());
                    return Err(Failure::Wrong(
                        "an observer received a stamp other than the last one sent",
                        format!(
                            "client {key} {:?}",
                            told.told(key).map(|told| told.escape_ascii().to_string())
                        ),
                        format!("{shown:?}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, registry: &Registry, observer: usize) -> Result<(), Failure> {
        let failed = |error| Failure::io("an observer", error);
        loop {
            match self.listeners[observer].accept() {
                Ok((mut stream, _)) => {
                    let token = Token(LINKS + self.links.len());
                    registry.register(&mut stream, token, Interest::READABLE).map_err(failed)?;
                    self.links.push(Some(Link { stream, observer, unfinished: Vec::new() }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl Beside for Observers {
    fn ready(
        &mut self,
        registry: &Registry,
        token: usize,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        if token < LINKS {
            return self.accept(registry, token - TOKENS_BESIDE);
        }
        let place = &mut self.links[token - LINKS];
        let Some(link) = place else { return Ok(()) };
        if !link.read(&mut self.heard, buffer)? {
            *place = None;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match self.heard.stamps.is_empty() {
            true => self.heard.arrivals.iter().all(Option::is_some),
            false => self.heard.missing == 0,
        }
    }
}

impl Witnesses for Observers {
    fn await_news(&mut self, operands: &Operands) -> Result<(), Failure> {
        self.heard.awaited = *operands;
        self.heard.arrivals.fill(None);
        Ok(())
    }

    fn arrivals(&self) -> &[Option<Instant>] {
        &self.heard.arrivals
    }
}

impl Link {
    /// Reads until the socket is empty. Returns whether the connection is still open.
    fn read(&mut self, heard: &mut Heard, buffer: &mut [u8]) -> Result<bool, Failure> {
        loop {
            let kept = self.unfinished.len();
            buffer[..kept].copy_from_slice(&self.unfinished);
            let count = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(lost(error)),
            };
            let now = Instant::now();
            let rest = heard.lines(self.observer, now, &buffer[..kept + count])?;
            self.unfinished.clear();
            self.unfinished.extend_from_slice(rest);
        }
    }
}

impl Heard {
    /// Takes all complete lines of `received`; returns the rest.
    fn lines<'a>(
        &mut self,
        observer: usize,
        now: Instant,
        received: &'a [u8],
    ) -> Result<&'a [u8], Failure> {
        let mut rest = received;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = rest[..end].trim_ascii_end();
            if !line.is_empty() {
                self.line(observer, now, line)?;
            }
            rest = &rest[end + 1..];
        }
        if rest.len() > REPLY_BYTES_MAX {
            return Err(unlike_news(rest));
        }
        Ok(rest)
    }

    fn line(&mut self, observer: usize, now: Instant, line: &[u8]) -> Result<(), Failure> {
        let (_, operands) = prefix(line).ok_or_else(|| unlike_news(line))?;
        let operands = &line[operands..];
        if operands == self.awaited {
            self.arrivals[observer].get_or_insert(now);
        }
        // The herd may also know clients that another program has reported.
        let Some((key, stamp)) = key_and_stamp(operands) else { return Ok(()) };
        let stamps = self.stamps.get_mut(observer);
        if let Some(known) = stamps.and_then(|stamps| stamps.get_mut(key as usize)) {
            self.missing -= u64::from(known.is_none());
            *known = (*known).max(Some(stamp));
        }
        Ok(())
    }
}

fn unlike_news(line: &[u8]) -> Failure {
    let shown = line[..line.len().min(200)].escape_ascii().to_string();
    Failure::Wrong(
        "an observer received a line that is not an AT line: its server must list it with plain = true",
        "AT ...".into(),
        shown,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "client-0000001.bench +48.856613+002.352222 1479413884.000000001";
    const LATER: &str = "client-0000001.bench +48.856613+002.352222 1479413884.000000002";

    fn heard(clients: usize) -> Heard {
        Heard {
            awaited: TOLD.as_bytes().try_into().expect("operands"),
            arrivals: vec![None; 2],
            stamps: if clients > 0 { vec![vec![None; clients]; 2] } else { Vec::new() },
            missing: 2 * clients as u64,
        }
    }

    #[test]
    fn news_is_seen_once_however_it_ends_and_whoever_took_it() {
        let (first, then) = (Instant::now(), Instant::now() + std::time::Duration::from_secs(1));
        let mut heard = heard(0);
        let lines = format!("AT Welsh +0.1 {LATER}\r\nAT Alford -1e3 {TOLD}\r\n\r\nAT Al");
        assert_eq!(heard.lines(1, first, lines.as_bytes()).expect("AT lines"), b"AT Al");
        heard.lines(1, then, format!("AT Bolden +0.1 {TOLD}\n").as_bytes()).expect("an AT line");
        assert_eq!(heard.arrivals, [None, Some(first)]);
    }

    #[test]
    fn of_many_clients_each_is_missed_once_and_the_latest_stamp_counts() {
        let mut heard = heard(3);
        let now = Instant::now();
        for told in [TOLD, LATER, TOLD, "kiwi +1+2 3"] {
            heard.lines(0, now, format!("AT Alford +0.1 {told}\n").as_bytes()).expect("AT lines");
        }
        assert_eq!(heard.missing, 5);
        assert_eq!(heard.stamps[0][1].as_ref(), Some(b"1479413884.000000002"));
    }

    #[test]
    fn an_observer_that_is_greeted_is_not_a_plain_neighbour() {
        let greeted = heard(0).lines(0, Instant::now(), b"HELLO Alford places-herd 1\n");
        assert!(matches!(greeted, Err(Failure::Wrong(what, ..)) if what.contains("plain")));
    }
}
