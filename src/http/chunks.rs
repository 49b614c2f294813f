//! The decoder of a chunked body.
//!
//! In: the bytes after a head with `Transfer-Encoding: chunked`, split anywhere. Out: the body, appended to a
//! buffer; and how many of the bytes belonged to it. Extensions and trailers are skipped.
//!
//! ```text
//!   state      takes                                 then
//!   Size       a line: size, perhaps extensions      0: Trailers, else Data
//!   Data(n)    n bytes, into the body                Cr
//!   Cr         CR                                    Lf
//!   Lf         LF                                    Size
//!   Trailers   a line                                empty: Done, else Trailers
//! ```
//!
//! Source: RFC 9112, section 7.1. A size may be followed by white space, since old servers pad it. A size of more
//! than 16 digits is rejected, even if it has leading zeros.

use super::lines::LineBuffer;
use super::{HttpError, HttpLimits};

/// The decoder of a chunked body.
#[derive(Clone, Default)]
pub(super) struct Chunks {
    state: ChunkState,
    /// The received part of a size line or trailer.
    line: LineBuffer,
    /// The length of the trailers so far.
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    /// This many bytes of the chunk are left, at least one.
    Data(usize),
    Cr,
    Lf,
    Trailers,
    Done,
}

impl Chunks {
    /// Appends the part of the body in `data` to `body`. Returns the number of bytes taken from `data`: all, unless
    /// the body ends among them.
    pub(super) fn decode(
        &mut self,
        data: &[u8],
        body: &mut Vec<u8>,
        limits: &HttpLimits,
    ) -> Result<usize, HttpError> {
        let mut taken = 0;
        while taken < data.len() && self.state != ChunkState::Done {
            taken += self.step(&data[taken..], body, limits)?;
        }
        Ok(taken)
    }

    /// Whether the body and its trailers are complete.
    pub(super) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// The number of bytes that are buffered here.
    pub(super) fn buffered(&self) -> usize {
        self.line.text.len()
    }

    /// Executes one row of the table. `data` has at least one byte. Returns the number of bytes taken.
    fn step(
        &mut self,
        data: &[u8],
        body: &mut Vec<u8>,
        limits: &HttpLimits,
    ) -> Result<usize, HttpError> {
        match (self.state, data) {
            (ChunkState::Size, _) => {
                self.size(data, limits.body_bytes.saturating_sub(body.len()), limits)
            }
            (ChunkState::Data(left), _) => {
                let taken = left.min(data.len());
                body.extend_from_slice(&data[..taken]);
                self.state =
                    if taken < left { ChunkState::Data(left - taken) } else { ChunkState::Cr };
                Ok(taken)
            }
            (ChunkState::Cr, [b'\r', ..]) => {
                self.state = ChunkState::Lf;
                Ok(1)
            }
            (ChunkState::Lf, [b'\n', ..]) => {
                self.state = ChunkState::Size;
                Ok(1)
            }
            (ChunkState::Cr | ChunkState::Lf, _) => Err(HttpError::ChunkEnd),
            (ChunkState::Trailers, _) => self.trailer(data, limits),
            (ChunkState::Done, _) => Ok(0),
        }
    }

    /// Reads a size line. `room` is the number of bytes by which the body may still grow.
    fn size(&mut self, data: &[u8], room: usize, limits: &HttpLimits) -> Result<usize, HttpError> {
        let too_long = HttpError::ChunkLineTooLong(limits.chunk_line_bytes);
        let (taken, ended) = self.line.take(data, limits.chunk_line_bytes).ok_or(too_long)?;
        if ended {
            let size = chunk_size(without_end(&self.line.text)?)?;
            self.line.text.clear();
            self.state = match usize::try_from(size) {
                Ok(0) => ChunkState::Trailers,
                Ok(size) if size <= room => ChunkState::Data(size),
                _ => return Err(HttpError::BodyTooLong(limits.body_bytes)),
            };
        }
        Ok(taken)
    }

    fn trailer(&mut self, data: &[u8], limits: &HttpLimits) -> Result<usize, HttpError> {
        let too_long = HttpError::TrailersTooLong(limits.trailer_bytes);
        let room = limits.trailer_bytes - self.trailer_bytes;
        let (taken, ended) = self.line.take(data, room).ok_or(too_long)?;
        if ended {
            if without_end(&self.line.text)?.is_empty() {
                self.state = ChunkState::Done;
            }
            self.trailer_bytes += self.line.text.len();
            self.line.text.clear();
        }
        Ok(taken)
    }
}

/// A line without its line end, which must be CR LF.
fn without_end(line: &[u8]) -> Result<&[u8], HttpError> {
    match line.strip_suffix(b"\r\n") {
        Some(line) if !line.contains(&b'\r') => Ok(line),
        _ => Err(HttpError::ChunkLineEnd),
    }
}

/// The size at the start of a line. The part after a semicolon is ignored.
fn chunk_size(line: &[u8]) -> Result<u64, HttpError> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits =
        str::from_utf8(size).map_err(|_| HttpError::ChunkSize)?.trim_end_matches([' ', '\t']);
    // `from_str_radix` would accept a sign. 16 digits always fit.
    match digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits.len() <= 16 {
        true => u64::from_str_radix(digits, 16).map_err(|_| HttpError::ChunkSize),
        false => Err(HttpError::ChunkSize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_longer_than_a_lowered_limit_ends_with_its_chunk() {
        let (mut chunks, mut body) = (Chunks::default(), Vec::new());
        let mut limits = HttpLimits { body_bytes: 100, ..HttpLimits::default() };
        assert_eq!(chunks.decode(b"8\r\nabcd", &mut body, &limits), Ok(7));
        // A reload lowers body_bytes.
        limits.body_bytes = 3;
        assert_eq!(chunks.decode(b"efgh\r\n", &mut body, &limits), Ok(6));
        let mut ended = chunks.clone();
        assert_eq!(ended.decode(b"0\r\n\r\n", &mut body, &limits), Ok(5));
        assert!(ended.is_done());
        let error = chunks.decode(b"1\r\nx", &mut body, &limits);
        assert!(matches!(error, Err(HttpError::BodyTooLong(3))), "{error:?}");
        assert_eq!(body, b"abcdefgh");
    }
}
