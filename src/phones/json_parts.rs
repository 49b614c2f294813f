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

/// The longest part, and the longest body that is read whole, in bytes. A report has less than one kilobyte.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a body cannot be read. Nothing of it is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not JSON, for this reason.
    NotJson(String),
    /// It, or a part of it, is longer than [`VALUE_BYTES_MAX`].
    TooLong,
}

impl Unreadable {
    /// The reason if the body is too long.
    pub const TOO_LONG: &str = "the body or a value in it is longer than 65,536 bytes";
}

impl From<NotJson> for Unreadable {
    fn from(NotJson(why): NotJson) -> Unreadable {
        Unreadable::NotJson(why)
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

/// A part of a body, and its key if it is a member of the outermost object. An item of a list has none.
pub(super) type Part<'b> = (Option<Cow<'b, str>>, Json<'b>);

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
            let key = self.value(body)?.text().unwrap_or_default();
            self.expect(body, b':')?;
            if key != self.list || !self.takes(body, b'[') {
                return Ok(Some((Some(key), self.value(body)?)));
            }
            (self.open, self.is_behind_part) = (b"]}", false);
        }
        self.peek(body).map_or(Ok(None), |_| Err(self.unexpected()))
    }

    /// Reads the value that comes next.
    fn value<'b>(&mut self, body: &'b [u8]) -> Result<Json<'b>, Unreadable> {
        self.peek(body);
        let rest = &body[self.at..];
        let window = &rest[..rest.len().min(VALUE_BYTES_MAX)];
        match Json::prefix(window)? {
            Some(value) => {
                self.at += value.as_str().len();
                Ok(value)
            }
            None if window.len() < rest.len() => Err(Unreadable::TooLong),
            None => Err(self.unexpected()),
        }
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
            found.push((key.unwrap_or_default().into_owned(), value.as_str().to_owned()));
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
    fn a_value_that_is_too_long_ends_the_reading() {
        let long = format!("[\"{}\"]", "x".repeat(VALUE_BYTES_MAX - 2));
        assert!(parts(&long).is_ok());
        let long = format!("[1,\"{}\"]", "x".repeat(VALUE_BYTES_MAX - 1));
        assert_eq!(parts(&long), Err(Unreadable::TooLong));
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
