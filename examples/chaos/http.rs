//! The clients that speak HTTP: they report by PUT and by `/owntracks`, and ask by GET. Requests are pipelined, so replies are
//! in the order of requests.
//!
//! ```text
//!   Report   PUT /v1/clients/cN     200 and the Feature that the table now holds: this report, or a newer one
//!            POST /owntracks/cN     200 and []
//!   Ask      GET /v1/clients/cN     200 and the Feature; 404 if the server does not know the client
//!   any                             503: the server stops, or its journal is not sound. The report is not acknowledged.
//! ```
//!
//! Every other reply is wrong. A report that was answered with 200 is acknowledged like one that was answered with an AT line.

use crate::clients::{Command, Queue};
use crate::ledger::{Stamp, degrees_at, read_stamp, write_stamp};
use crate::run::Run;
use herd_reactor::{CloseReason, Context, Flow, Protocol, TimerId};
use httparse::{EMPTY_HEADER, Response, Status};
use serde_json::Value;
use std::fmt::Write;

/// Maximum number of header fields of a reply.
const HEADERS_MAX: usize = 32;

/// One connection.
#[derive(Debug)]
pub(crate) struct HttpClient {
    queue: Queue,
    /// The beginning of a reply.
    received: Vec<u8>,
}

/// A whole reply.
struct Reply {
    status: u16,
    was_dropped: bool,
    body: Vec<u8>,
    /// Its length with the head.
    bytes: usize,
}

impl HttpClient {
    pub(crate) fn new(queue: Queue) -> HttpClient {
        HttpClient { queue, received: Vec::new() }
    }

    /// Checks a reply against the command that it answers.
    fn judge(&self, run: &mut Run, command: &Command, reply: &Reply) {
        let (server, counts) = (self.queue.server, self.queue.counts(run));
        let feature = read_feature(&reply.body);
        let ledger = &mut run.ledger;
        match (*command, reply.status, feature) {
            (_, 503, _) => ledger.unanswered += 1,
            (Command::Report { client, stamp }, 200, Some((other, newest)))
                if is_put(stamp) && other == client && newest >= stamp =>
            {
                ledger.acknowledge(server, client, newest, counts);
            }
            (Command::Report { client, stamp }, 200, None)
                if !is_put(stamp) && reply.body == b"[]" && !reply.was_dropped =>
            {
                ledger.acknowledge(server, client, in_microseconds(stamp), counts);
            }
            (Command::Ask { client, at_least }, 200, Some((other, stamp))) if other == client => {
                if stamp < at_least {
                    ledger.went_back.note(|| describe(command, reply));
                }
                ledger.answer(server, client, stamp, counts);
            }
            (Command::Ask { at_least, .. }, 404, _) => {
                if at_least > 0 {
                    ledger.went_back.note(|| describe(command, reply));
                }
                ledger.answered += 1;
            }
            _ => ledger.wrong.note(|| describe(command, reply)),
        }
    }

    /// Handles all whole replies.
    fn replies(&mut self, cx: &mut Context<'_, Run>) -> Result<(), String> {
        while let Some(reply) = read_reply(&self.received)? {
            self.received.drain(..reply.bytes);
            let Some(command) = self.queue.answered(cx) else {
                return Err("a reply without a request".into());
            };
            self.judge(cx.state, &command, &reply);
        }
        Ok(())
    }
}

impl Protocol<Run> for HttpClient {
    fn name(&self) -> &'static str {
        "HttpClient"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Run>) -> Flow {
        Queue::begin(cx);
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, Run>, _timer: TimerId) -> Flow {
        let mut said = String::new();
        for command in self.queue.due(cx) {
            write_request(&mut said, &command);
        }
        cx.write(said.as_bytes());
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Run>, data: &[u8]) -> Flow {
        self.received.extend_from_slice(data);
        if let Err(why) = self.replies(cx) {
            let text = String::from_utf8_lossy(&self.received);
            let text: String = text.chars().take(300).collect();
            cx.state.ledger.wrong.note(|| format!("{why}: {text}"));
            cx.abort_connection();
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Run>, why: &CloseReason) {
        self.queue.lost(cx.state, why);
    }
}

/// Whether a report with this stamp is sent by PUT; the others are sent to `/owntracks`.
fn is_put(stamp: Stamp) -> bool {
    (stamp / 1_000).is_multiple_of(2)
}

/// The stamp of a report to `/owntracks`: JSON numbers have no room for nanoseconds.
fn in_microseconds(stamp: Stamp) -> Stamp {
    stamp / 1_000 * 1_000
}

fn write_request(out: &mut String, command: &Command) {
    let (target, body) = match *command {
        Command::Ask { client, .. } => {
            let _ = write!(out, "GET /v1/clients/c{client} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            return;
        }
        Command::Report { client, stamp } if is_put(stamp) => {
            let [latitude, longitude] = degrees_at(stamp);
            let mut time = String::new();
            write_stamp(&mut time, stamp);
            let body = format!(r#"{{"lat":{latitude},"lon":{longitude},"time":"{time}"}}"#);
            (format!("PUT /v1/clients/c{client}"), body)
        }
        Command::Report { client, stamp } => {
            let stamp = in_microseconds(stamp);
            let [latitude, longitude] = degrees_at(stamp);
            let micros = stamp / 1_000;
            let body = format!(
                r#"{{"_type":"location","tst":{micros},"lat":{latitude},"lon":{longitude},"batt":87,"tid":"ne"}}"#
            );
            (format!("POST /owntracks/c{client}"), body)
        }
    };
    let (kind, length) = ("application/json", body.len());
    let _ = write!(
        out,
        "{target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// Reads the reply at the start of `received`; `None` if it is incomplete.
fn read_reply(received: &[u8]) -> Result<Option<Reply>, String> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let head = match response.parse(received) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) => return Ok(None),
        Err(why) => return Err(format!("{why}")),
    };
    let value = |name: &str| {
        let mut named =
            response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.next().map(|field| String::from_utf8_lossy(field.value))
    };
    let length = value("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or("a reply without Content-Length")?;
    let Some(body) = received.get(head..head + length) else { return Ok(None) };
    Ok(Some(Reply {
        status: response.code.unwrap_or(0),
        was_dropped: value("herd-dropped").is_some(),
        body: body.to_owned(),
        bytes: head + length,
    }))
}

/// Returns the client and the stamp of a Feature; `None` if it cannot stem from a report of this program.
fn read_feature(body: &[u8]) -> Option<(usize, Stamp)> {
    let feature: Value = serde_json::from_slice(body).ok()?;
    let client = feature["id"].as_str()?.strip_prefix('c')?.parse().ok()?;
    let stamp = read_stamp(feature["properties"]["time"].as_str()?)?;
    let coordinates = feature["geometry"]["coordinates"].as_array()?;
    let [latitude, longitude] = degrees_at(stamp).map(|degrees| degrees.parse::<f64>().ok());
    let ours = coordinates.iter().map(Value::as_f64).eq([longitude, latitude]);
    ours.then_some((client, stamp))
}

fn describe(command: &Command, reply: &Reply) -> String {
    format!("{command:?}: {} {}", reply.status, String::from_utf8_lossy(&reply.body))
}
