//! The parser of one GeoJSON Feature, from Overture's places or simpler files.
//!
//! In: the text of a Feature. Out: its [`Entry`], or that it is not a place nearby, or what is wrong with it. These
//! properties are read; all but a name are optional:
//!
//! ```text
//! id                      or else the Feature's own id
//! names.primary           Overture; or else a plain `name`
//! taxonomy.primary        Overture, from 2026 on: coffee_shop
//! categories.primary      Overture, until September 2026
//! basic_category          Overture, from 2026 on, if neither of the above is set
//! operating_status        Overture: a permanently_closed place is skipped
//! addresses[0]            Overture: freeform, locality, region, country
//! ```
//!
//! A member of an unexpected type counts as absent.
//!
//! Source: RFC 7946 (Feature, Point: longitude first; 3.1 and 3.2: features without a location); Overture's schema of
//! places, and its guide to the taxonomy.

use super::entry::{
    CLOSED, E5Point, Entry, NO_NAME, NO_POINT, NoEntry, establishment, one_line, region,
};
use super::raw_json::{Json, NotJson};

/// Overture demands no particular text, but a user should see the origin.
const OVERTURE_ATTRIBUTION: &str =
    "Places: <a href=\"https://overturemaps.org/\">Overture Maps Foundation</a>";

/// Parses a Feature.
#[rustfmt::skip]
pub(super) fn entry(record: &[u8]) -> Result<Entry, NoEntry> {
    let members = Json::members_of(record, ["type", "id", "geometry", "properties"])
        .map_err(|NotJson(error)| format!("is not JSON: within the Feature, {error}"))?;
    // Only an item of a list of features can be a value other than an object.
    let Some([kind, id, geometry, properties]) = members else {
        return Err(NoEntry::PassedOver(NO_POINT));
    };
    match kind.text().as_deref() {
        Some("Feature") => {}
        Some("FeatureCollection") => {
            return Err("is a FeatureCollection without a list of features".to_string().into());
        }
        _ => return Err("is not a GeoJSON Feature".to_string().into()),
    }
    let Some([longitude, latitude]) = point(geometry) else {
        return Err(NoEntry::PassedOver(NO_POINT));
    };
    let position = E5Point::new(latitude, longitude)?;
    let [own_id, names, name, status, addresses, taxonomy, categories, basic_category] = properties
        .members(["id", "names", "name", "operating_status", "addresses", "taxonomy", "categories",
            "basic_category"]);
    if status.text().as_deref() == Some("permanently_closed") {
        return Err(NoEntry::PassedOver(CLOSED));
    }
    let primary = text(names.member("primary"));
    let overture = primary.is_some();
    let Some(name) = primary.or_else(|| text(name)) else {
        return Err(NoEntry::PassedOver(NO_NAME));
    };
    let [address] = addresses.first_items();
    let [street, locality, division, country] = address
        .members(["freeform", "locality", "region", "country"])
        .map(|part| text(part).unwrap_or_default());
    let kinds = [taxonomy.member("primary"), categories.member("primary"), basic_category];
    let near = [street.as_str(), &locality].into_iter().filter(|part| !part.is_empty());
    Ok(Entry {
        position,
        population: 0,
        types: establishment(kinds.into_iter().find_map(text).as_deref()),
        place_id: place_id([own_id, id], overture),
        vicinity: near.collect::<Vec<_>>().join(", "),
        region: region(&country, &division),
        locality,
        name,
        attribution: overture.then_some(OVERTURE_ATTRIBUTION),
    })
}

/// Longitude and latitude of a geometry that is a Point with two numbers.
fn point(geometry: Json<'_>) -> Option<[f64; 2]> {
    let [kind, coordinates] = geometry.members(["type", "coordinates"]);
    let [longitude, latitude] = coordinates.first_items().map(Json::number);
    (kind.text()? == "Point").then_some([longitude?, latitude?])
}

/// The id of the place; empty if it has none, and then the file assigns one.
fn place_id(ids: [Json<'_>; 2], overture: bool) -> String {
    let number = |id: Json<'_>| id.number().map(|_| id.as_str().to_string());
    let own = ids.into_iter().find_map(|id| text(id).or_else(|| number(id)));
    let origin = if overture { "overture" } else { "file" };
    own.map(|id| format!("{origin}:{id}")).unwrap_or_default()
}

/// `None` if the value is not a string, or contains only white space.
fn text(value: Json<'_>) -> Option<String> {
    value.text().map(|text| one_line(&text)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAFE: &str = r#"{"type":"Feature","id":"08f2","geometry":{"type":"Point",
        "coordinates":[-118.4451,34.0689,71.5]},"properties":{"names":{"primary":"Café\tNil",
        "common":null},"confidence":null,"categories":{"primary":"coffee_shop","alternate":["bakery"]},
        "addresses":[{"freeform":"1 Main St","locality":"Los Angeles","postcode":"90024",
        "region":"CA","country":"US"},{"freeform":"2 Main St"}]}}"#;

    fn changed(from: &str, to: &str) -> Result<Entry, NoEntry> {
        assert!(CAFE.contains(from), "{from}");
        entry(CAFE.replace(from, to).as_bytes())
    }

    #[test]
    fn an_overture_place_has_a_category_and_an_address() {
        let entry = entry(CAFE.as_bytes()).unwrap();
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
        let entry = entry(plain).unwrap();
        assert_eq!((&entry.name[..], &entry.place_id[..], &entry.vicinity[..]), ("Here", "", ""));
        assert_eq!(entry.types, ["point_of_interest", "establishment"]);
        assert_eq!(entry.attribution, None);
    }

    #[test]
    fn the_kind_of_an_overture_place_is_read_in_every_release() {
        let old = r#""categories":{"primary":"coffee_shop","alternate":["bakery"]}"#;
        for (instead, kind) in [
            (r#""taxonomy":{"primary":"cafe","hierarchy":["food","cafe"]}"#, "cafe"),
            (r#""taxonomy":{"primary":"cafe"},"categories":{"primary":"coffee_shop"}"#, "cafe"),
            (r#""categories":null,"taxonomy":{"primary":"cafe"},"basic_category":"food""#, "cafe"),
            (r#""basic_category":"food","taxonomy":null,"categories":null"#, "food"),
            (r#""basic_category":"food","taxonomy":{"primary":null}"#, "food"),
            (r#""basic_category":"food","taxonomy":"cafe","categories":["x"]"#, "food"),
            (r#""basic_category":["food"]"#, "point_of_interest"),
        ] {
            assert_eq!(changed(old, instead).unwrap().types[0], kind, "{instead}");
        }
        for kind in ["point_of_interest", "establishment"] {
            let types = changed(old, &format!(r#""basic_category":"{kind}""#)).unwrap().types;
            assert_eq!(types, ["point_of_interest", "establishment"], "each is told once");
        }
    }

    #[test]
    fn what_is_permanently_closed_is_not_a_place() {
        let status = |status: &str| {
            changed("\"confidence\":null", &format!("\"operating_status\":{status}"))
        };
        assert_eq!(status("\"permanently_closed\""), Err(NoEntry::PassedOver(CLOSED)));
        for other in ["\"open\"", "\"temporarily_closed\"", "null", "7"] {
            assert!(status(other).is_ok(), "{other}");
        }
    }

    #[test]
    fn what_has_no_name_is_not_a_place() {
        for name in ["null", "\"\"", "\"\\u0001 \"", "7", "{}", "[\"Bar\"]"] {
            let record = format!(
                r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[1,2]}},
                "properties":{{"name":{name}}}}}"#
            );
            assert_eq!(entry(record.as_bytes()), Err(NoEntry::PassedOver(NO_NAME)), "{name}");
        }
        for none in ["null", "[]", "7"] {
            let record = format!(
                r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[1,2]}},
                "properties":{none}}}"#
            );
            assert_eq!(entry(record.as_bytes()), Err(NoEntry::PassedOver(NO_NAME)), "{none}");
        }
    }

    #[test]
    fn a_plain_name_stands_in_for_a_primary_one_that_is_null() {
        let primary = "\"primary\":\"Café\\tNil\",\n        \"common\":null";
        let plain = changed(primary, r#""primary":7}, "name":"Plain", "x":{"#);
        assert_eq!(plain.unwrap().name, "Plain");
        let none = changed(primary, r#""primary":null,"common":{"fr":"Café"}"#);
        assert_eq!(none, Err(NoEntry::PassedOver(NO_NAME)));
    }

    #[test]
    fn what_has_no_point_is_not_a_place() {
        let geometry = "{\"type\":\"Point\",\n        \"coordinates\":[-118.4451,34.0689,71.5]}";
        for instead in [
            "null",
            "[]",
            "\"POINT(1 2)\"",
            "{}",
            r#"{"type":"Point"}"#,
            r#"{"type":"Point","coordinates":[]}"#,
            r#"{"type":"Point","coordinates":null}"#,
            r#"{"type":"Point","coordinates":[7]}"#,
            r#"{"type":"Point","coordinates":[null,null]}"#,
            r#"{"type":"Point","coordinates":["1","2"]}"#,
            r#"{"type":"Point","coordinates":[1e999,2]}"#,
            r#"{"type":"Point","coordinates":[[1,2]]}"#,
            r#"{"type":"MultiPoint","coordinates":[[1,2]]}"#,
            r#"{"type":"LineString","coordinates":[[1,2],[3,4]]}"#,
            r#"{"type":"Polygon","coordinates":[[[1,2],[3,4],[5,6],[1,2]]]}"#,
            r#"{"type":"Polygon","coordinates":[1,2]}"#,
            r#"{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}"#,
        ] {
            let read = changed(geometry, instead);
            assert_eq!(read, Err(NoEntry::PassedOver(NO_POINT)), "{instead}");
        }
        assert_eq!(changed("\"geometry\"", "\"shape\""), Err(NoEntry::PassedOver(NO_POINT)));
    }

    #[test]
    fn an_id_is_a_text_or_a_number() {
        for (id, expected) in [
            ("-7", "overture:-7"),
            ("18446744073709551615", "overture:18446744073709551615"),
            ("\" a \\n b\"", "overture:a b"),
            ("null", ""),
            ("[1]", ""),
            ("\"\"", ""),
        ] {
            assert_eq!(changed("\"08f2\"", id).unwrap().place_id, expected, "{id}");
        }
        let both = changed("\"confidence\":null", "\"id\":12").unwrap();
        assert_eq!(both.place_id, "overture:12", "the properties come first");
    }

    #[test]
    fn half_a_surrogate_pair_in_a_text_becomes_the_replacement_character() {
        let entry = changed("Café", "\\ud83d").unwrap();
        assert_eq!(entry.name, "\u{fffd} Nil");
        let entry = changed("coffee_shop", "\\udc00").unwrap();
        assert_eq!(entry.types[0], "\u{fffd}");
    }

    #[test]
    fn a_fault_says_what_is_wrong() {
        fn message(read: Result<Entry, NoEntry>) -> String {
            match read {
                Err(NoEntry::Fault(message)) => message,
                other => panic!("{other:?}"),
            }
        }
        let fault = |from: &str, to: &str| message(changed(from, to));
        assert_eq!(fault("34.0689", "134"), "the latitude 134 is not between -90 and 90");
        assert_eq!(fault("-118.4451", "181"), "the longitude 181 is not between -180 and 180");
        assert_eq!(fault("\"Feature\"", "\"Point\""), "is not a GeoJSON Feature");
        assert_eq!(fault("\"Feature\"", "null"), "is not a GeoJSON Feature");
        let collection = fault("\"Feature\"", "\"FeatureCollection\"");
        assert_eq!(collection, "is a FeatureCollection without a list of features");
        let spoilt = "is not JSON: within the Feature, key must be a string at line 1 column 2";
        assert_eq!(message(entry(b"{1,")), spoilt);
        let deep = ["[".repeat(65), "]".repeat(65)].concat();
        let levels = "is not JSON: within the Feature, nested deeper than 64 levels";
        assert_eq!(message(entry(deep.as_bytes())), levels);
        let bytes =
            "is not JSON: within the Feature, invalid utf-8 sequence of 1 bytes from index 6";
        assert_eq!(message(entry(b"{\"a\":\"\xff\"}")), bytes);
    }
}
