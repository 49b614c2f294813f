//! The parser of one line of a GeoNames table: `US.txt`, `cities500.txt`.
//!
//! In: a line. Out: its [`Entry`], or that it is not a place nearby, or what is wrong with it. A line has nineteen
//! columns, separated by tabs:
//!
//! ```text
//! 0 id  1 name  2 ASCII name  3 other names  4 latitude  5 longitude  6 feature class  7 feature code
//! 8 country  9 other countries  10-13 divisions  14 population  15-16 heights  17 zone  18 date
//! ```
//!
//! Source: the readme of download.geonames.org/export/dump, and GeoNames' list of feature codes.

use super::entry::{
    E5Point, Entry, NO_NAME, NO_POINT, NoEntry, REGION, Types, establishment, one_line, region,
    words,
};

/// The licence of GeoNames demands its name, a link, the licence, and a note that the data was changed.
pub(super) const ATTRIBUTION: &str = "Places: <a href=\"https://www.geonames.org/\">GeoNames</a>, \
     <a href=\"https://creativecommons.org/licenses/by/4.0/\">CC BY 4.0</a>, abridged";

const COLUMNS: usize = 19;
const POPULATION: usize = 14;

/// Parses a line, without its line end.
///
/// Countries, states and counties (feature class A) are skipped, because they contain the places nearby.
pub(super) fn entry(line: &[u8]) -> Result<Entry, NoEntry> {
    let line = str::from_utf8(line).map_err(|error| format!("is not UTF-8: {error}"))?;
    let columns: Vec<&str> = line.split('\t').collect();
    let columns: [&str; COLUMNS] = columns.try_into().map_err(|columns: Vec<_>| {
        format!("has {} tab-separated columns, but a GeoNames table has {COLUMNS}", columns.len())
    })?;
    let [id, name, _, _, latitude, longitude, class, code, country, _, division, ..] = columns;
    let population = columns[POPULATION];
    let id: u64 = number("id", id)?;
    if latitude.is_empty() || longitude.is_empty() {
        return Err(NoEntry::PassedOver(NO_POINT));
    }
    let position = E5Point::new(number("latitude", latitude)?, number("longitude", longitude)?)?;
    let population = if population.is_empty() { 0 } else { number("population", population)? };
    let name = one_line(name);
    if class == "A" || name.is_empty() {
        let why = if class == "A" { REGION } else { NO_NAME };
        return Err(NoEntry::PassedOver(why));
    }
    let town = if class == "P" { name.clone() } else { String::new() };
    Ok(Entry {
        position,
        population,
        types: types(class, code),
        place_id: format!("geonames:{id}"),
        vicinity: town.clone(),
        locality: town,
        region: region(country, division),
        name,
        attribution: Some(ATTRIBUTION),
    })
}

fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("the {what} `{}` is not a number", one_line(text)))
}

/// Google's types for a GeoNames feature class and code.
fn types(class: &str, code: &str) -> Types {
    establishment(Some(match (class, code) {
        ("P", "PPLX" | "PPLL") => return words(&["neighborhood", "political"]),
        ("P", _) => return words(&["locality", "political"]),
        ("H" | "T" | "U" | "V", _) => return words(&["natural_feature", "establishment"]),
        ("R", "RSTN") | ("S", "RSTN" | "RSTP") => "train_station",
        ("S", "AIRP" | "AIRF" | "AIRB") => "airport",
        ("S", "AMUS") => "amusement_park",
        ("S", "ATHF" | "STDM") => "stadium",
        ("S", "BANK") => "bank",
        ("S", "BUSTN") => "bus_station",
        ("S", "CH") => "church",
        ("S", "CMTY") => "cemetery",
        ("S", "CTHSE") => "courthouse",
        ("S", "HSP" | "HSPC") => "hospital",
        ("S", "HTL" | "GHSE" | "RSRT") => "lodging",
        ("S", "LIBR") => "library",
        ("S", "MALL") => "shopping_mall",
        ("S", "MSQE") => "mosque",
        ("S", "MUS") => "museum",
        ("S", "PO") => "post_office",
        ("S", "PP") => "police",
        ("S", "REST") => "restaurant",
        ("S", "SCH" | "SCHC") => "school",
        ("S", "SYG") => "synagogue",
        ("S", "TMPL" | "SHRN") => "place_of_worship",
        ("S", "UNIV") => "university",
        ("S", "ZOO") => "zoo",
        ("L", "PRK") => "park",
        _ => return establishment(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SANTA_MONICA: &str = "5393212\tSanta Monica\tSanta Monica\tSanta Monika,SMO\t34.01949\t\
        -118.49138\tP\tPPL\tUS\t\tCA\t037\t\t\t93220\t35\t32\tAmerica/Los_Angeles\t2020-01-01";

    #[test]
    fn a_town_is_its_own_vicinity() {
        let entry = entry(SANTA_MONICA.as_bytes()).unwrap();
        assert_eq!(entry.position, E5Point { latitude: 3_401_949, longitude: -11_849_138 });
        assert_eq!((&entry.place_id[..], entry.population), ("geonames:5393212", 93_220));
        assert_eq!((&entry.vicinity[..], &entry.region[..]), ("Santa Monica", "CA, USA"));
        assert_eq!(entry.types, ["locality", "political"]);
    }

    #[test]
    fn a_school_has_no_town_but_a_type() {
        let line = SANTA_MONICA.replace("\tP\tPPL\t", "\tS\tSCH\t").replace("\t93220\t", "\t\t");
        let entry = entry(line.as_bytes()).unwrap();
        assert_eq!(entry.types, ["school", "point_of_interest", "establishment"]);
        assert_eq!((&entry.vicinity[..], entry.population), ("", 0));
    }

    #[test]
    fn a_county_is_not_a_place_nearby() {
        let line = SANTA_MONICA.replace("\tP\tPPL\t", "\tA\tADM2\t");
        assert_eq!(entry(line.as_bytes()), Err(NoEntry::PassedOver(REGION)));
        let line = SANTA_MONICA.replace("\tSanta Monica\tSanta", "\t \tSanta");
        assert_eq!(entry(line.as_bytes()), Err(NoEntry::PassedOver(NO_NAME)));
        for column in ["34.01949", "-118.49138"] {
            let line = SANTA_MONICA.replace(column, "");
            assert_eq!(entry(line.as_bytes()), Err(NoEntry::PassedOver(NO_POINT)));
        }
    }

    #[test]
    fn a_fault_says_which_column_is_wrong() {
        let fault_of = |line: &[u8]| match entry(line) {
            Err(NoEntry::Fault(message)) => message,
            other => panic!("{other:?}"),
        };
        let fault = |from: &str, to: &str| fault_of(SANTA_MONICA.replace(from, to).as_bytes());
        assert_eq!(fault("34.01949", "91"), "the latitude 91 is not between -90 and 90");
        assert_eq!(fault("34.01949", "north"), "the latitude `north` is not a number");
        assert_eq!(fault("34.01949", "nan"), "the latitude NaN is not between -90 and 90");
        assert_eq!(
            fault("-118.49138", "-180.1"),
            "the longitude -180.1 is not between -180 and 180"
        );
        assert_eq!(fault("5393212", "x"), "the id `x` is not a number");
        assert_eq!(fault("93220", "-1"), "the population `-1` is not a number");
        assert_eq!(fault("\t35", ""), "has 18 tab-separated columns, but a GeoNames table has 19");
        assert_eq!(
            fault("\t35", "\t\t35"),
            "has 20 tab-separated columns, but a GeoNames table has 19"
        );
        assert_eq!(
            fault(SANTA_MONICA, ""),
            "has 1 tab-separated columns, but a GeoNames table has 19"
        );
        assert!(fault_of(b"\xff\t").starts_with("is not UTF-8"));
    }
}
