//! Reports with named values: Traccar Client in its three forms, OsmAnd, GPSLogger, Home Assistant, curl.
//!
//! In: a query, a form, or a JSON object. Out: a [`ReportDraft`]. Each value has several names; unknown names are ignored.
//!
//! Sources: traccar/traccar, OsmAndProtocolDecoder.java; traccar-client 8, 9 and 10; OsmAnd, LiveMonitoringHelper;
//! mendhak/gpslogger.

use super::draft::{Given, ReportDraft, given, given_id, given_text};
use crate::http::form_pairs;
use crate::places::Json;
use std::ops::Range;

/// The names of the values. If a message has several names of a value, the first one here counts.
pub(super) const NAMES: [&str; 15] = [
    "id",
    "deviceid",
    "device",
    "device_id",
    "lat",
    "latitude",
    "lon",
    "lng",
    "long",
    "longitude",
    "timestamp",
    "time",
    "tst",
    "location",
    "coords",
];

/// The names of an id.
pub(super) const ID: Range<usize> = 0..4;
const LATITUDE: Range<usize> = 4..6;
const LONGITUDE: Range<usize> = 6..10;
const TIME: Range<usize> = 10..13;
/// The member that holds the values in Traccar Client 9, or that is `LAT,LON`; and the member in it that holds degrees.
pub(super) const LOCATION: usize = 13;
const COORDS: usize = 14;

/// Reads the pairs of `form`, then those of `query`. Of two pairs with the same name the first one counts.
pub(super) fn of_form<'b>(query: &'b [u8], form: &'b [u8]) -> ReportDraft<'b> {
    let mut values: [Given<'b>; NAMES.len()] = Default::default();
    for (name, value) in form_pairs(form).chain(form_pairs(query)) {
        if let Some(index) = NAMES.iter().position(|known| known.as_bytes() == &*name) {
            values[index] = values[index].take().or_else(|| given_text(&value));
        }
    }
    draft(values)
}

/// Reads the members of a JSON object, by the index of their name in [`NAMES`].
pub(super) fn of_json(outer: [Json<'_>; NAMES.len()]) -> ReportDraft<'_> {
    let inner = outer[LOCATION].members(NAMES);
    let coords = [inner[COORDS], outer[COORDS]].into_iter().find(|it| it.is_object());
    let levels = [outer, inner, coords.unwrap_or_default().members(NAMES)];
    draft(std::array::from_fn(|index| {
        let read = if ID.contains(&index) { given_id } else { given };
        levels.iter().find_map(|level| read(level[index]))
    }))
}

fn draft(mut values: [Given<'_>; NAMES.len()]) -> ReportDraft<'_> {
    let mut first = |range: Range<usize>| values[range].iter_mut().find_map(Option::take);
    let (id, time) = (first(ID), first(TIME));
    let (mut latitude, mut longitude) = (first(LATITUDE), first(LONGITUDE));
    if let (None, None, Some(pair)) = (&latitude, &longitude, &values[LOCATION])
        && let Some(comma) = pair.iter().position(|byte| *byte == b',')
        && !pair.starts_with(b"{")
    {
        latitude = given_text(&pair[..comma]);
        longitude = given_text(&pair[comma + 1..]);
    }
    ReportDraft { id, latitude, longitude, time }
}

#[cfg(test)]
mod tests {
    use crate::phones::reading::tests::{read, request};
    use crate::phones::{App, PhoneRequest};

    fn post(body: &str) -> String {
        read(&request(App::Report, body.as_bytes()))
    }

    fn get(query: &str) -> String {
        read(&PhoneRequest { query: query.as_bytes(), ..request(App::Report, b"") })
    }

    #[test]
    fn each_app_is_understood() {
        let report = "48241179 +34.0689301-118.4451272";
        let traccar = "id=48241179&lat=34.0689301&lon=-118.4451272&timestamp=1795954532&accuracy=5.0\
            &altitude=53.0&speed=3.89&bearing=38.0&batt=87&charge=false";
        // Traccar Client 8, and 10.
        assert_eq!(get(traccar), format!("{report} 1795954532"));
        assert_eq!(post(traccar), format!("{report} 1795954532"));
        // Traccar Client 9, single and in a batch.
        let location = r#"{"timestamp":"2026-11-29T12:15:32.862Z","coords":{"latitude":34.0689301,
            "longitude":-118.4451272,"accuracy":5,"speed":-1,"heading":-1,"altitude":53},
            "event":"motionchange","battery":{"level":0.87,"is_charging":false},"extras":{},"_":"&id=1"}"#;
        for location in [location, &format!("[{location}]")] {
            let body = format!(r#"{{"location":{location},"device_id":"48241179"}}"#);
            assert_eq!(post(&body), format!("{report} 1795954532.862"));
        }
        // OsmAnd: 32-bit floats and milliseconds.
        let osmand =
            "id=jane&lat=-4.5E-4&lon=-118.44513&timestamp=1795954532862&hdop=5.0&speed=2.0";
        assert_eq!(get(osmand), "jane -0.00045-118.44513 1795954532.862");
        // GPSLogger: its default URL, and a body of JSON with an encoded time.
        let gpslogger =
            "lat=34.0689301&longitude=-118.4451272&time=2026-11-29T12:15:32.862Z&s=2.0&id=48241179";
        assert_eq!(get(gpslogger), format!("{report} 1795954532.862"));
        let json = r#"{"id":"48241179","lat":34.0689301,"lng":-118.4451272,"time":"2026-11-29T14%3A15%3A32%2B02%3A00"}"#;
        assert_eq!(post(json), format!("{report} 1795954532"));
        // Home Assistant: numbers in strings.
        let strings = r#" {"id":48241179,"lat":"34.0689301","lon":" -118.4451272 "}"#;
        assert_eq!(post(strings), format!("{report} 1795954540.5"));
    }

    #[test]
    fn each_value_has_several_names() {
        for (form, expected) in [
            ("deviceid=a&latitude=1&long=2&tst=3", "a +1+2 3"),
            ("device=a&lat=1&lng=2&time=3", "a +1+2 3"),
            ("id=a&location=1.50,-2&timestamp=3", "a +1.5-2 3"),
            ("id=a&device=b&lat=1&latitude=9&lon=2&lon=9&timestamp=3&time=9", "a +1+2 3"),
            ("id=&device=b&lat=1&lon=2&time=&tst=3", "b +1+2 3"),
            ("id=a&lat=1&lon=2&timestamp=2026-11-29+12:15:32", "a +1+2 1795954532"),
            ("id=a&lat=1&lon=2&timestamp=2026-11-29T14:15:32+02:00", "a +1+2 1795954532"),
        ] {
            assert_eq!(post(form), expected, "{form}");
            assert_eq!(get(form), expected, "{form}");
        }
        let flat = r#"[{"device":"a","latitude":1,"long":2,"tst":3},{"id":"b","location":"1,2","time":3}]"#;
        assert_eq!(post(flat), "a +1+2 3, b +1+2 3");
    }

    #[test]
    fn the_body_counts_before_the_query() {
        let request = PhoneRequest {
            query: b"id=q&lat=9&lon=2",
            ..request(App::Report, b"id=b&lat=1&time=3")
        };
        assert_eq!(read(&request), "b +1+2 3");
        let body = br#"{"lat":1,"lon":2,"time":3}"#;
        assert_eq!(read(&PhoneRequest { body, ..request }), "q +1+2 3");
    }

    #[test]
    fn what_is_no_report_says_why() {
        for (form, expected) in [
            ("id=a&notificationToken=xyz", "no_location: lat and lon are missing"),
            ("", "no_location: lat and lon are missing"),
            ("id=a&lat=&lon=", "no_location: lat and lon are missing"),
            ("id=a&lat=1", "malformed: lon is missing"),
            ("id=a&lon=1", "malformed: lat is missing"),
            ("id=a&lat=x&lon=1", "malformed: lat is not a number"),
            ("id=a&lat=1&lon=NaN", "malformed: lon is not a number"),
            ("id=a&lat=90.0000001&lon=1", "malformed: lat must be from -90 to 90"),
            ("id=a&lat=1&lon=181", "malformed: lon must be from -180 to 180"),
            ("lat=1&lon=1", "no_id: the message names no client"),
            (
                "id=a&lat=1&lon=1&time=1795958200",
                "early: time is further ahead than max_future_ms or ahead_max_s allows",
            ),
        ] {
            assert_eq!(post(form), expected, "{form}");
        }
        assert_eq!(post(r#"{"id":"a","lat":true,"lon":1}"#), "malformed: lat is not a number");
        assert_eq!(post("[]"), "");
        assert_eq!(
            post(&format!("id=a&lat=1&lon=1&x={}", "x".repeat(70_000))),
            "malformed: a value is longer than 65,536 bytes or nested deeper than 64 levels"
        );
    }
}
