//! Unsigned decimals of the herd's protocol: `1*digit ["." 1*digit]`.
//!
//! In: bytes. Out: the digits before and after the point, as a count and an integer, and the rest of the
//! bytes. Stamps, degrees, radii, bounds and differences are all decimals, each with
//! its own range, which the callers check.
//!
//! The idea: whole part and fraction are two integers that saturate. The checks "is the whole part
//! below a limit" and "is the fraction zero" are then exact for any number of digits:
//! `50.000...1` with a thousand zeros is above 50, although its nearest float is 50.

/// A decimal found at the start of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    /// The digits before the point: at least one, leading zeros included.
    pub(crate) whole: Digits,
    /// The digits after the point; zero digits if there is no point.
    pub(crate) fraction: Digits,
}

/// A run of digits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digits {
    /// The number of digits, leading zeros included.
    pub(crate) count: usize,
    /// The digits as an integer, saturated at `u64::MAX`; zero if there are no digits.
    pub(crate) value: u64,
}

impl Decimal {
    /// Parses the whole `text` as one decimal.
    ///
    /// `None` if it is not a decimal, or if anything follows the decimal.
    pub(crate) fn parse(text: &[u8]) -> Option<Decimal> {
        match Decimal::read(text)? {
            (decimal, []) => Some(decimal),
            _ => None,
        }
    }

    /// Reads the decimal at the start of `text`; also returns the rest of `text`.
    ///
    /// `None` if `text` does not start with a digit, or if no digit follows the point.
    pub(crate) fn read(text: &[u8]) -> Option<(Decimal, &[u8])> {
        let (whole, rest) = Digits::read(text)?;
        let (fraction, rest) = match rest {
            [b'.', behind @ ..] => Digits::read(behind)?,
            _ => (Digits::default(), rest),
        };
        Some((Decimal { whole, fraction }, rest))
    }

    /// Whether the decimal is at most `limit`. The result is exact for any number of digits; `limit`
    /// must be below `u64::MAX`.
    pub(crate) fn at_most(&self, limit: u64) -> bool {
        self.whole.value < limit || (self.whole.value == limit && self.fraction.value == 0)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.whole.value == 0 && self.fraction.value == 0
    }
}

impl Digits {
    /// Reads the digits at the start of `text`; `None` if it does not start with a digit.
    fn read(text: &[u8]) -> Option<(Digits, &[u8])> {
        // 19 digits always fit a u64; only longer runs need the slower, saturating loop.
        const COUNT_SAFE: usize = 19;
        let mut value = 0u64;
        let mut rest = text;
        while let [digit @ b'0'..=b'9', behind @ ..] = rest {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            rest = behind;
        }
        let count = text.len() - rest.len();
        if count > COUNT_SAFE {
            value = saturated(&text[..count]);
        }
        (count > 0).then_some((Digits { count, value }, rest))
    }
}

fn saturated(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value: u64, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_ends_where_its_digits_end() {
        let (decimal, rest) = Decimal::read(b"034.068930-118").unwrap();
        assert_eq!((decimal.whole.count, decimal.whole.value), (3, 34));
        assert_eq!((decimal.fraction.count, decimal.fraction.value), (6, 68930));
        assert_eq!(rest, b"-118");
        let (decimal, rest) = Decimal::read(b"7x.5").unwrap();
        assert_eq!((decimal.whole.value, decimal.fraction.count, rest), (7, 0, &b"x.5"[..]));
        assert_eq!(Decimal::read(b"1.2.3").unwrap().1, b".3");
    }

    #[test]
    fn half_a_number_is_no_number() {
        for text in ["", ".", "5.", ".5", "-5", "+5", "5.-1", "x", " 5", "\u{0665}"] {
            assert!(Decimal::read(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn comparing_is_exact_for_any_number_of_digits() {
        let zeros = "0".repeat(1000);
        for (text, expected) in [
            ("50".to_owned(), true),
            ("49.9".to_owned(), true),
            ("51".to_owned(), false),
            (format!("{zeros}50.{zeros}"), true),
            (format!("50.{zeros}1"), false),
            (format!("49.{}", "9".repeat(1000)), true),
            ("9".repeat(1000), false),
            ("18446744073709551666".to_owned(), false), // 2^64 + 50
        ] {
            let decimal = Decimal::parse(text.as_bytes()).unwrap();
            assert_eq!(decimal.at_most(50), expected, "{text}");
        }
        assert!(Decimal::parse(format!("0.{zeros}").as_bytes()).unwrap().is_zero());
        assert!(!Decimal::parse(format!("0.{zeros}1").as_bytes()).unwrap().is_zero());
    }

    #[test]
    fn digits_end_at_any_byte_that_is_none() {
        for count in 0..20 {
            for behind in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
                for length_behind in [0, 1, 12] {
                    let digits = &b"98765432101234567890"[..count];
                    let text = [digits, &vec![behind; length_behind]].concat();
                    let value = digits.iter().fold(0, |value, d| value * 10 + u64::from(d - b'0'));
                    match Digits::read(&text) {
                        None => assert_eq!(count, 0),
                        Some((read, rest)) => {
                            assert_eq!((read.count, read.value), (count, value), "{text:?}");
                            assert_eq!(rest.len(), length_behind);
                        }
                    }
                }
            }
        }
    }
}
