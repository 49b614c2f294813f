//! The head of a request: from the request line to the empty line.
//!
//! In: the bytes of a complete head. Out: a [`RequestHead`]: method, target and header fields, all of them slices of these
//! bytes. Nothing is copied.
//!
//! httparse parses the head, but accepts more than a server may. So this file also rejects a path with characters
//! outside RFC 3986, and a request whose authority is not clear (RFC 9112, section 3.2). The caller has already rejected
//! heads with a lone LF.
//!
//! | form of the target | allowed with | then |
//! |---|---|---|
//! | origin: `/path?query` | every method | Host is the authority |
//! | absolute: `http://authority/path?query` | every method | its authority is used; there must still be exactly one Host, and a valid one |
//! | asterisk: `*` | OPTIONS | the path is `*` |
//! | authority: `host:port` | CONNECT | not implemented: 501 |

use super::{HttpError, HttpLimits, Method};
use std::fmt;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

/// Maximum number of header fields in the head of a request.
pub(super) const FIELDS_MAX: usize = 64;

/// Room for the header fields of one head, on the caller's stack: a [`RequestHead`] that owned it would be two kilobytes
/// that are copied with each event.
#[derive(Debug)]
pub struct FieldSlots<'a>([MaybeUninit<httparse::Header<'a>>; FIELDS_MAX]);

impl FieldSlots<'_> {
    /// Empty slots.
    #[expect(clippy::new_without_default, reason = "a default would suggest that there are values")]
    pub const fn new() -> Self {
        FieldSlots([MaybeUninit::uninit(); FIELDS_MAX])
    }
}

/// Longest target, in bytes.
pub(super) const TARGET_BYTES_MAX: usize = 8_192;

/// The parsed head of a request. The target's query and the values of fields may be secret, so [`Debug`] omits them.
#[derive(Clone)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: Method,
    /// The path, as it was sent: from the first `/` on, percent-encoded; or `*`.
    pub path: &'a str,
    /// The query without its `?`, as it was sent; empty if there is none.
    pub query: &'a str,
    /// The host, perhaps with a port, that the request is for. It is empty only in HTTP/1.0.
    pub authority: &'a str,
    /// Whether the target has the form `http://authority/path`, as in a request to a proxy.
    pub is_absolute: bool,
    /// Whether the peer speaks HTTP/1.0; else it speaks HTTP/1.1.
    pub http_1_0: bool,
    fields: &'a [httparse::Header<'a>],
}

impl<'a> RequestHead<'a> {
    /// Parses `text`, a complete head with its empty line.
    pub(super) fn parse(
        text: &'a [u8],
        slots: &'a mut FieldSlots<'a>,
        limits: &HttpLimits,
    ) -> Result<RequestHead<'a>, HttpError> {
        super::lines::looked_at(text.len());
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(text, &mut slots.0);
        match parsed.map_err(|error| malformed(error, text, limits))? {
            httparse::Status::Complete(length) if length == text.len() => {}
            _ => return Err(HttpError::MalformedHead("request line")),
        }
        let (target, http_1_0) = (request.path.unwrap_or_default(), request.version == Some(0));
        let method = Method::named(request.method.unwrap_or_default());
        let fields = &*request.headers;
        if fields.len() > limits.headers {
            return Err(HttpError::TooManyHeaders(limits.headers));
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(HttpError::TargetTooLong(TARGET_BYTES_MAX));
        }
        let method = method.filter(|it| *it != Method::Connect).ok_or(HttpError::UnknownMethod)?;
        let (authority, path, query) =
            target_parts(target, method).ok_or(HttpError::MalformedHead("target"))?;
        let is_absolute = authority.is_some();
        let authority = authority.unwrap_or_default();
        let mut head =
            RequestHead { method, path, query, authority, is_absolute, http_1_0, fields };
        let host = head.host()?;
        if !is_absolute {
            head.authority = host;
        }
        Ok(head)
    }

    /// The one valid Host. HTTP/1.0 may omit it.
    fn host(&self) -> Result<&'a str, HttpError> {
        let mut hosts = self.all("Host");
        let host = match (hosts.next(), hosts.next()) {
            (None, _) if self.http_1_0 => Some(""),
            (Some(host), None) => str::from_utf8(host).ok().filter(|host| is_authority(host)),
            _ => None,
        };
        host.ok_or(HttpError::MalformedHead("Host"))
    }

    /// All fields, as name and value; the value without surrounding white space.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// The value of the first field with this name, ignoring case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all fields with this name, ignoring case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &(&str, &[u8])| field.0.eq_ignore_ascii_case(name);
        self.iter().filter(named).map(|(_, value)| value)
    }

    /// The elements of the comma-separated lists in all fields with this name, without surrounding white space.
    pub fn elements(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// Whether the peer wants to send another request on the connection: RFC 9112, section 9.3.
    pub fn keeps_alive(&self) -> bool {
        let says =
            |option: &[u8]| self.elements("Connection").any(|one| one.eq_ignore_ascii_case(option));
        !says(b"close") && (!self.http_1_0 || says(b"keep-alive"))
    }

    /// Whether the head announces a body, even an empty one.
    pub fn announces_body(&self) -> bool {
        self.get("Content-Length").or(self.get("Transfer-Encoding")).is_some()
    }
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

/// What is wrong with a head that httparse rejects.
fn malformed(error: httparse::Error, text: &[u8], limits: &HttpLimits) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => {
            HttpError::TooManyHeaders(limits.headers.min(FIELDS_MAX))
        }
        httparse::Error::HeaderName => HttpError::MalformedHead("header name"),
        httparse::Error::HeaderValue => HttpError::MalformedHead("header value"),
        httparse::Error::Version if has_other_version(text) => HttpError::Version,
        _ => HttpError::MalformedHead("request line"),
    }
}

/// Whether the first line ends with another version of HTTP than 1.0 and 1.1: RFC 9112, section 2.3.
fn has_other_version(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let is_version =
        |it: &[u8]| matches!(it, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']);
    is_version(version) && ![&b"HTTP/1.0"[..], b"HTTP/1.1"].contains(&version)
}

/// Splits a target into authority, path and query. `None` if it has none of the forms that `method` allows.
fn target_parts(target: &str, method: Method) -> Option<(Option<&str>, &str, &str)> {
    if target == "*" {
        return (method == Method::Options).then_some((None, target, ""));
    }
    let absolute = if target.starts_with('/') { None } else { target.split_once("://") };
    let (authority, rest) = match absolute {
        Some((scheme, rest)) => {
            let is_ours = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (is_ours && is_authority(authority)).then_some((Some(authority), rest))?
        }
        None => (None, target),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // An absolute form may have an empty path, which means "/".
    let path = if path.is_empty() { "/" } else { path };
    let all_are =
        |text: &str, more: &[u8]| text.bytes().all(|it| is_pchar(it) || more.contains(&it));
    // Apps leave more in a query than RFC 3986 allows; httparse has refused what could end it.
    let is_query = |it: u8| it.is_ascii_graphic() && it != b'#' || !it.is_ascii();
    (path.starts_with('/') && all_are(path, b"/") && query.bytes().all(is_query))
        .then_some((authority, path, query))
}

/// Whether `text` is a host, perhaps with a port: RFC 3986, section 3.2, without user information.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) if !text.ends_with(']') => parts,
        _ => (text, ""),
    };
    let literal = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_name =
        || !host.is_empty() && host.bytes().all(|it| is_pchar(it) && !b":@".contains(&it));
    literal.map_or_else(is_name, |it| it.parse::<Ipv6Addr>().is_ok())
        && port.bytes().all(|it| it.is_ascii_digit())
}

/// Whether the byte may be in a segment of a path: RFC 3986, section 3.3.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte)
}
