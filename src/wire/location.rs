//! Where a client is: ISO 6709 in decimal degrees, latitude and longitude written together, as in
//! `+34.068930-118.445127`.
//!
//! In: one field of a command. Out: the same bytes, split in two. Servers copy a location verbatim, so
//! the text is stored; it becomes numbers only for a query to a source of places. The text is checked
//! digit by digit, so that the limits are exact: `+90.00000000000000000001-0` is not a location.
//!
//! The parser accepts a part of ISO 6709: only degrees, but both signs and any padding. It rejects degrees
//! with minutes (they are out of range), altitude, a reference system and the closing solidus; the examples
//! of the specification have none of these.

use super::swar::has_shape;

const LATITUDE_MAX: u32 = 90;
const LONGITUDE_MAX: u32 = 180;

/// The text of a valid location. The split into latitude and longitude is found on demand, because most
/// locations are only passed on.
///
/// Source: docs/protocol.md, "Client port", `location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location<'a> {
    /// The whole text, unchanged.
    pub text: &'a [u8],
}

impl<'a> Location<'a> {
    /// Parses two signed decimals with nothing around or between them.
    ///
    /// `text`: of any length; the command checks the length. `None` if a sign is
    /// missing, if a sign is followed by anything but digits with an optional point inside, or if a value
    /// is out of range.
    pub fn parse(text: &[u8]) -> Option<Location<'_>> {
        skip_location(text)?.is_empty().then_some(Location { text })
    }

    /// Makes a location of a text that has been checked before.
    pub(crate) fn known(text: &'a [u8]) -> Location<'a> {
        Location { text }
    }

    /// Returns the latitude's text with its sign: at most 90 degrees, north positive.
    pub fn latitude(&self) -> &'a [u8] {
        self.text.split_at(self.longitude_start()).0
    }

    /// Returns the longitude's text with its sign: at most 180 degrees, east positive.
    pub fn longitude(&self) -> &'a [u8] {
        self.text.split_at(self.longitude_start()).1
    }

    fn longitude_start(&self) -> usize {
        let second_sign = self.text.iter().skip(1).position(|byte| matches!(byte, b'+' | b'-'));
        second_sign.map_or(self.text.len(), |index| index + 1)
    }

    /// Returns latitude and longitude in degrees, each as the float nearest to its text. For queries, never
    /// for comparisons.
    pub fn degrees(&self) -> (f64, f64) {
        (float(self.latitude()), float(self.longitude()))
    }
}

/// Returns the rest of `text` after the location at its start; `None` if it does not start with a location.
#[inline]
pub(crate) fn skip_location(text: &[u8]) -> Option<&[u8]> {
    match skip_usual(text) {
        Some(rest) => Some(rest),
        None => skip_any(text),
    }
}

/// Does the work of [`skip_location`] for every form of a location.
fn skip_any(text: &[u8]) -> Option<&[u8]> {
    degrees(degrees(text, LATITUDE_MAX)?, LONGITUDE_MAX)
}

/// Fast path of [`skip_location`] for the usual form: two or three whole digits, the first of which prove
/// that the value is below the limit, and six digits after each point. All positions are known
/// beforehand, so that no step depends on the result of the step before.
#[inline(always)]
pub(crate) fn skip_usual(text: &[u8]) -> Option<&[u8]> {
    let ([b'+' | b'-', latitude @ ..], rest) = text.split_first_chunk::<10>()? else {
        return None;
    };
    let (b'+' | b'-', longitude) = rest.split_first()? else { return None };
    if latitude[0] == b'9' || !has_shape(latitude, b"00.000000") {
        return None;
    }
    let rest = match longitude.split_first_chunk::<10>() {
        Some((hundreds @ [b'0', ..] | hundreds @ [b'1', b'0'..=b'7', ..], rest))
            if has_shape(hundreds, b"000.000000") =>
        {
            rest
        }
        _ => {
            let (tens, rest) = longitude.split_first_chunk::<9>()?;
            if !has_shape(tens, b"00.000000") {
                return None;
            }
            rest
        }
    };
    (!rest.first().is_some_and(u8::is_ascii_digit)).then_some(rest)
}

/// Reads a sign and a decimal of at most `limit`; returns the rest of `text`.
///
/// Every report has two of these, and the whole part usually decides. So the fraction is not parsed into
/// a number; its digits are checked only when the whole part equals the limit.
#[inline]
fn degrees(text: &[u8], limit: u32) -> Option<&[u8]> {
    let (b'+' | b'-', unsigned) = text.split_first()? else {
        return None;
    };
    let (whole, rest) = unsigned.split_at(digits_in(unsigned));
    let (fraction, rest) = match rest {
        [b'.', behind @ ..] => behind.split_at(digits_in(behind)),
        // No fraction is the same as a fraction of zero.
        _ => (&b"0"[..], rest),
    };
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    // The cap prevents overflow: with any number of digits, a value above the limits stays above them.
    let append = |value: u32, digit: &u8| (value * 10 + u32::from(digit - b'0')).min(1_000);
    let whole = whole.iter().fold(0, append);
    let is_at_most =
        whole < limit || (whole == limit && fraction.iter().all(|&digit| digit == b'0'));
    is_at_most.then_some(rest)
}

/// Returns the number of digits at the start of `text`.
fn digits_in(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

/// Returns the float nearest to a decimal that has been checked before.
pub(crate) fn float(decimal: &[u8]) -> f64 {
    let text = str::from_utf8(decimal).expect("a decimal is ASCII");
    text.parse().expect("a decimal is a float's text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_cut_at_its_second_sign() {
        let location = Location::parse(b"+34.068930-118.445127").unwrap();
        assert_eq!(location.text, b"+34.068930-118.445127");
        assert_eq!(location.latitude(), b"+34.068930");
        assert_eq!(location.longitude(), b"-118.445127");
        assert_eq!(location.degrees(), (34.068930, -118.445127));
    }

    #[test]
    fn degrees_have_the_right_signs() {
        let degrees = |text: &str| Location::parse(text.as_bytes()).unwrap().degrees();
        assert_eq!(degrees("-33.8703830+151.1979255"), (-33.8703830, 151.1979255));
        assert_eq!(degrees("+27.5916+086.5640"), (27.5916, 86.5640));
        assert_eq!(degrees("-0-0"), (0.0, 0.0));
    }

    #[test]
    fn the_limits_belong_to_the_range_and_nothing_beyond_them() {
        let fraction = "0".repeat(100);
        for text in
            ["+90+180", "-90-180", "+90.000-180.0", "+0090+000180", &format!("+90.{fraction}+0")]
        {
            assert!(Location::parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["+91+0", "+0-181", "-90.000001+0", "+0+180.1", &format!("+90.{fraction}1+0")] {
            assert!(Location::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_location_of_the_usual_form_is_judged_as_any_other() {
        for usual in
            ["+34.068930-118.445127 1", "-09.999999+18.000000\t1", "+80.000000-099.999999 "]
        {
            assert!(skip_usual(usual.as_bytes()).is_some(), "{usual}");
            for index in 0..usual.len() {
                for byte in 0..=u8::MAX {
                    let mut text = usual.as_bytes().to_vec();
                    text[index] = byte;
                    assert_eq!(skip_location(&text), skip_any(&text), "{usual}: {byte} at {index}");
                }
                let text = &usual.as_bytes()[..index];
                assert_eq!(skip_location(text), skip_any(text), "{usual}: its first {index} bytes");
            }
        }
    }

    #[test]
    fn nothing_else_is_a_location() {
        for text in [
            "",
            "+",
            "+-",
            "34-118",
            "+34",
            "+34.0",
            "34.0-118.0",
            "+34.0,-118.0",
            "++34-118",
            "+34--118",
            "+34+-118",
            "+34.-118",
            "+.5-118",
            "+34-118.",
            "+34-",
            "+3e1-1e2",
            "+3_4-118",
            "+0x1-118",
            "+nan-118",
            "+inf-118",
            "+34.0.1-118",
            "+34-118/",
            "+34-118+5",
            "+3404.1358-11826.7076",
            " +34-118",
            "+34-118 ",
            "+34\u{2212}118",
        ] {
            assert!(Location::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
