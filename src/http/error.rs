//! Errors of a peer, as messages for the log. They contain our own numbers, but no bytes from the peer.

use std::fmt;

/// Why there is no response. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The peer closed the connection without sending a byte, as it may do with a connection that was kept idle.
    Closed,
    /// The stream ended before the end of the head.
    TruncatedHead,
    /// The stream ended before the end of the body.
    TruncatedBody,
    /// The head exceeds [`HttpLimits::head_bytes`](super::HttpLimits::head_bytes). The value is that limit.
    HeadTooLong(usize),
    /// The header fields exceed [`HttpLimits::headers`](super::HttpLimits::headers). The value is that limit.
    TooManyHeaders(usize),
    /// The head is not HTTP/1.0 or 1.1. Contains the name of the malformed part.
    MalformedHead(&'static str),
    /// The interim responses exceed [`HttpLimits::interim`](super::HttpLimits::interim). The value is that limit.
    TooManyInterim(usize),
    /// The status is 101, but the request did not ask for another protocol.
    SwitchedProtocols,
    /// A Content-Length is not a number.
    ContentLength,
    /// Two Content-Length values differ.
    ContentLengths,
    /// A Transfer-Encoding other than `chunked` alone, or any in HTTP/1.0.
    TransferEncoding,
    /// The body exceeds [`HttpLimits::body_bytes`](super::HttpLimits::body_bytes). The value is that limit.
    BodyTooLong(usize),
    /// A chunk does not begin with a size of 1 to 16 hexadecimal digits.
    ChunkSize,
    /// A chunk does not end where its size says.
    ChunkEnd,
    /// A chunk's first line exceeds [`HttpLimits::chunk_line_bytes`](super::HttpLimits::chunk_line_bytes). The value
    /// is that limit.
    ChunkLineTooLong(usize),
    /// A line among the chunks ends with LF alone, or contains a CR.
    ChunkLineEnd,
    /// The trailers exceed [`HttpLimits::trailer_bytes`](super::HttpLimits::trailer_bytes). The value is that limit.
    TrailersTooLong(usize),
    /// The peer sent bytes after the response, or after an error.
    Uninvited,
    /// The request's target exceeds the limit, which is the value.
    TargetTooLong(usize),
    /// The request's method is not one of RFC 9110's, or is CONNECT.
    UnknownMethod,
    /// The version is neither HTTP/1.0 nor 1.1.
    Version,
}

impl HttpError {
    /// The status of the answer to a request with this error: RFC 9110, section 15.
    pub fn status(self) -> u16 {
        match self {
            HttpError::BodyTooLong(_) => 413,
            HttpError::TargetTooLong(_) => 414,
            HttpError::HeadTooLong(_)
            | HttpError::TooManyHeaders(_)
            | HttpError::TrailersTooLong(_) => 431,
            HttpError::UnknownMethod => 501,
            HttpError::Version => 505,
            _ => 400,
        }
    }
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
            Self::MalformedHead("target") => f.write_str(
                "sent a malformed target, or one whose characters must be percent-encoded",
            ),
            Self::MalformedHead(part) => write!(f, "sent a malformed {part}"),
            Self::TooManyInterim(most) => write!(f, "sent more than {most} interim responses"),
            Self::SwitchedProtocols => f.write_str("switched protocols without being asked"),
            Self::ContentLength => f.write_str("sent a Content-Length that is not a number"),
            Self::ContentLengths => f.write_str("sent several Content-Length values"),
            Self::TransferEncoding => {
                f.write_str("used a transfer coding other than chunked alone")
            }
            Self::BodyTooLong(most) => {
                write!(f, "sent or announced a body of more than {most} bytes")
            }
            Self::ChunkSize => f.write_str("sent a chunk size that is not a hexadecimal number"),
            Self::ChunkEnd => f.write_str("sent a chunk that is longer than its size"),
            Self::ChunkLineTooLong(most) => {
                write!(f, "sent a chunk size line of more than {most} bytes")
            }
            Self::ChunkLineEnd => f.write_str("sent a lone CR or LF in a line among the chunks"),
            Self::TrailersTooLong(most) => write!(f, "sent trailers of more than {most} bytes"),
            Self::Uninvited => f.write_str("sent bytes after the response"),
            Self::TargetTooLong(most) => write!(f, "sent a target of more than {most} bytes"),
            Self::UnknownMethod => f.write_str("sent a method that is not implemented"),
            Self::Version => f.write_str("speaks neither HTTP/1.0 nor HTTP/1.1"),
        }
    }
}

impl std::error::Error for HttpError {}
