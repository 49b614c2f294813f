//! Measures a server's memory for an idle connection and for a known client.

use crate::connection::{ask, open};
use crate::failure::Failure;
use crate::load::{Load, ONLY_TELL};
use crate::options::Options;
use crate::protocol::{Expected, Protocol};
use crate::reports::{Next, Reports};
use crate::results::{Results, grouped};
use crate::usage::resident_bytes;
use serde_json::json;
use std::io::ErrorKind;
use std::net::TcpStream;

/// Memory is read with this many open connections, and again with all. The first connections also make the server grow
/// what it keeps for all connections.
const FIRST: u32 = 1_000;

/// Each time this many connections have been opened, the newest one sends a request. Its reply shows that the server
/// has accepted all before it.
const STRIDE: usize = 100;

/// Opens `count` idle connections. If `options` ask for a load, applies it while they are open.
pub(crate) fn idle<P: Protocol>(options: &Options, count: u32) -> Result<Results, Failure> {
    let first = FIRST.min(count / 2);
    let mut standing = Standing::<P>::new(options);
    standing.grow(first as usize)?;
    let before = resident(options)?;
    standing.grow(count as usize)?;
    let after = resident(options)?;
    standing.check_open()?;
    let each = (after as f64 - before as f64) / f64::from(count - first);
    let mut results = match options.duration.is_some() || options.requests.is_some() {
        true => loaded::<P>(options)?,
        false => Results::new(format!("{} connections", grouped(count.into())), json!({})),
    };
    results.line(&format!(
        "{} idle connections: {each:.0} bytes of the servers' memory each",
        grouped(count.into())
    ));
    results.line(&format!(
        "({} KiB with {}, {} KiB with all)",
        grouped(before / 1_024),
        grouped(first.into()),
        grouped(after / 1_024)
    ));
    results.value("mode", "idle".into());
    results.value(
        "idle",
        json!({
            "connections": count,
            "first": first,
            "resident_bytes_at_first": before,
            "resident_bytes_at_all": after,
            "bytes_each": each,
        }),
    );
    Ok(results)
}

fn loaded<P: Protocol>(options: &Options) -> Result<Results, Failure> {
    let mut load = Load::<P>::new(options, options.keys)?;
    load.tell_all(&mut ())?;
    let outcome = load.run(options)?;
    Ok(Results::of_load::<P>(options, &outcome))
}

/// Reports `count` distinct clients.
pub(crate) fn records<P: Protocol>(options: &Options, count: u32) -> Result<Results, Failure> {
    // The number is a divisor, so that each connection reports the same number of clients.
    let connections = (1..=options.connections).rev().find(|n| count.is_multiple_of(*n));
    let options = Options {
        connections: connections.unwrap_or(1),
        pipeline: options.pipeline.max(P::TELLING_PIPELINE),
        mix: ONLY_TELL,
        ..options.clone()
    };
    let mut load = Load::<P>::new(&options, count)?;
    let before = resident(&options)?;
    let outcome = load.tell_all(&mut ())?;
    let after = resident(&options)?;
    debug_assert_eq!(load.reports().clients(), count);
    let each = (after as f64 - before as f64) / f64::from(count);
    let mut results = Results::of_load::<P>(&options, &outcome);
    results.line(&format!(
        "{} clients: {each:.0} bytes of the servers' memory each",
        grouped(count.into())
    ));
    results.line(&format!(
        "({} KiB before, {} KiB after)",
        grouped(before / 1_024),
        grouped(after / 1_024)
    ));
    results.value("mode", "records".into());
    results.value(
        "records",
        json!({
            "clients": count,
            "resident_bytes_before": before,
            "resident_bytes_after": after,
            "bytes_each": each,
        }),
    );
    Ok(results)
}

fn resident(options: &Options) -> Result<u64, Failure> {
    options.pid.iter().map(|pid| resident_bytes(*pid)).sum()
}

/// The idle connections.
struct Standing<'a, P> {
    options: &'a Options,
    protocol: P,
    reports: Reports,
    streams: Vec<TcpStream>,
}

impl<'a, P: Protocol> Standing<'a, P> {
    fn new(options: &'a Options) -> Self {
        Standing {
            options,
            protocol: P::new(options),
            reports: Reports::new(1, 1, ONLY_TELL),
            streams: Vec::new(),
        }
    }

    /// Opens connections until there are `count`, all of them accepted.
    fn grow(&mut self, count: usize) -> Result<(), Failure> {
        let addresses = &self.options.addresses;
        while self.streams.len() < count {
            let target = self.streams.len() % addresses.len();
            self.streams.push(open::<P>(addresses[target])?);
            // This measures one connection to each server.
            if self.streams.len() % STRIDE < addresses.len() || self.streams.len() == count {
                self.ask_the_last(target)?;
            }
        }
        Ok(())
    }

    /// Checks that the servers have closed none of the connections.
    fn check_open(&self) -> Result<(), Failure> {
        let is_closed = |stream: &&TcpStream| {
            let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
            match peeked {
                Ok(count) => count == 0,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            }
        };
        match self.streams.iter().filter(is_closed).count() {
            0 => Ok(()),
            closed => Err(Failure::IdleClosed(closed, self.streams.len())),
        }
    }

    fn ask_the_last(&mut self, target: usize) -> Result<(), Failure> {
        let mut request = Vec::new();
        let next = Next::Tell(self.reports.tell(0));
        let expected = Expected::compose(&self.protocol, target, next, &mut request);
        let Some(last) = self.streams.last_mut() else { return Ok(()) };
        ask(last, target, &mut self.protocol, (&request, &expected))
    }
}
