//! The time at the beginning of a log line.
//!
//! In: nanoseconds since 1970, UTC. Out: `2026-11-22T10:16:39.123456Z`. It reads no clock, and knows no
//! time zone and no leap second (Unix time has none).
//!
//! The idea: a second has many lines, so the text up to the second is cached, and only the six
//! digits after it are rewritten. Lines of one read have the same time and reuse the whole text.

/// The length of a stamp, `2026-11-22T10:16:39.123456Z`, in bytes. The year has four digits until 2554, where the
/// nanoseconds overflow.
pub(super) const STAMP_BYTES: usize = 27;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

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
        let (year, month, day) = civil_from_days((self.second / SECONDS_PER_DAY) as u32);
        let of_day = (self.second % SECONDS_PER_DAY) as u32;
        put_digits(&mut self.text[0..4], year);
        put_digits(&mut self.text[5..7], month);
        put_digits(&mut self.text[8..10], day);
        put_digits(&mut self.text[11..13], of_day / 3_600);
        put_digits(&mut self.text[14..16], of_day / 60 % 60);
        put_digits(&mut self.text[17..19], of_day % 60);
    }
}

/// Returns the time in a form for file names, without colons: `2026-11-22T10-16-39Z`.
pub(super) fn for_a_file_name(unix_ns: u64) -> String {
    let mut stamp = TimestampCache::new();
    let text = String::from_utf8_lossy(stamp.at(unix_ns));
    format!("{}Z", text[..19].replace(':', "-"))
}

#[inline]
fn put_digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Returns year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// It counts in years that begin on the first of March: the leap day is then the last day of its year,
/// and the first days of the months follow the line 153 m / 5 (31, 30, 31, 30, 31 days, repeated).
fn civil_from_days(days: u32) -> (u32, u32, u32) {
    const DAYS_FROM_MARCH_OF_YEAR_0: u32 = 719_468;
    const DAYS_IN_400_YEARS: u32 = 146_097;

    let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
    let (cycle, day_of_cycle) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    // After subtracting the leap days so far, every year has 365 days.
    let leap_days = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let months_after_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_after_march + 2) / 5 + 1;
    let month =
        if months_after_march < 10 { months_after_march + 3 } else { months_after_march - 9 };
    let year = 400 * cycle + year_of_cycle + u32::from(month <= 2);
    (year, month, day)
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
        for days in 0..=(u64::MAX / NANOS_PER_SECOND / SECONDS_PER_DAY) as u32 {
            assert_eq!(civil_from_days(days), (year, month, day));
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
