//! The readers of HTTP: responses, chunks, and a proxy's response.

use super::{choice, pieces};
use herd_reactor::testing::StringTransport;
use herd_reactor::{Context, Core, Filter, Flow, Protocol, Shared};
use places_herd::fetch::proxy::Tunnel;
use places_herd::http::{
    FieldSlots, HttpError, HttpLimits, Method, ProxyUrl, RequestEvent, RequestHead, RequestReader,
    Response, ResponseProgress, ResponseReader,
};
use places_herd::log::secret::Secret;
use std::time::Duration;

/// The result is the same for any chunking, within all limits.
pub fn http_response(data: &[u8]) {
    let (seed, stream) = choice(data);
    let method = match seed % 8 {
        0 => Method::Head,
        1 => Method::Connect,
        _ => Method::Get,
    };
    let limits = HttpLimits {
        head_bytes: 512,
        headers: 8,
        interim: 2,
        body_bytes: 600,
        chunk_line_bytes: 32,
        trailer_bytes: 64,
    };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ResponseReader::new(method, limits);
        for piece in pieces {
            match reader.received(piece) {
                Ok(ResponseProgress::More) => {
                    assert!(reader.buffered() <= 2_000, "{}", reader.buffered())
                }
                Ok(ResponseProgress::Done(response)) => return Ok(response),
                Err(error) => return Err(error.to_string()),
            }
        }
        match reader.ended() {
            Ok(ResponseProgress::Done(response)) => Ok(response),
            Ok(ResponseProgress::More) => panic!("after the end there is no more"),
            Err(error) => Err(error.to_string()),
        }
    };
    let whole = read(&mut [stream].into_iter().filter(|piece| !piece.is_empty()));
    let cut = read(&mut pieces(seed, stream));
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!((whole.status, &whole.body), (cut.status, &cut.body));
            assert!(whole.body.len() <= limits.body_bytes);
        }
        (Err(_), Err(_)) => {}
        (whole, cut) => panic!("whole: {whole:?}, in pieces: {cut:?}"),
    }
}

/// The requests in a stream, and the error after them.
type Requests = (Vec<(String, Vec<u8>)>, Option<HttpError>);

/// The requests, and the error after them, are the same for any chunking, within all limits. A request that is taken has
/// one meaning: its lines end with CR LF, it has one host, and at most one length, which its body has.
pub fn http_request(data: &[u8]) {
    let (seed, stream) = choice(data);
    let limits = HttpLimits {
        head_bytes: 512,
        headers: 8,
        body_bytes: 600,
        chunk_line_bytes: 32,
        trailer_bytes: 64,
        ..HttpLimits::default()
    };
    let whole = requests(&limits, &mut [stream].into_iter());
    let cut = requests(&limits, &mut pieces(seed, stream));
    assert_eq!(whole.0, cut.0);
    assert_eq!(whole.1.map(HttpError::status), cut.1.map(HttpError::status));
}

fn requests(limits: &HttpLimits, pieces: &mut dyn Iterator<Item = &[u8]>) -> Requests {
    let (mut reader, mut found, mut raw) = (RequestReader::default(), Vec::new(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            let mut slots = FieldSlots::new();
            let (taken, event) = reader.received(piece, &mut slots, limits);
            raw.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            match event {
                RequestEvent::More => assert!(piece.is_empty()),
                RequestEvent::Head(_) => {}
                RequestEvent::Failed(error) => return (found, Some(error)),
                RequestEvent::Done(head, body) => {
                    assert!(body.len() <= limits.body_bytes);
                    has_one_meaning(&raw, &head, &body);
                    found.push((
                        format!("{head:?}?{} {}", head.query, head.authority),
                        body.to_vec(),
                    ));
                    reader.answered();
                    raw.clear();
                }
            }
            assert!(reader.held_bytes() <= 4_096, "{}", reader.held_bytes());
        }
    }
    (found, None)
}

/// Checks a request against its bytes, without the reader.
fn has_one_meaning(raw: &[u8], head: &RequestHead<'_>, body: &[u8]) {
    let mut raw = raw;
    while let Some(rest) = raw.strip_prefix(b"\r\n") {
        raw = rest;
    }
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends");
    let text = String::from_utf8_lossy(&raw[..end]).to_ascii_lowercase();
    assert!(!text.contains('\0') && !text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    assert!(first.ends_with(if head.http_1_0 { " http/1.0" } else { " http/1.1" }), "{first}");
    let fields: Vec<_> = lines.map(|line| line.split_once(':').expect("a colon")).collect();
    let values = |name: &str| -> Vec<_> {
        fields.iter().filter(|field| field.0 == name).map(|field| field.1.trim()).collect()
    };
    assert!(values("host").len() == 1 || head.http_1_0 && values("host").is_empty(), "{text}");
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => assert!(body.is_empty() && raw.len() == end + 4),
        ([length], []) => {
            assert_eq!(length.parse(), Ok(body.len()));
            assert_eq!(&raw[end + 4..], body);
        }
        ([], ["chunked"]) => assert!(raw.ends_with(b"\r\n\r\n")),
        _ => panic!("{text}"),
    }
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The result of reading a body of chunks.
#[derive(Debug, PartialEq)]
enum Chunked {
    /// The body, and the number of bytes after its end.
    Done(Vec<u8>, usize),
    More,
    Error,
}

/// For any chunking, the body equals that of a plain reader of the whole; with tight limits it may also be
/// an error.
pub fn http_chunks(data: &[u8]) {
    let (seed, chunks) = choice(data);
    let wide = HttpLimits {
        body_bytes: 1 << 20,
        chunk_line_bytes: 1 << 20,
        trailer_bytes: 1 << 20,
        ..HttpLimits::default()
    };
    let expected = by_hand(chunks, wide.body_bytes);
    assert_eq!(in_pieces(seed, chunks, wide), expected);
    let tight = HttpLimits {
        body_bytes: 100,
        chunk_line_bytes: 20,
        trailer_bytes: 40,
        ..HttpLimits::default()
    };
    match in_pieces(seed, chunks, tight) {
        Chunked::Error => {}
        read => {
            assert_eq!(read, expected);
            assert!(!matches!(read, Chunked::Done(body, _) if body.len() > tight.body_bytes));
        }
    }
}

fn in_pieces(seed: u8, chunks: &[u8], limits: HttpLimits) -> Chunked {
    let mut reader = ResponseReader::new(Method::Get, limits);
    assert_eq!(reader.received(CHUNKED), Ok(ResponseProgress::More));
    let mut taken = 0;
    for piece in pieces(seed, chunks) {
        taken += piece.len();
        match reader.received(piece) {
            Ok(ResponseProgress::More) => {}
            Ok(ResponseProgress::Done(Response { body, leftover, reusable, .. })) => {
                assert_eq!(reusable, leftover == 0);
                return Chunked::Done(body, leftover + chunks.len() - taken);
            }
            Err(_) => return Chunked::Error,
        }
    }
    Chunked::More
}

/// Reads all bytes at once, according to RFC 9112, section 7.1.
fn by_hand(chunks: &[u8], body_bytes: usize) -> Chunked {
    let mut body = Vec::new();
    let mut rest = chunks;
    loop {
        let size = match line(&mut rest) {
            Ok(Some(line)) => match chunk_size(line) {
                Some(size) if size <= (body_bytes - body.len()) as u64 => size as usize,
                _ => return Chunked::Error,
            },
            Ok(None) => return Chunked::More,
            Err(()) => return Chunked::Error,
        };
        if size == 0 {
            break;
        }
        let Some((chunk, behind)) = rest.split_at_checked(size) else { return Chunked::More };
        body.extend_from_slice(chunk);
        rest = match behind {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Chunked::More,
            _ => return Chunked::Error,
        };
    }
    loop {
        match line(&mut rest) {
            Ok(Some([])) => return Chunked::Done(body, rest.len()),
            Ok(Some(_)) => {}
            Ok(None) => return Chunked::More,
            Err(()) => return Chunked::Error,
        }
    }
}

/// Takes the next line, which must end in CR LF and have no other CR.
fn line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ()> {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = rest[..end].strip_suffix(b"\r").ok_or(())?;
    *rest = &rest[end + 1..];
    if line.contains(&b'\r') { Err(()) } else { Ok(Some(line)) }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next()?;
    let digits = std::str::from_utf8(size).ok()?.trim_end_matches([' ', '\t']);
    let are_digits = digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u64::from_str_radix(digits, 16).ok())?
}

// The tunnel through a proxy.

/// The protocol inside the tunnel: records what it receives.
#[derive(Debug, Default)]
struct Asker {
    told: bool,
    made: bool,
    heard: Vec<u8>,
    /// The number of bytes received from the proxy so far.
    received: usize,
    /// The number of bytes received when the tunnel opened.
    opened_at: usize,
}

impl Shared for Asker {
    type Message = ();
}

#[derive(Debug)]
struct Inner;

impl Protocol<Asker> for Inner {
    fn name(&self) -> &'static str {
        "Inner"
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<Asker>> {
        Some(self)
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Asker>) -> Flow {
        assert!(cx.state.told && !cx.state.made);
        cx.state.made = true;
        cx.state.opened_at = cx.state.received;
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Asker>, data: &[u8]) -> Flow {
        assert!(cx.state.made);
        cx.state.heard.extend_from_slice(data);
        Ok(())
    }
}

impl Filter<Asker> for Inner {
    fn encode(&mut self, _: &mut Vec<u8>, _: &mut Vec<u8>, _: bool) -> Flow {
        Ok(())
    }
}

const CREDENTIALS: &str = "me:CANARY";

/// Only a complete head with a 2xx status, and no bytes right after it, opens the tunnel. The inner protocol gets every
/// later byte, and no earlier one. The request is sent once, and no error shows the
/// credentials.
pub fn http_tunnel(data: &[u8]) {
    let (seed, stream) = choice(data);
    let credentials = Some(Secret::new(CREDENTIALS).expect("it is one"));
    let proxy = ProxyUrl { host: "proxy".to_owned(), port: 3128, credentials };
    let request = proxy.request("a.example", 443).expect("it can be asked for");
    let limits = HttpLimits { head_bytes: 200, headers: 4, ..HttpLimits::default() };
    let opened = |asker: &mut Asker, _: &mut Core<Asker>, _| asker.told = true;
    let mut tunnel = Tunnel::new(request, limits, Duration::from_secs(1), opened, Inner);
    let mut transport = StringTransport::new(Asker::default());
    tunnel.connection_made(&mut transport.context()).expect("it only waits");
    for expected in [1, 0] {
        let mut wire = Vec::new();
        tunnel.encode(&mut Vec::new(), &mut wire, false).expect("there is nothing to encode");
        assert_eq!(wire.windows(8).filter(|part| part == b"CONNECT ").count(), expected);
    }
    let mut flow = Ok(());
    for piece in pieces(seed, stream) {
        transport.state.received += piece.len();
        flow = tunnel.data_received(&mut transport.context(), piece);
        if flow.is_err() {
            break;
        }
    }
    let Asker { made, heard, opened_at, .. } = &transport.state;
    if *made {
        let mut reader = ResponseReader::new(Method::Connect, limits);
        match reader.received(&stream[..*opened_at]) {
            Ok(ResponseProgress::Done(response)) => {
                assert!((200..300).contains(&response.status) && response.leftover == 0);
            }
            other => panic!("opened by {other:?}"),
        }
        assert_eq!(heard, &stream[*opened_at..]);
        assert!(flow.is_ok());
    }
    let ended = flow.and_then(|()| tunnel.read_connection_lost(&mut transport.context()));
    if let Err(why) = ended {
        let why = why.to_string();
        assert!(!why.contains("CANARY") && !why.contains('\n'), "{why}");
    }
}
