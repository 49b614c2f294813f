//! A herd of processes that are always ended, clients that wait at most [`PATIENCE`], and conditions.

mod client;
mod process;
mod servers;

pub(crate) use client::{Client, masked, show};
pub(crate) use process::Process;
pub(crate) use servers::{FIVE, Herd, Setup};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Timeout for every wait of a test. Only a failing test reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A location in the Pacific, far from every town and airport, so that replies to WHATSAT are short.
pub(crate) const NOWHERE: &str = "-48.8767-123.3933";

/// Repeats `condition` until it returns `Ok`, and returns its value.
///
/// Panics after [`PATIENCE`], with its last `Err`.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(what: &str, condition: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(PATIENCE, what, condition)
}

/// Repeats `condition` as [`eventually`] does, until `patience` has passed.
#[track_caller]
pub(crate) fn eventually_within<T, E: Debug>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) => {
                let late = Instant::now() >= deadline;
                assert!(!late, "not within {patience:?}: {what}; at last: {state:?}");
            }
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// `Ok` if it holds, for [`eventually`].
pub(crate) fn holds(condition: bool) -> Result<(), &'static str> {
    condition.then_some(()).ok_or("it does not hold")
}

/// Asserts that both are the same bytes; a failure shows them readably.
#[track_caller]
pub(crate) fn same(got: &[u8], expected: &[u8], case: &str) {
    assert!(got == expected, "{case}\n     got: {}\nexpected: {}", show(got), show(expected));
}

/// Raises the descriptor limit of this process to its maximum.
pub(crate) fn raise_descriptors() {
    let given = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: given.maximum, ..given }).expect("it may");
}

/// The wall clock, in nanoseconds since 1970.
pub(crate) fn unix_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i128::try_from(since.as_nanos()).expect("it is not far past it")
}

/// Nanoseconds since 1970 as a stamp of nine digits.
pub(crate) fn stamp(unix_ns: i128) -> String {
    format!("{}.{:09}", unix_ns / 1_000_000_000, unix_ns % 1_000_000_000)
}

/// An IAMAT line, with its end.
pub(crate) fn iamat(client: &str, location: &str, stamp: &str) -> String {
    format!("IAMAT {client} {location} {stamp}\n")
}
