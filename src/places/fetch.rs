//! What a source wants fetched, and what it is told came back.
//!
//! A source on the network knows what to ask and how to read the answer, and nothing of sockets,
//! clocks or retries. So it says a [`Fetch`]; its caller makes one HTTP exchange of that,
//! hands over the [`Reply`], and gets a [`ParsedReply`].
//!
//! ```text
//!     Query --nearby--> Fetch ==(somebody's HTTP client)==> Reply --read--> ParsedReply
//! ```
//!
//! Whoever runs it adds the headers that belong to the connection (`Host`, `Content-Length`,
//! `Connection`), `User-Agent`, and `Accept-Encoding: identity`: a reply that is encoded all the
//! same is refused here.

use std::fmt;
use std::time::Duration;

use super::Answer;
use crate::http::{BaseUrl, Method, Scheme};
use crate::log::secret::Secret;

/// One HTTP request, to be made as it stands or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// Whether it goes through TLS.
    pub scheme: Scheme,
    /// A name in lower case, or an IP address; one of version 6 without its brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// GET or POST. Both only read, so that both may be repeated.
    pub method: Method,
    /// What stands in the request line.
    pub target: RequestTarget,
    /// Headers besides those of the connection.
    pub headers: Vec<(&'static str, Value)>,
    /// Empty for a GET.
    pub body: Vec<u8>,
    /// Fetches of one source with equal flights are the same question: one exchange serves all who
    /// ask while it lasts. Holds everything that matters but the bound, and no secret.
    pub flight: Vec<u8>,
    /// How long the answer may be given to others, if at all: Google's may not.
    pub keep: Option<Duration>,
}

impl Fetch {
    /// A GET without headers, that nobody keeps; equal targets are equal questions.
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
    /// May be logged.
    Open(String),
    /// May not.
    Secret(Secret),
}

impl Value {
    /// For the wire only.
    pub fn reveal(&self) -> &str {
        match self {
            Value::Open(text) => text,
            Value::Secret(secret) => secret.reveal(),
        }
    }
}

/// Path and query of a request. The query may hold a key, so `Debug` shows the path alone.
#[derive(Clone, Eq, PartialEq)]
pub struct RequestTarget {
    text: String,
    path_bytes: usize,
}

impl RequestTarget {
    /// A target without a query. `path`: begins with a slash, encoded as a path must be.
    pub fn new(path: String) -> RequestTarget {
        RequestTarget { path_bytes: path.len(), text: path }
    }

    /// Adds a parameter to the query, its value encoded as far as is needed.
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

    /// All of it, for the request line. For the wire only.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What may be logged.
    pub fn path(&self) -> &str {
        &self.text[..self.path_bytes]
    }
}

impl fmt::Debug for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.path(), f)
    }
}

/// What came back: the whole of it, the body without its framing.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// 200 to 599; what comes before the last status (100 to 199) is not shown.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// `Retry-After`: seconds or a date.
    pub retry_after: Option<&'a [u8]>,
    /// `Date`: with it a date in `retry_after` becomes a pause, without a clock of ours.
    pub date: Option<&'a [u8]>,
    /// The body, as long as it is allowed to be and no longer.
    pub body: &'a [u8],
}

/// What a source makes of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedReply {
    /// For everyone who asked, should there be no second attempt.
    pub answer: Answer,
    /// Whether a second attempt may do better.
    pub retry: Retry,
    /// What is to be logged: one line, scrubbed, of at most [`LOG_CHARS_MAX`] characters, and
    /// empty if all is well. An error where the answer is a failure with the status
    /// `INVALID_REQUEST` (then it is our bug), a warning otherwise.
    pub log: String,
}

/// The longest [`ParsedReply::log`], in characters.
pub const LOG_CHARS_MAX: usize = 600;

/// What the upstream's answer says about asking again. Whether there is time for it, whoever runs
/// the source decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// It would be answered the same.
    No,
    /// After a short pause of the asker's own choice.
    Soon,
    /// After this, not before: the upstream says so.
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
