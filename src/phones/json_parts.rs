//! Reads the JSON of a request: its [members](members_of), or its [parts](JsonParts), one after the other, so that a batch
//! can be read in slices.
//!
//! In: the whole body, again for each part. Out: each member of the outermost object, and each item of the outermost
//! array or of the one member that is a list of reports. serde_json parses each part; this file knows only what is
//! between them. Nothing is copied, and between two calls there is only a position.
//!
//! ```text
//!     {"device_id":"jane","location":[{...},{...}],"x":1}
//!      part                           part  part  part      open: "}", inside the list "]}"
//! ```

use crate::places::{Json, NotJson};
use std::borrow::Cow;
use std::fmt;

/// The longest part that is read, and the longest body that is read whole, in bytes. A report has less than one kilobyte.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a body cannot be read. Nothing of it is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not JSON, for this reason.
    NotJson(String),
    /// It is longer than [`VALUE_BYTES_MAX`], or nested too deep.
    TooLong,
}

impl Unreadable {
    /// The reason if the body, or a part of it, is too long.
    pub const TOO_LONG: &str =
        "a value is longer than 65,536 bytes or nested deeper than 64 levels";
}

impl From<NotJson> for Unreadable {
    fn from(why: NotJson) -> Unreadable {
        match why.is_too_deep() {
            true => Unreadable::TooLong,
            false => Unreadable::NotJson(why.0),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::NotJson(why) => write!(f, "the body is not JSON: {why}"),
            Unreadable::TooLong => f.write_str(Unreadable::TOO_LONG),
        }
    }
}

/// Parses a body that is one value. Returns its members with these names, if it is an object.
pub(super) fn members_of<'b, const N: usize>(
    body: &'b [u8],
    names: [&str; N],
) -> Result<Option<[Json<'b>; N]>, Unreadable> {
    match body.len() > VALUE_BYTES_MAX {
        true => Err(Unreadable::TooLong),
        false => Ok(Json::members_of(body, names)?),
    }
}

/// Returns a copy of the body of an app in which serde_json can read what is not JSON, though apps send it: a byte order
/// mark is left out, and `NaN` and `Infinity` become empty strings, which are no numbers. `None` if it has none of them.
pub fn mended(body: &[u8]) -> Option<Vec<u8>> {
    let words = [&b"NaN"[..], b"Infinity"];
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut initials = memchr::memchr2_iter(b'N', b'I', text);
    let has_word = initials.any(|at| words.iter().any(|word| text[at..].starts_with(word)));
    if !has_word || !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return (text.len() < body.len()).then(|| text.to_vec());
    }
    let (mut text, mut at, mut is_string) = (text.to_vec(), 0, false);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let next = match is_string {
            true => memchr::memchr2(b'"', b'\\', rest),
            false => memchr::memchr3(b'"', b'N', b'I', rest),
        };
        let Some(next) = next else { break };
        at += next;
        match text[at] {
            b'\\' => at += 2,
            b'"' => (is_string, at) = (!is_string, at + 1),
            _ => {
                let length =
                    words.iter().find(|word| text[at..].starts_with(word)).map_or(1, |it| it.len());
                let start = at - usize::from(at > 0 && text[at - 1] == b'-');
                at += length;
                if length > 1 {
                    text[start..at].fill(b' ');
                    text[start..start + 2].fill(b'"');
                }
            }
        }
    }
    Some(text)
}

/// A part of a body, and its key if it is a member of the outermost object. An item of a list has none. The value is `None`
/// if it was skipped, because it is too long or nested too deep.
pub(super) type Part<'b> = (Option<Cow<'b, str>>, Option<Json<'b>>);

/// The position in a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonParts {
    /// The number of bytes that have been examined.
    pub(super) at: usize,
    /// The closing brackets that are to come, the next one first.
    open: &'static [u8],
    /// Whether a comma comes before the next part.
    is_behind_part: bool,
    /// The member of the outermost object that is a list, if its value is an array.
    list: &'static str,
}

impl JsonParts {
    pub(super) fn new(list: &'static str) -> JsonParts {
        JsonParts { at: 0, open: b"", is_behind_part: false, list }
    }

    /// Returns the next part of `body`, which must be the same each time; `None` at its end.
    pub(super) fn next<'b>(&mut self, body: &'b [u8]) -> Result<Option<Part<'b>>, Unreadable> {
        if self.at == 0 {
            self.open = match self.takes(body, b'{') {
                true => b"}",
                false => self.expect(body, b'[').map(|()| b"]")?,
            };
        }
        while let [end, outer @ ..] = self.open {
            if self.takes(body, *end) {
                (self.open, self.is_behind_part) = (outer, true);
                continue;
            }
            if std::mem::replace(&mut self.is_behind_part, true) {
                self.expect(body, b',')?;
            }
            if *end == b']' {
                return Ok(Some((None, self.value(body)?)));
            }
            if self.peek(body) != Some(b'"') {
                return Err(self.unexpected());
            }
            let key = self.value(body)?.unwrap_or_default().text().unwrap_or_default();
            self.expect(body, b':')?;
            if key != self.list || !self.takes(body, b'[') {
                return Ok(Some((Some(key), self.value(body)?)));
            }
            (self.open, self.is_behind_part) = (b"]}", false);
        }
        self.peek(body).map_or(Ok(None), |_| Err(self.unexpected()))
    }

    /// Reads the value that comes next; `None` if it is too long or too deep, and skipped. Then its grammar is not checked.
    fn value<'b>(&mut self, body: &'b [u8]) -> Result<Option<Json<'b>>, Unreadable> {
        self.peek(body);
        let rest = &body[self.at..];
        let window = &rest[..rest.len().min(VALUE_BYTES_MAX)];
        // A number ends where the window does.
        let is_cut = |value: &Json<'_>| {
            value.as_str().len() == window.len() && window.last().is_some_and(u8::is_ascii_digit)
        };
        let value = match Json::prefix(window).map_err(Unreadable::from) {
            Ok(Some(value)) => Some(value).filter(|it| window.len() == rest.len() || !is_cut(it)),
            Ok(None) if window.len() == rest.len() => return Err(self.unexpected()),
            Ok(None) | Err(Unreadable::TooLong) => None,
            Err(why) => return Err(why),
        };
        let length = value.map(|it| it.as_str().len()).or_else(|| length_of_value(rest));
        self.at += length.ok_or_else(|| self.unexpected())?;
        Ok(value)
    }

    /// Skips white space, and returns the byte after it.
    fn peek(&mut self, body: &[u8]) -> Option<u8> {
        let is_white = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += body[self.at..].iter().take_while(is_white).count();
        body.get(self.at).copied()
    }

    /// Passes over white space and `byte`, if that comes next. Returns whether it does.
    fn takes(&mut self, body: &[u8], byte: u8) -> bool {
        let is_next = self.peek(body) == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes over white space and `byte`, which must come next.
    fn expect(&mut self, body: &[u8], byte: u8) -> Result<(), Unreadable> {
        if self.takes(body, byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Unreadable {
        Unreadable::NotJson(format!("unexpected byte or end after byte {}", self.at))
    }
}

/// The length of the value at the start of `text`, by its brackets and quotation marks alone; `None` if it does not end.
fn length_of_value(text: &[u8]) -> Option<usize> {
    if !matches!(text.first(), Some(b'"' | b'[' | b'{')) {
        return text.iter().position(|byte| b",]}".contains(byte));
    }
    let (mut depth, mut is_string, mut at) = (0_usize, false, 0);
    loop {
        if is_string {
            at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        }
        match text.get(at)? {
            b'\\' => at += 1,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => depth += 1,
            b']' | b'}' if !is_string => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 && !is_string {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The parts of `body`: each with the key of the member, or empty for an item.
    fn parts(body: &str) -> Result<Vec<(String, String)>, Unreadable> {
        let (mut parts, mut found) = (JsonParts::new("list"), Vec::new());
        while let Some(part) = parts.next(body.as_bytes())? {
            let (key, value) = part;
            let value = value.map_or("skipped", Json::as_str);
            found.push((key.unwrap_or_default().into_owned(), value.to_owned()));
        }
        assert_eq!(parts.at, body.len());
        Ok(found)
    }

    #[test]
    fn an_object_is_its_members_and_the_items_of_its_list() {
        let body = r#" {"a" : 1 , "list":[ {"b":[2]}, 3 ],"li\u0073t":[],"c":[4],"list":5}  "#;
        let expected = [("a", "1"), ("", "{\"b\":[2]}"), ("", "3"), ("c", "[4]"), ("list", "5")];
        let found = parts(body).unwrap();
        let found: Vec<_> = found.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(found, expected);
        assert_eq!(parts("[1,[2]]").unwrap().len(), 2);
        assert!(parts("[ ]").unwrap().is_empty() && parts("{ }").unwrap().is_empty());
    }

    #[test]
    fn what_only_some_apps_take_for_json_becomes_json() {
        let text = |body: &str| mended(body.as_bytes()).map(|it| String::from_utf8(it).unwrap());
        assert_eq!(text(r#"{"a":1}"#), None);
        assert_eq!(text("id=NaN"), None);
        assert_eq!(text("\u{feff}id=1").as_deref(), Some("id=1"));
        let body = "\u{feff}{\"NaN\":NaN,\"\\\"Infinity\":[-Infinity,Infinity ]}";
        let expected = "{\"NaN\":\"\" ,\"\\\"Infinity\":[\"\"       ,\"\"       ]}";
        assert_eq!(text(body).as_deref(), Some(expected));
    }

    #[test]
    fn a_value_that_is_too_long_or_too_deep_is_skipped() {
        let skipped = ("".to_owned(), "skipped".to_owned());
        let long = format!("[\"{}\"]", "x".repeat(VALUE_BYTES_MAX - 2));
        assert!(!parts(&long).unwrap().contains(&skipped));
        let long = format!("\"\\\"{}\"", "x".repeat(VALUE_BYTES_MAX));
        let deep = ["[".repeat(65), "]".repeat(65)].concat();
        let number = "7".repeat(VALUE_BYTES_MAX + 1);
        for value in [&long, &number, &format!("{{\"a\":[{long},\"]\"]}}"), &deep] {
            let found = parts(&format!("[1, {value} ,2]")).unwrap();
            assert_eq!((found.len(), &found[1], &*found[2].1), (3, &skipped, "2"), "{value:.20}");
            let found = parts(&format!("{{\"a\":{value},\"list\":[3]}}")).unwrap();
            assert_eq!((found.len(), &*found[1].1), (2, "3"));
        }
        // A text that ends inside its last value is not JSON, however long it is.
        assert!(matches!(parts("[\"x"), Err(Unreadable::NotJson(_))));
    }

    proptest! {
        #[test]
        fn a_body_is_split_if_and_only_if_it_is_json(
            body in "[\\[{]([\\]\\[{}:,1 a]|\"a\"|\"list\"|true|-0|1e5){0,12}",
        ) {
            let value = serde_json::from_str::<Value>(&body);
            let parts = parts(&body);
            prop_assert_eq!(value.is_ok(), parts.is_ok(), "{}: {:?}", body, parts);
            if let (Ok(Value::Array(items)), Ok(parts)) = (value, parts) {
                prop_assert_eq!(items.len(), parts.len());
            }
        }
    }
}
