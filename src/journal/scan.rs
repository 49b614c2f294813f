//! Reading a file of records, whatever has become of it.
//!
//! In: bytes, as far as they go. Out: every whole record, in order, and a [`Scan`] that says what
//! else there was. A file is read once, in pieces, so its size does not matter; nothing in it makes
//! this panic or keep more than one record.
//!
//! What is in no record is either a *torn tail*, after which no record comes: the last write before the
//! power went, of which nobody was told that it was kept. Or it is *damage*: records come after it,
//! so it was a record once. The first is moved out of the way (`torn.rs`), the second has the
//! file refused.
//!
//! So each whole record must be found, wherever it begins: behind a hole of zeros, too, or behind a record
//! whose newline was changed. What stands between two newlines ends in the record then, and its checksum,
//! calculated backwards, says where it begins.

use super::record::{Head, RECORD_BYTES_MAX, line_of, start_of_last};
use std::io::{self, ErrorKind, Read};

/// Bytes asked of one read.
const READ_BYTES: usize = 1 << 16;

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// What its first line says.
    pub head: Head,
    /// Its bytes.
    pub size: u64,
    /// Its whole records.
    pub records: u64,
    /// Where the first bytes are that are no record, if there are any.
    pub bad_at: Option<u64>,
    /// How many bytes are in no record.
    pub bad_bytes: u64,
    /// How many whole records stand behind the first of them.
    pub records_after: u64,
}

impl Scan {
    /// Where the torn tail begins, if there is one.
    pub fn torn_at(&self) -> Option<u64> {
        self.bad_at.filter(|_| self.records_after == 0)
    }

    /// Where the first damage is, if there is any.
    pub fn damaged_at(&self) -> Option<u64> {
        self.bad_at.filter(|_| self.records_after > 0)
    }

    /// Takes in what stands between two newlines: a record, or garbage with records in it.
    fn piece(&mut self, piece: &Piece<'_>, each: &mut dyn FnMut(&[u8]) -> bool) {
        let Some(text) = piece.kept.strip_suffix(b"\n") else { return self.garbage(piece.bytes) };
        let is_kept_whole = piece.kept.len() as u64 == piece.bytes;
        if let Some(line) = line_of(text).filter(|_| is_kept_whole) {
            return self.record(line, piece.bytes, each);
        }
        // A CR that a tool has put before the newline; counted as if it stood before the records, since
        // behind the last one garbage would be a torn tail.
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let mut starts = Vec::new();
        let mut before = text;
        while let Some(start) = start_of_last(before) {
            starts.push(start);
            // Another record ends there if its newline, and nothing else, was changed.
            before = &text[..start.saturating_sub(1)];
        }
        let Some(&first) = starts.last() else { return self.garbage(piece.bytes) };
        self.garbage(piece.bytes - 1 - (text.len() - first) as u64);
        while let Some(start) = starts.pop() {
            let end = starts.last().map_or(text.len(), |next| next - 1);
            let line = line_of(&text[start..end]).unwrap_or_default();
            if starts.is_empty() {
                self.record(line, (end + 1 - start) as u64, each);
            } else {
                self.record(line, (end - start) as u64, each);
                self.garbage(1);
            }
        }
    }

    fn garbage(&mut self, bytes: u64) {
        if bytes > 0 {
            self.bad_at.get_or_insert(self.size);
            self.bad_bytes += bytes;
            self.size += bytes;
        }
    }

    fn record(&mut self, line: &[u8], bytes: u64, each: &mut dyn FnMut(&[u8]) -> bool) {
        if !each(line) {
            return self.garbage(bytes);
        }
        self.records += 1;
        self.records_after += u64::from(self.bad_at.is_some());
        self.size += bytes;
    }
}

/// Reads `input` to its end, and hands the line of every whole record to `each`, which says whether
/// it can make sense of it: what it cannot counts as no record.
///
/// Records are looked for only behind a first line that is ours ([`Head::Of`]).
///
/// # Errors
///
/// Those of `input`; nothing more is known then.
pub fn scan(input: &mut dyn Read, each: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<Scan> {
    let mut scan =
        Scan { head: Head::Cut, size: 0, records: 0, bad_at: None, bad_bytes: 0, records_after: 0 };
    let mut pieces = Pieces::new(input);
    let Some(first) = pieces.next_piece()? else { return Ok(scan) };
    let text = first.kept.strip_suffix(b"\n");
    // Of a piece that was too long only the end was kept, so what it began with is not known.
    let is_whole = first.kept.len() as u64 == first.bytes;
    let line = if is_whole { text.unwrap_or(first.kept) } else { b"?" };
    scan.head = Head::parse(line, text.is_some());
    match scan.head {
        Head::Cut => scan.garbage(first.bytes),
        _ => scan.size = first.bytes,
    }
    if !matches!(scan.head, Head::Of(_)) {
        return Ok(scan);
    }
    while let Some(piece) = pieces.next_piece()? {
        scan.piece(&piece, each);
    }
    Ok(scan)
}

/// What stands between two newlines, and the second of them, if the file does not end before it.
struct Piece<'a> {
    /// Its end, as long as the longest record: if it is longer, only its end can be a record.
    kept: &'a [u8],
    bytes: u64,
}

/// Cuts a stream at its newlines.
struct Pieces<'i> {
    input: &'i mut dyn Read,
    buffer: Vec<u8>,
    /// What of the buffer is filled, and what of that is not yet given out.
    filled: usize,
    given: usize,
    has_ended: bool,
}

impl<'i> Pieces<'i> {
    fn new(input: &'i mut dyn Read) -> Pieces<'i> {
        let buffer = vec![0; RECORD_BYTES_MAX + READ_BYTES];
        Pieces { input, buffer, filled: 0, given: 0, has_ended: false }
    }

    fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        let mut searched = 0;
        let mut dropped = 0;
        loop {
            let waiting = &self.buffer[self.given + searched..self.filled];
            if let Some(at) = memchr::memchr(b'\n', waiting) {
                return Ok(Some(self.give(searched + at + 1, dropped)));
            }
            searched = self.filled - self.given;
            if searched > RECORD_BYTES_MAX {
                // Of whatever this is, only the end may be a record.
                let excess = searched - RECORD_BYTES_MAX;
                dropped += excess as u64;
                self.given += excess;
                searched = RECORD_BYTES_MAX;
            }
            if self.has_ended {
                let nothing = searched == 0 && dropped == 0;
                return Ok((!nothing).then(|| self.give(searched, dropped)));
            }
            self.read_more()?;
        }
    }

    fn give(&mut self, length: usize, dropped: u64) -> Piece<'_> {
        let end = self.given + length;
        let kept = &self.buffer[self.given.max(end.saturating_sub(RECORD_BYTES_MAX))..end];
        self.given = end;
        Piece { kept, bytes: dropped + length as u64 }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        match self.input.read(&mut self.buffer[self.filled..]) {
            Ok(0) => self.has_ended = true,
            Ok(count) => self.filled += count,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{Owner, write};

    fn owner() -> Owner {
        Owner { server: "Alford".into(), herd: "places-herd".into() }
    }

    fn file(lines: &[&str]) -> Vec<u8> {
        let mut bytes = owner().head();
        lines.iter().for_each(|line| write(&mut bytes, line.as_bytes()));
        bytes
    }

    /// Gives its bytes one read at a time, so many at most.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn scanned(bytes: &[u8], at_a_time: usize) -> (Scan, Vec<String>) {
        let mut lines = Vec::new();
        let scan = scan(&mut Slow(bytes, at_a_time), &mut |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        });
        (scan.expect("memory can be read"), lines)
    }

    #[test]
    fn what_was_written_is_read_however_it_comes() {
        let bytes = file(&["one", "two", "three"]);
        for at_a_time in [1, 2, 7, bytes.len()] {
            let (scan, lines) = scanned(&bytes, at_a_time);
            assert_eq!(lines, ["one", "two", "three"]);
            assert_eq!((scan.records, scan.bad_at, scan.size), (3, None, bytes.len() as u64));
            assert_eq!(scan.head, Head::Of(owner()));
        }
    }

    #[test]
    fn what_comes_after_the_last_record_is_a_torn_tail() {
        let mut bytes = file(&["one", "two"]);
        let whole = bytes.len() as u64;
        for tail in
            [&b"thr"[..], b"three *00000000\n", b"\n", &[0; 5000], b"a\nb\nc", &[b'x'; 400_000]]
        {
            bytes.truncate(whole as usize);
            bytes.extend_from_slice(tail);
            let (scan, lines) = scanned(&bytes, 1000);
            assert_eq!(lines, ["one", "two"]);
            assert_eq!((scan.torn_at(), scan.damaged_at()), (Some(whole), None));
            assert_eq!(scan.bad_bytes, tail.len() as u64);
        }
    }

    #[test]
    fn what_comes_before_a_record_is_damage() {
        let first = file(&["one"]);
        for damage in [&b"tw"[..], b"two *00000000\n", &[b'x'; 400_000], b"\n\n\n"] {
            let mut bytes = [&first[..], damage, b"\n"].concat();
            write(&mut bytes, b"three");
            write(&mut bytes, b"four");
            let (scan, lines) = scanned(&bytes, 1000);
            assert_eq!(lines, ["one", "three", "four"]);
            assert_eq!((scan.torn_at(), scan.damaged_at()), (None, Some(first.len() as u64)));
            assert_eq!((scan.bad_bytes, scan.records_after), (damage.len() as u64 + 1, 2));
        }
    }

    /// A record of its own for each number.
    fn record(number: usize) -> Vec<u8> {
        let mut record = Vec::new();
        write(
            &mut record,
            format!("AT Alford +0.26 AT*{number} +34.06-118.44 {number}.39").as_bytes(),
        );
        record
    }

    /// The record without its newline, which has become another byte.
    fn joined(number: usize, byte: u8) -> Vec<u8> {
        let mut record = record(number);
        *record.last_mut().expect("it has one") = byte;
        record
    }

    /// What was done to a file, what it has behind its head, and the records to be found in that.
    type Damaged<'a> = (&'a str, Vec<Vec<u8>>, &'a [usize]);

    #[test]
    fn every_whole_record_is_found_wherever_it_begins() {
        let (zeros, long) = (vec![0; 4_096], vec![b'x'; 300_000]);
        let half = record(7)[..30].to_vec();
        let cases: [Damaged<'_>; 14] = [
            ("a hole behind the head", vec![zeros.clone(), record(1)], &[1]),
            ("one record behind a hole", vec![record(1), zeros.clone(), record(2)], &[1, 2]),
            (
                "several holes",
                vec![
                    zeros.clone(),
                    record(1),
                    zeros.clone(),
                    record(2),
                    record(3),
                    zeros.clone(),
                    record(4),
                ],
                &[1, 2, 3, 4],
            ),
            ("a hole longer than the buffer", vec![record(1), long.clone(), record(2)], &[1, 2]),
            ("as long as it", vec![vec![0; RECORD_BYTES_MAX + READ_BYTES], record(2)], &[2]),
            ("a flipped newline", vec![record(1), joined(2, b'\x0b'), record(3)], &[1, 2, 3]),
            ("at the beginning", vec![joined(1, b'\x0e'), record(2)], &[1, 2]),
            (
                "three flipped newlines, and a hole",
                vec![
                    long.clone(),
                    joined(1, 0),
                    joined(2, b'J'),
                    joined(3, b'*'),
                    record(4),
                    record(5),
                ],
                &[1, 2, 3, 4, 5],
            ),
            ("a hole over a newline", vec![joined(1, 0), zeros.clone(), record(2)], &[2]),
            ("half a record", vec![record(1), half.clone(), record(2)], &[1, 2]),
            ("half a record, a hole", vec![half, zeros.clone(), record(2)], &[2]),
            ("a newline in a hole", vec![zeros.clone(), b"\n".to_vec(), zeros, record(2)], &[2]),
            ("a CR", vec![joined(1, b'\r'), b"\n".to_vec(), record(2)], &[1, 2]),
            ("a CR behind the last", vec![record(1), joined(2, b'\r'), b"\n".to_vec()], &[1, 2]),
        ];
        for (what, pieces, expected) in cases {
            let bytes = [owner().head(), pieces.concat()].concat();
            let whole: Vec<u8> = expected.iter().flat_map(|&number| record(number)).collect();
            for at_a_time in [61, 4_096, bytes.len()] {
                let (scan, lines) = scanned(&bytes, at_a_time);
                let found: Vec<u8> =
                    lines.iter().flat_map(|line| file(&[line])[27..].to_vec()).collect();
                assert_eq!(
                    found.escape_ascii().to_string(),
                    whole.escape_ascii().to_string(),
                    "{what}"
                );
                assert!(
                    scan.damaged_at().is_some() && scan.torn_at().is_none(),
                    "{what}: {scan:?}"
                );
                assert_eq!((scan.records, scan.size), (expected.len() as u64, bytes.len() as u64));
            }
        }
    }

    #[test]
    fn a_last_record_without_its_newline_is_a_torn_tail() {
        for tail in [joined(2, 0), joined(2, b'\x0b'), [joined(2, b'x'), vec![0; 70_000]].concat()]
        {
            let bytes = [owner().head(), record(1), tail.clone()].concat();
            let (scan, lines) = scanned(&bytes, 4_096);
            assert_eq!((scan.torn_at(), lines.len()), (Some((bytes.len() - tail.len()) as u64), 1));
            assert_eq!(scan.bad_bytes, tail.len() as u64);
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_to_the_reader_is_no_record() {
        let bytes = file(&["one", "two"]);
        let scan = scan(&mut &bytes[..], &mut |line| line == b"one").expect("memory can be read");
        assert_eq!((scan.records, scan.torn_at().is_some()), (1, true));
    }

    #[test]
    fn nothing_is_read_behind_a_foreign_first_line() {
        for (bytes, head) in [
            (&b""[..], Head::Cut),
            (b"HERDJ 1 Al", Head::Cut),
            (b"HERDJ 9 Alford places-herd\none *00000000\n", Head::Newer(9)),
            (b"one *00000000\n", Head::Foreign),
            (&[0; 300_000], Head::Foreign),
            (&[b'x'; 500_000], Head::Foreign),
        ] {
            let (scan, lines) = scanned(bytes, 4096);
            assert_eq!((scan.head, lines.len(), scan.records), (head, 0, 0));
        }
    }
}
