//! Cuts a file of GeoJSON into its Features, and knows the line each begins on.
//!
//! In: any reader, and any of these layouts, of which the file says nothing:
//!
//! ```text
//!     {"type":"FeatureCollection","features":[{..},{..}]}   on one line or many
//!     {..}                                                  a Feature a line, or on several
//!     RS {..}                                               each after a record separator (RFC 8142)
//! ```
//!
//! Out: the bytes of each Feature. Of JSON it knows texts and brackets, enough to say where an object
//! ends; whether it is JSON between them, `geojson.rs` says. What stands beside the list of a
//! collection (`crs`, `name`) is passed over. No more is kept than one Feature, of at most
//! [`FEATURE_BYTES_MAX`], or what stands before the list; brackets are counted, not descended into.
//!
//! After a fault the next Feature is looked for behind a record separator, or on the next line if the
//! faulty one is of one line: each fault of such files is told. Where the layout is another, what
//! follows cannot be trusted, and the fault is the last.
//!
//! Source: RFC 7946, section 3.3; RFC 8142, section 2.3 (a text that is cut off by the next one).

use std::io::{self, BufRead};

use super::json_reader::DEPTH_MAX;
use super::records::{Fault, Records, skip_byte_order_mark};

/// The longest Feature: an area may have a hundred thousand corners, only to be passed over.
const FEATURE_BYTES_MAX: usize = 1 << 24;

const RECORD_SEPARATOR: u8 = 0x1e;

/// Cuts a file into Features.
#[derive(Debug)]
pub(super) struct Features<R> {
    bytes: io::Bytes<R>,
    /// A byte that was read and belongs to the next Feature.
    pending: Option<u8>,
    /// The line of the next byte.
    line: usize,
    /// Within the list of a collection.
    is_listed: bool,
    /// A record separator was seen: a fault ends with the next.
    is_sequence: bool,
    is_over: bool,
    record: Vec<u8>,
    /// The brackets that close what is open.
    open: Vec<u8>,
}

impl<R: BufRead> Features<R> {
    pub(super) fn new(mut reader: R) -> io::Result<Features<R>> {
        skip_byte_order_mark(&mut reader)?;
        Ok(Features {
            bytes: reader.bytes(),
            pending: None,
            line: 1,
            is_listed: false,
            is_sequence: false,
            is_over: false,
            record: Vec::new(),
            open: Vec::new(),
        })
    }

    fn byte(&mut self) -> Result<Option<u8>, Fault> {
        let byte = match self.pending.take() {
            Some(byte) => Some(byte),
            None => self.bytes.next().transpose().map_err(|error| self.fatal(error.to_string()))?,
        };
        self.line += usize::from(byte == Some(b'\n'));
        Ok(byte)
    }

    fn fatal(&mut self, message: impl Into<String>) -> Fault {
        self.is_over = true;
        Fault { line: self.line, message: message.into() }
    }

    /// Takes an object, of which the first bracket is read, into `record`. False: it is a collection,
    /// and its Features come next.
    fn object(&mut self) -> Result<bool, Fault> {
        let line = self.line;
        self.record.clear();
        self.record.push(b'{');
        self.open.clear();
        self.open.push(b'}');
        let (mut is_text, mut is_escaped) = (false, false);
        // What stands before this byte; between two objects there is one of these, or the first is cut off.
        let mut leads_on = true;
        while !self.open.is_empty() {
            let Some(byte) = self.byte()? else {
                self.is_over = true;
                return Err(Fault { line, message: "is cut off by the end of the file".into() });
            };
            if let Some(message) = self.what_ends_it(byte, is_text, leads_on) {
                return self.broken(line, byte, message);
            }
            self.record.push(byte);
            if is_text {
                is_text = byte != b'"' || is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'"' => is_text = true,
                b'[' if self.begins_a_list() => {
                    self.is_listed = true;
                    return Ok(false);
                }
                b'{' => self.open.push(b'}'),
                b'[' => self.open.push(b']'),
                b'}' | b']' if self.open.pop() != Some(byte) => {
                    return self.broken(line, byte, "is not JSON: its brackets do not match");
                }
                _ => {}
            }
            leads_on = matches!(byte, b'{' | b'[' | b',' | b':');
        }
        Ok(true)
    }

    /// Why `byte`, which comes next, cannot belong to the object.
    fn what_ends_it(&mut self, byte: u8, is_text: bool, leads_on: bool) -> Option<&'static str> {
        let begins_a_line = self.record.last() == Some(&b'\n');
        match byte {
            RECORD_SEPARATOR => Some("is cut off by a record separator"),
            b'\n' if is_text => Some("is not JSON: a text does not end on its line"),
            b'{' if begins_a_line && !is_text && !leads_on && !self.is_sequence => {
                self.pending = Some(byte);
                Some("is cut off by the next line")
            }
            b'{' | b'[' if !is_text && self.open.len() == DEPTH_MAX => {
                Some("is nested deeper than 64 levels")
            }
            _ if self.record.len() == FEATURE_BYTES_MAX => {
                self.is_over = true;
                Some("is longer than 16 MiB; leave it out: a place is a Point, and shorter")
            }
            _ => None,
        }
    }

    /// Whether the last bracket opens the member `features` of a collection.
    fn begins_a_list(&self) -> bool {
        let [before @ .., _] = &self.record[..] else { return false };
        if self.is_listed || self.open.len() > 1 {
            return false;
        }
        let key = before.trim_ascii_end().strip_suffix(b":").unwrap_or_default();
        key.trim_ascii_end().ends_with(b"\"features\"")
    }

    /// A fault of the object that begins on `line`, found at `byte`. Goes on to where the next may begin.
    fn broken(&mut self, line: usize, byte: u8, message: &str) -> Result<bool, Fault> {
        let is_one_line = memchr::memchr(b'\n', self.record.trim_ascii_end()).is_none();
        self.is_over |= self.is_listed || !(self.is_sequence || is_one_line);
        let delimiter = if self.is_sequence { RECORD_SEPARATOR } else { b'\n' };
        let is_there = [RECORD_SEPARATOR, delimiter].contains(&byte) || self.pending.is_some();
        while !self.is_over && !is_there {
            match self.byte()? {
                None => self.is_over = true,
                Some(byte) if byte == delimiter => break,
                Some(_) => {}
            }
        }
        Err(Fault { line, message: message.into() })
    }
}

impl<R: BufRead> Records for Features<R> {
    fn next(&mut self) -> Result<Option<(usize, &[u8])>, Fault> {
        while !self.is_over {
            match self.byte()? {
                None if self.is_listed => return Err(self.fatal("the list of features is cut off")),
                None => self.is_over = true,
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(RECORD_SEPARATOR) if !self.is_listed => self.is_sequence = true,
                Some(b',') if self.is_listed => {}
                // The rest of the collection is an object as well.
                Some(b']') if self.is_listed => {
                    self.is_listed = false;
                    self.object()?;
                }
                Some(b'{') => {
                    let line = self.line;
                    if self.object()? {
                        return Ok(Some((line, &self.record)));
                    }
                }
                Some(_) => {
                    let what = "is no GeoJSON: a Feature or a FeatureCollection begins with {";
                    return Err(self.fatal(what));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Line and text of each record, or of each fault.
    fn cut(bytes: &[u8]) -> Vec<(usize, String)> {
        let mut features = Features::new(io::BufReader::with_capacity(4, bytes)).unwrap();
        let mut all = Vec::new();
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
            // Two of them.
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
            ("{\"a\n{}", "1 is not JSON: a text does not end on its line,2"),
            (
                "\x1e{\n\"a\":1\n\x1e{}\n\x1e{\"\n}\x1e{\"\x1e{}",
                "1 is cut off by a record separator,3,4 is not JSON: a text does not end on its line,5 is cut off by a record separator,5",
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
            ("{\"features\":[{},\nnull,\n7]}", 2, "is no GeoJSON"),
            ("{\n \"type\": \"Fea\nture\",\n \"a\": {}\n}\n", 1, "does not end on its line"),
            ("[\n{}\n]", 1, "is no GeoJSON"),
            ("name,lat,lon\nBar,1,2\n", 1, "is no GeoJSON"),
            ("<html>\n", 1, "is no GeoJSON"),
            ("\u{0}{}", 1, "is no GeoJSON"),
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
            "line 2: is longer than 16 MiB; leave it out: a place is a Point, and shorter"
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
