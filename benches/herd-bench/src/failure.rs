//! The reasons why a run has no result.

use std::fmt;
use std::io;

/// Why a run has no result.
#[derive(Debug)]
pub enum Failure {
    /// The options contradict each other, or are out of range.
    Options(String),
    /// A system call failed: what was tried, and the kernel's error.
    Io(String, io::Error),
    /// A server sent a wrong reply: what is wrong, what was expected, and the first bytes received.
    Wrong(&'static str, String, String),
    /// A server closed a connection during the run.
    Closed,
    /// A server closed idle connections: the number of closed ones, and of all.
    IdleClosed(usize, usize),
    /// A timeout expired; the text names what was awaited.
    Silence(String),
}

impl Failure {
    /// Makes an `Io` failure; `what` names what was tried.
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
            Failure::IdleClosed(closed, all) => write!(
                f,
                "the server closed {closed} of {all} idle connections: raise its timeout for idle connections"
            ),
            Failure::Silence(what) => write!(f, "timed out: {what}"),
        }
    }
}

impl std::error::Error for Failure {}
