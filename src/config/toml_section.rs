//! One table of a topology file, asked key by key.
//!
//! In: a table as the TOML parser leaves it. Out: values with their places, and a fault for each
//! that is not what it should be: unknown keys, wrong types, numbers out of range. Knows the names
//! of all keys, and what none of them means.
//!
//! Invariant: what is not returned has been told, or is not in the file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, Span, all_quoted, first, quoted};
use super::limits::{Limit, Limits, grouped};
use crate::wire::command::{NAME_BYTES_MAX, is_name};

/// The keys of each table.
const TABLES: &[(&str, &[&str])] = &[
    (
        TOP,
        &[
            "herd",
            "ack",
            "insecure_peers",
            "server",
            "peer_tls",
            "places",
            "log",
            "journal",
            "status",
            "limits",
        ],
    ),
    ("[[server]]", &["name", "client", "peer", "neighbours", "plain"]),
    ("[places]", super::places::KEYS),
    ("[log]", &["folder", "rotate_bytes", "rotate_keep"]),
    ("[peer_tls]", &["folder"]),
    ("[status]", &["folder"]),
    ("[journal]", super::journal::KEYS),
    ("[limits]", Limits::KEYS),
];

/// What stands before the first table.
pub(super) const TOP: &str = "the top of the file";

/// A table with a known name.
#[derive(Debug)]
pub(super) struct Section<'t> {
    name: &'static str,
    table: &'t DeTable<'t>,
    /// Where its name stands in brackets; the top has none.
    pub(super) head: Option<Span>,
}

impl<'t> Section<'t> {
    /// The table `name`, one of [`TABLES`]; its unknown keys are faults. `head`: the place of its
    /// name.
    pub(super) fn new(
        name: &str,
        table: &'t DeTable<'t>,
        head: Option<Span>,
        findings: &mut Diagnostics<'_>,
    ) -> Section<'t> {
        let &(name, known) =
            TABLES.iter().find(|(table, _)| *table == name).unwrap_or(&("this table", &[]));
        for key in table.keys() {
            let (place, key) = (key.span(), key.get_ref().as_ref());
            if known.contains(&key) {
                continue;
            }
            let (what, remedy) =
                (format!("{} is no key of {name}", quoted(key)), instead_of(key, known));
            match may_be_secret(key) {
                true => findings.fault_unseen(place, &what, &remedy),
                false => findings.fault(place, what, remedy),
            }
        }
        Section { name, table, head }
    }

    /// The table `[key]` within this one.
    pub(super) fn section(&self, key: &str, findings: &mut Diagnostics<'_>) -> Option<Section<'t>> {
        let found = self.find(key)?;
        let name = format!("[{key}]");
        let DeValue::Table(table) = found.value else {
            found.should_be("a table", format!("write {name} on a line of its own"), findings);
            return None;
        };
        Some(Section::new(&name, table, Some(found.place), findings))
    }

    /// The tables `[[key]]` within this one, in the file's order.
    pub(super) fn sections(&self, key: &str, findings: &mut Diagnostics<'_>) -> Vec<Section<'t>> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let name = format!("[[{key}]]");
        let remedy = format!("begin each one with a line {name}, in double brackets");
        let mut sections = Vec::new();
        for item in found.items("a list of tables", &remedy, findings) {
            match item.value {
                DeValue::Table(table) => {
                    sections.push(Section::new(&name, table, Some(item.place), findings));
                }
                _ => item.should_be("a list of tables", remedy.clone(), findings),
            }
        }
        sections
    }

    /// Text in quotes. `example`: what it may look like.
    pub(super) fn text(
        &self,
        key: &str,
        example: &str,
        findings: &mut Diagnostics<'_>,
    ) -> Option<Spanned<&'t str>> {
        let found = self.find(key)?;
        let DeValue::String(text) = found.value else {
            let remedy = format!("put it in quotes, as in {key} = \"{example}\"");
            found.should_be("text", remedy, findings);
            return None;
        };
        Some(Spanned::new(found.place, text.as_ref()))
    }

    /// Text that must be there.
    pub(super) fn required_text(
        &self,
        key: &str,
        example: &str,
        findings: &mut Diagnostics<'_>,
    ) -> Option<Spanned<&'t str>> {
        // In a text that is not TOML the key may stand where it was not understood.
        if !self.has(key) && !findings.is_broken() {
            let what = format!("{} has no key {key}", self.name);
            findings.fault(self.head.clone(), what, format!("add {key} = \"{example}\""));
        }
        self.text(key, example, findings)
    }

    /// The name of a server or a herd, which must be there.
    pub(super) fn name(
        &self,
        key: &str,
        example: &str,
        findings: &mut Diagnostics<'_>,
    ) -> Option<Spanned<&'t str>> {
        let name = self.required_text(key, example, findings)?;
        let text = *name.get_ref();
        if is_name(text.as_bytes()) {
            return Some(name);
        }
        let remedy =
            format!("a name is 1 to {NAME_BYTES_MAX} letters (A-Z, a-z), digits, points, _ and -");
        findings.fault(name.span(), format!("{} is no name", quoted(text)), remedy);
        None
    }

    /// Text that is one of `choices`; the first if the file says nothing.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        findings: &mut Diagnostics<'_>,
    ) -> T {
        let (example, default) = choices[0];
        let Some(text) = self.text(key, example, findings) else { return default };
        if let Some(&(_, choice)) = choices.iter().find(|(name, _)| name == text.get_ref()) {
            return choice;
        }
        let names = all_quoted(choices.iter().map(|(name, _)| *name));
        let what = format!("{key} cannot be {}", quoted(text.get_ref()));
        findings.fault(text.span(), what, format!("choose from {names}"));
        default
    }

    /// A list of texts; empty if the file says nothing. `example`: what may stand in the brackets.
    pub(super) fn texts(
        &self,
        key: &str,
        example: &str,
        findings: &mut Diagnostics<'_>,
    ) -> Vec<Spanned<&'t str>> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let remedy = format!("write texts in brackets, as in {key} = [{example}]");
        let mut texts = Vec::new();
        for item in found.items("a list of texts", &remedy, findings) {
            match item.value {
                DeValue::String(text) => texts.push(Spanned::new(item.place, text.as_ref())),
                _ => item.should_be("a list of texts", remedy.clone(), findings),
            }
        }
        texts
    }

    /// True or false; false if the file says nothing.
    pub(super) fn flag(&self, key: &str, findings: &mut Diagnostics<'_>) -> bool {
        let Some(found) = self.find(key) else { return false };
        let DeValue::Boolean(flag) = found.value else {
            found.should_be("true or false", "write it without quotes".into(), findings);
            return false;
        };
        *flag
    }

    /// A whole number in the range of `limit`, under its key.
    pub(super) fn integer(&self, limit: &Limit, findings: &mut Diagnostics<'_>) -> Option<u64> {
        let found = self.find(limit.key)?;
        let (range, default) = (limit.range_in_words(), grouped(limit.default));
        let remedy = format!("choose from {range} (default {default}). {}", limit.meaning);
        let DeValue::Integer(number) = found.value else {
            found.should_be("a whole number", remedy, findings);
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if limit.range.contains(&number) => Some(number),
            _ => {
                let what = format!("{} cannot be {}", limit.key, first(&number.to_string(), 32));
                findings.fault(found.place, what, remedy);
                None
            }
        }
    }

    /// Whether the file says anything about `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the value of `key` stands.
    pub(super) fn place_of(&self, key: &str) -> Option<Span> {
        self.find(key).map(|found| found.place)
    }

    fn find(&self, key: &str) -> Option<FoundValue<'t>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(FoundValue::new(key.get_ref(), value, key.span()))
    }
}

/// A value, before it is known whether it is what it should be.
struct FoundValue<'t> {
    key: &'t str,
    place: Span,
    value: &'t DeValue<'t>,
}

impl<'t> FoundValue<'t> {
    /// Tables of dotted keys, and values that the parser had to make up, are nowhere in the text:
    /// then `nearby` is their place.
    fn new(key: &'t str, value: &'t Spanned<DeValue<'t>>, nearby: Span) -> FoundValue<'t> {
        let place = if value.span().is_empty() { nearby } else { value.span() };
        FoundValue { key, place, value: value.get_ref() }
    }

    /// What stands in a list; nothing if it is none.
    fn items(
        &self,
        wanted: &str,
        remedy: &str,
        findings: &mut Diagnostics<'_>,
    ) -> Vec<FoundValue<'t>> {
        let DeValue::Array(array) = self.value else {
            self.should_be(wanted, remedy.into(), findings);
            return Vec::new();
        };
        array.iter().map(|item| FoundValue::new(self.key, item, self.place.clone())).collect()
    }

    fn should_be(&self, wanted: &str, remedy: String, findings: &mut Diagnostics<'_>) {
        let found = match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let what = format!("{} should be {wanted}, this is {found}", self.key);
        findings.fault(self.place.clone(), what, remedy);
    }
}

/// Whether what follows a key of this name should not be shown.
fn may_be_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["key", "secret", "password", "token"].iter().any(|word| key.contains(word))
}

/// The remedy for an unknown key, where `known` ones may stand.
fn instead_of(key: &str, known: &[&str]) -> String {
    if let Some((table, _)) = TABLES.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("it belongs in {table}");
    }
    let unit_left_out = || {
        known
            .iter()
            .copied()
            .find(|name| name.strip_prefix(key).is_some_and(|unit| unit.starts_with('_')))
    };
    match most_like(key, known.iter().copied()).or_else(unit_left_out) {
        Some(name) => format!("did you mean {name}?"),
        None if known.len() > 8 => "the topology.toml of the herd of five shows all keys".into(),
        None => format!("the keys here are {}", known.join(", ")),
    }
}

/// The one of `names` that `text` may have been meant to be.
pub(super) fn most_like<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let distance_max = (text.chars().take(64).count() + 1) / 3;
    names
        .map(|name| (distance(text, name), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Letters to put in, take out or change to make `name` of `text`; upper and lower case are the
/// same letter.
///
/// One row of the Levenshtein table at a time, and no more than 64 letters of `text`.
fn distance(text: &str, name: &str) -> usize {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for letter in text.to_lowercase().chars().take(64) {
        let mut diagonal = row[0];
        row[0] += 1;
        for (column, other) in name.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters_put_in_taken_out_and_changed() {
        for (text, name, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("Abc", "aBC", 0),
            ("kitten", "sitting", 3),
            ("perr", "peer", 1),
        ] {
            assert_eq!(distance(text, name), expected, "{text} {name}");
        }
    }

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
    }
}
