//! The operations of a server, as they arrive.
//!
//! ```text
//!   INFO {...}                                    MSG subject sid [reply] size
//!   PING   PONG   +OK   -ERR 'text'               HMSG subject sid [reply] header total
//! ```
//!
//! In: the bytes of a connection that were not taken yet, split anywhere. Out: one [`ServerOp`], which borrows them. `size`
//! or `total` bytes and CR LF follow a MSG or HMSG; the first `header` bytes are the headers. A message longer than the
//! reader's limit is delivered without its payload, and the reader then counts the bytes that it skips. So the caller
//! never has to keep more than a line and a payload, and the result is the same for any chunking.
//!
//! As lenient as the servers themselves: a verb in lower case, several blanks or tabs, a lone LF behind a line; in a message,
//! control characters in the subject, and headers of any form, because any client may have published it. A payload needs
//! CR LF, because otherwise everything behind it would be misread.
//!
//! Source: docs.nats.io, "Client Protocol".

use super::{NatsError, NatsHeaders, number};

/// Longest INFO in bytes, with its line end. A cluster of many servers has a long one.
const INFO_BYTES_MAX: usize = 64 << 10;

/// Longest other line in bytes: servers accept 4,096 bytes of arguments, and add the verb and the sid.
const LINE_BYTES_MAX: usize = 4_352;

/// One operation of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerOp<'d> {
    /// `INFO`: its JSON, for [`ServerInfo::parse`](super::ServerInfo::parse). It may come at any time.
    Info(&'d [u8]),
    /// `MSG` or `HMSG`.
    Msg(Delivery<'d>),
    /// `PING`, to be answered with [`PONG`](super::PONG).
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR`: its text without the quotes.
    Err(&'d [u8]),
}

/// A message of a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery<'d> {
    /// The subject that it was published to.
    pub subject: &'d [u8],
    /// The number of the subscription.
    pub sid: u64,
    /// The subject for an answer; empty if there is none. A consumer's delivery has one that
    /// [`AckSubject`](super::AckSubject) parses.
    pub reply: &'d [u8],
    /// Its headers; empty if there are none, or if they alone are too long.
    pub headers: NatsHeaders<'d>,
    /// The payload; `None` if it and the headers are too long together.
    pub payload: Option<&'d [u8]>,
}

/// Reads operations from the bytes of a connection.
#[derive(Clone, Debug)]
pub struct NatsReader {
    /// Longest payload, with its headers, that is delivered.
    payload_max: usize,
    /// The bytes still to be skipped, with the CR LF behind them.
    skipping: usize,
}

impl NatsReader {
    /// Creates a reader that skips a payload if it has more than `payload_max` bytes together with its headers.
    pub fn new(payload_max: usize) -> NatsReader {
        NatsReader { payload_max, skipping: 0 }
    }

    /// Reads the first operation of `data`, the bytes that were not taken yet. Returns the number of bytes taken, and the
    /// operation. Without an operation it needs more bytes; it may have taken bytes that it skips.
    ///
    /// # Errors
    ///
    /// The bytes are no operation. The connection cannot be used any more.
    pub fn read<'d>(&mut self, data: &'d [u8]) -> Result<(usize, Option<ServerOp<'d>>), NatsError> {
        let skipped = self.skip(data)?;
        let data = &data[skipped..];
        if self.skipping > 0 {
            return Ok((skipped, None));
        }
        let is_info = data.len() > 4 && is_verb(&data[..4], b"INFO") && is_blank(&data[4]);
        let limit = if is_info { INFO_BYTES_MAX } else { LINE_BYTES_MAX };
        let Some(end) = memchr::memchr(b'\n', &data[..data.len().min(limit)]) else {
            return match data.len() < limit {
                true => Ok((skipped, None)),
                false => Err(NatsError::new(format!("a line has more than {limit} bytes"))),
            };
        };
        let (line, behind) = (&data[..end], &data[end + 1..]);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (verb, arguments) = line.split_at(line.iter().position(is_blank).unwrap_or(line.len()));
        let op = match verb.len() {
            3 | 4 if is_verb(verb, b"MSG") || is_verb(verb, b"HMSG") => {
                let message = self.message(arguments, verb.len() == 4, behind)?;
                let Some((taken, delivery)) = message else { return Ok((skipped, None)) };
                return Ok((skipped + end + 1 + taken, Some(ServerOp::Msg(delivery))));
            }
            _ if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => {
                return Err(NatsError::new("a line contains a control character"));
            }
            _ if is_verb(verb, b"PING") => ServerOp::Ping,
            _ if is_verb(verb, b"PONG") => ServerOp::Pong,
            _ if is_verb(verb, b"INFO") => ServerOp::Info(arguments.trim_ascii()),
            _ if is_verb(verb, b"+OK") => ServerOp::Ok,
            _ if is_verb(verb, b"-ERR") => {
                let text = arguments.trim_ascii();
                let quoted = text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'"));
                ServerOp::Err(quoted.unwrap_or(text))
            }
            _ => return Err(NatsError::new("a line has an unknown verb; is this a NATS server?")),
        };
        Ok((skipped + end + 1, Some(op)))
    }

    /// Takes what is still to be skipped from the start of `data`; returns the number of bytes.
    fn skip(&mut self, data: &[u8]) -> Result<usize, NatsError> {
        let taken = self.skipping.saturating_sub(CRLF.len()).min(data.len());
        self.skipping -= taken;
        match data[taken..].get(..CRLF.len()) {
            Some(end) if self.skipping == CRLF.len() => {
                check_end(end)?;
                self.skipping = 0;
                Ok(taken + CRLF.len())
            }
            _ => Ok(taken),
        }
    }

    /// Reads the message whose arguments these are from `behind` its line. Returns the number of bytes taken from there;
    /// `None` if it is not complete.
    fn message<'d>(
        &mut self,
        arguments: &'d [u8],
        has_headers: bool,
        behind: &'d [u8],
    ) -> Result<Option<(usize, Delivery<'d>)>, NatsError> {
        let invalid = || NatsError::new("the arguments of a message are invalid");
        let (mut found, mut count) = ([&[][..]; 5], 0);
        for argument in arguments.split(is_blank).filter(|argument| !argument.is_empty()) {
            *found.get_mut(count).ok_or_else(invalid)? = argument;
            count += 1;
        }
        let none = &b"0"[..];
        let (subject, sid, reply, header, total) = match (has_headers, &found[..count]) {
            (false, [subject, sid, total]) => (subject, sid, &[][..], none, total),
            (false, [subject, sid, reply, total]) => (subject, sid, *reply, none, total),
            (true, [subject, sid, header, total]) => (subject, sid, &[][..], *header, total),
            (true, [subject, sid, reply, header, total]) => (subject, sid, *reply, *header, total),
            _ => return Err(invalid()),
        };
        let size = |text| number(text).and_then(|size| usize::try_from(size).ok());
        let sid = number(sid).ok_or_else(invalid)?;
        let (header, total) = size(header).zip(size(total)).ok_or_else(invalid)?;
        let with_end = total.checked_add(CRLF.len()).filter(|_| header <= total);
        let with_end = with_end.ok_or_else(invalid)?;
        let is_kept = total <= self.payload_max;
        let kept = match is_kept {
            true => with_end,
            false if header <= self.payload_max => header,
            false => 0,
        };
        let Some(bytes) = behind.get(..kept) else { return Ok(None) };
        let headers = NatsHeaders(&bytes[..header.min(kept)]);
        let payload = if is_kept {
            check_end(&bytes[total..])?;
            Some(&bytes[header..total])
        } else {
            self.skipping = with_end - kept;
            None
        };
        Ok(Some((kept, Delivery { subject, sid, reply, headers, payload })))
    }
}

/// What follows a payload.
const CRLF: &[u8] = b"\r\n";

fn check_end(end: &[u8]) -> Result<(), NatsError> {
    match end == CRLF {
        true => Ok(()),
        false => Err(NatsError::new("no CR LF follows a payload of the announced size")),
    }
}

fn is_verb(text: &[u8], verb: &[u8]) -> bool {
    text.eq_ignore_ascii_case(verb)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAYLOAD_MAX: usize = 64;

    /// Reads `pieces` as a connection does, which keeps what was not taken. Returns the operations as text, and the error.
    fn read(pieces: &[&[u8]]) -> (Vec<String>, Option<NatsError>) {
        let (mut reader, mut kept, mut ops) =
            (NatsReader::new(PAYLOAD_MAX), Vec::new(), Vec::new());
        for piece in pieces {
            kept.extend_from_slice(piece);
            loop {
                let taken = match reader.read(&kept) {
                    Ok((taken, op)) => {
                        ops.extend(op.map(|op| format!("{op:?}")));
                        if op.is_none() {
                            kept.drain(..taken);
                            break;
                        }
                        taken
                    }
                    Err(error) => return (ops, Some(error)),
                };
                kept.drain(..taken);
            }
            assert!(kept.len() < INFO_BYTES_MAX + PAYLOAD_MAX);
        }
        (ops, None)
    }

    fn one(data: &[u8]) -> ServerOp<'_> {
        let (taken, op) = NatsReader::new(PAYLOAD_MAX).read(data).unwrap();
        assert_eq!(taken, data.len());
        op.unwrap()
    }

    fn delivery(data: &[u8]) -> Delivery<'_> {
        match one(data) {
            ServerOp::Msg(delivery) => delivery,
            other => panic!("{other:?}"),
        }
    }

    const ALL: &[u8] = b"INFO {\"version\":\"2.9.10\"} \r\nPING\r\nPONG\r\n+OK\r\n-ERR 'Stale Connection'\r\n\
        MSG a.b 7 2\r\nhi\r\nMSG a 7 _INBOX.x 0\r\n\r\nHMSG a 7 12 14\r\nNATS/1.0\r\n\r\nhi\r\n\
        HMSG a 8 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\n\
        MSG long 9 65\r\n0123456789012345678901234567890123456789012345678901234567890123\n\r\n\
        HMSG long 9 r 12 90\r\nNATS/1.0\r\n\r\n012345678901234567890123456789012345678901234567890123456789012345678901234567\r\n\
        HMSG long 9 77 78\r\nNATS/1.0\r\nA: 2345678901234567890123456789012345678901234567890123456789012345x\r\n\
        PING\r\n";

    #[test]
    fn each_operation_is_read() {
        assert_eq!(one(b"INFO {\"a\":1} \r\n"), ServerOp::Info(b"{\"a\":1}"));
        assert_eq!(one(b"PING\r\n"), ServerOp::Ping);
        assert_eq!(one(b"PONG\r\n"), ServerOp::Pong);
        assert_eq!(one(b"+OK\r\n"), ServerOp::Ok);
        assert_eq!(one(b"-ERR 'Stale Connection'\r\n"), ServerOp::Err(b"Stale Connection"));
        assert_eq!(one(b"-ERR\r\n"), ServerOp::Err(b""));
        let plain = delivery(b"MSG a.b 7 2\r\nhi\r\n");
        assert_eq!((plain.subject, plain.sid, plain.reply), (&b"a.b"[..], 7, &b""[..]));
        assert_eq!((plain.headers, plain.payload), (NatsHeaders(b""), Some(&b"hi"[..])));
        assert_eq!(delivery(b"MSG a 7 r 0\r\n\r\n").reply, b"r");
        let headed = delivery(b"HMSG a 7 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!((headed.reply, headed.headers.0), (&b"r"[..], &b"NATS/1.0\r\n\r\n"[..]));
        assert_eq!(headed.payload, Some(&b"hi"[..]));
        assert_eq!(
            delivery(b"MSG a 7 6\r\n\0\r\n\xff\r\n\r\n").payload,
            Some(&b"\0\r\n\xff\r\n"[..])
        );
    }

    #[test]
    fn a_server_may_write_small_letters_tabs_and_bare_line_feeds() {
        assert_eq!(one(b"ping\n"), ServerOp::Ping);
        assert_eq!(one(b"info\t{} \n"), ServerOp::Info(b"{}"));
        let delivery = delivery(b"msg  a\t 7  2 \nhi\r\n");
        assert_eq!((delivery.subject, delivery.sid), (&b"a"[..], 7));
        assert_eq!(delivery.payload, Some(&b"hi"[..]));
    }

    #[test]
    fn every_cut_gives_the_same_operations() {
        let (whole, error) = read(&[ALL]);
        assert_eq!((whole.len(), error), (13, None));
        for at in 0..=ALL.len() {
            assert_eq!(read(&[&ALL[..at], &ALL[at..]]), (whole.clone(), None), "cut at {at}");
        }
        let bytes: Vec<_> = ALL.chunks(1).collect();
        assert_eq!(read(&bytes), (whole, None));
    }

    #[test]
    fn what_is_too_long_is_delivered_without_its_payload() {
        for (data, headers) in [
            ("MSG a 7 r 65\r\n", ""),
            ("HMSG a 7 r 12 65\r\nNATS/1.0\r\n\r\n", "NATS/1.0\r\n\r\n"),
            ("HMSG a 7 r 65 65\r\n", ""),
        ] {
            let mut reader = NatsReader::new(PAYLOAD_MAX);
            let (taken, op) = reader.read(data.as_bytes()).unwrap();
            assert_eq!(taken, data.len());
            let headers = NatsHeaders(headers.as_bytes());
            let expected = Delivery { subject: b"a", sid: 7, reply: b"r", headers, payload: None };
            assert_eq!(op, Some(ServerOp::Msg(expected)), "{data}");
            let rest = 65 - headers.0.len();
            assert_eq!(reader.read(&vec![b'x'; rest]), Ok((rest, None)));
            assert_eq!(reader.read(b"\r"), Ok((0, None)));
            assert_eq!(reader.read(b"\r\nPING\r\n"), Ok((8, Some(ServerOp::Ping))));
        }
        assert!(
            delivery(&[&b"MSG a 7 64\r\n"[..], &[b'x'; 64], b"\r\n"].concat()).payload.is_some()
        );
    }

    #[test]
    fn what_another_client_has_published_is_delivered_whatever_its_subject_and_headers() {
        let odd = delivery(b"MSG $KV.herd.a\x01\r\x7f 7 1\r\nx\r\n");
        assert_eq!((odd.subject, odd.payload), (&b"$KV.herd.a\x01\r\x7f"[..], Some(&b"x"[..])));
        let odd = delivery(b"HMSG a 7 12 13\r\nHTTP/1.0\r\n\r\nx\r\n");
        assert_eq!((odd.headers.status(), odd.headers.is_marker()), (None, false));
        assert_eq!(odd.payload, Some(&b"x"[..]));
    }

    #[test]
    fn what_is_no_operation_is_an_error() {
        for data in [
            &b"\r\n"[..],
            b" PING\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"PUB a 0\r\n\r\n",
            b"PIN\0G\r\n",
            b"INFO {\x1b}\r\n",
            b"MSG\r\n",
            b"MSG a 0\r\n",
            b"MSG a 7 r x 0\r\n\r\n",
            b"MSG a 7 r x y 0\r\n\r\n",
            b"HMSG a 7 12\r\n",
            b"HMSG a 7 12 11\r\nNATS/1.0\r\n\r\n\r\n",
            b"MSG a -7 0\r\n\r\n",
            b"MSG a +7 0\r\n\r\n",
            b"MSG a 7 -1\r\n",
            b"MSG a 7 1x\r\n",
            b"MSG a 7 18446744073709551616\r\n",
            b"MSG a 7 18446744073709551615\r\n",
            b"MSG a 7 18446744073709551614\r\n",
            b"MSG a 18446744073709551616 0\r\n\r\n",
            b"MSG a 7 2\r\nhi\n",
            b"MSG a 7 2\r\nhi\n\n",
            b"MSG a 7 2\r\nhello\r\n",
        ] {
            let (mut reader, shown) = (NatsReader::new(PAYLOAD_MAX), data.escape_ascii());
            if data == b"MSG a 7 2\r\nhi\n" {
                assert_eq!(reader.read(data), Ok((0, None)), "one byte is missing");
            } else {
                let error = reader.read(data).expect_err(&shown.to_string()).to_string();
                assert!(error.len() > 20, "{error}");
            }
        }
    }

    #[test]
    fn the_end_of_a_skipped_payload_is_checked() {
        let mut reader = NatsReader::new(0);
        assert!(reader.read(b"MSG a 7 3\r\n").is_ok());
        assert_eq!(reader.read(b"abc"), Ok((3, None)));
        assert!(reader.read(b"\nP").is_err());
        // The largest size that leaves room for CR LF is counted, and nothing overflows.
        let mut reader = NatsReader::new(PAYLOAD_MAX);
        assert!(reader.read(b"MSG a 7 18446744073709551613\r\n").unwrap().1.is_some());
        assert_eq!(reader.read(&[b'x'; 100]), Ok((100, None)));
    }

    #[test]
    fn an_endless_line_is_an_error_at_its_limit() {
        let lines =
            [(&b"INFO "[..], INFO_BYTES_MAX), (b"-ERR ", LINE_BYTES_MAX), (b"", LINE_BYTES_MAX)];
        for (start, limit) in lines {
            let mut line = [start, &vec![b'x'; limit]].concat();
            line.truncate(limit);
            let mut reader = NatsReader::new(PAYLOAD_MAX);
            assert_eq!(reader.read(&line[..limit - 1]), Ok((0, None)));
            assert!(reader.read(&line).is_err());
            line[limit - 1] = b'\n';
            assert_eq!(reader.read(&line).is_ok(), !start.is_empty());
        }
    }

    /// Operations, some with faults, in any order.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let op = prop_oneof![
            Just(b"PING\r\n".to_vec()),
            Just(b"INFO {}\n".to_vec()),
            Just(b"-ERR 'x'\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..100).prop_map(|payload| {
                [format!("MSG a.b 1 r {}\r\n", payload.len()).as_bytes(), &payload, b"\r\n"]
                    .concat()
            }),
            prop::collection::vec(any::<u8>(), 0..100).prop_map(|payload| {
                let head = format!("HMSG a 1 12 {}\r\nNATS/1.0\r\n\r\n", payload.len() + 12);
                [head.as_bytes(), &payload, b"\r\n"].concat()
            }),
            (0..20_u8, 0..20_u8, any::<[u8; 9]>()).prop_map(|(a, b, rest)| [
                format!("HMSG a 1 {a} {b}\r\n").as_bytes(),
                &rest
            ]
            .concat()),
        ];
        prop::collection::vec(op, 0..8).prop_map(|ops| ops.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_operations(stream in stream(), sizes in prop::collection::vec(1..40_usize, 1..20)) {
            let (mut rest, mut pieces) = (&stream[..], Vec::new());
            for size in sizes.iter().cycle() {
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                if piece.is_empty() {
                    break;
                }
                pieces.push(piece);
                rest = behind;
            }
            prop_assert_eq!(read(&pieces), read(&[&stream]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, line in "(MSG|HMSG|msg) [a 0-9\t]{0,12}\r\n[ab\r\n]{0,9}") {
            read(&[&bytes]);
            read(&[line.as_bytes(), &bytes]);
        }
    }
}
