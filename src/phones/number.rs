//! Numbers and times of apps as the text of an IAMAT: no digit is invented and none is lost.
//!
//! In: the text of a number as the app wrote it, from JSON, from a string or from a form. Out: degrees such as
//! `-118.4451272`, without exponent and without trailing zeros; or POSIX seconds such as `1795954532.123`.
//!
//! The idea: no number becomes a float. An exponent or a unit only moves the point of a [`Numeral`]. A float would
//! change the last digits of a long number; it cannot hold the seconds of today with nine decimals.
//!
//! A time is in seconds below 10^11, in milliseconds below 10^14, in microseconds below 10^17, and else in nanoseconds. A
//! string that already is a stamp is copied. Any other string must be ISO 8601, in a form that [`iso_8601`] describes.

use crate::wire::calendar::posix_time;
use crate::wire::stamp::Stamp;
use std::borrow::Cow;
use std::io::Write as _;

/// The most digits after the point of degrees: no double between 0.001 and 180 needs more. A location has at most 57 bytes.
const DEGREES_DECIMALS: usize = 24;

/// The most digits after the point of a stamp.
const STAMP_DECIMALS: usize = 9;

/// The most zeros that an exponent may add. The largest float has an exponent of 308.
const POINT_MAX: i32 = 1_000;

/// A decimal number, without leading and trailing zeros.
struct Numeral<'t> {
    is_negative: bool,
    whole: Cow<'t, str>,
    fraction: Cow<'t, str>,
}

impl Numeral<'_> {
    /// Parses a number as JSON writes it, but also with a leading plus, and without digits on one side of the point. Moves
    /// the point to the right by `shift` digits.
    fn parse(text: &[u8], shift: i32) -> Option<Numeral<'_>> {
        let text = str::from_utf8(text).ok()?;
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let mut digits = whole.bytes().chain(fraction.bytes()).peekable();
        let shift = shift.checked_add(exponent.parse().ok()?)?;
        let point = shift.checked_add(whole.len() as i32)?;
        let are_digits = digits.peek().is_some() && digits.all(|byte| byte.is_ascii_digit());
        if !are_digits || point.abs() > POINT_MAX {
            return None;
        }
        let is_negative = mantissa.starts_with('-');
        if shift == 0 {
            // Nearly all numbers of apps: nothing is copied.
            let whole = whole.trim_start_matches('0').into();
            let fraction = fraction.trim_end_matches('0').into();
            return Some(Numeral { is_negative, whole, fraction });
        }
        let zeros = |count: i32| "0".repeat(count.max(0) as usize);
        let digits = [whole, fraction].concat();
        let behind = zeros(point - digits.len() as i32);
        let digits = [zeros(-point), digits, behind].concat();
        let (whole, fraction) = digits.split_at(point.max(0) as usize);
        let whole = whole.trim_start_matches('0').to_owned().into();
        let fraction = fraction.trim_end_matches('0').to_owned().into();
        Some(Numeral { is_negative, whole, fraction })
    }

    /// Appends the number without its sign, with at most this many digits after the point. Further digits are cut off.
    fn write(&self, decimals: usize, out: &mut Vec<u8>) {
        let fraction = &self.fraction[..self.fraction.len().min(decimals)];
        let fraction = fraction.trim_end_matches('0');
        let (whole, point) = (&*self.whole, if fraction.is_empty() { "" } else { "." });
        for part in [if whole.is_empty() { "0" } else { whole }, point, fraction] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// Why a text is not degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDegrees {
    NotANumber,
    OutOfRange,
}

/// Appends the degrees of `text` with their sign, as in `-118.4451272`; nothing if they exceed `limit`.
pub(crate) fn degrees(text: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), NotDegrees> {
    let degrees = Numeral::parse(text, 0).ok_or(NotDegrees::NotANumber)?;
    let whole = match &*degrees.whole {
        "" => 0,
        digits => digits.parse().unwrap_or(u64::MAX),
    };
    if whole > limit || whole == limit && !degrees.fraction.is_empty() {
        return Err(NotDegrees::OutOfRange);
    }
    out.push(if degrees.is_negative { b'-' } else { b'+' });
    degrees.write(DEGREES_DECIMALS, out);
    Ok(())
}

/// Appends a time as POSIX seconds. `text` may be a stamp, which is copied; a number, whose size tells its unit; or
/// ISO 8601. `None` if it has another form, or is outside 1970 to 2286; the appended bytes then have no meaning.
pub(super) fn time(text: &[u8], out: &mut Vec<u8>) -> Option<Stamp> {
    let start = out.len();
    if Stamp::parse(text).is_some() {
        out.extend_from_slice(text);
    } else if let Some(number) = Numeral::parse(text, 0).filter(|number| !number.is_negative) {
        let unit = match number.whole.len() {
            ..=11 => 0,
            12..=14 => 3,
            15..=17 => 6,
            _ => 9,
        };
        Numeral::parse(text, -unit)?.write(STAMP_DECIMALS, out);
    } else {
        write_stamp(iso_8601(str::from_utf8(text).ok()?)?, out);
    }
    Stamp::parse(&out[start..])
}

/// Appends a stamp without trailing zeros.
pub(super) fn write_stamp(Stamp(nanos): Stamp, out: &mut Vec<u8>) {
    // Writing to a Vec never fails.
    let _ = write!(out, "{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    while out.pop_if(|byte| *byte == b'0').is_some() {}
    out.pop_if(|byte| *byte == b'.');
}

/// Parses `2026-11-29T12:15:32.862Z`: with `T` or a space; with or without a fraction, of which nine digits count; with
/// `Z`, `+02:00`, `+0200`, `+02`, or nothing for UTC. A space before the offset was a plus, which a form decodes as a
/// space. The leap second 60 becomes 59.999999999.
fn iso_8601(text: &str) -> Option<Stamp> {
    let (clock, rest) = text.split_at_checked(19)?;
    let (fraction, offset) = rest.split_at(rest.find([' ', '+', '-']).unwrap_or(rest.len()));
    let offset = offset.replacen(' ', "+", 1).replacen(':', "", 1);
    let offset = match offset.split_at_checked(3) {
        None => offset,
        Some((hours, "")) => format!("{hours}:00"),
        Some((hours, minutes)) => format!("{hours}:{minutes}"),
    };
    let (seconds, nanos) = posix_time(&format!("{clock}{fraction}{offset}"))?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos.into()).map(Stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NANOS_PER_SECOND: u64 = 1_000_000_000;

    fn longitude(text: &str) -> Result<String, NotDegrees> {
        let mut out = Vec::new();
        degrees(text.as_bytes(), 180, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    /// A time as POSIX seconds.
    fn posix(text: &str) -> Option<String> {
        let mut out = b"before".to_vec();
        let stamp = time(text.as_bytes(), &mut out)?;
        let written = String::from_utf8(out).unwrap().split_off(6);
        assert_eq!(Some(stamp), Stamp::parse(written.as_bytes()), "{text}");
        Some(written)
    }

    #[test]
    fn degrees_keep_their_digits_and_lose_exponents_and_trailing_zeros() {
        for (text, expected) in [
            ("34.0689301", "+34.0689301"),
            ("-118.4451272", "-118.4451272"),
            ("34.0", "+34"),
            ("34", "+34"),
            ("100", "+100"),
            ("180.000", "+180"),
            ("-180", "-180"),
            ("4.5e-4", "+0.00045"),
            ("-4.5E-4", "-0.00045"),
            ("1.1844512e+2", "+118.44512"),
            ("1.5E2", "+150"),
            ("0.000001e6", "+1"),
            ("0", "+0"),
            ("-0.0", "-0"),
            ("0e99", "+0"),
            ("5e-324", "+0"),
            ("-118.44652173029149", "-118.44652173029149"),
            ("-0.12775829999999998", "-0.12775829999999998"),
            ("0.123456789012345678901234", "+0.123456789012345678901234"),
            ("0.1234567890123456789012344", "+0.123456789012345678901234"),
            ("0.1234567890123456789012349", "+0.123456789012345678901234"),
            ("0.9999999999999999999999999", "+0.999999999999999999999999"),
            ("179.9999999999999999999999999", "+179.999999999999999999999999"),
            ("1.9e-24", "+0.000000000000000000000001"),
            ("9.9e-25", "+0"),
            ("+5", "+5"),
            (".5", "+0.5"),
            ("5.", "+5"),
            ("007.50", "+7.5"),
        ] {
            assert_eq!(longitude(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_and_what_is_out_of_range_are_no_degrees() {
        for text in [
            "", ".", "-", "e5", "1e", "1e+", "NaN", "inf", "1.2.3", "--1", "1 ", "0x1", "1_0",
            "1e2000",
        ] {
            assert_eq!(longitude(text), Err(NotDegrees::NotANumber), "{text}");
        }
        for text in ["180.0000000000000000001", "-180.1", "181", "1e3", "1e400"] {
            assert_eq!(longitude(text), Err(NotDegrees::OutOfRange), "{text}");
        }
    }

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        for (text, expected) in [
            ("1795954532", Some("1795954532")),
            ("1795954532.0e0", Some("1795954532")),
            ("1795954532123", Some("1795954532.123")),
            ("1795954532000", Some("1795954532")),
            ("1795954532123.5", Some("1795954532.1235")),
            ("1795954532123456", Some("1795954532.123456")),
            ("1795954532123456789", Some("1795954532.123456789")),
            ("1.795954532E9", Some("1795954532")),
            ("1479413884392.014450", Some("1479413884.39201445")),
            ("1479413884.3920144509", Some("1479413884.39201445")),
            ("0", Some("0")),
            ("2147483648", Some("2147483648")),
            ("10000000000", None),
            ("99999999999", None),
            ("100000000000", Some("100000000")),
            ("9999999999999999999", Some("9999999999.999999999")),
            ("10000000000000000000", None),
            ("-1", None),
            ("1e400", None),
        ] {
            assert_eq!(posix(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_string_that_is_a_stamp_is_copied() {
        for text in ["1479413884.392014450", "1795954532.000", "0007", "1795954532"] {
            assert_eq!(posix(text).as_deref(), Some(text));
        }
        assert_eq!(posix("1795954532862").as_deref(), Some("1795954532.862"));
    }

    #[test]
    fn a_time_is_iso_8601_with_every_usual_offset() {
        for (text, expected) in [
            ("2026-11-29T12:15:32Z", "1795954532"),
            ("2026-11-29T12:15:32.862Z", "1795954532.862"),
            ("2026-11-29T12:15:32.000Z", "1795954532"),
            ("2026-11-29T12:15:32.860z", "1795954532.86"),
            ("2026-11-29t12:15:32.5", "1795954532.5"),
            ("2026-11-29 12:15:32", "1795954532"),
            ("2026-11-29T05:15:32-0700", "1795954532"),
            ("2026-11-29T14:15:32+02:00", "1795954532"),
            ("2026-11-29T14:15:32 02:00", "1795954532"),
            ("2026-11-29T14:15:32+02", "1795954532"),
            ("2026-11-29T12:15:32.1234567891Z", "1795954532.123456789"),
            ("2016-12-31T23:59:60Z", "1483228799.999999999"),
            ("1970-01-01T00:00:00Z", "0"),
            ("1970-01-01T01:00:00+01:00", "0"),
            ("2000-02-29T00:00:00Z", "951782400"),
            ("2100-03-01T00:00:00Z", "4107542400"),
            ("2286-11-20T17:46:39Z", "9999999999"),
        ] {
            assert_eq!(posix(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_time() {
        for text in [
            "",
            "now",
            "2026-11-29",
            "2026-11-29T12:15Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-29T24:00:00Z",
            "2026-11-29T12:60:00Z",
            "2026-11-29T12:15:61Z",
            "2026-11-29T12:15:32.Z",
            "2026-11-29T12:15:32+2:00",
            "2026-11-29T12:15:32+24:00",
            "2026-11-29T12:15:32+02:60",
            "2026-11-29T12:15:32ZZ",
            "2026-11-29T12:15:32\u{2212}02",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2286-11-20T17:46:40Z",
            "+026-11-29T12:15:32Z",
        ] {
            assert_eq!(posix(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn degrees_are_the_number_that_was_written(
            whole in 0..180_u64, fraction in 0..1_000_000_000_000_000_u64, places in 0..16_usize,
            is_negative: bool, shift in -30..30_i64,
        ) {
            let fraction = &format!("{fraction:015}")[..places];
            let plain = format!("{whole}.{fraction}");
            let plain = if places > 0 { plain.trim_end_matches('0') } else { &plain };
            let sign = if is_negative { "-" } else { "+" };
            let expected = format!("{sign}{}", plain.trim_end_matches('.'));
            // The same number, with the point moved and an exponent that moves it back.
            let digits = format!("{}{whole:03}{fraction}{}", "0".repeat(30), "0".repeat(30));
            let (before, behind) = digits.split_at((33 + shift) as usize);
            let moved = format!("{}{before}.{behind}e{}", if is_negative { "-" } else { "" }, -shift);
            prop_assert_eq!(longitude(&moved), Ok(expected), "{}", moved);
        }

        #[test]
        fn degrees_read_back_as_the_float_that_was_sent(degrees in -180.0..180.0_f64) {
            // Rust prints the shortest text that reads back the same; with larger numbers it has at most 15 decimals.
            prop_assume!(degrees.abs() > 10.0);
            let text = longitude(&degrees.to_string()).unwrap();
            prop_assert_eq!(&text, &format!("{degrees:+}"));
            prop_assert_eq!(longitude(&format!("{degrees:e}")).unwrap(), text);
        }

        #[test]
        fn a_time_is_the_same_in_every_form(nanos in 100_000_000_000_000_000..9_999_999_999_999_999_999_u64) {
            let (seconds, rest) = (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
            let expected = format!("{seconds}.{rest:09}");
            let expected = expected.trim_end_matches('0').trim_end_matches('.').to_owned();
            prop_assert_eq!(Stamp::parse(expected.as_bytes()), Some(Stamp(nanos)));
            prop_assert_eq!(posix(&expected), Some(expected.clone()));
            prop_assert_eq!(posix(&format!("{nanos}")), Some(expected.clone()));
            // httpdate is another reader of dates.
            let whole = std::time::UNIX_EPOCH + std::time::Duration::from_secs(nanos / NANOS_PER_SECOND);
            let date = httpdate::fmt_http_date(whole);
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(&date[8..11]).unwrap() / 3 + 1;
            let (year, day, clock) = (&date[12..16], &date[5..7], &date[17..25]);
            let iso = format!("{year}-{month:02}-{day}T{clock}.{:09}Z", nanos % NANOS_PER_SECOND);
            prop_assert_eq!(posix(&iso), Some(expected));
        }

        #[test]
        fn any_bytes_are_a_number_or_none(text in "[-+0-9.eE:TZ ]{0,40}|\\PC{0,30}") {
            let (mut location, mut out) = (Vec::new(), Vec::new());
            if degrees(text.as_bytes(), 90, &mut location).is_ok() {
                location.extend_from_slice(b"+0");
                prop_assert!(crate::wire::location::Location::parse(&location).is_some(), "{}", text);
                prop_assert!(location.len() <= 21);
            }
            if let Some(stamp) = time(text.as_bytes(), &mut out) {
                prop_assert_eq!(Some(stamp), Stamp::parse(&out));
            }
        }
    }
}
