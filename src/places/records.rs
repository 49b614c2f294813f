//! Splits a file into lines, and counts them.
//!
//! In: any reader. Out: records, which here are lines without their line end (LF or CR LF). Blank lines are
//! skipped, and so is a byte order mark at the start of the file. It does not interpret a record. `features.rs`
//! splits GeoJSON.

use crate::files;
use std::fmt;
use std::io::{self, BufRead, Read};

/// Longest line in bytes. GeoNames' longest has some 15,000.
const LINE_BYTES_MAX: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An error in a file, which prevents its use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordFault {
    /// The line, counted from 1; 0 means the file as a whole.
    pub line: usize,
    /// What is wrong; the message follows the line's number.
    pub message: String,
}

impl RecordFault {
    /// An error of the file as a whole.
    pub(super) fn of_file(message: impl ToString) -> RecordFault {
        RecordFault { line: 0, message: message.to_string() }
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

/// A reader that splits a file into records.
pub(super) trait RecordReader {
    /// The next record, and the line on which it begins. `None` at the end of the file.
    ///
    /// More records may follow an error. If the reader cannot continue after it, the next call returns `None`.
    fn next(&mut self) -> Result<Option<(usize, &[u8])>, RecordFault>;
}

/// Skips the byte order mark at the start of a file.
///
/// # Errors
///
/// The file is compressed, or in another encoding.
pub(super) fn skip_byte_order_mark(reader: &mut impl BufRead) -> io::Result<()> {
    let start = reader.fill_buf()?;
    if let Some(what) = files::encoded(start) {
        return Err(io::Error::other(what));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(())
}

/// Splits a file into lines.
#[derive(Debug)]
pub(super) struct RecordLines<R> {
    reader: R,
    record: Vec<u8>,
    /// The number of the next line.
    line: usize,
    is_over: bool,
}

impl<R: BufRead> RecordLines<R> {
    pub(super) fn new(mut reader: R) -> io::Result<RecordLines<R>> {
        skip_byte_order_mark(&mut reader)?;
        Ok(RecordLines { reader, record: Vec::new(), line: 1, is_over: false })
    }

    fn fatal(&mut self, message: String) -> RecordFault {
        self.is_over = true;
        RecordFault { line: self.line, message }
    }
}

impl<R: BufRead> RecordReader for RecordLines<R> {
    /// A line longer than [`LINE_BYTES_MAX`] is an error, and ends the file.
    fn next(&mut self) -> Result<Option<(usize, &[u8])>, RecordFault> {
        while !self.is_over {
            self.record.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.record);
            read.map_err(|error| self.fatal(error.to_string()))?;
            if self.record.len() > LINE_BYTES_MAX {
                return Err(self.fatal(format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            self.is_over = self.record.is_empty();
            if !self.record.trim_ascii().is_empty() {
                self.line += 1;
                return Ok(Some((self.line - 1, without_end(&self.record))));
            }
            self.line += 1;
        }
        Ok(None)
    }
}

/// Removes only the line end: a tab before it is followed by an empty column.
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
        // A small buffer: most records are longer than one read.
        let mut records = RecordLines::new(io::BufReader::with_capacity(4, bytes)).unwrap();
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
    fn a_line_longer_than_the_limit_is_a_fault_and_the_end() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(records(&longest).len(), 1);
        let longer = vec![b'x'; LINE_BYTES_MAX + 1];
        // A line end after the long line does not change the result.
        for end in ["", "\n", "\nmore\n"] {
            let bytes = [b"first\n", &longer[..], end.as_bytes()].concat();
            let mut lines = RecordLines::new(&bytes[..]).unwrap();
            assert!(lines.next().unwrap().is_some());
            let fault = lines.next().unwrap_err();
            assert_eq!(fault.to_string(), "line 2: is longer than 1048576 bytes");
            assert_eq!(lines.next(), Ok(None));
        }
    }
}
