//! One place of the Places API (New), told as Nearby Search tells it.
//!
//! In: an object of a reply. Out: a [`Place`], and whom to thank for it. Field by field:
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
//! All else is passed over. A place without an id, a name or a location is none.
//!
//! Source: Google's guide to moving from one API to the other, and the references of both.

use std::borrow::Cow;

use super::json_reader::{NotJson, Reader};
use super::place::{Business, POINT_RADIUS_M, Photo, Place, Point, Scope, Viewport};
use super::plain::is_plain;
use super::plus_code::PlusCode;

/// The most items of a list of types or thanks; Google has ten or so.
const LIST_ITEMS_MAX: usize = 64;

/// A place as far as it has been read. Texts that are not there are empty.
#[derive(Debug, Default)]
pub(super) struct PlaceDraft<'t> {
    id: Cow<'t, str>,
    name: Cow<'t, str>,
    location: Option<Point>,
    viewport: Option<Viewport>,
    plus_code: Option<PlusCode<'t>>,
    types: Vec<Cow<'t, str>>,
    short_address: Cow<'t, str>,
    address: Cow<'t, str>,
    open_now: Option<bool>,
    regularly_open_now: Option<bool>,
    thanks: Vec<String>,
    business: Business<'t>,
}

impl<'t> PlaceDraft<'t> {
    pub(super) fn read(reader: &mut Reader<'t>) -> Result<PlaceDraft<'t>, NotJson> {
        let mut draft = PlaceDraft::default();
        reader.object(|reader, key| draft.read_member(reader, key))?;
        Ok(draft)
    }

    fn read_member(&mut self, reader: &mut Reader<'t>, key: &str) -> Result<(), NotJson> {
        let business = &mut self.business;
        match key {
            "attributions" => self.thanks = all_thanks(reader, "provider", "providerUri")?,
            "businessStatus" => business.status = business_status(&text(reader)?),
            "currentOpeningHours" => self.open_now = open_now(reader)?,
            "displayName" => self.name = display_name(reader)?,
            "formattedAddress" => self.address = text(reader)?,
            "iconBackgroundColor" => business.icon_background_color = some_text(reader)?,
            "iconMaskBaseUri" => business.icon_mask_base_uri = some_text(reader)?,
            "id" => self.id = text(reader)?,
            "location" => self.location = point(reader)?,
            "photos" => business.photo = first_photo(reader)?,
            "plusCode" => self.plus_code = plus_code(reader)?,
            "priceLevel" => business.price_level = price_level(&text(reader)?),
            "rating" => business.rating = reader.number()?,
            "regularOpeningHours" => self.regularly_open_now = open_now(reader)?,
            "shortFormattedAddress" => self.short_address = text(reader)?,
            "types" => self.types = texts(reader)?,
            "userRatingCount" => business.user_ratings_total = reader.whole()?,
            "viewport" => self.viewport = viewport(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// The place, and whom to thank for it; none if it is not one.
    pub(super) fn finish(self) -> Option<(Place<'t>, Vec<String>)> {
        let location = self.location?;
        if self.id.is_empty() || self.name.is_empty() {
            return None;
        }
        let addresses = [self.short_address, self.address];
        let mut business = self.business;
        business.icon = business.icon_mask_base_uri.as_deref().and_then(icon).map(Cow::Owned);
        business.open_now = self.open_now.or(self.regularly_open_now);
        let place = Place {
            location,
            viewport: self.viewport.unwrap_or_else(|| Viewport::around(location, POINT_RADIUS_M)),
            name: self.name,
            place_id: self.id,
            scope: Scope::Google,
            plus_code: self.plus_code,
            types: self.types,
            vicinity: addresses.into_iter().find(|address| !address.is_empty()),
            business,
        };
        Some((place, self.thanks))
    }
}

/// Empty if it is no text.
pub(super) fn text<'t>(reader: &mut Reader<'t>) -> Result<Cow<'t, str>, NotJson> {
    Ok(reader.string()?.unwrap_or_default())
}

fn some_text<'t>(reader: &mut Reader<'t>) -> Result<Option<Cow<'t, str>>, NotJson> {
    Ok(Some(text(reader)?).filter(|text| !text.is_empty()))
}

fn texts<'t>(reader: &mut Reader<'t>) -> Result<Vec<Cow<'t, str>>, NotJson> {
    let mut texts = Vec::new();
    reader.array(|reader| {
        texts.extend(some_text(reader)?.filter(|_| texts.len() < LIST_ITEMS_MAX));
        Ok(())
    })?;
    Ok(texts)
}

/// The member `text` of a name in some language.
fn display_name<'t>(reader: &mut Reader<'t>) -> Result<Cow<'t, str>, NotJson> {
    let mut name = Cow::default();
    reader.object(|reader, key| {
        match key {
            "text" => name = text(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(name)
}

fn open_now(reader: &mut Reader<'_>) -> Result<Option<bool>, NotJson> {
    let mut open_now = None;
    reader.object(|reader, key| {
        match key {
            "openNow" => open_now = reader.boolean()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(open_now)
}

/// None if it is no point on the globe. A number that is not there is 0; one that is null or a text is
/// not known, and NaN.
fn point(reader: &mut Reader<'_>) -> Result<Option<Point>, NotJson> {
    let mut point = Point { latitude: 0.0, longitude: 0.0 };
    let is_object = reader.object(|reader, key| {
        match key {
            "latitude" => point.latitude = reader.number()?.unwrap_or(f64::NAN),
            "longitude" => point.longitude = reader.number()?.unwrap_or(f64::NAN),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok((is_object && point.is_on_the_globe()).then_some(point))
}

fn viewport(reader: &mut Reader<'_>) -> Result<Option<Viewport>, NotJson> {
    let (mut low, mut high) = (None, None);
    reader.object(|reader, key| {
        match key {
            "low" => low = point(reader)?,
            "high" => high = point(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(low.zip(high).map(|(southwest, northeast)| Viewport { southwest, northeast }))
}

fn plus_code<'t>(reader: &mut Reader<'t>) -> Result<Option<PlusCode<'t>>, NotJson> {
    let (mut global, mut compound) = (None, None);
    reader.object(|reader, key| {
        match key {
            "globalCode" => global = some_text(reader)?,
            "compoundCode" => compound = some_text(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(global.map(|global| PlusCode { global, compound }))
}

/// Nearby Search has one photo at most, the new API up to ten.
fn first_photo<'t>(reader: &mut Reader<'t>) -> Result<Option<Photo<'t>>, NotJson> {
    let mut first = None;
    reader.array(|reader| match first {
        None => {
            first = Some(photo(reader)?).filter(|photo| !photo.reference.is_empty());
            Ok(())
        }
        Some(_) => reader.skip(),
    })?;
    Ok(first)
}

/// The reference is the whole resource name: it is good for the new API's `/v1/NAME/media`, and not
/// for the photo URL of the old one.
fn photo<'t>(reader: &mut Reader<'t>) -> Result<Photo<'t>, NotJson> {
    let mut photo = Photo::default();
    reader.object(|reader, key| {
        match key {
            "authorAttributions" => photo.attributions = all_thanks(reader, "displayName", "uri")?,
            "heightPx" => photo.height = reader.whole()?.unwrap_or_default(),
            "name" => photo.reference = text(reader)?,
            "widthPx" => photo.width = reader.whole()?.unwrap_or_default(),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(photo)
}

/// A list of those who want to be named: `{NAME: ..., URI: ...}`.
fn all_thanks(reader: &mut Reader<'_>, name: &str, uri: &str) -> Result<Vec<String>, NotJson> {
    let mut all = Vec::new();
    reader.array(|reader| {
        let (mut who, mut at) = (Cow::default(), Cow::default());
        reader.object(|reader, key| {
            match key {
                key if key == name => who = text(reader)?,
                key if key == uri => at = text(reader)?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        all.extend(thanks(&who, &at).filter(|_| all.len() < LIST_ITEMS_MAX));
        Ok(())
    })?;
    Ok(all)
}

/// A link to whoever is to be named, as HTML. Only a web address is one.
fn thanks(who: &str, at: &str) -> Option<String> {
    let scheme = if at.starts_with("//") { "https:" } else { "" };
    let is_web = ["//", "https://", "http://"].iter().any(|start| at.starts_with(start));
    let (who, at) = (in_html(who), in_html(at));
    match is_web {
        _ if who.is_empty() => None,
        true => Some(["<a href=\"", scheme, &at, "\">", &who, "</a>"].concat()),
        false => Some(who.into_owned()),
    }
}

fn in_html(text: &str) -> Cow<'_, str> {
    if is_plain(text.as_bytes(), *b"&<>\"'") {
        return text.into();
    }
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html.into()
}

fn business_status(status: &str) -> Option<&'static str> {
    ["OPERATIONAL", "CLOSED_TEMPORARILY", "CLOSED_PERMANENTLY"]
        .into_iter()
        .find(|known| *known == status)
}

fn price_level(level: &str) -> Option<u8> {
    match level {
        "PRICE_LEVEL_FREE" => Some(0),
        "PRICE_LEVEL_INEXPENSIVE" => Some(1),
        "PRICE_LEVEL_MODERATE" => Some(2),
        "PRICE_LEVEL_EXPENSIVE" => Some(3),
        "PRICE_LEVEL_VERY_EXPENSIVE" => Some(4),
        _ => None,
    }
}

/// The icon that goes with a mask; the new API has only masks.
///
/// `.../v2/bar_pinlet` has `.../v1/png_71/bar-71.png`. None if the mask is called otherwise.
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
        Reader::document(json.as_bytes(), PlaceDraft::read).unwrap().finish()
    }

    /// A place that has these members besides those that it must have.
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
    fn thanks_are_links_that_nobody_can_break_out_of() {
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
            assert_eq!(thanks(who, at).as_deref(), expected);
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
        let types = place(r#""types":[null,"bar",7,["a"],"\udfff"]"#).types;
        assert_eq!(types, ["bar", "\u{fffd}"]);
        let viewport = r#""viewport":{"low":{"latitude":null},"high":{"latitude":2}}"#;
        assert_eq!(place(viewport).viewport, bare.viewport);
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let types = place(&format!("\"types\":[{}\"z\"]", "\"a\",".repeat(1_000))).types;
        assert_eq!(types.len(), LIST_ITEMS_MAX);
    }
}
