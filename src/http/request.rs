//! A request, and the bytes it is sent as.
//!
//! In: method, host, target, header fields and body. Out: those bytes. A request that exists is
//! well formed: every part is checked when it is put in, so that no value, wherever it came from,
//! can end its line and begin another. What is refused is never written, nor repeated in the error.
//!
//! A key travels in the target's query or in a header value. So neither is ever shown: a request
//! prints itself as `GET host/path`, which is also all a log may say of it.

use std::fmt;
use std::io::Write as _;
use std::net::Ipv6Addr;

/// The product, as a peer's log names it.
const USER_AGENT: &str = concat!("herd/", env!("CARGO_PKG_VERSION"));

/// The fields that [`Request::write`] writes itself.
const OURS: [&str; 7] = [
    "Host",
    "User-Agent",
    "Accept",
    "Accept-Encoding",
    "Connection",
    "Content-Length",
    "Transfer-Encoding",
];

/// What is asked for. The response's framing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The target's content.
    Get,
    /// The same without the content: a response has no body.
    Head,
    /// What the target makes of the body.
    Post,
    /// A tunnel to a host: after a response of 2xx the connection is no longer HTTP.
    Connect,
}

impl Method {
    /// As it stands in the request line: `GET`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Connect => "CONNECT",
        }
    }
}

/// One request, ready to be written any number of times.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    method: Method,
    /// With the port, unless it is the scheme's own. Not secret.
    host: String,
    /// Path and query, or the host to tunnel to. The query may hold a key.
    target: String,
    /// Lines, each with its end. The values may hold a key.
    headers: String,
    body: Vec<u8>,
}

impl Request {
    /// Asks a proxy for a tunnel to `host`.
    pub fn connect(host: &str, port: u16) -> Result<Request, RequestError> {
        let host = authority(host, Some(port))?;
        let (target, headers) = (host.clone(), String::new());
        let body = Vec::new();
        Ok(Request { method: Method::Connect, host, target, headers, body })
    }

    /// Asks `host` for `target`, or has it make something of `body`, whose type is a
    /// [`header`](Request::header).
    ///
    /// `host`: a name or an address, one of IPv6 without brackets. `port`: `None` if it is the scheme's
    /// own. `target`: path and query, from the first `/` on, percent-encoded. `body`: empty unless it is a POST.
    pub fn new(
        method: Method,
        host: &str,
        port: Option<u16>,
        target: &str,
        body: Vec<u8>,
    ) -> Result<Request, RequestError> {
        let host = authority(host, port)?;
        // A fragment is for the one who asks, not for the one who is asked.
        let is_target = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !target.starts_with('/') || !target.bytes().all(is_target) {
            return Err(RequestError::Target);
        }
        let (target, headers) = (target.to_string(), String::new());
        Ok(Request { method, host, target, headers, body })
    }

    /// Adds a header field.
    ///
    /// `name`: a token, and none of those that are always written. `value`: printable ASCII and
    /// blanks; it is shown nowhere but on the wire.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Request, RequestError> {
        let is_ours = OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name));
        if name.is_empty() || !name.bytes().all(is_token) || is_ours {
            return Err(RequestError::HeaderName);
        }
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(RequestError::HeaderValue);
        }
        for piece in [name, ": ", value, "\r\n"] {
            self.headers.push_str(piece);
        }
        Ok(self)
    }

    /// What the response's reader must know.
    pub fn method(&self) -> Method {
        self.method
    }

    /// How many bytes [`write`](Request::write) appends, or a few more.
    pub fn bytes(&self) -> usize {
        const WORDS: usize = 256;
        WORDS + self.target.len() + self.host.len() + self.headers.len() + self.body.len()
    }

    /// Appends the whole request to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Request { method, host, target, headers, body } = self;
        let length = match method {
            Method::Post => format!("Content-Length: {}\r\n", body.len()),
            _ => String::new(),
        };
        let method = method.as_str();
        // A Vec takes everything.
        let _ = write!(
            out,
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
             Accept: application/json\r\nAccept-Encoding: identity\r\n\
             Connection: keep-alive\r\n{length}{headers}\r\n"
        );
        out.extend_from_slice(body);
    }
}

/// What may be known of a request: `GET places.googleapis.com/v1/places:searchNearby`.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.method {
            Method::Connect => "",
            _ => self.target.split('?').next().unwrap_or_default(),
        };
        write!(f, "{} {}{path}", self.method.as_str(), self.host)
    }
}

/// A host as the Host header has it.
pub(crate) fn authority(host: &str, port: Option<u16>) -> Result<String, RequestError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let host = match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]"),
        Err(_) if !host.is_empty() && host.bytes().all(is_name) => host.to_string(),
        Err(_) => return Err(RequestError::Host),
    };
    Ok(port.map_or(host.clone(), |port| format!("{host}:{port}")))
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Which part of a request was refused. The part itself is not repeated: it may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The host is neither a name nor an address.
    Host,
    /// The target does not begin with `/`, or holds something else than printable ASCII.
    Target,
    /// The name is none, or one of those that are always written.
    HeaderName,
    /// The value holds something else than printable ASCII and blanks.
    HeaderValue,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestError::Host => "not a host's name or address",
            RequestError::Target => "not a path and query in printable ASCII",
            RequestError::HeaderName => "not a header name that may be set",
            RequestError::HeaderValue => "not a header value in printable ASCII",
        })
    }
}

impl std::error::Error for RequestError {}
