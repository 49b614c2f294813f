//! Google's Places, the old way: Nearby Search as it has been for years, passed through.
//!
//! Out goes `GET /maps/api/place/nearbysearch/json?location=...&radius=...&key=...`; what comes
//! back is the reply, cut to the bound (`verbatim.rs`). For projects that had it: since October 2026
//! no project can begin with it, and the new way (`google.rs`) is cheaper.
//!
//! Errors ride on HTTP 200 and say so in `status`. The key rides in the URL, which is why nothing
//! here shows more of one than its path.
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

/// The old Nearby Search, most prominent places first.
#[derive(Clone, Debug)]
pub struct GoogleLegacy {
    /// `https://maps.googleapis.com`, or what stands in for it.
    pub base: BaseUrl,
    /// What Google knows the project by.
    pub key: Secret,
    /// In which language names are wanted; none is Google's own choice.
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
        LegacyReply::Other => Err(UpstreamError::senseless("the reply is no Nearby Search")),
    }
}

/// What a `status` that is no success means. `message`: Google's, not stable, for the log.
fn refusal(reply: &Reply<'_>, status: &str, message: &str) -> UpstreamError {
    let pause = response::pause(reply);
    let after = pause.map_or(Retry::No, Retry::After);
    let (failure, retry) = match status {
        "REQUEST_DENIED" => (SearchFailure::refused(), Retry::No),
        // The second is an old name of the first.
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
