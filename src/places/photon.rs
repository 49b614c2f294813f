//! Photon: a search server for OpenStreetMap, run by the operator.
//!
//! The request is `GET /reverse?lat=...&lon=...&radius=...`. The reply is GeoJSON. Its members are converted to
//! Google's:
//!
//! ```text
//!     geometry.coordinates [lon, lat]   geometry.location
//!     extent [west, north, east, south] geometry.viewport     else 150 m around
//!     name                              name                  a place without a name is skipped
//!     osm_type, osm_id                  place_id, reference   osm:node/123; if one is missing,
//!                                                             photon:34.07,-118.44,Bar Nil
//!     osm_key, osm_value                types                 osm.rs
//!     housenumber, street, city         vicinity              else district, or city
//!     city, state, country              plus_code             computed
//! ```
//!
//! Photon knows no prominence. So the source asks for fifty places, skips streets and borders, and takes the
//! nearest twenty. It sorts them itself, because a Photon server sorts by the middle of a place, or by weights. In a
//! city all twenty may be within 200 m, since they are the nearest.
//!
//! An answer may be kept for a minute. The licence (ODbL) demands an attribution to OpenStreetMap, which is included.
//!
//! Source: Photon's readme (komoot/photon), section "Reverse"; the wiki of OpenStreetMap.

use std::borrow::Cow;
use std::time::Duration;

use super::decimal::{shifted, without_plus};
use super::entry::{one_line, region};
use super::fetch::{Fetch, ParsedReply, Reply, RequestTarget};
use super::place::{Business, POINT_RADIUS_M, Place, Point, Scope, Viewport};
use super::plus_code::PlusCode;
use super::raw_json::Json;
use super::response::{self, UpstreamError};
use super::{Answer, BOUND_MAX, Found, Progress, Query, Source, Ticket, osm};
use crate::http::BaseUrl;

const PATH: &str = "/reverse";

/// Maximum number of places that a Photon server returns with its default settings.
const LIMIT: usize = 50;

/// The OpenStreetMap keys of places that a client may look for.
const TAGS: [&str; 10] = [
    "amenity",
    "tourism",
    "leisure",
    "shop",
    "historic",
    "railway",
    "aeroway",
    "place",
    "office",
    "healthcare",
];

/// Keys of places that a server may return, but that no client looks for: ways and borders.
const TAGS_LEFT_OUT: [&str; 2] = ["boundary", "highway"];

const KEEP: Duration = Duration::from_secs(60);

const ATTRIBUTION: &str = "\u{a9} <a href=\"https://www.openstreetmap.org/copyright\">OpenStreetMap \
     contributors</a>, ODbL";

/// A Photon server. The nearest places come first.
#[derive(Clone, Debug)]
pub struct Photon {
    /// The URL of the server; there is no public one for general use.
    pub base: BaseUrl,
    /// The language of names, which the server must have; `None`: the local language of each place.
    pub language: Option<String>,
}

impl Source for Photon {
    fn name(&self) -> &'static str {
        "photon"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let mut target = RequestTarget::new(self.base.join(PATH))
            .with("lat", &without_plus(&query.latitude_text))
            .with("lon", &without_plus(&query.longitude_text))
            .with("radius", &shifted(&query.radius_text, 0, "0.001"))
            .with("limit", &LIMIT.to_string());
        if let Some(language) = &self.language {
            target = target.with("lang", language);
        }
        let target = TAGS.iter().fold(target, |target, tag| target.with("osm_tag", tag));
        Progress::Fetch(Fetch { keep: Some(KEEP), ..Fetch::get(&self.base, target) })
    }

    fn read(&mut self, query: &Query, reply: Reply<'_>) -> ParsedReply {
        let outcome = match response::is_success(&reply) {
            true => response::check_is_json(&reply).and_then(|()| answer(query, reply.body)),
            false => Err(refusal(&reply)),
        };
        response::parsed(outcome, None)
    }
}

fn answer(query: &Query, body: &[u8]) -> Result<Answer, UpstreamError> {
    let mut places = Vec::new();
    let is_list = Json::document(body)?.member("features").each_item(|feature| {
        places.extend(place(feature));
        // A reply may list millions of places: at most twice the limit is kept in memory.
        if places.len() == 2 * LIMIT {
            keep_nearest(query, &mut places);
        }
    });
    keep_nearest(query, &mut places);
    match is_list {
        true => Ok(Answer::Found(Found::new(places, &[ATTRIBUTION]))),
        false => Err(UpstreamError::senseless("the reply is not a GeoJSON FeatureCollection")),
    }
}

/// The error of a reply without success. Photon's reason is in `message`.
fn refusal(reply: &Reply<'_>) -> UpstreamError {
    match Json::document(reply.body).ok().and_then(|body| body.member("message").text()) {
        Some(message) => UpstreamError::of_status(reply.status, response::pause(reply), &message),
        None => response::refusal(reply),
    }
}

/// Keeps the nearest places. Places at the same distance keep the server's order.
fn keep_nearest(query: &Query, places: &mut Vec<Place<'static>>) {
    let distance = |place: &Place<'_>| query.distance_m(place.location);
    places.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    places.truncate(BOUND_MAX);
}

/// `None` if the feature has no name or no valid location, or is a kind of place that no client looks for.
#[rustfmt::skip]
fn place(feature: Json<'_>) -> Option<Place<'static>> {
    let [geometry, properties] = feature.members(["geometry", "properties"]);
    let location = point(geometry.member("coordinates").first_items())?;
    let [extent, extra, osm_type, osm_id] =
        properties.members(["extent", "extra", "osm_type", "osm_id"]);
    let [west, north, east, south] = extent.first_items();
    let viewport = point([west, south]).zip(point([east, north]));
    let viewport = viewport.map(|(southwest, northeast)| Viewport { southwest, northeast });
    let texts = properties.members(["name", "osm_key", "osm_value", "housenumber", "street",
        "district", "city", "state", "country", "countrycode"]);
    let [name, key, value, number, street, district, city, state, country, code] =
        texts.map(|text| one_line(&text.text().unwrap_or_default()));
    if name.is_empty() || TAGS_LEFT_OUT.contains(&key.as_str()) {
        return None;
    }
    // `extra` exists only if the server is configured to keep it.
    let religion = extra.member("religion").text().unwrap_or_default();
    let region = if matches!(&code[..], "US" | "GB") { region(&code, &state) } else { country };
    // The town that it is in, or its own name if it is a town.
    let town = if city.is_empty() && key == "place" { &name } else { &city };
    Some(Place {
        location,
        viewport: viewport.unwrap_or_else(|| Viewport::around(location, POINT_RADIUS_M)),
        place_id: place_id(osm_type, osm_id, location, &name).into(),
        scope: Scope::App,
        plus_code: Some(PlusCode::new(
            location.latitude,
            location.longitude,
            town,
            &region,
        )),
        types: osm::types(&key, &value, &religion).into(),
        vicinity: vicinity([number, street, district], &code, town),
        business: Business::default(),
        name: name.into(),
    })
}

/// The point with this longitude and latitude, if they are in range.
fn point(degrees: [Json<'_>; 2]) -> Option<Point> {
    let [longitude, latitude] = degrees.map(Json::number);
    let point = Point { latitude: latitude?, longitude: longitude? };
    Some(point).filter(|point| point.is_on_the_globe())
}

/// OpenStreetMap's own id; for a place from another origin, its location and name.
fn place_id(kind: Json<'_>, id: Json<'_>, location: Point, name: &str) -> String {
    let kind = match kind.text().as_deref() {
        Some("N") => Some("node"),
        Some("W") => Some("way"),
        Some("R") => Some("relation"),
        _ => None,
    };
    match kind.zip(id.parse::<i64>()) {
        Some((kind, id)) => format!("osm:{kind}/{id}"),
        None => format!("photon:{},{},{name}", location.latitude, location.longitude),
    }
}

/// The street with its number, and the town; else the district or the town.
fn vicinity(parts: [String; 3], code: &str, town: &str) -> Option<Cow<'static, str>> {
    let [number, street, district] = parts;
    let address = match code {
        "US" => [number, street.clone()],
        _ => [street.clone(), number],
    };
    let address = address.join(" ");
    let parts = match (street.is_empty(), district.is_empty()) {
        (true, true) => [town, ""],
        (true, false) => [&district, ""],
        (false, _) => [address.trim(), town],
    };
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(", ").into())
}
