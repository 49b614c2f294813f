//! Google's Places: `places:searchNearby` of the Places API (New), converted to the format of Nearby Search.
//!
//! The request is a circle, as JSON, with the key in a header and a mask of the fields to be paid for. The reply is
//! converted place by place (`google_place.rs`). The message of an error goes to the log, and its meaning to the
//! client.
//!
//! It always asks for twenty places, whatever the bound: the price is per request, and questions that differ only
//! in the bound share one. Google's terms forbid to keep a reply.
//!
//! Source: Google's reference of Nearby Search (New), and of the errors of its APIs.

use std::borrow::Cow;
use std::time::Duration;

use super::fetch::{Fetch, ParsedReply, Reply, RequestTarget, Retry, Value};
use super::grid::Rank;
use super::raw_json::Json;
use super::response::{self, UpstreamError};
use super::{
    Answer, BOUND_MAX, Found, Progress, Query, SearchFailure, Source, Ticket, google_place,
};
use crate::http::{BaseUrl, Method};
use crate::log::secret::Secret;

const PATH: &str = "/v1/places:searchNearby";

/// The fields that are billed as Nearby Search Pro.
const BASIC: &str = "places.id,places.displayName,places.location,places.viewport,places.types,\
    places.shortFormattedAddress,places.businessStatus,places.plusCode,places.iconMaskBaseUri,\
    places.iconBackgroundColor,places.photos.name,places.photos.widthPx,places.photos.heightPx,\
    places.photos.authorAttributions,places.attributions";

/// The additional fields that are billed as Nearby Search Enterprise.
const MORE: &str =
    ",places.rating,places.userRatingCount,places.priceLevel,places.currentOpeningHours.openNow";

/// The fields that are requested and paid for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mask {
    /// What a place is, where it is, and its photo. Google bills the request as Nearby Search Pro.
    #[default]
    Basic,
    /// The basic fields, ratings, prices, and whether a place is open. Google bills the request as Nearby Search
    /// Enterprise.
    Full,
}

impl Mask {
    /// The value of `X-Goog-FieldMask`.
    fn fields(self) -> String {
        match self {
            Mask::Basic => BASIC.to_string(),
            Mask::Full => [BASIC, MORE].concat(),
        }
    }
}

/// Nearby Search of the Places API (New).
#[derive(Clone, Debug)]
pub struct Google {
    /// `https://places.googleapis.com`, or a substitute.
    pub base: BaseUrl,
    /// The API key of the Google project.
    pub key: Secret,
    /// The fields that are requested and paid for.
    pub mask: Mask,
    /// The order of the places, which also decides which twenty are returned.
    pub rank: Rank,
    /// The language of names; `None`: Google's choice.
    pub language: Option<String>,
}

impl Source for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let body = self.question(query);
        let headers = vec![
            ("Content-Type", Value::Open("application/json".to_string())),
            ("X-Goog-Api-Key", Value::Secret(self.key.clone())),
            ("X-Goog-FieldMask", Value::Open(self.mask.fields())),
        ];
        let target = RequestTarget::new(self.base.join(PATH));
        // The mask is the same for all clients; everything else is in the body.
        let flight = body.clone();
        Progress::Fetch(Fetch {
            method: Method::Post,
            headers,
            body,
            flight,
            ..Fetch::get(&self.base, target)
        })
    }

    fn read(&mut self, _: &Query, reply: Reply<'_>) -> ParsedReply {
        let body = self.key.scrub_bytes(reply.body);
        let outcome = match response::is_success(&reply) {
            true => response::check_is_json(&reply).and_then(|()| answer(&reply, &body)),
            false => Err(refusal(&reply, &body)),
        };
        response::parsed(outcome, Some(&self.key))
    }
}

impl Google {
    fn question(&self, query: &Query) -> Vec<u8> {
        let rank = match self.rank {
            Rank::Prominence => "POPULARITY",
            Rank::Distance => "DISTANCE",
        };
        // A radius that is too small for a double has become 0, which Google rejects.
        let radius = if query.radius_m > 0.0 { query.radius_m } else { 1.0 };
        let mut question = serde_json::json!({
            "locationRestriction": {
                "circle": {
                    "center": { "latitude": query.latitude, "longitude": query.longitude },
                    "radius": radius,
                },
            },
            "maxResultCount": BOUND_MAX,
            "rankPreference": rank,
        });
        if let Some(language) = &self.language {
            question["languageCode"] = language.as_str().into();
        }
        question.to_string().into_bytes()
    }
}

fn answer(reply: &Reply<'_>, body: &[u8]) -> Result<Answer, UpstreamError> {
    let document = Json::document(body)?;
    let [places, error] = document.members(["places", "error"]);
    if let Some(error) = GoogleError::read(error) {
        return Err(error.upstream_error(error.code.unwrap_or_default(), response::pause(reply)));
    }
    let mut found = Found::default();
    let is_list = places.each_item(|place| add(place, &mut found));
    // Without results Google omits the list, or sends null.
    match document.is_object() && (is_list || matches!(places.as_str(), "" | "null")) {
        true => Ok(Answer::Rendered(found.render())),
        false => Err(UpstreamError::senseless("the reply is not a list of places")),
    }
}

/// The error of a reply without success.
fn refusal(reply: &Reply<'_>, body: &[u8]) -> UpstreamError {
    let error = Json::document(body).ok().and_then(|body| GoogleError::read(body.member("error")));
    match error {
        Some(error) => error.upstream_error(reply.status, response::pause(reply)),
        // The reply does not come from Google's API, but from a server in front of it.
        None => response::refusal(reply),
    }
}

/// Adds a place and its attributions to the results.
fn add<'t>(place: Json<'t>, found: &mut Found<'t>) {
    if found.places.len() == BOUND_MAX {
        return;
    }
    let Some((place, attributions)) = google_place::place(place) else { return };
    found.places.push(place);
    for new in attributions {
        if !found.attributions.contains(&new) {
            found.attributions.push(new);
        }
    }
}

/// The error object of Google's APIs.
#[derive(Debug, Default)]
struct GoogleError {
    code: Option<u16>,
    status: String,
    message: String,
    reason: String,
    pause: Option<Duration>,
}

impl GoogleError {
    /// `None` if the value is not an object.
    fn read(error: Json<'_>) -> Option<GoogleError> {
        let text = |of: Json<'_>| of.text().unwrap_or_default().into_owned();
        let [code, status, message, details] =
            error.members(["code", "status", "message", "details"]);
        let (mut reason, mut pause) = (String::new(), None);
        // Each detail has its own type; only two of them are useful.
        details.each_item(|detail| {
            let [why, delay] = detail.members(["reason", "retryDelay"]);
            reason = why.text().map_or(std::mem::take(&mut reason), Cow::into_owned);
            pause = delay.text().and_then(|delay| response::pause_in_seconds(&delay)).or(pause);
        });
        let (status, message) = (text(status), text(message));
        error.is_object().then(|| GoogleError {
            code: code.parse(),
            status,
            message,
            reason,
            pause,
        })
    }

    /// `http` is the status of the reply, and `pause` its `Retry-After`.
    fn upstream_error(&self, http: u16, pause: Option<Duration>) -> UpstreamError {
        let (status, message) = (response::code(&self.status), &self.message);
        let reason = response::code(&self.reason);
        let said = match reason {
            "" => format!("{status}: {message}"),
            reason => format!("{status}, {reason}{}: {message}", remedy(reason)),
        };
        let error = UpstreamError::of_status(http, pause.max(self.pause), &said);
        // A key that is wrong or has expired gives 400 instead of 403, as if our request were wrong.
        if !reason.starts_with("API_KEY_") {
            return error;
        }
        UpstreamError { failure: SearchFailure::refused(), retry: Retry::No, ..error }
    }
}

/// The remedy for an error with this reason.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "API_KEY_INVALID" => " (check that the key is correct and has not expired)",
        "API_KEY_SERVICE_BLOCKED" => " (allow the key to be used with the Places API (New))",
        "API_KEY_IP_ADDRESS_BLOCKED" => " (add this server's address to those of the key)",
        "API_KEY_HTTP_REFERRER_BLOCKED" => " (restrict the key by IP address, not by web site)",
        "BILLING_DISABLED" => " (enable billing for the key's project)",
        "CONSUMER_SUSPENDED" => " (the key's project is suspended)",
        "SERVICE_DISABLED" => " (enable places.googleapis.com for the key's project)",
        _ => "",
    }
}
