//! The requests of a source, and the replies to them.
//!
//! A source on the network knows what to ask and how to read the reply, but nothing of sockets, clocks or retries.
//! So it returns a [`Fetch`]. Its caller performs one HTTP exchange, passes in the [`Reply`], and gets a
//! [`ParsedReply`].
//!
//! ```text
//!     Query --nearby--> Fetch ==(an HTTP client)==> Reply --read--> ParsedReply
//! ```
//!
//! The HTTP client adds the headers of the connection (`Host`, `Content-Length`, `Connection`), `User-Agent`, and
//! `Accept-Encoding: identity`. A reply that is encoded nevertheless is rejected here.

use std::fmt;
use std::time::Duration;

use super::Answer;
use crate::http::{BaseUrl, Method, Scheme};
use crate::log::secret::Secret;

/// One HTTP request. The caller must not change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// Whether the request uses TLS.
    pub scheme: Scheme,
    /// A name in lower case, or an IP address; an IPv6 address has no brackets.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// GET or POST. Both only read, so both may be repeated.
    pub method: Method,
    /// Path and query.
    pub target: RequestTarget,
    /// Headers in addition to those of the connection.
    pub headers: Vec<(&'static str, Value)>,
    /// The body; empty for a GET.
    pub body: Vec<u8>,
    /// Fetches of one source with equal flights are the same question, so one exchange serves all clients that ask
    /// while it lasts. Contains everything that matters except the bound, and no secret.
    pub flight: Vec<u8>,
    /// How long the answer may be reused; `None` if it may not be, as for Google's.
    pub keep: Option<Duration>,
}

impl Fetch {
    /// A GET without headers. Its answer is not reused. Equal targets are equal questions.
    pub(super) fn get(base: &BaseUrl, target: RequestTarget) -> Fetch {
        Fetch {
            scheme: base.scheme,
            host: base.host.clone(),
            port: base.port,
            method: Method::Get,
            flight: target.reveal().as_bytes().to_vec(),
            target,
            headers: Vec::new(),
            body: Vec::new(),
            keep: None,
        }
    }
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A value that may be logged.
    Open(String),
    /// A value that must not be logged.
    Secret(Secret),
}

impl Value {
    /// The value, for the wire only.
    pub fn reveal(&self) -> &str {
        match self {
            Value::Open(text) => text,
            Value::Secret(secret) => secret.reveal(),
        }
    }
}

/// Path and query of a request. The query may contain a key, so `Debug` prints only the path.
#[derive(Clone, Eq, PartialEq)]
pub struct RequestTarget {
    text: String,
    path_bytes: usize,
}

impl RequestTarget {
    /// A target without a query. `path` begins with a slash, and is percent-encoded.
    pub fn new(path: String) -> RequestTarget {
        RequestTarget { path_bytes: path.len(), text: path }
    }

    /// Adds a parameter to the query; encodes its value as far as necessary.
    pub fn with(mut self, name: &str, value: &str) -> RequestTarget {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.text.push(if self.text.len() == self.path_bytes { '?' } else { '&' });
        self.text.push_str(name);
        self.text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                    self.text.push(char::from(byte));
                }
                _ => {
                    let [high, low] = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
                    self.text.extend(['%', char::from(high), char::from(low)]);
                }
            }
        }
        self
    }

    /// Path and query, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The path, which may be logged.
    pub fn path(&self) -> &str {
        &self.text[..self.path_bytes]
    }
}

impl fmt::Debug for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.path(), f)
    }
}

/// A complete reply, with the body but without its framing.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status, 200 to 599; interim statuses (100 to 199) are not reported.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// The header `Content-Encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// The header `Retry-After`: seconds or a date.
    pub retry_after: Option<&'a [u8]>,
    /// The header `Date`. It converts a date in `retry_after` to a pause, without a clock of ours.
    pub date: Option<&'a [u8]>,
    /// The body, which is no longer than the limit allows.
    pub body: &'a [u8],
}

/// The result of interpreting a reply.
#[derive(Clone, Debug)]
pub struct ParsedReply {
    /// The answer for all clients that have asked, unless a second attempt is made.
    pub answer: Answer,
    /// Whether a second attempt may succeed.
    pub retry: Retry,
    /// The line for the log, scrubbed, at most [`LOG_CHARS_MAX`] characters; empty after a success. It is an error
    /// if the answer is a failure with the status `INVALID_REQUEST` (then it is our bug), else a warning.
    pub log: String,
}

/// Longest [`ParsedReply::log`], in characters.
pub const LOG_CHARS_MAX: usize = 600;

/// Whether the provider allows a retry. The caller of the source decides whether there is time for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// A retry would get the same reply.
    No,
    /// Retry after a short pause, which the caller chooses.
    Soon,
    /// Retry after this pause, and not before, as the provider demands.
    After(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_encoded_and_shows_only_its_path() {
        let target = RequestTarget::new("/a/json".to_string());
        assert_eq!((target.reveal(), target.path()), ("/a/json", "/a/json"));
        let target = target.with("location", "34.0,-118.4").with("key", "a&b=c d/é+%");
        assert_eq!(
            target.reveal(),
            "/a/json?location=34.0,-118.4&key=a%26b%3Dc%20d%2F%C3%A9%2B%25"
        );
        assert_eq!(format!("{target:?}"), "\"/a/json\"");
    }

    #[test]
    fn a_secret_value_shows_nothing() {
        let value = Value::Secret(Secret::new("CANARY").unwrap());
        assert_eq!(value.reveal(), "CANARY");
        assert!(!format!("{value:?}").contains("CANARY"));
    }
}
