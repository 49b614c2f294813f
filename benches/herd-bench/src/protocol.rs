//! Composes requests and checks replies, for each kind of server.
//!
//! The contents of requests come from `reports`. Requests are appended to a buffer. Each request in flight has an
//! [`Expected`], in order. A check reads the first reply in the received bytes, and nothing after it.

mod echo;
mod herd;
mod http;
mod http_reports;
mod nats;
mod resp;

pub(crate) use echo::Echo;
pub(crate) use herd::{Herd, places, prefix};
pub(crate) use http::Http;
pub(crate) use http_reports::HttpReports;
pub(crate) use nats::Nats;
pub(crate) use resp::{RespGeoadd, RespSet};

use crate::options::Options;
use crate::reports::{Next, Operands};

/// Maximum length of a reply. No right reply is longer: 20 places take some 20 KB.
pub(crate) const REPLY_BYTES_MAX: usize = 128 * 1024;

/// The kind of an IAMAT, or of the request that takes its place.
pub(crate) const IAMAT: u8 = 0;

/// The kind of a WHATSAT, in protocols that have it.
pub(crate) const WHATSAT: u8 = 1;

/// The protocol of one kind of server.
pub(crate) trait Protocol {
    /// The names of the kinds of requests, for the report; [`IAMAT`] and [`WHATSAT`] are indexes of this list.
    const KINDS: &'static [&'static str];

    /// The first bytes sent on each connection; the server answers them before the measurement. Empty for most.
    const GREETING: &'static [u8] = b"";

    /// Minimum number of requests in flight on each connection while all clients are reported before a load.
    const TELLING_PIPELINE: u32 = 64;

    /// Whether servers may close a connection between two replies. This program then opens it again.
    const REOPENS: bool = false;

    /// Creates the protocol for `options.addresses`; a server is identified by its index in that list.
    fn new(options: &Options) -> Self;

    /// Appends the request to `out`, for the server with index `target`. Returns its kind, an index into `KINDS`.
    fn compose(&self, target: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8;

    /// Checks the first reply in `received`, from the server with index `target` in the list of addresses.
    ///
    /// The error says what is wrong with the reply.
    fn check(
        &mut self,
        target: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Checked, &'static str>;
}

/// The kind and the operands of a request, which determine its right reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) kind: u8,
    pub(crate) operands: Operands,
}

impl Expected {
    /// Composes the request `next` into `out`, for the server with index `target`.
    #[inline]
    pub(crate) fn compose<P: Protocol>(
        protocol: &P,
        target: usize,
        next: Next<'_>,
        out: &mut Vec<u8>,
    ) -> Expected {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        Expected { kind: protocol.compose(target, next, out), operands: *operands }
    }

    /// The request that waits for this reply.
    pub(crate) fn request(&self) -> Next<'_> {
        match self.kind {
            WHATSAT => Next::Ask(&self.operands),
            _ => Next::Tell(&self.operands),
        }
    }
}

/// The message at the start of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The right reply, with its length.
    Reply(usize),
    /// The right reply, with its length, after which the server closes the connection.
    LastReply(usize),
    /// A message that is not a reply, with its length and the answer to send.
    Aside(usize, &'static [u8]),
    /// An incomplete reply.
    Unfinished,
}

/// Judges bytes that are not the right reply. They are wrong (`what`) if they contain `end`, the byte that ends a
/// reply; otherwise they are an incomplete reply.
fn unlike(received: &[u8], end: u8, what: &'static str) -> Result<Checked, &'static str> {
    match memchr::memchr(end, received) {
        Some(_) => Err(what),
        None if received.len() > REPLY_BYTES_MAX => Err("the reply does not end"),
        None => Ok(Checked::Unfinished),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::options::Mix;
    use crate::reports::Reports;
    use clap::Parser;

    /// A protocol for one address, its first `count` requests, and the replies that it expects.
    pub(crate) fn asked<P: Protocol>(mix: Mix, count: usize) -> (P, Vec<String>, Vec<Expected>) {
        let options = Options::parse_from(["herd-bench", "127.0.0.1:1"]);
        let protocol = P::new(&options);
        let mut reports = Reports::new(1, 1, mix);
        let mut expected = Vec::new();
        let mut requests = Vec::new();
        for _ in 0..count {
            let mut out = Vec::new();
            expected.push(Expected::compose(&protocol, 0, reports.next(0), &mut out));
            requests.push(String::from_utf8(out).expect("ASCII"));
        }
        (protocol, requests, expected)
    }

    /// Asserts that `reply` is right when it is complete, unfinished when it is cut anywhere, and that bytes after it
    /// are left alone.
    pub(crate) fn right<P: Protocol>(protocol: &mut P, reply: &[u8], expected: &Expected) {
        for cut in 0..reply.len() {
            let checked = protocol.check(0, &reply[..cut], expected);
            assert_eq!(checked, Ok(Checked::Unfinished), "{cut} bytes");
        }
        let more = [reply, b"\nAT"].concat();
        assert_eq!(protocol.check(0, &more, expected), Ok(Checked::Reply(reply.len())));
    }
}
