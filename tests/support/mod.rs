//! Code that suites share. A test imports the part that it needs: `use crate::support::cluster::Cluster;`.

pub(crate) mod alone;
pub(crate) mod cluster;
pub(crate) mod dice;
pub(crate) mod fake_google;
#[cfg(all(target_os = "linux", feature = "embedded-places"))]
pub(crate) mod herd;
pub(crate) mod logged;
pub(crate) mod ports;
pub(crate) mod process;

pub(crate) use fake_google::certs;

/// Prints that a test is skipped because the machine lacks something; with `HERD_REQUIRE_ALL=1`, as in CI, the test
/// fails instead. Returns `None`, so that a constructor can return it.
pub(crate) fn skipped<T>(missing: &str) -> Option<T> {
    use std::io::Write;
    assert!(std::env::var("HERD_REQUIRE_ALL").as_deref() != Ok("1"), "{missing}");
    // This does not use a print macro: the test harness shows its output only when a test fails.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
    None
}
