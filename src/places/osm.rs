//! Translates OpenStreetMap's tags to Google's types.
//!
//! In: a tag, and for a place of worship its religion. Out: Google's types, the most specific first. A tag that is
//! not listed here becomes a plain point of interest.

use super::entry::{Types, establishment, words};

/// Tags with a value that is also Google's word.
const SAME: &str = "\
    amenity=atm amenity=bank amenity=cafe amenity=courthouse amenity=dentist amenity=fire_station \
    amenity=hospital amenity=library amenity=parking amenity=pharmacy amenity=police amenity=post_office \
    amenity=restaurant amenity=school amenity=university leisure=bowling_alley leisure=park \
    leisure=stadium shop=bakery shop=car_repair tourism=aquarium tourism=museum tourism=zoo";

/// The `types` of a place with the tag `key=value`. `religion` is OpenStreetMap's word, or empty.
pub(super) fn types(key: &str, value: &str, religion: &str) -> Types {
    let tag = format!("{key}={value}");
    if let Some(tag) = SAME.split(' ').find(|same| *same == tag) {
        return establishment([&tag[key.len() + 1..]]);
    }
    let telling: &[&str] = match (key, value) {
        // A place that is only an area on the map is not an establishment.
        ("place", "city" | "town" | "village") => return words(&["locality", "political"]),
        ("place", "suburb" | "neighbourhood" | "quarter") => {
            return words(&["neighborhood", "political"]);
        }
        ("aeroway", "aerodrome") => &["airport"],
        ("railway", "station") => &["train_station"],
        ("railway", "subway_entrance") => &["subway_station"],
        ("amenity", "bar" | "pub") => &["bar"],
        ("amenity", "cinema") => &["movie_theater"],
        ("amenity", "doctors") => &["doctor"],
        ("amenity", "fast_food") => &["meal_takeaway", "restaurant"],
        ("amenity", "fuel") => &["gas_station"],
        ("amenity", "nightclub") => &["night_club"],
        ("amenity", "place_of_worship") => match religion {
            "christian" => &["church", "place_of_worship"],
            "hindu" => &["hindu_temple", "place_of_worship"],
            "jewish" => &["synagogue", "place_of_worship"],
            "muslim" => &["mosque", "place_of_worship"],
            _ => &["place_of_worship"],
        },
        ("amenity", "townhall") => &["city_hall"],
        ("amenity", "veterinary") => &["veterinary_care"],
        ("leisure", "fitness_centre") => &["gym"],
        ("shop", "books") => &["book_store"],
        ("shop", "car") => &["car_dealer"],
        ("shop", "clothes") => &["clothing_store"],
        ("shop", "convenience") => &["convenience_store"],
        ("shop", "florist") => &["florist"],
        ("shop", "hairdresser") => &["hair_care"],
        ("shop", "mall") => &["shopping_mall"],
        ("shop", "shoes") => &["shoe_store"],
        ("shop", "supermarket") => &["supermarket", "grocery_or_supermarket"],
        ("shop", _) => &["store"],
        ("tourism", "attraction" | "viewpoint") => &["tourist_attraction"],
        ("tourism", "camp_site") => &["campground"],
        ("tourism", "gallery") => &["art_gallery"],
        ("tourism", "guest_house" | "hostel" | "hotel" | "motel") => &["lodging"],
        ("tourism", "theme_park") => &["amusement_park"],
        _ => &[],
    };
    establishment(telling.iter().copied())
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_becomes_googles_words() {
        let establishment = ["point_of_interest", "establishment"];
        for (key, value, religion, telling) in [
            ("amenity", "cafe", "", &["cafe"][..]),
            ("amenity", "fast_food", "", &["meal_takeaway", "restaurant"]),
            ("amenity", "place_of_worship", "muslim", &["mosque", "place_of_worship"]),
            ("amenity", "place_of_worship", "", &["place_of_worship"]),
            ("amenity", "bench", "", &[]),
            ("tourism", "hostel", "", &["lodging"]),
            ("leisure", "fitness_centre", "", &["gym"]),
            ("shop", "supermarket", "", &["supermarket", "grocery_or_supermarket"]),
            ("shop", "cheese", "", &["store"]),
            ("railway", "station", "", &["train_station"]),
            ("aeroway", "aerodrome", "", &["airport"]),
            ("historic", "castle", "", &[]),
            ("office", "lawyer", "", &[]),
            ("place", "square", "", &[]),
        ] {
            let types = types(key, value, religion);
            let expected: Vec<&str> = telling.iter().copied().chain(establishment).collect();
            assert_eq!(types, expected, "{key}={value}");
        }
        assert_eq!(types("place", "village", ""), ["locality", "political"]);
        assert_eq!(types("place", "quarter", ""), ["neighborhood", "political"]);
    }
}
