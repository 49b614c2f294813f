//! What JetStream answers.
//!
//! In: a [`Delivery`] to our inbox. Out: the state of a stream or a consumer, the fate of a put, a stored line; or an
//! [`ApiError`]. An answer is JSON, whose member `error` says what failed, or headers with a status and no payload: 503 if
//! nobody listens to the request's subject.
//!
//! One table (`ApiError::judgement`) says of each error whether a put is worth repeating soon, and what the operator can
//! do. An unknown error is temporary unless its code is 400 to 499, because a put that is repeated in vain costs less than
//! a report that never reaches the bucket.
//!
//! Source: nats-server, `server/errors.json`.

use super::{Delivery, NatsHeaders, number};
use crate::log::Escaped;
use crate::places::Json;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::fmt;

/// The last sequence of a key is not the expected one; of the two codes only the first comes with the actual sequence.
const WRONG_LAST_SEQUENCE: u32 = 10_071;
const WRONG_LAST_SEQUENCE_OF_CLUSTER: u32 = 10_164;

/// The key has no message.
const NO_MESSAGE: u32 = 10_037;

/// Longest description that is kept, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 256;

/// The state of a stream that can be the herd's bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamState {
    /// When it was made, as the server writes it. A stream made anew has another text.
    pub created: String,
    /// The sequence of its last message.
    pub last_sequence: u64,
    /// The number of its messages: one for each key.
    pub messages: u64,
    /// The number of servers that store it.
    pub replicas: u8,
}

/// The state of a new consumer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConsumerState {
    /// The number of messages that it will deliver: a hint.
    pub pending: u64,
}

/// The answer to a put.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PutReply {
    /// It is stored under this sequence.
    Stored(u64),
    /// The key's last sequence is another one: this one, if the server says it. Nothing was written.
    Conflict(Option<u64>),
    /// The server cannot write now, or its answer makes no sense. Pause all puts, then repeat this one.
    Later(ApiError),
    /// The server refuses this put, and will refuse it again soon. Tell the log.
    Refused(ApiError),
}

/// The last message of a key, from the leader of its stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaderMessage {
    /// Its sequence.
    pub sequence: u64,
    /// Its payload.
    pub line: Vec<u8>,
    /// Whether it marks a deleted key.
    pub is_marker: bool,
}

/// What the reply subject of a consumer's delivery says about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AckSubject {
    /// The sequence in the stream, which a put expects.
    pub stream_sequence: u64,
    /// The sequence in the consumer: 1 more than that of the delivery before, or there is a gap.
    pub consumer_sequence: u64,
    /// When the message was stored, in nanoseconds since 1970, of the server's clock.
    pub time: u64,
    /// The number of messages that wait behind it: a hint.
    pub pending: u64,
}

/// An error of JetStream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// The status, as in HTTP; 0 if the answer makes no sense.
    pub code: u16,
    /// JetStream's own code; 0 if there is none.
    pub err_code: u32,
    /// The server's words, escaped, or ours about its answer.
    pub description: String,
}

impl StreamState {
    /// Parses the answer about a stream.
    ///
    /// # Errors
    ///
    /// JetStream's error; or the stream is a mirror, is sealed, or lacks the subjects of its bucket.
    pub fn parse(delivery: &Delivery<'_>) -> Result<StreamState, ApiError> {
        let names = ["error", "config", "state", "created"];
        let [_, config, state, created] = answer(delivery, names)?;
        let names = ["name", "subjects", "mirror", "sealed", "num_replicas", "retention", "no_ack"];
        let [name, subjects, mirror, sealed, replicas, retention, no_ack] = config.members(names);
        let [last_sequence, messages] = state.members(["last_seq", "messages"]);
        let (name, created) = (name.text().unwrap_or_default(), created.text());
        let numbers = last_sequence.parse().zip(messages.parse());
        let Some((created, (last_sequence, messages))) = created.zip(numbers) else {
            return Err(ApiError::of_ours("the answer does not describe a stream"));
        };
        let bucket = name.strip_prefix("KV_").unwrap_or_default();
        let (mut has_subjects, keys) = (false, format!("$KV.{bucket}.>"));
        subjects
            .each_item(|subject| has_subjects |= subject.text().is_some_and(|text| text == keys));
        let fault = if mirror.is_object() {
            "is a mirror of another one"
        } else if sealed.parse() == Some(true) {
            "is sealed"
        } else if retention.text().is_some_and(|text| text != "limits") {
            "does not keep its messages (retention)"
        } else if no_ack.parse() == Some(true) {
            "does not acknowledge writes (no_ack)"
        } else if !has_subjects {
            "is not a key-value bucket"
        } else {
            return Ok(StreamState {
                created: created.into_owned(),
                last_sequence,
                messages,
                replicas: replicas.parse().unwrap_or(1),
            });
        };
        let name = printable(name.as_bytes());
        Err(ApiError::of_ours(format!("the stream {name} {fault}; choose another bucket in [bus]")))
    }
}

impl ConsumerState {
    /// Parses the answer about a new consumer.
    ///
    /// # Errors
    ///
    /// JetStream's error.
    pub fn parse(delivery: &Delivery<'_>) -> Result<ConsumerState, ApiError> {
        let [_, pending] = answer(delivery, ["error", "num_pending"])?;
        let pending = pending.parse();
        let pending =
            pending.ok_or_else(|| ApiError::of_ours("the answer does not describe a consumer"))?;
        Ok(ConsumerState { pending })
    }
}

impl PutReply {
    /// Parses the answer to a put.
    pub fn parse(delivery: &Delivery<'_>) -> PutReply {
        match answer(delivery, ["error", "seq"]) {
            Ok([_, sequence]) => match sequence.parse() {
                Some(sequence @ 1..) => PutReply::Stored(sequence),
                _ => PutReply::Later(ApiError::of_ours("the answer to a put has no sequence")),
            },
            Err(error) if error.err_code == WRONG_LAST_SEQUENCE => {
                let last = error.description.rsplit(' ').next().unwrap_or_default();
                PutReply::Conflict(number(last.as_bytes()))
            }
            Err(error) if error.err_code == WRONG_LAST_SEQUENCE_OF_CLUSTER => {
                PutReply::Conflict(None)
            }
            Err(error) if error.passes() => PutReply::Later(error),
            Err(error) => PutReply::Refused(error),
        }
    }
}

impl LeaderMessage {
    /// Parses the leader's answer; `None` if the key has no message.
    ///
    /// # Errors
    ///
    /// JetStream's error.
    pub fn parse(delivery: &Delivery<'_>) -> Result<Option<LeaderMessage>, ApiError> {
        let message = match answer(delivery, ["error", "message"]) {
            Err(error) if error.err_code == NO_MESSAGE => return Ok(None),
            answer => answer?[1],
        };
        let [sequence, data, headers] = message.members(["seq", "data", "hdrs"]);
        let decoded =
            |json: Json<'_>| BASE64_STANDARD.decode(&*json.text().unwrap_or_default()).ok();
        let message = sequence.parse().zip(decoded(data)).zip(decoded(headers));
        let ((sequence, line), headers) =
            message.ok_or_else(|| ApiError::of_ours("the answer has no valid message"))?;
        Ok(Some(LeaderMessage { sequence, line, is_marker: NatsHeaders(&headers).is_marker() }))
    }
}

impl AckSubject {
    /// Parses the reply subject of a consumer's delivery: `$JS.ACK`, the stream, the consumer, the number of deliveries, and
    /// the four fields. In its newer form a domain and an account follow `$JS.ACK`, and more may follow at the end.
    pub fn parse(reply: &[u8]) -> Option<AckSubject> {
        let tokens = reply.strip_prefix(b"$JS.ACK.")?.split(|byte| *byte == b'.');
        let before = match tokens.clone().count() {
            7 => 3,
            9.. => 5,
            _ => return None,
        };
        let mut numbers = tokens.skip(before).map(number);
        let mut next = || numbers.next().flatten();
        Some(AckSubject {
            stream_sequence: next()?,
            consumer_sequence: next()?,
            time: next()?,
            pending: next()?,
        })
    }
}

/// Returns the members with these names of an answer; the first must be `error`.
fn answer<'d, const N: usize>(
    delivery: &Delivery<'d>,
    names: [&str; N],
) -> Result<[Json<'d>; N], ApiError> {
    debug_assert_eq!(names[0], "error");
    let payload = delivery.payload.ok_or_else(|| ApiError::of_ours("the answer is too long"))?;
    if let Some(code) = delivery.headers.status().filter(|_| payload.is_empty()) {
        let description = printable(delivery.headers.description());
        return Err(ApiError { code, err_code: 0, description });
    }
    let members = match Json::members_of(payload, names) {
        Ok(members) => members.ok_or_else(|| ApiError::of_ours("the answer is no JSON object"))?,
        Err(fault) => return Err(ApiError::of_ours(format!("the answer is no JSON: {}", fault.0))),
    };
    if !members[0].is_object() {
        return Ok(members);
    }
    let [code, err_code, description] = members[0].members(["code", "err_code", "description"]);
    Err(ApiError {
        code: code.parse().unwrap_or(0),
        err_code: err_code.parse().unwrap_or(0),
        description: printable(description.text().unwrap_or_default().as_bytes()),
    })
}

/// A text of the server, escaped and cut, so that it can be logged.
fn printable(text: &[u8]) -> String {
    match &text[..text.len().min(DESCRIPTION_BYTES_MAX)] {
        [] => "no description".to_owned(),
        text => Escaped(text).to_string(),
    }
}

impl ApiError {
    /// An error that our side found in an answer.
    fn of_ours(description: impl Into<String>) -> ApiError {
        ApiError { code: 0, err_code: 0, description: description.into() }
    }

    /// What the operator can do about it, if anything.
    pub fn remedy(&self) -> Option<&'static str> {
        self.judgement().1
    }

    /// Whether it may pass by itself, soon.
    pub fn passes(&self) -> bool {
        self.judgement().0
    }

    /// Whether the same request may succeed soon, and the remedy.
    fn judgement(&self) -> (bool, Option<&'static str>) {
        let (is_temporary, remedy) = match self.err_code {
            0 if self.code == 503 => {
                (true, "check that JetStream and the stream are there, and have a leader")
            }
            0 => return (true, None),
            10_014 | 10_167 => return (true, None),
            10_008 | 10_009 | 10_023 | 10_118 => {
                (true, "check that a majority of the NATS servers runs, with room on their disks")
            }
            10_059 => (true, "let the login make the bucket, or make it with \"nats kv add\""),
            10_077 => {
                (true, "remove max_bytes and max_msgs from the stream, or give its store more room")
            }
            10_002 | 10_028 | 10_047 => {
                (false, "raise the limits of JetStream, or those of the account")
            }
            10_039 | 10_076 => (false, "enable JetStream on the server (-js) and for the account"),
            10_026 => (false, "raise max_consumers of the stream"),
            10_054 => (false, "raise max_msg_size of the stream"),
            10_058 | 10_065 => {
                (false, "another stream is in the way: choose another bucket in [bus]")
            }
            10_074 => (false, "set replicas = 1 in [bus], or use a cluster of NATS servers"),
            10_025 | 10_052 | 10_056 => (false, "compare [bus] with what the NATS server allows"),
            _ => return (!(400..500).contains(&self.code), None),
        };
        (is_temporary, Some(remedy))
    }
}

/// Prints the description with the codes, such as `insufficient resources (503/10023)`, in one line.
impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApiError { code, err_code, description } = self;
        match (code, err_code) {
            (0, 0) => f.write_str(description),
            (503, 0) => write!(f, "nobody answers (503)"),
            (_, 0) => write!(f, "{description} ({code})"),
            _ => write!(f, "{description} ({code}/{err_code})"),
        }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delivery<'d>(headers: &'d str, payload: &'d [u8]) -> Delivery<'d> {
        let headers = NatsHeaders(headers.as_bytes());
        Delivery { subject: b"_INBOX.a", sid: 1, reply: b"", headers, payload: Some(payload) }
    }

    fn put(payload: &str) -> PutReply {
        PutReply::parse(&delivery("", payload.as_bytes()))
    }

    fn error(code: u16, err_code: u32) -> String {
        format!(
            r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"says the server"}},"stream":"KV_herd","seq":0}}"#
        )
    }

    #[test]
    fn an_acknowledged_put_has_its_sequence_in_the_words_of_both_versions() {
        assert_eq!(put(r#"{"stream":"KV_herd", "seq":12}"#), PutReply::Stored(12));
        assert_eq!(put(r#"{"stream":"KV_herd","seq":12}"#), PutReply::Stored(12));
        assert_eq!(put(r#"{"seq":13,"domain":"hub","duplicate":false}"#), PutReply::Stored(13));
    }

    #[test]
    fn two_codes_mean_a_conflict_and_one_names_the_sequence() {
        let conflict = |err_code, text| {
            put(&format!(
                r#"{{"error":{{"code":400,"err_code":{err_code},"description":"{text}"}},"stream":"KV_herd","seq":0}}"#
            ))
        };
        assert_eq!(conflict(10_071, "wrong last sequence: 9"), PutReply::Conflict(Some(9)));
        assert_eq!(conflict(10_071, "wrong last sequence: x"), PutReply::Conflict(None));
        assert_eq!(conflict(10_164, "wrong last sequence"), PutReply::Conflict(None));
    }

    #[test]
    fn every_error_of_a_put_is_temporary_or_refused_and_what_a_person_can_mend_has_a_remedy() {
        for (code, err_code, is_temporary, has_remedy) in [
            (503, 10_008, true, true),
            (500, 10_009, true, true),
            (500, 10_118, true, true),
            (503, 10_023, true, true),
            (429, 10_167, true, false),
            (503, 10_077, true, true),
            (500, 10_047, false, true),
            (500, 10_028, false, true),
            (400, 10_002, false, true),
            (404, 10_059, true, true),
            (404, 10_014, true, false),
            (400, 10_058, false, true),
            (400, 10_065, false, true),
            (400, 10_056, false, true),
            (400, 10_025, false, true),
            (400, 10_052, false, true),
            (500, 10_074, false, true),
            (400, 10_054, false, true),
            (400, 10_131, false, false),
            (400, 10_108, false, false),
            (400, 10_083, false, false),
            (503, 10_039, false, true),
            (503, 10_076, false, true),
            // Codes of later versions.
            (500, 19_999, true, false),
            (400, 19_999, false, false),
        ] {
            let text = "says the server".to_owned();
            let error_of = ApiError { code, err_code, description: text };
            assert_eq!(error_of.remedy().is_some(), has_remedy, "{err_code}");
            assert_eq!(error_of.to_string(), format!("says the server ({code}/{err_code})"));
            let expected = match is_temporary {
                true => PutReply::Later(error_of),
                false => PutReply::Refused(error_of),
            };
            assert_eq!(put(&error(code, err_code)), expected);
        }
    }

    #[test]
    fn a_status_without_json_is_temporary() {
        let reply = PutReply::parse(&delivery("NATS/1.0 503\r\n\r\n", b""));
        let PutReply::Later(error) = reply else { panic!("{reply:?}") };
        assert_eq!(
            (error.code, error.err_code, error.to_string()),
            (503, 0, "nobody answers (503)".into())
        );
        assert!(error.remedy().is_some());
        // A server that is asked too often adds JSON.
        let json = error_json_429();
        let reply =
            PutReply::parse(&delivery("NATS/1.0 429 Too Many Requests\r\n\r\n", json.as_bytes()));
        assert!(
            matches!(reply, PutReply::Later(ApiError { code: 429, err_code: 10_167, .. })),
            "{reply:?}"
        );
        let reply = PutReply::parse(&delivery("NATS/1.0 429 Too Many Requests\r\n\r\n", b""));
        assert!(
            matches!(reply, PutReply::Later(ApiError { code: 429, err_code: 0, .. })),
            "{reply:?}"
        );
    }

    fn error_json_429() -> String {
        error(429, 10_167)
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_taken_for_no_refusal() {
        for payload in [
            "",
            "[]",
            "{}",
            "{\"seq\":0}",
            "{\"seq\":-1}",
            "{\"seq\":\"1\"}",
            "\0",
            "{\"error\":{}}",
        ] {
            assert!(matches!(put(payload), PutReply::Later(_)), "{payload}");
        }
        let PutReply::Later(error) = put("{\"error\":{}}") else { panic!("temporary") };
        assert_eq!(error.to_string(), "no description");
        let long = Delivery { payload: None, ..delivery("", b"") };
        assert!(matches!(PutReply::parse(&long), PutReply::Later(_)));
    }

    #[test]
    fn a_description_is_one_short_line() {
        let text = "\\n\\u001b[2J".repeat(1_000);
        let json = format!(r#"{{"error":{{"code":500,"err_code":1,"description":"{text}"}}}}"#);
        let PutReply::Later(error) = put(&json.replace("\\\\", "\\")) else { panic!("temporary") };
        let shown = error.to_string();
        assert!(shown.len() < 1_100 && !shown.contains(char::is_control), "{shown}");
    }

    /// The answer to STREAM.INFO with `config` in place of the configuration's last members.
    fn stream(config: &str) -> Result<StreamState, ApiError> {
        let json = format!(
            r#"{{"type":"io.nats.jetstream.api.v1.stream_info_response","total":0,"config":{{"name":"KV_herd",{config}}},
            "created":"2026-11-29T12:13:07.627740147Z","state":{{"messages":3,"bytes":9,"first_seq":1,"last_seq":12}},
            "cluster":{{"leader":"a"}}}}"#
        );
        StreamState::parse(&delivery("", json.as_bytes()))
    }

    #[test]
    fn a_stream_with_the_subjects_of_its_bucket_is_accepted() {
        let expected = StreamState {
            created: "2026-11-29T12:13:07.627740147Z".into(),
            last_sequence: 12,
            messages: 3,
            replicas: 3,
        };
        let config = r#""subjects":["x","$KV.herd.>"],"num_replicas":3,"allow_direct":true,"sealed":false,"new":{}"#;
        assert_eq!(stream(config), Ok(expected.clone()));
        let plain = StreamState { replicas: 1, ..expected };
        assert_eq!(stream(r#""subjects":["$KV.herd.>"]"#), Ok(plain));
    }

    #[test]
    fn a_stream_that_cannot_be_a_bucket_is_refused_with_a_remedy() {
        for (config, word) in [
            (r#""subjects":["$KV.herd.>"],"sealed":true"#, "sealed"),
            (r#""subjects":["$KV.herd.>"],"retention":"interest""#, "retention"),
            (r#""subjects":["$KV.herd.>"],"no_ack":true"#, "no_ack"),
            (r#""subjects":["$KV.herd.>"],"mirror":{"name":"KV_x"}"#, "mirror"),
            (r#""subjects":["$KV.other.>"]"#, "key-value"),
            (r#""subjects":"$KV.herd.>""#, "key-value"),
        ] {
            let error = stream(config).unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("KV_herd") && error.contains("[bus]"),
                "{error}"
            );
        }
        for payload in ["{}", "", r#"{"created":"x","state":{"messages":1}}"#] {
            assert!(StreamState::parse(&delivery("", payload.as_bytes())).is_err(), "{payload}");
        }
        let missing = error(404, 10_059);
        let missing = StreamState::parse(&delivery("", missing.as_bytes())).unwrap_err();
        assert_eq!((missing.code, missing.err_code), (404, 10_059));
    }

    #[test]
    fn a_new_consumer_says_what_waits() {
        let parse = |payload: &str| ConsumerState::parse(&delivery("", payload.as_bytes()));
        assert_eq!(
            parse(r#"{"created":"x","num_pending":100000}"#),
            Ok(ConsumerState { pending: 100_000 })
        );
        assert_eq!(parse(&error(400, 10_131)).unwrap_err().err_code, 10_131);
        assert!(parse("{}").is_err());
    }

    #[test]
    fn the_leader_has_a_line_or_a_marker_or_nothing() {
        let parse = |payload: &str| LeaderMessage::parse(&delivery("", payload.as_bytes()));
        let message = |line: &[u8], headers: &[u8]| {
            let [line, headers] = [line, headers].map(|bytes| BASE64_STANDARD.encode(bytes));
            parse(&format!(
                r#"{{"message":{{"subject":"$KV.herd.k","seq":12,"hdrs":"{headers}","data":"{line}","time":"x"}}}}"#
            ))
        };
        let found = LeaderMessage { sequence: 12, line: b"AT A\xff".to_vec(), is_marker: false };
        let put = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 7\r\n\r\n";
        assert_eq!(message(b"AT A\xff", put), Ok(Some(found)));
        let marker = LeaderMessage { sequence: 12, line: Vec::new(), is_marker: true };
        assert_eq!(message(b"", b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"), Ok(Some(marker)));
        let bare = LeaderMessage { sequence: 3, line: b"AT".to_vec(), is_marker: false };
        assert_eq!(parse(r#"{"message":{"seq":3,"data":"QVQ="}}"#), Ok(Some(bare)));
        assert_eq!(parse(&error(404, 10_037)), Ok(None));
        for payload in
            ["{}", r#"{"message":{"seq":3,"data":"Q"}}"#, r#"{"message":{"data":"QVQ="}}"#]
        {
            assert!(parse(payload).is_err(), "{payload}");
        }
        assert_eq!(parse(&error(503, 10_008)).unwrap_err().err_code, 10_008);
    }

    #[test]
    fn a_reply_subject_has_nine_tokens_or_two_more_in_front() {
        let expected = AckSubject {
            stream_sequence: 12,
            consumer_sequence: 5,
            time: 1_795_955_053_644_371_745,
            pending: 3,
        };
        let fields = "KV_herd.Alford-5f3a-1.1.12.5.1795955053644371745.3";
        for reply in [
            format!("$JS.ACK.{fields}"),
            format!("$JS.ACK._.aBcD.{fields}"),
            format!("$JS.ACK.hub.aBcD.{fields}.random"),
        ] {
            assert_eq!(AckSubject::parse(reply.as_bytes()), Some(expected), "{reply}");
        }
        for reply in [
            "",
            "$JS.ACK.",
            "$JS.FC.KV_herd.c.1.12.5.1.3",
            "$JS.ACK.KV_herd.c.1.12.5.1",
            "$JS.ACK.x.KV_herd.c.1.12.5.1.3",
            "$JS.ACK.KV_herd.c.1.-12.5.1.3",
            "$JS.ACK.KV_herd.c.1..5.1.3",
            "$JS.ACK.KV_herd.c.1.18446744073709551616.5.1.3",
        ] {
            assert_eq!(AckSubject::parse(reply.as_bytes()), None, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>, head: Vec<u8>, tokens in "[$A-C.0-9]{0,40}") {
            let headers = NatsHeaders(&head);
            let delivery = Delivery { headers, ..delivery("", &bytes) };
            let _ = (PutReply::parse(&delivery), StreamState::parse(&delivery));
            let _ = (ConsumerState::parse(&delivery), LeaderMessage::parse(&delivery));
            let _ = (AckSubject::parse(&bytes), AckSubject::parse(format!("$JS.ACK.{tokens}").as_bytes()));
        }
    }
}
