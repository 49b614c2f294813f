//! What follows a head, and whether the connection can be used again.
//!
//! In: a [`Head`] and the method of the request. Out: one of the ways in which a body ends. This is the only code
//! that interprets Content-Length, Transfer-Encoding and Connection.
//!
//! Source: RFC 9112, sections 6.1, 6.3 and 9.3, whose rules appear here in their order.

use super::head::{Head, Headers, number};
use super::request_head::RequestHead;
use super::{HttpError, HttpLimits, Method};

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    Empty,
    /// There is no body, and the bytes that follow are not HTTP.
    Tunnel,
    /// The body has this many bytes, at least one.
    Length(usize),
    /// The body ends with an empty chunk.
    Chunked,
    /// The body ends when the stream ends.
    UntilClose,
}

impl Framing {
    /// Applies the rules of section 6.3 in their order: the first that matches decides.
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
            // This reader decodes no other coding, and HTTP/1.0 has none (section 6.1).
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

    /// Returns what follows the head of a request. A head is an error if two readers could see two different ends: if it
    /// has two lengths, even equal ones; or if it has a Transfer-Encoding together with a length, twice, in HTTP/1.0, or
    /// other than exactly `chunked`. A request without a length and a Transfer-Encoding has no body.
    pub(super) fn of_request(
        head: &RequestHead<'_>,
        limits: &HttpLimits,
    ) -> Result<Framing, HttpError> {
        let mut codings = head.all("Transfer-Encoding");
        let mut lengths = head.all("Content-Length");
        let length = lengths.next();
        if lengths.next().is_some() {
            return Err(HttpError::ContentLengths);
        }
        if let Some(coding) = codings.next() {
            let is_alone = codings.next().is_none() && length.is_none();
            return match coding.eq_ignore_ascii_case(b"chunked") && is_alone && !head.http_1_0 {
                true => Ok(Framing::Chunked),
                false => Err(HttpError::TransferEncoding),
            };
        }
        let Some(length) = length else { return Ok(Framing::Empty) };
        // Only an attacker sends a number of more than 64 bits.
        let length = number(length).filter(|length| *length < u64::MAX);
        match usize::try_from(length.ok_or(HttpError::ContentLength)?) {
            Ok(0) => Ok(Framing::Empty),
            Ok(length) if length <= limits.body_bytes => Ok(Framing::Length(length)),
            _ => Err(HttpError::BodyTooLong(limits.body_bytes)),
        }
    }

    /// Whether another request may follow on the connection. Both sides must allow it, and agree where this response
    /// ends.
    pub(super) fn leaves_open(self, head: &Head) -> bool {
        let ends_clearly = match self {
            Framing::Empty | Framing::Length(_) => true,
            // A response with a length as well suggests a faulty peer, or a faulty intermediary.
            Framing::Chunked => head.headers.get("Content-Length").is_none(),
            Framing::Tunnel | Framing::UntilClose => false,
        };
        let says = |option: &[u8]| {
            head.headers.elements("Connection").any(|one| one.eq_ignore_ascii_case(option))
        };
        ends_clearly && !says(b"close") && (!head.http_1_0 || says(b"keep-alive"))
    }
}

/// Whether `chunked` is the only transfer coding.
fn is_chunked(headers: &Headers) -> bool {
    let mut codings = headers.elements("Transfer-Encoding").filter(|coding| !coding.is_empty());
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(is_chunked) && codings.next().is_none()
}

/// The number in all Content-Length fields. A list of equal numbers counts as one number: an intermediary has joined
/// two fields.
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
