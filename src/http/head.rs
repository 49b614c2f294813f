//! The head of a response: from the status line to the empty line.
//!
//! In: its bytes, split anywhere. Out: a [`Head`]: status, version and [`Headers`]. `framing.rs` interprets them.
//!
//! A field may continue in the next line if that begins with white space. Each such line end becomes one space, as
//! RFC 9112, section 5.2, demands.
//!
//! httparse starts at the first byte each time it is called, so it is called only once: until the head is complete,
//! lines are only buffered, and the last one is checked for being empty.

use super::lines::{LineBuffer, looked_at};
use super::{HttpError, HttpLimits};
use std::fmt;

/// A parsed head.
#[derive(Clone, Default)]
pub(super) struct Head {
    /// The status code, 100 to 999.
    pub(super) status: u16,
    /// Whether the peer speaks HTTP/1.0; else it speaks HTTP/1.1.
    pub(super) http_1_0: bool,
    pub(super) headers: Headers,
}

/// Takes the lines of a head from the start of `data`. Returns the number of bytes taken, and the head if it is
/// complete; until then `lines` buffers its lines.
pub(super) fn read(
    lines: &mut LineBuffer,
    data: &[u8],
    limits: &HttpLimits,
) -> Result<(usize, Option<Head>), HttpError> {
    let too_long = HttpError::HeadTooLong(limits.head_bytes);
    let mut taken = 0;
    while taken < data.len() {
        let (more, ended) = lines.take(&data[taken..], limits.head_bytes).ok_or(too_long)?;
        taken += more;
        if ended && ends_empty(&lines.text) {
            let head = parse(&lines.text, limits)?;
            lines.text.clear();
            return Ok((taken, Some(head)));
        }
    }
    Ok((taken, None))
}

/// Whether the last of these complete lines is empty.
fn ends_empty(lines: &[u8]) -> bool {
    let before = lines.strip_suffix(b"\r\n").or(lines.strip_suffix(b"\n")).unwrap_or(lines);
    before.is_empty() || before.ends_with(b"\n")
}

fn parse(lines: &[u8], limits: &HttpLimits) -> Result<Head, HttpError> {
    looked_at(lines.len());
    let mut fields = vec![httparse::EMPTY_HEADER; limits.headers];
    let mut response = httparse::Response::new(&mut fields);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response(&mut response, lines).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HttpError::TooManyHeaders(limits.headers),
        httparse::Error::HeaderName => HttpError::MalformedHead("header name"),
        httparse::Error::HeaderValue => HttpError::MalformedHead("header value"),
        _ => HttpError::MalformedHead("status line"),
    })?;
    // An empty first line has no status.
    let status = response.code.filter(|code| *code >= 100);
    let status = status.ok_or(HttpError::MalformedHead("status line"))?;
    if parsed.is_partial() {
        return Err(HttpError::MalformedHead("header value"));
    }
    let field = |field: &httparse::Header<'_>| (field.name.to_owned(), unfolded(field.value));
    let headers = Headers(response.headers.iter().map(field).collect());
    Ok(Head { status, http_1_0: response.version == Some(0), headers })
}

/// Replaces each line end in a value, and the white space around it, by one space.
fn unfolded(value: &[u8]) -> Vec<u8> {
    if !value.contains(&b'\n') {
        return value.to_vec();
    }
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b' ')
}

/// Header fields, in the order of the response. Their values may be secret, so [`Debug`] shows only the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// All fields, as name and value; the value without surrounding white space.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))
    }

    /// The value of the first field with this name, ignoring case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The values of all fields with this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = move |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.iter().filter(named).map(|(_, value)| value)
    }

    /// The elements of the comma-separated lists in all fields with this name, without surrounding white space.
    /// Several fields are equivalent to one field with a longer list.
    pub(super) fn elements(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.all(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Parses a decimal number, digits only; `u64::MAX` if it is larger.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digit = |number: u64, byte: &u8| match byte {
        b'0'..=b'9' => Some(number.saturating_mul(10).saturating_add(u64::from(byte - b'0'))),
        _ => None,
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, digit) }
}
