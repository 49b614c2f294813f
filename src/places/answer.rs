//! The text of an answer: which members Google's Nearby Search has, and in which order.
//!
//! In: an [`Answer`] and the client's bound. Out: JSON, appended to a buffer. `json.rs` lays it out; the caller
//! writes the AT line before it and the blank line after it.

use super::json::{Object, degrees, document};
use super::raw_json::Json;
use super::{Answer, BOUND_MAX, Found, Listed, Page, Photo, Place, Point, SearchFailure, Viewport};

/// Typical size of a place with all members, in bytes; a longer one is not an error.
const PLACE_BYTES: usize = 2_048;

/// Typical size of a place of a gazetteer, in bytes.
const TOWN_BYTES: usize = 850;

/// Typical size of an answer without its places, in bytes.
const FRAME_BYTES: usize = 512;

/// The text of `info_messages` when the embedded places replace a failed source.
const FALLBACK_MESSAGE: &str =
    "The places provider failed; these places are from the gazetteer of the server itself.";

impl Answer {
    /// Marks this answer as a replacement for a failed source: a message to the client says so.
    pub fn into_fallback(mut self) -> Answer {
        if let Answer::Found(Found { messages, .. }) | Answer::Listed(Listed { messages, .. }) =
            &mut self
        {
            messages.push(FALLBACK_MESSAGE.to_string());
        }
        self
    }

    /// Appends the answer to `out`, cut to its first `bound` places. It has no newline at the end, and never two
    /// newlines in a row.
    ///
    /// `bound`: 1 to [`BOUND_MAX`], as in a WHATSAT; a larger one is reduced to that.
    /// Size: some 820 bytes per place, so at most about 17 KB for a gazetteer.
    pub fn write(&self, bound: usize, out: &mut Vec<u8>) {
        match self {
            Answer::Found(found) => found.write(bound, out, |_| ()),
            Answer::Listed(Listed { rows, result, attributions, messages }) => {
                reply(out, attributions, messages, first(rows, bound), result, |_| ());
            }
            Answer::Rendered(page) => page.write(bound, out),
            Answer::Failed(SearchFailure { message, .. }) => document(out, |reply| {
                reply.string("error_message", &**message);
                reply.strings("html_attributions", &[""; 0]);
                reply.objects("results", &[], result, |_| ());
                reply.string("status", self.status(bound));
            }),
        }
    }

    /// The first place as a client reads it: its name, id, types and vicinity, each empty if absent, and its
    /// location. `None` if there is no place.
    pub fn first(&self) -> Option<([String; 4], Option<Point>)> {
        let mut text = Vec::new();
        self.write(1, &mut text);
        let [place] = Json::document(&text).ok()?.member("results").first_items();
        let [types, geometry] = place.members(["types", "geometry"]);
        let mut words = Vec::new();
        types.each_item(|word| words.extend(word.text()));
        let [name, place_id, vicinity] = place
            .members(["name", "place_id", "vicinity"])
            .map(|text| text.text().unwrap_or_default().into_owned());
        let [latitude, longitude] =
            geometry.member("location").members(["lat", "lng"]).map(Json::number);
        let location = latitude.zip(longitude);
        let location = location.map(|(latitude, longitude)| Point { latitude, longitude });
        place.is_object().then(|| ([name, place_id, words.join(", "), vicinity], location))
    }

    /// The number of bytes that [`Answer::write`] appends for this bound. It is an estimate if the text is not
    /// rendered yet: good for a gazetteer, and sometimes too small for places with more members.
    pub fn bytes(&self, bound: usize) -> usize {
        match self {
            Answer::Found(_) | Answer::Listed(_) => FRAME_BYTES + self.count(bound) * TOWN_BYTES,
            Answer::Rendered(page) => page.bytes(bound),
            Answer::Failed(failure) => FRAME_BYTES + failure.message.len(),
        }
    }

    /// The `status` that [`Answer::write`] writes for this bound: `OK`, `ZERO_RESULTS`, or that of the failure. For
    /// the log.
    pub fn status(&self, bound: usize) -> &'static str {
        match self {
            Answer::Found(_) | Answer::Listed(_) => status(self.count(bound)),
            Answer::Rendered(page) => page.status,
            Answer::Failed(failure) => failure.status.as_str(),
        }
    }

    /// The number of places that [`Answer::write`] writes for this bound.
    pub fn count(&self, bound: usize) -> usize {
        match self {
            Answer::Found(Found { places, .. }) => first(places, bound).len(),
            Answer::Listed(Listed { rows, .. }) => first(rows, bound).len(),
            Answer::Rendered(page) => page.count(bound),
            Answer::Failed(_) => 0,
        }
    }
}

impl Found<'_> {
    /// Renders the places as text, which no longer borrows from the input.
    pub(super) fn render(&self) -> Page {
        let mut text = Vec::with_capacity((self.places.len() + 1) * PLACE_BYTES);
        let mut ends = Vec::with_capacity(self.places.len() + 1);
        self.write(BOUND_MAX, &mut text, |end| ends.push(end));
        Page::new(text, ends, status(self.places.len()))
    }

    /// Writes at most `bound` places as a reply. [`Object::objects`] explains `end`, which is called for the results.
    fn write(&self, bound: usize, out: &mut Vec<u8>, end: impl FnMut(usize)) {
        reply(out, &self.attributions, &self.messages, first(&self.places, bound), result, end);
    }
}

/// Writes a successful reply with these places, each of them by `result`.
fn reply<T>(
    out: &mut Vec<u8>,
    attributions: &[impl AsRef<str>],
    messages: &[String],
    places: &[T],
    result: impl Fn(&mut Object<'_>, &T),
    end: impl FnMut(usize),
) {
    document(out, |reply| {
        reply.strings("html_attributions", attributions);
        if !messages.is_empty() {
            reply.strings("info_messages", messages);
        }
        reply.objects("results", places, result, end);
        reply.string("status", status(places.len()));
    });
}

fn status(count: usize) -> &'static str {
    if count == 0 { "ZERO_RESULTS" } else { "OK" }
}

fn first<T>(places: &[T], bound: usize) -> &[T] {
    &places[..places.len().min(bound).min(BOUND_MAX)]
}

fn result(result: &mut Object<'_>, place: &Place<'_>) {
    let business = &place.business;
    result.string("business_status", business.status);
    geometry(result.raw("geometry"), place.location, place.viewport);
    result.string("icon", business.icon.as_deref());
    result.string("icon_background_color", business.icon_background_color.as_deref());
    result.string("icon_mask_base_uri", business.icon_mask_base_uri.as_deref());
    result.string("name", &*place.name);
    if let Some(open_now) = business.open_now {
        result.object("opening_hours", |hours| hours.scalar("open_now", open_now));
    }
    if let Some(picture) = &business.photo {
        result.objects("photos", std::slice::from_ref(picture), photo, |_| ());
    }
    result.string("place_id", &*place.place_id);
    if let Some(code) = &place.plus_code {
        result.object("plus_code", |plus_code| {
            plus_code.string("compound_code", code.compound.as_deref());
            plus_code.string("global_code", &*code.global);
        });
    }
    if let Some(level) = business.price_level {
        result.scalar("price_level", level);
    }
    if let Some(rating) = business.rating {
        result.scalar("rating", rating);
    }
    // Google has deprecated `reference`; since then it is equal to the id.
    result.string("reference", &*place.place_id);
    result.string("scope", place.scope.as_str());
    result.strings("types", &place.types);
    if let Some(total) = business.user_ratings_total {
        result.scalar("user_ratings_total", total);
    }
    result.string("vicinity", place.vicinity.as_deref());
}

fn photo(object: &mut Object<'_>, photo: &Photo<'_>) {
    object.scalar("height", photo.height);
    object.strings("html_attributions", &photo.attributions);
    object.string("photo_reference", &*photo.reference);
    object.scalar("width", photo.width);
}

/// Writes the geometry, which is half of a place of a gazetteer. All its members are known, so the text between two
/// numbers is one copy. A test compares it with an [`Object`].
pub(super) fn geometry(out: &mut Vec<u8>, location: Point, viewport: Viewport) {
    let points = [location, viewport.northeast, viewport.southwest];
    let numbers = points.iter().flat_map(|point| [point.latitude, point.longitude]);
    for (before, number) in GEOMETRY.into_iter().zip(numbers) {
        out.extend_from_slice(before.as_bytes());
        degrees(out, number);
    }
    out.extend_from_slice(b"\n               }\n            }\n         }");
}

/// What precedes each number of a geometry, in the layout of `json.rs`.
const GEOMETRY: [&str; 6] = [
    "{\n            \"location\" : {\n               \"lat\" : ",
    ",\n               \"lng\" : ",
    "\n            },\n            \"viewport\" : {\n               \"northeast\" : {\n                  \"lat\" : ",
    ",\n                  \"lng\" : ",
    "\n               },\n               \"southwest\" : {\n                  \"lat\" : ",
    ",\n                  \"lng\" : ",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::{Business, PlusCode, Scope, Viewport};
    use proptest::prelude::*;
    use std::borrow::Cow;
    use std::time::Duration;

    fn written(answer: &Answer, bound: usize) -> String {
        let mut out = b"AT line\n".to_vec();
        answer.write(bound, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("AT line\n").unwrap().to_string()
    }

    fn santa_monica() -> Place<'static> {
        Place {
            location: Point { latitude: 34.01949, longitude: -118.49138 },
            viewport: Viewport {
                southwest: Point { latitude: 34.0, longitude: -118.5 },
                northeast: Point { latitude: 34.04, longitude: -118.48 },
            },
            name: "Santa Monica".into(),
            place_id: "geonames:5393212".into(),
            scope: Scope::App,
            plus_code: Some(PlusCode::new(34.01949, -118.49138, "Santa Monica", "CA, USA")),
            types: vec!["locality".into(), "political".into()].into(),
            vicinity: Some("Santa Monica".into()),
            business: Business::default(),
        }
    }

    fn found(count: usize) -> Answer {
        let attributions = vec!["<a>us</a>".to_string()];
        Answer::Found(Found {
            places: vec![santa_monica(); count],
            attributions,
            messages: Vec::new(),
        })
    }

    #[test]
    fn a_place_is_written_with_googles_members_in_googles_layout() {
        let expected = r#"{
   "html_attributions" : [ "\u003ca\u003eus\u003c/a\u003e" ],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.01949,
               "lng" : -118.49138
            },
            "viewport" : {
               "northeast" : {
                  "lat" : 34.04,
                  "lng" : -118.48
               },
               "southwest" : {
                  "lat" : 34,
                  "lng" : -118.5
               }
            }
         },
         "name" : "Santa Monica",
         "place_id" : "geonames:5393212",
         "plus_code" : {
            "compound_code" : "2G95+QC Santa Monica, CA, USA",
            "global_code" : "85632G95+QC"
         },
         "reference" : "geonames:5393212",
         "scope" : "APP",
         "types" : [ "locality", "political" ],
         "vicinity" : "Santa Monica"
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(written(&found(1), 20), expected);
    }

    proptest! {
        #[test]
        fn a_geometry_is_laid_out_as_an_object_is(e7 in any::<[i32; 6]>()) {
            let [a, b, c, d, e, f] = e7.map(|e7| f64::from(e7) / 1e7);
            let point = |latitude, longitude| Point { latitude, longitude };
            let viewport = Viewport { southwest: point(c, d), northeast: point(e, f) };
            let place = Place { location: point(a, b), viewport, ..santa_monica() };
            let corner = |object: &mut Object<'_>, point: Point| {
                object.scalar("lat", point.latitude);
                object.scalar("lng", point.longitude);
            };
            let [mut quick, mut plain] = [Vec::new(), Vec::new()];
            document(&mut plain, |reply| {
                let result = |result: &mut Object<'_>, (): &()| {
                    result.object("geometry", |geometry| {
                        geometry.object("location", |object| corner(object, place.location));
                        geometry.object("viewport", |viewport| {
                            let Viewport { southwest, northeast } = place.viewport;
                            viewport.object("northeast", |object| corner(object, northeast));
                            viewport.object("southwest", |object| corner(object, southwest));
                        });
                    });
                };
                reply.objects("results", &[()], result, |_| ());
            });
            document(&mut quick, |reply| {
                let result = |result: &mut Object<'_>, (): &()| {
                    geometry(result.raw("geometry"), place.location, viewport);
                };
                reply.objects("results", &[()], result, |_| ());
            });
            prop_assert_eq!(String::from_utf8(quick).unwrap(), String::from_utf8(plain).unwrap());
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let bare =
            Place { plus_code: None, vicinity: None, types: Cow::default(), ..santa_monica() };
        let answer = Answer::Found(Found { places: vec![bare], ..Found::default() });
        let value: serde_json::Value = serde_json::from_str(&written(&answer, 1)).unwrap();
        let result = &value["results"][0];
        assert_eq!(result["types"], serde_json::json!([]));
        assert!(result.get("plus_code").is_none() && result.get("vicinity").is_none());
    }

    #[test]
    fn all_that_is_known_of_a_business_is_written_in_its_place() {
        let photo = Photo {
            height: 1_000,
            width: 1_500,
            reference: "r".into(),
            attributions: vec!["a".to_string()],
        };
        let business = Business {
            status: Some("OPERATIONAL"),
            icon: Some("i".into()),
            icon_background_color: Some("#7B9EB0".into()),
            icon_mask_base_uri: Some("m".into()),
            open_now: Some(false),
            photo: Some(photo),
            price_level: Some(0),
            rating: Some(4.0),
            user_ratings_total: Some(12),
        };
        let bar = Place { business, scope: Scope::Google, ..santa_monica() };
        let written = written(&Answer::Found(Found { places: vec![bar], ..Found::default() }), 1);
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        let result = &value["results"][0];
        let expected = serde_json::json!({
            "business_status": "OPERATIONAL",
            "icon": "i",
            "icon_background_color": "#7B9EB0",
            "icon_mask_base_uri": "m",
            "opening_hours": { "open_now": false },
            "photos": [
                { "height": 1000, "html_attributions": ["a"], "photo_reference": "r", "width": 1500 },
            ],
            "price_level": 0,
            "rating": 4,
            "scope": "GOOGLE",
            "user_ratings_total": 12,
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&result[key], value, "{key}");
        }
        assert_eq!(result.as_object().unwrap().len(), 17);
    }

    #[test]
    fn a_fallback_says_that_it_is_one() {
        let answer = found(1).into_fallback();
        let value: serde_json::Value = serde_json::from_str(&written(&answer, 1)).unwrap();
        assert!(value["info_messages"][0].as_str().unwrap().contains("gazetteer"));
        let nothing = Answer::Found(Found::default()).into_fallback();
        assert!(written(&nothing, 1).contains("info_messages"));
        let failed = Answer::Failed(SearchFailure::limited(None));
        assert_eq!(written(&failed.clone().into_fallback(), 1), written(&failed, 1));
    }

    #[test]
    fn nothing_found_is_zero_results() {
        let nothing = Answer::Found(Found::default());
        let expected = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}";
        assert_eq!(written(&nothing, 20), expected);
        assert_eq!(nothing.status(20), "ZERO_RESULTS");
    }

    #[test]
    fn a_failure_has_googles_form() {
        let failed = Answer::Failed(SearchFailure::limited(Some(Duration::from_secs(3))));
        let expected = r#"{
   "error_message" : "Query limit reached; retry after 3 s.",
   "html_attributions" : [],
   "results" : [],
   "status" : "OVER_QUERY_LIMIT"
}"#;
        assert_eq!(written(&failed, 5), expected);
        assert_eq!((failed.status(5), failed.count(5)), ("OVER_QUERY_LIMIT", 0));
    }

    #[test]
    fn no_more_places_are_written_than_the_bound_or_the_limit() {
        for (places, bound, count) in [(3, 2, 2), (3, 3, 3), (3, 20, 3), (30, usize::MAX, 20)] {
            let value: serde_json::Value =
                serde_json::from_str(&written(&found(places), bound)).unwrap();
            assert_eq!(value["results"].as_array().unwrap().len(), count);
            assert_eq!(found(places).count(bound), count);
            assert_eq!(value["status"], found(places).status(bound));
        }
    }
}
