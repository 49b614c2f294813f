//! What all sources on the network make of a reply before, or instead of, looking for places in it.
//!
//! In: a [`Reply`]. Out: its body, fit to be read as JSON, or a [`Trouble`]; and of either the
//! [`Reading`] that is handed out. The HTTP status is judged first, then what the body says it is,
//! then what it says.
//!
//! ```text
//!     200          its content type, its encoding; then the source reads it
//!     400          INVALID_REQUEST     we asked wrongly
//!     401, 403     REQUEST_DENIED
//!     429          OVER_QUERY_LIMIT    again only after the pause it names
//!     500, 502,
//!     503, 504     UNKNOWN_ERROR       again soon, or after the pause it names
//!     others       UNKNOWN_ERROR       redirections too: a key would go along
//! ```
//!
//! Invariant: no text of the upstream's gets into an answer that is a failure, and none into the log
//! before it is scrubbed and cut.

use std::time::Duration;

use super::entry::one_line;
use super::fetch::{LOG_CHARS_MAX, Reading, Reply, Retry};
use super::json_reader::NotJson;
use super::{Answer, Failure};
use crate::secret::Secret;

/// A pause longer than this is a joke or an attack, and all the same: too long.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// So many bytes of a body that is no JSON are looked at for the log.
const EXCERPT_BYTES: usize = 1_024;

/// Why there are no places in a reply.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    pub(super) retry: Retry,
    /// For the log: our words, then the upstream's, neither scrubbed nor cut.
    pub(super) log: String,
}

impl Trouble {
    /// The trouble that an HTTP status means. `pause`: what the reply says of asking again; `said`:
    /// the upstream's words.
    pub(super) fn of_status(status: u16, pause: Option<Duration>, said: &str) -> Trouble {
        let failure = match status {
            400 => Failure::misunderstood(),
            401 | 403 => Failure::refused(),
            429 => Failure::limited(pause),
            _ => Failure::unanswered("answer"),
        };
        let retry = match (status, pause) {
            (429 | 500 | 502 | 503 | 504, Some(pause)) => Retry::After(pause),
            (500 | 502 | 503 | 504, None) => Retry::Soon,
            _ => Retry::No,
        };
        Trouble { failure, retry, log: format!("HTTP {status}: {said}") }
    }

    /// A reply that makes no sense. The next one would not either.
    pub(super) fn senseless(log: impl Into<String>) -> Trouble {
        Trouble { failure: Failure::unanswered("answer"), retry: Retry::No, log: log.into() }
    }

    /// The credentials are refused, whatever the status said.
    pub(super) fn denied(self) -> Trouble {
        Trouble { failure: Failure::refused(), retry: Retry::No, ..self }
    }
}

impl From<NotJson> for Trouble {
    /// What it is instead is not told: a reply that was cut off may be full of places, and they
    /// are not ours to keep.
    fn from(NotJson { at }: NotJson) -> Trouble {
        Trouble::senseless(format!("the reply is not JSON from byte {at} on"))
    }
}

/// Whether a reply with status 200 can be read as JSON.
pub(super) fn check_is_json(reply: &Reply<'_>) -> Result<(), Trouble> {
    check_is_plain(reply)?;
    match reply.content_type {
        Some(other) if !is_json(other) => {
            let other = one_line(&String::from_utf8_lossy(other));
            Err(Trouble::senseless(format!("the reply is {other}, not JSON")))
        }
        _ => Ok(()),
    }
}

/// What a reply that is no success means, if its body says nothing the source understands.
pub(super) fn refusal(reply: &Reply<'_>, body: &[u8]) -> Trouble {
    let said = match check_is_plain(reply) {
        Ok(()) => String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]).into_owned(),
        Err(trouble) => trouble.log,
    };
    Trouble::of_status(reply.status, pause(reply), &said)
}

fn check_is_plain(reply: &Reply<'_>) -> Result<(), Trouble> {
    match reply.content_encoding {
        Some(encoding) if !encoding.trim_ascii().eq_ignore_ascii_case(b"identity") => {
            let encoding = one_line(&String::from_utf8_lossy(encoding));
            let log = format!("the reply is encoded as {encoding}, which was not asked for");
            Err(Trouble::senseless(log))
        }
        _ => Ok(()),
    }
}

/// `application/json` and its kin (`application/geo+json`), whatever follows it.
fn is_json(content_type: &[u8]) -> bool {
    let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let kind = kind.trim_ascii().to_ascii_lowercase();
    kind == b"application/json" || kind == b"text/json" || kind.ends_with(b"+json")
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
pub(super) fn reading(outcome: Result<Answer, Trouble>, secret: Option<&Secret>) -> Reading {
    match outcome {
        Ok(answer) => Reading { answer, retry: Retry::No, log: String::new() },
        Err(Trouble { failure, retry, log }) => {
            let scrubbed = secret.map_or_else(|| log.clone(), |secret| secret.scrub(&log));
            let log: String = one_line(&scrubbed).chars().take(LOG_CHARS_MAX).collect();
            Reading { answer: Answer::Failed(failure), retry, log }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
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
            (400, Status::InvalidRequest, Retry::No, Retry::No),
            (401, Status::RequestDenied, Retry::No, Retry::No),
            (403, Status::RequestDenied, Retry::No, Retry::No),
            (429, Status::OverQueryLimit, Retry::No, Retry::After(Duration::from_secs(3))),
            (301, Status::UnknownError, Retry::No, Retry::No),
            (404, Status::UnknownError, Retry::No, Retry::No),
            (501, Status::UnknownError, Retry::No, Retry::No),
            (503, Status::UnknownError, Retry::Soon, Retry::After(Duration::from_secs(3))),
        ] {
            let trouble = Trouble::of_status(status, None, "");
            assert_eq!((trouble.failure.status, trouble.retry), (expected, without), "{status}");
            assert_eq!(Trouble::of_status(status, pause, "").retry, with, "{status}");
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
        for (encoding, expected) in [("identity", true), ("gzip", false), ("", false)] {
            let reply =
                Reply { content_encoding: Some(encoding.as_bytes()), ..reply(200, None, None) };
            assert_eq!(check_is_json(&reply).is_ok(), expected, "{encoding}");
        }
    }

    #[test]
    fn what_is_compressed_is_not_quoted() {
        let reply = Reply { content_encoding: Some(b"gzip"), ..reply(502, None, None) };
        let log = refusal(&reply, b"\x1f\x8b").log;
        assert_eq!(log, "HTTP 502: the reply is encoded as gzip, which was not asked for");
    }

    proptest! {
        #[test]
        fn a_log_line_is_one_scrubbed_line_of_some_length(
            before in "(?s).{0,700}", after: String, times in 0..40_usize,
        ) {
            let secret = Secret::new("CANARY-7").unwrap();
            let log = [before, secret.reveal().repeat(times), after].concat();
            let reading = reading(Err(Trouble::senseless(log)), Some(&secret));
            prop_assert!(!reading.log.contains("CANARY-7"));
            prop_assert!(!reading.log.contains(char::is_control));
            prop_assert!(reading.log.chars().count() <= LOG_CHARS_MAX);
        }

        #[test]
        fn no_header_makes_it_panic(a: String, b: String) {
            let _ = (seconds(&a, Some(&b)), pause_in_seconds(&a));
        }
    }
}
