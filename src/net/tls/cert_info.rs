//! The serial number of a certificate and its dates, which no verifier reports.
//!
//! In: a certificate as DER. Out: [`CertInfo`], or nothing if the bytes are not a certificate. Parses up to the
//! dates and no further; ignores keys, names and signatures. Other code decides whether a certificate is valid.
//!
//! DER consists of nested triples of tag, length and value:
//!
//! ```text
//! Certificate { TBSCertificate { [0] version, serial, algorithm, issuer, Validity { from, until }, ...
//! ```
//!
//! RFC 5280, sections 4.1 and 4.1.2.5; X.690.

use crate::wire::calendar::posix_time;
use herd_reactor::UnixNanos;
use std::time::Duration;

/// Tags, X.690 section 8.1.2.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

const SECONDS_A_DAY: u64 = 86_400;

/// The serial number and the dates of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertInfo {
    /// The serial number, unique for its authority; big-endian, as encoded in the certificate.
    pub serial: Vec<u8>,
    /// Start of its validity, in seconds since 1970.
    pub not_before: u64,
    /// Last second of its validity, in seconds since 1970.
    pub not_after: u64,
}

impl CertInfo {
    /// Parses `certificate`; `None` if it is not a certificate, or is dated before 1970.
    pub fn of(certificate: &[u8]) -> Option<CertInfo> {
        let (certificate, _) = value(certificate, SEQUENCE)?;
        let (content, _) = value(certificate, SEQUENCE)?;
        // A certificate of version 1 has no version field.
        let content = value(content, VERSION).map_or(content, |(_, rest)| rest);
        let (serial, content) = value(content, INTEGER)?;
        let (_algorithm, content) = value(content, SEQUENCE)?;
        let (_issuer, content) = value(content, SEQUENCE)?;
        let (validity, _) = value(content, SEQUENCE)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, _) = time(validity)?;
        Some(CertInfo { serial: serial.to_vec(), not_before, not_after })
    }

    /// The time until the last second of its validity; 0 then and later.
    pub fn left(&self, UnixNanos(nanos): UnixNanos) -> Duration {
        Duration::from_secs(self.not_after).saturating_sub(Duration::from_nanos(nanos))
    }

    /// The number of whole days until the certificate expires; 0 on the last day and later.
    pub fn days_left(&self, wall: UnixNanos) -> u64 {
        self.left(wall).as_secs() / SECONDS_A_DAY
    }

    /// The serial number in hexadecimal digits.
    pub fn serial_in_hex(&self) -> String {
        self.serial.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The value at the start of `input`, which must have this tag, and the bytes after it.
fn value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // The low bits are the number of length bytes. Three are enough for any certificate.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// The time at the start of `input`, in seconds since 1970, and the bytes after it.
fn time(input: &[u8]) -> Option<(u64, &[u8])> {
    let ((text, rest), century) = match value(input, UTC_TIME) {
        // This form has two digits of the year, which is from 1950 to 2049.
        Some((text, rest)) => ((text, rest), if text < &b"50"[..] { "20" } else { "19" }),
        None => (value(input, GENERALIZED_TIME)?, ""),
    };
    let text = format!("{century}{}", str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z').unwrap_or_default();
    let is_time = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let [year, month, day, hour, minute, second] =
        [0..4, 4..6, 6..8, 8..10, 10..12, 12..15].map(|range| text.get(range).unwrap_or_default());
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}");
    let (seconds, nanos) = posix_time(&text).filter(|_| is_time)?;
    // A certificate has no leap second.
    (nanos == 0).then_some((seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> Option<u64> {
        let bytes = [&[UTC_TIME, text.len() as u8], text.as_bytes()].concat();
        time(&bytes).map(|(seconds, _)| seconds)
    }

    fn generalized(text: &str) -> Option<u64> {
        let bytes = [&[GENERALIZED_TIME, text.len() as u8], text.as_bytes()].concat();
        time(&bytes).map(|(seconds, _)| seconds)
    }

    #[test]
    fn times_are_read_as_date_shows_them() {
        // The numbers come from date -u -d '2026-11-22 10:16:39' +%s and so on.
        for (text, seconds) in [
            ("700101000000Z", 0),
            ("261122101639Z", 1_795_342_599),
            ("240229235959Z", 1_709_251_199),
            ("240301000000Z", 1_709_251_200),
            ("491231235959Z", 2_524_607_999),
        ] {
            assert_eq!(utc(text), Some(seconds), "{text}");
        }
        assert_eq!(generalized("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(generalized("40960101000000Z"), Some(67_090_118_400));
        assert_eq!(generalized("21000301000000Z"), Some(4_107_542_400));
    }

    #[test]
    fn what_is_no_time_is_none() {
        assert_eq!(utc("26113012000é"), None);
        for text in ["", "Z", "2611221016Z", "261122101639", "26112210163xZ", "500101000000Z"] {
            assert_eq!(utc(text), None, "{text}");
        }
        // RFC 5280, section 4.1.2.5: its last letter is Z, which RFC 3339 would let be small.
        assert_eq!(utc("261122101639z"), None);
        assert_eq!(generalized("19691231235959Z"), None);
        assert_eq!(generalized("+0261122101639Z"), None);
    }

    #[test]
    fn what_is_on_no_calendar_and_no_clock_is_no_time() {
        for text in [
            "260001000000Z",
            "261301000000Z",
            "260100000000Z",
            "260132000000Z",
            "260431000000Z",
            "260229000000Z",
            "260101240000Z",
            "260101006000Z",
            "260101000060Z",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
        assert_eq!(generalized("21000229000000Z"), None);
        assert!(utc("240229000000Z").is_some() && generalized("24000229000000Z").is_some());
    }

    fn certificate() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a.b".to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x12, 0xab]));
        params.not_before = rcgen::date_time_ymd(2026, 11, 22);
        params.not_after = rcgen::date_time_ymd(2026, 12, 2);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_tells_its_number_and_its_dates() {
        let info = CertInfo::of(&certificate()).unwrap();
        assert_eq!(info.serial_in_hex(), "12ab");
        assert_eq!(info.not_after - info.not_before, 10 * SECONDS_A_DAY);
        for (seconds, days) in [(0, 10), (1, 9), (9 * SECONDS_A_DAY + 1, 0), (1 << 30, 0)] {
            let wall = UnixNanos((info.not_before + seconds) * 1_000_000_000);
            assert_eq!(info.days_left(wall), days, "after {seconds} s");
        }
    }

    #[test]
    fn half_a_certificate_is_none_and_no_cut_makes_it_panic() {
        let whole = certificate();
        for length in 0..whole.len() {
            let _ = CertInfo::of(&whole[..length]);
        }
        assert_eq!(CertInfo::of(&whole[..40]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0_usize..400, byte: u8) {
            let _ = CertInfo::of(&bytes);
            let mut bent = certificate();
            let at = at % bent.len();
            bent[at] = byte;
            let _ = CertInfo::of(&bent);
        }
    }
}
