//! A fast scan for the next byte that has a special meaning in JSON.
//!
//! Nearly all output is plain text, so eight bytes are examined together, as one number. The trick: subtracting `n`
//! from a byte that is less than `n` borrows.
//!
//! Source: "Determine if a word has a byte less than n", Bit Twiddling Hacks, S. E. Anderson.

/// Number of bytes that are examined together.
const WORD: usize = 8;

/// The lowest bit of each byte; [`HIGHS`] has the highest bit of each.
const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES << 7;

/// The number of bytes at the start of `text` that are neither control characters (below 0x20) nor in `but`.
pub(super) fn plain_bytes<const N: usize>(text: &[u8], but: [u8; N]) -> usize {
    let Some(last) = text.last_chunk() else {
        let is_special = |byte: &u8| *byte < 0x20 || but.contains(byte);
        return text.iter().position(is_special).unwrap_or(text.len());
    };
    // The last word may overlap the one before it, whose bytes are plain if it is reached.
    let (words, _) = text[..text.len() - 1].as_chunks::<WORD>();
    let starts = (0..).step_by(WORD).zip(words).chain([(text.len() - WORD, last)]);
    for (start, word) in starts {
        let found = special(u64::from_le_bytes(*word), but);
        if found != 0 {
            return start + found.trailing_zeros() as usize / 8;
        }
    }
    text.len()
}

/// Marks, by its highest bit, the first byte that is a control character or in `but`; bytes above it may be marked
/// too.
fn special<const N: usize>(word: u64, but: [u8; N]) -> u64 {
    but.iter().fold(less_than(word, 0x20), |found, byte| {
        found | less_than(word ^ (ONES * u64::from(*byte)), 1)
    })
}

/// Sets the highest bit of each byte that is less than `n`, which is at most 128. Bytes above the first match may be
/// marked wrongly, since its borrow carries into them; bytes below it never are.
fn less_than(word: u64, n: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(n)) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_byte_ends_it_or_does_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..36 {
                let mut text = [b'a'; 36];
                text[at] = byte;
                let ends = byte < 0x20 || byte == b'"' || byte == 0xff;
                let expected = if ends { at } else { 36 };
                assert_eq!(plain_bytes(&text, [b'"', 0xff]), expected, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_goes_as_far_as_if_each_byte_were_looked_at(text: Vec<u8>, but: [u8; 3]) {
            let is_special = |byte: &u8| *byte < 0x20 || but.contains(byte);
            let expected = text.iter().position(is_special).unwrap_or(text.len());
            prop_assert_eq!(plain_bytes(&text, but), expected);
        }
    }
}
