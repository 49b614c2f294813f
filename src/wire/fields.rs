//! Splits a line into fields at white space.
//!
//! In: a line without its delimiter. Out: its fields from left to right, each a slice of the line.
//! The [command](super::command) knows what a field means.
//!
//! White space is these six bytes and no others: SP, TAB, CR, LF, FF, VT. Unicode has further white space,
//! at some of which Python splits; here it is part of a field, like every other byte.
//! Source: docs/protocol.md, "What both have in common".

use super::parse_error::ParseError;

/// Whether the line consists of white space only. Both ports ignore blank lines.
///
/// Source: docs/protocol.md, "What both have in common".
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(is_white)
}

/// Returns the line without the white space around it.
pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_white(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

fn is_white(byte: &u8) -> bool {
    // Most bytes are above the blank, so that one comparison decides.
    *byte <= b' ' && matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Returns the index of the first white byte, or the length of `text`.
///
/// It checks eight bytes at a time for a byte that is as low as white space.
#[inline]
pub(crate) fn end_of_field(text: &[u8]) -> usize {
    const ABOVE_BLANK: u64 = u64::from_le_bytes([b' ' + 1; 8]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    let mut from = 0;
    while let Some(eight) = text[from..].first_chunk() {
        let word = u64::from_le_bytes(*eight);
        // Sets the high bit of each low byte. Only the first one is reliable: the subtraction borrows
        // from the bytes after it.
        let low = word.wrapping_sub(ABOVE_BLANK) & !word & HIGH_BITS;
        from += low.trailing_zeros() as usize / 8;
        if low != 0 {
            if is_white(&text[from]) {
                return from;
            }
            from += 1;
        }
    }
    let rest = &text[from..];
    from + rest.iter().position(is_white).unwrap_or(rest.len())
}

/// The unread rest of a line; as an iterator, its fields.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    /// Whether every field so far was preceded by a single blank or by nothing.
    has_single_blanks: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.skip_white();
        let end = end_of_field(self.rest);
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!field.is_empty()).then_some(field)
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn of(line: &'a [u8]) -> Fields<'a> {
        Fields { rest: line, has_single_blanks: true }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the next field, or an error at the end of the line.
    #[inline(always)]
    pub(crate) fn operand(&mut self) -> Result<&'a [u8], ParseError> {
        self.next().ok_or(ParseError::Operands)
    }

    /// Returns the text of the next field, which `read` parses.
    ///
    /// Every report has a location and a stamp, so `read` finds the end of such a field itself, and no byte is
    /// examined twice. It returns the rest of the line; if the rest begins with anything but white space, the result is the error `invalid`.
    #[inline(always)]
    pub(crate) fn field_with(
        &mut self,
        read: impl FnOnce(&'a [u8]) -> Option<&'a [u8]>,
        invalid: ParseError,
    ) -> Result<&'a [u8], ParseError> {
        self.skip_white();
        if self.rest.is_empty() {
            return Err(ParseError::Operands);
        }
        let rest = read(self.rest).ok_or(invalid)?;
        if !rest.first().is_none_or(is_white) {
            return Err(invalid);
        }
        let text = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Ok(text)
    }

    /// Returns the text read since `before`, which starts with a field, if only single blanks separate the
    /// fields: the caller can then copy it in one piece.
    #[inline(always)]
    pub(crate) fn joined_since(&self, before: Fields<'a>) -> Option<&'a [u8]> {
        let text = before.rest.split_at(before.rest.len() - self.rest.len()).0;
        self.has_single_blanks.then_some(text)
    }

    /// Fails if the line has more fields.
    pub(crate) fn end(&self) -> Result<(), ParseError> {
        if is_blank(self.rest) { Ok(()) } else { Err(ParseError::Operands) }
    }

    #[inline(always)]
    pub(crate) fn skip_white(&mut self) {
        match self.rest {
            // Nearly always there is one blank, or none at the beginning of the line.
            [b' ', next, ..] if !is_white(next) => self.rest = &self.rest[1..],
            [next, ..] if !is_white(next) => {}
            _ => self.skip_more_white(),
        }
    }

    #[cold]
    fn skip_more_white(&mut self) {
        self.has_single_blanks = false;
        while let [white, rest @ ..] = self.rest
            && is_white(white)
        {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_six_bytes_are_white() {
        let white: Vec<u8> = (0..=u8::MAX).filter(|byte| is_blank(&[*byte])).collect();
        assert_eq!(white, [b'\t', b'\n', 0x0b, 0x0c, b'\r', b' ']);
    }

    #[test]
    fn fields_are_what_stands_between_white_space() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t\r\n\x0b\x0c", &[]),
            ("a", &["a"]),
            ("  a\tb\x0b \x0cc\u{a0}d\r", &["a", "b", "c\u{a0}d"]),
        ] {
            let fields: Vec<&[u8]> = Fields::of(line.as_bytes()).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|field| field.as_bytes()).collect();
            assert_eq!(fields, expected, "{line:?}");
            assert_eq!(is_blank(line.as_bytes()), expected.is_empty());
        }
    }

    #[test]
    fn a_field_ends_at_the_first_white_byte_wherever_it_stands() {
        for end in 0..20 {
            for byte in 0..=u8::MAX {
                let mut text = [b'c'; 20];
                text[end] = byte;
                let expected = text.iter().position(is_white).unwrap_or(text.len());
                assert_eq!(end_of_field(&text), expected, "{byte} at {end}");
                // Control characters before the end belong to the field.
                text[..end].fill(0x01);
                assert_eq!(end_of_field(&text), expected, "{byte} at {end}");
            }
        }
    }

    #[test]
    fn a_line_is_trimmed_at_its_ends_only() {
        for (line, expected) in [("", ""), (" \r", ""), ("\ta  b\r", "a  b"), ("a", "a")] {
            assert_eq!(trimmed(line.as_bytes()), expected.as_bytes(), "{line:?}");
        }
    }
}
