//! The format of a record: the line, its checksum, a newline.
//!
//! ```text
//! HERDJ 1 Alford places-herd
//! AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450 *5BCB6E01
//! ```
//!
//! In: lines, or bytes of a file. Out: records, or the lines in them. The checksum is CRC-32
//! (ISO-HDLC, as in zip and Ethernet) of the line's bytes, in eight upper-case hexadecimal digits. The reader
//! accepts only the exact form that the writer writes, so that it detects every flipped bit: in the line, in the
//! checksum, and between them.
//!
//! The format is text, so that `grep` and `tail` work on a journal.

use crate::files;

/// The bytes that a record adds to its line: ` *`, eight digits, a newline.
pub const OVERHEAD_BYTES: usize = 11;

/// The longest record: no AT line has more than 65,535 bytes.
pub const RECORD_BYTES_MAX: usize = 65_535 + OVERHEAD_BYTES;

/// The beginning of each line. It identifies the start of a record that follows garbage.
pub const LINE_START: &[u8] = b"AT ";

/// The version of the format that this program writes, and the highest that it reads.
pub const VERSION: u32 = 1;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
const MAGIC: &str = "HERDJ";

/// Appends the record of `line` to `out`.
///
/// `line`: any bytes but a newline. A reader finds a line that does not begin with [`LINE_START`] only if the
/// record before it is whole.
pub fn write(out: &mut Vec<u8>, line: &[u8]) {
    debug_assert!(!line.contains(&b'\n') && line.len() + OVERHEAD_BYTES <= RECORD_BYTES_MAX);
    out.extend_from_slice(line);
    out.extend_from_slice(&ending(line));
}

/// Returns the line of a record, or `None` if the record is damaged.
///
/// `record`: without its newline.
pub fn line_of(record: &[u8]) -> Option<&[u8]> {
    let (line, end) = record.split_last_chunk::<{ OVERHEAD_BYTES - 1 }>()?;
    (ending(line)[..OVERHEAD_BYTES - 1] == *end).then_some(line)
}

/// Returns the start of a record that ends at the end of `text`, if there is one. Before it comes garbage, or a
/// record with a changed newline.
///
/// `text`: without a newline. It takes one step per byte, because the checksum is calculated backwards: at the
/// start of the record the register reaches its initial value.
pub fn start_of_last(text: &[u8]) -> Option<usize> {
    /// The polynomial of CRC-32, its lowest power in the highest bit.
    const POLYNOMIAL: u32 = 0xEDB8_8320;

    let (line, end) = text.split_last_chunk::<{ OVERHEAD_BYTES - 1 }>()?;
    let digits = end.strip_prefix(b" *")?;
    if !digits.iter().all(|digit| DIGITS.contains(digit)) {
        return None;
    }
    let mut register = !u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    for (at, byte) in line.iter().enumerate().rev() {
        for _ in 0..8 {
            let dropped = register >> 31;
            register = (register ^ (POLYNOMIAL & dropped.wrapping_neg())) << 1 | dropped;
        }
        register ^= u32::from(*byte);
        if register == !0 && line[at..].starts_with(LINE_START) {
            return Some(at);
        }
    }
    None
}

fn ending(line: &[u8]) -> [u8; OVERHEAD_BYTES] {
    let mut ending = *b" *........\n";
    let checksum = crc32fast::hash(line);
    for (index, shift) in (0..8).rev().enumerate() {
        ending[2 + index] = DIGITS[(checksum >> (4 * shift)) as usize & 0xF];
    }
    ending
}

/// The owner of a journal, named in the first line of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The server that writes the journal.
    pub server: String,
    /// The herd that the server belongs to.
    pub herd: String,
}

/// The kind of a file, according to its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileHead {
    /// A journal of this version of the format.
    Of(Owner),
    /// A journal of a later version.
    Newer(u32),
    /// The beginning of a first line: the file was cut off there, and has no records.
    #[default]
    Cut,
    /// A journal with line ends changed to CR LF, or to CR.
    CarriageReturn,
    /// A journal with a byte order mark before its first line.
    ByteOrderMark,
    /// A file that is compressed or in another encoding; the text says which, and what to do.
    Encoded(&'static str),
    /// Not a journal.
    Foreign,
}

impl Owner {
    /// Returns the first line of a file, with its newline.
    pub fn head(&self) -> Vec<u8> {
        format!("{MAGIC} {VERSION} {} {}\n", self.server, self.herd).into_bytes()
    }
}

impl FileHead {
    /// Parses a first line, without its newline. `ended`: whether it had a newline.
    pub fn parse(line: &[u8], ended: bool) -> FileHead {
        if let Some(what) = files::encoded(line) {
            return FileHead::Encoded(what);
        }
        let text = str::from_utf8(line).unwrap_or("\0");
        if text.strip_prefix('\u{feff}').is_some_and(|text| text.starts_with(MAGIC)) {
            return FileHead::ByteOrderMark;
        }
        if text.starts_with(MAGIC) && text.contains('\r') {
            return FileHead::CarriageReturn;
        }
        if !ended {
            // Zeros at the end of a file were never written: its length reached the disk before its text.
            let text = text.trim_end_matches('\0');
            let start = format!("{MAGIC} {VERSION} ");
            let is_cut = match text.strip_prefix(&start) {
                Some(names) => names.bytes().all(|byte| byte == b' ' || is_in_names(byte)),
                None => start.starts_with(text),
            };
            return if is_cut { FileHead::Cut } else { FileHead::Foreign };
        }
        let mut fields = text.split(' ');
        let (magic, version) = (fields.next(), fields.next().and_then(|v| v.parse().ok()));
        match (magic, version, fields.next(), fields.next(), fields.next()) {
            (Some(MAGIC), Some(VERSION), Some(server), Some(herd), None)
                if is_name(server) && is_name(herd) =>
            {
                FileHead::Of(Owner { server: server.into(), herd: herd.into() })
            }
            (Some(MAGIC), Some(version), ..) if version > VERSION => FileHead::Newer(version),
            _ => FileHead::Foreign,
        }
    }
}

/// Whether `text` is a valid name of a server or a herd. A first line with another name is foreign, and messages do
/// not repeat it.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_in_names)
}

fn is_in_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_line_and_its_checksum() {
        let mut out = Vec::new();
        write(&mut out, b"123456789");
        // The check value of CRC-32/ISO-HDLC in every catalogue of checksums.
        assert_eq!(out, b"123456789 *CBF43926\n");
        assert_eq!(line_of(b"123456789 *CBF43926"), Some(&b"123456789"[..]));
        assert_eq!(line_of(b" *00000000"), Some(&b""[..]));
    }

    #[test]
    fn a_text_that_is_nearly_a_record_is_rejected() {
        for damaged in [
            "123456789 *cbf43926",
            "123456789 *CBF43927",
            "123456788 *CBF43926",
            "123456789  *CBF43926",
            "123456789 *CBF43926 ",
            "123456789 #CBF43926",
            "123456789*CBF43926",
            "*CBF43926",
            "",
        ] {
            assert_eq!(line_of(damaged.as_bytes()), None, "{damaged}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_seen() {
        let mut record = Vec::new();
        write(&mut record, b"AT Alford +0.26 kiwi +34.06-118.44 1479413884.39");
        record.pop();
        for bit in 0..record.len() * 8 {
            record[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(line_of(&record), None, "bit {bit}");
            record[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(line_of(&record).is_some());
    }

    #[test]
    fn a_record_is_found_behind_whatever_stands_before_it() {
        let mut record = Vec::new();
        write(&mut record, b"AT Alford +0.26 kiwi +34.06-118.44 1479413884.39");
        record.pop();
        for before in
            [&b""[..], b"x", &[0; 4_096], b"AT Alford +0.26 ", b"AT AT ", b"AT a *CBF43926"]
        {
            let text = [before, &record].concat();
            assert_eq!(start_of_last(&text), Some(before.len()), "{}", before.escape_ascii());
            for bit in before.len() * 8..text.len() * 8 {
                let mut text = text.clone();
                text[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(start_of_last(&text), None, "bit {bit}");
            }
        }
        for none in ["", " *00000000", "AT x *cbf43926", "123456789 *CBF43926"] {
            assert_eq!(start_of_last(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_first_line_names_the_owner() {
        let owner = Owner { server: "Alford".into(), herd: "places-herd".into() };
        assert_eq!(owner.head(), b"HERDJ 1 Alford places-herd\n");
        for (line, ended, head) in [
            ("HERDJ 1 Alford places-herd", true, FileHead::Of(owner)),
            ("HERDJ 2 Alford places-herd and more", true, FileHead::Newer(2)),
            ("HERDJ 0 Alford places-herd", true, FileHead::Foreign),
            ("HERDJ 1 Alford", true, FileHead::Foreign),
            ("HERDJ 1 Alford places herd", true, FileHead::Foreign),
            ("herdj 1 Alford places-herd", true, FileHead::Foreign),
            ("AT Alford +0.1 kiwi +1+1 5", true, FileHead::Foreign),
            ("", true, FileHead::Foreign),
            ("", false, FileHead::Cut),
            ("HERD", false, FileHead::Cut),
            ("HERDJ 1 Alford places-herd", false, FileHead::Cut),
            ("HERE", false, FileHead::Foreign),
            // No message may repeat characters that are not valid in a name.
            ("HERDJ 1 Alford places\u{1b}herd", true, FileHead::Foreign),
            ("HERDJ 1 Alford \u{202e}herd", true, FileHead::Foreign),
            ("HERDJ 1 Alford ", true, FileHead::Foreign),
            ("HERDJ 1 Alford places-herd\0\0", false, FileHead::Cut),
            ("\0\0\0", false, FileHead::Cut),
            ("HERDJ 1 Alford\0places-herd", false, FileHead::Foreign),
            ("HERDJ 1 Alford places-herd\r", true, FileHead::CarriageReturn),
            ("HERDJ 1 Alford places-herd\rAT Alford +0.26 kiwi", false, FileHead::CarriageReturn),
            ("a text\r", true, FileHead::Foreign),
            ("\u{feff}HERDJ 1 Alford places-herd", true, FileHead::ByteOrderMark),
            ("\u{feff}HERDJ 1 Alf", false, FileHead::ByteOrderMark),
            ("\u{feff}a text", true, FileHead::Foreign),
            ("H\0\0\0", false, FileHead::Cut),
        ] {
            assert_eq!(FileHead::parse(line.as_bytes(), ended), head, "{line}");
        }
        assert_eq!(FileHead::parse(b"HERDJ 1 \xff \xfe", true), FileHead::Foreign);
        for encoded in
            [&b"\xff\xfeH\0E\0"[..], b"\xfe\xff\0H\0E", b"H\0E\0", b"\0H\0E", b"\x1f\x8b\x08"]
        {
            assert!(matches!(FileHead::parse(encoded, true), FileHead::Encoded(_)), "{encoded:?}");
        }
        let long = format!("HERDJ 1 Alford {}", "x".repeat(65));
        assert_eq!(FileHead::parse(long.as_bytes(), true), FileHead::Foreign);
    }
}
