//! All that can go wrong between a herd and its places, by name.
//!
//! A [`Fault`] says where on the way it is and what is done there; who plays the network and the
//! name server does the rest. It strikes while its [`Switch`] is on, so that one run can show what
//! happens, and that it passes.

use super::names::Naming;
use super::places::{Api, Error, JSON, Places, body, legacy_text, refusal, response};
use super::{
    Asked, Certificate, Greeting, Script, Step, chunked, in_chunks, with_fields, with_status,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// One more than what is taken of a body (`body_bytes`).
const TOO_LONG: usize = (4 << 20) + 1;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// For the command line.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    pub at: Place,
}

/// Where it goes wrong, and how.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At the name server, which knows these addresses.
    Names(fn(Vec<IpAddr>) -> Naming),
    /// On the way: the connection is refused, or what is sent is lost.
    Way(Way),
    /// When a connection begins.
    Greeting(fn() -> Greeting),
    /// In what is shown in the handshake.
    Certificate(Certificate),
    /// In the answer; a good one is given, too.
    Answer(fn(&Strike<'_>) -> Vec<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Refused,
    Lost,
}

/// A request that is met by a fault.
#[derive(Debug)]
pub struct Strike<'a> {
    pub api: Api,
    /// How many have been met before.
    pub nth: usize,
    /// How many requests came before on the same connection.
    pub on_connection: usize,
    /// What would have been answered.
    pub good: &'a [u8],
}

/// Whether a fault strikes.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<(AtomicBool, AtomicUsize)>);

impl Switch {
    /// From now on it strikes, or no more.
    pub fn set(&self, on: bool) {
        self.0.1.store(0, Ordering::SeqCst);
        self.0.0.store(on, Ordering::SeqCst);
    }

    pub fn is_on(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Counts what it strikes.
    fn strikes(&self) -> usize {
        self.0.1.fetch_add(1, Ordering::SeqCst)
    }
}

/// The fault of that name.
pub fn named(name: &str) -> Option<&'static Fault> {
    ALL.iter().find(|fault| fault.name == name)
}

impl Fault {
    /// What a fake Google does that answers as `places` while all is well.
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

    /// What the name server says of a host with these addresses.
    pub fn naming(&self, addresses: Vec<IpAddr>, strikes: bool) -> Naming {
        match self.at {
            Place::Names(naming) if strikes => naming(addresses),
            _ => Naming::At(addresses),
        }
    }
}

/// In the order in which they are met on the way.
pub const ALL: &[Fault] = &[
    Fault {
        name: "no-name",
        what: "the name is not found",
        at: Place::Names(|_| Naming::NoSuchName),
    },
    Fault {
        name: "silent-names",
        what: "the name server is silent",
        at: Place::Names(|_| Naming::Silent),
    },
    Fault {
        name: "failing-names",
        what: "the name server cannot say",
        at: Place::Names(|_| Naming::Failing),
    },
    Fault {
        name: "long-names",
        what: "the name's addresses come by TCP only",
        at: Place::Names(Naming::Truncated),
    },
    Fault { name: "refused", what: "connections are refused", at: Place::Way(Way::Refused) },
    Fault { name: "blackholed", what: "connections are not answered", at: Place::Way(Way::Lost) },
    Fault {
        name: "silent",
        what: "accepted, then nothing",
        at: Place::Greeting(|| Greeting::Silence),
    },
    Fault {
        name: "closed",
        what: "accepted, then closed",
        at: Place::Greeting(|| Greeting::Close),
    },
    Fault { name: "not-tls", what: "not TLS", at: Place::Greeting(|| Greeting::Garbage) },
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
        what: "certificate out of date",
        at: Place::Certificate(Certificate::Expired),
    },
    Fault {
        name: "split-records",
        what: "TLS records come byte by byte",
        at: Place::Greeting(|| Greeting::TlsByteByByte),
    },
    Fault {
        name: "small-records",
        what: "each byte in a TLS record of its own",
        at: Place::Answer(|strike| vec![Step::SendInRecordsOfOne(strike.good.to_vec())]),
    },
    Fault { name: "slow-head", what: "no answer", at: Place::Answer(|_| vec![Step::Silence]) },
    Fault {
        name: "stopped-body",
        what: "the body stops in the middle",
        at: Place::Answer(|strike| vec![Step::Send(half(strike.good)), Step::Silence]),
    },
    Fault {
        name: "dripping-body",
        what: "the body comes a byte a second",
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
        what: "the stream ends without TLS's leave",
        at: Place::Answer(|strike| {
            let fields = format!("{JSON}Connection: close\r\n");
            vec![Step::Send(with_fields(&fields, body(strike.good))), Step::Cut]
        }),
    },
    Fault {
        name: "oversize",
        what: "a body of 4 MiB and a byte",
        at: Place::Answer(|_| vec![Step::Send(in_chunks(&vec![b' '; TOO_LONG], 16_000))]),
    },
    Fault {
        name: "oversize-length",
        what: "a Content-Length of 4 MiB and a byte",
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
        what: "gzip that nobody asked for",
        at: Place::Answer(|_| {
            let fields = format!("{JSON}Content-Encoding: gzip\r\nContent-Length: 3\r\n");
            vec![Step::Send(with_fields(&fields, b"\x1f\x8b\x08"))]
        }),
    },
    Fault {
        name: "bad-json",
        what: "JSON that breaks off",
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
        what: "a kept connection is closed as it is used",
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

/// An error of either interface, with header fields besides.
fn refused(api: Api, error: &Error, legacy: &str, fields: &str) -> Vec<u8> {
    match api {
        Api::New => error.response(fields),
        Api::Legacy => response("200 OK", fields, &legacy_text(&refusal(legacy, error.message))),
    }
}

/// The head of a response, and half of what is behind it.
fn half(response: &[u8]) -> Vec<u8> {
    let behind = body(response).len();
    response[..response.len() - behind / 2].to_vec()
}
