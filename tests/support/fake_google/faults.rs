//! All faults that can occur between a herd and its places, by name.
//!
//! A [`Fault`] says where it occurs, and what happens there. The code that plays the network and the name server
//! does the rest. A fault occurs while its [`Switch`] is on, so one run can show what happens, and that it ends.

use super::names::Naming;
use super::places::{Api, Error, JSON, Places, body, legacy_text, refusal, response};
use super::{
    Asked, Certificate, Greeting, Script, Step, chunked, in_chunks, with_fields, with_status,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// One byte more than the longest body that is accepted (`body_bytes`).
const TOO_LONG: usize = (4 << 20) + 1;

/// A fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The name for the command line.
    pub name: &'static str,
    /// The description for people.
    pub what: &'static str,
    pub at: Place,
}

/// Where the fault occurs, and how.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The fault is at the name server. The function gets the true addresses.
    Names(fn(Vec<IpAddr>) -> Naming),
    /// The fault is on the network: the connection is refused, or packets are lost.
    Way(Way),
    /// The fault is at the start of a connection.
    Greeting(fn() -> Greeting),
    /// The fault is in the certificate of the handshake.
    Certificate(Certificate),
    /// The fault is in the response. The function gets the good response.
    Answer(fn(&Strike<'_>) -> Vec<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Refused,
    Lost,
}

/// A request that a fault affects.
#[derive(Debug)]
pub struct Strike<'a> {
    pub api: Api,
    /// The number of requests that the fault has affected before.
    pub nth: usize,
    /// The number of earlier requests on the same connection.
    pub on_connection: usize,
    /// The response without the fault.
    pub good: &'a [u8],
}

/// Switches a fault on and off.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<(AtomicBool, AtomicUsize)>);

impl Switch {
    /// Switches the fault on or off, and resets its counter.
    pub fn set(&self, on: bool) {
        self.0.1.store(0, Ordering::SeqCst);
        self.0.0.store(on, Ordering::SeqCst);
    }

    pub fn is_on(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Counts an affected request; returns the number before.
    fn strikes(&self) -> usize {
        self.0.1.fetch_add(1, Ordering::SeqCst)
    }
}

/// The fault with this name.
pub fn named(name: &str) -> Option<&'static Fault> {
    ALL.iter().find(|fault| fault.name == name)
}

impl Fault {
    /// The script of a fake Google with this fault. While the fault is off, the fake Google answers as `places` says.
    pub fn script(&'static self, api: Api, places: Places, switch: Switch) -> Script {
        let [at_requests, at_greetings, at_handshakes] = [(); 3].map(|()| switch.clone());
        Script::answering(move |asked: &Asked<'_>| {
            let good = places.answer(asked.request);
            let Place::Answer(answer) = self.at else { return vec![Step::Send(good)] };
            if !at_requests.is_on() {
                return vec![Step::Send(good)];
            }
            let (nth, on_connection) = (at_requests.strikes(), asked.on_connection);
            answer(&Strike { api, nth, on_connection, good: &good })
        })
        .greeting(move |_| match self.at {
            Place::Greeting(greeting) if at_greetings.is_on() => greeting(),
            _ => Greeting::Tls,
        })
        .certificate(move |_| match self.at {
            Place::Certificate(certificate) if at_handshakes.is_on() => certificate,
            _ => Certificate::Good,
        })
    }

    /// The name server's answer for a host with these addresses.
    pub fn naming(&self, addresses: Vec<IpAddr>, strikes: bool) -> Naming {
        match self.at {
            Place::Names(naming) if strikes => naming(addresses),
            _ => Naming::At(addresses),
        }
    }
}

/// All faults, in the order of the phases of a request.
pub const ALL: &[Fault] = &[
    Fault {
        name: "no-name",
        what: "the name is not found",
        at: Place::Names(|_| Naming::NoSuchName),
    },
    Fault {
        name: "silent-names",
        what: "the name server does not answer",
        at: Place::Names(|_| Naming::Silent),
    },
    Fault {
        name: "failing-names",
        what: "the name server fails (SERVFAIL)",
        at: Place::Names(|_| Naming::Failing),
    },
    Fault {
        name: "long-names",
        what: "the addresses fit only in a TCP answer",
        at: Place::Names(Naming::Truncated),
    },
    Fault { name: "refused", what: "connections are refused", at: Place::Way(Way::Refused) },
    Fault { name: "blackholed", what: "connections are not answered", at: Place::Way(Way::Lost) },
    Fault {
        name: "silent",
        what: "connection accepted, then silence",
        at: Place::Greeting(|| Greeting::Silence),
    },
    Fault {
        name: "closed",
        what: "connection accepted, then closed",
        at: Place::Greeting(|| Greeting::Close),
    },
    Fault {
        name: "not-tls",
        what: "the service does not speak TLS",
        at: Place::Greeting(|| Greeting::Garbage),
    },
    Fault {
        name: "wrong-host",
        what: "certificate for another host",
        at: Place::Certificate(Certificate::WrongHost),
    },
    Fault {
        name: "untrusted",
        what: "certificate of an unknown authority",
        at: Place::Certificate(Certificate::Untrusted),
    },
    Fault {
        name: "expired",
        what: "certificate expired",
        at: Place::Certificate(Certificate::Expired),
    },
    Fault {
        name: "split-records",
        what: "TLS records arrive byte by byte",
        at: Place::Greeting(|| Greeting::TlsByteByByte),
    },
    Fault {
        name: "small-records",
        what: "each byte in a TLS record of its own",
        at: Place::Answer(|strike| vec![Step::SendInRecordsOfOne(strike.good.to_vec())]),
    },
    Fault { name: "slow-head", what: "no response", at: Place::Answer(|_| vec![Step::Silence]) },
    Fault {
        name: "stopped-body",
        what: "the body stops in the middle",
        at: Place::Answer(|strike| vec![Step::Send(half(strike.good)), Step::Silence]),
    },
    Fault {
        name: "dripping-body",
        what: "the body comes one byte per second",
        at: Place::Answer(|strike| {
            let rest = strike.good[half(strike.good).len()..].to_vec();
            let second = Duration::from_secs(1);
            vec![Step::Send(half(strike.good)), Step::Drip(rest, second)]
        }),
    },
    Fault {
        name: "truncated-chunk",
        what: "the stream ends within a chunk",
        at: Place::Answer(|strike| {
            let cut = half(&in_chunks(body(strike.good), 1_000));
            vec![Step::Send(cut), Step::Close]
        }),
    },
    Fault {
        name: "truncated-length",
        what: "the stream ends before Content-Length",
        at: Place::Answer(|strike| vec![Step::Send(half(strike.good)), Step::Close]),
    },
    Fault {
        name: "cut",
        what: "the stream ends without close_notify",
        at: Place::Answer(|strike| {
            let fields = format!("{JSON}Connection: close\r\n");
            vec![Step::Send(with_fields(&fields, body(strike.good))), Step::Cut]
        }),
    },
    Fault {
        name: "oversize",
        what: "a body of 4 MiB + 1 byte",
        at: Place::Answer(|_| vec![Step::Send(in_chunks(&vec![b' '; TOO_LONG], 16_000))]),
    },
    Fault {
        name: "oversize-length",
        what: "a Content-Length of 4 MiB + 1 byte",
        at: Place::Answer(|_| {
            let head = with_fields(&format!("{JSON}Content-Length: {TOO_LONG}\r\n"), b"{");
            vec![Step::Send(head), Step::Silence]
        }),
    },
    Fault {
        name: "chunk-extensions",
        what: "chunk extensions and trailers",
        at: Place::Answer(|strike| {
            let chunks = chunked(body(strike.good), 1_000);
            let text = String::from_utf8(chunks).expect("the fake writes text");
            let text = text.replace("3e8\r\n", "3e8;name=value;quoted=\"a;b\"\r\n");
            let fields = format!("{JSON}Trailer: X-Checked\r\nTransfer-Encoding: chunked\r\n");
            let all = text + "0;last\r\nX-Checked: yes\r\n\r\n";
            vec![Step::Send(with_fields(&fields, all.as_bytes()))]
        }),
    },
    Fault {
        name: "both-lengths",
        what: "Content-Length and chunks at once",
        at: Place::Answer(|strike| {
            let good = body(strike.good);
            let fields =
                format!("{JSON}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", good.len());
            let chunks = [chunked(good, 1_000), b"0\r\n\r\n".to_vec()].concat();
            vec![Step::Send(with_fields(&fields, &chunks))]
        }),
    },
    Fault {
        name: "html-502",
        what: "HTTP 502 in HTML",
        at: Place::Answer(|_| {
            let page = b"<html><title>502 Bad Gateway</title></html>";
            let fields = format!("Content-Type: text/html\r\nContent-Length: {}\r\n", page.len());
            vec![Step::Send(with_status("502 Bad Gateway", &fields, page))]
        }),
    },
    Fault {
        name: "gzip",
        what: "gzip that was not requested",
        at: Place::Answer(|_| {
            let fields = format!("{JSON}Content-Encoding: gzip\r\nContent-Length: 3\r\n");
            vec![Step::Send(with_fields(&fields, b"\x1f\x8b\x08"))]
        }),
    },
    Fault {
        name: "bad-json",
        what: "truncated JSON",
        at: Place::Answer(|strike| {
            let good = body(strike.good);
            vec![Step::Send(response("200 OK", "", &good[..good.len() / 2]))]
        }),
    },
    Fault {
        name: "quota",
        what: "quota used up, wait 41 s (RetryInfo)",
        at: Place::Answer(|strike| {
            let error = Error { retry_delay: Some("41s"), ..exhausted() };
            vec![Step::Send(refused(strike.api, &error, "OVER_QUERY_LIMIT", ""))]
        }),
    },
    Fault {
        name: "quota-then-good",
        what: "quota used up, wait 2 s (Retry-After); then good",
        at: Place::Answer(|strike| {
            let refused =
                || refused(strike.api, &exhausted(), "OVER_QUERY_LIMIT", "Retry-After: 2\r\n");
            vec![Step::Send(if strike.nth.is_multiple_of(2) {
                refused()
            } else {
                strike.good.to_vec()
            })]
        }),
    },
    Fault {
        name: "503-then-good",
        what: "HTTP 503; then good",
        at: Place::Answer(|strike| {
            let error = Error::new("503 Service Unavailable", "UNAVAILABLE", "Try again.");
            let unavailable = error.response("");
            vec![Step::Send(if strike.nth.is_multiple_of(2) {
                unavailable
            } else {
                strike.good.to_vec()
            })]
        }),
    },
    Fault {
        name: "error-200",
        what: "HTTP 200 with an error in it",
        at: Place::Answer(|strike| {
            let error = Error {
                reason: Some("SERVICE_DISABLED"),
                ..Error::new("403 Forbidden", "PERMISSION_DENIED", "The API is not enabled.")
            };
            let text = match strike.api {
                Api::New => error.body(),
                Api::Legacy => legacy_text(&refusal("REQUEST_DENIED", error.message)),
            };
            vec![Step::Send(response("200 OK", "", &text))]
        }),
    },
    Fault {
        name: "idle-close",
        what: "a kept connection is closed on its next use",
        at: Place::Answer(|strike| match strike.on_connection {
            0 => vec![Step::Send(strike.good.to_vec())],
            _ => vec![Step::Close],
        }),
    },
];

fn exhausted() -> Error {
    let error = Error::new("429 Too Many Requests", "RESOURCE_EXHAUSTED", "Quota exceeded.");
    Error { reason: Some("RATE_LIMIT_EXCEEDED"), ..error }
}

/// An error of either interface, with additional header fields.
fn refused(api: Api, error: &Error, legacy: &str, fields: &str) -> Vec<u8> {
    match api {
        Api::New => error.response(fields),
        Api::Legacy => response("200 OK", fields, &legacy_text(&refusal(legacy, error.message))),
    }
}

/// The head of a response, and half of its body.
fn half(response: &[u8]) -> Vec<u8> {
    let behind = body(response).len();
    response[..response.len() - behind / 2].to_vec()
}
