//! The search: the best places in a circle on the globe, from a table sorted in bands.
//!
//! In: any [`Columns`], a circle, a [`Rank`]. Out: at most [`BOUND_MAX`] row numbers, best first. It knows neither
//! names nor where the table is stored: `embedded.rs` has one in the binary, `file.rs` one in memory.
//!
//! ```text
//!       +--------------------------------------------+
//!       |  .   .      . .       .    .   .     .   . |  a band: 0.25 degree high, all round
//!       +--------------------|-----|-----------------+  the globe, sorted by longitude
//!       |   .   .  . .    . .|. x .| .  . .    .     |
//!       +--------------------|-----|-----------------+  the circle's window: look up its
//!       | .    .     .   .   |  .  |   .     .   .   |  western edge in each of its bands,
//!       +--------------------|-----|-----------------+  walk to the eastern one
//! ```
//!
//! 0.25 degree is 28 km: a circle of 10 km usually touches two bands, one of 50 km at most five. An R-tree and a
//! k-d tree were slower at every radius of a WHATSAT, and need memory and time to build; here the order of the
//! table is the index.
//!
//! A circle that crosses the antimeridian has two windows. One that contains a pole has a window all around the
//! globe. The window only limits the walk: the distance decides, by the haversine formula on a sphere, and a place
//! at exactly the radius counts.
//!
//! Invariant of a table: within a band longitudes ascend; [`band_of`] gives the band of a row.

use std::cmp::Ordering;
use std::iter;
use std::ops::{Range, RangeInclusive};

use super::place::EARTH_RADIUS_M;
use super::{BOUND_MAX, Point, Query};

/// Number of bands from pole to pole.
pub(super) const BANDS: usize = 720;

/// Table units per degree: coordinates are in hundred-thousandths of a degree.
pub(super) const E5: i32 = 100_000;

const POLE: i32 = 90 * E5;
const ANTIMERIDIAN: i32 = 180 * E5;
const BAND_HEIGHT: i32 = 2 * POLE / BANDS as i32;

/// How much larger than the circle a window is, in hundred-thousandths of a degree: more than any rounding error.
const MARGIN: f64 = 2.0;

/// Which places come first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rank {
    /// The largest first, as Google does by default; among equals the nearest.
    #[default]
    Prominence,
    /// The nearest first.
    Distance,
}

/// A table that can be searched.
pub(super) trait Columns {
    /// The rows of a band, 0 at the south pole to [`BANDS`] - 1.
    fn band(&self, band: usize) -> Range<usize>;
    /// The latitude of a row, in hundred-thousandths of a degree.
    fn latitude(&self, row: usize) -> i32;
    /// The longitude of a row, in hundred-thousandths of a degree.
    fn longitude(&self, row: usize) -> i32;
    /// The prominence of a row, as computed by [`prominence`].
    fn prominence(&self, row: usize) -> u16;
}

/// The rows within the query's circle, at most [`BOUND_MAX`], best first.
///
/// Among rows with equal distance and equal prominence the smaller number comes first, so the same question always
/// has the same answer.
pub(super) fn search(table: &impl Columns, query: &Query, rank: Rank) -> Vec<usize> {
    let window = Window::around(query);
    let mut best = Best { rank, candidates: Vec::with_capacity(BOUND_MAX + 1) };
    for band in window.bands() {
        for meridians in window.meridians() {
            let rows = table.band(band);
            let end = rows.end;
            let west = first_at_or_east_of(table, rows, *meridians.start());
            let inside = (west..end).take_while(|&row| table.longitude(row) <= *meridians.end());
            for row in inside {
                let prominence = table.prominence(row);
                let latitude = table.latitude(row);
                if !window.latitudes.contains(&latitude) || best.has_no_room_for(prominence) {
                    continue;
                }
                let distance_m = distance_m(query, latitude, table.longitude(row));
                if distance_m <= query.radius_m {
                    best.offer(Candidate { row, prominence, distance_m });
                }
            }
        }
    }
    best.candidates.into_iter().map(|candidate| candidate.row).collect()
}

/// The band of a latitude. The north pole belongs to the northernmost band.
pub(super) fn band_of(latitude: i32) -> usize {
    let from_south = latitude.clamp(-POLE, POLE) + POLE;
    (from_south / BAND_HEIGHT).min(BANDS as i32 - 1) as usize
}

/// The size of a town in two bytes: 0 if unknown, else 1 plus a thousand times the binary logarithm of its
/// population. One step is 0.07 per cent. The largest city has 24,570, and a population of `u64::MAX` 64,001.
pub(super) fn prominence(population: u64) -> u16 {
    match population {
        0 => 0,
        some => (1.0 + (1_000.0 * (some as f64).log2()).round()) as u16,
    }
}

/// The population of a town with this prominence, within half a step.
pub(super) fn population(prominence: u16) -> f64 {
    match prominence {
        0 => 0.0,
        some => (f64::from(some - 1) / 1_000.0).exp2(),
    }
}

fn first_at_or_east_of(table: &impl Columns, rows: Range<usize>, longitude: i32) -> usize {
    let Range { mut start, mut end } = rows;
    while start < end {
        let middle = start + (end - start) / 2;
        if table.longitude(middle) < longitude {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    start
}

/// The distance in metres from the centre of the circle.
fn distance_m(query: &Query, latitude: i32, longitude: i32) -> f64 {
    query.distance_m(Point::from_e5(latitude, longitude))
}

/// A window that contains the circle, in hundred-thousandths of a degree.
#[derive(Debug)]
struct Window {
    latitudes: RangeInclusive<i32>,
    longitudes: RangeInclusive<i32>,
    /// The part of the window beyond the antimeridian.
    overhang: Option<RangeInclusive<i32>>,
}

impl Window {
    fn around(query: &Query) -> Window {
        let unit = f64::from(E5);
        let radius = query.radius_m / EARTH_RADIUS_M;
        let height = radius.to_degrees() * unit + MARGIN;
        let (latitude, longitude) = (query.latitude * unit, query.longitude * unit);
        // Casts saturate, so any number makes some window, and the clamp keeps it on the globe.
        let clamped = |latitude: f64| (latitude as i32).clamp(-POLE, POLE);
        let latitudes = clamped((latitude - height).floor())..=clamped((latitude + height).ceil());

        // The meridians that touch a circle do so north (or south) of its centre, so the width is not
        // radius / cos(latitude). A circle that contains a pole meets every meridian.
        let holds_pole = latitude.abs() + height >= f64::from(POLE);
        let width = (radius.sin() / query.latitude.to_radians().cos()).asin();
        let width = width.to_degrees() * unit + MARGIN;
        let (west, east) = ((longitude - width).floor() as i32, (longitude + width).ceil() as i32);
        let round = 2 * ANTIMERIDIAN;
        let all_round = width + MARGIN >= f64::from(ANTIMERIDIAN);
        let (longitudes, overhang) = if holds_pole || all_round {
            (-ANTIMERIDIAN..=ANTIMERIDIAN, None)
        } else if west < -ANTIMERIDIAN {
            (-ANTIMERIDIAN..=east, Some(west + round..=ANTIMERIDIAN))
        } else if east > ANTIMERIDIAN {
            (west..=ANTIMERIDIAN, Some(-ANTIMERIDIAN..=east - round))
        } else {
            (west..=east, None)
        };
        Window { latitudes, longitudes, overhang }
    }

    fn bands(&self) -> RangeInclusive<usize> {
        band_of(*self.latitudes.start())..=band_of(*self.latitudes.end())
    }

    fn meridians(&self) -> impl Iterator<Item = &RangeInclusive<i32>> {
        iter::once(&self.longitudes).chain(&self.overhang)
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    row: usize,
    prominence: u16,
    distance_m: f64,
}

/// The best candidates so far, in order. Allocates once per search.
#[derive(Debug)]
struct Best {
    rank: Rank,
    candidates: Vec<Candidate>,
}

impl Best {
    /// Whether all slots are taken by more prominent candidates. Then the distance, which is the most expensive
    /// part of the search, does not matter.
    fn has_no_room_for(&self, prominence: u16) -> bool {
        self.rank == Rank::Prominence
            && self.candidates.len() == BOUND_MAX
            && self.candidates[BOUND_MAX - 1].prominence > prominence
    }

    fn offer(&mut self, candidate: Candidate) {
        let rank = self.rank;
        let at = self.candidates.partition_point(|other| rank.order(other, &candidate).is_lt());
        self.candidates.insert(at, candidate);
        self.candidates.truncate(BOUND_MAX);
    }
}

impl Rank {
    fn order(self, one: &Candidate, other: &Candidate) -> Ordering {
        let larger = other.prominence.cmp(&one.prominence);
        let nearer = one.distance_m.total_cmp(&other.distance_m);
        let order = match self {
            Rank::Prominence => larger.then(nearer),
            Rank::Distance => nearer.then(larger),
        };
        order.then(one.row.cmp(&other.row))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn circle(latitude: f64, longitude: f64, radius_m: f64) -> Query {
        let text = Vec::new();
        Query {
            latitude,
            longitude,
            latitude_text: text.clone(),
            longitude_text: text.clone(),
            radius_m,
            radius_text: text,
        }
    }

    /// What [`search`] must find: examines every row and sorts at the end, without a window or a shortcut.
    pub(in super::super) fn brute_force(
        table: &impl Columns,
        query: &Query,
        rank: Rank,
    ) -> Vec<usize> {
        let rows = (0..BANDS).flat_map(|band| table.band(band));
        let mut inside: Vec<_> = rows
            .map(|row| Candidate {
                row,
                prominence: table.prominence(row),
                distance_m: distance_m(query, table.latitude(row), table.longitude(row)),
            })
            .filter(|candidate| candidate.distance_m <= query.radius_m)
            .collect();
        inside.sort_by(|one, other| rank.order(one, other));
        inside.into_iter().map(|candidate| candidate.row).take(BOUND_MAX).collect()
    }

    /// Rows of latitude, longitude, prominence, in a table's order.
    #[derive(Debug)]
    struct Rows(Vec<(i32, i32, u16)>);

    impl Rows {
        fn new(mut rows: Vec<(i32, i32, u16)>) -> Rows {
            rows.sort_by_key(|&(latitude, longitude, _)| (band_of(latitude), longitude));
            Rows(rows)
        }

        fn found(&self, query: &Query, rank: Rank) -> Vec<(i32, i32, u16)> {
            search(self, query, rank).into_iter().map(|row| self.0[row]).collect()
        }
    }

    impl Columns for Rows {
        fn band(&self, band: usize) -> Range<usize> {
            let before = |band| self.0.partition_point(|row| band_of(row.0) < band);
            before(band)..before(band + 1)
        }
        fn latitude(&self, row: usize) -> i32 {
            self.0[row].0
        }
        fn longitude(&self, row: usize) -> i32 {
            self.0[row].1
        }
        fn prominence(&self, row: usize) -> u16 {
            self.0[row].2
        }
    }

    #[test]
    fn a_place_at_exactly_the_radius_counts() {
        let rows = Rows::new(vec![(3_412_345, -11_834_567, 1)]);
        let to = distance_m(&circle(34.0, -118.4, 0.0), 3_412_345, -11_834_567);
        assert_eq!(rows.found(&circle(34.0, -118.4, to), Rank::Prominence).len(), 1);
        assert_eq!(rows.found(&circle(34.0, -118.4, to.next_down()), Rank::Prominence).len(), 0);
    }

    #[test]
    fn a_degree_on_a_great_circle_is_111_195_metres() {
        let from = circle(0.0, 0.0, 0.0);
        assert_eq!(distance_m(&from, E5, 0).round(), 111_195.0);
        assert_eq!(distance_m(&from, 0, E5).round(), 111_195.0);
        assert_eq!(distance_m(&from, 0, ANTIMERIDIAN).round(), 20_015_114.0);
    }

    #[test]
    fn the_largest_come_first_then_the_nearest_then_the_first() {
        let rows =
            Rows::new(vec![(0, 300, 5), (0, 200, 5), (0, 100, 1), (0, -200, 5), (0, 400, 9)]);
        let found = rows.found(&circle(0.0, 0.0, 1_000.0), Rank::Prominence);
        assert_eq!(found, [(0, 400, 9), (0, -200, 5), (0, 200, 5), (0, 300, 5), (0, 100, 1)]);
    }

    #[test]
    fn by_distance_the_nearest_come_first() {
        let rows = Rows::new(vec![(0, 300, 5), (0, 100, 1), (0, -100, 2), (0, 400, 9)]);
        let found = rows.found(&circle(0.0, 0.0, 1_000.0), Rank::Distance);
        assert_eq!(found, [(0, -100, 2), (0, 100, 1), (0, 300, 5), (0, 400, 9)]);
    }

    #[test]
    fn no_more_than_the_bound_are_kept_and_they_are_the_best() {
        let rows = Rows::new((0..100).map(|n| (0, n * 10, n as u16)).collect());
        let found = rows.found(&circle(0.0, 0.0, 50_000.0), Rank::Prominence);
        assert_eq!(
            found.iter().map(|row| row.2).collect::<Vec<_>>(),
            Vec::from_iter((80..100).rev())
        );
    }

    #[test]
    fn a_circle_over_the_antimeridian_has_two_sides() {
        let sides = vec![(0, 17_999_000, 1), (0, -17_999_000, 2), (0, 18_000_000, 3), (0, 0, 9)];
        let rows = Rows::new(sides);
        for longitude in [179.995, -179.995, 180.0, -180.0] {
            let found = rows.found(&circle(0.0, longitude, 5_000.0), Rank::Prominence);
            assert_eq!(found.iter().map(|row| row.2).collect::<Vec<_>>(), [3, 2, 1], "{longitude}");
        }
    }

    #[test]
    fn a_circle_with_a_pole_in_it_meets_every_meridian() {
        for pole in [POLE, -POLE] {
            let near = pole - pole.signum() * 1_000;
            let rows = Rows::new((-18..=18).map(|n| (near, n * 1_000_000, 7)).collect());
            let across = circle(f64::from(pole) / 1e5 * 0.9999, 33.0, 50_000.0);
            assert_eq!(rows.found(&across, Rank::Distance).len(), BOUND_MAX);
            assert_eq!(rows.found(&across, Rank::Distance)[0], (near, 30 * E5, 7));
        }
    }

    #[test]
    fn numbers_that_are_no_place_find_nothing_and_do_no_harm() {
        let rows = Rows::new(vec![(0, 0, 1), (POLE, 0, 1), (-POLE, ANTIMERIDIAN, 1)]);
        for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 400.0] {
            rows.found(&circle(strange, 0.0, 1.0), Rank::Prominence);
            rows.found(&circle(0.0, strange, 1.0), Rank::Prominence);
            rows.found(&circle(strange, strange, strange), Rank::Prominence);
        }
        assert_eq!(rows.found(&circle(0.0, 0.0, f64::NAN), Rank::Prominence), []);
        assert_eq!(rows.found(&circle(0.0, 0.0, -1.0), Rank::Prominence), []);
        assert_eq!(rows.found(&circle(0.0, 0.0, 1e9), Rank::Prominence).len(), 3);
    }

    #[test]
    fn prominence_is_a_logarithm_that_reads_back_within_half_a_step() {
        assert_eq!((prominence(0), prominence(1), prominence(2)), (0, 1, 1_001));
        assert_eq!((prominence(24_874_500), prominence(u64::MAX)), (24_569, 64_001));
        assert_eq!(population(0), 0.0);
        for people in (1..1_000).map(|n| n * n * n) {
            let back = population(prominence(people)) / people as f64;
            assert!((0.9996..1.0004).contains(&back), "{people} {back}");
        }
    }

    fn coordinate(around: [i32; 4], limit: i32) -> impl Strategy<Value = i32> {
        let near = prop::sample::select(around.to_vec());
        (near, -200_000..=200_000_i32).prop_map(move |(at, by)| (at + by).clamp(-limit, limit))
    }

    proptest! {
        #[test]
        fn the_search_finds_what_brute_force_finds(
            rows in prop::collection::vec(
                (
                    coordinate([POLE, -POLE, 0, 8_990_000], POLE),
                    coordinate([ANTIMERIDIAN, -ANTIMERIDIAN, 0, 9_000_000], ANTIMERIDIAN),
                    0..9_u16,
                ),
                0..300,
            ),
            at in 0..300_usize,
            radius_m in prop_oneof![0.0..50_000.0, Just(50_000.0), 50_000.0..2e7],
            nearest in any::<bool>(),
        ) {
            let rank = if nearest { Rank::Distance } else { Rank::Prominence };
            let (latitude, longitude, _) = rows.get(at).copied().unwrap_or_default();
            let query = circle(f64::from(latitude) / 1e5, f64::from(longitude) / 1e5 + 1e-7, radius_m);
            let rows = Rows::new(rows);
            prop_assert_eq!(search(&rows, &query, rank), brute_force(&rows, &query, rank));
        }
    }
}
