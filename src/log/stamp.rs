//! The time at the beginning of a log line.
//!
//! In: nanoseconds since 1970, UTC. Out: `2026-11-22T10:16:39.123456Z`. It reads no clock, and knows no
//! time zone and no leap second (Unix time has none).
//!
//! The idea: a second has many lines, so the text up to the second is cached, and only the six
//! digits after it are rewritten. Lines of one read have the same time and reuse the whole text.

use httpdate::fmt_http_date;
use std::time::{Duration, UNIX_EPOCH};

/// The length of a stamp, `2026-11-22T10:16:39.123456Z`, in bytes. The year has four digits until 2554, where the
/// nanoseconds overflow.
pub(super) const STAMP_BYTES: usize = 27;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The last stamp written.
#[derive(Clone, Debug)]
pub(super) struct TimestampCache {
    unix_ns: u64,
    second: u64,
    text: [u8; STAMP_BYTES],
}

impl TimestampCache {
    pub(super) fn new() -> TimestampCache {
        TimestampCache { unix_ns: 0, second: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }

    /// Returns the text of `unix_ns`, nanoseconds since 1970.
    #[inline]
    pub(super) fn at(&mut self, unix_ns: u64) -> &[u8; STAMP_BYTES] {
        if unix_ns == self.unix_ns {
            return &self.text;
        }
        self.unix_ns = unix_ns;
        let second = unix_ns / NANOS_PER_SECOND;
        if second != self.second {
            self.second = second;
            self.write_second();
        }
        let micros = (unix_ns - second * NANOS_PER_SECOND) as u32 / 1_000;
        put_digits(&mut self.text[20..26], micros);
        &self.text
    }

    fn write_second(&mut self) {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        // `Sun, 22 Nov 2026 10:16:39 GMT`
        let date = fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.second));
        let month = MONTHS.find(&date[8..11]).map_or(0, |at| at / 3 + 1);
        self.text[0..4].copy_from_slice(&date.as_bytes()[12..16]);
        put_digits(&mut self.text[5..7], month as u32);
        self.text[8..10].copy_from_slice(&date.as_bytes()[5..7]);
        self.text[11..19].copy_from_slice(&date.as_bytes()[17..25]);
    }
}

/// Returns the time as `2026-11-22T10:16:39.123456Z`, the form of RFC 3339.
pub(crate) fn rfc_3339(unix_ns: u64) -> String {
    String::from_utf8_lossy(TimestampCache::new().at(unix_ns)).into_owned()
}

/// Returns the time in a form for file names, without colons: `2026-11-22T10-16-39Z`.
pub(super) fn for_a_file_name(unix_ns: u64) -> String {
    format!("{}Z", rfc_3339(unix_ns)[..19].replace(':', "-"))
}

#[inline]
fn put_digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_ns: u64) -> String {
        String::from_utf8(TimestampCache::new().at(unix_ns).to_vec()).expect("digits")
    }

    #[test]
    fn every_day_until_the_clock_ends_follows_the_day_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for noon in (43_200..u64::MAX / NANOS_PER_SECOND).step_by(86_400) {
            let expected = format!("{year}-{month:02}-{day:02}T12:00:00.000000Z");
            assert_eq!(text(noon * NANOS_PER_SECOND), expected);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!(year, 2554);
    }

    #[test]
    fn a_stamp_has_microseconds_and_no_zone_but_utc() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(1_795_342_599_123_456_789), "2026-11-22T10:16:39.123456Z");
        assert_eq!(text(951_825_599_999_999_999), "2000-02-29T11:59:59.999999Z");
        assert_eq!(text(u64::MAX), "2554-07-21T23:34:33.709551Z");
    }

    #[test]
    fn the_cached_second_does_not_change_the_text() {
        let mut stamp = TimestampCache::new();
        for unix_ns in
            [5, 999_999_999, 1_000_000_000, 1_000_001_000, 0, u64::MAX, 86_400_000_000_000]
        {
            assert_eq!(stamp.at(unix_ns).as_slice(), text(unix_ns).as_bytes());
        }
    }

    #[test]
    fn a_file_name_has_no_colon() {
        assert_eq!(for_a_file_name(1_795_342_599_123_456_789), "2026-11-22T10-16-39Z");
    }
}
