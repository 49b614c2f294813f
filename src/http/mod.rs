//! One exchange of HTTP/1.1, as values: a request becomes bytes, and bytes become a response.
//!
//! In: a [`Request`]; then what the peer sends, cut anywhere, and the end of its stream. Out: the
//! request's bytes; then one [`Response`], whole and within [`HttpLimits`], or an [`HttpError`]
//! that says what the peer did.
//!
//! ```text
//!               +-- 1xx: a few --+
//!               v                |
//!   bytes --> Head --------------+--> no body ----------------------> Done
//!                                |--> Length     so many bytes   ---> Done
//!                                |--> Chunked    chunks, trailers --> Done
//!                                +--> UntilClose the stream's end --> Done
//! ```
//!
//! The reader is one table of states ([`ResponseReader`], `response.rs`). What follows the head is
//! decided in one place (`framing.rs`) by the ordered rules of RFC 9112, section 6.3. A byte is
//! looked at a fixed number of times however the stream is cut: lines are gathered, never searched
//! again, and a head is parsed once, when its end has come.
//!
//! How lines end. In the head a lone LF counts, as RFC 9112 section 2.2 lets it and as there is
//! nothing it could be confused with. Among chunks only CR LF counts, since a reader who disagrees
//! about a line there disagrees about where the response ends. A lone CR in a line is
//! always an error.
//!
//! Where a rule leaves a choice, this reader refuses: it asks two or three known servers, and a
//! connection that is given up costs a handshake, while one that is out of step costs a wrong
//! answer.
//!
//! It does not know whom it asks, over what, how long that may take, nor what a body says. Whatever
//! may hold a key (a target's query, header values, bodies) is in no [`Debug`](std::fmt::Debug)
//! text and no error.
//!
//! To read on: `request.rs`; then `lines.rs`, `head.rs`, `framing.rs`, `chunks.rs`, and
//! `response.rs`, which puts them together; `error.rs`. Whom to ask an operator writes as a URL: `url.rs`.
//!
//! Twisted: web/_newclient.py, HTTP11ClientProtocol and HTTPClientParser; web/http.py,
//! _ChunkedTransferDecoder. Differences: limits on everything; `Connection: close` in any spelling;
//! a body comes whole or not at all.

mod chunks;
mod error;
mod framing;
mod head;
mod lines;
mod request;
mod response;
mod url;

pub use error::HttpError;
pub use head::Headers;
pub(crate) use request::authority;
pub use request::{Method, Request, RequestError};
pub use response::{Response, ResponseProgress, ResponseReader};
pub use url::{BaseUrl, ProxyUrl, Scheme, UrlFault};

/// How much a peer may send. What goes beyond is an [`HttpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// The longest head, in bytes, from the status line to the empty line.
    pub head_bytes: usize,
    /// The most header fields in a head.
    pub headers: usize,
    /// The most interim (1xx) responses before the response.
    pub interim: usize,
    /// The longest body, in bytes, without its framing.
    pub body_bytes: usize,
    /// The longest line that begins a chunk, in bytes, extensions and end included.
    /// Twisted: maxChunkSizeLineLength.
    pub chunk_line_bytes: usize,
    /// The longest trailers, in bytes, the empty line that ends them included.
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
