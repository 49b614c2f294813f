//! The parts of certificates that we parse ourselves.

use places_herd::net::tls::cert_info::CertInfo;
use places_herd::net::tls::mutual::dns_names;

/// A parsed serial number is in the certificate byte by byte, and its dates are in it in the form of the
/// calendar. Each parsed name is a possible server's name.
pub fn certificates(data: &[u8]) {
    if let Some(facts) = CertInfo::of(data) {
        let CertInfo { serial, not_before, not_after } = &facts;
        assert!(contains(data, serial));
        assert_eq!(facts.serial_in_hex().len(), 2 * serial.len());
        for seconds in [*not_before, *not_after] {
            let long = date(seconds);
            let is_there = contains(data, long.as_bytes()) || contains(data, &long.as_bytes()[2..]);
            assert!(is_there, "{long} is not in it");
        }
    }
    for name in dns_names(data) {
        assert!(!name.is_empty() && name.len() < 256);
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
}

fn contains(data: &[u8], part: &[u8]) -> bool {
    part.is_empty() || data.windows(part.len()).any(|window| window == part)
}

/// Formats a time as YYYYMMDDHHMMSSZ, by counting years and months.
fn date(seconds: u64) -> String {
    let (mut days, clock) = (seconds / 86_400, seconds % 86_400);
    let leaps = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leaps(year)) {
        days -= 365 + u64::from(leaps(year));
        year += 1;
    }
    let february = 28 + u64::from(leaps(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{year:04}{month:02}{:02}{hour:02}{minute:02}{second:02}Z", days + 1)
}
