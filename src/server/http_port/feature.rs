//! A report as a GeoJSON Feature, and reports as a FeatureCollection (RFC 7946).
//!
//! In: reports. Out: JSON, appended to a buffer. It knows no request and no connection; the API, the reports by HTTP
//! and the live stream all write locations with this file.
//!
//! ```text
//! {"type":"Feature","id":"jane/phone","geometry":{"type":"Point","coordinates":[-118.4451272,34.0689301]},
//!  "properties":{"time":"1795954532","server":"Alford","diff":"+0.263873386"}}
//! ```
//!
//! GeoJSON has the longitude first. A coordinate is the digits of the AT line, without the plus sign and the leading
//! zeros that JSON does not allow: no float is involved, so that no digit is lost or invented. Times are strings,
//! because most readers keep 53 bits of a number.
//!
//! An id may be any bytes. Bytes that are not UTF-8 become U+FFFD, and then the property `id_hex` has the id's bytes as
//! hexadecimal digits.

use crate::access::in_hex;
use crate::wire::report::Report;
use std::io::Write as _;

/// The content type of Features and FeatureCollections.
pub(super) const GEO_JSON: &str = "application/geo+json";

/// Appends the report as one Feature, on one line.
pub(super) fn write_feature(out: &mut Vec<u8>, report: &Report<'_>) {
    let (client, location) = (report.client(), report.location());
    out.extend_from_slice(br#"{"type":"Feature","id":"#);
    write_text(out, client);
    out.extend_from_slice(br#","geometry":{"type":"Point","coordinates":["#);
    write_degrees(out, location.longitude());
    out.push(b',');
    write_degrees(out, location.latitude());
    out.extend_from_slice(br#"]},"properties":{"time":"#);
    write_text(out, report.stamp_text());
    // The line is "AT server diff client location stamp".
    let mut fields = report.line().split(|&byte| byte == b' ').skip(1);
    for key in [&br#","server":"#[..], br#","diff":"#] {
        out.extend_from_slice(key);
        write_text(out, fields.next().unwrap_or_default());
    }
    if str::from_utf8(client).is_err() {
        // Writing to a Vec never fails.
        let _ = write!(out, r#","id_hex":"{}""#, in_hex(client));
    }
    out.extend_from_slice(b"}}");
}

/// Begins a FeatureCollection.
pub(super) fn begin_collection(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"FeatureCollection","features":["#);
}

/// Appends the report to the FeatureCollection at the end of `out`.
pub(super) fn add_feature(out: &mut Vec<u8>, report: &Report<'_>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
    write_feature(out, report);
}

/// Ends the FeatureCollection.
pub(super) fn end_collection(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}

/// Appends a text as a JSON string.
fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    // Nearly all texts need no escape, and a slice of the live stream writes 2,000 of them.
    if text.iter().all(|byte| matches!(byte, b' '..=b'~' if !b"\"\\".contains(byte))) {
        out.push(b'"');
        out.extend_from_slice(text);
        return out.push(b'"');
    }
    // Writing to a Vec never fails.
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(text));
}

/// Appends a latitude or longitude of a location as a JSON number with the same digits: `+034.0` becomes `34.0`.
fn write_degrees(out: &mut Vec<u8>, signed: &[u8]) {
    if signed.starts_with(b"-") {
        out.push(b'-');
    }
    let zeros = signed.iter().take_while(|byte| b"+-0".contains(byte)).count();
    if !signed.get(zeros).is_some_and(u8::is_ascii_digit) {
        out.push(b'0');
    }
    out.extend_from_slice(&signed[zeros..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, CommandLimits};
    use crate::wire::location::Location;
    use proptest::prelude::*;
    use serde_json::Value;

    fn written(line: &[u8], write: fn(&mut Vec<u8>, &Report<'_>)) -> String {
        let Ok(Command::At(at)) = Command::parse(line, &CommandLimits::default()) else {
            panic!("{line:?}")
        };
        let mut out = Vec::new();
        write(&mut out, &Report::canonical(&at).expect("single blanks"));
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn degrees(text: &str) -> String {
        let mut out = Vec::new();
        write_degrees(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_report_becomes_the_feature_of_the_documentation() {
        let line = b"AT Alford +0.263873386 jane/phone +34.0689301-118.4451272 1795954532";
        assert_eq!(
            written(line, write_feature),
            r#"{"type":"Feature","id":"jane/phone","geometry":{"type":"Point","coordinates":[-118.4451272,34.0689301]},"properties":{"time":"1795954532","server":"Alford","diff":"+0.263873386"}}"#
        );
    }

    #[test]
    fn a_coordinate_is_a_number_of_json_with_the_same_digits() {
        for (text, number) in [
            ("+034.0", "34.0"),
            ("-118.4451270", "-118.4451270"),
            ("+0", "0"),
            ("-0", "-0"),
            ("+000.50", "0.50"),
            ("-00090", "-90"),
            ("+100", "100"),
            ("-.5", "-0.5"),
            ("34.25", "34.25"),
        ] {
            assert_eq!(degrees(text), number, "{text}");
            assert!(serde_json::from_str::<Value>(number).is_ok(), "{number}");
        }
    }

    #[test]
    fn a_hostile_id_is_a_text() {
        let line = b"AT A +0 \"\\<img\x01\xff\xe2\x80\xae +1-1 5";
        let feature = written(line, write_feature);
        let value: Value = serde_json::from_str(&feature).unwrap();
        assert_eq!(value["id"], "\"\\<img\u{1}\u{fffd}\u{202e}");
        assert_eq!(value["properties"]["id_hex"], "225c3c696d6701ffe280ae");
    }

    #[test]
    fn a_collection_has_commas_between_its_features_only() {
        let line = b"AT A +0 c +1-1 5";
        let feature = written(line, write_feature);
        let collection =
            |features: &str| format!(r#"{{"type":"FeatureCollection","features":[{features}]}}"#);
        let empty = written(line, |out, _| {
            begin_collection(out);
            end_collection(out);
        });
        assert_eq!(empty, collection(""));
        let two = written(line, |out, report| {
            begin_collection(out);
            add_feature(out, report);
            add_feature(out, report);
            end_collection(out);
        });
        assert_eq!(two, collection(&format!("{feature},{feature}")));
    }

    /// Sign, whole part without leading zeros, and fraction: equal for equal numbers with equally many decimals.
    fn parts(decimal: &str) -> (bool, &str, &str) {
        let unsigned = decimal.trim_start_matches(['+', '-']);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        (decimal.starts_with('-'), whole.trim_start_matches('0'), fraction)
    }

    proptest! {
        #[test]
        fn any_report_reads_back_as_the_same_report(
            client in "[!-~\u{a0}-\u{ff}\u{1f600}]{1,40}",
            tail in prop::option::of(prop::collection::vec(0x21..=0xffu8, 1..8)),
            latitude in "[+-]0{0,3}[1-8]?[0-9](\\.[0-9]{1,20})?",
            longitude in "[+-]0{0,3}(1[0-7])?[0-9](\\.[0-9]{1,20})?",
            seconds in "[0-9]{1,10}(\\.[0-9]{1,9})?",
        ) {
            let client = [client.as_bytes(), &tail.unwrap_or_default()].concat();
            let location = format!("{latitude}{longitude}");
            let line =
                [b"AT Bolden -9.5e-05 ", &client[..], b" ", location.as_bytes(), b" ", seconds.as_bytes()].concat();
            let feature = written(&line, write_feature);
            let value: Value = serde_json::from_str(&feature).expect("JSON");
            prop_assert_eq!(&value["type"], "Feature");
            prop_assert_eq!(value["id"].as_str().unwrap(), &*String::from_utf8_lossy(&client));
            prop_assert_eq!(value["properties"]["id_hex"].is_string(), str::from_utf8(&client).is_err());
            prop_assert_eq!(&value["properties"]["time"], &seconds);
            prop_assert_eq!(&value["properties"]["server"], "Bolden");
            prop_assert_eq!(&value["properties"]["diff"], "-9.5e-05");
            let start = feature.rfind(r#""coordinates":["#).unwrap() + r#""coordinates":["#.len();
            let numbers = &feature[start..start + feature[start..].find(']').unwrap()];
            let (east, north) = numbers.split_once(',').unwrap();
            prop_assert_eq!(parts(east), parts(&longitude));
            prop_assert_eq!(parts(north), parts(&latitude));
            let degrees = Location::parse(location.as_bytes()).unwrap().degrees();
            prop_assert_eq!((north.parse(), east.parse()), (Ok(degrees.0), Ok(degrees.1)));
        }
    }
}
