//! One table of a topology file: first checked as a whole, then read key by key.
//!
//! In: a table from the TOML parser. Out: values with their positions, and an error for each key that is not in
//! [`KEYS`] and for each value that does not fit its key's row. It does not know what the keys mean.
//!
//! Invariant: a value that is in the file is either returned to its reader, or has an error.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, Span, all_quoted, first, quoted};
use super::dial_addr::{DialAddr, parse_address};
use super::keys::{DefaultValue, KEYS, Key, MOVED, TOP, ValueType, keys_of, range_in_words};
use crate::files;
use crate::wire::command::{NAME_BYTES_MAX, is_name};

/// A table of the file, or a table that the file leaves out.
#[derive(Debug)]
pub(super) struct Section<'t> {
    name: &'static str,
    table: Option<&'t DeTable<'t>>,
    /// The values that fit their key's row.
    good: BTreeMap<&'t str, FoundValue<'t>>,
    /// The position of its name in brackets; `None` for the top of the file.
    pub(super) head: Option<Span>,
}

impl<'t> Section<'t> {
    /// The keys at the top of the file, before the first table.
    pub(super) fn top(document: &'t DeTable<'t>, diagnostics: &mut Diagnostics<'_>) -> Section<'t> {
        Section::new(TOP, Some(document), None, diagnostics)
    }

    fn new(
        name: &'static str,
        table: Option<&'t DeTable<'t>>,
        head: Option<Span>,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Section<'t> {
        let mut good = BTreeMap::new();
        for (key, value) in table.into_iter().flatten() {
            let (place, text) = (key.span(), key.get_ref().as_ref());
            if let Some(key) = keys_of(name).find(|key| key.name == text) {
                let found = FoundValue::new(value, place);
                if found.is_good(key, diagnostics) {
                    good.insert(text, found);
                }
                continue;
            }
            let (what, remedy) = (
                format!("unknown key {}: {name} has no such key", quoted(text)),
                instead_of(text, name),
            );
            match may_be_secret(text) {
                true => diagnostics.error_unseen(place, &what, &remedy),
                false => diagnostics.error(place, what, remedy),
            }
        }
        Section { name, table, good, head }
    }

    /// The table `name` (in brackets) within this one.
    pub(super) fn section(
        &self,
        name: &'static str,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Section<'t> {
        match self.good.get(bare(name)) {
            Some(FoundValue { place, value: DeValue::Table(table) }) => {
                Section::new(name, Some(table), Some(place.clone()), diagnostics)
            }
            _ => Section::new(name, None, None, diagnostics),
        }
    }

    /// The tables `name` (in double brackets) within this one, in the file's order.
    pub(super) fn sections(
        &self,
        name: &'static str,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Vec<Section<'t>> {
        let tables = self.items(bare(name)).filter_map(|item| match item.value {
            DeValue::Table(table) => {
                Some(Section::new(name, Some(table), Some(item.place), diagnostics))
            }
            _ => None,
        });
        tables.collect()
    }

    /// Whether the file has this table.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the file sets `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The position of the value of `key`.
    pub(super) fn place_of(&self, key: &str) -> Option<Span> {
        let (key, value) = self.table?.get_key_value(key)?;
        Some(FoundValue::new(value, key.span()).place)
    }

    /// The position of the key `folder` in the table `name`, or else of that table, if the file has it.
    pub(super) fn place_of_folder(&self, name: &str) -> Option<Span> {
        let FoundValue { place, value } = self.good.get(name)?;
        let folder = value.as_table().and_then(|table| table.get("folder"));
        Some(folder.map_or(place.clone(), |folder| FoundValue::new(folder, place.clone()).place))
    }

    /// Records an error if the file does not set `key`.
    pub(super) fn require(&self, key: &str, diagnostics: &mut Diagnostics<'_>) {
        // In a text that is not valid TOML, the key may be in a part that was not parsed.
        if !self.has(key) && !diagnostics.is_broken() {
            let what = format!("{} lacks the required key {key}", self.name);
            let row = self.key(key);
            let remedy = match row.kind {
                ValueType::Texts(_) => format!("add {key} = [{}]", row.example()),
                _ => format!("add {key} = \"{}\"", row.example()),
            };
            diagnostics.error(self.head.clone(), what, remedy);
        }
    }

    /// The text under `key`.
    pub(super) fn text(&self, key: &str) -> Option<Spanned<&'t str>> {
        let FoundValue { place, value } = self.good.get(key)?;
        value.as_str().map(|text| Spanned::new(place.clone(), text))
    }

    /// The text under `key`, or its default.
    pub(super) fn text_or_default(&self, key: &str) -> &'t str {
        self.text(key).map_or(self.key(key).example(), Spanned::into_inner)
    }

    /// The folder that the key `folder` names, relative to `here`. If the file does not set the key, it is the folder that
    /// the service manager gives in the environment variable `given`, or else the key's default.
    pub(super) fn folder(&self, given: &str, here: &Path) -> PathBuf {
        let given = if self.has("folder") { None } else { files::given_folder(given) };
        given.unwrap_or_else(|| here.join(self.text_or_default("folder")))
    }

    /// The texts in the list under `key`; empty if the file does not set it.
    pub(super) fn texts(&self, key: &str) -> Vec<Spanned<&'t str>> {
        let text = |item: FoundValue<'t>| Some(Spanned::new(item.place, item.value.as_str()?));
        self.items(key).filter_map(text).collect()
    }

    /// Whether the file sets `key` to an empty list.
    pub(super) fn lists_nothing(&self, key: &str) -> bool {
        self.good.contains_key(key) && self.items(key).next().is_none()
    }

    /// The address under `key`.
    pub(super) fn address(&self, key: &str) -> Option<Spanned<SocketAddr>> {
        let text = self.text(key)?;
        Some(Spanned::new(text.span(), parse_address(text.get_ref()).ok()?))
    }

    /// The address or host name under `key`.
    pub(super) fn dial_addr(&self, key: &str) -> Option<Spanned<DialAddr>> {
        let text = self.text(key)?;
        Some(Spanned::new(text.span(), DialAddr::parse(text.get_ref()).ok()?))
    }

    /// The value of `key` as it applies, default included; `None` if it has none. A table is `on` or `off`.
    pub(super) fn in_force(&self, key: &'static Key) -> Option<String> {
        Some(match (&key.kind, &key.default) {
            (ValueType::Number(..), _) => self.number::<u64>(key.name).to_string(),
            (ValueType::Flag, _) => self.flag(key.name).to_string(),
            (ValueType::Table | ValueType::Tables, _) => {
                (if self.has(key.name) { "on" } else { "off" }).to_owned()
            }
            (ValueType::Texts(_), _) if self.has(key.name) => {
                let texts = self.texts(key.name).into_iter().map(Spanned::into_inner);
                texts.collect::<Vec<_>>().join(", ")
            }
            (_, DefaultValue::Is(_)) => self.text_or_default(key.name).to_owned(),
            _ => (*self.text(key.name)?.get_ref()).to_owned(),
        })
    }

    /// The boolean under `key`, or its default.
    pub(super) fn flag(&self, key: &str) -> bool {
        let said = self.good.get(key).and_then(|found| found.value.as_bool());
        said.unwrap_or(self.key(key).example() == "true")
    }

    /// The number under `key`, or its default.
    pub(super) fn number<T: Amount>(&self, key: &str) -> T {
        let said = self.good.get(key).and_then(|found| number(found.value));
        T::of(said.unwrap_or_else(|| self.key(key).default_number()))
    }

    fn items(&self, key: &str) -> impl Iterator<Item = FoundValue<'t>> + use<'t> {
        let found = self.good.get(key);
        found.into_iter().flat_map(FoundValue::items).collect::<Vec<_>>().into_iter()
    }

    fn key(&self, name: &str) -> &'static Key {
        keys_of(self.name).find(|key| key.name == name).expect("a reader asks for a key of KEYS")
    }
}

/// A value and its position.
#[derive(Debug)]
struct FoundValue<'t> {
    place: Span,
    value: &'t DeValue<'t>,
}

impl<'t> FoundValue<'t> {
    /// `nearby` is the position of a value that has none in the text: a table of dotted keys, or a value that the
    /// parser made up after an error.
    fn new(value: &'t Spanned<DeValue<'t>>, nearby: Span) -> FoundValue<'t> {
        let place = if value.span().is_empty() { nearby } else { value.span() };
        FoundValue { place, value: value.get_ref() }
    }

    /// The items of a list; nothing if the value is not a list.
    fn items(&self) -> impl Iterator<Item = FoundValue<'t>> {
        let items = self.value.as_array().map(|array| array.iter());
        items.into_iter().flatten().map(|item| FoundValue::new(item, self.place.clone()))
    }

    /// Whether the value fits `key`. In a list, each item that does not fit gets an error of its own.
    fn is_good(&self, key: &Key, diagnostics: &mut Diagnostics<'_>) -> bool {
        let name = key.name;
        let (what, remedy) = match (&key.kind, self.value) {
            (ValueType::Text, DeValue::String(text)) => {
                let is_long = name == "folder" && text.split('/').any(|part| part.len() > 255);
                if !is_long && !text.contains('\0') {
                    return true;
                }
                let what =
                    if is_long { "a file name of more than 255 bytes" } else { "a NUL byte" };
                (format!("{name} contains {what}"), "choose another path".to_owned())
            }
            (ValueType::Flag, DeValue::Boolean(_)) | (ValueType::Table, DeValue::Table(_)) => {
                return true;
            }
            (ValueType::Texts(_) | ValueType::Tables, DeValue::Array(_)) => {
                let is_text = matches!(key.kind, ValueType::Texts(_));
                let bad = self.items().filter(|item| match item.value {
                    DeValue::String(_) => !is_text,
                    DeValue::Table(_) => is_text,
                    _ => true,
                });
                bad.for_each(|item| item.is_of_another_type(key, diagnostics));
                return true;
            }
            (ValueType::Name, DeValue::String(text)) => {
                if is_name(text.as_bytes()) {
                    return true;
                }
                let remedy = format!(
                    "use 1 to {NAME_BYTES_MAX} letters (A-Z, a-z), digits, points, _ and -"
                );
                (format!("{name} cannot be {}", quoted(text)), remedy)
            }
            (kind @ (ValueType::Address | ValueType::Host), DeValue::String(text)) => {
                let fault = match kind {
                    ValueType::Host => DialAddr::parse(text).err(),
                    _ => parse_address(text).err(),
                };
                let Some((what, remedy)) = fault else { return true };
                (format!("{name} {} {what}", quoted(text)), remedy.to_owned())
            }
            (ValueType::Choice(words), DeValue::String(text)) => {
                if words.contains(&text.as_ref()) {
                    return true;
                }
                let remedy = format!("choose from {}", all_quoted(words.iter().copied()));
                (format!("{name} cannot be {}", quoted(text)), remedy)
            }
            (ValueType::Number(_, range), DeValue::Integer(written)) => {
                if number(self.value).is_some_and(|number| range.contains(&number)) {
                    return true;
                }
                (format!("{name} cannot be {}", first(&written.to_string(), 32)), remedy_for(key))
            }
            _ => {
                self.is_of_another_type(key, diagnostics);
                return false;
            }
        };
        diagnostics.error(self.place.clone(), what, remedy);
        false
    }

    fn is_of_another_type(&self, key: &Key, diagnostics: &mut Diagnostics<'_>) {
        let wanted = match key.kind {
            ValueType::Texts(_) => "a list of texts",
            ValueType::Flag => "true or false",
            ValueType::Number(..) => "a whole number",
            ValueType::Table => "a table",
            ValueType::Tables => "a list of tables",
            _ => "text",
        };
        let found = match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let what = format!("{} must be {wanted}, but this is {found}", key.name);
        diagnostics.error(self.place.clone(), what, remedy_for(key));
    }
}

/// How to write a value of the right type.
fn remedy_for(key: &Key) -> String {
    let (name, example) = (key.name, key.example());
    match &key.kind {
        ValueType::Texts(_) => {
            format!("write a list of texts in brackets, as in {name} = [{example}]")
        }
        ValueType::Flag => format!("write {name} = true or {name} = false, without quotes"),
        ValueType::Number(_, range) => {
            format!("use a value from {} (default {example}). {}", range_in_words(range), key.help)
        }
        ValueType::Table => format!("write [{name}] on a line of its own"),
        ValueType::Tables => {
            format!("begin each table with a line [[{name}]], in double brackets")
        }
        _ => format!("write it in quotes, as in {name} = \"{example}\""),
    }
}

/// An integer of the file as a number, if it is not negative and fits 64 bits.
fn number(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A type of setting that is made from a number of the file.
pub(super) trait Amount {
    fn of(number: u64) -> Self;
}

macro_rules! amounts {
    ($($type:ty)+) => {
        $(impl Amount for $type {
            fn of(number: u64) -> $type {
                number.try_into().unwrap_or(<$type>::MAX)
            }
        })+
    };
}

amounts!(u64 usize u32 u8);

/// The number in the file is in milliseconds.
impl Amount for Duration {
    fn of(number: u64) -> Duration {
        Duration::from_millis(number)
    }
}

/// The number 0 in the file means no limit.
impl<T: Amount> Amount for Option<T> {
    fn of(number: u64) -> Option<T> {
        (number != 0).then(|| T::of(number))
    }
}

/// Whether the value of a key with this name may be a secret that must not be printed.
fn may_be_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["key", "secret", "password", "token"].iter().any(|word| key.contains(word))
}

/// The remedy for `text`, which is not a key of `section`.
fn instead_of(text: &str, section: &str) -> String {
    if let Some((_, remedy)) = MOVED.iter().find(|(old, _)| *old == text) {
        return (*remedy).to_owned();
    }
    let others = KEYS.iter().filter(|key| key.name == text).map(|key| key.section);
    let others: Vec<&str> = others.collect();
    if !others.is_empty() {
        return format!("move it to {}", others.join(" or "));
    }
    let known = || keys_of(section).map(|key| key.name);
    let unit_left_out =
        || known().find(|name| name.strip_prefix(text).is_some_and(|unit| unit.starts_with('_')));
    match most_like(text, known()).or_else(unit_left_out) {
        Some(name) => format!("did you mean {name}?"),
        None if known().count() > 8 => {
            "see docs/configuration.md, or run `herd config`, for all keys".into()
        }
        None => format!("valid keys are {}", known().collect::<Vec<_>>().join(", ")),
    }
}

/// The one of `names` that is most similar to `text`, if one is similar enough; ignores case.
pub fn most_like<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text = first(&text.to_lowercase(), 64);
    let distance_max = (text.chars().count() + 1) / 3;
    names
        .map(|name| (strsim::levenshtein(&text, &name.to_lowercase()), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

pub(super) fn bare(name: &str) -> &str {
    name.trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nearly_right_is_suggested() {
        let names = ["name", "client", "peer", "neighbours", "plain"];
        for (text, expected) in [
            ("neighbors", Some("neighbours")),
            ("Name", Some("name")),
            ("clients", Some("client")),
            ("port", None),
            ("x", None),
            ("pere", None),
            ("neihgbours", Some("neighbours")),
        ] {
            assert_eq!(most_like(text, names.into_iter()), expected, "{text}");
        }
        let long = "a".repeat(1_000_000);
        assert_eq!(most_like(&long, names.into_iter()), None);
    }
}
