//! Exercise 9 (chapter 6, 2 points): a line splitter.
//!
//! A stream has no pieces: a chunk of it may hold half a line, or three. `push` gets each chunk, and appends the
//! lines that are complete now to `lines`; `end` returns what is left when the stream has ended. This splitter
//! forgets everything between two chunks.
//!
//! The promises:
//!
//! * The lines are the same for every chunking.
//! * A line ends with LF, or with CR LF; the line end is not part of the line, and another CR is.
//! * A line may have up to `LINE_BYTES` bytes.
//! * A longer one is an error, as soon as its bytes beyond the limit have arrived; the lines before it have been
//!   delivered.
//! * A line without an end is the last one.

/// The longest line, without its line end.
pub const LINE_BYTES: usize = 80;

/// A line is longer than `LINE_BYTES`.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a stream into lines.
#[derive(Default)]
pub struct Splitter;

impl Splitter {
    /// Takes a chunk, and appends the lines that are complete now to `lines`.
    pub fn push(&mut self, chunk: &[u8], lines: &mut Vec<Vec<u8>>) -> Result<(), TooLong> {
        lines.extend(chunk.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        Ok(())
    }

    /// The stream has ended: returns the last line, if it has no line end.
    pub fn end(&mut self) -> Option<Vec<u8>> {
        None
    }
}
