//! The reader of a response: a table of states.
//!
//! ```text
//!   state        takes                  then                               if the stream ends
//!   Head         a head                 1xx: Head; else, by its framing,   error
//!                                       Length, Chunked, UntilClose, Done
//!   Length(n)    n bytes                Done                               error
//!   Chunked      chunks and trailers    Done                               error
//!   UntilClose   all there is           UntilClose                         Done
//!   Done         nothing                any byte is an error               nothing
//! ```
//!
//! What is cut short is an error in every state but one, and there the peer has said beforehand
//! that nobody will be able to tell.
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

/// The most that is set aside for a body because of its announced length alone.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// What has become of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseProgress {
    /// There is more to come.
    More,
    /// Here it is. Told once.
    Done(Response),
}

/// A response, whole.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// 200 to 999.
    pub status: u16,
    /// All fields of the head; none of the trailers.
    pub headers: Headers,
    /// Without its framing, at most [`HttpLimits::body_bytes`]. A content coding is not undone.
    pub body: Vec<u8>,
    /// Whether another request may be sent on the connection.
    pub reusable: bool,
    /// How many of the bytes received last came behind the response. If there are any the
    /// connection is not reusable: nobody had asked for them.
    pub leftover: usize,
}

impl Response {
    /// The value of the first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// How long the peer says it will keep the connection while it is idle: `Keep-Alive: timeout=5, max=100`.
    pub fn keep_alive(&self) -> Option<Duration> {
        let timeout = |element: &[u8]| {
            let at = element.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (element[..at].trim_ascii(), element[at + 1..].trim_ascii());
            number(value).filter(|_| name.eq_ignore_ascii_case(b"timeout"))
        };
        self.headers.elements("Keep-Alive").find_map(timeout).map(Duration::from_secs)
    }
}

/// Without the body, which may be long, and without what headers say.
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

/// Reads the response to one request.
pub struct ResponseReader {
    method: Method,
    limits: HttpLimits,
    state: ResponseState,
    /// Whether any byte has come.
    begun: bool,
    /// How many interim responses have come.
    interim: usize,
    /// The head, until its end has come.
    lines: LineBuffer,
    /// What is known of the response so far.
    response: Response,
}

enum ResponseState {
    Head,
    /// So many bytes are to come, at least one.
    Length(usize),
    Chunked(Chunks),
    UntilClose,
    Done,
}

impl ResponseReader {
    /// For the response to a request of this method.
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

    /// The peer has sent `data`.
    ///
    /// After [`ResponseProgress::Done`] and after an error everything is [`HttpError::Uninvited`].
    pub fn received(&mut self, data: &[u8]) -> Result<ResponseProgress, HttpError> {
        self.begun |= !data.is_empty();
        let progress = self.advance(data);
        if progress.is_err() {
            self.state = ResponseState::Done;
        }
        progress
    }

    /// The peer has ended its stream, properly: a TLS stream without close_notify has not ended but
    /// broken off, and must not be told here.
    ///
    /// After [`ResponseProgress::Done`] this is no fault: [`ResponseProgress::More`], and nothing follows.
    pub fn ended(&mut self) -> Result<ResponseProgress, HttpError> {
        match mem::replace(&mut self.state, ResponseState::Done) {
            ResponseState::Head if !self.begun => Err(HttpError::Closed),
            ResponseState::Head => Err(HttpError::TruncatedHead),
            ResponseState::Length(_) | ResponseState::Chunked(_) => Err(HttpError::TruncatedBody),
            ResponseState::UntilClose => Ok(self.done(0)),
            ResponseState::Done => Ok(ResponseProgress::More),
        }
    }

    /// Has any byte of a response come? As long as none has, a request that may be repeated may be
    /// sent again elsewhere.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The status, if the head of the response has come and [`ResponseProgress::Done`] was not yet told: also
    /// where what follows the head is at fault.
    pub fn status(&self) -> Option<u16> {
        Some(self.response.status).filter(|status| *status != 0)
    }

    /// How many bytes of the response are held here.
    pub fn buffered(&self) -> usize {
        let chunks =
            if let ResponseState::Chunked(chunks) = &self.state { chunks.buffered() } else { 0 };
        self.lines.text.len() + self.response.body.len() + chunks
    }

    /// Row after row, until `data` or the response has come to its end.
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

    /// One row of the table. Returns how many bytes of `data` were taken: all, unless the row ended
    /// before them.
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

    /// A head has come: of an interim response, or of the one that was asked for.
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

    /// Hands the response over.
    fn done(&mut self, leftover: usize) -> ResponseProgress {
        let mut response = mem::take(&mut self.response);
        response.leftover = leftover;
        response.reusable &= leftover == 0;
        ResponseProgress::Done(response)
    }
}

/// Without the bytes that have come.
impl fmt::Debug for ResponseReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseReader").field("buffered", &self.buffered()).finish_non_exhaustive()
    }
}
