//! Why a run has no result.

use std::fmt;
use std::io;

/// Why a run has no result.
#[derive(Debug)]
pub enum Failure {
    /// The options contradict each other, or ask for more than there can be.
    Options(String),
    /// The kernel refused something: what, and what it said.
    Io(String, io::Error),
    /// A server replied something else than it was asked for: what is wrong, what was expected, and
    /// the first bytes of what came.
    Wrong(&'static str, String, String),
    /// A server closed a connection that waited for a reply, or for the next request.
    Closed,
    /// What did not happen in time.
    Silence(String),
}

impl Failure {
    /// For `map_err`: `what` was tried when the kernel refused.
    pub(crate) fn io(what: &str, error: io::Error) -> Failure {
        Failure::Io(what.to_owned(), error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Options(what) => write!(f, "{what}"),
            Failure::Io(what, error) => write!(f, "{what}: {error}"),
            Failure::Wrong(what, expected, received) => {
                write!(f, "wrong reply: {what}\n  expected: {expected}\n  received: {received}")
            }
            Failure::Closed => write!(f, "the server closed a connection"),
            Failure::Silence(what) => write!(f, "not in time: {what}"),
        }
    }
}

impl std::error::Error for Failure {}
