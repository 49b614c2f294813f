//! The text of an answer: which members Google's Nearby Search has, and in which order.
//!
//! In: an [`Answer`] and the client's bound. Out: JSON, appended to a buffer. How it is laid out
//! is `json.rs`'s business; that an AT line precedes it and a blank line follows, the caller's.

use super::json::{Object, document};
use super::{Answer, BOUND_MAX, Failure, Found, Place, Point};

/// Google's word for an id that only the application which gave it knows.
const SCOPE: &str = "APP";

impl Answer {
    /// Appends the answer to `out`, cut to its first `bound` places. No newline at the end, and
    /// never two in a row.
    ///
    /// `bound`: 1 to [`BOUND_MAX`], as a WHATSAT has it; more is cut to that.
    /// Size: some 800 bytes a place, so about 16 KB at most for a gazetteer.
    pub fn write(&self, bound: usize, out: &mut Vec<u8>) {
        document(out, |reply| match self {
            Answer::Found(Found { attributions, .. }) => {
                reply.strings("html_attributions", attributions);
                reply.objects("results", self.places(bound), result);
                reply.string("status", self.status(bound));
            }
            Answer::Failed(Failure { message, .. }) => {
                reply.string("error_message", message);
                reply.strings("html_attributions", &[""; 0]);
                reply.objects("results", self.places(bound), result);
                reply.string("status", self.status(bound));
            }
        });
    }

    /// The `status` that [`Answer::write`] writes for this bound: `OK`, `ZERO_RESULTS`, or that of
    /// the failure. For the log.
    pub fn status(&self, bound: usize) -> &'static str {
        match self {
            Answer::Failed(failure) => failure.status.as_str(),
            Answer::Found(_) if self.count(bound) == 0 => "ZERO_RESULTS",
            Answer::Found(_) => "OK",
        }
    }

    /// How many places [`Answer::write`] writes for this bound.
    pub fn count(&self, bound: usize) -> usize {
        self.places(bound).len()
    }

    fn places(&self, bound: usize) -> &[Place] {
        match self {
            Answer::Found(found) => &found.places[..found.places.len().min(bound).min(BOUND_MAX)],
            Answer::Failed(_) => &[],
        }
    }
}

fn result(result: &mut Object<'_>, place: &Place) {
    result.object("geometry", |geometry| {
        geometry.object("location", |location| point(location, place.location));
        geometry.object("viewport", |viewport| {
            viewport.object("northeast", |corner| point(corner, place.viewport.northeast));
            viewport.object("southwest", |corner| point(corner, place.viewport.southwest));
        });
    });
    result.string("name", &place.name);
    result.string("place_id", &place.place_id);
    if let Some(code) = &place.plus_code {
        result.object("plus_code", |plus_code| {
            if let Some(compound) = &code.compound {
                plus_code.string("compound_code", compound);
            }
            plus_code.string("global_code", &code.global);
        });
    }
    // Deprecated by Google, and there equal to the id ever since.
    result.string("reference", &place.place_id);
    result.string("scope", SCOPE);
    result.strings("types", &place.types);
    if let Some(vicinity) = &place.vicinity {
        result.string("vicinity", vicinity);
    }
}

fn point(object: &mut Object<'_>, point: Point) {
    object.number("lat", point.latitude);
    object.number("lng", point.longitude);
}

#[cfg(test)]
mod tests {
    use super::super::{PlusCode, Status, Viewport};
    use super::*;

    fn written(answer: &Answer, bound: usize) -> String {
        let mut out = b"AT line\n".to_vec();
        answer.write(bound, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("AT line\n").unwrap().to_string()
    }

    fn santa_monica() -> Place {
        Place {
            location: Point { latitude: 34.01949, longitude: -118.49138 },
            viewport: Viewport {
                southwest: Point { latitude: 34.0, longitude: -118.5 },
                northeast: Point { latitude: 34.04, longitude: -118.48 },
            },
            name: "Santa Monica".to_string(),
            place_id: "geonames:5393212".to_string(),
            plus_code: Some(PlusCode::new(34.01949, -118.49138, "Santa Monica", "CA, USA")),
            types: vec!["locality".into(), "political".into()],
            vicinity: Some("Santa Monica".to_string()),
        }
    }

    fn found(count: usize) -> Answer {
        let attributions = vec!["<a>us</a>".to_string()];
        Answer::Found(Found { places: vec![santa_monica(); count], attributions })
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

    #[test]
    fn what_is_not_known_is_left_out() {
        let bare = Place { plus_code: None, vicinity: None, types: Vec::new(), ..santa_monica() };
        let answer = Answer::Found(Found { places: vec![bare], attributions: Vec::new() });
        let value: serde_json::Value = serde_json::from_str(&written(&answer, 1)).unwrap();
        let result = &value["results"][0];
        assert_eq!(result["types"], serde_json::json!([]));
        assert!(result.get("plus_code").is_none() && result.get("vicinity").is_none());
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
        let failed = Answer::Failed(Failure {
            status: Status::OverQueryLimit,
            message: "Query limit reached; retry after 3 s.".to_string(),
        });
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
