//! OwnTracks in its HTTP mode: one JSON object in each request.
//!
//! Only a `location` is a report. The other messages (`transition`, `waypoints`, `dump` and so on) arrive at the same
//! address, and an empty body means that the user deleted a friend.
//!
//! Clocks: a GPS receiver that mishandles the week rollover is 19.6 years behind, while `created_at` is right.
//! Overland's OwnTracks mode counts from 2001.
//!
//! Sources: the OwnTracks booklet, "JSON"; owntracks/android#1431; aaronpk/Overland-iOS#196.

use super::PhoneRequest;
use super::draft::{Fault, Given, ReportDraft, ReportOutcome, given, read_time};
use super::number::write_stamp;
use crate::http::form_pairs;
use crate::places::Json;
use crate::wire::stamp::Stamp;
use std::borrow::Cow;

/// A day, in nanoseconds.
const DAY: u64 = 86_400_000_000_000;

/// The time from 1970 to 2001, in nanoseconds.
const UNTIL_2001: u64 = 978_307_200_000_000_000;

/// The id that an app sends before it is configured. It names no phone.
const NOBODY: &[u8] = b"user/device";

const ENCRYPTED: &str =
    "OwnTracks has encrypted it: remove the encryption key in the app's settings, and use https";

/// The members of a message that this file uses.
pub(super) const NAMES: [&str; 6] = ["_type", "topic", "tst", "created_at", "lat", "lon"];

/// Reads the members of a message, by the index of their name in [`NAMES`]. `received`: our clock.
pub(super) fn read(members: [Json<'_>; 6], received: Stamp) -> Result<ReportDraft<'_>, Fault> {
    let [kind, topic, tst, created_at, lat, lon] = members;
    match kind.text().as_deref() {
        Some("location") => Ok(ReportDraft {
            id: id_of_topic(topic),
            latitude: given(lat),
            longitude: given(lon),
            time: time(given(tst), given(created_at), received),
        }),
        Some("encrypted") => Err(Fault::new(ReportOutcome::Encrypted, ENCRYPTED)),
        _ => Err(Fault::new(ReportOutcome::NoLocation, "its _type is not location")),
    }
}

/// The part of a topic that names the phone: `jane/phone` of `owntracks/jane/phone`.
fn id_of_topic(topic: Json<'_>) -> Given<'_> {
    let topic = given(topic)?;
    let slash = topic.iter().position(|byte| *byte == b'/')?;
    Some(topic[slash + 1..].to_vec().into())
        .filter(|id: &Cow<'_, [u8]>| !id.is_empty() && **id != *NOBODY)
}

/// The id in the head of a request, for a message without a topic: USER/DEVICE from the headers `X-Limit-U` and
/// `X-Limit-D`; or from the user of Basic and the parameter `d`; or from the parameters `u` and `d`.
pub(super) fn id_of_head(request: &PhoneRequest<'_>) -> Option<Vec<u8>> {
    let of_query =
        |name: &[u8]| form_pairs(request.query).find(|(key, _)| **key == *name).map(|it| it.1);
    let (user, device) = (of_query(b"u"), of_query(b"d"));
    let pairs = [
        (request.user, request.device),
        (request.basic_user, device.as_deref()),
        (user.as_deref(), device.as_deref()),
    ];
    let full = pairs.iter().filter_map(|(user, device)| Some((user.as_ref()?, device.as_ref()?)));
    let mut full = full.filter(|(user, device)| !user.is_empty() && !device.is_empty());
    full.find_map(|(user, device)| {
        Some([user, &b"/"[..], device].concat()).filter(|it| it != NOBODY)
    })
}

/// The time of a location, corrected if it is one that a known fault causes.
fn time<'b>(tst: Given<'b>, created_at: Given<'b>, Stamp(received): Stamp) -> Given<'b> {
    let nanos = |time: &Given<'_>| read_time(time.as_deref()?, &mut Vec::new()).map(|it| it.0);
    let Some(stated) = nanos(&tst) else { return tst.or(created_at) };
    let since_1970 = stated.saturating_add(UNTIL_2001);
    if stated.abs_diff(received) > DAY && since_1970.abs_diff(received) <= DAY {
        let mut text = Vec::new();
        write_stamp(Stamp(since_1970), &mut text);
        return Some(text.into());
    }
    match nanos(&created_at) {
        Some(created) if created.abs_diff(stated) > DAY => created_at,
        _ => tst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phones::App;
    use crate::phones::reading::tests::{read, request};

    fn location(members: &str) -> String {
        let body =
            format!(r#"{{"_type":"location","lat":34.0689301,"lon":-118.4451272{members}}}"#);
        read(&PhoneRequest { path_id: Some(b"jane"), ..request(App::OwnTracks, body.as_bytes()) })
    }

    #[test]
    fn only_a_location_is_a_report() {
        for kind in ["transition", "waypoint", "waypoints", "card", "cmd", "status", "steps", "lwt"]
        {
            let body = format!(r#"{{"_type":"{kind}","lat":1,"lon":2,"tst":3}}"#);
            let request = request(App::OwnTracks, body.as_bytes());
            assert_eq!(read(&request), "no_location: its _type is not location");
        }
        for body in ["{}", "[]", "7", "[{\"_type\":\"location\"}]", "{\"_type\":7}"] {
            let request = request(App::OwnTracks, body.as_bytes());
            assert_eq!(read(&request), "no_location: its _type is not location", "{body}");
        }
        assert_eq!(read(&request(App::OwnTracks, b"")), "no_location: the message is empty");
        let encrypted = request(App::OwnTracks, br#"{"_type":"encrypted","data":"eA=="}"#);
        assert_eq!(read(&encrypted), format!("encrypted: {ENCRYPTED}"));
    }

    #[test]
    fn a_clock_with_a_known_fault_is_corrected_and_others_are_believed() {
        for (times, expected) in [
            (r#","tst":1795954532"#, "1795954532"),
            (r#","tst":"1795954532.250""#, "1795954532.250"),
            (r#","tst":1795954532,"created_at":1795954533"#, "1795954532"),
            // A day without a network is no fault.
            (r#","tst":1795868133,"created_at":1795954533"#, "1795868133"),
            // GPS weeks have rolled over: 1,024 weeks.
            (r#","tst":1176619332,"created_at":1795954533"#, "1795954533"),
            // Seconds since 2001.
            (r#","tst":817647332"#, "1795954532"),
            (r#","tst":817647332.5,"created_at":817647333"#, "1795954532.5"),
            // A report of 1995 is not corrected if that does not bring it to today.
            (r#","tst":800000000"#, "800000000"),
            (r#","created_at":1795954533"#, "1795954533"),
            ("", "1795954540.5"),
            (r#","tst":null"#, "1795954540.5"),
        ] {
            assert_eq!(location(times), format!("jane +34.0689301-118.4451272 {expected}"));
        }
        let malformed = "malformed: time is neither POSIX seconds nor ISO 8601, from 1970 to 2286";
        assert_eq!(location(r#","tst":true"#), malformed);
        assert_eq!(location(r#","tst":-1,"created_at":5"#), malformed);
    }

    #[test]
    fn the_id_is_the_path_then_the_topic_then_the_head() {
        const NO_ID: &str = "no_id: the message names no client";
        fn id(topic: &str, head: &PhoneRequest<'_>) -> String {
            let body = r#"{"_type":"location","lat":1,"lon":2,"tst":3,"tid":"ne","topic":""#;
            let body = format!(r#"{body}{topic}"}}"#);
            let read = read(&PhoneRequest { body: body.as_bytes(), ..*head });
            read.trim_end_matches(" +1+2 3").to_owned()
        }
        let none = request(App::OwnTracks, b"");
        let head = PhoneRequest {
            user: Some(b"jane"),
            device: Some(b"phone"),
            basic_user: Some(b"joe"),
            query: b"u=jim&d=tablet",
            ..none
        };
        let default = PhoneRequest { user: Some(b"user"), device: Some(b"device"), ..head };
        assert_eq!(id("owntracks/jane/phone", &PhoneRequest { path_id: Some(b"a"), ..head }), "a");
        assert_eq!(id("owntracks/x/y", &head), "x/y");
        for topic in ["owntracks", "owntracks/", "owntracks/user/device", ""] {
            assert_eq!(id(topic, &none), NO_ID, "never tid");
            assert_eq!(id(topic, &head), "jane/phone");
            assert_eq!(id(topic, &default), "joe/tablet");
            let query_only = PhoneRequest { basic_user: None, ..default };
            assert_eq!(id(topic, &query_only), "jim/tablet");
            assert_eq!(id(topic, &PhoneRequest { query: b"u=user&d=device", ..query_only }), NO_ID);
        }
    }
}
