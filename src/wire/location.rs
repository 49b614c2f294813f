//! Where a client is: ISO 6709 in decimal degrees, latitude and longitude written together, as in
//! `+34.068930-118.445127`.
//!
//! In: one field of a command. Out: the same bytes, cut in two. A location is copied verbatim from
//! server to server, so the text is what is kept; numbers are made of it only when Places is asked.
//! Whether the text *is* a location is decided on its digits, exactly: `+90.00000000000000000001-0`
//! is none.
//!
//! Accepted of ISO 6709: degrees only, both signs, any padding. Not accepted: degrees with minutes
//! (they fall out of range), altitude, a reference system, the closing solidus; the examples of the
//! specification have none of these.

use super::swar::has_shape;

const LATITUDE_MAX: u32 = 90;
const LONGITUDE_MAX: u32 = 180;

/// A valid location; its text. Where it is cut in two is found when somebody asks: most are only passed on.
///
/// Source: docs/protocol.md, "Client port", `location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location<'a> {
    /// The whole text, as it came.
    pub text: &'a [u8],
}

impl<'a> Location<'a> {
    /// Reads two signed decimals with nothing around or between them.
    ///
    /// `text`: of any length; how long a location may be, the command decides. `None` if a sign is
    /// missing, anything but digits and a point inside them follows it, or a value is out of its
    /// range.
    pub fn parse(text: &[u8]) -> Option<Location<'_>> {
        skip_location(text)?.is_empty().then_some(Location { text })
    }

    /// A text that was found to be one before.
    pub(crate) fn known(text: &'a [u8]) -> Location<'a> {
        Location { text }
    }

    /// Its first part, sign included: at most 90 degrees, north positive.
    pub fn latitude(&self) -> &'a [u8] {
        self.text.split_at(self.longitude_start()).0
    }

    /// Its second part, sign included: at most 180 degrees, east positive.
    pub fn longitude(&self) -> &'a [u8] {
        self.text.split_at(self.longitude_start()).1
    }

    fn longitude_start(&self) -> usize {
        let second_sign = self.text.iter().skip(1).position(|byte| matches!(byte, b'+' | b'-'));
        second_sign.map_or(self.text.len(), |index| index + 1)
    }

    /// Latitude and longitude in degrees, each the float nearest to its text; for queries, never
    /// for comparing.
    pub fn degrees(&self) -> (f64, f64) {
        (float(self.latitude()), float(self.longitude()))
    }
}

/// What follows the location that `text` begins with; `None` if it begins with none.
#[inline]
pub(crate) fn skip_location(text: &[u8]) -> Option<&[u8]> {
    match skip_usual(text) {
        Some(rest) => Some(rest),
        None => skip_any(text),
    }
}

/// The same, however it looks.
fn skip_any(text: &[u8]) -> Option<&[u8]> {
    degrees(degrees(text, LATITUDE_MAX)?, LONGITUDE_MAX)
}

/// The same of a location that looks as most do: two or three whole digits, of which the first ones show
/// that they are below the limit, and six behind each point. Where everything stands is then known
/// beforehand, so no step waits for the one before.
#[inline]
fn skip_usual(text: &[u8]) -> Option<&[u8]> {
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

/// Reads a sign and a decimal of at most `limit`; returns what follows.
///
/// Every report has two of these, and of most the whole part decides: so the fraction is not made into
/// a number, but looked at where it matters.
#[inline]
fn degrees(text: &[u8], limit: u32) -> Option<&[u8]> {
    let (b'+' | b'-', unsigned) = text.split_first()? else {
        return None;
    };
    let (whole, rest) = unsigned.split_at(digits_in(unsigned));
    let (fraction, rest) = match rest {
        [b'.', behind @ ..] => behind.split_at(digits_in(behind)),
        // As good as a point and a zero.
        _ => (&b"0"[..], rest),
    };
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    // However many digits there are, it stays above every limit once it is.
    let append = |value: u32, digit: &u8| (value * 10 + u32::from(digit - b'0')).min(1_000);
    let whole = whole.iter().fold(0, append);
    let is_at_most =
        whole < limit || (whole == limit && fraction.iter().all(|&digit| digit == b'0'));
    is_at_most.then_some(rest)
}

/// How many digits `text` begins with.
fn digits_in(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

/// The float nearest to a decimal that was checked before.
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
