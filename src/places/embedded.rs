//! The gazetteer in the binary: 263,206 towns, districts and airports, which need no request.
//!
//! `data/places.bin`, written by `tools/make_places`, is searched in place. Nothing is loaded: the compiler checks
//! the header and finds the columns (a file of another version does not compile), the kernel maps pages as they are
//! used, and all processes of a herd share them. A test checks the checksum and the order of the rows.
//!
//! All numbers are little endian. The header contains `rows`, `bands` and `regions`:
//!
//! ```text
//! 0    magic b"HERDPLAC"
//! 8    u32 version, 1
//! 12   u32 CRC-32 of everything after the header
//! 16   u32 rows, u32 bands, u32 regions
//! 28   u32 x 11: the offset of each section from the start of the file
//! 72   bands          u32 x (bands + 1)   first row of each band of 0.25 degree, from the south
//!      latitudes      i32 x rows          1e-5 degree
//!      longitudes     i32 x rows          1e-5 degree
//!      ids            u32 x rows          GeoNames id; or an airport's code, four ASCII bytes
//!      prominences    u16 x rows          see grid.rs; an airport has that of a comparable town
//!      kinds          u8  x rows          0 locality, 1 neighborhood, 2 airport
//!      regions        u16 x rows          index of the region
//!      blocks         u32 x (rows / 32)   offset in `names` of every 32nd row; rounded up
//!      region_starts  u16 x (regions + 1) offset of each region in `region_text`
//!      region_text    "CA, USA" "France"  one after the other
//!      names          u8 length, UTF-8    for each row; an airport has a tab and its town appended
//! ```
//!
//! Rows are sorted by band, longitude, latitude, kind, id, as `grid.rs` requires.
//!
//! Sources of the data, and their licences: `NOTICE`.

use std::ops::Range;

use super::answer::geometry;
use super::geonames::ATTRIBUTION as GEONAMES_ATTRIBUTION;
use super::grid::{self, Columns as _, Rank};
use super::json::{Object, escaped, scalar};
use super::place::{Point, Viewport, town_radius_m};
use super::plus_code::{self, AREA_DIGITS};
use super::{Answer, Listed, Progress, Query, Source, Ticket};

static TABLE: EmbeddedColumns =
    EmbeddedColumns::new(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/places.bin")));

const ATTRIBUTIONS: [&str; 2] = [
    GEONAMES_ATTRIBUTION,
    "Airports: <a href=\"https://github.com/mborsetti/airportsdata\">airportsdata</a>, MIT",
];

/// Google's words for each kind of row, the last of which is an airport, and what precedes them.
static TYPES: [&str; 3] = [
    "\",\n         \"scope\" : \"APP\",\n         \"types\" : [ \"locality\", \"political\" ]",
    "\",\n         \"scope\" : \"APP\",\n         \"types\" : [ \"neighborhood\", \"political\" ]",
    "\",\n         \"scope\" : \"APP\",\n         \"types\" : [ \"airport\", \"point_of_interest\", \"establishment\" ]",
];
const AIRPORT: usize = 2;

/// The assumed radius of an airport around its reference point.
const AIRPORT_RADIUS_M: f64 = 1_500.0;

/// Towns and airports from the binary. This source always answers at once, within microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded {
    rank: Rank,
}

impl Embedded {
    /// The gazetteer, with its places in this order. Costs nothing: the data is in the binary.
    pub const fn new(rank: Rank) -> Embedded {
        Embedded { rank }
    }
}

impl Source for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let rows = grid::search(&TABLE, query, self.rank);
        Progress::Answered(Answer::Listed(listed(rows)))
    }
}

/// These rows as an answer.
fn listed(rows: Vec<usize>) -> Listed {
    let attributions: &[&str] = if rows.is_empty() { &[] } else { &ATTRIBUTIONS };
    Listed { rows, result, attributions, messages: Vec::new() }
}

/// Writes the members of a row. All of them are known, so the text between two values is one copy, and nothing is
/// allocated: a WHATSAT of 20 places takes 0.8 of the processor time that it takes if each row becomes a
/// [`Place`](super::Place), which `answer.rs` writes. A test compares the two for every row.
fn result(object: &mut Object<'_>, &row: &usize) {
    let (text, id, kind) = (TABLE.text(row), TABLE.ids[row], usize::from(TABLE.kinds[row]));
    let (name, town, radius_m) = match memchr::memchr(b'\t', text) {
        Some(tab) => (&text[..tab], &text[tab + 1..], AIRPORT_RADIUS_M),
        None => (text, text, town_radius_m(grid::population(TABLE.prominence(row)))),
    };
    let location = Point::from_e5(TABLE.latitude(row), TABLE.longitude(row));
    let code = plus_code::encode(location.latitude, location.longitude);
    let out = object.raw("geometry");
    geometry(out, location, Viewport::around(location, radius_m));
    out.extend_from_slice(b",\n         \"name\" : \"");
    escaped(out, name);
    out.extend_from_slice(b"\",\n         \"place_id\" : \"");
    let place_id = out.len();
    if kind == AIRPORT {
        out.extend(b"airport:".iter().chain(id.iter().rev()));
    } else {
        out.extend_from_slice(b"geonames:");
        scalar(out, u32::from_le_bytes(id));
    }
    let place_id = place_id..out.len();
    out.extend_from_slice(b"\",\n         \"plus_code\" : {\n            \"compound_code\" : \"");
    out.extend_from_slice(&code[AREA_DIGITS..]);
    out.push(b' ');
    escaped(out, town);
    out.extend_from_slice(if town.is_empty() { b"" } else { b", " });
    escaped(out, TABLE.region(row));
    out.extend_from_slice(b"\",\n            \"global_code\" : \"");
    out.extend_from_slice(&code);
    out.extend_from_slice(b"\"\n         },\n         \"reference\" : \"");
    out.extend_from_within(place_id);
    out.extend_from_slice(TYPES[kind].as_bytes());
    if !town.is_empty() {
        out.extend_from_slice(b",\n         \"vicinity\" : \"");
        escaped(out, town);
        out.push(b'"');
    }
}

/// The columns of `data/places.bin`, as slices of it.
struct EmbeddedColumns {
    bands: &'static [[u8; 4]],
    latitudes: &'static [[u8; 4]],
    longitudes: &'static [[u8; 4]],
    ids: &'static [[u8; 4]],
    prominences: &'static [[u8; 2]],
    kinds: &'static [u8],
    regions: &'static [[u8; 2]],
    blocks: &'static [[u8; 4]],
    region_starts: &'static [[u8; 2]],
    region_text: &'static [u8],
    names: &'static [u8],
}

/// Number of rows per block of names.
const BLOCK_ROWS: usize = 32;

impl EmbeddedColumns {
    /// Finds the columns. If the file is not valid, it panics, so the program does not compile.
    const fn new(file: &'static [u8]) -> EmbeddedColumns {
        assert!(matches!(file.first_chunk(), Some(b"HERDPLAC")), "not a file of places");
        assert!(word(file, 8) == 1, "a file of places of another version");
        let (rows, bands, regions) = (word(file, 16), word(file, 20), word(file, 24));
        assert!(bands == grid::BANDS, "a file of places with other bands");
        EmbeddedColumns {
            bands: column(file, 0, bands + 1),
            latitudes: column(file, 1, rows),
            longitudes: column(file, 2, rows),
            ids: column(file, 3, rows),
            prominences: column(file, 4, rows),
            kinds: section(file, 5, rows),
            regions: column(file, 6, rows),
            blocks: column(file, 7, rows.div_ceil(BLOCK_ROWS)),
            region_starts: column(file, 8, regions + 1),
            region_text: section(file, 9, start(file, 10) - start(file, 9)),
            names: section(file, 10, file.len() - start(file, 10)),
        }
    }

    fn region(&self, row: usize) -> &'static [u8] {
        let start = |index: usize| usize::from(u16::from_le_bytes(self.region_starts[index]));
        let region = usize::from(u16::from_le_bytes(self.regions[row]));
        &self.region_text[start(region)..start(region + 1)]
    }

    /// An index of every row would take a megabyte; one of every 32nd row, with a short walk, takes 33 KB.
    fn text(&self, row: usize) -> &'static [u8] {
        let block = u32::from_le_bytes(self.blocks[row / BLOCK_ROWS]) as usize;
        let mut names = &self.names[block..];
        for _ in 0..row % BLOCK_ROWS {
            names = &names[1 + usize::from(names[0])..];
        }
        &names[1..=usize::from(names[0])]
    }
}

impl grid::Columns for EmbeddedColumns {
    fn band(&self, band: usize) -> Range<usize> {
        let first = |band: usize| u32::from_le_bytes(self.bands[band]) as usize;
        first(band)..first(band + 1)
    }

    fn latitude(&self, row: usize) -> i32 {
        i32::from_le_bytes(self.latitudes[row])
    }

    fn longitude(&self, row: usize) -> i32 {
        i32::from_le_bytes(self.longitudes[row])
    }

    fn prominence(&self, row: usize) -> u16 {
        u16::from_le_bytes(self.prominences[row])
    }
}

/// The 32-bit number at this offset of the file.
const fn word(file: &[u8], at: usize) -> usize {
    match file.split_at(at).1.first_chunk() {
        Some(bytes) => u32::from_le_bytes(*bytes) as usize,
        None => panic!("a file of places that is cut off"),
    }
}

/// The offset of a section, from the header.
const fn start(file: &[u8], index: usize) -> usize {
    word(file, 28 + 4 * index)
}

/// A section of single bytes.
const fn section(file: &'static [u8], index: usize, length: usize) -> &'static [u8] {
    file.split_at(start(file, index)).1.split_at(length).0
}

/// A section of numbers with `WIDTH` bytes each.
const fn column<const WIDTH: usize>(
    file: &'static [u8],
    index: usize,
    count: usize,
) -> &'static [[u8; WIDTH]] {
    section(file, index, count * WIDTH).as_chunks().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::grid::tests::{brute_force, circle};
    use crate::places::grid::{BANDS, band_of};
    use crate::places::place::{Business, Place, Scope};
    use crate::places::{BOUND_MAX, Found, PlusCode};
    use std::borrow::Cow;

    const FILE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/places.bin"));

    /// Google's words for each kind of row.
    const WORDS: [&[Cow<'_, str>]; 3] = [
        &[Cow::Borrowed("locality"), Cow::Borrowed("political")],
        &[Cow::Borrowed("neighborhood"), Cow::Borrowed("political")],
        &[
            Cow::Borrowed("airport"),
            Cow::Borrowed("point_of_interest"),
            Cow::Borrowed("establishment"),
        ],
    ];

    impl EmbeddedColumns {
        fn place(&self, row: usize) -> Place<'static> {
            let location = Point::from_e5(self.latitude(row), self.longitude(row));
            let (text, id, kind) =
                (utf8(self.text(row)), self.ids[row], usize::from(self.kinds[row]));
            let (name, town, radius_m, place_id) = if kind == AIRPORT {
                let (name, town) = text.split_once('\t').unwrap_or((text, ""));
                let [d, c, b, a] = id.map(char::from);
                (name, town, AIRPORT_RADIUS_M, format!("airport:{a}{b}{c}{d}"))
            } else {
                let radius_m = town_radius_m(grid::population(self.prominence(row)));
                (text, text, radius_m, ["geonames:", &u32::from_le_bytes(id).to_string()].concat())
            };
            let (latitude, longitude) = (location.latitude, location.longitude);
            Place {
                location,
                viewport: Viewport::around(location, radius_m),
                name: name.into(),
                place_id: place_id.into(),
                scope: Scope::App,
                plus_code: Some(PlusCode::new(latitude, longitude, town, utf8(self.region(row)))),
                types: WORDS[kind].into(),
                vicinity: (!town.is_empty()).then(|| town.into()),
                business: Business::default(),
            }
        }
    }

    fn utf8(text: &'static [u8]) -> &'static str {
        str::from_utf8(text).expect("data/places.bin holds UTF-8")
    }

    fn listed(query: &Query, rank: Rank) -> Listed {
        match Embedded::new(rank).nearby(Ticket(1), query) {
            Progress::Answered(Answer::Listed(listed)) => listed,
            other => panic!("{other:?}"),
        }
    }

    fn found(query: &Query, rank: Rank) -> Found<'static> {
        let Listed { rows, attributions, .. } = listed(query, rank);
        Found::new(rows.into_iter().map(|row| TABLE.place(row)).collect(), attributions)
    }

    #[test]
    fn every_row_is_written_as_its_place_is() {
        let rows = Vec::from_iter(0..263_206);
        for rows in rows.chunks(BOUND_MAX) {
            let places = rows.iter().map(|&row| TABLE.place(row)).collect();
            let found = Answer::Found(Found::new(places, &ATTRIBUTIONS));
            let listed = Answer::Listed(super::listed(rows.to_vec()));
            let [mut expected, mut written] = [Vec::new(), Vec::new()];
            found.write(BOUND_MAX, &mut expected);
            listed.write(BOUND_MAX, &mut written);
            assert_eq!(str::from_utf8(&written).unwrap(), str::from_utf8(&expected).unwrap());
        }
    }

    fn names(query: &Query) -> Vec<String> {
        found(query, Rank::Prominence)
            .places
            .into_iter()
            .map(|place| place.name.into_owned())
            .collect()
    }

    #[test]
    fn the_checksum_is_right() {
        let table: [u32; 256] = std::array::from_fn(|byte| {
            let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            (0..8).fold(byte as u32, step)
        });
        let add = |crc: u32, &byte: &u8| table[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
        let crc = !FILE[72..].iter().fold(!0, add);
        assert_eq!(crc as usize, word(FILE, 12));
    }

    #[test]
    fn sections_follow_each_other_without_a_gap() {
        let (rows, regions) = (word(FILE, 16), word(FILE, 24));
        let sizes = [
            4 * (BANDS + 1),
            4 * rows,
            4 * rows,
            4 * rows,
            2 * rows,
            rows,
            2 * rows,
            4 * rows.div_ceil(BLOCK_ROWS),
            2 * (regions + 1),
        ];
        let end = sizes.into_iter().enumerate().fold(72, |at, (index, size)| {
            assert_eq!(start(FILE, index), at, "section {index}");
            at + size
        });
        assert_eq!(start(FILE, 9), end);
    }

    #[test]
    fn every_row_is_in_its_band_and_bands_are_sorted_by_longitude() {
        assert_eq!((TABLE.band(0).start, TABLE.band(BANDS - 1).end), (0, 263_206));
        for band in 0..BANDS {
            let rows = TABLE.band(band);
            assert!(rows.clone().all(|row| band_of(TABLE.latitude(row)) == band));
            assert!(rows.map(|row| TABLE.longitude(row)).is_sorted());
        }
    }

    #[test]
    fn every_row_has_a_name_a_region_and_an_id_of_its_own() {
        let mut ids: Vec<String> = (0..263_206)
            .map(|row| {
                let place = TABLE.place(row);
                for text in [&place.name, &place.plus_code.unwrap().compound.unwrap()] {
                    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
                }
                place.place_id.into_owned()
            })
            .collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 263_206);
    }

    #[test]
    fn santa_monica_is_near_ucla() {
        let places = found(&circle(34.068930, -118.445127, 10_000.0), Rank::Prominence).places;
        assert_eq!(places.len(), 16);
        let first = &places[0];
        assert_eq!((&first.name[..], &first.place_id[..]), ("Santa Monica", "geonames:5393212"));
        assert_eq!(first.location, Point { latitude: 34.01949, longitude: -118.49138 });
        assert_eq!(*first.types, ["locality", "political"]);
        assert_eq!(first.vicinity.as_deref(), Some("Santa Monica"));
        let code = first.plus_code.as_ref().unwrap();
        assert_eq!(code.global, "85632G95+QC");
        assert_eq!(code.compound.as_deref(), Some("2G95+QC Santa Monica, CA, USA"));
        let five: Vec<_> = places.iter().take(5).map(|place| &place.name[..]).collect();
        assert_eq!(five, ["Santa Monica", "Mid-City", "Sherman Oaks", "Venice", "Sawtelle"]);
    }

    #[test]
    fn an_airport_has_its_code_its_town_and_its_state() {
        let near = found(&circle(33.9425, -118.4081, 500.0), Rank::Distance).places;
        assert_eq!(near[0].name, "Los Angeles International Airport");
        assert_eq!(near[0].place_id, "airport:KLAX");
        assert_eq!(*near[0].types, ["airport", "point_of_interest", "establishment"]);
        assert_eq!(near[0].vicinity.as_deref(), Some("Los Angeles"));
        let compound = near[0].plus_code.as_ref().unwrap().compound.as_deref();
        assert!(compound.unwrap().ends_with(" Los Angeles, CA, USA"), "{compound:?}");
    }

    #[test]
    fn the_world_is_where_it_should_be() {
        assert_eq!(names(&circle(48.8566, 2.3522, 10_000.0))[0], "Paris");
        assert_eq!(names(&circle(51.5074, -0.1278, 10_000.0))[0], "London");
        assert_eq!(names(&circle(38.90, -100.50, 10_000.0)).len(), 1);
        assert_eq!(names(&circle(38.90, -100.50, 50_000.0)).len(), 11);
        assert_eq!(names(&circle(-90.0, 123.0, 1.0)), ["South Pole Station Airport"]);
    }

    #[test]
    fn only_an_answer_with_places_has_attributions() {
        let ocean = found(&circle(0.0, -150.0, 50_000.0), Rank::Prominence);
        assert_eq!(ocean, Found::default());
        let thanks = found(&circle(34.0, -118.4, 10_000.0), Rank::Prominence).attributions;
        assert!(thanks[0].contains("https://www.geonames.org/") && thanks[0].contains("CC BY 4.0"));
    }

    #[test]
    fn the_search_finds_what_a_look_at_every_row_finds() {
        let mut points = vec![
            (34.068930, -118.445127),
            (48.8566, 2.3522),
            (38.90, -100.50),
            (-16.8, 179.99),
            (-16.8, -179.99),
            (65.0, 180.0),
            (65.0, -180.0),
            (90.0, 0.0),
            (-90.0, 77.0),
            (89.9, 45.0),
            (-89.9, 45.0),
        ];
        // The points are towns all over the world, and points in between.
        for row in (0..263_206).step_by(9_973) {
            let place = TABLE.place(row).location;
            points.push((place.latitude, place.longitude));
            points.push((place.latitude + 0.2, -place.longitude));
        }
        for (latitude, longitude) in points {
            for (radius_m, rank) in [(10_000.0, Rank::Prominence), (50_000.0, Rank::Distance)] {
                let query = circle(latitude, longitude, radius_m);
                let (quick, slow) =
                    (grid::search(&TABLE, &query, rank), brute_force(&TABLE, &query, rank));
                assert_eq!(quick, slow, "{latitude} {longitude}");
            }
        }
    }
}
