//! The answer to a request, and its bytes on the wire.
//!
//! In: status, content type, header lines of ours, and a body. Out: the bytes, appended to a send buffer at once. Every
//! answer except a stream has a Content-Length. So the server never writes chunks, and can answer HTTP/1.0.
//!
//! No input can split an answer in two: header lines are literals of the program, or consist of numbers and checked
//! texts. They never contain bytes of a client's id.

use std::borrow::Cow;
use std::io::Write as _;

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpReply {
    /// The status, one of those in RFC 9110, section 15.
    pub status: u16,
    /// The content type; empty if there is no body.
    pub content_type: &'static str,
    /// Further header lines, each with its CR LF.
    pub headers: Cow<'static, str>,
    /// The body.
    pub body: Cow<'static, [u8]>,
    /// Whether the connection closes after this answer, whatever the client wants.
    pub close: bool,
}

/// Which part of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyPart {
    /// All of it.
    Whole,
    /// The head: the request was HEAD.
    Head,
    /// The beginning of a stream, which has no length and ends with the connection.
    StreamHead,
}

impl HttpReply {
    /// An answer without a body.
    pub fn empty(status: u16) -> HttpReply {
        HttpReply { status, ..HttpReply::default() }
    }

    /// An answer with a body of this type.
    pub fn new(
        status: u16,
        content_type: &'static str,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> HttpReply {
        HttpReply { content_type, body: body.into(), ..HttpReply::empty(status) }
    }

    /// An answer of plain text. It is UTF-8.
    pub fn text(status: u16, text: impl Into<String>) -> HttpReply {
        HttpReply::new(status, "text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// An answer of JSON.
    pub fn json(status: u16, body: impl Into<Cow<'static, [u8]>>) -> HttpReply {
        HttpReply::new(status, "application/json", body)
    }

    /// An answer that says what is wrong: RFC 9457. `detail` is one sentence without a full stop. `pointer` is the part of
    /// the request's JSON that is wrong: RFC 6901.
    pub fn problem(status: u16, detail: &str, pointer: Option<&str>) -> HttpReply {
        let mut problem = serde_json::json!({
            "title": reason(status), "status": status, "detail": detail,
        });
        if let Some(pointer) = pointer {
            problem["pointer"] = pointer.into();
        }
        HttpReply::new(status, "application/problem+json", problem.to_string().into_bytes())
    }

    /// Adds a header line without its CR LF: `Retry-After: 60`. It must not contain bytes of a client.
    #[must_use]
    pub fn with(mut self, line: &str) -> HttpReply {
        debug_assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
        let headers = self.headers.to_mut();
        headers.push_str(line);
        headers.push_str("\r\n");
        self
    }

    /// Closes the connection after this answer.
    #[must_use]
    pub fn closing(self) -> HttpReply {
        HttpReply { close: true, ..self }
    }

    /// An upper bound for the number of bytes that [`write`](HttpReply::write) appends, without `lines`.
    pub fn bytes(&self) -> usize {
        const WORDS: usize = 192;
        WORDS + self.content_type.len() + self.headers.len() + self.body.len()
    }

    /// Appends the answer to `out`, with these further header `lines`. A status of 1xx, 204 or 304 has neither body nor
    /// length.
    pub fn write(&self, out: &mut Vec<u8>, part: ReplyPart, date: &str, lines: [&str; 2]) {
        let HttpReply { status, content_type, headers, body, .. } = self;
        let (reason, has_body) = (reason(*status), !matches!(status, 100..=199 | 204 | 304));
        let [first, last] = lines;
        // Formatting texts takes five times as long as copying them. Writing to a Vec cannot fail.
        let put = |out: &mut Vec<u8>, parts: &[&str]| {
            parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        };
        let _ = write!(out, "HTTP/1.1 {status} ");
        put(out, &[reason, "\r\nDate: ", date, "\r\n", first]);
        if has_body && !content_type.is_empty() {
            put(out, &["Content-Type: ", content_type, "\r\n"]);
        }
        if has_body && part != ReplyPart::StreamHead {
            let _ = write!(out, "Content-Length: {}\r\n", body.len());
        }
        put(out, &[headers, last, "\r\n"]);
        if has_body && part != ReplyPart::Head {
            out.extend_from_slice(body);
        }
    }
}

/// The reason phrase of a status: RFC 9110, section 15.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}
