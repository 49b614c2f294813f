//! What a NATS server sends, and the texts of a login.

use super::{choice, pieces};
use places_herd::nats::{
    AckSubject, Bucket, ConsumerState, Delivery, KEY_BYTES_MAX, LeaderMessage, Login, NatsHeaders,
    NatsReader, NatsUrl, PutReply, ServerInfo, ServerOp, StreamState, write_key,
};

/// Longest payload that the reader delivers.
const PAYLOAD_MAX: usize = 300;

/// The operations and the error are the same for any chunking; no reply makes a parser panic, and no text of an error has a
/// control character. Every key is valid, and a put is read back as it was meant.
pub fn nats_server(data: &[u8]) {
    let (seed, stream) = choice(data);
    let whole = operations([stream].into_iter());
    assert_eq!(whole, operations(pieces(seed, stream)));
    let headers = NatsHeaders(stream);
    reply(&Delivery { subject: stream, sid: 0, reply: stream, headers, payload: Some(stream) });
    key(seed, stream);
    let Ok(text) = std::str::from_utf8(stream) else { return };
    if let Ok(login) = Login::parse(text) {
        assert!(format!("{login:?}").contains("***"));
    }
    if let Ok(url) = text.parse::<NatsUrl>() {
        let login = url.login.clone();
        let again: NatsUrl = url.to_string().parse().expect("a written URL is one");
        assert_eq!(NatsUrl { login, ..again }, url);
    }
}

/// Reads a stream as a connection does, which keeps what was not taken; returns the operations and the error as text.
fn operations<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> (Vec<String>, Option<String>) {
    let (mut reader, mut kept, mut found) = (NatsReader::new(PAYLOAD_MAX), Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let (taken, is_last) = match reader.read(&kept) {
                Ok((taken, None)) => (taken, true),
                Ok((taken, Some(op))) => {
                    found.push(format!("{op:?}"));
                    match op {
                        ServerOp::Msg(delivery) => reply(&delivery),
                        ServerOp::Info(json) => drop(ServerInfo::parse(json)),
                        _ => {}
                    }
                    (taken, false)
                }
                Err(error) => return (found, Some(shown(&error))),
            };
            kept.drain(..taken);
            if is_last {
                break;
            }
        }
        assert!(kept.len() < 4_352 + PAYLOAD_MAX + 2 || kept[..4].eq_ignore_ascii_case(b"INFO"));
    }
    (found, None)
}

/// Parses a delivery as every kind of reply.
fn reply(delivery: &Delivery<'_>) {
    assert!(
        delivery.payload.is_none_or(|payload| payload.len() <= PAYLOAD_MAX || delivery.sid == 0)
    );
    let headers = delivery.headers;
    let _ = (headers.status(), headers.description(), headers.is_marker());
    let errors = [
        StreamState::parse(delivery).err(),
        ConsumerState::parse(delivery).err(),
        LeaderMessage::parse(delivery).err(),
        match PutReply::parse(delivery) {
            PutReply::Stored(sequence) => {
                assert!(sequence > 0);
                None
            }
            PutReply::Conflict(_) => None,
            PutReply::Later(error) | PutReply::Refused(error) => Some(error),
        },
    ];
    for error in errors.into_iter().flatten() {
        let text = shown(&error);
        assert!(text.len() < 1_500, "{text}");
    }
    if AckSubject::parse(delivery.reply).is_some() {
        let dots = delivery.reply.iter().filter(|byte| **byte == b'.').count();
        assert!(dots == 8 || dots >= 10);
    }
}

fn shown(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    text
}

/// The key of any id is valid, and a put with it is a message with its key, its condition and its line.
fn key(seed: u8, client: &[u8]) {
    let (mut key, mut put) = (Vec::new(), Vec::new());
    write_key(client, &mut key);
    let is_token = |token: &[u8]| {
        !token.is_empty() && token.iter().all(|b| b.is_ascii_alphanumeric() || b"-/_=".contains(b))
    };
    assert!(key.len() <= KEY_BYTES_MAX && key.split(|byte| *byte == b'.').all(is_token));
    assert!(!key.starts_with(b"_"));
    let (bucket, expected) = (Bucket::new("herd").expect("it is a name"), u64::MAX >> (seed % 64));
    bucket.write_put(&mut put, &key, b"_INBOX.a.1", expected, client);
    // A server delivers a put under its own verb, and with the number of a subscription.
    let rest = put.strip_prefix(b"HPUB ").expect("a put has headers");
    let message = [&b"HMSG "[..], &key_and(rest, b" 1")].concat();
    let read = NatsReader::new(usize::MAX - 2).read(&message).expect("it is a message");
    let (taken, Some(ServerOp::Msg(delivery))) = read else { panic!("{read:?}") };
    assert_eq!((taken, delivery.payload), (message.len(), Some(client)));
    assert_eq!(bucket.key_of(delivery.subject), Some(&key[..]));
    let condition = delivery.headers.get("Nats-Expected-Last-Subject-Sequence");
    assert_eq!(condition, Some(expected.to_string().as_bytes()));
}

/// Inserts `text` behind the first word of `line`.
fn key_and(line: &[u8], text: &[u8]) -> Vec<u8> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    [&line[..end], text, &line[end..]].concat()
}
