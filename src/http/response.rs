//! The reader of a response: a table of states.
//!
//! ```text
//!   state        takes                  then                               at the end of the stream
//!   Head         a head                 1xx: Head; else, by its framing,   error
//!                                       Length, Chunked, UntilClose, Done
//!   Length(n)    n bytes                Done                               error
//!   Chunked      chunks and trailers    Done                               error
//!   UntilClose   all bytes              UntilClose                         Done
//!   Done         nothing                any byte is an error               nothing
//! ```
//!
//! A stream that ends early is an error in every state but UntilClose, where the response has no other end.
//!
//! After an error the state is Done. The idea of the table is from h11, `_state.py`.

use super::chunks::Chunks;
use super::framing::Framing;
use super::head::{self, Head, Headers, number};
use super::lines::LineBuffer;
use super::{HttpError, HttpLimits, Method};
use std::fmt;
use std::mem;
use std::time::Duration;

/// Maximum memory that is reserved for a body because of its announced length.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// The progress of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseProgress {
    /// The response is incomplete.
    More,
    /// The complete response. Returned once.
    Done(Response),
}

/// A complete response.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 999.
    pub status: u16,
    /// All fields of the head, but not the trailers.
    pub headers: Headers,
    /// The body without its framing, at most [`HttpLimits::body_bytes`]. A content coding is not decoded.
    pub body: Vec<u8>,
    /// Whether another request may be sent on the connection.
    pub reusable: bool,
    /// The number of bytes after the response among the bytes received last. If there are any, the connection is not
    /// reusable, because no request has asked for them.
    pub leftover: usize,
}

impl Response {
    /// The value of the first field with this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// How long the peer announces to keep the idle connection: `Keep-Alive: timeout=5, max=100`.
    pub fn keep_alive(&self) -> Option<Duration> {
        let timeout = |element: &[u8]| {
            let at = element.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (element[..at].trim_ascii(), element[at + 1..].trim_ascii());
            number(value).filter(|_| name.eq_ignore_ascii_case(b"timeout"))
        };
        self.headers.elements("Keep-Alive").find_map(timeout).map(Duration::from_secs)
    }
}

/// Omits the body, which may be long, and the values of headers.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .field("reusable", &self.reusable)
            .field("leftover", &self.leftover)
            .finish()
    }
}

/// The reader of the response to one request.
pub struct ResponseReader {
    method: Method,
    limits: HttpLimits,
    state: ResponseState,
    /// Whether any byte was received.
    begun: bool,
    /// The number of interim responses received.
    interim: usize,
    /// The lines of the head, until it is complete.
    lines: LineBuffer,
    /// The parts of the response that are known so far.
    response: Response,
}

enum ResponseState {
    Head,
    /// This many bytes of the body are left, at least one.
    Length(usize),
    Chunked(Chunks),
    UntilClose,
    Done,
}

impl ResponseReader {
    /// A reader for the response to a request with this method.
    pub fn new(method: Method, limits: HttpLimits) -> ResponseReader {
        ResponseReader {
            method,
            limits,
            state: ResponseState::Head,
            begun: false,
            interim: 0,
            lines: LineBuffer::default(),
            response: Response::default(),
        }
    }

    /// Handles bytes from the peer.
    ///
    /// After [`ResponseProgress::Done`], and after an error, any byte is [`HttpError::Uninvited`].
    pub fn received(&mut self, data: &[u8]) -> Result<ResponseProgress, HttpError> {
        self.begun |= !data.is_empty();
        let progress = self.advance(data);
        if progress.is_err() {
            self.state = ResponseState::Done;
        }
        progress
    }

    /// Handles the proper end of the peer's stream. A TLS stream without close_notify was cut off, which must not be
    /// reported here.
    ///
    /// After [`ResponseProgress::Done`] it is not an error, and returns [`ResponseProgress::More`], though nothing
    /// follows.
    pub fn ended(&mut self) -> Result<ResponseProgress, HttpError> {
        match mem::replace(&mut self.state, ResponseState::Done) {
            ResponseState::Head if !self.begun => Err(HttpError::Closed),
            ResponseState::Head => Err(HttpError::TruncatedHead),
            ResponseState::Length(_) | ResponseState::Chunked(_) => Err(HttpError::TruncatedBody),
            ResponseState::UntilClose => Ok(self.done(0)),
            ResponseState::Done => Ok(ResponseProgress::More),
        }
    }

    /// Whether any byte of a response was received. Until then, an idempotent request may be sent again on another
    /// connection.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The status, if the head was received and [`ResponseProgress::Done`] was not yet returned. It is available
    /// even if the bytes after the head are an error.
    pub fn status(&self) -> Option<u16> {
        Some(self.response.status).filter(|status| *status != 0)
    }

    /// The number of bytes of the response that are held here.
    pub fn buffered(&self) -> usize {
        let chunks =
            if let ResponseState::Chunked(chunks) = &self.state { chunks.buffered() } else { 0 };
        self.lines.text.len() + self.response.body.len() + chunks
    }

    /// Executes rows until `data` or the response ends.
    fn advance(&mut self, data: &[u8]) -> Result<ResponseProgress, HttpError> {
        let mut taken = 0;
        loop {
            taken += self.step(&data[taken..])?;
            match self.state {
                ResponseState::Done => return Ok(self.done(data.len() - taken)),
                _ if taken == data.len() => return Ok(ResponseProgress::More),
                _ => {}
            }
        }
    }

    /// Executes one row of the table. Returns the number of bytes taken from `data`: all, unless the row ends
    /// before that.
    fn step(&mut self, data: &[u8]) -> Result<usize, HttpError> {
        let body = &mut self.response.body;
        match &mut self.state {
            ResponseState::Head => {
                let (taken, head) = head::read(&mut self.lines, data, &self.limits)?;
                if let Some(head) = head {
                    self.state = self.head_received(head)?;
                }
                Ok(taken)
            }
            ResponseState::Length(left) => {
                let taken = data.len().min(*left);
                body.extend_from_slice(&data[..taken]);
                *left -= taken;
                if *left == 0 {
                    self.state = ResponseState::Done;
                }
                Ok(taken)
            }
            ResponseState::Chunked(chunks) => {
                let taken = chunks.decode(data, body, &self.limits)?;
                if chunks.is_done() {
                    self.state = ResponseState::Done;
                }
                Ok(taken)
            }
            ResponseState::UntilClose => {
                if data.len() > self.limits.body_bytes - body.len() {
                    return Err(HttpError::BodyTooLong(self.limits.body_bytes));
                }
                body.extend_from_slice(data);
                Ok(data.len())
            }
            ResponseState::Done => Err(HttpError::Uninvited),
        }
    }

    /// Handles a complete head, of an interim response or of the final one.
    fn head_received(&mut self, head: Head) -> Result<ResponseState, HttpError> {
        match head.status {
            101 => return Err(HttpError::SwitchedProtocols),
            100..=199 if self.interim == self.limits.interim => {
                return Err(HttpError::TooManyInterim(self.limits.interim));
            }
            100..=199 => {
                self.interim += 1;
                return Ok(ResponseState::Head);
            }
            _ => {}
        }
        self.response.status = head.status;
        let framing = Framing::of(&head, self.method, &self.limits)?;
        self.response.reusable = framing.leaves_open(&head);
        self.response.headers = head.headers;
        self.lines = LineBuffer::default();
        Ok(match framing {
            Framing::Empty | Framing::Tunnel => ResponseState::Done,
            Framing::Length(length) => {
                self.response.body.reserve(length.min(RESERVED_BYTES_MAX));
                ResponseState::Length(length)
            }
            Framing::Chunked => ResponseState::Chunked(Chunks::default()),
            Framing::UntilClose => ResponseState::UntilClose,
        })
    }

    /// Returns the response.
    fn done(&mut self, leftover: usize) -> ResponseProgress {
        let mut response = mem::take(&mut self.response);
        response.leftover = leftover;
        response.reusable &= leftover == 0;
        ResponseProgress::Done(response)
    }
}

/// Omits the received bytes.
impl fmt::Debug for ResponseReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseReader").field("buffered", &self.buffered()).finish_non_exhaustive()
    }
}
