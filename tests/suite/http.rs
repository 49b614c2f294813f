//! One exchange of HTTP/1.1: transcripts, limits, secrets, and another reader as an oracle.
//!
//! Each transcript is read as a whole, byte by byte, and cut in two at every place; the result must be the same. In
//! transcripts `|` stands for CR LF.

mod requests;

use places_herd::http::{
    Headers, HttpError, HttpLimits, Method, Request, RequestError, Response, ResponseProgress,
    ResponseReader,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::time::Duration;

/// The result of reading a stream.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// Whether the reader expects more.
    More,
    Done(Response),
    Error(HttpError),
}

/// Reads `pieces`, then the end of the stream if `ends`. The bytes after the response are not read, but all of them
/// are counted, as if they had arrived with its last piece.
fn read<'d>(
    method: Method,
    limits: HttpLimits,
    pieces: impl IntoIterator<Item = &'d [u8]>,
    ends: bool,
) -> Outcome {
    let mut reader = ResponseReader::new(method, limits);
    let mut done: Option<Response> = None;
    for piece in pieces {
        if let Some(response) = &mut done {
            response.leftover += piece.len();
            response.reusable &= piece.is_empty();
            continue;
        }
        match reader.received(piece) {
            Ok(ResponseProgress::More) => {}
            Ok(ResponseProgress::Done(response)) => done = Some(response),
            Err(error) => {
                assert_eq!(reader.received(b"x"), Err(HttpError::Uninvited));
                assert_eq!(reader.ended(), Ok(ResponseProgress::More));
                return Outcome::Error(error);
            }
        }
    }
    match (done, ends.then(|| reader.ended())) {
        (Some(response), Some(Ok(ResponseProgress::More)) | None) => Outcome::Done(response),
        (Some(_), Some(end)) => panic!("{end:?} after the response"),
        (None, None | Some(Ok(ResponseProgress::More))) => Outcome::More,
        (None, Some(Ok(ResponseProgress::Done(response)))) => Outcome::Done(response),
        (None, Some(Err(error))) => Outcome::Error(error),
    }
}

/// Reads `stream` cut in two in all possible ways, and byte by byte.
fn read_every_way(method: Method, stream: &[u8], ends: bool) -> Outcome {
    let limits = HttpLimits::default();
    let whole = read(method, limits, [stream], ends);
    assert_eq!(read(method, limits, stream.chunks(1), ends), whole, "byte by byte");
    for cut in 0..=stream.len() {
        let (start, rest) = stream.split_at(cut);
        assert_eq!(read(method, limits, [start, rest], ends), whole, "cut at {cut}");
    }
    whole
}

/// Replaces `|` by CR LF.
fn crlf(transcript: &str) -> Vec<u8> {
    transcript.replace('|', "\r\n").into_bytes()
}

fn get(transcript: &str) -> Outcome {
    read_every_way(Method::Get, &crlf(transcript), false)
}

fn get_until_end(transcript: &str) -> Outcome {
    read_every_way(Method::Get, &crlf(transcript), true)
}

/// The response in a transcript, which must have one.
fn response(transcript: &str) -> Response {
    match get_until_end(transcript) {
        Outcome::Done(response) => response,
        outcome => panic!("{outcome:?} of {transcript}"),
    }
}

/// The body, and whether the connection is reusable.
fn body(transcript: &str) -> (String, bool) {
    let response = response(transcript);
    (String::from_utf8(response.body).unwrap(), response.reusable)
}

fn reusable(body: &str) -> (String, bool) {
    (body.to_string(), true)
}

fn not_reusable(body: &str) -> (String, bool) {
    (body.to_string(), false)
}

// Framing.

#[test]
fn a_body_ends_where_its_content_length_says() {
    for (fields, expected) in [
        ("Content-Length: 5", "hello"),
        ("content-length:5", "hello"),
        ("CONTENT-LENGTH: \t 5 \t", "hello"),
        ("Content-Length: 0005", "hello"),
        ("Content-Length: 5|Content-Length: 5", "hello"),
        ("Content-Length: 5, 05", "hello"),
        ("Content-Length: 0", ""),
    ] {
        let transcript = format!("HTTP/1.1 200 OK|{fields}||{expected}");
        assert_eq!(body(&transcript), reusable(expected), "{fields}");
    }
}

#[test]
fn a_content_length_is_one_number_in_digits() {
    for (fields, error) in [
        ("Content-Length:", HttpError::ContentLength),
        ("Content-Length: +5", HttpError::ContentLength),
        ("Content-Length: -5", HttpError::ContentLength),
        ("Content-Length: 5 5", HttpError::ContentLength),
        ("Content-Length: 0x5", HttpError::ContentLength),
        ("Content-Length: 5,", HttpError::ContentLength),
        ("Content-Length: 5|Content-Length: five", HttpError::ContentLength),
        ("Content-Length: 5|Content-Length: 6", HttpError::ContentLengths),
        ("Content-Length: 5, 6", HttpError::ContentLengths),
        ("Content-Length: 18446744073709551616", HttpError::BodyTooLong(4_194_304)),
    ] {
        let outcome = get(&format!("HTTP/1.1 200 OK|{fields}||hello"));
        assert_eq!(outcome, Outcome::Error(error), "{fields}");
    }
}

#[test]
fn chunks_make_a_body() {
    for (chunks, expected) in [
        ("5|hello|0||", "hello"),
        ("5|hello|1|,|6| world|0||", "hello, world"),
        ("00000000000005|hello|000||", "hello"),
        ("0000000000000005|hello|0000000000000000||", "hello"),
        ("a|0123456789|A|0123456789|0||", "01234567890123456789"),
        ("5;name=value|hello|0;last||", "hello"),
        ("5 ; name = \"a;b\" \t|hello|0||", "hello"),
        ("5 \t |hello|0||", "hello"),
        ("5|hello|0|Trailer: value|Another: one||", "hello"),
        ("0||", ""),
        ("4|\r\n\r\n|0||", "\r\n\r\n"),
    ] {
        let transcript = format!("HTTP/1.1 200 OK|Transfer-Encoding: chunked||{chunks}");
        assert_eq!(body(&transcript), reusable(expected), "{chunks}");
    }
}

#[test]
fn chunks_are_well_formed_or_an_error() {
    for (chunks, error) in [
        ("|hello|0||", HttpError::ChunkSize),
        (" 5|hello|0||", HttpError::ChunkSize),
        ("+5|hello|0||", HttpError::ChunkSize),
        ("-5|hello|0||", HttpError::ChunkSize),
        ("0x5|hello|0||", HttpError::ChunkSize),
        ("5 5|hello|0||", HttpError::ChunkSize),
        ("g|hello|0||", HttpError::ChunkSize),
        (";name|hello|0||", HttpError::ChunkSize),
        ("00000000000000005|hello|0||", HttpError::ChunkSize),
        ("10000000000000005|hello|0||", HttpError::ChunkSize),
        ("ffffffffffffffff|hello|0||", HttpError::BodyTooLong(4_194_304)),
        ("5|hell|0||", HttpError::ChunkEnd),
        ("5|hello!|0||", HttpError::ChunkEnd),
        ("5|hello\r\r\n0||", HttpError::ChunkEnd),
        ("5|hello\n0||", HttpError::ChunkEnd),
        ("5\nhello|0||", HttpError::ChunkLineEnd),
        ("5\r;|hello|0||", HttpError::ChunkLineEnd),
        ("5;a\nb|hello|0||", HttpError::ChunkLineEnd),
        ("5|hello|0|\n", HttpError::ChunkLineEnd),
        ("5|hello|0|Trailer: value\n|", HttpError::ChunkLineEnd),
        ("5|hello|0|Trailer: a\rb||", HttpError::ChunkLineEnd),
    ] {
        let outcome = get(&format!("HTTP/1.1 200 OK|Transfer-Encoding: chunked||{chunks}"));
        assert_eq!(outcome, Outcome::Error(error), "{chunks}");
    }
}

#[test]
fn chunked_is_the_only_transfer_coding() {
    for fields in
        ["Transfer-Encoding: chunked", "transfer-encoding:CHUNKED", "Transfer-Encoding: , chunked,"]
    {
        let transcript = format!("HTTP/1.1 200 OK|{fields}||5|hello|0||");
        assert_eq!(body(&transcript), reusable("hello"), "{fields}");
    }
    for head in [
        "HTTP/1.1 200 OK|Transfer-Encoding: gzip, chunked",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked, gzip",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked, chunked",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Transfer-Encoding: identity",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked;q=1",
        "HTTP/1.1 200 OK|Transfer-Encoding: xchunked|Content-Length: 5",
        "HTTP/1.1 200 OK|Transfer-Encoding:|Content-Length: 5",
        "HTTP/1.0 200 OK|Transfer-Encoding: chunked",
    ] {
        let outcome = get(&format!("{head}||5|hello|0||"));
        assert_eq!(outcome, Outcome::Error(HttpError::TransferEncoding), "{head}");
    }
}

#[test]
fn chunked_wins_over_content_length_and_costs_the_connection() {
    for length in ["5", "3", "99999999999", "five", "5, 6"] {
        let fields = format!("Content-Length: {length}|Transfer-Encoding: chunked");
        let transcript = format!("HTTP/1.1 200 OK|{fields}||5|hello|0||");
        assert_eq!(body(&transcript), not_reusable("hello"), "{length}");
    }
}

#[test]
fn without_a_length_a_body_ends_with_the_stream() {
    assert_eq!(get("HTTP/1.1 200 OK||hello"), Outcome::More);
    assert_eq!(body("HTTP/1.1 200 OK||hello"), not_reusable("hello"));
    assert_eq!(body("HTTP/1.0 200 OK|Connection: keep-alive||hello"), not_reusable("hello"));
    assert_eq!(body("HTTP/1.1 200 OK||"), not_reusable(""));
}

#[test]
fn some_responses_have_no_body_whatever_the_head_says() {
    let fields = "Content-Length: 5|Content-Length: six|Transfer-Encoding: gzip";
    for (method, status) in [(Method::Get, 204), (Method::Post, 304), (Method::Head, 200)] {
        let stream = crlf(&format!("HTTP/1.1 {status} Fine|{fields}||"));
        let Outcome::Done(response) = read_every_way(method, &stream, false) else {
            panic!("{method:?} {status}");
        };
        assert_eq!((response.status, response.body, response.reusable), (status, vec![], true));
    }
}

#[test]
fn behind_a_connect_that_succeeds_there_is_a_tunnel() {
    let stream = crlf("HTTP/1.1 200 Connection established|Content-Length: 5||\x16\x03\x03");
    let Outcome::Done(response) = read_every_way(Method::Connect, &stream, false) else { panic!() };
    assert_eq!((response.body.len(), response.leftover, response.reusable), (0, 3, false));
    // A response that refuses the tunnel is read like any other.
    let stream = crlf("HTTP/1.1 407 Proxy Authentication Required|Content-Length: 5||hello");
    let Outcome::Done(response) = read_every_way(Method::Connect, &stream, false) else { panic!() };
    assert_eq!(
        (&response.body[..], response.leftover, response.reusable),
        (&b"hello"[..], 0, true)
    );
}

#[test]
fn bytes_behind_a_response_are_counted_and_cost_the_connection() {
    for (head, body) in [
        ("Content-Length: 5", "hello"),
        ("Transfer-Encoding: chunked", "5|hello|0||"),
        ("Content-Length: 0", ""),
    ] {
        let response = response(&format!("HTTP/1.1 200 OK|{head}||{body}|HTTP"));
        assert_eq!((response.leftover, response.reusable), (6, false), "{head}");
    }
}

// The head.

#[test]
fn interim_responses_are_skipped() {
    let early = "HTTP/1.1 103 Early Hints|Link: </style.css>|Content-Length: 7||";
    let transcript = format!("HTTP/1.1 100 Continue||{early}HTTP/1.1 200 OK|Content-Length: 2||ok");
    let response = response(&transcript);
    assert_eq!((response.status, &response.body[..]), (200, &b"ok"[..]));
    assert_eq!(response.header("Link"), None);
}

#[test]
fn a_switch_of_protocols_is_an_error() {
    let outcome = get("HTTP/1.1 101 Switching Protocols|Upgrade: h2c||");
    assert_eq!(outcome, Outcome::Error(HttpError::SwitchedProtocols));
}

#[test]
fn a_head_is_that_of_http_1_0_or_1_1_or_an_error() {
    for (head, part) in [
        ("HTTP/2 200 OK", "status line"),
        ("HTTP/1.2 200 OK", "status line"),
        ("HTTP/1.1 20 OK", "status line"),
        ("HTTP/1.1 099 OK", "status line"),
        ("HTTP/1.1 2000 OK", "status line"),
        ("HTTP/1.1 200 O\rK", "status line"),
        ("http/1.1 200 OK", "status line"),
        ("<html>", "status line"),
        ("", "status line"),
        ("|HTTP/1.1 200 OK", "status line"),
        ("HTTP/1.1 200 OK|No colon", "header name"),
        ("HTTP/1.1 200 OK|Blank : before", "header name"),
        ("HTTP/1.1 200 OK|: nameless", "header name"),
        ("HTTP/1.1 200 OK| Folded: before any field", "header name"),
        ("HTTP/1.1 200 OK|Folded: one| tw\0", "header value"),
        ("HTTP/1.1 200 OK|Nul: \0", "header value"),
        ("HTTP/1.1 200 OK|Cr: a\rb", "header value"),
    ] {
        let outcome = get(&format!("{head}||"));
        assert_eq!(outcome, Outcome::Error(HttpError::MalformedHead(part)), "{head:?}");
    }
}

#[test]
fn a_field_that_goes_on_in_the_next_line_is_one_with_blanks_in_it() {
    for (head, value) in [
        ("X: one| two", "one two"),
        ("X: one  |\t \ttwo|  three", "one two three"),
        ("X:| one", "one"),
        ("X: one| |\t", "one"),
        ("X: one\n two", "one two"),
        ("X: one|\t, two|Y: z", "one , two"),
    ] {
        let response = response(&format!("HTTP/1.1 200 OK|{head}|Content-Length: 0||"));
        assert_eq!(response.header("X"), Some(value.as_bytes()), "{head:?}");
    }
    // A folded field decides about the body, too.
    let chunked = "HTTP/1.1 200 OK|Transfer-Encoding:| chunked|Connection: x,| close||5|hello|0||";
    assert_eq!(body(chunked), not_reusable("hello"));
    assert_eq!(body("HTTP/1.1 200 OK|Content-Length:|\t5||hello"), reusable("hello"));
    let split = get("HTTP/1.1 200 OK|Content-Length: 1| 0||hellohello");
    assert_eq!(split, Outcome::Error(HttpError::ContentLength));
}

#[test]
fn in_the_head_lf_alone_ends_a_line_too() {
    for head in ["HTTP/1.1 200 OK\nContent-Length: 5\n\n", "HTTP/1.1 200|Content-Length: 5\n|"] {
        assert_eq!(body(&format!("{head}hello")), reusable("hello"), "{head:?}");
    }
}

#[test]
fn a_status_may_be_any_from_200_and_needs_no_reason() {
    for (line, status) in [("200", 200), ("404 ", 404), ("599 \u{fc}ber", 599), ("999 X", 999)] {
        assert_eq!(response(&format!("HTTP/1.1 {line}|Content-Length: 0||")).status, status);
    }
}

#[test]
fn version_and_connection_field_decide_whether_the_connection_is_reusable() {
    for (head, reusable) in [
        ("HTTP/1.1 200 OK", true),
        ("HTTP/1.1 200 OK|Connection: keep-alive", true),
        ("HTTP/1.1 200 OK|Connection: closed, not-close", true),
        ("HTTP/1.1 200 OK|Proxy-Connection: close", true),
        ("HTTP/1.1 200 OK|Connection: close", false),
        ("HTTP/1.1 200 OK|connection:CLOSE", false),
        ("HTTP/1.1 200 OK|Connection: Keep-Alive ,\tClose", false),
        ("HTTP/1.1 200 OK|Connection: keep-alive|Connection: x,close,y", false),
        ("HTTP/1.0 200 OK", false),
        ("HTTP/1.0 200 OK|Connection: Keep-Alive", true),
        ("HTTP/1.0 200 OK|Connection: keep-alive, close", false),
    ] {
        let response = response(&format!("{head}|Content-Length: 0||"));
        assert_eq!(response.reusable, reusable, "{head}");
    }
}

#[test]
fn headers_are_found_by_name_in_any_case() {
    let response = response(concat!(
        "HTTP/1.1 503 Service Unavailable|content-TYPE:  application/json; charset=utf-8  |",
        "Content-Encoding: gzip|Keep-Alive: max=100, Timeout = 5|Empty:|Set-Cookie: a|",
        "Set-Cookie: b\u{fc}|Content-Length: 0||"
    ));
    assert_eq!(response.header("Content-Type"), Some(&b"application/json; charset=utf-8"[..]));
    assert_eq!(response.header("content-encoding"), Some(&b"gzip"[..]));
    assert_eq!(response.keep_alive(), Some(Duration::from_secs(5)));
    assert_eq!(response.header("empty"), Some(&b""[..]));
    assert_eq!(response.header("SET-COOKIE"), Some(&b"a"[..]));
    assert_eq!(response.header("Cookie"), None);
    let all: Vec<_> = response.headers.iter().collect();
    assert_eq!((all.len(), all[5]), (7, (&b"Set-Cookie"[..], "b\u{fc}".as_bytes())));
}

// The end of the stream.

#[test]
fn whatever_is_cut_short_is_an_error() {
    for (transcript, head_bytes) in [
        ("HTTP/1.1 200 OK|Content-Length: 5||hello", 38),
        ("HTTP/1.1 200 OK|Transfer-Encoding: chunked||5;x|hello|0|Trailer: value||", 47),
        ("HTTP/1.1 100 Continue||HTTP/1.1 200 OK|Content-Length: 1||x", 63),
    ] {
        let stream = crlf(transcript);
        for cut in 0..stream.len() {
            let error = match cut {
                0 => HttpError::Closed,
                cut if cut < head_bytes => HttpError::TruncatedHead,
                _ => HttpError::TruncatedBody,
            };
            let outcome = read_every_way(Method::Get, &stream[..cut], true);
            assert_eq!(outcome, Outcome::Error(error), "{transcript} cut at {cut}");
        }
    }
}

#[test]
fn it_is_known_whether_a_response_has_begun() {
    let mut reader = ResponseReader::new(Method::Get, HttpLimits::default());
    assert_eq!(reader.received(b""), Ok(ResponseProgress::More));
    assert!(!reader.has_begun());
    assert_eq!(reader.received(b"H"), Ok(ResponseProgress::More));
    assert!(reader.has_begun() && reader.buffered() == 1);
}

// Limits.

/// Whether `transcript` is within the default limits as changed by `change`.
fn within(change: impl Fn(&mut HttpLimits), stream: &[u8]) -> Result<(), HttpError> {
    let mut limits = HttpLimits::default();
    change(&mut limits);
    let whole = read(Method::Get, limits, [stream], true);
    assert_eq!(read(Method::Get, limits, stream.chunks(1), true), whole);
    match whole {
        Outcome::Done(_) => Ok(()),
        Outcome::Error(error) => Err(error),
        Outcome::More => unreachable!("the stream has ended"),
    }
}

#[test]
fn the_limits_are_those_of_the_design() {
    let limits = HttpLimits::default();
    assert_eq!((limits.head_bytes, limits.headers, limits.interim), (16_384, 64, 16));
    assert_eq!(limits.body_bytes, 4_194_304);
    assert_eq!((limits.chunk_line_bytes, limits.trailer_bytes), (1_024, 8_192));
}

#[test]
fn a_head_may_be_as_long_as_its_limit_and_no_longer() {
    let head = crlf("HTTP/1.1 204 No Content|X: y||");
    assert_eq!(within(|limits| limits.head_bytes = head.len(), &head), Ok(()));
    let less = head.len() - 1;
    let error = Err(HttpError::HeadTooLong(less));
    assert_eq!(within(|limits| limits.head_bytes = less, &head), error);
    // A line without an end does not circumvent the limit.
    assert_eq!(within(|_| {}, &[b'x'; 20_000]), Err(HttpError::HeadTooLong(16_384)));
    // The limit applies to each interim head separately.
    let two = [&crlf("HTTP/1.1 100 Continue||")[..], &head].concat();
    assert_eq!(within(|limits| limits.head_bytes = head.len(), &two), Ok(()));
}

#[test]
fn the_number_of_headers_and_of_interim_responses_has_a_limit() {
    let fields = |n| crlf(&format!("HTTP/1.1 204 No Content|{}|", "X: y|".repeat(n)));
    assert_eq!(within(|_| {}, &fields(64)), Ok(()));
    assert_eq!(within(|_| {}, &fields(65)), Err(HttpError::TooManyHeaders(64)));
    let interim = |n| {
        let interim = "HTTP/1.1 102 Processing||".repeat(n);
        crlf(&format!("{interim}HTTP/1.1 204 No Content||"))
    };
    assert_eq!(within(|_| {}, &interim(16)), Ok(()));
    assert_eq!(within(|_| {}, &interim(17)), Err(HttpError::TooManyInterim(16)));
}

#[test]
fn a_body_may_be_as_long_as_its_limit_and_is_refused_when_it_is_announced() {
    let ten = |limits: &mut HttpLimits| limits.body_bytes = 10;
    let too_long = Err(HttpError::BodyTooLong(10));
    for (fine, refused) in [
        ("Content-Length: 10||0123456789", "Content-Length: 11||"),
        ("X: y||0123456789", "X: y||0123456789a"),
        (
            "Transfer-Encoding: chunked||6|012345|4|6789|0||",
            "Transfer-Encoding: chunked||6|012345|5|",
        ),
    ] {
        assert_eq!(within(ten, &crlf(&format!("HTTP/1.1 200 OK|{fine}"))), Ok(()));
        assert_eq!(within(ten, &crlf(&format!("HTTP/1.1 200 OK|{refused}"))), too_long);
    }
}

#[test]
fn lines_among_chunks_have_a_limit() {
    let chunked = "HTTP/1.1 200 OK|Transfer-Encoding: chunked||";
    let line = |bytes: usize| crlf(&format!("{chunked}1;{}|x|0||", "e".repeat(bytes - 4)));
    assert_eq!(within(|_| {}, &line(1_024)), Ok(()));
    assert_eq!(within(|_| {}, &line(1_025)), Err(HttpError::ChunkLineTooLong(1_024)));
    let trailers = |bytes: usize| {
        let first = "First: one|".repeat(10);
        let rest = "r".repeat(bytes - 10 * "First: one\r\n".len() - "X: \r\n\r\n".len());
        crlf(&format!("{chunked}0|{first}X: {rest}||"))
    };
    assert_eq!(within(|_| {}, &trailers(8_192)), Ok(()));
    assert_eq!(within(|_| {}, &trailers(8_193)), Err(HttpError::TrailersTooLong(8_192)));
}

#[test]
fn an_error_says_what_the_peer_did() {
    let text = |error: HttpError| error.to_string();
    assert_eq!(text(HttpError::Closed), "the peer closed the connection without a response");
    assert_eq!(
        text(HttpError::HeadTooLong(16_384)),
        "the peer sent a head of more than 16384 bytes"
    );
    assert_eq!(
        text(HttpError::MalformedHead("header name")),
        "the peer sent a malformed header name"
    );
}

// Requests.

fn written(request: &Request) -> String {
    let mut out = b"before ".to_vec();
    request.write(&mut out);
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().replace("\r\n", "|")
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn a_request_is_written_as_it_is_read() {
    let get =
        Request::new(Method::Get, "maps.example", None, "/json?location=1,2&key=k", Vec::new())
            .unwrap();
    let fixed = "Accept: application/json|Accept-Encoding: identity";
    assert_eq!(
        written(&get),
        format!(
            "GET /json?location=1,2&key=k HTTP/1.1|Host: maps.example|User-Agent: herd/{VERSION}|\
             {fixed}|Connection: keep-alive||"
        )
    );
    let post =
        Request::new(Method::Post, "::1", Some(8443), "/v1/places:searchNearby", b"{}".to_vec())
            .and_then(|request| request.header("X-Goog-Api-Key", "k e y"))
            .and_then(|request| request.header("Content-Type", "application/json"))
            .unwrap();
    assert_eq!(
        written(&post),
        format!(
            "POST /v1/places:searchNearby HTTP/1.1|Host: [::1]:8443|User-Agent: herd/{VERSION}|\
             {fixed}|Connection: keep-alive|Content-Length: 2|X-Goog-Api-Key: k e y|\
             Content-Type: application/json||{{}}"
        )
    );
    let empty = Request::new(Method::Post, "maps.example", None, "/", Vec::new()).unwrap();
    assert!(written(&empty).contains("|Content-Length: 0|"));
    let connect = Request::connect("maps.example", 443).unwrap();
    let start = "CONNECT maps.example:443 HTTP/1.1|Host: maps.example:443|";
    assert!(written(&connect).starts_with(start));
    assert_eq!(connect.method(), Method::Connect);
}

#[test]
fn what_could_end_its_line_is_refused() {
    let get =
        |host: &str, target: &str| Request::new(Method::Get, host, None, target, Vec::new()).err();
    for host in
        ["", "a b", "a\r\nb", "a/b", "user@a", "a:80", "[::1]", "[::1", "::x", "[]", "\u{fc}"]
    {
        assert_eq!(get(host, "/"), Some(RequestError::Host), "{host:?}");
        assert_eq!(Request::connect(host, 443).err(), Some(RequestError::Host), "{host:?}");
    }
    for target in ["", "x", "http://a/", "/a b", "/\r\n", "/\0", "/\t", "/\x7f", "/#x", "/\u{fc}"] {
        assert_eq!(get("a", target), Some(RequestError::Target), "{target:?}");
    }
    let request = Request::new(Method::Get, "a", None, "/", Vec::new()).unwrap();
    let header = |name, value| request.clone().header(name, value).err();
    for name in ["", "A B", "A:", "A\r\nB", "\u{fc}", "Host", "content-LENGTH", "Transfer-Encoding"]
    {
        assert_eq!(header(name, "x"), Some(RequestError::HeaderName), "{name:?}");
    }
    for value in ["a\r\nB: c", "a\n", "\r", "\0", "\t", "\x7f", "\u{fc}"] {
        assert_eq!(header("A", value), Some(RequestError::HeaderValue), "{value:?}");
    }
}

#[test]
fn no_debug_text_and_no_error_shows_a_secret() {
    let key = "CANARY";
    let request = Request::new(Method::Post, "a.example", None, "/path?key=CANARY", key.into())
        .and_then(|request| request.header("X-Goog-Api-Key", key))
        .unwrap();
    assert_eq!(format!("{request:?}"), "POST a.example/path");
    let tunnel = Request::connect("a.example", 443).unwrap();
    assert_eq!(format!("{tunnel:?}"), "CONNECT a.example:443");
    let refused = [
        Request::new(Method::Get, "CANARY CANARY", None, "/", Vec::new()).unwrap_err(),
        Request::new(Method::Get, "a", None, "CANARY", Vec::new()).unwrap_err(),
        request.clone().header("A", "CANARY\n").unwrap_err(),
    ];
    // A peer may echo the request.
    let stream = crlf("HTTP/1.1 200 OK|X: CANARY|Transfer-Encoding: chunked||6|CANARY|0;CANARY|");
    let mut reader = ResponseReader::new(Method::Get, HttpLimits::default());
    let progress = reader.received(&stream);
    let shown = format!("{refused:?} {reader:?} {progress:?} {:?}", reader.received(b"|CANARY"));
    assert!(!shown.contains(key) && !shown.contains("67, 65, 78"), "{shown}");
    let response = response("HTTP/1.1 200 OK|X: CANARY|Content-Length: 6||CANARY");
    let shown = format!("{response:?} {:?}", response.headers);
    assert!(!shown.contains(key) && !shown.contains("67, 65, 78"), "{shown}");
    assert_eq!(format!("{:?}", Headers::default()), "[]");
}

proptest! {
    #[test]
    fn a_request_reads_back_as_what_was_put_in_or_is_refused(
        target in "/[!-~]{0,20}[\\PC\r\n\t ]{0,2}",
        value in "[ -~]{0,20}[\\PC\r\n\t\0]{0,2}",
        body in vec(any::<u8>(), 0..20),
    ) {
        let built = Request::new(Method::Post, "a", None, &target, body.clone())
            .and_then(|request| request.header("Name", &value));
        let Ok(request) = built else { return Ok(()) };
        let mut out = Vec::new();
        request.write(&mut out);
        let mut fields = [httparse::EMPTY_HEADER; 7];
        let mut read = httparse::Request::new(&mut fields);
        let head = read.parse(&out).unwrap().unwrap();
        prop_assert_eq!((read.method, read.path), (Some("POST"), Some(&target[..])));
        let last = read.headers.last().unwrap();
        prop_assert_eq!((last.name, last.value), ("Name", value.trim_matches(' ').as_bytes()));
        prop_assert_eq!(&out[head..], &body[..]);
    }
}

// The oracle: ureq-proto 0.7, another reader of responses without sockets. It shares the parser of heads (httparse)
// with ours, but not the code for framing, chunks and states.

/// The oracle's result for a stream.
#[derive(Debug, PartialEq)]
enum Theirs {
    More,
    Done { status: u16, body: Vec<u8>, leftover: usize, reusable: bool },
    Error(ureq_proto::Error),
}

fn oracle(method: Method, stream: &[u8], ends: bool) -> Theirs {
    try_oracle(method, stream, ends).unwrap_or_else(Theirs::Error)
}

fn try_oracle(method: Method, stream: &[u8], ends: bool) -> Result<Theirs, ureq_proto::Error> {
    use ureq_proto::BodyMode;
    use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult, SendRequestResult};
    let request = ureq_proto::http::Request::builder()
        .method(method.as_str())
        .uri("http://a.example/")
        .body(())
        .unwrap();
    let mut call = Call::new(request)?.proceed();
    call.write(&mut [0; 1_024])?;
    let Ok(Some(SendRequestResult::RecvResponse(mut call))) = call.proceed() else {
        unreachable!("a request without a body is sent at once");
    };
    let mut rest = stream;
    let head = loop {
        let (taken, head) = call.try_response(rest, false)?;
        rest = &rest[taken..];
        match head {
            Some(head) => break head,
            None if taken == 0 => return Ok(Theirs::More),
            None => {}
        }
    };
    let status = head.status().as_u16();
    let mut body = vec![0; stream.len()];
    let mut filled = 0;
    let reusable = match call.proceed().expect("it has a head") {
        RecvResponseResult::Redirect(call) => !call.must_close_connection(),
        RecvResponseResult::Cleanup(call) => !call.must_close_connection(),
        RecvResponseResult::RecvBody(mut call) => {
            loop {
                let (taken, put) = call.read(rest, &mut body[filled..])?;
                rest = &rest[taken..];
                filled += put;
                if taken == 0 {
                    break;
                }
            }
            let until_close = call.body_mode() == BodyMode::CloseDelimited;
            if !call.can_proceed() || (until_close && !ends) {
                return Ok(Theirs::More);
            }
            match call.proceed().expect("it can") {
                RecvBodyResult::Redirect(call) => !call.must_close_connection(),
                RecvBodyResult::Cleanup(call) => !call.must_close_connection(),
            }
        }
    };
    body.truncate(filled);
    Ok(Theirs::Done { status, body, leftover: rest.len(), reusable })
}

/// Whether both readers agree, or differ in a known way.
fn agree(method: Method, ours: &Outcome, theirs: &Theirs, stream: &[u8]) -> bool {
    use HttpError::*;
    use ureq_proto::Error as Oracle;
    match (ours, theirs) {
        (Outcome::More, Theirs::More) | (Outcome::Error(_), Theirs::Error(_)) => true,
        (Outcome::Done(ours), Theirs::Done { status, body, leftover, reusable }) => {
            let same = (ours.status, &ours.body, ours.leftover) == (*status, body, *leftover);
            // The oracle leaves bytes after the response to its caller; it keeps a connection whose peer sent two
            // lengths (RFC 9112, 6.3, says that it ought to be closed); and it ignores a Connection field with a
            // byte beyond ASCII, even if `close` is beside it.
            let mut fields = ours.headers.iter();
            let readable = fields
                .all(|(name, value)| !name.eq_ignore_ascii_case(b"Connection") || value.is_ascii());
            let reusable = *reusable && *leftover == 0 && !has_two_lengths(method, ours);
            same && (ours.reusable == reusable || !readable)
        }
        // It parses a head at each call, and finds an error before the head is complete.
        (Outcome::More, Theirs::Error(Oracle::HttpParseFail(_))) => true,
        // The oracle leaves it to its caller to notice a stream that ends too early.
        (Outcome::Error(Closed | TruncatedHead | TruncatedBody), Theirs::More) => true,
        // Our limits: the oracle allows 128 fields, and any number of bytes and interim responses.
        (Outcome::Error(TooManyHeaders(_) | TooManyInterim(_) | BodyTooLong(_)), _) => true,
        // The oracle returns 101 and leaves the connection to its caller; here no code would use it.
        (Outcome::Error(SwitchedProtocols), Theirs::Done { status: 101, .. }) => true,
        // RFC 9112, 6.1: the oracle takes `chunked` anywhere in the list for the whole list, knows no other coding, and
        // ignores the field in HTTP/1.0, where it makes the framing invalid.
        (Outcome::Error(TransferEncoding), Theirs::Done { .. } | Theirs::More) => true,
        // Empty lines before the status line: RFC 9112, 2.2 does not have a client skip them.
        (Outcome::Error(MalformedHead("status line")), _) => {
            stream.starts_with(b"\r")
                || stream.starts_with(b"\n")
                || contains(stream, b"\n\r\n\r\n")
                || contains(stream, b"\n\n")
        }
        // RFC 9112, 7.1: the oracle accepts a sign, white space before the size, and more than 16 digits.
        (Outcome::Error(ChunkSize), Theirs::Done { .. } | Theirs::More) => true,
        // RFC 9112, 2.2 and 7.1: at a lone CR or LF it waits for ever, or skips an LF.
        (Outcome::Error(ChunkLineEnd | ChunkEnd), Theirs::Done { .. } | Theirs::More) => true,
        // The oracle allows at most 20 bytes for a line of a chunk, with its extensions.
        (_, Theirs::Error(Oracle::ChunkExpectedCrLf)) => {
            stream.split(|byte| *byte == b'\n').any(|line| line.len() > 20)
        }
        // RFC 9112, 5.2: the oracle cannot read a field that continues in the next line.
        (_, Theirs::Error(Oracle::HttpParseFail(_))) => {
            contains(stream, b"\n ") || contains(stream, b"\n\t")
        }
        // RFC 9110, 15.2: the oracle allows no fields in an interim response 100.
        (_, Theirs::Error(Oracle::HeadersWith100)) => true,
        // RFC 9112, 6.3: the oracle reads Content-Length where it has no meaning: with chunked, in 204 and 304, in
        // interim responses, and in responses to HEAD.
        (
            _,
            Theirs::Error(Oracle::BadContentLengthHeader | Oracle::TooManyContentLengthHeaders),
        ) => {
            let heads = [&b" 204 "[..], b" 304 ", b" 100 ", b" 103 ", b"Transfer-Encoding"];
            method == Method::Head || heads.iter().any(|part| contains(stream, part))
        }
        _ => false,
    }
}

fn has_two_lengths(method: Method, response: &Response) -> bool {
    let has_body = method != Method::Head && !matches!(response.status, 204 | 304);
    has_body
        && response.header("Transfer-Encoding").is_some()
        && response.header("Content-Length").is_some()
}

fn contains(stream: &[u8], part: &[u8]) -> bool {
    stream.windows(part.len()).any(|window| window == part)
}

/// A body with its framing, and the fields for it.
fn framed_body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let bytes = || vec(any::<u8>(), 0..300);
    let length = (bytes(), select(vec!["N", "N, N", "0N", "N|Content-Length: N"])).prop_map(
        |(body, form)| {
            let form = form.replace('N', &body.len().to_string());
            (format!("Content-Length: {form}|"), body)
        },
    );
    let extension = select(vec!["", ";a", ";a=\"b;c\"", " ; a", "  "]);
    let chunk = (vec(any::<u8>(), 1..60), extension, any::<bool>());
    let trailers = select(vec!["", "Trailer: value|", "A: b|C: d|"]);
    let chunked = (vec(chunk, 0..8), trailers, select(vec!["chunked", "Chunked"])).prop_map(
        |(chunks, trailers, coding)| {
            let mut body = Vec::new();
            for (data, extension, upper) in chunks {
                let size = data.len();
                let size = if upper { format!("{size:04X}") } else { format!("{size:x}") };
                body.extend(crlf(&format!("{size}{extension}|")));
                body.extend(data);
                body.extend(b"\r\n");
            }
            body.extend(crlf(&format!("0|{trailers}|")));
            (format!("Transfer-Encoding: {coding}|"), body)
        },
    );
    let until_close = bytes().prop_map(|body| (String::new(), body));
    prop_oneof![3 => length, 3 => chunked, 1 => until_close]
}

/// A valid response, perhaps with interim responses before it and bytes after it.
fn valid_stream() -> impl Strategy<Value = Vec<u8>> {
    let interim = select(vec!["HTTP/1.1 100 Continue||", "HTTP/1.1 103 Early Hints|Link: x||"]);
    let statuses = vec![200, 201, 204, 206, 301, 304, 400, 404, 429, 500, 503];
    let field = select(vec![
        "Connection: close|",
        "Connection: Keep-Alive|",
        "connection: x, CLOSE|",
        "Content-Type: application/json|",
        "X-Empty:|",
        "Server: \u{fc}|",
        "X-Folded: one| two|",
    ]);
    (
        vec(interim, 0..3),
        select(statuses),
        vec(field, 0..4),
        framed_body(),
        prop_oneof![3 => Just(0), 1 => 1..20_usize],
        select(vec!["1", "1", "1", "0"]),
    )
        .prop_map(|(interim, status, fields, (framing, body), leftover, minor)| {
            // HTTP/1.0 has no chunks.
            let minor = if framing.starts_with('T') { "1" } else { minor };
            let (interim, fields) = (interim.concat(), fields.concat());
            let head = format!("{interim}HTTP/1.{minor} {status} Reason|{fields}{framing}|");
            let mut stream = crlf(&head);
            stream.extend(body);
            stream.extend(std::iter::repeat_n(b'!', leftover));
            stream
        })
}

/// A change that damages a stream; positions are taken modulo its length.
#[derive(Clone, Debug)]
enum Damage {
    Insert(usize, &'static str),
    Replace(usize, &'static str),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let pieces = concat!(
        "\r~\n~\r\n~\r\n\r\n~ ~\t~\0~0~5~f~+~-~,~:~;~\u{fc}~0000000000000000~gzip, ~",
        "Content-Length: 3\r\n~Transfer-Encoding: chunked\r\n~Connection: close\r\n~",
        "HTTP/1.0 200 OK\r\n"
    );
    let piece = || select(pieces.split('~').collect::<Vec<_>>());
    let at = || prop_oneof![0..160_usize, 0..1_000_usize];
    prop_oneof![
        3 => (at(), piece()).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        3 => (at(), piece()).prop_map(|(at, piece)| Damage::Replace(at, piece)),
        2 => (at(), 1..8_usize).prop_map(|(at, bytes)| Damage::Remove(at, bytes)),
        1 => (at(), 1..40_usize).prop_map(|(at, bytes)| Damage::Repeat(at, bytes)),
        1 => at().prop_map(Damage::Cut),
    ]
}

fn damaged(mut stream: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let bytes = stream.len();
        let range =
            |at: usize, length: usize| at % (bytes + 1)..(at % (bytes + 1) + length).min(bytes);
        match *damage {
            Damage::Insert(at, piece) => drop(stream.splice(range(at, 0), piece.bytes())),
            Damage::Replace(at, piece) => {
                drop(stream.splice(range(at, piece.len()), piece.bytes()));
            }
            Damage::Remove(at, length) => drop(stream.drain(range(at, length))),
            Damage::Repeat(at, length) => {
                let again = stream[range(at, length)].to_vec();
                drop(stream.splice(range(at, 0), again));
            }
            Damage::Cut(at) => stream.truncate(at % (bytes + 1)),
        }
    }
    stream
}

/// `stream` in pieces of these sizes, repeated.
fn pieces<'d>(stream: &'d [u8], sizes: &[usize]) -> Vec<&'d [u8]> {
    let mut rest = stream;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(1..60_usize, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_valid_response_is_what_the_oracle_says(
        stream in valid_stream(),
        method in select(vec![Method::Get, Method::Get, Method::Head]),
        sizes in sizes(),
    ) {
        let ours = read(method, HttpLimits::default(), pieces(&stream, &sizes), true);
        let theirs = oracle(method, &stream, true);
        prop_assert!(matches!(ours, Outcome::Done(_)), "{ours:?}");
        prop_assert!(agree(method, &ours, &theirs, &stream), "{ours:?}\n{theirs:?}");
    }

    #[test]
    fn a_damaged_response_is_what_the_oracle_says_or_the_difference_is_listed(
        stream in valid_stream(),
        damages in vec(damage(), 1..4),
        method in select(vec![Method::Get, Method::Get, Method::Head]),
        ends in any::<bool>(),
        sizes in sizes(),
    ) {
        let stream = damaged(stream, &damages);
        let ours = read(method, HttpLimits::default(), pieces(&stream, &sizes), ends);
        let theirs = oracle(method, &stream, ends);
        let shown = String::from_utf8_lossy(&stream).into_owned();
        prop_assert!(agree(method, &ours, &theirs, &stream), "{shown:?}\n{ours:?}\n{theirs:?}");
        let whole = read(method, HttpLimits::default(), [&stream[..]], ends);
        prop_assert_eq!(ours, whole, "{:?}", shown);
    }

    #[test]
    fn chunks_are_what_the_oracle_makes_of_them(
        chunks in vec(
            (
                select(vec!["", "0", "+", " ", "000", "00000000000000000"]),
                0..40_usize,
                select(vec!["", " ", ";", ";x=y", "x", "\r", "\n"]),
                select(vec!["\r\n", "\r\n", "\r\n", "\n", "\r"]),
                select(vec![0, 0, 0, 0, 1, -1]),
            ),
            0..6,
        ),
        sizes in sizes(),
    ) {
        let mut stream = crlf("HTTP/1.1 200 OK|Transfer-Encoding: chunked||");
        for (before, size, behind, end, wrong_by) in chunks {
            stream.extend(format!("{before}{size:x}{behind}{end}").bytes());
            stream.extend(vec![b'd'; size.saturating_add_signed(wrong_by)]);
            stream.extend(end.bytes());
        }
        stream.extend(b"0\r\n\r\n");
        let method = Method::Get;
        let ours = read(method, HttpLimits::default(), pieces(&stream, &sizes), false);
        let theirs = oracle(method, &stream, false);
        let shown = String::from_utf8_lossy(&stream).into_owned();
        prop_assert!(agree(method, &ours, &theirs, &stream), "{shown:?}\n{ours:?}\n{theirs:?}");
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_the_same_in_any_pieces(
        start in select(vec![
            "",
            "HTTP/1.1 200 OK|",
            "HTTP/1.1 200 OK|Transfer-Encoding: chunked||",
        ]),
        bytes in vec(prop_oneof![any::<u8>(), select(b"\r\n0a;: ".to_vec())], 0..200),
        ends in any::<bool>(),
        sizes in sizes(),
    ) {
        let stream = [crlf(start), bytes].concat();
        let whole = read(Method::Get, HttpLimits::default(), [&stream[..]], ends);
        let cut = read(Method::Get, HttpLimits::default(), pieces(&stream, &sizes), ends);
        prop_assert_eq!(whole, cut);
    }
}
