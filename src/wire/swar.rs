//! Reads and writes digits, eight at a time.
//!
//! In: eight digits of a text, or a number below 10^8. Out: the number, or its eight digits. It does not
//! know what the digits mean.
//!
//! The idea: eight bytes form one machine word. To read them, three multiplications combine pairs of digits
//! into numbers below 100, pairs of these into numbers below 10,000, and the last pair into the result.
//! Writing takes the same steps in reverse.
//!
//! ```text
//!   '1' '4' '7' '9' '4' '1' '3' '8'      bytes, the first the lowest of the word
//!      14      79      41      38        x 10 + next
//!          1479            4138          x 100 + next
//!                 14794138               x 10,000 + next
//! ```
//!
//! Three fast paths use it, for the form that servers and most clients write: `Stamp::read`, `skip_location`
//! and `is_difference` in `command.rs`. Each falls back to a plain reader for every form, and property tests
//! check that both agree. The fast paths save instructions (`cargo bench --bench parts -- instructions`):
//! parsing an IAMAT takes 516 instead of 875, parsing an AT 637 instead of 1,141, an IAMAT in a turn of 100
//! without neighbours 1,632 instead of 1,992.

/// The number of digits in a word.
const WORD: usize = 8;
/// A word of eight digits 0.
const ZEROS: u64 = u64::from_le_bytes([b'0'; WORD]);

/// Returns the number that eight digits form; `None` if a byte is not a digit.
#[inline]
pub(crate) fn eight_of(text: [u8; WORD]) -> Option<u64> {
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; WORD]);
    const ABOVE_NINE: u64 = u64::from_le_bytes([0x80 - 10; WORD]);
    let values = u64::from_le_bytes(text) ^ ZEROS;
    // A byte that is not a digit gets its high bit set in one of the two terms. A sum may carry into the next
    // byte, but only out of a byte whose own high bit is set.
    let others = (values.wrapping_add(ABOVE_NINE) | values) & HIGH_BITS;
    (others == 0).then(|| number(values))
}

/// Returns the number that eight digits form, each a byte from 0 to 9, the first digit in the lowest byte.
fn number(digits: u64) -> u64 {
    const LOW_BYTES: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & LOW_BYTES).wrapping_mul((1_000_000 << 32) + 100);
    let lower = ((pairs >> 16) & LOW_BYTES).wrapping_mul((10_000 << 32) + 1);
    upper.wrapping_add(lower) >> 32
}

/// Whether `text` has a digit where `shape` has a 0, and the same byte as `shape` everywhere else.
/// `shape`: eight bytes or more, and a constant, so that the compiler evaluates it.
#[inline(always)]
pub(crate) fn has_shape<const LENGTH: usize>(text: &[u8; LENGTH], shape: &[u8; LENGTH]) -> bool {
    // The last eight bytes may overlap the first eight, which does no harm.
    // As a closure, `word_has_shape` was not always inlined, and then `shape` was no constant (3 % of a burst).
    let firsts = (text.first_chunk(), shape.first_chunk());
    let lasts = (text.last_chunk(), shape.last_chunk());
    matches!(firsts, (Some(text), Some(shape)) if word_has_shape(*text, *shape))
        && matches!(lasts, (Some(text), Some(shape)) if word_has_shape(*text, *shape))
}

#[inline(always)]
fn word_has_shape(text: [u8; WORD], shape: [u8; WORD]) -> bool {
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; WORD]);
    let differences = u64::from_le_bytes(text) ^ u64::from_le_bytes(shape);
    // XOR of a digit with the digit 0 is at most 9.
    let above = u64::from_le_bytes(shape.map(|byte| if byte == b'0' { 0x80 - 10 } else { 0x7f }));
    let others = (differences & !HIGH_BITS).wrapping_add(above) | differences;
    others & HIGH_BITS == 0
}

/// Returns the eight digits of a number below 10^8, with leading zeros.
pub(crate) fn eight_digits(number: u32) -> [u8; WORD] {
    debug_assert!(number < 100_000_000);
    let fours = u64::from(number / 10_000) | (u64::from(number % 10_000) << 32);
    // A product and a shift replace each division. The first replacement is exact below 10,000, the second below 100.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - tens * 10) << 8);
    (ones + ZEROS).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_read_and_nothing_else_is() {
        for byte in 0..=u8::MAX {
            for index in 0..WORD {
                for around in [b"98765432", b"00000000"] {
                    let mut text = *around;
                    text[index] = byte;
                    let expected = str::from_utf8(&text).ok().filter(|_| byte.is_ascii_digit());
                    assert_eq!(eight_of(text), expected.map(|text| text.parse().unwrap()));
                }
            }
        }
        for text in [
            b"\xb0\xb1\xff\xff\x3a\x2f01",
            b"::::::::",
            b"////////",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(eight_of(*text), None);
        }
    }

    #[test]
    fn a_shape_has_digits_where_it_has_zeros_and_nothing_else_elsewhere() {
        let shape = b"00.000000";
        for byte in 0..=u8::MAX {
            for index in 0..shape.len() {
                let mut text = *b"12.345678";
                text[index] = byte;
                let expected = if index == 2 { byte == b'.' } else { byte.is_ascii_digit() };
                assert_eq!(has_shape(&text, shape), expected, "{byte} at {index}");
            }
        }
        assert!(!has_shape(b"\xff\xff.\xff\xff\xff\xff\xff\xff", shape));
    }

    #[test]
    fn what_is_written_is_what_std_writes_and_is_read_again() {
        let all_pairs = (0..10_000).flat_map(|low| [low, low * 10_000, 99_990_000 + low]);
        let spread = (0..100_000_000).step_by(9_973);
        for number in all_pairs.chain(spread) {
            let text = eight_digits(number);
            assert_eq!(str::from_utf8(&text).unwrap(), format!("{number:08}"));
            assert_eq!(eight_of(text), Some(u64::from(number)));
        }
    }
}
