//! One exchange of HTTP/1.1, from either side, as values.
//!
//! The client's side. In: a [`Request`]; then the bytes from the peer, split anywhere, and the end of its stream.
//! Out: the request's bytes; then one complete [`Response`] within [`HttpLimits`], or an [`HttpError`] that says what
//! the peer did wrong.
//!
//! The server's side. In: the bytes from the peer, split anywhere; then an [`HttpReply`]. Out: a [`RequestEvent`] for
//! each request; then the reply's bytes.
//!
//! A response:
//!
//! ```text
//!               +-- 1xx: a few --+
//!               v                |
//!   bytes --> Head --------------+--> no body ----------------------> Done
//!                                |--> Length     a byte count      ---> Done
//!                                |--> Chunked    chunks, trailers --> Done
//!                                +--> UntilClose the end of stream --> Done
//! ```
//!
//! Each reader is one table of states ([`ResponseReader`], `response.rs`; [`RequestReader`], `request_reader.rs`). One
//! place (`framing.rs`) decides what follows a head, by the ordered rules of RFC 9112, section 6.3. A reader examines
//! each byte a fixed number of times, however the stream is split: it buffers lines and never searches them again, and
//! it parses a head once, when it is complete.
//!
//! Line endings: in the head of a response a lone LF ends a line, which RFC 9112 section 2.2 allows, and which is
//! unambiguous there. In the head of a request it is an error (`request_reader.rs` says why). Among chunks only CR LF
//! ends a line, because a reader that sees another line end there also sees another end of the body. A lone CR in a
//! line is always an error.
//!
//! Where a rule leaves a choice, the reader of responses rejects the response. It talks to two or three known servers.
//! A closed connection costs a handshake, but a connection that is out of step costs a wrong answer.
//!
//! This module does not know the peer, the transport, any timeout, or what a body means. Data that may contain a key
//! (a target's query, header values, bodies) appears in no [`Debug`](std::fmt::Debug) text and in no error.
//!
//! To read on: `request.rs`; then `lines.rs`, `head.rs`, `framing.rs`, `chunks.rs`, and `response.rs`, which combines
//! them; `error.rs`. The server's side: `request_head.rs`, `request_reader.rs`, `reply.rs`, and `form.rs` for queries
//! and forms. An operator configures the peer of a client as a URL: `url.rs`.
//!
//! Twisted: web/_newclient.py, HTTP11ClientProtocol and HTTPClientParser; web/http.py,
//! _ChunkedTransferDecoder. Differences: limits on everything; `Connection: close` in any spelling;
//! a body is delivered complete or not at all.

mod chunks;
mod error;
mod form;
mod framing;
mod head;
mod lines;
mod reply;
mod request;
mod request_head;
mod request_reader;
mod response;
mod url;

pub use error::HttpError;
pub use form::{form_pairs, percent_decode};
pub use head::Headers;
pub use reply::{HttpReply, ReplyPart};
pub(crate) use request::authority;
pub use request::{Method, Request, RequestError};
pub use request_head::{FieldSlots, RequestHead};
pub use request_reader::{RequestEvent, RequestReader};
pub use response::{Response, ResponseProgress, ResponseReader};
pub(crate) use url::host_and_port;
pub use url::{BaseUrl, ProxyUrl, Scheme, UrlFault};

/// How much a peer may send. Exceeding a limit is an [`HttpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest head in bytes, from the status line to the empty line.
    pub head_bytes: usize,
    /// Maximum number of header fields in a head.
    pub headers: usize,
    /// Maximum number of interim (1xx) responses before the final response.
    pub interim: usize,
    /// Longest body in bytes, without its framing.
    pub body_bytes: usize,
    /// Longest line that begins a chunk, in bytes, with extensions and line end. Twisted: maxChunkSizeLineLength.
    pub chunk_line_bytes: usize,
    /// Longest trailers in bytes, with the empty line that ends them.
    pub trailer_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            head_bytes: 16 * 1024,
            headers: 64,
            interim: 16,
            body_bytes: 4 * 1024 * 1024,
            chunk_line_bytes: 1_024,
            trailer_bytes: 8 * 1024,
        }
    }
}
