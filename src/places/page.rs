//! A page of results as text, to be cut after any of them.
//!
//! In: a whole reply, and where in it each result ends. Out: the same bytes with only the first so
//! many results, as often as somebody asks:
//!
//! ```text
//!     { ..., "results" : [ {..}, {..}, {..} ], "status" : "OK" }
//!                         ^    ^     ^     ^
//!                      ends[0] [1]  [2]   [3]
//! ```
//!
//! A cut after the second result is all up to `ends[2]`, and all from the last end on: the comma
//! goes, and what stood before the bracket stays. To answer is therefore two copies, whoever wrote
//! the text and however many share it.
//!
//! It does not know what the text says.

use std::fmt;

use super::BOUND_MAX;

/// A whole reply with places in it, as text.
#[derive(Clone, Eq, PartialEq)]
pub struct Page {
    pub(super) text: Vec<u8>,
    /// In `text`: behind the bracket that opens the results, then behind each result.
    pub(super) ends: Vec<usize>,
    /// What the text has as its `status`.
    pub(super) status: &'static str,
}

impl Page {
    /// `ends`: at least one, in order, none behind the end of `text`.
    pub(super) fn new(text: Vec<u8>, ends: Vec<usize>, status: &'static str) -> Page {
        debug_assert!(ends.is_sorted() && ends.last().is_some_and(|last| *last <= text.len()));
        Page { text, ends, status }
    }

    /// Appends the reply to `out`, cut to its first `bound` results, and never more than
    /// [`BOUND_MAX`].
    pub(super) fn write(&self, bound: usize, out: &mut Vec<u8>) {
        let (start, end) = (&self.text[..self.ends[self.count(bound)]], &self.text[self.last()..]);
        out.reserve(start.len() + end.len());
        out.extend_from_slice(start);
        out.extend_from_slice(end);
    }

    /// How many bytes that appends.
    pub(super) fn bytes(&self, bound: usize) -> usize {
        self.ends[self.count(bound)] + self.text.len() - self.last()
    }

    /// How many results that writes.
    pub(super) fn count(&self, bound: usize) -> usize {
        self.results().min(bound).min(BOUND_MAX)
    }

    /// Without any bound.
    fn results(&self) -> usize {
        self.ends.len() - 1
    }

    fn last(&self) -> usize {
        self.ends[self.results()]
    }
}

/// Not what is in it: that may be somebody else's.
impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("bytes", &self.text.len())
            .field("results", &self.results())
            .field("status", &self.status)
            .finish()
    }
}
