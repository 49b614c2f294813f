//! Converts one place of the Places API (New) to the format of Nearby Search.
//!
//! In: an object of a reply. Out: a [`Place`], and its attributions. Field by field:
//!
//! ```text
//!     attributions[] {provider, providerUri} html_attributions of the whole reply
//!     businessStatus                         business_status          the three known ones
//!     currentOpeningHours.openNow,           opening_hours.open_now
//!       else regularOpeningHours.openNow
//!     displayName.text                       name
//!     iconBackgroundColor                    icon_background_color
//!     iconMaskBaseUri                        icon_mask_base_uri, icon
//!     id                                     place_id, reference
//!     location {latitude, longitude}         geometry.location        an absent number is 0, another
//!                                                                     type than a number none
//!     photos[0]                              photos[0]
//!     plusCode                               plus_code
//!     priceLevel                             price_level              0 to 4
//!     rating, userRatingCount                rating, user_ratings_total
//!     shortFormattedAddress,                 vicinity
//!       else formattedAddress
//!     types                                  types
//!     viewport {low, high}                   geometry.viewport        else 150 m around
//! ```
//!
//! Other members are skipped. An object without an id, a name or a location is not a place.
//!
//! Source: Google's migration guide from one API to the other, and the references of both.

use std::borrow::Cow;

use super::place::{Business, POINT_RADIUS_M, Photo, Place, Point, Scope, Viewport};
use super::plus_code::PlusCode;
use super::raw_json::Json;

/// Maximum number of items that are read from a list of types or attributions; Google has about ten.
const LIST_ITEMS_MAX: usize = 64;

/// The place and its attributions; `None` if the object is not a place.
#[rustfmt::skip]
pub(super) fn place(place: Json<'_>) -> Option<(Place<'_>, Vec<String>)> {
    let [id, display_name, location, viewport, plus_code, types, short_address, address, attributions,
        status, mask, color, hours, regular_hours, photos, price_level, rating, ratings] =
        place.members(["id", "displayName", "location", "viewport", "plusCode", "types",
            "shortFormattedAddress", "formattedAddress", "attributions", "businessStatus",
            "iconMaskBaseUri", "iconBackgroundColor", "currentOpeningHours", "regularOpeningHours",
            "photos", "priceLevel", "rating", "userRatingCount"]);
    let location = point(location)?;
    let open_now = |hours: Json<'_>| hours.member("openNow").parse();
    let icon_mask_base_uri = mask.text();
    let place = Place {
        location,
        viewport: self::viewport(viewport)
            .unwrap_or_else(|| Viewport::around(location, POINT_RADIUS_M)),
        name: display_name.member("text").text()?,
        place_id: id.text()?,
        scope: Scope::Google,
        plus_code: self::plus_code(plus_code),
        types: list(types, Json::text).into(),
        vicinity: short_address.text().or_else(|| address.text()),
        business: Business {
            status: status.text().and_then(|status| business_status(&status)),
            icon: icon_mask_base_uri.as_deref().and_then(icon).map(Cow::Owned),
            icon_background_color: color.text(),
            icon_mask_base_uri,
            open_now: open_now(hours).or_else(|| open_now(regular_hours)),
            photo: first_photo(photos),
            price_level: price_level.text().and_then(|level| self::price_level(&level)),
            rating: rating.number(),
            user_ratings_total: ratings.parse(),
        },
    };
    Some((place, self::attributions(attributions, ["provider", "providerUri"])))
}

/// The items of an array, each converted by `read`.
fn list<'t, T>(array: Json<'t>, read: impl Fn(Json<'t>) -> Option<T>) -> Vec<T> {
    let mut list = Vec::new();
    array.each_item(|item| {
        if list.len() < LIST_ITEMS_MAX {
            list.extend(read(item));
        }
    });
    list
}

/// `None` if it is not a valid point. A missing number is 0, but a number that is null or a string is unknown.
fn point(point: Json<'_>) -> Option<Point> {
    let degrees = |of: Json<'_>| if of == Json::default() { Some(0.0) } else { of.number() };
    let [latitude, longitude] = point.members(["latitude", "longitude"]).map(degrees);
    let found = Point { latitude: latitude?, longitude: longitude? };
    (point.is_object() && found.is_on_the_globe()).then_some(found)
}

fn viewport(viewport: Json<'_>) -> Option<Viewport> {
    let [low, high] = viewport.members(["low", "high"]).map(point);
    Some(Viewport { southwest: low?, northeast: high? })
}

fn plus_code(code: Json<'_>) -> Option<PlusCode<'_>> {
    let [global, compound] = code.members(["globalCode", "compoundCode"]);
    Some(PlusCode { global: global.text()?, compound: compound.text() })
}

/// The first photo: Nearby Search has at most one, the new API up to ten.
///
/// The reference is the whole resource name, which is valid for the new API's `/v1/NAME/media`, but not for the
/// photo URL of the old one.
fn first_photo(photos: Json<'_>) -> Option<Photo<'_>> {
    let mut first = None;
    photos.each_item(|photo| {
        let [name, height, width, authors] =
            photo.members(["name", "heightPx", "widthPx", "authorAttributions"]);
        if let (None, Some(reference)) = (&first, name.text()) {
            first = Some(Photo {
                height: height.parse().unwrap_or_default(),
                width: width.parse().unwrap_or_default(),
                reference,
                attributions: attributions(authors, ["displayName", "uri"]),
            });
        }
    });
    first
}

/// The attributions of a list. `members` are the names of the members for the author's name and address.
fn attributions(list: Json<'_>, members: [&str; 2]) -> Vec<String> {
    self::list(list, |one| {
        let [name, uri] = one.members(members).map(|member| member.text().unwrap_or_default());
        attribution(&name, &uri)
    })
}

/// A link to the author as HTML; only the name if `uri` is not a web address.
fn attribution(name: &str, uri: &str) -> Option<String> {
    let scheme = if uri.starts_with("//") { "https:" } else { "" };
    let is_web = ["//", "https://", "http://"].iter().any(|start| uri.starts_with(start));
    let (name, uri) = (in_html(name), in_html(uri));
    match is_web {
        _ if name.is_empty() => None,
        true => Some(["<a href=\"", scheme, &uri, "\">", &name, "</a>"].concat()),
        false => Some(name),
    }
}

fn in_html(text: &str) -> String {
    [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")]
        .into_iter()
        .fold(text.to_string(), |html, (special, entity)| html.replace(special, entity))
}

fn business_status(status: &str) -> Option<&'static str> {
    ["OPERATIONAL", "CLOSED_TEMPORARILY", "CLOSED_PERMANENTLY"]
        .into_iter()
        .find(|known| *known == status)
}

fn price_level(level: &str) -> Option<u8> {
    let known = ["FREE", "INEXPENSIVE", "MODERATE", "EXPENSIVE", "VERY_EXPENSIVE"];
    let level = level.strip_prefix("PRICE_LEVEL_")?;
    (0..).zip(known).find(|(_, known)| *known == level).map(|(number, _)| number)
}

/// The icon for a mask, because the new API has only masks.
///
/// For `.../v2/bar_pinlet` it is `.../v1/png_71/bar-71.png`. `None` if the mask's name has another form.
fn icon(mask: &str) -> Option<String> {
    let (folder, name) = mask.rsplit_once("/v2/")?;
    let kind = match name.strip_suffix("_pinlet")? {
        "generic" => "generic_business",
        kind => kind,
    };
    Some([folder, "/v1/png_71/", kind, "-71.png"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(json: &str) -> Option<(Place<'_>, Vec<String>)> {
        super::place(Json::document(json.as_bytes()).unwrap())
    }

    /// A place with these members, in addition to those that are required.
    fn place(members: &str) -> Place<'static> {
        let needed = r#""id":"ChIJ","displayName":{"text":"Bar"},"location":{}"#;
        mapped(format!("{{{needed},{members}}}").leak()).unwrap().0
    }

    #[test]
    fn without_an_id_a_name_or_a_location_it_is_no_place() {
        let whole = r#"{"id":"a","displayName":{"text":"b"},"location":{"latitude":1}}"#;
        let location = mapped(whole).unwrap().0.location;
        assert_eq!(location, Point { latitude: 1.0, longitude: 0.0 });
        for (part, instead) in [
            ("\"a\"", "\"\""),
            ("\"id\"", "\"ID\""),
            ("{\"text\":\"b\"}", "\"b\""),
            ("{\"latitude\":1}", "null"),
            ("1}", "90.5}"),
        ] {
            assert_eq!(mapped(&whole.replace(part, instead)), None, "{part}");
        }
        for location in [
            "null",
            "\"34.0,-118.4\"",
            "[34,-118]",
            "7",
            r#"{"latitude":null,"longitude":null}"#,
            r#"{"latitude":"34.0","longitude":"-118.4"}"#,
            r#"{"latitude":34,"longitude":null}"#,
            r#"{"latitude":{},"longitude":-118}"#,
            r#"{"latitude":1e999}"#,
        ] {
            assert_eq!(mapped(&whole.replace("{\"latitude\":1}", location)), None, "{location}");
        }
        for other in ["{}", "[]", "null", "\"place\"", "7"] {
            assert_eq!(mapped(other), None);
        }
    }

    #[test]
    fn only_the_three_known_states_of_a_business_are_told() {
        for (state, expected) in [
            ("CLOSED_TEMPORARILY", Some("CLOSED_TEMPORARILY")),
            ("FUTURE_OPENING", None),
            ("operational", None),
        ] {
            let place = place(&format!(r#""businessStatus":"{state}""#));
            assert_eq!(place.business.status, expected);
        }
    }

    #[test]
    fn the_present_hours_come_before_the_regular_ones() {
        let open = |hours: &str| place(hours).business.open_now;
        assert_eq!(open(r#""regularOpeningHours":{"openNow":true}"#), Some(true));
        let both =
            r#""regularOpeningHours":{"openNow":true},"currentOpeningHours":{"openNow":false}"#;
        assert_eq!(open(both), Some(false));
        assert_eq!(open(r#""currentOpeningHours":{"periods":[]}"#), None);
    }

    #[test]
    fn a_price_is_a_number_and_an_unspecified_one_is_none() {
        for (level, expected) in [
            ("FREE", Some(0)),
            ("INEXPENSIVE", Some(1)),
            ("MODERATE", Some(2)),
            ("EXPENSIVE", Some(3)),
            ("VERY_EXPENSIVE", Some(4)),
            ("UNSPECIFIED", None),
        ] {
            let place = place(&format!(r#""priceLevel":"PRICE_LEVEL_{level}""#));
            assert_eq!(place.business.price_level, expected, "{level}");
        }
    }

    #[test]
    fn an_icon_goes_with_its_mask() {
        let folder = "https://maps.gstatic.com/mapfiles/place_api/icons";
        for (mask, expected) in [
            ("/v2/restaurant_pinlet", Some("/v1/png_71/restaurant-71.png")),
            ("/v2/generic_pinlet", Some("/v1/png_71/generic_business-71.png")),
            ("/v2/restaurant", None),
            ("/v3/restaurant_pinlet", None),
        ] {
            let expected = expected.map(|path| [folder, path].concat());
            assert_eq!(icon(&[folder, mask].concat()), expected);
        }
    }

    #[test]
    fn attributions_are_links_that_nobody_can_break_out_of() {
        for (who, at, expected) in [
            (
                "A & B",
                "//maps.google.com/x?a=1&b",
                Some("<a href=\"https://maps.google.com/x?a=1&amp;b\">A &amp; B</a>"),
            ),
            (
                "<script>",
                "http://a/\"'>",
                Some("<a href=\"http://a/&quot;&#39;&gt;\">&lt;script&gt;</a>"),
            ),
            ("A", "javascript:alert(1)", Some("A")),
            ("A", "", Some("A")),
            ("", "https://a", None),
        ] {
            assert_eq!(attribution(who, at).as_deref(), expected);
        }
    }

    #[test]
    fn of_photos_the_first_is_told_and_without_a_name_none() {
        let photos = |list: &str| place(&format!("\"photos\":{list}")).business.photo;
        let first =
            photos(r#"[{"name":"places/a/photos/b","widthPx":3,"heightPx":4},{"name":"c"}]"#);
        let expected = Photo {
            height: 4,
            width: 3,
            reference: "places/a/photos/b".into(),
            attributions: Vec::new(),
        };
        assert_eq!(first, Some(expected));
        for none in ["[]", "[{}]", "{}", "[{\"name\":7}]"] {
            assert_eq!(photos(none), None);
        }
        let second = photos(r#"[null,{"name":null},{"name":"c","widthPx":"3"}]"#).unwrap();
        assert_eq!((&second.reference[..], second.width), ("c", 0));
    }

    #[test]
    fn half_a_viewport_is_none_and_a_short_address_comes_first() {
        let near = place(r#""viewport":{"low":{"latitude":1}},"formattedAddress":"long""#);
        assert_eq!(near.viewport, Viewport::around(near.location, POINT_RADIUS_M));
        assert_eq!(near.vicinity.as_deref(), Some("long"));
        let near = place(
            r#""viewport":{"low":{},"high":{"longitude":2}},
            "shortFormattedAddress":"short","formattedAddress":"long""#,
        );
        assert_eq!(near.viewport.northeast, Point { latitude: 0.0, longitude: 2.0 });
        assert_eq!(near.vicinity.as_deref(), Some("short"));
    }

    #[test]
    fn a_member_of_another_type_counts_as_absent() {
        let bare = place(r#""rating":null"#);
        for member in [
            "attributions",
            "businessStatus",
            "currentOpeningHours",
            "formattedAddress",
            "iconBackgroundColor",
            "iconMaskBaseUri",
            "photos",
            "plusCode",
            "priceLevel",
            "rating",
            "regularOpeningHours",
            "shortFormattedAddress",
            "types",
            "userRatingCount",
            "viewport",
        ] {
            for value in ["null", "true", "-1.5", "\"\\ud800\"", "[null,[],{}]", "{\"a\":null}"] {
                let is_right = matches!(
                    (member, value),
                    ("rating", "-1.5")
                        | ("iconBackgroundColor" | "iconMaskBaseUri", "\"\\ud800\"")
                        | ("formattedAddress" | "shortFormattedAddress", "\"\\ud800\"")
                );
                let odd = place(&format!("\"{member}\":{value}"));
                assert!(odd == bare || is_right, "{member}: {value}: {odd:?}");
            }
        }
        assert_eq!(place(r#""\ud800":1,"x\udc00":{"\ud83d":[]}"#), bare, "whatever it is called");
        let types = place(r#""types":[null,"bar",7,["a"],"\udfff"]"#).types;
        assert_eq!(*types, ["bar", "\u{fffd}"]);
        let viewport = r#""viewport":{"low":{"latitude":null},"high":{"latitude":2}}"#;
        assert_eq!(place(viewport).viewport, bare.viewport);
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let types = place(&format!("\"types\":[{}\"z\"]", "\"a\",".repeat(1_000))).types;
        assert_eq!(types.len(), LIST_ITEMS_MAX);
    }
}
