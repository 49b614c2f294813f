//! HTTP/1.1: the herd's two requests as a web server with a database offers them.
//!
//! ```text
//!   IAMAT     POST /herd.php, with the line as its body    200, with the AT line as the body
//!   WHATSAT   GET /herd.php?client=ID                       200, with the stored AT line; 404 if there is none
//! ```
//!
//! This program never asks for an unknown client, so every status but 200 is wrong. Bodies have a Content-Length or are
//! chunked. The AT line is checked byte for byte, with the exceptions of the herd's own protocol, and may lack its line
//! end. A balancer may stand in front of several servers, so a reply may have any of up to 64 names.
//!
//! A reply with `Connection: close`, or of HTTP/1.0 without keep-alive, is the last of its connection.

use super::herd::{prefix, write_iamat};
use super::{Checked, Expected, IAMAT, Protocol, REPLY_BYTES_MAX, WHATSAT};
use crate::options::Options;
use crate::reports::{CLIENT_BYTES, Next, OPERANDS_BYTES, Operands};
use httparse::{EMPTY_HEADER, Header, Response, Status, parse_chunk_size};
use memchr::memmem;

const PATH: &str = "/herd.php";

/// The length of an IAMAT line.
const LINE_BYTES: usize = 6 + OPERANDS_BYTES + 1;

/// Maximum length of a body. No right body is longer.
const BODY_BYTES_MAX: usize = 1_024;

/// Maximum number of header fields of a reply.
const HEADERS_MAX: usize = 32;

/// Maximum number of servers behind one address, as many as a herd has.
const NAMES_MAX: usize = 64;

/// A web server.
#[derive(Debug)]
pub(crate) struct Http {
    /// The head of a POST to each address.
    posts: Vec<Vec<u8>>,
    /// For each address, the part of a GET request that follows the client's id.
    gets: Vec<Vec<u8>>,
    /// The names of the servers that have answered at each address.
    names: Vec<Vec<Vec<u8>>>,
    /// The decoded body of a chunked reply.
    body: Vec<u8>,
}

impl Protocol for Http {
    const KINDS: &'static [&'static str] = &["IAMAT", "WHATSAT"];
    // Without -P, requests are not pipelined. Few clients of web servers do.
    const TELLING_PIPELINE: u32 = 1;
    const REOPENS: bool = true;

    fn new(options: &Options) -> Http {
        let close = if options.connect { "Connection: close\r\n" } else { "" };
        let of_each = |head: &dyn Fn(&str) -> String| {
            let heads = options.addresses.iter().map(|address| head(&address.to_string()));
            heads.map(String::into_bytes).collect()
        };
        Http {
            posts: of_each(&|host| {
                format!(
                    "POST {PATH} HTTP/1.1\r\nHost: {host}\r\n{close}Content-Type: text/plain\r\n\
                     Content-Length: {LINE_BYTES}\r\n\r\n"
                )
            }),
            gets: of_each(&|host| format!(" HTTP/1.1\r\nHost: {host}\r\n{close}\r\n")),
            names: vec![Vec::new(); options.addresses.len()],
            body: Vec::new(),
        }
    }

    #[inline]
    fn compose(&self, target: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        match next {
            Next::Tell(operands) => {
                out.extend_from_slice(&self.posts[target]);
                write_iamat(operands, out);
                IAMAT
            }
            Next::Ask(operands) => {
                out.extend_from_slice(b"GET /herd.php?client=");
                out.extend_from_slice(&operands[..CLIENT_BYTES]);
                out.extend_from_slice(&self.gets[target]);
                WHATSAT
            }
        }
    }

    #[inline]
    fn check(
        &mut self,
        target: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Checked, &'static str> {
        let Some((bytes, is_last)) = self.reply(target, received, expected)? else {
            return match received.len() > REPLY_BYTES_MAX {
                true => Err("the reply does not end"),
                false => Ok(Checked::Unfinished),
            };
        };
        Ok(if is_last { Checked::LastReply(bytes) } else { Checked::Reply(bytes) })
    }
}

impl Http {
    /// The length of the right reply at the start of `received`, and whether it is the last of its connection; `None`
    /// if it is incomplete.
    fn reply(
        &mut self,
        target: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Option<(usize, bool)>, &'static str> {
        let Some(Head { bytes, body, is_last }) = head(received)? else { return Ok(None) };
        let rest = &received[bytes..];
        let (body, end) = match body {
            Body::Counted(count) => match rest.get(..count) {
                Some(body) => (body, bytes + count),
                None => return Ok(None),
            },
            Body::Chunked => match decode_chunks(rest, &mut self.body)? {
                Some(count) => (&self.body[..], bytes + count),
                None => return Ok(None),
            },
        };
        let name = server_of(body, &expected.operands)
            .ok_or("the body is not the AT line for the report")?;
        let names = &mut self.names[target];
        if !names.iter().any(|known| known == name) {
            if names.len() == NAMES_MAX {
                return Err("more than 64 servers have answered at this address");
            }
            names.push(name.to_owned());
        }
        Ok(Some((end, is_last)))
    }
}

/// The head of a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) bytes: usize,
    pub(super) body: Body,
    pub(super) is_last: bool,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    Counted(usize),
    Chunked,
}

/// Parses the head at the start of `received`; `None` if it is incomplete.
#[inline]
pub(super) fn head(received: &[u8]) -> Result<Option<Head>, &'static str> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let bytes = match response.parse(received) {
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("the reply has more than 32 headers"),
        Err(_) => return Err("this is not the head of an HTTP/1.1 reply"),
    };
    if response.code != Some(200) {
        return Err("the status is not 200");
    }
    let is_last = match response.version {
        Some(1) => has_token(response.headers, "close"),
        _ => !has_token(response.headers, "keep-alive"),
    };
    Ok(Some(Head { bytes, body: body(response.headers)?, is_last }))
}

fn body(headers: &[Header<'_>]) -> Result<Body, &'static str> {
    let mut counted = values(headers, "Content-Length");
    let mut coded = values(headers, "Transfer-Encoding");
    match (counted.next(), coded.next()) {
        (Some(count), None) if counted.next().is_none() => decimal(count)
            .filter(|count| *count <= BODY_BYTES_MAX)
            .map(Body::Counted)
            .ok_or("Content-Length is not a number up to 1024"),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => match coded.next() {
            None => Ok(Body::Chunked),
            Some(_) => Err("the reply has two Transfer-Encodings"),
        },
        (None, Some(_)) => Err("Transfer-Encoding is not chunked"),
        (None, None) => Err("the reply has neither Content-Length nor Transfer-Encoding: chunked"),
        (Some(_), _) => Err("the reply has more than one Content-Length or Transfer-Encoding"),
    }
}

/// The values of all headers called `name`.
fn values<'h>(headers: &'h [Header<'h>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let of_name = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
    headers.iter().filter(of_name).map(|header| header.value.trim_ascii())
}

/// Whether the headers `Connection` list `token`.
fn has_token(headers: &[Header<'_>], token: &str) -> bool {
    values(headers, "Connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// A number of digits only; `parse` alone would accept a sign.
fn decimal(text: &[u8]) -> Option<usize> {
    let is_digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_digits)?.parse().ok()
}

/// Writes the content of a chunked body into `body`. Returns the length of the received body, with chunk sizes and
/// trailers, or `None` if the body is incomplete.
pub(super) fn decode_chunks(
    received: &[u8],
    body: &mut Vec<u8>,
) -> Result<Option<usize>, &'static str> {
    body.clear();
    let mut at = 0;
    loop {
        // httparse takes a size without digits for 0.
        if received.get(at).is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err("this is not the size of a chunk");
        }
        let (start, size) = match parse_chunk_size(&received[at..]) {
            Ok(Status::Complete((line, size))) => (at + line, size),
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err("this is not the size of a chunk"),
        };
        if size == 0 {
            return Ok(trailers(&received[start..]).map(|bytes| start + bytes));
        }
        if size > (BODY_BYTES_MAX - body.len()) as u64 {
            return Err("the body is longer than 1024 bytes");
        }
        let end = start + size as usize;
        let Some(after) = received.get(end..end + 2) else { return Ok(None) };
        if after != b"\r\n" {
            return Err("a chunk is longer than its size");
        }
        body.extend_from_slice(&received[start..end]);
        at = end + 2;
    }
}

/// The length of the trailer fields and the empty line behind them; `None` if they are incomplete.
fn trailers(received: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = memmem::find(&received[at..], b"\r\n")?;
        at += line + 2;
        if line == 0 {
            return Some(at);
        }
    }
}

/// The server's name, if `body` is an AT line with these `operands`.
#[inline]
fn server_of<'b>(body: &'b [u8], operands: &Operands) -> Option<&'b [u8]> {
    let (name, at) = prefix(body)?;
    let end = body[at..].strip_prefix(&operands[..])?;
    matches!(end, b"" | b"\n" | b"\r\n").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{asked, right};
    use super::*;
    use crate::options::Mix;
    use clap::Parser;

    const BOTH: Mix = Mix { iamat: 1, whatsat: 1 };

    fn at_line(expected: &Expected) -> String {
        let told = std::str::from_utf8(&expected.operands).expect("ASCII");
        format!("AT Alford +0.263873386 {told}\n")
    }

    fn counted(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn an_iamat_is_posted_and_a_whatsat_is_a_get() {
        let (mut http, sent, expected) = asked::<Http>(BOTH, 2);
        let told = std::str::from_utf8(&expected[0].operands).expect("ASCII");
        let head = "POST /herd.php HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: text/plain\r\n";
        assert_eq!(sent[0], format!("{head}Content-Length: 70\r\n\r\nIAMAT {told}\n"));
        assert_eq!(
            sent[1],
            "GET /herd.php?client=client-0000000.bench HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"
        );
        for each in &expected {
            right(&mut http, counted(&at_line(each)).as_bytes(), each);
            right(&mut http, counted(at_line(each).trim_end()).as_bytes(), each);
        }
    }

    #[test]
    fn each_address_is_its_own_host_and_connections_of_one_request_say_so() {
        let line = "herd-bench 127.0.0.1:1 127.0.0.1:2 --connect";
        let http = Http::new(&Options::parse_from(line.split(' ')));
        let mut out = Vec::new();
        http.compose(1, Next::Ask(&[b'0'; OPERANDS_BYTES]), &mut out);
        let get = String::from_utf8(out).expect("ASCII");
        assert!(get.ends_with("\r\nHost: 127.0.0.1:2\r\nConnection: close\r\n\r\n"), "{get}");
    }

    #[test]
    fn a_body_may_come_in_chunks_with_extensions_and_trailers() {
        let (mut http, _, expected) = asked::<Http>(BOTH, 1);
        let line = at_line(&expected[0]);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        for end in ["0\r\n\r\n", "000;last\r\nDigest: x\r\n\r\n"] {
            let (first, second) = line.split_at(31);
            let size = second.len();
            let reply = format!("{head}1F\r\n{first}\r\n{size:x};a=b\r\n{second}\r\n{end}");
            right(&mut http, reply.as_bytes(), &expected[0]);
        }
        for wrong in ["\r\n", "x\r\n", "2\r\nATT\r\n", "fffff\r\n", "1\r\nA\r\n0\r\n\r\n"] {
            let reply = format!("{head}{wrong}");
            let checked = http.check(0, reply.as_bytes(), &expected[0]);
            assert!(checked.is_err(), "{wrong:?}: {checked:?}");
        }
    }

    #[test]
    fn the_last_reply_of_a_connection_is_recognised() {
        let (mut http, _, expected) = asked::<Http>(BOTH, 1);
        let line = at_line(&expected[0]);
        let mut is_last = |version: &str, connection: &str| {
            let reply = counted(&line).replace("HTTP/1.1", version).replace(
                "Content-Length",
                &format!("{connection}\r\nDate: today\r\ncontent-length"),
            );
            match http.check(0, reply.as_bytes(), &expected[0]) {
                Ok(Checked::LastReply(bytes)) if bytes == reply.len() => true,
                Ok(Checked::Reply(bytes)) if bytes == reply.len() => false,
                other => panic!("{reply}: {other:?}"),
            }
        };
        assert!(!is_last("HTTP/1.1", "Server: x"));
        assert!(!is_last("HTTP/1.1", "Connection: Keep-Alive"));
        assert!(is_last("HTTP/1.1", "Connection: Close"));
        assert!(is_last("HTTP/1.1", "connection: upgrade ,close"));
        assert!(is_last("HTTP/1.0", "Server: x"));
        assert!(!is_last("HTTP/1.0", "Connection: keep-alive"));
    }

    #[test]
    fn every_other_reply_is_wrong() {
        let (mut http, _, expected) = asked::<Http>(BOTH, 3);
        let (line, other) = (at_line(&expected[0]), at_line(&expected[2]));
        assert_ne!(line, other);
        let right = counted(&line);
        let length = format!("Content-Length: {}", line.len());
        for wrong in [
            counted(&other),
            counted(&format!("{line}\n")),
            counted(&format!(" {line}")),
            counted("? IAMAT"),
            counted(""),
            right.replace("200 OK", "201 Created"),
            right.replace("200 OK", "404 Not Found"),
            right.replace("200 OK", "100 Continue"),
            right.replace("HTTP/1.1", "HTTP/2"),
            right.replace(&length, "Content-Length: +9"),
            right.replace(&length, "Content-Length: 1025"),
            right.replace(&length, "Content-Length: "),
            right.replace(&length, &format!("{length}\r\n{length}")),
            right.replace(&length, &format!("{length}\r\nTransfer-Encoding: chunked")),
            right.replace(&length, "Transfer-Encoding: gzip, chunked"),
            right.replace(&length, "Server: x"),
            right.replace(&length, &"X: y\r\n".repeat(33)),
            line.clone(),
        ] {
            let checked = http.check(0, wrong.as_bytes(), &expected[0]);
            assert!(checked.is_err(), "{wrong:?}: {checked:?}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; REPLY_BYTES_MAX]].concat();
        assert!(http.check(0, &endless, &expected[0]).is_err());
    }

    #[test]
    fn behind_an_address_are_at_most_64_servers() {
        let (mut http, _, expected) = asked::<Http>(BOTH, 1);
        let line = at_line(&expected[0]);
        let mut check = |number: usize| {
            let reply = counted(&line.replace("Alford", &format!("Server{number}")));
            http.check(0, reply.as_bytes(), &expected[0])
        };
        assert!((0..NAMES_MAX).chain([3]).all(|number| check(number).is_ok()));
        assert!(check(NAMES_MAX).is_err());
    }
}
