//! Requests: what the reader takes, what it refuses and with which status, and other people's lists of both.
//!
//! Each stream is read as a whole, byte by byte, and cut in two at every place; what is found must be the same. In
//! streams `|` stands for CR LF.

use places_herd::http::{FieldSlots, HttpLimits, RequestEvent, RequestHead, RequestReader};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::fs;

/// A request as a text: its parts, and its body in quotes.
fn shown(head: &RequestHead<'_>, body: &[u8]) -> String {
    let fields = head.iter().filter(|(name, _)| name.starts_with("X-"));
    let fields: String = fields.map(|(_, value)| format!(" {}", value.escape_ascii())).collect();
    let RequestHead { method, path, query, authority, .. } = head;
    let keeps = if head.keeps_alive() { "" } else { " last" };
    format!(
        "{} {path} {query:?} {authority:?} {:?}{fields}{keeps}",
        method.as_str(),
        body.escape_ascii().to_string()
    )
}

/// Reads `pieces`. Returns the requests in them, and the status of the answer to an error after them.
fn read<'d>(
    limits: &HttpLimits,
    pieces: impl IntoIterator<Item = &'d [u8]>,
) -> (Vec<String>, Option<u16>) {
    let (mut reader, mut found) = (RequestReader::default(), Vec::new());
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let mut slots = FieldSlots::new();
            let (taken, event) = reader.received(rest, &mut slots, limits);
            rest = &rest[taken..];
            match event {
                RequestEvent::More => assert!(rest.is_empty(), "all is taken"),
                RequestEvent::Head(_) => {}
                RequestEvent::Failed(error) => return (found, Some(error.status())),
                RequestEvent::Done(head, body) => {
                    found.push(shown(&head, &body));
                    reader.answered();
                    assert!(reader.is_idle() && reader.held_bytes() == 0);
                }
            }
        }
    }
    (found, None)
}

/// Reads `stream` whole, byte by byte, and cut in two at every place.
fn read_every_way(limits: &HttpLimits, stream: &[u8]) -> (Vec<String>, Option<u16>) {
    let whole = read(limits, [stream]);
    let shown = stream.escape_ascii();
    assert_eq!(read(limits, stream.chunks(1)), whole, "byte by byte: {shown}");
    for cut in 0..=stream.len() {
        let (start, rest) = stream.split_at(cut);
        assert_eq!(read(limits, [start, rest]), whole, "cut at {cut}: {shown}");
    }
    whole
}

/// Replaces `|` by CR LF, and `\xNN` by that byte.
fn bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(next) = rest.chars().next() {
        let escaped = rest.strip_prefix("\\x").and_then(|it| it.get(..2));
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (next, escaped) {
            (_, Some(byte)) => bytes.push(byte),
            ('|', _) => bytes.extend_from_slice(b"\r\n"),
            _ => bytes.extend_from_slice(next.to_string().as_bytes()),
        }
        rest = &rest[escaped.map_or(next.len_utf8(), |_| 4)..];
    }
    bytes
}

fn found(stream: &str) -> (Vec<String>, Option<u16>) {
    read_every_way(&HttpLimits::default(), &bytes(stream))
}

/// The one request of a stream.
fn one(stream: &str) -> String {
    match found(stream) {
        (requests, None) if requests.len() == 1 => requests[0].clone(),
        other => panic!("{other:?} of {stream}"),
    }
}

#[test]
fn a_request_is_read_however_it_arrives() {
    for (stream, expected) in [
        ("GET / HTTP/1.1|Host: a||", r#"GET / "" "a" """#),
        ("|GET / HTTP/1.1|Host: a||", r#"GET / "" "a" """#),
        ("||||GET / HTTP/1.1|Host: a||", r#"GET / "" "a" """#),
        ("GET / HTTP/1.0||", r#"GET / "" "" "" last"#),
        ("GET / HTTP/1.0|Connection: Keep-Alive||", r#"GET / "" "" """#),
        ("GET / HTTP/1.1|Host: a|Connection: x, Close||", r#"GET / "" "a" "" last"#),
        ("GET /a?b=c?d/e HTTP/1.1|hOSt:\x09a:80 \x09||", r#"GET /a "b=c?d/e" "a:80" """#),
        ("GET http://b.example HTTP/1.1|Host: a||", r#"GET / "" "b.example" """#),
        ("GET HTTPS://[::1]:80/x?y HTTP/1.1|Host: a||", r#"GET /x "y" "[::1]:80" """#),
        ("GET http://b?q HTTP/1.1|Host: a||", r#"GET / "q" "b" """#),
        ("OPTIONS * HTTP/1.1|Host: a||", r#"OPTIONS * "" "a" """#),
        ("GET /%7e/..//a;b HTTP/1.1|Host: a||", r#"GET /%7e/..//a;b "" "a" """#),
        ("GET / HTTP/1.1|Host: a|X-A: \\xe9 b|x-b:|X-C:c ||", r#"GET / "" "a" "" \xe9 b c"#),
        ("PUT / HTTP/1.1|Host: a|Content-Length: 5||hello", r#"PUT / "" "a" "hello""#),
        ("POST / HTTP/1.1|Host: a|Content-Length: 0||", r#"POST / "" "a" """#),
        ("POST / HTTP/1.1|Host: a||", r#"POST / "" "a" """#),
        ("GET / HTTP/1.1|Host: a|Content-Length: 2||hi", r#"GET / "" "a" "hi""#),
        (
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: Chunked||3|hel|2;x=y|lo|0|X-T: u||",
            r#"POST / "" "a" "hello""#,
        ),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||0||", r#"POST / "" "a" """#),
    ] {
        assert_eq!(one(stream), expected, "{stream}");
    }
}

#[test]
fn a_query_may_have_what_apps_leave_in_it_and_a_path_may_not() {
    for left in ["|", "[", "]", "\"", "{", "}", "<", ">", "^", "`", "\\", "\u{e9}", "\u{1f600}"] {
        let query = format!("id=jane&text={left}");
        let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let limits = HttpLimits::default();
        let read = read_every_way(&limits, request(&format!("/report?{query}")).as_bytes());
        assert_eq!(read, (vec![format!("GET /report {query:?} \"a\" \"\"")], None));
        let read = read_every_way(&limits, request(&format!("/report/{left}")).as_bytes());
        assert_eq!(read, (Vec::new(), Some(400)), "{left}");
    }
}

#[test]
fn no_byte_belongs_to_two_requests() {
    let put = "PUT /a HTTP/1.1|Host: a|Content-Length: 5||GET /";
    let chunked = "POST /b HTTP/1.1|Host: a|Transfer-Encoding: chunked||5|GET /|0||";
    let get = "GET /c HTTP/1.1|Host: a||";
    let (a, b, c) = (one(put), one(chunked), one(get));
    let stream = [put, chunked, get, "|", put, "||", "GET /d HTTP"].concat();
    assert_eq!(found(&stream), (vec![a.clone(), b, c, a], None));
}

#[test]
fn whatever_has_two_meanings_is_refused_with_its_status() {
    let with = |field: &str| format!("POST / HTTP/1.1|Host: a|{field}||5|hello|0||");
    let line = |line: &str| format!("{line}|Host: a||");
    let refused = [
        // The request line.
        (line("GET  / HTTP/1.1"), 400),
        (line("GET /  HTTP/1.1"), 400),
        (line("GET / HTTP/1.1 "), 400),
        (line("GET\\x09/ HTTP/1.1"), 400),
        (line(" GET / HTTP/1.1"), 400),
        (line("|\\x0dGET / HTTP/1.1"), 400),
        (line("GET /"), 400),
        (line("GET / http/1.1"), 400),
        (line("GET / HTTP/1.2"), 505),
        (line("GET / HTTP/2.0"), 505),
        ("PRI * HTTP/2.0||SM||".to_owned(), 505),
        (line("get / HTTP/1.1"), 501),
        (line("BREW / HTTP/1.1"), 501),
        (line("CONNECT a:80 HTTP/1.1"), 501),
        ("\\x16\\x03\\x01".to_owned(), 400),
        // The target.
        (line("GET x HTTP/1.1"), 400),
        (line("GET * HTTP/1.1"), 400),
        (line("GET a:80 HTTP/1.1"), 400),
        (line("GET ftp://a/ HTTP/1.1"), 400),
        (line("GET http:///x HTTP/1.1"), 400),
        (line("GET http://u@a/ HTTP/1.1"), 400),
        (line("GET /#f HTTP/1.1"), 400),
        (line("GET /\\xc3\\xa9 HTTP/1.1"), 400),
        (line("GET /<> HTTP/1.1"), 400),
        (line("GET /{} HTTP/1.1"), 400),
        (line("GET /?a#f HTTP/1.1"), 400),
        (line("GET /?a\\x09b HTTP/1.1"), 400),
        (line("GET /?a\\x7fb HTTP/1.1"), 400),
        (line("GET /?a b HTTP/1.1"), 400),
        (line("GET /?a\\xffb HTTP/1.1"), 400),
        (line("GET /\\x5c HTTP/1.1"), 400),
        // Host.
        ("GET / HTTP/1.1||".to_owned(), 400),
        ("GET / HTTP/1.1|Host:||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: a|Host: a||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: a, b||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: a b||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: a/b||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: u@a||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: a:x||".to_owned(), 400),
        ("GET / HTTP/1.1|Host: [::1||".to_owned(), 400),
        ("GET http://a/ HTTP/1.1||".to_owned(), 400),
        // Fields.
        (with("X : y"), 400),
        (with(" X: y"), 400),
        (with("X: y|  z"), 400),
        (with(": y"), 400),
        (with("X"), 400),
        (with("X: \\x00"), 400),
        (with("X: \\x07"), 400),
        (with("X: a\\x0db"), 400),
        (with("X: a\\x0aY: b"), 400),
        (with("X[]: y"), 400),
        ("GET / HTTP/1.1\\x0aHost: a\\x0a\\x0a".to_owned(), 400),
        // Lengths.
        (with("Content-Length: 5|Content-Length: 6"), 400),
        (with("Content-Length: 5|Content-Length: 5"), 400),
        (with("Content-Length: 5, 5"), 400),
        (with("Content-Length: 5, 6"), 400),
        (with("Content-Length: 5,"), 400),
        (with("Content-Length:"), 400),
        (with("Content-Length: +5"), 400),
        (with("Content-Length: -5"), 400),
        (with("Content-Length: 0x5"), 400),
        (with("Content-Length: 5 5"), 400),
        (with("Content-Length: 18446744073709551616"), 400),
        (with("Content-Length: 18446744073709551614"), 413),
        (with("Content-Length: 5|Transfer-Encoding: chunked"), 400),
        (with("Transfer-Encoding: chunked|Transfer-Encoding: chunked"), 400),
        (with("Transfer-Encoding: chunked, chunked"), 400),
        (with("Transfer-Encoding: gzip, chunked"), 400),
        (with("Transfer-Encoding: gzip"), 400),
        (with("Transfer-Encoding: identity"), 400),
        (with("Transfer-Encoding: xchunked"), 400),
        (with("Transfer-Encoding:"), 400),
        ("POST / HTTP/1.0|Transfer-Encoding: chunked||0||".to_owned(), 400),
        // Chunks.
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||+5|hello|0||".to_owned(), 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|| 5|hello|0||".to_owned(), 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||0x5|hello|0||".to_owned(), 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||5\\x0ahello|0||".to_owned(), 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||5|hello!|0||".to_owned(), 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||ffffffff|hello".to_owned(), 413),
    ];
    for (stream, status) in refused {
        assert_eq!(found(&stream), (vec![], Some(status)), "{stream}");
    }
}

#[test]
fn each_limit_is_kept_to_the_byte() {
    let limits =
        HttpLimits { head_bytes: 100, headers: 3, body_bytes: 10, ..HttpLimits::default() };
    let status = |stream: String| read_every_way(&limits, &bytes(&stream)).1;
    let head = |more: usize| format!("GET / HTTP/1.1|Host: a|X: {}||", "x".repeat(more));
    let least = bytes(&head(0)).len();
    assert_eq!(status(head(100 - least)), None);
    assert_eq!(status(head(101 - least)), Some(431));
    let fields = |more: &str| format!("GET / HTTP/1.1|Host: a|{more}|");
    assert_eq!(status(fields("X: 1|Y: 2|")), None);
    assert_eq!(status(fields("X: 1|Y: 2|Z: 3|")), Some(431));
    let put = |more: &str| format!("PUT / HTTP/1.1|Host: a|{more}");
    assert_eq!(status(put("Content-Length: 10||0123456789")), None);
    assert_eq!(status(put("Content-Length: 11||")), Some(413));
    let chunked = "Transfer-Encoding: chunked||5|01234|";
    assert_eq!(status(put(&format!("{chunked}5|56789|0||"))), None);
    assert_eq!(status(put(&format!("{chunked}6|"))), Some(413));
    // The target has a limit of its own, and httparse finds no limit of fields.
    let target = |length: usize| format!("GET /{} HTTP/1.1|Host: a||", "x".repeat(length - 1));
    let of_target = |length| read(&HttpLimits::default(), [&bytes(&target(length))[..]]).1;
    assert_eq!((of_target(8_192), of_target(8_193)), (None, Some(414)));
    let many = format!("GET / HTTP/1.1|Host: a|{}|", "X: y|".repeat(64));
    assert_eq!(read(&HttpLimits::default(), [&bytes(&many)[..]]).1, Some(431));
}

/// The 33 requests of h1spec (https://github.com/uNetworking/h1spec), in our words: what a server must wait for, take and
/// refuse.
#[test]
fn the_requests_of_h1spec_are_taken_refused_and_waited_for() {
    let whole = "GET /hello HTTP/1.1|Host: localhost||";
    let cuts = ["G", "GET ", "GET /hello", "GET /hello ", "GET /hello HTTP", "GET /hello HTTP/1.1"];
    let line = "GET /hello HTTP/1.1|";
    let in_fields = ["", "Hos", "Host:", "Host: ", "Host: localhost", "Host: localhost|"];
    let in_line_ends = [
        "GET /hello HTTP/1.1\\x0d",
        "GET /hello HTTP/1.1|Host: localhost\\x0d",
        "GET /hello HTTP/1.1|Host: localhost|\\x0d",
    ];
    let cuts = cuts.map(str::to_owned).into_iter().chain(in_fields.map(|it| format!("{line}{it}")));
    let mut seen = 0;
    for start in cuts.chain(in_line_ends.map(str::to_owned)) {
        assert!(bytes(whole).starts_with(&bytes(&start)), "{start}");
        assert_eq!(found(&start), (vec![], None), "{start}");
        seen += 1;
    }
    for taken in [
        "GET / HTTP/1.1|Host: example.com|Expect: 100-continue||",
        "GET / HTTP/1.1|Host: example.com||",
        "GET / HTTP/1.1|hoSt:\\x09example.com|empty:||",
        "GET / HTTP/1.1|Host: example.com|X-Empty-Header: ||",
        "POST / HTTP/1.1|Host: example.com|Content-Length: 5||hello",
    ] {
        one(taken);
        seen += 1;
    }
    for refused in [
        "GET / ||",
        "GET / HTTP/1.1|Host: example.com|X-Invalid[]: test||",
        "GET / HTTP/1.1|Content-Length: 5||",
        "GET / HTTP/1.1|Host: example.com|Host: example.org||",
        "GET / HTTP/1.1|Host: example.com|Content-Length: -123456789123456789123456789||",
        "GET / HTTP/1.1|Host: example.com|Content-Length: -1234||",
        "GET / HTTP/1.1|Host: example.com|Content-Length: abc||",
        "GET / HTTP/1.1|Host: example.com|X-Bad-Control-Char: test\\x07||",
        "GET / HTTP/9.9|Host: example.com||",
        "Extra lineGET / HTTP/1.1|Host: example.com||",
        "GET / HTTP/1.1|Host: example.com|\\x0dSome-Header: Test||",
        "GET / HTTP/1.1|Host: example.com|Transfer-Encoding: chunked|Content-Length: 5||",
    ] {
        assert!(matches!(found(refused), (_, Some(400..=599))), "{refused}");
        seen += 1;
    }
    // Two cuts of the list are the same as two of ours.
    assert_eq!(seen, 32);
}

/// The requests of http_desync_guardian, an analyser of requests that two servers may read differently. What it calls
/// severe is refused with 400. What it calls compliant is taken, but for the rows that the file marks.
#[test]
fn the_requests_of_http_desync_guardian_are_answered_as_the_file_says() {
    let path = "tests/fixtures/http/desync_guardian.tsv";
    let file = fs::read_to_string(path).expect("it is there");
    let (mut new, mut seen, mut lenient) = (String::new(), 0, Vec::new());
    for line in file.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [tier, expected, request, name] = columns[..] else {
            new += &format!("{line}\n");
            continue;
        };
        let status = found(request).1;
        let told = status.map_or("ok".to_owned(), |status| status.to_string());
        if tier == "Severe" && told != "400" {
            lenient.push(line);
        }
        new += &format!("{tier}\t{told}\t{request}\t{name}\n");
        seen += usize::from(!expected.is_empty());
    }
    assert!(lenient.is_empty(), "{lenient:#?}");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(path, &new).expect("it can be written");
    }
    assert!(new == file && seen == 159, "{seen} requests; UPDATE_EXPECTED=1 shows the difference");
}

proptest! {
    #[test]
    fn any_bytes_are_read_alike_however_they_are_cut(
        pieces in vec(select(vec![
            "GET / HTTP/1.1|", "POST /a?b HTTP/1.0|", "Host: a|", "|", "Content-Length: 3|", "Transfer-Encoding: chunked|",
            "3|abc|0||", "abc", "\\x0d", "\\x0a", ": ", "\\x00", " ",
        ]), 0..14),
        size in 1..20_usize,
    ) {
        let stream = bytes(&pieces.concat());
        let limits = HttpLimits { head_bytes: 80, headers: 4, body_bytes: 8, ..HttpLimits::default() };
        prop_assert_eq!(read(&limits, [&stream[..]]), read(&limits, stream.chunks(size)));
    }
}
