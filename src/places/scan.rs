//! How far a text goes on without a byte that JSON treats in a way of its own.
//!
//! Nearly all of what is written is such text, so eight bytes are looked at together, as one
//! number. What the trick rests on: a byte that is less than `n` borrows when `n` is taken from it.
//!
//! Source: "Determine if a word has a byte less than n", Bit Twiddling Hacks, S. E. Anderson.

/// So many bytes are looked at together.
const WORD: usize = 8;

/// A one in each byte, and in each byte its highest bit.
const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES << 7;

/// How many bytes `text` begins with that are neither control characters (below 0x20) nor among `but`.
pub(super) fn plain_bytes<const N: usize>(text: &[u8], but: [u8; N]) -> usize {
    let (words, rest) = text.as_chunks::<WORD>();
    for (number, word) in words.iter().enumerate() {
        let found = special(u64::from_le_bytes(*word), but);
        if found != 0 {
            return number * WORD + found.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |byte: &u8| *byte < 0x20 || but.contains(byte);
    text.len() - rest.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The highest bit of the first byte that is a control character or among `but`; of those above it, perhaps.
fn special<const N: usize>(word: u64, but: [u8; N]) -> u64 {
    but.iter().fold(less_than(word, 0x20), |found, byte| {
        found | less_than(word ^ (ONES * u64::from(*byte)), 1)
    })
}

/// The highest bit of each byte that is less than `n`, which is 128 at most. Of the bytes above the first
/// such one it may be set without cause, since that one's borrow runs on into them; below, never.
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
