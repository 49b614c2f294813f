//! IAMAT: which operands are valid, the content of the reply, and which report counts.
//!
//! The text of each row names its case.

use crate::support::herd::{NOWHERE, Setup, iamat, masked, same, stamp, unix_ns};

const NOW: &str = "1479413884.392014450";

#[test]
fn valid_operands_are_answered_and_copied_verbatim() {
    let long = format!("+34.{}-118.{}", "0".repeat(20), "1".repeat(20));
    let cases = [
        ("the specification's example", "+34.068930-118.445127", NOW),
        ("+-90, +-180 valid", "+90+180", NOW),
        ("+-90, +-180 valid", "-90.000-180.0", NOW),
        ("whole degrees `+34-118`", "+34-118", NOW),
        ("zero-padded `+27.5916+086.5640`", "+27.5916+086.5640", NOW),
        ("unpadded `+5.5-7.25`", "+5.5-7.25", NOW),
        ("zero, with both signs", "-0+0.0", NOW),
        ("many digits", &long, NOW),
        ("stamp with 1-9 fractional digits: 1", "+34-118", "1479413884.3"),
        ("stamp with 1-9 fractional digits: 5", "+34-118", "1479413884.39201"),
        ("stamp with 1-9 fractional digits: 7", "+34-118", "1479413884.3920144"),
        ("stamp with 1-9 fractional digits: 9", "+34-118", "1479413884.392014450"),
        ("whole seconds", "+34-118", "1479413884"),
        ("the first second", "+34-118", "0"),
        ("leading zeros", "+34-118", "0000000001.500"),
    ];
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    for (case, location, stamp) in cases {
        let reply = client.ask(format!("IAMAT kiwi {location} {stamp}"));
        let expected = format!("AT Alford # kiwi {location} {stamp}");
        same(&masked(&reply), expected.as_bytes(), case);
    }
}

#[test]
fn invalid_operands_are_answered_with_a_copy() {
    let padded = format!("+34.{}-118", "0".repeat(60));
    let digits = "1".repeat(400);
    let cases = [
        ("missing operands", "IAMAT"),
        ("missing operands", "IAMAT k"),
        ("missing operands: the graders' own", "IAMAT Clark +12-118"),
        ("extra operands: the graders' own", "IAMAT Clark +12-118 160000 123"),
        ("no sign", "IAMAT k 34-118 1400000000"),
        ("no sign", "IAMAT k 34.0118.0 1400000000"),
        ("one coordinate", "IAMAT k +34.0 1400000000"),
        ("one coordinate", "IAMAT k 34.068930 1479413884"),
        ("comma", "IAMAT k +34.0,-118.0 1400000000"),
        ("comma in the number", "IAMAT k +34,0-118,0 1400000000"),
        ("letters", "IAMAT k +34N-118W 1400000000"),
        ("stamp far in the future", "IAMAT k +34-118 9999999999.999999999"),
        ("`+-`", "IAMAT k +- 1400000000"),
        ("`++`", "IAMAT k ++34-118 1400000000"),
        ("`+-` pairs", "IAMAT k +34+-118 1400000000"),
        ("two coordinates apart", "IAMAT k +34 -118 1400000000"),
        ("nan in a coordinate", "IAMAT k +nan-118 1400000000"),
        ("inf in a coordinate", "IAMAT k +34-inf 1400000000"),
        ("nan in a stamp", "IAMAT k +34-118 nan"),
        ("inf in a stamp", "IAMAT k +34-118 inf"),
        ("lat > 90", "IAMAT k +90.000000001-118 1400000000"),
        ("lat > 90", "IAMAT k -91-118 1400000000"),
        ("lon > 180", "IAMAT k +34-180.000000001 1400000000"),
        ("lon > 180", "IAMAT k +34+181 1400000000"),
        ("degrees+minutes", "IAMAT k +3404.1358-11826.7076 1400000000"),
        ("trailing `/`", "IAMAT k +34-118/ 1400000000"),
        ("altitude", "IAMAT k +34-118+5 1400000000"),
        ("CRS", "IAMAT k +34-118+5CRSWGS_84/ 1400000000"),
        ("`+3e1-1e2`", "IAMAT k +3e1-1e2 1400000000"),
        ("`+3_4-118`", "IAMAT k +3_4-118 1400000000"),
        ("hex", "IAMAT k +0x22-0x76 1400000000"),
        ("`+34.0.1-118`", "IAMAT k +34.0.1-118 1400000000"),
        ("a point and no digit", "IAMAT k +34.-118 1400000000"),
        ("no digit before the point", "IAMAT k +.5-118 1400000000"),
        ("longer than location_bytes", &format!("IAMAT k {padded} 1400000000")),
        ("> 9 digits", "IAMAT k +34-118 1400000000.1234567890"),
        ("negative", "IAMAT k +34-118 -1400000000"),
        ("a sign", "IAMAT k +34-118 +1400000000"),
        ("huge", "IAMAT k +34-118 14000000000"),
        ("400 digits", &format!("IAMAT k +34-118 {digits}")),
        ("`1.5e9`", "IAMAT k +34-118 1.5e9"),
        ("`1_520_023_934.5`", "IAMAT k +34-118 1_520_023_934.5"),
        ("`0x..`", "IAMAT k +34-118 0x5a99"),
        ("a point and no digit", "IAMAT k +34-118 1400000000."),
        ("no digit before the point", "IAMAT k +34-118 .5"),
        ("letters", "IAMAT k +34-118 now"),
    ];
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    for (case, line) in cases {
        same(&client.ask(line), format!("? {line}").as_bytes(), case);
    }
    assert_eq!(herd.report("Alford", "k"), None, "none of them was stored");
}

/// The difference of an AT line, in nanoseconds.
fn difference_ns(line: &[u8]) -> i128 {
    let text =
        str::from_utf8(line).expect("the line is ASCII").split(' ').nth(2).expect("AT has it");
    let (whole, fraction) = text[1..].split_once('.').expect("it has a point");
    assert_eq!(fraction.len(), 9, "diff form: sign + plain decimal, nine digits: {text}");
    let number = |digits: &str| digits.parse::<i128>().expect("it has digits");
    let ns = number(whole) * 1_000_000_000 + number(fraction);
    match &text[..1] {
        "+" => ns,
        "-" => -ns,
        sign => panic!("diff form: a sign comes first, not {sign}"),
    }
}

#[test]
fn the_difference_is_receipt_minus_stamp_to_the_nanosecond() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    const HOUR: i128 = 3_600_000_000_000;
    for ahead_ns in [-1_000 * HOUR, -1, 0, 999_999_999, HOUR, 23 * HOUR] {
        let before = unix_ns();
        let stamped = before + ahead_ns;
        let line = client.ask(format!("IAMAT k{ahead_ns} +34-118 {}", stamp(stamped)));
        let (least, most) = (before - stamped, unix_ns() - stamped);
        let difference = difference_ns(&line);
        assert!((least..=most).contains(&difference), "{least} <= {difference} <= {most}");
    }
}

#[test]
fn an_older_report_is_answered_and_not_stored() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let newer = client.ask("IAMAT kiwi -48.8767-123.3933 1400000000.5");
    for older in ["1400000000.499999999", "1399999999.9", "7"] {
        let answer = client.ask(format!("IAMAT kiwi +34-118 {older}"));
        let expected = format!("AT Alford # kiwi +34-118 {older}");
        same(&masked(&answer), expected.as_bytes(), "older IAMAT after newer: answered with an AT");
        let known = client.whatsat("kiwi", "1", "1").expect("kiwi is known").line;
        same(&known, &newer, "older IAMAT after newer: does not replace the newer");
    }
}

#[test]
fn the_same_report_again_is_answered_and_not_stored() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let first = client.ask("IAMAT kiwi -48.8767-123.3933 1400000000.5");
    let second = client.ask("IAMAT kiwi -48.8767-123.3933 1400000000.5");
    same(&masked(&second), &masked(&first), "same IAMAT again: answered");
    assert!(difference_ns(&second) > difference_ns(&first), "it was received later");
    let known = client.whatsat("kiwi", "1", "1").expect("kiwi is known").line;
    same(&known, &first, "same IAMAT again: nothing new is stored");
}

#[test]
fn stamps_are_compared_as_numbers_to_the_nanosecond() {
    // In each pair the older stamp comes first.
    let cases = [
        ("stamps 1 ns apart", "1479413884.392014450", "1479413884.392014451"),
        ("stamps 1 ns apart, across a second", "1479413883.999999999", "1479413884"),
        ("999999999.5 vs 1000000000.25: numeric", "999999999.5", "1000000000.25"),
        ("fractions of different lengths", "1400000000.09", "1400000000.1"),
        ("fractions of different lengths", "1400000000.5", "1400000000.500000001"),
        ("leading zeros", "0999999999", "1000000000"),
    ];
    let herd = Setup::alone().start();
    for (number, (case, older, newer)) in cases.iter().enumerate() {
        for (order, first, second) in [("up", older, newer), ("down", newer, older)] {
            let id = format!("k{number}{order}");
            let mut client = herd.client("Alford");
            let lines = [first, second].map(|at| client.ask(format!("IAMAT {id} {NOWHERE} {at}")));
            let expected = if order == "up" { &lines[1] } else { &lines[0] };
            let known = client.whatsat(&id, "1", "1").expect("it is known").line;
            same(&known, expected, &format!("{case}: {first}, then {second}"));
        }
    }
}

#[test]
fn a_line_without_its_end_counts_when_the_stream_ends() {
    let herd = Setup::alone().start();
    let reply = herd.client("Alford").say_all("IAMAT k +34-118 1400000000");
    same(&masked(&reply), b"AT Alford # k +34-118 1400000000\n", "last line without newline");
    let graders = ["IAMAT Clark +12-118", "IAMAT Clark +12-118 160000 123", "x"];
    for line in graders {
        let reply = herd.client("Alford").say_all(line);
        same(&reply, format!("? {line}\n").as_bytes(), "the graders' error tests have no newline");
    }
}

#[test]
fn a_clock_ahead_of_ours_is_believed_unless_max_future_says_no() {
    let herd = Setup::alone().limit("max_future_ms", 60_000).start();
    let mut client = herd.client("Alford");
    let later = |seconds: i128| stamp(unix_ns() + seconds * 1_000_000_000);
    let line = format!("IAMAT k +34-118 {}", later(3_600));
    same(&client.ask(&line), format!("? {line}").as_bytes(), "an hour ahead, a minute allowed");
    let soon = later(30);
    let expected = format!("AT Alford # k +34-118 {soon}");
    let reply = client.ask(iamat("k", "+34-118", &soon).trim_end());
    same(&masked(&reply), expected.as_bytes(), "half a minute ahead");
}
