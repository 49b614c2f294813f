//! A source of places from a file: a country from GeoNames, a city from Overture.
//!
//! The file is read as a whole, once, at the start. Every faulty record is reported with its line, and a file with
//! a faulty record is rejected. Valid records that are not places nearby (an area, a Feature without a name) are
//! skipped and counted.
//!
//! ```text
//!     bytes --Lines, Features--> record --geonames::entry, geojson::entry--> Entry --Builder--> File
//! ```
//!
//! In memory a place is a [`PlaceRow`] of 16 bytes, in the order of the grid, and its texts in one long string. So
//! two million places take some 150 MB instead of a gigabyte. The search is shared with the embedded gazetteer
//! (`grid.rs`).

use crate::files;
use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use super::entry::{E5Point, Entry, NoEntry, REGION, Types};
use super::features::Features;
use super::grid::{self, BANDS, Rank, band_of, prominence};
use super::place::{Business, POINT_RADIUS_M, Place, Point, Scope, Viewport, town_radius_m};
use super::plus_code::PlusCode;
use super::records::{RecordFault, RecordLines, RecordReader};
use super::{Answer, Found, Progress, Query, Source, Ticket, geojson, geonames};

/// Maximum number of places of a file.
pub const ROWS_MAX: usize = 5_000_000;

/// Longest text of a place in bytes: a reply may contain it twenty times.
const TEXT_BYTES_MAX: usize = 1 << 16;

/// Maximum number of errors that are listed; further errors are counted.
const FAULTS_LISTED_MAX: usize = 20;

/// The places of a file. This source always answers at once.
pub struct PlacesFile {
    rank: Rank,
    /// Sorted by band, then longitude, then latitude; equal rows keep the file's order.
    rows: Vec<PlaceRow>,
    /// The first row of each band, and at the end the number of rows.
    bands: Vec<usize>,
    /// Five lines for each row: name, id, vicinity, locality, region. All but the name and the id may be empty.
    texts: String,
    kinds: Vec<Types>,
    attributions: Vec<&'static str>,
    passed_over: Vec<PassedOver>,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Lines of a GeoNames table.
    GeoNames,
    /// GeoJSON Features, in a collection or separate.
    GeoJson,
}

impl PlacesFile {
    /// Reads a file. [`Format::of`] derives its format from its name. GeoNames: 19 columns separated by tabs. GeoJSON:
    /// a FeatureCollection, or Features on lines or after record separators (0x1e), either Overture's places or any
    /// Feature that is a Point and has a name.
    ///
    /// Records that are not places nearby (a county, a Feature without a name) are skipped and counted. It blocks for
    /// one or two seconds per million lines of a table, and for some six per million of Overture's Features, so call it
    /// at the start and not in the loop.
    ///
    /// # Errors
    ///
    /// Returns all errors of the file at once; 20 are listed, and the last one counts the others. They do not contain
    /// the path, which the caller knows. A file with more than [`ROWS_MAX`] places, or with none, is rejected.
    pub fn read(path: &Path, rank: Rank) -> Result<PlacesFile, Vec<RecordFault>> {
        let whole = |message| vec![RecordFault::of_file(message)];
        let format = Format::of(path).map_err(|message| whole(message.to_string()))?;
        let file = files::open(path).map_err(|error| whole(error.to_string()))?;
        PlacesFile::parse(BufReader::with_capacity(1 << 16, file), format, rank)
    }

    /// Reads the contents of a file in this format from `reader`, as [`PlacesFile::read`] does.
    ///
    /// # Errors
    /// Fails as [`PlacesFile::read`] does; an error of the reader comes last.
    pub fn parse(
        reader: impl BufRead,
        format: Format,
        rank: Rank,
    ) -> Result<PlacesFile, Vec<RecordFault>> {
        let unreadable = |error: io::Error| vec![RecordFault::of_file(error)];
        let builder = match format {
            Format::GeoNames => {
                let lines = RecordLines::new(reader).map_err(unreadable)?;
                Builder::read(lines, geonames::entry, ROWS_MAX)
            }
            Format::GeoJson => {
                let features = Features::new(reader).map_err(unreadable)?;
                Builder::read(features, geojson::entry, ROWS_MAX)
            }
        };
        Ok(builder?.build(rank))
    }

    /// The number of places: at least one.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The number of records that were skipped, because they are not places nearby.
    pub fn passed_over(&self) -> usize {
        self.passed_over.iter().map(|passed| passed.count).sum()
    }

    /// Remarks for the operator, each a sentence: records that were skipped (except countries and counties, which
    /// every GeoNames table contains), and whether no place has a category.
    pub fn remarks(&self) -> Vec<String> {
        let told = self.passed_over.iter().filter(|passed| passed.why != REGION);
        let mut remarks: Vec<String> = told.map(|passed| format!("skipped {passed}")).collect();
        if self.kinds.iter().all(|types| types[0] == "point_of_interest") {
            remarks.push(
                "no record has a known category, so each place is only a point_of_interest; \
                 docs/sources.md lists the properties for it"
                    .to_string(),
            );
        }
        remarks
    }

    fn place(&self, row: usize) -> Place<'static> {
        let row = self.rows[row];
        let location = Point::from_e5(row.position.latitude, row.position.longitude);
        let types = &self.kinds[usize::from(row.kind)];
        let mut texts = self.texts[row.texts as usize..].split('\n');
        let [name, place_id, vicinity, locality, region] =
            array::from_fn(|_| texts.next().unwrap_or_default());
        let town = types.iter().any(|kind| kind == "political");
        let radius_m =
            if town { town_radius_m(grid::population(row.prominence)) } else { POINT_RADIUS_M };
        Place {
            location,
            viewport: Viewport::around(location, radius_m),
            name: name.to_string().into(),
            place_id: place_id.to_string().into(),
            scope: Scope::App,
            plus_code: Some(PlusCode::new(location.latitude, location.longitude, locality, region)),
            types: types.clone().into(),
            vicinity: (!vicinity.is_empty()).then(|| vicinity.to_string().into()),
            business: Business::default(),
        }
    }
}

impl Source for PlacesFile {
    fn name(&self) -> &'static str {
        "file"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let rows = grid::search(self, query, self.rank);
        let places = rows.into_iter().map(|row| self.place(row)).collect();
        Progress::Answered(Answer::Found(Found::new(places, &self.attributions)))
    }
}

impl fmt::Debug for PlacesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("rank", &self.rank)
            .field("rows", &self.rows.len())
            .field("passed_over", &self.passed_over())
            .finish_non_exhaustive()
    }
}

impl grid::Columns for PlacesFile {
    fn band(&self, band: usize) -> Range<usize> {
        self.bands[band]..self.bands[band + 1]
    }

    fn latitude(&self, row: usize) -> i32 {
        self.rows[row].position.latitude
    }

    fn longitude(&self, row: usize) -> i32 {
        self.rows[row].position.longitude
    }

    fn prominence(&self, row: usize) -> u16 {
        self.rows[row].prominence
    }
}

#[derive(Clone, Copy, Debug)]
struct PlaceRow {
    position: E5Point,
    /// The offset in `texts` of the place's five lines.
    texts: u32,
    /// An index into `kinds`.
    kind: u16,
    prominence: u16,
}

/// Parses one record into a place, or returns why there is none.
type Parse = fn(&[u8]) -> Result<Entry, NoEntry>;

impl Format {
    /// Derives the format from the extension of the file's name, ignoring case.
    ///
    /// # Errors
    ///
    /// The extension is unknown; the message lists those that are known.
    pub fn of(path: &Path) -> Result<Format, &'static str> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("tsv" | "txt") => Ok(Format::GeoNames),
            Some(
                "json" | "jsonl" | "ndjson" | "geojson" | "geojsonl" | "geojsons" | "geojsonseq",
            ) => Ok(Format::GeoJson),
            _ => Err("its name must end in .tsv or .txt (a GeoNames table), .geojson, .geojsonl, \
                      .geojsons, .geojsonseq, .json, .jsonl or .ndjson (GeoJSON)"),
        }
    }
}

/// The records that were skipped for one reason.
#[derive(Debug)]
struct PassedOver {
    why: &'static str,
    count: usize,
    /// The line of the first such record.
    line: usize,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PassedOver { why, count, line } = self;
        let records = if *count == 1 { "record" } else { "records" };
        write!(f, "{count} {records} {why}, the first on line {line}")
    }
}

/// A file while it is being read. The rows are in the file's order.
#[derive(Debug, Default)]
struct Builder {
    rows: Vec<PlaceRow>,
    texts: String,
    kinds: BTreeMap<Types, u16>,
    attributions: Vec<&'static str>,
    passed_over: Vec<PassedOver>,
    /// The line of the last place, and the number of places on it so far.
    line: usize,
    on_line: usize,
}

impl Builder {
    fn read(
        mut records: impl RecordReader,
        parse: Parse,
        rows_max: usize,
    ) -> Result<Builder, Vec<RecordFault>> {
        let mut builder = Builder::default();
        let (mut faults, mut unlisted, mut is_full) = (Vec::new(), 0, false);
        while !is_full {
            let fault = match records.next() {
                Ok(None) => break,
                Ok(Some((line, record))) => {
                    is_full = builder.rows.len() == rows_max;
                    let taken = match is_full {
                        true => Err(format!(
                            "exceeds the limit of {rows_max} places: remove it and what follows"
                        )),
                        false => builder.take(line, parse(record)),
                    };
                    let Err(message) = taken else { continue };
                    RecordFault { line, message }
                }
                Err(fault) => fault,
            };
            if faults.len() < FAULTS_LISTED_MAX {
                faults.push(fault);
            } else {
                unlisted += 1;
            }
        }
        if unlisted > 0 {
            faults.push(RecordFault::of_file(format!("and {unlisted} more errors")));
        }
        if builder.rows.is_empty() && faults.is_empty() {
            let mut message = "the file contains no places".to_string();
            for (number, passed) in builder.passed_over.iter().enumerate() {
                message += &format!("{} {passed}", if number == 0 { ":" } else { ";" });
            }
            faults.push(RecordFault::of_file(message));
        }
        if faults.is_empty() { Ok(builder) } else { Err(faults) }
    }

    fn take(&mut self, line: usize, read: Result<Entry, NoEntry>) -> Result<(), String> {
        match read {
            Ok(entry) => return self.add(line, entry),
            Err(NoEntry::Fault(message)) => return Err(message),
            Err(NoEntry::PassedOver(why)) => {
                match self.passed_over.iter_mut().find(|passed| passed.why == why) {
                    Some(passed) => passed.count += 1,
                    None => self.passed_over.push(PassedOver { why, count: 1, line }),
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, line: usize, entry: Entry) -> Result<(), String> {
        let texts = u32::try_from(self.texts.len())
            .map_err(|_| "exceeds the limit of 4 GiB for all texts")?;
        let kind = self.kind(entry.types)?;
        let Entry { position, name, place_id, vicinity, locality, region, .. } = entry;
        // A line of a collection may contain several places.
        self.on_line = if self.line == line { self.on_line + 1 } else { 1 };
        self.line = line;
        let place_id = match (place_id.is_empty(), self.on_line) {
            (false, _) => place_id,
            (true, 1) => format!("file:{line}"),
            (true, number) => format!("file:{line}.{number}"),
        };
        let all = [name, place_id, vicinity, locality, region];
        if all.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(format!("has a text of more than {TEXT_BYTES_MAX} bytes"));
        }
        for text in all {
            self.texts.push_str(&text);
            self.texts.push('\n');
        }
        self.attributions.extend(entry.attribution.filter(|new| !self.attributions.contains(new)));
        self.rows.push(PlaceRow {
            position,
            texts,
            kind,
            prominence: prominence(entry.population),
        });
        Ok(())
    }

    fn kind(&mut self, types: Types) -> Result<u16, String> {
        if let Some(&kind) = self.kinds.get(&types) {
            return Ok(kind);
        }
        let kind = u16::try_from(self.kinds.len())
            .map_err(|_| "exceeds the limit of 65,536 different categories")?;
        self.kinds.insert(types, kind);
        Ok(kind)
    }

    /// Sorts the rows into the grid's order.
    fn build(self, rank: Rank) -> PlacesFile {
        let Builder { mut rows, mut texts, kinds, attributions, passed_over, .. } = self;
        rows.sort_by_key(|row| {
            let E5Point { latitude, longitude } = row.position;
            (band_of(latitude), longitude, latitude)
        });
        let before = |band| rows.partition_point(|row| band_of(row.position.latitude) < band);
        let bands = (0..=BANDS).map(before).collect();
        let mut kinds: Vec<(Types, u16)> = kinds.into_iter().collect();
        kinds.sort_by_key(|&(_, kind)| kind);
        let kinds = kinds.into_iter().map(|(types, _)| types).collect();
        rows.shrink_to_fit();
        texts.shrink_to_fit();
        PlacesFile { rank, rows, bands, texts, kinds, attributions, passed_over }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::grid::tests::{brute_force, circle};

    fn town(id: usize, name: &str, latitude: f64, longitude: f64, population: u64) -> String {
        format!(
            "{id}\t{name}\t\t\t{latitude}\t{longitude}\tP\tPPL\tUS\t\tCA\t\t\t\t{population}\t\t\t\t\n"
        )
    }

    fn read(text: &str) -> Result<PlacesFile, Vec<RecordFault>> {
        Builder::read(RecordLines::new(text.as_bytes()).unwrap(), geonames::entry, 1_000)
            .map(|rows| rows.build(Rank::Prominence))
    }

    fn geojson(text: impl AsRef<[u8]>) -> Result<PlacesFile, Vec<String>> {
        let file = PlacesFile::parse(text.as_ref(), Format::GeoJson, Rank::Distance);
        file.map_err(|faults| faults.iter().map(RecordFault::to_string).collect())
    }

    fn found(file: &mut PlacesFile, query: &Query) -> Found<'static> {
        match file.nearby(Ticket(1), query) {
            Progress::Answered(Answer::Found(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_place_comes_back_as_the_file_has_it() {
        let county =
            town(2, "County", 34.0, -118.4, 9_000_000).replace("\tP\tPPL\t", "\tA\tADM2\t");
        let mut file =
            read(&(town(5393212, "Santa Monica", 34.01949, -118.49138, 93_220) + &county)).unwrap();
        assert_eq!((file.count(), file.passed_over()), (1, 1));
        assert!(file.remarks().is_empty(), "{:?}", file.remarks());
        let found = found(&mut file, &circle(34.0, -118.5, 5_000.0));
        assert_eq!(found.attributions, [geonames::ATTRIBUTION]);
        let place = &found.places[0];
        assert_eq!((&place.name[..], &place.place_id[..]), ("Santa Monica", "geonames:5393212"));
        assert_eq!(place.location, Point { latitude: 34.01949, longitude: -118.49138 });
        assert_eq!(place.vicinity.as_deref(), Some("Santa Monica"));
        let code = place.plus_code.as_ref().unwrap();
        assert_eq!(code.compound.as_deref(), Some("2G95+QC Santa Monica, CA, USA"));
    }

    #[test]
    fn a_place_without_an_id_is_called_after_its_line() {
        let shop = "\n{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]},\
                    \"properties\":{\"name\":\"Shop\"}}";
        let mut file = geojson(shop).unwrap();
        let found = found(&mut file, &circle(2.0, 1.0, 1.0));
        assert_eq!(found.places[0].place_id, "file:2");
        assert_eq!((found.attributions.len(), &found.places[0].vicinity), (0, &None));
    }

    #[test]
    fn faults_name_their_lines_and_the_rest_is_counted() {
        let good = town(1, "A", 1.0, 1.0, 1);
        let faults =
            read(&format!("{good}\nx\ty\n{good}{}", town(2, "B", 99.0, 1.0, 1))).unwrap_err();
        let shown: Vec<String> = faults.iter().map(RecordFault::to_string).collect();
        assert_eq!(shown[0], "line 3: has 2 tab-separated columns, but a GeoNames table has 19");
        assert_eq!(shown[1], "line 5: the latitude 99 is not between -90 and 90");
        let many = read(&(good + &"x\n".repeat(50))).unwrap_err();
        assert_eq!(many.len(), FAULTS_LISTED_MAX + 1);
        assert_eq!(many.last().unwrap().to_string(), "and 30 more errors");
    }

    #[test]
    fn a_file_of_no_places_or_too_many_is_refused() {
        assert_eq!(read("\n").unwrap_err()[0].to_string(), "the file contains no places");
        let county = town(2, "County", 34.0, -118.4, 1).replace("\tP\tPPL\t", "\tA\tADM2\t");
        let nameless = town(3, " ", 34.0, -118.4, 1);
        let faults = read(&["\n", &county, &nameless, &county].concat()).unwrap_err();
        let expected = "the file contains no places: 2 records of countries, states or counties, \
                        the first on line 2; 1 record without a name, the first on line 3";
        assert_eq!((faults.len(), faults[0].to_string().as_str()), (1, expected));
        let text = town(1, "A", 1.0, 1.0, 1).repeat(1_000);
        assert_eq!(read(&text).unwrap().count(), 1_000);
        let faults = read(&(text + "more")).unwrap_err();
        assert_eq!(
            faults[0].to_string(),
            "line 1001: exceeds the limit of 1000 places: remove it and what follows"
        );
    }

    const SHOP: &str = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"name":"Shop"}}"#;
    const NOWHERE: &str = r#"{"type":"Feature","geometry":null,"properties":{"name":"Nowhere"}}"#;

    #[test]
    fn what_has_no_point_is_passed_over_and_told_once() {
        let area = r#"{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[1,2],[3,4],[1,2]]]},
            "properties":{"name":"Park"}}"#;
        let file = geojson([SHOP, NOWHERE, area, NOWHERE].join("\n")).unwrap();
        assert_eq!((file.count(), file.passed_over()), (1, 3));
        let remarks = file.remarks();
        assert_eq!(remarks[0], "skipped 3 records without a Point, the first on line 2");
        assert_eq!(remarks.len(), 2);
        assert_eq!(
            geojson([NOWHERE, NOWHERE].join("\n")).unwrap_err(),
            ["the file contains no places: 2 records without a Point, the first on line 1"]
        );
    }

    #[test]
    fn each_reason_to_pass_over_a_record_is_told_once() {
        let nameless = SHOP.replace("Shop", "");
        let closed =
            SHOP.replace("\"name\"", "\"operating_status\":\"permanently_closed\",\"name\"");
        let kind = SHOP.replace("\"name\"", "\"basic_category\":\"cafe\",\"name\"");
        let rows = [&nameless[..], &closed, SHOP, &kind, NOWHERE, &nameless].join("\n");
        let file = geojson(rows).unwrap();
        assert_eq!((file.count(), file.passed_over()), (2, 4));
        assert_eq!(
            file.remarks(),
            [
                "skipped 2 records without a name, the first on line 1",
                "skipped 1 record of permanently closed places, the first on line 2",
                "skipped 1 record without a Point, the first on line 5",
            ]
        );
    }

    #[test]
    fn a_file_in_which_no_place_has_a_kind_says_so() {
        let is_told = |file: &PlacesFile| {
            file.remarks().iter().any(|remark| remark.contains("known category"))
        };
        assert!(is_told(&geojson(SHOP).unwrap()));
        let kind = SHOP.replace("\"name\"", "\"taxonomy\":{\"primary\":\"cafe\"},\"name\"");
        assert!(!is_told(&geojson([SHOP, &kind].join("\n")).unwrap()));
        let odd = town(1, "A", 1.0, 1.0, 1).replace("\tP\tPPL\t", "\tX\tY\t");
        assert!(is_told(&read(&odd).unwrap()));
        assert!(!is_told(&read(&[odd, town(2, "B", 1.0, 1.0, 1)].concat()).unwrap()));
    }

    #[test]
    fn a_collection_is_read_as_its_lines_are() {
        let list = format!("[\n{SHOP},\n{NOWHERE},\n{SHOP}\n]");
        for text in [
            format!("{{\"type\":\"FeatureCollection\",\"crs\":{{\"a\":[]}},\"features\":{list}}}"),
            format!(
                "\u{feff}{{\"features\":{list},\"type\":\"FeatureCollection\",\"bbox\":[1,2,1,2]}}\r\n"
            ),
        ] {
            let mut file = geojson(&text).unwrap();
            assert_eq!((file.count(), file.passed_over()), (2, 1), "{text}");
            assert!(file.remarks()[0].ends_with("the first on line 3"), "{:?}", file.remarks());
            let found = found(&mut file, &circle(2.0, 1.0, 1.0));
            let ids: Vec<_> = found.places.iter().map(|place| &place.place_id[..]).collect();
            assert_eq!(ids, ["file:2", "file:4"]);
        }
        let mut file =
            geojson(format!("{{\"features\":[{SHOP},{NOWHERE},{SHOP},{SHOP}]}}")).unwrap();
        let found = found(&mut file, &circle(2.0, 1.0, 1.0));
        let ids: Vec<_> = found.places.iter().map(|place| &place.place_id[..]).collect();
        assert_eq!(ids, ["file:1", "file:1.2", "file:1.3"], "each has its own");
        let empty = geojson(r#"{"type":"FeatureCollection","features":[]}"#);
        assert_eq!(empty.unwrap_err(), ["the file contains no places"]);
        // The format in which geojson.io saves a single Feature.
        let indented: serde_json::Value = serde_json::from_str(SHOP).unwrap();
        assert_eq!(geojson(serde_json::to_string_pretty(&indented).unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_object_in_a_list_is_passed_over_and_counted() {
        let list = format!("{{\"features\":[{SHOP},\nnull,7,\"a\",[{SHOP}],true,{SHOP}]}}");
        let file = geojson(&list).unwrap();
        assert_eq!((file.count(), file.passed_over()), (2, 5));
        let remarks = file.remarks();
        assert_eq!(remarks[0], "skipped 5 records without a Point, the first on line 2");
        let faults = geojson(list.replace("true", "treu")).unwrap_err();
        assert!(faults[0].starts_with("line 2: is not JSON"), "{faults:?}");
    }

    #[test]
    fn nothing_of_a_file_is_lost_without_a_word() {
        let beside = SHOP.replace("\"geometry\"", "\"features\":[],\"geometry\"");
        assert_eq!(geojson([SHOP, &beside].join("\n")).unwrap().count(), 2);
        let collection = format!(r#"{{"type":"FeatureCollection","features":[{SHOP}]}}"#);
        assert_eq!(geojson([&collection[..], &collection, SHOP].concat()).unwrap().count(), 3);
        for (other, what) in [
            (r#"{"type":"FeatureCollection"}"#, "without a list of features"),
            (r#"{"type":"FeatureCollection","features":null}"#, "without a list of features"),
            (r#"{"type":"FeatureCollection","features":{}}"#, "without a list of features"),
            (r#"{"type":"Point","coordinates":[1,2]}"#, "is not a GeoJSON Feature"),
            (r#"{"type":"GeometryCollection","geometries":[]}"#, "is not a GeoJSON Feature"),
            (r#"{"type":"GeometryCollection","features":[]}"#, "is not a GeoJSON Feature"),
        ] {
            let faults = geojson([other, SHOP].join("\n")).unwrap_err();
            assert_eq!(faults.len(), 1, "{other}: {faults:?}");
            assert!(faults[0].contains(what), "{other}: {faults:?}");
        }
    }

    #[test]
    fn a_fault_of_a_feature_names_its_line_and_others_are_told_too() {
        let off = SHOP.replace("[1,2]", "[1,99]");
        let spoilt = SHOP.replace(":{", ":");
        let text = format!("{{\"features\":[\n{off},\n{SHOP},\n{off}\n]}}");
        let faults = geojson(&text).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(faults[1], "line 4: the latitude 99 is not between -90 and 90");
        let faults = geojson([SHOP, &spoilt, SHOP, &off].join("\n")).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("line 2: is not JSON"), "{faults:?}");
    }

    #[test]
    fn a_text_that_no_reply_should_have_twenty_times_is_a_fault() {
        let named = |bytes: usize| geojson(SHOP.replace("Shop", &"x".repeat(bytes)));
        assert_eq!(named(TEXT_BYTES_MAX).unwrap().count(), 1);
        let faults = named(TEXT_BYTES_MAX + 1).unwrap_err();
        assert_eq!(faults, ["line 1: has a text of more than 65536 bytes"]);
        assert_eq!(read(&town(1, &"x".repeat(100_000), 1.0, 1.0, 1)).unwrap_err().len(), 1);
    }

    #[test]
    fn one_category_more_than_the_limit_is_a_fault() {
        let mut builder = Builder::default();
        for n in 0..=65_535 {
            assert_eq!(builder.kind(vec![n.to_string().into()]).unwrap(), n);
        }
        assert_eq!(builder.kind(vec!["7".into()]), Ok(7));
        assert!(builder.kind(vec!["new".into()]).unwrap_err().contains("65,536"));
    }

    #[test]
    fn the_end_of_the_name_says_the_format() {
        for name in ["US.txt", "US.TSV", "la.b.txt"] {
            assert_eq!(Format::of(Path::new(name)), Ok(Format::GeoNames), "{name}");
        }
        for end in
            ["json", "jsonl", "ndjson", "geojson", "GeoJSON", "geojsonl", "geojsons", "geojsonseq"]
        {
            assert_eq!(
                Format::of(&Path::new("la").with_extension(end)),
                Ok(Format::GeoJson),
                "{end}"
            );
        }
        for name in ["US", "US.zip", "places.csv", ".json", ""] {
            assert!(
                PlacesFile::read(Path::new(name), Rank::Distance).unwrap_err()[0]
                    .message
                    .contains(".tsv")
            );
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault_of_the_file() {
        let faults =
            PlacesFile::read(Path::new("/nonexistent/US.txt"), Rank::Distance).unwrap_err();
        assert_eq!((faults.len(), faults[0].line), (1, 0));
        let folder = std::env::temp_dir().join(format!("places-{}.txt", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let faults = PlacesFile::read(&folder, Rank::Distance).unwrap_err();
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!((faults.len(), faults[0].line), (1, 0));
    }

    #[test]
    fn the_search_finds_what_a_look_at_every_row_finds() {
        let spread = |n: usize| (n * 7_919 % 1_801) as f64 / 10.0 - 90.0;
        let rows: String = (0..1_000)
            .map(|n| town(n + 1, &format!("T{n}"), spread(n), 2.0 * spread(n * 31), n as u64))
            .collect();
        let file = read(&rows).unwrap();
        for n in 0..500 {
            let query = circle(spread(n * 3), 2.0 * spread(n * 5), 2_000_000.0);
            let quick = grid::search(&file, &query, Rank::Prominence);
            assert_eq!(quick, brute_force(&file, &query, Rank::Prominence));
        }
    }
}
