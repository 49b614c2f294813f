//! Compares the parser with the specification's table of cases, and with a second parser.
//!
//! The second parser is slow and plain: it splits the line into owned fields first, and then checks each
//! against a pattern, character by character. It shares no code and no method with the real
//! one; if they disagree, one of them is wrong.

use places_herd::wire::command::{
    CLIENT_ID_BYTES_MAX, Command, CommandLimits, DIFFERENCE_BYTES_MAX, LOCATION_BYTES_MAX,
    NAME_BYTES_MAX, is_blank, write_at,
};
use places_herd::wire::report::Report;
use places_herd::wire::stamp::Stamp;
use places_herd::wire::sync_message::{DigestRow, Marks, SyncMessage};
use proptest::prelude::*;

// ---- the specification's table ------------------------------------------------------------------

/// The expected result of a line.
#[derive(Debug, PartialEq)]
enum Expect {
    /// An IAMAT of this client, location and stamp.
    Iamat(&'static [u8], &'static [u8], &'static [u8]),
    /// A WHATSAT of this client, radius in metres, and bound.
    Whatsat(&'static [u8], f64, usize),
    /// The reply is `? ` and a copy of the line.
    Invalid,
    /// The line gets no reply.
    Ignored,
}
use Expect::{Iamat, Ignored, Invalid, Whatsat};

fn check(table: &[(&str, &[u8], Expect)]) {
    for (row, line, expected) in table {
        let shown = format!("{row}: {}", line.escape_ascii());
        if is_blank(line) {
            assert_eq!(*expected, Ignored, "{shown}");
            continue;
        }
        match (Command::parse(line, &CommandLimits::default()), expected) {
            (Ok(Command::Iamat(iamat)), Iamat(client, location, stamp)) => {
                assert_eq!(iamat.client, *client, "{shown}");
                assert_eq!(iamat.location.text, *location, "{shown}");
                assert_eq!(iamat.stamp_text, *stamp, "{shown}");
            }
            (Ok(Command::Whatsat(whatsat)), Whatsat(client, metres, bound)) => {
                assert_eq!(whatsat.client, *client, "{shown}");
                assert_eq!(whatsat.radius.metres(), *metres, "{shown}");
                assert_eq!(whatsat.bound, *bound, "{shown}");
            }
            (Err(_), Invalid) => {}
            (parsed, _) => panic!("{shown}: {parsed:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn lines_and_white_space_are_as_the_specification_says() {
    const KIWI: Expect = Iamat(b"kiwi", b"+34.0-118.4", b"1479413884.5");
    check(&[
        ("single blanks", b"IAMAT kiwi +34.0-118.4 1479413884.5", KIWI),
        ("SP, TAB, runs of them", b"IAMAT \t kiwi   +34.0-118.4\t\t1479413884.5", KIWI),
        ("FF, VT", b"\x0cIAMAT\x0bkiwi\x0c\x0b+34.0-118.4\x0c1479413884.5\x0b", KIWI),
        ("lone CR inside a line", b"IAMAT\rkiwi\r+34.0-118.4\r1479413884.5", KIWI),
        ("CR LF, of which the CR is left", b"IAMAT kiwi +34.0-118.4 1479413884.5\r", KIWI),
        ("leading/trailing white", b" \t IAMAT kiwi +34.0-118.4 1479413884.5 \t \r", KIWI),
        ("U+00A0", b"IAMAT a\xc2\xa0b +1+1 5", Iamat(b"a\xc2\xa0b", b"+1+1", b"5")),
        ("U+3000", b"IAMAT a\xe3\x80\x80b +1+1 5", Iamat(b"a\xe3\x80\x80b", b"+1+1", b"5")),
        ("U+2028", b"IAMAT a\xe2\x80\xa8b +1+1 5", Iamat(b"a\xe2\x80\xa8b", b"+1+1", b"5")),
        ("U+0085", b"IAMAT a\xc2\x85b +1+1 5", Iamat(b"a\xc2\x85b", b"+1+1", b"5")),
        ("0x85, 0xA0 alone", b"IAMAT a\x85\xa0b +1+1 5", Iamat(b"a\x85\xa0b", b"+1+1", b"5")),
        (
            "0x1C-0x1F",
            b"IAMAT a\x1c\x1d\x1e\x1fb +1+1 5",
            Iamat(b"a\x1c\x1d\x1e\x1fb", b"+1+1", b"5"),
        ),
        ("0x1C after a field", b"IAMAT a +1+1\x1c5", Invalid),
        ("empty line", b"", Ignored),
        ("blank line", b" \t\r\x0b\x0c", Ignored),
        ("not UTF-8", b"IAMAT \xff\xfe +1+1 5", Iamat(b"\xff\xfe", b"+1+1", b"5")),
        ("NUL", b"IAMAT a\0b +1+1 5", Iamat(b"a\0b", b"+1+1", b"5")),
        ("NUL alone", b"\0", Invalid),
        ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Invalid),
        ("HTTP", b"GET / HTTP/1.1\r", Invalid),
        ("lower case", b"iamat kiwi +1+1 5", Invalid),
        ("mixed case", b"Iamat kiwi +1+1 5", Invalid),
        ("IAMATX", b"IAMATX kiwi +1+1 5", Invalid),
        ("IAMA", b"IAMA kiwi +1+1 5", Invalid),
        ("no white space after the name", b"IAMATkiwi +1+1 5", Invalid),
        ("the graders' AS", b"AS Clark +0.25 testuser +12-118 1234", Invalid),
    ]);
    let client = "x".repeat(1000);
    let line = format!("IAMAT {client} +1+1 5");
    assert!(Command::parse(line.as_bytes(), &CommandLimits::default()).is_ok(), "very long ID");
}

#[test]
fn iamat_operands_are_as_the_specification_says() {
    let at = |location, stamp| Iamat(b"c", location, stamp);
    check(&[
        ("missing operands", b"IAMAT", Invalid),
        ("missing operands", b"IAMAT Clark", Invalid),
        ("missing operands", b"IAMAT Clark +12-118", Invalid),
        ("extra operands", b"IAMAT Clark +12-118 160000 123", Invalid),
        ("no sign", b"IAMAT c 34.0-118.4 5", Invalid),
        ("no second sign", b"IAMAT c +34.0118.4 5", Invalid),
        ("one coordinate", b"IAMAT c +34.0 5", Invalid),
        ("comma", b"IAMAT c +34.0,-118.4 5", Invalid),
        ("decimal comma", b"IAMAT c +34,0-118,4 5", Invalid),
        ("letters", b"IAMAT c +34.0N-118.4W 5", Invalid),
        ("+-", b"IAMAT c +-34.0-118.4 5", Invalid),
        ("++", b"IAMAT c ++34.0-118.4 5", Invalid),
        ("+- pair", b"IAMAT c +34.0+-118.4 5", Invalid),
        ("nan in a coordinate", b"IAMAT c +nan-118.4 5", Invalid),
        ("inf in a coordinate", b"IAMAT c +34.0-inf 5", Invalid),
        ("nan as a stamp", b"IAMAT c +34.0-118.4 nan", Invalid),
        ("inf as a stamp", b"IAMAT c +34.0-118.4 inf", Invalid),
        ("Infinity as a stamp", b"IAMAT c +34.0-118.4 Infinity", Invalid),
        ("lat > 90", b"IAMAT c +90.000001-118.4 5", Invalid),
        ("lat < -90", b"IAMAT c -91-118.4 5", Invalid),
        ("lon > 180", b"IAMAT c +34.0+180.0000000000000000000000001 5", Invalid),
        ("lon < -180", b"IAMAT c +34.0-181 5", Invalid),
        ("+90, -180", b"IAMAT c +90-180 5", at(b"+90-180", b"5")),
        ("-90, +180", b"IAMAT c -90.0+180.000 5", at(b"-90.0+180.000", b"5")),
        ("whole degrees", b"IAMAT c +34-118 5", at(b"+34-118", b"5")),
        ("zero-padded", b"IAMAT c +27.5916+086.5640 5", at(b"+27.5916+086.5640", b"5")),
        ("unpadded", b"IAMAT c +5.5-7.25 5", at(b"+5.5-7.25", b"5")),
        ("degrees+minutes", b"IAMAT c +3404.1358-11826.7076 5", Invalid),
        ("trailing solidus", b"IAMAT c +34.0-118.4/ 5", Invalid),
        ("altitude", b"IAMAT c +34.0-118.4+350 5", Invalid),
        ("CRS", b"IAMAT c +34.0-118.4CRSWGS_84/ 5", Invalid),
        ("exponents", b"IAMAT c +3e1-1e2 5", Invalid),
        ("underscore", b"IAMAT c +3_4-118 5", Invalid),
        ("hex", b"IAMAT c +0x22-118 5", Invalid),
        ("two points", b"IAMAT c +34.0.1-118 5", Invalid),
        ("point without digits", b"IAMAT c +34.-118 5", Invalid),
        ("digits only behind the point", b"IAMAT c +.5-118 5", Invalid),
        ("1 fractional digit", b"IAMAT c +1+1 1520023934.9", at(b"+1+1", b"1520023934.9")),
        ("6 of them", b"IAMAT c +1+1 1520023934.918963", at(b"+1+1", b"1520023934.918963")),
        ("9 of them", b"IAMAT c +1+1 1520023934.918963500", at(b"+1+1", b"1520023934.918963500")),
        ("whole seconds", b"IAMAT c +1+1 1520023934", at(b"+1+1", b"1520023934")),
        ("> 9 digits", b"IAMAT c +1+1 1520023934.9189635000", Invalid),
        ("negative", b"IAMAT c +1+1 -1520023934.9", Invalid),
        ("signed", b"IAMAT c +1+1 +1520023934.9", Invalid),
        ("huge", b"IAMAT c +1+1 15200239340", Invalid),
        ("1.5e9", b"IAMAT c +1+1 1.5e9", Invalid),
        ("1_520_023_934.5", b"IAMAT c +1+1 1_520_023_934.5", Invalid),
        ("0x..", b"IAMAT c +1+1 0x5a9a", Invalid),
        ("stamp without fraction after its point", b"IAMAT c +1+1 5.", Invalid),
        ("stamp without seconds", b"IAMAT c +1+1 .5", Invalid),
    ]);
    let line = format!("IAMAT c +1+1 {}", "9".repeat(400));
    assert!(Command::parse(line.as_bytes(), &CommandLimits::default()).is_err(), "400 digits");
}

#[test]
fn whatsat_operands_are_as_the_specification_says() {
    check(&[
        ("50, 20", b"WHATSAT c 50 20", Whatsat(b"c", 50_000.0, 20)),
        (
            "the graders'",
            b"WHATSAT kiwi.cs.ucla.edu 10 5",
            Whatsat(b"kiwi.cs.ucla.edu", 10_000.0, 5),
        ),
        ("51", b"WHATSAT c 51 20", Invalid),
        ("21", b"WHATSAT c 50 21", Invalid),
        ("10^26", b"WHATSAT c 100000000000000000000000000 5", Invalid),
        ("10^26", b"WHATSAT c 10 100000000000000000000000000", Invalid),
        ("2^32+1", b"WHATSAT c 4294967297 5", Invalid),
        ("2^32+1", b"WHATSAT c 10 4294967297", Invalid),
        ("2^64+1", b"WHATSAT c 18446744073709551617 5", Invalid),
        ("2^64+1", b"WHATSAT c 10 18446744073709551617", Invalid),
        ("50.5", b"WHATSAT c 50.5 5", Invalid),
        ("50.0000", b"WHATSAT c 50.0000 5", Whatsat(b"c", 50_000.0, 5)),
        ("a hair above 50", b"WHATSAT c 50.00000000000000000000000000000001 5", Invalid),
        (
            "a hair below 50",
            b"WHATSAT c 49.9999999999999999999999999999 5",
            Whatsat(b"c", 50_000.0, 5),
        ),
        ("not a number", b"WHATSAT c ten 5", Invalid),
        ("not a number", b"WHATSAT c 10 five", Invalid),
        ("nan", b"WHATSAT c nan 5", Invalid),
        ("nan", b"WHATSAT c 10 nan", Invalid),
        ("inf", b"WHATSAT c inf 5", Invalid),
        ("10km", b"WHATSAT c 10km 5", Invalid),
        ("exponent", b"WHATSAT c 1e1 5", Invalid),
        ("signed radius", b"WHATSAT c +10 5", Invalid),
        ("radius 0", b"WHATSAT c 0 5", Invalid),
        ("radius 0", b"WHATSAT c 0.000 5", Invalid),
        ("radius -5", b"WHATSAT c -5 5", Invalid),
        ("radius 0.5", b"WHATSAT c 0.5 5", Whatsat(b"c", 500.0, 5)),
        ("bound 0", b"WHATSAT c 10 0", Invalid),
        ("bound -1", b"WHATSAT c 10 -1", Invalid),
        ("bound +1", b"WHATSAT c 10 +1", Invalid),
        ("bound 2.5", b"WHATSAT c 10 2.5", Invalid),
        ("bound 2.0", b"WHATSAT c 10 2.0", Invalid),
        (
            "leading zeros",
            b"WHATSAT c 0010 00000000000000000000000020",
            Whatsat(b"c", 10_000.0, 20),
        ),
        ("missing operands", b"WHATSAT c 10", Invalid),
        ("extra operands", b"WHATSAT c 10 5 5", Invalid),
    ]);
}

// ---- the second parser --------------------------------------------------------------------------

/// The second parser's result: the name of the command and its fields.
type Reference = Option<(&'static str, Vec<Vec<u8>>)>;

fn reference(line: &[u8]) -> Reference {
    let mut fields: Vec<Vec<u8>> = vec![vec![]];
    for &byte in line {
        match byte {
            0x20 | 0x09 | 0x0d | 0x0a | 0x0c | 0x0b => fields.push(vec![]),
            _ => fields.last_mut().unwrap().push(byte),
        }
    }
    fields.retain(|field| !field.is_empty());
    if fields.is_empty() {
        return None;
    }
    let name = fields.remove(0);
    let sizes_fit =
        |client: &Vec<u8>, location: &Vec<u8>| client.len() <= 4096 && location.len() <= 64;
    let valid = |name, valid: bool, fields| if valid { Some((name, fields)) } else { None };
    match (name.as_slice(), fields.as_slice()) {
        (b"IAMAT", [client, location, stamp]) => {
            let fit = sizes_fit(client, location);
            valid("IAMAT", fit && is_location(location) && is_stamp(stamp), fields)
        }
        (b"WHATSAT", [client, radius, bound]) => {
            let fit = sizes_fit(client, &vec![]);
            valid("WHATSAT", fit && is_radius(radius) && is_bound(bound), fields)
        }
        (b"AT", [server, difference, client, location, stamp]) => {
            let fit = sizes_fit(client, location) && server.len() <= 64 && difference.len() <= 44;
            let numbers = is_location(location) && is_stamp(stamp) && is_float(difference);
            valid("AT", fit && numbers, fields)
        }
        (b"PING", []) => Some(("PING", fields)),
        (b"BYE", []) => Some(("BYE", fields)),
        (b"ACK", [count]) => valid("ACK", is_digits(count), fields),
        (b"SYNC", [sum]) => valid("SYNC", is_hex(sum, 16), fields),
        (b"GROUPS", [first, sums]) => {
            let fit = is_first(first, 2) && is_hex(sums, 512);
            valid("GROUPS", fit, fields)
        }
        (b"LEAVES", [first, sums]) => {
            let fit = is_first(first, 4) && is_hex(sums, 512);
            valid("LEAVES", fit, fields)
        }
        (b"WANT", [first, marks]) => {
            let fit = is_first(first, 4) && is_hex(marks, 8);
            valid("WANT", fit, fields)
        }
        (b"HELLO", [name, herd, version, options @ ..]) => {
            let options_fit = options
                .iter()
                .all(|option| option.iter().skip(1).any(|&b| b == b'=') && option[0] != b'=');
            let version_fits = is_digits(version)
                && trimmed(version).len() <= 10
                && text(&trimmed(version)).parse::<u64>().unwrap_or(0) <= u64::from(u32::MAX);
            valid("HELLO", is_name(name) && is_name(herd) && version_fits && options_fit, fields)
        }
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn is_digits(field: &[u8]) -> bool {
    !field.is_empty() && field.iter().all(|byte| b"0123456789".contains(byte))
}

fn is_hex(field: &[u8], digits: usize) -> bool {
    field.len() == digits && field.iter().all(|byte| b"0123456789abcdef".contains(byte))
}

/// Whether a field is a multiple of 32: its last five bits are 0.
fn is_first(field: &[u8], digits: usize) -> bool {
    let even = |byte: &u8| b"02468ace".contains(byte);
    is_hex(field, digits) && field[digits - 1] == b'0' && even(&field[digits - 2])
}

/// Returns `digits` without leading zeros.
fn trimmed(digits: &[u8]) -> Vec<u8> {
    digits.iter().copied().skip_while(|&digit| digit == b'0').collect()
}

/// Splits `digits` or `digits.digits` into its two halves.
fn halves(field: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let halves: Vec<&[u8]> = field.split(|&byte| byte == b'.').collect();
    match halves.as_slice() {
        [whole] if is_digits(whole) => Some((whole.to_vec(), vec![])),
        [whole, part] if is_digits(whole) && is_digits(part) => {
            Some((whole.to_vec(), part.to_vec()))
        }
        _ => None,
    }
}

/// Whether a field is at most `limit`, by comparing digit strings.
fn at_most(field: &[u8], limit: &str) -> bool {
    let Some((whole, part)) = halves(field) else { return false };
    let whole = trimmed(&whole);
    let limit = limit.as_bytes().to_vec();
    let smaller = (whole.len(), &whole) < (limit.len(), &limit);
    smaller || (whole == limit && trimmed(&part).is_empty())
}

fn is_location(field: &[u8]) -> bool {
    let signs: Vec<usize> = (0..field.len()).filter(|&at| b"+-".contains(&field[at])).collect();
    let [0, second] = signs[..] else { return false };
    at_most(&field[1..second], "90") && at_most(&field[second + 1..], "180")
}

fn is_stamp(field: &[u8]) -> bool {
    halves(field).is_some_and(|(whole, part)| whole.len() <= 10 && part.len() <= 9)
}

fn is_radius(field: &[u8]) -> bool {
    at_most(field, "50") && field.iter().any(|byte| b"123456789".contains(byte))
}

fn is_bound(field: &[u8]) -> bool {
    is_digits(field) && (1..=20).any(|bound: u32| text(&trimmed(field)) == bound.to_string())
}

fn is_float(field: &[u8]) -> bool {
    let unsigned = |field: &[u8]| match field {
        [b'+' | b'-', rest @ ..] => rest.to_vec(),
        _ => field.to_vec(),
    };
    let field = unsigned(field);
    let parts: Vec<&[u8]> = field.split(|byte| b"eE".contains(byte)).collect();
    match parts.as_slice() {
        [number] => halves(number).is_some(),
        [number, exponent] => halves(number).is_some() && is_digits(&unsigned(exponent)),
        _ => false,
    }
}

fn is_name(field: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    field.len() <= 64 && field.iter().all(allowed)
}

/// Returns the real parser's result in the form of the second parser's.
fn parsed(line: &[u8]) -> Reference {
    let own = |fields: &[&[u8]]| fields.iter().map(|field| field.to_vec()).collect::<Vec<_>>();
    Some(match Command::parse(line, &CommandLimits::default()).ok()? {
        Command::Iamat(c) => {
            check_location(c.location.text, c.location.latitude(), c.location.longitude());
            check_stamp(c.stamp, c.stamp_text);
            ("IAMAT", own(&[c.client, c.location.text, c.stamp_text]))
        }
        Command::Whatsat(c) => {
            // The command does not keep the bound's text: take it from the line, after checking that it agrees.
            let bound =
                line.rsplit(|byte| b" \t\r\n\x0b\x0c".contains(byte)).find(|f| !f.is_empty())?;
            assert_eq!(text(&trimmed(bound)), c.bound.to_string());
            ("WHATSAT", own(&[c.client, c.radius.text, bound]))
        }
        Command::At(c) => {
            check_location(c.location.text, c.location.latitude(), c.location.longitude());
            check_stamp(c.stamp, c.stamp_text);
            ("AT", own(&[c.server, c.difference, c.client, c.location.text, c.stamp_text]))
        }
        Command::Hello(c) => {
            let options = c.options.iter().map(|(key, value)| [key, b"=", value].concat());
            let version = reference(line)?.1.swap_remove(2);
            assert_eq!(text(&trimmed(&version)).parse().unwrap_or(0), c.version);
            let fields = own(&[c.name, c.herd, &version]).into_iter().chain(options);
            ("HELLO", fields.collect())
        }
        Command::Ping => ("PING", vec![]),
        Command::Bye => ("BYE", vec![]),
        Command::Ack(count) => {
            let digits = reference(line)?.1.swap_remove(0);
            let expected = match text(&trimmed(&digits)).as_str() {
                "" => 0,
                digits => digits.parse().unwrap_or(u64::MAX),
            };
            assert_eq!(expected, count);
            ("ACK", vec![digits])
        }
        Command::Compare(SyncMessage::Sync(sum)) => {
            ("SYNC", own(&[format!("{sum:016x}").as_bytes()]))
        }
        Command::Compare(SyncMessage::Groups(row)) => {
            ("GROUPS", own(&[format!("{:02x}", row.first).as_bytes(), sums(row).as_bytes()]))
        }
        Command::Compare(SyncMessage::Leaves(row)) => {
            ("LEAVES", own(&[format!("{:04x}", row.first).as_bytes(), sums(row).as_bytes()]))
        }
        Command::Compare(SyncMessage::Want(Marks { first, bits })) => {
            ("WANT", own(&[format!("{first:04x}").as_bytes(), format!("{bits:08x}").as_bytes()]))
        }
    })
}

fn sums(row: DigestRow<'_>) -> String {
    row.sums().map(|sum| format!("{sum:016x}")).collect()
}

fn check_location(location: &[u8], latitude: &[u8], longitude: &[u8]) {
    assert_eq!([latitude, longitude].concat(), location);
    assert!(b"+-".contains(&longitude[0]));
}

fn check_stamp(stamp: Stamp, stamp_text: &[u8]) {
    let (whole, part) = halves(stamp_text).unwrap();
    let nanos = format!("{}{:0<9}", text(&whole), text(&part));
    assert_eq!(stamp, Stamp(nanos.parse().unwrap()));
}

/// Bytes with a meaning for one of the parsers, and a few others.
fn telling_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(&b"0123456789"[..]),
        6 => prop::sample::select(&b"+-. \t\r\n\x0b\x0ceE=/_,xXn"[..]),
        2 => prop::sample::select(&b"IAMTWHSELOPNG"[..]),
        1 => any::<u8>(),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        "[0-9]{1,3}\\.[0-9]{1,12}",
        "0{0,3}(90|180|50|20)(\\.0{1,30}1?)?",
        "[0-9]{8,25}(\\.[0-9]{1,25})?",
    ]
}

fn location() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[+-][0-8]?[0-9](\\.[0-9]{1,9})?[+-]1?[0-7]?[0-9](\\.[0-9]{1,9})?",
        1 => ("[+-]", number(), "[+-]", number()).prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}")),
        1 => "[+-]0{28,31}1[+-]0{28,31}2",
    ]
}

fn stamp() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[0-9]{1,10}(\\.[0-9]{1,9})?", 1 => number()]
}

fn difference() -> impl Strategy<Value = String> {
    prop_oneof![
        "[+-][0-9]{1,11}\\.[0-9]{9}",
        "[+-]?[0-9]{1,3}(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?",
        "[+-]?(nan|inf|Infinity)",
    ]
}

/// A valid or nearly valid line, with any white space between its fields.
fn likely_line() -> impl Strategy<Value = Vec<u8>> {
    let client = || "[a-z0-9.]{1,20}|[\\u{a0}\\u{3000}\\u{85}x]{1,5}|x{4095,4098}";
    let options = prop::collection::vec("[a-z]{0,2}=?[a-z=]{0,3}", 0..3);
    let fields = prop_oneof![
        4 => (client(), location(), stamp())
            .prop_map(|(c, l, s)| vec!["IAMAT".to_owned(), c, l, s]),
        2 => (client(), number(), number())
            .prop_map(|(c, r, b)| vec!["WHATSAT".to_owned(), c, r, b]),
        4 => ("[A-Z][a-z]{0,8}|S{63,66}", difference(), client(), location(), stamp())
            .prop_map(|(n, d, c, l, s)| vec!["AT".to_owned(), n, d, c, l, s]),
        2 => ("[A-Za-z0-9._-]{1,66}", "[a-z]{1,5}!?", number(), options)
            .prop_map(|(n, h, v, mut o)| { o.splice(0..0, ["HELLO".to_owned(), n, h, v]); o }),
        1 => Just(vec!["PING".to_owned()]),
        1 => Just(vec!["BYE".to_owned()]),
        1 => number().prop_map(|n| vec!["ACK".to_owned(), n]),
        1 => "[0-9a-f]{15,17}".prop_map(|s| vec!["SYNC".to_owned(), s]),
        1 => ("[0-9a-f][02468ac]0", "[0-9a-f]{512,513}")
            .prop_map(|(f, s)| vec!["GROUPS".to_owned(), f[1..].to_owned(), s]),
        1 => ("[0-9a-f]{2}[0-9a-c]0", "[0-9a-f]{512}")
            .prop_map(|(f, s)| vec!["LEAVES".to_owned(), f, s]),
        1 => ("[0-9a-f]{2}[0-9a-c][01]", "[0-9a-fF]{8}")
            .prop_map(|(f, m)| vec!["WANT".to_owned(), f, m]),
    ];
    let white = prop_oneof![6 => Just(" ".to_owned()), 1 => "[ \t\r\n\x0b\x0c]{1,3}"];
    let white = prop::collection::vec(white, 16);
    let outer = || "[ \t\r\n\x0b\x0c]{0,2}";
    (fields, white, outer(), outer()).prop_map(|(fields, white, before, after)| {
        let mut line = before;
        for (field, white) in fields.iter().zip(&white) {
            line.push_str(field);
            line.push_str(white);
        }
        line.truncate(line.len() - white[fields.len() - 1].len());
        (line + &after).into_bytes()
    })
}

/// A likely line with one mutation.
fn mutated_line() -> impl Strategy<Value = Vec<u8>> {
    let mutation = (any::<prop::sample::Index>(), 0..4, telling_byte());
    (likely_line(), mutation).prop_map(|(mut line, (place, kind, byte))| {
        let place = place.index(line.len());
        match kind {
            0 => line[place] = byte,
            1 => line.insert(place, byte),
            2 => drop(line.remove(place)),
            _ => line.truncate(place),
        }
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn likely_lines_are_parsed_as_the_second_parser_does(line in likely_line()) {
        prop_assert_eq!(parsed(&line), reference(&line));
    }

    #[test]
    fn mutated_lines_are_parsed_as_the_second_parser_does(line in mutated_line()) {
        prop_assert_eq!(parsed(&line), reference(&line));
    }

    #[test]
    fn telling_bytes_are_parsed_as_the_second_parser_does(
        name in prop::sample::select(&["IAMAT ", "WHATSAT ", "AT ", "HELLO ", "PING", ""][..]),
        rest in prop::collection::vec(telling_byte(), 0..60),
    ) {
        let line = [name.as_bytes(), &rest].concat();
        prop_assert_eq!(parsed(&line), reference(&line));
    }

    #[test]
    fn random_bytes_are_parsed_as_the_second_parser_does(
        line in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        prop_assert_eq!(parsed(&line), reference(&line));
    }

    #[test]
    fn an_iamats_line_is_a_valid_at_of_the_same_report(
        client in "[!-~]{1,30}",
        location in "[+-][0-8]?[0-9](\\.[0-9]{1,9})?[+-]1?[0-7]?[0-9](\\.[0-9]{1,9})?",
        stamp in "[0-9]{1,10}(\\.[0-9]{1,9})?",
        received: u64,
    ) {
        let line = format!("IAMAT {client} {location} {stamp}");
        let limits = CommandLimits::default();
        let Ok(Command::Iamat(iamat)) = Command::parse(line.as_bytes(), &limits) else {
            return Err(TestCaseError::fail(line));
        };
        let (mut scratch, mut again) = (Vec::new(), Vec::new());
        let taken = Report::taken(&iamat, b"Alford", Stamp(received), &mut scratch);
        let Ok(Command::At(at)) = Command::parse(taken.line(), &limits) else {
            return Err(TestCaseError::fail(text(taken.line())));
        };
        let (whole, nanos) = at.difference[1..].split_at(at.difference.len() - 1 - 10);
        prop_assert!(b"+-".contains(&at.difference[0]) && whole.iter().all(u8::is_ascii_digit));
        prop_assert!(nanos[0] == b'.' && nanos[1..].iter().all(u8::is_ascii_digit));
        prop_assert_eq!(Report::relayed(&at, &mut again), taken);
        prop_assert_eq!(taken.client(), client.as_bytes());
        prop_assert_eq!(taken.location().text, location.as_bytes());
        prop_assert_eq!(taken.stamp_text(), stamp.as_bytes());
    }
}

// ---- the longest line ---------------------------------------------------------------------------

/// No server may send a line that its neighbour would reject.
#[test]
fn the_longest_at_line_is_within_the_limit_of_a_line() {
    const LINE_BYTES_MAX: usize = 16_384;
    let stamp_text = b"9999999999.999999999";
    let (server, client) = ([b's'; NAME_BYTES_MAX], [b'c'; CLIENT_ID_BYTES_MAX]);
    let location = format!("+90.{:0<29}-180.{:0<26}", "", "");
    assert_eq!(location.len(), LOCATION_BYTES_MAX);
    let difference = "1".repeat(DIFFERENCE_BYTES_MAX);

    let line =
        [&b"AT"[..], &server, difference.as_bytes(), &client, location.as_bytes(), stamp_text]
            .join(&b' ');
    assert!(line.len() < LINE_BYTES_MAX);
    let Ok(Command::At(at)) = Command::parse(&line, &CommandLimits::default()) else { panic!() };
    assert_eq!(Report::relayed(&at, &mut Vec::new()).line(), line);
    assert_eq!(line.len(), 2 + 64 + 44 + 4096 + 64 + 20 + 5);

    // Each field has its maximum length: with one more byte in any of them the line is invalid.
    for field in [&server[..], difference.as_bytes(), &client, location.as_bytes(), stamp_text] {
        let start = line.windows(field.len()).position(|window| window == field).unwrap();
        let mut longer = line.clone();
        let byte = longer[start + field.len() - 1];
        longer.insert(start + field.len(), byte);
        assert!(Command::parse(&longer, &CommandLimits::default()).is_err());
    }

    // Our own differences are shorter than the limit.
    for (received, stamp) in [(u64::MAX, 0), (0, u64::MAX)] {
        let difference = Stamp(received).since(Stamp(stamp));
        let mut own = Vec::new();
        let operands = [&client[..], location.as_bytes(), stamp_text];
        write_at(&mut own, &server, difference, &operands);
        assert!(own.len() < line.len());
    }
}
