//! How a request is written and a reply is checked, for each of those who can be driven.
//!
//! What is asked comes from `reports`. What goes out is appended to a buffer; what is to come back is
//! remembered as [`Expected`], one for each request in flight, in their order. A check looks at the
//! first reply in what was received, and never past it.

mod echo;
mod herd;
mod nats;
mod resp;

pub(crate) use echo::Echo;
pub(crate) use herd::{Herd, places, prefix};
pub(crate) use nats::Nats;
pub(crate) use resp::{RespGeoadd, RespSet};

use crate::options::Options;
use crate::reports::{Next, Operands};

/// Longer than any right reply: 20 places take some 20 KB.
pub(crate) const REPLY_BYTES_MAX: usize = 128 * 1024;

/// One of those who can be driven.
pub(crate) trait Protocol {
    /// The names of its kinds of requests, for the report.
    const KINDS: &'static [&'static str];

    /// What is said first on each connection; answered before anything is measured. Empty for most.
    const GREETING: &'static [u8] = b"";

    /// For `options.addresses`, which are told apart by their place in the list.
    fn new(options: &Options) -> Self;

    /// Appends the request to `out`. Returns its kind, an index into `KINDS`.
    fn compose(&self, next: Next<'_>, out: &mut Vec<u8>) -> u8;

    /// Checks the first reply in `received`, from the server at `target` in the list of addresses.
    ///
    /// Errors: what is wrong with it.
    fn check(
        &mut self,
        target: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Checked, &'static str>;
}

/// What the reply to one request must be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) kind: u8,
    pub(crate) operands: Operands,
}

impl Expected {
    /// Composes what is `next` into `out`.
    #[inline]
    pub(crate) fn compose<P: Protocol>(
        protocol: &P,
        next: Next<'_>,
        out: &mut Vec<u8>,
    ) -> Expected {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        Expected { kind: protocol.compose(next, out), operands: *operands }
    }
}

/// What the beginning of the received bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The right reply, of so many bytes.
    Reply(usize),
    /// So many bytes that are no reply, and what is to be said to them.
    Aside(usize, &'static [u8]),
    /// Not yet a whole reply.
    Unfinished,
}

/// A whole reply that is not the right one, or is not whole yet.
///
/// `end`: what a whole reply ends with at the earliest.
fn unlike(received: &[u8], end: u8, what: &'static str) -> Result<Checked, &'static str> {
    match memchr::memchr(end, received) {
        Some(_) => Err(what),
        None if received.len() > REPLY_BYTES_MAX => Err("it does not end"),
        None => Ok(Checked::Unfinished),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::options::Mix;
    use crate::reports::Reports;
    use clap::Parser;

    /// A protocol for one address, and what it asks first and what it expects.
    pub(crate) fn asked<P: Protocol>(mix: Mix, count: usize) -> (P, Vec<String>, Vec<Expected>) {
        let options = Options::parse_from(["herd-bench", "127.0.0.1:1"]);
        let protocol = P::new(&options);
        let mut reports = Reports::new(1, 1, mix);
        let mut expected = Vec::new();
        let mut requests = Vec::new();
        for _ in 0..count {
            let mut out = Vec::new();
            expected.push(Expected::compose(&protocol, reports.next(0), &mut out));
            requests.push(String::from_utf8(out).expect("ASCII"));
        }
        (protocol, requests, expected)
    }

    /// However `reply` is cut, it is right once it is whole and unfinished before, and what follows it
    /// is left alone.
    pub(crate) fn right<P: Protocol>(protocol: &mut P, reply: &[u8], expected: &Expected) {
        for cut in 0..reply.len() {
            let checked = protocol.check(0, &reply[..cut], expected);
            assert_eq!(checked, Ok(Checked::Unfinished), "{cut} bytes");
        }
        let more = [reply, b"\nAT"].concat();
        assert_eq!(protocol.check(0, &more, expected), Ok(Checked::Reply(reply.len())));
    }
}
