//! The model of a place, the same for all sources.
//!
//! The fields are those of a Google Nearby Search result. What a source does not know is absent rather than made
//! up: a gazetteer has no ratings, opening hours or photographs.
//!
//! Tables keep coordinates as integers, in units of 1e-5 degree (at most 1.1 m). This file converts them to degrees
//! for the output.

use std::borrow::Cow;
use std::f64::consts::PI;

use super::plus_code::PlusCode;

/// The radius of the sphere that models the earth, in metres: the mean radius of WGS 84.
pub(super) const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// One degree of latitude in metres.
const DEGREE_M: f64 = EARTH_RADIUS_M * PI / 180.0;

/// Half the height of the viewport of a shop or a school, in metres. Google: 0.001349 degree.
pub(super) const POINT_RADIUS_M: f64 = 150.0;

/// Something that a client may look for: a town, an airport, a restaurant.
///
/// Its texts are owned, or borrowed from the input that they were read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'t> {
    /// The location of the place.
    pub location: Point,
    /// The part of a map that shows the place.
    pub viewport: Viewport,
    /// The name of the place, never empty.
    pub name: Cow<'t, str>,
    /// A stable id, prefixed with its origin: `geonames:5393212`. Google's own ids have no such prefix, and no id
    /// is ever made up.
    pub place_id: Cow<'t, str>,
    /// The scope in which the id is valid.
    pub scope: Scope,
    /// The plus code: a short code for the location of the place.
    pub plus_code: Option<PlusCode<'t>>,
    /// Google's words for its kind, the most specific first: `["locality", "political"]`.
    pub types: Cow<'t, [Cow<'t, str>]>,
    /// A short address; for a town its own name.
    pub vicinity: Option<Cow<'t, str>>,
    /// The fields that only a business directory has.
    pub business: Business<'t>,
}

/// Which service knows the id of a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Only this program, which assigned the id, knows it.
    App,
    /// Google knows the id.
    Google,
}

impl Scope {
    /// Google's word for the scope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::App => "APP",
            Scope::Google => "GOOGLE",
        }
    }
}

/// The fields of a place that a gazetteer does not have. Unknown fields are absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Business<'t> {
    /// The status in Google's words: `OPERATIONAL`, `CLOSED_TEMPORARILY`, `CLOSED_PERMANENTLY`.
    pub status: Option<&'static str>,
    /// The URL of an icon.
    pub icon: Option<Cow<'t, str>>,
    /// The background colour for the icon mask: `#FF9E67`.
    pub icon_background_color: Option<Cow<'t, str>>,
    /// The URL of an icon mask, without its file extension.
    pub icon_mask_base_uri: Option<Cow<'t, str>>,
    /// Whether the place is open now.
    pub open_now: Option<bool>,
    /// A photo of the place.
    pub photo: Option<Photo<'t>>,
    /// The price level: 0 (free) to 4 (very expensive).
    pub price_level: Option<u8>,
    /// The mean rating, 1.0 to 5.0.
    pub rating: Option<f64>,
    /// The number of ratings.
    pub user_ratings_total: Option<u64>,
}

/// A photo, which a client fetches by its reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Photo<'t> {
    /// The height in pixels.
    pub height: u64,
    /// The width in pixels.
    pub width: u64,
    /// Google's reference to the photo.
    pub reference: Cow<'t, str>,
    /// The attributions of the photo, each a piece of HTML.
    pub attributions: Vec<String>,
}

/// A point on the globe, in degrees: latitude -90 to 90, longitude -180 to 180.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Latitude, north positive.
    pub latitude: f64,
    /// Longitude, east positive.
    pub longitude: f64,
}

impl Point {
    /// Whether both coordinates are within their range.
    pub(super) fn is_on_the_globe(self) -> bool {
        self.latitude.abs() <= 90.0 && self.longitude.abs() <= 180.0
    }

    /// The point with these coordinates in hundred-thousandths of a degree.
    ///
    /// It divides instead of multiplying by 1e-5: the quotient is the double nearest to the decimal, so it is
    /// printed with its five digits and no more.
    pub(super) fn from_e5(latitude: i32, longitude: i32) -> Point {
        Point { latitude: f64::from(latitude) / 1e5, longitude: f64::from(longitude) / 1e5 }
    }
}

/// A rectangle of latitude and longitude. If it crosses the antimeridian, its east is less than its west.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    /// The corner with the smallest latitude.
    pub southwest: Point,
    /// The corner with the largest latitude.
    pub northeast: Point,
}

impl Viewport {
    /// The rectangle around a circle of `radius_m` metres, rounded to seven digits of a degree (1 cm).
    ///
    /// It ends at the poles; near them it spans all longitudes.
    pub(super) fn around(centre: Point, radius_m: f64) -> Viewport {
        let north = radius_m / DEGREE_M;
        let east = (north / centre.latitude.to_radians().cos()).min(180.0);
        let corner = |north: f64, east: f64| Point {
            latitude: seven_digits((centre.latitude + north).clamp(-90.0, 90.0)),
            longitude: seven_digits(wrapped(centre.longitude + east)),
        };
        if east == 180.0 {
            let (south, north) = (corner(-north, 0.0), corner(north, 0.0));
            return Viewport {
                southwest: Point { longitude: -180.0, ..south },
                northeast: Point { longitude: 180.0, ..north },
            };
        }
        Viewport { southwest: corner(-north, -east), northeast: corner(north, east) }
    }
}

/// The assumed radius of a town with this population, in metres: 2,500 people per square kilometre, but at least
/// 500 m and at most 25 km.
pub(super) fn town_radius_m(population: f64) -> f64 {
    (population / 2_500.0 / PI).sqrt().clamp(0.5, 25.0) * 1_000.0
}

fn wrapped(longitude: f64) -> f64 {
    match longitude {
        beyond if beyond > 180.0 => beyond - 360.0,
        beyond if beyond < -180.0 => beyond + 360.0,
        within => within,
    }
}

fn seven_digits(degrees: f64) -> f64 {
    let units = degrees * 1e7;
    // This is `f64::round`, which is a call unless the processor is known to have an instruction for it.
    let whole = (units as i64 as f64).copysign(units);
    let rounded = if (units - whole).abs() < 0.5 { whole } else { whole + 1_f64.copysign(units) };
    rounded / 1e7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn around(latitude: f64, longitude: f64, radius_m: f64) -> [f64; 4] {
        let viewport = Viewport::around(Point { latitude, longitude }, radius_m);
        let (southwest, northeast) = (viewport.southwest, viewport.northeast);
        [southwest.latitude, southwest.longitude, northeast.latitude, northeast.longitude]
    }

    #[test]
    fn a_coordinate_from_a_table_has_five_digits_and_no_more() {
        for e5 in (-18_000_000..=18_000_000).step_by(997) {
            let text = Point::from_e5(0, e5).longitude.to_string();
            assert!(text.split_once('.').is_none_or(|(_, fraction)| fraction.len() <= 5), "{text}");
        }
    }

    #[test]
    fn a_viewport_is_as_wide_in_metres_as_it_is_high() {
        assert_eq!(around(0.0, 0.0, 150.0), [-0.001349, -0.001349, 0.001349, 0.001349]);
        assert_eq!(around(60.0, 10.0, 150.0), [59.998651, 9.997302, 60.001349, 10.002698]);
    }

    proptest! {
        #[test]
        fn seven_digits_are_rounded_half_away_from_zero(
            degrees in prop_oneof![-400.0..400.0_f64, (-900..900_i32).prop_map(|half| f64::from(half) / 2e7)],
        ) {
            for degrees in [degrees, f64::next_up(degrees), f64::next_down(degrees)] {
                let expected = (degrees * 1e7).round() / 1e7;
                prop_assert_eq!(seven_digits(degrees).to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn a_viewport_over_the_antimeridian_has_its_west_east_of_its_east() {
        let [_, west, _, east] = around(-17.0, 179.99, 10_000.0);
        assert!(west > 179.0 && east < -179.0, "{west} {east}");
    }

    #[test]
    fn a_viewport_stops_at_the_pole_and_goes_round_it() {
        assert_eq!(around(-90.0, 0.0, 1_500.0)[..2], [-90.0, -180.0]);
        assert_eq!(around(89.9999, 17.0, 1_500.0)[2..], [90.0, 180.0]);
    }

    #[test]
    fn towns_have_a_least_and_a_greatest_size() {
        assert_eq!(town_radius_m(0.0), 500.0);
        assert_eq!(town_radius_m(24_874_500.0), 25_000.0);
        assert!((3_000.0..4_000.0).contains(&town_radius_m(93_000.0)));
    }
}
