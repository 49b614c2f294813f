//! A date and a time of day as seconds since 1970.
//!
//! In: a text in the form of RFC 3339. Out: seconds and nanoseconds. toml_datetime, the reader of the dates of TOML, checks
//! the form, the length of each month and the clock; this file counts the days.

use toml_datetime::{Datetime, Offset};

/// Parses `2026-11-29T14:15:32.862+02:00`; without an offset it is UTC. Of the fraction nine digits count, and the leap
/// second 60 becomes 59.999999999. `None` also for a time before 1970.
pub(crate) fn posix_time(text: &str) -> Option<(u64, u32)> {
    let Ok(Datetime { date: Some(date), time: Some(time), offset }) = text.parse() else {
        return None;
    };
    let (second, nanos) = match time.second? {
        60 => (59, 999_999_999),
        second => (second, time.nanosecond.unwrap_or(0)),
    };
    let ahead = match offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        _ => 0,
    };
    let days = days_until(date.year.into(), date.month.into()) + i64::from(date.day) - 1;
    let minutes = (days * 24 + i64::from(time.hour)) * 60 + i64::from(time.minute) - ahead;
    Some((u64::try_from(minutes * 60 + i64::from(second)).ok()?, nanos))
}

/// The days from 1 January 1970 to the first of this month. The year begins in March here, so that a leap day is its last
/// one. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
fn days_until(year: i64, month: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719_468
}
