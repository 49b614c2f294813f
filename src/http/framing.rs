//! What follows a head, and what the connection is good for afterwards.
//!
//! In: a [`Head`] and what was asked. Out: one of four ways in which a body ends. The one place
//! where Content-Length, Transfer-Encoding and Connection are understood.
//!
//! Source: RFC 9112, sections 6.1, 6.3 and 9.3, whose rules stand here in their order.

use super::head::{Head, Headers, number};
use super::{HttpError, HttpLimits, Method};

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// It does not begin.
    Empty,
    /// It does not begin, and what follows is no longer HTTP.
    Tunnel,
    /// After so many bytes, at least one.
    Length(usize),
    /// With a chunk of no bytes.
    Chunked,
    /// With the stream.
    UntilClose,
}

impl Framing {
    /// The rules of section 6.3, in their order: the first that applies decides.
    pub(super) fn of(
        head: &Head,
        method: Method,
        limits: &HttpLimits,
    ) -> Result<Framing, HttpError> {
        match (method, head.status) {
            (Method::Head, _) | (_, 100..=199 | 204 | 304) => return Ok(Framing::Empty),
            (Method::Connect, 200..=299) => return Ok(Framing::Tunnel),
            _ => {}
        }
        if head.headers.get("Transfer-Encoding").is_some() {
            // Another coding is nothing we could undo, and HTTP/1.0 has none (section 6.1).
            return match is_chunked(&head.headers) && !head.http_1_0 {
                true => Ok(Framing::Chunked),
                false => Err(HttpError::TransferEncoding),
            };
        }
        let limit = limits.body_bytes;
        match content_length(&head.headers)? {
            None => Ok(Framing::UntilClose),
            Some(0) => Ok(Framing::Empty),
            Some(length) => match usize::try_from(length) {
                Ok(length) if length <= limit => Ok(Framing::Length(length)),
                _ => Err(HttpError::BodyTooLong(limit)),
            },
        }
    }

    /// May another request follow on the connection? Both sides must want it, and agree where this
    /// response ends.
    pub(super) fn leaves_open(self, head: &Head) -> bool {
        let ends_clearly = match self {
            Framing::Empty | Framing::Length(_) => true,
            // A peer that gives a length as well is confused, or someone between us is.
            Framing::Chunked => head.headers.get("Content-Length").is_none(),
            Framing::Tunnel | Framing::UntilClose => false,
        };
        let says = |option: &[u8]| {
            head.headers.elements("Connection").any(|one| one.eq_ignore_ascii_case(option))
        };
        ends_clearly && !says(b"close") && (!head.http_1_0 || says(b"keep-alive"))
    }
}

/// Is `chunked` the one transfer coding?
fn is_chunked(headers: &Headers) -> bool {
    let mut codings = headers.elements("Transfer-Encoding").filter(|coding| !coding.is_empty());
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(is_chunked) && codings.next().is_none()
}

/// The number that all Content-Lengths are. A list of equal numbers is one number: somebody has
/// joined two fields.
fn content_length(headers: &Headers) -> Result<Option<u64>, HttpError> {
    let mut length = None;
    for element in headers.elements("Content-Length") {
        let one = number(element).ok_or(HttpError::ContentLength)?;
        if length.is_some_and(|length| length != one) {
            return Err(HttpError::ContentLengths);
        }
        length = Some(one);
    }
    Ok(length)
}
