//! A request, and its bytes on the wire.
//!
//! In: method, host, target, header fields and body. Out: the bytes. Every part is checked when it is added, so a
//! request is always well formed: no value, from whatever source, can end its line and begin another. A rejected
//! value is never written, nor repeated in the error.
//!
//! A key is in the target's query or in a header value, so neither is ever printed. A request prints itself as
//! `GET host/path`, which is also all that a log may contain.

use std::fmt;
use std::io::Write as _;
use std::net::Ipv6Addr;

/// The product name in the User-Agent header.
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

/// The method of a request. The response's framing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Retrieves the target's content.
    Get,
    /// Retrieves the headers only: a response has no body.
    Head,
    /// Sends a body, and retrieves the result.
    Post,
    /// Opens a tunnel to a host: after a 2xx response the connection is no longer HTTP.
    Connect,
    /// Stores a body under the target.
    Put,
    /// Asks what is allowed.
    Options,
    /// Removes the target's content. No server of ours allows it.
    Delete,
    /// Changes the target's content in part. No server of ours allows it.
    Patch,
    /// Asks for a copy of the request. No server of ours allows it.
    Trace,
    /// Asks a question in its body. No server of ours allows it.
    Query,
}

impl Method {
    /// The name in the request line: `GET`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Connect => "CONNECT",
            Method::Put => "PUT",
            Method::Options => "OPTIONS",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
            Method::Trace => "TRACE",
            Method::Query => "QUERY",
        }
    }

    /// The method with this name. Case matters: RFC 9110, section 9.1.
    pub fn named(name: &str) -> Option<Method> {
        use Method::{Connect, Delete, Get, Head, Options, Patch, Post, Put, Query, Trace};
        let all = [Put, Get, Post, Head, Options, Delete, Patch, Connect, Trace, Query];
        all.into_iter().find(|method| method.as_str() == name)
    }
}

/// A request, which can be written any number of times.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    method: Method,
    /// The Host header: with the port, unless that is the scheme's default. Not secret.
    host: String,
    /// Path and query, or the destination of a tunnel. The query may contain a key.
    target: String,
    /// Header lines with their line ends. The values may contain a key.
    headers: String,
    body: Vec<u8>,
}

impl Request {
    /// A request to a proxy for a tunnel to `host`.
    pub fn connect(host: &str, port: u16) -> Result<Request, RequestError> {
        let host = authority(host, Some(port))?;
        let (target, headers) = (host.clone(), String::new());
        let body = Vec::new();
        Ok(Request { method: Method::Connect, host, target, headers, body })
    }

    /// A request to `host` for `target`, with `body` if the method is POST. The body's type is a
    /// [`header`](Request::header).
    ///
    /// `host` is a name or an address; an IPv6 address has no brackets. `port` is `None` for the scheme's default.
    /// `target` is path and query, from the first `/` on, percent-encoded. `body` is empty unless the method is POST.
    pub fn new(
        method: Method,
        host: &str,
        port: Option<u16>,
        target: &str,
        body: Vec<u8>,
    ) -> Result<Request, RequestError> {
        let host = authority(host, port)?;
        // A fragment is for the client only, and is not sent.
        let is_target = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !target.starts_with('/') || !target.bytes().all(is_target) {
            return Err(RequestError::Target);
        }
        let (target, headers) = (target.to_string(), String::new());
        Ok(Request { method, host, target, headers, body })
    }

    /// Adds a header field.
    ///
    /// `name` is a token, but not one of the headers that are always written. `value` is printable ASCII and
    /// spaces; the `Debug` text leaves it out.
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

    /// The method, which the response's reader needs.
    pub fn method(&self) -> Method {
        self.method
    }

    /// An upper bound for the number of bytes that [`write`](Request::write) appends.
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
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
             Accept: application/json\r\nAccept-Encoding: identity\r\n\
             Connection: keep-alive\r\n{length}{headers}\r\n"
        );
        out.extend_from_slice(body);
    }
}

/// Prints the parts of a request that are not secret: `GET places.googleapis.com/v1/places:searchNearby`.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.method {
            Method::Connect => "",
            _ => self.target.split('?').next().unwrap_or_default(),
        };
        write!(f, "{} {}{path}", self.method.as_str(), self.host)
    }
}

/// A host in the form of the Host header.
pub(crate) fn authority(host: &str, port: Option<u16>) -> Result<String, RequestError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let host = match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]"),
        Err(_) if !host.is_empty() && host.bytes().all(is_name) => host.to_string(),
        Err(_) => return Err(RequestError::Host),
    };
    Ok(port.map_or(host.clone(), |port| format!("{host}:{port}")))
}

/// Whether the byte may be part of a token: RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The part of a request that was rejected. Its value is not repeated, because it may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The host is neither a name nor an address.
    Host,
    /// The target does not begin with `/`, or contains other characters than printable ASCII.
    Target,
    /// The name is not a token, or is a header that is always written.
    HeaderName,
    /// The value contains other characters than printable ASCII and spaces.
    HeaderValue,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestError::Host => "not a host name or address",
            RequestError::Target => "not a path and query in printable ASCII",
            RequestError::HeaderName => "not a header name that may be set",
            RequestError::HeaderValue => "not a header value in printable ASCII",
        })
    }
}

impl std::error::Error for RequestError {}
