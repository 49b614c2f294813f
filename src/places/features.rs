//! Splits a GeoJSON file into its Features, and records the line on which each begins.
//!
//! In: any reader, with any of these layouts, which it detects:
//!
//! ```text
//!     {"type":"FeatureCollection","features":[{..},{..}]}   on one line or many
//!     {..}                                                  one Feature per line, or over several
//!     RS {..}                                               each after a record separator (RFC 8142)
//! ```
//!
//! Out: the bytes of each Feature. It understands strings and brackets, which is enough to find the end of an
//! object; `geojson.rs` checks whether the bytes in between are JSON, also for items of a list that are not
//! objects. The members beside the list of a collection (`crs`, `name`) must be JSON, and are skipped. An object is
//! a collection if it has a list of features and no other `type`. It buffers at most one Feature and the members
//! beside the list, each of at most [`FEATURE_BYTES_MAX`]; brackets are counted without recursion.
//!
//! After an error it continues after the next record separator, or on the next line if the faulty Feature is on one
//! line. So every error of such files is reported. In other layouts, what follows the error cannot be trusted, and
//! the error is the last one.
//!
//! Source: RFC 7946, section 3.3; RFC 8142, section 2.3 (a text that is truncated by the next one).

use std::io::{self, BufRead};

use super::raw_json::{DEPTH_MAX, Json, NotJson};
use super::records::{RecordFault, RecordReader, skip_byte_order_mark};
use super::scan::plain_bytes;

/// Longest Feature in bytes. An area, which is skipped, may have a hundred thousand corners.
const FEATURE_BYTES_MAX: usize = 1 << 24;

const RECORD_SEPARATOR: u8 = 0x1e;

/// What precedes the next byte in the list of a collection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Before {
    Bracket,
    Item,
    Comma,
}

/// Splits a file into Features.
#[derive(Debug)]
pub(super) struct Features<R> {
    reader: R,
    /// The line of the next byte.
    line: usize,
    /// Set while the reader is within the list of a collection.
    list: Option<Before>,
    /// The line on which the collection begins, and its text up to the list.
    collection: (usize, Vec<u8>),
    /// Whether a record separator was found. Then an error ends at the next separator.
    is_sequence: bool,
    is_over: bool,
    record: Vec<u8>,
    /// The closing brackets of all open brackets.
    open: Vec<u8>,
}

impl<R: BufRead> Features<R> {
    pub(super) fn new(mut reader: R) -> io::Result<Features<R>> {
        skip_byte_order_mark(&mut reader)?;
        Ok(Features {
            reader,
            line: 1,
            list: None,
            collection: (0, Vec::new()),
            is_sequence: false,
            is_over: false,
            record: Vec::new(),
            open: Vec::new(),
        })
    }

    /// Returns the next byte without consuming it.
    fn peek(&mut self) -> Result<Option<u8>, RecordFault> {
        let next = self.reader.fill_buf().map(|ahead| ahead.first().copied());
        next.map_err(|error| self.fatal(error.to_string()))
    }

    /// Skips the next byte.
    fn skip(&mut self, byte: u8) {
        self.line += usize::from(byte == b'\n');
        self.reader.consume(1);
    }

    /// Moves the next byte to the record.
    fn take(&mut self, byte: u8) {
        self.record.push(byte);
        self.skip(byte);
    }

    /// Moves the following bytes to the record, up to the next byte that has a meaning here: the end of a string, or
    /// outside of a string a quote, a bracket or a line end.
    fn take_plain(&mut self, is_text: bool) {
        // The next `peek` reports the error.
        let ahead = self.reader.fill_buf().unwrap_or_default();
        let room = FEATURE_BYTES_MAX.saturating_sub(self.record.len());
        let ahead = &ahead[..ahead.len().min(room)];
        let plain = match is_text {
            true => plain_bytes(ahead, *b"\"\\"),
            false => plain_bytes(ahead, *b"\"{}[]"),
        };
        self.record.extend_from_slice(&ahead[..plain]);
        self.reader.consume(plain);
    }

    fn fatal(&mut self, message: impl Into<String>) -> RecordFault {
        self.is_over = true;
        RecordFault { line: self.line, message: message.into() }
    }

    /// Reads a value that begins with `first` into `record`. Returns false if it is a collection; its Features
    /// follow.
    fn value(&mut self, first: u8) -> Result<bool, RecordFault> {
        self.record.clear();
        self.open.clear();
        if b"{[\"".contains(&first) {
            return self.go_on(self.list.is_some());
        }
        // The value is a number, or a word such as null.
        while let Some(byte) = self.peek()?.filter(|byte| !b" \t\r\n,]".contains(byte))
            && self.record.len() < FEATURE_BYTES_MAX
        {
            self.take(byte);
        }
        Ok(true)
    }

    /// Reads the rest of a collection after its list. Returns true if it is a Feature with an empty list instead.
    fn rest(&mut self, is_empty: bool) -> Result<bool, RecordFault> {
        self.list = None;
        std::mem::swap(&mut self.record, &mut self.collection.1);
        self.take(b']');
        self.open.clear();
        self.open.push(b'}');
        self.go_on(true)?;
        let message = match kind(&self.record) {
            Ok((true, 1)) => return Ok(false),
            Ok((false, _)) if is_empty => return Ok(true),
            Ok((true, _)) => "has two members named features",
            Ok((false, _)) => "has a list of features, but is not a FeatureCollection",
            Err(_) => "is not JSON beside its list of features",
        };
        Err(RecordFault { line: self.collection.0, message: message.into() })
    }

    /// Reads a value, or the rest of one, until all brackets are closed. `is_feature` means that it cannot be a
    /// collection.
    fn go_on(&mut self, mut is_feature: bool) -> Result<bool, RecordFault> {
        let line = self.line;
        let (mut is_text, mut is_escaped) = (false, false);
        loop {
            if !is_escaped {
                self.take_plain(is_text);
            }
            let Some(byte) = self.peek()? else {
                return self.broken(line, "is cut off by the end of the file");
            };
            if let Some(message) = self.what_ends_it(byte, is_text) {
                return self.broken(line, message);
            }
            self.take(byte);
            match byte {
                _ if is_text => {
                    is_text = byte != b'"' || is_escaped;
                    is_escaped = byte == b'\\' && !is_escaped;
                }
                b'"' => is_text = true,
                b'[' if !is_feature && self.begins_a_list() => {
                    match kind(&[&self.record[..], b"]}"].concat()) {
                        Err(_) => {
                            return self.broken(line, "is not JSON before its list of features");
                        }
                        Ok((true, _)) => {
                            self.list = Some(Before::Bracket);
                            self.collection = (line, std::mem::take(&mut self.record));
                            return Ok(false);
                        }
                        Ok((false, _)) => is_feature = true,
                    }
                    self.open.push(b']');
                }
                // In ASCII a closing bracket is two after its opening bracket.
                b'{' | b'[' => self.open.push(byte + 2),
                b'}' | b']' if self.open.pop() != Some(byte) => {
                    return self.broken(line, "is not JSON: its brackets do not match");
                }
                _ => {}
            }
            if !is_text && self.open.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Why the next byte, `byte`, cannot belong to the object.
    fn what_ends_it(&mut self, byte: u8, is_text: bool) -> Option<&'static str> {
        match byte {
            RECORD_SEPARATOR => Some("is cut off by a record separator"),
            b'\n' if is_text => Some("is not JSON: a string does not end on its line"),
            b'{' if !is_text && !self.is_sequence && self.needs_a_comma_on_this_line() => {
                Some("is cut off by the next line")
            }
            b'{' | b'[' if !is_text && self.open.len() == DEPTH_MAX => {
                Some("is nested deeper than 64 levels")
            }
            _ if self.record.len() >= FEATURE_BYTES_MAX => {
                self.is_over = true;
                Some("is longer than 16 MiB; remove it: a place is a Point, and shorter")
            }
            _ => None,
        }
    }

    /// Whether a line begins just after a value. An object that follows must be separated by a comma; without one,
    /// the first object is truncated.
    fn needs_a_comma_on_this_line(&self) -> bool {
        let last = self.record.trim_ascii_end().last();
        self.record.ends_with(b"\n") && last.is_some_and(|byte| !b"{[,:".contains(byte))
    }

    /// Whether the last bracket opens the member `features` of the object.
    fn begins_a_list(&self) -> bool {
        let [before @ .., _] = &self.record[..] else { return false };
        if self.open.len() > 1 {
            return false;
        }
        let key = before.trim_ascii_end().strip_suffix(b":").unwrap_or_default();
        let before = key.trim_ascii_end().strip_suffix(b"\"features\"");
        before.is_some_and(|before| !before.ends_with(b"\\"))
    }

    /// Reports an error of the object that begins on `line`. Skips to where the next object may begin.
    fn broken(&mut self, line: usize, message: &str) -> Result<bool, RecordFault> {
        let is_one_line = memchr::memchr(b'\n', self.record.trim_ascii_end()).is_none();
        self.is_over |= self.list.is_some() || !(self.is_sequence || is_one_line);
        let delimiter = if self.is_sequence { RECORD_SEPARATOR } else { b'\n' };
        let is_there = self.record.last() == Some(&delimiter);
        while !self.is_over && !is_there {
            match self.peek()? {
                None => self.is_over = true,
                Some(byte) if [RECORD_SEPARATOR, delimiter].contains(&byte) => break,
                Some(byte) => self.skip(byte),
            }
        }
        Err(RecordFault { line, message: message.into() })
    }
}

impl<R: BufRead> RecordReader for Features<R> {
    fn next(&mut self) -> Result<Option<(usize, &[u8])>, RecordFault> {
        while !self.is_over {
            let Some(byte) = self.peek()? else {
                match self.list {
                    Some(_) => {
                        return Err(
                            self.fatal("the list of features is cut off by the end of the file")
                        );
                    }
                    None => break,
                }
            };
            match (self.list, byte) {
                (_, b' ' | b'\t' | b'\r' | b'\n') => self.skip(byte),
                (None, RECORD_SEPARATOR) => {
                    self.is_sequence = true;
                    self.skip(byte);
                }
                (Some(Before::Item), b',') => {
                    self.list = Some(Before::Comma);
                    self.skip(byte);
                }
                (Some(before @ (Before::Bracket | Before::Item)), b']') => {
                    if self.rest(before == Before::Bracket)? {
                        return Ok(Some((self.collection.0, &self.record)));
                    }
                }
                (None, b'{')
                | (
                    Some(Before::Bracket | Before::Comma),
                    b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b'a'..=b'z',
                ) => {
                    let line = self.line;
                    if self.value(byte)? {
                        self.list = self.list.map(|_| Before::Item);
                        return Ok(Some((line, &self.record)));
                    }
                }
                (Some(_), _) => {
                    let what = "is not JSON: two features must be separated by one comma";
                    return Err(self.fatal(what));
                }
                (None, _) => {
                    let what = "is not GeoJSON: a Feature or a FeatureCollection begins with {";
                    return Err(self.fatal(what));
                }
            }
        }
        Ok(None)
    }
}

/// Whether the `type` of an object is FeatureCollection or absent; and the number of its members named features.
fn kind(object: &[u8]) -> Result<(bool, usize), NotJson> {
    let (mut is_collection, mut lists) = (true, 0);
    Json::document(object)?.each_member(|key, value| match key {
        "type" => is_collection = value.text().as_deref() == Some("FeatureCollection"),
        _ => lists += usize::from(key == "features"),
    });
    Ok((is_collection, lists))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The line and the text of each record, or of each error.
    fn cut(bytes: &[u8]) -> Vec<(usize, String)> {
        let mut all = Vec::new();
        let mut features = match Features::new(io::BufReader::with_capacity(4, bytes)) {
            Ok(features) => features,
            // The file is UTF-16.
            Err(fault) => return vec![(1, format!("! {fault}"))],
        };
        loop {
            match features.next() {
                Ok(None) => return all,
                Ok(Some((line, record))) => {
                    all.push((line, String::from_utf8_lossy(record).into_owned()));
                }
                Err(fault) => all.push((fault.line, format!("! {}", fault.message))),
            }
            assert!(all.len() <= bytes.len(), "it ends");
        }
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        cut(bytes).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_sequences_and_indented_features_are_cut() {
        let expected = [(1, "{}".into()), (3, "{\n{\n}}".into())];
        assert_eq!(cut(b"{}\n\n{\n{\n}}"), expected);
        assert_eq!(cut(b"\xef\xbb\xbf{}\r\n\r\n{\n{\n}}\r\n"), expected);
        assert_eq!(cut(b"\x1e{}\n\n\x1e{\n{\n}}\n\x1e\x1e"), expected);
        assert_eq!(cut(b"{}{\"a\":[{}]} {}"), cut(b"\x1e{}\x1e{\"a\":[{}]}\x1e{}"));
        assert_eq!(cut(b""), []);
        assert_eq!(cut(b" \n\x1e\n"), []);
    }

    #[test]
    fn of_a_collection_each_feature_is_cut_whatever_stands_beside_the_list() {
        let list = "\"features\" : [\n{\"a\":1},\n{\"features\":[{}]}\n]";
        let beside = "\"crs\":{\"features\":{\"x\":[[],[]]}},\"name\":\"features\",\"b\":[\"}\"]";
        for text in [
            format!("{{{list}}}"),
            format!("{{{list},{beside}}}\n"),
            format!("{{{beside},{list}}}\r\n"),
            format!("\u{feff}{{{beside},{list},{beside}}}"),
            format!("\u{1e}{{{list}}}"),
        ] {
            let expected = [(2, "{\"a\":1}".into()), (3, "{\"features\":[{}]}".into())];
            assert_eq!(cut(text.as_bytes()), expected, "{text}");
            // The file contains two collections.
            assert_eq!(
                cut([&text, text.trim_start_matches('\u{feff}')].concat().as_bytes()).len(),
                4,
                "{text}"
            );
        }
        assert_eq!(cut(b"{\"features\":[]}"), []);
        assert_eq!(texts(b"{\"features\":null}"), ["{\"features\":null}"]);
    }

    #[test]
    fn what_is_no_object_in_a_list_is_a_record_too() {
        let items = [
            "null",
            "{}",
            "7",
            "\"a,]}\\\"\"",
            "[{},[\"]\"]]",
            "true",
            "-1.5e3",
            "nonsense",
            "{\"a\":1}",
        ];
        for between in [",", " ,", ",\n", "\n,\r\n"] {
            let text = format!("{{\"features\":[{0}],\"a\":{{}}}}{{}}", items.join(between));
            assert_eq!(texts(text.as_bytes()), [&items[..], &["{}"]].concat(), "{text}");
        }
        assert_eq!(cut(b"{\"features\":[null\n,\n7\n]}"), [(1, "null".into()), (3, "7".into())]);
    }

    #[test]
    fn a_feature_with_a_list_of_features_is_a_feature() {
        for feature in [
            r#"{"type":"Feature","features":[],"id":1}"#,
            r#"{"type":"Feature","features":[{},7],"id":1,"features":[]}"#,
            r#"{"features":[],"id":1,"type":"Feature"}"#,
            r#"{"type":null,"features":[{}]}"#,
            r#"{"x\"features":[{}]}"#,
        ] {
            assert_eq!(texts(format!("{feature}\n{{}}").as_bytes()), [feature, "{}"]);
        }
    }

    #[test]
    fn brackets_in_texts_and_escaped_quotation_marks_are_no_brackets() {
        let text = r#"{"a":"}\"}]{[","b\\":"\\","c":"\u007d\\\""}"#;
        assert_eq!(texts(text.as_bytes()), [text]);
        let inside = format!("{{\"features\":[{text},{text}]}}");
        assert_eq!(texts(inside.as_bytes()), [text, text]);
    }

    #[test]
    fn of_lines_and_sequences_each_fault_is_told_and_the_rest_is_read() {
        for (text, expected) in [
            (
                "{\"a\":1\n{}\n{]\n{}",
                "1 is cut off by the next line,2,3 is not JSON: its brackets do not match,4",
            ),
            ("{\"a\n{}", "1 is not JSON: a string does not end on its line,2"),
            (
                "\x1e{\n\"a\":1\n\x1e{}\n\x1e{\"\n}\x1e{\"\x1e{}",
                "1 is cut off by a record separator,3,4 is not JSON: a string does not end on its line,5 is cut off by a record separator,5",
            ),
            ("{}\n{\"a\":[{}]", "1,2 is cut off by the end of the file"),
        ] {
            let seen: Vec<String> = cut(text.as_bytes())
                .into_iter()
                .map(|(line, text)| match text.strip_prefix('!') {
                    Some(fault) => format!("{line}{fault}"),
                    None => line.to_string(),
                })
                .collect();
            assert_eq!(seen.join(","), expected, "{text}");
        }
    }

    #[test]
    fn of_other_layouts_one_fault_is_the_last() {
        for (text, line, what) in [
            ("{\"features\":[\n{\"a\":1},\n{\"b\":]},\n{}\n]}", 3, "brackets do not match"),
            ("{\"features\":[{},\n", 2, "the list of features is cut off"),
            ("{\"features\":[{}],\n\"crs\":{", 1, "is cut off by the end of the file"),
            ("{\"features\":[\n{}\n{}]}", 3, "separated by one comma"),
            ("{\"features\":[,,{}]}", 1, "separated by one comma"),
            ("{\"features\":[{},,{}]}", 1, "separated by one comma"),
            ("{\"features\":[{},\n]}", 2, "separated by one comma"),
            ("{\"features\":[null 7]}", 1, "separated by one comma"),
            ("{\"features\":[{}:{}]}", 1, "separated by one comma"),
            ("{nonsense \"features\":[{}]}", 1, "is not JSON before its list"),
            ("{\"a\" \"features\":[{}]}", 1, "is not JSON before its list"),
            ("{\"a\":1 \"features\":[{}]}", 1, "is not JSON before its list"),
            ("{\"features\":[{}] nonsense}", 1, "is not JSON beside its list"),
            ("{\"features\":[{}],}", 1, "is not JSON beside its list"),
            ("{\"features\":[{}]}nonsense", 1, "is not GeoJSON"),
            ("{\"features\":[{}],\"features\":[{}]}", 1, "two members named features"),
            ("{\"features\":null,\"features\":[{}]}", 1, "two members named features"),
            ("{\"features\":[{}],\"type\":\"Feature\"}", 1, "is not a FeatureCollection"),
            ("{\n \"type\": \"Fea\nture\",\n \"a\": {}\n}\n", 1, "does not end on its line"),
            ("[\n{}\n]", 1, "is not GeoJSON"),
            ("name,lat,lon\nBar,1,2\n", 1, "is not GeoJSON"),
            ("<html>\n", 1, "is not GeoJSON"),
            ("\u{0}{}", 1, "is not GeoJSON"),
        ] {
            let all = cut(text.as_bytes());
            let faults: Vec<_> = all.iter().filter(|(_, text)| text.starts_with('!')).collect();
            assert_eq!(faults.len(), 1, "{text}: {all:?}");
            assert!(faults[0].1.contains(what), "{text}: {all:?}");
            assert_eq!(faults[0].0, line, "{text}: {all:?}");
            assert_eq!(all.last(), Some(faults[0]), "{text}");
        }
    }

    #[test]
    fn depth_and_length_have_a_limit_and_need_no_more_memory() {
        let nested = |levels: usize| format!("{}{}", "{\"\":".repeat(levels), "}".repeat(levels));
        assert_eq!(texts(nested(DEPTH_MAX).as_bytes()), [nested(DEPTH_MAX)]);
        let two = nested(DEPTH_MAX + 1) + "\n{}";
        assert_eq!(texts(two.as_bytes()), ["! is nested deeper than 64 levels", "{}"]);
        let deep = "{\"\":[".repeat(1_000_000);
        assert_eq!(texts(deep.as_bytes()), ["! is nested deeper than 64 levels"]);

        let long = format!("{{\"\":\"{}\"}}", "x".repeat(FEATURE_BYTES_MAX - 7));
        let mut features = Features::new(long.as_bytes()).unwrap();
        assert!(
            features.next().unwrap().is_some_and(|(_, record)| record.len() == FEATURE_BYTES_MAX)
        );
        let longer = format!("{{\"features\":[{{}},\n {}]}}", long.replace("\"\":", "\"a\":"));
        let mut features = Features::new(longer.as_bytes()).unwrap();
        assert!(features.next().unwrap().is_some());
        assert_eq!(
            features.next().unwrap_err().to_string(),
            "line 2: is longer than 16 MiB; remove it: a place is a Point, and shorter"
        );
        assert!(features.record.capacity() <= 2 * FEATURE_BYTES_MAX);
        assert_eq!(features.next(), Ok(None));
    }

    #[test]
    fn a_reader_that_fails_is_a_fault_and_the_end() {
        struct Failing(usize);
        impl io::Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => {
                        buffer[..3].copy_from_slice(b"{}\n");
                        Ok(3)
                    }
                    _ => Err(io::Error::other("the disk is gone")),
                }
            }
        }
        let mut features = Features::new(io::BufReader::new(Failing(0))).unwrap();
        assert!(features.next().unwrap().is_some());
        assert_eq!(features.next().unwrap_err().to_string(), "line 2: the disk is gone");
        assert_eq!(features.next(), Ok(None));
    }

    proptest! {
        #[test]
        fn any_layout_of_objects_gives_the_same_objects(
            objects in prop::collection::vec(".{0,6}", 0..5), is_indented: bool, layout in 0..3_usize,
        ) {
            let objects: Vec<serde_json::Value> = objects
                .iter()
                .map(|text| serde_json::json!({ "type": text, "a": [text, { "features": [{}] }] }))
                .collect();
            let write = |value: &serde_json::Value| match is_indented {
                true => serde_json::to_string_pretty(value).unwrap(),
                false => value.to_string(),
            };
            let each = objects.iter().map(write);
            let file = match layout {
                0 => write(&serde_json::json!({ "a": {}, "features": objects, "name": "}" })),
                1 => each.map(|text| text + "\n").collect(),
                _ => each.map(|text| format!("\u{1e}{text}\n")).collect(),
            };
            let read: Vec<serde_json::Value> =
                texts(file.as_bytes()).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(read, objects);
        }

        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(
            bytes: Vec<u8>,
            tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..40),
        ) {
            let _ = (cut(&bytes), cut(tokens.concat().as_bytes()));
        }
    }

    const TOKENS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"features\"",
        "\"features\":[",
        "{}",
        "1",
        "\n",
        "\u{1e}",
        " ",
        "\u{feff}",
    ];
}
