//! A bounding box: the clients that a list or a stream is restricted to.
//!
//! In: the text of the parameter `bbox`, decoded: west, south, east, north in degrees, as in RFC 7946. Out: whether a
//! location is inside. The edges belong to the box. If west is greater than east, the box crosses the antimeridian.

use std::fmt;

/// A range of longitudes and a range of latitudes, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BoundingBox {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl BoundingBox {
    /// Parses `W,S,E,N`. `None` if `text` is anything but four numbers, if a number is out of range, or if south is greater
    /// than north.
    pub(super) fn parse(text: &[u8]) -> Option<BoundingBox> {
        let numbers = str::from_utf8(text).ok()?.split(',').map(str::parse);
        let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().ok()?;
        let &[west, south, east, north] = &numbers[..] else { return None };
        // NaN is not within any limit.
        let is_valid = [west, east].iter().all(|number| number.abs() <= 180.0)
            && [south, north].iter().all(|number| number.abs() <= 90.0)
            && south <= north;
        is_valid.then_some(BoundingBox { west, south, east, north })
    }

    /// Whether the box contains this location, in degrees.
    pub(super) fn contains(&self, (latitude, longitude): (f64, f64)) -> bool {
        let BoundingBox { west, south, east, north } = *self;
        let is_between = match west <= east {
            true => west <= longitude && longitude <= east,
            false => west <= longitude || longitude <= east,
        };
        is_between && south <= latitude && latitude <= north
    }
}

/// Writes the box as [`BoundingBox::parse`] reads it.
impl fmt::Display for BoundingBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BoundingBox { west, south, east, north } = self;
        write!(f, "{west},{south},{east},{north}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_contains_its_edges_and_what_is_between_them() {
        let bbox = BoundingBox::parse(b"-119,33.5,-117.5,3.4e1").unwrap();
        for inside in [(33.5, -119.0), (34.0, -117.5), (33.75, -118.0)] {
            assert!(bbox.contains(inside), "{inside:?}");
        }
        for outside in [(33.4, -118.0), (34.1, -118.0), (33.75, -119.1), (33.75, 118.0)] {
            assert!(!bbox.contains(outside), "{outside:?}");
        }
    }

    #[test]
    fn a_box_whose_west_is_greater_than_its_east_crosses_the_antimeridian() {
        let fiji = BoundingBox::parse(b"176,-20,-178,-15").unwrap();
        for inside in [(-18.0, 178.0), (-17.0, -179.0), (-17.0, 180.0), (-17.0, -180.0)] {
            assert!(fiji.contains(inside), "{inside:?}");
        }
        for outside in [(-18.0, 175.0), (-18.0, -177.0), (-18.0, 0.0), (-21.0, 178.0)] {
            assert!(!fiji.contains(outside), "{outside:?}");
        }
        let world = BoundingBox::parse(b"-180,-90,180,90").unwrap();
        assert!(world.contains((-90.0, 180.0)) && world.contains((0.0, 0.0)));
        let line = BoundingBox::parse(b"-180,10,180,10").unwrap();
        assert!(line.contains((10.0, 0.0)) && !line.contains((10.1, 0.0)));
    }

    #[test]
    fn nothing_but_four_numbers_in_range_is_a_box() {
        for text in [
            "",
            ",,,",
            "1,2,3",
            "1,2,3,4,",
            "1,2,3,4,5",
            "1,2,3,x",
            "NaN,2,3,4",
            "1,inf,3,4",
            "181,0,0,0",
            "0,91,0,0",
            "0,0,-180.1,0",
            "0,0,0,-91",
            "1, 2,3,4",
            "[1,2,3,4]",
            "1e400,0,0,0",
            "-180,10,180,-10",
        ] {
            assert_eq!(BoundingBox::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(BoundingBox::parse(b"\xff,2,3,4"), None);
    }

    #[test]
    fn a_box_that_is_written_reads_back_as_the_same() {
        for text in ["-180,-90,180,90", "1e-300,0.1,-0,89.99999999999999"] {
            let bbox = BoundingBox::parse(text.as_bytes()).unwrap();
            assert_eq!(BoundingBox::parse(bbox.to_string().as_bytes()), Some(bbox));
        }
    }
}
