//! A JSON writer in the classic layout of Google's Nearby Search, straight into a buffer.
//!
//! ```text
//!     {
//!        "html_attributions" : [],
//!        "results" : [
//!           {
//!              "types" : [ "locality", "political" ],
//! ```
//!
//! Three spaces per level; a space on both sides of the colon; members in byte order of their keys. An array of
//! strings is on one line if it has fewer than [`LINE_ITEMS`] items and is shorter than [`LINE_BYTES`]; else each
//! string has a line. An empty array is `[]`, an empty object `{}`. `<` and `>` are escaped, so that the text can
//! be embedded in a web page; characters beyond ASCII are not escaped. Numbers are the shortest that parse to the
//! same value, whole ones without a point. Two newlines never follow each other, because a blank line ends a
//! WHATSAT reply: every newline of the layout is followed by other text, and a newline in a string is escaped.
//!
//! A closure writes an object through a borrowed [`Object`], one member after another; nothing is collected first.
//! The writer knows neither places nor Google's members.
//!
//! Source: captured replies (the "classic" layout, that of the JsonCpp library's StyledWriter).

use serde_core::Serialize;

use super::scan::plain_bytes;
use crate::wire::swar::eight_digits;

/// An array with this many strings has one line for each.
const LINE_ITEMS: usize = 25;

/// An array with this many bytes in its one-line form has one line for each string.
const LINE_BYTES: usize = 74;

/// A newline and the indentation of eight levels; a reply has six.
const NEW_LINE: &[u8; 25] = b"\n                        ";

/// Number of units of degrees with seven digits after the point.
const SEVEN_DIGITS: u64 = 10_000_000;

/// Characters that are escaped, besides control characters.
const ESCAPED: [u8; 4] = *b"\"\\<>";

/// Writes a whole document: one object, without a newline at the end.
pub(super) fn document(out: &mut Vec<u8>, members: impl FnOnce(&mut Object<'_>)) {
    object(out, 0, members);
}

/// An object that is being written, ready for the next member.
#[derive(Debug)]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// Number of levels around the members.
    depth: usize,
    /// The key of the previous member; empty before the first.
    last: &'static str,
}

impl Object<'_> {
    /// Writes a string member; nothing, not even the key, for `None`.
    pub(super) fn string<'v>(&mut self, key: &'static str, value: impl Into<Option<&'v str>>) {
        if let Some(value) = value.into() {
            self.key(key);
            string(self.out, value);
        }
    }

    /// Writes a number or a boolean. A number that JSON cannot represent (infinity, NaN) becomes `null`.
    pub(super) fn scalar(&mut self, key: &'static str, value: impl Serialize) {
        self.key(key);
        scalar(self.out, value);
    }

    /// Writes the key of a member. The caller appends its value as JSON, laid out for this depth.
    pub(super) fn raw(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.key(key);
        self.out
    }

    pub(super) fn object(&mut self, key: &'static str, members: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        object(self.out, self.depth, members);
    }

    pub(super) fn strings(&mut self, key: &'static str, values: &[impl AsRef<str>]) {
        self.key(key);
        if values.is_empty() {
            self.out.extend_from_slice(b"[]");
            return;
        }
        // The length is known only after writing. Most arrays fit; one that does not is removed and written again.
        let start = self.out.len();
        self.out.extend_from_slice(b"[ ");
        separated(self.out, values, |out| out.extend_from_slice(b", "));
        self.out.extend_from_slice(b" ]");
        if values.len() < LINE_ITEMS && self.out.len() - start < LINE_BYTES {
            return;
        }
        self.out.truncate(start);
        self.out.push(b'[');
        new_line(self.out, self.depth + 1);
        separated(self.out, values, |out| {
            out.push(b',');
            new_line(out, self.depth + 1);
        });
        new_line(self.out, self.depth);
        self.out.push(b']');
    }

    /// Writes an array with an object for each of `values`. `end` is called with the length of the whole text,
    /// first after the opening bracket, and then after each object.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        values: &[T],
        members: impl Fn(&mut Object<'_>, &T),
        mut end: impl FnMut(usize),
    ) {
        self.key(key);
        self.out.push(b'[');
        end(self.out.len());
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            new_line(self.out, self.depth + 1);
            object(self.out, self.depth + 1, |object| members(object, value));
            end(self.out.len());
        }
        if !values.is_empty() {
            new_line(self.out, self.depth);
        }
        self.out.push(b']');
    }

    /// Writes everything before the value. Keys are ours: plain ASCII, and in ascending order.
    ///
    /// Inlined, because then the length of the key is known, and copying it takes no call.
    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        debug_assert!(self.last < key, "{key} comes before {}", self.last);
        if !self.last.is_empty() {
            self.out.push(b',');
        }
        self.last = key;
        new_line(self.out, self.depth);
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\" : ");
    }
}

fn object(out: &mut Vec<u8>, depth: usize, members: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    let mut object = Object { out, depth: depth + 1, last: "" };
    members(&mut object);
    let empty = object.last.is_empty();
    if !empty {
        new_line(out, depth);
    }
    out.push(b'}');
}

fn separated(out: &mut Vec<u8>, values: &[impl AsRef<str>], separate: impl Fn(&mut Vec<u8>)) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            separate(out);
        }
        string(out, value.as_ref());
    }
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    // Copying a known length takes a few instructions, any other length a call.
    let end = out.len() + 1 + 3 * depth;
    out.extend_from_slice(NEW_LINE);
    out.truncate(end);
}

fn string(out: &mut Vec<u8>, value: &str) {
    out.reserve(value.len() + 2);
    out.push(b'"');
    escaped(out, value.as_bytes());
    out.push(b'"');
}

/// Writes a string without its quotation marks.
pub(super) fn escaped(out: &mut Vec<u8>, mut rest: &[u8]) {
    loop {
        let (plain, behind) = rest.split_at(plain_bytes(rest, ESCAPED));
        out.extend_from_slice(plain);
        let [byte, behind @ ..] = behind else { break };
        escape(out, *byte);
        rest = behind;
    }
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let [high, low] =
                [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// serde_json finds the shortest digits, several times faster than `{}` does.
pub(super) fn scalar(out: &mut Vec<u8>, value: impl Serialize) {
    serde_json::to_writer(&mut *out, &value).expect("a Vec takes what it is given");
    if out.ends_with(b".0") {
        out.truncate(out.len() - 2);
    }
}

/// Writes degrees as [`scalar`] does, but faster if they have at most seven digits after the point, as those of a
/// gazetteer.
///
/// No other decimal of at most 15 digits is the same double, so its digits are the shortest.
pub(super) fn degrees(out: &mut Vec<u8>, value: f64) {
    let units = (value.abs() * SEVEN_DIGITS as f64 + 0.5) as u64;
    // Smaller numbers have an exponent, larger ones more digits.
    if units as f64 / SEVEN_DIGITS as f64 != value.abs() || !(1e-3..1e3).contains(&value.abs()) {
        return scalar(out, value);
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let (whole, fraction) = ((units / SEVEN_DIGITS) as u32, (units % SEVEN_DIGITS) as u32);
    let [leading, digits] = [whole, fraction].map(|part| u64::from_le_bytes(eight_digits(part)));
    let text = u128::from(leading >> 40) | u128::from(b'.') << 24 | u128::from(digits >> 8) << 32;
    let skipped = usize::from(whole < 10) + usize::from(whole < 100);
    // A fraction of zero has eight zeros here, so the point goes with them.
    let zeros = (digits ^ u64::from_le_bytes([b'0'; 8])).leading_zeros() as usize / 8;
    let end = out.len() + 11 - skipped - zeros;
    // Copying a known length takes a few instructions, any other length a call.
    out.extend_from_slice(&(text >> (8 * skipped)).to_le_bytes());
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(members: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        document(&mut out, members);
        String::from_utf8(out).unwrap()
    }

    fn line(items: &[&str]) -> String {
        let text = written(|object| object.strings("a", items));
        text.strip_prefix("{\n   \"a\" : ").unwrap().strip_suffix("\n}").unwrap().to_string()
    }

    fn numeral(value: f64) -> String {
        let mut out = Vec::new();
        scalar(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_layout_is_the_classic_one() {
        let text = written(|object| {
            object.strings("attributions", &[""; 0]);
            object.objects("empty", &[(); 0], |_, ()| {}, |_| ());
            object.object("nothing", |_| {});
            object.objects(
                "results",
                &[1.5, 2.0],
                |object, value| {
                    object.object("geometry", |object| object.scalar("lat", *value));
                    object.strings("types", &["locality", "political"]);
                },
                |_| (),
            );
            object.scalar("so", true);
            object.string("status", "OK");
            object.scalar("total", u64::MAX);
        });
        let expected = r#"{
   "attributions" : [],
   "empty" : [],
   "nothing" : {},
   "results" : [
      {
         "geometry" : {
            "lat" : 1.5
         },
         "types" : [ "locality", "political" ]
      },
      {
         "geometry" : {
            "lat" : 2
         },
         "types" : [ "locality", "political" ]
      }
   ],
   "so" : true,
   "status" : "OK",
   "total" : 18446744073709551615
}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn an_array_of_74_bytes_or_25_items_takes_a_line_for_each() {
        let (short, long) = ("x".repeat(67), "x".repeat(68));
        assert_eq!(line(&[&short]), format!("[ \"{short}\" ]"));
        assert_eq!(line(&[&long]), format!("[\n      \"{long}\"\n   ]"));
        // 24 items on one line have at least 118 bytes, so a test can only show the effect of the length.
        assert_eq!(line(&["", ""]), "[ \"\", \"\" ]");
        assert_eq!(line(&[""; 25]).lines().count(), 27);
    }

    #[test]
    fn a_length_counts_the_bytes_that_are_written() {
        let escaped = "\"".repeat(34);
        assert_eq!(line(&[&escaped]).lines().count(), 3);
        let letters = "é".repeat(34);
        assert_eq!(line(&[&letters]).lines().count(), 3);
    }

    #[test]
    fn angle_brackets_are_escaped_and_other_letters_are_not() {
        let text = written(|object| object.string("a", "<b> \"&'=\\/\u{7f} é 漢 \u{1f600}"));
        assert!(text.contains("\"\\u003cb\\u003e \\\"&'=\\\\/\u{7f} é 漢 \u{1f600}\""), "{text}");
        let text = written(|object| object.string("a", "\0\u{8}\t\n\u{b}\u{c}\r\u{1f}"));
        assert!(text.contains(r#""\u0000\b\t\n\u000b\f\r\u001f""#), "{text}");
    }

    #[test]
    fn a_number_is_the_shortest_that_reads_back_the_same() {
        for (value, text) in [
            (34.01949, "34.01949"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-118.0, "-118"),
            (0.0, "0"),
            (0.001349, "0.001349"),
            (180.0, "180"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(numeral(value), text);
        }
    }

    #[test]
    #[should_panic(expected = "a comes before b")]
    #[cfg(debug_assertions)]
    fn members_out_of_order_are_a_bug() {
        written(|object| {
            object.string("b", "");
            object.string("a", "");
        });
    }

    proptest! {
        #[test]
        fn any_text_reads_back_the_same_and_never_makes_a_blank_line(
            one in any::<String>(),
            many in prop::collection::vec("(?s)[\0-\u{ff}]{0,9}|.{0,9}", 0..30),
        ) {
            let text = written(|object| {
                object.strings("many", &many);
                object.string("one", &*one);
            });
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&value["one"], &serde_json::json!(one));
            prop_assert_eq!(&value["many"], &serde_json::json!(many));
            prop_assert!(!text.contains("\n\n"));
        }

        #[test]
        fn degrees_are_written_as_any_number_is(
            value in prop_oneof![
                any::<f64>(),
                -200.0..200.0,
                (0..8, -2_000_000_000..2_000_000_000_i32)
                    .prop_map(|(digits, whole)| f64::from(whole) / 10_f64.powi(digits)),
                (0..8, -200..200_i32)
                    .prop_map(|(digits, whole)| f64::from(whole) / 10_f64.powi(digits)),
            ],
        ) {
            for value in [value, value.next_up(), value.next_down(), value.round()] {
                let mut out = Vec::new();
                degrees(&mut out, value);
                prop_assert_eq!(String::from_utf8(out).unwrap(), numeral(value));
            }
        }

        #[test]
        fn any_number_reads_back_the_same(value in any::<f64>()) {
            prop_assert_eq!(numeral(value).parse::<f64>().unwrap(), value);
        }
    }
}
