//! The contents of one record of a file, in any format.
//!
//! `geonames.rs` and `geojson.rs` parse a record into an [`Entry`], and `file.rs` stores it. An entry has been
//! checked: the point is on the globe, and every text is one printable line.

use std::borrow::Cow;

use super::grid::E5;

/// Google's words for the kind of a place.
pub(super) type Types = Vec<Cow<'static, str>>;

/// Types that consist of these words only, for a place that is not an establishment.
pub(super) fn words(words: &[&'static str]) -> Types {
    words.iter().map(|&word| word.into()).collect()
}

/// The types of an establishment: these words, the most specific first, and then Google's words for all
/// establishments.
pub(super) fn establishment<'t>(telling: impl IntoIterator<Item = &'t str>) -> Types {
    let all = ["point_of_interest", "establishment"];
    let telling = telling.into_iter().filter(|word| !all.contains(word));
    telling.map(|word| word.to_owned().into()).chain(all.map(Cow::Borrowed)).collect()
}

/// The contents of one record. Each text is one line, and may be empty except for the name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) position: E5Point,
    pub(super) population: u64,
    pub(super) types: Types,
    pub(super) name: String,
    /// The id; if empty, the id is made from the line's number.
    pub(super) place_id: String,
    pub(super) vicinity: String,
    /// The town that the place is in, or the place's own name if it is a town.
    pub(super) locality: String,
    pub(super) region: String,
    pub(super) attribution: Option<&'static str>,
}

/// Why a record gives no [`Entry`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoEntry {
    /// The record is faulty, so the file is rejected. The message follows the line's number.
    Fault(String),
    /// The record is valid, but is not a place that a client may look for, for one of the reasons below.
    PassedOver(&'static str),
}

/// The record has no location, or is a line or an area. This text follows `2 records`.
pub(super) const NO_POINT: &str = "without a Point";
/// The record has no name. This text follows `2 records`.
pub(super) const NO_NAME: &str = "without a name";
/// The place is closed. This text follows `2 records`.
pub(super) const CLOSED: &str = "of permanently closed places";
/// The record is an area that contains the places nearby. This text follows `2 records`.
pub(super) const REGION: &str = "of countries, states or counties";

impl From<String> for NoEntry {
    fn from(message: String) -> NoEntry {
        NoEntry::Fault(message)
    }
}

/// A point on the globe, in hundred-thousandths of a degree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct E5Point {
    pub(super) latitude: i32,
    pub(super) longitude: i32,
}

impl E5Point {
    /// Converts degrees; an error if they are out of range.
    pub(super) fn new(latitude: f64, longitude: f64) -> Result<E5Point, String> {
        let checked = |what: &str, degrees: f64, limit: f64| match degrees {
            on if on.abs() <= limit => Ok((on * f64::from(E5)).round() as i32),
            off => Err(format!("the {what} {off} is not between -{limit} and {limit}")),
        };
        Ok(E5Point {
            latitude: checked("latitude", latitude, 90.0)?,
            longitude: checked("longitude", longitude, 180.0)?,
        })
    }
}

/// Makes a text printable on one line: no control characters, single spaces, none at the ends.
pub(super) fn one_line(text: &str) -> String {
    let apart = |c: char| c.is_whitespace() || c.is_control();
    let words: Vec<&str> = text.split(apart).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// The region after a town in a short address, from its codes: `CA, USA`, `UK`, `FR`.
///
/// The names of 250 countries are not worth their memory; two countries are better known by another code.
pub(super) fn region(country: &str, division: &str) -> String {
    let division = one_line(division.strip_prefix("US-").unwrap_or(division));
    match country {
        "US" if division.is_empty() => "USA".to_string(),
        "US" => division + ", USA",
        "GB" => "UK".to_string(),
        other => one_line(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_whatever_it_was() {
        assert_eq!(one_line(" a\tb\r\n\u{0} c\u{85}\u{2028}d\u{7f} "), "a b c d");
        assert_eq!(one_line("\n \u{1b}"), "");
    }

    #[test]
    fn a_region_is_called_what_an_address_calls_it() {
        assert_eq!(region("US", "CA"), "CA, USA");
        assert_eq!(region("US", "US-CA"), "CA, USA");
        assert_eq!(region("US", ""), "USA");
        assert_eq!(region("GB", "ENG"), "UK");
        assert_eq!(region("FR", "11"), "FR");
        assert_eq!(region("", ""), "");
    }

    #[test]
    fn only_points_on_the_globe_are_taken() {
        assert!(E5Point::new(90.0, -180.0).is_ok() && E5Point::new(-90.0, 180.0).is_ok());
        for (latitude, longitude) in
            [(90.1, 0.0), (0.0, 180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)]
        {
            assert!(E5Point::new(latitude, longitude).is_err());
        }
    }
}
