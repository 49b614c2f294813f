//! Dates as HTTP headers have them: `Sun, 06 Nov 1994 08:49:37 GMT`.
//!
//! In: bytes. Out: seconds since the Unix epoch. Only the form that servers must send (RFC 9110,
//! section 5.6.7, IMF-fixdate) is read; the two that have been obsolete since 1998 count as no
//! date.

use super::head::number;

/// Seconds from 1970-01-01 to a date; `None` if it is none, or before.
pub(super) fn unix_seconds(text: &[u8]) -> Option<u64> {
    let &[_, _, _, b',', b' ', d1, d2, b' ', m1, m2, m3, b' ', ref year_and_time @ ..] = text
    else {
        return None;
    };
    let &[ref year @ .., b' ', h1, h2, b':', min1, min2, b':', s1, s2, b' ', b'G', b'M', b'T'] =
        year_and_time
    else {
        return None;
    };
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let month = MONTHS.iter().position(|month| **month == [m1, m2, m3])? as u64 + 1;
    let year = number(year).filter(|year| (1970..=9999).contains(year) && text.len() == 29)?;
    let day = number(&[d1, d2]).filter(|day| (1..=31).contains(day))?;
    let hour = number(&[h1, h2]).filter(|hour| *hour < 24)?;
    let minute = number(&[min1, min2]).filter(|minute| *minute < 60)?;
    // 60: a leap second.
    let second = number(&[s1, s2]).filter(|second| *second <= 60)?;
    Some(((days(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
///
/// Counted in years that begin on the first of March: then the leap day is the last of its year,
/// and the months' first days lie on the line 153 m / 5 (31, 30, 31, 30, 31 days, again and again).
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let (year, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let years = 365 * year + year / 4 - year / 100 + year / 400;
    (years + (153 * months + 2) / 5 + day - 1).checked_sub(DAYS_FROM_MARCH_OF_YEAR_0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_so_many_seconds() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("Wed, 01 Mar 2000 00:00:00 GMT", Some(951_868_800)),
            ("Sun, 22 Nov 2026 11:15:22 GMT", Some(1_795_346_122)),
            ("Fri, 31 Dec 9999 23:59:60 GMT", Some(253_402_300_800)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 06 Nov +994 08:49:37 GMT", None),
            ("Sun, 06 Nov 01994 08:49:37 GMT", None),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("", None),
        ] {
            assert_eq!(unix_seconds(text.as_bytes()), seconds, "{text}");
        }
    }
}
