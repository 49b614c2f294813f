//! Decimals as text: converts what a client wrote to the form that a source expects, without a float in between.
//!
//! A float would be precise enough to find places. But 0.1 km must become 100 m, not 100.00000000000001, and equal
//! questions must be equal as text.

/// Number of fraction digits that are kept; for metres, the size of an atom.
const FRACTION_DIGITS_MAX: usize = 9;

/// A signed decimal without a leading plus, its digits unchanged.
pub(super) fn without_plus(text: &[u8]) -> String {
    String::from_utf8_lossy(text.strip_prefix(b"+").unwrap_or(text)).into_owned()
}

/// An unsigned decimal with its point moved `places` digits to the right, without redundant zeros. A zero becomes
/// `least`, because services reject a radius of 0.
pub(super) fn shifted(text: &[u8], places: usize, least: &str) -> String {
    let text = String::from_utf8_lossy(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let moved = fraction.chars().chain(std::iter::repeat('0')).take(places);
    let whole: String = whole.chars().chain(moved).collect();
    let fraction: String = fraction.chars().skip(places).take(FRACTION_DIGITS_MAX).collect();
    match (whole.trim_start_matches('0'), fraction.trim_end_matches('0')) {
        ("", "") => least.to_string(),
        (whole, "") => whole.to_string(),
        ("", fraction) => ["0.", fraction].concat(),
        (whole, fraction) => [whole, ".", fraction].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_goes_and_every_digit_stays() {
        for (text, expected) in
            [("+34.068930", "34.068930"), ("-118.445127", "-118.445127"), ("+05.50", "05.50")]
        {
            assert_eq!(without_plus(text.as_bytes()), expected);
        }
    }

    #[test]
    fn kilometres_become_metres_by_moving_the_point() {
        for (text, expected) in [
            ("10", "10000"),
            ("0.1", "100"),
            ("007.25", "7250"),
            ("50.000", "50000"),
            ("1.23456", "1234.56"),
            ("1.2345600", "1234.56"),
            ("0.0005", "0.5"),
            ("0.00000000001", "0.00000001"),
            ("0", "1"),
            ("0.000", "1"),
            ("0.0000000000000000001", "1"),
        ] {
            assert_eq!(shifted(text.as_bytes(), 3, "1"), expected, "{text}");
        }
        assert_eq!(shifted(b"0.50", 0, "0.001"), "0.5");
        assert_eq!(shifted(b"0", 0, "0.001"), "0.001");
        let long = format!("0.{}1", "0".repeat(10_000));
        assert_eq!(shifted(long.as_bytes(), 3, "1"), "1");
    }
}
