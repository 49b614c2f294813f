//! Polls servers by WHATSAT, for herds without a configured observer.

use super::Witnesses;
use crate::connection::{lost, open};
use crate::failure::Failure;
use crate::load::{Beside, TOKENS_BESIDE};
use crate::options::Options;
use crate::protocol::{Herd, places, prefix};
use crate::reports::{CLIENT_BYTES, OPERANDS_BYTES, Operands};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

/// All servers but the first, each with at most one request in flight.
#[derive(Debug)]
pub(super) struct Asked {
    servers: Vec<Server>,
    awaited: Operands,
    arrivals: Vec<Option<Instant>>,
}

#[derive(Debug)]
struct Server {
    stream: TcpStream,
    received: Vec<u8>,
    waits: bool,
}

impl Asked {
    /// Connects to all addresses but the first.
    pub(super) fn connect(registry: &Registry, options: &Options) -> Result<Asked, Failure> {
        let failed = |error| Failure::io("a connection", error);
        let servers = options.addresses[1..].iter().enumerate().map(|(number, address)| {
            let stream = open::<Herd>(*address)?;
            stream.set_nonblocking(true).map_err(failed)?;
            let mut stream = TcpStream::from_std(stream);
            let token = Token(TOKENS_BESIDE + number);
            registry.register(&mut stream, token, Interest::READABLE).map_err(failed)?;
            Ok(Server { stream, received: Vec::new(), waits: false })
        });
        let servers = servers.collect::<Result<Vec<_>, Failure>>()?;
        let arrivals = vec![None; servers.len()];
        Ok(Asked { servers, awaited: [0; OPERANDS_BYTES], arrivals })
    }
}

impl Beside for Asked {
    fn ready(&mut self, _: &Registry, token: usize, buffer: &mut [u8]) -> Result<(), Failure> {
        let number = token - TOKENS_BESIDE;
        let server = &mut self.servers[number];
        while let Some(now) = server.read(buffer)? {
            let Some(Reply { known, bytes }) = reply(&server.received)? else { continue };
            if known.is_some_and(|operands| operands == self.awaited) {
                self.arrivals[number].get_or_insert(now);
            }
            server.received.drain(..bytes);
            server.waits = false;
            if self.arrivals[number].is_none() {
                server.ask(&self.awaited)?;
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arrivals.iter().all(Option::is_some)
    }
}

impl Witnesses for Asked {
    fn await_news(&mut self, operands: &Operands) -> Result<(), Failure> {
        self.awaited = *operands;
        self.arrivals.fill(None);
        self.servers.iter_mut().try_for_each(|server| server.ask(operands))
    }

    fn arrivals(&self) -> &[Option<Instant>] {
        &self.arrivals
    }
}

impl Server {
    /// Sends a request, unless one is in flight; then the next follows its reply.
    fn ask(&mut self, operands: &Operands) -> Result<(), Failure> {
        if self.waits {
            return Ok(());
        }
        let question = [b"WHATSAT ", &operands[..CLIENT_BYTES], b" 1 1\n"].concat();
        self.waits = true;
        match self.stream.write(&question) {
            Ok(count) if count == question.len() => Ok(()),
            Ok(_) => Err(Failure::Silence("a server does not read its requests".into())),
            Err(error) => Err(lost(error)),
        }
    }

    /// Reads once. Returns the time if there was anything to read.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Instant>, Failure> {
        match self.stream.read(buffer) {
            Ok(0) => Err(Failure::Closed),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(Some(Instant::now()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }
}

/// A complete reply: the operands that the server knows, and the length of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reply<'a> {
    known: Option<&'a [u8]>,
    bytes: usize,
}

/// The reply at the start of `received`; `None` if it is incomplete.
fn reply(received: &[u8]) -> Result<Option<Reply<'_>>, Failure> {
    let Some(end) = memchr::memchr(b'\n', received) else { return Ok(None) };
    // A server that does not know the client rejects the request.
    if received.starts_with(b"? WHATSAT ") {
        return Ok(Some(Reply { known: None, bytes: end + 1 }));
    }
    let line = received[..end].trim_ascii_end();
    let unlike = |what| {
        let shown = line[..line.len().min(200)].escape_ascii().to_string();
        Failure::Wrong(what, "AT ... and places, or ? WHATSAT ...".into(), shown)
    };
    let (_, operands) = prefix(line).ok_or_else(|| unlike("this is not an AT line"))?;
    let places = places(&received[end + 1..]).map_err(unlike)?;
    let known = Some(&line[operands..]);
    Ok(places.map(|places| Reply { known, bytes: end + 1 + places }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_what_is_known_or_that_nothing_is() {
        let refused = reply(b"? WHATSAT x 1 1\nAT").expect("a reply");
        assert_eq!(refused, Some(Reply { known: None, bytes: 16 }));
        let known = b"AT Alford +0.1 kiwi +1+2 3\n{\n}\n\n";
        for cut in 0..known.len() {
            assert_eq!(reply(&known[..cut]).expect("a beginning"), None);
        }
        let whole = reply(known).expect("a reply");
        let operands = &b"kiwi +1+2 3"[..];
        assert_eq!(whole, Some(Reply { known: Some(operands), bytes: known.len() }));
        assert!(reply(b"HTTP/1.1 400\n").is_err());
    }
}
