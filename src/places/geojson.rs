//! One record of a GeoJSON sequence: a Feature, as Overture's places have it or plainer.
//!
//! In: the text of one Feature. Out: the [`Entry`] it means, or that it means no place, or what is
//! wrong with it. Of its properties are read, all but the position optional:
//!
//! ```text
//! id                      or the Feature's own id
//! names.primary           Overture; or a plain `name`
//! categories.primary      Overture: coffee_shop
//! addresses[0]            Overture: freeform, locality, region, country
//! ```
//!
//! Source: RFC 7946 (Feature, Point: longitude first); Overture's schema of places.

use std::borrow::Cow;

use serde_json::Value;

use super::entry::{E5Point, Entry, Types, one_line, region};

/// Overture asks for no particular text, but a reader should know.
const OVERTURE_ATTRIBUTION: &str =
    "Places: <a href=\"https://overturemaps.org/\">Overture Maps Foundation</a>";

/// Reads a Feature. One without a name means no place.
pub(super) fn entry(record: &[u8]) -> Result<Option<Entry>, String> {
    let feature: Value = serde_json::from_slice(record)
        .map_err(|error| format!("is not JSON from column {} on", error.column()))?;
    match feature["type"].as_str() {
        Some("Feature") => {}
        Some("FeatureCollection") => {
            return Err("is a FeatureCollection: a file has one Feature a line".to_string());
        }
        _ => return Err("is not a GeoJSON Feature".to_string()),
    }
    let position = position(&feature["geometry"])?;
    let properties = &feature["properties"];
    let primary = text(&properties["names"]["primary"]);
    let overture = !primary.is_empty();
    let name = if overture { primary } else { text(&properties["name"]) };
    if name.is_empty() {
        return Ok(None);
    }
    let address = &properties["addresses"][0];
    let (street, locality) = (text(&address["freeform"]), text(&address["locality"]));
    let near = [street.as_str(), &locality].into_iter().filter(|part| !part.is_empty());
    Ok(Some(Entry {
        position,
        population: 0,
        types: types(&properties["categories"]["primary"]),
        place_id: place_id(&feature, overture),
        vicinity: near.collect::<Vec<_>>().join(", "),
        region: region(&text(&address["country"]), &text(&address["region"])),
        locality,
        name,
        attribution: overture.then_some(OVERTURE_ATTRIBUTION),
    }))
}

fn position(geometry: &Value) -> Result<E5Point, String> {
    match geometry["type"].as_str() {
        Some("Point") => {}
        Some(other) => return Err(format!("is a {}, only a Point is a place", one_line(other))),
        None => return Err("has no geometry".to_string()),
    }
    let coordinate = |index: usize| geometry["coordinates"][index].as_f64();
    match (coordinate(1), coordinate(0)) {
        (Some(latitude), Some(longitude)) => E5Point::new(latitude, longitude),
        _ => Err("has no coordinates of two numbers".to_string()),
    }
}

/// Empty if there is none: then the file gives one.
fn place_id(feature: &Value, overture: bool) -> String {
    let own = [&feature["properties"]["id"], &feature["id"]].into_iter().find_map(|id| match id {
        Value::String(id) => Some(one_line(id)).filter(|id| !id.is_empty()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    });
    let origin = if overture { "overture" } else { "file" };
    own.map(|id| format!("{origin}:{id}")).unwrap_or_default()
}

fn types(category: &Value) -> Types {
    let category = Some(text(category)).filter(|category| !category.is_empty()).map(Cow::from);
    category.into_iter().chain(["point_of_interest".into(), "establishment".into()]).collect()
}

/// Empty if it is no text.
fn text(value: &Value) -> String {
    value.as_str().map(one_line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAFE: &str = r#"{"type":"Feature","id":"08f2","geometry":{"type":"Point",
        "coordinates":[-118.4451,34.0689,71.5]},"properties":{"names":{"primary":"Café\tNil",
        "common":null},"categories":{"primary":"coffee_shop","alternate":["bakery"]},
        "addresses":[{"freeform":"1 Main St","locality":"Los Angeles","postcode":"90024",
        "region":"CA","country":"US"}]}}"#;

    #[test]
    fn an_overture_place_has_a_category_and_an_address() {
        let entry = entry(CAFE.as_bytes()).unwrap().unwrap();
        assert_eq!(entry.position, E5Point { latitude: 3_406_890, longitude: -11_844_510 });
        assert_eq!((&entry.name[..], &entry.place_id[..]), ("Café Nil", "overture:08f2"));
        assert_eq!(entry.types, ["coffee_shop", "point_of_interest", "establishment"]);
        assert_eq!(entry.vicinity, "1 Main St, Los Angeles");
        assert_eq!((&entry.locality[..], &entry.region[..]), ("Los Angeles", "CA, USA"));
        assert_eq!(entry.attribution, Some(OVERTURE_ATTRIBUTION));
    }

    #[test]
    fn a_plain_feature_needs_no_more_than_a_point_and_a_name() {
        let plain = br#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},
            "properties":{"name":"Here"}}"#;
        let entry = entry(plain).unwrap().unwrap();
        assert_eq!((&entry.name[..], &entry.place_id[..], &entry.vicinity[..]), ("Here", "", ""));
        assert_eq!(entry.types, ["point_of_interest", "establishment"]);
        assert_eq!(entry.attribution, None);
    }

    #[test]
    fn what_has_no_name_is_not_a_place() {
        for name in ["null", "\"\"", "\"\\u0001 \"", "7"] {
            let record = format!(
                r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[1,2]}},
                "properties":{{"name":{name}}}}}"#
            );
            assert_eq!(entry(record.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn a_fault_says_what_is_wrong() {
        let fault = |from: &str, to: &str| entry(CAFE.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(fault("34.0689", "134"), "the latitude 134 is not between -90 and 90");
        assert_eq!(fault("[-118.4451,34.0689,71.5]", "[7]"), "has no coordinates of two numbers");
        assert_eq!(fault("\"Point\"", "\"Polygon\""), "is a Polygon, only a Point is a place");
        assert_eq!(fault("\"geometry\"", "\"shape\""), "has no geometry");
        assert_eq!(fault("\"Feature\"", "\"Point\""), "is not a GeoJSON Feature");
        assert!(fault("\"Feature\"", "\"FeatureCollection\"").contains("one Feature a line"));
        assert_eq!(entry(b"[1,").unwrap_err(), "is not JSON from column 3 on");
        assert_eq!(entry(b"[]").unwrap_err(), "is not a GeoJSON Feature");
    }
}
