//! Reads a file of records, in whatever condition it is.
//!
//! In: the bytes of a file. Out: every whole record, in order, and a [`Scan`] that describes the
//! other bytes. It reads a file once, in pieces, so the file's size does not matter. No contents make
//! it panic or hold more than one buffer of the file in memory.
//!
//! Bytes outside whole records are either a *torn tail* or *damage*. No record follows a torn tail: it is the last
//! write before a power failure, which was never synced. Damage is followed by records, so its bytes were records,
//! too. The start moves a torn tail away (`torn.rs`), and rejects a file with damage.
//!
//! So the scan must find each whole record, wherever it begins and whatever its newline has become: after a
//! hole of zeros, before one, or anywhere between two newlines. It recognises a checksum by its
//! form, and calculates the checksum backwards to find where the record begins.

use super::record::{self, FileHead, Owner, RECORD_BYTES_MAX, VERSION, line_of, start_of_last};
use crate::log::{plural, shell_quoted};
use memchr::memmem;
use std::io::{self, ErrorKind, Read};

/// The maximum number of bytes in one read.
const READ_BYTES: usize = 1 << 16;

/// The number of bytes without a newline that are searched at a time: a record that begins in the first half ends in
/// the same window.
const WINDOW_BYTES: usize = 2 * RECORD_BYTES_MAX;

/// The maximum number of records whose receiver looks ahead at the same time.
const RECORDS_AHEAD: usize = 16;

/// The maximum number of wrong checksums in one window. After that many the scan skips the rest of the window, because
/// a damaged journal has fewer.
const IN_VAIN_MAX: usize = 1_000;

/// Receives the lines of a journal. A closure is a receiver that does not look ahead.
pub trait RecordReceiver {
    /// Announces the records of the next lines, so that the receiver can read from memory what it will need. A record
    /// may be damaged; then its line does not follow.
    fn records_ahead(&mut self, _records: &[&[u8]]) {}

    /// Takes the line of a whole record. Returns whether it is valid; an invalid one does not count as a record.
    fn line(&mut self, line: &[u8]) -> bool;
}

impl<F: FnMut(&[u8]) -> bool> RecordReceiver for F {
    fn line(&mut self, line: &[u8]) -> bool {
        self(line)
    }
}

/// The result of scanning a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The kind of file, according to its first line.
    pub head: FileHead,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The number of whole records.
    pub records: u64,
    /// The position of the first byte outside records, if there is one.
    pub bad_at: Option<u64>,
    /// The number of bytes outside records.
    pub bad_bytes: u64,
    /// The number of whole records after `bad_at`.
    pub records_after: u64,
    /// The number of records that CR LF or CR follows.
    pub carriage_returns: u64,
    /// Whether the last record has no newline. No record follows a torn tail, so this is still true after the tail
    /// is cut off.
    pub(super) lacks_newline: bool,
}

impl Scan {
    /// Returns where the torn tail begins, if there is one.
    pub fn torn_at(&self) -> Option<u64> {
        self.bad_at.filter(|_| self.records_after == 0)
    }

    /// Returns where the first damage is, if there is any.
    pub fn damaged_at(&self) -> Option<u64> {
        self.bad_at.filter(|_| self.records_after > 0)
    }

    /// Returns why a start rejects the file at `path`, and what to do; `None` if it does not. `owner`: the expected
    /// owner, if it is known. `salvage`: damage is skipped.
    pub fn refusal(&self, path: &str, owner: Option<&Owner>, salvage: bool) -> Option<String> {
        let typed = shell_quoted(path);
        let changed = format!(
            "an editor or git has changed its line ends from LF to CR LF or CR; restore it from a copy, or \
             change them back, for example with `sed -i 's/\\r$//; s/\\r/\\n/g' {typed}`"
        );
        let why = match (&self.head, self.damaged_at()) {
            (FileHead::Of(other), _) if owner.is_some_and(|owner| owner != other) => {
                let Owner { server, herd } = other;
                format!("is the journal of {server} in the herd {herd}; choose another folder")
            }
            (FileHead::Of(_), Some(_)) if salvage => return None,
            (FileHead::Of(_), Some(at)) if self.carriage_returns > 0 => {
                let records = plural(self.carriage_returns as usize, "record");
                format!("has a CR after {records}, from byte {at} on: {changed}")
            }
            (FileHead::Of(_), Some(at)) => format!(
                "is damaged at byte {at}, before {}; restore it from a copy, or keep the intact records with \
                 `herd journal compact {typed} --salvage`",
                plural(self.records_after as usize, "intact record")
            ),
            (FileHead::Of(_) | FileHead::Cut, _) => return None,
            (FileHead::Newer(version), _) => format!(
                "has format {version}, and this program reads {VERSION}; use the program that wrote it"
            ),
            (FileHead::CarriageReturn, _) => format!("has a CR in its first line: {changed}"),
            (FileHead::ByteOrderMark, _) => format!(
                "has a byte order mark before its first line, added by an editor; restore it from a copy, or \
                 remove the mark, for example with `sed -i '1s/^\\xEF\\xBB\\xBF//' {typed}`"
            ),
            (FileHead::Encoded(what), _) => format!("is not a journal: {what}"),
            (FileHead::Foreign, _) => format!(
                "is not a journal: its first line is not `HERDJ 1 SERVER HERD`; choose another folder, or restore the \
                 file from a copy; if only its beginning is lost, insert that line before the rest of the file, and \
                 keep the intact records with `herd journal compact {typed} --salvage`"
            ),
        };
        Some(format!("{path} {why}"))
    }

    /// Scans the text of a piece, or only its beginning if more text follows. Returns the number of scanned bytes.
    fn piece(&mut self, text: &[u8], end: PieceEnd, each: &mut dyn RecordReceiver) -> usize {
        let newline = usize::from(end == PieceEnd::Newline);
        let all = text.len() + newline;
        if let Some(line) = line_of(text).filter(|_| end == PieceEnd::Newline) {
            self.record(line, all, each);
            return all;
        }
        let mut at = 0;
        for (start, stop) in records_in(text) {
            self.carriage_returns += u64::from(at > 0 && text[at..start] == *b"\r");
            self.garbage(start - at);
            at = stop + if stop == text.len() { newline } else { 0 };
            let line = line_of(&text[start..stop]).unwrap_or_default();
            self.record(line, at - start, each);
        }
        let taken = match end {
            PieceEnd::More => at.max(text.len() - RECORD_BYTES_MAX),
            PieceEnd::Newline | PieceEnd::File => all,
        };
        if at > 0 && end == PieceEnd::Newline && text.get(at..) == Some(b"\r") {
            self.carriage_returns += 1;
        }
        self.garbage(taken - at);
        taken
    }

    fn garbage(&mut self, bytes: usize) {
        if bytes > 0 {
            self.bad_at.get_or_insert(self.size);
            self.bad_bytes += bytes as u64;
            self.size += bytes as u64;
        }
    }

    fn record(&mut self, line: &[u8], bytes: usize, each: &mut dyn RecordReceiver) {
        if !each.line(line) {
            return self.garbage(bytes);
        }
        self.records += 1;
        self.records_after += u64::from(self.bad_at.is_some());
        self.size += bytes as u64;
        self.lacks_newline = bytes < line.len() + record::OVERHEAD_BYTES;
    }
}

/// Returns where the records in `text` begin and end. The text has no newline: those of the records are changed or
/// gone.
fn records_in(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let (mut from, mut in_vain) = (0, 0);
    memmem::find_iter(text, b" *").filter_map(move |at| {
        let stop = at + " *00000000".len();
        if stop > text.len() || in_vain > IN_VAIN_MAX {
            return None;
        }
        let first = from.max(stop.saturating_sub(RECORD_BYTES_MAX));
        let Some(start) = text.get(first..stop).and_then(start_of_last) else {
            in_vain += usize::from(text[at + 2..stop].iter().all(u8::is_ascii_hexdigit));
            return None;
        };
        from = stop;
        Some((first + start, stop))
    })
}

/// Reads `input` to its end, and passes the line of every whole record to `each`.
///
/// It looks for records only if the first line is a journal's ([`FileHead::Of`]).
///
/// # Errors
/// Fails if reading `input` fails; there is no result then.
pub fn scan(input: &mut dyn Read, each: &mut dyn RecordReceiver) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut pieces = Pieces::new(input);
    let Some((first, end)) = pieces.next_piece()? else { return Ok(scan) };
    let mut taken = first.len() + usize::from(end == PieceEnd::Newline);
    scan.head = FileHead::parse(first, end == PieceEnd::Newline);
    pieces.take(taken);
    // A first line is never as long as a window, but zeros at the end of a file may be.
    while end == PieceEnd::More
        && scan.head == FileHead::Cut
        && let Some((rest, end)) = pieces.next_piece()?
    {
        if end == PieceEnd::Newline || rest.iter().any(|byte| *byte != 0) {
            scan.head = FileHead::Foreign;
        }
        let length = rest.len();
        taken += length;
        pieces.take(length);
    }
    match scan.head {
        FileHead::Cut => scan.garbage(taken),
        _ => scan.size = taken as u64,
    }
    if !matches!(scan.head, FileHead::Of(_)) {
        return Ok(scan);
    }
    loop {
        let mut group = [&[][..]; RECORDS_AHEAD];
        let group = pieces.whole_lines(&mut group);
        each.records_ahead(group);
        let taken = group.iter().map(|text| scan.piece(text, PieceEnd::Newline, each)).sum();
        if taken > 0 {
            pieces.take(taken);
            continue;
        }
        let Some((text, end)) = pieces.next_piece()? else { return Ok(scan) };
        let taken = scan.piece(text, end, each);
        pieces.take(taken);
    }
}

/// What follows the text of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PieceEnd {
    /// A newline.
    Newline,
    /// The end of the file.
    File,
    /// More text of the same line: the piece is a window.
    More,
}

/// Splits a stream at its newlines, and longer lines into windows.
struct Pieces<'i> {
    input: &'i mut dyn Read,
    buffer: Vec<u8>,
    /// The end of the bytes in the buffer.
    filled: usize,
    /// The beginning of the bytes that are not consumed yet.
    taken: usize,
    has_ended: bool,
}

impl<'i> Pieces<'i> {
    fn new(input: &'i mut dyn Read) -> Pieces<'i> {
        let buffer = vec![0; WINDOW_BYTES + READ_BYTES];
        Pieces { input, buffer, filled: 0, taken: 0, has_ended: false }
    }

    /// Returns the lines in the buffer that end in a newline, without it, as many as `group` has room for.
    fn whole_lines<'g, 'p>(&'p self, group: &'g mut [&'p [u8]]) -> &'g [&'p [u8]] {
        let (waiting, mut start, mut count) = (&self.buffer[self.taken..self.filled], 0, 0);
        for (line, end) in group.iter_mut().zip(memchr::memchr_iter(b'\n', waiting)) {
            *line = &waiting[start..end];
            (start, count) = (end + 1, count + 1);
        }
        &group[..count]
    }

    /// Returns the text up to the next newline, without it; or a window; or the rest of the file.
    fn next_piece(&mut self) -> io::Result<Option<(&[u8], PieceEnd)>> {
        let mut length = 0;
        let end = loop {
            let waiting = &self.buffer[self.taken + length..self.filled];
            if let Some(at) = memchr::memchr(b'\n', waiting) {
                length += at;
                break PieceEnd::Newline;
            }
            length = self.filled - self.taken;
            match length {
                WINDOW_BYTES.. => break PieceEnd::More,
                0 if self.has_ended => return Ok(None),
                _ if self.has_ended => break PieceEnd::File,
                _ => self.read_more()?,
            }
        };
        Ok(Some((&self.buffer[self.taken..self.taken + length], end)))
    }

    /// Consumes `bytes` of the last piece; its newline counts.
    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
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

    /// A reader of these bytes, at most the given number in one read.
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
        let scan = scan(&mut Slow(bytes, at_a_time), &mut |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        });
        (scan.expect("memory can be read"), lines)
    }

    /// Checks that the announced lines follow, in order, and counts them.
    #[derive(Default)]
    struct Announced(std::collections::VecDeque<Vec<u8>>, usize);

    impl RecordReceiver for Announced {
        fn records_ahead(&mut self, records: &[&[u8]]) {
            assert!(self.0.is_empty() && records.len() <= RECORDS_AHEAD);
            self.0.extend(records.iter().map(|record| record.to_vec()));
        }

        fn line(&mut self, line: &[u8]) -> bool {
            if let Some(record) = self.0.pop_front() {
                assert!(record.starts_with(line), "{}", line.escape_ascii());
                self.1 += 1;
            }
            true
        }
    }

    #[test]
    fn every_record_that_is_read_whole_is_announced() {
        let lines: Vec<String> = (0..1_000).map(|number| format!("AT line {number}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let bytes = file(&lines);
        for at_a_time in [1, 7, 100, READ_BYTES] {
            let mut announced = Announced::default();
            let scan = scan(&mut Slow(&bytes, at_a_time), &mut announced).expect("memory");
            assert!(scan.records == 1_000 && announced.0.is_empty());
            assert!(announced.1 == 1_000 || at_a_time < READ_BYTES, "{}", announced.1);
        }
    }

    #[test]
    fn a_remedy_can_be_typed_whatever_the_path() {
        let path = "./-my journal/it's";
        let typed = r"'./-my journal/it'\''s'";
        let damaged = [file(&["one"]), b"x\n".to_vec(), record(2)].concat();
        let marked = [b"\xef\xbb\xbf", &file(&["one"])[..]].concat();
        for (bytes, remedy) in [
            (
                &b"HERDJ 1 Alford places-herd\r\n"[..],
                format!(r"`sed -i 's/\r$//; s/\r/\n/g' {typed}`"),
            ),
            (&marked, format!(r"`sed -i '1s/^\xEF\xBB\xBF//' {typed}`")),
            (&damaged, format!("`herd journal compact {typed} --salvage`")),
        ] {
            let why = scanned(bytes, 4_096).0.refusal(path, None, false).expect("it is refused");
            assert!(why.starts_with(path) && why.ends_with(&remedy), "{why}");
        }
    }

    #[test]
    fn line_ends_that_were_changed_in_a_part_of_a_file_are_told_as_such() {
        let crs = |number: usize| {
            let mut record = record(number);
            record.insert(record.len() - 1, b'\r');
            record
        };
        let cr = |number: usize| crs(number).into_iter().filter(|byte| *byte != b'\n').collect();
        let zeros = vec![0; 4_096];
        for (what, pieces, changed) in [
            ("from the second record on", vec![record(1), crs(2), crs(3), crs(4)], 3),
            ("the first record", vec![crs(1), record(2)], 1),
            ("around a hole", vec![crs(1), zeros, crs(2), record(3)], 2),
            ("CR alone behind two", vec![cr(1), cr(2), record(3)], 2),
        ] {
            let bytes = [owner().head(), pieces.concat()].concat();
            for at_a_time in [61, 4_096, bytes.len()] {
                let (scan, _) = scanned(&bytes, at_a_time);
                assert_eq!(scan.carriage_returns, changed, "{what}");
                let why = scan.refusal("journal.1", None, false).expect("it is refused");
                assert!(why.contains("from LF to CR LF") && !why.contains("--salvage"), "{why}");
                assert!(!why.contains('\r'), "{why:?}");
                assert_eq!(scan.refusal("journal.1", None, true), None, "{what}");
            }
        }
    }

    #[test]
    fn what_was_written_is_read_however_it_comes() {
        let bytes = file(&["one", "two", "three"]);
        for at_a_time in [1, 2, 7, bytes.len()] {
            let (scan, lines) = scanned(&bytes, at_a_time);
            assert_eq!(lines, ["one", "two", "three"]);
            assert_eq!((scan.records, scan.bad_at, scan.size), (3, None, bytes.len() as u64));
            assert_eq!(scan.head, FileHead::Of(owner()));
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

    /// Returns a different record for each number.
    fn record(number: usize) -> Vec<u8> {
        let mut record = Vec::new();
        write(
            &mut record,
            format!("AT Alford +0.26 AT*{number} +34.06-118.44 {number}.39").as_bytes(),
        );
        record
    }

    /// Returns a record with another byte in place of its newline.
    fn joined(number: usize, byte: u8) -> Vec<u8> {
        let mut record = record(number);
        *record.last_mut().expect("it has one") = byte;
        record
    }

    /// A description of the damage, the bytes after the head, and the numbers of the records to find in them.
    type Damaged<'a> = (&'a str, Vec<Vec<u8>>, &'a [usize]);

    #[test]
    fn every_whole_record_is_found_wherever_it_begins() {
        let (zeros, long) = (vec![0; 4_096], vec![b'x'; 300_000]);
        let half = record(7)[..30].to_vec();
        let cases: [Damaged<'_>; 18] = [
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
            ("a hole over a newline", vec![joined(1, 0), zeros.clone(), record(2)], &[1, 2]),
            ("a long hole over it", vec![joined(1, 0), long.clone(), record(2)], &[1, 2]),
            (
                "a record in the middle of a long hole",
                vec![
                    long.clone(),
                    joined(1, 0),
                    long.clone(),
                    joined(2, 0),
                    long.clone(),
                    record(3),
                ],
                &[1, 2, 3],
            ),
            (
                "a flipped newline before half a record",
                vec![record(1), joined(2, b'\x0b'), half.clone(), b"\n".to_vec(), record(3)],
                &[1, 2, 3],
            ),
            (
                "two bytes changed at a newline",
                vec![joined(1, b'\x0b'), b"X".to_vec(), record(2)[1..].to_vec(), record(3)],
                &[1, 3],
            ),
            ("half a record", vec![record(1), half.clone(), record(2)], &[1, 2]),
            ("half a record, a hole", vec![half, zeros.clone(), record(2)], &[2]),
            ("a newline in a hole", vec![zeros.clone(), b"\n".to_vec(), zeros, record(2)], &[2]),
            ("a CR", vec![joined(1, b'\r'), b"\n".to_vec(), record(2)], &[1, 2]),
            (
                "blanks before newlines",
                vec![joined(1, b' '), b"\n".to_vec(), joined(2, b' '), b"\n".to_vec()],
                &[1, 2],
            ),
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
    fn a_last_record_is_whole_without_its_newline_and_what_follows_it_is_a_torn_tail() {
        let (first, mut last) = (record(1), record(2));
        last.pop();
        for tail in [vec![], vec![0], b"\x0b".to_vec(), b"\r\n".to_vec(), vec![b'x'; 300_000]] {
            let bytes = [owner().head(), first.clone(), last.clone(), tail.clone()].concat();
            for at_a_time in [61, 4_096, bytes.len()] {
                let (scan, lines) = scanned(&bytes, at_a_time);
                assert_eq!((lines.len(), scan.bad_bytes), (2, tail.len() as u64));
                let begins = (bytes.len() - tail.len()) as u64;
                assert_eq!(scan.torn_at(), (!tail.is_empty()).then_some(begins));
                assert!(scan.lacks_newline && scan.damaged_at().is_none());
            }
        }
        // A record without its last byte is incomplete.
        let bytes = [owner().head(), first, last[..last.len() - 1].to_vec()].concat();
        let (scan, lines) = scanned(&bytes, 4_096);
        assert!(lines.len() == 1 && scan.torn_at().is_some() && !scan.lacks_newline);
    }

    #[test]
    fn a_deleted_newline_costs_nothing() {
        let mut first = record(1);
        first.pop();
        let (scan, lines) = scanned(&[owner().head(), first, record(2)].concat(), 4_096);
        assert_eq!((lines.len(), scan.bad_at, scan.lacks_newline), (2, None, false));
    }

    #[test]
    fn what_looks_like_checksums_without_end_is_given_up() {
        let hostile = b"AT *AAAAAAAA".repeat(30_000);
        let bytes = [owner().head(), record(1), hostile, b"\n".to_vec(), record(2)].concat();
        let (scan, lines) = scanned(&bytes, 4_096);
        assert_eq!((lines.len(), scan.size), (2, bytes.len() as u64));
    }

    #[test]
    fn a_line_that_makes_no_sense_to_the_reader_is_no_record() {
        let bytes = file(&["one", "two"]);
        let scan =
            scan(&mut &bytes[..], &mut |line: &[u8]| line == b"one").expect("memory can be read");
        assert_eq!((scan.records, scan.torn_at().is_some()), (1, true));
    }

    #[test]
    fn nothing_is_read_behind_a_foreign_first_line() {
        for (bytes, head) in [
            (&b""[..], FileHead::Cut),
            (b"HERDJ 1 Al", FileHead::Cut),
            (b"HERDJ 9 Alford places-herd\none *00000000\n", FileHead::Newer(9)),
            (b"one *00000000\n", FileHead::Foreign),
            (&[0; 300_000], FileHead::Cut),
            (&[&b"HERDJ 1 Al"[..], &[0; 300_000]].concat(), FileHead::Cut),
            (&[&[0; 300_000][..], b"x"].concat(), FileHead::Foreign),
            (&[&[0; 300_000][..], b"\n"].concat(), FileHead::Foreign),
            (&[b'x'; 500_000], FileHead::Foreign),
        ] {
            let (scan, lines) = scanned(bytes, 4096);
            assert_eq!((scan.head, lines.len(), scan.records), (head, 0, 0));
        }
    }
}
