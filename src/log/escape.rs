//! Escapes foreign bytes, so that one event stays one line.
//!
//! In: bytes that a client or a neighbour chose. Out: printable text on one line.
//! It knows nothing of logs.
//!
//! The idea: every character that ends a line, moves the cursor, changes the reading direction or is invisible
//! becomes `\xNN`, one for each byte, as does invalid UTF-8. A backslash is doubled, so that
//! [`escape`] is reversible. Nearly every line is printable ASCII: a check without a branch per byte
//! detects this, and such a line is copied whole.
//!
//! Invariant: the output has no byte below 0x20, is UTF-8, and can be unescaped to the input.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// Appends `bytes` to `out`, escaped.
///
/// C0 and C1 controls, DEL, line and paragraph separators, bidirectional and zero-width characters,
/// the byte order mark and invalid UTF-8 become `\xNN` per byte; a backslash becomes `\\`. It appends at
/// most four bytes for each byte.
#[inline]
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        pieces(bytes, must_be_escaped, |piece| out.extend_from_slice(piece.as_bytes()));
    }
}

/// Wraps bytes so that a message shows them escaped, as in `warn!("refused: {}", Escaped(line))`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcome = Ok(());
        pieces(self.0, must_be_escaped, |piece| {
            outcome = outcome.and_then(|()| f.write_str(piece));
        });
        outcome
    }
}

/// Returns `text` escaped so that it stays on one line, with its backslashes unchanged.
///
/// Use it for our own text, which may contain foreign parts that are already [`Escaped`]. It is not reversible.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    pieces(text.as_bytes(), is_unprintable, |piece| line.push_str(piece));
    Cow::Owned(line)
}

/// Wraps a value so that it is written as [`one_line`] does, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a, T>(pub &'a T);

impl<T: fmt::Display> fmt::Display for OneLine<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'f, 'g>(&'f mut fmt::Formatter<'g>);

        impl fmt::Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write_str(&one_line(text))
            }
        }
        fmt::Write::write_fmt(&mut Escaping(f), format_args!("{}", self.0))
    }
}

/// Returns a count with its noun: `no faults`, `1 fault`, `2 faults`.
pub fn plural(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Returns `word` quoted, if necessary, so that a shell reads it as one word.
pub fn shell_quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/+:,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")).into(),
    }
}

/// Returns `path` in a form that no program takes for an option: `./-x` for `-x`.
pub fn operand(path: &Path) -> String {
    let here = if path.as_os_str().as_encoded_bytes().starts_with(b"-") { "./" } else { "" };
    format!("{here}{}", path.display())
}

/// Whether `bytes` are printable ASCII without a backslash.
///
/// It checks sixteen bytes at a time. The last step overlaps the one before it, which avoids a loop over
/// single bytes.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    const STEP: usize = 16;
    match bytes.last_chunk::<STEP>() {
        Some(end) => bytes.as_chunks::<STEP>().0.iter().all(all_plain) && all_plain(end),
        None => all_plain(bytes),
    }
}

/// Does the work of [`is_plain`] for one step. It has no early exit, so that the compiler can vectorize the loop.
#[inline]
fn all_plain<B: AsRef<[u8]>>(bytes: B) -> bool {
    let bytes = bytes.as_ref();
    bytes
        .iter()
        .fold(true, |plain, &byte| plain & (byte.wrapping_sub(b' ') < 0x5f) & (byte != b'\\'))
}

fn must_be_escaped(c: char) -> bool {
    c == '\\' || is_unprintable(c)
}

fn is_unprintable(c: char) -> bool {
    matches!(c,
        '\u{00}'..='\u{1f}'           // C0
        | '\u{7f}'..='\u{9f}'         // DEL, C1
        | '\u{61c}' | '\u{180e}'      // Arabic letter mark, Mongolian vowel separator
        | '\u{200b}'..='\u{200f}'     // zero width, left-to-right and right-to-left mark
        | '\u{2028}'..='\u{202e}'     // line and paragraph separator, embeddings, overrides
        | '\u{2060}'..='\u{206f}'     // word joiner, invisible operators, isolates
        | '\u{feff}'                  // byte order mark
    )
}

/// Passes `bytes` to `put` in pieces: runs of characters that need no escape, and escapes.
fn pieces(bytes: &[u8], must_go: impl Fn(char) -> bool, mut put: impl FnMut(&str)) {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| must_go(c)) {
            put(&rest[..at]);
            let (gone, after) = rest[at..].split_at(c.len_utf8());
            match gone {
                "\\" => put("\\\\"),
                _ => put_hex(gone.as_bytes(), &mut put),
            }
            rest = after;
        }
        put(rest);
        put_hex(chunk.invalid(), &mut put);
    }
}

fn put_hex(bytes: &[u8], put: &mut impl FnMut(&str)) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        let hex = [b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        put(str::from_utf8(&hex).expect("a backslash, an x and two digits are ASCII"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The characters that no line may hold unescaped, one by one: the test checks the ranges against this list.
    const DANGEROUS: &[char] = &[
        '\u{85}', '\u{9b}', '\u{61c}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}',
        '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
        '\u{2060}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}', '\u{feff}',
    ];

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        assert_eq!(Escaped(bytes).to_string().as_bytes(), out, "both ways of escaping agree");
        String::from_utf8(out).expect("what is escaped is text")
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            bytes.extend_from_slice(&rest.as_bytes()[..at]);
            rest = match rest[at + 1..].strip_prefix('x') {
                Some(hex) => {
                    bytes.push(u8::from_str_radix(&hex[..2], 16).expect("two hexadecimal digits"));
                    &hex[2..]
                }
                None => {
                    bytes.push(b'\\');
                    rest[at + 1..]
                        .strip_prefix('\\')
                        .expect("a backslash stands before x or a backslash")
                }
            };
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    #[test]
    fn a_word_with_a_quote_is_one_word_for_the_shell() {
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted("a b"), "'a b'");
        assert_eq!(shell_quoted(""), "''");
        assert_eq!(shell_quoted("/a/topology.toml"), "/a/topology.toml");
    }

    #[test]
    fn a_path_that_begins_with_a_dash_is_no_option() {
        let paths = ["-x/y", "a/-x", "./-x", ""].map(|path| operand(Path::new(path)));
        assert_eq!(paths, ["./-x/y", "a/-x", "./-x", ""]);
    }

    #[test]
    fn every_single_byte_stays_on_one_line_and_comes_back() {
        for byte in 0..=255 {
            let text = escaped(&[b'a', byte, b'z']);
            assert!(!text.contains(is_unprintable), "{byte:#x} became {text:?}");
            assert_eq!(unescape(&text), [b'a', byte, b'z']);
        }
    }

    #[test]
    fn what_turns_or_hides_text_is_escaped_byte_by_byte() {
        for &c in DANGEROUS {
            let text = escaped(format!("a{c}z").as_bytes());
            assert!(text.is_ascii(), "{c:?} became {text:?}");
            assert_eq!(unescape(&text), format!("a{c}z").as_bytes());
            assert_eq!(one_line(&c.to_string()).len(), 4 * c.len_utf8());
        }
    }

    #[test]
    fn text_in_other_scripts_is_left_as_it_is() {
        for text in ["", "kiwi.cs.ucla.edu", "+34.068930-118.445127", "Zürich 東京 Αθήνα 🦀"]
        {
            assert_eq!(escaped(text.as_bytes()), text);
        }
    }

    #[test]
    fn a_backslash_is_doubled_only_where_it_must_be_undone() {
        assert_eq!(escaped(br"a\x41"), r"a\\x41");
        assert_eq!(one_line("a\\x41\n"), r"a\x41\x0a");
    }

    #[test]
    fn half_a_character_is_escaped_and_the_rest_is_kept() {
        assert_eq!(escaped(b"\xe6\x9d a \xff\xc3\xa9"), r"\xe6\x9d a \xffé");
    }

    proptest! {
        #[test]
        fn any_bytes_stay_on_one_line_and_come_back(bytes: Vec<u8>) {
            let text = escaped(&bytes);
            prop_assert!(!text.contains(is_unprintable));
            prop_assert_eq!(unescape(&text), bytes);
        }

        #[test]
        fn any_text_stays_on_one_line_and_comes_back(text: String) {
            prop_assert_eq!(unescape(&escaped(text.as_bytes())), text.as_bytes());
            prop_assert!(!one_line(&text).contains(is_unprintable));
        }
    }
}
