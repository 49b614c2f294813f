//! Google's Places: `places:searchNearby` of the Places API (New), told as Nearby Search tells it.
//!
//! Out goes a circle, as JSON, with the key in a header and a mask that names the fields to be
//! paid for. What comes back is mapped place by place (`google_place.rs`); the words of an error go
//! to the log, and what they mean to the client.
//!
//! Twenty places are asked for whatever the bound: the price is by the request, and equal questions
//! with other bounds share one. Nothing of what comes back may be kept; Google's terms say so.
//!
//! Source: Google's reference of Nearby Search (New), and of the errors of its APIs.

use std::time::Duration;

use super::base_url::BaseUrl;
use super::fetch::{Fetch, FetchMethod, ParsedReply, Reply, RequestTarget, Value};
use super::google_place::{PlaceDraft, text};
use super::grid::Rank;
use super::json_reader::{NotJson, Reader};
use super::upstream::{self, UpstreamError};
use super::{Answer, BOUND_MAX, Found, Progress, Query, Source, Ticket};
use crate::log::secret::Secret;

const PATH: &str = "/v1/places:searchNearby";

/// The fields that are billed as Nearby Search Pro.
const BASIC: &str = "places.id,places.displayName,places.location,places.viewport,places.types,\
    places.shortFormattedAddress,places.businessStatus,places.plusCode,places.iconMaskBaseUri,\
    places.iconBackgroundColor,places.photos.name,places.photos.widthPx,places.photos.heightPx,\
    places.photos.authorAttributions,places.attributions";

/// Those that make it Nearby Search Enterprise.
const MORE: &str =
    ",places.rating,places.userRatingCount,places.priceLevel,places.currentOpeningHours.openNow";

/// Which fields are asked and paid for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mask {
    /// What a place is, where, and how it looks. Google bills Nearby Search Pro.
    #[default]
    Basic,
    /// Ratings, prices and whether it is open as well. Google bills Nearby Search Enterprise.
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
    /// `https://places.googleapis.com`, or what stands in for it.
    pub base: BaseUrl,
    /// What Google knows the project by.
    pub key: Secret,
    /// What is asked and paid for.
    pub mask: Mask,
    /// Which places come first, and which are the twenty.
    pub rank: Rank,
    /// In which language names are wanted; none is Google's own choice.
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
        // The mask is the same for all who ask; the rest stands in the body.
        let flight = body.clone();
        Progress::Fetch(Fetch {
            method: FetchMethod::Post,
            headers,
            body,
            flight,
            ..Fetch::get(&self.base, target)
        })
    }

    fn read(&mut self, _: &Query, reply: Reply<'_>) -> ParsedReply {
        let body = self.key.scrub_bytes(reply.body);
        let outcome = match upstream::is_success(&reply) {
            true => upstream::check_is_json(&reply).and_then(|()| answer(&reply, &body)),
            false => Err(refusal(&reply, &body)),
        };
        upstream::reading(outcome, Some(&self.key))
    }
}

impl Google {
    fn question(&self, query: &Query) -> Vec<u8> {
        let rank = match self.rank {
            Rank::Prominence => "POPULARITY",
            Rank::Distance => "DISTANCE",
        };
        // One that is too small for a double has become 0, which Google refuses.
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
    let mut found = Found::default();
    let mut places_are_listed = true;
    let mut error = None;
    let is_object = Reader::document(body, |reader| {
        reader.object(|reader, key| {
            match key {
                // A list of none may also be null.
                "places" if !reader.is_null() => {
                    places_are_listed = reader.array(|reader| place(reader, &mut found))?;
                }
                "error" => error = GoogleError::read(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        })
    })?;
    match error {
        Some(error) => Err(error.trouble(error.code.unwrap_or_default(), upstream::pause(reply))),
        None if is_object && places_are_listed => Ok(Answer::Told(found.told())),
        None => Err(UpstreamError::senseless("the reply is no list of places")),
    }
}

/// What a reply means that is no success.
fn refusal(reply: &Reply<'_>, body: &[u8]) -> UpstreamError {
    let mut error = None;
    let read = Reader::document(body, |reader| {
        reader.object(|reader, key| {
            match key {
                "error" => error = GoogleError::read(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        })
    });
    match (read, error) {
        (Ok(_), Some(error)) => error.trouble(reply.status, upstream::pause(reply)),
        // It was not Google's API that answered, but something in front of it.
        _ => upstream::refusal(reply),
    }
}

/// What Google's APIs say in place of an answer.
#[derive(Debug, Default)]
struct GoogleError {
    code: Option<u16>,
    status: String,
    message: String,
    reason: String,
    pause: Option<Duration>,
}

impl GoogleError {
    /// None if there is something else than an object in its place.
    fn read(reader: &mut Reader<'_>) -> Result<Option<GoogleError>, NotJson> {
        let mut error = GoogleError::default();
        let is_object = reader.object(|reader, key| {
            match key {
                "code" => error.code = reader.whole()?.and_then(|code| code.try_into().ok()),
                "status" => error.status = text(reader)?.into_owned(),
                "message" => error.message = text(reader)?.into_owned(),
                "details" => drop(reader.array(|reader| error.read_detail(reader))?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(is_object.then_some(error))
    }

    /// One of several, each of a type of its own; two are of use.
    fn read_detail(&mut self, reader: &mut Reader<'_>) -> Result<(), NotJson> {
        reader.object(|reader, key| {
            match key {
                "reason" => self.reason = text(reader)?.into_owned(),
                "retryDelay" => self.pause = upstream::pause_in_seconds(&text(reader)?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(())
    }

    /// `http`: the status of the reply; `pause`: its `Retry-After`.
    fn trouble(&self, http: u16, pause: Option<Duration>) -> UpstreamError {
        let (status, message) = (upstream::code(&self.status), &self.message);
        let reason = upstream::code(&self.reason);
        let said = match reason {
            "" => format!("{status}: {message}"),
            reason => format!("{status}, {reason}{}: {message}", remedy(reason)),
        };
        let trouble = UpstreamError::of_status(http, pause.max(self.pause), &said);
        // A key that is wrong or has expired is not 403 but 400, as if we had asked wrongly.
        match reason.starts_with("API_KEY_") {
            true => trouble.denied(),
            false => trouble,
        }
    }
}

/// What the operator can do about an error of that reason.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "API_KEY_INVALID" => " (is it the right key, and not expired?)",
        "API_KEY_SERVICE_BLOCKED" => " (allow the key to be used with the Places API (New))",
        "API_KEY_IP_ADDRESS_BLOCKED" => " (add this server's address to those of the key)",
        "API_KEY_HTTP_REFERRER_BLOCKED" => " (restrict the key by IP address, not by web site)",
        "BILLING_DISABLED" => " (switch on billing for the key's project)",
        "CONSUMER_SUSPENDED" => " (the key's project is suspended)",
        "SERVICE_DISABLED" => " (enable places.googleapis.com for the key's project)",
        _ => "",
    }
}

/// Takes a place, and adds it and whom to thank for it to what was found.
fn place<'t>(reader: &mut Reader<'t>, found: &mut Found<'t>) -> Result<(), NotJson> {
    let draft = PlaceDraft::read(reader)?;
    if found.places.len() == BOUND_MAX {
        return Ok(());
    }
    let Some((place, thanks)) = draft.finish() else { return Ok(()) };
    found.places.push(place);
    for new in thanks {
        if !found.attributions.contains(&new) {
            found.attributions.push(new);
        }
    }
    Ok(())
}
