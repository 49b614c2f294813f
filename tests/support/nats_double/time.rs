//! Dates as the server writes them (RFC 3339, UTC, without trailing zeros), and as a client may write them.

use herd_reactor::UnixNanos;
use toml_datetime::{Datetime, Offset};

const DAY: u64 = 86_400;

/// `2026-11-29T12:13:07.627740147Z`.
pub fn rfc3339(time: UnixNanos) -> String {
    let (seconds, nanos) = (time.0 / 1_000_000_000, time.0 % 1_000_000_000);
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3_600, seconds % 3_600 / 60, seconds % 60);
    let fraction = match nanos {
        0 => String::new(),
        _ => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Reads a date with its zone; `None` for anything else, and for dates before 1970.
pub fn parse(text: &str) -> Option<UnixNanos> {
    let Datetime { date: Some(date), time: Some(time), offset: Some(offset) } =
        text.parse().ok()?
    else {
        return None;
    };
    let days = (1970..date.year).map(year_days).sum::<u64>()
        + (1..date.month).map(|month| month_days(date.year, month)).sum::<u64>()
        + u64::from(date.day - 1);
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let second = u64::from(time.second.unwrap_or(0));
    let clock = u64::from(time.hour) * 3_600 + u64::from(time.minute) * 60 + second;
    let seconds = (days * DAY + clock).checked_add_signed(-minutes * 60)?;
    Some(UnixNanos(seconds * 1_000_000_000 + u64::from(time.nanosecond.unwrap_or(0))))
}

/// The date of the day with this number since 1970.
fn date(mut days: u64) -> (u16, u8, u64) {
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_days(year: u16) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: u16, month: u8) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
