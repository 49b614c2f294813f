//! HTTP/1.1: a report as a program or a phone app sends it to a server of the herd.
//!
//! ```text
//!   PUT         PUT /v1/clients/ID, {"lat":..,"lon":..,"time":".."}     200, with the report as a GeoJSON Feature
//!   OwnTracks   POST /owntracks, {"_type":"location",..}               200, with [] as the body
//!   fixed       the same PUT                                           200, with any body
//! ```
//!
//! Every reply is checked: a Feature must have the id, the coordinates and the time of the report, and a reply to OwnTracks must
//! not have `Herd-Dropped`. `fixed` is for the raw echo, which sends the same bytes to every request.
//!
//! The stamps of [`Reports`](crate::reports::Reports) grow by a nanosecond. OwnTracks sends numbers, which have no room for
//! nanoseconds, so its times are in microseconds and grow by one with each request.

use super::http::{Body, Head, decode_chunks, head};
use super::{Checked, Expected, IAMAT, Protocol, REPLY_BYTES_MAX};
use crate::options::{Options, Speaks};
use crate::reports::{CLIENT_BYTES, Next, Operands, latitude_longitude, stamp};
use memchr::memmem;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is sent, and what must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Put,
    OwnTracks,
    Fixed,
}

/// A server that takes reports by HTTP.
#[derive(Debug)]
pub(crate) struct HttpReports {
    form: Form,
    /// For each address, the part of a request between the path and the length of the body.
    heads: Vec<Vec<u8>>,
    /// The time at which the run began, in nanoseconds since 1970.
    begun: u64,
    /// The head that was parsed last, and what it says: most replies of one second have the same.
    last: Option<(Vec<u8>, Head)>,
    /// The decoded body of a chunked reply.
    body: Vec<u8>,
    /// What a Feature must contain.
    part: Vec<u8>,
}

impl Protocol for HttpReports {
    const KINDS: &'static [&'static str] = &["report"];
    const TELLING_PIPELINE: u32 = 1;
    const REOPENS: bool = true;

    fn new(options: &Options) -> HttpReports {
        let form = match options.protocol {
            Speaks::HttpOwntracks => Form::OwnTracks,
            Speaks::HttpFixed => Form::Fixed,
            _ => Form::Put,
        };
        let close = if options.connect { "Connection: close\r\n" } else { "" };
        let of_app = match form {
            Form::OwnTracks => {
                "User-Agent: Owntracks-Android/gms/420509001\r\nX-Limit-U: jane\r\nX-Limit-D: phone\r\n"
            }
            Form::Put | Form::Fixed => "",
        };
        let head = |host| {
            format!(
                " HTTP/1.1\r\nHost: {host}\r\n{close}{of_app}Content-Type: application/json\r\nContent-Length: "
            )
        };
        HttpReports {
            form,
            heads: options.addresses.iter().map(|host| head(host).into_bytes()).collect(),
            begun: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
                as u64,
            last: None,
            body: Vec::new(),
            part: Vec::new(),
        }
    }

    #[inline]
    fn compose(&self, target: usize, next: Next<'_>, out: &mut Vec<u8>) -> u8 {
        let (Next::Tell(operands) | Next::Ask(operands)) = next;
        let (id, (latitude, longitude)) = (&operands[..CLIENT_BYTES], latitude_longitude(operands));
        let ([south, latitude], [west, longitude]) =
            (json_number(latitude), json_number(longitude));
        let (stamp, head) = (stamp(operands), &self.heads[target]);
        match self.form {
            Form::OwnTracks => {
                let time = self.begun / 1_000 + (nanoseconds(stamp) - self.begun);
                let time = &time.to_string().into_bytes();
                let body: [&[u8]; 13] = [
                    b"{\"_type\":\"location\",\"topic\":\"owntracks/",
                    id,
                    b"/phone\",\"_id\":\"bb8a8cd6\",\"created_at\":",
                    &time[..10],
                    b",\"tst\":",
                    time,
                    b",\"lat\":",
                    south,
                    latitude,
                    b",\"lon\":",
                    west,
                    longitude,
                    b",\"acc\":13,\"alt\":53,\"vel\":2,\"cog\":38,\"batt\":87,\"t\":\"u\",\"tid\":\"ne\"}",
                ];
                write_request(out, [b"POST /owntracks", b""], head, &body);
            }
            Form::Put | Form::Fixed => {
                let body: [&[u8]; 9] = [
                    b"{\"lat\":",
                    south,
                    latitude,
                    b",\"lon\":",
                    west,
                    longitude,
                    b",\"time\":\"",
                    stamp,
                    b"\"}",
                ];
                write_request(out, [b"PUT /v1/clients/", id], head, &body);
            }
        }
        IAMAT
    }

    #[inline]
    fn check(
        &mut self,
        _: usize,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Checked, &'static str> {
        let Some((bytes, is_last)) = self.reply(received, expected)? else {
            return match received.len() > REPLY_BYTES_MAX {
                true => Err("the reply does not end"),
                false => Ok(Checked::Unfinished),
            };
        };
        Ok(if is_last { Checked::LastReply(bytes) } else { Checked::Reply(bytes) })
    }
}

impl HttpReports {
    /// The length of the right reply at the start of `received`, and whether it is the last of its connection; `None`
    /// if it is incomplete.
    #[inline]
    fn reply(
        &mut self,
        received: &[u8],
        expected: &Expected,
    ) -> Result<Option<(usize, bool)>, &'static str> {
        let head = match &self.last {
            Some((bytes, head)) if received.starts_with(bytes) => *head,
            _ => match head(received)? {
                Some(head) => {
                    let bytes = &received[..head.bytes];
                    if memmem::find(bytes, b"\r\nHerd-Dropped:").is_some() {
                        return Err("the server has dropped the report");
                    }
                    self.last = Some((bytes.to_owned(), head));
                    head
                }
                None => return Ok(None),
            },
        };
        let rest = &received[head.bytes..];
        let (body, end) = match head.body {
            Body::Counted(count) => match rest.get(..count) {
                Some(body) => (body, head.bytes + count),
                None => return Ok(None),
            },
            Body::Chunked => match decode_chunks(rest, &mut self.body)? {
                Some(count) => (&self.body[..], head.bytes + count),
                None => return Ok(None),
            },
        };
        match self.form {
            Form::Put if !is_feature(body, &expected.operands, &mut self.part) => {
                Err("the body is not the Feature of the report")
            }
            Form::OwnTracks if body.trim_ascii() != b"[]" => Err("the body is not []"),
            _ => Ok(Some((end, head.is_last))),
        }
    }
}

/// Whether `body` has the id, the coordinates and the time of the report. `part` is scratch memory.
#[inline]
fn is_feature(body: &[u8], operands: &Operands, part: &mut Vec<u8>) -> bool {
    let (latitude, longitude) = latitude_longitude(operands);
    let ([south, latitude], [west, longitude]) = (json_number(latitude), json_number(longitude));
    let mut has = |pieces: &[&[u8]]| {
        part.clear();
        pieces.iter().for_each(|piece| part.extend_from_slice(piece));
        memmem::find(body, part).is_some()
    };
    has(&[b"\"id\":\"", &operands[..CLIENT_BYTES], b"\""])
        && has(&[b"\"coordinates\":[", west, longitude, b",", south, latitude, b"]"])
        && has(&[b"\"time\":\"", stamp(operands), b"\""])
}

/// Appends a whole request to `out`.
#[inline]
fn write_request(out: &mut Vec<u8>, target: [&[u8]; 2], head: &[u8], body: &[&[u8]]) {
    target.iter().for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(head);
    let length: usize = body.iter().map(|piece| piece.len()).sum();
    // Writing to a vector does not fail.
    let _ = write!(out, "{length}\r\n\r\n");
    body.iter().for_each(|piece| out.extend_from_slice(piece));
}

/// The sign and the digits of a number, as JSON writes them: without a plus, zeros in front, and zeros at the end.
#[inline]
fn json_number(text: &[u8]) -> [&[u8]; 2] {
    let (sign, digits) = text.split_at(1);
    let zeros = digits.windows(2).take_while(|pair| pair[0] == b'0' && pair[1] != b'.').count();
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    [if sign == b"-" { sign } else { b"" }, &digits[zeros..end]]
}

/// A stamp as nanoseconds.
#[inline]
fn nanoseconds(stamp: &[u8]) -> u64 {
    let digits = stamp.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::Reports;
    use clap::Parser;

    /// A protocol of this form, its first requests, and what they expect.
    fn asked(form: &str, count: usize) -> (HttpReports, Vec<String>, Vec<Expected>) {
        let options = Options::parse_from(["herd-bench", "127.0.0.1:1", "--protocol", form]);
        let http = HttpReports::new(&options);
        let mut reports = Reports::new(1, 8, options.mix);
        let mut expected = Vec::new();
        let sent = (0..count).map(|_| {
            let mut out = Vec::new();
            expected.push(Expected::compose(&http, 0, reports.next(0), &mut out));
            String::from_utf8(out).expect("ASCII")
        });
        let sent = sent.collect();
        (http, sent, expected)
    }

    fn reply(head: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    fn feature(expected: &Expected, coordinates: &str) -> String {
        let text = std::str::from_utf8(&expected.operands).expect("ASCII");
        let (id, stamp) = (&text[..CLIENT_BYTES], &text[text.len() - 20..]);
        format!(
            r#"{{"type":"Feature","id":"{id}","geometry":{{"type":"Point","coordinates":[{coordinates}]}},"properties":{{"time":"{stamp}"}}}}"#
        )
    }

    /// The body of a request, whose length must be right.
    fn body(request: &str) -> serde_json::Value {
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{request}");
        serde_json::from_str(body).expect("JSON")
    }

    #[test]
    fn a_put_has_the_numbers_of_the_report_and_expects_its_feature() {
        let (mut http, sent, expected) = asked("http-put", 8);
        let coordinates = [
            "-118.445127,34.06893",
            "2.352222,48.856613",
            "139.6503,35.6762",
            "151.2093,-33.8688",
            "-0.1275,51.507222",
            "-46.6333,-23.5505",
            "-100.5,38.9",
            "-123.3933,-48.8767",
        ];
        for ((request, expected), coordinates) in sent.iter().zip(&expected).zip(coordinates) {
            assert!(request.starts_with("PUT /v1/clients/client-000000"), "{request}");
            let body = body(request);
            assert_eq!(format!("{},{}", body["lon"], body["lat"]), coordinates);
            let feature = feature(expected, coordinates);
            let right = reply("Herd-Verdict: new\r\n", &feature);
            for cut in 0..right.len() {
                assert_eq!(
                    http.check(0, &right.as_bytes()[..cut], expected),
                    Ok(Checked::Unfinished)
                );
            }
            assert_eq!(
                http.check(0, (right.clone() + "H").as_bytes(), expected),
                Ok(Checked::Reply(right.len()))
            );
            for (from, to) in [
                ("client-", "clienT-"),
                ("200", "201"),
                ("[", "[1"),
                ("\"time\":\"", "\"time\":\"1"),
            ] {
                let wrong = reply("", &feature)
                    .replace(from, to)
                    .replace("Content-Length: 20", "Content-Length: 2");
                assert!(http.check(0, wrong.as_bytes(), expected).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn owntracks_sends_growing_times_and_expects_that_nothing_was_dropped() {
        let (mut http, sent, expected) = asked("http-owntracks", 2);
        let bodies: Vec<_> = sent.iter().map(|request| body(request)).collect();
        assert_eq!(bodies[0]["topic"], "owntracks/client-0000000.bench/phone");
        let times: Vec<u64> =
            bodies.iter().map(|body| body["tst"].as_u64().expect("a number")).collect();
        assert_eq!(times[0] + 1, times[1]);
        assert_eq!(times[0].to_string().len(), 16, "microseconds");
        let right = reply("", "[]");
        assert_eq!(http.check(0, right.as_bytes(), &expected[0]), Ok(Checked::Reply(right.len())));
        for wrong in [reply("Herd-Dropped: 1\r\n", "[]"), reply("", "{}")] {
            assert!(http.check(0, wrong.as_bytes(), &expected[0]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fixed_reply_may_have_any_body_and_may_be_the_last() {
        let (mut http, sent, expected) = asked("http-fixed", 1);
        assert!(sent[0].starts_with("PUT /v1/clients/"));
        let right = reply("Connection: close\r\n", "anything");
        assert_eq!(
            http.check(0, right.as_bytes(), &expected[0]),
            Ok(Checked::LastReply(right.len()))
        );
    }
}
