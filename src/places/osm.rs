//! OpenStreetMap's words for what a place is, in Google's.
//!
//! In: a tag, and for a house of worship whose. Out: Google's types, most telling first; a tag
//! that is not here is just a point of interest.

use super::entry::Types;

/// The `types` of what is tagged `key=value`. `religion`: as OpenStreetMap spells it, or empty.
pub(super) fn types(key: &str, value: &str, religion: &str) -> Types {
    let telling: &[&str] = match (key, value) {
        // What is only a place on the map is no establishment.
        ("place", "city" | "town" | "village") => return of(&["locality", "political"]),
        ("place", "suburb" | "neighbourhood" | "quarter") => {
            return of(&["neighborhood", "political"]);
        }
        ("aeroway", "aerodrome") => &["airport"],
        ("railway", "station") => &["train_station"],
        ("railway", "subway_entrance") => &["subway_station"],
        ("amenity", _) => amenity(value, religion),
        ("leisure", _) => leisure(value),
        ("shop", _) => shop(value),
        ("tourism", _) => tourism(value),
        _ => &[],
    };
    let mut types = of(telling);
    types.extend(of(&["point_of_interest", "establishment"]));
    types
}

fn of(types: &[&'static str]) -> Types {
    types.iter().map(|&word| word.into()).collect()
}

fn amenity(value: &str, religion: &str) -> &'static [&'static str] {
    match value {
        "atm" => &["atm"],
        "bank" => &["bank"],
        "bar" | "pub" => &["bar"],
        "cafe" => &["cafe"],
        "cinema" => &["movie_theater"],
        "courthouse" => &["courthouse"],
        "dentist" => &["dentist"],
        "doctors" => &["doctor"],
        "fast_food" => &["meal_takeaway", "restaurant"],
        "fire_station" => &["fire_station"],
        "fuel" => &["gas_station"],
        "hospital" => &["hospital"],
        "library" => &["library"],
        "nightclub" => &["night_club"],
        "parking" => &["parking"],
        "pharmacy" => &["pharmacy"],
        "place_of_worship" => match religion {
            "christian" => &["church", "place_of_worship"],
            "hindu" => &["hindu_temple", "place_of_worship"],
            "jewish" => &["synagogue", "place_of_worship"],
            "muslim" => &["mosque", "place_of_worship"],
            _ => &["place_of_worship"],
        },
        "police" => &["police"],
        "post_office" => &["post_office"],
        "restaurant" => &["restaurant"],
        "school" => &["school"],
        "townhall" => &["city_hall"],
        "university" => &["university"],
        "veterinary" => &["veterinary_care"],
        _ => &[],
    }
}

fn leisure(value: &str) -> &'static [&'static str] {
    match value {
        "bowling_alley" => &["bowling_alley"],
        "fitness_centre" => &["gym"],
        "park" => &["park"],
        "stadium" => &["stadium"],
        _ => &[],
    }
}

fn shop(value: &str) -> &'static [&'static str] {
    match value {
        "bakery" => &["bakery"],
        "books" => &["book_store"],
        "car" => &["car_dealer"],
        "car_repair" => &["car_repair"],
        "clothes" => &["clothing_store"],
        "convenience" => &["convenience_store"],
        "florist" => &["florist"],
        "hairdresser" => &["hair_care"],
        "mall" => &["shopping_mall"],
        "shoes" => &["shoe_store"],
        "supermarket" => &["supermarket", "grocery_or_supermarket"],
        _ => &["store"],
    }
}

fn tourism(value: &str) -> &'static [&'static str] {
    match value {
        "aquarium" => &["aquarium"],
        "attraction" | "viewpoint" => &["tourist_attraction"],
        "camp_site" => &["campground"],
        "gallery" => &["art_gallery"],
        "guest_house" | "hostel" | "hotel" | "motel" => &["lodging"],
        "museum" => &["museum"],
        "theme_park" => &["amusement_park"],
        "zoo" => &["zoo"],
        _ => &[],
    }
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
