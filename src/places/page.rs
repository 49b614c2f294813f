//! A page of results as text, which can be cut after any result.
//!
//! In: a whole reply, and where in it each result ends. Out: the same bytes with only the first results, any number
//! of times:
//!
//! ```text
//!     { ..., "results" : [ {..}, {..}, {..} ], "status" : "OK" }
//!                         ^    ^     ^     ^
//!                      ends[0] [1]  [2]   [3]
//! ```
//!
//! A cut after the second result consists of everything up to `ends[2]`, and everything from the last end on. So
//! the comma is dropped, and the white space before the bracket is kept. An answer is therefore two copies,
//! whatever the origin of the text and however many clients share it.
//!
//! It does not interpret the text.

use std::fmt;

use super::BOUND_MAX;

/// A whole reply with places, as text.
#[derive(Clone, Eq, PartialEq)]
pub struct Page {
    pub(super) text: Vec<u8>,
    /// Offsets in `text`: after the bracket that opens the results, then after each result.
    pub(super) ends: Vec<usize>,
    /// The value of `status` in the text.
    pub(super) status: &'static str,
}

impl Page {
    /// `ends` has at least one offset, in ascending order, none beyond the end of `text`.
    pub(super) fn new(text: Vec<u8>, ends: Vec<usize>, status: &'static str) -> Page {
        debug_assert!(ends.is_sorted() && ends.last().is_some_and(|last| *last <= text.len()));
        Page { text, ends, status }
    }

    /// Appends the reply to `out`, cut to its first `bound` results, but at most [`BOUND_MAX`].
    pub(super) fn write(&self, bound: usize, out: &mut Vec<u8>) {
        let (start, end) = (&self.text[..self.ends[self.count(bound)]], &self.text[self.last()..]);
        out.reserve(start.len() + end.len());
        out.extend_from_slice(start);
        out.extend_from_slice(end);
    }

    /// The number of bytes that [`Page::write`] appends.
    pub(super) fn bytes(&self, bound: usize) -> usize {
        self.ends[self.count(bound)] + self.text.len() - self.last()
    }

    /// The number of results that [`Page::write`] appends.
    pub(super) fn count(&self, bound: usize) -> usize {
        self.results().min(bound).min(BOUND_MAX)
    }

    /// The number of results without any bound.
    fn results(&self) -> usize {
        self.ends.len() - 1
    }

    fn last(&self) -> usize {
        self.ends[self.results()]
    }
}

/// Omits the text, which may belong to the provider.
impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("bytes", &self.text.len())
            .field("results", &self.results())
            .field("status", &self.status)
            .finish()
    }
}
