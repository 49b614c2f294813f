//! Google's old Nearby Search. Its reply is passed through.
//!
//! The request is `GET /maps/api/place/nearbysearch/json?location=...&radius=...&key=...`. `verbatim.rs` cuts
//! the reply to the bound, and changes little else. This source is for projects that have the API already: since
//! October 2026 no new project can enable it, and the new API (`google.rs`) is cheaper.
//!
//! Errors come with HTTP 200, and are reported in `status`. The key is in the URL, which is why nothing here prints
//! more of a URL than its path.
//!
//! Source: Google's reference of Nearby Search (legacy).

use super::decimal::{shifted, without_plus};
use super::fetch::{Fetch, ParsedReply, Reply, RequestTarget, Retry};
use super::response::{self, UpstreamError};
use super::verbatim::LegacyReply;
use super::{Answer, Progress, Query, SearchFailure, Source, Ticket};
use crate::http::BaseUrl;
use crate::log::secret::Secret;

const PATH: &str = "/maps/api/place/nearbysearch/json";

/// The old Nearby Search, which returns the most prominent places first.
#[derive(Clone, Debug)]
pub struct GoogleLegacy {
    /// `https://maps.googleapis.com`, or a substitute.
    pub base: BaseUrl,
    /// The API key of the Google project.
    pub key: Secret,
    /// The language of names; `None`: Google's choice.
    pub language: Option<String>,
}

impl Source for GoogleLegacy {
    fn name(&self) -> &'static str {
        "google-legacy"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let [latitude, longitude] =
            [&query.latitude_text, &query.longitude_text].map(|text| without_plus(text));
        let mut target = RequestTarget::new(self.base.join(PATH))
            .with("location", &[latitude, longitude].join(","))
            .with("radius", &shifted(&query.radius_text, 3, "1"));
        if let Some(language) = &self.language {
            target = target.with("language", language);
        }
        let unsigned = Fetch::get(&self.base, target.clone());
        Progress::Fetch(Fetch { target: target.with("key", self.key.reveal()), ..unsigned })
    }

    fn read(&mut self, _: &Query, reply: Reply<'_>) -> ParsedReply {
        let body = self.key.scrub_bytes(reply.body);
        let outcome = match (response::is_success(&reply), LegacyReply::read(&body)) {
            (true, read) => response::check_is_json(&reply).and_then(|()| answer(&reply, read?)),
            (false, Ok(LegacyReply::Refusal(status, message))) => {
                let said = format!("{}: {message}", response::code(&status));
                Err(UpstreamError::of_status(reply.status, response::pause(&reply), &said))
            }
            (false, _) => Err(response::refusal(&reply)),
        };
        response::parsed(outcome, Some(&self.key))
    }
}

fn answer(reply: &Reply<'_>, read: LegacyReply) -> Result<Answer, UpstreamError> {
    match read {
        LegacyReply::Places(page) => Ok(Answer::Rendered(page)),
        LegacyReply::Refusal(status, message) => Err(refusal(reply, &status, &message)),
        LegacyReply::Other => {
            Err(UpstreamError::senseless("the reply is not a Nearby Search result"))
        }
    }
}

/// The error for a `status` without success. `message` is Google's; it is not stable, and only for the log.
fn refusal(reply: &Reply<'_>, status: &str, message: &str) -> UpstreamError {
    let pause = response::pause(reply);
    let after = pause.map_or(Retry::No, Retry::After);
    let (failure, retry) = match status {
        "REQUEST_DENIED" => (SearchFailure::refused(), Retry::No),
        // OVER_DAILY_LIMIT is an old name of OVER_QUERY_LIMIT.
        "OVER_QUERY_LIMIT" | "OVER_DAILY_LIMIT" => (SearchFailure::limited(pause), after),
        "INVALID_REQUEST" => (SearchFailure::misunderstood(), Retry::No),
        "UNKNOWN_ERROR" => {
            (SearchFailure::unanswered("answer"), pause.map_or(Retry::Soon, Retry::After))
        }
        _ => (SearchFailure::unanswered("answer"), Retry::No),
    };
    let hint = match status {
        "REQUEST_DENIED" => " (a new project needs source = \"google\")",
        _ => "",
    };
    UpstreamError { failure, retry, log: format!("{}{hint}: {message}", response::code(status)) }
}
