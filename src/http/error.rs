//! What a peer can do wrong, in words for the log. They hold numbers of ours, never bytes of its.

use std::fmt;

/// Why there is no response. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Not one byte came: a connection that was kept alive may have been closed just then.
    Closed,
    /// The stream ended before the head did.
    TruncatedHead,
    /// The stream ended before the body did.
    TruncatedBody,
    /// [`HttpLimits::head_bytes`](super::HttpLimits::head_bytes), the limit in bytes.
    HeadTooLong(usize),
    /// [`HttpLimits::headers`](super::HttpLimits::headers), the limit.
    TooManyHeaders(usize),
    /// The head is not HTTP/1.0 or 1.1; which part of it.
    MalformedHead(&'static str),
    /// [`HttpLimits::interim`](super::HttpLimits::interim), the limit.
    TooManyInterim(usize),
    /// Status 101, and nobody had asked for another protocol.
    SwitchedProtocols,
    /// A Content-Length is not a number.
    ContentLength,
    /// Two Content-Lengths are different numbers.
    ContentLengths,
    /// A Transfer-Encoding other than `chunked` alone, or any in HTTP/1.0.
    TransferEncoding,
    /// [`HttpLimits::body_bytes`](super::HttpLimits::body_bytes), the limit in bytes.
    BodyTooLong(usize),
    /// A chunk begins with something else than a size of 1 to 16 hex digits.
    ChunkSize,
    /// A chunk does not end where its size says.
    ChunkEnd,
    /// [`HttpLimits::chunk_line_bytes`](super::HttpLimits::chunk_line_bytes), the limit in bytes.
    ChunkLineTooLong(usize),
    /// A line among the chunks ends with LF alone, or has a CR in it.
    ChunkLineEnd,
    /// [`HttpLimits::trailer_bytes`](super::HttpLimits::trailer_bytes), the limit in bytes.
    TrailersTooLong(usize),
    /// Bytes after the response, or after an error.
    Uninvited,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer ")?;
        match self {
            Self::Closed => f.write_str("closed the connection without a response"),
            Self::TruncatedHead => f.write_str("closed the connection before the end of the head"),
            Self::TruncatedBody => f.write_str("closed the connection before the end of the body"),
            Self::HeadTooLong(most) => write!(f, "sent a head of more than {most} bytes"),
            Self::TooManyHeaders(most) => write!(f, "sent more than {most} header fields"),
            Self::MalformedHead(part) => write!(f, "sent a malformed {part}"),
            Self::TooManyInterim(most) => write!(f, "sent more than {most} interim responses"),
            Self::SwitchedProtocols => f.write_str("switched protocols without being asked"),
            Self::ContentLength => f.write_str("sent a Content-Length that is no number"),
            Self::ContentLengths => f.write_str("sent different Content-Lengths"),
            Self::TransferEncoding => f.write_str("used a transfer coding other than chunked"),
            Self::BodyTooLong(most) => {
                write!(f, "sent or announced a body of more than {most} bytes")
            }
            Self::ChunkSize => f.write_str("sent a chunk size that is no number"),
            Self::ChunkEnd => f.write_str("sent a chunk that is longer than its size"),
            Self::ChunkLineTooLong(most) => {
                write!(f, "sent a chunk size line of more than {most} bytes")
            }
            Self::ChunkLineEnd => f.write_str("sent CR or LF alone in a line among the chunks"),
            Self::TrailersTooLong(most) => write!(f, "sent trailers of more than {most} bytes"),
            Self::Uninvited => f.write_str("sent bytes after the response"),
        }
    }
}

impl std::error::Error for HttpError {}
