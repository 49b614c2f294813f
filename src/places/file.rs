//! Places out of a file the operator has: a country from GeoNames, a city from Overture.
//!
//! The file is read once, at start, and whole. Nothing of it is believed until then: every line
//! that is wrong is reported with its number, and a file with a single wrong line is refused.
//!
//! ```text
//!     bytes --Records--> record --geonames::entry, geojson::entry--> Entry --Builder--> File
//! ```
//!
//! In memory a place is a [`Row`] of 16 bytes in the grid's order and its texts in one long
//! string, so two million places take some 150 MB, not a gigabyte. The search is the embedded
//! gazetteer's own (`grid.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use super::entry::{E5Point, Entry, Types};
use super::grid::{self, BANDS, Rank, band_of, prominence};
use super::place::{Business, POINT_RADIUS_M, Place, Point, Scope, Viewport, town_radius_m};
use super::plus_code::PlusCode;
use super::records::Records;
use super::{Answer, Found, Progress, Query, Source, Ticket, geojson, geonames};

/// The most places a file may have.
pub const ROWS_MAX: usize = 5_000_000;

/// The faults that are listed one by one; of the rest there is a count.
const FAULTS_LISTED_MAX: usize = 20;

/// The places of a file. Always answers at once.
pub struct File {
    rank: Rank,
    /// In order of band, then longitude, then latitude; of equals as the file has them.
    rows: Vec<Row>,
    /// The first row of each band, and the number of rows.
    bands: Vec<usize>,
    /// For each row five lines: name, id, vicinity, locality, region; all but two may be empty.
    texts: String,
    kinds: Vec<Types>,
    attributions: Vec<&'static str>,
    passed_over: usize,
}

/// What the records of a file are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Lines of a GeoNames table.
    GeoNames,
    /// GeoJSON Features.
    GeoJson,
}

/// Something in a file that keeps it from being used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Counted from 1; 0 means the file as a whole.
    pub line: usize,
    /// What is wrong, to be read after the line's number.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

impl File {
    /// Reads a file, by the end of its name:
    ///
    /// * `.tsv`, `.txt`: a GeoNames table, 19 columns between tabs;
    /// * `.geojsonl`, `.geojsonseq`, `.geojson`: GeoJSON Features, one a line, or each after a
    ///   record separator (0x1e); Overture's places, or any Feature that is a Point and has a name.
    ///
    /// Lines that mean no place nearby (a county, a Feature without a name) are passed over and
    /// counted. Blocks, for a second or two per million lines: made for the start, not the loop.
    ///
    /// # Errors
    ///
    /// All faults of the file at once, of which 20 are listed and the rest counted in a last one.
    /// They do not name the file: whoever gave the path knows it.
    /// A file of more than [`ROWS_MAX`] places or of none is refused.
    pub fn read(path: &Path, rank: Rank) -> Result<File, Vec<Fault>> {
        let whole = |message| vec![Fault { line: 0, message }];
        let format = Format::of(path).map_err(whole)?;
        let file = fs::File::open(path).map_err(|error| whole(error.to_string()))?;
        File::parse(BufReader::with_capacity(1 << 16, file), format, rank)
    }

    /// The same of what `reader` gives, which is in `format`.
    ///
    /// # Errors
    ///
    /// Those of [`File::read`]; a fault of the reader is the last of them.
    pub fn parse(reader: impl BufRead, format: Format, rank: Rank) -> Result<File, Vec<Fault>> {
        Ok(Builder::read(reader, format.parser(), ROWS_MAX)?.build(rank))
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none; a file that could be read has some.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many lines meant no place nearby.
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    fn place(&self, row: usize) -> Place<'static> {
        let row = self.rows[row];
        let location = Point::from_e5(row.position.latitude, row.position.longitude);
        let types = &self.kinds[usize::from(row.kind)];
        let mut texts = self.texts[row.texts as usize..].split('\n');
        let mut text = || texts.next().unwrap_or_default();
        let (name, place_id, vicinity, locality, region) = (text(), text(), text(), text(), text());
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
            types: types.clone(),
            vicinity: (!vicinity.is_empty()).then(|| vicinity.to_string().into()),
            business: Business::default(),
        }
    }
}

impl Source for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn nearby(&mut self, _: Ticket, query: &Query) -> Progress {
        let rows = grid::search(self, query, self.rank);
        let places = rows.into_iter().map(|row| self.place(row)).collect();
        Progress::Answered(Answer::Found(Found::new(places, &self.attributions)))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let File { rank, passed_over, .. } = self;
        f.debug_struct("File")
            .field("rank", rank)
            .field("rows", &self.rows.len())
            .field("passed_over", passed_over)
            .finish_non_exhaustive()
    }
}

impl grid::Table for File {
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
struct Row {
    position: E5Point,
    /// Where its five lines begin.
    texts: u32,
    /// Which of the kinds.
    kind: u16,
    prominence: u16,
}

/// Reads one record: a place, none, or what is wrong.
type Parse = fn(&[u8]) -> Result<Option<Entry>, String>;

impl Format {
    /// By the end of the file's name.
    fn of(path: &Path) -> Result<Format, String> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tsv" | "txt") => Ok(Format::GeoNames),
            Some("geojsonl" | "geojsonseq" | "geojson") => Ok(Format::GeoJson),
            _ => Err("its name must end in .tsv or .txt (a GeoNames table), .geojsonl, \
                      .geojsonseq or .geojson (one Feature a line)"
                .to_string()),
        }
    }

    fn parser(self) -> Parse {
        match self {
            Format::GeoNames => geonames::entry,
            Format::GeoJson => geojson::entry,
        }
    }
}

/// A file while it is being read: rows in the file's order.
#[derive(Debug, Default)]
struct Builder {
    rows: Vec<Row>,
    texts: String,
    kinds: BTreeMap<Types, u16>,
    attributions: Vec<&'static str>,
    passed_over: usize,
}

impl Builder {
    fn read(reader: impl BufRead, parse: Parse, rows_max: usize) -> Result<Builder, Vec<Fault>> {
        let mut builder = Builder::default();
        let mut faults = Faults::default();
        let unreadable =
            |error: std::io::Error| vec![Fault { line: 0, message: error.to_string() }];
        let mut records = Records::new(reader).map_err(unreadable)?;
        loop {
            match records.next() {
                Ok(None) => break,
                Ok(Some((line, _))) if builder.rows.len() == rows_max => {
                    faults.add(line, format!("a file may have {rows_max} places"));
                    break;
                }
                Ok(Some((line, record))) => {
                    let added = parse(record).and_then(|entry| builder.add(line, entry));
                    added.unwrap_or_else(|message| faults.add(line, message));
                }
                Err(error) => {
                    faults.add(records.line(), error.to_string());
                    break;
                }
            }
        }
        if builder.rows.is_empty() && faults.listed.is_empty() {
            faults.add(0, "the file has no places".to_string());
        }
        faults.none().map(|()| builder)
    }

    fn add(&mut self, line: usize, entry: Option<Entry>) -> Result<(), String> {
        let Some(entry) = entry else {
            self.passed_over += 1;
            return Ok(());
        };
        let texts = u32::try_from(self.texts.len()).map_err(|_| "names of 4 GiB come before")?;
        let kind = self.kind(entry.types)?;
        let Entry { position, name, place_id, vicinity, locality, region, .. } = entry;
        let place_id = if place_id.is_empty() { format!("file:{line}") } else { place_id };
        for text in [name, place_id, vicinity, locality, region] {
            self.texts.push_str(&text);
            self.texts.push('\n');
        }
        self.attributions.extend(entry.attribution.filter(|new| !self.attributions.contains(new)));
        self.rows.push(Row { position, texts, kind, prominence: prominence(entry.population) });
        Ok(())
    }

    fn kind(&mut self, types: Types) -> Result<u16, String> {
        if let Some(&kind) = self.kinds.get(&types) {
            return Ok(kind);
        }
        let kind = u16::try_from(self.kinds.len())
            .map_err(|_| "is of one category more than the 65,536 a file may have")?;
        self.kinds.insert(types, kind);
        Ok(kind)
    }

    /// Puts the rows in the grid's order.
    fn build(self, rank: Rank) -> File {
        let Builder { mut rows, mut texts, kinds, attributions, passed_over } = self;
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
        File { rank, rows, bands, texts, kinds, attributions, passed_over }
    }
}

#[derive(Debug, Default)]
struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    fn add(&mut self, line: usize, message: String) {
        if self.listed.len() < FAULTS_LISTED_MAX {
            self.listed.push(Fault { line, message });
        } else {
            self.unlisted += 1;
        }
    }

    fn none(mut self) -> Result<(), Vec<Fault>> {
        if self.unlisted > 0 {
            let message = format!("and {} more", self.unlisted);
            self.listed.push(Fault { line: 0, message });
        }
        if self.listed.is_empty() { Ok(()) } else { Err(self.listed) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::tests::{brute_force, circle};
    use super::*;

    fn town(id: usize, name: &str, latitude: f64, longitude: f64, population: u64) -> String {
        format!(
            "{id}\t{name}\t\t\t{latitude}\t{longitude}\tP\tPPL\tUS\t\tCA\t\t\t\t{population}\t\t\t\t\n"
        )
    }

    fn read(text: &str) -> Result<File, Vec<Fault>> {
        Builder::read(text.as_bytes(), geonames::entry, 1_000)
            .map(|rows| rows.build(Rank::Prominence))
    }

    fn found(file: &mut File, query: &Query) -> Found<'static> {
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
        assert_eq!((file.len(), file.passed_over()), (1, 1));
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
        let mut file =
            Builder::read(shop.as_bytes(), geojson::entry, 9).unwrap().build(Rank::Distance);
        let found = found(&mut file, &circle(2.0, 1.0, 1.0));
        assert_eq!(found.places[0].place_id, "file:2");
        assert_eq!((found.attributions.len(), &found.places[0].vicinity), (0, &None));
    }

    #[test]
    fn faults_name_their_lines_and_the_rest_is_counted() {
        let good = town(1, "A", 1.0, 1.0, 1);
        let faults =
            read(&format!("{good}\nx\ty\n{good}{}", town(2, "B", 99.0, 1.0, 1))).unwrap_err();
        let shown: Vec<String> = faults.iter().map(Fault::to_string).collect();
        assert_eq!(shown[0], "line 3: has 2 columns between tabs, a GeoNames table has 19");
        assert_eq!(shown[1], "line 5: the latitude 99 is not between -90 and 90");
        let many = read(&(good + &"x\n".repeat(50))).unwrap_err();
        assert_eq!(many.len(), FAULTS_LISTED_MAX + 1);
        assert_eq!(many.last().unwrap().to_string(), "and 30 more");
    }

    #[test]
    fn a_file_of_no_places_or_too_many_is_refused() {
        assert_eq!(read("\n").unwrap_err()[0].to_string(), "the file has no places");
        let text = town(1, "A", 1.0, 1.0, 1).repeat(1_000);
        assert_eq!(read(&text).unwrap().len(), 1_000);
        let faults = read(&(text + "more")).unwrap_err();
        assert_eq!(faults[0].to_string(), "line 1001: a file may have 1000 places");
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
        for name in ["US.txt", "US.tsv", "la.geojsonl", "la.geojsonseq", "la.geojson"] {
            assert!(Format::of(Path::new(name)).is_ok(), "{name}");
        }
        for name in ["US", "US.zip", "places.csv", ""] {
            assert!(
                File::read(Path::new(name), Rank::Distance).unwrap_err()[0]
                    .message
                    .contains(".tsv")
            );
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault_of_the_file() {
        let faults = File::read(Path::new("/nonexistent/US.txt"), Rank::Distance).unwrap_err();
        assert_eq!((faults.len(), faults[0].line), (1, 0));
        let folder = std::env::temp_dir().join(format!("places-{}.txt", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let faults = File::read(&folder, Rank::Distance).unwrap_err();
        fs::remove_dir(&folder).unwrap();
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
