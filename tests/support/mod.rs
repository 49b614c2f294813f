//! Code that suites share. A test imports the part that it needs: `use crate::support::cluster::Cluster;`.

pub(crate) mod alone;
pub(crate) mod cluster;
pub(crate) mod dice;
pub(crate) mod fake_google;
#[cfg(all(target_os = "linux", feature = "embedded-places"))]
pub(crate) mod herd;
pub(crate) mod logged;
pub(crate) mod nats_double;
pub(crate) mod nats_server;
pub(crate) mod openapi;
pub(crate) mod ports;
pub(crate) mod process;

pub(crate) use fake_google::certs;

use std::io::Write;
use std::process::{Command, Stdio};

/// Prints that a test is skipped because the machine lacks something; with `HERD_REQUIRE_ALL=1`, as in CI, the test
/// fails instead. Returns `None`, so that a constructor can return it.
pub(crate) fn skipped<T>(missing: &str) -> Option<T> {
    assert!(std::env::var("HERD_REQUIRE_ALL").as_deref() != Ok("1"), "{missing}");
    // This does not use a print macro: the test harness shows its output only when a test fails.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
    None
}

/// Has Prometheus' own checker read `text`. Returns what it finds wrong; `None` if it is not installed.
pub(crate) fn promtool(text: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let Ok(mut child) = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        return skipped("promtool is missing, so nothing checks the metrics: install prometheus");
    };
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Some(said.concat() + if output.status.success() { "" } else { "it failed" })
}
