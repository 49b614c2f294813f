//! Photon: OpenStreetMap, searched by a server of one's own.
//!
//! Out goes `GET /reverse?lat=...&lon=...&radius=...`; what comes back is GeoJSON, the nearest
//! first, mapped to Google's members:
//!
//! ```text
//!     geometry.coordinates [lon, lat]   geometry.location
//!     extent [west, north, east, south] geometry.viewport     else 150 m around
//!     name                              name                  without one it is left out
//!     osm_type, osm_id                  place_id, reference   osm:node/123
//!     osm_key, osm_value                types                 osm.rs
//!     housenumber, street, city         vicinity              else district, or city
//!     city, state, country              plus_code             computed
//! ```
//!
//! Photon knows no prominence, so fifty are asked for, streets and borders left out, and the first
//! twenty taken. In a city they may all be within 200 m: that is what nearest means.
//!
//! An answer may be kept for a minute. OpenStreetMap is to be named (ODbL), and is.
//!
//! Source: Photon's readme (komoot/photon), section "Reverse"; the wiki of OpenStreetMap.

use std::borrow::Cow;
use std::time::Duration;

use super::base_url::BaseUrl;
use super::decimal::{shifted, without_plus};
use super::entry::one_line;
use super::fetch::{Fetch, Reading, Reply, Target};
use super::json_reader::{NotJson, Reader};
use super::place::{Business, POINT_RADIUS_M, Place, Point, Scope, Viewport};
use super::plus_code::PlusCode;
use super::upstream::{self, Trouble};
use super::{Answer, BOUND_MAX, Found, Progress, Query, Source, Ticket, osm};

const PATH: &str = "/reverse";

/// The most a Photon server gives, unless it is told otherwise.
const LIMIT: &str = "50";

/// What somebody may want to know is nearby.
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

/// What nobody does, though a server may give it: ways and borders.
const TAGS_LEFT_OUT: [&str; 2] = ["boundary", "highway"];

const KEEP: Duration = Duration::from_secs(60);

const ATTRIBUTION: &str = "\u{a9} <a href=\"https://www.openstreetmap.org/copyright\">OpenStreetMap \
     contributors</a>, ODbL";

/// A Photon server, which answers the nearest first.
#[derive(Clone, Debug)]
pub struct Photon {
    /// Where it is; there is none that everyone may use.
    pub base: BaseUrl,
    /// In which language names are wanted; the server has to have it. None is that of the place.
    pub language: Option<String>,
}

impl Source for Photon {
    fn name(&self) -> &'static str {
        "photon"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let mut target = Target::new(self.base.join(PATH))
            .with("lat", &without_plus(&query.latitude_text))
            .with("lon", &without_plus(&query.longitude_text))
            .with("radius", &shifted(&query.radius_text, 0, "0.001"))
            .with("limit", LIMIT);
        if let Some(language) = &self.language {
            target = target.with("lang", language);
        }
        let target = TAGS.iter().fold(target, |target, tag| target.with("osm_tag", tag));
        Progress::Fetch(Fetch { keep: Some(KEEP), ..Fetch::get(&self.base, target) })
    }

    fn read(&mut self, _: &Query, reply: Reply<'_>) -> Reading {
        let outcome = match upstream::is_success(&reply) {
            true => upstream::check_is_json(&reply).and_then(|()| answer(reply.body)),
            false => Err(refusal(&reply)),
        };
        upstream::reading(outcome, None)
    }
}

fn answer(body: &[u8]) -> Result<Answer, Trouble> {
    let mut places = Vec::new();
    let mut features_are_listed = false;
    Reader::document(body, |reader| {
        reader.object(|reader, key| {
            match key {
                "features" => {
                    features_are_listed = reader.array(|reader| {
                        let place = Feature::read(reader)?.into_place();
                        places.extend(place.filter(|_| places.len() < BOUND_MAX));
                        Ok(())
                    })?;
                }
                _ => reader.skip()?,
            }
            Ok(())
        })
    })?;
    match features_are_listed {
        true => Ok(Answer::Found(Found::new(places, &[ATTRIBUTION]))),
        false => Err(Trouble::senseless("the reply is no GeoJSON FeatureCollection")),
    }
}

/// What a reply means that is no success. Photon says why in `message`.
fn refusal(reply: &Reply<'_>) -> Trouble {
    let mut message = None;
    let read = Reader::document(reply.body, |reader| {
        reader.object(|reader, key| {
            match key {
                "message" => message = reader.string()?,
                _ => reader.skip()?,
            }
            Ok(())
        })
    });
    match (read, message) {
        (Ok(_), Some(message)) => {
            Trouble::of_status(reply.status, upstream::pause(reply), &message)
        }
        _ => upstream::refusal(reply),
    }
}

/// A feature as far as it has been read. Texts that are not there are empty.
#[derive(Debug, Default)]
struct Feature {
    coordinates: Vec<Option<f64>>,
    extent: Vec<Option<f64>>,
    osm_type: String,
    osm_id: Option<u64>,
    osm_key: String,
    osm_value: String,
    religion: String,
    name: String,
    housenumber: String,
    street: String,
    district: String,
    city: String,
    state: String,
    country: String,
    country_code: String,
}

impl Feature {
    fn read(reader: &mut Reader<'_>) -> Result<Feature, NotJson> {
        let mut feature = Feature::default();
        reader.object(|reader, key| {
            match key {
                "geometry" => drop(reader.object(|reader, key| feature.geometry(reader, key))?),
                "properties" => drop(reader.object(|reader, key| feature.property(reader, key))?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(feature)
    }

    fn geometry(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<(), NotJson> {
        match key {
            "coordinates" => self.coordinates = numbers(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn property(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<(), NotJson> {
        let text = match key {
            "city" => &mut self.city,
            "country" => &mut self.country,
            "countrycode" => &mut self.country_code,
            "district" => &mut self.district,
            "housenumber" => &mut self.housenumber,
            "name" => &mut self.name,
            "osm_key" => &mut self.osm_key,
            "osm_type" => &mut self.osm_type,
            "osm_value" => &mut self.osm_value,
            "state" => &mut self.state,
            "street" => &mut self.street,
            "extent" => {
                self.extent = numbers(reader)?;
                return Ok(());
            }
            "osm_id" => {
                self.osm_id = reader.whole()?;
                return Ok(());
            }
            // Only there if the server was set up to keep it.
            "extra" => return reader.object(|reader, key| self.extra(reader, key)).map(drop),
            _ => return reader.skip(),
        };
        *text = one_line(&reader.string()?.unwrap_or_default());
        Ok(())
    }

    fn extra(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<(), NotJson> {
        match key {
            "religion" => self.religion = reader.string()?.unwrap_or_default().into_owned(),
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// None if it has no name, no id or no place on the globe, or is not what somebody looks for.
    fn into_place(self) -> Option<Place<'static>> {
        let &[Some(longitude), Some(latitude), ..] = &self.coordinates[..] else { return None };
        let location = Point { latitude, longitude };
        let is_looked_for = !TAGS_LEFT_OUT.contains(&self.osm_key.as_str());
        if self.name.is_empty() || !location.is_on_the_globe() || !is_looked_for {
            return None;
        }
        let kind = match self.osm_type.as_str() {
            "N" => "node",
            "W" => "way",
            "R" => "relation",
            _ => return None,
        };
        Some(Place {
            location,
            viewport: self.viewport().unwrap_or_else(|| Viewport::around(location, POINT_RADIUS_M)),
            place_id: format!("osm:{kind}/{}", self.osm_id?).into(),
            scope: Scope::App,
            plus_code: Some(PlusCode::new(latitude, longitude, self.town(), &self.region())),
            types: osm::types(&self.osm_key, &self.osm_value, &self.religion),
            vicinity: self.vicinity().map(Cow::Owned),
            name: self.name.into(),
            business: Business::default(),
        })
    }

    fn viewport(&self) -> Option<Viewport> {
        let &[Some(west), Some(north), Some(east), Some(south)] = &self.extent[..] else {
            return None;
        };
        let southwest = Point { latitude: south, longitude: west };
        let northeast = Point { latitude: north, longitude: east };
        (southwest.is_on_the_globe() && northeast.is_on_the_globe())
            .then_some(Viewport { southwest, northeast })
    }

    /// The street with its number, and the town; else what it is in.
    fn vicinity(&self) -> Option<String> {
        let Feature { street, district, .. } = self;
        let address = self.street_and_number();
        let parts = match (street.is_empty(), district.is_empty()) {
            (true, true) => [self.town(), ""],
            (true, false) => [district, ""],
            (false, _) => [&*address, self.town()],
        };
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Some(parts.join(", ")).filter(|vicinity| !vicinity.is_empty())
    }

    fn street_and_number(&self) -> String {
        let Feature { housenumber, street, country_code, .. } = self;
        let in_order = match country_code.as_str() {
            "US" => [housenumber, street],
            _ => [street, housenumber],
        };
        in_order.map(String::as_str).join(" ").trim().to_string()
    }

    /// The town it is in or is.
    fn town(&self) -> &str {
        match (self.city.as_str(), self.osm_key.as_str()) {
            ("", "place") => &self.name,
            (city, _) => city,
        }
    }

    /// What follows the town in a short address.
    fn region(&self) -> String {
        match (self.country_code.as_str(), self.state.as_str()) {
            ("US", "") => "USA".to_string(),
            ("US", state) => [state, ", USA"].concat(),
            ("GB", _) => "UK".to_string(),
            _ => self.country.clone(),
        }
    }
}

/// The first four of a list; each a number, or a hole where there is something else.
fn numbers(reader: &mut Reader<'_>) -> Result<Vec<Option<f64>>, NotJson> {
    let mut numbers = Vec::new();
    reader.array(|reader| {
        let number = reader.number()?;
        if numbers.len() < 4 {
            numbers.push(number);
        }
        Ok(())
    })?;
    Ok(numbers)
}
