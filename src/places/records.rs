//! Cuts a file into records, and knows the line each begins on.
//!
//! In: any reader. Out: records, without their end: a line (LF or CR LF), or, in a file that begins
//! with a record separator (0x1e, RFC 8142), what is between two of them, which may be several
//! lines. Blank ones are left out. A byte order mark at the start of the file is no part of it.
//! It does not know what a record means.

use std::io::{self, BufRead, Read};

/// The longest record. GeoNames' longest line has some 15,000 bytes.
const RECORD_BYTES_MAX: usize = 1 << 20;

const RECORD_SEPARATOR: u8 = 0x1e;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug)]
pub(super) struct Records<R> {
    reader: R,
    delimiter: u8,
    record: Vec<u8>,
    /// The line the next record begins on.
    line: usize,
}

impl<R: BufRead> Records<R> {
    /// Looks at the first bytes to see how the records are separated.
    pub(super) fn new(mut reader: R) -> io::Result<Records<R>> {
        if reader.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        let separated = reader.fill_buf()?.starts_with(&[RECORD_SEPARATOR]);
        let delimiter = if separated { RECORD_SEPARATOR } else { b'\n' };
        Ok(Records { reader, delimiter, record: Vec::new(), line: 1 })
    }

    /// The line [`Records::next`] stopped on.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next record, and the line it begins on.
    ///
    /// An error, of the reader or because a record is longer than [`RECORD_BYTES_MAX`], is the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(usize, &[u8])>> {
        loop {
            self.record.clear();
            let limit = RECORD_BYTES_MAX as u64 + 1;
            self.reader.by_ref().take(limit).read_until(self.delimiter, &mut self.record)?;
            if self.record.len() > RECORD_BYTES_MAX {
                return Err(io::Error::other("a record is longer than a megabyte"));
            }
            if self.record.is_empty() {
                return Ok(None);
            }
            let line = self.line;
            self.line += memchr::memchr_iter(b'\n', &self.record).count();
            self.record.pop_if(|last| *last == RECORD_SEPARATOR);
            if !self.record.trim_ascii().is_empty() {
                return Ok(Some((line, without_end(&self.record))));
            }
        }
    }
}

/// Only the end of the line goes: a tab before it has an empty column behind it.
fn without_end(mut record: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = record {
        record = rest;
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> Vec<(usize, String)> {
        // Small buffers: a record is usually longer than what one read brings.
        let mut records = Records::new(io::BufReader::with_capacity(4, bytes)).unwrap();
        let mut all = Vec::new();
        while let Some((line, record)) = records.next().unwrap() {
            all.push((line, String::from_utf8(record.to_vec()).unwrap()));
        }
        all
    }

    #[test]
    fn lines_are_counted_whether_blank_or_not() {
        let all = records(b"\xef\xbb\xbfone\r\n\n  \t\ntwo\t\nthree");
        assert_eq!(all, [(1, "one".into()), (4, "two\t".into()), (5, "three".into())]);
        assert_eq!(records(b""), []);
    }

    #[test]
    fn a_separator_in_front_allows_records_of_several_lines() {
        let all = records(b"\x1e{\n}\n\x1e{}\n\x1e\x1e{3}");
        assert_eq!(all, [(1, "{\n}".into()), (3, "{}".into()), (4, "{3}".into())]);
    }

    #[test]
    fn a_record_longer_than_the_limit_is_an_error() {
        let longest = vec![b'x'; RECORD_BYTES_MAX];
        assert_eq!(records(&longest).len(), 1);
        let longer = vec![b'x'; RECORD_BYTES_MAX + 1];
        assert!(Records::new(&longer[..]).unwrap().next().is_err());
        // Nor does a line's end make it fit.
        assert!(Records::new(&[&longer[..], b"\n"].concat()[..]).unwrap().next().is_err());
    }
}
