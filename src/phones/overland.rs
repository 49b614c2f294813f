//! Overland for iOS and Android: a list of GeoJSON Features, up to 2,000 in one request.
//!
//! A Feature without a geometry is not a report; nor is a visit, a trip or another event of the app. A bad Feature must
//! not make the server reject the others, because the app would then send the batch for ever.
//!
//! Sources: aaronpk/Overland-iOS, README and GLManager.m; OpenHumans/Overland_android.

use super::draft::{Fault, Given, ReportDraft, ReportOutcome, given, given_id};
use crate::places::Json;

/// Reads one Feature.
pub(super) fn read(feature: Json<'_>) -> Result<ReportDraft<'_>, Fault> {
    let [geometry, properties] = feature.members(["geometry", "properties"]);
    let names = ["timestamp", "horizontal_accuracy", "device_id", "unique_id", "action", "type"];
    let [timestamp, accuracy, device_id, unique_id, action, kind] = properties.members(names);
    let is_trip = kind.text().as_deref() == Some("trip");
    if !geometry.is_object() || is_trip || given(action).is_some() {
        let why = "a Feature without a geometry, or an event of the app";
        return Err(Fault::new(ReportOutcome::NoLocation, why));
    }
    if accuracy.number().is_some_and(|metres| metres < 0.0) {
        let why = "horizontal_accuracy is negative: the phone does not know where it is";
        return Err(Fault::malformed(why, ""));
    }
    // The longitude comes first.
    let [longitude, latitude] = geometry.member("coordinates").first_items();
    Ok(ReportDraft {
        id: id(device_id).or_else(|| id(unique_id)),
        latitude: given(latitude),
        longitude: given(longitude),
        time: given(timestamp),
    })
}

/// Returns an id; `None` for `undefined`, which the Android app sends after a change of its settings.
fn id(json: Json<'_>) -> Given<'_> {
    given_id(json).filter(|id| **id != *b"undefined")
}

#[cfg(test)]
mod tests {
    use crate::phones::App;
    use crate::phones::reading::tests::{read, request};

    fn one(properties: &str) -> String {
        let body = format!(
            r#"{{"locations":[{{"type":"Feature","geometry":{{"type":"Point","coordinates":
            [-118.4451272,34.0689301,53]}},"properties":{{"timestamp":"2026-11-29T05:15:32-0700"{properties}}}}}]}}"#
        );
        read(&request(App::Overland, body.as_bytes()))
    }

    #[test]
    fn the_id_is_the_device_id_then_the_unique_id() {
        let report = "+34.0689301-118.4451272 1795954532";
        for (ids, id) in [
            (r#","device_id":"jane-phone","unique_id":"u""#, "jane-phone"),
            (r#","device_id":"undefined","unique_id":"u""#, "u"),
            (r#","device_id":"","unique_id":"u""#, "u"),
            (r#","device_id":null,"unique_id":7"#, "7"),
        ] {
            assert_eq!(one(ids), format!("{id} {report}"));
        }
        assert_eq!(one(r#","device_id":"undefined""#), "no_id: the message names no client");
    }

    #[test]
    fn events_of_the_app_and_locations_that_it_does_not_trust_are_no_reports() {
        for event in [r#","action":"visit""#, r#","type":"trip""#] {
            let expected = "no_location: a Feature without a geometry, or an event of the app";
            assert_eq!(one(event), expected);
        }
        let negative = one(r#","device_id":"jane","horizontal_accuracy":-1"#);
        assert!(negative.starts_with("malformed: horizontal_accuracy"), "{negative}");
        // The Android app sends booleans where numbers belong.
        let odd =
            r#","device_id":"jane","battery_state":true,"horizontal_accuracy":false,"action":null"#;
        assert_eq!(one(odd), "jane +34.0689301-118.4451272 1795954532");
    }

    #[test]
    fn the_current_location_counts_and_an_empty_list_is_no_report() {
        let body = br#"{"locations":[],"current":{"geometry":{"coordinates":[1,2]},
            "properties":{"device_id":"jane","timestamp":5}}}"#;
        assert_eq!(read(&request(App::Overland, body)), "jane +2+1 5");
        for body in ["{}", r#"{"locations":[]}"#, r#"{"locations":7}"#] {
            let expected = "";
            assert_eq!(read(&request(App::Overland, body.as_bytes())), expected);
        }
    }
}
