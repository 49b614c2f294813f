//! The part of reading a reply that is common to all sources on the network.
//!
//! In: a [`Reply`]. Out: whether its body can be read as JSON, or a [`UpstreamError`]; and the [`ParsedReply`] for
//! either. It checks first the HTTP status, then the headers that describe the body, and then the source reads the
//! body.
//!
//! ```text
//!     200, 203     its content type, its encoding; then the source reads it
//!     400          INVALID_REQUEST     our request was wrong
//!     401, 403     REQUEST_DENIED
//!     429          OVER_QUERY_LIMIT    retry only after the pause that it names
//!     500, 502,
//!     503, 504     UNKNOWN_ERROR       retry soon, or after the pause that it names
//!     others       UNKNOWN_ERROR       redirections too: following one would disclose the key
//! ```
//!
//! 203 means that a proxy has changed a 200 reply (RFC 9110, section 15.3.4), for example to scan or compress it.
//! It is checked just as strictly. 206 is a partial reply, which no request asks for.
//!
//! Invariants: an answer that is a failure contains no text from the provider. The log contains, of a body, only
//! the fields that the provider documents as those of an error, scrubbed and cut; of the headers, only numbers. A
//! reply without success may contain places nevertheless.

use std::time::Duration;

use super::entry::one_line;
use super::fetch::{LOG_CHARS_MAX, ParsedReply, Reply, Retry};
use super::raw_json::NotJson;
use super::{Answer, SearchFailure};
use crate::log::secret::Secret;

/// Maximum pause. A longer one counts as this, which is too long for any deadline.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest error code in bytes. Codes are words like `PERMISSION_DENIED`. google.rpc.ErrorInfo.
const CODE_BYTES_MAX: usize = 63;

/// Why a reply contains no places.
#[derive(Debug)]
pub(super) struct UpstreamError {
    pub(super) failure: SearchFailure,
    pub(super) retry: Retry,
    /// The text for the log: our words, then the provider's, neither scrubbed nor cut.
    pub(super) log: String,
}

impl UpstreamError {
    /// The error for an HTTP status. `pause` is the pause that the reply demands, and `said` the provider's message.
    pub(super) fn of_status(status: u16, pause: Option<Duration>, said: &str) -> UpstreamError {
        let failure = match status {
            400 => SearchFailure::misunderstood(),
            401 | 403 => SearchFailure::refused(),
            429 => SearchFailure::limited(pause),
            _ => SearchFailure::unanswered("answer"),
        };
        let retry = match (status, pause) {
            (429 | 500 | 502 | 503 | 504, Some(pause)) => Retry::After(pause),
            (500 | 502 | 503 | 504, None) => Retry::Soon,
            _ => Retry::No,
        };
        let colon = if said.is_empty() { "" } else { ": " };
        UpstreamError { failure, retry, log: format!("HTTP {status}{colon}{said}") }
    }

    /// The error for a reply that makes no sense. A retry would give the same.
    pub(super) fn senseless(log: impl Into<String>) -> UpstreamError {
        UpstreamError {
            failure: SearchFailure::unanswered("answer"),
            retry: Retry::No,
            log: log.into(),
        }
    }
}

impl From<NotJson> for UpstreamError {
    /// The error does not describe the body: a truncated reply may be full of places, which must not be logged.
    fn from(NotJson(error): NotJson) -> UpstreamError {
        UpstreamError::senseless(format!("the reply is not JSON: {error}"))
    }
}

/// Whether the status says that the body is the requested one.
pub(super) fn is_success(reply: &Reply<'_>) -> bool {
    matches!(reply.status, 200 | 203)
}

/// Whether the body of a successful reply can be read as JSON.
pub(super) fn check_is_json(reply: &Reply<'_>) -> Result<(), UpstreamError> {
    what_it_is_instead(reply).map_or(Ok(()), |log| Err(UpstreamError::senseless(log)))
}

/// The error for a reply without success, if its body contains no error that the source understands.
pub(super) fn refusal(reply: &Reply<'_>) -> UpstreamError {
    let said = match reply.status {
        206 => Some("the reply is partial, although the request was for all of it".to_owned()),
        _ => what_it_is_instead(reply),
    };
    UpstreamError::of_status(reply.status, pause(reply), &said.unwrap_or_default())
}

/// What the body is, according to the headers, if it is not JSON. The message quotes nothing of the headers. An empty
/// encoding counts as none.
fn what_it_is_instead(reply: &Reply<'_>) -> Option<String> {
    let encodings = reply.content_encoding.unwrap_or_default().split(|&byte| byte == b',');
    let is_plain = |one: &[u8]| one.is_empty() || one.eq_ignore_ascii_case(b"identity");
    if let Some(encoding) = encodings.map(<[u8]>::trim_ascii).find(|one| !is_plain(one)) {
        let known = ["gzip", "deflate", "br", "zstd", "compress", "x-gzip"];
        let name = known.iter().find(|name| encoding.eq_ignore_ascii_case(name.as_bytes()));
        let name = name.unwrap_or(&"something unknown");
        return Some(format!("the reply is encoded as {name}, which was not requested"));
    }
    let other = reply.content_type.filter(|content_type| !is_json(content_type))?;
    let known = [("text/html", "HTML"), ("text/plain", "plain text"), ("application/xml", "XML")];
    let named = known.iter().find(|(name, _)| essence(other) == name.as_bytes());
    Some(format!("the reply is {}, not JSON", named.map_or("of another type", |(_, said)| said)))
}

/// The code of an error, if it has the form of one. Other text, perhaps a place, is not quoted.
pub(super) fn code(text: &str) -> &str {
    let is_of_a_code =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_code = text.len() <= CODE_BYTES_MAX && text.bytes().all(is_of_a_code);
    if is_code { text } else { "an unknown code" }
}

/// Whether the type is `application/json` or related (`application/geo+json`), with or without parameters.
fn is_json(content_type: &[u8]) -> bool {
    let kind = essence(content_type);
    kind == b"application/json" || kind == b"text/json" || kind.ends_with(b"+json")
}

/// A content type without its parameters, in lower case.
fn essence(content_type: &[u8]) -> Vec<u8> {
    let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().to_ascii_lowercase()
}

/// The pause that the reply demands before a retry: in seconds, or as a date relative to its own `Date`, so that no
/// clock of ours is needed.
pub(super) fn pause(reply: &Reply<'_>) -> Option<Duration> {
    let text = str::from_utf8(reply.retry_after?).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(PAUSE_MAX, Duration::from_secs).min(PAUSE_MAX));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(str::from_utf8(reply.date?).ok()?.trim()).ok()?;
    Some(then.duration_since(now).unwrap_or_default().min(PAUSE_MAX))
}

/// Parses a pause in the format of Google's APIs: `41s`, `1.5s`.
pub(super) fn pause_in_seconds(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix('s')?;
    if digits.starts_with(|first: char| !first.is_ascii_digit()) {
        return None;
    }
    let seconds: f64 = digits.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX)))
}

/// The result for the caller. `secret` is removed from the log line, in case the provider repeats it.
pub(super) fn parsed(
    outcome: Result<Answer, UpstreamError>,
    secret: Option<&Secret>,
) -> ParsedReply {
    match outcome {
        Ok(answer) => ParsedReply { answer, retry: Retry::No, log: String::new() },
        Err(UpstreamError { failure, retry, log }) => {
            let scrubbed = secret.map_or_else(|| log.clone(), |secret| secret.scrub(&log));
            let log: String = one_line(&scrubbed).chars().take(LOG_CHARS_MAX).collect();
            ParsedReply { answer: Answer::Failed(failure), retry, log }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::SearchStatus;
    use proptest::prelude::*;

    fn reply<'a>(status: u16, retry_after: Option<&'a str>, date: Option<&'a str>) -> Reply<'a> {
        Reply {
            status,
            content_type: None,
            content_encoding: None,
            retry_after: retry_after.map(str::as_bytes),
            date: date.map(str::as_bytes),
            body: b"",
        }
    }

    fn seconds(retry_after: &str, date: Option<&str>) -> Option<u64> {
        pause(&reply(503, Some(retry_after), date)).map(|pause| pause.as_secs())
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_against_the_replys_own() {
        assert_eq!(seconds("41", None), Some(41));
        assert_eq!(seconds(" 0 ", None), Some(0));
        assert_eq!(seconds("99999999999999999999999", None), Some(PAUSE_MAX.as_secs()));
        let (now, then) = ("Sun, 22 Nov 2026 10:16:39 GMT", "Sun, 22 Nov 2026 10:16:41 GMT");
        assert_eq!(seconds(then, Some(now)), Some(2));
        assert_eq!(seconds(now, Some(then)), Some(0));
        assert_eq!(seconds(then, None), None);
        assert_eq!(seconds(then, Some("now")), None);
        for text in ["", "-1", "+1", "1.5", "1s", "soon", "\u{661}"] {
            assert_eq!(seconds(text, Some(now)), None, "{text}");
        }
    }

    #[test]
    fn googles_pauses_may_have_fractions() {
        let milliseconds = |text| pause_in_seconds(text).map(|pause| pause.as_millis());
        assert_eq!(milliseconds("41s"), Some(41_000));
        assert_eq!(milliseconds("0.25s"), Some(250));
        assert_eq!(milliseconds("1e300s"), Some(PAUSE_MAX.as_millis()));
        for text in ["", "s", "41", "-1s", "+1s", "infs", "NaNs", ".5s", "1 s"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn every_http_status_means_one_failure_and_one_chance_or_none() {
        let pause = Some(Duration::from_secs(3));
        for (status, expected, without, with) in [
            (400, SearchStatus::InvalidRequest, Retry::No, Retry::No),
            (401, SearchStatus::RequestDenied, Retry::No, Retry::No),
            (403, SearchStatus::RequestDenied, Retry::No, Retry::No),
            (429, SearchStatus::OverQueryLimit, Retry::No, Retry::After(Duration::from_secs(3))),
            (301, SearchStatus::UnknownError, Retry::No, Retry::No),
            (404, SearchStatus::UnknownError, Retry::No, Retry::No),
            (501, SearchStatus::UnknownError, Retry::No, Retry::No),
            (503, SearchStatus::UnknownError, Retry::Soon, Retry::After(Duration::from_secs(3))),
        ] {
            let error = UpstreamError::of_status(status, None, "");
            assert_eq!((error.failure.status, error.retry), (expected, without), "{status}");
            assert_eq!(UpstreamError::of_status(status, pause, "").retry, with, "{status}");
        }
    }

    #[test]
    fn only_what_calls_itself_json_is_read() {
        for (content_type, expected) in [
            (None, true),
            (Some("application/json; charset=UTF-8"), true),
            (Some("Application/JSON"), true),
            (Some("application/geo+json"), true),
            (Some("text/html; charset=UTF-8"), false),
            (Some("application/jsonp"), false),
            (Some(""), false),
        ] {
            let reply =
                Reply { content_type: content_type.map(str::as_bytes), ..reply(200, None, None) };
            assert_eq!(check_is_json(&reply).is_ok(), expected, "{content_type:?}");
        }
        for (encoding, expected) in [
            ("identity", true),
            ("", true),
            (" ", true),
            ("identity, Identity,", true),
            ("gzip", false),
            ("identity, br", false),
        ] {
            let reply =
                Reply { content_encoding: Some(encoding.as_bytes()), ..reply(200, None, None) };
            assert_eq!(check_is_json(&reply).is_ok(), expected, "{encoding}");
        }
    }

    #[test]
    fn what_a_body_is_said_to_be_is_told_in_our_words() {
        let said = |content_type: Option<&str>, encoding: Option<&str>| {
            let content_type = content_type.map(str::as_bytes);
            let content_encoding = encoding.map(str::as_bytes);
            refusal(&Reply { content_type, content_encoding, ..reply(502, None, None) }).log
        };
        let gzip = "HTTP 502: the reply is encoded as gzip, which was not requested";
        assert_eq!(said(None, Some("GZIP")), gzip);
        let unknown =
            "HTTP 502: the reply is encoded as something unknown, which was not requested";
        assert_eq!(said(None, Some("Quince House")), unknown);
        assert_eq!(said(Some("Text/HTML; a=b"), None), "HTTP 502: the reply is HTML, not JSON");
        let other = "HTTP 502: the reply is of another type, not JSON";
        assert_eq!(said(Some("Quince/House"), None), other);
        assert_eq!(said(Some("application/json; x=\"Quince House\""), Some("")), "HTTP 502");
    }

    #[test]
    fn only_what_has_the_form_of_a_code_is_quoted_as_one() {
        for text in ["", "NOT_FOUND", "A1_2"] {
            assert_eq!(code(text), text);
        }
        for text in ["Quince House", "not_found", "A\nB", "\u{c4}", &"A".repeat(64)] {
            assert_eq!(code(text), "an unknown code");
        }
    }

    proptest! {
        #[test]
        fn a_log_line_is_one_scrubbed_line_of_some_length(
            before in "(?s).{0,700}", after: String, times in 0..40_usize,
        ) {
            let secret = Secret::new("CANARY-7").unwrap();
            let log = [before, secret.reveal().repeat(times), after].concat();
            let reply = parsed(Err(UpstreamError::senseless(log)), Some(&secret));
            prop_assert!(!reply.log.contains("CANARY-7"));
            prop_assert!(!reply.log.contains(char::is_control));
            prop_assert!(reply.log.chars().count() <= LOG_CHARS_MAX);
        }

        #[test]
        fn no_header_makes_it_panic(a: String, b: String) {
            let _ = (seconds(&a, Some(&b)), pause_in_seconds(&a));
        }
    }
}
