//! A buffer for lines that arrive in pieces.
//!
//! In: bytes, split anywhere. Out: the text up to an LF, once that has arrived. Heads and chunks are read only
//! through this buffer, so it ensures that no byte is searched twice.

/// The received part of a line; or of several lines, if its user collects them.
#[derive(Clone, Default)]
pub(super) struct LineBuffer {
    pub(super) text: Vec<u8>,
}

impl LineBuffer {
    /// Appends `data` to the text, up to and including its first LF. Returns the number of bytes taken from `data`,
    /// and whether an LF was found.
    ///
    /// `None` if the text would exceed `limit` bytes.
    pub(super) fn take(&mut self, data: &[u8], limit: usize) -> Option<(usize, bool)> {
        let end = memchr::memchr(b'\n', data);
        let taken = end.map_or(data.len(), |end| end + 1);
        looked_at(taken);
        if taken > limit.saturating_sub(self.text.len()) {
            return None;
        }
        self.text.extend_from_slice(&data[..taken]);
        Some((taken, end.is_some()))
    }
}

/// Called for all bytes that are searched or parsed, so that a test can count them.
#[cfg(not(test))]
pub(super) fn looked_at(_bytes: usize) {}

#[cfg(test)]
pub(super) use tests::looked_at;

#[cfg(test)]
mod tests {
    use crate::http::{HttpLimits, Method, ResponseProgress, ResponseReader};
    use std::cell::Cell;

    thread_local! {
        static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    pub(in crate::http) fn looked_at(bytes: usize) {
        LOOKED_AT.set(LOOKED_AT.get() + bytes);
    }

    /// The number of bytes that are examined while `stream` is read in pieces of `size`.
    fn work(stream: &[u8], size: usize) -> usize {
        LOOKED_AT.set(0);
        let mut reader = ResponseReader::new(Method::Get, HttpLimits::default());
        let mut progress = ResponseProgress::More;
        for piece in stream.chunks(size) {
            progress = reader.received(piece).unwrap();
        }
        assert!(matches!(progress, ResponseProgress::Done(_)));
        LOOKED_AT.get()
    }

    #[test]
    fn the_work_is_in_proportion_to_the_bytes_however_they_are_cut() {
        let field = format!("X-Field: {}\r\n", "x".repeat(480));
        let head = format!("HTTP/1.1 204 No Content\r\n{}\r\n", field.repeat(32));
        let chunks = |n: usize| {
            let chunk = format!("1;{}\r\nx\r\n", "e".repeat(900));
            let trailers = field.repeat(16);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{head}{}0\r\n{trailers}\r\n", chunk.repeat(n))
        };
        for stream in [head, chunks(10), chunks(1_000)] {
            for size in [1, 2, 3, 100, stream.len()] {
                let work = work(stream.as_bytes(), size);
                // All bytes are examined once to find line ends, and those of a head once more to parse it.
                assert!(work <= 2 * stream.len(), "{work} of {} by {size}", stream.len());
            }
        }
    }
}
