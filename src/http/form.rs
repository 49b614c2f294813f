//! Percent-encoding, and the names and values of a query or a form.
//!
//! In: one segment of a path, a query, or the body of a form. Out: bytes, which need not be UTF-8. A text without an
//! escape is not copied.
//!
//! A path is read strictly, because it decides what a request is about: [`percent_decode`] rejects a bad escape. A form
//! comes from an app whose request must never be rejected for its content, so [`form_pairs`] keeps a bad escape as it
//! is, as browsers do.
//!
//! Sources: RFC 3986, section 2.1; the WHATWG's URL Standard, section 5.1 (application/x-www-form-urlencoded).

use std::borrow::Cow;

/// Decodes one segment of a path, once. `None` if a `%` is not followed by two hexadecimal digits, or if they are `00`.
pub fn percent_decode(segment: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut is_valid = true;
    let decoded = decode(segment, |rest| match escape(rest) {
        Some(0) | None if rest[0] == b'%' => {
            is_valid = false;
            None
        }
        escape => escape.map(|byte| (byte, 3)),
    });
    is_valid.then_some(decoded)
}

/// Splits a query or the body of a form into its names and values, decoded. A pair without `=` has an empty value.
pub fn form_pairs(text: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (form_decode(&pair[..equals]), form_decode(pair.get(equals + 1..).unwrap_or_default()))
    })
}

/// Decodes a name or a value of a form, in which `+` is a space.
fn form_decode(text: &[u8]) -> Cow<'_, [u8]> {
    decode(text, |rest| match rest[0] {
        b'+' => Some((b' ', 1)),
        _ => escape(rest).map(|byte| (byte, 3)),
    })
}

/// Decodes `text`. At each position it calls `replaced` with the rest of the text, which returns a byte and the number of
/// bytes that this byte replaces, or `None` to keep the next byte.
fn decode(text: &[u8], mut replaced: impl FnMut(&[u8]) -> Option<(u8, usize)>) -> Cow<'_, [u8]> {
    let Some(first) = text.iter().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Cow::Borrowed(text);
    };
    let (plain, mut rest) = text.split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    while let Some(&byte) = rest.first() {
        let (byte, length) = replaced(rest).unwrap_or((byte, 1));
        decoded.push(byte);
        rest = &rest[length..];
    }
    Cow::Owned(decoded)
}

/// Returns the byte whose escape is at the start of `text`.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(form: &str) -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
        form_pairs(form.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn a_segment_is_decoded_once_and_a_bad_escape_rejects_it() {
        for (segment, decoded) in [
            ("jane", Some(&b"jane"[..])),
            ("jane%2Fphone", Some(b"jane/phone")),
            ("%252f", Some(b"%2f")),
            ("a+b", Some(b"a+b")),
            ("%ff%Fe", Some(b"\xff\xfe")),
            ("", Some(b"")),
            ("%", None),
            ("%2", None),
            ("100%", None),
            ("%zz", None),
            ("%+f", None),
            ("a%00b", None),
        ] {
            assert_eq!(percent_decode(segment.as_bytes()).as_deref(), decoded, "{segment}");
        }
    }

    #[test]
    fn a_form_is_pairs_in_which_plus_is_a_blank_and_a_bad_escape_is_itself() {
        for (form, expected) in [
            ("", &[][..]),
            ("&&", &[]),
            ("id=jane&lat=34.5", &[("id", "jane"), ("lat", "34.5")]),
            ("a=b=c&d&=e&", &[("a", "b=c"), ("d", ""), ("", "e")]),
            ("i%64=Jane%27s+phone", &[("id", "Jane's phone")]),
            ("t=12%3A15+02%3A00%2b", &[("t", "12:15 02:00+")]),
            ("a=%&b=%2&c=%zz%41", &[("a", "%"), ("b", "%2"), ("c", "%zzA")]),
            ("a=1%26b%3D2", &[("a", "1&b=2")]),
        ] {
            let found = pairs(form);
            let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(found, expected, "{form}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_their_encoding(bytes in any::<Vec<u8>>()) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            let decoded = percent_decode(encoded.as_bytes());
            prop_assert_eq!(decoded.is_none(), bytes.contains(&0));
            prop_assert!(decoded.is_none_or(|decoded| *decoded == bytes));
            let pairs: Vec<_> = form_pairs(encoded.as_bytes()).collect();
            prop_assert_eq!(pairs.len(), usize::from(!bytes.is_empty()));
            prop_assert!(pairs.iter().all(|(name, value)| **name == bytes && value.is_empty()));
        }

        #[test]
        fn any_form_is_read(bytes in any::<Vec<u8>>()) {
            let read: usize = form_pairs(&bytes).map(|(name, value)| name.len() + value.len()).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
