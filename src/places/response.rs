//! What all sources on the network make of a reply before, or instead of, looking for places in it.
//!
//! In: a [`Reply`]. Out: its body, fit to be read as JSON, or a [`UpstreamError`]; and of either the
//! [`ParsedReply`] that is handed out. The HTTP status is judged first, then what the body says it is,
//! then what it says.
//!
//! ```text
//!     200, 203     its content type, its encoding; then the source reads it
//!     400          INVALID_REQUEST     we asked wrongly
//!     401, 403     REQUEST_DENIED
//!     429          OVER_QUERY_LIMIT    again only after the pause it names
//!     500, 502,
//!     503, 504     UNKNOWN_ERROR       again soon, or after the pause it names
//!     others       UNKNOWN_ERROR       redirections too: a key would go along
//! ```
//!
//! 203 says that a proxy has changed a reply of 200 (RFC 9110, section 15.3.4), as one does that scans or
//! compresses; what it has made of it is read as strictly. 206 is a part that nobody has asked for.
//!
//! Invariants: no text of the upstream's gets into an answer that is a failure. Of its bodies only the
//! fields that its documentation calls an error's get into the log, scrubbed and cut; of its headers
//! nothing but numbers. A reply that is no success may have places in it all the same.

use std::time::Duration;

use super::entry::one_line;
use super::fetch::{LOG_CHARS_MAX, ParsedReply, Reply, Retry};
use super::raw_json::NotJson;
use super::{Answer, SearchFailure};
use crate::log::secret::Secret;

/// A pause longer than this is a joke or an attack, and all the same: too long.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Codes of errors are words like `PERMISSION_DENIED`, and no longer. google.rpc.ErrorInfo.
const CODE_BYTES_MAX: usize = 63;

/// Why there are no places in a reply.
#[derive(Debug)]
pub(super) struct UpstreamError {
    pub(super) failure: SearchFailure,
    pub(super) retry: Retry,
    /// For the log: our words, then the upstream's, neither scrubbed nor cut.
    pub(super) log: String,
}

impl UpstreamError {
    /// The error that an HTTP status means. `pause`: what the reply says of asking again; `said`:
    /// the upstream's words.
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

    /// A reply that makes no sense. The next one would not either.
    pub(super) fn senseless(log: impl Into<String>) -> UpstreamError {
        UpstreamError {
            failure: SearchFailure::unanswered("answer"),
            retry: Retry::No,
            log: log.into(),
        }
    }
}

impl From<NotJson> for UpstreamError {
    /// What it is instead is not told: a reply that was cut off may be full of places, and they
    /// are not ours to keep.
    fn from(NotJson(error): NotJson) -> UpstreamError {
        UpstreamError::senseless(format!("the reply is not JSON: {error}"))
    }
}

/// Whether the status says that the body is what was asked for.
pub(super) fn is_success(reply: &Reply<'_>) -> bool {
    matches!(reply.status, 200 | 203)
}

/// Whether a reply that is a success can be read as JSON.
pub(super) fn check_is_json(reply: &Reply<'_>) -> Result<(), UpstreamError> {
    what_it_is_instead(reply).map_or(Ok(()), |log| Err(UpstreamError::senseless(log)))
}

/// What a reply that is no success means, if its body says nothing the source understands.
pub(super) fn refusal(reply: &Reply<'_>) -> UpstreamError {
    let said = match reply.status {
        206 => Some("it is a part of a reply, which was not asked for".to_owned()),
        _ => what_it_is_instead(reply),
    };
    UpstreamError::of_status(reply.status, pause(reply), &said.unwrap_or_default())
}

/// What a body is, if it is not JSON, by its head: in our words, never in those of the head. An encoding
/// that is written and empty is none.
fn what_it_is_instead(reply: &Reply<'_>) -> Option<String> {
    let encodings = reply.content_encoding.unwrap_or_default().split(|&byte| byte == b',');
    let is_plain = |one: &[u8]| one.is_empty() || one.eq_ignore_ascii_case(b"identity");
    if let Some(encoding) = encodings.map(<[u8]>::trim_ascii).find(|one| !is_plain(one)) {
        let known = ["gzip", "deflate", "br", "zstd", "compress", "x-gzip"];
        let name = known.iter().find(|name| encoding.eq_ignore_ascii_case(name.as_bytes()));
        let name = name.unwrap_or(&"something unknown");
        return Some(format!("the reply is encoded as {name}, which was not asked for"));
    }
    let other = reply.content_type.filter(|content_type| !is_json(content_type))?;
    let known = [("text/html", "HTML"), ("text/plain", "plain text"), ("application/xml", "XML")];
    let named = known.iter().find(|(name, _)| essence(other) == name.as_bytes());
    Some(format!("the reply is {}, not JSON", named.map_or("of another type", |(_, said)| said)))
}

/// The code of an error, if it has the form of one: a service that puts something else there, perhaps a
/// place, is not quoted.
pub(super) fn code(text: &str) -> &str {
    let is_of_a_code =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_code = text.len() <= CODE_BYTES_MAX && text.bytes().all(is_of_a_code);
    if is_code { text } else { "an unknown code" }
}

/// `application/json` and its kin (`application/geo+json`), whatever follows it.
fn is_json(content_type: &[u8]) -> bool {
    let kind = essence(content_type);
    kind == b"application/json" || kind == b"text/json" || kind.ends_with(b"+json")
}

/// A content type without its parameters, in lower case.
fn essence(content_type: &[u8]) -> Vec<u8> {
    let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().to_ascii_lowercase()
}

/// How long to wait before asking again, if the reply says so: in seconds, or as a date against
/// its own, so that no clock of ours is needed.
pub(super) fn pause(reply: &Reply<'_>) -> Option<Duration> {
    let text = str::from_utf8(reply.retry_after?).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(PAUSE_MAX, Duration::from_secs).min(PAUSE_MAX));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(str::from_utf8(reply.date?).ok()?.trim()).ok()?;
    Some(then.duration_since(now).unwrap_or_default().min(PAUSE_MAX))
}

/// A pause as Google's APIs write one: `41s`, `1.5s`.
pub(super) fn pause_in_seconds(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix('s')?;
    if digits.starts_with(|first: char| !first.is_ascii_digit()) {
        return None;
    }
    let seconds: f64 = digits.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX)))
}

/// What is handed out. `secret`: what must not be in the log, should the upstream repeat it.
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
        let gzip = "HTTP 502: the reply is encoded as gzip, which was not asked for";
        assert_eq!(said(None, Some("GZIP")), gzip);
        let unknown =
            "HTTP 502: the reply is encoded as something unknown, which was not asked for";
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
