//! What one line of a file says of a place, in whatever format it says it.
//!
//! `geonames.rs` and `geojson.rs` make an [`Entry`] of a line, `file.rs` keeps it. What is in one has
//! been checked: the point is on the globe, every text is one line that may be shown.

use std::borrow::Cow;

use super::grid::E5;

/// Google's words for what a place is.
pub(super) type Types = Vec<Cow<'static, str>>;

/// These words alone: of what is only a place on the map.
pub(super) fn words(words: &[&'static str]) -> Types {
    words.iter().map(|&word| word.into()).collect()
}

/// The types of what may be visited: these words, most telling first, and Google's for all that may.
pub(super) fn establishment<'t>(telling: impl IntoIterator<Item = &'t str>) -> Types {
    let all = ["point_of_interest", "establishment"];
    let telling = telling.into_iter().filter(|word| !all.contains(word));
    telling.map(|word| word.to_owned().into()).chain(all.map(Cow::Borrowed)).collect()
}

/// What one record says of a place. Texts are one line each and may be empty, but for the name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) position: E5Point,
    pub(super) population: u64,
    pub(super) types: Types,
    pub(super) name: String,
    /// Empty: the line's number will do.
    pub(super) place_id: String,
    pub(super) vicinity: String,
    /// The town it is in or is.
    pub(super) locality: String,
    pub(super) region: String,
    pub(super) attribution: Option<&'static str>,
}

/// Why a record gives no [`Entry`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoEntry {
    /// It is wrong, and so is the file; the text is read behind the number of its line.
    Fault(String),
    /// There is nothing wrong with it, but it is no place nearby, for one of the reasons below.
    PassedOver(&'static str),
}

/// A reason, read behind `2 records`: it is nowhere, or a line or an area.
pub(super) const NO_POINT: &str = "with no Point";
/// A reason: nobody could ask for it.
pub(super) const NO_NAME: &str = "with no name";
/// A reason: it was a place.
pub(super) const CLOSED: &str = "of places that are permanently closed";
/// A reason: what is nearby is in it.
pub(super) const REGION: &str = "of countries, states or counties";

impl From<String> for NoEntry {
    fn from(message: String) -> NoEntry {
        NoEntry::Fault(message)
    }
}

/// A point on the globe in hundred-thousandths of a degree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct E5Point {
    pub(super) latitude: i32,
    pub(super) longitude: i32,
}

impl E5Point {
    /// From degrees; an error if they are not on the globe.
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

/// A text as it may be shown: no control characters, single blanks, none at the ends.
pub(super) fn one_line(text: &str) -> String {
    let apart = |c: char| c.is_whitespace() || c.is_control();
    let words: Vec<&str> = text.split(apart).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// What follows a town in a short address, from codes: `CA, USA`, `UK`, `FR`.
///
/// The names of 250 countries are not worth their place here; two are better known by another.
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
