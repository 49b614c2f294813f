//! Reads what a client sends, strictly. It is independent of the program's own reader and writer.
//!
//! Source: nats-server, server/parser.go; https://docs.nats.io/reference/reference-protocols/nats-protocol.

/// The longest arguments of an operation, in bytes: `max_control_line`.
const CONTROL_LINE_MAX: usize = 4_096;

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOp {
    Connect(Vec<u8>),
    /// `headers` is empty for a PUB.
    Pub {
        subject: Vec<u8>,
        reply: Vec<u8>,
        headers: Vec<u8>,
        payload: Vec<u8>,
    },
    Sub {
        subject: Vec<u8>,
        sid: Vec<u8>,
    },
    Unsub {
        sid: Vec<u8>,
        max: Option<u64>,
    },
    Ping,
    Pong,
}

/// A fault that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server says `-ERR` with this text.
    Told(&'static str),
    /// The server closes without a word.
    Untold(&'static str),
}

const UNKNOWN: Fault = Fault::Told("Unknown Protocol Operation");

/// A PUB or HPUB whose payload is still to come.
#[derive(Clone, Debug)]
struct Announced {
    subject: Vec<u8>,
    reply: Vec<u8>,
    header: usize,
    total: usize,
}

/// The bytes of a client that are not read yet.
#[derive(Debug, Default)]
pub struct ClientReader {
    kept: Vec<u8>,
    taken: usize,
    announced: Option<Announced>,
}

impl ClientReader {
    pub fn push(&mut self, data: &[u8]) {
        self.kept.drain(..std::mem::take(&mut self.taken));
        self.kept.extend_from_slice(data);
    }

    /// The next operation, if all of it is there. A payload may have `max_payload` bytes.
    pub fn next(&mut self, max_payload: usize) -> Result<Option<ClientOp>, Fault> {
        if let Some(announced) = self.announced.take() {
            return self.payload(announced);
        }
        let rest = &self.kept[self.taken..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return match rest {
                [first, ..] if !b"cphsuCPHSU".contains(first) => Err(UNKNOWN),
                _ if rest.len() > CONTROL_LINE_MAX + 10 => {
                    Err(Fault::Told("maximum control line exceeded"))
                }
                _ => Ok(None),
            };
        };
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).to_vec();
        self.taken += end + 1;
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let split = line.iter().position(blank).unwrap_or(line.len());
        let verb = line[..split].to_ascii_uppercase();
        let args = line[split..].trim_ascii();
        let is_connect = verb == b"CONNECT";
        if args.len() > CONTROL_LINE_MAX && !is_connect {
            return Err(Fault::Told("maximum control line exceeded"));
        }
        let words: Vec<&[u8]> =
            args.split(blank).filter(|word| !word.is_empty() && !is_connect).collect();
        let op = match (&verb[..], &words[..]) {
            (b"CONNECT", _) => ClientOp::Connect(args.to_vec()),
            (b"PING", []) => ClientOp::Ping,
            (b"PONG", []) => ClientOp::Pong,
            (b"SUB", [subject, sid] | [subject, _, sid]) => {
                ClientOp::Sub { subject: subject.to_vec(), sid: sid.to_vec() }
            }
            (b"UNSUB", [sid]) => ClientOp::Unsub { sid: sid.to_vec(), max: None },
            (b"UNSUB", [sid, max]) => {
                ClientOp::Unsub { sid: sid.to_vec(), max: Some(number(max)? as u64) }
            }
            (b"PUB", [subject, size]) => {
                return self.announce(subject, b"", b"0", size, max_payload);
            }
            (b"PUB", [subject, reply, size]) => {
                return self.announce(subject, reply, b"0", size, max_payload);
            }
            (b"HPUB", [subject, header, size]) => {
                return self.announce(subject, b"", header, size, max_payload);
            }
            (b"HPUB", [subject, reply, header, size]) => {
                return self.announce(subject, reply, header, size, max_payload);
            }
            (b"PING" | b"PONG" | b"SUB" | b"UNSUB" | b"PUB" | b"HPUB", _) => {
                return Err(Fault::Untold("wrong number of arguments"));
            }
            _ => return Err(UNKNOWN),
        };
        Ok(Some(op))
    }

    fn announce(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        header: &[u8],
        total: &[u8],
        max_payload: usize,
    ) -> Result<Option<ClientOp>, Fault> {
        let (header, total) = (number(header)?, number(total)?);
        if total > max_payload {
            return Err(Fault::Told("Maximum Payload Violation"));
        }
        if header > total {
            return Err(Fault::Untold("header longer than total"));
        }
        self.payload(Announced { subject: subject.to_vec(), reply: reply.to_vec(), header, total })
    }

    fn payload(&mut self, announced: Announced) -> Result<Option<ClientOp>, Fault> {
        let rest = &self.kept[self.taken..];
        let total = announced.total;
        match rest.get(total..) {
            Some([b'\r', b'\n', ..]) => {}
            None | Some([] | [b'\r']) => {
                self.announced = Some(announced);
                return Ok(None);
            }
            Some(_) => return Err(UNKNOWN),
        }
        let (headers, payload) = rest[..total].split_at(announced.header);
        if !headers.is_empty() && !is_header_block(headers) {
            return Err(Fault::Untold("not a header block"));
        }
        let Announced { subject, reply, .. } = announced;
        let (headers, payload) = (headers.to_vec(), payload.to_vec());
        self.taken += total + 2;
        Ok(Some(ClientOp::Pub { subject, reply, headers, payload }))
    }
}

fn number(word: &[u8]) -> Result<usize, Fault> {
    let text = std::str::from_utf8(word).ok().filter(|text| text.len() <= 9);
    text.and_then(|text| text.parse().ok()).ok_or(Fault::Untold("not a number"))
}

/// Whether these are the version and whole fields. The real server does not look.
fn is_header_block(headers: &[u8]) -> bool {
    let Some(fields) = headers.strip_prefix(b"NATS/1.0\r\n") else { return false };
    let Some(fields) = fields.strip_suffix(b"\r\n") else { return false };
    fields.is_empty()
        || fields.strip_suffix(b"\r\n").is_some_and(|fields| {
            let text = String::from_utf8_lossy(fields);
            text.split("\r\n").all(|field| field.split_once(": ").is_some())
        })
}

/// The value of the field with exactly this name; an empty one counts as none, as at the real server.
pub fn field<'h>(headers: &'h [u8], name: &str) -> Option<&'h str> {
    let text = std::str::from_utf8(headers).ok()?;
    let fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(its, _)| *its == name).map(|(_, value)| value.trim());
    values.next().filter(|value| !value.is_empty())
}
