//! WHATSAT: which operands are valid, and the form of the reply.
//!
//! The text of each row names its case. The replies when Google fails need a source that can fail; `suite/places/`
//! tests them.

use crate::support::herd::{Setup, iamat, same, show};

const LOS_ANGELES: &str = "+34.068930-118.445127";

#[test]
fn a_whatsat_of_an_unreported_client_is_an_invalid_command() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let reply = client.ask("WHATSAT nobody 10 5");
    same(&reply, b"? WHATSAT nobody 10 5", "unknown client: `? ` + copy");
    client.ask(iamat("nobody2", LOS_ANGELES, "1400000000").trim_end());
    same(&client.ask("WHATSAT nobody 10 5"), b"? WHATSAT nobody 10 5", "still unknown");
}

#[test]
fn operands_out_of_their_range_are_answered_with_a_copy() {
    let cases = [
        ("51", "51", "5"),
        ("21", "10", "21"),
        ("10^26", "100000000000000000000000000", "5"),
        ("10^26", "10", "100000000000000000000000000"),
        ("2^32+1", "4294967297", "5"),
        ("2^32+1", "10", "4294967297"),
        ("2^64+5", "10", "18446744073709551621"),
        ("50.5", "50.5", "5"),
        ("50.000000000000000000001", "50.000000000000000000001", "5"),
        ("not a number", "ten", "5"),
        ("not a number", "10", "five"),
        ("nan", "nan", "5"),
        ("nan", "10", "nan"),
        ("inf", "inf", "5"),
        ("inf", "10", "inf"),
        ("`10km`", "10km", "5"),
        ("1e1", "1e1", "5"),
        ("radius 0", "0", "5"),
        ("radius 0", "0.000", "5"),
        ("radius -5", "-5", "5"),
        ("+5", "+5", "5"),
        ("a point and no digit", "5.", "5"),
        ("bound 0", "10", "0"),
        ("bound -1: no results ever", "10", "-1"),
        ("bound 2.5", "10", "2.5"),
        ("bound 2.0", "10", "2.0"),
        ("bound +5", "10", "+5"),
    ];
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    client.ask(iamat("kiwi", LOS_ANGELES, "1400000000").trim_end());
    for (case, radius, bound) in cases {
        let line = format!("WHATSAT kiwi {radius} {bound}");
        same(&client.ask(&line), format!("? {line}").as_bytes(), case);
    }
    for line in ["WHATSAT", "WHATSAT kiwi", "WHATSAT kiwi 10", "WHATSAT kiwi 10 5 1"] {
        same(&client.ask(line), format!("? {line}").as_bytes(), "missing/extra operands");
    }
}

#[test]
fn operands_at_their_limits_are_served() {
    let cases = [
        ("50, 20", "50", "20"),
        ("50.000", "50.000", "20"),
        ("1", "1", "1"),
        ("leading zeros", "0010", "005"),
        ("radius 0.5", "0.5", "3"),
        ("a radius that is hardly one", "0.000000000000000000001", "3"),
    ];
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    client.ask(iamat("kiwi", LOS_ANGELES, "1400000000").trim_end());
    for (case, radius, bound) in cases {
        let reply = client.whatsat("kiwi", radius, bound);
        let nearby = reply.unwrap_or_else(|line| panic!("{case}: {}", show(&line)));
        let most: usize = bound.parse().expect("a bound is a number");
        assert!(nearby.results().len() <= most, "{case}: at most `bound` items");
    }
}

#[test]
fn the_reply_is_the_at_line_googles_json_and_one_blank_line() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let at = client.ask(iamat("kiwi", LOS_ANGELES, "1479413884.392014450").trim_end());
    for bound in [1, 2, 5, 19, 20] {
        let nearby = client.whatsat("kiwi", "50", &bound.to_string()).expect("kiwi is known");
        same(&nearby.line, &at, "the AT line is that of the report");
        assert_eq!(nearby.results().len(), bound, "more than 20 towns are within 50 km");
        assert_eq!(nearby.json["status"], "OK");
        let members: Vec<_> = nearby.json.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["html_attributions", "results", "status"], "shape of the JSON");
        let text = String::from_utf8(nearby.text).expect("JSON is UTF-8");
        let start = "{\n   \"html_attributions\" : [";
        assert!(text.starts_with(start), "three spaces, `\"key\" : value`: {text}");
        assert!(text.ends_with("\n   \"status\" : \"OK\"\n}\n\n"), "{text}");
        assert_eq!(text.find("\n\n"), Some(text.len() - 2), "`\\n\\n` only at the end");
    }
    client.half_close();
    same(&client.rest(), b"", "nothing follows the blank line");
}

#[test]
fn far_from_everything_there_are_zero_results() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let at = client.ask("IAMAT ship -48.8767-123.3933 1400000000");
    let nearby = client.whatsat("ship", "50", "20").expect("the ship is known");
    same(&nearby.line, &at, "results fewer than bound, ZERO_RESULTS: pass on");
    assert_eq!(nearby.json["status"], "ZERO_RESULTS");
    assert!(nearby.results().is_empty());
    let text = show(&nearby.text);
    assert!(text.ends_with("\\n}\\n\\n") && text.matches("\\n\\n").count() == 1, "{text}");
}

/// Great-circle distance, in kilometres.
fn distance_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    let [(lat1, lon1), (lat2, lon2)] =
        [from, to].map(|(lat, lon)| (lat.to_radians(), lon.to_radians()));
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(lat2 - lat1) + lat1.cos() * lat2.cos() * half(lon2 - lon1);
    2.0 * 6_371.0 * chord.sqrt().asin()
}

#[test]
fn places_are_within_the_radius_in_kilometres_for_all_signs() {
    let cases = [
        ("Los Angeles: + -", "+34.068930-118.445127", (34.068930, -118.445127)),
        ("Sydney: - +", "-33.8703830+151.1979255", (-33.8703830, 151.1979255)),
        ("Sao Paulo: - -", "-23.55-46.63", (-23.55, -46.63)),
        ("Berlin: + +", "+52.52+013.405", (52.52, 13.405)),
        ("Greenwich: + -", "+51.4779-0.0015", (51.4779, -0.0015)),
        ("Quito: - -", "-0.22-78.51", (-0.22, -78.51)),
    ];
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    for (case, location, center) in cases {
        client.ask(format!("IAMAT kiwi{location} {location} 1400000000"));
        let mut found = Vec::new();
        for radius in ["0.5", "5", "50"] {
            let id = format!("kiwi{location}");
            let nearby = client.whatsat(&id, radius, "20").expect("the client is known");
            let km: f64 = radius.parse().expect("a radius is a number");
            for place in nearby.places() {
                let away = distance_km(center, place);
                assert!(away <= km * 1.01 + 0.01, "{case}: {place:?} is {away} km away, not {km}");
            }
            found.push(nearby.results().len());
        }
        assert!(found.is_sorted(), "{case}: more within more kilometres: {found:?}");
        assert!(found[2] > 0, "{case}: something is within 50 km: {found:?}");
    }
}

#[test]
fn the_place_is_that_of_the_latest_report() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    client.ask(iamat("kiwi", LOS_ANGELES, "1400000000").trim_end());
    let there = client.whatsat("kiwi", "50", "20").expect("kiwi is known").places();
    client.ask("IAMAT kiwi +52.52+013.405 1400000001");
    let here = client.whatsat("kiwi", "50", "20").expect("kiwi is known").places();
    assert!(there.iter().all(|&place| distance_km(place, (34.07, -118.45)) < 60.0));
    assert!(here.iter().all(|&place| distance_km(place, (52.52, 13.405)) < 60.0));
}
