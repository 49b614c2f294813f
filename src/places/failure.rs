//! Why a search failed: Google's status, and our message.
//!
//! A client gets one of the few messages below, which stay the same from version to version. The provider's own
//! message is only logged, and scrubbed: it may contain project numbers or secrets.

use std::time::Duration;

/// Why a search failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SearchFailure {
    /// The status in Google's words.
    pub status: SearchStatus,
    /// A message for people. It is always ours: the provider's text may contain keys or addresses.
    pub message: String,
}

impl SearchFailure {
    /// The provider rejects our key, or we have none. A retry does not help.
    pub fn refused() -> SearchFailure {
        let message = "The places provider refused the server's credentials.".to_string();
        SearchFailure { status: SearchStatus::RequestDenied, message }
    }

    /// Too many questions. `retry_after` is the pause before a retry, if it is known.
    pub fn limited(retry_after: Option<Duration>) -> SearchFailure {
        let when = match retry_after {
            // Rounded up, so that a client that waits for this long does not retry too early.
            Some(pause) => format!("after {} s", pause.as_secs_f64().ceil().max(1.0)),
            None => "later".to_string(),
        };
        let message = format!("Query limit reached; retry {when}.");
        SearchFailure { status: SearchStatus::OverQueryLimit, message }
    }

    /// No answer, or one that makes no sense. `phase` is the phase in which the request failed: `dns`, `connect`,
    /// `tls`, `first byte`, `body`, `answer`.
    pub fn unanswered(phase: &str) -> SearchFailure {
        let message = format!("The places provider did not answer (phase: {phase}).");
        SearchFailure { status: SearchStatus::UnknownError, message }
    }

    /// The provider did not understand the question. This is a bug of ours, so it is logged as an error.
    pub fn misunderstood() -> SearchFailure {
        let message = "The places provider did not understand the server's question.".to_string();
        SearchFailure { status: SearchStatus::InvalidRequest, message }
    }
}

/// Google's status words for failed searches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SearchStatus {
    /// The key is missing or rejected.
    RequestDenied,
    /// Too many questions: a quota is used up, or a queue of ours is full.
    OverQueryLimit,
    /// The source did not answer, or the answer made no sense. A retry may help.
    UnknownError,
    /// The provider did not understand the question: a bug of ours.
    InvalidRequest,
}

impl SearchStatus {
    /// The word in the reply: `UNKNOWN_ERROR`.
    pub const fn as_str(self) -> &'static str {
        match self {
            SearchStatus::RequestDenied => "REQUEST_DENIED",
            SearchStatus::OverQueryLimit => "OVER_QUERY_LIMIT",
            SearchStatus::UnknownError => "UNKNOWN_ERROR",
            SearchStatus::InvalidRequest => "INVALID_REQUEST",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_spelled_as_google_spells_it() {
        assert_eq!(SearchStatus::RequestDenied.as_str(), "REQUEST_DENIED");
        assert_eq!(SearchStatus::OverQueryLimit.as_str(), "OVER_QUERY_LIMIT");
        assert_eq!(SearchStatus::UnknownError.as_str(), "UNKNOWN_ERROR");
        assert_eq!(SearchStatus::InvalidRequest.as_str(), "INVALID_REQUEST");
    }

    #[test]
    fn a_pause_is_rounded_up_to_seconds() {
        for (milliseconds, said) in [(0, "1 s"), (1_000, "1 s"), (1_001, "2 s"), (41_000, "41 s")] {
            let failure = SearchFailure::limited(Some(Duration::from_millis(milliseconds)));
            assert_eq!(failure.message, format!("Query limit reached; retry after {said}."));
        }
        assert_eq!(SearchFailure::limited(None).message, "Query limit reached; retry later.");
    }
}
