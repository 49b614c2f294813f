//! Why no places could be looked for: Google's words for it, and ours.
//!
//! A client is told one of the few texts below, which stay as they are from version to version.
//! What an upstream said stands in the log, scrubbed: it may hold project numbers or worse.

use std::time::Duration;

/// Why no places could be looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SearchFailure {
    /// The kind, in Google's words.
    pub status: SearchStatus,
    /// For people, and ours: never an upstream's text, which may hold keys or addresses.
    pub message: String,
}

impl SearchFailure {
    /// The source does not take our key, or we have none. Asking again does not help.
    pub fn refused() -> SearchFailure {
        let message = "The places provider refused the server's credentials.".to_string();
        SearchFailure { status: SearchStatus::RequestDenied, message }
    }

    /// Too many questions; `retry_after`: when there may be more, if that is known.
    pub fn limited(retry_after: Option<Duration>) -> SearchFailure {
        let when = match retry_after {
            // Rounded up, so that whoever waits so long does not come too early.
            Some(pause) => format!("after {} s", pause.as_secs_f64().ceil().max(1.0)),
            None => "later".to_string(),
        };
        let message = format!("Query limit reached; retry {when}.");
        SearchFailure { status: SearchStatus::OverQueryLimit, message }
    }

    /// No answer, or none that makes sense. `phase`: a word for how far it came: `dns`, `connect`,
    /// `tls`, `first byte`, `body`, `answer`.
    pub fn unanswered(phase: &str) -> SearchFailure {
        let message = format!("The places provider did not answer (phase: {phase}).");
        SearchFailure { status: SearchStatus::UnknownError, message }
    }

    /// The source did not understand the question. To be logged as an error: it is ours.
    pub fn misunderstood() -> SearchFailure {
        let message = "The places provider did not understand the server's question.".to_string();
        SearchFailure { status: SearchStatus::InvalidRequest, message }
    }
}

/// Google's names for the ways in which a search fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SearchStatus {
    /// The key is missing or refused.
    RequestDenied,
    /// Too many questions: a quota, or a queue of ours that is full.
    OverQueryLimit,
    /// The source did not answer, or not sensibly. Asking again may help.
    UnknownError,
    /// The source did not understand the question: a bug of ours.
    InvalidRequest,
}

impl SearchStatus {
    /// As it stands in the reply: `UNKNOWN_ERROR`.
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
