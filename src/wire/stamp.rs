//! Times of the herd's protocol, in whole nanoseconds: a client's stamp, and the difference between
//! the server's time of receipt and that stamp.
//!
//! In: the text of a stamp, or a wall clock reading of the caller. Out: an integer
//! to compare, or the text of a difference. This file reads no clock and uses no float: two stamps
//! a nanosecond apart are the same float64 and would be the same report.
//!
//! A stamp has at most ten digits of seconds, which reach the year 2286: in nanoseconds they need 63.1 of
//! the 64 bits of a u64.

use super::decimal::Decimal;
use super::swar::{eight_digits, eight_of};
use std::cmp::Ordering;
use std::io::Write as _;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_DIGITS_MAX: usize = 10;
const NANOS_DIGITS: usize = 9;
/// The value in nanoseconds of a 1 as the nth digit after the point.
const NANOS_OF_DIGIT: [u64; NANOS_DIGITS + 1] =
    [NANOS_PER_SECOND, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// A point in time: nanoseconds since the Unix epoch.
///
/// Stamps are ordered as numbers, never as text: 999999999.5 is before 1000000000.25.
/// Source: docs/protocol.md, "Client port", `time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Parses POSIX seconds: 1 to 10 digits, optionally a point and 1 to 9 digits, and nothing else.
    ///
    /// `text`: one field of a command. `None` for anything else: signs, exponents, `nan`, a tenth
    /// fractional digit.
    /// Source: docs/protocol.md, "Client port", `time`.
    pub fn parse(text: &[u8]) -> Option<Stamp> {
        match Stamp::read(text)? {
            (stamp, []) => Some(stamp),
            _ => None,
        }
    }

    /// Reads the stamp at the start of `text`; also returns the rest of `text`.
    #[inline]
    pub(crate) fn read(text: &[u8]) -> Option<(Stamp, &[u8])> {
        if let Some(usual) = read_usual(text) {
            return Some(usual);
        }
        let (Decimal { whole, fraction }, rest) = Decimal::read(text)?;
        if whole.count > SECONDS_DIGITS_MAX {
            return None;
        }
        let nanos_of_last_digit = *NANOS_OF_DIGIT.get(fraction.count)?;
        let nanos = whole.value * NANOS_PER_SECOND + fraction.value * nanos_of_last_digit;
        Some((Stamp(nanos), rest))
    }

    /// Compares this stamp with another one. `text`: this stamp's text; `other`: the other's.
    pub(crate) fn cmp_texts(self, text: &[u8], other: &[u8]) -> Ordering {
        match (in_order(text), in_order(other)) {
            (Some(text), Some(other)) => text.cmp(&other),
            _ => self.cmp(&Stamp::parse(other).expect("a stamp's text")),
        }
    }

    /// Returns this time minus `earlier`; negative if `earlier` is in fact the later time.
    ///
    /// An AT line contains `received.since(stamp)`: the time of receipt minus the client's stamp.
    /// Source: docs/protocol.md, "IAMAT", `diff`.
    pub fn since(self, earlier: Stamp) -> Difference {
        Difference { negative: self < earlier, nanos: self.0.abs_diff(earlier.0) }
    }
}

/// Returns the bytes of a stamp's text as two integers if it has ten digits before the point and nine after it.
/// For texts of this form the integers compare as the stamps do, so that no digit has to be parsed.
fn in_order(text: &[u8]) -> Option<(u128, u32)> {
    let text: &[u8; 20] = text.try_into().ok().filter(|text: &&[u8; 20]| text[10] == b'.')?;
    let (firsts, lasts) = text.split_first_chunk()?;
    Some((u128::from_be_bytes(*firsts), u32::from_be_bytes(lasts.try_into().ok()?)))
}

/// Fast path of [`Stamp::read`] for the usual form from 2001 to 2286: ten digits, a point, nine digits.
/// All positions are known beforehand, so that no step depends on the result of the step before.
#[inline(always)]
pub(crate) fn read_usual(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let (seconds, rest) = text.split_first_chunk()?;
    let ([s8, s9, b'.'], rest) = rest.split_first_chunk()? else {
        return None;
    };
    let (nanos, rest) = rest.split_first_chunk()?;
    let (n8, rest) = rest.split_first()?;
    let [s8, s9, n8] = [s8, s9, n8].map(|digit| u64::from(digit.wrapping_sub(b'0')));
    if s8 > 9 || s9 > 9 || n8 > 9 || rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let seconds = eight_of(*seconds)? * 100 + s8 * 10 + s9;
    let nanos = eight_of(*nanos)? * 10 + n8;
    Some((Stamp(seconds * NANOS_PER_SECOND + nanos), rest))
}

/// The signed difference of two stamps, to the nanosecond.
///
/// It holds the difference of any two stamps: that takes 65 bits, so it is stored as sign and magnitude.
/// Zero is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Difference {
    negative: bool,
    nanos: u64,
}

impl Difference {
    /// Appends the difference in the form of an AT line: sign, seconds, point, nine digits, as in
    /// `+0.263873386`.
    ///
    /// It writes at most 22 bytes, and allocates only if `out` has no room for them.
    /// Source: docs/protocol.md, "IAMAT", `diff`.
    pub fn write(self, out: &mut Vec<u8>) {
        let (seconds, nanos) = (self.nanos / NANOS_PER_SECOND, self.nanos % NANOS_PER_SECOND);
        let mut text = *b"+0.000000000";
        text[0] = if self.negative { b'-' } else { b'+' };
        text[3] += (nanos / 100_000_000) as u8;
        text[4..].copy_from_slice(&eight_digits((nanos % 100_000_000) as u32));
        if seconds < 10 {
            text[1] += seconds as u8;
            return out.extend_from_slice(&text);
        }
        out.push(text[0]);
        // Writing to a Vec never fails.
        let _ = write!(out, "{seconds}");
        out.extend_from_slice(&text[2..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_seconds_and_up_to_nine_digits() {
        for (text, nanos) in [
            ("0", 0),
            ("7", 7_000_000_000),
            ("1479413884.392014450", 1_479_413_884_392_014_450),
            ("1479413884.39201445", 1_479_413_884_392_014_450),
            ("1520023934.918963", 1_520_023_934_918_963_000),
            ("0000000001.000000001", 1_000_000_001),
            ("0.5", 500_000_000),
            ("9999999999.999999999", 9_999_999_999_999_999_999),
        ] {
            assert_eq!(Stamp::parse(text.as_bytes()), Some(Stamp(nanos)), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_stamp() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1.5e9",
            "1e9",
            "nan",
            "inf",
            "0x10",
            "1_000",
            "1,5",
            " 1",
            "1 ",
            "1.2.3",
            "12345678901",
            "00000000001",
            "1.0000000001",
            "1.-5",
            "1.+5",
            "\u{0661}",
        ] {
            assert_eq!(Stamp::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn stamps_are_ordered_as_numbers() {
        let stamp = |text: &str| Stamp::parse(text.as_bytes()).unwrap();
        assert!(stamp("999999999.5") < stamp("1000000000.25"));
        assert!(stamp("1479413884.392014450") < stamp("1479413884.392014451"));
        assert_eq!(stamp("12.5"), stamp("0012.500"));
    }

    #[test]
    fn texts_of_stamps_compare_as_the_stamps_do() {
        let texts = [
            "0",
            "0000000000.000000000",
            "0000000001.000000000",
            "1479413884",
            "1479413884.3",
            "1479413884.300000000",
            "1479413884.392014450",
            "1479413884.392014451",
            "1479413885.000000000",
            "9999999999.999999999",
            "999999999.999999999",
        ];
        for (one, other) in texts.iter().flat_map(|one| texts.map(|other| (*one, other))) {
            let [stamp, expected] =
                [one, other].map(|text| Stamp::parse(text.as_bytes()).expect("a stamp"));
            let order = stamp.cmp_texts(one.as_bytes(), other.as_bytes());
            assert_eq!(order, stamp.cmp(&expected), "{one} and {other}");
        }
    }

    #[test]
    fn a_difference_is_sign_seconds_point_nine_digits() {
        for (received, stamp, text) in [
            (1_479_413_884_655_887_836, 1_479_413_884_392_014_450, "+0.263873386"),
            (0, 1, "-0.000000001"),
            (5, 5, "+0.000000000"),
            (12_000_000_000, 1_500_000_000, "+10.500000000"),
            (0, u64::MAX, "-18446744073.709551615"),
            (u64::MAX, 0, "+18446744073.709551615"),
        ] {
            let mut out = Vec::new();
            Stamp(received).since(Stamp(stamp)).write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
