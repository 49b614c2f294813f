//! Plus codes: an address of eleven characters for any place on earth.
//!
//! The globe is divided into cells of 20 by 20 degrees, each of them into 20 by 20 smaller cells, and so on, five
//! times. Each step adds two digits, one for the latitude and one for the longitude, from an alphabet of twenty
//! characters without vowels or look-alikes. Ten digits identify a cell of 1/8000 degree, 14 m high:
//!
//! ```text
//!     85 63 2G 95 + QC        degrees 20   1   1/20   1/400   1/8000
//! ```
//!
//! Near a town, the first four digits can be omitted: `2G95+QC Santa Monica, CA, USA`.
//!
//! Source: Open Location Code, the specification of Google's encoder. Only encoding to ten digits is implemented.

use std::borrow::Cow;

/// The twenty digits.
const ALPHABET: &[u8; 20] = b"23456789CFGHJMPQRVWX";

/// Number of digits that a town's name replaces.
pub(super) const AREA_DIGITS: usize = 4;

/// Number of cells per degree, in codes of ten digits.
const CELLS: i64 = 8_000;

/// Coordinates are first rounded to this fraction of a degree (1 cm). So a decimal on the edge of a cell, which a
/// double cannot represent exactly, falls into the cell that it begins.
const FINEST: f64 = 1e7;

/// A plus code in Google's two forms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlusCode<'t> {
    /// The global code: `85632G95+QC`.
    pub global: Cow<'t, str>,
    /// The code without its first four digits, with the town that replaces them: `2G95+QC Santa Monica, CA, USA`.
    /// `None` if neither town nor region is known.
    pub compound: Option<Cow<'t, str>>,
}

impl PlusCode<'static> {
    /// The code of a point in degrees, with its town and region for the compound form.
    ///
    /// `locality` or `region` may be empty. The town must be within half a degree of the point; otherwise the
    /// compound form denotes another point.
    pub(super) fn new(
        latitude: f64,
        longitude: f64,
        locality: &str,
        region: &str,
    ) -> PlusCode<'static> {
        let digits = encode(latitude, longitude);
        let global = str::from_utf8(&digits).unwrap_or_default();
        let short = &global[AREA_DIGITS..];
        let compound = match (locality, region) {
            ("", "") => None,
            ("", one) | (one, "") => Some([short, " ", one].concat()),
            (locality, region) => Some([short, " ", locality, ", ", region].concat()),
        };
        PlusCode { global: global.to_owned().into(), compound: compound.map(Cow::Owned) }
    }
}

/// The ten digits and the plus sign of the cell that contains a point.
///
/// A latitude beyond a pole counts as the pole. The north pole belongs to the cell just south of it, since it begins
/// no cell. Longitudes wrap around.
pub(super) fn encode(latitude: f64, longitude: f64) -> [u8; 11] {
    let mut north = cell(latitude + 90.0).clamp(0, 180 * CELLS - 1) as usize;
    let mut east = cell(longitude + 180.0).rem_euclid(360 * CELLS) as usize;
    let mut digits = [b'+'; 11];
    for at in [9, 6, 4, 2, 0] {
        (digits[at], digits[at + 1]) = (ALPHABET[north % 20], ALPHABET[east % 20]);
        (north, east) = (north / 20, east / 20);
    }
    digits
}

/// The number of the cell of 1/8000 degree, counted from 0 degrees. Works for any double: the cast saturates.
fn cell(degrees: f64) -> i64 {
    ((degrees * FINEST).round() as i64).div_euclid(FINEST as i64 / CELLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_have_their_known_codes() {
        for (latitude, longitude, code) in [
            (34.01949, -118.49138, "85632G95+QC"),
            (47.365590, 8.524997, "8FVC9G8F+6X"),
            (14.917313, -23.511313, "796RWF8Q+WF"),
            (20.3700625, 2.7821875, "7FG49QCJ+2V"),
            (0.0, 0.0, "6FG22222+22"),
            (-90.0, -180.0, "22222222+22"),
        ] {
            assert_eq!(encode(latitude, longitude), code.as_bytes());
        }
    }

    #[test]
    fn the_compound_form_leaves_out_what_the_town_says() {
        let code = PlusCode::new(34.01949, -118.49138, "Santa Monica", "CA, USA");
        assert_eq!(code.compound.unwrap(), "2G95+QC Santa Monica, CA, USA");
        let compound = |locality, region| PlusCode::new(0.0, 0.0, locality, region).compound;
        assert_eq!(compound("", "Kansas, USA").unwrap(), "2222+22 Kansas, USA");
        assert_eq!(compound("Monaco", "").unwrap(), "2222+22 Monaco");
        assert_eq!(compound("", ""), None);
    }

    #[test]
    fn the_north_pole_is_in_the_cell_just_south_of_it() {
        assert_eq!(encode(90.0, 1.0), encode(89.9999, 1.0));
        assert_eq!(encode(90.0, 1.0), *b"CFX3X2X2+X2");
    }

    #[test]
    fn both_names_of_the_antimeridian_have_one_code() {
        assert_eq!(encode(1.0, 180.0), encode(1.0, -180.0));
        assert_eq!(encode(1.0, 180.0), *b"62H22222+22");
    }

    #[test]
    fn a_point_on_the_edge_of_a_cell_is_in_the_cell_it_begins() {
        for step in 0..20_000 {
            let edge = f64::from(step) * 0.000125;
            assert_eq!(cell(edge), i64::from(step), "{edge}");
        }
    }

    #[test]
    fn no_number_is_too_strange_to_be_encoded() {
        for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            assert!(encode(strange, strange).is_ascii());
        }
    }
}
