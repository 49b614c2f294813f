//! A solution of exercise 9.

/// The longest line, without its line end.
pub const LINE_BYTES: usize = 80;

/// A line is longer than `LINE_BYTES`.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a stream into lines.
#[derive(Default)]
pub struct Splitter {
    /// The beginning of a line, without its LF.
    kept: Vec<u8>,
}

impl Splitter {
    /// Takes a chunk, and appends the lines that are complete now to `lines`.
    pub fn push(&mut self, chunk: &[u8], lines: &mut Vec<Vec<u8>>) -> Result<(), TooLong> {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (piece, is_whole) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            self.kept.extend_from_slice(piece);
            // The last byte may be the CR of a CR LF.
            if without_cr(&self.kept).len() > LINE_BYTES {
                return Err(TooLong);
            }
            if is_whole {
                lines.push(without_cr(&self.kept).to_vec());
                self.kept.clear();
            }
        }
        Ok(())
    }

    /// The stream has ended: returns the last line, if it has no line end.
    pub fn end(&mut self) -> Option<Vec<u8>> {
        let last = std::mem::take(&mut self.kept);
        (!last.is_empty()).then_some(last)
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
