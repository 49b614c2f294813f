//! The body of a PUT: `{"lat":34.06,"lon":-118.44,"time":"1795954532"}`, or a GeoJSON Feature with a Point and the
//! property `time`.
//!
//! It is read strictly: a fault says what is wrong, and where, by a JSON pointer (RFC 6901). `time` is a number, or a
//! string, which keeps more digits; without it the report gets the time of receipt. Unknown members are ignored.
//!
//! Source: RFC 7946, sections 3.1.2 and 3.2.

use super::draft::{Fault, Given, PhoneReport, ReportDraft, ReportRules, given};
use super::json_parts::{Unreadable, members_of};
use crate::places::Json;

/// Reads the body of a PUT.
///
/// # Errors
/// The body is not JSON or too long, or it is no report.
pub fn read_put(
    body: &[u8],
    rules: &ReportRules,
) -> Result<Result<PhoneReport, Fault>, Unreadable> {
    let names = ["type", "geometry", "properties", "lat", "lon", "time"];
    let no_object = Fault::malformed("the body must be a JSON object", "");
    Ok(members_of(body, names)?.ok_or(no_object).and_then(|members| read(members, rules)))
}

fn read(members: [Json<'_>; 6], rules: &ReportRules) -> Result<PhoneReport, Fault> {
    let [kind, geometry, properties, lat, lon, time] = members;
    if kind.as_str().is_empty() && geometry.as_str().is_empty() {
        return checked(lat, lon, time, rules);
    }
    if kind.text().as_deref() != Some("Feature") {
        return Err(Fault::malformed("type must be Feature", "/type"));
    }
    let [kind, coordinates] = geometry.members(["type", "coordinates"]);
    if kind.text().as_deref() != Some("Point") {
        return Err(Fault::malformed("the geometry must be a Point", "/geometry/type"));
    }
    let [longitude, latitude] = coordinates.first_items();
    if latitude.as_str().is_empty() {
        let why = "coordinates must be an array of a longitude and a latitude";
        return Err(Fault::malformed(why, "/geometry/coordinates"));
    }
    if !properties.is_object() && !["", "null"].contains(&properties.as_str()) {
        return Err(Fault::malformed("properties must be an object or null", "/properties"));
    }
    checked(latitude, longitude, properties.member("time"), rules).map_err(|fault| {
        let pointer = match fault.pointer {
            "/lat" => "/geometry/coordinates/1",
            "/lon" => "/geometry/coordinates/0",
            _ => "/properties/time",
        };
        Fault { pointer, ..fault }
    })
}

/// Checks a report whose degrees must be numbers, and whose time, if present, must be a number or a string.
fn checked(
    lat: Json<'_>,
    lon: Json<'_>,
    time: Json<'_>,
    rules: &ReportRules,
) -> Result<PhoneReport, Fault> {
    let time = given(time).or(raw(time));
    ReportDraft { id: None, latitude: raw(lat), longitude: raw(lon), time }.check(rules)
}

/// A value as JSON writes it. If it is not a number, its text cannot be read as one.
fn raw(json: Json<'_>) -> Given<'_> {
    (!json.as_str().is_empty()).then(|| json.as_str().as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phones::reading::tests::rules;

    fn read(body: &str) -> Result<String, (String, &'static str)> {
        match read_put(body.as_bytes(), &rules()) {
            Ok(Ok(report)) => {
                let iamat = report.iamat(b"jane");
                let text = [iamat.location.text, b" ", iamat.stamp_text].concat();
                Ok(String::from_utf8(text).expect("it is ASCII"))
            }
            Ok(Err(fault)) => Err((fault.why.to_owned(), fault.pointer)),
            Err(why) => Err((why.to_string(), "unreadable")),
        }
    }

    #[test]
    fn both_forms_are_read() {
        for (body, expected) in [
            (
                r#"{"lat":34.06893010,"lon":-118.4451272,"time":1795954532}"#,
                "+34.0689301-118.4451272 1795954532",
            ),
            (
                r#"{"lat":1,"lon":2,"time":"1479413884.392014450","x":[]}"#,
                "+1+2 1479413884.392014450",
            ),
            (r#"{"lat":1,"lon":2,"time":"2026-11-29T12:15:32Z"}"#, "+1+2 1795954532"),
            (r#"{"lat":1,"lon":2}"#, "+1+2 1795954540.5"),
            (
                r#"{"type":"Feature","id":"x","geometry":{"type":"Point","coordinates":[2,1,53]},"properties":{"time":"5"}}"#,
                "+1+2 5",
            ),
            (
                r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[2,1]},"properties":null}"#,
                "+1+2 1795954540.5",
            ),
        ] {
            assert_eq!(read(body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        let point = |coordinates: &str| {
            format!(
                r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":{coordinates}}}}}"#
            )
        };
        let time = "time is neither POSIX seconds nor ISO 8601, from 1970 to 2286";
        for (body, why, pointer) in [
            ("7", "the body must be a JSON object", ""),
            ("[]", "the body must be a JSON object", ""),
            ("{}", "lat and lon are missing", "/lat"),
            (r#"{"lat":1}"#, "lon is missing", "/lon"),
            (r#"{"lat":"1","lon":2}"#, "lat is not a number", "/lat"),
            (r#"{"lat":null,"lon":2}"#, "lat is not a number", "/lat"),
            (r#"{"lat":1,"lon":1e400}"#, "lon must be from -180 to 180", "/lon"),
            (r#"{"lat":1,"lon":2,"time":null}"#, time, "/time"),
            (r#"{"lat":1,"lon":2,"time":""}"#, time, "/time"),
            (r#"{"lat":1,"lon":2,"time":[5]}"#, time, "/time"),
            (r#"{"type":"Point","lat":1,"lon":2}"#, "type must be Feature", "/type"),
            (r#"{"type":"Feature"}"#, "the geometry must be a Point", "/geometry/type"),
            (
                &point("[1]"),
                "coordinates must be an array of a longitude and a latitude",
                "/geometry/coordinates",
            ),
            (&point("[1,91]"), "lat must be from -90 to 90", "/geometry/coordinates/1"),
            (&point("[\"1\",1]"), "lon is not a number", "/geometry/coordinates/0"),
            (
                r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[2,1]},"properties":5}"#,
                "properties must be an object or null",
                "/properties",
            ),
        ] {
            assert_eq!(read(body), Err((why.to_owned(), pointer)), "{body}");
        }
        for body in ["", "{", "nul", "{\"lat\":01}"] {
            assert!(matches!(read(body), Err((_, "unreadable"))), "{body}");
        }
    }
}
