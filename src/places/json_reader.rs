//! JSON read once from front to back, by whoever knows what it means.
//!
//! In: bytes that others sent. Out: calls, in the document's order, of closures that each take one
//! value: as a text, a number, an object of further values, or not at all.
//!
//! ```text
//!     reader.object(|reader, key| match key {
//!         "name"  => { name = reader.string()?; Ok(()) }
//!         "parts" => reader.array(part)...
//!         _       => reader.skip()
//!     })
//! ```
//!
//! No tree is built unless one is asked for: a body of four megabytes of `{}` costs a walk over four megabytes and no
//! memory, and what nobody asked for is passed over where it stands. [`Reader::at`] says where
//! that is, so a document can be cut without being written anew.
//!
//! A value of another type than was asked for is passed over as if it were not there: whoever
//! wrote it knows more than we do. But the grammar is RFC 8259's to the letter, also in what is
//! passed over, and [`DEPTH_MAX`] levels are enough.
//!
//! Invariant: after a call the reader stands behind the value the call was about. A closure that
//! does not take its value makes the document wrong, not the program.

use super::plain::{plain_bytes, spaces};
use serde_json::Value;
use std::borrow::Cow;

/// The most levels of arrays and objects: Google's replies have some ten.
pub(super) const DEPTH_MAX: usize = 64;

/// The most items of an array in a tree.
const ITEMS_MAX: usize = 16;

/// Where a text stops being JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotJson {
    /// In bytes, from the start.
    pub(super) at: usize,
}

/// A place in a document.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    /// Has `read` take the one value that `text` should be.
    pub(super) fn document<T>(
        text: &'t [u8],
        read: impl FnOnce(&mut Reader<'t>) -> Result<T, NotJson>,
    ) -> Result<T, NotJson> {
        let text = str::from_utf8(text).map_err(|error| NotJson { at: error.valid_up_to() })?;
        let mut reader = Reader { text, at: 0, depth: 0 };
        reader.pass_blanks();
        let value = read(&mut reader)?;
        reader.pass_blanks();
        match reader.next() {
            None => Ok(value),
            Some(_) => reader.wrong(),
        }
    }

    /// Where the next value begins, or the last one ended, in bytes from the start.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Has `member` take each value of an object, with its key. False: it was no object.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Reader<'t>, &str) -> Result<(), NotJson>,
    ) -> Result<bool, NotJson> {
        if self.next() != Some(b'{') {
            return self.skip().map(|()| false);
        }
        self.each(b'}', |reader| {
            let key = reader.key()?;
            let unescaped = key.is_escaped.then(|| key.unescaped());
            member(reader, unescaped.as_deref().unwrap_or(key.text))
        })?;
        Ok(true)
    }

    /// Has `item` take each value of an array. False: it was no array.
    pub(super) fn array(
        &mut self,
        item: impl FnMut(&mut Reader<'t>) -> Result<(), NotJson>,
    ) -> Result<bool, NotJson> {
        if self.next() != Some(b'[') {
            return self.skip().map(|()| false);
        }
        self.each(b']', item)?;
        Ok(true)
    }

    /// A text, in which each half of a surrogate pair without the other is U+FFFD. None: it was no text.
    pub(super) fn string(&mut self) -> Result<Option<Cow<'t, str>>, NotJson> {
        match self.next() {
            Some(b'"') => {
                let quoted = self.quoted()?;
                Ok(Some(match quoted.is_escaped {
                    false => Cow::Borrowed(quoted.text),
                    true => Cow::Owned(quoted.unescaped()),
                }))
            }
            _ => self.skip().map(|()| None),
        }
    }

    /// The value as a tree: of objects the members that are `wanted`, of arrays the first sixteen items,
    /// so that it is small whatever the document is. A number beyond all doubles is null.
    pub(super) fn value(&mut self, wanted: fn(&str) -> bool) -> Result<Value, NotJson> {
        Ok(match self.next() {
            Some(b'{') => {
                let mut members = serde_json::Map::new();
                self.object(|reader, key| match wanted(key) {
                    true => {
                        reader.value(wanted).map(|value| drop(members.insert(key.into(), value)))
                    }
                    false => reader.skip(),
                })?;
                members.into()
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.array(|reader| match items.len() < ITEMS_MAX {
                    true => reader.value(wanted).map(|value| items.push(value)),
                    false => reader.skip(),
                })?;
                items.into()
            }
            Some(b'"') => self.string()?.into(),
            Some(b't' | b'f') => self.boolean()?.into(),
            _ => self.digits()?.and_then(|digits| digits.parse().ok()).map(Value::Number).into(),
        })
    }

    /// A number, the double nearest to its digits. None: it was none, or is beyond all doubles.
    pub(super) fn number(&mut self) -> Result<Option<f64>, NotJson> {
        let number = self.digits()?.and_then(|digits| digits.parse().ok());
        Ok(number.filter(|number: &f64| number.is_finite()))
    }

    /// A whole number from 0 on, without point or exponent.
    pub(super) fn whole(&mut self) -> Result<Option<u64>, NotJson> {
        Ok(self.digits()?.and_then(|digits| digits.parse().ok()))
    }

    /// True or false.
    pub(super) fn boolean(&mut self) -> Result<Option<bool>, NotJson> {
        let boolean = match self.next() {
            Some(b't') => Some(true),
            Some(b'f') => Some(false),
            _ => None,
        };
        self.skip().map(|()| boolean)
    }

    /// Whether the next value is null.
    pub(super) fn is_null(&self) -> bool {
        self.next() == Some(b'n')
    }

    /// Whether the next value is null or a text.
    pub(super) fn is_null_or_text(&self) -> bool {
        matches!(self.next(), Some(b'n' | b'"'))
    }

    /// Any value, unseen.
    pub(super) fn skip(&mut self) -> Result<(), NotJson> {
        match self.next() {
            Some(b'{') => self.each(b'}', |reader| {
                reader.key()?;
                reader.skip()
            }),
            Some(b'[') => self.each(b']', Reader::skip),
            Some(b'"') => self.quoted().map(drop),
            Some(b'-' | b'0'..=b'9') => self.numeral().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.wrong(),
        }
    }

    fn digits(&mut self) -> Result<Option<&'t str>, NotJson> {
        match self.next() {
            Some(b'-' | b'0'..=b'9') => self.numeral().map(Some),
            _ => self.skip().map(|()| None),
        }
    }

    /// All between two brackets, the first of which is next.
    fn each(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Reader<'t>) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong();
        }
        self.at += 1;
        self.pass_blanks();
        if self.next() != Some(close) {
            item(self)?;
            self.pass_blanks();
            while self.next() == Some(b',') {
                self.at += 1;
                self.pass_blanks();
                item(self)?;
                self.pass_blanks();
            }
        }
        self.pass(close)?;
        self.depth -= 1;
        Ok(())
    }

    /// A key, still escaped, and the colon behind it.
    fn key(&mut self) -> Result<Quoted<'t>, NotJson> {
        let key = self.quoted()?;
        self.pass_blanks();
        self.pass(b':')?;
        self.pass_blanks();
        Ok(key)
    }

    /// What stands between two quotation marks.
    fn quoted(&mut self) -> Result<Quoted<'t>, NotJson> {
        self.pass(b'"')?;
        let start = self.at;
        self.pass_plain();
        // Nearly always that was all of it.
        let is_escaped = self.next() != Some(b'"');
        if is_escaped {
            self.pass_escaped()?;
        }
        let text = &self.text[start..self.at];
        self.at += 1;
        Ok(Quoted { text, is_escaped })
    }

    /// From the first escape of a text to its closing quotation mark.
    #[cold]
    fn pass_escaped(&mut self) -> Result<(), NotJson> {
        while self.next() != Some(b'"') {
            self.pass(b'\\')?;
            self.escape()?;
            self.pass_plain();
        }
        Ok(())
    }

    fn pass_plain(&mut self) {
        self.at += plain_bytes(&self.text.as_bytes()[self.at..], [b'"', b'\\']);
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), NotJson> {
        let digits = match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 0,
            Some(b'u') => 4,
            _ => return self.wrong(),
        };
        self.at += 1;
        for _ in 0..digits {
            if !self.next().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return self.wrong();
            }
            self.at += 1;
        }
        Ok(())
    }

    fn numeral(&mut self) -> Result<&'t str, NotJson> {
        let start = self.at;
        if self.next() == Some(b'-') {
            self.at += 1;
        }
        // A nought stands alone: what would follow it is no part of the number.
        match self.next() {
            Some(b'0') => self.at += 1,
            _ => self.some_digits()?,
        }
        if self.next() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.next() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.next() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn some_digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        self.pass_while(|byte| byte.is_ascii_digit());
        if self.at > start { Ok(()) } else { self.wrong() }
    }

    fn word(&mut self, word: &str) -> Result<(), NotJson> {
        word.bytes().try_for_each(|byte| self.pass(byte))
    }

    fn pass_blanks(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
            // Indentation is most of what there is to pass.
            self.at += spaces(&bytes[self.at..]);
        }
    }

    fn pass_while(&mut self, passes: impl Fn(u8) -> bool) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&byte| !passes(byte)).unwrap_or(rest.len());
    }

    fn pass(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.next() != Some(byte) {
            return self.wrong();
        }
        self.at += 1;
        Ok(())
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong<T>(&self) -> Result<T, NotJson> {
        Err(NotJson { at: self.at })
    }
}

/// What stands between quotation marks, its escapes checked and not yet resolved.
#[derive(Clone, Copy, Debug)]
struct Quoted<'t> {
    text: &'t str,
    is_escaped: bool,
}

impl Quoted<'_> {
    /// The text that is meant.
    fn unescaped(self) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut rest = self.text;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            text.push_str(&rest[..at]);
            // The escapes were checked, so none is cut off.
            let (c, behind) = resolved(&rest[at + 1..]).unwrap_or_default();
            text.push(c);
            rest = behind;
        }
        text.push_str(rest);
        text
    }
}

/// The character that is meant by what follows a backslash, and what follows that.
fn resolved(escape: &str) -> Option<(char, &str)> {
    let letter = escape.chars().next()?;
    let rest = &escape[letter.len_utf8()..];
    let c = match letter {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return code_point(rest),
        other => other,
    };
    Some((c, rest))
}

/// Of four digits, or of a surrogate pair. Half a pair is no Unicode: it becomes U+FFFD, as in other readers.
fn code_point(text: &str) -> Option<(char, &str)> {
    let (first, rest) = unit(text)?;
    if (0xd800..0xdc00).contains(&first) {
        let second = rest.strip_prefix("\\u").and_then(unit);
        if let Some((second @ 0xdc00..0xe000, rest)) = second {
            let c = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?;
            return Some((c, rest));
        }
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

fn unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    u32::from_str_radix(digits, 16).ok().map(|unit| (unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skipped(text: &[u8]) -> Result<(), NotJson> {
        Reader::document(text, Reader::skip)
    }

    /// The same document as a tree, read with nothing but the closures.
    fn tree(reader: &mut Reader<'_>) -> Result<Value, NotJson> {
        match reader.next() {
            Some(b'{') => {
                let mut members = serde_json::Map::new();
                reader.object(|reader, key| {
                    members.insert(key.to_string(), tree(reader)?);
                    Ok(())
                })?;
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                reader.array(|reader| {
                    items.push(tree(reader)?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            Some(b'"') => reader.string().map(Value::from),
            Some(b't' | b'f') => reader.boolean().map(Value::from),
            Some(b'n') => reader.skip().map(|()| Value::Null),
            _ => reader.number().map(Value::from),
        }
    }

    #[test]
    fn what_is_asked_for_is_taken_and_the_rest_passed_over() {
        let text =
            br#" {"a":[1,{"b":[]}],"n\u0061me":"K\u00f6ln \"x\"","lat":-1.5e1,"n":12,"open":true,
            "none":null} "#;
        let (mut name, mut lat, mut n, mut open) = (None, None, None, None);
        let is_object = Reader::document(text, |reader| {
            reader.object(|reader, key| {
                match key {
                    "name" => name = reader.string()?.map(Cow::into_owned),
                    "lat" => lat = reader.number()?,
                    "n" => n = reader.whole()?,
                    "open" => open = reader.boolean()?,
                    _ => reader.skip()?,
                }
                Ok(())
            })
        });
        assert_eq!(is_object, Ok(true));
        assert_eq!(name.as_deref(), Some("Köln \"x\""));
        assert_eq!((lat, n, open), (Some(-15.0), Some(12), Some(true)));
    }

    #[test]
    fn a_value_of_another_type_is_passed_over() {
        for text in ["null", "true", "\"7\"", "[7]", "{\"a\":7}", "1e999", "-0.5"] {
            let text = text.as_bytes();
            assert_eq!(Reader::document(text, Reader::whole), Ok(None));
            assert!(text[0] == b'-' || Reader::document(text, Reader::number) == Ok(None));
            assert!(text[0] == b'"' || Reader::document(text, Reader::string) == Ok(None));
            assert!(text[0] == b't' || Reader::document(text, Reader::boolean) == Ok(None));
            let array = |reader: &mut Reader<'_>| reader.array(Reader::skip);
            assert_eq!(Reader::document(text, array), Ok(text[0] == b'['));
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (text, expected) in [
            (r"\ud800", "\u{fffd}"),
            (r"\uDC00", "\u{fffd}"),
            (r"a\ud83db", "a\u{fffd}b"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\udbff\udfff\ufffe", "\u{10ffff}\u{fffe}"),
        ] {
            let quoted = format!("\"{text}\"");
            let read = Reader::document(quoted.as_bytes(), Reader::string);
            assert_eq!(read, Ok(Some(expected.into())), "{text}");
            // In a key it is the same.
            let object = format!("{{{quoted}:1}}");
            let mut key = String::new();
            let read = Reader::document(object.as_bytes(), |reader| {
                reader.object(|reader, found| {
                    key.push_str(found);
                    reader.skip()
                })
            });
            assert_eq!((read, key.as_str()), (Ok(true), expected), "{text}");
        }
    }

    #[test]
    fn where_a_value_stands_can_be_asked() {
        let text = b"[ 1,{} , \"x\"]";
        let mut spans = Vec::new();
        let item = |reader: &mut Reader<'_>| {
            let start = reader.at();
            reader.skip()?;
            spans.push(&text[start..reader.at()]);
            Ok(())
        };
        assert_eq!(Reader::document(text, |reader| reader.array(item)), Ok(true));
        assert_eq!(spans, [&b"1"[..], b"{}", b"\"x\""]);
    }

    #[test]
    fn a_closure_that_takes_too_little_or_too_much_is_a_fault_of_the_document() {
        let array = |item: fn(&mut Reader<'_>) -> Result<(), NotJson>| {
            Reader::document(b"[1,2]", |reader| reader.array(item))
        };
        assert_eq!(array(|_| Ok(())), Err(NotJson { at: 1 }));
        assert_eq!(
            array(|reader| reader.skip().and_then(|()| reader.skip())),
            Err(NotJson { at: 2 })
        );
    }

    #[test]
    fn sixty_four_levels_are_enough() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert_eq!(skipped(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(skipped(nested(DEPTH_MAX + 1).as_bytes()), Err(NotJson { at: DEPTH_MAX }));
        assert!(skipped("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(skipped("{\"\":".repeat(1_000_000).as_bytes()).is_err());
        // Neighbours are on one level, however many.
        assert_eq!(skipped(format!("[{}[]]", "[],".repeat(1_000)).as_bytes()), Ok(()));
    }

    #[test]
    fn a_fault_has_its_place() {
        for (text, at) in [
            ("", 0),
            ("  ", 2),
            ("{", 1),
            ("[1,]", 3),
            ("[,1]", 1),
            ("{\"a\" 1}", 5),
            ("{a:1}", 1),
            ("{} {}", 3),
            ("01", 1),
            ("1.", 2),
            ("-", 1),
            ("+1", 0),
            ("1e+", 3),
            ("\"a\nb\"", 2),
            ("\"\\x\"", 2),
            ("\"\\u12g4\"", 5),
            ("\"abc", 4),
            ("nul", 3),
            ("NaN", 0),
            ("\u{feff}{}", 0),
        ] {
            assert_eq!(skipped(text.as_bytes()), Err(NotJson { at }), "{text}");
        }
        assert_eq!(skipped(b"\"\xff\""), Err(NotJson { at: 1 }));
    }

    #[test]
    fn a_tree_has_what_is_wanted_and_no_more() {
        let text = br#"{"a":{"b":1.5,"c":2,"a":"\ud800"},"b":[1,true,null,{"b":-7,"c":[]},5,6],
            "c":{"a":1},"a":{"b":1e999,"a":18446744073709551615}}"#;
        let tree =
            Reader::document(text, |reader| reader.value(|key| matches!(key, "a" | "b"))).unwrap();
        let expected = serde_json::json!({
            "a": { "b": null, "a": u64::MAX },
            "b": [1, true, null, { "b": -7 }, 5, 6],
        });
        assert_eq!(tree, expected, "of two members of a name the last");
        let spoilt =
            Reader::document(b"{\"c\":[1,],\"a\":1}", |reader| reader.value(|key| key == "a"));
        assert_eq!(spoilt, Err(NotJson { at: 8 }), "what is not wanted has to be JSON, too");
    }

    /// Texts that are JSON, nearly, or not at all.
    fn nearly_json() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "\"a\"",
            "\"b\"",
            "\"a\":",
            "0",
            "-1.5e3",
            "12",
            "true",
            "null",
            " ",
            "\n",
            "\\u0041",
            "\\ud83d\\ude00",
            "\u{e9}",
            "[]",
            "{}",
        ]);
        prop::collection::vec(token, 0..20).prop_map(|tokens| tokens.concat())
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_json_if_serde_says_so(text in nearly_json()) {
            let oracle = serde_json::from_str::<Value>(&text);
            // A number beyond all floats is JSON, and is passed over; serde would have to keep it.
            let is_too_large = |e: &serde_json::Error| e.to_string().starts_with("number out of");
            prop_assume!(!oracle.as_ref().is_err_and(is_too_large));
            prop_assert_eq!(skipped(text.as_bytes()).is_ok(), oracle.is_ok(), "{}", text);
        }

        #[test]
        fn any_document_is_read_as_serde_reads_it(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            prop_assert_eq!(Reader::document(text.unwrap().as_bytes(), tree), Ok(value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = skipped(&bytes);
        }
    }
}
